// Package text is the one place from which everything that people read comes, in each language that Homeward speaks. A
// language is a file beside this one: en.json, zh.json. Another language is another file; nothing else changes.
package text

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

//go:embed *.json
var files embed.FS

// English is the language that every other is translated from, and read in where a translation is missing.
const English = "en"

// Language is one that people can choose.
type Language struct {
	Code string // as in a page's lang: "en", "zh"
	Name string // in the language itself: "English", "中文"
}

// Catalogue holds the messages of all languages.
type Catalogue struct {
	bundle    *i18n.Bundle
	languages []Language
	matcher   language.Matcher
	codes     []string                              // of the matcher's languages, English first
	messages  map[string]map[string]json.RawMessage // by code and key, as the files have them
	scripts   map[string][]byte
}

// Load reads the catalogue that the program was built with.
func Load() (*Catalogue, error) { return read(files) }

func read(files fs.FS) (*Catalogue, error) {
	c := &Catalogue{
		bundle:   i18n.NewBundle(language.English),
		codes:    []string{English},
		messages: map[string]map[string]json.RawMessage{},
		scripts:  map[string][]byte{},
	}
	tags := []language.Tag{language.English}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}
	for _, e := range entries {
		raw, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return nil, fmt.Errorf("text: %w", err)
		}
		code := strings.TrimSuffix(e.Name(), path.Ext(e.Name()))
		var messages map[string]json.RawMessage
		if err := json.Unmarshal(raw, &messages); err != nil {
			return nil, fmt.Errorf("text: %s: %w", e.Name(), err)
		}
		file, err := c.bundle.ParseMessageFileBytes(raw, e.Name())
		if err != nil {
			return nil, fmt.Errorf("text: %s: %w", e.Name(), err)
		}
		var name string
		if err := json.Unmarshal(messages["language.name"], &name); err != nil {
			return nil, fmt.Errorf("text: %s: give the language's own name as language.name: %w", e.Name(), err)
		}
		c.messages[code] = messages
		c.languages = append(c.languages, Language{Code: code, Name: name})
		if code != English {
			tags, c.codes = append(tags, file.Tag), append(c.codes, code)
		}
	}
	if c.messages[English] == nil {
		return nil, fmt.Errorf("text: there is no %s.json", English)
	}
	c.matcher = language.NewMatcher(tags)
	for _, code := range c.codes {
		if c.scripts[code], err = c.script(code); err != nil {
			return nil, fmt.Errorf("text: %s: %w", code, err)
		}
	}
	return c, nil
}

// Languages lists what people can choose from.
func (c *Catalogue) Languages() []Language { return c.languages }

// Pick chooses a language by preferences, the strongest first: codes, or lists as in Accept-Language. What is empty,
// unknown or malformed counts for nothing; English is left where nothing else is.
func (c *Catalogue) Pick(prefs ...string) Printer {
	_, i := language.MatchStrings(c.matcher, prefs...)
	code := c.codes[i]
	return Printer{lang: code, from: c, words: i18n.NewLocalizer(c.bundle, code)}
}

// Printer says things in one language. Pick makes it.
type Printer struct {
	lang  string
	from  *Catalogue
	words *i18n.Localizer
}

// Lang is the language's code, as a page's lang has it.
func (p Printer) Lang() string { return p.lang }

// T is the message of a key. args are names and their values in turn, for the message's {{.Name}}; the whole number named
// Count chooses the plural form. A message that is not translated comes in English; one that does not exist, as its key.
func (p Printer) T(key string, args ...any) string {
	ask := &i18n.LocalizeConfig{MessageID: key}
	if len(args) > 0 {
		values := make(map[string]any, len(args)/2)
		for i := 0; i+1 < len(args); i += 2 {
			values[fmt.Sprint(args[i])] = args[i+1]
		}
		ask.TemplateData = values
		switch n := values["Count"].(type) {
		case int, int64, int32, uint, uint32, uint64:
			ask.PluralCount = n
		}
	}
	// The text of a message is there in spite of errors that tell of a fallback.
	if text, _ := p.words.Localize(ask); text != "" {
		return text
	}
	return key
}

// Date is a date of the registry ("2009", "2009-05", "2009-05-17") as the language writes it.
func (p Printer) Date(date string) string {
	part := strings.Split(date, "-")
	key := [...]string{"date.year", "date.month", "date.day"}
	if date == "" || len(part) > len(key) {
		return date
	}
	args := []any{"Year", part[0]}
	for i, name := range []string{"Month", "Day"} {
		if i+1 < len(part) { // both with its nought and without
			args = append(args, name, part[i+1], name[:1], strings.TrimPrefix(part[i+1], "0"))
		}
	}
	return p.T(key[len(part)-1], args...)
}

// Problem is Catalogue.Problem in the printer's language.
func (p Printer) Problem(code, field string) (text string, ok bool) {
	return p.from.Problem(p.lang, code, field)
}

// Script is the messages that pages' scripts need, those under "js.", as an ES module.
func (c *Catalogue) Script(lang string) []byte {
	if s, ok := c.scripts[lang]; ok {
		return s
	}
	return c.scripts[English]
}

func (c *Catalogue) script(lang string) ([]byte, error) {
	messages := map[string]json.RawMessage{}
	for _, from := range []string{English, lang} {
		for key, m := range c.messages[from] {
			if strings.HasPrefix(key, "js.") {
				messages[key] = m
			}
		}
	}
	raw, err := json.Marshal(messages)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "export default %s;\n", raw), nil
}

// Problem is what the problem of a code means and what to do, where possible about the very field that is wrong. ok is
// false where the language has no words of its own for it.
func (c *Catalogue) Problem(lang, code, field string) (text string, ok bool) {
	for _, key := range []string{"problem." + code + "." + field, "problem." + code} {
		if m, has := c.messages[lang][key]; has && json.Unmarshal(m, &text) == nil {
			return text, true
		}
	}
	return "", false
}
