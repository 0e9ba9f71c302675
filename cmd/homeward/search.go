package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
	"homeward/server"
	"homeward/text"
)

// searching is what `search` was asked for.
type searching struct {
	query         finder.Query
	gallery, sex  string
	childSex      string
	taken         string
	caseID, photo string // one of them
	face          string // of the photo; empty where there is no choice
	closed        bool
}

func searchCommand(o *options) *cobra.Command {
	var (
		s    searching
		face int
	)
	c := &cobra.Command{
		Use:   "search PHOTO",
		Short: "Rank the cases that may be the child in a photo, or in all photos of a case",
		Example: `  homeward search found-child.jpg --child-age 9 --taken 2009
  homeward search --case c_k3v… --faces-alone`,
		Args: args(0, 1, "one photo"),
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) == 1 {
				s.photo = given[0]
			}
			if (s.photo == "") == (s.caseID == "") {
				return usageError{errors.New("search takes one photo, or --case ID")}
			}
			if c.Flags().Changed("face") {
				s.face = strconv.Itoa(face)
			}
			if err := s.check(c.Flags().Changed("gallery")); err != nil {
				return err
			}
			return o.withFinder(c.Context(), true, func(f *finder.Finder) error {
				return s.run(c.Context(), f, c.OutOrStdout(), o.json)
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&s.gallery, "gallery", "missing", "gallery to search: missing or found; for a case, the other one")
	fl.StringVar(&s.caseID, "case", "", "search with all photos of this case")
	fl.StringVar(&s.sex, "sex", "", "only female or male; cases of unknown sex pass too")
	fl.IntVar(&s.query.BornFrom, "born-from", 0, "only born this year or later")
	fl.IntVar(&s.query.BornTo, "born-to", 0, "only born this year or earlier")
	fl.StringVar(&s.query.Words, "words", "", "only cases that hold all of these words")
	fl.IntVar(&s.query.Limit, "limit", 20, "how many candidates")
	fl.BoolVar(&s.closed, "closed", false, "closed cases too")
	fl.IntVar(&face, "face", 0, "which face of the photo is the child, counting from 0")
	fl.StringVar(&s.childSex, "child-sex", "", "sex of the child in the photo: counts as evidence, hides nobody")
	fl.Float64Var(&s.query.About.Age, "child-age", 0, "age in years of the child in the photo, where known")
	fl.StringVar(&s.taken, "taken", "", "when the photo was taken: 2009, 2009-05 or 2009-05-17")
	fl.BoolVar(&s.query.FacesAlone, "faces-alone", false, "leave what the records say out of the ranking")
	return c
}

func (s *searching) check(gallery bool) error {
	if err := checkGallery(s.gallery); err != nil {
		return err
	}
	for flag, sex := range map[string]string{"--sex": s.sex, "--child-sex": s.childSex} {
		if sex != "" && sex != "female" && sex != "male" {
			return usageError{fmt.Errorf("%s %q: choose female or male", flag, sex)}
		}
	}
	if s.query.Limit < 1 {
		return usageError{fmt.Errorf("--limit %d: ask for at least one", s.query.Limit)}
	}
	if a := s.query.About.Age; a < 0 || a > 110 || math.IsNaN(a) {
		return usageError{fmt.Errorf("--child-age %g: give years from 0 to 110", a)}
	}
	var err error
	if s.query.About.Taken, err = registry.ParseDate(s.taken); err != nil {
		return usageError{fmt.Errorf("--taken: %w", err)}
	}
	if s.caseID == "" || gallery {
		s.query.Gallery = registry.Gallery(s.gallery)
	}
	s.query.Sex, s.query.About.Sex = registry.Sex(s.sex), registry.Sex(s.childSex)
	if s.closed {
		s.query.Statuses = []registry.Status{registry.StatusOpen, registry.StatusClosed}
	}
	return nil
}

func (s *searching) run(ctx context.Context, f *finder.Finder, w io.Writer, asJSON bool) error {
	if s.query.Words != "" {
		if err := f.LoadWords(ctx); err != nil {
			return err
		}
	}
	if st, err := f.Status(ctx); err == nil && st.Queued > 0 {
		hint := "start `homeward serve`, or run `homeward import` again"
		if at, err := f.Registry.Analysing(ctx); err == nil && at {
			hint = "another process is at it; search again in a while"
		}
		fmt.Fprintf(os.Stderr, "Not analysed yet, and not to be found: %s; %s.\n", many(st.Queued, "photo"), hint)
	}
	p, err := s.probe(ctx, f)
	if err != nil {
		return err
	}
	say, err := english()
	if err != nil {
		return err
	}
	found, err := server.Search(ctx, f, p, s.face, s.query, say)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, found)
	}
	if found.Face == nil {
		printFaces(w, photoFaces{Path: s.photo, Photo: found.Photo})
		hint := ""
		if len(found.Photo.Faces) > 1 {
			hint = " Name it with --face N."
		}
		return fmt.Errorf("%s%s", found.Message, hint)
	}
	printCandidates(w, found)
	return nil
}

func (s *searching) probe(ctx context.Context, f *finder.Finder) (*finder.Probe, error) {
	if s.caseID != "" {
		return f.ProbeCase(ctx, "", registry.CaseID(s.caseID))
	}
	src, err := os.Open(s.photo)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if info, err := src.Stat(); err != nil || info.Size() > finder.MaxPhotoBytes {
		return nil, errors.Join(err, errTooLarge)
	}
	p, err := f.ProbePhoto(ctx, "", src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.photo, err)
	}
	return p, nil
}

// english is what the command line speaks.
func english() (text.Printer, error) {
	c, err := text.Load()
	if err != nil {
		return text.Printer{}, err
	}
	return c.Pick(text.English), nil
}

// printCandidates prints each candidate with why it is one.
func printCandidates(w io.Writer, s api.Search) {
	if len(s.Candidates) == 0 {
		fmt.Fprintf(w, "No %s case has a face to compare with, or none passes the filters.\n", s.Gallery)
		return
	}
	for _, c := range s.Candidates {
		fmt.Fprintf(w, "%d  %+.2f  %s  %s  %s  born %s\n", c.Rank, c.Score, c.Case.ID,
			or(strings.Join(c.Case.Names, ", ")), or(c.Case.Sex), or(c.Case.Born.From))
		fmt.Fprintf(w, "   faces    %+.2f  %s\n", c.Faces.Log10LR, c.Faces.Text)
		fmt.Fprintf(w, "   pair     %+.2f  %s\n", c.Pair.Log10LR, c.Pair.Text)
		for _, f := range c.Plausibility.Factors {
			fmt.Fprintf(w, "   %-7s  %+.2f  %s\n", f.Fact, f.Log10LR, f.Text)
		}
		fmt.Fprintf(w, "   check    %s\n", c.Counter.Text)
	}
	fmt.Fprintln(w, "Numbers are log10 of how many times more likely it is if this is one child than if these are two.")
	fmt.Fprintln(w, s.Caution)
}

// or shows that a fact is not known.
func or(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
