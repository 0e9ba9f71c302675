package evaluation

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestHTMLIsOnePageAndEscapes(t *testing.T) {
	const hostile = `<script>alert("x")</script><img src=http://example.org/a.png>'"&`
	photos, c := someSet(rand.New(rand.NewPCG(2, 1)), 30, 6, true, 0)
	for i := range photos {
		photos[i].Name = hostile + photos[i].Name
		photos[i].Subject += hostile
		if photos[i].Problem != "" {
			photos[i].Problem = hostile
		}
	}
	c.Name = hostile
	r := run(t, photos, c, Options{Set: hostile, Bootstrap: 20, Distractors: []int{0}})
	render := func(h HTMLOptions) string {
		var out bytes.Buffer
		if err := r.WriteHTML(&out, h); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	page := render(HTMLOptions{Title: hostile})
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") || !strings.Contains(page, "&lt;script&gt;") {
		t.Error("a name is not escaped")
	}
	asks := regexp.MustCompile(`(?i)<(link|iframe|object|embed|script|base)\b|@import|url\(|\bsrc=`)
	if found := asks.FindString(strings.ReplaceAll(page, "src=http://example.org", "")); found != "" {
		t.Errorf("the page asks for something: %s", found)
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "Inf") {
		t.Error("the page shows what cannot be read")
	}
	if strings.Contains(page, "/path/") {
		t.Error("the page tells paths")
	}

	shown := 0
	page = render(HTMLOptions{Thumbnail: func(p Photo) ([]byte, error) {
		shown++
		if shown == 2 {
			return nil, errors.New("it went away")
		}
		return []byte{0xff, 0xd8, 0xff}, nil
	}})
	if shown != 4*hardestCount || strings.Count(page, `<img src="data:image/jpeg;base64,/9j/"`) != shown-1 || !strings.Contains(page, "no picture: it went away") {
		t.Errorf("%d thumbnails asked for, %d shown", shown, strings.Count(page, "<img"))
	}
}

// TestHTMLOfLittle renders sets in which most figures cannot be given.
func TestHTMLOfLittle(t *testing.T) {
	photos, c := family()
	c.Pair = func(int, int) float64 { return 0 } // no range at all
	c.LogLR = true
	r, err := Run(context.Background(), photos, []Comparer{c}, Options{Bootstrap: 3})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.WriteHTML(&out, HTMLOptions{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Error("the page shows what cannot be read")
	}
}
