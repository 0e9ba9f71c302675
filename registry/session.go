package registry

import (
	"context"
	"database/sql"
	"time"
)

// CreateSession signs the holder of a key in and returns the token that stands for it until ttl is over. ErrNotFound when
// there is no such key or it was revoked.
func (r *Registry) CreateSession(ctx context.Context, id KeyID, ttl time.Duration) (token string, err error) {
	token = newID("hs_")
	at := now()
	err = r.change(ctx, "sign in", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE expires_at <= ?", millis(at)); err != nil {
			return err
		}
		return changed(tx.ExecContext(ctx, "INSERT INTO sessions (hash, key_id, expires_at) SELECT ?, id, ? FROM keys WHERE id = ? AND revoked = 0",
			hashSecret(token), millis(at.Add(ttl)), id))
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Session returns the key that a session was signed in with; ErrNotFound when the session has ended.
func (r *Registry) Session(ctx context.Context, token string) (Key, error) {
	k, err := scanKey(r.readers.QueryRowContext(ctx, "SELECT "+keyColumns+` FROM sessions s JOIN keys k ON k.id = s.key_id
		WHERE s.hash = ? AND s.expires_at > ? AND k.revoked = 0`, hashSecret(token), millis(now())))
	return k, wrap(err, "session")
}

// DeleteSession ends a session; one that has ended is not an error.
func (r *Registry) DeleteSession(ctx context.Context, token string) error {
	return r.change(ctx, "sign out", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE hash = ?", hashSecret(token))
		return err
	})
}
