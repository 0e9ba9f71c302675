package finder

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"homeward/index"
	"homeward/match"
	"homeward/registry"
)

const (
	// checkSample is how many references a check that is not deep searches with.
	checkSample = 500
	// checkTop is how many cases such a search asks for.
	checkTop = 10
	// sameScore is how far two sums of the same products may be apart.
	sameScore = 1e-4
)

// Care is a registry opened to be checked and mended, with what the models of its generation expect of it and without anything
// that runs.
type Care struct {
	Registry *registry.Registry

	finder     *Finder     // nil where no models can be read
	generation *generation // nil where its models are not installed
	missing    error       // why
}

// OpenCare opens the registry to be checked and mended. Errors are those of registry.Open.
func OpenCare(ctx context.Context, c Config) (_ *Care, err error) {
	r, err := registry.Open(ctx, c.Data, registry.Options{OperatorKey: c.OperatorKey, Existing: true})
	if err != nil {
		return nil, err
	}
	care := &Care{Registry: r}
	if care.finder, care.missing = newFinder(c); care.missing != nil {
		return care, nil
	}
	care.finder.Registry = r
	active, err := r.ActiveGeneration(ctx)
	switch {
	case errors.Is(err, registry.ErrNotFound), err == nil && active.Name == "": // one from before there were generations
		care.generation, care.missing = care.finder.openGeneration(c.Set, "")
	case err != nil:
		care.missing = err
	default:
		care.generation, care.missing = care.finder.openRecorded(active)
	}
	if g := care.generation; g != nil && active.ID != "" && g.templates != active.ID {
		care.generation, care.missing = nil, errors.Join(ErrOtherModels, g.retire())
	}
	if care.generation != nil {
		care.finder.current.Store(care.generation)
	}
	return care, nil
}

// Close closes the registry.
func (c *Care) Close() error {
	if c.finder == nil {
		return c.Registry.Close()
	}
	return c.finder.Close()
}

// expect says what the registry's own check should find.
func (c *Care) expect(deep bool, progress func(done, total int64)) registry.CheckOptions {
	o := registry.CheckOptions{Deep: deep, Progress: progress}
	if g := c.generation; g != nil {
		o.Active, o.Project = g.templates, g.project
		o.Templates = map[string]int{g.templates: g.metric.Dim()}
		o.Embeddings = make(map[string]int)
		for _, r := range Recognisers(g.set) {
			o.Embeddings[r.Fingerprint] = r.Dim
		}
	}
	return o
}

// Check holds everything in the registry against one another, and an index made of it as the server makes it against the registry. A deep
// one decrypts every photo and searches with every reference. Errors are those of registry.Check.
func (c *Care) Check(ctx context.Context, deep bool, progress func(done, total int64), report func(registry.Problem)) (registry.Checked, error) {
	counts, err := c.Registry.Check(ctx, c.expect(deep, progress), report)
	if err != nil {
		return counts, err
	}
	return counts, c.checkIndex(ctx, deep, report)
}

// Repair mends what can be mended: see registry.Repair. from, which may be nil, has photos' files.
func (c *Care) Repair(ctx context.Context, o registry.RepairOptions, report func(registry.Mended)) (registry.Checked, error) {
	o.CheckOptions = c.expect(o.Deep, o.Progress)
	return c.Registry.Repair(ctx, o, report)
}

// checkIndex makes the index of faces as the server does, and holds it against the registry.
func (c *Care) checkIndex(ctx context.Context, deep bool, report func(registry.Problem)) error {
	if c.generation == nil {
		p := registry.NewProblem("models.other", "what its templates should be, and the index, were not checked: %v", c.missing)
		p.Known = true
		report(p)
		return nil
	}
	g := c.generation
	seq, err := c.finder.load(ctx, g)
	if errors.Is(err, registry.ErrCorrupt) || errors.Is(err, registry.ErrInvalid) {
		report(registry.NewProblem("index.unbuilt", "the index of faces cannot be made of the registry"))
		return nil
	}
	if err != nil {
		return err
	}
	return c.compareIndex(ctx, g, seq, deep, report)
}

// compareIndex holds an index that was made of the registry as it was after a change against the registry as it is.
func (c *Care) compareIndex(ctx context.Context, g *generation, seq int64, deep bool, report func(registry.Problem)) error {
	_, total := g.faces.Size()
	every := 1
	if !deep {
		every = max(1, total/checkSample)
	}
	var searches []search
	var suspects []registry.Problem
	n, seen := 0, 0
	_, err := c.Registry.EachReference(ctx, g.templates, func(cs registry.Case, refs []registry.Reference) error {
		refs = sized(g, refs)
		held := g.shelf.get(cs.ID)
		if held == nil {
			suspects = append(suspects, onCase(cs.ID, "index.missing", "it is not in the index"))
			return nil
		}
		for _, r := range refs {
			i := slices.IndexFunc(held.refs, func(h reference) bool { return h.face == r.Face })
			switch {
			case i < 0:
				suspects = append(suspects, onFace(cs.ID, r, "index.missing", "it is not in the index"))
			case !slices.Equal(held.refs[i].vector, r.Template):
				suspects = append(suspects, onFace(cs.ID, r, "index.wrong", "the index has other numbers for it"))
			}
		}
		if len(held.refs) > len(refs) {
			suspects = append(suspects, onCase(cs.ID, "index.extra", "the index has faces of it that the registry has not"))
		}
		seen += len(refs)
		s := search{in: cs.ID, gallery: cs.Gallery}
		for _, r := range refs {
			if n++; n%every == 0 {
				s.with = append(s.with, r.Face)
			}
		}
		if s.with != nil {
			searches = append(searches, s)
		}
		return nil
	})
	if err == nil {
		var lost []registry.Problem
		lost, err = c.notFound(ctx, g, searches)
		suspects = append(suspects, lost...)
	}
	if err != nil {
		return fmt.Errorf("hold the index against the registry: %w", err)
	}
	// What was changed between making the index and reading the registry again is for the server to follow.
	changed, err := c.changedSince(ctx, seq)
	if err != nil {
		return err
	}
	for _, p := range suspects {
		if !changed[p.Case] {
			report(p)
		}
	}
	if total != seen && len(changed) == 0 && len(suspects) == 0 {
		report(registry.NewProblem("index.extra", "the index has %d references and the registry %d", total, seen))
	}
	return nil
}

// search is a case with those of its faces that are to find it.
type search struct {
	in      registry.CaseID
	gallery registry.Gallery
	with    []registry.FaceID
}

// notFound searches, and tells what does not find its own case. It reads each case again: searches take minutes, and one transaction over
// all of them would keep the registry's log from being folded into its database.
func (c *Care) notFound(ctx context.Context, g *generation, searches []search) (lost []registry.Problem, err error) {
	for _, s := range searches {
		refs, err := c.Registry.References(ctx, s.in, g.templates)
		if err != nil {
			return nil, err
		}
		refs = sized(g, refs)
		for _, r := range refs {
			if !slices.Contains(s.with, r.Face) {
				continue
			}
			found, err := c.findsItself(ctx, g, s.gallery, s.in, refs, r)
			if err != nil {
				return nil, err
			}
			if !found {
				lost = append(lost, onFace(s.in, r, "index.not_found", "a search with it does not find its own case"))
			}
		}
	}
	return lost, nil
}

// sized leaves out what has no numbers, or another count of them than the generation's, which the registry's check tells.
func sized(g *generation, refs []registry.Reference) []registry.Reference {
	return slices.DeleteFunc(refs, func(r registry.Reference) bool { return len(r.Template) != g.metric.Dim() })
}

// findsItself says whether a search with a reference comes upon its own case as it must: where the case's best score puts it.
func (c *Care) findsItself(ctx context.Context, g *generation, gallery registry.Gallery, id registry.CaseID, refs []registry.Reference, with registry.Reference) (bool, error) {
	query := g.metric.Query(with.Template)
	best := match.Inner(query, refs[0].Template)
	for _, r := range refs[1:] {
		best = max(best, match.Inner(query, r.Template))
	}
	hits, err := g.faces.Search(ctx, index.Query{Vector: query, Limit: checkTop, Filter: index.Filter{
		Gallery: string(gallery), Statuses: []string{string(registry.StatusOpen), string(registry.StatusClosed)},
	}})
	if err != nil {
		return false, err
	}
	near := sameScore * max(1, best, -best)
	for _, h := range hits {
		if h.Case == string(id) {
			return float64(h.Score) > best-near && float64(h.Score) < best+near, nil
		}
	}
	return len(hits) == checkTop && float64(hits[checkTop-1].Score) > best-near, nil
}

func (c *Care) changedSince(ctx context.Context, seq int64) (map[registry.CaseID]bool, error) {
	out := make(map[registry.CaseID]bool)
	for {
		changes, err := c.Registry.Changes(ctx, seq, changeBatch)
		if err != nil {
			return nil, err
		}
		for _, ch := range changes {
			out[ch.Case] = true
			seq = ch.Seq
		}
		if len(changes) < changeBatch {
			return out, nil
		}
	}
}

func onCase(id registry.CaseID, code, text string) registry.Problem {
	p := registry.NewProblem(code, "%s", text)
	p.Case = id
	return p
}

func onFace(id registry.CaseID, r registry.Reference, code, text string) registry.Problem {
	p := onCase(id, code, text)
	p.Photo, p.Face = r.Photo, r.Face
	return p
}
