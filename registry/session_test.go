package registry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSessions(t *testing.T) {
	clock := newHandClock()
	r := open(t, t.TempDir(), Options{Now: clock.now})
	ctx := t.Context()
	p := enrolled(t, r, "officer1", Officer)
	other := enrolled(t, r, "officer2", Officer)
	token, err := r.CreateSession(ctx, p.ID, "Browser\n on a telephone", time.Hour)
	if err != nil || !strings.HasPrefix(token, "hs_") {
		t.Fatal(token, err)
	}
	a, err := r.Session(ctx, token)
	if err != nil || a.Account != p.ID || a.Role != Officer || a.Name != p.Name || len(a.Regions) != 1 || a.Regions[0] != Everywhere ||
		a.Organisation != p.Organisation || !strings.HasPrefix(a.Via, "h_") || a.Purpose != "" || a.Case != "" {
		t.Fatalf("%+v %v", a, err)
	}
	if e := lastNote(t, r); e.Action != "session.begun" || e.Subject != a.Via || e.Account != p.ID || e.Role != Officer || e.Via != a.Via {
		t.Errorf("%+v", e)
	}
	if err := r.SetPurpose(ctx, a.Via, " file 17 "); err != nil {
		t.Error(err)
	}
	if e := lastNote(t, r); e.Action != "session.purposed" || e.Purpose != "file 17" {
		t.Errorf("%+v", e)
	}
	if a, err = r.Session(ctx, token); err != nil || a.Purpose != "file 17" {
		t.Error(a, err)
	}
	wantField(t, r.SetPurpose(ctx, a.Via, strings.Repeat("a", MaxPurpose+1)), "purpose")
	for _, s := range []string{"", "h_none", token} {
		if err := r.SetPurpose(ctx, s, "x"); !errors.Is(err, ErrNotFound) {
			t.Error(s, err)
		}
		if s == token {
			continue
		}
		if _, err := r.Session(ctx, s); !errors.Is(err, ErrNotFound) {
			t.Error(s, err)
		}
	}
	if _, err := r.Session(ctx, a.Via); !errors.Is(err, ErrNotFound) {
		t.Error("a session's name opens it", err)
	}

	second, err := r.CreateSession(ctx, p.ID, "", 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	list := func(want int) []Session {
		t.Helper()
		all, err := r.Sessions(ctx, p.ID)
		if err != nil || len(all) != want {
			t.Fatalf("%+v %v", all, err)
		}
		return all
	}
	all := list(2)
	if s := all[1]; s.ID != a.Via || s.Device != "Browser on a telephone" || s.Purpose != "file 17" || !s.SeenAt.Equal(clock.now()) || !s.ExpiresAt.Equal(clock.now().Add(time.Hour)) {
		t.Errorf("%+v", s)
	}
	begun := clock.now()
	for _, c := range []struct {
		later time.Duration
		seen  time.Duration
	}{{59 * time.Second, 0}, {2 * time.Second, 61 * time.Second}, {-time.Hour, 61*time.Second - time.Hour}, {time.Hour, 61 * time.Second}} {
		clock.add(c.later)
		if _, err := r.Session(ctx, token); err != nil {
			t.Fatal(err)
		}
		if s := list(2)[1]; !s.SeenAt.Equal(begun.Add(c.seen)) {
			t.Error(c, s.SeenAt.Sub(begun))
		}
	}

	if err := r.EndSession(ctx, other.ID, a.Via); !errors.Is(err, ErrNotFound) {
		t.Error("someone else's session was ended", err)
	}
	if err := r.EndSession(ctx, p.ID, a.Via); err != nil {
		t.Error(err)
	}
	if e := lastNote(t, r); e.Action != "session.ended" || e.Subject != a.Via {
		t.Errorf("%+v", e)
	}
	if err := r.EndSession(ctx, p.ID, a.Via); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	list(1)
	before := len(noted(t, r))
	if err := errors.Join(r.DeleteSession(ctx, second), r.DeleteSession(ctx, second), r.DeleteSession(ctx, "")); err != nil {
		t.Error(err)
	}
	if n := len(noted(t, r)); n != before+1 {
		t.Error("signing out is noted", n-before, "times")
	}
	for _, s := range []string{token, second} {
		if _, err := r.Session(ctx, s); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	list(0)

	disabled := true
	if _, err := r.UpdateAccount(ctx, p.ID, AccountChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []AccountID{p.ID, "a_none", ""} {
		if _, err := r.CreateSession(ctx, id, "", time.Hour); !errors.Is(err, ErrNotFound) {
			t.Error(id, err)
		}
	}

	family, caseID := newFamilyAccount(t, r)
	if token, err = r.CreateSession(ctx, family, "", time.Hour); err != nil {
		t.Fatal(err)
	}
	if a, err = r.Session(ctx, token); err != nil || a.Role != Family || a.Case != caseID || a.Language != "zh" {
		t.Errorf("%+v %v", a, err)
	}
	if e := lastNote(t, r); e.Case != caseID {
		t.Errorf("%+v", e)
	}
}

// TestSessionClock puts the clock forward a year and back.
func TestSessionClock(t *testing.T) {
	clock := newHandClock()
	r := open(t, t.TempDir(), Options{Now: clock.now})
	ctx := t.Context()
	p := enrolled(t, r, "officer1", Officer)
	const year = 365 * 24 * time.Hour
	begin := func() string {
		t.Helper()
		token, err := r.CreateSession(ctx, p.ID, "", 12*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	lives := func(token string, want bool) {
		t.Helper()
		if _, err := r.Session(ctx, token); want && err != nil || !want && !errors.Is(err, ErrNotFound) {
			t.Error(want, err)
		}
	}
	now := begin()
	clock.add(12*time.Hour - time.Millisecond)
	lives(now, true)
	clock.add(time.Millisecond)
	lives(now, false)
	clock.add(-12 * time.Hour)
	lives(now, true)

	clock.add(year)
	lives(now, false)
	if all, err := r.Sessions(ctx, p.ID); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	ahead := begin() // which clears away what has ended
	lives(ahead, true)
	clock.add(-year)
	lives(ahead, false)
	lives(now, false)
	if all, err := r.Sessions(ctx, p.ID); err != nil || len(all) != 0 {
		t.Error("a session of next year is listed", all, err)
	}
	lives(begin(), true)
	clock.add(year)
	lives(ahead, false) // it was cleared away too
	clock.add(-year)
	slow := begin()
	clock.add(-time.Hour) // as a clock is set right
	lives(slow, true)
	var n int
	if err := r.readers.QueryRow("SELECT count(*) FROM sessions").Scan(&n); err != nil || n != 2 {
		t.Error(n, err)
	}
}
