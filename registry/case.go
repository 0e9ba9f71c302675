package registry

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// CaseQuery says which cases ListCases lists. Zero fields do not narrow. A case whose fact is unknown passes every filter
// on that fact, as in a search: a record's silence must not hide a child.
type CaseQuery struct {
	Gallery          Gallery
	Statuses         []Status
	Sex              Sex
	BornFrom, BornTo int // years; a case passes when its own range overlaps
	IDs              []CaseID
	Regions          []string  // of an account, which covers them as Covers says; nil is everywhere
	Region           string    // this region and those under it
	ReportedBy       AccountID // exactly
	Limit            int       // 1 to MaxListed; 0 is DefaultListed
	Cursor           string    // next of the page before
}

// Bounds of a list's page.
const (
	DefaultListed = 50
	MaxListed     = 1000
)

const caseColumns = `c.id, c.gallery, c.status, c.names, c.sex, c.born_from, c.born_to, c.place, c.on_date, c.marks, c.notes, c.ref,
	c.created_at, c.updated_at, c.version, c.region, c.reported_by, c.verified, c.closed_as, c.destroy_at, c.n, (SELECT count(*) FROM photos q WHERE q.case_id = c.id)`

// scanner is a row of *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }

// scanCase reads caseColumns, and more columns behind them.
func scanCase(row scanner, more ...any) (Case, error) {
	var c Case
	var names string
	var created, updated, destroy int64
	err := row.Scan(append([]any{&c.ID, &c.Gallery, &c.Status, &names, &c.Sex, &c.BornFrom, &c.BornTo, &c.Place, &c.On,
		&c.Marks, &c.Notes, &c.Ref, &created, &updated, &c.Version, &c.Region, &c.ReportedBy, &c.Verified, &c.ClosedAs, &destroy, &c.N, &c.Photos}, more...)...)
	if err != nil {
		return Case{}, err
	}
	c.CreatedAt, c.UpdatedAt = fromMillis(created), fromMillis(updated)
	c.Destroy = fromMillis(destroy)
	if err := json.Unmarshal([]byte(names), &c.Names); err != nil {
		return Case{}, fmt.Errorf("names of case %s: %w: %w", c.ID, ErrCorrupt, err)
	}
	return c, nil
}

// CreateCase stores a new case and returns it with its id, times and version. Status defaults to Open; one that is closed
// from the start is a record of the past, and kept. ReportedBy defaults to the actor's account. It ignores the other fields
// that the registry fills. *FieldError for a field that breaks the rules; ErrDuplicate when the gallery has a case with the
// same Ref.
func (r *Registry) CreateCase(ctx context.Context, c Case) (Case, error) {
	if c.ReportedBy == "" {
		c.ReportedBy = ActorOf(ctx).Account
	}
	key, err := r.beginCase(&c)
	if err != nil {
		return Case{}, wrap(err, "create case")
	}
	err = r.change(ctx, "create case", func(ctx context.Context, tx *sql.Tx) error {
		return r.insertCase(ctx, tx, &c, key)
	})
	if err != nil {
		return Case{}, err
	}
	return c, nil
}

// beginCase checks a new case, fills what the registry fills, and makes the key of its photos, sealed.
func (r *Registry) beginCase(c *Case) (key []byte, err error) {
	c.ID, c.Version, c.Photos, c.ClosedAs, c.Destroy = CaseID(newID("c_")), 1, 0, "", time.Time{}
	c.CreatedAt = r.now()
	c.UpdatedAt = c.CreatedAt
	switch c.Status {
	case "":
		c.Status = StatusOpen
	case StatusClosed:
		c.ClosedAs = ClosedByOfficer
	}
	if err := c.tidy(c.CreatedAt); err != nil {
		return nil, err
	}
	return r.keys.newCaseKey(c.ID)
}

func (r *Registry) insertCase(ctx context.Context, tx *sql.Tx, c *Case, key []byte) error {
	if err := refFree(ctx, tx, *c); err != nil {
		return err
	}
	if err := knownRegion(ctx, tx, c.Region); err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO cases (id, gallery, status, names, sex, born_from, born_to, place, on_date,
		marks, notes, ref, key, created_at, updated_at, version, region, reported_by, verified, closed_as)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.ID, c.Gallery, c.Status, c.namesJSON(), c.Sex, c.BornFrom, c.BornTo, c.Place, c.On,
		c.Marks, c.Notes, c.Ref, key, millis(c.CreatedAt), millis(c.UpdatedAt), c.Version, c.Region, c.ReportedBy, c.Verified, c.ClosedAs)
	if err != nil {
		return err
	}
	if c.N, err = res.LastInsertId(); err != nil {
		return err
	}
	if err := noteChange(ctx, tx, c.ID, false); err != nil {
		return err
	}
	return r.audit(ctx, tx, Note{Action: "case.created", Case: c.ID})
}

// refFree reports ErrDuplicate when another case of the gallery has the same reference.
func refFree(ctx context.Context, tx *sql.Tx, c Case) error {
	if c.Ref == "" {
		return nil
	}
	var other CaseID
	err := tx.QueryRowContext(ctx, "SELECT id FROM cases WHERE gallery = ? AND ref = ? AND id <> ?", c.Gallery, c.Ref, c.ID).Scan(&other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return refused(ErrDuplicate, "%s has the reference %q in the gallery %s. Change that case, or choose another reference", other, c.Ref, c.Gallery)
}

// Case reads a case.
func (r *Registry) Case(ctx context.Context, id CaseID) (Case, error) {
	c, err := scanCase(r.readers.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", id))
	return c, wrap(err, "case %s", id)
}

// CaseByRef reads the case that has the caller's own reference.
func (r *Registry) CaseByRef(ctx context.Context, g Gallery, ref string) (Case, error) {
	if ref == "" {
		return Case{}, fmt.Errorf("case without reference: %w", ErrNotFound)
	}
	c, err := scanCase(r.readers.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.gallery = ? AND c.ref = ?", g, ref))
	return c, wrap(err, "case with reference %q in %s", ref, g)
}

// Number is the case's number for people: short, and with a last digit that catches a slip. It tells a missing child's case
// from a found one's, and nothing else.
func (c Case) Number() string {
	letter := "M"
	if c.Gallery == Found {
		letter = "F"
	}
	digits := fmt.Sprintf("%06d", c.N)
	return fmt.Sprintf("%s-%s-%d", letter, digits, luhn(digits))
}

// luhn is the check digit of ISO/IEC 7812: it finds any single wrong digit, and nearly every swap of two neighbours.
func luhn(digits string) int {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return (10 - sum%10) % 10
}

// CaseByNumber reads a case by its number for people, in either case, with blanks and hyphens where a person puts them.
// ErrNotFound for any text that is no case's number.
func (r *Registry) CaseByNumber(ctx context.Context, number string) (Case, error) {
	text := strings.Map(func(c rune) rune {
		if c == '-' || unicode.IsSpace(c) {
			return -1
		}
		return unicode.ToUpper(c)
	}, number)
	gallery, ok := map[byte]Gallery{'M': Missing, 'F': Found}[(text + " ")[0]]
	if !ok || len(text) < 8 || strings.Trim(text[1:], "0123456789") != "" {
		return Case{}, fmt.Errorf("case number %.40q: %w", number, ErrNotFound)
	}
	digits, check := text[1:len(text)-1], text[len(text)-1]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || luhn(digits) != int(check-'0') {
		return Case{}, fmt.Errorf("case number %.40q: %w", number, ErrNotFound)
	}
	c, err := scanCase(r.readers.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.n = ? AND c.gallery = ?", n, gallery))
	return c, wrap(err, "case number %.40q", number)
}

// changedFields names the facts in which two states of a case differ, as the API names them.
func changedFields(a, b Case) string {
	var names []string
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"names", a.namesJSON(), b.namesJSON()}, {"sex", a.Sex, b.Sex}, {"born.from", a.BornFrom, b.BornFrom}, {"born.to", a.BornTo, b.BornTo},
		{"place", a.Place, b.Place}, {"on", a.On, b.On}, {"marks", a.Marks, b.Marks}, {"notes", a.Notes, b.Notes}, {"ref", a.Ref, b.Ref},
		{"region", a.Region, b.Region}, {"verified", a.Verified, b.Verified},
	} {
		if f.a != f.b {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ",")
}

// UpdateCase stores the facts of c and returns the case as it now is. ErrConflict when c.Version is not the stored one:
// someone changed the case since c was read. The gallery cannot change, nor the status: CloseCase and ReopenCase do that.
func (r *Registry) UpdateCase(ctx context.Context, c Case) (Case, error) {
	what := "change case " + string(c.ID)
	at := r.now()
	if err := c.tidy(at); err != nil {
		return Case{}, wrap(err, "%s", what)
	}
	var out Case
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		old, err := scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", c.ID))
		if err != nil {
			return err
		}
		if old.Version != c.Version {
			return fmt.Errorf("version %d, now %d: %w", c.Version, old.Version, ErrConflict)
		}
		if old.Gallery != c.Gallery {
			return &FieldError{"gallery", "cannot change: make a new case in the other gallery and delete this one"}
		}
		if old.Status != c.Status {
			return &FieldError{"status", "cannot change with the facts: close or reopen the case"}
		}
		if err := refFree(ctx, tx, c); err != nil {
			return err
		}
		if c.Region != old.Region {
			if err := knownRegion(ctx, tx, c.Region); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE cases SET names = ?, sex = ?, born_from = ?, born_to = ?, place = ?,
			on_date = ?, marks = ?, notes = ?, ref = ?, region = ?, verified = ?, updated_at = ?, version = version + 1 WHERE id = ?`,
			c.namesJSON(), c.Sex, c.BornFrom, c.BornTo, c.Place,
			c.On, c.Marks, c.Notes, c.Ref, c.Region, c.Verified, millis(at), c.ID); err != nil {
			return err
		}
		if err := noteChange(ctx, tx, c.ID, false); err != nil {
			return err
		}
		if out, err = scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", c.ID)); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "case.changed", Case: c.ID, Detail: map[string]string{"fields": changedFields(old, out)}})
	})
	if err != nil {
		return Case{}, err
	}
	return out, nil
}

// DeleteCase deletes a case with its photos, faces and templates, and destroys the key of its photos: should a copy of
// a photo's file survive anywhere, nobody can read it. The account of the family that reported it ends with it.
func (r *Registry) DeleteCase(ctx context.Context, id CaseID) error {
	return r.deleteCase(ctx, id, "case.deleted", "DELETE FROM cases WHERE id = ?1")
}

// emptyCase says of a case c that it has no photo, that nobody has worked on it since it was made, and that it is no family's.
const emptyCase = `c.version = 1 AND NOT EXISTS (SELECT 1 FROM photos p WHERE p.case_id = c.id)
	AND NOT EXISTS (SELECT 1 FROM families f WHERE f.case_id = c.id)`

// DeleteEmptyCase deletes a case that has no photo and that nobody has worked on since it was made, and leaves any other alone:
// ErrNotFound then.
func (r *Registry) DeleteEmptyCase(ctx context.Context, id CaseID) error {
	return r.deleteCase(ctx, id, "case.deleted", "DELETE FROM cases AS c WHERE c.id = ?1 AND "+emptyCase)
}

// deleteCase deletes a case by a statement that names it as ?1, and more values behind it.
func (r *Registry) deleteCase(ctx context.Context, id CaseID, action, statement string, more ...any) error {
	what := "delete case " + string(id)
	var files []string
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) (err error) {
		if files, err = photoFiles(ctx, tx, "case_id", string(id)); err != nil {
			return err
		}
		var family AccountID
		err = tx.QueryRowContext(ctx, "SELECT account_id FROM families WHERE case_id = ?", id).Scan(&family)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := changed(tx.ExecContext(ctx, statement, append([]any{id}, more...)...)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM accounts WHERE id = ? AND role = ?", family, Family); err != nil {
			return err
		}
		if err := noteChange(ctx, tx, id, true); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: action, Case: id})
	})
	if err != nil {
		return err
	}
	r.removeFiles(files)
	return wrap(r.scrub(ctx), "%s", what)
}

// scrub overwrites what was deleted in the log too, where the sealed key of a deleted case would otherwise linger until
// the log is reused. Other processes' reads can hold it up; it then happens with the next deletion or the last Close.
func (r *Registry) scrub(ctx context.Context) error {
	conn, err := r.writer.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx = context.WithoutCancel(ctx)
	// Readers are not waited for: they may be long, and every write would wait with us.
	_, err = conn.ExecContext(ctx, "PRAGMA busy_timeout = 0")
	var busy, logged, moved int
	if err == nil {
		err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &logged, &moved)
	}
	_, err2 := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
	return errors.Join(err, err2)
}

// ListCases lists cases, newest first. next is the cursor of the following page, empty on the last; cases created
// meanwhile shift nothing. A cursor that ListCases did not give is ErrInvalid.
func (r *Registry) ListCases(ctx context.Context, q CaseQuery) (cases []Case, next string, err error) {
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
		add("c.n < ?", n)
	}
	if q.Gallery != "" {
		add("c.gallery = ?", q.Gallery)
	}
	if len(q.Statuses) > 0 {
		add("c.status IN (SELECT value FROM json_each(?))", jsonText(q.Statuses))
	}
	if q.Sex != SexUnknown {
		add("c.sex IN ('', ?)", q.Sex)
	}
	// Dates are text that starts with the year, and compare as such.
	if q.BornFrom != 0 {
		add("(c.born_to = '' OR c.born_to >= ?)", fmt.Sprintf("%04d", q.BornFrom))
	}
	if q.BornTo != 0 {
		add("c.born_from < ?", fmt.Sprintf("%04d", q.BornTo+1))
	}
	if q.Regions != nil {
		add(covered("c.region"), jsonText(q.Regions))
	}
	if q.Region != "" {
		add(under("c.region"), q.Region)
	}
	if q.ReportedBy != "" {
		add("c.reported_by = ?", q.ReportedBy)
	}
	if q.IDs != nil {
		add("c.id IN (SELECT value FROM json_each(?))", jsonText(q.IDs))
	}
	limit, err := pageLimit(q.Limit)
	if err != nil {
		return nil, "", err
	}
	err = r.view(ctx, "list cases", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE "+strings.Join(where, " AND ")+
			" ORDER BY c.n DESC LIMIT ?", append(args, limit+1)...) // one more tells whether there is a next page
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if len(cases) == limit {
				next = newCursor(cases[limit-1].N)
				return nil
			}
			c, err := scanCase(rows)
			if err != nil {
				return err
			}
			cases = append(cases, c)
		}
		return rows.Err()
	})
	return cases, next, err
}

// pageLimit is how many rows a page has, of the limit that a query gives.
func pageLimit(limit int) (int, error) {
	switch {
	case limit == 0:
		return DefaultListed, nil
	case limit < 0 || limit > MaxListed:
		return 0, &FieldError{"limit", fmt.Sprintf("goes from 1 to %d", MaxListed)}
	}
	return limit, nil
}

// newCursor is the place behind the row n, with a checksum that tells a cursor from other text.
func newCursor(n int64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(n))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
}

func parseCursor(text string) (int64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 12 || binary.BigEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[:8]) {
		return 0, fmt.Errorf("cursor: %w: use the next value of the answer before, unchanged", ErrInvalid)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// jsonText is v as JSON, for v of strings and numbers, which always marshal.
func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func (c *Case) namesJSON() string {
	if c.Names == nil {
		return "[]"
	}
	return jsonText(c.Names)
}
