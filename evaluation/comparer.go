package evaluation

import (
	"fmt"
	"math"
)

// Comparer compares photos by their places in the slice given to Run. Higher is more alike. Neither function is called for
// photos with a Problem. Both must be safe for concurrent use. Pair must give the same score either way round, because pairs are
// unordered in verification.
type Comparer struct {
	Name  string // "metric", "raw_fused", "raw_<recogniser>"
	LogLR bool   // scores are natural-log likelihood ratios: calibration is measured
	Pair  func(i, j int) float64
	// Case scores a probe against all photos of one case, fused.
	Case func(probe int, photos []int) float64
}

func checkComparers(comparers []Comparer) error {
	if len(comparers) == 0 {
		return fmt.Errorf("nothing to evaluate: give at least one comparer")
	}
	names := map[string]bool{}
	for _, c := range comparers {
		switch {
		case c.Name == "":
			return fmt.Errorf("a comparer has no name")
		case names[c.Name]:
			return fmt.Errorf("two comparers are named %s: give each a name of its own", c.Name)
		case c.Pair == nil || c.Case == nil:
			return fmt.Errorf("comparer %s: both Pair and Case are needed", c.Name)
		}
		names[c.Name] = true
	}
	return nil
}

// finite is the score as it is compared, unless it is no number.
func finite(score float64) (float32, bool) {
	s := float32(score)
	return s, !math.IsNaN(score) && !math.IsInf(float64(s), 0)
}
