package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"homeward/registry"
)

func regionCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "region",
		Short: "Keep the regions that cases belong to",
		Long: `Keep the regions that cases belong to and that officers are responsible for.

A code covers the codes that go on behind it with a hyphen: an officer of CN is responsible for CN-51 too.`,
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do with regions: region add CODE LANGUAGE=NAME… or region list")}
		},
	}
	add := &cobra.Command{
		Use: "add CODE LANGUAGE=NAME…", Short: "Add a region, or change its names: region add CN-51 en=Sichuan zh=四川",
		Args: args(2, -1, "a code, and the region's name in one language or more, as en=Sichuan"),
		RunE: func(c *cobra.Command, given []string) error {
			g := registry.Region{Code: given[0], Names: make(map[string]string)}
			for _, text := range given[1:] {
				language, name, ok := strings.Cut(text, "=")
				if !ok {
					return usageError{fmt.Errorf("%q: write a name with its language, as en=Sichuan", text)}
				}
				g.Names[language] = name
			}
			return o.withRegistry(c.Context(), false, func(r *registry.Registry) error {
				return r.PutRegion(c.Context(), g)
			})
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List the regions", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				all, err := r.Regions(c.Context())
				if err != nil {
					return err
				}
				if all == nil {
					all = []registry.Region{} // JSON's empty list
				}
				return printRows(c.OutOrStdout(), o.json, all, "CODE\tNAMES", func(g registry.Region) string {
					var names []string
					for _, l := range slices.Sorted(maps.Keys(g.Names)) {
						names = append(names, l+"="+g.Names[l])
					}
					return g.Code + "\t" + strings.Join(names, " ")
				})
			})
		},
	}
	c.AddCommand(add, list)
	return c
}
