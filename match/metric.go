package match

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
)

// ErrNoTemplate means that no recogniser said anything usable about a face.
var ErrNoTemplate = errors.New("no recogniser could work on this face")

// Recogniser is one block of a template.
type Recogniser struct {
	Fingerprint string // of the recogniser's card: embeddings of two fingerprints are never compared
	Dim         int    // length of its embedding
}

// Metric fuses the embeddings of its recognisers, in their order.
type Metric struct {
	recognisers []Recogniser
	centres     [][]float32 // one per recogniser; nil where none was fitted
	dim         int
	id          string
}

// Fitted is what training produced, as it is kept in a metric file.
type Fitted struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "fused_cosine"
	Made Made   `json:"made"`
	// Centres maps a recogniser's fingerprint to the mean of its raw embeddings over many people. Recognisers whose
	// embeddings are already centred by training need none.
	Centres map[string][]float32 `json:"centres"`
}

// Made says what a fitted metric comes from.
type Made struct {
	Date     string   `json:"date"`
	Command  string   `json:"command"`
	Data     []string `json:"data"` // each set with its terms
	Subjects int      `json:"subjects"`
	Photos   int      `json:"photos"`
}

// KindFusedCosine is a metric that averages the recognisers' cosines.
const KindFusedCosine = "fused_cosine"

// ReadFitted reads a metric file.
func ReadFitted(path string) (Fitted, error) {
	var f Fitted
	raw, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("read the metric: %w", err)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("metric file %s: %w", path, err)
	}
	if f.Kind != KindFusedCosine {
		return f, fmt.Errorf("metric file %s: kind %q is not one this version knows (%s)", path, f.Kind, KindFusedCosine)
	}
	return f, nil
}

// NewMetric makes the metric for these recognisers. A recogniser without a fitted centre is used as it is.
func NewMetric(recognisers []Recogniser, f Fitted) (*Metric, error) {
	if len(recognisers) == 0 {
		return nil, errors.New("a metric needs at least one recogniser")
	}
	m := &Metric{recognisers: recognisers, centres: make([][]float32, len(recognisers))}
	h := sha256.New()
	for i, r := range recognisers {
		c := f.Centres[r.Fingerprint]
		if c != nil && len(c) != r.Dim {
			return nil, fmt.Errorf("metric %s: the centre of recogniser %s has %d numbers, its embeddings %d", f.Name, r.Fingerprint, len(c), r.Dim)
		}
		if !finite(c) {
			return nil, fmt.Errorf("metric %s: the centre of recogniser %s is not finite", f.Name, r.Fingerprint)
		}
		m.centres[i] = c
		m.dim += r.Dim
		fmt.Fprintf(h, "%s %s %d\n", KindFusedCosine, r.Fingerprint, r.Dim)
		_ = binary.Write(h, binary.LittleEndian, c) // a hash never fails to take bytes
	}
	m.id = "fc-" + hex.EncodeToString(h.Sum(nil)[:6])
	return m, nil
}

// ID names the metric; templates of two metrics are never compared.
func (m *Metric) ID() string { return m.id }

// Dim is the length of a template.
func (m *Metric) Dim() int { return m.dim }

// Template fuses a face's raw embeddings, keyed by their recogniser's fingerprint. A missing or unusable embedding
// (not finite, all zeros) counts as neutral; when none is left the error is ErrNoTemplate.
func (m *Metric) Template(embeddings map[string][]float32) ([]float32, error) {
	t := make([]float32, m.dim)
	var at, used int
	for i, r := range m.recognisers {
		block := t[at : at+r.Dim]
		at += r.Dim
		e := embeddings[r.Fingerprint]
		if e == nil {
			continue
		}
		if len(e) != r.Dim {
			return nil, fmt.Errorf("embedding of recogniser %s has %d numbers, expected %d", r.Fingerprint, len(e), r.Dim)
		}
		copy(block, e)
		for j, c := range m.centres[i] {
			block[j] -= c
		}
		// 1/√n makes the inner product of two templates the mean of the recognisers' cosines.
		if scaleTo(block, 1/math.Sqrt(float64(len(m.recognisers)))) {
			used++
		} else {
			clear(block)
		}
	}
	if used == 0 {
		return nil, ErrNoTemplate
	}
	return t, nil
}

// scaleTo gives v the length wanted, or says that it has none to scale.
func scaleTo(v []float32, length float64) bool {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	norm := math.Sqrt(sum)
	if norm < 1e-12 || math.IsNaN(norm) || math.IsInf(norm, 0) {
		return false
	}
	for i := range v {
		v[i] = float32(float64(v[i]) * length / norm)
	}
	return true
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return false
		}
	}
	return true
}
