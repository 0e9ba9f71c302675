// Package testphotos gives tests the public-domain portraits that scripts/fetch-testdata puts into .testdata.
package testphotos

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"
	_ "image/png" // the portraits are JPEG and PNG
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// The portraits. Obama, Obama2 and Obama3 show one man, in different years; Biden and Astronaut are other people.
const (
	Obama     = "obama.jpg"
	Obama2    = "obama2.jpg"
	Obama3    = "obama3.jpg"
	Biden     = "biden.jpg"
	Astronaut = "astronaut.png"
)

// Dir is the folder of the portraits.
func Dir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", ".testdata")
}

// Read reads a portrait.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Dir(), name))
	if err != nil {
		t.Fatalf("%v: run scripts/setup, which fetches the test portraits", err)
	}
	return b
}

// Decode reads a photo's pixels.
func Decode(t testing.TB, photo []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(photo))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// JPEG encodes a picture.
func JPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 92}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Beside is a JPEG of two photos side by side.
func Beside(t testing.TB, left, right []byte) []byte {
	t.Helper()
	l, r := Decode(t, left), Decode(t, right)
	both := image.NewRGBA(image.Rect(0, 0, l.Bounds().Dx()+r.Bounds().Dx(), max(l.Bounds().Dy(), r.Bounds().Dy())))
	draw.Draw(both, l.Bounds(), l, l.Bounds().Min, draw.Src)
	draw.Draw(both, r.Bounds().Add(image.Pt(l.Bounds().Dx(), 0)), r, r.Bounds().Min, draw.Src)
	return JPEG(t, both)
}

// NoFace is a JPEG of a smooth gradient, in which there is nobody.
func NoFace(t testing.TB) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 400, 300))
	for i := range img.Pix {
		img.Pix[i] = uint8(i / 4 % 400 / 2)
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return JPEG(t, img)
}
