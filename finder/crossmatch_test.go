package finder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"homeward/jobs"
	"homeward/registry"
)

// openCrossing opens a Finder with small shortlists and blocks, so that a small gallery has many of both.
func openCrossing(t testing.TB, data string, threshold float64) *Finder {
	t.Helper()
	f, err := Open(t.Context(), Config{Data: data, Models: "../models", LeadThreshold: threshold})
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	f.shortlist, f.crossBlock = 6, 7
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// crossmatch runs a cross-match to its end.
func crossmatch(t testing.TB, f *Finder, threshold float64) registry.Job {
	t.Helper()
	j, existed, err := f.Registry.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobCrossmatch, About: CrossmatchAbout, Args: CrossmatchArgs{threshold}, Here: true})
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobCrossmatch: f.Crossmatch}}
	if j, err = runner.One(t.Context(), j.ID, nil); err != nil || j.State != registry.JobDone {
		t.Fatalf("%+v %v", j, err)
	}
	return j
}

// leadRows are all leads without what is of chance: ids and times.
func leadRows(t testing.TB, f *Finder) (rows []string) {
	t.Helper()
	q := registry.LeadQuery{Closed: true, Order: registry.ByNewest, Limit: registry.MaxListed}
	for {
		leads, next, err := f.Registry.Leads(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leads {
			rows = append(rows, fmt.Sprint(l.Missing, l.Found, l.State, l.Source, l.Note, l.OpenedBy, math.Float64bits(l.Score), math.Float64bits(l.Faces),
				math.Float64bits(l.Records), l.MissingFace, l.FoundFace, l.ModelSet, l.Round, l.JudgedScore, l.Verdicts))
		}
		if next == "" {
			slices.Sort(rows)
			return rows
		}
		q.Cursor = next
	}
}

// copyOf is a copy of a registry that nobody has open.
func copyOf(t testing.TB, data string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	return to
}

// storeClusters fills both galleries with people who resemble one another, some with a case on either side, some with many, and with leads
// in all states. Scores lie on both sides of any threshold.
func storeClusters(t testing.TB, f *Finder, seed uint64, people int) {
	ctx := t.Context()
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(seed, 2))}
	r := c.rng
	born := func() registry.Date {
		if r.IntN(3) == 0 {
			return registry.Date{}
		}
		d, err := registry.ParseDate(fmt.Sprint(1995 + r.IntN(6)))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var both [2][]registry.CaseID
	for range people {
		c.person()
		for side, g := range []registry.Gallery{registry.Missing, registry.Found} {
			n := 1
			if r.IntN(12) == 0 { // more than a shortlist of one child
				n = 9
			}
			for range n {
				when := born()
				of := registry.Case{Gallery: g, Sex: []registry.Sex{registry.Female, registry.Male, ""}[r.IntN(3)], BornFrom: when, BornTo: when}
				like := make([]float32, []int{0, 1, 1, 1, 2, 3, 5}[r.IntN(7)]) // 0: a case without a face
				for i := range like {
					like[i] = 3 * r.Float32()
				}
				id := c.storeCase(t, of, like...)
				switch {
				case r.IntN(10) == 0:
					if _, err := f.Registry.CloseCase(ctx, id, "withdrawn"); err != nil {
						t.Fatal(err)
					}
				case len(like) > 0:
					both[side] = append(both[side], id)
				}
			}
		}
	}
	const laboratory = "Laboratory"
	if _, _, err := f.Registry.CreateAccount(ctx, registry.NewAccount{Login: "lab", Name: "Sample One", Role: registry.Laboratory, Organisation: laboratory,
		Regions: []string{registry.Everywhere}}); err != nil {
		t.Fatal(err)
	}
	// Leads by hand, some judged, some with DNA: of people who are one and of people who are not.
	if err := f.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 24 {
		n := registry.NewLead{Missing: both[0][r.IntN(len(both[0]))], Found: both[1][r.IntN(len(both[1]))], Strength: registry.Strength{Score: -5, ModelSet: "before"}}
		if i%2 == 0 { // a strong one
			e := f.now().shelf.get(n.Missing)
			hits, _, err := f.compare(f.now(), e).tier(ctx, Query{Gallery: registry.Found}.filter(), nil)
			if err != nil {
				t.Fatal(err)
			}
			n.Found = hits[0].id
		}
		if i%4 < 2 { // judged by what it is worth, so that it stays judged; else evidence rises
			s, err := f.ComparePair(ctx, n.Missing, n.Found)
			if err != nil {
				t.Fatal(err)
			}
			n.Strength = s
		}
		l, existed, err := f.Registry.OpenLead(ctx, n, registry.FromOfficer, "seen")
		if err != nil {
			t.Fatal(err)
		}
		if existed || i%6 == 5 {
			continue
		}
		finding := []registry.Finding{registry.NoCandidate, registry.Inconclusive, registry.PotentialCandidate}[i/2%3]
		for _, who := range []registry.AccountID{"a_one", "a_two"} {
			ctx := registry.WithActor(ctx, registry.Actor{Account: who, Role: registry.Examiner, Regions: []string{registry.Everywhere}})
			if _, _, err := f.Registry.GiveVerdict(ctx, registry.NewVerdict{Lead: l.ID, Round: 1, Finding: finding, Reasons: "As seen."},
				registry.Frozen{Content: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		if finding == registry.PotentialCandidate {
			if _, err := f.Registry.RequestDNA(ctx, l.ID, laboratory); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// clusters is a registry with storeClusters in it, closed.
func clusters(t testing.TB, seed uint64, people int) string {
	t.Helper()
	data := t.TempDir()
	f, err := Open(t.Context(), Config{Data: data, Models: "../models"})
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	storeClusters(t, f, seed, people)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCrossmatchIsStanding compares the galleries of copies of one registry, one by one and at once, and expects the same leads with
// the same strengths, to the last bit.
func TestCrossmatchIsStanding(t *testing.T) {
	for seed, threshold := range []float64{-2, 1, 3} {
		data := clusters(t, uint64(seed), 35)
		t.Run(fmt.Sprint(threshold), func(t *testing.T) {
			one, all := openCrossing(t, copyOf(t, data), threshold), openCrossing(t, copyOf(t, data), 8) // the job's threshold counts
			if _, err := one.Standing(t.Context()); err != nil {
				t.Fatal(err)
			}
			j := crossmatch(t, all, threshold)
			want, got := leadRows(t, one), leadRows(t, all)
			if !slices.Equal(got, want) {
				t.Fatalf("%d leads, want %d:\n%s\n\nwant\n%s", len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			byState := map[string]int{}
			reopened := 0
			for _, l := range openLeads(t, all) {
				byState[string(l.State)]++
				reopened += l.Round - 1
			}
			t.Logf("%v of %d pairs, %d compared in full; %v, %d opened again", j.Progress.Counts, j.Progress.Counts[CrossPairs], j.Progress.Counts[CrossInFull], byState, reopened)
			if j.Progress.Counts[CrossOpened] == 0 || reopened == 0 || byState["no_candidate"] == 0 || byState["dna"] == 0 {
				t.Error("the leads are not of every kind that the test is about")
			}
			due, err := all.Registry.DueCases(t.Context(), 1)
			if err != nil || len(due) != 0 {
				t.Errorf("%v is due, %v", due, err)
			}
			again := crossmatch(t, all, threshold)
			if n := again.Progress.Counts; n[CrossOpened] != 0 || n[CrossChanged] != 0 || !slices.Equal(leadRows(t, all), want) {
				t.Errorf("again: %v", n)
			}
		})
	}
}

func openLeads(t testing.TB, f *Finder) []registry.Lead {
	t.Helper()
	leads, _, err := f.Registry.Leads(t.Context(), registry.LeadQuery{Closed: true, Limit: registry.MaxListed})
	if err != nil {
		t.Fatal(err)
	}
	return leads
}

// TestCrossmatchGoesOn interrupts a cross-match again and again at chance moments, and expects each lead once.
func TestCrossmatchGoesOn(t *testing.T) {
	data := clusters(t, 9, 40)
	one, all := openCrossing(t, copyOf(t, data), 1), openCrossing(t, copyOf(t, data), 1)
	if _, err := one.Standing(t.Context()); err != nil {
		t.Fatal(err)
	}
	j, _, err := all.Registry.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobCrossmatch, About: CrossmatchAbout, Args: CrossmatchArgs{1}})
	if err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for wait := time.Duration(0); j.State != registry.JobDone; wait += time.Millisecond / 2 {
		runner := jobs.Runner{Registry: all.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobCrossmatch: func(ctx context.Context, task *jobs.Task) error {
			ctx, stop := context.WithTimeout(ctx, wait)
			defer stop()
			return all.Crossmatch(ctx, task)
		}}}
		if j, err = runner.One(t.Context(), j.ID, nil); err != nil {
			interrupted++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
	}
	t.Logf("interrupted %d times", interrupted)
	if got, want := leadRows(t, all), leadRows(t, one); !slices.Equal(got, want) {
		t.Errorf("%d leads, want %d", len(got), len(want))
	}
}

// TestCrossmatchMeanwhile changes and closes cases between the moment that the cross-match is of and its saves: what it saw of them is not saved, and
// they stay due.
func TestCrossmatchMeanwhile(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(3, 3))}
	var missing, found [3]registry.CaseID
	for i := range missing {
		c.person()
		missing[i], found[i] = c.store(t, registry.Missing), c.store(t, registry.Found)
	}
	ctx := t.Context()
	if err := f.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	x := &crossing{Finder: f, at: newBar(math.Ln10), counts: map[string]int64{}, generation: f.now(), asOf: f.followed.Load()}
	if err := x.load(ctx, registry.Found); err != nil {
		t.Fatal(err)
	}
	own, err := f.Registry.OpenCases(ctx, registry.Missing)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := f.Registry.Case(ctx, found[1])
	if err != nil {
		t.Fatal(err)
	}
	changed.Sex = registry.Male
	if _, err := f.Registry.UpdateCase(ctx, changed); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Registry.CloseCase(ctx, missing[2], "withdrawn"); err != nil {
		t.Fatal(err)
	}
	if err := x.block(ctx, registry.Missing, own); err != nil {
		t.Fatal(err)
	}
	if got := openLeads(t, f); len(got) != 1 || got[0].Missing != missing[0] || got[0].Found != found[0] {
		t.Errorf("leads %+v", got)
	}
	due, err := f.Registry.DueCases(ctx, 10)
	var ids []registry.CaseID
	for _, ch := range due {
		ids = append(ids, ch.Case)
	}
	if slices.Sort(ids); err != nil || len(ids) != 3 || slices.Contains(ids, missing[0]) || slices.Contains(ids, missing[1]) {
		t.Errorf("%v are due, %v, want the found cases", ids, err)
	}
	if _, err := f.Standing(ctx); err != nil {
		t.Fatal(err)
	}
	if got := openLeads(t, f); len(got) != 2 {
		t.Errorf("after the standing search: %+v", got)
	}
}

// TestCrossmatchSwitched begins anew when another model set has come into use meanwhile.
func TestCrossmatchSwitched(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(4, 4))}
	for range 10 {
		c.person()
		c.store(t, registry.Missing)
		c.store(t, registry.Found)
	}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	switched := false
	before := f.now()
	f.log = slog.New(told(func() { // the first lead is told of after the first block
		if !switched {
			switched = true
			again := newGeneration(before.eyes, before.set, before.metric)
			again.faces, again.shelf = before.faces, before.shelf
			f.current.Store(again)
		}
	}))
	j := crossmatch(t, f, 1)
	if got := openLeads(t, f); !switched || len(got) < 10 || j.Progress.Counts[CrossCompared] != 20 {
		t.Errorf("%d leads, %v, switched %v", len(got), j.Progress.Counts, switched)
	}
}

// takeOverPlain makes the registry's active generation that of the set "plain", which knows none of the crowd's faces.
func takeOverPlain(t testing.TB, f *Finder) string {
	t.Helper()
	g, err := f.openGeneration("plain", "")
	if err == nil {
		err = errors.Join(f.Registry.TakeOver(t.Context(), g.record(), f.crossmatch()), g.retire())
	}
	if err != nil {
		t.Fatal(err)
	}
	return g.templates
}

// TestCrossmatchOfOneGeneration stops a cross-match late in its second pass, switches, and lets it go on: all pairs are compared under what
// answers then.
func TestCrossmatchOfOneGeneration(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(4, 4))}
	for range 20 {
		c.person()
		c.store(t, registry.Missing)
		c.store(t, registry.Found)
	}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	place := crossmatch(t, f, 1).Place
	leads := len(openLeads(t, f))
	now := f.now()
	again := newGeneration(now.eyes, now.set, now.metric)
	again.faces, again.shelf, again.templates = now.faces, now.shelf, "other.1"
	under := ""
	for _, g := range []*generation{again, now} { // and back: the other has left its strengths
		j, _, err := f.Registry.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobCrossmatch, About: CrossmatchAbout, Args: CrossmatchArgs{1}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Registry.TakeJob(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Registry.SaveJob(t.Context(), j.ID, place, registry.Progress{}); err != nil {
			t.Fatal(err)
		}
		if err := f.Registry.EndJob(t.Context(), j.ID, registry.JobPaused, ""); err != nil {
			t.Fatal(err)
		}
		if err := f.Registry.TakeOver(t.Context(), g.record(), f.crossmatch()); err != nil {
			t.Fatal(err)
		}
		f.current.Store(g)
		runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobCrossmatch: f.Crossmatch}}
		if j, err = runner.One(t.Context(), j.ID, nil); err != nil || j.State != registry.JobDone || j.Progress.Counts[CrossCompared] != 40 {
			t.Errorf("under %s: %+v %v", g.templates, j, err)
		}
		for _, l := range openLeads(t, f) {
			if l.ModelSet == g.templates {
				leads--
			}
		}
		if leads != 0 {
			t.Errorf("%d leads are not of %s", leads, g.templates)
		}
		leads, under = len(openLeads(t, f)), g.templates
	}
	if under != f.TemplateSet() {
		t.Error(f.TemplateSet(), "answers")
	}
}

// TestCrossmatchMeetsSwitch switches while a cross-match is in its first pass, and while it is in the last block: it begins anew under what
// the registry has then, which this process has yet to go over to.
func TestCrossmatchMeetsSwitch(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := openCrossing(t, t.TempDir(), 1)
		c := &crowd{f: f, rng: rand.New(rand.NewPCG(4, 4))}
		for range 3 { // less than a block
			c.person()
			c.store(t, registry.Missing)
			c.store(t, registry.Found)
		}
		j, _, err := f.Registry.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobCrossmatch, About: CrossmatchAbout, Args: CrossmatchArgs{1}, Here: true})
		if err != nil {
			t.Fatal(err)
		}
		plain := ""
		f.log = slog.New(told(func() {
			if plain == "" {
				plain = "under way"
				plain = takeOverPlain(t, f)
			}
		}))
		runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobCrossmatch: func(ctx context.Context, task *jobs.Task) error {
			if late {
				now, err := f.Registry.ActiveGeneration(ctx)
				if err != nil {
					return err
				}
				task.Job.Place = crossPlace(registry.Found, 0, termOf(now))
			}
			return f.Crossmatch(ctx, task)
		}}}
		j, err = runner.One(t.Context(), j.ID, nil)
		if err != nil || j.State != registry.JobDone || plain == "" || f.TemplateSet() != plain || !strings.Contains(j.Place, plain+"@") || j.Progress.Counts[CrossCompared] != 0 {
			t.Errorf("late %v: %+v %v, under %s", late, j, err, f.TemplateSet())
		}
	}
}

// TestCrossmatchWaits does not use up its tries while another generation cannot be gone over to for now.
func TestCrossmatchWaits(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	plain := takeOverPlain(t, f)
	f.failed = swapFailure{plain, time.Now().Add(followEvery + followEvery/2 - swapRetry), errors.New("for now")}
	began := 0
	all, err := f.Registry.Jobs(t.Context(), 9)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobCrossmatch: func(ctx context.Context, task *jobs.Task) error {
		began++
		return f.Crossmatch(ctx, task)
	}}}
	if j, err := runner.One(t.Context(), all[0].ID, nil); err != nil || j.State != registry.JobDone || began != 1 || f.TemplateSet() != plain {
		t.Errorf("%+v %v, begun %d times, under %s", j, err, began, f.TemplateSet())
	}
}

// told is a log that calls a function.
type told func()

func (told) Enabled(context.Context, slog.Level) bool    { return true }
func (f told) Handle(context.Context, slog.Record) error { f(); return nil }
func (f told) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f told) WithGroup(string) slog.Handler             { return f }

// TestCrossmatchGivesWay waits while people are served, and not for ever.
func TestCrossmatchGivesWay(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	wait := f.patient()
	if err := wait(t.Context()); err != nil {
		t.Error(err)
	}
	served := f.serve()
	began := time.Now()
	if err := wait(t.Context()); err != nil || time.Since(began) < patience-glance {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.patient()(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	served()
}

func TestCrossmatchRefuses(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	for place, args := range map[string]any{"": "nonsense", "missing": CrossmatchArgs{3}, "elsewhere 3": CrossmatchArgs{3}, "found -1": CrossmatchArgs{3}} {
		j, _, err := f.Registry.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobCrossmatch, About: CrossmatchAbout, Args: args})
		if err != nil {
			t.Fatal(err)
		}
		runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobCrossmatch: func(ctx context.Context, task *jobs.Task) error {
			task.Job.Place = place
			return f.Crossmatch(ctx, task)
		}}}
		if j, err = runner.One(t.Context(), j.ID, nil); err == nil || j.State != registry.JobParked || !strings.Contains(err.Error(), "begin another") {
			t.Errorf("%q, %v: %s, %v", place, args, j.State, err)
		}
		if _, err := f.Registry.WishJob(t.Context(), j.ID, registry.WishCancel); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotANumber leaves a pair whose score is not a number as it was, and saves the case's other leads.
func TestNotANumber(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(5, 6))}
	ctx := t.Context()
	c.person()
	missing, sound, damaged := c.store(t, registry.Missing), c.store(t, registry.Found), c.store(t, registry.Found)
	if err := f.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	before, _, err := f.Registry.OpenLead(ctx, registry.NewLead{Missing: missing, Found: damaged, Strength: registry.Strength{Score: 2, ModelSet: "before"}}, registry.FromOfficer, "seen")
	if err != nil {
		t.Fatal(err)
	}
	e := *f.now().shelf.get(damaged)
	faces := *e.evidence
	faces.Template = slices.Repeat([]float32{float32(math.NaN())}, len(faces.Template))
	e.evidence = &faces
	check := func(what string) {
		t.Helper()
		l, err := f.Registry.Lead(ctx, before.ID)
		if err != nil || l.Strength != before.Strength {
			t.Errorf("%s: the damaged pair is %+v, %v", what, l, err)
		}
		if _, err := f.Registry.LeadOf(ctx, missing, sound); err != nil {
			t.Errorf("%s: the other: %v", what, err)
		}
	}
	f.now().shelf.put(damaged, &e)
	if _, err := f.Standing(ctx); err != nil {
		t.Fatal(err)
	}
	check("standing")
	crossmatch(t, f, 1)
	check("cross-match")
}
