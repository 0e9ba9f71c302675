package finder

import (
	"context"
	"errors"
	"fmt"

	"homeward/engine"
	"homeward/registry"
	"homeward/worker"
)

// wake tells one idle worker to look at the queue.
func (f *Finder) wake() { poke(f.work) }

// poke leaves word in a channel that holds one, unless it is there already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// analyseQueue analyses queued photos until ctx ends.
func (f *Finder) analyseQueue(ctx context.Context) error {
	for {
		if !f.analyseNext(ctx) {
			select {
			case <-ctx.Done():
				return nil
			case <-f.work:
			}
		}
	}
}

// Drain analyses what is queued now, as far as no other process is at it: for commands that run without Run.
func (f *Finder) Drain(ctx context.Context) {
	for ctx.Err() == nil && f.analyseNext(ctx) {
	}
}

// analyseNext analyses the photo whose turn it is, and says whether there was one.
func (f *Finder) analyseNext(ctx context.Context) bool {
	if !f.abreast(ctx) { // what it found would not be what is wanted
		return false
	}
	p, ok, err := f.Registry.ClaimPhoto(ctx)
	if err != nil && ctx.Err() == nil {
		f.log.Error("take a photo from the queue", "error", err)
	}
	if !ok {
		return false
	}
	f.wake() // there may be more for another worker
	g := f.use()
	defer g.release()
	after := context.WithoutCancel(ctx)
	err = guarded(func() error {
		analysis, err := g.eyes.analyse(ctx, true, func() ([]byte, error) { return f.ReadPhoto(ctx, p) }, nil)
		f.settle(after, g, p, analysis, err)
		return err
	})
	var broken *panicError
	if errors.As(err, &broken) { // an error of ours must not end the process again with every start
		f.settle(after, g, p, nil, err)
	}
	f.Refresh(after)
	return !errors.Is(err, worker.ErrStart) // the next would fail as well
}

// panicError is a panic on the way of a photo. It tells its type alone, as its words may be of the photo.
type panicError struct{ kind string }

func (e *panicError) Error() string { return "the photo cannot be analysed (" + e.kind + ")" }

// guarded does what may panic.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{fmt.Sprintf("%T", p)}
		}
	}()
	return do()
}

// settle ends a claimed photo's analysis by a generation: saves what was found, hands the photo back when it was interrupted, or notes
// why it failed. Whatever happens, the photo is this process's no longer, or will not be once release has its way.
func (f *Finder) settle(ctx context.Context, g *generation, p registry.Photo, a *engine.Analysis, failed error) {
	if failed == nil {
		var faces []registry.NewFace
		if faces, failed = g.newFaces(a); failed == nil {
			failed = f.Registry.SaveAnalysis(ctx, p.ID, g.templates, registry.NewAnalysis{
				Width: a.Width, Height: a.Height, TakenEXIF: registry.DayOf(a.TakenAt), Look: a.Look, Faces: faces,
			})
		}
	}
	var unusable *engine.PhotoError
	switch {
	case failed == nil:
		f.counts.analysed.Add(1)
		return
	case errors.Is(failed, registry.ErrNotFound): // deleted while it was being looked at
		return
	case errors.Is(failed, registry.ErrSwitched): // it is queued
		f.switched()
		return
	case errors.Is(failed, context.Canceled), errors.Is(failed, context.DeadlineExceeded):
		f.release(p.ID)
		return
	case errors.Is(failed, registry.ErrFull), errors.Is(failed, registry.ErrDisk), errors.Is(failed, worker.ErrStart), errors.Is(failed, worker.ErrClosed): // not the photo's doing
		f.log.Error("analysis cannot be saved", "photo", p.ID, "error", failed)
		f.release(p.ID)
		return
	case f.ended.forgiven(p.ID, failed):
		f.log.Error("a process was killed while it was at a photo, which is tried again", "photo", p.ID)
		f.release(p.ID)
		return
	}
	final := errors.As(failed, &unusable) || errors.Is(failed, registry.ErrCorrupt)
	f.counts.failed.Add(1)
	f.log.Error("analysis failed", "photo", p.ID, "try", p.Tries, "final", final, "error", failed)
	err := f.Registry.FailAnalysis(ctx, p.ID, g.templates, failed.Error(), final)
	if errors.Is(err, registry.ErrSwitched) {
		f.switched()
	} else if err != nil {
		f.log.Error("note a failed analysis", "photo", p.ID, "error", err)
		f.release(p.ID)
	}
}

// switched sees to it that a photo that was handed back, because another set answers meanwhile, is looked at under that.
func (f *Finder) switched() {
	f.behind.Store(true)
	f.wake()
}

// release hands a claimed photo back to the queue. What cannot be handed back now, because the disk is full, is tried again
// by Run.
func (f *Finder) release(id registry.PhotoID) {
	err := f.Registry.Release(context.Background(), id)
	if err == nil || errors.Is(err, registry.ErrNotFound) {
		return
	}
	f.log.Error("hand a photo back", "photo", id, "error", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.owed = append(f.owed, id)
}

// releaseOwed tries again to hand back what could not be handed back.
func (f *Finder) releaseOwed() {
	f.mu.Lock()
	owed := f.owed
	f.owed = nil
	f.mu.Unlock()
	for _, id := range owed {
		f.release(id)
	}
}

// newFaces makes an analysis' faces ready to be stored, templates included.
func (g *generation) newFaces(a *engine.Analysis) ([]registry.NewFace, error) {
	faces := make([]registry.NewFace, len(a.Faces))
	for i, e := range a.Faces {
		template, embeddings, err := g.template(e)
		if err != nil {
			return nil, err
		}
		faces[i] = registry.NewFace{Face: StoredFace(e), Embeddings: embeddings, Template: template}
	}
	return faces, nil
}

// template fuses a face's embeddings; nil where no recogniser could work on it.
func (g *generation) template(e engine.Face) (template []float32, embeddings map[string][]float32, err error) {
	embeddings = make(map[string][]float32, len(e.Embeddings))
	for _, v := range e.Embeddings {
		if v.Vector != nil {
			embeddings[g.fingerprints[v.Recogniser]] = v.Vector
		}
	}
	if template, err = g.project(embeddings); err != nil {
		return nil, nil, fmt.Errorf("fuse embeddings: %w", err)
	}
	return template, embeddings, nil
}

// StoredFace is a face as the registry keeps it, still without an id.
func StoredFace(e engine.Face) registry.Face {
	s := registry.Face{
		X: e.Box.X, Y: e.Box.Y, W: e.Box.Width, H: e.Box.Height,
		Score: e.Score, AgeYears: e.Age.Years, AgeSD: e.Age.SD,
		Quality: e.Quality.Overall, EyeDist: e.Quality.Size, Sharpness: e.Quality.Sharpness,
		Yaw: e.Quality.Yaw, Pitch: e.Quality.Pitch, Roll: e.Quality.Roll,
		Searchable: e.Quality.Searchable,
	}
	for i, l := range e.Landmarks {
		s.Landmarks[i] = [2]float32{l.X, l.Y}
	}
	for _, r := range e.Quality.Reasons {
		s.Reasons = append(s.Reasons, string(r))
	}
	return s
}
