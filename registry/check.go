package registry

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/sync/errgroup"
)

// Problem is something in a registry that is not as it should be. It names ids and files of the registry's own, never what is
// known of a child.
type Problem struct {
	Code    string  `json:"code"` // stable
	Text    string  `json:"text"` // what is wrong
	Do      string  `json:"do"`   // what to do about it
	Case    CaseID  `json:"case,omitempty"`
	Photo   PhotoID `json:"photo,omitempty"`
	Face    FaceID  `json:"face,omitempty"`
	Subject string  `json:"subject,omitempty"` // what else it is about: a verdict, a file, a table
	// Known says that Repair has been here and has done what can be done: it is no news, and no reason to fail.
	Known bool `json:"known,omitempty"`

	under string // recogniser or set of a damaged vector
	path  string // of a file
}

// About is the code with the ids that it touches.
func (p Problem) About() string {
	var on []string
	for _, id := range []string{string(p.Case), string(p.Photo), string(p.Face), p.Subject} {
		if id != "" {
			on = append(on, id)
		}
	}
	return strings.Join(append([]string{p.Code}, on...), " ")
}

func (p Problem) String() string { return fmt.Sprintf("%s: %s. %s", p.About(), p.Text, p.Do) }

// Advice that several kinds of problem share.
const (
	doRepair  = "Run homeward repair."
	doRestore = "Put the registry back from the newest backup that is whole: homeward restore."
	doBackup  = "Run homeward repair --from BACKUP, which puts the file back; without a backup homeward repair sets the photo aside."
)

// doReport is for what cannot be, as the index is made anew from the registry whenever the server starts.
const doReport = "Start the server again. If it stays so, it is a fault of Homeward's: report it."

// problems are the codes that Check reports, and what to do about each.
var problems = map[string]string{
	"database.damaged":   "Run homeward repair, which can mend indexes; where that does not help: homeward restore.",
	"database.reference": doRestore,
	"database.behind":    "Put back the newest backup with homeward restore, or accept the loss with homeward repair --accept-loss.",
	"audit.changed":      "Someone has been at the database, or it is damaged. Find out who; then homeward restore.",
	"case.damaged":       doRepair,
	"case.key":           "No photo of the case can be read without its key. " + doRestore,
	"case.unfollowed":    doRepair,
	"case.due":           doRepair,
	"photo.file_missing": doBackup,
	"photo.file_changed": doBackup,
	"photo.file_failing": "The disk fails. Copy the registry to another disk; then " + strings.ToLower(doBackup[:1]) + doBackup[1:],
	"photo.content":      doRepair,
	"photo.restored":     doRepair,
	"photo.row":          doRestore,
	"photo.subject":      doRepair,
	"photo.undone":       doRepair,
	"face.damaged":       doRepair,
	"template.damaged":   doRepair,
	"template.missing":   doRepair,
	"embedding.damaged":  doRepair,
	"file.stray":         "Run homeward repair, which moves it to lost/ in the registry's folder.",
	"file.tmp":           doRepair,
	"verdict.sealed":     doRestore,
	"exhibit.sealed":     doRestore,
	"picture.sealed":     "Take the publication back and propose it again; or homeward restore.",
	"contact.sealed":     "Ask the family for its contact through its link; or homeward restore.",
	"codes.sealed":       "Invite the account again: homeward account invite.",
	"key.account":        "Revoke the key: homeward key revoke.",
	"job.damaged":        "Cancel the job: homeward jobs cancel.",
	"generation.none":    "Start the server once, or run homeward reindex.",
	"photo.look":         doRepair,
	"photo.taken":        doRepair,
	"index.unbuilt":      "The server cannot start like this. Mend what else is reported, first of all homeward repair.",
	"index.missing":      doReport,
	"index.extra":        doReport,
	"index.wrong":        doReport,
	"index.not_found":    doReport,
	"models.other":       "Put back the model files that the registry works with, or start the server, which goes over to those that are there.",
	"registry.locked":    "Put back the operator's key, or say where it is with --operator-key.",
	"registry.unopened":  "Restore needs a folder that is missing or empty: move this one aside first.",
	"template.foreign":   "They take room and harm nothing: photos have templates of the set in use beside them.",
}

// NewProblem is a Problem of a code that there is, for who checks what is made from a registry.
func NewProblem(code, format string, args ...any) Problem { return problem(code, format, args...) }

func problem(code, format string, args ...any) Problem {
	return Problem{Code: code, Text: fmt.Sprintf(format, args...), Do: problems[code]}
}

// CheckOptions say how deep to look and what to expect, which only the models know.
type CheckOptions struct {
	// Deep decrypts every photo, which tells beside a changed file also one that belongs to another row.
	Deep bool
	// Templates has the length of templates under each set that is known; Embeddings that of each recogniser's output.
	Templates, Embeddings map[string]int
	// Active is the set in use: what was analysed under it must have templates under it, as far as Project makes some.
	Active  string
	Project func(map[string][]float32) ([]float32, error)
	// Progress, which may be nil, is told now and then how many photos of how many have been looked at.
	Progress func(done, total int64)
}

// Checked counts what Check looked at.
type Checked struct {
	Cases      int64 `json:"cases"`
	Photos     int64 `json:"photos"`
	Bytes      int64 `json:"bytes"` // of photos' files
	Faces      int64 `json:"faces"`
	Templates  int64 `json:"templates"`
	Embeddings int64 `json:"embeddings"`
	Sealed     int64 `json:"sealed"`  // other things that are encrypted
	Entries    int64 `json:"entries"` // of the audit
	Lost       int64 `json:"lost"`    // files in lost/
}

// checkChunk is how many photos or cases are read in one transaction: long ones would keep the log from being folded into
// the database while others write.
const checkChunk = 256

// secondLook is how long Check waits before it looks again at what seemed wrong: someone may just have been changing it.
const secondLook = 200 * time.Millisecond

// checker is a check under way.
type checker struct {
	*Registry
	expect CheckOptions
	report func(Problem)
	counts Checked
	inUse  bool // what is expected of the active set is so
}

// Check holds every row, file, hash, key and vector of the registry against one another and calls report for each problem.
// It changes nothing, and may run while others work. An error is of the check itself, not of the registry.
func (r *Registry) Check(ctx context.Context, o CheckOptions, report func(Problem)) (Checked, error) {
	c := &checker{Registry: r, expect: o, report: report}
	active, err := activeGeneration(ctx, r.readers)
	if err != nil && !errors.Is(classify(err), ErrCorrupt) {
		return c.counts, wrap(err, "check the registry")
	}
	c.inUse = active.n == 0 || active.ID == o.Active
	if l := r.Loss(); l != nil && l.Known {
		report(problem("database.behind", "%v", l))
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"database", c.database}, {"cases", c.cases}, {"changes", c.changes}, {"photos", c.photosAndFaces}, {"files", c.files},
		{"sealed", c.sealed}, {"rest", c.rest}, {"audit", c.auditChain},
	} {
		err := step.do(ctx)
		if errors.Is(classify(err), ErrCorrupt) && ctx.Err() == nil {
			p := problem("database.damaged", "reading it failed: %v", err)
			p.Subject = step.what
			report(p)
			continue
		}
		if err != nil {
			return c.counts, wrap(err, "check the registry: %s", step.what)
		}
	}
	return c.counts, nil
}

// each calls do for every row of a query.
func eachRow(ctx context.Context, q querier, do func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// mostLines bounds what SQLite tells of a database that is beyond help.
const mostLines = 100

func (c *checker) database(ctx context.Context) error {
	err := eachRow(ctx, c.readers, func(rows *sql.Rows) error {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		for line := range strings.Lines(line) {
			if line = strings.TrimSpace(line); line != "ok" && line != "" && !strings.HasPrefix(line, "***") {
				c.report(problem("database.damaged", "%s", line))
			}
		}
		return nil
	}, fmt.Sprintf("PRAGMA integrity_check(%d)", mostLines))
	if err != nil {
		return err
	}
	lines := 0
	return eachRow(ctx, c.readers, func(rows *sql.Rows) error {
		var table, parent string
		var row sql.NullInt64
		var key int
		if err := rows.Scan(&table, &row, &parent, &key); err != nil {
			return err
		}
		if lines++; lines > mostLines {
			return nil
		}
		p := problem("database.reference", "row %d names a row of %s that is not there", row.Int64, parent)
		p.Subject = table
		c.report(p)
		return nil
	}, "PRAGMA foreign_key_check")
}

// scanAnyway scans the first column of a row of which another is damaged.
func scanAnyway(rows *sql.Rows, first any) error {
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	into := make([]any, len(columns))
	for i := range into {
		into[i] = new(any)
	}
	into[0] = first
	return rows.Scan(into...)
}

func (c *checker) cases(ctx context.Context) error {
	for after := int64(0); ; {
		n := 0
		err := eachRow(ctx, c.readers, func(rows *sql.Rows) error {
			n++
			c.counts.Cases++
			var key []byte
			cs, err := scanCase(rows, &key, &after)
			if err != nil {
				if err := scanAnyway(rows, &cs.ID); err != nil {
					return err
				}
				after = 0
				if err := c.readers.QueryRowContext(ctx, "SELECT n, key FROM cases WHERE id = ?", cs.ID).Scan(&after, &key); err != nil {
					return err
				}
				// Why, but not what stands there: that is a child's.
				p := problem("case.damaged", "its facts cannot be read, and no search starts until they can")
				p.Case = cs.ID
				c.report(p)
			}
			if _, err := c.keys.caseKey(cs.ID, key); err != nil {
				p := problem("case.key", "its key does not open")
				p.Case = cs.ID
				c.report(p)
			}
			return nil
		}, "SELECT "+caseColumns+", c.key, c.n FROM cases c WHERE c.n > ? ORDER BY c.n LIMIT ?", after, checkChunk)
		if err != nil || n < checkChunk {
			return err
		}
	}
}

// changes checks what the indexes and the standing search follow.
func (c *checker) changes(ctx context.Context) error {
	for _, q := range []struct{ code, text, query string }{
		{"photo.undone", "it is neither done under the model set in use nor queued",
			`SELECT p.case_id, p.id FROM photos p JOIN generations g ON g.state = 'active' WHERE p.state <> 'queued'
			AND NOT EXISTS (SELECT 1 FROM photo_sets s WHERE s.generation = g.n AND s.photo = p.n)`},
		{"case.unfollowed", "no change of it is noted, so that no search sees it",
			"SELECT c.id, '' FROM cases c LEFT JOIN case_changes x ON x.case_id = c.id WHERE x.case_id IS NULL OR x.deleted"},
		{"case.unfollowed", "it is gone, but its deletion is not noted",
			"SELECT x.case_id, '' FROM case_changes x LEFT JOIN cases c ON c.id = x.case_id WHERE c.id IS NULL AND NOT x.deleted"},
		{"case.due", "what the standing search is to compare is not its last change",
			`SELECT d.case_id, '' FROM due d LEFT JOIN case_changes x ON x.case_id = d.case_id LEFT JOIN cases c ON c.id = d.case_id
			WHERE x.seq IS NOT d.seq OR c.status <> 'open'`},
	} {
		err := eachRow(ctx, c.readers, func(rows *sql.Rows) error {
			p := problem(q.code, "%s", q.text)
			if err := rows.Scan(&p.Case, &p.Photo); err != nil {
				return err
			}
			c.report(p)
			return nil
		}, q.query)
		if err != nil {
			return err
		}
	}
	return nil
}

// examined is a photo with all that belongs to it.
type examined struct {
	n       int64
	id      PhotoID
	caseID  CaseID
	key     []byte // of the case, sealed
	file    string
	digest  []byte
	size    int64
	state   PhotoState
	reason  string
	taken   string
	look    []byte // sealed
	subject FaceID
	faces   []examinedFace

	found []Problem
	bytes int64
}

type examinedFace struct {
	id         FaceID
	searchable bool
	damaged    error
	templates  map[string][]byte
	embeddings map[string][]byte
}

// has says whether there is a template of the face under a set, sound or not.
func (f *examinedFace) has(set string) bool {
	_, ok := f.templates[set]
	return ok
}

// photosAndFaces checks photos a chunk at a time, on all cores.
func (c *checker) photosAndFaces(ctx context.Context) error {
	var total int64
	if err := c.readers.QueryRowContext(ctx, "SELECT count(*) FROM photos").Scan(&total); err != nil {
		return err
	}
	for after := int64(0); ; {
		photos, err := c.readPhotos(ctx, "p.n > ? ORDER BY p.n LIMIT ?", after, checkChunk)
		if err != nil {
			return err
		}
		if len(photos) == 0 {
			return nil
		}
		after = photos[len(photos)-1].n
		if err := c.examineAll(ctx, photos); err != nil {
			return err
		}
		if err := c.lookAgain(ctx, photos); err != nil {
			return err
		}
		for _, p := range photos {
			for _, found := range p.found {
				c.report(found)
			}
			c.counts.Photos++
			c.counts.Bytes += p.bytes
			c.counts.Faces += int64(len(p.faces))
			for _, f := range p.faces {
				c.counts.Templates += int64(len(f.templates))
				c.counts.Embeddings += int64(len(f.embeddings))
			}
		}
		if c.expect.Progress != nil {
			c.expect.Progress(c.counts.Photos, total)
		}
	}
}

// lookAgain examines once more, after a while, the photos in which something was found, and keeps what is found both times.
func (c *checker) lookAgain(ctx context.Context, photos []*examined) error {
	var ids []PhotoID
	for _, p := range photos {
		if len(p.found) > 0 {
			ids = append(ids, p.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(secondLook):
	}
	again, err := c.readPhotos(ctx, "p.id IN (SELECT value FROM json_each(?)) ORDER BY p.n", jsonText(ids))
	if err != nil {
		return err
	}
	if err := c.examineAll(ctx, again); err != nil {
		return err
	}
	now := make(map[PhotoID]*examined, len(again))
	for _, p := range again {
		now[p.id] = p
	}
	for _, p := range photos {
		if len(p.found) == 0 {
			continue
		}
		before := p.found
		p.found = nil
		if n := now[p.id]; n != nil {
			for _, found := range n.found {
				if slices.ContainsFunc(before, func(b Problem) bool { return b.Code == found.Code && b.Face == found.Face }) {
					p.found = append(p.found, found)
				}
			}
		}
	}
	return nil
}

// rawFaces reads faces as they are stored, in the order of scanFace, whoever sees them.
const rawFaces = `SELECT f.id, f.photo_id, f.x, f.y, f.w, f.h, f.landmarks, f.score, f.age_years, f.age_sd, f.quality, f.eye_dist,
	f.sharpness, f.yaw, f.pitch, f.roll, f.searchable, f.reasons FROM faces f`

// soundTemplate says whether what a template has beside its numbers can be read.
const soundTemplate = "(json_valid(templates.reasons) AND abs(templates.age_years) < 1e6 AND abs(templates.age_sd) < 1e6 AND abs(templates.quality) < 1e6)"

// readPhotos reads photos with their faces and all that is sealed of them, as of one moment.
func (r *Registry) readPhotos(ctx context.Context, where string, args ...any) (photos []*examined, err error) {
	err = r.view(ctx, "read photos", func(tx *sql.Tx) error {
		byID := make(map[PhotoID]*examined)
		var ids []PhotoID
		err := eachRow(ctx, tx, func(rows *sql.Rows) error {
			var p examined
			if err := rows.Scan(&p.n, &p.id, &p.caseID, &p.key, &p.file, &p.digest, &p.size, &p.state, &p.reason, &p.taken, &p.look, &p.subject); err != nil {
				return err
			}
			photos = append(photos, &p)
			byID[p.id] = &p
			ids = append(ids, p.id)
			return nil
		}, `SELECT p.n, p.id, p.case_id, c.key, p.file, p.digest, p.size, p.state, p.reason, p.taken, p.look, p.subject
			FROM photos p JOIN cases c ON c.id = p.case_id WHERE `+where, args...)
		if err != nil || len(ids) == 0 {
			return err
		}
		some := jsonText(ids)
		at := make(map[FaceID]*examinedFace)
		var of []PhotoID
		var faces []*examinedFace
		err = eachRow(ctx, tx, func(rows *sql.Rows) error {
			f := &examinedFace{templates: map[string][]byte{}, embeddings: map[string][]byte{}}
			stored, err := scanFace(rows)
			photo := stored.PhotoID
			f.id, f.searchable = stored.ID, stored.Searchable
			if err == nil {
				err = (&NewFace{Face: stored}).check()
			}
			if err != nil {
				f.damaged = err
				if err := scanAnyway(rows, &f.id); err != nil {
					return err
				}
				if err := tx.QueryRowContext(ctx, "SELECT photo_id, searchable FROM faces WHERE id = ?", f.id).Scan(&photo, &f.searchable); err != nil {
					return err
				}
			}
			at[f.id] = f
			faces, of = append(faces, f), append(of, photo)
			return nil
		}, rawFaces+" WHERE f.photo_id IN (SELECT value FROM json_each(?)) ORDER BY f.photo_id, f.position, f.n", some)
		if err != nil {
			return err
		}
		for _, q := range []struct {
			query string
			of    func(*examinedFace) map[string][]byte
		}{
			{"SELECT templates.face_id, model_set, iif(" + soundTemplate + ", sealed, x'') FROM faces f JOIN templates ON templates.face_id = f.id WHERE f.photo_id IN (SELECT value FROM json_each(?))",
				func(f *examinedFace) map[string][]byte { return f.templates }},
			{"SELECT e.face_id, e.recogniser, e.sealed FROM faces f JOIN embeddings e ON e.face_id = f.id WHERE f.photo_id IN (SELECT value FROM json_each(?))",
				func(f *examinedFace) map[string][]byte { return f.embeddings }},
		} {
			err := eachRow(ctx, tx, func(rows *sql.Rows) error {
				var id FaceID
				var under string
				var sealed []byte
				if err := rows.Scan(&id, &under, &sealed); err != nil {
					return err
				}
				if f := at[id]; f != nil {
					q.of(f)[under] = sealed
				}
				return nil
			}, q.query, some)
			if err != nil {
				return err
			}
		}
		for i, f := range faces {
			if p := byID[of[i]]; p != nil {
				p.faces = append(p.faces, *f)
			}
		}
		return nil
	})
	return photos, err
}

func (c *checker) examineAll(ctx context.Context, photos []*examined) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range photos {
		g.Go(func() error {
			c.examine(ctx, p)
			return ctx.Err()
		})
	}
	return g.Wait()
}

// examine looks at one photo and notes in it what is wrong.
func (c *checker) examine(ctx context.Context, p *examined) {
	add := func(face FaceID, under string, found Problem) {
		found.Case, found.Photo, found.Face, found.under = p.caseID, p.id, face, under
		p.found = append(p.found, found)
	}
	c.examineFile(ctx, p, add)
	if len(p.look) > 0 && c.keys.openLook(p.id, p.look) == 0 {
		add("", "", problem("photo.look", "how it looks cannot be read"))
	}
	if new(Date).Scan(p.taken) != nil {
		add("", "", problem("photo.taken", "when it was taken cannot be read"))
	}
	if p.subject != "" && !slices.ContainsFunc(p.faces, func(f examinedFace) bool { return f.id == p.subject }) {
		add("", "", problem("photo.subject", "the face that was chosen in it is not there"))
	}
	for _, f := range p.faces {
		if f.damaged != nil {
			add(f.id, "", problem("face.damaged", "what is stored of where it is and how it looks is damaged"))
		}
		for set, sealed := range f.templates {
			if _, err := c.vector(kindTemplate, f.id, set, sealed, c.expect.Templates[set]); err != nil {
				add(f.id, set, problem("template.damaged", "its template under %s %v: it cannot be found by it", set, err))
			}
		}
		whole := true
		embeddings := make(map[string][]float32, len(f.embeddings))
		for recogniser, sealed := range f.embeddings {
			v, err := c.vector(kindEmbedding, f.id, recogniser, sealed, c.expect.Embeddings[recogniser])
			if err != nil {
				whole = false
				add(f.id, recogniser, problem("embedding.damaged", "its embedding by %s %v", recogniser, err))
			}
			embeddings[recogniser] = v
		}
		// Only of the face that was chosen: one that another model set alone has found has none, and needs none.
		if whole && c.expect.Project != nil && p.state == Analysed && p.subject == f.id && c.inUse && !f.has(c.expect.Active) {
			if t, err := c.expect.Project(embeddings); err == nil && t != nil && checkVector(t) == nil {
				add(f.id, c.expect.Active, problem("template.missing", "it has no template under the set in use, though it could have one"))
			}
		}
	}
}

// vector opens a vector and says in words what is wrong with it. dim 0 is any length.
func (c *checker) vector(kind string, face FaceID, under string, sealed []byte, dim int) ([]float32, error) {
	v, err := c.keys.openVector(kind, face, under, sealed)
	switch {
	case err != nil:
		return nil, errors.New("does not open")
	case checkVector(v) != nil:
		return nil, errors.New("is not finite, or is empty or all zeros")
	case dim > 0 && len(v) != dim:
		return nil, fmt.Errorf("has %d numbers and not %d", len(v), dim)
	}
	return v, nil
}

// damagedReason is why Repair sets a photo aside.
const damagedReason = "Its file was damaged, and no backup had it. Delete the photo here and send it again."

// examineFile holds a photo's file against its row.
func (c *checker) examineFile(ctx context.Context, p *examined, add func(FaceID, string, Problem)) {
	wrong := func(code, format string, args ...any) {
		found := problem(code, format, args...)
		found.Known = p.state == SetAside && p.reason == damagedReason
		add("", "", found)
	}
	if !isFileName(p.file) {
		wrong("photo.row", "the name of its file is damaged")
		return
	}
	f, err := os.Open(c.file(p.file))
	if errors.Is(err, os.ErrNotExist) {
		wrong("photo.file_missing", "its file is not there")
		return
	}
	if err != nil {
		wrong("photo.file_failing", "its file cannot be opened: %v", cause(err))
		return
	}
	defer f.Close()
	hash := sha256.New()
	var key tink.StreamingAEAD
	if c.expect.Deep {
		if key, err = c.keys.caseKey(p.caseID, p.key); err != nil {
			key = nil // told of the case
		}
	}
	src := &source{r: io.TeeReader(contextReader{ctx, f}, hash)}
	var opened error
	digest := c.keys.newDigest()
	size := p.size
	if key != nil {
		var plain io.Reader
		if plain, opened = key.NewDecryptingReader(src, []byte(p.id)); opened == nil {
			size, opened = io.Copy(digest, plain)
		}
	}
	_, err = io.CopyBuffer(io.Discard, onlyReader{src}, make([]byte, fileBuffer)) // the rest, or all of it
	if err == nil {
		err = src.err
	}
	info, statErr := f.Stat()
	if statErr == nil {
		p.bytes = info.Size()
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			wrong("photo.file_failing", "its file cannot be read: %v", cause(err))
		}
	case hex.EncodeToString(hash.Sum(nil)) != p.file:
		wrong("photo.file_changed", "its file is not as it was written")
	case key == nil && info != nil && info.Size() != sealedSize(p.size):
		wrong("photo.content", "its file does not have the size that its row says")
	case opened != nil:
		wrong("photo.content", "its file is whole but does not decrypt as this photo")
	case key != nil && (size != p.size || !hmac.Equal(digest.Sum(nil), p.digest)):
		wrong("photo.content", "its file is whole but holds other bytes than its row says")
	case p.state == SetAside && p.reason == damagedReason:
		add("", "", problem("photo.restored", "it was set aside for want of its file, which is whole again"))
	}
}

// sealedSize is how long the ciphertext of so many bytes is: a header of 40 bytes, and 16 more for each segment of 4096.
func sealedSize(plain int64) int64 {
	const header, segment, tag = 40, 4096, 16
	const most = segment - tag
	segments := (plain + header + most - 1) / most
	return header + plain + tag*segments
}

// cause is an error of the operating system without the path.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// onlyReader hides every other method.
type onlyReader struct{ io.Reader }

// files looks for what no row names.
func (c *checker) files(ctx context.Context) error {
	stray := func(code, path, text string) {
		p := problem(code, "%s", text)
		p.path = path
		if p.Subject, _ = filepath.Rel(c.dir, path); !isFileName(filepath.Base(path)) {
			p.Subject = filepath.Dir(p.Subject) + "/…" // whoever put it there may have named it after a child
		}
		c.report(p)
	}
	err := c.Registry.strays(ctx, func(path string) error {
		stray("file.stray", path, "no photo has this file")
		return nil
	})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(c.tmp())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			stray("file.tmp", filepath.Join(c.tmp(), e.Name()), "nobody is at this file")
		}
	}
	lost, err := os.ReadDir(filepath.Join(c.dir, lostName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.counts.Lost = int64(len(lost))
	return nil
}

// sealed opens whatever else is encrypted.
func (c *checker) sealed(ctx context.Context) error {
	stream := func(key []byte, id CaseID, sealed, context []byte) error {
		a, err := c.keys.caseKey(id, key)
		if err != nil {
			return nil // told of the case
		}
		plain, err := a.NewDecryptingReader(bytes.NewReader(sealed), context)
		if err == nil {
			_, err = io.Copy(io.Discard, plain)
		}
		return err
	}
	for _, t := range []struct {
		code, text, query string
		open              func(id string, key, sealed []byte, p *Problem) error
	}{
		{"verdict.sealed", "what lay before the examiner does not open", "SELECT v.rowid, v.id, v.lead_id, x'', v.frozen FROM verdicts v",
			func(id string, _, sealed []byte, _ *Problem) error {
				_, err := c.keys.biometrics.Decrypt(sealed, frozenContext(id))
				return err
			}},
		{"exhibit.sealed", "what an examiner saw of the photo does not open", "SELECT v.rowid, v.photo_id, v.case_id, k.key, v.sealed FROM exhibits v JOIN cases k ON k.id = v.case_id",
			func(id string, key, sealed []byte, p *Problem) error {
				p.Case = CaseID(p.Subject)
				return stream(key, p.Case, sealed, exhibitContext(PhotoID(id)))
			}},
		{"picture.sealed", "the picture that the public sees does not open", `SELECT v.rowid, v.id, k.id, k.key, v.sealed FROM published_pictures v
			JOIN publications g ON g.id = v.publication_id JOIN cases k ON k.id = g.case_id`,
			func(id string, key, sealed []byte, p *Problem) error {
				p.Case = CaseID(p.Subject)
				return stream(key, p.Case, sealed, pictureContext(id))
			}},
		{"contact.sealed", "how to reach the family does not open", "SELECT v.rowid, v.account_id, v.case_id, x'', v.contact FROM families v",
			func(id string, _, sealed []byte, p *Problem) error {
				p.Case = CaseID(p.Subject)
				_, err := c.keys.openContact(AccountID(id), sealed)
				return err
			}},
		{"codes.sealed", "the secret of its codes does not open", "SELECT v.rowid, v.id, '', x'', v.totp FROM accounts v WHERE v.totp <> x''",
			func(id string, _, sealed []byte, _ *Problem) error {
				_, err := c.keys.openTOTP(AccountID(id), sealed)
				return err
			}},
	} {
		link := " WHERE "
		if strings.Contains(t.query, link) {
			link = " AND "
		}
		for after := int64(0); ; {
			n := 0
			err := eachRow(ctx, c.readers, func(rows *sql.Rows) error {
				n++
				c.counts.Sealed++
				p := problem(t.code, "%s", t.text)
				var id string
				var key, sealed []byte
				if err := rows.Scan(&after, &id, &p.Subject, &key, &sealed); err != nil {
					return err
				}
				if t.open(id, key, sealed, &p) != nil {
					p.Subject = id
					c.report(p)
				}
				return nil
			}, t.query+link+"v.rowid > ? ORDER BY v.rowid LIMIT ?", after, checkChunk)
			if err != nil {
				return err
			}
			if n < checkChunk {
				break
			}
		}
	}
	return nil
}

// rest checks what few rows tell.
func (c *checker) rest(ctx context.Context) error {
	one := func(code, text, query string, args ...any) error {
		return eachRow(ctx, c.readers, func(rows *sql.Rows) error {
			p := problem(code, "%s", text)
			if err := rows.Scan(&p.Subject); err != nil {
				return err
			}
			c.report(p)
			return nil
		}, query, args...)
	}
	err := errors.Join(
		one("key.account", "it acts as an account that is not there", "SELECT id FROM keys WHERE revoked = 0 AND account_id NOT IN (SELECT id FROM accounts)"),
		one("job.damaged", "what it is to do, or how far it has come, cannot be read", "SELECT id FROM jobs WHERE NOT json_valid(args) OR NOT json_valid(progress)"),
		one("generation.none", "no model set is the one in use", "SELECT 'generations' WHERE EXISTS (SELECT 1 FROM generations) AND NOT EXISTS (SELECT 1 FROM generations WHERE state = 'active')"),
	)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for set := range c.expect.Templates {
		known[set] = true
	}
	return eachRow(ctx, c.readers, func(rows *sql.Rows) error {
		var set string
		var n int
		if err := rows.Scan(&set, &n); err != nil {
			return err
		}
		if c.expect.Templates != nil && !known[set] {
			p := problem("template.foreign", "%d templates are of a model set that is neither in use nor kept", n)
			p.Subject, p.Known = set, true
			c.report(p)
		}
		return nil
	}, "SELECT model_set, count(*) FROM templates WHERE model_set NOT IN (SELECT id FROM generations) GROUP BY model_set")
}

func (c *checker) auditChain(ctx context.Context) error {
	state, err := c.VerifyAudit(ctx, "")
	c.counts.Entries = state.Entries
	if errors.Is(err, ErrTampered) {
		c.report(problem("audit.changed", "%v", err))
		return nil
	}
	return err
}
