package server_test

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homeward/client"
	"homeward/registry"
	"homeward/server"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestWhoMayDoWhat asks every route as every role, and as nobody, and holds what is answered against the table that is
// reviewed with every change: testdata/access.golden. A route without a rule keeps the server from starting.
func TestWhoMayDoWhat(t *testing.T) {
	s := newTestServer(t)
	keys := map[registry.Role]string{registry.Visitor: ""}
	for _, role := range registry.Roles {
		if role == registry.Family {
			continue
		}
		_, keys[role], _ = s.as(t, role, registry.Everywhere)
	}
	receipt, err := s.Finder.Registry.ReportCase(t.Context(), registry.Case{Gallery: registry.Missing, Names: []string{"Sample One"}},
		registry.Contact{Name: "Family One", Phone: "1"}, "en")
	if err != nil {
		t.Fatal(err)
	}
	roles := append([]registry.Role{registry.Visitor}, registry.Roles...)

	var table strings.Builder
	for _, route := range server.Routes() {
		method, path, _ := strings.Cut(route, " ")
		var may []string
		for _, role := range roles {
			family := ""
			if role == registry.Family { // one for each route, since some end it
				if family, err = s.Finder.Registry.CreateSession(t.Context(), receipt.Account, "test", time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			status, code := ask(t, s.URL, method, path, func(r *http.Request) {
				switch {
				case family != "":
					r.AddCookie(&http.Cookie{Name: "homeward_session", Value: family})
				case keys[role] != "":
					r.Header.Set("Authorization", "Bearer "+keys[role])
				}
			})
			// What the rule turns away has these answers and no others; whatever lies behind it may say no in its own words.
			allowed := status != http.StatusUnauthorized && code != "forbidden"
			if allowed != server.May(route, role) {
				t.Errorf("%s as %s: %d %s, against the table", route, role, status, code)
			}
			if allowed {
				may = append(may, string(role))
			}
		}
		table.WriteString(route + ": " + strings.Join(may, " ") + "\n")
	}
	golden := filepath.Join("testdata", "access.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if table.String() != string(want) {
		t.Errorf("who may do what has changed. If that is meant, run with -update and review the difference.\n%s", difference(string(want), table.String()))
	}
}

// ask calls a route with ids that name nothing, and without following anywhere; what it would do, it cannot.
func ask(t *testing.T, base, method, path string, as func(*http.Request)) (status int, code string) {
	t.Helper()
	var parts []string
	for _, p := range strings.Split(path, "/") {
		if strings.HasPrefix(p, ":") || strings.HasPrefix(p, "*") {
			p = "none"
		}
		parts = append(parts, p)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+strings.Join(parts, "/"), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	as(req)
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if location := resp.Header.Get("Location"); strings.HasPrefix(location, "/signin?back=") {
		return http.StatusUnauthorized, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p client.Problem
	if json.Unmarshal(body, &p) == nil && p.Type != "" {
		code = p.Code()
	} else if resp.StatusCode == http.StatusForbidden {
		code = "forbidden" // as a page
	}
	return resp.StatusCode, code
}

// difference lists the lines that are in one text and not in the other.
func difference(before, after string) string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	var out []string
	for _, line := range a {
		if !slices.Contains(b, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			out = append(out, "+ "+line)
		}
	}
	return strings.Join(out, "\n")
}
