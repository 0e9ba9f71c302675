package server

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/registry"
)

// savedFields are what a saved search may hold: what the search page's address takes.
var savedFields = []string{
	"by", "gallery", "words", "sex", "born_from", "born_to", "region", "status", "case", "face", "records", "child_sex", "child_age", "taken",
}

func (s *Server) savedSearchRoutes() {
	tags := []string{"Searches"}

	huma.Register(s.api, huma.Operation{
		OperationID: "save-search", Method: http.MethodPost, Path: prefix + "/saved-searches", Tags: tags,
		Summary: "Save a search under a name", DefaultStatus: http.StatusCreated,
		Description: "Only you see it. One of the same name is replaced. A photo is never saved; a search with a case or a face is made anew.",
	}, func(ctx context.Context, in *struct{ Body api.NewSavedSearch }) (*struct{ Body api.SavedSearch }, error) {
		query, err := savedQuery(in.Body.Query)
		if err != nil {
			return nil, s.problem(err)
		}
		saved, err := s.finder.Registry.SaveSearch(ctx, in.Body.Name, query)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.SavedSearch }{apiSavedSearch(saved)}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-saved-searches", Method: http.MethodGet, Path: prefix + "/saved-searches", Tags: tags,
		Summary: "List your saved searches, by name",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body []api.SavedSearch }, error) {
		all, err := s.finder.Registry.SavedSearches(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		out := make([]api.SavedSearch, len(all))
		for i, saved := range all {
			out[i] = apiSavedSearch(saved)
		}
		return &struct{ Body []api.SavedSearch }{out}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "delete-saved-search", Method: http.MethodDelete, Path: prefix + "/saved-searches/{saved}", Tags: tags,
		Summary: "Delete a saved search", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		Saved string `path:"saved" maxLength:"64" doc:"Id of the saved search."`
	}) (*struct{}, error) {
		return nil, s.problem(s.finder.Registry.DeleteSearch(ctx, in.Saved))
	})
}

// savedQuery is a query as it is kept: nothing but what the search page takes.
func savedQuery(text string) (string, error) {
	q, err := url.ParseQuery(strings.TrimPrefix(text, "?"))
	if err != nil {
		return "", &registry.FieldError{Field: "query", Text: "is not a query; write it as the search page's address has it: gallery=found&words=birthmark"}
	}
	for name := range q {
		if !slices.Contains(savedFields, name) {
			return "", &registry.FieldError{Field: "query", Text: "may hold only " + strings.Join(savedFields, ", ")}
		}
	}
	return q.Encode(), nil
}

func apiSavedSearch(saved registry.SavedSearch) api.SavedSearch {
	return api.SavedSearch{ID: saved.ID, Name: saved.Name, Query: saved.Query, CreatedAt: saved.CreatedAt}
}

// savedSearch is one as the search page lists it.
type savedSearch struct{ ID, Name, Href string }

func (s *Server) savedSearches(ctx context.Context) ([]savedSearch, error) {
	all, err := s.finder.Registry.SavedSearches(ctx)
	out := make([]savedSearch, len(all))
	for i, saved := range all {
		out[i] = savedSearch{saved.ID, saved.Name, "/search?" + saved.Query}
		if strings.Contains("&"+saved.Query, "&by=words") {
			out[i].Href += "#words"
		}
	}
	return out, err
}
