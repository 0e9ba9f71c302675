package finder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"homeward/engine"
	"homeward/models"
	"homeward/registry"
	"homeward/worker"
)

const (
	// bulkRests is after how long without a photo the processes for bulk work are ended, to give their memory back.
	bulkRests = 3 * time.Minute
	// unstoredTries is how many processes a photo may end that is not stored, before it is refused.
	unstoredTries = 2
	// endsForgiven is how many processes may be killed from outside over a stored photo before that counts as its doing: a photo for which
	// the system kills processes for their memory must not come round for ever.
	endsForgiven = 5
	// endsKept bounds the photos of which that is remembered.
	endsKept = 1000
)

// eyes look at photos under one model set, in processes of their own: some for what people wait for, and some for bulk work, which
// take what is left of the processors.
type eyes struct {
	users        atomic.Int32 // generations that look with them; the last closes them
	set          models.Set
	people, bulk *looker
}

// newEyes makes eyes under the set of that name. Processes are started when they are needed.
func newEyes(c Config, name string) (*eyes, error) {
	c.Set = name
	cat, set, err := LoadSet(c)
	if err != nil {
		return nil, err
	}
	e := &eyes{
		set:    set,
		people: newLooker(c, worker.Options{Models: cat.Dir(), Set: set.Name, ID: set.ID}),
		bulk:   newLooker(c, worker.Options{Models: cat.Dir(), Set: set.Name, ID: set.ID, Bulk: true}),
	}
	e.users.Store(1)
	return e, nil
}

// share makes one more generation look with them; false when they are closed.
func (e *eyes) share() bool {
	for {
		n := e.users.Load()
		if n == 0 {
			return false
		}
		if e.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave ends share: the last ends all processes.
func (e *eyes) leave() error {
	if e.users.Add(-1) > 0 {
		return nil
	}
	return e.close()
}

// analyse looks at a photo once. It waits its turn before it reads the photo: only as many are in memory as are being looked at.
// A *worker.CrashError when the photo ended the process.
func (e *eyes) analyse(ctx context.Context, bulk bool, read func() ([]byte, error), decoded func(engine.Header) error) (a *engine.Analysis, err error) {
	l := e.people
	if bulk {
		l = e.bulk
	}
	err = l.look(ctx, read, func(p *worker.Pool, photo []byte) (err error) {
		a, err = p.Analyse(ctx, photo, decoded)
		return err
	})
	return a, err
}

// receive is analyse for a photo that is not stored before decoded, unless nil, is called. One that ends the process before that is
// given to another, and refused with an *engine.PhotoError when that one ends too; worker.ErrEnded when that one was killed from outside:
// then someone who waits may try again, and bulk work does, endsForgiven times, so that no photo stands in the way of all that follow.
func (e *eyes) receive(ctx context.Context, bulk bool, read func() ([]byte, error), decoded func(engine.Header) error) (a *engine.Analysis, err error) {
	stored := false
	once := func() (err error) {
		a, err = e.analyse(ctx, bulk, read, func(h engine.Header) error {
			if decoded == nil {
				return nil
			}
			stored = true
			return decoded(h)
		})
		return err
	}
	for ends := unstoredTries; ; ends += unstoredTries {
		err = twice(once, func() bool { return stored })
		if !bulk || !errors.Is(err, worker.ErrEnded) {
			return a, err
		}
		if crashed := new(worker.CrashError); ends > endsForgiven && errors.As(err, &crashed) {
			return nil, &engine.PhotoError{Code: engine.CodeCrashed, Text: crashed.Reason}
		}
	}
}

// twice does what may end a process, once more if it did, and refuses the photo the second time, unless the process was killed from outside
// then, or stop says that a crash is to be told as it is.
func twice(do func() error, stop func() bool) error {
	var crashed *worker.CrashError
	for range unstoredTries {
		err := do()
		if !errors.As(err, &crashed) || stop() {
			return err
		}
	}
	if crashed.Outside {
		return fmt.Errorf("%w: %w", worker.ErrEnded, crashed)
	}
	return &engine.PhotoError{Code: engine.CodeCrashed, Text: crashed.Reason}
}

// endings counts, for each stored photo, the processes that were killed from outside while they were at it. Its zero value is ready.
type endings struct {
	mu sync.Mutex
	of map[registry.PhotoID]int
}

// forgiven says whether err is that a process was killed from outside, and the photo not to be blamed for it yet.
func (e *endings) forgiven(id registry.PhotoID, err error) bool {
	var crashed *worker.CrashError
	if !errors.As(err, &crashed) || !crashed.Outside {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil || len(e.of) >= endsKept { // forgetting them all gives some photos a few tries more
		e.of = map[registry.PhotoID]int{}
	}
	e.of[id]++
	return e.of[id] <= endsForgiven
}

// warm starts the first process for what people wait for, so that nobody waits for it, and finds out whether the models run.
func (e *eyes) warm(ctx context.Context) error {
	_, err := e.people.open(ctx)
	return err
}

// rest ends processes that have nothing to do.
func (e *eyes) rest() { e.bulk.rest() }

// close ends all processes.
func (e *eyes) close() error { return errors.Join(e.people.close(), e.bulk.close()) }

// looker is a pool of processes that is opened when it is first used, and its bound on photos in memory.
type looker struct {
	o       worker.Options
	looking chan struct{} // holds one for each photo in memory
	crashed atomic.Int64  // processes that ended over a photo

	mu     sync.Mutex
	pool   *worker.Pool // nil until it is used
	closed bool
}

func newLooker(c Config, o worker.Options) *looker {
	o.Workers, o.Log = c.workers(), c.Log
	return &looker{o: o, looking: make(chan struct{}, o.Workers)}
}

// open gives the pool, opened if need be.
func (l *looker) open(ctx context.Context) (*worker.Pool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, worker.ErrClosed
	}
	if l.pool != nil {
		return l.pool, nil
	}
	var err error
	l.pool, err = worker.Open(ctx, l.o)
	return l.pool, err
}

// look waits its turn, reads a photo and has do look at it.
func (l *looker) look(ctx context.Context, read func() ([]byte, error), do func(*worker.Pool, []byte) error) error {
	select {
	case l.looking <- struct{}{}:
		defer func() { <-l.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	pool, err := l.open(ctx)
	if err != nil {
		return err
	}
	photo, err := read()
	if err != nil {
		return err
	}
	err = do(pool, photo)
	if crash := new(worker.CrashError); errors.As(err, &crash) {
		l.crashed.Add(1)
	}
	return err
}

// full says whether as many photos are being looked at as can be.
func (l *looker) full() bool { return len(l.looking) == cap(l.looking) }

func (l *looker) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pool != nil {
		l.pool.Rest(bulkRests)
	}
}

func (l *looker) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.pool == nil {
		return nil
	}
	return l.pool.Close()
}

// Rendition is engine.Rendition of a stored photo.
func (f *Finder) Rendition(ctx context.Context, p registry.Photo, side int) ([]byte, error) {
	return f.picture(ctx, p, func(w *worker.Pool, photo []byte) ([]byte, error) { return w.Rendition(ctx, photo, side) })
}

// Chip is engine.Chip of a face in a stored photo.
func (f *Finder) Chip(ctx context.Context, p registry.Photo, face registry.Face, side int) ([]byte, error) {
	box, landmarks := geometry(face)
	return f.picture(ctx, p, func(w *worker.Pool, photo []byte) ([]byte, error) {
		return w.Chip(ctx, photo, box, landmarks, side)
	})
}

// Portrait is engine.Portrait of a face in a stored photo.
func (f *Finder) Portrait(ctx context.Context, p registry.Photo, face registry.Face, side int) ([]byte, error) {
	box, _ := geometry(face)
	return f.picture(ctx, p, func(w *worker.Pool, photo []byte) ([]byte, error) { return w.Portrait(ctx, photo, box, side) })
}

// picture makes a small picture of a stored photo, in a process without models: pages do not wait for photos that are being analysed.
func (f *Finder) picture(ctx context.Context, p registry.Photo, make func(*worker.Pool, []byte) ([]byte, error)) (jpeg []byte, err error) {
	err = twice(func() error {
		return f.pictures.look(ctx, func() ([]byte, error) { return f.ReadPhoto(ctx, p) }, func(w *worker.Pool, photo []byte) (err error) {
			jpeg, err = make(w, photo)
			return err
		})
	}, func() bool { return false })
	return jpeg, err
}

// geometry is where a stored face lies in its photo.
func geometry(f registry.Face) (engine.Box, [5]engine.Point) {
	var landmarks [5]engine.Point
	for i, l := range f.Landmarks {
		landmarks[i] = engine.Point{X: l[0], Y: l[1]}
	}
	return engine.Box{X: f.X, Y: f.Y, Width: f.W, Height: f.H}, landmarks
}

// OpenWorkers checks the models and makes the processes that run them, without a Finder.
func OpenWorkers(ctx context.Context, c Config) (*worker.Pool, error) {
	cat, set, err := LoadSet(c)
	if err != nil {
		return nil, err
	}
	return worker.Open(ctx, worker.Options{Models: cat.Dir(), Set: set.Name, Workers: c.Workers, Log: c.Log})
}
