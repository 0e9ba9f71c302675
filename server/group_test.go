package server_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// TestGroupIsRecordedOnce repeats what the page of a group sends when an answer is lost.
func TestGroupIsRecordedOnce(t *testing.T) {
	s := newTestServer(t)
	here, there := s.regions(t)
	officer := s.colleague(t, registry.Officer, here)
	other := s.colleague(t, registry.Officer, there)

	const ref = "0123456789abcdef-1"
	child := api.NewCase{Gallery: "found", CaseFacts: api.CaseFacts{Ref: ref, Region: here, On: "2015-06-17"}}
	var made, again api.Case
	if status, said := s.tell(t, officer.key, http.MethodPost, "/cases", child, &made); status != http.StatusCreated {
		t.Fatal(status, said)
	}
	if _, said := s.tell(t, officer.key, http.MethodPost, "/cases", child, nil); said != "duplicate" {
		t.Errorf("the same child again: %q, want duplicate", said)
	}
	byRef := "/galleries/found/cases/" + ref
	if status, said := s.tell(t, officer.key, http.MethodGet, byRef, nil, &again); status != http.StatusOK || again.ID != made.ID {
		t.Errorf("by reference: %d %s %s, want %s", status, said, again.ID, made.ID)
	}
	for name, tc := range map[string]struct{ key, path, said string }{
		"another region":    {other.key, byRef, "other_region"},
		"an examiner":       {s.colleague(t, registry.Examiner, here).key, byRef, "forbidden"},
		"nobody":            {"", byRef, "no_key"},
		"no such reference": {officer.key, "/galleries/found/cases/0123456789abcdef-2", "not_found"},
		"the other gallery": {officer.key, "/galleries/missing/cases/" + ref, "not_found"},
	} {
		if _, said := s.tell(t, tc.key, http.MethodGet, tc.path, nil, nil); said != tc.said {
			t.Errorf("%s: %q, want %q", name, said, tc.said)
		}
	}

	photo := photos.Read(t, photos.Obama)
	var ids []string
	for range 2 {
		status, raw, _ := s.request(t, officer.key, http.MethodPost, "/api/v1/cases/"+made.ID+"/photos?name=one.jpg", bytes.NewReader(photo),
			http.Header{"Content-Type": {"image/jpeg"}, "Idempotency-Key": {"0123456789abcdef-photo"}})
		var p api.Photo
		if err := json.Unmarshal(raw, &p); err != nil || status >= 300 {
			t.Fatal(status, err)
		}
		ids = append(ids, p.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("the same photo again is another: %v", ids)
	}
	if stored, err := s.Finder.Registry.PhotosOf(t.Context(), registry.CaseID(made.ID)); err != nil || len(stored) != 1 {
		t.Errorf("the case has %d photos, %v", len(stored), err)
	}
	if page := s.shownPage(t, officer.key, "/found/new"); !strings.Contains(page, "Sichuan") {
		t.Error("the page does not offer the region")
	}
}

// TestHarmlessFileNames sends photos under names that would leave their folder, break off or overflow.
func TestHarmlessFileNames(t *testing.T) {
	s := newTestServer(t)
	officer := s.colleague(t, registry.Officer, registry.Everywhere)
	c, _ := s.foundCase(t, officer, "", photos.Read(t, photos.Obama))
	before := files(t, s.Data)
	for name, photo := range map[string]string{"../../../../tmp/escaped.jpg": photos.Obama2, "nul\x00byte\r\n.jpg": photos.Obama3, strings.Repeat("长", 300) + ".jpg": photos.Biden} {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		h := textproto.MIMEHeader{"Content-Type": {"image/jpeg"}}
		h.Set("Content-Disposition", `form-data; name="photo"; filename*=UTF-8''`+url.PathEscape(name))
		part, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(photos.Read(t, photo)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		status, raw, _ := s.request(t, officer.key, http.MethodPost, "/api/v1/cases/"+c.ID+"/photos", &form, http.Header{"Content-Type": {w.FormDataContentType()}})
		var p api.Photo
		if err := json.Unmarshal(raw, &p); err != nil || status != http.StatusCreated {
			t.Fatalf("%.20q: %d %s", name, status, raw)
		}
		if n := utf8.RuneCountInString(p.Name); n > registry.MaxPhotoName || strings.ContainsAny(p.Name, "\x00\r\n/\\") {
			t.Errorf("%.20q is kept as %q", name, p.Name)
		}
		_, _, header := s.request(t, officer.key, http.MethodGet, "/api/v1/photos/"+p.ID+"/original", nil, nil)
		if want := `attachment; filename="` + p.ID + `.jpeg"`; header.Get("Content-Disposition") != want {
			t.Errorf("it is sent as %q", header.Get("Content-Disposition"))
		}
	}
	if got := files(t, s.Data); got != before+3 {
		t.Errorf("%d files in the registry, want %d", got, before+3)
	}
	status, said := s.tell(t, officer.key, http.MethodPost, "/cases/"+c.ID+"/photos?name="+strings.Repeat("x", 300), nil, nil)
	if status != http.StatusUnprocessableEntity {
		t.Errorf("a name of 300 characters in the address: %d %s", status, said)
	}
}
