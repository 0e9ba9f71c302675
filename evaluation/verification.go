package evaluation

import "math"

// FARs are the false accept rates at which TAR is given, as one in so many.
func FARs() [3]int { return [3]int{100, 1000, 10000} }

const rateCount = 3

// Verification says how well pairs of one band are told apart.
type Verification struct {
	// TAR is the share of mated pairs accepted where one in FARs() of the band's own non-mated pairs is.
	TAR [rateCount]Figure
	// Threshold is the score above which a pair is then accepted.
	Threshold       [rateCount]float64
	Mated, NonMated int // pairs, unordered
}

// pair is a scored pair of photos, by their places in a set.
type pair struct {
	score float32
	a, b  int32
}

// higher orders pairs: the most alike first, and always the same way.
func higher(p, q pair) int {
	switch {
	case p.score > q.score:
		return -1
	case p.score < q.score:
		return 1
	case p.a != q.a:
		return int(p.a - q.a)
	}
	return int(p.b - q.b)
}

// bandPairs are the pairs of one band: mated all, non-mated those that score highest, both highest first.
type bandPairs struct {
	mated, top []pair
	nonMated   int // all of them
}

// verify finds the figures of a band.
func (s *set) verify(p *bandPairs, band int) *Verification {
	v := &Verification{Mated: len(p.mated), NonMated: p.nonMated}
	draws := s.drawVerification(p, band)
	for r, oneIn := range FARs() {
		tar := math.NaN()
		v.Threshold[r] = math.NaN()
		if k := p.nonMated / oneIn; k >= 1 {
			v.Threshold[r] = float64(p.top[k].score)
			tar = ratio(above(p.mated, p.top[k].score), len(p.mated))
		}
		v.TAR[r] = newFigure(tar, draws[r])
	}
	return v
}

// above counts the scores strictly above a threshold.
func above(sorted []pair, threshold float32) int {
	n := 0
	for n < len(sorted) && sorted[n].score > threshold {
		n++
	}
	return n
}
