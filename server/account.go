package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

// SessionPath names a session. It opens nothing.
type SessionPath struct {
	Session string `path:"session" maxLength:"64" doc:"Id of the session."`
}

func (s *Server) accountRoutes() {
	tags := []string{"Your account"}

	huma.Register(s.api, huma.Operation{
		OperationID: "get-own-account", Method: http.MethodGet, Path: prefix + "/account", Tags: tags,
		Summary: "Read your own account",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.Self }, error) {
		a, err := s.finder.Registry.Account(ctx, caller(ctx).Account)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.Self }{api.Self{Account: apiAccount(a), Purpose: caller(ctx).Purpose}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-own-sessions", Method: http.MethodGet, Path: prefix + "/account/sessions", Tags: tags,
		Summary: "List where you are signed in",
	}, func(ctx context.Context, _ *struct{}) (*sessionsOutput, error) {
		out, err := s.sessions(ctx, caller(ctx).Account)
		if err != nil {
			return nil, s.problem(err)
		}
		return &sessionsOutput{out}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "end-own-sessions", Method: http.MethodDelete, Path: prefix + "/account/sessions", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Sign out everywhere but here",
	}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		return nil, s.problem(s.endSessions(ctx, caller(ctx).Account, caller(ctx).Via))
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "end-own-session", Method: http.MethodDelete, Path: prefix + "/account/sessions/{session}", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Sign out on one device", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *SessionPath) (*struct{}, error) {
		return nil, s.problem(s.finder.Registry.EndSession(ctx, caller(ctx).Account, in.Session))
	})

	s.engine.GET("/account", s.accountPage)
}

// sessions of an account, without what its person was doing in them: that belongs to cases.
func (s *Server) sessions(ctx context.Context, id registry.AccountID) (api.Sessions, error) {
	all, err := s.finder.Registry.Sessions(ctx, id)
	out := api.Sessions{Sessions: make([]api.Session, len(all))}
	for i, v := range all {
		out.Sessions[i] = api.Session{
			ID: v.ID, Device: v.Device, CreatedAt: v.CreatedAt, SeenAt: v.SeenAt, ExpiresAt: v.ExpiresAt, Present: v.ID == caller(ctx).Via,
		}
	}
	return out, err
}

// endSessions signs an account out everywhere but in one session.
func (s *Server) endSessions(ctx context.Context, id registry.AccountID, but string) error {
	all, err := s.finder.Registry.Sessions(ctx, id)
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.ID == but {
			continue
		}
		// One that ended by itself in the meantime is as it should be.
		if err := s.finder.Registry.EndSession(ctx, id, v.ID); err != nil && !errors.Is(err, registry.ErrNotFound) {
			return err
		}
	}
	return nil
}

// accountPage is the caller's own account.
type accountPage struct {
	memberRow
	LanguageName string
	Purpose      string
	Sessions     []sessionRow
	SessionsPath string
	Others       bool // sessions beside this one
}

type sessionRow struct {
	api.Session
	Began, Seen string
}

func sessionRows(all api.Sessions) []sessionRow {
	var out []sessionRow
	for _, v := range all.Sessions {
		out = append(out, sessionRow{v, when(v.CreatedAt), when(v.SeenAt)})
	}
	return out
}

func (s *Server) accountPage(c *gin.Context) {
	own, err := s.ownAccount(c.Request.Context())
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "account.html", "account.title", own)
}

func (s *Server) ownAccount(ctx context.Context) (own accountPage, err error) {
	a, err := s.finder.Registry.Account(ctx, caller(ctx).Account)
	if err != nil {
		return own, err
	}
	names, err := s.regionNames(ctx)
	if err != nil {
		return own, err
	}
	sessions, err := s.sessions(ctx, a.ID)
	if err != nil {
		return own, err
	}
	own = accountPage{
		memberRow: s.memberRow(ctx, a, names), LanguageName: s.printer(ctx).T("accounts.language.browser"), Purpose: caller(ctx).Purpose,
		Sessions: sessionRows(sessions), SessionsPath: "/account/sessions",
	}
	for _, l := range s.text.Languages() {
		if l.Code == a.Language {
			own.LanguageName = l.Name
		}
	}
	for _, v := range own.Sessions {
		own.Others = own.Others || !v.Present
	}
	return own, nil
}
