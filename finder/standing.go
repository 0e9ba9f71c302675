package finder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"homeward/index"
	"homeward/match"
	"homeward/registry"
)

// DefaultLeadThreshold is a likelihood ratio of a thousand. By the definition of a calibrated likelihood ratio, at most one pair in a
// thousand of different people gets there: people are not kept busy with chance, and a likeness that is worth a look is not missed.
const DefaultLeadThreshold = 3.0

// MostStanding is up to how many cases that wait for the standing search are counted.
const MostStanding = 1000

const (
	// standingBatch is how many due cases are read from the registry at a time.
	standingBatch = 100
	// patience is how long a comparison waits for people to be served before it goes ahead all the same, and glance how often it looks.
	patience, glance = 100 * time.Millisecond, 2 * time.Millisecond
	// standingRetry bounds the time between two tries of what failed.
	standingRetry = 30 * time.Second
)

// stand runs the standing search until ctx ends.
func (f *Finder) stand(ctx context.Context) error {
	wait := followEvery
	for ctx.Err() == nil {
		_, err := f.Standing(ctx)
		changed := f.changed
		if err == nil {
			wait = followEvery
		} else if ctx.Err() == nil {
			f.log.Error("standing search: it will be tried again", "error", err)
			wait = min(2*wait, standingRetry)
			changed = nil // what failed is not tried again with every change
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(wait):
		}
	}
	return nil
}

// Standing compares every case that changed since it was last compared with the whole other gallery, makes leads of the pairs at or
// over the threshold, and says how many cases it compared. What the registry has as due is due until it is compared, whatever ends
// the process. A case that fails does not keep the others from being compared; the first failure is returned. People go first: no case
// is begun while a search is being served or photos are waiting to be looked at, for as long as patience lasts.
func (f *Finder) Standing(ctx context.Context) (compared int, err error) {
	f.standing.Lock()
	defer f.standing.Unlock()
	if err := f.CatchUp(ctx); err != nil {
		return 0, err
	}
	var failed error
	failures := make(map[registry.CaseID]bool)
	for {
		due, err := f.Registry.DueCases(ctx, standingBatch+len(failures))
		if err != nil {
			return compared, err
		}
		due = slices.DeleteFunc(due, func(ch registry.Change) bool { return failures[ch.Case] })
		if len(due) == 0 {
			return compared, failed
		}
		if due, err = f.skip(ctx, due); err != nil {
			return compared, err
		}
		for _, ch := range due {
			if err := f.giveWay(ctx); err != nil {
				return compared, err
			}
			made, err := f.standOne(ctx, ch)
			switch {
			case err == nil:
				compared++
			case ctx.Err() != nil, errors.Is(err, registry.ErrFull): // so would all others
				return compared, err
			default:
				failures[ch.Case] = true
				if failed == nil {
					failed = err
				}
			}
			for _, l := range made {
				f.log.Info("lead", "lead", l.ID, "missing", l.Missing, "found", l.Found, "round", l.Round)
			}
		}
	}
}

// skip strikes off what has nothing to compare, and returns the rest. It brings the indexes up to all of them first: the shelf then
// has each as of its change or later, and what changes afterwards is due again.
func (f *Finder) skip(ctx context.Context, due []registry.Change) (rest []registry.Change, err error) {
	if f.followed.Load() < due[len(due)-1].Seq {
		if err := f.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	g := f.now()
	var idle []registry.Change
	for _, ch := range due {
		if g.shelf.get(ch.Case).comparable() {
			rest = append(rest, ch)
		} else {
			idle = append(idle, ch)
		}
	}
	return rest, f.Registry.SkipStandingAll(ctx, idle)
}

// standOne compares one case and saves what was found. It returns the leads that are new or opened again.
func (f *Finder) standOne(ctx context.Context, ch registry.Change) (made []registry.Lead, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("standing search of case %s: %w", ch.Case, err)
		}
	}()
	g := f.now()
	e := g.shelf.get(ch.Case)
	if !e.comparable() { // deleted or changed since skip looked
		return nil, nil
	}
	c := f.compare(g, e)
	over, err := c.over(ctx, ch.Case, e.gallery, newBar(f.threshold))
	if err != nil {
		return nil, err
	}
	known, err := f.leadsOf(ctx, ch.Case)
	if err != nil {
		return nil, err
	}
	others := make([]registry.CaseID, len(known))
	for i, l := range known {
		others[i] = l.Found
		if e.gallery == registry.Found {
			others[i] = l.Missing
		}
	}
	over, weaker := c.known(others, over, newBar(f.threshold))
	return f.Registry.SaveLeads(ctx, ch.Case, ch.Seq, c.leads(ch.Case, e.gallery, over), c.leads(ch.Case, e.gallery, weaker))
}

// compare is the comparison of an enrolled case.
func (f *Finder) compare(g *generation, e *enrolled) *comparison {
	return &comparison{Finder: f, generation: g, subject: &e.subject, query: e.query(g.metric)}
}

// bar is what makes a lead: a score, and a log-LR of the faces without which no records bring a pair there.
type bar struct{ score, faces float64 }

func newBar(threshold float64) bar { return bar{threshold, threshold - match.MostPlausible()} }

// reaches compares a case that may be below the bar: it is spared what cannot bring it there.
func (c *comparison) reaches(id registry.CaseID, e *enrolled, at bar) (r ranked, ok bool) {
	faces := c.metric.Compare(c.subject.evidence, e.evidence).LogLR
	if faces < at.faces || faces+c.subject.record.LogLR(e.record) < at.score {
		return ranked{}, false
	}
	r = c.weigh(id, e)
	return r, r.score >= at.score
}

// over finds the open cases of the other gallery that are at or over the threshold: it follows the index' order until a whole
// shortlist has none. The strongest of each shortlist come first.
func (c *comparison) over(ctx context.Context, own registry.CaseID, g registry.Gallery, at bar) (found []ranked, err error) {
	filter := index.Filter{Gallery: string(g.Other()), Statuses: []string{string(registry.StatusOpen)}, Except: string(own)}
	var after *index.Hit
	for {
		hits, next, err := c.hits(ctx, filter, after)
		if err != nil {
			return nil, err
		}
		before := len(found)
		for _, h := range hits {
			id := registry.CaseID(h.Case)
			if e := c.shelf.get(id); e.comparable() { // else deleted since the index was asked
				if r, ok := c.reaches(id, e, at); ok {
					found = append(found, r)
				}
			}
		}
		slices.SortFunc(found[before:], byScore)
		if len(found) == before || next == nil {
			return found, nil
		}
		after = next
	}
}

// known weighs the cases with which there are leads already, and which are not among those found over the bar: they are added to them,
// where they are far down the index' order behind shortlists without any, or are weaker.
func (c *comparison) known(others []registry.CaseID, found []ranked, at bar) (over, weaker []ranked) {
	done := make(map[registry.CaseID]struct{}, len(found))
	for _, r := range found {
		done[r.id] = struct{}{}
	}
	for _, id := range others {
		o := c.shelf.get(id)
		if _, done := done[id]; done || !o.comparable() {
			continue
		}
		switch r := c.weigh(id, o); {
		case math.IsNaN(r.score): // one damaged pair must not keep the case's others from being saved
			c.log.Error("the strength of a lead is not a number and is left as it was", "case", id)
		case r.score >= at.score:
			found = append(found, r)
		default:
			weaker = append(weaker, r)
		}
	}
	return found, weaker
}

// leads are ranked cases as pairs with the case that was compared. A pair is as strong from either side, to the last bit.
func (c *comparison) leads(own registry.CaseID, g registry.Gallery, some []ranked) []registry.NewLead {
	out := make([]registry.NewLead, len(some))
	for i, r := range some {
		n := registry.NewLead{Missing: own, Found: r.id}
		missing, found := c.subject, &r.enrolled.subject
		if g == registry.Found {
			n.Missing, n.Found, missing, found = n.Found, n.Missing, found, missing
		}
		best := c.metric.Best(missing.evidence, found.evidence)
		n.Strength = registry.Strength{
			Score: r.score / math.Ln10, Faces: r.faces / math.Ln10, Records: r.records.LogLR / math.Ln10,
			MissingFace: missing.refs[best.A].face, FoundFace: found.refs[best.B].face,
			ModelSet: c.templates,
		}
		out[i] = n
	}
	return out
}

// leadsOf are all leads of a case whose two cases are open.
func (f *Finder) leadsOf(ctx context.Context, id registry.CaseID) (all []registry.Lead, err error) {
	q := registry.LeadQuery{Case: id, Order: registry.ByNewest, Limit: registry.MaxListed}
	for {
		leads, next, err := f.Registry.Leads(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, leads...)
		if next == "" {
			return all, nil
		}
		q.Cursor = next
	}
}

// serve counts a search that people wait for, until the function it returns is called.
func (f *Finder) serve() func() {
	f.searching.Add(1)
	return func() { f.searching.Add(-1) }
}

// giveWay waits while people are being served, but not for ever.
func (f *Finder) giveWay(ctx context.Context) error {
	for until := time.Now().Add(patience); f.busy() && time.Now().Before(until); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(glance):
		}
	}
	return ctx.Err()
}

// patient is giveWay for pieces of work far shorter than a case, of several workers at once: while people are served it waits for patience,
// then works for half of that, and so on.
func (f *Finder) patient() func(context.Context) error {
	var mu sync.Mutex
	var until time.Time
	return func(ctx context.Context) error {
		if !f.busy() {
			return nil
		}
		mu.Lock()
		if time.Since(until) > patience/2 {
			until = time.Now().Add(patience)
		}
		end := until
		mu.Unlock()
		for f.busy() && time.Now().Before(end) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(glance):
			}
		}
		return nil
	}
}

// busy says whether people are being served: by a search, or by looking at as many photos as can be looked at.
func (f *Finder) busy() bool {
	return f.searching.Load() > 0 || f.now().eyes.people.full()
}
