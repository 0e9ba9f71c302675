package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/sys/unix"
)

// fileBuffer gathers the 4 kB segments of a stream into fewer reads and writes.
const fileBuffer = 64 << 10

// NewPhoto is what is known of a photo when it is stored.
type NewPhoto struct {
	Name   string // as the uploader's device named it; made presentable, never refused
	Format string // "jpeg", "png", …
	Width  int    // after orientation
	Height int
	// Taken is when the photo was taken as a person says; where it is unknown, TakenEXIF counts.
	Taken     Date
	TakenEXIF Date // ignored where it lies in the future: the camera's clock was wrong
	// Claim makes the photo this process's to analyse at once, as ClaimPhoto would.
	Claim bool
	// Import is the file of an import that the photo is, or nil: what became of it is noted in the transaction that stores the photo.
	Import *ImportFile
}

// Upload receives a photo. Write it, Finish it, Open it to look at what was received, Commit it; and Close it in any case,
// which removes what was not committed. It is for one goroutine.
type Upload struct {
	r      *Registry
	caseID CaseID // empty for a scratch upload
	id     PhotoID
	aead   tink.StreamingAEAD

	path   string
	file   *os.File
	buffer *bufio.Writer
	cipher hash.Hash      // of the ciphertext
	enc    io.WriteCloser // plaintext in
	digest hash.Hash      // of the plaintext
	size   int64
	sealed bool
	err    error // of the first write that failed
}

// NewUpload begins the upload of a photo of the case. What is written goes to disk encrypted, and little of it is in
// memory at any time.
func (r *Registry) NewUpload(ctx context.Context, id CaseID) (*Upload, error) {
	var key []byte
	err := r.readers.QueryRowContext(ctx, "SELECT key FROM cases WHERE id = ?", id).Scan(&key)
	if err != nil {
		return nil, wrap(err, "upload to case %s", id)
	}
	a, err := r.keys.caseKey(id, key)
	if err != nil {
		return nil, wrap(err, "upload to case %s", id)
	}
	u, err := r.newUpload(id, a)
	return u, wrap(err, "upload to case %s", id)
}

// NewScratch begins an upload that can only be read back and closed, such as the photo of a search. Its key exists in
// memory only, so that not even a power cut leaves anything readable behind.
func (r *Registry) NewScratch(context.Context) (*Upload, error) {
	h, err := keyset.NewHandle(streamingaead.AES256GCMHKDF4KBKeyTemplate())
	if err != nil {
		return nil, wrap(err, "receive a photo")
	}
	a, err := streamingaead.New(h)
	if err != nil {
		return nil, wrap(err, "receive a photo")
	}
	u, err := r.newUpload("", a)
	return u, wrap(err, "receive a photo")
}

func (r *Registry) newUpload(caseID CaseID, a tink.StreamingAEAD) (*Upload, error) {
	u := &Upload{r: r, caseID: caseID, id: PhotoID(newID("p_")), aead: a, cipher: sha256.New(), digest: r.keys.newDigest()}
	u.path = filepath.Join(r.tmp(), r.owner, string(u.id))
	var err error
	if u.file, err = os.OpenFile(u.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	u.buffer = bufio.NewWriterSize(io.MultiWriter(u.file, u.cipher), fileBuffer)
	if u.enc, err = a.NewEncryptingWriter(u.buffer, []byte(u.id)); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// Write takes the next bytes of the photo. ErrFull when the disk is full. After an error the upload can only be closed.
func (u *Upload) Write(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if u.sealed {
		return 0, fmt.Errorf("write photo %s: upload is finished", u.id)
	}
	if err := u.room(len(p)); err != nil {
		u.err = wrap(err, "write photo %s", u.id)
		return 0, u.err
	}
	n, err := u.enc.Write(p)
	u.digest.Write(p[:n])
	u.size += int64(n)
	u.err = wrap(err, "write photo %s", u.id)
	return n, u.err
}

// Room on the disk that photos do not take: what is searched, looked at and judged must be noted even when there is no room for another
// photo.
const (
	reserveMost  = 256 << 20
	reserveShare = 50 // of the disk: one in so many bytes
	// roomEvery is how many bytes are written between two looks at the disk.
	roomEvery = 1 << 20
)

// room says whether n more bytes leave the reserve alone. A scratch, which goes again at once, may use it. ErrFull.
func (u *Upload) room(n int) error {
	if u.caseID == "" || u.size > 0 && u.size/roomEvery == (u.size+int64(n))/roomEvery {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Fstatfs(int(u.file.Fd()), &disk); err != nil {
		return err
	}
	free, all := int64(disk.Bavail)*disk.Bsize, int64(disk.Blocks)*disk.Bsize
	if free < min(reserveMost, all/reserveShare)+int64(n) {
		return fmt.Errorf("%w but for what is kept for searches and findings: free some space and try again", ErrFull)
	}
	return nil
}

// Finish says that all bytes have been written. Calling it again does nothing.
func (u *Upload) Finish() error {
	if u.sealed || u.err != nil {
		return u.err
	}
	err := u.enc.Close()
	if err == nil {
		err = u.buffer.Flush()
	}
	u.sealed = err == nil
	u.err = wrap(err, "write photo %s", u.id)
	return u.err
}

// Size is the number of bytes written.
func (u *Upload) Size() int64 { return u.size }

// Digest identifies the photo's bytes within this registry (32 bytes); outside it, it says nothing about them. It is that
// of what was written so far.
func (u *Upload) Digest() []byte { return u.digest.Sum(nil) }

// Open reads the finished upload back from disk. Several readers may be open; Close ends none of them.
func (u *Upload) Open() (io.ReadCloser, error) {
	if err := u.Finish(); err != nil {
		return nil, err
	}
	if u.size == 0 { // Tink's reader has no words for an empty plaintext
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	f, err := os.Open(u.path)
	if err != nil {
		return nil, wrap(err, "read photo %s", u.id)
	}
	return newPlain(f, u.aead, u.id)
}

// Existing looks for a photo of the case that has the bytes written. ErrNotFound when the case is gone.
func (u *Upload) Existing(ctx context.Context) (p Photo, existed bool, err error) {
	err = u.r.view(ctx, "upload to case "+string(u.caseID), func(tx *sql.Tx) (err error) {
		p, existed, err = u.same(ctx, tx)
		return err
	})
	return p, existed, err
}

// Commit stores the photo with its case: once it returns, the photo survives a crash and a power cut, and it is queued
// for analysis. Where the case already has a photo of the same bytes, existed is true, the answer is that photo, and
// nothing new is stored.
//
// ErrNotFound when the case is gone, ErrFull when the disk is full; nothing is stored then.
func (u *Upload) Commit(ctx context.Context, n NewPhoto) (p Photo, existed bool, err error) {
	what := fmt.Sprintf("store photo %s of case %s", u.id, u.caseID)
	if err := u.Finish(); err != nil {
		return Photo{}, false, err
	}
	if err := ctx.Err(); err != nil {
		return Photo{}, false, wrap(err, "%s", what)
	}
	switch {
	case u.caseID == "" || u.file == nil:
		return Photo{}, false, fmt.Errorf("%s: upload is scratch, committed or closed", what)
	case u.size == 0:
		return Photo{}, false, &FieldError{"photo", "is empty; send the file itself"}
	case n.Format == "":
		return Photo{}, false, &FieldError{"format", "is missing"}
	}
	if err := past("taken", n.Taken, u.r.now()); err != nil {
		return Photo{}, false, err
	}
	if p, existed, err = u.Existing(ctx); err != nil || existed {
		return p, existed, errors.Join(err, u.Close())
	}
	name := hex.EncodeToString(u.cipher.Sum(nil))
	// From here on a client that leaves changes nothing: it takes milliseconds, and the outcome is always whole.
	ctx = context.WithoutCancel(ctx)
	if err := u.publish(name); err != nil {
		return Photo{}, false, wrap(err, "%s", what)
	}
	p = Photo{
		ID: u.id, CaseID: u.caseID, Name: photoName(n.Name), Format: n.Format, Size: u.size, Width: n.Width, Height: n.Height,
		State: Queued, AddedAt: u.r.now(),
	}
	p.Taken, p.TakenBy = n.taken(p.AddedAt)
	err = u.r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var other Photo
		if other, existed, err = u.same(ctx, tx); err != nil {
			return err
		}
		if existed {
			p = other
			return noteUpload(ctx, tx, n.Import, p, ImportDuplicate)
		}
		owner := ""
		if n.Claim {
			owner, p.Tries = u.r.owner, 1
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO photos (id, case_id, file, digest, name, format, size, width, height, taken,
			taken_by, state, tries, owner, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			p.ID, p.CaseID, name, u.Digest(), p.Name, p.Format, p.Size, p.Width, p.Height, p.Taken,
			p.TakenBy, p.State, p.Tries, owner, millis(p.AddedAt)); err != nil {
			return err
		}
		if err := u.r.audit(ctx, tx, Note{Action: "photo.added", Case: p.CaseID, Subject: string(p.ID)}); err != nil {
			return err
		}
		if err := noteUpload(ctx, tx, n.Import, p, ImportAdded); err != nil {
			return err
		}
		return u.r.at("upload.row")
	})
	if existed || err != nil {
		var unsure commitError
		if errors.As(err, &unsure) && !errors.Is(err, ErrFull) {
			// The row may yet turn out to be on disk; the next Open knows, and keeps or sweeps the file.
			u.r.unswept.Store(true)
		} else {
			u.r.removeFiles([]string{name})
		}
	}
	if err != nil {
		return Photo{}, false, err
	}
	return p, existed, u.r.at("upload.committed")
}

// same looks for a photo of the case that has the same bytes, and makes sure that the case is there.
func (u *Upload) same(ctx context.Context, tx *sql.Tx) (Photo, bool, error) {
	var one int
	if err := tx.QueryRowContext(ctx, "SELECT 1 FROM cases WHERE id = ?", u.caseID).Scan(&one); err != nil {
		return Photo{}, false, err
	}
	p, err := photoWhere(ctx, tx, "p.case_id = ? AND p.digest = ?", u.caseID, u.Digest())
	if errors.Is(err, sql.ErrNoRows) {
		return Photo{}, false, nil
	}
	return p, err == nil, err
}

// publish makes the file durable under its name in photos/.
func (u *Upload) publish(name string) error {
	if err := u.file.Sync(); err != nil {
		return err
	}
	if err := u.r.at("upload.synced"); err != nil {
		return err
	}
	folder := filepath.Dir(u.r.file(name))
	if err := os.Mkdir(folder, 0o700); err == nil {
		if err := syncDir(u.r.photos()); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Rename(u.path, u.r.file(name)); err != nil {
		return err
	}
	err := u.file.Close()
	u.file = nil // Close has nothing left to remove
	if err == nil {
		err = u.r.at("upload.renamed")
	}
	if err == nil {
		err = syncDir(folder)
	}
	if err == nil {
		err = u.r.at("upload.durable")
	}
	if err != nil {
		u.r.removeFiles([]string{name})
	}
	return err
}

// taken is the date to believe.
func (n NewPhoto) taken(at time.Time) (Date, TakenSource) {
	switch {
	case !n.Taken.IsZero():
		return n.Taken, TakenPerson
	case !n.TakenEXIF.IsZero() && past("", n.TakenEXIF, at) == nil:
		return n.TakenEXIF, TakenEXIF
	}
	return Date{}, TakenUnknown
}

// Close ends the upload and removes what was not committed. Calling it again does nothing.
func (u *Upload) Close() error {
	if u.file == nil {
		return nil
	}
	err := errors.Join(u.file.Close(), os.Remove(u.path))
	u.file = nil
	if u.err == nil {
		u.err = fmt.Errorf("photo %s: upload is closed", u.id)
	}
	return wrap(err, "remove unfinished photo %s", u.id)
}
