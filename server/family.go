package server

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
	"homeward/text"
)

// Tries of codes are bounded by address, and by link and network together: nobody can shut a family out from elsewhere.
var (
	perCode   = limit{name: "code", every: 6 * time.Second, burst: 30}
	perExport = limit{name: "export", every: time.Minute, burst: 10, account: true}
)

// codeTries is how many tries of one link's code a network has at once; one more each half minute.
const codeTries = 10

// maxLink bounds what is looked up as a link.
const maxLink = 64

func (s *Server) familyRoutes() {
	s.engine.GET("/f/:link", s.unlisted, s.openLink)
	s.engine.POST("/f/:link", s.unlisted, s.useCode)
	s.engine.GET("/family", s.familyPage)
	s.engine.GET("/family/here", s.familyHere)
	s.engine.GET("/family/export", s.export)

	tags := []string{"Families"}

	huma.Register(s.api, huma.Operation{
		OperationID: "set-contact", Method: http.MethodPut, Path: prefix + "/family/contact", Tags: tags,
		Summary: "Say how to reach the family", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *struct{ Body api.Contact }) (*struct{}, error) {
		return nil, s.problem(s.finder.Registry.SetContact(ctx, caller(ctx).Account, registry.Contact(in.Body)))
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "make-code", Method: http.MethodPost, Path: prefix + "/family/codes", Tags: tags,
		Summary: "Make a code for the family's next device", DefaultStatus: http.StatusOK, Description: "The one before it ends.",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.FamilyKey }, error) {
		code, err := s.finder.Registry.NewCode(ctx, caller(ctx).Account)
		if err != nil {
			return nil, s.problem(err)
		}
		s.reports.give(caller(ctx).Account, receipt{Code: code})
		return &struct{ Body api.FamilyKey }{api.FamilyKey{Code: code}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "make-link", Method: http.MethodPost, Path: prefix + "/family/links", Tags: tags,
		Summary: "Make a new private address and code", DefaultStatus: http.StatusOK,
		Description: "For a family whose address is in other hands. The address and code before end, and so do all sessions but this one.",
	}, s.makeLink)

	huma.Register(s.api, huma.Operation{
		OperationID: "put-away-receipt", Method: http.MethodDelete, Path: prefix + "/family/receipt", Tags: tags,
		Summary: "Stop showing the receipt: it is written down", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		s.reports.receipts.Remove(caller(ctx).Account)
		return nil, nil
	})
}

// Browser is the request of an operation that signs its caller in.
type Browser struct{ c *gin.Context }

// Resolve takes hold of the request.
func (b *Browser) Resolve(ctx huma.Context) []error {
	b.c = humagin.Unwrap(ctx)
	return nil
}

func (s *Server) makeLink(ctx context.Context, in *struct {
	Browser
	Body api.NewFamilyLink
}) (*struct{ Body api.FamilyKey }, error) {
	if !in.Body.Sure {
		return nil, s.problem(&registry.FieldError{Field: "sure", Text: "must be true: the address before ends"})
	}
	actor := caller(ctx)
	link, code, err := s.finder.Registry.NewLink(ctx, actor.Account)
	if err == nil {
		err = s.begin(in.c, actor.Account, familyLife)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	link = origin(in.c.Request) + "/f/" + link
	s.reports.give(actor.Account, receipt{Link: link, Code: code})
	return &struct{ Body api.FamilyKey }{api.FamilyKey{Link: link, Code: code}}, nil
}

// linkPage asks for the code that belongs to a private address.
type linkPage struct{ Error string }

func (s *Server) openLink(c *gin.Context) {
	if actor := caller(c.Request.Context()); actor.Role == registry.Family {
		if id, ok := s.linkOf(c); ok && id == actor.Account {
			c.Redirect(http.StatusSeeOther, "/family")
			return
		}
	}
	s.page(c, http.StatusOK, "link.html", "link.title", linkPage{})
}

// linkOf finds the account that a private address belongs to.
func (s *Server) linkOf(c *gin.Context) (registry.AccountID, bool) {
	link := c.Param("link")
	if len(link) > maxLink {
		return "", false
	}
	id, _, err := s.finder.Registry.OpenLink(c.Request.Context(), link)
	return id, err == nil
}

// useCode signs a family in. Whatever is wrong, link or code, it says the same: nobody learns which addresses there are.
func (s *Server) useCode(c *gin.Context) {
	form(c)
	ctx := c.Request.Context()
	say := s.printer(ctx)
	link := c.Param("link")
	if len(link) > maxLink {
		link = link[:maxLink] // which is nobody's
	}
	if !s.take("code of "+link+" from "+network(c.ClientIP()), 30*time.Second, codeTries) {
		c.Header("Retry-After", "60")
		s.page(c, http.StatusTooManyRequests, "link.html", "link.title", linkPage{say.T("problem.too_many")})
		return
	}
	account, err := s.finder.Registry.UseCode(ctx, link, c.PostForm("code"))
	if errors.Is(err, registry.ErrNotFound) {
		s.page(c, http.StatusUnprocessableEntity, "link.html", "link.title", linkPage{say.T("link.wrong")})
		return
	}
	if err == nil {
		err = s.begin(c, account, familyLife)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	// The code is spent. The next one comes at once, so that a family never stands there without.
	ctx = registry.WithActor(ctx, registry.Actor{Account: account, Role: registry.Family})
	code, err := s.finder.Registry.NewCode(ctx, account)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.reports.give(account, receipt{Code: code})
	c.Redirect(http.StatusSeeOther, "/family")
}

// familyPage is what a family sees of its case.
type familyPage struct {
	api.Case
	Contact    registry.Contact
	Receipt    *receipt
	Items      []photoItem
	Blank      photoItem // what a new photo is shown in
	Searchable int       // photos that can find and be found
	Destroyed  string    // the day on which a closed case is destroyed
	Undo       bool      // the case can be taken back
	MaxBytes   int
}

// photoItem is one photo, and the language to show it in.
type photoItem struct {
	text.Printer
	api.Photo
}

func (s *Server) familyPage(c *gin.Context) {
	ctx := c.Request.Context()
	actor := caller(ctx)
	found, err := s.caseWithPhotos(ctx, actor.Case)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	p := familyPage{Case: found, Receipt: s.reports.given(actor.Account), MaxBytes: finder.MaxPhotoBytes}
	if p.Receipt != nil && p.Receipt.form != nil {
		p.Receipt.form.shown.Store(true)
	}
	if _, p.Contact, err = s.finder.Registry.FamilyOf(ctx, actor.Case); err != nil {
		s.problemPage(c, err)
		return
	}
	p.Blank.Printer = s.printer(ctx)
	for _, photo := range found.Photos {
		p.Items = append(p.Items, photoItem{s.printer(ctx), photo})
		if photo.Subject != "" && photo.Needs == "" {
			p.Searchable++
		}
	}
	if found.DestroyAt != nil {
		p.Destroyed = found.DestroyAt.UTC().Format(time.DateOnly)
		p.Undo = found.ClosedAs == registry.Withdrawn && found.DestroyAt.After(time.Now())
	}
	s.page(c, http.StatusOK, "family.html", "family.title", p)
}

// hereListed is how many published children stand on one page of the comparison.
const hereListed = 20

// herePage ranks published children by how like they are to a family's own photos.
type herePage struct {
	Children []hereChild
	Why      string // there are none, in words
	Next     string
}

type hereChild struct {
	galleryChild
	Likeness string
}

// familyHere compares the published children with the family's own photos. It ranks by the faces alone: what else is on record
// of a found child is not the family's to learn, not even from an order.
func (s *Server) familyHere(c *gin.Context) {
	ctx := c.Request.Context()
	p, err := s.here(ctx, c.Query("cursor"))
	if errors.Is(err, finder.ErrNoFaces) {
		p, err = herePage{Why: s.printer(ctx).T("here.no_photo")}, nil
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "familyhere.html", "here.title", p)
}

func (s *Server) here(ctx context.Context, cursor string) (p herePage, err error) {
	actor := caller(ctx)
	mine, err := s.edit(ctx, actor.Case)
	if err != nil {
		return p, err
	}
	probe, err := s.finder.ProbeCase(ctx, string(actor.Account), mine.ID)
	if err != nil {
		return p, err
	}
	published, err := s.finder.Registry.PublishedCases(ctx)
	if err != nil {
		return p, err
	}
	err = s.finder.Registry.Record(ctx, registry.Note{Action: "search.made", Case: mine.ID, Subject: probe.ID, Detail: map[string]string{"gallery": "published"}})
	if err != nil {
		return p, err
	}
	among := make(map[registry.CaseID]struct{}, len(published))
	for id := range published {
		among[id] = struct{}{}
	}
	if len(among) == 0 {
		return herePage{Why: s.printer(ctx).T("here.none")}, nil
	}
	defer s.metrics.searched(searchFamily, time.Now())
	found, err := s.finder.Candidates(ctx, probe, 0, finder.Query{
		Gallery: registry.Found, Among: among, FacesAlone: true, Limit: hereListed, Cursor: cursor,
	})
	if err != nil {
		return p, err
	}
	p.Next = found.Next
	for _, candidate := range found.Candidates {
		child, err := s.finder.Registry.PublishedChild(ctx, published[candidate.Case.ID])
		if errors.Is(err, registry.ErrNotFound) { // hidden since
			continue
		}
		if err != nil {
			return p, err
		}
		shown, err := s.galleryChild(ctx, child)
		if err != nil {
			return p, err
		}
		p.Children = append(p.Children, hereChild{shown, likeness(candidate.Faces, s.finder.MostClaimed(), s.printer(ctx))})
	}
	if len(p.Children) == 0 {
		p.Why = s.printer(ctx).T("here.none")
	}
	return p, nil
}

// heldCase is what an export tells of the case itself.
type heldCase struct {
	api.Case
	Contact api.Contact `json:"contact"`
}

// heldAccess is what an export tells of who did what with the case.
type heldAccess struct {
	At      time.Time     `json:"at"`
	Role    registry.Role `json:"role"`
	Action  string        `json:"action"`
	Purpose string        `json:"purpose,omitempty"`
}

// export hands a family all that is held about it, as one archive.
func (s *Server) export(c *gin.Context) {
	ctx := c.Request.Context()
	actor := caller(ctx)
	found, err := s.caseWithPhotos(ctx, actor.Case)
	if err == nil {
		err = s.finder.Registry.Record(ctx, registry.Note{Action: "export.made", Case: actor.Case})
	}
	var contact registry.Contact
	if err == nil {
		_, contact, err = s.finder.Registry.FamilyOf(ctx, actor.Case)
	}
	var access []heldAccess
	if err == nil {
		access, err = s.accesses(ctx, found)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	c.Header("Content-Type", "application/zip")
	c.Header("Content-Disposition", `attachment; filename="homeward-`+found.Number+`.zip"`)
	if err := s.writeExport(ctx, c.Writer, heldCase{found, api.Contact(contact)}, access); err != nil {
		if ctx.Err() == nil {
			s.log.Warn("send an export", "case", actor.Case, "error", err)
		}
		panic(http.ErrAbortHandler) // a part must not be taken for the whole
	}
}

func (s *Server) writeExport(ctx context.Context, w io.Writer, held heldCase, access []heldAccess) error {
	z := zip.NewWriter(w)
	for _, file := range []struct {
		name string
		what any
	}{{"case.json", held}, {"access.json", access}} {
		f, err := z.Create(file.name)
		if err != nil {
			return err
		}
		e := json.NewEncoder(f)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(file.what); err != nil {
			return err
		}
	}
	for i, p := range held.Photos {
		// Named by us: what the sender's device called it may name a place outside the folder it is unpacked in.
		f, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("photos/%03d.%s", i+1, p.Format), Method: zip.Store, Modified: *p.AddedAt})
		if err != nil {
			return err
		}
		if err := s.copyPhoto(ctx, f, registry.PhotoID(p.ID)); err != nil {
			return err
		}
	}
	return z.Close()
}

func (s *Server) copyPhoto(ctx context.Context, w io.Writer, id registry.PhotoID) error {
	r, err := s.finder.Registry.OpenPhoto(ctx, id)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// ownActions are the beginnings of what a family may always know was done with its case. The others tell of leads: they are told
// once the child is home.
var ownActions = []string{"case.", "photo.", "family.", "session.", "export.", "search."}

// ownPurposes are purposes that tell nothing of a lead.
var ownPurposes = []string{"report", "found"}

// accesses lists who did what with the case, without names. Until DNA has spoken a family learns of no lead, not from here either.
func (s *Server) accesses(ctx context.Context, of api.Case) ([]heldAccess, error) {
	home := of.ClosedAs == registry.Reunited
	out := []heldAccess{}
	for cursor := ""; ; {
		entries, next, err := s.finder.Registry.Audit(ctx, registry.AuditQuery{Case: registry.CaseID(of.ID), Limit: registry.MaxListed, Cursor: cursor})
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !home && !begins(e.Action, ownActions) {
				continue
			}
			told := heldAccess{At: e.At, Role: e.Role, Action: e.Action, Purpose: e.Purpose}
			told.Purpose, _, _ = strings.Cut(told.Purpose, ":") // what a person wrote behind it may be about others
			if !home && told.Purpose != "" && !slices.Contains(ownPurposes, told.Purpose) {
				told.Purpose = "casework"
			}
			out = append(out, told)
		}
		if cursor = next; next == "" {
			return out, nil
		}
	}
}

func begins(text string, with []string) bool {
	for _, w := range with {
		if strings.HasPrefix(text, w) {
			return true
		}
	}
	return false
}
