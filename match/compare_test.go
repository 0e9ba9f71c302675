package match

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distmv"
)

// synthetic is a metric over few directions, and a source of faces of one person.
func synthetic(t testing.TB, between []float32) *Metric {
	t.Helper()
	n := len(between)
	f := Fitted{
		Name: "synthetic", Kind: Kind, Recognisers: []Recogniser{{Name: "r", Fingerprint: "r", Dim: n}},
		Mean: make(Vector, n), Rows: make(Vector, n*n), Between: between,
		Calibration: Calibration{Weights: []float64{1, 0, 0, 0, 0, 0}, Most: 100},
	}
	for i := range n {
		f.Rows[i*n+i] = 1
	}
	m, err := NewMetric(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func randomFace(t testing.TB, m *Metric, r *rand.Rand) Face {
	t.Helper()
	e := make([]float32, m.Dim()-1)
	for i := range e {
		e[i] = float32(r.NormFloat64() * math.Sqrt(1+float64(m.fitted.Between[i])))
	}
	v, err := m.Template(map[string][]float32{"r": e})
	if err != nil {
		t.Fatal(err)
	}
	return Face{Template: v, Age: Age{Years: 30 * r.Float64(), Known: r.Float64() < 0.8}, Quality: r.Float64()}
}

// gaussian is the log-likelihood of faces being of one person, by the textbook.
func gaussian(t *testing.T, m *Metric, faces ...Face) (sum float64) {
	t.Helper()
	n := len(faces)
	for d, b := range m.between {
		cov := mat.NewSymDense(n, nil)
		y := make([]float64, n)
		for i, f := range faces {
			y[i] = float64(f.Template[d]) / math.Sqrt(m.slope[d])
			for j := range i + 1 {
				cov.SetSym(i, j, b)
			}
			cov.SetSym(i, i, b+1)
		}
		normal, ok := distmv.NewNormal(make([]float64, n), cov, nil)
		if !ok {
			t.Fatal("the covariance is not positive")
		}
		sum += normal.LogProb(y)
	}
	return sum
}

func TestCompareIsTheGaussianRatio(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := synthetic(t, []float32{4, 2.5, 1, 0.4, 0.05})
	for range 20 {
		a, b := randomFace(t, m, r), randomFace(t, m, r)
		want := gaussian(t, m, a, b) - gaussian(t, m, a) - gaussian(t, m, b)
		ea, eb := m.Evidence([]Face{a}), m.Evidence([]Face{b})
		got := m.Compare(ea, eb)
		if math.Abs(got.Raw-want) > 1e-4 {
			t.Errorf("%v, by the textbook %v", got.Raw, want)
		}
		if back := m.Compare(eb, ea); math.Abs(back.LogLR-got.LogLR) > 1e-6 {
			t.Errorf("%v one way, %v the other", got.LogLR, back.LogLR)
		}
	}
}

// The index ranks single faces as the comparison does where age and quality make no difference.
func TestQueryRanksAsCompare(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	m := synthetic(t, []float32{3, 2, 1, 0.5, 0.2, 0.1})
	probe := randomFace(t, m, r)
	query := m.Query(probe.Template)
	e := m.Evidence([]Face{{Template: probe.Template, Quality: 1}})
	var constant float64
	for i := range 50 {
		f := Face{Template: randomFace(t, m, r).Template, Quality: 1}
		diff := m.Compare(e, m.Evidence([]Face{f})).Raw - Inner(query, f.Template)
		if i == 0 {
			constant = diff
		}
		if math.Abs(diff-constant) > 1e-4 {
			t.Fatalf("the difference of comparison and inner product is %v, then %v", constant, diff)
		}
	}
}

func TestEvidence(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	m := synthetic(t, []float32{3, 2, 1, 0.5, 0.2, 0.1})
	probe := m.Evidence([]Face{randomFace(t, m, r)})
	x, y := randomFace(t, m, r), randomFace(t, m, r)
	y.Quality, x.Quality = 0.5, 0.9
	once := m.Compare(probe, m.Evidence([]Face{x, y}))
	if again := m.Compare(probe, m.Evidence([]Face{y, x, x, y, x})); again != once {
		t.Errorf("copies changed the score from %v to %v", once, again)
	}
	if m.Evidence(nil) != nil || m.Evidence([]Face{{}}) != nil {
		t.Error("no face is evidence")
	}
	best := m.Best(probe, m.Evidence([]Face{{}, y, x}))
	if best.A != 0 || best.B != 1 && best.B != 2 {
		t.Errorf("the best pair is %d, %d: not places in what was given", best.A, best.B)
	}
}

// Copies and photos of one time weigh little more than one photo; poor photos weigh less.
func TestEvidenceWeighsPhotos(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	m := synthetic(t, []float32{3, 3, 3, 3, 3, 3, 3, 3})
	x, y := randomFace(t, m, r), randomFace(t, m, r)
	x.Age, y.Age = Age{Years: 4, Known: true}, Age{Years: 24, Known: true}
	x.Quality, y.Quality = 1, 1
	like := func(e *Evidence, f Face) float64 { return m.inner(e.Template, f.Template) / (m.length * m.length) }
	even := m.Evidence([]Face{x, y})
	if d := like(even, x) - like(even, y); math.Abs(d) > 1e-4 {
		t.Errorf("two photos of two times: the mean is nearer to one, by %v", d)
	}
	copies := m.Evidence([]Face{x, x, x, x, y})
	if d := like(copies, x) - like(copies, y); math.Abs(d) > 1e-4 {
		t.Errorf("copies drew the mean by %v", d)
	}
	x.Quality = 0.2
	poor := m.Evidence([]Face{x, y})
	if like(poor, x) >= like(poor, y) {
		t.Error("a poor photo weighs as much as a good one")
	}
}

func BenchmarkProjectAndRank1000(b *testing.B) {
	between := make([]float32, 128)
	for i := range between {
		between[i] = float32(4 * math.Exp(-float64(i)/30))
	}
	m := synthetic(b, between)
	// As wide as the default set: three recognisers of 512, 192 and 128 numbers.
	const in = 832
	wide := m.fitted
	wide.Recognisers = []Recogniser{{Name: "r", Fingerprint: "r", Dim: in}}
	wide.Mean, wide.Rows = make(Vector, in), make(Vector, 128*in)
	r := rand.New(rand.NewPCG(9, 10))
	for i := range wide.Rows {
		wide.Rows[i] = float32(r.NormFloat64())
	}
	m, err := NewMetric(wide)
	if err != nil {
		b.Fatal(err)
	}
	face := func() Face {
		e := make([]float32, in)
		for i := range e {
			e[i] = float32(r.NormFloat64())
		}
		v, err := m.Template(map[string][]float32{"r": e})
		if err != nil {
			b.Fatal(err)
		}
		return Face{Template: v, Age: Age{Years: 10, Known: true}, Quality: 0.8}
	}
	cases := make([]*Evidence, 1000)
	for i := range cases {
		cases[i] = m.Evidence([]Face{face()})
	}
	probe := make([]float32, in)
	for i := range probe {
		probe[i] = float32(r.NormFloat64())
	}
	for b.Loop() {
		v, err := m.Template(map[string][]float32{"r": probe})
		if err != nil {
			b.Fatal(err)
		}
		e := m.Evidence([]Face{{Template: v, Quality: 1}})
		for _, c := range cases {
			m.Compare(e, c)
		}
	}
}

// TestFloorHolds is the claim that a cross-match compares no pair too few: whatever two cases compare to, the query's inner product with the other
// is at or over the floor for that much.
func TestFloorHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for range 200 {
		between := make([]float32, 1+r.IntN(40))
		for i := range between {
			between[i] = float32(math.Exp(4*r.NormFloat64() - 1))
		}
		m := synthetic(t, between)
		m.fitted.Offset = 50 * r.NormFloat64()
		for k := range m.fitted.Calibration.Weights {
			m.fitted.Calibration.Weights[k] = r.NormFloat64() * []float64{0.2, 3}[k/conditionCount]
		}
		cases := make([]*Evidence, 30)
		for i := range cases {
			faces := make([]Face, 1+r.IntN(4))
			for j := range faces {
				faces[j] = randomFace(t, m, r)
				if i > 0 && r.IntN(3) == 0 {
					faces[j].Template = cases[i-1].faces[0].Template
				}
				if r.IntN(4) == 0 {
					faces[j].Age.Years = 0
				}
			}
			cases[i] = m.Evidence(faces)
		}
		for _, a := range cases {
			query := m.Query(a.Template)
			for _, b := range cases {
				var inner, size float64
				for d := range query {
					inner += float64(query[d]) * float64(b.Template[d])
					size += math.Abs(float64(query[d]) * float64(b.Template[d]))
				}
				c := m.Compare(a, b)
				// What rounding does to the inner product itself is not Floor's to know.
				if floor, rounding := m.Floor(a, c.LogLR), size*float64(2*m.Dim())*0x1p-24; inner+rounding < floor {
					t.Fatalf("a pair of log-LR %g has the inner product %g, below its floor %g", c.LogLR, inner, floor)
				}
				if most := m.Most(a, b, inner+size*float64(2*m.Dim())*0x1p-24); most < c.LogLR {
					t.Fatalf("a pair of log-LR %g is said to have at most %g", c.LogLR, most)
				} else if room := 1e-4 * (1 + size + math.Abs(c.LogLR)); most > c.LogLR+room*10 {
					t.Fatalf("a pair of log-LR %g is said to have up to %g", c.LogLR, most)
				}
				if back := m.Compare(b, a); back != c {
					t.Fatalf("%+v from one side, %+v from the other", c, back)
				}
			}
		}
	}
}
