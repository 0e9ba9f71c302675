package engine

import (
	"fmt"
	"image"
	"math"
	"path/filepath"
	"time"

	face "github.com/Kagami/go-face"

	"homeward/internal/blas"
	"homeward/models"
)

const (
	// dlib is shown a square of dlibSide pixels, dlibTimes as wide as the face's box: enough for its own detector,
	// which finds faces from 80 pixels, to find the face once more. dlibQuality keeps the JPEG that go-face asks for
	// from changing the face.
	dlibSide    = 300
	dlibTimes   = 2
	dlibQuality = 95
	// dlibReach is how far, in shares of the square's side, what dlib finds may lie from the middle to be this face,
	// and dlibLeast and dlibMost how wide it may be: the box fills half of the square.
	dlibReach = 0.2
	dlibLeast = 0.2
	dlibMost  = 0.9
)

// dlibRecogniser is dlib's own recogniser, through go-face, which finds the face and its landmarks again in its own way.
// Not for concurrent use: each worker has one.
type dlibRecogniser struct{ rec *face.Recognizer }

func openDlib(cat *models.Catalogue, card models.Card) (*dlibRecogniser, error) {
	blas.OneThread()
	dir := filepath.Dir(cat.Path(card.Files[0]))
	rec, err := face.NewRecognizer(dir)
	if err != nil {
		return nil, fmt.Errorf("loading model %s from %s: %w; run scripts/setup", card.Name, dir, err)
	}
	return &dlibRecogniser{rec}, nil
}

func (r *dlibRecogniser) close() error {
	r.rec.Close()
	return nil
}

func (r *dlibRecogniser) embed(v *view, timing *Timing) ([]float32, error) {
	crop := warp(v.im, uprightCrop(v.box, v.landmarks, dlibSide, dlibTimes), dlibSide, dlibSide)
	jpeg, err := encode(crop, dlibQuality)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	defer func() { timing.Dlib += time.Since(start) }()
	// The histogram detector first; the network, which takes many times as long, only where that finds nothing.
	for _, recognize := range []func([]byte) ([]face.Face, error){r.rec.Recognize, r.rec.RecognizeCNN} {
		faces, err := recognize(jpeg)
		if err != nil {
			return nil, fmt.Errorf("running dlib: %w", err)
		}
		if i := central(faces); i >= 0 {
			return usable(faces[i].Descriptor[:]), nil
		}
	}
	return nil, nil
}

// central is the index of the face in the middle of the square, or −1.
func central(faces []face.Face) int {
	best, nearest := -1, dlibReach*dlibSide
	for i, f := range faces {
		width := float64(f.Rectangle.Dx()) / dlibSide
		middle := f.Rectangle.Min.Add(f.Rectangle.Max).Sub(image.Pt(dlibSide, dlibSide))
		if off := math.Hypot(float64(middle.X), float64(middle.Y)) / 2; off < nearest && width > dlibLeast && width < dlibMost {
			best, nearest = i, off
		}
	}
	return best
}
