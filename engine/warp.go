package engine

import "math"

// warp makes a width×height chip whose pixel (u, v) is im at m(u, v): bilinear, black outside. Where the chip is smaller
// than what it shows, the photo is first averaged over whole blocks, so that fine detail does not turn into noise.
func warp(im *Image, m affine, width, height int) *Image {
	if k := int(m.scale() + 0.5); k >= 2 {
		im, m = shrink(im, m, width, height, k)
	}
	out := NewImage(width, height)
	if im.Width == 0 || im.Height == 0 {
		return out
	}
	stride := 3 * im.Width
	right, bottom := float64(im.Width-1), float64(im.Height-1)
	to := 0
	for v := range height {
		x, y := m.apply(0, float64(v))
		for range width {
			if x >= 0 && y >= 0 && x < right && y < bottom {
				x0, y0 := int(x), int(y)
				// Weights of 1/2048 are finer than a byte can tell.
				fx, fy := int32((x-float64(x0))*2048), int32((y-float64(y0))*2048)
				at := y0*stride + 3*x0
				p := im.Pix[at : at+6 : at+6]
				q := im.Pix[at+stride : at+stride+6 : at+stride+6]
				o := out.Pix[to : to+3 : to+3]
				for c := range 3 {
					top := int32(p[c])<<11 + fx*(int32(p[c+3])-int32(p[c]))
					low := int32(q[c])<<11 + fx*(int32(q[c+3])-int32(q[c]))
					o[c] = uint8((top<<11 + fy*(low-top) + 1<<21) >> 22)
				}
			} else if x > -1 && y > -1 && x < right+1 && y < bottom+1 {
				edge(im, x, y, out.Pix[to:to+3])
			}
			to += 3
			x += m.a
			y += m.d
		}
	}
	return out
}

// edge is warp's pixel where some of the four neighbours lie outside and count as black.
func edge(im *Image, x, y float64, out []uint8) {
	x0, y0 := int(math.Floor(x)), int(math.Floor(y))
	fx, fy := x-float64(x0), y-float64(y0)
	for c := range 3 {
		at := func(x, y int) float64 {
			if x < 0 || y < 0 || x >= im.Width || y >= im.Height {
				return 0
			}
			return float64(im.Pix[3*(y*im.Width+x)+c])
		}
		top := at(x0, y0)*(1-fx) + at(x0+1, y0)*fx
		low := at(x0, y0+1)*(1-fx) + at(x0+1, y0+1)*fx
		out[c] = uint8(top*(1-fy) + low*fy + 0.5)
	}
}

// shrink averages the part of im that the chip shows over k×k blocks, and returns it with the map into it.
func shrink(im *Image, m affine, width, height, k int) (*Image, affine) {
	left, top := math.Inf(1), math.Inf(1)
	right, bottom := math.Inf(-1), math.Inf(-1)
	for _, corner := range [4][2]int{{0, 0}, {width - 1, 0}, {0, height - 1}, {width - 1, height - 1}} {
		x, y := m.apply(float64(corner[0]), float64(corner[1]))
		left, right = min(left, x), max(right, x)
		top, bottom = min(top, y), max(bottom, y)
	}
	x0 := max(0, int(left)-2*k)
	y0 := max(0, int(top)-2*k)
	x1 := min(im.Width, int(right)+2*k)
	y1 := min(im.Height, int(bottom)+2*k)
	if x1 <= x0 || y1 <= y0 {
		return &Image{}, m
	}
	out := NewImage((x1-x0+k-1)/k, (y1-y0+k-1)/k)
	sums := make([]uint32, 3*out.Width)
	for v := range out.Height {
		clear(sums)
		rows := min(k, y1-y0-v*k)
		for r := range rows {
			from := 3 * ((y0+v*k+r)*im.Width + x0)
			row := im.Pix[from : from+3*(x1-x0)]
			for u := range out.Width {
				block := row[3*u*k : min(3*(u+1)*k, len(row))]
				var r, g, b uint32
				for i := 0; i+2 < len(block); i += 3 {
					r += uint32(block[i])
					g += uint32(block[i+1])
					b += uint32(block[i+2])
				}
				sums[3*u] += r
				sums[3*u+1] += g
				sums[3*u+2] += b
			}
		}
		for u := range out.Width {
			n := uint32(rows * min(k, x1-x0-u*k))
			for c := range 3 {
				out.Pix[3*(v*out.Width+u)+c] = uint8((sums[3*u+c] + n/2) / n)
			}
		}
	}
	// A block's centre lies (k−1)/2 pixels behind its first.
	f := float64(k)
	s := affine{m.a / f, m.b / f, (m.c-float64(x0)+0.5)/f - 0.5, m.d / f, m.e / f, (m.f-float64(y0)+0.5)/f - 0.5}
	return out, s
}
