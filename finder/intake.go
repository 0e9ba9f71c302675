package finder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"homeward/engine"
	"homeward/registry"
)

// MaxPhotoBytes bounds one photo.
const MaxPhotoBytes = engine.MaxBytes

// NewPhoto is what the sender says of a photo.
type NewPhoto struct {
	Name  string        // file name on the sender's device
	Taken registry.Date // zero: believe EXIF, if it says anything
	// Key is the sender's own name for this upload, or empty: the same upload by the same Caller under the same key is
	// answered like the first, for registry.RequestLife.
	Key    string
	Caller registry.AccountID
	// Bulk says that nobody waits for this photo: others go first, and the indexes follow when they are next told to.
	Bulk bool
	// Import is the file of an import that the photo is, or nil.
	Import *registry.ImportFile
	// Spent, unless nil, is given where the time went, unless it ends in an error.
	Spent *Spent
}

// Spent is where the time of an upload went, leaving out what it waited for.
type Spent struct {
	Receive, Decode, Inference time.Duration
	Store                      time.Duration // photo and faces
}

// ErrDeleted means that a repeated upload's photo was deleted since it was first sent.
var ErrDeleted = errors.New("the photo that this upload stored was deleted since")

// errStored stops an analysis whose photo turned out to be there already.
var errStored = errors.New("photo is already stored")

// AddPhoto stores a photo with its case and finds its faces. The photo is encrypted as it is read; nothing of it stays
// behind if it turns out unusable (*engine.PhotoError), the case is gone, or body ends in an error. Once it is stored it
// is never lost and no longer an error: should its analysis be interrupted or fail, the photo is answered as queued and
// analysed later. A photo that the case already has is answered with the one that exists and existed set.
//
// A photo of bulk work is answered as it was stored, without its faces.
func (f *Finder) AddPhoto(ctx context.Context, id registry.CaseID, n NewPhoto, body io.Reader) (p registry.Photo, existed bool, err error) {
	up, err := f.Registry.NewUpload(ctx, id)
	if err != nil {
		return p, false, err
	}
	defer up.Close()
	if n.Spent == nil {
		n.Spent = new(Spent)
	}
	began := time.Now()
	if err := receive(ctx, up, body); err != nil {
		return p, false, err
	}
	n.Spent.Receive = time.Since(began)
	if n.Key == "" {
		return f.storeAndLook(ctx, up, n)
	}
	q, err := f.Registry.Idempotent(ctx, n.Caller, n.Key, fingerprint(id, n, up.Digest()))
	if err != nil {
		return p, false, err
	}
	defer q.Close() // frees the key if the upload fails: it may be tried again
	if q.Outcome != nil {
		p, err := f.Registry.Photo(ctx, q.Outcome.Photo)
		if errors.Is(err, registry.ErrNotFound) {
			err = ErrDeleted
		}
		return p, q.Outcome.Status == http.StatusOK, err
	}
	if p, existed, err = f.storeAndLook(ctx, up, n); err != nil {
		return p, existed, err
	}
	out := registry.Outcome{Status: http.StatusCreated, Photo: p.ID}
	if existed {
		out.Status = http.StatusOK
	}
	// What is stored is stored: a sender who has gone must find its outcome when asking again.
	if err := q.Finish(context.WithoutCancel(ctx), out); err != nil {
		f.log.Error("note an upload's outcome", "photo", p.ID, "error", err)
	}
	return p, existed, nil
}

// fingerprint tells one upload from another under the same key: by where it goes, what is said of it, and its bytes.
func fingerprint(id registry.CaseID, n NewPhoto, digest []byte) []byte {
	var b []byte
	for _, part := range []string{string(id), n.Name, n.Taken.String(), string(digest)} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// storeAndLook commits a received photo once it has proven sound, and analyses it. A photo that someone waits for is durable before
// a model sees it; one of bulk work is stored meanwhile, so that the models do not wait for the disk: its sender has it still.
func (f *Finder) storeAndLook(ctx context.Context, up *registry.Upload, n NewPhoto) (p registry.Photo, existed bool, err error) {
	f.abreast(ctx) // else the photo is stored all the same, and analysed later
	g := f.use()
	defer g.release()
	stored, settled := false, false
	var storing sync.WaitGroup
	defer func() {
		storing.Wait()
		if stored && !existed && !settled { // a panic: whatever a model did, the photo is not ours to hold
			f.release(p.ID)
		}
	}()
	store := func(h engine.Header) error {
		began := time.Now()
		var err error
		p, existed, err = up.Commit(ctx, registry.NewPhoto{
			Name: n.Name, Format: h.Format, Width: h.Width, Height: h.Height,
			Taken: n.Taken, TakenEXIF: registry.DayOf(h.TakenAt), Claim: true, Import: n.Import,
		})
		n.Spent.Store += time.Since(began)
		stored = err == nil
		if stored && existed {
			return errStored
		}
		return err
	}
	decoded := store
	var notStored error // of bulk work
	if n.Bulk {
		if p, existed, err = up.Existing(ctx); err != nil {
			return p, false, err
		}
		decoded = func(h engine.Header) error {
			storing.Go(func() { notStored = store(h) })
			return nil
		}
	}
	var analysis *engine.Analysis
	if stored = existed; !stored {
		analysis, err = g.eyes.receive(ctx, n.Bulk, received(up), decoded)
		if storing.Wait(); notStored != nil {
			err = notStored
		}
	}
	if !stored {
		return p, false, err
	}
	// From here on the photo is there, whether its sender is or not.
	ctx = context.WithoutCancel(ctx)
	switch {
	case !existed:
		settled = true
		began := time.Now()
		f.settle(ctx, g, p, analysis, err)
		n.Spent.Store += time.Since(began)
		if analysis != nil {
			n.Spent.Decode, n.Spent.Inference = analysis.Timing.Decode, analysis.Timing.Inference()
		}
	case p.State == registry.SetAside: // sent again: perhaps what failed then works now
		if err := f.Registry.Requeue(ctx, p.ID); err != nil {
			return p, existed, err
		}
		f.wake()
	}
	if n.Bulk {
		return p, existed, nil
	}
	f.Refresh(ctx)
	p, err = f.Registry.Photo(ctx, p.ID)
	return p, existed, err
}

// receive reads body to its end into up. The body goes to disk encrypted while it trickles in, so that a slow sender holds
// no memory.
func receive(ctx context.Context, up *registry.Upload, body io.Reader) error {
	if _, err := io.Copy(up, body); err != nil {
		return fmt.Errorf("receive the photo: %w", err)
	}
	if err := up.Finish(); err != nil {
		return fmt.Errorf("receive the photo: %w", err)
	}
	return ctx.Err() // the sender has gone: nobody would learn of the photo
}

// received reads back what was received.
func received(up *registry.Upload) func() ([]byte, error) {
	return func() ([]byte, error) { return readAll(up.Open, up.Size()) }
}

// ReadPhoto reads a stored photo in the clear.
func (f *Finder) ReadPhoto(ctx context.Context, p registry.Photo) ([]byte, error) {
	return readAll(func() (io.ReadCloser, error) { return f.Registry.OpenPhoto(ctx, p.ID) }, p.Size)
}

// readAll reads a photo of a known size in one allocation.
func readAll(open func() (io.ReadCloser, error), size int64) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	photo := make([]byte, size)
	if _, err := io.ReadFull(r, photo); err != nil {
		return nil, fmt.Errorf("read the photo: %w", err)
	}
	// One more byte makes the decryption authenticate the end.
	var one [1]byte
	if n, err := r.Read(one[:]); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("read the photo: %w", errors.Join(err, registry.ErrCorrupt))
	}
	return photo, nil
}

// Workers is how many photos of bulk work are looked at at once.
func (f *Finder) Workers() int { return f.now().eyes.bulk.o.Workers }
