package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const benchCases = 100_000

// benchSet is benchCases clustered templates, two people to look alike in ten, and queries that are other photos.
func benchSet(dim int) (references, queries [][]float32) {
	rng := rand.New(rand.NewPCG(5, uint64(dim)))
	set := newClusters(rng, dim, benchCases/10)
	for i := range benchCases {
		references = append(references, set.draw(rng, i))
	}
	for range 500 {
		queries = append(queries, set.draw(rng, rng.IntN(benchCases)))
	}
	return references, queries
}

func benchFacts(i int) Facts {
	return Facts{Gallery: []string{"missing", "found"}[i%2], Sex: []string{"female", "male", ""}[i%3], Status: "open", BornFrom: 1995 + i%20, BornTo: 1995 + i%20}
}

func benchIndex(b *testing.B, references [][]float32) *Exact {
	x := NewExact(len(references[0]))
	for i, v := range references {
		if err := x.Replace(context.Background(), fmt.Sprintf("c_%026d", i), benchFacts(i), []Reference{{fmt.Sprintf("f_%026d", i), v}}); err != nil {
			b.Fatal(err)
		}
	}
	return x
}

// heap is the live heap in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// latencies reports the median and the 99th percentile of what happened in a benchmark.
func latencies(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}

// BenchmarkSearch searches 100,000 templates for the 20 nearest cases: the exact index, the same filtered, the same
// with its plain C kernel, two searches at once, and comparing every float32 in full.
func BenchmarkSearch(b *testing.B) {
	ctx := context.Background()
	for _, dim := range []int{128, 832} {
		references, queries := benchSet(dim)
		before := heap()
		x := benchIndex(b, references)
		perTemplate := float64(heap()-before) / benchCases
		run := func(name string, portable bool, filter Filter) {
			b.Run(fmt.Sprintf("dim=%d/%s", dim, name), func(b *testing.B) {
				x.portable = portable
				var took []time.Duration
				compared := 0
				for i := 0; b.Loop(); i++ {
					began := time.Now()
					s, err := x.newSearch(Query{Vector: queries[i%len(queries)], Filter: filter, Limit: 20})
					if err == nil {
						err = s.run(ctx)
					}
					if err != nil || len(s.best.ranked()) != 20 {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
					compared += s.compared
				}
				latencies(b, took)
				b.ReportMetric(float64(compared)/float64(len(took)), "compared/op")
				b.ReportMetric(perTemplate, "B/template")
				x.portable = false
			})
		}
		run("exact", false, Filter{})
		run("exact, filtered", false, Filter{Gallery: "missing", Sex: "female", Statuses: []string{"open"}, BornFrom: 2000, BornTo: 2004})
		run("exact, plain C", true, Filter{})
		b.Run(fmt.Sprintf("dim=%d/exact, one search per core at once", dim), func(b *testing.B) {
			var n atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			b.RunParallel(func(pb *testing.PB) {
				var own []time.Duration
				for pb.Next() {
					began := time.Now()
					if _, err := x.Search(ctx, Query{Vector: queries[int(n.Add(1))%len(queries)], Limit: 20}); err != nil {
						b.Error(err)
						return
					}
					own = append(own, time.Since(began))
				}
				mu.Lock()
				took = append(took, own...)
				mu.Unlock()
			})
			latencies(b, took)
		})
		b.Run(fmt.Sprintf("dim=%d/float32 in full", dim), func(b *testing.B) {
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				best := ranking{limit: 20}
				for j, v := range references {
					if sc := dot32(queries[i%len(queries)], v); float64(sc) >= best.threshold() {
						best.add(Hit{Case: fmt.Sprint(j), Score: sc})
					}
				}
				best.ranked()
				took = append(took, time.Since(began))
			}
			latencies(b, took)
		})
	}
}

// dot32 is the inner product as a plain loop in Go, with eight sums so that none waits for the one before.
func dot32(a, b []float32) float32 {
	b = b[:len(a)]
	var s [8]float32
	for i := 0; i+8 <= len(a); i += 8 {
		x, y := a[i:i+8:i+8], b[i:i+8:i+8]
		s[0] += x[0] * y[0]
		s[1] += x[1] * y[1]
		s[2] += x[2] * y[2]
		s[3] += x[3] * y[3]
		s[4] += x[4] * y[4]
		s[5] += x[5] * y[5]
		s[6] += x[6] * y[6]
		s[7] += x[7] * y[7]
	}
	return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7]
}

// BenchmarkLoad100k fills an empty index with 100,000 cases, one Replace each.
func BenchmarkLoad100k(b *testing.B) {
	for _, dim := range []int{128, 832} {
		references, _ := benchSet(dim)
		b.Run(fmt.Sprintf("dim=%d", dim), func(b *testing.B) {
			for b.Loop() {
				if _, refs := benchIndex(b, references).Size(); refs != benchCases {
					b.Fatal("not all were loaded")
				}
			}
		})
	}
}
