package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
)

// MaxTries is how often analysis of a photo is tried before the photo is set aside.
const MaxTries = 2

// Who chose a photo's subject face. A person's choice outlives a new analysis.
const (
	byNobody = ""
	byOnly   = "only" // it is the only face in the photo
	byPerson = "person"
)

// NewAnalysis is what was found in a photo.
type NewAnalysis struct {
	Width, Height int       // pixels, after orientation
	TakenEXIF     Date      // ignored where a person said otherwise, or where it lies in the future
	Faces         []NewFace // largest first; ids are given by the registry
}

// ClaimPhoto hands out a queued photo, oldest first, that no live process is analysing; ok is false when there is none to
// hand out now. The caller then owes a SaveAnalysis, FailAnalysis or Release.
//
// The try is counted before the work begins, durably, so that a photo which ends the process whenever it is looked at is
// set aside after MaxTries instead of doing so for ever. A photo that was tried before is handed out only when this
// Registry has nothing else under way, and nothing else is handed out beside it: when it fails, it fails alone. A queue
// that hands out nothing may hence hold photos still; ask again when an analysis has ended.
func (r *Registry) ClaimPhoto(ctx context.Context) (p Photo, ok bool, err error) {
	// Most calls find the queue empty, and reading does not wait for the writer.
	if n, err := r.QueueDepth(ctx); err != nil || n == 0 {
		return Photo{}, false, err
	}
	err = r.change(ctx, "take a photo from the queue", func(ctx context.Context, tx *sql.Tx) error {
		if err := r.reap(ctx, tx); err != nil {
			return err
		}
		var held, again int // photos of ours under way, and those of them that had been tried before
		if err := tx.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (WHERE tries > 1) FROM photos WHERE owner = ? AND state = ?",
			r.owner, Queued).Scan(&held, &again); err != nil {
			return err
		}
		if again > 0 {
			return nil
		}
		p, err = photoWhere(ctx, tx, "p.state = 'queued' AND p.owner = '' ORDER BY p.n LIMIT 1")
		if errors.Is(err, sql.ErrNoRows) || err == nil && p.Tries > 0 && held > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		p.Tries++
		ok = true
		_, err = tx.ExecContext(ctx, "UPDATE photos SET tries = ?, owner = ? WHERE id = ?", p.Tries, r.owner, p.ID)
		return err
	})
	if err != nil || !ok {
		return Photo{}, false, err
	}
	return p, true, nil
}

// Release hands a claimed photo back unanalysed, and takes the try back.
func (r *Registry) Release(ctx context.Context, id PhotoID) error {
	return r.change(ctx, "hand back photo "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		return changed(tx.ExecContext(ctx, `UPDATE photos SET
			tries = CASE WHEN owner = ?1 THEN max(tries - 1, 0) ELSE tries END,
			owner = CASE WHEN owner = ?1 THEN '' ELSE owner END WHERE id = ?2`, r.owner, id))
	})
}

// FailAnalysis notes that an analysis failed. The photo is set aside with the reason when that is final or it was tried
// MaxTries times, and queued again otherwise. Faces known from an earlier analysis stay.
func (r *Registry) FailAnalysis(ctx context.Context, id PhotoID, reason string, final bool) error {
	return r.change(ctx, "note that photo "+string(id)+" could not be analysed", func(ctx context.Context, tx *sql.Tx) error {
		return changed(tx.ExecContext(ctx, `UPDATE photos SET owner = '',
			state  = CASE WHEN ?1 OR tries >= ?2 THEN 'set_aside' ELSE 'queued' END,
			reason = CASE WHEN ?1 OR tries >= ?2 THEN ?3 ELSE '' END WHERE id = ?4`, final, MaxTries, reason, id))
	})
}

// Requeue queues a photo to be analysed again, with all its tries before it; one that is queued stays as it is.
func (r *Registry) Requeue(ctx context.Context, id PhotoID) error {
	return r.change(ctx, "queue photo "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		return changed(tx.ExecContext(ctx, `UPDATE photos SET
			tries  = CASE WHEN state = 'queued' THEN tries ELSE 0 END,
			reason = '', state = 'queued' WHERE id = ?`, id))
	})
}

// RequeueOther queues every photo that was analysed under another model set, and says how many. Its faces and templates
// stay until the new analysis is saved.
func (r *Registry) RequeueOther(ctx context.Context, set string) (n int, err error) {
	const other = "state = 'analysed' AND (model_set < ?1 OR model_set > ?1)" // as <> , but from the index
	var found bool
	err = r.readers.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM photos WHERE "+other+")", set).Scan(&found)
	if err != nil || !found { // every start asks; few have to write
		return 0, wrap(err, "queue photos of other model sets")
	}
	err = r.change(ctx, "queue photos of other model sets", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE photos SET state = 'queued', tries = 0 WHERE "+other, set)
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		n = int(rows)
		return err
	})
	return n, err
}

// QueueDepth counts the photos whose analysis is due or under way.
func (r *Registry) QueueDepth(ctx context.Context) (n int, err error) {
	err = r.readers.QueryRowContext(ctx, "SELECT count(*) FROM photos WHERE state = 'queued'").Scan(&n)
	return n, wrap(err, "count queued photos")
}

// SaveAnalysis stores the faces of a photo, and their templates under a model set, in one step. The photo's only face
// becomes its subject; among several a person has to choose.
//
// A face that an earlier analysis had found in the same place keeps its id, its templates under other sets, and the
// choice that a person made. ErrInvalid when a vector or a measure is not finite, or a vector is empty or all zeros.
func (r *Registry) SaveAnalysis(ctx context.Context, id PhotoID, set string, a NewAnalysis) error {
	what := "save the analysis of photo " + string(id)
	if set == "" {
		return fmt.Errorf("%s: %w: templates need a model set", what, ErrInvalid)
	}
	for i := range a.Faces {
		if err := a.Faces[i].check(); err != nil {
			return fmt.Errorf("%s: face %d: %w", what, i, err)
		}
	}
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var subjectBy string
		old, err := scanPhoto(tx.QueryRowContext(ctx, "SELECT "+photoColumns+", p.subject_by FROM photos p WHERE p.id = ?", id), &subjectBy)
		if err != nil {
			return err
		}
		known, err := facesOf(ctx, tx, id)
		if err != nil {
			return err
		}
		kept := matchFaces(known, a.Faces)
		if err := r.saveFaces(ctx, tx, id, set, known, kept, a.Faces); err != nil {
			return err
		}
		subject := old.Subject
		if subject != "" && !slices.Contains(kept, subject) { // that face is no longer found: the choice has lost its object
			subject, subjectBy = "", byNobody
		}
		switch {
		case subjectBy == byPerson:
		case len(a.Faces) == 1:
			subject, subjectBy = kept[0], byOnly
		default:
			subject, subjectBy = "", byNobody
		}
		taken, by := old.Taken, old.TakenBy
		if by != TakenPerson && !a.TakenEXIF.IsZero() {
			taken, by = NewPhoto{TakenEXIF: a.TakenEXIF}.taken(r.now())
		}
		if _, err := tx.ExecContext(ctx, `UPDATE photos SET state = 'analysed', reason = '', tries = 0, owner = '', model_set = ?,
			width = ?, height = ?, taken = ?, taken_by = ?, subject = ?, subject_by = ? WHERE id = ?`,
			set, a.Width, a.Height, taken, by, subject, subjectBy, id); err != nil {
			return err
		}
		return noteChange(ctx, tx, old.CaseID, false)
	})
}

// saveFaces replaces the photo's known faces by fresh, of which ids holds the ids; a known id is updated in place.
func (r *Registry) saveFaces(ctx context.Context, tx *sql.Tx, id PhotoID, set string, known []Face, ids []FaceID, fresh []NewFace) error {
	for _, f := range known {
		if slices.Contains(ids, f.ID) {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM faces WHERE id = ?", f.ID); err != nil {
			return err
		}
	}
	for i, f := range fresh {
		landmarks := make([]float32, 0, 2*len(f.Landmarks))
		for _, l := range f.Landmarks {
			landmarks = append(landmarks, l[0], l[1])
		}
		reasons := f.Reasons
		if reasons == nil {
			reasons = []string{}
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO faces (id, photo_id, position, x, y, w, h, landmarks, score, age_years,
			age_sd, quality, eye_dist, sharpness, yaw, pitch, roll, searchable, reasons)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET position = excluded.position, x = excluded.x, y = excluded.y, w = excluded.w,
			h = excluded.h, landmarks = excluded.landmarks, score = excluded.score, age_years = excluded.age_years,
			age_sd = excluded.age_sd, quality = excluded.quality, eye_dist = excluded.eye_dist,
			sharpness = excluded.sharpness, yaw = excluded.yaw, pitch = excluded.pitch, roll = excluded.roll,
			searchable = excluded.searchable, reasons = excluded.reasons`,
			ids[i], id, i, f.X, f.Y, f.W, f.H, floatBytes(landmarks), f.Score, f.AgeYears,
			f.AgeSD, f.Quality, f.EyeDist, f.Sharpness, f.Yaw, f.Pitch, f.Roll, f.Searchable, jsonText(reasons)); err != nil {
			return err
		}
		for recogniser, v := range f.Embeddings {
			sealed, err := r.keys.sealVector(kindEmbedding, ids[i], recogniser, v)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO embeddings (face_id, recogniser, sealed) VALUES (?, ?, ?)",
				ids[i], recogniser, sealed); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM templates WHERE face_id = ? AND model_set = ?", ids[i], set); err != nil {
			return err
		}
		if f.Template == nil {
			continue
		}
		sealed, err := r.keys.sealVector(kindTemplate, ids[i], set, f.Template)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO templates (face_id, model_set, sealed) VALUES (?, ?, ?)", ids[i], set, sealed); err != nil {
			return err
		}
	}
	return nil
}

// sameFace is how much two boxes must overlap (area of the intersection over that of the union) to be one face.
const sameFace = 0.5

// matchFaces gives every fresh face the id of the known face in its place, or a new one. No id is given twice.
func matchFaces(known []Face, fresh []NewFace) []FaceID {
	ids := make([]FaceID, len(fresh))
	for i, f := range fresh {
		best := float32(sameFace)
		for _, k := range known {
			if o := overlap(k, f.Face); o >= best && !slices.Contains(ids[:i], k.ID) {
				best, ids[i] = o, k.ID
			}
		}
		if ids[i] == "" {
			ids[i] = FaceID(newID("f_"))
		}
	}
	return ids
}

func overlap(a, b Face) float32 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}

// check refuses numbers that no comparison could survive.
func (f *NewFace) check() error {
	for _, x := range []float32{f.X, f.Y, f.W, f.H, f.Score, f.AgeYears, f.AgeSD, f.Quality, f.EyeDist, f.Sharpness, f.Yaw, f.Pitch, f.Roll} {
		if !finite(x) {
			return fmt.Errorf("%w: a measure is not finite", ErrInvalid)
		}
	}
	for _, l := range f.Landmarks {
		if !finite(l[0]) || !finite(l[1]) {
			return fmt.Errorf("%w: a landmark is not finite", ErrInvalid)
		}
	}
	for recogniser, v := range f.Embeddings {
		if err := checkVector(v); err != nil {
			return fmt.Errorf("embedding of %s: %w", recogniser, err)
		}
	}
	if f.Template == nil {
		return nil
	}
	if err := checkVector(f.Template); err != nil {
		return fmt.Errorf("template: %w", err)
	}
	return nil
}

func checkVector(v []float32) error {
	zero := true
	for _, x := range v {
		if !finite(x) {
			return fmt.Errorf("%w: it is not finite", ErrInvalid)
		}
		zero = zero && x == 0
	}
	if zero {
		return fmt.Errorf("%w: it is empty or all zeros", ErrInvalid)
	}
	return nil
}

func finite(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }
