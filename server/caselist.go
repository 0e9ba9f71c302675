package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

// listedCases is how many cases a page of the list has.
const listedCases = 50

func (s *Server) caseListRoutes() {
	s.engine.GET("/cases", s.caseListPage)
}

// regionNames maps codes to names in the reader's language.
type regionNames map[string]string

// of is a region's name; its code where it has none.
func (n regionNames) of(code string) string {
	if name, ok := n[code]; ok {
		return name
	}
	return code
}

func (s *Server) regionNames(ctx context.Context) (regionNames, error) {
	all, err := s.regionChoices(ctx, "")
	out := make(regionNames, len(all))
	for _, r := range all {
		out[r.Value] = r.Text
	}
	return out, err
}

// caseListPage lists cases of the caller's regions.
type caseListPage struct {
	Asked   Filters
	Gallery string
	Status  string
	// Unchecked asks for families' reports that no officer has checked.
	Unchecked bool
	Regions   []choice
	Cases     []caseRow
	Next      string // address of the next page
}

type caseRow struct {
	api.Case
	RegionName string
}

func (s *Server) caseListPage(c *gin.Context) {
	ctx := c.Request.Context()
	own, err := s.caseList(ctx, c.Request.URL.Query())
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "cases.html", "cases.title", own)
}

func (s *Server) caseList(ctx context.Context, asked url.Values) (own caseListPage, err error) {
	own = caseListPage{
		Gallery: asked.Get("gallery"), Status: asked.Get("status"), Unchecked: asked.Has("unchecked"),
		Asked: Filters{Sex: asked.Get("sex"), Region: asked.Get("region"), Words: asked.Get("words"), Cursor: asked.Get("cursor"), Limit: listedCases},
	}
	for name, year := range map[string]*int{"born_from": &own.Asked.BornFrom, "born_to": &own.Asked.BornTo} {
		if text := asked.Get(name); text != "" {
			if *year, err = strconv.Atoi(text); err != nil || *year < 1900 || *year > 2100 {
				return own, &registry.FieldError{Field: name, Text: "must be a year, as 2009"}
			}
		}
	}
	switch own.Status {
	case "all":
		own.Asked.Status = []string{string(registry.StatusOpen), string(registry.StatusClosed)}
	case string(registry.StatusClosed):
		own.Asked.Status = []string{own.Status}
	default:
		own.Status = ""
	}
	q, err := own.Asked.query()
	if err != nil {
		return own, err
	}
	q.Gallery = registry.Gallery(own.Gallery)
	detail := searchDetail(q, own.Gallery)
	q.Regions = within(reach(ctx), own.Asked.Region)
	if own.Unchecked {
		ids, err := s.finder.Registry.Unchecked(ctx)
		if err != nil {
			return own, err
		}
		q.Among = make(map[registry.CaseID]struct{}, len(ids))
		for _, id := range ids {
			q.Among[id] = struct{}{}
		}
	}
	if err := s.finder.Registry.Record(ctx, registry.Note{Action: "case.listed", Detail: detail}); err != nil {
		return own, err
	}
	cases, next, err := s.finder.Cases(ctx, q)
	if err != nil {
		return own, err
	}
	if own.Regions, err = s.regionChoices(ctx, own.Asked.Region); err != nil {
		return own, err
	}
	names, err := s.regionNames(ctx)
	if err != nil {
		return own, err
	}
	for _, c := range cases {
		own.Cases = append(own.Cases, caseRow{apiCase(c), names.of(c.Region)})
	}
	if next != "" {
		asked.Set("cursor", next)
		own.Next = "/cases?" + asked.Encode()
	}
	return own, nil
}

// caseView is a case as its page shows it.
type caseView struct {
	api.Case
	RegionName string
	Destroyed  string // the day when it will be
	MayEdit    bool
	MayPublish bool
	Contact    *registry.Contact // of the family that reported it, for who is responsible
	Live       *waiting          // its publication, for who may publish
}

func (s *Server) caseView(ctx context.Context, c api.Case) (own caseView, err error) {
	actor := caller(ctx)
	responsible := registry.Covers(actor.Regions, c.Region)
	own = caseView{Case: c, MayEdit: editCase.may(actor.Role), MayPublish: publish.may(actor.Role) && c.Gallery == string(registry.Found)}
	if c.DestroyAt != nil {
		own.Destroyed = c.DestroyAt.UTC().Format(time.DateOnly)
	}
	names, err := s.regionNames(ctx)
	if err != nil {
		return own, err
	}
	own.RegionName = names.of(c.Region)
	if own.MayPublish {
		if own.Live, err = s.livePublication(ctx, registry.CaseID(c.ID)); err != nil {
			return own, err
		}
	}
	if own.MayEdit && responsible && c.Gallery == string(registry.Missing) {
		own.Contact, err = s.contactOf(ctx, registry.CaseID(c.ID))
	}
	return own, err
}

// contactOf is how the family of a case can be reached, noted as looked at; nil when no family reported it.
func (s *Server) contactOf(ctx context.Context, id registry.CaseID) (*registry.Contact, error) {
	family, contact, err := s.finder.Registry.FamilyOf(ctx, id)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &contact, s.finder.Registry.Record(ctx, registry.Note{Action: "contact.looked", Case: id, Subject: string(family)})
}
