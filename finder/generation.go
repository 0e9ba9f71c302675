package finder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"homeward/index"
	"homeward/match"
	"homeward/models"
	"homeward/registry"
)

// generation is everything that stands for the registry's faces under one model set and metric: what makes templates, and what
// they are found with. A Finder answers from one generation at a time; another may be built beside it.
type generation struct {
	set          models.Set // with the metric's name
	metric       *match.Metric
	fingerprints map[string]string // recogniser's name → its card's fingerprint
	templates    string            // what its templates are marked with: model set and metric

	faces index.Index
	shelf *shelf
	eyes  *eyes // which look at photos for it; generations of one set share theirs

	mu      sync.Mutex
	users   int  // who look at photos with it
	retired bool // its eyes close with the last user
}

// now is the generation that answers. Who looks at photos with it takes use.
func (f *Finder) now() *generation { return f.current.Load() }

// use is now, with eyes that stay open until release.
func (f *Finder) use() *generation {
	for {
		if g := f.now(); g.hold() {
			return g
		}
	}
}

func (g *generation) hold() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired { // there is another by now
		return false
	}
	g.users++
	return true
}

func (g *generation) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users--; g.users == 0 && g.retired {
		_ = g.eyes.leave() // processes that are killed
	}
}

// retire closes its eyes, once nobody looks with them. Searches under way go on in its index, which goes with the last of them.
func (g *generation) retire() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired {
		return nil
	}
	if g.retired = true; g.users > 0 {
		return nil
	}
	return g.eyes.leave()
}

// openGeneration makes the generation of a model set and a metric as they are installed, with nothing in it; without a metric's name,
// the set's own. It is to be retired.
func (f *Finder) openGeneration(name, metric string) (*generation, error) {
	c := f.config
	c.Set = name
	cat, set, err := LoadSet(c)
	if err != nil {
		return nil, err
	}
	if metric != "" {
		set.Metric = metric
	}
	m, err := MetricFor(cat.Dir(), set)
	if err != nil {
		return nil, err
	}
	e := (*eyes)(nil)
	if g := f.now(); g != nil && g.set.ID == set.ID && g.set.Name == set.Name && g.eyes.share() {
		e = g.eyes
	} else if e, err = newEyes(f.config, name); err != nil {
		return nil, err
	}
	return newGeneration(e, set, m), nil
}

// newGeneration makes one with nothing in it.
func newGeneration(e *eyes, set models.Set, metric *match.Metric) *generation {
	g := &generation{
		set: set, metric: metric,
		fingerprints: make(map[string]string, len(set.Recognisers)),
		templates:    set.ID + "." + metric.ID(),
		eyes:         e,
	}
	g.empty()
	for _, r := range set.Recognisers {
		g.fingerprints[r.Name] = r.Fingerprint()
	}
	return g
}

// empty leaves it without faces. Nobody must be searching in it.
func (g *generation) empty() { g.faces, g.shelf = index.NewExact(g.metric.Dim()), newShelf() }

// record is the generation as the registry keeps it.
func (g *generation) record() registry.Generation {
	return registry.Generation{
		ID: g.templates, Name: g.set.Name, Metric: g.set.Metric, Recognisers: slices.Sorted(maps.Values(g.fingerprints)),
	}
}

// ErrOtherModels means that the models or the metric of a name are not those that the registry knows by it.
var ErrOtherModels = errors.New("the models or the metric have changed")

// openRecorded opens a generation that the registry knows. ErrOtherModels where what is installed under its name is not it.
func (f *Finder) openRecorded(want registry.Generation) (*generation, error) {
	g, err := f.openGeneration(want.Name, want.Metric)
	if err != nil {
		return nil, err
	}
	if g.templates != want.ID {
		return nil, errors.Join(fmt.Errorf("%w: set %s with metric %s is %s now, not %s. Put the files back that it was made with",
			ErrOtherModels, want.Name, want.Metric, g.templates, want.ID), g.retire())
	}
	return g, nil
}

// choose finds the generation to answer with: the registry's active one, or the configured set for a registry that has none. Models or a
// metric that were replaced by others of the same name are gone over to where Config.GoOver says so, as they cannot be had any more.
func (f *Finder) choose(ctx context.Context) (*generation, error) {
	var active registry.Generation
	if f.Registry != nil {
		var err error
		active, err = f.Registry.ActiveGeneration(ctx)
		if err != nil && !errors.Is(err, registry.ErrNotFound) {
			return nil, err
		}
	}
	if active.ID != "" && active.Name == "" { // from before names were recorded
		if g, err := f.installedAs(active.ID); g != nil || err != nil {
			if err != nil {
				return nil, err
			}
			active.Name, active.Metric = g.set.Name, g.set.Metric
			if err := errors.Join(f.Registry.TakeOver(ctx, g.record(), registry.NewJob{}), g.retire()); err != nil {
				return nil, err
			}
		}
	}
	if active.Name == "" {
		g, err := f.openGeneration(f.config.Set, "")
		if err == nil && active.ID != "" {
			err = f.goOver(ctx, active, g)
		}
		return g, err
	}
	if f.config.Set != "" && f.config.Set != active.Name {
		return nil, fmt.Errorf("the registry works with model set %s, not %s: leave --set and HOMEWARD_SET out, or change the registry's with homeward reindex --set %s",
			active.Name, f.config.Set, f.config.Set)
	}
	g, err := f.openGeneration(active.Name, active.Metric)
	if err == nil && g.templates != active.ID {
		err = f.goOver(ctx, active, g)
	}
	return g, err
}

// installedAs finds an installed set, with its own metric, by the id of its generation, the configured one before others; nil when there
// is none.
func (f *Finder) installedAs(id string) (*generation, error) {
	cat, configured, err := LoadSet(f.config)
	if err != nil {
		return nil, err
	}
	for _, set := range append([]models.Set{configured}, cat.Sets()...) {
		if !strings.HasPrefix(id, set.ID+".") {
			continue
		}
		g, err := f.openGeneration(set.Name, "")
		if err != nil { // such as a set that has no metric yet
			continue
		}
		if g.templates == id {
			return g, nil
		}
		if err := g.retire(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// goOver makes g the active generation in the place of one whose models or metric are not installed any more. With the same models,
// templates are made of stored embeddings before the first search; what is missing is queued.
func (f *Finder) goOver(ctx context.Context, from registry.Generation, g *generation) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, g.retire())
		}
	}()
	if !f.config.GoOver { // a command with other files must not change what a server beside it answers with
		return fmt.Errorf("%w: set %s is %s now, and the registry works with %s. Start homeward serve to go over to it, or put the old files back",
			ErrOtherModels, g.set.Name, g.templates, from.ID)
	}
	if _, _, err := f.Registry.BeginGeneration(ctx, g.record()); err != nil {
		return err
	}
	began := time.Now()
	n := 0
	if from.ModelSet() == g.set.ID {
		if n, err = f.Registry.Reproject(ctx, g.templates, g.project, nil); err != nil {
			return err
		}
	}
	if err := f.Registry.TakeOver(ctx, g.record(), f.crossmatch()); err != nil {
		return err
	}
	f.log.Warn("models or metric were replaced: photos without a template under them are analysed again",
		"set", g.templates, "before", from.ID, "templates", n, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// crossmatch is the comparison of the whole galleries that a switch asks for.
func (f *Finder) crossmatch() registry.NewJob {
	return registry.NewJob{Kind: registry.JobCrossmatch, About: CrossmatchAbout, Args: CrossmatchArgs{Threshold: f.threshold / math.Ln10}}
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
