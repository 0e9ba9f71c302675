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
	Look          uint64    // how the photo looks, as a perceptual hash; 0 is unknown
	Faces         []NewFace // largest first; ids are given by the registry
}

// ClaimPhoto hands out a queued photo, oldest first, that no live process is analysing; ok is false when there is none. The
// caller then owes a SaveAnalysis, FailAnalysis or Release. The try is counted before the work begins, and given back when the
// process ends meanwhile: that is not the photo's doing, as photos are looked at in processes of their own.
func (r *Registry) ClaimPhoto(ctx context.Context) (p Photo, ok bool, err error) {
	// Most calls find the queue empty, and reading does not wait for the writer.
	if n, err := r.QueueDepth(ctx); err != nil || n == 0 {
		return Photo{}, false, err
	}
	err = r.change(ctx, "take a photo from the queue", func(ctx context.Context, tx *sql.Tx) error {
		if err := r.reap(ctx, tx); err != nil {
			return err
		}
		p, err = photoWhere(ctx, tx, "p.state = 'queued' AND p.owner = '' ORDER BY p.n LIMIT 1")
		if errors.Is(err, sql.ErrNoRows) {
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

// FailAnalysis notes that an analysis under a model set failed. The photo is set aside with the reason when that is final or it was
// tried MaxTries times, and queued again otherwise. Faces known from an earlier analysis stay. ErrSwitched when another set answers
// meanwhile, which may well manage: the photo is then handed back to the queue.
func (r *Registry) FailAnalysis(ctx context.Context, id PhotoID, set, reason string, final bool) error {
	what := "note that photo " + string(id) + " could not be analysed"
	switched := false
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		g, err := activeGeneration(ctx, tx)
		if err != nil {
			return err
		}
		if switched = g.n != 0 && g.ID != set; switched {
			return handBack(ctx, tx, id)
		}
		if err := changed(tx.ExecContext(ctx, `UPDATE photos SET owner = '',
			state  = CASE WHEN ?1 OR tries >= ?2 THEN 'set_aside' ELSE 'queued' END,
			reason = CASE WHEN ?1 OR tries >= ?2 THEN ?3 ELSE '' END WHERE id = ?4`, final, MaxTries, reason, id)); err != nil {
			return err
		}
		if g.n == 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, setAside, g.n, reason, id, SetAside)
		return err
	})
	if err == nil && switched {
		err = fmt.Errorf("%s: %w", what, ErrSwitched)
	}
	return err
}

// handBack queues a photo that was looked at under a set that answers no more, and takes the try back.
func handBack(ctx context.Context, tx *sql.Tx, id PhotoID) error {
	return changed(tx.ExecContext(ctx, "UPDATE photos SET state = 'queued', reason = '', owner = '', tries = max(tries - 1, 0) WHERE id = ?", id))
}

// Requeue queues a photo to be analysed again, with all its tries before it, also under the generations that it was set aside under;
// one that is queued stays as it is.
func (r *Registry) Requeue(ctx context.Context, id PhotoID) error {
	return r.change(ctx, "queue photo "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, tryBeside, id); err != nil {
			return err
		}
		return changed(tx.ExecContext(ctx, `UPDATE photos SET
			tries  = CASE WHEN state = 'queued' THEN tries ELSE 0 END,
			reason = '', state = 'queued' WHERE id = ?`, id))
	})
}

// QueueDepth counts the photos whose analysis is due or under way.
func (r *Registry) QueueDepth(ctx context.Context) (n int, err error) {
	err = r.readers.QueryRowContext(ctx, "SELECT count(*) FROM photos WHERE state = 'queued'").Scan(&n)
	return n, wrap(err, "count queued photos")
}

// setAside notes that a photo is unusable under a generation.
const setAside = `INSERT INTO photo_sets (generation, photo, state, reason) SELECT ?1, n, 'set_aside', ?2 FROM photos
	WHERE id = ?3 AND state IN ('set_aside', ?4) ON CONFLICT (generation, photo) DO UPDATE SET state = excluded.state, reason = excluded.reason`

// tryBeside lets the generations that are not active look again at a photo that was unusable under them.
const tryBeside = `DELETE FROM photo_sets WHERE photo = (SELECT n FROM photos WHERE id = ?) AND state = 'set_aside'
	AND generation NOT IN (SELECT n FROM generations WHERE state = 'active')`

// SetAsideUnder notes that a photo could not be analysed under a generation that is not active. ErrNotFound when photo or
// generation are gone.
func (r *Registry) SetAsideUnder(ctx context.Context, id PhotoID, set, reason string) error {
	return r.change(ctx, "note that photo "+string(id)+" could not be analysed under "+set, func(ctx context.Context, tx *sql.Tx) error {
		g, err := buildable(ctx, tx, set)
		if err != nil || g.State == GenerationActive { // answers meanwhile: the photo was queued
			return err
		}
		return changed(tx.ExecContext(ctx, setAside, g.n, reason, id, Analysed))
	})
}

// buildable reads a generation that templates may be made for. ErrNotFound when it is gone or going.
func buildable(ctx context.Context, tx *sql.Tx, id string) (generation, error) {
	g, err := mustGeneration(ctx, tx, id)
	if err == nil && g.State == GenerationDropping {
		err = sql.ErrNoRows
	}
	return g, wrap(err, "generation %s", id)
}

// SaveAnalysis stores the faces of a claimed photo, and their templates under the model set that answers, in one step. The
// photo's only face becomes its subject, and stays so when more are found later; otherwise a person has to choose among several.
//
// A face that an earlier analysis had found in the same place keeps its id, its templates under other sets, and the
// choice that a person made. One that is found no more goes, unless another generation has a template of it or a person chose it:
// that only loses its template. ErrInvalid when a vector or a measure is not finite, or a vector is empty or all zeros. ErrSwitched
// when another set answers meanwhile: what was found is then stored as SaveUnder does, where the set is still wanted, and the photo is
// handed back to the queue.
func (r *Registry) SaveAnalysis(ctx context.Context, id PhotoID, set string, a NewAnalysis) error {
	what := "save the analysis of photo " + string(id)
	if err := a.check(set); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	switched := false
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		active, err := activeGeneration(ctx, tx)
		if err != nil {
			return err
		}
		if active.n == 0 || active.ID == set {
			return r.saveActive(ctx, tx, id, active, set, a)
		}
		switched = true
		g, err := generationByID(ctx, tx, set)
		if err != nil {
			return err
		}
		if g.n != 0 && g.State != GenerationDropping {
			if err := r.saveUnder(ctx, tx, id, g, active, a); err != nil {
				return err
			}
		}
		return handBack(ctx, tx, id)
	})
	if err == nil && switched {
		err = fmt.Errorf("%s: %w", what, ErrSwitched)
	}
	return err
}

// SaveUnder stores what a photo shows under a generation that is not active, so that nobody sees a difference: a known face gets
// its template, and one that only this model set finds is hidden until a generation of the set is active. Under the active
// generation it is SaveAnalysis. ErrNotFound when photo or generation are gone; ErrInvalid as SaveAnalysis.
func (r *Registry) SaveUnder(ctx context.Context, id PhotoID, set string, a NewAnalysis) error {
	what := "save the analysis of photo " + string(id) + " under " + set
	if err := a.check(set); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		g, err := buildable(ctx, tx, set)
		if err != nil {
			return err
		}
		active, err := activeGeneration(ctx, tx)
		if err != nil {
			return err
		}
		if g.n == active.n {
			return r.saveActive(ctx, tx, id, g, set, a)
		}
		return r.saveUnder(ctx, tx, id, g, active, a)
	})
}

func (a NewAnalysis) check(set string) error {
	if set == "" {
		return fmt.Errorf("%w: templates need a model set", ErrInvalid)
	}
	for i := range a.Faces {
		if err := a.Faces[i].check(); err != nil {
			return fmt.Errorf("face %d: %w", i, err)
		}
	}
	return nil
}

// saveActive stores an analysis under the active generation; g is empty where none is recorded.
func (r *Registry) saveActive(ctx context.Context, tx *sql.Tx, id PhotoID, g generation, set string, a NewAnalysis) error {
	var n int64
	var subjectBy string
	old, err := scanPhoto(tx.QueryRowContext(ctx, "SELECT "+photoColumns+", p.n, p.subject_by FROM photos p WHERE p.id = ?", id), &n, &subjectBy)
	if err != nil {
		return err
	}
	known, err := placesOf(ctx, tx, id)
	if err != nil {
		return err
	}
	kept := matchFaces(known, a.Faces)
	subject := old.Subject
	for _, f := range known {
		if slices.Contains(kept, f.ID) || g.n != 0 && f.onlyIn != "" && f.onlyIn != g.ModelSet() {
			continue
		}
		if err := loseFace(ctx, tx, f.ID, set); err != nil {
			return err
		}
	}
	for i, f := range a.Faces {
		if err := putFace(ctx, tx, kept[i], id, i, f, ""); err != nil {
			return err
		}
		if err := r.putVectors(ctx, tx, kept[i], set, f, true); err != nil {
			return err
		}
	}
	only := onlyFace(kept, old.Subject, subjectBy)
	switch {
	case subjectBy == byPerson:
	case only != "":
		subject, subjectBy = only, byOnly
	default:
		subject, subjectBy = "", byNobody
	}
	taken, by := old.Taken, old.TakenBy
	if by != TakenPerson && !a.TakenEXIF.IsZero() {
		taken, by = NewPhoto{TakenEXIF: a.TakenEXIF}.taken(r.now())
	}
	look, err := r.keys.sealLook(id, a.Look)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE photos SET state = 'analysed', reason = '', tries = 0, owner = '',
		width = ?, height = ?, taken = ?, taken_by = ?, subject = ?, subject_by = ?, look = ? WHERE id = ?`,
		a.Width, a.Height, taken, by, subject, subjectBy, look, id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, tryBeside, id); err != nil { // what stood in the way may have been the file's
		return err
	}
	if g.n != 0 {
		if _, err := tx.ExecContext(ctx, doneUnder, g.n, n, only); err != nil {
			return err
		}
	}
	return noteChange(ctx, tx, old.CaseID, false)
}

const doneUnder = "INSERT OR REPLACE INTO photo_sets (generation, photo, state, subject) VALUES (?, ?, 'done', ?)"

// saveUnder stores an analysis under g, which is not active.
func (r *Registry) saveUnder(ctx context.Context, tx *sql.Tx, id PhotoID, g, active generation, a NewAnalysis) error {
	var n int64
	var subject FaceID
	var subjectBy string
	if err := tx.QueryRowContext(ctx, "SELECT n, subject, subject_by FROM photos WHERE id = ?", id).Scan(&n, &subject, &subjectBy); err != nil {
		return err
	}
	known, err := placesOf(ctx, tx, id)
	if err != nil {
		return err
	}
	known = slices.DeleteFunc(known, func(f place) bool { return f.onlyIn != "" && f.onlyIn != g.ModelSet() })
	ids := matchFaces(known, a.Faces)
	for _, f := range known {
		if slices.Contains(ids, f.ID) {
			continue
		}
		if f.onlyIn == "" {
			_, err = tx.ExecContext(ctx, "DELETE FROM templates WHERE face_id = ? AND model_set = ?", f.ID, g.ID)
		} else {
			err = loseFace(ctx, tx, f.ID, g.ID)
		}
		if err != nil {
			return err
		}
	}
	for i, f := range a.Faces {
		if !slices.ContainsFunc(known, func(k place) bool { return k.ID == ids[i] }) {
			if err := putFace(ctx, tx, ids[i], id, i, f, g.ModelSet()); err != nil {
				return err
			}
		}
		// What a recogniser makes of a face depends a little on how the detector marks it: what the active set's made stays.
		if err := r.putVectors(ctx, tx, ids[i], g.ID, f, g.ModelSet() == active.ModelSet()); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, doneUnder, g.n, n, onlyFace(ids, subject, subjectBy))
	return err
}

// onlyFace is the face that is the child's because it is the photo's only one, or was when fewer were found; empty where a person has to
// choose.
func onlyFace(found []FaceID, subject FaceID, by string) FaceID {
	switch {
	case len(found) == 1:
		return found[0]
	case by == byOnly && slices.Contains(found, subject):
		return subject
	}
	return ""
}

// place is where a face is known to be, and who knows it.
type place struct {
	Face          // its id and its box
	onlyIn string // the model set; empty: everyone
}

// placesOf reads where the photo has faces, also those that nobody sees now: these first, and then largest first.
func placesOf(ctx context.Context, tx *sql.Tx, id PhotoID) ([]place, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, x, y, w, h, only_in FROM faces WHERE photo_id = ? ORDER BY only_in = '', position, n", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []place
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.ID, &p.X, &p.Y, &p.W, &p.H, &p.onlyIn); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// loseFace deletes a face that a set finds no more; one of which another generation has a template, or that a person chose, only loses
// its template under the set.
func loseFace(ctx context.Context, tx *sql.Tx, id FaceID, set string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM templates WHERE face_id = ? AND model_set = ?", id, set); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM faces WHERE id = ? AND NOT EXISTS (SELECT 1 FROM templates t
		JOIN generations g ON g.id = t.model_set AND g.state <> 'dropping' WHERE t.face_id = faces.id)
		AND NOT EXISTS (SELECT 1 FROM photos p WHERE p.id = faces.photo_id AND p.subject = faces.id AND p.subject_by = ?)`, id, byPerson)
	return err
}

// putFace stores a face; one that is known is updated in place.
func putFace(ctx context.Context, tx *sql.Tx, id FaceID, photo PhotoID, position int, f NewFace, onlyIn string) error {
	landmarks := make([]float32, 0, 2*len(f.Landmarks))
	for _, l := range f.Landmarks {
		landmarks = append(landmarks, l[0], l[1])
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO faces (id, photo_id, position, x, y, w, h, landmarks, score, age_years,
		age_sd, quality, eye_dist, sharpness, yaw, pitch, roll, searchable, reasons, only_in)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET position = excluded.position, x = excluded.x, y = excluded.y, w = excluded.w,
		h = excluded.h, landmarks = excluded.landmarks, score = excluded.score, age_years = excluded.age_years,
		age_sd = excluded.age_sd, quality = excluded.quality, eye_dist = excluded.eye_dist,
		sharpness = excluded.sharpness, yaw = excluded.yaw, pitch = excluded.pitch, roll = excluded.roll,
		searchable = excluded.searchable, reasons = excluded.reasons, only_in = excluded.only_in`,
		id, photo, position, f.X, f.Y, f.W, f.H, floatBytes(landmarks), f.Score, f.AgeYears,
		f.AgeSD, f.Quality, f.EyeDist, f.Sharpness, f.Yaw, f.Pitch, f.Roll, f.Searchable, f.reasons(), onlyIn)
	return err
}

// reasons are the face's as they are stored.
func (f NewFace) reasons() string {
	if f.Reasons == nil {
		return "[]"
	}
	return jsonText(f.Reasons)
}

// putVectors stores a face's embeddings, over those of the same recognisers or only where there is none, and its template under a
// set with what the set makes of the face.
func (r *Registry) putVectors(ctx context.Context, tx *sql.Tx, id FaceID, set string, f NewFace, over bool) error {
	insert := "INSERT OR IGNORE"
	if over {
		insert = "INSERT OR REPLACE"
	}
	for recogniser, v := range f.Embeddings {
		sealed, err := r.keys.sealVector(kindEmbedding, id, recogniser, v)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insert+" INTO embeddings (face_id, recogniser, sealed) VALUES (?, ?, ?)", id, recogniser, sealed); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM templates WHERE face_id = ? AND model_set = ?", id, set); err != nil {
		return err
	}
	if f.Template == nil {
		return nil
	}
	sealed, err := r.keys.sealVector(kindTemplate, id, set, f.Template)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO templates (face_id, model_set, sealed, age_years, age_sd, quality, searchable, reasons)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, id, set, sealed, f.AgeYears, f.AgeSD, f.Quality, f.Searchable, f.reasons())
	return err
}

// sameFace is how much two boxes must overlap (area of the intersection over that of the union) to be one face.
const sameFace = 0.5

// matchFaces gives every fresh face the id of the known face in its place, or a new one. No id is given twice.
func matchFaces(known []place, fresh []NewFace) []FaceID {
	ids := make([]FaceID, len(fresh))
	for i, f := range fresh {
		best := float32(sameFace)
		for _, k := range known {
			if o := overlap(k.Face, f.Face); o >= best && !slices.Contains(ids[:i], k.ID) {
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
