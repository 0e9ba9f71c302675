package registry

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Options of Open.
type Options struct {
	// OperatorKey is the path of the operator's key; empty for operator.key in the registry's folder.
	OperatorKey string
	// Existing refuses, with ErrNotFound, to make a registry where there is none.
	Existing bool

	// Now is the clock; nil is the machine's.
	Now func() time.Time

	// uptime is how long the process has run, which no one can set; nil is the machine's.
	uptime func() time.Duration

	// step is called between the steps of every write to disk, with the step's name; an error from it is that step's.
	step func(name string) error
}

// Registry is an open registry. Its methods are safe for concurrent use, also by several processes at once.
type Registry struct {
	dir   string
	owner string
	lock  *os.File // see owner.go
	keys  keyring
	step  func(string) error
	clock func() time.Time

	looks   looks
	care    care
	hashing chan struct{} // one entry for every password being hashed

	writer  *sql.DB // one connection: SQLite has one writer, and waiting here is fair and can be cancelled
	readers *sql.DB

	lost   atomic.Pointer[Loss] // see mark.go
	marked *os.File

	// unswept is set when a file may have been left behind; the folder of this owner then stays, to tell the next Open.
	unswept atomic.Bool
}

// readerConns bounds the connections that read at once.
const readerConns = 8

// mostLog is how long the log beside the database stays, in bytes. Nothing can be folded into the database past what a long read (a
// check, a backup, the loading of an index) still looks at, so that the log grows meanwhile; it is cut to this after.
const mostLog = 32 << 20

// busyTimeout is how long a write waits for another process's. Writes take milliseconds.
const busyTimeout = 15 * time.Second

// Open opens the registry in dir and creates it if there is none: registry.db, photos/, tmp/ and operator.key.
//
// ErrKey when the operator's key is missing or not the registry's; a new key is made for a new registry only.
// ErrNewer when a later Homeward wrote it. ErrCorrupt when registry.db is damaged, or gone while photos are there.
func Open(ctx context.Context, dir string, opts Options) (_ *Registry, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	defer func() { err = wrap(err, "open registry %s", dir) }()
	if opts.OperatorKey == "" {
		opts.OperatorKey = filepath.Join(dir, "operator.key")
	}
	if opts.Existing {
		// The photos' folder alone is a registry whose database was lost, which has an error of its own below.
		_, err := os.Stat(filepath.Join(dir, "photos"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no registry: %w; check --data and HOMEWARD_DATA", ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
	}
	r := &Registry{dir: dir, owner: newID("o_"), step: opts.step, clock: opts.Now, hashing: make(chan struct{}, hashesAtOnce)}
	if r.clock == nil {
		r.clock = time.Now
	}
	if r.care.uptime = opts.uptime; r.care.uptime == nil {
		began := time.Now() // holds a reading that setting the clock does not change
		r.care.uptime = func() time.Duration { return time.Since(began) }
	}
	for _, d := range []string{dir, r.photos(), r.tmp()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	// One process opens at a time: creating, migrating and sweeping then meet no other process doing the same, and no
	// owner appears while another sweeps.
	gate, err := lockFile(ctx, filepath.Join(dir, "open.lock"))
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.becomeOwner(ctx); err != nil {
		return nil, err
	}
	m, markErr := r.readMark() // before the database, which is then never behind it for having been read too early
	if err := r.openDatabase(); err != nil {
		return nil, err
	}
	if err := r.migrate(ctx); err != nil {
		return nil, err
	}
	if err := r.unlock(ctx, opts.OperatorKey, m); err != nil {
		return nil, err
	}
	if err := r.openMark(ctx, m, markErr); err != nil {
		return nil, err
	}
	if err := r.sweep(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Registry) photos() string   { return filepath.Join(r.dir, "photos") }
func (r *Registry) tmp() string      { return filepath.Join(r.dir, "tmp") }
func (r *Registry) database() string { return filepath.Join(r.dir, "registry.db") }

// newID makes an identifier of 130 random bits.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

func (r *Registry) openDatabase() error {
	// Made here and not by SQLite, so that the database and the log beside it, which takes its mode over, are private
	// whatever the umask.
	if _, err := os.Lstat(r.database()); errors.Is(err, os.ErrNotExist) {
		photos, err := os.ReadDir(r.photos())
		if err != nil {
			return err
		}
		if len(photos) > 0 {
			return fmt.Errorf("%w: registry.db is missing but there are photos. Put it back with homeward restore; without it the photos cannot be read", ErrCorrupt)
		}
		f, err := os.OpenFile(r.database(), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), syncDir(r.dir)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	open := func(conns int, more string) (*sql.DB, error) {
		dsn := (&url.URL{Scheme: "file", Path: r.database()}).String() +
			// FULL: a commit is on disk when it returns. secure_delete: what is deleted is overwritten. temp_store: nothing
			// is ever written outside the registry's folder.
			fmt.Sprintf("?_busy_timeout=%d&_foreign_keys=1&_journal_mode=WAL&_synchronous=FULL&_dqs=0&_pragma=secure_delete(1)&_pragma=temp_store(2)&_pragma=journal_size_limit(%d)%s",
				busyTimeout.Milliseconds(), mostLog, more)
		db, err := sql.Open("sqlite", dsn)
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		return db, nil
	}
	var err error
	if r.writer, err = open(1, "&_txlock=immediate"); err != nil {
		return err
	}
	r.readers, err = open(readerConns, "&_query_only=1")
	return err
}

// unlock opens the registry's keys with the operator's key, and makes both where the registry is new.
func (r *Registry) unlock(ctx context.Context, path string, m mark) error {
	sealed := make(map[string][]byte)
	rows, err := r.readers.QueryContext(ctx, "SELECT name, value FROM meta WHERE name IN (?, ?)", metaDigest, metaBiometrics)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		sealed[name] = value
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if len(sealed) > 0 {
		if r.keys.operator, err = readOperatorKey(path); err != nil {
			return err
		}
		return r.keys.unseal(sealed)
	}
	photos, err := os.ReadDir(r.photos())
	if err != nil {
		return err
	}
	if m.n > 0 || len(photos) > 0 { // new keys would shut everyone out for ever
		return fmt.Errorf("%w: registry.db is empty, though there was a registry: it was lost with its log. Put it back with homeward restore", ErrCorrupt)
	}
	// The key is durable before anything is sealed with it.
	if err := createOperatorKey(path); err != nil {
		return err
	}
	if err := r.at("open.key"); err != nil {
		return err
	}
	if r.keys.operator, err = readOperatorKey(path); err != nil {
		return err
	}
	if sealed, err = r.keys.newSealed(); err != nil {
		return err
	}
	err = r.change(ctx, "store the registry's keys", func(ctx context.Context, tx *sql.Tx) error {
		for name, value := range sealed {
			if _, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES (?, ?)", name, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.keys.unseal(sealed)
}

// Close hands back the photos that this Registry was analysing and the jobs that it was running or had reserved, and closes it.
// Uploads must have ended.
func (r *Registry) Close() error {
	err := r.change(context.Background(), "hand back photos and jobs", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE photos SET owner = '', tries = max(tries - 1, 0) WHERE owner = ?", r.owner); err != nil {
			return err
		}
		return r.handBackJobs(ctx, tx)
	})
	if err != nil {
		r.unswept.Store(true)
	}
	return wrap(errors.Join(err, r.close()), "close registry %s", r.dir)
}

func (r *Registry) close() error {
	var errs []error
	if r.readers != nil {
		errs = append(errs, r.readers.Close())
	}
	if r.writer != nil {
		errs = append(errs, r.writer.Close()) // last, so that it folds the log into the database
	}
	if r.marked != nil {
		errs = append(errs, r.marked.Sync(), r.marked.Close())
	}
	if !r.unswept.Load() {
		errs = append(errs, os.RemoveAll(filepath.Join(r.tmp(), r.owner)))
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}

// at marks a step between two writes.
func (r *Registry) at(step string) error {
	if r.step == nil {
		return nil
	}
	return r.step(step)
}

// commitError is a commit of which the outcome may be unknown.
type commitError struct{ error }

func (e commitError) Unwrap() error { return e.error }

// change runs fn in the one write transaction there is and commits it durably. ctx ends the wait for it, but not the
// transaction once it has begun: that takes milliseconds, and its outcome is then always known.
func (r *Registry) change(ctx context.Context, what string, fn func(context.Context, *sql.Tx) error) (err error) {
	defer func() { err = wrap(err, "%s", what) }()
	conn, err := r.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var last mark
	ctx = context.WithValue(context.WithoutCancel(ctx), markKey{}, &last)
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(ctx, tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return commitError{err}
	}
	r.committed(last)
	return nil
}

// view runs fn in a read transaction: everything fn reads is of one moment.
func (r *Registry) view(ctx context.Context, what string, fn func(*sql.Tx) error) error {
	tx, err := r.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return wrap(err, "%s", what)
	}
	err = fn(tx)
	if e := tx.Rollback(); err == nil && !errors.Is(e, sql.ErrTxDone) {
		err = e
	}
	return wrap(err, "%s", what)
}

// changed counts the rows a statement touched and makes none ErrNotFound.
func changed(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// now is the present to the precision that is stored.
func (r *Registry) now() time.Time { return fromMillis(r.clock().UnixMilli()) }
