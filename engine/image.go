package engine

import (
	"image"
	"image/color"
)

// Image is a picture in memory: rows of red, green and blue bytes, top to bottom, without padding.
type Image struct {
	Width, Height int
	Pix           []uint8 // 3 × Width × Height
}

// NewImage returns a black picture.
func NewImage(width, height int) *Image {
	return &Image{Width: width, Height: height, Pix: make([]uint8, 3*width*height)}
}

func (im *Image) ColorModel() color.Model { return color.RGBAModel }
func (im *Image) Bounds() image.Rectangle { return image.Rect(0, 0, im.Width, im.Height) }

func (im *Image) At(x, y int) color.Color {
	if x < 0 || y < 0 || x >= im.Width || y >= im.Height {
		return color.RGBA{}
	}
	p := im.Pix[3*(y*im.Width+x):]
	return color.RGBA{p[0], p[1], p[2], 255}
}

// rgba copies the picture into the standard library's form.
func (im *Image) rgba() *image.RGBA {
	out := image.NewRGBA(im.Bounds())
	for from, to := 0, 0; from < len(im.Pix); from, to = from+3, to+4 {
		out.Pix[to], out.Pix[to+1], out.Pix[to+2], out.Pix[to+3] = im.Pix[from], im.Pix[from+1], im.Pix[from+2], 255
	}
	return out
}

// fromImage copies any picture into an Image, without its transparency.
func fromImage(in image.Image) *Image {
	bounds := in.Bounds()
	out := NewImage(bounds.Dx(), bounds.Dy())
	if rgba, ok := in.(*image.RGBA); ok {
		for y := range out.Height {
			from := rgba.Pix[rgba.PixOffset(bounds.Min.X, bounds.Min.Y+y):]
			to := out.Pix[3*y*out.Width:]
			for x := range out.Width {
				to[3*x], to[3*x+1], to[3*x+2] = from[4*x], from[4*x+1], from[4*x+2]
			}
		}
		return out
	}
	for y := range out.Height {
		for x := range out.Width {
			r, g, b, _ := in.At(bounds.Min.X+x, bounds.Min.Y+y).RGBA()
			i := 3 * (y*out.Width + x)
			out.Pix[i], out.Pix[i+1], out.Pix[i+2] = uint8(r>>8), uint8(g>>8), uint8(b>>8)
		}
	}
	return out
}
