package evaluation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
)

// Folds gives each subject's fold, from 0 to k-1: subjects in the order of the SHA-256 of their label, dealt in turn. Everybody who asks about the
// same subjects gets the same answer. RunFolds asks without distractors.
func Folds(photos []Photo, k int) map[string]int {
	out := map[string]int{}
	for _, p := range photos {
		out[p.Subject] = 0
	}
	labels := make([]string, 0, len(out))
	for label := range out {
		labels = append(labels, label)
	}
	slices.SortFunc(labels, func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return bytes.Compare(x[:], y[:])
	})
	for i, label := range labels {
		out[label] = i % k
	}
	return out
}

// RunFolds evaluates comparers that are fitted on the very set: it deals the subjects into k folds, asks fit for comparers made
// without the photos of a fold (train is the places of all others but distractors), and evaluates them within the fold. fit
// is called for one fold after another, and gives comparers of the same names for each.
//
// Every figure is the mean over folds: ranks and FNIR weighted by probes (in breakdowns by those of the row), TAR and Cllr plain, breakdowns of verification by pairs; folds in which a figure is not resolved are
// left out of its mean. Counts are sums, galleries the mean. For intervals each fold's subjects are drawn anew within the fold, and the mean is
// taken of each draw. Result.Folds keeps the folds.
func RunFolds(ctx context.Context, photos []Photo, k int, fit func(ctx context.Context, fold int, train []int) ([]Comparer, error), o Options) (*Result, error) {
	if k < 2 {
		return nil, fmt.Errorf("%d folds: use two or more", k)
	}
	if err := checkPhotos(photos, o); err != nil {
		return nil, err
	}
	labelled := labelledPlaces(photos, o.Distractors)
	own := make([]Photo, len(labelled))
	for i, place := range labelled {
		own[i] = photos[place]
	}
	folds := Folds(own, k)
	sets := make([]*set, k)
	train := make([][]int, k)
	for f := range k {
		var places []int
		for _, place := range labelled {
			if folds[photos[place].Subject] == f {
				places = append(places, place)
			} else {
				train[f] = append(train[f], place)
			}
		}
		var err error
		// All sets first: fitting takes longer than finding out that a fold is too small.
		if sets[f], err = newSet(photos, places, o, uint64(f)+1); err != nil {
			return nil, fmt.Errorf("fold %d of %d: %w; use fewer folds", f+1, k, err)
		}
	}
	var results []*Result
	for f, s := range sets {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		comparers, err := fit(ctx, f, train[f])
		if err != nil {
			return nil, fmt.Errorf("fold %d of %d: fit: %w", f+1, k, err)
		}
		if err := checkComparers(comparers); err != nil {
			return nil, fmt.Errorf("fold %d of %d: %w", f+1, k, err)
		}
		r, err := s.run(ctx, comparers, o, keepPairs)
		if err != nil {
			return nil, fmt.Errorf("fold %d of %d: %w", f+1, k, err)
		}
		if f > 0 && !slices.EqualFunc(r.Comparers, results[0].Comparers, func(a, b *Measures) bool { return a.Name == b.Name && a.LogLR == b.LogLR }) {
			return nil, fmt.Errorf("fold %d of %d: its comparers are not those of the first fold", f+1, k)
		}
		results = append(results, r)
	}
	return join(results, o), nil
}

// join is the mean of folds.
func join(folds []*Result, o Options) *Result {
	out := &Result{Options: o, Folds: folds}
	out.Set.Distractors, out.Set.DistractorsWithoutFace = folds[0].Set.Distractors, folds[0].Set.DistractorsWithoutFace
	for i, f := range folds {
		out.Set.Photos += f.Set.Photos
		out.Set.WithoutFace += f.Set.WithoutFace
		out.Set.Subjects += f.Set.Subjects
		out.Set.SubjectsWithTwo += f.Set.SubjectsWithTwo
		out.Set.Aged += f.Set.Aged
		out.Set.Young += f.Set.Young
		out.Set.Old += f.Set.Old
		// Each fold lists its own photos and then the same distractors.
		listed := f.WithoutFace
		if i+1 < len(folds) {
			listed = listed[:f.Set.WithoutFace]
		}
		out.WithoutFace = append(out.WithoutFace, listed...)
		out.HardestMated = append(out.HardestMated, f.HardestMated...)
		out.HardestNonMated = append(out.HardestNonMated, f.HardestNonMated...)
	}
	out.HardestMated = worst(out.HardestMated, func(a, b HardPair) bool { return a.Score < b.Score })
	out.HardestNonMated = worst(out.HardestNonMated, func(a, b HardPair) bool { return a.Score > b.Score })
	for c := range folds[0].Comparers {
		var of []*Measures
		for _, f := range folds {
			of = append(of, f.Comparers[c])
		}
		out.Comparers = append(out.Comparers, joinMeasures(of))
	}
	return out
}

func worst(pairs []HardPair, before func(a, b HardPair) bool) []HardPair {
	slices.SortStableFunc(pairs, func(a, b HardPair) int {
		switch {
		case before(a, b):
			return -1
		case before(b, a):
			return 1
		}
		return 0
	})
	return pairs[:min(len(pairs), hardestCount)]
}

func joinMeasures(of []*Measures) *Measures {
	first := of[0]
	out := &Measures{Name: first.Name, LogLR: first.LogLR, Verification: map[string]*Verification{}, Identification: map[string]*Identification{}}
	for _, band := range Bands() {
		out.Verification[band] = joinVerification(pick(of, func(m *Measures) *Verification { return m.Verification[band] }))
		if first.LogLR {
			if out.Calibration == nil {
				out.Calibration = map[string]*Calibration{}
			}
			out.Calibration[band] = meanCalibration(pick(of, func(m *Measures) *Calibration { return m.Calibration[band] }))
		}
	}
	for _, protocol := range Protocols() {
		out.Identification[protocol] = joinIdentification(pick(of, func(m *Measures) *Identification { return m.Identification[protocol] }))
	}
	out.ByAge = joinRows(pick(of, func(m *Measures) []Row { return m.ByAge }))
	out.ByGap = joinRows(pick(of, func(m *Measures) []Row { return m.ByGap }))
	for i := range first.DET {
		frr := pick(of, func(m *Measures) float64 { return m.DET[i].FRR })
		out.DET = append(out.DET, DETPoint{first.DET[i].FAR, mean(frr, same(len(of)))})
	}
	from, to := first.mated.from, first.mated.to
	for _, m := range of {
		from, to = min(from, m.mated.from), max(to, m.mated.to)
	}
	out.mated, out.nonMated = newHistogram(from, to), newHistogram(from, to)
	for _, m := range of {
		out.mated.add(m.mated)
		out.nonMated.add(m.nonMated)
	}
	return out
}

func pick[T, U any](of []T, get func(T) U) []U {
	out := make([]U, len(of))
	for i, x := range of {
		out[i] = get(x)
	}
	return out
}

// same is n equal weights.
func same(n int) []float64 { return slices.Repeat([]float64{1}, n) }

func joinVerification(of []*Verification) *Verification {
	out := &Verification{}
	for _, v := range of {
		out.Mated += v.Mated
		out.NonMated += v.NonMated
	}
	for r := range out.TAR {
		out.TAR[r] = meanFigure(pick(of, func(v *Verification) Figure { return v.TAR[r] }), same(len(of)))
		out.Threshold[r] = mean(pick(of, func(v *Verification) float64 { return v.Threshold[r] }), same(len(of)))
	}
	return out
}

func joinIdentification(of []*Identification) *Identification {
	out := &Identification{}
	var gallery, without float64
	for _, f := range of {
		out.Probes += f.Probes
		out.ProbesWithoutFace += f.ProbesWithoutFace
		gallery += float64(f.Gallery) / float64(len(of))
		without += float64(f.GalleryWithoutFace) / float64(len(of))
	}
	out.Gallery, out.GalleryWithoutFace = int(math.Round(gallery)), int(math.Round(without))
	weights := pick(of, func(f *Identification) float64 { return float64(f.Probes) })
	for k := range out.Rank {
		out.Rank[k] = meanFigure(pick(of, func(f *Identification) Figure { return f.Rank[k] }), weights)
	}
	for r := range cmcRanks {
		out.CMC = append(out.CMC, mean(pick(of, func(f *Identification) float64 { return f.CMC[r] }), weights))
	}
	for i, q := range of[0].FNIR {
		out.FNIR = append(out.FNIR, OpenSet{q.FPIR, meanFigure(pick(of, func(f *Identification) Figure { return f.FNIR[i].FNIR }), weights)})
	}
	out.ByAge = joinSearchRows(pick(of, func(f *Identification) []SearchRow { return f.ByAge }))
	out.ByGap = joinSearchRows(pick(of, func(f *Identification) []SearchRow { return f.ByGap }))
	out.ByLooks = joinSearchRows(pick(of, func(f *Identification) []SearchRow { return f.ByLooks }))
	if of[0].WithDistractors != nil {
		c := &Crowded{Distractors: of[0].WithDistractors.Distractors}
		for k := range c.Rank {
			c.Rank[k] = meanFigure(pick(of, func(f *Identification) Figure { return f.WithDistractors.Rank[k] }), weights)
			c.Fall[k] = out.Rank[k].Value - c.Rank[k].Value
		}
		for r := range cmcRanks {
			c.CMC = append(c.CMC, mean(pick(of, func(f *Identification) float64 { return f.WithDistractors.CMC[r] }), weights))
		}
		out.WithDistractors = c
	}
	return out
}

func joinRows(of [][]Row) []Row {
	out := slices.Clone(of[0])
	for i := range out {
		rows := pick(of, func(r []Row) Row { return r[i] })
		mated := pick(rows, func(r Row) float64 { return float64(r.Mated) })
		nonMated := pick(rows, func(r Row) float64 { return float64(r.NonMated) })
		out[i].Mated, out[i].NonMated = 0, 0
		for _, r := range rows {
			out[i].Mated += r.Mated
			out[i].NonMated += r.NonMated
		}
		out[i].TAR = mean(pick(rows, func(r Row) float64 { return r.TAR }), mated)
		out[i].FAR = mean(pick(rows, func(r Row) float64 { return r.FAR }), nonMated)
		out[i].Cllr = mean(pick(rows, func(r Row) float64 { return r.Cllr }), mated)
	}
	return out
}
