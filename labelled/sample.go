package labelled

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"homeward/engine"
	"homeward/models"
)

// Sample is a labelled photo after the engine has seen it.
type Sample struct {
	Row
	// Problem says why the photo cannot be used; empty where it can.
	Problem string
	Face
}

// Face is what is known of the subject's face.
type Face struct {
	Box       engine.Box
	Landmarks [5]engine.Point
	AgeYears  float64 // estimated
	AgeSD     float64
	Quality   float64 // 0..1
	// Embeddings maps a recogniser's fingerprint to its raw output; one that could not work on the face has none.
	Embeddings map[string][]float32
	Chip       *engine.Image // only where chips were asked for
}

// Sampler makes samples of photos.
type Sampler struct {
	Catalogue *models.Catalogue
	Set       models.Set
	Cache     *Cache // nil for none
	Chips     bool   // keep aligned chips; the cache has none, so that every photo is then looked at anew
	// Progress is called after each photo, from several goroutines; nil for none.
	Progress func()
}

// Samples looks at the photos of the rows, and returns a sample for each, in their order. A photo that cannot be read, is
// refused or shows no face is a sample with a Problem. Where it shows several faces, the largest near its middle counts as
// the subject's.
func (s Sampler) Samples(ctx context.Context, rows []Row) ([]Sample, error) {
	out := make([]Sample, len(rows))
	l := looker{Sampler: s}
	defer l.close()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, row := range rows {
		g.Go(func() error {
			face, problem, err := l.face(ctx, row.Path)
			if err != nil {
				return fmt.Errorf("line %d, %s: %w", row.Line, row.Path, err)
			}
			out[i] = Sample{Row: row, Face: face, Problem: problem}
			if s.Progress != nil {
				s.Progress()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// looker holds the engines that turned out to be needed: one for each choice of recognisers that the cache lacks.
type looker struct {
	Sampler
	mu      sync.Mutex
	engines map[string]*engine.Engine
}

func (l *looker) close() {
	for _, e := range l.engines {
		_ = e.Close() // nothing is lost: all its analyses have ended
	}
}

// face finds the subject's face; problem says why there is none.
func (l *looker) face(ctx context.Context, path string) (face Face, problem string, err error) {
	if err := ctx.Err(); err != nil {
		return face, "", err
	}
	photo, problem := read(path)
	if problem != "" {
		return face, problem, nil
	}
	set := l.Set
	var known Face
	if l.Cache != nil && !l.Chips {
		var found bool
		if known, problem, found, err = l.Cache.get(ctx, photo, l.Set); err != nil || problem != "" {
			return known, problem, err
		}
		if found {
			set.Recognisers = slices.DeleteFunc(slices.Clone(l.Set.Recognisers), func(c models.Card) bool {
				_, ok := known.Embeddings[c.Fingerprint()]
				return ok
			})
			if len(set.Recognisers) == 0 {
				return known.said(), "", nil
			}
		}
	}
	e, err := l.engine(set)
	if err != nil {
		return face, "", err
	}
	a, err := e.Analyse(ctx, photo, nil)
	var refused *engine.PhotoError
	switch {
	case errors.As(err, &refused):
		problem = refused.Text
	case err != nil:
		return face, "", err
	case len(a.Faces) == 0:
		problem = NoFace
	default:
		face = newFace(set, subject(a))
		for r, v := range known.Embeddings {
			face.Embeddings[r] = v
		}
	}
	if l.Cache != nil {
		if err := l.Cache.put(ctx, photo, l.Set, face, problem); err != nil {
			return face, "", err
		}
	}
	return face.said(), problem, nil
}

// NoFace is the problem of a photo in which no face was found.
const NoFace = "no face was found"

// said leaves out the recognisers that had nothing to say.
func (f Face) said() Face {
	for r, v := range f.Embeddings {
		if v == nil {
			delete(f.Embeddings, r)
		}
	}
	return f
}

func read(path string) (photo []byte, problem string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, "there is no such file"
	case err != nil:
		return nil, "cannot be read: " + err.Error()
	case !info.Mode().IsRegular():
		return nil, "is not a file"
	case info.Size() > engine.MaxBytes:
		return nil, "is larger than 64 MB"
	}
	if photo, err = os.ReadFile(path); err != nil {
		return nil, "cannot be read: " + err.Error()
	}
	return photo, ""
}

// engine is the engine that runs these recognisers.
func (l *looker) engine(set models.Set) (*engine.Engine, error) {
	var key string
	for _, c := range set.Recognisers {
		key += c.Fingerprint()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.engines[key]; e != nil {
		return e, nil
	}
	e, err := engine.New(l.Catalogue, set, engine.Options{Chips: l.Chips})
	if err != nil {
		return nil, err
	}
	if l.engines == nil {
		l.engines = map[string]*engine.Engine{}
	}
	l.engines[key] = e
	return e, nil
}

// subject is the face that a labelled photo is about: large and near the middle.
func subject(a *engine.Analysis) engine.Face {
	prominence := func(f engine.Face) float64 {
		dx := float64(f.Box.X+f.Box.Width/2)/float64(a.Width) - 0.5
		dy := float64(f.Box.Y+f.Box.Height/2)/float64(a.Height) - 0.5
		return float64(f.Box.Width) * float64(f.Box.Height) * math.Exp(-8*(dx*dx+dy*dy))
	}
	return slices.MaxFunc(a.Faces, func(a, b engine.Face) int {
		if prominence(a) < prominence(b) {
			return -1
		}
		return 1
	})
}

func newFace(set models.Set, f engine.Face) Face {
	out := Face{
		Box: f.Box, Landmarks: f.Landmarks, AgeYears: float64(f.Age.Years), AgeSD: float64(f.Age.SD),
		Quality: float64(f.Quality.Overall), Chip: f.Chip, Embeddings: make(map[string][]float32, len(f.Embeddings)),
	}
	for i, e := range f.Embeddings {
		out.Embeddings[set.Recognisers[i].Fingerprint()] = e.Vector
	}
	return out
}
