package server_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

func decoded[T any](t *testing.T, text string) (out T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %.500s", err, text)
	}
	return out
}

func TestFamilyLinkAndCode(t *testing.T) {
	s := newTestServer(t)
	f := s.report(t, nil)
	private := s.URL + "/f/" + f.link
	// Who is signed in already goes straight on.
	if got := open(t, f.Client, private); got.url.Path != "/family" {
		t.Errorf("signed in, the link leads to %s", got.url)
	}
	// A link that there is and one that there is not look alike, before a code and after a wrong one.
	forged := s.URL + "/f/hf_" + strings.Repeat("a", 26)
	other := newBrowser(t)
	page := func(got shown) string {
		return strings.ReplaceAll(strings.ReplaceAll(got.body, f.link, "LINK"), "hf_"+strings.Repeat("a", 26), "LINK")
	}
	if page(open(t, other, private)) != page(open(t, other, forged)) {
		t.Error("the page tells whether there is such a link")
	}
	wrong := url.Values{"code": {"AAAA-AAAA-AAAA"}}
	a, b := post(t, other, private, wrong), post(t, other, forged, wrong)
	if a.status != http.StatusUnprocessableEntity || b.status != a.status || page(a) != page(b) {
		t.Errorf("a wrong code tells whether there is such a link: %d, %d", a.status, b.status)
	}
	if got := post(t, other, s.URL+"/f/"+strings.Repeat("x", 5000), wrong); got.status != a.status {
		t.Errorf("a link of 5,000 characters: %d", got.status)
	}
	// The right code opens it, as a person types it, and once.
	got := post(t, other, private, url.Values{"code": {strings.ToLower(strings.ReplaceAll(f.code, "-", " "))}})
	got.shows(t, 200, f.number)
	next := first(t, codeIn, got.body)
	if next == f.code {
		t.Error("the spent code is shown as the next")
	}
	if again := post(t, newBrowser(t), private, url.Values{"code": {f.code}}); again.status != http.StatusUnprocessableEntity {
		t.Errorf("a used code: %d", again.status)
	}
	// The code that came with signing in is good, and ends when another is made.
	status, _, answer := f.ask(t, "POST", "/api/v1/family/codes", nil)
	if status != 200 {
		t.Fatalf("make a code: %d %s", status, answer)
	}
	made := decoded[api.FamilyKey](t, answer).Code
	if got := post(t, newBrowser(t), private, url.Values{"code": {next}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("a code that was replaced: %d", got.status)
	}
	post(t, newBrowser(t), private, url.Values{"code": {made}}).shows(t, 200, f.number)

	// A new link ends the old one, and every session but the one that asked.
	status, _, answer = f.ask(t, "POST", "/api/v1/family/links", api.NewFamilyLink{Sure: true})
	if status != 200 {
		t.Fatalf("make a link: %d %s", status, answer)
	}
	key := decoded[api.FamilyKey](t, answer)
	if got := open(t, other, s.URL+"/family"); got.url.Path != "/signin" {
		t.Errorf("another device is still signed in: %s", got.url)
	}
	open(t, f.Client, s.URL+"/family").shows(t, 200, key.Link)
	if got := post(t, newBrowser(t), private, url.Values{"code": {key.Code}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("the old link with the new code: %d", got.status)
	}
	if !strings.HasPrefix(key.Link, s.URL+"/f/hf_") {
		t.Fatalf("the link is %q", key.Link)
	}
	// Tries are bounded by link and network.
	last := 0
	for range 12 {
		last = post(t, newBrowser(t), key.Link, wrong).status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the twelfth wrong code: %d", last)
	}
}

func TestFamilySeesNothingElse(t *testing.T) {
	s := newTestServer(t)
	f, other := s.report(t, nil), s.report(t, url.Values{"names": {"Other Child"}})
	photo := other.send(t, photos.Read(t, photos.Obama), "x.jpg")
	theirs := "/api/v1/cases/" + string(other.caseID)
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", theirs, nil}, {"PATCH", theirs, api.CaseChange{Version: 1}}, {"POST", theirs + "/close", nil}, {"POST", theirs + "/reopen", nil},
		{"GET", theirs + "/photos", nil}, {"GET", "/api/v1/photos/" + photo.ID, nil}, {"PATCH", "/api/v1/photos/" + photo.ID, api.PhotoChange{}},
		{"DELETE", "/api/v1/photos/" + photo.ID, nil}, {"GET", "/api/v1/photos/" + photo.ID + "/original", nil},
		{"GET", "/api/v1/photos/" + photo.ID + "/rendition", nil}, {"GET", "/api/v1/faces/" + photo.Faces[0].ID + "/chip", nil},
	} {
		status, _, mine := f.ask(t, c.method, c.path, c.body)
		if status != 404 || strings.Contains(mine, "Other Child") {
			t.Errorf("%s %s of another family: %d", c.method, c.path, status)
		}
	}
	// No way into the registry but its own case.
	for _, path := range []string{"GET /search", "GET /cases", "GET /cases/" + string(f.caseID), "POST /api/v1/searches", "GET /api/v1/searches/s_none", "GET /api/v1/cases", "POST /api/v1/cases"} {
		method, path, _ := strings.Cut(path, " ")
		if status, _, _ := f.ask(t, method, path, nil); status != 403 {
			t.Errorf("%s %s by a family: %d", method, path, status)
		}
	}
	if status, problem, _ := f.ask(t, "PATCH", "/api/v1/cases/"+string(f.caseID), map[string]any{"version": 1, "verified": "123"}); status != 403 {
		t.Errorf("a family verifies its own report: %d %s", status, problem)
	}
}

func TestFamilyCorrectsAndWithdraws(t *testing.T) {
	s := newTestServer(t)
	f := s.report(t, nil)
	mine := "/api/v1/cases/" + string(f.caseID)
	photo := f.send(t, photos.Read(t, photos.Obama), "x.jpg")
	open(t, f.Client, s.URL+"/family").shows(t, 200, "1 photo is compared")
	if status, problem, _ := f.ask(t, "PATCH", mine, map[string]any{"version": 1, "place": "corrected place"}); status != 200 {
		t.Errorf("correct a fact: %d %s", status, problem)
	}
	if status, problem, _ := f.ask(t, "PATCH", "/api/v1/photos/"+photo.ID, map[string]any{"taken": "2008"}); status != 200 {
		t.Errorf("date a photo: %d %s", status, problem)
	}
	if status, problem, _ := f.ask(t, "PUT", "/api/v1/family/contact", api.Contact{Name: "Sample Parent", Email: "new@example.org"}); status != 204 {
		t.Errorf("change the contact: %d %s", status, problem)
	}
	if status, _, _ := f.ask(t, "PUT", "/api/v1/family/contact", api.Contact{Name: "Sample Parent"}); status != 422 {
		t.Errorf("a contact that nobody can reach: %d", status)
	}
	page := open(t, f.Client, s.URL+"/family")
	for _, words := range []string{"corrected place", "new@example.org", "Taken 2008", "The police are checking it"} {
		page.shows(t, 200, words)
	}

	status, _, answer := f.ask(t, "POST", mine+"/close", nil)
	closed := decoded[api.Case](t, answer)
	if status != 200 || closed.ClosedAs != "withdrawn" || closed.DestroyAt == nil || closed.DestroyAt.Before(time.Now().Add(6*24*time.Hour)) {
		t.Fatalf("withdraw: %d %s", status, answer)
	}
	page = open(t, f.Client, s.URL+"/family")
	page.shows(t, 200, closed.DestroyAt.UTC().Format(time.DateOnly))
	page.shows(t, 200, "Take the withdrawal back")
	if strings.Contains(page.body, `id="files"`) {
		t.Error("a withdrawn case takes photos")
	}
	if status, problem, _ := f.ask(t, "POST", mine+"/uploads", nil, "Upload-Length", "10"); status != 409 {
		t.Errorf("a photo for a withdrawn case: %d %s", status, problem)
	}
	if status, problem, _ := f.ask(t, "POST", mine+"/reopen", nil); status != 200 {
		t.Errorf("take it back: %d %s", status, problem)
	}
	if c, err := s.Finder.Registry.Case(t.Context(), f.caseID); err != nil || c.Status != registry.StatusOpen || !c.Destroy.IsZero() {
		t.Errorf("taken back: %+v, %v", c, err)
	}
	// What an officer closed is not a family's to open: its page offers nothing.
	if _, err := s.Finder.Registry.CloseCase(t.Context(), f.caseID, registry.ClosedByOfficer); err != nil {
		t.Fatal(err)
	}
	if got := open(t, f.Client, s.URL+"/family"); strings.Contains(got.body, "Take the withdrawal back") {
		t.Error("a family may take back what the police closed")
	}
}

func TestFamilyExport(t *testing.T) {
	s := newTestServer(t)
	f := s.report(t, url.Values{"marks": {"a mark <b>"}})
	images := map[string][]byte{"../../../etc/passwd": photos.Read(t, photos.Obama), `C:\Windows\x.jpg`: photos.Read(t, photos.Biden)}
	for name, photo := range images {
		f.send(t, photo, name)
	}
	child := s.published(t, photos.Read(t, photos.Obama2), registry.Publication{AgeTo: 3}, portrait(t, photos.Obama2))
	if status, _, _ := f.ask(t, "POST", "/api/v1/gallery/"+child.ID+"/leads", api.NewFamilyLead{}); status != 200 {
		t.Fatal(status)
	}
	officer := registry.WithActor(t.Context(), registry.Actor{Account: "a_officer", Role: registry.Officer, Name: "Officer One", Purpose: "review of leads: about someone"})
	if err := s.Finder.Registry.Record(officer, registry.Note{Action: "case.looked", Case: f.caseID}); err != nil {
		t.Fatal(err)
	}
	status, body := raw(t, f.Client, s.URL+"/family/export")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	files := map[string]string{}
	for _, file := range z.File {
		if !filepath.IsLocal(file.Name) || strings.ContainsAny(file.Name, `\:`) {
			t.Errorf("a file named %q leaves its folder", file.Name)
		}
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, files[file.Name] = append(names, file.Name), string(content)
	}
	if want := []string{"case.json", "access.json", "photos/001.jpeg", "photos/002.jpeg"}; !slices.Equal(names, want) {
		t.Errorf("holds %q, want %q", names, want)
	}
	held := decoded[struct {
		api.Case
		Contact api.Contact `json:"contact"`
	}](t, files["case.json"])
	if held.Marks != "a mark <b>" || held.Contact.Name != "Sample Parent" || len(held.Photos) != 2 {
		t.Errorf("case.json: %s", files["case.json"])
	}
	for i, p := range held.Photos { // the archive counts them as case.json lists them
		if files[fmt.Sprintf("photos/%03d.jpeg", i+1)] != string(images[p.Name]) || len(images[p.Name]) == 0 {
			t.Errorf("photo %d, sent as %q, is not what was sent", i+1, p.Name)
		}
	}
	access := decoded[[]struct {
		At      time.Time
		Role    registry.Role
		Action  string
		Purpose string
	}](t, files["access.json"])
	var told []string
	for _, a := range access {
		told = append(told, fmt.Sprintf("%s %s %s", a.Role, a.Action, a.Purpose))
		if a.At.IsZero() {
			t.Error("an entry without its time")
		}
	}
	for _, want := range []string{"officer case.looked casework", "visitor family.reported ", "family photo.added ", "family export.made "} {
		if !slices.Contains(told, want) {
			t.Errorf("access.json misses %q in %q", want, told)
		}
	}
	for _, secret := range []string{"Officer One", "a_officer", "lead", "about someone", string(child.Case)} {
		if strings.Contains(files["access.json"], secret) {
			t.Errorf("access.json tells %q", secret)
		}
	}
}

func TestHomeLeadsToWork(t *testing.T) {
	s := newTestServer(t)
	for role, want := range map[registry.Role]string{
		registry.Officer: "/desk", registry.Examiner: "/desk", registry.Supervisor: "/desk", registry.Laboratory: "/dna",
		registry.Auditor: "/audit", registry.Administrator: "/accounts",
	} {
		_, key, _ := s.as(t, role, registry.Everywhere)
		resp, _ := s.fetch(t, "/", "Authorization", "Bearer "+key)
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("%s is led to %q, want %q", role, got, want)
		}
	}
}

// TestFamilyPages walks a family's pages in a browser: a report that outlives a reload, photos over a connection that drops,
// the child's face tapped, the withdrawal and its undoing.
func TestFamilyPages(t *testing.T) {
	s := newTestServer(t)
	if err := s.Finder.Registry.PutRegion(t.Context(), registry.Region{Code: "CN-51", Names: map[string]string{"en": "Sichuan", "zh": "四川"}}); err != nil {
		t.Fatal(err)
	}
	child := s.published(t, photos.Read(t, photos.Obama3), registry.Publication{Sex: registry.Male, AgeFrom: 2, AgeTo: 4, FoundOn: year(t, 2012), Place: "成都", Region: "CN-51", Marks: "左臂有胎记"},
		portrait(t, photos.Obama3), portrait(t, photos.Obama2))
	s.published(t, photos.Read(t, photos.Astronaut), registry.Publication{Sex: registry.Female, AgeFrom: 5, AgeTo: 7, Place: "Kunming"}, portrait(t, photos.Astronaut))
	folder := t.TempDir()
	pair := photos.Beside(t, photos.Read(t, photos.Obama2), photos.Read(t, photos.Biden))
	for name, photo := range map[string][]byte{"one.jpg": photos.Read(t, photos.Obama), "two.jpg": pair, "no.jpg": []byte("no photo")} {
		if err := os.WriteFile(filepath.Join(folder, name), photo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		screen, lang  string
		width, height int64
		phone         bool
		// What the pages say in the language.
		receipt, waiting, compared, refused, withdrawn, thanks string
	}{
		{"phone", "zh", 390, 844, true, "您的报告已收到", "等待网络恢复", "正在比对", "这个文件不是照片", "您已撤回此报告", "谢谢您"},
		{"desktop", "en", 1280, 800, false, "Your report has arrived", "Waiting for the connection", "Being compared", "not a photo", "You have withdrawn", "Thank you"},
	} {
		t.Run(c.screen, func(t *testing.T) {
			b := openBrowser(t, s.URL, "family "+c.screen)
			options := []chromedp.EmulateViewportOption{}
			if c.phone {
				options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch)
			} else {
				b.dark()
			}
			b.do(chromedp.EmulateViewport(c.width, c.height, options...))
			b.open("/language?to=" + c.lang + "&back=/")
			b.picture("1 home")
			b.open("/report")
			const fill = `(f => { for (const [k, v] of Object.entries(%s)) f.elements[k].value = v; f.elements.names.dispatchEvent(new Event("input", { bubbles: true })); })(document.querySelector("#report"))`
			b.until(`document.querySelector("#report #clear")`)
			b.picture("2 report")
			time.Sleep(300 * time.Millisecond) // the script that keeps the draft loads after the page
			b.eval(fmt.Sprintf(fill, `{ names: "小明；Sample Child", born: "2006年3月", on: "someday", place: "成都", name: "Sample Parent", phone: "13800000000" }`))
			b.open("/report")
			b.until(`document.querySelector("#place").value === "成都" && document.querySelector("#names").value.includes("小明")`)
			b.do(chromedp.Click(chromedp.CSS("#report button.wide")))
			b.until(`document.querySelector("#on-wrong")`)
			b.picture("3 report corrected")
			b.expect("422 /report")
			b.eval(fmt.Sprintf(fill, `{ on: "2009.5" }`))
			b.do(chromedp.Click(chromedp.CSS("#report button.wide")))
			b.see("#receipt", c.receipt)
			b.until(`!document.querySelector("#add").hidden && document.querySelector("form[data-api^=DELETE] button:not(:disabled)")`)
			b.picture("4 receipt")
			if got := b.eval(`localStorage.getItem("homeward-report")`); got != "null" {
				t.Errorf("the draft is still there: %s", got)
			}
			b.do(chromedp.Click(chromedp.CSS("form[data-api^=DELETE] button")))
			b.until(`!document.querySelector("#receipt") && document.querySelector("#add") && !document.querySelector("#add").hidden`)

			b.offline(true)
			b.do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{filepath.Join(folder, "one.jpg"), filepath.Join(folder, "two.jpg"), filepath.Join(folder, "no.jpg")}))
			b.see("#sending", c.waiting)
			b.eval(`scrollTo(0, document.querySelector("#sending").offsetTop - 300)`)
			b.picture("5 waiting")
			b.offline(false)
			b.until(`document.querySelectorAll("#photos > li").length === 2`)
			b.see("#sending .failed", c.refused)
			b.until(`document.querySelectorAll("#photos button.face").length === 2`)
			b.eval(`document.querySelector("#photos button.face").click()`)
			b.until(`document.querySelector("#photos button.face[aria-pressed=true]")`)
			b.eval(`(a => { a.value = "2"; a.dispatchEvent(new Event("change")); })(document.querySelector("#photos [data-age]"))`)
			b.until(`document.querySelector("#photos h3").innerText.includes("2008")`)
			b.eval(`scrollTo(0, document.querySelector("#photos").offsetTop - 60)`)
			b.picture("6 photos")
			b.mu.Lock() // the file that was no photo
			b.refused = slices.DeleteFunc(b.refused, func(r string) bool { return strings.HasPrefix(r, "415 /api/v1/uploads/") })
			b.mu.Unlock()
			b.open("/family")
			b.see(".steps", c.compared)
			b.picture("7 family")
			b.eval(`(document.querySelectorAll("details").forEach(d => { d.open = true; }), scrollTo(0, document.querySelector("#facts-title").offsetTop))`)
			b.picture("8 details")

			b.open("/gallery")
			b.picture("9 gallery")
			b.open("/family/here")
			b.until(`document.querySelectorAll(".here li").length === 2`)
			b.picture("10 here")
			b.do(chromedp.Click(chromedp.CSS(`.here a[href="/gallery/` + child.ID + `"]`)))
			b.until(`document.querySelector("form[data-api] button:not(:disabled)")`)
			b.picture("11 child")
			b.do(chromedp.Click(chromedp.CSS("form[data-api] button")))
			b.see("main", c.thanks)

			b.open("/family")
			b.until(`!document.querySelector("#add").hidden && document.querySelector("form[data-api$=close] button:not(:disabled)")`)
			b.eval(`(f => { f.closest("details").open = true; f.querySelector("input").checked = true; f.querySelector("button").click(); })(document.querySelector("form[data-api$=close]"))`)
			b.see("main", c.withdrawn)
			b.picture("12 withdrawn")
			b.until(`document.querySelector("form[data-api$=reopen] button:not(:disabled)")`)
			b.do(chromedp.Click(chromedp.CSS("form[data-api$=reopen] button")))
			b.until(`document.querySelector(".steps")`)
		})
	}
}
