package evaluation

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// chart is a drawing for the report, in inline SVG: its colours come from the page's style sheet and follow light and dark, which a
// drawing made apart from the page would not.
type chart struct {
	title string // for people who cannot see it
	x, y  axis
	lines []line
	// even is drawn as a thin line from corner to corner of equal values, at as a thin level.
	even bool
	at   float64 // of y; NaN for none
}

type axis struct {
	label  string
	from   float64
	to     float64
	ticks  []tick
	scaled func(float64) float64 // nil for linear
}

type tick struct {
	at   float64
	text string
}

type line struct {
	class  string // of the style sheet
	points [][2]float64
	dots   bool
	filled bool // down to the axis
}

// A chart fits a phone's width without its words getting too small to read.
const (
	chartWidth, chartHeight = 420.0, 300.0
	chartLeft, chartRight   = 62.0, 18.0
	chartTop, chartBottom   = 10.0, 44.0
)

func (a axis) place(v float64) float64 {
	f := a.scaled
	if f == nil {
		f = func(x float64) float64 { return x }
	}
	return (f(v) - f(a.from)) / (f(a.to) - f(a.from))
}

func (c chart) px(v float64) float64 {
	return chartLeft + c.x.place(v)*(chartWidth-chartLeft-chartRight)
}

func (c chart) py(v float64) float64 {
	return chartHeight - chartBottom - c.y.place(v)*(chartHeight-chartTop-chartBottom)
}

func (c chart) svg() template.HTML {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	put(`<svg class="chart" viewBox="0 0 %g %g" role="img" aria-label="%s">`, chartWidth, chartHeight, html.EscapeString(c.title))
	bottom, right := chartHeight-chartBottom, chartWidth-chartRight
	for _, t := range c.x.ticks {
		put(`<path class="grid" d="M%.1f %.1fV%.1f"/><text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`,
			c.px(t.at), chartTop, bottom, c.px(t.at), bottom+16, html.EscapeString(t.text))
	}
	for _, t := range c.y.ticks {
		put(`<path class="grid" d="M%.1f %.1fH%.1f"/><text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			chartLeft, c.py(t.at), right, chartLeft-6, c.py(t.at)+4, html.EscapeString(t.text))
	}
	put(`<path class="frame" d="M%.1f %.1fV%.1fH%.1f"/>`, chartLeft, chartTop, bottom, right)
	if c.even {
		from, to := max(c.x.from, c.y.from), min(c.x.to, c.y.to)
		put(`<path class="even" d="M%.1f %.1fL%.1f %.1f"/>`, c.px(from), c.py(from), c.px(to), c.py(to))
	}
	if !math.IsNaN(c.at) {
		put(`<path class="even" d="M%.1f %.1fH%.1f"/>`, chartLeft, c.py(c.at), right)
	}
	for _, l := range c.lines {
		c.draw(&b, l)
	}
	put(`<text class="label" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (chartLeft+right)/2, chartHeight-8, html.EscapeString(c.x.label))
	put(`<text class="label" transform="translate(12 %.1f) rotate(-90)" text-anchor="middle">%s</text></svg>`, (chartTop+bottom)/2, html.EscapeString(c.y.label))
	return template.HTML(b.String())
}

// draw draws a line, broken where a value is not known.
func (c chart) draw(b *strings.Builder, l line) {
	var path strings.Builder
	pen := false
	var first float64
	end := func() {
		if pen && l.filled {
			fmt.Fprintf(&path, "V%.1fH%.1fZ", c.py(c.y.from), first)
		}
		pen = false
	}
	for _, p := range l.points {
		if math.IsNaN(p[0]) || math.IsNaN(p[1]) {
			end()
			continue
		}
		x, y := c.px(min(max(p[0], c.x.from), c.x.to)), c.py(min(max(p[1], c.y.from), c.y.to))
		if !pen {
			first = x
			fmt.Fprintf(&path, "M%.1f %.1f", x, y)
		} else {
			fmt.Fprintf(&path, "L%.1f %.1f", x, y)
		}
		pen = true
		if l.dots {
			fmt.Fprintf(b, `<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, l.class, x, y)
		}
	}
	end()
	if path.Len() > 0 {
		kind := "line"
		if l.filled {
			kind = "area"
		}
		fmt.Fprintf(b, `<path class="%s %s" d="%s"/>`, kind, l.class, path.String())
	}
}

// probit stretches rates as a DET curve does: normal deviates (ISO/IEC 19795-1).
func probit(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

func percentTicks(shares ...float64) (out []tick) {
	for _, s := range shares {
		out = append(out, tick{s, strings.TrimSuffix(fmt.Sprintf("%g", math.Round(s*1e6)/1e4), ".0") + " %"})
	}
	return out
}

func share(label string) axis {
	return axis{label: label, from: 0, to: 1, ticks: percentTicks(0, 0.2, 0.4, 0.6, 0.8, 1)}
}
