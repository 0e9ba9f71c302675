package registry

import (
	"context"
	"database/sql"
	"errors"
	"hash"
	"math"
	"time"
)

// ImportResult is what became of a file of an import.
type ImportResult string

const (
	ImportWanted     ImportResult = "wanted"     // the manifest names it, and it has not been seen yet
	ImportAdded      ImportResult = "added"      // a photo was stored
	ImportDuplicate  ImportResult = "duplicate"  // its case has the photo already
	ImportUnreadable ImportResult = "unreadable" // Reason says why
	ImportSkipped    ImportResult = "skipped"    // not even tried; Reason says why

	importCase ImportResult = "case" // not a file, but a case that the import made
)

// ImportFile is a file of an import, and what became of it.
type ImportFile struct {
	Job     JobID
	Path    string    // inside the folder or archive
	Line    int       // of the manifest; 0 where there is none
	Size    int64     // bytes; with ModTime, it tells whether the file has changed since
	ModTime time.Time // zero where the file is to be read again in any case
	Result  ImportResult
	Reason  string
	Remark  string // what of its line in the manifest was left out
	Ref     string // of the case that it would be of, where there is none
	Taken   Date   // of a wanted photo
	Case    CaseID // empty while it is known of none
	Photo   PhotoID
	Twin    PhotoID // the photo that an added one looks the same as
}

// Done says whether nothing is left to do with the file as it is now.
func (f ImportFile) Done(size int64, modified time.Time) bool {
	return f.Result != ImportWanted && !f.ModTime.IsZero() && f.Size == size && f.ModTime.UnixMicro() == modified.UnixMicro()
}

// readAgain is stored for a zero ModTime.
const readAgain = math.MinInt64

const importColumns = "i.path, i.line, i.size, i.mtime, i.result, i.reason, i.remark, i.ref, i.taken, i.case_id, i.photo_id, i.twin"

func scanImport(row scanner, job JobID, more ...any) (ImportFile, error) {
	f := ImportFile{Job: job}
	var modified int64
	var caseID sql.NullString
	err := row.Scan(append([]any{&f.Path, &f.Line, &f.Size, &modified, &f.Result, &f.Reason, &f.Remark, &f.Ref, &f.Taken, &caseID, &f.Photo, &f.Twin}, more...)...)
	if modified != readAgain {
		f.ModTime = time.UnixMicro(modified)
	}
	f.Case = CaseID(caseID.String)
	return f, err
}

// What to do where something is noted of a file already.
const (
	keepNoted = " ON CONFLICT DO NOTHING"
	// What was added is no duplicate because it is read again.
	overNoted = ` ON CONFLICT (job_id, path, line) DO UPDATE SET size = excluded.size, mtime = excluded.mtime, reason = excluded.reason, remark = excluded.remark, ref = excluded.ref, taken = excluded.taken,
		result = CASE WHEN result = 'added' AND excluded.result = 'duplicate' AND photo_id = excluded.photo_id THEN result ELSE excluded.result END,
		looked = looked AND photo_id = excluded.photo_id, twin = CASE WHEN photo_id = excluded.photo_id THEN twin ELSE '' END,
		case_id = excluded.case_id, photo_id = excluded.photo_id`
)

// putImport notes a file; noted says what to do where something is noted of it.
func putImport(ctx context.Context, tx *sql.Tx, f ImportFile, noted string) error {
	modified := int64(readAgain)
	if !f.ModTime.IsZero() {
		modified = f.ModTime.UnixMicro()
	}
	if f.Case != "" { // whose reference goes when the case does
		f.Ref = ""
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO import_files (job_id, path, line, size, mtime, result, reason, remark, ref, taken, case_id, photo_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT id FROM cases WHERE id = ?), ?)`+noted,
		f.Job, f.Path, f.Line, f.Size, modified, f.Result, f.Reason, f.Remark, f.Ref, f.Taken, f.Case, f.Photo)
	return err
}

// noteUpload notes what became of the file that a photo is, where it is one of an import.
func noteUpload(ctx context.Context, tx *sql.Tx, f *ImportFile, p Photo, result ImportResult) error {
	if f == nil {
		return nil
	}
	note := *f
	note.Result, note.Reason, note.Case, note.Photo = result, "", p.CaseID, p.ID
	return putImport(ctx, tx, note, overNoted)
}

// ImportedCase is a case as ImportCases found or made it.
type ImportedCase struct {
	ID      CaseID
	Created bool
	Err     error // ErrInvalid: why it cannot be made
}

// ImportCases finds cases by gallery and reference, and makes those that there are not, in one transaction. Facts of a case that is
// there stay as they are. It is done for an import, which DropEmptyImports and ImportCounts then know the cases of.
func (r *Registry) ImportCases(ctx context.Context, job JobID, cases []Case) ([]ImportedCase, error) {
	out := make([]ImportedCase, len(cases))
	var keys [][]byte // of those to make
	cases = append([]Case(nil), cases...)
	missing := false
	for i := range cases {
		known, err := r.CaseByRef(ctx, cases[i].Gallery, cases[i].Ref)
		keys = append(keys, nil)
		switch {
		case err == nil:
			out[i].ID = known.ID
			continue
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
		if cases[i].ReportedBy == "" {
			cases[i].ReportedBy = ActorOf(ctx).Account
		}
		if keys[i], out[i].Err = r.beginCase(&cases[i]); out[i].Err != nil && !errors.Is(out[i].Err, ErrInvalid) {
			return nil, wrap(out[i].Err, "make a case of an import")
		}
		missing = missing || out[i].Err == nil
	}
	if !missing {
		return out, nil
	}
	err := r.change(ctx, "make the cases of an import", func(ctx context.Context, tx *sql.Tx) error {
		for i := range cases {
			if keys[i] == nil || out[i].Err != nil {
				continue
			}
			c := &cases[i]
			err := tx.QueryRowContext(ctx, "SELECT id FROM cases WHERE gallery = ? AND ref = ? AND ref <> ''", c.Gallery, c.Ref).Scan(&out[i].ID)
			if err == nil { // made meanwhile, or by a line before
				continue
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if err := r.insertCase(ctx, tx, c, keys[i]); errors.Is(err, ErrInvalid) {
				out[i].Err = err
				continue
			} else if err != nil {
				return err
			}
			out[i] = ImportedCase{ID: c.ID, Created: true}
			if err := putImport(ctx, tx, ImportFile{Job: job, Path: string(c.ID), Line: -1, Result: importCase, Case: c.ID}, overNoted); err != nil {
				return err
			}
		}
		return r.at("import.cases")
	})
	return out, err
}

// NoteImports notes what became of files, in place of what was noted of them before.
func (r *Registry) NoteImports(ctx context.Context, files []ImportFile) error {
	return r.putImports(ctx, files, overNoted)
}

// WantImports notes the photos that a manifest names. What is noted of a file already stays.
func (r *Registry) WantImports(ctx context.Context, files []ImportFile) error {
	return r.putImports(ctx, files, keepNoted)
}

func (r *Registry) putImports(ctx context.Context, files []ImportFile, noted string) error {
	if len(files) == 0 {
		return nil
	}
	return r.change(ctx, "note files of import "+string(files[0].Job), func(ctx context.Context, tx *sql.Tx) error {
		for _, f := range files {
			if err := putImport(ctx, tx, f, noted); err != nil {
				return err
			}
		}
		return r.at("import.noted")
	})
}

// Unwanted notes of every photo that the manifest names and that was not seen why it was skipped, and says how many those are.
func (r *Registry) Unwanted(ctx context.Context, job JobID, reason string) (n int64, err error) {
	err = r.change(ctx, "end import "+string(job), func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE import_files SET result = ?, reason = ? WHERE job_id = ? AND result = ?",
			ImportSkipped, reason, job, ImportWanted)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

// ImportsAt reads what is noted of a file: a row for each line of the manifest that names it, in their order.
func (r *Registry) ImportsAt(ctx context.Context, job JobID, path string) (files []ImportFile, err error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT "+importColumns+" FROM import_files i WHERE job_id = ? AND path = ? AND line >= 0 ORDER BY line", job, path)
	if err != nil {
		return nil, wrap(err, "read import %s", job)
	}
	defer rows.Close()
	for rows.Next() {
		f, err := scanImport(rows, job)
		if err != nil {
			return nil, wrap(err, "read import %s", job)
		}
		files = append(files, f)
	}
	return files, wrap(rows.Err(), "read import %s", job)
}

// importPage is how many files of an import are read or written at a time.
const importPage = 500

// ImportedFile is a file of an import with what it belongs to.
type ImportedFile struct {
	ImportFile        // Ref is that of its case, too
	Stored     Photo  // with its faces; empty where there is none, or it was deleted since
	TwinCase   CaseID // the case of the photo that it looks the same as; empty where that was deleted since
}

// EachImport calls fn for every file of an import, in the order of their paths. An error of fn ends it.
func (r *Registry) EachImport(ctx context.Context, job JobID, fn func(ImportedFile) error) error {
	what := "read import " + string(job)
	var last ImportFile
	for {
		var page []ImportedFile
		err := r.view(ctx, what, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT "+importColumns+`, coalesce(c.ref, i.ref), coalesce((SELECT case_id FROM photos t WHERE t.id = i.twin), '')
				FROM import_files i LEFT JOIN cases c ON c.id = i.case_id
				WHERE i.job_id = ? AND (i.path, i.line) > (?, ?) AND i.line >= 0 ORDER BY i.path, i.line LIMIT ?`, job, last.Path, last.Line, importPage)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var f ImportedFile
				var ref string
				if f.ImportFile, err = scanImport(rows, job, &ref, &f.TwinCase); err != nil {
					return err
				}
				f.Ref = ref
				page = append(page, f)
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
			for i := range page {
				if page[i].Photo == "" {
					continue
				}
				if page[i].Stored, err = photoWhere(ctx, tx, "p.id = ?", page[i].Photo); err != nil && !errors.Is(err, sql.ErrNoRows) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, f := range page {
			if err := fn(f); err != nil {
				return err
			}
		}
		if len(page) < importPage {
			return nil
		}
		last = page[len(page)-1].ImportFile
	}
}

// ImportCounts counts an import's files by what became of them, the cases that it made, and those of its photos that were there before.
func (r *Registry) ImportCounts(ctx context.Context, job JobID) (files map[ImportResult]int64, added, known int64, err error) {
	files = make(map[ImportResult]int64)
	err = r.view(ctx, "count import "+string(job), func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT result, count(*) FROM import_files WHERE job_id = ? GROUP BY result", job)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var result ImportResult
			var n int64
			if err := rows.Scan(&result, &n); err != nil {
				return err
			}
			files[result] = n
		}
		if err := rows.Err(); err != nil {
			return err
		}
		added = files[importCase]
		delete(files, importCase)
		return tx.QueryRowContext(ctx, `SELECT count(DISTINCT case_id) FROM import_files i WHERE job_id = ?1 AND result IN ('added', 'duplicate', 'wanted')
			AND NOT EXISTS (SELECT 1 FROM import_files m WHERE m.job_id = ?1 AND m.path = i.case_id AND m.line = -1)`, job).Scan(&known)
	})
	return files, added, known, err
}

// DropEmptyImports deletes the cases that an import made, that have no photo and that nobody has worked on since. What is noted of
// their files stays.
func (r *Registry) DropEmptyImports(ctx context.Context, job JobID) error {
	what := "delete the empty cases of import " + string(job)
	var empty []CaseID
	rows, err := r.readers.QueryContext(ctx, "SELECT c.id FROM import_files i JOIN cases c ON c.id = i.case_id WHERE i.job_id = ? AND i.line = -1 AND "+emptyCase, job)
	if err != nil {
		return wrap(err, "%s", what)
	}
	defer rows.Close()
	for rows.Next() {
		var id CaseID
		if err := rows.Scan(&id); err != nil {
			return wrap(err, "%s", what)
		}
		empty = append(empty, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return wrap(err, "%s", what)
	}
	for _, id := range empty {
		err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE import_files SET case_id = NULL WHERE case_id = ? AND line <> -1 AND photo_id = ''
				AND case_id IN (SELECT c.id FROM cases c WHERE `+emptyCase+")", id)
			return err
		})
		if err == nil {
			err = r.DeleteEmptyCase(ctx, id)
		}
		if err != nil && !errors.Is(err, ErrNotFound) { // someone came to work on it just now
			return err
		}
	}
	return nil
}

// Look is how a photo looks.
type Look struct {
	N    int64 // grows with every photo that is added
	Look uint64
}

// Looks reads how all photos look of which that is known, in the order in which they were added.
func (r *Registry) Looks(ctx context.Context) ([]Look, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT n, id, look FROM photos WHERE look <> x'' ORDER BY n")
	if err != nil {
		return nil, wrap(err, "read how photos look")
	}
	defer rows.Close()
	var out []Look
	for rows.Next() {
		var l Look
		var id PhotoID
		var sealed sql.RawBytes
		if err := rows.Scan(&l.N, &id, &sealed); err != nil {
			return nil, wrap(err, "read how photos look")
		}
		if l.Look = r.keys.openLook(id, sealed); l.Look != 0 {
			out = append(out, l)
		}
	}
	return out, wrap(rows.Err(), "read how photos look")
}

// RemarkImports holds the photos that an import has added, and that nobody has held against others yet, against those that were added
// before them: first by their bytes, then by same, which is given how the photo looks and finds the N of one that looks the same. done,
// unless nil, is told how many were looked at.
func (r *Registry) RemarkImports(ctx context.Context, job JobID, same func(Look) (n int64, ok bool), done func(n int)) error {
	what := "compare the photos of import " + string(job)
	var last ImportFile
	total := 0
	for {
		type remark struct {
			file ImportFile
			twin PhotoID
		}
		var page []remark
		err := r.view(ctx, what, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT "+importColumns+`, p.n, p.look, coalesce((SELECT q.id FROM photos q WHERE q.digest = p.digest AND q.n < p.n ORDER BY q.n LIMIT 1), '')
				FROM import_files i JOIN photos p ON p.id = i.photo_id
				WHERE i.job_id = ? AND i.result = 'added' AND i.looked = 0 AND p.state <> 'queued' AND (i.path, i.line) > (?, ?)
				ORDER BY i.path, i.line LIMIT ?`, job, last.Path, last.Line, importPage)
			if err != nil {
				return err
			}
			defer rows.Close()
			var alike []int64 // N of the photo that looks the same as page[i]; 0 for none
			for rows.Next() {
				var m remark
				var l Look
				var sealed []byte
				if m.file, err = scanImport(rows, job, &l.N, &sealed, &m.twin); err != nil {
					return err
				}
				page, alike = append(page, m), append(alike, 0)
				if l.Look = r.keys.openLook(m.file.Photo, sealed); m.twin == "" && l.Look != 0 {
					if n, ok := same(l); ok {
						alike[len(alike)-1] = n
					}
				}
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
			for i, n := range alike {
				if n == 0 {
					continue
				}
				err := tx.QueryRowContext(ctx, "SELECT id FROM photos WHERE n = ?", n).Scan(&page[i].twin)
				if err != nil && !errors.Is(err, sql.ErrNoRows) {
					return err
				}
			}
			return nil
		})
		if err != nil || len(page) == 0 {
			return err
		}
		err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
			for _, m := range page {
				if _, err := tx.ExecContext(ctx, "UPDATE import_files SET looked = 1, twin = ? WHERE job_id = ? AND path = ? AND line = ?",
					m.twin, job, m.file.Path, m.file.Line); err != nil {
					return err
				}
			}
			return r.at("import.remarked")
		})
		if err != nil {
			return err
		}
		last = page[len(page)-1].file
		if total += len(page); done != nil {
			done(total)
		}
	}
}

// NewDigest makes what a photo's bytes are written to, to ask HasPhoto for them. Outside this registry it says nothing about them.
func (r *Registry) NewDigest() hash.Hash { return r.keys.newDigest() }

// HasPhoto says whether a case has a photo of these bytes.
func (r *Registry) HasPhoto(ctx context.Context, id CaseID, digest []byte) (bool, error) {
	var there bool
	err := r.readers.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM photos WHERE case_id = ? AND digest = ?)", id, digest).Scan(&there)
	return there, wrap(err, "look for a photo of case %s", id)
}

// CheckCase says why a case cannot be made, as CreateCase would; without a registry (nil), as far as that can be said. It makes none.
func (r *Registry) CheckCase(ctx context.Context, c Case) error {
	now := time.Now
	if r != nil {
		now = r.now
	}
	c.Status = StatusOpen
	if err := c.tidy(now()); err != nil || r == nil || c.Region == "" {
		return err
	}
	return r.view(ctx, "check a case", func(tx *sql.Tx) error { return knownRegion(ctx, tx, c.Region) })
}
