package finder

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"homeward/registry"
)

// TestEvaluateDamaged leaves out of an evaluation what is not a number, and leaves nothing loaded.
func TestEvaluateDamaged(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(5, 6))}
	ctx := t.Context()
	var missing, found [2]registry.CaseID // two leads, of which one is confirmed
	for i := range missing {
		c.person()
		missing[i], found[i] = c.store(t, registry.Missing), c.store(t, registry.Found)
	}
	if _, err := f.Standing(ctx); err != nil {
		t.Fatal(err)
	}
	day, err := registry.ParseDate("2020")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Registry.RecordReunion(ctx, registry.Reunion{Missing: missing[1], Found: found[1], Laboratory: "L", Kit: "K", ConfirmedOn: day}); err != nil {
		t.Fatal(err)
	}
	if err := f.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range found {
		e := *f.now().shelf.get(id)
		faces := *e.evidence
		faces.Template = slices.Repeat([]float32{float32(math.NaN())}, len(faces.Template))
		e.evidence = &faces
		f.now().shelf.put(id, &e)
	}
	g, err := f.openGeneration("default", "")
	if err != nil {
		t.Fatal(err)
	}
	defer g.retire()
	got, err := f.evaluate(ctx, g, 1, func() error { return nil }, func(int, int) error { return nil })
	if err != nil || got.Reunions.Pairs != 1 || got.Reunions.Each[0].Before != nil || got.Reunions.Each[0].After == nil || got.Leads.Known != 2 || got.Leads.Rise != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if text, err := json.Marshal(got); err != nil {
		t.Error(string(text), err)
	}
	if cases, _ := g.faces.Size(); cases != 0 || g.shelf.get(missing[0]) != nil {
		t.Error("what was evaluated is still loaded")
	}
}

// TestBuildDropped drops a generation that is being brought up to date.
func TestBuildDropped(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(5, 6))}
	c.person()
	c.store(t, registry.Missing)
	g, err := f.openGeneration("plain", "")
	if err != nil {
		t.Fatal(err)
	}
	defer g.retire()
	if _, _, err := f.Registry.BeginGeneration(t.Context(), g.record()); err != nil {
		t.Fatal(err)
	}
	told := 0
	err = f.build(t.Context(), g, func(registry.Progress) error {
		if told++; told > 1 {
			return errors.New("it goes on")
		}
		return f.Registry.Drop(t.Context(), g.templates)
	})
	if !errors.Is(err, registry.ErrNotFound) || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
}

// TestReindexPlace grows with what is done and with nothing else.
func TestReindexPlace(t *testing.T) {
	counts := func(projected, analysed, aside int64) registry.Progress {
		return registry.Progress{Stage: ReindexPhotos, Counts: map[string]int64{ReindexProjected: projected, ReindexAnalysed: analysed, ReindexSetAside: aside}}
	}
	place := ""
	for _, step := range []struct {
		built int
		p     registry.Progress
		want  string
	}{
		{0, registry.Progress{Stage: ReindexTemplates}, "0"},
		{0, counts(63, 0, 0), "0"},
		{0, counts(100, 20, 8), "128"},
		{100, counts(0, 0, 0), "128"}, // begun again, after some were deleted
		{128, counts(0, 64, 0), "192"},
		{192, registry.Progress{Stage: ReindexComparing}, ReindexComparing},
		{192, counts(0, 0, 0), ReindexComparing}, // begun again, as the evaluation failed
	} {
		if place = reindexPlace(place, step.built, step.p); place != step.want {
			t.Errorf("at %q, want %q", place, step.want)
		}
	}
}
