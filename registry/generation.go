package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// GenerationState is what a generation is for.
type GenerationState string

const (
	GenerationBuilding GenerationState = "building" // its templates are being made
	GenerationReady    GenerationState = "ready"    // it could answer, and never has
	GenerationActive   GenerationState = "active"   // it answers; one does
	GenerationKept     GenerationState = "kept"     // it has answered, and could again
	GenerationDropping GenerationState = "dropping" // what belongs to it is being deleted
)

// Generation is a model set with a metric under which the registry's faces have templates.
type Generation struct {
	ID          string   // "<model set's id>.<metric's id>", which templates are marked with
	Name        string   // the model set's; empty in a registry from before there were generations, until it is opened
	Metric      string   // the metric's name
	Recognisers []string // the fingerprints of those whose embeddings it is made of
	State       GenerationState
	Report      json.RawMessage // what a switch to it would change; nil while nobody has looked
	CreatedAt   time.Time
	ActiveAt    time.Time // when it last began or ceased to answer

	Done, SetAside, Missing int // photos: with what they show under it, unusable under it, still to be done. Filled by Generations
}

// ModelSet is the model set's id.
func (g Generation) ModelSet() string {
	set, _, _ := strings.Cut(g.ID, ".")
	return set
}

// Errors about generations.
var (
	// ErrSwitched means that an analysis was made under a generation that answers no more. The photo is queued.
	ErrSwitched = errors.New("another model set answers now; the photo is queued to be analysed under it")
	// ErrNotReady means that a generation cannot be switched to.
	ErrNotReady = errors.New("it is not ready")
)

const generationColumns = "g.n, g.id, g.name, g.metric, g.recognisers, g.state, g.report, g.created_at, g.active_at"

// generation is a Generation with the number that rows name it by; 0 where there is none.
type generation struct {
	n int64
	Generation
}

func scanGeneration(row scanner, more ...any) (generation, error) {
	var g generation
	var recognisers, report string
	var created, active int64
	err := row.Scan(append([]any{&g.n, &g.ID, &g.Name, &g.Metric, &recognisers, &g.State, &report, &created, &active}, more...)...)
	if err != nil {
		return generation{}, err
	}
	if report != "" {
		g.Report = json.RawMessage(report)
	}
	g.CreatedAt, g.ActiveAt = fromMillis(created), fromMillis(active)
	if err := json.Unmarshal([]byte(recognisers), &g.Recognisers); err != nil {
		return generation{}, fmt.Errorf("recognisers of generation %s: %w: %w", g.ID, ErrCorrupt, err)
	}
	return g, nil
}

// generationWhere reads a generation; its n is 0 when there is none.
func generationWhere(ctx context.Context, q rowQuerier, where string, args ...any) (generation, error) {
	g, err := scanGeneration(q.QueryRowContext(ctx, "SELECT "+generationColumns+" FROM generations g WHERE "+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return g, err
}

func activeGeneration(ctx context.Context, q rowQuerier) (generation, error) {
	return generationWhere(ctx, q, "g.state = 'active'")
}

func generationByID(ctx context.Context, q rowQuerier, id string) (generation, error) {
	return generationWhere(ctx, q, "g.id = ?", id)
}

// mustGeneration is generationByID, and ErrNotFound when there is none.
func mustGeneration(ctx context.Context, q rowQuerier, id string) (generation, error) {
	g, err := generationByID(ctx, q, id)
	if err == nil && g.n == 0 {
		err = sql.ErrNoRows
	}
	return g, err
}

// ActiveGeneration reads the generation that answers. ErrNotFound in a registry that has none yet.
func (r *Registry) ActiveGeneration(ctx context.Context) (Generation, error) {
	g, err := activeGeneration(ctx, r.readers)
	if err == nil && g.n == 0 {
		err = ErrNotFound
	}
	return g.Generation, wrap(err, "the model set in use")
}

// Generation reads a generation. ErrNotFound.
func (r *Registry) Generation(ctx context.Context, id string) (Generation, error) {
	g, err := mustGeneration(ctx, r.readers, id)
	return g.Generation, wrap(err, "generation %s", id)
}

// OtherGenerations lists the generations that are not active, the newest first.
func (r *Registry) OtherGenerations(ctx context.Context) (out []Generation, err error) {
	const what = "list generations"
	rows, err := r.readers.QueryContext(ctx, "SELECT "+generationColumns+" FROM generations g WHERE g.state <> 'active' ORDER BY g.n DESC")
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	for rows.Next() {
		g, err := scanGeneration(rows)
		if err != nil {
			return nil, wrap(err, what)
		}
		out = append(out, g.Generation)
	}
	return out, wrap(rows.Err(), what)
}

// Generations lists all generations, the active one first, then the newest, with how many photos they have.
func (r *Registry) Generations(ctx context.Context) (out []Generation, err error) {
	err = r.view(ctx, "list generations", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT `+generationColumns+`,
			(SELECT count(*) FROM photo_sets s WHERE s.generation = g.n AND s.state = 'done'),
			(SELECT count(*) FROM photo_sets s WHERE s.generation = g.n AND s.state = 'set_aside'),
			(SELECT count(*) FROM photos p WHERE NOT EXISTS (SELECT 1 FROM photo_sets s WHERE s.generation = g.n AND s.photo = p.n))
			FROM generations g ORDER BY g.state <> 'active', g.n DESC`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var done, aside, missing int
			g, err := scanGeneration(rows, &done, &aside, &missing)
			if err != nil {
				return err
			}
			g.Done, g.SetAside, g.Missing = done, aside, missing
			out = append(out, g.Generation)
		}
		return rows.Err()
	})
	return out, err
}

// BeginGeneration adds a generation to be built; one that is there is returned as it is, with existed set. ErrConflict while it
// is being dropped.
func (r *Registry) BeginGeneration(ctx context.Context, want Generation) (out Generation, existed bool, err error) {
	err = r.change(ctx, "begin generation "+want.ID, func(ctx context.Context, tx *sql.Tx) error {
		g, isNew, err := r.addGeneration(ctx, tx, want)
		out, existed = g.Generation, !isNew
		if err != nil || !isNew {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "reindex.begun", Subject: g.ID, Detail: map[string]string{"set": g.Name, "metric": g.Metric}})
	})
	return out, existed, err
}

// addGeneration makes sure that a generation is there, under its present names.
func (r *Registry) addGeneration(ctx context.Context, tx *sql.Tx, want Generation) (g generation, isNew bool, err error) {
	set, metric, ok := strings.Cut(want.ID, ".")
	if !ok || set == "" || metric == "" {
		return g, false, fmt.Errorf("%w: %q names no model set with a metric", ErrInvalid, want.ID)
	}
	if g, err = generationByID(ctx, tx, want.ID); err != nil {
		return g, false, err
	}
	if g.State == GenerationDropping {
		return g, false, refused(ErrConflict, "it is being dropped; run homeward reindex drop %s until that is done", g.ID)
	}
	isNew = g.n == 0
	if want.Recognisers == nil {
		want.Recognisers = []string{}
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO generations (id, name, metric, recognisers, state, created_at) VALUES (?, ?, ?, ?, 'building', ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, metric = excluded.metric, recognisers = excluded.recognisers`,
		want.ID, want.Name, want.Metric, jsonText(want.Recognisers), millis(r.now())); err != nil {
		return g, false, err
	}
	g, err = generationByID(ctx, tx, want.ID)
	return g, isNew, err
}

// TakeOver makes a generation the active one without asking what that changes: the first of a registry, or one whose models or
// metric were replaced by others of the same name. What is missing under it is queued, as Switch does. The one before is kept; where there
// was one, then is enqueued.
func (r *Registry) TakeOver(ctx context.Context, want Generation, then NewJob) error {
	return r.change(ctx, "take over generation "+want.ID, func(ctx context.Context, tx *sql.Tx) error {
		g, _, err := r.addGeneration(ctx, tx, want)
		if err != nil || g.State == GenerationActive {
			return err
		}
		return r.makeActive(ctx, tx, g, then)
	})
}

// Switch makes a generation that is ready or kept the active one, in one step: what its photos show under it is what everyone
// sees from then on, photos that it lacks are queued, and then is enqueued: the comparison of the two whole galleries, as every
// strength is another. Where such a job is there already, it goes on, even if it was paused or parked: it is to notice the switch. The
// generation before is kept. ErrNotFound, ErrNotReady, and ErrConflict when it is the active one.
func (r *Registry) Switch(ctx context.Context, id string, then NewJob) error {
	err := r.change(ctx, "switch to generation "+id, func(ctx context.Context, tx *sql.Tx) error {
		g, err := mustGeneration(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case g.State == GenerationActive:
			return refused(ErrConflict, "it is the one in use")
		case g.State == GenerationBuilding:
			return fmt.Errorf("%w: it is still being built; run homeward reindex --set %s --metric %s to its end first", ErrNotReady, g.Name, g.Metric)
		case g.State == GenerationDropping:
			return fmt.Errorf("%w: it is being dropped", ErrNotReady)
		}
		return r.makeActive(ctx, tx, g, then)
	})
	if err != nil {
		return err
	}
	return r.at("switch.committed")
}

// makeActive is the one step from the active generation to g.
func (r *Registry) makeActive(ctx context.Context, tx *sql.Tx, g generation, then NewJob) error {
	before, err := activeGeneration(ctx, tx)
	if err != nil {
		return err
	}
	at := millis(r.now())
	if _, err := tx.ExecContext(ctx, "UPDATE generations SET state = 'kept', active_at = ? WHERE n = ?", at, before.n); err != nil {
		return err
	}
	if err := r.at("switch.kept"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE generations SET state = 'active', active_at = ? WHERE n = ?", at, g.n); err != nil {
		return err
	}
	if err := r.at("switch.active"); err != nil {
		return err
	}
	// What the photos show under it, where that differs. A photo that is queued stays so.
	if _, err := tx.ExecContext(ctx, `UPDATE photos SET
		state      = CASE WHEN photos.state = 'queued' THEN 'queued' ELSE new.state END,
		reason     = CASE WHEN photos.state = 'queued' THEN photos.reason ELSE new.reason END,
		subject    = CASE WHEN photos.subject_by = 'person' THEN photos.subject ELSE new.subject END,
		subject_by = CASE WHEN photos.subject_by = 'person' THEN 'person' WHEN new.subject = '' THEN '' ELSE 'only' END
		FROM (SELECT s.photo, CASE s.state WHEN 'done' THEN 'analysed' ELSE s.state END AS state, s.reason, coalesce(f.id, '') AS subject
			FROM photo_sets s LEFT JOIN faces f ON f.id = s.subject WHERE s.generation = ?) new
		WHERE photos.n = new.photo AND (photos.subject_by <> 'person' AND photos.subject <> new.subject
			OR photos.state <> 'queued' AND (photos.state <> new.state OR photos.reason <> new.reason))`, g.n); err != nil {
		return err
	}
	// The only face of a photo that it lacks may be one that only the other has found.
	if _, err := tx.ExecContext(ctx, `UPDATE photos SET subject = '', subject_by = '' WHERE subject_by = 'only'
		AND subject IN (SELECT id FROM faces WHERE only_in <> '' AND only_in <> ?)`, g.ModelSet()); err != nil {
		return err
	}
	if _, err := queueMissing(ctx, tx, g); err != nil {
		return err
	}
	if before.n != 0 {
		j, existed, err := r.enqueue(ctx, tx, then)
		if err == nil && existed {
			err = r.goOn(ctx, tx, j.ID)
		}
		if err != nil {
			return err
		}
		if err := r.audit(ctx, tx, Note{Action: "reindex.switched", Subject: g.ID, Detail: map[string]string{"from": before.ID}}); err != nil {
			return err
		}
	}
	return r.at("switch.rows")
}

// goOn queues a job that is paused or parked: what it is to do has become due anew.
func (r *Registry) goOn(ctx context.Context, tx *sql.Tx, id JobID) error {
	found, err := jobsWhere(ctx, tx, "id = ? AND state IN ('paused', 'parked')", id)
	if err != nil || len(found) == 0 {
		return err
	}
	j := found[0]
	j.leave(JobQueued, r.now())
	j.Due, j.Tries, j.Reason = r.now(), 0, ""
	if err := storeJob(ctx, tx, j); err != nil {
		return err
	}
	return r.audit(ctx, tx, jobNote(j, "resumed"))
}

const missingUnder = "state <> 'queued' AND NOT EXISTS (SELECT 1 FROM photo_sets s WHERE s.generation = ? AND s.photo = photos.n)"

// queueMissing queues the photos that have not been looked at under the active generation.
func queueMissing(ctx context.Context, tx *sql.Tx, g generation) (int, error) {
	res, err := tx.ExecContext(ctx, "UPDATE photos SET state = 'queued', reason = '', tries = 0 WHERE "+missingUnder, g.n)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// QueueMissing queues every photo that has not been looked at under the active generation, and says how many. Its faces stay
// until the new analysis is saved.
func (r *Registry) QueueMissing(ctx context.Context) (n int, err error) {
	const what = "queue photos of other model sets"
	g, err := activeGeneration(ctx, r.readers)
	if err != nil || g.n == 0 {
		return 0, wrap(err, what)
	}
	var found bool
	err = r.readers.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM photos WHERE "+missingUnder+")", g.n).Scan(&found)
	if err != nil || !found { // every start asks; few have to write
		return 0, wrap(err, what)
	}
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if g, err = activeGeneration(ctx, tx); err == nil {
			n, err = queueMissing(ctx, tx, g)
		}
		return err
	})
	return n, err
}

// Unbuilt is a photo that a generation lacks. N orders such photos.
type Unbuilt struct {
	N     int64
	Photo PhotoID
}

// undropped reads a generation. One that is being dropped is not found: nothing is to be built under it any more.
func (r *Registry) undropped(ctx context.Context, id string) (generation, error) {
	g, err := mustGeneration(ctx, r.readers, id)
	if err == nil && g.State == GenerationDropping {
		err = ErrNotFound
	}
	return g, err
}

// Unbuilt lists photos that have been looked at, but not under the generation, in order and behind one, at most limit of them.
// ErrNotFound when it was dropped, or is being dropped.
func (r *Registry) Unbuilt(ctx context.Context, id string, after int64, limit int) (out []Unbuilt, err error) {
	what := "photos that generation " + id + " lacks"
	g, err := r.undropped(ctx, id)
	if err != nil {
		return nil, wrap(err, "%s", what)
	}
	rows, err := r.readers.QueryContext(ctx, `SELECT n, id FROM photos WHERE n > ? AND `+missingUnder+` ORDER BY n LIMIT ?`, after, g.n, limit)
	if err != nil {
		return nil, wrap(err, "%s", what)
	}
	defer rows.Close()
	for rows.Next() {
		var u Unbuilt
		if err := rows.Scan(&u.N, &u.Photo); err != nil {
			return nil, wrap(err, "%s", what)
		}
		out = append(out, u)
	}
	return out, wrap(rows.Err(), "%s", what)
}

// UnbuiltCount counts what Unbuilt lists.
func (r *Registry) UnbuiltCount(ctx context.Context, id string) (n int, err error) {
	g, err := r.undropped(ctx, id)
	if err == nil {
		err = r.readers.QueryRowContext(ctx, "SELECT count(*) FROM photos WHERE "+missingUnder, g.n).Scan(&n)
	}
	return n, wrap(err, "count photos that generation %s lacks", id)
}

// BuiltCount counts the photos that are done or set aside under a generation. ErrNotFound as for Unbuilt.
func (r *Registry) BuiltCount(ctx context.Context, id string) (n int, err error) {
	g, err := r.undropped(ctx, id)
	if err == nil {
		err = r.readers.QueryRowContext(ctx, "SELECT count(*) FROM photo_sets WHERE generation = ?", g.n).Scan(&n)
	}
	return n, wrap(err, "count photos that generation %s has", id)
}

// ClaimBuild makes this process the one that builds a generation; ok is false while another that lives is at it. ReleaseBuild ends
// that. ErrNotFound; ErrConflict when the generation is being dropped.
func (r *Registry) ClaimBuild(ctx context.Context, id string) (ok bool, err error) {
	err = r.change(ctx, "build generation "+id, func(ctx context.Context, tx *sql.Tx) error {
		var owner string
		var state GenerationState
		if err := tx.QueryRowContext(ctx, "SELECT owner, state FROM generations WHERE id = ?", id).Scan(&owner, &state); err != nil {
			return err
		}
		if state == GenerationDropping {
			return refused(ErrConflict, "it is being dropped")
		}
		if ok = owner == "" || owner == r.owner || !r.alive(owner); !ok {
			return nil
		}
		_, err := tx.ExecContext(ctx, "UPDATE generations SET owner = ? WHERE id = ?", r.owner, id)
		return err
	})
	return ok && err == nil, err
}

// ReleaseBuild lets other processes build a generation.
func (r *Registry) ReleaseBuild(ctx context.Context, id string) error {
	return r.change(ctx, "hand back generation "+id, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE generations SET owner = '' WHERE id = ? AND owner = ?", id, r.owner)
		return err
	})
}

// SaveReport keeps what a switch to a generation would change. One that was being built is then ready. report is marshalled as JSON;
// ErrInvalid where it cannot be.
func (r *Registry) SaveReport(ctx context.Context, id string, report any) error {
	text, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("report on generation %s: %w: %w", id, ErrInvalid, err)
	}
	return r.change(ctx, "report on generation "+id, func(ctx context.Context, tx *sql.Tx) error {
		return changed(tx.ExecContext(ctx, `UPDATE generations SET report = ?, state = CASE state WHEN 'building' THEN 'ready' ELSE state END
			WHERE id = ? AND state <> 'dropping'`, string(text), id))
	})
}

// dropBatch is how many rows of a generation are deleted in one transaction.
const dropBatch = 2000

// Drop deletes a generation with its templates, the faces that nobody else sees and the embeddings that no other is made of. What is
// interrupted is taken up by the next Drop of it; meanwhile it is dropping. ErrNotFound; ErrConflict when it is active, or a job is
// to build it.
func (r *Registry) Drop(ctx context.Context, id string) error {
	what := "drop generation " + id
	var g generation
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) (err error) {
		if g, err = mustGeneration(ctx, tx, id); err != nil || g.State == GenerationDropping {
			return err
		}
		if g.State == GenerationActive {
			return refused(ErrConflict, "it is the one in use; switch to another first")
		}
		var job JobID
		err = tx.QueryRowContext(ctx, `SELECT id FROM jobs WHERE kind = ? AND about = ? AND state IN ('queued', 'running', 'paused', 'parked')`, JobReindex, id).Scan(&job)
		if err == nil {
			return refused(ErrConflict, "job %s is to build it; cancel that first", job)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE generations SET state = 'dropping' WHERE n = ?", g.n); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "reindex.dropped", Subject: g.ID, Detail: map[string]string{"set": g.Name, "metric": g.Metric}})
	})
	if err != nil {
		return err
	}
	if err := r.at("drop.begun"); err != nil {
		return err
	}
	const others = "FROM generations g WHERE g.n <> ?2 AND g.state <> 'dropping'"
	// Each statement deletes rows of its table behind the row ?1, in the order in which they came.
	for _, part := range []struct {
		table, key, where string
		args              []any
	}{
		{"templates", "rowid", "x.model_set = ?3", []any{g.ID}},
		{"faces", "n", "x.only_in = ?3 AND NOT EXISTS (SELECT 1 " + others + " AND g.model_set = x.only_in)" +
			" AND NOT EXISTS (SELECT 1 FROM photos p WHERE p.id = x.photo_id AND p.subject = x.id AND p.subject_by = 'person')", []any{g.ModelSet()}},
		{"embeddings", "rowid", `x.recogniser IN (SELECT value FROM json_each(?3))
			AND NOT EXISTS (SELECT 1 ` + others + ` AND EXISTS (SELECT 1 FROM json_each(g.recognisers) r WHERE r.value = x.recogniser))`,
			[]any{jsonText(g.Recognisers)}},
	} {
		for after := int64(0); ; {
			if err := ctx.Err(); err != nil {
				return wrap(err, "%s", what)
			}
			var last sql.NullInt64
			// Found by reading alone, as there is no index to find them by.
			err := r.readers.QueryRowContext(ctx, fmt.Sprintf("SELECT max(k) FROM (SELECT x.%s AS k FROM %s x WHERE x.%[1]s > ?1 AND %[3]s ORDER BY x.%[1]s LIMIT %[4]d)",
				part.key, part.table, part.where, dropBatch), append([]any{after, g.n}, part.args...)...).Scan(&last)
			if err != nil {
				return wrap(err, "%s", what)
			}
			if !last.Valid {
				break
			}
			err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s AS x WHERE x.%s > ?1 AND x.%[2]s <= ?4 AND %[3]s", part.table, part.key, part.where),
					append(append([]any{after, g.n}, part.args...), last.Int64)...)
				return err
			})
			if err != nil {
				return err
			}
			if err := r.at("drop.batch"); err != nil {
				return err
			}
			after = last.Int64
		}
	}
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM generations WHERE n = ? AND state = 'dropping'", g.n)
		return err
	})
}
