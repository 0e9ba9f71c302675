// Package server is Homeward's face to the world: the API under /api/v1, described by the OpenAPI document that is
// generated from the code serving it, and the pages. It decides who may ask and how answers look; what the answers are
// is package finder's business.
package server

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"homeward/finder"
	"homeward/registry"
	"homeward/text"
)

// Limits on what a client may send, and how long it may take.
const (
	// idleBody ends an upload that has stood still for this long; a slow one that moves may take its time.
	idleBody      = 30 * time.Second
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// drain is how long requests under way may take to finish at shutdown.
	drain = 20 * time.Second
)

// Server answers requests.
type Server struct {
	finder  *finder.Finder
	log     *slog.Logger
	version string
	engine  *gin.Engine
	api     huma.API
	chips   *renditions
	pages   *template.Template
	text    *text.Catalogue
	buckets *buckets
	reports *reports
	uploads *uploads
	outside *outside
	watched watched
	metrics *metrics
}

// Options of New.
type Options struct {
	// Proxies are the addresses or networks of proxies that are believed about whom they speak for; none by default.
	Proxies []string
	OIDC    OIDC
}

// New makes a server. Nothing listens until Serve.
func New(f *finder.Finder, log *slog.Logger, o Options) (*Server, error) {
	gin.SetMode(gin.ReleaseMode)
	chips, err := newRenditions()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	catalogue, err := text.Load()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	counted, err := newBuckets()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	other, err := newOutside(o.OIDC)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	sent, err := newReports()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{reports: sent, uploads: newUploads(), outside: other, finder: f, log: log, version: version(), engine: gin.New(), chips: chips, text: catalogue, buckets: counted}
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	f.OnDestroyed(func([]registry.CaseID) { s.chips.forget() })
	s.engine.HandleMethodNotAllowed = true
	s.engine.RedirectTrailingSlash = false // it would answer before anyone is asked for a key
	// The address of the peer is the address, unless it is a proxy that is trusted to say otherwise.
	if err := s.engine.SetTrustedProxies(o.Proxies); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.engine.Use(s.observe, compress(), s.guard, s.language, protect(), s.authenticate, s.language, s.authorise)
	s.engine.NoRoute(s.noRoute)
	s.engine.NoMethod(s.noMethod)

	s.api = humagin.New(s.engine, apiConfig(s.version))
	s.healthRoutes()
	s.metricsRoutes()
	s.caseRoutes()
	s.photoRoutes()
	s.searchRoutes()
	s.uploadRoutes()
	s.reportRoutes()
	s.familyRoutes()
	s.galleryRoutes()
	s.publicationRoutes()
	s.groupRoutes()
	s.historyRoutes()
	s.askRoutes()
	s.savedSearchRoutes()
	s.caseListRoutes()
	s.accountsRoutes()
	s.accountRoutes()
	s.regionRoutes()
	s.auditRoutes()
	s.jobRoutes()
	s.leadRoutes()
	s.verdictRoutes()
	s.dnaRoutes()
	s.deskRoutes()
	s.docRoutes()
	s.engine.GET("/language", s.chooseLanguage)
	s.engine.GET("/text/:file", s.scriptText)
	s.signInRoutes()
	s.oidcRoutes()
	if err := s.pageRoutes(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := s.checkRules(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return s, nil
}

// Handler serves every request.
func (s *Server) Handler() http.Handler { return s.engine }

// OpenAPI is the description of the API, as /api/v1/openapi.json serves it.
func (s *Server) OpenAPI() *huma.OpenAPI { return s.api.OpenAPI() }

// Serve answers on l until ctx ends, then lets requests under way finish.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s.engine,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       idleBody, // for all but photos, whose deadline movingBody moves
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(serverLog{s.log}, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := h.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("some requests did not finish in time and were cut off")
		err = h.Close()
	}
	<-done
	s.uploads.close()
	return err
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

func apiConfig(version string) huma.Config {
	c := huma.DefaultConfig("Homeward", version)
	c.OpenAPI.Info.Description = "Face search that brings missing and abducted children home. A score is a lead for people and DNA to settle, never an identification.\n\n" +
		"Every request but health, readiness and this description needs `Authorization: Bearer KEY`; `homeward key add` makes a key, which acts as its account. " +
		"Errors are `application/problem+json` and say what to do."
	c.OpenAPIPath = prefix + "/openapi"
	c.SchemasPath = prefix + "/schemas"
	c.DocsPath = "" // our own, without third parties: see docs.go
	c.RejectUnknownQueryParameters = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "A key made by `homeward key add`."},
	}
	c.Security = []map[string][]string{{"key": {}}}
	c.Transformers = append(c.Transformers, finishProblem)
	return c
}

// prefix stands before every path of the API.
const prefix = "/api/v1"
