package index

/*
#cgo CFLAGS: -O3
#cgo noescape hw_scan
#cgo nocallback hw_scan
#include "scan.h"
*/
import "C"

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Exact is an Index in memory that answers as if it had compared the query with every reference in full.
//
// It scans 8-bit codes of all references with an upper bound on each one's score (quantise.go), and where the bound
// reaches the worst score among the best cases so far it compares the whole case in full. That loses nothing: the worst
// score among the best so far only rises, and a reference that is passed over scores no more than its bound, which was
// below it. A case that could be in the answer therefore has its best reference compared; equal scores are decided by
// case id because a bound that merely equals the threshold counts as reaching it.
//
// A search takes no lock. It reads a snapshot: blocks of rows, how many rows, and an epoch. A writer adds rows behind
// those of every snapshot and marks the entry they replace as gone since the next epoch before that epoch's snapshot is
// published, so that a search sees a case as it was before or after, never in between. Rows of entries that are gone
// are dropped, by copying the codes of the others, when they outnumber half of the others.
//
// A search runs on one core. Its time is that of reading the codes from memory, and searches at once share the cores.
type Exact struct {
	dim, stride int
	portable    bool // scan with the plain C kernel

	snapshot atomic.Pointer[snapshot]

	mu      sync.RWMutex // held to change anything, and to look a case up
	entries map[string]*entry
	live    int // rows of entries
}

type snapshot struct {
	blocks []*block
	rows   int // in all blocks; all but the last are full
	epoch  uint64
}

// blockRows is how many rows are allocated at once, and scanRows how many are scanned between two looks at the
// threshold: it starts out low, and all of the first rows are compared in full.
const (
	blockRows = 1024
	scanRows  = 256
)

// block holds the codes of up to blockRows references; entries hold the references themselves.
type block struct {
	codes  []int8
	rows   []row
	owners []*entry
}

// entry is a case as one Replace made it. Only gone ever changes.
type entry struct {
	caseID  string
	facts   Facts
	faces   []string
	vectors []float32     // of the faces, one behind the other
	gone    atomic.Uint64 // the epoch since which it no longer holds; 0 while it does
}

// NewExact returns an empty index for templates of dim numbers, of any length (norm) but zero.
func NewExact(dim int) *Exact {
	x := &Exact{dim: dim, stride: stride(dim), entries: make(map[string]*entry)}
	x.snapshot.Store(&snapshot{})
	return x
}

// Replace implements Index.
func (x *Exact) Replace(ctx context.Context, caseID string, facts Facts, refs []Reference) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := &entry{caseID: caseID, facts: facts}
	if len(refs) > 0 {
		e.faces = make([]string, len(refs))
		e.vectors = make([]float32, 0, len(refs)*x.dim)
	}
	rows, codes := make([]row, len(refs)), make([]int8, len(refs)*x.stride)
	for i, r := range refs {
		if err := x.check(r.Vector); err != nil {
			return fmt.Errorf("index case %s: face %s: %w", caseID, r.Face, err)
		}
		e.faces[i] = r.Face
		e.vectors = append(e.vectors, r.Vector...)
		rows[i] = quantise(r.Vector, codes[i*x.stride:(i+1)*x.stride])
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	next := x.forget(caseID)
	if len(refs) > 0 {
		for i := range rows {
			x.add(&next, e, rows[i], codes[i*x.stride:(i+1)*x.stride])
		}
		x.entries[caseID] = e
		x.live += len(rows)
	}
	x.publish(next)
	return nil
}

// Remove implements Index.
func (x *Exact) Remove(ctx context.Context, caseID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.publish(x.forget(caseID))
	return nil
}

// check refuses a vector that cannot be scored.
func (x *Exact) check(v []float32) error {
	if len(v) != x.dim {
		return fmt.Errorf("%w: %d instead of %d", ErrDimension, len(v), x.dim)
	}
	zero := true
	for _, n := range v {
		if n-n != 0 { // infinite or not a number
			return ErrTemplate
		}
		zero = zero && n == 0
	}
	if zero {
		return ErrTemplate
	}
	return nil
}

// forget begins the next snapshot, without the case.
func (x *Exact) forget(caseID string) snapshot {
	next := *x.snapshot.Load()
	next.epoch++
	if e := x.entries[caseID]; e != nil {
		e.gone.Store(next.epoch)
		delete(x.entries, caseID)
		x.live -= len(e.faces)
	}
	return next
}

// add puts a row behind all others, where no published snapshot looks.
func (x *Exact) add(s *snapshot, e *entry, r row, codes []int8) {
	at := s.rows % blockRows
	if at == 0 {
		s.blocks = append(s.blocks, &block{
			codes:  make([]int8, blockRows*x.stride),
			rows:   make([]row, blockRows),
			owners: make([]*entry, blockRows),
		})
	}
	b := s.blocks[len(s.blocks)-1]
	copy(b.codes[at*x.stride:], codes)
	b.rows[at], b.owners[at] = r, e
	s.rows++
}

// publish shows a snapshot to searches, without the rows that are gone if there are many.
func (x *Exact) publish(next snapshot) {
	if gone := next.rows - x.live; gone > x.live/2+blockRows {
		kept := snapshot{epoch: next.epoch}
		for n := range next.rows {
			b, at := next.blocks[n/blockRows], n%blockRows
			if e := b.owners[at]; e.gone.Load() == 0 {
				x.add(&kept, e, b.rows[at], b.codes[at*x.stride:(at+1)*x.stride])
			}
		}
		next = kept
	}
	x.snapshot.Store(&next)
}

// Size implements Index.
func (x *Exact) Size() (cases, references int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.entries), x.live
}

// Close frees the index's memory. What it holds afterwards is what an empty index holds.
func (x *Exact) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.entries)
	x.live = 0
	x.snapshot.Store(&snapshot{})
	return nil
}

// Search implements Index.
func (x *Exact) Search(ctx context.Context, q Query) ([]Hit, error) {
	s, err := x.newSearch(q)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s.best.ranked(), nil
}

// search is one search under way.
type search struct {
	x        *Exact
	probe    probe
	filter   Filter
	after    *Hit
	best     ranking
	seen     map[*entry]struct{} // cases with several faces that were compared
	compared int                 // references compared in full
}

func (x *Exact) newSearch(q Query) (*search, error) {
	if err := x.check(q.Vector); err != nil {
		return nil, fmt.Errorf("search: query: %w", err)
	}
	if q.Limit < 1 {
		return nil, fmt.Errorf("search: limit %d is below 1", q.Limit)
	}
	if q.After != nil && q.After.Score != q.After.Score {
		return nil, errors.New("search: continue after a score that is not a number")
	}
	return &search{
		x: x, probe: newProbe(q.Vector), filter: q.Filter, after: q.After,
		best: ranking{limit: q.Limit}, seen: make(map[*entry]struct{}),
	}, nil
}

// scanWorth is how many rows are scanned in the time it takes to look up one case and compare it.
const scanWorth = 16

func (s *search) run(ctx context.Context) error {
	if among := s.filter.Among; among != nil {
		if some, ok := s.x.lookUp(among); ok {
			return s.compareAll(ctx, some)
		}
	}
	return s.scan(ctx, s.x.snapshot.Load())
}

// lookUp returns the entries of the cases, or not ok when there are so many that a scan is quicker.
func (x *Exact) lookUp(cases map[string]struct{}) (some []*entry, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(cases)*scanWorth > x.live {
		return nil, false
	}
	for id := range cases {
		if e := x.entries[id]; e != nil {
			some = append(some, e)
		}
	}
	return some, true
}

func (s *search) compareAll(ctx context.Context, some []*entry) error {
	for i, e := range some {
		if i%scanRows == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		s.compare(e)
	}
	return nil
}

func (s *search) scan(ctx context.Context, snap *snapshot) error {
	out := make([]uint32, scanRows)
	for from := 0; from < snap.rows; from += scanRows {
		if from%blockRows == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b, at := snap.blocks[from/blockRows], from%blockRows
		n := min(scanRows, snap.rows-from)
		for _, i := range out[:s.reaching(b, at, n, out)] {
			if e := b.owners[at+int(i)]; e.in(snap.epoch) {
				s.compare(e)
			}
		}
	}
	return nil
}

// reaching writes to out which of the n rows of b from at could be among the best, and returns how many.
func (s *search) reaching(b *block, at, n int, out []uint32) int {
	var portable C.int
	if s.x.portable {
		portable = 1
	}
	return int(C.hw_scan(
		(*C.int8_t)(unsafe.Pointer(&b.codes[at*s.x.stride])), (*C.hw_row)(unsafe.Pointer(&b.rows[at])),
		C.size_t(n), C.size_t(s.x.stride),
		(*C.int16_t)(unsafe.Pointer(&s.probe.codes[0])), (*C.float)(unsafe.Pointer(&s.probe.vector[0])),
		C.double(s.probe.scale), C.double(s.probe.slack), C.double(s.probe.norm), leastFloat,
		C.double(s.best.threshold()), portable, (*C.uint32_t)(unsafe.Pointer(&out[0]))))
}

// in says whether the entry holds at an epoch; its rows are known to be there.
func (e *entry) in(epoch uint64) bool {
	gone := e.gone.Load()
	return gone == 0 || gone > epoch
}

// compare scores every face of a case, once, and ranks the case by its best.
func (s *search) compare(e *entry) {
	if len(e.faces) > 1 {
		if _, done := s.seen[e]; done {
			return
		}
		s.seen[e] = struct{}{}
	}
	if !s.filter.passes(e.caseID, &e.facts) {
		return
	}
	s.compared += len(e.faces)
	hit := Hit{Case: e.caseID, Score: float32(math.Inf(-1))}
	for i, face := range e.faces {
		sc := score(s.probe.vector, e.vectors[i*s.x.dim:(i+1)*s.x.dim])
		if sc > hit.Score || sc == hit.Score && face < hit.Face {
			hit.Face, hit.Score = face, sc
		}
	}
	if s.after == nil || compareHits(*s.after, hit) < 0 {
		s.best.add(hit)
	}
}

// compareHits orders by score, highest first, then by case.
func compareHits(a, b Hit) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Case, b.Case))
}

// ranking keeps the best hits; each case is added once.
type ranking struct {
	limit int
	hits  []Hit // a heap with the worst on top once there are limit
}

// threshold is the least score that could enter the ranking. Where scores saturate a bound may lie below its score.
func (r *ranking) threshold() float64 {
	if len(r.hits) < r.limit || r.hits[0].Score == -math.MaxFloat32 {
		return math.Inf(-1)
	}
	return float64(r.hits[0].Score)
}

func (r *ranking) add(h Hit) {
	if len(r.hits) < r.limit {
		r.hits = append(r.hits, h)
		if len(r.hits) == r.limit {
			for i := len(r.hits)/2 - 1; i >= 0; i-- {
				r.sink(i)
			}
		}
		return
	}
	if compareHits(h, r.hits[0]) < 0 {
		r.hits[0] = h
		r.sink(0)
	}
}

func (r *ranking) sink(i int) {
	for {
		worst := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(r.hits) && compareHits(r.hits[c], r.hits[worst]) > 0 {
				worst = c
			}
		}
		if worst == i {
			return
		}
		r.hits[i], r.hits[worst] = r.hits[worst], r.hits[i]
		i = worst
	}
}

func (r *ranking) ranked() []Hit {
	slices.SortFunc(r.hits, compareHits)
	return r.hits
}
