package registry

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// SQLite forgets transactions without a word when the end of its log is lost, when the log is deleted, or when an older copy
// of the database is put back: what was acknowledged is then gone, and the files of photos that came since look like strays.
// Against that the registry keeps a mark outside of the database: the last entry of the audit that was committed. A database
// that has not got this entry is behind its mark.
//
// The mark is written after each commit but synced only by Close, so it costs microseconds: it tells of everything
// that was lost while the machine kept running, and after a power cut of everything up to half a minute before. A mark that
// is too low finds less, and never too much.

// mark is the entry of the audit that the database must have.
type mark struct {
	n    int64
	at   time.Time
	hash []byte
}

// markName is the mark's file in the registry's folder.
const markName = "registry.mark"

// markSize is the length of the file. It never changes, so that writing needs no room on a full disk.
const markSize = 192

// errMark means that what stands in the file is no mark.
var errMark = errors.New("it is not a mark")

func (m mark) bytes() []byte {
	text := fmt.Sprintf("homeward mark 1 %d %d %s", m.n, millis(m.at), hex.EncodeToString(m.hash))
	text = fmt.Sprintf("%s %08x", text, crc32.ChecksumIEEE([]byte(text)))
	return fmt.Appendf(nil, "%-*s\n", markSize-1, text)
}

func parseMark(b []byte) (m mark, err error) {
	text := strings.TrimRight(string(b), " \n")
	body, sum, ok := cutLast(text, " ")
	if !ok || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) {
		return m, errMark
	}
	var at int64
	var hash string
	if _, err := fmt.Sscanf(body+" .", "homeward mark 1 %d %d %s", &m.n, &at, &hash); err != nil {
		return m, errMark
	}
	if hash == "." { // nothing has been noted yet
		hash = ""
	}
	m.at = fromMillis(at)
	m.hash, err = hex.DecodeString(hash)
	return m, err
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// readMark reads the mark. os.ErrNotExist where there is none, errMark for what is none.
func (r *Registry) readMark() (m mark, err error) {
	path := filepath.Join(r.dir, markName)
	for range 5 { // another process may be just writing it
		var b []byte
		if b, err = os.ReadFile(path); err != nil {
			return mark{}, err
		}
		if m, err = parseMark(b); err == nil {
			return m, nil
		}
		time.Sleep(time.Millisecond)
	}
	return mark{}, err
}

// Loss says that acknowledged changes are missing from the database.
type Loss struct {
	// Kept is the last entry of the audit that the database has from before the loss, and Last the last that there was; what
	// was done between the two is lost, unless a backup has it.
	Kept, Last     int64
	KeptAt, LastAt time.Time
	// Known is false where the mark itself is missing or damaged, so that nobody can say whether anything was lost.
	Known bool
}

func (l *Loss) String() string {
	if !l.Known {
		return "the file " + markName + ", which tells whether the database has lost anything, was missing or damaged and is made anew. Files without a record are kept in lost/. After an update from an earlier version, or a restore, this is as it should be"
	}
	return fmt.Sprintf("the database has lost what was done between %s and %s (entries %d to %d of the audit): its log was cut short or deleted, or an older copy was put back. "+
		"Restore the newest backup with homeward restore, or accept the loss with homeward repair --accept-loss. Until then no file is removed",
		clockTime(l.KeptAt), clockTime(l.LastAt), l.Kept+1, l.Last)
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "the beginning"
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

// Loss says what the database has lost; nil when nothing is known to be.
func (r *Registry) Loss() *Loss { return r.lost.Load() }

// holdAgainst compares the database with a mark; nil when it has the entry that the mark names.
func (r *Registry) holdAgainst(ctx context.Context, q rowQuerier, m mark) (*Loss, error) {
	if m.n == 0 {
		return nil, nil
	}
	var hash []byte
	err := q.QueryRowContext(ctx, "SELECT hash FROM audit WHERE n = ?", m.n).Scan(&hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	if err == nil && string(hash) == string(m.hash) {
		return nil, nil
	}
	l := &Loss{Known: true, Last: m.n, LastAt: m.at}
	var at int64
	// Where the database has gone on since, entries from before and after the loss cannot be told apart by their numbers: those
	// that are older than the mark are what is surely left.
	err = q.QueryRowContext(ctx, "SELECT n, at FROM audit WHERE n < ? AND at <= ? ORDER BY n DESC LIMIT 1", m.n, millis(m.at)).Scan(&l.Kept, &at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	l.KeptAt = fromMillis(at)
	return l, nil
}

// openMark holds the database against the mark as it was before the database was opened.
func (r *Registry) openMark(ctx context.Context, m mark, readErr error) (err error) {
	path := filepath.Join(r.dir, markName)
	switch {
	case errors.Is(readErr, os.ErrNotExist), errors.Is(readErr, errMark):
		r.lost.Store(&Loss{})
		if n, _, err := r.lastEntry(ctx); err != nil {
			return err
		} else if n == 0 && readErr != errMark { // a new registry
			r.lost.Store(nil)
		}
	case readErr != nil:
		return fmt.Errorf("read %s: %w", markName, readErr)
	default:
		l, err := r.holdAgainst(ctx, r.readers, m)
		if err != nil {
			return err
		}
		r.lost.Store(l)
	}
	if r.marked, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if l := r.lost.Load(); l != nil && l.Known {
		return nil // the mark stays as it is, so that the loss is not forgotten
	}
	if readErr == nil {
		return nil
	}
	// Whoever opens next finds a mark again. What this process found it goes by until it ends.
	_, last, err := r.lastEntry(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(r.putMark(last), r.marked.Truncate(markSize)); err != nil {
		return fmt.Errorf("write %s: %w", markName, err)
	}
	return errors.Join(r.marked.Sync(), syncDir(r.dir))
}

// lastEntry is the last entry of the audit as a mark, with its n apart; 0 when there is none.
func (r *Registry) lastEntry(ctx context.Context) (n int64, m mark, err error) {
	var at int64
	err = r.readers.QueryRowContext(ctx, "SELECT n, at, hash FROM audit ORDER BY n DESC LIMIT 1").Scan(&m.n, &at, &m.hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	m.at = fromMillis(at)
	return m.n, m, err
}

func (r *Registry) putMark(m mark) error {
	_, err := r.marked.WriteAt(m.bytes(), 0)
	return err
}

// committed writes the mark after a commit. A mark that cannot be written is too low, which is no error.
func (r *Registry) committed(m mark) {
	if m.n == 0 || r.marked == nil {
		return
	}
	if l := r.lost.Load(); l != nil && l.Known {
		// Another process may have accepted the loss meanwhile.
		now, err := r.readMark()
		if err != nil {
			return
		}
		if l, err := r.holdAgainst(context.Background(), r.readers, now); err != nil || l != nil {
			return
		}
		r.lost.Store(nil)
	}
	_ = r.putMark(m)
}

// AcceptLoss is an operator's word that what the database lost is lost: files without a record are moved to lost/, and from
// then on the database is the truth again. It says what was accepted; nil when nothing was lost.
func (r *Registry) AcceptLoss(ctx context.Context) (*Loss, error) {
	const what = "accept the loss"
	l := r.lost.Load()
	if l == nil {
		return nil, nil
	}
	if _, err := r.moveStrays(ctx); err != nil {
		return nil, wrap(err, what)
	}
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		return r.audit(ctx, tx, Note{Action: "loss.accepted", Detail: map[string]string{"kept": fmt.Sprint(l.Kept), "last": fmt.Sprint(l.Last)}})
	})
	if err != nil {
		return nil, err
	}
	_, m, err := r.lastEntry(ctx)
	if err == nil {
		err = errors.Join(r.putMark(m), r.marked.Sync())
	}
	if err != nil {
		return nil, wrap(err, what)
	}
	r.lost.Store(nil)
	return l, nil
}

type markKey struct{}

// leaveMark leaves word, in the context of a transaction, of the last entry of the audit that it writes.
func leaveMark(ctx context.Context, m mark) {
	if at, ok := ctx.Value(markKey{}).(*mark); ok {
		*at = m
	}
}
