package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/engine"
	"homeward/finder"
	"homeward/registry"
	"homeward/text"
	"homeward/worker"
)

// problemType stands before a problem's code in its type.
const problemType = "urn:homeward:problem:"

// newProblem is an answer that says what went wrong and what to do (RFC 9457). Code is stable; programs may decide on it.
func newProblem(status int, code, detail string) *huma.ErrorModel {
	return &huma.ErrorModel{Type: problemType + code, Title: http.StatusText(status), Status: status, Detail: detail}
}

// photoStatus says which status a photo that cannot be used is answered with; 422 where it is not listed.
var photoStatus = map[string]int{
	"empty":              http.StatusBadRequest,
	"not_an_image":       http.StatusUnsupportedMediaType,
	"unsupported_format": http.StatusUnsupportedMediaType,
	"animated":           http.StatusUnsupportedMediaType,
	"too_many_pixels":    http.StatusRequestEntityTooLarge,
}

// problem turns an error into the answer a client gets. What is not a client's doing is logged and told in general words.
func (s *Server) problem(err error) error {
	var (
		known  *huma.ErrorModel
		photo  *engine.PhotoError
		field  *registry.FieldError
		yours  *registry.ErrNotYours
		large  *http.MaxBytesError
		broken *brokenBody
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &photo):
		status := photoStatus[photo.Code]
		if status == 0 {
			status = http.StatusUnprocessableEntity
		}
		return newProblem(status, photo.Code, photo.Text)
	case errors.As(err, &field):
		p := newProblem(http.StatusUnprocessableEntity, "invalid", field.Error())
		p.Errors = []*huma.ErrorDetail{{Message: field.Text, Location: field.Field}}
		return p
	case errors.As(err, &yours):
		return newProblem(http.StatusForbidden, "not_yours", yours.Text)
	case errors.As(err, &large):
		return newProblem(http.StatusRequestEntityTooLarge, "too_large", "The photo is larger than 64 MB. Send a smaller copy.")
	case errors.Is(err, finder.ErrLoading):
		return newProblem(http.StatusServiceUnavailable, "loading", "Words are still being loaded after a restart. Search without them, or try again in a minute.")
	case errors.Is(err, finder.ErrNoProbe):
		return newProblem(http.StatusNotFound, "search_ended", "This search has ended or is not yours. Send the photo again.")
	case errors.Is(err, finder.ErrDeleted):
		return newProblem(http.StatusGone, "photo_deleted", "The photo that this upload stored was deleted since. Use a new Idempotency-Key to send it again.")
	case errors.Is(err, finder.ErrNotYet):
		return newProblem(http.StatusConflict, "not_yet", "This face is waiting to be analysed again under new models. Try again in a while.")
	case errors.Is(err, finder.ErrNoFace):
		return newProblem(http.StatusUnprocessableEntity, "no_such_face", "The photo has no face with that number. Take one from photo.faces, counting from 0.")
	case errors.Is(err, finder.ErrNoFaces):
		return newProblem(http.StatusUnprocessableEntity, "no_faces", "This case has no face to search with yet. Add a photo that shows the child, or choose the child's face in one.")
	case errors.Is(err, finder.ErrPoorFace):
		return newProblem(http.StatusUnprocessableEntity, "poor_face", "This face is too poor to search with. Choose another face, or send a larger or sharper photo.")
	case errors.Is(err, registry.ErrReused):
		return newProblem(http.StatusUnprocessableEntity, "key_reused", "This Idempotency-Key was used for a different request. Use a new one.")
	case errors.Is(err, registry.ErrInProgress):
		return newProblem(http.StatusConflict, "in_progress", "The same request is still being served. Repeat it in a moment.")
	case errors.Is(err, registry.ErrNotFound):
		return newProblem(http.StatusNotFound, "not_found", "There is no such thing, or it was deleted. Check the id.")
	case errors.Is(err, registry.ErrConflict):
		return newProblem(http.StatusConflict, "conflict", "Someone else changed it since you read it. Read it again, then repeat your change.")
	case errors.Is(err, registry.ErrDuplicate):
		return newProblem(http.StatusConflict, "duplicate", err.Error())
	case errors.Is(err, registry.ErrInvalid):
		return newProblem(http.StatusUnprocessableEntity, "invalid", err.Error())
	case errors.Is(err, registry.ErrFull):
		s.log.Error("disk full", "error", err)
		return newProblem(http.StatusInsufficientStorage, "disk_full", "The server's disk is full. Nothing was stored. Try again later, and tell the operator.")
	case errors.Is(err, registry.ErrDisk):
		s.log.Error("disk fails", "error", err)
		return newProblem(http.StatusServiceUnavailable, "disk_failed", "The server's disk cannot be written to at the moment. Nothing was stored. Try again later, and tell the operator.")
	case errors.Is(err, registry.ErrCorrupt):
		s.log.Error("stored data is damaged: run homeward check", "error", err)
		return newProblem(http.StatusInternalServerError, "stored_damaged", "What is stored here is damaged. Nothing is wrong with what you did. Tell the operator, who can look for it with homeward check.")
	case errors.Is(err, worker.ErrStart), errors.Is(err, worker.ErrEnded):
		s.log.Error("photos cannot be read", "error", err)
		return newProblem(http.StatusServiceUnavailable, "models_failed", "The server cannot read photos at the moment. Try again later, and tell the operator.")
	case errors.As(err, &broken):
		return newProblem(http.StatusBadRequest, "broken_off", "The upload broke off before it was complete. Nothing was stored. Send it again.")
	case errors.Is(err, context.Canceled):
		return newProblem(http.StatusBadRequest, "cancelled", "The request was cancelled. Nothing was stored.")
	}
	s.log.Error("request failed", "error", err)
	return newProblem(http.StatusInternalServerError, "internal", "Something went wrong here, and it is logged. Try again; if it happens again, tell the operator the request id.")
}

func (s *Server) abort(c *gin.Context, err error) {
	var p *huma.ErrorModel
	if errors.As(s.problem(err), &p) {
		writeProblem(c, p)
	}
}

func writeProblem(c *gin.Context, p *huma.ErrorModel) {
	translate(c.Request.Context(), p)
	raw, _ := json.Marshal(p) // strings and numbers always marshal
	c.Data(p.Status, "application/problem+json", raw)
	c.Abort()
}

// maxEcho bounds what an error repeats of a client's own value.
const maxEcho = 100

// finishProblem makes what huma's own checks answer like the rest: a detail that says by itself what to mend, a stable
// type, and no megabyte that was too long for a field travelling back.
func finishProblem(ctx huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if p.Type == "" {
		p.Type = problemType + "invalid"
		var faults []string
		for _, e := range p.Errors {
			faults = append(faults, strings.TrimSpace(e.Location+" "+e.Message))
		}
		if len(faults) > 0 {
			p.Detail = "Correct this and send it again: " + strings.Join(faults, "; ") + "."
		}
	}
	for _, e := range p.Errors {
		switch value := e.Value.(type) {
		case nil, bool, float64, int, int64:
		case string:
			if utf8.RuneCountInString(value) > maxEcho {
				e.Value = string([]rune(value)[:maxEcho]) + "…"
			}
		default:
			e.Value = nil
		}
	}
	translate(ctx.Context(), p)
	return p, nil
}

// translate puts a problem into the language that a request is answered in. English says most: it knows the very values.
func translate(ctx context.Context, p *huma.ErrorModel) {
	say, ok := ctx.Value(printerKey{}).(text.Printer)
	if !ok || say.Lang() == text.English {
		return
	}
	code := strings.TrimPrefix(p.Type, problemType)
	general, ok := say.Problem(code, "")
	if !ok {
		return
	}
	p.Detail = general
	var fields []string
	for _, e := range p.Errors {
		// huma says where a field was sent too: body.born.to, query.taken.
		field := e.Location
		for _, place := range []string{"body.", "query.", "path.", "header."} {
			field = strings.TrimPrefix(field, place)
		}
		said, _ := say.Problem(code, field)
		if said == general && field != "" { // at least which one it is
			said = say.T("problem.at_field", "Problem", general, "Field", field)
		}
		e.Message = said
		if !slices.Contains(fields, said) {
			fields = append(fields, said)
		}
	}
	if len(fields) > 0 {
		p.Detail = sentences(fields...)
	}
}
