package api

import "time"

// Job is bulk work: an import, new models, a cross-match, a backup. It says how far it is, and neither what it works on nor why it failed
// in more than a word: those name folders, files and cases.
type Job struct {
	ID        string           `json:"id" example:"j_k3v…"`
	Kind      string           `json:"kind" doc:"import, reindex, crossmatch, backup."`
	State     string           `json:"state" enum:"queued,running,paused,parked,done,cancelled" doc:"Parked: it failed as often as it was tried, and waits for a person."`
	Wish      string           `json:"wish,omitempty" enum:",pause,cancel" doc:"What a running job was asked to do, and will at its next step."`
	Stage     string           `json:"stage,omitempty" doc:"A code of the kind's own."`
	Done      int64            `json:"done" doc:"Of this stage."`
	Total     int64            `json:"total,omitempty" doc:"Of this stage; absent while unknown."`
	Counts    map[string]int64 `json:"counts,omitempty" doc:"What came of what is done, by codes of the kind's own."`
	Rate      float64          `json:"rate,omitempty" doc:"Done per second, over the last half minute; absent where the job does not run."`
	Left      float64          `json:"left_seconds,omitempty" doc:"About how long the stage takes yet; absent while that cannot be said."`
	Tries     int              `json:"tries" doc:"How often it was begun without having come further since."`
	Due       *time.Time       `json:"due,omitempty" doc:"When a queued job is tried again."`
	Fault     string           `json:"fault,omitempty" enum:",full,missing,denied,damaged,stopped,other" doc:"Why the last try failed. The server's operator can read more: homeward jobs show."`
	CreatedAt time.Time        `json:"created_at"`
	StartedAt *time.Time       `json:"started_at,omitempty"`
	Spent     float64          `json:"spent_seconds" doc:"How long it has run, over all tries."`
	UpdatedAt time.Time        `json:"updated_at"`
	EndedAt   *time.Time       `json:"ended_at,omitempty"`
}

// Jobs are jobs, unfinished ones first, then the newest.
type Jobs struct {
	Jobs []Job `json:"jobs"`
}
