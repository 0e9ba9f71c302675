package index

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// crossed is what Cross hands on, by query, in order.
func crossed(t interface{ Fatalf(string, ...any) }, queries, references *Rows, least []float64, o CrossOptions) [][]uint32 {
	out := make([][]uint32, queries.Len())
	var mu sync.Mutex
	err := Cross(context.Background(), queries, least, references, o, func(q int, r Reached) {
		mu.Lock()
		defer mu.Unlock()
		for _, i := range r.At {
			out[q] = append(out[q], uint32(r.First)+i)
			sum, product := sums(queries.row(q), references.row(r.First+int(i)))[0], float64(r.Products[i])
			if !math.IsInf(r.Slack, 1) && math.Abs(sum-product) > r.Slack {
				t.Fatalf("%v is multiplied as %v, more than %v off", sum, product, r.Slack)
			}
		}
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, found := range out {
		slices.Sort(found)
	}
	return out
}

func rowsOf(t interface{ Fatalf(string, ...any) }, dim int, vectors [][]float32) *Rows {
	r := NewRows(dim, 0)
	for _, v := range vectors {
		if err := r.Add(v); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return r
}

// sums are an inner product summed in several ways: in float64 as Search does it, and in float32 forwards, backwards and by four.
func sums(a, b []float32) []float64 {
	var forwards, backwards float32
	var four [4]float32
	for i := range a {
		forwards += a[i] * b[i]
		j := len(a) - 1 - i
		backwards += a[j] * b[j]
		four[i%4] += a[i] * b[i]
	}
	return []float64{float64(score(a, b)), float64(forwards), float64(backwards), float64(four[0]+four[1]) + float64(four[2]+four[3])}
}

// TestCrossLosesNothing is the claim that the cross-match stands on: a pair whose inner product reaches the bound is handed on, however it
// is summed, whatever the numbers; and of those that are handed on none is below it by more than rounding can do.
func TestCrossLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.SampledFrom([]int{1, 2, 15, 16, 17, 128, 129}).Draw(t, "dim")
		vector := wild(dim)
		qs := rapid.SliceOfN(vector, 1, 5).Draw(t, "queries")
		rs := rapid.SliceOfN(vector, 1, 70).Draw(t, "references")
		rs = append(rs, qs...)
		least := make([]float64, len(qs))
		for i, q := range qs {
			of := sums(q, rapid.SampledFrom(rs).Draw(t, "of"))
			least[i] = of[rapid.IntRange(0, len(of)-1).Draw(t, "sum")]
		}
		queries, references := rowsOf(t, dim, qs), rowsOf(t, dim, rs)
		for _, o := range []CrossOptions{{}, {Workers: 1, portable: true}} {
			got := crossed(t, queries, references, least, o)
			for i, q := range qs {
				slack := 2*length(q)*references.norm*float64(2*dim+8)*0x1p-23 + float64(dim)*0x1p-120
				for j, r := range rs {
					_, in := slices.BinarySearch(got[i], uint32(j))
					// What leaves float32's range in one order and not in another is reached, so none is missed.
					for _, sum := range sums(q, r) {
						if sum >= least[i] && !in {
							t.Fatalf("%v is at or over %v, and is not handed on (portable %v)", sum, least[i], o.portable)
						}
					}
					if s := sums(q, r)[0]; in && s < least[i]-slack && length(q)*references.norm < math.MaxFloat32/8 {
						t.Fatalf("%v is far below %v, and is handed on (portable %v)", s, least[i], o.portable)
					}
				}
			}
		}
	})
}

// TestCrossInBlocks crosses more than a block of each, and compares with doing it one by one.
func TestCrossInBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	const dim = 24
	set := newClusters(rng, dim, 50)
	var qs, rs [][]float32
	for i := range crossQueries*2 + 3 {
		qs = append(qs, set.draw(rng, i))
	}
	for i := range taskReferences + crossReferences + 5 {
		rs = append(rs, set.draw(rng, i))
	}
	queries, references := rowsOf(t, dim, qs), rowsOf(t, dim, rs)
	least := make([]float64, len(qs))
	for i := range least {
		least[i] = 0.7
	}
	least[3], least[4] = math.Inf(1), math.Inf(-1)
	for _, o := range []CrossOptions{{}, {Workers: 3}, {portable: true}} {
		got := crossed(t, queries, references, least, o)
		for i, q := range qs {
			var want []uint32
			for j, r := range rs {
				if s := score(q, r); float64(s) >= least[i] {
					want = append(want, uint32(j))
				} else if float64(s) > least[i]-1e-4 { // may be there or not
					got[i] = slices.DeleteFunc(got[i], func(n uint32) bool { return n == uint32(j) })
				}
			}
			if !slices.Equal(got[i], want) {
				t.Fatalf("query %d: %d references, want %d", i, len(got[i]), len(want))
			}
		}
	}
}

func TestCrossRefuses(t *testing.T) {
	ctx := t.Context()
	reach := func(int, Reached) { t.Error("something was handed on") }
	two, three := rowsOf(t, 2, [][]float32{{1, 0}}), rowsOf(t, 3, [][]float32{{1, 0, 0}})
	if err := two.Add([]float32{1}); !errors.Is(err, ErrDimension) || two.Len() != 1 {
		t.Errorf("a vector of another length: %v, %d rows", err, two.Len())
	}
	if err := Cross(ctx, two, []float64{0}, three, CrossOptions{}, reach); !errors.Is(err, ErrDimension) {
		t.Errorf("rows of two lengths: %v", err)
	}
	if err := Cross(ctx, two, nil, two, CrossOptions{}, reach); err == nil {
		t.Error("a query without a bound is not refused")
	}
	if err := Cross(ctx, NewRows(2, 0), nil, two, CrossOptions{}, reach); err != nil {
		t.Errorf("no queries: %v", err)
	}
	if err := Cross(ctx, two, []float64{0}, NewRows(2, 0), CrossOptions{}, reach); err != nil {
		t.Errorf("no references: %v", err)
	}
	stop := errors.New("stop")
	if err := Cross(ctx, two, []float64{0}, two, CrossOptions{Pause: func(context.Context) error { return stop }}, reach); !errors.Is(err, stop) {
		t.Errorf("an error of Pause: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if err := Cross(ctx, two, []float64{0}, two, CrossOptions{}, reach); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled cross: %v", err)
	}
}
