package server_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/image/tiff"

	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

const (
	chromium = "/usr/bin/chromium"
	// patience bounds one step of a person's; it is generous because models share few cores with other tests.
	patience = 90 * time.Second
)

// TestPages goes through the pages as a person does, in a real browser against the real server, on a desktop and on a
// phone. HOMEWARD_SCREENSHOTS names a directory for pictures of each step.
func TestPages(t *testing.T) {
	site := newSite(t)
	folder := t.TempDir()
	pair := photos.Beside(t, photos.Read(t, "obama2.jpg"), photos.Read(t, "biden.jpg"))
	files := map[string][]byte{
		"child.jpg":  photos.Read(t, "obama2.jpg"),
		"two.jpg":    pair,
		"two.tiff":   asTIFF(t, pair),
		"empty.png":  asPNG(t, gradient(640, 480)),
		"report.jpg": []byte("This is the report of a patrol, and not a photo.\n"),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, screen := range []struct {
		name          string
		width, height int64
		host          string
		phone         bool
	}{
		{name: "desktop", width: 1280, height: 800, host: "127.0.0.1"},
		// A plain name is no "secure context" to a browser: this is how a phone reaches a machine in the same office.
		{name: "phone", width: 360, height: 740, host: "homeward", phone: true},
	} {
		t.Run(screen.name, func(t *testing.T) {
			b := openBrowser(t, fmt.Sprintf("http://%s:%s", screen.host, site.port), screen.name)
			options := []chromedp.EmulateViewportOption{}
			if screen.phone {
				options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
				b.dark()
			}
			b.do(chromedp.EmulateViewport(screen.width, screen.height, options...))
			photo := func(name string) {
				t.Helper()
				b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{filepath.Join(folder, name)}))
			}

			// A stranger sees nothing but the way in.
			b.open("/search")
			b.until(`location.pathname === "/signin"`)
			who := site.staff[screen.name]
			b.do(chromedp.SendKeys(chromedp.CSS("#login"), who.Login), chromedp.SendKeys(chromedp.CSS("#password"), "not the password"),
				chromedp.SendKeys(chromedp.CSS("#code"), "000000"+kb.Enter))
			b.see("[role=alert]", "Login, password or code is wrong.")
			b.picture("1 wrong password")
			b.expect("422 /signin")
			b.do(chromedp.SendKeys(chromedp.CSS("#password"), staffPassword), chromedp.SendKeys(chromedp.CSS("#code"), who.code(t)+kb.Enter))
			// What is personal asks what it is for, and then goes on to where one wanted to be.
			b.see("h1", "What are you working on?")
			b.picture("1 purpose")
			b.do(chromedp.SendKeys(chromedp.CSS("#words"), "M-000001"+kb.Enter))
			b.until(`location.pathname === "/search" && document.querySelector("#file")`)
			b.see("footer", "never identifies")
			b.picture("2 search")

			// One face searches at once; the mated portrait comes first.
			photo("child.jpg")
			b.see("#candidates > li:first-child h3", "Missing One")
			b.see("#candidates > li:first-child", "样本一")
			b.see("#candidates > li:first-child .words", "times more likely if this is the same child than if these are two different children.")
			b.see("#candidates > li:first-child .band b", "support")
			b.see("#candidates > li:first-child .log", "log₁₀ LR ")
			if b.is(`document.querySelectorAll("#candidates > li:first-child .scale i.here").length !== 1`) {
				t.Error("the scale does not mark the one band")
			}
			b.until(`document.querySelectorAll("#photo-frame .face").length === 1`)
			b.until(`document.querySelector(".pair img").naturalWidth === 224 && document.querySelectorAll(".pair img")[1].naturalWidth === 224`)
			b.see("#status", "2 missing children")
			if b.text(".candidates") != "" && strings.Contains(b.text("#results"), "%") {
				t.Error("a score is shown as a percentage")
			}
			b.do(chromedp.Click(chromedp.CSS(".help summary")))
			b.see(".help", "never proof")
			b.picture("3 what it means")
			b.do(chromedp.Click(chromedp.CSS(".help summary")))
			// Strangers' words are words.
			b.see("#candidates > li:nth-child(2)", `<img src=x onerror="document.title='broken'">`)
			b.picture("3 candidates")

			// A candidate says what it rests on. Its timeline is drawn when it is asked for.
			if b.is(`document.querySelector(".timeline svg")`) {
				t.Error("timelines are drawn that nobody asked for")
			}
			b.why("#candidates > li:first-child")
			b.see("#candidates > li:first-child .why", "Looks")
			b.see("#candidates > li:first-child .why", "other missing child")
			b.see("#candidates > li:first-child .why", " photos compared")
			b.see("#candidates > li:first-child .compared li:nth-child(1)", "Your photo: taken 2009-09-09, looks ")
			b.see("#candidates > li:first-child .compared", "On record: taken 2012, aged 51")
			b.see("#candidates > li:first-child .compared li:nth-child(1)", "(counts most)")
			timeline := b.eval(`document.querySelector("#candidates > li:first-child .timeline svg[role=img]").ariaLabel`)
			for _, part := range []string{"Timeline of the child’s age.", "Your photo: taken 2009-09-09, looks ", "On record: ", "taken 2012, aged 51"} {
				if !strings.Contains(timeline, part) {
					t.Errorf("the timeline in words lacks %q: %s", part, timeline)
				}
			}
			// The one by looks, those on record by dates, all pictured, none on another, and a line between two of them.
			if b.is(`(s => s(".chip.probe.looks.pair").length !== 1 || s(".chip.case.dates.pair").length !== 1 || s(".joined").length !== 1
				|| s(".chip image").length !== s(".chip").length)(q => document.querySelectorAll("#candidates > li:first-child .timeline " + q))`) {
				t.Error("the timeline does not show a photo by looks, those by dates, and a line between two")
			}
			b.apart("#candidates > li:first-child .timeline")
			b.picture("3 why")
			b.do(chromedp.ScrollIntoView(chromedp.CSS("#candidates > li:first-child .compared")))
			b.picture("3 timeline")
			if strings.Contains(b.text("#results"), "%") {
				t.Error("a percentage is shown")
			}

			// What is known of the child in the photo counts as evidence, and needs no second upload.
			b.do(chromedp.Click(chromedp.CSS("#narrow summary")),
				chromedp.SendKeys(chromedp.CSS("#child_age"), "47"),
				chromedp.SetValue(chromedp.CSS("#taken"), "1950"),
				chromedp.SendKeys(chromedp.CSS("#child_sex"), "Female"))
			b.see("#candidates > li:first-child .pair", "Aged about 47")
			b.see("#candidates > li:first-child .pair", "Taken 1950")
			b.until(`document.querySelector("#candidates .factors")?.textContent.includes("recorded as female")`)
			b.picture("4 more said")
			b.why("#candidates > li:first-child")
			b.see("#candidates > li:first-child .compared li", "Your photo: taken 1950, aged about 47 (counts most)")
			b.see("#candidates > li:first-child .factors", "One is recorded as female, the other as male.")
			b.see("#candidates > li:first-child .why", "Faces and records together: log₁₀ LR ")
			if direction := b.text("#candidates > li:first-child .direction"); direction != "against" {
				t.Errorf("two sexes are %q for one child", direction)
			}
			b.do(chromedp.Click(chromedp.CSS("[name=records]")))
			b.until(`document.querySelector("#candidates").textContent.includes("you rank by faces alone")`)
			b.see("#candidates > li:first-child h3", "Missing One")
			b.do(chromedp.Click(chromedp.CSS("[name=records]")))
			b.until(`!document.querySelector("#candidates").textContent.includes("you rank by faces alone")`)
			b.do(chromedp.Click(chromedp.CSS("#narrow summary")))
			// Another photo is of another child, perhaps.
			photo("child.jpg")
			b.see("#candidates > li:first-child .pair", "Taken 2009-09-09")
			if b.is(`["child_age", "child_sex", "taken"].some(f => document.getElementById(f).value !== "")`) {
				t.Error("what was said of one photo's child counts for the next photo")
			}

			// Another gallery and other filters need no second upload.
			b.do(chromedp.Click(chromedp.CSS("[name=gallery][value=found]")))
			b.see("#status", "1 found child,")
			b.see("#candidates > li:first-child h3", "Name unknown")
			b.do(chromedp.Click(chromedp.CSS("[name=gallery][value=missing]")))
			b.see("#status", "2 missing children")
			b.do(chromedp.Click(chromedp.CSS("#narrow summary")),
				chromedp.SendKeys(chromedp.CSS("#filter_words"), "胎记 左臂"+kb.Enter))
			b.see("#status", "1 missing child,")
			b.see("#candidates > li:first-child h3", "Missing One")
			b.picture("4 narrowed")
			b.eval(`document.querySelector("#filter_words").value = ""`)
			b.do(chromedp.Click(chromedp.CSS("#narrow summary")))

			// A search given up for another one is not heard of again.
			photo("two.jpg")
			photo("child.jpg")
			b.see("#candidates > li:first-child h3", "Missing One")
			if b.is(`document.querySelectorAll("#photo-frame .face").length !== 1 || document.querySelectorAll("#candidates > li").length !== 2`) {
				t.Error("two searches are mixed up")
			}

			// Several faces: which one is the child? Answered by keyboard.
			photo("two.jpg")
			b.until(`document.activeElement.id === "which"`)
			b.see("#status", "2 faces were found.")
			if b.is(`!document.querySelector("#results").hidden`) {
				t.Error("candidates are shown before a face was chosen")
			}
			b.picture("5 which face")
			b.tabTo(`document.activeElement.matches("button.face") && parseFloat(document.activeElement.style.left) < 50`)
			if label := b.eval(`document.activeElement.ariaLabel`); !strings.HasPrefix(label, "Face ") || !strings.Contains(label, " years") {
				t.Errorf("a face is announced as %q", label)
			}
			b.do(chromedp.KeyEvent(kb.Enter))
			b.see("#candidates > li:first-child h3", "Missing One")
			b.picture("6 face chosen")

			// The connection breaks; nothing has to be done again but one tap.
			b.offline(true)
			b.do(chromedp.Click(chromedp.CSS("button.face:not(.chosen)")))
			b.see("#problem", "offline")
			b.picture("7 offline")
			b.offline(false)
			b.do(chromedp.Click(chromedp.CSS("#problem button")))
			b.see("#candidates > li:first-child h3", "Missing Two")
			b.until(`document.querySelector("#problem").hidden`)

			// A photo that this browser cannot show has its faces listed instead.
			photo("two.tiff")
			b.see("#probe-caption", "cannot show the photo")
			b.picture("8 not shown")
			b.do(chromedp.Click(chromedp.CSS("button.face")))
			b.see("#candidates > li:first-child .blank", "Face 1 of your photo")

			// What is not usable is told plainly.
			photo("empty.png")
			b.see("#problem", "No face was found.")
			b.picture("9 no face")
			photo("report.jpg")
			b.until(`document.querySelector("#problem").innerText.length > 20 && !document.querySelector("#problem").innerText.includes("No face")`)
			b.picture("10 not a photo")
			b.expect("415 /api/v1/searches")

			// Words.
			b.open("/search#words")
			b.do(chromedp.SendKeys(chromedp.CSS("#words"), "birthmark left arm"+kb.Enter))
			b.see("#cases li:first-child h3", "Missing One")
			b.picture("11 words")
			b.do(chromedp.Click(chromedp.CSS("#cases li:first-child h3 a")))

			// The case: the child of a photo with two people is chosen, a date set, and the face searches.
			b.until(`document.querySelector("#case")`)
			b.see("h1", "Missing One")
			group := `[data-photo="` + site.group[screen.name] + `"]`
			b.see(group, "2 faces were found.")
			b.until(`document.querySelectorAll('` + group + ` button.face').length === 2`)
			b.picture("12 case")
			left := b.eval(`1 + [...document.querySelectorAll('` + group + ` button.face')].findIndex(f => parseFloat(f.style.left) < 50)`)
			b.do(chromedp.Click(chromedp.CSS(group + " button.face:nth-of-type(" + left + ")")))
			b.until(`document.querySelector('` + group + ` .face.chosen') && !document.querySelector('` + group + ` .needs')`)
			b.do(chromedp.Click(chromedp.CSS(group+" details:last-of-type summary")),
				chromedp.SendKeys(chromedp.CSS(group+" [name=taken]"), "1971-05"+kb.Enter))
			b.see(group+" h3", "Taken 1971-05, aged 9 to 10")
			b.picture("13 case settled")
			b.do(chromedp.Click(chromedp.CSS(group + " a.button")))
			b.until(`location.pathname === "/search"`)
			b.see("#status", "1 found child,")
			// What cannot be is said at once, and hides nobody.
			b.see("#candidates > li:first-child .warning", "the child was found before the missing child disappeared.")
			b.picture("14 enrolled face")
			b.do(chromedp.Click(chromedp.CSS("#narrow summary")))
			if b.is(`document.querySelector("#about").checkVisibility() || new FormData(document.querySelector("#narrow")).has("child_sex")`) {
				t.Error("a record's child can be told otherwise in the form")
			}

			// All photos of the case search together.
			b.open("/cases/" + site.missing)
			b.until(`document.querySelectorAll("#ages .chip image").length >= 2`)
			if label := b.eval(`document.querySelector("#ages svg").ariaLabel`); !strings.Contains(label, "taken 1971-05, aged 9; ") || !strings.Contains(label, "taken 2012, aged 51") {
				t.Errorf("the case's timeline in words: %s", label)
			}
			b.apart("#ages")
			b.do(chromedp.ScrollIntoView(chromedp.CSS("#ages")))
			b.picture("15 case timeline")
			b.do(chromedp.Click(chromedp.CSS("#all a")))
			b.see("#status", "1 found child,")
			b.until(`document.querySelectorAll("#probe .chips img").length >= 2 && [...document.querySelectorAll("#probe .chips img")].every(i => i.naturalWidth === 112)`)
			b.see("#probe-caption", "photos of this case search together")
			b.why("#candidates > li:first-child")
			b.do(chromedp.ScrollIntoView(chromedp.CSS("#candidates .compared")))
			b.until(`document.querySelectorAll("#candidates .timeline .chip.probe").length >= 2`)
			b.picture("16 case searches")

			b.open("/search?case=c_none")
			b.see("#problem", ".")
			b.picture("17 no such case")
			b.expect("404 /api/v1/searches")

			b.open("/cases/c_none")
			b.see("h1", "nothing here")
			b.expect("404 /cases/c_none")

			// Signed out means out.
			b.do(chromedp.Click(chromedp.CSS("form[action='/signout'] button")))
			b.until(`location.pathname === "/"`)
			b.open("/search")
			b.until(`location.pathname === "/signin"`)
		})
	}
}

// site is a server with a few cases.
type site struct {
	port    string
	missing string            // the case whose child is on child.jpg
	group   map[string]string // per screen, a photo of that case with two people in it
	staff   map[string]member // per screen, who signs in: a code is good once
}

func newSite(t *testing.T) site {
	t.Helper()
	ctx, server := t.Context(), newTestServer(t)
	f := server.Finder
	year := func(y int) registry.Date {
		d, err := registry.YearDate(y)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	add := func(c registry.Case, photo []byte, taken registry.Date) (registry.CaseID, registry.PhotoID) {
		if c.ID == "" {
			var err error
			if c, err = f.Registry.CreateCase(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		p, _, err := f.AddPhoto(ctx, c.ID, finder.NewPhoto{Name: "portrait.jpg", Taken: taken}, bytes.NewReader(photo))
		if err != nil {
			t.Fatal(err)
		}
		return c.ID, p.ID
	}
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	out := site{port: at.Port(), group: map[string]string{}, staff: map[string]member{}}
	one, _ := add(registry.Case{
		Gallery: registry.Missing, Names: []string{"Missing One", "样本一"}, Sex: registry.Male,
		BornFrom: year(1961), BornTo: year(1961), Place: "Sample Province", On: year(2015),
		Marks: "birthmark on the left arm; 左臂有胎记", Notes: "A sample made from a public-domain official portrait.",
	}, photos.Read(t, "obama.jpg"), year(2012))
	out.missing = string(one)
	for i, screen := range []string{"desktop", "phone"} {
		// Different bytes, so that neither is a duplicate of the other.
		pair := photos.Beside(t, photos.Read(t, "obama2.jpg"), gradientBeside(t, photos.Read(t, "biden.jpg"), 20+i))
		_, p := add(registry.Case{ID: one}, pair, registry.Date{})
		out.group[screen] = string(p)
	}
	add(registry.Case{
		Gallery: registry.Missing, Names: []string{"Missing Two", `<img src=x onerror="document.title='broken'">`}, Sex: registry.Male,
		BornFrom: year(1940), BornTo: year(1944), Place: "Sample City", On: year(2014), Marks: "scar over the right eye",
	}, photos.Read(t, "biden.jpg"), year(2013))
	add(registry.Case{Gallery: registry.Found, Place: "Sample Harbour", On: year(2010)}, photos.Read(t, "obama3.jpg"), year(2010))

	for _, screen := range []string{"desktop", "phone"} {
		out.staff[screen] = server.enrol(t, registry.NewAccount{Login: "officer." + screen, Name: "Officer 一", Role: registry.Officer, Regions: []string{registry.Everywhere}})
	}
	return out
}

// browser drives one tab, and gathers what must not happen in it.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string
	name string

	mu      sync.Mutex
	refused []string // answers of 400 and up, as "status path"
	faults  []string
}

func openBrowser(t *testing.T, base, name string) *browser {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Fatalf("no browser to test the pages with: run scripts/setup (%v)", err)
	}
	b := &browser{t: t, base: base, name: name}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(chromium), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,HttpsFirstBalancedMode"),
		// No name leads anywhere but here.
		chromedp.Flag("host-resolver-rules", "MAP homeward 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)...)
	t.Cleanup(cancel)
	b.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(b.check)
	if err := chromedp.Listen(b.ctx, b.watch); err != nil {
		t.Fatalf("start %s: %v", chromium, err)
	}
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(b.ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(b.ctx, log.Enable, struct{}{}); return err },
	} {
		if err := enable(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// watch notes requests that leave the machine, refusals, and everything a browser complains of.
func (b *browser) watch(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme != "blob" && u.Scheme != "data" && u.Scheme+"://"+u.Host != b.base {
			b.faults = append(b.faults, "request to "+e.Request.URL)
		}
	case *network.EventResponseReceived:
		if u, err := url.Parse(e.Response.URL); err == nil && e.Response.Status >= 400 {
			b.refused = append(b.refused, fmt.Sprintf("%d %s", e.Response.Status, u.Path))
		}
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, fmt.Sprintf("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description))
	case *runtime.EventConsoleAPICalled:
		b.faults = append(b.faults, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		// Failed requests are judged by their answers; advice is not a fault.
		if e.Entry.Source != log.EntrySourceNetwork && (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) {
			b.faults = append(b.faults, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
		}
	}
}

// expect takes a refusal off the list of those that nobody asked for.
func (b *browser) expect(refusal string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.refused, refusal)
	if i < 0 {
		b.t.Errorf("no answer was %q; these were: %q", refusal, b.refused)
		return
	}
	b.refused = slices.Delete(b.refused, i, i+1)
}

func (b *browser) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		b.t.Error(f)
	}
	for _, r := range b.refused {
		b.t.Errorf("refused: %s", r)
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fatal(err)
	}
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

func (b *browser) eval(js string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+js+")"))
	if err != nil {
		b.fatal(fmt.Errorf("%s: %w", js, err))
	}
	return s
}

func (b *browser) is(js string) bool { b.t.Helper(); return b.eval("!!("+js+")") == "true" }

func (b *browser) text(selector string) string {
	b.t.Helper()
	return b.eval(fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector))
}

// until waits for js to become true. It asks again and again, because pages come and go meanwhile.
func (b *browser) until(js string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+js+")"))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.fatal(fmt.Errorf("never came true: %s (%v)", js, err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// see waits for an element to hold a text.
func (b *browser) see(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, selector, text))
}

// why opens what a candidate rests on.
func (b *browser) why(candidate string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(candidate + " .why summary")))
	b.until(fmt.Sprintf(`document.querySelector(%q)`, candidate+" .timeline svg"))
}

// apart checks that no photo of a timeline hides another.
func (b *browser) apart(timeline string) {
	b.t.Helper()
	hidden := b.eval(fmt.Sprintf(`(boxes => boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b =>
		a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length)(
		[...document.querySelectorAll(%q)].map(e => e.getBoundingClientRect()))`, timeline+" .chip .ground"))
	if hidden != "0" {
		b.t.Errorf("%s: %s pairs of photos lie on one another", timeline, hidden)
	}
}

// tabTo presses Tab until js is true.
func (b *browser) tabTo(js string) {
	b.t.Helper()
	for range 30 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if b.is(js) {
			return
		}
	}
	b.fatal(fmt.Errorf("no Tab leads to: %s", js))
}

// dark turns on the dark colours.
func (b *browser) dark() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
	if err != nil {
		b.fatal(err)
	}
}

func (b *browser) offline(yes bool) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: yes, DownloadThroughput: -1, UploadThroughput: -1}},
	})
	if err == nil {
		_, err = chromedp.Call(b.ctx, network.OverrideNetworkState, network.OverrideNetworkStateParams{
			Offline: yes, DownloadThroughput: -1, UploadThroughput: -1,
		})
	}
	if err != nil {
		b.fatal(err)
	}
}

// fatal ends the test with a picture of where it stood.
func (b *browser) fatal(err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	body, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	b.save(ctx, "failed")
	b.t.Fatalf("%v\nthe page says:\n%s", err, body)
}

// picture checks what holds for every page at every moment, and keeps a picture of it.
func (b *browser) picture(name string) {
	b.t.Helper()
	widths := []string{""}
	if b.is(`innerWidth < 400`) {
		widths = append(widths, "320px") // the narrowest phone
	}
	for _, width := range widths {
		wide := b.eval(fmt.Sprintf(`(document.body.style.width = %q, Math.max(0, ...[...document.querySelectorAll("body *")]
			.filter(e => e.checkVisibility() && !e.closest(".face, .drop input, .wide-table > *"))
			.map(e => e.getBoundingClientRect().right - document.body.getBoundingClientRect().right)))`, width))
		if wide != "0" {
			b.t.Errorf("%s: something is cut off on the right by %s pixels (width %q)", name, wide, width)
		}
	}
	b.eval(`document.body.style.width = ""`)
	small := b.eval(`[...document.querySelectorAll("button:not(.face), .button, summary, select, input:not([type=radio], [type=checkbox], [type=file]), .check, .switch label, .tabs a")]
		.filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 43.9).map(e => e.outerHTML.slice(0, 80))`)
	if small != "" {
		b.t.Errorf("%s: too small to tap: %s", name, small)
	}
	unnamed := b.eval(`[...document.querySelectorAll("input, select")]
		.filter(e => e.checkVisibility() && !e.labels.length).map(e => e.outerHTML.slice(0, 80))`)
	if unnamed != "" {
		b.t.Errorf("%s: without a label: %s", name, unnamed)
	}
	caution := b.is(`(r => r.bottom <= innerHeight + 1 && r.top >= 0)(document.querySelector(".caution").getBoundingClientRect())`)
	if !caution {
		b.t.Errorf("%s: the caution is out of sight", name)
	}
	b.save(b.ctx, name)
}

func (b *browser) save(ctx context.Context, name string) {
	dir := os.Getenv("HOMEWARD_SCREENSHOTS")
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = os.WriteFile(filepath.Join(dir, b.name+" "+name+".png"), shot, 0o644)
		}
	}
	if err != nil {
		b.t.Errorf("picture: %v", err)
	}
}

// gradientBeside puts a strip without any face to the right of a photo.
func gradientBeside(t *testing.T, photo []byte, width int) []byte {
	t.Helper()
	return photos.Beside(t, photo, asPNG(t, gradient(width, 50)))
}

func gradient(width, height int) image.Image {
	im := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			im.Set(x, y, color.RGBA{uint8(255 * x / width), uint8(255 * y / height), 120, 255})
		}
	}
	return im
}

func asPNG(t *testing.T, im image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, im); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asTIFF(t *testing.T, photo []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := tiff.Encode(&out, photos.Decode(t, photo), &tiff.Options{Compression: tiff.Deflate}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
