package evaluation

import "math"

// Protocols names the identification protocols, in the order of reports.
//
//   - child_to_adult: every child's photo as probe, against all subjects with photos as adults.
//   - young_to_old: photos of side young against those of side old; in a set without sides, the youngest photo of each
//     subject against the oldest of each.
//   - adult_to_child_cases: every adult's photo as probe, against subjects with photos as children, those of one fused as one case.
//   - leave_one_out: every photo against all others.
//
// A child is under 13 and an adult 18 or older; where the age is not known, side young is a child and side old an adult.
func Protocols() []string {
	return []string{"child_to_adult", "young_to_old", "adult_to_child_cases", "leave_one_out"}
}

const (
	childToAdult = iota
	youngToOld
	adultToChildCases
	leaveOneOut
	protocolCount
)

// Ranks are the ranks given.
func Ranks() [4]int { return [4]int{1, 5, 10, 20} }

const (
	rankCount = 4
	cmcRanks  = 50
)

// Identification says how searches of one protocol end, in a closed set: only probes whose subject has photos in the gallery
// count. A gallery subject scores as its best photo does, but for fused cases. A probe is a miss where no face was found in
// it, and where none was found in any of its subject's gallery photos.
type Identification struct {
	// Rank is the share of probes whose subject is among the first Ranks().
	Rank [rankCount]Figure
	// CMC is that share for the ranks 1 to 50 (cumulative match characteristic).
	CMC                []float64
	Probes             int
	ProbesWithoutFace  int
	Gallery            int // subjects with a face in the gallery
	GalleryWithoutFace int // subjects of the gallery in whose photos no face was found
	// FNIR is the open-set figure for each of the options' FPIR; empty for protocols that have none.
	FNIR []OpenSet
	// ByAge are the probes by their age, and ByGap by the years between them and the nearest gallery photo of their subject. In
	// adult_to_child_cases the age is the child's: that of the nearest photo of the case, which is the oldest, and of those with a face where
	// there are any. Probes whose age, or gap, is not labelled are in no row. Both are nil where no photo of the set has a labelled age. ByLooks is
	// then given: by the estimated age of the same photo, in cases of the one that looks oldest. Photos without a face have none.
	ByAge, ByGap, ByLooks []SearchRow
	// WithDistractors is the same with the distractors in the gallery, each a subject of its own; nil without distractors.
	WithDistractors *Crowded
}

// Crowded is Identification's ranks in a gallery with distractors.
type Crowded struct {
	Rank        [rankCount]Figure
	CMC         []float64
	Distractors int
	Fall        [rankCount]float64 // by how much each rank is lower than without them
}

// protocol is who is searched for, and where.
type protocol struct {
	probes   []int     // places in the set
	isProbe  []bool    // by place
	gallery  [][]int32 // for each subject, the places of its gallery photos with a face
	faceless [][]int32 // and of those without
	in       []bool    // for each subject, whether it has gallery photos at all
	fused    bool
	openSet  bool
	placing  placing
}

// search is how one probe's search ended.
type search struct {
	probe     int32
	searched  bool // there was a face to search with
	rank      int32
	crowdRank int32   // with distractors
	mated     float32 // the score of the probe's subject
	other     float32 // the best score of anybody else; -Inf where there is nobody
}

// without and with are the ranks without distractors and with them.
func (q search) without() int32 { return q.rank }
func (q search) with() int32    { return q.crowdRank }

// never is the rank of a probe that cannot be found.
const never = math.MaxInt32

func (s *set) newProtocol(inGallery func(int) bool, isProbe func(int) bool) protocol {
	p := protocol{
		gallery: make([][]int32, len(s.subjects)), faceless: make([][]int32, len(s.subjects)),
		in: make([]bool, len(s.subjects)), isProbe: make([]bool, len(s.traits)),
	}
	for i, t := range s.traits {
		if inGallery(i) {
			p.in[t.subject] = true
			if t.face {
				p.gallery[t.subject] = append(p.gallery[t.subject], int32(i))
			} else {
				p.faceless[t.subject] = append(p.faceless[t.subject], int32(i))
			}
		}
	}
	for i, t := range s.traits {
		if isProbe(i) && p.in[t.subject] {
			p.probes = append(p.probes, i)
			p.isProbe[i] = true
		}
	}
	return p
}

func (s *set) newProtocols() (out [protocolCount]protocol) {
	child := func(i int) bool { return s.traits[i].child }
	adult := func(i int) bool { return s.traits[i].adult }
	out[childToAdult] = s.newProtocol(adult, child)
	out[childToAdult].openSet = true
	out[adultToChildCases] = s.newProtocol(child, adult)
	out[adultToChildCases].openSet, out[adultToChildCases].fused = true, true

	photos := make([]int, len(s.subjects))
	for _, t := range s.traits {
		photos[t.subject]++
	}
	out[leaveOneOut] = s.newProtocol(func(int) bool { return true }, func(i int) bool { return photos[s.traits[i].subject] > 1 })

	sided := false
	for i := range s.traits {
		sided = sided || s.photo(i).Side != ""
	}
	if sided {
		out[youngToOld] = s.newProtocol(func(i int) bool { return s.photo(i).Side == "old" }, func(i int) bool { return s.photo(i).Side == "young" })
		return out
	}
	youngest, oldest := make([]int, len(s.subjects)), make([]int, len(s.subjects))
	for i := range s.subjects {
		youngest[i], oldest[i] = -1, -1
	}
	for i, t := range s.traits {
		if !t.dated {
			continue
		}
		if y := youngest[t.subject]; y < 0 || t.age < s.traits[y].age {
			youngest[t.subject] = i
		}
		if o := oldest[t.subject]; o < 0 || t.age > s.traits[o].age {
			oldest[t.subject] = i
		}
	}
	out[youngToOld] = s.newProtocol(func(i int) bool { return oldest[s.traits[i].subject] == i }, func(i int) bool {
		of := s.traits[i].subject
		return youngest[of] == i && s.traits[oldest[of]].age > s.traits[i].age
	})
	return out
}

// identify finds a protocol's figures.
func (s *set) identify(p *protocol, searches []search, fpir []float64) *Identification {
	out := &Identification{Probes: len(p.probes)}
	for i, in := range p.in {
		switch {
		case in && len(p.gallery[i]) > 0:
			out.Gallery++
		case in:
			out.GalleryWithoutFace++
		}
	}
	for _, q := range searches {
		if !q.searched {
			out.ProbesWithoutFace++
		}
	}
	within := func(rank func(search) int32) (figures [rankCount]Figure, cmc []float64) {
		for k, r := range Ranks() {
			figures[k] = s.rankShare(searches, r, rank)
		}
		for r := 1; r <= cmcRanks; r++ {
			cmc = append(cmc, shareWithin(searches, r, rank))
		}
		return figures, cmc
	}
	out.Rank, out.CMC = within(search.without)
	if len(s.distractors) > 0 {
		c := &Crowded{Distractors: len(s.distractors)}
		c.Rank, c.CMC = within(search.with)
		for k := range c.Fall {
			c.Fall[k] = out.Rank[k].Value - c.Rank[k].Value
		}
		out.WithDistractors = c
	}
	var thresholds []openThreshold
	if p.openSet {
		thresholds = s.openThresholds(searches, fpir)
		for _, t := range thresholds {
			out.FNIR = append(out.FNIR, OpenSet{t.rate, s.fnir(searches, t)})
		}
	}
	if s.aged {
		out.ByAge = s.searchRows(searches, ageClasses, p.placing.byAge, thresholds)
		out.ByGap = s.searchRows(searches, gapClasses, p.placing.byGap, thresholds)
	} else {
		out.ByLooks = s.searchRows(searches, ageClasses, p.placing.byLooks, thresholds)
	}
	return out
}

// shareWithin is the share of searches that end among the first r.
func shareWithin(searches []search, r int, rank func(search) int32) float64 {
	n := 0
	for _, q := range searches {
		if int(rank(q)) <= r {
			n++
		}
	}
	return ratio(n, len(searches))
}

func (s *set) rankShare(searches []search, r int, rank func(search) int32) Figure {
	return newFigure(shareWithin(searches, r, rank), s.drawShare(searches, func(q search) bool { return int(rank(q)) <= r }))
}
