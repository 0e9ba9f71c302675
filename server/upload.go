package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"homeward/finder"
)

// PhotoUpload is the input of an operation that takes a photo as its body, as it is (image/*) or as the `photo` part of a
// form. The body is handed on as a stream and never held here.
type PhotoUpload struct {
	request *http.Request
	writer  http.ResponseWriter
}

// Resolve takes hold of the request; the body stays unread.
func (u *PhotoUpload) Resolve(ctx huma.Context) []error {
	c := humagin.Unwrap(ctx)
	u.request, u.writer = c.Request, c.Writer
	return nil
}

// photoBody documents what PhotoUpload takes.
func photoBody(more map[string]*huma.MediaType) *huma.RequestBody {
	binary := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	content := map[string]*huma.MediaType{
		"image/*": binary,
		"multipart/form-data": {Schema: &huma.Schema{
			Type:       huma.TypeObject,
			Properties: map[string]*huma.Schema{"photo": {Type: huma.TypeString, Format: "binary"}},
			Required:   []string{"photo"},
		}},
	}
	for k, v := range more {
		content[k] = v
	}
	return &huma.RequestBody{
		Description: "One still photo: JPEG, PNG, WebP, TIFF, HEIC or AVIF, at most 64 MB and 100 megapixels.",
		Required:    true, Content: content,
	}
}

// describeBody documents the body of a POST that is registered already. Told before, huma would read and validate the body
// itself, whole and in memory.
func (s *Server) describeBody(path string, body *huma.RequestBody) {
	s.api.OpenAPI().Paths[path].Post.RequestBody = body
}

// photo opens the body as a stream, with the file's name where the client told it.
func (u *PhotoUpload) photo() (body io.Reader, name string, err error) {
	const wrongType = "Send the photo itself as the body with its type (Content-Type: image/jpeg), or as the `photo` part of multipart/form-data."
	if u.request.ContentLength > finder.MaxPhotoBytes {
		return nil, "", &http.MaxBytesError{Limit: finder.MaxPhotoBytes}
	}
	mediaType, params, err := mime.ParseMediaType(u.request.Header.Get("Content-Type"))
	if err != nil {
		return nil, "", newProblem(http.StatusUnsupportedMediaType, "content_type", wrongType)
	}
	// A form's own lines come on top of the photo.
	limited := http.MaxBytesReader(u.writer, u.request.Body, finder.MaxPhotoBytes+64<<10)
	moving := &movingBody{r: limited, c: http.NewResponseController(u.writer)}
	switch {
	case mediaType == "multipart/form-data":
		part, err := multipart.NewReader(moving, params["boundary"]).NextPart()
		if errors.Is(err, io.EOF) {
			return nil, "", newProblem(http.StatusBadRequest, "empty", "The form is empty. Send the photo as its `photo` part.")
		}
		if err != nil {
			return nil, "", fmt.Errorf("read the form: %w", formError(err))
		}
		if part.FormName() != "photo" {
			return nil, "", newProblem(http.StatusBadRequest, "form", "The form's first part must be the photo, named `photo`. Everything else goes into the query.")
		}
		return formPart{part}, part.FileName(), nil
	case strings.HasPrefix(mediaType, "image/") || mediaType == "application/octet-stream":
		return moving, "", nil
	}
	return nil, "", newProblem(http.StatusUnsupportedMediaType, "content_type", wrongType)
}

// formError tells a form that is malformed from a connection that broke or a body over the limit.
func formError(err error) error {
	var large *http.MaxBytesError
	var broken *brokenBody
	if errors.As(err, &large) || errors.As(err, &broken) {
		return err
	}
	return newProblem(http.StatusBadRequest, "form", "The form cannot be read: "+err.Error()+".")
}

// brokenBody is a body that ended before it was complete: the connection broke, stood still or made no sense.
type brokenBody struct{ err error }

func (b *brokenBody) Error() string { return b.err.Error() }
func (b *brokenBody) Unwrap() error { return b.err }

// movingBody ends a body that stands still: the time to send everything is free, the time between two pieces is not.
type movingBody struct {
	r io.Reader
	c *http.ResponseController
}

func (m *movingBody) Read(p []byte) (int, error) {
	// A writer without deadlines (a test's recorder) just has none.
	_ = m.c.SetReadDeadline(time.Now().Add(idleBody))
	n, err := m.r.Read(p)
	if err == io.EOF { // all is here: the deadline must not end the work that follows
		_ = m.c.SetReadDeadline(time.Time{})
		return n, err
	}
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		err = &brokenBody{err}
	}
	return n, err
}

// formPart is the photo in a form: one that ends without its closing boundary is a broken body.
type formPart struct{ io.Reader }

func (p formPart) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = &brokenBody{err}
	}
	return n, err
}
