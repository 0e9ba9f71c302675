package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"homeward/registry"
)

// RestoreOptions of Restore.
type RestoreOptions struct {
	// Snapshot to restore; 0 is the newest.
	Snapshot int
	// OperatorKey is the path of the operator's key; empty for operator.key in the new registry's folder, where it may lie already.
	OperatorKey string
	// DespiteDamage leaves out photo files that the backup has damaged, and keeps what is known of these photos.
	DespiteDamage bool
	// Tell, which may be nil, is told now and then how far it has come.
	Tell func(registry.Progress)

	step func(string) error
}

// RestoreReport says what a restore did.
type RestoreReport struct {
	Info
	registry.Restored
	Damaged []string      `json:"damaged,omitempty"` // photo files that were left out
	Lost    []string      `json:"lost,omitempty"`    // photo files that the registry had lost before the snapshot
	Took    time.Duration `json:"took"`
}

const keyName = "operator.key"

// Restore makes a registry in data of a snapshot in dir. data is missing, or empty but for the operator's key. The registry is assembled in
// a folder beside it, checked throughout, and takes its name at the end: ended at any moment, it leaves no registry in data, and what it
// left beside it is cleared by the next try. Who was signed in, invited or had a key has to be signed in, invited or given one again: see
// registry.Restore.
//
// ErrNoBackup, ErrNotEmpty, registry.ErrKey, ErrBusy; *DamagedError when the snapshot cannot be restored whole; registry.ErrNotFound when
// there is no such snapshot; registry.ErrFull.
func Restore(ctx context.Context, dir, data string, o RestoreOptions) (out RestoreReport, err error) {
	began := time.Now()
	if data, err = filepath.Abs(data); err != nil {
		return out, err
	}
	defer func() { err = wrap(err, "restore to %s", data) }()
	hasKey, err := vacant(data)
	if err != nil {
		return out, err
	}
	keyFile := o.OperatorKey
	if keyFile == "" {
		keyFile = filepath.Join(data, keyName)
	}
	key, err := registry.ReadOperatorKey(keyFile)
	if err != nil {
		return out, err
	}
	b, err := Open(dir, key)
	if err != nil {
		return out, err
	}
	b.step = o.step
	if err := apart(data, b.dir); err != nil {
		return out, err
	}
	l, err := lock(b.dir, false)
	if err != nil {
		return out, err
	}
	defer l.Close()
	id, m, err := b.choose(o.Snapshot)
	if err != nil {
		return out, err
	}

	// A hidden folder beside data, on the same disk.
	stage := filepath.Join(filepath.Dir(data), "."+filepath.Base(data)+".restoring")
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return out, err
	}
	s, err := lock(stage, true)
	if errors.Is(err, ErrBusy) {
		return out, errors.New("another restore to this folder is under way; wait until it has ended")
	}
	if err != nil {
		return out, err
	}
	defer s.Close()
	if err := clearStage(stage); err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(stage))
		}
	}()
	if err := b.at("restore.begun"); err != nil {
		return out, err
	}
	out, err = b.assemble(ctx, filepath.Join(stage, "registry"), keyFile, id, m, o)
	if err != nil {
		return out, err
	}
	if err := takeName(filepath.Join(stage, "registry"), data, hasKey); err != nil {
		return out, err
	}
	if err := b.at("restore.named"); err != nil {
		return out, err
	}
	out.Took = time.Since(began)
	return out, errors.Join(os.RemoveAll(stage), syncDir(filepath.Dir(data)))
}

// vacant refuses a folder that has something in it but the operator's key.
func vacant(data string) (hasKey bool, err error) {
	entries, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var own, above unix.Stat_t
	if err := errors.Join(unix.Stat(data, &own), unix.Stat(filepath.Dir(data), &above)); err != nil {
		return false, err
	}
	if own.Dev != above.Dev {
		return false, fmt.Errorf("a disk is mounted at %s, and the registry could not take its name in one step: choose a folder on the disk with --data", data)
	}
	for _, e := range entries {
		if e.Name() != keyName {
			return false, fmt.Errorf("%w: a registry is restored into a new or empty folder only, in which nothing but %s may lie; choose another with --data", ErrNotEmpty, keyName)
		}
		hasKey = true
	}
	return hasKey, nil
}

// choose reads the manifest of a snapshot, of the newest for 0.
func (b *Backup) choose(id int) (int, manifest, error) {
	all, err := ids(b.dir)
	if err != nil {
		return 0, manifest{}, err
	}
	if len(all) == 0 {
		return 0, manifest{}, fmt.Errorf("the backup has no snapshot: %w", registry.ErrNotFound)
	}
	if id == 0 {
		id = all[len(all)-1]
	}
	if !slices.Contains(all, id) {
		return 0, manifest{}, fmt.Errorf("snapshot %d: %w; 'homeward backup list DIR' lists those there are", id, registry.ErrNotFound)
	}
	m, err := b.manifest(id)
	if errors.Is(err, ErrDamaged) {
		return 0, manifest{}, &DamagedError{Snapshot: id, File: snapshotFile(id), Instead: b.without(id, func(manifest) (bool, error) { return false, nil }), Err: ErrDamaged}
	}
	return id, m, err
}

// without lists the other snapshots, newest first, that can be read and of which needs says that they do not need something.
func (b *Backup) without(id int, needs func(manifest) (bool, error)) (out []int) {
	all, err := ids(b.dir)
	if err != nil {
		return nil
	}
	slices.Reverse(all)
	for _, other := range all {
		if other == id {
			continue
		}
		if m, err := b.manifest(other); err == nil {
			if need, err := needs(m); err == nil && !need {
				out = append(out, other)
			}
		}
	}
	return out
}

// clearStage removes all but the lock.
func clearStage(stage string) error {
	entries, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(stage, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// assemble makes the registry in a folder of its own, all of it on disk when it returns.
func (b *Backup) assemble(ctx context.Context, into, keyFile string, id int, m manifest, o RestoreOptions) (out RestoreReport, err error) {
	for _, folder := range []string{into, filepath.Join(into, "photos")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return out, err
		}
	}
	tell := func(stage string, done, total int64) {
		if o.Tell != nil {
			o.Tell(registry.Progress{Stage: stage, Done: done, Total: total})
		}
	}
	if err := b.writeDatabase(ctx, filepath.Join(into, databaseName), id, m, tell); err != nil {
		return out, err
	}
	if err := b.at("restore.database"); err != nil {
		return out, err
	}
	files := make(map[string]struct{}, m.Photos)
	photos := make([]photo, 0, m.Photos)
	for _, list := range [][]string{m.Gone, m.Missing} {
		for _, name := range list {
			files[name] = struct{}{}
		}
	}
	var at sum
	err = b.eachPhoto(m, func(list sum) error {
		at = list
		return nil
	}, func(p photo) error {
		files[p.name.String()] = struct{}{}
		photos = append(photos, p)
		return nil
	})
	if errors.Is(err, ErrDamaged) {
		return out, b.damagedChunk(id, at, err)
	}
	if err != nil {
		return out, err
	}
	// Before the photos are copied, so that a wrong key, a damaged database or one of a newer Homeward shows at once.
	done, err := registry.Restore(ctx, into, registry.Options{OperatorKey: keyFile}, registry.Restoring{Snapshot: fmt.Sprint(id), At: m.At, Files: files, Gone: m.Gone})
	if err != nil {
		return out, err
	}
	if err := b.at("restore.registry"); err != nil {
		return out, err
	}
	damaged, err := b.copyPhotos(ctx, into, id, photos, o.DespiteDamage, tell)
	if err != nil {
		return out, err
	}
	if err := b.at("restore.photos"); err != nil {
		return out, err
	}
	out = RestoreReport{Info: m.info(id), Restored: done, Damaged: damaged, Lost: m.Missing}
	// The names of all files, from the inside out.
	groups, err := os.ReadDir(filepath.Join(into, "photos"))
	if err != nil {
		return out, err
	}
	for _, g := range groups {
		if err := syncDir(filepath.Join(into, "photos", g.Name())); err != nil {
			return out, err
		}
	}
	return out, errors.Join(syncDir(filepath.Join(into, "photos")), syncDir(into))
}

// damagedChunk says that a chunk of a snapshot is damaged, and which others do without it.
func (b *Backup) damagedChunk(id int, name sum, err error) error {
	return &DamagedError{Snapshot: id, File: name.path(chunksName), Err: err, Instead: b.without(id, func(m manifest) (bool, error) {
		for _, raw := range [][]byte{m.Chunks, m.Lists} {
			names, err := sums(raw)
			if err != nil || slices.Contains(names, name) {
				return true, err
			}
		}
		return false, nil
	})}
}

// writeDatabase puts a snapshot's database together.
func (b *Backup) writeDatabase(ctx context.Context, path string, id int, m manifest, tell func(string, int64, int64)) (err error) {
	names, err := sums(m.Chunks)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	var size int64
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		plain, err := b.chunk(name)
		if errors.Is(err, ErrDamaged) {
			return b.damagedChunk(id, name, err)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(plain); err != nil {
			return err
		}
		if size += int64(len(plain)); i%64 == 0 {
			tell(StageDatabase, size, m.Database)
		}
	}
	if size != m.Database {
		return &DamagedError{Snapshot: id, File: snapshotFile(id), Err: ErrDamaged}
	}
	return errors.Join(w.Flush(), f.Sync())
}

// copyPhotos copies a snapshot's photo files into a registry, each checked, and lists the damaged ones where despite says to do without.
func (b *Backup) copyPhotos(ctx context.Context, into string, id int, photos []photo, despite bool, tell func(string, int64, int64)) ([]string, error) {
	bad := make([]bool, len(photos))
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, p := range photos {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			defer done.Add(1)
			if err := gctx.Err(); err != nil {
				return err
			}
			err := copyPhoto(filepath.Join(b.dir, p.name.path(photosName)), filepath.Join(into, "photos"), p)
			if errors.Is(err, ErrDamaged) {
				if bad[i] = true; despite {
					return nil
				}
				return &DamagedError{Snapshot: id, File: p.name.path(photosName), Photo: true, Err: err, Instead: b.without(id, func(m manifest) (needs bool, err error) {
					err = b.eachPhoto(m, nil, func(other photo) error {
						needs = needs || other.name == p.name
						return nil
					})
					return needs, err
				})}
			}
			if err != nil {
				return err
			}
			return b.at("restore.photo")
		})
		if i%64 == 0 {
			tell(StagePhotos, done.Load(), int64(len(photos)))
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	tell(StagePhotos, int64(len(photos)), int64(len(photos)))
	var damaged []string
	for i, p := range photos {
		if bad[i] {
			damaged = append(damaged, p.name.String())
		}
	}
	return damaged, ctx.Err()
}

// copyPhoto copies a photo's file, of which nothing is left when it is not whole.
func copyPhoto(from, photos string, p photo) error {
	path := p.name.path(photos)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = hashFile(from, p.name, p.size, f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			if _, back := hashStream(f, p.name, io.Discard); back != nil {
				err = fmt.Errorf("%s: what was written reads back otherwise; the disk fails: %w", path, errReadBack)
			}
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// errReadBack is no damage of the backup.
var errReadBack = errors.New("read back")

// takeName gives the registry its name, in one step: where an empty folder or one with the operator's key has the name, they change
// places. The key is in both until then.
func takeName(made, data string, hasKey bool) error {
	if hasKey {
		if err := os.Link(filepath.Join(data, keyName), filepath.Join(made, keyName)); err != nil {
			return err
		}
		if err := syncDir(made); err != nil {
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, data, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		if now, err := vacant(data); err != nil || now != hasKey {
			return errors.Join(err, fmt.Errorf("%w: something came into it meanwhile", ErrNotEmpty))
		}
		err = unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, data, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", made, data, err)
	}
	return syncDir(filepath.Dir(data))
}
