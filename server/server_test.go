package server_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"

	"homeward/client"
	"homeward/finder"
	"homeward/server"
)

// testServer is a real server over real models and a registry of its own.
type testServer struct {
	*client.Client
	URL    string
	Key    string
	Data   string
	Finder *finder.Finder
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
	sv, err := server.New(s.Finder, log)
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
	_, secret, err := s.Finder.Registry.CreateKey(ctx, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	s.URL, s.Key = h.URL, secret
	s.Client = client.New(h.URL, secret)
	return s
}

// testLog shows the server's log where a test failed or -v asks for it.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if os.Getenv("HOMEWARD_TEST_LOG") != "" {
		l.t.Log(string(p))
	}
	return len(p), nil
}
