package server

import (
	"fmt"
	"math"
	"strings"

	"homeward/api"
	"homeward/finder"
	"homeward/match"
	"homeward/registry"
)

// apiCandidate tells of a candidate, and why it is one. most is the largest log-LR that may be claimed; records says
// whether they counted.
func apiCandidate(c finder.Candidate, most float64, records bool) api.Candidate {
	out := api.Candidate{
		Rank: c.Rank, Score: bans(c.Score), Case: apiCase(c.Case), Photo: apiPhoto(c.Photo), Face: apiFace(c.Face),
		Faces: api.Evidence{
			Log10LR: bans(bounded(c.Faces, most)), Band: string(match.BandOf(c.Faces)), Bounded: math.Abs(c.Faces) >= most,
			Text: match.Words(c.Faces, most, "This likeness is"),
		},
		Plausibility: api.Records{Log10LR: bans(c.Plausibility.LogLR), Used: records, Factors: []api.Factor{}},
		Pair:         apiPair(c.Pair, most),
		Counter:      apiCounter(c.Counter, c.Case.Gallery),
	}
	for _, f := range c.Plausibility.Factors {
		out.Plausibility.Factors = append(out.Plausibility.Factors, api.Factor{Fact: f.Fact, Log10LR: bans(f.LogLR), Text: f.Text})
	}
	for _, s := range c.Sightings {
		out.Sightings = append(out.Sightings, apiSighting(s))
	}
	return out
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

func apiPair(p finder.Pair, most float64) api.Pair {
	out := api.Pair{Log10LR: bans(bounded(p.LogLR, most)), Probe: apiSighting(p.Probe), Reference: apiSighting(p.Reference)}
	var text []string
	if p.Probe.Age.Known && p.Reference.Age.Known {
		gap := hundredths(math.Abs(p.Probe.Age.Years - p.Reference.Age.Years))
		out.Gap = &gap
		by := ""
		if !p.Probe.Dated || !p.Reference.Dated {
			by = " by their looks"
		}
		said := fmt.Sprintf("%s in the photo that searches, %s in the one on record: %s apart%s.", aged(p.Probe), aged(p.Reference), years(gap), by)
		text = append(text, strings.ToUpper(said[:1])+said[1:])
	} else {
		text = append(text, "The ages in these photos are not known.")
	}
	switch poor := [2]bool{p.Probe.Quality < poorPair, p.Reference.Quality < poorPair}; poor {
	case [2]bool{true, true}:
		text = append(text, "Both faces are hard to make out: a likeness between such photos misleads more easily.")
	case [2]bool{true, false}:
		text = append(text, "The face that searches is hard to make out: the likeness misleads more easily.")
	case [2]bool{false, true}:
		text = append(text, "The face on record is hard to make out: the likeness misleads more easily.")
	}
	out.Text = strings.Join(text, " ")
	return out
}

// aged is an age in words, such as "aged 6" or "looks 6 to 12".
func aged(s finder.Sighting) string {
	y, sd := s.Age.Years, s.Age.SD
	switch {
	case s.Dated && sd < 0.6:
		return fmt.Sprintf("aged %.0f", math.Floor(y))
	case s.Dated:
		return fmt.Sprintf("aged about %.0f", y)
	}
	low, high := max(0, y-sd), y+sd
	return fmt.Sprintf("looks %.0f to %.0f", low, high)
}

func years(gap float64) string {
	switch n := math.Round(gap); n {
	case 0:
		return "less than a year"
	case 1:
		return "about a year"
	default:
		return fmt.Sprintf("about %.0f years", n)
	}
}

func apiCounter(c finder.Counter, searched registry.Gallery) api.Counter {
	out := api.Counter{Rivals: c.Rivals, Alike: c.Alike, Most: c.Most}
	out.Text = others(c.Rivals, c.Most, searched, "scores as high for this search, or nearly", "score as high for this search, or nearly") + " " +
		others(c.Alike, c.Most, searched.Other(), "is as much like the face on record", "are as much like the face on record")
	return out
}

// others says how many other cases of a gallery do something.
func others(n, most int, g registry.Gallery, one, many string) string {
	switch {
	case n == 0:
		return fmt.Sprintf("No other %s child %s.", g, one)
	case n == 1:
		return fmt.Sprintf("1 other %s child %s.", g, one)
	case n >= most:
		return fmt.Sprintf("%d or more other %s children %s.", most, g, many)
	}
	return fmt.Sprintf("%d other %s children %s.", n, g, many)
}
