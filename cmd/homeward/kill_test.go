package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// killRounds is how often TestKilledAnywhere kills, unless HOMEWARD_KILLS says otherwise.
const killRounds = 6

// TestKilledAnywhere ends processes by SIGKILL at random moments, while photos are uploaded to a server and an archive is imported, the
// model set changed or a backup made beside it: the server, the command, or both. After each kill the registry is found whole by
// `homeward check`. At the end everything that was acknowledged is there, every file of the archive once, the backup verifies, and what is
// restored from it is whole.
func TestKilledAnywhere(t *testing.T) {
	rounds := killRounds
	if given := os.Getenv("HOMEWARD_KILLS"); given != "" {
		var err error
		if rounds, err = strconv.Atoi(given); err != nil {
			t.Fatal(err)
		}
	}
	s := newSiege(t, 5*rounds)
	for round := range rounds {
		s.round(t, round)
		if t.Failed() {
			return
		}
	}
	s.finish(t)
}

// siege is a registry whose processes are being killed.
type siege struct {
	data, archive, backups, key string
	files                       int // in the archive

	caseID       string
	sent         int
	mu           sync.Mutex
	acknowledged map[string][]byte // by photo id
	portrait     func(n int) []byte
}

func newSiege(t *testing.T, files int) *siege {
	s := &siege{data: t.TempDir(), archive: t.TempDir(), backups: filepath.Join(t.TempDir(), "backups"), files: files, acknowledged: map[string][]byte{}}
	s.key = newKey(t, s.data)
	img := photos.Decode(t, photos.Read(t, photos.Obama))
	s.portrait = func(n int) []byte { return variant(t, img, n) }
	for i := range files {
		folder := filepath.Join(s.archive, fmt.Sprintf("case-%d", i/3))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file-%d.jpg", i)), s.portrait(100_000+i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// round lets a server and a command work, kills one or both at a random moment, and examines what they leave.
func (s *siege) round(t *testing.T, n int) {
	p := startServer(t, s.data, s.key)
	if s.caseID == "" {
		c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
		if err != nil {
			t.Fatal(err)
		}
		s.caseID = c.ID
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var uploads sync.WaitGroup
	for range 2 {
		uploads.Go(func() { s.upload(ctx, p.Client) })
	}
	args := [][]string{
		{"import", s.archive},
		{"reindex", "--set", []string{"plain", "default"}[rand.IntN(2)], "--switch"},
		{"backup", s.backups},
	}[n%3]
	command := s.start(t, args...)
	whom := rand.IntN(3)
	time.Sleep(time.Duration(rand.IntN(6000)) * time.Millisecond)
	if whom != 0 {
		_ = command.cmd.Process.Kill() // it may be over already
	}
	if whom != 1 {
		p.kill()
	} else {
		cancel()
		uploads.Wait()
		p.stop(t)
	}
	cancel()
	uploads.Wait()
	<-command.exited
	if strings.Contains(command.output.String(), "panic:") {
		t.Errorf("round %d: %v: %s", n, args, &command.output)
	}
	s.check(t, fmt.Sprintf("round %d (%s, killed %s)", n, args[0], [...]string{"the server", "the command", "both"}[whom]), s.data)
	s.remember(t)
}

// upload sends photos until something ends it, and remembers those that were acknowledged.
func (s *siege) upload(ctx context.Context, c *client.Client) {
	for ctx.Err() == nil {
		s.mu.Lock()
		s.sent++
		photo := s.portrait(s.sent)
		s.mu.Unlock()
		added, err := c.AddPhoto(ctx, s.caseID, client.NewPhoto{}, bytes.NewReader(photo))
		if err != nil {
			return
		}
		s.mu.Lock()
		s.acknowledged[added.ID] = photo
		s.mu.Unlock()
	}
}

// running is a command in a process of its own.
type running struct {
	cmd    *exec.Cmd
	output bytes.Buffer // may be read once it has exited
	exited chan struct{}
}

func (s *siege) start(t *testing.T, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	modelsDir, err := filepath.Abs("../../models")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{cmd: exec.Command(self, append([]string{"--data", s.data, "--models", modelsDir}, args...)...), exited: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), beHomeward+"=1")
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	r.cmd.WaitDelay = 10 * time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait() // how it ended stands in its state
		close(r.exited)
	}()
	return r
}

// run runs a command to its end, which must be good.
func (s *siege) run(t *testing.T, args ...string) string {
	t.Helper()
	r := s.start(t, args...)
	<-r.exited
	if !r.cmd.ProcessState.Success() {
		t.Errorf("homeward %s: %v\n%s", strings.Join(args, " "), r.cmd.ProcessState, &r.output)
	}
	return r.output.String()
}

// check asks `homeward check` for what is wrong.
func (s *siege) check(t *testing.T, when, data string) {
	t.Helper()
	r := s.start(t, "check", "--deep", "--data", data)
	<-r.exited
	if !r.cmd.ProcessState.Success() {
		t.Errorf("%s: check: %v\n%s", when, r.cmd.ProcessState, &r.output)
	}
}

// remember holds what is in the registry against what was acknowledged.
func (s *siege) remember(t *testing.T) {
	t.Helper()
	r, err := registry.Open(t.Context(), s.data, registry.Options{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stored, err := r.PhotosOf(t.Context(), registry.CaseID(s.caseID))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, p := range stored {
		have[string(p.ID)] = true
	}
	for id := range s.acknowledged {
		if !have[id] {
			t.Errorf("photo %s was acknowledged and is lost", id)
		}
	}
}

// finish lets everything come to its end and examines it.
func (s *siege) finish(t *testing.T) {
	// A dead command's job is a server's to finish, so a command may find that there is nothing left to do, or a server still at it.
	p := startServer(t, s.data, s.key)
	waitUntilAnalysed(t, p)
	s.idle(t)
	p.stop(t)
	s.run(t, "import", s.archive)
	s.check(t, "at the end", s.data)

	r, err := registry.Open(t.Context(), s.data, registry.Options{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	count := map[string]int{}
	if _, err := r.EachReference(t.Context(), "", func(c registry.Case, _ []registry.Reference) error {
		stored, err := r.PhotosOf(t.Context(), c.ID)
		if err != nil {
			return err
		}
		for _, ph := range stored {
			if ph.State != registry.Analysed || len(ph.Faces) != 1 {
				t.Errorf("photo %s is %s with %d faces: %s", ph.ID, ph.State, len(ph.Faces), ph.Reason)
			}
			if string(c.ID) != s.caseID {
				count[ph.Name]++
				continue
			}
			if want := s.acknowledged[string(ph.ID)]; want != nil {
				rc, err := r.OpenPhoto(t.Context(), ph.ID)
				if err != nil {
					return err
				}
				got, err := io.ReadAll(rc)
				rc.Close()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("photo %s came back different: %v", ph.ID, err)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range s.files {
		if name := fmt.Sprintf("file-%d.jpg", i); count[name] != 1 {
			t.Errorf("%s is there %d times", name, count[name])
		}
	}
	s.run(t, "backup", s.backups)
	s.run(t, "backup", "verify", s.backups, "--deep")
	restored := filepath.Join(t.TempDir(), "restored")
	s.run(t, "restore", s.backups, "--data", restored, "--operator-key", filepath.Join(s.data, "operator.key"))
	s.run(t, "check", "--deep", "--data", restored, "--operator-key", filepath.Join(s.data, "operator.key"))
	t.Logf("%d photos sent, %d acknowledged, %d files imported", s.sent, len(s.acknowledged), len(count))
}

// idle waits until no job is under way or waiting.
func (s *siege) idle(t *testing.T) {
	t.Helper()
	r, err := registry.Open(t.Context(), s.data, registry.Options{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		all, err := r.Jobs(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		busy := false
		for _, j := range all {
			if j.State == registry.JobParked && j.Reason == registry.JobStopped { // killed five times where it was: as an operator would
				if j, err = r.WishJob(t.Context(), j.ID, registry.NoWish); err != nil {
					t.Fatal(err)
				}
			}
			busy = busy || j.State == registry.JobQueued || j.State == registry.JobRunning
			if j.State == registry.JobParked {
				t.Errorf("job %s (%s) is parked: %s", j.ID, j.Kind, j.Reason)
			}
		}
		if !busy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("jobs do not come to their end: %+v", all)
		}
	}
}
