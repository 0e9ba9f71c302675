package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
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
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// process is a server in a process of its own.
type process struct {
	*client.Client
	address string
	cmd     *exec.Cmd
	output  said
	exited  chan error
}

// startServer runs `homeward serve` on data and waits until it is ready.
func startServer(t testing.TB, data, key string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startServerOf(t, self, data, key)
}

// startServerOf is startServer of a program: the test's own, or the command as it is built.
func startServerOf(t testing.TB, program, data, key string) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	modelsDir, err := filepath.Abs("../../models")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Client: client.New("http://"+address, key), address: "http://" + address, exited: make(chan error, 1)}
	p.cmd = exec.Command(program, "--data", data, "--models", modelsDir, "serve", "--listen", address)
	p.cmd.Env = append(os.Environ(), beHomeward+"=1")
	p.cmd.Stderr = &p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := p.Ready(t.Context()); err == nil {
			return p
		}
		select {
		case err := <-p.exited:
			t.Fatalf("the server ended: %v\n%s", err, &p.output)
		default:
		}
		if time.Now().After(deadline) {
			p.kill()
			t.Fatalf("the server does not get ready\n%s", &p.output)
		}
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be over already
	<-p.exited
}

// stop asks the process to end.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.exited; err != nil {
		t.Errorf("the server ended with %v\n%s", err, &p.output)
	}
}

// newKey makes a key for the registry in data.
func newKey(t testing.TB, data string) string {
	t.Helper()
	r, err := registry.Open(t.Context(), data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	account, _, err := r.CreateAccount(t.Context(), registry.NewAccount{
		Login: fmt.Sprintf("test-%d", time.Now().UnixNano()), Name: "Some supervisor", Role: registry.Supervisor, Regions: []string{registry.Everywhere},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := r.CreateKey(t.Context(), account.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// variant is a portrait that no other n gives the same bytes of.
func variant(t testing.TB, img image.Image, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 60 + n%40}); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), []byte(strings.Repeat("x", n))...) // JPEG decoders ignore what follows the end
}

// TestKilledServer kills the server at random moments of uploads. After each restart every photo is whole or absent, and
// every one that was acknowledged is there and analysed.
func TestKilledServer(t *testing.T) {
	const rounds = 8
	data := t.TempDir()
	key := newKey(t, data)
	portrait := photos.Decode(t, photos.Read(t, photos.Obama))
	var caseID string
	var mu sync.Mutex
	acknowledged := map[string][]byte{}
	sent := 0
	for round := range rounds {
		p := startServer(t, data, key)
		if caseID == "" {
			c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
			if err != nil {
				t.Fatal(err)
			}
			caseID = c.ID
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					mu.Lock()
					sent++
					photo := variant(t, portrait, sent)
					mu.Unlock()
					added, err := p.AddPhoto(ctx, caseID, client.NewPhoto{}, bytes.NewReader(photo))
					if err != nil {
						return
					}
					mu.Lock()
					acknowledged[added.ID] = photo
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+rand.IntN(1200)) * time.Millisecond)
		p.kill()
		cancel()
		wg.Wait()

		p = startServer(t, data, key)
		waitUntilAnalysed(t, p)
		stored, err := p.Photos(t.Context(), caseID)
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, ph := range stored {
			have[ph.ID] = true
			if ph.State != "analysed" || len(ph.Faces) != 1 {
				t.Errorf("round %d: photo %s is %s with %d faces: %s", round, ph.ID, ph.State, len(ph.Faces), ph.Reason)
			}
			r, err := p.Original(t.Context(), ph.ID)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || acknowledged[ph.ID] != nil && !bytes.Equal(got, acknowledged[ph.ID]) {
				t.Errorf("round %d: photo %s came back different: %v", round, ph.ID, err)
			}
		}
		for id := range acknowledged {
			if !have[id] {
				t.Errorf("round %d: photo %s was acknowledged and is lost", round, id)
			}
		}
		if n := countFiles(t, filepath.Join(data, "photos")); n != len(stored) {
			t.Errorf("round %d: %d photos, %d files", round, len(stored), n)
		}
		p.stop(t)
	}
	t.Logf("%d sent, %d acknowledged over %d kills", sent, len(acknowledged), rounds)
}

func waitUntilAnalysed(t *testing.T, p *process) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		h, err := p.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.Queued == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d photos stay queued", h.Queued)
		}
	}
}

func countFiles(t testing.TB, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFullDisk runs the server on a disk that is too small: the upload that does not fit is refused and leaves nothing
// behind, and the server goes on.
func TestFullDisk(t *testing.T) {
	data := t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=6m"); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skip("mounting a small disk needs root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	p := startServer(t, data, newKey(t, data))
	defer p.stop(t)
	c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
	if err != nil {
		t.Fatal(err)
	}
	small := photos.Read(t, photos.Obama)
	large := append(bytes.Clone(small), make([]byte, 8<<20)...)
	for range 2 {
		_, err = p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(large))
		var problem *client.Problem
		if !errors.As(err, &problem) || problem.Code() != "disk_full" {
			t.Fatalf("error = %v, want disk_full", err)
		}
		if n := countFiles(t, filepath.Join(data, "photos")); n != 0 {
			t.Errorf("%d files left behind", n)
		}
	}
	if added, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(small)); err != nil || added.State != "analysed" {
		t.Errorf("a photo that fits: %+v, %v", added, err)
	}
}

// TestImportBesideServer imports with one process while another serves: the server finds what came in without a restart.
func TestImportBesideServer(t *testing.T) {
	data, archive := t.TempDir(), t.TempDir()
	p := startServer(t, data, newKey(t, data))
	defer p.stop(t)
	if err := os.MkdirAll(filepath.Join(archive, "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(archive, "one", "a.jpg"), photos.Read(t, photos.Obama), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "--data", data, "--models", "../../models", "import", archive)
	cmd.Env = append(os.Environ(), beHomeward+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, err := p.SearchPhoto(t.Context(), client.Filter{}, bytes.NewReader(photos.Read(t, photos.Obama2)))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Candidates) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not find what was imported")
		}
	}
}

// TestKilledBeforeComparison kills the server between the upload of a found child's photo and the standing search that compares
// it: after the next start the lead is there, once.
func TestKilledBeforeComparison(t *testing.T) {
	const rounds = 4
	data := t.TempDir()
	key := newKey(t, data)
	p := startServer(t, data, key)
	sought, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AddPhoto(t.Context(), sought.ID, client.NewPhoto{}, bytes.NewReader(photos.Read(t, photos.Obama))); err != nil {
		t.Fatal(err)
	}
	portrait := photos.Decode(t, photos.Read(t, photos.Obama2))
	var found []string
	for round := range rounds {
		c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "found"})
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, c.ID)
		if _, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(variant(t, portrait, round))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		p.kill()
		p = startServer(t, data, key)
	}
	defer p.stop(t)
	r, err := registry.Open(t.Context(), data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		leads, _, err := r.Leads(t.Context(), registry.LeadQuery{Case: registry.CaseID(sought.ID)})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]int{}
		for _, l := range leads {
			have[string(l.Found)]++
		}
		lost := ""
		for _, id := range found {
			if have[id] != 1 {
				lost = id
			}
		}
		if lost == "" && len(leads) == len(found) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d found children were uploaded and acknowledged, and these are the leads: %v", len(found), have)
		}
	}
}
