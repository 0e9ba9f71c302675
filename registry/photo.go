package registry

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/tink"
)

const photoColumns = `p.id, p.case_id, p.name, p.format, p.size, p.width, p.height, p.taken, p.taken_by, p.state, p.reason,
	p.tries, p.subject, p.added_at`

func scanPhoto(row scanner, more ...any) (Photo, error) {
	var p Photo
	var added int64
	err := row.Scan(append([]any{&p.ID, &p.CaseID, &p.Name, &p.Format, &p.Size, &p.Width, &p.Height, &p.Taken, &p.TakenBy,
		&p.State, &p.Reason, &p.Tries, &p.Subject, &added}, more...)...)
	if err != nil {
		return Photo{}, err
	}
	p.AddedAt = fromMillis(added)
	return p, nil
}

// What a face is under the active generation, of which t is its template. Where that has looked at the photo and made no template,
// the face cannot be searched with.
const faceColumns = `f.id, f.photo_id, f.x, f.y, f.w, f.h, f.landmarks, f.score, coalesce(t.age_years, f.age_years), coalesce(t.age_sd, f.age_sd),
	coalesce(t.quality, f.quality), f.eye_dist, f.sharpness, f.yaw, f.pitch, f.roll,
	coalesce(t.searchable, f.searchable AND NOT EXISTS (SELECT 1 FROM photo_sets s JOIN photos p ON p.n = s.photo
		JOIN generations g ON g.n = s.generation WHERE p.id = f.photo_id AND g.state = 'active' AND s.state = 'done')),
	coalesce(t.reasons, f.reasons)`

// fromAllFaces are all faces, as faceColumns takes them.
const fromAllFaces = " FROM faces f LEFT JOIN templates t ON t.face_id = f.id AND t.model_set = (SELECT id FROM generations WHERE state = 'active')"

// fromFaces are the faces that are seen under the active generation.
const fromFaces = fromAllFaces + ` WHERE (f.only_in = '' OR f.only_in = (SELECT model_set FROM generations WHERE state = 'active'))`

func scanFace(row scanner) (Face, error) {
	var f Face
	var landmarks []byte
	var reasons string
	err := row.Scan(&f.ID, &f.PhotoID, &f.X, &f.Y, &f.W, &f.H, &landmarks, &f.Score, &f.AgeYears, &f.AgeSD, &f.Quality,
		&f.EyeDist, &f.Sharpness, &f.Yaw, &f.Pitch, &f.Roll, &f.Searchable, &reasons)
	if err != nil {
		return Face{}, err
	}
	marks := bytesFloats(landmarks)
	if len(marks) != 2*len(f.Landmarks) {
		return Face{}, fmt.Errorf("landmarks of face %s: %w", f.ID, ErrCorrupt)
	}
	for i := range f.Landmarks {
		f.Landmarks[i] = [2]float32{marks[2*i], marks[2*i+1]}
	}
	if err := json.Unmarshal([]byte(reasons), &f.Reasons); err != nil {
		return Face{}, fmt.Errorf("reasons of face %s: %w: %w", f.ID, ErrCorrupt, err)
	}
	return f, nil
}

// facesOf reads the faces of a photo, largest first.
func facesOf(ctx context.Context, tx *sql.Tx, id PhotoID) ([]Face, error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+faceColumns+fromFaces+" AND f.photo_id = ? ORDER BY f.position, f.n", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var faces []Face
	for rows.Next() {
		f, err := scanFace(rows)
		if err != nil {
			return nil, err
		}
		faces = append(faces, f)
	}
	return faces, rows.Err()
}

// photoWhere reads a photo with its faces.
func photoWhere(ctx context.Context, tx *sql.Tx, where string, args ...any) (Photo, error) {
	p, err := scanPhoto(tx.QueryRowContext(ctx, "SELECT "+photoColumns+" FROM photos p WHERE "+where, args...))
	if err != nil {
		return Photo{}, err
	}
	p.Faces, err = facesOf(ctx, tx, p.ID)
	return p, err
}

// Photo reads a photo with its faces.
func (r *Registry) Photo(ctx context.Context, id PhotoID) (p Photo, err error) {
	err = r.view(ctx, "photo "+string(id), func(tx *sql.Tx) (err error) {
		p, err = photoWhere(ctx, tx, "p.id = ?", id)
		return err
	})
	return p, err
}

// PhotoOf reads the photo that a face is in, with its faces.
func (r *Registry) PhotoOf(ctx context.Context, face FaceID) (p Photo, err error) {
	err = r.view(ctx, "photo of face "+string(face), func(tx *sql.Tx) (err error) {
		p, err = photoWhere(ctx, tx, "p.id = (SELECT photo_id FROM faces WHERE id = ?)", face)
		return err
	})
	return p, err
}

// PhotosOf reads the photos of a case with their faces: first those taken first, then, in the order they were added,
// those of unknown date. ErrNotFound when there is no such case.
func (r *Registry) PhotosOf(ctx context.Context, id CaseID) (photos []Photo, err error) {
	err = r.view(ctx, "photos of case "+string(id), func(tx *sql.Tx) (err error) {
		photos, err = photosOf(ctx, tx, id)
		return err
	})
	return photos, err
}

func photosOf(ctx context.Context, tx *sql.Tx, id CaseID) ([]Photo, error) {
	var one int
	if err := tx.QueryRowContext(ctx, "SELECT 1 FROM cases WHERE id = ?", id).Scan(&one); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, "SELECT "+photoColumns+" FROM photos p WHERE p.case_id = ? ORDER BY p.taken = '', p.taken, p.n", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var photos []Photo
	for rows.Next() {
		p, err := scanPhoto(rows)
		if err != nil {
			return nil, err
		}
		photos = append(photos, p)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for i := range photos {
		if photos[i].Faces, err = facesOf(ctx, tx, photos[i].ID); err != nil {
			return nil, err
		}
	}
	return photos, nil
}

// PhotoChange is what a person says of a photo; nil leaves as it is.
type PhotoChange struct {
	// Taken is when the photo was taken. It outranks EXIF from then on, also where it says unknown.
	Taken *Date
	// Subject is the face that is the child's own, or "" for none of them. It must be in the photo.
	Subject *FaceID
}

// UpdatePhoto changes what a person says of a photo and returns the photo with its faces.
func (r *Registry) UpdatePhoto(ctx context.Context, id PhotoID, ch PhotoChange) (p Photo, err error) {
	var fields []string
	err = r.change(ctx, "change photo "+string(id), func(ctx context.Context, tx *sql.Tx) error {
		if p, err = photoWhere(ctx, tx, "p.id = ?", id); err != nil {
			return err
		}
		if ch.Taken != nil {
			if err := past("taken", *ch.Taken, r.now()); err != nil {
				return err
			}
			fields = append(fields, "taken")
			p.Taken, p.TakenBy = *ch.Taken, TakenPerson
			if _, err := tx.ExecContext(ctx, "UPDATE photos SET taken = ?, taken_by = ? WHERE id = ?", p.Taken, p.TakenBy, id); err != nil {
				return err
			}
		}
		if ch.Subject != nil {
			if *ch.Subject != "" && !hasFace(p.Faces, *ch.Subject) {
				return &FieldError{"subject", "is not a face of this photo; give the id of one of its faces, or nothing for none of them"}
			}
			fields = append(fields, "subject")
			p.Subject = *ch.Subject
			if _, err := tx.ExecContext(ctx, "UPDATE photos SET subject = ?, subject_by = ? WHERE id = ?", p.Subject, byPerson, id); err != nil {
				return err
			}
			// Whichever set has found it, it is the child now.
			if _, err := tx.ExecContext(ctx, "UPDATE faces SET only_in = '' WHERE id = ? AND only_in <> ''", p.Subject); err != nil {
				return err
			}
		}
		if err := noteChange(ctx, tx, p.CaseID, false); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "photo.changed", Case: p.CaseID, Subject: string(id), Detail: map[string]string{"fields": strings.Join(fields, ",")}})
	})
	if err != nil {
		return Photo{}, err
	}
	return p, nil
}

func hasFace(faces []Face, id FaceID) bool {
	for _, f := range faces {
		if f.ID == id {
			return true
		}
	}
	return false
}

// DeletePhoto deletes a photo with its faces and templates.
func (r *Registry) DeletePhoto(ctx context.Context, id PhotoID) error {
	var files []string
	err := r.change(ctx, "delete photo "+string(id), func(ctx context.Context, tx *sql.Tx) (err error) {
		var caseID CaseID
		if err := tx.QueryRowContext(ctx, "SELECT case_id FROM photos WHERE id = ?", id).Scan(&caseID); err != nil {
			return err
		}
		if files, err = photoFiles(ctx, tx, "id", string(id)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM photos WHERE id = ?", id); err != nil {
			return err
		}
		if err := noteChange(ctx, tx, caseID, false); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "photo.deleted", Case: caseID, Subject: string(id)})
	})
	if err != nil {
		return err
	}
	r.removeFiles(files)
	return nil
}

// photoFiles lists the files of the photos of which the column has the value.
func photoFiles(ctx context.Context, tx *sql.Tx, column, value string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT file FROM photos WHERE "+column+" = ?", value)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var files []string
	for rows.Next() {
		var f string
		if err := rows.Scan(&f); err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, rows.Err()
}

// file is the path of a photo's file.
func (r *Registry) file(name string) string { return filepath.Join(r.photos(), name[:2], name) }

// removeFiles removes photo files whose rows are gone. One that resists is left to the next Open.
func (r *Registry) removeFiles(names []string) {
	if r.at("files.remove") != nil {
		r.unswept.Store(true)
		return
	}
	for _, name := range names {
		if err := os.Remove(r.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.unswept.Store(true)
		}
	}
}

// OpenPhoto opens the original bytes of a photo. What Read returns is authenticated; a file that was changed or cut short
// ends in ErrCorrupt instead of io.EOF.
func (r *Registry) OpenPhoto(ctx context.Context, id PhotoID) (io.ReadCloser, error) {
	rc, err := r.openPhoto(ctx, id)
	return rc, wrap(err, "open photo %s", id)
}

func (r *Registry) openPhoto(ctx context.Context, id PhotoID) (io.ReadCloser, error) {
	var caseID CaseID
	var name string
	var key []byte
	const query = "SELECT c.id, c.key, p.file FROM photos p JOIN cases c ON c.id = p.case_id WHERE p.id = ?"
	if err := r.readers.QueryRowContext(ctx, query, id).Scan(&caseID, &key, &name); err != nil {
		return nil, err
	}
	a, err := r.keys.caseKey(caseID, key)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(r.file(name))
	if errors.Is(err, os.ErrNotExist) {
		// Deleted since the row was read?
		if err := r.readers.QueryRowContext(ctx, query, id).Scan(&caseID, &key, &name); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: the file %s is gone; restore photos/ from a backup", ErrCorrupt, name)
	}
	if err != nil {
		return nil, err
	}
	return newPlain(f, a, id)
}

// plain reads the plaintext of an encrypted file.
type plain struct {
	file  *os.File
	src   *source
	plain io.Reader
	id    PhotoID
}

// source remembers how reading the ciphertext failed, which the decryption does not tell.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// newPlain takes f over.
func newPlain(f *os.File, a tink.StreamingAEAD, id PhotoID) (io.ReadCloser, error) {
	src := &source{r: bufio.NewReaderSize(f, fileBuffer)}
	r, err := a.NewDecryptingReader(src, []byte(id))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &plain{file: f, src: src, plain: r, id: id}, nil
}

func (p *plain) Read(b []byte) (int, error) {
	n, err := p.plain.Read(b)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case p.src.err != nil:
		return n, wrap(p.src.err, "read photo %s", p.id)
	}
	return n, fmt.Errorf("read photo %s: %w: its file was changed; restore it from a backup", p.id, ErrCorrupt)
}

func (p *plain) Close() error { return p.file.Close() }
