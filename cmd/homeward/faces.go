package main

import (
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"homeward/api"
	"homeward/engine"
	"homeward/finder"
	"homeward/server"
	"homeward/worker"
)

// photoFaces is what `faces --json` prints of each photo.
type photoFaces struct {
	Path  string     `json:"path"`
	Photo *api.Photo `json:"photo,omitempty"`
	Error string     `json:"error,omitempty"`
}

func facesCommand(o *options) *cobra.Command {
	var draw string
	c := &cobra.Command{
		Use:   "faces PHOTO...",
		Short: "Print the faces found in photos",
		Args:  args(1, -1, "one photo or more"),
		RunE: func(c *cobra.Command, paths []string) error {
			if draw != "" && len(paths) > 1 {
				return usageError{errors.New("--draw takes one photo at a time")}
			}
			if draw != "" {
				if err := drawable(paths[0], draw); err != nil {
					return err
				}
			}
			return faces(c.Context(), o, c.OutOrStdout(), paths, draw)
		},
	}
	c.Flags().StringVar(&draw, "draw", "", "write the photo with boxes, landmarks and ages to this file (.png or .jpg)")
	return c
}

func faces(ctx context.Context, o *options, w io.Writer, paths []string, draw string) (err error) {
	e, err := finder.OpenWorkers(ctx, o.config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	say, err := english()
	if err != nil {
		return err
	}
	var all []photoFaces
	var failed int
	for _, path := range paths {
		photo, a, err := analyseFile(ctx, e, path)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		out := photoFaces{Path: path}
		if err != nil {
			failed++
			out.Error = err.Error()
		} else {
			out.Photo = server.ProbePhoto(a, say)
		}
		all = append(all, out)
		if !o.json {
			printFaces(w, out)
		}
		if draw != "" && err == nil {
			if err := drawFaces(photo, a, draw); err != nil {
				return err
			}
		}
	}
	if o.json {
		if err := printJSON(w, all); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d photos could not be used", failed, len(paths))
	}
	return nil
}

func analyseFile(ctx context.Context, w *worker.Pool, path string) ([]byte, *engine.Analysis, error) {
	photo, err := readPhoto(path)
	if err != nil {
		return nil, nil, err
	}
	a, err := w.Analyse(ctx, photo, nil)
	return photo, a, err
}

var errTooLarge = errors.New("the file is larger than 64 MB: use a smaller copy")

// readPhoto reads a file no larger than a photo may be.
func readPhoto(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	photo, err := io.ReadAll(io.LimitReader(f, finder.MaxPhotoBytes+1))
	if err != nil {
		return nil, err
	}
	if len(photo) > finder.MaxPhotoBytes {
		return nil, errTooLarge
	}
	return photo, nil
}

func printFaces(w io.Writer, p photoFaces) {
	if p.Error != "" {
		fmt.Fprintf(w, "%s: %s\n", p.Path, p.Error)
		return
	}
	taken := p.Photo.Taken
	if taken == "" {
		taken = "date unknown"
	}
	fmt.Fprintf(w, "%s: %s %d×%d, %s, %d faces\n", p.Path, p.Photo.Format, p.Photo.Width, p.Photo.Height, taken, len(p.Photo.Faces))
	for i, f := range p.Photo.Faces {
		fmt.Fprintf(w, "  face %d: %.0f×%.0f at %.0f,%.0f  age about %.0f (±%.0f)  quality %.2f  detector %.2f\n",
			i, f.Box.Width, f.Box.Height, f.Box.X, f.Box.Y, f.Age, f.AgeSD, f.Quality, f.Score)
		for _, r := range f.Reasons {
			fmt.Fprintf(w, "          %s\n", r)
		}
	}
}

// drawable checks, before anything is done, that a drawing can go to path and would not replace the photo itself.
func drawable(photo, path string) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".jpg", ".jpeg", ".png":
	default:
		return usageError{fmt.Errorf("--draw %s: name a .png or .jpg file", path)}
	}
	a, err := os.Stat(photo)
	if err != nil {
		return nil // its own error follows
	}
	if b, err := os.Stat(path); err == nil && os.SameFile(a, b) {
		return usageError{fmt.Errorf("--draw %s: would replace the photo itself", path)}
	}
	return nil
}

func drawFaces(photo []byte, a *engine.Analysis, path string) error {
	img, err := engine.Draw(photo, a)
	if err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if strings.ToLower(filepath.Ext(path)) == ".png" {
		err = png.Encode(f, img)
	} else {
		err = jpeg.Encode(f, img, &jpeg.Options{Quality: 90})
	}
	return errors.Join(err, f.Close())
}
