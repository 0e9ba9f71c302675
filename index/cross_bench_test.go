package index

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCross compares 100,000 templates with 100,000 others on all cores, a slice of the rows at a time, and in the same run does
// the matrix products alone, in the same blocks and in large ones: "of-sgemm" is how much of the better of the two the
// comparison reaches. Each is the best of its rounds, which take turns, as other work on the machine only ever takes away.
func BenchmarkCross(b *testing.B) {
	const dim, slice = 128, 2048
	vectors, _ := benchSet(dim)
	references, queries := NewRows(dim, len(vectors)), NewRows(dim, slice)
	for i, v := range vectors {
		if err := references.Add(v); err != nil {
			b.Fatal(err)
		}
		if i < slice {
			if err := queries.Add(vectors[len(vectors)-1-i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	flop := 2 * float64(slice) * benchCases * dim
	for _, bound := range []float64{0.6, 0.3} {
		b.Run(fmt.Sprintf("least=%g", bound), func(b *testing.B) {
			least := make([]float64, slice)
			for i := range least {
				least[i] = bound
			}
			var reached atomic.Int64
			best := [3]time.Duration{math.MaxInt64, math.MaxInt64, math.MaxInt64}
			rounds := 0
			for b.Loop() {
				rounds++
				for i, do := range [3]func(){
					func() {
						err := Cross(b.Context(), queries, least, references, CrossOptions{}, func(_ int, r Reached) { reached.Add(int64(len(r.At))) })
						if err != nil {
							b.Fatal(err)
						}
					},
					func() { productsAlone(queries, references, crossQueries, crossReferences) },
					func() { productsAlone(queries, references, 2048, 4096) },
				} {
					began := time.Now()
					do()
					best[i] = min(best[i], time.Since(began))
				}
			}
			cross, same, large := best[0], best[1], best[2]
			gflops := func(d time.Duration) float64 { return flop / d.Seconds() / 1e9 }
			b.ReportMetric(gflops(cross), "GFLOP/s")
			b.ReportMetric(gflops(same), "GFLOP/s-sgemm-same-blocks")
			b.ReportMetric(gflops(large), "GFLOP/s-sgemm-large-blocks")
			b.ReportMetric(min(same, large).Seconds()/cross.Seconds(), "of-sgemm")
			b.ReportMetric(float64(reached.Load())/float64(rounds)/slice, "reached/query")
			b.ReportMetric(cross.Seconds()*benchCases/slice, "s-for-100k-x-100k")
		})
	}
}

// productsAlone multiplies in blocks of so many queries and references, on all cores, and looks at nothing.
func productsAlone(queries, references *Rows, blockQueries, blockReferences int) {
	var blocks [][2]int
	for q := 0; q < queries.Len(); q += blockQueries {
		for r := 0; r < references.Len(); r += blockReferences {
			blocks = append(blocks, [2]int{q, r})
		}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			w := crosser{queries: queries, references: references, products: make([]float32, blockQueries*blockReferences)}
			for {
				n := int(next.Add(1)) - 1
				if n >= len(blocks) {
					return
				}
				q, r := blocks[n][0], blocks[n][1]
				w.multiply(q, min(q+blockQueries, queries.Len()), r, min(r+blockReferences, references.Len()))
			}
		})
	}
	all.Wait()
}
