package registry

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

// ready makes a generation that was begun ready.
func ready(t testing.TB, r *Registry, id string) {
	t.Helper()
	if err := r.SaveReport(t.Context(), id, map[string]int{}); err != nil {
		t.Fatal(err)
	}
}

func switchTo(t testing.TB, r *Registry, id string) {
	t.Helper()
	if err := r.Switch(t.Context(), id, crossmatch); err != nil {
		t.Fatal(err)
	}
}

func saveUnder(t testing.TB, r *Registry, id PhotoID, set string, faces ...NewFace) {
	t.Helper()
	if err := r.SaveUnder(t.Context(), id, set, NewAnalysis{Width: 9, Height: 9, TakenEXIF: date(t, "1999"), Faces: faces}); err != nil {
		t.Fatal(err)
	}
}

// shown is all that people and the index see of a registry's photos and cases under what is active.
func shown(t testing.TB, r *Registry) string {
	t.Helper()
	active, err := r.ActiveGeneration(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := r.EachReference(t.Context(), active.ID, func(c Case, refs []Reference) error {
		one, err := r.References(t.Context(), c.ID, active.ID)
		if err != nil || !reflect.DeepEqual(one, refs) {
			t.Errorf("%+v %+v %v", one, refs, err)
		}
		ps, err := r.PhotosOf(t.Context(), c.ID)
		fmt.Fprintf(&b, "%s %+v\n%+v\n", c.ID, refs, ps)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func mustPhoto(t testing.TB, r *Registry, id PhotoID) Photo {
	t.Helper()
	p, err := r.Photo(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBeside builds another set beside the active one: nobody sees a difference until the switch, and everything is as it was
// after the way back.
func TestBeside(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	takeOver(t, r, "a.1", "r1")
	begin(t, r, "b.1", "r2")
	c := newCase(t, r, Missing)
	content := byte(0)
	add := func(faces ...NewFace) Photo {
		content++
		return save(t, r, mustAdd(t, r, c.ID, []byte{content}).ID, "a.1", NewAnalysis{Width: 5, Height: 5, Faces: faces})
	}
	older := func(f NewFace) NewFace {
		f.AgeYears, f.AgeSD, f.Quality, f.Reasons = 9, 1, 0.75, []string{"blurred"}
		return f
	}
	poor := func(f NewFace) NewFace { f.Searchable = false; return f }
	same := add(face(0, 1))
	lost := add(face(0, 2))                          // which b does not find
	gained := add()                                  // in which only b finds a face
	another := add(face(0, 3))                       // in which b finds one elsewhere
	more := add(face(0, 4))                          // in which b finds one more
	chosen := add(face(0, 5), face(500, 6))          // of which a person chose one that b does not find
	nobody := add(face(0, 7))                        // which a person said is not the child
	worse := add(face(0, 8))                         // which is too poor for b
	better := add(poor(face(0, 9)))                  // which is too poor for a
	none := add(face(0, 10))                         // of which b makes no template
	aside := add(face(0, 11))                        // which b cannot look at
	back := mustAdd(t, r, c.ID, []byte("set aside")) // which only b can look at
	missing := add(face(0, 12))                      // which b has not looked at
	if err := r.FailAnalysis(t.Context(), back.ID, "a.1", "too hard", true); err != nil {
		t.Fatal(err)
	}
	for id, subject := range map[PhotoID]FaceID{chosen.ID: chosen.Faces[1].ID, nobody.ID: ""} {
		if _, err := r.UpdatePhoto(t.Context(), id, PhotoChange{Subject: &subject}); err != nil {
			t.Fatal(err)
		}
	}
	before := shown(t, r)
	seq, _ := r.LastSeq(t.Context())

	bare := face(0, 10)
	bare.Template = nil
	saveUnder(t, r, same.ID, "b.1", older(face(3, 100)))
	saveUnder(t, r, lost.ID, "b.1")
	saveUnder(t, r, gained.ID, "b.1", older(face(0, 101)))
	saveUnder(t, r, another.ID, "b.1", face(700, 102))
	saveUnder(t, r, more.ID, "b.1", face(700, 103), face(0, 104))
	saveUnder(t, r, chosen.ID, "b.1", face(0, 105))
	saveUnder(t, r, nobody.ID, "b.1", face(0, 106))
	saveUnder(t, r, worse.ID, "b.1", poor(older(face(0, 107))))
	saveUnder(t, r, better.ID, "b.1", face(0, 108))
	saveUnder(t, r, none.ID, "b.1", bare)
	saveUnder(t, r, back.ID, "b.1", face(0, 109))
	if err := r.SetAsideUnder(t.Context(), aside.ID, "b.1", "crashed"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, as a builder that was killed before it noted the photo does
		saveUnder(t, r, another.ID, "b.1", face(700, 102))
	}
	if got := shown(t, r); got != before {
		t.Errorf("people see a difference:\n%s\nbefore:\n%s", got, before)
	}
	if now, _ := r.LastSeq(t.Context()); now != seq {
		t.Error("followers are told of a change that there is not")
	}
	if _, err := r.UpdatePhoto(t.Context(), gained.ID, PhotoChange{Subject: ptr(FaceID("f_hidden"))}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	// What the other is compared by before the switch is what it answers with after.
	var beside []Reference
	refs := func() []Reference {
		t.Helper()
		refs, err := r.References(t.Context(), c.ID, "b.1")
		if err != nil {
			t.Fatal(err)
		}
		return refs
	}
	beside = refs()

	if err := r.Switch(t.Context(), "b.1", crossmatch); !errors.Is(err, ErrNotReady) {
		t.Error("switched to what is being built", err)
	}
	ready(t, r, "b.1")
	switchTo(t, r, "b.1")
	if got := refs(); !reflect.DeepEqual(got, beside) {
		t.Errorf("%+v\n%+v", got, beside)
	}
	var found []string
	for _, ref := range beside {
		found = append(found, fmt.Sprint(ref.Photo == same.ID && ref.Face == same.Subject && ref.AgeYears == 9 && ref.Quality == 0.75, ref.Template[0]))
	}
	if want := "true 100 false 101 false 102 false 104 false 108 false 109"; strings.Join(found, " ") != want {
		t.Errorf("%v, want %v", strings.Join(found, " "), want)
	}
	for _, w := range []struct {
		name    string
		id      PhotoID
		state   PhotoState
		faces   int
		subject func(Photo) FaceID
		good    bool // its subject is searchable
	}{
		{"same", same.ID, Analysed, 1, func(Photo) FaceID { return same.Subject }, true},
		{"lost", lost.ID, Analysed, 1, func(Photo) FaceID { return "" }, false},
		{"gained", gained.ID, Analysed, 1, func(p Photo) FaceID { return p.Faces[0].ID }, true},
		{"another", another.ID, Analysed, 2, func(p Photo) FaceID { return otherFace(p, another.Subject) }, true},
		{"more", more.ID, Analysed, 2, func(Photo) FaceID { return more.Subject }, true},
		{"chosen", chosen.ID, Analysed, 2, func(Photo) FaceID { return chosen.Faces[1].ID }, false},
		{"nobody", nobody.ID, Analysed, 1, func(Photo) FaceID { return "" }, false},
		{"worse", worse.ID, Analysed, 1, func(Photo) FaceID { return worse.Subject }, false},
		{"better", better.ID, Analysed, 1, func(Photo) FaceID { return better.Subject }, true},
		{"none", none.ID, Analysed, 1, func(Photo) FaceID { return none.Subject }, false},
		{"aside", aside.ID, SetAside, 1, func(Photo) FaceID { return "" }, false},
		{"back", back.ID, Analysed, 1, func(p Photo) FaceID { return p.Faces[0].ID }, true},
		{"missing", missing.ID, Queued, 1, func(Photo) FaceID { return missing.Subject }, true},
	} {
		p := mustPhoto(t, r, w.id)
		if p.State != w.state || len(p.Faces) != w.faces || p.Subject != w.subject(p) {
			t.Errorf("%s: %+v", w.name, p)
			continue
		}
		if f, _ := p.Face(p.Subject); f.Searchable != w.good {
			t.Errorf("%s: %+v", w.name, f)
		}
	}
	if f := mustPhoto(t, r, worse.ID).Faces[0]; f.AgeYears != 9 || f.Reasons[0] != "blurred" {
		t.Errorf("%+v", f)
	}
	if p := mustPhoto(t, r, same.ID); p.Width != 5 || !p.Taken.IsZero() {
		t.Errorf("%+v", p)
	}
	if all, err := r.Jobs(t.Context(), 9); err != nil || len(all) != 1 || all[0].Kind != JobCrossmatch {
		t.Error(all, err)
	}

	// A person's choice of a face that only b has found stays theirs, and the photo that was missing is analysed under b.
	if p, ok, err := r.ClaimPhoto(t.Context()); err != nil || !ok || p.ID != missing.ID {
		t.Fatal(p, ok, err)
	}
	save(t, r, missing.ID, "b.1", NewAnalysis{Width: 5, Height: 5, Faces: []NewFace{face(0, 110), face(900, 111)}})
	switchTo(t, r, "a.1")
	if got := shown(t, r); strings.Contains(got, "f_hidden") || !sameBut(got, before, missing.ID) {
		t.Errorf("after the way back:\n%s\nbefore:\n%s", got, before)
	}
	if p := mustPhoto(t, r, missing.ID); len(p.Faces) != 2 || p.Subject != missing.Subject {
		t.Errorf("%+v", p)
	}
	switchTo(t, r, "b.1")
	child := mustPhoto(t, r, gained.ID).Faces[0].ID
	if _, err := r.UpdatePhoto(t.Context(), gained.ID, PhotoChange{Subject: &child}); err != nil {
		t.Fatal(err)
	}
	switchTo(t, r, "a.1")
	if p := mustPhoto(t, r, gained.ID); p.Subject != child || len(p.Faces) != 1 || p.Faces[0].Searchable {
		t.Errorf("a person's choice is lost: %+v", p)
	}
}

// sameBut says whether two texts differ in nothing but a photo.
func sameBut(a, b string, id PhotoID) bool {
	cut := func(s string) string { before, _, _ := strings.Cut(s, "{ID:"+string(id)); return before }
	return cut(a) == cut(b)
}

func ptr[T any](v T) *T { return &v }

// otherFace is the photo's face that is not this one.
func otherFace(p Photo, id FaceID) FaceID {
	for _, f := range p.Faces {
		if f.ID != id {
			return f.ID
		}
	}
	return ""
}

// TestSwitchedMeanwhile ends analyses under a set that answers no more.
func TestSwitchedMeanwhile(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	takeOver(t, r, "a.1")
	begin(t, r, "b.1")
	ready(t, r, "b.1")
	c := newCase(t, r, Missing)
	claim := func(content string) PhotoID {
		t.Helper()
		p, _, err := addPhoto(t.Context(), r, c.ID, []byte(content), NewPhoto{Claim: true})
		if err != nil {
			t.Fatal(err)
		}
		return p.ID
	}
	id := claim("1")
	switchTo(t, r, "b.1")
	analysis := NewAnalysis{Faces: []NewFace{face(0, 1)}}
	if err := r.SaveAnalysis(t.Context(), id, "a.1", analysis); !errors.Is(err, ErrSwitched) {
		t.Fatal(err)
	}
	if p := mustPhoto(t, r, id); p.State != Queued || p.Tries != 0 || len(p.Faces) != 0 || stateUnder(t, r, "a.1", id) != "done" {
		t.Errorf("%+v", p)
	}
	if p, ok, err := r.ClaimPhoto(t.Context()); err != nil || !ok || p.ID != id {
		t.Fatal(p, ok, err)
	}
	p := save(t, r, id, "b.1", NewAnalysis{Faces: []NewFace{face(2, 2)}})
	if p.State != Analysed || len(p.Faces) != 1 || p.Subject != p.Faces[0].ID {
		t.Errorf("%+v", p)
	}
	// The two found one face.
	if got := templateStart(t, r, p.Subject, "a.1"); got != 1 {
		t.Error(got)
	}
	// A builder that is late stores what it found as what answers.
	id = claim("2")
	if err := r.SaveUnder(t.Context(), id, "b.1", analysis); err != nil {
		t.Fatal(err)
	}
	if p := mustPhoto(t, r, id); p.State != Analysed || p.Subject == "" {
		t.Errorf("%+v", p)
	}
	// One whose generation is gone stores nothing.
	id = claim("3")
	if err := r.Drop(t.Context(), "a.1"); err != nil {
		t.Fatal(err)
	}
	if err := r.SaveAnalysis(t.Context(), id, "a.1", analysis); !errors.Is(err, ErrSwitched) {
		t.Error(err)
	}
	if err := r.SaveUnder(t.Context(), id, "a.1", analysis); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := r.SetAsideUnder(t.Context(), id, "a.1", "x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if p := mustPhoto(t, r, id); p.State != Queued || len(p.Faces) != 0 {
		t.Errorf("%+v", p)
	}
}

func TestGenerations(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	if _, err := r.ActiveGeneration(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, id := range []string{"", "a", ".1", "a."} {
		if _, _, err := r.BeginGeneration(t.Context(), Generation{ID: id}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
	takeOver(t, r, "a.1")
	takeOver(t, r, "a.1")
	begin(t, r, "b.1")
	if _, existed, err := r.BeginGeneration(t.Context(), Generation{ID: "b.1", Name: "new name"}); err != nil || !existed {
		t.Error(existed, err)
	}
	if g, err := r.Generation(t.Context(), "b.1"); err != nil || g.Name != "new name" || g.State != GenerationBuilding || g.ModelSet() != "b" {
		t.Errorf("%+v %v", g, err)
	}
	all, err := r.Generations(t.Context())
	if err != nil || len(all) != 2 || all[0].ID != "a.1" || all[0].ActiveAt.IsZero() {
		t.Errorf("%+v %v", all, err)
	}
	for _, err := range []error{
		r.Switch(t.Context(), "none", crossmatch), r.Drop(t.Context(), "none"), r.SaveReport(t.Context(), "none", 1),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if err := r.SaveReport(t.Context(), "b.1", math.NaN()); !errors.Is(err, ErrInvalid) {
		t.Error("a report that cannot be stored:", err)
	}
	if g, err := r.Generation(t.Context(), "b.1"); err != nil || g.State != GenerationBuilding || g.Report != nil {
		t.Errorf("%+v %v", g, err)
	}
	for _, err := range []error{r.Switch(t.Context(), "a.1", crossmatch), r.Drop(t.Context(), "a.1")} {
		if !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	}

	// One process at a time builds.
	other, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	claim := func(r *Registry, want bool) {
		t.Helper()
		if ok, err := r.ClaimBuild(t.Context(), "b.1"); err != nil || ok != want {
			t.Error(ok, err)
		}
	}
	claim(r, true)
	claim(r, true)
	claim(other, false)
	if err := r.ReleaseBuild(t.Context(), "b.1"); err != nil {
		t.Fatal(err)
	}
	claim(other, true)
	claim(r, false)
	die(t, other)
	claim(r, true)
}

// TestSwitchCrossmatch switches while a cross-match stands still: it goes on, as the switch needs one.
func TestSwitchCrossmatch(t *testing.T) {
	for _, was := range []JobState{JobQueued, JobPaused, JobParked} {
		r := open(t, t.TempDir(), Options{})
		takeOver(t, r, "a.1")
		begin(t, r, "b.1")
		ready(t, r, "b.1")
		j := enqueue(t, r, crossmatch)
		if _, err := r.TakeJob(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveJob(t.Context(), j.ID, "halfway", Progress{}); err != nil {
			t.Fatal(err)
		}
		if err := r.EndJob(t.Context(), j.ID, was, "as it was"); err != nil {
			t.Fatal(err)
		}
		switchTo(t, r, "b.1")
		if all, err := r.Jobs(t.Context(), 9); err != nil || len(all) != 1 || all[0].ID != j.ID || all[0].State != JobQueued || all[0].Reason != "" {
			t.Errorf("%s: %+v, %v", was, all, err)
		}
		if got, ok, err := r.ClaimJob(t.Context(), JobCrossmatch); err != nil || !ok || got.ID != j.ID || got.Tries != 1 {
			t.Errorf("%s: %+v, %v, %v", was, got, ok, err)
		}
	}
}

// TestDrop deletes what belongs to one generation, and nothing else.
func TestDrop(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	takeOver(t, r, "a.1", "r1")
	begin(t, r, "b.1", "r1", "r2")
	begin(t, r, "b.2", "r1", "r2")
	p := save(t, r, mustAdd(t, r, newCase(t, r, Missing).ID, []byte("1")).ID, "a.1", NewAnalysis{Faces: []NewFace{
		{Face: Face{W: 9, H: 9, Searchable: true}, Embeddings: map[string][]float32{"r1": {1}}, Template: []float32{1}},
	}})
	for _, set := range []string{"b.1", "b.2"} {
		saveUnder(t, r, p.ID, set, face(0, 2), face(700, 3)) // the small one's place is not known to b
	}
	if n, err := r.BuiltCount(t.Context(), "b.1"); n != 1 || err != nil {
		t.Error(n, err)
	}
	before := shown(t, r)
	count := func() (s string) {
		t.Helper()
		if err := r.readers.QueryRow(`SELECT printf('%d faces, %d templates, %d embeddings, %d done', (SELECT count(*) FROM faces),
			(SELECT count(*) FROM templates), (SELECT count(*) FROM embeddings), (SELECT count(*) FROM photo_sets))`).Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := count(); got != "3 faces, 5 templates, 5 embeddings, 3 done" {
		t.Fatal(got)
	}
	if err := r.Drop(t.Context(), "b.1"); err != nil { // its faces and embeddings are the other's too
		t.Fatal(err)
	}
	if got := count(); got != "3 faces, 3 templates, 5 embeddings, 2 done" {
		t.Error(got)
	}
	if _, err := r.writer.Exec("UPDATE generations SET state = 'dropping' WHERE id = 'b.2'"); err != nil { // as a Drop that was interrupted
		t.Fatal(err)
	}
	for _, id := range []string{"b.1", "b.2"} { // whoever keeps them current has nothing to do
		_, unbuilt := r.Unbuilt(t.Context(), id, 0, 9)
		_, left := r.UnbuiltCount(t.Context(), id)
		_, built := r.BuiltCount(t.Context(), id)
		if !errors.Is(unbuilt, ErrNotFound) || !errors.Is(left, ErrNotFound) || !errors.Is(built, ErrNotFound) {
			t.Errorf("%s: %v, %v, %v", id, unbuilt, left, built)
		}
	}
	if err := r.Drop(t.Context(), "b.2"); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != "1 faces, 1 templates, 1 embeddings, 1 done" {
		t.Error(got)
	}
	if got := shown(t, r); got != before {
		t.Errorf("%s\nbefore\n%s", got, before)
	}
	if _, _, err := r.BeginGeneration(t.Context(), Generation{ID: "b.1"}); err != nil {
		t.Error("it cannot be built again:", err)
	}
}

// TestKillSwitchVictim is the process that is to be killed while it builds, switches, goes back and drops.
func TestKillSwitchVictim(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	r := open(t, dir, Options{step: killSelf(t)})
	begin(t, r, "b.1")
	for {
		todo, err := r.Unbuilt(t.Context(), "b.1", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(todo) == 0 {
			break
		}
		for i, u := range todo {
			saveUnder(t, r, u.Photo, "b.1", face(0, float32(i+100)), face(700, 3))
		}
	}
	ready(t, r, "b.1")
	if a, err := r.ActiveGeneration(t.Context()); err == nil && a.ID == "a.1" {
		switchTo(t, r, "b.1")
	}
	switchTo(t, r, "a.1")
	if err := r.Drop(t.Context(), "b.1"); err != nil {
		t.Fatal(err)
	}
	killSelf(t) // the step that was named was never reached
}

// TestKillSwitch kills a process at every step: one generation is active then, all that it shows is whole, and the next goes on.
func TestKillSwitch(t *testing.T) {
	for _, k := range []struct {
		step   string
		active string
		left   int // generations
	}{
		{"switch.kept 1", "a.1", 2}, {"switch.active 1", "a.1", 2}, {"switch.rows 1", "a.1", 2}, {"switch.committed 1", "b.1", 2},
		{"switch.kept 2", "b.1", 2}, {"switch.rows 2", "b.1", 2}, {"switch.committed 2", "a.1", 2},
		{"drop.begun 1", "a.1", 2}, {"drop.batch 1", "a.1", 2}, {"drop.batch 2", "a.1", 2},
	} {
		t.Run(k.step, func(t *testing.T) {
			dir := t.TempDir()
			var before string
			func() {
				r, err := Open(t.Context(), dir, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				takeOver(t, r, "a.1")
				c := newCase(t, r, Missing)
				for i := range 5 {
					save(t, r, mustAdd(t, r, c.ID, []byte{byte(i)}).ID, "a.1", NewAnalysis{Faces: []NewFace{face(0, float32(i+1))}})
				}
				before = shown(t, r)
			}()
			runVictim(t, "TestKillSwitchVictim", dir, k.step, 0)
			r := open(t, dir, Options{})
			a, err := r.ActiveGeneration(t.Context())
			if err != nil || a.ID != k.active {
				t.Errorf("%+v %v", a, err)
			}
			all, err := r.Generations(t.Context())
			if err != nil || len(all) != k.left || all[0].Done != 5 || all[0].Missing != 0 {
				t.Errorf("%+v %v", all, err)
			}
			if k.active == "b.1" {
				if shown(t, r) == before {
					t.Error("it shows what the other found")
				}
				switchTo(t, r, "a.1")
			}
			if got := shown(t, r); got != before {
				t.Errorf("%s\nbefore\n%s", got, before)
			}
			if err := r.Drop(t.Context(), "b.1"); err != nil {
				t.Error(err)
			}
			var left int
			if err := r.readers.QueryRow("SELECT (SELECT count(*) FROM templates WHERE model_set <> 'a.1') + (SELECT count(*) FROM faces WHERE only_in <> '')").Scan(&left); err != nil || left != 0 {
				t.Error(left, "rows of what was dropped are left", err)
			}
		})
	}
}
