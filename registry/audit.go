package registry

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"time"
)

// AuditEntry is one line of the record of who did what. It holds identifiers and the names of what changed, never what is
// known of a child or a family: the record outlives them.
type AuditEntry struct {
	N       int64
	At      time.Time
	Account AccountID // empty for those without one
	Role    Role
	Via     string // session or key
	Action  string // "photo.looked", "verdict.given", …: noun and what was done to it
	Case    CaseID
	Subject string // id of what else it is about: a photo, a lead, an account
	Purpose string // as the actor stated it
	Detail  map[string]string
	Hash    string // hexadecimal; chains it to all before it
}

// Note is what an entry says beside who, when and why.
type Note struct {
	Action  string
	Case    CaseID
	Subject string
	Detail  map[string]string
}

// auditContext keeps the chain's key apart from other uses of the key that it comes from.
const auditContext = "homeward audit 1"

// auditHash chains an entry to the hash of the one before. It is keyed: who can write to the database but has no operator's
// key cannot make a chain that verifies.
func (k *keyring) auditHash(before []byte, e AuditEntry, detail string) []byte {
	h := k.newAuditHash()
	h.Write(before)
	var n [8]byte
	for _, number := range []int64{e.N, millis(e.At)} {
		binary.BigEndian.PutUint64(n[:], uint64(number))
		h.Write(n[:])
	}
	for _, text := range []string{string(e.Account), string(e.Role), e.Via, e.Action, string(e.Case), e.Subject, e.Purpose, detail} {
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		h.Write(n[:])
		h.Write([]byte(text))
	}
	return h.Sum(nil)
}

// audit notes what the transaction does, in the transaction.
func (r *Registry) audit(ctx context.Context, tx *sql.Tx, notes ...Note) error {
	if len(notes) == 0 {
		return nil
	}
	actor := ActorOf(ctx)
	n, hash, err := r.auditEnd(ctx, tx)
	if err != nil {
		return err
	}
	for _, note := range notes {
		n++
		e := AuditEntry{
			N: n, At: r.now(), Account: actor.Account, Role: actor.Role, Via: actor.Via,
			Action: note.Action, Case: note.Case, Subject: note.Subject, Purpose: actor.Purpose,
		}
		detail := jsonText(note.Detail) // keys in order
		if note.Detail == nil {
			detail = "{}"
		}
		hash = r.keys.auditHash(hash, e, detail)
		if _, err := tx.ExecContext(ctx, `INSERT INTO audit (n, at, account, role, via, action, case_id, subject, purpose, detail, hash)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.N, millis(e.At), e.Account, e.Role, e.Via, e.Action, e.Case, e.Subject,
			e.Purpose, detail, hash); err != nil {
			return err
		}
	}
	leaveMark(ctx, mark{n, r.now(), hash})
	// The head stands apart from the rows, so that cutting rows off the end shows.
	head := hex.EncodeToString(hash)
	_, err = tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('audit_head', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		r.keys.sealHead(n, head))
	return err
}

// auditEnd is where the chain goes on. Where the rows do not end as the head says, someone has been at them: it then leaves
// a gap in the numbers, so that going on does not heal what VerifyAudit would have found.
func (r *Registry) auditEnd(ctx context.Context, tx *sql.Tx) (n int64, hash []byte, err error) {
	err = tx.QueryRowContext(ctx, "SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1").Scan(&n, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, nil, err
	}
	var sealed []byte
	err = tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'audit_head'").Scan(&sealed)
	switch {
	case errors.Is(err, sql.ErrNoRows) && n == 0:
		return 0, nil, nil
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return 0, nil, err
	}
	if last, head, ok := r.keys.openHead(sealed); !ok || last != n || head != hex.EncodeToString(hash) {
		return max(n, last) + 1, hash, nil
	}
	return n, hash, nil
}

// looks gathers entries of several requests into one transaction: a page of candidates is twenty looks at photos.
type looks struct {
	mu      sync.Mutex
	waiting *lookBatch
	busy    bool
}

type lookBatch struct {
	entries []lookEntry
	done    chan struct{}
	err     error
}

type lookEntry struct {
	actor Actor
	notes []Note
}

// Record notes what was looked at, asked for or refused, where nothing else is written. It returns once the entry is
// durable: whoever then shows a photo has it on record.
func (r *Registry) Record(ctx context.Context, notes ...Note) error {
	if len(notes) == 0 {
		return nil
	}
	r.looks.mu.Lock()
	if r.looks.waiting == nil {
		r.looks.waiting = &lookBatch{done: make(chan struct{})}
	}
	batch := r.looks.waiting
	batch.entries = append(batch.entries, lookEntry{ActorOf(ctx), notes})
	lead := !r.looks.busy
	if lead {
		r.looks.busy = true
	}
	r.looks.mu.Unlock()
	if lead {
		go r.recordWaiting()
	}
	select {
	case <-batch.done:
		return batch.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recordWaiting writes batches until none waits.
func (r *Registry) recordWaiting() {
	for {
		r.looks.mu.Lock()
		batch := r.looks.waiting
		r.looks.waiting = nil
		if batch == nil {
			r.looks.busy = false
			r.looks.mu.Unlock()
			return
		}
		r.looks.mu.Unlock()
		batch.err = r.change(context.Background(), "note in the audit", func(ctx context.Context, tx *sql.Tx) error {
			for _, e := range batch.entries {
				if err := r.audit(WithActor(ctx, e.actor), tx, e.notes...); err != nil {
					return err
				}
			}
			return nil
		})
		close(batch.done)
	}
}

// AuditQuery says which entries Audit lists. Zero fields do not narrow.
type AuditQuery struct {
	Account AccountID
	Case    CaseID
	// Subjects are leads and DNA requests. With a Case their entries come beside the case's own: an entry about a pair names one
	// of its cases. Alone they narrow.
	Subjects []string
	Action   string // exact, or, ending in ".", all actions that begin so
	// NoLooks leaves out who looked and searched.
	NoLooks  bool
	From, To time.Time
	Limit    int // 1 to MaxListed; 0 is DefaultListed
	Cursor   string
}

const auditColumns = "n, at, account, role, via, action, case_id, subject, purpose, detail, hash"

func scanAudit(row scanner) (e AuditEntry, detail string, hash []byte, err error) {
	var at int64
	if err := row.Scan(&e.N, &at, &e.Account, &e.Role, &e.Via, &e.Action, &e.Case, &e.Subject, &e.Purpose, &detail, &hash); err != nil {
		return e, "", nil, err
	}
	e.At, e.Hash = fromMillis(at), hex.EncodeToString(hash)
	if err := json.Unmarshal([]byte(detail), &e.Detail); err != nil {
		return e, "", nil, fmt.Errorf("detail of audit entry %d: %w: %w", e.N, ErrCorrupt, err)
	}
	return e, detail, hash, nil
}

// ErrTampered means that the audit is not as it was written.
var ErrTampered = errors.New("the audit was changed")

// AuditState is what VerifyAudit found.
type AuditState struct {
	Entries int64  `json:"entries"`
	Head    string `json:"head"` // hash of the last entry: kept elsewhere, it shows later whether the registry was put back to an earlier state
}

// VerifyAudit reads the whole chain. ErrTampered, with the first entry that does not fit, when a row was changed, removed,
// added or cut off. known, where it is not empty, is a head that was kept elsewhere and must be in the chain.
func (r *Registry) VerifyAudit(ctx context.Context, known string) (state AuditState, err error) {
	known = strings.ToLower(strings.TrimSpace(known))
	err = r.view(ctx, "verify the audit", func(tx *sql.Tx) error {
		var sealed []byte
		err := tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'audit_head'").Scan(&sealed)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT "+auditColumns+" FROM audit ORDER BY n")
		if err != nil {
			return err
		}
		defer rows.Close()
		var before []byte
		met := known == ""
		for rows.Next() {
			e, detail, hash, err := scanAudit(rows)
			if errors.Is(err, ErrCorrupt) {
				return fmt.Errorf("%w: %w", ErrTampered, err)
			}
			if err != nil {
				return err
			}
			if e.N != state.Entries+1 {
				return fmt.Errorf("%w: entry %d follows entry %d; what lay between is gone", ErrTampered, e.N, state.Entries)
			}
			if !hmac.Equal(hash, r.keys.auditHash(before, e, detail)) {
				return fmt.Errorf("%w: entry %d is not as it was written", ErrTampered, e.N)
			}
			before = hash
			state = AuditState{e.N, e.Hash}
			met = met || e.Hash == known
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if state.Entries == 0 && sealed == nil {
			if !met {
				return fmt.Errorf("%w: the known head is not in it", ErrTampered)
			}
			return nil
		}
		if n, head, ok := r.keys.openHead(sealed); !ok || n != state.Entries || head != state.Head {
			return fmt.Errorf("%w: it ends at entry %d, which is not its last", ErrTampered, state.Entries)
		}
		if !met {
			return fmt.Errorf("%w: the known head is not in it; the registry was put back to an earlier state", ErrTampered)
		}
		return nil
	})
	return state, err
}

func (k *keyring) newAuditHash() hash.Hash {
	key := hmac.New(sha256.New, k.digest)
	key.Write([]byte(auditContext))
	return hmac.New(sha256.New, key.Sum(nil))
}

// sealHead says how many entries there are and what the last one's hash is, in a way that only the key's holder can.
func (k *keyring) sealHead(n int64, head string) []byte {
	text := fmt.Sprintf("%d %s", n, head)
	h := k.newAuditHash()
	h.Write([]byte("head " + text))
	return fmt.Appendf(nil, "%s %x", text, h.Sum(nil))
}

func (k *keyring) openHead(sealed []byte) (n int64, head string, ok bool) {
	var mac string
	if _, err := fmt.Sscanf(string(sealed), "%d %s %s", &n, &head, &mac); err != nil {
		return 0, "", false
	}
	return n, head, hmac.Equal(sealed, k.sealHead(n, head))
}

// Audit lists entries, newest first. From counts, To does not. *FieldError for a limit out of bounds; ErrInvalid for a
// cursor that Audit did not give.
func (r *Registry) Audit(ctx context.Context, q AuditQuery) (entries []AuditEntry, next string, err error) {
	where := []string{"1"}
	var args []any
	add := func(cond string, values ...any) {
		where = append(where, cond)
		args = append(args, values...)
	}
	if q.Cursor != "" {
		n, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, "", err
		}
		add("n < ?", n)
	}
	if q.Account != "" {
		add("account = ?", q.Account)
	}
	// What the indexes audit_case and audit_subject leave out is said as they say it.
	const ofCase, ofSubjects = "case_id = ? AND case_id <> ''", "subject IN (SELECT value FROM json_each(?)) AND substr(subject, 1, 2) IN ('l_', 'd_')"
	switch {
	case q.Case != "" && len(q.Subjects) > 0:
		add("("+ofCase+" OR "+ofSubjects+")", q.Case, jsonText(q.Subjects))
	case q.Case != "":
		add(ofCase, q.Case)
	case len(q.Subjects) > 0:
		add(ofSubjects, jsonText(q.Subjects))
	}
	if q.NoLooks {
		add("action NOT LIKE '%.looked' AND action <> 'search.made'")
	}
	if begins, ok := strings.CutSuffix(q.Action, "."); ok {
		add("action >= ? AND action < ?", begins+".", begins+"/") // '/' comes behind '.'
	} else if q.Action != "" {
		add("action = ?", q.Action)
	}
	if !q.From.IsZero() {
		add("at >= ?", millis(q.From))
	}
	if !q.To.IsZero() {
		add("at < ?", millis(q.To))
	}
	limit, err := pageLimit(q.Limit)
	if err != nil {
		return nil, "", err
	}
	err = r.view(ctx, "list the audit", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT "+auditColumns+" FROM audit WHERE "+strings.Join(where, " AND ")+
			" ORDER BY n DESC LIMIT ?", append(args, limit+1)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if len(entries) == limit {
				next = newCursor(entries[limit-1].N)
				return nil
			}
			e, _, _, err := scanAudit(rows)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return rows.Err()
	})
	return entries, next, err
}

// Unusual is an account that searches or looks much more than it used to.
type Unusual struct {
	Account AccountID
	Count   int     // searches and looks at photos in the last day
	Usual   float64 // a day's mean over the thirty days before
}

// UnusualVolume lists accounts whose searches and looks at photos of the last day are at least least, and more than times
// their usual day's, the busiest first.
func (r *Registry) UnusualVolume(ctx context.Context, least int, times float64) ([]Unusual, error) {
	const what = "look for unusual volume"
	const days = 30
	now := r.now()
	day, month := millis(now.Add(-24*time.Hour)), millis(now.Add(-(1+days)*24*time.Hour))
	// The index has nothing but these entries; the planner would rather read all of an action's that there ever were.
	rows, err := r.readers.QueryContext(ctx, `SELECT account, sum(at > ?1), sum(at <= ?1) FROM audit INDEXED BY audit_looks
		WHERE action IN ('search.made', 'photo.looked') AND account <> '' AND at > ?2 AND at <= ?3 GROUP BY account`, day, month, millis(now))
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	var out []Unusual
	for rows.Next() {
		var u Unusual
		var before int
		if err := rows.Scan(&u.Account, &u.Count, &before); err != nil {
			return nil, wrap(err, what)
		}
		u.Usual = float64(before) / days
		if u.Count >= least && float64(u.Count) > times*u.Usual {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b Unusual) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Account, b.Account))
	})
	return out, wrap(rows.Err(), what)
}
