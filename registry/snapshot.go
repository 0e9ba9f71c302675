package registry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// ID names the registry where its backups are kept. It is made from the registry's own keys, so it stays the same when the
// registry is moved or restored, and another registry has another.
func (r *Registry) ID() string {
	h := hmac.New(sha256.New, r.keys.digest)
	h.Write([]byte("homeward registry id 1"))
	return "r_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// Dir is the registry's folder, as an absolute path.
func (r *Registry) Dir() string { return r.dir }

// OperatorKey is the operator's key for what is kept outside the registry, such as the keys of its backups. It is a tink.AEAD.
// What it seals opens nothing of the registry's, and it opens nothing that the registry sealed.
type OperatorKey struct{ aead tink.AEAD }

// ReadOperatorKey opens the operator's key file. ErrKey when it is missing or is no such key.
func ReadOperatorKey(path string) (OperatorKey, error) {
	a, err := readOperatorKey(path)
	return OperatorKey{a}, err
}

// OperatorKey is the key that this registry was opened with.
func (r *Registry) OperatorKey() OperatorKey { return OperatorKey{r.keys.operator} }

func outside(context []byte) []byte { return append([]byte("outside the registry: "), context...) }

// Encrypt seals plain, bound to its context.
func (k OperatorKey) Encrypt(plain, context []byte) ([]byte, error) {
	return k.aead.Encrypt(plain, outside(context))
}

// Decrypt opens what Encrypt sealed.
func (k OperatorKey) Decrypt(sealed, context []byte) ([]byte, error) {
	return k.aead.Decrypt(sealed, outside(context))
}

// Snapshot is the database as it is at one moment, while everybody goes on writing.
type Snapshot struct {
	At       time.Time
	Schema   int   // version, which PRAGMA user_version counts
	PageSize int   // bytes
	Pages    int64 // of PageSize
	Counts   map[string]int64

	ctx context.Context
	tx  *sql.Tx
}

// PhotoFile is a photo's file as the snapshot names it. N is the photo's number, which grows and is never given twice.
type PhotoFile struct {
	N    int64
	Name string // SHA-256 of the file's bytes, in hexadecimal
}

// Snapshot calls do with the database as it is now. Nobody waits for it: what is written meanwhile stays in the log beside the
// database, which can only be cut short once do has returned.
func (r *Registry) Snapshot(ctx context.Context, do func(*Snapshot) error) error {
	return r.view(ctx, "read the database", func(tx *sql.Tx) error {
		s := &Snapshot{At: r.now(), Counts: make(map[string]int64), ctx: ctx, tx: tx}
		for pragma, to := range map[string]any{"user_version": &s.Schema, "page_size": &s.PageSize, "page_count": &s.Pages} {
			if err := tx.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(to); err != nil {
				return err
			}
		}
		for _, table := range []string{"cases", "photos", "faces", "leads", "accounts", "audit"} {
			var n int64
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
				return err
			}
			s.Counts[table] = n
		}
		return do(s)
	})
}

// EachPage calls do with every page, in order; the bytes are good until do returns. All pages one behind another are the database's
// file, whole, without a log.
func (s *Snapshot) EachPage(do func(page []byte) error) error {
	// The table is SQLite's own view of the pages; it gives them in order, as the transaction sees them.
	rows, err := s.tx.QueryContext(s.ctx, "SELECT pgno, data FROM sqlite_dbpage")
	if err != nil {
		return err
	}
	defer rows.Close()
	var n, last int64
	for rows.Next() {
		var page sql.RawBytes
		if err := rows.Scan(&n, &page); err != nil {
			return err
		}
		if n != last+1 || len(page) != s.PageSize {
			return fmt.Errorf("page %d of %d bytes follows page %d: %w", n, len(page), last, ErrCorrupt)
		}
		last = n
		if err := do(page); err != nil {
			return err
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if last != s.Pages {
		return fmt.Errorf("%d pages of %d: %w", last, s.Pages, ErrCorrupt)
	}
	return nil
}

// EachPhotoFile calls do with every photo's file, in the order of their numbers.
func (s *Snapshot) EachPhotoFile(do func(PhotoFile) error) error {
	rows, err := s.tx.QueryContext(s.ctx, "SELECT n, file FROM photos ORDER BY n")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p PhotoFile
		if err := rows.Scan(&p.N, &p.Name); err != nil {
			return err
		}
		if !isFileName(p.Name) {
			return fmt.Errorf("photo number %d: name of its file: %w", p.N, ErrCorrupt)
		}
		if err := do(p); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// OpenPhotoFile opens a photo's file as it lies on the disk, encrypted. ErrNotFound when no photo names it any more; ErrCorrupt when one
// does and the file is gone.
func (r *Registry) OpenPhotoFile(ctx context.Context, name string) (*os.File, error) {
	if !isFileName(name) {
		return nil, fmt.Errorf("open photo file: no such name: %w", ErrInvalid)
	}
	f, err := os.Open(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		// A photo's row goes before its file.
		var one int
		if err := r.readers.QueryRowContext(ctx, "SELECT 1 FROM photos WHERE file = ?", name).Scan(&one); err != nil {
			return nil, wrap(err, "open photo file %s", name)
		}
		err = fmt.Errorf("%w: the file is gone", ErrCorrupt)
	}
	return f, wrap(err, "open photo file %s", name)
}

// Restoring says what a registry is made again from.
type Restoring struct {
	Snapshot string    // its id
	At       time.Time // when it was taken
	// Files are the names of the files of all photos.
	Files map[string]struct{}
	// Gone are those of photos that were deleted while the snapshot was taken: these photos are left out.
	Gone []string
}

// Restored is what Restore did to a registry.
type Restored struct {
	LeftOut  int `json:"left_out"`     // photos that were deleted while the snapshot was taken
	Sessions int `json:"sessions"`     // ended
	Invited  int `json:"invitations"`  // ended, families' unused codes among them
	Keys     int `json:"revoked_keys"` // revoked
	Hidden   int `json:"hidden"`       // children that the public saw, until someone shows them again
}

// Restore makes a registry of a database and photos/ that were put into dir from a backup: it checks the database throughout, brings
// its schema up to date, and ends what may have ended since: all sessions, invitations, codes and keys, of which some may have been
// taken from their holders after the snapshot, and backups under way. Published children are hidden, as some may have been since; their
// removal is asked for by nobody, so that any one person who may decide it can show them again. The audit says first that the registry
// was restored, from what and by whom.
//
// ErrCorrupt when the database is damaged or names other photos than from does. ErrKey when the operator's key is not the registry's.
func Restore(ctx context.Context, dir string, opts Options, from Restoring) (done Restored, err error) {
	defer func() { err = wrap(err, "make the registry again from snapshot %s", from.Snapshot) }()
	if err := examineRestored(ctx, dir, from); err != nil {
		return Restored{}, err
	}
	r, err := Open(ctx, dir, opts)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	err = r.change(ctx, "end what may have ended since", func(ctx context.Context, tx *sql.Tx) error {
		if err := r.audit(ctx, tx, Note{Action: "registry.restored", Subject: from.Snapshot, Detail: map[string]string{"taken_at": from.At.UTC().Format(time.RFC3339)}}); err != nil {
			return err
		}
		for _, name := range from.Gone {
			var id PhotoID
			var caseID CaseID
			if err := tx.QueryRowContext(ctx, "DELETE FROM photos WHERE file = ? RETURNING id, case_id", name).Scan(&id, &caseID); err != nil {
				return err
			}
			if err := noteChange(ctx, tx, caseID, false); err != nil {
				return err
			}
			if err := r.audit(ctx, tx, Note{Action: "photo.deleted", Case: caseID, Subject: string(id)}); err != nil {
				return err
			}
			done.LeftOut++
		}
		if err := count(&done.Sessions)(tx.ExecContext(ctx, "DELETE FROM sessions")); err != nil {
			return err
		}
		if err := count(&done.Invited)(tx.ExecContext(ctx, "UPDATE accounts SET invite = x'', invite_until = 0, totp_pending = x'' WHERE invite <> x''")); err != nil {
			return err
		}
		if err := count(&done.Invited)(tx.ExecContext(ctx, "UPDATE families SET code = x'', code_until = 0 WHERE code <> x''")); err != nil {
			return err
		}
		if done.Keys, err = r.revokeAllKeys(ctx, tx); err != nil {
			return err
		}
		if done.Hidden, err = r.hideAll(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE jobs SET state = ?, wish = '', owner = '', ended_at = ? WHERE kind = ? AND state NOT IN (?, ?)",
			JobCancelled, millis(r.now()), JobBackup, JobDone, JobCancelled)
		return err
	})
	return done, err
}

// count adds up the rows that statements touched.
func count(to *int) func(sql.Result, error) error {
	return func(res sql.Result, err error) error {
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		*to += int(n)
		return err
	}
}

func (r *Registry) revokeAllKeys(ctx context.Context, tx *sql.Tx) (int, error) {
	rows, err := tx.QueryContext(ctx, "UPDATE keys SET revoked = ? WHERE revoked = 0 RETURNING id", millis(r.now()))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var notes []Note
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		notes = append(notes, Note{Action: "key.revoked", Subject: id, Detail: map[string]string{"why": "restored"}})
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	return len(notes), r.audit(ctx, tx, notes...)
}

// hideAll asks for the removal of all that the public sees.
func (r *Registry) hideAll(ctx context.Context, tx *sql.Tx) (int, error) {
	all, _, err := publications(ctx, tx, "p.state = ?", "ORDER BY p.n", Published)
	if err != nil {
		return 0, err
	}
	notes := make([]Note, 0, len(all))
	for _, p := range all {
		if _, err := tx.ExecContext(ctx, "UPDATE publications SET state = ?, removal_by = '', removal_why = ?, removal_at = ? WHERE id = ?",
			Removal, "restored from a backup", millis(r.now()), p.ID); err != nil {
			return 0, err
		}
		notes = append(notes, Note{Action: "publication.removal_asked", Case: p.Case, Subject: p.ID, Detail: map[string]string{"why": "restored"}})
	}
	return len(notes), r.audit(ctx, tx, notes...)
}

// examineRestored checks a database as it came from a backup, before anything opens it as a registry, and takes back the photos that
// were being analysed: nobody stopped over them.
func examineRestored(ctx context.Context, dir string, from Restoring) (err error) {
	r := &Registry{dir: dir}
	r.unswept.Store(true) // there is no owner's folder
	if err := r.openDatabase(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	var found string
	if err := r.readers.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("the database is not whole (%s): %w", found, ErrCorrupt)
	}
	err = r.readers.QueryRowContext(ctx, `SELECT "table" FROM pragma_foreign_key_check LIMIT 1`).Scan(&found)
	if err == nil {
		return fmt.Errorf("a row of %s belongs to nothing: %w", found, ErrCorrupt)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	left := maps.Clone(from.Files)
	rows, err := r.readers.QueryContext(ctx, "SELECT file FROM photos")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if _, ok := left[name]; !ok {
			return fmt.Errorf("the database names a photo that the snapshot does not: %w", ErrCorrupt)
		}
		delete(left, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the snapshot names %d photos that the database does not: %w", len(left), ErrCorrupt)
	}
	_, err = r.writer.ExecContext(ctx, "UPDATE photos SET owner = '', tries = max(tries - 1, 0) WHERE owner <> ''")
	return err
}
