package registry

import (
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// FieldError says what is wrong with one field and what to write instead. It is an ErrInvalid.
type FieldError struct {
	Field string // as the API names it: "names", "born.from", …
	Text  string
}

func (e *FieldError) Error() string { return e.Field + " " + e.Text }

// Is makes errors.Is(err, ErrInvalid) true.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// refusal is a sentinel in words that say more than its own.
type refusal struct {
	is   error
	text string
}

func (e *refusal) Error() string { return e.text }

// Is makes errors.Is(err, the sentinel) true.
func (e *refusal) Is(target error) bool { return target == e.is }

// refused is a sentinel, such as ErrConflict, in other words.
func refused(is error, format string, args ...any) error {
	return &refusal{is, fmt.Sprintf(format, args...)}
}

// wrap says what was being done when err happened, and puts the failures of disk and database that a caller decides on
// into this package's words. It keeps nil nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, classify(err))...)
}

func classify(err error) error {
	switch {
	case errors.Is(err, ErrFull), errors.Is(err, ErrCorrupt), errors.Is(err, ErrDisk):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free some space and try again: %w", ErrFull, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		return fmt.Errorf("%w: see to the disk (the system's log says what it has): %w", ErrDisk, err)
	}
	var db *sqlite.Error
	if !errors.As(err, &db) {
		return err
	}
	if db.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // the file beside the log cannot grow; SQLite has no code for why
		return fmt.Errorf("%w: free some space and try again: %w", ErrFull, err)
	}
	switch db.Code() & 0xff { // the low byte is the primary code; https://sqlite.org/rescode.html
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: free some space and try again: %w", ErrFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: registry.db is damaged (%w); put it back with homeward restore", ErrCorrupt, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: see to the disk (the system's log says what it has): %w", ErrDisk, err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("another process kept the registry busy; try again: %w", err)
	}
	return err
}
