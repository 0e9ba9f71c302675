package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// open opens a registry that closes with the test.
func open(t testing.TB, dir string, opts Options) *Registry {
	t.Helper()
	r, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newCase(t testing.TB, r *Registry, g Gallery) Case {
	t.Helper()
	c, err := r.CreateCase(t.Context(), Case{Gallery: g})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// randomPhoto is bytes that stand for a photo: the registry never looks inside one.
func randomPhoto(seed uint64, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(b)
	return b
}

func addPhoto(ctx context.Context, r *Registry, id CaseID, content []byte, n NewPhoto) (Photo, bool, error) {
	u, err := r.NewUpload(ctx, id)
	if err != nil {
		return Photo{}, false, err
	}
	defer u.Close()
	if _, err := io.Copy(u, bytes.NewReader(content)); err != nil {
		return Photo{}, false, err
	}
	if n.Format == "" {
		n.Format = "jpeg"
	}
	return u.Commit(ctx, n)
}

func mustAdd(t testing.TB, r *Registry, id CaseID, content []byte) Photo {
	t.Helper()
	p, existed, err := addPhoto(t.Context(), r, id, content, NewPhoto{})
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	return p
}

func readPhoto(r *Registry, id PhotoID) ([]byte, error) {
	rc, err := r.OpenPhoto(context.Background(), id)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// files lists the files under a folder.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// strays fails the test when a file in photos/ has no row, a row has no file, or tmp/ holds more than locks.
func strays(t testing.TB, r *Registry) {
	t.Helper()
	named := make(map[string]bool)
	rows, err := r.readers.Query("SELECT file FROM photos")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var f string
		if err := rows.Scan(&f); err != nil {
			t.Fatal(err)
		}
		named[r.file(f)] = true
	}
	for _, f := range files(t, r.photos()) {
		if !named[f] {
			t.Errorf("stray photo file %s", f)
		}
		delete(named, f)
	}
	for f := range named {
		t.Errorf("photo file %s is missing", f)
	}
	for _, f := range files(t, r.tmp()) {
		if filepath.Base(f) != lockName {
			t.Errorf("stray file %s", f)
		}
	}
}

func TestOpenLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "da?ta %41")
	r := open(t, dir, Options{})
	mustAdd(t, r, newCase(t, r, Missing).ID, randomPhoto(1, 10))
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"registry.db", "operator.key"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	var version int
	var mode string
	var sync int
	if err := r.writer.QueryRow("PRAGMA user_version").Scan(&version); err != nil || version != 4 {
		t.Error(version, err)
	}
	if err := r.writer.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Error(mode, err)
	}
	if err := r.writer.QueryRow("PRAGMA synchronous").Scan(&sync); err != nil || sync != 2 {
		t.Error(sync, err)
	}
	if _, err := r.readers.Exec("DELETE FROM cases"); err == nil {
		t.Error("a reading connection can write")
	}
}

func TestOpenRefusesNewerSchema(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	if _, err := r.writer.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
}

func TestOperatorKey(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.CreateCase(t.Context(), Case{Gallery: Missing})
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := addPhoto(t.Context(), r, c.ID, []byte("photo"), NewPhoto{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "operator.key")
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	other := open(t, elsewhere, Options{OperatorKey: filepath.Join(elsewhere, "my.key")})
	if _, err := os.Stat(filepath.Join(other.dir, "operator.key")); err == nil {
		t.Error("a second key was made")
	}
	wrong, err := os.ReadFile(filepath.Join(elsewhere, "my.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"gone": nil, "wrong": wrong, "cut": good[:len(good)/2], "empty": {}} {
		os.Remove(key)
		if content != nil {
			if err := os.WriteFile(key, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "Put back") {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(key); name != "gone" && (err != nil || !bytes.Equal(now, content)) {
			t.Errorf("%s: key changed", name)
		} else if name == "gone" && err == nil {
			t.Error("a new key was made for an old registry")
		}
	}
	moved := filepath.Join(t.TempDir(), "moved.key")
	if err := os.WriteFile(moved, good, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Options{OperatorKey: moved})
	if b, err := readPhoto(again, p.ID); err != nil || string(b) != "photo" {
		t.Fatal(b, err)
	}
}

func TestOpenRefusesPhotosWithoutDatabase(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, r, newCase(t, r, Missing).ID, []byte("photo"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"registry.db", "registry.db-wal", "registry.db-shm"} {
		os.Remove(filepath.Join(dir, f))
	}
	before := files(t, filepath.Join(dir, "photos"))
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if after := files(t, filepath.Join(dir, "photos")); len(after) != len(before) || len(after) != 1 {
		t.Fatal("photos were touched")
	}
}

// TestNothingReadableOnDisk looks for the plaintext in every file of the folder.
func TestNothingReadableOnDisk(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	c := newCase(t, r, Missing)
	content := bytes.Repeat([]byte("the child's own face "), 10_000)
	u, err := r.NewUpload(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write(content); err != nil {
		t.Fatal(err)
	}
	template := make([]float32, 64)
	for i := range template {
		template[i] = float32(i) + 0.25
	}
	look := func(when string) {
		for _, f := range files(t, dir) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte("own face")) || bytes.Contains(b, floatBytes(template)) {
				t.Errorf("%s: %s holds plaintext", when, f)
			}
		}
	}
	look("during the upload")
	p, _, err := u.Commit(t.Context(), NewPhoto{Format: "jpeg"})
	if err != nil {
		t.Fatal(err)
	}
	err = r.SaveAnalysis(t.Context(), p.ID, "set", NewAnalysis{Faces: []NewFace{{
		Face: Face{W: 10, H: 10, Searchable: true}, Template: template, Embeddings: map[string][]float32{"r": template},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	look("after the analysis")
	refs, err := r.References(t.Context(), c.ID, "set")
	if err != nil || len(refs) != 1 || !bytes.Equal(floatBytes(refs[0].Template), floatBytes(template)) {
		t.Fatal(refs, err)
	}
	e, err := r.Embeddings(t.Context(), refs[0].Face)
	if err != nil || !bytes.Equal(floatBytes(e["r"]), floatBytes(template)) {
		t.Fatal(e, err)
	}
}

// TestDeletedCaseLeavesNoKey looks for the sealed key of a deleted case in database and log.
func TestDeletedCaseLeavesNoKey(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	c := newCase(t, r, Missing)
	mustAdd(t, r, c.ID, []byte("photo"))
	var key []byte
	if err := r.readers.QueryRow("SELECT key FROM cases").Scan(&key); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteCase(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	for _, f := range files(t, dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, key[len(key)/2:]) {
			t.Errorf("%s holds the deleted case's key", f)
		}
	}
	strays(t, r)
	if left := files(t, r.photos()); len(left) != 0 {
		t.Error(left)
	}
	if err := r.DeleteCase(t.Context(), c.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
