package models

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// The forms of what cards are written in.
const (
	cardName    = `^[a-z0-9][a-z0-9_.-]{0,63}$`
	fileName    = `^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$` // never a path
	checksum    = `^[0-9a-f]{64}$`
	packageName = `^(npm|pypi):(@[a-z0-9][a-z0-9_.-]*/)?[A-Za-z0-9][A-Za-z0-9_.-]*@[0-9][A-Za-z0-9_.+-]*$`
	memberPath  = `^[A-Za-z0-9_@.+-]+(/[A-Za-z0-9_@.+-]+)*$`
	conversion  = `^[a-z0-9_]+$`
)

// engines are what can run a model for each task.
func engines(t Task) []string {
	switch t {
	case Detect, Age:
		return []string{"onnx"}
	case Recognise:
		return []string{"onnx", "dlib"}
	case Runtime:
		return []string{"library"}
	}
	return nil
}

// readCard reads and checks one card, and keeps those of its files that are for this machine.
func readCard(path string) (Card, error) {
	var c Card
	if err := decode(path, &c); err != nil {
		return Card{}, err
	}
	if want := strings.TrimSuffix(filepath.Base(path), ".json"); c.Name != want {
		return Card{}, fmt.Errorf("%s: name: is %q in a file that says %q", path, c.Name, want)
	}
	if err := c.check(); err != nil {
		return Card{}, fmt.Errorf("%s: %w", path, err)
	}
	c.Files = slices.DeleteFunc(c.Files, func(f File) bool { return f.Arch != "" && f.Arch != runtime.GOARCH })
	if len(c.Files) == 0 {
		return Card{}, fmt.Errorf("%s: files: none is for this machine's processor, %s", path, runtime.GOARCH)
	}
	return c, nil
}

// field says which field is wrong, and why.
func field(name, why string, args ...any) error {
	return fmt.Errorf("%s: %s", name, fmt.Sprintf(why, args...))
}

func like(name, value, form string) error {
	if value == "" {
		return field(name, "is missing")
	}
	if !regexp.MustCompile(form).MatchString(value) {
		return field(name, "%q does not have the form %s", value, form)
	}
	return nil
}

func oneOf(name, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return field(name, "is %q; use %s", value, strings.Join(allowed, " or "))
	}
	return nil
}

// check returns the first thing wrong with a card.
func (c Card) check() error {
	if err := like("name", c.Name, cardName); err != nil {
		return err
	}
	if c.Version == "" {
		return field("version", "is missing")
	}
	if err := oneOf("task", string(c.Task), string(Detect), string(Recognise), string(Age), string(Runtime)); err != nil {
		return err
	}
	if err := oneOf("engine", c.Engine, engines(c.Task)...); err != nil {
		return err
	}
	if c.Licence == "" {
		return field("licence", "is missing")
	}
	if err := c.checkFiles(); err != nil {
		return err
	}
	switch c.Engine {
	case "onnx":
		if err := c.checkInput(); err != nil {
			return err
		}
		return c.checkOutput()
	case "dlib":
		// dlib finds, aligns and normalises the face by itself.
		if !reflect.ValueOf(c.Input).IsZero() {
			return field("input", "dlib takes none")
		}
		if c.Output.Dim < 1 || c.Output.Names != nil || c.Output.Ages != nil {
			return field("output", "give dim, and nothing else, for dlib")
		}
	default:
		if !reflect.ValueOf(c.Input).IsZero() || !reflect.ValueOf(c.Output).IsZero() {
			return field("input, output", "a %s has none", c.Engine)
		}
	}
	return nil
}

func (c Card) checkFiles() error {
	if len(c.Files) == 0 {
		return field("files", "name at least one")
	}
	seen := map[[2]string]bool{}
	for i, f := range c.Files {
		at := func(err error) error {
			if err != nil {
				err = fmt.Errorf("files[%d].%w", i, err)
			}
			return err
		}
		if f.Own {
			if f.Source != (Source{}) || len(f.Convert) > 0 {
				return at(field("own", "a file of our own has no source and is not converted"))
			}
			f.Source = Source{Package: "npm:own@0", Archive: f.SHA256, Path: f.Name, Size: f.Size, SHA256: f.SHA256}
		}
		err := errors.Join(
			at(like("name", f.Name, fileName)),
			at(like("sha256", f.SHA256, checksum)),
			at(like("source.package", f.Source.Package, packageName)),
			at(like("source.archive", f.Source.Archive, checksum)),
			at(like("source.path", f.Source.Path, memberPath)),
			at(like("source.sha256", f.Source.SHA256, checksum)),
		)
		if err != nil {
			return err
		}
		for step := range strings.SplitSeq(f.Source.Path, "/") {
			if step == "." || step == ".." {
				return at(field("source.path", "%q leaves the package", f.Source.Path))
			}
		}
		if f.Size < 1 {
			return at(field("size", "must be a number of bytes"))
		}
		if f.Source.Size < 1 {
			return at(field("source.size", "must be a number of bytes"))
		}
		for _, name := range f.Convert {
			if err := like("convert", name, conversion); err != nil {
				return at(err)
			}
		}
		if len(f.Convert) == 0 && (f.Size != f.Source.Size || f.SHA256 != f.Source.SHA256) {
			return at(field("sha256", "differs from the source's though nothing converts the file"))
		}
		if seen[[2]string{f.Name, f.Arch}] || f.Arch != "" && seen[[2]string{f.Name}] {
			return at(field("name", "%q is there twice", f.Name))
		}
		seen[[2]string{f.Name, f.Arch}] = true
	}
	return nil
}

func (c Card) checkInput() error {
	in := c.Input
	if in.Name == "" {
		return field("input.name", "is missing")
	}
	if err := oneOf("input.layout", in.Layout, "NCHW", "NHWC"); err != nil {
		return err
	}
	if err := oneOf("input.colour", in.Colour, "RGB", "BGR"); err != nil {
		return err
	}
	chips := []string{"arcface", "dlib"}
	if c.Task == Detect {
		chips = []string{"photo"}
	}
	if err := oneOf("input.chip", in.Chip, chips...); err != nil {
		return err
	}
	if len(in.Shape) != 4 {
		return field("input.shape", "give four dimensions in the order of the layout, −1 where any size will do")
	}
	for _, d := range in.Shape {
		if d < 1 && d != -1 {
			return field("input.shape", "%d is no size", d)
		}
	}
	channels, height, width := in.Shape[1], in.Shape[2], in.Shape[3]
	if in.Layout == "NHWC" {
		height, width, channels = in.Shape[1], in.Shape[2], in.Shape[3]
	}
	if channels != 3 {
		return field("input.shape", "%d channels; %s needs 3", channels, in.Colour)
	}
	if c.Task != Detect && (height != width || height < 0) {
		return field("input.shape", "a chip is square and of one size, not %d×%d", width, height)
	}
	if len(in.Mean) != 1 && len(in.Mean) != 3 {
		return field("input.mean", "give one value, or one for each channel")
	}
	if in.Scale <= 0 {
		return field("input.scale", "must be above 0")
	}
	if in.Padding < 0 || in.Padding != 0 && in.Chip != "dlib" {
		return field("input.padding", "is for chip dlib, and not below 0")
	}
	return nil
}

func (c Card) checkOutput() error {
	out := c.Output
	if len(out.Names) == 0 {
		return field("output.names", "name at least one of the graph's outputs")
	}
	for i, name := range out.Names {
		if name == "" || slices.Contains(out.Names[:i], name) {
			return field("output.names", "%q is empty or there twice", name)
		}
	}
	if (out.Dim > 0) != (c.Task == Recognise) || out.Dim < 0 {
		return field("output.dim", "is the length of a recogniser's embedding, and only a recogniser's")
	}
	if (len(out.Ages) > 1) != (c.Task == Age) {
		return field("output.ages", "are the classes of an age model, two or more, and only an age model's")
	}
	for i, age := range out.Ages {
		if age < 0 || i > 0 && age <= out.Ages[i-1] {
			return field("output.ages", "must not be negative, and grow")
		}
	}
	return nil
}
