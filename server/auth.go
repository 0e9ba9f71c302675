package server

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"homeward/registry"
)

// sessionCookie holds a page's session.
const sessionCookie = "homeward_session"

// purposeHeader states, for a program, what a request is for. Without it the key's name stands for it.
const purposeHeader = "Homeward-Purpose"

// maxPurpose bounds a purpose, in characters.
const maxPurpose = 200

// authenticate finds out who asks and puts the actor into the request's context. Who shows nothing is a visitor; who shows
// something that is no longer good is told so and not taken for one.
func (s *Server) authenticate(c *gin.Context) {
	actor, err := s.identify(c.Request)
	switch {
	case err == nil:
	case !errors.Is(err, registry.ErrNotFound):
		s.refuse(c, err)
		return
	default:
		actor = registry.Actor{Role: registry.Visitor}
	}
	if p := strings.TrimSpace(c.GetHeader(purposeHeader)); p != "" && actor.Role.Staff() {
		if !utf8.ValidString(p) || utf8.RuneCountInString(p) > maxPurpose {
			s.refuse(c, newProblem(http.StatusBadRequest, "purpose", "The header Homeward-Purpose must be UTF-8 text of at most 200 characters."))
			return
		}
		actor.Purpose = p
	}
	c.Request = c.Request.WithContext(registry.WithActor(c.Request.Context(), actor))
}

// identify reads the key in the Authorization header, else the page's session. An Authorization header that is wrong is
// not forgiven for a cookie that is right.
func (s *Server) identify(r *http.Request) (registry.Actor, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, secret, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return registry.Actor{}, registry.ErrNotFound
		}
		return s.finder.Registry.Authenticate(r.Context(), strings.TrimSpace(secret))
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return registry.Actor{}, registry.ErrNotFound
	}
	return s.finder.Registry.Session(r.Context(), cookie.Value)
}

// isPage says whether a person's browser asks for a page rather than a program for the API.
func isPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != metricsPath && (r.Method == http.MethodGet || r.Method == http.MethodHead || isForm(r))
}

// isForm says whether a page's form was sent.
func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}
