package registry

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// reunion is one that may be recorded.
func reunion(t testing.TB, missing, found Case) Reunion {
	return Reunion{Missing: missing.ID, Found: found.ID, Laboratory: "State laboratory", Kit: "K-17", ConfirmedOn: date(t, "2024-03-01"), RecordedBy: "Desk 3"}
}

func TestReunion(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	missing, found, missing2, found2 := newCase(t, r, Missing), newCase(t, r, Found), newCase(t, r, Missing), newCase(t, r, Found)
	if all, err := r.Reunions(t.Context()); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	u := reunion(t, missing, found)
	u.Laboratory = "  State laboratory "
	before := r.now()
	if err := r.RecordReunion(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	all, err := r.Reunions(t.Context())
	if err != nil || len(all) != 1 || all[0].RecordedAt.Before(before) {
		t.Fatal(all, err)
	}
	want := reunion(t, missing, found)
	want.RecordedAt = all[0].RecordedAt
	if all[0] != want {
		t.Errorf("%+v\n%+v", all[0], want)
	}

	// A case takes part in one at most.
	for name, u := range map[string]Reunion{
		"again": u, "missing case": reunion(t, missing, found2), "found case": reunion(t, missing2, found),
	} {
		if err := r.RecordReunion(t.Context(), u); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "K-17") {
			t.Errorf("%s: %v", name, err)
		}
	}
	second := reunion(t, missing2, found2)
	second.RecordedBy, second.ConfirmedOn = "", date(t, "2019")
	if err := r.RecordReunion(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Reunions(t.Context()); err != nil || len(all) != 2 || all[0].Missing != missing.ID || all[1].Missing != missing2.ID {
		t.Error(all, err)
	}

	// Removed, it can be recorded anew; a deleted case takes its reunion with it.
	for _, ids := range [][2]CaseID{{missing.ID, found2.ID}, {found.ID, missing.ID}, {missing.ID, "c_none"}} {
		if err := r.RemoveReunion(t.Context(), ids[0], ids[1]); !errors.Is(err, ErrNotFound) {
			t.Error(ids, err)
		}
	}
	if err := r.RemoveReunion(t.Context(), missing.ID, found.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.RecordReunion(t.Context(), u); err != nil {
		t.Error(err)
	}
	if err := r.DeleteCase(t.Context(), found2.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Reunions(t.Context()); err != nil || len(all) != 1 || all[0].Missing != missing.ID {
		t.Error(all, err)
	}
}

// TestReunionNeedsDNA tries to record reunions that no laboratory's result stands behind, or of other than the two sides.
func TestReunionNeedsDNA(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	missing, found := newCase(t, r, Missing), newCase(t, r, Found)
	for name, c := range map[string]struct {
		spoil func(*Reunion)
		field string // of the FieldError, if it is one
		is    error
	}{
		"no laboratory":    {func(u *Reunion) { u.Laboratory = "" }, "laboratory", ErrInvalid},
		"blank laboratory": {func(u *Reunion) { u.Laboratory = " \u3000" }, "laboratory", ErrInvalid},
		"long laboratory":  {func(u *Reunion) { u.Laboratory = strings.Repeat("x", MaxLaboratory+1) }, "laboratory", ErrInvalid},
		"no kit":           {func(u *Reunion) { u.Kit = "" }, "kit", ErrInvalid},
		"two lines of kit": {func(u *Reunion) { u.Kit = "1\n2" }, "kit", ErrInvalid},
		"no date":          {func(u *Reunion) { u.ConfirmedOn = Date{} }, "confirmed_on", ErrInvalid},
		"future":           {func(u *Reunion) { u.ConfirmedOn = DayOf(time.Now().AddDate(0, 0, 3)) }, "confirmed_on", ErrInvalid},
		"long name":        {func(u *Reunion) { u.RecordedBy = strings.Repeat("x", MaxName+1) }, "recorded_by", ErrInvalid},
		"swapped":          {func(u *Reunion) { u.Missing, u.Found = u.Found, u.Missing }, "missing", ErrInvalid},
		"missing twice":    {func(u *Reunion) { u.Found = u.Missing }, "found", ErrInvalid},
		"no missing case":  {func(u *Reunion) { u.Missing = "c_none" }, "", ErrNotFound},
		"no found case":    {func(u *Reunion) { u.Found = "" }, "", ErrNotFound},
	} {
		u := reunion(t, missing, found)
		c.spoil(&u)
		err := r.RecordReunion(t.Context(), u)
		var field *FieldError
		if !errors.Is(err, c.is) || errors.As(err, &field) != (c.field != "") || field != nil && field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Not even past this package.
	for _, values := range []string{"'', 'K', '2024'", "'L', '', '2024'", "'L', 'K', ''", "NULL, 'K', '2024'"} {
		if _, err := r.writer.Exec("INSERT INTO reunions (missing_case, found_case, laboratory, kit, confirmed_on, recorded_by, recorded_at) VALUES (?, ?, "+values+", '', 1)", missing.ID, found.ID); err == nil {
			t.Error("stored:", values)
		}
	}
	if all, err := r.Reunions(t.Context()); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
}

func TestReunionFaces(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	missing, found := newCase(t, r, Missing), newCase(t, r, Found)
	content := byte(0)
	add := func(c Case, faces ...NewFace) Photo {
		content++
		return save(t, r, mustAdd(t, r, c.ID, []byte{content}).ID, "set", NewAnalysis{Faces: faces})
	}
	late := add(missing, face(0, 1))
	early := add(missing, face(0, 2))
	for p, on := range map[*Photo]string{&late: "2012", &early: "2009-05"} {
		d := date(t, on)
		var err error
		if *p, err = r.UpdatePhoto(t.Context(), p.ID, PhotoChange{Taken: &d}); err != nil {
			t.Fatal(err)
		}
	}
	group := add(missing, face(0, 3), face(500, 4)) // nobody has said which is the child
	poor := face(0, 5)
	poor.Searchable = false
	blurred := add(found, poor)
	clear := add(found, face(0, 6))
	damaged := add(found, face(0, 7))
	if _, err := r.writer.Exec("UPDATE embeddings SET sealed = x'00' WHERE recogniser = 'r2' AND face_id = ?", damaged.Subject); err != nil {
		t.Fatal(err)
	}
	u := reunion(t, missing, found)
	if err := r.RecordReunion(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	empty := reunion(t, newCase(t, r, Missing), newCase(t, r, Found))
	if err := r.RecordReunion(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	add(newCase(t, r, Missing), face(0, 8)) // no reunion

	calls := 0
	err := r.ReunionFaces(t.Context(), func(got Reunion, photos []Photo, embeddings map[FaceID]map[string][]float32) error {
		calls++
		if got.Missing == empty.Missing {
			if len(photos) != 0 || len(embeddings) != 0 {
				t.Error(photos, embeddings)
			}
			return nil
		}
		var ids []PhotoID
		for _, p := range photos {
			ids = append(ids, p.ID)
		}
		if want := []PhotoID{early.ID, late.ID, group.ID, blurred.ID, clear.ID, damaged.ID}; !slices.Equal(ids, want) {
			t.Error(ids, want)
		}
		if p := photos[0]; p.CaseID != missing.ID || p.Taken != early.Taken || p.Subject != early.Subject || len(p.Faces) != 1 {
			t.Errorf("%+v", p)
		}
		firsts := map[FaceID]float32{late.Subject: 1, early.Subject: 2, clear.Subject: 6}
		if len(embeddings) != len(firsts) {
			t.Error(embeddings)
		}
		for id, first := range firsts {
			if want := face(0, first).Embeddings; !maps.EqualFunc(embeddings[id], want, slices.Equal[[]float32]) {
				t.Error(embeddings[id], want)
			}
		}
		return nil
	})
	if err != nil || calls != 2 {
		t.Error(calls, err)
	}

	stop := errors.New("stop")
	if err := r.ReunionFaces(t.Context(), func(Reunion, []Photo, map[FaceID]map[string][]float32) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	// A reunion that is removed while others are looked at is passed over.
	calls = 0
	if err := r.ReunionFaces(t.Context(), func(Reunion, []Photo, map[FaceID]map[string][]float32) error {
		calls++
		return r.DeleteCase(t.Context(), empty.Found)
	}); err != nil || calls != 1 {
		t.Error(calls, err)
	}
}

func TestReunite(t *testing.T) {
	var hands clock
	r := open(t, t.TempDir(), hands.options())
	officer := working(t, r, Officer, "")
	l := confirmed(t, r)
	other := saveOne(t, r, NewLead{l.Missing, newCase(t, r, Found).ID, Strength{Score: 2}})
	if _, err := r.writer.Exec(`INSERT INTO publications (id, case_id, state, sex, age_from, age_to, found_on, place, region, marks, proposed_by, proposed_at)
		VALUES ('g_1', ?, 'published', '', 3, 4, '2020', '', '', '', 'a_x', 1)`, l.Found); err != nil {
		t.Fatal(err)
	}
	before, err := r.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hands.pass(time.Hour)
	done, err := r.Reunite(officer, l.ID)
	if err != nil || done.State != LeadReunited || !done.UpdatedAt.Equal(hands.now()) || readLead(t, r, l.ID) != done {
		t.Fatal(done, err)
	}
	dna, err := r.DNAOf(t.Context(), l.ID)
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Reunions(t.Context())
	want := Reunion{l.Missing, l.Found, "State laboratory", dna[0].Samples[1].Kit, date(t, "2024-06-01"), string(ActorOf(officer).Account), hands.now()}
	if err != nil || len(all) != 1 || all[0] != want || dna[0].Samples[1].Whose != OfChild {
		t.Error(all, want, err)
	}
	changes, err := r.Changes(t.Context(), before, 10)
	if err != nil || len(changes) != 2 {
		t.Error(changes, err)
	}
	for _, id := range []CaseID{l.Missing, l.Found} {
		c, err := r.Case(t.Context(), id)
		if err != nil || c.Status != StatusClosed || c.ClosedAs != Reunited || !c.Destroy.Equal(hands.now().Add(RetentionReunited)) || c.Version != 2 {
			t.Errorf("%+v %v", c, err)
		}
		var n int
		if err := r.readers.QueryRow("SELECT count(*) FROM audit WHERE action = 'case.reunited' AND case_id = ? AND account = ? AND detail = ?",
			id, ActorOf(officer).Account, `{"lead":"`+string(l.ID)+`"}`).Scan(&n); err != nil || n != 1 {
			t.Error(id, n, err)
		}
	}
	var state, by string
	if err := r.readers.QueryRow("SELECT state, removal_by FROM publications").Scan(&state, &by); err != nil || state != string(Removed) || by != string(ActorOf(officer).Account) {
		t.Error(state, by, err)
	}
	// Both are out of the queue, with all their leads.
	if left, _, err := r.Leads(t.Context(), LeadQuery{}); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	if left, _, err := r.Leads(t.Context(), LeadQuery{Closed: true}); err != nil || len(left) != 2 || readLead(t, r, other.ID).State != LeadOpen {
		t.Error(left, err)
	}
	if _, err := r.Reunite(officer, l.ID); !errors.Is(err, ErrConflict) {
		t.Error("twice:", err)
	}

	// Taken back, the cases can be opened and the two reunited again.
	if err := r.RemoveReunion(t.Context(), l.Missing, l.Found); err != nil {
		t.Fatal(err)
	}
	if got := readLead(t, r, l.ID); got.State != LeadConfirmed {
		t.Errorf("%+v", got)
	}
	if _, err := r.Reunite(officer, l.ID); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "reopen") {
		t.Error("of closed cases:", err)
	}
	for _, id := range []CaseID{l.Missing, l.Found} {
		if _, err := r.ReopenCase(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Reunite(officer, l.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []CaseID{l.Missing, l.Found} {
		var notes int
		if err := r.readers.QueryRow("SELECT count(*) FROM audit WHERE action = 'reunion.removed' AND case_id = ?", id).Scan(&notes); err != nil || notes != 1 {
			t.Error(notes, err)
		}
	}
	if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

func TestReuniteNeedsDNA(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	officer := working(t, r, Officer, "")
	l := confirmed(t, r)
	for _, state := range []LeadState{LeadOpen, LeadDisputed, LeadPotential, LeadNoCandidate, LeadInconclusive, LeadDNA, LeadExcluded, LeadReunited} {
		if _, err := r.writer.Exec("UPDATE leads SET state = ?", state); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Reunite(officer, l.ID); !errors.Is(err, ErrConflict) {
			t.Error(state, err)
		}
	}
	if _, err := r.Reunite(officer, "l_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	// Nor one whose state says confirmed with no laboratory's word behind it.
	bare := potential(t, r)
	request(t, r, bare.ID, "State laboratory", OfChild, OfMother)
	if _, err := r.writer.Exec("UPDATE leads SET state = 'confirmed'"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reunite(officer, bare.ID); err == nil {
		t.Error("reunited without DNA")
	}

	// The command line may have recorded the two before, or one of them with another.
	if err := r.RecordReunion(t.Context(), reunion(t, Case{ID: l.Missing}, Case{ID: l.Found})); err != nil {
		t.Fatal(err)
	}
	if got := notesOn(t, r, string(l.Found)); !slices.Contains(got, "reunion.recorded "+string(l.Missing)+" {}") {
		t.Error(got)
	}
	if got, err := r.Reunite(officer, l.ID); err != nil || got.State != LeadReunited {
		t.Error(got, err)
	}
	l = confirmed(t, r)
	if err := r.RecordReunion(t.Context(), reunion(t, Case{ID: l.Missing}, newCase(t, r, Found))); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reunite(officer, l.ID); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
	if got := readLead(t, r, l.ID); got.State != LeadConfirmed {
		t.Errorf("%+v", got)
	}
}
