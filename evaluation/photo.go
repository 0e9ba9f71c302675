package evaluation

// Photo is one labelled photo of the set.
type Photo struct {
	Name    string // as the manifest has it
	Path    string // can be opened, for thumbnails
	Subject string
	Age     float64 // labelled, years; negative where unknown
	Side    string  // "young", "old" or ""
	Looks   float64 // estimated age, years; 0 or less where there is no estimate
	Quality float64 // 0..1
	Problem string  // why there is no face to compare; empty where there is one
}

// trait is what bands and protocols ask of a photo.
type trait struct {
	age      float64
	subject  int32
	face     bool
	dated    bool // the age is known
	under6   bool
	under13  bool
	from13   bool
	child    bool // under 13, or the young side where the age is not known
	adult    bool // 18 or older, or the old side where the age is not known
	ageClass int8
}

func traitOf(p Photo, subject int32) trait {
	t := trait{age: p.Age, subject: subject, face: p.Problem == "", dated: p.Age >= 0}
	if !t.dated {
		t.child, t.adult = p.Side == "young", p.Side == "old"
		return t
	}
	t.under6, t.under13, t.from13 = p.Age < 6, p.Age < 13, p.Age >= 13
	t.child, t.adult = t.under13, p.Age >= 18
	t.ageClass = classOf(ageClasses, p.Age)
	return t
}
