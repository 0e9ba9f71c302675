package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"homeward/client"
	"homeward/finder"
	"homeward/registry"
	"homeward/server"
)

// testServer is a real server over real models and a registry of its own.
type testServer struct {
	*client.Client
	URL    string
	Key    string
	Data   string
	Finder *finder.Finder
	// Account is a supervisor's that covers everywhere; Client and Key act as it.
	Account registry.Account

	accounts atomic.Int64
}

// newTestServer starts a server on loopback that ends with the test.
func newTestServer(t *testing.T) *testServer {
	t.Helper()
	log := slog.New(slog.NewTextHandler(testLog{t}, nil))
	s := &testServer{Data: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	s.Finder, err = finder.Open(ctx, finder.Config{Data: s.Data, Models: "../models", Log: log})
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	if err := s.Finder.LoadWords(ctx); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Finder.Run(ctx) }()
	sv, err := server.New(s.Finder, log, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(sv.Handler())
	t.Cleanup(func() {
		h.Close()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := s.Finder.Close(); err != nil {
			t.Error(err)
		}
	})
	s.URL = h.URL
	s.Client, s.Key, s.Account = s.as(t, registry.Supervisor, registry.Everywhere)
	return s
}

// as makes an account with a role, and returns a client that acts as it, the client's key, and the account.
func (s *testServer) as(t *testing.T, role registry.Role, regions ...string) (*client.Client, string, registry.Account) {
	t.Helper()
	n := registry.NewAccount{
		Login: fmt.Sprintf("%s-%d", role, s.accounts.Add(1)), Name: "Some " + string(role), Role: role, Regions: regions,
	}
	if role == registry.Laboratory {
		n.Organisation = "Sample Laboratory"
	}
	account, _, err := s.Finder.Registry.CreateAccount(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := s.Finder.Registry.CreateKey(t.Context(), account.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	return client.New(s.URL, secret), secret, account
}

// member is someone of the staff with password and codes.
type member struct {
	registry.Account
	secret string
}

// staffPassword is every member's.
const staffPassword = "a sentence to remember"

// enrol makes an account whose person has taken up the invitation.
func (s *testServer) enrol(t *testing.T, n registry.NewAccount) member {
	t.Helper()
	_, invitation, err := s.Finder.Registry.CreateAccount(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.Finder.Registry.OpenInvitation(t.Context(), invitation)
	if err != nil {
		t.Fatal(err)
	}
	m := member{secret: in.Secret}
	m.Account, err = s.Finder.Registry.Enrol(t.Context(), invitation, staffPassword, m.codeAt(t, -30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// code is what the member's authenticator shows now. It is good once.
func (m member) code(t *testing.T) string { t.Helper(); return m.codeAt(t, 0) }

func (m member) codeAt(t *testing.T, from time.Duration) string {
	t.Helper()
	code, err := totp.GenerateCode(m.secret, time.Now().Add(from))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// browser is signed in as an account, with a purpose stated.
func (s *testServer) browser(t *testing.T, id registry.AccountID) *http.Client {
	t.Helper()
	token, err := s.Finder.Registry.CreateSession(t.Context(), id, "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	actor, err := s.Finder.Registry.Session(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Finder.Registry.SetPurpose(t.Context(), actor.Via, "test"); err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(u, []*http.Cookie{{Name: "homeward_session", Value: token}})
	return &http.Client{Jar: jar}
}

// testLog shows the server's log where a test failed or -v asks for it.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if os.Getenv("HOMEWARD_TEST_LOG") != "" {
		l.t.Log(string(p))
	}
	return len(p), nil
}
