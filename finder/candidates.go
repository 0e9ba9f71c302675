package finder

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"homeward/index"
	"homeward/registry"
)

// ErrLoading means that words cannot be searched yet.
var ErrLoading = errors.New("words are still being loaded: search without them, or try again in a minute")

// Query narrows a search and says which page of it is wanted.
type Query struct {
	Gallery          registry.Gallery // "": the gallery opposite an enrolled face, else missing
	Sex              registry.Sex
	Statuses         []registry.Status // none: open cases only
	BornFrom, BornTo int               // years
	Words            string            // only cases that hold all of these
	Limit            int
	Cursor           string
}

// Candidate is a case that may be the same child, with the photo and face that carried its score.
type Candidate struct {
	Rank  int
	Score float32
	Case  registry.Case
	Photo registry.Photo
	Face  registry.Face
}

// Candidates are one page of a search.
type Candidates struct {
	Gallery    registry.Gallery
	Candidates []Candidate
	Next       string // cursor of the next page; empty on the last
}

// place is where a page of a ranking ended.
type place struct {
	Words bool   `json:"w,omitempty"` // of a list by words, which is counted, not scored
	Seen  int    `json:"n"`
	Score uint32 `json:"s"` // the float's bits: a ranking continues at exactly this score
	Case  string `json:"c"`
}

// Candidates ranks the cases of the gallery by their likeness to a face of the probe.
func (f *Finder) Candidates(ctx context.Context, p *Probe, face int, q Query) (Candidates, error) {
	out := Candidates{Gallery: p.Searches(q.Gallery)}
	template, err := p.template(face)
	if err != nil {
		return out, err
	}
	filter := q.filter()
	filter.Gallery, filter.Except = string(out.Gallery), string(p.Case)
	if q.Words != "" {
		if !f.wordsLoaded.Load() {
			return out, ErrLoading
		}
		if filter.Among, err = f.words.Matching(ctx, q.Words, filter); err != nil {
			return out, fmt.Errorf("search words: %w", err)
		}
	}
	seen, after, err := parsePlace(q.Cursor, false)
	if err != nil {
		return out, err
	}
	// One more than asked for tells whether there is a next page.
	hits, err := f.faces.Search(ctx, index.Query{Vector: template, Filter: filter, Limit: q.Limit + 1, After: after})
	if err != nil {
		return out, fmt.Errorf("search: %w", err)
	}
	more := len(hits) > q.Limit
	if more {
		hits = hits[:q.Limit]
	}
	for i, h := range hits {
		c, err := f.candidate(ctx, h)
		if errors.Is(err, registry.ErrNotFound) { // deleted since the index was asked
			continue
		}
		if err != nil {
			return out, err
		}
		c.Rank = seen + i + 1
		out.Candidates = append(out.Candidates, c)
	}
	if more {
		last := hits[len(hits)-1]
		out.Next = place{Seen: seen + len(hits), Score: math.Float32bits(last.Score), Case: last.Case}.String()
	}
	return out, nil
}

func (f *Finder) candidate(ctx context.Context, h index.Hit) (Candidate, error) {
	out := Candidate{Score: h.Score}
	var err error
	if out.Photo, err = f.Registry.PhotoOf(ctx, registry.FaceID(h.Face)); err != nil {
		return out, err
	}
	if out.Case, err = f.Registry.Case(ctx, registry.CaseID(h.Case)); err != nil {
		return out, err
	}
	out.Face, _ = out.Photo.Face(registry.FaceID(h.Face)) // PhotoOf found the photo by it
	return out, nil
}

// Cases lists cases newest first, or, with words, those that hold all of them, best match first.
func (f *Finder) Cases(ctx context.Context, q Query) ([]registry.Case, string, error) {
	if q.Words != "" {
		if !f.wordsLoaded.Load() {
			return nil, "", ErrLoading
		}
		return f.casesByWords(ctx, q)
	}
	return f.Registry.ListCases(ctx, registry.CaseQuery{
		Gallery: q.Gallery, Sex: q.Sex, Statuses: q.statuses(), BornFrom: q.BornFrom, BornTo: q.BornTo, Limit: q.Limit, Cursor: q.Cursor,
	})
}

func (f *Finder) casesByWords(ctx context.Context, q Query) ([]registry.Case, string, error) {
	seen, _, err := parsePlace(q.Cursor, true)
	if err != nil {
		return nil, "", err
	}
	hits, err := f.words.Search(ctx, q.Words, q.filter(), q.Limit+1, seen)
	if err != nil {
		return nil, "", fmt.Errorf("search words: %w", err)
	}
	var next string
	if len(hits) > q.Limit {
		hits = hits[:q.Limit]
		next = place{Words: true, Seen: seen + q.Limit}.String()
	}
	cases := make([]registry.Case, 0, len(hits))
	for _, h := range hits {
		c, err := f.Registry.Case(ctx, registry.CaseID(h.Case))
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		cases = append(cases, c)
	}
	return cases, next, nil
}

// statuses defaults to open cases.
func (q Query) statuses() []registry.Status {
	if len(q.Statuses) == 0 {
		return []registry.Status{registry.StatusOpen}
	}
	return q.Statuses
}

// filter is what the indexes narrow by.
func (q Query) filter() index.Filter {
	f := index.Filter{Gallery: string(q.Gallery), Sex: string(q.Sex), BornFrom: q.BornFrom, BornTo: q.BornTo}
	for _, s := range q.statuses() {
		f.Statuses = append(f.Statuses, string(s))
	}
	return f
}

func (p place) String() string {
	raw, _ := json.Marshal(p) // numbers and a string always marshal
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parsePlace(cursor string, words bool) (seen int, after *index.Hit, err error) {
	if cursor == "" {
		return 0, nil, nil
	}
	var p place
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	score := math.Float32frombits(p.Score)
	if err != nil || p.Words != words || p.Seen < 0 || math.IsNaN(float64(score)) {
		return 0, nil, fmt.Errorf("cursor: %w: use the next value of the answer before, unchanged", registry.ErrInvalid)
	}
	return p.Seen, &index.Hit{Case: p.Case, Score: score}, nil
}
