package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/finder"
	"homeward/match"
	"homeward/registry"
)

// ln10 makes a log-LR of the registry's powers of ten.
const ln10 = math.Ln10

// LeadPath names a lead.
type LeadPath struct {
	Lead string `path:"lead" maxLength:"64" doc:"Id of the lead."`
}

type leadOutput struct {
	Status int
	Body   api.Lead
}

// leadPair is a lead with its two cases, and which of them the caller may see.
type leadPair struct {
	registry.Lead
	missing, found         registry.Case
	seesMissing, seesFound bool
}

func (p leadPair) both() bool { return p.seesMissing && p.seesFound }

// open says whether both cases are.
func (p leadPair) open() bool {
	return p.missing.Status == registry.StatusOpen && p.found.Status == registry.StatusOpen
}

// seeLead reads a lead of which the caller may see at least one side. Any other is as if it were not there.
func (s *Server) seeLead(ctx context.Context, id registry.LeadID) (leadPair, error) {
	l, err := s.finder.Registry.Lead(ctx, id)
	if err != nil {
		return leadPair{}, err
	}
	return s.pairOf(ctx, l)
}

func (s *Server) pairOf(ctx context.Context, l registry.Lead) (leadPair, error) {
	p := leadPair{Lead: l}
	for _, side := range []struct {
		id   registry.CaseID
		c    *registry.Case
		sees *bool
	}{{l.Missing, &p.missing, &p.seesMissing}, {l.Found, &p.found, &p.seesFound}} {
		var err error
		if *side.c, err = s.finder.Registry.Case(ctx, side.id); err != nil {
			return p, err
		}
		if *side.sees, err = s.finder.Registry.MaySee(ctx, caller(ctx), *side.c); err != nil {
			return p, err
		}
	}
	if !p.seesMissing && !p.seesFound {
		return leadPair{}, registry.ErrNotFound
	}
	return p, nil
}

// seeBoth is seeLead for what needs both sides.
func (s *Server) seeBoth(ctx context.Context, id registry.LeadID) (leadPair, error) {
	p, err := s.seeLead(ctx, id)
	if err == nil && !p.both() {
		err = newProblem(http.StatusForbidden, "other_region", s.printer(ctx).T("lead.other_region"))
	}
	return p, err
}

// tell is a problem in the caller's language.
func (s *Server) tell(ctx context.Context, status int, code string) error {
	return newProblem(status, code, s.printer(ctx).T("problem."+code))
}

func (s *Server) leadRoutes() {
	tags := []string{"Leads"}

	huma.Register(s.api, huma.Operation{
		OperationID: "list-leads", Method: http.MethodGet, Path: prefix + "/leads", Tags: tags,
		Summary:     "List leads",
		Description: "Leads of which you may see at least one side; the other is withheld where another region holds it. The most urgent first: strong ones, and waiting counts.",
	}, s.listLeads)

	huma.Register(s.api, huma.Operation{
		OperationID: "get-lead", Method: http.MethodGet, Path: prefix + "/leads/{lead}", Tags: tags,
		Summary: "Read a lead with all that it rests on", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *LeadPath) (*leadOutput, error) {
		p, err := s.seeLead(ctx, registry.LeadID(in.Lead))
		if err == nil {
			err = s.lookedAtLead(ctx, p, "lead.looked")
		}
		if err != nil {
			return nil, s.problem(err)
		}
		out, err := s.wholeLead(ctx, p)
		if err != nil {
			return nil, s.problem(err)
		}
		return &leadOutput{Status: http.StatusOK, Body: out}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "open-lead", Method: http.MethodPost, Path: prefix + "/leads", Tags: tags,
		Summary:     "Open a lead by hand",
		Description: "A lead of the two that is there already is answered with 200 and gets the note behind its own. A family does it on the page of a published child instead.",
		Errors:      []int{http.StatusNotFound, http.StatusConflict}, DefaultStatus: http.StatusCreated,
		Responses: map[string]*huma.Response{"200": {Description: "The two are a lead already."}},
	}, s.openLead)
}

// LeadFilters narrow a list of leads. Exported because huma reads embedded fields only then.
type LeadFilters struct {
	State    []string `query:"state" enum:"open,disputed,potential,no_candidate,inconclusive,dna,confirmed,excluded,reunited" maxItems:"9"`
	Region   string   `query:"region" maxLength:"50" doc:"Leads with a side in this region or one under it."`
	Source   []string `query:"source" enum:"standing,family,officer" maxItems:"3"`
	Case     string   `query:"case" maxLength:"64" doc:"Leads of this case."`
	Unjudged bool     `query:"unjudged" doc:"Leave out those that you have judged in their present round, or may not judge."`
	Closed   bool     `query:"closed" doc:"Also leads of which a case is closed."`
	Order    string   `query:"order" enum:"urgency,score,age,newest" default:"urgency" doc:"urgency: strong leads first, and a day of waiting counts a tenth."`
	Limit    int      `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Cursor   string   `query:"cursor" maxLength:"100" doc:"The next value of the answer before."`
}

func (f LeadFilters) query(a registry.Actor) registry.LeadQuery {
	q := registry.LeadQuery{
		Case: registry.CaseID(f.Case), Regions: append([]string{}, a.Regions...), Region: f.Region, // never nil, which would be everywhere
		Order: registry.LeadOrder(f.Order), Limit: f.Limit, Cursor: f.Cursor, Closed: f.Closed,
	}
	if f.Order == "urgency" {
		q.Order = registry.ByUrgency
	}
	for _, st := range f.State {
		q.States = append(q.States, registry.LeadState(st))
	}
	for _, src := range f.Source {
		q.Sources = append(q.Sources, registry.LeadSource(src))
	}
	if f.Unjudged {
		q.Unjudged = a.Account
	}
	return q
}

func (s *Server) listLeads(ctx context.Context, in *LeadFilters) (*struct{ Body api.LeadPage }, error) {
	page, err := s.leads(ctx, in.query(caller(ctx)))
	if err != nil {
		return nil, s.problem(err)
	}
	return &struct{ Body api.LeadPage }{page}, nil
}

// leads is one page of leads, noted as listed.
func (s *Server) leads(ctx context.Context, q registry.LeadQuery) (api.LeadPage, error) {
	out := api.LeadPage{Leads: []api.Lead{}, Caution: s.printer(ctx).T("caution")}
	leads, next, err := s.finder.Registry.Leads(ctx, q)
	if err != nil {
		return out, err
	}
	if err := s.finder.Registry.Record(ctx, registry.Note{Action: "leads.listed", Case: q.Case}); err != nil {
		return out, err
	}
	out.Next = next
	for _, l := range leads {
		p, err := s.pairOf(ctx, l)
		if errors.Is(err, registry.ErrNotFound) { // a case destroyed or moved to another region since
			continue
		}
		if err != nil {
			return out, err
		}
		told, err := s.apiLead(ctx, p)
		if err != nil {
			return out, err
		}
		out.Leads = append(out.Leads, told)
	}
	return out, nil
}

// lookedAtLead notes in the histories of both cases that the caller is shown a lead.
func (s *Server) lookedAtLead(ctx context.Context, p leadPair, action string) error {
	return s.finder.Registry.Record(ctx,
		registry.Note{Action: action, Case: p.Missing, Subject: string(p.ID)},
		registry.Note{Action: action, Case: p.Found, Subject: string(p.ID)})
}

// apiLead tells of a lead what the caller may know. It holds nothing of what examiners found before their round is settled:
// how many verdicts there are, and no more.
func (s *Server) apiLead(ctx context.Context, p leadPair) (out api.Lead, err error) {
	most := s.finder.MostClaimed()
	faces := p.Faces * ln10
	say := s.printer(ctx)
	out = api.Lead{
		ID: string(p.ID), State: string(p.State), Source: string(p.Source), Score: bans(p.Score * ln10), Records: bans(p.Records * ln10),
		Faces: api.Evidence{
			Log10LR: bans(bounded(faces, most)), Band: string(match.BandOf(faces)), Bounded: math.Abs(faces) >= most, Text: likeness(faces, most, say),
		},
		Round: p.Round, Given: p.Verdicts, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, ModelSet: p.ModelSet, Caution: say.T("caution"),
	}
	if !p.Reopened.IsZero() {
		judged := bans(p.JudgedScore * ln10)
		out.Reopened, out.JudgedScore = &p.Reopened, &judged
	}
	if p.both() {
		out.Note = p.Note
	}
	if out.Missing, err = s.leadSide(ctx, p.missing, p.MissingFace, p.seesMissing); err != nil {
		return out, err
	}
	out.Found, err = s.leadSide(ctx, p.found, p.FoundFace, p.seesFound)
	return out, err
}

// leadSide is one of a lead's cases, or who holds it.
func (s *Server) leadSide(ctx context.Context, c registry.Case, face registry.FaceID, sees bool) (api.LeadSide, error) {
	if !sees {
		return api.LeadSide{HeldBy: c.Region, Case: api.Case{
			ID: string(c.ID), Gallery: string(c.Gallery), Status: string(c.Status), CaseFacts: api.CaseFacts{Region: c.Region},
		}}, nil
	}
	out := api.LeadSide{Case: apiCase(c)}
	if face == "" {
		return out, nil
	}
	p, err := s.finder.Registry.PhotoOf(ctx, face)
	if errors.Is(err, registry.ErrNotFound) { // deleted since the two were compared
		return out, nil
	}
	if err != nil {
		return out, err
	}
	f, _ := p.Face(face) // PhotoOf found the photo by it
	age := s.sightingOf(c, p, f)
	out.Face, out.Photo, out.Age = string(face), string(p.ID), &age
	return out, nil
}

// wholeLead is a lead with the evidence and the facts, for who may see both sides.
func (s *Server) wholeLead(ctx context.Context, p leadPair) (api.Lead, error) {
	out, err := s.apiLead(ctx, p)
	if err != nil || !p.both() {
		return out, err
	}
	out.Facts = compareFacts(s.printer(ctx), p.missing, p.found)
	out.Evidence, err = s.evidence(ctx, p)
	return out, err
}

// evidence is the found case as a candidate for the missing one; nil while one of them has no face to compare.
func (s *Server) evidence(ctx context.Context, p leadPair) (*api.Candidate, error) {
	c, err := s.finder.PairCandidate(ctx, p.Missing, p.Found)
	if errors.Is(err, finder.ErrNoFaces) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := apiCandidate(c, s.finder.MostClaimed(), true, s.printer(ctx))
	return &out, nil
}

// openLead opens a lead of which the caller may see at least one side: a candidate that another region holds is one to
// ask for.
func (s *Server) openLead(ctx context.Context, in *struct{ Body api.NewLead }) (*leadOutput, error) {
	missing, found := registry.CaseID(in.Body.Missing), registry.CaseID(in.Body.Found)
	p, err := s.pairOf(ctx, registry.Lead{Missing: missing, Found: found})
	if err != nil {
		return nil, s.problem(err)
	}
	n := registry.NewLead{Missing: missing, Found: found, Strength: registry.Strength{ModelSet: s.finder.TemplateSet()}}
	// An officer may have reasons that no photo shows.
	if strength, err := s.finder.ComparePair(ctx, missing, found); err == nil {
		n.Strength = strength
	} else if !errors.Is(err, finder.ErrNoFaces) && !errors.Is(err, registry.ErrInvalid) { // OpenLead says which side is wrong
		return nil, s.problem(err)
	}
	l, existed, err := s.finder.Registry.OpenLead(ctx, n, registry.FromOfficer, in.Body.Note)
	if errors.Is(err, registry.ErrConflict) {
		return nil, s.tell(ctx, http.StatusConflict, "lead_closed")
	}
	if err != nil {
		return nil, s.problem(err)
	}
	p.Lead = l
	body, err := s.apiLead(ctx, p)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &leadOutput{Status: http.StatusCreated, Body: body}
	if existed {
		out.Status = http.StatusOK
	}
	return out, nil
}

// waitingSince is when a lead began to wait for examiners.
func waitingSince(l api.Lead) time.Time {
	if l.Reopened != nil {
		return *l.Reopened
	}
	return l.CreatedAt
}
