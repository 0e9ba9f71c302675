package engine

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// A shrinking warp must equal what averaging blocks byte by byte gives.
func TestShrinkAverages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(1, 40).Draw(t, "width"), rapid.IntRange(1, 40).Draw(t, "height")
		k := rapid.IntRange(2, 9).Draw(t, "k")
		im := NewImage(width, height)
		copy(im.Pix, rapid.SliceOfN(rapid.Byte(), len(im.Pix), len(im.Pix)).Draw(t, "pixels"))
		f := float64(k)
		wide, high := (width+k-1)/k, (height+k-1)/k
		small, _ := shrink(im, affine{f, 0, (f - 1) / 2, 0, f, (f - 1) / 2}, wide, high, k)
		for v := range small.Height {
			for u := range small.Width {
				for c := range 3 {
					sum, n := 0.0, 0.0
					for y := v * k; y < min((v+1)*k, height); y++ {
						for x := u * k; x < min((u+1)*k, width); x++ {
							sum += float64(im.Pix[3*(y*width+x)+c])
							n++
						}
					}
					if got := float64(small.Pix[3*(v*small.Width+u)+c]); math.Abs(got-sum/n) > 0.5 {
						t.Fatalf("block (%d, %d) channel %d is %v, want %v", u, v, c, got, sum/n)
					}
				}
			}
		}
	})
}

// A ramp is the same ramp wherever, however turned and at whatever scale it is sampled.
func TestWarpSamplesWhereItShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const side = 255
		im := NewImage(side, side)
		for y := range side {
			for x := range side {
				im.Pix[3*(y*side+x)] = uint8(x)
				im.Pix[3*(y*side+x)+1] = uint8(y)
			}
		}
		angle := rapid.Float64Range(-4, 4).Draw(t, "angle")
		scale := rapid.Float64Range(0.3, 6).Draw(t, "scale")
		cos, sin := math.Cos(angle)*scale, math.Sin(angle)*scale
		const chip = 20
		half := float64(chip-1) / 2
		m := affine{cos, -sin, 127 - cos*half + sin*half, sin, cos, 127 - sin*half - cos*half}
		out := warp(im, m, chip, chip)
		for v := range chip {
			for u := range chip {
				x, y := m.apply(float64(u), float64(v))
				if x < 10 || y < 10 || x > side-11 || y > side-11 {
					continue
				}
				p := out.Pix[3*(v*chip+u):]
				if math.Abs(float64(p[0])-x) > 1.01 || math.Abs(float64(p[1])-y) > 1.01 || p[2] != 0 {
					t.Fatalf("chip (%d, %d) shows (%d, %d), want (%.2f, %.2f)", u, v, p[0], p[1], x, y)
				}
			}
		}
	})
}

func TestWarpOutsideIsBlack(t *testing.T) {
	im := NewImage(10, 10)
	for i := range im.Pix {
		im.Pix[i] = 200
	}
	for _, m := range []affine{{1, 0, 100, 0, 1, 100}, {8, 0, -900, 0, 8, -900}, {1, 0, math.MaxInt32, 0, 1, 0}} {
		for _, p := range warp(im, m, 5, 5).Pix {
			if p != 0 {
				t.Fatalf("%v: outside is %d, want 0", m, p)
			}
		}
	}
}

func TestSimilarity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		angle := rapid.Float64Range(-3, 3).Draw(t, "angle")
		scale := rapid.Float64Range(0.1, 30).Draw(t, "scale")
		want := affine{scale * math.Cos(angle), -scale * math.Sin(angle), rapid.Float64Range(-99, 4000).Draw(t, "x"),
			scale * math.Sin(angle), scale * math.Cos(angle), rapid.Float64Range(-99, 4000).Draw(t, "y")}
		var landmarks [5]Point
		for i, p := range arcfaceTemplate {
			x, y := want.apply(p[0], p[1])
			landmarks[i] = Point{float32(x + 0.5), float32(y + 0.5)}
		}
		got := arcfaceChip(landmarks, arcfaceSide)
		for _, p := range arcfaceTemplate {
			x, y := got.apply(p[0], p[1])
			wantX, wantY := want.apply(p[0], p[1])
			if math.Hypot(x-wantX, y-wantY) > 0.01 {
				t.Fatalf("a landmark went to (%v, %v), want (%v, %v)", x, y, wantX, wantY)
			}
		}
	})
}
