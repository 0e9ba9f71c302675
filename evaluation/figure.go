package evaluation

import (
	"math"
	"slices"
)

// Figure is a share from 0 to 1 with its 95 % interval. Value is NaN where it cannot be given; Low and High are NaN without resampling.
type Figure struct {
	Value, Low, High float64
	draws            []float64 // its value in each resample, NaN where that cannot be given
}

func unknown() Figure { return Figure{Value: math.NaN(), Low: math.NaN(), High: math.NaN()} }

// newFigure makes a figure of a value and of what became of it when the subjects were drawn anew. The interval runs from the
// 2.5th to the 97.5th percentile; there is none when fewer than half the draws could be resolved.
func newFigure(value float64, draws []float64) Figure {
	f := unknown()
	f.Value, f.draws = value, draws
	if math.IsNaN(value) || len(draws) == 0 {
		return f
	}
	known := slices.DeleteFunc(slices.Clone(draws), math.IsNaN)
	if 2*len(known) < len(draws) {
		return f
	}
	slices.Sort(known)
	f.Low, f.High = percentile(known, 0.025), percentile(known, 0.975)
	return f
}

// percentile interpolates between the two nearest values.
func percentile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// mean is the weighted mean of the values that are known; NaN where none is.
func mean(values, weights []float64) float64 {
	var sum, total float64
	for i, v := range values {
		if !math.IsNaN(v) && weights[i] > 0 {
			sum += v * weights[i]
			total += weights[i]
		}
	}
	if total == 0 {
		return math.NaN()
	}
	return sum / total
}

// meanFigure joins the figures of folds, and the resamples of each with those of the others.
func meanFigure(figures []Figure, weights []float64) Figure {
	at := func(get func(Figure) float64) float64 {
		v := make([]float64, len(figures))
		for i, f := range figures {
			v[i] = get(f)
		}
		return mean(v, weights)
	}
	n := 0
	for _, f := range figures {
		n = max(n, len(f.draws))
	}
	draws := make([]float64, n)
	for b := range draws {
		draws[b] = at(func(f Figure) float64 {
			if b >= len(f.draws) {
				return math.NaN()
			}
			return f.draws[b]
		})
	}
	return newFigure(at(func(f Figure) float64 { return f.Value }), draws)
}
