package registry

import (
	"testing"
)

func TestStats(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	empty, err := r.Stats(t.Context())
	if err != nil || empty.Faces != 0 || !empty.OldestQueued.IsZero() || empty.Free == 0 || empty.Database == 0 {
		t.Errorf("%+v, %v", empty, err)
	}
	a, b := newCase(t, r, Missing), newCase(t, r, Found)
	same := randomPhoto(1, 700)
	p := mustAdd(t, r, a.ID, same)
	save(t, r, p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1)}})
	save(t, r, mustAdd(t, r, b.ID, same).ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1), face(500, 2)}})
	save(t, r, mustAdd(t, r, b.ID, randomPhoto(2, 100)).ID, "set", NewAnalysis{})
	waiting := mustAdd(t, r, b.ID, randomPhoto(3, 100))
	broken := mustAdd(t, r, b.ID, randomPhoto(4, 100))
	if err := r.FailAnalysis(t.Context(), broken.ID, "set", "no", true); err != nil {
		t.Fatal(err)
	}
	s, err := r.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string]struct{ got, want int64 }{
		"missing": {s.Cases["missing.open"], 1}, "found": {s.Cases["found.open"], 1},
		"analysed": {s.Photos["analysed"], 3}, "queued": {s.Queued, 1}, "set aside": {s.Photos["set_aside"], 1},
		"bytes": {s.PhotoBytes, 2*700 + 300}, "faces": {s.Faces, 3}, "undecided": {s.Undecided, 1}, "faceless": {s.Faceless, 1},
		"duplicates": {s.Duplicates, 2}, "templates": {s.Templates["set"], 3}, "due": {s.Due, 2},
	} {
		if x.got != x.want {
			t.Errorf("%s: %d, want %d", what, x.got, x.want)
		}
	}
	if !s.OldestQueued.Equal(waiting.AddedAt) {
		t.Error(s.OldestQueued, waiting.AddedAt)
	}
}

// BenchmarkStats counts what a registry of 100,000 cases holds.
func BenchmarkStats(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	fill(b, r, 100_000, 129)
	b.ResetTimer()
	for b.Loop() {
		if _, err := r.Stats(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
