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
	u.RecordedAt = r.now()
	if err := u.tidy(); err != nil {
		return wrap(err, "%s", what)
	}
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := pairOpen(ctx, tx, u.Missing, u.Found); err != nil {
			return err
		}
		if err := insertReunion(ctx, tx, u); err != nil {
			return err
		}
		return r.audit(ctx, tx, pairNotes("reunion.recorded", u.Missing, u.Found, nil)...)
	})
}

// insertReunion stores a reunion. ErrDuplicate when one of the cases has one already.
func insertReunion(ctx context.Context, tx *sql.Tx, u Reunion) error {
	other, err := scanReunion(tx.QueryRowContext(ctx, "SELECT "+reunionColumns+" FROM reunions u WHERE u.missing_case = ? OR u.found_case = ?", u.Missing, u.Found))
	if err == nil {
		return refused(ErrDuplicate, "%s and %s are recorded as one child by %s, %s. If that is wrong, remove it first",
			other.Missing, other.Found, other.Laboratory, other.Kit)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO reunions (missing_case, found_case, laboratory, kit, confirmed_on, recorded_by, recorded_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, u.Missing, u.Found, u.Laboratory, u.Kit, u.ConfirmedOn, u.RecordedBy, millis(u.RecordedAt))
	return err
}

// pairNotes puts what was done to a pair into the histories of both cases, each naming the other.
func pairNotes(action string, missing, found CaseID, detail map[string]string) []Note {
	return []Note{
		{Action: action, Case: missing, Subject: string(found), Detail: detail},
		{Action: action, Case: found, Subject: string(missing), Detail: detail},
	}
}

// Reunite records that a child whose lead DNA has confirmed is with its family: the reunion, with laboratory, kit and date
// of the DNA result; both cases are closed as reunited and will be destroyed after RetentionReunited; what was published
// of the found child is removed. ErrConflict unless the lead is confirmed and both cases are open; ErrDuplicate when one of
// the cases has a reunion with another.
func (r *Registry) Reunite(ctx context.Context, lead LeadID) (Lead, error) {
	var l Lead
	err := r.change(ctx, "reunite the cases of lead "+string(lead), func(ctx context.Context, tx *sql.Tx) error {
		var err error
		if l, err = leadByID(ctx, tx, lead); err != nil {
			return err
		}
		if l.State != LeadConfirmed {
			return refused(ErrConflict, "the lead is %s; only DNA's word reunites", l.State)
		}
		open, err := pairOpen(ctx, tx, l.Missing, l.Found)
		if err != nil {
			return err
		}
		if !open {
			return refused(ErrConflict, "a case of it is closed; reopen it first")
		}
		u := Reunion{Missing: l.Missing, Found: l.Found, RecordedBy: string(ActorOf(ctx).Account), RecordedAt: r.now()}
		if err := tx.QueryRowContext(ctx, `SELECT d.laboratory, s.kit, d.result_on FROM dna_requests d JOIN dna_samples s ON s.request_id = d.id
			WHERE d.lead_id = ? AND d.result = 'confirmed' AND s.whose = 'child' ORDER BY d.n DESC, s.n DESC LIMIT 1`, l.ID).
			Scan(&u.Laboratory, &u.Kit, &u.ConfirmedOn); err != nil {
			return err
		}
		// The command line may have recorded the same two before.
		var there bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM reunions WHERE missing_case = ? AND found_case = ?)", u.Missing, u.Found).Scan(&there); err != nil {
			return err
		}
		if !there {
			if err := insertReunion(ctx, tx, u); err != nil {
				return err
			}
		}
		if err := r.moveLead(ctx, tx, &l, LeadReunited); err != nil {
			return err
		}
		for _, id := range []CaseID{l.Missing, l.Found} {
			if _, err := r.closeCase(ctx, tx, id, Reunited); err != nil {
				return wrap(err, "close case %s", id)
			}
		}
		return r.audit(ctx, tx, pairNotes("case.reunited", l.Missing, l.Found, map[string]string{"lead": string(l.ID)})...)
	})
	if err != nil {
		return Lead{}, err
	}
	return l, nil
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

// RemoveReunion takes back a reunion that was recorded by mistake. The cases stay; those that the reunion closed can then be
// reopened, and their lead is again one that DNA has confirmed. ErrNotFound when there is none of the two.
func (r *Registry) RemoveReunion(ctx context.Context, missing, found CaseID) error {
	return r.change(ctx, fmt.Sprintf("remove reunion of %s and %s", missing, found), func(ctx context.Context, tx *sql.Tx) error {
		if err := changed(tx.ExecContext(ctx, "DELETE FROM reunions WHERE missing_case = ? AND found_case = ?", missing, found)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE leads SET state = 'confirmed', updated_at = ? WHERE missing_case = ? AND found_case = ? AND state = 'reunited'",
			millis(r.now()), missing, found); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE cases SET closed_as = ? WHERE id IN (?, ?) AND closed_as = ?", ClosedByOfficer, missing, found, Reunited); err != nil {
			return err
		}
		return r.audit(ctx, tx, pairNotes("reunion.removed", missing, found, nil)...)
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
