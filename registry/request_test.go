package registry

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestIdempotent(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	one, other := enrolled(t, r, "one", Officer), enrolled(t, r, "two", Officer)
	begin := func(r *Registry, account AccountID, fingerprint string) (*Request, error) {
		return r.Idempotent(t.Context(), account, "upload 1", []byte(fingerprint))
	}
	q, err := begin(r, one.ID, "x")
	if err != nil || q.Outcome != nil {
		t.Fatal(q, err)
	}
	if _, err := begin(r, one.ID, "x"); !errors.Is(err, ErrInProgress) {
		t.Error(err)
	}
	if _, err := begin(r, one.ID, "y"); !errors.Is(err, ErrReused) {
		t.Error(err)
	}
	if q, err := begin(r, other.ID, "y"); err != nil || q.Outcome != nil {
		t.Error("callers share names", err)
	}
	if err := q.Close(); err != nil { // failed: it may be tried again
		t.Fatal(err)
	}
	if q, err = begin(r, one.ID, "y"); err != nil || q.Outcome != nil {
		t.Fatal(q, err)
	}
	want := Outcome{Status: 201, Photo: "p_1"}
	if err := errors.Join(q.Finish(t.Context(), want), q.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := begin(r, one.ID, "y")
	if err != nil || again.Outcome == nil || *again.Outcome != want {
		t.Fatal(again, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := begin(r, one.ID, "x"); !errors.Is(err, ErrReused) {
		t.Error(err)
	}
	if _, err := r.writer.Exec("UPDATE requests SET created_at = created_at - ?", RequestLife.Milliseconds()+1000); err != nil {
		t.Fatal(err)
	}
	if q, err := begin(r, one.ID, "z"); err != nil || q.Outcome != nil {
		t.Error("a request outlives its day", err)
	}

	// A process that dies in the middle does not block the repetition.
	dead, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	third := enrolled(t, r, "three", Officer)
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
	one := enrolled(t, r, "one", Officer)
	var mu sync.Mutex
	first := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := r.Idempotent(context.Background(), one.ID, "name", []byte("x"))
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
