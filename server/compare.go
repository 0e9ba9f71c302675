package server

import (
	"slices"
	"strings"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
	"homeward/text"
)

// compareFacts lays what two records say side by side, for people to judge: it weighs nothing.
func compareFacts(say text.Printer, missing, found registry.Case) []api.Fact {
	sex := func(c registry.Case) string {
		if c.Sex == registry.SexUnknown {
			return ""
		}
		return say.T("case." + string(c.Sex))
	}
	names := func(c registry.Case) string { return strings.Join(c.Names, " · ") }
	rows := []api.Fact{
		{Fact: "sex", Missing: sex(missing), Found: sex(found)},
		{Fact: "birth", Missing: bornIn(say, missing), Found: bornIn(say, found)},
		{Fact: "order", Missing: whenWhere(say, missing), Found: whenWhere(say, found)},
		{Fact: "names", Missing: names(missing), Found: names(found)},
		{Fact: "marks", Missing: missing.Marks, Found: found.Marks},
	}
	for i := range rows {
		row := &rows[i]
		var why string
		switch {
		case row.Missing == "" || row.Found == "":
			row.Says = "unknown"
			continue
		case row.Fact == "sex":
			row.Says = agreeing(missing.Sex == found.Sex)
		case row.Fact == "birth":
			row.Says = agreeing(overlap(missing, found))
			why = "fact.birth." + row.Says
		case row.Fact == "order" && (missing.On.IsZero() || found.On.IsZero()):
			row.Says = "compare"
		case row.Fact == "order":
			row.Says = agreeing(!found.On.Latest().Before(missing.On.Earliest()))
			why = "fact.order." + row.Says
		case row.Fact == "names":
			row.Says = agreeing(slices.ContainsFunc(missing.Names, func(a string) bool {
				return slices.ContainsFunc(found.Names, func(b string) bool { return strings.EqualFold(a, b) })
			}))
			why = "fact.names." + row.Says
		case strings.EqualFold(row.Missing, row.Found):
			row.Says = "agree"
		default:
			row.Says, why = "compare", "fact.marks.compare"
		}
		if why != "" {
			row.Text = say.T(why)
		}
	}
	return rows
}

func agreeing(yes bool) string {
	if yes {
		return "agree"
	}
	return "differ"
}

// overlap says whether two children can have been born on one day.
func overlap(a, b registry.Case) bool {
	aFrom, aTo := births(a)
	bFrom, bTo := births(b)
	return !aTo.Latest().Before(bFrom.Earliest()) && !bTo.Latest().Before(aFrom.Earliest())
}

// births is the range of a known date of birth; where one end is unknown the other stands for both.
func births(c registry.Case) (from, to registry.Date) {
	from, to = c.BornFrom, c.BornTo
	if from.IsZero() {
		from = to
	}
	if to.IsZero() {
		to = from
	}
	return from, to
}

func bornIn(say text.Printer, c registry.Case) string {
	from, to := say.Date(c.BornFrom.String()), say.Date(c.BornTo.String())
	switch {
	case from == to || to == "":
		return from
	case from == "":
		return say.T("case.born.until", "To", to)
	}
	return say.T("case.born.range", "From", from, "To", to)
}

func whenWhere(say text.Printer, c registry.Case) string {
	when := say.Date(c.On.String())
	switch {
	case c.Place == "":
		return when
	case when == "":
		return c.Place
	}
	return say.T("case.when_where", "When", when, "Where", c.Place)
}

// sightingOf is a photo of a case with the child's age in it; the missing case's are the probe's, as in the evidence. The face
// is the zero Face where nobody has said which is the child's.
func (s *Server) sightingOf(c registry.Case, p registry.Photo, f registry.Face) api.Sighting {
	age, dated := s.finder.AgeIn(c, p, f)
	return apiSighting(finder.Sighting{
		Probe: c.Gallery == registry.Missing, Photo: p.ID, Face: f.ID, Taken: p.Taken, Age: age, Dated: dated, Quality: float64(f.Quality),
	})
}

// agedIn is an age in a photo in words.
func agedIn(say text.Printer, s api.Sighting) string {
	if s.Age == nil {
		return say.T("js.aged.unknown")
	}
	y, sd := *s.Age, s.AgeSD
	switch {
	case s.AgeBy == "dates" && sd < 0.6 && y < 1:
		return say.T("js.aged.under_one")
	case s.AgeBy == "dates" && sd < 0.6:
		return say.T("js.aged.exact", "Years", int(y))
	case s.AgeBy == "dates":
		return say.T("js.aged.about", "Years", nearest(y))
	}
	return say.T("js.aged.looks", "From", nearest(max(0, y-sd)), "To", nearest(y+sd))
}
