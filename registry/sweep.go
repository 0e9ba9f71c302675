package registry

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// sweep removes what dead processes left behind: their unfinished uploads, their hold on photos and jobs, and photo files that no
// row names. It runs inside Open, so no owner appears meanwhile.
//
// A live process may be between giving a file its name in photos/ and writing the row, so files there are swept only when
// no other process has the registry open. Until then a dead owner's empty folder stays as the reminder.
func (r *Registry) sweep(ctx context.Context) error {
	entries, err := os.ReadDir(r.tmp())
	if err != nil {
		return err
	}
	var dead []string
	alone := true
	for _, e := range entries {
		switch {
		case !e.IsDir() || e.Name() == r.owner:
		case r.alive(e.Name()):
			alone = false
		default:
			dead = append(dead, filepath.Join(r.tmp(), e.Name()))
		}
	}
	for _, folder := range dead {
		files, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Name() == lockName {
				continue
			}
			if err := os.Remove(filepath.Join(folder, f.Name())); err != nil {
				return err
			}
		}
	}
	if err := r.change(ctx, "take photos and jobs back from ended processes", func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(r.reap(ctx, tx), r.reapJobs(ctx, tx))
	}); err != nil {
		return err
	}
	if len(dead) == 0 || !alone {
		return nil
	}
	if l := r.Loss(); l != nil && l.Known { // what has no row may be what was lost
		return nil
	}
	if err := r.sweepPhotos(ctx); err != nil {
		return wrap(err, "sweep photos")
	}
	for _, folder := range dead {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

// sweepPhotos removes the photo files that no row names. Where nobody can say whether the database has lost something, it keeps
// them aside.
func (r *Registry) sweepPhotos(ctx context.Context) error {
	return r.eachStray(ctx, func(path string) error {
		if !isFileName(filepath.Base(path)) {
			return nil
		}
		if r.Loss() != nil {
			_, err := r.moveToLost(path)
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}

// eachStray calls do for each file in photos/ that no row names, and for whatever else is there that is not of this package's
// making.
func (r *Registry) eachStray(ctx context.Context, do func(path string) error) error {
	folders, err := os.ReadDir(r.photos())
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			if err := do(filepath.Join(r.photos(), folder.Name())); err != nil {
				return err
			}
			continue
		}
		// The files first: a photo that is added meanwhile then has no file in the list rather than no row.
		files, err := os.ReadDir(filepath.Join(r.photos(), folder.Name()))
		if err != nil {
			return err
		}
		named, err := r.filesUnder(ctx, folder.Name())
		if err != nil {
			return err
		}
		for _, f := range files {
			if _, ok := named[f.Name()]; ok {
				continue
			}
			if err := do(filepath.Join(r.photos(), folder.Name(), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// lostName is the folder in the registry's for files that belong to nothing there is. Nothing in it is ever removed.
const lostName = "lost"

// moveToLost moves a file to lost/, and says where it is now.
func (r *Registry) moveToLost(path string) (to string, err error) {
	folder := filepath.Join(r.dir, lostName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	to = filepath.Join(folder, filepath.Base(path))
	if _, err := os.Lstat(to); err == nil {
		to += newID(".")
	}
	if err := os.Rename(path, to); err != nil {
		return "", err
	}
	return to, errors.Join(syncDir(folder), syncDir(filepath.Dir(path)), syncDir(r.dir))
}

// moveStray moves a file that no row named a while ago to lost/, and says whether it did: a row may name it by now, as whoever adds a
// photo gives the file its name before the row is written.
func (r *Registry) moveStray(ctx context.Context, path string) (moved bool, err error) {
	if named, err := r.names(ctx, path); err != nil || named {
		return false, err
	}
	lost, err := r.moveToLost(path)
	if err == nil {
		err = r.at("stray.moved")
	}
	if err != nil {
		return false, err
	}
	named, err := r.names(ctx, path)
	if err != nil || !named {
		return err == nil, err
	}
	if err := os.Rename(lost, path); err != nil {
		return false, err
	}
	return false, errors.Join(syncDir(filepath.Dir(path)), syncDir(filepath.Dir(lost)))
}

// names says whether a row names the file of this path.
func (r *Registry) names(ctx context.Context, path string) (named bool, err error) {
	name := filepath.Base(path)
	if !isFileName(name) || r.file(name) != path {
		return false, nil
	}
	err = r.readers.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM photos WHERE file = ?)", name).Scan(&named)
	return named, err
}

// filesUnder lists the files that rows name with the prefix.
func (r *Registry) filesUnder(ctx context.Context, prefix string) (map[string]struct{}, error) {
	// File names are hexadecimal, so 'g' is behind every one that starts with the prefix.
	rows, err := r.readers.QueryContext(ctx, "SELECT file FROM photos WHERE file >= ? AND file < ?", prefix, prefix+"g")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[string]struct{})
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out[name] = struct{}{}
	}
	return out, rows.Err()
}

// isFileName reports whether the name is one this package gives: 64 hexadecimal digits. Nothing else in photos/ is
// touched.
func isFileName(name string) bool {
	if len(name) != 64 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// reap takes back the photos that ended processes were analysing, and the tries that this took.
func (r *Registry) reap(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT owner FROM photos WHERE owner <> ''")
	if err != nil {
		return err
	}
	defer rows.Close()
	var owners []string
	for rows.Next() {
		var owner string
		if err := rows.Scan(&owner); err != nil {
			return err
		}
		owners = append(owners, owner)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, owner := range owners {
		if r.alive(owner) {
			continue
		}
		if _, err := tx.ExecContext(ctx, "UPDATE photos SET owner = '', tries = max(tries - 1, 0) WHERE owner = ?", owner); err != nil {
			return err
		}
	}
	return nil
}

// youngFile is how long a file must have had its name before it is taken for a stray while other processes are at work: one of them may
// be about to write its row.
const youngFile = time.Minute

// strays lists what eachStray finds and is really no one's.
func (r *Registry) strays(ctx context.Context, do func(path string) error) error {
	return r.eachStray(ctx, func(path string) error {
		info, err := os.Lstat(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		// Not when it was written, which may be long before it gets its name.
		named := time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())
		if r.now().Sub(named) < youngFile && !r.alone() {
			return nil
		}
		return do(path)
	})
}

// moveStrays moves the files that no row names to lost/, and says how many.
func (r *Registry) moveStrays(ctx context.Context) (n int, err error) {
	err = r.strays(ctx, func(path string) error {
		moved, err := r.moveStray(ctx, path)
		if moved {
			n++
		}
		return err
	})
	return n, err
}

// alone says whether no other process has the registry open.
func (r *Registry) alone() bool {
	entries, err := os.ReadDir(r.tmp())
	if err != nil {
		return false
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != r.owner && r.alive(e.Name()) {
			return false
		}
	}
	return true
}
