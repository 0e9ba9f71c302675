package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"

	"homeward/registry"
)

// once adds a photo, and, where the caller named the upload with an idempotency key, answers its repetition like the
// first request without reading the photo again. Requests count as the same when they go to the same place with a body of the
// same length.
func (s *Server) once(ctx context.Context, name string, r *http.Request, add func() (registry.PhotoID, bool, error)) (registry.PhotoID, bool, error) {
	if name == "" {
		return add()
	}
	fingerprint := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", r.Method, r.URL.RequestURI(), r.ContentLength))
	q, err := s.finder.Registry.Idempotent(ctx, caller(ctx).ID, name, fingerprint[:])
	if err != nil {
		return "", false, err
	}
	defer q.Close() // frees the name if the upload fails: it may be tried again
	if q.Outcome != nil {
		return q.Outcome.Photo, q.Outcome.Status == http.StatusOK, nil
	}
	id, existed, err := add()
	if err != nil {
		return "", false, err
	}
	status := http.StatusCreated
	if existed {
		status = http.StatusOK
	}
	// What was stored is stored: a client that has gone must find its outcome when it asks again.
	return id, existed, q.Finish(context.WithoutCancel(ctx), registry.Outcome{Status: status, Photo: id})
}
