package evaluation

import "math"

// SearchRow is one line of a breakdown of a protocol: how its searches for probes of a class end. Galleries and the thresholds for FNIR are those of
// the whole protocol: a row says what a search set up for everybody does for the people of its class. Without probes no figure is given,
// and no interval where all are of one subject: drawing subjects anew says nothing of how far one stands for others.
type SearchRow struct {
	Class    string // years, as "3-5"
	Probes   int
	Subjects int               // whose probes they are
	Rank     [rankCount]Figure // for each of Ranks()
	FNIR     []OpenSet         // for the rates of the protocol's; empty for protocols that have none
}

// nowhere is the class of a probe of which too little is known.
const nowhere int8 = -1

// placing is a protocol's probes sorted into classes, each slice in the order of its probes. Of byAge and byGap one side is
// empty, and of byLooks the other.
type placing struct{ byAge, byGap, byLooks []int8 }

// place sorts a protocol's probes. Ages are those of the probe; for fused cases, whose probes are adults, those of the
// child: of the case's photo nearest to the probe, which is the case's oldest because nobody in a case is an adult. The gap is
// the years between the probe and the nearest gallery photo of its subject. A photo without a face stands for its subject only
// where no photo of the subject has one: nothing else of the subject is searched.
func (s *set) place(p *protocol) (out placing) {
	for _, i := range p.probes {
		mates := s.mates(p, i)
		of := mates
		if !p.fused {
			of = []int32{int32(i)}
		}
		if !s.aged {
			out.byLooks = append(out.byLooks, s.looksClass(of))
			continue
		}
		out.byAge = append(out.byAge, s.ageClass(of))
		out.byGap = append(out.byGap, s.gapClass(i, mates))
	}
	return out
}

// mates are a probe's subject's gallery photos: those with a face or, where there are none, the others.
func (s *set) mates(p *protocol, probe int) []int32 {
	for _, photos := range [][]int32{p.gallery[s.traits[probe].subject], p.faceless[s.traits[probe].subject]} {
		var out []int32
		for _, j := range photos {
			if int(j) != probe {
				out = append(out, j)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// ageClass is that of the oldest of the photos.
func (s *set) ageClass(photos []int32) int8 {
	class := nowhere
	for _, j := range photos {
		if t := &s.traits[j]; t.dated {
			class = max(class, t.ageClass)
		}
	}
	return class
}

// looksClass is that of the photo that looks oldest.
func (s *set) looksClass(photos []int32) int8 {
	class := nowhere
	for _, j := range photos {
		if p := s.photo(int(j)); p.Problem == "" && p.Looks > 0 {
			class = max(class, classOf(ageClasses, p.Looks))
		}
	}
	return class
}

// gapClass is that of the fewest years between the probe and one of its mates.
func (s *set) gapClass(probe int, mates []int32) int8 {
	if !s.traits[probe].dated {
		return nowhere
	}
	class := nowhere
	for _, j := range mates {
		if !s.traits[j].dated {
			continue
		}
		gap := s.traits[probe].age - s.traits[j].age
		if c := classOf(gapClasses, max(gap, -gap)); class == nowhere || c < class {
			class = c
		}
	}
	return class
}

// searchRows sorts a protocol's searches into classes; in tells each one's.
func (s *set) searchRows(searches []search, classes []class, in []int8, thresholds []openThreshold) []SearchRow {
	of := make([][]search, len(classes))
	for i, q := range searches {
		if c := in[i]; c != nowhere {
			of[c] = append(of[c], q)
		}
	}
	var out []SearchRow
	for c, found := range of {
		subjects := map[int32]bool{}
		for _, q := range found {
			subjects[s.traits[q.probe].subject] = true
		}
		row := SearchRow{Class: classes[c].Name, Probes: len(found), Subjects: len(subjects)}
		for k, r := range Ranks() {
			row.Rank[k] = unknown()
			if len(found) > 0 {
				row.Rank[k] = s.rankShare(found, r, search.without)
			}
		}
		for _, t := range thresholds {
			open := OpenSet{t.rate, unknown()}
			if len(found) > 0 {
				open.FNIR = s.fnir(found, t)
			}
			row.FNIR = append(row.FNIR, open)
		}
		row.dropIntervals()
		out = append(out, row)
	}
	return out
}

// dropIntervals drops those of a row of one subject. What was drawn is kept: with the subjects of other folds it says something.
func (r *SearchRow) dropIntervals() {
	if r.Subjects > 1 {
		return
	}
	for k := range r.Rank {
		r.Rank[k].Low, r.Rank[k].High = math.NaN(), math.NaN()
	}
	for k := range r.FNIR {
		r.FNIR[k].FNIR.Low, r.FNIR[k].FNIR.High = math.NaN(), math.NaN()
	}
}

// joinSearchRows is the mean of folds' rows, weighted by probes.
func joinSearchRows(of [][]SearchRow) []SearchRow {
	var out []SearchRow
	for i, first := range of[0] {
		rows := pick(of, func(r []SearchRow) SearchRow { return r[i] })
		joined := SearchRow{Class: first.Class}
		for _, r := range rows {
			joined.Probes += r.Probes
			joined.Subjects += r.Subjects // nobody is in two folds
		}
		weights := pick(rows, func(r SearchRow) float64 { return float64(r.Probes) })
		for k := range joined.Rank {
			joined.Rank[k] = meanFigure(pick(rows, func(r SearchRow) Figure { return r.Rank[k] }), weights)
		}
		for k, q := range first.FNIR {
			joined.FNIR = append(joined.FNIR, OpenSet{q.FPIR, meanFigure(pick(rows, func(r SearchRow) Figure { return r.FNIR[k].FNIR }), weights)})
		}
		joined.dropIntervals()
		out = append(out, joined)
	}
	return out
}
