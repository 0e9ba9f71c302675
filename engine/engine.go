package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"homeward/models"
)

const (
	// workSide is the long side, in pixels, of the picture that a photo is analysed on.
	workSide = 1024
	// closeSide is the longest that picture becomes where faces are small: some 50 MB.
	closeSide = 4096
	// facePixels is how wide a face's box must be in that picture to fill an aligned chip of 112 pixels, of which the
	// box is some four fifths.
	facePixels = 90
	// MaxFaces is how many faces of a photo are kept, the largest: a bound on what one photo can cost.
	MaxFaces = 64
	// giveBackEvery is after how many photos memory is given back, which takes about a millisecond.
	giveBackEvery = 32
)

// Options of an engine.
type Options struct {
	Workers int  // photos analysed at once; 0 means one per core
	Chips   bool // keep each face's aligned chip, for training
}

// Engine analyses photos under one model set. It is safe for concurrent use.
type Engine struct {
	set      models.Set
	chips    bool
	detector *detector
	age      *ageModel
	shared   []recogniser // those that all workers use, to be closed once
	workers  chan *worker // those without a photo
	count    int
	photos   atomic.Int64 // looked at so far
}

// worker is what one photo at a time needs for itself.
type worker struct {
	recognisers []recogniser // in the set's order
	own         []recogniser // those among them that no other worker uses
}

// Timing says where the time of an analysis went. Decode is ours; the others are what the models themselves took, without
// what was done to feed them.
type Timing struct {
	Decode, Detect, Embed, Dlib, Age time.Duration
	Total                            time.Duration
}

// Inference is the sum of the models' own times.
func (t Timing) Inference() time.Duration { return t.Detect + t.Embed + t.Dlib + t.Age }

// New loads the models of a set. The caller closes the engine.
func New(cat *models.Catalogue, set models.Set, options Options) (_ *Engine, err error) {
	if options.Workers <= 0 {
		options.Workers = runtime.NumCPU()
	}
	if err := startVips(); err != nil {
		return nil, err
	}
	if len(set.Runtime.Files) == 0 {
		return nil, fmt.Errorf("model set %s names no runtime", set.Name)
	}
	if err := startRuntime(cat.Path(set.Runtime.Files[0])); err != nil {
		return nil, err
	}
	e := &Engine{set: set, chips: options.Chips, workers: make(chan *worker, options.Workers), count: 0}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if e.detector, err = openDetector(cat, set.Detector); err != nil {
		return nil, err
	}
	if e.age, err = openAge(cat, set.Age); err != nil {
		return nil, err
	}
	common := make([]recogniser, len(set.Recognisers))
	for i, card := range set.Recognisers {
		if card.Engine == "dlib" {
			continue
		}
		if common[i], err = openRecogniser(cat, card); err != nil {
			return nil, err
		}
		e.shared = append(e.shared, common[i])
	}
	for range options.Workers {
		w := &worker{recognisers: slices.Clone(common)}
		e.workers <- w
		e.count++
		for i, card := range set.Recognisers {
			if card.Engine != "dlib" {
				continue
			}
			if w.recognisers[i], err = openDlib(cat, card); err != nil {
				return nil, err
			}
			w.own = append(w.own, w.recognisers[i])
		}
	}
	return e, nil
}

// Workers is how many photos are analysed at once.
func (e *Engine) Workers() int { return e.count }

// Set is the model set that the engine runs.
func (e *Engine) Set() models.Set { return e.set }

// Close waits for analyses under way and frees the models. The engine must not be used afterwards.
func (e *Engine) Close() error {
	var errs []error
	for range e.count {
		for _, r := range (<-e.workers).own {
			errs = append(errs, r.close())
		}
	}
	for _, r := range e.shared {
		errs = append(errs, r.close())
	}
	if e.detector != nil {
		errs = append(errs, e.detector.net.close())
	}
	if e.age != nil {
		errs = append(errs, e.age.net.close())
	}
	return errors.Join(errs...)
}

// Analyse finds the faces in a photo and what stands for each. It waits for a free worker, and gives up, between any two
// steps, when ctx ends. A photo that is refused gives a *PhotoError; a photo without a face gives an analysis without
// faces.
//
// decoded, unless nil, is called once the photo has proven sound and before any model sees it, which is the moment to
// store it for good; its error ends the analysis.
func (e *Engine) Analyse(ctx context.Context, photo []byte, decoded func(Header) error) (*Analysis, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var w *worker
	select {
	case w = <-e.workers:
		defer func() {
			if e.photos.Add(1)%giveBackEvery == 0 {
				giveBack()
			}
			e.workers <- w
		}()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	start := time.Now()
	header, err := Inspect(photo)
	if err != nil {
		return nil, err
	}
	a := &Analysis{Format: header.Format, Width: header.Width, Height: header.Height, TakenAt: header.TakenAt}
	src := &source{photo: photo, header: header}
	im, err := src.at(workSide)
	if err != nil {
		return nil, err
	}
	if decoded != nil {
		if err := decoded(header); err != nil {
			return nil, err
		}
	}
	a.Look = look(im)
	found, err := e.detector.find(ctx, src, &a.Timing)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b detection) int {
		return int(sign(b.box.Width*b.box.Height - a.box.Width*a.box.Height))
	})
	found = found[:min(len(found), MaxFaces)]
	for _, d := range found {
		face, err := e.describe(ctx, w, src, d, &a.Timing)
		if err != nil {
			return nil, err
		}
		a.Faces = append(a.Faces, face)
	}
	a.Timing.Decode = src.spent
	a.Timing.Total = time.Since(start)
	return a, nil
}

// describe makes of a detection everything that is known about the face.
func (e *Engine) describe(ctx context.Context, w *worker, src *source, d detection, timing *Timing) (Face, error) {
	f := Face{Box: d.box, Landmarks: d.landmarks, Score: d.score}
	// The picture must be large enough for the face to fill its chip, as far as the photo allows.
	side := float32(src.longSide()) * facePixels / max(d.box.Width, d.box.Height)
	im, err := src.at(int(min(side, closeSide)))
	if err != nil {
		return Face{}, err
	}
	k := src.shrunk(im)
	v := &view{im: im, box: d.box.scaled(k), landmarks: scaled(d.landmarks, k)}
	chip := v.chip(models.Input{Chip: "arcface"}, arcfaceSide)
	f.Quality = assess(chip, d.landmarks, d.score)
	if e.chips {
		f.Chip = chip
	}
	if f.Age, err = e.age.estimate(v, &timing.Age); err != nil {
		return Face{}, err
	}
	for i, r := range w.recognisers {
		if err := ctx.Err(); err != nil {
			return Face{}, err
		}
		vector, err := r.embed(v, timing)
		if err != nil {
			return Face{}, err
		}
		f.Embeddings = append(f.Embeddings, Embedding{Recogniser: e.set.Recognisers[i].Name, Vector: vector})
	}
	return f, nil
}

// source is a photo that is decoded no larger than it has to be.
type source struct {
	photo  []byte
	header Header
	im     *Image // the largest decoded so far
	spent  time.Duration
}

func (s *source) longSide() int { return max(s.header.Width, s.header.Height) }

// at returns a picture of the photo whose long side is about side or more, or the photo's own where that is shorter. It
// starts with workSide, which serves nearly all photos to the end.
func (s *source) at(side int) (*Image, error) {
	side = min(max(side, workSide), s.longSide())
	// Decode may return a sixteenth less than it was asked for.
	if s.im != nil && max(s.im.Width, s.im.Height) >= side-side/16-1 {
		return s.im, nil
	}
	start := time.Now()
	im, err := decode(s.photo, s.header, side)
	s.spent += time.Since(start)
	if err != nil {
		return nil, err
	}
	s.im = im
	return im, nil
}

// shrunk is how many of the picture's pixels one of the photo's is wide, at most 1.
func (s *source) shrunk(im *Image) float32 {
	return float32(max(im.Width, im.Height)) / float32(s.longSide())
}

func sign(x float32) float32 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}
