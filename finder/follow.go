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

// load fills the indexes from the registry.
func (f *Finder) load(ctx context.Context) error {
	began := time.Now()
	// Photos that another model set analysed cannot be found under this one: analyse them again.
	again, err := f.Registry.RequeueOther(ctx, f.templates)
	if err != nil {
		return fmt.Errorf("queue photos of other model sets: %w", err)
	}
	if again > 0 {
		f.log.Warn("photos were analysed under another model set and are queued again", "photos", again, "set", f.templates)
	}
	batch := f.words.NewBatch()
	seq, err := f.Registry.EachReference(ctx, f.templates, func(c registry.Case, refs []registry.Reference) error {
		if err := f.faces.Replace(ctx, string(c.ID), facts(c), references(refs)); err != nil {
			return fmt.Errorf("index case %s: %w", c.ID, err)
		}
		return batch.Replace(ctx, string(c.ID), facts(c), text(c))
	})
	if err == nil {
		err = batch.Flush()
	}
	if err != nil {
		return fmt.Errorf("load the index: %w", err)
	}
	f.followed.Store(seq)
	f.ready.Store(true)
	cases, refs := f.faces.Size()
	f.log.Info("index loaded", "cases", cases, "references", refs, "set", f.templates, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// CatchUp brings the indexes up to every change the registry has acknowledged. A caller that changed something and calls
// it then finds its own change in any search.
func (f *Finder) CatchUp(ctx context.Context) error {
	f.catchUp.Lock()
	defer f.catchUp.Unlock()
	for {
		changes, err := f.Registry.Changes(ctx, f.followed.Load(), changeBatch)
		if err != nil {
			return fmt.Errorf("read changes: %w", err)
		}
		for _, ch := range changes {
			if err := f.follow(ctx, ch); err != nil {
				return fmt.Errorf("index case %s: %w", ch.Case, err)
			}
			f.followed.Store(ch.Seq)
		}
		if len(changes) < changeBatch {
			return nil
		}
	}
}

func (f *Finder) follow(ctx context.Context, ch registry.Change) error {
	id := string(ch.Case)
	c, err := f.Registry.Case(ctx, ch.Case)
	if ch.Deleted || errors.Is(err, registry.ErrNotFound) { // deleted meanwhile: its own change follows
		return errors.Join(f.faces.Remove(ctx, id), f.words.Remove(ctx, id))
	}
	if err != nil {
		return err
	}
	refs, err := f.Registry.References(ctx, ch.Case, f.templates)
	if err != nil {
		return err
	}
	if err := f.faces.Replace(ctx, id, facts(c), references(refs)); err != nil {
		return err
	}
	return f.words.Replace(ctx, id, facts(c), text(c))
}

func facts(c registry.Case) index.Facts {
	return index.Facts{
		Gallery: string(c.Gallery), Sex: string(c.Sex), Status: string(c.Status),
		BornFrom: c.BornFrom.Year(), BornTo: c.BornTo.Year(),
	}
}

func text(c registry.Case) index.Text {
	return index.Text{Names: c.Names, Place: c.Place, Marks: c.Marks, Notes: c.Notes, Ref: c.Ref}
}

func references(refs []registry.Reference) []index.Reference {
	out := make([]index.Reference, len(refs))
	for i, r := range refs {
		out[i] = index.Reference{Face: string(r.Face), Vector: r.Template}
	}
	return out
}
