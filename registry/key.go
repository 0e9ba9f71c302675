package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"time"
)

const keyColumns = "k.id, k.name, k.created_at, k.last_used, k.revoked"

func scanKey(row scanner) (Key, error) {
	var k Key
	var created, used, revoked int64
	if err := row.Scan(&k.ID, &k.Name, &created, &used, &revoked); err != nil {
		return Key{}, err
	}
	k.CreatedAt, k.LastUsed, k.Revoked = fromMillis(created), fromMillis(used), fromMillis(revoked)
	return k, nil
}

// hashSecret is what is stored of a secret. Secrets have 130 random bits, so a plain hash cannot be searched.
func hashSecret(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// CreateKey makes an access key and returns it with its secret ("hw_…"), which cannot be had again.
func (r *Registry) CreateKey(ctx context.Context, name string) (k Key, secret string, err error) {
	if name, err = line("name", name, MaxKeyName); err == nil && name == "" {
		err = &FieldError{"name", "is empty; say whose key it is"}
	}
	if err != nil {
		return Key{}, "", wrap(err, "create key")
	}
	k = Key{ID: KeyID(newID("k_")), Name: name, CreatedAt: now()}
	secret = newID("hw_")
	err = r.change(ctx, "create key", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO keys (id, name, hash, created_at) VALUES (?, ?, ?, ?)",
			k.ID, k.Name, hashSecret(secret), millis(k.CreatedAt))
		return err
	})
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, nil
}

// Authenticate returns the key that a secret belongs to; ErrNotFound when there is none or it was revoked.
func (r *Registry) Authenticate(ctx context.Context, secret string) (Key, error) {
	k, err := scanKey(r.readers.QueryRowContext(ctx, "SELECT "+keyColumns+" FROM keys k WHERE k.hash = ? AND k.revoked = 0", hashSecret(secret)))
	if err != nil {
		return Key{}, wrap(err, "authenticate")
	}
	if at := now(); at.Sub(k.LastUsed) >= time.Minute {
		k.LastUsed = at
		// Best effort: a full disk or a busy writer must not lock people out of what can still be read.
		_ = r.change(ctx, "note use of key", func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE keys SET last_used = ? WHERE id = ?", millis(at), k.ID)
			return err
		})
	}
	return k, nil
}

// Keys lists all keys, revoked ones included, oldest first.
func (r *Registry) Keys(ctx context.Context) ([]Key, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT "+keyColumns+" FROM keys k ORDER BY k.n")
	if err != nil {
		return nil, wrap(err, "list keys")
	}
	defer rows.Close()
	var out []Key
	for rows.Next() {
		k, err := scanKey(rows)
		if err != nil {
			return nil, wrap(err, "list keys")
		}
		out = append(out, k)
	}
	return out, wrap(rows.Err(), "list keys")
}

// RevokeKey makes a key invalid for ever and ends its sessions. Revoking it again does nothing.
func (r *Registry) RevokeKey(ctx context.Context, id KeyID) error {
	return r.change(ctx, "revoke key "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		if err := changed(tx.ExecContext(ctx, "UPDATE keys SET revoked = CASE revoked WHEN 0 THEN ? ELSE revoked END WHERE id = ?", millis(now()), id)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE key_id = ?", id)
		return err
	})
}
