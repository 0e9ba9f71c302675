package server_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"homeward/api"
	"homeward/finder"
	photos "homeward/internal/testphotos"
)

// begin begins an upload and returns its address.
func (f relative) begin(t *testing.T, size int, name string) string {
	t.Helper()
	status, problem, location := f.tryBegin(t, fmt.Sprint(size), "filename "+base64.StdEncoding.EncodeToString([]byte(name)))
	if status != http.StatusCreated {
		t.Fatalf("begin an upload: %d %s", status, problem)
	}
	return location
}

func (f relative) tryBegin(t *testing.T, size, about string) (status int, problem, location string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", f.s.URL+"/api/v1/cases/"+string(f.caseID)+"/uploads", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Upload-Length", size)
	req.Header.Set("Upload-Metadata", about)
	req.Header.Set("Tus-Resumable", "1.0.0")
	resp, err := f.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p struct{ Type string }
	_ = json.NewDecoder(resp.Body).Decode(&p) // a good answer has no body
	return resp.StatusCode, p.Type, resp.Header.Get("Location")
}

// piece sends one piece; size is what is announced.
func (f relative) piece(t *testing.T, address string, offset int64, body io.Reader, size int64, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "PATCH", f.s.URL+address, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/offset+octet-stream")
	req.Header.Set("Upload-Offset", fmt.Sprint(offset))
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := f.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// offset asks how much has come.
func (f relative) offset(t *testing.T, address string) (int64, int) {
	t.Helper()
	resp, err := f.Head(f.s.URL + address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	n, _ := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
	return n, resp.StatusCode
}

// cut is a body whose connection breaks.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the connection breaks")
	}
	return n, err
}

func TestUploadGoesOnWhereItBroke(t *testing.T) {
	s := newTestServer(t)
	f := s.report(t, nil)
	photo := photos.Read(t, photos.Obama)
	address := f.begin(t, len(photo), "a photo.jpg")
	var stored api.Photo
	for breaks := 0; ; {
		at, status := f.offset(t, address)
		if status != http.StatusOK {
			t.Fatalf("asking for the offset: %d", status)
		}
		rest := photo[at:]
		n := int64(min(len(rest), 1+mrand.IntN(len(photo)/4)))
		body, size := io.Reader(bytes.NewReader(rest[:n])), n
		if breaks < 12 && n < int64(len(rest)) { // announced are more bytes than come
			body, size = cut{body}, int64(len(rest))
			breaks++
		}
		resp, answer, err := f.piece(t, address, at, body, size)
		if err != nil || resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusLocked { // the broken one is not over yet
			continue
		}
		if resp.StatusCode == http.StatusOK {
			if err := json.Unmarshal(answer, &stored); err != nil {
				t.Fatal(err)
			}
			break
		}
		if got := resp.Header.Get("Upload-Offset"); resp.StatusCode != http.StatusNoContent || got != fmt.Sprint(at+n) || resp.Header.Get("Tus-Resumable") != "1.0.0" {
			t.Errorf("after %d and %d more bytes the offset is %q", at, n, got)
			t.Fatalf("a piece: %d %s", resp.StatusCode, answer)
		}
	}
	if len(stored.Faces) != 1 || stored.Name != "a photo.jpg" {
		t.Errorf("stored %+v", stored)
	}
	_, original := raw(t, f.Client, s.URL+"/api/v1/photos/"+stored.ID+"/original")
	if original != string(photo) {
		t.Error("what is stored is not what was sent")
	}
	// Asked again, the answer is the same.
	resp, answer, err := f.piece(t, address, int64(len(photo)), nil, 0)
	var again api.Photo
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(answer, &again) != nil || again.ID != stored.ID {
		t.Errorf("asked again: %v %s", err, answer)
	}
	if at, _ := f.offset(t, address); at != int64(len(photo)) {
		t.Errorf("the offset at the end is %d", at)
	}
	// The same photo once more is the one that is there.
	second := f.begin(t, len(photo), "again.jpg")
	if resp, answer, err = f.piece(t, second, 0, bytes.NewReader(photo), int64(len(photo))); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err)
	}
	if json.Unmarshal(answer, &again) != nil || again.ID != stored.ID || !again.Duplicate {
		t.Errorf("the same photo again: %s", answer)
	}
}

func TestUploadRefusals(t *testing.T) {
	s := newTestServer(t)
	f, other := s.report(t, nil), s.report(t, url.Values{"names": {"Other Child"}})
	name := "filename " + base64.StdEncoding.EncodeToString([]byte("x"))
	for _, c := range []struct {
		why, size, about string
		status           int
	}{
		{"oversize", fmt.Sprint(finder.MaxPhotoBytes + 1), name, 413},
		{"empty", "0", name, 400},
		{"negative", "-1", name, 400},
		{"no number", "many", name, 400},
		{"no base64", "10", "filename %%", 400},
		{"no date", "10", name + ",taken " + base64.StdEncoding.EncodeToString([]byte("soon")), 422},
	} {
		if status, problem, _ := f.tryBegin(t, c.size, c.about); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.why, status, problem, c.status)
		}
	}
	if status, _, _ := f.ask(t, "POST", "/api/v1/cases/"+string(other.caseID)+"/uploads", nil, "Upload-Length", "10"); status != 404 {
		t.Errorf("an upload to another family's case: %d", status)
	}
	if status, _, _ := f.ask(t, "POST", "/api/v1/cases/"+string(f.caseID)+"/uploads", nil, "Upload-Length", "10", "Tus-Resumable", "0.2.2"); status != 412 {
		t.Errorf("another version: %d", status)
	}

	address := f.begin(t, 1000, "x")
	for _, c := range []struct {
		why     string
		offset  int64
		size    int64
		status  int
		headers []string
	}{
		{"beyond what has come", 10, 10, 409, nil},
		{"negative offset", -1, 10, 400, nil},
		{"beyond the end", 0, 1001, 413, nil},
		{"another type", 0, 10, 415, []string{"Content-Type", "image/jpeg"}},
	} {
		resp, answer, err := f.piece(t, address, c.offset, bytes.NewReader(make([]byte, c.size)), c.size, c.headers...)
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("%s: %v %s, want %d", c.why, err, answer, c.status)
		}
	}
	// To anyone else it is not there.
	if _, status := other.offset(t, address); status != 404 {
		t.Errorf("another family asks for the offset: %d", status)
	}
	if resp, _, err := other.piece(t, address, 0, bytes.NewReader(make([]byte, 10)), 10); err != nil || resp.StatusCode != 404 {
		t.Errorf("another family sends a piece: %v", err)
	}
	if status, _, _ := other.ask(t, "DELETE", address, nil); status != 404 {
		t.Errorf("another family ends it: %d", status)
	}

	// Two pieces at once: the second is told to wait.
	slow, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		resp, answer, err := f.piece(t, address, 0, slow, 600)
		if err == nil && resp.StatusCode != http.StatusNoContent {
			err = fmt.Errorf("%d %s", resp.StatusCode, answer)
		}
		done <- err
	}()
	if _, err := in.Write(make([]byte, 300)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the first piece", func() bool { at, _ := f.offset(t, address); return at == 300 })
	if resp, _, err := f.piece(t, address, 300, bytes.NewReader(make([]byte, 10)), 10); err != nil || resp.StatusCode != http.StatusLocked {
		t.Errorf("a second piece at once: %v %v", resp.Status, err)
	}
	if _, err := in.Write(make([]byte, 300)); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if at, _ := f.offset(t, address); at != 600 {
		t.Errorf("offset %d after both", at)
	}
	// What is no photo is refused as one sent whole is, and again when asked again.
	noise := make([]byte, 400)
	_, _ = rand.Read(noise) // never fails
	for range 2 {
		at, _ := f.offset(t, address)
		resp, answer, err := f.piece(t, address, at, bytes.NewReader(noise[:1000-at]), 1000-at)
		if err != nil || resp.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("no photo: %v %s", err, answer)
		}
	}

	// Ten at once, and no more; one that is ended makes room, and leaves nothing behind.
	var open []string
	for range 10 {
		open = append(open, f.begin(t, 1000, "x"))
	}
	if status, _, _ := f.tryBegin(t, "1000", name); status != http.StatusTooManyRequests {
		t.Errorf("an eleventh upload: %d", status)
	}
	for _, address := range open {
		if status, _, _ := f.ask(t, "DELETE", address, nil); status != 204 {
			t.Errorf("end an upload: %d", status)
		}
		if _, status := f.offset(t, address); status != 404 {
			t.Errorf("an ended upload: %d", status)
		}
	}
	waitFor(t, "room", func() bool {
		status, _, at := f.tryBegin(t, "1000", name)
		defer f.ask(t, "DELETE", at, nil)
		return status == 201
	})
	if c, err := s.Finder.Registry.Case(t.Context(), f.caseID); err != nil || c.Photos != 0 {
		t.Errorf("%d photos, %v", c.Photos, err)
	}
}
