// Package jobs runs the registry's jobs: it takes them, renews what people wish of them, retries what failed, and hands back what
// was under way when it is told to stop. What a job does is its handler's business.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/registry"
)

// Handler does the work of one kind of job. It goes on at t.Job.Place, calls t.Save as it comes further, and returns when ctx ends (somebody
// paused or cancelled the job, or the process is to stop) with whatever error that gives. An error wrapped by Final is not retried; nil
// means that the job is done.
// A job may be begun at any Place it saved, by another process, at any time: what a handler does between two saves must do no harm
// when it is done again.
type Handler func(ctx context.Context, t *Task) error

const (
	// pollEvery is how often the queue is looked at, and how long a person's wish takes to be seen at most.
	pollEvery = time.Second
	// forgetEvery is how often finished jobs are looked through for those to forget.
	forgetEvery = 6 * time.Hour
	// Keep is how long a finished job is kept, with the outcomes of an import's files.
	Keep = 90 * 24 * time.Hour
)

// Final marks an error that no retry can mend, such as a folder that is not there: the job is parked at once. It keeps nil nil.
func Final(err error) error {
	if err == nil {
		return nil
	}
	return finalError{err}
}

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// ErrNoHandler means that this program does not know how to do a job of its kind.
var ErrNoHandler = errors.New("this program cannot do jobs of this kind")

// Why a handler's context ends.
var (
	errPause  = errors.New("the job is paused")
	errCancel = errors.New("the job is cancelled")
	errLost   = errors.New("the job is no longer this process's")
)

// Runner runs jobs.
type Runner struct {
	Registry *registry.Registry
	Handlers map[registry.JobKind]Handler
	Log      *slog.Logger // nil for none; it is told ids and kinds, never what a job works on or why it failed
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

// Run takes jobs until ctx ends, one after another of each kind, kinds side by side; then what is under way is handed back, and Run
// returns once its handlers have returned. It forgets finished jobs after Keep.
func (r *Runner) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for kind := range r.Handlers {
		g.Go(func() error {
			every(ctx, pollEvery, func() {
				for ctx.Err() == nil && r.next(ctx, kind) {
				}
			})
			return nil
		})
	}
	g.Go(func() error {
		every(ctx, forgetEvery, func() {
			n, err := r.Registry.ForgetJobs(ctx, time.Now().Add(-Keep))
			if err != nil && ctx.Err() == nil {
				r.log().Error("forget old jobs", "error", err)
			}
			if n > 0 {
				r.log().Info("old jobs are forgotten", "jobs", n)
			}
		})
		return nil
	})
	return g.Wait()
}

// every does something now, and again and again with a pause between, until ctx ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	again := time.NewTicker(pause)
	defer again.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}

// next runs the job of the kind whose turn it is, and says whether there was one.
func (r *Runner) next(ctx context.Context, kind registry.JobKind) bool {
	j, ok, err := r.Registry.ClaimJob(ctx, kind)
	if err != nil && ctx.Err() == nil {
		r.log().Error("take a job", "kind", kind, "error", err)
	}
	if !ok || err != nil {
		return false
	}
	log := r.log().With("job", j.ID, "kind", kind)
	log.Info("job begins", "tries", j.Tries)
	_ = r.run(ctx, j, registry.JobQueued, nil) // stored with the job, which says more than a log may
	// Its end is durable whatever ctx says.
	j, err = r.Registry.Job(context.WithoutCancel(ctx), j.ID)
	if err != nil {
		log.Error("read the job's end", "error", err)
		return false
	}
	switch j.State {
	case registry.JobParked:
		log.Warn("job is parked: see homeward jobs show", "tries", j.Tries)
	case registry.JobQueued:
		log.Info("job goes back to the queue", "tries", j.Tries, "due", j.Due)
	default:
		log.Info("job ends", "state", j.State, "spent", j.Spent.Round(time.Second))
	}
	return true
}

// One runs one job in the foreground until it is done, paused, cancelled or parked, or fails; tell, which may be nil, is told of its
// progress about once a second. When ctx ends, the job is paused: whoever interrupted the command wants it to stop. Failures are
// returned at once, the job staying queued (to be tried again by a server, or by the same command) or parked; the job is returned as it
// then is. ErrNoHandler; registry.ErrConflict when another process is at the job or it is finished.
func (r *Runner) One(ctx context.Context, id registry.JobID, tell func(registry.Job)) (registry.Job, error) {
	j, err := r.Registry.Job(ctx, id)
	if err != nil {
		return j, err
	}
	if r.Handlers[j.Kind] == nil {
		return j, fmt.Errorf("%s: %w", j.Kind, ErrNoHandler)
	}
	if j, err = r.Registry.TakeJob(ctx, id); err != nil {
		return j, err
	}
	failed := r.run(ctx, j, registry.JobPaused, tell)
	after, err := r.Registry.Job(context.WithoutCancel(ctx), id)
	if err != nil {
		return j, errors.Join(failed, err)
	}
	return after, failed
}

// run does a job that this process has claimed, and ends its hold on it: when ctx ends, as interrupted says. The error is why the job
// failed, or why its end could not be stored; nil when it was only stopped.
func (r *Runner) run(ctx context.Context, j registry.Job, interrupted registry.JobState, tell func(registry.Job)) error {
	hctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	t := newTask(r.Registry, j, stop)
	ended := make(chan struct{})
	var beside errgroup.Group
	beside.Go(func() error {
		again := time.NewTicker(pollEvery)
		defer again.Stop()
		for {
			select {
			case <-ended:
				return nil
			case <-again.C:
				t.renew(context.WithoutCancel(ctx))
				if tell != nil {
					tell(t.now())
				}
			}
		}
	})
	failed := r.handle(hctx, t)
	close(ended)
	_ = beside.Wait() // it has no errors

	// What is stored now is stored whatever ctx says.
	after := context.WithoutCancel(ctx)
	t.flush(after)
	if tell != nil {
		tell(t.now())
	}
	end := func(as registry.JobState, reason string) error {
		return r.settle(ctx, j, interrupted, func() error { return r.Registry.EndJob(after, j.ID, as, reason) })
	}
	cause := context.Cause(hctx)
	var final finalError
	switch {
	case errors.Is(cause, errLost):
		return errLost
	case failed == nil:
		return end(registry.JobDone, "")
	case errors.Is(cause, errCancel):
		return end(registry.JobCancelled, "")
	case errors.Is(cause, errPause):
		return end(registry.JobPaused, "")
	case ctx.Err() != nil:
		return end(interrupted, "")
	case errors.As(failed, &final):
		return errors.Join(failed, end(registry.JobParked, failed.Error()))
	}
	return errors.Join(failed, r.settle(ctx, j, interrupted, func() error {
		_, err := r.Registry.FailJob(after, j.ID, failed.Error())
		return err
	}))
}

// settle stores a job's end. A server, of which the process goes on, tries until it can (the disk may be full): the job would otherwise
// stand as running for as long as the process lives. When ctx ends, closing the registry hands it back, or the process's end does.
func (r *Runner) settle(ctx context.Context, j registry.Job, interrupted registry.JobState, store func() error) error {
	err := store()
	for err != nil && interrupted == registry.JobQueued && !errors.Is(err, registry.ErrConflict) && ctx.Err() == nil {
		r.log().Error("store a job's end", "job", j.ID, "kind", j.Kind, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
		err = store()
	}
	return err
}

// handle calls the handler, and makes a panic of it an error.
func (r *Runner) handle(ctx context.Context, t *Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// What a panic says may be of a photo or a file; where it was is of the program.
			r.log().Error("a job's handler panicked", "job", t.Job.ID, "kind", t.Job.Kind, "stack", string(debug.Stack()))
			err = fmt.Errorf("the program is at fault: %v", p)
		}
	}()
	return r.Handlers[t.Job.Kind](ctx, t)
}
