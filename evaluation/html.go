package evaluation

import (
	"bytes"
	_ "embed" // the report's template
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
)

//go:embed report.html
var reportTemplate string

// HTMLOptions say how the report looks.
type HTMLOptions struct {
	Title string
	// Thumbnail makes a small JPEG of a photo for the hardest pairs; nil for none. A photo it fails for is shown by its name and the reason.
	Thumbnail func(p Photo) ([]byte, error)
}

// WriteHTML writes the report as one page that needs nothing else: no script, no request. Without HTMLOptions.Thumbnail it holds no picture of anybody.
func (r *Result) WriteHTML(w io.Writer, h HTMLOptions) error {
	t, err := template.New("report").Parse(reportTemplate)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, newPage(r, h)); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = out.WriteTo(w)
	return err
}

// page is what the template shows.
type page struct {
	Title     string
	Result    *Result
	Seed      string
	Keys      []key
	Summary   table
	FARs      []section // verification, a table for each FAR
	Protocols []section
	Breakdown []section
	Charts    struct {
		DET            template.HTML
		AgeTAR, AgeFAR template.HTML
		GapTAR, GapFAR template.HTML
		Distributions  []section
		Reliability    template.HTML
	}
	Calibrated      []string
	Calibration     table
	Reliability     []section
	Folds           table
	HardestOf       string
	Hardest         []hardSection
	WithoutFace     []Photo
	WithoutFaceMore int
	HasAges         bool
}

type key struct{ Name, Class string }

type section struct {
	Name, Words string
	Table       table
	Chart       template.HTML
	Within      *section // more about it, folded away
}

type table struct {
	Corner string
	Heads  []head
	Rows   []tableRow
}

type head struct{ Name, Words string }

type tableRow struct {
	Name, Words string
	Under       bool // a second line about the one above
	Cells       []cell
}

type cell struct {
	Value, Interval string
	Best            bool
}

type hardSection struct {
	Name, Words string
	Pairs       []hardView
}

type hardView struct {
	Score string
	A, B  photoView
}

type photoView struct {
	Name, About string
	Thumbnail   template.URL
	Failure     string
}

// listed is how many photos without a face the page lists; the JSON has them all.
const listed = 500

// bandWords says in plain words which pairs are in a band.
func bandWords() map[string]string {
	return map[string]string{
		"all": "All pairs", "both_under_13": "Both under 13", "child_adult": "A child and an adult",
		"under_6_over_12": "One under 6, one 13 or older", "gap_10_plus": "10 years or more apart", "gap_20_plus": "20 years or more apart",
	}
}

// protocolWords says who is searched for, and where.
func protocolWords() map[string]head {
	return map[string]head{
		"child_to_adult":       {"Child → adults", "Each photo of a child is searched among all subjects' photos as adults."},
		"young_to_old":         {"Young → old", "Each subject's young photo is searched among all subjects' old ones."},
		"adult_to_child_cases": {"Adult → cases of children", "Each photo of an adult is searched among cases: all photos of one child taken together."},
		"leave_one_out":        {"One against all others", "Each photo is searched among all the others."},
	}
}

func newPage(r *Result, h HTMLOptions) *page {
	p := &page{Title: h.Title, Result: r, Seed: strconv.FormatUint(r.Options.Seed, 10), HasAges: r.Set.Aged > 0}
	if p.Title == "" {
		p.Title = "Homeward: evaluation"
	}
	for i, m := range r.Comparers {
		p.Keys = append(p.Keys, key{m.Name, styleOf(i)})
		if m.Calibration != nil {
			p.Calibrated = append(p.Calibrated, m.Name)
		}
	}
	p.Summary = summary(r.Comparers)
	p.verification(r)
	p.identification(r)
	p.breakdown(r)
	p.distributions(r)
	p.calibration(r)
	for i, f := range r.Folds {
		s := summary(f.Comparers)
		p.Folds.Heads = s.Heads
		for _, row := range s.Rows {
			row.Words = row.Name
			row.Name = "Fold " + strconv.Itoa(i+1)
			p.Folds.Rows = append(p.Folds.Rows, row)
		}
	}
	p.HardestOf = r.Comparers[0].Name
	p.Hardest = []hardSection{
		{"Same person, lowest scores", "These would be missed first.", hardViews(r.HardestMated, h)},
		{"Different people, highest scores", "These would mislead first. Look for wrong labels and relatives.", hardViews(r.HardestNonMated, h)},
	}
	p.WithoutFace = r.WithoutFace
	if more := len(r.WithoutFace) - listed; more > 0 {
		p.WithoutFace, p.WithoutFaceMore = r.WithoutFace[:listed], more
	}
	return p
}

// styleOf is a comparer's look in charts. There are eight.
func styleOf(i int) string { return "c" + strconv.Itoa(i%8) }

func percent(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return strconv.FormatFloat(100*v, 'f', 1, 64) + " %"
}

func newCell(f Figure) cell {
	c := cell{Value: percent(f.Value)}
	if !math.IsNaN(f.Low) {
		c.Interval = strconv.FormatFloat(100*f.Low, 'f', 1, 64) + "–" + strconv.FormatFloat(100*f.High, 'f', 1, 64)
	}
	return c
}

func plain(v float64, format string) cell {
	if math.IsNaN(v) {
		return cell{Value: "–"}
	}
	return cell{Value: fmt.Sprintf(format, v)}
}

// best marks the highest figure of a column, or the lowest; none where it stands alone.
func best(rows []tableRow, column int, values []float64, lowest bool) {
	at, known := -1, 0
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		known++
		if at < 0 || !lowest && v > values[at] || lowest && v < values[at] {
			at = i
		}
	}
	if known > 1 {
		rows[at].Cells[column].Best = true
	}
}

// headline is a column of the summary.
type headline struct {
	head
	get    func(*Measures) Figure
	format func(Figure) cell
	lowest bool
}

func summary(comparers []*Measures) table {
	rank := func(protocol string, k int) func(*Measures) Figure {
		return func(m *Measures) Figure { return m.Identification[protocol].Rank[k] }
	}
	tar := func(band string) func(*Measures) Figure {
		return func(m *Measures) Figure { return m.Verification[band].TAR[1] }
	}
	bits := func(f Figure) cell { return plain(f.Value, "%.3f") }
	all := []headline{
		{head{"Child → adults, rank 1", "found first"}, rank("child_to_adult", 0), newCell, false},
		{head{"Child → adults, rank 10", "found in the first ten"}, rank("child_to_adult", 2), newCell, false},
		{head{"Young → old, rank 1", "found first"}, rank("young_to_old", 0), newCell, false},
		{head{"Young → old, rank 10", "found in the first ten"}, rank("young_to_old", 2), newCell, false},
		{head{"Adult → cases, rank 1", "found first"}, rank("adult_to_child_cases", 0), newCell, false},
		{head{"All pairs", "TAR at FAR 0.1 %"}, tar("all"), newCell, false},
		{head{"Both under 13", "TAR at FAR 0.1 %"}, tar("both_under_13"), newCell, false},
		{head{"Under 6, over 12", "TAR at FAR 0.1 %"}, tar("under_6_over_12"), newCell, false},
		{head{"Cllr", "bits; 0 is perfect, 1 says nothing"}, func(m *Measures) Figure {
			f := unknown()
			if m.Calibration != nil {
				f.Value = m.Calibration["all"].Cllr
			}
			return f
		}, bits, true},
	}
	t := table{Corner: "Comparer"}
	for _, m := range comparers {
		t.Rows = append(t.Rows, tableRow{Name: m.Name})
	}
	for _, h := range all {
		values := pick(comparers, func(m *Measures) float64 { return h.get(m).Value })
		if math.IsNaN(mean(values, same(len(values)))) {
			continue // nothing to say in this set
		}
		t.Heads = append(t.Heads, h.head)
		for i, m := range comparers {
			t.Rows[i].Cells = append(t.Rows[i].Cells, h.format(h.get(m)))
		}
		best(t.Rows, len(t.Heads)-1, values, h.lowest)
	}
	return t
}

func (p *page) verification(r *Result) {
	words := bandWords()
	for k, oneIn := range FARs() {
		t := table{Corner: "Comparer"}
		for _, m := range r.Comparers {
			t.Rows = append(t.Rows, tableRow{Name: m.Name})
		}
		for _, band := range Bands() {
			v := r.Comparers[0].Verification[band]
			if v.Mated == 0 || v.NonMated == 0 {
				continue
			}
			t.Heads = append(t.Heads, head{words[band], thousands(v.Mated) + " mated, " + thousands(v.NonMated) + " non-mated"})
			values := pick(r.Comparers, func(m *Measures) float64 { return m.Verification[band].TAR[k].Value })
			for i, m := range r.Comparers {
				t.Rows[i].Cells = append(t.Rows[i].Cells, newCell(m.Verification[band].TAR[k]))
			}
			best(t.Rows, len(t.Heads)-1, values, false)
		}
		p.FARs = append(p.FARs, section{Name: "TAR at FAR " + strconv.FormatFloat(100/float64(oneIn), 'g', -1, 64) + " %", Table: t})
	}
	det := chart{title: "Detection error trade-off", at: math.NaN(),
		x: axis{label: "FAR: different people accepted", from: 1e-4, to: 0.5, scaled: probit, ticks: percentTicks(1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)},
		y: axis{label: "same person rejected", from: 0.005, to: 0.99, scaled: probit, ticks: percentTicks(0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95)}}
	for i, m := range r.Comparers {
		l := line{class: styleOf(i)}
		for _, q := range m.DET {
			if q.FAR >= det.x.from*(1-1e-9) {
				l.points = append(l.points, [2]float64{q.FAR, q.FRR})
			}
		}
		det.lines = append(det.lines, l)
	}
	p.Charts.DET = det.svg()
}

// thousands sets digits apart, with a thin space.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func (p *page) identification(r *Result) {
	for _, protocol := range Protocols() {
		first := r.Comparers[0].Identification[protocol]
		if first.Probes == 0 {
			continue
		}
		words := protocolWords()[protocol]
		s := section{Name: words.Name, Words: fmt.Sprintf("%s %s probes (%s without a face), %s subjects in the gallery.",
			words.Words, thousands(first.Probes), thousands(first.ProbesWithoutFace), thousands(first.Gallery))}
		if len(r.Folds) > 0 {
			s.Words += " Probes of all folds; the gallery is that of one fold, on average."
		}
		t := table{Corner: "Comparer"}
		for _, k := range Ranks() {
			t.Heads = append(t.Heads, head{"Rank " + strconv.Itoa(k), ""})
		}
		for _, q := range first.FNIR {
			t.Heads = append(t.Heads, head{"FNIR", "at FPIR " + strings.TrimSuffix(percent(q.FPIR), ".0 %") + " %"})
		}
		cmc := chart{title: "CMC, " + words.Name, at: math.NaN(), y: share("subject among the first"),
			x: axis{label: "rank", from: 1, to: cmcRanks, scaled: math.Log, ticks: []tick{{1, "1"}, {2, "2"}, {5, "5"}, {10, "10"}, {20, "20"}, {50, "50"}}}}
		var plainRows []tableRow
		for i, m := range r.Comparers {
			f := m.Identification[protocol]
			row := tableRow{Name: m.Name}
			for _, v := range f.Rank {
				row.Cells = append(row.Cells, newCell(v))
			}
			for _, q := range f.FNIR {
				row.Cells = append(row.Cells, newCell(q.FNIR))
			}
			plainRows = append(plainRows, row)
			l := line{class: styleOf(i)}
			for k, v := range f.CMC {
				l.points = append(l.points, [2]float64{float64(k + 1), v})
			}
			cmc.lines = append(cmc.lines, l)
		}
		for k := range rankCount {
			best(plainRows, k, pick(r.Comparers, func(m *Measures) float64 { return m.Identification[protocol].Rank[k].Value }), false)
		}
		for k := range first.FNIR {
			best(plainRows, rankCount+k, pick(r.Comparers, func(m *Measures) float64 { return m.Identification[protocol].FNIR[k].FNIR.Value }), true)
		}
		for i, m := range r.Comparers {
			t.Rows = append(t.Rows, plainRows[i])
			c := m.Identification[protocol].WithDistractors
			if c == nil {
				continue
			}
			row := tableRow{Name: "with " + thousands(c.Distractors) + " distractors", Under: true}
			for k, v := range c.Rank {
				x := newCell(v)
				if x.Interval = ""; !math.IsNaN(c.Fall[k]) { // intervals are in the JSON
					x.Interval = "falls by " + strconv.FormatFloat(100*c.Fall[k], 'f', 1, 64)
				}
				row.Cells = append(row.Cells, x)
			}
			for range first.FNIR {
				row.Cells = append(row.Cells, cell{})
			}
			t.Rows = append(t.Rows, row)
		}
		s.Table, s.Chart = t, cmc.svg()
		s.Within = searchesWithin(r, protocol, t.Heads)
		p.Protocols = append(p.Protocols, s)
	}
}

// mostCompared is of how many comparers a breakdown of searches can still be read.
const mostCompared = 3

// searchesWithin breaks a protocol down by age and gap, or by looks: of all comparers or, of many, the first and raw_fused.
// It is nil where no probe is in any class. The columns are those of the protocol.
func searchesWithin(r *Result, protocol string, heads []head) *section {
	compared := r.Comparers
	if len(compared) > mostCompared {
		compared = compared[:1:1]
		if m := r.Comparer("raw_fused"); m != nil && m != compared[0] {
			compared = append(compared, m)
		}
	}
	of := "the photo searched with"
	if protocol == "adult_to_child_cases" {
		of = "the child, in the nearest photo of the case"
	}
	out := &section{Name: "By age and by years between", Table: table{Corner: "Probes", Heads: heads}}
	first := compared[0].Identification[protocol]
	if first.ByAge != nil {
		out.Words = fmt.Sprintf("The age is that of %s; the years between are those to the nearest photo of the same person in the gallery. %s of %s probes have such an age, and %s such years.",
			of, thousands(probesIn(first.ByAge)), thousands(first.Probes), thousands(probesIn(first.ByGap)))
	} else {
		out.Name = "By looks"
		if protocol == "adult_to_child_cases" {
			of = "the child, in the photo of the case that looks oldest"
		}
		out.Words = fmt.Sprintf("No ages are known. Looks are the estimated age of %s; %s of %s probes have such an estimate.",
			of, thousands(probesIn(first.ByLooks)), thousands(first.Probes))
	}
	out.Words += " Thresholds are those of all probes."
	if len(compared) < len(r.Comparers) {
		out.Words += " The other comparers are in the JSON."
	}
	for _, by := range []struct {
		name string
		rows func(*Identification) []SearchRow
	}{
		{"Aged %s", func(f *Identification) []SearchRow { return f.ByAge }},
		{"%s years between", func(f *Identification) []SearchRow { return f.ByGap }},
		{"Looks %s", func(f *Identification) []SearchRow { return f.ByLooks }},
	} {
		for k, class := range by.rows(first) {
			if class.Probes == 0 {
				continue
			}
			for i, m := range compared {
				q := by.rows(m.Identification[protocol])[k]
				row := tableRow{Name: m.Name, Under: true}
				if i == 0 {
					row = tableRow{Name: fmt.Sprintf(by.name, class.Class), Words: fmt.Sprintf("%s probes of %s, %s", thousands(class.Probes), people(class.Subjects), m.Name)}
				}
				for _, v := range q.Rank {
					row.Cells = append(row.Cells, newCell(v))
				}
				for _, v := range q.FNIR {
					row.Cells = append(row.Cells, newCell(v.FNIR))
				}
				out.Table.Rows = append(out.Table.Rows, row)
			}
		}
	}
	if len(out.Table.Rows) == 0 {
		return nil
	}
	return out
}

func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return thousands(n) + " people"
}

func probesIn(rows []SearchRow) (n int) {
	for _, r := range rows {
		n += r.Probes
	}
	return n
}

func (p *page) breakdown(r *Result) {
	if !p.HasAges {
		return
	}
	far := func() axis {
		return axis{label: "FAR realised", from: 1e-5, to: 0.1, scaled: math.Log, ticks: percentTicks(1e-5, 1e-4, 1e-3, 1e-2, 1e-1)}
	}
	broken := func(name, words, label string, rowsOf func(*Measures) []Row) (tar, fars chart) {
		s := section{Name: name, Words: words, Table: table{Corner: "Comparer"}}
		x := axis{label: label}
		for i, row := range rowsOf(r.Comparers[0]) {
			s.Table.Heads = append(s.Table.Heads, head{row.Class + " years", thousands(row.Mated) + " mated, " + thousands(row.NonMated) + " non-mated"})
			x.ticks = append(x.ticks, tick{float64(i), row.Class})
			x.to = float64(i)
		}
		x.from, x.to = -0.3, x.to+0.3
		tar = chart{title: name + ": TAR", x: x, y: share("TAR"), at: math.NaN()}
		fars = chart{title: name + ": FAR", x: x, y: far(), at: 1e-3}
		for i, m := range r.Comparers {
			row := tableRow{Name: m.Name}
			a, b := line{class: styleOf(i), dots: true}, line{class: styleOf(i), dots: true}
			for k, q := range rowsOf(m) {
				c := cell{Value: percent(q.TAR)}
				if !math.IsNaN(q.FAR) {
					c.Interval = "FAR " + strconv.FormatFloat(100*q.FAR, 'g', 2, 64) + " %"
				}
				row.Cells = append(row.Cells, c)
				a.points = append(a.points, [2]float64{float64(k), q.TAR})
				b.points = append(b.points, [2]float64{float64(k), q.FAR})
			}
			s.Table.Rows = append(s.Table.Rows, row)
			tar.lines, fars.lines = append(tar.lines, a), append(fars.lines, b)
		}
		p.Breakdown = append(p.Breakdown, s)
		return tar, fars
	}
	tar, fars := broken("By age", "By the age of the younger of the two.", "age of the younger, years", func(m *Measures) []Row { return m.ByAge })
	p.Charts.AgeTAR, p.Charts.AgeFAR = tar.svg(), fars.svg()
	tar, fars = broken("By gap", "By the years between both photos.", "years between", func(m *Measures) []Row { return m.ByGap })
	p.Charts.GapTAR, p.Charts.GapFAR = tar.svg(), fars.svg()
}

func (p *page) distributions(r *Result) {
	for _, m := range r.Comparers {
		mated, nonMated := m.distribution()
		label := "score"
		if m.LogLR {
			label = "score, natural log-LR"
		}
		c := chart{title: "Scores of " + m.Name, at: math.NaN(),
			x: axis{label: label, from: m.mated.from, to: m.mated.to, ticks: round(m.mated.from, m.mated.to)},
			y: axis{label: "share of pairs", from: 0}}
		for _, n := range append(append([]number{}, mated...), nonMated...) {
			c.y.to = max(c.y.to, float64(n))
		}
		c.y.to = max(c.y.to*1.05, 1e-9)
		for _, t := range round(0, c.y.to) {
			c.y.ticks = append(c.y.ticks, percentTicks(t.at)...)
		}
		curve := func(class string, of []number) line {
			l := line{class: class, filled: true}
			for i, n := range of {
				l.points = append(l.points, [2]float64{m.mated.from + (float64(i)+0.5)*(m.mated.to-m.mated.from)/float64(len(of)), float64(n)})
			}
			return l
		}
		c.lines = []line{curve("non-mated", nonMated), curve("mated", mated)}
		p.Charts.Distributions = append(p.Charts.Distributions, section{Name: m.Name, Chart: c.svg()})
	}
}

// round is about five round values within a range.
func round(from, to float64) (out []tick) {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/6)))
	for _, more := range []float64{1, 2, 5, 10, 20} {
		if (to-from)/(step*more) <= 6 {
			step *= more
			break
		}
	}
	for k := math.Ceil(from / step); k*step <= to; k++ {
		at := k*step + 0 // no minus before nought
		out = append(out, tick{at, strconv.FormatFloat(at, 'g', 4, 64)})
	}
	return out
}

func (p *page) calibration(r *Result) {
	if len(p.Calibrated) == 0 {
		return
	}
	words := bandWords()
	p.Calibration.Corner = "Comparer"
	c := chart{title: "Reliability", at: math.NaN(), even: true, x: axis{label: "stated log10 LR"}, y: axis{label: "empirical log10 LR"}}
	low, high := -1.0, 1.0
	for i, m := range r.Comparers {
		if m.Calibration == nil {
			continue
		}
		row := tableRow{Name: m.Name}
		for _, band := range Bands() {
			q := m.Calibration[band]
			x := plain(q.Cllr, "%.3f")
			if !math.IsNaN(q.MinCllr) {
				x.Interval = fmt.Sprintf("min %.3f, ECE %.3f", q.MinCllr, q.ECE)
			}
			row.Cells = append(row.Cells, x)
		}
		p.Calibration.Rows = append(p.Calibration.Rows, row)
		l := line{class: styleOf(i), dots: true}
		s := section{Name: m.Name, Table: table{Corner: "Stated log10 LR", Heads: []head{{"Mated", "pairs"}, {"Non-mated", "pairs"}, {"Stated", "mean, log10"}, {"Empirical", "log10"}}}}
		for _, b := range m.Calibration["all"].Reliability {
			if b.Mated+b.NonMated == 0 {
				continue
			}
			s.Table.Rows = append(s.Table.Rows, tableRow{Name: binName(b), Cells: []cell{
				{Value: thousands(b.Mated)}, {Value: thousands(b.NonMated)}, plain(b.Stated, "%.2f"), plain(b.Empirical, "%.2f")}})
			if math.IsNaN(b.Empirical) {
				continue
			}
			l.points = append(l.points, [2]float64{b.Stated, b.Empirical})
			low, high = min(low, b.Stated, b.Empirical), max(high, b.Stated, b.Empirical)
		}
		c.lines = append(c.lines, l)
		p.Reliability = append(p.Reliability, s)
	}
	for _, band := range Bands() {
		p.Calibration.Heads = append(p.Calibration.Heads, head{words[band], ""})
	}
	low, high = low-0.2, high+0.2
	c.x.from, c.x.to, c.x.ticks = low, high, round(low, high)
	c.y.from, c.y.to, c.y.ticks = low, high, round(low, high)
	p.Charts.Reliability = c.svg()
}

func binName(b Reliability) string {
	switch {
	case math.IsInf(b.From, -1):
		return fmt.Sprintf("below %g", b.To)
	case math.IsInf(b.To, 1):
		return fmt.Sprintf("%g or more", b.From)
	}
	return fmt.Sprintf("%g to %g", b.From, b.To)
}

func hardViews(pairs []HardPair, h HTMLOptions) []hardView {
	view := func(p Photo) photoView {
		v := photoView{Name: p.Name, About: p.Subject}
		switch {
		case p.Age >= 0:
			v.About += ", " + strconv.FormatFloat(p.Age, 'f', -1, 64) + " years"
		case p.Side != "":
			v.About += ", " + p.Side
		}
		if h.Thumbnail == nil {
			return v
		}
		jpeg, err := h.Thumbnail(p)
		if err != nil {
			v.Failure = "no picture: " + err.Error()
			return v
		}
		v.Thumbnail = template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(jpeg))
		return v
	}
	var out []hardView
	for _, p := range pairs {
		out = append(out, hardView{strconv.FormatFloat(p.Score, 'g', 4, 64), view(p.A), view(p.B)})
	}
	return out
}
