package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/registry"
)

// generationRow is a generation as `--json` prints it.
type generationRow struct {
	ID        string                   `json:"id"`
	Set       string                   `json:"set"`
	Metric    string                   `json:"metric"`
	State     registry.GenerationState `json:"state"`
	Done      int                      `json:"photos"`
	SetAside  int                      `json:"set_aside"`
	Missing   int                      `json:"missing"`
	Since     *time.Time               `json:"since,omitempty"`
	CreatedAt time.Time                `json:"created_at"`
	Report    *finder.Evaluation       `json:"evaluation,omitempty"`
}

func reindexCommand(o *options) *cobra.Command {
	var metric string
	var then, detach bool
	var threshold float64
	c := &cobra.Command{
		Use:   "reindex --set NAME [--metric NAME]",
		Short: "Go over to another model set or metric, and back",
		Long: `Build templates under another model set or metric beside those that answer, and say what a switch would change.

The service runs on the old ones meanwhile. What is built is stored photo by photo: the same command goes on where it was stopped. Another metric
for the same models reads no photo and takes seconds. Nothing answers with it until 'homeward reindex switch', or --switch, and
'homeward reindex back' goes back. A running server keeps what it does not answer with current, and follows a switch within seconds.`,
		Example: `  homeward reindex --set better            # builds beside, and prints before and after
  homeward reindex switch better
  homeward reindex back
  homeward reindex drop better`,
		Args: args(0, 0, "no arguments, or list, show, switch, back or drop"),
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("set") && metric == "" {
				return usageError{errors.New("say what to go over to: --set NAME, --metric NAME or both; 'homeward reindex list' shows what there is")}
			}
			if math.IsNaN(threshold) || math.IsInf(threshold, 0) {
				return usageError{fmt.Errorf("--lead-threshold %g: give a number", threshold)}
			}
			to := ""
			if c.Flags().Changed("set") {
				to = o.set
			}
			return o.withOwnSet(c.Context(), threshold, func(f *finder.Finder) error {
				return o.reindex(c, f, to, metric, then, detach, threshold)
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&metric, "metric", "", "name of the metric, a file of metrics/ in the models' directory; by default the set's own")
	fl.BoolVar(&then, "switch", false, "switch to it when it is ready")
	fl.BoolVar(&detach, "detach", false, "leave the work to a running server")
	c.PersistentFlags().Float64Var(&threshold, "lead-threshold", finder.DefaultLeadThreshold, "log10 of the likelihood ratio from which a pair becomes a lead, as homeward serve has it")
	c.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the model sets and metrics that the registry has templates under", Args: args(0, 0, "no arguments"),
			RunE: func(c *cobra.Command, _ []string) error {
				return o.withRegistry(c.Context(), true, func(r *registry.Registry) error { return o.listGenerations(c, r) })
			},
		},
		&cobra.Command{
			Use: "show ID|NAME", Short: "Show what a switch to one would change", Args: args(1, 1, "the id of a generation, or its set's name"),
			RunE: func(c *cobra.Command, given []string) error {
				return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
					g, err := findGeneration(c.Context(), r, given[0])
					if err != nil {
						return err
					}
					return o.showGeneration(c.OutOrStdout(), g)
				})
			},
		},
		&cobra.Command{
			Use: "switch ID|NAME", Short: "Answer with one that is ready or kept", Args: args(1, 1, "the id of a generation, or its set's name"),
			RunE: func(c *cobra.Command, given []string) error {
				return o.withOwnSet(c.Context(), threshold, func(f *finder.Finder) error {
					g, err := findGeneration(c.Context(), f.Registry, given[0])
					if err != nil {
						return err
					}
					return switchTo(c, f, g)
				})
			},
		},
		&cobra.Command{
			Use: "back", Short: "Answer again with the one before; twice is forward again", Args: args(0, 0, "no arguments"),
			RunE: func(c *cobra.Command, _ []string) error {
				return o.withOwnSet(c.Context(), threshold, func(f *finder.Finder) error {
					before, err := f.Registry.ActiveGeneration(c.Context())
					if err != nil {
						return err
					}
					g, err := lastKept(c.Context(), f.Registry)
					if err != nil {
						return err
					}
					if err := switchTo(c, f, g); err != nil {
						return err
					}
					fmt.Fprintf(c.OutOrStdout(), "Before that, set %[1]s with metric %[2]s answered: 'homeward reindex back' once more would go forward to it.\n", before.Name, before.Metric)
					return nil
				})
			},
		},
		&cobra.Command{
			Use: "drop ID|NAME", Short: "Delete all that was made under one", Args: args(1, 1, "the id of a generation, or its set's name"),
			RunE: func(c *cobra.Command, given []string) error {
				return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
					g, err := findGeneration(c.Context(), r, given[0])
					if err != nil {
						return err
					}
					if err := r.Drop(c.Context(), g.ID); err != nil {
						return err
					}
					fmt.Fprintf(c.OutOrStdout(), "Dropped: set %s, metric %s (%s).\n", g.Name, g.Metric, g.ID)
					return nil
				})
			},
		})
	return c
}

// withOwnSet opens the registry and the models that it works with, whatever --set names.
func (o *options) withOwnSet(ctx context.Context, threshold float64, do func(*finder.Finder) error) error {
	config := o.config()
	config.Existing, config.Set, config.LeadThreshold = true, "", threshold
	return withConfig(ctx, config, do)
}

func (o *options) reindex(c *cobra.Command, f *finder.Finder, set, metric string, then, detach bool, threshold float64) error {
	ctx, out := c.Context(), c.OutOrStdout()
	if set == "" {
		set = f.Set().Name
	}
	unfinished, err := f.Registry.Jobs(ctx, registry.MaxListed)
	if err != nil {
		return err
	}
	g, err := f.PlanReindex(ctx, set, metric)
	if errors.Is(err, finder.ErrActive) {
		fmt.Fprintf(out, "The registry works with set %s and metric %s already.\n", g.Name, g.Metric)
		return nil
	}
	if err != nil {
		return err
	}
	for _, j := range unfinished {
		if j.Kind == registry.JobReindex && j.State == registry.JobRunning && j.About != g.ID && !detach {
			return fmt.Errorf("job %[1]s is building another set: wait for it, pause it with 'homeward jobs pause %[1]s', or queue this one behind it with --detach", j.ID)
		}
	}
	j, err := o.runJob(c, f.Registry, handlers(o, f), registry.NewJob{
		Kind: registry.JobReindex, About: g.ID, Args: finder.ReindexArgs{Switch: then, Threshold: threshold},
	}, detach)
	if err != nil {
		return err
	}
	if detach {
		if o.json {
			return printJSON(out, toJobRow(j))
		}
		return nil
	}
	if g, err = findGeneration(ctx, f.Registry, g.ID); err != nil {
		return err
	}
	if err := o.showGeneration(out, g); err != nil || o.json {
		return err
	}
	if then && g.State != registry.GenerationActive { // the job was begun without it
		return switchTo(c, f, g)
	}
	if then {
		return switched(c, g)
	}
	fmt.Fprintf(out, "\nNothing has changed yet: homeward reindex switch %s\n", g.ID)
	return nil
}

// switchTo switches, and says so.
func switchTo(c *cobra.Command, f *finder.Finder, g registry.Generation) error {
	if err := f.SwitchTo(c.Context(), g.ID); err != nil {
		return err
	}
	return switched(c, g)
}

func switched(c *cobra.Command, g registry.Generation) error {
	fmt.Fprintf(c.OutOrStdout(), "The registry works with set %s and metric %s now. A running server follows within seconds, and compares the two galleries anew; without one, run homeward crossmatch.\n", g.Name, g.Metric)
	return nil
}

// findGeneration finds a generation by its id, its set's name, or its set's and its metric's ("default/wider").
func findGeneration(ctx context.Context, r *registry.Registry, name string) (registry.Generation, error) {
	all, err := r.Generations(ctx)
	if err != nil {
		return registry.Generation{}, err
	}
	var found []registry.Generation
	for _, g := range all {
		if g.ID == name {
			return g, nil
		}
		if g.Name == name || g.Name+"/"+g.Metric == name {
			found = append(found, g)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) == 0 {
		return registry.Generation{}, fmt.Errorf("there is no %q: 'homeward reindex list' shows what there is", name)
	}
	var ids []string
	for _, g := range found {
		ids = append(ids, fmt.Sprintf("%s (%s/%s, %s)", g.ID, g.Name, g.Metric, g.State))
	}
	return registry.Generation{}, usageError{fmt.Errorf("%q may be %s: give the id", name, strings.Join(ids, " or "))}
}

// lastKept is the generation that answered before.
func lastKept(ctx context.Context, r *registry.Registry) (last registry.Generation, err error) {
	all, err := r.Generations(ctx)
	if err != nil {
		return last, err
	}
	for _, g := range all {
		if g.State == registry.GenerationKept && g.ActiveAt.After(last.ActiveAt) {
			last = g
		}
	}
	if last.ID == "" {
		return last, errors.New("there is none to go back to: no other has answered yet, or it was dropped")
	}
	return last, nil
}

func (o *options) listGenerations(c *cobra.Command, r *registry.Registry) error {
	all, err := r.Generations(c.Context())
	if err != nil {
		return err
	}
	rows := make([]generationRow, len(all))
	for i, g := range all {
		if rows[i], err = toGenerationRow(g); err != nil {
			return err
		}
		rows[i].Report = nil // show has it
	}
	return printRows(c.OutOrStdout(), o.json, rows, "ID\tSET\tMETRIC\tSTATE\tPHOTOS\tSET ASIDE\tMISSING\tSINCE", func(g generationRow) string {
		since := g.CreatedAt
		if g.Since != nil {
			since = *g.Since
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s", g.ID, or(g.Set), or(g.Metric), g.State, g.Done, g.SetAside, g.Missing, clockTime(since))
	})
}

func toGenerationRow(g registry.Generation) (generationRow, error) {
	row := generationRow{ID: g.ID, Set: g.Name, Metric: g.Metric, State: g.State, Done: g.Done, SetAside: g.SetAside, Missing: g.Missing, CreatedAt: g.CreatedAt}
	if !g.ActiveAt.IsZero() {
		row.Since = &g.ActiveAt
	}
	if g.Report == nil {
		return row, nil
	}
	if err := json.Unmarshal(g.Report, &row.Report); err != nil {
		return row, fmt.Errorf("the evaluation of %s cannot be read: run homeward reindex --set %s --metric %s again: %w", g.ID, g.Name, g.Metric, err)
	}
	return row, nil
}

func (o *options) showGeneration(w io.Writer, g registry.Generation) error {
	row, err := toGenerationRow(g)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(w, row)
	}
	fmt.Fprintf(w, "set %s, metric %s, %s\nid %s\n", g.Name, g.Metric, g.State, g.ID)
	if row.Report == nil {
		fmt.Fprintln(w, "It has not been evaluated: nothing was built beside another yet.")
		return nil
	}
	return printChange(w, *row.Report)
}

// printChange prints what a switch would change.
func printChange(w io.Writer, e finder.Evaluation) error {
	fmt.Fprintf(w, "evaluated %s against %s\n\n", clockTime(e.At), e.Before)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, before, after any) { fmt.Fprintf(t, "%s\t%v\t%v\n", what, before, after) }
	row("", "BEFORE", "AFTER")
	row("photos by which a child can be found", e.Photos.Before, e.Photos.After)
	if r := e.Reunions; r.Pairs > 0 {
		b, a := r.Before, r.After
		row("confirmed pairs with faces on both sides", fmt.Sprintf("%d of %d", b.Compared, r.Pairs), fmt.Sprintf("%d of %d", a.Compared, r.Pairs))
		row("  log10 of the likelihood ratio, median", score(b.Median), score(a.Median))
		row("  the same, least", score(b.Least), score(a.Least))
		row("  at or over the threshold", b.Over, a.Over)
		row("  searches that have the mate first", fmt.Sprintf("%d of %d", b.First, b.Searches), fmt.Sprintf("%d of %d", a.First, a.Searches))
		row("  among the first ten", fmt.Sprintf("%d of %d", b.FirstTen, b.Searches), fmt.Sprintf("%d of %d", a.FirstTen, a.Searches))
	}
	s := e.Sample
	row(fmt.Sprintf("leads of %d missing and %d found cases", s.Missing, s.Found), s.Stay.Count+s.Vanish.Count, s.Stay.Count+s.Appear.Count)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if e.Reunions.Pairs == 0 {
		fmt.Fprintln(w, "There are no confirmed pairs to measure on: nothing above says which of the two finds children better. homeward eval does, on labelled photos.")
	}
	fmt.Fprintf(w, "Of those leads, %d stay, %d would appear and %d vanish, at a threshold of %g.\n", s.Stay.Count, s.Appear.Count, s.Vanish.Count, e.Threshold)
	fmt.Fprintf(w, "Of %d leads that there are, %d fall below it and %d rise to it. Judged leads stay judged.\n", e.Leads.Known, e.Leads.Fall, e.Leads.Rise)
	for _, l := range e.Leads.Valued.First {
		after := "no face to compare"
		if l.After != nil {
			after = score(*l.After)
		}
		fmt.Fprintf(w, "  falls: lead %s (%s): %s before, %s after\n", l.Lead, l.State, score(l.Before), after)
	}
	names(w, "A child could be found by %d more photos", e.Photos.Gained)
	names(w, "A child could no longer be found by %d photos", e.Photos.Lost)
	return nil
}

func names[T ~string](w io.Writer, what string, some finder.Some[T]) {
	if some.Count == 0 {
		return
	}
	ids := make([]string, len(some.First))
	for i, id := range some.First {
		ids[i] = string(id)
	}
	more := ""
	if some.Count > len(ids) {
		more = ", …"
	}
	fmt.Fprintf(w, what+": %s%s\n", some.Count, strings.Join(ids, ", "), more)
}

func score(x float64) string { return fmt.Sprintf("%+.2f", x) }
