package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"homeward/registry"
)

// openRegistry opens a registry that closes with the test.
func openRegistry(t testing.TB, dir string, o registry.Options) *registry.Registry {
	t.Helper()
	r, err := registry.Open(t.Context(), dir, o)
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

// randomPhoto is bytes that stand for a photo: neither registry nor backup looks inside one.
func randomPhoto(seed uint64, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(b)
	return b
}

func newCase(t testing.TB, r *registry.Registry) registry.CaseID {
	t.Helper()
	c, err := r.CreateCase(t.Context(), registry.Case{Gallery: registry.Missing, Names: []string{"Li"}, Notes: "birthmark on the left arm"})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func upload(ctx context.Context, r *registry.Registry, id registry.CaseID, content []byte) (registry.Photo, error) {
	u, err := r.NewUpload(ctx, id)
	if err != nil {
		return registry.Photo{}, err
	}
	defer u.Close()
	if _, err := io.Copy(u, bytes.NewReader(content)); err != nil {
		return registry.Photo{}, err
	}
	p, _, err := u.Commit(ctx, registry.NewPhoto{Format: "jpeg"})
	return p, err
}

// addPhoto adds a photo with one face.
func addPhoto(ctx context.Context, r *registry.Registry, id registry.CaseID, content []byte) (registry.Photo, error) {
	p, err := upload(ctx, r, id, content)
	if err != nil {
		return p, err
	}
	vector := make([]float32, 129)
	for i := range vector {
		vector[i] = rand.Float32()
	}
	return p, r.SaveAnalysis(ctx, p.ID, "set.metric", registry.NewAnalysis{Width: 10, Height: 10, Faces: []registry.NewFace{{
		Face:       registry.Face{X: 1, Y: 1, W: 5, H: 5, Score: 1, Searchable: true},
		Embeddings: map[string][]float32{"r": vector[:128]},
		Template:   vector,
	}}})
}

// fill adds a case with n photos, and returns what is in each.
func fill(t testing.TB, r *registry.Registry, n int) map[registry.PhotoID][]byte {
	t.Helper()
	id := newCase(t, r)
	out := make(map[registry.PhotoID][]byte)
	for range n {
		content := randomPhoto(rand.Uint64(), 1+rand.IntN(20_000))
		p, err := addPhoto(t.Context(), r, id, content)
		if err != nil {
			t.Fatal(err)
		}
		out[p.ID] = content
	}
	return out
}

func backUp(t testing.TB, r *registry.Registry, dir string) Report {
	t.Helper()
	report, err := Run(t.Context(), r, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mustOpen(t testing.TB, dir string, key registry.OperatorKey) *Backup {
	t.Helper()
	b, err := Open(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func verify(t testing.TB, b *Backup, deep bool) Verified {
	t.Helper()
	v, err := b.Verify(t.Context(), deep, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// restored restores a snapshot and opens what came of it. key is the path of the operator's key.
func restored(t testing.TB, dir, key string, id int) *registry.Registry {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if _, err := Restore(t.Context(), dir, data, RestoreOptions{Snapshot: id, OperatorKey: key}); err != nil {
		t.Fatal(err)
	}
	return openRegistry(t, data, registry.Options{OperatorKey: key, Existing: true})
}

// holds fails the test unless the registry has the photos with what is in them.
func holds(t testing.TB, r *registry.Registry, want map[registry.PhotoID][]byte) {
	t.Helper()
	for id, content := range want {
		rc, err := r.OpenPhoto(t.Context(), id)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := io.ReadAll(rc)
		if err = errors.Join(err, rc.Close()); err != nil || !bytes.Equal(got, content) {
			t.Errorf("photo %s is not what it was: %v", id, err)
		}
		p, err := r.Photo(t.Context(), id)
		if err != nil || len(p.Faces) != 1 {
			t.Errorf("photo %s has %d faces: %v", id, len(p.Faces), err)
		}
	}
	if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// tree lists the files under a folder with their sizes.
func tree(t testing.TB, dir string) map[string]int64 {
	t.Helper()
	out := make(map[string]int64)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			rel, _ := filepath.Rel(dir, path)
			out[rel] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flip changes one bit of a file.
func flip(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 4
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
