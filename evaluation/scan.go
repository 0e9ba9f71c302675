package evaluation

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// keepPairs is how many non-mated pairs of a band are kept at least; of more, the highest-scoring fiftieth if that is more. Twice what FAR 1 %
// needs leaves room for resamples, and a million photos do not need a million million scores in memory.
const keepPairs = 2_000_000

// scan is what one pass over all pairs and searches leaves of a comparer.
type scan struct {
	bands    [bandCount]bandPairs
	mated    [bandCount]histogram
	nonMated [bandCount]histogram
	searches [protocolCount][]search
}

// scan scores all pairs and runs all searches, a row of photos against all others at a time. Only what figures need is kept.
func (s *set) scan(ctx context.Context, c Comparer, keep int) (*scan, error) {
	from, to, err := s.scoreRange(c)
	if err != nil {
		return nil, err
	}
	out := &scan{}
	for p := range s.protocols {
		out.searches[p] = make([]search, len(s.protocols[p].probes))
	}
	slot := s.slots()
	rows := make([]*rower, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for w := range rows {
		r := &rower{set: s, comparer: c, out: out, slot: slot, row: make([]float32, len(s.traits)), best: make([]float32, len(s.subjects))}
		for b := range bandCount {
			r.top[b].keep = max(keep, s.nonMated[b]/50+1)
			r.histograms[b] = [2]histogram{newHistogram(from, to), newHistogram(from, to)}
		}
		rows[w] = r
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(s.traits) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.photo(ctx, i); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for b := range bandCount {
		top := topPairs{keep: rows[0].top[b].keep}
		p := &out.bands[b]
		out.mated[b], out.nonMated[b] = newHistogram(from, to), newHistogram(from, to)
		for _, r := range rows {
			top.pairs = append(top.pairs, r.top[b].pairs...)
			p.mated = append(p.mated, r.mated[b]...)
			out.mated[b].add(r.histograms[b][0])
			out.nonMated[b].add(r.histograms[b][1])
		}
		top.cut()
		slices.SortFunc(p.mated, higher)
		p.top, p.nonMated = top.pairs, s.nonMated[b]
	}
	return out, nil
}

// slots tells where each probe's search goes.
func (s *set) slots() (out [protocolCount]map[int]int) {
	for p := range s.protocols {
		out[p] = make(map[int]int, len(s.protocols[p].probes))
		for n, i := range s.protocols[p].probes {
			out[p][i] = n
		}
	}
	return out
}

// rower works on one photo after another.
type rower struct {
	*set
	comparer   Comparer
	out        *scan
	slot       [protocolCount]map[int]int
	row        []float32 // the photo's score with each other
	best       []float32 // the photo's score with each subject
	crowd      []float32 // the photo's score with each distractor
	places     []int
	top        [bandCount]topPairs
	mated      [bandCount][]pair
	histograms [bandCount][2]histogram // mated, non-mated
}

func (s *set) notFinite(c Comparer, score float64, a, b string) error {
	return fmt.Errorf("comparer %s gives %v for %s and %s: every score must be a finite number; set a Problem on photos that cannot be compared", c.Name, score, a, b)
}

func (r *rower) pairScore(i, j int) (float32, error) {
	raw := r.comparer.Pair(r.set.places[i], r.set.places[j])
	score, ok := finite(raw)
	if !ok {
		return 0, r.notFinite(r.comparer, raw, r.set.photo(i).Name, r.set.photo(j).Name)
	}
	return score, nil
}

// photo scores a photo against all others, and runs its searches.
func (r *rower) photo(ctx context.Context, i int) error {
	probe := false
	for p := range r.protocols {
		if r.protocols[p].isProbe[i] {
			probe = true
			if !r.traits[i].face {
				r.out.searches[p][r.slot[p][i]] = search{probe: int32(i), rank: never, crowdRank: never, other: float32(math.Inf(-1))}
			}
		}
	}
	if !r.traits[i].face {
		return nil
	}
	first := i + 1
	if probe {
		first = 0
	}
	for j := first; j < len(r.traits); j++ {
		if j == i || !r.traits[j].face {
			continue
		}
		score, err := r.pairScore(i, j)
		if err != nil {
			return err
		}
		r.row[j] = score
		if j > i {
			r.take(pair{score, int32(i), int32(j)})
		}
	}
	if !probe {
		return nil
	}
	r.crowd = r.crowd[:0]
	for p := range r.protocols {
		if !r.protocols[p].isProbe[i] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		q, err := r.search(&r.protocols[p], i)
		if err != nil {
			return err
		}
		r.out.searches[p][r.slot[p][i]] = q
	}
	return nil
}

func (r *rower) take(p pair) {
	a, b := &r.traits[p.a], &r.traits[p.b]
	mated := a.subject == b.subject
	in := bandsOf(a, b)
	for band := 0; in != 0; band, in = band+1, in>>1 {
		if in&1 == 0 {
			continue
		}
		if mated {
			r.mated[band] = append(r.mated[band], p)
			r.histograms[band][0].count(p.score)
		} else {
			r.top[band].put(p)
			r.histograms[band][1].count(p.score)
		}
	}
}

// search looks for a probe's subject in a gallery. The row is the probe's.
func (r *rower) search(p *protocol, i int) (search, error) {
	nobody := float32(math.Inf(-1))
	own := r.traits[i].subject
	out := search{probe: int32(i), searched: true, other: nobody}
	found := false
	for subject, photos := range p.gallery {
		r.best[subject] = nobody
		r.set.placesOf(photos, i, &r.places)
		if len(r.places) == 0 {
			continue
		}
		if p.fused {
			score, err := r.caseScore(i, r.places, r.subjects[subject])
			if err != nil {
				return out, err
			}
			r.best[subject] = score
		} else {
			for _, j := range photos {
				if int(j) != i {
					r.best[subject] = max(r.best[subject], r.row[j])
				}
			}
		}
		if int32(subject) == own {
			found = true
		} else {
			out.other = max(out.other, r.best[subject])
		}
	}
	out.rank, out.crowdRank = never, never
	if !found {
		return out, nil
	}
	out.mated = r.best[own]
	out.rank = 1
	for subject, score := range r.best {
		if int32(subject) != own && score >= out.mated {
			out.rank++
		}
	}
	out.crowdRank = out.rank
	if len(r.distractors) == 0 {
		return out, nil
	}
	crowd, err := r.crowdScores(p, i)
	if err != nil {
		return out, err
	}
	for _, score := range crowd {
		if score >= out.mated {
			out.crowdRank++
		}
	}
	return out, nil
}

// placesOf collects the places in the slice given to Run of photos, without the probe.
func (s *set) placesOf(photos []int32, probe int, out *[]int) {
	*out = (*out)[:0]
	for _, j := range photos {
		if int(j) != probe {
			*out = append(*out, s.places[j])
		}
	}
}

func (r *rower) caseScore(i int, places []int, name string) (float32, error) {
	// The comparer may keep what it is given.
	raw := r.comparer.Case(r.set.places[i], slices.Clone(places))
	score, ok := finite(raw)
	if !ok {
		return 0, r.notFinite(r.comparer, raw, r.set.photo(i).Name, "the case of "+name)
	}
	return score, nil
}

// crowdScores is the probe's score with each distractor. All protocols that compare photos share them.
func (r *rower) crowdScores(p *protocol, i int) ([]float32, error) {
	if p.fused {
		out := make([]float32, len(r.distractors))
		for n, d := range r.distractors {
			score, err := r.caseScore(i, []int{d}, r.all[d].Name)
			if err != nil {
				return nil, err
			}
			out[n] = score
		}
		return out, nil
	}
	if len(r.crowd) > 0 {
		return r.crowd, nil
	}
	for _, d := range r.distractors {
		raw := r.comparer.Pair(r.set.places[i], d)
		score, ok := finite(raw)
		if !ok {
			return nil, r.notFinite(r.comparer, raw, r.set.photo(i).Name, r.all[d].Name)
		}
		r.crowd = append(r.crowd, score)
	}
	return r.crowd, nil
}

// topPairs keeps the highest pairs.
type topPairs struct {
	keep  int
	pairs []pair
	floor float32 // nothing lower is kept
	full  bool
}

func (t *topPairs) put(p pair) {
	if t.full && p.score < t.floor {
		return
	}
	t.pairs = append(t.pairs, p)
	if len(t.pairs) >= 2*t.keep {
		t.cut()
	}
}

// cut sorts the pairs and drops all but the highest.
func (t *topPairs) cut() {
	slices.SortFunc(t.pairs, higher)
	if len(t.pairs) > t.keep {
		t.pairs = t.pairs[:t.keep]
		t.floor, t.full = t.pairs[t.keep-1].score, true
	}
}
