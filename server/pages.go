package server

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/finder"
	"homeward/registry"
	"homeward/text"
)

//go:embed web
var web embed.FS

// pageData is what every page's template gets.
type pageData struct {
	text.Printer // T and Lang
	Languages    []text.Language
	Caller       registry.Actor
	Nav          []navItem
	Title        string
	Path         string // of this page, with its query
	Caution      string
	Script       bool // it does not work without
	Page         any  // the page's own
}

// PurposeOf is a stored purpose in the page's language.
func (p pageData) PurposeOf(stored string) string { return purposeWords(p.Printer, stored) }

// plain pages work without scripts.
var plain = []string{
	"home.html", "gallery.html", "child.html", "report.html", "receipt.html", "link.html", "familyhere.html", "notfound.html", "problem.html",
	"signin.html", "oidccode.html", "purpose.html", "welcome.html",
	"history.html", "cases.html", "desk.html", "leadprint.html", "verdict.html",
}

// navItem is one of the places that a role has to go to.
type navItem struct {
	Href, Text string
	Here       bool
}

// nav lists for each page in the head's menu the right that it asks for; each shows what the caller may open.
var nav = []struct{ href, key string }{
	{"/family", "nav.family"},
	{"/family/here", "nav.here"},
	{"/search", "nav.search"},
	{"/desk", "nav.desk"},
	{"/dna", "nav.dna"},
	{"/cases", "nav.cases"},
	{"/found/new", "nav.group"},
	{"/publications", "nav.publications"},
	{"/asks", "nav.asks"},
	{"/gallery", "nav.gallery"},
	{"/accounts", "nav.accounts"},
	{"/jobs", "nav.jobs"},
	{"/audit", "nav.audit"},
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
	s.engine.GET("/", s.home)
	s.engine.GET("/search", s.searchPage)
	s.engine.GET("/cases/:case", s.casePage)
	return nil
}

// page renders a page whole before the first byte is sent. title is a key of the catalogue.
func (s *Server) page(c *gin.Context, status int, name, title string, own any) {
	s.titled(c, status, name, s.printer(c.Request.Context()).T(title), own)
}

// titled is page with a title of its own.
func (s *Server) titled(c *gin.Context, status int, name, title string, own any) {
	var b bytes.Buffer
	ctx := c.Request.Context()
	p := s.printer(ctx)
	data := pageData{
		Printer: p, Languages: s.text.Languages(), Caller: caller(ctx), Nav: s.nav(c, p), Title: title,
		Path: c.Request.URL.RequestURI(), Caution: p.T("caution"), Script: !slices.Contains(plain, name), Page: own,
	}
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.abort(c, fmt.Errorf("page %s: %w", name, err))
		return
	}
	c.Data(status, "text/html; charset=utf-8", b.Bytes())
}

func (s *Server) nav(c *gin.Context, p text.Printer) []navItem {
	var out []navItem
	for _, n := range nav {
		if rules["GET "+n.href].may(caller(c.Request.Context()).Role) {
			out = append(out, navItem{n.href, p.T(n.key), c.Request.URL.Path == n.href})
		}
	}
	return out
}

// problemPage tells a person what a problem tells a program.
func (s *Server) problemPage(c *gin.Context, err error) {
	var p *huma.ErrorModel
	if !errors.As(s.problem(err), &p) {
		return
	}
	if p.Status == http.StatusNotFound {
		s.page(c, http.StatusNotFound, "notfound.html", "notfound.title", nil)
		return
	}
	detail := p.Detail
	if lang := s.printer(c.Request.Context()).Lang(); lang != text.English {
		if said, ok := s.text.Problem(lang, p.Type[strings.LastIndex(p.Type, ":")+1:], ""); ok {
			detail = said
		}
	}
	s.page(c, p.Status, "problem.html", "problem.title", detail)
}

// searchPage is what the page of that name shows.
type searchPage struct {
	MaxBytes int // larger photos are not worth sending
	Regions  []choice
	Saved    []savedSearch
}

func (s *Server) searchPage(c *gin.Context) {
	own := searchPage{MaxBytes: finder.MaxPhotoBytes}
	var err error
	if own.Regions, err = s.regionChoices(c.Request.Context(), ""); err == nil {
		own.Saved, err = s.savedSearches(c.Request.Context())
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "search.html", "search.title", own)
}

func (s *Server) casePage(c *gin.Context) {
	found, err := s.caseWithPhotos(c.Request.Context(), registry.CaseID(c.Param("case")))
	var own caseView
	if err == nil {
		own, err = s.caseView(c.Request.Context(), found)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "case.html", "case.title", own)
}
