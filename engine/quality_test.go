package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// template is a frontal face whose eyes are the given number of pixels apart.
func template(eyes float64) [5]Point {
	var l [5]Point
	k := eyes / (arcfaceTemplate[1][0] - arcfaceTemplate[0][0])
	for i, p := range arcfaceTemplate {
		l[i] = Point{float32(p[0] * k), float32(p[1] * k)}
	}
	return l
}

// texture is a chip with noise of the given strength.
func texture(strength float64) *Image {
	im := NewImage(arcfaceSide, arcfaceSide)
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(im.Pix); i += 3 {
		v := uint8(min(255, max(0, 128+random.NormFloat64()*strength)))
		im.Pix[i], im.Pix[i+1], im.Pix[i+2] = v, v, v
	}
	return im
}

func TestAssess(t *testing.T) {
	sharp, soft, smear := texture(6), texture(1), texture(0)
	turned := template(60)
	turned[2].X += 55 // the nose far over the right eye
	away := template(60)
	away[2].X += 200
	for _, test := range []struct {
		name       string
		chip       *Image
		landmarks  [5]Point
		score      float32
		searchable bool
		reasons    []Reason
	}{
		{"good", sharp, template(60), 0.9, true, nil},
		{"smallish", sharp, template(20), 0.9, true, nil},
		{"small", sharp, template(10), 0.9, true, []Reason{TooSmall}},
		{"hopelessly small", sharp, template(5), 0.9, false, []Reason{TooSmall}},
		{"soft", soft, template(60), 0.9, true, []Reason{TooBlurred}},
		{"a smear", smear, template(60), 0.9, false, []Reason{TooBlurred}},
		{"small, and so soft", soft, template(10), 0.9, true, []Reason{TooSmall}},
		{"turned", sharp, turned, 0.9, true, []Reason{TurnedAway}},
		{"turned away", sharp, away, 0.9, false, []Reason{TurnedAway}},
		{"doubtful", sharp, template(60), 0.4, true, []Reason{Uncertain}},
	} {
		q := assess(test.chip, test.landmarks, test.score)
		if q.Searchable != test.searchable || !slices.Equal(q.Reasons, test.reasons) {
			t.Errorf("%s: searchable %v, reasons %v (%+v)", test.name, q.Searchable, q.Reasons, q)
		}
		if q.Overall < 0 || q.Overall > 1 || math.IsNaN(float64(q.Overall)) || (test.reasons == nil) != (q.Overall > 0.4) {
			t.Errorf("%s: overall %v", test.name, q.Overall)
		}
		for _, r := range q.Reasons {
			if len(r.Text()) < 20 {
				t.Errorf("%s: reason %q has no words", test.name, r)
			}
		}
	}
}

func TestPose(t *testing.T) {
	if yaw, pitch, roll := pose(template(60)); abs(yaw) > 3 || abs(pitch) > 3 || abs(roll) > 1 {
		t.Errorf("frontal: yaw %v, pitch %v, roll %v", yaw, pitch, roll)
	}
	down := template(60)
	down[2].Y += 12
	if _, pitch, _ := pose(down); pitch < 10 {
		t.Errorf("looking down: pitch %v", pitch)
	}
	rolled := template(60)
	for i, p := range rolled {
		rolled[i] = Point{-p.Y, p.X} // a quarter turn clockwise
	}
	if yaw, pitch, roll := pose(rolled); abs(yaw) > 3 || abs(pitch) > 3 || abs(roll-90) > 1 {
		t.Errorf("rolled: yaw %v, pitch %v, roll %v", yaw, pitch, roll)
	}
	var nowhere [5]Point
	if yaw, _, _ := pose(nowhere); math.IsNaN(float64(yaw)) {
		t.Error("landmarks in one point give no number")
	}
}

func TestDistinct(t *testing.T) {
	at := func(x, size, score float32) detection { return detection{box: Box{x, 0, size, size}, score: score} }
	for _, test := range []struct {
		name string
		all  []detection
		want []float32 // scores kept, best first
	}{
		{"none", nil, nil},
		{"one", []detection{at(0, 10, 0.9)}, []float32{0.9}},
		{"the same twice", []detection{at(0, 10, 0.6), at(1, 10, 0.9)}, []float32{0.9}},
		{"neighbours", []detection{at(0, 10, 0.6), at(9, 10, 0.9)}, []float32{0.9, 0.6}},
		{"an eye in a face", []detection{at(0, 100, 0.9), at(40, 10, 0.6)}, []float32{0.9}},
	} {
		var got []float32
		for _, d := range distinct(test.all) {
			got = append(got, d.score)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: kept %v, want %v", test.name, got, test.want)
		}
	}
}
