package registry

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Finding is an examiner's verdict on a lead, one of INTERPOL's three.
type Finding string

const (
	PotentialCandidate Finding = "potential_candidate"
	NoCandidate        Finding = "no_candidate"
	Inconclusive       Finding = "inconclusive"
)

// Seat is who gave a verdict in a round.
type Seat string

const (
	FirstSeat      Seat = "first"
	SecondSeat     Seat = "second"
	SupervisorSeat Seat = "supervisor"
)

// Verdict is what one person found in a lead, with what lay before them.
type Verdict struct {
	ID      string // "v_…"
	Lead    LeadID
	Round   int
	Seat    Seat
	By      AccountID
	Finding Finding
	Reasons string
	At      time.Time
}

// MaxReasons bounds the reasons of a verdict, in characters.
const MaxReasons = 4000

// NewVerdict is a verdict as it is given.
type NewVerdict struct {
	Lead    LeadID
	Round   int // that the examiner looked at
	Finding Finding
	Reasons string // required: FISWG asks for what the finding rests on
}

// Frozen is what lay before an examiner: kept as it was, whatever happens to photos and facts later, until a case's key is
// destroyed.
type Frozen struct {
	Content  json.RawMessage // both cases, their photos and the evidence
	Pictures []Exhibit
}

// Exhibit is a picture as an examiner saw it.
type Exhibit struct {
	Case  CaseID
	Photo PhotoID
	JPEG  []byte
}

// ErrNotYours means that someone may not do this to this thing, though their role may to others: judge a case that they
// reported, approve what they proposed, or see what belongs to another region.
type ErrNotYours struct{ Text string }

func (e *ErrNotYours) Error() string { return e.Text }

const verdictColumns = "v.id, v.lead_id, v.round, v.seat, v.account_id, v.finding, v.reasons, v.at"

func scanVerdict(row scanner) (Verdict, error) {
	var v Verdict
	var at int64
	err := row.Scan(&v.ID, &v.Lead, &v.Round, &v.Seat, &v.By, &v.Finding, &v.Reasons, &at)
	v.At = fromMillis(at)
	return v, err
}

// settles is the state that a finding leaves a lead in.
func (f Finding) settles() (LeadState, bool) {
	switch f {
	case PotentialCandidate:
		return LeadPotential, true
	case NoCandidate:
		return LeadNoCandidate, true
	case Inconclusive:
		return LeadInconclusive, true
	}
	return "", false
}

// GiveVerdict stores the verdict of the context's actor, an examiner or supervisor. The first two in a round settle it where
// they agree; where they differ the lead is disputed, and a supervisor who has not judged it yet settles it. The same finding
// given twice is answered with the first. *FieldError for a verdict without reasons, or a picture of a case that is none of
// the two; ErrConflict when the lead is in another round or state than the examiner saw, or both seats are taken, or a case
// is closed, or the actor gave another finding before; *ErrNotYours for who reported one of the cases or opened the lead by
// hand, and for a disputed lead for all but a supervisor who has not judged it.
func (r *Registry) GiveVerdict(ctx context.Context, n NewVerdict, f Frozen) (Verdict, Lead, error) {
	what := "judge lead " + string(n.Lead)
	actor := ActorOf(ctx)
	if actor.Account == "" {
		return Verdict{}, Lead{}, fmt.Errorf("%s: %w: a verdict is given by a person; sign in", what, ErrInvalid)
	}
	settled, ok := n.Finding.settles()
	if !ok {
		return Verdict{}, Lead{}, wrap(&FieldError{"finding", "must be potential_candidate, no_candidate or inconclusive"}, "%s", what)
	}
	reasons, err := prose("reasons", n.Reasons, MaxReasons)
	if err == nil && reasons == "" {
		err = &FieldError{"reasons", "are missing; say what the finding rests on"}
	}
	if err == nil && !json.Valid(f.Content) {
		err = &FieldError{"frozen", "is not JSON"}
	}
	if err != nil {
		return Verdict{}, Lead{}, wrap(err, "%s", what)
	}
	v := Verdict{ID: newID("v_"), Lead: n.Lead, Round: n.Round, By: actor.Account, Finding: n.Finding, Reasons: reasons, At: r.now()}
	frozen, err := r.keys.biometrics.Encrypt(f.Content, frozenContext(v.ID))
	if err != nil {
		return Verdict{}, Lead{}, wrap(err, "%s", what)
	}
	// Before the transaction: sealing many pictures takes a while, and every write would wait for it.
	pictures, err := r.sealExhibits(ctx, n.Lead, f.Pictures)
	if err != nil {
		return Verdict{}, Lead{}, wrap(err, "%s", what)
	}
	var l Lead
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if l, err = leadByID(ctx, tx, n.Lead); err != nil {
			return err
		}
		own, err := scanVerdict(tx.QueryRowContext(ctx, "SELECT "+verdictColumns+" FROM verdicts v WHERE v.lead_id = ? AND v.round = ? AND v.account_id = ?",
			n.Lead, n.Round, actor.Account))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		judged := err == nil
		if judged && own.Finding == n.Finding {
			v = own
			return nil
		}
		if err := mayJudge(ctx, tx, actor, l); err != nil {
			return err
		}
		switch {
		case n.Round != l.Round:
			return refused(ErrConflict, "the lead is in round %d, not %d; look at it again", l.Round, n.Round)
		case l.State == LeadDisputed && (judged || actor.Role != Supervisor):
			return &ErrNotYours{"The two examiners differ. A supervisor who has not judged this lead settles it."}
		case judged:
			return refused(ErrConflict, "you gave another finding in this round")
		case l.State != LeadOpen && l.State != LeadDisputed:
			return refused(ErrConflict, "the lead has been judged")
		}
		first, err := scanVerdict(tx.QueryRowContext(ctx, "SELECT "+verdictColumns+" FROM verdicts v WHERE v.lead_id = ? AND v.round = ? AND v.seat = ?",
			l.ID, l.Round, FirstSeat))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		before := l.State
		switch {
		case l.State == LeadDisputed:
			v.Seat, l.State = SupervisorSeat, settled
		case err != nil:
			v.Seat = FirstSeat
		case first.Finding == v.Finding:
			v.Seat, l.State = SecondSeat, settled
		default:
			v.Seat, l.State = SecondSeat, LeadDisputed
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO verdicts (id, lead_id, round, seat, account_id, finding, reasons, frozen, at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, v.ID, v.Lead, v.Round, v.Seat, v.By, v.Finding, v.Reasons, frozen, millis(v.At)); err != nil {
			return err
		}
		l.Verdicts++
		for _, p := range pictures {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO exhibits (case_id, photo_id, sealed) VALUES (?, ?, ?)", p.Case, p.Photo, p.JPEG); err != nil {
				return err
			}
		}
		// The seat and not the finding: the case's history is open to the second examiner.
		notes := []Note{{Action: "verdict.given", Case: l.Missing, Subject: string(l.ID), Detail: map[string]string{"seat": string(v.Seat), "verdict": v.ID}}}
		if l.State != before {
			l.UpdatedAt = v.At
			action := "lead.disputed"
			if l.State == settled {
				l.JudgedScore = l.Score
				action = "lead.settled"
			}
			notes = append(notes, Note{Action: action, Case: l.Missing, Subject: string(l.ID), Detail: map[string]string{"state": string(l.State)}})
			if _, err := tx.ExecContext(ctx, "UPDATE leads SET state = ?, judged_score = ?, updated_at = ? WHERE id = ?",
				l.State, l.JudgedScore, millis(l.UpdatedAt), l.ID); err != nil {
				return err
			}
		}
		return r.audit(ctx, tx, notes...)
	})
	if err != nil {
		return Verdict{}, Lead{}, err
	}
	return v, l, nil
}

// mayJudge refuses who is no judge at all, or one in their own cause, and anyone while a case is closed.
func mayJudge(ctx context.Context, tx *sql.Tx, actor Actor, l Lead) error {
	if actor.Role != Examiner && actor.Role != Supervisor {
		return &ErrNotYours{"Examiners and supervisors judge leads."}
	}
	if l.OpenedBy == actor.Account {
		return &ErrNotYours{"You opened this lead. Someone else has to judge it."}
	}
	rows, err := tx.QueryContext(ctx, "SELECT reported_by, status FROM cases WHERE id IN (?, ?)", l.Missing, l.Found)
	if err != nil {
		return err
	}
	defer rows.Close()
	closed := false
	for rows.Next() {
		var by AccountID
		var s Status
		if err := rows.Scan(&by, &s); err != nil {
			return err
		}
		if by == actor.Account {
			return &ErrNotYours{"You reported a case of this lead. Someone else has to judge it."}
		}
		closed = closed || s == StatusClosed
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if closed {
		return refused(ErrConflict, "a case of it is closed")
	}
	return nil
}

func frozenContext(verdict string) []byte { return []byte("frozen of " + verdict) }

func exhibitContext(p PhotoID) []byte { return []byte("exhibit " + p) }

// sealExhibits encrypts the pictures of a lead's two cases that are not stored yet with the cases' keys.
func (r *Registry) sealExhibits(ctx context.Context, id LeadID, pictures []Exhibit) (sealed []Exhibit, err error) {
	err = r.view(ctx, "seal what was looked at", func(tx *sql.Tx) error {
		l, err := leadByID(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, p := range pictures {
			if p.Case != l.Missing && p.Case != l.Found {
				return &FieldError{"pictures", fmt.Sprintf("hold one of %s, which is no case of this lead", p.Case)}
			}
			var key []byte
			var there bool
			if err := tx.QueryRowContext(ctx, `SELECT key, EXISTS (SELECT 1 FROM exhibits WHERE case_id = c.id AND photo_id = ?)
				FROM cases c WHERE c.id = ?`, p.Photo, p.Case).Scan(&key, &there); err != nil {
				return err
			}
			if there {
				continue
			}
			a, err := r.keys.caseKey(p.Case, key)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			w, err := a.NewEncryptingWriter(&b, exhibitContext(p.Photo))
			if err != nil {
				return err
			}
			if _, err := w.Write(p.JPEG); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			sealed = append(sealed, Exhibit{p.Case, p.Photo, b.Bytes()})
		}
		return nil
	})
	return sealed, err
}

// Verdicts lists the verdicts on a lead that an account may see, oldest first: its own, those of rounds that are settled,
// and, for a supervisor, those of a round that is disputed. Without a viewer (print) it lists those of settled rounds.
// ErrNotFound when there is no such lead.
func (r *Registry) Verdicts(ctx context.Context, id LeadID, viewer AccountID) (verdicts []Verdict, err error) {
	err = r.view(ctx, "verdicts on lead "+string(id), func(tx *sql.Tx) error {
		if _, err := leadByID(ctx, tx, id); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT "+verdictColumns+` FROM verdicts v JOIN leads l ON l.id = v.lead_id WHERE v.lead_id = ?1
			AND (v.round < l.round OR l.state NOT IN ('open', 'disputed') OR v.account_id = ?2
				OR l.state = 'disputed' AND EXISTS (SELECT 1 FROM accounts WHERE id = ?2 AND role = 'supervisor'))
			ORDER BY v.n`, id, viewer)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scanVerdict(rows)
			if err != nil {
				return err
			}
			verdicts = append(verdicts, v)
		}
		return rows.Err()
	})
	return verdicts, err
}

// FrozenOf reads what lay before the examiner of a verdict. ErrNotFound.
func (r *Registry) FrozenOf(ctx context.Context, verdict string) (lead LeadID, content json.RawMessage, err error) {
	var sealed []byte
	if err := r.readers.QueryRowContext(ctx, "SELECT lead_id, frozen FROM verdicts WHERE id = ?", verdict).Scan(&lead, &sealed); err != nil {
		return "", nil, wrap(err, "what lay before verdict %s", verdict)
	}
	content, err = r.keys.biometrics.Decrypt(sealed, frozenContext(verdict))
	if err != nil {
		return "", nil, fmt.Errorf("what lay before verdict %s: %w", verdict, ErrCorrupt)
	}
	return lead, content, nil
}

// ExhibitOf reads a picture as examiners saw it. ErrNotFound.
func (r *Registry) ExhibitOf(ctx context.Context, c CaseID, p PhotoID) ([]byte, error) {
	what := fmt.Sprintf("exhibit of photo %s", p)
	var key, sealed []byte
	if err := r.readers.QueryRowContext(ctx, "SELECT c.key, e.sealed FROM exhibits e JOIN cases c ON c.id = e.case_id WHERE e.case_id = ? AND e.photo_id = ?",
		c, p).Scan(&key, &sealed); err != nil {
		return nil, wrap(err, "%s", what)
	}
	a, err := r.keys.caseKey(c, key)
	if err != nil {
		return nil, wrap(err, "%s", what)
	}
	plain, err := a.NewDecryptingReader(bytes.NewReader(sealed), exhibitContext(p))
	if err != nil {
		return nil, wrap(err, "%s", what)
	}
	picture, err := io.ReadAll(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: restore registry.db from a backup", what, ErrCorrupt)
	}
	return picture, nil
}
