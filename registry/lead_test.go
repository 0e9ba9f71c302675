package registry

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// now is what the clock shows.
func (c *clock) now() time.Time { return clockStart.Add(c.at) }

// working is a context in which a new account of that role acts.
func working(t testing.TB, r *Registry, role Role, organisation string) context.Context {
	t.Helper()
	a, _, err := r.CreateAccount(t.Context(), NewAccount{Login: newID(""), Name: "Sample One", Role: role, Organisation: organisation, Regions: []string{Everywhere}})
	if err != nil {
		t.Fatal(err)
	}
	return WithActor(t.Context(), Actor{Account: a.ID, Role: role, Organisation: organisation, Regions: a.Regions})
}

func pair(missing, found Case, score float64) NewLead {
	return NewLead{missing.ID, found.ID, Strength{Score: score, Faces: score + 0.5, Records: -0.5, MissingFace: "f_m", FoundFace: "f_f", ModelSet: "set"}}
}

// saveOne saves one pair as the standing search does after comparing the missing case.
func saveOne(t testing.TB, r *Registry, n NewLead) Lead {
	t.Helper()
	if _, err := r.SaveLeads(t.Context(), n.Missing, math.MaxInt64, []NewLead{n}, nil); err != nil {
		t.Fatal(err)
	}
	l, err := r.LeadOf(t.Context(), n.Missing, n.Found)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newLead is a lead of two new cases.
func newLead(t testing.TB, r *Registry, score float64) Lead {
	t.Helper()
	return saveOne(t, r, pair(newCase(t, r, Missing), newCase(t, r, Found), score))
}

func readLead(t testing.TB, r *Registry, id LeadID) Lead {
	t.Helper()
	l, err := r.Lead(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// notesOn lists what the audit says of a subject: action, case and detail.
func notesOn(t testing.TB, r *Registry, subject string) []string {
	t.Helper()
	rows, err := r.readers.Query("SELECT action, case_id, detail FROM audit WHERE subject = ? ORDER BY n", subject)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var action, of, detail string
		if err := rows.Scan(&action, &of, &detail); err != nil {
			t.Fatal(err)
		}
		out = append(out, action+" "+of+" "+detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
	return out
}

func due(t testing.TB, r *Registry) []CaseID {
	t.Helper()
	changes, err := r.DueCases(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var ids []CaseID
	last := int64(0)
	for _, ch := range changes {
		if ch.Seq <= last || ch.Deleted {
			t.Error(changes)
		}
		last = ch.Seq
		ids = append(ids, ch.Case)
	}
	return ids
}

func TestDueCases(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	a, b, c := newCase(t, r, Missing), newCase(t, r, Found), newCase(t, r, Missing)
	want := func(what string, ids ...CaseID) {
		t.Helper()
		if got := due(t, r); !slices.Equal(got, ids) {
			t.Errorf("%s: %v, want %v", what, got, ids)
		}
	}
	want("new", a.ID, b.ID, c.ID)
	if got, err := r.DueCases(t.Context(), 2); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
	changes, err := r.Changes(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SkipStanding(t.Context(), a.ID, changes[0].Seq); err != nil {
		t.Fatal(err)
	}
	want("one skipped", b.ID, c.ID)

	// What was compared was the case before its change.
	b.Notes = "changed"
	if b, err = r.UpdateCase(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SaveLeads(t.Context(), b.ID, changes[1].Seq, nil, nil); err != nil {
		t.Fatal(err)
	}
	want("changed meanwhile", c.ID, b.ID)
	save(t, r, mustAdd(t, r, a.ID, []byte("photo")).ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1)}})
	want("photo analysed", c.ID, b.ID, a.ID)

	if _, err := r.CloseCase(t.Context(), c.ID, ClosedByOfficer); err != nil {
		t.Fatal(err)
	}
	want("closed", b.ID, a.ID)
	if _, err := r.ReopenCase(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	want("open again", b.ID, a.ID, c.ID)
	if err := r.DeleteCase(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	want("deleted", a.ID, c.ID)
	changes, err = r.DueCases(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SkipStandingAll(t.Context(), append(changes, Change{Seq: 1000, Case: b.ID})); err != nil {
		t.Fatal(err)
	}
	want("all skipped")
	if err := r.SkipStandingAll(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// plan is how SQLite runs a statement.
func plan(t testing.TB, r *Registry, statement string, args ...any) string {
	t.Helper()
	rows, err := r.readers.Query("EXPLAIN QUERY PLAN "+statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		out = append(out, detail)
	}
	return strings.Join(out, "\n")
}

// TestLeadPlans makes sure that what is asked for often reads what it answers with, and not every case or lead.
func TestLeadPlans(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	if p := plan(t, r, dueCases, 10); !strings.Contains(p, "SCAN d USING") || strings.Contains(p, "SCAN c") || strings.Contains(p, "TEMP B-TREE") {
		t.Error(p)
	}
	statement, args, err := LeadQuery{States: []LeadState{LeadOpen, LeadDisputed}}.page()
	if err != nil {
		t.Fatal(err)
	}
	p := plan(t, r, statement, args...)
	if first, _, _ := strings.Cut(p[strings.Index(p, "SEARCH l"):], "\n"); !strings.Contains(first, "leads_queue (state=?)") {
		t.Error(p)
	}
	if strings.Contains(p, "SCAN l") || strings.Contains(p, "SCAN m") || strings.Contains(p, "SCAN f") {
		t.Error(p)
	}
	if statement, args, err = (LeadQuery{Case: "c_x"}).page(); err != nil {
		t.Fatal(err)
	}
	if p := plan(t, r, statement, args...); strings.Contains(p, "SCAN l") {
		t.Error(p)
	}
}

func TestSaveLeads(t *testing.T) {
	var hands clock
	r := open(t, t.TempDir(), hands.options())
	m, f, f2 := newCase(t, r, Missing), newCase(t, r, Found), newCase(t, r, Found)
	start := hands.now()
	opened, err := r.SaveLeads(t.Context(), m.ID, 1, []NewLead{pair(m, f, 3.456)}, []NewLead{pair(m, f2, 0.1)})
	if err != nil || len(opened) != 1 {
		t.Fatal(opened, err)
	}
	l := opened[0]
	want := Lead{ID: l.ID, Missing: m.ID, Found: f.ID, State: LeadOpen, Source: FromStanding, Strength: pair(m, f, 3.456).Strength, Round: 1, CreatedAt: start, UpdatedAt: start}
	if l != want || readLead(t, r, l.ID) != want || !strings.HasPrefix(string(l.ID), "l_") {
		t.Errorf("%+v\n%+v", l, want)
	}
	if got := notesOn(t, r, string(l.ID)); !slices.Equal(got, []string{"lead.opened " + string(m.ID) + ` {"score":"3.46","source":"standing"}`}) {
		t.Error(got)
	}
	if got := due(t, r); !slices.Equal(got, []CaseID{f.ID, f2.ID}) {
		t.Error(got)
	}
	// A pair below the threshold that is no lead does not become one.
	if _, err := r.LeadOf(t.Context(), m.ID, f2.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, id := range []LeadID{"", "l_none"} {
		if _, err := r.Lead(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}

	// The same pair again is the same lead, from whichever side; a small move of its strength is none worth telling.
	hands.pass(time.Hour)
	for _, step := range []struct {
		score  float64
		weaker bool
		told   bool
	}{{3.456, false, false}, {3.5, false, false}, {4.5, false, true}, {0.2, true, true}, {0.25, true, false}} {
		hands.pass(time.Hour)
		before := readLead(t, r, l.ID)
		found, weaker := []NewLead{pair(m, f, step.score)}, []NewLead(nil)
		if step.weaker {
			found, weaker = nil, found
		}
		if opened, err := r.SaveLeads(t.Context(), f.ID, 2, found, weaker); err != nil || len(opened) != 0 {
			t.Error(opened, err)
		}
		want := before
		want.Strength = pair(m, f, step.score).Strength
		if step.told {
			want.UpdatedAt = hands.now()
		}
		if got := readLead(t, r, l.ID); got != want {
			t.Errorf("%+v\n%+v", got, want)
		}
	}
	if got := notesOn(t, r, string(l.ID)); len(got) != 1 {
		t.Error(got)
	}

	// Pairs that cannot be leads are left out, and do not keep the others from being saved.
	shut, err := r.CloseCase(t.Context(), newCase(t, r, Found).ID, ClosedByOfficer)
	if err != nil {
		t.Fatal(err)
	}
	opened, err = r.SaveLeads(t.Context(), m.ID, 1, []NewLead{
		pair(m, Case{ID: "c_none"}, 3), pair(Case{ID: "c_none"}, f, 3), pair(m, shut, 3), pair(f, m, 3), pair(f, f2, 3), pair(m, m, 3), pair(m, f2, 3),
	}, nil)
	if err != nil || len(opened) != 1 || opened[0].Found != f2.ID {
		t.Error(opened, err)
	}
	// A case that is gone by now is nothing to be afraid of.
	if opened, err := r.SaveLeads(t.Context(), "c_none", 5, []NewLead{pair(Case{ID: "c_none"}, f, 3)}, nil); err != nil || len(opened) != 0 {
		t.Error(opened, err)
	}
}

// TestSaveLeadsWhole fails in the middle: then nothing of it is there, and the case is still due.
func TestSaveLeadsWhole(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	m, f, f2 := newCase(t, r, Missing), newCase(t, r, Found), newCase(t, r, Found)
	if _, err := r.SaveLeads(t.Context(), m.ID, 1, []NewLead{pair(m, f, 3), pair(m, f2, math.NaN())}, nil); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	if _, err := r.writer.Exec("CREATE TEMP TRIGGER full BEFORE DELETE ON main.due BEGIN SELECT raise(ABORT, 'no'); END"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SaveLeads(t.Context(), m.ID, 1, []NewLead{pair(m, f, 3)}, nil); err == nil {
		t.Fatal("saved")
	}
	if all, _, err := r.Leads(t.Context(), LeadQuery{}); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	if got := due(t, r); !slices.Contains(got, m.ID) {
		t.Error(got)
	}
	if _, err := r.writer.Exec("DROP TRIGGER full"); err != nil {
		t.Fatal(err)
	}
	if opened, err := r.SaveLeads(t.Context(), m.ID, 1, []NewLead{pair(m, f, 3)}, nil); err != nil || len(opened) != 1 {
		t.Error(opened, err)
	}
}

func TestReopening(t *testing.T) {
	for state, reopens := range map[LeadState]bool{
		LeadOpen: false, LeadDisputed: false, LeadPotential: false, LeadNoCandidate: true, LeadInconclusive: true,
		LeadDNA: false, LeadConfirmed: false, LeadExcluded: false, LeadReunited: false,
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			var hands clock
			r := open(t, t.TempDir(), hands.options())
			l := newLead(t, r, 2.3)
			if _, err := r.writer.Exec("UPDATE leads SET state = ?, judged_score = 2.3", state); err != nil {
				t.Fatal(err)
			}
			at := func(score float64) NewLead {
				return NewLead{l.Missing, l.Found, Strength{Score: score, ModelSet: "another set"}}
			}
			hands.pass(time.Hour)
			for _, n := range []NewLead{at(1), at(3.2999)} { // new photos, a new model set: not enough
				if opened, err := r.SaveLeads(t.Context(), l.Missing, 1, []NewLead{n}, nil); err != nil || len(opened) != 0 {
					t.Error(opened, err)
				}
			}
			if opened, err := r.SaveLeads(t.Context(), l.Missing, 1, nil, []NewLead{at(3.3)}); err != nil || len(opened) != 0 {
				t.Error("below the threshold", opened, err)
			}
			if got := readLead(t, r, l.ID); got.State != state || got.Round != 1 || got.Score != 3.3 || got.ModelSet != "another set" {
				t.Errorf("%+v", got)
			}
			opened, err := r.SaveLeads(t.Context(), l.Missing, 1, []NewLead{at(3.3)}, nil)
			if err != nil || (len(opened) == 1) != reopens {
				t.Fatal(opened, err)
			}
			got := readLead(t, r, l.ID)
			if !reopens {
				if got.State != state || got.Round != 1 || !got.Reopened.IsZero() || len(notesOn(t, r, string(l.ID))) != 1 {
					t.Errorf("%+v", got)
				}
				return
			}
			if got != opened[0] || got.State != LeadOpen || got.Round != 2 || !got.Reopened.Equal(hands.now()) || got.JudgedScore != 2.3 || !got.UpdatedAt.Equal(hands.now()) {
				t.Errorf("%+v\n%+v", got, opened[0])
			}
			if n := notesOn(t, r, string(l.ID)); len(n) != 2 || n[1] != "lead.reopened "+string(l.Missing)+` {"from":"2.30","to":"3.30"}` {
				t.Error(n)
			}
			if opened, err := r.SaveLeads(t.Context(), l.Missing, 1, []NewLead{at(9)}, nil); err != nil || len(opened) != 0 {
				t.Error("opened twice", opened, err)
			}
		})
	}
}

func TestOpenLead(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	officer := working(t, r, Officer, "")
	m, f := newCase(t, r, Missing), newCase(t, r, Found)
	l, existed, err := r.OpenLead(officer, pair(m, f, -0.5), FromFamily, "  The same scar\r\n ")
	if err != nil || existed || l.Note != "The same scar" || l.Source != FromFamily || l.OpenedBy != ActorOf(officer).Account || l.Score != -0.5 || l.State != LeadOpen {
		t.Fatal(l, existed, err)
	}
	if got := readLead(t, r, l.ID); got != l {
		t.Errorf("%+v\n%+v", got, l)
	}
	// The standing search finds it later and gives it strength.
	if got := saveOne(t, r, pair(m, f, 2.5)); got.ID != l.ID || got.Score != 2.5 || got.Source != FromFamily || got.Note != l.Note {
		t.Errorf("%+v", got)
	}
	// Opened again it gets the note, once, and keeps the rest.
	if _, err := r.writer.Exec("UPDATE leads SET state = 'excluded'"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, existed, err := r.OpenLead(working(t, r, Officer, ""), pair(m, f, 0), FromOfficer, "Seen by the desk")
		if err != nil || !existed || again.ID != l.ID || again.Note != "The same scar\n\nSeen by the desk" || again.State != LeadExcluded || again.Score != 2.5 || again.OpenedBy != l.OpenedBy {
			t.Error(again, existed, err)
		}
	}
	if _, existed, err := r.OpenLead(officer, pair(m, f, 0), FromOfficer, ""); err != nil || !existed {
		t.Error(existed, err)
	}
	if got := notesOn(t, r, string(l.ID)); len(got) != 2 || got[0] != "lead.opened "+string(m.ID)+` {"score":"-0.50","source":"family"}` ||
		got[1] != "lead.noted "+string(m.ID)+` {"source":"officer"}` {
		t.Error(got)
	}

	shut, err := r.CloseCase(t.Context(), newCase(t, r, Found).ID, Withdrawn)
	if err != nil {
		t.Fatal(err)
	}
	f2 := newCase(t, r, Found)
	for name, c := range map[string]struct {
		n      NewLead
		source LeadSource
		note   string
		is     error
		field  string
	}{
		"closed":            {pair(m, shut, 0), FromOfficer, "", ErrConflict, ""},
		"gone":              {pair(m, Case{ID: "c_none"}, 0), FromOfficer, "", ErrNotFound, ""},
		"swapped":           {pair(f2, m, 0), FromOfficer, "", ErrInvalid, "missing"},
		"two missing":       {pair(m, m, 0), FromOfficer, "", ErrInvalid, "found"},
		"source":            {pair(m, f2, 0), FromStanding, "", ErrInvalid, "source"},
		"long note":         {pair(m, f2, 0), FromOfficer, strings.Repeat("字", MaxNote+1), ErrInvalid, "note"},
		"no room for more":  {pair(m, f, 0), FromOfficer, strings.Repeat("字", MaxNote), ErrInvalid, "note"},
		"control character": {pair(m, f2, 0), FromOfficer, "a\x00", ErrInvalid, "note"},
		"no number":         {pair(m, f2, math.NaN()), FromOfficer, "", ErrInvalid, "score"},
	} {
		_, _, err := r.OpenLead(officer, c.n, c.source, c.note)
		var field *FieldError
		if !errors.Is(err, c.is) || errors.As(err, &field) != (c.field != "") || field != nil && field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, existed, err := r.OpenLead(officer, pair(m, f2, 0), FromOfficer, "<b>"+strings.Repeat("字", MaxNote-3)); err != nil || existed || !strings.HasPrefix(l.Note, "<b>字") {
		t.Error(existed, err)
	}
}

// pageOf lists the names of all leads of a query, page by page.
func pageOf(t testing.TB, r *Registry, q LeadQuery, name map[LeadID]string) string {
	t.Helper()
	var out string
	for {
		page, next, err := r.Leads(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page {
			out += name[l.ID]
		}
		if next == "" {
			return out
		}
		if q.Limit == 0 || len(page) != q.Limit {
			t.Error(len(page), q.Limit)
		}
		q.Cursor = next
	}
}

func TestLeadOrder(t *testing.T) {
	var hands clock
	r := open(t, t.TempDir(), hands.options())
	name := make(map[LeadID]string)
	add := func(n string, score float64) Lead {
		l := newLead(t, r, score)
		name[l.ID] = n
		return l
	}
	const day = 24 * time.Hour
	a := add("a", 2)
	hands.pass(10 * day)
	add("b", 3.5) // ten days later than a: a stands at 3 by now
	add("c", 2.5)
	add("d", 2.5) // after c, and like it
	hands.pass(day)
	e := add("e", 3.2)
	if _, err := r.writer.Exec("UPDATE leads SET state = 'no_candidate', judged_score = 2 WHERE id = ?", a.ID); err != nil {
		t.Fatal(err)
	}
	check := func(when string, want map[LeadOrder]string) {
		t.Helper()
		for order, names := range want {
			for _, limit := range []int{0, 1, 2, 3} {
				if got := pageOf(t, r, LeadQuery{Order: order, Limit: limit}, name); got != names {
					t.Errorf("%s, %q, %d a page: %s, want %s", when, order, limit, got, names)
				}
			}
		}
	}
	// Of today: b 3.6, e 3.2, a 3.1, c and d 2.6.
	check("first", map[LeadOrder]string{ByUrgency: "beacd", ByScore: "becda", ByAge: "abcde", ByNewest: "ebcda"})
	hands.pass(100 * day) // the order does not depend on the day
	check("later", map[LeadOrder]string{ByUrgency: "beacd"})
	// Opened again it waits from then on.
	saveOne(t, r, NewLead{a.Missing, a.Found, Strength{Score: 3}})
	check("reopened", map[LeadOrder]string{ByUrgency: "becda", ByAge: "bcdea", ByNewest: "aebcd"})

	// A page stays where it was when leads come in before it and when some of it go.
	page, next, err := r.Leads(t.Context(), LeadQuery{Limit: 2})
	if err != nil || len(page) != 2 {
		t.Fatal(page, err)
	}
	add("f", 50)
	if err := r.DeleteCase(t.Context(), e.Found); err != nil {
		t.Fatal(err)
	}
	if got := pageOf(t, r, LeadQuery{Limit: 2, Cursor: next}, name); got != "cda" {
		t.Error(got)
	}

	for what, q := range map[string]LeadQuery{
		"cursor of another order": {Cursor: next, Order: ByScore}, "made up": {Cursor: "abc"}, "a case's": {Cursor: newCursor(1)},
		"order": {Order: "name"}, "limit": {Limit: -1}, "large limit": {Limit: MaxListed + 1},
	} {
		if _, _, err := r.Leads(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestUrgencyColumn holds the constant in Go and the one in the schema together.
func TestUrgencyColumn(t *testing.T) {
	var hands clock
	r := open(t, t.TempDir(), hands.options())
	l := newLead(t, r, 2)
	var urgency float64
	if err := r.readers.QueryRow("SELECT urgency FROM leads").Scan(&urgency); err != nil {
		t.Fatal(err)
	}
	days := float64(millis(l.CreatedAt)) / (24 * time.Hour.Seconds() * 1000)
	if want := l.Score - UrgencyPerDay*days; math.Abs(urgency-want) > 1e-9 {
		t.Error(urgency, want)
	}
}

func TestLeadQuery(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	for _, code := range []string{"CN", "CN-51", "CN-5", "IN"} {
		if err := r.PutRegion(t.Context(), Region{code, map[string]string{"en": code}}); err != nil {
			t.Fatal(err)
		}
	}
	desk := working(t, r, Examiner, "")
	me := ActorOf(desk).Account
	name := make(map[LeadID]string)
	in := func(ctx context.Context, g Gallery, region string) Case {
		c, err := r.CreateCase(ctx, Case{Gallery: g, Region: region})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	add := func(n string, m, f Case) Lead {
		l := saveOne(t, r, pair(m, f, float64(10-len(name)))) // in this order
		name[l.ID] = n
		return l
	}
	ctx := t.Context()
	m := in(ctx, Missing, "CN-51")
	a := add("a", m, in(ctx, Found, "IN"))
	b := add("b", m, in(ctx, Found, "CN-5"))
	add("c", in(ctx, Missing, ""), in(ctx, Found, "IN"))
	add("d", in(ctx, Missing, "IN"), in(ctx, Found, "CN"))
	add("e", in(desk, Missing, "IN"), in(ctx, Found, "IN")) // whose reporter is the examiner
	f := add("f", in(ctx, Missing, "IN"), in(ctx, Found, "CN-51"))
	opened, _, err := r.OpenLead(desk, pair(in(ctx, Missing, "IN"), in(ctx, Found, "IN"), 0), FromOfficer, "")
	if err != nil {
		t.Fatal(err)
	}
	name[opened.ID] = "g"
	judge(t, r, desk, a.ID, Inconclusive)
	if _, err := r.writer.Exec("UPDATE leads SET state = 'dna' WHERE id = ?", b.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CloseCase(ctx, f.Found, ClosedByOfficer); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		q    LeadQuery
		want string
	}{
		"all":                 {LeadQuery{}, "abcdeg"},
		"with closed":         {LeadQuery{Closed: true}, "abcdefg"},
		"open":                {LeadQuery{States: []LeadState{LeadOpen}}, "acdeg"},
		"two states":          {LeadQuery{States: []LeadState{LeadOpen, LeadDNA, LeadOpen}}, "abcdeg"},
		"no such state":       {LeadQuery{States: []LeadState{LeadReunited}}, ""},
		"missing side":        {LeadQuery{Case: m.ID}, "ab"},
		"found side":          {LeadQuery{Case: b.Found}, "b"},
		"by hand":             {LeadQuery{Sources: []LeadSource{FromOfficer, FromFamily}}, "g"},
		"everywhere":          {LeadQuery{Regions: []string{"XX", Everywhere}}, "abcdeg"},
		"no region":           {LeadQuery{Regions: []string{}}, "c"},
		"a country":           {LeadQuery{Regions: []string{"CN"}}, "abcd"},
		"a province":          {LeadQuery{Regions: []string{"CN-51"}}, "abc"},
		"not a prefix alone":  {LeadQuery{Regions: []string{"CN-5"}}, "bc"},
		"two regions":         {LeadQuery{Regions: []string{"CN-51", "IN"}}, "abcdeg"},
		"facet":               {LeadQuery{Region: "CN"}, "abd"},
		"facet in own region": {LeadQuery{Region: "IN", Regions: []string{"CN"}}, "acd"},
		"star is no facet":    {LeadQuery{Region: "CN-51"}, "ab"},
		"to be judged":        {LeadQuery{Unjudged: me, States: []LeadState{LeadOpen}}, "cd"},
		"by another":          {LeadQuery{Unjudged: "a_other", States: []LeadState{LeadOpen}}, "acdeg"},
	} {
		for _, c.q.Limit = range []int{0, 1, 4} {
			if got := pageOf(t, r, c.q, name); got != c.want {
				t.Errorf("%s: %s, want %s", what, got, c.want)
			}
		}
		counts, err := r.LeadCounts(t.Context(), c.q)
		n := 0
		for _, k := range counts {
			n += k
		}
		if err != nil || n != len(c.want) {
			t.Errorf("%s: %v %v", what, counts, err)
		}
	}
	if counts, err := r.LeadCounts(t.Context(), LeadQuery{}); err != nil || !maps.Equal(counts, map[LeadState]int{LeadOpen: 5, LeadDNA: 1}) {
		t.Error(counts, err)
	}
	// In the next round it is there to be judged again.
	if _, err := r.writer.Exec("UPDATE leads SET round = 2 WHERE id = ?", a.ID); err != nil {
		t.Fatal(err)
	}
	if got := pageOf(t, r, LeadQuery{Unjudged: me, States: []LeadState{LeadOpen}}, name); got != "acd" {
		t.Error(got)
	}
	// The regions of SQL and of Go are the same ones.
	for _, region := range []string{"", "CN", "CN-51", "CN-5", "CN-", "IN", "*"} {
		for _, regions := range [][]string{{}, {"CN"}, {"CN-5"}, {"IN", "CN-51"}, {Everywhere}, {""}} {
			where, args := LeadQuery{Regions: regions, Closed: true}.where()
			var covered bool
			// Both sides are in the region.
			if err := r.readers.QueryRow("WITH m AS (SELECT ? AS region), f AS (SELECT * FROM m) SELECT "+where+" FROM m, f", append([]any{region}, args...)...).Scan(&covered); err != nil {
				t.Fatal(err)
			}
			if covered != Covers(regions, region) {
				t.Errorf("%q covers %q: %t", regions, region, covered)
			}
		}
	}
}

// TestLeadsEndWithTheirCase deletes a case with everything that can hang on its leads.
func TestLeadsEndWithTheirCase(t *testing.T) {
	for _, side := range []Gallery{Missing, Found} {
		r := open(t, t.TempDir(), Options{})
		l := confirmed(t, r)
		other := saveOne(t, r, NewLead{l.Missing, newCase(t, r, Found).ID, Strength{Score: 2}})
		gone := l.Missing
		if side == Found {
			gone = l.Found
		}
		if err := r.DeleteCase(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Lead(t.Context(), l.ID); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if _, err := r.Lead(t.Context(), other.ID); errors.Is(err, ErrNotFound) != (side == Missing) {
			t.Error(err)
		}
		for _, table := range []string{"verdicts", "dna_requests", "dna_samples"} {
			var n int
			if err := r.readers.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil || n != 0 {
				t.Error(side, table, n, err)
			}
		}
		if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkLeads lists the first page of 20,000 leads, and what is due of 20,000 cases.
func BenchmarkLeads(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	m, f := newCase(b, r, Missing), newCase(b, r, Found)
	const n = 20_000
	for _, statement := range []string{
		`WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < ?1)
			INSERT INTO cases (id, gallery, status, names, sex, born_from, born_to, place, on_date, marks, notes, ref, key, created_at, updated_at, version)
			SELECT 'c_' || x, 'found', 'open', '[]', '', '', '', '', '', '', '', '', x'00', 1, 1, 1 FROM i`,
		`INSERT INTO case_changes (case_id, seq, deleted) SELECT id, n + 10, 0 FROM cases WHERE id LIKE 'c__%' AND n > 2 AND ?1`,
		`INSERT INTO leads (id, missing_case, found_case, state, source, note, opened_by, score, faces, records, missing_face, found_face, model_set, created_at, updated_at)
			SELECT 'l_' || n, '` + string(m.ID) + `', id, CASE n % 9 WHEN 0 THEN 'disputed' ELSE 'open' END, 'standing', '', '', n % 97 / 10.0, 0, 0, '', '', '', 1, 1 FROM cases WHERE gallery = 'found' AND ?1`,
		"DELETE FROM due WHERE seq < ?1 - 5",
	} {
		if _, err := r.writer.Exec(statement, n); err != nil {
			b.Fatal(err)
		}
	}
	queries := map[string]LeadQuery{
		"open": {States: []LeadState{LeadOpen}}, "both": {States: []LeadState{LeadOpen, LeadDisputed}},
		"regions": {States: []LeadState{LeadOpen}, Regions: []string{"CN"}, Unjudged: "a_x"},
	}
	for _, name := range slices.Sorted(maps.Keys(queries)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if page, _, err := r.Leads(b.Context(), queries[name]); err != nil || len(page) != DefaultListed {
					b.Fatal(len(page), err)
				}
			}
		})
	}
	b.Run("due", func(b *testing.B) {
		for b.Loop() {
			if due, err := r.DueCases(b.Context(), 100); err != nil || len(due) == 0 {
				b.Fatal(len(due), err)
			}
		}
	})
	b.Run("skip", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.SaveLeads(b.Context(), f.ID, 1, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestSaveCompared saves many cases at once: pairs of which a case changed since are left out, and stay due.
func TestSaveCompared(t *testing.T) {
	ctx := t.Context()
	r := open(t, t.TempDir(), Options{})
	var missing, found [4]Case
	for i := range missing {
		missing[i], found[i] = newCase(t, r, Missing), newCase(t, r, Found)
	}
	known := saveOne(t, r, pair(missing[3], found[3], 2))
	same := saveOne(t, r, pair(missing[3], found[2], 2))
	asOf, err := r.LastSeq(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Case{missing[1], found[2]} {
		c.Notes = "changed"
		if _, err := r.UpdateCase(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	opened, changed, err := r.SaveCompared(ctx, asOf, []Compared{
		{Case: missing[0].ID, Found: []NewLead{pair(missing[0], found[0], 4), pair(missing[0], found[1], 5), pair(missing[0], found[2], 6)}},
		{Case: missing[1].ID, Found: []NewLead{pair(missing[1], found[0], 4)}},
		{Case: missing[2].ID},
		{Case: missing[3].ID, Weaker: []NewLead{pair(missing[3], found[3], 1), pair(missing[3], found[2], 1), pair(missing[3], found[1], 1)}},
	})
	if err != nil || len(opened) != 2 || opened[0].Found != found[0].ID || opened[1].Found != found[1].ID || changed != 3 {
		t.Errorf("%+v, %d changed, %v", opened, changed, err)
	}
	if l := readLead(t, r, known.ID); l.Score != 1 || l.State != LeadOpen {
		t.Errorf("a weaker one: %+v", l)
	}
	if l := readLead(t, r, same.ID); l.Score != 2 {
		t.Errorf("one of which a case changed: %+v", l)
	}
	for _, p := range [][2]Case{{missing[0], found[2]}, {missing[1], found[0]}, {missing[3], found[1]}} {
		if l, err := r.LeadOf(ctx, p[0].ID, p[1].ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v, %v", l, err)
		}
	}
	due, err := r.DueCases(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	var left []CaseID
	for _, ch := range due {
		left = append(left, ch.Case)
	}
	if want := []CaseID{found[0].ID, found[1].ID, found[3].ID, missing[1].ID, found[2].ID}; !slices.Equal(left, want) {
		t.Errorf("due: %v, want %v", left, want)
	}
	// All or nothing.
	bad := pair(missing[2], found[1], math.NaN())
	if _, _, err := r.SaveCompared(ctx, asOf, []Compared{{Case: missing[2].ID, Found: []NewLead{pair(missing[2], found[0], 3), bad}}}); err == nil {
		t.Error("a score that is not a number is saved")
	}
	if l, err := r.LeadOf(ctx, missing[2].ID, found[0].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("half of what was refused is saved: %+v, %v", l, err)
	}
}

func TestLeadPairs(t *testing.T) {
	ctx := t.Context()
	r := open(t, t.TempDir(), Options{})
	a, b, c := newLead(t, r, 3), newLead(t, r, 2), newLead(t, r, 1)
	if _, err := r.CloseCase(ctx, c.Found, "withdrawn"); err != nil {
		t.Fatal(err)
	}
	for g, ids := range map[Gallery][]CaseID{Missing: {b.Missing, a.Missing, c.Missing, "c_gone"}, Found: {a.Found, b.Found, c.Found, a.Missing}} {
		got, err := r.LeadPairs(ctx, g, ids)
		slices.SortFunc(got, func(x, y LeadPair) int { return strings.Compare(string(x.Missing), string(y.Missing)) })
		want := []LeadPair{{a.Missing, a.Found}, {b.Missing, b.Found}}
		slices.SortFunc(want, func(x, y LeadPair) int { return strings.Compare(string(x.Missing), string(y.Missing)) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", g, got, err, want)
		}
	}
	if got, err := r.LeadPairs(ctx, Missing, nil); err != nil || got != nil {
		t.Errorf("of no cases: %v, %v", got, err)
	}
	open, err := r.OpenCases(ctx, Found)
	if err != nil || len(open) != 2 || open[0].ID != a.Found || open[1].ID != b.Found || open[0].N >= open[1].N {
		t.Errorf("%+v, %v", open, err)
	}
}
