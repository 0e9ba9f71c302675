package finder

import (
	"math/rand/v2"
	"testing"

	"homeward/registry"
)

// TestEvaluateArrivals evaluates while cases come in: both sides are of one moment, and what is not built yet is on neither.
func TestEvaluateArrivals(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(5, 6))}
	pair := func() {
		c.person()
		c.store(t, registry.Missing)
		c.store(t, registry.Found)
	}
	pair()
	g, err := f.openGeneration("default", "") // the same templates, so that nothing may differ
	if err != nil {
		t.Fatal(err)
	}
	defer g.retire()
	got, err := f.evaluate(t.Context(), g, 1, func() error { pair(); return nil }, func(int, int) error { return nil })
	if p, s := got.Photos, got.Sample; err != nil || p.Before != 4 || p.After != 4 || p.Gained.Count+p.Lost.Count != 0 || s.Missing != 2 || s.Appear.Count+s.Vanish.Count != 0 {
		t.Errorf("%+v %v", got, err)
	}

	if g, err = f.openGeneration("plain", ""); err != nil {
		t.Fatal(err)
	}
	defer g.retire()
	if _, _, err := f.Registry.BeginGeneration(t.Context(), g.record()); err != nil {
		t.Fatal(err)
	}
	got, err = f.evaluate(t.Context(), g, 1, func() error { return nil }, func(int, int) error { return nil })
	if p := got.Photos; err != nil || p.Before != 0 || p.Lost.Count != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

// TestBuildProgress says at once how much there is to do, and more when more comes in.
func TestBuildProgress(t *testing.T) {
	f := openCrossing(t, t.TempDir(), 1)
	f.config.Workers = 1
	c := &crowd{f: f, rng: rand.New(rand.NewPCG(5, 6))}
	c.person()
	c.store(t, registry.Missing)
	c.store(t, registry.Missing)
	g, err := f.openGeneration("plain", "")
	if err != nil {
		t.Fatal(err)
	}
	defer g.retire()
	if _, _, err := f.Registry.BeginGeneration(t.Context(), g.record()); err != nil {
		t.Fatal(err)
	}
	var said []registry.Progress
	if err := f.build(t.Context(), g, func(p registry.Progress) error {
		if said = append(said, p); p.Done == 1 && p.Total == 2 {
			c.store(t, registry.Missing)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(said) < 2 || said[0].Stage != ReindexTemplates || said[1].Stage != ReindexPhotos || said[1].Done != 0 || said[1].Total != 2 {
		t.Errorf("%+v", said)
	}
	last := said[len(said)-1]
	for _, p := range said {
		if p.Done > p.Total {
			t.Errorf("%d of %d", p.Done, p.Total)
		}
	}
	if last.Done != 3 || last.Total != 3 {
		t.Errorf("%+v at last", last)
	}
}
