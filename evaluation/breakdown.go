package evaluation

import "math"

// class is a range of years in a breakdown.
type class struct {
	Name string
	From float64 // inclusive; it ends where the next begins
}

// ageClasses are for the younger photo of a pair, gapClasses for the years between both. Searches are broken down by them too.
var (
	ageClasses = []class{{"0-2", 0}, {"3-5", 3}, {"6-8", 6}, {"9-12", 9}, {"13-17", 13}, {"18+", 18}}
	gapClasses = []class{{"0-1", 0}, {"2-4", 2}, {"5-9", 5}, {"10-19", 10}, {"20+", 20}}
)

func classOf(classes []class, years float64) int8 {
	c := 0
	for c+1 < len(classes) && years >= classes[c+1].From {
		c++
	}
	return int8(c)
}

// Row is one line of a breakdown: what the threshold that gives FAR 0.1 % over all pairs does to the pairs of a class.
type Row struct {
	Class           string // years, as "3-5"
	Mated, NonMated int    // pairs
	TAR             float64
	FAR             float64 // realised
	Cllr            float64 // bits; see Calibration
}

// tally counts the pairs of a class.
type tally struct {
	mated                           int
	matedAccepted, nonMatedAccepted int
	matedCost, nonMatedCost         float64
}

// breakdown sorts pairs into classes by age of the younger and by gap.
type breakdown struct{ byAge, byGap []tally }

// breakDown works on the pairs of band all. Counts of non-mated pairs come from the set, because only the highest may be kept.
func breakDown(s *set, p *bandPairs, threshold float64, logLR bool) (byAge, byGap []Row) {
	b := breakdown{make([]tally, len(ageClasses)), make([]tally, len(gapClasses))}
	add := func(q pair, mated bool) {
		a, c := &s.traits[q.a], &s.traits[q.b]
		if !a.dated || !c.dated {
			return
		}
		accepted := float64(q.score) > threshold // never where the threshold is NaN
		for _, t := range []*tally{&b.byAge[min(a.ageClass, c.ageClass)], &b.byGap[classOf(gapClasses, math.Abs(a.age-c.age))]} {
			switch {
			case mated:
				t.mated++
				t.matedCost += cost(-float64(q.score))
				if accepted {
					t.matedAccepted++
				}
			default:
				t.nonMatedCost += cost(float64(q.score))
				if accepted {
					t.nonMatedAccepted++
				}
			}
		}
	}
	for _, q := range p.mated {
		add(q, true)
	}
	for _, q := range p.top {
		add(q, false)
	}
	exact := logLR && len(p.top) == p.nonMated
	rows := func(classes []class, tallies []tally, nonMated []int) []Row {
		out := make([]Row, len(classes))
		for i, t := range tallies {
			r := Row{Class: classes[i].Name, Mated: t.mated, NonMated: nonMated[i], TAR: math.NaN(), FAR: math.NaN(), Cllr: math.NaN()}
			if !math.IsNaN(threshold) {
				r.TAR, r.FAR = ratio(t.matedAccepted, t.mated), ratio(t.nonMatedAccepted, r.NonMated)
			}
			if exact && t.mated > 0 && r.NonMated > 0 {
				r.Cllr = (t.matedCost/float64(t.mated) + t.nonMatedCost/float64(r.NonMated)) / 2
			}
			out[i] = r
		}
		return out
	}
	return rows(ageClasses, b.byAge, s.nonMatedByAge), rows(gapClasses, b.byGap, s.nonMatedByGap)
}

// ratio is NaN over nothing.
func ratio(some, all int) float64 {
	if all == 0 {
		return math.NaN()
	}
	return float64(some) / float64(all)
}
