package server

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"homeward/api"
	"homeward/finder"
	"homeward/match"
	"homeward/registry"
	"homeward/text"
)

// apiCandidate tells of a candidate, and why it is one, in the words of say. most is the largest log-LR that may be
// claimed; records says whether they counted.
func apiCandidate(c finder.Candidate, most float64, records bool, say text.Printer) api.Candidate {
	out := api.Candidate{
		Rank: c.Rank, Score: bans(c.Score), Case: apiCase(c.Case), Photo: apiPhoto(c.Photo, say), Face: apiFace(c.Face, say),
		Faces: api.Evidence{
			Log10LR: bans(bounded(c.Faces, most)), Band: string(match.BandOf(c.Faces)), Bounded: math.Abs(c.Faces) >= most,
			Text: likeness(c.Faces, most, say),
		},
		Plausibility: api.Records{Log10LR: bans(c.Plausibility.LogLR), Used: records, Factors: []api.Factor{}},
		Pair:         apiPair(c.Pair, most, say),
		Counter:      apiCounter(c.Counter, c.Case.Gallery, say),
	}
	for _, f := range c.Plausibility.Factors {
		out.Plausibility.Factors = append(out.Plausibility.Factors, api.Factor{
			Fact: f.Fact, Log10LR: bans(f.LogLR), Text: say.T("factor."+f.Fact+"."+f.Finding, "Count", f.Years),
		})
	}
	for _, s := range c.Sightings {
		out.Sightings = append(out.Sightings, apiSighting(s))
	}
	return out
}

// likeness says what a log-LR of faces means, never more than the data support.
func likeness(logLR, most float64, say text.Printer) string {
	if math.Abs(logLR) < math.Ln2 {
		return say.T("evidence.neither")
	}
	key, how := "evidence.same.", "about"
	if logLR < 0 {
		key = "evidence.different."
	}
	if math.Abs(logLR) >= most {
		how = "above"
	}
	return say.T(key+how, "Times", match.Times(math.Abs(bounded(logLR, most))))
}

// sentences joins them; those of Chinese need no blank between them.
func sentences(parts ...string) string {
	return strings.ReplaceAll(strings.Join(parts, " "), "。 ", "。")
}

// bans is a log-LR to base 10, as people and clients see it.
func bans(logLR float64) float64 { return math.Round(logLR/math.Ln10*1000) / 1000 }

// bounded is a log-LR as it may be claimed.
func bounded(logLR, most float64) float64 { return min(max(logLR, -most), most) }

func apiSighting(s finder.Sighting) api.Sighting {
	out := api.Sighting{Of: "case", Photo: string(s.Photo), Face: string(s.Face), Taken: s.Taken.String(), AgeBy: "unknown", Quality: hundredths(s.Quality)}
	if s.Probe {
		out.Of = "probe"
	}
	if s.Age.Known {
		years := hundredths(s.Age.Years)
		out.Age, out.AgeSD, out.AgeBy = &years, hundredths(s.Age.SD), "looks"
		if s.Dated {
			out.AgeBy = "dates"
		}
	}
	return out
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

// poorPair is the quality below which a face is named as a reason for caution.
const poorPair = 0.5

func apiPair(p finder.Pair, most float64, say text.Printer) api.Pair {
	out := api.Pair{Log10LR: bans(bounded(p.LogLR, most)), Probe: apiSighting(p.Probe), Reference: apiSighting(p.Reference)}
	var told []string
	if p.Probe.Age.Known && p.Reference.Age.Known {
		gap := hundredths(math.Abs(p.Probe.Age.Years - p.Reference.Age.Years))
		out.Gap = &gap
		key := "evidence.pair.by_dates"
		if !p.Probe.Dated || !p.Reference.Dated {
			key = "evidence.pair.by_looks"
		}
		said := say.T(key, "Probe", aged(p.Probe, say), "Reference", aged(p.Reference, say), "Gap", years(gap, say))
		first, size := utf8.DecodeRuneInString(said)
		told = append(told, string(unicode.ToUpper(first))+said[size:])
	} else {
		told = append(told, say.T("evidence.pair.unknown"))
	}
	switch poor := [2]bool{p.Probe.Quality < poorPair, p.Reference.Quality < poorPair}; poor {
	case [2]bool{true, true}:
		told = append(told, say.T("evidence.poor.both"))
	case [2]bool{true, false}:
		told = append(told, say.T("evidence.poor.probe"))
	case [2]bool{false, true}:
		told = append(told, say.T("evidence.poor.record"))
	}
	out.Text = sentences(told...)
	return out
}

// aged is an age in words, such as "aged 6" or "looks 6 to 12".
func aged(s finder.Sighting, say text.Printer) string {
	y, sd := s.Age.Years, s.Age.SD
	switch {
	case s.Dated && sd < 0.6:
		return say.T("evidence.age.exact", "Years", int(y))
	case s.Dated:
		return say.T("evidence.age.about", "Years", nearest(y))
	}
	return say.T("evidence.age.looks", "From", nearest(max(0, y-sd)), "To", nearest(y+sd))
}

func nearest(x float64) int { return int(math.RoundToEven(x)) }

func years(gap float64, say text.Printer) string {
	n := int(math.Round(gap))
	if n == 0 {
		return say.T("evidence.gap.none")
	}
	return say.T("evidence.gap", "Count", n)
}

func apiCounter(c finder.Counter, searched registry.Gallery, say text.Printer) api.Counter {
	out := api.Counter{Rivals: c.Rivals, Alike: c.Alike, Most: c.Most}
	out.Text = sentences(others("rivals", c.Rivals, c.Most, searched, say), others("alike", c.Alike, c.Most, searched.Other(), say))
	return out
}

// others says how many other cases of a gallery are rivals, or alike.
func others(what string, n, most int, g registry.Gallery, say text.Printer) string {
	key := "evidence.others." + what + "_" + string(g)
	switch {
	case n == 0:
		return say.T(key + "_none")
	case n > 1 && n >= most:
		return say.T(key+"_most", "Most", most)
	}
	return say.T(key, "Count", n)
}
