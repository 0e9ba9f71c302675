package evaluation

import (
	"math"
	"strings"
	"testing"
)

func TestAccuracy(t *testing.T) {
	photos := []Photo{{Name: "a/a_0001.jpg"}, {Name: "a/a_0002.jpg"}, {Name: "b/b_0001.jpg"}, {Name: "b/b_0012.jpg"}, {Name: "c/c_0001.jpg", Problem: "no face"}}
	list := "2 2\na 1 2\nb 1 12\na 1 b 1\na 2 b 12\na 1 2\nc 1 2\na 1 b 12\na 2 b 1\n"
	pairs, left, err := ReadPairs(strings.NewReader(list), photos)
	if err != nil || len(pairs) != 7 || left != 1 {
		t.Fatalf("%d pairs, %d left out, %v", len(pairs), left, err)
	}
	if p := pairs[1]; p != (FoldPair{2, 3, true, 0}) {
		t.Errorf("b 1 12 is %+v", p)
	}
	perfect := Comparer{Pair: func(i, j int) float64 {
		if photos[i].Name[0] == photos[j].Name[0] {
			return 1
		}
		return 0
	}}
	if mean, se := Accuracy(pairs, perfect); mean != 1 || se != 0 {
		t.Errorf("a comparer that knows: %v ± %v", mean, se)
	}
	// One who says b is never b: in the first fold, one of four is wrong at the threshold that the second fold gives.
	wrong := Comparer{Pair: func(i, j int) float64 {
		if i == 0 && j == 1 {
			return 1
		}
		return 0
	}}
	if mean, _ := Accuracy(pairs, wrong); math.Abs(mean-(0.75+1)/2) > 1e-9 {
		t.Errorf("a comparer that does not know b: %v", mean)
	}
	for _, bad := range []string{"", "x\n", "10 0\n", "2 1\na 1\n", "2 1\na 1 2\na 1 b 1\na 1 2\na 1 b 1\na 1 2\n", "2 1\nz 1 2\n"} {
		if _, _, err := ReadPairs(strings.NewReader(bad), photos); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
