package server_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/oauth2-proxy/mockoidc"

	"homeward/registry"
	"homeward/server"
)

// identity is someone whom the issuer knows, and how they showed it there.
type identity struct {
	mockoidc.MockUser
	ways  []string
	nonce string // said instead of the one that was asked for
}

func (u identity) Claims(_ []string, c *mockoidc.IDTokenClaims) (jwt.Claims, error) {
	if u.nonce != "" {
		c.Nonce = u.nonce
	}
	return struct {
		*mockoidc.IDTokenClaims
		AMR []string `json:"amr,omitempty"`
	}{c, u.ways}, nil
}

// agency is an issuer on loopback, and a server that it may be used with.
type agency struct {
	*mockoidc.MockOIDC
	s *testServer
	// URL of the server, whose limits begin anew with each.
	URL string
}

func newAgency(t *testing.T, s *testServer) agency {
	t.Helper()
	issuer, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = issuer.Shutdown() })
	a := agency{MockOIDC: issuer, s: s}
	a.URL = outsideServer(t, s, server.OIDC{Issuer: issuer.Issuer(), ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, Name: "Sample Agency"})
	return a
}

func outsideServer(t *testing.T, s *testServer, o server.OIDC) string {
	t.Helper()
	sv, err := server.New(s.Finder, slog.New(slog.NewTextHandler(testLog{t}, nil)), server.Options{OIDC: o})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(sv.Handler())
	t.Cleanup(h.Close)
	return h.URL
}

// tie makes an account of the staff for an identity, with codes of its own.
func (a agency) tie(t *testing.T, subject string) member {
	t.Helper()
	m := a.s.enrol(t, registry.NewAccount{Login: subject, Name: "Auditor " + subject, Role: registry.Auditor})
	tied := a.Issuer() + " " + subject
	if _, err := a.s.Finder.Registry.UpdateAccount(t.Context(), m.ID, registry.AccountChange{Subject: &tied}); err != nil {
		t.Fatal(err)
	}
	return m
}

// knows makes the issuer answer the next sign-in with someone.
func (a agency) knows(subject, nonce string, ways ...string) {
	a.QueueUser(&identity{mockoidc.MockUser{Subject: subject}, ways, nonce})
}

// start begins a sign-in and follows it to the end.
func (a agency) start(t *testing.T, browser *http.Client) shown {
	t.Helper()
	return open(t, browser, a.URL+"/oidc/start?back=/account")
}

// callback begins a sign-in and stops where the issuer sends the browser back.
func (a agency) callback(t *testing.T, browser *http.Client) *url.URL {
	t.Helper()
	stopping := *browser
	stopping.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/oidc/callback" {
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, err := stopping.Get(a.URL + "/oidc/start?back=/account")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("the issuer answers %d and leads nowhere", resp.StatusCode)
	}
	return to
}

const ended = "This sign-in has ended or was not begun in this browser"

func TestOutsideSignIn(t *testing.T) {
	s := newTestServer(t)

	t.Run("with a second factor there", func(t *testing.T) {
		a := newAgency(t, s)
		a.tie(t, "mfa")
		browser := newBrowser(t)
		open(t, browser, a.URL+"/signin").shows(t, http.StatusOK, "Sign in with Sample Agency")
		a.knows("mfa", "", "pwd", "mfa")
		a.start(t, browser).shows(t, http.StatusOK, "Auditor mfa")
	})

	t.Run("with our own code", func(t *testing.T) {
		a := newAgency(t, s)
		m := a.tie(t, "code")
		browser := newBrowser(t)
		a.knows("code", "", "pwd")
		a.start(t, browser).shows(t, http.StatusOK, "six digits")
		if page := open(t, browser, a.URL+"/account"); page.url.Path != "/signin" {
			t.Errorf("half signed in, /account leads to %s", page.url)
		}
		send := func(code string) shown {
			return post(t, browser, a.URL+"/oidc/code", url.Values{"code": {code}})
		}
		send("000000").shows(t, http.StatusUnprocessableEntity, "This code is wrong")
		send(m.codeAt(t, -30*time.Second)).shows(t, http.StatusUnprocessableEntity, "This code is wrong") // spent when enrolling
		good := m.code(t)
		send(good).shows(t, http.StatusOK, "Auditor code")
		// Another browser with the same code, which is spent now.
		browser = newBrowser(t)
		a.knows("code", "", "pwd")
		a.start(t, browser)
		send(good).shows(t, http.StatusUnprocessableEntity, "This code is wrong")
		post(t, newBrowser(t), a.URL+"/oidc/code", url.Values{"code": {good}}).shows(t, http.StatusBadRequest, ended)
	})

	t.Run("a face alone is no second factor", func(t *testing.T) {
		a := newAgency(t, s)
		a.tie(t, "face")
		a.knows("face", "", "face")
		a.start(t, newBrowser(t)).shows(t, http.StatusOK, "six digits")
	})

	t.Run("nobody here", func(t *testing.T) {
		a := newAgency(t, s)
		a.knows("stranger-7", "", "mfa")
		page := a.start(t, newBrowser(t))
		page.shows(t, http.StatusForbidden, "issuer "+a.Issuer())
		page.shows(t, http.StatusForbidden, "subject stranger-7")
	})

	t.Run("disabled", func(t *testing.T) {
		a := newAgency(t, s)
		m := a.tie(t, "disabled")
		yes := true
		if _, err := s.Finder.Registry.UpdateAccount(t.Context(), m.ID, registry.AccountChange{Disabled: &yes}); err != nil {
			t.Fatal(err)
		}
		for _, way := range []string{"mfa", "pwd"} {
			a.knows("disabled", "", way)
			a.start(t, newBrowser(t)).shows(t, http.StatusForbidden, "Your account is disabled")
		}
	})

	t.Run("no second factor anywhere", func(t *testing.T) {
		a := newAgency(t, s)
		made, _, err := s.Finder.Registry.CreateAccount(t.Context(), registry.NewAccount{Login: "codeless", Name: "Codeless", Role: registry.Auditor})
		if err != nil {
			t.Fatal(err)
		}
		tied := a.Issuer() + " codeless"
		if _, err := s.Finder.Registry.UpdateAccount(t.Context(), made.ID, registry.AccountChange{Subject: &tied}); err != nil {
			t.Fatal(err)
		}
		a.knows("codeless", "", "pwd")
		a.start(t, newBrowser(t)).shows(t, http.StatusForbidden, "Ask your administrator for an invitation")
		a.knows("codeless", "", "hwk")
		a.start(t, newBrowser(t)).shows(t, http.StatusOK, "Codeless")
	})

	t.Run("forged answers", func(t *testing.T) {
		a := newAgency(t, s)
		a.tie(t, "forged")
		for name, forge := range map[string]func(back *url.URL, browser *http.Client) (*url.URL, *http.Client){
			"another state": func(back *url.URL, browser *http.Client) (*url.URL, *http.Client) {
				q := back.Query()
				q.Set("state", "another")
				back.RawQuery = q.Encode()
				return back, browser
			},
			"another code": func(back *url.URL, browser *http.Client) (*url.URL, *http.Client) {
				q := back.Query()
				q.Set("code", "another")
				back.RawQuery = q.Encode()
				return back, browser
			},
			"refused there": func(back *url.URL, browser *http.Client) (*url.URL, *http.Client) {
				back.RawQuery = url.Values{"state": {back.Query().Get("state")}, "error": {"access_denied"}}.Encode()
				return back, browser
			},
			"another browser": func(back *url.URL, _ *http.Client) (*url.URL, *http.Client) { return back, newBrowser(t) },
		} {
			t.Run(name, func(t *testing.T) {
				browser := newBrowser(t)
				a.knows("forged", "", "mfa")
				back, by := forge(a.callback(t, browser), browser)
				open(t, by, back.String()).shows(t, http.StatusBadRequest, ended)
				if page := open(t, by, a.URL+"/account"); page.url.Path != "/signin" {
					t.Errorf("/account leads to %s", page.url)
				}
			})
		}
		t.Run("an answer again", func(t *testing.T) {
			browser := newBrowser(t)
			a.knows("forged", "", "mfa")
			back := a.callback(t, browser)
			open(t, browser, back.String()).shows(t, http.StatusOK, "Auditor forged")
			open(t, browser, back.String()).shows(t, http.StatusBadRequest, ended)
		})
		t.Run("another nonce", func(t *testing.T) {
			a.knows("forged", "of another sign-in", "mfa")
			a.start(t, newBrowser(t)).shows(t, http.StatusBadRequest, ended)
		})
		t.Run("another client's token", func(t *testing.T) {
			browser := newBrowser(t)
			a.knows("forged", "", "mfa")
			back := a.callback(t, browser)
			// The issuer signs for whom it is told to.
			ours := a.ClientID
			a.ClientID = "another"
			defer func() { a.ClientID = ours }()
			open(t, browser, back.String()).shows(t, http.StatusBadRequest, ended)
		})
	})

	t.Run("the issuer is down", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		nowhere := "http://" + l.Addr().String()
		l.Close()
		at := outsideServer(t, s, server.OIDC{Issuer: nowhere, ClientID: "us", Name: "Sample Agency"})
		open(t, newBrowser(t), at+"/oidc/start").shows(t, http.StatusBadGateway, "does not answer at present")
		open(t, newBrowser(t), at+"/signin").shows(t, http.StatusOK, "Login name") // passwords go on

		a := newAgency(t, s)
		browser := newBrowser(t)
		back := a.callback(t, browser)
		if err := a.Shutdown(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Fatal(err)
		}
		open(t, browser, back.String()).shows(t, http.StatusBadGateway, "does not answer at present")
	})

	t.Run("there is none", func(t *testing.T) {
		for _, path := range []string{"/oidc/start", "/oidc/callback"} {
			if got := get(t, newBrowser(t), s.URL+path); got != http.StatusNotFound {
				t.Errorf("%s: %d", path, got)
			}
		}
		if page := open(t, newBrowser(t), s.URL+"/signin"); strings.Contains(page.body, "/oidc/start") {
			t.Error("the page to sign in offers an outside sign-in that is not there")
		}
	})
}
