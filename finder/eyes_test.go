package finder_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"homeward/engine"
	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/internal/testworker"
	"homeward/registry"
	"homeward/worker"
)

// refused asks err to say that the photo ends whatever reads it.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	var photo *engine.PhotoError
	if !errors.As(err, &photo) || photo.Code != engine.CodeCrashed || !strings.Contains(photo.Text, "SIGSEGV") {
		t.Errorf("%s: %v, want a photo refused as %s", what, err, engine.CodeCrashed)
	}
}

// TestCrashingPhotos sends photos that end the process which reads them, while others are sent.
func TestCrashingPhotos(t *testing.T) {
	f, _ := open(t, finder.Config{Data: t.TempDir(), Models: "../models", Workers: 2})
	ctx, good := t.Context(), photos.Read(t, photos.Obama)
	c, err := f.Registry.CreateCase(ctx, registry.Case{Gallery: registry.Missing})
	if err != nil {
		t.Fatal(err)
	}
	var others sync.WaitGroup
	for range 3 {
		others.Go(func() {
			if p := add(t, f, registry.Found, good); p.State != registry.Analysed || len(p.Faces) != 1 {
				t.Errorf("a photo beside: %+v", p)
			}
		})
	}
	for _, bulk := range []bool{false, true} {
		// In the decoder, before it is stored: refused, and nothing stays.
		_, _, err = f.AddPhoto(ctx, c.ID, finder.NewPhoto{Bulk: bulk}, bytes.NewReader(testworker.InDecoder(good)))
		refused(t, "upload", err)
		if stored, err := f.Registry.PhotosOf(ctx, c.ID); err != nil || len(stored) != 0 {
			t.Errorf("%d photos stay, %v", len(stored), err)
		}
	}
	for _, photo := range [][]byte{testworker.InDecoder(good), testworker.InModel(good)} {
		_, err = f.ProbePhoto(ctx, "", bytes.NewReader(photo))
		refused(t, "search", err)
	}

	// In a model, once it is stored: tried twice, and set aside with the reason.
	p, _, err := f.AddPhoto(ctx, c.ID, finder.NewPhoto{}, bytes.NewReader(testworker.InModel(good)))
	if err != nil || p.State == registry.Analysed {
		t.Fatalf("%+v, %v", p, err)
	}
	p = setAside(t, f, p.ID)
	if !strings.Contains(p.Reason, "SIGSEGV") {
		t.Errorf("set aside because of %q", p.Reason)
	}
	if jpeg, err := f.Rendition(ctx, p, 100); err != nil || len(jpeg) == 0 { // its pixels are sound
		t.Errorf("rendition: %v", err)
	}
	others.Wait()

	// Stored by another, it ends the decoder here.
	up, err := f.Registry.NewUpload(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, err := up.Write(testworker.InDecoder(good)); err != nil {
		t.Fatal(err)
	}
	if err := up.Finish(); err != nil {
		t.Fatal(err)
	}
	if p, _, err = up.Commit(ctx, registry.NewPhoto{Format: "jpeg", Width: 100, Height: 100}); err != nil {
		t.Fatal(err)
	}
	_, err = f.Rendition(ctx, p, 100)
	refused(t, "rendition", err)
	face := registry.Face{X: 10, Y: 10, W: 50, H: 50}
	_, err = f.Chip(ctx, p, face, 100)
	refused(t, "chip", err)
	_, err = f.Portrait(ctx, p, face, 100)
	refused(t, "portrait", err)
	setAside(t, f, p.ID)
	if p := add(t, f, registry.Found, good); p.State != registry.Analysed {
		t.Errorf("after all that: %+v", p)
	}
}

// setAside waits until a photo is.
func setAside(t *testing.T, f *finder.Finder, id registry.PhotoID) registry.Photo {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		p, err := f.Registry.Photo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if p.State == registry.SetAside {
			return p
		}
		if time.Now().After(until) {
			t.Fatalf("the photo is not set aside: %+v", p)
		}
	}
}

// TestKilledProcesses has processes killed over photos, as the system does that is out of memory.
func TestKilledProcesses(t *testing.T) {
	var said lines
	f, _ := open(t, finder.Config{Data: t.TempDir(), Models: "../models", Workers: 2, Log: slog.New(slog.NewTextHandler(&said, nil))})
	ctx, good := t.Context(), photos.Read(t, photos.Obama)
	c, err := f.Registry.CreateCase(ctx, registry.Case{Gallery: registry.Missing})
	if err != nil {
		t.Fatal(err)
	}

	// Before it is stored: not refused, unless it stands in the way of others.
	if _, err := f.ProbePhoto(ctx, "", bytes.NewReader(testworker.KilledInDecoder(good))); !errors.Is(err, worker.ErrEnded) {
		t.Errorf("search: %v, want %v", err, worker.ErrEnded)
	}
	if _, _, err = f.AddPhoto(ctx, c.ID, finder.NewPhoto{}, bytes.NewReader(testworker.KilledInDecoder(good))); !errors.Is(err, worker.ErrEnded) {
		t.Errorf("upload: %v, want %v", err, worker.ErrEnded)
	}
	_, _, err = f.AddPhoto(ctx, c.ID, finder.NewPhoto{Bulk: true}, bytes.NewReader(testworker.KilledInDecoder(good)))
	if photo := new(engine.PhotoError); !errors.As(err, &photo) || photo.Code != engine.CodeCrashed {
		t.Errorf("bulk upload: %v, want a photo refused as %s", err, engine.CodeCrashed)
	}
	if stored, err := f.Registry.PhotosOf(ctx, c.ID); err != nil || len(stored) != 0 {
		t.Errorf("%d photos stay, %v", len(stored), err)
	}

	// Once it is stored it gets its tries back, though not for ever.
	p, _, err := f.AddPhoto(ctx, c.ID, finder.NewPhoto{}, bytes.NewReader(testworker.KilledInModel(good)))
	if err != nil || p.State == registry.Analysed {
		t.Fatalf("%+v, %v", p, err)
	}
	setAside(t, f, p.ID)
	if back, failed := said.count("which is tried again"), said.count("analysis failed"); back != 5 || failed != registry.MaxTries {
		t.Errorf("handed back %d times and failed %d, want 5 and %d", back, failed, registry.MaxTries)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), words)
}
