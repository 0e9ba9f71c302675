package registry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that many bytes, which takes root.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Skip("cannot mount a small disk:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// leave fills the disk up to that many free bytes.
func leave(t *testing.T, dir string, free int64) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	if err := os.Remove(ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	if n := int64(s.Bavail)*s.Bsize - free; n > 0 {
		if err := os.WriteFile(ballast, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk does everything that writes with ever less space left: each thing works or is ErrFull, and in that case
// leaves nothing behind. Then space is made and everything works again.
func TestFullDisk(t *testing.T) {
	const disk = 4 << 20
	dir := smallDisk(t, disk)
	r := open(t, dir, Options{})
	c := newCase(t, r, Missing)
	stored := make(map[PhotoID][]byte)
	full := make(map[string]int)
	check := func(what string, err error) bool {
		t.Helper()
		if errors.Is(err, ErrFull) {
			full[what]++
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return err == nil
	}
	var last Photo
	seed := uint64(0)
	try := func() {
		seed++
		content := randomPhoto(seed, 60_000)
		p, _, err := addPhoto(t.Context(), r, c.ID, content, NewPhoto{})
		if check("upload", err) {
			stored[p.ID] = content
			last = p
		}
		check("analysis", r.SaveAnalysis(t.Context(), last.ID, "set", NewAnalysis{Faces: []NewFace{face(0, float32(seed))}}))
		other, err := r.CreateCase(t.Context(), Case{Gallery: Found, Notes: string(bytes.Repeat([]byte("x"), 5000))})
		if check("case", err) {
			check("delete case", r.DeleteCase(t.Context(), other.ID))
		}
		strays(t, r)
	}
	try()
	if t.Failed() || last.ID == "" {
		t.FailNow()
	}
	for free := int64(160 << 10); free >= 0; free -= 4 << 10 {
		leave(t, dir, free)
		try()
	}
	for _, what := range []string{"upload", "analysis", "case"} {
		if full[what] == 0 {
			t.Errorf("the disk was never too full for %s", what)
		}
	}
	for id, content := range stored {
		if got, err := readPhoto(r, id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("photo %s on a full disk: %v", id, err)
		}
	}
	var n int
	if err := r.readers.QueryRow("SELECT count(*) FROM photos").Scan(&n); err != nil || n != len(stored) {
		t.Error(n, "rows,", len(stored), "acknowledged", err)
	}
	leave(t, dir, disk)
	clear(full)
	try()
	if len(full) != 0 {
		t.Error("with space again:", full)
	}
	if n := len(files(t, filepath.Join(dir, "tmp"))); n != 1 {
		t.Error(n, "files in tmp")
	}
}

// TestOpenOnFullDisk opens a new registry on disks of every small size.
func TestOpenOnFullDisk(t *testing.T) {
	for size := 4 << 10; size <= 512<<10; size += 20 << 10 {
		dir := smallDisk(t, size)
		r, err := Open(t.Context(), dir, Options{})
		if err == nil {
			if err := r.Close(); err != nil && !errors.Is(err, ErrFull) {
				t.Errorf("%d bytes: %v", size, err)
			}
		} else if !errors.Is(err, ErrFull) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := unix.Mount("", dir, "", syscall.MS_REMOUNT, "size=8m"); err != nil {
			t.Fatal(err)
		}
		r, err = Open(t.Context(), dir, Options{})
		if err != nil {
			t.Errorf("%d bytes, then more: %v", size, err)
			continue
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
