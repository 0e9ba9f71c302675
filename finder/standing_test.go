package finder_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// openIdle opens a Finder that does nothing by itself.
func openIdle(t *testing.T, c finder.Config) (*finder.Finder, func()) {
	t.Helper()
	c.Models = "../models"
	f, err := finder.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	closed := sync.OnceFunc(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closed)
	return f, closed
}

// boy is a case of whom enough is recorded for portraits of one man to make a lead.
func boy(g registry.Gallery) registry.Case {
	born, _ := registry.ParseDate("1961-08")
	return registry.Case{Gallery: g, Sex: registry.Male, BornFrom: born, BornTo: born}
}

// enrol makes a case with photos.
func enrol(t *testing.T, f *finder.Finder, c registry.Case, names ...string) registry.Case {
	t.Helper()
	c, err := f.Registry.CreateCase(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		addPhoto(t, f, c.ID, name)
	}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func addPhoto(t *testing.T, f *finder.Finder, id registry.CaseID, name string) registry.Photo {
	t.Helper()
	p, _, err := f.AddPhoto(t.Context(), id, finder.NewPhoto{}, bytes.NewReader(photos.Read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stand runs the standing search and returns all leads there are then.
func stand(t *testing.T, f *finder.Finder) []registry.Lead {
	t.Helper()
	if _, err := f.Standing(t.Context()); err != nil {
		t.Fatal(err)
	}
	return leads(t, f)
}

func leads(t *testing.T, f *finder.Finder) []registry.Lead {
	t.Helper()
	all, _, err := f.Registry.Leads(t.Context(), registry.LeadQuery{Closed: true, Order: registry.ByNewest, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// touch changes a case in something that has no part in its strength.
func touch(t *testing.T, f *finder.Finder, id registry.CaseID) {
	t.Helper()
	c, err := f.Registry.Case(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c.Notes += "x"
	if _, err := f.Registry.UpdateCase(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// TestStanding makes one lead of a pair, whichever side comes first, and keeps it one.
func TestStanding(t *testing.T) {
	for _, first := range []registry.Gallery{registry.Missing, registry.Found} {
		t.Run(string(first)+" first", func(t *testing.T) {
			ctx := t.Context()
			f, _ := openIdle(t, finder.Config{Data: t.TempDir()})
			a := enrol(t, f, boy(first), photos.Obama)
			enrol(t, f, boy(first.Other()), photos.Biden)
			if st, err := f.Status(ctx); err != nil || st.Standing != 2 {
				t.Errorf("%d cases wait, %v, want 2", st.Standing, err)
			}
			if got := stand(t, f); len(got) != 0 {
				t.Fatalf("two strangers: %+v", got)
			}
			b := enrol(t, f, boy(first.Other()), photos.Obama2)
			got := stand(t, f)
			if len(got) != 1 {
				t.Fatalf("a pair: %d leads, want 1", len(got))
			}
			l := got[0]
			missing, found := a, b
			if first == registry.Found {
				missing, found = b, a
			}
			if l.Missing != missing.ID || l.Found != found.ID || l.State != registry.LeadOpen || l.Source != registry.FromStanding || l.ModelSet != f.TemplateSet() {
				t.Errorf("lead %+v", l)
			}
			for side, of := range map[registry.FaceID]registry.CaseID{l.MissingFace: missing.ID, l.FoundFace: found.ID} {
				if p, err := f.Registry.PhotoOf(ctx, side); err != nil || p.CaseID != of {
					t.Errorf("face %s of case %s, %v, want case %s", side, p.CaseID, err, of)
				}
			}
			if s, err := f.ComparePair(ctx, missing.ID, found.ID); err != nil || !near(s.Score, l.Score) || s.MissingFace != l.MissingFace || s.FoundFace != l.FoundFace {
				t.Errorf("the pair compared: %+v, %v, lead %+v", s, err, l.Strength)
			}
			if n, err := f.Standing(ctx); err != nil || n != 0 {
				t.Errorf("nothing changed, and %d cases were compared, %v", n, err)
			}
			if st, err := f.Status(ctx); err != nil || st.Standing != 0 {
				t.Errorf("%d cases wait, %v, want none", st.Standing, err)
			}

			// A second photo, on either side, makes no second lead, and the lead has the strength of all photos.
			addPhoto(t, f, a.ID, photos.Obama3)
			again := stand(t, f)
			if len(again) != 1 || again[0].ID != l.ID || again[0].Score == l.Score {
				t.Errorf("after a second photo: %+v, before %+v", again, l)
			}
			touch(t, f, b.ID)
			if again = stand(t, f); len(again) != 1 || again[0].ID != l.ID {
				t.Errorf("after a change of facts: %+v", again)
			}
		})
	}
}

func near(a, b float64) bool { return abs64(a-b) < 1e-6 }

// TestStandingJudged keeps a verdict through new photos.
func TestStandingJudged(t *testing.T) {
	f, _ := openIdle(t, finder.Config{Data: t.TempDir()})
	enrol(t, f, boy(registry.Missing), photos.Obama)
	found := enrol(t, f, boy(registry.Found), photos.Obama2)
	l := stand(t, f)[0]
	for _, who := range []registry.AccountID{"a_one", "a_two"} {
		ctx := registry.WithActor(t.Context(), registry.Actor{Account: who, Role: registry.Examiner, Regions: []string{registry.Everywhere}})
		if _, _, err := f.Registry.GiveVerdict(ctx, registry.NewVerdict{Lead: l.ID, Round: l.Round, Finding: registry.NoCandidate, Reasons: "The ears differ."},
			registry.Frozen{Content: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if got := leads(t, f)[0]; got.State != registry.LeadNoCandidate {
		t.Fatalf("after two verdicts: %+v", got)
	}
	addPhoto(t, f, found.ID, photos.Biden) // whatever was sent: the evidence does not rise
	if got := stand(t, f); len(got) != 1 || got[0].State != registry.LeadNoCandidate || got[0].Round != 1 || got[0].Score == l.Score {
		t.Errorf("after another photo: %+v", got)
	}
}

// TestStandingLosesNothing finds the lead after a process that ended between upload and comparison.
func TestStandingLosesNothing(t *testing.T) {
	data := t.TempDir()
	f, closed := openIdle(t, finder.Config{Data: data})
	missing := enrol(t, f, boy(registry.Missing), photos.Obama)
	found := enrol(t, f, boy(registry.Found), photos.Obama2)
	closed()

	g, end := open(t, finder.Config{Data: data, Models: "../models"})
	var got []registry.Lead
	for deadline := time.Now().Add(time.Minute); len(got) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = leads(t, g)
	}
	if len(got) != 1 || got[0].Missing != missing.ID || got[0].Found != found.ID {
		t.Fatalf("leads %+v", got)
	}
	// What another process changes is compared without being told.
	r, err := registry.Open(t.Context(), data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := r.Case(t.Context(), found.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.Sex = registry.Female
	if _, err := r.UpdateCase(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); leads(t, g)[0].Records >= got[0].Records && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
	}
	if now := leads(t, g); len(now) != 1 || now[0].Records >= got[0].Records {
		t.Errorf("after the record changed: %+v, before %+v", now, got)
	}
	end()
}

// TestStandingMeanwhile compares nothing with a case that was closed or deleted meanwhile.
func TestStandingMeanwhile(t *testing.T) {
	ctx := t.Context()
	f, _ := openIdle(t, finder.Config{Data: t.TempDir()})
	var gone []registry.CaseID
	f.OnDestroyed(func(ids []registry.CaseID) { gone = append(gone, ids...) })
	missing := enrol(t, f, boy(registry.Missing), photos.Obama)
	found := enrol(t, f, boy(registry.Found), photos.Obama2)
	if _, err := f.Registry.CloseCase(ctx, found.ID, "closed"); err != nil {
		t.Fatal(err)
	}
	if got := stand(t, f); len(got) != 0 {
		t.Fatalf("a closed case: %+v", got)
	}
	if _, err := f.Registry.ReopenCase(ctx, found.ID); err != nil {
		t.Fatal(err)
	}
	if got := stand(t, f); len(got) != 1 {
		t.Fatalf("an opened case: %+v", got)
	}
	other := enrol(t, f, boy(registry.Found), photos.Obama3)
	p, err := f.ProbeCase(ctx, "someone", other.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Registry.DeleteCase(ctx, other.ID); err != nil {
		t.Fatal(err)
	}
	if got := stand(t, f); len(got) != 1 || got[0].Found != found.ID {
		t.Errorf("a deleted case: %+v", got)
	}
	if !slices.Equal(gone, []registry.CaseID{other.ID}) {
		t.Errorf("gone: %v, want %s", gone, other.ID)
	}
	if _, err := f.Probe("someone", p.ID); !errors.Is(err, finder.ErrNoProbe) {
		t.Errorf("the templates of a deleted case are still searched with: %v", err)
	}
	if _, err := f.ComparePair(ctx, missing.ID, other.ID); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a pair with a deleted case: %v, want ErrNotFound", err)
	}
	empty := enrol(t, f, registry.Case{Gallery: registry.Found})
	if _, err := f.ComparePair(ctx, missing.ID, empty.ID); !errors.Is(err, finder.ErrNoFaces) {
		t.Errorf("a pair with a case without photos: %v, want ErrNoFaces", err)
	}
	if _, err := f.PairCandidate(ctx, found.ID, missing.ID); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("a pair the wrong way round: %v, want ErrInvalid", err)
	}
}

// TestStandingThreshold changes the threshold: it holds for what is compared from then on, and takes no lead away.
func TestStandingThreshold(t *testing.T) {
	data := t.TempDir()
	const out = 50 // of reach
	f, closed := openIdle(t, finder.Config{Data: data, LeadThreshold: out})
	enrol(t, f, boy(registry.Missing), photos.Obama)
	found := enrol(t, f, boy(registry.Found), photos.Obama2)
	if got := stand(t, f); len(got) != 0 {
		t.Fatalf("under a high threshold: %+v", got)
	}
	closed()
	f, closed = openIdle(t, finder.Config{Data: data})
	if got := stand(t, f); len(got) != 0 {
		t.Fatalf("nothing changed: %+v", got)
	}
	touch(t, f, found.ID)
	first := stand(t, f)
	if len(first) != 1 {
		t.Fatalf("under the usual threshold: %+v", first)
	}
	closed()
	f, _ = openIdle(t, finder.Config{Data: data, LeadThreshold: out})
	addPhoto(t, f, found.ID, photos.Obama3)
	if got := stand(t, f); len(got) != 1 || got[0].ID != first[0].ID || got[0].State != registry.LeadOpen || got[0].Score == first[0].Score {
		t.Errorf("under a high threshold again: %+v, before %+v", got, first)
	}
}

// TestPairCandidate tells of a pair what a search tells of it.
func TestPairCandidate(t *testing.T) {
	ctx := t.Context()
	f, _ := openIdle(t, finder.Config{Data: t.TempDir()})
	missing := enrol(t, f, boy(registry.Missing), photos.Obama, photos.Obama3)
	found := enrol(t, f, boy(registry.Found), photos.Obama2)
	again := enrol(t, f, registry.Case{Gallery: registry.Found, Sex: registry.Male}, photos.Obama3)
	enrol(t, f, registry.Case{Gallery: registry.Found}, photos.Biden)
	p, err := f.ProbeCase(ctx, "", missing.ID)
	if err != nil {
		t.Fatal(err)
	}
	search, err := f.Candidates(ctx, p, 0, finder.Query{Limit: 10})
	if err != nil || len(search.Candidates) != 3 {
		t.Fatalf("%d candidates, %v", len(search.Candidates), err)
	}
	for _, want := range search.Candidates {
		got, err := f.PairCandidate(ctx, missing.ID, want.Case.ID)
		if err != nil {
			t.Fatal(err)
		}
		want.Rank = 0
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the pair:\n%+v\nthe search:\n%+v", got, want)
		}
	}
	others, err := f.OtherCandidates(ctx, missing.ID, found.ID, 5)
	if err != nil || len(others) != 1 || others[0].Case.ID != again.ID {
		t.Errorf("others: %+v, %v, want case %s and no stranger", others, err, again.ID)
	}
	if others, err = f.OtherCandidates(ctx, found.ID, missing.ID, 5); err != nil || len(others) != 0 {
		t.Errorf("others for the found case: %+v, %v", others, err)
	}
	if _, err := f.Registry.CloseCase(ctx, found.ID, "closed"); err != nil {
		t.Fatal(err)
	}
	if err := f.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := f.PairCandidate(ctx, missing.ID, found.ID); err != nil || got.Case.Status != registry.StatusClosed {
		t.Errorf("a pair of which a case is closed: %+v, %v", got, err)
	}
}

// TestNarrow narrows searches and lists by region, and to some cases.
func TestNarrow(t *testing.T) {
	ctx := t.Context()
	f, _ := openIdle(t, finder.Config{Data: t.TempDir()})
	for _, code := range []string{"AA", "AA-1", "AB"} {
		if err := f.Registry.PutRegion(ctx, registry.Region{Code: code, Names: map[string]string{"en": code}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.LoadWords(ctx); err != nil {
		t.Fatal(err)
	}
	const marks = "mole"
	one := enrol(t, f, registry.Case{Gallery: registry.Missing, Region: "AA-1", Marks: marks}, photos.Obama)
	two := enrol(t, f, registry.Case{Gallery: registry.Missing, Region: "AB", Marks: marks}, photos.Biden)
	three := enrol(t, f, registry.Case{Gallery: registry.Missing, Marks: marks}, photos.Astronaut)
	p, err := f.ProbePhoto(ctx, "", bytes.NewReader(photos.Read(t, photos.Obama2)))
	if err != nil {
		t.Fatal(err)
	}
	some := func(cases ...registry.Case) map[registry.CaseID]struct{} {
		m := map[registry.CaseID]struct{}{}
		for _, c := range cases {
			m[c.ID] = struct{}{}
		}
		return m
	}
	for _, tt := range []struct {
		name string
		q    finder.Query
		want map[registry.CaseID]struct{}
	}{
		{"anywhere", finder.Query{}, some(one, two, three)},
		{"a region with its parts; a case of none is everyone's", finder.Query{Regions: []string{"AA"}}, some(one, three)},
		{"two regions", finder.Query{Regions: []string{"AA-1", "AB"}}, some(one, two, three)},
		{"everywhere", finder.Query{Regions: []string{registry.Everywhere}}, some(one, two, three)},
		{"among some", finder.Query{Among: some(two, three)}, some(two, three)},
		{"among none", finder.Query{Among: some()}, some()},
		{"among some of a region", finder.Query{Among: some(two, three), Regions: []string{"AA"}}, some(three)},
	} {
		for _, words := range []string{"", marks} {
			q := tt.q
			q.Words, q.Limit = words, 10
			found, err := f.Candidates(ctx, p, 0, q)
			if err != nil {
				t.Fatal(err)
			}
			got := some()
			for _, c := range found.Candidates {
				got[c.Case.ID] = struct{}{}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s, words %q: candidates %v, want %v", tt.name, words, got, tt.want)
			}
			list, _, err := f.Cases(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			if got := some(list...); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s, words %q: cases %v, want %v", tt.name, words, got, tt.want)
			}
		}
	}
}

// TestRetention destroys a case whose time has come, and tells who keeps copies of it; with a clock that jumped it says so instead.
func TestRetention(t *testing.T) {
	for _, held := range []bool{false, true} {
		data := t.TempDir()
		ago := 8 * 24 * time.Hour
		r, err := registry.Open(t.Context(), data, registry.Options{Now: func() time.Time { return time.Now().Add(-ago) }})
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.CreateCase(t.Context(), registry.Case{Gallery: registry.Missing})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.CloseCase(t.Context(), c.ID, "withdrawn"); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		var log safeBuffer
		f, _ := openIdle(t, finder.Config{Data: data, Log: slog.New(slog.NewTextHandler(&log, nil))})
		gone := make(chan []registry.CaseID, 1)
		f.OnDestroyed(func(ids []registry.CaseID) { gone <- ids })
		if !held {
			if err := f.Registry.ConfirmClock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- f.Run(ctx) }()
		if held {
			for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "homeward retention confirm-clock") && time.Now().Before(deadline); {
				time.Sleep(20 * time.Millisecond)
			}
			if _, err := f.Registry.Case(t.Context(), c.ID); err != nil || !strings.Contains(log.String(), "homeward retention confirm-clock") {
				t.Errorf("with a clock that jumped: %v, log %s", err, log.String())
			}
		} else {
			select {
			case ids := <-gone:
				if !slices.Equal(ids, []registry.CaseID{c.ID}) {
					t.Errorf("destroyed %v, want %s", ids, c.ID)
				}
			case <-time.After(time.Minute):
				t.Error("nothing was destroyed")
			}
			if _, err := f.Registry.Case(t.Context(), c.ID); !errors.Is(err, registry.ErrNotFound) {
				t.Errorf("the case: %v, want ErrNotFound", err)
			}
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
