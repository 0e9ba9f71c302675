package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// wild draws the components of a vector across all of float32's range.
func wild(dim int) *rapid.Generator[[]float32] {
	return rapid.Custom(func(t *rapid.T) []float32 {
		v := make([]float32, dim)
		spread := rapid.SampledFrom([]int{0, 1, 8, 120}).Draw(t, "spread")
		around := rapid.SampledFrom([]int{-140, -126, -20, 0, 20, 100}).Draw(t, "around")
		for i := range v {
			f := math.Ldexp(rapid.Float64Range(-1, 1).Draw(t, "n"), around+rapid.IntRange(-spread, spread).Draw(t, "e"))
			v[i] = float32(max(-math.MaxFloat32, min(math.MaxFloat32, f)))
		}
		if !slices.ContainsFunc(v, func(n float32) bool { return n != 0 }) {
			v[dim-1] = math.SmallestNonzeroFloat32
		}
		return v
	})
}

// TestBoundHolds is the claim that the exact index stands on: no row is left out whose score reaches the threshold.
func TestBoundHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.SampledFrom([]int{1, 2, 15, 16, 17, 33, 128, 129}).Draw(t, "dim")
		q, v := wild(dim).Draw(t, "query"), wild(dim).Draw(t, "reference")
		checkBound(t, q, v)
		checkBound(t, v, v)
	})
}

func checkBound(t interface{ Fatalf(string, ...any) }, q, v []float32) {
	x := NewExact(len(q))
	if err := x.Replace(context.Background(), "c", Facts{}, []Reference{{"f", v}}); err != nil {
		t.Fatalf("%v", err)
	}
	b, want := x.snapshot.Load().blocks[0], score(q, v)
	for _, portable := range []bool{false, true} {
		x.portable = portable
		s := &search{x: x, probe: newProbe(q), best: ranking{limit: 1, hits: []Hit{{Score: want}}}}
		if s.reaching(b, 0, 1, make([]uint32, scanRows)) != 1 {
			t.Fatalf("a reference that scores %v is below its own score (portable %v)", want, portable)
		}
	}
}

// TestBoundIsTight keeps the bound from passing the test above by letting everything through.
func TestBoundIsTight(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, dim := range []int{128, 129, 832} {
		for range 200 {
			q, v := unit(rng, dim), unit(rng, dim)
			if dim == 129 { // a one-sided term far above the rest
				q[128], v[128] = 1, -40
			}
			codes := make([]int8, stride(dim))
			r, p := quantise(v, codes), newProbe(q)
			if width := p.norm*float64(r.slack) + p.slack*float64(r.norm); width > 0.03 {
				t.Fatalf("dim %d: the bound is %.4f wide", dim, width)
			}
		}
	}
}

func TestScoreIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 40).Draw(t, "dim")
		ints := rapid.SliceOfN(rapid.IntRange(-1000, 1000), dim, dim)
		a, b := ints.Draw(t, "a"), ints.Draw(t, "b")
		var want int
		va, vb := make([]float32, dim), make([]float32, dim)
		for i := range a {
			want += a[i] * b[i]
			va[i], vb[i] = float32(a[i]), float32(b[i])
		}
		if got := score(va, vb); got != float32(want) || got != score(vb, va) {
			t.Fatalf("%v, want %d", got, want)
		}
	})
	big := []float32{math.MaxFloat32, math.MaxFloat32}
	if got := score(big, big); got != math.MaxFloat32 {
		t.Errorf("a score beyond the range is %v", got)
	}
}

// TestFullScan compares every answer, to the last bit, with one that compares everything, on templates as they are:
// clustered, several to a case, and with a one-sided term at the end.
func TestFullScan(t *testing.T) {
	ctx := context.Background()
	for _, dim := range []int{128, 129, 832} {
		rng := rand.New(rand.NewPCG(3, uint64(dim)))
		set := newClusters(rng, dim, 100)
		x := NewExact(dim)
		for i := range 1000 {
			var refs []Reference
			for j := range 1 + i%3 {
				v := set.draw(rng, i/2)
				if dim == 129 {
					v[128] = -20 - 40*rng.Float32()
				}
				refs = append(refs, Reference{fmt.Sprint(j), v})
			}
			if err := x.Replace(ctx, fmt.Sprintf("c%05d", i), Facts{}, refs); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 30 {
			q := Query{Vector: set.draw(rng, rng.IntN(600)), Limit: []int{1, 10, 100}[i%3]}
			if dim == 129 {
				q.Vector[128] = 1
			}
			for range 3 { // pages
				want := fullScan(x, q)
				for _, x.portable = range []bool{false, true} {
					got, err := x.Search(ctx, q)
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got, want) {
						t.Fatalf("dim %d, portable %v: %v, want %v", dim, x.portable, got, want)
					}
				}
				q.After = &want[len(want)-1]
			}
		}
	}
}

// fullScan answers by comparing every reference.
func fullScan(x *Exact, q Query) []Hit {
	var hits []Hit
	for id, e := range x.entries {
		h := Hit{Case: id, Score: float32(math.Inf(-1))}
		for i, face := range e.faces {
			if sc := score(q.Vector, e.vectors[i*x.dim:(i+1)*x.dim]); sc > h.Score {
				h.Face, h.Score = face, sc
			}
		}
		if q.After == nil || compareHits(*q.After, h) < 0 {
			hits = append(hits, h)
		}
	}
	slices.SortFunc(hits, compareHits)
	return hits[:min(q.Limit, len(hits))]
}

// TestChurnIsBounded replaces and removes for a long time and expects no more rows than the live ones account for.
func TestChurnIsBounded(t *testing.T) {
	ctx := context.Background()
	x := NewExact(4)
	const cases = 500
	refs := []Reference{{"a", []float32{1, 2, 3, 4}}, {"b", []float32{4, 3, 2, 1}}}
	for i := range 200_000 {
		id := fmt.Sprint(i % cases)
		if i%5 == 4 {
			if err := x.Remove(ctx, id); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := x.Replace(ctx, id, Facts{}, refs[:1+i%2]); err != nil {
			t.Fatal(err)
		}
		if snap := x.snapshot.Load(); snap.rows > 3*cases+blockRows || len(snap.blocks) > snap.rows/blockRows+1 {
			t.Fatalf("after %d changes %d rows in %d blocks are kept", i, snap.rows, len(snap.blocks))
		}
	}
}

// FuzzBound looks for a pair that the bound fails, in the bytes of two vectors.
func FuzzBound(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 128, 63, 1, 0, 0, 0})
	f.Add([]byte{255, 255, 127, 127, 255, 255, 127, 255, 1, 0, 0, 0, 1, 0, 0, 128})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var v []float32
		for ; len(raw) >= 4; raw = raw[4:] {
			v = append(v, math.Float32frombits(uint32(raw[0])|uint32(raw[1])<<8|uint32(raw[2])<<16|uint32(raw[3])<<24))
		}
		dim := len(v) / 2
		x := NewExact(dim)
		if dim == 0 || x.check(v[:dim]) != nil || x.check(v[dim:2*dim]) != nil {
			return
		}
		checkBound(t, v[:dim], v[dim:2*dim])
	})
}

// clusters draws unit vectors the way faces fall: groups of look-alikes, people within them, photos of a person.
type clusters struct {
	dim    int
	groups [][]float32
	seed   uint64
}

func newClusters(rng *rand.Rand, dim, groups int) *clusters {
	c := &clusters{dim: dim, seed: rng.Uint64()}
	for range groups {
		c.groups = append(c.groups, unit(rng, dim))
	}
	return c
}

// draw is a photo of a person: the same person's photos are about 0.6 alike, people of a group about 0.3, others 0.
func (c *clusters) draw(rng *rand.Rand, person int) []float32 {
	own := unit(rand.New(rand.NewPCG(c.seed, uint64(person))), c.dim)
	photo := unit(rng, c.dim)
	v := make([]float32, c.dim)
	for i, g := range c.groups[person%len(c.groups)] {
		v[i] = 0.55*g + 0.55*own[i] + 0.63*photo[i]
	}
	return normalise(v)
}

func unit(rng *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return normalise(v)
}

func normalise(v []float32) []float32 {
	var square float64
	for _, n := range v {
		square += float64(n) * float64(n)
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(square))
	}
	return v
}
