package backup

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homeward/registry"
)

func TestBackupAndRestore(t *testing.T) {
	data, dir := t.TempDir(), filepath.Join(t.TempDir(), "a", "backup")
	key := filepath.Join(data, keyName)
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 20)
	first := backUp(t, r, dir)
	if first.ID != 1 || first.Photos != 20 || first.NewPhotos != 20 || first.NewChunks == 0 || first.Counts["photos"] != 20 {
		t.Errorf("first: %+v", first)
	}
	early := maps.Clone(want)
	maps.Copy(want, fill(t, r, 3))
	second := backUp(t, r, dir)
	if second.ID != 2 || second.Photos != 23 || second.NewPhotos != 3 || !second.Oldest.Equal(first.At) {
		t.Errorf("second: %+v", second)
	}
	for _, deep := range []bool{false, true} {
		if v := verify(t, mustOpen(t, dir, r.OperatorKey()), deep); v.Snapshots != 2 || v.Photos != 23 || len(v.Damaged) != 0 || v.Unused != 0 {
			t.Errorf("verify, deep %v: %+v", deep, v)
		}
	}
	for name := range tree(t, dir) {
		if strings.Contains(name, keyName) || strings.HasPrefix(name, tmpName) {
			t.Error(name, "is in the backup")
		}
	}
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Error(path, "has mode", info.Mode(), err)
		}
		if d.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("birthmark")) || bytes.Contains(content, []byte("SQLite")) {
			t.Error(path, "says what is in the registry")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	holds(t, restored(t, dir, key, 0), want)
	back := restored(t, dir, key, 1)
	holds(t, back, early)
	if back.ID() != r.ID() {
		t.Error("the restored registry is another one")
	}
	// It goes on backing up to the same folder.
	if third := backUp(t, back, dir); third.ID != 3 || third.NewPhotos != 0 {
		t.Errorf("third: %+v", third)
	}
}

// TestBackupOfUnchangedRegistry: a second backup writes what the first one itself changed, which is its line in the audit.
func TestBackupOfUnchangedRegistry(t *testing.T) {
	r := openRegistry(t, t.TempDir(), registry.Options{})
	fill(t, r, 300)
	dir := t.TempDir()
	first := backUp(t, r, dir)
	before := tree(t, dir)
	second := backUp(t, r, dir)
	var written int64
	for name, size := range tree(t, dir) {
		if _, ok := before[name]; !ok {
			written += size
		}
	}
	if second.NewPhotos != 0 || second.NewChunks > 8 {
		t.Errorf("%d new photos and %d new chunks of %d", second.NewPhotos, second.NewChunks, second.Chunks)
	}
	if most := int64(256 << 10); written > most || written > first.Stored/4 {
		t.Errorf("%d bytes were written, after %d", written, first.Stored)
	}
}

// TestBackupWhileWriting takes snapshots while photos are added, analysed and deleted. Each is a registry in itself: whole, and as it
// was at one moment.
func TestBackupWhileWriting(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	other := openRegistry(t, data, registry.Options{}) // as another process would be
	fill(t, r, 50)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for _, w := range []*registry.Registry{r, r, other} {
		id := newCase(t, w)
		writers.Go(func() {
			var mine []registry.PhotoID
			for ctx.Err() == nil {
				p, err := addPhoto(context.Background(), w, id, randomPhoto(rand.Uint64(), 3000))
				if err != nil {
					t.Error(err)
					return
				}
				if mine = append(mine, p.ID); len(mine) > 5 {
					i := rand.IntN(len(mine))
					if err := w.DeletePhoto(context.Background(), mine[i]); err != nil {
						t.Error(err)
						return
					}
					mine = slices.Delete(mine, i, i+1)
				}
			}
		})
	}
	const times = 6
	for range times {
		if rep := backUp(t, r, dir); len(rep.MissingFiles) > 0 {
			t.Errorf("files are missing: %v", rep.MissingFiles)
		}
	}
	stop()
	writers.Wait()
	if v := verify(t, mustOpen(t, dir, r.OperatorKey()), true); v.Snapshots != times || len(v.Damaged) != 0 {
		t.Errorf("%+v", v)
	}
	for id := 1; id <= times; id++ {
		readable(t, restored(t, dir, filepath.Join(data, keyName), id))
	}
}

// readable fails the test unless every photo that the registry names can be read, and the chain of the audit holds.
func readable(t testing.TB, r *registry.Registry) {
	t.Helper()
	want := make(map[registry.PhotoID]bool)
	if _, err := r.EachReference(t.Context(), "set.metric", func(c registry.Case, _ []registry.Reference) error {
		photos, err := r.PhotosOf(t.Context(), c.ID)
		for _, p := range photos {
			want[p.ID] = true
			rc, err := r.OpenPhoto(t.Context(), p.ID)
			if err != nil {
				t.Error(err)
				continue
			}
			var b bytes.Buffer
			if _, err := b.ReadFrom(rc); err != nil {
				t.Error(err)
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 {
		t.Error("there is no photo")
	}
	if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// TestBackupOfDeletedPhotos deletes photos, a case with its key among them, between the copy of the database and that of the files.
func TestBackupOfDeletedPhotos(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 5)
	gone := fill(t, r, 5)
	single := slices.Sorted(maps.Keys(want))[0]
	report, err := Run(t.Context(), r, dir, Options{step: func(step string) error {
		if step != "database.kept" {
			return nil
		}
		for id := range gone {
			p, err := r.Photo(t.Context(), id)
			if err != nil {
				return err
			}
			if err := r.DeleteCase(t.Context(), p.CaseID); err != nil {
				return err
			}
			break
		}
		return r.DeletePhoto(t.Context(), single)
	}})
	if err != nil {
		t.Fatal(err)
	}
	delete(want, single)
	if report.Gone != 6 || report.Photos != 4 || len(report.MissingFiles) != 0 {
		t.Errorf("%+v", report)
	}
	back := restored(t, dir, filepath.Join(data, keyName), 0)
	holds(t, back, want)
	for _, id := range append(slices.Collect(maps.Keys(gone)), single) {
		if _, err := back.Photo(t.Context(), id); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("deleted photo %s is there: %v", id, err)
		}
	}
	if v := verify(t, mustOpen(t, dir, r.OperatorKey()), true); len(v.Damaged) != 0 {
		t.Errorf("%+v", v)
	}
}

// TestBackupOfLostPhotos: the registry itself has lost or damaged files. The backup says so, makes its snapshot all the same, and helps
// out with a copy that it has.
func TestBackupOfLostPhotos(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	saved := fill(t, r, 1)
	backUp(t, r, dir)
	var names []string
	for name := range tree(t, filepath.Join(data, "photos")) {
		names = append(names, name)
	}
	fill(t, r, 2)
	for name := range tree(t, filepath.Join(data, "photos")) {
		switch path := filepath.Join(data, "photos", name); {
		case slices.Contains(names, name), len(names) == 2:
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		default:
			flip(t, path)
			names = append(names, name)
		}
	}
	report := backUp(t, r, dir)
	if len(report.MissingFiles) != 2 || report.Missing != 2 || report.Photos != 1 {
		t.Errorf("%+v", report)
	}
	out, err := Restore(t.Context(), dir, filepath.Join(t.TempDir(), "data"), RestoreOptions{OperatorKey: filepath.Join(data, keyName)})
	if err != nil || len(out.Lost) != 2 {
		t.Error(out, err)
	}
	holds(t, restored(t, dir, filepath.Join(data, keyName), 0), saved)
	var b bytes.Buffer
	if err := mustOpen(t, dir, r.OperatorKey()).PhotoFile(t.Context(), filepath.Base(names[0]), &b); err != nil || b.Len() == 0 {
		t.Error(err)
	}
	err = mustOpen(t, dir, r.OperatorKey()).PhotoFile(t.Context(), strings.Repeat("0", 64), &b)
	if !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
}

// TestFlippedBit changes one bit in every file of a backup, one after another: verify names it, restore does not hand out what is damaged,
// and the next backup heals what the registry still has.
func TestFlippedBit(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	key := filepath.Join(data, keyName)
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 3)
	backUp(t, r, dir)
	maps.Copy(want, fill(t, r, 3))
	backUp(t, r, dir)
	b := mustOpen(t, dir, r.OperatorKey())
	for name := range tree(t, dir) {
		if name == lockName || strings.HasPrefix(name, damagedName) {
			continue
		}
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, path)
		v := verify(t, b, true)
		if len(v.Damaged) != 1 || v.Damaged[0].File != name {
			t.Errorf("%s is damaged, and verify says %+v", name, v.Damaged)
		}
		into := filepath.Join(t.TempDir(), "data")
		_, err = Restore(t.Context(), dir, into, RestoreOptions{OperatorKey: key})
		needed := len(v.Damaged) == 1 && slices.Contains(v.Damaged[0].Snapshots, 2)
		var d *DamagedError
		switch {
		case needed && (!errors.As(err, &d) || d.File != name || d.Snapshot != 2):
			t.Errorf("restore with %s damaged: %v", name, err)
		case needed && !slices.Contains(v.Damaged[0].Snapshots, 1) && !slices.Equal(d.Instead, []int{1}):
			t.Errorf("restore with %s damaged does not offer the other snapshot: %v", name, err)
		case !needed && err != nil:
			t.Errorf("restore with %s damaged, which it does not need: %v", name, err)
		}
		if _, err := os.Lstat(into); needed && !errors.Is(err, fs.ErrNotExist) {
			t.Error("restore left something:", err)
		}
		if d != nil && d.Photo {
			out, err := Restore(t.Context(), dir, into, RestoreOptions{OperatorKey: key, DespiteDamage: true})
			if err != nil || len(out.Damaged) != 1 {
				t.Error(out, err)
			}
		}
		if strings.HasPrefix(name, photosName) || strings.HasPrefix(name, headerName) {
			if rep := backUp(t, r, dir); strings.HasPrefix(name, photosName) && rep.Healed != 1 {
				t.Errorf("%s: %d files were healed", name, rep.Healed)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, whole) {
				t.Errorf("%s was not healed: %v", name, err)
			}
			if err := os.Remove(filepath.Join(dir, snapshotFile(3))); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := b.forgetDamage(); err != nil {
			t.Fatal(err)
		}
	}
	if v := verify(t, b, true); len(v.Damaged) != 0 {
		t.Errorf("%+v", v)
	}
	holds(t, restored(t, dir, key, 2), want)
}

// TestDamageIsFoundInTime: backups read again what is there, though nobody verifies.
func TestDamageIsFoundInTime(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	fill(t, r, 2)
	backUp(t, r, dir)
	for name := range tree(t, filepath.Join(dir, photosName)) {
		flip(t, filepath.Join(dir, photosName, name))
	}
	var healed int64
	for range rereadShare {
		healed += backUp(t, r, dir).Healed
	}
	if v := verify(t, mustOpen(t, dir, r.OperatorKey()), true); healed != 2 || len(v.Damaged) != 0 {
		t.Errorf("%d healed, then %+v", healed, v)
	}
}

func TestPrune(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 5)
	kept := maps.Clone(want)
	doomed := fill(t, r, 5)
	backUp(t, r, dir)
	backUp(t, r, dir)
	for id := range doomed {
		p, err := r.Photo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.DeleteCase(t.Context(), p.CaseID); err != nil {
			t.Fatal(err)
		}
		break
	}
	backUp(t, r, dir)
	b := mustOpen(t, dir, r.OperatorKey())
	if _, err := b.Prune(t.Context(), 0); !errors.Is(err, registry.ErrInvalid) {
		t.Error(err)
	}
	flip(t, filepath.Join(dir, snapshotFile(2)))
	out, err := b.Prune(t.Context(), 2)
	if err != nil || !slices.Equal(out.Removed, []int{2}) || !slices.Equal(out.Kept, []int{3, 1}) {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = b.Prune(t.Context(), 1)
	if err != nil || !slices.Equal(out.Removed, []int{1}) || out.Files < 5 {
		t.Errorf("%+v, %v", out, err)
	}
	if v := verify(t, b, true); len(v.Damaged) != 0 || v.Unused != 0 || v.Photos != 5 {
		t.Errorf("%+v", v)
	}
	holds(t, restored(t, dir, filepath.Join(data, keyName), 0), kept)
	flip(t, filepath.Join(dir, snapshotFile(3)))
	before := tree(t, dir)
	if _, err := b.Prune(t.Context(), 1); !errors.Is(err, ErrDamaged) || !maps.Equal(before, tree(t, dir)) {
		t.Error("prune of a backup of which nothing can be read:", err)
	}
	if rep := backUp(t, r, dir); rep.ID != 4 {
		t.Errorf("%+v", rep)
	}
}

// TestRefusals: each of these is told apart, and leaves everything as it was.
func TestRefusals(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	key := filepath.Join(data, keyName)
	r := openRegistry(t, data, registry.Options{})
	fill(t, r, 2)
	backUp(t, r, dir)
	foreignData := t.TempDir()
	foreign := openRegistry(t, foreignData, registry.Options{})
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "letters.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	notKey := filepath.Join(t.TempDir(), "not.key")
	if err := os.WriteFile(notKey, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "new")
	backingUp := func(r *registry.Registry, dir string) func() error {
		return func() error {
			_, err := Run(t.Context(), r, dir, Options{})
			return err
		}
	}
	restore := func(dir, data string, o RestoreOptions) func() error {
		return func() error {
			_, err := Restore(t.Context(), dir, data, o)
			return err
		}
	}
	tests := []struct {
		name string
		do   func() error
		is   error
		says string
	}{
		{"another registry's backup", backingUp(foreign, dir), ErrOther, "choose another folder"},
		{"a folder with other things", backingUp(r, occupied), ErrNotEmpty, "empty folder"},
		{"inside the registry", backingUp(r, filepath.Join(data, "backup")), nil, "lost together"},
		{"inside the registry by a link", backingUp(r, filepath.Join(link, "b", "c")), nil, "lost together"},
		{"around the registry", backingUp(r, filepath.Dir(data)), nil, "lost together"},
		{"a file", backingUp(r, filepath.Join(occupied, "letters.txt")), nil, "not a directory"},
		{"restore of nothing", restore(t.TempDir(), missing, RestoreOptions{OperatorKey: key}), ErrNoBackup, ""},
		{"restore into the registry", restore(dir, data, RestoreOptions{OperatorKey: key}), ErrNotEmpty, "new or empty folder"},
		{"restore over other things", restore(dir, occupied, RestoreOptions{OperatorKey: key}), ErrNotEmpty, "--data"},
		{"restore into the backup", restore(dir, filepath.Join(dir, "new"), RestoreOptions{OperatorKey: key}), nil, "apart"},
		{"without a key", restore(dir, missing, RestoreOptions{}), registry.ErrKey, "is missing"},
		{"another registry's key", restore(dir, missing, RestoreOptions{OperatorKey: filepath.Join(foreignData, keyName)}), registry.ErrKey, "does not open this backup"},
		{"no key at all", restore(dir, missing, RestoreOptions{OperatorKey: notKey}), registry.ErrKey, "not an operator's key"},
		{"a snapshot that is not", restore(dir, missing, RestoreOptions{OperatorKey: key, Snapshot: 7}), registry.ErrNotFound, "backup list"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := tree(t, dir)
			err := test.do()
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
			if !maps.Equal(before, tree(t, dir)) {
				t.Error("the backup is not as it was")
			}
			if _, err := os.Lstat(missing); !errors.Is(err, fs.ErrNotExist) {
				t.Error("a folder was made", err)
			}
			if n := len(tree(t, occupied)); n != 1 {
				t.Error(n, "files in a folder that was refused")
			}
		})
	}
}

// TestOneAtATime: while a backup runs, all else that would meet it is refused; afterwards it works.
func TestOneAtATime(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	fill(t, r, 2)
	backUp(t, r, dir)
	b := mustOpen(t, dir, r.OperatorKey())
	others := map[string]func() error{
		"backup": func() error { _, err := Run(t.Context(), r, dir, Options{}); return err },
		"verify": func() error { _, err := b.Verify(t.Context(), false, nil); return err },
		"prune":  func() error { _, err := b.Prune(t.Context(), 5); return err },
		"restore": func() error {
			_, err := Restore(t.Context(), dir, filepath.Join(t.TempDir(), "data"), RestoreOptions{OperatorKey: filepath.Join(data, keyName)})
			return err
		},
	}
	if _, err := Run(t.Context(), r, dir, Options{step: func(step string) error {
		if step != "database.kept" {
			return nil
		}
		for name, do := range others {
			if err := do(); !errors.Is(err, ErrBusy) {
				t.Errorf("%s beside a backup: %v", name, err)
			}
		}
		if list, err := b.List(); err != nil || len(list) != 1 {
			t.Error(list, err)
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	for name, do := range others {
		if err := do(); err != nil {
			t.Errorf("%s after a backup: %v", name, err)
		}
	}
}

// TestRestoreBesideKey restores into a folder in which the operator's key lies already.
func TestRestoreBesideKey(t *testing.T) {
	source, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, source, registry.Options{})
	want := fill(t, r, 2)
	backUp(t, r, dir)
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(source, keyName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, keyName), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), dir, data, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	holds(t, openRegistry(t, data, registry.Options{Existing: true}), want)
	if entries, err := os.ReadDir(filepath.Dir(data)); err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
}

// TestWhatDoesNotComeBack: sessions, invitations, codes and keys of the time of the snapshot open nothing after a restore, and the audit says
// first what happened.
func TestWhatDoesNotComeBack(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	account, invitation, err := r.CreateAccount(t.Context(), registry.NewAccount{Login: "officer", Name: "Officer", Role: registry.Officer, Regions: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := r.CreateSession(t.Context(), account.ID, "browser", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	key, secret, err := r.CreateKey(t.Context(), account.ID, "program")
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := r.ReportCase(t.Context(), registry.Case{Gallery: registry.Missing, Names: []string{"Li"}}, registry.Contact{Name: "Li", Phone: "123456"}, "zh")
	if err != nil {
		t.Fatal(err)
	}
	before, err := r.VerifyAudit(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	backUp(t, r, dir)
	into := filepath.Join(t.TempDir(), "data")
	out, err := Restore(t.Context(), dir, into, RestoreOptions{OperatorKey: filepath.Join(data, keyName)})
	if err != nil {
		t.Fatal(err)
	}
	if out.Sessions != 1 || out.Keys != 1 || out.Invited != 2 {
		t.Errorf("%+v", out.Restored)
	}
	back := openRegistry(t, into, registry.Options{OperatorKey: filepath.Join(data, keyName)})
	_, e1 := back.Session(t.Context(), token)
	_, e2 := back.Authenticate(t.Context(), secret)
	_, e3 := back.OpenInvitation(t.Context(), invitation)
	_, e4 := back.UseCode(t.Context(), receipt.Link, receipt.Code)
	for i, err := range []error{e1, e2, e3, e4} {
		if !errors.Is(err, registry.ErrNotFound) {
			t.Error(i, err)
		}
	}
	if a, err := back.Account(t.Context(), account.ID); err != nil || a.Login != "officer" {
		t.Error(a, err)
	}
	if _, err := back.VerifyAudit(t.Context(), before.Head); err != nil {
		t.Error(err)
	}
	entries, _, err := back.Audit(t.Context(), registry.AuditQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(entries)
	i := slices.IndexFunc(entries, func(e registry.AuditEntry) bool { return e.N == before.Entries+1 })
	if i < 0 || entries[i].Action != "registry.restored" || entries[i].Subject != "1" || entries[i].Detail["taken_at"] == "" {
		t.Errorf("%+v", entries)
	} else if next := entries[i+1]; next.Action != "key.revoked" || next.Subject != string(key.ID) {
		t.Errorf("%+v", next)
	}
}

// TestRestoreOfNewerSchema: a backup of a later Homeward is refused before any photo is copied.
func TestRestoreOfNewerSchema(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	fill(t, r, 1)
	db, err := sql.Open("sqlite", filepath.Join(data, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	backUp(t, r, dir)
	into := filepath.Join(t.TempDir(), "data")
	_, err = Restore(t.Context(), dir, into, RestoreOptions{OperatorKey: filepath.Join(data, keyName)})
	if !errors.Is(err, registry.ErrNewer) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(into)); err != nil || len(entries) != 0 {
		t.Error(entries, err)
	}
}

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

// TestFullDisk backs up and restores to disks of growing size until it fits. Each try says that the disk is full, leaves no half snapshot
// and no registry, and the next goes on.
func TestFullDisk(t *testing.T) {
	data := t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 40)
	dir := smallDisk(t, 8<<10)
	full := 0
	for size := 8 << 10; ; size += 96 << 10 {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
		_, err := Run(t.Context(), r, dir, Options{})
		if err == nil {
			break
		}
		full++
		if !errors.Is(err, registry.ErrFull) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if all, err := ids(dir); err != nil || len(all) != 0 {
			t.Fatalf("%d bytes: %v, %v", size, all, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, tmpName)); !errors.Is(err, fs.ErrNotExist) {
			t.Error("temporary files stay:", err)
		}
	}
	if full < 3 {
		t.Errorf("the disk was full only %d times", full)
	}
	into := smallDisk(t, 64<<10)
	full = 0
	for size := 64 << 10; ; size += 256 << 10 {
		if err := unix.Mount("", into, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), dir, filepath.Join(into, "data"), RestoreOptions{OperatorKey: filepath.Join(data, keyName)})
		if err == nil {
			break
		}
		full++
		if !errors.Is(err, registry.ErrFull) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if entries, err := os.ReadDir(into); err != nil || len(entries) != 0 {
			t.Fatalf("%d bytes: %v, %v", size, entries, err)
		}
	}
	if full < 3 {
		t.Errorf("the disk was full only %d times", full)
	}
	holds(t, openRegistry(t, filepath.Join(into, "data"), registry.Options{OperatorKey: filepath.Join(data, keyName)}), want)
}

// TestReadOnlyDisk: a backup on a disk that can only be read can be verified and restored, and not added to.
func TestReadOnlyDisk(t *testing.T) {
	data := t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 3)
	dir := smallDisk(t, 8<<20)
	backUp(t, r, dir)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), r, dir, Options{})
	if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "can only be read") {
		t.Error(err)
	}
	b := mustOpen(t, dir, r.OperatorKey())
	if v := verify(t, b, true); v.Snapshots != 1 || len(v.Damaged) != 0 {
		t.Errorf("%+v", v)
	}
	if _, err := b.Prune(t.Context(), 1); !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
	holds(t, restored(t, dir, filepath.Join(data, keyName), 0), want)
}

// TestInterrupted: a backup that is told to stop leaves no snapshot, and the next one does not copy again what it has.
func TestInterrupted(t *testing.T) {
	r := openRegistry(t, t.TempDir(), registry.Options{})
	fill(t, r, 40)
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	copied := 0
	_, err := Run(ctx, r, dir, Options{step: func(step string) error {
		mu.Lock()
		defer mu.Unlock()
		if step == "photo.renamed" {
			if copied++; copied == 5 {
				stop()
			}
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if all, err := ids(dir); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	if rep := backUp(t, r, dir); rep.NewPhotos != int64(40-copied) || rep.Photos != 40 {
		t.Errorf("%d were copied, and then %d of %d", copied, rep.NewPhotos, rep.Photos)
	}
}
