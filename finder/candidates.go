package finder

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"homeward/index"
	"homeward/match"
	"homeward/registry"
)

// ErrLoading means that words cannot be searched yet.
var ErrLoading = errors.New("words are still being loaded: search without them, or try again in a minute")

// Query narrows a search and says which page of it is wanted.
type Query struct {
	Gallery          registry.Gallery // "": the gallery opposite an enrolled face, else missing
	Sex              registry.Sex
	Statuses         []registry.Status            // none: open cases only
	BornFrom, BornTo int                          // years
	Regions          []string                     // only cases that these regions cover; none: anywhere
	Among            map[registry.CaseID]struct{} // only these cases; nil: any
	Words            string                       // only cases that hold all of these
	Limit            int
	Cursor           string
	// FacesAlone leaves what the records say out of the ranking; it is shown all the same.
	FacesAlone bool
	// About is what is known of the child in a photo that is not enrolled.
	About About
}

// About is what is known of a child of whom there is only a photo.
type About struct {
	Sex   registry.Sex
	Taken registry.Date // of the photo; zero: as the camera noted it
	Age   float64       // in the photo; 0 where unknown
}

// agedBy is how far an age that a person gives is off.
const agedBy = 0.75

// Candidate is a case that may be the same child, with all that it rests on.
type Candidate struct {
	Rank int
	// Score ranks: the faces' log-LR and, unless it is switched off, the records'.
	Score        float64
	Faces        float64 // calibrated log-LR of all faces of the probe and of the case
	Plausibility match.Plausibility
	Case         registry.Case
	Photo        registry.Photo // that carried the score, with its faces
	Face         registry.Face
	Pair         Pair
	Sightings    []Sighting // all photos compared, the probe's first
	Counter      Counter
}

// Pair is the two faces that speak loudest for one child.
type Pair struct {
	LogLR            float64
	Probe, Reference Sighting
}

// Sighting is one photo that was compared, with the child's age in it.
type Sighting struct {
	Probe   bool             // of the probe, or of the case
	Photo   registry.PhotoID // empty for a photo that is not kept
	Face    registry.FaceID
	Taken   registry.Date
	Age     match.Age
	Dated   bool // Age comes from dates, and not from looks
	Quality float64
}

// Counter is a check on a candidate: a face that many resemble says little, however high it scores.
type Counter struct {
	// Rivals are other cases of the searched gallery whose faces score at least half as high (as a likelihood ratio) for this
	// probe.
	Rivals int
	// Alike are other cases of the probe's side that this case's faces resemble as much as they do the probe.
	Alike int
	// Most bounds both: there may be more.
	Most int
}

// Candidates are one page of a search.
type Candidates struct {
	Gallery    registry.Gallery
	Candidates []Candidate
	Next       string // cursor of the next page; empty on the last
}

const (
	// shortlist is how many cases the index brings up to be compared in full. What lies behind them is compared when the pages
	// come to it.
	shortlist = 1000
	// counted is how many cases a counter-check looks at.
	counted = 50
)

// ranked is a case of the shortlist after it was compared in full.
type ranked struct {
	id       registry.CaseID
	enrolled *enrolled
	faces    float64
	records  match.Plausibility
	score    float64
}

// Candidates ranks the cases of the gallery by how much speaks for one child: a shortlist by the nearest faces, then every case
// of it compared in full.
func (f *Finder) Candidates(ctx context.Context, p *Probe, face int, q Query) (Candidates, error) {
	g := p.Searches(q.Gallery)
	s, err := p.subject(face)
	if err != nil {
		return Candidates{Gallery: g}, err
	}
	if p.Case == "" {
		s = p.made.informed(s, q.About)
	}
	return f.candidates(ctx, p.made, s, p.Case, g, q)
}

// candidates are Candidates of a subject in a gallery; own is its case, which is no candidate of its own.
func (f *Finder) candidates(ctx context.Context, made *generation, s *subject, own registry.CaseID, g registry.Gallery, q Query) (out Candidates, err error) {
	defer f.serve()()
	out.Gallery = g
	filter := q.filter()
	filter.Gallery, filter.Except = string(g), string(own)
	if q.Words != "" {
		if !f.wordsLoaded.Load() {
			return out, ErrLoading
		}
		if filter.Among, err = f.words.Matching(ctx, q.Words, filter); err != nil {
			return out, fmt.Errorf("search words: %w", err)
		}
	}
	at, err := parsePlace(q.Cursor, false)
	if err != nil {
		return out, err
	}
	c := comparison{Finder: f, generation: made, subject: s, query: s.query(made.metric), alone: q.FacesAlone}
	var page []ranked
	for {
		tier, next, err := c.tier(ctx, filter, at.tier())
		if err != nil {
			return out, err
		}
		for i, r := range tier {
			if !at.passed(r) {
				continue
			}
			if len(page) == q.Limit {
				last := page[len(page)-1]
				out.Next = place{Seen: at.Seen + len(page), Score: math.Float64bits(last.score), Case: string(last.id), Tier: at.Tier}.String()
				break
			}
			page = append(page, tier[i])
		}
		if out.Next != "" || next == nil {
			break
		}
		if len(page) == q.Limit { // the page ends with the tier
			out.Next = place{Seen: at.Seen + len(page), Tier: tierAfter(*next)}.String()
			break
		}
		at = place{Seen: at.Seen, Tier: tierAfter(*next)}
	}
	whole, err := c.whole(ctx, g, own)
	if err != nil {
		return out, err
	}
	for i, r := range page {
		candidate, err := c.candidate(ctx, r, own)
		if errors.Is(err, registry.ErrNotFound) { // deleted since the index was asked
			continue
		}
		if err != nil {
			return out, err
		}
		candidate.Rank = at.Seen + i + 1
		candidate.Counter.Rivals = rivals(whole, r)
		out.Candidates = append(out.Candidates, candidate)
	}
	return out, nil
}

// informed is a photo's subject with what a person says about it.
func (g *generation) informed(s *subject, about About) *subject {
	if about == (About{}) {
		return s
	}
	ref := s.refs[0]
	if !about.Taken.IsZero() {
		ref.taken = about.Taken
	}
	if about.Age > 0 {
		ref.age, ref.dated = match.Age{Years: about.Age, SD: agedBy, Known: true}, true
	}
	return g.newSubject([]reference{ref},
		match.Record{Sex: string(about.Sex), Sights: []match.Sight{{Taken: span(ref.taken, ref.taken), Looks: ref.age}}})
}

// query is what the index is searched with: the mean of the subject's templates.
func (s *subject) query(m *match.Metric) []float32 {
	mean := make([]float32, m.Dim())
	for _, r := range s.refs {
		for i, x := range r.vector {
			mean[i] += x / float32(len(s.refs))
		}
	}
	return m.Query(mean)
}

// comparison is a subject being compared.
type comparison struct {
	*Finder
	*generation
	subject *subject
	query   []float32
	alone   bool
}

// tier compares the next shortlist in full, and ranks it; next is where the one after it begins, nil if there is none.
func (c *comparison) tier(ctx context.Context, filter index.Filter, after *index.Hit) (tier []ranked, next *index.Hit, err error) {
	hits, next, err := c.hits(ctx, filter, after)
	return c.rank(hits), next, err
}

// hits is the next shortlist as the index orders it.
func (c *comparison) hits(ctx context.Context, filter index.Filter, after *index.Hit) (hits []index.Hit, next *index.Hit, err error) {
	// One more than asked for tells whether there is more.
	hits, err = c.faces.Search(ctx, index.Query{Vector: c.query, Filter: filter, Limit: c.shortlist + 1, After: after})
	if err != nil {
		return nil, nil, fmt.Errorf("search: %w", err)
	}
	if len(hits) > c.shortlist {
		hits = hits[:c.shortlist]
		next = &hits[c.shortlist-1]
	}
	return hits, next, nil
}

// rank compares cases in full, and orders them by what speaks for one child.
func (c *comparison) rank(hits []index.Hit) []ranked {
	out := make([]ranked, 0, len(hits))
	for _, h := range hits {
		id := registry.CaseID(h.Case)
		if e := c.shelf.get(id); e.comparable() { // else deleted since the index was asked
			out = append(out, c.weigh(id, e))
		}
	}
	slices.SortFunc(out, byScore)
	return out
}

// byScore puts the strongest first.
func byScore(a, b ranked) int {
	return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(string(a.id), string(b.id)))
}

// weigh compares one case in full. It must be comparable.
func (c *comparison) weigh(id registry.CaseID, e *enrolled) ranked {
	r := ranked{id: id, enrolled: e, records: c.subject.record.Compare(e.record)}
	r.faces = c.metric.Compare(c.subject.evidence, e.evidence).LogLR
	r.score = r.faces
	if !c.alone {
		r.score += r.records.LogLR
	}
	return r
}

// whole is the best cases by their faces alone, whatever else was asked for: what a candidate is checked against.
func (c *comparison) whole(ctx context.Context, g registry.Gallery, except registry.CaseID) ([]ranked, error) {
	hits, err := c.faces.Search(ctx, index.Query{Vector: c.query, Filter: index.Filter{Gallery: string(g), Except: string(except)}, Limit: 2 * counted})
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return c.rank(hits), nil
}

// rivals counts the other cases whose faces score at least half as high.
func rivals(whole []ranked, r ranked) (n int) {
	for _, o := range whole {
		if o.id != r.id && o.faces >= r.faces-math.Ln2 {
			n++
		}
	}
	return min(n, counted)
}

// alike counts the other cases of the probe's side that the candidate resembles as much as it does the probe.
func (c *comparison) alike(ctx context.Context, r ranked, except registry.CaseID) (n int, err error) {
	s := &r.enrolled.subject
	back := comparison{Finder: c.Finder, generation: c.generation, subject: s, query: s.query(c.metric), alone: true}
	filter := index.Filter{Gallery: string(r.enrolled.gallery.Other()), Except: string(except)}
	hits, err := c.faces.Search(ctx, index.Query{Vector: back.query, Filter: filter, Limit: counted})
	if err != nil {
		return 0, fmt.Errorf("search: %w", err)
	}
	for _, o := range back.rank(hits) {
		if o.faces >= r.faces {
			n++
		}
	}
	return n, nil
}

func (c *comparison) candidate(ctx context.Context, r ranked, own registry.CaseID) (out Candidate, err error) {
	out = Candidate{Score: r.score, Faces: r.faces, Plausibility: r.records}
	best := c.metric.Best(c.subject.evidence, r.enrolled.evidence)
	probe, ref := c.subject.refs[best.A], r.enrolled.refs[best.B]
	out.Pair = Pair{best.LogLR, probe.sighting(true), ref.sighting(false)}
	if out.Photo, err = c.Registry.PhotoOf(ctx, ref.face); err != nil {
		return out, err
	}
	if out.Case, err = c.Registry.Case(ctx, r.id); err != nil {
		return out, err
	}
	out.Face, _ = out.Photo.Face(ref.face) // PhotoOf found the photo by it
	for _, s := range c.subject.refs {
		out.Sightings = append(out.Sightings, s.sighting(true))
	}
	for _, s := range r.enrolled.refs {
		out.Sightings = append(out.Sightings, s.sighting(false))
	}
	out.Counter.Most = counted
	out.Counter.Alike, err = c.alike(ctx, r, own)
	return out, err
}

func (r reference) sighting(probe bool) Sighting {
	return Sighting{Probe: probe, Photo: r.photo, Face: r.face, Taken: r.taken, Age: r.age, Dated: r.dated, Quality: r.quality}
}

// MostClaimed is the largest log-LR that is claimed to people.
func (f *Finder) MostClaimed() float64 { return f.now().metric.MostClaimed() }

// Cases lists cases newest first, or, with words, those that hold all of them, best match first.
func (f *Finder) Cases(ctx context.Context, q Query) ([]registry.Case, string, error) {
	if q.Words != "" {
		if !f.wordsLoaded.Load() {
			return nil, "", ErrLoading
		}
		return f.casesByWords(ctx, q)
	}
	list := registry.CaseQuery{
		Gallery: q.Gallery, Sex: q.Sex, Statuses: q.statuses(), BornFrom: q.BornFrom, BornTo: q.BornTo, Regions: q.regions(),
		Limit: q.Limit, Cursor: q.Cursor,
	}
	if q.Among != nil {
		list.IDs = slices.AppendSeq([]registry.CaseID{}, maps.Keys(q.Among)) // not nil: among none is not among any
	}
	return f.Registry.ListCases(ctx, list)
}

func (f *Finder) casesByWords(ctx context.Context, q Query) ([]registry.Case, string, error) {
	at, err := parsePlace(q.Cursor, true)
	if err != nil {
		return nil, "", err
	}
	hits, err := f.words.Search(ctx, q.Words, q.filter(), q.Limit+1, at.Seen)
	if err != nil {
		return nil, "", fmt.Errorf("search words: %w", err)
	}
	var next string
	if len(hits) > q.Limit {
		hits = hits[:q.Limit]
		next = place{Words: true, Seen: at.Seen + q.Limit}.String()
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

// regions are those that narrow: none where one of them is everywhere.
func (q Query) regions() []string {
	if slices.Contains(q.Regions, registry.Everywhere) {
		return nil
	}
	return q.Regions
}

// filter is what the indexes narrow by.
func (q Query) filter() index.Filter {
	f := index.Filter{Gallery: string(q.Gallery), Sex: string(q.Sex), BornFrom: q.BornFrom, BornTo: q.BornTo, Regions: q.regions()}
	if q.Among != nil {
		f.Among = make(map[string]struct{}, len(q.Among))
		for id := range q.Among {
			f.Among[string(id)] = struct{}{}
		}
	}
	for _, s := range q.statuses() {
		f.Statuses = append(f.Statuses, string(s))
	}
	return f
}

// place is where a page of a ranking ended.
type place struct {
	Words bool   `json:"w,omitempty"` // of a list by words, which is counted, not scored
	Seen  int    `json:"n"`
	Score uint64 `json:"s,omitempty"` // the float's bits: a ranking goes on at exactly this score
	Case  string `json:"c,omitempty"` // the last case seen of the tier; empty at its start
	Tier  *tier  `json:"t,omitempty"`
}

// tier is where a shortlist begins: behind a case that the index gave before.
type tier struct {
	Score uint32 `json:"s"`
	Case  string `json:"c"`
}

func tierAfter(h index.Hit) *tier { return &tier{math.Float32bits(h.Score), h.Case} }

func (p place) tier() *index.Hit {
	if p.Tier == nil {
		return nil
	}
	return &index.Hit{Case: p.Tier.Case, Score: math.Float32frombits(p.Tier.Score)}
}

// passed says whether a case of the tier comes behind the place.
func (p place) passed(r ranked) bool {
	score := math.Float64frombits(p.Score)
	return p.Case == "" || r.score < score || r.score == score && string(r.id) > p.Case
}

func (p place) String() string {
	raw, _ := json.Marshal(p) // numbers and strings always marshal
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parsePlace(cursor string, words bool) (p place, err error) {
	if cursor == "" {
		return place{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || p.Words != words || p.Seen < 0 || math.IsNaN(math.Float64frombits(p.Score)) || p.Tier != nil && p.tier().Score != p.tier().Score {
		return place{}, fmt.Errorf("cursor: %w: use the next value of the answer before, unchanged", registry.ErrInvalid)
	}
	return p, nil
}
