package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	photos "homeward/internal/testphotos"
	"homeward/registry"
	"homeward/server"
)

// TestOtherSitesCannotSendForms: forms that work without a script are refused from elsewhere like the API.
func TestOtherSitesCannotSendForms(t *testing.T) {
	s := newTestServer(t)
	browser := s.browser(t, s.Account.ID)
	for _, path := range []string{"/signin", "/signout", "/purpose", "/welcome/hi_none", "/oidc/code"} {
		for name, header := range map[string]http.Header{
			"cross-site": {"Sec-Fetch-Site": {"cross-site"}},
			"same-site":  {"Sec-Fetch-Site": {"same-site"}},
			"foreign":    {"Origin": {"https://attacker.example"}},
			"opaque":     {"Origin": {"null"}},
		} {
			form := url.Values{"login": {"x"}, "password": {"x"}, "code": {"x"}, "kind": {"review of leads"}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = header.Clone()
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, err := browser.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s to %s: %d", name, path, resp.StatusCode)
			}
		}
	}
	if got := get(t, browser, s.URL+"/api/v1/account"); got != http.StatusOK {
		t.Errorf("another site signed the person out: %d", got)
	}
}

// TestCookies: no script reads them, no other site's form sends them, and no plain connection where there is a better one.
func TestCookies(t *testing.T) {
	s := newTestServer(t)
	m := s.enrol(t, registry.NewAccount{Login: "cookies", Name: "Officer One", Role: registry.Officer})
	// A code is good once: each round signs in with the next.
	for i, secure := range []bool{false, true} {
		form := url.Values{"login": {"cookies"}, "password": {staffPassword}, "code": {m.codeAt(t, time.Duration(i)*30*time.Second)}}
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		if secure {
			header.Set("X-Forwarded-Proto", "https")
		}
		status, _, got := s.request(t, "", http.MethodPost, "/signin", strings.NewReader(form.Encode()), header)
		if status != http.StatusSeeOther {
			t.Fatalf("sign in: %d", status)
		}
		cookies := (&http.Response{Header: got}).Cookies()
		names := map[string]bool{}
		for _, c := range cookies {
			names[c.Name] = true
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != secure || c.Path != "/" || c.MaxAge <= 0 || c.Domain != "" {
				t.Errorf("secure %v: %s", secure, c)
			}
		}
		if !names["homeward_session"] || !names["homeward_device"] {
			t.Errorf("cookies: %v", names)
		}
	}
}

// signedIn asks with a session's token, and nothing else.
func (s *testServer) signedIn(t *testing.T, token string) int {
	t.Helper()
	status, _, _ := s.request(t, "", http.MethodGet, "/api/v1/account", nil, http.Header{"Cookie": {"homeward_session=" + token}})
	return status
}

// session signs an account in.
func (s *testServer) session(t *testing.T, id registry.AccountID, life time.Duration) (token, session string) {
	t.Helper()
	token, err := s.Finder.Registry.CreateSession(t.Context(), id, "test", life)
	if err != nil {
		t.Fatal(err)
	}
	if actor, err := s.Finder.Registry.Session(t.Context(), token); err == nil {
		session = actor.Via
	}
	return token, session
}

// TestSessionsEnd: a token that is over, ended or made up opens nothing, and says so.
func TestSessionsEnd(t *testing.T) {
	s := newTestServer(t)
	good, session := s.session(t, s.Account.ID, time.Hour)
	if got := s.signedIn(t, good); got != http.StatusOK {
		t.Fatalf("a session: %d", got)
	}
	stale, _ := s.session(t, s.Account.ID, time.Millisecond)
	time.Sleep(5 * time.Millisecond)
	for name, token := range map[string]string{
		"stale": stale, "made up": "hs_aaaaaaaaaaaaaaaaaaaaaaaaaa", "its id": session, "empty": "", "a key": s.Key, "shortened": good[:len(good)-1],
	} {
		if got := s.signedIn(t, token); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	// A page leads to where one signs in, and back.
	status, _, header := s.request(t, "", http.MethodGet, "/account", nil, http.Header{"Cookie": {"homeward_session=" + stale}})
	if status != http.StatusSeeOther || header.Get("Location") != "/signin?back=%2Faccount" {
		t.Errorf("a page with a stale session: %d %s", status, header.Get("Location"))
	}
	// A wrong key is not forgiven for a right session.
	if status, _, _ := s.request(t, "hw_wrong", http.MethodGet, "/api/v1/account", nil, http.Header{"Cookie": {"homeward_session=" + good}}); status != http.StatusUnauthorized {
		t.Errorf("a wrong key beside a right session: %d", status)
	}
	if err := s.Finder.Registry.EndSession(t.Context(), s.Account.ID, session); err != nil {
		t.Fatal(err)
	}
	if got := s.signedIn(t, good); got != http.StatusUnauthorized {
		t.Errorf("a session that was ended: %d", got)
	}
}

// TestAdministratorsActAtOnce: what an administrator ends or changes counts for the very next request of a live session and key.
func TestAdministratorsActAtOnce(t *testing.T) {
	s := newTestServer(t)
	admin := s.colleague(t, registry.Administrator)
	officer := s.colleague(t, registry.Officer, registry.Everywhere)
	account := "/accounts/" + string(officer.ID)

	token, session := s.session(t, officer.ID, time.Hour)
	other, _ := s.session(t, officer.ID, time.Hour)
	if status, said := s.tell(t, admin.key, http.MethodDelete, account+"/sessions/"+session, nil, nil); status != http.StatusNoContent {
		t.Fatal(status, said)
	}
	if got := s.signedIn(t, token); got != http.StatusUnauthorized {
		t.Errorf("a session that was ended: %d", got)
	}
	if got := s.signedIn(t, other); got != http.StatusOK {
		t.Errorf("another session: %d", got)
	}

	browser := s.browser(t, officer.ID)
	search := func() (page, key int) {
		status, _, _ := s.request(t, officer.key, http.MethodGet, "/search", nil, nil)
		return get(t, browser, s.URL+"/search"), status
	}
	if page, key := search(); page != http.StatusOK || key != http.StatusOK {
		t.Fatalf("an officer: %d %d", page, key)
	}
	if status, said := s.tell(t, admin.key, http.MethodPatch, account, map[string]any{"role": "auditor"}, nil); status != http.StatusOK {
		t.Fatal(status, said)
	}
	if page, key := search(); page != http.StatusForbidden || key != http.StatusForbidden {
		t.Errorf("an auditor since: %d %d", page, key)
	}
	if status, said := s.tell(t, admin.key, http.MethodDelete, account+"/sessions", nil, nil); status != http.StatusNoContent {
		t.Fatal(status, said)
	}
	if got := s.signedIn(t, other); got != http.StatusUnauthorized {
		t.Errorf("signed out everywhere: %d", got)
	}
}

// TestPolicy: no answer lets a page run a script or a style that is written into it; the API's documentation alone starts so.
func TestPolicy(t *testing.T) {
	s := newTestServer(t)
	admin, auditor := s.colleague(t, registry.Administrator), s.colleague(t, registry.Auditor)
	for _, route := range server.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if method != http.MethodGet {
			continue
		}
		for _, part := range strings.Split(path, "/") {
			if strings.HasPrefix(part, ":") || strings.HasPrefix(part, "*") {
				path = strings.Replace(path, part, "none", 1)
			}
		}
		docs := strings.HasPrefix(path, "/api/v1/docs")
		for _, key := range []string{"", s.Key, admin.key, auditor.key} {
			_, _, header := s.request(t, key, method, path, nil, nil)
			policy := header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") ||
				strings.Contains(policy, "unsafe") != docs || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
				t.Errorf("%s: %q", route, policy)
			}
			if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("%s: %v", route, header)
			}
		}
	}
}

// TestPurposeIsStated: staff say what they are doing something for before they see anyone, and the audit has it.
func TestPurposeIsStated(t *testing.T) {
	s := newTestServer(t)
	officer := s.colleague(t, registry.Officer, registry.Everywhere)
	c, _ := s.foundCase(t, officer, "", photos.Read(t, photos.Obama))
	token, session := s.session(t, officer.ID, time.Hour)
	cookie := http.Header{"Cookie": {"homeward_session=" + token}}

	for _, path := range []string{"/api/v1/cases", "/api/v1/cases/" + c.ID, "/api/v1/cases/" + c.ID + "/photos"} {
		status, raw, _ := s.request(t, "", http.MethodGet, path, nil, cookie)
		if status != http.StatusPreconditionRequired || !strings.Contains(string(raw), "no_purpose") {
			t.Errorf("%s without a purpose: %d %s", path, status, raw)
		}
	}
	status, _, header := s.request(t, "", http.MethodGet, "/cases/"+c.ID, nil, cookie)
	if status != http.StatusSeeOther || header.Get("Location") != "/purpose?back="+url.QueryEscape("/cases/"+c.ID) {
		t.Errorf("a page without a purpose: %d %s", status, header.Get("Location"))
	}
	for name, purpose := range map[string]string{"too long": strings.Repeat("a", 201), "not UTF-8": "\xff\xfe"} {
		with := cookie.Clone()
		with.Set("Homeward-Purpose", purpose)
		if status, _, _ := s.request(t, "", http.MethodGet, "/api/v1/cases/"+c.ID, nil, with); status != http.StatusBadRequest {
			t.Errorf("a purpose that is %s: %d", name, status)
		}
	}
	if err := s.Finder.Registry.SetPurpose(t.Context(), session, "new found child: F-1"); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := s.request(t, "", http.MethodGet, "/api/v1/cases/"+c.ID, nil, cookie); status != http.StatusOK {
		t.Errorf("with a purpose: %d", status)
	}
	entries, _, err := s.Finder.Registry.Audit(t.Context(), registry.AuditQuery{Account: officer.ID, Action: "case.looked"})
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 || entries[0].Purpose != "new found child: F-1" || string(entries[0].Case) != c.ID || entries[0].Via != session {
		t.Errorf("in the audit: %+v", entries)
	}
}

// TestHowOften: whoever takes in everything there is, page by page, is stopped; colleagues in the same office are not.
func TestHowOften(t *testing.T) {
	s := newTestServer(t)
	officer := s.colleague(t, registry.Officer, registry.Everywhere)
	for name, c := range map[string]struct {
		path, key, colleague string
		most                 int
	}{
		"the gallery": {"/gallery", "", "", 600},
		"searches":    {"/api/v1/searches/s_none", officer.key, s.Key, 120},
	} {
		stopped := 0
		for n := 1; n <= c.most*3/2 && stopped == 0; n++ {
			status, _, header := s.request(t, c.key, http.MethodGet, c.path, nil, nil)
			if status == http.StatusTooManyRequests {
				stopped = n
				if header.Get("Retry-After") == "" {
					t.Errorf("%s: it does not say when to try again", name)
				}
			}
		}
		if stopped <= c.most {
			t.Errorf("%s: stopped after %d requests, want more than %d and an end", name, stopped, c.most)
		}
		if c.colleague == "" {
			continue
		}
		if status, _, _ := s.request(t, c.colleague, http.MethodGet, c.path, nil, nil); status == http.StatusTooManyRequests {
			t.Errorf("%s: a colleague is stopped too", name)
		}
	}
}
