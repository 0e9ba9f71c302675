package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const reunionColumns = "u.missing_case, u.found_case, u.laboratory, u.kit, u.confirmed_on, u.recorded_by, u.recorded_at"

func scanReunion(row scanner) (Reunion, error) {
	var u Reunion
	var recorded int64
	err := row.Scan(&u.Missing, &u.Found, &u.Laboratory, &u.Kit, &u.ConfirmedOn, &u.RecordedBy, &recorded)
	u.RecordedAt = fromMillis(recorded)
	return u, err
}

// RecordReunion records that DNA has confirmed a missing and a found case to be one child. It ignores RecordedAt, which
// the registry fills.
//
// *FieldError when laboratory, kit or date is missing, or the date lies in the future, or a case is in the wrong gallery;
// ErrNotFound when there is no such case; ErrDuplicate when one of the cases has a reunion already.
func (r *Registry) RecordReunion(ctx context.Context, u Reunion) error {
	what := fmt.Sprintf("record reunion of %s and %s", u.Missing, u.Found)
	u.RecordedAt = now()
	if err := u.tidy(); err != nil {
		return wrap(err, "%s", what)
	}
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		for _, side := range []struct {
			id   CaseID
			want Gallery
		}{{u.Missing, Missing}, {u.Found, Found}} {
			var g Gallery
			err := tx.QueryRowContext(ctx, "SELECT gallery FROM cases WHERE id = ?", side.id).Scan(&g)
			if err != nil {
				return wrap(err, "case %s", side.id)
			}
			if g != side.want {
				return &FieldError{string(side.want), fmt.Sprintf("names %s, which is a %s case; name the missing case first and the found case second", side.id, g)}
			}
		}
		other, err := scanReunion(tx.QueryRowContext(ctx, "SELECT "+reunionColumns+" FROM reunions u WHERE u.missing_case = ? OR u.found_case = ?", u.Missing, u.Found))
		if err == nil {
			return fmt.Errorf("%w: %s and %s are recorded as one child by %s, %s. If that is wrong, remove it first", ErrDuplicate,
				other.Missing, other.Found, other.Laboratory, other.Kit)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO reunions (missing_case, found_case, laboratory, kit, confirmed_on, recorded_by, recorded_at)
			VALUES (?, ?, ?, ?, ?, ?, ?)`, u.Missing, u.Found, u.Laboratory, u.Kit, u.ConfirmedOn, u.RecordedBy, millis(u.RecordedAt))
		return err
	})
}

// tidy trims the reunion's text and refuses one that no DNA result stands behind.
func (u *Reunion) tidy() (err error) {
	if u.Laboratory, err = line("laboratory", u.Laboratory, MaxLaboratory); err != nil {
		return err
	}
	if u.Kit, err = line("kit", u.Kit, MaxKit); err != nil {
		return err
	}
	if u.RecordedBy, err = line("recorded_by", u.RecordedBy, MaxName); err != nil {
		return err
	}
	switch {
	case u.Laboratory == "":
		return &FieldError{"laboratory", "is missing; name the laboratory that compared the DNA"}
	case u.Kit == "":
		return &FieldError{"kit", "is missing; give the number of the kit or sample that was compared"}
	case u.ConfirmedOn.IsZero():
		return &FieldError{"confirmed_on", "is missing; give the date of the laboratory's result"}
	}
	return past("confirmed_on", u.ConfirmedOn, u.RecordedAt)
}

// Reunions lists all reunions, in the order they were recorded.
func (r *Registry) Reunions(ctx context.Context) ([]Reunion, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT "+reunionColumns+" FROM reunions u ORDER BY u.n")
	if err != nil {
		return nil, wrap(err, "list reunions")
	}
	defer rows.Close()
	var out []Reunion
	for rows.Next() {
		u, err := scanReunion(rows)
		if err != nil {
			return nil, wrap(err, "list reunions")
		}
		out = append(out, u)
	}
	return out, wrap(rows.Err(), "list reunions")
}

// RemoveReunion takes back a reunion that was recorded by mistake; the cases stay. ErrNotFound when there is none of the two.
func (r *Registry) RemoveReunion(ctx context.Context, missing, found CaseID) error {
	return r.change(ctx, fmt.Sprintf("remove reunion of %s and %s", missing, found), func(ctx context.Context, tx *sql.Tx) error {
		return changed(tx.ExecContext(ctx, "DELETE FROM reunions WHERE missing_case = ? AND found_case = ?", missing, found))
	})
}

// ReunionFaces calls fn for every reunion, in the order they were recorded, with what a metric is trained on: the photos
// of both cases with their faces, those of the missing case first and each case's as PhotosOf orders them, and the
// embeddings of their subject faces that are searchable, by recogniser. A face of which an embedding is damaged is not
// among embeddings. An error of fn ends it.
func (r *Registry) ReunionFaces(ctx context.Context, fn func(u Reunion, photos []Photo, embeddings map[FaceID]map[string][]float32) error) error {
	all, err := r.Reunions(ctx)
	if err != nil {
		return err
	}
	for _, u := range all {
		photos, embeddings, err := r.reunionFaces(ctx, u)
		if errors.Is(err, ErrNotFound) { // removed since, or a case of it deleted
			continue
		}
		if err != nil {
			return err
		}
		if err := fn(u, photos, embeddings); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) reunionFaces(ctx context.Context, u Reunion) (photos []Photo, embeddings map[FaceID]map[string][]float32, err error) {
	embeddings = make(map[FaceID]map[string][]float32)
	err = r.view(ctx, fmt.Sprintf("faces of the reunion of %s and %s", u.Missing, u.Found), func(tx *sql.Tx) error {
		var one int
		err := tx.QueryRowContext(ctx, "SELECT 1 FROM reunions WHERE missing_case = ? AND found_case = ?", u.Missing, u.Found).Scan(&one)
		if err != nil {
			return err
		}
		for _, id := range []CaseID{u.Missing, u.Found} {
			own, err := photosOf(ctx, tx, id)
			if err != nil {
				return err
			}
			photos = append(photos, own...)
		}
		for _, p := range photos {
			if f, ok := p.Face(p.Subject); !ok || !f.Searchable {
				continue
			}
			e, err := r.embeddings(ctx, tx, p.Subject)
			if errors.Is(err, ErrCorrupt) {
				continue
			}
			if err != nil {
				return err
			}
			embeddings[p.Subject] = e
		}
		return nil
	})
	return photos, embeddings, err
}
