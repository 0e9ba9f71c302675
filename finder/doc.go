// Package finder is where the parts meet: a photo comes in, candidates come out.
//
// It owns the order in which things happen and nothing else. The registry holds the truth, the engine sees, the metric
// fuses, the index ranks. The path of a photo is
//
//	AddPhoto   → decode, store, analyse   (intake.go, analyse.go)
//	follow     → registry changes reach the indexes   (follow.go)
//	Probe      → a face to search with, enrolled or from a photo that is not kept   (probe.go)
//	Candidates → the other gallery's cases, ranked   (candidates.go)
//	Standing   → what changed is compared with the whole other gallery, and becomes leads   (standing.go)
package finder
