package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"homeward/api"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

func TestHistoryTellsNoFinding(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	here, there := s.regions(t)
	officer, far := s.colleague(t, registry.Officer, here), s.colleague(t, registry.Officer, there)
	judge, second := s.colleague(t, registry.Examiner, here), s.colleague(t, registry.Examiner, here)
	auditor := s.colleague(t, registry.Auditor)
	found, _ := s.foundCase(t, officer, here, photos.Read(t, photos.Obama))
	var missing api.Case
	if _, said := s.tell(t, officer.key, http.MethodPost, "/cases", api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{"Sample One"}, Region: here}}, &missing); said != "" {
		t.Fatal(said)
	}
	lead, _, err := s.Finder.Registry.OpenLead(ctx, registry.NewLead{Missing: registry.CaseID(missing.ID), Found: registry.CaseID(found.ID)}, registry.FromOfficer, "")
	if err != nil {
		t.Fatal(err)
	}
	actor := registry.Actor{Account: judge.ID, Role: registry.Examiner, Regions: judge.Regions}
	if _, _, err := s.Finder.Registry.GiveVerdict(registry.WithActor(ctx, actor), registry.NewVerdict{
		Lead: lead.ID, Round: 1, Finding: registry.NoCandidate, Reasons: "The ears differ",
	}, registry.Frozen{Content: json.RawMessage("{}")}); err != nil {
		t.Fatal(err)
	}

	for _, c := range []api.Case{missing, found} {
		status, raw, _ := s.request(t, second.key, http.MethodGet, "/api/v1/cases/"+c.ID+"/history", nil, nil)
		var page api.HistoryPage
		if err := json.Unmarshal(raw, &page); err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
		if i := slices.IndexFunc(page.Entries, func(e api.HistoryEntry) bool { return e.Action == "verdict.given" }); i < 0 ||
			page.Entries[i].By.Name != judge.Name || page.Entries[i].Text != "Verdict given" || page.Entries[i].Subject != string(lead.ID) {
			t.Errorf("the verdict is not in the history of the %s case: %+v", c.Gallery, page.Entries)
		}
		if !slices.IsSortedFunc(page.Entries, func(a, b api.HistoryEntry) int { return int(b.N - a.N) }) {
			t.Error("it is not newest first")
		}
		shown := s.shownPage(t, second.key, "/cases/"+c.ID+"/history")
		for _, text := range []string{string(raw), shown} {
			for _, finding := range []string{"no_candidate", "No candidate", "ears differ"} {
				if strings.Contains(text, finding) {
					t.Errorf("the history says %q", finding)
				}
			}
		}
	}

	path := "/cases/" + found.ID + "/history"
	var all, done api.HistoryPage
	s.tell(t, officer.key, http.MethodGet, "/cases/"+found.ID, nil, nil)
	s.tell(t, officer.key, http.MethodGet, path, nil, &all)
	s.tell(t, officer.key, http.MethodGet, path+"?looks=hidden", nil, &done)
	looks := func(p api.HistoryPage) bool {
		return slices.ContainsFunc(p.Entries, func(e api.HistoryEntry) bool {
			return strings.HasSuffix(e.Action, ".looked") || e.Action == "search.made"
		})
	}
	if !looks(all) || looks(done) || len(done.Entries) == 0 {
		t.Errorf("with looks %v, without %v", all.Entries, done.Entries)
	}

	for name, tc := range map[string]struct{ key, path, said string }{
		"another region":           {far.key, path, "other_region"},
		"an auditor":               {auditor.key, path, ""},
		"a laboratory":             {s.colleague(t, registry.Laboratory).key, path, "forbidden"},
		"nobody":                   {"", path, "no_key"},
		"no such case":             {officer.key, "/cases/c_nothing/history", "not_found"},
		"no such case, auditor":    {auditor.key, "/cases/c_nothing/history", "not_found"},
		"a lead's id for a case":   {auditor.key, "/cases/" + string(lead.ID) + "/history", "not_found"},
		"a cursor that is made up": {auditor.key, path + "?cursor=AAAA", "invalid"},
	} {
		if _, said := s.tell(t, tc.key, http.MethodGet, tc.path, nil, nil); said != tc.said {
			t.Errorf("%s: %q, want %q", name, said, tc.said)
		}
	}
	if _, said := s.tell(t, auditor.key, http.MethodGet, "/cases/"+found.ID, nil, nil); said != "forbidden" {
		t.Errorf("an auditor sees the case: %q", said)
	}
	status, raw, _ := s.request(t, auditor.key, http.MethodGet, path, nil, http.Header{"Accept-Language": {"zh"}})
	if page := string(raw); status != http.StatusOK || !strings.Contains(page, "建立档案") || strings.Contains(page, `href="/cases/`+found.ID+`"`) {
		t.Errorf("the auditor's page: %d", status)
	}

	// Who deletes a case does not delete what was done with it.
	if err := s.Finder.Registry.DeleteCase(ctx, registry.CaseID(found.ID)); err != nil {
		t.Fatal(err)
	}
	if s.tell(t, auditor.key, http.MethodGet, path, nil, &all); all.Entries[1].Action != "case.deleted" && all.Entries[0].Action != "case.deleted" {
		t.Errorf("after it was deleted: %+v", all.Entries[:2])
	}
	if _, said := s.tell(t, officer.key, http.MethodGet, path, nil, nil); said != "not_found" {
		t.Errorf("an officer, after it was deleted: %q", said)
	}
}

func TestCaseList(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	here, there := s.regions(t)
	officer, examiner, far := s.colleague(t, registry.Officer, here), s.colleague(t, registry.Examiner, here), s.colleague(t, registry.Officer, there)
	receipt, err := s.Finder.Registry.ReportCase(ctx, registry.Case{Names: []string{"Sample <b>One"}, Region: here}, registry.Contact{Name: "Family One", Phone: "555 0100"}, "en")
	if err != nil {
		t.Fatal(err)
	}
	var other api.Case
	s.tell(t, officer.key, http.MethodPost, "/cases", api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{"Sample Two"}, Region: here, Sex: "female", Born: api.Range{From: "2010"}}}, &other)
	for name, tc := range map[string]struct {
		key, query string
		one, two   bool
	}{
		"all":                   {officer.key, "", true, true},
		"unchecked":             {officer.key, "?unchecked=on", true, false},
		"sex keeps the unknown": {officer.key, "?sex=male", true, false},
		"birth year":            {officer.key, "?born_from=2011", true, false},
		"kind":                  {officer.key, "?gallery=found", false, false},
		"another region":        {far.key, "", false, false},
		"a region not covered":  {far.key, "?region=" + here, false, false},
		"closed":                {officer.key, "?status=closed", false, false},
		"open and closed":       {officer.key, "?status=all", true, true},
	} {
		page := s.shownPage(t, tc.key, "/cases"+tc.query)
		if strings.Contains(page, "Sample &lt;b&gt;One") != tc.one || strings.Contains(page, "Sample Two") != tc.two || strings.Contains(page, "<b>One") {
			t.Errorf("%s: not as it should be", name)
		}
		if strings.Contains(page, "555 0100") {
			t.Errorf("%s: a list shows how to reach a family", name)
		}
	}
	if status, _, _ := s.request(t, officer.key, http.MethodGet, "/cases?born_from=x", nil, nil); status != http.StatusUnprocessableEntity {
		t.Errorf("a year that is none: %d", status)
	}
	waitFor(t, "words", func() bool {
		return strings.Contains(s.shownPage(t, officer.key, "/cases?words=Sample+Two"), "Sample Two")
	})

	path := "/cases/" + string(receipt.Case.ID)
	if !strings.Contains(s.shownPage(t, officer.key, path), "555 0100") {
		t.Error("the officer is not shown how to reach the family")
	}
	if strings.Contains(s.shownPage(t, examiner.key, path), "555 0100") {
		t.Error("an examiner is shown how to reach the family")
	}
	looked, _, err := s.Finder.Registry.Audit(ctx, registry.AuditQuery{Action: "contact.looked"})
	if err != nil || len(looked) != 1 || looked[0].Account != officer.ID {
		t.Errorf("looks at the contact on record: %+v, %v", looked, err)
	}
	if status, said := s.tell(t, officer.key, http.MethodPatch, path, map[string]any{"version": receipt.Case.Version, "verified": "P-77"}, nil); status != http.StatusOK {
		t.Fatal(status, said)
	}
	if strings.Contains(s.shownPage(t, officer.key, "/cases?unchecked=on"), "Sample") {
		t.Error("what was checked is still listed as unchecked")
	}
}
