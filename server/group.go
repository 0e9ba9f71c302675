package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/finder"
	"homeward/registry"
)

// groupPage is where found children are recorded together.
type groupPage struct {
	Regions  []choice
	MaxBytes int
}

func (s *Server) groupRoutes() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-case-by-reference", Method: http.MethodGet, Path: prefix + "/galleries/{gallery}/cases/{ref}", Tags: []string{"Cases"},
		Summary: "Find a case by your own reference", Errors: []int{http.StatusForbidden, http.StatusNotFound},
		Description: "Where the answer to a new case was lost, or said that the reference is taken, this is the case that has it.",
	}, func(ctx context.Context, in *struct {
		Gallery string `path:"gallery" enum:"missing,found"`
		Ref     string `path:"ref" maxLength:"200"`
	}) (*caseOutput, error) {
		c, err := s.finder.Registry.CaseByRef(ctx, registry.Gallery(in.Gallery), in.Ref)
		if err == nil {
			c, err = s.see(ctx, c.ID)
		}
		if err == nil {
			err = s.finder.Registry.Record(ctx, registry.Note{Action: "case.looked", Case: c.ID})
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return caseAnswer(apiCase(c)), nil
	})

	s.engine.GET("/found/new", func(c *gin.Context) {
		regions, err := s.regionChoices(c.Request.Context(), "")
		if err != nil {
			s.problemPage(c, err)
			return
		}
		s.page(c, http.StatusOK, "group.html", "group.title", groupPage{regions, finder.MaxPhotoBytes})
	})
}
