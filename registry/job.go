package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// JobID names a job: "j_…".
type JobID string

// JobKind says what a job does.
type JobKind string

const (
	JobImport     JobKind = "import"
	JobReindex    JobKind = "reindex"
	JobCrossmatch JobKind = "crossmatch"
	JobBackup     JobKind = "backup"
)

// JobState is how far a job has come.
type JobState string

const (
	JobQueued    JobState = "queued"  // waits for a process to take it
	JobRunning   JobState = "running" // a process is at it
	JobPaused    JobState = "paused"  // a person stopped it; it goes on when one says so
	JobParked    JobState = "parked"  // it failed as often as it was tried; Reason says how. It goes on when a person says so
	JobDone      JobState = "done"
	JobCancelled JobState = "cancelled"
)

// Finished says whether nothing more will come of the job.
func (s JobState) Finished() bool { return s == JobDone || s == JobCancelled }

// JobWish is what a person asked of a job that is running. Whoever runs it sees to it at the next step.
type JobWish string

const (
	NoWish     JobWish = ""
	WishPause  JobWish = "pause"
	WishCancel JobWish = "cancel"
)

// JobTries is how often a job is begun without coming any further before it is parked.
const JobTries = 5

// jobBackoff is how long a job waits after its first failure; every further one doubles it, up to jobBackoffMost.
const (
	jobBackoff     = 2 * time.Second
	jobBackoffMost = 5 * time.Minute
)

// JobStopped is the reason of a job that ended its process as often as it was tried.
const JobStopped = "the program stopped each time it was at this job"

// Progress is how far a job has come, for people.
type Progress struct {
	Stage  string           `json:"stage,omitempty"` // a stable code of the job's kind, such as "reading"
	Done   int64            `json:"done"`            // of this stage
	Total  int64            `json:"total,omitempty"` // of this stage; 0 while unknown
	Counts map[string]int64 `json:"counts,omitempty"`
	Rate   float64          `json:"rate,omitempty"` // done per second, lately
}

// Left is about how long the stage will take yet; ok is false while that cannot be said.
func (p Progress) Left() (left time.Duration, ok bool) {
	if p.Rate <= 0 || p.Total <= p.Done {
		return 0, false
	}
	seconds := float64(p.Total-p.Done) / p.Rate
	if seconds > (10 * 365 * 24 * time.Hour).Seconds() { // it stands still
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// Job is work that takes minutes or hours. It outlives whatever ends the process that is at it: another process goes on at
// Place, which was stored in the transaction of the work it speaks of, or after it where repeating it does no harm.
type Job struct {
	ID        JobID
	Kind      JobKind
	About     string          // what it works on: of one kind there is one unfinished job about it
	Args      json.RawMessage // in the words of its kind
	State     JobState
	Wish      JobWish
	Tries     int       // begun without having come further since
	Due       time.Time // not taken before
	Reason    string    // why the last try failed
	Place     string    // where it goes on, in the words of its kind
	Progress  Progress
	CreatedBy string // id of an account, or the role of whoever has none
	CreatedAt time.Time
	StartedAt time.Time
	Spent     time.Duration // for which it has run, over all tries
	UpdatedAt time.Time
	EndedAt   time.Time
}

// NewJob is a job to enqueue.
type NewJob struct {
	Kind  JobKind
	About string
	Args  any // marshalled as JSON
	// Here reserves the job for this Registry, which runs it with TakeJob, for as long as the process lives. Should the
	// process die, any other may take it.
	Here bool
}

// A job of which the row says that a process is at it, or that it waits for one, is what afterDeath makes of it once that
// process has ended, whoever looks: readers show it so, and whatever writes to jobs stores it first (reapJobs).

// jobRow is a job with who has it.
type jobRow struct {
	Job
	owner string // of a running job, and of a queued one that is reserved
	here  bool
}

const jobColumns = `id, kind, about, args, state, wish, tries, due_at, reason, place, progress, created_by, created_at, started_at, spent,
	updated_at, ended_at, owner, here`

func scanJob(row scanner) (j jobRow, err error) {
	var args, progress string
	var due, created, started, spent, updated, ended int64
	if err := row.Scan(&j.ID, &j.Kind, &j.About, &args, &j.State, &j.Wish, &j.Tries, &due, &j.Reason, &j.Place, &progress, &j.CreatedBy,
		&created, &started, &spent, &updated, &ended, &j.owner, &j.here); err != nil {
		return j, err
	}
	j.Args = json.RawMessage(args)
	if err := json.Unmarshal([]byte(progress), &j.Progress); err != nil {
		return j, fmt.Errorf("progress of job %s: %w: %w", j.ID, ErrCorrupt, err)
	}
	j.Due, j.CreatedAt, j.StartedAt = fromMillis(due), fromMillis(created), fromMillis(started)
	j.UpdatedAt, j.EndedAt, j.Spent = fromMillis(updated), fromMillis(ended), time.Duration(spent)*time.Millisecond
	return j, nil
}

// jobsWhere reads jobs as they are stored.
func jobsWhere(ctx context.Context, q querier, where string, args ...any) (out []jobRow, err error) {
	rows, err := q.QueryContext(ctx, "SELECT "+jobColumns+" FROM jobs WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		j, err := scanJob(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	return out, rows.Err()
}

// storeJob writes all of a job that can change.
func storeJob(ctx context.Context, tx *sql.Tx, j jobRow) error {
	return changed(tx.ExecContext(ctx, `UPDATE jobs SET state = ?, wish = ?, here = ?, owner = ?, tries = ?, due_at = ?, reason = ?, place = ?,
		progress = ?, started_at = ?, spent = ?, updated_at = ?, ended_at = ? WHERE id = ?`, j.State, j.Wish, j.here, j.owner, j.Tries,
		millis(j.Due), j.Reason, j.Place, jsonText(j.Progress), millis(j.StartedAt), j.Spent.Milliseconds(), millis(j.UpdatedAt), millis(j.EndedAt), j.ID))
}

// jobNote is the entry of the audit about what became of a job. What it is about may name a folder, and is left out.
func jobNote(j jobRow, what string) Note {
	return Note{Action: "job." + what, Subject: string(j.ID), Detail: map[string]string{"kind": string(j.Kind)}}
}

// count adds the time since the job was last stored to what it has run.
func (j *jobRow) count(now time.Time) {
	j.Spent += max(now.Sub(j.UpdatedAt), 0)
	j.UpdatedAt = now
}

// leave is nobody being at the job any longer. What a person wished of it meanwhile comes before what its process would have.
func (j *jobRow) leave(to JobState, now time.Time) {
	switch {
	case j.Wish == WishCancel && to != JobDone:
		to = JobCancelled
	case j.Wish == WishPause && to == JobQueued:
		to = JobPaused
	}
	j.State, j.Wish, j.owner, j.here, j.UpdatedAt = to, NoWish, "", false, now
	if to.Finished() {
		j.EndedAt = now
	}
	if to == JobDone {
		j.Reason = ""
	}
}

// afterDeath is what becomes of a job when the process that had it has ended without a word. The try that was begun counts.
func (j *jobRow) afterDeath(now time.Time) {
	switch {
	case j.State != JobRunning: // it was reserved
		j.owner, j.here = "", false
	case j.Tries >= JobTries:
		j.Reason = JobStopped
		j.leave(JobParked, now)
	default:
		j.leave(JobQueued, now)
	}
}

// dead says whether a process had the job and is no more.
func (r *Registry) dead(j jobRow) bool { return j.owner != "" && !r.alive(j.owner) }

// reapJobs takes back the jobs of processes that have ended.
func (r *Registry) reapJobs(ctx context.Context, tx *sql.Tx) error {
	held, err := jobsWhere(ctx, tx, "owner <> '' AND owner <> ?", r.owner)
	if err != nil {
		return err
	}
	ctx = WithActor(ctx, Actor{Role: System})
	for _, j := range held {
		if !r.dead(j) {
			continue
		}
		j.afterDeath(r.now())
		if err := storeJob(ctx, tx, j); err != nil {
			return err
		}
		if err := r.at("job.reaped"); err != nil {
			return err
		}
		if j.State == JobParked { // wishes are on record since they were made
			if err := r.audit(ctx, tx, jobNote(j, "parked")); err != nil {
				return err
			}
		}
	}
	return nil
}

// handBackJobs gives up what this Registry has, as though it had not begun.
func (r *Registry) handBackJobs(ctx context.Context, tx *sql.Tx) error {
	held, err := jobsWhere(ctx, tx, "owner = ?", r.owner)
	if err != nil {
		return err
	}
	for _, j := range held {
		if j.State == JobRunning {
			j.count(r.now())
			j.Tries = max(j.Tries-1, 0)
			j.leave(JobQueued, r.now())
		} else {
			j.owner, j.here = "", false
		}
		if err := storeJob(ctx, tx, j); err != nil {
			return err
		}
	}
	return r.at("job.handed")
}

// changeJob changes one job in a transaction. fn may refuse; what it returns is noted in the audit, nothing when empty.
func (r *Registry) changeJob(ctx context.Context, what, step string, id JobID, fn func(j *jobRow) (note string, err error)) (Job, error) {
	var j jobRow
	err := r.change(ctx, what+" job "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		if err := r.reapJobs(ctx, tx); err != nil {
			return err
		}
		found, err := jobsWhere(ctx, tx, "id = ?", id)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotFound
		}
		j = found[0]
		note, err := fn(&j)
		if err != nil {
			return err
		}
		if err := storeJob(ctx, tx, j); err != nil {
			return err
		}
		if note != "" {
			if err := r.audit(ctx, tx, jobNote(j, note)); err != nil {
				return err
			}
		}
		return r.at(step)
	})
	if err != nil {
		return Job{}, err
	}
	return j.Job, nil
}

// mine refuses what only the process that is at a job may do.
func (r *Registry) mine(j *jobRow) error {
	if j.State != JobRunning || j.owner != r.owner {
		return refused(ErrConflict, "the job is no longer this process's")
	}
	return nil
}

// Enqueue makes a job, durably. Where an unfinished one of the kind about the same is there, it is returned with existed set and
// nothing is made.
func (r *Registry) Enqueue(ctx context.Context, n NewJob) (j Job, existed bool, err error) {
	err = r.change(ctx, "enqueue "+string(n.Kind), func(ctx context.Context, tx *sql.Tx) error {
		j, existed, err = r.enqueue(ctx, tx, n)
		return err
	})
	if err != nil {
		return Job{}, false, err
	}
	return j, existed, nil
}

// enqueue is Enqueue in the transaction of what the job is about.
func (r *Registry) enqueue(ctx context.Context, tx *sql.Tx, n NewJob) (Job, bool, error) {
	if n.Kind == "" {
		return Job{}, false, fmt.Errorf("%w: a job needs a kind", ErrInvalid)
	}
	args, err := json.Marshal(n.Args)
	if err != nil {
		return Job{}, false, fmt.Errorf("%w: what the job is to do cannot be stored: %w", ErrInvalid, err)
	}
	if err := r.reapJobs(ctx, tx); err != nil {
		return Job{}, false, err
	}
	there, err := jobsWhere(ctx, tx, "kind = ? AND about = ? AND state NOT IN ('done', 'cancelled')", n.Kind, n.About)
	if err != nil {
		return Job{}, false, err
	}
	if len(there) > 0 {
		return there[0].Job, true, nil
	}
	actor, now := ActorOf(ctx), r.now()
	j := jobRow{here: n.Here, Job: Job{
		ID: JobID(newID("j_")), Kind: n.Kind, About: n.About, Args: args, State: JobQueued,
		Due: now, CreatedBy: string(actor.Account), CreatedAt: now, UpdatedAt: now,
	}}
	if j.CreatedBy == "" {
		j.CreatedBy = string(actor.Role)
	}
	if n.Here {
		j.owner = r.owner
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO jobs (id, kind, about, args, state, here, owner, due_at, created_by, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, j.ID, j.Kind, j.About, string(args), j.State, j.here, j.owner, millis(j.Due),
		j.CreatedBy, millis(now), millis(now)); err != nil {
		return Job{}, false, err
	}
	if err := r.audit(ctx, tx, jobNote(j, "enqueued")); err != nil {
		return Job{}, false, err
	}
	return j.Job, false, r.at("job.enqueued")
}

// begin is this Registry taking the job up.
func (r *Registry) begin(j *jobRow) {
	now := r.now()
	j.State, j.owner, j.here, j.Wish = JobRunning, r.owner, false, NoWish
	j.Tries++ // before the work begins: a job that ends its process each time is parked some day
	if j.StartedAt.IsZero() {
		j.StartedAt = now
	}
	j.UpdatedAt = now
}

// nextJob chooses the job whose turn it is from those that wait and run, oldest first, each as it is and not as it was stored.
func (r *Registry) nextJob(unfinished []jobRow, kinds []JobKind) (jobRow, bool) {
	var running []JobKind
	for _, j := range unfinished {
		if j.State == JobRunning {
			running = append(running, j.Kind)
		}
	}
	for _, j := range unfinished {
		if j.State == JobQueued && slices.Contains(kinds, j.Kind) && !slices.Contains(running, j.Kind) &&
			!j.Due.After(r.now()) && (!j.here || j.owner == r.owner) {
			return j, true
		}
	}
	return jobRow{}, false
}

// unfinishedJobs selects what nextJob chooses from.
const unfinishedJobs = "state IN ('queued', 'running') ORDER BY n"

// ClaimJob hands out the job whose turn it is: queued, due, of one of the kinds, not reserved for another process that lives, and of a
// kind of which no other job is running (kinds of bulk work do not compete with themselves). Jobs of processes that have ended are
// queued again first, their try counted; one that used all its tries is parked. ok is false when there is none to hand out now.
func (r *Registry) ClaimJob(ctx context.Context, kinds ...JobKind) (Job, bool, error) {
	const what = "take a job"
	// Most calls find nothing to do, and reading does not wait for the writer.
	unfinished, err := jobsWhere(ctx, r.readers, unfinishedJobs)
	if err != nil {
		return Job{}, false, wrap(err, what)
	}
	if _, ok := r.nextJob(r.asTheyAre(unfinished), kinds); !ok {
		return Job{}, false, nil
	}
	var j jobRow
	var ok bool
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if err := r.reapJobs(ctx, tx); err != nil {
			return err
		}
		unfinished, err := jobsWhere(ctx, tx, unfinishedJobs)
		if err != nil {
			return err
		}
		if j, ok = r.nextJob(unfinished, kinds); !ok {
			return nil
		}
		r.begin(&j)
		if err := storeJob(ctx, tx, j); err != nil {
			return err
		}
		return r.at("job.claimed")
	})
	if err != nil || !ok {
		return Job{}, false, err
	}
	return j.Job, true, nil
}

// TakeJob claims one particular job, queued, paused or parked, whether it is due or not. ErrConflict when another process is at it or has
// it reserved, or it is finished.
func (r *Registry) TakeJob(ctx context.Context, id JobID) (Job, error) {
	return r.changeJob(ctx, "take", "job.taken", id, func(j *jobRow) (string, error) {
		switch {
		case j.State.Finished():
			return "", refused(ErrConflict, "the job is %s", j.State)
		case j.State == JobRunning, j.here && j.owner != r.owner:
			return "", refused(ErrConflict, "another process is at the job")
		}
		note := ""
		if j.State != JobQueued {
			note, j.Tries, j.Reason = "resumed", 0, ""
		}
		r.begin(j)
		return note, nil
	})
}

// SaveJob notes how far a job of this process has come, and returns what people wish of it. A changed place sets its tries back.
// ErrConflict when the job is no longer this process's.
func (r *Registry) SaveJob(ctx context.Context, id JobID, place string, p Progress) (JobWish, error) {
	j, err := r.changeJob(ctx, "save", "job.saved", id, func(j *jobRow) (string, error) {
		if err := r.mine(j); err != nil {
			return "", err
		}
		if place != j.Place {
			j.Place, j.Tries, j.Reason = place, 0, ""
		}
		j.Progress = p
		j.count(r.now())
		return "", nil
	})
	return j.Wish, err
}

// EndJob ends this process's hold on a job: as done, cancelled, paused, queued (handed back, the try taken back), or, with JobParked,
// as finally failed with the reason. What a person wished of it meanwhile comes first, unless it is done. ErrConflict when the job is no
// longer this process's.
func (r *Registry) EndJob(ctx context.Context, id JobID, as JobState, reason string) error {
	_, err := r.changeJob(ctx, "end", "job.ended", id, func(j *jobRow) (string, error) {
		if err := r.mine(j); err != nil {
			return "", err
		}
		wish := j.Wish
		j.count(r.now())
		switch as {
		case JobQueued, JobPaused:
			j.Tries = max(j.Tries-1, 0)
		case JobParked:
			j.Reason = reason
		case JobDone, JobCancelled:
		default:
			return "", fmt.Errorf("%w: a job does not end as %s", ErrInvalid, as)
		}
		j.leave(as, r.now())
		return endNote(j.State, wish), nil
	})
	return err
}

// endNote is what the audit says of a job that nobody is at any longer; a person's wish is on record since it was made.
func endNote(s JobState, wish JobWish) string {
	switch {
	case s == JobQueued, s == JobPaused && wish == WishPause, s == JobCancelled && wish == WishCancel:
		return ""
	}
	return string(s)
}

// FailJob notes that a job of this process failed: it is queued to be tried again after a while that grows, or parked after JobTries.
// ErrConflict when the job is no longer this process's.
func (r *Registry) FailJob(ctx context.Context, id JobID, reason string) (Job, error) {
	return r.changeJob(ctx, "note the failure of", "job.failed", id, func(j *jobRow) (string, error) {
		if err := r.mine(j); err != nil {
			return "", err
		}
		wish := j.Wish
		j.count(r.now())
		j.Reason = reason
		if j.Tries >= JobTries {
			j.leave(JobParked, r.now())
		} else {
			j.Due = r.now().Add(min(jobBackoff<<max(j.Tries-1, 0), jobBackoffMost))
			j.leave(JobQueued, r.now())
		}
		return endNote(j.State, wish), nil
	})
}

// WishJob asks something of a job: pausing or cancelling one that nobody is at happens at once. With NoWish it goes on: one that is
// paused or parked is queued, with all its tries before it, and one that waits to be tried again is tried now. A parked job that is to
// pause stays parked: it has stopped already. ErrConflict when the job is finished.
func (r *Registry) WishJob(ctx context.Context, id JobID, w JobWish) (Job, error) {
	return r.changeJob(ctx, "steer", "job.wished", id, func(j *jobRow) (string, error) {
		if j.State.Finished() {
			return "", refused(ErrConflict, "the job is %s", j.State)
		}
		switch w {
		case WishPause:
			switch j.State {
			case JobRunning:
				if j.Wish == w {
					return "", nil
				}
				j.Wish = w
			case JobQueued:
				j.leave(JobPaused, r.now())
			default:
				return "", nil
			}
			return "paused", nil
		case WishCancel:
			if j.State != JobRunning {
				j.leave(JobCancelled, r.now())
				return "cancelled", nil
			}
			if j.Wish == w {
				return "", nil
			}
			j.Wish = w
			return "cancelled", nil
		case NoWish:
			switch {
			case j.State == JobRunning && j.Wish == NoWish:
				return "", nil
			case j.State == JobRunning:
				j.Wish = NoWish
			case j.State == JobQueued:
				j.Due, j.Tries = r.now(), 0
			default:
				j.leave(JobQueued, r.now())
				j.Due, j.Tries, j.Reason = r.now(), 0, ""
			}
			return "resumed", nil
		}
		return "", fmt.Errorf("%w: nothing that can be wished of a job: %q", ErrInvalid, w)
	})
}

// asTheyAre makes of stored jobs what they are, with their processes dead or alive.
func (r *Registry) asTheyAre(rows []jobRow) []jobRow {
	for i := range rows {
		if r.dead(rows[i]) {
			rows[i].afterDeath(r.now())
		}
	}
	return rows
}

// Job reads a job. ErrNotFound.
func (r *Registry) Job(ctx context.Context, id JobID) (Job, error) {
	found, err := jobsWhere(ctx, r.readers, "id = ?", id)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Job{}, wrap(err, "job %s", id)
	}
	return r.asTheyAre(found)[0].Job, nil
}

// Jobs lists jobs: unfinished ones first, then the newest, at most limit.
func (r *Registry) Jobs(ctx context.Context, limit int) ([]Job, error) {
	rows, err := jobsWhere(ctx, r.readers, "true ORDER BY state IN ('done', 'cancelled'), n DESC LIMIT ?", limit)
	if err != nil {
		return nil, wrap(err, "list jobs")
	}
	out := make([]Job, len(rows))
	for i, j := range r.asTheyAre(rows) {
		out[i] = j.Job
	}
	return out, nil
}

// forgetAtOnce bounds the rows that one transaction deletes: others wait for it to write.
const forgetAtOnce = 5000

// ForgetJobs deletes the finished jobs that ended before a time, with their files' outcomes, and says how many.
func (r *Registry) ForgetJobs(ctx context.Context, before time.Time) (int, error) {
	const what = "forget old jobs"
	old, err := jobsWhere(ctx, r.readers, "state IN ('done', 'cancelled') AND ended_at < ?", millis(before))
	if err != nil {
		return 0, wrap(err, what)
	}
	for n, j := range old {
		for left := int64(forgetAtOnce); left == forgetAtOnce; {
			err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
				res, err := tx.ExecContext(ctx, `DELETE FROM import_files WHERE job_id = ?1 AND (path, line) IN
					(SELECT path, line FROM import_files WHERE job_id = ?1 LIMIT ?2)`, j.ID, forgetAtOnce)
				if err != nil {
					return err
				}
				if left, err = res.RowsAffected(); err != nil || left == forgetAtOnce {
					return err
				}
				_, err = tx.ExecContext(ctx, "DELETE FROM jobs WHERE id = ?", j.ID)
				return err
			})
			if err != nil {
				return n, err
			}
		}
	}
	return len(old), nil
}
