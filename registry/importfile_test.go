package registry

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func newImport(t testing.TB, r *Registry) JobID {
	t.Helper()
	j, _, err := r.Enqueue(t.Context(), NewJob{Kind: JobImport, About: "/photos " + newID("")})
	if err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// importAll is what is noted of an import.
func importAll(t testing.TB, r *Registry, job JobID) (files []ImportedFile) {
	t.Helper()
	if err := r.EachImport(t.Context(), job, func(f ImportedFile) error {
		files = append(files, f)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImportCases(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	job := newImport(t, r)
	if _, err := r.CreateCase(t.Context(), Case{Gallery: Missing, Ref: "1"}); err != nil {
		t.Fatal(err)
	}
	got, err := r.ImportCases(t.Context(), job, []Case{
		{Gallery: Missing, Ref: "1", Names: []string{"other"}}, {Gallery: Missing, Ref: "2"}, {Gallery: Found, Ref: "1"}, {Gallery: Missing, Ref: "2"},
		{Gallery: Missing, Ref: "3", Sex: "robot"}, {Gallery: Missing, Ref: "4", Region: "nowhere"},
		{Gallery: Missing, Ref: "5"}, {Gallery: Missing, Ref: "6"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Created || !got[1].Created || !got[2].Created || got[3].Created || got[1].ID != got[3].ID || !errors.Is(got[4].Err, ErrInvalid) || !errors.Is(got[5].Err, ErrInvalid) {
		t.Errorf("%+v", got)
	}
	// One gets a photo, the other nothing but a file that could not be read.
	content := randomPhoto(1, 1000)
	p, _, err := addPhoto(t.Context(), r, got[1].ID, content, NewPhoto{Import: &ImportFile{Job: job, Path: "a.jpg", Size: 1000, ModTime: time.Unix(0, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.NoteImports(t.Context(), []ImportFile{{Job: job, Path: "b.jpg", Result: ImportUnreadable, Reason: "no photo", Case: got[2].ID}}); err != nil {
		t.Fatal(err)
	}
	// Two others neither, but someone has come to work on the one, and a family to the other.
	worked := got[6:]
	c, err := r.Case(t.Context(), worked[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	c.Notes = "Found the parents."
	if _, err := r.UpdateCase(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := r.writer.Exec("UPDATE families SET case_id = ? WHERE case_id = ?", worked[1].ID, report(t, r).Case.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.DropEmptyImports(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	for _, w := range worked {
		if _, err := r.Case(t.Context(), w.ID); err != nil {
			t.Error("a case that someone has worked on is gone:", err)
		}
	}
	if _, err := r.Case(t.Context(), got[2].ID); !errors.Is(err, ErrNotFound) {
		t.Error("the empty case stays:", err)
	}
	if _, err := r.Case(t.Context(), got[0].ID); err != nil {
		t.Error("a case that was there before is gone:", err)
	}
	files := importAll(t, r, job)
	if len(files) != 2 || files[0].Result != ImportAdded || files[0].Stored.ID != p.ID || files[0].Ref != "2" || files[1].Reason != "no photo" {
		t.Errorf("%+v", files)
	}
	counts, added, known, err := r.ImportCounts(t.Context(), job)
	if err != nil || counts[ImportAdded] != 1 || counts[ImportUnreadable] != 1 || added != 3 || known != 0 {
		t.Error(counts, added, known, err)
	}
	if !files[0].Done(1000, time.Unix(0, 0)) || files[0].Done(1000, time.Unix(1, 0)) || files[0].Done(999, time.Unix(0, 0)) || files[1].Done(0, time.Time{}) {
		t.Error("done is wrong")
	}
	// A case takes the names of its files with it.
	if err := r.DeleteCase(t.Context(), got[1].ID); err != nil {
		t.Fatal(err)
	}
	if files := importAll(t, r, job); len(files) != 1 {
		t.Errorf("%+v", files)
	}
}

func TestNoteImports(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	job := newImport(t, r)
	c := newCase(t, r, Missing)
	content := randomPhoto(1, 1000)
	file := ImportFile{Job: job, Path: "a.jpg", Line: 2, Size: 1000, ModTime: time.Unix(5, 0)}
	if err := r.WantImports(t.Context(), []ImportFile{{Job: job, Path: "a.jpg", Line: 2, Result: ImportWanted, Case: c.ID}, {Job: job, Path: "gone.jpg", Line: 3, Result: ImportWanted, Case: c.ID}}); err != nil {
		t.Fatal(err)
	}
	p, _, err := addPhoto(t.Context(), r, c.ID, content, NewPhoto{Import: &file})
	if err != nil {
		t.Fatal(err)
	}
	// Wanted again, and read again: it stays added.
	file.Result, file.Case, file.Photo = ImportDuplicate, c.ID, p.ID
	if err := errors.Join(r.WantImports(t.Context(), []ImportFile{{Job: job, Path: "a.jpg", Line: 2, Result: ImportWanted}}), r.NoteImports(t.Context(), []ImportFile{file})); err != nil {
		t.Fatal(err)
	}
	if files, err := r.ImportsAt(t.Context(), job, "a.jpg"); err != nil || len(files) != 1 || files[0].Result != ImportAdded || files[0].Photo != p.ID || !files[0].Done(1000, time.Unix(5, 0)) {
		t.Errorf("%+v, %v", files, err)
	}
	// The same bytes as another file are a duplicate, on record with the photo.
	other := ImportFile{Job: job, Path: "b.jpg", Line: 4}
	if _, existed, err := addPhoto(t.Context(), r, c.ID, content, NewPhoto{Import: &other}); err != nil || !existed {
		t.Fatal(existed, err)
	}
	if n, err := r.Unwanted(t.Context(), job, "not there"); err != nil || n != 1 {
		t.Error(n, err)
	}
	if files, err := r.ImportsAt(t.Context(), job, "gone.jpg"); err != nil || files[0].Result != ImportSkipped || files[0].Reason != "not there" {
		t.Errorf("%+v, %v", files, err)
	}
	// More files than a page holds come once each, in order.
	var many []ImportFile
	for i := range 2*importPage + 1 {
		many = append(many, ImportFile{Job: job, Path: fmt.Sprintf("m%05d", i), Result: ImportSkipped, Reason: "x"})
	}
	if err := r.NoteImports(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	files := importAll(t, r, job)
	for i := 1; i < len(files); i++ {
		if files[i-1].Path >= files[i].Path {
			t.Fatal(files[i-1].Path, files[i].Path)
		}
	}
	if len(files) != len(many)+2 {
		t.Error(len(files))
	}
}

func TestRemarkImports(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	job := newImport(t, r)
	one, two := newCase(t, r, Missing), newCase(t, r, Missing)
	add := func(id CaseID, seed uint64, path string, look uint64) PhotoID {
		n := NewPhoto{}
		if path != "" {
			n.Import = &ImportFile{Job: job, Path: path}
		}
		p, _, err := addPhoto(t.Context(), r, id, randomPhoto(seed, 1000), n)
		if err == nil {
			err = r.SaveAnalysis(t.Context(), p.ID, "set", NewAnalysis{Look: look})
		}
		if err != nil {
			t.Fatal(err)
		}
		return p.ID
	}
	first := add(one.ID, 1, "", 0xff)
	add(two.ID, 1, "bytes.jpg", 0)   // the same bytes
	add(two.ID, 2, "look.jpg", 0xff) // the same look
	add(two.ID, 3, "none.jpg", 0x0f)
	looks, err := r.Looks(t.Context())
	if err != nil || len(looks) != 3 || looks[0].Look != 0xff {
		t.Fatal(looks, err)
	}
	asked := 0
	same := func(l Look) (int64, bool) {
		asked++
		return looks[0].N, l.Look == looks[0].Look
	}
	again := 0
	for range 2 { // the second time nothing is left to do
		if err := r.RemarkImports(t.Context(), job, same, func(n int) { again += n }); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 2 || again != 3 {
		t.Error(asked, again)
	}
	for _, f := range importAll(t, r, job) {
		if want := f.Path != "none.jpg"; want != (f.Twin == first) || want != (f.TwinCase == one.ID) {
			t.Errorf("%+v", f)
		}
	}
	if err := r.DeletePhoto(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, f := range importAll(t, r, job) {
		if f.TwinCase != "" {
			t.Errorf("a photo that is gone is named: %+v", f)
		}
	}
}
