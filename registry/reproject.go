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
	n       int64
	photo   PhotoID
	from    string // the generation that it is taken from
	state   string // under that
	reason  string
	subject FaceID
	seq     int64 // of the case's last change before its faces were read
	faces   []*projectedFace
	spoilt  bool // what is stored of a face is damaged, or makes no usable template
}

// projectedFace is a face that has no template under the new metric.
type projectedFace struct {
	id         FaceID
	embeddings map[string][]float32
	sealed     []byte // its template; nil when there is none to make
}

// Reproject brings the photos that other generations of the same model set have done under the generation to, which is not the active
// one, without looking at them: each face that has a template under the other gets one that project makes of its embeddings. It says how
// many photos it brought there. Photos that Unbuilt lists afterwards have to be analysed.
//
// project is called from several goroutines at once, with the embeddings of every recogniser the face has ever been
// embedded by; nil without an error means that the face gets no template. Its error ends Reproject, unless it is an
// ErrCorrupt. A photo of which an embedding is damaged, or a template would not be finite or all zeros, is left out.
// Templates already there under to are used again.
//
// Photos are saved some hundred at a time, and progress, which may be nil, is told how many are done. When it is
// interrupted, the next call goes on where this one stopped. Several processes may be at it at once, and photos may change
// and go meanwhile.
func (r *Registry) Reproject(ctx context.Context, to string, project func(embeddings map[string][]float32) ([]float32, error), progress func(done int)) (n int, err error) {
	defer func() { err = wrap(err, "make templates under %s", to) }()
	g, err := mustGeneration(ctx, r.readers, to)
	if err != nil {
		return 0, err
	}
	if g.State == GenerationActive {
		return 0, fmt.Errorf("%w: it is the generation in use", ErrInvalid)
	}
	// Listed once, so that each photo is done once.
	todo, err := r.ofOtherMetrics(ctx, g)
	if err != nil {
		return 0, err
	}
	for len(todo) > 0 {
		var again []int64
		for batch := range slices.Chunk(todo, reprojectBatch) {
			photos, err := r.projections(ctx, batch, g)
			if err != nil {
				return n, err
			}
			if err := r.projectAll(ctx, photos, to, project); err != nil {
				return n, err
			}
			done, changed, err := r.saveProjections(ctx, photos, g)
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

// fromMetrics are photos p that g lacks, with what other generations o of its model set have of them, s.
const fromMetrics = ` FROM photos p JOIN photo_sets s ON s.photo = p.n JOIN generations o ON o.n = s.generation
	WHERE p.state <> 'queued' AND o.model_set = ?1 AND o.n <> ?2 AND o.state <> 'dropping'
	AND NOT EXISTS (SELECT 1 FROM photo_sets x WHERE x.generation = ?2 AND x.photo = p.n)`

// ofOtherMetrics lists the photos that g lacks and another generation of its model set has, oldest first.
func (r *Registry) ofOtherMetrics(ctx context.Context, g generation) ([]int64, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT DISTINCT p.n"+fromMetrics+" ORDER BY p.n", g.ModelSet(), g.n)
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

// projections reads those of the photos that are still to be done, those of one generation together.
func (r *Registry) projections(ctx context.Context, photos []int64, g generation) ([]*projection, error) {
	rows, err := r.readers.QueryContext(ctx, `SELECT p.n, p.id, o.id, s.state, s.reason, s.subject,
		coalesce((SELECT seq FROM case_changes ch WHERE ch.case_id = p.case_id), 0)`+fromMetrics+`
		AND p.n IN (SELECT value FROM json_each(?3)) ORDER BY p.n, s.state <> 'done', o.state <> 'active', o.n`, g.ModelSet(), g.n, jsonText(photos))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*projection
	for rows.Next() {
		var p projection
		if err := rows.Scan(&p.n, &p.photo, &p.from, &p.state, &p.reason, &p.subject, &p.seq); err != nil {
			return nil, err
		}
		if len(out) == 0 || out[len(out)-1].n != p.n { // the best of its generations comes first
			out = append(out, &p)
		}
	}
	slices.SortStableFunc(out, func(a, b *projection) int { return strings.Compare(a.from, b.from) })
	return out, rows.Err()
}

// projectAll makes and seals the templates that the photos' faces lack, on all cores and outside of the write transaction.
func (r *Registry) projectAll(ctx context.Context, photos []*projection, to string, project func(map[string][]float32) ([]float32, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for len(photos) > 0 {
		some := photos[:min(readFaces, len(photos))]
		if i := slices.IndexFunc(some, func(p *projection) bool { return p.from != some[0].from }); i > 0 {
			some = some[:i]
		}
		photos = photos[len(some):]
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

// facesWithout fills in the photos' faces that have no template under the set. All photos are taken from one generation.
func (r *Registry) facesWithout(ctx context.Context, photos []*projection, set string) error {
	byID := make(map[PhotoID]*projection, len(photos))
	ids := make([]PhotoID, len(photos))
	for i, p := range photos {
		byID[p.photo], ids[i] = p, p.photo
	}
	rows, err := r.readers.QueryContext(ctx, `SELECT f.photo_id, f.id, t.sealed, coalesce(e.recogniser, ''), e.sealed FROM faces f
		JOIN templates o ON o.face_id = f.id AND o.model_set = ?
		LEFT JOIN templates t ON t.face_id = f.id AND t.model_set = ?
		LEFT JOIN embeddings e ON e.face_id = f.id AND t.face_id IS NULL
		WHERE f.photo_id IN (SELECT value FROM json_each(?))`, photos[0].from, set, jsonText(ids))
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
func (r *Registry) saveProjections(ctx context.Context, photos []*projection, g generation) (done int, again []int64, err error) {
	if len(photos) == 0 {
		return 0, nil, nil
	}
	err = r.change(ctx, "save templates", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := buildable(ctx, tx, g.ID); err != nil {
			return err
		}
		// A new analysis or another subject is a change of the case.
		move, err := tx.PrepareContext(ctx, `INSERT INTO photo_sets (generation, photo, state, reason, subject)
			SELECT ?1, n, ?2, ?3, ?4 FROM photos WHERE n = ?5 AND state <> 'queued'
			AND ?6 = coalesce((SELECT seq FROM case_changes ch WHERE ch.case_id = photos.case_id), 0) ON CONFLICT DO NOTHING`)
		if err != nil {
			return err
		}
		defer move.Close()
		put, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO templates (face_id, model_set, sealed, age_years, age_sd, quality, searchable, reasons)
			SELECT face_id, ?, ?, age_years, age_sd, quality, searchable, reasons FROM templates WHERE face_id = ? AND model_set = ?`)
		if err != nil {
			return err
		}
		defer put.Close()
		for _, p := range photos {
			if p.spoilt {
				continue
			}
			res, err := move.ExecContext(ctx, g.n, p.state, p.reason, p.subject, p.n, p.seq)
			if err != nil {
				return err
			}
			rows, err := res.RowsAffected()
			if err != nil {
				return err
			}
			if rows == 0 {
				again = append(again, p.n)
				continue
			}
			for _, f := range p.faces {
				if f.sealed == nil {
					continue
				}
				if _, err := put.ExecContext(ctx, g.ID, f.sealed, f.id, p.from); err != nil {
					return err
				}
			}
			done++
		}
		return r.at("reproject.rows")
	})
	if err != nil {
		return 0, nil, err
	}
	return done, again, r.at("reproject.committed")
}
