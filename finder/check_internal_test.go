package finder

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"slices"
	"testing"

	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// TestCheckIndex checks a sound registry, one with a damaged template, and indexes that are not what the registry says.
func TestCheckIndex(t *testing.T) {
	ctx, data := t.Context(), t.TempDir()
	config := Config{Data: data, Models: "../models"}
	f, err := Open(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	var cases []registry.CaseID
	for _, name := range []string{photos.Obama, photos.Biden, photos.Astronaut} {
		c, err := f.Registry.CreateCase(ctx, registry.Case{Gallery: registry.Missing})
		if err != nil {
			t.Fatal(err)
		}
		if p, _, err := f.AddPhoto(ctx, c.ID, NewPhoto{}, bytes.NewReader(photos.Read(t, name))); err != nil || p.State != registry.Analysed {
			t.Fatal(p, err)
		}
		cases = append(cases, c.ID)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	withCare := func(c Config, do func(*Care)) {
		t.Helper()
		care, err := OpenCare(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		do(care)
		if err := care.Close(); err != nil {
			t.Error(err)
		}
	}
	check := func(care *Care) (codes []string) {
		t.Helper()
		n, err := care.Check(ctx, true, nil, func(p registry.Problem) { codes = append(codes, p.Code) })
		if err != nil || n.Photos != 3 {
			t.Error(n, err)
		}
		return codes
	}
	withCare(config, func(care *Care) {
		if codes := check(care); len(codes) > 0 {
			t.Error(codes)
		}
		// Not what the registry says: one case gone from the index, one face's numbers changed, and one face too many.
		g := care.generation
		if err := g.faces.Remove(ctx, string(cases[0])); err != nil {
			t.Fatal(err)
		}
		g.shelf.get(cases[1]).refs[0].vector = make([]float32, g.metric.Dim())
		extra := g.shelf.get(cases[2])
		extra.refs = append(extra.refs, reference{face: "f_extra"})
		seq, err := care.Registry.LastSeq(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found := map[registry.CaseID]string{}
		if err := care.compareIndex(ctx, g, seq, true, func(p registry.Problem) { found[p.Case] += p.Code }); err != nil {
			t.Fatal(err)
		}
		if found[cases[0]] != "index.not_found" || found[cases[1]] != "index.wrong" || found[cases[2]] != "index.extra" {
			t.Error(found)
		}
	})
	// Without the models, the rest is still checked.
	for _, models := range []string{filepath.Join(t.TempDir(), "nothing")} {
		withCare(Config{Data: data, Models: models}, func(care *Care) {
			if codes := check(care); !slices.Equal(codes, []string{"models.other"}) {
				t.Error(codes)
			}
		})
	}
	db, err := sql.Open("sqlite", filepath.Join(data, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE templates SET sealed = CAST(substr(sealed, 1, 50) || iif(substr(sealed, 51, 1) = x'00', x'01', x'00') || substr(sealed, 52) AS BLOB) WHERE rowid = (SELECT min(rowid) FROM templates)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	withCare(config, func(care *Care) {
		if codes := check(care); !slices.Equal(codes, []string{"template.damaged"}) {
			t.Error(codes)
		}
		if _, err := care.Repair(ctx, registry.RepairOptions{}, func(m registry.Mended) {
			if m.Code != "template.damaged" || m.Done == "" {
				t.Error(m)
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
	withCare(config, func(care *Care) {
		if codes := check(care); len(codes) > 0 {
			t.Error(codes)
		}
	})
}
