// A thin C face on libvips: everything Homeward does with it, in four calls. Each is safe from any thread, runs on one
// core, keeps nothing afterwards, and returns 0 or −1.
#ifndef HOMEWARD_VIPS_H
#define HOMEWARD_VIPS_H

#include <stddef.h>

// The formats a photo may have; the same numbers as in decode.go.
enum { HW_JPEG = 1, HW_PNG, HW_WEBP, HW_TIFF, HW_HEIF };

typedef struct {
	int width, height; // as stored, before orientation
	int pages;
	int orientation; // EXIF 1..8
	char original[64], digitised[64]; // EXIF DateTimeOriginal and DateTimeDigitized as vips prints them, or empty
} hw_header;

// hw_init starts libvips once per process, blocks every loader but the five, and makes it forget what it has done.
int hw_init(void);

// hw_inspect reads the header only.
int hw_inspect(int format, const void *photo, size_t size, hw_header *header);

// hw_decode makes an upright sRGB picture whose long side is about long_side (see Decode). The caller frees *pixels.
int hw_decode(int format, const void *photo, size_t size, int long_side, unsigned char **pixels, int *width, int *height);

// hw_encode makes a JPEG without metadata or chroma subsampling. The caller frees *jpeg.
int hw_encode(const void *pixels, int width, int height, int quality, unsigned char **jpeg, size_t *size);

void hw_free(void *p);

// hw_give_back returns what is free, but scattered, to the system.
void hw_give_back(void);

#endif
