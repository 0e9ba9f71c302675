package registry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

const (
	hour = time.Hour
	dayT = 24 * time.Hour
	year = 365 * dayT
)

func TestCloseAndReopen(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	officer := as(t, r, Officer, Everywhere)
	for as, keep := range map[string]time.Duration{ClosedByOfficer: RetentionClosed, Withdrawn: RetentionWithdrawn} {
		c := newCase(t, r, Missing)
		seq, err := r.LastSeq(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		closed, err := r.CloseCase(officer, c.ID, as)
		if err != nil || closed.Status != StatusClosed || closed.ClosedAs != as || !closed.Destroy.Equal(r.now().Add(keep)) || closed.Version != 2 {
			t.Fatalf("%+v %v", closed, err)
		}
		if changes, err := r.Changes(t.Context(), seq, 10); err != nil || len(changes) != 1 || changes[0].Case != c.ID {
			t.Error(changes, err)
		}
		if _, err := r.CloseCase(officer, c.ID, as); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		opened, err := r.ReopenCase(officer, c.ID)
		if err != nil || opened.Status != StatusOpen || opened.ClosedAs != "" || !opened.Destroy.IsZero() || opened.Version != 3 {
			t.Fatalf("%+v %v", opened, err)
		}
		if _, err := r.ReopenCase(officer, c.ID); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		entries, _, err := r.Audit(t.Context(), AuditQuery{Case: c.ID})
		if err != nil || len(entries) != 3 || entries[0].Action != "case.reopened" || entries[1].Action != "case.closed" || entries[1].Detail["as"] != as {
			t.Error(entries, err)
		}
	}
	for _, as := range []string{"", "gone", Reunited} { // a reunion has a method of its own
		if _, err := r.CloseCase(officer, newCase(t, r, Missing).ID, as); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", as, err)
		}
	}
	_, err := r.CloseCase(officer, "c_none", ClosedByOfficer)
	_, err2 := r.ReopenCase(officer, "c_none")
	if !errors.Is(err, ErrNotFound) || !errors.Is(err2, ErrNotFound) {
		t.Error(err, err2)
	}
	reunited := newCase(t, r, Found)
	if _, err := r.writer.Exec("UPDATE cases SET status = 'closed', closed_as = 'reunited' WHERE id = ?", reunited.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReopenCase(officer, reunited.ID); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
}

// TestCloseHidesWhatIsPublished closes cases in every state of publication: nothing of them is public, also once they are
// open again.
func TestCloseHidesWhatIsPublished(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	officer := as(t, r, Officer, Everywhere)
	for _, state := range []PublicationState{Proposed, Published, Removal} {
		p, err := r.Propose(as(t, r, Officer, Everywhere), proposal(t, r))
		if err == nil && state != Proposed {
			p, err = r.Decide(officer, p.ID, true)
		}
		if err == nil && state == Removal {
			p, err = r.AskRemoval(officer, p.ID, "why")
		}
		if err != nil || p.State != state {
			t.Fatal(p, err)
		}
		if _, err := r.CloseCase(officer, p.Case, ClosedByOfficer); err != nil {
			t.Fatal(err)
		}
		look := func() {
			t.Helper()
			got, err := r.Publication(t.Context(), p.ID)
			if err != nil || got.State != Removed || got.RemovalWhy != "closed" || got.RemovalBy != ActorOf(officer).Account {
				t.Error(got, err)
			}
			if _, _, err := r.PublishedPicture(t.Context(), p.Pictures[0].ID, true); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			if _, total, _, err := r.Gallery(t.Context(), GalleryQuery{}); err != nil || total != 0 {
				t.Error(total, err)
			}
		}
		look()
		if _, err := r.Decide(as(t, r, Supervisor, Everywhere), p.ID, true); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		if _, err := r.ReopenCase(officer, p.Case); err != nil {
			t.Fatal(err)
		}
		look()
	}
}

// destroy calls DestroyDue and checks what it says.
func destroy(t testing.TB, r *Registry, held bool, want ...CaseID) {
	t.Helper()
	got, isHeld, err := r.DestroyDue(t.Context())
	if err != nil || isHeld != held || !slices.Equal(got, want) {
		t.Errorf("destroyed %v, held %v, %v; want %v, %v", got, isHeld, err, want, held)
	}
}

func TestDestroyDue(t *testing.T) {
	dir := t.TempDir()
	var now clock
	r := open(t, dir, now.options())
	family := report(t, r)
	photo := mustAdd(t, r, family.Case.ID, randomPhoto(1, 5000))
	p := save(t, r, photo.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1)}})
	var key []byte
	if err := r.readers.QueryRow("SELECT key FROM cases WHERE id = ?", family.Case.ID).Scan(&key); err != nil {
		t.Fatal(err)
	}
	if _, err := r.writer.Exec("INSERT INTO exhibits (case_id, photo_id, sealed) VALUES (?, ?, x'01')", family.Case.ID, photo.ID); err != nil {
		t.Fatal(err)
	}
	withdrawn, err := r.CloseCase(t.Context(), family.Case.ID, Withdrawn)
	if err != nil {
		t.Fatal(err)
	}
	closed, reopened, untouched := closedCase(t, r, Found), newCase(t, r, Missing).ID, newCase(t, r, Missing).ID
	if _, err := r.CloseCase(t.Context(), reopened, Withdrawn); err != nil {
		t.Fatal(err)
	}
	if due, err := r.DueForDestruction(t.Context(), 10); err != nil || len(due) != 3 || due[0].ID != withdrawn.ID || due[2].ID != closed {
		t.Error(due, err)
	}
	if _, err := r.DueForDestruction(t.Context(), -1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	for range 6 {
		destroy(t, r, false)
		now.pass(dayT)
	}
	if _, err := r.ReopenCase(t.Context(), reopened); err != nil {
		t.Fatal(err)
	}
	now.pass(dayT - time.Second)
	destroy(t, r, false)
	now.pass(time.Second)
	destroy(t, r, false, withdrawn.ID)
	destroy(t, r, false)

	for _, query := range []string{"cases WHERE id = ?1", "photos WHERE case_id = ?1", "exhibits WHERE case_id = ?1", "families WHERE case_id = ?1",
		"faces WHERE id = ?2", "templates WHERE face_id = ?2", "embeddings WHERE face_id = ?2", "accounts WHERE id = ?3"} {
		var n int
		if err := r.readers.QueryRow("SELECT count(*) FROM "+query, withdrawn.ID, p.Faces[0].ID, family.Account).Scan(&n); err != nil || n != 0 {
			t.Error(query, n, err)
		}
	}
	strays(t, r)
	if left := files(t, r.photos()); len(left) != 0 {
		t.Error(left)
	}
	for _, f := range files(t, dir) {
		if b, err := os.ReadFile(f); err != nil || bytes.Contains(b, key[len(key)/2:]) {
			t.Errorf("%s holds the key of the destroyed case (%v)", f, err)
		}
	}
	if _, _, err := r.OpenLink(t.Context(), family.Link); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Case: withdrawn.ID})
	if err != nil || entries[0].Action != "case.destroyed" || entries[0].Role != System || entries[1].Action == "case.deleted" {
		t.Error(entries, err)
	}
	for range 100 { // the other's time comes, and the reopened one's does not
		now.pass(dayT)
		if _, _, err := r.DestroyDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Case(t.Context(), closed); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, id := range []CaseID{reopened, untouched} {
		if _, err := r.Case(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// TestClockJumps lets the clock jump: nothing is destroyed until it has gone right for a day, or an operator says so.
func TestClockJumps(t *testing.T) {
	start := func(t *testing.T) (*clock, *Registry, CaseID) {
		now := new(clock)
		r := open(t, t.TempDir(), now.options())
		id := closedCase(t, r, Missing)
		destroy(t, r, false)
		return now, r, id
	}
	// hours passes some of them, with a call in each that must be held.
	hours := func(t *testing.T, now *clock, r *Registry, n int) {
		t.Helper()
		for range n {
			now.pass(hour)
			destroy(t, r, true)
		}
	}
	t.Run("years ahead and back", func(t *testing.T) {
		now, r, _ := start(t)
		now.at += 10 * year
		destroy(t, r, true)
		hours(t, now, r, 20)
		now.at -= 10 * year
		destroy(t, r, false)
		now.pass(RetentionClosed - 21*hour) // the process slept: a long time, that its clock did not see
		now.up -= RetentionClosed
		destroy(t, r, true)
	})
	t.Run("ahead, and right after all", func(t *testing.T) {
		now, r, id := start(t)
		now.at += year
		destroy(t, r, true)
		hours(t, now, r, 23)
		now.pass(hour)
		destroy(t, r, false, id)
	})
	t.Run("ahead, and confirmed", func(t *testing.T) {
		now, r, id := start(t)
		now.at += year
		destroy(t, r, true)
		if err := r.ConfirmClock(WithActor(t.Context(), Actor{Role: Operator, Via: "root"})); err != nil {
			t.Fatal(err)
		}
		destroy(t, r, false, id)
		if entries, _, err := r.Audit(t.Context(), AuditQuery{Action: "clock.confirmed"}); err != nil || len(entries) != 1 || entries[0].Role != Operator {
			t.Error(entries, err)
		}
	})
	t.Run("ahead again and again", func(t *testing.T) {
		now, r, _ := start(t)
		for range 5 {
			now.at += year
			destroy(t, r, true)
			hours(t, now, r, 23)
		}
	})
	t.Run("one call late in the day does not do", func(t *testing.T) {
		now, r, _ := start(t)
		now.at += year
		now.pass(2 * dayT)
		destroy(t, r, true)
	})
	t.Run("a new process starts anew", func(t *testing.T) {
		now, r, _ := start(t)
		now.at += year
		destroy(t, r, true)
		hours(t, now, r, 23)
		other := open(t, r.dir, (&clock{at: now.at, up: 0}).options())
		destroy(t, other, true)
	})
	t.Run("years back", func(t *testing.T) {
		now, r, _ := start(t)
		now.at -= 50 * year
		destroy(t, r, true)
		// What is closed meanwhile is kept as long as if the clock had stood.
		c, err := r.CloseCase(t.Context(), newCase(t, r, Missing).ID, Withdrawn)
		if err != nil || !c.Destroy.Equal(clockStart.Add(RetentionWithdrawn)) {
			t.Error(c.Destroy, err)
		}
		hours(t, now, r, 23)
		now.at += 50 * year
		destroy(t, r, false)
	})
	t.Run("before the first call", func(t *testing.T) {
		var now clock
		r := open(t, t.TempDir(), now.options())
		closedCase(t, r, Missing)
		now.at += 10 * year
		destroy(t, r, true)
	})
	t.Run("by days", func(t *testing.T) {
		now, r, _ := start(t)
		now.at += clockTrust
		destroy(t, r, false)
		now.at -= clockTrust
		destroy(t, r, false)
		now.at += clockTrust + time.Millisecond
		destroy(t, r, true)
	})
}

// TestDestroyCut ends DestroyDue early: what is left is destroyed by the next call.
func TestDestroyCut(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	id := closedCase(t, r, Missing)
	now.pass(RetentionClosed)
	if err := r.ConfirmClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, _, err := r.DestroyDue(ctx); err == nil || len(got) != 0 {
		t.Error(got, err)
	}
	destroy(t, r, false, id)
}
