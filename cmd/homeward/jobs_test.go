package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homeward/api"
	"homeward/client"
	"homeward/importer"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// archiveOf makes a folder with one case of so many photos, no two of which are the same.
func archiveOf(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	portrait := photos.Decode(t, photos.Read(t, photos.Obama))
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "one", fmt.Sprintf("%02d.jpg", i)), variant(t, portrait, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openRegistry opens a registry beside whoever has it open, until the test ends.
func openRegistry(t *testing.T, data string) *registry.Registry {
	t.Helper()
	r, err := registry.Open(t.Context(), data, registry.Options{})
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

// awaitJob waits until a job is as it should be.
func awaitJob(t *testing.T, r *registry.Registry, id registry.JobID, what string, is func(registry.Job) bool) registry.Job {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		j, err := r.Job(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if is(j) {
			return j
		}
		if j.State == registry.JobParked || time.Now().After(deadline) {
			t.Fatalf("the job does not become %s: %+v", what, j)
		}
	}
}

func underWayAt(j registry.Job) bool { return j.State == registry.JobRunning && j.Progress.Done > 0 }
func isDone(j registry.Job) bool     { return j.State == registry.JobDone }

// holds checks that the one case of an archive has so many photos, each once.
func holds(t *testing.T, r *registry.Registry, want int) {
	t.Helper()
	cases, _, err := r.ListCases(t.Context(), registry.CaseQuery{})
	if err != nil || len(cases) != 1 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	if cases[0].Photos != want {
		t.Errorf("%d photos, want %d", cases[0].Photos, want)
	}
}

// TestJobAtSIGTERM stops a server that is at an import, politely and then not: the job is queued, and the next server goes on with it
// until every photo is there once.
func TestJobAtSIGTERM(t *testing.T) {
	const n = 16
	data, archive := t.TempDir(), archiveOf(t, n)
	key := newKey(t, data)
	r := openRegistry(t, data)
	p := startServer(t, data, key)
	args, err := importer.Locate(archive, "", importer.Args{Gallery: registry.Missing})
	if err != nil {
		t.Fatal(err)
	}
	j, _, err := r.Enqueue(t.Context(), registry.NewJob{Kind: registry.JobImport, About: args.Source, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	at := awaitJob(t, r, j.ID, "under way", underWayAt)
	p.stop(t)
	after := awaitJob(t, r, j.ID, "queued", func(j registry.Job) bool { return j.State == registry.JobQueued })
	if after.Tries != 0 || after.Progress.Done < at.Progress.Done || after.Progress.Done >= n || after.Reason != "" {
		t.Errorf("handed back as %+v", after)
	}
	if log := p.output.String(); !strings.Contains(log, "stopped") || strings.Contains(log, archive) {
		t.Errorf("the log: %s", log)
	}

	p = startServer(t, data, key)
	awaitJob(t, r, j.ID, "under way", func(j registry.Job) bool { return underWayAt(j) && j.Progress.Done > after.Progress.Done })
	p.kill()
	if j := awaitJob(t, r, j.ID, "queued", func(j registry.Job) bool { return j.State == registry.JobQueued }); j.Progress.Done >= n {
		t.Errorf("killed too late: %+v", j)
	}

	p = startServer(t, data, key)
	defer p.stop(t)
	awaitJob(t, r, j.ID, "done", isDone)
	holds(t, r, n)
}

// uploading begins the upload of a photo, of which the server has only the beginning. rest is sent what is still wanted.
func (p *process) uploading(t *testing.T, content []byte) (rest *io.PipeWriter, sent <-chan error) {
	t.Helper()
	c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
	if err != nil {
		t.Fatal(err)
	}
	body, rest := io.Pipe()
	t.Cleanup(func() { rest.Close() })
	done := make(chan error, 1)
	go func() {
		added, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, body)
		if err == nil && added.State != "analysed" {
			err = fmt.Errorf("the photo is %s", added.State)
		}
		done <- err
	}()
	// More than all buffers on the way hold, so that the server is at it when the last byte is taken.
	if _, err := rest.Write(append(bytes.Clone(content), make([]byte, 8<<20)...)); err != nil {
		t.Fatal(err)
	}
	return rest, done
}

// signal sends SIGTERM and waits until the server has taken it to heart.
func (p *process) signal(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.output.String(), "stopping"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not stop")
		}
	}
	select {
	case err := <-p.exited:
		t.Fatalf("the server ended with a request under way: %v", err)
	default:
	}
}

// TestUploadAtSIGTERM: an upload that is under way when the signal comes is stored, analysed and answered, and the server ends well.
func TestUploadAtSIGTERM(t *testing.T) {
	data := t.TempDir()
	p := startServer(t, data, newKey(t, data))
	rest, sent := p.uploading(t, photos.Read(t, photos.Obama))
	p.signal(t)
	rest.Close()
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := <-p.exited; err != nil {
		t.Errorf("the server ended with %v\n%s", err, &p.output)
	}
	holds(t, openRegistry(t, data), 1)
}

// TestSecondSignal: a server waits for a request that is under way; a second signal ends it at once, and nothing half-done stays behind.
func TestSecondSignal(t *testing.T) {
	data := t.TempDir()
	p := startServer(t, data, newKey(t, data))
	rest, sent := p.uploading(t, photos.Read(t, photos.Obama))
	p.signal(t)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := <-p.exited
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the server ended with %v", err)
	}
	rest.Close() // the sender, who is still at it, learns that nobody listens
	if err := <-sent; err == nil {
		t.Error("half a photo was taken")
	}
	holds(t, openRegistry(t, data), 0)
}

// TestJobInTheForeground runs an import as a command, asks for it a second time meanwhile, interrupts it, and goes on.
func TestJobInTheForeground(t *testing.T) {
	const n = 16
	data, archive := t.TempDir(), archiveOf(t, n)
	newKey(t, data)
	r := openRegistry(t, data)
	begin := func(args ...string) (*exec.Cmd, *said) {
		t.Helper()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, append([]string{"--data", data, "--models", "../../models"}, args...)...)
		cmd.Env = append(os.Environ(), beHomeward+"=1")
		out := new(said)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, out
	}
	failed := func(cmd *exec.Cmd, out *said, want ...string) {
		t.Helper()
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
			t.Errorf("ended with %v: %s", err, out)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("does not say %q: %s", w, out)
			}
		}
	}
	// job waits for the one job to be under way.
	job := func() registry.JobID {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			all, err := r.Jobs(t.Context(), 10)
			if err != nil || len(all) > 1 {
				t.Fatal(all, err)
			}
			if len(all) == 1 && underWayAt(all[0]) {
				return all[0].ID
			}
			if time.Now().After(deadline) {
				t.Fatalf("no job gets under way: %+v", all)
			}
		}
	}

	first, out := begin("import", archive)
	id := job()
	again, said := begin("import", archive)
	failed(again, said, string(id), "homeward jobs watch", "homeward jobs pause")
	// Somebody pauses it from elsewhere.
	pause, said := begin("jobs", "pause", string(id))
	if err := pause.Wait(); err != nil || !strings.Contains(said.String(), "next step") {
		t.Errorf("%v: %s", err, said)
	}
	failed(first, out, "is paused")
	// The same command goes on, and is interrupted.
	second, out := begin("import", archive)
	job()
	if err := second.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	failed(second, out, "Going on with job "+string(id), "is paused", "homeward jobs resume "+string(id))
	if j, err := r.Job(t.Context(), id); err != nil || j.State != registry.JobPaused || j.Progress.Done >= n {
		t.Errorf("%+v %v", j, err)
	}
	// A third is killed, and the last does the rest.
	third, _ := begin("import", archive)
	job()
	if err := third.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = third.Wait() // it was killed
	if j, err := r.Job(t.Context(), id); err != nil || j.State != registry.JobQueued {
		t.Errorf("%+v %v", j, err)
	}
	last, out := begin("import", archive)
	if err := last.Wait(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if j, err := r.Job(t.Context(), id); err != nil || j.State != registry.JobDone {
		t.Errorf("%+v %v", j, err)
	}
	holds(t, r, n)
}

// said is what a process has said so far.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestShowInALog(t *testing.T) {
	var out bytes.Buffer
	s := newShow(&out, false)
	j := registry.Job{Kind: registry.JobImport, State: registry.JobRunning, Progress: registry.Progress{Stage: "photos", Done: 10, Total: 40}}
	s.tell(j)
	for j.Progress.Done < 20 { // no line for each: it is not ten seconds later
		j.Progress.Done++
		s.tell(j)
	}
	j.Progress = registry.Progress{Stage: "compare", Done: 1, Total: 7, Rate: 0.123, Counts: map[string]int64{"set_aside": 2, "added": 38, "ms_decode": 5}}
	s.tell(j)
	s.end()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], " import running, photos 10/40 (25%)") ||
		!strings.HasSuffix(lines[1], " import running, compare 1/7 (14%), 0.123/s, 49s left, added 38, set aside 2") {
		t.Errorf("%q", lines)
	}
}

func TestShowInATerminal(t *testing.T) {
	var out bytes.Buffer
	s := newShow(&out, true)
	j := registry.Job{Kind: registry.JobImport, State: registry.JobRunning, Progress: registry.Progress{Stage: "survey"}}
	s.tell(j)
	for done := range int64(41) {
		j.Progress = registry.Progress{Stage: "photos", Done: done, Total: 40, Rate: 2, Counts: map[string]int64{"added": done}}
		s.tell(j)
	}
	j.Progress = registry.Progress{Stage: "compare", Done: 0, Total: 7}
	s.tell(j)
	s.end()
	for _, want := range []string{"(10/40)", "2/s", "15s left", "added 10", "(0/7)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not show %q: %q", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\n") {
		t.Errorf("goes on to another line: %q", out.String())
	}
}

// TestWatchAll watches two jobs at once, each in lines of its own, until both have ended.
func TestWatchAll(t *testing.T) {
	data := t.TempDir()
	r := openRegistry(t, data)
	under := make(map[registry.JobID]bool)
	for _, kind := range []registry.JobKind{registry.JobImport, registry.JobBackup} {
		j, _, err := r.Enqueue(t.Context(), registry.NewJob{Kind: kind, About: "one"})
		if err == nil {
			_, err = r.TakeJob(t.Context(), j.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		under[j.ID] = true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "--data", data, "jobs", "watch")
	cmd.Env = append(os.Environ(), beHomeward+"=1")
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		id, _, _ := strings.Cut(lines.Text(), " ")
		if under[registry.JobID(id)] {
			delete(under, registry.JobID(id))
			if err := r.EndJob(t.Context(), registry.JobID(id), registry.JobDone, ""); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || len(under) > 0 || strings.Count(all.String(), "is done.") != 2 {
		t.Errorf("%v: %s", err, all.String())
	}
}

// TestFigures: of a job that is done, what came of it; of others, how far they are, never more than all.
func TestFigures(t *testing.T) {
	counts := map[string]int64{"added": 4, "unreadable": 1, "skipped": 0, "ms_decode": 77}
	for _, c := range []struct {
		kind  registry.JobKind
		state registry.JobState
		p     registry.Progress
		want  string
	}{
		{registry.JobImport, registry.JobRunning, registry.Progress{Stage: "photos", Done: 2, Total: 3, Counts: counts}, "photos 2/3 (66%)"},
		{registry.JobImport, registry.JobRunning, registry.Progress{Stage: "photos", Total: 3}, "photos 0/3 (0%)"},
		{registry.JobReindex, registry.JobPaused, registry.Progress{Stage: "photos", Done: 4, Total: 3}, "photos 4/3 (100%)"},
		{registry.JobImport, registry.JobDone, registry.Progress{Stage: "compare", Done: 4, Total: 4, Counts: counts}, "4 added, 1 unreadable"},
		{registry.JobBackup, registry.JobDone, registry.Progress{Counts: map[string]int64{"snapshot": 3, "new_photos": 2}}, "new photos 2, snapshot 3"},
	} {
		if got := figures(registry.Job{Kind: c.kind, State: c.state, Progress: c.p}); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
