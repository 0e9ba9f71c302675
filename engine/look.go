package engine

import (
	"image"
	"math/bits"

	"github.com/corona10/goimagehash"
)

// lookSide is the side of the grey square that a look is taken of.
const lookSide = 64

// SameLook is how many of their 64 bits two looks of one picture differ in at most, whatever it was saved as. Of the portraits that
// TestLook saves again at qualities 30 to 95, at a quarter to twice their size and in grey, none differs in more than 2; other photos
// of the same person, and photos of other people, differ in 20 at least.
const SameLook = 6

// look is a perceptual hash: one bit for each of the 64 lowest frequencies of the picture in grey, set where it is stronger than the
// median one ("pHash"). The grey square is made here and not by the hash's own library, which would take a pixel at a time.
func look(im *Image) uint64 {
	grey := image.NewGray(image.Rect(0, 0, lookSide, lookSide))
	for v := range lookSide {
		top, bottom := band(v, im.Height)
		for u := range lookSide {
			left, right := band(u, im.Width)
			sum, n := 0, 0
			for y := top; y < bottom; y++ {
				row := im.Pix[3*(y*im.Width+left) : 3*(y*im.Width+right)]
				for i := 0; i < len(row); i += 3 {
					sum += 299*int(row[i]) + 587*int(row[i+1]) + 114*int(row[i+2]) // ITU-R BT.601
				}
				n += right - left
			}
			grey.Pix[v*grey.Stride+u] = uint8(sum / (1000 * n))
		}
	}
	h, err := goimagehash.PerceptionHash(grey)
	if err != nil { // of no picture at all only
		return 0
	}
	return h.GetHash()
}

// band is the i-th of lookSide shares of n pixels, at least one pixel wide.
func band(i, n int) (from, to int) {
	from = min(i*n/lookSide, n-1)
	return from, max((i+1)*n/lookSide, from+1)
}

// LooksSame says whether two looks are most likely of one picture, saved differently. A look of 0 says nothing.
func LooksSame(a, b uint64) bool { return a != 0 && b != 0 && bits.OnesCount64(a^b) <= SameLook }
