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

// openThreshold is where a protocol's searches return somebody who is not there with a rate: over all of them and in each resample, NaN
// where that is not resolved.
type openThreshold struct {
	rate, at float64
	draws    []float64
}

func (s *set) openThresholds(searches []search, fpir []float64) []openThreshold {
	ordered := slices.Clone(searches)
	byOther(ordered)
	var out []openThreshold
	for _, rate := range fpir {
		t := openThreshold{rate, thresholdAt(ordered, rate, once), s.newDraws()}
		s.eachResample(func(b int, times []uint16) {
			t.draws[b] = thresholdAt(ordered, rate, func(q search) int { return int(times[s.traits[q.probe].subject]) })
		})
		out = append(out, t)
	}
	return out
}

// once counts each search as one.
func once(search) int { return 1 }

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

// thresholdAt is the threshold at the rate, each search counting times its weight. Searches come ordered by byOther.
func thresholdAt(ordered []search, fpir float64, weight func(search) int) float64 {
	searched := 0
	for _, q := range ordered {
		if q.searched {
			searched += weight(q)
		}
	}
	k := int(fpir*float64(searched) + 1e-9) // 0.07·100 is a little more than 7
	if k < 1 {
		return math.NaN()
	}
	seen := 0
	for _, q := range ordered {
		if !q.searched {
			continue
		}
		if seen += weight(q); seen > k {
			return float64(q.other)
		}
	}
	return math.Inf(-1)
}

// fnir is FNIR of searches, all of the protocol's or some, at the protocol's threshold; in a resample, at the threshold that the resample gives.
func (s *set) fnir(searches []search, t openThreshold) Figure {
	draws := s.newDraws()
	s.eachResample(func(b int, times []uint16) {
		draws[b] = missed(searches, t.draws[b], func(q search) int { return int(times[s.traits[q.probe].subject]) })
	})
	return newFigure(missed(searches, t.at, once), draws)
}

// missed is the share of searches that do not return the probe's subject; NaN where the threshold is.
func missed(searches []search, threshold float64, weight func(search) int) float64 {
	if math.IsNaN(threshold) {
		return math.NaN()
	}
	some, all := 0, 0
	for _, q := range searches {
		all += weight(q)
		if !(q.searched && q.rank <= openSetRank && float64(q.mated) > threshold) {
			some += weight(q)
		}
	}
	return ratio(some, all)
}
