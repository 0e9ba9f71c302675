package match

import (
	"cmp"
	"math"
	"slices"
)

// Age is how old a child is in a photo, in years.
type Age struct {
	Years float64
	SD    float64 // one standard deviation; 0 is exact
	Known bool
}

// Face is one face as a comparison takes it.
type Face struct {
	Template []float32
	Age      Age
	Quality  float64 // 0..1
}

const (
	// maxFaces bounds the faces of a case that are weighed: the best by quality. More add next to nothing.
	maxFaces = 64
	// drift is the years after which two photos of a child no longer share what the face was like at the time (to 1/e).
	drift = 5
	// sameFrame is the cosine of two templates of one case above which they count as one photo: copies, and frames of one
	// film. Two photos of a person taken apart are seldom above .8.
	sameFrame = 0.9
)

// Evidence is the faces of one case, or of a probe, as one.
//
// It is the weighted mean of their templates, brought to the length that the model expects as every template is. A photo's
// weight is the root of its quality, shared with photos of about the same age, so that ten pictures of one birthday count
// for little more than one. Of near-identical frames only the best counts. By the textbook the faces'
// likelihoods multiply, as if what differs between photos were independent; it is not, and doing so loses nine to
// fifteen points of rank 1 (docs/evaluation.md).
type Evidence struct {
	Template []float32
	faces    []Face
	of       []int // places of the faces in what was given
	youth    float64
}

// Evidence weighs faces that are known to be of one person. It is nil where there is no face.
func (m *Metric) Evidence(faces []Face) *Evidence {
	var order []int // best first
	for i, f := range faces {
		if len(f.Template) == m.Dim() {
			order = append(order, i)
		}
	}
	if len(order) == 0 {
		return nil
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(faces[b].Quality, faces[a].Quality) })
	e := &Evidence{}
	for _, i := range order {
		again := slices.ContainsFunc(e.faces, func(f Face) bool {
			return m.inner(f.Template, faces[i].Template) >= sameFrame*m.length*m.length
		})
		if !again && len(e.faces) < maxFaces {
			e.faces, e.of = append(e.faces, faces[i]), append(e.of, i)
		}
	}
	if len(e.faces) == 1 {
		f := e.faces[0]
		e.Template, e.youth = f.Template, youth(f.Age)
		return e
	}
	n := len(m.between)
	mean := make([]float32, n+1)
	var total float64
	for _, f := range e.faces {
		var shared float64
		for _, g := range e.faces {
			shared += math.Exp(-yearsApart(f.Age, g.Age) / drift)
		}
		w := math.Sqrt(quality(f)) / shared
		total += w
		e.youth += w * youth(f.Age)
		for d := range n {
			mean[d] += float32(w/math.Sqrt(m.slope[d])) * f.Template[d]
		}
	}
	e.youth /= total
	if e.Template = mean; !m.finish(mean) { // faces that cancel one another out: the best is as good as all
		e.Template = e.faces[0].Template
	}
	return e
}

// quality is a face's quality, kept off zero: a face that was let in counts for something.
func quality(f Face) float64 { return min(max(f.Quality, 0.05), 1) }

// inner is the inner product of two templates in the model's own units, in which the noise of a photo is 1 along each
// direction.
func (m *Metric) inner(a, b []float32) (sum float64) {
	for d, w := range m.weight {
		sum += w * float64(a[d]) * float64(b[d])
	}
	return sum
}

// Comparison is what two sets of faces say.
type Comparison struct {
	// LogLR is the calibrated log-likelihood ratio of one child against two.
	LogLR float64
	// Raw is the model's own, before calibration.
	Raw float64
}

// Compare weighs all faces of a against all of b.
func (m *Metric) Compare(a, b *Evidence) Comparison {
	raw := m.raw(a.Template, b.Template)
	return Comparison{Raw: raw, LogLR: m.fitted.Calibration.apply(raw, conditions(a, b))}
}

// raw is the model's log-likelihood ratio of two templates.
func (m *Metric) raw(a, b []float32) float64 {
	n := len(m.between)
	return dot(a[:n], b[:n]) + lastScale*float64(a[n]+b[n]) + 2*m.fitted.Offset + m.constant
}

// Floor is what the inner product of a query with a and another template is at least where Compare of a and the other's evidence gives
// least or more: whatever the other's ages are, and with room for the rounding of everything but that inner product.
//
// The log-LR is raw·slope + offset, and both are linear in ages that lie between 0 and 1: none has a larger offset than one of the
// four corners, and none a larger or smaller slope. Of the raw score all but the inner product depends on a alone.
func (m *Metric) Floor(a *Evidence, least float64) float64 {
	slopes, offset := m.fitted.Calibration.bounds([2]float64{a.youth / 2, (a.youth + 1) / 2})
	raw := least - offset
	if raw > 0 {
		raw /= slopes[1]
	} else {
		raw /= slopes[0]
	}
	own, room := m.own(a)
	return raw - own - room - 1e-6*(math.Abs(raw)+(math.Abs(least)+math.Abs(offset))/slopes[0])
}

// Most is what the log-LR of Compare is at most where the inner product of a query with a and b's template is at most inner.
func (m *Metric) Most(a, b *Evidence, inner float64) float64 {
	own, room := m.own(a)
	most := m.fitted.Calibration.apply(inner+own+room, conditions(a, b))
	return most + 1e-6*math.Abs(most)
}

// own is what of a raw score is not the inner product, and room for the rounding of it.
func (m *Metric) own(a *Evidence) (own, room float64) {
	last := lastScale * float64(a.Template[len(m.between)])
	return last + 2*m.fitted.Offset + m.constant, 1e-6 * (math.Abs(last) + 2*math.Abs(m.fitted.Offset) + math.Abs(m.constant))
}

// Pair is two faces, by their places in what Evidence was given.
type Pair struct {
	A, B int
	Comparison
}

// Best is the pair of single faces that speaks loudest for one child.
func (m *Metric) Best(a, b *Evidence) Pair {
	best := Pair{Comparison: Comparison{LogLR: math.Inf(-1), Raw: math.Inf(-1)}}
	others := make([]*Evidence, len(b.faces))
	for j := range b.faces {
		others[j] = m.Evidence(b.faces[j : j+1])
	}
	for i := range a.faces {
		x := m.Evidence(a.faces[i : i+1])
		for j, y := range others {
			if c := m.Compare(x, y); c.LogLR > best.LogLR {
				best = Pair{a.of[i], b.of[j], c}
			}
		}
	}
	return best
}

// MostClaimed is the largest log-LR that the calibration's data support.
func (m *Metric) MostClaimed() float64 { return m.fitted.Calibration.Most }
