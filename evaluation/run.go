package evaluation

import (
	"context"
	"math"
	"slices"
)

// Options say how to evaluate.
type Options struct {
	Set         string    // what the set is, for people who read the report
	Seed        uint64    // of the resamples
	Bootstrap   int       // resamples for intervals, 0 for none
	Distractors []int     // places of photos that only stand in galleries, each as a subject of its own
	FPIR        []float64 // for open-set figures, beside 1 % and 10 %
}

// fpir is the rates that are always given, and those asked for.
func (o Options) fpir() []float64 {
	out := []float64{0.01, 0.1}
	for _, q := range o.FPIR {
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	return out
}

// Run evaluates the comparers on the photos. Scores of one comparer mean nothing to another's: each is measured against its own
// thresholds. The same seed gives the same result. Run fails, saying what to do, when fewer than two subjects have two
// photos with a face (ErrTooFew) or a score is not a finite number, and when ctx ends.
func Run(ctx context.Context, photos []Photo, comparers []Comparer, o Options) (*Result, error) {
	if err := checkPhotos(photos, o); err != nil {
		return nil, err
	}
	if err := checkComparers(comparers); err != nil {
		return nil, err
	}
	s, err := newSet(photos, labelledPlaces(photos, o.Distractors), o, 0)
	if err != nil {
		return nil, err
	}
	return s.run(ctx, comparers, o, keepPairs)
}

// run evaluates a set; keep is how many non-mated pairs are kept at least.
func (s *set) run(ctx context.Context, comparers []Comparer, o Options, keep int) (*Result, error) {
	r := &Result{Options: o, Set: s.info(len(o.Distractors)), WithoutFace: s.withoutFace(o.Distractors)}
	for n, c := range comparers {
		sc, err := s.scan(ctx, c, keep)
		if err != nil {
			return nil, err
		}
		m := &Measures{Name: c.Name, LogLR: c.LogLR, Verification: map[string]*Verification{}, Identification: map[string]*Identification{}}
		for b, name := range Bands() {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			m.Verification[name] = s.verify(&sc.bands[b], b)
			if c.LogLR {
				if m.Calibration == nil {
					m.Calibration = map[string]*Calibration{}
				}
				m.Calibration[name] = calibrate(points(&sc.bands[b], &sc.nonMated[b]))
			}
		}
		for p, name := range Protocols() {
			m.Identification[name] = s.identify(&s.protocols[p], sc.searches[p], o.fpir())
		}
		all := &sc.bands[bandAll]
		m.ByAge, m.ByGap = breakDown(s, all, m.Verification["all"].Threshold[1], c.LogLR)
		m.mated, m.nonMated = sc.mated[bandAll], sc.nonMated[bandAll]
		m.DET = det(all)
		if n == 0 {
			r.HardestMated, r.HardestNonMated = s.hardest(all)
		}
		r.Comparers = append(r.Comparers, m)
	}
	return r, nil
}

// DETPoint is a point of the detection error trade-off: the share of mated pairs rejected where FAR is what it is.
type DETPoint struct{ FAR, FRR float64 }

// detRates are ten to each power of ten, from one in ten million to a half.
func detRates() []float64 {
	var out []float64
	for e := -70; e <= -3; e++ {
		out = append(out, math.Pow(10, float64(e)/10))
	}
	return out
}

// det follows the same convention as TAR. Rates that the pairs cannot resolve, or that lie below the pairs kept, have no FRR.
func det(p *bandPairs) []DETPoint {
	var out []DETPoint
	m := 0
	for _, rate := range detRates() {
		k := int(rate*float64(p.nonMated) + 1e-9)
		frr := math.NaN()
		if k >= 1 && k < len(p.top) && len(p.mated) > 0 {
			for m < len(p.mated) && p.mated[m].score > p.top[k].score {
				m++
			}
			frr = 1 - ratio(m, len(p.mated))
		}
		out = append(out, DETPoint{rate, frr})
	}
	return out
}

// hardestCount is how many pairs are shown of each kind.
const hardestCount = 20

// HardPair is a pair that its score tells wrong.
type HardPair struct {
	A, B  Photo
	Score float64
}

// hardest is the mated pairs that score lowest and the non-mated ones that score highest.
func (s *set) hardest(p *bandPairs) (mated, nonMated []HardPair) {
	hard := func(q pair) HardPair { return HardPair{s.photo(int(q.a)), s.photo(int(q.b)), float64(q.score)} }
	for i := 0; i < len(p.mated) && i < hardestCount; i++ {
		mated = append(mated, hard(p.mated[len(p.mated)-1-i]))
	}
	for i := 0; i < len(p.top) && i < hardestCount; i++ {
		nonMated = append(nonMated, hard(p.top[i]))
	}
	return mated, nonMated
}
