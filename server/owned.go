package server

import (
	"context"
	"net/http"

	"homeward/registry"
)

// What belongs to whom, within what a role may do at all: see access.go.

// see reads a case that the caller may see. To a family every other case is as if it were not there; an officer of another
// region learns who holds it, and can ask.
func (s *Server) see(ctx context.Context, id registry.CaseID) (registry.Case, error) {
	actor := caller(ctx)
	if actor.Role == registry.Family && id != actor.Case {
		return registry.Case{}, registry.ErrNotFound
	}
	c, err := s.finder.Registry.Case(ctx, id)
	if err != nil {
		return c, err
	}
	ok, err := s.finder.Registry.MaySee(ctx, actor, c)
	if err != nil || ok {
		return c, err
	}
	return registry.Case{}, newProblem(http.StatusForbidden, "other_region",
		"This case is held by another region ("+c.Region+"). Ask for a look at it: POST "+prefix+"/cases/{case}/asks.")
}

// answerFor reads a case that the caller is responsible for: as its family, by region, or because of having made the record. A
// look that another region has granted is no more than a look.
func (s *Server) answerFor(ctx context.Context, id registry.CaseID) (registry.Case, error) {
	c, err := s.see(ctx, id)
	if a := caller(ctx); err == nil && a.Role.Staff() && !registry.Covers(a.Regions, c.Region) && c.ReportedBy != a.Account {
		err = newProblem(http.StatusForbidden, "not_yours", "This case belongs to another region. Someone who is responsible for it must do this.")
	}
	return c, err
}

// edit is answerFor for who is going to change the case. A case that was closed stays as it is.
func (s *Server) edit(ctx context.Context, id registry.CaseID) (registry.Case, error) {
	c, err := s.answerFor(ctx, id)
	if err == nil && c.Status == registry.StatusClosed {
		err = newProblem(http.StatusConflict, "closed", "This case is closed. Reopen it before you change it.")
	}
	return c, err
}

// seePhoto reads a photo of a case that the caller may see.
func (s *Server) seePhoto(ctx context.Context, id registry.PhotoID) (registry.Photo, error) {
	p, err := s.finder.Registry.Photo(ctx, id)
	if err == nil {
		_, err = s.see(ctx, p.CaseID)
	}
	return p, err
}

// editPhoto reads a photo of a case that the caller may change.
func (s *Server) editPhoto(ctx context.Context, id registry.PhotoID) (registry.Photo, error) {
	p, err := s.finder.Registry.Photo(ctx, id)
	if err == nil {
		_, err = s.edit(ctx, p.CaseID)
	}
	return p, err
}

// looked notes that the caller is shown a photo, before it is.
func (s *Server) looked(ctx context.Context, p registry.Photo) error {
	return s.finder.Registry.Record(ctx, registry.Note{Action: "photo.looked", Case: p.CaseID, Subject: string(p.ID)})
}
