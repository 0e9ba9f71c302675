package match

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func year(y float64) Span { return Span{y, y + 1} }

func TestPlausibility(t *testing.T) {
	child := Record{Sex: "male", Born: Span{2001.4, 2001.4}, Missing: true, Event: year(2005)}
	for _, tc := range []struct {
		name        string
		other       Record
		least, most float64 // of the log-LR
		says        string
	}{
		{"nothing is known", Record{}, 0, 0, ""},
		{"same sex", Record{Sex: "male"}, 0.5, 0.7, "Both are recorded as male"},
		{"other sex", Record{Sex: "female"}, -4, -2, "One is recorded as female"},
		{"born in the same year", Record{Born: year(2001)}, 1.5, 3, "agree"},
		{"born three years off", Record{Born: year(2004)}, -2, 0.5, "about 3 years apart"},
		{"born thirty years off", Record{Born: year(1971)}, -6, -4, "about 30 years apart"},
		{"looks right", Record{Sights: []Sight{{year(2009), Age{8, 3, true}}}}, 0.3, 2, "estimated"},
		{"looks twenty years too old", Record{Sights: []Sight{{year(2009), Age{28, 3, true}}}}, -6, -1, "estimated"},
		{"found before born", Record{Event: year(1999)}, -4.5, -3.5, "found before the missing child was born"},
		{"found before lost", Record{Event: year(2003)}, -4.5, -3.5, "found before the missing child disappeared"},
		{"found in the year of the loss", Record{Event: year(2005)}, 0, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, p := range []Plausibility{child.Compare(tc.other), tc.other.Compare(child)} {
				if p.LogLR < tc.least || p.LogLR > tc.most {
					t.Errorf("log-LR %.2f, want %.1f to %.1f: %+v", p.LogLR, tc.least, tc.most, p.Factors)
				}
				var said []string
				for _, f := range p.Factors {
					said = append(said, f.Text)
				}
				if !strings.Contains(strings.Join(said, " "), tc.says) || tc.says == "" && len(said) > 0 {
					t.Errorf("says %q, want %q", said, tc.says)
				}
			}
		})
	}
}

// No fact by itself, however wrong it looks, outweighs a likeness of ten thousand to one.
func TestPlausibilityIsBounded(t *testing.T) {
	worst := Record{Sex: "male", Born: year(1900), Missing: true}.Compare(Record{Sex: "female", Born: year(2020), Event: year(1850)})
	for _, f := range worst.Factors {
		if f.LogLR < -math.Log(1000) || math.IsNaN(f.LogLR) {
			t.Errorf("%s alone says %v", f.Fact, f.LogLR)
		}
	}
	if len(worst.Factors) != 3 {
		t.Errorf("three facts are against it: %+v", worst.Factors)
	}
}

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		ratio float64
		band  Band
		want  string
	}{
		{1, Neutral, "about as likely"},
		{1.9, Neutral, "about as likely"},
		{3.2, Weak, "about 3 times more likely if this is the same child"},
		{47, Moderate, "about 50 times"},
		{310, FairlyStrong, "about 300 times"},
		{2600, Strong, "about 3,000 times"},
		{1e9, Strong, "more than 10,000 times more likely if this is the same child"},
		{1 / 40.0, Against, "about 40 times more likely if these are two different children"},
		{1e-9, AgainstStrong, "more than 10,000 times more likely if these are two different children"},
	} {
		l := math.Log(tc.ratio)
		if got := Words(l, math.Log(10_000), "This likeness is"); !strings.Contains(got, tc.want) || strings.Contains(got, "%") {
			t.Errorf("%g: %q, want %q", tc.ratio, got, tc.want)
		}
		if got := BandOf(l); got != tc.band {
			t.Errorf("%g: band %s, want %s", tc.ratio, got, tc.band)
		}
	}
}

func TestAgeModel(t *testing.T) {
	var none AgeModel
	if got := none.Age(8, 2); got.Years != 8 || got.SD < leastAgeSD || !got.Known {
		t.Errorf("without a model: %+v", got)
	}
	// An estimator that draws children up and grown people down, on a set with many infants.
	var samples []Sample
	for age := 0.0; age < 70; age++ {
		n := 20
		if age < 3 {
			n = 200
		}
		for i := range n {
			samples = append(samples, Sample{Age: age, Looks: 10 + 0.7*age + float64(i%7) - 3})
		}
	}
	m := fitAgeModel(samples)
	if got := m.Age(10+0.7*30, 1); math.Abs(got.Years-30) > 3 || got.SD < 1 || got.SD > 10 {
		t.Errorf("who looks 31 is 30: %+v", got)
	}
	if got := fitAgeModel(samples[:100]); len(got.Looks) != 0 {
		t.Errorf("a hundred faces made a model: %+v", got)
	}
}

// TestPlausibilityFromEitherSide expects the same of two records from either side, to the last bit, and never more than MostPlausible.
func TestPlausibilityFromEitherSide(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	span := func() Span {
		if r.IntN(3) == 0 {
			return Span{}
		}
		from := 1990 + 20*r.Float64()
		return Span{from, from + 3*r.Float64()}
	}
	draw := func(missing bool) Record {
		out := Record{Sex: []string{"female", "male", ""}[r.IntN(3)], Born: span(), Missing: missing, Event: span()}
		for range r.IntN(3) {
			out.Sights = append(out.Sights, Sight{Taken: span(), Looks: Age{Years: 10 * r.Float64(), SD: r.Float64(), Known: true}})
		}
		return out
	}
	for range 100_000 {
		a, b := draw(true), draw(false)
		p, q := a.Compare(b), b.Compare(a)
		if p.LogLR != q.LogLR {
			t.Fatalf("%+v and %+v: %v from one side, %v from the other", a, b, p.LogLR, q.LogLR)
		}
		var sum float64
		for _, f := range p.Factors {
			sum += f.LogLR
		}
		if sum != p.LogLR || a.LogLR(b) != p.LogLR {
			t.Fatalf("%+v and %+v: %v, and without the words %v", a, b, p, a.LogLR(b))
		}
		if p.LogLR > MostPlausible() {
			t.Fatalf("%+v and %+v: %v is more than there is", a, b, p.LogLR)
		}
	}
	if most := (Record{Sex: "male", Born: Span{2000, 2000.01}, Missing: true}).Compare(Record{Sex: "male", Born: Span{2000, 2000.01}}).LogLR; most < MostPlausible()-0.5 {
		t.Errorf("the best there is says %v, far below %v", most, MostPlausible())
	}
}
