package registry

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits on the length of text, in characters (Unicode code points).
const (
	MaxNames     = 20 // names of one case
	MaxName      = 200
	MaxPlace     = 300
	MaxMarks     = 2000
	MaxNotes     = 10000
	MaxRef       = 200
	MaxPhotoName = 255
	MaxKeyName   = 100

	MaxLaboratory = 200
	MaxKit        = 200

	MaxRegion = 40
	MaxWhy    = 1000 // why someone asks for something
	MaxPhone  = 50
	MaxEmail  = 254
	MaxSearch = 100  // name of a saved search
	MaxQuery  = 4000 // a saved search itself
)

// tidy trims the case's text and checks every fact against the rules; at is the present.
func (c *Case) tidy(at time.Time) error {
	switch c.Gallery {
	case Missing, Found:
	default:
		return &FieldError{"gallery", "must be missing or found"}
	}
	switch c.Status {
	case StatusOpen, StatusClosed:
	default:
		return &FieldError{"status", "must be open or closed"}
	}
	switch c.Sex {
	case SexUnknown, Female, Male:
	default:
		return &FieldError{"sex", "must be female, male, or empty when unknown"}
	}
	if len(c.Names) > MaxNames {
		return &FieldError{"names", fmt.Sprintf("has %d entries; give at most %d", len(c.Names), MaxNames)}
	}
	names := make([]string, len(c.Names)) // the caller's slice stays as it is
	for i, name := range c.Names {
		name, err := line("names", name, MaxName)
		if err != nil {
			return err
		}
		if name == "" {
			return &FieldError{"names", "has an empty entry; leave it out"}
		}
		names[i] = name
	}
	c.Names = names
	var err error
	if c.Place, err = line("place", c.Place, MaxPlace); err != nil {
		return err
	}
	if c.Ref, err = line("ref", c.Ref, MaxRef); err != nil {
		return err
	}
	if c.Verified, err = line("verified", c.Verified, MaxRef); err != nil {
		return err
	}
	if c.Marks, err = prose("marks", c.Marks, MaxMarks); err != nil {
		return err
	}
	if c.Notes, err = prose("notes", c.Notes, MaxNotes); err != nil {
		return err
	}
	for _, d := range []struct {
		field string
		date  Date
	}{{"born.from", c.BornFrom}, {"born.to", c.BornTo}, {"on", c.On}} {
		if err := past(d.field, d.date, at); err != nil {
			return err
		}
	}
	if c.BornTo.Before(c.BornFrom) {
		return &FieldError{"born.to", "lies before born.from; swap them"}
	}
	if c.On.Before(c.BornFrom) {
		return &FieldError{"on", "lies before the child's birth; check both dates"}
	}
	return nil
}

// past refuses a date that is certainly in the future everywhere: the day begins 14 hours ahead of UTC on Kiritimati.
func past(field string, d Date, at time.Time) error {
	if d.Earliest().After(at.Add(14 * time.Hour)) {
		return &FieldError{field, fmt.Sprintf("%s lies in the future; check the date", d)}
	}
	return nil
}

// line checks text of one line and trims it.
func line(field, text string, limit int) (string, error) {
	return checkText(field, strings.TrimSpace(text), limit, "")
}

// prose checks text that may have several lines, trims it, and turns the line ends and tabs of other systems into ours.
func prose(field, text string, limit int) (string, error) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", " ").Replace(text)
	return checkText(field, strings.TrimSpace(text), limit, "\n")
}

func checkText(field, text string, limit int, control string) (string, error) {
	if !utf8.ValidString(text) {
		return "", &FieldError{field, "is not valid UTF-8; save or send the text as UTF-8"}
	}
	if n := utf8.RuneCountInString(text); n > limit {
		return "", &FieldError{field, fmt.Sprintf("has %d characters; give at most %d", n, limit)}
	}
	for _, c := range text {
		if unicode.IsControl(c) && !strings.ContainsRune(control, c) {
			return "", &FieldError{field, fmt.Sprintf("contains the control character %U; remove it", c)}
		}
	}
	return text, nil
}

// photoName keeps of a file's name what can be shown. A name is no reason to refuse a photo.
func photoName(name string) string {
	name = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(name, "\uFFFD"))
	if runes := []rune(name); len(runes) > MaxPhotoName {
		name = string(runes[:MaxPhotoName])
	}
	return strings.TrimSpace(name)
}
