package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"homeward/registry"
)

// retentionRow is a case that will be destroyed as `--json` prints it.
type retentionRow struct {
	Case     registry.CaseID `json:"case"`
	Number   string          `json:"number"`
	ClosedAs string          `json:"closed_as"`
	Destroy  time.Time       `json:"destroy"`
}

func retentionCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "retention",
		Short: "List the closed cases that will be destroyed, and vouch for the clock",
		Long: `List the closed cases that will be destroyed, with key, photos, faces and templates, and when.

The server destroys them when their time has come. When the machine's clock has jumped by days, it destroys nothing for a day,
unless 'retention confirm-clock' says that the clock is right.`,
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do: retention list or retention confirm-clock")}
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List the closed cases and when they will be destroyed, soonest first", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				due, err := r.DueForDestruction(c.Context(), registry.MaxListed)
				if err != nil {
					return err
				}
				rows := make([]retentionRow, len(due))
				for i, d := range due {
					rows[i] = retentionRow{d.ID, d.Number(), d.ClosedAs, d.Destroy}
				}
				return printRows(c.OutOrStdout(), o.json, rows, "CASE\tNUMBER\tCLOSED AS\tDESTROYED ON", func(d retentionRow) string {
					return fmt.Sprintf("%s\t%s\t%s\t%s", d.Case, d.Number, d.ClosedAs, day(&d.Destroy))
				})
			})
		},
	}
	confirm := &cobra.Command{
		Use: "confirm-clock", Short: "Say that the machine's clock is right, after it has jumped", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				if err := r.ConfirmClock(c.Context()); err != nil {
					return err
				}
				fmt.Fprintf(c.ErrOrStderr(), "The clock is taken to be right: %s. Cases whose time has come will be destroyed.\n", time.Now().Format(time.DateTime))
				return nil
			})
		},
	}
	c.AddCommand(list, confirm)
	return c
}
