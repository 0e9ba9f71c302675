package server

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"homeward/registry"
)

// work is where each role's work is.
var work = map[registry.Role]string{
	registry.Family:        "/family",
	registry.Officer:       "/desk",
	registry.Examiner:      "/desk",
	registry.Supervisor:    "/desk",
	registry.Laboratory:    "/dna",
	registry.Auditor:       "/audit",
	registry.Administrator: "/accounts",
}

// home leads everyone to where their work is, and shows visitors the doors.
func (s *Server) home(c *gin.Context) {
	if to, ok := work[caller(c.Request.Context()).Role]; ok {
		c.Redirect(http.StatusSeeOther, to)
		return
	}
	s.page(c, http.StatusOK, "home.html", "home.title", nil)
}
