package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// reprojectBatch is how many photos Reproject saves in one transaction: enough that the sync at its end costs little, few
// enough that whoever else writes waits for milliseconds.
const reprojectBatch = 512

// readFaces is how many photos' faces are read in one query.
const readFaces = 32

// projection is a photo on its way under another metric.
type projection struct {
	n      int64
	photo  PhotoID
	caseID CaseID
	set    string // what it was analysed under
	seq    int64  // of the case's last change before its faces were read
	faces  []*projectedFace
	spoilt bool // what is stored of a face is damaged, or makes no usable template
}

// projectedFace is a face that has no template under the new metric.
type projectedFace struct {
	id         FaceID
	embeddings map[string][]float32
	sealed     []byte // its template; nil when there is none to make
}

// Reproject brings the photos that were analysed under another metric of a model set under the metric of to, which is
// "<model set>.<metric>", without looking at them: each face gets a template that project makes of its embeddings. It says
// how many photos it brought there. Call RequeueOther after it, for the photos of other model sets.
//
// project is called from several goroutines at once, with the embeddings of every recogniser the face has ever been
// embedded by; nil without an error means that the face gets no template. Its error ends Reproject, unless it is an
// ErrCorrupt. A photo of which an embedding is damaged, or a template would not be finite or all zeros, is queued to be
// analysed again. Templates under other metrics stay, and those already there under to are used again.
//
// Photos are saved some hundred at a time, and progress, which may be nil, is told how many are done. When it is
// interrupted, the next call goes on where this one stopped. Several processes may be at it at once, and photos may change
// and go meanwhile.
func (r *Registry) Reproject(ctx context.Context, modelSet, to string, project func(embeddings map[string][]float32) ([]float32, error), progress func(done int)) (n int, err error) {
	defer func() { err = wrap(err, "make templates under %s", to) }()
	prefix := modelSet + "."
	if modelSet == "" || !strings.HasPrefix(to, prefix) {
		return 0, fmt.Errorf("%w: it names no metric of the model set %q", ErrInvalid, modelSet)
	}
	// Listed once, so that each photo is done once: two processes that want different metrics would otherwise take photos
	// from each other for ever.
	todo, err := r.ofOtherMetrics(ctx, prefix, to)
	if err != nil {
		return 0, err
	}
	for len(todo) > 0 {
		var again []int64
		for batch := range slices.Chunk(todo, reprojectBatch) {
			photos, err := r.projections(ctx, batch, prefix, to)
			if err != nil {
				return n, err
			}
			if err := r.projectAll(ctx, photos, to, project); err != nil {
				return n, err
			}
			done, changed, err := r.saveProjections(ctx, photos, to)
			n += done
			if err != nil {
				return n, err
			}
			again = append(again, changed...)
			if progress != nil {
				progress(n)
			}
		}
		todo = again
	}
	return n, nil
}

// ofOtherMetrics lists the analysed photos under a set that starts with prefix and is not to, oldest first.
func (r *Registry) ofOtherMetrics(ctx context.Context, prefix, to string) ([]int64, error) {
	// As "starts with" and <>, but two ranges of the index. '/' follows '.', with which the prefix ends.
	rows, err := r.readers.QueryContext(ctx, `SELECT n FROM photos WHERE state = 'analysed' AND model_set >= ?1 AND model_set < ?2
		UNION ALL SELECT n FROM photos WHERE state = 'analysed' AND model_set > ?2 AND model_set < ?3 ORDER BY n`,
		prefix, to, strings.TrimSuffix(prefix, ".")+"/")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

// projections reads those of the photos that are still to be done.
func (r *Registry) projections(ctx context.Context, photos []int64, prefix, to string) ([]*projection, error) {
	rows, err := r.readers.QueryContext(ctx, `SELECT p.n, p.id, p.case_id, p.model_set, coalesce(ch.seq, 0)
		FROM photos p LEFT JOIN case_changes ch ON ch.case_id = p.case_id
		WHERE p.n IN (SELECT value FROM json_each(?)) AND p.state = 'analysed' ORDER BY p.n`, jsonText(photos))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*projection
	for rows.Next() {
		var p projection
		if err := rows.Scan(&p.n, &p.photo, &p.caseID, &p.set, &p.seq); err != nil {
			return nil, err
		}
		if p.set != to && strings.HasPrefix(p.set, prefix) {
			out = append(out, &p)
		}
	}
	return out, rows.Err()
}

// projectAll makes and seals the templates that the photos' faces lack, on all cores and outside of the write transaction.
func (r *Registry) projectAll(ctx context.Context, photos []*projection, to string, project func(map[string][]float32) ([]float32, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for some := range slices.Chunk(photos, readFaces) {
		g.Go(func() error {
			if err := r.facesWithout(ctx, some, to); err != nil {
				return err
			}
			for _, p := range some {
				err := r.project(p, to, project)
				if errors.Is(err, ErrCorrupt) {
					p.spoilt, err = true, nil
				}
				if err != nil {
					return fmt.Errorf("photo %s: %w", p.photo, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// facesWithout fills in the photos' faces that have no template under the set.
func (r *Registry) facesWithout(ctx context.Context, photos []*projection, set string) error {
	byID := make(map[PhotoID]*projection, len(photos))
	ids := make([]PhotoID, len(photos))
	for i, p := range photos {
		byID[p.photo], ids[i] = p, p.photo
	}
	rows, err := r.readers.QueryContext(ctx, `SELECT f.photo_id, f.id, t.sealed, coalesce(e.recogniser, ''), e.sealed FROM faces f
		LEFT JOIN templates t ON t.face_id = f.id AND t.model_set = ?
		LEFT JOIN embeddings e ON e.face_id = f.id AND t.face_id IS NULL
		WHERE f.photo_id IN (SELECT value FROM json_each(?))`, set, jsonText(ids))
	if err != nil {
		return err
	}
	defer rows.Close()
	faces := make(map[FaceID]*projectedFace)
	for rows.Next() {
		var photo PhotoID
		var id FaceID
		var recogniser string
		var template, embedding sql.RawBytes
		if err := rows.Scan(&photo, &id, &template, &recogniser, &embedding); err != nil {
			return err
		}
		p := byID[photo]
		if template != nil { // made earlier; it stays, if it is whole
			_, err := r.keys.openVector(kindTemplate, id, set, template)
			p.spoilt = p.spoilt || err != nil
			continue
		}
		f := faces[id]
		if f == nil {
			f = &projectedFace{id: id, embeddings: make(map[string][]float32)}
			faces[id] = f
			p.faces = append(p.faces, f)
		}
		if recogniser == "" { // it has no embedding at all
			continue
		}
		v, err := r.keys.openVector(kindEmbedding, id, recogniser, embedding)
		p.spoilt = p.spoilt || err != nil
		f.embeddings[recogniser] = v
	}
	return rows.Err()
}

// project makes the templates of the photo's faces.
func (r *Registry) project(p *projection, to string, project func(map[string][]float32) ([]float32, error)) error {
	for _, f := range p.faces {
		if p.spoilt || len(f.embeddings) == 0 {
			continue
		}
		template, err := project(f.embeddings)
		if err != nil {
			return fmt.Errorf("face %s: %w", f.id, err)
		}
		f.embeddings = nil
		if template == nil {
			continue
		}
		if err := checkVector(template); err != nil {
			return fmt.Errorf("template of face %s: %w: %w", f.id, ErrCorrupt, err)
		}
		if f.sealed, err = r.keys.sealVector(kindTemplate, f.id, to, template); err != nil {
			return err
		}
	}
	return nil
}

// saveProjections stores the templates of the photos in one transaction. again lists the photos that something happened
// to since they were read; nothing of theirs is stored.
func (r *Registry) saveProjections(ctx context.Context, photos []*projection, to string) (done int, again []int64, err error) {
	if len(photos) == 0 {
		return 0, nil, nil
	}
	err = r.change(ctx, "save templates", func(ctx context.Context, tx *sql.Tx) error {
		// A new analysis, another subject or another process's Reproject: each is a change of the case.
		const as = ` WHERE n = ? AND state = 'analysed' AND model_set = ?
			AND ? = coalesce((SELECT seq FROM case_changes ch WHERE ch.case_id = photos.case_id), 0)`
		move, err := tx.PrepareContext(ctx, "UPDATE photos SET model_set = ?"+as)
		if err != nil {
			return err
		}
		defer move.Close()
		put, err := tx.PrepareContext(ctx, "INSERT INTO templates (face_id, model_set, sealed) VALUES (?, ?, ?)")
		if err != nil {
			return err
		}
		defer put.Close()
		var cases []CaseID
		for _, p := range photos {
			var res sql.Result
			if p.spoilt {
				res, err = tx.ExecContext(ctx, "UPDATE photos SET state = 'queued', tries = 0"+as, p.n, p.set, p.seq)
			} else {
				res, err = move.ExecContext(ctx, to, p.n, p.set, p.seq)
			}
			if err != nil {
				return err
			}
			rows, err := res.RowsAffected()
			switch {
			case err != nil:
				return err
			case rows == 0:
				again = append(again, p.n)
				continue
			case p.spoilt:
				continue
			}
			for _, f := range p.faces {
				if f.sealed == nil {
					continue
				}
				if _, err := put.ExecContext(ctx, f.id, to, f.sealed); err != nil {
					return err
				}
			}
			done++
			cases = append(cases, p.caseID)
		}
		// At the end, as a change noted before would refuse the case's next photo.
		slices.Sort(cases)
		if err := noteChanges(ctx, tx, slices.Compact(cases)); err != nil {
			return err
		}
		return r.at("reproject.rows")
	})
	if err != nil {
		return 0, nil, err
	}
	return done, again, r.at("reproject.committed")
}
