package evaluation

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrTooFew is what Run's error wraps when a set has too few subjects to say anything.
var ErrTooFew = errors.New("too few subjects: at least two are needed with two photos each in which a face was found")

// set is the photos that are evaluated together: all, or those of a fold. Places in it are not places in the slice given to Run.
type set struct {
	all         []Photo
	places      []int // in all
	traits      []trait
	subjects    []string
	distractors []int // places in all, those with a face
	aged        bool  // some photo that is no distractor has a labelled age, in this fold or another

	nonMated       [bandCount]int
	matedBySubject [bandCount][]int
	nonMatedByAge  []int
	nonMatedByGap  []int
	protocols      [protocolCount]protocol
	weigher        *weigher
	resamples      resamples
}

func (s *set) photo(i int) Photo { return s.all[s.places[i]] }

func checkPhotos(photos []Photo, o Options) error {
	for i, p := range photos {
		switch {
		case p.Subject == "":
			return fmt.Errorf("photo %d, %s: no subject", i+1, p.Name)
		case math.IsNaN(p.Age) || math.IsInf(p.Age, 0):
			return fmt.Errorf("photo %s: age %v is not a number of years; use a negative one where it is unknown", p.Name, p.Age)
		case p.Side != "" && p.Side != "young" && p.Side != "old":
			return fmt.Errorf("photo %s: side %q: use young, old or nothing", p.Name, p.Side)
		}
	}
	seen := map[int]bool{}
	for _, d := range o.Distractors {
		if d < 0 || d >= len(photos) {
			return fmt.Errorf("distractor %d: there are only %d photos", d, len(photos))
		}
		if seen[d] {
			return fmt.Errorf("distractor %s is listed twice", photos[d].Name)
		}
		seen[d] = true
	}
	for _, q := range o.FPIR {
		if !(q > 0 && q < 1) {
			return fmt.Errorf("FPIR %v: use a rate between 0 and 1", q)
		}
	}
	if o.Bootstrap < 0 {
		return fmt.Errorf("%d resamples: use 0 for none", o.Bootstrap)
	}
	return nil
}

// labelledPlaces are the places of photos that are not distractors.
func labelledPlaces(photos []Photo, distractors []int) []int {
	out := make([]int, 0, len(photos))
	is := make([]bool, len(photos))
	for _, d := range distractors {
		is[d] = true
	}
	for i := range photos {
		if !is[i] {
			out = append(out, i)
		}
	}
	return out
}

// newSet prepares the photos at the places for evaluation.
func newSet(photos []Photo, places []int, o Options, stream uint64) (*set, error) {
	s := &set{all: photos, places: places, traits: make([]trait, len(places))}
	number := map[string]int32{}
	faces := map[string]int{}
	for i, place := range places {
		p := photos[place]
		n, known := number[p.Subject]
		if !known {
			n = int32(len(s.subjects))
			number[p.Subject] = n
			s.subjects = append(s.subjects, p.Subject)
		}
		s.traits[i] = traitOf(p, n)
		if p.Problem == "" {
			faces[p.Subject]++
		}
	}
	pairs := 0
	for _, n := range faces {
		if n > 1 {
			pairs++
		}
	}
	if pairs < 2 {
		return nil, fmt.Errorf("%d of %d subjects have two photos with a face: %w", pairs, len(s.subjects), ErrTooFew)
	}
	for _, d := range o.Distractors {
		if photos[d].Problem == "" {
			s.distractors = append(s.distractors, d)
		}
	}
	slices.Sort(s.distractors)
	// Folds of one set are broken down in one way.
	s.aged = slices.ContainsFunc(labelledPlaces(photos, o.Distractors), func(place int) bool { return photos[place].Age >= 0 })
	s.count()
	s.protocols = s.newProtocols()
	for p := range s.protocols {
		s.protocols[p].placing = s.place(&s.protocols[p])
	}
	s.weigher = newWeigher(s.traits)
	s.resample(o.Bootstrap, o.Seed, stream)
	return s, nil
}

// count goes through all pairs without scoring them.
func (s *set) count() {
	for b := range bandCount {
		s.matedBySubject[b] = make([]int, len(s.subjects))
	}
	s.nonMatedByAge, s.nonMatedByGap = make([]int, len(ageClasses)), make([]int, len(gapClasses))
	for i := range s.traits {
		a := &s.traits[i]
		if !a.face {
			continue
		}
		for j := i + 1; j < len(s.traits); j++ {
			b := &s.traits[j]
			if !b.face {
				continue
			}
			in := bandsOf(a, b)
			mated := a.subject == b.subject
			for band := 0; in != 0; band, in = band+1, in>>1 {
				switch {
				case in&1 == 0:
				case mated:
					s.matedBySubject[band][a.subject]++
				default:
					s.nonMated[band]++
				}
			}
			if !mated && a.dated && b.dated {
				s.nonMatedByAge[min(a.ageClass, b.ageClass)]++
				s.nonMatedByGap[classOf(gapClasses, math.Abs(a.age-b.age))]++
			}
		}
	}
}
