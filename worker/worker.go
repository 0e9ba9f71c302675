// Package worker runs decoders and models in processes of their own, of the same binary, so that a photo which crashes or stalls one of
// them ends that process and nothing else.
//
// A Pool hands each photo to one process and waits for its answer; process.go is its side of the talk, hook.go the other, frame.go what
// passes between them. A process may have been taken over by a hostile photo: its answers are bounded and checked, it has neither
// secrets in its environment nor files of Homeward open, and where the system has Landlock it can open none (confine.go).
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"homeward/engine"
	"homeward/models"
)

// Options of Open.
type Options struct {
	Models string // directory of the model cards
	// Set is the name of the model set; every process checks cards and weights as it starts. Empty for processes that make pictures and
	// load no models: Analyse fails in them.
	Set     string
	ID      string // of the set, where Open must fail if the cards have changed since; empty for whatever it is
	Workers int    // processes, hence photos looked at at once; 0 for one per core
	// Bulk processes run only when nothing else wants the processor (SCHED_IDLE, the lowest autogroup value).
	Bulk bool
	// Memory is how many bytes of private memory a process may have; 0 for DefaultMemory.
	Memory int64
	// Time is how much processor time a process may spend on one photo; 0 for DefaultTime. Ten times as much may pass on the clock, and a
	// hundred times as much in Bulk processes, which let all others go first.
	Time time.Duration
	Log  *slog.Logger
}

// Limits of a process, where Options give none. A progressive JPEG of 100 megapixels takes some 800 MB while it is decoded.
const (
	DefaultMemory = 3 << 30
	DefaultTime   = time.Minute
)

// CrashError says that a process ended, or was ended at a limit, while it was at a photo.
type CrashError struct {
	Reason string // in words for a person: "The program that reads photos stopped at this photo (SIGSEGV). …"
	// Outside means that it was killed neither by what it ran nor at a limit of its pool: by the system, which may have been out of memory,
	// or by an operator. That is not the photo's doing, unless it happens again and again.
	Outside bool
	how     string // in a few words, for the operator
}

func (e *CrashError) Error() string { return e.Reason }

// ErrClosed means that the pool was closed.
var ErrClosed = errors.New("the processes that read photos have been ended")

// ErrStart means that no process could be started, which is no photo's doing.
var ErrStart = errors.New("start a process that reads photos")

// ErrEnded means that processes were ended from outside, again and again, while they were at a photo that nobody holds to blame.
var ErrEnded = errors.New("the processes that read photos are being killed (where nobody does it, the machine is out of memory)")

// Pool is worker processes. It is safe for concurrent use. A process that ended is replaced when it is needed.
type Pool struct {
	o     Options
	set   models.Set    // as it was at Open; empty without one
	slots chan struct{} // holds one for each photo being looked at

	mu     sync.Mutex
	closed bool
	all    map[*process]struct{}
	idle   []*process // the one used last stands last
}

// Open starts the first process, which loads the models, and starts the others when they are needed.
func Open(ctx context.Context, o Options) (*Pool, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.NumCPU()
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	if o.Time <= 0 {
		o.Time = DefaultTime
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if !canConfine() {
		o.Log.Warn("this system has no Landlock (Linux 5.13 or later, turned on): a process that a photo has taken over could open the registry's files")
	}
	p := &Pool{o: o, slots: make(chan struct{}, o.Workers), all: map[*process]struct{}{}}
	if o.Set != "" {
		if err := p.readCards(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStart, err)
		}
	}
	first, err := p.take(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.put(first)
	return p, nil
}

// readCards finds the set that the processes are to run.
func (p *Pool) readCards() error {
	var err error
	if p.o.Models, err = filepath.Abs(p.o.Models); err != nil {
		return err
	}
	cat, err := models.Load(p.o.Models)
	if err != nil {
		return err
	}
	if p.set, err = cat.Set(p.o.Set); err != nil {
		return err
	}
	if p.o.ID != "" && p.set.ID != p.o.ID {
		return changedCards(p.o.Set)
	}
	return nil
}

func changedCards(set string) error {
	return fmt.Errorf("the cards of model set %s have changed since Homeward started: put the old ones back, or start Homeward again to go over to the new", set)
}

// Analyse is engine.Engine's Analyse in a process of the pool; decoded is called in this one. A *CrashError when the process ended over it.
func (p *Pool) Analyse(ctx context.Context, photo []byte, decoded func(engine.Header) error) (*engine.Analysis, error) {
	if p.o.Set == "" {
		return nil, errors.New("these processes have no models")
	}
	var a *engine.Analysis
	var faces []engine.Face
	err := p.ask(ctx, request{Do: doAnalyse}, photo, answers{
		header: func(body []byte) error {
			h, err := readHeader(body)
			if err != nil || decoded == nil {
				return err
			}
			if err := decoded(h); err != nil {
				return &callerError{err}
			}
			return nil
		},
		face: func(body []byte) error {
			f, err := readFace(body, p.set)
			if faces = append(faces, f); len(faces) > engine.MaxFaces {
				err = nonsense("more than %d faces", engine.MaxFaces)
			}
			return err
		},
		done: func(body []byte) (err error) {
			if a, err = readAnalysis(body); err == nil {
				a.Faces = faces
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Rendition is engine.Rendition in a process of the pool.
func (p *Pool) Rendition(ctx context.Context, photo []byte, side int) ([]byte, error) {
	return p.picture(ctx, request{Do: doRendition, Side: side}, photo)
}

// Chip is engine.Chip in a process of the pool.
func (p *Pool) Chip(ctx context.Context, photo []byte, box engine.Box, landmarks [5]engine.Point, side int) ([]byte, error) {
	return p.picture(ctx, request{Do: doChip, Side: side, Box: box, Landmarks: landmarks}, photo)
}

// Portrait is engine.Portrait in a process of the pool.
func (p *Pool) Portrait(ctx context.Context, photo []byte, box engine.Box, side int) ([]byte, error) {
	return p.picture(ctx, request{Do: doPortrait, Side: side, Box: box}, photo)
}

func (p *Pool) picture(ctx context.Context, r request, photo []byte) (jpeg []byte, err error) {
	err = p.ask(ctx, r, photo, answers{done: func(body []byte) error {
		jpeg = body
		return checkJPEG(body, r.Side)
	}})
	if err != nil {
		return nil, err
	}
	return jpeg, nil
}

// ask hands a photo to a process and what it answers to to.
func (p *Pool) ask(ctx context.Context, r request, photo []byte, to answers) error {
	if len(photo) > engine.MaxBytes {
		return fmt.Errorf("the photo has %d bytes, more than %d MB: use a smaller copy", len(photo), engine.MaxBytes>>20)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	w, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer p.put(w) // which lets go of one that has ended
	return w.ask(ctx, r, photo, to)
}

// take gives a process that has no photo, started if need be.
func (p *Pool) take(ctx context.Context) (*process, error) {
	p.mu.Lock()
	for len(p.idle) > 0 {
		w := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if w.alive() {
			p.mu.Unlock()
			return w, nil
		}
		delete(p.all, w) // it ended without a photo: nothing is lost
	}
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	// Its first answer takes long; Close must find it meanwhile.
	w, err := p.launch()
	if err == nil {
		p.all[w] = struct{}{}
	}
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	if err := w.ready(ctx); err != nil {
		p.put(w)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	return w, nil
}

// put takes back a process.
func (p *Pool) put(w *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !w.alive() {
		delete(p.all, w)
		return
	}
	w.since = time.Now()
	p.idle = append(p.idle, w)
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Rest ends processes that have had no photo for so long, to give their memory back; they are started again when needed.
func (p *Pool) Rest(idle time.Duration) {
	p.mu.Lock()
	var over []*process
	for _, w := range p.idle {
		if time.Since(w.since) >= idle {
			over = append(over, w)
			delete(p.all, w)
		}
	}
	p.idle = slices.DeleteFunc(p.idle, func(w *process) bool { return slices.Contains(over, w) })
	p.mu.Unlock()
	for _, w := range over {
		w.end()
	}
}

// Workers is how many photos can be looked at at once.
func (p *Pool) Workers() int { return p.o.Workers }

// Set is the model set that the processes run; empty without one.
func (p *Pool) Set() models.Set { return p.set }

// Close ends all processes. Calls under way fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	all := p.all
	p.all, p.idle = map[*process]struct{}{}, nil
	p.mu.Unlock()
	for w := range all {
		w.end()
	}
	return nil
}
