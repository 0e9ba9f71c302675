package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // headers of photos
	_ "image/png"
	"io"

	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"

	"homeward/engine"
	"homeward/finder"
	"homeward/registry"
)

// DryReport counts what an import would do.
type DryReport struct {
	Seen
	CasesNew   int `json:"cases_new"`
	CasesKnown int `json:"cases_known"`
	New        int `json:"photos_new"`
	Known      int `json:"photos_known"` // in the registry, or twice in what would be imported
	Unreadable int `json:"photos_unreadable"`
	Skipped    int `json:"photos_skipped"`
	// Largest is the reference of the case with the most of these photos, which are so many.
	Largest       string `json:"largest_case,omitempty"`
	LargestPhotos int    `json:"largest_case_photos,omitempty"`
}

// dryRun is what a dry run knows so far.
type dryRun struct {
	*plan
	registry *registry.Registry // nil where there is none yet
	tell     func(Line) error
	report   DryReport
	cases    map[string]dryCase         // by gallery and reference
	photos   map[string]int             // of each case, alike
	passed   map[[sha256.Size]byte]bool // photos, each in its case
}

type dryCase struct {
	id  registry.CaseID // empty for one that would be made
	bad string
}

// dryLine is a line of a manifest that names a file of an archive.
type dryLine struct {
	facts  registry.Case
	line   int
	remark string
	seen   bool
}

// DryRun reads everything that an import would read, and writes nothing to the registry, which is nil where there is none yet. Every
// photo's bytes are read, but none is decoded: whether a photo has a face shows in the import only.
func DryRun(ctx context.Context, r *registry.Registry, a Args, tell func(Line) error) (DryReport, error) {
	p, err := a.open(ctx, true)
	if err != nil {
		return DryReport{}, err
	}
	d := &dryRun{plan: p, registry: r, tell: tell, cases: map[string]dryCase{}, photos: map[string]int{}, passed: map[[sha256.Size]byte]bool{}}
	err = errors.Join(d.run(ctx), p.src.Close())
	if err == nil && d.report.New+d.report.Known+d.report.Unreadable+d.report.Skipped == 0 {
		err = errNothing
	}
	for _, c := range d.cases {
		switch {
		case c.bad != "":
		case c.id == "":
			d.report.CasesNew++
		default:
			d.report.CasesKnown++
		}
	}
	return d.report, err
}

func (d *dryRun) run(ctx context.Context) error {
	d.report.Seen = d.seen()
	if d.manifest == nil {
		return d.src.each(ctx, func(e entry) error {
			facts, bad := d.caseIn(e.path)
			return d.file(ctx, Line{Path: e.path, Case: facts.Ref}, facts, e, bad)
		})
	}
	wanted := map[string][]*dryLine{} // in an archive
	err := d.manifest.rows(func(r row) error {
		l := Line{Path: r.photo, Line: r.line, Case: r.facts.Ref, Remark: r.remark}
		switch {
		case r.bad != "":
			l.Path = r.said
			return d.file(ctx, l, r.facts, entry{}, r.bad)
		case d.src.at() == nil:
			wanted[r.photo] = append(wanted[r.photo], &dryLine{facts: r.facts, line: r.line, remark: r.remark})
			return ctx.Err()
		}
		e := d.lookup(r.photo)
		return d.file(ctx, l, r.facts, e, "")
	})
	if err != nil || d.src.at() != nil {
		return err
	}
	err = d.src.each(ctx, func(e entry) error {
		for _, name := range d.names(e.path) {
			lines := wanted[name]
			if len(lines) > 1 && e.once && e.bad == "" {
				data, err := readPhoto(e)
				if err != nil {
					e.bad = "cannot be read: " + plain(err)
				}
				e.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
			}
			for _, l := range lines {
				l.seen = true
				if err := d.file(ctx, Line{Path: name, Line: l.line, Case: l.facts.Ref, Remark: l.remark}, l.facts, e, ""); err != nil {
					return err
				}
			}
			if lines != nil {
				break
			}
		}
		return nil
	})
	for name, lines := range wanted {
		for _, l := range lines {
			if l.seen || err != nil {
				continue
			}
			err = d.file(ctx, Line{Path: name, Line: l.line, Case: l.facts.Ref, Remark: l.remark}, l.facts, entry{bad: "not in the archive"}, "")
		}
	}
	return err
}

// file says what would become of a file; bad is why no case would be made for it.
func (d *dryRun) file(ctx context.Context, l Line, facts registry.Case, e entry, bad string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	end := func(outcome Outcome, reason string) error {
		l.Outcome, l.Reason = outcome, reason
		if k := key(facts); outcome == New || outcome == Duplicate && reason == "" {
			if d.photos[k]++; d.photos[k] > d.report.LargestPhotos {
				d.report.Largest, d.report.LargestPhotos = facts.Ref, d.photos[k]
			}
		}
		switch outcome {
		case New:
			d.report.New++
		case Duplicate:
			d.report.Known++
		case Unreadable:
			d.report.Unreadable++
		default:
			d.report.Skipped++
		}
		return d.tell(l)
	}
	var c dryCase
	var err error
	if bad == "" && d.manifest != nil { // a manifest's cases are made whatever becomes of their photos
		if c, err = d.caseOfFacts(ctx, facts); err != nil {
			return err
		}
		bad = c.bad
	}
	switch {
	case e.bad != "": // says more of a file than where it lies
		return end(Skipped, e.bad)
	case bad != "":
		return end(Skipped, bad)
	case e.size > finder.MaxPhotoBytes:
		return end(Skipped, tooLarge)
	case nested(e.path):
		return end(Skipped, nestedReason)
	}
	r, err := e.open()
	if err != nil {
		return end(Unreadable, "cannot be opened: "+plain(err))
	}
	defer r.Close()
	hash := sha256.New()
	if d.registry != nil {
		hash = d.registry.NewDigest()
	}
	body := &photo{r: r, size: e.size, passed: func() {}}
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(body, head)
	if head = head[:n]; err == nil || err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		hash.Write(head)
		_, err = io.Copy(hash, body)
	}
	if errors.Is(err, errBomb) {
		return err
	}
	if err != nil {
		return end(Unreadable, "cannot be read: "+plain(err))
	}
	what, err := describe(head)
	if err != nil {
		return end(Unreadable, err.Error())
	}
	if d.manifest == nil {
		if c, err = d.caseOfFacts(ctx, facts); err != nil {
			return err
		}
		if c.bad != "" {
			return end(Skipped, c.bad)
		}
	}
	digest := hash.Sum(nil)
	mine := sha256.Sum256(append(digest, key(facts)...))
	if d.passed[mine] {
		return end(Duplicate, "its case has the same file twice")
	}
	d.passed[mine] = true
	if c.id != "" {
		there, err := d.registry.HasPhoto(ctx, c.id, digest)
		if err != nil {
			return err
		}
		if there {
			return end(Duplicate, "")
		}
	}
	return end(New, what)
}

// caseOfFacts finds the case, or finds out whether it could be made.
func (d *dryRun) caseOfFacts(ctx context.Context, facts registry.Case) (dryCase, error) {
	k := key(facts)
	if c, ok := d.cases[k]; ok && c.bad == "" { // a later line may have better facts
		return c, nil
	}
	var c dryCase
	if d.registry != nil {
		known, err := d.registry.CaseByRef(ctx, facts.Gallery, facts.Ref)
		if err != nil && !errors.Is(err, registry.ErrNotFound) {
			return c, err
		}
		c.id = known.ID
	}
	if c.id == "" {
		err := d.registry.CheckCase(ctx, facts)
		if err != nil && !errors.Is(err, registry.ErrInvalid) {
			return c, err
		}
		if err != nil {
			c.bad = "its case cannot be created: " + err.Error()
		}
	}
	d.cases[k] = c
	return c, nil
}

// describe says what a photo is by its first bytes, or why it is none.
func describe(head []byte) (string, error) {
	format, err := engine.Sniff(head)
	if err != nil {
		return "", err
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(head))
	if err != nil { // what the first bytes do not tell, or not to a program without the decoder
		return format, nil
	}
	if config.Width*config.Height > engine.MaxPixels {
		return "", fmt.Errorf("the photo is %d by %d pixels, more than %d megapixels: send a smaller copy", config.Width, config.Height, engine.MaxPixels/1_000_000)
	}
	if min(config.Width, config.Height) < engine.MinSide {
		return "", fmt.Errorf("the photo is only %d by %d pixels, too small to show a face", config.Width, config.Height)
	}
	return fmt.Sprintf("%s, %d by %d pixels", format, config.Width, config.Height), nil
}
