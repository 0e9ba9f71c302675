package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// potential is a lead that two examiners judged a potential candidate.
func potential(t testing.TB, r *Registry) Lead {
	t.Helper()
	l := newLead(t, r, 3)
	judge(t, r, working(t, r, Examiner, ""), l.ID, PotentialCandidate)
	_, l = judge(t, r, working(t, r, Examiner, ""), l.ID, PotentialCandidate)
	return l
}

func request(t testing.TB, r *Registry, lead LeadID, laboratory string, whose ...Whose) DNARequest {
	t.Helper()
	d, err := r.RequestDNA(t.Context(), lead, laboratory)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range whose {
		if d, err = r.AddSample(t.Context(), d.ID, Sample{Whose: w, Kit: newID("K-"), TakenOn: date(t, "2024-05")}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// confirmed is a lead that DNA has confirmed.
func confirmed(t testing.TB, r *Registry) Lead {
	t.Helper()
	laboratory := working(t, r, Laboratory, "State laboratory")
	d := request(t, r, potential(t, r).ID, "State laboratory", OfMother, OfChild)
	_, l, err := r.ReportDNA(laboratory, d.ID, DNAConfirmed, "R-1", date(t, "2024-06-01"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDNA(t *testing.T) {
	var hands clock
	r := open(t, t.TempDir(), hands.options())
	laboratory, elsewhere := working(t, r, Laboratory, "State laboratory"), working(t, r, Laboratory, "Other laboratory")
	l := potential(t, r)
	officer := working(t, r, Officer, "")
	hands.pass(time.Hour)
	d, err := r.RequestDNA(officer, l.ID, " State laboratory ")
	want := DNARequest{ID: d.ID, Lead: l.ID, Laboratory: "State laboratory", RequestedBy: ActorOf(officer).Account, RequestedAt: hands.now()}
	if err != nil || !same(d, want) || !strings.HasPrefix(d.ID, "d_") {
		t.Fatalf("%+v %v", d, err)
	}
	if got := readLead(t, r, l.ID); got.State != LeadDNA || !got.UpdatedAt.Equal(hands.now()) {
		t.Errorf("%+v", got)
	}
	if _, err := r.RequestDNA(officer, l.ID, "State laboratory"); !errors.Is(err, ErrConflict) {
		t.Error("asked twice:", err)
	}

	// No result without samples of both sides.
	on := date(t, "2024-06-01")
	add := func(w Whose, kit string) {
		t.Helper()
		if d, err = r.AddSample(officer, d.ID, Sample{Whose: w, Kit: kit, TakenOn: date(t, "2024-05"), AddedBy: "a_forged"}); err != nil {
			t.Fatal(err)
		}
	}
	short := func() {
		t.Helper()
		for _, result := range []DNAResult{DNAConfirmed, DNAExcluded} {
			var field *FieldError
			if _, _, err := r.ReportDNA(laboratory, d.ID, result, "R-1", on); !errors.As(err, &field) || field.Field != "samples" {
				t.Error(err)
			}
		}
	}
	short()
	add(OfChild, " K-1 ")
	short()
	add(OfFather, "K-2")
	if len(d.Samples) != 2 || d.Samples[0] != (Sample{d.Samples[0].ID, OfChild, "K-1", date(t, "2024-05"), ActorOf(officer).Account, hands.now()}) {
		t.Errorf("%+v", d)
	}
	if got, err := r.DNARequest(t.Context(), d.ID); err != nil || !same(got, d) {
		t.Errorf("%+v %v", got, err)
	}

	for name, c := range map[string]struct {
		ctx    context.Context
		result DNAResult
		report string
		on     string
		field  string // empty: *ErrNotYours
	}{
		"another laboratory": {elsewhere, DNAConfirmed, "R-1", "2024-06", ""},
		"an officer":         {officer, DNAConfirmed, "R-1", "2024-06", ""},
		"the right name on the wrong role": {WithActor(t.Context(), Actor{Account: "a_x", Role: Officer, Organisation: "State laboratory"}),
			DNAConfirmed, "R-1", "2024-06", ""},
		"result":              {laboratory, "identified", "R-1", "2024-06", "result"},
		"no result":           {laboratory, "", "R-1", "2024-06", "result"},
		"no report":           {laboratory, DNAConfirmed, " ", "2024-06", "report"},
		"no date":             {laboratory, DNAConfirmed, "R-1", "", "on"},
		"future":              {laboratory, DNAConfirmed, "R-1", "2026-03-04", "on"},
		"before the samples":  {laboratory, DNAConfirmed, "R-1", "2024-04-30", "on"},
		"inconclusive before": {laboratory, DNAInconclusive, "R-1", "2023", "on"},
	} {
		var on Date
		if c.on != "" {
			on = date(t, c.on)
		}
		_, _, err := r.ReportDNA(c.ctx, d.ID, c.result, c.report, on)
		var field *FieldError
		if c.field == "" && !notYours(err) || errors.As(err, &field) != (c.field != "") || field != nil && field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}

	hands.pass(time.Hour)
	got, after, err := r.ReportDNA(laboratory, d.ID, DNAConfirmed, " R-1 ", on)
	want = d
	want.Result, want.Report, want.ResultOn, want.ResultBy, want.ResultAt = DNAConfirmed, "R-1", on, ActorOf(laboratory).Account, hands.now()
	if err != nil || !same(got, want) || after.State != LeadConfirmed || readLead(t, r, l.ID) != after {
		t.Errorf("%+v\n%+v %+v %v", got, want, after, err)
	}
	hands.pass(time.Hour)
	if again, lead, err := r.ReportDNA(laboratory, d.ID, DNAConfirmed, "R-1", on); err != nil || !same(again, want) || lead != after {
		t.Errorf("%+v %v", again, err)
	}
	for _, other := range []struct {
		result DNAResult
		report string
		on     Date
	}{{DNAExcluded, "R-1", on}, {DNAConfirmed, "R-2", on}, {DNAConfirmed, "R-1", date(t, "2024-06-02")}} {
		if _, _, err := r.ReportDNA(laboratory, d.ID, other.result, other.report, other.on); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	}
	if _, err := r.AddSample(officer, d.ID, Sample{Whose: OfMother, Kit: "K-3", TakenOn: date(t, "2024-05")}); !errors.Is(err, ErrConflict) {
		t.Error("a sample after the result:", err)
	}
	notes := notesOn(t, r, d.ID)
	lead := `"lead":"` + string(l.ID) + `"`
	if wantNotes := []string{
		"dna.requested " + string(l.Missing) + " {" + lead + "}",
		"dna.sampled " + string(l.Missing) + " {" + lead + `,"sample":"` + d.Samples[0].ID + `","whose":"child"}`,
		"dna.sampled " + string(l.Missing) + " {" + lead + `,"sample":"` + d.Samples[1].ID + `","whose":"father"}`,
		"dna.reported " + string(l.Missing) + " {" + lead + `,"result":"confirmed"}`,
	}; !slices.Equal(notes, wantNotes) {
		t.Error(notes)
	}
}

func same(a, b DNARequest) bool {
	samples := slices.Equal(a.Samples, b.Samples)
	a.Samples, b.Samples = nil, nil
	return samples && a.ID == b.ID && a.Lead == b.Lead && a.Laboratory == b.Laboratory && a.RequestedBy == b.RequestedBy && a.RequestedAt.Equal(b.RequestedAt) &&
		a.Result == b.Result && a.Report == b.Report && a.ResultOn == b.ResultOn && a.ResultBy == b.ResultBy && a.ResultAt.Equal(b.ResultAt)
}

func TestRequestDNARefused(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	working(t, r, Laboratory, "State laboratory")
	gone := working(t, r, Laboratory, "Closed laboratory")
	yes := true
	if _, err := r.UpdateAccount(t.Context(), ActorOf(gone).Account, AccountChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.writer.Exec("UPDATE accounts SET organisation = 'Police' WHERE id = ?", ActorOf(working(t, r, Officer, "")).Account); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Laboratories(t.Context()); err != nil || !slices.Equal(got, []string{"State laboratory"}) {
		t.Error(got, err)
	}
	l := potential(t, r)
	for _, laboratory := range []string{"", " ", "state laboratory", "Closed laboratory", "Police", "a\nb", strings.Repeat("x", MaxLaboratory+1)} {
		var field *FieldError
		if _, err := r.RequestDNA(t.Context(), l.ID, laboratory); !errors.As(err, &field) || field.Field != "laboratory" {
			t.Errorf("%q: %v", laboratory, err)
		}
	}
	if _, err := r.RequestDNA(t.Context(), "l_none", "State laboratory"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, state := range []LeadState{LeadOpen, LeadDisputed, LeadNoCandidate, LeadInconclusive, LeadDNA, LeadConfirmed, LeadExcluded, LeadReunited} {
		if _, err := r.writer.Exec("UPDATE leads SET state = ?", state); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RequestDNA(t.Context(), l.ID, "State laboratory"); !errors.Is(err, ErrConflict) {
			t.Error(state, err)
		}
	}
	l = potential(t, r)
	if _, err := r.CloseCase(t.Context(), l.Missing, Withdrawn); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RequestDNA(t.Context(), l.ID, "State laboratory"); !errors.Is(err, ErrConflict) {
		t.Error("of a closed case:", err)
	}
}

func TestAddSampleRefused(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	working(t, r, Laboratory, "State laboratory")
	d := request(t, r, potential(t, r).ID, "State laboratory")
	other := request(t, r, potential(t, r).ID, "State laboratory")
	good := Sample{Whose: OfSibling, Kit: "K-1", TakenOn: date(t, "2024")}
	if _, err := r.AddSample(t.Context(), d.ID, good); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{d.ID, other.ID} {
		if _, err := r.AddSample(t.Context(), id, good); !errors.Is(err, ErrDuplicate) {
			t.Error(err)
		}
	}
	good.Kit = "K-2"
	if _, err := r.AddSample(t.Context(), "d_none", good); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for field, spoil := range map[string]func(*Sample){
		"whose":    func(s *Sample) { s.Whose = "uncle" },
		"kit":      func(s *Sample) { s.Kit = " " },
		"taken_on": func(s *Sample) { s.TakenOn = Date{} },
	} {
		s := good
		spoil(&s)
		var e *FieldError
		if _, err := r.AddSample(t.Context(), d.ID, s); !errors.As(err, &e) || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	good.TakenOn = DayOf(time.Now().AddDate(0, 0, 3))
	if _, err := r.AddSample(t.Context(), d.ID, good); !errors.Is(err, ErrInvalid) {
		t.Error("in the future:", err)
	}
	if _, err := r.DNARequest(t.Context(), "d_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestDNAOutcomes(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	laboratory := working(t, r, Laboratory, "State laboratory")
	on := date(t, "2024-06-01")

	// Inconclusive needs no samples; the lead can be asked about again.
	l := potential(t, r)
	first := request(t, r, l.ID, "State laboratory")
	if _, after, err := r.ReportDNA(laboratory, first.ID, DNAInconclusive, "R-1", on); err != nil || after.State != LeadPotential {
		t.Fatal(after, err)
	}
	second := request(t, r, l.ID, "State laboratory", OfChild, OfOther)
	if _, after, err := r.ReportDNA(laboratory, second.ID, DNAExcluded, "R-2", on); err != nil || after.State != LeadExcluded {
		t.Fatal(after, err)
	}
	all, err := r.DNAOf(t.Context(), l.ID)
	if err != nil || len(all) != 2 || all[0].ID != first.ID || all[1].Result != DNAExcluded || len(all[1].Samples) != 2 {
		t.Error(all, err)
	}
	// DNA has the last word, whatever a face says later.
	if got := saveOne(t, r, NewLead{l.Missing, l.Found, Strength{Score: 20}}); got.State != LeadExcluded || got.Round != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := r.Reunite(t.Context(), l.ID); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
}

func TestDNAQueue(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	a, b := working(t, r, Laboratory, "A"), working(t, r, Laboratory, "B")
	ids := make(map[string]string)
	for i, laboratory := range []string{"A", "A", "B", "A", "B"} {
		ids[request(t, r, potential(t, r).ID, laboratory, OfChild, OfMother).ID] = string(rune('1' + i))
	}
	for id, n := range ids {
		ctx := a
		if n == "5" {
			ctx = b
		}
		if n == "1" || n == "5" {
			if _, _, err := r.ReportDNA(ctx, id, DNAExcluded, "R", date(t, "2024-07")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		laboratory string
		open       bool
		limit      int
		want       string
	}{{"", false, 0, "23451"}, {"", true, 0, "234"}, {"A", false, 10, "241"}, {"B", true, 10, "3"}, {"C", false, 10, ""}, {"", false, 2, "23"}} {
		queue, err := r.DNAQueue(t.Context(), c.laboratory, c.open, c.limit)
		got := ""
		for _, d := range queue {
			got += ids[d.ID]
			if len(d.Samples) != 2 {
				t.Errorf("%+v", d)
			}
		}
		if err != nil || got != c.want {
			t.Errorf("%+v: %s %v", c, got, err)
		}
	}
	if _, err := r.DNAQueue(t.Context(), "", true, MaxListed+1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
