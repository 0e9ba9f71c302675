package evaluation

import "math"

// fineBins is fine enough to calibrate with and coarse enough to keep for every band.
const fineBins = 8192

// histogram counts scores in equal bins. What lies beyond either end counts in the bin there.
type histogram struct {
	from, to float64
	bins     []int
}

func newHistogram(from, to float64) histogram {
	return histogram{from, to, make([]int, fineBins)}
}

func (h *histogram) place(score float64) int {
	at := int((score - h.from) / (h.to - h.from) * float64(len(h.bins)))
	return max(0, min(len(h.bins)-1, at))
}

func (h *histogram) count(score float32) { h.bins[h.place(float64(score))]++ }

// centre is the score that stands for a bin.
func (h *histogram) centre(bin int) float64 {
	return h.from + (float64(bin)+0.5)*(h.to-h.from)/float64(len(h.bins))
}

// add adds another's counts, whatever its ends.
func (h *histogram) add(o histogram) {
	for i, n := range o.bins {
		if n > 0 {
			h.bins[h.place(o.centre(i))] += n
		}
	}
}

// scoreRange finds where a comparer's scores lie, from all mated pairs and a sample of the others.
func (s *set) scoreRange(c Comparer) (from, to float64, err error) {
	r := rower{set: s, comparer: c}
	from, to = math.Inf(1), math.Inf(-1)
	look := func(i, j int) error {
		if i == j || !s.traits[i].face || !s.traits[j].face {
			return nil
		}
		score, err := r.pairScore(min(i, j), max(i, j))
		from, to = min(from, float64(score)), max(to, float64(score))
		return err
	}
	bySubject := make([][]int, len(s.subjects))
	for i, t := range s.traits {
		bySubject[t.subject] = append(bySubject[t.subject], i)
	}
	for _, photos := range bySubject {
		for n, i := range photos {
			for _, j := range photos[n+1:] {
				if err := look(i, j); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	n := len(s.traits)
	if n <= 400 {
		for i := range n {
			for j := range i {
				if err := look(i, j); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	// The same steps in every run.
	for i := range n {
		for step := 1; step < 50; step += 6 {
			if err := look(i, (i+step*step+step)%n); err != nil {
				return 0, 0, err
			}
		}
	}
	if margin := 0.05 * (to - from); margin > 0 {
		return from - margin, to + margin, nil
	}
	return from - 1, to + 1, nil
}
