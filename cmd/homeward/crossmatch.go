package main

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/registry"
)

// crossmatchDone is what a cross-match prints as JSON.
type crossmatchDone struct {
	Job      registry.JobID `json:"job"`
	Compared int64          `json:"compared"` // cases
	Pairs    int64          `json:"pairs"`    // of cases, each counted from either side
	InFull   int64          `json:"in_full"`  // pairs
	Opened   int64          `json:"opened"`   // leads
	Changed  int64          `json:"changed"`  // leads, those opened among them
	Seconds  float64        `json:"seconds"`
}

func crossmatchCommand(o *options) *cobra.Command {
	var threshold float64
	var detach bool
	c := &cobra.Command{
		Use:   "crossmatch",
		Short: "Compare every missing case with every found one, and make the leads",
		Long: `Compare every open missing case with every open found one, at once, and make the leads that come of it.

Cases that change are compared without it, by 'homeward serve'. It is for what stands there already: after a large import, which it
takes up far faster than one case after the other, and after --lead-threshold was lowered, which otherwise counts only for
cases that change from then on. A lead that is there stays one, with its verdicts; it gets the strength that it now has.

It may be ended at any moment. The same command goes on where it stopped.`,
		Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if math.IsNaN(threshold) || math.IsInf(threshold, 0) {
				return usageError{fmt.Errorf("--lead-threshold %g: give a number, such as %g", threshold, finder.DefaultLeadThreshold)}
			}
			n := registry.NewJob{Kind: registry.JobCrossmatch, About: finder.CrossmatchAbout, Args: finder.CrossmatchArgs{Threshold: threshold}}
			if detach {
				return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
					if err := noOtherCrossmatch(c, r, threshold); err != nil {
						return err
					}
					_, err := o.runJob(c, r, nil, n, true)
					return err
				})
			}
			return o.withFinder(c.Context(), true, func(f *finder.Finder) error {
				if err := noOtherCrossmatch(c, f.Registry, threshold); err != nil {
					return err
				}
				j, err := o.runJob(c, f.Registry, handlers(o, f), n, false)
				if err != nil {
					return err
				}
				counts := j.Progress.Counts
				done := crossmatchDone{j.ID, counts[finder.CrossCompared], counts[finder.CrossPairs], counts[finder.CrossInFull],
					counts[finder.CrossOpened], counts[finder.CrossChanged], j.Spent.Seconds()}
				if o.json {
					return printJSON(c.OutOrStdout(), done)
				}
				fmt.Fprintf(c.OutOrStdout(), "Cases compared: %d, with %s, each from either side; compared in full: %d.\n", done.Compared, many(done.Pairs, "pair"), done.InFull)
				fmt.Fprintf(c.OutOrStdout(), "Leads: %d opened, %d of those there before changed.\n", done.Opened, done.Changed-done.Opened)
				return nil
			})
		},
	}
	c.Flags().Float64Var(&threshold, "lead-threshold", finder.DefaultLeadThreshold, "log10 of the likelihood ratio from which a pair becomes a lead")
	c.Flags().BoolVar(&detach, "detach", false, "leave it to a running 'homeward serve'")
	return c
}

// noOtherCrossmatch refuses to go on with one that was begun with another threshold: it would not do what is asked for.
func noOtherCrossmatch(c *cobra.Command, r *registry.Registry, threshold float64) error {
	all, err := r.Jobs(c.Context(), registry.MaxListed) // unfinished ones come first
	if err != nil {
		return err
	}
	for _, j := range all {
		if j.Kind != registry.JobCrossmatch || j.State.Finished() {
			continue
		}
		var a finder.CrossmatchArgs
		if err := json.Unmarshal(j.Args, &a); err != nil || a.Threshold != threshold {
			return fmt.Errorf("job %[1]s is a cross-match that was begun with --lead-threshold %[2]g: give that to go on with it, or give it up with 'homeward jobs cancel %[1]s'", j.ID, a.Threshold)
		}
	}
	return nil
}
