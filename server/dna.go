package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

// DNAPath names a DNA request.
type DNAPath struct {
	Request string `path:"request" maxLength:"64" doc:"Id of the DNA request."`
}

type dnaOutput struct{ Body api.DNARequest }

func (s *Server) dnaRoutes() {
	tags := []string{"DNA"}
	errs := []int{http.StatusNotFound, http.StatusConflict}

	huma.Register(s.api, huma.Operation{
		OperationID: "request-dna", Method: http.MethodPost, Path: prefix + "/leads/{lead}/dna", Tags: tags,
		Summary: "Ask a laboratory about a lead", Errors: errs, DefaultStatus: http.StatusCreated,
		Description: "Of a lead that is a potential candidate. The laboratory sees the numbers of the two cases and the samples, and nothing else of a child.",
	}, func(ctx context.Context, in *struct {
		LeadPath
		Body api.NewDNARequest
	}) (*dnaOutput, error) {
		p, err := s.seeLead(ctx, registry.LeadID(in.Lead))
		if err != nil {
			return nil, s.problem(err)
		}
		d, err := s.finder.Registry.RequestDNA(ctx, p.ID, in.Body.Laboratory)
		if errors.Is(err, registry.ErrConflict) {
			err = s.tell(ctx, http.StatusConflict, s.closedOr(ctx, p.ID, "not_potential"))
		}
		return s.dnaAnswer(ctx, d, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-dna", Method: http.MethodGet, Path: prefix + "/dna", Tags: tags,
		Summary:     "List DNA requests",
		Description: "A laboratory's own; for officers, those about leads that they may see.",
	}, func(ctx context.Context, in *struct {
		Open bool `query:"open" doc:"Only those without a result."`
	}) (*struct{ Body api.DNARequests }, error) {
		all, err := s.dnaRequests(ctx, in.Open)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.DNARequests }{api.DNARequests{Requests: all}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-dna", Method: http.MethodGet, Path: prefix + "/dna/{request}", Tags: tags,
		Summary: "Read a DNA request", Errors: errs[:1],
	}, func(ctx context.Context, in *DNAPath) (*dnaOutput, error) {
		d, err := s.seeRequest(ctx, in.Request)
		if err == nil {
			err = s.finder.Registry.Record(ctx, registry.Note{Action: "dna.looked", Subject: d.ID})
		}
		return s.dnaAnswer(ctx, d, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "add-dna-sample", Method: http.MethodPost, Path: prefix + "/dna/{request}/samples", Tags: tags,
		Summary: "Add a sample to a DNA request", Errors: errs, DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, in *struct {
		DNAPath
		Body api.NewDNASample
	}) (*dnaOutput, error) {
		taken, err := date("taken_on", in.Body.TakenOn)
		if err != nil {
			return nil, s.problem(err)
		}
		d, err := s.seeRequest(ctx, in.Request)
		if err != nil {
			return nil, s.problem(err)
		}
		d, err = s.finder.Registry.AddSample(ctx, d.ID, registry.Sample{Whose: registry.Whose(in.Body.Whose), Kit: in.Body.Kit, TakenOn: taken})
		switch {
		case errors.Is(err, registry.ErrConflict):
			err = s.tell(ctx, http.StatusConflict, "dna_reported")
		case errors.Is(err, registry.ErrDuplicate):
			err = s.tell(ctx, http.StatusConflict, "kit_known")
		}
		return s.dnaAnswer(ctx, d, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "report-dna", Method: http.MethodPost, Path: prefix + "/dna/{request}/result", Tags: tags,
		Summary: "Report the laboratory's result", Errors: errs, DefaultStatus: http.StatusOK,
		Description: "confirmed and excluded settle the lead; after inconclusive another request can be made. The same result sent twice is answered like the first time.",
	}, func(ctx context.Context, in *struct {
		DNAPath
		Body api.DNAReport
	}) (*dnaOutput, error) {
		on, err := date("on", in.Body.On)
		if err != nil {
			return nil, s.problem(err)
		}
		d, err := s.seeRequest(ctx, in.Request)
		if err != nil {
			return nil, s.problem(err)
		}
		d, _, err = s.finder.Registry.ReportDNA(ctx, d.ID, registry.DNAResult(in.Body.Result), in.Body.Report, on)
		if errors.Is(err, registry.ErrConflict) {
			err = s.tell(ctx, http.StatusConflict, "dna_reported")
		}
		return s.dnaAnswer(ctx, d, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "record-reunion", Method: http.MethodPost, Path: prefix + "/leads/{lead}/reunion", Tags: tags,
		Summary: "Record that a child is home", Errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict}, DefaultStatus: http.StatusOK,
		Description: "Only of a lead that DNA has confirmed. Both cases are closed, what was published of the child is removed, and both are destroyed at the time that the cases tell.",
	}, func(ctx context.Context, in *LeadPath) (*leadOutput, error) {
		p, err := s.seeBoth(ctx, registry.LeadID(in.Lead))
		if err != nil {
			return nil, s.problem(err)
		}
		_, err = s.finder.Registry.Reunite(ctx, p.ID)
		if errors.Is(err, registry.ErrConflict) {
			err = s.tell(ctx, http.StatusConflict, s.closedOr(ctx, p.ID, "not_confirmed"))
		}
		if err != nil {
			return nil, s.problem(err)
		}
		s.finder.Refresh(ctx)
		if p, err = s.seeLead(ctx, p.ID); err != nil {
			return nil, s.problem(err)
		}
		out, err := s.apiLead(ctx, p)
		if err != nil {
			return nil, s.problem(err)
		}
		return &leadOutput{Status: http.StatusOK, Body: out}, nil
	})
}

// closedOr is the code of a conflict about a lead: that its state is not the one it takes, or that a case of it is closed.
func (s *Server) closedOr(ctx context.Context, id registry.LeadID, code string) string {
	right := registry.LeadPotential
	if code == "not_confirmed" {
		right = registry.LeadConfirmed
	}
	if p, err := s.seeLead(ctx, id); err == nil && p.State == right && !p.open() {
		return "lead_closed"
	}
	return code
}

func (s *Server) dnaAnswer(ctx context.Context, d registry.DNARequest, err error) (*dnaOutput, error) {
	if err != nil {
		return nil, s.problem(err)
	}
	out, err := s.apiDNA(ctx, d)
	if err != nil {
		return nil, s.problem(err)
	}
	return &dnaOutput{out}, nil
}

// seeRequest reads a DNA request: a laboratory its own organisation's, staff those about leads that they may see. Any other
// is as if it were not there.
func (s *Server) seeRequest(ctx context.Context, id string) (registry.DNARequest, error) {
	d, err := s.finder.Registry.DNARequest(ctx, id)
	if err != nil {
		return d, err
	}
	return d, s.maySeeRequest(ctx, d)
}

func (s *Server) maySeeRequest(ctx context.Context, d registry.DNARequest) error {
	if a := caller(ctx); a.Role == registry.Laboratory {
		if a.Organisation != d.Laboratory {
			return registry.ErrNotFound
		}
		return nil
	}
	_, err := s.seeLead(ctx, d.Lead)
	return err
}

// dnaRequests are those that the caller may see, noted as listed.
func (s *Server) dnaRequests(ctx context.Context, open bool) ([]api.DNARequest, error) {
	var laboratory string
	if a := caller(ctx); a.Role == registry.Laboratory {
		if laboratory = a.Organisation; laboratory == "" { // which would be all of them
			return nil, registry.ErrNotFound
		}
	}
	all, err := s.finder.Registry.DNAQueue(ctx, laboratory, open, registry.MaxListed)
	if err != nil {
		return nil, err
	}
	if err := s.finder.Registry.Record(ctx, registry.Note{Action: "dna.listed"}); err != nil {
		return nil, err
	}
	out := []api.DNARequest{}
	for _, d := range all {
		err := s.maySeeRequest(ctx, d)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		told, err := s.apiDNA(ctx, d)
		if err != nil {
			return nil, err
		}
		out = append(out, told)
	}
	return out, nil
}

// apiDNA tells of a request. Laboratories read it: of the children it holds the cases' numbers alone.
func (s *Server) apiDNA(ctx context.Context, d registry.DNARequest) (api.DNARequest, error) {
	out := api.DNARequest{
		ID: d.ID, Lead: string(d.Lead), Laboratory: d.Laboratory, RequestedAt: d.RequestedAt,
		Result: string(d.Result), Report: d.Report, On: d.ResultOn.String(), Samples: []api.DNASample{},
	}
	if d.Result != "" {
		out.ReportedAt = &d.ResultAt
	}
	for _, m := range d.Samples {
		out.Samples = append(out.Samples, api.DNASample{ID: m.ID, Whose: string(m.Whose), Kit: m.Kit, TakenOn: m.TakenOn.String(), AddedAt: m.AddedAt})
	}
	l, err := s.finder.Registry.Lead(ctx, d.Lead)
	if err != nil {
		return out, err
	}
	for _, side := range []struct {
		id registry.CaseID
		to *string
	}{{l.Missing, &out.Missing}, {l.Found, &out.Found}} {
		c, err := s.finder.Registry.Case(ctx, side.id)
		if err != nil {
			return out, err
		}
		*side.to = c.Number()
	}
	return out, nil
}

// whoseSamples are the kinds of samples, the child's first.
var whoseSamples = []registry.Whose{registry.OfChild, registry.OfMother, registry.OfFather, registry.OfSibling, registry.OfOther}

// dnaPage is the laboratory's desk, and for officers the state of what they asked.
type dnaPage struct {
	Open, Reported []dnaView
	Laboratory     string // the caller's own
	Reports        bool
}

func (s *Server) dnaPage(c *gin.Context) {
	ctx := c.Request.Context()
	all, err := s.dnaRequests(ctx, false)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	who := caller(ctx)
	p := dnaPage{Reports: reportDNA.may(who.Role)}
	if p.Reports {
		p.Laboratory = who.Organisation
	}
	for _, d := range all {
		v := viewDNA(s.printer(ctx), d, addSample.may(who.Role))
		if d.Result == "" {
			p.Open = append(p.Open, v)
		} else {
			p.Reported = append(p.Reported, v)
		}
	}
	s.page(c, http.StatusOK, "dna.html", "dna.title", p)
}
