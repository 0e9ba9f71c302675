package jobs

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"homeward/registry"
)

// Task is a job in the hands of its handler. Its methods are safe for concurrent use.
type Task struct {
	Job registry.Job // as it was when this process took it

	registry *registry.Registry
	stop     context.CancelCauseFunc // ends the handler's context
	began    time.Time

	mu       sync.Mutex // held while storing, so that saves are stored in their order
	place    string
	progress registry.Progress
	stored   time.Time // when the registry last heard of the job
	ahead    bool      // the registry has not heard of progress
	rate     rate
}

func newTask(r *registry.Registry, j registry.Job, stop context.CancelCauseFunc) *Task {
	now := time.Now()
	j.Progress.Rate = 0 // of the process that had it before
	return &Task{Job: j, registry: r, stop: stop, began: now, place: j.Place, progress: j.Progress, stored: now}
}

// Save notes where the job would go on and how far it has come. It may be called after every step: it writes at once when place has
// changed, or when the stage changed, and otherwise about once a second. p.Rate is filled in from the other fields. It works after the
// handler's context has ended too, to note the last that was done. It fails when the job is no longer this process's.
func (t *Task) Save(ctx context.Context, place string, p registry.Progress) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	due := place != t.place || p.Stage != t.progress.Stage || now.Sub(t.stored) >= pollEvery
	p.Rate = t.rate.at(now, p.Stage, p.Done)
	p.Counts = maps.Clone(p.Counts) // the handler goes on counting
	t.place, t.progress, t.ahead = place, p, true
	if !due {
		return nil
	}
	return t.store(ctx)
}

// store tells the registry of the job, learns what people wish of it, and ends the handler's context where it is to stop. The mutex is
// held.
func (t *Task) store(ctx context.Context) error {
	wish, err := t.registry.SaveJob(context.WithoutCancel(ctx), t.Job.ID, t.place, t.progress)
	if errors.Is(err, registry.ErrConflict) {
		t.stop(errLost)
	}
	if err != nil {
		return err
	}
	t.stored, t.ahead = time.Now(), false
	switch wish {
	case registry.WishPause:
		t.stop(errPause)
	case registry.WishCancel:
		t.stop(errCancel)
	}
	return nil
}

// renew stores the job if that was not done lately, for handlers that have nothing to save: they are told of wishes too. A failure is
// left to the next time, or to the handler's own next save.
func (t *Task) renew(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.stored) >= pollEvery {
		t.progress.Rate = t.rate.at(now, t.progress.Stage, t.progress.Done) // it falls while nothing is done
		_ = t.store(ctx)
	}
}

// flush stores what the registry has not heard of. The job's end says whether that can be stored at all.
func (t *Task) flush(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ahead {
		_ = t.store(ctx)
	}
}

// now is the job as it is, with what the registry has not heard of yet.
func (t *Task) now() registry.Job {
	t.mu.Lock()
	defer t.mu.Unlock()
	j := t.Job
	j.Place, j.Progress = t.place, t.progress
	j.Spent += time.Since(t.began)
	return j
}

// rateOver is the time over which a rate is taken.
const rateOver = 30 * time.Second

// rate is how fast a number grows.
type rate struct {
	stage   string
	samples []sample // oldest first, a second apart or more, of the last rateOver
}

type sample struct {
	at   time.Time
	done int64
}

// at is the rate per second of the last rateOver, or since the stage began; 0 while nothing can be said.
func (r *rate) at(now time.Time, stage string, done int64) float64 {
	n := len(r.samples)
	if n == 0 || stage != r.stage || done < r.samples[n-1].done {
		*r = rate{stage, []sample{{now, done}}}
		return 0
	}
	if now.Sub(r.samples[n-1].at) >= time.Second {
		r.samples = append(r.samples, sample{now, done})
	}
	for len(r.samples) > 1 && now.Sub(r.samples[1].at) >= rateOver {
		r.samples = r.samples[1:]
	}
	first := r.samples[0]
	if over := now.Sub(first.at); over >= time.Second {
		return float64(done-first.done) / over.Seconds()
	}
	return 0
}
