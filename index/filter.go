package index

import (
	"slices"
	"strings"
)

// passes says whether a case is searched.
func (f *Filter) passes(caseID string, facts *Facts) bool {
	if !known(f.Gallery, facts.Gallery) || !known(f.Sex, facts.Sex) {
		return false
	}
	if len(f.Statuses) > 0 && facts.Status != "" && !slices.Contains(f.Statuses, facts.Status) {
		return false
	}
	// Two ranges of years, either open at either end, must touch.
	if f.BornFrom != 0 && facts.BornTo != 0 && facts.BornTo < f.BornFrom ||
		f.BornTo != 0 && facts.BornFrom != 0 && facts.BornFrom > f.BornTo {
		return false
	}
	if len(f.Regions) > 0 && facts.Region != "" && !slices.ContainsFunc(f.Regions, func(r string) bool { return covers(r, facts.Region) }) {
		return false
	}
	if f.Except != "" && caseID == f.Except {
		return false
	}
	if f.Among != nil {
		_, in := f.Among[caseID]
		return in
	}
	return true
}

func known(want, have string) bool { return want == "" || have == "" || want == have }

// covers says whether one region is the other, or has it as a part.
func covers(region, part string) bool {
	rest, ok := strings.CutPrefix(part, region)
	return ok && (rest == "" || rest[0] == '-')
}
