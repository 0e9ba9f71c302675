package engine

// #cgo pkg-config: vips
// #include "vips.h"
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

const (
	// MaxPixels is the largest photo accepted, as its header declares it: the largest phone sensor of 2024 has 200
	// megapixels but saves 12 or 50 unless forced. Checked before a pixel is decoded, so it also bounds memory: a
	// progressive JPEG or an interlaced PNG of this size needs some 800 MB while it is decoded, others a few rows.
	MaxPixels = 100_000_000
	// MaxBytes is the largest photo accepted: a 100-megapixel JPEG of a good camera has about 50 MB. Whoever reads a photo
	// holds it to that.
	MaxBytes = 64 << 20
	// MaxSide is the longest side accepted, the most that JPEG can declare.
	MaxSide = 65_535
	// MinSide is the shortest side accepted: no face fits into less.
	MinSide = 16
)

// format is a kind of photo; the numbers are those of vips.h.
type format int

const (
	jpegFormat format = iota + 1
	pngFormat
	webpFormat
	tiffFormat
	heifFormat
)

func (f format) String() string {
	return [...]string{"", "jpeg", "png", "webp", "tiff", "heif"}[f]
}

// Header is what a photo says of itself, before any pixel is decoded.
type Header struct {
	Format        string // "jpeg", "png", "webp", "tiff", "heif" (HEIC and AVIF)
	Width, Height int    // after orientation
	Pages         int    // at least 1; only the first is looked at
	Orientation   int    // EXIF, 1..8
	TakenAt       time.Time
	format        format
}

// Codes of a PhotoError. They are stable: clients may decide on them.
const (
	CodeEmpty       = "empty"
	CodeNotAnImage  = "not_an_image"
	CodeUnsupported = "unsupported_format"
	CodeAnimated    = "animated"
	CodeTooMany     = "too_many_pixels"
	CodeTooSmall    = "too_small"
	CodeTruncated   = "truncated"
	CodeCorrupt     = "corrupt"
	CodeCrashed     = "crashed" // no decoder says it: it ended the process, whenever it was tried
)

// PhotoError says why a photo was refused, in words for the person who sent it.
type PhotoError struct {
	Code string // one of the codes above
	Text string // a plain sentence which says what to do
}

func (e *PhotoError) Error() string { return e.Text }

const sendInstead = "Send the photo as JPEG, PNG, WebP, TIFF, HEIC or AVIF."

// startVips is run before anything of libvips; starting it twice would be harmless, starting it from two threads not.
var startVips = sync.OnceValue(func() error {
	if C.hw_init() != 0 {
		return errors.New("libvips would not start: is the package libvips installed?")
	}
	return nil
})

func giveBack() { C.hw_give_back() }

// Inspect reads a photo's header and refuses, with a *PhotoError, what cannot be a photo of a child or would be
// dangerous to decode.
func Inspect(photo []byte) (Header, error) {
	f, err := sniff(photo)
	if err != nil {
		return Header{}, err
	}
	if err := startVips(); err != nil {
		return Header{}, err
	}
	var h C.hw_header
	failed := C.hw_inspect(C.int(f), unsafe.Pointer(&photo[0]), C.size_t(len(photo)), &h)
	runtime.KeepAlive(photo)
	if failed != 0 {
		return Header{}, damaged(f, photo)
	}
	header := Header{
		Format:      f.String(),
		Width:       int(h.width),
		Height:      int(h.height),
		Pages:       int(h.pages),
		Orientation: int(h.orientation),
		TakenAt:     takenAt(C.GoString(&h.original[0]), C.GoString(&h.digitised[0]), time.Now()),
		format:      f,
	}
	if header.Orientation >= 5 {
		header.Width, header.Height = header.Height, header.Width
	}
	switch {
	case f == webpFormat && header.Pages > 1:
		return Header{}, &PhotoError{CodeAnimated, "This picture moves. Send a still photo."}
	case header.Width > MaxSide || header.Height > MaxSide || header.Width*header.Height > MaxPixels:
		return Header{}, &PhotoError{CodeTooMany, fmt.Sprintf("The photo is %d by %d pixels, more than %d megapixels. "+
			"Send a smaller copy of it.", header.Width, header.Height, MaxPixels/1_000_000)}
	case header.Width < MinSide || header.Height < MinSide:
		return Header{}, &PhotoError{CodeTooSmall, fmt.Sprintf("The photo is only %d by %d pixels, too small to show a "+
			"face. Send a larger copy of it.", header.Width, header.Height)}
	}
	return header, nil
}

// Decode makes an upright 8-bit sRGB picture of a photo: its EXIF orientation applied, its colours converted through
// its profile, transparency laid on white. The picture's long side is longSide, or up to a sixteenth less where that is
// much quicker, or the photo's own where that is shorter. Refuses what Inspect refuses, and a photo whose pixels are
// damaged or end early, with a *PhotoError.
func Decode(photo []byte, longSide int) (*Image, Header, error) {
	header, err := Inspect(photo)
	if err != nil {
		return nil, Header{}, err
	}
	im, err := decode(photo, header, longSide)
	return im, header, err
}

// decode is Decode for a photo already inspected.
func decode(photo []byte, header Header, longSide int) (*Image, error) {
	var pixels *C.uchar
	var width, height C.int
	failed := C.hw_decode(C.int(header.format), unsafe.Pointer(&photo[0]), C.size_t(len(photo)),
		C.int(max(longSide, 1)), &pixels, &width, &height)
	runtime.KeepAlive(photo)
	defer C.hw_free(unsafe.Pointer(pixels))
	if failed != 0 {
		return nil, damaged(header.format, photo)
	}
	im := NewImage(int(width), int(height))
	copy(im.Pix, unsafe.Slice((*byte)(pixels), len(im.Pix)))
	return im, nil
}

// encode makes a JPEG of im, quality 1..100, without metadata.
func encode(im *Image, quality int) ([]byte, error) {
	if err := startVips(); err != nil {
		return nil, err
	}
	var jpeg *C.uchar
	var size C.size_t
	failed := C.hw_encode(unsafe.Pointer(&im.Pix[0]), C.int(im.Width), C.int(im.Height), C.int(quality), &jpeg, &size)
	runtime.KeepAlive(im)
	if failed != 0 {
		return nil, fmt.Errorf("encoding a %d by %d picture as JPEG failed", im.Width, im.Height)
	}
	defer C.hw_free(unsafe.Pointer(jpeg))
	return C.GoBytes(unsafe.Pointer(jpeg), C.int(size)), nil
}

// Sniff tells a photo's format ("jpeg", …) from its first bytes, 16 or more where it has them, and refuses, with a *PhotoError, what is
// none. Nothing is decoded.
func Sniff(head []byte) (string, error) {
	f, err := sniff(head)
	if err != nil {
		return "", err
	}
	return f.String(), nil
}

// sniff tells the format from the first bytes, never from a name or a declared type.
func sniff(photo []byte) (format, error) {
	has := func(at int, magic string) bool {
		return len(photo) >= at+len(magic) && string(photo[at:at+len(magic)]) == magic
	}
	unsupported := func(what string) error {
		return &PhotoError{CodeUnsupported, what + " is not accepted. " + sendInstead}
	}
	switch {
	case len(photo) == 0:
		return 0, &PhotoError{CodeEmpty, "The file is empty. Send the photo again."}
	case has(0, "\xff\xd8\xff"):
		return jpegFormat, nil
	case has(0, "\x89PNG\r\n\x1a\n"):
		return pngFormat, nil
	case has(0, "RIFF") && has(8, "WEBP"):
		return webpFormat, nil
	case has(0, "II*\x00"), has(0, "MM\x00*"), has(0, "II+\x00"), has(0, "MM\x00+"):
		return tiffFormat, nil
	case has(4, "ftyp"):
		for _, brand := range []string{"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "miaf", "avif", "avis"} {
			if has(8, brand) {
				return heifFormat, nil
			}
		}
		return 0, unsupported("A video")
	case has(0, "GIF8"):
		// Each frame of an animation has a graphic control extension.
		if bytes.Count(photo, []byte("\x21\xf9\x04")) > 1 {
			return 0, &PhotoError{CodeAnimated, "This picture moves. Send a still photo."}
		}
		return 0, unsupported("A GIF picture")
	case has(0, "%PDF"):
		return 0, unsupported("A PDF")
	case has(0, "BM"):
		return 0, unsupported("A BMP picture")
	case has(0, "\x00\x00\x00\x0cJXL "), has(0, "\xff\x0a"):
		return 0, unsupported("A JPEG XL picture")
	case has(0, "\x00\x00\x00\x0cjP  "), has(0, "\xff\x4f\xff\x51"):
		return 0, unsupported("A JPEG 2000 picture")
	case has(0, "8BPS"):
		return 0, unsupported("A Photoshop document")
	}
	if head := bytes.ToLower(photo[:min(len(photo), 1024)]); bytes.Contains(head, []byte("<svg")) {
		return 0, unsupported("An SVG drawing")
	}
	return 0, &PhotoError{CodeNotAnImage, "This file is not a photo. " + sendInstead}
}

// damaged says what is wrong with a photo that its decoder gave up on. The decoder's own words are not used: they are
// of no help to a family, and libvips cannot say which photo they are about.
func damaged(f format, photo []byte) error {
	short := false
	switch f {
	case jpegFormat: // some cameras write a few bytes behind the end marker
		short = !bytes.Contains(photo[max(0, len(photo)-4096):], []byte{0xff, 0xd9})
	case pngFormat:
		short = !bytes.Contains(photo[max(0, len(photo)-4096):], []byte("IEND"))
	case webpFormat:
		short = len(photo) < 8 || int64(binary.LittleEndian.Uint32(photo[4:]))+8 > int64(len(photo))
	}
	if short {
		return &PhotoError{CodeTruncated, "The photo ends before it is complete: part of the file is missing. Send it again, " +
			"or from the device that has the original."}
	}
	return &PhotoError{CodeCorrupt, "The photo is damaged and cannot be opened. Open it on your device, save a new copy, " +
		"and send that."}
}
