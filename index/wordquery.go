package index

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/custom"
	"github.com/blevesearch/bleve/v2/analysis/char/asciifolding"
	"github.com/blevesearch/bleve/v2/analysis/lang/cjk"
	"github.com/blevesearch/bleve/v2/analysis/token/edgengram"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/token/shingle"
	unicodewords "github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/bleve/v2/mapping"
	bleveregistry "github.com/blevesearch/bleve/v2/registry"
	"github.com/blevesearch/bleve/v2/search/query"
	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
	"golang.org/x/text/unicode/norm"
)

// What counts as holding a word. Case, accents and width never matter.
//
// A word in an alphabet is held as it is, with another English ending ("birthmarks" for "birthmark"), as the beginning
// of a name or of a place's name (from minBeginning letters on), or, because given names are spelt apart as often as
// together, joined to the words beside it: "Xiaoming" and "Xiao Ming" find each other. Words such as "the" need not be
// held unless there are no others.
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
	fieldAll        = "all"        // every text: words as they are and without endings; characters and pairs of Chinese
	fieldNames      = "names"      // the same of the names alone
	fieldJoined     = "joined"     // the names: two or three adjacent words as one
	fieldBeginnings = "beginnings" // the names and the place: what their words begin with
)

// Weights of the ways to hold a word, relative to holding it as it is.
const (
	weightName      = 3
	weightStem      = 0.5
	weightBeginning = 0.1
)

const (
	// Beginnings are terms of their own. To look all words up that begin with a few letters can take seconds.
	minBeginning, maxBeginning = 3, 12
	// maxTerms is how many words, or characters where those count for words, are looked for; the rest of a query is not.
	maxTerms = 64
)

// wordMapping is how text becomes terms, of a case and of a query.
type wordMapping struct {
	bleve *mapping.IndexMappingImpl
	words analysis.Analyzer
}

func newWordMapping() (*wordMapping, error) {
	m := bleve.NewIndexMapping()
	filters := map[string]map[string]any{
		"pairs and characters": {"type": cjk.BigramName, "output_unigram": true},
		"adjacent as one":      {"type": shingle.Name, "min": 2.0, "max": 3.0, "separator": ""},
		"beginnings":           {"type": edgengram.Name, "min": float64(minBeginning), "max": float64(maxBeginning)},
	}
	for name, config := range filters {
		if err := m.AddCustomTokenFilter(name, config); err != nil {
			return nil, fmt.Errorf("filter %s: %w", name, err)
		}
	}
	analyzers := map[string][]string{
		fieldAll:        {lowercase.Name, stemsName, "pairs and characters"},
		fieldJoined:     {lowercase.Name, "adjacent as one"},
		fieldBeginnings: {lowercase.Name, "beginnings"},
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
		fieldAll: fieldAll, fieldNames: fieldAll, fieldJoined: fieldJoined, fieldBeginnings: fieldBeginnings,
	} {
		f := bleve.NewTextFieldMapping()
		f.Analyzer, f.Store, f.IncludeInAll, f.IncludeTermVectors, f.DocValues = analyzer, false, false, false, false
		doc.AddFieldMappingsAt(field, f)
	}
	m.DefaultMapping = doc
	return &wordMapping{bleve: m, words: m.AnalyzerNamed(fieldAll)}, nil
}

// fields is the case's text as Bleve takes it.
func (t *Text) fields() map[string]any {
	names := make([]string, len(t.Names))
	for i, n := range t.Names {
		names[i] = fold(n)
	}
	places := append(slices.Clone(names), fold(t.Place))
	all := append(slices.Clone(places), fold(t.Marks), fold(t.Notes), fold(t.Ref))
	return map[string]any{fieldAll: all, fieldNames: names, fieldJoined: names, fieldBeginnings: places}
}

// stems is a filter that puts the stem of an English word beside the word where the two differ.
type stems struct{}

const (
	stemsName = "stems beside words"

	// stemToken is the type of the tokens that stems adds. Bleve's own types are small.
	stemToken analysis.TokenType = 100
)

func init() {
	// The only way to bring a filter of one's own into a Bleve mapping.
	err := bleveregistry.RegisterTokenFilter(stemsName, func(map[string]any, *bleveregistry.Cache) (analysis.TokenFilter, error) {
		return stems{}, nil
	})
	if err != nil {
		panic(err)
	}
}

// Filter implements analysis.TokenFilter.
func (stems) Filter(in analysis.TokenStream) analysis.TokenStream {
	out := make(analysis.TokenStream, 0, len(in)*3/2)
	for _, t := range in {
		out = append(out, t)
		if t.Type != analysis.AlphaNumeric {
			continue
		}
		env := snowballstem.NewEnv(string(bytes.TrimSuffix(t.Term, []byte("'s"))))
		english.Stem(env)
		if stem := env.Current(); stem != string(t.Term) && stem != "" {
			out = append(out, &analysis.Token{Term: []byte(stem), Start: t.Start, End: t.End, Position: t.Position, Type: stemToken})
		}
	}
	return out
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
	stem       string   // where it is another
	characters []string // of a run, each once
	pairs      []string // those side by side, each once
}

func (w word) same(as word) bool {
	return w.text == as.text && slices.Equal(w.pairs, as.pairs) && slices.Equal(w.characters, as.characters)
}

// parse takes a query's text apart.
func (m *wordMapping) parse(text string) []word {
	var words []word
	end := -1 // of the last character of a run
	terms := 0
	for _, t := range m.words.Analyze([]byte(fold(text))) {
		term := string(t.Term)
		if t.Type != analysis.Double && t.Type != stemToken {
			if terms++; terms > maxTerms {
				break
			}
		}
		switch t.Type {
		case analysis.Single: // and then the pair it begins
			if t.Start != end {
				words = append(words, word{})
			}
			end = t.End
			run := &words[len(words)-1]
			run.characters = appendNew(run.characters, term)
		case analysis.Double:
			run := &words[len(words)-1]
			run.pairs = appendNew(run.pairs, term)
		case stemToken:
			words[len(words)-1].stem = term
		default:
			words = append(words, word{text: term})
			end = -1
		}
	}
	return words
}

func appendNew(to []string, s string) []string {
	if slices.Contains(to, s) {
		return to
	}
	return append(to, s)
}

// query is what finds the cases that hold every word of text.
func (m *wordMapping) query(text string) query.Query {
	words := m.parse(text)
	var must, may []query.Query
	for i, w := range words {
		if slices.ContainsFunc(words[:i], w.same) {
			continue
		}
		var q query.Query
		if w.text == "" {
			q = holdsRun(w)
		} else {
			q = holdsWord(words, i)
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
	switch len(w.pairs) {
	case 0:
		return holds(w.characters[0])
	case 1:
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
	side := atLeast(max(1, (len(pairs)+1)/3), pairs)
	if len(characters) == 0 {
		return side
	}
	return all(append(characters, side))
}

// holdsWord finds word i, a word in an alphabet, which may be joined to words beside it.
func holdsWord(words []word, i int) query.Query {
	w := words[i]
	ways := []query.Query{
		term(fieldAll, w.text, 1), term(fieldNames, w.text, weightName),
		term(fieldJoined, w.text, weightName), term(fieldBeginnings, w.text, weightBeginning),
	}
	if w.stem != "" {
		ways = append(ways, term(fieldAll, w.stem, weightStem))
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
