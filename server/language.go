package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"homeward/registry"
	"homeward/text"
)

// languageCookie holds the language that someone chose, whoever is signed in.
const languageCookie = "homeward_lang"

// languageLife is how long that choice is remembered.
const languageLife = 365 * 24 * time.Hour

type printerKey struct{}

// language settles in which language a request is answered: the one chosen on this device, else the account's own, else
// what the browser asks for. It runs before authenticate, so that whoever is turned away is told in their language, and
// again after it, when the account is known.
func (s *Server) language(c *gin.Context) {
	ctx := c.Request.Context()
	var chosen string
	if cookie, err := c.Request.Cookie(languageCookie); err == nil {
		chosen = cookie.Value
	}
	p := s.text.Pick(chosen, registry.ActorOf(ctx).Language, c.GetHeader("Accept-Language"))
	c.Header("Content-Language", p.Lang())
	c.Request = c.Request.WithContext(context.WithValue(ctx, printerKey{}, p))
}

// printer speaks the language of a request; English where none was settled.
func (s *Server) printer(ctx context.Context) text.Printer {
	if p, ok := ctx.Value(printerKey{}).(text.Printer); ok {
		return p
	}
	return s.text.Pick()
}

// chooseLanguage remembers a choice and goes back to the page that it was made on.
func (s *Server) chooseLanguage(c *gin.Context) {
	for _, l := range s.text.Languages() {
		if l.Code == c.Query("to") {
			s.setCookie(c, languageCookie, l.Code, languageLife)
		}
	}
	c.Redirect(http.StatusSeeOther, back(c.Query("back")))
}

// scriptText serves the messages of pages' scripts: /text/zh.js.
func (s *Server) scriptText(c *gin.Context) {
	for _, l := range s.text.Languages() {
		if c.Param("file") != l.Code+".js" {
			continue
		}
		script := s.text.Script(l.Code)
		c.Header("Content-Type", "text/javascript; charset=utf-8")
		c.Header("Content-Language", l.Code)
		c.Header("Cache-Control", "public, max-age=300")
		c.Header("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(script)))
		http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(script))
		return
	}
	s.noRoute(c)
}
