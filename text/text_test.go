package text

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"text/template"
	"unicode"
)

// Where messages are asked for.
var sources = []string{"../*/*.go", "../cmd/*/*.go", "../server/web/*.html", "../server/web/static/*.js"}

// dynamic are the beginnings of keys that are put together where they are asked for. All that begins so counts as used.
var dynamic = []string{
	"date.", "js.date.", // by precision
	"purpose.",                 // by the stored choice
	"problem.",                 // by the code of a problem, and by field
	"role.", "accounts.state.", // of an account
	"audit.", "history.field.", // by action and by field
	"case.closed_as.",                          // by why
	"desk.tab.", "lead.state.", "lead.source.", // of a lead
	"lead.others.", "lead.photos.", // by side
	"verdict.finding.", "verdict.not.", "verdict.seat.", // of a verdict
	"dna.result.", "dna.whose.", // of a sample
	"publish.state.", // of a publication
	"report.",        // by field
	// By the codes of a job.
	"jobs.kind.", "jobs.state.", "jobs.wish.", "jobs.stage.", "jobs.count.", "jobs.fault.",
	"photo.reason.",    // by an engine.Reason
	"factor.", "fact.", // by what two records say
	"evidence.others.",                      // by gallery
	"evidence.same.", "evidence.different.", // by what may be claimed
	"js.band.", "js.evidence.direction.", // by band, by sign
	"js.search.none_", "js.search.missing", "js.search.found", // by gallery
}

// unchanged is what Chinese writes in Latin letters too.
var unchanged = regexp.MustCompile(`DNA|UTC|log₁₀ LR`)

// used finds messages asked for: {{.T "key"}} and {{$.T "key"}} in pages, t('js.key') in scripts, p.T("key") in Go.
var used = regexp.MustCompile(`\.T[( ]"([^"]+)"|\bt\('(js\.[^']+)'|\bparts\('(js\.[^']+)'`)

var (
	placeholder = regexp.MustCompile(`{{\.\w+}}`)
	entity      = regexp.MustCompile(`&\w+;`)
	quoted      = regexp.MustCompile("[\"'`]([a-z0-9_]+(?:\\.[a-z0-9_]+)*)[\"'`]")
)

// forms are a message's texts, by plural form; one without forms has "other" alone.
func forms(t *testing.T, raw json.RawMessage) map[string]string {
	t.Helper()
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return map[string]string{"other": one}
	}
	var out map[string]string
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%s is neither a text nor plural forms: %v", raw, err)
	}
	return out
}

func load(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func placeholders(text string) []string {
	names := placeholder.FindAllString(text, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

// TestLanguagesAgree reads every message of every language: none is missing, left over, untranslated or broken.
func TestLanguagesAgree(t *testing.T) {
	c := load(t)
	english := c.messages[English]
	for _, l := range c.Languages() {
		messages := c.messages[l.Code]
		for key := range english {
			if messages[key] == nil {
				t.Errorf("%s.json lacks %q", l.Code, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(messages)) {
			if english[key] == nil {
				t.Errorf("%s.json has %q, which is not in English", l.Code, key)
				continue
			}
			var want []string
			for _, text := range forms(t, english[key]) {
				want = append(want, placeholders(text)...)
			}
			has := forms(t, messages[key])
			if has["other"] == "" {
				t.Errorf("%s: %s has no text for other numbers", l.Code, key)
			}
			for form, text := range has {
				at := fmt.Sprintf("%s: %s (%s)", l.Code, key, form)
				check(t, at, text)
				// A date may have its month and day with their noughts or without.
				if got := placeholders(text); form == "other" && !strings.Contains("."+key, ".date.") {
					slices.Sort(want)
					if want = slices.Compact(want); !slices.Equal(got, want) {
						t.Errorf("%s has placeholders %v, English has %v: %q", at, got, want, text)
					}
				}
				if l.Code == "zh" && foreign(text) {
					t.Errorf("%s is not translated: %q", at, text)
				}
			}
		}
	}
}

// foreign says whether a text has letters, but none of Chinese.
func foreign(text string) bool {
	text = unchanged.ReplaceAllString(placeholder.ReplaceAllString(text, ""), "")
	return strings.ContainsFunc(text, unicode.IsLetter) && !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

// check finds what would break or look wrong wherever a text is shown.
func check(t *testing.T, at, text string) {
	t.Helper()
	if _, err := template.New("").Parse(text); err != nil {
		t.Errorf("%s: %v", at, err)
	}
	if rest := placeholder.ReplaceAllString(text, ""); strings.ContainsAny(rest, "{}<>") || entity.MatchString(rest) {
		t.Errorf("%s holds markup, or a placeholder that is more than {{.Name}}: %q", at, text)
	}
	if strings.TrimSpace(text) == "" {
		t.Errorf("%s is empty", at)
	}
}

// TestKeysAreUsed reads the sources: what they ask for is in the catalogue, and the catalogue has nothing else.
func TestKeysAreUsed(t *testing.T) {
	english := load(t).messages[English]
	said := map[string]bool{}
	for _, pattern := range sources {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range quoted.FindAllStringSubmatch(string(raw), -1) {
				said[m[1]] = true
			}
			for _, m := range used.FindAllStringSubmatch(string(raw), -1) {
				if key := m[1] + m[2] + m[3]; english[key] == nil && !strings.HasSuffix(key, ".") && !strings.HasSuffix(key, "_") {
					t.Errorf("%s asks for %q, which is not in en.json", file, key)
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(english)) {
		if key == "language.name" || slices.ContainsFunc(dynamic, func(p string) bool { return strings.HasPrefix(key, p) }) {
			continue
		}
		if !said[key] {
			t.Errorf("nothing asks for %q: take it out of every language", key)
		}
	}
}

func TestPick(t *testing.T) {
	c := load(t)
	for name, tc := range map[string]struct {
		prefs []string
		want  string
	}{
		"nothing":                 {nil, "en"},
		"nobody chose":            {[]string{"", "", ""}, "en"},
		"chosen":                  {[]string{"zh", "", "en-GB,en;q=0.9"}, "zh"},
		"English chosen":          {[]string{"en", "zh", "zh-CN"}, "en"},
		"the account's":           {[]string{"", "zh", "en"}, "zh"},
		"the browser's":           {[]string{"", "", "zh-CN,zh;q=0.9,en;q=0.8"}, "zh"},
		"by its weight":           {[]string{"", "", "en;q=0.5,zh;q=0.9"}, "zh"},
		"of Taiwan":               {[]string{"zh-TW"}, "zh"},
		"of Singapore":            {[]string{"zh-Hans-SG"}, "zh"},
		"one that we do not have": {[]string{"fr", "", "fr-FR,zh;q=0.3"}, "zh"},
		"none that we have":       {[]string{"fr", "de"}, "en"},
		"malformed":               {[]string{"../../etc", "\x00", "zh"}, "zh"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.Pick(tc.prefs...).Lang(); got != tc.want {
				t.Errorf("%q gives %s, want %s", tc.prefs, got, tc.want)
			}
		})
	}
}

func TestT(t *testing.T) {
	c := load(t)
	for _, tc := range []struct {
		lang, key string
		args      []any
		want      string
	}{
		{"en", "case.photo.taken", []any{"Date", "2009"}, "Taken 2009"},
		{"zh", "case.photo.taken", []any{"Date", "2009年"}, "2009年拍摄"},
		{"en", "photo.choose", []any{"Count", 2}, "2 faces were found. Choose the child's."},
		{"en", "photo.choose", []any{"Count", 1}, "1 face was found. Choose the child's."},
		{"zh", "photo.choose", []any{"Count", 2}, "照片中有 2 张脸，请选择孩子的脸。"},
		{"en", "no.such.key", nil, "no.such.key"},
		{"zh", "no.such.key", []any{"Count", 1}, "no.such.key"},
		// Strangers' words are no templates.
		{"en", "case.photo.taken", []any{"Date", "{{.Secret}}"}, "Taken {{.Secret}}"},
	} {
		if got := c.Pick(tc.lang).T(tc.key, tc.args...); got != tc.want {
			t.Errorf("%s %s %v is %q, want %q", tc.lang, tc.key, tc.args, got, tc.want)
		}
	}
}

// TestThirdLanguage adds a language as its translator would: a file, and not a whole one yet.
func TestThirdLanguage(t *testing.T) {
	english, err := files.ReadFile("en.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := read(fstest.MapFS{
		"en.json": {Data: english},
		"de.json": {Data: []byte(`{"language.name": "Deutsch", "case.photo.taken": "Aufgenommen {{.Date}}", "js.case.saving": "Wird gespeichert"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Language{{"de", "Deutsch"}, {"en", "English"}}; !slices.Equal(c.Languages(), want) {
		t.Errorf("the languages are %v, want %v", c.Languages(), want)
	}
	if lang := c.Pick("fr").Lang(); lang != English {
		t.Errorf("who reads neither reads %s", lang)
	}
	german := c.Pick("de-AT,en;q=0.5")
	for key, want := range map[string]string{
		"case.photo.taken": "Aufgenommen 2009",
		"case.unnamed":     "Name unknown",
		"photo.choose":     "1 face was found. Choose the child's.",
	} {
		if got := german.T(key, "Date", "2009", "Count", 1); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	script := string(c.Script("de"))
	if !strings.Contains(script, `"Wird gespeichert"`) || !strings.Contains(script, `"js.case.closed":"Closed"`) {
		t.Errorf("the script is not German over English: %.300s", script)
	}
	if said, ok := german.Problem("not_found", ""); ok {
		t.Errorf("a problem without a translation is %q", said)
	}
	for name, file := range map[string]string{"no JSON": `{`, "no name": `{"case.unnamed": "ohne Namen"}`, "a list": `[]`} {
		if _, err := read(fstest.MapFS{"en.json": {Data: english}, "de.json": {Data: []byte(file)}}); err == nil {
			t.Errorf("%s is taken for a language", name)
		}
	}
	if _, err := read(fstest.MapFS{"de.json": {Data: []byte(`{"language.name": "Deutsch"}`)}}); err == nil {
		t.Error("a catalogue without English is taken")
	}
}

func TestDate(t *testing.T) {
	c := load(t)
	for date, want := range map[string][2]string{
		"":           {"", ""},
		"2009":       {"2009", "2009年"},
		"2009-05":    {"2009-05", "2009年5月"},
		"2009-05-17": {"2009-05-17", "2009年5月17日"},
		"2009-12-01": {"2009-12-01", "2009年12月1日"},
	} {
		if got := [2]string{c.Pick("en").Date(date), c.Pick("zh").Date(date)}; got != want {
			t.Errorf("%q is %q, want %q", date, got, want)
		}
	}
}

func TestProblem(t *testing.T) {
	c := load(t)
	general, ok := c.Problem("zh", "invalid", "")
	if !ok {
		t.Fatal("there are no general words for what is invalid")
	}
	if special, ok := c.Problem("zh", "invalid", "born.to"); !ok || special == general {
		t.Errorf("a wrong end of the birth's range is %q, %v", special, ok)
	}
	if other, ok := c.Problem("zh", "invalid", "no.such.field"); !ok || other != general {
		t.Errorf("a field without words of its own is %q, %v", other, ok)
	}
	if got, ok := c.Pick("zh").Problem("not_found", ""); !ok || got == "" {
		t.Errorf("what is not found is %q, %v", got, ok)
	}
}

func TestScript(t *testing.T) {
	c := load(t)
	for _, lang := range []string{"en", "zh", "unknown"} {
		script := string(c.Script(lang))
		raw, ok := strings.CutPrefix(script, "export default ")
		raw, end := strings.CutSuffix(raw, ";\n")
		var messages map[string]any
		if err := json.Unmarshal([]byte(raw), &messages); err != nil || !ok || !end {
			t.Fatalf("%s: %v in %.40q", lang, err, script)
		}
		for key := range c.messages[English] {
			if _, has := messages[key]; has != strings.HasPrefix(key, "js.") {
				t.Errorf("%s: the script has %q: %v", lang, key, has)
			}
		}
		if strings.Contains(script, "<") {
			t.Errorf("%s: markup in the script", lang)
		}
	}
	if en, zh := string(c.Script("en")), string(c.Script("zh")); en == zh || string(c.Script("unknown")) != en {
		t.Error("the scripts of two languages are one, or an unknown language has its own")
	}
}
