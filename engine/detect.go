package engine

import (
	"context"
	"fmt"
	"math"
	"slices"

	"homeward/models"
)

const (
	// sure is the score from which a detection is a face; doubtful is the score from which it is one where the photo
	// shows nothing better, as in a faded print; hint is the score from which a closer look is worth its time.
	sure     = 0.5
	doubtful = 0.35
	hint     = 0.3

	// overlap is the intersection over union from which two boxes are one face (CenterFace's own 0.3), and inside the
	// share of the smaller box that may lie in the larger.
	overlap = 0.3
	inside  = 0.7

	// smallest is the size in pixels of the detector's input below which faces next to the one found may have been too
	// small to be seen at all.
	smallest = 32

	// clearly is the score from which a face on a turned photo counts, and turnedSide the last step at which one is
	// looked for: turned the right way portraits score 0.75 and more, turned the wrong way at larger steps up to 0.9.
	clearly    = 0.6
	turnedSide = 384

	stride = 4 // of the detector's outputs
)

// steps are the long sides, in pixels, of the pictures shown to the detector, until one is clear enough. The first finds
// the face of a portrait in the least time, the last those of a school class.
var steps = [...]int{192, 384, 768, 1280, 2048}

// detector finds faces with a CenterFace network (Xu et al. 2019): outputs heatmap, scale, offset and landmarks.
type detector struct{ net *network }

// detection is a face in pixels of the upright photo.
type detection struct {
	box       Box
	landmarks [5]Point
	score     float32
}

func openDetector(cat *models.Catalogue, card models.Card) (*detector, error) {
	if len(card.Output.Names) != 4 {
		return nil, fmt.Errorf("the card of detector %s names %d outputs, not heatmap, scale, offset and landmarks",
			card.Name, len(card.Output.Names))
	}
	net, err := openNetwork(cat, card)
	if err != nil {
		return nil, err
	}
	return &detector{net}, nil
}

// find looks for faces with growing effort: at each step while it sees none, or only small ones, or something small it is
// not sure of. Albums are often scanned sideways: where it sees none it also looks at the photo on its sides and its head.
func (d *detector) find(ctx context.Context, photo *source, timing *Timing) ([]detection, error) {
	var seen []detection
	turn := 0 // the quarter turn under which faces stand upright, as far as is known
	for i, side := range steps {
		if i > 0 && side/2 >= photo.longSide() {
			break // nothing new to see
		}
		found, err := d.look(ctx, photo, side, turn, timing)
		if err != nil {
			return nil, err
		}
		seen = distinct(append(seen, found...))
		if side <= turnedSide && !slices.ContainsFunc(seen, isSure) {
			if turn, found, err = d.turned(ctx, photo, side, timing); err != nil {
				return nil, err
			}
			if turn != 0 {
				// On a face that lies on its side the detector sees another one, upright and wrong: what was seen so far.
				seen = found
			}
		}
		if enough(seen, float32(photo.longSide())/float32(side), i == len(steps)-2) {
			break
		}
	}
	if turn != 0 {
		// The one face that made us turn the photo may be a mistake: do not lose those that stand upright beside it.
		found, err := d.look(ctx, photo, turnedSide, 0, timing)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !slices.ContainsFunc(seen, func(s detection) bool { return same(s.box, f.box) }) {
				seen = append(seen, f)
			}
		}
	}
	least := float32(doubtful)
	if slices.ContainsFunc(seen, isSure) {
		least = sure
	}
	return slices.DeleteFunc(seen, func(f detection) bool { return f.score < least }), nil
}

// turned looks at the photo on its sides and its head, and returns the quarter turn that shows the clearest face with
// what it shows, or 0.
func (d *detector) turned(ctx context.Context, photo *source, side int, timing *Timing) (int, []detection, error) {
	best, seen, score := 0, []detection(nil), float32(clearly)
	for turn := 1; turn < 4; turn++ {
		found, err := d.look(ctx, photo, side, turn, timing)
		if err != nil {
			return 0, nil, err
		}
		if len(found) > 0 && found[0].score > score {
			best, seen, score = turn, found, found[0].score
		}
	}
	return best, seen, nil
}

func isSure(d detection) bool { return d.score >= sure }

// enough says whether what was seen, at the given number of the photo's pixels to one of the input, needs no closer look.
// Before the last and dearest step small faces are enough, if all are sure.
func enough(seen []detection, scale float32, last bool) bool {
	for _, d := range seen {
		// What is large and still not sure will not become so by looking closer.
		if max(d.box.Width, d.box.Height) < smallest*scale && !(last && isSure(d)) {
			return false
		}
	}
	return slices.ContainsFunc(seen, isSure)
}

// look runs the detector once on the photo shrunk to the given long side and turned by quarter turns.
func (d *detector) look(ctx context.Context, photo *source, side, turn int, timing *Timing) ([]detection, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	im, err := photo.at(side)
	if err != nil {
		return nil, err
	}
	k := float64(max(im.Width, im.Height)) / float64(side)
	width, height := float64(im.Width)/k, float64(im.Height)/k
	if turn%2 == 1 {
		width, height = height, width
	}
	// From the input's pixels to the picture's, about the middles of both.
	cos, sin := [4]float64{1, 0, -1, 0}[turn]*k, [4]float64{0, 1, 0, -1}[turn]*k
	mx, my := (width-1)/2, (height-1)/2
	cx, cy := float64(im.Width-1)/2, float64(im.Height-1)/2
	m := affine{cos, -sin, cx - cos*mx + sin*my, sin, cos, cy - sin*mx - cos*my}
	return d.run(warp(im, m, roundUp(width), roundUp(height)), toPhoto(m, photo, im), timing)
}

// toPhoto turns a map from an input's pixels to those of a picture of the photo into one from coordinates of the input to
// coordinates of the upright photo.
func toPhoto(m affine, photo *source, im *Image) affine {
	k := 1 / float64(photo.shrunk(im))
	x, y := m.apply(-0.5, -0.5)
	return affine{m.a * k, m.b * k, (x + 0.5) * k, m.d * k, m.e * k, (y + 0.5) * k}
}

// run puts one input through the network and decodes what it says, best first; m takes its coordinates to the photo's.
func (d *detector) run(input *Image, m affine, timing *Timing) ([]detection, error) {
	outputs, shapes, err := d.net.run([]*Image{input}, &timing.Detect)
	if err != nil {
		return nil, err
	}
	heat, scale, offset, marks := outputs[0], outputs[1], outputs[2], outputs[3]
	last := shapes[0]
	rows, columns := int(last[len(last)-2]), int(last[len(last)-1])
	n := rows * columns
	if len(heat) != n || len(scale) != 2*n || len(offset) != 2*n || len(marks) != 10*n {
		return nil, fmt.Errorf("detector %s answered with outputs of unexpected shape", d.net.card.Name)
	}
	place := func(x, y float32) Point {
		px, py := m.apply(float64(x), float64(y))
		return Point{float32(px), float32(py)}
	}
	// A quarter turn swaps a box's sides.
	swapped := math.Abs(m.b) > math.Abs(m.a)
	var found []detection
	for i, score := range heat {
		if !(score >= hint) { // NaN too
			continue
		}
		row, column := float32(i/columns), float32(i%columns)
		h, w := exp(scale[i])*stride, exp(scale[n+i])*stride
		cx, cy := (column+offset[n+i]+0.5)*stride, (row+offset[i]+0.5)*stride
		face := detection{score: score}
		for j := range face.landmarks {
			face.landmarks[j] = place(cx-w/2+marks[(2*j+1)*n+i]*w, cy-h/2+marks[2*j*n+i]*h)
		}
		k := float32(m.scale())
		if swapped {
			w, h = h, w
		}
		middle := place(cx, cy)
		face.box = Box{middle.X - w*k/2, middle.Y - h*k/2, w * k, h * k}
		if face.plausible() {
			found = append(found, face)
		}
	}
	return distinct(found), nil
}

// plausible refuses what cannot be worked with: numbers that are none, and eyes in one place.
func (d detection) plausible() bool {
	for _, p := range d.landmarks {
		if !finite(p.X) || !finite(p.Y) {
			return false
		}
	}
	return finite(d.box.Width) && finite(d.box.Height) && d.box.Width >= 1 && d.box.Height >= 1 &&
		distance(d.landmarks[0], d.landmarks[1]) > d.box.Width/100
}

// distinct keeps the best of detections that are one face, best first (greedy non-maximum suppression).
func distinct(all []detection) []detection {
	slices.SortStableFunc(all, func(a, b detection) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	var kept []detection
next:
	for _, d := range all {
		for _, k := range kept {
			if same(d.box, k.box) {
				continue next
			}
		}
		kept = append(kept, d)
	}
	return kept
}

func same(a, b Box) bool {
	w := min(a.X+a.Width, b.X+b.Width) - max(a.X, b.X)
	h := min(a.Y+a.Height, b.Y+b.Height) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return false
	}
	both, areaA, areaB := w*h, a.Width*a.Height, b.Width*b.Height
	return both >= overlap*(areaA+areaB-both) || both >= inside*min(areaA, areaB)
}

// roundUp is the next side the detector takes, a multiple of 32; what is added stays black.
func roundUp(side float64) int { return (int(math.Ceil(side-1e-6)) + 31) / 32 * 32 }

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
func abs(x float32) float32 { return float32(math.Abs(float64(x))) }
func finite(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }

func distance(a, b Point) float32 {
	return float32(math.Hypot(float64(a.X-b.X), float64(a.Y-b.Y)))
}
