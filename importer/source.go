package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"homeward/finder"
)

// entry is a file of a source.
type entry struct {
	path     string // inside the source, clean
	size     int64  // as its folder or archive says
	modified time.Time
	bad      string // why it is not even tried
	open     func() (io.ReadCloser, error)
	once     bool // what open gives ends when the next entry is asked for
}

// source is what an import reads from: a folder, or an archive. Nothing of it is ever written to disk but encrypted, in the registry.
type source interface {
	// each hands every file to do, in any order; an error of do ends it. Nothing outside of the source is opened, and no link is followed.
	each(ctx context.Context, do func(entry) error) error
	// read reads a small file of the source, such as a manifest.
	read(ctx context.Context, name string) ([]byte, error)
	// at looks up one file, for a source that can; nil for one that has to be read from one end to the other.
	at() func(name string) entry
	Close() error
}

// Errors of sources that no further try mends.
var (
	errNoArchive = errors.New("this is neither a folder nor a ZIP or TAR archive (.zip, .tar, .tar.gz, .tar.zst)")
	errDamaged   = errors.New("the archive is damaged or incomplete: get another copy of it and import that; nothing is added twice")
	errBomb      = errors.New("the archive expands to an absurd size, as no archive of photos does; it is read no further")
	errTooMany   = fmt.Errorf("the archive has more than %d entries; split it", maxEntries)
	errEncrypted = "it is encrypted: make the archive again without a password"
)

const (
	// maxEntries bounds the files of an archive, of which a ZIP's directory is held in memory: some 300 bytes each.
	maxEntries = 2_000_000
	// Photos hardly compress. What expands more than so many times, beyond so many bytes, is no photo.
	maxRatio  = 200
	freeBytes = 1 << 20
)

// openSource opens a folder or an archive by what it is.
func openSource(name string) (source, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openFolder(name)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, errNoArchive)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	s, err := openArchive(f, info.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return s, nil
}

// folder is a source on disk.
type folder struct{ root *os.Root }

// dirBatch is how many names of a folder are in memory at a time, and maxDepth how deep folders may lie in one another, each of which
// is open while those inside of it are read.
const (
	dirBatch = 256
	maxDepth = 64
)

func openFolder(name string) (*folder, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	// A folder that cannot be listed is an error of the import, not of a file.
	d, err := root.Open(".")
	if err == nil {
		_, err = d.ReadDir(1)
		err = errors.Join(ignoreEOF(err), d.Close())
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &folder{root}, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (f *folder) Close() error { return f.root.Close() }

func (f *folder) each(ctx context.Context, do func(entry) error) error {
	return f.walk(ctx, ".", 0, do)
}

func (f *folder) walk(ctx context.Context, dir string, depth int, do func(entry) error) error {
	bad := func(reason string) error { return do(entry{path: toUTF8(dir), bad: reason}) }
	if depth > maxDepth {
		return bad("its folders lie too deep in one another")
	}
	d, err := f.root.Open(dir)
	if err != nil {
		return bad("cannot be read: " + plain(err))
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(dirBatch)
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			name := path.Join(dir, e.Name())
			if ignored(e.Name()) {
				continue
			}
			if e.IsDir() {
				err = f.walk(ctx, name, depth+1, do)
			} else {
				err = do(f.entry(name, e.Type(), e.Info))
			}
			if err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return bad("cannot be read to its end: " + plain(err))
		}
	}
}

const notRegular = "not a regular file (links are not followed)"

func (f *folder) entry(name string, mode fs.FileMode, stat func() (fs.FileInfo, error)) entry {
	e := entry{path: toUTF8(name)}
	if !mode.IsRegular() {
		e.bad = notRegular
		return e
	}
	info, err := stat()
	if err != nil {
		e.bad = "cannot be read: " + plain(err)
		return e
	}
	e.size, e.modified = info.Size(), info.ModTime()
	e.open = func() (io.ReadCloser, error) {
		// Should a pipe stand there by now, opening it must not wait for its other end.
		file, err := f.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
			return nil, errors.Join(errors.New(notRegular), file.Close())
		}
		return file, nil
	}
	return e
}

func (f *folder) at() func(string) entry { return f.lookup }

func (f *folder) lookup(name string) entry {
	// No link on the way is followed either.
	for i := range name {
		if name[i] != '/' {
			continue
		}
		if info, err := f.root.Lstat(name[:i]); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return entry{path: name, bad: "lies behind a link (links are not followed)"}
		}
	}
	info, err := f.root.Lstat(name)
	if err != nil {
		return entry{path: name, bad: "cannot be opened: " + plain(err)}
	}
	return f.entry(name, info.Mode().Type(), func() (fs.FileInfo, error) { return info, nil })
}

func (f *folder) read(_ context.Context, name string) ([]byte, error) {
	e := f.lookup(name)
	if e.bad != "" {
		return nil, errors.New(e.bad)
	}
	return readSmall(e)
}

// readPhoto reads an entry that may be a photo.
func readPhoto(e entry) ([]byte, error) {
	r, err := e.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(&photo{r: r, size: e.size, passed: func() {}})
}

// readSmall reads an entry that is no photo.
func readSmall(e entry) ([]byte, error) {
	if e.size > maxManifest {
		return nil, fmt.Errorf("it is larger than %d MB", maxManifest>>20)
	}
	r, err := e.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(b) > maxManifest {
		err = fmt.Errorf("it is larger than %d MB", maxManifest>>20)
	}
	return b, err
}

// photo reads an entry, and tells a file that cannot be read from a registry that cannot be written.
type photo struct {
	r      io.Reader
	size   int64 // that it should have
	n      int64
	err    error  // that ended it
	passed func() // called once nothing more is read of r
}

// sourceError is a file that cannot be read. It is worth another look unless it is final.
type sourceError struct {
	err   error
	final bool
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

var errChanged = errors.New("it changed while it was read")

func (p *photo) Read(b []byte) (int, error) {
	if p.err != nil { // whoever reads on must not read what comes next in an archive
		return 0, p.err
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	switch {
	case p.n > finder.MaxPhotoBytes:
		n, p.err = 0, &sourceError{errors.New(tooLarge), true}
	case err == io.EOF && p.n != p.size:
		p.err = &sourceError{errChanged, false}
	case err != nil && err != io.EOF:
		p.err = &sourceError{err, false}
	default:
		p.err = err
	}
	if p.err != nil {
		p.passed()
	}
	return n, p.err
}

var tooLarge = fmt.Sprintf("larger than %d MB: send a smaller copy", finder.MaxPhotoBytes>>20)

// plain is an error without the path that its reader has before them.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return strings.TrimSpace(err.Error())
}
