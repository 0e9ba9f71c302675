#define _GNU_SOURCE // memmem
#include "vips.h"

#include <malloc.h>
#include <string.h>
#include <vips/vips.h>

static void drop_log(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data) {}

int hw_init(void) {
	// Each thread of libvips would get an arena of its own, and what is freed in many arenas is seldom whole pages: resident
	// memory would creep up by a tenth in a thousand photos though no more is in use.
	mallopt(M_ARENA_MAX, 2);
	if (vips_init("homeward"))
		return -1;
	// A photo's pixels must not linger, and each photo already has a core of its own.
	vips_cache_set_max(0);
	vips_concurrency_set(1);
	vips_block_untrusted_set(TRUE);
	vips_operation_block_set("VipsForeignLoad", TRUE);
	vips_operation_block_set("VipsForeignLoadJpeg", FALSE);
	vips_operation_block_set("VipsForeignLoadPng", FALSE);
	vips_operation_block_set("VipsForeignLoadWebp", FALSE);
	vips_operation_block_set("VipsForeignLoadTiff", FALSE);
	vips_operation_block_set("VipsForeignLoadHeif", FALSE);
	// Warnings would print what a photo says to the operator's terminal.
	g_log_set_handler("VIPS", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG, drop_log, NULL);
	return 0;
}

// finish ends a call on this thread. libvips keeps one error log for the whole process: it is emptied, never shown, so
// that no caller reads of another's photo.
static int finish(int result) {
	vips_error_clear();
	vips_thread_shutdown();
	return result;
}

// load opens a photo lazily. shrink is for JPEG (1, 2, 4, 8), scale for WebP (0..1).
static VipsImage *load(int format, const void *photo, size_t size, int shrink, double scale) {
	VipsImage *image = NULL;
	void *p = (void *) photo;
	switch (format) {
	case HW_JPEG:
		vips_jpegload_buffer(p, size, &image, "shrink", shrink,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	case HW_PNG:
		vips_pngload_buffer(p, size, &image,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	case HW_WEBP:
		vips_webpload_buffer(p, size, &image, "scale", scale,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	case HW_TIFF:
		vips_tiffload_buffer(p, size, &image,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	case HW_HEIF:
		vips_heifload_buffer(p, size, &image,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	}
	return image;
}

static void copy_field(VipsImage *image, const char *name, char *to, size_t size) {
	const char *value;
	to[0] = 0;
	if (vips_image_get_typeof(image, name) && !vips_image_get_string(image, name, &value))
		g_strlcpy(to, value, size);
}

int hw_inspect(int format, const void *photo, size_t size, hw_header *header) {
	VipsImage *image = load(format, photo, size, 1, 1.0);
	if (!image)
		return finish(-1);
	header->width = vips_image_get_width(image);
	header->height = vips_image_get_height(image);
	header->pages = vips_image_get_n_pages(image);
	header->orientation = vips_image_get_orientation(image);
	copy_field(image, "exif-ifd2-DateTimeOriginal", header->original, sizeof header->original);
	copy_field(image, "exif-ifd2-DateTimeDigitized", header->digitised, sizeof header->digitised);
	g_object_unref(image);
	return finish(0);
}

// replace puts the result of a step in the place of what it was made from.
static int replace(VipsImage **image, VipsImage *result) {
	g_object_unref(*image);
	*image = result;
	return 0;
}

// is_srgb spares the common photo, which carries a profile that says it is what it already is, a transform.
static gboolean is_srgb(VipsImage *image) {
	const void *profile;
	size_t size;
	if (vips_image_get_blob(image, VIPS_META_ICC_NAME, &profile, &size))
		return FALSE;
	return memmem(profile, size, "sRGB IEC61966", 13) || memmem(profile, size, "s\0R\0G\0B\0 \0I\0E\0C", 14);
}

// flatten lays the picture on white.
static int flatten(VipsImage **image) {
	VipsImage *out;
	if (!vips_image_hasalpha(*image))
		return 0;
	VipsInterpretation space = vips_image_get_interpretation(*image);
	if (space == VIPS_INTERPRETATION_CMYK) {
		if (vips_extract_band(*image, &out, 0, "n", 4, NULL))
			return -1;
		return replace(image, out);
	}
	double white = 255;
	if (space == VIPS_INTERPRETATION_RGB16 || space == VIPS_INTERPRETATION_GREY16)
		white = 65535;
	else if (space == VIPS_INTERPRETATION_scRGB)
		white = 1;
	VipsArrayDouble *background = vips_array_double_newv(1, white);
	int failed = vips_flatten(*image, &out, "background", background, "max_alpha", white, NULL);
	vips_area_unref(VIPS_AREA(background));
	return failed ? -1 : replace(image, out);
}

// to_srgb turns whatever the photo holds into three bands of eight bits.
static int to_srgb(VipsImage **image) {
	VipsImage *out;
	VipsInterpretation space = vips_image_guess_interpretation(*image);
	gboolean profiled = vips_image_get_typeof(*image, VIPS_META_ICC_NAME) != 0;

	if (space == VIPS_INTERPRETATION_CMYK || (profiled && !is_srgb(*image))) {
		const char *otherwise = space == VIPS_INTERPRETATION_CMYK ? "cmyk" : "srgb";
		// A profile that does not fit the picture is ignored: a face in the wrong hue is still a face.
		if (!vips_icc_transform(*image, &out, "srgb", "embedded", TRUE, "input_profile", otherwise, "depth", 8, NULL))
			replace(image, out);
	}
	space = vips_image_guess_interpretation(*image);
	if (space == VIPS_INTERPRETATION_MULTIBAND || !vips_colourspace_issupported(*image)) {
		VipsImage *bands;
		int n = vips_image_get_bands(*image) >= 3 ? 3 : 1;
		if (vips_extract_band(*image, &bands, 0, "n", n, NULL))
			return -1;
		replace(image, bands);
		if (vips_copy(*image, &out, "interpretation", n == 3 ? VIPS_INTERPRETATION_sRGB : VIPS_INTERPRETATION_B_W, NULL))
			return -1;
		replace(image, out);
	}
	if (vips_colourspace(*image, &out, VIPS_INTERPRETATION_sRGB, NULL))
		return -1;
	replace(image, out);
	if (vips_image_get_bands(*image) > 3) {
		if (vips_extract_band(*image, &out, 0, "n", 3, NULL))
			return -1;
		replace(image, out);
	}
	if (vips_image_get_bands(*image) != 3)
		return -1;
	if (vips_cast(*image, &out, VIPS_FORMAT_UCHAR, NULL))
		return -1;
	return replace(image, out);
}

int hw_decode(int format, const void *photo, size_t size, int long_side, unsigned char **pixels, int *width, int *height) {
	VipsImage *out, *image = load(format, photo, size, 1, 1.0);
	if (!image)
		return finish(-1);

	// Shrink while loading. vips_thumbnail would leave a factor of two to the resize and so decode a 4000-pixel JPEG at
	// full size for 1024; a picture within a sixteenth of what was asked for is taken as it is.
	int width0 = vips_image_get_width(image), height0 = vips_image_get_height(image);
	int side = VIPS_MAX(width0, height0);
	int enough = long_side - long_side / 16;
	int shrink = 1;
	if (format == HW_JPEG)
		while (shrink < 8 && side / (shrink * 2) >= enough)
			shrink *= 2;
	double scale = 1.0;
	if (format == HW_WEBP && side > long_side)
		scale = (double) long_side / side;
	if (shrink > 1 || scale < 1.0) {
		g_object_unref(image);
		if (!(image = load(format, photo, size, shrink, scale)))
			return finish(-1);
	}

	// Alpha goes before the resize, or the hidden colours would bleed in; colours wait until the picture is small.
	if (flatten(&image))
		goto fail;
	side = VIPS_MAX(vips_image_get_width(image), vips_image_get_height(image));
	if (side > long_side) {
		if (vips_resize(image, &out, (double) long_side / side, "kernel", VIPS_KERNEL_LINEAR, NULL))
			goto fail;
		replace(&image, out);
	}
	if (to_srgb(&image))
		goto fail;
	int orientation = vips_image_get_orientation(image);
	if (orientation > 1) {
		// Turning needs every row at once.
		if (!(out = vips_image_copy_memory(image)))
			goto fail;
		replace(&image, out);
		if (vips_autorot(image, &out, NULL))
			goto fail;
		replace(&image, out);
	}

	size_t length;
	*pixels = vips_image_write_to_memory(image, &length);
	*width = vips_image_get_width(image);
	*height = vips_image_get_height(image);
	g_object_unref(image);
	return finish(*pixels && length == (size_t) *width * *height * 3 ? 0 : -1);
fail:
	g_object_unref(image);
	return finish(-1);
}

int hw_encode(const void *pixels, int width, int height, int quality, unsigned char **jpeg, size_t *size) {
	VipsImage *out, *image = vips_image_new_from_memory(pixels, (size_t) width * height * 3, width, height, 3, VIPS_FORMAT_UCHAR);
	if (!image)
		return finish(-1);
	if (vips_copy(image, &out, "interpretation", VIPS_INTERPRETATION_sRGB, NULL)) {
		g_object_unref(image);
		return finish(-1);
	}
	replace(&image, out);
	int failed = vips_jpegsave_buffer(image, (void **) jpeg, size, "Q", quality, "strip", TRUE,
		"subsample_mode", VIPS_FOREIGN_SUBSAMPLE_OFF, NULL);
	g_object_unref(image);
	return finish(failed ? -1 : 0);
}

void hw_free(void *p) {
	g_free(p);
}

void hw_give_back(void) {
	malloc_trim(0);
}
