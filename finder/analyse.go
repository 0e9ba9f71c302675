package finder

import (
	"context"
	"errors"
	"fmt"

	"homeward/engine"
	"homeward/match"
	"homeward/registry"
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
	p, ok, err := f.Registry.ClaimPhoto(ctx)
	if err != nil && ctx.Err() == nil {
		f.log.Error("take a photo from the queue", "error", err)
	}
	if !ok {
		return false
	}
	f.wake() // there may be more for another worker
	analysis, err := f.look(ctx, func() ([]byte, error) { return f.ReadPhoto(ctx, p) }, nil)
	after := context.WithoutCancel(ctx)
	f.settle(after, p, analysis, err)
	f.Refresh(after)
	return true
}

// settle ends a claimed photo's analysis: saves what was found, hands the photo back when it was interrupted, or notes
// why it failed. Whatever happens, the photo is this process's no longer, or will not be once release has its way.
func (f *Finder) settle(ctx context.Context, p registry.Photo, a *engine.Analysis, failed error) {
	if failed == nil {
		g := f.now()
		var faces []registry.NewFace
		if faces, failed = g.newFaces(a); failed == nil {
			failed = f.Registry.SaveAnalysis(ctx, p.ID, g.templates, registry.NewAnalysis{
				Width: a.Width, Height: a.Height, TakenEXIF: registry.DayOf(a.TakenAt), Faces: faces,
			})
		}
	}
	var unusable *engine.PhotoError
	switch {
	case failed == nil, errors.Is(failed, registry.ErrNotFound): // done, or deleted while it was being looked at
		return
	case errors.Is(failed, context.Canceled), errors.Is(failed, context.DeadlineExceeded):
		f.release(p.ID)
		return
	case errors.Is(failed, registry.ErrFull): // not the photo's doing
		f.log.Error("analysis cannot be saved", "photo", p.ID, "error", failed)
		f.release(p.ID)
		return
	}
	final := errors.As(failed, &unusable) || errors.Is(failed, registry.ErrCorrupt)
	f.log.Error("analysis failed", "photo", p.ID, "try", p.Tries, "final", final, "error", failed)
	if err := f.Registry.FailAnalysis(ctx, p.ID, failed.Error(), final); err != nil {
		f.log.Error("note a failed analysis", "photo", p.ID, "error", err)
		f.release(p.ID)
	}
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
	template, err = g.metric.Template(embeddings)
	if errors.Is(err, match.ErrNoTemplate) {
		return nil, embeddings, nil
	}
	if err != nil {
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
