package backup

import (
	"bytes"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"homeward/registry"
)

// failing is a reader and writer on a disk that fails.
type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, os.NewSyscallError("read", syscall.EIO) }
func (failing) Write([]byte) (int, error) { return 0, os.NewSyscallError("write", syscall.EIO) }

// TestUnreadableIsDamage: a sector that cannot be read is damage, and one that cannot be written is not.
func TestUnreadableIsDamage(t *testing.T) {
	if _, err := hashStream(failing{}, sum{}, io.Discard); !errors.Is(err, ErrDamaged) || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if _, err := hashStream(bytes.NewReader(make([]byte, 10)), sum{}, failing{}); errors.Is(err, ErrDamaged) || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	for _, err := range []error{syscall.EBADMSG, syscall.EUCLEAN} {
		if !errors.Is(unreadable(err), ErrDamaged) {
			t.Error(err)
		}
	}
	if err := unreadable(io.EOF); err != io.EOF {
		t.Error(err)
	}
}

// TestStrangeFiles: whatever was put under the names of a backup's files is damage, which is never waited for or followed, and healed.
func TestStrangeFiles(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 5)
	backUp(t, r, dir)
	backUp(t, r, dir)
	b := mustOpen(t, dir, r.OperatorKey())
	m, err := b.manifest(2)
	if err != nil {
		t.Fatal(err)
	}
	chunks, err := sums(m.Chunks)
	if err != nil {
		t.Fatal(err)
	}
	var photos []photo
	if err := b.eachPhoto(m, nil, func(p photo) error {
		photos = append(photos, p)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	replace := func(name string, with func(path string) error) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Remove(path), with(path)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(path string) error { return os.Symlink("/dev/zero", path) }
	pipe := func(path string) error { return unix.Mkfifo(path, 0o600) }
	endless := func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) }
	replace(photos[0].name.path(photosName), link)
	replace(photos[1].name.path(photosName), pipe)
	replace(photos[2].name.path(photosName), endless)
	replace(chunks[0].path(chunksName), endless)
	replace(chunks[1].path(chunksName), pipe)
	replace(snapshotFile(1), pipe)
	replace(headerCopy, link)
	list, err := b.List()
	if err != nil || len(list) != 2 || !list[0].Damaged || list[1].Damaged {
		t.Errorf("%+v, %v", list, err)
	}
	if v := verify(t, b, true); len(v.Damaged) != 7 {
		t.Errorf("%+v", v.Damaged)
	}
	if _, err := Restore(t.Context(), dir, filepath.Join(t.TempDir(), "data"), RestoreOptions{OperatorKey: filepath.Join(data, keyName)}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if rep := backUp(t, r, dir); rep.Healed < 4 {
		t.Errorf("%+v", rep)
	}
	holds(t, restored(t, dir, filepath.Join(data, keyName), 3), want)
}

// TestPruneKeepsWhole: a snapshot that is known to be damaged is none of those that were to be kept.
func TestPruneKeepsWhole(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 2)
	backUp(t, r, dir)
	backUp(t, r, dir)
	fill(t, r, 1)
	backUp(t, r, dir)
	b := mustOpen(t, dir, r.OperatorKey())
	m, err := b.manifest(3)
	if err != nil {
		t.Fatal(err)
	}
	var last photo
	if err := b.eachPhoto(m, nil, func(p photo) error {
		last = p
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, last.name.path(photosName))); err != nil {
		t.Fatal(err)
	}
	out, err := b.Prune(t.Context(), 1)
	if err != nil || !slices.Equal(out.Kept, []int{3, 2}) || !slices.Equal(out.Damaged, []int{3}) || !slices.Equal(out.Removed, []int{1}) {
		t.Errorf("%+v, %v", out, err)
	}
	holds(t, restored(t, dir, filepath.Join(data, keyName), 2), want)
}

// TestVerifyGoesOn: behind a list that is damaged the next ones are looked at.
func TestVerifyGoesOn(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	fill(t, r, 3)
	backUp(t, r, dir)
	b := mustOpen(t, dir, r.OperatorKey())
	m, err := b.manifest(1)
	if err != nil {
		t.Fatal(err)
	}
	lost := b.chunkName([]byte("a list that is gone"))
	m.Lists = append(lost[:], m.Lists...)
	if err := b.putManifest(t.Context(), 2, m); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, snapshotFile(1))); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, b, false); v.Photos != 3 || len(v.Damaged) != 1 || !strings.HasSuffix(v.Damaged[0].File, lost.String()) {
		t.Errorf("%+v", v)
	}
}

// TestMadeThoughNotRecorded: a snapshot that is made is not taken a second time because the registry cannot note it.
func TestMadeThoughNotRecorded(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	fill(t, r, 1)
	db, err := sql.Open("sqlite", filepath.Join(data, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rep, err := Run(t.Context(), r, dir, Options{step: func(step string) error {
		if step != "snapshot.renamed" {
			return nil
		}
		_, err := db.Exec("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")
		return err
	}})
	if err != nil || rep.ID != 1 || rep.Unrecorded == "" {
		t.Errorf("%+v, %v", rep, err)
	}
	if _, err := db.Exec("DROP TRIGGER full"); err != nil {
		t.Fatal(err)
	}
}
