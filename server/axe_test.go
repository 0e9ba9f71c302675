package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	photos "homeward/internal/testphotos"
)

// barrier is something that axe-core, a checker for accessibility, found on a page.
type barrier struct {
	ID, Impact, Help, HelpURL string
	Nodes                     []struct {
		HTML, FailureSummary string
	}
}

// axe is the checker's program. A page's policy forbids it as a script of the page; what the test evaluates is not the page's.
func axe(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(photos.Dir(), "axe.min.js"))
	if err != nil {
		t.Fatalf("%v: run scripts/setup, which fetches it", err)
	}
	return string(source)
}

// accessible fails where the page keeps someone out: the rules of WCAG 2.1 to level AA in light colours, and contrast in dark ones.
func (b *browser) accessible(axe, name string) {
	b.t.Helper()
	if !b.is(`window.axe`) {
		b.do(chromedp.Evaluate[chromedp.Void](axe))
	}
	b.barriers(name, `{ type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }`)
	b.colours("dark")
	b.barriers(name+", dark", `{ type: "rule", values: ["color-contrast"] }`)
	b.colours("light")
}

func (b *browser) barriers(name, rules string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[string](
		`axe.run(document, { runOnly: `+rules+`, resultTypes: ["violations"] }).then(r => JSON.stringify(r.violations))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fatal(fmt.Errorf("axe on %s: %w", name, err))
	}
	var found []barrier
	if err := json.Unmarshal([]byte(raw), &found); err != nil {
		b.fatal(err)
	}
	for _, f := range found {
		if f.Impact != "serious" && f.Impact != "critical" {
			continue
		}
		var where []string
		for _, n := range f.Nodes {
			where = append(where, "  "+n.HTML+"\n    "+strings.ReplaceAll(n.FailureSummary, "\n", "\n    "))
		}
		b.t.Errorf("%s: %s (%s): %s, see %s\n%s", name, f.ID, f.Impact, f.Help, f.HelpURL, strings.Join(where, "\n"))
	}
}

// colours turns to light or dark colours.
func (b *browser) colours(scheme string) {
	b.t.Helper()
	b.media("", scheme)
}

// media shows the page as on a screen or, with "print", on paper.
func (b *browser) media(media, scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		b.fatal(err)
	}
}
