package engine

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"
	"math/bits"
	"testing"

	"github.com/nfnt/resize"

	photos "homeward/internal/testphotos"
)

// lookOf is the look of an encoded photo as an analysis takes it.
func lookOf(t testing.TB, photo []byte) uint64 {
	t.Helper()
	im, _, err := Decode(photo, workSide)
	if err != nil {
		t.Fatal(err)
	}
	return look(im)
}

func saved(t testing.TB, img image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestLook holds the distance at which photos are said to look the same against what it has to tell apart.
func TestLook(t *testing.T) {
	names := []string{photos.Obama, photos.Obama2, photos.Obama3, photos.Biden, photos.Astronaut, "obama_partial_face.jpg", "obama_partial_face2.jpg"}
	looks := make([]uint64, len(names))
	same, other := 0, 64
	for i, name := range names {
		original := photos.Read(t, name)
		looks[i] = lookOf(t, original)
		img := photos.Decode(t, original)
		for _, quality := range []int{30, 60, 80, 95} {
			for _, scale := range []float64{0.25, 0.5, 1, 2} {
				side := uint(float64(img.Bounds().Dx()) * scale)
				again := lookOf(t, saved(t, resize.Resize(side, 0, img, resize.Lanczos3), quality))
				same = max(same, bits.OnesCount64(again^looks[i]))
				if !LooksSame(again, looks[i]) {
					t.Errorf("%s at %g of its size and quality %d is not recognised", name, scale, quality)
				}
			}
		}
		grey := image.NewGray(img.Bounds())
		draw.Draw(grey, grey.Bounds(), img, img.Bounds().Min, draw.Src)
		if again := lookOf(t, saved(t, grey, 90)); !LooksSame(again, looks[i]) {
			t.Errorf("%s in grey is not recognised", name)
		}
	}
	for i := range looks {
		for j := range i {
			d := bits.OnesCount64(looks[i] ^ looks[j])
			other = min(other, d)
			if d < 16 {
				t.Errorf("%s and %s differ in %d bits", names[i], names[j], d)
			}
		}
	}
	t.Logf("one picture: at most %d bits; others: at least %d", same, other)
	if LooksSame(0, 0) {
		t.Error("no look looks the same as no look")
	}
}

func BenchmarkLook(b *testing.B) {
	im, _, err := Decode(photos.Read(b, photos.Astronaut), workSide)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		look(im)
	}
}
