package registry

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// SavedSearch is a search that an account comes back to. Query is as the search page's address has it.
type SavedSearch struct {
	ID        string // "w_…"
	Name      string
	Query     string
	CreatedAt time.Time
}

// SaveSearch saves a search of the actor's; one of the same name is replaced. *FieldError for a search without a name.
func (r *Registry) SaveSearch(ctx context.Context, name, query string) (SavedSearch, error) {
	const what = "save search"
	s := SavedSearch{ID: newID("w_"), CreatedAt: r.now()}
	account := ActorOf(ctx).Account
	var err error
	if s.Name, err = line("name", name, MaxSearch); err != nil {
		return SavedSearch{}, wrap(err, what)
	}
	if s.Name == "" {
		return SavedSearch{}, wrap(&FieldError{"name", "is missing; give the search a name"}, what)
	}
	if s.Query, err = line("query", query, MaxQuery); err != nil {
		return SavedSearch{}, wrap(err, what)
	}
	if account == "" {
		return SavedSearch{}, fmt.Errorf("%s: %w: only an account can save a search", what, ErrInvalid)
	}
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO saved_searches (id, account_id, name, query, created_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (account_id, name) DO UPDATE SET query = excluded.query, created_at = excluded.created_at RETURNING id`,
			s.ID, account, s.Name, s.Query, millis(s.CreatedAt)).Scan(&s.ID)
		if err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "saved_search.saved", Subject: s.ID})
	})
	if err != nil {
		return SavedSearch{}, err
	}
	return s, nil
}

// SavedSearches lists the actor's, by name.
func (r *Registry) SavedSearches(ctx context.Context) ([]SavedSearch, error) {
	const what = "list saved searches"
	rows, err := r.readers.QueryContext(ctx, "SELECT id, name, query, created_at FROM saved_searches WHERE account_id = ? ORDER BY name", ActorOf(ctx).Account)
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	var out []SavedSearch
	for rows.Next() {
		var s SavedSearch
		var created int64
		if err := rows.Scan(&s.ID, &s.Name, &s.Query, &created); err != nil {
			return nil, wrap(err, what)
		}
		s.CreatedAt = fromMillis(created)
		out = append(out, s)
	}
	return out, wrap(rows.Err(), what)
}

// DeleteSearch deletes one of the actor's. ErrNotFound.
func (r *Registry) DeleteSearch(ctx context.Context, id string) error {
	return r.change(ctx, "delete saved search "+id, func(ctx context.Context, tx *sql.Tx) error {
		if err := changed(tx.ExecContext(ctx, "DELETE FROM saved_searches WHERE id = ? AND account_id = ?", id, ActorOf(ctx).Account)); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "saved_search.deleted", Subject: id})
	})
}
