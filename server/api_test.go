package server_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
	"homeward/internal/testworker"
	"homeward/registry"
)

// enrol creates a case with one photo and returns both.
func enrol(t *testing.T, s *testServer, n api.NewCase, photo []byte) (api.Case, api.Photo) {
	t.Helper()
	c, err := s.CreateCase(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(photo))
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func missing(name string) api.NewCase {
	return api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{name}}}
}

func cases(s api.Search) []string {
	ids := []string{}
	for _, c := range s.Candidates {
		ids = append(ids, c.Case.ID)
	}
	return ids
}

// code is the problem that err is, or "" for none.
func code(err error) string {
	var p *client.Problem
	if errors.As(err, &p) {
		return p.Code()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestPhotoInCandidatesOut(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	mated, enrolled := enrol(t, s, api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{
		Names: []string{"样本一", "Sample One"}, Sex: "male", Born: api.Range{From: "1961"}, Place: "成都", Marks: "左臂有胎记; birthmark on the left arm",
	}}, photos.Read(t, photos.Obama))
	other, _ := enrol(t, s, api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{"Sample Two"}, Sex: "male", Born: api.Range{From: "1942"}}}, photos.Read(t, photos.Biden))
	third, _ := enrol(t, s, api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{"Sample Three"}, Sex: "female"}}, photos.Read(t, photos.Astronaut))
	found, probe := enrol(t, s, api.NewCase{Gallery: "found"}, photos.Read(t, photos.Obama3))

	got, err := s.SearchPhoto(ctx, client.Filter{}, bytes.NewReader(photos.Read(t, photos.Obama2)))
	if err != nil {
		t.Fatal(err)
	}
	ranked := cases(got)
	if len(ranked) != 3 || ranked[0] != mated.ID {
		t.Fatalf("candidates %v, want %s first of three", ranked, mated.ID)
	}
	best := got.Candidates[0]
	if best.Rank != 1 || best.Photo.ID != enrolled.ID || best.Face.ID != enrolled.Subject || best.Score <= got.Candidates[1].Score {
		t.Errorf("best candidate: %+v", best)
	}
	if got.Caution == "" || got.Photo == nil || len(got.Photo.Faces) != 1 || got.Face == nil || *got.Face != 0 {
		t.Errorf("search: %+v", got)
	}

	t.Run("pages", func(t *testing.T) {
		var walked []string
		page, err := s.Search(ctx, got.ID, -1, client.Filter{Limit: 1})
		for {
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Candidates) != 1 || page.Candidates[0].Rank != len(walked)+1 {
				t.Fatalf("page: %+v", page.Candidates)
			}
			walked = append(walked, cases(page)...)
			if page.Next == "" {
				break
			}
			page, err = s.Search(ctx, got.ID, -1, client.Filter{Limit: 1, Cursor: page.Next})
		}
		if !slices.Equal(walked, ranked) {
			t.Errorf("walked %v, want %v", walked, ranked)
		}
	})

	for name, tc := range map[string]struct {
		f    client.Filter
		want []string
	}{
		"sex keeps the unknown": {client.Filter{Sex: "female"}, []string{third.ID}},
		"birth year":            {client.Filter{BornFrom: 1950, BornTo: 1970}, []string{mated.ID, third.ID}},
		"words and a face":      {client.Filter{Words: "胎记 左臂 成都"}, []string{mated.ID}},
		"English words":         {client.Filter{Words: "birthmark left arm"}, []string{mated.ID}},
		"words that none has":   {client.Filter{Words: "nowhere"}, []string{}},
		"the other gallery":     {client.Filter{Gallery: "found"}, []string{found.ID}},
		"closed cases are none": {client.Filter{Status: []string{"closed"}}, []string{}},
		"closed and open":       {client.Filter{Status: []string{"closed", "open"}, Sex: "female"}, []string{third.ID}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Search(ctx, got.ID, -1, tc.f)
			if err != nil {
				t.Fatal(err)
			}
			ids := cases(got)
			slices.Sort(ids)
			slices.Sort(tc.want)
			if !slices.Equal(ids, tc.want) {
				t.Errorf("candidates %v, want %v", ids, tc.want)
			}
		})
	}

	t.Run("by enrolled face", func(t *testing.T) {
		got, err := s.SearchFace(ctx, client.Filter{}, probe.Subject)
		if err != nil {
			t.Fatal(err)
		}
		if got.Gallery != "missing" || len(got.Candidates) == 0 || got.Candidates[0].Case.ID != mated.ID {
			t.Errorf("gallery %s, candidates %v, want %s first", got.Gallery, cases(got), mated.ID)
		}
		back, err := s.SearchFace(ctx, client.Filter{}, enrolled.Subject)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{found.ID}; back.Gallery != "found" || !slices.Equal(cases(back), want) {
			t.Errorf("gallery %s, candidates %v, want %v", back.Gallery, cases(back), want)
		}
	})

	t.Run("a search belongs to its account", func(t *testing.T) {
		other, _, _ := s.as(t, registry.Officer, registry.Everywhere)
		if _, err := other.Search(ctx, got.ID, -1, client.Filter{}); code(err) != "search_ended" {
			t.Errorf("error = %v", err)
		}
	})

	t.Run("words alone", func(t *testing.T) {
		page, err := s.Cases(ctx, client.Filter{Words: "胎记 成都"})
		if err != nil || len(page.Cases) != 1 || page.Cases[0].ID != mated.ID {
			t.Errorf("cases %+v, error %v", page.Cases, err)
		}
	})

	t.Run("deleted things are found no more", func(t *testing.T) {
		if err := s.DeletePhoto(ctx, enrolled.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteCase(ctx, other.ID); err != nil {
			t.Fatal(err)
		}
		got, err := s.Search(ctx, got.ID, -1, client.Filter{})
		if err != nil || !slices.Equal(cases(got), []string{third.ID}) {
			t.Errorf("candidates %v, error %v, want only %s", cases(got), err, third.ID)
		}
		for _, path := range []string{"/rendition", "/original"} {
			if status := s.get(t, "/api/v1/photos/"+enrolled.ID+path); status != http.StatusNotFound {
				t.Errorf("%s of a deleted photo: %d", path, status)
			}
		}
	})
}

// get asks with the server's key and gives the status.
func (s *testServer) get(t *testing.T, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestSeveralFaces(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	mated, _ := enrol(t, s, missing("Sample One"), photos.Read(t, photos.Obama))
	group := photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Obama2))

	// A search asks which face, and searches with the one that is named.
	got, err := s.SearchPhoto(ctx, client.Filter{}, bytes.NewReader(group))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Photo.Faces) != 2 || got.Face != nil || len(got.Candidates) != 0 || got.Photo.Needs != "choose_subject" || got.Message == "" {
		t.Fatalf("search with two faces: %+v", got)
	}
	right := 0 // the right half of the picture is the mated man
	if got.Photo.Faces[1].Box.X > got.Photo.Faces[0].Box.X {
		right = 1
	}
	scores := map[int]float64{}
	for face := range 2 {
		page, err := s.Search(ctx, got.ID, face, client.Filter{})
		if err != nil || len(page.Candidates) != 1 {
			t.Fatalf("face %d: %+v, %v", face, page.Candidates, err)
		}
		scores[face] = page.Candidates[0].Score
	}
	if scores[right] <= scores[1-right] {
		t.Errorf("scores %v: the mated face %d should score higher", scores, right)
	}
	if _, err := s.Search(ctx, got.ID, 7, client.Filter{}); code(err) != "no_such_face" {
		t.Errorf("face 7: %v", err)
	}

	// An enrolled photo waits for the choice, and is found once it is made.
	c, p := enrol(t, s, api.NewCase{Gallery: "found"}, group)
	if p.Needs != "choose_subject" || p.Subject != "" {
		t.Fatalf("photo: %+v", p)
	}
	byFace := func() []string {
		t.Helper()
		got, err := s.SearchPhoto(ctx, client.Filter{Gallery: "found"}, bytes.NewReader(photos.Read(t, photos.Obama3)))
		if err != nil {
			t.Fatal(err)
		}
		return cases(got)
	}
	if got := byFace(); len(got) != 0 {
		t.Errorf("found before a face was chosen: %v", got)
	}
	chosen := p.Faces[right].ID
	p, err = s.ChangePhoto(ctx, p.ID, api.PhotoChange{Subject: &chosen})
	if err != nil || p.Subject != chosen || p.Needs != "" {
		t.Fatalf("choose: %+v, %v", p, err)
	}
	if got := byFace(); !slices.Equal(got, []string{c.ID}) {
		t.Errorf("after the choice: %v, want %s", got, c.ID)
	}
	stranger := mated.ID
	if _, err := s.ChangePhoto(ctx, p.ID, api.PhotoChange{Subject: &stranger}); code(err) != "invalid" && code(err) != "not_found" {
		t.Errorf("a face of another photo was taken: %v", err)
	}

	// One with no face stays with the case and says so.
	p, err = s.AddPhoto(ctx, c.ID, client.NewPhoto{Taken: "2009-05"}, bytes.NewReader(photos.NoFace(t)))
	if err != nil || p.Needs != "another_photo" || p.Message == "" || p.State != "analysed" || p.Taken != "2009-05" {
		t.Errorf("photo without a face: %+v, %v", p, err)
	}
}

func TestRenditions(t *testing.T) {
	s := newTestServer(t)
	sent := photos.Read(t, photos.Obama)
	_, p := enrol(t, s, missing("Sample One"), sent)
	read := func(r io.ReadCloser, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got := read(s.Original(t.Context(), p.ID)); !bytes.Equal(got, sent) {
		t.Errorf("the original came back with %d bytes, sent %d", len(got), len(sent))
	}
	for _, size := range []int{160, 320, 640} {
		img, format, err := image.Decode(bytes.NewReader(read(s.Rendition(t.Context(), p.ID, size))))
		if err != nil || format != "jpeg" || max(img.Bounds().Dx(), img.Bounds().Dy()) != size {
			t.Errorf("rendition %d: %v %v %v", size, format, img.Bounds(), err)
		}
	}
	img, _, err := image.Decode(bytes.NewReader(read(s.Chip(t.Context(), p.Subject, 112))))
	if err != nil || img.Bounds().Dx() != 112 {
		t.Errorf("chip: %v %v", img.Bounds(), err)
	}
	if status := s.get(t, "/api/v1/photos/"+p.ID+"/rendition?size=5000"); status != http.StatusUnprocessableEntity {
		t.Errorf("a rendition of a size that is not offered: %d", status)
	}
	// Photos are encrypted on disk: no file holds the JPEG's first bytes.
	err = filepath.Walk(s.Data, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, sent[:64]) || bytes.Contains(raw, sent[1000:1064]) {
			t.Errorf("%s holds the photo in the clear", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBadPhotos(t *testing.T) {
	s := newTestServer(t)
	c, err := s.CreateCase(t.Context(), missing("Sample One"))
	if err != nil {
		t.Fatal(err)
	}
	portrait := photos.Read(t, photos.Obama)
	var moving bytes.Buffer
	frame := image.NewPaletted(image.Rect(0, 0, 64, 64), color.Palette{color.Black, color.White})
	if err := gif.EncodeAll(&moving, &gif.GIF{Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1}}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		body   []byte
		kind   string // content type
		status int
		code   string
	}{
		"empty":               {nil, "image/jpeg", 400, "empty"},
		"text":                {[]byte(strings.Repeat("not a photo ", 100)), "image/jpeg", 415, "not_an_image"},
		"truncated":           {portrait[:len(portrait)/2], "image/jpeg", 422, "truncated"},
		"ends the decoder":    {testworker.InDecoder(portrait), "image/jpeg", 422, "crashed"},
		"only a header":       {portrait[:200], "image/jpeg", 422, ""},
		"SVG":                 {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`), "image/svg+xml", 415, ""},
		"PDF":                 {[]byte("%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"), "image/jpeg", 415, ""},
		"moving GIF":          {moving.Bytes(), "image/gif", 415, ""},
		"decompression bomb":  {pngBomb(30000, 30000), "image/png", 413, "too_many_pixels"},
		"wrong content type":  {portrait, "text/plain", 415, "content_type"},
		"no content type":     {portrait, "", 415, "content_type"},
		"form without photo":  {[]byte("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b--\r\n"), "multipart/form-data; boundary=b", 400, "form"},
		"empty form":          {[]byte("--b--\r\n"), "multipart/form-data; boundary=b", 400, "empty"},
		"form without end":    {[]byte("--b\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a\"\r\n\r\n\xff\xd8"), "multipart/form-data; boundary=b", 400, "broken_off"},
		"over the size limit": {make([]byte, 65<<20), "image/jpeg", 413, "too_large"},
	} {
		for _, path := range []string{"/cases/" + c.ID + "/photos", "/searches"} {
			t.Run(name+path[:6], func(t *testing.T) {
				p := s.refused(t, path, tc.kind, bytes.NewReader(tc.body))
				if p.Status != tc.status || tc.code != "" && p.Code() != tc.code || p.Detail == "" {
					t.Errorf("answer %+v, want %d %s", p, tc.status, tc.code)
				}
			})
		}
	}
	t.Run("over the size limit without saying so", func(t *testing.T) {
		p := s.refused(t, "/searches", "image/jpeg", io.MultiReader(bytes.NewReader(portrait), io.LimitReader(zeros{}, 65<<20)))
		if p.Status != 413 {
			t.Errorf("answer %+v", p)
		}
	})
	if left, err := s.Photos(t.Context(), c.ID); err != nil || len(left) != 0 {
		t.Errorf("photos left behind: %+v, %v", left, err)
	}
	for _, dir := range []string{"photos", "tmp"} {
		if n := files(t, filepath.Join(s.Data, dir)); n != 0 {
			t.Errorf("%d files left behind in %s", n, dir)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// files counts the files with content below dir.
func files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && info.Size() > 0 && !strings.HasSuffix(info.Name(), ".lock") {
			n++
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return n
}

// refused posts a body that must be answered with a problem.
func (s *testServer) refused(t *testing.T, path, kind string, body io.Reader) *client.Problem {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	p := &client.Problem{}
	if err := json.NewDecoder(resp.Body).Decode(p); err != nil {
		t.Fatal(err)
	}
	if p.Status != resp.StatusCode {
		t.Errorf("status %d, in the body %d", resp.StatusCode, p.Status)
	}
	return p
}

// pngBomb is a small file that says it is a huge picture.
func pngBomb(width, height uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		body := append([]byte(kind), data...)
		b = append(b, body...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(make([]byte, 1<<20)) // to a buffer: cannot fail
	w.Close()
	chunk("IHDR", append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height), 8, 0, 0, 0, 0))
	chunk("IDAT", z.Bytes())
	chunk("IEND", nil)
	return b
}

func TestCases(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	long := strings.Repeat("长", 301)
	later := time.Now().AddDate(1, 0, 0).Format(time.DateOnly)
	for name, n := range map[string]api.NewCase{
		"no gallery":          {},
		"unknown gallery":     {Gallery: "lost"},
		"over-long place":     {Gallery: "missing", CaseFacts: api.CaseFacts{Place: long}},
		"over-long name":      {Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{long}}},
		"too many names":      {Gallery: "missing", CaseFacts: api.CaseFacts{Names: slices.Repeat([]string{"x"}, 21)}},
		"unknown sex":         {Gallery: "missing", CaseFacts: api.CaseFacts{Sex: "x"}},
		"birth in the future": {Gallery: "missing", CaseFacts: api.CaseFacts{Born: api.Range{From: later}}},
		"lost in the future":  {Gallery: "missing", CaseFacts: api.CaseFacts{On: later}},
		"no such day":         {Gallery: "missing", CaseFacts: api.CaseFacts{On: "2009-02-30"}},
		"not a date":          {Gallery: "missing", CaseFacts: api.CaseFacts{On: "last may"}},
		"range upside down":   {Gallery: "missing", CaseFacts: api.CaseFacts{Born: api.Range{From: "2009", To: "2007"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var p *client.Problem
			if _, err := s.CreateCase(ctx, n); !errors.As(err, &p) || p.Status != 422 || p.Code() != "invalid" || len(p.Detail) < 20 || len(p.Detail) > 300 {
				t.Errorf("error = %v, want a 422 that says why", err)
			}
		})
	}
	if page, err := s.Cases(ctx, client.Filter{}); err != nil || len(page.Cases) != 0 {
		t.Errorf("left behind: %+v %v", page, err)
	}

	c, err := s.CreateCase(ctx, api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{
		Names: []string{"样本"}, Sex: "female", Born: api.Range{From: "2004", To: "2005-06"}, Place: "成都", On: "2009-05", Ref: "A-1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Born != (api.Range{From: "2004", To: "2005-06"}) || c.On != "2009-05" || c.Version != 1 || c.Status != "open" {
		t.Errorf("case: %+v", c)
	}
	if _, err := s.CreateCase(ctx, api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Ref: "A-1"}}); code(err) != "duplicate" {
		t.Errorf("a reference used twice: %v", err)
	}
	marks := "mole <b>left</b> cheek"
	changed, err := s.ChangeCase(ctx, c.ID, api.CaseChange{Version: c.Version, Marks: &marks})
	if err != nil || changed.Marks != marks || changed.Place != "成都" || changed.Version != 2 {
		t.Errorf("changed: %+v %v", changed, err)
	}
	if _, err := s.ChangeCase(ctx, c.ID, api.CaseChange{Version: c.Version, Marks: &marks}); code(err) != "conflict" {
		t.Errorf("a change of an old version: %v", err)
	}
	if page, err := s.Cases(ctx, client.Filter{Words: "cheek mole"}); err != nil || len(page.Cases) != 1 {
		t.Errorf("words: %+v %v", page, err)
	}
	for i := range 5 {
		if _, err := s.CreateCase(ctx, missing(fmt.Sprint("Sample ", i))); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	f := client.Filter{Limit: 2, Gallery: "missing"}
	for {
		page, err := s.Cases(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Cases {
			if seen[c.ID] {
				t.Errorf("%s listed twice", c.ID)
			}
			seen[c.ID] = true
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	if len(seen) != 6 {
		t.Errorf("listed %d cases, want 6", len(seen))
	}
	if _, err := s.Cases(ctx, client.Filter{Cursor: "rubbish"}); code(err) != "invalid" {
		t.Errorf("a made-up cursor: %v", err)
	}
	if _, err := s.Cases(ctx, client.Filter{Cursor: f.Cursor, Words: "Sample", Limit: 2}); err != nil {
		t.Error(err)
	}
	byWords, err := s.Cases(ctx, client.Filter{Words: "Sample", Limit: 2})
	if err != nil || len(byWords.Cases) != 2 || byWords.Next == "" {
		t.Fatalf("%+v %v", byWords, err)
	}
	if _, err := s.Cases(ctx, client.Filter{Cursor: byWords.Next}); code(err) != "invalid" {
		t.Errorf("the cursor of a search by words in a list without: %v", err)
	}
	if err := s.DeleteCase(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"case":        second(s.Case(ctx, c.ID)),
		"delete":      s.DeleteCase(ctx, c.ID),
		"photos":      second(s.Photos(ctx, c.ID)),
		"add photo":   second(s.AddPhoto(ctx, c.ID, client.NewPhoto{}, bytes.NewReader(photos.Read(t, photos.Obama)))),
		"photo":       second(s.Photo(ctx, "p_nothing")),
		"drop photo":  s.DeletePhoto(ctx, "p_nothing"),
		"original":    second(s.Original(ctx, "../../operator.key")),
		"chip":        second(s.Chip(ctx, "f_nothing", 112)),
		"search face": second(s.SearchFace(ctx, client.Filter{}, "f_nothing")),
	} {
		if code(err) != "not_found" && code(err) != "no_such_path" {
			t.Errorf("%s of an unknown id: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestSamePhotoAtOnce(t *testing.T) {
	s := newTestServer(t)
	c, err := s.CreateCase(t.Context(), missing("Sample One"))
	if err != nil {
		t.Fatal(err)
	}
	portrait := photos.Read(t, photos.Obama)
	ids := make([]api.Photo, 4)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = s.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(portrait)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	fresh := 0
	for _, p := range ids {
		if p.ID != ids[0].ID {
			t.Errorf("two photos: %s and %s", p.ID, ids[0].ID)
		}
		if !p.Duplicate {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d uploads were told that the photo is new", fresh)
	}
	if n := files(t, filepath.Join(s.Data, "photos")); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := newTestServer(t)
	c, err := s.CreateCase(t.Context(), missing("Sample One"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(key, file string) (api.Photo, error) {
		return s.AddPhoto(t.Context(), c.ID, client.NewPhoto{IdempotencyKey: key}, bytes.NewReader(photos.Read(t, file)))
	}
	if _, err := s.AddPhoto(t.Context(), c.ID, client.NewPhoto{IdempotencyKey: "one"}, strings.NewReader("no photo")); code(err) != "not_an_image" {
		t.Fatal(err)
	}
	first, err := add("one", photos.Obama) // a failed upload frees its key
	if err != nil || first.Duplicate {
		t.Fatalf("%+v %v", first, err)
	}
	again, err := add("one", photos.Obama)
	if err != nil || again.ID != first.ID || again.Duplicate {
		t.Errorf("repeated: %+v %v", again, err)
	}
	same := func(text string) io.Reader { // of the same length, and chunked: only the bytes differ
		return io.MultiReader(bytes.NewReader(photos.Read(t, photos.Astronaut)), strings.NewReader(text))
	}
	if _, err := s.AddPhoto(t.Context(), c.ID, client.NewPhoto{IdempotencyKey: "two"}, same("aa")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddPhoto(t.Context(), c.ID, client.NewPhoto{IdempotencyKey: "two"}, same("bb")); code(err) != "key_reused" {
		t.Errorf("another photo of the same length under the same key: %v", err)
	}
	if err := s.DeletePhoto(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := add("one", photos.Obama); code(err) != "photo_deleted" {
		t.Errorf("repeated after the photo was deleted: %v", err)
	}
	if _, err := add("one", photos.Biden); code(err) != "key_reused" {
		t.Errorf("another photo under the same key: %v", err)
	}
}

func TestClientGoneMidUpload(t *testing.T) {
	s := newTestServer(t)
	c, err := s.CreateCase(t.Context(), missing("Sample One"))
	if err != nil {
		t.Fatal(err)
	}
	portrait := append(photos.Read(t, photos.Obama), make([]byte, 1<<20)...)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/cases/%s/photos HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n", c.ID, s.Key, len(portrait))
	if _, err := conn.Write(portrait[:len(portrait)/2]); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the upload to begin", func() bool { return files(t, filepath.Join(s.Data, "tmp")) > 0 })
	conn.Close()
	waitFor(t, "the upload to be forgotten", func() bool { return files(t, filepath.Join(s.Data, "tmp")) == 0 })
	if left, err := s.Photos(t.Context(), c.ID); err != nil || len(left) != 0 {
		t.Errorf("photos left behind: %+v, %v", left, err)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestFormUpload(t *testing.T) {
	s := newTestServer(t)
	c, err := s.CreateCase(t.Context(), missing("Sample One"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	part, err := form.CreateFormFile("photo", "../../etc/photo.jpg")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(photos.Read(t, photos.Obama)); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1/cases/"+c.ID+"/photos?taken=2012", &b)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	req.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p api.Photo
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	if p.Name != "photo.jpg" || p.Taken != "2012" || p.TakenBy != "person" {
		t.Errorf("photo: %+v", p)
	}
}
