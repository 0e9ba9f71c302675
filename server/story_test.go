package server_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	photos "homeward/internal/testphotos"
	"homeward/registry"
	"homeward/text"
)

// TestStory walks the whole of casework in a browser, from a family's report to the reunion: by taps on a phone and by keyboard on a
// desktop, the family in one language and the police in the other. HOMEWARD_SCREENSHOTS names a directory for pictures of each step.
func TestStory(t *testing.T) {
	for _, screen := range []struct {
		name, host, family, police string
		width, height              int64
		phone                      bool
	}{
		{name: "phone", host: "homeward", family: "zh", police: "en", width: 390, height: 844, phone: true},
		{name: "desktop", host: "127.0.0.1", family: "en", police: "zh", width: 1280, height: 800},
	} {
		t.Run(screen.name, func(t *testing.T) {
			s := newTestServer(t)
			at, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			catalogue, err := text.Load()
			if err != nil {
				t.Fatal(err)
			}
			w := &walk{
				browser: openBrowser(t, fmt.Sprintf("http://%s:%s", screen.host, at.Port()), "story "+screen.name), server: s, phone: screen.phone,
				axe: axe(t), keys: catalogueKeys(t), catalogue: catalogue, devices: map[string][]*network.CookieParam{}, folder: t.TempDir(),
			}
			options := []chromedp.EmulateViewportOption{}
			if screen.phone {
				options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
			}
			w.do(chromedp.EmulateViewport(screen.width, screen.height, options...))
			w.colours("light")
			w.story(screen.family, screen.police)
		})
	}
}

// walk is one walk through the story.
type walk struct {
	*browser
	server    *testServer
	phone     bool
	axe       string
	keys      string // of the catalogue, as JSON
	catalogue *text.Catalogue
	say       text.Printer // speaks the language of whoever is at the device now
	who       string       // that is
	devices   map[string][]*network.CookieParam
	folder    string
	pages     int
}

const (
	region = "CN-51"
	bench  = "Laboratory 一"
)

func (w *walk) story(family, police string) {
	t, r := w.t, w.server.Finder.Registry
	if err := r.PutRegion(t.Context(), registry.Region{Code: region, Names: map[string]string{"en": "Sichuan", "zh": "四川"}}); err != nil {
		t.Fatal(err)
	}
	enrol := func(login, name string, role registry.Role, regions ...string) member {
		n := registry.NewAccount{Login: login, Name: name, Role: role, Regions: regions}
		if role == registry.Laboratory {
			n.Organisation = bench
		}
		return w.server.enrol(t, n)
	}
	officer, supervisor := enrol("officer.one", "Officer One", registry.Officer, region), enrol("supervisor.one", "Supervisor One", registry.Supervisor, region)
	one, two := enrol("examiner.one", "Examiner One", registry.Examiner, region), enrol("examiner.two", "Examiner Two", registry.Examiner, region)
	chemist, auditor := enrol("chemist.one", "Chemist One", registry.Laboratory), enrol("auditor.one", "Auditor One", registry.Auditor)
	words := map[string]struct{ child, place, marks, parent, note, reasons, second, purpose string }{
		"en": {"Sample One; 样本一", "Sample Market", "A scar over the left eye.", "Sample Parent", "The eyes are his mother’s.",
			"Ears and nose agree. Nothing differs that age does not explain.", "Lobes attached, philtrum alike.", "Group of June"},
		"zh": {"样本一；Sample One", "样本市场", "左眼上方有一道疤。", "样本家长", "眼睛像他妈妈。",
			"耳、鼻特征一致，未见年龄无法解释的差异。", "耳垂附着，人中相似。", "六月救助"},
	}
	told, done := words[family], words[police]

	// 1. A family reports its child.
	w.at("family", family)
	w.open("/")
	w.speak(family)
	w.looks("1 home")
	w.press(`a[href="/report"]`)
	w.reads("h1", "report.title")
	w.looks("1 report")
	w.byKeyboard()
	w.open("/report")
	w.write("#names", told.child)
	w.press(`[name=sex][value=male]`)
	w.write("#born", "2004")
	w.write("#on", map[string]string{"en": "2012-05", "zh": "2012年5月"}[family])
	w.write("#place", told.place)
	w.choose("#region", region)
	w.write("#marks", told.marks)
	w.write("#name", told.parent)
	w.press("#report button.wide")
	// A way to reach them is missing: what was typed is still there.
	w.reads("[role=alert]", "report.correct")
	w.looks("1 report to correct")
	w.expect("422 /report")
	w.write("#phone", "13800000000")
	w.press("#report button.wide")
	w.reads("#receipt-title", "receipt.heading")
	if got := w.eval(`location.pathname`); got != "/family" {
		t.Errorf("a report leads to %s", got)
	}
	number, link, code := w.text("#receipt dd:nth-of-type(1)"), w.text("#receipt dd:nth-of-type(2)"), w.text("#receipt dd:nth-of-type(3)")
	if !strings.HasPrefix(number, "M-") || !strings.HasPrefix(link, w.base+"/f/") || code == "" {
		t.Errorf("the receipt says number %q, link %q, code %q", number, link, code)
	}
	w.looks("1 receipt")
	w.press(`form[data-api="DELETE /family/receipt"] button`)
	w.until(`location.pathname === "/family" && !document.querySelector("#receipt") && document.querySelector("#add:not([hidden])")`)
	w.reads("#state + ol", "family.step.needs_photo")
	w.looks("1 family without photos")
	w.byKeyboard()

	// Two photos at once; the child is tapped in the one that shows two people.
	alone := w.file("alone.jpg", photos.Read(t, photos.Obama))
	pair := w.file("two.jpg", photos.Beside(t, photos.Read(t, photos.Obama2), photos.Read(t, photos.Biden)))
	w.eval(`(window.told = new Set(), new MutationObserver(() => document.querySelectorAll("#sending .state").forEach(s => told.add(s.textContent)))
		.observe(document.querySelector("#sending"), { childList: true, subtree: true, characterData: true }))`)
	w.do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{alone, pair}))
	w.until(`document.querySelectorAll("#sending progress").length > 0`)
	w.until(`document.querySelectorAll("#photos > li").length === 2 && document.querySelectorAll("#sending > li").length === 0`)
	for _, key := range []string{"js.upload.sending", "js.upload.looking"} {
		if !w.is(fmt.Sprintf(`told.has(%q)`, w.say.T(key))) {
			t.Errorf("uploads never say %q; they said: %s", w.say.T(key), w.eval(`[...told]`))
		}
	}
	w.reads("#status", "js.upload.done", "Count", 2)
	w.until(`document.querySelectorAll("button.face").length === 2`)
	w.reads("#state + ol", "family.step.compared.hint", "Count", 1)
	w.looks("1 family which face")
	both := `li:has(button.face)`
	w.eval(`[...document.querySelectorAll("button.face")].find(f => parseFloat(f.style.left) < 50).id = "child-face"`)
	w.press("#child-face")
	w.until(`document.querySelector(".face.chosen") && document.querySelector("` + both + ` [data-needs]").hidden`)
	w.write(both+" [data-taken]", map[string]string{"en": "2009", "zh": "2009年"}[family])
	w.press(both + " [data-save]")
	w.reads(both+" h3", "case.photo.taken", "Date", w.say.Date("2009"))

	// The connection drops in the middle of a photo, and comes back.
	large := w.file("large.png", asPNG(t, photos.Decode(t, photos.Read(t, photos.Obama2))))
	w.line(false, 400<<10)
	w.do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{large}))
	w.until(`document.querySelector("#sending progress")?.value > 0.1`)
	w.line(true, 0)
	w.reads("#sending", "js.upload.waiting")
	w.looks("1 family offline")
	w.line(false, -1)
	w.until(`document.querySelectorAll("#photos > li").length === 3 && document.querySelectorAll("#sending > li").length === 0`)
	w.open("/family")
	w.until(`document.querySelectorAll("#photos > li .face").length === 4`)
	w.reads("#state + ol", "family.step.compared")
	w.reads("#state + ol", "family.step.unchecked")
	w.looks("1 family with photos")
	w.byKeyboard()
	w.open("/family/here")
	w.reads("main", "here.none")
	w.looks("1 family nobody here")

	// 2. An officer signs in, and checks the report.
	w.at("officer", police)
	w.open("/cases?unchecked=on")
	w.until(`location.pathname === "/signin"`)
	w.speak(police)
	w.looks("2 sign in")
	spent := w.signIn(officer)
	w.reads("h1", "purpose.title")
	w.looks("2 purpose")
	w.press(`[name=kind][value=report]`)
	w.write("#words", done.purpose)
	w.press("main form button")
	w.until(`location.pathname === "/cases"`)
	w.see("table.listing", number)
	w.looks("2 cases to check")
	w.press("table.listing a")
	w.see("#case .number", number)
	missing := w.eval(`document.querySelector("#case").dataset.case`)
	w.see("#case", told.parent)
	w.looks("2 missing case")
	w.write("#verified", "A510100-2012")
	w.press("form:has(#verified) button")
	w.until(`!document.querySelector("#verified")`)

	// A code is good once.
	w.at("stranger", police)
	w.open("/signin")
	w.speak(police)
	w.write("#login", officer.Login)
	w.write("#password", staffPassword)
	w.write("#code", spent)
	w.do(chromedp.KeyEvent(kb.Enter))
	w.until(`document.querySelector("[role=alert]")`)
	w.expect("422 /signin")
	w.looks("2 a code twice")

	// A rescued group is recorded, and one child of it proposed for the public.
	w.at("officer", police)
	w.open("/found/new")
	w.until(`document.querySelector("#without")`)
	w.write("#on", "2015-06-17")
	w.choose("#region", region)
	w.write("#place", done.place)
	w.do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{
		w.file("first.jpg", photos.Read(t, photos.Obama3)), w.file("second.png", photos.Read(t, photos.Astronaut)),
	}))
	w.until(`document.querySelectorAll("#children > li").length === 2`)
	w.eval(`[...document.querySelectorAll("#children > li")].forEach((c, i) => c.id = "card-" + i)`)
	w.choose("#card-0 [name=sex]", "male")
	w.write("#card-0 [name=age_from]", "10")
	w.write("#card-0 [name=age_to]", "12")
	w.write("#card-0 [name=marks]", done.marks)
	w.looks("2 group")
	w.press("#record")
	w.until(`document.querySelectorAll("#recorded > li").length === 2`)
	w.looks("2 group recorded")
	found := strings.TrimPrefix(w.eval(`document.querySelector("#recorded a").getAttribute("href")`), "/cases/")
	w.open("/cases/" + found)
	w.looks("2 found case")
	w.press(`a[href="/cases/` + found + `/publish"]`)
	w.until(`document.querySelector(".portraits img")?.naturalWidth > 0`)
	w.press("[name=photos]")
	w.until(`document.querySelector("#preview-pictures img")`)
	w.looks("2 publish")
	w.press("#publish .row button")
	w.reads("#live-title", "publish.state.proposed")
	w.looks("2 proposed")
	w.open("/publications")
	w.reads("main", "publications.yours")

	w.arrives("supervisor", supervisor, police, "/publications", "review")
	w.until(`[...document.querySelectorAll(".portraits img")].length > 0 && [...document.querySelectorAll(".portraits img")].every(i => i.naturalWidth > 0)`)
	w.looks("2 to approve")
	w.confirms()
	w.press("button[name=publish][value=true]")
	w.reads("main", "publications.none")

	// 3. Anyone sees the child, without signing in and without scripts.
	w.at("visitor", family)
	w.open("/gallery")
	w.speak(family)
	w.until(`document.querySelector("ul.gallery img")?.naturalWidth > 0`)
	w.looks("3 gallery")
	child := w.eval(`document.querySelector("ul.gallery a").getAttribute("href")`)
	w.press("ul.gallery a")
	w.until(`document.querySelector(".pictures img")?.naturalWidth > 0`)
	w.reads("main", "child.visitor")
	w.looks("3 child")
	w.scripts(false)
	for query, count := range map[string]int{"": 1, "?sex=male&from=9&to=13": 1, "?sex=female": 0, "?region=" + region: 1, "?words=" + url.QueryEscape("zzz"): 0} {
		w.open("/gallery" + query)
		if got := w.eval(`document.querySelectorAll("ul.gallery > li").length`); got != fmt.Sprint(count) {
			t.Errorf("/gallery%s shows %s children without scripts, want %d", query, got, count)
		}
	}
	w.scripts(true)
	w.open("/gallery?sex=female")
	w.looks("3 gallery nobody fits")

	// 4. The family comes back by its link and code, looks for its child among those, and says so.
	w.at("another device", family)
	w.open(strings.TrimPrefix(link, w.base))
	w.speak(family)
	w.looks("4 link")
	w.write("#code", code)
	w.do(chromedp.KeyEvent(kb.Enter))
	w.reads("#receipt-title", "receipt.new_code")
	w.reads("#state + ol", "family.step.checked")
	w.looks("4 family with a new code")
	before := w.text("section:has(#state)")
	w.press(`main a[href="/family/here"]`)
	w.until(`document.querySelector("ol.gallery img")?.naturalWidth > 0`)
	w.looks("4 here")
	w.press("ol.gallery a")
	w.until(`document.querySelector("#note")`)
	w.looks("4 my child")
	w.write("#note", told.note)
	w.press("form[data-api] button")
	w.reads("[role=status]", "child.thanks")
	w.looks("4 thanks")
	w.open("/family")
	if after := w.text("section:has(#state)"); after != before {
		t.Errorf("the family learns of the lead: %q became %q", before, after)
	}

	// 5. Two examiners judge by themselves.
	w.arrives("examiner one", one, police, "/desk", "review")
	for deadline := time.Now().Add(patience); w.is(`!document.querySelector("#leads li")`); w.open("/desk") {
		if time.Now().After(deadline) {
			w.fatal(fmt.Errorf("no lead came"))
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.until(`[...document.querySelectorAll("#leads img")].every(i => i.naturalWidth > 0)`)
	w.looks("5 desk")
	if w.phone {
		w.press("#leads h2 a")
	} else {
		w.do(chromedp.KeyEvent("j"))
		w.until(`document.activeElement.matches("#leads h2 a")`)
		w.do(chromedp.KeyEvent(kb.Enter))
	}
	w.until(`document.querySelector("#verdict button:not([disabled])") && !document.querySelector("#tools").hidden`)
	lead := w.eval(`location.pathname`)
	w.until(`[...document.querySelectorAll("#panes img")].every(i => i.naturalWidth > 0)`)
	w.looks("5 lead")
	w.byKeyboard()
	w.judge(done.reasons)
	w.reads("section.verdicts", "verdict.stored")
	w.looks("5 lead judged by one")

	w.arrives("examiner two", two, police, lead, "review")
	w.until(`document.querySelector("#verdict button:not([disabled])")`)
	for _, secret := range []string{done.reasons, one.Name} {
		if strings.Contains(w.eval(`document.documentElement.innerHTML`), secret) {
			t.Errorf("the second examiner sees %q before judging", secret)
		}
	}
	w.judge(done.second)
	w.reads(".badge.state", "lead.state.potential")
	w.see("section.verdicts", done.reasons)
	w.looks("5 lead potential")
	w.press(`section.verdicts a`)
	w.until(`location.pathname.includes("/verdicts/")`)
	w.looks("5 what lay before")

	// 6. DNA decides, and the child goes home.
	w.at("officer", police)
	w.open(lead)
	w.until(`document.querySelector("form[data-api$='/dna'] button:not([disabled])")`)
	w.choose("#laboratory", bench)
	w.press("form[data-api$='/dna'] button")
	w.reads(".badge.state", "lead.state.dna")
	for i, whose := range []string{"child", "mother"} {
		w.until(`document.querySelector("form[data-api$='/samples'] button:not([disabled])")`)
		w.press("details:has(form[data-api$='/samples']) summary")
		w.choose("form[data-api$='/samples'] select", whose)
		w.write("form[data-api$='/samples'] [name=kit]", fmt.Sprintf("KIT-%d", i+1))
		w.date("form[data-api$='/samples'] [name=taken_on]", time.Now())
		if i == 0 {
			w.looks("6 lead sample")
		}
		w.press("form[data-api$='/samples'] button")
		w.see("section:has(#dna-title) tbody", fmt.Sprintf("KIT-%d", i+1))
	}
	w.looks("6 lead with samples")
	w.open("/dna")
	w.looks("6 dna officer")

	w.arrives("laboratory", chemist, police, "/dna", "dna")
	w.see("article.request", number)
	if body := w.text("main"); strings.Contains(body, "Sample One") || strings.Contains(body, "样本一") {
		t.Error("the laboratory sees a name")
	}
	w.looks("6 laboratory")
	w.until(`document.querySelector("form[data-api$='/result'] button:not([disabled])")`)
	w.press("details:has(form[data-api$='/result']) summary")
	w.press("form[data-api$='/result'] [value=confirmed]")
	w.write("form[data-api$='/result'] [name=report]", "LAB-7")
	w.date("form[data-api$='/result'] [name=on]", time.Now())
	w.press("form[data-api$='/result'] [type=checkbox]")
	w.looks("6 laboratory result")
	w.press("form[data-api$='/result'] button")
	w.see("section:has(#reported-title)", "LAB-7")
	w.looks("6 laboratory reported")

	w.at("officer", police)
	w.open(lead)
	w.reads(".badge.state", "lead.state.confirmed")
	w.looks("6 lead confirmed")
	w.confirms()
	w.press("form[data-api$='/reunion'] button")
	w.reads(".badge.state", "lead.state.reunited")
	w.looks("6 lead reunited")

	// 7. Both cases say until when they are kept; nobody else sees the child any more; the family is told.
	gone := time.Now().Add(registry.RetentionReunited)
	day := w.say.Date(gone.UTC().Format(time.DateOnly))
	for _, id := range []string{missing, found} {
		w.open("/cases/" + id)
		w.reads("#case", "case.destroy_at", "When", day)
		w.reads("#case", "case.closed_as.reunited")
	}
	w.looks("7 case closed")
	w.open("/cases/" + missing + "/history")
	w.see(".listing", officer.Name)
	w.looks("7 history")
	w.at("visitor", family)
	w.open("/gallery")
	w.reads("main", "gallery.none")
	w.open(child)
	w.expect("404 " + child)
	w.looks("7 child gone")
	w.at("another device", family)
	w.open("/family")
	w.reads("main", "family.state.reunited")
	w.reads("main", "family.destroyed", "Date", w.say.Date(gone.UTC().Format(time.DateOnly)))
	w.looks("7 family reunited")

	// 8. The auditor sees who did what and why, and that nobody changed it since.
	w.arrives("auditor", auditor, police, "/audit?case="+missing, "other")
	w.looks("8 audit")
	w.open("/audit")
	listed := w.text("table.audit")
	for w.is(`document.querySelector("main a[rel=next]")`) {
		w.open(strings.TrimPrefix(w.eval(`document.querySelector("main a[rel=next]").href`), w.base))
		listed += w.text("table.audit")
	}
	for _, part := range []string{officer.Name, one.Name, two.Name, done.purpose,
		w.say.T("audit.family.reported"), w.say.T("audit.lead.opened"), w.say.T("audit.verdict.given"), w.say.T("audit.dna.requested"), w.say.T("audit.case.reunited")} {
		if !strings.Contains(listed, part) {
			t.Errorf("the audit does not say %q", part)
		}
	}
	w.open("/audit")
	w.until(`document.querySelector("#verify button:not([disabled])")`)
	w.press("#verify button")
	_, intact, _ := strings.Cut(w.say.T("js.audit.intact", "When", "|", "Count", 2, "Head", ""), "|")
	intact, _, _ = strings.Cut(strings.ReplaceAll(intact, "。", "."), ".")
	w.see("#verified", intact)
	w.looks("8 audit verified")

	// 9. On paper stands what a court asks for.
	w.at("officer", police)
	w.open(lead + "/print")
	w.media("print", "light")
	w.until(`[...document.querySelectorAll(".exhibits img")].length > 0 && [...document.querySelectorAll(".exhibits img")].every(i => i.naturalWidth > 0)`)
	for _, part := range []string{done.reasons, done.second, w.say.T("verdict.finding.potential_candidate"), w.say.T("dna.result.confirmed"), "LAB-7", "KIT-1", w.say.T("caution")} {
		w.see("main.court", part)
	}
	w.whole("9 paper")
	w.media("", "light")
	w.looks("9 print")
}

// at goes to the device of someone, who speaks a language.
func (w *walk) at(who, language string) {
	w.t.Helper()
	got, err := chromedp.Call(w.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{w.base}})
	if err != nil {
		w.fatal(err)
	}
	var kept []*network.CookieParam
	for _, c := range got.Cookies {
		kept = append(kept, &network.CookieParam{Name: c.Name, Value: c.Value, URL: w.base, HTTPOnly: c.HTTPOnly, SameSite: c.SameSite, Path: c.Path})
	}
	w.devices[w.who] = kept
	w.do(chromedp.Navigate("about:blank")) // what the last page still asks for is not asked by whoever comes next
	if _, err := chromedp.Call(w.ctx, network.ClearBrowserCookies, struct{}{}); err != nil {
		w.fatal(err)
	}
	w.who, w.say = who, w.catalogue.Pick(language)
	if mine := w.devices[who]; len(mine) > 0 {
		if _, err := chromedp.Call(w.ctx, network.SetCookies, network.SetCookiesParams{Cookies: mine}); err != nil {
			w.fatal(err)
		}
	}
}

// speak chooses the language where the page stands in another.
func (w *walk) speak(language string) {
	w.t.Helper()
	if w.is(fmt.Sprintf(`document.documentElement.lang !== %q`, language)) {
		w.press(fmt.Sprintf(`.languages a[lang=%q]`, language))
	}
	w.until(fmt.Sprintf(`document.documentElement.lang === %q`, language))
}

// arrives signs someone in on a device of their own, who then goes to a page for a purpose.
func (w *walk) arrives(who string, m member, language, path, purpose string) {
	w.t.Helper()
	w.at(who, language)
	w.open("/signin?back=" + url.QueryEscape(path))
	w.speak(language)
	w.signIn(m)
	w.until(`location.pathname !== "/signin"`)
	if w.is(`location.pathname !== "/purpose"`) {
		w.open("/purpose?back=" + url.QueryEscape(path))
	}
	w.press(fmt.Sprintf("[name=kind][value=%s]", purpose))
	w.write("#words", "M-000001")
	w.press("main form button")
	w.until(fmt.Sprintf(`location.pathname + location.search === %q`, path))
}

// signIn fills in the form, and returns the code that it spent.
func (w *walk) signIn(m member) string {
	w.t.Helper()
	code := m.code(w.t)
	w.write("#login", m.Login)
	w.write("#password", staffPassword)
	w.write("#code", code)
	w.do(chromedp.KeyEvent(kb.Enter))
	w.until(`location.pathname !== "/signin"`)
	return code
}

// reads waits for a message of the catalogue, in the language of whoever is at the device.
func (w *walk) reads(selector, key string, args ...any) {
	w.t.Helper()
	words := w.say.T(key, args...)
	if words == key {
		w.fatal(fmt.Errorf("the catalogue has no %s", key))
	}
	w.until(fmt.Sprintf(`document.querySelector(%q)?.textContent.replace(/\s+/g, " ").includes(%q)`, selector, words))
}

// judge finds a potential candidate, by the keys of whoever judges many or by taps.
func (w *walk) judge(reasons string) {
	w.t.Helper()
	if w.phone {
		w.press("#verdict [value=potential_candidate]")
		w.write("#reasons", reasons)
		w.press("#verdict button")
		return
	}
	w.do(chromedp.KeyEvent("1"))
	w.until(`document.querySelector("#verdict [value=potential_candidate]:checked") === document.activeElement`)
	w.write("#reasons", reasons)
	w.do(chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
}

// press presses something: on a phone with a finger, on a desktop without a mouse.
func (w *walk) press(selector string) {
	w.t.Helper()
	w.until(fmt.Sprintf(`document.querySelector(%q) && !document.querySelector(%q).disabled`, selector, selector))
	if w.phone {
		w.tap(selector)
		return
	}
	w.focus(selector)
	key := kb.Enter
	if w.is(`document.activeElement.matches("[type=checkbox], [type=radio]")`) {
		if key = " "; w.is(`document.activeElement.checked`) {
			return
		}
	}
	w.do(chromedp.KeyEvent(key))
}

func (w *walk) tap(selector string) {
	w.t.Helper()
	var at struct{ X, Y float64 }
	raw := w.eval(fmt.Sprintf(`(e => {
		e.scrollIntoView({ block: "center", behavior: "instant" });
		const r = (e.matches("[type=radio], [type=checkbox]") ? e.closest("label") : e).getClientRects()[0], x = r.left + Math.min(r.width / 2, 200), y = r.top + r.height / 2;
		const hit = document.elementFromPoint(x, y);
		if (!(e.contains(hit) || e.closest("label")?.contains(hit))) return "something lies over it: " + hit?.outerHTML.slice(0, 200);
		return JSON.stringify({ x, y });
	})(document.querySelector(%q))`, selector))
	if err := json.Unmarshal([]byte(raw), &at); err != nil {
		w.fatal(fmt.Errorf("tap %s: %s", selector, raw))
	}
	for _, touch := range []input.DispatchTouchEventParams{
		{Type: input.DispatchTouchEventTypeTouchStart, TouchPoints: []*input.TouchPoint{{X: at.X, Y: at.Y}}},
		{Type: input.DispatchTouchEventTypeTouchEnd, TouchPoints: []*input.TouchPoint{}},
	} {
		if _, err := chromedp.Call(w.ctx, input.DispatchTouchEvent, touch); err != nil {
			w.fatal(err)
		}
	}
}

// focus presses Tab until something has the focus, backwards where it stands before. In a group of radio buttons arrows go on.
func (w *walk) focus(selector string) {
	w.t.Helper()
	for range 120 {
		switch where := w.eval(fmt.Sprintf(`((e, now) => e === now ? "here"
			: now.type === "radio" && e.type === "radio" && e.name === now.name && e.form === now.form ? "group"
			: now !== document.body && e.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING ? "before" : "after"
			)(document.querySelector(%q), document.activeElement)`, selector)); where {
		case "here":
			return
		case "group":
			w.do(chromedp.KeyEvent(kb.ArrowDown))
		case "before":
			w.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
		default:
			w.do(chromedp.KeyEvent(kb.Tab))
		}
	}
	w.fatal(fmt.Errorf("no Tab leads to %s", selector))
}

// write types into a field, in place of what stood there.
func (w *walk) write(selector, words string) {
	w.t.Helper()
	if w.phone {
		w.tap(selector)
		w.until(fmt.Sprintf(`document.activeElement === document.querySelector(%q)`, selector))
	} else {
		w.focus(selector)
	}
	if w.is(`document.activeElement.value !== ""`) {
		w.eval(`document.activeElement.select()`)
	}
	if _, err := chromedp.Call(w.ctx, input.InsertText, input.InsertTextParams{Text: words}); err != nil {
		w.fatal(err)
	}
	if got := w.eval(`document.activeElement.value`); got != words {
		w.fatal(fmt.Errorf("%s holds %q, not %q", selector, got, words))
	}
}

// choose takes one of a list: with arrow keys, or as a phone's own picker does.
func (w *walk) choose(selector, value string) {
	w.t.Helper()
	chosen := fmt.Sprintf(`document.querySelector(%q).value === %q`, selector, value)
	if w.phone {
		w.eval(fmt.Sprintf(`((e, v) => { e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); e.dispatchEvent(new Event("change", { bubbles: true })); })(
			document.querySelector(%q), %q)`, selector, value))
		w.until(chosen)
		return
	}
	w.focus(selector)
	for range 20 {
		if w.is(chosen) {
			return
		}
		w.do(chromedp.KeyEvent(kb.ArrowDown))
	}
	w.fatal(fmt.Errorf("%s has no %q", selector, value))
}

// date sets a field that the browser has its own calendar for.
func (w *walk) date(selector string, day time.Time) {
	w.t.Helper()
	w.do(chromedp.SetValue(chromedp.CSS(selector), day.Format(time.DateOnly)))
}

// confirms says yes to what the page asks next.
func (w *walk) confirms() {
	w.t.Helper()
	w.eval(`window.confirm = () => true`)
}

// line sets what the connection carries, in bytes a second upwards; -1 is all.
func (w *walk) line(off bool, up float64) {
	w.t.Helper()
	w.offline(off)
	if off {
		return
	}
	_, err := chromedp.Call(w.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{DownloadThroughput: -1, UploadThroughput: up}},
	})
	if err != nil {
		w.fatal(err)
	}
}

// scripts turns the pages' scripts on or off.
func (w *walk) scripts(on bool) {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		w.fatal(err)
	}
}

func (w *walk) file(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.folder, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// looks checks what holds for every page, whoever looks at it, and keeps a picture.
func (w *walk) looks(name string) {
	w.t.Helper()
	w.until(`document.readyState === "complete"`)
	w.pages++
	w.picture(fmt.Sprintf("%02d %s", w.pages, name))
	w.accessible(w.axe, name)
	var faults []string
	raw := w.eval(`((keys, lang) => {
		const faults = [], chinese = lang === "zh";
		const shown = e => e.checkVisibility({ visibilityProperty: true });
		if (document.querySelectorAll("h1").length !== 1) faults.push(document.querySelectorAll("h1").length + " headings of the first level");
		if (document.documentElement.lang !== lang) faults.push("lang is " + document.documentElement.lang);
		if (document.documentElement.scrollWidth > innerWidth + 1) faults.push("it is " + document.documentElement.scrollWidth + " pixels wide");
		for (const e of document.querySelectorAll("a.button, button:not(.face)")) {
			const { width, height } = e.getBoundingClientRect();
			if (shown(e) && (height < 43.9 || width < 43.9)) faults.push("too small to tap: " + e.outerHTML.slice(0, 120));
		}
		// What people wrote stands in their own language, and is marked by its direction.
		const texts = [...document.querySelectorAll("body *")].filter(shown).flatMap(e => e.closest("script, noscript, code, .languages, [translate=no], [dir=auto]") ? [] : [
			...[...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE).map(n => n.data),
			...["alt", "aria-label", "title", "placeholder"].map(a => e.getAttribute(a)).filter(Boolean)]);
		for (const text of texts) {
			for (const word of text.match(/\b[a-z]+\.[a-z_.]+\b/g) ?? []) if (keys.includes(word)) faults.push("not in words: " + word);
			if (chinese && /\b[a-z]{3,}[ ,]+[a-z]{2,}\b/.test(text)) faults.push("not in Chinese: " + text);
			if (!chinese && /[\u4e00-\u9fff]{4,}/.test(text)) faults.push("not in English: " + text);
			if (/\b(undefined|null|NaN|<no value>)\b/.test(text)) faults.push("not meant for people: " + text);
		}
		return JSON.stringify(faults);
	})(` + w.keys + `, "` + w.say.Lang() + `")`)
	if err := json.Unmarshal([]byte(raw), &faults); err != nil {
		w.fatal(err)
	}
	slices.Sort(faults)
	for _, f := range slices.Compact(faults) {
		w.t.Errorf("%s: %s", name, f)
	}
	w.whole(fmt.Sprintf("%02d %s whole", w.pages, name))
}

// byKeyboard checks that Tab leads to everything on the page that can be used, in the order of the page, and that one sees where one is.
func (w *walk) byKeyboard() {
	w.t.Helper()
	if w.phone {
		return
	}
	path := w.eval(`location.pathname`)
	count := 0
	raw := w.eval(`(() => {
		document.activeElement.blur();
		getSelection().removeAllRanges();
		scrollTo(0, 0);
		window.stops = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
			.filter(e => !e.disabled && e.tabIndex >= 0 && e.checkVisibility({ visibilityProperty: true }))
			.filter(e => e.type !== "radio" || e === (document.querySelector("[name=" + CSS.escape(e.name) + "]:checked") ?? document.querySelector("[type=radio][name=" + CSS.escape(e.name) + "]")));
		return stops.length;
	})()`)
	if _, err := fmt.Sscan(raw, &count); err != nil {
		w.fatal(err)
	}
	w.do(chromedp.Evaluate[chromedp.Void](`document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute("tabindex")`))
	for i := range count {
		w.do(chromedp.KeyEvent(kb.Tab))
		got := w.eval(`((e, want) => {
			if (e !== want) return "Tab leads to " + e.outerHTML.slice(0, 100) + " and not to " + want.outerHTML.slice(0, 100);
			const ring = x => x && (s => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1.5 || s.boxShadow !== "none")(getComputedStyle(x));
			return [e, e.closest("label"), e.parentElement, e.nextElementSibling].some(ring) ? "" : "one cannot see the focus on " + e.outerHTML.slice(0, 100);
		})(document.activeElement, stops[` + fmt.Sprint(i) + `])`)
		if got != "" {
			w.t.Errorf("%s, stop %d of %d: %s", path, i+1, count, got)
			return
		}
	}
}

// whole keeps a picture of the page from head to foot.
func (w *walk) whole(name string) {
	w.t.Helper()
	dir := os.Getenv("HOMEWARD_SCREENSHOTS")
	if dir == "" {
		return
	}
	beyond := true
	shot, err := chromedp.Call(w.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &beyond})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, w.name+" "+name+".png"), shot.Data, 0o644)
	}
	if err != nil {
		w.t.Errorf("picture: %v", err)
	}
}

// catalogueKeys are the names of all messages, as JSON.
func catalogueKeys(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../text/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for k := range all {
		keys = append(keys, k)
	}
	out, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
