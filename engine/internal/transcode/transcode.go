// Package transcode makes photos of every kind for the engine's tests out of one, through libvips' savers, which the
// engine itself has no use for. (A test file cannot call C.)
package transcode

// #cgo pkg-config: vips
// #include <vips/vips.h>
//
// static int transcode(const void *photo, size_t size, double scale, int space, int alpha,
// 	const char *suffix, int orientation, const char *taken, void **out, size_t *length) {
// 	VipsImage *t, *im = NULL;
// 	if (!(im = vips_image_new_from_buffer(photo, size, "", NULL)))
// 		return -1;
// #define STEP(call) { if (call) { g_object_unref(im); return -1; } g_object_unref(im); im = t; }
// 	if (scale != 1.0)
// 		STEP(vips_resize(im, &t, scale, NULL));
// 	if (alpha)
// 		STEP(vips_addalpha(im, &t, NULL));
// 	if (space == VIPS_INTERPRETATION_CMYK) {
// 		STEP(vips_icc_transform(im, &t, "cmyk", "input_profile", "srgb", NULL))
// 	} else if (space >= 0)
// 		STEP(vips_colourspace(im, &t, space, NULL));
// 	STEP(!(t = vips_image_copy_memory(im)));
// 	STEP(vips_copy(im, &t, NULL));
// 	if (orientation > 0)
// 		vips_image_set_int(im, VIPS_META_ORIENTATION, orientation);
// 	if (taken[0])
// 		vips_image_set_string(im, "exif-ifd2-DateTimeOriginal", taken);
// 	int failed = vips_image_write_to_buffer(im, suffix, out, length, NULL);
// 	g_object_unref(im);
// 	return failed;
// }
import "C"

import (
	"fmt"
	"unsafe"
)

// Spaces of colour, as libvips numbers them.
const (
	Keep   = -1
	Grey   = C.VIPS_INTERPRETATION_B_W
	CMYK   = C.VIPS_INTERPRETATION_CMYK
	RGB16  = C.VIPS_INTERPRETATION_RGB16
	Grey16 = C.VIPS_INTERPRETATION_GREY16
	Lab    = C.VIPS_INTERPRETATION_LAB
)

// To says what to make of a photo. Fields left zero change nothing, but Space must be set (Keep keeps it).
type To struct {
	Suffix      string // the saver with its options, as ".jpg[Q=90]"
	Space       int
	Scale       float64
	Alpha       bool
	Orientation int    // EXIF; the pixels stay as they are
	Taken       string // EXIF DateTimeOriginal
}

// Photo re-encodes a photo. libvips must have been started.
func Photo(photo []byte, to To) ([]byte, error) {
	suffix, taken := C.CString(to.Suffix), C.CString(to.Taken)
	defer C.free(unsafe.Pointer(suffix))
	defer C.free(unsafe.Pointer(taken))
	alpha := C.int(0)
	if to.Alpha {
		alpha = 1
	}
	scale := to.Scale
	if scale == 0 {
		scale = 1
	}
	var out unsafe.Pointer
	var length C.size_t
	if C.transcode(unsafe.Pointer(&photo[0]), C.size_t(len(photo)), C.double(scale), C.int(to.Space), alpha,
		suffix, C.int(to.Orientation), taken, &out, &length) != 0 {
		defer C.vips_error_clear()
		return nil, fmt.Errorf("making %s: %s", to.Suffix, C.GoString(C.vips_error_buffer()))
	}
	defer C.g_free(C.gpointer(out))
	return C.GoBytes(out, C.int(length)), nil
}
