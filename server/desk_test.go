package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// browse opens a browser with an account's session, a purpose stated, in a language.
func (s *testServer) browse(t *testing.T, name string, id registry.AccountID, language string) *browser {
	t.Helper()
	b := openBrowser(t, s.URL, name)
	client := s.browser(t, id)
	req, err := client.Get(s.URL + "/static/icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	req.Body.Close()
	for _, c := range client.Jar.Cookies(req.Request.URL) {
		for name, value := range map[string]string{c.Name: c.Value, "homeward_lang": language} {
			if _, err := chromedp.Call(b.ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: s.URL}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// An examiner goes through the desk and a lead with the keyboard, at a desk and on a phone, in two languages.
func TestDeskInABrowser(t *testing.T) {
	r := newReviewed(t)
	r.enrolPhoto(t, r.missing.ID, photos.Obama2)
	checker := axe(t)
	judged := 0
	for _, at := range []struct {
		name, language string
		width, height  int64
		state          string
	}{
		{"desk desktop", "en", 1280, 900, "Waits for two examiners"},
		{"desk phone", "zh", 360, 740, "等待两名鉴别员"},
	} {
		t.Run(at.name, func(t *testing.T) {
			judged++
			_, _, account := r.as(t, registry.Examiner, registry.Everywhere)
			b := r.browse(t, at.name, account.ID, at.language)
			b.do(chromedp.EmulateViewport(at.width, at.height))
			look := func(name string) {
				t.Helper()
				b.picture(name)
				b.accessible(checker, name)
			}
			b.open("/desk")
			b.until(`document.querySelectorAll("#leads li img").length === 2`)
			b.see("#leads .badge", at.state)
			look("1 queue")
			b.do(chromedp.KeyEvent("?"))
			b.until(`document.querySelector("#keys").open`)
			b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent(kb.Enter))
			b.until(`location.pathname === "/leads/` + r.lead.ID + `"`)
			b.until(`document.querySelector("#ages svg") && !document.querySelector("#tools").hidden`)
			b.until(`[...document.querySelectorAll(".pane img")].every(i => i.complete && i.naturalWidth === 448)`)
			look("2 lead")

			// Both pictures zoom and move as one.
			b.do(chromedp.KeyEvent("+"), chromedp.KeyEvent("+"))
			b.until(`[...document.querySelectorAll(".pane img")].every(i => i.style.transform.includes("scale(2)"))`)
			b.do(chromedp.Focus(chromedp.CSS(".frame")), chromedp.KeyEvent(kb.ArrowLeft))
			b.until(`[...document.querySelectorAll(".pane img")].every(i => i.style.transform.startsWith("translate(24px"))`)
			b.save(b.ctx, "3 closer")
			b.do(chromedp.KeyEvent("0"), chromedp.KeyEvent("o"))
			b.until(`document.querySelector("#panes").dataset.mode === "over" && document.querySelectorAll(".frame")[1].style.opacity === "0.5"`)
			look("4 overlay")
			b.do(chromedp.KeyEvent("b"))
			b.until(`document.querySelector("#panes").classList.contains("flipped")`)
			b.do(chromedp.KeyEvent("s"), chromedp.KeyEvent("0"))
			b.until(`document.querySelector(".pane img").style.transform.includes("scale(1)")`)

			// Any photo of either case on either side.
			b.do(chromedp.Click(chromedp.CSS(`.thumbs[data-of=missing] li:last-child [data-put=right]`)))
			b.until(`document.querySelector(".pane:nth-child(2)").dataset.of === "missing"`)
			b.until(`document.querySelector(".thumbs[data-of=missing] li:last-child [data-put=right]").ariaPressed === "true"`)

			b.do(chromedp.KeyEvent("2"))
			b.until(`document.querySelector("[value=no_candidate]").checked`)
			b.do(chromedp.SendKeys(chromedp.CSS("#reasons"), "ears differ <b>much</b>"))
			look("5 verdict")
			b.eval(`document.querySelector("#reasons").dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", ctrlKey: true, bubbles: true}))`)
			b.until(`!document.querySelector("#verdict") && document.querySelector(".verdicts")`)
			l, err := r.Lead(t.Context(), r.lead.ID)
			if err != nil || l.Given != judged {
				t.Fatalf("%+v, %v", l, err)
			}
			look("6 given")
			b.open("/leads/" + r.lead.ID + "/print")
			b.until(`!document.querySelector("#print").hidden && [...document.images].every(i => i.complete && i.naturalWidth > 0)`)
			look("7 print")
			b.do(chromedp.Navigate(b.base + "/leads/" + r.lead.ID))
			b.do(chromedp.Click(chromedp.CSS(".given a")))
			b.until(`location.pathname.includes("/verdicts/")`)
			look("8 what lay before")
			if strings.Contains(b.eval(`document.body.innerText`), "%") {
				t.Error("a page tells a percentage")
			}
		})
	}
	t.Run("laboratory", func(t *testing.T) {
		_, _, account := r.as(t, registry.Laboratory)
		supervisor, _, _ := r.as(t, registry.Supervisor, registry.Everywhere)
		other, err := r.CreateCase(t.Context(), api.NewCase{Gallery: "found"})
		if err != nil {
			t.Fatal(err)
		}
		l, err := supervisor.OpenLead(t.Context(), api.NewLead{Missing: r.missing.ID, Found: other.ID, Note: "by hand"})
		if err != nil {
			t.Fatal(err)
		}
		r.lead = l
		r.potential(t)
		d, err := r.RequestDNA(t.Context(), l.ID, sampleLaboratory)
		if err != nil {
			t.Fatal(err)
		}
		b := r.browse(t, "desk laboratory", account.ID, "en")
		b.do(chromedp.EmulateViewport(360, 740))
		b.open("/dna")
		sample := func(whose, kit string) {
			t.Helper()
			b.until(`document.readyState === "complete"`)
			b.eval(fmt.Sprintf(`(document.querySelector("article details").open = true, document.querySelector("#whose-%[1]s").value = %[2]q,
				document.querySelector("#kit-%[1]s").value = %[3]q, document.querySelector("#taken-%[1]s").value = "2024-04-01")`, d.ID, whose, kit))
			b.do(chromedp.Click(chromedp.CSS(`form[data-api$="/samples"] button`)))
			b.see("article table", kit)
		}
		sample("child", "K-1")
		sample("father", "K-2")
		b.eval(`[...document.querySelectorAll("details")].forEach(d => d.open = true)`)
		b.picture("1 request")
		b.accessible(checker, "1 request")
		b.do(chromedp.Click(chromedp.CSS("[value=confirmed]")), chromedp.SendKeys(chromedp.CSS("#report-"+d.ID), "R-1"))
		b.eval(fmt.Sprintf(`document.querySelector("#on-%s").value = "2024-05-01"`, d.ID))
		b.do(chromedp.Click(chromedp.CSS("[type=checkbox]")), chromedp.Click(chromedp.CSS(`form[data-api$="/result"] button`)))
		b.see("main", "R-1")
		b.picture("2 reported")
	})
}
