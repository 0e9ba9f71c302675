package registry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	k, secret, err := r.CreateKey(t.Context(), " police ")
	if err != nil || k.Name != "police" || !strings.HasPrefix(secret, "hw_") || len(secret) != 29 {
		t.Fatal(k, secret, err)
	}
	for _, name := range []string{"", " ", "a\nb", strings.Repeat("a", MaxKeyName+1)} {
		if _, _, err := r.CreateKey(t.Context(), name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	got, err := r.Authenticate(t.Context(), secret)
	if err != nil || got.ID != k.ID || got.LastUsed.IsZero() {
		t.Fatal(got, err)
	}
	again, err := r.Authenticate(t.Context(), secret)
	if err != nil || !again.LastUsed.Equal(got.LastUsed) {
		t.Error("last use was written twice within a minute", again, err)
	}
	for _, s := range []string{"", "hw_", secret + "x", string(k.ID)} {
		if _, err := r.Authenticate(t.Context(), s); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", s, err)
		}
	}
	token, err := r.CreateSession(t.Context(), k.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := r.Session(t.Context(), token); err != nil || s.ID != k.ID {
		t.Fatal(s, err)
	}
	for _, f := range files(t, dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte(token)) {
			t.Errorf("%s holds a secret", f)
		}
	}
	expired, err := r.CreateSession(t.Context(), k.ID, -time.Second)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.CreateSession(t.Context(), k.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.DeleteSession(t.Context(), out), r.DeleteSession(t.Context(), out)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(r.RevokeKey(t.Context(), k.ID), r.RevokeKey(t.Context(), k.ID)); err != nil {
		t.Error(err)
	}
	for _, s := range []string{token, expired, out, "hs_none"} {
		if _, err := r.Session(t.Context(), s); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if _, err := r.Authenticate(t.Context(), secret); !errors.Is(err, ErrNotFound) {
		t.Error("a revoked key lets in", err)
	}
	if _, err := r.CreateSession(t.Context(), k.ID, time.Hour); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := r.RevokeKey(t.Context(), "k_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if keys, err := r.Keys(t.Context()); err != nil || len(keys) != 1 || keys[0].Revoked.IsZero() {
		t.Error(keys, err)
	}
}

func TestIdempotent(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	k, _, err := r.CreateKey(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := r.CreateKey(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	begin := func(r *Registry, key KeyID, fingerprint string) (*Request, error) {
		return r.Idempotent(t.Context(), key, "upload 1", []byte(fingerprint))
	}
	q, err := begin(r, k.ID, "x")
	if err != nil || q.Outcome != nil {
		t.Fatal(q, err)
	}
	if _, err := begin(r, k.ID, "x"); !errors.Is(err, ErrInProgress) {
		t.Error(err)
	}
	if _, err := begin(r, k.ID, "y"); !errors.Is(err, ErrReused) {
		t.Error(err)
	}
	if q, err := begin(r, other.ID, "y"); err != nil || q.Outcome != nil {
		t.Error("callers share names", err)
	}
	if err := q.Close(); err != nil { // failed: it may be tried again
		t.Fatal(err)
	}
	if q, err = begin(r, k.ID, "y"); err != nil || q.Outcome != nil {
		t.Fatal(q, err)
	}
	want := Outcome{Status: 201, Photo: "p_1"}
	if err := errors.Join(q.Finish(t.Context(), want), q.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := begin(r, k.ID, "y")
	if err != nil || again.Outcome == nil || *again.Outcome != want {
		t.Fatal(again, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := begin(r, k.ID, "x"); !errors.Is(err, ErrReused) {
		t.Error(err)
	}
	if _, err := r.writer.Exec("UPDATE requests SET created_at = created_at - ?", RequestLife.Milliseconds()+1000); err != nil {
		t.Fatal(err)
	}
	if q, err := begin(r, k.ID, "z"); err != nil || q.Outcome != nil {
		t.Error("a request outlives its day", err)
	}

	// A process that dies in the middle does not block the repetition.
	dead, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	third, _, err := r.CreateKey(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begin(dead, third.ID, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(r, third.ID, "x"); !errors.Is(err, ErrInProgress) {
		t.Error(err)
	}
	die(t, dead)
	if q, err := begin(r, third.ID, "x"); err != nil || q.Outcome != nil {
		t.Error(q, err)
	}
}

func TestIdempotentAtOnce(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	k, _, err := r.CreateKey(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	first := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := r.Idempotent(context.Background(), k.ID, "name", []byte("x"))
			if err != nil && !errors.Is(err, ErrInProgress) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				first++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if first != 1 {
		t.Error(first, "requests are the first")
	}
}
