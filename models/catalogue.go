package models

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrUnknown is answered for a model set that the catalogue does not hold.
var ErrUnknown = errors.New("no such model set")

const setSuffix = ".set.json"

// Catalogue is the cards and sets of one directory. It does not change once loaded, and is safe for concurrent use.
type Catalogue struct {
	dir   string
	cards []Card // by name
	sets  []Set  // by name
}

// Load reads and checks every card (*.json) and every set (*.set.json) in dir. An error names the file and the field
// that is wrong. The weights themselves are not looked at: see Verify and VerifySet.
func Load(dir string) (*Catalogue, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the model cards: %w", err)
	}
	c := &Catalogue{dir: dir}
	var sets []string
	holders := map[string]File{} // the file of each name in weights
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".json") {
			continue
		}
		if strings.HasSuffix(name, setSuffix) {
			sets = append(sets, name)
			continue
		}
		card, err := readCard(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for _, f := range card.Files {
			if other, ok := holders[f.Name]; ok && other.SHA256 != f.SHA256 {
				return nil, fmt.Errorf("%s: files: another card has a different %s", filepath.Join(dir, name), f.Name)
			}
			holders[f.Name] = f
		}
		c.cards = append(c.cards, card)
	}
	if len(c.cards) == 0 {
		return nil, fmt.Errorf("%s holds no model cards: set HOMEWARD_MODELS to the directory that does", dir)
	}
	slices.SortFunc(c.cards, func(a, b Card) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range sets {
		set, err := c.readSet(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		c.sets = append(c.sets, set)
	}
	slices.SortFunc(c.sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	return c, nil
}

// DefaultDir finds the models: HOMEWARD_MODELS where it is set, else the models directory beside the one the program is
// in (bin/../models), else models in the current directory.
func DefaultDir() (string, error) {
	if dir := os.Getenv("HOMEWARD_MODELS"); dir != "" {
		return dir, nil
	}
	var tried []string
	if program, err := os.Executable(); err == nil {
		if program, err = filepath.EvalSymlinks(program); err == nil {
			tried = append(tried, filepath.Join(filepath.Dir(program), "..", "models"))
		}
	}
	tried = append(tried, "models")
	for _, dir := range tried {
		if cards, err := filepath.Glob(filepath.Join(dir, "*"+setSuffix)); err == nil && len(cards) > 0 {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no model cards in %s: set HOMEWARD_MODELS to the project's models directory",
		strings.Join(tried, " or "))
}

// Dir is the directory the catalogue was loaded from.
func (c *Catalogue) Dir() string { return c.dir }

// Cards are all cards, by name.
func (c *Catalogue) Cards() []Card { return slices.Clone(c.cards) }

// Sets are all sets, by name.
func (c *Catalogue) Sets() []Set { return slices.Clone(c.sets) }

// Set is the set of that name, or an error that wraps ErrUnknown.
func (c *Catalogue) Set(name string) (Set, error) {
	var names []string
	for _, s := range c.sets {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Set{}, fmt.Errorf("%w: %q; %s has: %s", ErrUnknown, name, c.dir, strings.Join(names, ", "))
}

// Path is where a file is, or belongs.
func (c *Catalogue) Path(f File) string {
	if f.Own {
		return filepath.Join(c.dir, "trained", f.Name)
	}
	return filepath.Join(c.dir, "weights", f.Name)
}

func (c *Catalogue) card(name string) (Card, bool) {
	i, ok := slices.BinarySearchFunc(c.cards, name, func(card Card, name string) int { return cmp.Compare(card.Name, name) })
	if !ok {
		return Card{}, false
	}
	return c.cards[i], true
}

// decode reads one JSON object that has no field v does not know, and nothing behind it.
func decode(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a model card: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: something follows the object", path)
	}
	return nil
}
