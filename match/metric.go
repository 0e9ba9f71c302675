package match

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// Metric turns embeddings into templates and compares templates. It does not change once made, and is safe for
// concurrent use.
type Metric struct {
	fitted   Fitted
	fusion   fusion
	constant float64   // what all comparisons have in common
	weight   []float64 // 1/p of each direction: what takes a template's numbers back to the model's
	between  []float64
	slope    []float64 // p of each direction
	curve    []float64 // q of each direction
	length   float64   // that a projected vector is brought to
	id       string
}

// Kind is the only kind of metric there is.
const Kind = "plda-1"

// Fitted is what training produced, as it is kept in a metric file.
type Fitted struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Card Card   `json:"card"`
	// Recognisers are the blocks of a fused vector, in order.
	Recognisers []Recogniser `json:"recognisers"`
	// Mean is taken from the fused vector; Rows project it, one behind the other; Between is the variance of people along
	// each, where the photos of one person, years apart, have 1.
	Mean    Vector `json:"mean"`
	Rows    Vector `json:"rows"`
	Between Vector `json:"between"`
	// Offset is the usual size of a template's last number, taken from it so that it does not drown the others.
	Offset      float64     `json:"offset"`
	Calibration Calibration `json:"calibration"`
	AgeModel    AgeModel    `json:"age_model"`
}

// Card says what a metric comes from and what it is worth.
type Card struct {
	Date        string `json:"date"`
	Command     string `json:"command"`
	Training    []Data `json:"training"`
	Calibration []Data `json:"calibration"`
	Ages        []Data `json:"ages,omitempty"` // what the age model was fitted on
	Notes       string `json:"notes,omitempty"`
}

// Data is a labelled set that was used, with its terms.
type Data struct {
	Name     string `json:"name"`
	Terms    string `json:"terms,omitempty"`
	Subjects int    `json:"subjects,omitempty"`
	Photos   int    `json:"photos"`
}

// lastScale is what the last number of a template is divided by, and a query's last number: both then are of the size of
// the others, and an index that keeps 8 bits of each loses little.
const lastScale = 8

// ErrOther means that a metric was fitted for other recognisers than it is to be used with.
var ErrOther = errors.New("the metric was fitted for other recognisers")

// ReadFitted reads a metric file.
func ReadFitted(path string) (f Fitted, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("read the metric: %w", err)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("metric file %s: %w", path, err)
	}
	if f.Kind != Kind {
		return f, fmt.Errorf("metric file %s: its kind is %q, this version knows %q: fit it again with homeward train", path, f.Kind, Kind)
	}
	return f, nil
}

// Write writes a metric file.
func (f Fitted) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(f)
}

// NewMetric checks what was fitted and makes it ready.
func NewMetric(f Fitted) (*Metric, error) {
	wrong := func(what string, args ...any) error {
		return fmt.Errorf("metric %s: %s", f.Name, fmt.Sprintf(what, args...))
	}
	if len(f.Recognisers) == 0 {
		return nil, wrong("it names no recogniser")
	}
	m := &Metric{fitted: f, fusion: f.Recognisers}
	in, n := m.fusion.dim(), len(f.Between)
	switch {
	case len(f.Mean) != in:
		return nil, wrong("its mean has %d numbers, its recognisers %d", len(f.Mean), in)
	case n == 0 || len(f.Rows) != n*in:
		return nil, wrong("its projection has %d numbers, %d × %d are expected", len(f.Rows), n, in)
	case !finite(f.Mean) || !finite(f.Rows) || !finite(f.Between):
		return nil, wrong("it holds numbers that are not finite")
	}
	for _, r := range f.Recognisers {
		if r.Centre != nil && len(r.Centre) != r.Dim || !finite(r.Centre) {
			return nil, wrong("the centre of recogniser %s is not %d finite numbers", r.Name, r.Dim)
		}
	}
	if err := f.Calibration.check(); err != nil {
		return nil, wrong("%v", err)
	}
	for _, b32 := range f.Between {
		b := float64(b32)
		if b <= 0 {
			return nil, wrong("a direction's between-class variance is %g", b)
		}
		t := b + 1
		p := b / (t*t - b*b)
		m.between = append(m.between, b)
		m.slope = append(m.slope, p)
		m.weight = append(m.weight, 1/p)
		m.curve = append(m.curve, 1/t-t/(t*t-b*b))
		m.length += t
		m.constant += math.Log(t) - math.Log(t*t-b*b)/2
	}
	m.length = math.Sqrt(m.length)
	m.id = m.templateID()
	return m, nil
}

// templateID stands for everything that changes a template: not for the calibration, which is applied when two are
// compared.
func (m *Metric) templateID() string {
	h := sha256.New()
	fmt.Fprintln(h, Kind, lastScale)
	for _, r := range m.fusion {
		fmt.Fprintf(h, "%s %d %d\n", r.Fingerprint, r.Dim, len(r.Centre))
		_ = binary.Write(h, binary.LittleEndian, []float32(r.Centre)) // a hash never fails to take bytes
	}
	for _, v := range []Vector{m.fitted.Mean, m.fitted.Rows, m.fitted.Between} {
		_ = binary.Write(h, binary.LittleEndian, []float32(v))
	}
	_ = binary.Write(h, binary.LittleEndian, m.fitted.Offset)
	return "pl-" + hex.EncodeToString(h.Sum(nil)[:6])
}

// ID names what makes templates; templates of two ids are never compared.
func (m *Metric) ID() string { return m.id }

// Dim is the length of a template.
func (m *Metric) Dim() int { return len(m.between) + 1 }

// Fits says whether the metric was fitted for these recognisers, by their fingerprints and in this order; ErrOther if not.
func (m *Metric) Fits(fingerprints []string) error {
	var own []string
	for _, r := range m.fusion {
		own = append(own, r.Fingerprint)
	}
	if !slices.Equal(own, fingerprints) {
		return fmt.Errorf("%w (%v, and not %v): fit one with homeward train", ErrOther, own, fingerprints)
	}
	return nil
}

// Template makes a face's template of its raw embeddings, keyed by their recogniser's fingerprint. A missing or unusable
// embedding counts as neutral; when none is left the error is ErrNoTemplate.
func (m *Metric) Template(embeddings map[string][]float32) ([]float32, error) {
	fused, err := m.fusion.fuse(embeddings)
	if err != nil {
		return nil, err
	}
	return m.project(fused)
}

func (m *Metric) project(fused []float32) ([]float32, error) {
	for i, x := range m.fitted.Mean {
		fused[i] -= x
	}
	n, in := len(m.between), len(fused)
	t := make([]float32, n+1)
	for d := range n {
		t[d] = float32(dot(m.fitted.Rows[d*in:(d+1)*in], fused))
	}
	if !m.finish(t) {
		return nil, ErrNoTemplate
	}
	return t, nil
}

// finish makes a template of a vector in the model's own units, in place, or says that it has no direction.
func (m *Metric) finish(t []float32) bool {
	n := len(m.between)
	// Face recognisers leave the length of a vector to chance; the model expects this one.
	if !scaleTo(t[:n], m.length) {
		return false
	}
	var own float64
	for d := range n {
		x := float64(t[d])
		own += m.curve[d] * x * x / 2
		t[d] = float32(math.Sqrt(m.slope[d]) * x)
	}
	t[n] = float32((own - m.fitted.Offset) / lastScale)
	return finite(t)
}

// Query makes of a probe's template what an index of templates is searched with: its inner product with another template
// is, but for a number that is the same for all of them, the log-likelihood ratio of the two under the model.
func (m *Metric) Query(template []float32) []float32 {
	q := slices.Clone(template)
	q[len(q)-1] = lastScale
	return q
}

// Fused is a face's embeddings put together as the metric does before it projects them: the inner product of two is the
// mean cosine of the recognisers. All zeros where there is nothing usable.
func (m *Metric) Fused(embeddings map[string][]float32) []float32 {
	v, err := m.fusion.fuse(embeddings)
	if err != nil {
		return make([]float32, m.fusion.dim())
	}
	return v
}

// Fitted is what the metric was made of. It must not be changed.
func (m *Metric) Fitted() Fitted { return m.fitted }

// Unit is the vector at length 1, or zeros where it has no length.
func Unit(v []float32) []float32 {
	out := slices.Clone(v)
	if !scaleTo(out, 1) {
		clear(out)
	}
	return out
}

// Inner is the inner product.
func Inner(a, b []float32) float64 { return dot(a, b) }
