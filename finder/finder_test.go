package finder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/match"
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
		if e.Name() != "metrics" && (e.IsDir() || strings.HasSuffix(e.Name(), ".json")) {
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
	if err := os.Mkdir(filepath.Join(to, "metrics"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(from, "metrics/default.json"), filepath.Join(to, "metrics/default.json")); err != nil {
		t.Fatal(err)
	}
	return to
}

// widened is the default metric with one more recogniser, projected as the first is.
func widened(t *testing.T, dir string) match.Fitted {
	t.Helper()
	f := defaultMetric(t, dir)
	_, set, err := finder.LoadSet(finder.Config{Models: dir, Set: "more"})
	if err != nil {
		t.Fatal(err)
	}
	first, in := f.Recognisers[0].Dim, len(f.Mean)
	f.Recognisers = append(slices.Clone(f.Recognisers), finder.Recognisers(set)[len(f.Recognisers)])
	f.Mean = append(slices.Clone(f.Mean), f.Mean[:first]...)
	var rows match.Vector
	for at := 0; at < len(f.Rows); at += in {
		rows = append(rows, f.Rows[at:at+in]...)
		rows = append(rows, f.Rows[at:at+first]...)
	}
	f.Rows = rows
	return f
}

func defaultMetric(t *testing.T, dir string) match.Fitted {
	t.Helper()
	f, err := match.ReadFitted(filepath.Join(dir, "metrics/default.json"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func writeMetric(t *testing.T, f match.Fitted, path string) {
	t.Helper()
	_ = os.Remove(path) // it may be a link to the real one
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Write(out), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherMetric changes the metric alone: templates are made again from the embeddings before the first search, and no
// photo is looked at.
func TestAnotherMetric(t *testing.T) {
	data, models := t.TempDir(), withAnotherRecogniser(t)
	f, end := open(t, finder.Config{Data: data, Models: models})
	one := add(t, f, registry.Missing, photos.Read(t, photos.Obama))
	add(t, f, registry.Missing, photos.Read(t, photos.Biden))
	before, first := candidates(t, f, photos.Obama2), f.TemplateSet()
	end()

	metric := defaultMetric(t, models)
	metric.Between = slices.Clone(metric.Between)
	for i := range metric.Between {
		metric.Between[i] *= 1.5
	}
	writeMetric(t, metric, filepath.Join(models, "metrics/default.json"))
	for _, existing := range []bool{true, false} { // such as a search, and an import
		if _, err := finder.Open(t.Context(), finder.Config{Data: data, Models: models, Existing: existing}); !errors.Is(err, finder.ErrOtherModels) {
			t.Errorf("a command beside a server goes over to other models: %v", err)
		}
	}
	g, err := finder.Open(t.Context(), finder.Config{Data: data, Models: models, GoOver: true}) // not run: nothing could be analysed
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.TemplateSet() == first {
		t.Fatal("another metric has the same id")
	}
	after := candidates(t, g, photos.Obama2)
	if len(after) != 2 || after[0].Case.ID != one.CaseID || after[0].Faces == before[0].Faces {
		t.Errorf("after a change of the metric: %+v", after)
	}
	if st, err := g.Status(t.Context()); err != nil || st.Queued != 0 {
		t.Errorf("%d photos are to be analysed again, %v", st.Queued, err)
	}
	if all, err := g.Registry.Generations(t.Context()); err != nil || len(all) != 2 || all[0].ID != g.TemplateSet() || all[1].ID != first || all[1].State != registry.GenerationKept {
		t.Errorf("%+v, %v", all, err)
	}
	// The old files are gone: nothing could go back to what they made.
	if err := g.SwitchTo(t.Context(), first); !errors.Is(err, finder.ErrOtherModels) {
		t.Errorf("back to a metric that is not installed: %v", err)
	}
}

// TestCandidatesExplain tells of a candidate what it rests on.
func TestCandidatesExplain(t *testing.T) {
	f, _ := open(t, finder.Config{Data: t.TempDir(), Models: "../models"})
	date := func(s string) registry.Date {
		d, err := registry.ParseDate(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	enrol := func(c registry.Case, taken string, names ...string) registry.Case {
		t.Helper()
		c, err := f.Registry.CreateCase(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, _, err := f.AddPhoto(t.Context(), c.ID, finder.NewPhoto{Taken: date(taken)}, bytes.NewReader(photos.Read(t, name))); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	missing := enrol(registry.Case{Gallery: registry.Missing, Sex: registry.Male, BornFrom: date("1961-08"), BornTo: date("1961-08"), On: date("2005")}, "2009", photos.Obama, photos.Obama3)
	enrol(registry.Case{Gallery: registry.Missing, Sex: registry.Male}, "", photos.Biden)
	found := enrol(registry.Case{Gallery: registry.Found, Sex: registry.Female, On: date("1950")}, "2012", photos.Obama2)

	p, err := f.ProbeCase(t.Context(), "", found.ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Candidates(t.Context(), p, 0, finder.Query{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if got.Gallery != registry.Missing || len(got.Candidates) != 2 || got.Candidates[0].Case.ID != missing.ID {
		t.Fatalf("the missing child does not come first: %+v", got)
	}
	c := got.Candidates[0]
	if len(c.Sightings) != 3 || !c.Sightings[0].Probe || c.Sightings[1].Probe {
		t.Errorf("three photos were compared, the probe's first: %+v", c.Sightings)
	}
	if s := c.Pair.Reference; !s.Dated || s.Age.Years < 47 || s.Age.Years > 49 || s.Photo != c.Photo.ID || s.Face != c.Face.ID {
		t.Errorf("the pair's enrolled side, aged 47 or 48 in 2009: %+v", s)
	}
	if c.Faces < 5 {
		t.Errorf("three portraits of one man: log-LR %v", c.Faces)
	}
	facts := map[string]float64{}
	for _, factor := range c.Plausibility.Factors {
		facts[factor.Fact] = factor.LogLR
	}
	// A girl found before the boy was born: it counts against, and hides nobody.
	if facts["sex"] >= 0 || facts["order"] >= 0 || c.Plausibility.LogLR >= 0 {
		t.Errorf("plausibility: %+v", c.Plausibility)
	}
	if want := c.Faces + c.Plausibility.LogLR; abs64(c.Score-want) > 1e-9 {
		t.Errorf("score %v, faces and records together %v", c.Score, want)
	}
	alone, err := f.Candidates(t.Context(), p, 0, finder.Query{Limit: 10, FacesAlone: true})
	if err != nil || alone.Candidates[0].Score != c.Faces || len(alone.Candidates[0].Plausibility.Factors) == 0 {
		t.Errorf("faces alone: %+v, %v", alone.Candidates[0], err)
	}
	// Pages go on where the last ended.
	one, err := f.Candidates(t.Context(), p, 0, finder.Query{Limit: 1})
	if err != nil || one.Next == "" || len(one.Candidates) != 1 {
		t.Fatalf("the first page of one: %+v, %v", one, err)
	}
	two, err := f.Candidates(t.Context(), p, 0, finder.Query{Limit: 1, Cursor: one.Next})
	if err != nil || two.Next != "" || len(two.Candidates) != 1 || two.Candidates[0].Rank != 2 || two.Candidates[0].Case.ID == missing.ID {
		t.Errorf("the second page of one: %+v, %v", two, err)
	}
	// What is known of the child in a photo counts.
	photo, err := f.ProbePhoto(t.Context(), "", bytes.NewReader(photos.Read(t, photos.Obama2)))
	if err != nil {
		t.Fatal(err)
	}
	told, err := f.Candidates(t.Context(), photo, 0, finder.Query{Limit: 1, About: finder.About{Sex: registry.Male, Age: 51, Taken: date("2012")}})
	if err != nil || !told.Candidates[0].Pair.Probe.Dated || told.Candidates[0].Pair.Probe.Age.Years != 51 || told.Candidates[0].Plausibility.LogLR <= 0 {
		t.Errorf("a boy of the right age: %+v, %v", told.Candidates, err)
	}
	empty, err := f.Registry.CreateCase(t.Context(), registry.Case{Gallery: registry.Found})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ProbeCase(t.Context(), "", empty.ID); !errors.Is(err, finder.ErrNoFaces) {
		t.Errorf("a case without photos: %v, want ErrNoFaces", err)
	}
}

func abs64(x float64) float64 { return max(x, -x) }

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
