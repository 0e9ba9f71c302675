package engine

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// drawSide is the longest side of a drawn photo.
const drawSide = 1600

// Draw returns the upright photo with what the analysis found in it: each face's box (green where it can be searched
// with, red where not), its landmarks, and its number and estimated age.
func Draw(photo []byte, a *Analysis) (image.Image, error) {
	im, header, err := Decode(photo, drawSide)
	if err != nil {
		return nil, err
	}
	canvas := im.rgba()
	k := float32(max(im.Width, im.Height)) / float32(max(header.Width, header.Height))
	pen := max(2, max(im.Width, im.Height)/400)
	for i, f := range a.Faces {
		ink := color.RGBA{0, 200, 80, 255}
		if !f.Quality.Searchable {
			ink = color.RGBA{220, 40, 40, 255}
		}
		box := f.Box.scaled(k)
		frame(canvas, image.Rect(int(box.X), int(box.Y), int(box.X+box.Width), int(box.Y+box.Height)), pen, ink)
		for _, p := range scaled(f.Landmarks, k) {
			x, y := int(p.X), int(p.Y)
			fill := image.Rect(x-pen, y-pen, x+pen, y+pen)
			draw.Draw(canvas, fill, image.NewUniform(ink), image.Point{}, draw.Src)
		}
		text := fmt.Sprintf("face %d: age %.0f +-%.0f", i, f.Age.Years, f.Age.SD) // counted as --face counts; the font knows only ASCII
		label(canvas, int(box.X), int(box.Y)-pen, max(1, pen-1), text, ink)
	}
	return canvas, nil
}

// frame draws a rectangle with lines pen pixels wide, outside of it.
func frame(canvas draw.Image, r image.Rectangle, pen int, ink color.Color) {
	outer := r.Inset(-pen)
	for _, side := range []image.Rectangle{
		{outer.Min, image.Pt(outer.Max.X, r.Min.Y)},
		{image.Pt(outer.Min.X, r.Max.Y), outer.Max},
		{outer.Min, image.Pt(r.Min.X, outer.Max.Y)},
		{image.Pt(r.Max.X, outer.Min.Y), outer.Max},
	} {
		draw.Draw(canvas, side, image.NewUniform(ink), image.Point{}, draw.Src)
	}
}

// label writes text, times as large as the fixed font, on a plate of ink whose lower left corner is at (x, y), moved as
// far as it takes to be seen.
func label(canvas draw.Image, x, y, times int, text string, ink color.Color) {
	face := basicfont.Face7x13
	plate := image.NewRGBA(image.Rect(0, 0, font.MeasureString(face, text).Ceil()+4, face.Height+2))
	draw.Draw(plate, plate.Bounds(), image.NewUniform(ink), image.Point{}, draw.Src)
	writer := font.Drawer{Dst: plate, Src: image.White, Face: face, Dot: fixed.P(2, face.Ascent+1)}
	writer.DrawString(text)
	width, height := plate.Bounds().Dx()*times, plate.Bounds().Dy()*times
	x = max(0, min(x, canvas.Bounds().Dx()-width))
	y = max(height, y)
	for v := range height {
		for u := range width {
			canvas.Set(x+u, y-height+v, plate.At(u/times, v/times))
		}
	}
}
