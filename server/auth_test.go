package server_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"homeward/client"
	"homeward/registry"
	"homeward/server"
)

// TestRevokedKey: what was revoked or disabled works no longer, from that moment.
func TestRevokedKey(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	officer, _, account := s.as(t, registry.Officer, registry.Everywhere)
	k, secret, err := s.Finder.Registry.CreateKey(ctx, account.ID, "to be revoked")
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(s.URL, secret)
	if _, err := c.Models(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Finder.Registry.RevokeKey(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Models(ctx); code(err) != "no_key" {
		t.Errorf("a revoked key: %v", err)
	}
	browser := s.browser(t, account.ID)
	if got := get(t, browser, s.URL+"/api/v1/models"); got != http.StatusOK {
		t.Errorf("a session: %d", got)
	}
	yes := true
	if _, err := s.Finder.Registry.UpdateAccount(ctx, account.ID, registry.AccountChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, browser, s.URL+"/api/v1/models"); got != http.StatusUnauthorized {
		t.Errorf("the session of a disabled account: %d", got)
	}
	if _, err := officer.Models(ctx); code(err) != "no_key" {
		t.Errorf("the key of a disabled account: %v", err)
	}
}

func get(t *testing.T, c *http.Client, url string) int {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestSignIn goes from an invitation to a signed-in browser, with everything that can be wrong on the way.
func TestSignIn(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	const password = "a sentence to remember"
	_, invitation, err := s.Finder.Registry.CreateAccount(ctx, registry.NewAccount{Login: "examiner.one", Name: "Examiner One", Role: registry.Examiner, Regions: []string{registry.Everywhere}})
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.Finder.Registry.OpenInvitation(ctx, invitation)
	if err != nil {
		t.Fatal(err)
	}
	codeAt := func(d time.Duration) string {
		code, err := totp.GenerateCode(in.Secret, time.Now().Add(d))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	stranger := newBrowser(t)
	page := post(t, stranger, s.URL+"/welcome/"+invitation, url.Values{"password": {password}, "again": {password + "s"}, "code": {codeAt(-30 * time.Second)}})
	page.shows(t, http.StatusUnprocessableEntity, "The two passwords differ")
	page = post(t, stranger, s.URL+"/welcome/"+invitation, url.Values{"password": {"short"}, "again": {"short"}, "code": {codeAt(-30 * time.Second)}})
	page.shows(t, http.StatusUnprocessableEntity, "at least 12 characters")
	page = post(t, stranger, s.URL+"/welcome/"+invitation, url.Values{"password": {password}, "again": {password}, "code": {"000000"}})
	page.shows(t, http.StatusUnprocessableEntity, "code is wrong")
	page = post(t, stranger, s.URL+"/welcome/"+invitation, url.Values{"password": {password}, "again": {password}, "code": {codeAt(-30 * time.Second)}})
	page.shows(t, http.StatusOK, "Sign in")
	if got := get(t, stranger, s.URL+"/welcome/"+invitation); got != http.StatusNotFound {
		t.Errorf("an invitation that was taken up: %d", got)
	}
	for name, form := range map[string]url.Values{
		"wrong password": {"login": {"examiner.one"}, "password": {"another sentence here"}, "code": {codeAt(0)}},
		"wrong code":     {"login": {"examiner.one"}, "password": {password}, "code": {"000000"}},
		"no such login":  {"login": {"nobody"}, "password": {password}, "code": {codeAt(0)}},
		"a code again":   {"login": {"examiner.one"}, "password": {password}, "code": {codeAt(-30 * time.Second)}},
		"nothing":        {},
	} {
		t.Run(name, func(t *testing.T) {
			post(t, newBrowser(t), s.URL+"/signin", form).shows(t, http.StatusUnprocessableEntity, "Login, password or code is wrong")
		})
	}
	browser := newBrowser(t)
	right := url.Values{"login": {" Examiner.One "}, "password": {password}, "code": {codeAt(0)}, "back": {"//elsewhere.example/"}}
	page = post(t, browser, s.URL+"/signin", right)
	if page.url.Host != strings.TrimPrefix(s.URL, "http://") {
		t.Errorf("signing in led to %s", page.url)
	}
	// What is personal asks for a purpose first, and then goes on.
	page = open(t, browser, s.URL+"/search")
	page.shows(t, http.StatusOK, "What are you working on?")
	post(t, browser, s.URL+"/purpose", url.Values{"back": {"/search"}}).shows(t, http.StatusUnprocessableEntity, "Choose what you are working on")
	post(t, browser, s.URL+"/purpose", url.Values{"kind": {"review"}, "back": {"/search"}}).shows(t, http.StatusOK, "Search with a photo")
	post(t, browser, s.URL+"/signout", nil)
	if page = open(t, browser, s.URL+"/search"); page.url.Path != "/signin" {
		t.Errorf("signed out, /search leads to %s", page.url)
	}
}

// TestNobodyIsLockedOut: wrong tries are stopped, and do not stop the person whose login it is.
func TestNobodyIsLockedOut(t *testing.T) {
	s := newTestServer(t)
	sv, err := server.New(s.Finder, slog.New(slog.DiscardHandler), server.Options{Proxies: []string{"127.0.0.1", "::1"}})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(sv.Handler())
	t.Cleanup(h.Close)
	try := func(from string, cookies ...*http.Cookie) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/signin",
			strings.NewReader(url.Values{"login": {s.Account.Login}, "password": {"a guess at a password"}, "code": {"123456"}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Forwarded-For", from)
		for _, c := range cookies {
			req.AddCookie(c)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	stopped := 0
	for range 14 {
		if try("203.0.113.7") == http.StatusTooManyRequests {
			stopped++
		}
	}
	if stopped == 0 {
		t.Error("fourteen wrong tries in a row are not stopped")
	}
	if got := try("203.0.113.8"); got != http.StatusUnprocessableEntity {
		t.Errorf("from another network: %d", got)
	}
	// Many networks at once exhaust the login for browsers it has never signed in on, and for those only.
	for i := range 100 {
		try(fmt.Sprintf("198.51.100.%d", i))
	}
	if got := try("203.0.113.9"); got != http.StatusTooManyRequests {
		t.Errorf("an unknown browser during an attack from everywhere: %d", got)
	}
	known := &http.Cookie{Name: "homeward_device", Value: s.Finder.Registry.Sign("device", s.Account.Login)}
	if got := try("203.0.113.9", known); got != http.StatusUnprocessableEntity {
		t.Errorf("the person's own browser during an attack from everywhere: %d", got)
	}
}

func TestOtherSitesCannotAct(t *testing.T) {
	s := newTestServer(t)
	browser := s.browser(t, s.Account.ID)
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
