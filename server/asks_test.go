package server_test

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

func TestLookAtAnotherRegion(t *testing.T) {
	s := newTestServer(t)
	here, there := s.regions(t)
	holder, asker := s.colleague(t, registry.Officer, here), s.colleague(t, registry.Officer, there)
	outsider := s.colleague(t, registry.Supervisor, there)
	c, p := s.foundCase(t, holder, here, photos.Read(t, photos.Obama))

	sees := func(by colleague) string {
		_, said := s.tell(t, by.key, http.MethodGet, "/cases/"+c.ID, nil, nil)
		return said
	}
	asks := "/cases/" + c.ID + "/asks"
	if said := sees(asker); said != "other_region" {
		t.Fatalf("before it is granted: %q", said)
	}
	if _, said := s.tell(t, asker.key, http.MethodPost, asks, api.NewAsk{Why: " "}, nil); said != "invalid" {
		t.Errorf("without a reason: %q", said)
	}
	if _, said := s.tell(t, asker.key, http.MethodPost, "/cases/c_nothing/asks", api.NewAsk{Why: "x"}, nil); said != "not_found" {
		t.Errorf("no such case: %q", said)
	}
	if _, said := s.tell(t, holder.key, http.MethodPost, asks, api.NewAsk{Why: "x"}, nil); said != "may_see" {
		t.Errorf("who may see it asks: %q", said)
	}
	var a, again api.Ask
	const why = "<b>A lead</b> in our region"
	if status, said := s.tell(t, asker.key, http.MethodPost, asks, api.NewAsk{Why: why}, &a); status != http.StatusCreated {
		t.Fatal(status, said)
	}
	if s.tell(t, asker.key, http.MethodPost, asks, api.NewAsk{Why: why}, &again); again.ID != a.ID {
		t.Error("asking twice makes two")
	}
	list := func(by colleague) (out api.Asks) {
		t.Helper()
		if status, said := s.tell(t, by.key, http.MethodGet, "/asks", nil, &out); status != http.StatusOK {
			t.Fatal(status, said)
		}
		return out
	}
	if l := list(holder); len(l.Open) != 1 || l.Open[0].By.Name != asker.Name || len(l.Own) != 0 {
		t.Errorf("of who answers: %+v", l)
	}
	if l := list(asker); len(l.Open) != 0 || len(l.Own) != 1 {
		t.Errorf("of who asked: %+v", l)
	}
	if l := list(outsider); len(l.Open) != 0 {
		t.Errorf("of who is not responsible: %+v", l)
	}
	if l := list(s.colleague(t, registry.Examiner, here)); len(l.Open) != 0 {
		t.Errorf("of an examiner: %+v", l)
	}
	if page := s.shownPage(t, holder.key, "/asks"); strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;b&gt;") {
		t.Error("markup in a reason is not text")
	}
	answer := func(by colleague, grant bool) string {
		_, said := s.tell(t, by.key, http.MethodPost, "/asks/"+a.ID+"/answer", api.AskAnswer{Grant: grant}, &a)
		return said
	}
	for name, tc := range map[string]struct {
		by   colleague
		said string
	}{
		"the asker":   {asker, "not_yours"},
		"elsewhere":   {outsider, "not_yours"},
		"an examiner": {s.colleague(t, registry.Examiner, here), "forbidden"},
	} {
		if said := answer(tc.by, true); said != tc.said {
			t.Errorf("%s answers: %q, want %q", name, said, tc.said)
		}
	}
	if said := answer(holder, true); said != "" || a.Answer != "granted" || a.Until == nil {
		t.Fatalf("grant: %q %+v", said, a)
	}
	if said := answer(holder, false); said != "conflict" {
		t.Errorf("answered twice: %q", said)
	}
	if said := sees(asker); said != "" {
		t.Errorf("granted: %q", said)
	}
	if said := sees(outsider); said != "other_region" {
		t.Errorf("a colleague of who asked: %q", said)
	}
	// A look is no more than a look.
	if _, said := s.tell(t, asker.key, http.MethodPost, "/cases/"+c.ID+"/publications", api.NewPublication{Photos: []string{p.ID}, AgeFrom: 1, AgeTo: 2}, nil); said != "not_yours" {
		t.Errorf("who may look publishes: %q", said)
	}
	place := "elsewhere"
	if _, said := s.tell(t, asker.key, http.MethodPatch, "/cases/"+c.ID, api.CaseChange{Version: c.Version, Place: &place}, nil); said != "not_yours" {
		t.Errorf("who may look changes facts: %q", said)
	}
	if _, said := s.tell(t, asker.key, http.MethodPost, "/cases/"+c.ID+"/close", nil, nil); said != "not_yours" {
		t.Errorf("who may look closes: %q", said)
	}

	db, err := sql.Open("sqlite", filepath.Join(s.Data, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE asks SET until = 1 WHERE id = ?", a.ID); err != nil {
		t.Fatal(err)
	}
	if said := sees(asker); said != "other_region" {
		t.Errorf("when the look is over: %q", said)
	}
	if page := s.shownPage(t, asker.key, "/asks"); strings.Contains(page, "/cases/"+c.ID) {
		t.Error("the page leads to what cannot be seen any more")
	}
}

func TestSavedSearches(t *testing.T) {
	s := newTestServer(t)
	one, two := s.colleague(t, registry.Officer, registry.Everywhere), s.colleague(t, registry.Officer, registry.Everywhere)
	save := func(by colleague, name, query string, out any) string {
		_, said := s.tell(t, by.key, http.MethodPost, "/saved-searches", api.NewSavedSearch{Name: name, Query: query}, out)
		return said
	}
	var saved, again api.SavedSearch
	if said := save(one, "Birthmark <b>", "?gallery=found&words=birthmark+left&born_from=2006", &saved); said != "" {
		t.Fatal(said)
	}
	if saved.Query != "born_from=2006&gallery=found&words=birthmark+left" {
		t.Errorf("kept as %q", saved.Query)
	}
	if save(one, "Birthmark <b>", "gallery=missing", &again); again.ID != saved.ID {
		t.Error("one of the same name is another")
	}
	for name, query := range map[string]string{
		"a photo":       "photo=AAAA",
		"another place": "back=//evil.example",
		"no query":      "%zz",
		"too long":      "words=" + strings.Repeat("x", 5000),
	} {
		if said := save(one, "bad", query, nil); said != "invalid" {
			t.Errorf("%s: %q", name, said)
		}
	}
	if said := save(one, " ", "gallery=found", nil); said != "invalid" {
		t.Errorf("without a name: %q", said)
	}
	list := func(by colleague) (out []api.SavedSearch) {
		s.tell(t, by.key, http.MethodGet, "/saved-searches", nil, &out)
		return out
	}
	if len(list(one)) != 1 || len(list(two)) != 0 {
		t.Errorf("lists: %v, %v", list(one), list(two))
	}
	if _, said := s.tell(t, two.key, http.MethodDelete, "/saved-searches/"+saved.ID, nil, nil); said != "not_found" {
		t.Errorf("another account's: %q", said)
	}
	if status, raw, _ := s.request(t, one.key, http.MethodDelete, "/api/v1/saved-searches/"+saved.ID, nil, nil); status != http.StatusNoContent {
		t.Errorf("delete: %d %s", status, raw)
	}
	if len(list(one)) != 0 {
		t.Error("it is still there")
	}
}
