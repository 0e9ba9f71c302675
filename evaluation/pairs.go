package evaluation

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// FoldPair is a pair of photos, by their places, of one person or of two.
type FoldPair struct {
	A, B  int
	Mated bool
	Fold  int
}

// ReadPairs reads a list of pairs as LFW has it (Huang et al. 2007, "View 2"): a line with the number of folds and of pairs, then for each
// fold so many lines "name i j" (one person) and as many "name i other j". Photo i of a name is the one whose path ends in
// name/name_i.jpg, i in four digits. Pairs of photos that are not there are left out and counted.
func ReadPairs(r io.Reader, photos []Photo) (pairs []FoldPair, left int, err error) {
	places := make(map[string]int, len(photos))
	for i, p := range photos {
		places[path.Base(p.Name)] = i
	}
	find := func(name, number string) (int, bool) {
		n, err := strconv.Atoi(number)
		i, ok := places[fmt.Sprintf("%s_%04d.jpg", name, n)]
		return i, ok && err == nil
	}
	var folds, each int
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan(); n++ {
		f := strings.Fields(lines.Text())
		if n == 0 {
			if len(f) == 2 {
				folds, _ = strconv.Atoi(f[0])
				each, _ = strconv.Atoi(f[1])
			}
			if folds < 2 || each < 1 {
				return nil, 0, fmt.Errorf("line 1: %q: give the number of folds and of pairs in each, as in 10 300", lines.Text())
			}
			continue
		}
		p := FoldPair{Fold: (n - 1) / (2 * each), Mated: len(f) == 3}
		if len(f) != 3 && len(f) != 4 || p.Fold >= folds {
			return nil, 0, fmt.Errorf("line %d: %q: expected \"name 1 2\" or \"name 1 other 2\", %d folds of them", n+1, lines.Text(), folds)
		}
		other := f[len(f)-2]
		if p.Mated {
			other = f[0]
		}
		var okA, okB bool
		p.A, okA = find(f[0], f[1])
		p.B, okB = find(other, f[len(f)-1])
		if !okA || !okB || photos[p.A].Problem != "" || photos[p.B].Problem != "" {
			left++
			continue
		}
		pairs = append(pairs, p)
	}
	if err := lines.Err(); err != nil {
		return nil, 0, err
	}
	if len(pairs) == 0 {
		return nil, left, fmt.Errorf("none of the pairs is of photos in the manifest")
	}
	return pairs, left, nil
}

// Accuracy is the share of pairs that are told right, with the threshold that is best on the other folds, as the mean over folds and
// its standard error.
func Accuracy(pairs []FoldPair, c Comparer) (mean, standardError float64) {
	type scored struct {
		score float64
		FoldPair
	}
	all := make([]scored, len(pairs))
	folds := 0
	for i, p := range pairs {
		all[i] = scored{c.Pair(p.A, p.B), p}
		folds = max(folds, p.Fold+1)
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	var sum, squares float64
	for fold := range folds {
		// From the highest score down, taking one more pair for mated at each step.
		var right, best int
		threshold := math.Inf(1)
		for i, p := range all {
			switch {
			case p.Fold == fold:
			case p.Mated:
				right++
			default:
				right--
			}
			if right > best && (i+1 == len(all) || all[i+1].score != p.score) {
				best, threshold = right, p.score
			}
		}
		var told, n float64
		for _, p := range all {
			if p.Fold == fold {
				n++
				if (p.score >= threshold) == p.Mated {
					told++
				}
			}
		}
		sum += told / n
		squares += told / n * told / n
	}
	k := float64(folds)
	mean = sum / k
	return mean, math.Sqrt(max(squares/k-mean*mean, 0) / (k - 1))
}
