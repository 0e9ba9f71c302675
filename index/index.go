// Package index answers two questions about references: which cases are nearest to a template (Index), and which cases
// hold these words (Words). It keeps nothing that cannot be rebuilt from the registry.
package index

import (
	"context"
	"errors"
)

// Errors a caller decides on.
var (
	ErrDimension = errors.New("template has the wrong number of dimensions for this index")
	ErrTemplate  = errors.New("template is not finite or is all zeros")
)

// Facts are what a case can be filtered by.
type Facts struct {
	Gallery string // "missing" or "found"
	Sex     string // "female", "male" or "" (unknown)
	Status  string
	Region  string // a code; empty where nobody has said
	// BornFrom and BornTo bound the year of birth; 0 is unknown.
	BornFrom, BornTo int
}

// Reference is an enrolled face: its id and its template.
type Reference struct {
	Face   string
	Vector []float32
}

// Filter narrows a search. Zero fields do not narrow. A case whose fact is unknown passes every filter on that fact: a
// record's silence must not hide a child.
type Filter struct {
	Gallery          string
	Sex              string
	Statuses         []string
	BornFrom, BornTo int
	// Regions keeps the cases of these regions. A code covers those that go on behind it with a hyphen: CN covers CN-51.
	Regions []string
	Among   map[string]struct{} // nil: any case; otherwise only these
	Except  string              // a case left out, such as the probe's own
}

// Query asks for the cases nearest to Vector by inner product.
type Query struct {
	Vector []float32
	Filter Filter
	Limit  int // at least 1
	// After continues a ranking behind a hit already seen; nil starts at the top.
	After *Hit
}

// Hit is a case, with the reference that scored best for it.
type Hit struct {
	Case  string
	Face  string
	Score float32 // inner product of query and reference, exact in float32
}

// Index finds the nearest cases. Implementations are safe for concurrent use, and return exactly what comparing with
// every reference would: highest score first, equal scores by case id.
type Index interface {
	// Replace makes refs and facts all that is known about the case, in one step: no search sees half of it.
	// It refuses the lot, changing nothing, when a template has the wrong dimension (ErrDimension) or is not finite or
	// is zero (ErrTemplate). A case with no references is kept out of the ranking but is not an error.
	Replace(ctx context.Context, caseID string, facts Facts, refs []Reference) error
	// Remove forgets the case; a case that is not there is not an error.
	Remove(ctx context.Context, caseID string) error
	// Search returns at most q.Limit cases.
	Search(ctx context.Context, q Query) ([]Hit, error)
	// Size counts cases with at least one reference, and references.
	Size() (cases, references int)
	Close() error
}
