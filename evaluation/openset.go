package evaluation

import (
	"math"
	"slices"
)

// openSetRank is how far down a list of candidates an examiner looks.
const openSetRank = 20

// OpenSet is how often a search misses somebody who is in the gallery, at the threshold where a search for somebody who is not
// returns anybody with rate FPIR (ISO/IEC 19795-1). Searches for somebody who is not there are the same probes with
// their own subject taken out of the gallery; those without a face were no searches, and do not count among them. A miss
// is a probe whose subject does not score above the threshold or is not among the first 20.
type OpenSet struct {
	FPIR float64
	FNIR Figure
}

func (s *set) openSet(searches []search, fpir []float64) []OpenSet {
	ordered := slices.Clone(searches)
	byOther(ordered)
	var out []OpenSet
	for _, rate := range fpir {
		value := fnir(ordered, rate, func(search) int { return 1 })
		out = append(out, OpenSet{rate, newFigure(value, s.drawFNIR(searches, rate))})
	}
	return out
}

// byOther puts the searches that score somebody else highest first.
func byOther(searches []search) {
	slices.SortStableFunc(searches, func(p, q search) int {
		switch {
		case p.other > q.other:
			return -1
		case p.other < q.other:
			return 1
		}
		return 0
	})
}

// fnir is FNIR at the rate, each search counting times its weight. Searches come ordered by byOther.
func fnir(ordered []search, fpir float64, weight func(search) int) float64 {
	searched, all := 0, 0
	for _, q := range ordered {
		all += weight(q)
		if q.searched {
			searched += weight(q)
		}
	}
	k := int(fpir*float64(searched) + 1e-9) // 0.07·100 is a little more than 7
	if k < 1 {
		return math.NaN()
	}
	threshold, seen := float32(math.Inf(-1)), 0
	for _, q := range ordered {
		if !q.searched {
			continue
		}
		if seen += weight(q); seen > k {
			threshold = q.other
			break
		}
	}
	missed := 0
	for _, q := range ordered {
		if !(q.searched && q.rank <= openSetRank && q.mated > threshold) {
			missed += weight(q)
		}
	}
	return ratio(missed, all)
}
