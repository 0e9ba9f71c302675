package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// as is a context in which a new account of the role, responsible for the regions, acts.
func as(t testing.TB, r *Registry, role Role, regions ...string) context.Context {
	t.Helper()
	a := Actor{Account: AccountID(newID("a_")), Role: role, Regions: regions, Via: "h_test"}
	if _, err := r.writer.Exec(`INSERT INTO accounts (id, login, name, role, regions, organisation, language, created_by, created_at)
		VALUES (?, ?, 'Sample', ?, ?, '', '', '', 1)`, a.Account, a.Account, role, jsonText(regions)); err != nil {
		t.Fatal(err)
	}
	return WithActor(t.Context(), a)
}

// clock is a clock that a test sets.
type clock struct{ at, up time.Duration }

// clockStart is where a test's clock starts.
var clockStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (c *clock) options() Options {
	return Options{Now: func() time.Time { return clockStart.Add(c.at) }, uptime: func() time.Duration { return c.up }}
}

// pass lets time pass, of clock and process alike.
func (c *clock) pass(d time.Duration) { c.at, c.up = c.at+d, c.up+d }

func regions(t testing.TB, r *Registry, codes ...string) {
	t.Helper()
	for _, code := range codes {
		if err := r.PutRegion(t.Context(), Region{Code: code, Names: map[string]string{"en": code}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAsk(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	regions(t, r, "CN-51", "TH")
	c, err := r.CreateCase(t.Context(), Case{Gallery: Found, Region: "CN-51"})
	if err != nil {
		t.Fatal(err)
	}
	away, owner, another := as(t, r, Officer, "TH"), as(t, r, Officer, "CN"), as(t, r, Examiner, "TH")
	may := func(ctx context.Context, want bool) {
		t.Helper()
		if got, err := r.MaySee(t.Context(), ActorOf(ctx), c); err != nil || got != want {
			t.Errorf("may see: %v %v", got, err)
		}
	}
	may(away, false)
	may(owner, true)
	for _, why := range []string{"", " \n ", strings.Repeat("a", MaxWhy+1), "a\x00"} {
		var field *FieldError
		if _, err := r.AskFor(away, c.ID, why); !errors.As(err, &field) || field.Field != "why" {
			t.Errorf("%.10q: %v", why, err)
		}
	}
	if _, err := r.AskFor(away, "c_none", "why"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.AskFor(t.Context(), c.ID, "why"); !errors.Is(err, ErrInvalid) {
		t.Error("without an account:", err)
	}
	first, err := r.AskFor(away, c.ID, "same <b>scar</b>\r\nas ours")
	if err != nil || first.Why != "same <b>scar</b>\nas ours" {
		t.Fatal(first, err)
	}
	if again, err := r.AskFor(away, c.ID, "asked twice"); err != nil || again != first {
		t.Error(again, err)
	}
	if list, err := r.OpenAsks(t.Context(), []string{"CN"}); err != nil || len(list) != 1 || list[0] != first {
		t.Error(list, err)
	}
	if list, err := r.OpenAsks(t.Context(), []string{"TH"}); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	if list, err := r.OpenAsks(t.Context(), nil); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	var notYours *ErrNotYours
	for _, ctx := range []context.Context{away, another} {
		if _, err := r.AnswerAsk(ctx, first.ID, true); !errors.As(err, &notYours) {
			t.Error(err)
		}
	}
	may(away, false)
	granted, err := r.AnswerAsk(owner, first.ID, true)
	if err != nil || granted.Answer != Granted || !granted.Until.Equal(r.now().Add(GrantLife)) || granted.AnsweredBy != ActorOf(owner).Account {
		t.Fatal(granted, err)
	}
	if _, err := r.AnswerAsk(owner, first.ID, false); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if _, err := r.AnswerAsk(owner, "q_none", true); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	may(away, true)
	may(another, false)
	now.pass(GrantLife)
	may(away, false)

	second, err := r.AskFor(away, c.ID, "again")
	if err != nil || second.ID == first.ID {
		t.Fatal(second, err)
	}
	if refused, err := r.AnswerAsk(owner, second.ID, false); err != nil || refused.Answer != Refusal || !refused.Until.IsZero() {
		t.Error(refused, err)
	}
	may(away, false)
	if list, err := r.AsksOf(t.Context(), ActorOf(away).Account); err != nil || len(list) != 2 || list[0].ID != second.ID {
		t.Error(list, err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Action: "ask."})
	if err != nil || len(entries) != 4 {
		t.Fatal(entries, err)
	}
	for i, want := range []string{"ask.refused", "ask.made", "ask.granted", "ask.made"} {
		if entries[i].Action != want || entries[i].Case != c.ID {
			t.Error(i, entries[i])
		}
	}
}

func TestMaySee(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := Case{ID: "c_one", Region: "CN-51", ReportedBy: "a_reporter"}
	for name, k := range map[string]struct {
		a    Actor
		c    Case
		want bool
	}{
		"system":             {Actor{Role: System}, c, true},
		"operator":           {Actor{Role: Operator}, c, true},
		"visitor":            {Actor{Role: Visitor}, c, false},
		"nobody":             {Actor{}, c, false},
		"own family":         {Actor{Role: Family, Account: "a_f", Case: "c_one"}, c, true},
		"other family":       {Actor{Role: Family, Account: "a_f", Case: "c_two"}, c, false},
		"family of no case":  {Actor{Role: Family, Account: "a_f"}, Case{}, false},
		"family, no region":  {Actor{Role: Family, Account: "a_f", Case: "c_two"}, Case{ID: "c_one"}, false},
		"auditor":            {Actor{Role: Auditor, Regions: []string{Everywhere}}, c, false},
		"administrator":      {Actor{Role: Administrator, Regions: []string{Everywhere}}, c, false},
		"officer":            {Actor{Role: Officer, Regions: []string{"CN"}}, c, true},
		"officer elsewhere":  {Actor{Role: Officer, Regions: []string{"CN-5"}}, c, false},
		"officer everywhere": {Actor{Role: Officer, Regions: []string{Everywhere}}, c, true},
		"officer, no region": {Actor{Role: Officer}, Case{ID: "c_one"}, true},
		"reporter elsewhere": {Actor{Role: Officer, Account: "a_reporter", Regions: []string{"TH"}}, c, true},
		"examiner":           {Actor{Role: Examiner, Regions: []string{"CN-51"}}, c, true},
		"supervisor":         {Actor{Role: Supervisor}, c, false},
	} {
		if got, err := r.MaySee(t.Context(), k.a, k.c); err != nil || got != k.want {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}
