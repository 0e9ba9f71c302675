package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often the time that a process has taken is looked at.
	lookEvery = 100 * time.Millisecond
	// grace is how long a process has, once nobody waits for its answer, to get to where it can stop, before it is killed.
	grace = 5 * time.Second
	// pipeSize is how much of a photo is handed over at a time: the two take turns less often.
	pipeSize = 1 << 20
	// keptOfStderr is how many of the first, and of the last, bytes that a process printed are kept for the log: the first say what
	// happened, where a trace follows.
	keptOfStderr = 2 << 10
)

// keptEnv is what a process sees of our environment. Everything else may be a secret.
var keptEnv = [...]string{"PATH", "HOME", "XDG_CACHE_HOME", "OPENBLAS_NUM_THREADS", "TMPDIR", "LD_LIBRARY_PATH"}

// process is a worker process, as seen from this one. One photo at a time.
type process struct {
	pool   *Pool
	cmd    *exec.Cmd
	in     *os.File // to it
	out    *os.File // from it
	read   *bufio.Reader
	said   printed
	over   chan struct{} // closed once it has ended, and before it is known how
	ended  chan struct{} // closed once that is known
	talk   sync.Mutex    // held while a frame is written
	since  time.Time     // without a photo since; guarded by the pool
	killed sync.Once
	ours   bool // it has not ended by itself but by kill
}

// launch starts a process; ready says when it can be used.
func (p *Pool) launch() (_ *process, err error) {
	s, err := json.Marshal(settings{Models: p.o.Models, Set: p.o.Set, ID: p.set.ID, Memory: p.o.Memory, Bulk: p.o.Bulk})
	if err != nil {
		return nil, err
	}
	w := &process{pool: p, over: make(chan struct{}), ended: make(chan struct{})}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer theirOut.Close()
	if raw, err := in.SyscallConn(); err == nil {
		// Where it is refused they take more turns.
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	// This very program, even where its file was replaced by another since.
	w.cmd = exec.Command("/proc/self/exe")
	w.cmd.Args = []string{"homeward-worker"}
	w.cmd.Dir = "/"
	w.cmd.Env = []string{envSettings + "=" + string(s)}
	for _, name := range keptEnv {
		if v, ok := os.LookupEnv(name); ok {
			w.cmd.Env = append(w.cmd.Env, name+"="+v)
		}
	}
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = theirIn, theirOut, &w.said
	// A signal to our group, as by Ctrl-C, is for us to deal with; and its own group can be killed.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	w.cmd.WaitDelay = time.Second
	if err := w.cmd.Start(); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	w.in, w.out, w.read = in, out, bufio.NewReader(out)
	go func() { // ends with the process
		defer close(w.ended)
		pid := w.cmd.Process.Pid
		for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		close(w.over)
		_ = unix.Kill(-pid, unix.SIGKILL) // what it may have left behind, while the number is still its own
		_ = w.cmd.Wait()                  // how it ended is in ProcessState
	}()
	return w, nil
}

func (w *process) alive() bool {
	select {
	case <-w.ended:
		return false
	default:
		return true
	}
}

// kill ends the process, and whatever waits for it.
func (w *process) kill() {
	w.killed.Do(func() {
		select {
		case <-w.over:
		default:
			w.ours = true
			_ = w.cmd.Process.Kill() // its children follow
		}
		w.in.Close()
		w.out.Close() // even where the process has left a child that holds the other end
	})
}

// end kills the process and waits until it is gone.
func (w *process) end() {
	w.kill()
	<-w.ended
}

func (w *process) tell(k kind, body []byte) error {
	w.talk.Lock()
	defer w.talk.Unlock()
	return writeFrame(w.in, k, body)
}

// ready waits until the process can be used, or says why it cannot.
func (w *process) ready(ctx context.Context) error {
	var start readiness
	err := w.within(ctx, DefaultTime, func() error {
		_, body, err := readFrame(w.read, only(kindReady, maxSmall))
		if err != nil {
			return err
		}
		return readJSON(body, &start)
	})
	var crashed *CrashError
	switch {
	case err == nil && start.Error == "":
		return nil
	case err == nil:
		w.end()
		if noMemory.MatchString(start.Error) {
			return errors.New(w.tooLittle())
		}
		return errors.New(start.Error)
	case errors.As(err, &crashed): // not over a photo
		return fmt.Errorf("it ended at its start: %s", crashed.how)
	}
	return err
}

func only(k kind, most int) func(kind) int {
	return func(got kind) int {
		if got == k {
			return most
		}
		return -1
	}
}

// answers take a process's answer apart, each an error that wraps errNonsense where it cannot be; nil for what may not come.
type answers struct {
	header func(body []byte) error // may say *callerError, which ends the work
	face   func(body []byte) error
	done   func(body []byte) error
}

// callerError is not about the process but from who waits for it.
type callerError struct{ error }

// ask hands a photo to the process and its answer to to. An error of the photo's or the caller's leaves the process as it was.
func (w *process) ask(ctx context.Context, r request, photo []byte, to answers) error {
	head, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var answered error
	err = w.within(ctx, w.pool.o.Time, func() error {
		if err := w.tell(kindRequest, head); err != nil {
			return err
		}
		if err := w.tell(kindPhoto, photo); err != nil {
			return err
		}
		if ctx.Err() != nil { // what watch has said came too early perhaps
			if err := w.tell(kindStop, nil); err != nil {
				return err
			}
		}
		answered, err = w.answer(to)
		return err
	})
	var caller *callerError
	if errors.As(answered, &caller) { // whatever became of the process then
		return caller.error
	}
	if err != nil {
		return err
	}
	if answered != nil && ctx.Err() != nil {
		return ctx.Err() // the process says no more than that it was told to stop
	}
	return answered
}

// answer reads to the end of an answer. answered is an error that came as one, or the caller's.
func (w *process) answer(to answers) (answered, err error) {
	most := func(k kind) int {
		switch {
		case k == kindError:
			return maxSmall
		case k == kindHeader && to.header != nil:
			return maxSmall
		case k == kindFace && to.face != nil:
			return maxFace
		case k == kindDone && to.face != nil:
			return maxSmall
		case k == kindDone:
			return maxPicture
		}
		return -1
	}
	for {
		k, body, err := readFrame(w.read, most)
		if err != nil {
			return answered, err
		}
		switch k {
		case kindHeader:
			err := to.header(body)
			to.header = nil // comes once
			var caller *callerError
			if errors.As(err, &caller) {
				answered = caller
				err = w.tell(kindStop, nil)
			} else if err == nil {
				err = w.tell(kindGo, nil)
			}
			if err != nil {
				return answered, err
			}
		case kindFace:
			if err := to.face(body); err != nil {
				return nil, err
			}
		case kindDone:
			if answered != nil { // done before it could be stopped
				return answered, nil
			}
			return nil, to.done(body)
		case kindError:
			var f failure
			if err := readJSON(body, &f); err != nil {
				return nil, err
			}
			told := f.error()
			if errors.Is(told, errNonsense) {
				return nil, told
			}
			if answered == nil {
				answered = told
			}
			return answered, nil
		}
	}
}

// within runs talk, which exchanges frames with the process, and holds the process to its limits meanwhile, most of processor time among
// them. Where talk fails the process
// is ended, and the error is a *CrashError, or ctx's own.
func (w *process) within(ctx context.Context, most time.Duration, talk func() error) error {
	done, over := make(chan struct{}), make(chan error, 1)
	go func() { over <- w.watch(ctx, most, done) }()
	err := talk()
	close(done)
	limit := <-over
	if err == nil {
		// What ctx's end has set must not meet the next photo. A pipe that is closed already fails there.
		_ = w.in.SetDeadline(time.Time{})
		_ = w.out.SetDeadline(time.Time{})
		return nil
	}
	if limit == nil && brokenOff(err) { // it has most likely ended, and by whom is worth to know
		select {
		case <-w.over:
		case <-time.After(grace):
		}
	}
	w.end()
	if w.pool.isClosed() {
		return ErrClosed
	}
	if limit != nil {
		err = limit
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	how := w.why(err)
	w.pool.o.Log.Error("a process that reads photos ended", "how", how, "printed", w.said.String())
	return &CrashError{
		Reason:  "The program that reads photos stopped at this photo (" + how + "). Open the photo on your device, save a new copy, and send that.",
		Outside: w.outside(),
		how:     how,
	}
}

// brokenOff says whether err is that the other end of a pipe is closed.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.EPIPE)
}

// outside says whether an ended process was ended by the system or an operator: by a signal that a photo does not cause, and not from here.
func (w *process) outside() bool {
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if w.ours || !status.Signaled() {
		return false
	}
	switch status.Signal() {
	case unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGHUP:
		return true
	}
	return false
}

// watch kills the process when it has taken more time than it may, and says so; when ctx ends it asks the process to stop. It returns when
// done is closed.
func (w *process) watch(ctx context.Context, most time.Duration, done <-chan struct{}) error {
	clock := 10 * most
	if w.pool.o.Bulk {
		clock *= 10
	}
	began := time.Now()
	spent, _ := processorTime(w.cmd.Process.Pid) // 0 for one that has ended
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	stop := ctx.Done()
	for {
		select {
		case <-done:
			return nil
		case <-stop:
			stop = nil
			until := time.Now().Add(grace)
			_ = w.in.SetDeadline(until)
			_ = w.out.SetDeadline(until)
			_ = w.tell(kindStop, nil) // or the deadline does it
		case <-tick.C:
			var reason error
			if now, ok := processorTime(w.cmd.Process.Pid); ok && now-spent > most {
				reason = limitError(fmt.Sprintf("it took more than %v of processor time", most))
			} else if time.Since(began) > clock {
				reason = limitError(fmt.Sprintf("it took more than %v", clock))
			}
			if reason != nil {
				w.kill()
				<-done
				return reason
			}
		}
	}
}

// processorTime is what a process has taken of the processors so far; false for one that is gone.
func processorTime(pid int) (time.Duration, bool) {
	// The clock of a process, as clock_getcpuclockid(3) makes it.
	clock := int32(^uint32(pid)<<3 | 2)
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}

var (
	// noMemory is how what we are made of says that it got none.
	noMemory = regexp.MustCompile(`(?i)out of memory|cannot allocate|failed to allocate|bad_alloc|pthread_create failed`)
	// byItself is how Go says by which signal it ends.
	byItself = regexp.MustCompile(`(?m)^(?:\[signal )?(SIG[A-Z]{2,8}):`)
)

// why says in a few words why an ended process ended; err is what was noticed of it.
func (w *process) why(err error) string {
	printed := w.said.String()
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case errors.Is(err, errNonsense), errors.As(err, new(limitError)):
		return err.Error()
	case noMemory.MatchString(printed):
		return w.tooLittle()
	case byItself.MatchString(printed):
		return byItself.FindStringSubmatch(printed)[1]
	case status.Signaled():
		return status.Signal().String()
	}
	return w.cmd.ProcessState.String()
}

func (w *process) tooLittle() string {
	return fmt.Sprintf("it needs more than the %d MB of memory that it may have", w.pool.o.Memory>>20)
}

// limitError says which limit of time a process was ended at.
type limitError string

func (e limitError) Error() string { return string(e) }

// printed keeps the beginning and the end of what is written to it.
type printed struct {
	mu          sync.Mutex
	first, last []byte
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(b), keptOfStderr-len(p.first))
	p.first = append(p.first, b[:n]...)
	p.last = append(p.last, b[max(n, len(b)-keptOfStderr):]...)
	p.last = p.last[max(0, len(p.last)-keptOfStderr):]
	return len(b), nil
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.first) + string(p.last)
}
