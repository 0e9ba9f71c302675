package finder

import (
	"homeward/match"
	"homeward/registry"
)

// AgeIn is how old a case's child is in a photo, as comparisons take it: by dates where they say more than the looks of the
// face, which is the zero Face where nobody has said which is the child's.
func (f *Finder) AgeIn(c registry.Case, p registry.Photo, face registry.Face) (age match.Age, dated bool) {
	var looks match.Age
	if face.ID != "" {
		looks = f.now().metric.LooksLike(float64(face.AgeYears), float64(face.AgeSD))
	}
	return ageAt(span(c.BornFrom, c.BornTo), span(p.Taken, p.Taken), looks)
}
