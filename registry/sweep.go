package registry

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
)

// sweep removes what dead processes left behind: their unfinished uploads, their hold on photos, and photo files that no
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
	if err := r.change(ctx, "take photos back from ended processes", r.reap); err != nil {
		return err
	}
	if len(dead) == 0 || !alone {
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

// sweepPhotos removes the photo files that no row names.
func (r *Registry) sweepPhotos(ctx context.Context) error {
	folders, err := os.ReadDir(r.photos())
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		named, err := r.filesUnder(ctx, folder.Name())
		if err != nil {
			return err
		}
		files, err := os.ReadDir(filepath.Join(r.photos(), folder.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			if _, ok := named[f.Name()]; ok || !isFileName(f.Name()) {
				continue
			}
			if err := os.Remove(r.file(f.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
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

// reap takes back the photos that ended processes were analysing.
//
// A process that ended while it held one photo was most likely ended by that photo; one that held several tells nothing
// about any single one. So only a photo that was held alone counts its last try in full, and ClaimPhoto hands out a photo
// that was tried before only when nothing else is being analysed.
func (r *Registry) reap(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT owner, count(*) FROM photos WHERE owner <> '' GROUP BY owner")
	if err != nil {
		return err
	}
	defer rows.Close()
	held := make(map[string]int)
	for rows.Next() {
		var owner string
		var n int
		if err := rows.Scan(&owner, &n); err != nil {
			return err
		}
		held[owner] = n
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for owner, n := range held {
		if r.alive(owner) {
			continue
		}
		if n == 1 {
			_, err = tx.ExecContext(ctx, "UPDATE photos SET state = ?, reason = ? WHERE owner = ? AND state = ? AND tries >= ?",
				SetAside, "The program stopped each time it looked at this photo. Send another copy of it.", owner, Queued, MaxTries)
		} else {
			_, err = tx.ExecContext(ctx, "UPDATE photos SET tries = min(tries, ?) WHERE owner = ?", MaxTries-1, owner)
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE photos SET owner = '' WHERE owner = ?", owner); err != nil {
			return err
		}
	}
	return nil
}
