package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
	"homeward/server"
)

func searchCommand(o *options) *cobra.Command {
	var (
		q       finder.Query
		gallery string
		sex     string
		closed  bool
		face    int
	)
	c := &cobra.Command{
		Use:   "search PHOTO",
		Short: "Rank the cases that may be the child in a photo",
		Args:  args(1, 1, "one photo"),
		RunE: func(c *cobra.Command, given []string) error {
			q.Gallery, q.Sex = registry.Gallery(gallery), registry.Sex(sex)
			if err := checkGallery(gallery); err != nil {
				return err
			}
			if sex != "" && sex != "female" && sex != "male" {
				return usageError{fmt.Errorf("--sex %q: choose female or male", sex)}
			}
			if q.Limit < 1 {
				return usageError{fmt.Errorf("--limit %d: ask for at least one", q.Limit)}
			}
			if closed {
				q.Statuses = []registry.Status{registry.StatusOpen, registry.StatusClosed}
			}
			which := ""
			if c.Flags().Changed("face") {
				which = strconv.Itoa(face)
			}
			return o.withFinder(c.Context(), true, func(f *finder.Finder) error {
				return search(c.Context(), f, c.OutOrStdout(), o.json, given[0], which, q)
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&gallery, "gallery", "missing", "gallery to search: missing or found")
	fl.StringVar(&sex, "sex", "", "female or male; cases of unknown sex pass too")
	fl.IntVar(&q.BornFrom, "born-from", 0, "born this year or later")
	fl.IntVar(&q.BornTo, "born-to", 0, "born this year or earlier")
	fl.StringVar(&q.Words, "words", "", "only cases that hold all of these words")
	fl.IntVar(&q.Limit, "limit", 20, "how many candidates")
	fl.BoolVar(&closed, "closed", false, "closed cases too")
	fl.IntVar(&face, "face", 0, "which face of the photo is the child, counting from 0")
	return c
}

func search(ctx context.Context, f *finder.Finder, w io.Writer, asJSON bool, path, face string, q finder.Query) error {
	if q.Words != "" {
		if err := f.LoadWords(ctx); err != nil {
			return err
		}
	}
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	if info, err := src.Stat(); err != nil || info.Size() > finder.MaxPhotoBytes {
		return errors.Join(err, errTooLarge)
	}
	if st, err := f.Status(ctx); err == nil && st.Queued > 0 {
		fmt.Fprintf(os.Stderr, "%d photos are not analysed yet and cannot be found: start `homeward serve`, or run `homeward import` again.\n", st.Queued)
	}
	p, err := f.ProbePhoto(ctx, "", src)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	found, err := server.Search(ctx, f, p, face, q)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, found)
	}
	if found.Face == nil {
		printFaces(w, photoFaces{Path: path, Photo: found.Photo})
		hint := ""
		if len(found.Photo.Faces) > 1 {
			hint = " Name it with --face N."
		}
		return fmt.Errorf("%s%s", found.Message, hint)
	}
	return printCandidates(w, found)
}

func printCandidates(w io.Writer, s api.Search) error {
	if len(s.Candidates) == 0 {
		fmt.Fprintf(w, "No %s case has a face to compare with, or none passes the filters.\n", s.Gallery)
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RANK\tSCORE\tCASE\tNAMES\tSEX\tBORN\tPHOTO TAKEN\tAGE THERE")
	for _, c := range s.Candidates {
		fmt.Fprintf(t, "%d\t%.3f\t%s\t%s\t%s\t%s\t%s\tabout %.0f\n", c.Rank, c.Score, c.Case.ID,
			or(strings.Join(c.Case.Names, ", ")), or(c.Case.Sex), or(c.Case.Born.From), or(c.Photo.Taken), c.Face.Age)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, s.Caution)
	return nil
}

// or shows that a fact is not known.
func or(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
