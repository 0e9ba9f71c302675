package match

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// world draws people whose faces age: along the first directions of each recogniser's space people differ, along those in the
// middle their faces are another at each age, and all have noise.
type world struct {
	r           *rand.Rand
	recognisers []Recogniser
}

func newWorld(seed uint64) *world {
	return &world{rand.New(rand.NewPCG(seed, 1)), []Recogniser{{Name: "a", Fingerprint: "a", Dim: 24}, {Name: "b", Fingerprint: "b", Dim: 16}}}
}

// people draws n people with photos at these ages.
func (w *world) people(prefix string, n int, ages ...float64) (out []Sample) {
	for p := range n {
		self := map[string][]float64{}
		for _, r := range w.recognisers {
			for k := range r.Dim {
				self[r.Name] = append(self[r.Name], w.r.NormFloat64()*2*math.Exp(-float64(k)/4))
			}
		}
		for _, age := range ages {
			s := Sample{Subject: fmt.Sprint(prefix, p), Age: age, Looks: age, LooksSD: 5, Quality: 0.9, Embeddings: map[string][]float32{}}
			for _, r := range w.recognisers {
				e := make([]float32, r.Dim)
				for k := range e {
					e[k] = float32(self[r.Name][k] + w.r.NormFloat64()*(0.2+2*math.Exp(-math.Abs(float64(k)-12)/2)))
				}
				s.Embeddings[r.Fingerprint] = e
			}
			out = append(out, s)
		}
	}
	return out
}

func TestFitFindsPeopleAcrossAge(t *testing.T) {
	w := newWorld(1)
	f, err := Fit("test", w.recognisers, w.people("learn", 300, 4, 25, 40), w.people("calibrate", 150, 4, 25, 40), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMetric(f)
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.people("fresh", 150, 4, 40)
	rank1 := func(score func(a, b Sample) float64) (n int) {
		for i := 0; i < len(fresh); i += 2 {
			best, at := math.Inf(-1), -1
			for j := 1; j < len(fresh); j += 2 {
				if s := score(fresh[i], fresh[j]); s > best {
					best, at = s, j
				}
			}
			if at == i+1 {
				n++
			}
		}
		return n
	}
	compare := func(a, b Sample) float64 {
		return m.Compare(m.Evidence([]Face{m.Face(a)}), m.Evidence([]Face{m.Face(b)})).LogLR
	}
	raw := rank1(func(a, b Sample) float64 { return Inner(m.Fused(a.Embeddings), m.Fused(b.Embeddings)) })
	metric := rank1(compare)
	if metric <= raw+10 {
		t.Errorf("of 150 people the metric finds %d, plain cosine %d", metric, raw)
	}
	// Calibrated: what is said to be e times more likely is, on the whole, not said in vain.
	var cost, n [2]float64
	for i, a := range fresh {
		for j := range i {
			mated := a.Subject == fresh[j].Subject
			l := compare(a, fresh[j])
			if mated {
				l = -l
			}
			cost[side(mated)] += math.Log2(1 + math.Exp(l))
			n[side(mated)]++
		}
	}
	if cllr := (cost[0]/n[0] + cost[1]/n[1]) / 2; cllr > 0.6 {
		t.Errorf("Cllr %.2f: 1 is knowing nothing", cllr)
	}
}

func TestFitRefuses(t *testing.T) {
	w := newWorld(2)
	for name, tc := range map[string]struct {
		samples []Sample
		want    string
	}{
		"nothing":                      {nil, "too few people"},
		"too few people":               {w.people("p", 40, 4, 30), "at least 50 are needed"},
		"one photo each":               {w.people("p", 200, 4), "too few people with photos years apart: 0"},
		"photos of one age":            {w.people("p", 200, 4, 5), "too few people with photos years apart: 0"},
		"embeddings of another length": {[]Sample{{Subject: "p", Embeddings: map[string][]float32{"a": {1}}}}, "too few"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Fit("test", w.recognisers, tc.samples, nil, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if _, err := Fit("test", w.recognisers, w.people("p", 200, 4, 30), w.people("c", 5, 4, 30), nil); err == nil || !strings.Contains(err.Error(), "calibration takes") {
		t.Errorf("five people to calibrate on: %v", err)
	}
}

// A recogniser that fell silent, and embeddings that are no numbers, teach nothing and do no harm.
func TestFitDamaged(t *testing.T) {
	w := newWorld(3)
	samples := w.people("p", 120, 4, 30)
	for i := range samples {
		switch i % 12 {
		case 0:
			samples[i].Embeddings["a"] = nil
		case 1:
			samples[i].Embeddings["b"][3] = float32(math.NaN())
		case 2:
			samples[i].Embeddings = nil
		case 3:
			samples[i].Embeddings["b"] = make([]float32, 16)
		}
	}
	f, err := Fit("test", w.recognisers, samples, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMetric(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]map[string][]float32{
		"nothing": nil, "NaN": {"a": fill(24, math.NaN())}, "zero": {"a": fill(24, 0), "b": fill(16, 0)}, "infinite": {"b": fill(16, math.Inf(1))},
	} {
		if v, err := m.Template(e); !errors.Is(err, ErrNoTemplate) {
			t.Errorf("%s: template %v, %v; want ErrNoTemplate", name, v, err)
		}
	}
	if v, err := m.Template(map[string][]float32{"a": samples[5].Embeddings["a"]}); err != nil || !finite(v) || len(v) != m.Dim() {
		t.Errorf("one recogniser alone: %v", err)
	}
	if _, err := m.Template(map[string][]float32{"a": {1}}); err == nil || errors.Is(err, ErrNoTemplate) {
		t.Errorf("an embedding of another length: %v", err)
	}
}

func fill(n int, x float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(x)
	}
	return v
}

func TestMetricFile(t *testing.T) {
	w := newWorld(4)
	f, err := Fit("test", w.recognisers, w.people("p", 120, 4, 30), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMetric(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Fits([]string{"a", "b"}); err != nil {
		t.Error(err)
	}
	if err := m.Fits([]string{"b", "a"}); !errors.Is(err, ErrOther) {
		t.Errorf("recognisers in another order: %v", err)
	}
	id := func(change func(*Fitted)) string {
		g := f
		change(&g)
		m, err := NewMetric(g)
		if err != nil {
			t.Fatal(err)
		}
		return m.ID()
	}
	same := map[string]func(*Fitted){
		"name": func(f *Fitted) { f.Name = "other" }, "card": func(f *Fitted) { f.Card.Notes = "x" },
		"calibration": func(f *Fitted) { f.Calibration.Most++ },
	}
	for name, change := range same {
		if id(change) != m.ID() {
			t.Errorf("%s changed the id, though it changes no template", name)
		}
	}
	flip := func(v Vector) Vector { v = append(Vector{}, v...); v[0]++; return v }
	for name, change := range map[string]func(*Fitted){
		"mean": func(f *Fitted) { f.Mean = flip(f.Mean) }, "rows": func(f *Fitted) { f.Rows = flip(f.Rows) },
		"between": func(f *Fitted) { f.Between = flip(f.Between) }, "offset": func(f *Fitted) { f.Offset++ },
		"fingerprint": func(f *Fitted) {
			f.Recognisers = append([]Recogniser{}, f.Recognisers...)
			f.Recognisers[0].Fingerprint = "other"
		},
	} {
		if id(change) == m.ID() {
			t.Errorf("%s did not change the id", name)
		}
	}
	for name, change := range map[string]func(*Fitted){
		"short mean": func(f *Fitted) { f.Mean = f.Mean[1:] }, "short rows": func(f *Fitted) { f.Rows = f.Rows[1:] },
		"no direction": func(f *Fitted) { f.Between, f.Rows = nil, nil }, "NaN": func(f *Fitted) { f.Mean = Vector(fill(len(f.Mean), math.NaN())) },
		"no recogniser": func(f *Fitted) { f.Recognisers = nil }, "no calibration": func(f *Fitted) { f.Calibration = Calibration{} },
		"negative variance": func(f *Fitted) { f.Between = Vector(fill(len(f.Between), -1)) },
	} {
		g := f
		change(&g)
		if _, err := NewMetric(g); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestVector(t *testing.T) {
	in := Vector{0, -1.5, math.MaxFloat32, float32(math.Inf(-1))}
	text, err := in.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var out Vector
	if err := out.UnmarshalText(text); err != nil || fmt.Sprint(out) != fmt.Sprint(in) {
		t.Errorf("%v became %v, %v", in, out, err)
	}
	for _, bad := range []string{"?", "AAAA", "AAAAAAA="} {
		if err := out.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, out)
		}
	}
}
