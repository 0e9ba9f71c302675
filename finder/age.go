package finder

import (
	"math"
	"time"

	"homeward/match"
	"homeward/registry"
)

// record is what is written about a case, as plausibility takes it.
func record(c registry.Case) match.Record {
	return match.Record{
		Sex: string(c.Sex), Born: span(c.BornFrom, c.BornTo), Missing: c.Gallery == registry.Missing, Event: span(c.On, c.On),
	}
}

// span is the time from the first moment of one date to the last of another. Where only one is known it stands for both:
// a range that is open at one end is rare, and then usually short.
func span(from, to registry.Date) match.Span {
	switch {
	case from.IsZero() && to.IsZero():
		return match.Span{}
	case from.IsZero():
		from = to
	case to.IsZero():
		to = from
	}
	return match.Span{From: yearOf(from.Earliest()), To: yearOf(to.Latest())}
}

// yearOf is a moment in years of the calendar.
func yearOf(t time.Time) float64 {
	start := time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	return float64(t.Year()) + t.Sub(start).Hours()/(24*365.25)
}

// mostYears is an age beyond which a date is taken for a slip.
const mostYears = 110

// ageAt is how old a child is in a photo: by its dates where they are known and possible, otherwise by its looks.
func ageAt(born, taken match.Span, looks match.Age) (age match.Age, dated bool) {
	if !born.Known() || !taken.Known() {
		return looks, false
	}
	least, most := taken.From-born.To, taken.To-born.From
	if most < 0 || least > mostYears {
		return looks, false // taken before the child was born: one of the dates is wrong
	}
	least = max(least, 0)
	if sd := (most - least) / math.Sqrt(12); looks.Known && sd > looks.SD {
		return looks, false // dates this vague say less than the face does
	}
	return match.Age{Years: (least + most) / 2, SD: (most - least) / math.Sqrt(12), Known: true}, true
}
