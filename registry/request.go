package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Errors of Idempotent.
var (
	// ErrReused means that the caller used one idempotency key for two different requests.
	ErrReused = errors.New("this idempotency key was used for a different request: use a new one")
	// ErrInProgress means that the same request is being served at this moment.
	ErrInProgress = errors.New("the same request is still being served: repeat it in a moment")
)

// RequestLife is how long the outcome of a request is kept for its repetition.
const RequestLife = 24 * time.Hour

// Outcome is how a request ended.
type Outcome struct {
	Status int // HTTP
	Photo  PhotoID
}

// Request is one use of an idempotency key. Do the work when Outcome is nil, then Finish it; Close it in any case, which
// forgets a request that was not finished so that it can be made again.
type Request struct {
	Outcome *Outcome // how the same request ended before

	r       *Registry
	account AccountID
	name    string
}

// Idempotent begins a request that a caller, known by its account, has given a name of its own. fingerprint tells one
// request from another. ErrReused when the name was given to a different request within RequestLife; ErrInProgress when
// the same request is being served, by any process. One that was cut off by the end of its process begins anew; what it
// had stored is then found by Commit as existing.
func (r *Registry) Idempotent(ctx context.Context, account AccountID, name string, fingerprint []byte) (*Request, error) {
	q := &Request{r: r, account: account, name: name}
	at := r.now()
	err := r.change(ctx, fmt.Sprintf("begin request %q", name), func(ctx context.Context, tx *sql.Tx) error {
		// A request being served is never forgotten, however long it takes.
		if _, err := tx.ExecContext(ctx, "DELETE FROM requests WHERE created_at < ? AND owner = ''", millis(at.Add(-RequestLife))); err != nil {
			return err
		}
		var owner string
		var same bool
		var out Outcome
		err := tx.QueryRowContext(ctx, "SELECT owner, fingerprint = ?, status, photo_id FROM requests WHERE account_id = ? AND name = ?",
			fingerprint, account, name).Scan(&owner, &same, &out.Status, &out.Photo)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		case owner == "" && same:
			q.Outcome = &out
			return nil
		case owner == "":
			return ErrReused
		case !r.alive(owner): // whatever it was, it is over and had no outcome
		case same:
			return ErrInProgress
		default:
			return ErrReused
		}
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO requests (account_id, name, fingerprint, owner, created_at) VALUES (?, ?, ?, ?, ?)",
			account, name, fingerprint, r.owner, millis(at))
		return err
	})
	if err != nil {
		return nil, err
	}
	return q, nil
}

// Finish stores how the request ended, for its repetition.
func (q *Request) Finish(ctx context.Context, out Outcome) error {
	if q.Outcome != nil {
		return fmt.Errorf("finish request %q: it has an outcome", q.name)
	}
	err := q.r.change(ctx, fmt.Sprintf("finish request %q", q.name), func(ctx context.Context, tx *sql.Tx) error {
		return changed(tx.ExecContext(ctx, "UPDATE requests SET owner = '', status = ?, photo_id = ?, created_at = ? WHERE account_id = ? AND name = ? AND owner = ?",
			out.Status, out.Photo, millis(q.r.now()), q.account, q.name, q.r.owner))
	})
	if err == nil {
		q.Outcome = &out
	}
	return err
}

// Close forgets the request if it was not finished.
func (q *Request) Close() error {
	if q.Outcome != nil {
		return nil
	}
	return q.r.change(context.Background(), fmt.Sprintf("forget request %q", q.name), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM requests WHERE account_id = ? AND name = ? AND owner = ?", q.account, q.name, q.r.owner)
		return err
	})
}
