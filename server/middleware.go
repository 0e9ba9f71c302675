package server

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// contentPolicy keeps pages to what this server itself serves: no inline script or style, no third party. blob: shows a
// photo that the person has just picked.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// observe names each request, logs how it went (the route, never its ids or query: those may be personal) and turns a
// panic into a 500.
func (s *Server) observe(c *gin.Context) {
	began := time.Now()
	id := rand.Text()[:12]
	c.Header("X-Request-Id", id)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic", "request", id, "route", c.FullPath(), "panic", panicText(p), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				s.abort(c, fmt.Errorf("internal error"))
			}
		}
		took := time.Since(began)
		s.metrics.request(c, took)
		s.log.Info("request", "request", id, "method", c.Request.Method, "route", c.FullPath(),
			"status", c.Writer.Status(), "bytes", max(c.Writer.Size(), 0), "took", took.Round(time.Microsecond))
	}()
	c.Next()
}

// panicText is what of a panic may be logged: the runtime's own errors tell nothing of anyone, other values might.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a %T", p)
}

// serverLog logs what net/http has to say, without the addresses of those whose connections it speaks of.
type serverLog struct{ log *slog.Logger }

var addresses = regexp.MustCompile(`\[?[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*\]?:[0-9]+`)

func (l serverLog) Write(line []byte) (int, error) {
	l.log.Warn("http", "error", addresses.ReplaceAllString(strings.TrimSpace(string(line)), "…"))
	return len(line), nil
}

// guard sets the headers that every answer carries. Nothing is cached by anyone unless its handler says so.
func (s *Server) guard(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: browsers would then send forms with "Origin: null", which protect refuses.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Permissions-Policy", "geolocation=(), microphone=(), interest-cohort=()")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// protect refuses what another site makes a signed-in person's browser send.
func protect() gin.HandlerFunc {
	p := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if err := p.Check(c.Request); err != nil {
			writeProblem(c, newProblem(http.StatusForbidden, "cross_origin", "This request came from another site's page. Open Homeward itself and try again."))
		}
	}
}

func (s *Server) noRoute(c *gin.Context) {
	if isPage(c.Request) {
		s.page(c, http.StatusNotFound, "notfound.html", "notfound.title", nil)
		return
	}
	writeProblem(c, newProblem(http.StatusNotFound, "no_such_path", "There is nothing at this path. The API is described at "+prefix+"/docs."))
}

func (s *Server) noMethod(c *gin.Context) {
	writeProblem(c, newProblem(http.StatusMethodNotAllowed, "method", "This path does not take "+strings.ToUpper(c.Request.Method)+". The API is described at "+prefix+"/docs."))
}
