package finder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// open opens a Finder and runs it until the test, or the function returned, ends it.
func open(t *testing.T, c finder.Config) (*finder.Finder, func()) {
	t.Helper()
	f, err := finder.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- f.Run(ctx) }()
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := errors.Join(<-ran, f.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return f, end
}

func add(t *testing.T, f *finder.Finder, g registry.Gallery, photo []byte) registry.Photo {
	t.Helper()
	c, err := f.Registry.CreateCase(t.Context(), registry.Case{Gallery: g})
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := f.AddPhoto(t.Context(), c.ID, finder.NewPhoto{}, bytes.NewReader(photo))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func candidates(t *testing.T, f *finder.Finder, name string) []finder.Candidate {
	t.Helper()
	p, err := f.ProbePhoto(t.Context(), "", bytes.NewReader(photos.Read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	found, err := f.Candidates(t.Context(), p, 0, finder.Query{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	return found.Candidates
}

// withAnotherRecogniser is a copy of the models with one more recogniser, added by a card, and a set that uses it.
func withAnotherRecogniser(t *testing.T) string {
	t.Helper()
	from, err := filepath.Abs("../models")
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasSuffix(e.Name(), ".json") {
			if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(file, as string, edit func(map[string]any)) {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		edit(v)
		if raw, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, as), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change("fr_feature.json", "another.json", func(card map[string]any) {
		card["name"] = "another"
		card["input"].(map[string]any)["mirror"] = false
	})
	change("default.set.json", "more.set.json", func(set map[string]any) {
		set["name"] = "more"
		set["recognisers"] = append(set["recognisers"].([]any), "another")
	})
	return to
}

// TestAnotherModelSet changes the model set of a registry: the photos are analysed again, templates of the two sets are
// never compared, and the choice of the child's face is kept.
func TestAnotherModelSet(t *testing.T) {
	data, models := t.TempDir(), withAnotherRecogniser(t)
	f, end := open(t, finder.Config{Data: data, Models: models})
	one := add(t, f, registry.Missing, photos.Read(t, photos.Obama))
	add(t, f, registry.Missing, photos.Read(t, photos.Biden))
	group := add(t, f, registry.Missing, photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Astronaut)))
	if len(group.Faces) != 2 || group.Subject != "" {
		t.Fatalf("two faces: %+v", group)
	}
	chosen := group.Faces[1]
	if _, err := f.Registry.UpdatePhoto(t.Context(), group.ID, registry.PhotoChange{Subject: &chosen.ID}); err != nil {
		t.Fatal(err)
	}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := candidates(t, f, photos.Obama2)
	first := f.TemplateSet()
	end()

	g, _ := open(t, finder.Config{Data: data, Models: models, Set: "more"})
	if g.TemplateSet() == first {
		t.Fatal("two sets have one id")
	}
	// The photos are queued again and analysed while the Finder already answers.
	var after []finder.Candidate
	for deadline := time.Now().Add(time.Minute); len(after) < len(before) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		after = candidates(t, g, photos.Obama2)
	}
	if len(after) != len(before) || after[0].Case.ID != one.CaseID || before[0].Case.ID != one.CaseID {
		t.Fatalf("%d candidates before, %d after: want case %s first in both", len(before), len(after), one.CaseID)
	}
	if after[0].Score == before[0].Score {
		t.Error("the fourth recogniser changed nothing")
	}
	kept, err := g.Registry.Photo(t.Context(), group.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, face := range kept.Faces {
		if (face.ID == kept.Subject) != (abs(face.X-chosen.X) < 5) {
			t.Errorf("subject %s, face %+v; %+v was chosen", kept.Subject, face, chosen)
		}
	}
	if kept.Subject == "" {
		t.Error("the choice of the child's face is lost")
	}
}

func abs(x float32) float32 { return max(x, -x) }

// TestInterruptedAnalysis hands a photo back when its analysis is cut short, and analyses it at the next start.
func TestInterruptedAnalysis(t *testing.T) {
	data := t.TempDir()
	f, end := open(t, finder.Config{Data: data, Models: "../models"})
	c, err := f.Registry.CreateCase(t.Context(), registry.Case{Gallery: registry.Found})
	if err != nil {
		t.Fatal(err)
	}
	end()

	// A registry alone stores a photo as a server does that ends at once: queued, never looked at.
	r, err := registry.Open(t.Context(), data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	up, err := r.NewUpload(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, err := up.Write(photos.Read(t, photos.Obama)); err != nil {
		t.Fatal(err)
	}
	if err := up.Finish(); err != nil {
		t.Fatal(err)
	}
	p, _, err := up.Commit(t.Context(), registry.NewPhoto{Format: "jpeg", Width: 910, Height: 1137})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	g, _ := open(t, finder.Config{Data: data, Models: "../models"})
	var settled registry.Photo
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if settled, err = g.Registry.Photo(t.Context(), p.ID); err != nil || settled.State != registry.Queued || time.Now().After(deadline) {
			break
		}
	}
	if err != nil || settled.State != registry.Analysed || len(settled.Faces) != 1 || settled.Subject == "" {
		t.Errorf("photo: %+v, %v", settled, err)
	}
}
