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
		if g, err := r.Generations(t.Context()); err != nil || len(g) != 1 || g[0].ID != "ms.a" || g[0].State != GenerationActive || g[0].Done != 1 || g[0].Missing != 0 {
			t.Errorf("%+v %v", g, err)
		}
		if err := r.RecordReunion(t.Context(), reunion(t, c, newCase(t, r, Found))); err != nil {
			t.Error(err)
		}
	}
}

// TestMigrateGenerations opens a registry from before there were generations, whose photos are of several sets and states. Sealed
// vectors stay as they are, as they can only be read with the keys that made them.
func TestMigrateGenerations(t *testing.T) {
	dir := registryOf(t, 3, `INSERT INTO cases (id, gallery, status, names, sex, born_from, born_to, place, on_date, marks, notes, ref, key,
			created_at, updated_at, version) VALUES ('c', 'missing', 'open', '[]', '', '', '', '', '', '', '', '', x'00', 1, 1, 1);
		INSERT INTO photos (id, case_id, file, digest, name, format, size, width, height, taken, taken_by, state, reason, model_set, subject, subject_by, added_at) VALUES
			('p1', 'c', 'f1', x'01', '', 'jpeg', 1, 1, 1, '', '', 'analysed',  '',    'ms.a', 'f1', 'only',   1),
			('p2', 'c', 'f2', x'02', '', 'jpeg', 1, 1, 1, '', '', 'analysed',  '',    'ms.a', 'f2', 'person', 1),
			('p3', 'c', 'f3', x'03', '', 'jpeg', 1, 1, 1, '', '', 'analysed',  '',    'ms.b', 'f3', 'only',   1),
			('p4', 'c', 'f4', x'04', '', 'jpeg', 1, 1, 1, '', '', 'set_aside', 'bad', '',     '',   '',       1),
			('p5', 'c', 'f5', x'05', '', 'jpeg', 1, 1, 1, '', '', 'queued',    '',    '',     '',   '',       1);
		INSERT INTO faces (id, photo_id, position, x, y, w, h, landmarks, score, age_years, age_sd, quality, eye_dist, sharpness, yaw, pitch, roll, searchable, reasons)
			SELECT 'f' || n, 'p' || n, 0, 1, 1, 1, 1, zeroblob(40), 1, 7.5, 2, 0.5, 1, 1, 0, 0, 0, 1, '["small"]' FROM photos WHERE n <= 3;
		INSERT INTO templates (face_id, model_set, sealed) VALUES ('f1', 'ms.a', x'01'), ('f2', 'ms.a', x'02'), ('f1', 'ms.older', x'03'), ('f3', 'ms.b', x'04')`)
	r := open(t, dir, Options{Existing: true})
	all, err := r.Generations(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != "ms.a" || all[0].Name != "" || all[0].Done != 2 || all[0].SetAside != 1 || all[0].Missing != 2 {
		t.Fatalf("%+v %v", all, err)
	}
	refs, err := r.References(t.Context(), "c", "ms.a")
	if err != nil || len(refs) != 2 || refs[0].Face != "f1" || refs[1].Face != "f2" || refs[0].AgeYears != 7.5 || refs[0].AgeSD != 2 || refs[0].Quality != 0.5 {
		t.Errorf("%+v %v", refs, err)
	}
	if p, err := r.Photo(t.Context(), "p1"); err != nil || len(p.Faces) != 1 || !p.Faces[0].Searchable || p.Faces[0].Reasons[0] != "small" {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := r.Photo(t.Context(), "p4"); err != nil || p.State != SetAside || p.Reason != "bad" {
		t.Errorf("%+v %v", p, err)
	}
	var sets string
	if err := r.readers.QueryRow("SELECT group_concat(face_id || ' ' || model_set, ', ' ORDER BY face_id) FROM templates").Scan(&sets); err != nil || sets != "f1 ms.a, f2 ms.a" {
		t.Error(sets, err)
	}
	// What was under another set is due, as it was.
	if n, err := r.QueueMissing(t.Context()); err != nil || n != 1 {
		t.Error(n, err)
	}
	if n, err := r.QueueDepth(t.Context()); err != nil || n != 2 {
		t.Error(n, err)
	}
}
