package evaluation

import (
	"math"
	"slices"
)

// Calibration says how far stated likelihood ratios can be believed.
//
// Cllr is the cost of log-likelihood ratios in bits, over mated and non-mated pairs alike (Brümmer & du Preez 2006, "Application-
// independent evaluation of speaker detection"): 0 is perfect, 1 is what saying nothing costs, more than 1 misleads. MinCllr is what is
// left once the scores are mapped, in their order, to the best ratios there are for this very set (pool adjacent violators): how well
// they tell pairs apart. The difference is lost to calibration.
type Calibration struct {
	Cllr, MinCllr float64
	// ECE is the expected calibration error: how far the stated probability of being mated, where mated and non-mated pairs are as
	// likely beforehand, is from the share that is, on average over bins of Reliability. From 0 to 1.
	ECE         float64
	Reliability []Reliability
}

// Reliability is one bin of stated log-likelihood ratios, base 10.
type Reliability struct {
	From, To        float64 // of the bin; infinite at the ends
	Mated, NonMated int     // pairs
	Stated          float64 // the mean of what was stated, mated and non-mated pairs having equal weight as wholes
	Empirical       float64 // log10 of the bin's share of mated pairs over its share of non-mated ones; NaN where either is none

	matedSum, nonMatedSum   float64 // of stated ratios
	matedProb, nonMatedProb float64 // of stated probabilities
}

const (
	reliabilityFrom = -6.0 // log10 LR; the first bin is everything below
	reliabilityTo   = 6.0
	reliabilityStep = 0.5
)

// point is a score with the pairs that have it.
type point struct {
	score           float64 // ln LR
	mated, nonMated int
}

// points are all scores of a band, lowest first. Where not all non-mated pairs were kept, the bins of the histogram stand for
// those that were not.
func points(p *bandPairs, nonMated *histogram) []point {
	var out []point
	if rest := p.nonMated - len(p.top); rest > 0 {
		left := slices.Clone(nonMated.bins)
		for _, q := range p.top {
			left[nonMated.place(float64(q.score))]--
		}
		for bin, n := range left {
			if n > 0 {
				out = append(out, point{nonMated.centre(bin), 0, n})
			}
		}
	}
	for _, q := range p.top {
		out = append(out, point{float64(q.score), 0, 1})
	}
	for _, q := range p.mated {
		out = append(out, point{float64(q.score), 1, 0})
	}
	slices.SortFunc(out, func(a, b point) int {
		switch {
		case a.score < b.score:
			return -1
		case a.score > b.score:
			return 1
		}
		return 0
	})
	merged := out[:0]
	for _, q := range out {
		if n := len(merged); n > 0 && merged[n-1].score == q.score {
			merged[n-1].mated += q.mated
			merged[n-1].nonMated += q.nonMated
		} else {
			merged = append(merged, q)
		}
	}
	return merged
}

// cost is log2(1 + e^x): what a log-likelihood ratio of x in the wrong direction costs, in bits.
func cost(x float64) float64 {
	return (max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))) / math.Ln2
}

// calibrate measures the points of a band, lowest first. Without mated or without non-mated pairs nothing can be said.
func calibrate(all []point) *Calibration {
	mated, nonMated := 0, 0
	for _, q := range all {
		mated += q.mated
		nonMated += q.nonMated
	}
	c := &Calibration{Cllr: math.NaN(), MinCllr: math.NaN(), ECE: math.NaN()}
	if mated == 0 || nonMated == 0 {
		return c
	}
	var matedCost, nonMatedCost float64
	bins := newReliability()
	for _, q := range all {
		m, n := float64(q.mated), float64(q.nonMated)
		matedCost += m * cost(-q.score)
		nonMatedCost += n * cost(q.score)
		stated := q.score / math.Ln10
		probability := 1 / (1 + math.Exp(-q.score))
		b := &bins[reliabilityBin(stated)]
		b.Mated += q.mated
		b.NonMated += q.nonMated
		b.matedSum += m * stated
		b.nonMatedSum += n * stated
		b.matedProb += m * probability
		b.nonMatedProb += n * probability
	}
	c.Cllr = (matedCost/float64(mated) + nonMatedCost/float64(nonMated)) / 2
	c.MinCllr = minCllr(all, float64(mated), float64(nonMated))
	c.Reliability = bins
	c.settle()
	return c
}

func newReliability() []Reliability {
	n := int((reliabilityTo - reliabilityFrom) / reliabilityStep)
	out := make([]Reliability, n+2)
	for i := range out {
		out[i].From = reliabilityFrom + float64(i-1)*reliabilityStep
		out[i].To = out[i].From + reliabilityStep
	}
	out[0].From, out[n+1].To = math.Inf(-1), math.Inf(1)
	return out
}

func reliabilityBin(stated float64) int {
	n := int((reliabilityTo - reliabilityFrom) / reliabilityStep)
	return max(0, min(n+1, 1+int(math.Floor((stated-reliabilityFrom)/reliabilityStep))))
}

// settle finds what follows from the bins' counts and sums.
func (c *Calibration) settle() {
	var mated, nonMated float64
	for _, b := range c.Reliability {
		mated += float64(b.Mated)
		nonMated += float64(b.NonMated)
	}
	c.ECE = 0
	for i := range c.Reliability {
		b := &c.Reliability[i]
		b.Stated, b.Empirical = math.NaN(), math.NaN()
		m, n := float64(b.Mated)/mated, float64(b.NonMated)/nonMated
		if m+n == 0 {
			continue
		}
		b.Stated = (b.matedSum/mated + b.nonMatedSum/nonMated) / (m + n)
		if m > 0 && n > 0 {
			b.Empirical = math.Log10(m / n)
		}
		probability := (b.matedProb/mated + b.nonMatedProb/nonMated) / (m + n)
		c.ECE += (m + n) / 2 * math.Abs(probability-m/(m+n))
	}
}

// minCllr pools adjacent violators: neighbouring scores are joined until the share of mated pairs only rises. Both kinds count
// as much as the other.
func minCllr(all []point, mated, nonMated float64) float64 {
	type block struct{ mated, nonMated float64 }
	var blocks []block
	for _, q := range all {
		blocks = append(blocks, block{float64(q.mated) / mated, float64(q.nonMated) / nonMated})
		for n := len(blocks); n > 1 && blocks[n-2].mated*blocks[n-1].nonMated >= blocks[n-1].mated*blocks[n-2].nonMated; n-- {
			blocks[n-2].mated += blocks[n-1].mated
			blocks[n-2].nonMated += blocks[n-1].nonMated
			blocks = blocks[:n-1]
		}
	}
	var sum float64
	for _, b := range blocks {
		if b.mated > 0 {
			sum += b.mated * math.Log2(1+b.nonMated/b.mated)
		}
		if b.nonMated > 0 {
			sum += b.nonMated * math.Log2(1+b.mated/b.nonMated)
		}
	}
	return sum / 2
}

// meanCalibration joins folds: costs are means over folds, reliability is of all their pairs.
func meanCalibration(folds []*Calibration) *Calibration {
	out := &Calibration{Cllr: math.NaN(), MinCllr: math.NaN(), ECE: math.NaN()}
	var cllr, least, ones []float64
	for _, c := range folds {
		cllr, least, ones = append(cllr, c.Cllr), append(least, c.MinCllr), append(ones, 1)
		if c.Reliability == nil {
			continue
		}
		if out.Reliability == nil {
			out.Reliability = newReliability()
		}
		for i, b := range c.Reliability {
			o := &out.Reliability[i]
			o.Mated += b.Mated
			o.NonMated += b.NonMated
			o.matedSum += b.matedSum
			o.nonMatedSum += b.nonMatedSum
			o.matedProb += b.matedProb
			o.nonMatedProb += b.nonMatedProb
		}
	}
	out.Cllr, out.MinCllr = mean(cllr, ones), mean(least, ones)
	if out.Reliability != nil {
		out.settle()
	}
	return out
}
