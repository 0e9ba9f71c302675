package registry

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestChanges does what the index must see, one thing at a time: each is the one change that follows the last.
func TestChanges(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	var seq int64
	saw := func(what string, id CaseID, deleted bool) {
		t.Helper()
		changes, err := r.Changes(t.Context(), seq, 10)
		if err != nil || len(changes) != 1 || changes[0].Case != id || changes[0].Deleted != deleted || changes[0].Seq <= seq {
			t.Fatalf("%s: %v %v", what, changes, err)
		}
		seq = changes[0].Seq
		if last, err := r.LastSeq(t.Context()); err != nil || last != seq {
			t.Error(last, err)
		}
	}
	c := newCase(t, r, Missing)
	saw("case created", c.ID, false)
	if _, err := r.UpdateCase(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	saw("case changed", c.ID, false)
	id := mustAdd(t, r, c.ID, []byte("1")).ID
	if changes, err := r.Changes(t.Context(), seq, 10); err != nil || len(changes) != 0 {
		t.Error(changes, err)
	}
	p := save(t, r, id, "set", NewAnalysis{Faces: []NewFace{face(0, 1), face(500, 1)}})
	saw("analysed", c.ID, false)
	if _, err := r.UpdatePhoto(t.Context(), id, PhotoChange{Subject: &p.Faces[0].ID}); err != nil {
		t.Fatal(err)
	}
	saw("subject chosen", c.ID, false)
	if err := r.DeletePhoto(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	saw("photo deleted", c.ID, false)
	if err := r.DeleteCase(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	saw("case deleted", c.ID, true)
	newCase(t, r, Missing)
	other := newCase(t, r, Missing)
	changes, err := r.Changes(t.Context(), 0, 10)
	if err != nil || len(changes) != 3 || changes[0].Case != c.ID || changes[2].Case != other.ID {
		t.Error(changes, err)
	}
	if changes, err := r.Changes(t.Context(), 0, 2); err != nil || len(changes) != 2 {
		t.Error(changes, err)
	}
}

// TestFollowing checks a follower that loads once and then follows changes against the registry, whatever is done to it.
func TestFollowing(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	n := byte(0)
	rapid.Check(t, func(t *rapid.T) {
		if _, err := r.writer.Exec("DELETE FROM cases; DELETE FROM case_changes"); err != nil {
			t.Fatal(err)
		}
		follower := make(map[CaseID][]Reference)
		var seq int64
		load := func() {
			clear(follower)
			var err error
			seq, err = r.EachReference(t.Context(), "set", func(c Case, refs []Reference) error {
				follower[c.ID] = refs
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		load()
		var cases []CaseID
		var photos []Photo
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				c, err := r.CreateCase(t.Context(), Case{Gallery: Found})
				if err != nil {
					t.Fatal(err)
				}
				cases = append(cases, c.ID)
			},
			"analyse": func(t *rapid.T) {
				if len(cases) == 0 {
					t.Skip()
				}
				n++
				p, _, err := addPhoto(t.Context(), r, cases[rapid.IntRange(0, len(cases)-1).Draw(t, "case")], []byte{n, 1}, NewPhoto{})
				if errors.Is(err, ErrNotFound) {
					return
				}
				var faces []NewFace
				for i := range rapid.IntRange(0, 2).Draw(t, "faces") {
					faces = append(faces, face(float32(500*i), float32(n)+1))
				}
				if err == nil {
					err = r.SaveAnalysis(t.Context(), p.ID, "set", NewAnalysis{Faces: faces})
				}
				if err == nil {
					p, err = r.Photo(t.Context(), p.ID)
				}
				if err != nil {
					t.Fatal(err)
				}
				photos = append(photos, p)
			},
			"choose": func(t *rapid.T) {
				if len(photos) == 0 {
					t.Skip()
				}
				p := photos[rapid.IntRange(0, len(photos)-1).Draw(t, "photo")]
				subject := FaceID("")
				if len(p.Faces) > 0 {
					subject = p.Faces[rapid.IntRange(0, len(p.Faces)-1).Draw(t, "face")].ID
				}
				if _, err := r.UpdatePhoto(t.Context(), p.ID, PhotoChange{Subject: &subject}); err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid) {
					t.Fatal(err)
				}
			},
			"delete photo": func(t *rapid.T) {
				if len(photos) == 0 {
					t.Skip()
				}
				if err := r.DeletePhoto(t.Context(), photos[rapid.IntRange(0, len(photos)-1).Draw(t, "photo")].ID); err != nil && !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
			},
			"delete case": func(t *rapid.T) {
				if len(cases) == 0 {
					t.Skip()
				}
				if err := r.DeleteCase(t.Context(), cases[rapid.IntRange(0, len(cases)-1).Draw(t, "case")]); err != nil && !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
			},
			"reload": func(*rapid.T) { load() },
			"": func(t *rapid.T) {
				changes, err := r.Changes(t.Context(), seq, 1000)
				if err != nil {
					t.Fatal(err)
				}
				for _, ch := range changes {
					seq = ch.Seq
					if delete(follower, ch.Case); ch.Deleted {
						continue
					}
					if follower[ch.Case], err = r.References(t.Context(), ch.Case, "set"); err != nil {
						t.Fatal(err)
					}
				}
				whole := 0
				_, err = r.EachReference(t.Context(), "set", func(c Case, refs []Reference) error {
					whole++
					got, ok := follower[c.ID]
					if !ok || !slices.EqualFunc(got, refs, func(a, b Reference) bool {
						return a.Face == b.Face && a.Photo == b.Photo && slices.Equal(a.Template, b.Template)
					}) {
						t.Fatal(c.ID, got, refs)
					}
					return nil
				})
				if err != nil || whole != len(follower) {
					t.Fatal(whole, len(follower), err)
				}
			},
		})
	})
}

func TestEachReferenceStops(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	newCase(t, r, Missing)
	newCase(t, r, Missing)
	stop := errors.New("stop")
	calls := 0
	if _, err := r.EachReference(t.Context(), "set", func(Case, []Reference) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Error(calls, err)
	}
}

// TestMovedTemplate puts another face's sealed template in a face's place: it does not open there, and does not stand in
// the way of the others.
func TestMovedTemplate(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	for i := range 2 {
		save(t, r, mustAdd(t, r, c.ID, []byte{byte(i)}).ID, "set", NewAnalysis{Faces: []NewFace{face(0, float32(i)+1)}})
	}
	if _, err := r.writer.Exec("UPDATE templates SET sealed = (SELECT t.sealed FROM templates t WHERE t.face_id <> templates.face_id)"); err != nil {
		t.Fatal(err)
	}
	check := func(refs []Reference, err error) {
		t.Helper()
		if err != nil || len(refs) != 2 || refs[0].Template != nil || refs[1].Template == nil {
			t.Errorf("%+v, %v", refs, err)
		}
	}
	refs, err := r.References(t.Context(), c.ID, "set")
	check(refs, err)
	if _, err := r.EachReference(t.Context(), "set", func(_ Case, refs []Reference) error { check(refs, nil); return nil }); err != nil {
		t.Error(err)
	}
	if _, _, err := r.FaceTemplate(t.Context(), refs[0].Face, "set"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}
