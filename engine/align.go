package engine

import (
	"math"

	"homeward/models"
)

// arcfaceTemplate is where the landmarks lie on a 112×112 chip, as pixel indices (the centre of the first pixel is 0),
// in the order of Face.Landmarks. Source: InsightFace, ArcFace (Deng et al. 2019), arcface_src in face_align.py.
var arcfaceTemplate = [5][2]float64{
	{38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366}, {41.5493, 92.3655}, {70.7299, 92.2041},
}

const arcfaceSide = 112

// dlibTemplate is where dlib's mean face has the two eyes' centres and the base of the nose, in a unit square without
// padding. Each eye is the midpoint of its two corners. Source: dlib, get_face_chip_details, its five-point shape.
var dlibTemplate = [3][2]float64{
	{(0.1205750620789 + 0.3340850613712) / 2, (0.2137274526848 + 0.2290642403242) / 2},
	{(0.8595674595992 + 0.6460604764104) / 2, (0.2134981538014 + 0.2289674387677) / 2},
	{0.4901123135679, 0.6277975316475},
}

// noseBase is how far the base of the nose, dlib's fifth point, lies from the tip towards the middle of the mouth: where
// dlib's mean face, scaled so that its eyes meet those of arcfaceTemplate, has it.
const noseBase = 0.345

// affine takes a chip's pixel indices to a photo's: x = a·u + b·v + c, y = d·u + e·v + f.
type affine struct{ a, b, c, d, e, f float64 }

func (m affine) apply(u, v float64) (x, y float64) {
	return m.a*u + m.b*v + m.c, m.d*u + m.e*v + m.f
}

// scale is how many of the photo's pixels one of the chip's is wide.
func (m affine) scale() float64 { return math.Sqrt(math.Abs(m.a*m.e - m.b*m.d)) }

// similarity is the turn, scale and shift that takes from nearest to to, in least squares with the weights given
// (Umeyama 1991, without reflection; in the plane it has this closed form).
func similarity(from, to [][2]float64, weight []float64) affine {
	var fx, fy, tx, ty, total float64
	for i, w := range weight {
		fx += w * from[i][0]
		fy += w * from[i][1]
		tx += w * to[i][0]
		ty += w * to[i][1]
		total += w
	}
	fx, fy, tx, ty = fx/total, fy/total, tx/total, ty/total
	var dot, cross, norm float64
	for i, w := range weight {
		px, py := from[i][0]-fx, from[i][1]-fy
		qx, qy := to[i][0]-tx, to[i][1]-ty
		dot += w * (px*qx + py*qy)
		cross += w * (px*qy - py*qx)
		norm += w * (px*px + py*py)
	}
	cos, sin := dot/norm, cross/norm
	return affine{cos, -sin, tx - cos*fx + sin*fy, sin, cos, ty - sin*fx - cos*fy}
}

// arcfaceChip takes a chip of the given side to the photo whose landmarks are given.
func arcfaceChip(landmarks [5]Point, side int) affine {
	from, to := make([][2]float64, 5), make([][2]float64, 5)
	k := float64(side) / arcfaceSide
	for i, p := range landmarks {
		from[i] = [2]float64{arcfaceTemplate[i][0] * k, arcfaceTemplate[i][1] * k}
		to[i] = pixelIndex(p)
	}
	return similarity(from, to, []float64{1, 1, 1, 1, 1})
}

// dlibChip takes a chip as dlib's get_face_chip_details(size, padding) lays it out to the photo. The eyes weigh double,
// as the two corners that dlib has of each.
func dlibChip(landmarks [5]Point, side int, padding float64) affine {
	from := make([][2]float64, 3)
	for i, p := range dlibTemplate {
		from[i] = [2]float64{(padding + p[0]) / (2*padding + 1) * float64(side), (padding + p[1]) / (2*padding + 1) * float64(side)}
	}
	eye1, eye2, nose := pixelIndex(landmarks[0]), pixelIndex(landmarks[1]), pixelIndex(landmarks[2])
	mouth1, mouth2 := pixelIndex(landmarks[3]), pixelIndex(landmarks[4])
	for i := range nose {
		nose[i] += noseBase * ((mouth1[i]+mouth2[i])/2 - nose[i])
	}
	return similarity(from, [][2]float64{eye1, eye2, nose}, []float64{2, 2, 1})
}

// uprightCrop takes a square chip around the face, times as wide as its box, with the eyes level.
func uprightCrop(box Box, landmarks [5]Point, side int, times float64) affine {
	m := arcfaceChip(landmarks, arcfaceSide)
	k := times * float64(max(box.Width, box.Height)) / float64(side)
	cos, sin := m.a/m.scale()*k, m.d/m.scale()*k
	cx, cy := float64(box.X+box.Width/2)-0.5, float64(box.Y+box.Height/2)-0.5
	half := float64(side-1) / 2
	return affine{cos, -sin, cx - cos*half + sin*half, sin, cos, cy - sin*half - cos*half}
}

// view is a face in a picture, with the chips already cut of it: several models want the same one.
type view struct {
	im        *Image
	box       Box // in pixels of im, as the landmarks
	landmarks [5]Point
	chips     map[chipKind]*Image
}

type chipKind struct {
	chip    string
	padding float32
	side    int
}

// chip is the face aligned as a model wants it, side pixels square. It must not be written to.
func (v *view) chip(in models.Input, side int) *Image {
	kind := chipKind{in.Chip, in.Padding, side}
	if c, ok := v.chips[kind]; ok {
		return c
	}
	m := arcfaceChip(v.landmarks, side)
	if in.Chip == "dlib" {
		m = dlibChip(v.landmarks, side, float64(in.Padding))
	}
	c := warp(v.im, m, side, side)
	if v.chips == nil {
		v.chips = map[chipKind]*Image{}
	}
	v.chips[kind] = c
	return c
}

func pixelIndex(p Point) [2]float64 { return [2]float64{float64(p.X) - 0.5, float64(p.Y) - 0.5} }
