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
	// CaseDepth says which folders are the cases where there is no manifest: 1 the top ones, 2 those in them, and so on; 0 to find it out.
	CaseDepth int `json:"case_depth,omitempty"`
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
	if a.CaseDepth > 0 {
		about += fmt.Sprintf(", case depth %d", a.CaseDepth)
	}
	return registry.NewJob{Kind: registry.JobImport, About: about, Args: a}
}

// Seen is what a manifest was found to be, or without one where the cases lie.
type Seen struct {
	CaseDepth int      `json:"case_depth,omitempty"`       // the level of the cases' folders, as in Args
	SuchAs    string   `json:"such_as,omitempty"`          // one of them
	Manifest  string   `json:"manifest,omitempty"`         // "CSV in GB18030, parted by ','"
	Columns   string   `json:"columns,omitempty"`          // those that were found, and under which headings
	Unused    []string `json:"columns_not_used,omitempty"` // headings that are none of Columns
}

func (p *plan) seen() Seen {
	if p.manifest == nil {
		return Seen{CaseDepth: p.CaseDepth, SuchAs: p.suchAs}
	}
	return Seen{Manifest: p.manifest.form, Columns: p.manifest.usedColumns(), Unused: p.manifest.unused}
}

// plan is an opened source, with its manifest.
type plan struct {
	Args
	src      source
	manifest *manifest       // nil for a subfolder per case
	base     string          // the folder inside of an archive in which its manifest lies
	wrapper  string          // the one folder in which all files of an archive with a manifest lie, or ""
	suchAs   string          // the folder of a case, where there is no manifest
	twice    map[string]bool // names that several cases' folders have
	total    int64           // files or lines; 0 while unknown
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

// open opens what is to be imported. Unless it is thorough, an archive with a manifest is not read through.
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
	if a.Manifest == "" {
		return p, p.place(ctx)
	}
	if p.src.at() == nil && thorough {
		if err := p.survey(ctx); err != nil {
			return nil, err
		}
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

// place counts the files, and finds out which folders are the cases'.
func (p *plan) place(ctx context.Context) error {
	var photos branches
	damage := p.src.each(ctx, func(e entry) error {
		p.total++
		if e.bad != "" || !looksPhoto(e) {
			return nil
		}
		return photos.add(e.path)
	})
	if damage != nil && !errors.Is(damage, errDamaged) {
		return damage
	}
	if damage != nil { // it is told when reading has come that far
		p.total = 0
	}
	if p.CaseDepth == 0 {
		var err error
		if p.CaseDepth, err = photos.level(); err != nil {
			return errors.Join(damage, err)
		}
	}
	names := map[string]bool{}
	p.twice = map[string]bool{}
	for i, f := range photos.at(p.CaseDepth) {
		name := strings.TrimSpace(path.Base(f.path))
		if i == 0 {
			p.suchAs = f.path
		}
		if names[name] {
			p.twice[name] = true
		}
		names[name] = true
	}
	return nil
}

// survey counts an archive's files, and finds out whether they all lie in one folder, as they do where a folder was packed as one.
func (p *plan) survey(ctx context.Context) error {
	first, deep := true, true
	err := p.src.each(ctx, func(e entry) error {
		p.total++
		if e.bad != "" {
			return nil
		}
		top, _, _ := strings.Cut(e.path, "/")
		if first {
			p.wrapper, first = top+"/", false
		}
		deep = deep && top+"/" == p.wrapper
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

// caseOf is the name of the case in whose folder a file lies, and its reference: the same at the top, as further down where no other case's
// folder is called the same; else with the folders in which it lies.
func (p *plan) caseOf(file string) (name, ref string, ok bool) {
	folders := strings.SplitN(file, "/", p.CaseDepth+1)
	if len(folders) <= p.CaseDepth {
		return "", "", false
	}
	folders = folders[:p.CaseDepth]
	name = strings.TrimSpace(folders[p.CaseDepth-1]) // as the registry keeps it
	if p.CaseDepth > 1 && p.twice[name] {
		return name, strings.TrimSpace(strings.Join(folders, "/")), true
	}
	return name, name, true
}

// caseIn is the case in whose folder a file lies, with the facts to make it with; or why the file is not in one.
func (p *plan) caseIn(name string) (c registry.Case, bad string) {
	called, ref, ok := p.caseOf(name)
	ext := strings.ToLower(path.Ext(name))
	switch {
	case nested(name):
		return c, nestedReason
	case !ok && (ext == ".csv" || ext == ".xlsx"):
		return c, "not in a case's folder: if it says which photo is whose, name it with --manifest"
	case !ok && p.CaseDepth > 1:
		return c, fmt.Sprintf("not in a case's folder: those are %d folders deep, such as %s", p.CaseDepth, p.suchAs)
	case !ok || called == "":
		return c, "not in a case's folder: put the photos of each case into a folder of their own"
	}
	return registry.Case{Gallery: p.Gallery, Ref: ref, Names: []string{strings.ReplaceAll(called, "_", " ")}}, ""
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
