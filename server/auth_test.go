package server_test

import (
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"homeward/client"
	"homeward/server"
)

// TestNothingAnswersWithoutAKey walks every operation of the OpenAPI document, so that a new route is covered by being there.
func TestNothingAnswersWithoutAKey(t *testing.T) {
	s := newTestServer(t)
	sv, err := server.New(s.Finder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	public := map[string]bool{"health": true, "ready": true}
	operations := 0
	for path, item := range sv.OpenAPI().Paths {
		for _, o := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if o == nil {
				continue
			}
			operations++
			for name, header := range map[string]string{"no key": "", "wrong key": "Bearer hw_wrong", "wrong scheme": "Basic " + s.Key} {
				req, err := http.NewRequestWithContext(t.Context(), o.Method, s.URL+strings.NewReplacer("{", "", "}", "").Replace(path), nil)
				if err != nil {
					t.Fatal(err)
				}
				if header != "" {
					req.Header.Set("Authorization", header)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if answered := resp.StatusCode != http.StatusUnauthorized; answered != public[o.OperationID] {
					t.Errorf("%s %s with %s: %d", o.Method, path, name, resp.StatusCode)
				}
			}
		}
	}
	if operations < 15 {
		t.Errorf("only %d operations are described", operations)
	}
	for path, want := range map[string]int{
		"/api/v1/docs": 200, "/api/v1/openapi.json": 200, "/api/v1/nothing": 401, "/api/v1/docsx": 401, "/api/v1/cases/": 401, "/static/../cases": 404,
	} {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want && !(want == 401 && resp.Request.URL.Path == "/signin") {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestRevokedKey(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	k, secret, err := s.Finder.Registry.CreateKey(ctx, "to be revoked")
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(s.URL, secret)
	if _, err := c.Models(ctx); err != nil {
		t.Fatal(err)
	}
	browser := signedIn(t, s.URL, secret)
	if err := s.Finder.Registry.RevokeKey(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Models(ctx); code(err) != "no_key" {
		t.Errorf("a revoked key: %v", err)
	}
	resp, err := browser.Get(s.URL + "/api/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the session of a revoked key: %d", resp.StatusCode)
	}
}

// signedIn is a browser that has signed in.
func signedIn(t *testing.T, base, secret string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	resp, err := browser.PostForm(base+"/signin", url.Values{"key": {secret}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Request.URL.Path != "/" || resp.StatusCode != http.StatusOK {
		t.Fatalf("signing in led to %s, %d", resp.Request.URL.Path, resp.StatusCode)
	}
	return browser
}

func TestOtherSitesCannotAct(t *testing.T) {
	s := newTestServer(t)
	browser := signedIn(t, s.URL, s.Key)
	for name, header := range map[string]http.Header{
		"cross-site fetch": {"Sec-Fetch-Site": {"cross-site"}},
		"foreign origin":   {"Origin": {"https://attacker.example"}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1/cases", strings.NewReader(`{"gallery":"found"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		req.Header.Set("Content-Type", "application/json")
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}
