package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"homeward/registry"
)

// sessionCookie holds a page's session.
const sessionCookie = "homeward_session"

type callerKey struct{}

// caller is who asks. Every handler behind authenticate has one.
func caller(ctx context.Context) registry.Key {
	k, _ := ctx.Value(callerKey{}).(registry.Key)
	return k
}

// open lists the only paths that answer without a key.
var open = map[string]bool{
	prefix + "/health":           true,
	prefix + "/ready":            true,
	prefix + "/openapi.json":     true,
	prefix + "/openapi.yaml":     true,
	prefix + "/openapi-3.0.json": true,
	prefix + "/openapi-3.0.yaml": true,
	"/signin":                    true,
}

// isOpen also lets through the files that documentation and pages are made of; they hold nothing of the registry.
func isOpen(path string) bool {
	return open[path] || path == prefix+"/docs" || strings.HasPrefix(path, prefix+"/docs/") ||
		strings.HasPrefix(path, prefix+"/schemas/") || strings.HasPrefix(path, "/static/")
}

// authenticate finds out who asks, and turns away whoever has no key, before any route is looked up: an unknown path
// answers like a known one.
func (s *Server) authenticate(c *gin.Context) {
	if isOpen(c.Request.URL.Path) {
		return
	}
	key, err := s.identify(c.Request)
	switch {
	case err == nil:
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), callerKey{}, key))
	case !errors.Is(err, registry.ErrNotFound):
		s.abort(c, err)
	case isPage(c.Request):
		c.Redirect(http.StatusSeeOther, "/signin")
		c.Abort()
	default:
		c.Header("WWW-Authenticate", `Bearer realm="Homeward"`)
		s.abort(c, newProblem(http.StatusUnauthorized, "no_key",
			"Send a valid key as `Authorization: Bearer KEY`. `homeward key add` makes one; a revoked or mistyped key is refused."))
	}
}

// identify reads the key in the Authorization header, else the page's session. An Authorization header that is wrong is
// not forgiven for a cookie that is right.
func (s *Server) identify(r *http.Request) (registry.Key, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, secret, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return registry.Key{}, registry.ErrNotFound
		}
		return s.finder.Registry.Authenticate(r.Context(), strings.TrimSpace(secret))
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return registry.Key{}, registry.ErrNotFound
	}
	return s.finder.Registry.Session(r.Context(), cookie.Value)
}

// isPage says whether a person's browser asks for a page rather than a program for the API.
func isPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}
