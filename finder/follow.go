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
// cannot, within followEvery.
func (f *Finder) Refresh(ctx context.Context) {
	if err := f.CatchUp(ctx); err != nil && ctx.Err() == nil {
		f.log.Error("follow the registry", "error", err)
	}
}

// CatchUp brings the indexes up to every change the registry has acknowledged. A caller that changed something and calls
// it then finds its own change in any search.
func (f *Finder) CatchUp(ctx context.Context) error {
	gone, err := f.follow(ctx)
	f.forget(gone)
	return err
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

// reproject makes templates under the metric in use of what was embedded by the models in use, without looking at a photo.
func (f *Finder) reproject(ctx context.Context) error {
	began := time.Now()
	g := f.now()
	n, err := f.Registry.Reproject(ctx, g.set.ID, g.templates, g.project, nil)
	if err != nil {
		return fmt.Errorf("make templates under the metric in use: %w", err)
	}
	if n > 0 {
		f.log.Info("templates made under another metric", "photos", n, "set", g.templates, "took", time.Since(began).Round(time.Millisecond))
	}
	return nil
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
