package evaluation

// Result is what Run and RunFolds found.
type Result struct {
	Options     Options
	Set         SetInfo
	WithoutFace []Photo // those listed, distractors last
	Comparers   []*Measures
	// HardestMated and HardestNonMated are the first comparer's worst pairs, worst first.
	HardestMated, HardestNonMated []HardPair
	// Folds are the results that this one is the mean of; empty for Run's.
	Folds []*Result
}

// Comparer is the measures of the comparer of that name, or nil.
func (r *Result) Comparer(name string) *Measures {
	for _, m := range r.Comparers {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// SetInfo counts what was evaluated. Distractors are counted apart.
type SetInfo struct {
	Photos, WithoutFace                 int
	Subjects, SubjectsWithTwo           int // with two photos in which a face was found
	Aged, Young, Old                    int // photos with a labelled age, on side young, on side old
	Distractors, DistractorsWithoutFace int
}

// Measures is everything measured of one comparer.
type Measures struct {
	Name           string
	LogLR          bool
	Verification   map[string]*Verification   // by Bands()
	Identification map[string]*Identification // by Protocols()
	ByAge, ByGap   []Row
	Calibration    map[string]*Calibration // by Bands(); nil unless LogLR
	DET            []DETPoint

	mated, nonMated histogram
}

func (s *set) info(distractors int) SetInfo {
	out := SetInfo{Photos: len(s.places), Subjects: len(s.subjects), Distractors: distractors, DistractorsWithoutFace: distractors - len(s.distractors)}
	faces := make([]int, len(s.subjects))
	for i, t := range s.traits {
		if t.face {
			faces[t.subject]++
		} else {
			out.WithoutFace++
		}
		if t.dated {
			out.Aged++
		}
		switch s.photo(i).Side {
		case "young":
			out.Young++
		case "old":
			out.Old++
		}
	}
	for _, n := range faces {
		if n > 1 {
			out.SubjectsWithTwo++
		}
	}
	return out
}

func (s *set) withoutFace(distractors []int) []Photo {
	var out []Photo
	for _, place := range s.places {
		if s.all[place].Problem != "" {
			out = append(out, s.all[place])
		}
	}
	for _, d := range distractors {
		if s.all[d].Problem != "" {
			out = append(out, s.all[d])
		}
	}
	return out
}
