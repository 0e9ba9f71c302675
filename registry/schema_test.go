package registry

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

// registryOf makes the folder of a registry of an earlier schema, with what the statement puts in.
func registryOf(t *testing.T, version int, statement string, args ...any) (dir string) {
	t.Helper()
	names, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, name := range names[:version] {
		text, err := migrations.ReadFile("migrations/" + name.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(string(text)); err != nil {
			t.Fatal(name, err)
		}
	}
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = " + string(rune('0'+version))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "photos"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMigrate opens a registry of every earlier schema, with a case and a photo in it: they stay, and it is as one made new.
func TestMigrate(t *testing.T) {
	names, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	schema := func(r *Registry) string {
		t.Helper()
		var all string
		if err := r.readers.QueryRow("SELECT group_concat(sql, ';' ORDER BY name) FROM sqlite_schema WHERE sql IS NOT NULL").Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	latest := schema(open(t, t.TempDir(), Options{}))
	for version := 1; version < len(names); version++ {
		// Written as the first Homeward did, whatever the code has become.
		dir := registryOf(t, version, `INSERT INTO cases (id, gallery, status, names, sex, born_from, born_to, place, on_date, marks, notes, ref, key,
				created_at, updated_at, version) VALUES ('c_old', 'missing', 'open', '["Name"]', '', '2009', '2010', 'Place', '', '', '', 'R1', x'00', 1, 1, 3);
			INSERT INTO photos (id, case_id, file, digest, name, format, size, width, height, taken, taken_by, state, model_set, added_at)
				VALUES ('p_old', 'c_old', 'f', x'00', 'a.jpg', 'jpeg', 1, 1, 1, '2011', 'exif', 'analysed', 'ms.a', 1)`)
		r := open(t, dir, Options{Existing: true})
		if got := schema(r); got != latest {
			t.Errorf("from version %d:\n%s\nnew:\n%s", version, got, latest)
		}
		c, err := r.Case(t.Context(), "c_old")
		if err != nil || c.Version != 3 || c.Ref != "R1" || c.Photos != 1 {
			t.Errorf("%+v %v", c, err)
		}
		if p, err := r.Photo(t.Context(), "p_old"); err != nil || p.Taken != date(t, "2011") || p.State != Analysed {
			t.Errorf("%+v %v", p, err)
		}
		if err := r.RecordReunion(t.Context(), reunion(t, c, newCase(t, r, Found))); err != nil {
			t.Error(err)
		}
	}
}
