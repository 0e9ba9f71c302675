package registry

import (
	"context"
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

// setOf is what a photo is marked with.
func setOf(t testing.TB, r *Registry, id PhotoID) (set string) {
	t.Helper()
	if err := r.readers.QueryRow("SELECT model_set FROM photos WHERE id = ?", id).Scan(&set); err != nil {
		t.Fatal(err)
	}
	return set
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
	if n, err := r.Reproject(t.Context(), "ms", to, project, nil); err != nil || n != want {
		t.Fatalf("%d photos under %s, want %d: %v", n, to, want, err)
	}
}

func TestReproject(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c, other := newCase(t, r, Missing), newCase(t, r, Found)
	content := byte(0)
	add := func(c Case, set string, faces ...NewFace) Photo {
		content++
		p := mustAdd(t, r, c.ID, []byte{content})
		if set == "" {
			return p
		}
		return save(t, r, p.ID, set, NewAnalysis{Faces: faces})
	}
	one := add(c, "ms.old", face(0, 1))
	two := add(c, "ms.older", face(0, 2), face(500, 3)) // no subject yet
	none := add(c, "ms.old")
	refused := add(c, "ms.old", face(0, -1))
	bare := add(c, "ms.old", NewFace{Face: Face{W: 1, H: 1, Searchable: true}})
	there := add(other, "ms.new", face(0, 4))
	foreign := add(other, "ms2.new", face(0, 5)) // starts with "ms" too
	queued := add(other, "")
	seq, err := r.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []int
	n, err := r.Reproject(t.Context(), "ms", "ms.new", tripled, func(done int) { told = append(told, done) })
	if err != nil || n != 5 || !slices.Equal(told, []int{5}) {
		t.Fatal(n, told, err)
	}
	for _, w := range []struct {
		name  string
		photo Photo
		state PhotoState
		set   string
		first []float32 // of the templates under ms.new
	}{
		{"one face", one, Analysed, "ms.new", []float32{3}},
		{"two faces", two, Analysed, "ms.new", []float32{6, 9}},
		{"no face", none, Analysed, "ms.new", nil},
		{"no template to make", refused, Analysed, "ms.new", []float32{0}},
		{"no embedding", bare, Analysed, "ms.new", []float32{0}},
		{"there already", there, Analysed, "ms.new", []float32{4}},
		{"another model set", foreign, Analysed, "ms2.new", []float32{0}},
		{"not analysed", queued, Queued, "", nil},
	} {
		p, err := r.Photo(t.Context(), w.photo.ID)
		if err != nil || p.State != w.state || setOf(t, r, p.ID) != w.set || p.Subject != w.photo.Subject {
			t.Errorf("%s: %+v under %s: %v", w.name, p, setOf(t, r, p.ID), err)
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
	if changes, err := r.Changes(t.Context(), seq, 10); err != nil || len(changes) != 1 || changes[0].Case != c.ID || changes[0].Deleted {
		t.Error(changes, err)
	}
	mustReproject(t, r, "ms.new", never(t), 0)

	// The photos of other model sets are left for a new analysis, and they only.
	if n, err := r.RequeueOther(t.Context(), "ms.new"); err != nil || n != 1 {
		t.Error(n, err)
	}

	// The way back needs no projecting but of the faces that have no template.
	mustReproject(t, r, "ms.old", func(e map[string][]float32) ([]float32, error) {
		if v := e["r1"][0]; v == 1 {
			t.Error("a face was projected again")
		}
		return tripled(e)
	}, 6)
	for id, want := range map[FaceID]float32{one.Subject: 1, two.Faces[0].ID: 6, refused.Subject: -1, there.Subject: 12} {
		if got := templateStart(t, r, id, "ms.old"); got != want {
			t.Errorf("back under the old metric: %v, want %v", got, want)
		}
	}

	for set, to := range map[string]string{"": "ms.new", "ms": "ms", "ms2": "ms.new", "m": "ms.new"} {
		if _, err := r.Reproject(t.Context(), set, to, tripled, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q to %q: %v", set, to, err)
		}
	}
}

// TestReprojectDamage spoils one photo among three: it is queued for a new analysis, and the others are done.
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
			for i, p := range photos {
				now, err := r.Photo(t.Context(), p.ID)
				if err != nil || (now.State == Queued) != (p.ID == bad.ID) || now.Tries != 0 || now.Subject != p.Subject {
					t.Errorf("photo %d: %+v %v", i, now, err)
				}
			}
			if p, ok, err := r.ClaimPhoto(t.Context()); err != nil || !ok || p.ID != bad.ID {
				t.Fatal(p, ok, err)
			}
			save(t, r, bad.ID, "ms.new", NewAnalysis{Faces: []NewFace{face(0, 2)}})
			if refs, err := r.References(t.Context(), c.ID, "ms.new"); err != nil || len(refs) != 3 || refs[1].Template == nil {
				t.Error(refs, err)
			}
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
	project := func(e map[string][]float32) ([]float32, error) { return e["c"][:8], nil }

	if n, err := r.Reproject(t.Context(), "ms", "ms.1", func(map[string][]float32) ([]float32, error) { return nil, stop }, nil); n != 0 || !errors.Is(err, stop) {
		t.Error(n, err)
	}
	breakAt = 2
	if n, err := r.Reproject(t.Context(), "ms", "ms.1", project, nil); n != reprojectBatch || !errors.Is(err, stop) {
		t.Error(n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if n, err := r.Reproject(ctx, "ms", "ms.1", project, func(int) { cancel() }); n != reprojectBatch || !errors.Is(err, context.Canceled) {
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
	if err := r.readers.QueryRow("SELECT count(*) FROM photos WHERE state = 'analysed' AND model_set = ?", set).Scan(&under); err != nil || under != photos {
		t.Error(under, "of", photos, "photos are under", set, err)
	}
}

// TestReprojectMeanwhile changes photos after their faces were read and before their templates are stored.
func TestReprojectMeanwhile(t *testing.T) {
	for name, meanwhile := range map[string]struct {
		do   func(*Registry, Photo) error
		want []float32 // templates under ms.new
		set  string
	}{
		"analysed again, other faces": {func(r *Registry, p Photo) error {
			return r.SaveAnalysis(t.Context(), p.ID, "ms.old", NewAnalysis{Faces: []NewFace{face(900, 7), face(0, 8)}})
		}, []float32{21, 24}, "ms.new"},
		"analysed again, under the new metric": {func(r *Registry, p Photo) error {
			return r.SaveAnalysis(t.Context(), p.ID, "ms.new", NewAnalysis{Faces: []NewFace{face(0, 7)}})
		}, []float32{7}, "ms.new"},
		"analysed again, under other models": {func(r *Registry, p Photo) error {
			return r.SaveAnalysis(t.Context(), p.ID, "ms2.new", NewAnalysis{Faces: []NewFace{face(0, 7)}})
		}, []float32{0}, "ms2.new"},
		"queued": {func(r *Registry, p Photo) error { return r.Requeue(t.Context(), p.ID) }, []float32{0}, "ms.old"},
		"date changed": {func(r *Registry, p Photo) error {
			d := date(t, "2011")
			_, err := r.UpdatePhoto(t.Context(), p.ID, PhotoChange{Taken: &d})
			return err
		}, []float32{3}, "ms.new"},
		"photo deleted": {func(r *Registry, p Photo) error { return r.DeletePhoto(t.Context(), p.ID) }, nil, ""},
		"case deleted":  {func(r *Registry, p Photo) error { return r.DeleteCase(t.Context(), p.CaseID) }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, t.TempDir(), Options{})
			p := save(t, r, mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID, "ms.old", NewAnalysis{Faces: []NewFace{face(0, 1)}})
			beside := save(t, r, mustAdd(t, r, newCase(t, r, Missing).ID, []byte("2")).ID, "ms.old", NewAnalysis{Faces: []NewFace{face(0, 2)}})
			var once sync.Once
			_, err := r.Reproject(t.Context(), "ms", "ms.new", func(e map[string][]float32) ([]float32, error) {
				var err error
				once.Do(func() { err = meanwhile.do(r, p) })
				return append(make([]float32, 0, 3), 3*e["r1"][0], 3*e["r1"][1], 1), err
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := templateStart(t, r, beside.Subject, "ms.new"); got != 6 {
				t.Error("the photo beside has a template that starts with", got)
			}
			now, err := r.Photo(t.Context(), p.ID)
			if meanwhile.set == "" {
				if !errors.Is(err, ErrNotFound) {
					t.Error(now, err)
				}
				return
			}
			if err != nil || setOf(t, r, p.ID) != meanwhile.set {
				t.Fatalf("%+v under %s: %v", now, setOf(t, r, p.ID), err)
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
		for i, r := range rs {
			wg.Go(func() {
				n, err := r.Reproject(t.Context(), "ms", to[i], project, nil)
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
	if done := both("ms.mine", "ms.yours"); done < all {
		t.Error(done, "photos were done of", all)
	}
	var lacking int
	if err := rs[0].readers.QueryRow(`SELECT count(*) FROM photos p WHERE p.model_set NOT IN ('ms.mine', 'ms.yours')
		OR NOT EXISTS (SELECT 1 FROM templates t WHERE t.face_id = p.subject AND t.model_set = p.model_set)`).Scan(&lacking); err != nil || lacking != 0 {
		t.Error(lacking, "photos lack the template of their set", err)
	}
	if _, err := rs[1].Reproject(t.Context(), "ms", "ms.mine", project, nil); err != nil {
		t.Error(err)
	}
	whole(t, rs[0], "ms.mine", all)
}

// TestKillReprojectVictim is the process that is to be killed while it brings photos under another metric.
func TestKillReprojectVictim(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	r := open(t, dir, Options{step: killSelf(t)})
	_, err := r.Reproject(t.Context(), "ms", "ms.new", func(e map[string][]float32) ([]float32, error) { return e["c"][:8], nil }, func(done int) {
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
		var n int
		if err := r.readers.QueryRow("SELECT count(*) FROM photos WHERE model_set = 'ms.old'").Scan(&n); err != nil || n != left {
			t.Errorf("%s: %d photos are left, want %d: %v", k.step, n, left, err)
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
