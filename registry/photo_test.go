package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPhotoRoundTrip(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	for i, size := range []int{1, 4055, 4056, 4096, 65536, 1_000_003} { // around the segments' edges
		content := randomPhoto(uint64(i), size)
		p := mustAdd(t, r, c.ID, content)
		if got, err := readPhoto(r, p.ID); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		if p.Size != int64(size) || p.State != Queued || p.Tries != 0 {
			t.Errorf("%+v", p)
		}
	}
	if got, err := r.Case(t.Context(), c.ID); err != nil || got.Photos != 6 {
		t.Error(got.Photos, err)
	}
	strays(t, r)
}

func TestUpload(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)

	if _, err := r.NewUpload(t.Context(), "c_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, _, err := addPhoto(t.Context(), r, c.ID, nil, NewPhoto{}); !errors.Is(err, ErrInvalid) {
		t.Error("empty photo:", err)
	}
	future := DayOf(time.Now().AddDate(1, 0, 0))
	if _, _, err := addPhoto(t.Context(), r, c.ID, []byte("a"), NewPhoto{Taken: future}); !errors.Is(err, ErrInvalid) {
		t.Error("taken in the future:", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	u, err := r.NewUpload(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("photo")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.Commit(cancelled, NewPhoto{Format: "jpeg"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	rc, err := u.Open()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(rc); err != nil || string(b) != "photo" {
		t.Error(b, err)
	}
	rc.Close()
	if _, err := u.Write([]byte("more")); err == nil {
		t.Error("wrote to a finished upload")
	}
	strays0 := len(files(t, r.tmp()))
	if err := errors.Join(u.Close(), u.Close()); err != nil {
		t.Error(err)
	}
	if len(files(t, r.tmp())) != strays0-1 {
		t.Error("Close left the upload behind")
	}
	if _, err := u.Write([]byte("more")); err == nil {
		t.Error("wrote to a closed upload")
	}
	if _, _, err := u.Commit(t.Context(), NewPhoto{Format: "jpeg"}); err == nil {
		t.Error("committed a closed upload")
	}
	strays(t, r)
	if len(files(t, r.photos())) != 0 {
		t.Error("something was stored")
	}

	p, _, err := addPhoto(t.Context(), r, c.ID, []byte("a"), NewPhoto{Name: "a\x00/../b\xff.jpg", TakenEXIF: future, Claim: true})
	if err != nil || p.Name != "a/../b\uFFFD.jpg" || !utf8.ValidString(p.Name) || !p.Taken.IsZero() || p.TakenBy != TakenUnknown || p.Tries != 1 {
		t.Errorf("%+v %v", p, err)
	}
	if _, ok, err := r.ClaimPhoto(t.Context()); ok || err != nil {
		t.Error("a claimed photo was handed out", err)
	}
}

func TestScratch(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	for _, content := range []string{"", "probe"} {
		u, err := r.NewScratch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(u, content); err != nil {
			t.Fatal(err)
		}
		rc, err := u.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(rc); err != nil || string(b) != content {
			t.Error(b, err)
		}
		if _, _, err := u.Commit(t.Context(), NewPhoto{Format: "jpeg"}); err == nil {
			t.Error("a scratch upload was committed")
		}
		if err := errors.Join(rc.Close(), u.Close()); err != nil {
			t.Error(err)
		}
	}
	strays(t, r)
}

func TestDuplicatePhoto(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c, other := newCase(t, r, Missing), newCase(t, r, Found)
	content := randomPhoto(7, 10_000)
	p := mustAdd(t, r, c.ID, content)
	again, existed, err := addPhoto(t.Context(), r, c.ID, content, NewPhoto{Name: "copy"})
	if err != nil || !existed || again.ID != p.ID || again.Name != p.Name {
		t.Fatal(again, existed, err)
	}
	elsewhere := mustAdd(t, r, other.ID, content)
	if elsewhere.ID == p.ID {
		t.Error("cases share a photo")
	}
	strays(t, r)
	if n := len(files(t, r.photos())); n != 2 {
		t.Error(n, "files")
	}
}

// TestSamePhotoAtOnce adds one photo from several goroutines of two registries at once.
func TestSamePhotoAtOnce(t *testing.T) {
	dir := t.TempDir()
	rs := []*Registry{open(t, dir, Options{}), open(t, dir, Options{})}
	c := newCase(t, rs[0], Missing)
	content := randomPhoto(8, 100_000)
	const n = 8
	ids := make([]PhotoID, n)
	fresh := make([]bool, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			p, existed, err := addPhoto(context.Background(), rs[i%2], c.ID, content, NewPhoto{})
			if err != nil {
				t.Error(err)
			}
			ids[i], fresh[i] = p.ID, !existed
		})
	}
	wg.Wait()
	news := 0
	for i := range n {
		if ids[i] != ids[0] {
			t.Error("two photos", ids)
		}
		if fresh[i] {
			news++
		}
	}
	if news != 1 {
		t.Error(news, "uploads claim to be the first")
	}
	strays(t, rs[0])
}

// TestDamagedPhoto flips and cuts bytes of a photo's file, and swaps files: reading must never end well.
func TestDamagedPhoto(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	content := randomPhoto(9, 10_000)
	p := mustAdd(t, r, c.ID, content)
	q := mustAdd(t, r, c.ID, randomPhoto(10, 10_000))
	var path, other string
	for _, row := range []struct {
		id PhotoID
		to *string
	}{{p.ID, &path}, {q.ID, &other}} {
		var name string
		if err := r.readers.QueryRow("SELECT file FROM photos WHERE id = ?", row.id).Scan(&name); err != nil {
			t.Fatal(err)
		}
		*row.to = r.file(name)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPhoto(r, p.ID); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, at := range []int{0, 1, 30, 39, 40, 100, 4095, 4096, 8191, 8192, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		check("flipped bit", bad)
	}
	for _, n := range []int{0, 1, 39, 40, 56, 4096, 8192, len(good) - 1} {
		check("cut short", good[:n])
	}
	check("longer", append(bytes.Clone(good), 0))
	swapped, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	check("another photo of the same case", swapped)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := readPhoto(r, p.ID); !errors.Is(err, ErrCorrupt) {
		t.Error("missing file:", err)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readPhoto(r, p.ID); err != nil || !bytes.Equal(got, content) {
		t.Error(err)
	}
}

func TestPhotoFacts(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	c := newCase(t, r, Missing)
	add := func(content string, n NewPhoto) Photo {
		t.Helper()
		p, _, err := addPhoto(t.Context(), r, c.ID, []byte(content), n)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	undated := add("1", NewPhoto{})
	exif := add("2", NewPhoto{TakenEXIF: date(t, "2010-06-01")})
	both := add("3", NewPhoto{Taken: date(t, "2009"), TakenEXIF: date(t, "2015-01-01")})
	if exif.TakenBy != TakenEXIF || both.TakenBy != TakenPerson || both.Taken.String() != "2009" {
		t.Error(exif, both)
	}
	photos, err := r.PhotosOf(t.Context(), c.ID)
	if err != nil || len(photos) != 3 || photos[0].ID != both.ID || photos[1].ID != exif.ID || photos[2].ID != undated.ID {
		t.Fatal(photos, err)
	}
	if _, err := r.PhotosOf(t.Context(), "c_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	day := date(t, "2008-03-04")
	if p, err := r.UpdatePhoto(t.Context(), exif.ID, PhotoChange{Taken: &day}); err != nil || p.Taken != day || p.TakenBy != TakenPerson {
		t.Error(p, err)
	}
	future := DayOf(time.Now().AddDate(1, 0, 0))
	if _, err := r.UpdatePhoto(t.Context(), exif.ID, PhotoChange{Taken: &future}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	nobody := FaceID("f_none")
	if _, err := r.UpdatePhoto(t.Context(), exif.ID, PhotoChange{Subject: &nobody}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err := r.DeletePhoto(t.Context(), exif.ID); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		r.DeletePhoto(t.Context(), exif.ID),
		func() error { _, err := r.Photo(t.Context(), exif.ID); return err }(),
		func() error { _, err := r.OpenPhoto(t.Context(), exif.ID); return err }(),
		func() error { _, err := r.UpdatePhoto(t.Context(), exif.ID, PhotoChange{}); return err }(),
		func() error { _, err := r.PhotoOf(t.Context(), "f_none"); return err }(),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	strays(t, r)
}

// TestUploadWhileCaseIsDeleted deletes the case between every two steps of an upload: the photo goes with it.
func TestUploadWhileCaseIsDeleted(t *testing.T) {
	for _, step := range []string{"upload.synced", "upload.renamed", "upload.durable"} {
		dir := t.TempDir()
		var c Case
		deleter := open(t, dir, Options{})
		r := open(t, dir, Options{step: func(s string) error {
			if s != step {
				return nil
			}
			return deleter.DeleteCase(context.Background(), c.ID)
		}})
		c = newCase(t, r, Missing)
		if _, _, err := addPhoto(t.Context(), r, c.ID, []byte("photo"), NewPhoto{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", step, err)
		}
		strays(t, r)
	}
}

// TestUploadStepFails makes every step of an upload fail: nothing is left behind and the next attempt works.
func TestUploadStepFails(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{"upload.synced", "upload.renamed", "upload.durable", "upload.row"} {
		fail := true
		r := open(t, t.TempDir(), Options{step: func(s string) error {
			if s == step && fail {
				return broken
			}
			return nil
		}})
		c := newCase(t, r, Missing)
		if _, _, err := addPhoto(t.Context(), r, c.ID, []byte("photo"), NewPhoto{}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", step, err)
		}
		strays(t, r)
		fail = false
		mustAdd(t, r, c.ID, []byte("photo"))
		strays(t, r)
	}
}
