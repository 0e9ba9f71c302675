package match

import (
	"cmp"
	"math"
	"slices"
)

// AgeModel says how old someone is who looks some age. Age estimators draw towards the middle and are often wrong; this
// knows by how much.
type AgeModel struct {
	// Looks are estimated ages, rising; Years and SD are what people who look so are: the middle of their ages and its spread.
	Looks []float64 `json:"looks"`
	Years []float64 `json:"years"`
	SD    []float64 `json:"sd"`
}

// leastAgeSD is the least spread that an estimate is given where no model was fitted: what is usual for children.
const leastAgeSD = 5

// Age is the age of a face that looks some years old, with the estimator's own spread.
func (m AgeModel) Age(looks, sd float64) Age {
	n := len(m.Looks)
	if n == 0 || len(m.Years) != n || len(m.SD) != n {
		return Age{Years: looks, SD: max(sd, leastAgeSD), Known: true}
	}
	i, _ := slices.BinarySearch(m.Looks, looks)
	switch {
	case i == 0:
		return Age{Years: m.Years[0], SD: m.SD[0], Known: true}
	case i == n:
		return Age{Years: m.Years[n-1] + looks - m.Looks[n-1], SD: m.SD[n-1], Known: true}
	}
	k := (looks - m.Looks[i-1]) / (m.Looks[i] - m.Looks[i-1])
	mix := func(v []float64) float64 { return v[i-1] + k*(v[i]-v[i-1]) }
	return Age{Years: mix(m.Years), SD: mix(m.SD), Known: true}
}

// fitAgeModel fits the model on faces of known age. Each year of age counts alike, as far as there are faces: what someone is
// who looks ten must not depend on how many infants the set happened to have.
func fitAgeModel(samples []Sample) AgeModel {
	perYear := map[int]float64{}
	var known []Sample
	for _, s := range samples {
		if s.Age >= 0 && s.Age <= 90 && s.Looks >= 0 {
			known = append(known, s)
			perYear[int(s.Age)]++
		}
	}
	if len(known) < 1000 {
		return AgeModel{}
	}
	var m AgeModel
	for _, looks := range []float64{1, 3, 5, 8, 11, 14, 18, 23, 30, 40, 50, 60, 70} {
		half := 1 + looks/8
		var near []Sample
		var total float64
		for _, s := range known {
			if math.Abs(s.Looks-looks) <= half {
				near = append(near, s)
				total += 1 / perYear[int(s.Age)]
			}
		}
		if len(near) < 30 {
			continue
		}
		slices.SortFunc(near, func(a, b Sample) int { return cmp.Compare(a.Age, b.Age) })
		// The middle, and half the range of the middle two thirds: a grandmother taken for a child must not move them.
		quantile := func(q float64) float64 {
			var sum float64
			for _, s := range near {
				if sum += 1 / perYear[int(s.Age)]; sum >= q*total {
					return s.Age + 0.5 // ages are whole years, of people on their way to the next
				}
			}
			return near[len(near)-1].Age + 0.5
		}
		m.Looks = append(m.Looks, looks)
		m.Years = append(m.Years, quantile(0.5))
		m.SD = append(m.SD, max(1, (quantile(0.84)-quantile(0.16))/2))
	}
	return m
}
