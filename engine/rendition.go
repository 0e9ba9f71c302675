package engine

import (
	"errors"

	"github.com/nfnt/resize"
)

// renditionQuality is JPEG's quality for what people look at.
const renditionQuality = 85

// chipTimes is how many times the face's box a chip for people is wide: hair and chin help the eye.
const chipTimes = 1.8

// Rendition makes a small upright JPEG of a photo, for people to look at: its long side is longSide pixels, or the
// photo's own where that is shorter. It carries no metadata, so that a picture handed on does not tell where it was
// taken. A photo that Decode refuses gives the same *PhotoError.
func Rendition(photo []byte, longSide int) ([]byte, error) {
	if longSide < 1 {
		return nil, errors.New("a rendition needs a long side of at least one pixel")
	}
	// Lanczos does its work on a picture already brought down to twice the size, not on the whole photo.
	im, _, err := Decode(photo, 2*longSide)
	if err != nil {
		return nil, err
	}
	return lanczos(im, longSide)
}

// Chip makes a JPEG of one face, upright, with some margin, side pixels square, from its box and landmarks in pixels of
// the upright photo. What lies outside the photo is black.
func Chip(photo []byte, box Box, landmarks [5]Point, side int) ([]byte, error) {
	if side < 1 || !(box.Width > 0) || !(box.Height > 0) {
		return nil, errors.New("a chip needs a side and a face of at least one pixel")
	}
	header, err := Inspect(photo)
	if err != nil {
		return nil, err
	}
	src := &source{photo: photo, header: header}
	wide := chipTimes * max(box.Width, box.Height)
	im, err := src.at(int(min(float32(src.longSide())*float32(2*side)/wide, closeSide)))
	if err != nil {
		return nil, err
	}
	k := src.shrunk(im)
	crop := max(side, min(2*side, int(wide*k)))
	chip := warp(im, uprightCrop(box.scaled(k), scaled(landmarks, k), crop, chipTimes), crop, crop)
	return lanczos(chip, side)
}

// lanczos brings a picture to its final size and encodes it.
func lanczos(im *Image, longSide int) ([]byte, error) {
	if max(im.Width, im.Height) > longSide {
		small := resize.Thumbnail(uint(longSide), uint(longSide), im.rgba(), resize.Lanczos3)
		im = fromImage(small)
	}
	return encode(im, renditionQuality)
}
