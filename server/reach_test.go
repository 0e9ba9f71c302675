package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
	"homeward/server"
)

// TestNothingOutOfReach gives people of another region, another laboratory, another family and the public the id of everything
// there is, and has them ask every route with it. None is shown a word or a picture of it, or changes it.
func TestNothingOutOfReach(t *testing.T) {
	const word = "Wistaria" // stands in everything that anyone wrote
	s := newTestServer(t)
	r := s.Finder.Registry
	here, there := s.regions(t)
	officer, lab := s.colleague(t, registry.Officer, here), s.colleague(t, registry.Laboratory)

	facts := api.CaseFacts{Names: []string{word}, Sex: "male", Born: api.Range{From: "1961"}, On: "1999", Region: here, Place: word, Marks: word, Notes: word, Ref: word}
	missing := api.NewCase{Gallery: "missing", CaseFacts: facts}
	found := api.NewCase{Gallery: "found", CaseFacts: facts}
	found.On = "2009"
	sought, missed := enrol(t, s, missing, photos.Read(t, photos.Obama))
	rescued, shown := enrol(t, s, found, photos.Read(t, photos.Obama3))

	must := func(key, method, path string, body any) map[string]any {
		t.Helper()
		out := map[string]any{}
		if status, said := s.tell(t, key, method, path, body, &out); said != "" {
			t.Fatalf("%s %s: %d %s", method, path, status, said)
		}
		return out
	}
	id := func(got map[string]any) string { return got["id"].(string) }
	lead := id(must(officer.key, http.MethodPost, "/leads", api.NewLead{Missing: sought.ID, Found: rescued.ID, Note: word}))
	var verdictID string
	for range 2 {
		verdictID = id(must(s.colleague(t, registry.Examiner, here).key, http.MethodPost, "/leads/"+lead+"/verdicts", verdict("potential_candidate", word)))
	}
	request := id(must(officer.key, http.MethodPost, "/leads/"+lead+"/dna", map[string]string{"laboratory": sampleLaboratory}))
	must(lab.key, http.MethodPost, "/dna/"+request+"/samples", map[string]string{"whose": "child", "kit": word, "taken_on": "2010-01-01"})
	publication := must(officer.key, http.MethodPost, "/cases/"+rescued.ID+"/publications", api.NewPublication{Photos: []string{shown.ID}, AgeFrom: 9, AgeTo: 12, FoundOn: "2009", Marks: word})
	proposal, err := r.PublicationsOf(t.Context(), registry.CaseID(rescued.ID))
	if err != nil || len(proposal) != 1 || len(proposal[0].Pictures) != 1 {
		t.Fatal(proposal, err)
	}
	saved := id(must(officer.key, http.MethodPost, "/saved-searches", map[string]string{"name": word, "query": "words=" + word}))
	waiting := id(must(s.colleague(t, registry.Officer, there).key, http.MethodPost, "/cases/"+sought.ID+"/asks", api.NewAsk{Why: word}))

	values := map[string][]string{
		"case": {sought.ID, rescued.ID}, "photo": {missed.ID, shown.ID}, "face": {missed.Subject, shown.Subject}, "lead": {lead}, "verdict": {verdictID},
		"request": {request}, "publication": {id(publication)}, "child": {id(publication)}, "picture": {proposal[0].Pictures[0].ID},
		"ask": {waiting}, "saved": {saved}, "gallery": {"missing", "found"}, "ref": {word}, "search": {"s_none"}, "account": {string(officer.ID)},
		"session": {"h_none"}, "key": {"k_none"}, "upload": {"u_none"}, "code": {here}, "link": {"hf_none"}, "job": {string(s.job(t, registry.JobImport, word))}, "invitation": {"hi_none"}, "file": {"en.js"}, "schema": {"Case.json"},
	}
	// In small letters: what was asked for may stand in the answer, and is not what anyone wrote.
	queries := []string{"", "?words=" + strings.ToLower(word), "?case=" + sought.ID, "?case=" + rescued.ID, "?region=" + here, "?face=" + shown.Subject}
	bodies := []any{
		map[string]any{}, map[string]any{"version": 1, "place": "x"}, map[string]any{"subject": ""}, map[string]any{"round": 1, "finding": "no_candidate", "reasons": "x"},
		map[string]any{"laboratory": sampleLaboratory}, map[string]any{"whose": "mother", "kit": "1", "taken_on": "2010-01-01"},
		map[string]any{"result": "confirmed", "report": "1", "on": "2010-01-02"}, map[string]any{"publish": true}, map[string]any{"remove": true}, map[string]any{"why": "x"},
		map[string]any{"grant": true}, map[string]any{"missing": sought.ID, "found": rescued.ID, "note": "x"}, map[string]any{"photos": []string{shown.ID}, "age_from": 1, "age_to": 2},
		map[string]any{"case": sought.ID}, map[string]any{"face": shown.Subject}, map[string]any{"note": "x"},
	}

	receipt, err := r.ReportCase(t.Context(), registry.Case{Gallery: registry.Missing, Names: []string{"Sample Two"}}, registry.Contact{Name: "Family Two", Phone: "1"}, "en")
	if err != nil {
		t.Fatal(err)
	}
	stranger := s.colleague(t, registry.Laboratory)
	elsewhere := "Another Laboratory"
	if _, err := r.UpdateAccount(t.Context(), stranger.ID, registry.AccountChange{Organisation: &elsewhere}); err != nil {
		t.Fatal(err)
	}
	intruders := map[string]func(*http.Request){"the public": func(*http.Request) {}}
	for name, who := range map[string]colleague{
		"another region's officer": s.colleague(t, registry.Officer, there), "another region's examiner": s.colleague(t, registry.Examiner, there),
		"another region's supervisor": s.colleague(t, registry.Supervisor, there), "another laboratory": stranger,
		"an administrator": s.colleague(t, registry.Administrator, registry.Everywhere),
	} {
		intruders[name] = func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+who.key) }
	}
	token, err := r.CreateSession(t.Context(), receipt.Account, "test", 1<<45)
	if err != nil {
		t.Fatal(err)
	}
	intruders["another family"] = func(req *http.Request) { req.AddCookie(&http.Cookie{Name: "homeward_session", Value: token}) }

	before := everything(t, s, sought.ID, rescued.ID, lead, request)
	for name, as := range intruders {
		asked := 0
		for _, route := range server.Routes() {
			method, path, _ := strings.Cut(route, " ")
			// Those that concern the asker alone, and would end the session that is used here.
			if method != http.MethodGet && !strings.HasPrefix(path, "/api/") || strings.Contains(path, "/family/") || strings.Contains(path, "/account/") {
				continue
			}
			for _, address := range addresses(path, values) {
				sends := []any{nil}
				if method != http.MethodGet && method != http.MethodDelete && method != http.MethodHead {
					sends = bodies
				}
				tails := []string{""}
				if method == http.MethodGet {
					tails = queries
				}
				for _, body := range sends {
					for _, tail := range tails {
						asked++
						status, answer, kind := s.intrude(t, method, address+tail, body, as)
						if status >= 200 && status < 300 && strings.HasPrefix(kind, "image/") && !strings.HasPrefix(path, "/static/") {
							t.Errorf("%s: %s %s shows a picture", name, method, address+tail)
						}
						if strings.Contains(answer, word) && !strings.Contains(address, word) {
							t.Errorf("%s: %s %s: %d tells what was written:\n%.300s", name, method, address+tail, status, around(answer, word))
						}
					}
				}
			}
		}
		if asked < 100 {
			t.Errorf("%s asked only %d times", name, asked)
		}
	}
	if !strings.Contains(s.shownPage(t, officer.key, "/cases/"+sought.ID), word) {
		t.Error("nor is it shown to whom it concerns: this test tests nothing")
	}
	if after := everything(t, s, sought.ID, rescued.ID, lead, request); after != before {
		t.Errorf("something was changed by those whom it does not concern:\nbefore %s\nafter  %s", before, after)
	}
}

// intrude asks with a body, or without.
func (s *testServer) intrude(t *testing.T, method, path string, body any, as func(*http.Request)) (status int, answer, kind string) {
	t.Helper()
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	as(req)
	resp, err := http.DefaultTransport.RoundTrip(req)
	got := read(t, resp, err)
	return got.status, got.body, got.header.Get("Content-Type")
}

// addresses puts every id into a route's path.
func addresses(path string, values map[string][]string) []string {
	out := []string{""}
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		with := []string{part}
		if name, ok := strings.CutPrefix(part, ":"); ok {
			with = values[name]
		} else if strings.HasPrefix(part, "*") {
			with = []string{"none"}
		}
		var longer []string
		for _, before := range out {
			for _, p := range with {
				longer = append(longer, before+"/"+p)
			}
		}
		out = longer
	}
	return slices.Compact(out)
}

// everything is what intruders could change.
func everything(t *testing.T, s *testServer, sought, rescued, lead, request string) string {
	t.Helper()
	r := s.Finder.Registry
	var all []any
	for _, id := range []string{sought, rescued} {
		c, err := r.Case(t.Context(), registry.CaseID(id))
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.PhotosOf(t.Context(), registry.CaseID(id))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c, p)
	}
	l, err := r.Lead(t.Context(), registry.LeadID(lead))
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.DNARequest(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	published, err := r.PublicationsOf(t.Context(), registry.CaseID(rescued))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(append(all, l, d, published))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// around is where a word stands in a text.
func around(text, word string) string {
	at := strings.Index(text, word)
	return text[max(at-150, 0):min(at+150, len(text))]
}
