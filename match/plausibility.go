package match

import (
	"fmt"
	"math"
)

// Span is a time that is known to lie between two moments, in years of the calendar: 2009.5 is the middle of 2009. The zero
// Span is unknown.
type Span struct{ From, To float64 }

// Known says whether anything is known.
func (s Span) Known() bool { return s != Span{} }

func (s Span) middle() float64 { return (s.From + s.To) / 2 }

// Sight is a photo of the child with a date: how old the child looked, and when.
type Sight struct {
	Taken Span
	Looks Age
}

// Record is what is written about a child, beside the faces.
type Record struct {
	Sex     string // "female", "male" or "" where unknown
	Born    Span
	Missing bool // or found
	Event   Span // when the child disappeared, or was found
	Sights  []Sight
}

// Factor is one fact's part in the plausibility.
type Factor struct {
	Fact    string // "sex", "birth", "order": stable codes
	Finding string // what was found of it, a stable code too: "differ", "agree", "apart_by_looks", …
	Years   int    // how far apart, where the finding says so
	LogLR   float64
	Text    string // why, for people
}

// Plausibility is what the records say, as a likelihood ratio apart from the faces'.
type Plausibility struct {
	LogLR   float64
	Factors []Factor
}

// Records are often wrong: dates are guessed, remembered in another calendar, or changed by who took the child. These
// figures say how often, and are set rather than measured: they are on the careful side, so that no fact by itself can
// outweigh a strong likeness. Reunions, once there are some hundred, can replace them.
const (
	wrongSex     = 0.02 // of records
	wrongBirth   = 0.15 // of recorded dates of birth are off by more than their precision
	wrongBirthSD = 4    // years, by which those are off
	rightBirthSD = 0.4  // years, by which the others are
	wrongOrder   = 0.02 // of pairs in which a date contradicts all others
	// agreeSex is how often the records of one child agree on the sex.
	agreeSex = (1-wrongSex)*(1-wrongSex) + wrongSex*wrongSex
	// birthSpan is how many years the births of a registry's children are spread over.
	birthSpan = 30
	// Bounds on what dates of birth can say.
	leastBirth, mostBirth = 0.005, 20
)

// MostPlausible is more than Compare gives any two records.
func MostPlausible() float64 { return math.Log(agreeSex/0.5) + math.Log(mostBirth) + 1e-9 }

// Compare weighs what two records say about being of one child. What is unknown says nothing. A missing and a found child's say the
// same from either side, to the last bit.
func (r Record) Compare(o Record) Plausibility {
	s := r.say(o)
	p := Plausibility{LogLR: s.logLR()}
	add := func(fact, finding string, years int, ratio float64, text string) {
		p.Factors = append(p.Factors, Factor{fact, finding, years, math.Log(ratio), text})
	}
	switch {
	case s.sex > 1:
		add("sex", r.Sex, 0, s.sex, "Both are recorded as "+r.Sex+".")
	case s.sex > 0:
		add("sex", "differ", 0, s.sex, "One is recorded as female, the other as male.")
	}
	if s.birth > 0 {
		off := math.Abs(s.a.year - s.b.year)
		by, how := "Their dates of birth", ""
		if !s.a.recorded || !s.b.recorded {
			by, how = "Dates of birth, in part estimated from how old the child looks,", "_by_looks"
		}
		text, finding, years := by+" agree.", "agree"+how, 0
		if off >= 1 {
			finding, years = "apart"+how, int(math.RoundToEven(off))
			text = fmt.Sprintf("%s are about %.0f years apart.", by, off)
			if off < 1.5 {
				text = by + " are about a year apart."
			}
		}
		add("birth", finding, years, s.birth, text)
	}
	if s.order > 0 {
		add("order", s.finding, 0, s.order, s.text)
	}
	return p
}

// LogLR is the log-LR that Compare gives, without the words.
func (r Record) LogLR(o Record) float64 { return r.say(o).logLR() }

// saying is what each fact says, as a likelihood ratio; 0 where it says nothing.
type saying struct {
	sex, birth, order float64
	a, b              birth
	finding, text     string // of the order
}

func (r Record) say(o Record) (s saying) {
	if o.Missing && !r.Missing {
		r, o = o, r
	}
	if r.Sex != "" && o.Sex != "" {
		s.sex = agreeSex / 0.5
		if r.Sex != o.Sex {
			s.sex = (1 - agreeSex) / 0.5
		}
	}
	if s.a, s.b = r.birth(), o.birth(); s.a.known && s.b.known {
		s.birth = min(max(birthSpan*density(s.a, s.b), leastBirth), mostBirth)
	}
	if s.finding, s.text = impossible(r, o); s.finding != "" {
		s.order = wrongOrder
	}
	return s
}

func (s saying) logLR() (sum float64) {
	for _, ratio := range [...]float64{s.sex, s.birth, s.order} {
		if ratio > 0 {
			sum += math.Log(ratio)
		}
	}
	return sum
}

// birth is a date of birth as far as it is known.
type birth struct {
	year, sd        float64
	known, recorded bool
}

func (r Record) birth() birth {
	if r.Born.Known() {
		width := r.Born.To - r.Born.From
		return birth{r.Born.middle(), width / math.Sqrt(12), true, true}
	}
	// The estimates of one child's photos err alike: their mean is no surer than one of them.
	var year, sd, n float64
	for _, s := range r.Sights {
		if !s.Taken.Known() || !s.Looks.Known {
			continue
		}
		width := s.Taken.To - s.Taken.From
		year += s.Taken.middle() - s.Looks.Years
		sd += math.Sqrt(s.Looks.SD*s.Looks.SD + width*width/12)
		n++
	}
	if n == 0 {
		return birth{}
	}
	return birth{year: year / n, sd: sd / n, known: true}
}

// density is how likely the difference of two dates of birth is if both are of one child, per year.
func density(a, b birth) float64 {
	type part struct{ share, sd float64 }
	parts := func(x birth) (out [2]part, n int) {
		if !x.recorded {
			return [2]part{{1, x.sd}}, 1
		}
		return [2]part{{1 - wrongBirth, math.Hypot(x.sd, rightBirthSD)}, {wrongBirth, math.Hypot(x.sd, wrongBirthSD)}}, 2
	}
	ofA, n := parts(a)
	ofB, m := parts(b)
	var sum float64
	off := a.year - b.year
	for _, p := range ofA[:n] {
		for _, q := range ofB[:m] {
			v := p.sd*p.sd + q.sd*q.sd
			sum += p.share * q.share * math.Exp(-off*off/(2*v)) / math.Sqrt(2*math.Pi*v)
		}
	}
	return sum
}

// impossible says what cannot be, if all dates are right: a finding and the same in words, empty where nothing is.
func impossible(a, b Record) (finding, text string) {
	missing, found := a, b
	if !a.Missing {
		missing, found = b, a
	}
	if !missing.Missing || found.Missing || !found.Event.Known() {
		return "", ""
	}
	switch {
	case missing.Born.Known() && found.Event.To < missing.Born.From:
		return "before_birth", "By the dates, the child was found before the missing child was born."
	case missing.Event.Known() && found.Event.To < missing.Event.From:
		return "before_disappearance", "By the dates, the child was found before the missing child disappeared."
	}
	return "", ""
}
