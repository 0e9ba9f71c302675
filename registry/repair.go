package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"
)

// RepairOptions say what Repair may do.
type RepairOptions struct {
	CheckOptions
	DryRun bool // say what would be done, and do nothing
	// AcceptLoss takes what the database has for all there is, after a loss: see AcceptLoss.
	AcceptLoss bool
	// From writes a photo's file, as it lies in photos/ under this name, from a backup; ErrNotFound where that has none, or none
	// that is whole. nil: there is no backup at hand.
	From func(ctx context.Context, name string, to io.Writer) error
}

// Mended is a problem and what was done about it.
type Mended struct {
	Problem
	Done string `json:"done,omitempty"` // what was done; empty where nothing could be
}

// Repair checks the registry, mends what can be mended and calls report for each problem. It never deletes what might be a
// child's photo: files that belong to nothing go to lost/. Whoever works on the registry meanwhile is not in its way.
func (r *Registry) Repair(ctx context.Context, o RepairOptions, report func(Mended)) (Checked, error) {
	var found []Problem
	counts, err := r.Check(ctx, o.CheckOptions, func(p Problem) { found = append(found, p) })
	if err != nil {
		return counts, err
	}
	// Whole files first: photos are queued again after that, and files that seem stray may be some photo's.
	order := func(p Problem) int {
		switch p.Code {
		case "photo.file_missing", "photo.file_changed", "photo.file_failing":
			return 0
		case "database.behind":
			return 2
		}
		return 1
	}
	slices.SortStableFunc(found, func(a, b Problem) int { return order(a) - order(b) })
	m := &mender{Registry: r, o: o}
	if m.active, err = activeGeneration(ctx, r.readers); err != nil {
		return counts, wrap(err, "repair")
	}
	if m.active.n == 0 {
		m.active.ID = o.Active
	}
	m.onlyIndexes = !slices.ContainsFunc(found, func(p Problem) bool {
		return p.Code == "database.damaged" && !ofIndex.MatchString(p.Text)
	})
	for _, p := range found {
		if p.Known && p.Code != "photo.file_missing" && p.Code != "photo.file_changed" {
			report(Mended{Problem: p})
			continue
		}
		done, err := m.mend(ctx, p)
		if err != nil {
			return counts, wrap(err, "repair: %s", p.Code)
		}
		report(Mended{p, done})
	}
	return counts, nil
}

// ofIndex is what SQLite says of an index that does not fit its table, which can be made again from it.
var ofIndex = regexp.MustCompile(`missing from index|wrong # of entries in index|non-unique entry in index`)

type mender struct {
	*Registry
	o           RepairOptions
	active      generation
	onlyIndexes bool
	reindexed   bool
}

// mend does what can be done about a problem and says what.
func (m *mender) mend(ctx context.Context, p Problem) (done string, err error) {
	switch p.Code {
	case "photo.file_missing", "photo.file_changed", "photo.file_failing":
		return m.file(ctx, p)
	case "photo.restored":
		return m.again(ctx, p, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE photos SET reason = '' WHERE id = ?", p.Photo)
			return err
		})
	case "photo.content":
		return m.content(ctx, p)
	case "file.stray", "file.tmp":
		return m.stray(ctx, p)
	case "photo.subject":
		return m.again(ctx, p, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE photos SET subject = '', subject_by = ''
				WHERE id = ? AND subject <> '' AND subject NOT IN (SELECT f.id FROM faces f WHERE f.photo_id = photos.id)`, p.Photo)
			return err
		})
	case "face.damaged":
		return m.again(ctx, p, func(ctx context.Context, tx *sql.Tx) error {
			// Where it is stays, as far as that makes sense, so that the next analysis knows it again and keeps what a person chose.
			_, err := tx.ExecContext(ctx, `UPDATE faces SET landmarks = zeroblob(40), reasons = '[]', score = 0, age_years = 0, age_sd = 0, quality = 0,
				eye_dist = 0, sharpness = 0, yaw = 0, pitch = 0, roll = 0, x = iif(abs(x) < 1e9, x, 0), y = iif(abs(y) < 1e9, y, 0),
				w = iif(abs(w) < 1e9, w, 0), h = iif(abs(h) < 1e9, h, 0) WHERE id = ?`, p.Face)
			return err
		})
	case "template.damaged", "template.missing":
		return m.template(ctx, p)
	case "photo.look":
		return m.again(ctx, p, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE photos SET look = x'' WHERE id = ?", p.Photo)
			return err
		})
	case "photo.taken":
		return m.tx(ctx, p, "it counts as taken at an unknown time", func(ctx context.Context, tx *sql.Tx) (bool, error) {
			return touched(tx.ExecContext(ctx, "UPDATE photos SET taken = '', taken_by = '' WHERE id = ?", p.Photo))
		})
	case "case.damaged":
		return m.tx(ctx, p, "names that cannot be told apart are kept as one, and dates that make no sense stand in the notes", func(ctx context.Context, tx *sql.Tx) (bool, error) {
			return true, mendFacts(ctx, tx, p.Case)
		})
	case "photo.undone":
		return m.again(ctx, p, func(context.Context, *sql.Tx) error { return nil })
	case "embedding.damaged":
		drop := func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM embeddings WHERE face_id = ? AND recogniser = ?", p.Face, p.under)
			return err
		}
		// Those of a registry from before there were generations are not known until the server starts.
		if len(m.active.Recognisers) > 0 && !slices.Contains(m.active.Recognisers, p.under) {
			return m.tx(ctx, p, "the embedding, of a recogniser that is not in use, is removed", func(ctx context.Context, tx *sql.Tx) (bool, error) {
				return true, drop(ctx, tx)
			})
		}
		return m.again(ctx, p, drop)
	case "case.unfollowed", "case.due":
		return m.tx(ctx, p, "its change is noted", func(ctx context.Context, tx *sql.Tx) (bool, error) {
			var there bool
			if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM cases WHERE id = ?)", p.Case).Scan(&there); err != nil {
				return false, err
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM due WHERE case_id = ?", p.Case); err != nil { // the triggers put it there again
				return false, err
			}
			return true, noteChange(ctx, tx, p.Case, !there)
		})
	case "database.damaged":
		if !m.onlyIndexes {
			return "", nil
		}
		if !m.reindexed && !m.o.DryRun {
			if err := m.change(ctx, "make the indexes again", func(ctx context.Context, tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, "REINDEX"); err != nil {
					return err
				}
				return m.audit(ctx, tx, Note{Action: "registry.repaired", Detail: map[string]string{"problem": p.Code}})
			}); err != nil {
				return "", err
			}
			m.reindexed = true
		}
		return "the indexes are made again", nil
	case "database.behind":
		if !m.o.AcceptLoss {
			return "", nil
		}
		if !m.o.DryRun {
			if _, err := m.Registry.AcceptLoss(ctx); err != nil {
				return "", err
			}
		}
		return "the loss is accepted", nil
	}
	return "", nil
}

// touched says whether a statement changed anything.
func touched(res sql.Result, err error) (bool, error) {
	err = changed(res, err)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// tx mends in a transaction, with a note in the audit. do says whether there was still something to mend.
func (m *mender) tx(ctx context.Context, p Problem, done string, do func(context.Context, *sql.Tx) (bool, error)) (string, error) {
	if m.o.DryRun {
		return done, nil
	}
	err := m.change(ctx, "mend", func(ctx context.Context, tx *sql.Tx) error {
		did, err := do(ctx, tx)
		if err == nil && !did {
			done = "it was mended or deleted meanwhile"
		}
		if err != nil || !did {
			return err
		}
		if p.Photo != "" {
			if err := noteChange(ctx, tx, p.Case, false); err != nil {
				return err
			}
		}
		subject := p.Subject
		if p.Photo != "" {
			subject = string(p.Photo)
		}
		detail := map[string]string{"problem": p.Code}
		if p.Face != "" {
			detail["face"] = string(p.Face)
		}
		return m.audit(ctx, tx, Note{Action: "registry.repaired", Case: p.Case, Subject: subject, Detail: detail})
	})
	return done, err
}

// again mends and queues the photo to be analysed again.
func (m *mender) again(ctx context.Context, p Problem, do func(context.Context, *sql.Tx) error) (string, error) {
	return m.tx(ctx, p, "the photo is queued to be analysed again", func(ctx context.Context, tx *sql.Tx) (bool, error) {
		if err := do(ctx, tx); err != nil {
			return false, err
		}
		_, err := tx.ExecContext(ctx, "UPDATE photos SET state = 'queued', tries = 0, reason = '' WHERE id = ? AND state <> 'queued' AND reason <> ?", p.Photo, damagedReason)
		return true, err
	})
}

// mendFacts makes a case's facts readable. Nothing that stands there is lost.
func mendFacts(ctx context.Context, tx *sql.Tx, id CaseID) error {
	if _, err := tx.ExecContext(ctx, "UPDATE cases SET names = json_array(names), version = version + 1 WHERE id = ? AND NOT json_valid(names)", id); err != nil {
		return err
	}
	for _, column := range []string{"born_from", "born_to", "on_date"} {
		var text string
		if err := tx.QueryRowContext(ctx, "SELECT "+column+" FROM cases WHERE id = ?", id).Scan(&text); err != nil {
			return err
		}
		if new(Date).Scan(text) == nil {
			continue
		}
		if _, err := tx.ExecContext(ctx, "UPDATE cases SET "+column+" = '', notes = ltrim(notes || char(10) || ?, char(10)), version = version + 1 WHERE id = ?",
			column+": "+text, id); err != nil {
			return err
		}
	}
	if _, err := scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", id)); err != nil {
		// Valid JSON that is no list of texts.
		if _, err = tx.ExecContext(ctx, "UPDATE cases SET names = json_array(names) WHERE id = ?", id); err != nil {
			return err
		}
	}
	return noteChange(ctx, tx, id, false)
}

// template makes a template again from the face's embeddings; where those do not give one, the photo is analysed again.
func (m *mender) template(ctx context.Context, p Problem) (string, error) {
	drop := func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM templates WHERE face_id = ? AND model_set = ?", p.Face, p.under)
		return err
	}
	if p.under != m.active.ID {
		return m.tx(ctx, p, "the template is removed; the photo is analysed again when its model set is used", func(ctx context.Context, tx *sql.Tx) (bool, error) {
			if err := drop(ctx, tx); err != nil {
				return false, err
			}
			_, err := tx.ExecContext(ctx, `DELETE FROM photo_sets WHERE generation = (SELECT n FROM generations WHERE id = ?)
				AND photo = (SELECT n FROM photos WHERE id = ?)`, p.under, p.Photo)
			return true, err
		})
	}
	if m.o.Active != m.active.ID || m.o.Project == nil { // these models are not at hand; the server has them
		return m.again(ctx, p, drop)
	}
	var t []float32
	if embeddings, err := m.Embeddings(ctx, p.Face); err == nil {
		if t, err = m.o.Project(embeddings); err != nil {
			t = nil
		}
	} else if !errors.Is(err, ErrCorrupt) {
		return "", err
	}
	if t == nil || checkVector(t) != nil {
		return m.again(ctx, p, drop)
	}
	sealed, err := m.keys.sealVector(kindTemplate, p.Face, p.under, t)
	if err != nil {
		return "", err
	}
	return m.tx(ctx, p, "the template is made again from the face's embeddings", func(ctx context.Context, tx *sql.Tx) (bool, error) {
		return touched(tx.ExecContext(ctx, `INSERT INTO templates (face_id, model_set, sealed, age_years, age_sd, quality, searchable, reasons)
			SELECT id, ?2, ?3, age_years, age_sd, quality, searchable, reasons FROM faces WHERE id = ?1
			ON CONFLICT (face_id, model_set) DO UPDATE SET sealed = excluded.sealed, age_years = iif(`+soundTemplate+`, age_years, excluded.age_years),
			age_sd = iif(`+soundTemplate+`, age_sd, excluded.age_sd), quality = iif(`+soundTemplate+`, quality, excluded.quality),
			reasons = iif(`+soundTemplate+`, reasons, excluded.reasons)`, p.Face, p.under, sealed))
	})
}

// stray moves a file that belongs to nothing to lost/. What lies in tmp/ beside the folders of those who are at work is no
// photo, and goes.
func (m *mender) stray(ctx context.Context, p Problem) (string, error) {
	done := "it is moved to lost/"
	if p.Code == "file.tmp" {
		done = "it is removed"
	}
	if m.o.DryRun {
		return done, nil
	}
	const needed = "it is a photo's by now"
	if _, err := os.Lstat(p.path); errors.Is(err, os.ErrNotExist) { // it is where it was needed
		return needed, nil
	}
	if p.Code == "file.tmp" {
		if err := os.Remove(p.path); err != nil {
			return "", err
		}
	} else if moved, err := m.moveStray(ctx, p.path); err != nil || !moved {
		return needed, err
	}
	return m.tx(ctx, p, done, func(context.Context, *sql.Tx) (bool, error) { return true, nil })
}

// file puts a photo's file back: from what lies in lost/, else from a backup. Where neither has it, the photo is set aside. A
// changed file stays where it is until there is a better one: much of it may yet be readable.
func (m *mender) file(ctx context.Context, p Problem) (string, error) {
	var name, reason string
	err := m.readers.QueryRowContext(ctx, "SELECT file, reason FROM photos WHERE id = ?", p.Photo).Scan(&name, &reason)
	if errors.Is(err, sql.ErrNoRows) {
		return "the photo was deleted", nil
	}
	if err != nil {
		return "", err
	}
	const inLost = "lost/"
	for _, from := range []struct {
		where string
		copy  func(context.Context, string, io.Writer) error
	}{{inLost, m.fromLost}, {"the backup", m.o.From}} {
		if from.copy == nil {
			continue
		}
		ok, err := m.putBack(ctx, name, from.copy)
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		if from.where == inLost && !m.o.DryRun { // it is where it belongs
			if err := os.Remove(filepath.Join(m.dir, lostName, name)); err != nil {
				return "", err
			}
		}
		return m.tx(ctx, p, "its file is put back from "+from.where, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			// What was set aside for the want of its file gets another try.
			if _, err := tx.ExecContext(ctx, tryBeside, p.Photo); err != nil {
				return false, err
			}
			_, err := tx.ExecContext(ctx, "UPDATE photos SET state = 'queued', tries = 0, reason = '' WHERE id = ? AND state = 'set_aside'", p.Photo)
			return true, err
		})
	}
	switch {
	case reason == damagedReason:
		return "", nil // it was set aside before
	case p.Code == "photo.file_failing":
		return "", nil // the disk may be better tomorrow
	}
	return m.setAside(ctx, p)
}

func (m *mender) setAside(ctx context.Context, p Problem) (string, error) {
	return m.tx(ctx, p, "the photo is set aside; faces that are known stay", func(ctx context.Context, tx *sql.Tx) (bool, error) {
		did, err := touched(tx.ExecContext(ctx, "UPDATE photos SET state = 'set_aside', owner = '', reason = ? WHERE id = ?", damagedReason, p.Photo))
		if err == nil && m.active.n != 0 {
			_, err = tx.ExecContext(ctx, setAside, m.active.n, damagedReason, p.Photo, SetAside)
		}
		return did, err
	})
}

// fromLost copies a file that was moved to lost/ before it was known whose it is.
func (m *mender) fromLost(ctx context.Context, name string, to io.Writer) error {
	f, err := os.Open(filepath.Join(m.dir, lostName, name))
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, contextReader{ctx, f})
	return err
}

// putBack copies a whole file to its place in photos/, and says whether there was one.
func (m *mender) putBack(ctx context.Context, name string, from func(context.Context, string, io.Writer) error) (ok bool, err error) {
	path := filepath.Join(m.tmp(), m.owner, "put-back")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false, err
	}
	defer os.Remove(path)
	hash := sha256.New()
	err = from(ctx, name, io.MultiWriter(f, hash))
	if errors.Is(err, ErrNotFound) {
		return false, f.Close()
	}
	whole := hex.EncodeToString(hash.Sum(nil)) == name
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil || !whole || m.o.DryRun {
		return whole && err == nil, err
	}
	to := m.Registry.file(name)
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return false, err
	}
	// Changed bytes might still be worth something to somebody: they trade places with the good ones.
	if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err == nil {
		if err := os.Rename(path, filepath.Join(filepath.Dir(path), name)); err != nil {
			return false, err
		}
		if _, err := m.moveToLost(filepath.Join(filepath.Dir(path), name)); err != nil {
			return false, err
		}
	} else if err := os.Rename(path, to); err != nil {
		return false, err
	}
	return true, errors.Join(syncDir(filepath.Dir(to)), syncDir(m.photos()))
}

// content mends a row that does not fit its photo's file, where the file proves to be the photo's; otherwise the photo is set
// aside.
func (m *mender) content(ctx context.Context, p Problem) (string, error) {
	rc, err := m.OpenPhoto(ctx, p.Photo)
	if errors.Is(err, ErrNotFound) {
		return "the photo was deleted", nil
	}
	digest := m.keys.newDigest()
	var size int64
	if err == nil {
		size, err = io.Copy(digest, contextReader{ctx, rc})
		err = errors.Join(err, rc.Close())
	}
	if errors.Is(err, ErrCorrupt) {
		return m.setAside(ctx, p)
	}
	if err != nil {
		return "", err
	}
	sum := digest.Sum(nil)
	var twin bool
	if err := m.readers.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM photos WHERE case_id = ? AND digest = ? AND id <> ?)", p.Case, sum, p.Photo).Scan(&twin); err != nil {
		return "", err
	}
	if twin { // the case has the photo twice, which the table does not allow to be said
		return "", nil
	}
	return m.tx(ctx, p, "size and digest are as the file says", func(ctx context.Context, tx *sql.Tx) (bool, error) {
		return touched(tx.ExecContext(ctx, "UPDATE photos SET digest = ?, size = ? WHERE id = ?", sum, size, p.Photo))
	})
}
