package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/registry"
)

func (s *Server) regionRoutes() {
	tags := []string{"Regions"}

	huma.Register(s.api, huma.Operation{
		OperationID: "list-regions", Method: http.MethodGet, Path: prefix + "/regions", Tags: tags, Security: []map[string][]string{},
		Summary: "List the regions that cases can belong to",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.Regions }, error) {
		all, err := s.regions(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.Regions }{api.Regions{Regions: all}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "put-region", Method: http.MethodPut, Path: prefix + "/regions/{code}", Tags: tags,
		Summary: "Add a region, or change its names", Description: "The names given replace those it has.",
	}, func(ctx context.Context, in *struct {
		Code string `path:"code" maxLength:"40" doc:"Letters and digits, with a hyphen between a region and one in it: CN-51."`
		Body api.RegionNames
	}) (*struct{ Body api.Region }, error) {
		g := registry.Region{Code: strings.ToUpper(in.Code), Names: in.Body.Names}
		err := s.finder.Registry.PutRegion(ctx, g)
		// "names" and "code" by themselves are a child's and an authenticator's.
		if f := (*registry.FieldError)(nil); errors.As(err, &f) {
			err = &registry.FieldError{Field: "region_" + f.Field, Text: f.Text}
		}
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.Region }{api.Region{Code: g.Code, Names: in.Body.Names}}, nil
	})
}

func (s *Server) regions(ctx context.Context) ([]api.Region, error) {
	all, err := s.finder.Registry.Regions(ctx)
	out := make([]api.Region, len(all))
	for i, g := range all {
		out[i] = api.Region{Code: g.Code, Names: g.Names}
	}
	return out, err
}
