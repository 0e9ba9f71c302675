// Package client speaks Homeward's API.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"homeward/api"
)

// Client asks one server with one key. It is safe for concurrent use.
type Client struct {
	base string // up to and including /api/v1
	key  string
	http *http.Client
}

// New makes a client for the server at address, such as "http://127.0.0.1:8080".
func New(address, key string) *Client {
	return &Client{base: strings.TrimSuffix(address, "/") + "/api/v1", key: key, http: &http.Client{}}
}

// Problem is an error that the server answered with (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // what happened and what to do
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail)
	for _, e := range p.Errors {
		text += fmt.Sprintf(" (%s: %s)", e.Location, e.Message)
	}
	return text
}

// Code is the problem's stable name, such as "too_many_pixels".
func (p *Problem) Code() string { return p.Type[strings.LastIndex(p.Type, ":")+1:] }

// CreateCase creates a case.
func (c *Client) CreateCase(ctx context.Context, n api.NewCase) (api.Case, error) {
	return ask[api.Case](ctx, c, http.MethodPost, "/cases", nil, n)
}

// Case reads a case with its photos.
func (c *Client) Case(ctx context.Context, id string) (api.Case, error) {
	return ask[api.Case](ctx, c, http.MethodGet, "/cases/"+url.PathEscape(id), nil, nil)
}

// ChangeCase changes the facts that ch names.
func (c *Client) ChangeCase(ctx context.Context, id string, ch api.CaseChange) (api.Case, error) {
	return ask[api.Case](ctx, c, http.MethodPatch, "/cases/"+url.PathEscape(id), nil, ch)
}

// DeleteCase deletes a case for good.
func (c *Client) DeleteCase(ctx context.Context, id string) error {
	_, err := ask[struct{}](ctx, c, http.MethodDelete, "/cases/"+url.PathEscape(id), nil, nil)
	return err
}

// Filter narrows a list of cases or a search. Zero fields do not narrow.
type Filter struct {
	Gallery          string // "missing" or "found"
	Sex              string
	BornFrom, BornTo int
	Status           []string // none: open cases only
	Words            string
	Limit            int
	Cursor           string
	// Of a search: rank by the faces alone, and what is known of the child in the photo that is sent.
	FacesAlone bool
	ChildSex   string
	ChildAge   float64 // years; 0 where unknown
	Taken      string  // when the photo was taken
}

func (f Filter) values() url.Values {
	v := url.Values{}
	put := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	number := func(name string, value int) {
		if value != 0 {
			v.Set(name, strconv.Itoa(value))
		}
	}
	put("gallery", f.Gallery)
	put("sex", f.Sex)
	number("born_from", f.BornFrom)
	number("born_to", f.BornTo)
	put("status", strings.Join(f.Status, ","))
	put("words", f.Words)
	number("limit", f.Limit)
	put("cursor", f.Cursor)
	if f.FacesAlone {
		put("records", "off")
	}
	put("child_sex", f.ChildSex)
	if f.ChildAge > 0 {
		put("child_age", strconv.FormatFloat(f.ChildAge, 'g', -1, 64))
	}
	put("taken", f.Taken)
	return v
}

// Cases lists cases, newest first, or, with words, best match first.
func (c *Client) Cases(ctx context.Context, f Filter) (api.CasePage, error) {
	return ask[api.CasePage](ctx, c, http.MethodGet, "/cases", f.values(), nil)
}

// NewPhoto is what the sender says of a photo.
type NewPhoto struct {
	Name           string
	Taken          string // 2009, 2009-05 or 2009-05-17
	IdempotencyKey string // names the upload; repeat it with the request when an answer was lost
	ContentType    string // "" for application/octet-stream: the server looks for itself
}

// AddPhoto adds a photo to a case.
func (c *Client) AddPhoto(ctx context.Context, caseID string, n NewPhoto, photo io.Reader) (api.Photo, error) {
	v := url.Values{}
	if n.Name != "" {
		v.Set("name", n.Name)
	}
	if n.Taken != "" {
		v.Set("taken", n.Taken)
	}
	header := http.Header{"Content-Type": {contentType(n.ContentType)}}
	if n.IdempotencyKey != "" {
		header.Set("Idempotency-Key", n.IdempotencyKey)
	}
	return send[api.Photo](ctx, c, http.MethodPost, "/cases/"+url.PathEscape(caseID)+"/photos", v, header, photo)
}

// Photos lists a case's photos, oldest first.
func (c *Client) Photos(ctx context.Context, caseID string) ([]api.Photo, error) {
	return ask[[]api.Photo](ctx, c, http.MethodGet, "/cases/"+url.PathEscape(caseID)+"/photos", nil, nil)
}

// Photo reads what is known of a photo.
func (c *Client) Photo(ctx context.Context, id string) (api.Photo, error) {
	return ask[api.Photo](ctx, c, http.MethodGet, "/photos/"+url.PathEscape(id), nil, nil)
}

// ChangePhoto says when a photo was taken, or which face is the child.
func (c *Client) ChangePhoto(ctx context.Context, id string, ch api.PhotoChange) (api.Photo, error) {
	return ask[api.Photo](ctx, c, http.MethodPatch, "/photos/"+url.PathEscape(id), nil, ch)
}

// DeletePhoto deletes a photo for good.
func (c *Client) DeletePhoto(ctx context.Context, id string) error {
	_, err := ask[struct{}](ctx, c, http.MethodDelete, "/photos/"+url.PathEscape(id), nil, nil)
	return err
}

// Original fetches a photo as it was sent. The caller closes it.
func (c *Client) Original(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.picture(ctx, "/photos/"+url.PathEscape(id)+"/original", nil)
}

// Rendition fetches a photo as a JPEG whose longest side is 160, 320, 640 or 1024 pixels. The caller closes it.
func (c *Client) Rendition(ctx context.Context, id string, size int) (io.ReadCloser, error) {
	return c.picture(ctx, "/photos/"+url.PathEscape(id)+"/rendition", url.Values{"size": {strconv.Itoa(size)}})
}

// Chip fetches a face as a JPEG, size 112 or 224 pixels. The caller closes it.
func (c *Client) Chip(ctx context.Context, face string, size int) (io.ReadCloser, error) {
	return c.picture(ctx, "/faces/"+url.PathEscape(face)+"/chip", url.Values{"size": {strconv.Itoa(size)}})
}

// SearchPhoto searches with a photo, which the server does not keep.
func (c *Client) SearchPhoto(ctx context.Context, f Filter, photo io.Reader) (api.Search, error) {
	return send[api.Search](ctx, c, http.MethodPost, "/searches", f.values(), http.Header{"Content-Type": {contentType("")}}, photo)
}

// SearchFace searches with an enrolled face.
func (c *Client) SearchFace(ctx context.Context, f Filter, face string) (api.Search, error) {
	return ask[api.Search](ctx, c, http.MethodPost, "/searches", f.values(), api.SearchByEnrolled{Face: face})
}

// SearchCase searches with all photos of a case.
func (c *Client) SearchCase(ctx context.Context, f Filter, id string) (api.Search, error) {
	return ask[api.Search](ctx, c, http.MethodPost, "/searches", f.values(), api.SearchByEnrolled{Case: id})
}

// Search reads more of a search: another page or filter, or, with face (counting from 0), another face; −1 leaves the
// choice to the server.
func (c *Client) Search(ctx context.Context, id string, face int, f Filter) (api.Search, error) {
	v := f.values()
	if face >= 0 {
		v.Set("face", strconv.Itoa(face))
	}
	return ask[api.Search](ctx, c, http.MethodGet, "/searches/"+url.PathEscape(id), v, nil)
}

// Ready says whether the server can search. It needs no key.
func (c *Client) Ready(ctx context.Context) (api.Health, error) {
	return ask[api.Health](ctx, c, http.MethodGet, "/ready", nil, nil)
}

// Models lists the model cards and the set in use.
func (c *Client) Models(ctx context.Context) (api.Models, error) {
	return ask[api.Models](ctx, c, http.MethodGet, "/models", nil, nil)
}

func contentType(given string) string {
	if given == "" {
		return "application/octet-stream"
	}
	return given
}

// ask sends body as JSON and reads a T.
func ask[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var r io.Reader
	header := http.Header{}
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			var none T
			return none, err
		}
		r = bytes.NewReader(raw)
		header.Set("Content-Type", "application/json")
	}
	return send[T](ctx, c, method, path, query, header, r)
}

func send[T any](ctx context.Context, c *Client, method, path string, query url.Values, header http.Header, body io.Reader) (out T, err error) {
	answer, err := c.do(ctx, method, path, query, header, body)
	if err != nil {
		return out, err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return out, nil
}

func (c *Client) picture(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	answer, err := c.do(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// do sends a request and turns an error answer into a *Problem.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < 400 {
		return answer, nil
	}
	defer answer.Body.Close()
	p := &Problem{Status: answer.StatusCode, Title: answer.Status}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if err := json.Unmarshal(raw, p); err != nil || p.Detail == "" {
		p.Detail = string(raw)
	}
	return nil, p
}
