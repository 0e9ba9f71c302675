package finder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/jobs"
	"homeward/match"
	"homeward/registry"
)

// plan enqueues a reindex.
func plan(t *testing.T, f *finder.Finder, set, metric string, switchTo bool) (registry.Generation, registry.Job) {
	t.Helper()
	g, err := f.PlanReindex(t.Context(), set, metric)
	if err != nil {
		t.Fatal(err)
	}
	j, existed, err := f.Registry.Enqueue(t.Context(), registry.NewJob{
		Kind: registry.JobReindex, About: g.ID, Args: finder.ReindexArgs{Switch: switchTo, Threshold: 1}, Here: true,
	})
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	return g, j
}

// run runs a job to its end.
func run(t *testing.T, f *finder.Finder, id registry.JobID) (registry.Job, error) {
	t.Helper()
	r := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{
		registry.JobReindex: f.Reindex, registry.JobCrossmatch: f.Crossmatch,
	}}
	return r.One(t.Context(), id, nil)
}

// reindex builds and evaluates a generation.
func reindex(t *testing.T, f *finder.Finder, set, metric string, switchTo bool) (registry.Generation, finder.Evaluation) {
	t.Helper()
	g, j := plan(t, f, set, metric, switchTo)
	if j, err := run(t, f, j.ID); err != nil || j.State != registry.JobDone {
		t.Fatal(j, err)
	}
	g, err := f.Registry.Generation(t.Context(), g.ID)
	if err != nil {
		t.Fatal(err)
	}
	var e finder.Evaluation
	if err := json.Unmarshal(g.Report, &e); err != nil {
		t.Fatal(err)
	}
	return g, e
}

// withMore is the models with a second set that has a metric: its photos have to be looked at again.
func withMore(t *testing.T) string {
	t.Helper()
	models := withAnotherRecogniser(t)
	writeMetric(t, widened(t, models), filepath.Join(models, "metrics/more.json"))
	return models
}

// writeWider writes another metric for the default set.
func writeWider(t *testing.T, models string) {
	t.Helper()
	m := defaultMetric(t, models)
	m.Between = slices.Clone(m.Between)
	for i := range m.Between {
		m.Between[i] *= 1.5
	}
	writeMetric(t, m, filepath.Join(models, "metrics/wider.json"))
}

// scores are the candidates' ids and scores, to the last bit.
func scores(some []finder.Candidate) (out []string) {
	for _, c := range some {
		out = append(out, fmt.Sprintf("%s %x %x %s %v", c.Case.ID, c.Score, c.Faces, c.Face.ID, c.Pair.Reference.Age))
	}
	return out
}

// pairOf enrols two portraits of one man as a missing and a found case.
func pairOf(t *testing.T, f *finder.Finder) (missing, found registry.Photo) {
	t.Helper()
	return add(t, f, registry.Missing, photos.Read(t, photos.Obama)), add(t, f, registry.Found, photos.Read(t, photos.Obama2))
}

// stateOf is a generation's state, and how many photos it lacks.
func stateOf(t *testing.T, f *finder.Finder, id string) (registry.GenerationState, int) {
	t.Helper()
	all, err := f.Registry.Generations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if g.ID == id {
			return g.State, g.Missing
		}
	}
	return "", 0
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("never:", what)
		}
	}
}

// TestAnotherModelSet builds another model set beside the one that answers, switches to it and back: nothing changes until the switch, and
// everything is as it was after the way back.
func TestAnotherModelSet(t *testing.T) {
	data, models := t.TempDir(), withAnotherRecogniser(t)
	f, end := open(t, finder.Config{Data: data, Models: models})
	one, other := pairOf(t, f)
	add(t, f, registry.Missing, photos.Read(t, photos.Biden))
	group := add(t, f, registry.Missing, photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Astronaut)))
	if len(group.Faces) != 2 || group.Subject != "" {
		t.Fatalf("two faces: %+v", group)
	}
	chosen := group.Faces[1].ID
	if _, err := f.Registry.UpdatePhoto(t.Context(), group.ID, registry.PhotoChange{Subject: &chosen}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Standing(t.Context()); err != nil {
		t.Fatal(err)
	}
	lead, err := f.Registry.LeadOf(t.Context(), one.CaseID, other.CaseID)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Registry.RecordReunion(t.Context(), registry.Reunion{Missing: one.CaseID, Found: other.CaseID, Laboratory: "L", Kit: "K", ConfirmedOn: day(t, "2020")}); err != nil {
		t.Fatal(err)
	}

	// What cannot be built is refused before anything is.
	if _, err := finder.Open(t.Context(), finder.Config{Data: data, Models: models, Set: "more"}); err == nil || !strings.Contains(err.Error(), "homeward reindex --set more") {
		t.Fatalf("another set than the registry's: %v, want advice to reindex", err)
	}
	if _, err := f.PlanReindex(t.Context(), "more", ""); err == nil || !strings.Contains(err.Error(), "homeward train --set more") {
		t.Fatalf("a set without a metric: %v, want advice to fit one", err)
	}
	writeMetric(t, defaultMetric(t, models), filepath.Join(models, "metrics/more.json"))
	if _, err := f.PlanReindex(t.Context(), "more", ""); !errors.Is(err, match.ErrOther) {
		t.Fatalf("another set's metric: %v, want ErrOther", err)
	}
	if _, err := f.PlanReindex(t.Context(), "default", ""); !errors.Is(err, finder.ErrActive) {
		t.Fatalf("what is active: %v", err)
	}
	writeMetric(t, widened(t, models), filepath.Join(models, "metrics/more.json"))

	before, first := candidates(t, f, photos.Obama2), f.TemplateSet()
	seq, err := f.Registry.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	more, e := reindex(t, f, "more", "", false)
	if more.State != registry.GenerationReady || f.TemplateSet() != first || e.Before != first || e.After != more.ID {
		t.Fatalf("%+v\n%+v", more, e)
	}
	if now, err := f.Registry.LastSeq(t.Context()); err != nil || now != seq {
		t.Error("building changed what cases are", now, seq, err)
	}
	if got := candidates(t, f, photos.Obama2); !reflect.DeepEqual(scores(got), scores(before)) {
		t.Errorf("%v while it is built, %v before", scores(got), scores(before))
	}
	if e.Photos.Before != 4 || e.Photos.After != 4 || e.Photos.Lost.Count+e.Photos.Gained.Count != 0 {
		t.Errorf("%+v", e.Photos)
	}
	if r := e.Reunions; r.Pairs != 1 || r.Before.First != 2 || r.After.First != 2 || len(r.Each) != 1 || r.Each[0].After.LogLR == r.Each[0].Before.LogLR ||
		abs64(r.Each[0].Before.LogLR-lead.Score) > 1e-9 {
		t.Errorf("%+v, the lead has %v", r, lead.Score)
	}
	if s := e.Sample; s.Missing != 3 || s.Found != 1 || s.Stay.Count == 0 || e.Leads.Known == 0 || e.Leads.Fall != 0 {
		t.Errorf("%+v %+v", s, e.Leads)
	}

	// What arrives is brought under both.
	late := add(t, f, registry.Missing, photos.Read(t, photos.Obama3))
	eventually(t, "a photo that came later is under both", func() bool { _, missing := stateOf(t, f, more.ID); return missing == 0 })
	before = candidates(t, f, photos.Obama2)

	probe, err := f.ProbeCase(t.Context(), "me", other.CaseID)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SwitchTo(t.Context(), more.ID); err != nil {
		t.Fatal(err)
	}
	if f.TemplateSet() != more.ID || f.Set().Name != "more" {
		t.Fatal("still", f.TemplateSet())
	}
	if _, err := f.Probe("me", probe.ID); !errors.Is(err, finder.ErrNoProbe) {
		t.Errorf("a search under way goes on under another set: %v", err)
	}
	after := candidates(t, f, photos.Obama2)
	if len(after) != len(before) || after[0].Score == before[0].Score {
		t.Errorf("%v after, %v before", scores(after), scores(before))
	}
	for _, id := range []registry.PhotoID{one.ID, group.ID, late.ID} {
		if p, err := f.Registry.Photo(t.Context(), id); err != nil || p.State != registry.Analysed || p.Subject == "" || id == group.ID && p.Subject != chosen {
			t.Errorf("%+v %v", p, err)
		}
	}
	if err := f.SwitchTo(t.Context(), more.ID); !errors.Is(err, registry.ErrConflict) {
		t.Errorf("to the active one: %v", err)
	}
	// The strengths of all leads are made anew by the job that the switch left.
	all, err := f.Registry.Jobs(t.Context(), 10)
	if err != nil || len(all) != 2 || all[0].Kind != registry.JobCrossmatch {
		t.Fatal(all, err)
	}
	if j, err := run(t, f, all[0].ID); err != nil || j.State != registry.JobDone {
		t.Fatal(j, err)
	}
	if l, err := f.Registry.Lead(t.Context(), lead.ID); err != nil || l.ModelSet != more.ID || l.Score == lead.Score {
		t.Errorf("%+v %v", l, err)
	}

	// Whoever opens it now works with it.
	g, endOther := open(t, finder.Config{Data: data, Models: models})
	if g.TemplateSet() != more.ID {
		t.Error("another process works with", g.TemplateSet())
	}
	arrived := add(t, g, registry.Missing, photos.Read(t, photos.Biden))
	endOther()
	eventually(t, "what is kept is kept current", func() bool { _, missing := stateOf(t, f, first); return missing == 0 })

	if err := f.Registry.DeleteCase(t.Context(), arrived.CaseID); err != nil {
		t.Fatal(err)
	}
	if err := f.SwitchTo(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got := candidates(t, f, photos.Obama2); !reflect.DeepEqual(scores(got), scores(before)) {
		t.Errorf("%v after the way back, %v before", scores(got), scores(before))
	}
	if err := f.Registry.Drop(t.Context(), more.ID); err != nil {
		t.Fatal(err)
	}
	if got := candidates(t, f, photos.Obama2); !reflect.DeepEqual(scores(got), scores(before)) {
		t.Errorf("%v after the other is dropped, %v before", scores(got), scores(before))
	}
	end()
}

func day(t *testing.T, s string) registry.Date {
	t.Helper()
	d, err := registry.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestReindexMetric changes the metric alone: no photo is read.
func TestReindexMetric(t *testing.T) {
	data, models := t.TempDir(), withAnotherRecogniser(t)
	f, _ := open(t, finder.Config{Data: data, Models: models})
	pairOf(t, f)
	before, first := candidates(t, f, photos.Obama2), f.TemplateSet()
	writeWider(t, models)
	if err := os.RemoveAll(filepath.Join(data, "photos")); err != nil { // to notice whoever reads one
		t.Fatal(err)
	}
	wider, e := reindex(t, f, "default", "wider", true)
	if wider.State != registry.GenerationActive || f.TemplateSet() != wider.ID || f.Set().Metric != "wider" {
		t.Fatalf("%+v, %s answers", wider, f.TemplateSet())
	}
	if e.Photos.Before != 2 || e.Photos.After != 2 || e.Reunions.Pairs != 0 {
		t.Errorf("%+v", e)
	}
	after := candidates(t, f, photos.Obama2)
	if len(after) != 1 || after[0].Faces == before[0].Faces {
		t.Errorf("%v after, %v before", scores(after), scores(before))
	}
	if st, err := f.Status(t.Context()); err != nil || st.Queued != 0 {
		t.Errorf("%+v %v", st, err)
	}
	if err := f.SwitchTo(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got := candidates(t, f, photos.Obama2); !reflect.DeepEqual(scores(got), scores(before)) {
		t.Errorf("%v after the way back, %v before", scores(got), scores(before))
	}
}

// TestReindexTwice begins what is under way, and lets models change under it.
func TestReindexTwice(t *testing.T) {
	data, models := t.TempDir(), withAnotherRecogniser(t)
	f, _ := open(t, finder.Config{Data: data, Models: models})
	pairOf(t, f)
	writeWider(t, models)
	g, j := plan(t, f, "default", "wider", false)
	again, existed, err := f.Registry.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobReindex, About: g.ID})
	if err != nil || !existed || again.ID != j.ID {
		t.Fatal(again, existed, err)
	}
	if err := f.SwitchTo(t.Context(), g.ID); !errors.Is(err, registry.ErrNotReady) {
		t.Errorf("to what is not built: %v", err)
	}
	if err := f.Registry.Drop(t.Context(), g.ID); !errors.Is(err, registry.ErrConflict) {
		t.Errorf("dropped under a job: %v", err)
	}
	writeMetric(t, defaultMetric(t, models), filepath.Join(models, "metrics/wider.json"))
	parked, err := run(t, f, j.ID)
	if !errors.Is(err, finder.ErrOtherModels) || parked.State != registry.JobParked || !strings.Contains(parked.Reason, "Put the files back") {
		t.Errorf("%+v %v", parked, err)
	}
	if _, missing := stateOf(t, f, g.ID); missing != 2 {
		t.Error("something was built of other files")
	}
	writeWider(t, models)
	if j, err = run(t, f, j.ID); err != nil || j.State != registry.JobDone {
		t.Fatal(j, err)
	}
	if _, err := f.PlanReindex(t.Context(), "default", "../wider"); err == nil {
		t.Error("a metric outside of the models' directory")
	}
}

// TestReindexParked fails after the evaluation each time, and is not tried for ever.
func TestReindexParked(t *testing.T) {
	models := withAnotherRecogniser(t)
	f, _ := open(t, finder.Config{Data: t.TempDir(), Models: models})
	pairOf(t, f)
	writeWider(t, models)
	_, j := plan(t, f, "default", "wider", false)
	again := errors.New("again")
	r := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobReindex: func(ctx context.Context, task *jobs.Task) error {
		return errors.Join(f.Reindex(ctx, task), again)
	}}}
	tries := 0
	for ; j.State == registry.JobQueued && tries <= 2*registry.JobTries; tries++ {
		var err error
		if j, err = r.One(t.Context(), j.ID, nil); err == nil || err.Error() != again.Error() {
			t.Fatal(j, err)
		}
	}
	if j.State != registry.JobParked || tries > registry.JobTries+1 {
		t.Errorf("%s after %d tries", j.State, tries)
	}
}

// TestReindexUnderChange replaces a card while photos are being looked at.
func TestReindexUnderChange(t *testing.T) {
	data, models := t.TempDir(), withMore(t)
	f, _ := open(t, finder.Config{Data: data, Models: models})
	pairOf(t, f)
	g, j := plan(t, f, "more", "", false)
	card := filepath.Join(models, "another.json")
	was, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	// As whoever installs new models does, between the plan and the work.
	if err := os.WriteFile(card, bytes.Replace(was, []byte(`"mirror":false`), []byte(`"mirror":true`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	parked, err := run(t, f, j.ID)
	if err == nil || parked.State != registry.JobParked {
		t.Errorf("%+v %v", parked, err)
	}
	if _, missing := stateOf(t, f, g.ID); missing != 2 {
		t.Error("something was built of other models")
	}
	if err := os.WriteFile(card, was, 0o644); err != nil {
		t.Fatal(err)
	}
	if j, err = run(t, f, j.ID); err != nil || j.State != registry.JobDone {
		t.Fatal(j, err)
	}
}

// TestLiveSwitch switches back and forth in one process while another serves: its searches never fail or mix, and its uploads end under
// what answers.
func TestLiveSwitch(t *testing.T) {
	data, models := t.TempDir(), withAnotherRecogniser(t)
	server, _ := open(t, finder.Config{Data: data, Models: models})
	_, found := pairOf(t, server)
	for _, name := range []string{photos.Biden, photos.Astronaut} {
		add(t, server, registry.Missing, photos.Read(t, name))
	}
	writeWider(t, models)
	command, err := finder.Open(t.Context(), finder.Config{Data: data, Models: models, Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer command.Close()
	first := command.TemplateSet()
	wider, _ := reindex(t, command, "default", "wider", false)

	search := func() (string, error) {
		p, err := server.ProbeCase(t.Context(), "", found.CaseID)
		if err != nil {
			return "", err
		}
		got, err := server.Candidates(t.Context(), p, 0, finder.Query{Limit: 1})
		if err != nil || len(got.Candidates) == 0 {
			return "", fmt.Errorf("%d candidates: %w", len(got.Candidates), err)
		}
		return fmt.Sprintf("%x", got.Candidates[0].Faces), nil
	}
	under := make(map[string]bool)
	for _, id := range []string{wider.ID, first} {
		if err := command.SwitchTo(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server follows", func() bool { return server.TemplateSet() == id })
		s, err := search()
		if err != nil {
			t.Fatal(err)
		}
		under[s] = true
	}
	if len(under) != 2 {
		t.Fatal("the two score alike", under)
	}

	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var searches atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				s, err := search()
				if err != nil || !under[s] {
					t.Errorf("a search found %q: %v", s, err)
					return
				}
				searches.Add(1)
			}
		})
	}
	var sent []registry.PhotoID
	all.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			c, err := server.Registry.CreateCase(t.Context(), registry.Case{Gallery: registry.Missing})
			if err != nil {
				t.Error(err)
				return
			}
			p, _, err := server.AddPhoto(t.Context(), c.ID, finder.NewPhoto{}, bytes.NewReader(photos.Read(t, photos.Biden)))
			if err != nil {
				t.Error(err)
				return
			}
			sent = append(sent, p.ID)
		}
	})
	for _, id := range []string{wider.ID, first, wider.ID} {
		if err := command.SwitchTo(t.Context(), id); err != nil {
			t.Error(err)
		}
		eventually(t, "the server follows", func() bool { return server.TemplateSet() == id })
	}
	stop()
	all.Wait()
	if searches.Load() == 0 || len(sent) == 0 {
		t.Fatal(searches.Load(), "searches,", len(sent), "uploads")
	}
	eventually(t, "all photos are under what answers", func() bool {
		_, missing := stateOf(t, server, wider.ID)
		queued, err := server.Registry.QueueDepth(t.Context())
		return err == nil && missing == 0 && queued == 0
	})
	for _, id := range sent {
		if p, err := server.Registry.Photo(t.Context(), id); err != nil || p.State != registry.Analysed || p.Subject == "" || !p.Faces[0].Searchable {
			t.Errorf("%+v %v", p, err)
		}
	}
}
