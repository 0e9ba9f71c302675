package server_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
)

// TestCandidatesSayWhy reads of a candidate what it rests on, in numbers and in words.
func TestCandidatesSayWhy(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	mated, _ := enrol(t, s, api.NewCase{Gallery: "missing", CaseFacts: api.CaseFacts{Sex: "male", Born: api.Range{From: "1961-08-04"}, On: "2005"}}, photos.Read(t, photos.Obama))
	if _, err := s.AddPhoto(ctx, mated.ID, client.NewPhoto{Taken: "2012"}, bytes.NewReader(photos.Read(t, photos.Obama3))); err != nil {
		t.Fatal(err)
	}
	enrol(t, s, missing("someone else"), photos.Read(t, photos.Biden))
	found, _ := enrol(t, s, api.NewCase{Gallery: "found", CaseFacts: api.CaseFacts{Sex: "female", On: "2001"}}, photos.Read(t, photos.Obama2))

	got, err := s.SearchCase(ctx, client.Filter{}, found.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Gallery != "missing" || len(got.Candidates) != 2 || got.Candidates[0].Case.ID != mated.ID {
		t.Fatalf("the case of the same man does not come first: %+v", cases(got))
	}
	c := got.Candidates[0]
	if c.Faces.Log10LR < 2 || c.Faces.Log10LR > 4 || c.Faces.Band != "strong" && c.Faces.Band != "fairly_strong" {
		t.Errorf("the faces: %+v", c.Faces)
	}
	if !strings.Contains(c.Faces.Text, "times more likely if this is the same child") || strings.Contains(c.Faces.Text, "%") {
		t.Errorf("in words: %q", c.Faces.Text)
	}
	against := map[string]bool{}
	for _, f := range c.Plausibility.Factors {
		against[f.Fact] = f.Log10LR < 0 && f.Text != ""
	}
	if !c.Plausibility.Used || !against["sex"] || !against["order"] {
		t.Errorf("a girl found before the boy disappeared: %+v", c.Plausibility)
	}
	if len(c.Sightings) != 3 || c.Sightings[0].Of != "probe" || c.Sightings[2].Of != "case" {
		t.Errorf("the photos compared: %+v", c.Sightings)
	}
	dated := false
	for _, sight := range c.Sightings {
		dated = dated || sight.AgeBy == "dates" && *sight.Age > 50 && *sight.Age < 52 && sight.Taken == "2012"
	}
	if !dated {
		t.Errorf("none is aged 50 or 51 by its dates: %+v", c.Sightings)
	}
	if c.Pair.Gap == nil || c.Pair.Text == "" || c.Pair.Reference.Photo != c.Photo.ID || c.Counter.Text == "" || c.Counter.Rivals != 0 {
		t.Errorf("pair %+v, counter-check %+v", c.Pair, c.Counter)
	}
	alone, err := s.SearchCase(ctx, client.Filter{FacesAlone: true}, found.ID)
	if err != nil || alone.Candidates[0].Plausibility.Used || alone.Candidates[0].Score <= c.Score {
		t.Errorf("by the faces alone: %+v, %v", alone.Candidates, err)
	}
	told, err := s.SearchPhoto(ctx, client.Filter{ChildSex: "male", ChildAge: 51, Taken: "2012"}, bytes.NewReader(photos.Read(t, photos.Obama2)))
	if err != nil || told.Candidates[0].Plausibility.Log10LR <= 0 || told.Candidates[0].Pair.Probe.AgeBy != "dates" {
		t.Errorf("a photo of which more is known: %+v, %v", told.Candidates, err)
	}

	empty, err := s.CreateCase(ctx, api.NewCase{Gallery: "found"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path, body string
		status     int
	}{
		"a case without photos": {"/searches", `{"case": "` + empty.ID + `"}`, http.StatusUnprocessableEntity},
		"no such case":          {"/searches", `{"case": "c_none"}`, http.StatusNotFound},
		"face and case":         {"/searches", `{"case": "c_a", "face": "f_b"}`, http.StatusBadRequest},
		"neither":               {"/searches", `{}`, http.StatusBadRequest},
		"an age out of range":   {"/searches?child_age=200", `{"case": "` + found.ID + `"}`, http.StatusUnprocessableEntity},
		"no age":                {"/searches?child_age=young", `{"case": "` + found.ID + `"}`, http.StatusUnprocessableEntity},
		"no date":               {"/searches?taken=yesterday", `{"case": "` + found.ID + `"}`, http.StatusUnprocessableEntity},
		"no sex":                {"/searches?child_sex=boy", `{"case": "` + found.ID + `"}`, http.StatusUnprocessableEntity},
		"neither on nor off":    {"/searches?records=maybe", `{"case": "` + found.ID + `"}`, http.StatusUnprocessableEntity},
	} {
		t.Run(name, func(t *testing.T) {
			if p := s.refused(t, tc.path, "application/json", strings.NewReader(tc.body)); p.Status != tc.status || p.Detail == "" {
				t.Errorf("%+v, want status %d", p, tc.status)
			}
		})
	}
}
