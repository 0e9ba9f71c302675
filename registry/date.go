package registry

import (
	"database/sql/driver"
	"encoding"
	"fmt"
	"time"
)

// Precision is how much of a date is known.
type Precision int8

const (
	UnknownDate Precision = iota
	YearOnly              // "2009"
	YearMonth             // "2009-05"
	ExactDay              // "2009-05-17"
)

// The years a date may lie in. Photographs exist since the 1820s; anything outside is a slip of the keyboard.
const (
	minYear = 1800
	maxYear = 9999
)

// Date is a calendar date known to the day, to the month, to the year, or not at all (the zero value). It has no time
// of day and no zone: a birthday is the same day everywhere. Dates are comparable with ==, which asks for the same date
// at the same precision.
type Date struct {
	year       int16
	month, day int8
}

var (
	_ encoding.TextMarshaler   = Date{}
	_ encoding.TextUnmarshaler = (*Date)(nil)
	_ driver.Valuer            = Date{}
)

// YearDate returns the date of which only the year is known.
func YearDate(year int) (Date, error) { return newDate(year, 0, 0) }

// DayOf returns the calendar day t falls on in t's own zone; the zero time gives the unknown date.
func DayOf(t time.Time) Date {
	if t.IsZero() {
		return Date{}
	}
	d, err := newDate(t.Year(), int(t.Month()), t.Day())
	if err != nil {
		return Date{} // a camera whose clock was never set; such a date says nothing
	}
	return d
}

// ParseDate reads "2009", "2009-05" or "2009-05-17"; the empty text is the unknown date. Errors are ErrInvalid and say
// what to write instead.
func ParseDate(text string) (Date, error) {
	if text == "" {
		return Date{}, nil
	}
	var part [3]int
	rest := text
	for i, width := range [...]int{4, 2, 2} {
		if i > 0 {
			if rest[0] != '-' {
				return Date{}, dateForm(text)
			}
			rest = rest[1:]
		}
		if len(rest) < width {
			return Date{}, dateForm(text)
		}
		for _, c := range []byte(rest[:width]) {
			if c < '0' || c > '9' {
				return Date{}, dateForm(text)
			}
			part[i] = part[i]*10 + int(c-'0')
		}
		if i > 0 && part[i] == 0 {
			return Date{}, fmt.Errorf("date %q: %w: months and days start at 01; leave out what is not known, as in %04d", text, ErrInvalid, part[0])
		}
		if rest = rest[width:]; rest == "" {
			return newDate(part[0], part[1], part[2])
		}
	}
	return Date{}, dateForm(text)
}

func dateForm(text string) error {
	if len(text) > 40 {
		text = text[:40] + "…"
	}
	return fmt.Errorf("date %q: %w: write it as 2009, 2009-05 or 2009-05-17", text, ErrInvalid)
}

func newDate(year, month, day int) (Date, error) {
	switch {
	case year < minYear || year > maxYear:
		return Date{}, fmt.Errorf("year %d: %w: give a year from %d on, in four digits", year, ErrInvalid, minYear)
	case month < 0 || month > 12:
		return Date{}, fmt.Errorf("month %d: %w: months go from 01 to 12", month, ErrInvalid)
	case day != 0:
		if last := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day(); day < 0 || day > last {
			return Date{}, fmt.Errorf("day %d: %w: %04d-%02d has days 01 to %02d", day, ErrInvalid, year, month, last)
		}
	}
	return Date{int16(year), int8(month), int8(day)}, nil
}

// IsZero reports whether nothing is known.
func (d Date) IsZero() bool { return d.year == 0 }

// Precision says how much of the date is known.
func (d Date) Precision() Precision {
	switch {
	case d.year == 0:
		return UnknownDate
	case d.month == 0:
		return YearOnly
	case d.day == 0:
		return YearMonth
	}
	return ExactDay
}

// Year is the year, or 0 when the date is unknown.
func (d Date) Year() int { return int(d.year) }

// Earliest is the first instant (UTC) of the period the date stands for; the zero time when it is unknown.
func (d Date) Earliest() time.Time {
	if d.IsZero() {
		return time.Time{}
	}
	return time.Date(int(d.year), time.Month(max(d.month, 1)), int(max(d.day, 1)), 0, 0, 0, 0, time.UTC)
}

// Latest is the last instant (UTC) of the period the date stands for; the zero time when it is unknown.
func (d Date) Latest() time.Time {
	switch start := d.Earliest(); d.Precision() {
	case YearOnly:
		return start.AddDate(1, 0, 0).Add(-time.Nanosecond)
	case YearMonth:
		return start.AddDate(0, 1, 0).Add(-time.Nanosecond)
	case ExactDay:
		return start.AddDate(0, 0, 1).Add(-time.Nanosecond)
	default:
		return start
	}
}

// Before reports whether d certainly lies before e: its whole period ends before e's begins. It is false when either is
// unknown.
func (d Date) Before(e Date) bool {
	return !d.IsZero() && !e.IsZero() && d.Latest().Before(e.Earliest())
}

// String is the text form: "2009", "2009-05", "2009-05-17", or "" when unknown.
func (d Date) String() string {
	switch d.Precision() {
	case UnknownDate:
		return ""
	case YearOnly:
		return fmt.Sprintf("%04d", d.year)
	case YearMonth:
		return fmt.Sprintf("%04d-%02d", d.year, d.month)
	default:
		return fmt.Sprintf("%04d-%02d-%02d", d.year, d.month, d.day)
	}
}

// MarshalText gives the text form, also used in JSON.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form as ParseDate does.
func (d *Date) UnmarshalText(text []byte) error {
	parsed, err := ParseDate(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}

// Value stores the text form, which sorts by date.
func (d Date) Value() (driver.Value, error) { return d.String(), nil }

// Scan reads what Value stored.
func (d *Date) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*d = Date{}
		return nil
	case string:
		return d.UnmarshalText([]byte(v))
	case []byte:
		return d.UnmarshalText(v)
	}
	return fmt.Errorf("date: cannot read a %T", src)
}
