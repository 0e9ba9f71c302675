package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
)

// command runs the command on data, with the models of this tree.
func command(t *testing.T, data string, args ...string) (out string, err error) {
	t.Helper()
	modelsDir, err := filepath.Abs("../../models")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"--data", data, "--models", modelsDir}, args...)...)
	cmd.Env = append(os.Environ(), beHomeward+"=1")
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// TestReindexBesideServer builds another model set, switches to it and back, while a server answers searches and takes photos. Nobody
// notices but by the scores.
func TestReindexBesideServer(t *testing.T) {
	data := t.TempDir()
	p := startServer(t, data, newKey(t, data))
	running := true
	defer func() {
		if running {
			p.kill()
		}
	}()
	add := func(g string, photo []byte) string {
		t.Helper()
		c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: g})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(photo)); err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	missing, found := add("missing", photos.Read(t, photos.Obama)), add("found", photos.Read(t, photos.Obama2))
	add("missing", photos.Read(t, photos.Biden))

	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var searches, uploads atomic.Int64
	all.Go(func() {
		for ctx.Err() == nil {
			s, err := p.SearchCase(ctx, client.Filter{}, found)
			if err == nil && (len(s.Candidates) == 0 || s.Candidates[0].Case.ID != missing) {
				t.Errorf("%+v", s.Candidates)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			searches.Add(1)
			select { // people do not search faster either
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	var mu sync.Mutex
	var sent []string
	all.Go(func() {
		portrait := photos.Decode(t, photos.Read(t, photos.Biden))
		for i := 0; ctx.Err() == nil; i++ {
			mu.Lock()
			sent = append(sent, add("missing", variant(t, portrait, i)))
			mu.Unlock()
			uploads.Add(1)
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	ready := func() string {
		t.Helper()
		h, err := p.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return h.ModelSet
	}
	follows := func(from string) string {
		t.Helper()
		for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
			if now := ready(); now != from {
				return now
			}
		}
		t.Fatal("the server does not follow")
		return ""
	}
	first := ready()
	if out, err := command(t, data, "reindex", "--set", "plain", "--lead-threshold", "1"); err != nil || !strings.Contains(out, "set plain, metric plain, ready") {
		t.Fatal(out, err)
	}
	if now := ready(); now != first {
		t.Fatal("the server answers with", now)
	}
	if out, err := command(t, data, "reindex", "switch", "plain"); err != nil {
		t.Fatal(out, err)
	}
	second := follows(first)
	if out, err := command(t, data, "reindex", "back"); err != nil {
		t.Fatal(out, err)
	}
	if now := follows(second); now != first {
		t.Errorf("back to %s, not %s", now, first)
	}
	stop()
	all.Wait()
	if searches.Load() == 0 || uploads.Load() == 0 {
		t.Error(searches.Load(), "searches,", uploads.Load(), "uploads")
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		h, err := p.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.Queued == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatal(h.Queued, "photos are still queued")
		}
	}
	for _, id := range sent {
		photos, err := p.Photos(t.Context(), id)
		if err != nil || len(photos) != 1 || photos[0].State != "analysed" || len(photos[0].Faces) != 1 {
			t.Errorf("%+v %v", photos, err)
		}
	}
	running = false
	p.stop(t)
	if out, err := command(t, data, "check"); err != nil {
		t.Error(out, err)
	}
}
