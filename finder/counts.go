package finder

import "sync/atomic"

// counts is what has happened since the process began.
type counts struct {
	analysed, failed atomic.Int64
}

// Counts is what has happened since the process began.
type Counts struct {
	Analysed int64 // photos whose faces were found and stored
	Failed   int64 // analyses that failed; after registry.MaxTries the photo is set aside
	Crashed  int64 // processes that ended over a photo, under the model set in use
}

// Counts says what has happened since the process began.
func (f *Finder) Counts() Counts {
	e := f.now().eyes
	return Counts{
		Analysed: f.counts.analysed.Load(), Failed: f.counts.failed.Load(),
		Crashed: f.pictures.crashed.Load() + e.people.crashed.Load() + e.bulk.crashed.Load(),
	}
}

// Size is how much can be found now: cases with at least one reference, references, and whether words can be searched. It asks the
// indexes alone.
func (f *Finder) Size() (cases, references int, words bool) {
	cases, references = f.now().faces.Size()
	return cases, references, f.wordsLoaded.Load()
}
