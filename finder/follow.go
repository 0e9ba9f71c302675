package finder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"homeward/index"
	"homeward/registry"
)

// changeBatch is how many changed cases are read from the registry at a time.
const changeBatch = 500

// loadFaces fills the index of faces from the registry.
func (f *Finder) loadFaces(ctx context.Context) error {
	seq, err := f.load(ctx, f.now())
	if err != nil {
		return err
	}
	f.followed.Store(seq)
	return nil
}

// LoadWords fills the index of words from the registry, unless it is filled. It takes some seconds for ten thousand cases, so
// that faces can be searched long before: Run does it on the side, and only who searches words has to wait for it.
func (f *Finder) LoadWords(ctx context.Context) error {
	f.loading.Lock()
	defer f.loading.Unlock()
	if f.wordsLoaded.Load() {
		return nil
	}
	began := time.Now()
	batch := f.words.NewBatch()
	const noTemplates = "" // no set has this name: cases come without their references
	seq, err := f.Registry.EachReference(ctx, noTemplates, func(c registry.Case, _ []registry.Reference) error {
		return batch.Replace(ctx, string(c.ID), facts(c), text(c))
	})
	if err == nil {
		err = batch.Flush()
	}
	if err != nil {
		return fmt.Errorf("load the index of words: %w", err)
	}
	// What changed while it was loading may have been written over by what was read before the change.
	f.catchUp.Lock()
	defer f.catchUp.Unlock()
	if err := f.eachChange(ctx, seq, f.followWords); err != nil {
		return fmt.Errorf("load the index of words: %w", err)
	}
	f.wordsLoaded.Store(true)
	f.log.Info("words loaded", "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// Refresh is CatchUp for whoever has changed something: the change stands whether the indexes follow now or, where they
// cannot, within followEvery. It does not wait for another generation that is being loaded.
func (f *Finder) Refresh(ctx context.Context) {
	gone, err := f.follow(ctx)
	f.forget(gone)
	if err != nil && ctx.Err() == nil {
		f.log.Error("follow the registry", "error", err)
	}
}

// CatchUp brings the indexes up to every change the registry has acknowledged, and to the generation that it says is active. A caller
// that changed something and calls it then finds its own change in any search.
func (f *Finder) CatchUp(ctx context.Context) error {
	swapped := f.followGeneration(ctx)
	gone, err := f.follow(ctx)
	f.forget(gone)
	return errors.Join(swapped, err)
}

// swapRetry is after how long a generation that could not be made the current one is tried again.
const swapRetry = 30 * time.Second

// swapFailure is why a generation could not be made the current one.
type swapFailure struct {
	id  string
	at  time.Time
	err error
}

// followGeneration makes the registry's active generation the current one. It is loaded beside the one before, which answers until then:
// a search begins and ends with one of them.
func (f *Finder) followGeneration(ctx context.Context) error {
	active, err := f.Registry.ActiveGeneration(ctx)
	if err != nil {
		return err
	}
	if active.ID == f.now().templates {
		f.behind.Store(false)
		return nil
	}
	f.behind.Store(true)
	f.swapping.Lock()
	defer f.swapping.Unlock()
	if active, err = f.Registry.ActiveGeneration(ctx); err != nil {
		return err
	}
	if active.ID == f.now().templates {
		f.behind.Store(false)
		return nil
	}
	if f.failed.id == active.ID && time.Since(f.failed.at) < swapRetry {
		return f.failed.err
	}
	if err := f.swap(ctx, active); err != nil {
		err = fmt.Errorf("go over to model set %s: %w", active.Name, err)
		if ctx.Err() == nil {
			f.failed = swapFailure{active.ID, time.Now(), err}
		}
		return err
	}
	return nil
}

// abreast says whether the current generation is the active one, as far as is known. It goes over to that first, if it can.
func (f *Finder) abreast(ctx context.Context) bool {
	if f.behind.Load() {
		if err := f.followGeneration(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("follow the registry", "error", err)
		}
	}
	return !f.behind.Load()
}

func (f *Finder) swap(ctx context.Context, active registry.Generation) error {
	g, err := f.openRecorded(active)
	if err != nil {
		return err
	}
	seq, err := f.load(ctx, g)
	if err == nil {
		err = g.eyes.warm(ctx) // models that do not run must not take the place of those that do
	}
	if err == nil {
		err = f.replace(ctx, g, seq)
	}
	if err != nil {
		return errors.Join(err, g.retire())
	}
	f.behind.Store(false)
	f.log.Info("another model set answers", "set", g.templates)
	poke(f.changed)
	f.wake()
	return nil
}

// replace makes g, which is as of a change, the current generation.
func (f *Finder) replace(ctx context.Context, g *generation, seq int64) error {
	f.catchUp.Lock()
	defer f.catchUp.Unlock()
	// The one before may have followed further, and will not be told again.
	if err := f.eachChange(ctx, seq, func(ctx context.Context, ch registry.Change, c *registry.Case) error {
		return f.followFaces(ctx, g, ch, c)
	}); err != nil {
		return err
	}
	return f.current.Swap(g).retire()
}

// follow is CatchUp, and says which cases are gone.
func (f *Finder) follow(ctx context.Context) (gone []registry.CaseID, err error) {
	f.catchUp.Lock()
	defer f.catchUp.Unlock()
	before := f.followed.Load()
	err = f.eachChange(ctx, before, func(ctx context.Context, ch registry.Change, c *registry.Case) error {
		if f.wordsLoaded.Load() {
			if err := f.followWords(ctx, ch, c); err != nil {
				return err
			}
		}
		if err := f.followFaces(ctx, f.now(), ch, c); err != nil {
			return err
		}
		if c == nil {
			gone = append(gone, ch.Case)
		}
		f.followed.Store(ch.Seq)
		return nil
	})
	if f.followed.Load() > before {
		poke(f.changed)
	}
	return gone, err
}

// eachChange hands every change after since to do, with the case as it is now; nil where it is gone, which may be before its
// deletion comes as a change of its own.
func (f *Finder) eachChange(ctx context.Context, since int64, do func(context.Context, registry.Change, *registry.Case) error) error {
	for {
		changes, err := f.Registry.Changes(ctx, since, changeBatch)
		if err != nil {
			return fmt.Errorf("read changes: %w", err)
		}
		for _, ch := range changes {
			now := new(registry.Case)
			*now, err = f.Registry.Case(ctx, ch.Case)
			if errors.Is(err, registry.ErrNotFound) {
				now, err = nil, nil
			}
			if err == nil {
				err = do(ctx, ch, now)
			}
			if err != nil {
				return fmt.Errorf("index case %s: %w", ch.Case, err)
			}
			since = ch.Seq
		}
		if len(changes) < changeBatch {
			return nil
		}
	}
}

func (f *Finder) followWords(ctx context.Context, ch registry.Change, c *registry.Case) error {
	if c == nil {
		return f.words.Remove(ctx, string(ch.Case))
	}
	return f.words.Replace(ctx, string(c.ID), facts(*c), text(*c))
}

func facts(c registry.Case) index.Facts {
	return index.Facts{
		Gallery: string(c.Gallery), Sex: string(c.Sex), Status: string(c.Status),
		BornFrom: c.BornFrom.Year(), BornTo: c.BornTo.Year(), Region: c.Region,
	}
}

func text(c registry.Case) index.Text {
	return index.Text{Names: c.Names, Place: c.Place, Marks: c.Marks, Notes: c.Notes, Ref: c.Ref}
}
