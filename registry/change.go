package registry

import (
	"context"
	"database/sql"
	"errors"
)

// noteChange tells whoever follows the registry that a case changed, in the transaction that changes it.
func noteChange(ctx context.Context, tx *sql.Tx, id CaseID, deleted bool) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO case_changes (case_id, seq, deleted)
		VALUES (?, (SELECT coalesce(max(seq), 0) + 1 FROM case_changes), ?)
		ON CONFLICT (case_id) DO UPDATE SET seq = excluded.seq, deleted = excluded.deleted`, id, deleted)
	return err
}

// Changes returns the last change of each case that changed after since, oldest first, at most limit of them. Changes of
// facts, subject faces, dates and analyses count, and deletions; a photo that is merely stored does not, as it has no
// faces yet. Following from 0 sees every case.
func (r *Registry) Changes(ctx context.Context, since int64, limit int) ([]Change, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT seq, case_id, deleted FROM case_changes WHERE seq > ? ORDER BY seq LIMIT ?", since, limit)
	if err != nil {
		return nil, wrap(err, "read changes since %d", since)
	}
	defer rows.Close()
	var out []Change
	for rows.Next() {
		var ch Change
		if err := rows.Scan(&ch.Seq, &ch.Case, &ch.Deleted); err != nil {
			return nil, wrap(err, "read changes since %d", since)
		}
		out = append(out, ch)
	}
	return out, wrap(rows.Err(), "read changes since %d", since)
}

const lastSeq = "SELECT coalesce(max(seq), 0) FROM case_changes"

// LastSeq is the Seq of the newest change, 0 when there is none.
func (r *Registry) LastSeq(ctx context.Context) (seq int64, err error) {
	err = r.readers.QueryRowContext(ctx, lastSeq).Scan(&seq)
	return seq, wrap(err, "read the last change")
}

// joinReferences joins photos p to the templates t of their searchable subject faces f under one model set, which it takes twice. The
// subject is a person's choice, and otherwise the photo's only face under that set.
const joinReferences = `LEFT JOIN photo_sets s ON s.generation = (SELECT n FROM generations WHERE id = ?) AND s.photo = p.n
	JOIN faces f ON f.id = CASE WHEN s.photo IS NULL OR p.subject_by = 'person' THEN p.subject ELSE s.subject END
	JOIN templates t ON t.face_id = f.id AND t.model_set = ? AND t.searchable`

const referenceColumns = "p.id, p.taken, p.taken_by, f.id, t.age_years, t.age_sd, t.quality, t.sealed"

// scanReference reads referenceColumns, and more columns behind them. A template that is damaged is nil, so that it does
// not stand in the way of the others.
func (r *Registry) scanReference(rows *sql.Rows, set string, more ...any) (Reference, error) {
	var ref Reference
	var age, sd, quality float64 // as SQLite has them: database/sql makes a float32 by way of text
	var sealed sql.RawBytes
	err := rows.Scan(append([]any{&ref.Photo, &ref.Taken, &ref.TakenBy, &ref.Face, &age, &sd, &quality, &sealed}, more...)...)
	if err != nil {
		return Reference{}, err
	}
	ref.AgeYears, ref.AgeSD, ref.Quality = float32(age), float32(sd), float32(quality)
	if ref.Template, err = r.keys.openVector(kindTemplate, ref.Face, set, sealed); errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return ref, err
}

// References returns the templates of a case under a model set: those of the subject faces that are good enough to be
// found with. None when there is no such case.
func (r *Registry) References(ctx context.Context, id CaseID, set string) ([]Reference, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT "+referenceColumns+" FROM photos p "+joinReferences+" WHERE p.case_id = ? ORDER BY p.n", set, set, id)
	if err != nil {
		return nil, wrap(err, "references of case %s", id)
	}
	defer rows.Close()
	var refs []Reference
	for rows.Next() {
		ref, err := r.scanReference(rows, set)
		if err != nil {
			return nil, wrap(err, "references of case %s", id)
		}
		refs = append(refs, ref)
	}
	return refs, wrap(rows.Err(), "references of case %s", id)
}

// EachReference calls fn for every case, those without references included, oldest first, with its references under the
// model set, and returns the Seq of the moment that all of it is of: follow the changes after it. refs is fn's to keep.
// An error of fn ends it.
func (r *Registry) EachReference(ctx context.Context, set string, fn func(c Case, refs []Reference) error) (seq int64, err error) {
	err = r.view(ctx, "read references under "+set, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, lastSeq).Scan(&seq); err != nil {
			return err
		}
		// Two cursors side by side, in the same order: a case's facts are then read once and not with each template.
		refs, err := tx.QueryContext(ctx, "SELECT "+referenceColumns+`, c.n FROM cases c CROSS JOIN photos p ON p.case_id = c.id `+
			joinReferences+` ORDER BY c.n, p.n`, set, set)
		if err != nil {
			return err
		}
		defer refs.Close()
		ahead, err := r.nextReference(refs, set)
		if err != nil {
			return err
		}
		cases, err := tx.QueryContext(ctx, "SELECT "+caseColumns+", c.n FROM cases c ORDER BY c.n")
		if err != nil {
			return err
		}
		defer cases.Close()
		for cases.Next() {
			var n int64
			c, err := scanCase(cases, &n)
			if err != nil {
				return err
			}
			var own []Reference
			for ahead != nil && ahead.n == n {
				own = append(own, ahead.Reference)
				if ahead, err = r.nextReference(refs, set); err != nil {
					return err
				}
			}
			if err := fn(c, own); err != nil {
				return err
			}
		}
		return cases.Err()
	})
	return seq, err
}

// numbered is a reference of the n-th case.
type numbered struct {
	n int64
	Reference
}

// nextReference reads one reference; nil when there is no more.
func (r *Registry) nextReference(rows *sql.Rows, set string) (*numbered, error) {
	if !rows.Next() {
		return nil, rows.Err()
	}
	var ref numbered
	var err error
	ref.Reference, err = r.scanReference(rows, set, &ref.n)
	return &ref, err
}

// FaceTemplate returns the template of an enrolled face under a model set, and the face's case. ErrNotFound when there is
// no such face, or it has no template under the set (yet).
func (r *Registry) FaceTemplate(ctx context.Context, id FaceID, set string) (template []float32, caseID CaseID, err error) {
	var sealed []byte
	err = r.readers.QueryRowContext(ctx, `SELECT p.case_id, t.sealed FROM templates t JOIN faces f ON f.id = t.face_id
		JOIN photos p ON p.id = f.photo_id WHERE t.face_id = ? AND t.model_set = ?`, id, set).Scan(&caseID, &sealed)
	if err != nil {
		return nil, "", wrap(err, "template of face %s under %s", id, set)
	}
	template, err = r.keys.openVector(kindTemplate, id, set, sealed)
	return template, caseID, err
}

// Embeddings returns the raw outputs of the recognisers for a face, from which a new metric makes a template.
func (r *Registry) Embeddings(ctx context.Context, id FaceID) (map[string][]float32, error) {
	e, err := r.embeddings(ctx, r.readers, id)
	return e, wrap(err, "embeddings of face %s", id)
}

// querier is a database, or a transaction in it.
type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

func (r *Registry) embeddings(ctx context.Context, q querier, id FaceID) (map[string][]float32, error) {
	rows, err := q.QueryContext(ctx, "SELECT recogniser, sealed FROM embeddings WHERE face_id = ?", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[string][]float32)
	for rows.Next() {
		var recogniser string
		var sealed sql.RawBytes
		if err := rows.Scan(&recogniser, &sealed); err != nil {
			return nil, err
		}
		if out[recogniser], err = r.keys.openVector(kindEmbedding, id, recogniser, sealed); err != nil {
			return nil, err
		}
	}
	return out, rows.Err()
}
