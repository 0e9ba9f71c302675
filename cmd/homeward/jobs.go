package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"homeward/importer"
	"homeward/registry"
)

// jobRow is a job as `--json` prints it.
type jobRow struct {
	ID        registry.JobID    `json:"id"`
	Kind      registry.JobKind  `json:"kind"`
	About     string            `json:"about"`
	State     registry.JobState `json:"state"`
	Wish      registry.JobWish  `json:"wish,omitempty"`
	Progress  registry.Progress `json:"progress"`
	Left      float64           `json:"left_seconds,omitempty"` // of the stage
	Tries     int               `json:"tries"`
	Due       *time.Time        `json:"due,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	CreatedBy string            `json:"created_by"`
	CreatedAt time.Time         `json:"created_at"`
	StartedAt *time.Time        `json:"started_at,omitempty"`
	Spent     float64           `json:"spent_seconds"`
	UpdatedAt time.Time         `json:"updated_at"`
	EndedAt   *time.Time        `json:"ended_at,omitempty"`
}

func toJobRow(j registry.Job) jobRow {
	row := jobRow{
		ID: j.ID, Kind: j.Kind, About: j.About, State: j.State, Wish: j.Wish, Progress: j.Progress, Tries: j.Tries, Reason: j.Reason,
		CreatedBy: j.CreatedBy, CreatedAt: j.CreatedAt, Spent: j.Spent.Seconds(), UpdatedAt: j.UpdatedAt,
	}
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	row.StartedAt, row.EndedAt = at(j.StartedAt), at(j.EndedAt)
	if j.State == registry.JobQueued {
		row.Due = at(j.Due)
	}
	if j.State != registry.JobRunning {
		row.Progress.Rate = 0
	} else if left, ok := j.Progress.Left(); ok {
		row.Left = left.Seconds()
	}
	return row
}

// stateOf is a job's state, and what is asked of it.
func stateOf(j registry.Job) string {
	switch j.Wish {
	case registry.WishPause:
		return "running, to pause"
	case registry.WishCancel:
		return "running, to cancel"
	}
	return string(j.State)
}

// aboutOf is in a few words what a job works on; generations has the names of what is reindexed.
func aboutOf(j registry.Job, generations []registry.Generation) string {
	switch j.Kind {
	case registry.JobImport:
		var a importer.Args
		if json.Unmarshal(j.Args, &a) != nil || a.Source == "" {
			return ""
		}
		return fmt.Sprintf("%s (%s)", importer.Visible(filepath.Base(a.Source)), a.Gallery)
	case registry.JobReindex:
		for _, g := range generations {
			if g.ID == j.About {
				return g.Name + "/" + g.Metric
			}
		}
		return "" // it was dropped
	case registry.JobBackup:
		return importer.Visible(filepath.Base(j.About))
	}
	return j.About
}

func jobsCommand(o *options) *cobra.Command {
	limit := 50
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List bulk work, watch it, pause, resume and cancel it",
		Long: `List bulk work: imports, new models, cross-matches, backups. Unfinished jobs come first, then the newest.

A job goes on where it was after whatever ends the process that is at it: when that was a server, at its next start; when it was a command, as
soon as a server runs or the same command is given again. One that failed is tried again after a while, and parked, with its reason, when
that was in vain five times.`,
		Args: args(0, 0, "no arguments, or show, watch, pause, resume or cancel"),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{errors.New("--limit must be 1 or more")}
			}
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				all, err := r.Jobs(c.Context(), limit)
				if err != nil {
					return err
				}
				if o.json {
					rows := make([]jobRow, len(all))
					for i, j := range all {
						rows[i] = toJobRow(j)
					}
					return printJSON(c.OutOrStdout(), rows)
				}
				generations, err := r.Generations(c.Context())
				if err != nil {
					return err
				}
				return printRows(c.OutOrStdout(), false, all, "ID\tKIND\tABOUT\tSTATE\tDONE\tRATE\tLEFT\tSINCE\tBY\tREASON", func(j registry.Job) string {
					return strings.Join([]string{string(j.ID), string(j.Kind), or(aboutOf(j, generations)), stateOf(j), or(figures(j)), or(rateOf(j)), or(leftOf(j)),
						clockTime(j.CreatedAt), j.CreatedBy, or(oneLine(j.Reason))}, "\t")
				})
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", limit, "how many to list")
	show := &cobra.Command{
		Use: "show ID", Short: "Show a job with all that is known of it", Args: args(1, 1, "the id of a job"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withJob(c, given[0], func(_ *registry.Registry, j registry.Job) error { return o.printJob(c.OutOrStdout(), j) })
		},
	}
	watching := &cobra.Command{
		Use: "watch [ID]", Short: "Show a job's progress until it ends; of all that are under way if none is named", Args: args(0, 1, "the id of a job, or nothing"),
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) == 0 {
				return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
					all, err := underWay(c, r)
					if err != nil {
						return err
					}
					return watchJobs(c, r, all)
				})
			}
			return o.withJob(c, given[0], func(r *registry.Registry, j registry.Job) error { return watchJobs(c, r, []registry.Job{j}) })
		},
	}
	c.AddCommand(show, watching,
		o.wishCommand("pause ID", "Pause a job; it stops at its next step", registry.WishPause),
		o.wishCommand("resume ID", "Let a job that is paused or parked go on, or one that waits to be tried again go on at once", registry.NoWish),
		o.wishCommand("cancel ID", "Cancel a job for good; what it has done stays done", registry.WishCancel))
	return c
}

// withJob opens the registry for a command about one job.
func (o *options) withJob(c *cobra.Command, id string, do func(*registry.Registry, registry.Job) error) error {
	return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
		j, err := r.Job(c.Context(), registry.JobID(id))
		if errors.Is(err, registry.ErrNotFound) {
			return fmt.Errorf("there is no job %q: 'homeward jobs' lists them", id)
		}
		if err != nil {
			return err
		}
		return do(r, j)
	})
}

// underWay finds the jobs that run, or else those that wait.
func underWay(c *cobra.Command, r *registry.Registry) ([]registry.Job, error) {
	all, err := r.Jobs(c.Context(), registry.MaxListed)
	if err != nil {
		return nil, err
	}
	for _, s := range []registry.JobState{registry.JobRunning, registry.JobQueued} {
		if of := slices.DeleteFunc(slices.Clone(all), func(j registry.Job) bool { return j.State != s }); len(of) > 0 {
			return of, nil
		}
	}
	return nil, errors.New("no job is under way: 'homeward jobs' lists those that ended")
}

// watchJobs shows jobs until each ends: one as a bar in a terminal, several as lines with their ids.
func watchJobs(c *cobra.Command, r *registry.Registry, all []registry.Job) error {
	errs := make([]error, len(all))
	var watching sync.WaitGroup
	for i, j := range all {
		watching.Go(func() { errs[i] = watchJob(c, r, j.ID, len(all) > 1) })
	}
	watching.Wait()
	return errors.Join(errs...)
}

func watchJob(c *cobra.Command, r *registry.Registry, id registry.JobID, beside bool) error {
	out := c.ErrOrStderr()
	s := newShow(out, !beside && onTerminal(out))
	if beside {
		s.before = string(id) + " "
	}
	j, err := watch(c.Context(), r, id, s)
	s.end()
	if err != nil {
		return err
	}
	if c.Context().Err() != nil {
		fmt.Fprintf(out, "Job %s goes on.\n", j.ID)
		return nil
	}
	if err := stopped(j); err != nil {
		return err
	}
	fmt.Fprintf(out, "Job %s is done.\n", j.ID)
	return nil
}

func (o *options) wishCommand(use, short string, w registry.JobWish) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(1, 1, "the id of a job"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withJob(c, given[0], func(r *registry.Registry, j registry.Job) error {
				if j.State.Finished() {
					return fmt.Errorf("job %s is %s already", j.ID, j.State)
				}
				j, err := r.WishJob(c.Context(), j.ID, w)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(c.OutOrStdout(), toJobRow(j))
				}
				say := c.ErrOrStderr()
				switch {
				case j.Wish != registry.NoWish:
					fmt.Fprintf(say, "Job %s stops at its next step.\n", j.ID)
				case j.State == registry.JobQueued:
					fmt.Fprintf(say, "Job %s is queued: 'homeward serve' goes on with it, or the command that made it.\n", j.ID)
				default:
					fmt.Fprintf(say, "Job %s is %s.\n", j.ID, j.State)
				}
				return nil
			})
		},
	}
}

func (o *options) printJob(w io.Writer, j registry.Job) error {
	if o.json {
		return printJSON(w, toJobRow(j))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" && value != "-" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	line("id", string(j.ID))
	line("kind", string(j.Kind))
	line("about", j.About)
	line("state", stateOf(j))
	line("done", figures(j))
	line("rate", rateOf(j))
	line("left", leftOf(j))
	for _, count := range speed(registry.Job{Progress: registry.Progress{Counts: j.Progress.Counts}}) {
		line("", count)
	}
	line("tries", fmt.Sprint(j.Tries))
	line("reason", oneLine(j.Reason))
	if j.State == registry.JobQueued && j.Due.After(time.Now()) {
		line("tried again", clockTime(j.Due))
	}
	line("made by", j.CreatedBy)
	line("made", clockTime(j.CreatedAt))
	line("begun", clockTime(j.StartedAt))
	line("has run for", j.Spent.Round(time.Second).String())
	line("last heard of", clockTime(j.UpdatedAt))
	line("ended", clockTime(j.EndedAt))
	return t.Flush()
}
