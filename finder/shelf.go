package finder

import (
	"sync"

	"homeward/match"
	"homeward/registry"
)

// shelf holds, beside the index, what comparing a case in full takes: all its faces with their ages, and what is written
// about it.
type shelf struct {
	mu    sync.RWMutex
	cases map[registry.CaseID]*enrolled
}

// enrolled is a case as it is compared. It does not change.
type enrolled struct {
	gallery registry.Gallery
	subject
}

// comparable says whether the case is there and has a face to compare.
func (e *enrolled) comparable() bool { return e != nil && e.evidence != nil }

// subject is a child as it is compared: the faces of a case, or one face of a photo that is not kept.
type subject struct {
	evidence *match.Evidence // nil where no face can be found
	refs     []reference     // in the order that the evidence was given them
	record   match.Record
}

// reference is one face of a subject.
type reference struct {
	face    registry.FaceID
	photo   registry.PhotoID
	taken   registry.Date
	age     match.Age
	dated   bool // age comes from dates, and not from looks
	quality float64
	vector  []float32
}

func newShelf() *shelf { return &shelf{cases: make(map[registry.CaseID]*enrolled)} }

func (s *shelf) put(id registry.CaseID, e *enrolled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cases[id] = e
}

func (s *shelf) remove(id registry.CaseID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cases, id)
}

func (s *shelf) get(id registry.CaseID) *enrolled {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cases[id]
}

func (g *generation) newEnrolled(c registry.Case, refs []registry.Reference) *enrolled {
	written := record(c)
	known := make([]reference, len(refs))
	for i, r := range refs {
		looks := g.metric.LooksLike(float64(r.AgeYears), float64(r.AgeSD))
		age, dated := ageAt(written.Born, span(r.Taken, r.Taken), looks)
		known[i] = reference{face: r.Face, photo: r.Photo, taken: r.Taken, age: age, dated: dated, quality: float64(r.Quality), vector: r.Template}
		written.Sights = append(written.Sights, match.Sight{Taken: span(r.Taken, r.Taken), Looks: looks})
	}
	return &enrolled{gallery: c.Gallery, subject: *g.newSubject(known, written)}
}

func (g *generation) newSubject(refs []reference, record match.Record) *subject {
	faces := make([]match.Face, len(refs))
	for i, r := range refs {
		faces[i] = match.Face{Template: r.vector, Age: r.age, Quality: r.quality}
	}
	return &subject{evidence: g.metric.Evidence(faces), refs: refs, record: record}
}
