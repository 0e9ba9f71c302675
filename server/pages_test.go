package server_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// shown is a page as a browser without script sees it, after all redirects.
type shown struct {
	url    *url.URL
	status int
	body   string
	header http.Header
}

func newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func open(t *testing.T, browser *http.Client, address string) shown {
	t.Helper()
	resp, err := browser.Get(address)
	return read(t, resp, err)
}

func post(t *testing.T, browser *http.Client, address string, form url.Values) shown {
	t.Helper()
	resp, err := browser.PostForm(address, form)
	return read(t, resp, err)
}

func read(t *testing.T, resp *http.Response, err error) shown {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return shown{resp.Request.URL, resp.StatusCode, html.UnescapeString(string(body)), resp.Header}
}

// shows checks the status and that a text is there.
func (s shown) shows(t *testing.T, status int, words string) {
	t.Helper()
	if s.status != status || !strings.Contains(s.body, words) {
		t.Errorf("%s: %d, want %d and %q in:\n%.2000s", s.url, s.status, status, words, s.body)
	}
}
