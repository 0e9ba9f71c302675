package registry

import (
	"errors"
	"strings"
	"testing"
)

func TestSavedSearches(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	mine := as(t, r, Officer, "CN")
	other := as(t, r, Officer, "CN")
	first, err := r.SaveSearch(mine, " Sichuan <b> ", "words=%E5%9B%9B&sex=male")
	if err != nil || first.Name != "Sichuan <b>" || first.Query != "words=%E5%9B%9B&sex=male" {
		t.Fatal(first, err)
	}
	again, err := r.SaveSearch(mine, "Sichuan <b>", "sex=female")
	if err != nil || again.ID != first.ID {
		t.Error(again, err)
	}
	if _, err := r.SaveSearch(other, "Sichuan <b>", "q=1"); err != nil {
		t.Error(err)
	}
	if _, err := r.SaveSearch(mine, "A", ""); err != nil {
		t.Error(err)
	}
	all, err := r.SavedSearches(mine)
	if err != nil || len(all) != 2 || all[0].Name != "A" || all[1].Query != "sex=female" {
		t.Fatal(all, err)
	}
	if err := r.DeleteSearch(other, first.ID); !errors.Is(err, ErrNotFound) {
		t.Error("someone else's search was deleted:", err)
	}
	if err := r.DeleteSearch(mine, first.ID); err != nil {
		t.Error(err)
	}
	if err := r.DeleteSearch(mine, first.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, bad := range [][2]string{{" ", "q"}, {strings.Repeat("a", MaxSearch+1), "q"}, {"a\nb", "q"}, {"a", strings.Repeat("q", MaxQuery+1)}, {"a", "q\nr"}} {
		if _, err := r.SaveSearch(mine, bad[0], bad[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if _, err := r.SaveSearch(t.Context(), "a", "q"); !errors.Is(err, ErrInvalid) {
		t.Error("without an account:", err)
	}
	if all, err := r.SavedSearches(t.Context()); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
}
