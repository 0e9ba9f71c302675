package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// wordCases are invented; the names stand for no one.
var wordCases = map[string]struct {
	facts Facts
	text  Text
}{
	"chengdu": {Facts{Gallery: "missing", Sex: "female", Status: "open", BornFrom: 2009, BornTo: 2009}, Text{
		Names: []string{"张小明", "Zhang Xiaoming"}, Place: "四川省成都市锦江区", Marks: "左臂内侧有一块红色胎记", Notes: "失踪时穿蓝色外套", Ref: "SC-2012-00417"}},
	"kunming": {Facts{Gallery: "missing", Sex: "male", Status: "open", BornFrom: 2011, BornTo: 2012}, Text{
		Names: []string{"李安", "An Li"}, Place: "云南昆明", Marks: "右耳后有痣", Notes: "会说四川话"}},
	"marks": {Facts{Gallery: "found", Sex: "female", Status: "open"}, Text{
		Names: nil, Place: "Chengdu railway station", Marks: "Two birthmarks on the left arm; burned right hand", Notes: "Speaks a little Mandarin. Child's coat: blue."}},
	"scar": {Facts{Gallery: "found", Sex: "male", Status: "closed", BornFrom: 2008, BornTo: 2010}, Text{
		Names: []string{"José Núñez", "Pepe"}, Place: "São Tomé, near the harbour", Marks: "Scar left arm", Notes: "Found 3 May"}},
	"mixed": {Facts{Gallery: "missing", Sex: "male", Status: "open"}, Text{
		Names: []string{"王Tom", "Wang Xiao Hong"}, Place: "Shanghai 上海浦东", Marks: "birthmark 胎记 on the neck", Notes: "血型A型, ＱＱ号 missing"}},
	"kana": {Facts{Gallery: "found"}, Text{
		Names: []string{"さくら", "ｻｸﾗ"}, Place: "東京", Marks: "", Notes: "O'Neil family; Jean-Pierre's school"}},
}

func loadWords(t testing.TB) *Words {
	w, err := NewWords()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for id, c := range wordCases {
		if err := w.Replace(context.Background(), id, c.facts, c.text); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// found is the ids a query finds, best first, after checking that Matching finds the same.
func found(t testing.TB, w *Words, query string, f Filter) []string {
	t.Helper()
	ctx := context.Background()
	hits, err := w.Search(ctx, query, f, 1_000_000, 0)
	if err != nil {
		t.Fatalf("%q: %v", query, err)
	}
	matching, err := w.Matching(ctx, query, f)
	if err != nil {
		t.Fatalf("%q: %v", query, err)
	}
	ids := make([]string, len(hits))
	for i, h := range hits {
		if _, in := matching[h.Case]; !in {
			t.Errorf("%q: %s is found but does not match", query, h.Case)
		}
		ids[i] = h.Case
	}
	if len(matching) != len(hits) {
		t.Errorf("%q: %d match, %d are found", query, len(matching), len(hits))
	}
	return ids
}

func TestWordsFind(t *testing.T) {
	w := loadWords(t)
	for _, tt := range []struct{ query, want string }{
		// The two that started it.
		{"胎记 左臂 成都", "chengdu"},
		{"birthmark left arm", "marks"},

		// Every word must be there, in whatever field.
		{"胎记", "chengdu mixed"},
		{"胎记 昆明", ""},
		{"scar harbour", "scar"},
		{"scar chengdu", ""},
		{"left arm", "marks scar"},

		// Endings, case, accents, width, apostrophes, hyphens.
		{"BIRTHMARKS", "marks mixed"},
		{"burn hands", "marks"},
		{"child coats", "marks"},
		{"jose nunez", "scar"},
		{"José NÚÑEZ", "scar"},
		{"Jose\u0301 Nun\u0303ez", "scar"},
		{"sao tome", "scar"},
		{"ＳＣＡＲ", "scar"},
		{"QQ", "mixed"},
		{"o'neil", "kana"},
		{"O’Neil", "kana"},
		{"jean-pierre", "kana"},
		{"Jean Pierre school", "kana"},

		// Words that say nothing by themselves, unless they are all there is.
		{"scar on the left arm", "scar"},
		{"a birthmark on his left arm", "marks"},
		{"the", "marks mixed scar"},
		{"an", "kunming"},
		{"an li", "kunming"},

		// Beginnings of names and places, but not of other words, and not of two letters.
		{"xiaom", "chengdu"},
		{"zha", "chengdu"},
		{"zh", ""},
		{"cheng", "marks"},
		{"núñ", "scar"},
		{"manda", ""},
		{"00417", "chengdu"},
		{"sc-2012-00417", "chengdu"},

		// Given names spelt together or apart.
		{"zhang xiao ming", "chengdu"},
		{"xiao ming", "chengdu"},
		{"zhangxiaoming", "chengdu"},
		{"xiaohong", "mixed"},
		{"wang xiaohong", "mixed"},
		{"wangxiaohong", "mixed"},
		{"xiao hong", "mixed"},
		{"ming xiao", ""},

		// Chinese: one character, two, a name, words without spaces between them, ends of place names.
		{"痣", "kunming"},
		{"左", "chengdu"},
		{"李", "kunming"},
		{"张小明", "chengdu"},
		{"小明", "chengdu"},
		{"张明", ""},
		{"成都市", "chengdu"},
		{"昆明市", "kunming"},
		{"左臂胎记", "chengdu"},
		{"红色胎记", "chengdu"},
		{"胎记在左臂", "chengdu"},
		{"四川", "chengdu kunming"},
		{"蓝色外套 张小明", "chengdu"},
		{"成都张小明", "chengdu"},
		{"右臂胎记", ""},
		{"上海", "mixed"},
		{"的", ""},
		{"宝宝", ""},
		{"左臂左臂左臂", "chengdu"},

		// Both scripts in one field, with or without a space.
		{"birthmark 胎记", "mixed"},
		{"王tom", "mixed"},
		{"tom 上海", "mixed"},
		{"A型", "mixed"},
		{"さくら", "kana"},
		{"サクラ", "kana"},
		{"東京", "kana"},

		// Nothing to look for narrows nothing.
		{"", "chengdu kana kunming marks mixed scar"},
		{" ?!。，\t", "chengdu kana kunming marks mixed scar"},
		{"nothing like it", ""},
		{"麒麟", ""},
	} {
		got := found(t, w, tt.query, Filter{})
		slices.Sort(got)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q finds %q, want %q", tt.query, got, tt.want)
		}
	}
}

func TestWordsRank(t *testing.T) {
	w := loadWords(t)
	ctx := context.Background()
	replace := func(id string, text Text) {
		if err := w.Replace(ctx, id, Facts{}, text); err != nil {
			t.Fatal(err)
		}
	}
	replace("name", Text{Names: []string{"Rosa Quill"}, Notes: "was last seen with her grandmother near the market by the river"})
	replace("note", Text{Names: []string{"Nobody"}, Notes: "plays with Rosa"})
	replace("longer", Text{Names: []string{"Rosalind Quillon"}})
	replace("together", Text{Marks: "额头伤疤"})
	replace("apart", Text{Marks: "伤口在额头，头上有疤，伤疤"})
	for _, tt := range []struct{ query, want string }{
		{"rosa", "name note longer"}, // a name before a note, a word before the beginning of one
		{"额头伤疤", "together apart"},
		{"an li", "kunming"},
	} {
		if got := strings.Join(found(t, w, tt.query, Filter{}), " "); got != tt.want {
			t.Errorf("%q ranks %q, want %q", tt.query, got, tt.want)
		}
	}
}

func TestWordsFilter(t *testing.T) {
	w := loadWords(t)
	for _, tt := range []struct {
		query  string
		filter Filter
		want   string
	}{
		{"", Filter{Gallery: "found"}, "kana marks scar"},
		{"left arm", Filter{Gallery: "found", Sex: "female"}, "marks"},
		{"left arm", Filter{Statuses: []string{"open"}}, "marks"},
		{"胎记", Filter{BornFrom: 2010}, "mixed"}, // whose year of birth is not known
		{"胎记", Filter{Except: "mixed"}, "chengdu"},
		{"四川", Filter{Among: map[string]struct{}{"kunming": {}}}, "kunming"},
	} {
		got := found(t, w, tt.query, tt.filter)
		slices.Sort(got)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q under %+v finds %q, want %q", tt.query, tt.filter, got, tt.want)
		}
	}
}

func TestWordsChange(t *testing.T) {
	w := loadWords(t)
	ctx := context.Background()
	expect := func(query, want string) {
		t.Helper()
		if got := strings.Join(found(t, w, query, Filter{}), " "); got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
	c := wordCases["scar"]
	c.text.Marks = "mole on the chin"
	if err := w.Replace(ctx, "scar", c.facts, c.text); err != nil {
		t.Fatal(err)
	}
	expect("scar", "")
	expect("mole chin", "scar")
	for range 2 { // forgetting twice is no error
		if err := w.Remove(ctx, "scar"); err != nil {
			t.Fatal(err)
		}
	}
	expect("mole chin", "")
	if err := w.Replace(ctx, "scar", c.facts, c.text); err != nil {
		t.Fatal(err)
	}
	expect("mole chin", "scar")
}

// TestWordsPages expects the pages of a ranking full of ties to hold every case once.
func TestWordsPages(t *testing.T) {
	w := loadWords(t)
	ctx := context.Background()
	b := w.NewBatch()
	for i := range 300 {
		if err := b.Replace(ctx, fmt.Sprintf("c%03d", i), Facts{}, Text{Marks: "dimple"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	var pages []WordHit
	for {
		hits, err := w.Search(ctx, "dimple", Filter{}, 7, len(pages))
		if err != nil {
			t.Fatal(err)
		}
		if len(hits) == 0 {
			break
		}
		pages = append(pages, hits...)
	}
	if len(pages) != 300 || !slices.IsSortedFunc(pages, func(a, b WordHit) int { return strings.Compare(a.Case, b.Case) }) {
		t.Errorf("%d cases over all pages, want 300 by id", len(pages))
	}
}

// TestWordsChurn changes cases one by one and expects few segments and the right answers throughout.
func TestWordsChurn(t *testing.T) {
	w, err := NewWords()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 1))
	now := map[string]int{}
	for i := range 3000 {
		id := fmt.Sprint("c", rng.IntN(400))
		if rng.IntN(5) == 0 {
			delete(now, id)
			err = w.Remove(ctx, id)
		} else {
			now[id] = rng.IntN(20)
			err = w.Replace(ctx, id, Facts{}, Text{Marks: fmt.Sprint("kind", now[id])})
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(w.segments); n > 3*tierSegments {
			t.Fatalf("%d cases are in %d segments", len(now), n)
		}
		if i%100 == 0 {
			kind := rng.IntN(20)
			var want []string
			for id, k := range now {
				if k == kind {
					want = append(want, id)
				}
			}
			got := found(t, w, fmt.Sprint("kind", kind), Filter{})
			got = slices.DeleteFunc(got, func(id string) bool { return now[id] != kind }) // kind1 begins kind12
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("kind %d is %v, want %v", kind, got, want)
			}
		}
	}
}

func TestWordsAtOnce(t *testing.T) {
	w := loadWords(t)
	ctx := context.Background()
	var all sync.WaitGroup
	for n := range 2 {
		all.Go(func() {
			for i := range 300 {
				id := fmt.Sprint("passing", n, i%7)
				if err := w.Replace(ctx, id, Facts{}, Text{Notes: "passing by"}); err != nil {
					t.Error(err)
				}
				if err := w.Remove(ctx, id); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 200 {
				hits, err := w.Search(ctx, "胎记 左臂 成都", Filter{}, 10, 0)
				if err != nil || len(hits) != 1 || hits[0].Case != "chengdu" {
					t.Errorf("while others change: %v (%v)", hits, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// FuzzWords expects no text, of a case or of a query, to be an error, and a case to be found by its own words.
func FuzzWords(f *testing.F) {
	for _, s := range []string{
		"+ - * ? ~ ^ : \" ( ) [ ] { } / \\ && || !", "names:x AND NOT (y", "/[/", "a*", "*", "\"unclosed", "^3", "x~9999", "-",
		"胎记 左臂 成都", "ｻｸﾗ", "王Tom血A型", "\x00\xff\xfe", "e\u0301\u0301", "\u200d\u200b", "👨‍👩‍👧", "한국어 ไทย हिन्दी עברית", "张", "一个的",
		"ｶﾞｷﾞ゛゜", "a\u0300胎\u0300记", strings.Repeat("胎", 300), strings.Repeat("a ", 300), strings.Repeat("x", 5000),
	} {
		f.Add(s)
	}
	w := loadWords(f)
	f.Fuzz(func(t *testing.T, s string) {
		ctx := context.Background()
		if err := w.Replace(ctx, "fuzz", Facts{}, Text{Names: []string{s}, Notes: s, Ref: s}); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(found(t, w, s, Filter{}), "fuzz") {
			t.Fatalf("a case is not found by its own words, %q", s)
		}
	})
}
