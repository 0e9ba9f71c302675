package labelled

import (
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	photos "homeward/internal/testphotos"
	"homeward/models"
)

func TestReadManifest(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "m.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rows, err := ReadManifest(write("path,subject,age,side\na/1.jpg,anna,3.5,\n\"a,2.jpg\",anna,,old\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{
		{Path: filepath.Join(dir, "a/1.jpg"), Name: "a/1.jpg", Subject: "anna", Age: 3.5, Manifest: filepath.Join(dir, "m.csv"), Line: 2},
		{Path: filepath.Join(dir, "a,2.jpg"), Name: "a,2.jpg", Subject: "anna", Age: -1, Side: "old", Manifest: filepath.Join(dir, "m.csv"), Line: 3},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("%+v, want %+v", rows, want)
	}
	for text, says := range map[string]string{
		"":                                     "manifest",
		"path,subject,age,side\n":              "lists no photos",
		"path,subject,age\na,b,1\n":            "wrong number of fields",
		"file,subject,age,side\na,b,1,\n":      "the first line must be",
		"path,subject,age,side\na,b,1\n":       "wrong number of fields",
		"path,subject,age,side\n,b,1,\n":       "line 2: path and subject must not be empty",
		"path,subject,age,side\na,b,200,\n":    "line 2: age \"200\" is not a number of years from 0 to 120",
		"path,subject,age,side\na,b,-1,\n":     "line 2: age \"-1\"",
		"path,subject,age,side\na,b,NaN,\n":    "line 2: age \"NaN\"",
		"path,subject,age,side\na,b,1,left\n":  "line 2: side \"left\"",
		"path,subject,age,side\na,\"b,1,old\n": "line",
	} {
		if _, err := ReadManifest(write(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	if _, err := ReadManifest(filepath.Join(dir, "none.csv")); err == nil {
		t.Error("a manifest that is not there was read")
	}
}

// TestSamples looks at photos of all kinds with the real models, and again out of the cache.
func TestSamples(t *testing.T) {
	dir := t.TempDir()
	cat, err := models.Load("../models")
	if err != nil {
		t.Fatal(err)
	}
	set, err := cat.Set("default")
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	add := func(name string, photo []byte) {
		path := filepath.Join(dir, name)
		if photo != nil {
			if err := os.WriteFile(path, photo, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		rows = append(rows, Row{Path: path, Name: name, Subject: name, Age: -1, Line: len(rows) + 2})
	}
	add("face.jpg", photos.Read(t, photos.Obama))
	add("again.jpg", photos.Read(t, photos.Obama))
	add("two.jpg", photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Obama2)))
	add("none.jpg", photos.NoFace(t))
	add("text.jpg", []byte("not a photo"))
	add("missing.jpg", nil)
	tiny := image.NewRGBA(image.Rect(0, 0, 4, 4))
	tiny.Set(1, 1, color.White)
	add("tiny.jpg", photos.JPEG(t, tiny))

	cache, err := OpenCache(t.Context(), filepath.Join(dir, "cache", "faces.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	var seen atomic.Int64
	first := set
	first.Recognisers = set.Recognisers[:1]
	s := Sampler{Catalogue: cat, Set: first, Cache: cache, Progress: func() { seen.Add(1) }}
	few, err := s.Samples(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	if int(seen.Load()) != len(rows) {
		t.Errorf("%d of %d photos were told of", seen.Load(), len(rows))
	}
	s.Set = set
	all, err := s.Samples(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	for i, problem := range []string{"", "", "", NoFace, "Send the photo as", "there is no such file", ""} {
		if problem == "" && i < 3 {
			if all[i].Problem != "" || len(all[i].Embeddings) != len(set.Recognisers) || len(few[i].Embeddings) != 1 {
				t.Errorf("%s: %q, %d embeddings, %d with one recogniser", all[i].Name, all[i].Problem, len(all[i].Embeddings), len(few[i].Embeddings))
			}
			continue
		}
		if all[i].Problem == "" || !strings.Contains(all[i].Problem, problem) {
			t.Errorf("%s: problem %q, want %q", all[i].Name, all[i].Problem, problem)
		}
	}
	r := set.Recognisers[0].Fingerprint()
	if !slices.Equal(all[0].Embeddings[r], all[1].Embeddings[r]) || !slices.Equal(all[0].Embeddings[r], few[0].Embeddings[r]) {
		t.Error("one photo has two embeddings")
	}
	// What is in the cache is what the engine finds.
	s.Cache = nil
	fresh, err := s.Samples(t.Context(), rows[:1])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fresh[0].Embeddings[r], all[0].Embeddings[r]) || fresh[0].AgeYears != all[0].AgeYears || fresh[0].Quality != all[0].Quality {
		t.Error("the cache tells otherwise than the engine")
	}
	s.Chips = true
	if fresh, err = s.Samples(t.Context(), rows[:1]); err != nil || fresh[0].Chip == nil || fresh[0].Chip.Width != 112 {
		t.Errorf("no chip of 112 pixels: %v", err)
	}
}
