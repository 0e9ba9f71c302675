package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"homeward/registry"
)

// keyRow is a key as `--json` prints it. Secret is there only when the key has just been made.
type keyRow struct {
	ID        registry.KeyID `json:"id"`
	Name      string         `json:"name"`
	CreatedAt time.Time      `json:"created_at"`
	LastUsed  *time.Time     `json:"last_used,omitempty"`
	Revoked   *time.Time     `json:"revoked,omitempty"`
	Secret    string         `json:"secret,omitempty"`
}

func row(k registry.Key) keyRow {
	r := keyRow{ID: k.ID, Name: k.Name, CreatedAt: k.CreatedAt}
	if !k.LastUsed.IsZero() {
		r.LastUsed = &k.LastUsed
	}
	if !k.Revoked.IsZero() {
		r.Revoked = &k.Revoked
	}
	return r
}

func keyCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make, list and revoke the keys that open the API and the pages",
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do with keys: key add NAME, key list or key revoke ID")}
		},
	}
	add := &cobra.Command{
		Use: "add NAME", Short: "Make a key; it is shown this once", Args: args(1, 1, "a name that says whose key it is"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withRegistry(c.Context(), false, func(r *registry.Registry) error {
				k, secret, err := r.CreateKey(c.Context(), given[0])
				if err != nil {
					return err
				}
				if o.json {
					out := row(k)
					out.Secret = secret
					return printJSON(c.OutOrStdout(), out)
				}
				fmt.Fprintln(c.OutOrStdout(), secret)
				fmt.Fprintf(c.ErrOrStderr(), "Key %s for %s. Keep it safe: it is not shown again.\n", k.ID, k.Name)
				return nil
			})
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List keys", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				keys, err := r.Keys(c.Context())
				if err != nil {
					return err
				}
				rows := make([]keyRow, len(keys))
				for i, k := range keys {
					rows[i] = row(k)
				}
				return printRows(c.OutOrStdout(), o.json, rows, "ID\tNAME\tMADE\tLAST USED\tREVOKED", func(k keyRow) string {
					return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", k.ID, k.Name, day(&k.CreatedAt), day(k.LastUsed), day(k.Revoked))
				})
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "Revoke a key, and end its sessions, at once", Args: args(1, 1, "the id of a key"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				return r.RevokeKey(c.Context(), registry.KeyID(given[0]))
			})
		},
	}
	c.AddCommand(add, list, revoke)
	return c
}

func day(t *time.Time) string {
	if t == nil {
		return "–"
	}
	return t.Local().Format(time.DateOnly)
}

// withRegistry opens the registry alone: keys need no models.
func (o *options) withRegistry(ctx context.Context, existing bool, do func(*registry.Registry) error) (err error) {
	r, err := registry.Open(ctx, o.data, registry.Options{OperatorKey: o.operatorKey, Existing: existing})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return do(r)
}
