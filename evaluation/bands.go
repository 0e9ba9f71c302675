package evaluation

import (
	"math"
	"slices"
)

// Bands names the verification bands, in the order of reports. They say which pairs count: all of them; both subjects under 13;
// a child (under 13) and an adult (18 or older); one under 6 and one of 13 or older; 10, and 20, years or more between them. A photo whose age is
// not known counts as a child or an adult by its side, young or old, and belongs to no band that needs ages.
func Bands() []string {
	return []string{"all", "both_under_13", "child_adult", "under_6_over_12", "gap_10_plus", "gap_20_plus"}
}

const (
	bandAll = iota
	bandUnder13
	bandChildAdult
	band6To12
	bandGap10
	bandGap20
	bandCount
)

// bandsOf is the set of bands a pair is in, a bit for each.
func bandsOf(a, b *trait) uint8 {
	in := uint8(1 << bandAll)
	if a.child && b.adult || a.adult && b.child {
		in |= 1 << bandChildAdult
	}
	if !a.dated || !b.dated {
		return in
	}
	if a.under13 && b.under13 {
		in |= 1 << bandUnder13
	}
	if a.under6 && b.from13 || a.from13 && b.under6 {
		in |= 1 << band6To12
	}
	if gap := math.Abs(a.age - b.age); gap >= 10 {
		in |= 1 << bandGap10
		if gap >= 20 {
			in |= 1 << bandGap20
		}
	}
	return in
}

// weigher sums the weights of all pairs of a band without going through them: resampling needs it a thousand times.
type weigher struct {
	traits []trait
	faces  []int // places of photos with a face
	byAge  []int // those with an age too, youngest first
}

func newWeigher(traits []trait) *weigher {
	w := &weigher{traits: traits}
	for i, t := range traits {
		if t.face {
			w.faces = append(w.faces, i)
			if t.dated {
				w.byAge = append(w.byAge, i)
			}
		}
	}
	slices.SortStableFunc(w.byAge, func(i, j int) int {
		switch {
		case traits[i].age < traits[j].age:
			return -1
		case traits[i].age > traits[j].age:
			return 1
		}
		return 0
	})
	return w
}

// totals is, for each band, the sum over its unordered pairs, mated and non-mated, of the product of their subjects' weights.
func (w *weigher) totals(weight []int64) (out [bandCount]int64) {
	var all, allSq, u13, u13Sq, child, adult, u6, f13 int64
	for _, i := range w.faces {
		t := &w.traits[i]
		m := weight[t.subject]
		all += m
		allSq += m * m
		if t.under13 {
			u13 += m
			u13Sq += m * m
		}
		if t.under6 {
			u6 += m
		}
		if t.from13 {
			f13 += m
		}
		if t.child {
			child += m
		}
		if t.adult {
			adult += m
		}
	}
	out[bandAll] = (all*all - allSq) / 2
	out[bandUnder13] = (u13*u13 - u13Sq) / 2
	out[bandChildAdult] = child * adult
	out[band6To12] = u6 * f13
	for band, least := range map[int]float64{bandGap10: 10, bandGap20: 20} {
		var younger int64
		p := 0
		for _, i := range w.byAge {
			for w.traits[i].age-w.traits[w.byAge[p]].age >= least {
				younger += weight[w.traits[w.byAge[p]].subject]
				p++
			}
			out[band] += younger * weight[w.traits[i].subject]
		}
	}
	return out
}
