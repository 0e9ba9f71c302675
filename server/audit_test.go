package server_test

import (
	"context"
	"database/sql"
	"encoding/csv"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homeward/api"
	"homeward/registry"
	"homeward/server"
)

// TestAudit reads the audit as an auditor does.
func TestAudit(t *testing.T) {
	s := newTestServer(t)
	auditor := s.colleague(t, registry.Auditor)
	officer := s.colleague(t, registry.Officer, registry.Everywhere)
	var c api.Case
	if status, said := s.tell(t, officer.key, http.MethodPost, "/cases", map[string]any{"gallery": "found", "names": []string{"Sample One"}}, &c); status != http.StatusCreated {
		t.Fatal(status, said)
	}
	// A purpose is text that someone wrote.
	formula := http.Header{"Homeward-Purpose": {`=HYPERLINK("https://attacker.example")<b>`}}
	if status, _, _ := s.request(t, officer.key, http.MethodGet, "/api/v1/cases/"+c.ID, nil, formula); status != http.StatusOK {
		t.Fatal(status)
	}

	read := func(t *testing.T, query string) (p api.AuditPage) {
		t.Helper()
		if status, said := s.tell(t, auditor.key, http.MethodGet, "/audit"+query, nil, &p); status != http.StatusOK {
			t.Fatal(query, status, said)
		}
		return p
	}
	all := read(t, "")
	for i, e := range all.Entries {
		if i > 0 && e.N != all.Entries[i-1].N-1 {
			t.Errorf("entry %d follows entry %d", e.N, all.Entries[i-1].N)
		}
	}
	number := c.Number
	day := time.Now().Format(time.DateOnly)
	for query, want := range map[string]func(api.AuditEntry) bool{
		"?account=" + string(officer.ID): func(e api.AuditEntry) bool {
			return e.By == api.Person{Account: string(officer.ID), Name: officer.Name, Role: "officer"}
		},
		"?case=" + c.ID:                    func(e api.AuditEntry) bool { return e.Case == c.ID && e.Number == number },
		"?case=" + strings.ToLower(number): func(e api.AuditEntry) bool { return e.Case == c.ID },
		"?action=case.":                    func(e api.AuditEntry) bool { return strings.HasPrefix(e.Action, "case.") },
		"?action=case.looked":              func(e api.AuditEntry) bool { return e.Action == "case.looked" && e.Text == "Case looked at" },
		"?from=" + day + "&to=" + day:      func(e api.AuditEntry) bool { return true },
	} {
		got := read(t, query).Entries
		if len(got) == 0 {
			t.Errorf("%s: nothing", query)
		}
		for _, e := range got {
			if !want(e) {
				t.Errorf("%s: %+v", query, e)
			}
		}
	}
	if got := read(t, "?to=2001-01-01").Entries; len(got) != 0 {
		t.Errorf("before there was anything: %+v", got)
	}
	// Page by page it is the same, without what reading it added.
	var pages []int64
	for query := "?limit=2"; query != ""; {
		p := read(t, query)
		for _, e := range p.Entries {
			pages = append(pages, e.N)
		}
		if query = ""; p.Next != "" {
			query = "?limit=2&cursor=" + url.QueryEscape(p.Next)
		}
	}
	for _, e := range all.Entries {
		if !slices.Contains(pages, e.N) {
			t.Errorf("entry %d is on no page", e.N)
		}
	}
	for _, query := range []string{"?case=M-000123-0", "?case=x", "?from=yesterday", "?to=2026-13-01", "?from=2026-02-01&to=2026-01-01", "?cursor=x", "?limit=0", "?action=DROP"} {
		if status, said := s.tell(t, auditor.key, http.MethodGet, "/audit"+query, nil, nil); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", query, status, said)
		}
	}
	// Whoever reads is in it too.
	noted := read(t, "?account="+string(auditor.ID)+"&action=audit.read").Entries
	if len(noted) == 0 || !slices.ContainsFunc(noted, func(e api.AuditEntry) bool { return e.Case == c.ID }) {
		t.Errorf("what the auditor read: %+v", noted)
	}

	t.Run("page", func(t *testing.T) {
		page := s.shownPage(t, auditor.key, "/audit?case="+number)
		for _, want := range []string{"Case made", "Case looked at", number, officer.Name, "Officer", all.Entries[0].At.Local().Format("2006-01-02"), "audit.csv?case=" + number, "Not yet"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not show %q", want)
			}
		}
		if strings.Contains(page, "<b>") {
			t.Error("a purpose is not escaped")
		}
		if strings.Contains(page, "Sample One") {
			t.Error("the audit knows a child's name")
		}
		status, raw, _ := s.request(t, auditor.key, http.MethodGet, "/audit?case=M-000123-0", nil, nil)
		if status != http.StatusUnprocessableEntity || !strings.Contains(string(raw), "M-000123-7") || !strings.Contains(string(raw), `value="M-000123-0"`) {
			t.Errorf("a wrong number: %d", status)
		}
	})

	t.Run("table", func(t *testing.T) {
		status, raw, header := s.request(t, auditor.key, http.MethodGet, "/api/v1/audit.csv?case="+c.ID, nil, nil)
		if status != http.StatusOK || header.Get("Content-Type") != "text/csv; charset=utf-8" || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
			t.Fatal(status, header)
		}
		rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(raw), "\ufeff"))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		purpose := slices.Index(rows[0], "purpose")
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[purpose] == `'=HYPERLINK("https://attacker.example")<b>` }) {
			t.Errorf("no row with the purpose, or it is a formula still: %q", rows)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.Contains("=+-@\t\r", cell[:1]) {
					t.Errorf("a spreadsheet runs %q", cell)
				}
			}
		}
		if got := read(t, "?action=export.made").Entries; len(got) != 1 || got[0].By.Account != string(auditor.ID) || got[0].Detail["of"] != "audit" {
			t.Errorf("the export in the audit: %+v", got)
		}
		if status, said := s.tell(t, auditor.key, http.MethodGet, "/audit.csv?case=x", nil, nil); status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong number: %d %s", status, said)
		}
	})
}

// TestAuditVerification: a change made past Homeward shows, to the auditor and in the audit.
func TestAuditVerification(t *testing.T) {
	s := newTestServer(t)
	auditor := s.colleague(t, registry.Auditor)
	verify := func(query string) (v api.AuditVerification) {
		t.Helper()
		if status, said := s.tell(t, auditor.key, http.MethodGet, "/audit/verification"+query, nil, &v); status != http.StatusOK {
			t.Fatal(status, said)
		}
		return v
	}
	first := verify("")
	if !first.Intact || first.Entries == 0 || len(first.Head) != 64 || first.Fault != "" {
		t.Fatalf("untouched: %+v", first)
	}
	page := s.shownPage(t, auditor.key, "/audit")
	if !strings.Contains(page, "nothing was changed, "+fmt.Sprint(first.Entries)) {
		t.Error("the page does not show what was found last")
	}
	if got := verify("?head=" + first.Head); !got.Intact {
		t.Errorf("with a head that was kept: %+v", got)
	}
	if got := verify("?head=" + strings.Repeat("0", 64)); got.Intact || !strings.Contains(got.Fault, "earlier state") {
		t.Errorf("with a head of elsewhere: %+v", got)
	}
	// Three are enough in so short a time: it reads everything.
	if status, said := s.tell(t, auditor.key, http.MethodGet, "/audit/verification", nil, nil); status != http.StatusTooManyRequests {
		t.Errorf("again and again: %d %s", status, said)
	}

	db, err := sql.Open("sqlite", filepath.Join(s.Data, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, change := range []string{"PRAGMA busy_timeout = 5000", "DROP TRIGGER audit_no_update", "UPDATE audit SET action = 'photo.unseen' WHERE n = 2"} {
		if _, err := db.ExecContext(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	other := s.colleague(t, registry.Auditor)
	var v api.AuditVerification
	if status, said := s.tell(t, other.key, http.MethodGet, "/audit/verification", nil, &v); status != http.StatusOK || v.Intact || v.Entries != 1 || !strings.Contains(v.Fault, "entry 2 is not as it was written") {
		t.Errorf("after a change: %d %s %+v", status, said, v)
	}
	if page := s.shownPage(t, other.key, "/audit"); !strings.Contains(page, "it was changed. Tell the operator.") {
		t.Error("the page does not show that the audit was changed")
	}
}

// TestUnusualVolume: who looks at far more than usual is shown, and noted once a day, whether or not anyone reads the audit.
func TestUnusualVolume(t *testing.T) {
	s := newTestServer(t)
	auditor := s.colleague(t, registry.Auditor)
	busy, usual := s.colleague(t, registry.Officer), s.colleague(t, registry.Officer)
	for who, count := range map[registry.AccountID]int{busy.ID: 60, usual.ID: 10} {
		notes := slices.Repeat([]registry.Note{{Action: "photo.looked", Case: "c_sample", Subject: "p_sample"}}, count)
		if err := s.Finder.Registry.Record(registry.WithActor(t.Context(), registry.Actor{Account: who, Role: registry.Officer}), notes...); err != nil {
			t.Fatal(err)
		}
	}
	flags := func() []registry.AuditEntry {
		t.Helper()
		entries, _, err := s.Finder.Registry.Audit(t.Context(), registry.AuditQuery{Action: "volume.flagged"})
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	sv, err := server.New(s.Finder, slog.New(slog.DiscardHandler), server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sv.Watch(ctx) }()
	waitFor(t, "the watch to flag the account", func() bool { return len(flags()) > 0 })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the watch ended with %v", err)
	}
	page := s.shownPage(t, auditor.key, "/audit")
	if !strings.Contains(page, "/audit?account="+string(busy.ID)) || strings.Contains(page, "/audit?account="+string(usual.ID)) {
		t.Error("the page does not show who looked unusually much, or shows someone else")
	}
	var u api.UnusualVolume
	if status, said := s.tell(t, auditor.key, http.MethodGet, "/audit/volume", nil, &u); status != http.StatusOK || len(u.Accounts) != 1 || u.Accounts[0].By.Account != string(busy.ID) || u.Accounts[0].Count != 60 {
		t.Errorf("%d %s %+v", status, said, u)
	}
	got := flags()
	if len(got) != 1 || got[0].Subject != string(busy.ID) || got[0].Role != registry.System || got[0].Account != "" || got[0].Detail["count"] != "60" {
		t.Errorf("in the audit: %+v", got)
	}
}
