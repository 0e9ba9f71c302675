package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"homeward/jobs"
	"homeward/registry"
)

// This file has what the commands share whose work is a job: import, reindex, crossmatch, backup.

// runJob makes a job and does it in the foreground, with its progress on standard error; or, with detach, leaves it to a server. Where an
// unfinished job of the kind about the same is there, it goes on with that one. The error says what to do: also when the job was paused
// or cancelled meanwhile, as what was asked for is then not done.
func (o *options) runJob(c *cobra.Command, r *registry.Registry, handlers map[registry.JobKind]jobs.Handler, n registry.NewJob, detach bool) (registry.Job, error) {
	ctx, say := c.Context(), c.ErrOrStderr()
	n.Here = !detach
	j, existed, err := r.Enqueue(ctx, n)
	if err != nil {
		return j, err
	}
	busy := fmt.Errorf("job %[1]s is at this already, in another process: watch it with 'homeward jobs watch %[1]s', or pause it with 'homeward jobs pause %[1]s' and run this command again to go on here", j.ID)
	if detach {
		switch {
		case existed && j.State == registry.JobRunning:
			return j, busy
		case existed && j.State != registry.JobQueued:
			if j, err = r.WishJob(ctx, j.ID, registry.NoWish); err != nil {
				return j, err
			}
			fmt.Fprintf(say, "Going on with %s.\n", begun(j))
		}
		fmt.Fprintf(say, "Job %[1]s waits for 'homeward serve', which does it. Watch it with 'homeward jobs watch %[1]s'.\n", j.ID)
		return j, nil
	}
	if existed && j.State != registry.JobRunning {
		fmt.Fprintf(say, "Going on with %s.\n", begun(j))
	}
	show := newShow(say, onTerminal(say))
	defer show.end()
	runner := jobs.Runner{Registry: r, Handlers: handlers}
	after, err := runner.One(ctx, j.ID, show.tell)
	show.end()
	if errors.Is(err, registry.ErrConflict) && after.ID == "" {
		return j, busy
	}
	if err != nil {
		if after.State == registry.JobParked {
			return after, fmt.Errorf("job %s: %w. When that is put right, the same command goes on", j.ID, err)
		}
		return after, fmt.Errorf("job %s: %w. The same command goes on where it stopped", j.ID, err)
	}
	return after, stopped(after)
}

// stopped is the error of a job that is not done, nil of one that is.
func stopped(j registry.Job) error {
	switch j.State {
	case registry.JobPaused:
		return fmt.Errorf("job %[1]s is paused: the same command or 'homeward jobs resume %[1]s' goes on where it stopped", j.ID)
	case registry.JobCancelled:
		return fmt.Errorf("job %s was cancelled", j.ID)
	case registry.JobParked:
		return fmt.Errorf("job %[1]s is parked: %[2]s. When that is put right, 'homeward jobs resume %[1]s' goes on", j.ID, oneLine(j.Reason))
	}
	return nil
}

// begun says which job it is that goes on, and how far it is.
func begun(j registry.Job) string {
	s := fmt.Sprintf("job %s of %s", j.ID, clockTime(j.CreatedAt))
	if p := figures(j); p != "" {
		s += ", which is at " + p
	}
	return s
}

func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// lineEvery is how often a log gets a line about a job under way.
const lineEvery = 10 * time.Second

// show shows a job's progress: as a bar in a terminal, else as a line now and then.
type show struct {
	out      io.Writer
	terminal bool
	before   string                   // each line
	bar      *progressbar.ProgressBar // of the stage; nil before the first
	stage    string
	said     string    // the last line
	at       time.Time // when it was said
}

func newShow(w io.Writer, terminal bool) *show { return &show{out: w, terminal: terminal} }

// tell shows the job as it is.
func (s *show) tell(j registry.Job) {
	if s.terminal {
		s.draw(j)
		return
	}
	line := jobLine(j)
	if line == s.said || j.Progress.Stage == s.stage && s.said != "" && time.Since(s.at) < lineEvery {
		return
	}
	s.stage = j.Progress.Stage
	s.line(line)
}

func (s *show) line(line string) {
	s.said, s.at = line, time.Now()
	fmt.Fprintln(s.out, s.before+line)
}

func (s *show) draw(j registry.Job) {
	p := j.Progress
	if p.Total <= 0 {
		p.Total = -1 // a spinner
	}
	if s.bar == nil || s.stage != p.Stage {
		if s.bar != nil {
			_ = s.bar.Clear() // a terminal that is gone is no reason to stop
		}
		s.stage = p.Stage
		s.bar = progressbar.NewOptions64(p.Total, progressbar.OptionSetWriter(s.out), progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
			progressbar.OptionShowDescriptionAtLineEnd(), progressbar.OptionClearOnFinish())
	}
	// Rate and time left are the job's own: the bar's would begin anew with every process that goes on with it.
	s.bar.Describe(strings.Join(speed(j), "  "))
	if p.Total != s.bar.GetMax64() {
		s.bar.ChangeMax64(p.Total)
	}
	_ = s.bar.Set64(p.Done)
}

// end leaves the terminal as it was found.
func (s *show) end() {
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}

// jobLine is a job in a line of a log.
func jobLine(j registry.Job) string {
	parts := []string{fmt.Sprintf("%s %s %s", clockTime(time.Now()), j.Kind, j.State)}
	if p := figures(j); p != "" && j.State != registry.JobDone {
		parts = append(parts, p)
	}
	return strings.Join(append(parts, speed(j)...), ", ")
}

// figures say how far a job is, "reading 3/10 (30%)", or what came of one that is done: "4 added, 1 unreadable".
func figures(j registry.Job) string {
	p := j.Progress
	var parts []string
	if j.State == registry.JobDone {
		for _, name := range counted(p) {
			switch n := p.Counts[name]; {
			case n == 0:
			case j.Kind == registry.JobBackup: // one count is the snapshot's number
				parts = append(parts, fmt.Sprintf("%s %d", words(name), n))
			default:
				parts = append(parts, fmt.Sprintf("%d %s", n, words(name)))
			}
		}
		return strings.Join(parts, ", ")
	}
	if p.Stage != "" {
		parts = append(parts, words(p.Stage))
	}
	switch {
	case p.Total > 0:
		parts = append(parts, fmt.Sprintf("%d/%d (%d%%)", p.Done, p.Total, min(100*p.Done/p.Total, 100)))
	case p.Done > 0:
		parts = append(parts, fmt.Sprint(p.Done))
	}
	return strings.Join(parts, " ")
}

// speed says how fast a job goes, how long it takes yet, and what came of what it did.
func speed(j registry.Job) []string {
	var parts []string
	if rate := rateOf(j); rate != "" {
		parts = append(parts, rate)
	}
	if left := leftOf(j); left != "" {
		parts = append(parts, left+" left")
	}
	for _, name := range counted(j.Progress) {
		parts = append(parts, fmt.Sprintf("%s %d", words(name), j.Progress.Counts[name]))
	}
	return parts
}

// counted are the names of what a job counts, without where the time goes.
func counted(p registry.Progress) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Counts)), func(name string) bool { return strings.HasPrefix(name, "ms_") })
}

// rateOf is how fast a running job goes.
func rateOf(j registry.Job) string {
	if j.State != registry.JobRunning || j.Progress.Rate <= 0 {
		return ""
	}
	return fmt.Sprintf("%.3g/s", j.Progress.Rate)
}

// leftOf is how long a running job's stage takes yet.
func leftOf(j registry.Job) string {
	left, ok := j.Progress.Left()
	if !ok || j.State != registry.JobRunning {
		return ""
	}
	if left < time.Minute {
		return left.Round(time.Second).String()
	}
	return strings.TrimSuffix(left.Round(time.Minute).String(), "0s")
}

// words makes a code readable.
func words(code string) string { return strings.ReplaceAll(code, "_", " ") }

// oneLine is a text that may have several lines in one.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// watch shows a job until nobody is at it and nobody will be by themselves, or ctx ends.
func watch(ctx context.Context, r *registry.Registry, id registry.JobID, s *show) (registry.Job, error) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		j, err := r.Job(ctx, id)
		if err != nil {
			return j, err
		}
		s.tell(j)
		if j.State != registry.JobQueued && j.State != registry.JobRunning {
			return j, nil
		}
		select {
		case <-ctx.Done():
			return j, nil
		case <-again.C:
		}
	}
}
