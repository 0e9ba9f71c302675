package registry

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// PublicationState is how far a publication has come.
type PublicationState string

const (
	Proposed  PublicationState = "proposed" // waits for a second person
	Refused   PublicationState = "refused"
	Published PublicationState = "published" // the public sees it
	Removal   PublicationState = "removal"   // hidden at once; waits for a second person to agree
	Removed   PublicationState = "removed"
)

// Publication is what the public sees of a found child.
type Publication struct {
	ID             string // "g_…"; tells nothing of the case
	Case           CaseID
	State          PublicationState
	Sex            Sex
	AgeFrom, AgeTo int    // estimated, when found, in years
	FoundOn        Date   // a month or a year
	Place          string // coarse
	Region         string
	Marks          string
	Pictures       []PublishedPicture
	ProposedBy     AccountID
	ProposedAt     time.Time
	DecidedBy      AccountID
	DecidedAt      time.Time
	RemovalBy      AccountID
	RemovalWhy     string
	RemovalAt      time.Time
}

// PublishedPicture is a picture as the public sees it: made once, without metadata, approved as it is.
type PublishedPicture struct {
	ID    string // "i_…"
	Photo PhotoID
	JPEG  []byte // only where it is proposed
}

// Limits on publications.
const (
	MaxPublishedPictures = 6       // of one publication
	MaxPublishedBytes    = 4 << 20 // of one picture
	MaxPublishedAge      = 30      // years: a child when it was found, or taken for one
	MaxWords             = 200     // characters that the gallery is searched for
)

// Propose asks to publish a found child. ErrConflict when the case is closed, of the missing, or has a publication that is
// proposed, published or being removed. *FieldError for a date to the day, an age range that makes no sense, or no picture.
func (r *Registry) Propose(ctx context.Context, p Publication) (Publication, error) {
	what := "propose to publish case " + string(p.Case)
	p.ID, p.State, p.ProposedBy, p.ProposedAt = newID("g_"), Proposed, ActorOf(ctx).Account, r.now()
	p.DecidedBy, p.DecidedAt, p.RemovalBy, p.RemovalWhy, p.RemovalAt = "", time.Time{}, "", "", time.Time{}
	if err := p.tidy(); err != nil {
		return Publication{}, wrap(err, "%s", what)
	}
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		c, err := scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", p.Case))
		if err != nil {
			return err
		}
		if err := publishable(c); err != nil {
			return err
		}
		if err := knownRegion(ctx, tx, p.Region); err != nil {
			return err
		}
		var live PublicationState
		err = tx.QueryRowContext(ctx, "SELECT state FROM publications WHERE case_id = ? AND state IN ('proposed', 'published', 'removal')", c.ID).Scan(&live)
		if err == nil {
			return refused(ErrConflict, "it has a publication that is %s", live)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO publications (id, case_id, state, sex, age_from, age_to, found_on, place, region, marks, proposed_by, proposed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, p.ID, p.Case, p.State, p.Sex, p.AgeFrom, p.AgeTo, p.FoundOn, p.Place, p.Region, p.Marks,
			p.ProposedBy, millis(p.ProposedAt)); err != nil {
			return err
		}
		for i := range p.Pictures {
			pic := &p.Pictures[i]
			var one int
			err := tx.QueryRowContext(ctx, "SELECT 1 FROM photos WHERE id = ? AND case_id = ?", pic.Photo, p.Case).Scan(&one)
			if errors.Is(err, sql.ErrNoRows) {
				return &FieldError{"pictures", fmt.Sprintf("has %.40q, which is no photo of this case", pic.Photo)}
			}
			if err != nil {
				return err
			}
			pic.ID = newID("i_")
			sealed, err := r.sealPicture(ctx, tx, p.Case, pic.ID, pic.JPEG)
			if err != nil {
				return err
			}
			pic.JPEG = nil
			if _, err := tx.ExecContext(ctx, "INSERT INTO published_pictures (id, publication_id, position, photo_id, sealed) VALUES (?, ?, ?, ?, ?)",
				pic.ID, p.ID, i, pic.Photo, sealed); err != nil {
				return err
			}
		}
		return r.audit(ctx, tx, Note{Action: "publication.proposed", Case: p.Case, Subject: p.ID})
	})
	if err != nil {
		return Publication{}, err
	}
	return p, nil
}

// publishable refuses a case that the public must not see.
func publishable(c Case) error {
	switch {
	case c.Gallery != Found:
		return refused(ErrConflict, "only found children are published")
	case c.Status != StatusOpen:
		return refused(ErrConflict, "the case is closed")
	}
	return nil
}

// tidy checks what is to be published.
func (p *Publication) tidy() (err error) {
	switch p.Sex {
	case SexUnknown, Female, Male:
	default:
		return &FieldError{"sex", "must be female, male, or empty when unknown"}
	}
	if p.AgeFrom < 0 || p.AgeTo > MaxPublishedAge || p.AgeFrom > p.AgeTo {
		return &FieldError{"age", fmt.Sprintf("goes from %d to %d; give the years of the estimate, the lower first, from 0 to %d", p.AgeFrom, p.AgeTo, MaxPublishedAge)}
	}
	if p.FoundOn.Precision() == ExactDay {
		return &FieldError{"found_on", fmt.Sprintf("names the day; publish the month or the year only, as %.7s", p.FoundOn)}
	}
	if err := past("found_on", p.FoundOn, p.ProposedAt); err != nil {
		return err
	}
	if p.Place, err = line("place", p.Place, MaxPlace); err != nil {
		return err
	}
	if p.Marks, err = prose("marks", p.Marks, MaxMarks); err != nil {
		return err
	}
	switch n := len(p.Pictures); {
	case n == 0:
		return &FieldError{"pictures", "is empty; choose at least one"}
	case n > MaxPublishedPictures:
		return &FieldError{"pictures", fmt.Sprintf("has %d; choose at most %d", n, MaxPublishedPictures)}
	}
	p.Pictures = slices.Clone(p.Pictures) // the caller's slice stays as it is
	for _, pic := range p.Pictures {
		if len(pic.JPEG) > MaxPublishedBytes {
			return &FieldError{"pictures", fmt.Sprintf("has one of %d bytes; make it smaller, at most %d", len(pic.JPEG), MaxPublishedBytes)}
		}
		if err := bareJPEG(pic.JPEG); err != nil {
			return err
		}
	}
	return nil
}

// bareJPEG refuses what is not a JPEG, and one that carries anything beside the picture: metadata says where a child is.
func bareJPEG(b []byte) error {
	broken := &FieldError{"pictures", "has one that is not a JPEG"}
	if len(b) < 4 || b[0] != 0xff || b[1] != 0xd8 {
		return broken
	}
	for at := 2; ; {
		if at+4 > len(b) || b[at] != 0xff {
			return broken
		}
		marker, size := b[at+1], int(b[at+2])<<8|int(b[at+3])
		switch {
		case marker == 0xda: // the picture itself begins, in which no 0xd9 follows a 0xff but at the end
			if bytes.Index(b[at:], []byte{0xff, 0xd9}) != len(b)-at-2 {
				return &FieldError{"pictures", "has one that is cut short, or has something behind its end"}
			}
			return nil
		case marker > 0xe0 && marker <= 0xef || marker == 0xfe: // of applications, and comments; 0xe0 is JFIF's own
			return &FieldError{"pictures", "has one with metadata; take it out first"}
		}
		if size < 2 {
			return broken
		}
		at += 2 + size
	}
}

// sealPicture encrypts a picture with the key of its case, so that it ends with it.
func (r *Registry) sealPicture(ctx context.Context, tx *sql.Tx, id CaseID, picture string, jpeg []byte) ([]byte, error) {
	var key []byte
	if err := tx.QueryRowContext(ctx, "SELECT key FROM cases WHERE id = ?", id).Scan(&key); err != nil {
		return nil, err
	}
	a, err := r.keys.caseKey(id, key)
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	w, err := a.NewEncryptingWriter(&sealed, pictureContext(picture))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(jpeg); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

func pictureContext(picture string) []byte { return []byte("picture " + picture) }

// Decide publishes what was proposed, or refuses it. *ErrNotYours for who proposed it; ErrConflict when it is decided.
func (r *Registry) Decide(ctx context.Context, id string, publish bool) (Publication, error) {
	actor := ActorOf(ctx)
	return r.changePublication(ctx, "decide publication "+id, id, Proposed, func(ctx context.Context, tx *sql.Tx, p *Publication) (string, error) {
		if p.ProposedBy == actor.Account {
			return "", &ErrNotYours{"You proposed this yourself. A second person must decide."}
		}
		p.DecidedBy, p.DecidedAt = actor.Account, r.now()
		if !publish {
			p.State = Refused
			return "publication.refused", nil
		}
		c, err := scanCase(tx.QueryRowContext(ctx, "SELECT "+caseColumns+" FROM cases c WHERE c.id = ?", p.Case))
		if err != nil {
			return "", err
		}
		p.State = Published
		return "publication.published", publishable(c)
	})
}

// AskRemoval hides a published child at once, and waits for a second person to agree.
func (r *Registry) AskRemoval(ctx context.Context, id, why string) (Publication, error) {
	what := "ask to remove publication " + id
	why, err := reason("why", why)
	if err != nil {
		return Publication{}, wrap(err, "%s", what)
	}
	return r.changePublication(ctx, what, id, Published, func(ctx context.Context, tx *sql.Tx, p *Publication) (string, error) {
		p.State, p.RemovalBy, p.RemovalWhy, p.RemovalAt = Removal, ActorOf(ctx).Account, why, r.now()
		return "publication.removal_asked", nil
	})
}

// DecideRemoval ends a publication whose removal was asked for, or shows it again. *ErrNotYours for who asked.
func (r *Registry) DecideRemoval(ctx context.Context, id string, remove bool) (Publication, error) {
	return r.changePublication(ctx, "decide the removal of publication "+id, id, Removal, func(ctx context.Context, tx *sql.Tx, p *Publication) (string, error) {
		if p.RemovalBy == ActorOf(ctx).Account {
			return "", &ErrNotYours{"You asked for this yourself. A second person must decide."}
		}
		if remove {
			p.State = Removed
			return "publication.removed", nil
		}
		p.State, p.RemovalBy, p.RemovalWhy, p.RemovalAt = Published, "", "", time.Time{}
		return "publication.kept", nil
	})
}

// changePublication takes a publication from one state to the next, which fn sets, with the action it names.
func (r *Registry) changePublication(ctx context.Context, what, id string, from PublicationState,
	fn func(context.Context, *sql.Tx, *Publication) (string, error)) (p Publication, err error) {
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		all, _, err := publications(ctx, tx, "p.id = ?", "", id)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return ErrNotFound
		}
		p = all[0]
		if p.State != from {
			return refused(ErrConflict, "it is %s", p.State)
		}
		action, err := fn(ctx, tx, &p)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE publications SET state = ?, decided_by = ?, decided_at = ?, removal_by = ?, removal_why = ?, removal_at = ? WHERE id = ?`,
			p.State, p.DecidedBy, millis(p.DecidedAt), p.RemovalBy, p.RemovalWhy, millis(p.RemovalAt), id); err != nil {
			return err
		}
		if err := wipePictures(ctx, tx, p); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: action, Case: p.Case, Subject: id})
	})
	if err != nil {
		return Publication{}, err
	}
	return p, nil
}

// wipePictures keeps of a publication that has ended which photos it showed, and not the pictures.
func wipePictures(ctx context.Context, tx *sql.Tx, p Publication) error {
	if p.State != Refused && p.State != Removed {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE published_pictures SET sealed = x'' WHERE publication_id = ?", p.ID)
	return err
}

// unpublish removes what is published or proposed of a case that closes; as says as what.
func (r *Registry) unpublish(ctx context.Context, tx *sql.Tx, id CaseID, as string) error {
	live, _, err := publications(ctx, tx, "p.case_id = ? AND p.state IN ('proposed', 'published', 'removal')", "", id)
	if err != nil {
		return err
	}
	for _, p := range live {
		p.State = Removed
		if _, err := tx.ExecContext(ctx, "UPDATE publications SET state = ?, removal_by = ?, removal_why = ?, removal_at = ? WHERE id = ?",
			p.State, ActorOf(ctx).Account, as, millis(r.now()), p.ID); err != nil {
			return err
		}
		if err := wipePictures(ctx, tx, p); err != nil {
			return err
		}
		if err := r.audit(ctx, tx, Note{Action: "publication.removed", Case: id, Subject: p.ID, Detail: map[string]string{"why": "closed"}}); err != nil {
			return err
		}
	}
	return nil
}

// publications reads those of which the condition holds, in the order and limit that tail gives, with the ids of their
// pictures, and the number of each row.
func publications(ctx context.Context, tx *sql.Tx, where, tail string, args ...any) (all []Publication, ns []int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT p.id, p.case_id, p.state, p.sex, p.age_from, p.age_to, p.found_on, p.place, p.region, p.marks,
		p.proposed_by, p.proposed_at, p.decided_by, p.decided_at, p.removal_by, p.removal_why, p.removal_at, p.n,
		(SELECT json_group_array(json_array(i.id, i.photo_id) ORDER BY i.position) FROM published_pictures i WHERE i.publication_id = p.id)
		FROM publications p JOIN cases c ON c.id = p.case_id WHERE `+where+" "+tail, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p Publication
		var proposed, decided, removal, n int64
		var text string
		if err := rows.Scan(&p.ID, &p.Case, &p.State, &p.Sex, &p.AgeFrom, &p.AgeTo, &p.FoundOn, &p.Place, &p.Region, &p.Marks,
			&p.ProposedBy, &proposed, &p.DecidedBy, &decided, &p.RemovalBy, &p.RemovalWhy, &removal, &n, &text); err != nil {
			return nil, nil, err
		}
		p.ProposedAt, p.DecidedAt, p.RemovalAt = fromMillis(proposed), fromMillis(decided), fromMillis(removal)
		var pictures [][2]string
		if err := json.Unmarshal([]byte(text), &pictures); err != nil {
			return nil, nil, fmt.Errorf("pictures of publication %s: %w: %w", p.ID, ErrCorrupt, err)
		}
		for _, pic := range pictures {
			p.Pictures = append(p.Pictures, PublishedPicture{ID: pic[0], Photo: PhotoID(pic[1])})
		}
		all, ns = append(all, p), append(ns, n)
	}
	return all, ns, rows.Err()
}

func (r *Registry) viewPublications(ctx context.Context, what, where, tail string, args ...any) (all []Publication, err error) {
	err = r.view(ctx, what, func(tx *sql.Tx) (err error) {
		all, _, err = publications(ctx, tx, where, tail, args...)
		return err
	})
	return all, err
}

// Publication reads one with the ids of its pictures. ErrNotFound.
func (r *Registry) Publication(ctx context.Context, id string) (Publication, error) {
	return r.publicationWhere(ctx, id, "p.id = ?")
}

func (r *Registry) publicationWhere(ctx context.Context, id, where string) (Publication, error) {
	what := fmt.Sprintf("publication %.40q", id)
	all, err := r.viewPublications(ctx, what, where, "", id)
	if err != nil {
		return Publication{}, err
	}
	if len(all) == 0 {
		return Publication{}, wrap(ErrNotFound, "%s", what)
	}
	return all[0], nil
}

// PublicationsOf lists a case's publications, newest first.
func (r *Registry) PublicationsOf(ctx context.Context, id CaseID) ([]Publication, error) {
	return r.viewPublications(ctx, "publications of case "+string(id), "p.case_id = ?", "ORDER BY p.n DESC", id)
}

// PublicationQueue lists what waits for a second person, longest waiting first, of cases that the regions cover (nil: all).
func (r *Registry) PublicationQueue(ctx context.Context, regions []string) ([]Publication, error) {
	if regions == nil {
		regions = []string{Everywhere}
	}
	return r.viewPublications(ctx, "list publications that wait", "p.state IN ('proposed', 'removal') AND "+covered("c.region"),
		"ORDER BY CASE p.state WHEN 'proposed' THEN p.proposed_at ELSE p.removal_at END, p.n", jsonText(regions))
}

// GalleryQuery narrows the public gallery. What a publication does not say passes.
type GalleryQuery struct {
	Sex            Sex
	AgeFrom, AgeTo int    // when found; 0, 0: any; AgeTo 0: AgeFrom and more
	Region         string // and those under it
	Words          string // all of these, each anywhere in place and marks
	Limit          int
	Cursor         string
}

// public is the condition on a publication that the public sees it.
const public = "p.state = 'published' AND c.status = 'open' AND c.gallery = 'found'"

// Gallery lists what the public sees, newest first: published, of open found cases. total counts all that pass.
// *FieldError for a query that breaks the rules; ErrInvalid for a cursor that Gallery did not give.
func (r *Registry) Gallery(ctx context.Context, q GalleryQuery) (page []Publication, total int, next string, err error) {
	where := []string{public}
	var args []any
	add := func(cond string, values ...any) {
		where = append(where, cond)
		args = append(args, values...)
	}
	if q.Sex != SexUnknown {
		add("p.sex IN ('', ?)", q.Sex)
	}
	if q.AgeFrom > 0 {
		add("p.age_to >= ?", q.AgeFrom)
	}
	if q.AgeTo > 0 {
		add("p.age_from <= ?", q.AgeTo)
	}
	if q.Region != "" {
		add(under("p.region"), q.Region)
	}
	words, err := line("words", q.Words, MaxWords)
	if err != nil {
		return nil, 0, "", err
	}
	for _, word := range strings.Fields(words) {
		add("instr(lower(p.place || char(10) || p.marks), lower(?)) > 0", word)
	}
	limit, err := pageLimit(q.Limit)
	if err != nil {
		return nil, 0, "", err
	}
	all, values := strings.Join(where, " AND "), slices.Clone(args)
	if q.Cursor != "" {
		n, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, 0, "", err
		}
		add("p.n < ?", n)
	}
	err = r.view(ctx, "list the gallery", func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM publications p JOIN cases c ON c.id = p.case_id WHERE "+all, values...).Scan(&total); err != nil {
			return err
		}
		var ns []int64
		if page, ns, err = publications(ctx, tx, strings.Join(where, " AND "), "ORDER BY p.n DESC LIMIT ?", append(args, limit+1)...); err != nil {
			return err
		}
		if len(page) > limit {
			page, next = page[:limit], newCursor(ns[limit-1])
		}
		return nil
	})
	return page, total, next, err
}

// PublishedChild reads one publication that the public sees. ErrNotFound for any other.
func (r *Registry) PublishedChild(ctx context.Context, id string) (Publication, error) {
	return r.publicationWhere(ctx, id, "p.id = ? AND "+public)
}

// PublishedCases maps the cases that the public sees to their publications.
func (r *Registry) PublishedCases(ctx context.Context) (map[CaseID]string, error) {
	const what = "list published cases"
	rows, err := r.readers.QueryContext(ctx, "SELECT c.id, p.id FROM publications p JOIN cases c ON c.id = p.case_id WHERE "+public)
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	out := make(map[CaseID]string)
	for rows.Next() {
		var c CaseID
		var p string
		if err := rows.Scan(&c, &p); err != nil {
			return nil, wrap(err, what)
		}
		out[c] = p
	}
	return out, wrap(rows.Err(), what)
}

// PublishedPicture reads a picture that the public sees; with proposed also one that waits for approval or removal, for
// staff. ErrNotFound.
func (r *Registry) PublishedPicture(ctx context.Context, id string, proposed bool) (CaseID, []byte, error) {
	what := fmt.Sprintf("published picture %.40q", id)
	where := public
	if proposed {
		where = "p.state IN ('proposed', 'published', 'removal')"
	}
	var caseID CaseID
	var key, sealed []byte
	err := r.readers.QueryRowContext(ctx, `SELECT c.id, c.key, i.sealed FROM published_pictures i JOIN publications p ON p.id = i.publication_id
		JOIN cases c ON c.id = p.case_id WHERE i.id = ? AND `+where, id).Scan(&caseID, &key, &sealed)
	if err != nil {
		return "", nil, wrap(err, "%s", what)
	}
	a, err := r.keys.caseKey(caseID, key)
	if err != nil {
		return "", nil, wrap(err, "%s", what)
	}
	plain, err := a.NewDecryptingReader(bytes.NewReader(sealed), pictureContext(id))
	if err != nil {
		return "", nil, wrap(err, "%s", what)
	}
	jpeg, err := io.ReadAll(plain)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w: restore registry.db from a backup", what, ErrCorrupt)
	}
	return caseID, jpeg, nil
}
