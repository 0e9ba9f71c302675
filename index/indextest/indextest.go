// Package indextest says what every index.Index must do. An implementation passes Run or it may hide a child.
package indextest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"homeward/index"
)

// Run tests the indexes that open makes, empty ones for templates of dim numbers.
func Run(t *testing.T, open func(dim int) index.Index) {
	t.Run("model", func(t *testing.T) { testModel(t, open) })
	t.Run("pages", func(t *testing.T) { testPages(t, open) })
	t.Run("filters", func(t *testing.T) { testFilters(t, open) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, open) })
	t.Run("edges", func(t *testing.T) { testEdges(t, open) })
	t.Run("replace is one step", func(t *testing.T) { testOneStep(t, open) })
	t.Run("cancelled", func(t *testing.T) { testCancelled(t, open) })
}

// model is an index that compares everything in float64.
type model struct {
	dim   int
	cases map[string]modelCase
}

type modelCase struct {
	facts index.Facts
	refs  []index.Reference
}

// product is the inner product, within float32's range, and how far from it a float32 score may be.
func product(a, b []float32) (value, tolerance float64) {
	var sum, na, nb float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
		na += float64(a[i]) * float64(a[i])
		nb += float64(b[i]) * float64(b[i])
	}
	tolerance = math.Sqrt(na)*math.Sqrt(nb)*float64(len(a)+2)*0x1p-24 + math.SmallestNonzeroFloat32
	return max(-math.MaxFloat32, min(math.MaxFloat32, sum)), tolerance
}

func passes(id string, facts index.Facts, f index.Filter) bool {
	same := func(want, have string) bool { return want == "" || have == "" || want == have }
	status := len(f.Statuses) == 0 || facts.Status == "" || slices.Contains(f.Statuses, facts.Status)
	from := f.BornFrom == 0 || facts.BornTo == 0 || facts.BornTo >= f.BornFrom
	to := f.BornTo == 0 || facts.BornFrom == 0 || facts.BornFrom <= f.BornTo
	region := len(f.Regions) == 0 || facts.Region == ""
	for _, r := range f.Regions {
		region = region || strings.HasPrefix(facts.Region+"-", r+"-")
	}
	_, among := f.Among[id]
	return same(f.Gallery, facts.Gallery) && same(f.Sex, facts.Sex) && status && from && to && region &&
		(f.Among == nil || among) && (f.Except == "" || f.Except != id)
}

// check says what is wrong with an answer to q; full is the whole ranking under the same query without After and
// Limit, as the index gave it.
func (m *model) check(q index.Query, hits, full []index.Hit) error {
	want := 0
	for id, c := range m.cases {
		if len(c.refs) == 0 || !passes(id, c.facts, q.Filter) {
			continue
		}
		want++
		best, slack := math.Inf(-1), 0.0
		for _, r := range c.refs {
			v, tol := product(q.Vector, r.Vector)
			best, slack = max(best, v), max(slack, tol)
		}
		at := slices.IndexFunc(full, func(h index.Hit) bool { return h.Case == id })
		if at < 0 {
			return fmt.Errorf("case %s is missing from the ranking", id)
		}
		h := full[at]
		if math.Abs(float64(h.Score)-best) > slack {
			return fmt.Errorf("case %s scores %v, want %v ± %v", id, h.Score, best, slack)
		}
		face := slices.IndexFunc(c.refs, func(r index.Reference) bool { return r.Face == h.Face })
		if face < 0 {
			return fmt.Errorf("case %s was found by %q, which is no face of it", id, h.Face)
		}
		if v, tol := product(q.Vector, c.refs[face].Vector); v < best-tol-slack {
			return fmt.Errorf("case %s was found by face %s, not its best", id, h.Face)
		}
	}
	if len(full) != want {
		return fmt.Errorf("%d cases are ranked, want %d: %v", len(full), want, full)
	}
	if !slices.IsSortedFunc(full, order) {
		return fmt.Errorf("the ranking is not by score, then case: %v", full)
	}
	rest := full
	if q.After != nil {
		for len(rest) > 0 && order(rest[0], *q.After) <= 0 {
			rest = rest[1:]
		}
	}
	if rest = rest[:min(len(rest), q.Limit)]; !slices.Equal(hits, rest) {
		return fmt.Errorf("the answer is %v, but the whole ranking says %v", hits, rest)
	}
	return nil
}

func order(a, b index.Hit) int {
	switch {
	case a.Score > b.Score:
		return -1
	case a.Score < b.Score:
		return 1
	}
	return strings.Compare(a.Case, b.Case)
}

// vectors draws templates that are hard to rank: ties, near ties, huge, tiny, denormal, and one component far above
// the rest.
func vectors(dim int, seen *[][]float32) *rapid.Generator[[]float32] {
	small := rapid.SliceOfN(rapid.IntRange(-2, 2), dim, dim)
	real := rapid.SliceOfN(rapid.Float32Range(-1, 1), dim, dim)
	return rapid.Custom(func(t *rapid.T) []float32 {
		v := make([]float32, dim)
		kind := rapid.SampledFrom([]string{"lattice", "real", "again", "near", "huge", "tiny", "denormal", "peak", "wild"}).Draw(t, "kind")
		if len(*seen) == 0 && (kind == "again" || kind == "near") {
			kind = "lattice"
		}
		scaled := func(k float64) {
			for i, n := range real.Draw(t, "v") {
				v[i] = float32(float64(n) * k)
			}
		}
		switch kind {
		case "lattice":
			for i, n := range small.Draw(t, "v") {
				v[i] = float32(n)
			}
		case "real":
			scaled(1)
		case "again":
			copy(v, rapid.SampledFrom(*seen).Draw(t, "of"))
		case "near":
			copy(v, rapid.SampledFrom(*seen).Draw(t, "of"))
			i := rapid.IntRange(0, dim-1).Draw(t, "at")
			v[i] = math.Nextafter32(v[i], rapid.SampledFrom([]float32{-1, 1}).Draw(t, "toward"))
		case "huge":
			scaled(math.MaxFloat32)
		case "tiny":
			scaled(1e-30)
		case "denormal":
			scaled(1e-43)
		case "peak":
			scaled(1)
			v[rapid.IntRange(0, dim-1).Draw(t, "at")] = rapid.Float32Range(-1e6, 1e6).Draw(t, "peak")
		case "wild":
			for i := range v {
				v[i] = rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32).Draw(t, "n")
			}
		}
		if !slices.ContainsFunc(v, func(n float32) bool { return n != 0 }) {
			v[0] = 1
		}
		*seen = append(*seen, v)
		return v
	})
}

var facts = rapid.Custom(func(t *rapid.T) index.Facts {
	year := rapid.SampledFrom([]int{0, 2001, 2004, 2007, 2010})
	return index.Facts{
		Gallery:  rapid.SampledFrom([]string{"missing", "found"}).Draw(t, "gallery"),
		Sex:      rapid.SampledFrom([]string{"", "female", "male"}).Draw(t, "sex"),
		Status:   rapid.SampledFrom([]string{"", "open", "closed"}).Draw(t, "status"),
		BornFrom: year.Draw(t, "from"),
		BornTo:   year.Draw(t, "to"),
		Region:   rapid.SampledFrom([]string{"", "A", "A-1", "AB", "B-1-2"}).Draw(t, "region"),
	}
})

// filters draws filters, none of it narrowing half of the time.
func filters(ids *rapid.Generator[string]) *rapid.Generator[index.Filter] {
	return rapid.Custom(func(t *rapid.T) index.Filter {
		f := index.Filter{}
		if rapid.Bool().Draw(t, "open") {
			return f
		}
		year := rapid.SampledFrom([]int{0, 0, 2002, 2004, 2008})
		f.Gallery = rapid.SampledFrom([]string{"", "missing", "found"}).Draw(t, "gallery")
		f.Sex = rapid.SampledFrom([]string{"", "", "female", "male"}).Draw(t, "sex")
		f.Statuses = rapid.SampledFrom([][]string{nil, {}, {"open"}, {"open", "closed"}, {"other"}}).Draw(t, "statuses")
		f.Regions = rapid.SampledFrom([][]string{nil, nil, {}, {"A"}, {"A-1", "B"}, {"C"}}).Draw(t, "regions")
		f.BornFrom, f.BornTo = year.Draw(t, "from"), year.Draw(t, "to")
		if rapid.IntRange(0, 2).Draw(t, "among?") == 0 {
			f.Among = map[string]struct{}{}
			for _, id := range rapid.SliceOf(ids).Draw(t, "among") {
				f.Among[id] = struct{}{}
			}
		}
		if rapid.Bool().Draw(t, "except?") {
			f.Except = ids.Draw(t, "except")
		}
		return f
	})
}

func testModel(t *testing.T, open func(dim int) index.Index) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		dim := rapid.SampledFrom([]int{1, 2, 3, 16, 17, 40, 129}).Draw(t, "dim")
		ids := rapid.Map(rapid.IntRange(0, 25), func(n int) string { return fmt.Sprintf("c%02d", n) })
		ix, m := open(dim), model{dim, map[string]modelCase{}}
		defer ix.Close()
		var seen [][]float32
		vector := vectors(dim, &seen)
		t.Repeat(map[string]func(*rapid.T){
			"replace": func(t *rapid.T) {
				id, c := ids.Draw(t, "case"), modelCase{facts: facts.Draw(t, "facts")}
				for i := range rapid.IntRange(0, 4).Draw(t, "faces") {
					c.refs = append(c.refs, index.Reference{Face: fmt.Sprintf("%s.%d", id, i), Vector: vector.Draw(t, "template")})
				}
				given := make([]index.Reference, len(c.refs))
				for i, r := range c.refs {
					given[i] = index.Reference{Face: r.Face, Vector: slices.Clone(r.Vector)}
				}
				if err := ix.Replace(ctx, id, c.facts, given); err != nil {
					t.Fatal(err)
				}
				for i := range given { // the index keeps its own copy
					clear(given[i].Vector)
				}
				m.cases[id] = c
			},
			"remove": func(t *rapid.T) {
				id := ids.Draw(t, "case")
				delete(m.cases, id)
				if err := ix.Remove(ctx, id); err != nil {
					t.Fatal(err)
				}
			},
			"search": func(t *rapid.T) {
				q := index.Query{Vector: vector.Draw(t, "query"), Filter: filters(ids).Draw(t, "filter"), Limit: 1000}
				full, err := ix.Search(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				q.Limit = rapid.IntRange(1, 30).Draw(t, "limit")
				if len(full) > 0 && rapid.Bool().Draw(t, "after?") {
					after := rapid.SampledFrom(full).Draw(t, "after")
					q.After = &after
				}
				hits, err := ix.Search(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.check(q, hits, full); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				var wantCases, wantRefs int
				for _, c := range m.cases {
					if len(c.refs) > 0 {
						wantCases++
						wantRefs += len(c.refs)
					}
				}
				if cases, refs := ix.Size(); cases != wantCases || refs != wantRefs {
					t.Fatalf("size is %d cases, %d references; want %d, %d", cases, refs, wantCases, wantRefs)
				}
			},
		})
	})
}

// testPages turns the pages of a ranking full of ties and expects every case exactly once, in the order of one page.
func testPages(t *testing.T, open func(dim int) index.Index) {
	ctx := context.Background()
	ix := open(3)
	defer ix.Close()
	const cases = 3000 // more than an implementation is likely to keep in one piece
	for i := range cases {
		refs := []index.Reference{
			{Face: "a", Vector: []float32{float32(i % 7), 1, 0}},
			{Face: "b", Vector: []float32{float32(i % 3), 1, 1}},
		}
		if err := ix.Replace(ctx, fmt.Sprintf("c%04d", i*7919%cases), index.Facts{}, refs[:1+i%2]); err != nil {
			t.Fatal(err)
		}
	}
	q := index.Query{Vector: []float32{1, 0, 0}, Limit: cases + 1}
	full, err := ix.Search(ctx, q)
	if err != nil || len(full) != cases {
		t.Fatalf("%d cases are ranked, want %d (%v)", len(full), cases, err)
	}
	if !slices.IsSortedFunc(full, order) {
		t.Fatal("the ranking is not by score, then case")
	}
	for _, limit := range []int{1, 17, 500, cases} {
		var pages []index.Hit
		q.Limit, q.After = limit, nil
		for limit > 1 || len(pages) < 50 {
			hits, err := ix.Search(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			if len(hits) == 0 {
				break
			}
			pages = append(pages, hits...)
			q.After = &pages[len(pages)-1]
		}
		if !slices.Equal(pages, full[:len(pages)]) || limit > 1 && len(pages) != cases {
			t.Errorf("pages of %d differ from the whole ranking", limit)
		}
	}
}

func testFilters(t *testing.T, open func(dim int) index.Index) {
	ctx := context.Background()
	ix := open(2)
	defer ix.Close()
	all := map[string]index.Facts{
		"girl":    {Gallery: "missing", Sex: "female", Status: "open", BornFrom: 2004, BornTo: 2004, Region: "CN-51"},
		"boy":     {Gallery: "missing", Sex: "male", Status: "open", BornFrom: 2008, BornTo: 2010, Region: "CN"},
		"closed":  {Gallery: "missing", Sex: "female", Status: "closed", BornFrom: 2004, BornTo: 2004, Region: "CN-5"},
		"unknown": {Gallery: "missing"},
		"after":   {Gallery: "missing", Sex: "male", Status: "open", BornFrom: 2006, Region: "VN"},
		"before":  {Gallery: "missing", Sex: "male", Status: "open", BornTo: 2005, Region: "CN-51-01"},
		"found":   {Gallery: "found", Sex: "female", Status: "open", BornFrom: 2004, BornTo: 2006, Region: "CNX"},
	}
	for id, f := range all {
		if err := ix.Replace(ctx, id, f, []index.Reference{{Face: "f", Vector: []float32{1, 0}}}); err != nil {
			t.Fatal(err)
		}
	}
	set := func(ids ...string) map[string]struct{} {
		m := map[string]struct{}{}
		for _, id := range ids {
			m[id] = struct{}{}
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		filter index.Filter
		want   string
	}{
		{"everything", index.Filter{}, "after before boy closed found girl unknown"},
		{"one gallery", index.Filter{Gallery: "found"}, "found"},
		{"an unknown sex may be either", index.Filter{Gallery: "missing", Sex: "female"}, "closed girl unknown"},
		{"an unknown status may be any", index.Filter{Gallery: "missing", Statuses: []string{"closed"}}, "closed unknown"},
		{"several statuses", index.Filter{Sex: "female", Statuses: []string{"open", "closed"}}, "closed found girl unknown"},
		{"born since", index.Filter{BornFrom: 2009}, "after boy unknown"},
		{"born until", index.Filter{BornTo: 2005}, "before closed found girl unknown"},
		{"born between", index.Filter{BornFrom: 2005, BornTo: 2007}, "after before found unknown"},
		{"among none", index.Filter{Among: set()}, ""},
		{"among some, and unknown to the index", index.Filter{Among: set("boy", "found", "nobody")}, "boy found"},
		{"among and by gallery", index.Filter{Among: set("boy", "found"), Gallery: "found"}, "found"},
		{"all but one", index.Filter{Sex: "male", Except: "boy"}, "after before unknown"},
		{"a region with its parts, and none by a code that merely begins alike", index.Filter{Regions: []string{"CN"}}, "before boy closed girl unknown"},
		{"a part of a region", index.Filter{Regions: []string{"CN-51"}}, "before girl unknown"},
		{"several regions", index.Filter{Regions: []string{"CN-51", "VN"}, Gallery: "missing"}, "after before girl unknown"},
		{"nothing", index.Filter{Gallery: "elsewhere"}, ""},
	} {
		hits, err := ix.Search(ctx, index.Query{Vector: []float32{1, 1}, Filter: tt.filter, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hits {
			got = append(got, h.Case)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func testRefusals(t *testing.T, open func(dim int) index.Index) {
	ctx := context.Background()
	ix := open(2)
	defer ix.Close()
	good := index.Reference{Face: "good", Vector: []float32{1, 0}}
	if err := ix.Replace(ctx, "c", index.Facts{Sex: "female"}, []index.Reference{good}); err != nil {
		t.Fatal(err)
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, tt := range []struct {
		vector []float32
		want   error
	}{
		{nil, index.ErrDimension},
		{[]float32{1}, index.ErrDimension},
		{[]float32{1, 2, 3}, index.ErrDimension},
		{[]float32{0, 0}, index.ErrTemplate},
		{[]float32{nan, 1}, index.ErrTemplate},
		{[]float32{1, inf}, index.ErrTemplate},
		{[]float32{-inf, 1}, index.ErrTemplate},
	} {
		bad := index.Reference{Face: "bad", Vector: tt.vector}
		for _, id := range []string{"c", "new"} {
			if err := ix.Replace(ctx, id, index.Facts{Sex: "male"}, []index.Reference{good, bad}); !errors.Is(err, tt.want) {
				t.Errorf("replace with %v: %v, want %v", tt.vector, err, tt.want)
			}
		}
		if _, err := ix.Search(ctx, index.Query{Vector: tt.vector, Limit: 1}); !errors.Is(err, tt.want) {
			t.Errorf("search for %v: %v, want %v", tt.vector, err, tt.want)
		}
	}
	if _, err := ix.Search(ctx, index.Query{Vector: good.Vector}); err == nil {
		t.Error("a search for no cases at all is not refused")
	}
	hits, err := ix.Search(ctx, index.Query{Vector: good.Vector, Filter: index.Filter{Sex: "female"}, Limit: 5})
	if want := []index.Hit{{Case: "c", Face: "good", Score: 1}}; err != nil || !slices.Equal(hits, want) {
		t.Errorf("after refusals the index holds %v (%v), want %v", hits, err, want)
	}
}

func testEdges(t *testing.T, open func(dim int) index.Index) {
	ctx := context.Background()
	ix := open(2)
	defer ix.Close()
	ref := func(face string, v ...float32) index.Reference { return index.Reference{Face: face, Vector: v} }
	expect := func(what string, want ...index.Hit) {
		t.Helper()
		hits, err := ix.Search(ctx, index.Query{Vector: []float32{1, 0}, Limit: 100})
		if err != nil || !slices.Equal(hits, want) {
			t.Errorf("%s: %v (%v), want %v", what, hits, err, want)
		}
	}
	replace := func(id string, refs ...index.Reference) {
		t.Helper()
		if err := ix.Replace(ctx, id, index.Facts{}, refs); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(id string) {
		t.Helper()
		if err := ix.Remove(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	expect("empty")
	remove("never there")
	replace("no photos yet")
	expect("a case without references")
	replace("a", ref("a1", 0.5, 0), ref("a2", 2, 0))
	replace("b", ref("b1", 2, 5))
	expect("best face, ties by case", index.Hit{Case: "a", Face: "a2", Score: 2}, index.Hit{Case: "b", Face: "b1", Score: 2})
	replace("a", ref("a1", 0.5, 0))
	expect("a face is gone", index.Hit{Case: "b", Face: "b1", Score: 2}, index.Hit{Case: "a", Face: "a1", Score: 0.5})
	replace("b")
	expect("all its faces are gone", index.Hit{Case: "a", Face: "a1", Score: 0.5})
	remove("a")
	remove("a")
	remove("b")
	expect("all removed")
	if cases, refs := ix.Size(); cases != 0 || refs != 0 {
		t.Errorf("an emptied index holds %d cases, %d references", cases, refs)
	}
}

// testOneStep turns a case over while others search. Its two states share no face and no score, so that a search
// which sees neither or half of one shows.
func testOneStep(t *testing.T, open func(dim int) index.Index) {
	ctx := context.Background()
	ix := open(4)
	defer ix.Close()
	states := [2][]index.Reference{
		{{Face: "x0", Vector: []float32{1, 0, 0, 0}}, {Face: "x1", Vector: []float32{3, 0, 0, 0}}},
		{{Face: "y0", Vector: []float32{-2, 0, 0, 0}}, {Face: "y1", Vector: []float32{-4, 0, 0, 0}}, {Face: "y2", Vector: []float32{-1, 0, 0, 0}}},
	}
	want := [2]index.Hit{{Case: "turning", Face: "x1", Score: 3}, {Case: "turning", Face: "y2", Score: -1}}
	for i := range 40 {
		err := ix.Replace(ctx, fmt.Sprintf("still%02d", i), index.Facts{}, []index.Reference{{Face: "s", Vector: []float32{0, 1, 0, 0}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ix.Replace(ctx, "turning", index.Facts{}, states[0]); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var searchers, writers sync.WaitGroup
	for n := range 3 {
		searchers.Go(func() {
			q := index.Query{Vector: []float32{1, 0, 0, 0}, Limit: 1000}
			if n == 2 {
				q.Filter.Among = map[string]struct{}{"turning": {}}
			}
			for {
				select {
				case <-done:
					return
				default:
				}
				hits, err := ix.Search(ctx, q)
				if err != nil {
					t.Error(err)
					return
				}
				var turning []index.Hit
				still := 0
				for _, h := range hits {
					switch {
					case h.Case == "turning":
						turning = append(turning, h)
					case strings.HasPrefix(h.Case, "still"):
						still++
					}
				}
				if len(turning) != 1 || turning[0] != want[0] && turning[0] != want[1] || n < 2 && still != 40 {
					t.Errorf("a search while a case is replaced sees %v and %d others", turning, still)
					return
				}
			}
		})
	}
	writers.Go(func() {
		for i := range 3000 {
			if err := ix.Replace(ctx, "turning", index.Facts{}, states[(i+1)%2]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Go(func() {
		for i := range 3000 {
			id := fmt.Sprintf("passing%d", i%5)
			if err := ix.Replace(ctx, id, index.Facts{}, []index.Reference{{Face: "p", Vector: []float32{0, 0, 1, 0}}}); err != nil {
				t.Error(err)
				return
			}
			if err := ix.Remove(ctx, id); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Wait()
	close(done)
	searchers.Wait()
	if cases, refs := ix.Size(); cases != 41 || refs != 42 {
		t.Errorf("size is %d cases, %d references; want 41, 42", cases, refs)
	}
}

func testCancelled(t *testing.T, open func(dim int) index.Index) {
	ctx, cancel := context.WithCancel(context.Background())
	ix := open(1)
	defer ix.Close()
	refs := []index.Reference{{Face: "f", Vector: []float32{1}}}
	if err := ix.Replace(ctx, "c", index.Facts{}, refs); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := ix.Search(ctx, index.Query{Vector: []float32{1}, Limit: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled search says %v", err)
	}
	if err := ix.Replace(ctx, "d", index.Facts{}, refs); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled replace says %v", err)
	}
	if cases, _ := ix.Size(); cases != 1 {
		t.Errorf("a cancelled replace left %d cases", cases)
	}
}
