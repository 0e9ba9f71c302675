package worker

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homeward/engine"
	photos "homeward/internal/testphotos"
	"homeward/internal/testworker"
	"homeward/models"
)

// beParent makes the test's own binary a program with a pool, which prints its processes and waits to be killed.
const beParent = "HOMEWARD_TEST_BE_PARENT"

func TestMain(m *testing.M) {
	testworker.Crashes()
	Hook()
	if os.Getenv(beParent) != "" {
		parent()
	}
	os.Exit(m.Run())
}

const modelsDir = "../models"

func openPool(t testing.TB, o Options) *Pool {
	t.Helper()
	if o.Models == "" {
		o.Models = modelsDir
	}
	p, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func inProcess(t testing.TB) *engine.Engine {
	t.Helper()
	cat, err := models.Load(modelsDir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := cat.Set("default")
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(cat, set, engine.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestSame holds a worker's answers against the engine's own.
func TestSame(t *testing.T) {
	p, e := openPool(t, Options{Set: "default", Workers: 1}), inProcess(t)
	ctx := t.Context()
	for name, photo := range map[string][]byte{
		"one":   photos.Read(t, photos.Obama),
		"png":   photos.Read(t, photos.Astronaut),
		"two":   photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Obama2)),
		"none":  photos.NoFace(t),
		"short": photos.Read(t, photos.Obama)[:5000],
		"text":  []byte("not a photo"),
		"empty": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var header, wantHeader engine.Header
			got, err := p.Analyse(ctx, photo, func(h engine.Header) error { header = h; return nil })
			want, wantErr := e.Analyse(ctx, photo, func(h engine.Header) error { wantHeader = h; return nil })
			if !reflect.DeepEqual(err, wantErr) {
				t.Fatalf("error %#v, want %#v", err, wantErr)
			}
			if fmt.Sprint(header.Format, header.Width, header.Height, header.Pages, header.Orientation, header.TakenAt) !=
				fmt.Sprint(wantHeader.Format, wantHeader.Width, wantHeader.Height, wantHeader.Pages, wantHeader.Orientation, wantHeader.TakenAt) {
				t.Errorf("header %+v, want %+v", header, wantHeader)
			}
			var box engine.Box
			var landmarks [5]engine.Point
			if err == nil {
				if got.Timing.Total <= 0 || got.Timing.Decode <= 0 || got.Timing.Inference() <= 0 {
					t.Errorf("timing %+v", got.Timing)
				}
				got.Timing, want.Timing = engine.Timing{}, engine.Timing{}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("analysis %+v, want %+v", got, want)
				}
				box, landmarks = engine.Box{X: 20, Y: 20, Width: 50, Height: 60}, [5]engine.Point{{X: 30, Y: 40}, {X: 50, Y: 40}, {X: 40, Y: 50}, {X: 35, Y: 60}, {X: 45, Y: 60}}
			}
			for what, both := range map[string][2]func() ([]byte, error){
				"rendition": {func() ([]byte, error) { return p.Rendition(ctx, photo, 200) }, func() ([]byte, error) { return engine.Rendition(photo, 200) }},
				"chip":      {func() ([]byte, error) { return p.Chip(ctx, photo, box, landmarks, 112) }, func() ([]byte, error) { return engine.Chip(photo, box, landmarks, 112) }},
				"portrait":  {func() ([]byte, error) { return p.Portrait(ctx, photo, box, 300) }, func() ([]byte, error) { return engine.Portrait(photo, box, 300) }},
			} {
				got, err := both[0]()
				want, wantErr := both[1]()
				if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v; want %d, %v", what, len(got), err, len(want), wantErr)
				}
			}
		})
	}
}

// pids are the pool's processes.
func (p *Pool) pids() (pids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.all {
		if w.alive() {
			pids = append(pids, w.cmd.Process.Pid)
		}
	}
	return pids
}

// crash asks err to be a *CrashError whose reason has words in it.
func crash(t *testing.T, err error, words string) {
	t.Helper()
	var crashed *CrashError
	if !errors.As(err, &crashed) || !strings.Contains(crashed.Reason, words) {
		t.Fatalf("error %v, want a crash with %q", err, words)
	}
}

// outside says whether a crash was from outside.
func outside(err error) bool {
	crashed := new(CrashError)
	return errors.As(err, &crashed) && crashed.Outside
}

// TestTold sends a process at a photo the signals that tell a service to end: it goes on, until its pool is closed.
func TestTold(t *testing.T) {
	p := openPool(t, Options{Set: "default", Workers: 1})
	pid := p.pids()[0]
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		a, err := p.Analyse(t.Context(), photos.Read(t, photos.Obama), func(engine.Header) error { return syscall.Kill(pid, s) })
		if err != nil || len(a.Faces) != 1 {
			t.Errorf("%v: %v", s, err)
		}
	}
	if now := p.pids(); len(now) != 1 || now[0] != pid {
		t.Errorf("process %d was replaced by %d", pid, now)
	}
}

// TestChild looks what becomes of a process that a worker has started, when the worker ends.
func TestChild(t *testing.T) {
	for name, end := range map[string]func(p *Pool, pid int) error{
		"killed":  func(_ *Pool, pid int) error { return syscall.Kill(pid, syscall.SIGKILL) },
		"crashed": func(_ *Pool, pid int) error { return syscall.Kill(pid, syscall.SIGSEGV) },
		"closed":  func(p *Pool, _ int) error { return p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := openPool(t, Options{Set: "default", Workers: 1})
			pid, child := p.pids()[0], 0
			_, err := p.Analyse(t.Context(), testworker.Forks(photos.Read(t, photos.Obama)), func(engine.Header) error {
				child = childOf(t, pid)
				return end(p, pid)
			})
			if err == nil {
				t.Error("the worker goes on")
			}
			gone(t, child)
		})
	}
}

// childOf waits until a process has a child.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		if err != nil || len(lists) == 0 {
			t.Fatalf("no list of children: %v", err)
		}
		for _, list := range lists {
			children, _ := os.ReadFile(list)
			if f := strings.Fields(string(children)); len(f) > 0 {
				child, err := strconv.Atoi(f[0])
				if err != nil {
					t.Fatal(err)
				}
				return child
			}
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}

// TestShutOff has a process try to get at a file of the registry's own user, and at the network.
func TestShutOff(t *testing.T) {
	if !canConfine() {
		t.Skip("this system has no Landlock")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	abi, _, _ := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	address := ""
	if abi >= 4 { // before, Landlock knew nothing of networks
		address = l.Addr().String()
	}
	for _, set := range []string{"default", ""} {
		file := filepath.Join(t.TempDir(), "registry.db")
		if err := os.WriteFile(file, []byte("children"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := openPool(t, Options{Set: set, Workers: 1})
		if _, err := p.Rendition(t.Context(), testworker.Intrudes(photos.Read(t, photos.Obama), file, address), 100); err != nil {
			t.Errorf("set %q: it got at what it must not: %v", set, err)
		}
		if content, err := os.ReadFile(file); err != nil || string(content) != "children" {
			t.Errorf("set %q: %q, %v", set, content, err)
		}
		if beside, err := os.ReadDir(filepath.Dir(file)); err != nil || len(beside) != 1 {
			t.Errorf("set %q: %v, %v", set, beside, err)
		}
	}
}

// TestLinkedModels runs models that are links to elsewhere.
func TestLinkedModels(t *testing.T) {
	from, err := filepath.Abs(modelsDir)
	if err != nil {
		t.Fatal(err)
	}
	store, folders := t.TempDir(), t.TempDir()
	for _, folder := range []string{"weights", "trained", "metrics"} {
		entries, err := os.ReadDir(filepath.Join(from, folder))
		if err == nil {
			err = os.Mkdir(filepath.Join(store, folder), 0o755)
		}
		if err == nil {
			err = os.Symlink(filepath.Join(store, folder), filepath.Join(folders, folder))
		}
		for _, e := range entries {
			if err == nil {
				err = os.Symlink(filepath.Join(from, folder, e.Name()), filepath.Join(store, folder, e.Name()))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cards, err := filepath.Glob(filepath.Join(from, "*.json"))
	for _, card := range cards {
		if err == nil {
			err = os.Symlink(card, filepath.Join(folders, filepath.Base(card)))
		}
	}
	dir := filepath.Join(t.TempDir(), "models [new]*")
	if err == nil {
		err = os.Symlink(folders, dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	works(t, openPool(t, Options{Models: dir, Set: "default", Workers: 1}))
}

// works asks p to find the one face of a portrait.
func works(t *testing.T, p *Pool) {
	t.Helper()
	a, err := p.Analyse(context.Background(), photos.Read(t, photos.Obama), nil)
	if err != nil || len(a.Faces) != 1 {
		t.Fatalf("after it: %v", err)
	}
}

// TestCrash ends a process at each step of its work.
func TestCrash(t *testing.T) {
	p := openPool(t, Options{Set: "default", Workers: 1})
	ctx, photo := t.Context(), photos.Read(t, photos.Obama)
	kill := func(s syscall.Signal) func(engine.Header) error {
		return func(engine.Header) error { return syscall.Kill(p.pids()[0], s) }
	}
	_, err := p.Analyse(ctx, photo, kill(syscall.SIGKILL))
	crash(t, err, "(killed)")
	if !outside(err) {
		t.Error("a process killed from outside is held against the photo")
	}
	works(t, p)
	_, err = p.Analyse(ctx, photo, kill(syscall.SIGSEGV))
	if crash(t, err, "(SIGSEGV)"); outside(err) {
		t.Error("SIGSEGV is nobody's fault")
	}
	works(t, p)
	decoded := false
	_, err = p.Analyse(ctx, testworker.InModel(photo), func(engine.Header) error { decoded = true; return nil })
	if crash(t, err, "(SIGSEGV)"); !decoded {
		t.Error("the photo was not told to be sound")
	}
	_, err = p.Analyse(ctx, testworker.InDecoder(photo), func(engine.Header) error { t.Error("a photo that crashes the decoder is sound"); return nil })
	crash(t, err, "(SIGSEGV)")
	_, err = p.Rendition(ctx, testworker.InDecoder(photo), 100)
	crash(t, err, "(SIGSEGV)")
	works(t, p)

	// One that dies without a photo takes no photo with it.
	before := p.pids()[0]
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, before)
	for p.pids() != nil {
		time.Sleep(time.Millisecond)
	}
	works(t, p)

	// What the caller says goes before what became of the process.
	mine := errors.New("mine")
	_, err = p.Analyse(ctx, photo, func(engine.Header) error { return errors.Join(mine, kill(syscall.SIGKILL)(engine.Header{})) })
	if !errors.Is(err, mine) {
		t.Errorf("error %v, want the caller's", err)
	}
	works(t, p)
}

// gone waits until a process is no more, or a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.HasPrefix(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " Z") {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("process %d goes on", pid)
		}
	}
}

// TestCaller ends the wait from the caller's side; the process goes on to the next photo.
func TestCaller(t *testing.T) {
	p := openPool(t, Options{Set: "default", Workers: 1})
	pid, photo := p.pids()[0], photos.Read(t, photos.Obama)
	mine := errors.New("mine")
	if _, err := p.Analyse(t.Context(), photo, func(engine.Header) error { return mine }); err != mine {
		t.Errorf("error %v, want the caller's", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := p.Analyse(ctx, photo, func(engine.Header) error { cancel(); return nil }); err != context.Canceled {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := p.Analyse(ctx, photo, nil); err != context.Canceled {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := p.Analyse(t.Context(), make([]byte, engine.MaxBytes+1), nil); err == nil {
		t.Error("a photo of any size is taken")
	}
	works(t, p)
	if now := p.pids(); len(now) != 1 || now[0] != pid {
		t.Errorf("process %d was replaced by %d", pid, now)
	}
	// Ended at any moment, an analysis is done or cancelled, and nothing else.
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Millisecond)
		if _, err := p.Analyse(ctx, photo, nil); err != nil && err != context.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		cancel()
	}
	works(t, p)
}

// interlaced is a black PNG, side pixels square, that has to be decoded whole before its first row is known.
func interlaced(side int) []byte {
	var data bytes.Buffer
	z := zlib.NewWriter(&data)
	for _, pass := range [7][4]int{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}} { // Adam7
		row := make([]byte, 1+3*((side-pass[0]+pass[2]-1)/pass[2]))
		for range (side - pass[1] + pass[3] - 1) / pass[3] {
			z.Write(row)
		}
	}
	z.Close()
	b := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		b = append(append(b, kind...), data...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[len(b)-len(data)-4:]))
	}
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(side)), uint32(side))
	chunk("IHDR", append(head, 8, 2, 0, 0, 1))
	chunk("IDAT", data.Bytes())
	chunk("IEND", nil)
	return b
}

// TestLimits holds photos against the limits of memory and time.
func TestLimits(t *testing.T) {
	big := interlaced(9000)
	for name, c := range map[string]struct {
		options Options
		words   string // of the crash; empty where the photo may be refused instead
	}{
		"memory": {Options{Set: "default", Workers: 1, Memory: 700 << 20}, ""},
		"time":   {Options{Set: "default", Workers: 1, Time: 200 * time.Millisecond}, "200ms of processor time"},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPool(t, c.options)
			_, err := p.Analyse(t.Context(), big, nil)
			var refused *engine.PhotoError
			if c.words != "" || !errors.As(err, &refused) {
				if crash(t, err, c.words); outside(err) {
					t.Error("a photo that is stopped at a limit is not to blame")
				}
			}
			if _, err := p.Rendition(t.Context(), photos.Read(t, photos.Obama), 100); err != nil {
				t.Errorf("after it: %v", err)
			}
		})
	}
	works(t, openPool(t, Options{Set: "default", Workers: 1, Memory: 700 << 20}))
}

// TestStart asks for clear words where a process cannot start, each time.
func TestStart(t *testing.T) {
	_, err := Open(t.Context(), Options{Models: modelsDir, Set: "default", Memory: 150 << 20})
	var crashed *CrashError
	if !errors.Is(err, ErrStart) || errors.As(err, &crashed) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("too little memory: %v", err)
	}
	if _, err := Open(t.Context(), Options{Models: modelsDir, Set: "none"}); !errors.Is(err, ErrStart) {
		t.Error("a set that there is not")
	}
	if _, err := Open(t.Context(), Options{Models: modelsDir, Set: "default", ID: "ms1-0"}); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("another id: %v", err)
	}

	// Cards and weights that change while a pool is open.
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(modelsDir)); err != nil {
		t.Fatal(err)
	}
	p := openPool(t, Options{Models: dir, Set: "default", Workers: 1})
	change := func(file string, from, to []byte) (undo func()) {
		t.Helper()
		path := filepath.Join(dir, file)
		old, err := os.ReadFile(path)
		if err == nil && !bytes.Contains(old, from) {
			t.Fatalf("%s has no %q", file, from)
		}
		if err == nil {
			err = os.WriteFile(path, bytes.Replace(old, from, to, 1), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(path, old, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		file     string
		from, to string
		words    string
	}{
		{"centerface.json", `"name"`, `"nam"`, "centerface.json"},
		{"fr_feature.json", `"mirror": true`, `"mirror": false`, "have changed"},
		{"weights/dlib_age.onnx", "age", "edg", "not as its cards say"},
	} {
		undo := change(c.file, []byte(c.from), []byte(c.to))
		p.Rest(0) // every process must be started again
		for range 2 {
			_, err := p.Analyse(t.Context(), photos.Read(t, photos.Obama), nil)
			if !errors.Is(err, ErrStart) || errors.As(err, &crashed) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s changed: %v", c.file, err)
			}
		}
		undo()
		works(t, p)
	}
}

// TestNoModels makes pictures in processes without models, and nothing else.
func TestNoModels(t *testing.T) {
	p := openPool(t, Options{Workers: 1})
	if _, err := p.Rendition(t.Context(), photos.Read(t, photos.Obama), 100); err != nil {
		t.Error(err)
	}
	if _, err := p.Analyse(t.Context(), photos.Read(t, photos.Obama), nil); err == nil {
		t.Error("a face was found without models")
	}
}

// parent is a program with a pool, which prints its processes while they are at photos, and goes on until it is killed.
func parent() {
	p, err := Open(context.Background(), Options{Models: modelsDir, Set: "default", Workers: 2})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	photo, err := os.ReadFile(filepath.Join(photos.Dir(), photos.Obama))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var both sync.WaitGroup
	both.Add(2)
	for range 2 {
		go func() {
			for told := false; ; {
				_, err := p.Analyse(context.Background(), photo, func(engine.Header) error {
					if !told {
						told = true
						both.Done()
					}
					return nil
				})
				if err != nil {
					fmt.Println(err)
				}
			}
		}()
	}
	both.Wait()
	fmt.Println("pids", p.pids())
	select {}
}

// TestOrphans kills a parent and looks whether its workers go, in the midst of their work.
func TestOrphans(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), beParent+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var line string
	b := make([]byte, 1000)
	for !strings.HasSuffix(line, "]\n") {
		n, err := out.Read(b)
		if line += string(b[:n]); err != nil {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the parent ended well")
	}
	fields := strings.Fields(strings.Trim(strings.TrimPrefix(line, "pids"), " []\n"))
	if len(fields) != 2 {
		t.Fatalf("the parent says %q", line)
	}
	for _, f := range fields {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
	}
}

// TestConcurrent gives a pool more photos at once than it has processes, and closes it in the midst.
func TestConcurrent(t *testing.T) {
	p := openPool(t, Options{Set: "default", Workers: 3})
	var g sync.WaitGroup
	for i := range 12 {
		g.Go(func() {
			photo, want := photos.Read(t, photos.Obama), ""
			if i%4 == 1 {
				photo, want = testworker.InModel(photo), "(SIGSEGV)"
			}
			a, err := p.Analyse(t.Context(), photo, nil)
			var crashed *CrashError
			switch {
			case want == "" && (err != nil || len(a.Faces) != 1):
				t.Errorf("beside a crash: %v", err)
			case want != "" && (!errors.As(err, &crashed) || !strings.Contains(crashed.Reason, want)):
				t.Errorf("%v, want a crash", err)
			}
			if i%3 == 0 {
				if _, err := p.Rendition(t.Context(), photos.Read(t, photos.Biden), 200); err != nil {
					t.Error(err)
				}
			}
		})
	}
	g.Wait()
	if n := len(p.pids()); n > 3 {
		t.Errorf("%d processes, of 3", n)
	}
	for range 3 {
		g.Go(func() {
			for {
				if _, err := p.Analyse(t.Context(), photos.Read(t, photos.Obama), nil); err != nil {
					if err != ErrClosed {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	works(t, p)
	pids := p.pids()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
	g.Wait()
}

// TestConfined reads in /proc what a process has and may do.
func TestConfined(t *testing.T) {
	t.Setenv("HOMEWARD_OIDC_SECRET", "a secret")
	t.Setenv("OPENBLAS_NUM_THREADS", "1")
	p := openPool(t, Options{Set: "default", Workers: 1, Memory: 1 << 30})
	works(t, p)
	pid := p.pids()[0]
	proc := func(file string) string {
		t.Helper()
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, e := range strings.Split(strings.TrimRight(proc("environ"), "\x00"), "\x00") {
		switch name, value, _ := strings.Cut(e, "="); name {
		case envSettings, envLimited, "PATH", "HOME", "XDG_CACHE_HOME", "OPENBLAS_NUM_THREADS", "TMPDIR", "LD_LIBRARY_PATH":
			if strings.Contains(value, "a secret") {
				t.Errorf("environment: %s", e)
			}
		default:
			t.Errorf("environment: %s", e)
		}
	}
	limits := proc("limits")
	for _, l := range []string{"Max data size 1073741824 1073741824", "Max core file size 0 0", "Max file size 0 0"} {
		if !strings.Contains(strings.Join(strings.Fields(limits), " "), l) {
			t.Errorf("no %q in\n%s", l, limits)
		}
	}
	if !strings.Contains(proc("status"), "NoNewPrivs:\t1") {
		t.Error("new privileges can be had")
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d, %v", sid, err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, f.Name()))
		switch {
		case strings.HasPrefix(to, "pipe:"), strings.HasPrefix(to, "anon_inode:"), to == os.DevNull:
		case strings.HasPrefix(to, "/sys/fs/cgroup/"): // Go asks how many processors it may have
		default:
			t.Errorf("file %s is open: %s", f.Name(), to)
		}
	}
}

// TestBulk asks the system how it schedules each thread of a process that has been at work.
func TestBulk(t *testing.T) {
	for _, bulk := range []bool{true, false} {
		p := openPool(t, Options{Set: "default", Workers: 1, Bulk: bulk})
		works(t, p)
		pid := p.pids()[0]
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil || len(tasks) < 2 {
			t.Fatalf("%d threads, %v", len(tasks), err)
		}
		want := uint32(unix.SCHED_NORMAL)
		if bulk {
			want = unix.SCHED_IDLE
		}
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			a, err := unix.SchedGetAttr(tid, 0)
			if err == nil && a.Policy != want {
				t.Errorf("bulk %v: a thread has policy %d", bulk, a.Policy)
			}
		}
		if group, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", pid)); err == nil && bulk && !strings.Contains(string(group), "nice 19") {
			t.Errorf("autogroup %s", group)
		}
	}
}
