package index

/*
#cgo LDFLAGS: -lblas
#cgo noescape hw_multiply
#cgo nocallback hw_multiply
#cgo noescape hw_reaching
#cgo nocallback hw_reaching
#include "cross.h"
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"homeward/internal/blas"
)

// Rows are vectors of one length, one behind the other, as a whole gallery is multiplied by another. They are for one goroutine
// while they are filled, and for many once they are full.
type Rows struct {
	dim     int
	numbers []float32
	norm    float64 // of the longest that is finite
}

// NewRows are no rows yet, of dim numbers each, with room for so many.
func NewRows(dim, room int) *Rows { return &Rows{dim: dim, numbers: make([]float32, 0, dim*room)} }

// Add puts a copy of the vector behind the others. ErrDimension.
func (r *Rows) Add(v []float32) error {
	if len(v) != r.dim {
		return fmt.Errorf("%w: %d instead of %d", ErrDimension, len(v), r.dim)
	}
	r.numbers = append(r.numbers, v...)
	if n := length(v); !math.IsNaN(n) && !math.IsInf(n, 0) {
		r.norm = max(r.norm, n)
	}
	return nil
}

// Len is how many there are.
func (r *Rows) Len() int { return len(r.numbers) / r.dim }

func length(v []float32) float64 {
	var square float64
	for _, x := range v {
		square += float64(x) * float64(x)
	}
	return math.Sqrt(square) * (1 + 1e-9)
}

// Score is the inner product of two vectors of the same length as Search ranks by it.
func Score(a, b []float32) float32 { return score(a, b) }

// CrossOptions say how a Cross runs. The zero value runs on all cores and waits for nobody.
type CrossOptions struct {
	Workers int // blocks multiplied at once; 0 is one for each core
	// Pause is called by each worker before each block, which takes less than a millisecond. Its error ends the Cross.
	Pause func(context.Context) error

	portable bool // pick with the plain C kernel
}

// A block of products stays in a core's second cache until it is looked through. A task is what a worker takes at a time.
const (
	crossQueries, crossReferences = 256, 512
	taskReferences                = 16 * crossReferences
)

// Reached is references, those from First on in a row, of which some reach a query's bound: those At these places in the row, rising.
type Reached struct {
	First    int
	At       []uint32
	Products []float32 // of all in the row with the query, as multiplied in float32
	Slack    float64   // how far the inner product may be from such a product, in whatever order it is summed
}

// Cross multiplies every query by every reference and hands reach, of each query, all references whose inner product with it is at or
// over least[query]. It is called by several workers at once, with several parts of what there is for a query, and must not keep the
// slices. Some that are below least by a rounding error are among them.
//
// None is left out, in whatever order an inner product is summed, in float32 or better. A sum of n products in float32 in any order,
// fused or not, is off by at most n·u/(1−n·u)·‖q‖·‖x‖ with u = 2⁻²⁴ (Higham 2002, 3.1, with Cauchy–Schwarz), and by the least
// normal float32 for each operation whose result is below that. Two such sums differ by at most twice as much, and that is taken from least,
// with room for one more rounding. Where a sum of finite numbers could leave float32's range, everything counts as reached; so does a
// product that is not a number.
func Cross(ctx context.Context, queries *Rows, least []float64, references *Rows, o CrossOptions, reach func(query int, r Reached)) error {
	m, n, dim := queries.Len(), references.Len(), queries.dim
	if dim != references.dim {
		return fmt.Errorf("cross: %w: %d and %d", ErrDimension, dim, references.dim)
	}
	if len(least) != m {
		return fmt.Errorf("cross: %d bounds for %d queries", len(least), m)
	}
	if m == 0 || n == 0 {
		return ctx.Err()
	}
	bounds, slack := make([]float32, m), make([]float64, m)
	for i := range bounds {
		slack[i] = crossSlack(dim, length(queries.row(i))*references.norm)
		bounds[i] = crossBound(least[i] - slack[i])
	}
	blas.OneThread()
	across := (n + taskReferences - 1) / taskReferences
	tasks := (m + crossQueries - 1) / crossQueries * across
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(o.Workers, tasks) {
		g.Go(func() error {
			w := crosser{queries, references, bounds, slack, o,
				make([]float32, crossQueries*crossReferences), make([]uint32, crossQueries*crossReferences), make([]uint32, crossQueries)}
			for {
				task := int(next.Add(1)) - 1
				if task >= tasks {
					return nil
				}
				q, r := task/across*crossQueries, task%across*taskReferences
				for end := min(r+taskReferences, n); r < end; r += crossReferences {
					if err := ctx.Err(); err != nil {
						return err
					}
					if o.Pause != nil {
						if err := o.Pause(ctx); err != nil {
							return err
						}
					}
					w.block(q, min(q+crossQueries, m), r, min(r+crossReferences, end), reach)
				}
			}
		})
	}
	return g.Wait()
}

// crossSlack is how far two sums of dim products may be from each other, where the lengths of the two vectors make size; infinite where
// one may leave float32's range.
func crossSlack(dim int, size float64) float64 {
	if !(size < math.MaxFloat32/4) || dim > 1<<20 {
		return math.Inf(1)
	}
	const normal = 0x1p-126
	return size*float64(2*dim+8)*0x1p-24*(1+0x1p-3) + float64(4*dim)*normal
}

// crossBound is a float32 below a bound.
func crossBound(bound float64) float32 {
	if bound >= math.MaxFloat32 { // nothing gets there, and it has no float32 above it
		return math.MaxFloat32
	}
	return math.Nextafter32(float32(bound), float32(math.Inf(-1)))
}

func (r *Rows) row(i int) []float32 { return r.numbers[i*r.dim : (i+1)*r.dim] }

// crosser is one worker of a Cross.
type crosser struct {
	queries, references *Rows
	bounds              []float32
	slack               []float64
	CrossOptions
	products []float32 // of a block
	at       []uint32  // the places in each row of those that reach
	found    []uint32  // how many they are in each
}

// block multiplies the queries from q up to qEnd by the references from r up to rEnd, and hands on what reaches.
func (w *crosser) block(q, qEnd, r, rEnd int, reach func(int, Reached)) {
	w.multiply(q, qEnd, r, rEnd)
	var portable C.int
	if w.portable {
		portable = 1
	}
	n := rEnd - r
	C.hw_reaching((*C.float)(unsafe.Pointer(&w.products[0])), C.size_t(qEnd-q), C.size_t(n), (*C.float)(unsafe.Pointer(&w.bounds[q])), portable,
		(*C.uint32_t)(unsafe.Pointer(&w.at[0])), (*C.uint32_t)(unsafe.Pointer(&w.found[0])))
	for i, found := range w.found[:qEnd-q] {
		if found > 0 {
			row := i * n
			reach(q+i, Reached{r, w.at[row : row+int(found)], w.products[row : row+n], w.slack[q+i]})
		}
	}
}

func (w *crosser) multiply(q, qEnd, r, rEnd int) {
	C.hw_multiply((*C.float)(unsafe.Pointer(&w.queries.row(q)[0])), C.size_t(qEnd-q), (*C.float)(unsafe.Pointer(&w.references.row(r)[0])), C.size_t(rEnd-r),
		C.size_t(w.queries.dim), (*C.float)(unsafe.Pointer(&w.products[0])))
}
