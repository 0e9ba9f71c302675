package finder

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// BenchmarkStanding compares the case of one new photo with 100,000 enrolled faces, each a found child's: alone, and while 20
// people search them without a pause, 20 candidates a page with all that is told of each. An operation is a change of the case, following it,
// comparing it and saving what came of it; compared is the standing search alone.
func BenchmarkStanding(b *testing.B) {
	const faces, people, alike = 100_000, 20, 20
	ctx := b.Context()
	f, err := Open(ctx, Config{Data: b.TempDir(), Models: "../models"})
	if err != nil {
		b.Fatalf("%v (run scripts/setup)", err)
	}
	defer f.Close()
	born, err := registry.ParseDate("1961-08")
	if err != nil {
		b.Fatal(err)
	}
	child := registry.Case{Sex: registry.Male, BornFrom: born, BornTo: born}
	var pair [2]registry.CaseID
	for i, name := range []string{photos.Obama, photos.Obama2} {
		child.Gallery = []registry.Gallery{registry.Missing, registry.Found}[i]
		c, err := f.Registry.CreateCase(ctx, child)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := f.AddPhoto(ctx, c.ID, NewPhoto{}, bytes.NewReader(photos.Read(b, name))); err != nil {
			b.Fatal(err)
		}
		pair[i] = c.ID
	}
	// The searches' first candidates are in the registry, so that all is told of them; everyone else is in index and shelf only.
	crowd := &crowd{f: f, rng: rand.New(rand.NewPCG(5, 5))}
	var searchers []registry.CaseID
	for range people {
		crowd.person()
		searchers = append(searchers, crowd.store(b, registry.Missing))
		for range alike {
			crowd.store(b, registry.Found)
		}
	}
	f.Refresh(ctx)
	for i := range faces - people*alike - 1 {
		crowd.person()
		crowd.enrol(b, i)
	}
	if _, err := f.Standing(ctx); err != nil {
		b.Fatal(err)
	}

	run := func(name string, searchers []registry.CaseID) {
		b.Run(name, func(b *testing.B) {
			ctx, stop := context.WithCancel(ctx)
			defer stop()
			var served atomic.Int64
			var all sync.WaitGroup
			for _, id := range searchers {
				all.Go(func() {
					for ctx.Err() == nil {
						p, err := f.ProbeCase(ctx, "", id)
						if err == nil {
							_, err = f.Candidates(ctx, p, 0, Query{Limit: alike})
						}
						if err != nil && ctx.Err() == nil {
							b.Error(err)
							return
						}
						served.Add(1)
					}
				})
			}
			var took []time.Duration
			began := time.Now()
			for b.Loop() {
				now, err := f.Registry.Case(ctx, pair[0])
				if err != nil {
					b.Fatal(err)
				}
				now.Notes = fmt.Sprint(now.Version)
				if _, err := f.Registry.UpdateCase(ctx, now); err != nil {
					b.Fatal(err)
				}
				f.Refresh(ctx)
				start := time.Now()
				if n, err := f.Standing(ctx); err != nil || n != 1 {
					b.Fatal(n, err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-compared-median")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-compared-most")
			b.ReportMetric(float64(served.Load())/time.Since(began).Seconds(), "searches/s")
			stop()
			all.Wait()
		})
	}
	run("alone", nil)
	run("20 people searching", searchers)
	leads, _, err := f.Registry.Leads(ctx, registry.LeadQuery{Case: pair[0], Limit: 10})
	if err != nil || len(leads) != 1 || leads[0].Found != pair[1] {
		b.Errorf("leads %+v, %v, want the one pair", leads, err)
	}
}

// crowd makes up people.
type crowd struct {
	f    *Finder
	rng  *rand.Rand
	base map[string][]float32 // what the present person's embeddings have in common
}

// person goes on to another person.
func (c *crowd) person() {
	c.base = nil
	c.base = c.photo(0)
}

// photo is the embeddings of a photo of the present person, by recogniser; it takes after the person by so much.
func (c *crowd) photo(likeness float32) map[string][]float32 {
	out := make(map[string][]float32)
	for _, r := range c.f.now().set.Recognisers {
		v := make([]float32, r.Output.Dim)
		for d := range v {
			v[d] = float32(c.rng.NormFloat64())
			if c.base != nil {
				v[d] += likeness * c.base[r.Name][d]
			}
		}
		out[r.Name] = v
	}
	return out
}

func (c *crowd) template(b testing.TB, likeness float32) []float32 {
	b.Helper()
	embeddings := make(map[string][]float32)
	for name, v := range c.photo(likeness) {
		embeddings[c.f.now().fingerprints[name]] = v
	}
	t, err := c.f.now().metric.Template(embeddings)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// store puts a photo of the present person into the registry, as a case of its own.
func (c *crowd) store(b testing.TB, g registry.Gallery) registry.CaseID {
	b.Helper()
	return c.storeCase(b, registry.Case{Gallery: g}, 3)
}

// storeCase puts photos of the present person into the registry, one for each likeness, as a case of its own.
func (c *crowd) storeCase(b testing.TB, of registry.Case, likeness ...float32) registry.CaseID {
	b.Helper()
	ctx, r := b.Context(), c.f.Registry
	of, err := r.CreateCase(ctx, of)
	if err != nil {
		b.Fatal(err)
	}
	for _, like := range likeness {
		up, err := r.NewUpload(ctx, of.ID)
		if err != nil {
			b.Fatal(err)
		}
		_, err = fmt.Fprint(up, "never looked at ", c.rng.Uint64())
		if err == nil {
			err = up.Finish()
		}
		if err != nil {
			b.Fatal(err)
		}
		p, _, err := up.Commit(ctx, registry.NewPhoto{Format: "jpeg", Width: 100, Height: 100})
		if err != nil {
			b.Fatal(err)
		}
		up.Close()
		face := registry.NewFace{Face: registry.Face{W: 50, H: 50, AgeYears: float32(2 + c.rng.IntN(20)), AgeSD: 3, Quality: 0.4 + 0.5*c.rng.Float32(), Searchable: true},
			Template: c.template(b, like)}
		if err := r.SaveAnalysis(ctx, p.ID, c.f.now().templates, registry.NewAnalysis{Width: 100, Height: 100, Faces: []registry.NewFace{face}}); err != nil {
			b.Fatal(err)
		}
	}
	return of.ID
}

// enrol puts a photo of the present person into index and shelf, as the case of the i-th found child.
func (c *crowd) enrol(b *testing.B, i int) {
	b.Helper()
	of := registry.Case{ID: registry.CaseID(fmt.Sprintf("c_%026d", i)), Gallery: registry.Found, Status: registry.StatusOpen, Sex: []registry.Sex{registry.Female, registry.Male}[i%2]}
	face := registry.Reference{Face: registry.FaceID(fmt.Sprintf("f_%026d", i)), Template: c.template(b, 3), AgeYears: float32(2 + i%14), AgeSD: 3, Quality: 0.8}
	if err := c.f.enrol(b.Context(), c.f.now(), of, []registry.Reference{face}); err != nil {
		b.Fatal(err)
	}
}
