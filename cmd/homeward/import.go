package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/importer"
	"homeward/registry"
)

// shownLines bounds the files that a terminal is told about one by one; the report has all.
const shownLines = 200

func importCommand(o *options) *cobra.Command {
	var gallery, manifest, sheet, report string
	var mapped []string
	var dryRun, detach bool
	var depth int
	c := &cobra.Command{
		Use:   "import DIR|FILE.zip|FILE.tar[.gz|.zst]",
		Short: "Import a folder or an archive of photos, a folder per case, or by a manifest",
		Long: `Import photos into the registry, from a folder, a ZIP or a TAR archive, which is read as it is and never unpacked.

It has a folder for each case, whose name becomes the case's reference. Folders of such folders, as of years, are seen through; where it is
not clear which folders are the cases, say it with --case-depth: 1 for those at the top, 2 for those in them. Or --manifest names a CSV or XLSX file, inside of it or not, with
the columns photo and case, and if you like gallery, names, former_names and aliases (parted by ;), sex, born, born_to, region (a code of homeward region), place, on,
marks, notes and taken. Common Chinese headings are known; others are named with --map, as in --map case=编号 --map photo=照片. CSV may be
UTF-8, UTF-16 or GBK. Dates are written 2009, 2009-05, 2009-05-17, 2009/5/17 or 2009年5月17日.

--dry-run reads everything, writes nothing to the registry, and says what would happen.

Importing the same again adds nothing twice. Interrupt an import and give the same command again, and it goes on. What became of each file
is kept: 'homeward import report JOB'. Links are not followed, and archives inside of archives are not opened.`,
		Args: args(1, 1, "one folder or archive"),
		RunE: func(c *cobra.Command, given []string) error {
			if err := checkGallery(gallery); err != nil {
				return err
			}
			a := importer.Args{Gallery: registry.Gallery(gallery), Sheet: sheet, Map: map[string]string{}, CaseDepth: depth}
			for _, m := range mapped {
				column, heading, ok := strings.Cut(m, "=")
				if !ok || heading == "" {
					return usageError{fmt.Errorf("--map %q: write it as COLUMN=HEADING, such as --map photo=照片", m)}
				}
				a.Map[strings.TrimSpace(column)] = heading
			}
			switch err := importer.CheckMap(a.Map); {
			case err != nil:
				return usageError{err}
			case manifest == "" && (len(mapped) > 0 || sheet != ""):
				return usageError{errors.New("--map and --sheet say how to read a --manifest")}
			case c.Flags().Changed("case-depth") && (depth < 1 || depth > importer.MaxLevel):
				return usageError{fmt.Errorf("--case-depth %d: it is 1 for the folders at the top, 2 for those in them, and so on to %d", depth, importer.MaxLevel)}
			case manifest != "" && depth > 0:
				return usageError{errors.New("--case-depth is for folders of cases; with a --manifest, its lines say what belongs to which case")}
			case detach && (dryRun || report != ""):
				return usageError{errors.New("--detach leaves the import to a server: ask for its report with 'homeward import report' when it is done")}
			}
			if err := checkReportFile(report); err != nil {
				return err
			}
			a, err := importer.Locate(given[0], manifest, a)
			if err != nil {
				return err
			}
			if dryRun {
				return dryRunImport(c, o, a, report)
			}
			seen, err := a.Check(c.Context())
			if err != nil {
				return err
			}
			printSeen(c.ErrOrStderr(), seen)
			if detach {
				return o.withRegistry(c.Context(), false, func(r *registry.Registry) error {
					_, err := o.runJob(c, r, nil, a.NewJob(), true)
					return err
				})
			}
			return o.withFinder(c.Context(), false, func(f *finder.Finder) error {
				j, err := o.runJob(c, f.Registry, handlers(o, f), a.NewJob(), false)
				if j.ID == "" || j.State == registry.JobRunning { // it never began here
					return err
				}
				return errors.Join(err, o.reportImport(c, f.Registry, j, report, err == nil))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&gallery, "gallery", "missing", "gallery the cases belong to: missing or found")
	f.StringVar(&manifest, "manifest", "", "CSV or XLSX file that says which photo is whose")
	f.StringArrayVar(&mapped, "map", nil, "COLUMN=HEADING: what the manifest calls a column; once for each")
	f.StringVar(&sheet, "sheet", "", "sheet of the workbook; by default the first")
	f.IntVar(&depth, "case-depth", 0, "which folders are the cases: 1 those at the top, 2 those in them, …; by default found out")
	f.BoolVar(&dryRun, "dry-run", false, "say what would happen, and write nothing to the registry")
	f.StringVar(&report, "report", "", "file for what became of each file: .csv or .jsonl")
	f.BoolVar(&detach, "detach", false, "leave it to a running 'homeward serve', which must be able to read the same path")
	c.AddCommand(importReport(o))
	return c
}

// importReport prints what became of each file of an import.
func importReport(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "report JOB [FILE.csv|FILE.jsonl]",
		Short: "Print what became of each file of an import",
		Long: `Print what became of each file of an import, as CSV, or as JSON lines with --json; into a file if one is named. JOB is its id, which
'homeward jobs' lists. It says how things stand now. A report is kept for as long as its job.`,
		Args: args(1, 2, "an import's id, and a file for the report"),
		RunE: func(c *cobra.Command, given []string) error {
			file := ""
			if len(given) == 2 {
				file = given[1]
			}
			if err := checkReportFile(file); err != nil {
				return err
			}
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) (err error) {
				j, err := r.Job(c.Context(), registry.JobID(given[0]))
				if errors.Is(err, registry.ErrNotFound) || err == nil && j.Kind != registry.JobImport {
					return fmt.Errorf("there is no import %q: 'homeward jobs' lists them", given[0])
				}
				if err != nil {
					return err
				}
				n := 0
				err = writeReport(c.OutOrStdout(), file, o.json, func(tell func(importer.Line) error) error {
					_, err := importer.ReadReport(c.Context(), r, j.ID, func(l importer.Line) error {
						n++
						return tell(l)
					})
					return err
				})
				if err == nil && file != "" {
					fmt.Fprintf(c.ErrOrStderr(), "The report, of %d lines, is in %s.\n", n, file)
				}
				return err
			})
		},
	}
}

// checkReportFile refuses a file for a report in a form that there is not.
func checkReportFile(file string) error {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".csv", ".jsonl", "":
		if file == "" || filepath.Ext(file) != "" {
			return nil
		}
	}
	return usageError{fmt.Errorf("report %s: name a file that ends in .csv or .jsonl", file)}
}

// writeReport writes lines to a file, which only the operator may read as it names people, or to w where none is named.
func writeReport(w io.Writer, file string, asJSON bool, all func(func(importer.Line) error) error) (err error) {
	if file != "" {
		f, failed := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if failed != nil {
			return fmt.Errorf("write the report: %w", failed)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := f.Chmod(0o600); err != nil { // one that was there before
			return fmt.Errorf("write the report: keep others from reading it: %w", err)
		}
		w, asJSON = f, strings.EqualFold(filepath.Ext(file), ".jsonl")
		return writeLines(w, asJSON, all)
	}
	if !asJSON { // for people; programs get names as they are
		return writeLines(w, false, func(tell func(importer.Line) error) error {
			return all(func(l importer.Line) error { return tell(visibleLine(l)) })
		})
	}
	return writeLines(w, true, all)
}

// visibleLine is a line for a terminal, which no name in it can steer.
func visibleLine(l importer.Line) importer.Line {
	l.Path, l.Case, l.Reason, l.Remark = importer.Visible(l.Path), importer.Visible(l.Case), importer.Visible(l.Reason), importer.Visible(l.Remark)
	return l
}

func writeLines(w io.Writer, asJSON bool, all func(func(importer.Line) error) error) (err error) {
	lines := importer.NewJSONLines(w)
	if !asJSON {
		if lines, err = importer.NewCSV(w); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if err := all(lines.Write); err != nil {
		return err
	}
	return lines.Flush()
}

// printSeen says how a manifest was read, or which folders are the cases.
func printSeen(w io.Writer, s importer.Seen) {
	if s.SuchAs != "" {
		fmt.Fprintf(w, "Cases are the folders at level %d, such as %s.\n", s.CaseDepth, importer.Visible(s.SuchAs))
	}
	if s.Manifest == "" {
		return
	}
	fmt.Fprintf(w, "Manifest: %s; columns %s.\n", importer.Visible(s.Manifest), importer.Visible(s.Columns))
	if len(s.Unused) > 0 {
		fmt.Fprintf(w, "Not used, as no column of that name is known: %s. Name them with --map if they should be.\n", importer.Visible(strings.Join(s.Unused, ", ")))
	}
}

// shownReport prints the lines of a report that say something, up to a bound.
type shownReport struct {
	out  io.Writer
	rest int
	n    int
}

func (s *shownReport) tell(l importer.Line) {
	l = visibleLine(l)
	reason := l.Reason
	if l.Remark != "" {
		reason = strings.TrimSpace(reason + " " + l.Remark)
	}
	if reason == "" || l.Outcome == importer.New {
		return
	}
	if s.n++; s.n > shownLines {
		s.rest++
		return
	}
	if l.Line > 0 {
		reason = fmt.Sprintf("line %d: %s", l.Line, reason)
	}
	fmt.Fprintf(s.out, "%s  %s  %s\n", l.Outcome, l.Path, reason)
}

// reportImport prints what an import did; whole says whether it came to its end.
func (o *options) reportImport(c *cobra.Command, r *registry.Registry, j registry.Job, file string, whole bool) error {
	ctx, out := context.WithoutCancel(c.Context()), c.OutOrStdout()
	lines, shown := json.NewEncoder(out), &shownReport{out: out}
	var sum importer.Report
	became := map[importer.Outcome]int{}
	all := func(also func(importer.Line) error) (err error) {
		sum, err = importer.ReadReport(ctx, r, j.ID, func(l importer.Line) error {
			if err := also(l); err != nil {
				return err
			}
			became[l.Outcome]++
			if o.json {
				return lines.Encode(l)
			}
			shown.tell(l)
			return nil
		})
		return err
	}
	err := error(nil)
	if file == "" {
		err = all(func(importer.Line) error { return nil })
	} else {
		err = writeReport(nil, file, false, all)
	}
	if err != nil {
		return err
	}
	if o.json {
		counts := j.Progress.Counts
		seconds := func(ms int64) float64 { return float64(ms) / 1000 }
		err = lines.Encode(struct {
			Job registry.JobID `json:"job"`
			importer.Report
			Seconds map[string]float64 `json:"seconds"`
		}{j.ID, sum, map[string]float64{
			"total": j.Spent.Seconds(), "receive": seconds(counts[importer.CountReceive]), "decode": seconds(counts[importer.CountDecode]),
			"inference": seconds(counts[importer.CountInference]), "store": seconds(counts[importer.CountStore]),
		}})
		return errors.Join(err, nothingTaken(whole, sum))
	}
	if shown.rest > 0 {
		fmt.Fprintf(out, "… and %d more: 'homeward import report %s' lists all.\n", shown.rest, j.ID)
	}
	fmt.Fprintf(out, "cases: %d added, %d known before\nphotos: %d added, %d there before, %d not taken (%d unreadable, %d skipped)\n",
		sum.CasesAdded, sum.CasesKnown, sum.Added, sum.Duplicates, sum.NotTaken(), sum.Unreadable, sum.Skipped)
	if sum.Added > 0 {
		var parts []string
		for _, o := range []struct {
			outcome importer.Outcome
			words   string
		}{
			{importer.Added, "ready"}, {importer.SeveralFaces, "several faces"}, {importer.TooPoor, "too poor"}, {importer.NoFace, "no face"},
			{importer.SetAside, "set aside"}, {importer.Waiting, "waiting"}, {importer.Deleted, "deleted since"},
		} {
			if n := became[o.outcome]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, o.words))
			}
		}
		fmt.Fprintf(out, "%d added: %s\n", sum.Added, strings.Join(parts, ", "))
	}
	for _, also := range []struct {
		n         int64
		one, more string
	}{
		{sum.NeedSubject, "photo shows several faces: open its case and choose the child's.", "photos show several faces: open their cases and choose the child's."},
		{sum.NoFace + sum.TooPoor, "photo has no face that can be searched with; it stays with its case.", "photos have no face that can be searched with; they stay with their cases."},
		{sum.SetAside, "photo could not be analysed; it stays with its case, and the reason with it.", "photos could not be analysed; they stay with their cases, and their reasons with them."},
		{sum.Waiting, "photo is stored, and its faces are still being looked for.", "photos are stored, and their faces are still being looked for."},
		{sum.Alike, "photo looks the same as one that is there already: see the report.", "photos look the same as one that is there already: see the report."},
		{sum.NotReached, "photo that the manifest names has not been reached.", "photos that the manifest names have not been reached."},
	} {
		switch {
		case also.n == 1:
			fmt.Fprintf(out, "1 %s\n", also.one)
		case also.n > 1:
			fmt.Fprintf(out, "%d %s\n", also.n, also.more)
		}
	}
	fmt.Fprintf(out, "report again: homeward import report %s\n", j.ID)
	return nothingTaken(whole, sum)
}

// nothingTaken makes an import that could use no file at all a failure.
func nothingTaken(whole bool, r importer.Report) error {
	if whole && r.Added+r.Duplicates == 0 {
		return fmt.Errorf("none of the %d files could be taken: their reasons are above", r.NotTaken())
	}
	return nil
}

// dryRunImport says what an import would do.
func dryRunImport(c *cobra.Command, o *options, a importer.Args, file string) (err error) {
	ctx, out := c.Context(), c.OutOrStdout()
	r, err := registry.Open(ctx, o.data, registry.Options{OperatorKey: o.operatorKey, Existing: true})
	switch {
	case errors.Is(err, registry.ErrNotFound):
		r = nil // all would be new
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	var lines []importer.Line // in memory, because they come in another order than an import's report has
	sum, failed := importer.DryRun(ctx, r, a, func(l importer.Line) error {
		lines = append(lines, l)
		return nil
	})
	if failed != nil && lines == nil {
		return failed
	}
	slices.SortFunc(lines, func(a, b importer.Line) int { return cmp.Or(strings.Compare(a.Path, b.Path), a.Line-b.Line) })
	shown := &shownReport{out: out}
	all := func(also func(importer.Line) error) error {
		for _, l := range lines {
			if !o.json {
				shown.tell(l)
			}
			if err := also(l); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case file != "":
		err = writeReport(nil, file, false, all)
	case o.json:
		err = all(importer.NewJSONLines(out).Write)
	default:
		err = all(func(importer.Line) error { return nil })
	}
	err = errors.Join(err, failed)
	if o.json {
		return errors.Join(err, json.NewEncoder(out).Encode(sum))
	}
	if shown.rest > 0 {
		fmt.Fprintf(out, "… and %d more: --report FILE.csv lists all.\n", shown.rest)
	}
	printSeen(out, sum.Seen)
	fmt.Fprintf(out, "cases: %d new, %d known\nphotos: %d new, %d there already, %d could not be taken (%d unreadable, %d skipped)\n",
		sum.CasesNew, sum.CasesKnown, sum.New, sum.Known, sum.Unreadable+sum.Skipped, sum.Unreadable, sum.Skipped)
	if sum.Largest != "" {
		fmt.Fprintf(out, "largest case: %s, with %d photos\n", importer.Visible(sum.Largest), sum.LargestPhotos)
	}
	fmt.Fprintln(out, "Nothing was written. Whether a photo is whole and has a face, the import shows.")
	return err
}
