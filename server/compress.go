package server

import (
	"compress/gzip"
	"net/http"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"
)

// compressed are the paths whose answers hold nothing secret. Where a secret and something that a stranger chooses are compressed
// together, the length of the answer tells of the secret (BREACH), so all other pages go as they are.
var compressed = []string{"/gallery", "/static/", "/text/"}

// compressible are the types that get smaller.
var compressible = []string{"text/", "application/json", "application/problem+json", "image/svg+xml"}

// compress sends the public's pages, styles and scripts gzipped.
func compress() gin.HandlerFunc {
	writers := sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	return func(c *gin.Context) {
		if !begins(c.Request.URL.Path, compressed) || c.GetHeader("Range") != "" {
			return
		}
		c.Header("Vary", "Accept-Encoding")
		if c.Request.Method == http.MethodHead || !takesGzip(c.GetHeader("Accept-Encoding")) {
			return
		}
		w := &gzipWriter{ResponseWriter: c.Writer, writers: &writers}
		c.Writer = w
		defer w.close()
		c.Next()
	}
}

// takesGzip says whether a client asks for gzip, and does not refuse it.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == "gzip" {
			q = strings.ReplaceAll(q, " ", "")
			return q != "q=0" && strings.Trim(q, "0.") != "q="
		}
	}
	return false
}

// gzipWriter looks at the first bytes of an answer, when its headers are settled, and compresses what is worth it.
type gzipWriter struct {
	gin.ResponseWriter
	writers *sync.Pool
	settled bool
	to      *gzip.Writer // nil where the answer goes as it is
}

func (w *gzipWriter) settle() {
	if w.settled {
		return
	}
	w.settled = true
	h := w.Header()
	if h.Get("Content-Encoding") != "" || !begins(h.Get("Content-Type"), compressible) {
		return
	}
	h.Set("Content-Encoding", "gzip")
	h.Del("Content-Length")
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) { // the same page, not the same bytes
		h.Set("ETag", "W/"+tag)
	}
	w.to = w.writers.Get().(*gzip.Writer)
	w.to.Reset(w.ResponseWriter)
}

func (w *gzipWriter) Write(p []byte) (int, error) {
	w.settle()
	if w.to == nil {
		return w.ResponseWriter.Write(p)
	}
	return w.to.Write(p)
}

func (w *gzipWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func (w *gzipWriter) close() {
	if w.to != nil {
		_ = w.to.Close() // a client that has gone needs no end
		w.writers.Put(w.to)
		w.to = nil
	}
}
