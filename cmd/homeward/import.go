package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"homeward/finder"
	"homeward/importer"
	"homeward/registry"
)

func importCommand(o *options) *cobra.Command {
	var gallery, manifest string
	c := &cobra.Command{
		Use:   "import DIR",
		Short: "Import a folder of photos, a subfolder per case, or a CSV manifest",
		Long: `Import photos into the registry. DIR has a subfolder for each case, whose name becomes the case's reference; or
--manifest names a CSV file inside DIR with the columns photo and case, and if you like gallery, names (parted by ;),
sex, born, born_to, region (a code of homeward region), place, on, marks, notes and taken. Importing the same archive again adds nothing twice.`,
		Args: args(1, 1, "one folder"),
		RunE: func(c *cobra.Command, given []string) error {
			if err := checkGallery(gallery); err != nil {
				return err
			}
			// A manifest may be named from where the user stands or from inside the archive.
			if manifest != "" {
				if rel, err := filepath.Rel(given[0], manifest); err == nil && filepath.IsLocal(rel) {
					manifest = rel
				}
			}
			a, err := importer.OpenArchive(given[0], manifest, registry.Gallery(gallery))
			if err != nil {
				return err
			}
			defer a.Close()
			return o.withFinder(c.Context(), false, func(f *finder.Finder) error {
				return importArchive(c, o, f, a)
			})
		},
	}
	c.Flags().StringVar(&gallery, "gallery", "missing", "gallery the cases belong to: missing or found")
	c.Flags().StringVar(&manifest, "manifest", "", "CSV file inside DIR that lists the photos")
	return c
}

func importArchive(c *cobra.Command, o *options, f *finder.Finder, a *importer.Archive) error {
	out, progress := c.OutOrStdout(), c.ErrOrStderr()
	show := io.Discard
	if term.IsTerminal(int(os.Stderr.Fd())) {
		show = progress
	}
	bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(show), progressbar.OptionSetDescription("photos"),
		progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	lines := json.NewEncoder(out)
	var failed error
	tell := func(t importer.Outcome) {
		if err := bar.Add(1); err != nil && failed == nil {
			failed = err
		}
		if o.json {
			if err := lines.Encode(t); err != nil && failed == nil {
				failed = err
			}
			return
		}
		if t.Reason == "" {
			return
		}
		if err := bar.Clear(); err != nil && failed == nil {
			failed = err
		}
		fmt.Fprintf(out, "%s  %s  %s\n", t.Result, t.Path, t.Reason)
	}
	report, err := importer.Import(c.Context(), f, a, runtime.GOMAXPROCS(0), tell)
	if ferr := bar.Finish(); failed == nil {
		failed = ferr
	}
	if err == nil {
		err = failed
	}
	if err == nil && report == (importer.Report{}) {
		return errors.New("no photos found: put each case's photos into a folder of its own, or name a --manifest")
	}
	if o.json {
		if jerr := lines.Encode(report); err == nil {
			err = jerr
		}
		return nothingTaken(err, report)
	}
	fmt.Fprintf(out, "cases: %d added, %d known before\nphotos: %d added, %d there before, %d skipped\n",
		report.CasesAdded, report.CasesKnown, report.Added, report.Duplicates, report.Skipped)
	if report.NeedSubject > 0 {
		fmt.Fprintf(out, "%d photos show several faces: open their cases and choose the child's.\n", report.NeedSubject)
	}
	if report.NoFace > 0 {
		fmt.Fprintf(out, "%d photos have no face that can be searched with; they stay with their cases.\n", report.NoFace)
	}
	return nothingTaken(err, report)
}

// nothingTaken makes an import that could use no file at all a failure.
func nothingTaken(err error, r importer.Report) error {
	if err == nil && r.Added+r.Duplicates == 0 {
		return fmt.Errorf("none of the %d files could be taken: their reasons are above", r.Skipped)
	}
	return err
}
