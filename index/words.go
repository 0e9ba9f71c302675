package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/index/scorch"
	blevesearch "github.com/blevesearch/bleve/v2/search"
)

// Text is what a case can be found by in words, in any script.
type Text struct {
	Names []string // every name the child is known by
	Place string
	Marks string
	Notes string
	Ref   string // the caller's own reference
}

// WordHit is a case that holds the words of a query. Scores compare only within one answer.
type WordHit struct {
	Case  string
	Score float64
}

// Words finds cases by words. It lives in memory, and is safe for concurrent use. A change is seen by every search that
// begins after it returned.
//
// A case matches when it holds every word of the query, each in whatever field; wordquery.go says what counts as
// holding a word. A query without a single word narrows nothing: it matches every case.
//
// Bleve keeps each write as a segment of its own, and in memory it never merges them: every further write and search
// would take longer. Words does so instead, by writing the cases of several small segments once more in one batch;
// Bleve drops a segment when none of its cases is left. It keeps the cases' text for that.
type Words struct {
	mapping *wordMapping
	bleve   bleve.Index

	writing  sync.Mutex // held through a write, which takes long when segments are merged
	segments map[*segment]struct{}

	mu    sync.RWMutex // held for a moment: searches look into cases
	cases map[string]*wordCase
}

type wordCase struct {
	facts Facts
	text  Text
	in    *segment // changes when segments are merged
}

// segment is what is left of one batch.
type segment struct {
	written int // cases in the batch
	cases   map[string]struct{}
}

// Segments of between tierCases^n and tierCases^(n+1) cases are merged when there are tierSegments of them, up to
// segmentCases, so that n cases are in no more than about n/(segmentCases/2) + 3·tierSegments segments, a case is
// written about three times more than once, and no write waits longer than it takes to write segmentCases.
const (
	tierSegments = 16
	segmentCases = 4096
)

// NewWords returns an empty index of words.
func NewWords() (*Words, error) {
	m, err := newWordMapping()
	if err != nil {
		return nil, fmt.Errorf("words: %w", err)
	}
	b, err := bleve.NewUsing("", m.bleve, scorch.Name, scorch.Name, nil)
	if err != nil {
		return nil, fmt.Errorf("words: %w", err)
	}
	return &Words{mapping: m, bleve: b, cases: make(map[string]*wordCase), segments: make(map[*segment]struct{})}, nil
}

// Replace makes facts and text all that is known about the case, in one step.
func (w *Words) Replace(ctx context.Context, caseID string, facts Facts, text Text) error {
	b := w.NewBatch()
	if err := b.Replace(ctx, caseID, facts, text); err != nil {
		return err
	}
	return b.Flush()
}

// Remove forgets the case; a case that is not there is not an error.
func (w *Words) Remove(ctx context.Context, caseID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.cases[caseID] == nil {
		return nil
	}
	if err := w.bleve.Delete(caseID); err != nil {
		return fmt.Errorf("words: remove case %s: %w", caseID, err)
	}
	w.leave(caseID)
	w.mu.Lock()
	delete(w.cases, caseID)
	w.mu.Unlock()
	return w.merge()
}

// WordBatch gathers many cases to load them at once, such as at start. It is not safe for concurrent use.
type WordBatch struct {
	w     *Words
	cases map[string]*wordCase
}

// NewBatch returns an empty batch.
func (w *Words) NewBatch() *WordBatch {
	return &WordBatch{w: w, cases: make(map[string]*wordCase)}
}

// Replace is Words.Replace, seen by searches no later than after Flush.
func (b *WordBatch) Replace(ctx context.Context, caseID string, facts Facts, text Text) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	text.Names = slices.Clone(text.Names)
	b.cases[caseID] = &wordCase{facts: facts, text: text}
	if len(b.cases) < segmentCases {
		return nil
	}
	return b.Flush()
}

// Flush writes what was gathered.
func (b *WordBatch) Flush() error {
	if len(b.cases) == 0 {
		return nil
	}
	b.w.writing.Lock()
	defer b.w.writing.Unlock()
	if err := b.w.write(b.cases); err != nil {
		return err
	}
	b.cases = make(map[string]*wordCase)
	return b.w.merge()
}

// write puts the cases into a segment of their own.
func (w *Words) write(cases map[string]*wordCase) error {
	batch := w.bleve.NewBatch()
	for id, c := range cases {
		if err := batch.Index(id, c.text.fields()); err != nil {
			return fmt.Errorf("words: case %s: %w", id, err)
		}
	}
	if err := w.bleve.Batch(batch); err != nil {
		return fmt.Errorf("words: write %d cases: %w", len(cases), err)
	}
	s := &segment{written: len(cases), cases: make(map[string]struct{}, len(cases))}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, c := range cases {
		w.leave(id)
		c.in = s
		w.cases[id] = c
		s.cases[id] = struct{}{}
	}
	w.segments[s] = struct{}{}
	return nil
}

// leave takes the case out of the segment it is in.
func (w *Words) leave(caseID string) {
	c := w.cases[caseID]
	if c == nil {
		return
	}
	delete(c.in.cases, caseID)
	if len(c.in.cases) == 0 {
		delete(w.segments, c.in)
	}
}

// merge rewrites segments while there are too many of a size, or one of which less than half is left.
func (w *Words) merge() error {
	for {
		some := w.mergeable()
		if some == nil {
			return nil
		}
		cases := make(map[string]*wordCase)
		for _, s := range some {
			for id := range s.cases {
				cases[id] = w.cases[id]
			}
		}
		if err := w.write(cases); err != nil {
			return err
		}
	}
}

func (w *Words) mergeable() []*segment {
	tiers := make(map[int][]*segment)
	for s := range w.segments {
		n := len(s.cases)
		if n < s.written/2 {
			return []*segment{s}
		}
		if n >= segmentCases/2 {
			continue
		}
		tier := 0
		for ; n >= tierSegments; n /= tierSegments {
			tier++
		}
		tiers[tier] = append(tiers[tier], s)
	}
	for _, some := range tiers {
		if len(some) < tierSegments {
			continue
		}
		slices.SortFunc(some, func(a, b *segment) int { return cmp.Compare(len(a.cases), len(b.cases)) })
		n, sum := 0, 0
		for n < len(some) && sum+len(some[n].cases) <= segmentCases {
			sum += len(some[n].cases)
			n++
		}
		return some[:n] // at least two: each is below half of segmentCases
	}
	return nil
}

// Matching returns every case that passes the filter and holds the words of the text.
func (w *Words) Matching(ctx context.Context, text string, filter Filter) (map[string]struct{}, error) {
	matching := make(map[string]struct{})
	err := w.each(ctx, text, filter, blevesearch.SearcherOptions{Score: "none"}, func(h WordHit) { matching[h.Case] = struct{}{} })
	return matching, err
}

// Search returns the cases that pass the filter and hold the words of the text, best first and equal ones by case id:
// at most limit of them, after leaving out the first offset.
func (w *Words) Search(ctx context.Context, text string, filter Filter, limit, offset int) ([]WordHit, error) {
	var hits []WordHit
	if err := w.each(ctx, text, filter, blevesearch.SearcherOptions{}, func(h WordHit) { hits = append(hits, h) }); err != nil {
		return nil, err
	}
	slices.SortFunc(hits, func(a, b WordHit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Case, b.Case))
	})
	offset = min(max(offset, 0), len(hits))
	return hits[offset:min(offset+max(limit, 0), len(hits))], nil
}

// each calls do for every case that passes the filter and holds the words of the text.
func (w *Words) each(ctx context.Context, text string, filter Filter, options blevesearch.SearcherOptions, do func(WordHit)) (err error) {
	inner, err := w.bleve.Advanced()
	if err != nil {
		return fmt.Errorf("words: %w", err)
	}
	reader, err := inner.Reader()
	if err != nil {
		return fmt.Errorf("words: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	searcher, err := w.mapping.query(text).Searcher(ctx, reader, w.mapping.bleve, options)
	if err != nil {
		return fmt.Errorf("words: search: %w", err)
	}
	defer func() { err = errors.Join(err, searcher.Close()) }()
	matches := &blevesearch.SearchContext{
		DocumentMatchPool: blevesearch.NewDocumentMatchPool(searcher.DocumentMatchPoolSize()+1, 0),
		IndexReader:       reader,
	}
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		match, err := searcher.Next(matches)
		if err != nil {
			return fmt.Errorf("words: search: %w", err)
		}
		if match == nil {
			return nil
		}
		id, err := reader.ExternalID(match.IndexInternalID)
		if err != nil {
			return fmt.Errorf("words: search: %w", err)
		}
		hit := WordHit{Case: id, Score: match.Score}
		matches.DocumentMatchPool.Put(match)
		w.mu.RLock()
		c := w.cases[id]
		w.mu.RUnlock()
		if c != nil && filter.passes(id, &c.facts) { // else removed since the search began
			do(hit)
		}
	}
}

// Close frees the index. It must not be used afterwards.
func (w *Words) Close() error {
	if err := w.bleve.Close(); err != nil {
		return fmt.Errorf("words: close: %w", err)
	}
	return nil
}
