package match

import (
	"fmt"
	"math"
)

// leastCentred is how large the mean embedding may be, as a share of the embeddings' usual length, before a recogniser
// counts as off centre. The mean of m unrelated unit vectors has length about 1/√m; a recogniser trained with an angular
// loss stays below .3 over a thousand people, dlib's is near .9.
const leastCentred = 0.5

// leastSubjects is how many people a centre must be fitted on; fewer, and it would describe them rather than faces.
const leastSubjects = 50

// FitCentre fits the mean of a recogniser's raw embeddings over people: each person counts once, however many photos
// there are of them. It returns nil for a recogniser whose embeddings need no centre.
func FitCentre(bySubject map[string][][]float32) ([]float32, error) {
	if len(bySubject) < leastSubjects {
		return nil, fmt.Errorf("fitting a centre takes at least %d subjects, there are %d", leastSubjects, len(bySubject))
	}
	var mean []float64
	var length float64
	for subject, photos := range bySubject {
		for _, e := range photos {
			if mean == nil {
				mean = make([]float64, len(e))
			}
			if len(e) != len(mean) {
				return nil, fmt.Errorf("subject %s: an embedding has %d numbers, others %d", subject, len(e), len(mean))
			}
			weight := 1 / float64(len(photos)*len(bySubject))
			var sq float64
			for i, x := range e {
				mean[i] += weight * float64(x)
				sq += float64(x) * float64(x)
			}
			length += weight * math.Sqrt(sq)
		}
	}
	var sq float64
	for _, x := range mean {
		sq += x * x
	}
	if math.Sqrt(sq) < leastCentred*length {
		return nil, nil
	}
	centre := make([]float32, len(mean))
	for i, x := range mean {
		// Six significant digits: far below the noise of the fit, and the file stays readable.
		centre[i] = float32(math.Round(x*1e6) / 1e6)
	}
	return centre, nil
}
