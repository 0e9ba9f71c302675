package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homeward/backup"
	"homeward/finder"
	"homeward/registry"
)

// checkReport is what `check --json` prints.
type checkReport struct {
	Problems []registry.Problem `json:"problems"`
	Checked  registry.Checked   `json:"checked"`
}

func checkCommand(o *options) *cobra.Command {
	var deep bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Hold every row, file, hash, key, template and index entry of the registry against one another",
		Long: `Hold every row, file, hash, key, template and index entry of the registry against one another.

It prints one line for each problem: a stable code, the ids it touches, what is wrong and what to do. It changes nothing, and may run
while the server does. Every photo's file is read and its hash compared; with --deep it is decrypted too, and every template is searched
with instead of a sample. Lines that begin with "known" tell what homeward repair has done all that can be done about.

Exit code 0: no problems; 1: problems, or the check could not be made.`,
		Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			out := checkReport{Problems: []registry.Problem{}}
			bad := 0
			note := func(p registry.Problem) {
				if !p.Known {
					bad++
				}
				if o.json {
					out.Problems = append(out.Problems, p)
					return
				}
				known := ""
				if p.Known {
					known = "known "
				}
				fmt.Fprintf(c.OutOrStdout(), "%s%v\n", known, p)
			}
			err := o.withCare(c.Context(), note, func(care *finder.Care) (err error) {
				out.Checked, err = care.Check(c.Context(), deep, progressLines(c.ErrOrStderr(), "checked"), note)
				return err
			})
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(c.OutOrStdout(), out)
			} else if bad == 0 {
				fmt.Fprintf(c.OutOrStdout(), "No problems: %s.\n", counts(out.Checked))
			}
			if err == nil && bad > 0 {
				err = fmt.Errorf("%s found", many(bad, "problem"))
			}
			return err
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "also decrypt every photo, and search with every template")
	return c
}

func counts(n registry.Checked) string {
	s := fmt.Sprintf("%s, %s (%s), %s, %s, %s, %s, %d in the audit", many(n.Cases, "case"), many(n.Photos, "photo"), bytesText(n.Bytes),
		many(n.Faces, "face"), many(n.Templates, "template"), many(n.Embeddings, "embedding"), many(n.Sealed, "other sealed thing"), n.Entries)
	if n.Lost > 0 {
		s += fmt.Sprintf("; in lost/: %s", many(n.Lost, "file"))
	}
	return s
}

// bytesText is a size for people.
func bytesText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	x, i := float64(n), 0
	for x >= 1000 && i < len(units)-1 {
		x /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// progressEvery is how often a long command says how far it is.
const progressEvery = 10 * time.Second

func progressLines(w io.Writer, what string) func(done, total int64) {
	told := time.Now()
	return func(done, total int64) {
		if time.Since(told) >= progressEvery {
			told = time.Now()
			fmt.Fprintf(w, "%s %d of %d photos\n", what, done, total)
		}
	}
}

// withCare opens the registry to be checked or mended. One that does not open is a problem to be told like others.
func (o *options) withCare(ctx context.Context, unopened func(registry.Problem), do func(*finder.Care) error) (err error) {
	config := o.config()
	care, err := finder.OpenCare(ctx, config)
	switch {
	case errors.Is(err, registry.ErrKey):
		unopened(registry.NewProblem("registry.locked", "%v", err))
		return nil
	case errors.Is(err, registry.ErrCorrupt):
		_, why, ok := strings.Cut(err.Error(), registry.ErrCorrupt.Error()+": ")
		if !ok {
			why = err.Error()
		}
		unopened(registry.NewProblem("registry.unopened", "%s", why))
		return nil
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, care.Close()) }()
	return do(care)
}

// repairReport is what `repair --json` prints.
type repairReport struct {
	DryRun   bool              `json:"dry_run"`
	Problems []registry.Mended `json:"problems"`
	Checked  registry.Checked  `json:"checked"`
}

func repairCommand(o *options) *cobra.Command {
	var r registry.RepairOptions
	var from string
	c := &cobra.Command{
		Use:   "repair",
		Short: "Mend what 'homeward check' finds, as far as it can be mended",
		Long: `Mend what 'homeward check' finds, as far as it can be mended, and say what was done and what is left.

It never deletes what might be a child's photo: files that belong to nothing are moved to lost/ in the registry's folder. A photo whose
file is missing or damaged is put back from lost/ or from a backup (--from), and set aside, with its reason, where neither has it.
Damaged templates are made again from embeddings, and photos with damaged embeddings are analysed again by the server.

A database that lost what was done lately is told of, and only --accept-loss takes it for all there is: restore a backup first if
there is one. Exit code 0: nothing is left to mend; 1: something is.`,
		Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			out := repairReport{DryRun: r.DryRun, Problems: []registry.Mended{}}
			left, mended := 0, 0
			note := func(m registry.Mended) {
				switch {
				case m.Done != "":
					mended++
				case !m.Known:
					left++
				}
				if o.json {
					out.Problems = append(out.Problems, m)
					return
				}
				word := "mended"
				if r.DryRun {
					word = "would be mended"
				}
				switch {
				case m.Done != "":
					fmt.Fprintf(c.OutOrStdout(), "%s %s: %s\n", word, m.Problem.About(), m.Done)
				case m.Known:
					fmt.Fprintf(c.OutOrStdout(), "known %v\n", m.Problem)
				default:
					fmt.Fprintf(c.OutOrStdout(), "left %v\n", m.Problem)
				}
			}
			err := o.withCare(c.Context(), func(p registry.Problem) { note(registry.Mended{Problem: p}) }, func(care *finder.Care) (err error) {
				if from != "" {
					b, err := backup.Open(from, care.Registry.OperatorKey())
					if err != nil {
						return err
					}
					r.From = func(ctx context.Context, name string, to io.Writer) error {
						err := b.PhotoFile(ctx, name, to)
						if errors.Is(err, backup.ErrDamaged) {
							err = fmt.Errorf("%w: %w", registry.ErrNotFound, err)
						}
						return err
					}
				}
				r.Progress = progressLines(c.ErrOrStderr(), "checked")
				out.Checked, err = care.Repair(c.Context(), r, note)
				return err
			})
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(c.OutOrStdout(), out)
			} else if left+mended == 0 {
				fmt.Fprintf(c.OutOrStdout(), "Nothing to mend: %s.\n", counts(out.Checked))
			}
			if err == nil && left > 0 {
				err = fmt.Errorf("%s could not be mended", many(left, "problem"))
			}
			return err
		},
	}
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "say what would be done, and do nothing")
	c.Flags().BoolVar(&r.Deep, "deep", false, "also decrypt every photo")
	c.Flags().StringVar(&from, "from", "", "a backup to put photos' files back from")
	c.Flags().BoolVar(&r.AcceptLoss, "accept-loss", false, "take the database for all there is, after it lost what was done lately")
	return c
}
