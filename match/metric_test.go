package match

import (
	"errors"
	"math"
	"testing"
)

func dot(a, b []float32) float64 {
	var s float64
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

func TestTemplateIsMeanCosine(t *testing.T) {
	m, err := NewMetric([]Recogniser{{"a", 2}, {"b", 2}}, Fitted{Centres: map[string][]float32{"b": {1, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := m.Template(map[string][]float32{"a": {3, 0}, "b": {1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	y, err := m.Template(map[string][]float32{"a": {0, 5}, "b": {1, 9}})
	if err != nil {
		t.Fatal(err)
	}
	// a: orthogonal, cosine 0; b: both (0, 1) once centred, cosine 1.
	if got := dot(x, y); math.Abs(got-0.5) > 1e-6 {
		t.Errorf("score = %v, want 0.5", got)
	}
	if got := dot(x, x); math.Abs(got-1) > 1e-6 {
		t.Errorf("score with itself = %v, want 1", got)
	}
}

func TestTemplateUnusableEmbeddings(t *testing.T) {
	m, err := NewMetric([]Recogniser{{"a", 2}, {"b", 2}}, Fitted{})
	if err != nil {
		t.Fatal(err)
	}
	nan := float32(math.NaN())
	inf := float32(math.Inf(1))
	for name, tc := range map[string]struct {
		in   map[string][]float32
		none bool
	}{
		"one missing":  {in: map[string][]float32{"a": {1, 2}}},
		"one zero":     {in: map[string][]float32{"a": {1, 2}, "b": {0, 0}}},
		"one NaN":      {in: map[string][]float32{"a": {nan, 2}, "b": {1, 0}}},
		"one infinite": {in: map[string][]float32{"a": {inf, 2}, "b": {1, 0}}},
		"none":         {in: nil, none: true},
		"all zero":     {in: map[string][]float32{"a": {0, 0}, "b": {0, 0}}, none: true},
		"all NaN":      {in: map[string][]float32{"a": {nan, 0}, "b": {0, nan}}, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := m.Template(tc.in)
			if tc.none != errors.Is(err, ErrNoTemplate) {
				t.Fatalf("error = %v", err)
			}
			if err == nil && math.Abs(dot(v, v)-0.5) > 1e-6 {
				t.Errorf("|t|² = %v, want 0.5: the silent block says nothing", dot(v, v))
			}
		})
	}
	if _, err := m.Template(map[string][]float32{"a": {1}}); err == nil {
		t.Error("a short embedding was taken")
	}
}

func TestMetricID(t *testing.T) {
	id := func(rs []Recogniser, f Fitted) string {
		m, err := NewMetric(rs, f)
		if err != nil {
			t.Fatal(err)
		}
		return m.ID()
	}
	base := id([]Recogniser{{"a", 2}, {"b", 2}}, Fitted{})
	if base != id([]Recogniser{{"a", 2}, {"b", 2}}, Fitted{Name: "other name"}) {
		t.Error("the name changed the id")
	}
	for name, other := range map[string]string{
		"order":  id([]Recogniser{{"b", 2}, {"a", 2}}, Fitted{}),
		"fewer":  id([]Recogniser{{"a", 2}}, Fitted{}),
		"centre": id([]Recogniser{{"a", 2}, {"b", 2}}, Fitted{Centres: map[string][]float32{"a": {1, 0}}}),
	} {
		if other == base {
			t.Errorf("%s did not change the id", name)
		}
	}
	if _, err := NewMetric([]Recogniser{{"a", 2}}, Fitted{Centres: map[string][]float32{"a": {1}}}); err == nil {
		t.Error("a centre of the wrong length was taken")
	}
}
