package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// face is a searchable face at x with a template that starts with first.
func face(x, first float32) NewFace {
	return NewFace{
		Face:       Face{X: x, Y: 10, W: 100, H: 100, Score: 0.9, Searchable: true},
		Embeddings: map[string][]float32{"r1": {first, 2}, "r2": {3, first}},
		Template:   []float32{first, 0.5},
	}
}

func save(t testing.TB, r *Registry, id PhotoID, set string, a NewAnalysis) Photo {
	t.Helper()
	if err := r.SaveAnalysis(t.Context(), id, set, a); err != nil {
		t.Fatal(err)
	}
	p, err := r.Photo(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSaveAnalysis(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	id := mustAdd(t, r, c.ID, []byte("1")).ID
	f := face(5, 1)
	f.Face = Face{
		X: -1.5, Y: 2.25, W: 100.125, H: 99, Landmarks: [5][2]float32{{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 0.1}}, Score: 0.9,
		AgeYears: 7.5, AgeSD: 2, Quality: 0.5, EyeDist: 40, Sharpness: 123, Yaw: -3, Pitch: 4, Roll: 5, Searchable: true,
		Reasons: []string{"too_small"},
	}
	p := save(t, r, id, "set", NewAnalysis{Width: 640, Height: 480, TakenEXIF: date(t, "2010-01-02"), Faces: []NewFace{f}})
	if p.State != Analysed || p.Width != 640 || p.Height != 480 || p.Taken.String() != "2010-01-02" || p.TakenBy != TakenEXIF || len(p.Faces) != 1 || p.Subject != p.Faces[0].ID {
		t.Fatalf("%+v", p)
	}
	want := f.Face
	want.ID, want.PhotoID = p.Faces[0].ID, id
	if fmt.Sprintf("%+v", p.Faces[0]) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v\n%+v", p.Faces[0], want)
	}
	if of, err := r.PhotoOf(t.Context(), want.ID); err != nil || of.ID != id || len(of.Faces) != 1 {
		t.Error(of, err)
	}
	template, caseID, err := r.FaceTemplate(t.Context(), want.ID, "set")
	if err != nil || caseID != c.ID || !slices.Equal(template, f.Template) {
		t.Error(template, caseID, err)
	}
	if _, _, err := r.FaceTemplate(t.Context(), want.ID, "other"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	e, err := r.Embeddings(t.Context(), want.ID)
	if err != nil || !maps.EqualFunc(e, f.Embeddings, slices.Equal[[]float32]) {
		t.Error(e, err)
	}

	// No face, and a face that no recogniser could work on.
	none := save(t, r, mustAdd(t, r, c.ID, []byte("2")).ID, "set", NewAnalysis{})
	if none.State != Analysed || none.Subject != "" || len(none.Faces) != 0 {
		t.Errorf("%+v", none)
	}
	bare := save(t, r, mustAdd(t, r, c.ID, []byte("3")).ID, "set", NewAnalysis{Faces: []NewFace{{Face: Face{W: 1, H: 1, Searchable: true}}}})
	if bare.Subject == "" {
		t.Errorf("%+v", bare)
	}
	poor := face(0, 3)
	poor.Searchable = false
	save(t, r, mustAdd(t, r, c.ID, []byte("4")).ID, "set", NewAnalysis{Faces: []NewFace{poor}})
	refs, err := r.References(t.Context(), c.ID, "set")
	if err != nil || len(refs) != 1 {
		t.Fatal(refs, err)
	}
	// What goes with a template is the photo's and the face's own, from both ways to read it.
	wanted := Reference{
		Face: want.ID, Photo: id, Template: f.Template, Taken: date(t, "2010-01-02"), TakenBy: TakenEXIF,
		AgeYears: 7.5, AgeSD: 2, Quality: 0.5,
	}
	if !reflect.DeepEqual(refs[0], wanted) {
		t.Errorf("%+v\n%+v", refs[0], wanted)
	}
	if _, err := r.EachReference(t.Context(), "set", func(_ Case, each []Reference) error {
		if !reflect.DeepEqual(each, refs) {
			t.Errorf("%+v\n%+v", each, refs)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestSaveAnalysisRefusesBadNumbers(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	id := mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, spoil := range map[string]func(*NewFace){
		"NaN template":   func(f *NewFace) { f.Template[0] = nan },
		"inf template":   func(f *NewFace) { f.Template[1] = -inf },
		"zero template":  func(f *NewFace) { f.Template = []float32{0, 0} },
		"empty template": func(f *NewFace) { f.Template = []float32{} },
		"NaN embedding":  func(f *NewFace) { f.Embeddings["r1"][0] = nan },
		"zero embedding": func(f *NewFace) { f.Embeddings["r1"] = []float32{0} },
		"NaN box":        func(f *NewFace) { f.X = nan },
		"inf landmark":   func(f *NewFace) { f.Landmarks[4][1] = inf },
		"NaN age":        func(f *NewFace) { f.AgeYears = nan },
	} {
		good, bad := face(0, 1), face(500, 1)
		spoil(&bad)
		if err := r.SaveAnalysis(t.Context(), id, "set", NewAnalysis{Faces: []NewFace{good, bad}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.SaveAnalysis(t.Context(), id, "", NewAnalysis{}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err := r.SaveAnalysis(t.Context(), "p_none", "set", NewAnalysis{}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if p, err := r.Photo(t.Context(), id); err != nil || p.State != Queued || len(p.Faces) != 0 {
		t.Error("something was saved", p, err)
	}
}

func TestSubject(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	id := mustAdd(t, r, c.ID, []byte("1")).ID
	two := NewAnalysis{Faces: []NewFace{face(0, 1), face(500, 2)}}
	p := save(t, r, id, "set", two)
	if p.Subject != "" {
		t.Error("a subject was chosen among two")
	}
	child := p.Faces[1].ID
	p, err := r.UpdatePhoto(t.Context(), id, PhotoChange{Subject: &child})
	if err != nil || p.Subject != child {
		t.Fatal(p, err)
	}
	refs, err := r.References(t.Context(), c.ID, "set")
	if err != nil || len(refs) != 1 || refs[0].Face != child || refs[0].Template[0] != 2 {
		t.Fatal(refs, err)
	}

	// A new analysis under another set finds the same faces a little elsewhere and in another order: ids and the choice stay.
	again := save(t, r, id, "set2", NewAnalysis{Faces: []NewFace{face(505, 20), face(3, 10)}})
	if again.Subject != child || again.Faces[0].ID != child || again.Faces[1].ID != p.Faces[0].ID {
		t.Errorf("%+v", again)
	}
	for set, first := range map[string]float32{"set": 2, "set2": 20} {
		refs, err := r.References(t.Context(), c.ID, set)
		if err != nil || len(refs) != 1 || refs[0].Template[0] != first {
			t.Error(set, refs, err)
		}
	}

	// "None of them" outlives an analysis that finds one face; a face that a person chose outlives one that does not find it.
	nobody := FaceID("")
	if _, err := r.UpdatePhoto(t.Context(), id, PhotoChange{Subject: &nobody}); err != nil {
		t.Fatal(err)
	}
	if p := save(t, r, id, "set2", NewAnalysis{Faces: []NewFace{face(505, 20)}}); p.Subject != "" {
		t.Error("a person's no was overruled")
	}
	if _, err := r.UpdatePhoto(t.Context(), id, PhotoChange{Subject: &child}); err != nil {
		t.Fatal(err)
	}
	if p := save(t, r, id, "set2", NewAnalysis{Faces: []NewFace{face(0, 1), face(1500, 1)}}); p.Subject != child || len(p.Faces) != 3 {
		t.Errorf("%+v", p)
	}
	if refs, err := r.References(t.Context(), c.ID, "set2"); err != nil || len(refs) != 0 {
		t.Error("a template of a face that is found no more:", refs, err)
	}
	if p := save(t, r, id, "set2", NewAnalysis{Faces: []NewFace{face(505, 20), face(0, 1)}}); p.Subject != child || len(p.Faces) != 2 || p.Faces[0].ID != child {
		t.Errorf("it is not known again: %+v", p)
	}
	if refs, err := r.References(t.Context(), c.ID, "set2"); err != nil || len(refs) != 1 || refs[0].Face != child {
		t.Error(refs, err)
	}
	// Nobody's choice goes with its face.
	if _, err := r.UpdatePhoto(t.Context(), id, PhotoChange{Subject: &nobody}); err != nil {
		t.Fatal(err)
	}
	if p := save(t, r, id, "set2", NewAnalysis{Faces: []NewFace{face(0, 1)}}); len(p.Faces) != 1 {
		t.Errorf("%+v", p)
	}
	if refs, err := r.References(t.Context(), c.ID, "set"); err != nil || len(refs) != 0 {
		t.Error("templates of faces that are gone:", refs, err)
	}
	one := save(t, r, mustAdd(t, r, c.ID, []byte("2")).ID, "set", NewAnalysis{Faces: []NewFace{face(0, 3)}})
	if p := save(t, r, one.ID, "set", NewAnalysis{Faces: []NewFace{face(900, 4)}}); len(p.Faces) != 1 || p.Subject != p.Faces[0].ID || p.Subject == one.Subject {
		t.Errorf("the only face is not the subject: %+v", p)
	}
}

func TestQueue(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	if _, ok, err := r.ClaimPhoto(t.Context()); ok || err != nil {
		t.Fatal(ok, err)
	}
	takeOver(t, r, "ms.set")
	var ids []PhotoID
	for i := range 3 {
		ids = append(ids, mustAdd(t, r, c.ID, []byte{byte(i)}).ID)
	}
	claim := func(want PhotoID, tries int) {
		t.Helper()
		p, ok, err := r.ClaimPhoto(t.Context())
		if err != nil || ok != (want != "") || p.ID != want || p.Tries != tries {
			t.Fatalf("%+v %v %v", p, ok, err)
		}
	}
	state := func(id PhotoID, want PhotoState, reason string) {
		t.Helper()
		if p, err := r.Photo(t.Context(), id); err != nil || p.State != want || p.Reason != reason {
			t.Fatalf("%+v %v", p, err)
		}
	}
	claim(ids[0], 1)
	claim(ids[1], 1)
	if n, err := r.QueueDepth(t.Context()); err != nil || n != 3 {
		t.Error(n, err)
	}
	if err := r.Release(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	claim(ids[0], 1) // the try was given back
	if err := r.FailAnalysis(t.Context(), ids[0], "ms.set", "out of memory", false); err != nil {
		t.Fatal(err)
	}
	state(ids[0], Queued, "")
	claim(ids[0], 2)
	save(t, r, ids[1], "ms.set", NewAnalysis{})
	if err := r.FailAnalysis(t.Context(), ids[0], "ms.set", "out of memory", false); err != nil {
		t.Fatal(err)
	}
	state(ids[0], SetAside, "out of memory")
	claim(ids[2], 1)
	if err := r.FailAnalysis(t.Context(), ids[2], "ms.set", "not a photo", true); err != nil {
		t.Fatal(err)
	}
	state(ids[2], SetAside, "not a photo")
	claim("", 0)
	if err := r.Requeue(t.Context(), ids[2]); err != nil {
		t.Fatal(err)
	}
	state(ids[2], Queued, "")
	claim(ids[2], 1)
	if err := r.Requeue(t.Context(), ids[2]); err != nil { // under way already
		t.Fatal(err)
	}
	claim("", 0)
	save(t, r, ids[2], "ms.set", NewAnalysis{Faces: []NewFace{face(0, 1)}})

	if n, err := r.QueueMissing(t.Context()); err != nil || n != 0 {
		t.Error(n, err)
	}
	if refs, err := r.References(t.Context(), c.ID, "ms.set"); err != nil || len(refs) != 1 {
		t.Error("a queued photo lost its references", refs, err)
	}
	for _, err := range []error{
		r.Requeue(t.Context(), "p_none"), r.Release(t.Context(), "p_none"), r.FailAnalysis(t.Context(), "p_none", "ms.set", "", true),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}

// TestCloseHandsBack closes a registry in the middle of an analysis: that is no failure of the photo.
// TestAnotherTryBeside: what a generation that is not active could not look at is looked at again under it when there is reason to.
func TestAnotherTryBeside(t *testing.T) {
	for name, again := range map[string]func(*Registry, PhotoID) error{
		"requeued": func(r *Registry, id PhotoID) error { return r.Requeue(t.Context(), id) },
		"analysed": func(r *Registry, id PhotoID) error { return r.SaveAnalysis(t.Context(), id, "a.1", NewAnalysis{}) },
		"its file is put back": func(r *Registry, id PhotoID) error {
			for _, f := range files(t, r.photos()) {
				if _, err := r.moveToLost(f); err != nil {
					return err
				}
			}
			_, err := r.Repair(t.Context(), RepairOptions{}, func(Mended) {})
			return err
		},
	} {
		r := open(t, t.TempDir(), Options{})
		takeOver(t, r, "a.1")
		begin(t, r, "b.1")
		p := save(t, r, mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID, "a.1", NewAnalysis{})
		if err := r.SetAsideUnder(t.Context(), p.ID, "b.1", "its file was gone"); err != nil {
			t.Fatal(err)
		}
		if err := again(r, p.ID); err != nil {
			t.Fatal(name, err)
		}
		if got := stateUnder(t, r, "b.1", p.ID) + " " + stateUnder(t, r, "a.1", p.ID); got != " done" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestFailedMeanwhile: a failure under a set that answers no more says nothing about the one that does.
func TestFailedMeanwhile(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	takeOver(t, r, "a.1")
	begin(t, r, "b.1")
	ready(t, r, "b.1")
	p, _, err := addPhoto(t.Context(), r, newCase(t, r, Missing).ID, []byte("1"), NewPhoto{Claim: true})
	if err != nil {
		t.Fatal(err)
	}
	switchTo(t, r, "b.1")
	if err := r.FailAnalysis(t.Context(), p.ID, "a.1", "no", true); !errors.Is(err, ErrSwitched) {
		t.Error(err)
	}
	if now := mustPhoto(t, r, p.ID); now.State != Queued || now.Tries != 0 || now.Reason != "" || stateUnder(t, r, "b.1", p.ID) != "" {
		t.Errorf("%+v", now)
	}
	if now, ok, err := r.ClaimPhoto(t.Context()); err != nil || !ok || now.ID != p.ID {
		t.Error(now, ok, err)
	}
}

// TestChoiceHolds: a face that a person chose stays, whichever set finds it and whichever is dropped.
func TestChoiceHolds(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	takeOver(t, r, "a.1")
	begin(t, r, "b.1")
	c := newCase(t, r, Missing)
	choose := func(p Photo, id FaceID) {
		t.Helper()
		if _, err := r.UpdatePhoto(t.Context(), p.ID, PhotoChange{Subject: &id}); err != nil {
			t.Fatal(err)
		}
	}
	left := save(t, r, mustAdd(t, r, c.ID, []byte("1")).ID, "a.1", NewAnalysis{Faces: []NewFace{face(0, 1), face(700, 2)}})
	choose(left, left.Faces[1].ID) // which only a finds
	saveUnder(t, r, left.ID, "b.1", face(0, 3))
	right := save(t, r, mustAdd(t, r, c.ID, []byte("2")).ID, "a.1", NewAnalysis{Faces: []NewFace{face(0, 4)}})
	saveUnder(t, r, right.ID, "b.1", face(0, 5), face(700, 6))
	ready(t, r, "b.1")
	switchTo(t, r, "b.1")
	right = mustPhoto(t, r, right.ID)
	choose(right, right.Faces[1].ID) // which only b finds
	// Each is looked at again by the set that does not find it, when the other is gone or not active.
	hold := func(when string) {
		t.Helper()
		for _, p := range []Photo{left, right} {
			var there bool
			if err := r.readers.QueryRow("SELECT EXISTS (SELECT 1 FROM faces f JOIN photos p ON p.subject = f.id WHERE p.id = ?1 AND p.subject = ?2 AND subject_by = 'person')",
				p.ID, p.Faces[1].ID).Scan(&there); err != nil || !there {
				t.Error(when, p.ID, err)
			}
		}
	}
	switchTo(t, r, "a.1")
	saveUnder(t, r, right.ID, "b.1", face(0, 5))
	hold("b finds its own no more")
	if err := r.Drop(t.Context(), "b.1"); err != nil {
		t.Fatal(err)
	}
	hold("b is dropped")
	begin(t, r, "c.1")
	saveUnder(t, r, left.ID, "c.1", face(0, 7))
	saveUnder(t, r, right.ID, "c.1", face(0, 8))
	ready(t, r, "c.1")
	switchTo(t, r, "c.1")
	if err := r.Drop(t.Context(), "a.1"); err != nil {
		t.Fatal(err)
	}
	if p := save(t, r, left.ID, "c.1", NewAnalysis{Faces: []NewFace{face(0, 7)}}); len(p.Faces) != 2 || p.Subject != left.Faces[1].ID {
		t.Errorf("%+v", p)
	}
	hold("a is dropped")
}

func TestCloseHandsBack(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	id := mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID
	if _, ok, err := r.ClaimPhoto(t.Context()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left := files(t, filepath.Join(dir, "tmp")); len(left) != 0 {
		t.Error(left)
	}
	r = open(t, dir, Options{})
	if p, ok, err := r.ClaimPhoto(t.Context()); !ok || err != nil || p.ID != id || p.Tries != 1 {
		t.Error(p, ok, err)
	}
}

// die ends a registry as a killed process would: the kernel drops its lock, nothing else happens.
func die(t testing.TB, r *Registry) {
	t.Helper()
	if err := errors.Join(r.lock.Close(), r.readers.Close(), r.writer.Close()); err != nil {
		t.Fatal(err)
	}
	r.lock = nil
}

// TestClaimedAtTheEnd lets process after process end while it holds a photo: the photo waits for the next, with all its tries.
func TestClaimedAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	keep := open(t, dir, Options{}) // another process, which lives on
	id := mustAdd(t, keep, newCase(t, keep, Missing).ID, []byte{1}).ID
	for range 2 * MaxTries {
		r, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p, ok, err := r.ClaimPhoto(t.Context()); err != nil || !ok || p.Tries != 1 {
			t.Fatalf("%+v %v %v", p, ok, err)
		}
		die(t, r)
	}
	for n := range MaxTries {
		p, ok, err := keep.ClaimPhoto(t.Context())
		if err != nil || !ok || p.Tries != n+1 {
			t.Fatalf("%+v %v %v", p, ok, err)
		}
		if err := keep.FailAnalysis(t.Context(), id, "set", "it would not", false); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := keep.Photo(t.Context(), id); err != nil || p.State != SetAside || p.Reason != "it would not" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestClaimFromDeadProcess takes a photo over from a process that ended while this one was running.
func TestClaimFromDeadProcess(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	other, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	id := mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID
	if _, ok, err := other.ClaimPhoto(t.Context()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := r.ClaimPhoto(t.Context()); ok || err != nil {
		t.Fatal("a live process was robbed", err)
	}
	die(t, other)
	if p, ok, err := r.ClaimPhoto(t.Context()); !ok || err != nil || p.ID != id || p.Tries != 1 {
		t.Fatal(p, ok, err)
	}
	// Its folder stays until a process is alone, and then goes.
	if folders, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(folders) != 2 {
		t.Error(folders, err)
	}
}

// TestClaimsDoNotOverlap lets workers of two registries empty one queue.
func TestClaimsDoNotOverlap(t *testing.T) {
	dir := t.TempDir()
	rs := []*Registry{open(t, dir, Options{}), open(t, dir, Options{})}
	c := newCase(t, rs[0], Missing)
	const n = 20
	for i := range n {
		mustAdd(t, rs[0], c.ID, []byte{byte(i)})
	}
	var mu sync.Mutex
	seen := make(map[PhotoID]int)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			ctx := context.Background()
			for {
				p, ok, err := rs[i%2].ClaimPhoto(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					return
				}
				mu.Lock()
				seen[p.ID]++
				mu.Unlock()
				if err := rs[i%2].SaveAnalysis(ctx, p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != n {
		t.Error(len(seen), "photos were analysed")
	}
	for id, k := range seen {
		if k != 1 {
			t.Error(id, "was handed out", k, "times")
		}
	}
}
