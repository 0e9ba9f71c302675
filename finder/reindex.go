package finder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/engine"
	"homeward/jobs"
	"homeward/registry"
	"homeward/worker"
)

// ReindexArgs say what a reindex is to do, beside what it is about: the id of a generation.
type ReindexArgs struct {
	Switch    bool    `json:"switch"`    // to it, once it is ready
	Threshold float64 `json:"threshold"` // of the leads that are counted, as Config.LeadThreshold
}

// Stages of a reindex.
const (
	ReindexTemplates = "templates"  // made of stored embeddings
	ReindexPhotos    = "photos"     // looked at
	ReindexComparing = "evaluating" // what a switch would change
)

// What a reindex counts in its progress.
const (
	ReindexProjected = "projected" // photos whose templates were made of stored embeddings
	ReindexAnalysed  = "analysed"  // photos that were looked at
	ReindexSetAside  = "set_aside" // photos that could not be
)

const (
	// buildBatch is how many photos are listed at a time to be built. Whether the models are still the same is asked as often.
	buildBatch = 64
	// keepEvery is how often it is looked whether generations that do not answer lack something.
	keepEvery = 10 * time.Second
)

var (
	// ErrActive means that a reindex would lead to what answers already.
	ErrActive = errors.New("the registry works with this model set and metric already")
	// ErrBuilding means that another process is building a generation.
	ErrBuilding = errors.New("it is being built already")
)

// PlanReindex records the generation that a reindex to a model set, and a metric or the set's own, is about. ErrActive when it is the active
// one.
func (f *Finder) PlanReindex(ctx context.Context, set, metric string) (registry.Generation, error) {
	if metric != filepath.Base(metric) && metric != "" {
		return registry.Generation{}, fmt.Errorf("metric %q: give its name, without a folder: it is a file of metrics/ in the models' directory", metric)
	}
	g, err := f.openGeneration(set, metric)
	if err != nil {
		return registry.Generation{}, err
	}
	defer func() { _ = g.retire() }() // it has looked at nothing
	if err := f.Models.VerifySet(ctx, g.set); err != nil {
		return registry.Generation{}, err
	}
	if g.templates == f.now().templates {
		return g.record(), ErrActive
	}
	out, _, err := f.Registry.BeginGeneration(ctx, g.record())
	return out, err
}

// Reindex is the handler of jobs of the kind registry.JobReindex: it builds a generation beside the one that answers, evaluates it and,
// if that is wanted, switches to it. What is built is durable photo by photo; a job that is begun again goes on with what is missing.
func (f *Finder) Reindex(ctx context.Context, t *jobs.Task) error {
	args := ReindexArgs{Threshold: DefaultLeadThreshold}
	if err := json.Unmarshal(t.Job.Args, &args); err != nil {
		return jobs.Final(fmt.Errorf("reindex: what it is to do cannot be read: %w", err))
	}
	if err := f.CatchUp(ctx); err != nil {
		return err
	}
	want, err := f.Registry.Generation(ctx, t.Job.About)
	if errors.Is(err, registry.ErrNotFound) {
		return jobs.Final(fmt.Errorf("%w: it was dropped; begin again with homeward reindex --set", err))
	}
	if err != nil || want.State == registry.GenerationActive {
		return err
	}
	g, err := f.openRecorded(want)
	if err != nil {
		return jobs.Final(err)
	}
	defer func() { _ = g.retire() }() // processes that are killed
	built, err := f.Registry.BuiltCount(ctx, want.ID)
	if err != nil {
		return err
	}
	place, counts := t.Job.Place, map[string]int64{}
	save := func(p registry.Progress) error {
		if p.Counts != nil {
			counts = p.Counts
		}
		p.Counts = counts
		place = reindexPlace(place, built, p)
		return t.Save(ctx, place, p)
	}
	build := func() error {
		before := counts
		for {
			err := f.build(ctx, g, func(p registry.Progress) error {
				p.Counts = maps.Clone(p.Counts)
				for name, n := range before {
					p.Counts[name] += n
				}
				return save(p)
			})
			switch {
			case errors.Is(err, ErrOtherModels), errors.Is(err, registry.ErrNotFound):
				return jobs.Final(err)
			case err == nil:
				return nil
			case !errors.Is(err, ErrBuilding):
				return fmt.Errorf("build %s: %w", want.ID, err)
			}
			select { // a server is keeping it current
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(followEvery):
			}
		}
	}
	if err := build(); err != nil {
		return err
	}
	e, err := f.evaluate(ctx, g, args.Threshold, build, func(done, total int) error {
		return save(registry.Progress{Stage: ReindexComparing, Done: int64(done), Total: int64(total)})
	})
	if err != nil {
		return fmt.Errorf("evaluate %s: %w", want.ID, err)
	}
	if err := f.Registry.SaveReport(ctx, want.ID, e); err != nil {
		return err
	}
	if !args.Switch {
		return nil
	}
	return f.SwitchTo(ctx, want.ID)
}

// reindexPlace is where a reindex is: at how many photos its generation has, which were built at first, in whole batches; then at what a switch
// would change. It only grows: a job that gets on is not parked, however often it is ended, and one that always fails at the same point is.
func reindexPlace(before string, built int, p registry.Progress) string {
	if before == ReindexComparing || p.Stage == ReindexComparing {
		return ReindexComparing
	}
	n := built + int(p.Counts[ReindexProjected]+p.Counts[ReindexAnalysed]+p.Counts[ReindexSetAside])
	was, _ := strconv.Atoi(before) // none at first
	return strconv.Itoa(max(was, n/buildBatch*buildBatch))
}

// SwitchTo makes a generation that is ready or kept the one that answers, here at once and in other processes within followEvery.
// Errors are those of registry.Registry.Switch; ErrOtherModels where what is installed is not what it was built with.
func (f *Finder) SwitchTo(ctx context.Context, id string) error {
	want, err := f.Registry.Generation(ctx, id)
	if err != nil {
		return err
	}
	g, err := f.openRecorded(want) // no process could go over to it otherwise
	if err == nil {
		err = errors.Join(f.Models.VerifySet(ctx, g.set), g.retire())
	}
	if err != nil {
		return err
	}
	if err := f.Registry.Switch(ctx, id, f.crossmatch()); err != nil {
		return err
	}
	return f.CatchUp(ctx)
}

// build brings a generation up to date that does not answer: with what others of its model set have done, from stored embeddings, and then
// by looking at the photos that it still lacks, for as long as there are some. tell is told how far it is; its error ends it. ErrBuilding
// while it is being built elsewhere; ErrOtherModels when the models are replaced meanwhile; registry.ErrNotFound when it is dropped.
func (f *Finder) build(ctx context.Context, g *generation, tell func(registry.Progress) error) (err error) {
	f.mu.Lock()
	_, here := f.building[g.templates]
	if !here {
		f.building[g.templates] = struct{}{}
	}
	f.mu.Unlock()
	if here {
		return ErrBuilding
	}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.building, g.templates)
	}()
	ok, err := f.Registry.ClaimBuild(ctx, g.templates)
	if err != nil {
		return err
	}
	if !ok {
		return ErrBuilding
	}
	defer func() { err = errors.Join(err, f.Registry.ReleaseBuild(context.WithoutCancel(ctx), g.templates)) }()

	counts := map[string]int64{}
	if err := tell(registry.Progress{Stage: ReindexTemplates, Counts: counts}); err != nil {
		return err
	}
	n, err := f.Registry.Reproject(ctx, g.templates, g.project, func(done int) {
		_ = tell(registry.Progress{Stage: ReindexTemplates, Done: int64(done), Counts: map[string]int64{ReindexProjected: int64(done)}}) // asked again below
	})
	if err != nil {
		return err
	}
	counts[ReindexProjected] = int64(n)
	return f.look(ctx, g, counts, tell)
}

// look looks at the photos that a generation lacks.
func (f *Finder) look(ctx context.Context, g *generation, counts map[string]int64, tell func(registry.Progress) error) error {
	var analysed, aside atomic.Int64
	var told sync.Mutex
	total := int64(0)
	say := func() error {
		told.Lock()
		defer told.Unlock()
		done := map[string]int64{ReindexProjected: counts[ReindexProjected], ReindexAnalysed: analysed.Load(), ReindexSetAside: aside.Load()}
		so := analysed.Load() + aside.Load()
		return tell(registry.Progress{Stage: ReindexPhotos, Done: so, Total: max(total, so), Counts: done})
	}
	for after, seen := int64(0), 0; ; {
		todo, err := f.Registry.Unbuilt(ctx, g.templates, after, buildBatch)
		if err != nil {
			return err
		}
		if len(todo) == 0 {
			if seen == 0 {
				return say()
			}
			after, seen = 0, 0 // what came behind the place that it was at
			continue
		}
		if err := f.unchanged(g); err != nil {
			return err
		}
		left, err := f.Registry.UnbuiltCount(ctx, g.templates) // again with each batch: photos come in meanwhile
		if err != nil {
			return err
		}
		total = analysed.Load() + aside.Load() + int64(left)
		if err := say(); err != nil {
			return err
		}
		all, each := errgroup.WithContext(ctx)
		all.SetLimit(f.config.workers())
		for _, u := range todo {
			all.Go(func() error {
				kept, err := f.buildOne(each, g, u.Photo)
				switch {
				case err != nil:
					return err
				case kept:
					analysed.Add(1)
				default:
					aside.Add(1)
				}
				return say()
			})
		}
		if err := all.Wait(); err != nil {
			return err
		}
		after, seen = todo[len(todo)-1].N, seen+len(todo)
	}
}

// unchanged says whether a generation's models and metric are still what is installed under their names.
func (f *Finder) unchanged(g *generation) error {
	now, err := f.openRecorded(g.record())
	if err != nil {
		return err
	}
	return now.retire()
}

// buildOne looks at a photo under a generation that does not answer. analysed is false when the photo was set aside.
func (f *Finder) buildOne(ctx context.Context, g *generation, id registry.PhotoID) (analysed bool, err error) {
	var failed error
	for try := 0; try < registry.MaxTries; {
		failed = f.lookUnder(ctx, g, id)
		var unusable *engine.PhotoError
		switch {
		case failed == nil, errors.Is(failed, registry.ErrNotFound): // done, or deleted meanwhile
			return true, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		case errors.Is(failed, registry.ErrFull), errors.Is(failed, worker.ErrStart), errors.Is(failed, worker.ErrClosed): // not the photo's doing
			return false, failed
		case f.ended.forgiven(id, failed):
		default:
			try++
		}
		if errors.As(failed, &unusable) || errors.Is(failed, registry.ErrCorrupt) {
			break
		}
	}
	f.log.Error("analysis failed", "photo", id, "set", g.templates, "error", failed)
	err = f.Registry.SetAsideUnder(ctx, id, g.templates, failed.Error())
	if errors.Is(err, registry.ErrNotFound) { // deleted or queued meanwhile
		return true, nil
	}
	return false, err
}

func (f *Finder) lookUnder(ctx context.Context, g *generation, id registry.PhotoID) error {
	p, err := f.Registry.Photo(ctx, id)
	if err != nil {
		return err
	}
	a, err := g.eyes.analyse(ctx, true, func() ([]byte, error) { return f.ReadPhoto(ctx, p) }, nil)
	if err != nil {
		return err
	}
	faces, err := g.newFaces(a)
	if err != nil {
		return err
	}
	return f.Registry.SaveUnder(ctx, id, g.templates, registry.NewAnalysis{
		Width: a.Width, Height: a.Height, TakenEXIF: registry.DayOf(a.TakenAt), Look: a.Look, Faces: faces,
	})
}

// keepUp keeps the generations that do not answer current, until ctx ends.
func (f *Finder) keepUp(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	told := make(map[string]bool)
	for {
		if err := f.keepAll(ctx, told); err != nil && ctx.Err() == nil {
			f.log.Error("keep other model sets current: it will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// keepAll builds what generations that do not answer lack, and ends what was being dropped. told holds those of which it was said that their
// models are not installed.
func (f *Finder) keepAll(ctx context.Context, told map[string]bool) error {
	all, err := f.Registry.OtherGenerations(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, other := range all {
		switch other.State {
		case registry.GenerationDropping:
			errs = append(errs, f.Registry.Drop(ctx, other.ID))
			continue
		case registry.GenerationBuilding: // a job's business
			continue
		}
		todo, err := f.Registry.Unbuilt(ctx, other.ID, 0, 1)
		if errors.Is(err, registry.ErrNotFound) { // dropped meanwhile
			continue
		}
		if err != nil || len(todo) == 0 {
			errs = append(errs, err)
			continue
		}
		g, err := f.openRecorded(other)
		if err != nil {
			if !told[other.ID] {
				told[other.ID] = true
				f.log.Warn("a model set that was kept is not kept current", "set", other.ID, "error", err)
			}
			continue
		}
		err = f.build(ctx, g, func(registry.Progress) error { return nil })
		if errors.Is(err, ErrBuilding) || errors.Is(err, registry.ErrNotFound) { // by another process; or it was dropped meanwhile
			err = nil
		}
		errs = append(errs, err, g.retire())
	}
	return errors.Join(errs...)
}
