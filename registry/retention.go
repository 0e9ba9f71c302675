package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How long a case is kept after it ends. The time is shown wherever the case is.
const (
	RetentionWithdrawn = 7 * 24 * time.Hour   // a family's change of mind
	RetentionClosed    = 90 * 24 * time.Hour  // closed by an officer
	RetentionReunited  = 365 * 24 * time.Hour // courts ask
)

// How a case was closed.
const (
	ClosedByOfficer = "closed"
	Withdrawn       = "withdrawn" // by the family
	Reunited        = "reunited"
)

// CloseCase closes an open case, so that it is no candidate any more, and sets when it will be destroyed: key, photos,
// faces and templates. as is "closed" or "withdrawn". What is published of it is hidden at once. Open leads of it leave the
// queue. ErrConflict when it is closed already.
func (r *Registry) CloseCase(ctx context.Context, id CaseID, as string) (c Case, err error) {
	if as != ClosedByOfficer && as != Withdrawn {
		return Case{}, wrap(&FieldError{"as", "must be closed or withdrawn"}, "close case %s", id)
	}
	err = r.change(ctx, "close case "+string(id), func(ctx context.Context, tx *sql.Tx) (err error) {
		c, err = r.closeCase(ctx, tx, id, as)
		return err
	})
	return c, err
}

// closeCase is CloseCase in a transaction, also for a reunion.
func (r *Registry) closeCase(ctx context.Context, tx *sql.Tx, id CaseID, as string) (Case, error) {
	c, err := scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", id))
	if err != nil {
		return Case{}, err
	}
	if c.Status == StatusClosed {
		return Case{}, refused(ErrConflict, "it is closed already")
	}
	now := r.now()
	// A clock that stands in the past must not shorten the time, which the next look at the right clock would find over.
	from := now
	if last, err := careAt(ctx, tx); err != nil {
		return Case{}, err
	} else if last.After(from) {
		from = last
	}
	keep := map[string]time.Duration{ClosedByOfficer: RetentionClosed, Withdrawn: RetentionWithdrawn, Reunited: RetentionReunited}[as]
	if _, err := tx.ExecContext(ctx, "UPDATE cases SET status = ?, closed_as = ?, destroy_at = ?, updated_at = ?, version = version + 1 WHERE id = ?",
		StatusClosed, as, millis(from.Add(keep)), millis(now), id); err != nil {
		return Case{}, err
	}
	if err := noteChange(ctx, tx, id, false); err != nil {
		return Case{}, err
	}
	if err := r.audit(ctx, tx, Note{Action: "case.closed", Case: id, Detail: map[string]string{"as": as}}); err != nil {
		return Case{}, err
	}
	if err := r.unpublish(ctx, tx, id, as); err != nil {
		return Case{}, err
	}
	return scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", id))
}

// ReopenCase takes a closed case back before it is destroyed. What was published stays removed. ErrConflict for a case that
// is open, or was closed by a reunion.
func (r *Registry) ReopenCase(ctx context.Context, id CaseID) (c Case, err error) {
	err = r.change(ctx, "reopen case "+string(id), func(ctx context.Context, tx *sql.Tx) (err error) {
		if c, err = scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", id)); err != nil {
			return err
		}
		switch {
		case c.Status == StatusOpen:
			return refused(ErrConflict, "it is open")
		case c.ClosedAs == Reunited:
			return refused(ErrConflict, "the child is with its family")
		}
		if _, err := tx.ExecContext(ctx, "UPDATE cases SET status = ?, closed_as = '', destroy_at = 0, updated_at = ?, version = version + 1 WHERE id = ?",
			StatusOpen, millis(r.now()), id); err != nil {
			return err
		}
		if err := noteChange(ctx, tx, id, false); err != nil {
			return err
		}
		if err := r.audit(ctx, tx, Note{Action: "case.reopened", Case: id}); err != nil {
			return err
		}
		c, err = scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", id))
		return err
	})
	if err != nil {
		return Case{}, err
	}
	return c, nil
}

// How far the clock is believed.
const (
	// clockTrust is how far the clock may have moved since the registry was last looked after, before it is not believed: a
	// clock that jumps years ahead must not destroy everything at once.
	clockTrust = 3 * 24 * time.Hour
	// clockTrial is how long, by the process' own time, a clock must go right before it is believed again.
	clockTrial = 24 * time.Hour
	// clockDrift is by how much a clock on trial may differ from the process' own time: it is set now and then.
	clockDrift = time.Hour
)

// care is the trial of a clock that is not believed.
type care struct {
	mu      sync.Mutex
	uptime  func() time.Duration
	on      bool // a trial is under way
	clock   time.Time
	process time.Duration // uptime when the clock was at clock
}

// believe puts the clock on trial, or goes on with the trial that is under way, and says whether it has stood it.
func (c *care) believe(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ran := c.uptime() - c.process
	if off := now.Sub(c.clock) - ran; !c.on || off.Abs() > clockDrift {
		c.on, c.clock, c.process = true, now, c.uptime()
		return false
	}
	if ran < clockTrial {
		return false
	}
	c.on = false
	return true
}

// trusted ends a trial: the clock agrees with the registry again.
func (c *care) trusted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
}

const metaCare = "care_at"

// careAt is where the clock stood when the registry was last looked after; before that, at the last entry of the audit.
func careAt(ctx context.Context, tx *sql.Tx) (time.Time, error) {
	var last int64
	err := tx.QueryRowContext(ctx, `SELECT coalesce((SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM meta WHERE name = ?),
		(SELECT at FROM audit ORDER BY n DESC LIMIT 1), 0)`, metaCare).Scan(&last)
	return fromMillis(last), err
}

func setCareAt(ctx context.Context, tx *sql.Tx, at time.Time) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES (?, CAST(? AS BLOB)) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		metaCare, fmt.Sprint(millis(at)))
	return err
}

// DestroyDue destroys the cases whose time has come, and says which. It is called regularly. When the clock has moved by
// more than clockTrust since the last call, in either direction, it destroys nothing until it has been called for a day of
// the process' own time that agrees with the new clock, or ConfirmClock is called; held then says so.
func (r *Registry) DestroyDue(ctx context.Context) (destroyed []CaseID, held bool, err error) {
	const what = "destroy what is due"
	now := r.now()
	var due []CaseID
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		last, err := careAt(ctx, tx)
		if err != nil {
			return err
		}
		if last.IsZero() || now.Sub(last).Abs() <= clockTrust {
			r.care.trusted()
		} else if !r.care.believe(now) {
			held = true
			return nil
		}
		if err := setCareAt(ctx, tx, now); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT id FROM cases WHERE destroy_at > 0 AND destroy_at <= ? AND status = ? ORDER BY destroy_at, n", millis(now), StatusClosed)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id CaseID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			due = append(due, id)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, false, err
	}
	for _, id := range due {
		if err := ctx.Err(); err != nil {
			return destroyed, false, wrap(err, what)
		}
		// Asked again in the statement: someone may have reopened it since.
		err := r.deleteCase(ctx, id, "case.destroyed", "DELETE FROM cases WHERE id = ?1 AND destroy_at > 0 AND destroy_at <= ?2 AND status = ?3",
			millis(now), StatusClosed)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return destroyed, false, err
		}
		destroyed = append(destroyed, id)
	}
	return destroyed, held, nil
}

// ConfirmClock is an operator's word that the clock is right.
func (r *Registry) ConfirmClock(ctx context.Context) error {
	return r.change(ctx, "confirm the clock", func(ctx context.Context, tx *sql.Tx) error {
		if err := setCareAt(ctx, tx, r.now()); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "clock.confirmed"})
	})
}

// DueForDestruction lists closed cases and when they will be destroyed, soonest first.
func (r *Registry) DueForDestruction(ctx context.Context, limit int) ([]Case, error) {
	const what = "list cases to be destroyed"
	limit, err := pageLimit(limit)
	if err != nil {
		return nil, wrap(err, what)
	}
	rows, err := r.readers.QueryContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.destroy_at > 0 ORDER BY c.destroy_at, c.n LIMIT ?", limit)
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	var out []Case
	for rows.Next() {
		c, err := scanCase(rows)
		if err != nil {
			return nil, wrap(err, what)
		}
		out = append(out, c)
	}
	return out, wrap(rows.Err(), what)
}
