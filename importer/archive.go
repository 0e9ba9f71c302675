package importer

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// openArchive opens an archive by its first bytes. It takes f over unless it fails.
func openArchive(f *os.File, size int64) (source, error) {
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:n]
	switch {
	case n == 0:
		return nil, errors.New("the archive is empty")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return openZip(f, size)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return &tarball{file: f, unpack: func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }}, nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return &tarball{file: f, unpack: func(r io.Reader) (io.ReadCloser, error) {
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
			if err != nil {
				return nil, err
			}
			return z.IOReadCloser(), nil
		}}, nil
	case len(head) == 512 && string(head[257:262]) == "ustar":
		return &tarball{file: f}, nil
	}
	// One of before there was a mark, or without entries.
	if _, err := tar.NewReader(io.NewSectionReader(f, 0, size)).Next(); err == nil || err == io.EOF && n == 512 {
		return &tarball{file: f}, nil
	}
	return nil, errNoArchive
}

// named fills an entry's path by the name that an archive has, or says what is wrong with it. skip is true for what is no file of
// anyone's making.
func named(e *entry, name string) (skip bool) {
	clean, err := cleanPath(name)
	if err != nil {
		e.path, e.bad = Visible(toUTF8(name)), err.Error()
		return false
	}
	e.path = clean
	return ignored(clean)
}

// Visible keeps a text that is shown from being more than text: what would steer a terminal, or turn the order of letters around, is
// replaced.
func Visible(text string) string { return strings.Map(visible, text) }

func visible(c rune) rune {
	switch {
	case c < ' ', c >= 0x7f && c <= 0x9f, c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069:
		return '\uFFFD'
	}
	return c
}

// zipped is a ZIP archive.
type zipped struct {
	file *os.File
	*zip.Reader
}

func openZip(f *os.File, size int64) (*zipped, error) {
	r, err := readDirectory(f, size, maxEntries)
	switch {
	case errors.Is(err, errTooMany):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("the ZIP archive is damaged or incomplete, and its directory, which is at its end, cannot be read (%w): get another copy of it", err)
	}
	return &zipped{f, r}, nil
}

// readDirectory opens a ZIP archive of at most so many entries; errTooMany for one of more.
func readDirectory(f io.ReaderAt, size int64, most int) (*zip.Reader, error) {
	n, err := zipEntries(f, size, most)
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, errTooMany
	}
	r, err := zip.NewReader(f, size)
	if err == nil && len(r.File) > most {
		return nil, errTooMany
	}
	return r, err
}

// zipEntries counts the entries in a ZIP archive's directory (APPNOTE 4.3.12 to 4.3.16) before they are held in memory, and stops beyond
// most. The number that the archive itself gives is not believed where it is lower.
func zipEntries(f io.ReaderAt, size int64, most int) (int, error) {
	tail := make([]byte, min(size, 66<<10))
	from := size - int64(len(tail))
	if _, err := f.ReadAt(tail, from); err != nil && err != io.EOF {
		return 0, err
	}
	end := bytes.LastIndex(tail[:max(0, len(tail)-18)], []byte("PK\x05\x06"))
	if end < 0 {
		return 0, zip.ErrFormat
	}
	// Where the directory begins is said twice, and once more in a large archive; readers differ in what they go by.
	at, long := from+int64(end), binary.LittleEndian.Uint32
	n, starts := 0, []int64{int64(long(tail[end+16:])), at - int64(long(tail[end+12:]))}
	if locator := end - 20; locator >= 0 && bytes.HasPrefix(tail[locator:], []byte("PK\x06\x07")) {
		at = int64(binary.LittleEndian.Uint64(tail[locator+8:]))
		record := make([]byte, 56)
		if _, err := f.ReadAt(record, at); err != nil {
			return 0, err
		}
		// Room is made for as many as it says.
		n = int(min(binary.LittleEndian.Uint64(record[32:]), uint64(most)+1))
		starts = append(starts, int64(binary.LittleEndian.Uint64(record[48:])), at-int64(binary.LittleEndian.Uint64(record[40:])))
	}
	slices.Sort(starts)
	for _, start := range slices.Compact(starts) {
		if start < 0 || start >= size {
			continue
		}
		here, err := countHeaders(bufio.NewReaderSize(io.NewSectionReader(f, start, size-start), 64<<10), most)
		if err != nil {
			return 0, err
		}
		n = max(n, here)
	}
	return n, nil
}

// countHeaders counts the headers of a directory that follow on one another, and stops beyond most.
func countHeaders(r *bufio.Reader, most int) (n int, err error) {
	head := make([]byte, 46)
	for n <= most {
		if _, err := io.ReadFull(r, head); err != nil {
			return n, ended(err)
		}
		if !bytes.HasPrefix(head, []byte("PK\x01\x02")) {
			return n, nil
		}
		n++
		short := binary.LittleEndian.Uint16
		if _, err := r.Discard(int(short(head[28:])) + int(short(head[30:])) + int(short(head[32:]))); err != nil {
			return n, ended(err)
		}
	}
	return n, nil
}

// ended makes nothing of the end of a file.
func ended(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func (z *zipped) Close() error           { return z.file.Close() }
func (z *zipped) at() func(string) entry { return nil }

func (z *zipped) each(ctx context.Context, do func(entry) error) error {
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(f.Name, "/") || f.Mode().IsDir() {
			continue
		}
		if e, ok := z.entry(f); ok {
			if err := do(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *zipped) entry(f *zip.File) (e entry, ok bool) {
	e = entry{size: int64(min(f.UncompressedSize64, 1<<62)), modified: f.Modified, open: f.Open}
	if named(&e, f.Name) {
		return e, false
	}
	switch {
	case e.bad != "":
	case f.Mode()&fs.ModeType != 0:
		e.bad = notRegular
	case f.Flags&1 != 0:
		e.bad = errEncrypted
	case e.size > freeBytes && f.UncompressedSize64/maxRatio > f.CompressedSize64:
		e.bad = fmt.Sprintf("it would expand more than %d times, as no photo does", maxRatio)
	case f.Method != zip.Store && f.Method != zip.Deflate:
		e.bad = fmt.Sprintf("it is compressed by a method (%d) that is not known: make the archive with ordinary ZIP compression", f.Method)
	}
	return e, true
}

func (z *zipped) read(_ context.Context, name string) ([]byte, error) {
	for _, f := range z.File {
		if e, ok := z.entry(f); ok && e.path == name {
			if e.bad != "" {
				return nil, errors.New(e.bad)
			}
			return readSmall(e)
		}
	}
	return nil, fs.ErrNotExist
}

// tarball is a TAR archive, perhaps compressed, which can only be read from one end to the other.
type tarball struct {
	file   *os.File
	unpack func(io.Reader) (io.ReadCloser, error) // nil where it is not compressed
}

func (t *tarball) Close() error           { return t.file.Close() }
func (t *tarball) at() func(string) entry { return nil }

// expanding counts what goes in and comes out of a decompression.
type expanding struct {
	in  *counter
	out io.Reader
	n   int64
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (e *expanding) Read(p []byte) (int, error) {
	n, err := e.out.Read(p)
	e.n += int64(n)
	if e.n > 64*freeBytes && e.n/maxRatio > e.in.n {
		return 0, errBomb
	}
	return n, err
}

func (t *tarball) each(ctx context.Context, do func(entry) error) error {
	in := &counter{r: io.NewSectionReader(t.file, 0, 1<<62)}
	var stream io.Reader = io.NewSectionReader(t.file, 0, 1<<62) // in which what is not wanted is skipped without being read
	if t.unpack != nil {
		unpacked, err := t.unpack(in)
		if err != nil {
			return fmt.Errorf("%w (%w)", errDamaged, err)
		}
		defer unpacked.Close()
		stream = &expanding{in: in, out: unpacked}
	}
	r := tar.NewReader(stream)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		switch {
		case err == io.EOF:
			// What follows holds the checksum of a compressed archive.
			if _, err := io.Copy(io.Discard, io.LimitReader(stream, freeBytes)); err != nil && t.unpack != nil {
				return broken(err)
			}
			return nil
		case err != nil:
			return broken(err)
		case n == maxEntries:
			return errTooMany
		}
		e := entry{size: h.Size, modified: h.ModTime, once: true, open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader || named(&e, h.Name) {
			continue
		}
		if e.bad == "" && (h.Typeflag != tar.TypeReg || h.Linkname != "") {
			e.bad = notRegular
		}
		if err := do(e); err != nil {
			return err
		}
	}
}

// broken is an error of reading a stream.
func broken(err error) error {
	if errors.Is(err, errBomb) {
		return err
	}
	return fmt.Errorf("%w (%w)", errDamaged, err)
}

func (t *tarball) read(ctx context.Context, name string) (data []byte, err error) {
	found := errors.New("found")
	err = t.each(ctx, func(e entry) error {
		if e.path != name || e.bad != "" {
			return nil
		}
		if data, err = readSmall(e); err != nil {
			return err
		}
		return found
	})
	switch {
	case err == found:
		return data, nil
	case err == nil:
		err = fs.ErrNotExist
	}
	return nil, err
}
