package server

import (
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"homeward/registry"
	"homeward/text"
)

const (
	// staffLife ends a page's session: a phone left on a desk does not stay signed in over night.
	staffLife = 12 * time.Hour
	// familyLife is longer: a family comes back to its own case from its own phone.
	familyLife = 30 * 24 * time.Hour

	// deviceCookie tells a browser that an account has signed in on before.
	deviceCookie = "homeward_device"
	deviceLife   = 365 * 24 * time.Hour
)

func (s *Server) signInRoutes() {
	s.engine.GET("/signin", func(c *gin.Context) {
		if caller(c.Request.Context()).Role != registry.Visitor {
			c.Redirect(http.StatusSeeOther, back(c.Query("back")))
			return
		}
		s.signInPage(c, http.StatusOK, signInPage{Back: back(c.Query("back"))})
	})
	s.engine.POST("/signin", s.signIn)
	s.engine.POST("/signout", s.signOut)
	s.engine.GET("/welcome/:invitation", func(c *gin.Context) { s.welcome(c, http.StatusOK, "", "") })
	s.engine.POST("/welcome/:invitation", s.enrol)
	s.engine.GET("/purpose", func(c *gin.Context) {
		s.page(c, http.StatusOK, "purpose.html", "purpose.title", purposePage{Back: back(c.Query("back"))})
	})
	s.engine.POST("/purpose", s.setPurpose)
}

// signInPage is what the page of that name shows.
type signInPage struct {
	Back, Login, Error string
	Outside            string // name of the agency's own sign-in; empty where there is none
}

// purposePage asks what a member of staff is working on.
type purposePage struct{ Back, Error string }

// welcomePage is an invitation being taken up.
type welcomePage struct {
	Name, Login, Secret string
	QR                  template.URL
	Error, Field        string
}

// form reads a page's form, which is never long.
func form(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
}

// back is where to go on, on this site only.
func back(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n") {
		return "/"
	}
	return path
}

func (s *Server) signInPage(c *gin.Context, status int, p signInPage) {
	if s.outside.Issuer != "" {
		p.Outside = s.outside.Name
	}
	s.page(c, status, "signin.html", "signin.title", p)
}

// signIn lets staff in. Wrong tries are counted for each login and network together, so that nobody can lock someone else
// out from elsewhere; tries on one login from everywhere are bounded too, but not for a browser that the account has signed in
// on before (OWASP calls this device cookies).
func (s *Server) signIn(c *gin.Context) {
	form(c)
	ctx := c.Request.Context()
	p := signInPage{Back: back(c.PostForm("back")), Login: strings.ToLower(strings.TrimSpace(c.PostForm("login")))}
	say := s.printer(ctx)
	known, _ := c.Cookie(deviceCookie)
	trusted := s.finder.Registry.Signed("device", p.Login, known)
	who := "sign-in of " + p.Login
	if !s.take(who+" from "+network(c.ClientIP()), 30*time.Second, 10) || !trusted && !s.take(who, 10*time.Second, 100) {
		p.Error = say.T("problem.too_many")
		c.Header("Retry-After", "60")
		s.signInPage(c, http.StatusTooManyRequests, p)
		return
	}
	account, err := s.finder.Registry.SignIn(ctx, p.Login, c.PostForm("password"), strings.TrimSpace(c.PostForm("code")))
	if errors.Is(err, registry.ErrNotFound) {
		p.Error = say.T("problem.wrong_sign_in")
		s.signInPage(c, http.StatusUnprocessableEntity, p)
		return
	}
	if err == nil {
		err = s.begin(c, account.ID, staffLife)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.setCookie(c, deviceCookie, s.finder.Registry.Sign("device", p.Login), deviceLife)
	c.Redirect(http.StatusSeeOther, p.Back)
}

// begin signs an account in on this browser.
func (s *Server) begin(c *gin.Context, id registry.AccountID, life time.Duration) error {
	token, err := s.finder.Registry.CreateSession(c.Request.Context(), id, c.Request.UserAgent(), life)
	if err == nil {
		s.setCookie(c, sessionCookie, token, life)
	}
	return err
}

func (s *Server) signOut(c *gin.Context) {
	if cookie, err := c.Request.Cookie(sessionCookie); err == nil {
		if err := s.finder.Registry.DeleteSession(c.Request.Context(), cookie.Value); err != nil {
			s.problemPage(c, err)
			return
		}
	}
	s.setCookie(c, sessionCookie, "", -1)
	c.Redirect(http.StatusSeeOther, "/")
}

func (s *Server) setCookie(c *gin.Context, name, value string, life time.Duration) {
	age := int(life.Seconds())
	if life < 0 {
		age = -1
	}
	http.SetCookie(c.Writer, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age,
		// A proxy in front may speak TLS for us. Should someone else say so, the cookie is only kept closer.
		HttpOnly: true, Secure: c.Request.TLS != nil || c.GetHeader("X-Forwarded-Proto") == "https", SameSite: http.SameSiteLaxMode,
	})
}

// purposes are what a member of staff can choose; what is stored is the choice, and the person's own words behind it.
var purposes = []string{"found", "report", "review", "dna", "other"}

// purposeWords is a stored purpose as it reads in a language.
func purposeWords(say text.Printer, stored string) string {
	kind, words, more := strings.Cut(stored, ": ")
	if !slices.Contains(purposes, kind) {
		return stored // a key's name, or a program's own words
	}
	if more {
		return say.T("purpose."+kind) + ": " + words
	}
	return say.T("purpose." + kind)
}

func (s *Server) setPurpose(c *gin.Context) {
	form(c)
	actor := caller(c.Request.Context())
	p := purposePage{Back: back(c.PostForm("back"))}
	kind, words := c.PostForm("kind"), strings.TrimSpace(c.PostForm("words"))
	known := slices.Contains(purposes, kind) && (kind != "other" || words != "")
	if words != "" {
		kind += ": " + words
	}
	if !known || utf8.RuneCountInString(kind) > maxPurpose {
		p.Error = s.printer(c.Request.Context()).T("purpose.needed")
		s.page(c, http.StatusUnprocessableEntity, "purpose.html", "purpose.title", p)
		return
	}
	if err := s.finder.Registry.SetPurpose(c.Request.Context(), actor.Via, kind); err != nil {
		s.problemPage(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, p.Back)
}

func (s *Server) welcome(c *gin.Context, status int, field, problem string) {
	in, err := s.finder.Registry.OpenInvitation(c.Request.Context(), c.Param("invitation"))
	if err != nil {
		s.problemPage(c, err)
		return
	}
	qr, err := qrCode(in.URL)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, status, "welcome.html", "welcome.title", welcomePage{
		Name: in.Account.Name, Login: in.Account.Login, Secret: in.Secret, QR: qr, Field: field, Error: problem,
	})
}

// enrol takes up an invitation. Afterwards the person signs in like every day, which shows that it works.
func (s *Server) enrol(c *gin.Context) {
	form(c)
	password := c.PostForm("password")
	if password != c.PostForm("again") {
		s.welcome(c, http.StatusUnprocessableEntity, "again", s.printer(c.Request.Context()).T("welcome.differ"))
		return
	}
	_, err := s.finder.Registry.Enrol(c.Request.Context(), c.Param("invitation"), password, strings.TrimSpace(c.PostForm("code")))
	var field *registry.FieldError
	if errors.As(err, &field) {
		say, ok := s.text.Problem(s.printer(c.Request.Context()).Lang(), "invalid", field.Field)
		if !ok {
			say = field.Error()
		}
		s.welcome(c, http.StatusUnprocessableEntity, field.Field, say)
		return
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/signin")
}
