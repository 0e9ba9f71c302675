package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"homeward/api"
	"homeward/registry"
)

// colleague is an account and its key.
type colleague struct {
	key string
	registry.Account
}

func (s *testServer) colleague(t *testing.T, role registry.Role, regions ...string) colleague {
	t.Helper()
	_, key, a := s.as(t, role, regions...)
	return colleague{key, a}
}

// regions makes two regions, neither of which has the other.
func (s *testServer) regions(t *testing.T) (here, there string) {
	t.Helper()
	for code, name := range map[string]string{"CN-51": "Sichuan", "CN-44": "Guangdong"} {
		if err := s.Finder.Registry.PutRegion(t.Context(), registry.Region{Code: code, Names: map[string]string{"en": name}}); err != nil {
			t.Fatal(err)
		}
	}
	return "CN-51", "CN-44"
}

// tell asks the API with JSON, and reads the answer into out where that is not nil. said is the problem's code, "" for none.
func (s *testServer) tell(t *testing.T, key, method, path string, body, out any) (status int, said string) {
	t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	status, raw, _ := s.request(t, key, method, "/api/v1"+path, r, nil)
	if status >= 400 {
		var p struct{ Type string }
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatalf("%s %s: %d %s", method, path, status, raw)
		}
		return status, p.Type[strings.LastIndex(p.Type, ":")+1:]
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return status, ""
}

// request asks for anything.
func (s *testServer) request(t *testing.T, key, method, path string, body io.Reader, header http.Header) (status int, raw []byte, got http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // follows nothing: a page that leads elsewhere says so
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, raw, resp.Header
}

// shownPage is a page as an account sees it.
func (s *testServer) shownPage(t *testing.T, key, path string) string {
	t.Helper()
	status, raw, _ := s.request(t, key, http.MethodGet, path, nil, nil)
	if status != http.StatusOK {
		t.Fatalf("%s: %d", path, status)
	}
	return string(raw)
}

// foundCase makes a found child's case in a region, with a photo.
func (s *testServer) foundCase(t *testing.T, by colleague, region string, photo []byte) (api.Case, api.Photo) {
	t.Helper()
	var c api.Case
	if status, said := s.tell(t, by.key, http.MethodPost, "/cases", api.NewCase{Gallery: "found", CaseFacts: api.CaseFacts{
		Region: region, On: "2015-06-17", Place: "House 5 of a street", Born: api.Range{From: "2007", To: "2009"},
	}}, &c); said != "" {
		t.Fatal(status, said)
	}
	var p api.Photo
	status, raw, _ := s.request(t, by.key, http.MethodPost, "/api/v1/cases/"+c.ID+"/photos", bytes.NewReader(photo), http.Header{"Content-Type": {"image/jpeg"}})
	if status != http.StatusCreated {
		t.Fatalf("add a photo: %d %s", status, raw)
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return c, p
}
