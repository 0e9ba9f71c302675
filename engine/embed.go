package engine

import (
	"fmt"

	"homeward/models"
)

// recogniser makes numbers of a face.
type recogniser interface {
	// embed returns the recogniser's raw output for the face, or nil where it cannot work on this one. An error means
	// that the recogniser itself failed.
	embed(v *view, timing *Timing) ([]float32, error)
	close() error
}

// onnxRecogniser runs any recogniser that takes an aligned chip, as its card says. Safe for concurrent use.
type onnxRecogniser struct{ net *network }

func openRecogniser(cat *models.Catalogue, card models.Card) (*onnxRecogniser, error) {
	if len(card.Input.Shape) != 4 {
		return nil, fmt.Errorf("the card of recogniser %s does not give its input's four dimensions", card.Name)
	}
	net, err := openNetwork(cat, card)
	if err != nil {
		return nil, err
	}
	return &onnxRecogniser{net}, nil
}

func (r *onnxRecogniser) close() error { return r.net.close() }

func (r *onnxRecogniser) embed(v *view, timing *Timing) ([]float32, error) {
	in := r.net.card.Input
	chips := []*Image{v.chip(in, r.net.side())}
	if in.Mirror {
		chips = append(chips, mirror(chips[0]))
	}
	var vector []float32
	for len(chips) > 0 {
		n := len(chips)
		if b := r.net.batch(); b > 0 {
			n = min(n, b)
		}
		outputs, _, err := r.net.run(chips[:n], &timing.Embed)
		if err != nil {
			return nil, err
		}
		chips = chips[n:]
		dim := r.net.card.Output.Dim
		if len(outputs[0]) != n*dim {
			return nil, fmt.Errorf("recogniser %s answered with %d numbers for %d faces of %d, as its card has it",
				r.net.card.Name, len(outputs[0]), n, dim)
		}
		if vector == nil {
			vector = make([]float32, dim)
		}
		for i, x := range outputs[0] {
			vector[i%dim] += x
		}
	}
	return usable(vector), nil
}

// usable is nil for a vector that would poison everything it is compared with.
func usable(vector []float32) []float32 {
	var sum float32
	for _, x := range vector {
		sum += x * x
	}
	if sum == 0 || !finite(sum) {
		return nil
	}
	return vector
}

// mirror turns a picture left to right.
func mirror(im *Image) *Image {
	out := NewImage(im.Width, im.Height)
	for y := range im.Height {
		row := im.Pix[3*y*im.Width : 3*(y+1)*im.Width]
		to := out.Pix[3*y*im.Width : 3*(y+1)*im.Width]
		for a, b := 0, len(row)-3; b >= 0; a, b = a+3, b-3 {
			to[a], to[a+1], to[a+2] = row[b], row[b+1], row[b+2]
		}
	}
	return out
}
