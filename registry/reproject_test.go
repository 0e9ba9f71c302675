package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// tripled is a metric: a template three times the embedding of r1, and none for one that starts below zero.
func tripled(e map[string][]float32) ([]float32, error) {
	v := e["r1"]
	if v[0] < 0 {
		return nil, nil
	}
	return []float32{3 * v[0], 3 * v[1], 1}, nil
}

// never is a metric that must not be asked.
func never(t testing.TB) func(map[string][]float32) ([]float32, error) {
	return func(map[string][]float32) ([]float32, error) {
		t.Error("a face was projected again")
		return nil, nil
	}
}

// takeOver makes a generation the active one.
func takeOver(t testing.TB, r *Registry, id string, recognisers ...string) {
	t.Helper()
	if err := r.TakeOver(t.Context(), Generation{ID: id, Name: "n", Metric: "m", Recognisers: recognisers}, crossmatch); err != nil {
		t.Fatal(err)
	}
}

var crossmatch = NewJob{Kind: JobCrossmatch, About: "galleries"}

// begin adds a generation to be built.
func begin(t testing.TB, r *Registry, id string, recognisers ...string) {
	t.Helper()
	if _, _, err := r.BeginGeneration(t.Context(), Generation{ID: id, Name: "n", Metric: "m", Recognisers: recognisers}); err != nil {
		t.Fatal(err)
	}
}

// stateUnder is what a generation has of a photo; empty where it lacks it.
func stateUnder(t testing.TB, r *Registry, set string, id PhotoID) (state string) {
	t.Helper()
	err := r.readers.QueryRow(`SELECT s.state FROM photo_sets s JOIN photos p ON p.n = s.photo JOIN generations g ON g.n = s.generation
		WHERE g.id = ? AND p.id = ?`, set, id).Scan(&state)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return state
}

// templateStart is the first number of a face's template; 0 when it has none.
func templateStart(t testing.TB, r *Registry, id FaceID, set string) float32 {
	t.Helper()
	v, _, err := r.FaceTemplate(t.Context(), id, set)
	if errors.Is(err, ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return v[0]
}

func mustReproject(t testing.TB, r *Registry, to string, project func(map[string][]float32) ([]float32, error), want int) {
	t.Helper()
	if n, err := r.Reproject(t.Context(), to, project, nil); err != nil || n != want {
		t.Fatalf("%d photos under %s, want %d: %v", n, to, want, err)
	}
}

func TestReproject(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	takeOver(t, r, "ms.old")
	begin(t, r, "ms.new")
	begin(t, r, "ms2.new") // starts with "ms" too
	c, other := newCase(t, r, Missing), newCase(t, r, Found)
	content := byte(0)
	add := func(c Case, faces ...NewFace) Photo {
		content++
		return save(t, r, mustAdd(t, r, c.ID, []byte{content}).ID, "ms.old", NewAnalysis{Faces: faces})
	}
	poor := face(0, 6)
	poor.Searchable, poor.AgeYears, poor.Quality, poor.Reasons = false, 3, 0.25, []string{"small"}
	one := add(c, face(0, 1))
	two := add(c, face(0, 2), face(500, 3)) // no subject yet
	none := add(c)
	refused := add(c, face(0, -1))
	bare := add(c, NewFace{Face: Face{W: 1, H: 1, Searchable: true}})
	weak := add(c, poor)
	there := add(other, face(0, 4))
	if err := r.SaveUnder(t.Context(), there.ID, "ms.new", NewAnalysis{Faces: []NewFace{face(0, 40)}}); err != nil {
		t.Fatal(err)
	}
	foreign := mustAdd(t, r, other.ID, []byte("foreign"))
	save(t, r, foreign.ID, "ms.old", NewAnalysis{Faces: []NewFace{face(0, 5)}})
	aside := mustAdd(t, r, other.ID, []byte("aside"))
	if err := r.FailAnalysis(t.Context(), aside.ID, "ms.old", "no photo", true); err != nil {
		t.Fatal(err)
	}
	queued := mustAdd(t, r, other.ID, []byte("queued"))
	again := add(other, face(0, 7))
	if err := r.Requeue(t.Context(), again.ID); err != nil {
		t.Fatal(err)
	}
	seq, err := r.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []int
	n, err := r.Reproject(t.Context(), "ms.new", tripled, func(done int) { told = append(told, done) })
	if err != nil || n != 8 || !slices.Equal(told, []int{8}) {
		t.Fatal(n, told, err)
	}
	for _, w := range []struct {
		name  string
		photo PhotoID
		under string
		first []float32 // of the templates under ms.new
	}{
		{"one face", one.ID, "done", []float32{3}},
		{"two faces", two.ID, "done", []float32{6, 9}},
		{"no face", none.ID, "done", nil},
		{"no template to make", refused.ID, "done", []float32{0}},
		{"no template before", bare.ID, "done", []float32{0}},
		{"a poor face", weak.ID, "done", []float32{18}},
		{"there already", there.ID, "done", []float32{40}},
		{"set aside", aside.ID, "set_aside", nil},
		{"not analysed", queued.ID, "", nil},
		{"to be analysed again", again.ID, "", []float32{0}},
	} {
		p, err := r.Photo(t.Context(), w.photo)
		if got := stateUnder(t, r, "ms.new", p.ID); err != nil || got != w.under {
			t.Errorf("%s: %q: %v", w.name, got, err)
		}
		var first []float32
		for _, f := range p.Faces {
			first = append(first, templateStart(t, r, f.ID, "ms.new"))
		}
		if !slices.Equal(first, w.first) {
			t.Errorf("%s: templates %v, want %v", w.name, first, w.first)
		}
	}
	if got := templateStart(t, r, one.Subject, "ms.old"); got != 1 {
		t.Error("the template under the old metric is", got)
	}
	if changes, err := r.Changes(t.Context(), seq, 10); err != nil || len(changes) != 0 {
		t.Error("nobody sees a difference, but", changes, err)
	}
	mustReproject(t, r, "ms.new", never(t), 0)
	mustReproject(t, r, "ms2.new", never(t), 0) // other models have to look at the photos

	// What it is switched to shows the same.
	if err := r.SaveReport(t.Context(), "ms.new", struct{}{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Switch(t.Context(), "ms.new", crossmatch); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Photo(t.Context(), weak.ID); err != nil || fmt.Sprintf("%+v", p) != fmt.Sprintf("%+v", weak) {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := r.Photo(t.Context(), aside.ID); err != nil || p.State != SetAside || p.Reason != "no photo" {
		t.Errorf("%+v %v", p, err)
	}
	if n, err := r.QueueDepth(t.Context()); err != nil || n != 2 {
		t.Error(n, err)
	}
	for _, to := range []string{"", "ms", "ms.none"} {
		if _, err := r.Reproject(t.Context(), to, tripled, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("to %q: %v", to, err)
		}
	}
	if _, err := r.Reproject(t.Context(), "ms.new", tripled, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("to the active one: %v", err)
	}
}

// TestReprojectDamage spoils one photo among three: it is left for an analysis, and the others are done.
func TestReprojectDamage(t *testing.T) {
	nan := float32(math.NaN())
	for name, spoil := range map[string]struct {
		sql      string // with the face's id
		template []float32
		err      error
	}{
		"cut embedding":     {sql: "UPDATE embeddings SET sealed = substr(sealed, 2) WHERE recogniser = 'r2' AND face_id = ?"},
		"empty embedding":   {sql: "UPDATE embeddings SET sealed = x'' WHERE face_id = ?"},
		"moved embedding":   {sql: "UPDATE embeddings SET sealed = (SELECT e.sealed FROM embeddings e WHERE e.face_id <> ?1 LIMIT 1) WHERE face_id = ?1"},
		"damaged template":  {sql: "INSERT INTO templates (face_id, model_set, sealed) VALUES (?, 'ms.new', x'00')"},
		"NaN template":      {template: []float32{1, nan}},
		"zero template":     {template: []float32{0, 0}},
		"empty template":    {template: []float32{}},
		"metric says so":    {err: fmt.Errorf("too long: %w", ErrCorrupt)},
		"metric says so, 2": {template: []float32{1}, err: ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, t.TempDir(), Options{})
			takeOver(t, r, "ms.old")
			begin(t, r, "ms.new")
			c := newCase(t, r, Missing)
			var photos []Photo
			for i := range 3 {
				photos = append(photos, save(t, r, mustAdd(t, r, c.ID, []byte{byte(i)}).ID, "ms.old", NewAnalysis{Faces: []NewFace{face(0, float32(i)+1)}}))
			}
			bad := photos[1]
			if spoil.sql != "" {
				if _, err := r.writer.Exec(spoil.sql, bad.Subject); err != nil {
					t.Fatal(err)
				}
			}
			mustReproject(t, r, "ms.new", func(e map[string][]float32) ([]float32, error) {
				if e["r1"][0] == 2 && spoil.sql == "" {
					return spoil.template, spoil.err
				}
				return tripled(e)
			}, 2)
			left, err := r.Unbuilt(t.Context(), "ms.new", 0, 10)
			if err != nil || len(left) != 1 || left[0].Photo != bad.ID {
				t.Fatal(left, err)
			}
			if err := r.SaveUnder(t.Context(), bad.ID, "ms.new", NewAnalysis{Faces: []NewFace{face(0, 2)}}); err != nil {
				t.Fatal(err)
			}
			if refs, err := r.References(t.Context(), c.ID, "ms.new"); err != nil || len(refs) != 3 || refs[1].Template == nil || refs[1].Face != bad.Subject {
				t.Error(refs, err)
			}
			if left, err := r.Unbuilt(t.Context(), "ms.new", 0, 10); err != nil || len(left) != 0 {
				t.Fatal(left, err)
			}
			begin(t, r, "ms.newer") // which finds the embeddings whole again
			mustReproject(t, r, "ms.newer", tripled, 3)
		})
	}
}

func TestReprojectStops(t *testing.T) {
	stop := errors.New("the metric is broken")
	breakAt := 0
	r := open(t, t.TempDir(), Options{step: func(step string) error {
		if step == "reproject.rows" {
			if breakAt--; breakAt == 0 {
				return stop
			}
		}
		return nil
	}})
	const all = 2*reprojectBatch + 10
	fill(t, r, all, 8)
	fillEmbeddings(t, r, "ms.old")
	begin(t, r, "ms.1")
	project := func(e map[string][]float32) ([]float32, error) { return e["c"][:8], nil }

	if n, err := r.Reproject(t.Context(), "ms.1", func(map[string][]float32) ([]float32, error) { return nil, stop }, nil); n != 0 || !errors.Is(err, stop) {
		t.Error(n, err)
	}
	breakAt = 2
	if n, err := r.Reproject(t.Context(), "ms.1", project, nil); n != reprojectBatch || !errors.Is(err, stop) {
		t.Error(n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if n, err := r.Reproject(ctx, "ms.1", project, func(int) { cancel() }); n != reprojectBatch || !errors.Is(err, context.Canceled) {
		t.Error(n, err)
	}
	mustReproject(t, r, "ms.1", project, 10)
	whole(t, r, "ms.1", all)
}

// whole fails the test unless that many photos are under the set, each with its face's template, and none is queued.
func whole(t *testing.T, r *Registry, set string, photos int) {
	t.Helper()
	refs := 0
	if _, err := r.EachReference(t.Context(), set, func(_ Case, own []Reference) error {
		for _, ref := range own {
			if ref.Template != nil {
				refs++
			}
		}
		return nil
	}); err != nil || refs != photos {
		t.Error(refs, "references,", photos, "photos", err)
	}
	var under int
	if err := r.readers.QueryRow("SELECT count(*) FROM photo_sets WHERE generation = (SELECT n FROM generations WHERE id = ?)", set).Scan(&under); err != nil || under != photos {
		t.Error(under, "of", photos, "photos are under", set, err)
	}
}

// TestReprojectMeanwhile changes photos after their faces were read and before their templates are stored.
func TestReprojectMeanwhile(t *testing.T) {
	for name, meanwhile := range map[string]struct {
		do    func(*Registry, Photo) error
		want  []float32 // templates under ms.new
		under string
		err   error
	}{
		"analysed again, other faces": {func(r *Registry, p Photo) error {
			return r.SaveAnalysis(t.Context(), p.ID, "ms.old", NewAnalysis{Faces: []NewFace{face(900, 7), face(0, 8)}})
		}, []float32{21, 24}, "done", nil},
		"analysed under the new metric": {func(r *Registry, p Photo) error {
			return r.SaveUnder(t.Context(), p.ID, "ms.new", NewAnalysis{Faces: []NewFace{face(0, 7)}})
		}, []float32{7}, "done", nil},
		"queued": {func(r *Registry, p Photo) error { return r.Requeue(t.Context(), p.ID) }, []float32{0}, "", nil},
		"date changed": {func(r *Registry, p Photo) error {
			d := date(t, "2011")
			_, err := r.UpdatePhoto(t.Context(), p.ID, PhotoChange{Taken: &d})
			return err
		}, []float32{3}, "done", nil},
		"photo deleted": {func(r *Registry, p Photo) error { return r.DeletePhoto(t.Context(), p.ID) }, nil, "", nil},
		"case deleted":  {func(r *Registry, p Photo) error { return r.DeleteCase(t.Context(), p.CaseID) }, nil, "", nil},
		"dropped":       {func(r *Registry, p Photo) error { return r.Drop(t.Context(), "ms.new") }, []float32{0}, "", ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, t.TempDir(), Options{})
			takeOver(t, r, "ms.old")
			begin(t, r, "ms.new")
			p := save(t, r, mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID, "ms.old", NewAnalysis{Faces: []NewFace{face(0, 1)}})
			beside := save(t, r, mustAdd(t, r, newCase(t, r, Missing).ID, []byte("2")).ID, "ms.old", NewAnalysis{Faces: []NewFace{face(0, 2)}})
			var once sync.Once
			_, err := r.Reproject(t.Context(), "ms.new", func(e map[string][]float32) ([]float32, error) {
				var err error
				once.Do(func() { err = meanwhile.do(r, p) })
				return append(make([]float32, 0, 3), 3*e["r1"][0], 3*e["r1"][1], 1), err
			}, nil)
			if !errors.Is(err, meanwhile.err) {
				t.Fatal(err)
			}
			if got := templateStart(t, r, beside.Subject, "ms.new"); err == nil && got != 6 {
				t.Error("the photo beside has a template that starts with", got)
			}
			now, err := r.Photo(t.Context(), p.ID)
			if errors.Is(err, ErrNotFound) != (meanwhile.want == nil) {
				t.Fatal(now, err)
			}
			if got := stateUnder(t, r, "ms.new", p.ID); got != meanwhile.under {
				t.Errorf("%+v is %q", now, got)
			}
			var got []float32
			for _, f := range now.Faces {
				got = append(got, templateStart(t, r, f.ID, "ms.new"))
			}
			if !slices.Equal(got, meanwhile.want) {
				t.Error(got, "want", meanwhile.want)
			}
		})
	}
}

// TestReprojectAtOnce lets two processes bring the same photos under one metric, and then under one each.
func TestReprojectAtOnce(t *testing.T) {
	dir := t.TempDir()
	rs := []*Registry{open(t, dir, Options{}), open(t, dir, Options{})}
	const all = 3 * reprojectBatch
	fill(t, rs[0], all, 8)
	fillEmbeddings(t, rs[0], "ms.old")
	project := func(e map[string][]float32) ([]float32, error) { return e["c"][:8], nil }
	both := func(to ...string) int {
		var done atomic.Int64
		var wg sync.WaitGroup
		for _, id := range to {
			begin(t, rs[0], id)
		}
		for i, r := range rs {
			wg.Go(func() {
				n, err := r.Reproject(t.Context(), to[i], project, nil)
				if err != nil {
					t.Error(err)
				}
				done.Add(int64(n))
			})
		}
		wg.Wait()
		return int(done.Load())
	}
	if done := both("ms.same", "ms.same"); done != all {
		t.Error(done, "photos were done of", all)
	}
	whole(t, rs[0], "ms.same", all)
	if done := both("ms.mine", "ms.yours"); done != 2*all {
		t.Error(done, "photos were done of", 2*all)
	}
	whole(t, rs[0], "ms.mine", all)
	whole(t, rs[0], "ms.yours", all)
}

// TestKillReprojectVictim is the process that is to be killed while it brings photos under another metric.
func TestKillReprojectVictim(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	r := open(t, dir, Options{step: killSelf(t)})
	_, err := r.Reproject(t.Context(), "ms.new", func(e map[string][]float32) ([]float32, error) { return e["c"][:8], nil }, func(done int) {
		fmt.Println("done", done)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKillReproject kills one process after the other at it: each goes on where the one before stopped.
func TestKillReproject(t *testing.T) {
	dir := t.TempDir()
	const all = 4*reprojectBatch + 1
	func() {
		r, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		fill(t, r, all, 8)
		fillEmbeddings(t, r, "ms.old")
		begin(t, r, "ms.new")
	}()
	left := all
	for _, k := range []struct {
		step   string
		stored int // photos that the victim brought under the metric
	}{
		{"reproject.rows 1", 0}, {"reproject.committed 1", reprojectBatch}, {"reproject.rows 2", reprojectBatch}, {"reproject.committed 2", 2 * reprojectBatch},
	} {
		runVictim(t, "TestKillReprojectVictim", dir, k.step, 0)
		left -= k.stored
		r, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if todo, err := r.Unbuilt(t.Context(), "ms.new", 0, all); err != nil || len(todo) != left {
			t.Errorf("%s: %d photos are left, want %d: %v", k.step, len(todo), left, err)
		}
		whole(t, r, "ms.new", all-left)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, dir, Options{})
	mustReproject(t, r, "ms.new", func(e map[string][]float32) ([]float32, error) { return e["c"][:8], nil }, 1)
	whole(t, r, "ms.new", all)
}
