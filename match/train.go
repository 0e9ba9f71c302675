package match

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Sample is a photo of a known person, as training takes it.
type Sample struct {
	Subject    string
	Age        float64 // labelled, in years; negative where unknown
	Side       string  // "young", "old" or ""
	Looks      float64 // estimated age
	LooksSD    float64
	Quality    float64
	Embeddings map[string][]float32 // by recogniser's fingerprint
}

// Face is the sample's face under a metric: with its labelled age or, where that is not known, the estimated one. It is
// without a template where no recogniser could work on it.
func (m *Metric) Face(s Sample) Face {
	f := Face{Age: m.fitted.AgeModel.Age(s.Looks, s.LooksSD), Quality: s.Quality}
	if s.Age >= 0 {
		f.Age = Age{Years: s.Age, SD: 0.5, Known: true}
	}
	f.Template, _ = m.Template(s.Embeddings) // nil says it
	return f
}

// LooksLike is the age of a face by its looks alone.
func (m *Metric) LooksLike(looks, sd float64) Age { return m.fitted.AgeModel.Age(looks, sd) }

const (
	// leastSubjects is how many people, each with photos years apart, a metric must be fitted on; fewer, and it would describe
	// them rather than faces.
	leastSubjects = 50
	// yearsApartAtLeast makes two photos of one person worth learning age from.
	yearsApartAtLeast = 5
)

// Fit fits a metric on photos of known people: the fusion, the projection and the age model, on samples; the calibration on
// others, who must be people that neither the metric nor the recognisers were trained on. Where there are none the
// calibration is made by leaving out a fifth of the people in turn, which is right for the metric but not for recognisers
// that know them. The age model is fitted on the faces of known age among aged, who need no embeddings; without a thousand
// of them an estimate is taken as it is, with a wide spread.
//
// Recognisers gives names, fingerprints and lengths of the embeddings, in the model set's order.
func Fit(name string, recognisers []Recogniser, samples, others, aged []Sample) (Fitted, error) {
	f, err := fitTemplates(name, recognisers, samples)
	if err != nil {
		return f, err
	}
	f.AgeModel = fitAgeModel(aged)
	var trials []trial
	var strangers float64
	if len(others) > 0 {
		m, err := newUncalibrated(f)
		if err != nil {
			return f, err
		}
		trials, strangers = m.trials(others)
	} else {
		const folds = 5
		people := bySubject(samples)
		for k := range folds {
			var in, out []Sample
			for i, photos := range people {
				if i%folds == k {
					out = append(out, photos...)
				} else {
					in = append(in, photos...)
				}
			}
			part, err := fitTemplates(name, recognisers, in)
			if err != nil {
				return f, fmt.Errorf("calibrate on a fifth of the people in turn: %w", err)
			}
			part.AgeModel = f.AgeModel
			m, err := newUncalibrated(part)
			if err != nil {
				return f, err
			}
			more, pairs := m.trials(out)
			trials, strangers = append(trials, more...), strangers+pairs
		}
	}
	if f.Calibration, err = fitCalibration(trials, strangers); err != nil {
		return f, err
	}
	return f, nil
}

// FitTemplates fits all but the calibration, which it takes from elsewhere: for the folds of an evaluation, and where the
// recognisers know everyone there is.
func FitTemplates(name string, recognisers []Recogniser, samples []Sample, from Fitted) (Fitted, error) {
	f, err := fitTemplates(name, recognisers, samples)
	f.AgeModel, f.Calibration = from.AgeModel, from.Calibration
	return f, err
}

// newUncalibrated makes a metric whose scores are the model's own.
func newUncalibrated(f Fitted) (*Metric, error) {
	f.Calibration = Calibration{Weights: make([]float64, calibrationWeights), Most: math.MaxFloat64}
	f.Calibration.Weights[0] = 1
	return NewMetric(f)
}

// bySubject groups samples by person, in the order of the labels.
func bySubject(samples []Sample) [][]Sample {
	groups := map[string][]Sample{}
	for _, s := range samples {
		groups[s.Subject] = append(groups[s.Subject], s)
	}
	names := slices.Sorted(maps.Keys(groups))
	out := make([][]Sample, len(names))
	for i, n := range names {
		out[i] = groups[n]
	}
	return out
}

func fitTemplates(name string, recognisers []Recogniser, samples []Sample) (Fitted, error) {
	f := Fitted{Name: name, Kind: Kind, Recognisers: slices.Clone(recognisers)}
	people := bySubject(samples)
	for i, r := range f.Recognisers {
		of := make([][][]float32, len(people))
		for k, photos := range people {
			for _, p := range photos {
				if v := p.Embeddings[r.Fingerprint]; len(v) == r.Dim && finite(v) {
					of[k] = append(of[k], v)
				}
			}
		}
		f.Recognisers[i].Centre = fitCentre(of, r.Dim)
	}
	fusion := fusion(f.Recognisers)
	var classes []class
	for _, photos := range people {
		var c class
		var kept []Sample
		for _, p := range photos {
			v, err := fusion.fuse(p.Embeddings)
			if err != nil {
				continue // a face that no recogniser could work on teaches nothing
			}
			c.photos = append(c.photos, v)
			kept = append(kept, p)
		}
		c.apart = func(i, j int) bool { return apart(kept[i], kept[j]) }
		if len(c.photos) > 0 {
			classes = append(classes, c)
		}
	}
	p, err := fitProjection(classes, fusion.dim())
	if err != nil {
		return f, err
	}
	f.Mean = float32s(p.mean)
	f.Between = float32s(p.between)
	for _, row := range p.rows {
		f.Rows = append(f.Rows, float32s(row)...)
	}
	// The usual size of a template's last number, over the photos at hand.
	m, err := newUncalibrated(f)
	if err != nil {
		return f, err
	}
	var sum float64
	n := 0
	for _, c := range classes {
		for _, v := range c.photos {
			if t, err := m.project(slices.Clone(v)); err == nil {
				sum += float64(t[len(t)-1]) * lastScale
				n++
			}
		}
	}
	f.Offset = sum / float64(n)
	return f, nil
}

// apart says whether two photos of one person were taken years apart.
func apart(a, b Sample) bool {
	if a.Age >= 0 && b.Age >= 0 {
		return math.Abs(a.Age-b.Age) >= yearsApartAtLeast
	}
	return a.Side != b.Side && a.Side != "" && b.Side != ""
}

// nonMatedPerPhoto bounds how many comparisons with others each photo adds to a calibration.
const nonMatedPerPhoto = 400

// trials compares all photos of these people with one another, and each photo with all that there are of each person taken
// together. It also says how many pairs of different people there are.
func (m *Metric) trials(samples []Sample) (out []trial, strangers float64) {
	type one struct {
		person, place int
		e             *Evidence
	}
	var all []one
	people := bySubject(samples)
	faces := make([][]Face, len(people)) // of each person
	for p, photos := range people {
		for _, s := range photos {
			f := m.Face(s)
			if e := m.Evidence([]Face{f}); e != nil {
				all = append(all, one{p, len(faces[p]), e})
				faces[p] = append(faces[p], f)
			}
		}
	}
	add := func(a, b *Evidence, mated bool) {
		out = append(out, trial{raw: m.raw(a.Template, b.Template), at: conditions(a, b), mated: mated})
	}
	for i, a := range all {
		// Every so many photos, beginning elsewhere for each: an even sample that needs no random numbers.
		step := max(1, i/nonMatedPerPhoto)
		for j := range i {
			if mated := a.person == all[j].person; mated || (i+j)%step == 0 {
				add(a.e, all[j].e, mated)
			}
		}
	}
	cases := make([]*Evidence, len(people))
	for p := range people {
		cases[p] = m.Evidence(faces[p])
	}
	step := max(1, len(people)/nonMatedPerPhoto)
	for i, a := range all {
		for p, c := range cases {
			switch {
			case len(faces[p]) < 2:
			case p != a.person:
				if (i+p)%step == 0 {
					add(a.e, c, false)
				}
			case len(faces[p]) > 2:
				add(a.e, m.Evidence(slices.Delete(slices.Clone(faces[p]), a.place, a.place+1)), true)
			}
		}
	}
	n := float64(len(people))
	return out, n * (n - 1) / 2
}

func float32s(v []float64) Vector {
	out := make(Vector, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}
