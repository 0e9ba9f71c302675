package match

import (
	"errors"
	"fmt"
	"math"
)

// ErrNoTemplate means that no recogniser said anything usable about a face.
var ErrNoTemplate = errors.New("no recogniser could work on this face")

// Recogniser is one block of a fused vector.
type Recogniser struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"` // of the recogniser's card: embeddings of two fingerprints are never compared
	Dim         int    `json:"dim"`         // length of its embedding
	// Centre is the mean of its raw embeddings over many people; none where training has centred them.
	Centre Vector `json:"centre,omitempty"`
}

// fusion puts the embeddings of its recognisers, in their order, one behind the other.
type fusion []Recogniser

func (f fusion) dim() (n int) {
	for _, r := range f {
		n += r.Dim
	}
	return n
}

// fuse fuses a face's raw embeddings, keyed by their recogniser's fingerprint. Each block is at length 1/√n, which makes
// the inner product of two fused vectors the mean of the recognisers' cosines. A missing or unusable embedding (not
// finite, all zeros) leaves its block zero: it says nothing either way. When none is left the error is ErrNoTemplate.
func (f fusion) fuse(embeddings map[string][]float32) ([]float32, error) {
	out := make([]float32, f.dim())
	var at, used int
	for _, r := range f {
		block := out[at : at+r.Dim]
		at += r.Dim
		e := embeddings[r.Fingerprint]
		if e == nil {
			continue
		}
		if len(e) != r.Dim {
			return nil, fmt.Errorf("embedding of recogniser %s has %d numbers, expected %d", r.Name, len(e), r.Dim)
		}
		copy(block, e)
		for j, c := range r.Centre {
			block[j] -= c
		}
		if scaleTo(block, 1/math.Sqrt(float64(len(f)))) {
			used++
		} else {
			clear(block)
		}
	}
	if used == 0 {
		return nil, ErrNoTemplate
	}
	return out, nil
}

// leastCentred is how large the mean embedding may be, as a share of the embeddings' usual length, before a recogniser
// counts as off centre. The mean of m unrelated unit vectors has length about 1/√m; a recogniser trained with an angular
// loss stays below .3 over a thousand people, dlib's is near .9.
const leastCentred = 0.5

// fitCentre fits the mean of a recogniser's raw embeddings over people: each person counts once, however many photos
// there are of them. It returns nil for a recogniser whose embeddings need no centre.
func fitCentre(bySubject [][][]float32, dim int) Vector {
	mean := make([]float64, dim)
	var length, people float64
	for _, photos := range bySubject {
		if len(photos) > 0 {
			people++
		}
		for _, e := range photos {
			var sq float64
			for i, x := range e {
				mean[i] += float64(x) / float64(len(photos))
				sq += float64(x) * float64(x)
			}
			length += math.Sqrt(sq) / float64(len(photos))
		}
	}
	var sq float64
	for _, x := range mean {
		sq += x * x
	}
	if people == 0 || math.Sqrt(sq) < leastCentred*length {
		return nil
	}
	centre := make(Vector, dim)
	for i, x := range mean {
		centre[i] = float32(x / people)
	}
	return centre
}
