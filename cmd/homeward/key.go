package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"homeward/registry"
)

// keyRow is a key as `--json` prints it. Secret is there only when the key has just been made.
type keyRow struct {
	ID        registry.KeyID     `json:"id"`
	Name      string             `json:"name"`
	Account   registry.AccountID `json:"account"`
	Who       string             `json:"who"` // the account's login, or its name where it has none
	CreatedAt time.Time          `json:"created_at"`
	LastUsed  *time.Time         `json:"last_used,omitempty"`
	Revoked   *time.Time         `json:"revoked,omitempty"`
	Secret    string             `json:"secret,omitempty"`
}

func row(k registry.Key, a registry.Account) keyRow {
	r := keyRow{ID: k.ID, Name: k.Name, Account: k.Account, Who: who(a), CreatedAt: k.CreatedAt}
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
		Short: "Make, list and revoke the keys with which programs use the API",
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do with keys: key add NAME --account LOGIN, key list or key revoke ID")}
		},
	}
	var login string
	add := &cobra.Command{
		Use: "add NAME --account LOGIN", Short: "Make a key that acts as an account; it is shown this once",
		Args: args(1, 1, "a name that says what the key is for"),
		RunE: func(c *cobra.Command, given []string) error {
			if login == "" {
				return usageError{errors.New("--account is missing: a key acts as an account. Make one with 'homeward account add' first, then give its login")}
			}
			return o.withAccount(c.Context(), login, func(r *registry.Registry, a registry.Account) error {
				k, secret, err := r.CreateKey(c.Context(), a.ID, given[0])
				if err != nil {
					return err
				}
				if o.json {
					out := row(k, a)
					out.Secret = secret
					return printJSON(c.OutOrStdout(), out)
				}
				fmt.Fprintln(c.OutOrStdout(), secret)
				fmt.Fprintf(c.ErrOrStderr(), "Key %s for %s acts as %s. Keep it safe: it is not shown again.\n", k.ID, k.Name, who(a))
				return nil
			})
		},
	}
	add.Flags().StringVar(&login, "account", "", "login of the account that the key acts as")
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
					a, err := r.Account(c.Context(), k.Account)
					if err != nil {
						return err
					}
					rows[i] = row(k, a)
				}
				return printRows(c.OutOrStdout(), o.json, rows, "ID\tNAME\tACCOUNT\tMADE\tLAST USED\tREVOKED", func(k keyRow) string {
					return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", k.ID, k.Name, k.Who, day(&k.CreatedAt), day(k.LastUsed), day(k.Revoked))
				})
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "Revoke a key at once", Args: args(1, 1, "the id of a key"),
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

// withRegistry opens the registry alone, for what needs no models.
func (o *options) withRegistry(ctx context.Context, existing bool, do func(*registry.Registry) error) (err error) {
	r, err := registry.Open(ctx, o.data, registry.Options{OperatorKey: o.operatorKey, Existing: existing})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	warnOfLoss(r)
	return do(r)
}

// warnOfLoss tells whoever is at the command line that the database has lost something.
func warnOfLoss(r *registry.Registry) {
	if l := r.Loss(); l != nil {
		fmt.Fprintf(os.Stderr, "homeward: warning: %v\n", l)
	}
}
