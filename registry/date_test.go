package registry

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDate(t *testing.T) {
	for _, c := range []struct {
		text      string
		precision Precision
		earliest  string
		latest    string
	}{
		{"2009", YearOnly, "2009-01-01", "2009-12-31"},
		{"2009-05", YearMonth, "2009-05-01", "2009-05-31"},
		{"2008-02", YearMonth, "2008-02-01", "2008-02-29"},
		{"2009-12", YearMonth, "2009-12-01", "2009-12-31"},
		{"2009-05-17", ExactDay, "2009-05-17", "2009-05-17"},
		{"2000-02-29", ExactDay, "2000-02-29", "2000-02-29"},
	} {
		d, err := ParseDate(c.text)
		if err != nil || d.Precision() != c.precision || d.String() != c.text {
			t.Errorf("%s: %v %v %v", c.text, d, d.Precision(), err)
		}
		if got := d.Earliest().Format(time.DateOnly); got != c.earliest {
			t.Errorf("%s begins %s", c.text, got)
		}
		if got := d.Latest().Format(time.DateOnly); got != c.latest {
			t.Errorf("%s ends %s", c.text, got)
		}
		if next := d.Latest().Add(time.Nanosecond); next.Hour() != 0 || !next.After(d.Latest()) || next.Truncate(24*time.Hour) != next {
			t.Errorf("%s does not end with a day", c.text)
		}
	}
	for _, text := range []string{
		"209", "20090517", "2009-5", "2009-05-1", "2009-13", "2009-00", "2009-05-00", "2009-02-29", "1900-02-29", "2009-05-32",
		"0000", "0009", "1799", " 2009", "2009 ", "2009-", "2009-05-", "2009-05-17T00:00", "17.05.2009", "٢٠٠٩", "-2009", "+2009",
	} {
		if d, err := ParseDate(text); !errors.Is(err, ErrInvalid) || !d.IsZero() {
			t.Errorf("%q: %v %v", text, d, err)
		}
	}
	if d, err := ParseDate(""); err != nil || !d.IsZero() || d.Precision() != UnknownDate {
		t.Error(d, err)
	}
}

func TestDateBefore(t *testing.T) {
	for _, c := range []struct {
		d, e string
		want bool
	}{
		{"2008", "2009", true}, {"2009", "2009", false}, {"2009-05", "2009", false}, {"2009", "2009-06", false},
		{"2009-05", "2009-06-01", true}, {"2009-05-17", "2009-05-18", true}, {"2009-05-18", "2009-05-17", false},
		{"", "2009", false}, {"2009", "", false},
	} {
		if got := date(t, c.d).Before(date(t, c.e)); got != c.want {
			t.Errorf("%q before %q: %v", c.d, c.e, got)
		}
	}
}

func TestDayOf(t *testing.T) {
	if d := DayOf(time.Date(2009, 5, 17, 23, 59, 0, 0, time.FixedZone("", 9*3600))); d.String() != "2009-05-17" {
		t.Error(d)
	}
	if d := DayOf(time.Time{}); !d.IsZero() {
		t.Error(d)
	}
	if d := DayOf(time.Date(1, 2, 3, 0, 0, 0, 1, time.UTC)); !d.IsZero() {
		t.Error(d)
	}
}

func date(t testing.TB, text string) Date {
	t.Helper()
	d, err := ParseDate(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := time.Date(minYear, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 365*8000).Draw(t, "days"))
		cut := rapid.SampledFrom([]int{0, 4, 7, 10}).Draw(t, "cut")
		text := day.Format(time.DateOnly)[:cut]
		d, err := ParseDate(text)
		if err != nil || d.String() != text {
			t.Fatal(text, d, err)
		}
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var fromJSON, fromSQL Date
		if err := json.Unmarshal(raw, &fromJSON); err != nil || fromJSON != d {
			t.Fatal(text, fromJSON, err)
		}
		v, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		if err := fromSQL.Scan(v); err != nil || fromSQL != d {
			t.Fatal(text, fromSQL, err)
		}
		if !d.IsZero() && (day.Before(d.Earliest()) || day.After(d.Latest())) {
			t.Fatal(text, "does not hold", day)
		}
	})
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"", "2009", "2009-05", "2009-05-17", "2009-02-30", "2009--", "２００９"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDate(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || !d.IsZero() {
				t.Fatal(d, err)
			}
			return
		}
		if d.String() != text {
			t.Fatalf("%q reads as %q", text, d)
		}
	})
}
