package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"homeward/api"
)

type healthOutput struct {
	Status int
	Body   api.Health
}

func (s *Server) healthRoutes() {
	tags := []string{"Service"}
	public := []map[string][]string{} // needs no key

	huma.Register(s.api, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: prefix + "/health", Tags: tags, Security: public,
		Summary: "Is the process alive?",
	}, func(context.Context, *struct{}) (*healthOutput, error) {
		return &healthOutput{http.StatusOK, api.Health{Status: "ok", Version: s.version}}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: prefix + "/ready", Tags: tags, Security: public,
		Summary: "Can it search by faces and words? 503 while words load",
	}, func(ctx context.Context, _ *struct{}) (*healthOutput, error) {
		st, err := s.finder.Status(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		out := &healthOutput{http.StatusOK, api.Health{
			Status: "ok", Version: s.version, ModelSet: s.finder.TemplateSet(), Cases: st.Cases, References: st.References, Queued: st.Queued,
		}}
		if !st.Words {
			out.Status, out.Body.Status = http.StatusServiceUnavailable, "starting"
		}
		return out, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "list-models", Method: http.MethodGet, Path: prefix + "/models", Tags: tags,
		Summary: "List the model cards and the set in use",
	}, func(context.Context, *struct{}) (*struct{ Body api.Models }, error) {
		return &struct{ Body api.Models }{s.models()}, nil
	})
}

func (s *Server) models() api.Models {
	set := s.finder.Set()
	out := api.Models{Set: set.Name, SetID: set.ID, TemplateSet: s.finder.TemplateSet()}
	for _, c := range s.finder.Models.Cards() {
		m := api.Model{Name: c.Name, Version: c.Version, Task: string(c.Task), Licence: c.Licence, InUse: set.Has(c.Name)}
		for _, f := range c.Files {
			source := f.Source.Package + "/" + f.Source.Path
			if f.Own {
				source = "homeward/models/trained/" + f.Name
			}
			m.Sources = append(m.Sources, source)
		}
		out.Models = append(out.Models, m)
	}
	return out
}

// docPolicy is contentPolicy with the one allowance the browsable documentation needs: its start-up script is inline.
const docPolicy = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"

// docRoutes serves the browsable documentation from files built into the binary: nothing is asked of a third party.
func (s *Server) docRoutes() {
	h := gin.WrapH(v5emb.NewWithConfig(swgui.Config{ShowTopBar: false, HideCurl: false})(
		"Homeward API", prefix+"/openapi.json", prefix+"/docs"))
	show := func(c *gin.Context) {
		c.Header("Content-Security-Policy", docPolicy)
		c.Header("Cache-Control", "public, max-age=3600")
		h(c)
	}
	s.engine.GET(prefix+"/docs", show)
	s.engine.GET(prefix+"/docs/*file", show)
}
