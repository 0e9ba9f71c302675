package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"homeward/engine"
	photos "homeward/internal/testphotos"
	"homeward/models"
)

func testSet(t testing.TB) models.Set {
	t.Helper()
	cat, err := models.Load(modelsDir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := cat.Set("default")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// testFace is a face as the set's recognisers would describe one.
func testFace(set models.Set) engine.Face {
	f := engine.Face{Box: engine.Box{X: 1, Y: 2, Width: 3, Height: 4}, Quality: engine.Quality{Reasons: []engine.Reason{engine.TooSmall}}}
	for _, r := range set.Recognisers {
		f.Embeddings = append(f.Embeddings, engine.Embedding{Recogniser: r.Name, Vector: make([]float32, r.Output.Dim)})
	}
	return f
}

func frames(t testing.TB, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	for i := 0; i < len(parts); i += 2 {
		err := error(nil)
		if raw, ok := parts[i+1].(string); ok {
			err = writeFrame(&b, parts[i].(kind), []byte(raw))
		} else {
			err = writeJSON(&b, parts[i].(kind), parts[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

var (
	goodHeader   = engine.Header{Format: "jpeg", Width: 100, Height: 100, Pages: 1, Orientation: 1}
	goodAnalysis = engine.Analysis{Format: "jpeg", Width: 100, Height: 100}
)

// hostile is a pool whose process answers what it likes.
func hostile(t testing.TB, set models.Set, says []byte) (*Pool, *process) {
	t.Helper()
	p, err := Open(context.Background(), Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.set, p.o.Set = set, set.Name
	w := p.idle[0]
	w.read = bufio.NewReader(bytes.NewReader(says))
	return p, w
}

// TestNoise makes pictures of pure noise, which take as many bytes as any.
func TestNoise(t *testing.T) {
	p := openPool(t, Options{Workers: 1})
	random := rand.New(rand.NewPCG(1, 2))
	for _, side := range []int{50, 320, 1024} {
		noise := image.NewNRGBA(image.Rect(0, 0, side, side))
		for i := range noise.Pix {
			noise.Pix[i] = uint8(random.Uint32()) | uint8(i%4/3*255)
		}
		var photo bytes.Buffer
		err := png.Encode(&photo, noise)
		if err != nil {
			t.Fatal(err)
		}
		jpeg, err := p.Rendition(t.Context(), photo.Bytes(), side)
		if err != nil {
			t.Errorf("%d pixels: %v", side, err)
		}
		t.Logf("%d pixels square: %d bytes, %.2f for each", side, len(jpeg), float64(len(jpeg))/float64(side*side))
	}
}

// TestHostile answers a photo with what no worker would say.
func TestHostile(t *testing.T) {
	set := testSet(t)
	face := testFace(set)
	with := func(change func(*engine.Face)) engine.Face {
		f := testFace(set)
		change(&f)
		return f
	}
	analysis := func(change func(*engine.Analysis)) engine.Analysis {
		a := goodAnalysis
		change(&a)
		return a
	}
	many := []any{kindHeader, goodHeader}
	for range engine.MaxFaces + 1 {
		many = append(many, kindFace, face)
	}
	for name, says := range map[string][]byte{
		"unknown":          frames(t, kind('?'), ""),
		"twice":            frames(t, kindHeader, goodHeader, kindHeader, goodHeader),
		"long":             frames(t, kindHeader, strings.Repeat(" ", maxSmall+1)),
		"claims length":    {byte(kindFace), 0xff, 0xff, 0xff, 0xff},
		"no JSON":          frames(t, kindHeader, "{"),
		"no photo":         frames(t, kindHeader, engine.Header{Format: "jpeg", Width: 1 << 40, Height: 100, Pages: 1}),
		"format":           frames(t, kindHeader, engine.Header{Format: "exe", Width: 100, Height: 100, Pages: 1}),
		"faces":            frames(t, append(many, kindDone, goodAnalysis)...),
		"a face beside":    frames(t, kindDone, analysis(func(a *engine.Analysis) { a.Faces = []engine.Face{face} })),
		"timing":           frames(t, kindDone, analysis(func(a *engine.Analysis) { a.Timing.Embed = -1 })),
		"huge":             frames(t, kindDone, analysis(func(a *engine.Analysis) { a.Width = 1 << 30 })),
		"no embeddings":    frames(t, kindFace, engine.Face{}),
		"short embedding":  frames(t, kindFace, with(func(f *engine.Face) { f.Embeddings[0].Vector = []float32{1} })),
		"other recogniser": frames(t, kindFace, with(func(f *engine.Face) { f.Embeddings[0].Recogniser = "other" })),
		"chip":             frames(t, kindFace, with(func(f *engine.Face) { f.Chip = engine.NewImage(1, 1) })),
		"reason":           frames(t, kindFace, with(func(f *engine.Face) { f.Quality.Reasons[0] = "<script>" })),
		"reasons":          frames(t, kindFace, with(func(f *engine.Face) { f.Quality.Reasons = make([]engine.Reason, 1000) })),
		"not finite":       frames(t, kindFace, `{"Score": 1e99}`),
		"code":             frames(t, kindError, failure{Code: "<b>", Text: "words"}),
		"no words":         frames(t, kindError, failure{Code: "corrupt"}),
		"many words":       frames(t, kindError, failure{Code: "corrupt", Text: strings.Repeat("a", maxText+1)}),
	} {
		t.Run(name, func(t *testing.T) {
			p, w := hostile(t, set, says)
			a, err := p.Analyse(t.Context(), []byte("a photo"), nil)
			if a != nil {
				t.Errorf("%+v", a)
			}
			if crash(t, err, errNonsense.Error()); outside(err) {
				t.Error("nonsense is nobody's fault")
			}
			if w.alive() {
				t.Error("the process goes on")
			}
		})
	}
	for name, says := range map[string]string{
		"no JPEG":    "GIF89a",
		"huge JPEG":  "\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9",
		"many bytes": string(photos.NoFace(t)) + strings.Repeat(" ", 3*100*100+64<<10) + "\xff\xd9",
		"empty":      "",
		"cut header": "\xff\xd8\xff\xd9",
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := hostile(t, set, frames(t, kindDone, says))
			_, err := p.Rendition(t.Context(), []byte("a photo"), 100)
			crash(t, err, errNonsense.Error())
		})
	}
	p, _ := hostile(t, set, frames(t, kindHeader, goodHeader, kindFace, face, kindDone, goodAnalysis))
	if a, err := p.Analyse(t.Context(), []byte("a photo"), nil); err != nil || !reflect.DeepEqual(a.Faces, []engine.Face{face}) {
		t.Errorf("a good answer: %+v, %v", a, err)
	}
}

// FuzzAnswer reads any bytes as an answer: it must end, in bounds, and give only what fits the set.
func FuzzAnswer(f *testing.F) {
	set := testSet(f)
	f.Add(frames(f, kindHeader, goodHeader, kindFace, testFace(set), kindDone, goodAnalysis))
	f.Add(frames(f, kindError, failure{Code: "corrupt", Text: "words"}))
	f.Add(frames(f, kindDone, "\xff\xd8\xff\xd9"))
	f.Add([]byte{byte(kindFace), 0, 0, 4, 0})
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	f.Fuzz(func(t *testing.T, says []byte) {
		w := &process{pool: &Pool{}, cmd: &exec.Cmd{}, in: null, read: bufio.NewReader(bytes.NewReader(says))}
		var faces []engine.Face
		answered, err := w.answer(answers{
			header: func(b []byte) error { _, err := readHeader(b); return err },
			face: func(b []byte) error {
				f, err := readFace(b, set)
				faces = append(faces, f)
				return err
			},
			done: func(b []byte) error { _, err := readAnalysis(b); return err },
		})
		if err != nil || answered != nil {
			return
		}
		for _, f := range faces {
			if len(f.Embeddings) != len(set.Recognisers) {
				t.Fatalf("%d embeddings", len(f.Embeddings))
			}
		}
	})
}

// TestFailure has errors travel.
func TestFailure(t *testing.T) {
	for _, err := range []error{
		&engine.PhotoError{Code: engine.CodeTruncated, Text: "The photo ends."},
		errors.New("running model x: \xff" + strings.Repeat("é", 5000)),
	} {
		raw, jerr := json.Marshal(failed(err))
		if jerr != nil {
			t.Fatal(jerr)
		}
		var f failure
		if err := readJSON(raw, &f); err != nil {
			t.Fatal(err)
		}
		got := f.error()
		var photo *engine.PhotoError
		if errors.As(err, &photo) != errors.As(got, &photo) || errors.Is(got, errNonsense) {
			t.Errorf("%v came as %v", err, got)
		}
	}
}
