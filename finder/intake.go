package finder

import (
	"context"
	"errors"
	"fmt"
	"io"

	"homeward/engine"
	"homeward/registry"
)

// MaxPhotoBytes bounds one photo: a 100-megapixel JPEG of a good camera has about 50 MB.
const MaxPhotoBytes = 64 << 20

// NewPhoto is what the sender says of a photo.
type NewPhoto struct {
	Name  string        // file name on the sender's device
	Taken registry.Date // zero: believe EXIF, if it says anything
}

// errStored stops an analysis whose photo turned out to be there already.
var errStored = errors.New("photo is already stored")

// AddPhoto stores a photo with its case and finds its faces. The photo is encrypted as it is read; nothing of it stays
// behind if it turns out unusable (*engine.PhotoError), the case is gone, or body ends in an error. Once it is stored it
// is never lost: should the analysis be interrupted, the photo is analysed later.
// A photo that the case already has is answered with the one that exists and existed set.
func (f *Finder) AddPhoto(ctx context.Context, id registry.CaseID, n NewPhoto, body io.Reader) (p registry.Photo, existed bool, err error) {
	up, err := f.Registry.NewUpload(ctx, id)
	if err != nil {
		return p, false, err
	}
	defer up.Close()
	photo, err := f.receive(ctx, up, body)
	if err != nil {
		return p, false, err
	}
	analysis, err := f.engine.Analyse(ctx, photo, func(h engine.Header) error {
		var err error
		p, existed, err = up.Commit(ctx, registry.NewPhoto{
			Name: n.Name, Format: h.Format, Width: h.Width, Height: h.Height,
			Taken: n.Taken, TakenEXIF: registry.DayOf(h.TakenAt), Claim: true,
		})
		if err == nil && existed {
			return errStored
		}
		return err
	})
	if p.ID == "" { // refused before it was stored
		return p, false, err
	}
	// The photo is stored and acknowledged from here on: a client that leaves no longer stops its analysis.
	ctx = context.WithoutCancel(ctx)
	if !existed {
		if err := f.settle(ctx, p, analysis, err); err != nil {
			return p, false, err
		}
	}
	if err := f.CatchUp(ctx); err != nil {
		return p, existed, err
	}
	p, err = f.Registry.Photo(ctx, p.ID)
	return p, existed, err
}

// receive reads body to its end into up, and gives back the plain photo. The body goes to disk encrypted while it
// trickles in, so that a slow sender holds no memory; the plain copy lives only while a worker is free to look at it.
func (f *Finder) receive(ctx context.Context, up *registry.Upload, body io.Reader) ([]byte, error) {
	if _, err := io.Copy(up, body); err != nil {
		return nil, fmt.Errorf("receive the photo: %w", err)
	}
	if err := up.Finish(); err != nil {
		return nil, fmt.Errorf("receive the photo: %w", err)
	}
	if err := ctx.Err(); err != nil { // the sender has gone: nobody would learn of the photo
		return nil, err
	}
	r, err := up.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, up.Size())
}

// readAll reads a photo of a known size in one allocation.
func readAll(r io.Reader, size int64) ([]byte, error) {
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
