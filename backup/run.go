package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/registry"
)

// workers is how many files are written at once: waiting for the disk is most of it.
const workers = 8

// chunkBytes is how long a piece of the database is: see docs/performance.md.
const chunkBytes = 16 << 10

// rereadShare is the share of what is there already that each backup reads again, so that damage is found and healed though nobody asks:
// after that many backups all of it has been read.
const rereadShare = 32

// Options of Run.
type Options struct {
	// Tell, which may be nil, is told now and then how far it has come. It is called by one goroutine at a time.
	Tell func(registry.Progress)

	step func(string) error
}

// Report says what a backup did.
type Report struct {
	Info
	NewPhotos     int64     `json:"new_photos"`
	NewPhotoBytes int64     `json:"new_photo_bytes"`
	Chunks        int64     `json:"chunks"` // that the database is cut into
	NewChunks     int64     `json:"new_chunks"`
	Healed        int64     `json:"healed"`                  // damaged files of the backup that were written anew
	MissingFiles  []string  `json:"missing_files,omitempty"` // photo files that the registry itself has lost, and no earlier backup has
	Oldest        time.Time `json:"oldest"`                  // when the oldest snapshot was taken
	Unrecorded    string    `json:"unrecorded,omitempty"`    // why the registry's audit does not say that the snapshot was made
}

// Stages of a backup's progress.
const (
	StageDatabase = "database" // bytes
	StagePhotos   = "photos"   // files
)

// run is a backup under way.
type run struct {
	*Backup
	r  *registry.Registry
	id int

	suspect map[sum]bool // looked at again, whatever their names promise

	mu     sync.Mutex
	report Report
	tell   func(registry.Progress)
	stage  registry.Progress
}

// Run takes a snapshot of the registry into dir, which is made where it is missing. Photos that were deleted while it ran are noted as
// gone; of photos whose files the registry itself has lost, the copy of an earlier backup is used, or else they are named in
// the report: the snapshot is whole but for them.
//
// ErrNotEmpty when dir holds something else; ErrOther when it is another registry's backup; ErrBusy when somebody is at it;
// registry.ErrFull when its disk is full. After an error no new snapshot is there, what was copied stays, and the next Run goes on from it.
func Run(ctx context.Context, r *registry.Registry, dir string, o Options) (_ Report, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return Report{}, err
	}
	defer func() { err = wrap(err, "back up to %s", dir) }()
	began := time.Now()
	if err := ready(r, dir); err != nil { // before anything is written to it
		return Report{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Report{}, err
	}
	l, err := lock(dir, true)
	if err != nil {
		return Report{}, err
	}
	defer l.Close()
	if err := clearTmp(dir); err != nil {
		return Report{}, err
	}
	defer func() {
		if left := clearTmp(dir); err != nil { // if not, the next one clears it
			err = errors.Join(err, left)
		}
	}()
	b, err := Open(dir, r.OperatorKey())
	if errors.Is(err, ErrNoBackup) {
		if err := create(ctx, dir, r.ID(), r.OperatorKey(), o.step); err != nil {
			return Report{}, err
		}
		b, err = Open(dir, r.OperatorKey())
	}
	if err != nil {
		return Report{}, err
	}
	b.step = o.step
	if err := b.healHeader(ctx); err != nil {
		return Report{}, err
	}
	all, err := ids(dir)
	if err != nil {
		return Report{}, err
	}
	x := &run{Backup: b, r: r, id: 1, tell: o.Tell}
	if len(all) > 0 {
		x.id = all[len(all)-1] + 1
	}
	if x.suspect, err = b.damagedNotes(); err != nil {
		return Report{}, err
	}
	m, photos, err := x.database(ctx)
	if err != nil {
		return Report{}, err
	}
	if err := x.photos(ctx, &m, photos); err != nil {
		return Report{}, err
	}
	m.Stored, m.Took = x.report.Stored, time.Since(began)
	if err := x.putManifest(ctx, x.id, m); err != nil {
		return Report{}, err
	}
	// The snapshot is made: nothing from here on is a reason to take another.
	_ = b.forgetDamage() // the next one looks again
	x.report.Info, x.report.MissingFiles, x.report.Oldest = m.info(x.id), m.Missing, m.At
	for _, id := range all {
		if first, err := b.manifest(id); err == nil {
			x.report.Oldest = first.At
			break
		}
	}
	err = r.Record(context.WithoutCancel(ctx), registry.Note{Action: "backup.made", Subject: fmt.Sprint(x.id), Detail: map[string]string{
		"photos": fmt.Sprint(m.Photos), "new_photos": fmt.Sprint(x.report.NewPhotos), "gone": fmt.Sprint(len(m.Gone)), "missing": fmt.Sprint(len(m.Missing)),
	}})
	if err != nil {
		x.report.Unrecorded = err.Error()
	}
	return x.report, nil
}

// Ready says whether dir can be this registry's backup, as Run does, and writes nothing.
func Ready(r *registry.Registry, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return wrap(ready(r, dir), "back up to %s", dir)
}

func ready(r *registry.Registry, dir string) error {
	if err := apart(r.Dir(), dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(unoccupied(dir), othersBackup(dir, r.ID()))
}

// apart refuses a backup inside the registry's folder, or the other way round: what is lost together is no backup.
func apart(data, dir string) error {
	data, dir = real(data), real(dir)
	if inside(data, dir) || inside(dir, data) {
		return fmt.Errorf("the backup and the registry %s would lie in one folder and be lost together: choose a folder apart from it, better on another disk", data)
	}
	return nil
}

func inside(outer, inner string) bool {
	rel, err := filepath.Rel(outer, inner)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// real follows the symbolic links of as much of the path as there is.
func real(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(real(parent), filepath.Base(path))
	}
	return path
}

// othersBackup refuses a folder that another registry's backup is in.
func othersBackup(dir, id string) error {
	for _, name := range []string{headerName, headerCopy} {
		if h, err := readHeader(filepath.Join(dir, name)); err == nil && h.Registry != id {
			return fmt.Errorf("%w (%s; this one is %s): choose another folder", ErrOther, h.Registry, id)
		}
	}
	return nil
}

// telling tells how far the stage has come.
func (x *run) telling(stage string, done, total int64) {
	if x.tell == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stage = registry.Progress{Stage: stage, Done: done, Total: total, Counts: map[string]int64{
		"new_photos": x.report.NewPhotos, "new_chunks": x.report.NewChunks, "stored_bytes": x.report.Stored,
	}}
	x.tell(x.stage)
}

// reread says whether a file that is there is to be read again in this backup.
func (x *run) reread(name sum) bool {
	return x.suspect[name] || int(name[0])%rereadShare == x.id%rereadShare
}

// keep stores a chunk, unless it is there.
func (x *run) keep(ctx context.Context, plain []byte) (sum, error) {
	name := x.chunkName(plain)
	path := name.path(chunksName)
	heals := false
	if _, err := os.Lstat(filepath.Join(x.dir, path)); err == nil {
		if !x.reread(name) {
			return name, nil
		}
		if _, err := x.chunk(name); err == nil || !errors.Is(err, ErrDamaged) {
			return name, err
		}
		heals = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		if heals = errors.Is(unreadable(err), ErrDamaged); !heals {
			return name, err
		}
	}
	sealed, err := x.seal(plain, "chunk "+name.String())
	if err != nil {
		return name, err
	}
	if err := x.putBytes(ctx, "chunk", path, sealed); err != nil {
		return name, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.report.NewChunks++
	x.report.Stored += int64(len(sealed))
	if heals {
		x.report.Healed++
	}
	return name, nil
}

var errKeep = errors.New("the backup could not be written")

// database stores the database as it is at one moment, and lists the photo files that it names.
func (x *run) database(ctx context.Context) (m manifest, photos []registry.PhotoFile, err error) {
	var failed error // of the backup's disk, which is not the registry's
	err = x.r.Snapshot(ctx, func(s *registry.Snapshot) error {
		size := max(1, chunkBytes/s.PageSize) * s.PageSize
		total := int64(s.PageSize) * s.Pages
		m = manifest{Registry: x.registry, At: s.At, Schema: s.Schema, Counts: s.Counts, Database: total}
		m.Chunks = make([]byte, (total+int64(size)-1)/int64(size)*int64(len(sum{})))
		x.report.Chunks = int64(len(m.Chunks) / len(sum{}))
		buffers := sync.Pool{New: func() any { b := make([]byte, 0, size); return &b }}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(workers)
		at := 0
		var done int64
		buf := buffers.Get().(*[]byte)
		flush := func() error {
			if len(*buf) == 0 {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			full, place := buf, m.Chunks[at:at+len(sum{})]
			at += len(sum{})
			done += int64(len(*full))
			g.Go(func() error {
				name, err := x.keep(ctx, *full)
				copy(place, name[:])
				*full = (*full)[:0]
				buffers.Put(full)
				return err
			})
			buf = buffers.Get().(*[]byte)
			x.telling(StageDatabase, done, total)
			return nil
		}
		err := s.EachPage(func(page []byte) error {
			*buf = append(*buf, page...)
			if len(*buf) < size {
				return nil
			}
			return flush()
		})
		if err == nil {
			err = flush()
		}
		if failed = g.Wait(); failed != nil {
			return errKeep
		}
		if err != nil {
			return err
		}
		photos = make([]registry.PhotoFile, 0, s.Counts["photos"])
		return s.EachPhotoFile(func(p registry.PhotoFile) error {
			photos = append(photos, p)
			return nil
		})
	})
	if failed != nil {
		return m, nil, failed
	}
	if err == nil {
		err = x.at("database.kept")
	}
	return m, photos, err
}

// photos stores the photo files that are not there yet, and the lists of them.
func (x *run) photos(ctx context.Context, m *manifest, files []registry.PhotoFile) error {
	sizes := make([]int64, len(files)) // -1: there is none
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, f := range files {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			name, ok := parseSum(f.Name)
			if !ok {
				return fmt.Errorf("photo file: no such name: %w", registry.ErrCorrupt)
			}
			var err error
			sizes[i], err = x.photo(gctx, m, name)
			return err
		})
		if i%64 == 0 {
			x.telling(StagePhotos, int64(i), int64(len(files)))
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	x.telling(StagePhotos, int64(len(files)), int64(len(files)))
	var list []byte
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		name, err := x.keep(ctx, list)
		m.Lists = append(m.Lists, name[:]...)
		list = list[:0]
		return err
	}
	for i, f := range files {
		if i > 0 && f.N/listSpan != files[i-1].N/listSpan {
			if err := flush(); err != nil {
				return err
			}
		}
		if sizes[i] < 0 {
			continue
		}
		name, _ := parseSum(f.Name)
		list = appendPhoto(list, photo{name, sizes[i]})
		m.Photos++
		m.PhotoBytes += sizes[i]
	}
	return flush()
}

// photo stores a photo's file, unless it is there, and returns its size; -1 when there is none to be had.
func (x *run) photo(ctx context.Context, m *manifest, name sum) (int64, error) {
	path := filepath.Join(x.dir, name.path(photosName))
	have, err := os.Lstat(path)
	lost := errors.Is(unreadable(err), ErrDamaged)
	if err != nil && !lost && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	trusted := have != nil && !x.reread(name)
	if have != nil && !trusted {
		switch _, err := hashFile(path, name, maxPhoto, io.Discard); {
		case err == nil:
			trusted = true
		case !errors.Is(err, ErrDamaged):
			return 0, err
		}
	}
	from, err := x.r.OpenPhotoFile(ctx, name.String())
	if err == nil {
		defer from.Close()
	}
	if trusted {
		// A copy that was cut short is seen at a glance.
		if err != nil {
			return have.Size(), nil
		}
		info, err := from.Stat()
		if err != nil {
			return 0, err
		}
		if info.Size() == have.Size() {
			return have.Size(), nil
		}
		if _, err := hashFile(path, name, maxPhoto, io.Discard); err == nil {
			return have.Size(), nil // it is the registry's that is damaged
		} else if !errors.Is(err, ErrDamaged) {
			return 0, err
		}
	}
	switch {
	case errors.Is(err, registry.ErrNotFound):
		x.without(&m.Gone, name)
		return -1, nil
	case errors.Is(err, registry.ErrCorrupt):
		x.without(&m.Missing, name)
		return -1, nil
	case err != nil:
		return 0, err
	}
	var size int64
	errSource := errors.New("the registry's own file is damaged")
	err = x.put(ctx, "photo", name.path(photosName), func(w io.Writer) (err error) {
		size, err = hashStream(from, name, w)
		if errors.Is(err, ErrDamaged) {
			err = errSource
		}
		return err
	}, func(r io.Reader) error {
		_, err := hashStream(r, name, io.Discard)
		return err
	})
	if errors.Is(err, errSource) {
		x.without(&m.Missing, name)
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.report.NewPhotos++
	x.report.NewPhotoBytes += size
	x.report.Stored += size
	if have != nil || lost {
		x.report.Healed++
	}
	return size, nil
}

func (x *run) without(list *[]string, name sum) {
	x.mu.Lock()
	defer x.mu.Unlock()
	*list = append(*list, name.String())
}
