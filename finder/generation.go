package finder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"homeward/index"
	"homeward/match"
	"homeward/models"
	"homeward/registry"
)

// generation is everything that stands for the registry's faces under one model set and metric: what makes templates, and what
// they are found with. A Finder answers from one generation at a time; another may be built beside it.
type generation struct {
	set          models.Set
	metric       *match.Metric
	fingerprints map[string]string // recogniser's name → its card's fingerprint
	templates    string            // what its templates are marked with: model set and metric

	faces index.Index
	shelf *shelf
}

// now is the generation that answers.
func (f *Finder) now() *generation { return f.current.Load() }

// newGeneration makes one with nothing in it.
func newGeneration(set models.Set, metric *match.Metric) *generation {
	g := &generation{
		set: set, metric: metric,
		fingerprints: make(map[string]string, len(set.Recognisers)),
		templates:    set.ID + "." + metric.ID(),
		faces:        index.NewExact(metric.Dim()),
		shelf:        newShelf(),
	}
	for _, r := range set.Recognisers {
		g.fingerprints[r.Name] = r.Fingerprint()
	}
	return g
}

// load fills the generation from the registry, and says as of which change.
func (f *Finder) load(ctx context.Context, g *generation) (seq int64, err error) {
	began := time.Now()
	seq, err = f.Registry.EachReference(ctx, g.templates, func(c registry.Case, refs []registry.Reference) error {
		if err := f.enrol(ctx, g, c, refs); err != nil {
			return fmt.Errorf("index case %s: %w", c.ID, err)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("load the index of faces: %w", err)
	}
	cases, refs := g.faces.Size()
	f.log.Info("faces loaded", "cases", cases, "references", refs, "set", g.templates, "took", time.Since(began).Round(time.Millisecond))
	return seq, nil
}

// enrol makes a case with these references the one that is found. It is on the shelf before the index can answer with it.
func (f *Finder) enrol(ctx context.Context, g *generation, c registry.Case, refs []registry.Reference) error {
	refs = f.undamaged(g, refs)
	g.shelf.put(c.ID, g.newEnrolled(c, refs))
	out := make([]index.Reference, len(refs))
	for i, r := range refs {
		out[i] = index.Reference{Face: string(r.Face), Vector: r.Template}
	}
	return g.faces.Replace(ctx, string(c.ID), facts(c), out)
}

// undamaged leaves out templates that are damaged: one bad row must not keep every other child from being found.
func (f *Finder) undamaged(g *generation, refs []registry.Reference) []registry.Reference {
	out := make([]registry.Reference, 0, len(refs))
	for _, r := range refs {
		if len(r.Template) != g.metric.Dim() {
			f.log.Error("a template is damaged and its face cannot be found", "face", r.Face, "photo", r.Photo)
			continue
		}
		out = append(out, r)
	}
	return out
}

// followFaces brings the generation up to a change; c is the case as it is now, nil where it is gone.
func (f *Finder) followFaces(ctx context.Context, g *generation, ch registry.Change, c *registry.Case) error {
	if c == nil {
		g.shelf.remove(ch.Case)
		return g.faces.Remove(ctx, string(ch.Case))
	}
	refs, err := f.Registry.References(ctx, c.ID, g.templates)
	if err != nil {
		return err
	}
	return f.enrol(ctx, g, *c, refs)
}

// project makes a template of embeddings; nil without an error where it cannot make one of them.
func (g *generation) project(embeddings map[string][]float32) ([]float32, error) {
	t, err := g.metric.Template(embeddings)
	if errors.Is(err, match.ErrNoTemplate) {
		return nil, nil
	}
	return t, err
}
