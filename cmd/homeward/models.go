package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/models"
)

// modelRow is a card with the state of its files.
type modelRow struct {
	models.Card
	InUse  bool           `json:"in_use"`
	Checks []models.Check `json:"checks"`
}

func modelsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "List the model cards and verify their files",
		Args:  args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cat, set, err := finder.LoadSet(o.config())
			if err != nil {
				return err
			}
			return printModels(c, o, set, cat.Cards(), cat.Verify(c.Context()))
		},
	}
}

func printModels(c *cobra.Command, o *options, set models.Set, cards []models.Card, checks []models.Check) error {
	bad := 0
	rows := make([]modelRow, len(cards))
	for i, card := range cards {
		rows[i] = modelRow{Card: card, InUse: set.Has(card.Name)}
		for _, check := range checks {
			if check.Card == card.Name {
				rows[i].Checks = append(rows[i].Checks, check)
			}
			if check.Card == card.Name && !check.OK() {
				bad++
			}
		}
	}
	out := c.OutOrStdout()
	if o.json {
		err := printJSON(out, struct {
			Set    string     `json:"set"`
			SetID  string     `json:"set_id"`
			Models []modelRow `json:"models"`
		}{set.Name, set.ID, rows})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "set %s, id %s\n", set.Name, set.ID)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "MODEL\tVERSION\tTASK\tIN USE\tLICENCE\tFILE\tSTATE")
		for _, r := range rows {
			used := "no"
			if r.InUse {
				used = "yes"
			}
			for _, check := range r.Checks {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Version, r.Task, used, r.Licence, check.File, check.State)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d model files are missing or changed: run scripts/fetch-models", bad)
	}
	return nil
}
