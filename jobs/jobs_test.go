package jobs

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"homeward/registry"
)

const kind registry.JobKind = "test"

func open(t *testing.T, dir string) *registry.Registry {
	t.Helper()
	r, err := registry.Open(t.Context(), dir, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func enqueue(t *testing.T, r *registry.Registry, n registry.NewJob) registry.JobID {
	t.Helper()
	if n.Kind == "" {
		n.Kind = kind
	}
	j, existed, err := r.Enqueue(t.Context(), n)
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	return j.ID
}

func read(t *testing.T, r *registry.Registry, id registry.JobID) registry.Job {
	t.Helper()
	j, err := r.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// await waits until the job is as it should be.
func await(t *testing.T, r *registry.Registry, id registry.JobID, what string, is func(registry.Job) bool) registry.Job {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		j := read(t, r, id)
		if is(j) {
			return j
		}
		if time.Now().After(deadline) {
			t.Fatalf("the job does not become %s: %+v", what, j)
		}
	}
}

func awaitState(t *testing.T, r *registry.Registry, id registry.JobID, s registry.JobState) registry.Job {
	t.Helper()
	return await(t, r, id, string(s), func(j registry.Job) bool { return j.State == s })
}

// start runs a Runner until stop is called, or the test ends.
func start(t *testing.T, r *Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func handle(h Handler) map[registry.JobKind]Handler { return map[registry.JobKind]Handler{kind: h} }

// steps is a handler of that many steps, which counts how often each is done.
func steps(n int, done *[]int, each func(ctx context.Context, step int) error) Handler {
	return func(ctx context.Context, t *Task) error {
		at := len(t.Job.Place)
		for ; at < n; at++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := each(ctx, at); err != nil {
				return err
			}
			*done = append(*done, at)
			if err := t.Save(ctx, strings.Repeat("x", at+1), registry.Progress{Stage: "steps", Done: int64(at + 1), Total: int64(n)}); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestRun(t *testing.T) {
	r := open(t, t.TempDir())
	first, second := enqueue(t, r, registry.NewJob{About: "1"}), enqueue(t, r, registry.NewJob{About: "2"})
	unknown := enqueue(t, r, registry.NewJob{Kind: "unknown"})
	var done []int
	start(t, &Runner{Registry: r, Handlers: handle(steps(3, &done, func(context.Context, int) error { return nil }))})
	for _, id := range []registry.JobID{first, second} {
		if j := awaitState(t, r, id, registry.JobDone); j.Place != "xxx" || j.Progress.Done != 3 || j.Progress.Total != 3 {
			t.Errorf("%+v", j)
		}
	}
	if len(done) != 6 {
		t.Error(done)
	}
	if j := read(t, r, unknown); j.State != registry.JobQueued {
		t.Errorf("%+v", j)
	}
}

// TestKindsSideBySide: kinds run at the same time, and no kind beside itself, with two Runners on one registry.
func TestKindsSideBySide(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	var both sync.WaitGroup // of the two kinds' first jobs
	both.Add(2)
	var meet [2]sync.Once
	var under [2]atomic.Int32
	handler := func(i int) Handler {
		return func(ctx context.Context, _ *Task) error {
			if under[i].Add(1) > 1 {
				t.Error("two jobs of one kind are under way")
			}
			meet[i].Do(func() { both.Done(); both.Wait() })
			time.Sleep(20 * time.Millisecond) // gives another the time to be wrong
			under[i].Add(-1)
			return nil
		}
	}
	handlers := map[registry.JobKind]Handler{"one": handler(0), "two": handler(1)}
	var ids []registry.JobID
	for k := range handlers {
		for i := range 4 {
			ids = append(ids, enqueue(t, a, registry.NewJob{Kind: k, About: fmt.Sprint(i)}))
		}
	}
	start(t, &Runner{Registry: a, Handlers: handlers})
	start(t, &Runner{Registry: b, Handlers: handlers})
	for _, id := range ids {
		awaitState(t, a, id, registry.JobDone)
	}
}

// TestStop: a job under way is handed back and goes on where it was.
func TestStop(t *testing.T) {
	r := open(t, t.TempDir())
	id := enqueue(t, r, registry.NewJob{})
	var done []int
	begun := make(chan bool)
	h := steps(4, &done, func(ctx context.Context, step int) error {
		if step == 2 && begun != nil {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	stop := start(t, &Runner{Registry: r, Handlers: handle(h)})
	<-begun
	stop()
	begun = nil
	if j := read(t, r, id); j.State != registry.JobQueued || j.Tries != 0 || j.Place != "xx" || j.Reason != "" {
		t.Errorf("%+v", j)
	}
	start(t, &Runner{Registry: r, Handlers: handle(h)})
	awaitState(t, r, id, registry.JobDone)
	if want := "[0 1 2 3]"; fmt.Sprint(done) != want {
		t.Errorf("steps %v, want %s", done, want)
	}
}

// TestWishes steers a job that saves, and one that never does.
func TestWishes(t *testing.T) {
	for name, save := range map[string]bool{"saves": true, "never saves": false} {
		for wish, want := range map[registry.JobWish]registry.JobState{registry.WishPause: registry.JobPaused, registry.WishCancel: registry.JobCancelled} {
			t.Run(fmt.Sprint(name, " ", wish), func(t *testing.T) {
				t.Parallel()
				r := open(t, t.TempDir())
				id := enqueue(t, r, registry.NewJob{})
				start(t, &Runner{Registry: r, Handlers: handle(func(ctx context.Context, task *Task) error {
					for n := int64(1); ctx.Err() == nil; n++ {
						time.Sleep(time.Millisecond)
						if save {
							if err := task.Save(ctx, "", registry.Progress{Done: n}); err != nil {
								return err
							}
						}
					}
					return errors.New("whatever")
				})})
				awaitState(t, r, id, registry.JobRunning)
				if _, err := r.WishJob(t.Context(), id, wish); err != nil {
					t.Fatal(err)
				}
				if j := awaitState(t, r, id, want); j.Reason != "" || j.Wish != registry.NoWish || save && j.Progress.Done == 0 {
					t.Errorf("%+v", j)
				}
			})
		}
	}
}

func TestFailures(t *testing.T) {
	r := open(t, t.TempDir())
	broken := errors.New("the disk broke")
	for _, c := range []struct {
		name   string
		do     Handler
		state  registry.JobState
		reason string
	}{
		{"error", func(context.Context, *Task) error { return fmt.Errorf("read: %w", broken) }, registry.JobQueued, "read: the disk broke"},
		{"final", func(context.Context, *Task) error { return fmt.Errorf("read: %w", Final(broken)) }, registry.JobParked, "read: the disk broke"},
		{"panic", func(context.Context, *Task) error { panic("oh") }, registry.JobQueued, "the program is at fault: oh"},
		{"fault", func(_ context.Context, t *Task) error { _ = []int{}[len(t.Job.Kind)]; return nil }, registry.JobQueued,
			"the program is at fault: runtime error: index out of range [4] with length 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := enqueue(t, r, registry.NewJob{About: c.name})
			var log bytes.Buffer
			runner := &Runner{Registry: r, Handlers: handle(c.do), Log: slog.New(slog.NewTextHandler(&log, nil))}
			j, err := runner.One(t.Context(), id, nil)
			if err == nil || j.State != c.state || j.Reason != c.reason || j.Tries != 1 {
				t.Errorf("%+v %v", j, err)
			}
			if strings.Contains(log.String(), "disk broke") || strings.Contains(log.String(), "oh") {
				t.Errorf("the log says why: %s", &log)
			}
		})
	}
	if Final(nil) != nil {
		t.Error("nothing that is final is something")
	}
}

// TestRetried lets a job fail twice: it is tried again by itself.
func TestRetried(t *testing.T) {
	dir := t.TempDir()
	var ahead atomic.Int64 // of the clock, which runs fast so that nobody waits
	r, err := registry.Open(t.Context(), dir, registry.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Add(int64(time.Minute)))) }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	id := enqueue(t, r, registry.NewJob{})
	var tries atomic.Int32
	stop := start(t, &Runner{Registry: r, Handlers: handle(func(context.Context, *Task) error {
		if tries.Add(1) < 3 {
			return errors.New("not now")
		}
		return nil
	})})
	defer stop()
	if j := awaitState(t, r, id, registry.JobDone); j.Tries != 3 || j.Reason != "" {
		t.Errorf("%+v", j)
	}
}

// TestLost: a job that another process has taken over is left alone.
func TestLost(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	id := enqueue(t, r, registry.NewJob{})
	db, err := sql.Open("sqlite", filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	runner := &Runner{Registry: r, Handlers: handle(func(ctx context.Context, task *Task) error {
		if _, err := db.Exec("UPDATE jobs SET state = 'paused', owner = ''"); err != nil {
			return err
		}
		if err := task.Save(ctx, "further", registry.Progress{}); !errors.Is(err, registry.ErrConflict) {
			t.Error(err)
		}
		<-ctx.Done()
		return ctx.Err()
	})}
	if _, err := runner.One(t.Context(), id, nil); !errors.Is(err, errLost) {
		t.Error(err)
	}
	if j := read(t, r, id); j.State != registry.JobPaused || j.Place != "" {
		t.Errorf("%+v", j)
	}
}

// TestEndIsStored: when a job's end cannot be stored, a server tries until it can.
func TestEndIsStored(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	id := enqueue(t, r, registry.NewJob{})
	db, err := sql.Open("sqlite", filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TRIGGER full BEFORE UPDATE OF state ON jobs WHEN new.state = 'done' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	var times atomic.Int32
	var log lines
	start(t, &Runner{Registry: r, Log: slog.New(slog.NewTextHandler(&log, nil)), Handlers: handle(func(context.Context, *Task) error {
		times.Add(1)
		return nil
	})})
	for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "store a job's end"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was said of the end that cannot be stored")
		}
	}
	if j := read(t, r, id); j.State != registry.JobRunning {
		t.Errorf("%+v", j)
	}
	if _, err := db.Exec("DROP TRIGGER full"); err != nil {
		t.Fatal(err)
	}
	awaitState(t, r, id, registry.JobDone)
	if times.Load() != 1 {
		t.Errorf("the work was done %d times", times.Load())
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestOne(t *testing.T) {
	r := open(t, t.TempDir())
	id := enqueue(t, r, registry.NewJob{Here: true})
	ctx, interrupt := context.WithCancel(t.Context())
	var done []int
	interrupted := false
	h := steps(3, &done, func(ctx context.Context, step int) error {
		if step == 1 && !interrupted {
			interrupted = true
			interrupt()
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	runner := &Runner{Registry: r, Handlers: handle(h)}
	var told []registry.Job
	tell := func(j registry.Job) { told = append(told, j) }
	if j, err := runner.One(ctx, id, tell); err != nil || j.State != registry.JobPaused || j.Place != "x" || j.Tries != 0 {
		t.Errorf("%+v %v", j, err)
	}
	if j, err := runner.One(t.Context(), id, tell); err != nil || j.State != registry.JobDone || fmt.Sprint(done) != "[0 1 2]" {
		t.Errorf("%+v, steps %v, %v", j, done, err)
	}
	if len(told) < 2 || told[len(told)-1].Progress.Done != 3 || told[len(told)-1].Place != "xxx" {
		t.Errorf("told %+v", told)
	}
	if _, err := runner.One(t.Context(), id, nil); !errors.Is(err, registry.ErrConflict) {
		t.Error(err)
	}
	if _, err := runner.One(t.Context(), "j_none", nil); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
	other := enqueue(t, r, registry.NewJob{Kind: "other"})
	if _, err := runner.One(t.Context(), other, nil); !errors.Is(err, ErrNoHandler) {
		t.Error(err)
	}
	if j := read(t, r, other); j.State != registry.JobQueued || j.Tries != 0 {
		t.Errorf("%+v", j)
	}
}

// TestSaveAfterEnd: what a handler did last can be noted though it is to stop.
func TestSaveAfterEnd(t *testing.T) {
	r := open(t, t.TempDir())
	id := enqueue(t, r, registry.NewJob{})
	ctx, interrupt := context.WithCancel(t.Context())
	runner := &Runner{Registry: r, Handlers: handle(func(ctx context.Context, task *Task) error {
		interrupt()
		<-ctx.Done()
		return errors.Join(task.Save(ctx, "last", registry.Progress{Done: 9}), ctx.Err())
	})}
	if j, err := runner.One(ctx, id, nil); err != nil || j.State != registry.JobPaused || j.Place != "last" || j.Progress.Done != 9 {
		t.Errorf("%+v %v", j, err)
	}
}

// TestSaveIsThrottled: saves that say nothing of importance are not stored one by one, and the last of them is.
func TestSaveIsThrottled(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	id := enqueue(t, r, registry.NewJob{})
	db, err := sql.Open("sqlite", filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE writes (n INTEGER); CREATE TRIGGER count AFTER UPDATE ON jobs BEGIN INSERT INTO writes VALUES (1); END`); err != nil {
		t.Fatal(err)
	}
	writes := func() (n int) {
		t.Helper()
		if err := db.QueryRow("SELECT count(*) FROM writes").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const many = 100_000
	var spent time.Duration
	runner := &Runner{Registry: r, Handlers: handle(func(ctx context.Context, task *Task) error {
		began, before := time.Now(), writes()
		counts := map[string]int64{}
		for n := int64(1); n <= many; n++ {
			counts["added"] = n
			if err := task.Save(ctx, "", registry.Progress{Done: n, Counts: counts}); err != nil {
				return err
			}
		}
		spent = time.Since(began)
		if n := writes() - before; n > 2+2*int(spent/pollEvery) {
			t.Errorf("%d writes in %v", n, spent)
		}
		for place, stage := range map[string]string{"a": "", "b": "next"} {
			before := writes()
			if err := task.Save(ctx, place, registry.Progress{Stage: stage}); err != nil {
				return err
			}
			if n := writes() - before; n != 1 {
				t.Errorf("%d writes of place %q, stage %q", n, place, stage)
			}
		}
		return task.Save(ctx, "b", registry.Progress{Stage: "next", Done: many, Counts: counts})
	})}
	j, err := runner.One(t.Context(), id, nil)
	if err != nil || j.Progress.Done != many || j.Progress.Counts["added"] != many {
		t.Errorf("%+v %v", j, err)
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rate
		near := func(got, want float64) bool { return got > want*0.99-1e-9 && got < want*1.01+1e-9 }
		var done int64
		if got := r.at(time.Now(), "a", 100); got != 0 { // begun by another process: nothing is known of its time
			t.Error(got)
		}
		done = 100
		for range 50 { // 10 a second
			time.Sleep(100 * time.Millisecond)
			done++
			r.at(time.Now(), "a", done)
		}
		if got := r.at(time.Now(), "a", done); !near(got, 10) {
			t.Error(got)
		}
		for range 100 { // then 2 a second, for longer than the rate looks back
			time.Sleep(time.Second)
			done += 2
			r.at(time.Now(), "a", done)
		}
		if got := r.at(time.Now(), "a", done); !near(got, 2) {
			t.Error(got)
		}
		if len(r.samples) > 32 {
			t.Errorf("%d samples are kept", len(r.samples))
		}
		time.Sleep(15 * time.Second)
		if got := r.at(time.Now(), "a", done); !near(got, 30.0/30) {
			t.Error(got)
		}
		time.Sleep(time.Minute)
		if got := r.at(time.Now(), "a", done); got > 0.5 {
			t.Error(got)
		}
		if got := r.at(time.Now(), "b", 1000); got != 0 {
			t.Error("a stage begins at", got)
		}
		time.Sleep(time.Second)
		if got := r.at(time.Now(), "b", 500); got != 0 {
			t.Error("going back gives", got)
		}
	})
}
