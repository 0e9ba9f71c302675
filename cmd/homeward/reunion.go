package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"homeward/registry"
)

// reunionRow is a reunion as `--json` prints it.
type reunionRow struct {
	Missing     registry.CaseID `json:"missing"`
	Found       registry.CaseID `json:"found"`
	Laboratory  string          `json:"laboratory"`
	Kit         string          `json:"kit"`
	ConfirmedOn registry.Date   `json:"confirmed_on"`
	RecordedBy  string          `json:"recorded_by,omitempty"`
	RecordedAt  time.Time       `json:"recorded_at"`
}

func reunionCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "reunion",
		Short: "Record the children that DNA has confirmed, list them, and take a record back",
		Long: `Record that a missing case and a found case are one child.

Only a DNA result may be recorded: a laboratory has compared the child with the family and confirmed that they belong together.
A score, a likeness, an examiner's opinion or a family's own word is a lead and not a result, however strong it is.
The metric is trained on these records: one that is wrong makes the search for every other child worse.`,
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do with reunions: reunion add MISSING FOUND, reunion list or reunion remove MISSING FOUND")}
		},
	}
	c.AddCommand(reunionAdd(o), reunionList(o), reunionRemove(o))
	return c
}

func reunionAdd(o *options) *cobra.Command {
	var laboratory, kit, on, by string
	c := &cobra.Command{
		Use:   "add MISSING FOUND",
		Short: "Record that DNA has confirmed a missing and a found case to be one child",
		Long: `Record that DNA has confirmed a missing and a found case to be one child.

Only a DNA result may be recorded, with the laboratory that made it, its number of the kit or sample, and its date.
A score, a likeness, an examiner's opinion or a family's own word is a lead and not a result, however strong it is.`,
		Args: args(2, 2, "the id of the missing case and that of the found case"),
		RunE: func(c *cobra.Command, given []string) error {
			for _, f := range []struct{ name, value, want string }{
				{"laboratory", laboratory, "name the laboratory that compared the DNA"},
				{"kit", kit, "give the laboratory's number of the kit or sample"},
				{"on", on, "give the date of the laboratory's result"},
			} {
				if f.value == "" {
					return usageError{fmt.Errorf("--%s is missing: %s. Only a DNA result may be recorded", f.name, f.want)}
				}
			}
			date, err := registry.ParseDate(on)
			if err != nil {
				return usageError{fmt.Errorf("--on: %w", err)}
			}
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				return r.RecordReunion(c.Context(), registry.Reunion{
					Missing: registry.CaseID(given[0]), Found: registry.CaseID(given[1]),
					Laboratory: laboratory, Kit: kit, ConfirmedOn: date, RecordedBy: by,
				})
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&laboratory, "laboratory", "", "laboratory that compared the DNA")
	fl.StringVar(&kit, "kit", "", "the laboratory's number of the kit or sample")
	fl.StringVar(&on, "on", "", "date of the laboratory's result, as 2024-03-01")
	fl.StringVar(&by, "by", "", "who records it")
	return c
}

func reunionList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the reunions recorded", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				all, err := r.Reunions(c.Context())
				if err != nil {
					return err
				}
				rows := make([]reunionRow, len(all))
				for i, u := range all {
					rows[i] = reunionRow(u)
				}
				return printRows(c.OutOrStdout(), o.json, rows, "MISSING\tFOUND\tLABORATORY\tKIT\tCONFIRMED\tBY\tRECORDED", func(u reunionRow) string {
					return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", u.Missing, u.Found, u.Laboratory, u.Kit, u.ConfirmedOn, or(u.RecordedBy), day(&u.RecordedAt))
				})
			})
		},
	}
}

func reunionRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "remove MISSING FOUND", Short: "Take back a reunion that was recorded by mistake; the cases stay",
		Args: args(2, 2, "the id of the missing case and that of the found case"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				return r.RemoveReunion(c.Context(), registry.CaseID(given[0]), registry.CaseID(given[1]))
			})
		},
	}
}
