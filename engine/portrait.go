package engine

import "errors"

// portraitTimes is how many times the face's larger side a portrait is wide: the head with its hair and shoulders, and as
// little as may be of who stands beside.
const portraitTimes = 2.2

// Portrait cuts a square around one face out of the upright photo, for publication: other people in a group photo are left
// out as far as a square can. Near the photo's edge the square moves inwards, and it is never larger than the photo. It is
// brought to side pixels, or left as small as it is. The JPEG carries no metadata: it does not tell where, when or with what it was
// taken. box is in pixels of the upright photo.
func Portrait(photo []byte, box Box, side int) ([]byte, error) {
	if side < 1 || !(box.Width > 0) || !(box.Height > 0) {
		return nil, errors.New("a portrait needs a side and a face of at least one pixel")
	}
	header, err := Inspect(photo)
	if err != nil {
		return nil, err
	}
	src := &source{photo: photo, header: header}
	wide := min(portraitTimes*max(box.Width, box.Height), float32(min(header.Width, header.Height)))
	// Lanczos does its work on a square of up to twice the size, not on one cut from the whole photo.
	im, err := src.at(int(float32(src.longSide()) * min(1, float32(2*side)/wide)))
	if err != nil {
		return nil, err
	}
	k := src.shrunk(im)
	crop := min(max(1, int(wide*k)), im.Width, im.Height)
	left := within((box.X+box.Width/2)*k, crop, im.Width)
	top := within((box.Y+box.Height/2)*k, crop, im.Height)
	out := NewImage(crop, crop)
	for y := range crop {
		copy(out.Pix[3*y*crop:3*(y+1)*crop], im.Pix[3*((top+y)*im.Width+left):])
	}
	return lanczos(out, side)
}

// within is where a stretch of the given length around a middle begins, moved as far as it takes to lie within the whole.
func within(middle float32, length, whole int) int {
	return min(max(0, int(middle)-length/2), whole-length)
}
