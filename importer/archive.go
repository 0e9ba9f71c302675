package importer

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"homeward/registry"
)

// File is a photo to import, by its path inside the archive.
type File struct {
	Path  string
	Taken registry.Date
	Line  int // in the manifest; 0 for a folder
}

// Group is what an archive holds of one case.
type Group struct {
	Case  registry.Case // facts to create it with; Ref says which case it is
	Files []File
	// Bad holds what could not even be tried, with its reason.
	Bad []Outcome
	// KeepEmpty keeps a case none of whose photos could be taken: the manifest states facts worth having without them.
	KeepEmpty bool
}

// Archive is where an import reads from. Nothing outside its folder is ever opened, whatever a manifest or a symbolic
// link says.
type Archive struct {
	root     *os.Root
	manifest string
	gallery  registry.Gallery
}

// OpenArchive opens a folder of cases. With a manifest (a path inside dir) the manifest says which photos there are.
func OpenArchive(dir, manifest string, gallery registry.Gallery) (*Archive, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	return &Archive{root: root, manifest: manifest, gallery: gallery}, nil
}

// Close closes the folder.
func (a *Archive) Close() error { return a.root.Close() }

// Groups yields the archive's cases in the order of their names, or of the manifest. An error ends it.
func (a *Archive) Groups() iter.Seq2[Group, error] {
	if a.manifest != "" {
		return a.manifestGroups
	}
	return a.folderGroups
}

func (a *Archive) folderGroups(yield func(Group, error) bool) {
	entries, err := fs.ReadDir(a.root.FS(), ".")
	if err != nil {
		yield(Group{}, fmt.Errorf("read the archive: %w", err))
		return
	}
	var loose Group
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		if !e.IsDir() {
			loose.Bad = append(loose.Bad, Outcome{Path: name, Result: Skipped, Reason: "not in a case's folder: put the photos of each case into a folder of their own"})
			continue
		}
		ref := strings.TrimSpace(name) // as the registry keeps it
		g := Group{Case: registry.Case{Gallery: a.gallery, Ref: ref, Names: []string{strings.ReplaceAll(ref, "_", " ")}}}
		err := fs.WalkDir(a.root.FS(), name, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				g.Bad = append(g.Bad, Outcome{Path: p, Case: name, Result: Skipped, Reason: "cannot be read: " + plain(err)})
			case d.IsDir() || strings.HasPrefix(d.Name(), "."):
			case !d.Type().IsRegular():
				g.Bad = append(g.Bad, Outcome{Path: p, Case: name, Result: Skipped, Reason: "not a regular file (links are not followed)"})
			default:
				g.Files = append(g.Files, File{Path: p})
			}
			return nil
		})
		if err != nil {
			yield(Group{}, fmt.Errorf("read the archive: %w", err))
			return
		}
		if !yield(g, nil) {
			return
		}
	}
	if len(loose.Bad) > 0 {
		yield(loose, nil)
	}
}

// columns a manifest may have; photo and case it must have.
var columns = []string{"photo", "case", "gallery", "names", "sex", "born", "born_to", "region", "place", "on", "marks", "notes", "taken"}

func (a *Archive) manifestGroups(yield func(Group, error) bool) {
	f, err := a.root.Open(a.manifest)
	if err != nil {
		yield(Group{}, fmt.Errorf("open the manifest: %w", err))
		return
	}
	defer f.Close()
	r := csv.NewReader(stripBOM(f))
	header, err := r.Read()
	if err != nil {
		yield(Group{}, fmt.Errorf("manifest %s: read the heading: %w", a.manifest, err))
		return
	}
	at := map[string]int{}
	for i, h := range header {
		h = strings.ToLower(strings.TrimSpace(h))
		if !slices.Contains(columns, h) {
			yield(Group{}, fmt.Errorf("manifest %s: unknown column %q; the columns are %s", a.manifest, h, strings.Join(columns, ", ")))
			return
		}
		at[h] = i
	}
	for _, must := range []string{"photo", "case"} {
		if _, ok := at[must]; !ok {
			yield(Group{}, fmt.Errorf("manifest %s: column %q is missing; the columns are %s", a.manifest, must, strings.Join(columns, ", ")))
			return
		}
	}
	var g Group
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			yield(Group{}, fmt.Errorf("manifest %s: %w", a.manifest, err))
			return
		}
		line, _ := r.FieldPos(0)
		cell := func(column string) string {
			if i, ok := at[column]; ok {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		ref, photo := cell("case"), cell("photo")
		bad := func(reason string) {
			g.Bad = append(g.Bad, Outcome{Path: photo, Case: ref, Result: Skipped, Reason: fmt.Sprintf("line %d: %s", line, reason)})
		}
		gallery := a.gallery
		if cell := strings.ToLower(cell("gallery")); cell != "" {
			gallery = registry.Gallery(cell)
		}
		if ref != g.Case.Ref || gallery != g.Case.Gallery {
			if len(g.Files)+len(g.Bad) > 0 && !yield(g, nil) {
				return
			}
			g = Group{KeepEmpty: true}
			if g.Case, err = manifestCase(cell, gallery); err != nil {
				bad(err.Error())
				g.Case = registry.Case{}
				continue
			}
		}
		taken, err := registry.ParseDate(cell("taken"))
		switch {
		case ref == "":
			bad("the case column is empty")
		case photo == "":
			bad("the photo column is empty")
		case err != nil:
			bad("taken: " + err.Error())
		default:
			g.Files = append(g.Files, File{Path: path.Clean(strings.ReplaceAll(photo, `\`, "/")), Taken: taken, Line: line})
		}
	}
	if len(g.Files)+len(g.Bad) > 0 {
		yield(g, nil)
	}
}

func manifestCase(cell func(string) string, gallery registry.Gallery) (c registry.Case, err error) {
	c = registry.Case{
		Gallery: gallery, Ref: cell("case"), Sex: registry.Sex(strings.ToLower(cell("sex"))),
		Region: cell("region"), Place: cell("place"), Marks: cell("marks"), Notes: cell("notes"),
	}
	for name := range strings.SplitSeq(cell("names"), ";") {
		if name = strings.TrimSpace(name); name != "" {
			c.Names = append(c.Names, name)
		}
	}
	for column, to := range map[string]*registry.Date{"born": &c.BornFrom, "born_to": &c.BornTo, "on": &c.On} {
		if *to, err = registry.ParseDate(cell(column)); err != nil {
			return c, fmt.Errorf("%s: %w", column, err)
		}
	}
	if c.BornTo.IsZero() {
		c.BornTo = c.BornFrom
	}
	return c, nil
}

// stripBOM drops the mark that spreadsheets put before UTF-8.
func stripBOM(r io.Reader) io.Reader {
	var first [3]byte
	n, _ := io.ReadFull(r, first[:]) // a short or failing read shows again below
	if n == 3 && first == [3]byte{0xEF, 0xBB, 0xBF} {
		return r
	}
	return io.MultiReader(strings.NewReader(string(first[:n])), r)
}
