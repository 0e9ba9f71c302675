package evaluation

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
)

// resamples draw a set's subjects anew, with replacement, as many as there are: how far figures would move had other people
// been in the set (subjects, because the photos of one are alike). A subject drawn m times is m people: a mated pair of it counts m times, and a
// non-mated pair as often as the product of its two subjects. Galleries stay as they are; it is probes that are drawn.
type resamples struct {
	times    [][]uint16 // for each resample, how often each subject was drawn
	mated    [][bandCount]int64
	nonMated [][bandCount]int64
}

func (s *set) resample(n int, seed, stream uint64) {
	if n == 0 {
		return
	}
	r := &s.resamples
	r.times, r.mated, r.nonMated = make([][]uint16, n), make([][bandCount]int64, n), make([][bandCount]int64, n)
	random := rand.New(rand.NewPCG(seed, stream))
	weight := make([]int64, len(s.subjects))
	for b := range n {
		clear(weight)
		for range s.subjects {
			weight[random.IntN(len(s.subjects))]++
		}
		r.times[b] = make([]uint16, len(weight))
		total := s.weigher.totals(weight)
		for i, m := range weight {
			r.times[b][i] = uint16(m)
			for band := range bandCount {
				of := int64(s.matedBySubject[band][i])
				r.mated[b][band] += m * of
				total[band] -= m * m * of
			}
		}
		r.nonMated[b] = total
	}
}

// eachResample calls f for every resample, on all processors.
func (s *set) eachResample(f func(b int, times []uint16)) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for b := w; b < len(s.resamples.times); b += workers {
				f(b, s.resamples.times[b])
			}
		})
	}
	wg.Wait()
}

func (s *set) newDraws() []float64 {
	d := make([]float64, len(s.resamples.times))
	for i := range d {
		d[i] = math.NaN()
	}
	return d
}

// drawVerification is a band's TARs in each resample. In sets of more than keepPairs non-mated pairs the 1 % threshold may lie below the pairs that
// are kept; it is then the lowest of them.
func (s *set) drawVerification(p *bandPairs, band int) (out [rateCount][]float64) {
	for r := range out {
		out[r] = s.newDraws()
	}
	if len(p.mated) == 0 || p.nonMated == 0 {
		return out
	}
	s.eachResample(func(b int, times []uint16) {
		weights, mated := s.resamples.nonMated[b][band], s.resamples.mated[b][band]
		if mated == 0 {
			return
		}
		// The rarest rate has the highest threshold: one walk down both lists meets them in turn.
		var seen, accepted int64
		at, m := 0, 0
		for r := rateCount - 1; r >= 0; r-- {
			k := weights / int64(FARs()[r])
			if k < 1 {
				continue
			}
			for ; at < len(p.top); at++ {
				w := int64(times[s.traits[p.top[at].a].subject]) * int64(times[s.traits[p.top[at].b].subject])
				if seen+w > k {
					break
				}
				seen += w
			}
			threshold := p.top[min(at, len(p.top)-1)].score
			for ; m < len(p.mated) && p.mated[m].score > threshold; m++ {
				accepted += int64(times[s.traits[p.mated[m].a].subject])
			}
			out[r][b] = float64(accepted) / float64(mated)
		}
	})
	return out
}

// drawShare is, for each resample, the share of searches for which hit holds.
func (s *set) drawShare(searches []search, hit func(search) bool) []float64 {
	out := s.newDraws()
	s.eachResample(func(b int, times []uint16) {
		var some, all int
		for _, q := range searches {
			m := int(times[s.traits[q.probe].subject])
			all += m
			if hit(q) {
				some += m
			}
		}
		out[b] = ratio(some, all)
	})
	return out
}
