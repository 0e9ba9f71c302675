package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homeward/backup"
	"homeward/jobs"
	"homeward/registry"
)

// keepKey is said wherever somebody may take a backup for all that they need.
const keepKey = "operator.key is NOT in the backup. Keep a copy of it elsewhere: without it nobody, you included, can restore anything."

func backupCommand(o *options) *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use:   "backup DIR",
		Short: "Take a snapshot of the registry into a folder, while it is in use",
		Long: `Take a snapshot of the registry into a folder, which is made if it is missing. Best it lies on another disk.

Everybody goes on working meanwhile. Only what the folder does not have yet is copied, all of it encrypted, and read back as it is
written. Ended at any moment, it leaves no half snapshot, and the same command goes on with what was copied.

` + keepKey + `

A case that is destroyed in the registry stays in the snapshots that were taken before. 'homeward backup prune DIR --keep N' removes
old snapshots: with one a day and --keep 30, what is destroyed is gone from the backup thirty days later.

Exit code 0: done; 1: failed, or the registry itself has lost photo files that no backup has.`,
		Args: args(1, 1, "the folder of the backup"),
		RunE: func(c *cobra.Command, given []string) error {
			dir, err := filepath.Abs(given[0])
			if err != nil {
				return err
			}
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				if err := backup.Ready(r, dir); err != nil {
					return err
				}
				var report backup.Report
				do := map[registry.JobKind]jobs.Handler{registry.JobBackup: backupHandler(r, func(made backup.Report) { report = made })}
				if _, err := o.runJob(c, r, do, registry.NewJob{Kind: registry.JobBackup, About: dir, Args: backupArgs{dir}}, detach); err != nil || detach {
					return err
				}
				if o.json {
					err = printJSON(c.OutOrStdout(), report)
				} else {
					printBackup(c.OutOrStdout(), report)
				}
				if n := len(report.MissingFiles); err == nil && n > 0 {
					err = fmt.Errorf("the snapshot is made, but the registry itself has lost or damaged %d photo files that no earlier backup has: 'homeward check' says whose they are", n)
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&detach, "detach", false, "leave it to a running 'homeward serve'")
	c.AddCommand(backupList(o), backupVerify(o), backupPrune(o))
	return c
}

// backupArgs are the arguments of a job of the kind backup.
type backupArgs struct {
	Dir string `json:"dir"`
}

// backupHandler takes snapshots; told, which may be nil, hears of each.
func backupHandler(r *registry.Registry, told func(backup.Report)) jobs.Handler {
	return func(ctx context.Context, t *jobs.Task) error {
		var a backupArgs
		if err := json.Unmarshal(t.Job.Args, &a); err != nil {
			return jobs.Final(fmt.Errorf("arguments of the backup: %w", err))
		}
		tell := func(p registry.Progress) {
			// What was copied need not be copied again: that is coming further. A registry that cannot be written to now can be backed up
			// all the same; whether the job is to go on, its context says.
			_ = t.Save(ctx, fmt.Sprint(p.Counts["stored_bytes"]>>26), p)
		}
		report, err := backup.Run(ctx, r, a.Dir, backup.Options{Tell: tell})
		for _, never := range []error{backup.ErrOther, backup.ErrNotEmpty, backup.ErrNewer, registry.ErrKey} {
			if errors.Is(err, never) {
				return jobs.Final(err)
			}
		}
		if err != nil {
			return err
		}
		tell(registry.Progress{Stage: backup.StagePhotos, Done: report.Photos, Total: report.Photos, Counts: map[string]int64{
			"snapshot": int64(report.ID), "new_photos": report.NewPhotos, "new_chunks": report.NewChunks, "stored_bytes": report.Stored, "missing": int64(report.Missing),
		}})
		if told != nil {
			told(report)
		}
		return nil
	}
}

func printBackup(w io.Writer, r backup.Report) {
	fmt.Fprintf(w, "Snapshot %d of %s: %s (%s) and a database of %s.\n", r.ID, clockTime(r.At), many(r.Photos, "photo"), bytesText(r.PhotoBytes), bytesText(r.Database))
	fmt.Fprintf(w, "New: %s (%s) and %d of %d pieces of the database; %s written in %s, and read back.\n",
		many(r.NewPhotos, "photo"), bytesText(r.NewPhotoBytes), r.NewChunks, r.Chunks, bytesText(r.Stored), r.Took.Round(10*time.Millisecond))
	if r.Healed > 0 {
		fmt.Fprintf(w, "%d damaged files of the backup were written anew. Look after the disk.\n", r.Healed)
	}
	if r.Unrecorded != "" {
		fmt.Fprintf(w, "The snapshot is made, but the registry's audit could not note it: %s.\n", r.Unrecorded)
	}
	if r.Gone > 0 {
		fmt.Fprintf(w, "%d photos were deleted meanwhile and are left out.\n", r.Gone)
	}
	if !r.Oldest.Equal(r.At) {
		fmt.Fprintf(w, "Snapshots go back to %s; what was destroyed since is in them still. 'homeward backup prune' removes old ones.\n", clockTime(r.Oldest))
	}
	fmt.Fprintln(w, keepKey)
}

// openBackup opens a backup with the operator's key, which is looked for as the registry's: the registry need not be there.
func (o *options) openBackup(dir string) (*backup.Backup, error) {
	key, err := registry.ReadOperatorKey(o.keyFile())
	if err != nil {
		return nil, err
	}
	return backup.Open(dir, key)
}

func (o *options) keyFile() string {
	if o.operatorKey != "" {
		return o.operatorKey
	}
	return filepath.Join(o.data, "operator.key")
}

func backupList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list DIR", Short: "List the snapshots of a backup, oldest first", Args: args(1, 1, "the folder of the backup"),
		RunE: func(c *cobra.Command, given []string) error {
			b, err := o.openBackup(given[0])
			if err != nil {
				return err
			}
			rows, err := b.List()
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o.json, rows, "SNAPSHOT\tTAKEN\tCASES\tPHOTOS\tSIZE\tDATABASE\tNEW\tREMARKS", func(i backup.Info) string {
				if i.Damaged {
					return fmt.Sprintf("%d\t-\t-\t-\t-\t-\t-\tdamaged: cannot be read", i.ID)
				}
				remark := "-"
				if i.Missing > 0 {
					remark = fmt.Sprintf("without %d photo files that the registry had lost", i.Missing)
				}
				return fmt.Sprintf("%d\t%s\t%d\t%d\t%s\t%s\t%s\t%s", i.ID, clockTime(i.At), i.Counts["cases"], i.Photos, bytesText(i.PhotoBytes), bytesText(i.Database), bytesText(i.Stored), remark)
			})
		},
	}
}

func backupVerify(o *options) *cobra.Command {
	var deep bool
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Read a backup and find what is damaged or missing",
		Long: `Read a backup and find what is damaged or missing.

Every snapshot is opened, every piece of its database read, and every photo looked for with its size. With --deep every photo is read too,
and every database opened. What is found damaged is noted, and the next backup writes it anew from the registry.

Exit code 0: all is whole; 1: something is damaged, or the backup could not be read.`,
		Args: args(1, 1, "the folder of the backup"),
		RunE: func(c *cobra.Command, given []string) error {
			b, err := o.openBackup(given[0])
			if err != nil {
				return err
			}
			v, err := b.Verify(c.Context(), deep, stageLines(c.ErrOrStderr()))
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if o.json {
				if err := printJSON(w, v); err != nil {
					return err
				}
			} else {
				for _, d := range v.Damaged {
					fmt.Fprintf(w, "%s: %s%s\n", d.File, d.What, snapshotsText(d.Snapshots))
				}
				fmt.Fprintf(w, "%s, %d pieces of databases and lists, %s; %s read.\n", many(v.Snapshots, "snapshot"), v.Chunks, many(v.Photos, "photo"), bytesText(v.Bytes))
				if v.Unused > 0 {
					fmt.Fprintf(w, "%d files belong to no snapshot; the next backup may use them, 'homeward backup prune' removes them.\n", v.Unused)
				}
			}
			switch n := len(v.Damaged); {
			case n > 0:
				return fmt.Errorf("%d files are damaged. Run 'homeward backup' and verify again: it writes anew what the registry still has. Look after the disk", n)
			case v.Snapshots == 0:
				return errors.New("there is no snapshot yet: run 'homeward backup'")
			case !o.json:
				fmt.Fprintln(w, "All is whole.")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "also read every photo and open every database")
	return c
}

func snapshotsText(ids []int) string {
	if len(ids) == 0 {
		return ""
	}
	return "; needed by snapshot " + strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ", "), "[]")
}

// stageLines says now and then how far a long command is.
func stageLines(w io.Writer) func(registry.Progress) {
	told := time.Now()
	return func(p registry.Progress) {
		if time.Since(told) >= progressEvery {
			told = time.Now()
			fmt.Fprintf(w, "%s %d/%d\n", p.Stage, p.Done, p.Total)
		}
	}
}

func backupPrune(o *options) *cobra.Command {
	var keep int
	c := &cobra.Command{
		Use:   "prune DIR --keep N",
		Short: "Remove all snapshots but the newest, and what only they needed",
		Long: `Remove all snapshots but the newest N, and what only they needed.

What was destroyed in the registry, because its time was over or a family asked for it, is still in the snapshots that were taken before.
Choose N so that the oldest snapshot is no older than you may keep such data: with a backup a day and --keep 30, thirty days.`,
		Args: args(1, 1, "the folder of the backup"),
		RunE: func(c *cobra.Command, given []string) error {
			if keep < 1 {
				return usageError{errors.New("--keep: say how many snapshots to keep, from 1 on")}
			}
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				b, err := backup.Open(given[0], r.OperatorKey())
				if err != nil {
					return err
				}
				out, err := b.Prune(c.Context(), keep)
				if len(out.Removed) > 0 {
					err = errors.Join(err, r.Record(c.Context(), registry.Note{Action: "backup.pruned", Detail: map[string]string{"removed": strings.Trim(fmt.Sprint(out.Removed), "[]")}}))
				}
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(c.OutOrStdout(), out)
				}
				fmt.Fprintf(c.OutOrStdout(), "Removed %s and %s (%s) that only they needed; left: %s.\n", many(len(out.Removed), "snapshot"), many(out.Files, "file"), bytesText(out.Bytes), many(len(out.Kept), "snapshot"))
				if n := len(out.Damaged); n > 0 {
					fmt.Fprintf(c.OutOrStdout(), "%d of them are damaged and stay beside the %d that were asked for. Run 'homeward backup', which may heal them.\n", n, keep)
				}
				return nil
			})
		},
	}
	c.Flags().IntVar(&keep, "keep", 0, "how many snapshots to keep")
	return c
}
