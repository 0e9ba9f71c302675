package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// An owner is one open Registry. It has a folder tmp/<owner> for the uploads under way and holds an exclusive lock on the
// file "lock" in it. The kernel drops the lock with the process, however that ends, so another process can tell at any
// time, without clocks or process ids, whether an owner still lives.

const lockName = "lock"

// lockFile takes an exclusive lock on the file, which it creates, and waits for it until ctx ends.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another process that holds %s: %w", path, ctx.Err()), f.Close())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// alive reports whether the owner's process still has the registry open. When that cannot be told it says yes: what a
// dead owner held then waits, where the other mistake would work on it twice.
func (r *Registry) alive(owner string) bool {
	if owner == r.owner {
		return true
	}
	f, err := os.Open(filepath.Join(r.tmp(), owner, lockName))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer f.Close()
	// Shared, so that two processes asking at once do not take each other for the owner.
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// Analysing says whether a process that lives, other than this one, has photos of the queue in hand.
func (r *Registry) Analysing(ctx context.Context) (bool, error) {
	const what = "who analyses photos"
	rows, err := r.readers.QueryContext(ctx, "SELECT DISTINCT owner FROM photos WHERE state = 'queued' AND owner NOT IN ('', ?)", r.owner)
	if err != nil {
		return false, wrap(err, what)
	}
	defer rows.Close()
	for rows.Next() {
		var owner string
		if err := rows.Scan(&owner); err != nil {
			return false, wrap(err, what)
		}
		if r.alive(owner) {
			return true, nil
		}
	}
	return false, wrap(rows.Err(), what)
}

// becomeOwner makes this Registry's folder and locks it.
func (r *Registry) becomeOwner(ctx context.Context) (err error) {
	folder := filepath.Join(r.tmp(), r.owner)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	if r.lock, err = lockFile(ctx, filepath.Join(folder, lockName)); err != nil {
		return err
	}
	// Durable, because after a power cut the folder tells the next Open that there is something to sweep.
	return errors.Join(syncDir(folder), syncDir(r.tmp()))
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
