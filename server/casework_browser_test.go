package server_test

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// signedInAs lets the browser act as an account, which has said what for.
func (b *browser) signedInAs(s *testServer, who colleague) {
	b.t.Helper()
	token, err := s.Finder.Registry.CreateSession(b.t.Context(), who.ID, "test", time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	actor, err := s.Finder.Registry.Session(b.t.Context(), token)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Finder.Registry.SetPurpose(b.t.Context(), actor.Via, "test"); err != nil {
		b.t.Fatal(err)
	}
	b.open("/signin") // any page of the place that the cookie is for
	b.eval(fmt.Sprintf(`document.cookie = "homeward_session=%s;path=/"`, token))
}

// TestCaseworkPages records a group, publishes a child, and asks another region, as officers do.
func TestCaseworkPages(t *testing.T) {
	s := newTestServer(t)
	here, there := s.regions(t)
	missing := s.colleague(t, registry.Officer, there)
	var sought api.Case
	s.tell(t, missing.key, "POST", "/cases", api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{"Sample One"}, Region: there}}, &sought)
	if status, raw, _ := s.request(t, missing.key, "POST", "/api/v1/cases/"+sought.ID+"/photos", bytes.NewReader(photos.Read(t, photos.Obama)), map[string][]string{"Content-Type": {"image/jpeg"}}); status != 201 {
		t.Fatalf("%d %s", status, raw)
	}
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, screen := range []struct {
		name, host    string
		width, height int64
		phone         bool
	}{
		{name: "desktop", host: "127.0.0.1", width: 1280, height: 800},
		{name: "phone", host: "homeward", width: 390, height: 844, phone: true},
	} {
		t.Run(screen.name, func(t *testing.T) {
			one, two := s.colleague(t, registry.Officer, here), s.colleague(t, registry.Supervisor, here)
			b := openBrowser(t, fmt.Sprintf("http://%s:%s", screen.host, at.Port()), "casework "+screen.name)
			if screen.phone {
				b.do(chromedp.EmulateViewport(screen.width, screen.height, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2)))
				b.dark()
			} else {
				b.do(chromedp.EmulateViewport(screen.width, screen.height))
			}
			b.signedInAs(s, one)
			if screen.phone {
				b.open("/language?to=zh&back=/found/new")
				b.see("h1", "登记寻亲儿童")
				b.picture("1 group zh")
				b.open("/language?to=en&back=/found/new")
			}

			// Photos become cards; two of one child are joined.
			b.open("/found/new")
			b.picture("1 group")
			folder := t.TempDir()
			for name, photo := range map[string][]byte{
				"a.jpg": photos.Read(t, photos.Obama2), "b.jpg": photos.Read(t, photos.Obama3),
				"c.jpg": photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Obama)),
			} {
				path := filepath.Join(folder, name)
				// A little at the end makes the bytes of each screen's photo its own.
				if err := os.WriteFile(path, append(photo, []byte(screen.name)...), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			notes := filepath.Join(folder, "notes.txt")
			if err := os.WriteFile(notes, []byte("no photo"), 0o600); err != nil {
				t.Fatal(err)
			}
			b.until(`document.querySelector("#without").onclick !== undefined`)
			b.do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{filepath.Join(folder, "a.jpg"), filepath.Join(folder, "b.jpg"), filepath.Join(folder, "c.jpg"), notes}))
			b.see("#notice", "3 children added.")
			b.see("#record", "Record all 3 children")
			b.eval(`(f => { f.value = "1"; f.dispatchEvent(new Event("change", { bubbles: true })); })(document.querySelectorAll("#children select[name=same]")[1])`)
			b.see("#notice", "Child 2 is now part of child 1.")
			b.do(chromedp.Click(chromedp.CSS("#without")))
			b.see("#record", "Record all 3 children")
			b.eval(`document.querySelector("#on").value = "2015-06-17"`)
			b.eval(fmt.Sprintf(`document.querySelector("#region").value = %q`, here))
			b.eval(`document.querySelector("#children [name=age_from]").value = "8"`)
			b.eval(`document.querySelector("#children [name=age_to]").value = "6"`)
			b.picture("2 cards")
			b.do(chromedp.Click(chromedp.CSS("#record")))
			if b.is(`document.querySelector("#summary").checkVisibility()`) {
				t.Error("ages that are swapped were sent")
			}
			b.eval(`(f => { f.value = "10"; f.dispatchEvent(new Event("input", { bubbles: true })); })(document.querySelector("#children [name=age_to]"))`)

			// The line breaks; nothing is lost, and nothing is recorded twice.
			b.offline(true)
			b.do(chromedp.Click(chromedp.CSS("#record")))
			b.see("#problem", "3 children could not be recorded in full")
			b.picture("3 offline")
			b.offline(false)
			b.do(chromedp.Click(chromedp.CSS("#record")))
			b.see("#notice", "All 3 children are recorded.")
			b.see("#recorded", "Child 1: F-")
			b.see("#recorded > li:nth-child(1)", "Ready")
			b.see("#recorded > li:nth-child(2)", "c.jpg")
			b.see("#recorded > li:nth-child(3)", "Add a photo")
			b.picture("4 recorded")
			first := b.eval(`document.querySelector("#recorded a").getAttribute("href")`)

			// What was recorded leads on; a second person publishes.
			b.open(first)
			b.see(".number", "F-")
			b.picture("5 case")
			b.open(first + "/publish")
			b.until(`[...document.querySelectorAll(".portraits img")].length === 2 && [...document.querySelectorAll(".portraits img")].every(i => i.complete && i.naturalWidth > 0)`)
			b.eval(`document.querySelectorAll("[name=photos]").forEach(f => f.click())`)
			b.eval(`(f => { f.value = "A scar <b>here</b>"; f.dispatchEvent(new Event("input", { bubbles: true })); })(document.querySelector("#marks"))`)
			b.see("#preview", "A scar <b>here</b>")
			b.see("#preview", "about 7 to 11")
			b.picture("6 publish")
			b.do(chromedp.Click(chromedp.CSS("#publish button")))
			b.see("#live-title", "Proposed")
			b.open("/publications")
			b.see("main", "You proposed this. A second person must decide.")
			b.picture("7 proposed")
			b.signedInAs(s, two)
			b.open("/publications")
			b.until(`[...document.querySelectorAll(".portraits img")].every(i => i.complete && i.naturalWidth > 0)`)
			b.picture("8 to decide")
			b.eval(`window.confirm = () => true`)
			b.do(chromedp.Click(chromedp.CSS("button[name=publish][value=true]")))
			b.until(`document.readyState === "complete" && document.querySelector("main") && !document.querySelector("button[name=publish]")`)
			b.open(first)
			b.see("#publication-title + p", "This child is published")
			b.picture("9 published")
			b.do(chromedp.SendKeys(chromedp.CSS("#why"), "The child is home"), chromedp.Click(chromedp.CSS("form[data-api*=removal] button")))
			b.see("#publication-title + p", "Hidden")

			b.open(first + "/history")
			b.see(".listing", "Publication proposed")
			b.picture("10 history")
			b.do(chromedp.Click(chromedp.CSS("[name=looks]")), chromedp.Click(chromedp.CSS("main form button")))
			b.until(`location.search.includes("looks=hidden") && !document.querySelector(".listing").innerText.includes("looked at")`)

			// A candidate of another region says who holds it, and no more.
			b.open("/search" + "?case=" + filepath.Base(first))
			b.see("#candidates .held h3", "Held by Guangdong")
			if b.is(`document.querySelector("#candidates").innerText.includes("Sample One")`) {
				t.Error("a withheld candidate tells the name")
			}
			b.picture("11 held")
			b.do(chromedp.SendKeys(chromedp.CSS("#candidates .held input"), "A lead in our region"), chromedp.Click(chromedp.CSS("#candidates .held button")))
			b.see("#candidates .held", "Asked.")
			b.do(chromedp.Click(chromedp.CSS("#saved summary")), chromedp.SendKeys(chromedp.CSS("#save-name"), "Group of June"), chromedp.Click(chromedp.CSS("#save button")))
			b.until(`document.querySelector(".saved-list a")`)
			b.do(chromedp.Click(chromedp.CSS("#saved summary")))
			b.picture("12 saved")
			b.do(chromedp.Click(chromedp.CSS(".saved-list a")))
			b.until(`location.search.includes("by=photo")`)
			b.see("#candidates .held h3", "Held by Guangdong")
			b.open("/asks")
			b.see("#own-title + ol", "Waits for an answer.")
			b.picture("13 asks")
			b.signedInAs(s, missing)
			b.open("/asks")
			b.see("#open-title + ol", "A lead in our region")
			b.picture("14 to answer")
			b.do(chromedp.Click(chromedp.CSS("button[name=grant][value=true]")))
			b.see("main", "Nobody waits.")
			b.signedInAs(s, two)
			b.open("/asks")
			b.see("#own-title + ol", "Granted until")
			b.do(chromedp.Click(chromedp.CSS("#own-title + ol a")))
			b.see("h1", "Sample One")
			b.open("/cases?gallery=found")
			b.see(".listing", "F-")
			b.picture("15 cases")
		})
	}
}
