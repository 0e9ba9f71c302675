package registry

import (
	"errors"
	"testing"
)

// TestAnalysing: only photos in the hands of another process that lives are being analysed.
func TestAnalysing(t *testing.T) {
	dir := t.TempDir()
	r, other := open(t, dir, Options{}), open(t, dir, Options{})
	if _, _, err := addPhoto(t.Context(), r, newCase(t, r, Missing).ID, randomPhoto(1, 100), NewPhoto{Format: "jpeg"}); err != nil {
		t.Fatal(err)
	}
	analysing := func(r *Registry, want bool) {
		t.Helper()
		if got, err := r.Analysing(t.Context()); err != nil || got != want {
			t.Errorf("%v, want %v; %v", got, want, err)
		}
	}
	analysing(other, false)
	p, ok, err := r.ClaimPhoto(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	analysing(other, true)
	analysing(r, false)
	if err := r.Release(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	analysing(other, false)
}

// TestRefused: a refusal says what it has to say, and is still its sentinel.
func TestRefused(t *testing.T) {
	err := wrap(refused(ErrConflict, "it is %s", "in use"), "switch")
	if err.Error() != "switch: it is in use" || !errors.Is(err, ErrConflict) || errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
}
