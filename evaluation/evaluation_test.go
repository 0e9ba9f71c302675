package evaluation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write goldens anew")

// lookup is a comparer that looks scores up by the names of both photos; a pair that is not listed scores 0.
func lookup(photos []Photo, scores map[string]float64) Comparer {
	c := Comparer{Name: "table"}
	c.Pair = func(i, j int) float64 {
		a, b := photos[i].Name, photos[j].Name
		if a > b {
			a, b = b, a
		}
		return scores[a+" "+b]
	}
	// The mean over the case's photos, so that it differs from the best.
	c.Case = func(probe int, of []int) float64 {
		var sum float64
		for _, j := range of {
			sum += c.Pair(probe, j)
		}
		return sum / float64(len(of))
	}
	return c
}

func run(t *testing.T, photos []Photo, c Comparer, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), photos, []Comparer{c}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func same64(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9
}

// family is five people by hand. a and b are found as children and adults; c's child photo and d's only adult photo have no
// face; e is a lone adult.
func family() ([]Photo, Comparer) {
	photos := []Photo{
		{Name: "a1", Subject: "a", Age: 5}, {Name: "a2", Subject: "a", Age: 30}, {Name: "a3", Subject: "a", Age: 12.5},
		{Name: "b1", Subject: "b", Age: 8}, {Name: "b2", Subject: "b", Age: 18},
		{Name: "c1", Subject: "c", Age: 3, Problem: "no face was found"}, {Name: "c2", Subject: "c", Age: 40},
		{Name: "d1", Subject: "d", Age: 12}, {Name: "d2", Subject: "d", Age: 22, Problem: "no face was found"},
		{Name: "e1", Subject: "e", Age: 50},
		{Name: "x1", Subject: "x", Age: -1}, {Name: "x2", Subject: "x", Age: -1, Problem: "is broken"},
	}
	return photos, lookup(photos, map[string]float64{
		"a1 a2": 5, "a2 a3": 1, "a1 a3": 4,
		"b1 b2": 3,
		"a2 b1": 3,   // ties with b's own adult photo
		"a3 b2": 2,   // beats a's own
		"a3 e1": 1.5, // and so does this
		"c2 d1": 9,
		"a1 c2": 4.5,
		"a2 x1": 6,
		"a1 x1": 5, // ties with a's own
		"b2 x1": -1,
	})
}

func TestIdentificationByHand(t *testing.T) {
	photos, c := family()
	r := run(t, photos, c, Options{Distractors: []int{10, 11}})
	m := r.Comparer("table")
	tests := []struct {
		protocol                                      string
		probes, gallery, probesWithout, galleryWithut int
		ranks, crowded                                [rankCount]float64
		probeRanks                                    string
	}{
		// Adults with a face: a2, b2, c2, e1. a1: first (5 against 4.5). a3: 1, with b2 (2) and e1 (1.5) before. b1: 3, a tie with a2 counts
		// against it, so second. c1 has no face. d1's subject is in the gallery only without one. x1 ties with a1's own, and is not above for
		// a3 (0 against 1) or b1.
		{"child_to_adult", 5, 4, 1, 1, [4]float64{0.2, 0.6, 0.6, 0.6}, [4]float64{0, 0.6, 0.6, 0.6}, ""},
		// Youngest: a1, b1, c1, d1 (e has one photo). Oldest: a2, b2, c2, d2, e1.
		{"young_to_old", 4, 4, 1, 1, [4]float64{0.25, 0.5, 0.5, 0.5}, [4]float64{0, 0.5, 0.5, 0.5}, ""},
		// Cases: a {a1, a3}, b {b1}, d {d1}; c only without a face. a2: case a (5+1)/2 = 3, b 3: second. b2: own 3, a 1: first.
		// c2: a miss. d2 has no face. e1 is not in the gallery. x1 scores 6 with a2, so a2 is third.
		{"adult_to_child_cases", 4, 3, 1, 1, [4]float64{0.25, 0.5, 0.5, 0.5}, [4]float64{0.25, 0.5, 0.5, 0.5}, ""},
		// a1: own 5, first. a2: own 5, first. a3: own 4, first. b1: own 3 against a2's 3, second. b2: own 3, first. c1, d2 have no face. c2's and d1's only other
		// photo has none. With x1: a1 ties (second), a2 6 (second).
		{"leave_one_out", 9, 5, 2, 0, [4]float64{4. / 9, 5. / 9, 5. / 9, 5. / 9}, [4]float64{2. / 9, 5. / 9, 5. / 9, 5. / 9}, ""},
	}
	for _, want := range tests {
		t.Run(want.protocol, func(t *testing.T) {
			got := m.Identification[want.protocol]
			if got.Probes != want.probes || got.Gallery != want.gallery || got.ProbesWithoutFace != want.probesWithout || got.GalleryWithoutFace != want.galleryWithut {
				t.Errorf("probes %d (%d without a face), gallery %d (%d without)", got.Probes, got.ProbesWithoutFace, got.Gallery, got.GalleryWithoutFace)
			}
			for k := range want.ranks {
				if !same64(got.Rank[k].Value, want.ranks[k]) || !same64(got.WithDistractors.Rank[k].Value, want.crowded[k]) {
					t.Errorf("rank %d: %v, with distractors %v", Ranks()[k], got.Rank[k].Value, got.WithDistractors.Rank[k].Value)
				}
				if !same64(got.WithDistractors.Fall[k], want.ranks[k]-want.crowded[k]) {
					t.Errorf("rank %d falls by %v", Ranks()[k], got.WithDistractors.Fall[k])
				}
			}
			if got.WithDistractors.Distractors != 1 {
				t.Errorf("%d distractors", got.WithDistractors.Distractors)
			}
		})
	}
	if got := r.Set; got != (SetInfo{Photos: 10, WithoutFace: 2, Subjects: 5, SubjectsWithTwo: 2, Aged: 10, Distractors: 2, DistractorsWithoutFace: 1}) {
		t.Errorf("set %+v", got)
	}
	if len(r.WithoutFace) != 3 || r.WithoutFace[2].Name != "x2" {
		t.Errorf("without face: %v", r.WithoutFace)
	}
}

func TestBandsByHand(t *testing.T) {
	photos, c := family()
	r := run(t, photos, c, Options{Distractors: []int{10, 11}})
	// Faces: a1 5, a2 30, a3 12.5, b1 8, b2 18, c2 40, d1 12, e1 50: 28 pairs, mated a1a2 a1a3 a2a3 b1b2.
	tests := map[string][2]int{
		"all":             {4, 24},
		"both_under_13":   {1, 5},  // of a1 a3 b1 d1: six, one mated
		"child_adult":     {3, 13}, // 4 children × 4 adults
		"under_6_over_12": {1, 3},  // a1 with a2 b2 c2 e1
		// 5: 30 18 40 50; 8: 30 18 40 50; 12: 30 40 50; 12.5: 30 40 50; 18: 30 40 50; 30: 40 50; 40: 50
		"gap_10_plus": {3, 17},
		// 5: 30 40 50; 8: 30 40 50; 12: 40 50; 12.5: 40 50; 18: 40 50; 30: 50
		"gap_20_plus": {1, 12},
	}
	for band, want := range tests {
		v := r.Comparer("table").Verification[band]
		if v.Mated != want[0] || v.NonMated != want[1] {
			t.Errorf("%s: %d mated, %d non-mated, want %v", band, v.Mated, v.NonMated, want)
		}
		if !math.IsNaN(v.TAR[0].Value) {
			t.Errorf("%s: FAR 1 %% cannot be resolved with %d pairs", band, v.NonMated)
		}
	}
	rows := r.Comparer("table").ByAge
	if rows[0].Class != "0-2" || rows[0].NonMated != 0 || rows[1].Mated != 2 || rows[1].NonMated != 5 || rows[5].Mated != 0 || rows[5].NonMated != 6 {
		t.Errorf("by age: %+v", rows)
	}
	hard := r.HardestNonMated[0]
	if hard.Score != 9 || hard.A.Name != "c2" || hard.B.Name != "d1" || r.HardestMated[0].Score != 1 {
		t.Errorf("hardest: %+v, %+v", hard, r.HardestMated[0])
	}
}

func TestSidesStandForAges(t *testing.T) {
	photos := []Photo{
		{Name: "a1", Subject: "a", Age: -1, Side: "young"}, {Name: "a2", Subject: "a", Age: -1, Side: "old"},
		{Name: "b1", Subject: "b", Age: -1, Side: "young"}, {Name: "b2", Subject: "b", Age: -1, Side: "old"},
		{Name: "c1", Subject: "c", Age: 30, Side: "young"}, {Name: "c2", Subject: "c", Age: -1, Side: "old"},
	}
	m := run(t, photos, lookup(photos, map[string]float64{"a1 a2": 2, "b1 b2": 1, "a2 b1": 1}), Options{}).Comparers[0]
	if v := m.Verification["child_adult"]; v.Mated != 2 || v.NonMated != 6 { // c1 is 30: an adult whatever its side
		t.Errorf("child_adult: %+v", v)
	}
	for _, band := range []string{"both_under_13", "under_6_over_12", "gap_10_plus"} {
		if v := m.Verification[band]; v.Mated+v.NonMated != 0 {
			t.Errorf("%s needs ages, but has %+v", band, v)
		}
	}
	if f := m.Identification["young_to_old"]; f.Probes != 3 || f.Gallery != 3 || !same64(f.Rank[0].Value, 1./3) {
		t.Errorf("young_to_old: %+v", f)
	}
}

func TestThresholdConvention(t *testing.T) {
	scores := func(of ...float64) (out []pair) {
		for i, s := range of {
			out = append(out, pair{float32(s), int32(i), 0})
		}
		slices.SortFunc(out, higher)
		return out
	}
	upTo := func(n int) (out []float64) {
		for i := 1; i <= n; i++ {
			out = append(out, float64(i))
		}
		return out
	}
	tests := []struct {
		name             string
		mated, nonMated  []float64
		tar, threshold   float64
		tarRare, rareThr float64
	}{
		{"at most two of 200", []float64{10, 198, 199, 250}, upTo(200), 0.5, 198, math.NaN(), math.NaN()},
		{"99 cannot resolve", []float64{10, 198}, upTo(99), math.NaN(), math.NaN(), math.NaN(), math.NaN()},
		{"no mated pairs", nil, upTo(100), math.NaN(), 99, math.NaN(), math.NaN()},
		{"ties count against us", []float64{7, 8}, slices.Repeat([]float64{7}, 100), 0.5, 7, math.NaN(), math.NaN()},
		{"a thousand", []float64{990, 991, 999, 1000}, upTo(1000), 0.75, 990, 0.25, 999},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s set
			v := s.verify(&bandPairs{scores(test.mated...), scores(test.nonMated...), len(test.nonMated)}, bandAll)
			if !same64(v.TAR[0].Value, test.tar) || !same64(v.Threshold[0], test.threshold) || !same64(v.TAR[1].Value, test.tarRare) || !same64(v.Threshold[1], test.rareThr) {
				t.Errorf("TAR %v at %v", v.TAR, v.Threshold)
			}
		})
	}
}

func TestOpenSetByHand(t *testing.T) {
	// Ten searches: somebody else scores 1..10, the subject 9.5 at rank 1 but where told otherwise.
	searches := func(change func(n int, q *search)) (out []search) {
		for n := 1; n <= 10; n++ {
			q := search{searched: true, rank: 1, mated: 9.5, other: float32(n)}
			if change != nil {
				change(n, &q)
			}
			out = append(out, q)
		}
		return out
	}
	tests := []struct {
		name   string
		change func(int, *search)
		fpir   float64
		want   float64
	}{
		{"one of ten may return somebody", nil, 0.1, 0}, // threshold 9
		{"a tie is a miss", func(n int, q *search) { q.mated = 9 }, 0.1, 1},
		{"beyond rank 20", func(n int, q *search) {
			if n <= 3 {
				q.rank = 21
			}
		}, 0.1, 0.3},
		{"not resolved", nil, 0.05, math.NaN()},
		{"without a face: a miss, and no search", func(n int, q *search) {
			if n == 10 {
				*q = search{rank: never, other: float32(math.Inf(-1))}
			}
		}, 0.2, 0.1}, // nine searches, one may: threshold 8
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s set
			all := searches(test.change)
			if got := s.fnir(all, s.openThresholds(all, []float64{test.fpir})[0]).Value; !same64(got, test.want) {
				t.Errorf("FNIR %v, want %v", got, test.want)
			}
		})
	}
}

func TestCalibrationByHand(t *testing.T) {
	ln := math.Log
	tests := []struct {
		name           string
		points         []point
		cllr, min, ece float64
	}{
		{"says nothing", []point{{0, 5, 20}}, 1, 1, 0},
		// Of equal mass, LR 3 holds 3/4 of mated and 1/4 of non-mated pairs, and 1/3 the rest: exactly calibrated.
		{"calibrated", []point{{-ln(3), 1, 30}, {ln(3), 3, 10}}, 0.75*math.Log2(4./3) + 0.25*math.Log2(4), 0.75*math.Log2(4./3) + 0.25*math.Log2(4), 0},
		// The order is wrong: nothing better than saying nothing can be made of it.
		{"upside down", []point{{-ln(3), 3, 10}, {ln(3), 1, 30}}, 0.25*math.Log2(4./3) + 0.75*math.Log2(4), 1, 0.5},
		{"parted but timid", []point{{-ln(3), 0, 7}, {ln(3), 2, 0}}, math.Log2(4. / 3), 0, 0.25},
		{"no mated pairs", []point{{1, 0, 3}}, math.NaN(), math.NaN(), math.NaN()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := calibrate(test.points)
			if !same64(c.Cllr, test.cllr) || !same64(c.MinCllr, test.min) || !same64(c.ECE, test.ece) {
				t.Errorf("Cllr %v, min %v, ECE %v; want %v, %v, %v", c.Cllr, c.MinCllr, c.ECE, test.cllr, test.min, test.ece)
			}
		})
	}
	c := calibrate([]point{{-ln(3), 1, 30}, {ln(3), 3, 10}})
	for _, b := range c.Reliability {
		if b.Mated > 0 && (!same64(b.Stated, b.Empirical) || !(b.From <= b.Stated && b.Stated < b.To)) {
			t.Errorf("bin %+v", b)
		}
	}
}

// someSet is people with faces that are numbers: the nearer, the more alike. Scores are rounded to steps, but for step 0.
func someSet(r *rand.Rand, subjects, photosEach int, dated bool, step float64) ([]Photo, Comparer) {
	var photos []Photo
	var at []float64
	for s := range subjects {
		middle := r.NormFloat64() * 3
		for range 1 + r.IntN(photosEach) {
			p := Photo{Name: fmt.Sprintf("%d.jpg", len(photos)), Subject: fmt.Sprintf("s%d", s), Age: -1}
			if dated && r.IntN(8) > 0 {
				p.Age = float64(r.IntN(600)) / 10
			}
			if r.IntN(10) == 0 {
				p.Problem = "no face was found"
			}
			photos = append(photos, p)
			at = append(at, middle+r.NormFloat64())
		}
	}
	c := Comparer{Name: "metric", LogLR: true}
	c.Pair = func(i, j int) float64 {
		score := 2 - math.Abs(at[i]-at[j])
		if step > 0 {
			score = math.Round(score/step) * step // which makes ties
		}
		return score
	}
	c.Case = func(probe int, of []int) float64 {
		var sum float64
		for _, j := range of {
			sum += c.Pair(probe, j)
		}
		return sum / float64(len(of))
	}
	return photos, c
}

// brute finds the same figures as directly as they are defined.
type brute struct {
	photos []Photo // without distractors, which come last
	c      Comparer
	all    []Photo
}

func (b brute) child(p Photo) bool { return p.Age >= 0 && p.Age < 13 || p.Age < 0 && p.Side == "young" }
func (b brute) adult(p Photo) bool { return p.Age >= 18 || p.Age < 0 && p.Side == "old" }

func (b brute) inBand(band string, p, q Photo) bool {
	dated := p.Age >= 0 && q.Age >= 0
	low, high := min(p.Age, q.Age), max(p.Age, q.Age)
	switch band {
	case "all":
		return true
	case "child_adult":
		return b.child(p) && b.adult(q) || b.adult(p) && b.child(q)
	case "both_under_13":
		return dated && high < 13
	case "under_6_over_12":
		return dated && low < 6 && high >= 13
	case "gap_10_plus":
		return dated && high-low >= 10
	default:
		return dated && high-low >= 20
	}
}

func (b brute) verification(band string) (mated, nonMated []float64) {
	for i, p := range b.photos {
		for j := i + 1; j < len(b.photos); j++ {
			q := b.photos[j]
			if p.Problem != "" || q.Problem != "" || !b.inBand(band, p, q) {
				continue
			}
			if p.Subject == q.Subject {
				mated = append(mated, b.c.Pair(i, j))
			} else {
				nonMated = append(nonMated, b.c.Pair(i, j))
			}
		}
	}
	return mated, nonMated
}

func bruteTAR(mated, nonMated []float64, oneIn int) float64 {
	if len(nonMated) < oneIn || len(mated) == 0 {
		return math.NaN()
	}
	// The lowest threshold among the scores that lets at most N/oneIn non-mated scores be above it.
	thresholds := slices.Clone(nonMated)
	sort.Float64s(thresholds)
	count := func(of []float64, t float64) (n int) {
		for _, s := range of {
			if s > t {
				n++
			}
		}
		return n
	}
	for _, t := range thresholds {
		if count(nonMated, t) <= len(nonMated)/oneIn {
			return float64(count(mated, t)) / float64(len(mated))
		}
	}
	return 0
}

// bruteSearch is how a search ended; rank 0 is never.
type bruteSearch struct {
	probe       int   // its place
	mates       []int // the subject's photos in the gallery, with a face or without
	searched    bool
	rank, crowd int // crowd is the rank with distractors
	own, other  float64
}

// searches returns the search of each probe of a protocol, with photos of c that are distractors.
func (b brute) searches(protocol string, distractors []int) (out []bruteSearch) {
	edge := func(i int, older bool) bool {
		for j, q := range b.photos {
			if q.Subject != b.photos[i].Subject || q.Age < 0 || j == i {
				continue
			}
			if older && q.Age > b.photos[i].Age || !older && q.Age < b.photos[i].Age || q.Age == b.photos[i].Age && j < i {
				return false
			}
		}
		return b.photos[i].Age >= 0
	}
	gallery := func(i, j int) bool {
		switch protocol {
		case "child_to_adult":
			return b.adult(b.photos[j])
		case "adult_to_child_cases":
			return b.child(b.photos[j])
		case "young_to_old":
			return edge(j, true)
		}
		return i != j
	}
	for i, p := range b.photos {
		switch {
		case protocol == "child_to_adult" && !b.child(p), protocol == "adult_to_child_cases" && !b.adult(p), protocol == "young_to_old" && !edge(i, false):
			continue
		}
		bySubject := map[string][]int{}
		var mates []int
		for j, q := range b.photos {
			if gallery(i, j) {
				if protocol == "young_to_old" && q.Subject == p.Subject && q.Age <= p.Age {
					continue
				}
				if q.Subject == p.Subject {
					mates = append(mates, j)
				}
				if q.Problem == "" {
					bySubject[q.Subject] = append(bySubject[q.Subject], j)
				}
			}
		}
		if mates == nil {
			continue
		}
		if p.Problem != "" {
			out = append(out, bruteSearch{probe: i, mates: mates})
			continue
		}
		score := func(of []int) float64 {
			if protocol == "adult_to_child_cases" {
				return b.c.Case(i, of)
			}
			best := math.Inf(-1)
			for _, j := range of {
				best = max(best, b.c.Pair(i, j))
			}
			return best
		}
		q := bruteSearch{probe: i, mates: mates, searched: true, other: math.Inf(-1)}
		for subject, of := range bySubject {
			if subject != p.Subject {
				q.other = max(q.other, score(of))
			}
		}
		if bySubject[p.Subject] != nil {
			q.own, q.rank = score(bySubject[p.Subject]), 1
			for subject, of := range bySubject {
				if subject != p.Subject && score(of) >= q.own {
					q.rank++
				}
			}
			q.crowd = q.rank
			for _, d := range distractors {
				if b.all[d].Problem == "" && score([]int{d}) >= q.own {
					q.crowd++
				}
			}
		}
		out = append(out, q)
	}
	return out
}

// bruteFNIR is the FNIR of some of the searches, with the threshold of all: it tries them from the lowest up.
func bruteFNIR(searches, some []bruteSearch, oneIn int) float64 {
	var others []float64
	for _, q := range searches {
		if q.searched {
			others = append(others, q.other)
		}
	}
	if len(others) < oneIn {
		return math.NaN()
	}
	sort.Float64s(others)
	for _, t := range others {
		returned, missed := 0, 0
		for _, q := range searches {
			if q.searched && q.other > t {
				returned++
			}
		}
		for _, q := range some {
			if q.rank == 0 || q.rank > 20 || q.own <= t {
				missed++
			}
		}
		if returned <= len(others)/oneIn {
			return ratio(missed, len(some))
		}
	}
	return math.NaN()
}

// rows is TAR and FAR of each class at a threshold.
func (b brute) rows(threshold float64, class func(p, q Photo) int, n int) (out []Row) {
	tallies := make([][4]int, n)
	for i, p := range b.photos {
		for j := i + 1; j < len(b.photos); j++ {
			q := b.photos[j]
			if p.Problem != "" || q.Problem != "" || p.Age < 0 || q.Age < 0 {
				continue
			}
			t := &tallies[class(p, q)]
			kind := 0
			if p.Subject != q.Subject {
				kind = 2
			}
			t[kind]++
			if b.c.Pair(i, j) > threshold {
				t[kind+1]++
			}
		}
	}
	for _, t := range tallies {
		out = append(out, Row{Mated: t[0], NonMated: t[2], TAR: ratio(t[1], t[0]), FAR: ratio(t[3], t[2])})
	}
	return out
}

// from is the class of the years, of classes that begin at the edges; -1 for unknown ones.
func from(years float64, edges ...float64) int {
	if years < 0 {
		return -1
	}
	return sort.Search(len(edges), func(i int) bool { return years < edges[i] })
}

// classes are a search's by age, gap and looks, -1 where they are not known.
func (b brute) classes(protocol string, q bruteSearch) (age, gap, looks int) {
	faces := slices.DeleteFunc(slices.Clone(q.mates), func(j int) bool { return b.photos[j].Problem != "" })
	if len(faces) == 0 {
		faces = q.mates
	}
	probe := b.photos[q.probe]
	of, nearest := []Photo{probe}, -1.
	if protocol == "adult_to_child_cases" {
		of = nil
	}
	for _, j := range faces {
		p := b.photos[j]
		if protocol == "adult_to_child_cases" {
			of = append(of, p)
		}
		if away := math.Abs(p.Age - probe.Age); p.Age >= 0 && probe.Age >= 0 && (nearest < 0 || away < nearest) {
			nearest = away
		}
	}
	oldest, looked := -1., -1.
	for _, p := range of {
		oldest = max(oldest, p.Age)
		if p.Problem == "" && p.Looks > 0 {
			looked = max(looked, p.Looks)
		}
	}
	return from(oldest, 3, 6, 9, 13, 18), from(nearest, 2, 5, 10, 20), from(looked, 3, 6, 9, 13, 18)
}

func checkSearchRows(t *rapid.T, b brute, protocol string, f *Identification, searches []bruteSearch) {
	t.Helper()
	dated := slices.ContainsFunc(b.photos, func(p Photo) bool { return p.Age >= 0 })
	for n, rows := range [][]SearchRow{f.ByAge, f.ByGap, f.ByLooks} {
		if want := map[bool]int{false: 0, true: []int{6, 5, 6}[n]}[dated == (n < 2)]; len(rows) != want {
			t.Fatalf("%s: %d rows of breakdown %d, want %d", protocol, len(rows), n, want)
		}
		for class, row := range rows {
			var of []bruteSearch
			for _, q := range searches {
				age, gap, looks := b.classes(protocol, q)
				if []int{age, gap, looks}[n] == class {
					of = append(of, q)
				}
			}
			if row.Probes != len(of) || len(row.FNIR) != len(f.FNIR) {
				t.Fatalf("%s: row %+v, want %d probes", protocol, row, len(of))
			}
			for k, r := range Ranks() {
				hits := 0
				for _, q := range of {
					if q.rank > 0 && q.rank <= r {
						hits++
					}
				}
				if want := ratio(hits, len(of)); !same64(row.Rank[k].Value, want) {
					t.Fatalf("%s: row %s of breakdown %d: rank %d %v, want %v", protocol, row.Class, n, r, row.Rank[k].Value, want)
				}
			}
			for i := range row.FNIR {
				if want := bruteFNIR(searches, of, []int{100, 10}[i]); !same64(row.FNIR[i].FNIR.Value, want) {
					t.Fatalf("%s: row %s of breakdown %d: FNIR %v, want %v", protocol, row.Class, n, row.FNIR[i].FNIR.Value, want)
				}
			}
		}
	}
}

func TestStreamingIsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		photos, c := someSet(r, rapid.IntRange(4, 25).Draw(t, "subjects"), 6, rapid.Bool().Draw(t, "dated"), 0.5)
		if rapid.Bool().Draw(t, "sided") {
			for i := range photos {
				if photos[i].Age < 0 {
					photos[i].Side = []string{"young", "old", ""}[r.IntN(3)]
				}
			}
		}
		for i := range photos {
			photos[i].Looks = max(0, float64(r.IntN(300))/10-1) // 0 is no estimate
		}
		all, distractors := photos, []int(nil)
		for n := rapid.IntRange(0, 5).Draw(t, "distractors"); n > 0; n-- {
			distractors = append(distractors, len(photos)-1)
			photos = photos[:len(photos)-1]
		}
		o := Options{Distractors: distractors}
		s, err := newSet(all, labelledPlaces(all, distractors), o, 0)
		if errors.Is(err, ErrTooFew) {
			t.Skip("too few")
		}
		if err != nil {
			t.Fatal(err)
		}
		// Both with all non-mated pairs kept and with as few as FAR 1 % needs.
		for _, keep := range []int{keepPairs, rapid.IntRange(1, 50).Draw(t, "keep")} {
			result, err := s.run(context.Background(), []Comparer{c}, o, keep)
			if err != nil {
				t.Fatal(err)
			}
			m, b := result.Comparers[0], brute{photos, c, all}
			for _, band := range Bands() {
				mated, nonMated := b.verification(band)
				v := m.Verification[band]
				if v.Mated != len(mated) || v.NonMated != len(nonMated) {
					t.Fatalf("%s: %d mated, %d non-mated, want %d, %d", band, v.Mated, v.NonMated, len(mated), len(nonMated))
				}
				for k, oneIn := range FARs() {
					if want := bruteTAR(mated, nonMated, oneIn); !same64(v.TAR[k].Value, want) {
						t.Fatalf("%s: TAR at 1 in %d is %v, want %v", band, oneIn, v.TAR[k].Value, want)
					}
				}
				if len(mated) > 0 && len(nonMated) > 0 {
					var of [2]float64
					for _, x := range mated {
						of[0] += math.Log2(1+math.Exp(-x)) / float64(len(mated))
					}
					for _, x := range nonMated {
						of[1] += math.Log2(1+math.Exp(x)) / float64(len(nonMated))
					}
					got := m.Calibration[band]
					// Where pairs were dropped, histogram bins stand for them.
					if tolerance := map[bool]float64{true: 1e-9, false: 2e-3}[keep == keepPairs]; math.Abs(got.Cllr-(of[0]+of[1])/2) > tolerance {
						t.Fatalf("%s: Cllr %v, want %v", band, got.Cllr, (of[0]+of[1])/2)
					}
					if got.MinCllr > got.Cllr+1e-9 || got.MinCllr > 1+1e-9 {
						t.Fatalf("%s: min Cllr %v above Cllr %v or 1", band, got.MinCllr, got.Cllr)
					}
				}
			}
			if mated, nonMated := b.verification("all"); len(nonMated) >= 1000 {
				threshold := m.Verification["all"].Threshold[1]
				if got := bruteTAR(mated, nonMated, 1000); len(mated) > 0 && !same64(got, m.Verification["all"].TAR[1].Value) {
					t.Fatalf("TAR %v", got)
				}
				check := func(got, want []Row) {
					for i := range want {
						g, w := got[i], want[i]
						if g.Mated != w.Mated || g.NonMated != w.NonMated || !same64(g.TAR, w.TAR) || !same64(g.FAR, w.FAR) {
							t.Fatalf("row %+v, want %+v", g, w)
						}
					}
				}
				check(m.ByAge, b.rows(threshold, func(p, q Photo) int {
					younger := min(p.Age, q.Age)
					for i, from := range []float64{3, 6, 9, 13, 18} {
						if younger < from {
							return i
						}
					}
					return 5
				}, 6))
				check(m.ByGap, b.rows(threshold, func(p, q Photo) int {
					for i, from := range []float64{2, 5, 10, 20} {
						if math.Abs(p.Age-q.Age) < from {
							return i
						}
					}
					return 4
				}, 5))
			}
			for _, protocol := range Protocols() {
				if protocol == "young_to_old" && slices.ContainsFunc(photos, func(p Photo) bool { return p.Side != "" }) {
					continue // by hand in TestSidesStandForAges
				}
				searches := b.searches(protocol, distractors)
				f := m.Identification[protocol]
				if f.Probes != len(searches) {
					t.Fatalf("%s: %d probes, want %d", protocol, f.Probes, len(searches))
				}
				for k, r := range Ranks() {
					n, crowd := 0, 0
					for _, q := range searches {
						if q.rank > 0 && q.rank <= r {
							n++
						}
						if q.crowd > 0 && q.crowd <= r {
							crowd++
						}
					}
					if want := ratio(n, len(searches)); !same64(f.Rank[k].Value, want) || !same64(f.CMC[r-1], want) {
						t.Fatalf("%s: rank %d %v, want %v", protocol, r, f.Rank[k].Value, want)
					}
					if want := ratio(crowd, len(searches)); f.WithDistractors != nil && !same64(f.WithDistractors.Rank[k].Value, want) {
						t.Fatalf("%s: rank %d with distractors %v, want %v", protocol, r, f.WithDistractors.Rank[k].Value, want)
					}
				}
				for i, oneIn := range []int{100, 10} {
					if want := bruteFNIR(searches, searches, oneIn); len(f.FNIR) > 0 && !same64(f.FNIR[i].FNIR.Value, want) {
						t.Fatalf("%s: FNIR at FPIR 1 in %d is %v, want %v", protocol, oneIn, f.FNIR[i].FNIR.Value, want)
					}
				}
				checkSearchRows(t, b, protocol, f, searches)
			}
		}
	})
}

// TestResamplesWeighPairs checks the sums that resampling takes a short way to, and the figures of a resample, against all pairs.
func TestResamplesWeighPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		photos, c := someSet(r, rapid.IntRange(8, 25).Draw(t, "subjects"), 6, true, 0.5)
		s, err := newSet(photos, labelledPlaces(photos, nil), Options{Bootstrap: 3, Seed: 7}, 0)
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
		for band, name := range Bands() {
			draws := s.drawVerification(&sc.bands[band], band)
			for n := range 3 {
				times := s.resamples.times[n]
				var mated, nonMated []float64
				for i, p := range photos {
					for j := i + 1; j < len(photos); j++ {
						q := photos[j]
						if p.Problem != "" || q.Problem != "" || !(brute{}).inBand(name, p, q) {
							continue
						}
						a, b := int(times[s.traits[i].subject]), int(times[s.traits[j].subject])
						if p.Subject == q.Subject {
							mated = append(mated, slices.Repeat([]float64{c.Pair(i, j)}, a)...)
						} else {
							nonMated = append(nonMated, slices.Repeat([]float64{c.Pair(i, j)}, a*b)...)
						}
					}
				}
				if got := s.resamples.mated[n][band]; got != int64(len(mated)) {
					t.Fatalf("%s: %d mated, want %d", name, got, len(mated))
				}
				if got := s.resamples.nonMated[n][band]; got != int64(len(nonMated)) {
					t.Fatalf("%s: %d non-mated, want %d", name, got, len(nonMated))
				}
				for k, oneIn := range FARs() {
					if want := bruteTAR(mated, nonMated, oneIn); !same64(draws[k][n], want) {
						t.Fatalf("%s: TAR at 1 in %d is %v, want %v", name, oneIn, draws[k][n], want)
					}
				}
			}
		}
	})
}

func TestSameSeedSameReport(t *testing.T) {
	photos, c := someSet(rand.New(rand.NewPCG(1, 1)), 30, 6, true, 0.5)
	write := func(seed uint64) string {
		var out bytes.Buffer
		r := run(t, photos, c, Options{Seed: seed, Bootstrap: 50, Distractors: []int{3, 4, 5}})
		if err := r.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteHTML(&out, HTMLOptions{}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if first, again := write(1), write(1); first != again {
		t.Error("two runs with one seed differ")
	}
	if write(1) == write(2) {
		t.Error("the seed changes nothing")
	}
}

func TestIntervalsHoldTheFigure(t *testing.T) {
	photos, c := someSet(rand.New(rand.NewPCG(3, 1)), 60, 6, true, 0)
	m := run(t, photos, c, Options{Seed: 1, Bootstrap: 200}).Comparers[0]
	for _, f := range []Figure{m.Verification["all"].TAR[0], m.Identification["leave_one_out"].Rank[0], m.Identification["child_to_adult"].FNIR[1].FNIR} {
		if !(f.Low <= f.Value && f.Value <= f.High) || f.Value < 1 && f.Low == f.High {
			t.Errorf("%v is not within %v to %v", f.Value, f.Low, f.High)
		}
	}
}

func TestFolds(t *testing.T) {
	photos, c := someSet(rand.New(rand.NewPCG(5, 1)), 40, 6, true, 0.5)
	folds := Folds(photos, 4)
	count := map[int]int{}
	for _, f := range folds {
		count[f]++
	}
	if len(folds) != 40 || count[0] != 10 || count[3] != 10 {
		t.Fatalf("folds %v", count)
	}
	reversed := slices.Clone(photos)
	slices.Reverse(reversed)
	for subject, f := range Folds(reversed, 4) {
		if folds[subject] != f {
			t.Fatal("a fold depends on the order of photos")
		}
	}

	distractor := len(photos)
	photos = append(photos, Photo{Name: "x", Subject: "x", Age: -1})
	inner := c.Pair
	c.Pair = func(i, j int) float64 {
		if max(i, j) == distractor {
			return -9
		}
		return inner(i, j)
	}
	c.Case = func(probe int, of []int) float64 { return c.Pair(probe, of[0]) }
	var fitted []int
	o := Options{Seed: 1, Bootstrap: 20, Distractors: []int{distractor}}
	r, err := RunFolds(context.Background(), photos, 4, func(_ context.Context, fold int, train []int) ([]Comparer, error) {
		fitted = append(fitted, fold)
		seen := c
		seen.Pair = func(i, j int) float64 {
			if slices.Contains(train, i) || slices.Contains(train, j) {
				t.Errorf("fold %d is measured on photos it was fitted on", fold)
			}
			return c.Pair(i, j)
		}
		for _, i := range train {
			if folds[photos[i].Subject] == fold || i == distractor {
				t.Errorf("fold %d is fitted on %s", fold, photos[i].Name)
			}
		}
		return []Comparer{seen}, nil
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fitted, []int{0, 1, 2, 3}) || len(r.Folds) != 4 {
		t.Errorf("fitted %v", fitted)
	}
	var tar, rank, probes float64
	mated := 0
	for _, f := range r.Folds {
		m := f.Comparers[0]
		tar += m.Verification["all"].TAR[0].Value / 4
		q := m.Identification["leave_one_out"]
		rank += q.Rank[0].Value * float64(q.Probes)
		probes += float64(q.Probes)
		mated += m.Verification["all"].Mated
	}
	m := r.Comparers[0]
	if v := m.Verification["all"]; !same64(v.TAR[0].Value, tar) || v.Mated != mated || math.IsNaN(v.TAR[0].Low) {
		t.Errorf("TAR %+v, want %v of %d", v, tar, mated)
	}
	if q := m.Identification["leave_one_out"]; !same64(q.Rank[0].Value, rank/probes) || q.Probes != int(probes) || q.WithDistractors.Distractors != 1 {
		t.Errorf("rank 1 %+v, want %v", q.Rank[0], rank/probes)
	}
	for k, row := range m.Identification["leave_one_out"].ByAge {
		var rank, probes float64
		for _, f := range r.Folds {
			if q := f.Comparers[0].Identification["leave_one_out"].ByAge[k]; q.Probes > 0 {
				rank += q.Rank[0].Value * float64(q.Probes)
				probes += float64(q.Probes)
			}
		}
		if row.Class != ageClasses[k].Name || row.Probes != int(probes) || !same64(row.Rank[0].Value, rank/probes) {
			t.Errorf("row %s: %d probes, rank 1 %v, want %v, %v", row.Class, row.Probes, row.Rank[0].Value, probes, rank/probes)
		}
	}
	if len(r.WithoutFace) != r.Set.WithoutFace || len(r.HardestMated) != hardestCount {
		t.Errorf("%d without a face listed, of %d; %d hardest", len(r.WithoutFace), r.Set.WithoutFace, len(r.HardestMated))
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	photos, c := family()
	ctx := context.Background()
	with := func(change func(c *Comparer)) Comparer {
		d := c
		change(&d)
		return d
	}
	tests := []struct {
		name      string
		photos    []Photo
		comparers []Comparer
		o         Options
		want      string
	}{
		{"one subject", photos[:3], []Comparer{c}, Options{}, "1 of 1 subjects have two photos with a face"},
		{"no comparer", photos, nil, Options{}, "at least one comparer"},
		{"same names", photos, []Comparer{c, c}, Options{}, "two comparers are named table"},
		{"NaN", photos, []Comparer{with(func(c *Comparer) { c.Pair = func(i, j int) float64 { return math.NaN() } })}, Options{}, "comparer table gives NaN for a1 and a2"},
		{"infinite", photos, []Comparer{with(func(c *Comparer) { c.Pair = func(i, j int) float64 { return math.Inf(-1) } })}, Options{}, "gives -Inf for a1 and a2"},
		{"NaN case", photos, []Comparer{with(func(c *Comparer) { c.Case = func(int, []int) float64 { return math.NaN() } })}, Options{}, "the case of "},
		{"no such distractor", photos, []Comparer{c}, Options{Distractors: []int{99}}, "distractor 99"},
		{"side", []Photo{{Name: "a", Subject: "a", Side: "left"}}, []Comparer{c}, Options{}, "use young, old or nothing"},
		{"no subject", []Photo{{Name: "a"}}, []Comparer{c}, Options{}, "no subject"},
		{"FPIR", photos, []Comparer{c}, Options{FPIR: []float64{2}}, "between 0 and 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Run(ctx, test.photos, test.comparers, test.o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if _, err := Run(ctx, photos[:3], []Comparer{c}, Options{}); !errors.Is(err, ErrTooFew) {
		t.Errorf("%v is not ErrTooFew", err)
	}
	if _, err := RunFolds(ctx, photos, 2, nil, Options{}); !errors.Is(err, ErrTooFew) || !strings.Contains(err.Error(), "use fewer folds") {
		t.Errorf("folds: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Run(ended, photos, []Comparer{c}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

// TestNamesInJSON keeps the names: others read them.
func TestNamesInJSON(t *testing.T) {
	photos, c := someSet(rand.New(rand.NewPCG(9, 1)), 40, 6, true, 0.5)
	raw := c
	raw.Name, raw.LogLR = "raw_fused", false
	result, err := RunFolds(context.Background(), photos, 2, func(context.Context, int, []int) ([]Comparer, error) { return []Comparer{c, raw}, nil },
		Options{Set: "numbers", Bootstrap: 5, Distractors: []int{0}, FPIR: []float64{0.25}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := result.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(out.Bytes(), &value); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				if strings.HasSuffix(k, "_ci") {
					inner = nil // or an interval
				}
				walk(at+"."+k, inner)
			}
		case []any:
			for _, inner := range v {
				walk(at+"[]", inner)
			}
			if len(v) == 0 {
				names[at+"[]"] = true
			}
		default:
			names[at] = true
		}
	}
	walk("", value)
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	got := strings.Join(sorted, "\n") + "\n"
	path := filepath.Join("testdata", "names.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the names in the JSON changed; others read them. If that is meant, raise formatVersion and run go test -update.\n%s", got)
	}
}

func BenchmarkThousandPhotos(b *testing.B) {
	photos, c := someSet(rand.New(rand.NewPCG(9, 1)), 82, 24, true, 0)
	b.Logf("%d photos", len(photos))
	for b.Loop() {
		if _, err := Run(context.Background(), photos, []Comparer{c}, Options{Bootstrap: 1000}); err != nil {
			b.Fatal(err)
		}
	}
}
