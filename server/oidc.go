package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/oauth2"

	"homeward/registry"
)

// OIDC is an agency's own sign-in (OpenID Connect), beside passwords. It says who someone is; what they may do stays ours: an
// administrator ties each outside identity to an account.
type OIDC struct {
	Issuer, ClientID, ClientSecret string
	Name                           string // on the button
}

const (
	// oidcCookie ties a browser to the sign-in that it began.
	oidcCookie = "homeward_oidc"
	oidcLife   = 10 * time.Minute
	oidcKept   = 1000
)

// strong are the ways of signing in (RFC 8176) that stand for a second factor. Without one of them we ask for our own code:
// a finger or a face alone is one factor.
var strong = []string{"mfa", "otp", "hwk", "sc"}

// issuerPatience bounds the wait for an issuer: others may be waiting behind it.
const issuerPatience = 10 * time.Second

// outside is the sign-in by OIDC.
type outside struct {
	OIDC
	begun  *lru.Cache[string, begun] // by the cookie's value
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider // nil until the issuer has answered once
}

// begun is a sign-in under way.
type begun struct {
	state, nonce, verifier, back string
	account                      registry.AccountID // once the issuer has said who it is
	until                        time.Time
}

func newOutside(o OIDC) (*outside, error) {
	kept, err := lru.New[string, begun](oidcKept)
	return &outside{OIDC: o, begun: kept, client: &http.Client{Timeout: issuerPatience}}, err
}

func (s *Server) oidcRoutes() {
	s.engine.GET("/oidc/start", s.oidcStart)
	s.engine.GET("/oidc/callback", s.oidcCallback)
	s.engine.POST("/oidc/code", s.oidcCode)
}

// config asks the issuer for its addresses the first time: the server starts without it.
func (o *outside) config(ctx context.Context, r *http.Request) (*oidc.Provider, *oauth2.Config, error) {
	if o.Issuer == "" {
		return nil, nil, registry.ErrNotFound
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider == nil {
		// The keys are fetched again later, so the provider must outlive this request.
		p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), o.client), o.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask %s how to sign in: %w", o.Issuer, err)
		}
		o.provider = p
	}
	return o.provider, &oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: o.provider.Endpoint(),
		RedirectURL: origin(r) + "/oidc/callback", Scopes: []string{oidc.ScopeOpenID},
	}, nil
}

// origin is this server's address as the browser knows it.
func origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// oidcDown is told where the issuer cannot be reached, or answers what makes no sense.
func (s *Server) oidcDown(c *gin.Context, err error) {
	if errors.Is(err, registry.ErrNotFound) { // there is no such sign-in here
		s.problemPage(c, err)
		return
	}
	s.log.Error("outside sign-in", "error", err)
	s.problemPage(c, s.tell(c.Request.Context(), http.StatusBadGateway, "issuer_down"))
}

func (s *Server) oidcStart(c *gin.Context) {
	_, config, err := s.outside.config(c.Request.Context(), c.Request)
	if err != nil {
		s.oidcDown(c, err)
		return
	}
	b := begun{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), back: back(c.Query("back")), until: time.Now().Add(oidcLife)}
	name := rand.Text()
	s.outside.begun.Add(name, b)
	s.setCookie(c, oidcCookie, name, oidcLife)
	c.Redirect(http.StatusSeeOther, config.AuthCodeURL(b.state, oidc.Nonce(b.nonce), oauth2.S256ChallengeOption(b.verifier)))
}

// oidcEnded is told where a sign-in was not begun here, took too long, or was answered twice.
func (s *Server) oidcEnded(c *gin.Context) {
	s.problemPage(c, newProblem(http.StatusBadRequest, "sign_in_ended", "This sign-in has ended or was not begun in this browser. Begin again."))
}

// under takes the sign-in that this browser began; it is good once.
func (s *Server) under(c *gin.Context) (name string, b begun, ok bool) {
	name, _ = c.Cookie(oidcCookie)
	b, ok = s.outside.begun.Get(name)
	s.outside.begun.Remove(name)
	return name, b, ok && time.Now().Before(b.until)
}

func (s *Server) oidcCallback(c *gin.Context) {
	ctx := c.Request.Context()
	provider, config, err := s.outside.config(ctx, c.Request)
	if err != nil {
		s.oidcDown(c, err)
		return
	}
	ctx = oidc.ClientContext(ctx, s.outside.client)
	name, b, ok := s.under(c)
	if !ok || c.Query("state") != b.state || c.Query("code") == "" {
		s.oidcEnded(c)
		return
	}
	token, err := config.Exchange(ctx, c.Query("code"), oauth2.VerifierOption(b.verifier))
	if said := (*oauth2.RetrieveError)(nil); err != nil && !errors.As(err, &said) {
		s.oidcDown(c, err)
		return
	}
	if err != nil {
		s.log.Warn("outside sign-in refused", "error", err)
		s.oidcEnded(c)
		return
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: s.outside.ClientID}).Verify(ctx, raw)
	var claims struct {
		AMR []string `json:"amr"`
	}
	if err == nil {
		err = id.Claims(&claims)
	}
	if err != nil || id.Nonce != b.nonce {
		s.log.Warn("outside sign-in refused", "error", err)
		s.oidcEnded(c)
		return
	}
	account, err := s.finder.Registry.AccountBySubject(ctx, id.Issuer, id.Subject)
	if err == nil && !account.Disabled.IsZero() {
		err = s.oidcRefused(ctx, account.ID, s.tell(ctx, http.StatusForbidden, "account_disabled"))
	}
	if errors.Is(err, registry.ErrNotFound) {
		err = s.oidcRefused(ctx, "", newProblem(http.StatusForbidden, "unknown_identity",
			s.printer(ctx).T("signin.unknown", "Issuer", id.Issuer, "Subject", id.Subject)))
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	if slices.ContainsFunc(claims.AMR, func(way string) bool { return slices.Contains(strong, way) }) {
		s.oidcEnter(c, account.ID, b.back)
		return
	}
	if !account.HasTOTP { // there is no code that could be right
		s.problemPage(c, s.oidcRefused(ctx, account.ID, s.tell(ctx, http.StatusForbidden, "no_codes")))
		return
	}
	b.account = account.ID
	s.outside.begun.Add(name, b)
	s.oidcAsk(c, http.StatusOK, "")
}

// oidcRefused puts on record that someone whom the issuer knows was not let in, and is why.
func (s *Server) oidcRefused(ctx context.Context, id registry.AccountID, why error) error {
	if err := s.finder.Registry.Record(ctx, registry.Note{Action: "session.refused", Subject: string(id)}); err != nil {
		return err
	}
	return why
}

func (s *Server) oidcAsk(c *gin.Context, status int, problem string) {
	s.page(c, status, "oidccode.html", "signin.title", problem)
}

// oidcCode takes our own code, where the issuer has not said that it asked for a second factor.
func (s *Server) oidcCode(c *gin.Context) {
	form(c)
	name, b, ok := s.under(c)
	if !ok || b.account == "" {
		s.oidcEnded(c)
		return
	}
	if !s.take("code of "+string(b.account)+" from "+network(c.ClientIP()), 30*time.Second, 10) {
		s.problemPage(c, newProblem(http.StatusTooManyRequests, "too_many", "That was too often in a short time. Wait a minute and try again."))
		return
	}
	err := s.finder.Registry.CheckCode(c.Request.Context(), b.account, strings.TrimSpace(c.PostForm("code")))
	switch {
	case errors.Is(err, registry.ErrNotFound):
		s.outside.begun.Add(name, b)
		s.oidcAsk(c, http.StatusUnprocessableEntity, s.printer(c.Request.Context()).T("problem.invalid.code"))
	case err != nil:
		s.problemPage(c, err)
	default:
		s.oidcEnter(c, b.account, b.back)
	}
}

func (s *Server) oidcEnter(c *gin.Context, id registry.AccountID, to string) {
	s.setCookie(c, oidcCookie, "", -1)
	err := s.begin(c, id, staffLife)
	if errors.Is(err, registry.ErrNotFound) { // disabled while its code was asked for
		err = s.tell(c.Request.Context(), http.StatusForbidden, "account_disabled")
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, to)
}
