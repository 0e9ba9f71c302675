package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

// portraitSide is how large a picture the public gets, in pixels.
const portraitSide = "480"

// PublicationPath names a publication.
type PublicationPath struct {
	Publication string `path:"publication" maxLength:"64" doc:"Id of the publication."`
}

type publicationOutput struct {
	Location string `header:"Location"`
	Body     api.Publication
}

func (s *Server) publicationRoutes() {
	tags := []string{"Publications"}
	errs := []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict}

	huma.Register(s.api, huma.Operation{
		OperationID: "get-portrait", Method: http.MethodGet, Path: prefix + "/photos/{photo}/portrait", Tags: tags,
		Summary: "Fetch the portrait that the public would get of a photo", Errors: errs[:2],
		Description: "A square around the child's face, without metadata. Other people in the photo are left out as far as a square can.",
		Responses:   imageResponse("image/jpeg"),
	}, func(ctx context.Context, in *PhotoPath) (*pictureOutput, error) {
		p, err := s.seePhoto(ctx, registry.PhotoID(in.Photo))
		if err != nil {
			return nil, s.problem(err)
		}
		return s.portrait(ctx, p)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "propose-publication", Method: http.MethodPost, Path: prefix + "/cases/{case}/publications", Tags: tags,
		Summary: "Propose to publish a found child", Errors: errs, DefaultStatus: http.StatusCreated,
		Description: "Nothing is public until a second person has agreed. The server makes the portraits, and what was agreed to is what is shown.",
	}, s.propose)

	huma.Register(s.api, huma.Operation{
		OperationID: "list-case-publications", Method: http.MethodGet, Path: prefix + "/cases/{case}/publications", Tags: tags,
		Summary: "List a case's publications, newest first", Errors: errs[:2],
	}, func(ctx context.Context, in *CasePath) (*struct{ Body []api.Publication }, error) {
		c, err := s.see(ctx, registry.CaseID(in.Case))
		if err != nil {
			return nil, s.problem(err)
		}
		all, err := s.finder.Registry.PublicationsOf(ctx, c.ID)
		return s.publicationList(ctx, all, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-publications", Method: http.MethodGet, Path: prefix + "/publications", Tags: tags,
		Summary: "List what waits for a second person, longest waiting first",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body []api.Publication }, error) {
		all, err := s.finder.Registry.PublicationQueue(ctx, reach(ctx))
		return s.publicationList(ctx, all, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "decide-publication", Method: http.MethodPost, Path: prefix + "/publications/{publication}/decision", Tags: tags,
		Summary: "Publish what was proposed, or refuse it", Errors: errs, DefaultStatus: http.StatusOK,
		Description: "Whoever proposed it cannot decide.",
	}, func(ctx context.Context, in *struct {
		PublicationPath
		Body api.PublicationDecision
	}) (*publicationOutput, error) {
		return s.onPublication(ctx, in.Publication, func() (registry.Publication, error) {
			return s.finder.Registry.Decide(ctx, in.Publication, in.Body.Publish)
		})
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "ask-removal", Method: http.MethodPost, Path: prefix + "/publications/{publication}/removal", Tags: tags,
		Summary: "Ask that a published child be shown no longer", Errors: errs, DefaultStatus: http.StatusOK,
		Description: "The child is hidden at once. A second person then removes the publication, or shows it again.",
	}, func(ctx context.Context, in *struct {
		PublicationPath
		Body api.NewRemoval
	}) (*publicationOutput, error) {
		return s.onPublication(ctx, in.Publication, func() (registry.Publication, error) {
			return s.finder.Registry.AskRemoval(ctx, in.Publication, in.Body.Why)
		})
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "decide-removal", Method: http.MethodPost, Path: prefix + "/publications/{publication}/removal/decision", Tags: tags,
		Summary: "Remove a publication whose removal was asked for, or show it again", Errors: errs, DefaultStatus: http.StatusOK,
		Description: "Whoever asked for the removal cannot decide.",
	}, func(ctx context.Context, in *struct {
		PublicationPath
		Body api.RemovalDecision
	}) (*publicationOutput, error) {
		return s.onPublication(ctx, in.Publication, func() (registry.Publication, error) {
			return s.finder.Registry.DecideRemoval(ctx, in.Publication, in.Body.Remove)
		})
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-publication-picture", Method: http.MethodGet, Path: prefix + "/publications/{publication}/pictures/{picture}", Tags: tags,
		Summary: "Fetch a picture of a publication, also before it is public", Errors: errs[:2],
		Responses: imageResponse("image/jpeg"),
	}, s.publicationPicture)

	s.engine.GET("/publications", s.publicationsPage)
	s.engine.GET("/cases/:case/publish", s.publishPage)
}

// reach is which regions the caller covers; none where it says none.
func reach(ctx context.Context) []string { return append([]string{}, caller(ctx).Regions...) }

// portrait is what the public would get of a photo, noted as looked at.
func (s *Server) portrait(ctx context.Context, p registry.Photo) (*pictureOutput, error) {
	face, ok := p.Face(p.Subject)
	if !ok {
		return nil, newProblem(http.StatusUnprocessableEntity, "no_subject", "Choose first, on the case's page, which face in this photo is the child.")
	}
	return s.picture(ctx, "portrait/"+string(face.ID), portraitSide, p, func(side int) ([]byte, error) {
		return s.finder.Portrait(ctx, p, face, side)
	})
}

func (s *Server) propose(ctx context.Context, in *struct {
	CasePath
	Body api.NewPublication
}) (*publicationOutput, error) {
	c, err := s.edit(ctx, registry.CaseID(in.Case))
	if err != nil {
		return nil, s.problem(err)
	}
	p := registry.Publication{
		Case: c.ID, Sex: registry.Sex(in.Body.Sex), AgeFrom: in.Body.AgeFrom, AgeTo: in.Body.AgeTo,
		Place: in.Body.Place, Region: in.Body.Region, Marks: in.Body.Marks,
	}
	if p.FoundOn, err = date("found_on", in.Body.FoundOn); err != nil {
		return nil, s.problem(err)
	}
	for i, id := range in.Body.Photos {
		photo, err := s.finder.Registry.Photo(ctx, registry.PhotoID(id))
		if errors.Is(err, registry.ErrNotFound) || err == nil && photo.CaseID != c.ID {
			err = &registry.FieldError{Field: "photos", Text: fmt.Sprintf("has %.40q, which is no photo of this case", id)}
		}
		if err == nil && slices.Contains(in.Body.Photos[:i], id) {
			err = &registry.FieldError{Field: "photos", Text: "names one photo twice"}
		}
		if err != nil {
			return nil, s.problem(err)
		}
		pic, err := s.portrait(ctx, photo)
		if err != nil {
			return nil, err
		}
		p.Pictures = append(p.Pictures, registry.PublishedPicture{Photo: photo.ID, JPEG: pic.Body})
	}
	p, err = s.finder.Registry.Propose(ctx, p)
	return s.publicationAnswer(ctx, p, err)
}

// onPublication does something with a publication whose case the caller is responsible for.
func (s *Server) onPublication(ctx context.Context, id string, do func() (registry.Publication, error)) (*publicationOutput, error) {
	p, err := s.finder.Registry.Publication(ctx, id)
	if err == nil {
		_, err = s.answerFor(ctx, p.Case)
	}
	if err == nil {
		p, err = do()
	}
	return s.publicationAnswer(ctx, p, err)
}

func (s *Server) publicationAnswer(ctx context.Context, p registry.Publication, err error) (*publicationOutput, error) {
	if err != nil {
		return nil, s.problem(err)
	}
	out := &publicationOutput{}
	if out.Body, err = s.apiPublication(ctx, s.newPeople(), p); err != nil {
		return nil, s.problem(err)
	}
	return out, nil
}

func (s *Server) publicationList(ctx context.Context, all []registry.Publication, err error) (*struct{ Body []api.Publication }, error) {
	var out []api.Publication
	if err == nil {
		out, err = s.apiPublications(ctx, all)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	return &struct{ Body []api.Publication }{out}, nil
}

// apiPublications are publications as pages and API show them, noted as looked at.
func (s *Server) apiPublications(ctx context.Context, all []registry.Publication) ([]api.Publication, error) {
	out := make([]api.Publication, len(all))
	notes := make([]registry.Note, len(all))
	known := s.newPeople()
	for i, p := range all {
		var err error
		if out[i], err = s.apiPublication(ctx, known, p); err != nil {
			return nil, err
		}
		notes[i] = registry.Note{Action: "publication.looked", Case: p.Case, Subject: p.ID}
	}
	return out, s.finder.Registry.Record(ctx, notes...)
}

func (s *Server) apiPublication(ctx context.Context, known *people, p registry.Publication) (api.Publication, error) {
	c, err := s.finder.Registry.Case(ctx, p.Case)
	if err != nil {
		return api.Publication{}, err
	}
	out := api.Publication{
		ID: p.ID, Case: string(p.Case), Number: c.Number(), State: string(p.State), Sex: string(p.Sex), AgeFrom: p.AgeFrom, AgeTo: p.AgeTo,
		FoundOn: p.FoundOn.String(), Place: p.Place, Region: p.Region, Marks: p.Marks, ProposedAt: p.ProposedAt,
		Pictures: make([]api.PublishedPicture, len(p.Pictures)), RemovalWhy: p.RemovalWhy,
	}
	for i, pic := range p.Pictures {
		out.Pictures[i] = api.PublishedPicture{ID: pic.ID, Photo: string(pic.Photo)}
	}
	if out.ProposedBy, err = known.who(ctx, p.ProposedBy); err != nil {
		return out, err
	}
	if out.DecidedBy, out.DecidedAt, err = known.did(ctx, p.DecidedBy, p.DecidedAt); err != nil {
		return out, err
	}
	out.RemovalBy, out.RemovalAt, err = known.did(ctx, p.RemovalBy, p.RemovalAt)
	switch p.State {
	case registry.Proposed:
		out.MayDecide = p.ProposedBy != caller(ctx).Account
	case registry.Removal:
		out.MayDecide = p.RemovalBy != caller(ctx).Account
	}
	return out, err
}

func (s *Server) publicationPicture(ctx context.Context, in *struct {
	PublicationPath
	Picture string `path:"picture" maxLength:"64" doc:"Id of the picture."`
}) (*pictureOutput, error) {
	p, err := s.finder.Registry.Publication(ctx, in.Publication)
	if err == nil {
		_, err = s.see(ctx, p.Case)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	i := slices.IndexFunc(p.Pictures, func(pic registry.PublishedPicture) bool { return pic.ID == in.Picture })
	if i < 0 {
		return nil, s.problem(registry.ErrNotFound)
	}
	err = s.finder.Registry.Record(ctx, registry.Note{Action: "photo.looked", Case: p.Case, Subject: string(p.Pictures[i].Photo)})
	if err != nil {
		return nil, s.problem(err)
	}
	_, jpeg, err := s.finder.Registry.PublishedPicture(ctx, in.Picture, true)
	if err != nil {
		return nil, s.problem(err)
	}
	return &pictureOutput{ContentType: "image/jpeg", CacheControl: "private, max-age=600", Body: jpeg}, nil
}

// people finds out who did what, once for each account.
type people struct {
	registry *registry.Registry
	known    map[registry.AccountID]api.Person
}

func (s *Server) newPeople() *people {
	return &people{s.finder.Registry, map[registry.AccountID]api.Person{}}
}

// who is an account as colleagues know it. A family's name is not theirs to read here.
func (p *people) who(ctx context.Context, id registry.AccountID) (api.Person, error) {
	if id == "" {
		return api.Person{}, nil
	}
	if known, ok := p.known[id]; ok {
		return known, nil
	}
	out := api.Person{Account: string(id)}
	a, err := p.registry.Account(ctx, id)
	switch {
	case errors.Is(err, registry.ErrNotFound):
	case err != nil:
		return out, err
	case a.Role == registry.Family:
		out.Role = string(a.Role)
	default:
		out.Name, out.Role = a.Name, string(a.Role)
	}
	p.known[id] = out
	return out, nil
}

// did is who did something and when; nil while nobody has.
func (p *people) did(ctx context.Context, id registry.AccountID, at time.Time) (*api.Person, *time.Time, error) {
	if at.IsZero() {
		return nil, nil, nil
	}
	who, err := p.who(ctx, id)
	return &who, &at, err
}

// when writes a moment for people, in the time zone of the machine that serves them.
func when(at time.Time) string { return at.Local().Format("2006-01-02 15:04") }

// waiting is a publication in the queue, or on the page of its case.
type waiting struct {
	api.Publication
	RegionName             string
	Proposed, Asked, Ended string // when
}

func (s *Server) waiting(ctx context.Context, all []registry.Publication) ([]waiting, error) {
	shown, err := s.apiPublications(ctx, all)
	if err != nil {
		return nil, err
	}
	names, err := s.regionNames(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]waiting, len(shown))
	for i, p := range shown {
		out[i] = waiting{Publication: p, RegionName: names.of(p.Region), Proposed: when(p.ProposedAt)}
		if p.RemovalAt != nil {
			out[i].Asked = when(*p.RemovalAt)
		}
		if p.DecidedAt != nil {
			out[i].Ended = when(*p.DecidedAt)
		}
	}
	return out, nil
}

func (s *Server) publicationsPage(c *gin.Context) {
	ctx := c.Request.Context()
	all, err := s.finder.Registry.PublicationQueue(ctx, reach(ctx))
	var shown []waiting
	if err == nil {
		shown, err = s.waiting(ctx, all)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, http.StatusOK, "publications.html", "publications.title", shown)
}

// publishPage is where an officer chooses what the public shall see.
type publishPage struct {
	Case     api.Case
	Ready    []api.Photo // those that a portrait can be made of
	NotReady int
	Live     *waiting // what waits or is public already
	Suggest  api.NewPublication
	Regions  []choice
	Most     int
}

func (s *Server) publishPage(c *gin.Context) {
	ctx := c.Request.Context()
	found, err := s.answerFor(ctx, registry.CaseID(c.Param("case")))
	if err == nil && found.Gallery != registry.Found {
		err = newProblem(http.StatusConflict, "not_found_child", "Only children who were found are published.")
	}
	if err == nil && found.Status == registry.StatusClosed {
		err = newProblem(http.StatusConflict, "closed", "This case is closed. Reopen it before you change it.")
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	own := publishPage{Case: apiCase(found), Most: registry.MaxPublishedPictures}
	photos, err := s.finder.Registry.PhotosOf(ctx, found.ID)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	for _, p := range photos {
		if _, ok := p.Face(p.Subject); ok {
			own.Ready = append(own.Ready, apiPhoto(p, s.printer(ctx)))
		} else {
			own.NotReady++
		}
	}
	own.Regions, err = s.regionChoices(ctx, found.Region)
	if err == nil {
		own.Live, err = s.livePublication(ctx, found.ID)
	}
	if err == nil {
		err = s.finder.Registry.Record(ctx, registry.Note{Action: "case.looked", Case: found.ID})
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	own.Suggest = api.NewPublication{Sex: string(found.Sex), Marks: found.Marks, Region: found.Region, FoundOn: coarse(found.On)}
	own.Suggest.AgeFrom, own.Suggest.AgeTo = ageWhenFound(found, photos)
	s.page(c, http.StatusOK, "publish.html", "publish.title", own)
}

// livePublication is the one of a case that waits or is public; nil when there is none.
func (s *Server) livePublication(ctx context.Context, id registry.CaseID) (*waiting, error) {
	all, err := s.finder.Registry.PublicationsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p registry.Publication) bool {
		return p.State == registry.Refused || p.State == registry.Removed
	})
	if len(all) == 0 {
		return nil, nil
	}
	shown, err := s.waiting(ctx, all[:1])
	if err != nil {
		return nil, err
	}
	return &shown[0], nil
}

// coarse is a date without its day.
func coarse(d registry.Date) string {
	text := d.String()
	return text[:min(len(text), len("2009-05"))]
}

// ageWhenFound estimates how old a child was when it was found, in years: by the dates where there are any, else by its
// looks in the photos.
func ageWhenFound(c registry.Case, photos []registry.Photo) (from, to int) {
	if !c.On.IsZero() && !c.BornFrom.IsZero() && !c.BornTo.IsZero() {
		from = fullYears(c.BornTo.Latest(), c.On.Earliest())
		to = fullYears(c.BornFrom.Earliest(), c.On.Latest())
	} else {
		var age, sd, n float32
		for _, p := range photos {
			if f, ok := p.Face(p.Subject); ok {
				age, sd, n = age+f.AgeYears, sd+f.AgeSD, n+1
			}
		}
		if n > 0 {
			from, to = int((age-sd)/n), int((age+sd)/n+0.5)
		}
	}
	within := func(n int) int { return max(0, min(n, registry.MaxPublishedAge)) }
	return within(from), within(to)
}

// fullYears are the full years between two moments.
func fullYears(from, to time.Time) int {
	n := to.Year() - from.Year()
	if to.YearDay() < from.YearDay() {
		n--
	}
	return n
}
