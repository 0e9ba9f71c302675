package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"homeward/registry"
)

var (
	// ErrNoBackup means that there is no backup in the folder.
	ErrNoBackup = errors.New("there is no backup here")
	// ErrNotEmpty means that a folder has other things in it than it should.
	ErrNotEmpty = errors.New("the folder is not empty")
	// ErrOther means that the backup belongs to another registry.
	ErrOther = errors.New("this is the backup of another registry")
	// ErrBusy means that another process is at the backup.
	ErrBusy = errors.New("another backup, restore, verify or prune is at this folder; try again when it has ended")
	// ErrDamaged means that a file of the backup is not as it was written.
	ErrDamaged = errors.New("damaged")
	// ErrNewer means that a later Homeward made the backup.
	ErrNewer = errors.New("this backup was made by a newer Homeward: run that version")
)

// unreadable makes ErrDamaged of what a disk says of a file whose bytes it has lost: such a file is written anew as any other damaged one.
func unreadable(err error) error {
	for _, lost := range []error{syscall.EIO, syscall.EBADMSG, syscall.EUCLEAN} { // a sector, a checksum, the file system's own
		if errors.Is(err, lost) {
			return fmt.Errorf("%w: the disk cannot read it: %w", ErrDamaged, err)
		}
	}
	return err
}

// DamagedError says that a snapshot cannot be restored whole.
type DamagedError struct {
	Snapshot int
	File     string // in the backup's folder
	Photo    bool   // it is a photo's, and all the rest may be whole
	Instead  []int  // other snapshots that do without the file, newest first
	Err      error
}

func (e *DamagedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "snapshot %d cannot be restored whole: %s: %v. ", e.Snapshot, e.File, e.Err)
	if len(e.Instead) > 0 {
		fmt.Fprintf(&b, "Snapshot %d does without this file: choose it with --snapshot %d. ", e.Instead[0], e.Instead[0])
	} else {
		b.WriteString("No other snapshot does without this file. ")
	}
	if e.Photo {
		b.WriteString("With --despite-damage everything but the damaged photos is restored. ")
	}
	b.WriteString("'homeward backup verify DIR --deep' lists all damage")
	return b.String()
}

// Unwrap makes errors.Is(err, ErrDamaged) true.
func (e *DamagedError) Unwrap() error { return e.Err }

// wrap says what was being done when err happened, and what to do where a disk is the reason. It keeps nil nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, registry.ErrFull):
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		err = fmt.Errorf("%w: free some space or choose another disk; what has been copied stays, and the next try goes on from there: %w", registry.ErrFull, err)
	case errors.Is(err, syscall.EROFS):
		err = fmt.Errorf("the disk can only be read: mount it for writing or choose another: %w", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("this account of the machine may not: give it the folder or choose another: %w", err)
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
