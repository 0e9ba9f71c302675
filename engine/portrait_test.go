package engine

import (
	"bytes"
	"encoding/binary"
	"image/jpeg"
	"slices"
	"testing"

	photos "homeward/internal/testphotos"
)

// TestPortrait cuts portraits out of a photo, upright or not, with the face anywhere.
func TestPortrait(t *testing.T) {
	original := photos.Read(t, photos.Obama)
	upright, _, err := Decode(original, 4096)
	if err != nil {
		t.Fatal(err)
	}
	face := subject(t, start(t, 1), original).Box
	width, height := float32(upright.Width), float32(upright.Height)
	for _, tt := range []struct {
		name string
		box  Box
		side int
		want int // pixels
		x, y float32
	}{
		{"a face", face, 160, 160, -1, -1},
		{"a side larger than the square stays as small as it is", Box{100, 100, 100, 80}, 4000, 220, 40, 30},
		{"at the upper left edge", Box{-20, -10, 100, 100}, 100, 100, 0, 0},
		{"at the lower right edge", Box{width - 60, height - 60, 100, 100}, 110, 110, width - 220, height - 220},
		{"beyond the edge", Box{2 * width, 2 * height, 100, 100}, 110, 110, width - 220, height - 220},
		{"larger than the photo", Box{0, 0, 10 * width, 10 * height}, 200, 200, -1, -1},
	} {
		for _, orientation := range []int{1, 6, 3} {
			photo := oriented(t, original, orientation, ".jpg[Q=95]")
			out, err := Portrait(photo, tt.box, tt.side)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			got, err := jpeg.Decode(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			if size := got.Bounds().Size(); size.X != tt.want || size.Y != tt.want {
				t.Errorf("%s, orientation %d: %v, want %d pixels square", tt.name, orientation, size, tt.want)
			}
			if tt.x < 0 {
				continue
			}
			// It shows what the upright photo has there.
			want := NewImage(220, 220)
			for y := range 220 {
				copy(want.Pix[3*220*y:3*220*(y+1)], upright.Pix[3*((int(tt.y)+y)*upright.Width+int(tt.x)):])
			}
			small, err := lanczos(want, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			a, _, err := Decode(out, 4096)
			if err != nil {
				t.Fatal(err)
			}
			b, _, err := Decode(small, 4096)
			if err != nil {
				t.Fatal(err)
			}
			if d := difference(t, a, b); d > 6 {
				t.Errorf("%s, orientation %d: pixels differ by %.1f on average", tt.name, orientation, d)
			}
		}
	}
	for _, box := range []Box{{}, {Width: 10}, {Height: 10}} {
		if _, err := Portrait(original, box, 100); err == nil {
			t.Errorf("a portrait of no face was cut: %+v", box)
		}
	}
	if _, err := Portrait([]byte("not a photo"), face, 100); err == nil {
		t.Error("what is no photo gave a portrait")
	}
}

// TestPortraitCarriesNothing cuts a portrait out of a photo that says where it was taken, in every way a JPEG can.
func TestPortraitCarriesNothing(t *testing.T) {
	photo := withMetadata(t, photos.Read(t, photos.Obama))
	if before := segments(t, photo); !slices.Contains(before, 0xe1) || !slices.Contains(before, 0xe2) || !slices.Contains(before, 0xed) || !slices.Contains(before, 0xfe) {
		t.Fatalf("the test's photo has the segments %x only", before)
	}
	header, err := Inspect(photo)
	if err != nil {
		t.Fatal(err)
	}
	if header.Orientation != 6 {
		t.Fatalf("the test's EXIF is not read: %+v", header)
	}
	out, err := Portrait(photo, Box{200, 200, 150, 150}, 200)
	if err != nil {
		t.Fatal(err)
	}
	for _, marker := range segments(t, out) {
		if marker >= 0xe1 && marker <= 0xef || marker == 0xfe { // APP1 to APP15 and comments; APP0 is JFIF's density
			t.Errorf("the portrait has a segment ff%x", marker)
		}
	}
	for _, trace := range []string{"Exif", "http://ns.adobe.com", "ICC_PROFILE", "Photoshop", "2009:05", "secret place"} {
		if bytes.Contains(out, []byte(trace)) {
			t.Errorf("the portrait holds %q", trace)
		}
	}
}

// withMetadata puts EXIF with a place, a date and a turn, XMP, a colour profile's segment, Photoshop's fields and a comment in front
// of a JPEG.
func withMetadata(t *testing.T, photo []byte) []byte {
	t.Helper()
	segment := func(marker byte, body ...[]byte) []byte {
		all := bytes.Join(body, nil)
		return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(all)+2)), all...)
	}
	// TIFF, big end first: a directory with a turn, a date and a pointer to the directory of the place.
	entry := func(tag, kind uint16, count uint32, value ...byte) []byte {
		e := binary.BigEndian.AppendUint16(nil, tag)
		e = binary.BigEndian.AppendUint16(e, kind)
		e = binary.BigEndian.AppendUint32(e, count)
		return append(e, append(value, make([]byte, 4-len(value))...)...)
	}
	const first, place, date, latitude = 8, 50, 80, 100
	directory := func(entries ...[]byte) []byte {
		d := binary.BigEndian.AppendUint16(nil, uint16(len(entries)))
		return append(append(d, bytes.Join(entries, nil)...), 0, 0, 0, 0)
	}
	tiff := []byte{'M', 'M', 0, 42, 0, 0, 0, first}
	tiff = append(tiff, directory(entry(274, 3, 1, 0, 6), entry(306, 2, 20, 0, 0, 0, date), entry(0x8825, 4, 1, 0, 0, 0, place))...)
	tiff = append(tiff, make([]byte, place-len(tiff))...)
	tiff = append(tiff, directory(entry(1, 2, 2, 'N', 0), entry(2, 5, 3, 0, 0, 0, latitude))...)
	tiff = append(tiff, make([]byte, date-len(tiff))...)
	tiff = append(tiff, "2009:05:17 10:11:12\x00"...)
	for _, n := range []uint32{30, 1, 39, 1, 34, 1} {
		tiff = binary.BigEndian.AppendUint32(tiff, n)
	}
	out := slices.Concat([]byte{0xff, 0xd8},
		segment(0xe1, []byte("Exif\x00\x00"), tiff),
		segment(0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta xmlns:x='adobe:ns:meta/'>secret place</x:xmpmeta>")),
		segment(0xe2, []byte("ICC_PROFILE\x00\x01\x01"), make([]byte, 128)),
		segment(0xed, []byte("Photoshop 3.0\x00secret place")),
		segment(0xfe, []byte("secret place")))
	return append(out, photo[2:]...)
}

// segments are the markers of a JPEG up to its pixels.
func segments(t *testing.T, photo []byte) (markers []byte) {
	t.Helper()
	for at := 2; at+4 <= len(photo); {
		if photo[at] != 0xff {
			t.Fatalf("no marker at %d", at)
		}
		marker := photo[at+1]
		markers = append(markers, marker)
		if marker == 0xda {
			return markers
		}
		at += 2 + int(binary.BigEndian.Uint16(photo[at+2:]))
	}
	t.Fatal("the JPEG has no pixels")
	return nil
}
