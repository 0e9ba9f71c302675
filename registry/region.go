package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Region is a part of the world that cases belong to. Its code covers the codes that go on behind it with a hyphen.
type Region struct {
	Code  string            `json:"code"`
	Names map[string]string `json:"names"` // by language
}

// Name is the region's name in a language, or else in English, or else any.
func (g Region) Name(language string) string {
	base, _, _ := strings.Cut(language, "-")
	for _, l := range []string{language, base, "en"} {
		if name := g.Names[l]; name != "" {
			return name
		}
	}
	for _, l := range slices.Sorted(maps.Keys(g.Names)) { // the same one every time
		if g.Names[l] != "" {
			return g.Names[l]
		}
	}
	return g.Code
}

// PutRegion adds a region or changes its names. *FieldError for a code that is not letters, digits and hyphens.
func (r *Registry) PutRegion(ctx context.Context, g Region) error {
	what := fmt.Sprintf("put region %.40q", g.Code)
	if err := g.tidy(); err != nil {
		return wrap(err, "%s", what)
	}
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO regions (code, names) VALUES (?, ?) ON CONFLICT (code) DO UPDATE SET names = excluded.names",
			g.Code, jsonText(g.Names)); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "region.changed", Subject: g.Code})
	})
}

func (g *Region) tidy() error {
	g.Code = strings.ToUpper(g.Code)
	if len(g.Code) > MaxRegion || !hyphened(g.Code) {
		return &FieldError{"code", fmt.Sprintf("must be letters and digits, with a hyphen between a region and one in it, as CN-51; at most %d", MaxRegion)}
	}
	if len(g.Names) == 0 {
		return &FieldError{"names", "is empty; give the region's name in one language at least, as en=Sichuan"}
	}
	names := make(map[string]string, len(g.Names)) // the caller's map stays as it is
	for language, name := range g.Names {
		if !hyphened(language) {
			return &FieldError{"names", fmt.Sprintf("has %.20q where a language belongs; write it as en or zh", language)}
		}
		name, err := line("names", name, MaxName)
		if err != nil {
			return err
		}
		if name == "" {
			return &FieldError{"names", "has an empty entry; leave it out"}
		}
		names[language] = name
	}
	g.Names = names
	return nil
}

// hyphened says whether text is ASCII letters and digits with single hyphens between them.
func hyphened(text string) bool {
	for part := range strings.SplitSeq(text, "-") {
		if part == "" || strings.ContainsFunc(part, func(c rune) bool {
			return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
		}) {
			return false
		}
	}
	return true
}

// Regions lists all regions by code.
func (r *Registry) Regions(ctx context.Context) ([]Region, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT code, names FROM regions ORDER BY code")
	if err != nil {
		return nil, wrap(err, "list regions")
	}
	defer rows.Close()
	var out []Region
	for rows.Next() {
		var g Region
		var names string
		if err := rows.Scan(&g.Code, &names); err != nil {
			return nil, wrap(err, "list regions")
		}
		if err := json.Unmarshal([]byte(names), &g.Names); err != nil {
			return nil, fmt.Errorf("names of region %s: %w: %w", g.Code, ErrCorrupt, err)
		}
		out = append(out, g)
	}
	return out, wrap(rows.Err(), "list regions")
}

// knownRegion refuses a code that is no region's; none at all is fine.
func knownRegion(ctx context.Context, tx *sql.Tx, code string) error {
	if code == "" {
		return nil
	}
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM regions WHERE code = ?", code).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return &FieldError{"region", fmt.Sprintf("%.40q is not known; choose one of the regions, or none", code)}
	}
	return err
}

// covered is Covers as a condition on a column; its one value is the account's regions as JSON.
func covered(column string) string {
	return fmt.Sprintf("(%[1]s = '' OR EXISTS (SELECT 1 FROM json_each(?) g WHERE g.value = '*' OR instr(%[1]s || '-', g.value || '-') = 1))", column)
}

// under is the condition that a column names the region of its one value, one under it, or none.
func under(column string) string {
	return fmt.Sprintf("(%[1]s = '' OR instr(%[1]s || '-', ? || '-') = 1)", column)
}
