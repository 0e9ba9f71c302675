package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"homeward/engine"
	"homeward/models"
)

const (
	envSettings = "HOMEWARD_WORKER"         // JSON of settings: be a worker
	envLimited  = "HOMEWARD_WORKER_LIMITED" // the limits are set
)

// settings are what a process is started with.
type settings struct {
	Models, Set string
	ID          string // of the set, when the pool was opened
	Memory      int64
	Bulk        bool
}

// exitBroken is how a worker ends that its pool does not understand, or that does not understand its pool.
const exitBroken = 3

// Hook makes this process a worker, and does not return, where a Pool started it as one. It is called first thing in main, and in TestMain.
func Hook() {
	raw, ok := os.LookupEnv(envSettings)
	if !ok {
		return
	}
	if err := work(raw); err != nil {
		fmt.Fprintln(os.Stderr, "homeward worker:", err)
	}
	os.Exit(exitBroken)
}

func work(raw string) error {
	var s settings
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return fmt.Errorf("read %s, which only Homeward itself sets: %w", envSettings, err)
	}
	if os.Getenv(envLimited) == "" {
		return limit(s)
	}
	// Where the whole service is told to end, the pool goes on with its photos until it has them; its end is ours.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	// What a library prints must not get among the frames.
	fd, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.Dup3(unix.Stderr, unix.Stdout, 0)
	}
	if err != nil {
		return fmt.Errorf("set standard output aside: %w", err)
	}
	w := &inside{out: bufio.NewWriter(os.NewFile(uintptr(fd), "answers"))}
	jobs := make(chan job, 1)
	go listen(os.Stdin, jobs)
	var r readiness
	if s.Set != "" {
		if w.engine, err = open(s); err != nil {
			r.Error = err.Error()
		}
	}
	if err := w.say(kindReady, r); err != nil || r.Error != "" {
		return err
	}
	for j := range jobs {
		if err := w.do(j); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

// limit gives this process its limits and begins it again. All of them outlive that, and hold for every thread that there will be, which
// they would not do if they were set in a process that has threads already.
func limit(s settings) error {
	runtime.LockOSThread()
	// The system takes a worker before a server when memory ends. Without /proc it is as it was.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	if s.Bulk {
		// Nice alone does not do it: it weighs processes only against others of the same session. Both need no rights.
		_ = os.WriteFile("/proc/self/autogroup", []byte("19"), 0) // not every system has it
		idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: 19}
		if err := unix.SchedSetAttr(0, &idle, 0); err != nil {
			return fmt.Errorf("let others go first: %w", err)
		}
	}
	for _, l := range []struct {
		which int
		most  uint64
	}{
		{unix.RLIMIT_DATA, uint64(s.Memory)},
		{unix.RLIMIT_CORE, 0}, // a core file would be a photo on disk, in the clear
		{unix.RLIMIT_FSIZE, 0},
	} {
		if err := unix.Setrlimit(l.which, &unix.Rlimit{Cur: l.most, Max: l.most}); err != nil {
			return fmt.Errorf("set the limits of a worker: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	dir := s.Models
	if s.Set == "" {
		dir = ""
	}
	if err := confine(dir); err != nil {
		return fmt.Errorf("shut a worker off from the files (Landlock): %w", err)
	}
	return fmt.Errorf("begin again with limits: %w", syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), envLimited+"=1")))
}

// open loads the models, as long as they are those that the pool knows.
func open(s settings) (*engine.Engine, error) {
	cat, err := models.Load(s.Models)
	if err != nil {
		return nil, err
	}
	set, err := cat.Set(s.Set)
	if err != nil {
		return nil, err
	}
	if set.ID != s.ID {
		return nil, changedCards(s.Set)
	}
	if err := cat.VerifySet(context.Background(), set); err != nil {
		return nil, err
	}
	return engine.New(cat, set, engine.Options{Workers: 1})
}

// job is a photo and what is to be done with it.
type job struct {
	request
	photo []byte
	ctx   context.Context // ends when the pool says stop
	ahead chan struct{}   // has one in it once the models may see the photo
}

// listen reads what the pool says, and ends the process when the pool is gone, whatever the process is at.
func listen(r io.Reader, jobs chan<- job) {
	read := bufio.NewReader(r)
	most := func(k kind) int {
		switch k {
		case kindRequest, kindGo, kindStop:
			return maxSmall
		case kindPhoto:
			return engine.MaxBytes
		}
		return -1
	}
	var next request
	ahead := make(chan struct{}, 1)
	stop := func() {}
	for {
		k, body, err := readFrame(read, most)
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			os.Exit(0)
		case err != nil:
			fmt.Fprintln(os.Stderr, "homeward worker: read what to do:", err)
			os.Exit(exitBroken)
		}
		switch k {
		case kindRequest:
			next = request{}
			if err := json.Unmarshal(body, &next); err != nil {
				fmt.Fprintln(os.Stderr, "homeward worker: read what to do:", err)
				os.Exit(exitBroken)
			}
		case kindPhoto:
			j := job{request: next, photo: body, ahead: make(chan struct{}, 1)}
			j.ctx, stop = context.WithCancel(context.Background())
			ahead = j.ahead
			jobs <- j // the pool sends one at a time
		case kindGo:
			select {
			case ahead <- struct{}{}:
			default:
			}
		case kindStop:
			stop()
		}
	}
}

// inside is a worker, as seen from itself.
type inside struct {
	engine *engine.Engine // nil without models
	out    *bufio.Writer
}

func (w *inside) say(k kind, v any) error {
	if err := writeJSON(w.out, k, v); err != nil {
		return err
	}
	return w.out.Flush()
}

// do does one job; its error is that the answer cannot be given.
func (w *inside) do(j job) error {
	var jpeg []byte
	var err error
	switch j.Do {
	case doAnalyse:
		var a *engine.Analysis
		if a, err = w.analyse(j); err == nil {
			return w.sayAnalysis(a)
		}
	case doRendition:
		jpeg, err = engine.Rendition(j.photo, j.Side)
	case doChip:
		jpeg, err = engine.Chip(j.photo, j.Box, j.Landmarks, j.Side)
	case doPortrait:
		jpeg, err = engine.Portrait(j.photo, j.Box, j.Side)
	default:
		err = fmt.Errorf("there is no %q", j.Do)
	}
	if err != nil {
		return w.say(kindError, failed(err))
	}
	if err := writeFrame(w.out, kindDone, jpeg); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *inside) analyse(j job) (*engine.Analysis, error) {
	if w.engine == nil {
		return nil, errors.New("this worker has no models")
	}
	return w.engine.Analyse(j.ctx, j.photo, func(h engine.Header) error {
		if err := w.say(kindHeader, h); err != nil {
			return err
		}
		select {
		case <-j.ahead:
			return nil
		case <-j.ctx.Done():
			return j.ctx.Err()
		}
	})
}

func (w *inside) sayAnalysis(a *engine.Analysis) error {
	var odd *json.UnsupportedValueError
	for _, f := range a.Faces {
		err := writeJSON(w.out, kindFace, f)
		if errors.As(err, &odd) {
			return w.say(kindError, failure{Text: "a model has answered with numbers that are not finite"})
		}
		if err != nil {
			return err
		}
	}
	a.Faces = nil
	return w.say(kindDone, a)
}
