package models

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// cards copies the project's own cards and sets, with a link to the weights, for a test to change.
func cards(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	found, err := filepath.Glob("*.json")
	if err != nil || len(found) == 0 {
		t.Fatal("no cards here", err)
	}
	for _, name := range found {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, string(data))
	}
	return dir
}

func write(t *testing.T, dir, name, data string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func load(t *testing.T, dir string) *Catalogue {
	t.Helper()
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func set(t *testing.T, c *Catalogue, name string) Set {
	t.Helper()
	s, err := c.Set(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func card(t *testing.T, c *Catalogue, name string) Card {
	t.Helper()
	found, ok := c.card(name)
	if !ok {
		t.Fatalf("no card %s", name)
	}
	return found
}

func TestProjectCards(t *testing.T) {
	c := load(t, ".")
	names := make([]string, 0, len(c.Cards()))
	for _, card := range c.Cards() {
		names = append(names, card.Name)
		if strings.HasSuffix(card.Files[0].Name, "_68_face_landmarks.dat") {
			t.Error("the 68-landmark predictor is not for commercial use")
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("cards are not by name: %v", names)
	}
	s := set(t, c, "default")
	if len(s.Recognisers) != 5 || s.Detector.Task != Detect || s.Age.Task != Age || s.Runtime.Task != Runtime {
		t.Errorf("the default set is %+v", s)
	}
	if !s.Has("dlib_resnet") || s.Has("nothing") {
		t.Error("Has does not tell what the set uses")
	}
	if len(s.Runtime.Files) != 1 {
		t.Errorf("%d runtimes for this machine, want 1", len(s.Runtime.Files))
	}
}

func TestUnknownSet(t *testing.T) {
	_, err := load(t, ".").Set("stronger")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "default") {
		t.Errorf("got %v", err)
	}
}

// edit is a JSON object as a test takes it apart.
type edit = map[string]any

func first(e edit) edit           { return e["files"].([]any)[0].(edit) }
func part(e edit, at string) edit { return e[at].(edit) }

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name   string
		file   string // which card or set is changed
		change func(edit)
		want   string // the field that the error names
	}{
		{"unknown field", "fr_feature.json", func(e edit) { e["colour"] = "BGR" }, "colour"},
		{"unknown inner field", "fr_feature.json", func(e edit) { part(e, "input")["means"] = 1 }, "means"},
		{"wrong type", "fr_feature.json", func(e edit) { part(e, "output")["dim"] = "512" }, "output.dim"},
		{"name not the file's", "fr_feature.json", func(e edit) { e["name"] = "centerface" }, "name"},
		{"no name", "fr_feature.json", func(e edit) { delete(e, "name") }, "name"},
		{"no version", "fr_feature.json", func(e edit) { delete(e, "version") }, "version"},
		{"bad task", "fr_feature.json", func(e edit) { e["task"] = "recognize" }, "task"},
		{"no engine", "fr_feature.json", func(e edit) { delete(e, "engine") }, "engine"},
		{"engine of another task", "centerface.json", func(e edit) { e["engine"] = "dlib" }, "engine"},
		{"no licence", "fr_feature.json", func(e edit) { delete(e, "licence") }, "licence"},
		{"no files", "fr_feature.json", func(e edit) { delete(e, "files") }, "files"},
		{"no checksum", "fr_feature.json", func(e edit) { delete(first(e), "sha256") }, "files[0].sha256"},
		{"short checksum", "fr_feature.json", func(e edit) { first(e)["sha256"] = "1fbe898d" }, "files[0].sha256"},
		{"our own, with a source", "fr_feature.json", func(e edit) { first(e)["own"] = true }, "files[0].own"},
		{"our own, converted", "fr_feature_aged.json", func(e edit) { first(e)["convert"] = []any{"dynamic_batch"} }, "files[0].own"},
		{"our own, without a checksum", "fr_feature_aged.json", func(e edit) { delete(first(e), "sha256") }, "files[0].sha256"},
		{"metric outside", "default.set.json", func(e edit) { e["metric"] = "../x" }, "metric"},
		{"no source", "fr_feature.json", func(e edit) { delete(first(e), "source") }, "files[0].source.package"},
		{"no source checksum", "fr_feature.json", func(e edit) { delete(part(first(e), "source"), "sha256") }, "source.sha256"},
		{"no archive checksum", "fr_feature.json", func(e edit) { delete(part(first(e), "source"), "archive") }, "source.archive"},
		{"no version of the package", "fr_feature.json", func(e edit) { part(first(e), "source")["package"] = "npm:x" }, "source.package"},
		{"package that is an option", "fr_feature.json", func(e edit) { part(first(e), "source")["package"] = "npm:--x@1" }, "source.package"},
		{"another registry", "fr_feature.json", func(e edit) { part(first(e), "source")["package"] = "http://x@1" }, "source.package"},
		{"no size", "fr_feature.json", func(e edit) { delete(first(e), "size") }, "files[0].size"},
		{"no source size", "fr_feature.json", func(e edit) { part(first(e), "source")["size"] = -1 }, "source.size"},
		{"file outside", "fr_feature.json", func(e edit) { first(e)["name"] = "../x.onnx" }, "files[0].name"},
		{"absolute file", "fr_feature.json", func(e edit) { first(e)["name"] = "/x.onnx" }, "files[0].name"},
		{"file in a folder", "fr_feature.json", func(e edit) { first(e)["name"] = "a/x.onnx" }, "files[0].name"},
		{"hidden file", "fr_feature.json", func(e edit) { first(e)["name"] = ".x" }, "files[0].name"},
		{"backslash", "fr_feature.json", func(e edit) { first(e)["name"] = `a\x` }, "files[0].name"},
		{"path outside the package", "fr_feature.json", func(e edit) { part(first(e), "source")["path"] = "a/../../x" }, "source.path"},
		{"absolute path", "fr_feature.json", func(e edit) { part(first(e), "source")["path"] = "/etc/passwd" }, "source.path"},
		{"bad conversion", "fr_feature.json", func(e edit) { first(e)["convert"] = []any{"--help"} }, "convert"},
		{"no conversion", "fr_feature.json", func(e edit) { delete(first(e), "convert") }, "files[0].sha256"},
		{"file twice", "fr_feature.json", func(e edit) { e["files"] = append(e["files"].([]any), first(e)) }, "files[1].name"},
		{"file for no processor of ours", "fr_feature.json", func(e edit) { first(e)["arch"] = "pdp11" }, runtime.GOARCH},
		{"file another card has", "fr_feature.json", func(e edit) { first(e)["name"] = "mobilefacenet.onnx" }, "files"},
		{"no input", "fr_feature.json", func(e edit) { delete(e, "input") }, "input.name"},
		{"bad layout", "fr_feature.json", func(e edit) { part(e, "input")["layout"] = "NWHC" }, "input.layout"},
		{"layout of another shape", "fr_feature.json", func(e edit) { part(e, "input")["layout"] = "NHWC" }, "input.shape"},
		{"bad colour", "fr_feature.json", func(e edit) { part(e, "input")["colour"] = "grey" }, "input.colour"},
		{"bad chip", "fr_feature.json", func(e edit) { part(e, "input")["chip"] = "photo" }, "input.chip"},
		{"three dimensions", "fr_feature.json", func(e edit) { part(e, "input")["shape"] = []any{3, 112, 112} }, "input.shape"},
		{"dimension 0", "fr_feature.json", func(e edit) { part(e, "input")["shape"] = []any{0, 3, 112, 112} }, "input.shape"},
		{"chip of any size", "fr_feature.json", func(e edit) { part(e, "input")["shape"] = []any{-1, 3, -1, -1} }, "input.shape"},
		{"chip not square", "fr_feature.json", func(e edit) { part(e, "input")["shape"] = []any{-1, 3, 112, 96} }, "input.shape"},
		{"two means", "fr_feature.json", func(e edit) { part(e, "input")["mean"] = []any{1, 2} }, "input.mean"},
		{"no scale", "fr_feature.json", func(e edit) { delete(part(e, "input"), "scale") }, "input.scale"},
		{"padding of another chip", "fr_feature.json", func(e edit) { part(e, "input")["padding"] = 0.2 }, "input.padding"},
		{"no outputs", "fr_feature.json", func(e edit) { part(e, "output")["names"] = []any{} }, "output.names"},
		{"output twice", "fr_feature.json", func(e edit) { part(e, "output")["names"] = []any{"a", "a"} }, "output.names"},
		{"no length", "fr_feature.json", func(e edit) { delete(part(e, "output"), "dim") }, "output.dim"},
		{"ages of a recogniser", "fr_feature.json", func(e edit) { part(e, "output")["ages"] = []any{1, 2} }, "output.ages"},
		{"no ages", "dlib_age.json", func(e edit) { delete(part(e, "output"), "ages") }, "output.ages"},
		{"ages that fall", "dlib_age.json", func(e edit) { part(e, "output")["ages"] = []any{1, 0.5} }, "output.ages"},
		{"length of an age model", "dlib_age.json", func(e edit) { part(e, "output")["dim"] = 81 }, "output.dim"},
		{"input of dlib", "dlib_resnet.json", func(e edit) { e["input"] = edit{"mirror": true} }, "input"},
		{"no length of dlib", "dlib_resnet.json", func(e edit) { delete(e, "output") }, "output"},
		{"output of a library", "onnxruntime.json", func(e edit) { e["output"] = edit{"dim": 1} }, "output"},
		{"unknown field of a set", "default.set.json", func(e edit) { e["ages"] = "dlib_age" }, "ages"},
		{"set's name not the file's", "default.set.json", func(e edit) { e["name"] = "other" }, "name"},
		{"no detector", "default.set.json", func(e edit) { delete(e, "detector") }, "detector"},
		{"unknown card", "default.set.json", func(e edit) { e["age"] = "nothing" }, "age"},
		{"card of another task", "default.set.json", func(e edit) { e["runtime"] = "centerface" }, "runtime"},
		{"no recognisers", "default.set.json", func(e edit) { e["recognisers"] = []any{} }, "recognisers"},
		{"recogniser twice", "default.set.json", func(e edit) { e["recognisers"] = []any{"fr_feature", "fr_feature"} }, "recognisers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := cards(t)
			data, err := os.ReadFile(filepath.Join(dir, test.file))
			if err != nil {
				t.Fatal(err)
			}
			var e edit
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			test.change(e)
			write(t, dir, test.file, marshal(t, e))
			_, err = Load(dir)
			if err == nil {
				t.Fatal("loaded")
			}
			// Cards are read by name, so of two that clash either may be the one that is named.
			named := strings.Contains(err.Error(), test.file) || test.name == "file another card has"
			if !named || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %s and %s named", err, test.file, test.want)
			}
		})
	}
}

func TestLoadRefusesWhatIsNoCard(t *testing.T) {
	for name, data := range map[string]string{
		"empty":         "",
		"not JSON":      "name: x",
		"two objects":   "{} {}",
		"not an object": "[]",
		"null":          "null",
	} {
		t.Run(name, func(t *testing.T) {
			dir := cards(t)
			write(t, dir, "newcomer.json", data)
			if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "newcomer.json") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "HOMEWARD_MODELS") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// A recogniser is added with a card and a set: the new set has an id of its own, and the old one keeps its own.
func TestNewRecogniser(t *testing.T) {
	dir := cards(t)
	before := set(t, load(t, dir), "default")
	newcomer := card(t, load(t, dir), "fr_feature")
	newcomer.Name = "newcomer"
	newcomer.Input.Colour, newcomer.Input.Mirror = "RGB", false
	write(t, dir, "newcomer.json", marshal(t, newcomer))
	write(t, dir, "stronger.set.json", `{"name": "stronger", "detector": "centerface", "age": "dlib_age",
		"recognisers": ["newcomer", "fr_feature"], "runtime": "onnxruntime"}`)
	write(t, dir, "reversed.set.json", `{"name": "reversed", "detector": "centerface", "age": "dlib_age",
		"recognisers": ["fr_feature", "newcomer"], "runtime": "onnxruntime"}`)
	c := load(t, dir)
	if got := set(t, c, "default"); got.ID != before.ID {
		t.Errorf("the old set went from %s to %s", before.ID, got.ID)
	}
	ids := map[string]bool{}
	for _, s := range c.Sets() {
		ids[s.ID] = true
	}
	if len(ids) != len(c.Sets()) {
		t.Errorf("%d sets have the ids %v", len(c.Sets()), slices.Collect(maps.Keys(ids)))
	}
	if got := set(t, c, "stronger").Recognisers; len(got) != 2 || got[0].Name != "newcomer" || got[0].Input.Colour != "RGB" {
		t.Errorf("the new set's recognisers are %+v", got)
	}
}

func TestFingerprint(t *testing.T) {
	base := card(t, load(t, "."), "fr_feature")
	changed := func(change func(*Card)) Card {
		c := base
		c.Files = slices.Clone(c.Files)
		c.Input.Mean, c.Input.Shape = slices.Clone(c.Input.Mean), slices.Clone(c.Input.Shape)
		change(&c)
		return c
	}
	for name, c := range map[string]Card{
		"name":       changed(func(c *Card) { c.Name = "other" }),
		"version":    changed(func(c *Card) { c.Version = "9" }),
		"licence":    changed(func(c *Card) { c.Licence = "other" }),
		"notes":      changed(func(c *Card) { c.Notes = "other" }),
		"source":     changed(func(c *Card) { c.Files[0].Source = Source{} }),
		"conversion": changed(func(c *Card) { c.Files[0].Convert = nil }),
		"file name":  changed(func(c *Card) { c.Files[0].Name = "other.onnx" }),
	} {
		if c.Fingerprint() != base.Fingerprint() {
			t.Errorf("the %s changes the fingerprint, though not the numbers", name)
		}
	}
	for name, c := range map[string]Card{
		"task":    changed(func(c *Card) { c.Task = Age }),
		"engine":  changed(func(c *Card) { c.Engine = "dlib" }),
		"weights": changed(func(c *Card) { c.Files[0].SHA256 = strings.Repeat("0", 64) }),
		"colour":  changed(func(c *Card) { c.Input.Colour = "RGB" }),
		"layout":  changed(func(c *Card) { c.Input.Layout = "NHWC" }),
		"shape":   changed(func(c *Card) { c.Input.Shape[2] = 96 }),
		"chip":    changed(func(c *Card) { c.Input.Chip = "dlib" }),
		"mean":    changed(func(c *Card) { c.Input.Mean[0] = 127.5 }),
		"scale":   changed(func(c *Card) { c.Input.Scale = 127.5 }),
		"mirror":  changed(func(c *Card) { c.Input.Mirror = false }),
		"padding": changed(func(c *Card) { c.Input.Padding = 0.1 }),
		"output":  changed(func(c *Card) { c.Output.Names = []string{"other"} }),
		"dim":     changed(func(c *Card) { c.Output.Dim = 256 }),
		"ages":    changed(func(c *Card) { c.Output.Ages = []float32{1, 2} }),
	} {
		if c.Fingerprint() == base.Fingerprint() {
			t.Errorf("the %s does not change the fingerprint", name)
		}
	}
}

// A newer runtime leaves every template as it is; another detector or age model does not.
func TestSetID(t *testing.T) {
	base := set(t, load(t, "."), "default")
	other := base
	other.Runtime.Files = []File{{SHA256: strings.Repeat("0", 64)}}
	if other.id() != base.ID {
		t.Error("the runtime changes the set's id")
	}
	for name, change := range map[string]func(*Set){
		"detector": func(s *Set) { s.Detector.Input.Colour = "RGB" },
		"age":      func(s *Set) { s.Age.Input.Padding = 0.3 },
		"fewer":    func(s *Set) { s.Recognisers = s.Recognisers[:2] },
	} {
		other := base
		change(&other)
		if other.id() == base.ID {
			t.Errorf("%s: the set's id does not change", name)
		}
	}
}

// TestDefaultSetID holds the id that templates in use carry. Change it knowingly: every photo is then analysed again.
func TestDefaultSetID(t *testing.T) {
	if got, want := set(t, load(t, "."), "default").ID, "ms1-5cfd4ad6c7c487f9"; got != want {
		t.Errorf("the default set's id is %s, templates in use carry %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	for _, kept := range []string{"weights", "trained"} {
		if err := os.Mkdir(filepath.Join(dir, kept), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The real cards, except that the files are small.
	contents := map[string]string{}
	for _, c := range load(t, ".").Cards() {
		for i := range c.Files {
			f := &c.Files[i]
			contents[f.Name] = "the weights in " + f.Name
			f.Size, f.SHA256, f.Convert = int64(len(contents[f.Name])), hash(contents[f.Name]), []string{"made_small"}
			if f.Own {
				f.Convert = nil
			}
		}
		write(t, dir, c.Name+".json", marshal(t, c))
	}
	data, err := os.ReadFile("default.set.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "default.set.json", string(data))
	c := load(t, dir)
	s := set(t, c, "default")
	file := s.Recognisers[0].Files[0]
	right := contents[file.Name]
	for _, test := range []struct {
		name string
		do   func(path string) error
		want State
	}{
		{"untouched", func(string) error { return nil }, FileOK},
		{"flipped byte", func(path string) error { return os.WriteFile(path, []byte("T"+right[1:]), 0o644) }, WrongChecksum},
		{"cut", func(path string) error { return os.Truncate(path, file.Size-1) }, WrongSize},
		{"empty", func(path string) error { return os.Truncate(path, 0) }, WrongSize},
		{"longer", func(path string) error { return os.WriteFile(path, []byte(right+"\n"), 0o644) }, WrongSize},
		{"missing", os.Remove, FileMissing},
		{"a folder", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }, Unreadable},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.RemoveAll(c.Path(file)); err != nil {
				t.Fatal(err)
			}
			for name, data := range contents {
				write(t, filepath.Join(dir, "weights"), name, data)
				write(t, filepath.Join(dir, "trained"), name, data)
			}
			if err := test.do(c.Path(file)); err != nil {
				t.Fatal(err)
			}
			checks := c.Verify(t.Context())
			if len(checks) != len(contents) {
				t.Errorf("%d checks for %d files", len(checks), len(contents))
			}
			for _, check := range checks {
				want := FileOK
				if check.File == file.Name {
					want = test.want
				}
				if check.State != want || check.OK() != (want == FileOK) {
					t.Errorf("%s is %s, want %s", check.File, check.State, want)
				}
				if !check.OK() && !strings.Contains(check.Advice, "scripts/fetch-models") {
					t.Errorf("%s: the advice is %q", check.File, check.Advice)
				}
			}
			err := c.VerifySet(t.Context(), s)
			if (err == nil) != (test.want == FileOK) {
				t.Errorf("VerifySet: %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), file.Name) {
				t.Errorf("%v does not name %s", err, file.Name)
			}
		})
	}
	// A set that does not use the model does not mind.
	s.Recognisers = s.Recognisers[1:]
	if err := c.VerifySet(t.Context(), s); err != nil {
		t.Errorf("VerifySet minds a file of a model that is not in the set: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.VerifySet(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("VerifySet after its context ended: %v", err)
	}
}

func TestWeights(t *testing.T) {
	for _, check := range load(t, ".").Verify(t.Context()) {
		if !check.OK() {
			t.Errorf("%s is %s: run scripts/setup", check.File, check.State)
		}
	}
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("HOMEWARD_MODELS", "/elsewhere")
	if dir, err := DefaultDir(); err != nil || dir != "/elsewhere" {
		t.Errorf("got %q, %v", dir, err)
	}
	t.Setenv("HOMEWARD_MODELS", "")
	t.Chdir(t.TempDir())
	if dir, err := DefaultDir(); err == nil || !strings.Contains(err.Error(), "HOMEWARD_MODELS") {
		t.Errorf("found %q, %v where there is none", dir, err)
	}
	if err := os.Mkdir("models", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "models", "default.set.json", "{}")
	if dir, err := DefaultDir(); err != nil || dir != "models" {
		t.Errorf("got %q, %v", dir, err)
	}
}

// A card survives being written and read, so that tools may write cards.
func TestCardRoundTrip(t *testing.T) {
	dir := cards(t)
	for _, c := range load(t, dir).Cards() {
		write(t, dir, c.Name+".json", marshal(t, c))
		if got := card(t, load(t, dir), c.Name); !reflect.DeepEqual(got, c) {
			t.Errorf("%s comes back as %+v", c.Name, got)
		}
	}
}

func BenchmarkVerifySet(b *testing.B) {
	c, err := Load(".")
	if err != nil {
		b.Fatal(err)
	}
	s, err := c.Set("default")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := c.VerifySet(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}
