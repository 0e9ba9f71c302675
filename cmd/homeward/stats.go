package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"homeward/registry"
)

func statsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Count what the registry holds: cases, photos, faces, leads, what waits, and room on the disk",
		Args:  args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				s, err := r.Stats(c.Context())
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(c.OutOrStdout(), s)
				}
				t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				line := func(what string, value any) { fmt.Fprintf(t, "%s\t%v\n", what, value) }
				line("cases", parts(s.Cases))
				line("photos", parts(s.Photos)+", "+bytesText(s.PhotoBytes))
				line("faces", s.Faces)
				line("child not chosen", many(s.Undecided, "photo"))
				line("without a face", many(s.Faceless, "photo"))
				line("same photo elsewhere", many(s.Duplicates, "photo"))
				line("templates", parts(s.Templates))
				line("model set in use", or(s.Active))
				line("leads", parts(s.Leads))
				line("reunions", s.Reunions)
				line("published", s.Published)
				waits := many(s.Queued, "photo")
				if !s.OldestQueued.IsZero() {
					waits += ", the oldest since " + s.OldestQueued.Local().Format(time.DateTime)
				}
				line("to be analysed", waits)
				line("to be compared", many(s.Due, "case"))
				line("jobs", parts(s.Jobs))
				line("accounts", parts(s.Accounts))
				line("audit", fmt.Sprintf("%d entries", s.Entries))
				line("to be destroyed", many(s.DestroyDue, "closed case")+": homeward retention list")
				line("database", bytesText(s.Database)+", log "+bytesText(s.Log))
				line("disk", bytesText(s.Free)+" of "+bytesText(s.Disk)+" free")
				return t.Flush()
			})
		},
	}
}

// parts is a total with what it is made of, the most first.
func parts(counts map[string]int64) string {
	var total int64
	var of []string
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		total += counts[name]
		of = append(of, fmt.Sprintf("%d %s", counts[name], strings.ReplaceAll(name, ".", " ")))
	}
	if len(of) == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(of, ", "))
}
