package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Session is one browser that is signed in.
type Session struct {
	ID        string // "h_…": names it, and opens nothing
	Account   AccountID
	Purpose   string
	Device    string
	CreatedAt time.Time
	SeenAt    time.Time // to the minute
	ExpiresAt time.Time
}

// MaxPurpose is the most characters a purpose may have.
const MaxPurpose = 200

// liveSession is true of a session s that has not ended. Its arguments are those of liveNow.
const liveSession = "s.expires_at > ? AND s.created_at <= ?"

// liveNow is the present, and how far ahead of it a session may have begun: see clockSlip.
func (r *Registry) liveNow() (at, ahead int64) {
	now := r.now()
	return millis(now), millis(now.Add(clockSlip))
}

const actorColumns = "a.id, a.role, a.name, a.regions, a.organisation, a.language"

// scanActor reads actorColumns, and more columns behind them.
func scanActor(row scanner, more ...any) (Actor, error) {
	var a Actor
	var regions string
	err := row.Scan(append([]any{&a.Account, &a.Role, &a.Name, &regions, &a.Organisation, &a.Language}, more...)...)
	if err != nil {
		return Actor{}, err
	}
	if err := json.Unmarshal([]byte(regions), &a.Regions); err != nil {
		return Actor{}, fmt.Errorf("regions of account %s: %w: %w", a.Account, ErrCorrupt, err)
	}
	return a, nil
}

// minutePast says that a time which is kept to the minute is to be written anew, also after the clock was put back.
func minutePast(noted, now time.Time) bool { return now.Sub(noted).Abs() >= time.Minute }

// CreateSession signs an account in and returns the token that stands for it until ttl is over. ErrNotFound when there is
// no such account or it is disabled.
func (r *Registry) CreateSession(ctx context.Context, id AccountID, device string, ttl time.Duration) (token string, err error) {
	token = newID("hs_")
	session := newID("h_")
	device = photoName(device) // what can be shown of it
	err = r.change(ctx, "begin session", func(ctx context.Context, tx *sql.Tx) error {
		at, ahead := r.liveNow()
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions AS s WHERE NOT ("+liveSession+")", at, ahead); err != nil {
			return err
		}
		var caseID CaseID
		a, err := scanActor(tx.QueryRowContext(ctx, "SELECT "+actorColumns+`, coalesce(f.case_id, '') FROM accounts a
			LEFT JOIN families f ON f.account_id = a.id WHERE a.id = ? AND a.disabled_at = 0`, id), &caseID)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO sessions (id, hash, account_id, device, created_at, seen_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			session, hashSecret(token), id, device, at, at, at+ttl.Milliseconds()); err != nil {
			return err
		}
		a.Via = session
		return r.audit(WithActor(ctx, a), tx, Note{Action: "session.begun", Case: caseID, Subject: session})
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Session returns who is signed in by a token, with Via the session's id; ErrNotFound when the session has ended.
func (r *Registry) Session(ctx context.Context, token string) (Actor, error) {
	var caseID CaseID
	var session, purpose string
	var seen int64
	at, ahead := r.liveNow()
	a, err := scanActor(r.readers.QueryRowContext(ctx, "SELECT "+actorColumns+`, coalesce(f.case_id, ''), s.id, s.purpose, s.seen_at
		FROM sessions s JOIN accounts a ON a.id = s.account_id LEFT JOIN families f ON f.account_id = a.id
		WHERE s.hash = ? AND a.disabled_at = 0 AND `+liveSession, hashSecret(token), at, ahead), &caseID, &session, &purpose, &seen)
	if err != nil {
		return Actor{}, wrap(err, "session")
	}
	a.Case, a.Via, a.Purpose = caseID, session, purpose
	if minutePast(fromMillis(seen), fromMillis(at)) {
		// Best effort: a full disk or a busy writer must not lock people out of what can still be read.
		_ = r.change(ctx, "note use of session", func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE sessions SET seen_at = ? WHERE id = ?", at, session)
			return err
		})
	}
	return a, nil
}

// SetPurpose notes what a session is for from here on. ErrNotFound when it has ended.
func (r *Registry) SetPurpose(ctx context.Context, session, purpose string) error {
	purpose, err := line("purpose", purpose, MaxPurpose)
	if err != nil {
		return wrap(err, "set purpose of session %s", session)
	}
	return r.change(ctx, "set purpose of session "+session, func(ctx context.Context, tx *sql.Tx) error {
		at, ahead := r.liveNow()
		if err := changed(tx.ExecContext(ctx, "UPDATE sessions AS s SET purpose = ? WHERE s.id = ? AND "+liveSession, purpose, session, at, ahead)); err != nil {
			return err
		}
		actor := ActorOf(ctx)
		actor.Purpose = purpose // the entry says the new one
		return r.audit(WithActor(ctx, actor), tx, Note{Action: "session.purposed", Subject: session})
	})
}

// Sessions lists the sessions of an account that have not ended, newest first.
func (r *Registry) Sessions(ctx context.Context, id AccountID) ([]Session, error) {
	at, ahead := r.liveNow()
	rows, err := r.readers.QueryContext(ctx, `SELECT s.id, s.account_id, s.purpose, s.device, s.created_at, s.seen_at, s.expires_at
		FROM sessions s JOIN accounts a ON a.id = s.account_id WHERE s.account_id = ? AND a.disabled_at = 0 AND `+liveSession+" ORDER BY s.n DESC", id, at, ahead)
	if err != nil {
		return nil, wrap(err, "list sessions")
	}
	defer rows.Close()
	var out []Session
	for rows.Next() {
		var s Session
		var created, seen, expires int64
		if err := rows.Scan(&s.ID, &s.Account, &s.Purpose, &s.Device, &created, &seen, &expires); err != nil {
			return nil, wrap(err, "list sessions")
		}
		s.CreatedAt, s.SeenAt, s.ExpiresAt = fromMillis(created), fromMillis(seen), fromMillis(expires)
		out = append(out, s)
	}
	return out, wrap(rows.Err(), "list sessions")
}

// EndSession ends a session of an account by its id. ErrNotFound.
func (r *Registry) EndSession(ctx context.Context, id AccountID, session string) error {
	return r.change(ctx, "end session "+session, func(ctx context.Context, tx *sql.Tx) error {
		if err := changed(tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ? AND account_id = ?", session, id)); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "session.ended", Subject: session})
	})
}

// DeleteSession signs a token out; one that has ended is not an error.
func (r *Registry) DeleteSession(ctx context.Context, token string) error {
	return r.change(ctx, "sign out", func(ctx context.Context, tx *sql.Tx) error {
		var session string
		err := tx.QueryRowContext(ctx, "DELETE FROM sessions WHERE hash = ? RETURNING id", hashSecret(token)).Scan(&session)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "session.ended", Subject: session})
	})
}
