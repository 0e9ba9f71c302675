package finder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/index"
	"homeward/jobs"
	"homeward/registry"
)

// CrossmatchAbout is what every cross-match is about: there is one at a time.
const CrossmatchAbout = "galleries"

// CrossmatchArgs say what a cross-match is to do.
type CrossmatchArgs struct {
	Threshold float64 `json:"threshold"` // as Config.LeadThreshold
}

// What a cross-match counts in its progress. Its stages are the galleries of which each case is compared with the whole other one.
const (
	CrossCompared = "compared" // cases compared with the whole other gallery
	CrossPairs    = "pairs"    // of cases, each counted from either side
	CrossInFull   = "in_full"  // pairs compared in full: no bound on their faces told them apart
	CrossOpened   = "opened"   // leads that are new or opened again
	CrossChanged  = "changed"  // leads of which anything changed, those among them
)

const (
	// crossBlock is how many cases are multiplied at once: what is done again after a kill takes less than a second.
	crossBlock = 1024
	// crossLeads is how many leads are saved in a transaction, unless a single case has more: some milliseconds of writing.
	crossLeads = 256
)

// errSwitched means that another model set or metric answers now.
var errSwitched = errors.New("another model set or metric has come into use")

// Crossmatch is the handler of jobs of the kind registry.JobCrossmatch: it makes the leads that Standing would make if every open case
// were due, at the threshold of the job, and strikes them off what is due. The missing cases are compared with all found ones,
// then the found ones with all missing, as a pair may be found from either side alone. It gives way to people.
//
// It compares as Standing does, in another order. A pair's faces are two vectors, and what their inner product must be at least for the pair
// to be a lead, whatever the ages and the records say, is known beforehand (match.Metric.Floor): one pass of matrix products finds
// all pairs that get there, and those are compared in full. Standing looks no further than the first shortlist without a lead. So
// does this: as many faces of the other gallery as lie before a case's last lead are counted in a second pass, and when they might be more
// than a shortlist, the case is compared as Standing does it.
//
// What is compared is the galleries as they were when the pass began. A case that changed since is due by itself, and pairs with it are
// left to that. All is compared under one generation: when another comes to answer meanwhile, it begins anew.
func (f *Finder) Crossmatch(ctx context.Context, t *jobs.Task) error {
	var args CrossmatchArgs
	if err := json.Unmarshal(t.Job.Args, &args); err != nil || math.IsNaN(args.Threshold) || math.IsInf(args.Threshold, 0) {
		return jobs.Final(fmt.Errorf("cross-match: what it is to do cannot be read: cancel it and begin another"))
	}
	side, after, under, err := parseCrossPlace(t.Job.Place)
	if err != nil {
		return jobs.Final(err)
	}
	counts := t.Job.Progress.Counts
	for {
		if err := f.abide(ctx); err != nil {
			return err
		}
		now, err := f.Registry.ActiveGeneration(ctx)
		if err != nil {
			return err
		}
		x := &crossing{Finder: f, task: t, at: newBar(args.Threshold * math.Ln10), counts: maps.Clone(counts), generation: f.now(), term: termOf(now)}
		if now.ID != x.templates { // switched in between
			continue
		}
		if under != x.term { // what was compared before was compared under another, or others may have changed it since
			side, after, x.counts = registry.Missing, 0, nil
		}
		if x.counts == nil {
			x.counts = make(map[string]int64)
		}
		err = x.from(ctx, side, after)
		if err == nil { // a switch leaves it to a cross-match that is running
			if now, err = f.Registry.ActiveGeneration(ctx); err == nil && termOf(now) != x.term {
				err = errSwitched
			}
		}
		if !errors.Is(err, errSwitched) {
			return err
		}
		f.log.Info("cross-match begins anew", "reason", err)
		under = ""
	}
}

// termOf names the time for which a generation answers: after another it may answer again.
func termOf(g registry.Generation) string { return fmt.Sprintf("%s@%d", g.ID, g.ActiveAt.UnixMilli()) }

// abide is CatchUp, and waits for a generation that cannot be gone over to for now: a job that gave up would be missed when it can be. What a
// person has to put right is an error.
func (f *Finder) abide(ctx context.Context) error {
	for {
		err := f.CatchUp(ctx)
		if err == nil || !f.behind.Load() || errors.Is(err, ErrOtherModels) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

// crossing is a cross-match under way.
type crossing struct {
	*Finder
	task   *jobs.Task
	at     bar
	counts map[string]int64

	*generation            // under which all of it is compared
	term        string     // for which that answers
	asOf        int64      // the galleries are as of this change, or later
	others      crossOther // of the gallery that cases are compared with
}

// crossOther is the open cases of a gallery that have faces, as they are multiplied.
type crossOther struct {
	ids      []registry.CaseID
	cases    []*enrolled
	evidence *index.Rows // of each
	faces    *index.Rows // of all
}

// from goes on behind the case with a number.
func (x *crossing) from(ctx context.Context, side registry.Gallery, after int64) error {
	if side == registry.Missing {
		if err := x.pass(ctx, side, after); err != nil {
			return err
		}
		after = 0
	}
	return x.pass(ctx, registry.Found, after)
}

// pass compares the cases of a gallery behind a number with the whole other gallery.
func (x *crossing) pass(ctx context.Context, g registry.Gallery, after int64) error {
	if err := x.abide(ctx); err != nil {
		return err
	}
	if x.now() != x.generation {
		return errSwitched
	}
	x.asOf = x.followed.Load() // the shelf is as of that change or later, and what came in between is due
	own, err := x.Registry.OpenCases(ctx, g)
	if err != nil {
		return err
	}
	if err := x.load(ctx, g.Other()); err != nil {
		return err
	}
	done, _ := slices.BinarySearchFunc(own, after+1, func(c registry.OpenCase, n int64) int { return int(c.N - n) })
	save := func() error {
		if err := x.task.Save(ctx, crossPlace(g, after, x.term), registry.Progress{Stage: string(g), Done: int64(done), Total: int64(len(own)), Counts: x.counts}); err != nil {
			return err
		}
		return ctx.Err()
	}
	if err := save(); err != nil {
		return err
	}
	for done < len(own) {
		block := own[done:min(done+x.crossBlock, len(own))]
		if err := x.block(ctx, g, block); err != nil {
			return fmt.Errorf("cross-match of %s cases: %w", g, err)
		}
		done += len(block)
		after = block[len(block)-1].N
		if err := save(); err != nil {
			return err
		}
	}
	return nil
}

// load makes the other gallery ready to be multiplied.
func (x *crossing) load(ctx context.Context, g registry.Gallery) error {
	open, err := x.Registry.OpenCases(ctx, g)
	if err != nil {
		return err
	}
	x.others = crossOther{evidence: index.NewRows(x.metric.Dim(), len(open)), faces: index.NewRows(x.metric.Dim(), len(open))}
	o := &x.others
	for _, c := range open {
		e := x.shelf.get(c.ID)
		if !e.comparable() {
			continue
		}
		o.ids, o.cases = append(o.ids, c.ID), append(o.cases, e)
		if err := o.evidence.Add(e.evidence.Template); err != nil {
			return fmt.Errorf("case %s: %w", c.ID, err)
		}
		for _, r := range e.refs {
			if err := o.faces.Add(r.vector); err != nil {
				return fmt.Errorf("face %s: %w", r.face, err)
			}
		}
	}
	return nil
}

// crossed is a case of a block, and the cases that make leads with it.
type crossed struct {
	*comparison
	id     registry.CaseID
	mu     sync.Mutex
	found  []ranked
	before atomic.Int64 // faces of the other gallery that come before the last of found, or with it
}

// block compares cases and saves what came of it.
func (x *crossing) block(ctx context.Context, g registry.Gallery, block []registry.OpenCase) error {
	var own []*crossed
	out := make([]registry.Compared, 0, len(block))
	for _, c := range block {
		if e := x.shelf.get(c.ID); e.comparable() {
			own = append(own, &crossed{comparison: x.compare(x.generation, e), id: c.ID})
		} else {
			out = append(out, registry.Compared{Case: c.ID})
		}
	}
	full, err := x.meet(ctx, own)
	if err == nil {
		err = x.narrow(ctx, g, own)
	}
	if err != nil {
		return err
	}
	known, err := x.knownOf(ctx, g, own)
	if err != nil {
		return err
	}
	compared := make([]registry.Compared, len(own))
	if err := atOnce(ctx, len(own), func(i int) error {
		c := own[i]
		over, weaker := c.known(known[c.id], c.found, x.at)
		compared[i] = registry.Compared{Case: c.id, Found: c.leads(c.id, g, over), Weaker: c.leads(c.id, g, weaker)}
		return nil
	}); err != nil {
		return err
	}
	if x.now() != x.generation {
		return errSwitched
	}
	opened, changed, err := x.save(ctx, append(out, compared...))
	if err != nil {
		return err
	}
	x.counts[CrossCompared] += int64(len(own))
	x.counts[CrossPairs] += int64(len(own)) * int64(len(x.others.cases))
	x.counts[CrossInFull] += full
	x.counts[CrossOpened] += int64(opened)
	x.counts[CrossChanged] += int64(changed)
	return nil
}

// save stores what came of a block, a transaction for so many leads: others write as well.
func (x *crossing) save(ctx context.Context, all []registry.Compared) (opened, changed int, err error) {
	for len(all) > 0 {
		n, leads := 0, 0
		for n < len(all) && (n == 0 || leads+len(all[n].Found)+len(all[n].Weaker) <= crossLeads) {
			leads += len(all[n].Found) + len(all[n].Weaker)
			n++
		}
		news, c, err := x.Registry.SaveCompared(ctx, x.asOf, all[:n])
		if err != nil {
			return 0, 0, err
		}
		for _, l := range news {
			x.log.Info("lead", "lead", l.ID, "missing", l.Missing, "found", l.Found, "round", l.Round)
		}
		opened, changed, all = opened+len(news), changed+c, all[n:]
	}
	return opened, changed, nil
}

// meet finds all cases of the other gallery that are over the bar for each case, and says how many it compared in full.
func (x *crossing) meet(ctx context.Context, own []*crossed) (compared int64, err error) {
	var full atomic.Int64
	queries, least := index.NewRows(x.metric.Dim(), len(own)), make([]float64, len(own))
	for i, c := range own {
		least[i] = x.metric.Floor(c.subject.evidence, x.at.faces)
		if err := queries.Add(x.metric.Query(c.subject.evidence.Template)); err != nil {
			return 0, fmt.Errorf("case %s: %w", c.id, err)
		}
	}
	err = index.Cross(ctx, queries, least, x.others.evidence, index.CrossOptions{Pause: x.patient()}, func(q int, m index.Reached) {
		c, in := own[q], int64(0)
		for _, i := range m.At {
			n := m.First + int(i)
			// The same again with the two cases' own ages, which tells most of them apart.
			if x.metric.Most(c.subject.evidence, x.others.cases[n].evidence, float64(m.Products[i])+m.Slack) < x.at.faces {
				continue
			}
			in++
			if r, ok := c.reaches(x.others.ids[n], x.others.cases[n], x.at); ok {
				c.mu.Lock()
				c.found = append(c.found, r)
				c.mu.Unlock()
			}
		}
		full.Add(in)
	})
	for _, c := range own {
		slices.SortFunc(c.found, byScore)
	}
	return full.Load(), err
}

// narrow leaves each case what Standing would find, which ends at the first shortlist without any.
func (x *crossing) narrow(ctx context.Context, g registry.Gallery, own []*crossed) error {
	var some []*crossed
	for _, c := range own {
		if len(c.found) > 0 {
			some = append(some, c)
		}
	}
	queries, least := index.NewRows(x.metric.Dim(), len(some)), make([]float64, len(some))
	for i, c := range some {
		least[i] = c.last()
		if err := queries.Add(c.query); err != nil {
			return fmt.Errorf("case %s: %w", c.id, err)
		}
	}
	err := index.Cross(ctx, queries, least, x.others.faces, index.CrossOptions{Pause: x.patient()}, func(q int, m index.Reached) {
		some[q].before.Add(int64(len(m.At)))
	})
	if err != nil {
		return err
	}
	return atOnce(ctx, len(some), func(i int) (err error) {
		if c := some[i]; c.before.Load() > int64(x.shortlist) {
			c.found, err = c.over(ctx, c.id, g, x.at)
		}
		return err
	})
}

// last is the index' score of the last of the cases found, in its order.
func (c *crossed) last() float64 {
	last := math.Inf(1)
	for _, r := range c.found {
		best := math.Inf(-1)
		for _, ref := range r.enrolled.refs {
			best = max(best, float64(index.Score(c.query, ref.vector)))
		}
		last = min(last, best)
	}
	return last
}

// knownOf are the cases with which each case has a lead, as the registry has it.
func (x *crossing) knownOf(ctx context.Context, g registry.Gallery, own []*crossed) (map[registry.CaseID][]registry.CaseID, error) {
	ids := make([]registry.CaseID, len(own))
	for i, c := range own {
		ids[i] = c.id
	}
	pairs, err := x.Registry.LeadPairs(ctx, g, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[registry.CaseID][]registry.CaseID)
	for _, p := range pairs {
		if g == registry.Missing {
			out[p.Missing] = append(out[p.Missing], p.Found)
		} else {
			out[p.Found] = append(out[p.Found], p.Missing)
		}
	}
	return out, nil
}

// atOnce does n things on all cores.
func atOnce(ctx context.Context, n int, do func(i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(n, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := do(i); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// crossPlace is where a cross-match goes on: behind the case of a gallery with this number, as long as the term lasts that it was begun in.
func crossPlace(g registry.Gallery, after int64, term string) string {
	return fmt.Sprintf("%s %d %s", g, after, term)
}

func parseCrossPlace(place string) (g registry.Gallery, after int64, term string, err error) {
	if place == "" {
		return registry.Missing, 0, "", nil
	}
	side, rest, _ := strings.Cut(place, " ")
	n, term, _ := strings.Cut(rest, " ")
	after, err = strconv.ParseInt(n, 10, 64)
	if g = registry.Gallery(side); err != nil || after < 0 || g != registry.Missing && g != registry.Found {
		return "", 0, "", fmt.Errorf("cross-match: it cannot go on at %q: cancel it and begin another", place)
	}
	return g, after, term, nil
}
