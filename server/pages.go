package server

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
)

//go:embed web
var web embed.FS

// sessionLife ends a page's session: a phone left on a desk does not stay signed in over night.
const sessionLife = 12 * time.Hour

// pageData is what every page's template gets.
type pageData struct {
	Caller  string // name of the signed-in key; empty when nobody is
	Caution string
	Page    any // the page's own
}

func (s *Server) pageRoutes() error {
	var err error
	if s.pages, err = template.ParseFS(web, "web/*.html"); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	static, err := fs.Sub(web, "web/static")
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	files := http.StripPrefix("/static/", http.FileServerFS(static))
	s.engine.GET("/static/*file", func(c *gin.Context) {
		c.Header("Cache-Control", "public, max-age=300")
		files.ServeHTTP(c.Writer, c.Request)
	})
	s.engine.GET("/signin", func(c *gin.Context) { s.page(c, http.StatusOK, "signin.html", nil) })
	s.engine.POST("/signin", s.signIn)
	s.engine.POST("/signout", s.signOut)
	s.engine.GET("/", func(c *gin.Context) { s.page(c, http.StatusOK, "search.html", searchPage{finder.MaxPhotoBytes}) })
	s.engine.GET("/cases/:case", s.casePage)
	return nil
}

// page renders a page whole before the first byte is sent.
func (s *Server) page(c *gin.Context, status int, name string, own any) {
	var b bytes.Buffer
	data := pageData{Caller: caller(c.Request.Context()).Name, Caution: api.Caution, Page: own}
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.abort(c, fmt.Errorf("page %s: %w", name, err))
		return
	}
	c.Data(status, "text/html; charset=utf-8", b.Bytes())
}

// searchPage tells a browser which photos are not worth sending.
type searchPage struct{ MaxBytes int }

// signInPage tells why signing in failed.
type signInPage struct{ Error string }

func (s *Server) signIn(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 4096)
	ctx := c.Request.Context()
	key, err := s.finder.Registry.Authenticate(ctx, strings.TrimSpace(c.PostForm("key")))
	if errors.Is(err, registry.ErrNotFound) {
		s.page(c, http.StatusUnauthorized, "signin.html", signInPage{"This key is not valid. Check that you copied all of it; keys begin with hw_."})
		return
	}
	var token string
	if err == nil {
		token, err = s.finder.Registry.CreateSession(ctx, key.ID, sessionLife)
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	s.setSession(c, token, int(sessionLife.Seconds()))
	c.Redirect(http.StatusSeeOther, "/")
}

func (s *Server) signOut(c *gin.Context) {
	if cookie, err := c.Request.Cookie(sessionCookie); err == nil {
		if err := s.finder.Registry.DeleteSession(c.Request.Context(), cookie.Value); err != nil {
			s.abort(c, err)
			return
		}
	}
	s.setSession(c, "", -1)
	c.Redirect(http.StatusSeeOther, "/signin")
}

func (s *Server) setSession(c *gin.Context, token string, maxAge int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", MaxAge: maxAge,
		// A proxy in front may speak TLS for us. Should someone else say so, the cookie is only kept closer.
		HttpOnly: true, Secure: c.Request.TLS != nil || c.GetHeader("X-Forwarded-Proto") == "https", SameSite: http.SameSiteStrictMode,
	})
}

func (s *Server) casePage(c *gin.Context) {
	found, err := s.caseWithPhotos(c.Request.Context(), registry.CaseID(c.Param("case")))
	if errors.Is(err, registry.ErrNotFound) {
		s.page(c, http.StatusNotFound, "notfound.html", nil)
		return
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	s.page(c, http.StatusOK, "case.html", found)
}
