package match

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Calibration makes of the model's raw score a log-likelihood ratio that means what it says, at these ages: young faces
// resemble one another more, so that the same raw score means less between two of them, and more across many years. It is
// a logistic regression (Brümmer & du Preez 2006) with a slope and an offset that depend on the ages:
//
//	log-LR = raw·(w₀ + w₁·youth + w₂·gap) + w₃ + w₄·youth + w₅·gap
//
// Quality and the number of photos were tried as further terms and cost more in ranking than they gained (docs/evaluation.md).
// The slope is kept positive, so that at given ages more likeness never counts for less.
type Calibration struct {
	Weights []float64 `json:"weights"` // six
	// Most bounds what is claimed: with n comparisons of different children in the data, nothing rarer than 1 in n was seen.
	Most float64 `json:"most"`
}

const (
	conditionCount     = 3 // with the constant
	calibrationWeights = 2 * conditionCount
	leastSlope         = 0.02
	// mostEver is the largest likelihood ratio claimed however many comparisons there were: a few hundred people with photos
	// years apart do not speak for all.
	mostEver = 10_000
	// youthYears is the age at which youth has fallen to 1/e.
	youthYears = 8
	// unknownYouth stands for a face of unknown age.
	unknownYouth = 0.2
	// longGap is the gap, in years, beyond which more makes no difference to the calibration.
	longGap = 20
)

func (c Calibration) check() error {
	if len(c.Weights) != calibrationWeights || !(c.Most > 0) {
		return errors.New("its calibration is not six weights and a bound")
	}
	for _, w := range c.Weights {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return errors.New("its calibration is not finite")
		}
	}
	return nil
}

// Conditions are what a raw score's worth depends on.
type Conditions struct {
	Youth float64 // 1 for two newborn children, near 0 for two adults
	Gap   float64 // 0 for one age, 1 for longGap years and more
}

func (c Conditions) terms() [conditionCount]float64 {
	return [conditionCount]float64{1, c.Youth, c.Gap}
}

// conditions are those of two sets of faces; the gap is that of the two nearest in age.
func conditions(a, b *Evidence) Conditions {
	gap := math.Inf(1)
	for i := range a.faces {
		for j := range b.faces {
			gap = min(gap, yearsApart(a.faces[i].Age, b.faces[j].Age))
		}
	}
	return Conditions{Youth: (a.youth + b.youth) / 2, Gap: min(gap/longGap, 1)}
}

// yearsApart is the gap between two ages; half of longGap where one is not known.
func yearsApart(a, b Age) float64 {
	if !a.Known || !b.Known {
		return longGap / 2
	}
	return math.Abs(a.Years - b.Years)
}

func youth(a Age) float64 {
	if !a.Known {
		return unknownYouth
	}
	return math.Exp(-max(a.Years, 0) / youthYears)
}

func (c Calibration) apply(raw float64, at Conditions) float64 {
	var slope, offset float64
	for k, t := range at.terms() {
		slope += c.Weights[k] * t
		offset += c.Weights[conditionCount+k] * t
	}
	return raw*max(slope, leastSlope) + offset
}

// bounds are the least and the largest slope, and the largest offset, for youth in a range and any gap.
func (c Calibration) bounds(youth [2]float64) (slopes [2]float64, offset float64) {
	slopes, offset = [2]float64{math.Inf(1), math.Inf(-1)}, math.Inf(-1)
	for _, y := range youth {
		for _, gap := range [2]float64{0, 1} {
			var s, o float64
			for k, t := range (Conditions{Youth: y, Gap: gap}).terms() {
				s += c.Weights[k] * t
				o += c.Weights[conditionCount+k] * t
			}
			s = max(s, leastSlope)
			slopes, offset = [2]float64{min(slopes[0], s), max(slopes[1], s)}, max(offset, o)
		}
	}
	return slopes, offset
}

// trial is a comparison of which the truth is known.
type trial struct {
	raw    float64
	at     Conditions
	mated  bool
	weight float64
}

// balance weighs the comparisons of different people so that, whatever the ages, there are as many of them as of one person.
// The ages that the data happen to hold then say nothing about whether it is one: only the faces do.
func balance(trials []trial) {
	type cell [2]int
	at := func(t trial) cell {
		return cell{int(t.at.Youth * 5), int(t.at.Gap * 4)}
	}
	total := map[cell]*[2]float64{}
	for _, t := range trials {
		if total[at(t)] == nil {
			total[at(t)] = new([2]float64)
		}
		total[at(t)][side(t.mated)]++
	}
	for i, t := range trials {
		trials[i].weight = 1
		if n := total[at(t)]; !t.mated {
			trials[i].weight = n[1] / n[0] // 0 where nobody has such photos: there is nothing to tell apart
		}
	}
}

// fitCalibration fits the weights so that the mean cost of believing the log-LR is least, mated and non-mated trials counting
// alike at all ages. A small penalty on what depends on the ages keeps it at the plain calibration where the data say nothing.
//
// strangers is how many pairs of different people there are: comparisons of the same two people are no news, and nothing rarer
// than one in so many was seen.
func fitCalibration(trials []trial, strangers float64) (Calibration, error) {
	balance(trials)
	var total [2]float64
	var count [2]int
	for _, t := range trials {
		total[side(t.mated)] += t.weight
		count[side(t.mated)]++
	}
	if count[0] < 100 || count[1] < 30 {
		return Calibration{}, fmt.Errorf("a calibration takes at least 30 mated and 100 non-mated comparisons, there are %d and %d", count[1], count[0])
	}
	const penalty = 1e-3
	w := mat.NewVecDense(calibrationWeights, nil)
	w.SetVec(0, 1)
	// Scores differ in size from those of another metric by tens: the regression is done on scores of size 1.
	var size float64
	for _, t := range trials {
		size += math.Abs(t.raw) / float64(len(trials))
	}
	size = max(size, 1e-9)
	x := mat.NewVecDense(calibrationWeights, nil)
	for range 100 {
		gradient := mat.NewVecDense(calibrationWeights, nil)
		hessian := mat.NewSymDense(calibrationWeights, nil)
		for k := range calibrationWeights {
			if k != 0 && k != conditionCount {
				gradient.SetVec(k, penalty*w.AtVec(k))
				hessian.SetSym(k, k, penalty)
			}
			hessian.SetSym(k, k, hessian.At(k, k)+1e-9)
		}
		for _, t := range trials {
			r := t.raw / size
			for k, v := range t.at.terms() {
				x.SetVec(k, r*v)
				x.SetVec(conditionCount+k, v)
			}
			p := 1 / (1 + math.Exp(-mat.Dot(w, x)))
			want := 0.0
			if t.mated {
				want = 1
			}
			weight := t.weight / (2 * total[side(t.mated)])
			gradient.AddScaledVec(gradient, weight*(p-want), x)
			hessian.SymRankOne(hessian, weight*p*(1-p), x)
		}
		var step mat.VecDense
		var chol mat.Cholesky
		if !chol.Factorize(hessian) || chol.SolveVecTo(&step, gradient) != nil {
			return Calibration{}, errors.New("the calibration cannot be fitted: do mated and non-mated scores differ at all?")
		}
		// A step is at most this long: far from the answer the quadratic model of the cost is no guide.
		if n := mat.Norm(&step, 2); n > 2 {
			step.ScaleVec(2/n, &step)
		}
		w.SubVec(w, &step)
		if mat.Norm(&step, 2) < 1e-8 {
			break
		}
	}
	out := Calibration{Weights: make([]float64, calibrationWeights)}
	for k := range out.Weights {
		out.Weights[k] = w.AtVec(k)
		if k < conditionCount {
			out.Weights[k] /= size
		}
	}
	// The rule of three: what was not seen in n comparisons happens in at most 3 of n.
	out.Most = math.Log(min(max(strangers/3, 2), mostEver))
	return out, out.check()
}

func side(mated bool) int {
	if mated {
		return 1
	}
	return 0
}
