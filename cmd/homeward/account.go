package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/spf13/cobra"

	"homeward/registry"
)

// accountRow is an account as `--json` prints it. Invitation and Secret are there only when they have just been made.
type accountRow struct {
	ID           registry.AccountID `json:"id"`
	Login        string             `json:"login"`
	Name         string             `json:"name"`
	Role         registry.Role      `json:"role"`
	Regions      []string           `json:"regions"`
	Organisation string             `json:"organisation,omitempty"`
	State        string             `json:"state"`
	CreatedAt    time.Time          `json:"created_at"`
	Invitation   string             `json:"invitation,omitempty"`
	Secret       string             `json:"secret,omitempty"`
}

func toAccountRow(a registry.Account) accountRow {
	return accountRow{
		ID: a.ID, Login: a.Login, Name: a.Name, Role: a.Role, Regions: a.Regions, Organisation: a.Organisation,
		State: accountState(a), CreatedAt: a.CreatedAt,
	}
}

// accountState says in a word whether an account can be used.
func accountState(a registry.Account) string {
	switch {
	case !a.Disabled.IsZero():
		return "disabled"
	case !a.Invited.IsZero():
		return "invited"
	case a.HasPassword || a.Subject != "":
		return "active"
	case a.Login == "":
		return "keys only"
	}
	return "to be invited"
}

// who is what people call an account: its login, or its name where it has none.
func who(a registry.Account) string {
	if a.Login == "" {
		return a.Name
	}
	return a.Login
}

// welcomePath is the page on which an invitation is taken up.
func welcomePath(invitation string) string { return "/welcome/" + invitation }

func accountCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "account",
		Short: "Make, list, invite, disable and enable the accounts of staff",
		RunE: func(c *cobra.Command, given []string) error {
			return usageError{errors.New("say what to do with accounts: account add LOGIN, account list, account invite LOGIN, account disable LOGIN or account enable LOGIN")}
		},
	}
	c.AddCommand(accountAdd(o), accountList(o), accountInvite(o), accountAble(o, true), accountAble(o, false))
	return c
}

// staffRoles are the roles that an account made here can have.
func staffRoles() string {
	var out []string
	for _, r := range registry.Roles {
		if r.Staff() {
			out = append(out, string(r))
		}
	}
	return strings.Join(out, ", ")
}

func accountAdd(o *options) *cobra.Command {
	var n registry.NewAccount
	var role string
	var passwordStdin bool
	c := &cobra.Command{
		Use:   "add LOGIN --role ROLE --name NAME",
		Short: "Make an account, and the invitation with which its person sets password and codes",
		Long: `Make an account for someone on the staff. It prints the path of the page on which that person chooses a password and sets up
the codes of an authenticator; give it to that person only. It is shown this once and is good for three days.

With --password-stdin the account can be used at once: the password is read from the first line of the input, and the secret
for an authenticator is printed.`,
		Args: args(1, 1, "a login"),
		RunE: func(c *cobra.Command, given []string) error {
			n.Login, n.Role = given[0], registry.Role(role)
			switch {
			case role == "":
				return usageError{fmt.Errorf("--role is missing: choose one of %s", staffRoles())}
			case !slices.Contains(registry.Roles, n.Role) || !n.Role.Staff():
				return usageError{fmt.Errorf("--role %q: choose one of %s", role, staffRoles())}
			case n.Name == "":
				return usageError{errors.New("--name is missing: say who it is, as colleagues know them")}
			case n.Language != "" && n.Language != "en" && n.Language != "zh":
				return usageError{fmt.Errorf("--language %q: choose en or zh", n.Language)}
			}
			return o.withRegistry(c.Context(), false, func(r *registry.Registry) error {
				a, invitation, err := r.CreateAccount(c.Context(), n)
				if err != nil {
					return err
				}
				if !passwordStdin {
					return printInvitation(c, o, a, invitation)
				}
				secret, err := enrol(c.Context(), r, invitation, c.InOrStdin())
				if err != nil {
					return fmt.Errorf("account %s is made but has no password yet: %w. Invite it with 'homeward account invite %s'", a.Login, err, a.Login)
				}
				if o.json {
					if a, err = r.Account(c.Context(), a.ID); err != nil {
						return err
					}
					out := toAccountRow(a)
					out.Secret = secret
					return printJSON(c.OutOrStdout(), out)
				}
				fmt.Fprintln(c.OutOrStdout(), secret)
				fmt.Fprintf(c.ErrOrStderr(), "Account %s can sign in. Type the secret into an authenticator; it is not shown again.\n", a.Login)
				return nil
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&role, "role", "", "what the account is for: "+staffRoles())
	fl.StringVar(&n.Name, "name", "", "who it is, as colleagues know them")
	fl.StringArrayVar(&n.Regions, "region", nil, "code of a region it is responsible for, or * for all; repeat it for several")
	fl.StringVar(&n.Organisation, "organisation", "", "of a laboratory: which one")
	fl.StringVar(&n.Language, "language", "", "language of its pages, en or zh; by default as the browser asks")
	fl.BoolVar(&passwordStdin, "password-stdin", false, "read the password from the input and print the secret of the codes")
	return c
}

// printInvitation tells an invitation, the once that it can be told.
func printInvitation(c *cobra.Command, o *options, a registry.Account, invitation string) error {
	if o.json {
		out := toAccountRow(a)
		out.Invitation = welcomePath(invitation)
		return printJSON(c.OutOrStdout(), out)
	}
	fmt.Fprintln(c.OutOrStdout(), welcomePath(invitation))
	fmt.Fprintf(c.ErrOrStderr(), "Give this page's address to %s only. It is good until %s and not shown again.\n", a.Name, a.Invited.Local().Format("2006-01-02 15:04"))
	return nil
}

// enrol takes up an invitation with the password on the first line of the input and returns the secret of the codes.
func enrol(ctx context.Context, r *registry.Registry, invitation string, in io.Reader) (secret string, err error) {
	password, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	inv, err := r.OpenInvitation(ctx, invitation)
	if err != nil {
		return "", err
	}
	// A code is good once: the one before the present one leaves the present one for signing in. The second round is for a
	// new step that began just now.
	for range 2 {
		var code string
		if code, err = totp.GenerateCode(inv.Secret, time.Now().Add(-30*time.Second)); err != nil {
			return "", fmt.Errorf("make a code: %w", err)
		}
		_, err = r.Enrol(ctx, invitation, strings.TrimRight(password, "\r\n"), code)
		if f := (*registry.FieldError)(nil); !errors.As(err, &f) || f.Field != "code" {
			break
		}
	}
	return inv.Secret, err
}

func accountList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the accounts of staff", Args: args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withRegistry(c.Context(), true, func(r *registry.Registry) error {
				accounts, err := r.Accounts(c.Context())
				if err != nil {
					return err
				}
				rows := make([]accountRow, len(accounts))
				for i, a := range accounts {
					rows[i] = toAccountRow(a)
				}
				return printRows(c.OutOrStdout(), o.json, rows, "LOGIN\tROLE\tREGIONS\tNAME\tSTATE", func(a accountRow) string {
					return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", or(a.Login), a.Role, or(strings.Join(a.Regions, " ")), a.Name, a.State)
				})
			})
		},
	}
}

func accountInvite(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "invite LOGIN", Short: "Make a new invitation, for who has lost password or codes; an earlier one ends",
		Args: args(1, 1, "the login of an account"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withAccount(c.Context(), given[0], func(r *registry.Registry, a registry.Account) error {
				invitation, err := r.Invite(c.Context(), a.ID)
				if err != nil {
					return err
				}
				if a, err = r.Account(c.Context(), a.ID); err != nil {
					return err
				}
				return printInvitation(c, o, a, invitation)
			})
		},
	}
}

func accountAble(o *options, disable bool) *cobra.Command {
	use, short := "enable LOGIN", "Let a disabled account sign in again"
	if disable {
		use, short = "disable LOGIN", "Disable an account, and end its sessions and keys, at once"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: args(1, 1, "the login of an account"),
		RunE: func(c *cobra.Command, given []string) error {
			return o.withAccount(c.Context(), given[0], func(r *registry.Registry, a registry.Account) error {
				_, err := r.UpdateAccount(c.Context(), a.ID, registry.AccountChange{Disabled: &disable})
				return err
			})
		},
	}
}

// withAccount opens the registry and finds an account by its login or, as those made for old keys have none, its id.
func (o *options) withAccount(ctx context.Context, login string, do func(*registry.Registry, registry.Account) error) error {
	return o.withRegistry(ctx, true, func(r *registry.Registry) error {
		a, err := r.AccountByLogin(ctx, login)
		if errors.Is(err, registry.ErrNotFound) {
			a, err = r.Account(ctx, registry.AccountID(login))
		}
		if errors.Is(err, registry.ErrNotFound) {
			return fmt.Errorf("account %q: %w; see 'homeward account list'", login, registry.ErrNotFound)
		}
		if err != nil {
			return err
		}
		return do(r, a)
	})
}
