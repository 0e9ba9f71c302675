package finder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"homeward/engine"
	"homeward/match"
	"homeward/registry"
)

const (
	// probeLife is how long a search can be continued. A probe's photo is never kept, only what was found in it, in memory.
	probeLife = time.Hour
	// probesKept bounds the memory of searches under way: about 3 kB for a photo with four faces, 40 kB at the most.
	probesKept = 1024
)

var (
	// ErrNoProbe means that a search is over, was never there, or belongs to someone else.
	ErrNoProbe = errors.New("this search has ended: send the photo again")
	// ErrNoFace means that a face was named that the probe does not have.
	ErrNoFace = errors.New("the photo has no such face")
	// ErrNotYet means that a face has no template under the models in use, because its photo waits to be analysed again.
	ErrNotYet = errors.New("this face is waiting to be analysed again")
	// ErrNoFaces means that a case has no face to search with.
	ErrNoFaces = errors.New("this case has no face to search with yet: add a photo that shows the child, or choose the child's face in one")
	// ErrPoorFace means that the chosen face cannot be searched with.
	ErrPoorFace = errors.New("this face is too poor to search with")
)

// Probe is something to search with: an enrolled face, all faces of a case, or the faces of a photo that is not kept.
type Probe struct {
	ID      string
	Owner   string // who may continue it
	Expires time.Time
	// Analysis is what was found in the photo; nil for an enrolled face.
	Analysis *engine.Analysis
	// Case is the case an enrolled face belongs to, which is left out of its own candidates.
	Case    registry.CaseID
	Gallery registry.Gallery // of Case
	Whole   bool             // all photos of Case search

	made     *generation // whose templates these are
	subjects []*subject  // one per face of the photo, nil for one too poor to search with; or what is enrolled
}

// Only returns the face to search with where there is no choice: the single face of the photo or what is enrolled.
func (p *Probe) Only() (int, bool) { return 0, len(p.subjects) == 1 }

type probes = lru.Cache[string, *Probe]

func newProbes() (*probes, error) { return lru.New[string, *Probe](probesKept) }

// ProbePhoto finds the faces of a photo to search with. The photo itself is not kept.
func (f *Finder) ProbePhoto(ctx context.Context, owner string, body io.Reader) (*Probe, error) {
	up, err := f.Registry.NewScratch(ctx)
	if err != nil {
		return nil, err
	}
	defer up.Close()
	if err := receive(ctx, up, body); err != nil {
		return nil, err
	}
	g := f.use()
	defer g.release()
	a, err := g.eyes.receive(ctx, false, received(up), nil)
	if err != nil {
		return nil, err
	}
	p := &Probe{made: g, Analysis: a, subjects: make([]*subject, len(a.Faces))}
	taken := registry.DayOf(a.TakenAt)
	for i, face := range a.Faces {
		a.Faces[i].Embeddings = nil // only templates are needed from here on
		if !face.Quality.Searchable {
			continue
		}
		template, _, err := g.template(face)
		if err != nil {
			return nil, err
		}
		if template == nil {
			continue
		}
		looks := g.metric.LooksLike(float64(face.Age.Years), float64(face.Age.SD))
		p.subjects[i] = g.newSubject(
			[]reference{{taken: taken, age: looks, quality: float64(face.Quality.Overall), vector: template}},
			match.Record{Sights: []match.Sight{{Taken: span(taken, taken), Looks: looks}}})
	}
	return f.keep(owner, p), nil
}

// ProbeFace searches with an enrolled face.
func (f *Finder) ProbeFace(ctx context.Context, owner string, id registry.FaceID) (*Probe, error) {
	photo, err := f.Registry.PhotoOf(ctx, id)
	if err != nil {
		return nil, err
	}
	face, _ := photo.Face(id) // PhotoOf found the photo by it
	if !face.Searchable {
		return nil, ErrPoorFace
	}
	g := f.now()
	t, caseID, err := f.Registry.FaceTemplate(ctx, id, g.templates)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, ErrNotYet
	}
	if err != nil {
		return nil, err
	}
	c, err := f.Registry.Case(ctx, caseID)
	if err != nil {
		return nil, err
	}
	e := g.newEnrolled(c, []registry.Reference{{
		Face: id, Photo: photo.ID, Template: t, Taken: photo.Taken, TakenBy: photo.TakenBy,
		AgeYears: face.AgeYears, AgeSD: face.AgeSD, Quality: face.Quality,
	}})
	return f.keep(owner, &Probe{made: g, Case: c.ID, Gallery: c.Gallery, subjects: []*subject{&e.subject}}), nil
}

// ProbeCase searches with all photos of a case at once.
func (f *Finder) ProbeCase(ctx context.Context, owner string, id registry.CaseID) (*Probe, error) {
	c, err := f.Registry.Case(ctx, id)
	if err != nil {
		return nil, err
	}
	g := f.now()
	refs, err := f.Registry.References(ctx, id, g.templates)
	if err != nil {
		return nil, err
	}
	e := g.newEnrolled(c, f.undamaged(g, refs))
	if e.evidence == nil {
		return nil, ErrNoFaces
	}
	return f.keep(owner, &Probe{made: g, Case: c.ID, Gallery: c.Gallery, Whole: true, subjects: []*subject{&e.subject}}), nil
}

// Probe finds a search under way.
func (f *Finder) Probe(owner, id string) (*Probe, error) {
	p, ok := f.probes.Get(id)
	if !ok || p.Owner != owner || p.made != f.now() || time.Now().After(p.Expires) {
		return nil, ErrNoProbe
	}
	return p, nil
}

func (f *Finder) keep(owner string, p *Probe) *Probe {
	p.ID = "s_" + strings.ToLower(rand.Text())
	p.Owner = owner
	p.Expires = time.Now().Add(probeLife)
	f.probes.Add(p.ID, p)
	return p
}

func (p *Probe) subject(face int) (*subject, error) {
	if face < 0 || face >= len(p.subjects) {
		return nil, fmt.Errorf("face %d of %d: %w", face, len(p.subjects), ErrNoFace)
	}
	if p.subjects[face] == nil {
		return nil, ErrPoorFace
	}
	return p.subjects[face], nil
}

// Searches is the gallery that the probe searches where the query does not say.
func (p *Probe) Searches(asked registry.Gallery) registry.Gallery {
	switch {
	case asked != "":
		return asked
	case p.Gallery != "":
		return p.Gallery.Other()
	}
	return registry.Missing
}

// Searchable says whether the face is good enough to search with.
func (p *Probe) Searchable(face int) bool {
	_, err := p.subject(face)
	return err == nil
}

// forgetProbes drops searches that are over.
func (f *Finder) forgetProbes() {
	for _, id := range f.probes.Keys() { // oldest use first, but any may be over
		if p, ok := f.probes.Peek(id); ok && time.Now().After(p.Expires) {
			f.probes.Remove(id)
		}
	}
}
