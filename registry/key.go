package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
)

const keyColumns = "k.id, k.name, k.account_id, k.created_at, k.last_used, k.revoked"

func scanKey(row scanner) (Key, error) {
	var k Key
	var created, used, revoked int64
	if err := row.Scan(&k.ID, &k.Name, &k.Account, &created, &used, &revoked); err != nil {
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

// CreateKey makes an access key with which a program acts as an account, and returns it with its secret ("hw_…"), which
// cannot be had again. *FieldError for a name that is empty and for an account that is a family's or disabled; ErrNotFound
// when there is no such account.
func (r *Registry) CreateKey(ctx context.Context, account AccountID, name string) (k Key, secret string, err error) {
	if name, err = line("name", name, MaxKeyName); err == nil && name == "" {
		err = &FieldError{"name", "is empty; say what the key is for"}
	}
	if err != nil {
		return Key{}, "", wrap(err, "create key")
	}
	k = Key{ID: KeyID(newID("k_")), Name: name, Account: account, CreatedAt: r.now()}
	secret = newID("hw_")
	err = r.change(ctx, "create key", func(ctx context.Context, tx *sql.Tx) error {
		var role Role
		var disabled bool
		if err := tx.QueryRowContext(ctx, "SELECT role, disabled_at <> 0 FROM accounts WHERE id = ?", account).Scan(&role, &disabled); err != nil {
			return wrap(err, "account %s", account)
		}
		switch {
		case !role.Staff():
			return &FieldError{"account", "is a family's, which signs in by its link; choose a staff account"}
		case disabled:
			return &FieldError{"account", "is disabled; enable it first"}
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO keys (id, name, hash, created_at, account_id) VALUES (?, ?, ?, ?, ?)",
			k.ID, k.Name, hashSecret(secret), millis(k.CreatedAt), account); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "key.created", Subject: string(k.ID), Detail: map[string]string{"account": string(account)}})
	})
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, nil
}

// Authenticate returns who acts with a key, with Via the key's id and Purpose its name; ErrNotFound when there is no such
// key, or it was revoked, or its account is disabled.
func (r *Registry) Authenticate(ctx context.Context, secret string) (Actor, error) {
	var id, name string
	var used int64
	a, err := scanActor(r.readers.QueryRowContext(ctx, "SELECT "+actorColumns+`, k.id, k.name, k.last_used FROM keys k JOIN accounts a ON a.id = k.account_id
		WHERE k.hash = ? AND k.revoked = 0 AND a.disabled_at = 0`, hashSecret(secret)), &id, &name, &used)
	if err != nil {
		return Actor{}, wrap(err, "authenticate")
	}
	a.Via, a.Purpose = id, name
	if at := r.now(); minutePast(fromMillis(used), at) {
		// Best effort: a full disk or a busy writer must not lock people out of what can still be read.
		_ = r.change(ctx, "note use of key", func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE keys SET last_used = ? WHERE id = ?", millis(at), id)
			return err
		})
	}
	return a, nil
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

// RevokeKey makes a key invalid for ever. Revoking it again does nothing. ErrNotFound when there is no such key.
func (r *Registry) RevokeKey(ctx context.Context, id KeyID) error {
	return r.change(ctx, "revoke key "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		err := changed(tx.ExecContext(ctx, "UPDATE keys SET revoked = ? WHERE id = ? AND revoked = 0", millis(r.now()), id))
		if errors.Is(err, ErrNotFound) {
			var one int
			return tx.QueryRowContext(ctx, "SELECT 1 FROM keys WHERE id = ?", id).Scan(&one)
		}
		if err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "key.revoked", Subject: string(id)})
	})
}
