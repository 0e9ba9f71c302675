package finder

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"homeward/index"
	"homeward/registry"
)

const (
	// evaluatedCases is up to how many open cases of each gallery are compared to tell which leads would appear or vanish.
	evaluatedCases = 1000
	// evaluatedNamed is up to how many of anything an evaluation names.
	evaluatedNamed = 50
	// evaluatedRank is up to which rank a mate is looked for.
	evaluatedRank = 10_000
)

// Evaluation is what a switch from one generation to another would change. Likelihood ratios are log10. Ids only: it is kept, and
// printed.
type Evaluation struct {
	Before    string    `json:"before"` // ids of the generations
	After     string    `json:"after"`
	At        time.Time `json:"at"`
	Threshold float64   `json:"threshold"` // of leads

	Photos   PhotosEvaluation   `json:"photos"`
	Reunions ReunionsEvaluation `json:"reunions"`
	Sample   SampleEvaluation   `json:"sample"`
	Leads    LeadsEvaluation    `json:"leads"`
}

// PhotosEvaluation is about the photos by which a child can be found.
type PhotosEvaluation struct {
	Before int                    `json:"before"`
	After  int                    `json:"after"`
	Gained Some[registry.PhotoID] `json:"gained"` // whose child can be found only after
	Lost   Some[registry.PhotoID] `json:"lost"`   // whose child can be found only before
}

// Some counts things and names the first of them.
type Some[T any] struct {
	Count int `json:"count"`
	First []T `json:"first,omitempty"`
}

func (s *Some[T]) add(v T) {
	if s.Count++; len(s.First) < evaluatedNamed {
		s.First = append(s.First, v)
	}
}

// ReunionsEvaluation is about the pairs that DNA has confirmed to be one child.
type ReunionsEvaluation struct {
	Pairs  int         `json:"pairs"`
	Before MatedResult `json:"before"`
	After  MatedResult `json:"after"`
	Each   []MatedPair `json:"each,omitempty"` // the first of them
}

// MatedResult sums up how well one generation does on confirmed pairs. A mate is looked for from either side.
type MatedResult struct {
	Compared int     `json:"compared"`  // pairs of which both sides have a face
	Median   float64 `json:"median"`    // of the pairs' likelihood ratios
	Least    float64 `json:"least"`     // of these
	Over     int     `json:"over"`      // pairs at or over the threshold
	First    int     `json:"first"`     // searches in which the mate comes first
	FirstTen int     `json:"first_ten"` // in which it is among the first ten
	Searches int     `json:"searches"`
	MRR      float64 `json:"mean_reciprocal_rank"`
}

// MatedPair is a confirmed pair under both generations.
type MatedPair struct {
	Missing registry.CaseID `json:"missing"`
	Found   registry.CaseID `json:"found"`
	Before  *MatedStrength  `json:"before"` // nil where a side has no face to compare
	After   *MatedStrength  `json:"after"`
}

// MatedStrength is what speaks for a confirmed pair. Ranks are 0 behind the first 10,000.
type MatedStrength struct {
	LogLR       float64 `json:"log10_lr"`
	RankFound   int     `json:"rank_of_found"`   // in a search with the missing case
	RankMissing int     `json:"rank_of_missing"` // in a search with the found case
}

// SampleEvaluation is about the leads of a sample of open cases of both galleries, each compared with the whole other one.
type SampleEvaluation struct {
	Missing int            `json:"missing"` // cases compared
	Found   int            `json:"found"`
	Stay    Some[CasePair] `json:"stay"`
	Appear  Some[CasePair] `json:"appear"`
	Vanish  Some[CasePair] `json:"vanish"`
}

// CasePair is a missing and a found case.
type CasePair struct {
	Missing registry.CaseID `json:"missing"`
	Found   registry.CaseID `json:"found"`
}

// LeadsEvaluation is about the leads that there are.
type LeadsEvaluation struct {
	Known  int            `json:"known"`
	Fall   int            `json:"fall"` // below the threshold
	Rise   int            `json:"rise"` // to it
	Valued Some[LeadFall] `json:"valued"`
}

// LeadFall is a lead that falls below the threshold though examiners, a laboratory or both hold it for one child.
type LeadFall struct {
	Lead   registry.LeadID    `json:"lead"`
	State  registry.LeadState `json:"state"`
	Before float64            `json:"before"`
	After  *float64           `json:"after"` // nil where a side has no face to compare
}

// evaluation is an Evaluation being made.
type evaluation struct {
	*Finder
	before, after *generation
	at            bar
	out           Evaluation
}

// evaluate says what a switch to g would change, which it loads for that and empties again; build brings it up to what came in meanwhile. tell is told how many cases of how many were compared; its error ends it.
func (f *Finder) evaluate(ctx context.Context, g *generation, threshold float64, build func() error, tell func(done, total int) error) (Evaluation, error) {
	defer g.empty() // a switch loads what it goes over to, and what answers is still there
	seq, err := f.load(ctx, g)
	if err == nil {
		err = build()
	}
	if err != nil {
		return Evaluation{}, err
	}
	before, err := f.level(ctx, g, seq)
	if err != nil {
		return Evaluation{}, err
	}
	e := &evaluation{Finder: f, before: before, after: g, at: newBar(threshold * math.Ln10)}
	e.out = Evaluation{Before: e.before.templates, After: g.templates, At: time.Now().UTC().Truncate(time.Second), Threshold: threshold}
	if err := e.photos(ctx); err != nil {
		return Evaluation{}, err
	}
	reunions, err := f.Registry.Reunions(ctx)
	if err != nil {
		return Evaluation{}, err
	}
	sample := make(map[registry.Gallery][]registry.CaseID)
	total, done := len(reunions), 0
	for _, side := range []registry.Gallery{registry.Missing, registry.Found} {
		if sample[side], err = e.draw(ctx, side); err != nil {
			return Evaluation{}, err
		}
		total += len(sample[side])
	}
	step := func() error {
		done++
		if err := tell(done, total); err != nil {
			return err
		}
		return f.giveWay(ctx)
	}
	if err := e.reunions(ctx, reunions, step); err != nil {
		return Evaluation{}, err
	}
	if err := e.sampled(ctx, sample, step); err != nil {
		return Evaluation{}, err
	}
	if err := e.leads(ctx); err != nil {
		return Evaluation{}, err
	}
	return e.out, nil
}

// level brings g, which is as of a change, and the current generation up to the same one, and returns the latter.
func (f *Finder) level(ctx context.Context, g *generation, seq int64) (*generation, error) {
	f.catchUp.Lock()
	defer f.catchUp.Unlock()
	now := f.now()
	// The current one is told of it again when it follows, which does no harm.
	return now, f.eachChange(ctx, min(seq, f.followed.Load()), func(ctx context.Context, ch registry.Change, c *registry.Case) error {
		if err := f.followFaces(ctx, now, ch, c); err != nil {
			return err
		}
		return f.followFaces(ctx, g, ch, c)
	})
}

// photos compares by which photos children can be found. What has just come in and was not built yet counts on neither side.
func (e *evaluation) photos(ctx context.Context) error {
	before, after := e.before.shelf.photos(), e.after.shelf.photos()
	for n := int64(0); ; {
		late, err := e.Registry.Unbuilt(ctx, e.after.templates, n, buildBatch)
		if err != nil {
			return err
		}
		for _, u := range late {
			n = u.N
			delete(before, u.Photo)
		}
		if len(late) < buildBatch {
			break
		}
	}
	p := &e.out.Photos
	p.Before, p.After = len(before), len(after)
	only := func(in, notIn map[registry.PhotoID]struct{}, out *Some[registry.PhotoID]) {
		var ids []registry.PhotoID
		for id := range in {
			if _, both := notIn[id]; !both {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			out.add(id)
		}
	}
	only(after, before, &p.Gained)
	only(before, after, &p.Lost)
	return nil
}

// photos are those that have a face on the shelf.
func (s *shelf) photos() map[registry.PhotoID]struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[registry.PhotoID]struct{}, len(s.cases))
	for _, e := range s.cases {
		for _, r := range e.refs {
			out[r.photo] = struct{}{}
		}
	}
	return out
}

// draw samples open cases of a gallery that have a face under either generation. The same registry gives the same sample.
func (e *evaluation) draw(ctx context.Context, g registry.Gallery) (some []registry.CaseID, err error) {
	open, err := e.Registry.OpenCases(ctx, g)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(g))))
	rng.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	for _, c := range open {
		if len(some) < evaluatedCases && (e.before.shelf.get(c.ID).comparable() || e.after.shelf.get(c.ID).comparable()) {
			some = append(some, c.ID)
		}
	}
	return some, nil
}

func (e *evaluation) reunions(ctx context.Context, all []registry.Reunion, step func() error) error {
	out := &e.out.Reunions
	out.Pairs = len(all)
	var before, after []MatedStrength
	for _, u := range all {
		p := MatedPair{Missing: u.Missing, Found: u.Found}
		for _, side := range []struct {
			g   *generation
			of  **MatedStrength
			all *[]MatedStrength
		}{{e.before, &p.Before, &before}, {e.after, &p.After, &after}} {
			s, ok, err := e.mated(ctx, side.g, u)
			if err != nil {
				return err
			}
			if ok {
				*side.of = &s
				*side.all = append(*side.all, s)
			}
		}
		if len(out.Each) < evaluatedNamed {
			out.Each = append(out.Each, p)
		}
		if err := step(); err != nil {
			return err
		}
	}
	out.Before, out.After = e.sum(before), e.sum(after)
	return nil
}

// sum is what the strengths come to.
func (e *evaluation) sum(all []MatedStrength) (m MatedResult) {
	if m.Compared = len(all); m.Compared == 0 {
		return m
	}
	var scores []float64
	for _, s := range all {
		scores = append(scores, s.LogLR)
		if s.LogLR >= e.out.Threshold {
			m.Over++
		}
		for _, rank := range []int{s.RankFound, s.RankMissing} {
			m.Searches++
			if rank == 0 {
				continue
			}
			m.MRR += 1 / float64(rank)
			if rank == 1 {
				m.First++
			}
			if rank <= 10 {
				m.FirstTen++
			}
		}
	}
	m.MRR /= float64(m.Searches)
	slices.Sort(scores)
	m.Least = scores[0]
	m.Median = (scores[(len(scores)-1)/2] + scores[len(scores)/2]) / 2
	return m
}

// strength is what speaks for a pair under a generation; nil where a side has no face, or one whose template is damaged so that this is no number.
func (e *evaluation) strength(g *generation, missing, found registry.CaseID) *float64 {
	m, o := g.shelf.get(missing), g.shelf.get(found)
	if !m.comparable() || !o.comparable() {
		return nil
	}
	score := e.compare(g, m).weigh(found, o).score / math.Ln10
	if math.IsNaN(score) || math.IsInf(score, 0) {
		return nil
	}
	return &score
}

// mated compares a confirmed pair under a generation; ok is false where it has no strength.
func (e *evaluation) mated(ctx context.Context, g *generation, u registry.Reunion) (s MatedStrength, ok bool, err error) {
	score := e.strength(g, u.Missing, u.Found)
	if score == nil {
		return s, false, nil
	}
	s.LogLR = *score
	if s.RankFound, err = e.rank(ctx, g, u.Missing, u.Found); err == nil {
		s.RankMissing, err = e.rank(ctx, g, u.Found, u.Missing)
	}
	return s, true, err
}

// rank is at which place a search with all photos of a case has its mate, among open and closed cases; 0 behind evaluatedRank.
func (e *evaluation) rank(ctx context.Context, g *generation, own, mate registry.CaseID) (int, error) {
	from := g.shelf.get(own)
	c := e.compare(g, from)
	filter := index.Filter{Gallery: string(from.gallery.Other()), Except: string(own)}
	var after *index.Hit
	for seen := 0; seen < evaluatedRank; {
		tier, next, err := c.tier(ctx, filter, after)
		if err != nil {
			return 0, err
		}
		if i := slices.IndexFunc(tier, func(r ranked) bool { return r.id == mate }); i >= 0 {
			return seen + i + 1, nil
		}
		if next == nil {
			break
		}
		seen, after = seen+len(tier), next
	}
	return 0, nil
}

// sampled compares the sample under both generations.
func (e *evaluation) sampled(ctx context.Context, sample map[registry.Gallery][]registry.CaseID, step func() error) error {
	type under struct{ before, after bool }
	pairs := make(map[CasePair]*under)
	for side, cases := range sample {
		for _, id := range cases {
			for _, g := range []*generation{e.before, e.after} {
				from := g.shelf.get(id)
				if !from.comparable() {
					continue
				}
				found, err := e.compare(g, from).over(ctx, id, side, e.at)
				if err != nil {
					return err
				}
				for _, r := range found {
					p := CasePair{id, r.id}
					if side == registry.Found {
						p = CasePair{r.id, id}
					}
					if pairs[p] == nil {
						pairs[p] = new(under)
					}
					if g == e.before {
						pairs[p].before = true
					} else {
						pairs[p].after = true
					}
				}
			}
			if err := step(); err != nil {
				return err
			}
		}
	}
	s := &e.out.Sample
	s.Missing, s.Found = len(sample[registry.Missing]), len(sample[registry.Found])
	var all []CasePair
	for p := range pairs {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b CasePair) int {
		return cmp.Or(cmp.Compare(a.Missing, b.Missing), cmp.Compare(a.Found, b.Found))
	})
	for _, p := range all {
		switch u := pairs[p]; {
		case u.before && u.after:
			s.Stay.add(p)
		case u.after:
			s.Appear.add(p)
		default:
			s.Vanish.add(p)
		}
	}
	return nil
}

// leads weighs the leads that there are.
func (e *evaluation) leads(ctx context.Context) error {
	out := &e.out.Leads
	q := registry.LeadQuery{Order: registry.ByNewest, Limit: registry.MaxListed}
	for {
		leads, next, err := e.Registry.Leads(ctx, q)
		if err != nil {
			return err
		}
		for _, l := range leads {
			out.Known++
			before, after := e.strength(e.before, l.Missing, l.Found), e.strength(e.after, l.Missing, l.Found)
			was, is := before != nil && *before >= e.out.Threshold, after != nil && *after >= e.out.Threshold
			switch {
			case was && !is:
				out.Fall++
				switch l.State {
				case registry.LeadPotential, registry.LeadDNA, registry.LeadConfirmed:
					out.Valued.add(LeadFall{Lead: l.ID, State: l.State, Before: *before, After: after})
				}
			case is && !was:
				out.Rise++
			}
		}
		if err := e.giveWay(ctx); err != nil {
			return err
		}
		if q.Cursor = next; next == "" {
			return nil
		}
	}
}
