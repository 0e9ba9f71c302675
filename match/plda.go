package match

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/mat"
)

// The two-covariance model (Ioffe 2006; Prince & Elder 2007; the "joint Bayesian" of Chen et al. 2012): a photo's fused
// vector is a person's own point plus what differs between photos of one person, both normal. Fitted on photos years
// apart, the second part holds what age does to a face, and the directions in which it acts count for little.
//
// The projection makes the within-class covariance the identity and the between-class covariance diagonal; what is kept
// are the directions in which people differ most. In them every comparison is a sum over directions.

const (
	// shrinkWithin and shrinkBetween draw a covariance toward its mean eigenvalue, as the share of the latter: a thousand people
	// cannot fix the covariance of a thousand directions. Chosen on held-out people (docs/evaluation.md).
	shrinkWithin, shrinkBetween = 0.8, 0.1
	// dimensions is how many directions are kept at most.
	dimensions = 128
	// leastBetween is the between-class variance, in units of the within-class, of a direction worth keeping.
	leastBetween = 1e-3
)

// projection takes a fused vector to the model's directions.
type projection struct {
	mean    []float64
	rows    [][]float64 // one per direction
	between []float64   // between-class variance of each, largest first; the within-class is 1
}

// class is the fused vectors of one person. apart says which two photos are years apart.
type class struct {
	photos [][]float32
	apart  func(i, j int) bool
}

var errTooFew = errors.New("too few people")

// fitProjection fits the model. Each person counts once, however many photos there are of them.
func fitProjection(classes []class, dim int) (projection, error) {
	mean := make([]float64, dim)
	for _, c := range classes {
		for _, p := range c.photos {
			addScaled(mean, p, 1/float64(len(c.photos)*len(classes)))
		}
	}
	within, people := withinCovariance(classes, dim)
	if people < leastSubjects {
		return projection{}, fmt.Errorf("%w with photos years apart: %d, at least %d are needed", errTooFew, people, leastSubjects)
	}
	between := betweenCovariance(classes, mean, within)
	shrink(within, shrinkWithin)

	// within = L·Lᵀ; in the coordinates L⁻¹·x it is the identity.
	var chol mat.Cholesky
	if !chol.Factorize(within) {
		return projection{}, errors.New("the within-class covariance is not positive: are all photos of a person the same?")
	}
	var l mat.TriDense
	chol.LTo(&l)
	var half, whitened mat.Dense
	if err := half.Solve(&l, between); err != nil {
		return projection{}, fmt.Errorf("whiten: %w", err)
	}
	if err := whitened.Solve(&l, half.T()); err != nil {
		return projection{}, fmt.Errorf("whiten: %w", err)
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(symmetric(&whitened), true) {
		return projection{}, errors.New("the between-class covariance could not be diagonalised")
	}
	values := eigen.Values(nil) // ascending
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	floor := 0.0
	for _, v := range values {
		floor += max(v, 0) / float64(dim)
	}
	out := projection{mean: mean}
	for k := dim - 1; k >= 0 && len(out.rows) < dimensions; k-- {
		b := (1-shrinkBetween)*max(values[k], 0) + shrinkBetween*floor
		if b < leastBetween {
			break
		}
		// The row takes x to vᵀ·L⁻¹·x.
		var row mat.VecDense
		if err := row.SolveVec(l.T(), vectors.ColView(k)); err != nil {
			return projection{}, fmt.Errorf("project: %w", err)
		}
		out.rows = append(out.rows, mat.Col(nil, 0, &row))
		out.between = append(out.between, b)
	}
	if len(out.rows) == 0 {
		return projection{}, errors.New("people do not differ more than the photos of one person do: nothing can be told apart")
	}
	return out, nil
}

// withinCovariance is half the mean outer product of the difference of two photos of one person years apart, and how many
// people had such.
func withinCovariance(classes []class, dim int) (*mat.SymDense, int) {
	sum := mat.NewSymDense(dim, nil)
	people := 0
	diff := mat.NewVecDense(dim, nil)
	for _, c := range classes {
		var pairs [][2]int
		for i := range c.photos {
			for j := range i {
				if c.apart(i, j) {
					pairs = append(pairs, [2]int{i, j})
				}
			}
		}
		if len(pairs) == 0 {
			continue
		}
		people++
		for _, p := range pairs {
			for k := range dim {
				diff.SetVec(k, float64(c.photos[p[0]][k])-float64(c.photos[p[1]][k]))
			}
			sum.SymRankOne(sum, 0.5/float64(len(pairs)), diff)
		}
	}
	sum.ScaleSym(1/float64(max(people, 1)), sum)
	return sum, people
}

// betweenCovariance is the covariance of people's means, less what the photos' own spread adds to it.
func betweenCovariance(classes []class, mean []float64, within *mat.SymDense) *mat.SymDense {
	dim := len(mean)
	sum := mat.NewSymDense(dim, nil)
	var excess float64
	own := mat.NewVecDense(dim, nil)
	for _, c := range classes {
		v := own.RawVector().Data
		for k := range v {
			v[k] = -mean[k]
		}
		for _, p := range c.photos {
			addScaled(v, p, 1/float64(len(c.photos)))
		}
		sum.SymRankOne(sum, 1/float64(len(classes)), own)
		excess += 1 / float64(len(c.photos)*len(classes))
	}
	var less mat.SymDense
	less.ScaleSym(-excess, within)
	sum.AddSym(sum, &less)
	return sum
}

// shrink draws a covariance toward its mean eigenvalue.
func shrink(s *mat.SymDense, share float64) {
	n := s.SymmetricDim()
	mean := mat.Trace(s) / float64(n)
	s.ScaleSym(1-share, s)
	for i := range n {
		s.SetSym(i, i, s.At(i, i)+share*mean)
	}
}

func symmetric(d *mat.Dense) *mat.SymDense {
	n, _ := d.Dims()
	s := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			s.SetSym(i, j, (d.At(i, j)+d.At(j, i))/2)
		}
	}
	return s
}

func addScaled(to []float64, x []float32, by float64) {
	for i, v := range x {
		to[i] += by * float64(v)
	}
}
