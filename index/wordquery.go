package index

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/custom"
	"github.com/blevesearch/bleve/v2/analysis/char/asciifolding"
	"github.com/blevesearch/bleve/v2/analysis/lang/cjk"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/analysis/token/length"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/token/shingle"
	unicodewords "github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search/query"
	"golang.org/x/text/unicode/norm"
)

// What counts as holding a word. Case, accents and width never matter.
//
// A word in an alphabet is held as it is, with another English ending ("birthmarks" for "birthmark"), as the beginning
// of a longer word (from minPrefix letters on), or, because given names are spelt apart as often as together, joined to
// the words beside it: "Xiaoming" and "Xiao Ming" find each other. Words such as "the" need not be held unless there
// are no others.
//
// Chinese, Japanese kanji and kana are written without spaces, so what stands between two spaces may be several words.
// One character is held anywhere; two must stand side by side; of three or more every one must be there, and at least
// one in three of the pairs side by side, which lets "左臂胎记" find "胎记在左臂内侧". Particles and the ends of place
// names ("的", "市") need not be there.
//
// Holding all of it in the same way as the query, and in a name, ranks higher. The text of a query is never parsed as a
// query language: no input is an error.

// The fields of a case in Bleve.
const (
	fieldAll    = "all"    // every text: words as they are; single characters and pairs of Chinese
	fieldNames  = "names"  // the same of the names alone
	fieldStems  = "stems"  // every text: words without their English endings
	fieldJoined = "joined" // the names: two or three adjacent words as one
)

// Weights of the ways to hold a word, relative to holding it as it is. That of a prefix is so low because the longer
// word may be rare, which counts by the square.
const (
	weightName   = 3
	weightStem   = 0.5
	weightPrefix = 0.01
)

const (
	minPrefix = 3
	// maxQuery is how many characters of a query are looked at.
	maxQuery = 200
)

// wordMapping is how text becomes terms, of a case and of a query.
type wordMapping struct {
	bleve *mapping.IndexMappingImpl
	words analysis.Analyzer
	stems analysis.Analyzer
}

func newWordMapping() (*wordMapping, error) {
	m := bleve.NewIndexMapping()
	filters := map[string]map[string]any{
		"pairs and characters": {"type": cjk.BigramName, "output_unigram": true},
		"not short":            {"type": length.Name, "min": float64(minPrefix)},
		"adjacent as one":      {"type": shingle.Name, "min": 2.0, "max": 3.0, "separator": ""},
	}
	for name, config := range filters {
		if err := m.AddCustomTokenFilter(name, config); err != nil {
			return nil, fmt.Errorf("filter %s: %w", name, err)
		}
	}
	analyzers := map[string][]string{
		fieldAll:    {lowercase.Name, "pairs and characters"},
		fieldStems:  {en.PossessiveName, lowercase.Name, en.SnowballStemmerName, "not short"},
		fieldJoined: {lowercase.Name, "adjacent as one"},
	}
	for name, filters := range analyzers {
		if err := m.AddCustomAnalyzer(name, map[string]any{
			"type": custom.Name, "char_filters": []string{asciifolding.Name}, "tokenizer": unicodewords.Name, "token_filters": filters,
		}); err != nil {
			return nil, fmt.Errorf("analyser %s: %w", name, err)
		}
	}
	doc := bleve.NewDocumentStaticMapping()
	doc.AddSubDocumentMapping("_all", bleve.NewDocumentDisabledMapping())
	for field, analyzer := range map[string]string{
		fieldAll: fieldAll, fieldNames: fieldAll, fieldStems: fieldStems, fieldJoined: fieldJoined,
	} {
		f := bleve.NewTextFieldMapping()
		f.Analyzer, f.Store, f.IncludeInAll, f.IncludeTermVectors, f.DocValues = analyzer, false, false, false, false
		doc.AddFieldMappingsAt(field, f)
	}
	m.DefaultMapping = doc
	return &wordMapping{bleve: m, words: m.AnalyzerNamed(fieldAll), stems: m.AnalyzerNamed(fieldStems)}, nil
}

// fields is the case's text as Bleve takes it.
func (t *Text) fields() map[string]any {
	names := make([]string, len(t.Names))
	for i, n := range t.Names {
		names[i] = fold(n)
	}
	all := slices.Clone(names)
	for _, s := range []string{t.Place, t.Marks, t.Notes, t.Ref} {
		if s != "" {
			all = append(all, fold(s))
		}
	}
	return map[string]any{fieldAll: all, fieldNames: names, fieldStems: all, fieldJoined: names}
}

// fold takes compatibility forms (full width, ligatures) and accents away, also those that follow as marks of their own,
// and whatever is not valid UTF-8.
func fold(s string) string {
	s = norm.NFKD.String(strings.ToValidUTF8(s, " "))
	s = strings.Map(func(r rune) rune {
		if r >= 0x300 && r <= 0x36f { // combining diacritical marks
			return -1
		}
		return r
	}, s)
	return norm.NFC.String(s)
}

// word is one word of a query: one in an alphabet, or a run of ideographs or kana.
type word struct {
	text       string   // of a word in an alphabet
	characters []string // of a run
	pairs      []string
}

// parse takes a query's text apart.
func (m *wordMapping) parse(text string) []word {
	var words []word
	end := -1 // of the last character of a run
	for _, t := range m.words.Analyze([]byte(firstRunes(fold(text), maxQuery))) {
		term := string(t.Term)
		switch t.Type {
		case analysis.Single: // and then the pair it begins
			if t.Start != end {
				words = append(words, word{})
			}
			end = t.End
			run := &words[len(words)-1]
			run.characters = append(run.characters, term)
		case analysis.Double:
			run := &words[len(words)-1]
			run.pairs = append(run.pairs, term)
		default:
			words = append(words, word{text: term})
			end = -1
		}
	}
	return words
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// query is what finds the cases that hold every word of text.
func (m *wordMapping) query(text string) query.Query {
	words := m.parse(text)
	var must, may []query.Query
	for i, w := range words {
		var q query.Query
		if w.text == "" {
			q = holdsRun(w)
		} else {
			q = m.holdsWord(words, i)
		}
		if stopWord(w.text) {
			may = append(may, q)
		} else {
			must = append(must, q)
		}
	}
	switch {
	case len(words) == 0:
		return query.NewMatchAllQuery()
	case len(must) == 0:
		return all(may)
	case len(may) == 0:
		return all(must)
	}
	// Not a boolean query: where its must part finds nothing, Bleve answers with what its should part finds.
	return either(all(must), all(append(must, either(may...))))
}

func all(qs []query.Query) query.Query { return query.NewConjunctionQuery(qs) }

func either(qs ...query.Query) query.Query { return atLeast(1, qs) }

func atLeast(n int, qs []query.Query) query.Query {
	q := query.NewDisjunctionQuery(qs)
	q.SetMin(float64(n))
	return q
}

func term(field, t string, weight float64) query.Query {
	q := query.NewTermQuery(t)
	q.SetField(field)
	q.SetBoost(weight)
	return q
}

// holds finds a term as it is.
func holds(t string) query.Query {
	return either(term(fieldAll, t, 1), term(fieldNames, t, weightName))
}

// holdsRun finds a run of ideographs or kana.
func holdsRun(w word) query.Query {
	switch len(w.characters) {
	case 1:
		return holds(w.characters[0])
	case 2:
		return holds(w.pairs[0])
	}
	var characters, pairs []query.Query
	for _, c := range w.characters {
		if !particle(c) {
			characters = append(characters, term(fieldAll, c, 1))
		}
	}
	for _, p := range w.pairs {
		pairs = append(pairs, holds(p))
	}
	side := atLeast(max(1, len(w.characters)/3), pairs)
	if len(characters) == 0 {
		return side
	}
	return all(append(characters, side))
}

// holdsWord finds word i, a word in an alphabet, which may be joined to words beside it.
func (m *wordMapping) holdsWord(words []word, i int) query.Query {
	w := words[i].text
	ways := []query.Query{term(fieldAll, w, 1), term(fieldNames, w, weightName), term(fieldJoined, w, weightName)}
	for _, t := range m.stems.Analyze([]byte(w)) {
		ways = append(ways, term(fieldStems, string(t.Term), weightStem))
	}
	if first, _ := utf8.DecodeRuneInString(w); unicode.IsLetter(first) && utf8.RuneCountInString(w) >= minPrefix {
		q := query.NewPrefixQuery(w)
		q.SetField(fieldAll)
		q.SetBoost(weightPrefix)
		ways = append(ways, q)
	}
	for n := 2; n <= 3; n++ {
		for from := max(0, i-n+1); from <= i && from+n <= len(words); from++ {
			if joined, ok := join(words[from : from+n]); ok {
				ways = append(ways, term(fieldAll, joined, 1))
			}
		}
	}
	return either(ways...)
}

func join(words []word) (joined string, ok bool) {
	for _, w := range words {
		if w.text == "" {
			return "", false
		}
		joined += w.text
	}
	return joined, true
}

// stopWord says whether a word in an alphabet says nothing by itself. It may still be a name.
func stopWord(w string) bool {
	switch w {
	case "a", "an", "the", "of", "on", "in", "at", "to", "and", "or", "with", "by", "from", "for", "near",
		"is", "are", "was", "were", "be", "has", "have", "had", "he", "she", "it", "his", "her", "its", "him",
		"who", "that", "this", "there":
		return true
	}
	return false
}

// particle says whether a character within a run says nothing by itself.
func particle(c string) bool {
	switch c {
	case "的", "了", "和", "与", "及", "是", "有", "在", "一", "个", "上", "下", "里", "省", "市", "县", "區", "区", "镇", "鎮", "乡", "鄉", "村", "州", "縣":
		return true
	}
	return false
}
