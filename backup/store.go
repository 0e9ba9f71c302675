package backup

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/sys/unix"

	"homeward/registry"
)

// Backup is a backup that was opened with the operator's key. Its methods are safe for concurrent use, also by several processes.
type Backup struct {
	dir      string
	registry string // its ID

	aead  tink.AEAD
	names []byte // keys the names of chunks
	enc   *zstd.Encoder
	dec   *zstd.Decoder

	step func(string) error // called between the steps of every write to disk; an error from it is that step's

	mu    sync.Mutex
	dirty map[string]struct{} // folders of which the names are not on disk yet
}

// Names in a backup's folder.
const (
	headerName  = "header"
	headerCopy  = "header.copy"
	lockName    = "lock"
	tmpName     = "tmp"
	damagedName = "damaged"

	snapshotsName = "snapshots"
	chunksName    = "chunks"
	photosName    = "photos"
)

// format of all that this package writes.
const format = 1

// header is what stands in the file header.
type header struct {
	Format   int    `json:"format"`
	Registry string `json:"registry"`
	Keyset   []byte `json:"keyset"`
	Names    []byte `json:"names"`
	Sum      []byte `json:"sum"` // SHA-256 of all before, which tells damage from a wrong key
}

func (h header) sum() []byte {
	s := sha256.New()
	for _, part := range [][]byte{fmt.Append(nil, h.Format), []byte(h.Registry), h.Keyset, h.Names} {
		fmt.Fprintf(s, "%d ", len(part))
		s.Write(part)
	}
	return s.Sum(nil)
}

func readHeader(path string) (h header, err error) {
	raw, err := readFile(path, maxChunk)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(raw, &h); err != nil || !bytes.Equal(h.Sum, h.sum()) {
		if err == nil && h.Format > format {
			return h, ErrNewer
		}
		return h, ErrDamaged
	}
	if h.Format > format {
		return h, ErrNewer
	}
	return h, nil
}

// Open opens the backup in dir. ErrNoBackup when there is none; registry.ErrKey when the operator's key does not open it; ErrDamaged when
// both copies of its header are damaged; ErrNewer when a later Homeward made it.
func Open(dir string, key registry.OperatorKey) (_ *Backup, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	defer func() { err = wrap(err, "open backup %s", dir) }()
	h, err := readHeader(filepath.Join(dir, headerName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		var second error
		if h, second = readHeader(filepath.Join(dir, headerCopy)); second == nil {
			err = nil
		} else if errors.Is(err, fs.ErrNotExist) && !errors.Is(second, fs.ErrNotExist) {
			err = second
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoBackup
	case errors.Is(err, ErrDamaged):
		return nil, fmt.Errorf("%s and %s are %w; without them nothing of this backup can be read. Use another backup", headerName, headerCopy, err)
	case err != nil:
		return nil, err
	}
	return unlock(dir, h, key)
}

// unlock opens the backup's keys.
func unlock(dir string, h header, key registry.OperatorKey) (*Backup, error) {
	b := &Backup{dir: dir, registry: h.Registry, dirty: make(map[string]struct{})}
	var err error
	if b.names, err = key.Decrypt(h.Names, []byte("names of the backup of "+h.Registry)); err != nil {
		return nil, fmt.Errorf("%w: it does not open this backup, which belongs to registry %s. Give the key that this registry was made with, with --operator-key", registry.ErrKey, h.Registry)
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(h.Keyset)), key, []byte("keys of the backup of "+h.Registry))
	if err != nil {
		return nil, fmt.Errorf("the backup's keys: %w: %w", ErrDamaged, err)
	}
	if b.aead, err = aead.New(handle); err != nil {
		return nil, err
	}
	if b.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(workers)); err != nil {
		return nil, err
	}
	b.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(workers))
	return b, err
}

// unoccupied refuses a folder that holds what is no backup. One in which a first backup was ended at once is still empty.
func unoccupied(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case headerName, headerCopy:
			return nil
		case lockName, tmpName, "lost+found":
		default:
			err = fmt.Errorf("%w, and what is in it is no backup: choose an empty folder, or one that is not there yet", ErrNotEmpty)
		}
	}
	return err
}

// create makes the header of a new backup. The caller has the lock.
func create(ctx context.Context, dir, id string, key registry.OperatorKey, step func(string) error) error {
	// Every chunk is sealed under a random nonce, of which XAES has enough.
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return err
	}
	h := header{Format: format, Registry: id}
	var sealed bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&sealed), key, []byte("keys of the backup of "+id)); err != nil {
		return err
	}
	h.Keyset = sealed.Bytes()
	names := make([]byte, sha256.Size)
	rand.Read(names) // never fails
	if h.Names, err = key.Encrypt(names, []byte("names of the backup of "+id)); err != nil {
		return err
	}
	h.Sum = h.sum()
	b := &Backup{dir: dir, step: step, dirty: make(map[string]struct{})}
	return b.writeHeader(ctx, h)
}

// writeHeader writes the header and then its copy.
func (b *Backup) writeHeader(ctx context.Context, h header) error {
	raw, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	for _, name := range []string{headerName, headerCopy} {
		if old, err := readFile(filepath.Join(b.dir, name), maxChunk); err == nil && bytes.Equal(old, raw) {
			continue
		}
		if err := b.putBytes(ctx, "header", name, raw); err != nil {
			return err
		}
		if err := b.settle(); err != nil {
			return err
		}
	}
	return nil
}

// healHeader writes the copy of the header that is missing or damaged.
func (b *Backup) healHeader(ctx context.Context) error {
	h, err := readHeader(filepath.Join(b.dir, headerName))
	if err != nil {
		h, err = readHeader(filepath.Join(b.dir, headerCopy))
	}
	if err != nil {
		return err
	}
	return b.writeHeader(ctx, h)
}

// lock takes the folder's lock: exclusively to write, shared to read what must not go away meanwhile. ErrBusy when another process has
// it. It is given back by closing it, and by the process' end.
func lock(dir string, exclusive bool) (*held, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil && !exclusive {
		f, err = openFile(path) // a disk that can only be read
	}
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(ErrBusy, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return &held{f}, nil
}

// held is a lock that is held.
type held struct{ file *os.File }

// Close unlocks first: a process that was just started may have the file open for a moment yet, and with it the lock.
func (h *held) Close() error {
	return errors.Join(unix.Flock(int(h.file.Fd()), unix.LOCK_UN), h.file.Close())
}

// at marks a step between two writes.
func (b *Backup) at(step string) error {
	if b.step == nil {
		return nil
	}
	return b.step(step)
}

// put writes a file that appears under its name, whole, on disk and read back, or not at all. What is there under the name is replaced.
// Its name is on disk after the next settle.
func (b *Backup) put(ctx context.Context, kind, name string, write func(io.Writer) error, check func(io.Reader) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.folder(filepath.Join(b.dir, tmpName)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(b.dir, tmpName), kind+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := b.at(kind + ".written"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := b.at(kind + ".synced"); err != nil {
		return err
	}
	// What is in memory of it is dropped, so that it is read from the disk. Where that cannot be, it is read all the same.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := check(f); err != nil {
		return fmt.Errorf("what was written reads back otherwise; the disk fails: %w", err)
	}
	path := filepath.Join(b.dir, name)
	if err := b.folder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	b.touched(filepath.Dir(path))
	return b.at(kind + ".renamed")
}

// putBytes is put of bytes.
func (b *Backup) putBytes(ctx context.Context, kind, name string, content []byte) error {
	write := func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
	return b.put(ctx, kind, name, write, func(r io.Reader) error {
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, content) {
			err = ErrDamaged
		}
		return err
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// folder makes a folder in the backup's.
func (b *Backup) folder(path string) error {
	err := os.Mkdir(path, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := b.folder(filepath.Dir(path)); err != nil {
			return err
		}
		return b.folder(path)
	case err != nil:
		return err
	}
	b.touched(filepath.Dir(path))
	return nil
}

func (b *Backup) touched(folder string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirty[folder] = struct{}{}
}

// settle makes the names of all that was put durable.
func (b *Backup) settle() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for folder := range b.dirty {
		if err := syncDir(folder); err != nil {
			return err
		}
		delete(b.dirty, folder)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// syncDisk puts all on disk that was written to the one that a folder lies on, names too.
func syncDisk(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd()))), d.Close())
}

// clearTmp removes what a backup that ended in the midst has left.
func clearTmp(dir string) error {
	return os.RemoveAll(filepath.Join(dir, tmpName))
}

// sum is a SHA-256 or HMAC-SHA-256 that names a file.
type sum [sha256.Size]byte

func (s sum) String() string { return hex.EncodeToString(s[:]) }

// path is where the file of this name lies in the backup's folder.
func (s sum) path(folder string) string {
	name := s.String()
	return filepath.Join(folder, name[:2], name)
}

// parseSum reads a name; ok is false for one that is none.
func parseSum(name string) (s sum, ok bool) {
	n, err := hex.Decode(s[:], []byte(name)[:min(len(name), 2*len(s))])
	return s, err == nil && n == len(s) && s.String() == name
}

// chunkName is the name of a chunk with that in it.
func (b *Backup) chunkName(plain []byte) (s sum) {
	h := hmac.New(sha256.New, b.names)
	h.Write(plain)
	h.Sum(s[:0])
	return s
}

// seal compresses and encrypts, bound to what it is.
func (b *Backup) seal(plain []byte, what string) ([]byte, error) {
	return b.aead.Encrypt(b.enc.EncodeAll(plain, make([]byte, 0, len(plain)/2)), []byte(what))
}

// open opens what seal made. ErrDamaged when it is not as it was.
func (b *Backup) open(sealed []byte, what string) ([]byte, error) {
	packed, err := b.aead.Decrypt(sealed, []byte(what))
	if err != nil {
		return nil, ErrDamaged
	}
	plain, err := b.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return plain, nil
}

// What is read of a file into memory at most, in bytes: a chunk, of which the longest is a list of listSpan photos, and a snapshot's file,
// which names three million chunks, a database of 50 GB, in 130 MB.
const (
	maxChunk    = 1 << 20
	maxManifest = 1 << 30
)

// openFile opens a file of the backup to read it. Whoever can write to the disk may have put anything under its name: ErrDamaged for what is
// no regular file.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link; a socket
		return nil, fmt.Errorf("%w: it is no regular file", ErrDamaged)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no regular file", ErrDamaged)
	}
	if err != nil {
		return nil, errors.Join(unreadable(err), f.Close())
	}
	return f, nil
}

// readFile reads a file of the backup. ErrDamaged when it is longer than most, or no regular file, or the disk cannot read it.
func readFile(path string, most int64) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if info, err := f.Stat(); err == nil {
		b.Grow(int(min(info.Size(), most)) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(f, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("%w: it is too long", ErrDamaged)
	}
	return b.Bytes(), unreadable(err)
}

// chunk reads a chunk. ErrDamaged when it is missing or not as it was.
func (b *Backup) chunk(name sum) ([]byte, error) {
	sealed, err := readFile(filepath.Join(b.dir, name.path(chunksName)), maxChunk)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is missing", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	plain, err := b.open(sealed, "chunk "+name.String())
	if err == nil && b.chunkName(plain) != name {
		err = ErrDamaged
	}
	return plain, err
}

// maxPhoto bounds a photo's file of which no list was asked for the size, in bytes, above what any photo has.
const maxPhoto = 512 << 20

// hashFile reads a photo's file through and holds it against its name, writing it to to as it goes. ErrDamaged when it is missing or not
// as it was; to has then got what there was, and at most a byte beyond size.
func hashFile(path string, name sum, size int64, to io.Writer) (int64, error) {
	f, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: it is missing", ErrDamaged)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return hashStream(io.LimitReader(f, size+1), name, to)
}

// reading tells the errors of a reader from those of what it is copied to.
type reading struct{ io.Reader }

func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	return n, unreadable(err)
}

// hashStream holds what it copies against its name. ErrDamaged when it is something else, or cannot be read.
func hashStream(from io.Reader, name sum, to io.Writer) (int64, error) {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	n, err := io.CopyBuffer(io.MultiWriter(h, to), reading{from}, buf)
	if err == nil && sum(h.Sum(nil)) != name {
		err = ErrDamaged
	}
	return n, err
}

// PhotoFile writes to to a photo's file, encrypted as the registry has it. It has been checked throughout before the first byte is
// written. registry.ErrNotFound when the backup does not have it; ErrDamaged when its copy is damaged.
func (b *Backup) PhotoFile(ctx context.Context, name string, to io.Writer) error {
	s, ok := parseSum(name)
	if !ok {
		return fmt.Errorf("photo file: no such name: %w", registry.ErrInvalid)
	}
	path := filepath.Join(b.dir, s.path(photosName))
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("photo file %s in backup %s: %w", name, b.dir, registry.ErrNotFound)
	}
	if _, err := hashFile(path, s, maxPhoto, io.Discard); err != nil {
		return wrap(err, "photo file %s in backup %s", name, b.dir)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := hashFile(path, s, maxPhoto, to)
	return wrap(err, "photo file %s in backup %s", name, b.dir)
}
