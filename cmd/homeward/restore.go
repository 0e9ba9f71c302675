package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"homeward/backup"
)

func restoreCommand(o *options) *cobra.Command {
	var options backup.RestoreOptions
	c := &cobra.Command{
		Use:   "restore DIR",
		Short: "Make a registry again of a backup",
		Long: `Make a registry again, in the directory of --data, of a backup in DIR.

The directory must be missing, or empty but for operator.key. The registry is put together beside it, every file checked, and takes its
place at the end: ended at any moment, it leaves no half registry.

The operator's key is needed: give it with --operator-key, or put it into the new directory first. It is in no backup.

Everybody signs in again afterwards, programs need new keys, and invitations and families' unused codes new ones: some may have been
taken back after the snapshot. Children in the public gallery are hidden until someone shows them again, as they may have been hidden
after it too: their removal waits for a decision. Accounts and passwords are as they were then; look through 'homeward account list'. What was deleted after
the snapshot is back; what the retention has ended since is destroyed again by itself.`,
		Args: args(1, 1, "the folder of the backup"),
		RunE: func(c *cobra.Command, given []string) error {
			if options.Snapshot < 0 {
				return usageError{fmt.Errorf("--snapshot %d: 'homeward backup list' lists those there are", options.Snapshot)}
			}
			options.OperatorKey = o.operatorKey
			options.Tell = stageLines(c.ErrOrStderr())
			out, err := backup.Restore(c.Context(), given[0], o.data, options)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if o.json {
				return printJSON(w, out)
			}
			fmt.Fprintf(w, "%s is snapshot %d of %s again: %s, %s (%s); every file was checked, in %s.\n", o.data, out.ID, clockTime(out.At),
				many(out.Counts["cases"], "case"), many(out.Photos-int64(len(out.Damaged)), "photo"), bytesText(out.PhotoBytes), out.Took.Round(10*time.Millisecond))
			if out.LeftOut > 0 {
				fmt.Fprintf(w, "%d photos are left out that were deleted while the snapshot was taken.\n", out.LeftOut)
			}
			for _, name := range out.Damaged {
				fmt.Fprintf(w, "Photo file %s is damaged in the backup and left out.\n", name)
			}
			for _, name := range out.Lost {
				fmt.Fprintf(w, "Photo file %s was lost before the snapshot.\n", name)
			}
			fmt.Fprintf(w, "Ended: sessions %d, invitations and codes %d, keys %d. People sign in again; make new keys with 'homeward key add'.\n", out.Sessions, out.Invited, out.Keys)
			if out.Hidden > 0 {
				fmt.Fprintf(w, "Hidden: %d published children. Someone must look at each, among what waits for a second person, and show it again or end it.\n", out.Hidden)
			}
			if o.operatorKey != "" {
				fmt.Fprintf(w, "The operator's key stays where it is: go on giving --operator-key %s, or put it into %s.\n", o.operatorKey, o.data)
			}
			if n := len(out.Damaged) + len(out.Lost); n > 0 {
				fmt.Fprintln(w, "What is known of the photos without files is kept. Next: 'homeward check', then 'homeward repair'.")
				return nil
			}
			fmt.Fprintln(w, "Next: 'homeward check'.")
			return nil
		},
	}
	c.Flags().IntVar(&options.Snapshot, "snapshot", 0, "which snapshot, as 'homeward backup list' numbers them; the newest by default")
	c.Flags().BoolVar(&options.DespiteDamage, "despite-damage", false, "leave out photo files that are damaged in the backup")
	return c
}
