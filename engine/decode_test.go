package engine

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"testing"
	"time"

	"homeward/engine/internal/transcode"
	photos "homeward/internal/testphotos"
)

// transcoded makes another kind of photo of one.
func transcoded(tb testing.TB, photo []byte, to transcode.To) []byte {
	tb.Helper()
	if err := startVips(); err != nil {
		tb.Fatal(err)
	}
	out, err := transcode.Photo(photo, to)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// kinds are the photos that families and police have, made out of a portrait of 8-bit sRGB.
var kinds = []struct {
	name   string
	format string
	to     transcode.To
	// slack is how much a pixel may differ on average from the original's: printing inks cannot show all colours.
	slack float64
	grey  bool
}{
	{"jpeg", "jpeg", transcode.To{Suffix: ".jpg[Q=95]", Space: transcode.Keep}, 3, false},
	{"progressive jpeg", "jpeg", transcode.To{Suffix: ".jpg[Q=95,interlace]", Space: transcode.Keep}, 3, false},
	{"grey jpeg", "jpeg", transcode.To{Suffix: ".jpg[Q=95]", Space: transcode.Grey}, 3, true},
	{"cmyk jpeg", "jpeg", transcode.To{Suffix: ".jpg[Q=95]", Space: transcode.CMYK}, 12, false},
	{"cmyk jpeg without profile", "jpeg", transcode.To{Suffix: ".jpg[Q=95,strip]", Space: transcode.CMYK}, 12, false},
	{"png", "png", transcode.To{Suffix: ".png", Space: transcode.Keep}, 3, false},
	{"png with alpha", "png", transcode.To{Suffix: ".png", Space: transcode.Keep, Alpha: true}, 3, false},
	{"16-bit png", "png", transcode.To{Suffix: ".png", Space: transcode.RGB16}, 3, false},
	{"16-bit png with alpha", "png", transcode.To{Suffix: ".png", Space: transcode.RGB16, Alpha: true}, 3, false},
	{"16-bit grey png", "png", transcode.To{Suffix: ".png", Space: transcode.Grey16}, 3, true},
	{"palette png", "png", transcode.To{Suffix: ".png[palette]", Space: transcode.Keep}, 6, false},
	{"interlaced png", "png", transcode.To{Suffix: ".png[interlace]", Space: transcode.Keep}, 3, false},
	{"webp", "webp", transcode.To{Suffix: ".webp[Q=95]", Space: transcode.Keep}, 4, false},
	{"lossless webp", "webp", transcode.To{Suffix: ".webp[lossless]", Space: transcode.Keep}, 4, false},
	{"tiff", "tiff", transcode.To{Suffix: ".tif", Space: transcode.Keep}, 3, false},
	{"tiled jpeg tiff", "tiff", transcode.To{Suffix: ".tif[tile,compression=jpeg,Q=95]", Space: transcode.Keep}, 4, false},
	{"16-bit tiff", "tiff", transcode.To{Suffix: ".tif[compression=deflate]", Space: transcode.RGB16}, 3, false},
	{"cmyk tiff", "tiff", transcode.To{Suffix: ".tif[compression=lzw]", Space: transcode.CMYK}, 12, false},
	{"lab tiff", "tiff", transcode.To{Suffix: ".tif", Space: transcode.Lab}, 3, false},
	{"fax tiff", "tiff", transcode.To{Suffix: ".tif[bitdepth=8]", Space: transcode.Grey}, 3, true},
	{"heic", "heif", transcode.To{Suffix: ".heic[Q=90]", Space: transcode.Keep}, 4, false},
	{"avif", "heif", transcode.To{Suffix: ".avif[Q=80,effort=0]", Space: transcode.Keep}, 5, false},
}

func TestDecodeEveryKind(t *testing.T) {
	original := photos.Read(t, "obama.jpg")
	want, _, err := Decode(original, 400)
	if err != nil {
		t.Fatal(err)
	}
	grey := greyed(want)
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			got, header, err := Decode(transcoded(t, original, kind.to), 400)
			if err != nil {
				t.Fatal(err)
			}
			if header.Format != kind.format {
				t.Errorf("format %q, want %q", header.Format, kind.format)
			}
			reference := want
			if kind.grey {
				reference = grey
			}
			if d := difference(t, got, reference); d > kind.slack {
				t.Errorf("pixels differ by %.1f on average, more than %.1f", d, kind.slack)
			}
		})
	}
}

func TestDecodeSize(t *testing.T) {
	original := photos.Read(t, "obama.jpg") // long side 1137
	for _, test := range []struct {
		scale    float64
		longSide int
		low      int
		high     int
	}{
		{1, 5000, 1137, 1137}, // never enlarged
		{1, 1137, 1137, 1137},
		{1, 500, 500, 500},   // half is too large, so shrunk by two and resized
		{1, 600, 568, 569},   // half is within a sixteenth
		{1.5, 225, 212, 225}, // a sixth, out of an eighth
		{1, 1, 1, 1},
	} {
		photo := transcoded(t, original, transcode.To{Suffix: ".jpg", Space: transcode.Keep, Scale: test.scale})
		im, _, err := Decode(photo, test.longSide)
		if err != nil {
			t.Fatal(err)
		}
		if side := max(im.Width, im.Height); side < test.low || side > test.high {
			t.Errorf("%v× decoded to %d: long side %d, want %d to %d", test.scale, test.longSide, side, test.low, test.high)
		}
	}
}

func TestDecodeOrientation(t *testing.T) {
	original := photos.Read(t, "obama.jpg")
	upright, _, err := Decode(original, 256)
	if err != nil {
		t.Fatal(err)
	}
	for orientation := 1; orientation <= 8; orientation++ {
		for _, suffix := range []string{".jpg[Q=95]", ".tif", ".webp[Q=95]"} {
			photo := oriented(t, original, orientation, suffix)
			got, header, err := Decode(photo, 256)
			if err != nil {
				t.Fatal(err)
			}
			if header.Width*upright.Height < header.Height*upright.Width*9/10 || header.Width*upright.Height > header.Height*upright.Width*11/10 {
				t.Errorf("%s, orientation %d: header says %d by %d", suffix, orientation, header.Width, header.Height)
			}
			if d := difference(t, got, upright); d > 6 {
				t.Errorf("%s, orientation %d: pixels differ by %.1f on average", suffix, orientation, d)
			}
		}
	}
}

// oriented makes a photo whose pixels are stored turned and whose EXIF orientation says so.
func oriented(tb testing.TB, photo []byte, orientation int, suffix string) []byte {
	tb.Helper()
	im, _, err := Decode(photo, 4096)
	if err != nil {
		tb.Fatal(err)
	}
	width, height := im.Width, im.Height
	if orientation >= 5 {
		width, height = height, width
	}
	stored := NewImage(width, height)
	for y := range im.Height {
		for x := range im.Width {
			// Where EXIF stores the upright pixel (x, y): TIFF 6.0, tag 274.
			u, v := x, y
			switch orientation {
			case 2:
				u = im.Width - 1 - x
			case 3:
				u, v = im.Width-1-x, im.Height-1-y
			case 4:
				v = im.Height - 1 - y
			case 5:
				u, v = y, x
			case 6:
				u, v = y, im.Width-1-x
			case 7:
				u, v = im.Height-1-y, im.Width-1-x
			case 8:
				u, v = im.Height-1-y, x
			}
			copy(stored.Pix[3*(v*width+u):][:3], im.Pix[3*(y*im.Width+x):][:3])
		}
	}
	plain, err := encode(stored, 100)
	if err != nil {
		tb.Fatal(err)
	}
	return transcoded(tb, plain, transcode.To{Suffix: suffix, Space: transcode.Keep, Orientation: orientation})
}

func greyed(im *Image) *Image {
	out := NewImage(im.Width, im.Height)
	for i := 0; i < len(im.Pix); i += 3 {
		// Luminance is linear in light, not in bytes.
		light := func(b uint8) float64 { return math.Pow(float64(b)/255, 2.2) }
		y := 0.2126*light(im.Pix[i]) + 0.7152*light(im.Pix[i+1]) + 0.0722*light(im.Pix[i+2])
		b := uint8(255*math.Pow(y, 1/2.2) + 0.5)
		out.Pix[i], out.Pix[i+1], out.Pix[i+2] = b, b, b
	}
	return out
}

// difference is the mean absolute difference of two pictures' bytes.
func difference(tb testing.TB, a, b *Image) float64 {
	tb.Helper()
	if a.Width != b.Width || a.Height != b.Height {
		tb.Fatalf("%d by %d pixels, want %d by %d", a.Width, a.Height, b.Width, b.Height)
	}
	var sum float64
	for i := range a.Pix {
		sum += math.Abs(float64(a.Pix[i]) - float64(b.Pix[i]))
	}
	return sum / float64(len(a.Pix))
}

func TestAlphaIsLaidOnWhite(t *testing.T) {
	clearPicture := image.NewNRGBA(image.Rect(0, 0, 64, 64)) // black, wholly transparent
	var b bytes.Buffer
	if err := png.Encode(&b, clearPicture); err != nil {
		t.Fatal(err)
	}
	im, _, err := Decode(b.Bytes(), 32)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range im.Pix {
		if p != 255 {
			t.Fatalf("a transparent pixel became %d, want white", p)
		}
	}
}

func TestRefusals(t *testing.T) {
	good := photos.Read(t, "obama.jpg")
	asPNG := transcoded(t, good, transcode.To{Suffix: ".png", Space: transcode.Keep})
	asWebP := transcoded(t, good, transcode.To{Suffix: ".webp", Space: transcode.Keep})
	asHEIC := transcoded(t, good, transcode.To{Suffix: ".heic", Space: transcode.Keep})
	asTIFF := transcoded(t, good, transcode.To{Suffix: ".tif", Space: transcode.Keep})
	scribbled := bytes.Clone(asPNG)
	copy(scribbled[len(scribbled)/2:], bytes.Repeat([]byte{0xaa}, 4096))

	for _, test := range []struct {
		name  string
		photo []byte
		code  string
	}{
		{"nothing", nil, CodeEmpty},
		{"one byte", []byte{0xff}, CodeNotAnImage},
		{"text", []byte("my daughter, 2009"), CodeNotAnImage},
		{"zeros", make([]byte, 1<<20), CodeNotAnImage},
		{"svg", []byte(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>`), CodeUnsupported},
		{"pdf", []byte("%PDF-1.7\n"), CodeUnsupported},
		{"bmp", []byte("BM\x00\x00\x00\x00"), CodeUnsupported},
		{"mp4", []byte("\x00\x00\x00\x18ftypisom\x00\x00\x00\x00"), CodeUnsupported},
		{"gif", gifOf(t, 1), CodeUnsupported},
		{"animated gif", gifOf(t, 3), CodeAnimated},
		{"animated webp", animatedWebP(t), CodeAnimated},
		{"bomb: png of 30000 by 30000", pngBomb(t, 30000, 30000), CodeTooMany},
		{"png of 100000 by 100", pngBomb(t, 100000, 100), CodeTooMany},
		{"png of 2000000000 by 1", pngBomb(t, 2000000000, 1), CodeCorrupt},
		{"a dot", pngBomb(t, 8, 8), CodeTooSmall},
		{"jpeg header only", good[:20], CodeTruncated},
		{"half a jpeg", good[:len(good)/2], CodeTruncated},
		{"nine tenths of a jpeg", good[:len(good)*9/10], CodeTruncated},
		{"half a progressive jpeg", half(transcoded(t, good, transcode.To{Suffix: ".jpg[interlace]", Space: transcode.Keep})), CodeTruncated},
		{"half a png", half(asPNG), CodeTruncated},
		{"half a webp", half(asWebP), CodeTruncated},
		{"half a heic", half(asHEIC), CodeCorrupt},
		{"half a tiff", half(asTIFF), CodeCorrupt},
		{"a scribbled png", scribbled, CodeCorrupt},
		{"a jpeg's first bytes and rubbish", append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF"), bytes.Repeat([]byte{7}, 999)...), CodeTruncated},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Decode(test.photo, 1024)
			var refused *PhotoError
			if !errors.As(err, &refused) {
				t.Fatalf("got error %v, want a PhotoError", err)
			}
			if refused.Code != test.code {
				t.Errorf("code %q, want %q", refused.Code, test.code)
			}
			if len(refused.Text) < 20 {
				t.Errorf("text %q does not say what to do", refused.Text)
			}
		})
	}
}

func half(b []byte) []byte { return b[:len(b)/2] }

func gifOf(tb testing.TB, frames int) []byte {
	tb.Helper()
	var b bytes.Buffer
	movie := gif.GIF{}
	for range frames {
		movie.Image = append(movie.Image, image.NewPaletted(image.Rect(0, 0, 32, 32), color.Palette{color.Black, color.White}))
		movie.Delay = append(movie.Delay, 10)
	}
	if err := gif.EncodeAll(&b, &movie); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// animatedWebP wraps the still of a WebP twice into one that moves.
func animatedWebP(tb testing.TB) []byte {
	tb.Helper()
	still := transcoded(tb, photos.Read(tb, "obama.jpg"), transcode.To{Suffix: ".webp[strip]", Space: transcode.Keep, Scale: 0.1})
	im, _, err := Decode(still, 4096)
	if err != nil {
		tb.Fatal(err)
	}
	start := bytes.Index(still, []byte("VP8 "))
	if start < 0 {
		tb.Fatal("the still has no VP8 chunk")
	}
	bitstream := still[start : start+8+int(binary.LittleEndian.Uint32(still[start+4:]))]
	chunk := func(kind string, body []byte) []byte {
		out := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body)))
		out = append(out, body...)
		if len(body)%2 == 1 {
			out = append(out, 0)
		}
		return out
	}
	size := func(n int) []byte { return []byte{byte(n - 1), byte((n - 1) >> 8), byte((n - 1) >> 16)} }
	body := []byte("WEBP")
	body = append(body, chunk("VP8X", append(append([]byte{2, 0, 0, 0}, size(im.Width)...), size(im.Height)...))...)
	body = append(body, chunk("ANIM", make([]byte, 6))...)
	for range 2 {
		frame := append(make([]byte, 6), size(im.Width)...)
		frame = append(append(frame, size(im.Height)...), 100, 0, 0, 0)
		body = append(body, chunk("ANMF", append(frame, bitstream...))...)
	}
	return chunk("RIFF", body)
}

// pngBomb is a PNG of black pixels, which declares its size and packs it a thousandfold.
func pngBomb(tb testing.TB, width, height int) []byte {
	tb.Helper()
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(make([]byte, min(1<<20, (width+1)*height))); err != nil {
		tb.Fatal(err)
	}
	z.Close()
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, body []byte) {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(body))))
		b.WriteString(kind)
		b.Write(body)
		b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(append([]byte(kind), body...))))
	}
	header := binary.BigEndian.AppendUint32(nil, uint32(width))
	header = binary.BigEndian.AppendUint32(header, uint32(height))
	chunk("IHDR", append(header, 8, 0, 0, 0, 0))
	chunk("IDAT", packed.Bytes())
	chunk("IEND", nil)
	return b.Bytes()
}

func TestTakenAt(t *testing.T) {
	now := time.Date(2026, 5, 17, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		original, digitised string
		want                string
	}{
		{"", "", "0001-01-01"},
		{"2009:05:17 10:11:12 (2009:05:17 10:11:12, ASCII, 20 components, 20 bytes)", "", "2009-05-17"},
		{"", "2009:05:17 10:11:12", "2009-05-17"},
		{"2009:05:17 10:11:12", "2015:01:01 00:00:00", "2009-05-17"},
		{"0000:00:00 00:00:00", "2015:01:01 00:00:00", "2015-01-01"},
		{"2009:13:17 10:11:12", "", "0001-01-01"},
		{"1825:12:31 23:59:59", "", "0001-01-01"},
		{"2026:05:18 11:59:59", "", "2026-05-18"}, // a camera some time zones ahead
		{"2026:05:18 12:00:01", "", "0001-01-01"},
		{"2009:05:17", "", "0001-01-01"},
		{"yesterday, I think it was", "", "0001-01-01"},
	} {
		if got := takenAt(test.original, test.digitised, now).Format(time.DateOnly); got != test.want {
			t.Errorf("takenAt(%q, %q) = %s, want %s", test.original, test.digitised, got, test.want)
		}
	}
}

func TestTakenAtIsReadFromThePhoto(t *testing.T) {
	for _, suffix := range []string{".jpg", ".webp", ".heic"} {
		photo := transcoded(t, photos.Read(t, "obama.jpg"), transcode.To{Suffix: suffix, Space: transcode.Keep, Taken: "2009:05:17 10:11:12"})
		header, err := Inspect(photo)
		if err != nil {
			t.Fatal(err)
		}
		if got := header.TakenAt.Format(time.DateTime); got != "2009-05-17 10:11:12" {
			t.Errorf("%s: taken at %s", suffix, got)
		}
	}
}

func TestRenditionCarriesNothing(t *testing.T) {
	photo := transcoded(t, photos.Read(t, "obama.jpg"), transcode.To{Suffix: ".jpg", Space: transcode.Keep, Orientation: 6, Taken: "2009:05:17 10:11:12"})
	small, err := Rendition(photo, 200)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(small, []byte("Exif")) || bytes.Contains(small, []byte("2009:05")) || bytes.Contains(small, []byte("ICC_PROFILE")) {
		t.Error("the rendition carries metadata")
	}
	config, err := jpeg.DecodeConfig(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	header, err := Inspect(photo)
	if err != nil {
		t.Fatal(err)
	}
	if max(config.Width, config.Height) != 200 || (config.Width > config.Height) != (header.Width > header.Height) {
		t.Errorf("the rendition is %d by %d", config.Width, config.Height)
	}
}

func FuzzInspect(f *testing.F) {
	original := photos.Read(f, "obama.jpg")
	for _, suffix := range []string{".jpg", ".png", ".webp", ".tif", ".heic"} {
		f.Add(transcoded(f, original, transcode.To{Suffix: suffix, Space: transcode.Keep, Scale: 0.05}))
	}
	f.Add(pngBomb(f, 30000, 30000))
	f.Add(gifOf(f, 2))
	f.Fuzz(func(t *testing.T, photo []byte) {
		header, err := Inspect(photo)
		var refused *PhotoError
		switch {
		case err != nil && !errors.As(err, &refused):
			t.Fatalf("error %v is not a PhotoError", err)
		case err == nil && (header.Width < MinSide || header.Height < MinSide || header.Width*header.Height > MaxPixels):
			t.Fatalf("let through %d by %d pixels", header.Width, header.Height)
		case err == nil && header.Width*header.Height < 1<<20:
			im, _, err := Decode(photo, 64)
			if err == nil && (max(im.Width, im.Height) > 64 || len(im.Pix) != 3*im.Width*im.Height) {
				t.Fatalf("decoded to %d by %d pixels", im.Width, im.Height)
			}
		}
	})
}
