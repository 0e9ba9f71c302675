package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"

	"homeward/engine"
	"homeward/finder"
	"homeward/registry"
)

// Result is what became of a file.
type Result string

const (
	Added     Result = "added"
	Duplicate Result = "duplicate" // the case has it already
	Skipped   Result = "skipped"   // not taken; Reason says why
)

// Outcome is what became of one file.
type Outcome struct {
	Path   string `json:"path"`
	Case   string `json:"case,omitempty"` // the case's reference
	Result Result `json:"result"`
	Reason string `json:"reason,omitempty"` // why it was skipped, or what an added photo still needs
}

// Report counts what an import did.
type Report struct {
	CasesAdded  int `json:"cases_added"`
	CasesKnown  int `json:"cases_known"` // were there before
	Added       int `json:"photos_added"`
	Duplicates  int `json:"photos_duplicate"`
	Skipped     int `json:"photos_skipped"`
	NeedSubject int `json:"photos_need_subject"` // in the registry, but someone must choose the child's face
	NoFace      int `json:"photos_without_usable_face"`
}

// Import brings the archive in, workers cases at a time, and tells each file's outcome as it is known (one at a time).
// It ends early only when ctx ends or the registry itself fails; the report then counts what was done.
func Import(ctx context.Context, f *finder.Finder, a *Archive, workers int, tell func(Outcome)) (Report, error) {
	im := &run{finder: f, archive: a, tell: tell}
	g, work := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	var failed error
	for group, err := range a.Groups() {
		if err != nil {
			failed = err
			break
		}
		if work.Err() != nil {
			break
		}
		g.Go(func() error { return im.group(work, group) })
	}
	err := errors.Join(failed, g.Wait())
	// What an interrupted import has stored and not looked at is looked at now.
	f.Drain(ctx)
	if err == nil {
		err = ctx.Err()
	}
	return im.report, err
}

type run struct {
	finder  *finder.Finder
	archive *Archive

	mu     sync.Mutex
	report Report
	tell   func(Outcome)
}

// note counts an outcome and tells it.
func (r *run) note(o Outcome, needs string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o.Result {
	case Added:
		r.report.Added++
	case Duplicate:
		r.report.Duplicates++
	case Skipped:
		r.report.Skipped++
	}
	switch needs {
	case finder.NeedsSubject:
		r.report.NeedSubject++
	case finder.NeedsBetter, finder.NeedsAnother:
		r.report.NoFace++
	}
	r.tell(o)
}

func (r *run) group(ctx context.Context, g Group) error {
	for _, o := range g.Bad {
		r.note(o, "")
	}
	if len(g.Files) == 0 {
		return nil
	}
	c, created, err := r.findOrCreate(ctx, g.Case)
	if errors.Is(err, registry.ErrInvalid) {
		for _, file := range g.Files {
			r.note(Outcome{Path: file.Path, Case: g.Case.Ref, Result: Skipped, Reason: "its case cannot be created: " + err.Error()}, "")
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range g.Files {
		if err := r.file(ctx, c, file); err != nil {
			return err
		}
	}
	if created && !g.KeepEmpty {
		now, err := r.finder.Registry.Case(ctx, c.ID)
		if errors.Is(err, registry.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if now.Photos == 0 { // a folder without a single photo is no case
			err := r.finder.Registry.DeleteEmptyCase(ctx, c.ID)
			if errors.Is(err, registry.ErrNotFound) { // a photo came in from elsewhere just now
				return nil
			}
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if created {
		r.report.CasesAdded++
	} else {
		r.report.CasesKnown++
	}
	return nil
}

func (r *run) findOrCreate(ctx context.Context, c registry.Case) (_ registry.Case, created bool, err error) {
	known, err := r.finder.Registry.CaseByRef(ctx, c.Gallery, c.Ref)
	if !errors.Is(err, registry.ErrNotFound) {
		return known, false, err
	}
	added, err := r.finder.Registry.CreateCase(ctx, c)
	if errors.Is(err, registry.ErrDuplicate) { // another worker was first
		known, err = r.finder.Registry.CaseByRef(ctx, c.Gallery, c.Ref)
		return known, false, err
	}
	return added, err == nil, err
}

// file imports one photo. Only an error that would meet every file ends the import.
func (r *run) file(ctx context.Context, c registry.Case, file File) error {
	out := Outcome{Path: file.Path, Case: c.Ref, Result: Skipped}
	if file.Line > 0 {
		out.Reason = fmt.Sprintf("line %d: ", file.Line)
	}
	src, err := r.archive.root.Open(file.Path)
	if err != nil {
		out.Reason += "cannot be opened: " + plain(err)
		r.note(out, "")
		return nil
	}
	defer src.Close()
	if info, err := src.Stat(); err != nil || !info.Mode().IsRegular() {
		out.Reason += "not a regular file"
		r.note(out, "")
		return nil
	} else if info.Size() > finder.MaxPhotoBytes {
		out.Reason += "larger than 64 MB: send a smaller copy"
		r.note(out, "")
		return nil
	}
	p, existed, err := r.finder.AddPhoto(ctx, c.ID, finder.NewPhoto{Name: path.Base(file.Path), Taken: file.Taken}, source{src})
	var unusable *engine.PhotoError
	var invalid *registry.FieldError
	var unreadable *sourceError
	switch {
	case errors.As(err, &unusable):
		out.Reason += unusable.Text
		r.note(out, "")
	case errors.As(err, &invalid):
		out.Reason += invalid.Error()
		r.note(out, "")
	case errors.As(err, &unreadable):
		out.Reason += "cannot be read: " + plain(unreadable.err)
		r.note(out, "")
	case errors.Is(err, registry.ErrNotFound):
		out.Reason += "its case was deleted meanwhile"
		r.note(out, "")
	case err != nil:
		return fmt.Errorf("import %s: %w", file.Path, err)
	case existed:
		needs, _ := finder.Needs(p)
		out.Result, out.Reason = Duplicate, ""
		r.note(out, needs)
	default:
		needs, message := finder.Needs(p)
		out.Result, out.Reason = Added, message
		r.note(out, needs)
	}
	return nil
}

// plain is an error without the path that its reader has before them.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// source tells a file that cannot be read from a registry that cannot be written.
type source struct{ r io.Reader }

type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{err}
	}
	return n, err
}
