package evaluation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// rowWant is a row by hand; rank 10 and 20 are as rank 5.
type rowWant struct {
	class        string
	probes       int
	rank1, rank5 float64
}

func checkRows(t *testing.T, got []SearchRow, want []rowWant) {
	t.Helper()
	for _, row := range got {
		if row.Probes == 0 {
			if !math.IsNaN(row.Rank[0].Value) {
				t.Errorf("row %s has no probes but rank 1 %v", row.Class, row.Rank[0].Value)
			}
			continue
		}
		if len(want) == 0 {
			t.Errorf("row %s with %d probes is not wanted", row.Class, row.Probes)
			continue
		}
		w := want[0]
		want = want[1:]
		ranks := [rankCount]float64{w.rank1, w.rank5, w.rank5, w.rank5}
		for k := range ranks {
			if row.Class != w.class || row.Probes != w.probes || !same64(row.Rank[k].Value, ranks[k]) {
				t.Errorf("row %s: %d probes, rank %d %v, want %+v", row.Class, row.Probes, Ranks()[k], row.Rank[k].Value, w)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %+v", want)
	}
}

// Ranks of the probes are derived in TestIdentificationByHand.
func TestSearchRowsByHand(t *testing.T) {
	photos, c := family()
	for i := range photos {
		photos[i].Looks = 40 // is not asked for: ages are labelled
	}
	m := run(t, photos, c, Options{Distractors: []int{10, 11}}).Comparers[0]
	tests := []struct {
		protocol     string
		byAge, byGap []rowWant
	}{
		// a1 5: first. a3 12.5: third. b1 8: second. c1 3 and d1 12: missed. Years to the adult photo: 25, 17.5, 10, 37 and, to d2, which has no face, 10.
		{
			"child_to_adult", []rowWant{{"3-5", 2, 0.5, 0.5}, {"6-8", 1, 0, 1}, {"9-12", 2, 0, 0.5}},
			[]rowWant{{"10-19", 3, 0, 2. / 3}, {"20+", 2, 0.5, 0.5}},
		},
		{
			"young_to_old", []rowWant{{"3-5", 2, 0.5, 0.5}, {"6-8", 1, 0, 1}, {"9-12", 1, 0, 0}},
			[]rowWant{{"10-19", 2, 0, 0.5}, {"20+", 2, 0.5, 0.5}},
		},
		// The nearest photos of the cases: a3 12.5 (not a1), b1 8, c1 3, d1 12. a2 comes second, b2 first; c2 and d2 are missed.
		{
			"adult_to_child_cases", []rowWant{{"3-5", 1, 0, 0}, {"6-8", 1, 1, 1}, {"9-12", 2, 0, 0.5}},
			[]rowWant{{"10-19", 3, 1. / 3, 2. / 3}, {"20+", 1, 0, 0}},
		},
		// a1 and a3 are 7.5 years from each other; a2 is 17.5 from a3.
		{
			"leave_one_out", []rowWant{{"3-5", 2, 0.5, 0.5}, {"6-8", 1, 0, 1}, {"9-12", 2, 0.5, 0.5}, {"18+", 4, 0.5, 0.5}},
			[]rowWant{{"5-9", 2, 1, 1}, {"10-19", 5, 0.4, 0.6}, {"20+", 2, 0, 0}},
		},
	}
	for _, want := range tests {
		t.Run(want.protocol, func(t *testing.T) {
			f := m.Identification[want.protocol]
			checkRows(t, f.ByAge, want.byAge)
			checkRows(t, f.ByGap, want.byGap)
			if f.ByLooks != nil {
				t.Errorf("by looks, though ages are labelled: %+v", f.ByLooks)
			}
		})
	}
}

// TestPhotosWithoutFaceAreNotNearest: what is not searched is not what a search has to bridge.
func TestPhotosWithoutFaceAreNotNearest(t *testing.T) {
	photos := []Photo{
		{Name: "a1", Subject: "a", Age: 4}, {Name: "a2", Subject: "a", Age: 12, Problem: "no face was found"}, {Name: "a3", Subject: "a", Age: 20},
		{Name: "b1", Subject: "b", Age: -1, Side: "young"}, {Name: "b2", Subject: "b", Age: 30}, // no age to break down by
	}
	m := run(t, photos, lookup(photos, map[string]float64{"a1 a3": 1, "b1 b2": 1}), Options{}).Comparers[0]
	checkRows(t, m.Identification["adult_to_child_cases"].ByAge, []rowWant{{"3-5", 1, 1, 1}})
	checkRows(t, m.Identification["adult_to_child_cases"].ByGap, []rowWant{{"10-19", 1, 1, 1}})
	// a1 is searched for, and so is a2, in vain: both are children.
	checkRows(t, m.Identification["child_to_adult"].ByAge, []rowWant{{"3-5", 1, 1, 1}, {"9-12", 1, 0, 0}})
	checkRows(t, m.Identification["child_to_adult"].ByGap, []rowWant{{"5-9", 1, 0, 0}, {"10-19", 1, 1, 1}})
}

// TestLooksStandForAges only where none is labelled; a distractor's does not count.
func TestLooksStandForAges(t *testing.T) {
	photos := []Photo{
		{Name: "a1", Subject: "a", Age: -1, Side: "young", Looks: 4}, {Name: "a2", Subject: "a", Age: -1, Side: "old", Looks: 35},
		{Name: "b1", Subject: "b", Age: -1, Side: "young", Looks: 7}, {Name: "b2", Subject: "b", Age: -1, Side: "old", Looks: 16},
		{Name: "b3", Subject: "b", Age: -1, Side: "young", Looks: 10},
		{Name: "c1", Subject: "c", Age: -1, Side: "young", Looks: 5, Problem: "no face was found"}, {Name: "c2", Subject: "c", Age: -1, Side: "old", Looks: 50},
		{Name: "x1", Subject: "x", Age: 30, Looks: 30},
	}
	c := lookup(photos, map[string]float64{"a1 a2": 2, "b1 b2": 1, "a2 b1": 1, "b2 b3": 4})
	r := run(t, photos, c, Options{Distractors: []int{7}})
	m := r.Comparers[0]
	for _, protocol := range Protocols() {
		if f := m.Identification[protocol]; f.ByAge != nil || f.ByGap != nil {
			t.Errorf("%s: by age or gap, though none is labelled", protocol)
		}
	}
	// a1: first. b1: a tie, second. b3: first. c1 has no face, and no looks.
	young := []rowWant{{"3-5", 1, 1, 1}, {"6-8", 1, 0, 1}, {"9-12", 1, 1, 1}}
	checkRows(t, m.Identification["child_to_adult"].ByLooks, young)
	checkRows(t, m.Identification["young_to_old"].ByLooks, young)
	// a2: 2 for case a, 0.5 for b. b2: 2.5 for b, whose b3 looks oldest. Nobody knows how old c1 looks.
	checkRows(t, m.Identification["adult_to_child_cases"].ByLooks, []rowWant{{"3-5", 1, 1, 1}, {"9-12", 1, 1, 1}})

	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var written struct {
		Comparers map[string]struct {
			Identification map[string]map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(out.Bytes(), &written); err != nil {
		t.Fatal(err)
	}
	f := written.Comparers["table"].Identification["child_to_adult"]
	var rows []map[string]any
	if err := json.Unmarshal(f["by_looks"], &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 6 || rows[2]["band"] != "6-8" || rows[2]["probes"] != 1. || rows[2]["rank1"] != 0. || rows[2]["rank5"] != 1. {
		t.Errorf("by_looks %s", f["by_looks"])
	}
	if v, there := rows[0]["rank1"]; !there || v != nil {
		t.Errorf("rank 1 of nobody is %v", v)
	}
	if f["by_age"] != nil || f["by_gap"] != nil {
		t.Error("by_age or by_gap is written")
	}

	page := &bytes.Buffer{}
	if err := r.WriteHTML(page, HTMLOptions{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "<summary>By looks</summary>") || strings.Contains(page.String(), "<summary>By age and") {
		t.Error("the page does not break searches down by looks")
	}
}

func TestRowsKeepTheWholeThreshold(t *testing.T) {
	// Somebody else scores 1..10; at FPIR 10 % the threshold is 9. The first three score 8, which would do among themselves.
	var searches []search
	var in []int8
	for n := 1; n <= 10; n++ {
		q := search{searched: true, rank: 1, mated: 9.5, other: float32(n)}
		if n <= 3 {
			q.mated = 8
		}
		searches = append(searches, q)
		in = append(in, int8(min(n/5, 1)))
	}
	in[9] = nowhere
	s := set{traits: make([]trait, 1)}
	rows := s.searchRows(searches, gapClasses, in, s.openThresholds(searches, []float64{0.1, 0.01}))
	want := []struct {
		probes int
		fnir   float64
	}{{4, 0.75}, {5, 0}, {0, math.NaN()}, {0, math.NaN()}, {0, math.NaN()}}
	for k, w := range want {
		if row := rows[k]; row.Probes != w.probes || !same64(row.FNIR[0].FNIR.Value, w.fnir) || !math.IsNaN(row.FNIR[1].FNIR.Value) || row.FNIR[0].FPIR != 0.1 {
			t.Errorf("row %+v, want %+v", row, w)
		}
	}
}

// TestRowsAddUp: where every age is known the rows of a breakdown, weighted by probes, are the whole; in every resample too.
func TestRowsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 6))
		photos, c := someSet(r, rapid.IntRange(8, 25).Draw(t, "subjects"), 6, true, 0.5)
		for i := range photos {
			photos[i].Age = float64(r.IntN(600)) / 10
		}
		const draws = 3
		s, err := newSet(photos, labelledPlaces(photos, nil), Options{Bootstrap: draws, Seed: 7}, 0)
		if errors.Is(err, ErrTooFew) {
			t.Skip("too few")
		}
		if err != nil {
			t.Fatal(err)
		}
		sc, err := s.scan(context.Background(), c, keepPairs)
		if err != nil {
			t.Fatal(err)
		}
		for n, name := range Protocols() {
			p := &s.protocols[n]
			f := s.identify(p, sc.searches[n], []float64{0.25})
			for _, by := range []struct {
				rows []SearchRow
				in   []int8
			}{{f.ByAge, p.placing.byAge}, {f.ByGap, p.placing.byGap}} {
				// The last is not a draw but everybody once.
				for b := range draws + 1 {
					value := func(f Figure) float64 {
						switch {
						case b == draws:
							return f.Value
						case len(f.draws) == 0: // of nobody
							return math.NaN()
						}
						return f.draws[b]
					}
					weights := make([]float64, len(by.rows))
					for i, probe := range p.probes {
						if b == draws {
							weights[by.in[i]]++
						} else {
							weights[by.in[i]] += float64(s.resamples.times[b][s.traits[probe].subject])
						}
					}
					check := func(whole Figure, of func(SearchRow) Figure) {
						if got := mean(pick(by.rows, func(r SearchRow) float64 { return value(of(r)) }), weights); !same64(got, value(whole)) {
							t.Fatalf("%s: rows make %v, the whole is %v", name, got, value(whole))
						}
					}
					for k := range f.Rank {
						check(f.Rank[k], func(r SearchRow) Figure { return r.Rank[k] })
					}
					for k := range f.FNIR {
						check(f.FNIR[k].FNIR, func(r SearchRow) Figure { return r.FNIR[k].FNIR })
					}
				}
			}
		}
	})
}

// TestFoldsWithoutAges: folds of one set are broken down in one way, even where the ages are all in one of them.
func TestFoldsWithoutAges(t *testing.T) {
	photos, c := someSet(rand.New(rand.NewPCG(8, 1)), 30, 6, false, 0)
	for i := range photos {
		photos[i].Looks, photos[i].Side = 20, []string{"young", "old"}[i%2]
	}
	fit := func(context.Context, int, []int) ([]Comparer, error) { return []Comparer{c}, nil }
	folds := func() *Identification {
		r, err := RunFolds(context.Background(), photos, 3, fit, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Comparers[0].Identification["leave_one_out"]
	}
	if f := folds(); f.ByAge != nil || f.ByLooks[5].Probes != f.Probes-f.ProbesWithoutFace {
		t.Errorf("without ages: %+v", f)
	}
	aged := 0
	for i := range photos {
		if photos[i].Subject == photos[0].Subject {
			photos[i].Age = 30
			aged++
		}
	}
	if f := folds(); f.ByLooks != nil || aged < 2 || f.ByAge[5].Probes != aged || f.ByGap[0].Probes != aged || math.IsNaN(f.ByAge[5].Rank[0].Value) {
		t.Errorf("with %d ages: %+v", aged, f)
	}
}

// TestNoIntervalOfOnePerson: it would have no width.
func TestNoIntervalOfOnePerson(t *testing.T) {
	photos, c := family()
	check := func(r *Result, class int, subjects int) {
		t.Helper()
		row := r.Comparers[0].Identification["child_to_adult"].ByAge[class]
		if row.Subjects != subjects || math.IsNaN(row.Rank[0].Value) || math.IsNaN(row.Rank[0].Low) != (subjects < 2) || math.IsNaN(row.Rank[0].High) != (subjects < 2) {
			t.Errorf("row %s: %d subjects, %+v", row.Class, row.Subjects, row.Rank[0])
		}
	}
	r := run(t, photos, c, Options{Seed: 1, Bootstrap: 100})
	check(r, 1, 2) // a1 and c1
	check(r, 2, 1) // b1
	joined := join([]*Result{r, r}, r.Options)
	check(joined, 1, 4)
	check(joined, 2, 2)
}

func TestHTMLComparesFewInRows(t *testing.T) {
	photos, c := someSet(rand.New(rand.NewPCG(4, 1)), 30, 6, true, 0)
	for _, test := range []struct {
		names, shown string
	}{
		{"metric raw_a raw_fused", "metric raw_a raw_fused"},
		{"metric raw_a raw_b raw_fused", "metric raw_fused"},
		{"metric raw_a raw_b raw_c", "metric"},
		{"raw_fused raw_a raw_b raw_c", "raw_fused"},
	} {
		var all []Comparer
		for name := range strings.FieldsSeq(test.names) {
			d := c
			d.Name = name
			all = append(all, d)
		}
		r, err := Run(context.Background(), photos, all, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, protocol := range newPage(r, HTMLOptions{}).Protocols {
			if protocol.Within == nil {
				t.Fatalf("%s is not broken down", protocol.Name)
			}
			rows := protocol.Within.Table.Rows
			shown := strings.Fields(test.shown)
			if len(rows) == 0 || len(rows)%len(shown) != 0 || !strings.HasSuffix(rows[0].Words, ", "+shown[0]) {
				t.Fatalf("%s of %s: %+v", protocol.Name, test.names, rows)
			}
			for k, row := range rows {
				if of := k % len(shown); row.Under != (of > 0) || of > 0 && row.Name != shown[of] || len(row.Cells) != len(protocol.Within.Table.Heads) {
					t.Errorf("%s of %s: row %d is %+v", protocol.Name, test.names, k, row)
				}
			}
		}
	}
}
