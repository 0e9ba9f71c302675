package models

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// Set is the models that work together. A template made under one set is meaningless under another.
type Set struct {
	Name string
	// ID stands for everything in the cards that changes what is known about a face: it is derived from the
	// fingerprints of the detector, which decides what part of a photo the others see, of the recognisers in order, and
	// of the age model, whose estimates are stored with a face and weigh in its comparisons. The runtime only runs them:
	// a newer one must not make every child's templates stale. Form: "ms1-" and 16 hexadecimal digits.
	ID          string
	Detector    Card
	Recognisers []Card
	Age         Card
	Runtime     Card
	// Metric names the file in metrics/ that was fitted for these recognisers. It is not part of the ID: another metric
	// makes other templates of the same embeddings, and has an id of its own.
	Metric string
}

// Has tells whether the set uses the model of that name.
func (s Set) Has(card string) bool {
	for _, c := range s.cards() {
		if c.Name == card {
			return true
		}
	}
	return false
}

func (s Set) cards() []Card {
	return append([]Card{s.Detector, s.Age, s.Runtime}, s.Recognisers...)
}

func (s Set) id() string {
	h := sha256.New()
	fmt.Fprintf(h, "detect %s\n", s.Detector.Fingerprint())
	for _, r := range s.Recognisers {
		fmt.Fprintf(h, "recognise %s\n", r.Fingerprint())
	}
	fmt.Fprintf(h, "age %s\n", s.Age.Fingerprint())
	return "ms1-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// setFile is a set as its file has it: cards by name.
type setFile struct {
	Name        string   `json:"name"`
	Detector    string   `json:"detector"`
	Recognisers []string `json:"recognisers"`
	Age         string   `json:"age"`
	Runtime     string   `json:"runtime"`
	Metric      string   `json:"metric"` // the set's own name where it is left out
}

func (c *Catalogue) readSet(path string) (Set, error) {
	var f setFile
	if err := decode(path, &f); err != nil {
		return Set{}, err
	}
	wrong := func(field, why string, args ...any) error {
		return fmt.Errorf("%s: %s: %s", path, field, fmt.Sprintf(why, args...))
	}
	if want := strings.TrimSuffix(filepath.Base(path), setSuffix); f.Name != want {
		return Set{}, wrong("name", "is %q in a file that says %q", f.Name, want)
	}
	set := Set{Name: f.Name, Metric: cmp.Or(f.Metric, f.Name)}
	if err := like("metric", set.Metric, cardName); err != nil {
		return Set{}, fmt.Errorf("%s: %w", path, err)
	}
	pick := func(field, name string, task Task) (Card, error) {
		card, ok := c.card(name)
		switch {
		case name == "":
			return Card{}, wrong(field, "is missing")
		case !ok:
			return Card{}, wrong(field, "there is no card %q", name)
		case card.Task != task:
			return Card{}, wrong(field, "card %q is for the task %q, not %q", name, card.Task, task)
		}
		return card, nil
	}
	var err error
	if set.Detector, err = pick("detector", f.Detector, Detect); err != nil {
		return Set{}, err
	}
	if len(f.Recognisers) == 0 {
		return Set{}, wrong("recognisers", "name at least one")
	}
	named := map[string]string{} // by fingerprint
	for _, name := range f.Recognisers {
		card, err := pick("recognisers", name, Recognise)
		if err != nil {
			return Set{}, err
		}
		if other, ok := named[card.Fingerprint()]; ok {
			return Set{}, wrong("recognisers", "%q and %q are the same model", other, name)
		}
		named[card.Fingerprint()] = name
		set.Recognisers = append(set.Recognisers, card)
	}
	if set.Age, err = pick("age", f.Age, Age); err != nil {
		return Set{}, err
	}
	if set.Runtime, err = pick("runtime", f.Runtime, Runtime); err != nil {
		return Set{}, err
	}
	set.ID = set.id()
	return set, nil
}
