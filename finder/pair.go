package finder

import (
	"context"
	"fmt"
	"math"

	"homeward/registry"
)

// ComparePair says what speaks for a missing and a found case being one child, as the standing search weighs it. ErrNotFound when one is
// not there, ErrInvalid when one is of the wrong gallery, ErrNoFaces when one has no face to compare.
func (f *Finder) ComparePair(ctx context.Context, missing, found registry.CaseID) (registry.Strength, error) {
	g := f.now()
	m, o, err := f.pair(ctx, g, missing, found)
	if err != nil {
		return registry.Strength{}, err
	}
	c := f.compare(g, m)
	return c.leads(missing, registry.Missing, []ranked{c.weigh(found, o)})[0].Strength, nil
}

// PairCandidate is the found case as a candidate for the missing one, with all that it rests on; it has no rank. Open or closed, it is
// the same as Candidates tells of it. Errors are those of ComparePair.
func (f *Finder) PairCandidate(ctx context.Context, missing, found registry.CaseID) (Candidate, error) {
	g := f.now()
	m, o, err := f.pair(ctx, g, missing, found)
	if err != nil {
		return Candidate{}, err
	}
	defer f.serve()()
	c := f.compare(g, m)
	r := c.weigh(found, o)
	whole, err := c.whole(ctx, registry.Found, missing)
	if err != nil {
		return Candidate{}, err
	}
	out, err := c.candidate(ctx, r, missing)
	if err != nil {
		return Candidate{}, err
	}
	out.Counter.Rivals = rivals(whole, r)
	return out, nil
}

// otherTimes is the likelihood ratio from which a candidate is worth naming beside another: ten, where the ENFSI's scale begins to
// speak of moderate support.
const otherTimes = 10

// OtherCandidates are the strongest open candidates for a case besides one, at most limit of them, and none that is not worth naming.
func (f *Finder) OtherCandidates(ctx context.Context, id, except registry.CaseID, limit int) ([]Candidate, error) {
	g := f.now()
	e, err := f.onShelf(ctx, g, id)
	if err != nil {
		return nil, err
	}
	found, err := f.candidates(ctx, g, &e.subject, id, e.gallery.Other(), Query{Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	var out []Candidate
	for _, c := range found.Candidates {
		if c.Case.ID != except && c.Score >= math.Log(otherTimes) && len(out) < limit {
			out = append(out, c)
		}
	}
	return out, nil
}

// pair finds two cases that can be compared.
func (f *Finder) pair(ctx context.Context, g *generation, missing, found registry.CaseID) (m, o *enrolled, err error) {
	if m, err = f.onShelf(ctx, g, missing); err != nil {
		return nil, nil, err
	}
	if o, err = f.onShelf(ctx, g, found); err != nil {
		return nil, nil, err
	}
	if m.gallery != registry.Missing || o.gallery != registry.Found {
		return nil, nil, fmt.Errorf("compare cases %s and %s: %w: a pair is a missing and a found case, in this order", missing, found, registry.ErrInvalid)
	}
	return m, o, nil
}

// onShelf finds a case that can be compared.
func (f *Finder) onShelf(ctx context.Context, g *generation, id registry.CaseID) (*enrolled, error) {
	if e := g.shelf.get(id); e.comparable() {
		return e, nil
	}
	if _, err := f.Registry.Case(ctx, id); err != nil { // not there, or with no face
		return nil, err
	}
	return nil, fmt.Errorf("case %s: %w", id, ErrNoFaces)
}
