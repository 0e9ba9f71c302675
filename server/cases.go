package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
)

// CasePath names a case. Like PhotoPath and Filters it is exported because huma reads embedded fields only then.
type CasePath struct {
	Case string `path:"case" maxLength:"64" doc:"Id of the case."`
}

// Filters narrow a list or a search. A case that does not say passes: a record's silence must not hide a child.
type Filters struct {
	Sex      string   `query:"sex" enum:"female,male" doc:"Cases of unknown sex pass too."`
	BornFrom int      `query:"born_from" minimum:"1900" maximum:"2100" doc:"Born this year or later. Cases of unknown birth pass too."`
	BornTo   int      `query:"born_to" minimum:"1900" maximum:"2100" doc:"Born this year or earlier."`
	Region   string   `query:"region" maxLength:"40" doc:"Cases of this region and those under it. Cases of no region pass too."`
	Status   []string `query:"status" enum:"open,closed" maxItems:"2" doc:"Only open cases where it is not given."`
	Words    string   `query:"words" maxLength:"500" doc:"Only cases that hold all of these words in names, place, marks, notes or reference." example:"胎记 左臂 成都"`
	Limit    int      `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Cursor   string   `query:"cursor" maxLength:"500" doc:"The next value of the answer before."`
}

func (f Filters) query() (finder.Query, error) {
	if f.BornFrom != 0 && f.BornTo != 0 && f.BornFrom > f.BornTo {
		return finder.Query{}, &registry.FieldError{Field: "born_from", Text: "is after born_to: swap them"}
	}
	q := finder.Query{
		Sex: registry.Sex(f.Sex), BornFrom: f.BornFrom, BornTo: f.BornTo,
		Words: f.Words, Limit: f.Limit, Cursor: f.Cursor,
	}
	if f.Region != "" {
		q.Regions = []string{f.Region}
	}
	for _, st := range f.Status {
		q.Statuses = append(q.Statuses, registry.Status(st))
	}
	return q, nil
}

type caseOutput struct {
	ETag     string `header:"ETag" doc:"The case's version."`
	Location string `header:"Location"`
	Body     api.Case
}

func caseAnswer(c api.Case) *caseOutput {
	return &caseOutput{ETag: fmt.Sprintf(`"%d"`, c.Version), Body: c}
}

func (s *Server) caseRoutes() {
	tags := []string{"Cases"}

	huma.Register(s.api, huma.Operation{
		OperationID: "create-case", Method: http.MethodPost, Path: prefix + "/cases", Tags: tags,
		Summary: "Create a case", DefaultStatus: http.StatusCreated,
		Description: "Photos are added to it afterwards.",
		Errors:      []int{http.StatusConflict},
	}, func(ctx context.Context, in *struct{ Body api.NewCase }) (*caseOutput, error) {
		c := registry.Case{Gallery: registry.Gallery(in.Body.Gallery)}
		if err := setFacts(&c, in.Body.CaseFacts); err != nil {
			return nil, s.problem(err)
		}
		c, err := s.finder.Registry.CreateCase(ctx, c)
		if err != nil {
			return nil, s.problem(err)
		}
		s.finder.Refresh(ctx)
		out := caseAnswer(apiCase(c))
		out.Location = prefix + "/cases/" + string(c.ID)
		return out, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-cases", Method: http.MethodGet, Path: prefix + "/cases", Tags: tags,
		Summary:     "List cases, or search them by words",
		Description: "Newest first; with words, best match first.",
	}, func(ctx context.Context, in *struct {
		Gallery string `query:"gallery" enum:"missing,found"`
		Filters
	}) (*struct{ Body api.CasePage }, error) {
		q, err := in.query()
		if err != nil {
			return nil, s.problem(err)
		}
		q.Gallery = registry.Gallery(in.Gallery)
		q.Regions = within(caller(ctx).Regions, in.Region)
		cases, next, err := s.finder.Cases(ctx, q)
		if err != nil {
			return nil, s.problem(err)
		}
		page := api.CasePage{Cases: make([]api.Case, len(cases)), Next: next}
		for i, c := range cases {
			page.Cases[i] = apiCase(c)
		}
		return &struct{ Body api.CasePage }{page}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-case", Method: http.MethodGet, Path: prefix + "/cases/{case}", Tags: tags,
		Summary: "Read a case with its photos", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *CasePath) (*caseOutput, error) {
		c, err := s.caseWithPhotos(ctx, registry.CaseID(in.Case))
		if err != nil {
			return nil, s.problem(err)
		}
		return caseAnswer(c), nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "change-case", Method: http.MethodPatch, Path: prefix + "/cases/{case}", Tags: tags,
		Summary: "Change facts of a case", Errors: []int{http.StatusNotFound, http.StatusConflict},
		Description: "Facts that are not named stay as they are.",
	}, func(ctx context.Context, in *struct {
		CasePath
		Body api.CaseChange
	}) (*caseOutput, error) {
		c, err := s.edit(ctx, registry.CaseID(in.Case))
		if err != nil {
			return nil, s.problem(err)
		}
		if caller(ctx).Role == registry.Family && (in.Body.Verified != nil || in.Body.Ref != nil || in.Body.Region != nil) {
			return nil, newProblem(http.StatusForbidden, "forbidden", "Only an officer can change the report's number, the reference and the region.")
		}
		c.Version = in.Body.Version
		if err := changeFacts(&c, in.Body); err != nil {
			return nil, s.problem(err)
		}
		c, err = s.finder.Registry.UpdateCase(ctx, c)
		if err != nil {
			return nil, s.problem(err)
		}
		s.finder.Refresh(ctx)
		return caseAnswer(apiCase(c)), nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "close-case", Method: http.MethodPost, Path: prefix + "/cases/{case}/close", Tags: tags,
		Summary: "Close a case", Errors: []int{http.StatusNotFound, http.StatusConflict}, DefaultStatus: http.StatusOK,
		Description: "It is no candidate any more and will be destroyed, with its photos, at the time that the answer tells. " +
			"A family that closes its case withdraws it.",
	}, func(ctx context.Context, in *CasePath) (*caseOutput, error) {
		return s.closing(ctx, in.Case, func(id registry.CaseID) (registry.Case, error) {
			as := "closed"
			if caller(ctx).Role == registry.Family {
				as = "withdrawn"
			}
			return s.finder.Registry.CloseCase(ctx, id, as)
		})
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "reopen-case", Method: http.MethodPost, Path: prefix + "/cases/{case}/reopen", Tags: tags,
		Summary: "Take a closed case back before it is destroyed", Errors: []int{http.StatusNotFound, http.StatusConflict}, DefaultStatus: http.StatusOK,
	}, func(ctx context.Context, in *CasePath) (*caseOutput, error) {
		return s.closing(ctx, in.Case, func(id registry.CaseID) (registry.Case, error) {
			if caller(ctx).Role == registry.Family {
				// What police closed is theirs to open.
				if c, err := s.finder.Registry.Case(ctx, id); err != nil || c.ClosedAs != registry.Withdrawn {
					return c, cmp.Or[error](err, newProblem(http.StatusForbidden, "not_yours", "Police have closed this case. Call them if you think that it should be open."))
				}
			}
			return s.finder.Registry.ReopenCase(ctx, id)
		})
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "delete-case", Method: http.MethodDelete, Path: prefix + "/cases/{case}", Tags: tags,
		Summary: "Delete a case for good", Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusNoContent,
		Description: "Its photos, faces and templates are deleted and its key is destroyed: nobody can bring them back.",
	}, func(ctx context.Context, in *CasePath) (*struct{}, error) {
		_, err := s.answerFor(ctx, registry.CaseID(in.Case))
		if err == nil {
			err = s.finder.Registry.DeleteCase(ctx, registry.CaseID(in.Case))
		}
		if err == nil {
			s.chips.forget()
			s.finder.Refresh(ctx)
		}
		return nil, s.problem(err)
	})
}

// caseWithPhotos is a case as its page and the API show it, noted as looked at.
func (s *Server) caseWithPhotos(ctx context.Context, id registry.CaseID) (api.Case, error) {
	c, err := s.see(ctx, id)
	if err != nil {
		return api.Case{}, err
	}
	if err := s.finder.Registry.Record(ctx, registry.Note{Action: "case.looked", Case: id}); err != nil {
		return api.Case{}, err
	}
	photos, err := s.finder.Registry.PhotosOf(ctx, id)
	if err != nil {
		return api.Case{}, err
	}
	out := apiCase(c)
	out.Photos = make([]api.Photo, len(photos))
	for i, p := range photos {
		out.Photos[i] = apiPhoto(p, s.printer(ctx))
	}
	return out, nil
}

// closing closes or reopens a case that the caller may see.
func (s *Server) closing(ctx context.Context, id string, do func(registry.CaseID) (registry.Case, error)) (*caseOutput, error) {
	c, err := s.answerFor(ctx, registry.CaseID(id))
	if err == nil {
		c, err = do(c.ID)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	s.finder.Refresh(ctx)
	return caseAnswer(apiCase(c)), nil
}

// within is the part of what an account covers that lies in a region; all of it where no region is named.
func within(covered []string, region string) []string {
	if registry.Covers(covered, region) && region != "" {
		return []string{region}
	}
	under := []string{""} // a region that only cases of no region are in; an empty list would be everywhere
	for _, c := range covered {
		if region == "" || registry.Covers([]string{region}, c) {
			under = append(under, c)
		}
	}
	return under
}
