package importer

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"homeward/engine"
)

const (
	// MaxLevel is how deep the cases' folders may lie. What lies deeper is seen as lying there.
	MaxLevel = 16
	// maxFolders bounds the folders that are held in memory while it is found out which are the cases': some 300 bytes each.
	maxFolders = 1_000_000
)

var (
	errUnclear = errors.New("it is not clear which folders are the cases")
	errFolders = fmt.Errorf("it has more than %d folders; split it, or name a --manifest", maxFolders)
)

// branch is a folder with photos in it, or in folders in it.
type branch struct {
	path  string
	photo string // one that is directly in it; empty where none is
	subs  map[string]*branch
}

// branches are the folders with photos of a source.
type branches struct {
	root branch
	n    int
}

// add notes where a photo lies.
func (b *branches) add(photo string) error {
	at := &b.root
	rest := photo
	for range MaxLevel {
		name, below, ok := strings.Cut(rest, "/")
		if !ok {
			break
		}
		rest = below
		next := at.subs[name]
		if next == nil {
			if b.n++; b.n > maxFolders {
				return errFolders
			}
			next = &branch{path: path.Join(at.path, name)}
			if at.subs == nil {
				at.subs = map[string]*branch{}
			}
			at.subs[name] = next
		}
		at = next
	}
	if at.photo == "" {
		at.photo = photo
	}
	return nil
}

// forks says whether there is more than one way down to photos.
func (b *branch) forks() bool {
	for ; b != nil; b = b.only() {
		if len(b.subs) > 1 {
			return true
		}
	}
	return false
}

// only is a folder in b; nil where there is none.
func (b *branch) only() *branch {
	for _, sub := range b.subs {
		return sub
	}
	return nil
}

// inside are the folders in b, in the order of their names.
func (b *branch) inside() []*branch {
	var out []*branch
	for _, name := range slices.Sorted(maps.Keys(b.subs)) {
		out = append(out, b.subs[name])
	}
	return out
}

// deepest is a photo as far down as the first, or the last, of the folders in b go.
func (b *branch) deepest(last bool) string {
	for {
		subs := b.inside()
		if len(subs) == 0 {
			return b.photo
		}
		if b = subs[0]; last {
			b = subs[len(subs)-1]
		}
	}
}

// at are the folders at a level, 1 being the top.
func (b *branches) at(level int) []*branch {
	folders := b.root.inside()
	for range level - 1 {
		var below []*branch
		for _, f := range folders {
			below = append(below, f.inside()...)
		}
		folders = below
	}
	return folders
}

// level finds out at which level the cases' folders lie: the first at which photos lie directly in them. Where there are none yet, and
// the folders in them all have names of their own, those are looked at; the same name in several of them is a part of a case, as photos is
// in A001/photos and A002/photos. What could make one case of two children, or two of one, is errUnclear.
func (b *branches) level() (int, error) {
	for level := 1; level <= MaxLevel; level++ {
		var holds, forks, both *branch // the first that has photos directly in it, more than one folder below, or both
		names, repeated := map[string]bool{}, false
		folders := b.at(level)
		for _, f := range folders {
			fork := f.forks()
			switch {
			case fork && f.photo != "" && both == nil:
				both = f
			case fork && forks == nil:
				forks = f
			case f.photo != "" && holds == nil:
				holds = f
			}
			if f.photo == "" {
				for name := range f.subs {
					repeated = repeated || names[name]
					names[name] = true
				}
			}
		}
		switch {
		case len(folders) == 0: // nothing is in a folder, which is said of each file
			return 1, nil
		case both != nil:
			return 0, unclear(level, both.photo, both.deepest(true))
		case holds != nil && forks != nil:
			return 0, unclear(level, holds.photo, forks.deepest(true))
		case holds != nil, forks == nil && repeated:
			return level, nil
		case forks == nil || repeated:
			return 0, unclear(level, folders[0].deepest(false), folders[len(folders)-1].deepest(true))
		}
	}
	return 0, fmt.Errorf("%w: the photos lie more than %d folders deep: import a folder further down", errUnclear, MaxLevel)
}

// unclear is errUnclear between a level and the next, with two photos of which the second lies in folders of both.
func unclear(level int, one, two string) error {
	folder := func(n int) string { return strings.Join(strings.SplitN(two, "/", n+1)[:n], "/") }
	what := fmt.Sprintf("%q", one)
	if one != two {
		what += fmt.Sprintf(" and %q", two)
	}
	return fmt.Errorf("%w, by %s: say --case-depth %d if %q is one case, or --case-depth %d if %q is; or import the folders one by one, or by a --manifest",
		errUnclear, what, level, folder(level), level+1, folder(level+1))
}

// looksPhoto says whether a file is a photo as far as its place is concerned: by its name, or its first bytes.
func looksPhoto(e entry) bool {
	switch strings.ToLower(path.Ext(e.path)) {
	case ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".gif", ".bmp":
		return true
	}
	if nested(e.path) {
		return false
	}
	r, err := e.open()
	if err != nil {
		return false
	}
	defer r.Close()
	head := make([]byte, 64)
	n, _ := io.ReadFull(r, head) // what it cannot be read for, the import says
	_, err = engine.Sniff(head[:n])
	return err == nil
}
