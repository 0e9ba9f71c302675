package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestSecurityPageNamesTests: docs/security.md says of each threat which test shows what stops it. Those tests must be there.
func TestSecurityPageNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]bool)
	files, err := filepath.Glob("../../*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllSubmatch(source, -1) {
			tests[filepath.Base(filepath.Dir(name))+"."+string(m[1])] = true
		}
	}
	named := regexp.MustCompile("`([a-z]+\\.(?:Test|Fuzz)\\w+)`").FindAllSubmatch(page, -1)
	if len(named) < 50 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !tests[string(m[1])] {
			t.Errorf("docs/security.md names %s, which is no test", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:server|registry|engine|cmd)/[\\w/.]+)`").FindAllSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join("../..", string(m[1]))); err != nil {
			t.Errorf("docs/security.md names %s: %v", m[1], err)
		}
	}
}
