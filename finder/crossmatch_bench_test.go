package finder

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"homeward/match"
	"homeward/registry"
)

// BenchmarkCrossmatch compares 20,000 missing cases with as many found ones from both sides, full comparisons and saves included. They are people as the metric
// believes that they are, one in ten of whom has a case on either side. An operation is a whole cross-match as the first one of a registry is: it opens the leads.
func BenchmarkCrossmatch(b *testing.B) {
	const each = 20_000
	ctx := b.Context()
	data := b.TempDir()
	f, err := Open(ctx, Config{Data: data, Models: "../models"})
	if err != nil {
		b.Fatalf("%v (run scripts/setup)", err)
	}
	defer f.Close()
	people := &modelled{metric: f.now().metric, rng: rand.New(rand.NewPCG(11, 11))}
	// The registry has the cases and no more; their faces are in index and shelf only.
	for _, g := range []registry.Gallery{registry.Missing, registry.Found} {
		first, err := f.Registry.CreateCase(ctx, registry.Case{Gallery: g})
		if err != nil {
			b.Fatal(err)
		}
		multiply(b, data, first.ID, each)
	}
	if err := f.CatchUp(ctx); err != nil {
		b.Fatal(err)
	}
	var both [2][]registry.OpenCase
	for side, g := range []registry.Gallery{registry.Missing, registry.Found} {
		if both[side], err = f.Registry.OpenCases(ctx, g); err != nil {
			b.Fatal(err)
		}
	}
	for i := range each {
		for side, g := range []registry.Gallery{registry.Missing, registry.Found} {
			if side == 0 || i%10 != 0 {
				people.next()
			}
			born, err := registry.ParseDate(fmt.Sprint(1985 + people.rng.IntN(25)))
			if err != nil {
				b.Fatal(err)
			}
			of := registry.Case{ID: both[side][i].ID, Gallery: g, Status: registry.StatusOpen, BornFrom: born, BornTo: born, Sex: []registry.Sex{registry.Female, registry.Male}[people.rng.IntN(2)]}
			face := registry.Reference{Face: registry.FaceID(fmt.Sprintf("f_%d%025d", side, i)), Template: people.template(), AgeYears: float32(1 + people.rng.IntN(18)), AgeSD: 3, Quality: 0.8}
			if err := f.enrol(ctx, f.now(), of, []registry.Reference{face}); err != nil {
				b.Fatal(err)
			}
		}
	}
	runtime.GC()
	before, most := inUse(), uint64(0)
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			most = max(most, inUse())
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	var job registry.Job
	for b.Loop() {
		job = crossmatch(b, f, DefaultLeadThreshold)
		if opened := job.Progress.Counts[CrossOpened]; b.N > 1 && opened > 0 {
			b.Fatal("a second cross-match opens leads")
		}
	}
	close(stop)
	<-watched
	took := b.Elapsed().Seconds() / float64(b.N)
	n := job.Progress.Counts
	b.ReportMetric(float64(n[CrossPairs])/took/1e6, "Mpairs/s")
	b.ReportMetric(float64(n[CrossCompared])/took, "cases/s")
	b.ReportMetric(float64(n[CrossInFull])/float64(n[CrossPairs])*1e6, "in-full/Mpairs")
	b.ReportMetric(float64(n[CrossOpened]), "leads")
	b.ReportMetric(float64(most-before)/(1<<20), "MB-beside-the-index")
}

// modelled makes up people as the metric believes that they are: a crowd's embeddings are far likelier to look alike than those of photos,
// and would make leads of hundreds of strangers for each case.
type modelled struct {
	metric *match.Metric
	rng    *rand.Rand
	person []float64
}

// next goes on to another person.
func (p *modelled) next() {
	between := p.metric.Fitted().Between
	p.person = make([]float64, len(between))
	for d, b := range between {
		p.person[d] = math.Sqrt(float64(b)) * p.rng.NormFloat64()
	}
}

// template is of a photo of the present person: package match says what its numbers are.
func (p *modelled) template() []float32 {
	f := p.metric.Fitted()
	x := make([]float64, len(p.person))
	var size, want, own float64
	for d, b := range f.Between {
		x[d] = p.person[d] + p.rng.NormFloat64()
		size += x[d] * x[d]
		want += float64(b) + 1
	}
	out := make([]float32, len(x)+1)
	for d, b := range f.Between {
		b, t := float64(b), float64(b)+1
		v := x[d] * math.Sqrt(want/size)
		own += (1/t - t/(t*t-b*b)) * v * v / 2
		out[d] = float32(math.Sqrt(b/(t*t-b*b)) * v)
	}
	out[len(x)] = float32((own - f.Offset) / 8)
	return out
}

// multiply makes n cases of one, behind the registry's back, as storing each would take minutes.
func multiply(b *testing.B, data string, of registry.CaseID, n int) {
	b.Helper()
	db, err := sql.Open("sqlite", filepath.Join(data, "registry.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var columns, values string
	err = db.QueryRow(`SELECT group_concat(name, ', '), group_concat(CASE name WHEN 'id' THEN 'id || i.value' ELSE name END, ', ')
		FROM pragma_table_info('cases') WHERE name <> 'n'`).Scan(&columns, &values)
	if err == nil {
		_, err = db.Exec("WITH RECURSIVE i(value) AS (SELECT 2 UNION ALL SELECT value + 1 FROM i WHERE value < ?) INSERT INTO cases ("+columns+") SELECT "+
			values+" FROM cases, i WHERE id = ?", n, of)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// inUse is the memory that Go holds.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
