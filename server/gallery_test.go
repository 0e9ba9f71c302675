package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/nfnt/resize"

	"homeward/api"
	"homeward/engine"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// portrait is a picture as it is published, of one who is alone in the photo.
func portrait(t *testing.T, name string) []byte {
	t.Helper()
	photo := photos.Read(t, name)
	b := photos.Decode(t, photo).Bounds()
	side := float32(min(b.Dx(), b.Dy()))
	out, err := engine.Portrait(photo, engine.Box{X: float32(b.Dx())/2 - side/5, Y: side / 8, Width: side / 2.5, Height: side / 2.5}, 640)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// published records a found child with a photo and publishes it as p says, by two people.
func (s *testServer) published(t *testing.T, photo []byte, p registry.Publication, pictures ...[]byte) registry.Publication {
	t.Helper()
	c, stored := enrol(t, s, api.NewCase{Gallery: "found", CaseFacts: api.CaseFacts{Place: "a place that only officers know"}}, photo)
	p.Case = registry.CaseID(c.ID)
	for _, pic := range pictures {
		p.Pictures = append(p.Pictures, registry.PublishedPicture{Photo: registry.PhotoID(stored.ID), JPEG: pic})
	}
	r := s.Finder.Registry
	first := registry.WithActor(t.Context(), registry.Actor{Account: s.Account.ID, Role: registry.Supervisor})
	_, _, another := s.as(t, registry.Officer, registry.Everywhere)
	second := registry.WithActor(t.Context(), registry.Actor{Account: another.ID, Role: registry.Officer})
	p, err := r.Propose(first, p)
	if err == nil {
		p, err = r.Decide(second, p.ID, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func year(t *testing.T, y int) registry.Date {
	t.Helper()
	d, err := registry.YearDate(y)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGallery(t *testing.T) {
	s := newTestServer(t)
	r := s.Finder.Registry
	for code, name := range map[string]string{"CN-51": "Sichuan", "CN-44": "Guangdong"} {
		if err := r.PutRegion(t.Context(), registry.Region{Code: code, Names: map[string]string{"en": name}}); err != nil {
			t.Fatal(err)
		}
	}
	picture := portrait(t, photos.Obama)
	girl := s.published(t, photos.Read(t, photos.Astronaut), registry.Publication{Sex: registry.Female, AgeFrom: 3, AgeTo: 5, FoundOn: year(t, 2011), Place: "Chengdu", Region: "CN-51", Marks: "mole on the chin"}, picture)
	boy := s.published(t, photos.Read(t, photos.Obama), registry.Publication{Sex: registry.Male, AgeFrom: 9, AgeTo: 11, Place: "Shenzhen", Region: "CN-44", Marks: "scar"}, picture, portrait(t, photos.Obama2))
	visitor := newBrowser(t)
	for query, want := range map[string][2]bool{
		"":                              {true, true},
		"sex=female":                    {true, false},
		"from=8":                        {false, true},
		"to=6":                          {true, false},
		"from=5&to=3":                   {true, false},
		"region=CN-51":                  {true, false},
		"region=CN":                     {true, true},
		"words=mole":                    {true, false},
		"words=shenzhen+scar":           {false, true},
		"words=shenzhen+mole":           {false, false},
		"sex=other&from=x&to=-4":        {true, true},
		"words=a+place+that+only":       {false, false},
		"sex=female&region=CN-44&to=30": {false, false},
	} {
		got := open(t, visitor, s.URL+"/gallery?"+query)
		if has := [2]bool{strings.Contains(got.body, girl.ID), strings.Contains(got.body, boy.ID)}; got.status != 200 || has != want {
			t.Errorf("%q shows girl and boy: %v, want %v (%d)", query, has, want, got.status)
		}
		if !strings.HasPrefix(got.header.Get("X-Robots-Tag"), "noindex") || strings.Contains(got.body, "<script") {
			t.Errorf("%q may be indexed, or has a script", query)
		}
	}
	// The other language keeps what was asked.
	open(t, visitor, s.URL+"/gallery?words=mole").shows(t, 200, `/language?to=zh&back=%2fgallery%3fwords%3dmole`)
	detail := open(t, visitor, s.URL+"/gallery/"+boy.ID)
	detail.shows(t, 200, "scar")
	if strings.Contains(detail.body, "only officers know") || strings.Contains(detail.body, string(boy.Case)) || strings.Contains(detail.body, "data-api") {
		t.Error("a visitor sees more of a child than is published, or a button")
	}
	if got := strings.Count(detail.body, "<img"); got != 2 {
		t.Errorf("%d pictures on the child's page", got)
	}

	f := s.report(t, nil)
	address := s.URL + "/gallery/pictures/" + boy.Pictures[0].ID
	for _, size := range []int{240, 480} {
		resp, err := http.Get(fmt.Sprintf("%s?size=%d", address, size))
		if err != nil {
			t.Fatal(err)
		}
		im, err := jpeg.Decode(resp.Body)
		resp.Body.Close()
		if err != nil || im.Bounds().Dx() != size || resp.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("picture of %d: %v", size, err)
		}
	}
	if status, _ := raw(t, visitor, address+"?size=9000"); status != 422 {
		t.Errorf("a size that there is not: %d", status)
	}
	for _, path := range []string{"/gallery/g_none", "/gallery/pictures/i_none", "/gallery/" + string(boy.Case), "/gallery/pictures/" + string(boy.Pictures[0].Photo)} {
		if status, _ := raw(t, visitor, s.URL+path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	// Hidden is hidden at once, everywhere.
	if _, err := r.AskRemoval(registry.WithActor(t.Context(), registry.Actor{Account: s.Account.ID, Role: registry.Supervisor}), boy.ID, "test"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/gallery/" + boy.ID, "/gallery/pictures/" + boy.Pictures[0].ID + "?size=240"} {
		if status, _ := raw(t, f.Client, s.URL+path); status != 404 {
			t.Errorf("hidden, %s: %d", path, status)
		}
	}
	if status, _, _ := f.ask(t, "POST", "/api/v1/gallery/"+boy.ID+"/leads", map[string]any{}); status != 404 {
		t.Errorf("a lead to a hidden child: %d", status)
	}
	if got := open(t, visitor, s.URL+"/gallery"); strings.Contains(got.body, boy.ID) {
		t.Error("a hidden child is listed")
	}
}

func TestThisMayBeMyChild(t *testing.T) {
	s := newTestServer(t)
	child := s.published(t, photos.Read(t, photos.Obama2), registry.Publication{Sex: registry.Male, AgeTo: 3}, portrait(t, photos.Obama2))
	f := s.report(t, nil)
	open(t, f.Client, s.URL+"/gallery/"+child.ID).shows(t, 200, "This may be my child")
	var answers []string
	for _, body := range []api.NewFamilyLead{{}, {}, {Note: "the same eyes"}} {
		status, problem, answer := f.ask(t, "POST", "/api/v1/gallery/"+child.ID+"/leads", body)
		if status != 200 {
			t.Fatalf("open a lead: %d %s", status, problem)
		}
		answers = append(answers, answer)
	}
	if answers[0] != answers[1] || answers[1] != answers[2] || strings.Contains(answers[0], "l_") {
		t.Errorf("the answers differ or tell more: %q", answers)
	}
	lead, err := s.Finder.Registry.LeadOf(t.Context(), f.caseID, child.Case)
	if err != nil || lead.Source != registry.FromFamily || lead.OpenedBy != f.account || !strings.Contains(lead.Note, "the same eyes") || lead.Score != 0 {
		t.Errorf("lead %+v, %v", lead, err)
	}
	// Until DNA has spoken, a family reads of no lead anywhere.
	for _, path := range []string{"/family", "/family/here", "/gallery/" + child.ID} {
		if _, page := raw(t, f.Client, s.URL+path); strings.Contains(page, string(lead.ID)) || strings.Contains(page, string(child.Case)) {
			t.Errorf("%s tells of the lead or the found case", path)
		}
	}
	resp, err := http.Post(s.URL+"/api/v1/gallery/"+child.ID+"/leads", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a visitor opens a lead: %d", resp.StatusCode)
	}
	// A family of which there is a photo is compared.
	g := s.report(t, nil)
	g.send(t, photos.Read(t, photos.Obama), "x.jpg")
	if status, problem, _ := g.ask(t, "POST", "/api/v1/gallery/"+child.ID+"/leads", api.NewFamilyLead{}); status != 200 {
		t.Fatalf("open a lead: %d %s", status, problem)
	}
	if lead, err = s.Finder.Registry.LeadOf(t.Context(), g.caseID, child.Case); err != nil || lead.Faces <= 1 {
		t.Errorf("faces of one child: %+v, %v", lead, err)
	}
}

func TestIsMyChildHere(t *testing.T) {
	s := newTestServer(t)
	other := s.published(t, photos.Read(t, photos.Astronaut), registry.Publication{Sex: registry.Female, AgeFrom: 3, AgeTo: 4, Place: "published place"}, portrait(t, photos.Astronaut))
	mine := s.published(t, photos.Read(t, photos.Obama2), registry.Publication{AgeFrom: 2, AgeTo: 3}, portrait(t, photos.Obama2))
	hidden, _ := enrol(t, s, api.NewCase{Gallery: "found"}, photos.Read(t, photos.Obama3))
	f := s.report(t, nil)
	open(t, f.Client, s.URL+"/family/here").shows(t, 200, "Add one that shows")
	f.send(t, photos.Read(t, photos.Obama), "x.jpg")
	got := open(t, f.Client, s.URL+"/family/here")
	got.shows(t, 200, "A DNA test decides")
	got.shows(t, 200, "times more likely if this is the same child")
	if a, b := strings.Index(got.body, mine.ID), strings.Index(got.body, other.ID); a < 0 || b < a {
		t.Errorf("ranked at %d and %d", a, b)
	}
	for what, secret := range map[string]string{
		"the unpublished child": hidden.ID, "the case of a published one": string(mine.Case), "its photo": string(mine.Pictures[0].Photo),
		"what only officers know": "only officers know",
	} {
		if strings.Contains(got.body, secret) {
			t.Errorf("the page holds %s", what)
		}
	}
	if percent := regexp.MustCompile(`\d ?%`).FindString(got.body); percent != "" {
		t.Errorf("a likeness is %q", percent)
	}
	entries, _, err := s.Finder.Registry.Audit(t.Context(), registry.AuditQuery{Case: f.caseID, Action: "search.made"})
	if err != nil || len(entries) != 1 || entries[0].Account != f.account {
		t.Errorf("audit of the comparison: %+v, %v", entries, err)
	}
}

var (
	styleIn   = regexp.MustCompile(`<link rel="(?:stylesheet|icon)" href="([^"]+)"`)
	scriptIn  = regexp.MustCompile(`<script[^>]+src="([^"]+)"`)
	pictureIn = regexp.MustCompile(`<img src="(/gallery/pictures/[^"]+)"([^>]*)>`)
	outsideIn = regexp.MustCompile(`(?:src|href|action)="(?:https?:)?//`)
)

// TestGalleryIsLight adds up what a browser loads at first: the page, what the page needs, and the pictures that a phone shows
// before it is scrolled.
func TestGalleryIsLight(t *testing.T) {
	const most, atFirst = 150_000, 6
	s := newTestServer(t)
	var faces [][]byte
	for _, name := range []string{photos.Obama, photos.Obama2, photos.Obama3, photos.Biden, photos.Astronaut} {
		faces = append(faces, portrait(t, name))
	}
	none := resize.Resize(64, 0, photos.Decode(t, photos.NoFace(t)), resize.Bilinear)
	for i := range 22 {
		s.published(t, photos.JPEG(t, none), registry.Publication{
			Sex: registry.Female, AgeFrom: i % 9, AgeTo: i%9 + 2, FoundOn: year(t, 2000+i), Place: "a town with a long name, in a province with one", Marks: "a mark",
		}, faces[i%len(faces)])
	}
	load := func(path string) (text string, bytesSent int) {
		t.Helper()
		resp, sent := s.fetch(t, path, "Accept-Encoding", "gzip, deflate, br", "Accept-Language", "zh")
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		if resp.Header.Get("Content-Encoding") != "gzip" {
			return sent, len(sent)
		}
		z, err := gzip.NewReader(strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return string(plain), len(sent)
	}
	page, total := load("/gallery")
	t.Logf("page: %d bytes, %d unpacked", total, len(page))
	if total >= len(page)/2 {
		t.Error("the page is not compressed")
	}
	for _, m := range append(styleIn.FindAllStringSubmatch(page, -1), scriptIn.FindAllStringSubmatch(page, -1)...) {
		text, n := load(m[1])
		t.Logf("%s: %d bytes", m[1], n)
		total += n
		if strings.Contains(text, "@import") || strings.Contains(text, "url(") {
			t.Errorf("%s loads more", m[1])
		}
	}
	pictures := pictureIn.FindAllStringSubmatch(page, -1)
	if len(pictures) != 20 {
		t.Fatalf("%d pictures", len(pictures))
	}
	for i, m := range pictures {
		if !strings.Contains(m[2], `loading="lazy"`) || !strings.Contains(m[2], `width="240" height="240"`) {
			t.Errorf("picture %d is loaded at once, or moves the page: %s", i, m[0])
		}
		if i < atFirst {
			_, n := load(m[1])
			total += n
		}
	}
	t.Logf("first load: %d bytes", total)
	if total >= most {
		t.Errorf("the first load is %d bytes, at most %d are allowed", total, most)
	}
	if outsideIn.MatchString(page) {
		t.Error("the page asks someone else for something")
	}
	// The next page has the rest.
	next := first(t, regexp.MustCompile(`rel="next" href="([^"]+)"`), page)
	rest, _ := load(strings.ReplaceAll(next, "&amp;", "&"))
	if n := len(pictureIn.FindAllString(rest, -1)); n != 2 {
		t.Errorf("%d children on the second page", n)
	}
}

// TestSecretsAreNotCompressed: a page that holds a secret goes as it is.
func TestSecretsAreNotCompressed(t *testing.T) {
	s := newTestServer(t)
	f := s.report(t, nil)
	for path, want := range map[string]string{"/family": "", "/gallery": "gzip", "/static/style.css": "gzip", "/text/en.js": "gzip", "/report": "", "/f/" + f.link: ""} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := f.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Content-Encoding"); got != want || resp.StatusCode != 200 {
			t.Errorf("%s: %q, want %q (%d)", path, got, want, resp.StatusCode)
		}
	}
	// What is held already is not sent again.
	resp, _ := s.fetch(t, "/text/en.js", "Accept-Encoding", "gzip")
	if again, body := s.fetch(t, "/text/en.js", "Accept-Encoding", "gzip", "If-None-Match", resp.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("asked again: %d", again.StatusCode)
	}
}

// send adds a photo to the family's case.
func (f relative) send(t *testing.T, photo []byte, name string) api.Photo {
	t.Helper()
	address := f.s.URL + "/api/v1/cases/" + string(f.caseID) + "/photos?name=" + url.QueryEscape(name)
	resp, err := f.Post(address, "image/jpeg", bytes.NewReader(photo))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("add a photo: %d %s %v", resp.StatusCode, body, err)
	}
	return decoded[api.Photo](t, string(body))
}
