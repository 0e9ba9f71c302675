package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
)

// SearchFilters are what a search can be narrowed by, and which face of the probe searches.
type SearchFilters struct {
	Gallery string `query:"gallery" enum:"missing,found" doc:"The gallery to search: the one opposite an enrolled face, else missing, where it is not given."`
	Face    string `query:"face" maxLength:"4" pattern:"^[0-9]*$" doc:"Which of photo.faces is the child, counting from 0. Needed when there are several."`
	Records string `query:"records" enum:"on,off" doc:"off ranks by the faces alone; what the records say is then shown but does not count."`
	// What is known of the child in a photo that is sent.
	ChildSex string  `query:"child_sex" enum:"female,male" doc:"Sex of the child in the photo that searches; it counts as evidence and hides nobody, unlike sex."`
	ChildAge float64 `query:"child_age" minimum:"0" maximum:"110" doc:"Age in years of the child in the photo that searches, where it is known better than by looks."`
	Taken    string  `query:"taken" maxLength:"10" doc:"When the photo that searches was taken: 2009, 2009-05 or 2009-05-17. Otherwise as the camera noted it."`
	Filters
}

func (f SearchFilters) query() (finder.Query, error) {
	q, err := f.Filters.query()
	if err != nil {
		return q, err
	}
	q.Gallery = registry.Gallery(f.Gallery)
	q.FacesAlone = f.Records == "off"
	q.About = finder.About{Sex: registry.Sex(f.ChildSex), Age: f.ChildAge}
	q.About.Taken, err = date("taken", f.Taken)
	return q, err
}

type searchOutput struct {
	Location string `header:"Location"`
	Body     api.Search
}

func (s *Server) searchRoutes() {
	tags := []string{"Searches"}
	errs := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

	huma.Register(s.api, huma.Operation{
		OperationID: "create-search", Method: http.MethodPost, Path: prefix + "/searches", Tags: tags,
		Summary: "Search with a photo, an enrolled face, or all photos of a case", DefaultStatus: http.StatusCreated,
		Description: "The photo is not kept. If it shows several faces the answer lists them and asks which is the child: " +
			"read the search again with `face`. A search can be continued for an hour by whoever started it.",
		Errors: errs,
	}, s.createSearch)
	s.describeBody(prefix+"/searches", photoBody(map[string]*huma.MediaType{
		"application/json": {Schema: huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[api.SearchByEnrolled]())},
	}))

	huma.Register(s.api, huma.Operation{
		OperationID: "get-search", Method: http.MethodGet, Path: prefix + "/searches/{search}", Tags: tags,
		Summary: "Read more of a search: another page, face, gallery or filter", Errors: errs[1:2],
	}, func(ctx context.Context, in *struct {
		Search string `path:"search" maxLength:"64"`
		SearchFilters
	}) (*searchOutput, error) {
		q, err := in.query()
		if err != nil {
			return nil, s.problem(err)
		}
		p, err := s.finder.Probe(string(caller(ctx).ID), in.Search)
		if err != nil {
			return nil, s.problem(err)
		}
		return s.search(ctx, p, in.Face, q)
	})
}

func (s *Server) createSearch(ctx context.Context, in *struct {
	SearchFilters
	PhotoUpload
}) (*searchOutput, error) {
	q, err := in.query() // before a photo is taken in vain
	if err != nil {
		return nil, s.problem(err)
	}
	p, err := s.newProbe(ctx, &in.PhotoUpload)
	if err != nil {
		return nil, s.problem(err)
	}
	out, err := s.search(ctx, p, in.Face, q)
	if err != nil {
		return nil, err
	}
	out.Location = prefix + "/searches/" + p.ID
	return out, nil
}

func (s *Server) newProbe(ctx context.Context, u *PhotoUpload) (*finder.Probe, error) {
	owner := string(caller(ctx).ID)
	if !strings.HasPrefix(u.request.Header.Get("Content-Type"), "application/json") {
		body, _, err := u.photo()
		if err != nil {
			return nil, err
		}
		return s.finder.ProbePhoto(ctx, owner, body)
	}
	var by api.SearchByEnrolled
	d := json.NewDecoder(io.LimitReader(&movingBody{r: u.request.Body, c: http.NewResponseController(u.writer)}, 4096))
	d.DisallowUnknownFields()
	if err := d.Decode(&by); err != nil || (by.Face == "") == (by.Case == "") || len(by.Face)+len(by.Case) > 64 {
		return nil, newProblem(http.StatusBadRequest, "body", `Send {"face": "f_…"} with the id of an enrolled face, {"case": "c_…"} with that of a case, or a photo.`)
	}
	if by.Case != "" {
		return s.finder.ProbeCase(ctx, owner, registry.CaseID(by.Case))
	}
	return s.finder.ProbeFace(ctx, owner, registry.FaceID(by.Face))
}

func (s *Server) search(ctx context.Context, p *finder.Probe, face string, q finder.Query) (*searchOutput, error) {
	body, err := Search(ctx, s.finder, p, face, q)
	if err != nil {
		return nil, s.problem(err)
	}
	return &searchOutput{Body: body}, nil
}

// Search answers with a page of candidates, or, where face is empty and there are several, with the question which face
// is the child. Page, API and command line all answer through it, and so alike.
func Search(ctx context.Context, f *finder.Finder, p *finder.Probe, face string, q finder.Query) (api.Search, error) {
	out := api.Search{
		ID: p.ID, Expires: p.Expires, Gallery: string(p.Searches(q.Gallery)),
		Candidates: []api.Candidate{}, Caution: api.Caution, ModelSet: f.TemplateSet(),
	}
	if p.Analysis != nil {
		out.Photo = ProbePhoto(p.Analysis)
		out.Message = out.Photo.Message
	}
	which, only := p.Only()
	if face != "" {
		var err error
		if which, err = strconv.Atoi(face); err != nil {
			return out, finder.ErrNoFace
		}
		out.Message = ""
	} else if !only || !p.Searchable(which) {
		return out, nil
	}
	found, err := f.Candidates(ctx, p, which, q)
	if err != nil {
		return out, err
	}
	out.Face, out.Next = &which, found.Next
	for _, c := range found.Candidates {
		out.Candidates = append(out.Candidates, apiCandidate(c, f.MostClaimed(), !q.FacesAlone))
	}
	return out, nil
}
