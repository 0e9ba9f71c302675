package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Account is someone who may sign in. A family's has no login: its link and code open it.
type Account struct {
	ID           AccountID
	Login        string // lower case
	Name         string
	Role         Role
	Regions      []string // region codes; Everywhere is all
	Organisation string   // of a laboratory: which one
	Language     string   // "en", "zh", …; empty: as the browser asks
	Subject      string   // of an outside sign-in: issuer, blank, subject
	HasPassword  bool
	HasTOTP      bool
	Invited      time.Time // until when an invitation can be taken up; zero when there is none
	CreatedBy    AccountID
	CreatedAt    time.Time
	Disabled     time.Time // zero while it may sign in
}

// Limits on accounts.
const (
	MaxLogin        = 100
	MinPassword     = 12
	MaxPassword     = 200
	MaxRegions      = 100
	InvitationLife  = 72 * time.Hour
	MaxOrganisation = 200
)

const (
	maxLanguage = 35 // of a tag, by RFC 5646
	maxRegion   = 50
	maxSubject  = 600
)

// clockSlip is how far ahead of now something may have been stored. What lies further ahead was stored while the clock was
// wrong, and would otherwise outlive its time by as much.
const clockSlip = 24 * time.Hour

// NewAccount is what is said of an account when it is made.
type NewAccount struct {
	Login, Name  string
	Role         Role
	Regions      []string
	Organisation string
	Language     string
}

const accountColumns = `a.id, a.login, a.name, a.role, a.regions, a.organisation, a.language, a.subject, a.password <> '', a.totp <> x'',
	CASE a.invite WHEN x'' THEN 0 ELSE a.invite_until END, a.created_by, a.created_at, a.disabled_at`

func (r *Registry) scanAccount(row scanner) (Account, error) {
	var a Account
	var regions string
	var invited, created, disabled int64
	err := row.Scan(&a.ID, &a.Login, &a.Name, &a.Role, &regions, &a.Organisation, &a.Language, &a.Subject, &a.HasPassword, &a.HasTOTP,
		&invited, &a.CreatedBy, &created, &disabled)
	if err != nil {
		return Account{}, err
	}
	if err := json.Unmarshal([]byte(regions), &a.Regions); err != nil {
		return Account{}, fmt.Errorf("regions of account %s: %w: %w", a.ID, ErrCorrupt, err)
	}
	if until := fromMillis(invited); r.invitationStands(until) {
		a.Invited = until
	}
	a.CreatedAt, a.Disabled = fromMillis(created), fromMillis(disabled)
	return a, nil
}

func (r *Registry) invitationStands(until time.Time) bool {
	left := until.Sub(r.now())
	return left > 0 && left <= InvitationLife+clockSlip
}

// foldLogin is a login as it is stored: the same whatever the case and however the keyboard put its characters together.
func foldLogin(login string) string {
	return strings.ToLower(norm.NFKC.String(strings.TrimSpace(login)))
}

// tidy trims what is said of an account and checks it against the rules.
func (a *Account) tidy() (err error) {
	if a.Name, err = line("name", a.Name, MaxName); err != nil {
		return err
	}
	if a.Organisation, err = line("organisation", a.Organisation, MaxOrganisation); err != nil {
		return err
	}
	if a.Language, err = line("language", a.Language, maxLanguage); err != nil {
		return err
	}
	if strings.ContainsFunc(a.Language, func(c rune) bool { return !hyphenated(c) }) {
		return &FieldError{"language", "is not a language; write it as en or zh"}
	}
	if a.Subject, err = line("subject", a.Subject, maxSubject); err != nil {
		return err
	}
	if a.Subject != "" && len(strings.Fields(a.Subject)) != 2 {
		return &FieldError{"subject", "is not an outside sign-in; write its issuer, a blank and its subject"}
	}
	if len(a.Regions) > MaxRegions {
		return &FieldError{"regions", fmt.Sprintf("has %d entries; give at most %d, or a code that covers several", len(a.Regions), MaxRegions)}
	}
	regions := []string{} // the caller's slice stays as it is
	for _, code := range a.Regions {
		if code, err = line("regions", code, maxRegion); err != nil {
			return err
		}
		if code == "" || code != Everywhere && strings.ContainsFunc(code, func(c rune) bool { return !hyphenated(c) }) {
			return &FieldError{"regions", fmt.Sprintf("has %q, which is not a region's code; write it as CN-51, or %s for all", code, Everywhere)}
		}
		if !slices.Contains(regions, code) {
			regions = append(regions, code)
		}
	}
	a.Regions = regions
	if a.Role == Family {
		return nil
	}
	switch {
	case !slices.Contains(Roles, a.Role):
		return &FieldError{"role", "must be officer, examiner, supervisor, laboratory, auditor or administrator"}
	case a.Name == "":
		return &FieldError{"name", "is empty; say who it is, as colleagues know them"}
	case a.Role == Laboratory && a.Organisation == "":
		return &FieldError{"organisation", "is empty; name the laboratory"}
	}
	return nil
}

func hyphenated(c rune) bool { return c == '-' || unicode.IsLetter(c) || unicode.IsDigit(c) }

// CreateAccount makes a staff account that cannot sign in yet, and the invitation with which its person chooses a password
// and sets up codes. The invitation ("hi_…") is told once. *FieldError for what breaks the rules; ErrDuplicate when the
// login is taken.
func (r *Registry) CreateAccount(ctx context.Context, n NewAccount) (a Account, invitation string, err error) {
	a = Account{
		ID: AccountID(newID("a_")), Name: n.Name, Role: n.Role, Regions: n.Regions, Organisation: n.Organisation, Language: n.Language,
		CreatedBy: ActorOf(ctx).Account, CreatedAt: r.now(),
	}
	if a.Login, err = line("login", foldLogin(n.Login), MaxLogin); err != nil {
		return Account{}, "", err
	}
	if a.Login == "" || strings.ContainsFunc(a.Login, func(c rune) bool { return !hyphenated(c) && !strings.ContainsRune("._@+", c) }) {
		return Account{}, "", &FieldError{"login", "must be letters, digits and any of . _ - @ +, such as an e-mail address"}
	}
	if a.Role == Family {
		return Account{}, "", &FieldError{"role", "is family: a family's account comes with its report. Choose another role"}
	}
	if err := a.tidy(); err != nil {
		return Account{}, "", err
	}
	invitation = newID("hi_")
	a.Invited = a.CreatedAt.Add(InvitationLife)
	err = r.change(ctx, "create account", func(ctx context.Context, tx *sql.Tx) error {
		var taken bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM accounts WHERE login = ?)", a.Login).Scan(&taken); err != nil {
			return err
		}
		if taken {
			return refused(ErrDuplicate, "the login %s is taken; choose another one", a.Login)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO accounts (id, login, name, role, regions, organisation, language, invite, invite_until, created_by, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, a.ID, a.Login, a.Name, a.Role, jsonText(a.Regions), a.Organisation, a.Language,
			hashSecret(invitation), millis(a.Invited), a.CreatedBy, millis(a.CreatedAt))
		if err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "account.created", Subject: string(a.ID), Detail: map[string]string{"role": string(a.Role)}})
	})
	if err != nil {
		return Account{}, "", err
	}
	return a, invitation, nil
}

// AccountChange changes what it names.
type AccountChange struct {
	Name         *string
	Role         *Role // between staff roles
	Regions      *[]string
	Organisation *string
	Language     *string
	Subject      *string
	Disabled     *bool // true also ends its invitation, its sessions and its keys
}

// UpdateAccount changes an account, sessions and keys under way included. ErrNotFound; *FieldError for what breaks the rules,
// for an actor that changes its own role, and for what would leave no administrator who may sign in; ErrDuplicate when the
// subject is another account's.
func (r *Registry) UpdateAccount(ctx context.Context, id AccountID, ch AccountChange) (a Account, err error) {
	err = r.change(ctx, "change account "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		before, err := r.scanAccount(tx.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts a WHERE a.id = ?", id))
		if err != nil {
			return err
		}
		a = before
		set(&a.Name, ch.Name)
		set(&a.Role, ch.Role)
		set(&a.Regions, ch.Regions)
		set(&a.Organisation, ch.Organisation)
		set(&a.Language, ch.Language)
		set(&a.Subject, ch.Subject)
		if ch.Disabled != nil && *ch.Disabled != !a.Disabled.IsZero() {
			a.Disabled = time.Time{}
			if *ch.Disabled {
				a.Disabled = r.now()
			}
		}
		if err := a.tidy(); err != nil {
			return err
		}
		changes, err := r.accountChanges(ctx, tx, before, a)
		if err != nil || changes == nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE accounts SET name = ?, role = ?, regions = ?, organisation = ?, language = ?, subject = ?, disabled_at = ?
			WHERE id = ?`, a.Name, a.Role, jsonText(a.Regions), a.Organisation, a.Language, a.Subject, millis(a.Disabled), id); err != nil {
			return err
		}
		notes := []Note{{Action: "account.changed", Subject: string(id), Detail: changes}}
		if !a.Disabled.IsZero() && before.Disabled.IsZero() {
			a.Invited = time.Time{}
			ended, err := r.shut(ctx, tx, id)
			if err != nil {
				return err
			}
			notes = append(notes, ended...)
		}
		return r.audit(ctx, tx, notes...)
	})
	if err != nil {
		return Account{}, err
	}
	return a, nil
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// accountChanges says what differs, for the audit, and refuses what must not be; nil when nothing differs.
func (r *Registry) accountChanges(ctx context.Context, tx *sql.Tx, before, after Account) (map[string]string, error) {
	var fields []string
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"name", before.Name != after.Name},
		{"role", before.Role != after.Role},
		{"regions", !slices.Equal(before.Regions, after.Regions)},
		{"organisation", before.Organisation != after.Organisation},
		{"language", before.Language != after.Language},
		{"subject", before.Subject != after.Subject},
		{"disabled", before.Disabled.IsZero() != after.Disabled.IsZero()},
	} {
		if f.differs {
			fields = append(fields, f.name)
		}
	}
	if fields == nil {
		return nil, nil
	}
	detail := map[string]string{"fields": strings.Join(fields, ",")}
	if before.Role != after.Role {
		switch {
		case before.Role == Family || after.Role == Family:
			return nil, &FieldError{"role", "cannot become or cease to be family; make another account"}
		case ActorOf(ctx).Account == before.ID:
			return nil, &FieldError{"role", "is your own; ask another administrator to change it"}
		}
		detail["role_before"], detail["role_after"] = string(before.Role), string(after.Role)
	}
	if before.Disabled.IsZero() != after.Disabled.IsZero() {
		detail["disabled"] = fmt.Sprint(!after.Disabled.IsZero())
	}
	if before.Role == Family && before.Subject != after.Subject {
		return nil, &FieldError{"subject", "is for staff; a family signs in by its link"}
	}
	keeps := func(a Account) bool { return a.Role == Administrator && a.Disabled.IsZero() }
	if keeps(before) && !keeps(after) {
		var others bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM accounts WHERE role = ? AND disabled_at = 0 AND id <> ?)", Administrator, before.ID).Scan(&others)
		if err != nil {
			return nil, err
		}
		if !others {
			field := "role"
			if before.Role == after.Role {
				field = "disabled"
			}
			return nil, &FieldError{field, "would leave no administrator; make another one first"}
		}
	}
	if before.Subject != after.Subject && after.Subject != "" {
		var taken bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM accounts WHERE subject = ? AND id <> ?)", after.Subject, before.ID).Scan(&taken); err != nil {
			return nil, err
		}
		if taken {
			return nil, refused(ErrDuplicate, "another account has this outside sign-in; take it from there first")
		}
	}
	return detail, nil
}

// shut ends what could still open an account that was disabled, so that it stays shut when the account is enabled again.
func (r *Registry) shut(ctx context.Context, tx *sql.Tx, id AccountID) (notes []Note, err error) {
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET invite = x'', invite_until = 0, totp_pending = x'' WHERE id = ?", id); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE account_id = ?", id); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, "UPDATE keys SET revoked = ? WHERE account_id = ? AND revoked = 0 RETURNING id", millis(r.now()), id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		n := Note{Action: "key.revoked"}
		if err := rows.Scan(&n.Subject); err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, rows.Err()
}

// Invite makes a new invitation for an account, which ends an earlier one. Password and codes stay until it is taken up.
// ErrNotFound; *FieldError when the account is disabled or has no login to sign in with.
func (r *Registry) Invite(ctx context.Context, id AccountID) (invitation string, err error) {
	invitation = newID("hi_")
	err = r.change(ctx, "invite "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		a, err := r.scanAccount(tx.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts a WHERE a.id = ?", id))
		if err != nil {
			return err
		}
		if a.Login == "" {
			return &FieldError{"login", "is missing: this account cannot sign in with a password. Make another one"}
		}
		if !a.Disabled.IsZero() {
			return &FieldError{"disabled", "is set: enable the account first"}
		}
		// Another secret too: whoever saw the one before may not be who takes this up.
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET invite = ?, invite_until = ?, totp_pending = x'' WHERE id = ?",
			hashSecret(invitation), millis(r.now().Add(InvitationLife)), id); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "account.invited", Subject: string(id)})
	})
	if err != nil {
		return "", err
	}
	return invitation, nil
}

func (r *Registry) accountWhere(ctx context.Context, what, where string, args ...any) (Account, error) {
	a, err := r.scanAccount(r.readers.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts a WHERE "+where, args...))
	return a, wrap(err, "%s", what)
}

// Account reads an account. ErrNotFound.
func (r *Registry) Account(ctx context.Context, id AccountID) (Account, error) {
	return r.accountWhere(ctx, "account "+string(id), "a.id = ?", id)
}

// AccountByLogin reads the account of a login, in any case. ErrNotFound.
func (r *Registry) AccountByLogin(ctx context.Context, login string) (Account, error) {
	return r.accountWhere(ctx, "account of a login", "a.login = ? AND a.login <> ''", foldLogin(login))
}

// AccountBySubject reads the account of an outside sign-in, a disabled one too. ErrNotFound.
func (r *Registry) AccountBySubject(ctx context.Context, issuer, subject string) (Account, error) {
	return r.accountWhere(ctx, "account of an outside sign-in", "a.subject = ? AND a.subject <> ''", issuer+" "+subject)
}

// Accounts lists staff accounts, disabled ones included, oldest first.
func (r *Registry) Accounts(ctx context.Context) ([]Account, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT "+accountColumns+" FROM accounts a WHERE a.role <> ? ORDER BY a.n", Family)
	if err != nil {
		return nil, wrap(err, "list accounts")
	}
	defer rows.Close()
	var out []Account
	for rows.Next() {
		a, err := r.scanAccount(rows)
		if err != nil {
			return nil, wrap(err, "list accounts")
		}
		out = append(out, a)
	}
	return out, wrap(rows.Err(), "list accounts")
}

// Invitation is a taken-up invitation in the making: what an authenticator is shown.
type Invitation struct {
	Account Account
	Secret  string // of the codes, base32, for an authenticator
	URL     string // the same as an otpauth URL
}

// rowQuerier is a database, or a transaction in it.
type rowQuerier interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// invited reads the account of an invitation that stands, and the sealed secret it shows, empty until it is first opened.
func (r *Registry) invited(ctx context.Context, q rowQuerier, invitation string) (a Account, pending []byte, err error) {
	hash := hashSecret(invitation)
	if a, err = r.scanAccount(q.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts a WHERE a.invite = ? AND a.disabled_at = 0", hash)); err != nil {
		return Account{}, nil, err
	}
	if a.Invited.IsZero() {
		return Account{}, nil, ErrNotFound
	}
	err = q.QueryRowContext(ctx, "SELECT totp_pending FROM accounts WHERE invite = ?", hash).Scan(&pending)
	return a, pending, err
}

// OpenInvitation shows what an invitation is for. The secret is the same every time it is opened. ErrNotFound when it was
// taken up, replaced or is over.
func (r *Registry) OpenInvitation(ctx context.Context, invitation string) (_ Invitation, err error) {
	defer func() { err = wrap(err, "open invitation") }()
	a, pending, err := r.invited(ctx, r.readers, invitation)
	if err != nil {
		return Invitation{}, err
	}
	if len(pending) == 0 {
		err = r.change(ctx, "make a secret", func(ctx context.Context, tx *sql.Tx) error {
			if a, pending, err = r.invited(ctx, tx, invitation); err != nil || len(pending) > 0 {
				return err
			}
			if pending, err = r.keys.newTOTP(a.ID); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE accounts SET totp_pending = ? WHERE id = ?", pending, a.ID); err != nil {
				return err
			}
			return r.audit(ctx, tx, Note{Action: "invitation.opened", Subject: string(a.ID)})
		})
		if err != nil {
			return Invitation{}, err
		}
	}
	secret, err := r.keys.openTOTP(a.ID, pending)
	if err != nil {
		return Invitation{}, err
	}
	address, err := codeURL(a.Login, secret)
	return Invitation{Account: a, Secret: codeText(secret), URL: address}, err
}

// Enrol takes up an invitation: sets the password and the codes, of which one must be given as proof, and ends all sessions
// of the account. *FieldError for a password that is too weak (field "password") or a wrong code (field "code"); ErrNotFound
// as OpenInvitation, and when it was never opened. The code given is used up.
func (r *Registry) Enrol(ctx context.Context, invitation, password, code string) (_ Account, err error) {
	defer func() { err = wrap(err, "take up invitation") }()
	a, pending, err := r.invited(ctx, r.readers, invitation)
	if err != nil {
		return Account{}, err
	}
	if len(pending) == 0 {
		return Account{}, ErrNotFound
	}
	if password, err = newPassword(a, password); err != nil {
		return Account{}, err
	}
	secret, err := r.keys.openTOTP(a.ID, pending)
	if err != nil {
		return Account{}, err
	}
	step, ok := matchCode(secret, code, r.now(), 0)
	if !ok {
		return Account{}, &FieldError{"code", "is not right; type the one that the authenticator shows now, and check that its clock is right"}
	}
	hash, err := r.hashPassword(ctx, password) // outside the transaction: it takes its time
	if err != nil {
		return Account{}, err
	}
	err = r.change(ctx, "store password and codes", func(ctx context.Context, tx *sql.Tx) error {
		if err := changed(tx.ExecContext(ctx, `UPDATE accounts SET password = ?, totp = totp_pending, totp_step = ?, totp_pending = x'', invite = x'', invite_until = 0
			WHERE id = ? AND invite = ? AND totp_pending = ? AND disabled_at = 0`, hash, step, a.ID, hashSecret(invitation), pending)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE account_id = ?", a.ID); err != nil {
			return err
		}
		return r.audit(WithActor(ctx, Actor{Account: a.ID, Role: a.Role}), tx, Note{Action: "account.enrolled", Subject: string(a.ID)})
	})
	if err != nil {
		return Account{}, err
	}
	return r.Account(ctx, a.ID)
}

// SignIn checks login, password and code. ErrNotFound when any of them is wrong, without saying which, in the same time;
// a code is good once.
func (r *Registry) SignIn(ctx context.Context, login, password, code string) (_ Account, err error) {
	defer func() { err = wrap(err, "sign in") }()
	var id AccountID
	var stored string
	var sealed []byte
	var used, disabled int64
	err = r.readers.QueryRowContext(ctx, "SELECT id, password, totp, totp_step, disabled_at FROM accounts WHERE login = ? AND login <> ''", foldLogin(login)).
		Scan(&id, &stored, &sealed, &used, &disabled)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Account{}, err
	}
	// From here on, every refusal takes the same steps.
	open := stored != "" && len(sealed) > 0 && disabled == 0
	secret := make([]byte, codeSecret)
	if open {
		if secret, err = r.keys.openTOTP(id, sealed); err != nil {
			return Account{}, err
		}
	} else {
		stored = noPassword
	}
	right, err := r.checkPassword(ctx, stored, password)
	if err != nil {
		return Account{}, err
	}
	_, fresh := matchCode(secret, code, r.now(), used)
	if open && right && fresh {
		err := r.spendCode(ctx, id, stored, code)
		if err == nil {
			return r.Account(ctx, id)
		}
		if !errors.Is(err, ErrNotFound) {
			return Account{}, err
		}
	}
	return Account{}, r.refused(ctx, id)
}

// refused puts a sign-in that failed on record and is its error. The record is made for logins that do not exist too, which
// it does not hold: writing takes time.
func (r *Registry) refused(ctx context.Context, id AccountID) error {
	if err := r.Record(ctx, Note{Action: "session.refused", Subject: string(id)}); err != nil {
		return err
	}
	return ErrNotFound
}

// CheckCode checks a code alone, of an account whose first factor was checked elsewhere (OIDC). ErrNotFound when it is wrong.
func (r *Registry) CheckCode(ctx context.Context, id AccountID, code string) (err error) {
	defer func() { err = wrap(err, "sign in") }()
	var password string
	err = r.readers.QueryRowContext(ctx, "SELECT password FROM accounts WHERE id = ?", id).Scan(&password)
	if err != nil {
		return err
	}
	if err = r.spendCode(ctx, id, password, code); errors.Is(err, ErrNotFound) {
		return r.refused(ctx, id)
	}
	return err
}
