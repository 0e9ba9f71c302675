package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"homeward/api"
	"homeward/registry"
	"homeward/text"
)

// Who keeps the service sees how far bulk work is and steers it. They see no case, and a job's folder, arguments and reasons may name
// children: none of that is told here. `homeward jobs show`, on the machine itself, tells it.

// listedJobs is how many jobs are listed.
const listedJobs = 100

// JobPath names a job.
type JobPath struct {
	Job string `path:"job" maxLength:"64" doc:"Id of the job."`
}

type jobOutput struct{ Body api.Job }

func (s *Server) jobRoutes() {
	tags := []string{"Bulk work"}

	huma.Register(s.api, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: prefix + "/jobs", Tags: tags,
		Summary: "List bulk work", Description: "Unfinished jobs first, then the newest, at most a hundred.",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.Jobs }, error) {
		all, err := s.finder.Registry.Jobs(ctx, listedJobs)
		if err != nil {
			return nil, s.problem(err)
		}
		out := api.Jobs{Jobs: make([]api.Job, len(all))}
		for i, j := range all {
			out.Jobs[i] = apiJob(j)
		}
		return &struct{ Body api.Jobs }{out}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: prefix + "/jobs/{job}", Tags: tags,
		Summary: "Read how far a job is", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *JobPath) (*jobOutput, error) {
		j, err := s.finder.Registry.Job(ctx, registry.JobID(in.Job))
		if err != nil {
			return nil, s.problem(err)
		}
		return &jobOutput{apiJob(j)}, nil
	})

	for _, w := range []struct {
		name, summary, description string
		wish                       registry.JobWish
	}{
		{"pause", "Pause a job", "A running one stops at its next step.", registry.WishPause},
		{"resume", "Let a job go on", "One that is paused or parked is queued, with all its tries before it; one that waits to be tried again is tried now.", registry.NoWish},
		{"cancel", "End a job for good", "A running one stops at its next step. What it has done stays done.", registry.WishCancel},
	} {
		huma.Register(s.api, huma.Operation{
			OperationID: w.name + "-job", Method: http.MethodPost, Path: prefix + "/jobs/{job}/" + w.name, Tags: tags, DefaultStatus: http.StatusOK,
			Summary: w.summary, Description: w.description, Errors: []int{http.StatusNotFound, http.StatusConflict},
		}, func(ctx context.Context, in *JobPath) (*jobOutput, error) {
			j, err := s.finder.Registry.WishJob(ctx, registry.JobID(in.Job), w.wish)
			if errors.Is(err, registry.ErrConflict) {
				err = s.tell(ctx, http.StatusConflict, "job_finished")
			}
			if err != nil {
				return nil, s.problem(err)
			}
			return &jobOutput{apiJob(j)}, nil
		})
	}

	s.engine.GET("/jobs", s.jobsPage)
}

// faults are what a job's reason may come down to, by words that stand in it.
var faults = []struct{ words, fault string }{
	{registry.JobStopped, "stopped"},
	{registry.ErrFull.Error(), "full"},
	{syscall.ENOSPC.Error(), "full"},
	{registry.ErrCorrupt.Error(), "damaged"},
	{syscall.ENOENT.Error(), "missing"},
	{syscall.EACCES.Error(), "denied"},
	{syscall.EPERM.Error(), "denied"},
	{syscall.EROFS.Error(), "denied"},
}

// faultOf is a job's reason without what it names.
func faultOf(reason string) string {
	if reason == "" {
		return ""
	}
	for _, f := range faults {
		if strings.Contains(reason, f.words) {
			return f.fault
		}
	}
	return "other"
}

func apiJob(j registry.Job) api.Job {
	out := api.Job{
		ID: string(j.ID), Kind: string(j.Kind), State: string(j.State), Wish: string(j.Wish), Stage: j.Progress.Stage, Done: j.Progress.Done,
		Total: j.Progress.Total, Counts: j.Progress.Counts, Tries: j.Tries, Fault: faultOf(j.Reason), CreatedAt: j.CreatedAt,
		Spent: j.Spent.Seconds(), UpdatedAt: j.UpdatedAt,
	}
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	out.StartedAt, out.EndedAt = at(j.StartedAt), at(j.EndedAt)
	switch j.State {
	case registry.JobQueued:
		out.Due = at(j.Due)
	case registry.JobRunning:
		out.Rate = j.Progress.Rate
		if left, ok := j.Progress.Left(); ok {
			out.Left = left.Seconds()
		}
	}
	return out
}

// jobsPage lists bulk work.
type jobsPage struct {
	Jobs []jobRow
}

// jobRow is a job in words.
type jobRow struct {
	api.Job
	KindName, StateName, StageName, WishName, FaultName string
	Name                                                string   // kind and time, for buttons
	Figures                                             []string // done, rate, time left
	Bar                                                 bool     // there is a share to show
	Counted                                             []counted
	Since, Ran, Again, Ended                            string
	MayPause, MayResume, MayCancel                      bool
}

// counted is how often something came of what a job did.
type counted struct{ Name, Number string }

func (s *Server) jobsPage(c *gin.Context) {
	ctx := c.Request.Context()
	all, err := s.finder.Registry.Jobs(ctx, listedJobs)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	var own jobsPage
	for _, j := range all {
		own.Jobs = append(own.Jobs, newJobRow(s.printer(ctx), j))
	}
	s.page(c, http.StatusOK, "jobs.html", "jobs.title", own)
}

func newJobRow(say text.Printer, j registry.Job) jobRow {
	row := jobRow{Job: apiJob(j), KindName: say.T("jobs.kind." + string(j.Kind)), StateName: say.T("jobs.state." + string(j.State)), Since: zoned(j.CreatedAt)}
	row.Name = say.T("jobs.name", "Kind", row.KindName, "When", row.Since)
	done := j.State == registry.JobDone
	if !done { // of what is done, what came of it says all
		row.StageName = known(say, "jobs.stage."+row.Kind+"."+row.Stage)
	}
	if row.Wish != "" {
		row.WishName = say.T("jobs.wish." + row.Wish)
	}
	if row.Fault != "" && !j.State.Finished() {
		row.FaultName = say.T("jobs.fault." + row.Fault)
	}
	digits := message.NewPrinter(language.Make(say.Lang()))
	number := func(n int64) string { return digits.Sprint(n) }
	switch {
	case done:
	case row.Total > 0:
		row.Bar = true
		share := min(100*float64(row.Done)/float64(row.Total), 100)
		row.Figures = append(row.Figures, say.T("jobs.done_of", "Done", number(row.Done), "Total", number(row.Total), "Share", fmt.Sprint(math.Floor(share))))
	case row.Done > 0:
		row.Figures = append(row.Figures, say.T("jobs.done", "Done", number(row.Done)))
	}
	if row.Rate > 0 {
		row.Figures = append(row.Figures, say.T("jobs.rate", "Rate", digits.Sprint(rounded(row.Rate))))
	}
	if row.Left > 0 {
		row.Figures = append(row.Figures, say.T("jobs.left", "Time", span(say, row.Left)))
	}
	for _, code := range slices.Sorted(maps.Keys(row.Counts)) {
		if name := known(say, "jobs.count."+code); name != "" {
			row.Counted = append(row.Counted, counted{name, number(row.Counts[code])})
		}
	}
	if j.Spent > 0 {
		row.Ran = span(say, j.Spent.Seconds())
	}
	if row.EndedAt != nil {
		row.Ended = zoned(*row.EndedAt)
	}
	if j.State == registry.JobQueued && j.Reason != "" {
		row.Again = zoned(j.Due)
	}
	row.MayPause = j.State == registry.JobQueued || j.State == registry.JobRunning && j.Wish == registry.NoWish
	row.MayResume = j.State == registry.JobPaused || j.State == registry.JobParked || row.Again != "" || j.Wish == registry.WishPause
	row.MayCancel = !j.State.Finished() && j.Wish != registry.WishCancel
	return row
}

// zoned is a time with its zone.
func zoned(at time.Time) string { return at.Local().Format("2006-01-02 15:04 -07:00") }

// known is the text of a key that is put together of a job's own codes, or nothing where people have no words for it.
func known(say text.Printer, key string) string {
	if said := say.T(key); said != key {
		return said
	}
	return ""
}

// rounded has three digits, or all that stand before the point.
func rounded(x float64) float64 {
	if x >= 100 {
		return math.Round(x)
	}
	step := math.Pow(10, 2-math.Floor(math.Log10(x)))
	return math.Round(x*step) / step
}

// span is a time in the largest unit that tells enough.
func span(say text.Printer, seconds float64) string {
	switch {
	case seconds < 90:
		return say.T("jobs.seconds", "Count", int(math.Ceil(seconds)))
	case seconds < 90*60:
		return say.T("jobs.minutes", "Count", int(math.Round(seconds/60)))
	case seconds < 48*3600:
		return say.T("jobs.hours", "Count", int(math.Round(seconds/3600)))
	}
	return say.T("jobs.days", "Count", int(math.Round(seconds/86400)))
}
