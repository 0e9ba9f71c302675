package finder

import (
	"context"
	"slices"
	"time"

	"homeward/registry"
)

const (
	// retainEvery is how often it is looked whether a case's time has come.
	retainEvery = time.Minute
	// heldEvery is how often an operator is told that nothing is destroyed.
	heldEvery = time.Hour
)

// retain destroys the cases whose time has come, until ctx ends.
func (f *Finder) retain(ctx context.Context) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	var told time.Time
	for {
		destroyed, held, err := f.Registry.DestroyDue(ctx)
		if err != nil && ctx.Err() == nil {
			f.log.Error("destroy cases whose time has come", "error", err)
		}
		for _, id := range destroyed {
			f.log.Info("case destroyed: its time had come", "case", id)
		}
		if len(destroyed) > 0 {
			f.Refresh(context.WithoutCancel(ctx))
		}
		if held && time.Since(told) >= heldEvery {
			f.log.Warn("the clock has jumped, so no case is destroyed: check the machine's clock, then run homeward retention confirm-clock")
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// OnDestroyed has do called with the cases that are gone, whoever destroyed or deleted them, once the indexes have followed: for who
// keeps copies of what belongs to a case. It is to be called before Run.
func (f *Finder) OnDestroyed(do func([]registry.CaseID)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.destroyed = do
}

// forget drops what is kept of cases that are gone.
func (f *Finder) forget(gone []registry.CaseID) {
	if len(gone) == 0 {
		return
	}
	for _, id := range f.probes.Keys() {
		if p, ok := f.probes.Peek(id); ok && slices.Contains(gone, p.Case) {
			f.probes.Remove(id)
		}
	}
	f.mu.Lock()
	do := f.destroyed
	f.mu.Unlock()
	if do != nil {
		do(gone)
	}
}
