package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
	"homeward/text"
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
		defer s.metrics.searched(searchMore, time.Now())
		p, err := s.finder.Probe(string(caller(ctx).Account), in.Search)
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
	began := time.Now()
	p, err := s.newProbe(ctx, &in.PhotoUpload)
	if err != nil {
		return nil, s.problem(err)
	}
	defer func() { s.metrics.searched(kindOf(p), began) }()
	out, err := s.search(ctx, p, in.Face, q)
	if err != nil {
		return nil, err
	}
	out.Location = prefix + "/searches/" + p.ID
	return out, nil
}

// kindOf is what a probe searches with.
func kindOf(p *finder.Probe) string {
	switch {
	case p.Analysis != nil:
		return searchPhoto
	case p.Whole:
		return searchCase
	}
	return searchFace
}

func (s *Server) newProbe(ctx context.Context, u *PhotoUpload) (*finder.Probe, error) {
	owner := string(caller(ctx).Account)
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
		if _, err := s.see(ctx, registry.CaseID(by.Case)); err != nil {
			return nil, err
		}
		return s.finder.ProbeCase(ctx, owner, registry.CaseID(by.Case))
	}
	photo, err := s.finder.Registry.PhotoOf(ctx, registry.FaceID(by.Face))
	if err == nil {
		_, err = s.see(ctx, photo.CaseID)
	}
	if err != nil {
		return nil, err
	}
	return s.finder.ProbeFace(ctx, owner, registry.FaceID(by.Face))
}

func (s *Server) search(ctx context.Context, p *finder.Probe, face string, q finder.Query) (*searchOutput, error) {
	if q.Words != "" && caller(ctx).Role.Staff() {
		// Whether a word stands in a record of another region is not for guessing.
		region := ""
		if len(q.Regions) > 0 {
			region = q.Regions[0]
		}
		q.Regions = within(caller(ctx).Regions, region)
	}
	body, err := Search(ctx, s.finder, p, face, q, s.printer(ctx))
	if err != nil {
		return nil, s.problem(err)
	}
	for i := range body.Candidates {
		if err := s.withhold(ctx, &body.Candidates[i]); err != nil {
			return nil, s.problem(err)
		}
	}
	return &searchOutput{Body: body}, nil
}

// Search answers with a page of candidates, or, where face is empty and there are several, with the question which face
// is the child, in the words of say. Page, API and command line all answer through it, and so alike.
func Search(ctx context.Context, f *finder.Finder, p *finder.Probe, face string, q finder.Query, say text.Printer) (api.Search, error) {
	out := api.Search{
		ID: p.ID, Expires: p.Expires, Gallery: string(p.Searches(q.Gallery)),
		Candidates: []api.Candidate{}, Caution: say.T("caution"), ModelSet: f.TemplateSet(),
	}
	if p.Analysis != nil {
		out.Photo = ProbePhoto(p.Analysis, say)
		out.Message = out.Photo.Message
	}
	note := registry.Note{Action: "search.made", Case: p.Case, Subject: p.ID, Detail: searchDetail(q, out.Gallery)}
	if err := f.Registry.Record(ctx, note); err != nil {
		return out, err
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
		out.Candidates = append(out.Candidates, apiCandidate(c, f.MostClaimed(), !q.FacesAlone, say))
	}
	return out, nil
}

// searchDetail is what the audit keeps of a search: which filters narrowed it, never what the words were.
func searchDetail(q finder.Query, gallery string) map[string]string {
	d := map[string]string{"gallery": gallery}
	for name, used := range map[string]bool{
		"words": q.Words != "", "sex": q.Sex != "", "born": q.BornFrom != 0 || q.BornTo != 0, "region": len(q.Regions) > 0, "page": q.Cursor != "",
	} {
		if used {
			d[name] = "yes"
		}
	}
	return d
}

// withhold takes out of a candidate what the caller may not see of it: a case of another region is a lead to ask for.
func (s *Server) withhold(ctx context.Context, c *api.Candidate) error {
	held, err := s.finder.Registry.Case(ctx, registry.CaseID(c.Case.ID))
	if err != nil {
		return err
	}
	ok, err := s.finder.Registry.MaySee(ctx, caller(ctx), held)
	if err != nil || ok {
		return err
	}
	c.HeldBy = held.Region
	c.Case = api.Case{ID: c.Case.ID, Gallery: c.Case.Gallery, Status: c.Case.Status, CaseFacts: api.CaseFacts{Region: held.Region}}
	c.Photo, c.Face = api.Photo{Faces: []api.Face{}}, api.Face{}
	c.Pair.Reference, c.Pair.Text, c.Pair.Gap = api.Sighting{Of: "case", AgeBy: "unknown"}, "", nil
	c.Plausibility.Factors, c.Plausibility.Log10LR = []api.Factor{}, 0
	c.Sightings = slices.DeleteFunc(c.Sightings, func(at api.Sighting) bool { return at.Of == "case" })
	return nil
}
