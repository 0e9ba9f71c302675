package engine

import (
	"encoding/binary"
	"math"
)

// mostRows is how many rows of bytes are sure to add up within 16 bits.
const mostRows = 256

// warp makes a width×height chip whose pixel (u, v) is im at m(u, v): bilinear, black outside. Where the chip is smaller
// than what it shows, the photo is first averaged over whole blocks, so that fine detail does not turn into noise.
func warp(im *Image, m affine, width, height int) *Image {
	if k := min(int(m.scale()+0.5), mostRows); k >= 2 {
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
	// columns holds the sums of a block row's columns, as 16-bit lanes of even and of odd bytes in turn: eight bytes are
	// added at once.
	width3 := 3 * (x1 - x0)
	columns := make([]uint64, 2*((width3+7)/8))
	for v := range out.Height {
		clear(columns)
		rows := min(k, y1-y0-v*k)
		for r := range rows {
			from := 3 * ((y0+v*k+r)*im.Width + x0)
			addRow(columns, im.Pix[from:from+width3])
		}
		to := out.Pix[3*v*out.Width:]
		for u := range out.Width {
			var sum [3]uint32
			end := min(3*(u+1)*k, width3)
			for i := 3 * u * k; i < end; i += 3 {
				sum[0] += column(columns, i)
				sum[1] += column(columns, i+1)
				sum[2] += column(columns, i+2)
			}
			n := uint32(rows * (end/3 - u*k))
			for c := range 3 {
				to[3*u+c] = uint8((sum[c] + n/2) / n)
			}
		}
	}
	// A block's centre lies (k−1)/2 pixels behind its first.
	f := float64(k)
	s := affine{m.a / f, m.b / f, (m.c-float64(x0)+0.5)/f - 0.5, m.d / f, m.e / f, (m.f-float64(y0)+0.5)/f - 0.5}
	return out, s
}

const lanes = 0x00ff00ff00ff00ff

func addRow(columns []uint64, row []uint8) {
	i := 0
	for ; i+8 <= len(row); i += 8 {
		eight := binary.LittleEndian.Uint64(row[i:])
		pair := columns[i/4 : i/4+2 : i/4+2]
		pair[0] += eight & lanes
		pair[1] += eight >> 8 & lanes
	}
	for ; i < len(row); i++ {
		columns[i/8*2+i%2] += uint64(row[i]) << (i % 8 / 2 * 16)
	}
}

// column is the sum of byte i of the rows added.
func column(columns []uint64, i int) uint32 {
	return uint32(uint16(columns[uint(i)/8*2+uint(i)%2] >> (uint(i) % 8 / 2 * 16)))
}
