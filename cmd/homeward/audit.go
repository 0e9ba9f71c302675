package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homeward/registry"
)

// auditRow is an entry of the audit as `--json` prints it.
type auditRow struct {
	N       int64              `json:"n"`
	At      time.Time          `json:"at"`
	Account registry.AccountID `json:"account,omitempty"`
	Role    registry.Role      `json:"role"`
	Via     string             `json:"via,omitempty"`
	Action  string             `json:"action"`
	Case    registry.CaseID    `json:"case,omitempty"`
	Subject string             `json:"subject,omitempty"`
	Purpose string             `json:"purpose,omitempty"`
	Detail  map[string]string  `json:"detail,omitempty"`
	Hash    string             `json:"hash"`
}

func auditCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Check and read the record of who did what",
		Long: `Check and read the record of who did what.

Each entry is chained to the ones before with the operator's key, so that nobody without it can change, remove or add one unseen.
Who can put the whole registry back to an earlier state can hide what came after: keep the head that 'audit head' prints elsewhere,
and give it to 'audit verify' later.`,
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do with the audit: audit verify, audit head or audit list")}
		},
	}
	c.AddCommand(auditVerify(o), auditHead(o), auditList(o))
	return c
}

func auditVerify(o *options) *cobra.Command {
	var head string
	c := &cobra.Command{
		Use: "verify", Short: "Read the whole audit and find any change", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				state, err := r.VerifyAudit(c.Context(), head)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(c.OutOrStdout(), state)
				}
				fmt.Fprintf(c.OutOrStdout(), "The audit is as it was written: %d entries, head %s.\n", state.Entries, or(state.Head))
				return nil
			})
		},
	}
	c.Flags().StringVar(&head, "head", "", "a head printed earlier, which must be in the audit")
	return c
}

func auditHead(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "head", Short: "Print the head of the audit, to be kept elsewhere", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				// Checked before it is vouched for.
				state, err := r.VerifyAudit(c.Context(), "")
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(c.OutOrStdout(), state)
				}
				fmt.Fprintln(c.OutOrStdout(), state.Head)
				return nil
			})
		},
	}
}

func auditList(o *options) *cobra.Command {
	var q registry.AuditQuery
	c := &cobra.Command{
		Use: "list", Short: "List entries of the audit, newest first", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if q.Limit < 1 {
				return usageError{errors.New("--limit: say how many entries to list, from 1 on")}
			}
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				rows := []auditRow{}
				left := q.Limit
				for {
					q.Limit = min(left, registry.MaxListed)
					page, next, err := r.Audit(c.Context(), q)
					if err != nil {
						return err
					}
					for _, e := range page {
						rows = append(rows, auditRow(e))
					}
					if left -= len(page); left == 0 || next == "" {
						break
					}
					q.Cursor = next
				}
				return printRows(c.OutOrStdout(), o.json, rows, "N\tAT\tWHO\tROLE\tVIA\tACTION\tCASE\tSUBJECT\tDETAIL\tPURPOSE", func(e auditRow) string {
					var detail []string
					for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
						detail = append(detail, k+"="+e.Detail[k])
					}
					return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", e.N, e.At.Local().Format(time.DateTime), or(string(e.Account)), e.Role, or(e.Via),
						e.Action, or(string(e.Case)), or(e.Subject), or(strings.Join(detail, " ")), or(e.Purpose))
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar((*string)(&q.Case), "case", "", "only entries about this case")
	f.StringVar((*string)(&q.Account), "account", "", "only entries of this account, by its id")
	f.StringVar(&q.Action, "action", "", "only this action, as photo.looked, or all that begin so, as photo.")
	f.IntVar(&q.Limit, "limit", registry.DefaultListed, "how many entries")
	return c
}
