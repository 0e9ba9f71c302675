package registry

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// expected is what checks of these tests expect of vectors.
var expected = CheckOptions{
	Templates: map[string]int{"set": 2}, Embeddings: map[string]int{"r1": 2, "r2": 2}, Active: "set",
	Project: func(e map[string][]float32) ([]float32, error) {
		if e["r1"] == nil || e["r2"] == nil {
			return nil, nil
		}
		return []float32{e["r1"][0], 0.5}, nil
	},
}

// checked lists the codes that Check reports, those that are no news in brackets.
func checked(t *testing.T, r *Registry, deep bool) (codes []string) {
	t.Helper()
	o := expected
	o.Deep = deep
	if _, err := r.Check(t.Context(), o, func(p Problem) {
		if p.Do == "" || p.Text == "" {
			t.Errorf("%+v says nothing", p)
		}
		code := p.Code
		if p.Known {
			code = "(" + code + ")"
		}
		codes = append(codes, code)
	}); err != nil {
		t.Fatal(err)
	}
	return codes
}

// sound is a registry with something of everything in it.
func sound(t *testing.T) (r *Registry, c Case, p Photo) {
	t.Helper()
	r = open(t, t.TempDir(), Options{})
	c = newCase(t, r, Missing)
	for i := range 3 {
		p = mustAdd(t, r, c.ID, randomPhoto(uint64(i+1), 5000*i+1))
		p = save(t, r, p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, float32(i+1))}})
	}
	two := mustAdd(t, r, newCase(t, r, Found).ID, randomPhoto(9, 4080-40))
	save(t, r, two.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1), face(500, 2)}})
	if _, err := r.UpdatePhoto(t.Context(), two.ID, PhotoChange{Subject: &save(t, r, two.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1), face(500, 2)}}).Faces[1].ID}); err != nil {
		t.Fatal(err)
	}
	if codes := checked(t, r, true); len(codes) > 0 {
		t.Fatalf("a sound registry has problems: %v", codes)
	}
	return r, c, p
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCheckAndRepair breaks one thing after another, for real: Check names it, a dry run changes nothing, Repair does what can be
// done, and the next Check finds nothing new.
func TestCheckAndRepair(t *testing.T) {
	exec := func(t *testing.T, r *Registry, query string, args ...any) {
		t.Helper()
		// Someone with a database tool is not held back by what the registry's own connections keep.
		if res, err := r.writer.Exec(query, args...); err != nil {
			t.Fatal(err)
		} else if n, err := res.RowsAffected(); err != nil || n == 0 {
			t.Fatal("nothing is broken", err)
		}
	}
	fileOf := func(t *testing.T, r *Registry, p Photo) string {
		t.Helper()
		var name string
		if err := r.readers.QueryRow("SELECT file FROM photos WHERE id = ?", p.ID).Scan(&name); err != nil {
			t.Fatal(err)
		}
		return r.file(name)
	}
	const bit = "CAST(substr(sealed, 1, 20) || iif(substr(sealed, 21, 1) = x'00', x'01', x'00') || substr(sealed, 22) AS BLOB)"
	tests := []struct {
		name   string
		damage func(t *testing.T, r *Registry, c Case, p Photo)
		codes  []string // of Check
		deep   bool     // that only a deep one finds
		left   []string // of the Check after Repair
		after  func(t *testing.T, r *Registry, p Photo)
	}{
		{
			name: "photo gone", codes: []string{"photo.file_missing"}, left: []string{"(photo.file_missing)"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) { os.Remove(fileOf(t, r, p)) },
			after: func(t *testing.T, r *Registry, p Photo) {
				if p, err := r.Photo(t.Context(), p.ID); err != nil || p.State != SetAside || !strings.Contains(p.Reason, "Delete the photo") || len(p.Faces) != 1 {
					t.Error(p, err)
				}
			},
		},
		{
			name: "photo in lost", codes: []string{"photo.file_missing"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				if _, err := r.moveToLost(fileOf(t, r, p)); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "photo with a flipped bit", codes: []string{"photo.file_changed"}, left: []string{"(photo.file_changed)"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) { flip(t, fileOf(t, r, p), 5000) },
		},
		{
			name: "photo cut short", codes: []string{"photo.file_changed"}, left: []string{"(photo.file_changed)"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) { os.Truncate(fileOf(t, r, p), 100) },
		},
		{
			name: "photo empty", codes: []string{"photo.file_changed"}, left: []string{"(photo.file_changed)"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) { os.Truncate(fileOf(t, r, p), 0) },
		},
		{
			name: "photo is a folder", codes: []string{"photo.file_failing"}, left: []string{"photo.file_failing"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				os.Remove(fileOf(t, r, p))
				os.Mkdir(fileOf(t, r, p), 0o700)
			},
		},
		{
			name: "size", codes: []string{"photo.content"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE photos SET size = size + 1 WHERE id = ?", p.ID)
			},
		},
		{
			name: "digest", codes: []string{"photo.content"}, deep: true,
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE photos SET digest = zeroblob(32) WHERE id = ?", p.ID)
			},
		},
		{
			name: "another photo's row", codes: []string{"photo.content"}, deep: true, left: []string{"(photo.content)"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, "UPDATE photos SET id = 'p_other' WHERE id = ?", mustAdd(t, r, c.ID, randomPhoto(70, 900)).ID)
			},
		},
		{
			name: "file name", codes: []string{"photo.row", "file.stray"}, left: []string{"photo.row"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE photos SET file = 'G' || substr(file, 2) WHERE id = ?", p.ID)
			},
		},
		{
			name: "stray files", codes: []string{"file.stray", "file.stray", "file.stray", "file.tmp"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				for _, path := range []string{
					filepath.Join(r.photos(), "ab", strings.Repeat("ab", 32)), filepath.Join(r.photos(), "ab", "someone's child.jpg"),
					filepath.Join(r.photos(), "readme"), filepath.Join(r.tmp(), "junk"),
				} {
					os.MkdirAll(filepath.Dir(path), 0o700)
					if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			},
			after: func(t *testing.T, r *Registry, p Photo) {
				if n := len(files(t, filepath.Join(r.dir, lostName))); n != 3 {
					t.Error(n, "files in lost/")
				}
			},
		},
		{
			name: "subject", codes: []string{"photo.subject"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE photos SET subject = 'f_gone' WHERE id = ?", p.ID)
			},
			after: func(t *testing.T, r *Registry, p Photo) {
				if now, err := r.Photo(t.Context(), p.ID); err != nil || now.Subject != "" || now.State != Queued {
					t.Error(now.Subject, now.State, err)
				}
				if again := save(t, r, p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 3)}}); again.Subject != p.Subject {
					t.Error(again.Subject)
				}
			},
		},
		{
			name: "subject of a photo with another set's face", codes: []string{"photo.subject"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE faces SET only_in = 'other' WHERE id = ?", p.Subject)
				exec(t, r, "UPDATE photos SET subject = 'f_gone' WHERE id = ?", p.ID)
			},
			after: func(t *testing.T, r *Registry, p Photo) {
				if now, err := r.Photo(t.Context(), p.ID); err != nil || now.Subject != "" || now.State != Queued {
					t.Error(now.Subject, now.State, err)
				}
			},
		},
		{
			name: "landmarks", codes: []string{"face.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE faces SET landmarks = x'0000' WHERE id = ?", p.Subject)
			},
			after: queuedAgain,
		},
		{
			name: "a measure", codes: []string{"face.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE faces SET x = 9e999, quality = -9e999 WHERE id = ?", p.Subject)
			},
			after: queuedAgain,
		},
		{
			name: "reasons", codes: []string{"face.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE faces SET reasons = '[' WHERE id = ?", p.Subject)
			},
			after: queuedAgain,
		},
		{
			name: "template with a flipped bit", codes: []string{"template.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE templates SET sealed = "+bit+" WHERE face_id = ?", p.Subject)
			},
			after: func(t *testing.T, r *Registry, p Photo) {
				if v, _, err := r.FaceTemplate(t.Context(), p.Subject, "set"); err != nil || !slices.Equal(v, []float32{3, 0.5}) {
					t.Error(v, err)
				}
			},
		},
		{
			name: "template too long", codes: []string{"template.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				sealed, err := r.keys.sealVector(kindTemplate, p.Subject, "set", []float32{1, 2, 3})
				if err != nil {
					t.Fatal(err)
				}
				exec(t, r, "UPDATE templates SET sealed = ? WHERE face_id = ?", sealed, p.Subject)
			},
		},
		{
			name: "what a template has beside its numbers", codes: []string{"template.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE templates SET reasons = '[', quality = 9e999 WHERE face_id = ?", p.Subject)
			},
		},
		{
			name: "template gone", codes: []string{"template.missing"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "DELETE FROM templates WHERE face_id = ?", p.Subject)
			},
		},
		{
			name: "template of an unknown set", codes: []string{"(template.foreign)"}, left: []string{"(template.foreign)"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				sealed, err := r.keys.sealVector(kindTemplate, p.Subject, "old", []float32{1, 2, 3})
				if err != nil {
					t.Fatal(err)
				}
				exec(t, r, "INSERT INTO templates (face_id, model_set, sealed) VALUES (?, 'old', ?)", p.Subject, sealed)
			},
		},
		{
			name: "embedding with a flipped bit", codes: []string{"embedding.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE embeddings SET sealed = "+bit+" WHERE face_id = ? AND recogniser = 'r1'", p.Subject)
			},
			after: queuedAgain,
		},
		{
			name: "embedding where it is not known what is in use", codes: []string{"embedding.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "INSERT INTO generations (id, name, metric, recognisers, state, created_at) VALUES ('set', '', '', '[]', 'active', 0)")
				exec(t, r, "INSERT INTO photo_sets (generation, photo, state, subject) SELECT g.n, p.n, 'done', p.subject FROM generations g, photos p")
				exec(t, r, "UPDATE embeddings SET sealed = "+bit+" WHERE face_id = ? AND recogniser = 'r1'", p.Subject)
			},
			after: queuedAgain,
		},
		{
			name: "template and embedding", codes: []string{"embedding.damaged", "template.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, "UPDATE embeddings SET sealed = "+bit+" WHERE face_id = ?", p.Subject)
				exec(t, r, "DELETE FROM embeddings WHERE face_id = ? AND recogniser = 'r2'", p.Subject)
				exec(t, r, "UPDATE templates SET sealed = "+bit+" WHERE face_id = ?", p.Subject)
			},
			after: queuedAgain,
		},
		{
			name: "names", codes: []string{"case.damaged"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, `UPDATE cases SET names = '["Some","Na' WHERE id = ?`, c.ID)
			},
			after: func(t *testing.T, r *Registry, p Photo) {
				if c, err := r.Case(t.Context(), p.CaseID); err != nil || !slices.Equal(c.Names, []string{`["Some","Na`}) {
					t.Error(c.Names, err)
				}
			},
		},
		{
			name: "names that are no list", codes: []string{"case.damaged"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, `UPDATE cases SET names = '{"a":[1]}' WHERE id = ?`, c.ID)
			},
		},
		{
			name: "a date", codes: []string{"case.damaged"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, `UPDATE cases SET born_from = '2009-99', on_date = 'x', notes = 'Notes.' WHERE id = ?`, c.ID)
			},
			after: func(t *testing.T, r *Registry, p Photo) {
				if c, err := r.Case(t.Context(), p.CaseID); err != nil || c.Notes != "Notes.\nborn_from: 2009-99\non_date: x" || !c.BornFrom.IsZero() {
					t.Error(c.Notes, err)
				}
			},
		},
		{
			name: "how a photo looks", codes: []string{"photo.look"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, `UPDATE photos SET look = x'0102' WHERE id = ?`, p.ID)
			},
			after: queuedAgain,
		},
		{
			name: "when a photo was taken", codes: []string{"photo.taken"},
			damage: func(t *testing.T, r *Registry, _ Case, p Photo) {
				exec(t, r, `UPDATE photos SET taken = '1' WHERE id = ?`, p.ID)
			},
		},
		{
			name: "key of a case", codes: []string{"case.key"}, left: []string{"case.key"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, "UPDATE cases SET key = CAST(substr(key, 1, 30) || iif(substr(key, 31, 1) = x'00', x'01', x'00') || substr(key, 32) AS BLOB) WHERE id = ?", c.ID)
			},
		},
		{
			name: "change gone", codes: []string{"case.unfollowed", "case.due"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, "DELETE FROM case_changes WHERE case_id = ?", c.ID)
			},
		},
		{
			name: "due is not the last change", codes: []string{"case.due"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, "UPDATE due SET seq = seq + 1000 WHERE case_id = ?", c.ID)
			},
		},
		{
			name: "case gone", codes: []string{"case.unfollowed", "file.stray", "file.stray", "file.stray"},
			damage: func(t *testing.T, r *Registry, c Case, _ Photo) {
				exec(t, r, "DELETE FROM cases WHERE id = ?", c.ID)
			},
		},
		{
			name: "key without account", codes: []string{"key.account"}, left: []string{"key.account"},
			damage: func(t *testing.T, r *Registry, _ Case, _ Photo) {
				exec(t, r, "INSERT INTO keys (id, name, hash, created_at, account_id) VALUES ('k_1', 'x', x'00', 0, 'a_gone')")
			},
		},
		{
			name: "job", codes: []string{"job.damaged"}, left: []string{"job.damaged"},
			damage: func(t *testing.T, r *Registry, _ Case, _ Photo) {
				exec(t, r, "INSERT INTO jobs (id, kind, about, args, state, due_at, created_by, created_at, updated_at) VALUES ('j_1', 'import', 'x', '{', 'paused', 0, '', 0, 0)")
			},
		},
		{
			name: "no generation in use", codes: []string{"generation.none"}, left: []string{"generation.none"},
			damage: func(t *testing.T, r *Registry, _ Case, _ Photo) {
				exec(t, r, "INSERT INTO generations (id, name, metric, recognisers, state, created_at) VALUES ('set', 'x', 'm', '[]', 'kept', 0)")
			},
		},
		{
			name: "audit", codes: []string{"audit.changed"}, left: []string{"audit.changed"},
			damage: func(t *testing.T, r *Registry, _ Case, _ Photo) {
				if _, err := r.writer.Exec("DROP TRIGGER audit_no_update"); err != nil {
					t.Fatal(err)
				}
				exec(t, r, "UPDATE audit SET action = 'case.looked' WHERE n = 2")
			},
		},
		{
			name: "row of nobody", codes: []string{"database.reference"}, left: []string{"database.reference"},
			damage: func(t *testing.T, r *Registry, _ Case, _ Photo) {
				if _, err := r.writer.Exec("PRAGMA foreign_keys = 0"); err != nil {
					t.Fatal(err)
				}
				exec(t, r, "INSERT INTO embeddings (face_id, recogniser, sealed) VALUES ('f_gone', 'r1', x'')")
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, c, p := sound(t)
			tt.damage(t, r, c, p)
			compare := func(what string, got, want []string) {
				t.Helper()
				got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
				if !slices.Equal(got, want) {
					t.Errorf("%s: %v, want %v", what, got, want)
				}
			}
			if !tt.deep {
				compare("check", checked(t, r, false), tt.codes)
			}
			compare("deep check", checked(t, r, true), tt.codes)
			o := RepairOptions{CheckOptions: expected, DryRun: true}
			o.Deep = true
			repair := func() {
				t.Helper()
				if _, err := r.Repair(t.Context(), o, func(Mended) {}); err != nil {
					t.Fatal(err)
				}
			}
			repair()
			compare("after a dry run", checked(t, r, true), tt.codes)
			o.DryRun = false
			repair()
			compare("after repair", checked(t, r, true), tt.left)
			if tt.after != nil {
				tt.after(t, r, p)
			}
		})
	}
}

func queuedAgain(t *testing.T, r *Registry, p Photo) {
	t.Helper()
	if now, err := r.Photo(t.Context(), p.ID); err != nil || now.State != Queued || len(now.Faces) != 1 || now.Subject != p.Subject {
		t.Errorf("%+v, %v", now, err)
	}
}

// TestRepairFromBackup puts back a photo's file, twice: one that is gone and one that was changed, which is kept.
func TestRepairFromBackup(t *testing.T) {
	r, c, p := sound(t)
	q := mustAdd(t, r, c.ID, randomPhoto(50, 9000))
	backup := map[string][]byte{}
	for _, f := range files(t, r.photos()) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		backup[filepath.Base(f)] = b
	}
	var gone, changed string
	if err := r.readers.QueryRow("SELECT (SELECT file FROM photos WHERE id = ?), (SELECT file FROM photos WHERE id = ?)", p.ID, q.ID).Scan(&gone, &changed); err != nil {
		t.Fatal(err)
	}
	os.Remove(r.file(gone))
	flip(t, r.file(changed), 77)
	o := RepairOptions{CheckOptions: expected}
	// A repair without a backup sets them aside; one with a backup that is damaged too leaves them so; a good one mends.
	for _, from := range []func(string) []byte{nil, func(name string) []byte { return []byte("rubbish") }, func(name string) []byte { return backup[name] }} {
		o.From = nil
		if from != nil {
			o.From = func(_ context.Context, name string, to io.Writer) error {
				_, err := to.Write(from(name))
				return err
			}
		}
		if _, err := r.Repair(t.Context(), o, func(Mended) {}); err != nil {
			t.Fatal(err)
		}
	}
	if codes := checked(t, r, true); len(codes) > 0 {
		t.Error(codes)
	}
	for _, id := range []PhotoID{p.ID, q.ID} {
		if _, err := readPhoto(r, id); err != nil {
			t.Error(err)
		}
		if now, err := r.Photo(t.Context(), id); err != nil || now.State != Queued || now.Reason != "" {
			t.Error(now.State, now.Reason, err)
		}
	}
	if kept := files(t, filepath.Join(r.dir, lostName)); len(kept) != 1 {
		t.Error("what stood in the place of a good file:", kept)
	}
	if left := files(t, r.tmp()); len(left) != 1 {
		t.Error(left)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Action: "registry.repaired"})
	if err != nil || len(entries) != 4 {
		t.Error(len(entries), "entries", err)
	}
}

// TestStrayIsAdded mends what was a stray when Check saw it, and has become a photo's file since.
func TestStrayIsAdded(t *testing.T) {
	dir := t.TempDir()
	named, moved, added := make(chan string, 1), make(chan struct{}), make(chan error, 1)
	meanwhile := false // the row is written while the file is being moved
	r := open(t, dir, Options{step: func(step string) error {
		if step == "upload.durable" {
			named <- files(t, filepath.Join(dir, "photos"))[0]
			if meanwhile {
				<-moved
			}
		}
		return nil
	}})
	mending := open(t, dir, Options{step: func(step string) error {
		if step == "stray.moved" {
			close(moved)
			return <-added
		}
		return nil
	}})
	m := &mender{Registry: mending}
	for _, meanwhile = range []bool{false, true} {
		content := randomPhoto(1, 5000)
		c := newCase(t, r, Missing)
		var p Photo
		add := func() (err error) {
			p, _, err = addPhoto(t.Context(), r, c.ID, content, NewPhoto{})
			return err
		}
		if meanwhile {
			go func() { added <- add() }()
		} else if err := add(); err != nil {
			t.Fatal(err)
		}
		if done, err := m.mend(t.Context(), Problem{Code: "file.stray", path: <-named}); err != nil || !strings.Contains(done, "a photo's") {
			t.Error(done, err)
		}
		if got, err := readPhoto(r, p.ID); err != nil || !bytes.Equal(got, content) {
			t.Errorf("added meanwhile %v: %v", meanwhile, err)
		}
		if err := r.DeleteCase(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// TestYoungStray: a file that has just been given its name is none, however long ago it was written.
func TestYoungStray(t *testing.T) {
	r, _, _ := sound(t)
	path := filepath.Join(r.photos(), "ab", strings.Repeat("ab", 32))
	os.MkdirAll(filepath.Dir(path), 0o700)
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	other := open(t, r.dir, Options{Now: func() time.Time { return time.Now().Add(2 * youngFile) }})
	if codes := checked(t, r, false); len(codes) > 0 {
		t.Error(codes)
	}
	if codes := checked(t, other, false); !slices.Equal(codes, []string{"file.stray"}) {
		t.Error("later:", codes)
	}
}

// TestCheckWhileOthersWork checks again and again while photos come and go: it finds nothing, because nothing is wrong.
func TestCheckWhileOthersWork(t *testing.T) {
	r, c, _ := sound(t)
	other := open(t, r.dir, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for i := uint64(100); ; i++ {
			p, _, err := addPhoto(ctx, other, c.ID, randomPhoto(i, photoSize(i)), NewPhoto{})
			if err == nil {
				err = other.SaveAnalysis(ctx, p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1)}})
			}
			if err == nil && i%2 == 0 {
				err = other.DeletePhoto(ctx, p.ID)
			}
			if ctx.Err() != nil {
				done <- nil
				return
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for range 15 {
		if codes := checked(t, r, true); len(codes) > 0 {
			t.Error(codes)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFlippedPages flips a bit in every few hundred bytes of the database, each in a copy: what shows is told, and nothing panics.
func TestFlippedPages(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := newCase(t, r, Missing)
	p := mustAdd(t, r, c.ID, randomPhoto(1, 5000))
	save(t, r, p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1)}})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	found, refused := 0, 0
	for at := 0; at < len(whole); at += 1999 {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x55
		if err := os.WriteFile(filepath.Join(dir, "registry.db"), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(t.Context(), dir, Options{})
		if err != nil {
			refused++
			continue
		}
		if _, err := r.Check(t.Context(), expected, func(Problem) { found++ }); err != nil {
			t.Logf("byte %d: %v", at, err)
			refused++
		}
		_ = r.Close()
		os.Remove(filepath.Join(dir, "registry.db-wal"))
		os.Remove(filepath.Join(dir, "registry.db-shm"))
	}
	t.Logf("%d problems in %d copies, %d not opened", found, len(whole)/1999, refused)
	if found == 0 {
		t.Error("nothing was found")
	}
	// A database that is no more: it says what to do, and touches nothing.
	if err := os.WriteFile(filepath.Join(dir, "registry.db"), bytes.Repeat([]byte("not a database"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "homeward restore") {
		t.Error(err)
	}
	if len(files(t, filepath.Join(dir, "photos"))) != 1 {
		t.Error("the photo is gone")
	}
}

// TestRepairIndexes mends an index of the database that does not fit its table.
func TestRepairIndexes(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, r, newCase(t, r, Missing).ID, randomPhoto(1, 5000))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	// An index over nothing, told afterwards that it covers all: its entries are missing.
	for _, q := range []string{
		"CREATE INDEX hollow ON photos (name) WHERE name = 'nobody'",
		"PRAGMA writable_schema = 1",
		"UPDATE sqlite_schema SET sql = 'CREATE INDEX hollow ON photos (name)' WHERE name = 'hollow'",
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir, Options{})
	codes := checked(t, r, false)
	if len(codes) == 0 || slices.ContainsFunc(codes, func(c string) bool { return c != "database.damaged" }) {
		t.Fatal(codes)
	}
	if _, err := r.Repair(t.Context(), RepairOptions{CheckOptions: expected}, func(m Mended) {
		if m.Done == "" {
			t.Error(m)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if codes := checked(t, r, false); len(codes) > 0 {
		t.Error(codes)
	}
}
