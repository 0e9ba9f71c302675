package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

type askOutput struct{ Body api.Ask }

func (s *Server) askRoutes() {
	tags := []string{"Looks at other regions' cases"}

	huma.Register(s.api, huma.Operation{
		OperationID: "ask-for-case", Method: http.MethodPost, Path: prefix + "/cases/{case}/asks", Tags: tags,
		Summary: "Ask to see a case of another region", DefaultStatus: http.StatusCreated,
		Errors:      []int{http.StatusNotFound, http.StatusConflict},
		Description: "Someone who is responsible for the case's region answers. Asking again while it waits changes nothing.",
	}, func(ctx context.Context, in *struct {
		CasePath
		Body api.NewAsk
	}) (*askOutput, error) {
		c, err := s.finder.Registry.Case(ctx, registry.CaseID(in.Case))
		if err != nil {
			return nil, s.problem(err)
		}
		if ok, err := s.finder.Registry.MaySee(ctx, caller(ctx), c); err != nil || ok {
			if ok {
				err = newProblem(http.StatusConflict, "may_see", "You may see this case already. Open it.")
			}
			return nil, s.problem(err)
		}
		a, err := s.finder.Registry.AskFor(ctx, c.ID, in.Body.Why)
		return s.askAnswer(ctx, a, err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-asks", Method: http.MethodGet, Path: prefix + "/asks", Tags: tags,
		Summary: "List asks that wait for you, and your own",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.Asks }, error) {
		asks, err := s.asks(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.Asks }{asks}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "answer-ask", Method: http.MethodPost, Path: prefix + "/asks/{ask}/answer", Tags: tags,
		Summary: "Let someone of another region look at a case, or refuse", DefaultStatus: http.StatusOK,
		Errors:      []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
		Description: "A look lasts thirty days and shows this one case.",
	}, func(ctx context.Context, in *struct {
		Ask  string `path:"ask" maxLength:"64" doc:"Id of the ask."`
		Body api.AskAnswer
	}) (*askOutput, error) {
		a, err := s.finder.Registry.AnswerAsk(ctx, in.Ask, in.Body.Grant)
		return s.askAnswer(ctx, a, err)
	})

	s.engine.GET("/asks", s.asksPage)
}

func (s *Server) askAnswer(ctx context.Context, a registry.Ask, err error) (*askOutput, error) {
	var out api.Ask
	if err == nil {
		out, err = s.apiAsk(ctx, s.newPeople(), a)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	return &askOutput{out}, nil
}

// asks are those that the caller may answer, and the caller's own.
func (s *Server) asks(ctx context.Context) (api.Asks, error) {
	out := api.Asks{Open: []api.Ask{}, Own: []api.Ask{}}
	actor := caller(ctx)
	known := s.newPeople()
	if grantLook.may(actor.Role) {
		open, err := s.finder.Registry.OpenAsks(ctx, reach(ctx))
		if err != nil {
			return out, err
		}
		for _, a := range open {
			if a.By == actor.Account {
				continue
			}
			shown, err := s.apiAsk(ctx, known, a)
			if err != nil {
				return out, err
			}
			out.Open = append(out.Open, shown)
		}
	}
	own, err := s.finder.Registry.AsksOf(ctx, actor.Account)
	if err != nil {
		return out, err
	}
	for _, a := range own {
		shown, err := s.apiAsk(ctx, known, a)
		if err != nil {
			return out, err
		}
		out.Own = append(out.Own, shown)
	}
	return out, nil
}

func (s *Server) apiAsk(ctx context.Context, known *people, a registry.Ask) (api.Ask, error) {
	c, err := s.finder.Registry.Case(ctx, a.Case)
	if err != nil {
		return api.Ask{}, err
	}
	out := api.Ask{ID: a.ID, Case: string(a.Case), Number: c.Number(), Region: c.Region, Why: a.Why, AskedAt: a.AskedAt, Answer: a.Answer}
	if out.By, err = known.who(ctx, a.By); err != nil {
		return out, err
	}
	if !a.Until.IsZero() {
		out.Until = &a.Until
	}
	out.AnsweredBy, out.AnsweredAt, err = known.did(ctx, a.AnsweredBy, a.AnsweredAt)
	return out, err
}

// asksPage has those that wait for the caller, and the caller's own.
type asksPage struct {
	MayAnswer bool
	Open, Own []askRow
}

type askRow struct {
	api.Ask
	RegionName         string
	Asked, Until       string // when
	MaySee             bool   // its look is not over
	Answered, Answerer string
}

func (s *Server) asksPage(c *gin.Context) {
	ctx := c.Request.Context()
	asks, err := s.asks(ctx)
	var names regionNames
	if err == nil {
		names, err = s.regionNames(ctx)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	own := asksPage{MayAnswer: grantLook.may(caller(ctx).Role)}
	for _, side := range []struct {
		from []api.Ask
		to   *[]askRow
	}{{asks.Open, &own.Open}, {asks.Own, &own.Own}} {
		for _, a := range side.from {
			row := askRow{Ask: a, RegionName: names.of(a.Region), Asked: when(a.AskedAt)}
			if a.Until != nil {
				row.Until = when(*a.Until)
				_, err := s.see(ctx, registry.CaseID(a.Case))
				row.MaySee = err == nil
			}
			if a.AnsweredBy != nil {
				row.Answered, row.Answerer = when(*a.AnsweredAt), a.AnsweredBy.Name
			}
			*side.to = append(*side.to, row)
		}
	}
	s.page(c, http.StatusOK, "asks.html", "asks.title", own)
}
