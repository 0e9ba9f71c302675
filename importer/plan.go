package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"homeward/registry"
)

// Args say what to import. They are those of a job.
type Args struct {
	Source  string           `json:"source"` // absolute path of a folder or an archive
	Gallery registry.Gallery `json:"gallery"`
	// Manifest is an absolute path, or one inside of the source; empty for a subfolder per case.
	Manifest string `json:"manifest,omitempty"`
	// Map says under which heading the manifest has which of Columns, for those that are not known.
	Map   map[string]string `json:"map,omitempty"`
	Sheet string            `json:"sheet,omitempty"` // of a workbook; empty for the first that is not hidden
}

// Locate makes Args of what a person names, from where they stand: a manifest that is not there is one inside of the source.
func Locate(source, manifest string, a Args) (Args, error) {
	var err error
	if a.Source, err = filepath.Abs(source); err != nil {
		return a, err
	}
	if manifest == "" {
		return a, nil
	}
	if _, err := os.Stat(manifest); err == nil {
		a.Manifest, err = filepath.Abs(manifest)
		return a, err
	}
	a.Manifest = filepath.ToSlash(manifest)
	if _, err := cleanPath(a.Manifest); err != nil {
		return a, fmt.Errorf("manifest %s: there is no such file", manifest)
	}
	return a, nil
}

// NewJob is the job that imports. Of one source with one manifest read in one way there is one at a time.
func (a Args) NewJob() registry.NewJob {
	about := fmt.Sprintf("%s (%s)", a.Source, a.Gallery)
	if a.Manifest != "" {
		about += " by " + a.Manifest
	}
	for _, column := range slices.Sorted(maps.Keys(a.Map)) {
		about += fmt.Sprintf(", %s=%s", column, a.Map[column])
	}
	if a.Sheet != "" {
		about += ", sheet " + a.Sheet
	}
	return registry.NewJob{Kind: registry.JobImport, About: about, Args: a}
}

// Seen is what a manifest was found to be.
type Seen struct {
	Manifest string   `json:"manifest,omitempty"`         // "CSV in GB18030, parted by ','"
	Columns  string   `json:"columns,omitempty"`          // those that were found, and under which headings
	Unused   []string `json:"columns_not_used,omitempty"` // headings that are none of Columns
}

func (p *plan) seen() Seen {
	if p.manifest == nil {
		return Seen{}
	}
	return Seen{Manifest: p.manifest.form, Columns: p.manifest.usedColumns(), Unused: p.manifest.unused}
}

// plan is an opened source, with its manifest.
type plan struct {
	Args
	src      source
	manifest *manifest // nil for a subfolder per case
	base     string    // the folder inside of an archive in which its manifest lies
	wrapper  string    // the one folder in which all cases of an archive lie, or ""
	total    int64     // files or lines; 0 while unknown
}

// Check finds out whether there is something to import, before a job is made for it: its errors are for whoever asked.
func (a Args) Check(ctx context.Context) (Seen, error) {
	p, err := a.open(ctx, false)
	if err != nil {
		return Seen{}, err
	}
	defer p.src.Close()
	found := errors.New("found")
	err = p.src.each(ctx, func(entry) error { return found })
	switch {
	case err == found || errors.Is(err, errDamaged): // what is damaged is told by the import, which keeps what came before
		err = nil
	case err == nil:
		err = errNothing
	}
	return p.seen(), err
}

// open opens what is to be imported. Unless it is thorough, an archive is not read through.
func (a Args) open(ctx context.Context, thorough bool) (_ *plan, err error) {
	p := &plan{Args: a}
	if p.src, err = openSource(a.Source); err != nil {
		return nil, fmt.Errorf("open what to import: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.src.Close())
		}
	}()
	if p.src.at() == nil && thorough {
		if err := p.survey(ctx); err != nil {
			return nil, err
		}
	}
	if a.Manifest == "" {
		return p, nil
	}
	p.manifest = &manifest{name: a.Manifest, gallery: a.Gallery, mapped: a.Map, sheet: a.Sheet}
	if filepath.IsAbs(a.Manifest) {
		p.manifest.open = func() (io.ReadCloser, error) { return os.Open(a.Manifest) }
	} else {
		name, err := cleanPath(a.Manifest)
		if err != nil {
			return nil, &manifestError{a.Manifest, err}
		}
		data, err := p.src.read(ctx, name)
		if errors.Is(err, fs.ErrNotExist) && !thorough && p.src.at() == nil {
			err = p.survey(ctx)
			if err == nil {
				err = fs.ErrNotExist
			}
		}
		if errors.Is(err, fs.ErrNotExist) && p.wrapper != "" {
			name = p.wrapper + name
			data, err = p.src.read(ctx, name)
		}
		if err != nil {
			return nil, &manifestError{a.Manifest, err}
		}
		p.base = path.Dir(name) + "/"
		p.manifest.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	}
	// What is wrong with the manifest as a whole is found before anything is done.
	p.total = 0
	err = p.manifest.rows(func(row) error {
		p.total++
		return ctx.Err()
	})
	return p, err
}

// survey counts an archive's files, and finds out whether all its cases lie in one folder, as they do where a folder of cases was packed
// as one: then that is not a case.
func (p *plan) survey(ctx context.Context) error {
	first, deep := true, true
	err := p.src.each(ctx, func(e entry) error {
		p.total++
		if e.bad != "" {
			return nil
		}
		top, rest, _ := strings.Cut(e.path, "/")
		if first {
			p.wrapper, first = top+"/", false
		}
		deep = deep && top+"/" == p.wrapper && (strings.Contains(rest, "/") || p.Manifest != "")
		return nil
	})
	if !deep {
		p.wrapper = ""
	}
	if errors.Is(err, errDamaged) { // it is told when reading has come that far
		p.total, err = 0, nil
	}
	return err
}

// caseOf is the reference of the case in whose folder a file lies.
func (p *plan) caseOf(name string) (ref string, ok bool) {
	top, _, ok := strings.Cut(strings.TrimPrefix(name, p.wrapper), "/")
	return strings.TrimSpace(top), ok // as the registry keeps it
}

// caseIn is the case in whose folder a file lies, with the facts to make it with; or why the file is not in one.
func (p *plan) caseIn(name string) (c registry.Case, bad string) {
	ref, ok := p.caseOf(name)
	ext := strings.ToLower(path.Ext(name))
	switch {
	case nested(name):
		return c, nestedReason
	case !ok && (ext == ".csv" || ext == ".xlsx"):
		return c, "not in a case's folder: if it says which photo is whose, name it with --manifest"
	case !ok || ref == "":
		return c, "not in a case's folder: put the photos of each case into a folder of their own"
	}
	return registry.Case{Gallery: p.Gallery, Ref: ref, Names: []string{strings.ReplaceAll(ref, "_", " ")}}, ""
}

// lookup finds a line's photo in a folder: its path counts from the folder, or from where the manifest lies.
func (p *plan) lookup(name string) entry {
	e := p.src.at()(name)
	if e.bad != "" && p.base != "" && p.base != "./" {
		if other := p.src.at()(p.base + name); other.bad == "" {
			return other
		}
	}
	return e
}

// names are the ways in which a manifest may name a file of an archive.
func (p *plan) names(file string) []string {
	out := []string{file}
	for _, prefix := range []string{p.base, p.wrapper} {
		if rest, ok := strings.CutPrefix(file, prefix); ok && prefix != "" && prefix != "./" {
			out = append(out, rest)
		}
	}
	return slices.Compact(out)
}
