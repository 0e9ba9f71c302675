package backup

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"modernc.org/sqlite/vfs"

	"homeward/registry"
)

// Damage is a file of the backup that is not as it was written.
type Damage struct {
	File      string `json:"file"` // in the backup's folder
	What      string `json:"what"`
	Snapshots []int  `json:"snapshots"` // that need it
}

// Verified is what Verify found.
type Verified struct {
	Snapshots int      `json:"snapshots"`
	Chunks    int64    `json:"chunks"`
	Photos    int64    `json:"photos"`
	Bytes     int64    `json:"bytes"`  // that were read
	Unused    int64    `json:"unused"` // files that no snapshot needs: left by a backup that was ended, or by damage
	Damaged   []Damage `json:"damaged"`
}

// verifying is a Verify under way.
type verifying struct {
	*Backup
	deep   bool
	tell   func(registry.Progress)
	out    Verified
	chunks map[sum]string // what is wrong with those seen, "" for nothing
	photos map[sum]string
	broken map[string]*Damage
}

// Verify holds the backup against what it was: it opens every snapshot and reads every chunk, and looks whether each photo is there with its
// size. deep also reads every photo, and has SQLite read each snapshot's database straight out of the chunks. What is found damaged is
// noted, where the disk can be written to, and the next Run writes it anew from the registry. ErrBusy while a backup runs.
func (b *Backup) Verify(ctx context.Context, deep bool, tell func(registry.Progress)) (_ Verified, err error) {
	defer func() { err = wrap(err, "verify backup %s", b.dir) }()
	l, err := lock(b.dir, false)
	if err != nil {
		return Verified{}, err
	}
	defer l.Close()
	v := &verifying{Backup: b, deep: deep, tell: tell, chunks: make(map[sum]string), photos: make(map[sum]string), broken: make(map[string]*Damage)}
	all, err := ids(b.dir)
	if err != nil {
		return Verified{}, err
	}
	for _, name := range []string{headerName, headerCopy} {
		if _, err := readHeader(filepath.Join(b.dir, name)); errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
			v.found(name, "damaged or missing; the other copy of it is whole", 0)
		} else if err != nil {
			return Verified{}, err
		}
	}
	for _, id := range all {
		if err := v.snapshot(ctx, id); err != nil {
			return Verified{}, err
		}
		v.out.Snapshots++
	}
	if err := v.unused(); err != nil {
		return Verified{}, err
	}
	v.out.Damaged = make([]Damage, 0, len(v.broken))
	for _, d := range v.broken {
		v.out.Damaged = append(v.out.Damaged, *d)
	}
	slices.SortFunc(v.out.Damaged, func(a, b Damage) int { return cmp.Compare(a.File, b.File) })
	return v.out, nil
}

// found notes damage, which a snapshot suffers from.
func (v *verifying) found(file, what string, id int) {
	d := v.broken[file]
	if d == nil {
		d = &Damage{File: file, What: what, Snapshots: []int{}}
		v.broken[file] = d
	}
	if id > 0 && !slices.Contains(d.Snapshots, id) {
		d.Snapshots = append(d.Snapshots, id)
	}
}

// damage is err in words when it is damage, and otherwise passes err on.
func damage(err error) (string, error) {
	if !errors.Is(err, ErrDamaged) {
		return "", err
	}
	if strings.Contains(err.Error(), "missing") {
		return "missing", nil
	}
	if strings.Contains(err.Error(), "the disk cannot read it") {
		return "the disk cannot read it", nil
	}
	return "not as it was written", nil
}

func (v *verifying) snapshot(ctx context.Context, id int) error {
	m, err := v.manifest(id)
	if err != nil {
		what, err := damage(err)
		if err == nil {
			v.found(snapshotFile(id), what, id)
		}
		return err
	}
	names, err := sums(m.Chunks)
	if err != nil {
		return err
	}
	whole := true
	for i, name := range names {
		ok, err := v.oneChunk(ctx, name, id)
		if err != nil {
			return err
		}
		whole = whole && ok
		if v.tell != nil && i%64 == 0 {
			v.tell(registry.Progress{Stage: StageDatabase, Done: int64(i), Total: int64(len(names)), Counts: map[string]int64{"snapshot": int64(id)}})
		}
	}
	lists, err := sums(m.Lists)
	if err != nil {
		return err
	}
	var done int64
	for _, list := range lists {
		ok, err := v.oneChunk(ctx, list, id)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := v.listed(list, func(p photo) error {
			if done++; v.tell != nil && done%64 == 0 {
				v.tell(registry.Progress{Stage: StagePhotos, Done: done, Total: m.Photos, Counts: map[string]int64{"snapshot": int64(id)}})
			}
			return v.onePhoto(ctx, p, id)
		}); err != nil {
			return err
		}
	}
	if v.deep && whole {
		err := v.quickCheck(ctx, m, names)
		if errors.Is(err, registry.ErrCorrupt) {
			v.found(snapshotFile(id), err.Error(), id)
			return nil
		}
		return err
	}
	return nil
}

func (v *verifying) oneChunk(ctx context.Context, name sum, id int) (bool, error) {
	what, seen := v.chunks[name]
	if !seen {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		plain, err := v.chunk(name)
		if err != nil {
			if what, err = damage(err); err != nil {
				return false, err
			}
			v.noteDamage(chunksName, name)
		}
		v.chunks[name] = what
		v.out.Chunks++
		v.out.Bytes += int64(len(plain))
	}
	if what != "" {
		v.found(name.path(chunksName), what, id)
	}
	return what == "", nil
}

func (v *verifying) onePhoto(ctx context.Context, p photo, id int) error {
	what, seen := v.photos[p.name]
	if !seen {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(v.dir, p.name.path(photosName))
		var err error
		if v.deep {
			var n int64
			n, err = hashFile(path, p.name, p.size, io.Discard)
			v.out.Bytes += n
		} else if info, e := os.Lstat(path); errors.Is(e, fs.ErrNotExist) {
			err = fmt.Errorf("%w: it is missing", ErrDamaged)
		} else if err = unreadable(e); err == nil && (info.Size() != p.size || !info.Mode().IsRegular()) {
			err = ErrDamaged
		}
		if err != nil {
			if what, err = damage(err); err != nil {
				return err
			}
			v.noteDamage(photosName, p.name)
		}
		v.photos[p.name] = what
		v.out.Photos++
	}
	if what != "" {
		v.found(p.name.path(photosName), what, id)
	}
	return nil
}

// unused counts the files that no snapshot needs.
func (v *verifying) unused() error {
	for folder, used := range map[string]map[sum]string{chunksName: v.chunks, photosName: v.photos} {
		if err := eachFile(filepath.Join(v.dir, folder), func(name sum, _ string) error {
			if _, ok := used[name]; !ok {
				v.out.Unused++
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// eachFile calls do with every chunk or photo that there is.
func eachFile(folder string, do func(name sum, path string) error) error {
	groups, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, g := range groups {
		if !g.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(folder, g.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			if name, ok := parseSum(f.Name()); ok && f.Name()[:2] == g.Name() {
				if err := do(name, filepath.Join(folder, g.Name(), f.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// noteDamage has the next Run look at a file again. Where the backup cannot be written to, nothing is lost but that.
func (b *Backup) noteDamage(folder string, name sum) {
	_ = os.Mkdir(filepath.Join(b.dir, damagedName), 0o700)
	if f, err := os.OpenFile(filepath.Join(b.dir, damagedName, folder+"-"+name.String()), os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
		_ = f.Close()
	}
}

// eachNote calls do with every note of damage.
func (b *Backup) eachNote(do func(note, folder string, name sum) error) error {
	notes, err := os.ReadDir(filepath.Join(b.dir, damagedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range notes {
		folder, text, _ := strings.Cut(n.Name(), "-")
		if name, ok := parseSum(text); ok && (folder == chunksName || folder == photosName) {
			if err := do(filepath.Join(b.dir, damagedName, n.Name()), folder, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// damagedNotes lists what was found damaged.
func (b *Backup) damagedNotes() (map[sum]bool, error) {
	out := make(map[sum]bool)
	err := b.eachNote(func(_, _ string, name sum) error {
		out[name] = true
		return nil
	})
	return out, err
}

// forgetDamage removes the notes of what is whole again, or gone.
func (b *Backup) forgetDamage() error {
	return b.eachNote(func(note, folder string, name sum) error {
		path := filepath.Join(b.dir, name.path(folder))
		if _, err := os.Lstat(path); err == nil {
			if folder == chunksName {
				_, err = b.chunk(name)
			} else {
				_, err = hashFile(path, name, maxPhoto, io.Discard)
			}
			if _, err := damage(err); err != nil {
				return err
			}
			if err != nil {
				return nil
			}
		}
		return os.Remove(note)
	})
}

// quickCheck has SQLite read a snapshot's database out of its chunks: nothing of it is ever on a disk in the clear. registry.ErrCorrupt when
// it is damaged, which it was when it was backed up.
func (b *Backup) quickCheck(ctx context.Context, m manifest, names []sum) (err error) {
	file, err := b.newChunkFile(m, names)
	if err != nil {
		return err
	}
	name, system, err := vfs.New(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.Close()) }()
	db, err := sql.Open("sqlite", "file:"+databaseName+"?immutable=1&vfs="+name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("its database cannot be read (%w): %w", err, registry.ErrCorrupt)
	}
	if found != "ok" {
		return fmt.Errorf("its database was damaged when it was taken (%s): %w", found, registry.ErrCorrupt)
	}
	return nil
}

// databaseName is what a registry calls its database.
const databaseName = "registry.db"

// chunkFile is a snapshot's database as a file system with that one file in it.
type chunkFile struct {
	b     *Backup
	m     manifest
	names []sum
	size  int64 // of a chunk
	cache *lru.Cache[int64, []byte]
}

// cachedChunks of a database that is read out of its chunks: 64 MB.
const cachedChunks = 4096

func (b *Backup) newChunkFile(m manifest, names []sum) (*chunkFile, error) {
	c := &chunkFile{b: b, m: m, names: names}
	var err error
	if c.cache, err = lru.New[int64, []byte](cachedChunks); err != nil || len(names) == 0 {
		return c, err
	}
	first, err := b.chunk(names[0])
	c.size = int64(len(first))
	return c, err
}

func (c *chunkFile) Open(name string) (fs.File, error) {
	if name != databaseName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openChunks{chunkFile: c}, nil
}

// openChunks is the database's file, opened.
type openChunks struct {
	*chunkFile
	at int64
}

func (o *openChunks) Stat() (fs.FileInfo, error) { return o, nil }
func (o *openChunks) Name() string               { return databaseName }
func (o *openChunks) Size() int64                { return o.m.Database }
func (o *openChunks) Mode() fs.FileMode          { return 0o400 }
func (o *openChunks) ModTime() time.Time         { return o.m.At }
func (o *openChunks) IsDir() bool                { return false }
func (o *openChunks) Sys() any                   { return nil }
func (o *openChunks) Close() error               { return nil }

func (o *openChunks) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.m.Database
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	o.at = offset
	return offset, nil
}

func (o *openChunks) Read(p []byte) (int, error) {
	if o.at >= o.m.Database {
		return 0, io.EOF
	}
	i := o.at / o.size
	chunk, ok := o.cache.Get(i)
	if !ok {
		if i >= int64(len(o.names)) {
			return 0, ErrDamaged
		}
		var err error
		if chunk, err = o.b.chunk(o.names[i]); err != nil {
			return 0, err
		}
		o.cache.Add(i, chunk)
	}
	from := o.at - i*o.size
	if from >= int64(len(chunk)) {
		return 0, ErrDamaged
	}
	n := copy(p, chunk[from:])
	o.at += int64(n)
	return n, nil
}
