package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

// AccountPath names an account.
type AccountPath struct {
	Account string `path:"account" maxLength:"64" doc:"Id of the account."`
}

type (
	accountOutput    struct{ Body api.Account }
	invitationOutput struct{ Body api.Invitation }
	sessionsOutput   struct{ Body api.Sessions }
)

func (s *Server) accountsRoutes() {
	tags := []string{"Accounts"}

	huma.Register(s.api, huma.Operation{
		OperationID: "list-accounts", Method: http.MethodGet, Path: prefix + "/accounts", Tags: tags,
		Summary: "List the accounts of the staff",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.Accounts }, error) {
		all, err := s.finder.Registry.Accounts(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		out := api.Accounts{Accounts: make([]api.Account, len(all))}
		for i, a := range all {
			out.Accounts[i] = apiAccount(a)
		}
		return &struct{ Body api.Accounts }{out}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "create-account", Method: http.MethodPost, Path: prefix + "/accounts", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Make an account, and the invitation to it", Errors: []int{http.StatusConflict},
		Description: "It cannot sign in until its person has taken up the invitation, or an outside identity is tied to it.",
	}, func(ctx context.Context, in *struct{ Body api.NewAccount }) (*invitationOutput, error) {
		a, invitation, err := s.finder.Registry.CreateAccount(ctx, registry.NewAccount{
			Login: in.Body.Login, Name: in.Body.Name, Role: registry.Role(in.Body.Role), Regions: in.Body.Regions,
			Organisation: in.Body.Organisation, Language: in.Body.Language,
		})
		if errors.Is(err, registry.ErrDuplicate) {
			err = s.tell(ctx, http.StatusConflict, "login_taken")
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return invited(a, invitation), nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "change-account", Method: http.MethodPatch, Path: prefix + "/accounts/{account}", Tags: tags,
		Summary: "Change an account, disable or enable it", Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, s.changeAccount)

	huma.Register(s.api, huma.Operation{
		OperationID: "invite-account", Method: http.MethodPost, Path: prefix + "/accounts/{account}/invitation", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Make a new invitation, for who has lost password or codes", Errors: []int{http.StatusNotFound},
		Description: "An earlier one ends. Password and codes stay until it is taken up.",
	}, func(ctx context.Context, in *AccountPath) (*invitationOutput, error) {
		a, err := s.member(ctx, in.Account)
		var invitation string
		if err == nil {
			invitation, err = s.finder.Registry.Invite(ctx, a.ID)
		}
		if err == nil {
			a, err = s.finder.Registry.Account(ctx, a.ID)
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return invited(a, invitation), nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-account-sessions", Method: http.MethodGet, Path: prefix + "/accounts/{account}/sessions", Tags: tags,
		Summary: "List where an account is signed in", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *AccountPath) (*sessionsOutput, error) {
		a, err := s.member(ctx, in.Account)
		var out api.Sessions
		if err == nil {
			out, err = s.sessions(ctx, a.ID)
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return &sessionsOutput{out}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "end-account-sessions", Method: http.MethodDelete, Path: prefix + "/accounts/{account}/sessions", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Sign an account out everywhere", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *AccountPath) (*struct{}, error) {
		a, err := s.member(ctx, in.Account)
		if err == nil {
			err = s.endSessions(ctx, a.ID, "")
		}
		return nil, s.problem(err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "end-account-session", Method: http.MethodDelete, Path: prefix + "/accounts/{account}/sessions/{session}", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Sign an account out on one device", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		AccountPath
		SessionPath
	}) (*struct{}, error) {
		a, err := s.member(ctx, in.Account)
		if err == nil {
			err = s.finder.Registry.EndSession(ctx, a.ID, in.Session)
		}
		return nil, s.problem(err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: prefix + "/accounts/{account}/keys", Tags: tags,
		Summary: "List the keys of an account", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *AccountPath) (*struct{ Body api.Keys }, error) {
		a, err := s.member(ctx, in.Account)
		var keys []api.Key
		if err == nil {
			keys, err = s.keys(ctx, a.ID)
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.Keys }{api.Keys{Keys: keys}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: prefix + "/accounts/{account}/keys", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Make a key with which a program acts as an account", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		AccountPath
		Body api.NewKey
	}) (*struct{ Body api.MadeKey }, error) {
		a, err := s.member(ctx, in.Account)
		var k registry.Key
		var secret string
		if err == nil {
			k, secret, err = s.finder.Registry.CreateKey(ctx, a.ID, in.Body.Name)
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.MadeKey }{api.MadeKey{Key: apiKey(k), Secret: secret}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: prefix + "/keys/{key}", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Make a key invalid for ever", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		Key string `path:"key" maxLength:"64" doc:"Id of the key."`
	}) (*struct{}, error) {
		return nil, s.problem(s.finder.Registry.RevokeKey(ctx, registry.KeyID(in.Key)))
	})

	s.engine.GET("/accounts", s.accountsPage)
	s.engine.GET("/accounts/:account", s.memberPage)
}

// member reads the account of someone on the staff. A family's comes with its report and belongs to its case, and
// who keeps accounts sees no case.
func (s *Server) member(ctx context.Context, id string) (registry.Account, error) {
	a, err := s.finder.Registry.Account(ctx, registry.AccountID(id))
	if err == nil && a.Role == registry.Family {
		return registry.Account{}, registry.ErrNotFound
	}
	return a, err
}

func (s *Server) changeAccount(ctx context.Context, in *struct {
	AccountPath
	Body api.AccountChange
}) (*accountOutput, error) {
	a, err := s.member(ctx, in.Account)
	if err != nil {
		return nil, s.problem(err)
	}
	ch := registry.AccountChange{
		Name: in.Body.Name, Regions: in.Body.Regions, Organisation: in.Body.Organisation, Language: in.Body.Language, Disabled: in.Body.Disabled,
	}
	if in.Body.Role != nil {
		role := registry.Role(*in.Body.Role)
		ch.Role = &role
	}
	if in.Body.Identity != nil {
		subject, err := outsideSubject(*in.Body.Identity)
		if err != nil {
			return nil, s.problem(err)
		}
		ch.Subject = &subject
	}
	a, err = s.finder.Registry.UpdateAccount(ctx, a.ID, ch)
	if errors.Is(err, registry.ErrDuplicate) {
		err = s.tell(ctx, http.StatusConflict, "identity_taken")
	}
	if err != nil {
		return nil, s.problem(err)
	}
	return &accountOutput{apiAccount(a)}, nil
}

// outsideSubject is an identity as the registry keeps it: the issuer, a blank, the subject.
func outsideSubject(i api.Identity) (string, error) {
	issuer, subject := strings.TrimSpace(i.Issuer), strings.TrimSpace(i.Subject)
	if issuer == "" && subject == "" {
		return "", nil
	}
	if len(strings.Fields(issuer)) != 1 || len(strings.Fields(subject)) != 1 {
		return "", &registry.FieldError{Field: "identity", Text: "needs both issuer and subject, without blanks; leave both empty for none"}
	}
	return issuer + " " + subject, nil
}

// invited tells an invitation, the once that it can be told.
func invited(a registry.Account, invitation string) *invitationOutput {
	return &invitationOutput{api.Invitation{ID: string(a.ID), Account: apiAccount(a), Invitation: "/welcome/" + invitation, Until: a.Invited}}
}

// States of an account.
const (
	accountActive   = "active"
	accountInvited  = "invited"
	accountExpired  = "expired"
	accountKeys     = "keys"
	accountDisabled = "disabled"
)

func accountState(a registry.Account) string {
	switch {
	case !a.Disabled.IsZero():
		return accountDisabled
	case a.HasPassword || a.Subject != "":
		return accountActive
	case !a.Invited.IsZero():
		return accountInvited
	case a.Login == "":
		return accountKeys
	}
	return accountExpired
}

func apiAccount(a registry.Account) api.Account {
	out := api.Account{
		ID: string(a.ID), Login: a.Login, Name: a.Name, Role: string(a.Role), Regions: append([]string{}, a.Regions...),
		Organisation: a.Organisation, Language: a.Language, State: accountState(a), CreatedAt: a.CreatedAt,
	}
	if issuer, subject, ok := strings.Cut(a.Subject, " "); ok {
		out.Identity = &api.Identity{Issuer: issuer, Subject: subject}
	}
	if !a.Invited.IsZero() {
		out.InvitedUntil = &a.Invited
	}
	if !a.Disabled.IsZero() {
		out.DisabledAt = &a.Disabled
	}
	return out
}

func apiKey(k registry.Key) api.Key {
	out := api.Key{ID: string(k.ID), Name: k.Name, CreatedAt: k.CreatedAt}
	if !k.LastUsed.IsZero() {
		out.LastUsed = &k.LastUsed
	}
	if !k.Revoked.IsZero() {
		out.RevokedAt = &k.Revoked
	}
	return out
}

func (s *Server) keys(ctx context.Context, id registry.AccountID) ([]api.Key, error) {
	all, err := s.finder.Registry.Keys(ctx)
	out := []api.Key{}
	for _, k := range all {
		if k.Account == id {
			out = append(out, apiKey(k))
		}
	}
	return out, err
}

// accountsPage lists the accounts, and the regions that they can have.
type accountsPage struct {
	Accounts  []memberRow
	Form      memberForm
	Regions   []api.Region
	Languages []string // that a region is given names in
}

// memberRow is an account with its codes in words.
type memberRow struct {
	api.Account
	RoleName, StateName string
	RegionNames         string
	Until               string // of the invitation
}

// memberForm is what can be chosen for an account.
type memberForm struct {
	Roles, Regions, Languages []choice
	Organisation              string
	Own                       bool // nobody changes the own role
}

// memberPage is one account with all that can be done to it.
type memberPage struct {
	memberRow
	Form     memberForm
	Own      bool // the caller's
	Sessions []sessionRow
	// SessionsPath is where the API has them.
	SessionsPath string
	Keys         []keyRow
}

type keyRow struct {
	api.Key
	Made, Used, Revoked string
}

func (s *Server) accountsPage(c *gin.Context) {
	own, err := s.accountsList(c.Request.Context())
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "accounts.html", "accounts.title", own)
}

func (s *Server) accountsList(ctx context.Context) (own accountsPage, err error) {
	all, err := s.finder.Registry.Accounts(ctx)
	if err != nil {
		return own, err
	}
	names, err := s.regionNames(ctx)
	if err != nil {
		return own, err
	}
	for _, a := range all {
		own.Accounts = append(own.Accounts, s.memberRow(ctx, a, names))
	}
	slices.SortStableFunc(own.Accounts, func(a, b memberRow) int {
		if (a.State == accountDisabled) != (b.State == accountDisabled) {
			if a.State == accountDisabled {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	if own.Form, err = s.memberForm(ctx, registry.Account{}); err != nil {
		return own, err
	}
	for _, l := range s.text.Languages() {
		own.Languages = append(own.Languages, l.Code)
	}
	own.Regions, err = s.regions(ctx)
	return own, err
}

func (s *Server) memberRow(ctx context.Context, a registry.Account, names regionNames) memberRow {
	say := s.printer(ctx)
	row := memberRow{Account: apiAccount(a), RoleName: say.T("role." + string(a.Role)), RegionNames: namesOf(say, names, a.Regions)}
	row.StateName = say.T("accounts.state." + row.State)
	if !a.Invited.IsZero() {
		row.Until = when(a.Invited)
	}
	return row
}

// namesOf are regions in the reader's words.
func namesOf(say interface{ T(string, ...any) string }, names regionNames, codes []string) string {
	var out []string
	for _, code := range codes {
		if code == registry.Everywhere {
			out = append(out, say.T("accounts.everywhere"))
		} else {
			out = append(out, names.of(code))
		}
	}
	return strings.Join(out, say.T("history.fields.between"))
}

// memberForm offers what can be chosen, with what the account has chosen already, be it known or not.
func (s *Server) memberForm(ctx context.Context, a registry.Account) (f memberForm, err error) {
	say := s.printer(ctx)
	f.Organisation, f.Own = a.Organisation, a.ID == caller(ctx).Account
	for _, r := range registry.Roles {
		if r.Staff() {
			f.Roles = append(f.Roles, choice{string(r), say.T("role." + string(r)), r == a.Role})
		}
	}
	f.Regions = []choice{{registry.Everywhere, say.T("accounts.everywhere"), slices.Contains(a.Regions, registry.Everywhere)}}
	known, err := s.regionChoices(ctx, "")
	if err != nil {
		return f, err
	}
	for _, r := range known {
		f.Regions = append(f.Regions, choice{r.Value, r.Text, slices.Contains(a.Regions, r.Value)})
	}
	for _, code := range a.Regions {
		if !slices.ContainsFunc(f.Regions, func(r choice) bool { return r.Value == code }) {
			f.Regions = append(f.Regions, choice{code, code, true})
		}
	}
	for _, l := range s.text.Languages() {
		f.Languages = append(f.Languages, choice{l.Code, l.Name, l.Code == a.Language})
	}
	return f, nil
}

func (s *Server) memberPage(c *gin.Context) {
	ctx := c.Request.Context()
	a, err := s.member(ctx, c.Param("account"))
	if err != nil {
		s.problemPage(c, err)
		return
	}
	own, err := s.memberOf(ctx, a)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.titled(c, http.StatusOK, "member.html", a.Name, own)
}

func (s *Server) memberOf(ctx context.Context, a registry.Account) (own memberPage, err error) {
	names, err := s.regionNames(ctx)
	if err != nil {
		return own, err
	}
	own.memberRow, own.Own = s.memberRow(ctx, a, names), a.ID == caller(ctx).Account
	if own.Form, err = s.memberForm(ctx, a); err != nil {
		return own, err
	}
	sessions, err := s.sessions(ctx, a.ID)
	if err != nil {
		return own, err
	}
	own.Sessions, own.SessionsPath = sessionRows(sessions), "/accounts/"+string(a.ID)+"/sessions"
	keys, err := s.keys(ctx, a.ID)
	for _, k := range keys {
		row := keyRow{Key: k, Made: when(k.CreatedAt)}
		if k.LastUsed != nil {
			row.Used = when(*k.LastUsed)
		}
		if k.RevokedAt != nil {
			row.Revoked = when(*k.RevokedAt)
		}
		own.Keys = append(own.Keys, row)
	}
	return own, err
}
