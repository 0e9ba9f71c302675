package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
)

// TestLogTellsNothing has a server at its most talkative work through a story in which whatever people bring tells something: names, places,
// notes, file names, folders, words in addresses, links, codes, passwords. None of it is in the log.
func TestLogTellsNothing(t *testing.T) {
	t.Setenv("HOMEWARD_LOG_FORMAT", "json")
	t.Setenv("HOMEWARD_LOG_LEVEL", "debug")
	data := t.TempDir()
	key := newKey(t, data)
	p := startServer(t, data, key)
	const tell = "Zzyzx" // in everything
	send := func(method, path, contentType string, body io.Reader, header ...string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, p.address+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	bearer := []string{"Authorization", "Bearer " + key, "Homeward-Purpose", tell + " purpose"}
	quoted := url.QueryEscape(tell)

	// Cases and photos, good and bad.
	c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Names: []string{tell}, Place: tell + " village", Marks: tell, Notes: tell, Ref: tell}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Ref: tell}}); err == nil {
		t.Error("the same reference twice")
	}
	var photo api.Photo
	for name, content := range map[string][]byte{
		tell + ".jpg": photos.Read(t, photos.Obama), tell + "-no.jpg": []byte(tell + " is no photo"), tell + "-cut.jpg": photos.Read(t, photos.Obama2)[:9000],
	} {
		added, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{Name: name}, bytes.NewReader(content))
		if err == nil {
			photo = added
		}
	}
	if photo.ID == "" {
		t.Fatal("no photo was taken")
	}
	// Searches, and requests that go wrong with words in them.
	if _, err := p.SearchPhoto(t.Context(), client.Filter{Words: tell}, bytes.NewReader(photos.Read(t, photos.Obama2))); err != nil {
		t.Error(err)
	}
	for _, path := range []string{
		"/api/v1/cases?words=" + quoted, "/api/v1/cases?limit=" + quoted, "/api/v1/cases?cursor=" + quoted, "/api/v1/cases/" + quoted, "/api/v1/nothing/" + quoted,
		"/search?words=" + quoted, "/gallery?words=" + quoted, "/f/hf_" + strings.ToLower(tell), "/welcome/" + quoted, "/signin?back=/" + quoted, "/" + quoted, "/api/v1/searches/" + quoted + "?face=" + quoted,
		"/oidc/callback?code=" + quoted + "&state=" + quoted, "/metrics?" + quoted, "/language?lang=" + quoted, "/static/" + quoted,
	} {
		send("GET", path, "", nil, bearer...)
		send("GET", path, "", nil, "User-Agent", tell, "Referer", "http://"+tell, "Accept-Language", tell, "X-Forwarded-For", tell, "Cookie", "homeward_session="+tell)
	}
	for path, body := range map[string]string{
		"/api/v1/cases": `{"gallery":"missing","names":["` + tell + `"],"sex":"` + tell + `"}`, "/api/v1/searches": `{"face":"` + tell + `"}`,
		"/api/v1/leads": `{"missing":"` + tell + `","found":"` + tell + `","note":"` + tell + `"}`, "/api/v1/saved-searches": `{"name":"` + tell + `"}`, "/api/v1/accounts": `{` + tell,
	} {
		send("POST", path, "application/json", strings.NewReader(body), bearer...)
	}
	send("POST", "/signin", "application/x-www-form-urlencoded", strings.NewReader("login="+quoted+"&password="+quoted+"&code=123456"))
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	w, err := m.CreateFormFile("photo", tell+".gif")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "GIF89a"+tell); err != nil {
		t.Fatal(err)
	}
	m.Close()
	send("POST", "/api/v1/cases/"+c.ID+"/photos", m.FormDataContentType(), &form, bearer...)

	// A family reports.
	_, page := send("GET", "/report", "", nil)
	if _, token, ok := strings.Cut(page, `name="token" value="`); ok {
		token, _, _ = strings.Cut(token, `"`)
		status, _ := send("POST", "/report", "application/x-www-form-urlencoded", strings.NewReader(url.Values{
			"token": {token}, "names": {tell}, "name": {tell}, "phone": {"13800000000"}, "place": {tell}, "email": {tell + "@example.org"},
		}.Encode()))
		if status >= 400 {
			t.Error("the report was refused:", status)
		}
	} else {
		t.Error("the report's form has no token")
	}
	// An import, which the server does, of folders that tell names, with files that are none.
	archive := filepath.Join(t.TempDir(), tell)
	for name, content := range map[string][]byte{
		tell + "/" + tell + ".jpg": photos.Read(t, photos.Biden), tell + "/" + tell + ".png": []byte(tell), tell + "2/" + tell + ".jpg": photos.Read(t, photos.Astronaut)[:500],
	} {
		if err := os.MkdirAll(filepath.Join(archive, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(archive, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	imported := exec.CommandContext(t.Context(), self, "--data", data, "--models", "../../models", "import", "--detach", archive)
	imported.Env = append(os.Environ(), beHomeward+"=1")
	if out, err := imported.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if strings.Contains(p.output.String(), "job ends") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the import does not end\n%s", p.output.String())
		}
	}
	// A photo's file is damaged, looked at, and analysed again.
	for _, f := range filesUnder(t, filepath.Join(data, "photos")) {
		if err := os.Truncate(f, 60); err != nil {
			t.Fatal(err)
		}
	}
	if status, body := send("GET", "/api/v1/photos/"+photo.ID+"/original", "", nil, bearer...); status != http.StatusInternalServerError || !strings.Contains(body, "stored_damaged") {
		t.Error("a damaged photo:", status, body)
	}
	p.stop(t)

	out := p.output.String()
	lines := 0
	for line := range strings.Lines(out) {
		lines++
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == nil || entry["level"] == nil {
			t.Errorf("not a line of JSON: %.200s", line)
		}
		for _, told := range []string{tell, strings.ToLower(tell), quoted, "13800000000", key, "hf_", "example.org"} {
			if strings.Contains(line, told) {
				t.Errorf("the log tells of %q: %.500s", told, line)
			}
		}
	}
	if lines < 50 {
		t.Errorf("only %d lines:\n%s", lines, out)
	}
}

func filesUnder(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
