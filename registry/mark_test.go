package registry

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// copyOf copies the folder of an open registry, as it would be found after a power cut.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestLostLog cuts the database's log short at many places, deletes it, and puts an older database back: where photos are lost by that, it
// is noticed, no file is touched and Check says so, until the loss is accepted.
func TestLostLog(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	c := newCase(t, r, Missing)
	older := copyOf(t, dir)
	var acknowledged []PhotoID
	for i := range 6 {
		acknowledged = append(acknowledged, mustAdd(t, r, c.ID, randomPhoto(uint64(i), 3000)).ID)
	}
	log := filepath.Join(dir, "registry.db-wal")
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for cut := -2; cut <= 40; cut++ {
		at := copyOf(t, dir)
		log := filepath.Join(at, "registry.db-wal")
		os.Remove(filepath.Join(at, "registry.db-shm"))
		switch cut {
		case -2: // an older copy
			for _, f := range []string{"registry.db", "registry.db-wal"} {
				b, err := os.ReadFile(filepath.Join(older, f))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(at, f), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		case -1:
			os.Remove(log)
		default:
			os.Truncate(log, int64(len(whole)*cut/40))
		}
		r, err := Open(t.Context(), at, Options{})
		if errors.Is(err, ErrCorrupt) && len(files(t, filepath.Join(at, "photos"))) == len(acknowledged) {
			lost++ // not even the keys are left
			continue
		}
		if err != nil {
			t.Fatal(cut, err)
		}
		missing := 0
		for _, id := range acknowledged {
			if _, err := r.Photo(t.Context(), id); err != nil {
				missing++
			}
		}
		if n := len(files(t, r.photos())); n != len(acknowledged) {
			t.Errorf("cut %d: %d files are left", cut, n)
		}
		if missing == 0 {
			if r.Loss() != nil {
				t.Errorf("cut %d: nothing is missing, and yet: %v", cut, r.Loss())
			}
			r.Close()
			continue
		}
		lost++
		l := r.Loss()
		if l == nil || !l.Known || l.Last-l.Kept < int64(missing) || l.LastAt.Before(l.KeptAt) || !strings.Contains(l.String(), "homeward restore") {
			t.Fatalf("cut %d: %d photos are missing: %v", cut, missing, l)
		}
		if codes := checked(t, r, false); !slices.Contains(codes, "database.behind") || len(codes) != 1+missing {
			t.Errorf("cut %d: %v", cut, codes)
		}
		// What goes on in between does not make it forgotten.
		newCase(t, r, Found)
		for range 12 {
			newCase(t, r, Found)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		// Later, as in another process' time the files would be too young to be strays.
		if r, err = Open(t.Context(), at, Options{Now: func() time.Time { return time.Now().Add(time.Hour) }}); err != nil {
			t.Fatal(err)
		}
		if r.Loss() == nil {
			t.Fatalf("cut %d: the loss is forgotten", cut)
		}
		// Accepted by one process, it is so for the others.
		second := open(t, at, Options{})
		if _, err := r.Repair(t.Context(), RepairOptions{CheckOptions: expected}, func(m Mended) {
			if m.Code == "database.behind" && m.Done != "" {
				t.Error("accepted without a word")
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Repair(t.Context(), RepairOptions{CheckOptions: expected, AcceptLoss: true}, func(Mended) {}); err != nil {
			t.Fatal(err)
		}
		if codes := checked(t, r, true); len(codes) > 0 || r.Loss() != nil {
			t.Errorf("cut %d: %v, %v", cut, codes, r.Loss())
		}
		newCase(t, second, Found)
		if second.Loss() != nil {
			t.Errorf("cut %d: another process holds on to it: %v", cut, second.Loss())
		}
		if n := len(files(t, filepath.Join(at, lostName))); n != missing {
			t.Errorf("cut %d: %d files in lost/, %d photos missing", cut, n, missing)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if again := open(t, at, Options{}); again.Loss() != nil {
			t.Error(again.Loss())
		}
	}
	if lost < 10 {
		t.Error("photos were lost in only", lost, "of the cuts")
	}
}

// TestNoMark takes the mark away or damages it: nobody can then say whether anything was lost, so what has no row is kept aside.
func TestNoMark(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":    os.Remove,
		"empty":   func(p string) error { return os.Truncate(p, 0) },
		"cut":     func(p string) error { return os.Truncate(p, 40) },
		"flipped": func(p string) error { b, _ := os.ReadFile(p); b[20] ^= 1; return os.WriteFile(p, b, 0o600) },
		"rubbish": func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x "), 500), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			live := t.TempDir()
			mustAdd(t, open(t, live, Options{}), newCase(t, open(t, live, Options{}), Missing).ID, randomPhoto(1, 100))
			dir := copyOf(t, live)
			stray := filepath.Join(dir, "photos", "ab", strings.Repeat("ab", 32))
			os.MkdirAll(filepath.Dir(stray), 0o700)
			if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(dir, markName)); err != nil {
				t.Fatal(err)
			}
			r, err := Open(t.Context(), dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if l := r.Loss(); l == nil || l.Known {
				t.Error(l)
			}
			if kept := files(t, filepath.Join(dir, lostName)); len(kept) != 1 {
				t.Error(kept)
			}
			if codes := checked(t, r, true); len(codes) > 0 {
				t.Error(codes)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if again := open(t, dir, Options{}); again.Loss() != nil {
				t.Error(again.Loss())
			}
		})
	}
}

// BenchmarkMark writes the mark, as every commit does.
func BenchmarkMark(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	m := mark{1, time.Now(), make([]byte, 32)}
	for b.Loop() {
		m.n++
		if err := r.putMark(m); err != nil {
			b.Fatal(err)
		}
	}
}
