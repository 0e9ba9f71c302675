package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// DNAResult is what a laboratory reports.
type DNAResult string

const (
	DNAConfirmed    DNAResult = "confirmed"
	DNAExcluded     DNAResult = "excluded"
	DNAInconclusive DNAResult = "inconclusive"
)

// Whose sample it is.
type Whose string

const (
	OfChild   Whose = "child"
	OfMother  Whose = "mother"
	OfFather  Whose = "father"
	OfSibling Whose = "sibling"
	OfOther   Whose = "other"
)

// Sample is one DNA sample.
type Sample struct {
	ID      string // "n_…"
	Whose   Whose
	Kit     string // its number, unique
	TakenOn Date
	AddedBy AccountID
	AddedAt time.Time
}

// DNARequest asks a laboratory about a lead.
type DNARequest struct {
	ID          string // "d_…"
	Lead        LeadID
	Laboratory  string // the organisation that is asked
	RequestedBy AccountID
	RequestedAt time.Time
	Samples     []Sample
	Result      DNAResult // empty until it is reported
	Report      string    // the laboratory's own number for it
	ResultOn    Date
	ResultBy    AccountID
	ResultAt    time.Time
}

const dnaColumns = "d.id, d.lead_id, d.laboratory, d.requested_by, d.requested_at, d.result, d.report, d.result_on, d.result_by, d.result_at"

func scanDNA(row scanner, more ...any) (DNARequest, error) {
	var d DNARequest
	var requested, result int64
	err := row.Scan(append([]any{&d.ID, &d.Lead, &d.Laboratory, &d.RequestedBy, &requested, &d.Result, &d.Report, &d.ResultOn, &d.ResultBy, &result}, more...)...)
	d.RequestedAt, d.ResultAt = fromMillis(requested), fromMillis(result)
	return d, err
}

// dnaWhere reads requests with their samples.
func dnaWhere(ctx context.Context, tx *sql.Tx, where string, args ...any) ([]DNARequest, error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+dnaColumns+" FROM dna_requests d WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []DNARequest
	for rows.Next() {
		d, err := scanDNA(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Samples, err = samplesOf(ctx, tx, out[i].ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func samplesOf(ctx context.Context, tx *sql.Tx, request string) ([]Sample, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, whose, kit, taken_on, added_by, added_at FROM dna_samples WHERE request_id = ? ORDER BY n", request)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Sample
	for rows.Next() {
		var s Sample
		var added int64
		if err := rows.Scan(&s.ID, &s.Whose, &s.Kit, &s.TakenOn, &s.AddedBy, &added); err != nil {
			return nil, err
		}
		s.AddedAt = fromMillis(added)
		out = append(out, s)
	}
	return out, rows.Err()
}

// dnaByID reads a request with its samples, and its lead.
func dnaByID(ctx context.Context, tx *sql.Tx, id string) (DNARequest, Lead, error) {
	all, err := dnaWhere(ctx, tx, "d.id = ?", id)
	if err != nil {
		return DNARequest{}, Lead{}, err
	}
	if len(all) == 0 {
		return DNARequest{}, Lead{}, ErrNotFound
	}
	l, err := leadByID(ctx, tx, all[0].Lead)
	return all[0], l, err
}

// moveLead takes a lead to another state.
func (r *Registry) moveLead(ctx context.Context, tx *sql.Tx, l *Lead, to LeadState) error {
	l.State, l.UpdatedAt = to, r.now()
	_, err := tx.ExecContext(ctx, "UPDATE leads SET state = ?, updated_at = ? WHERE id = ?", l.State, millis(l.UpdatedAt), l.ID)
	return err
}

// RequestDNA asks a laboratory about a lead that is a potential candidate, which then waits for DNA. *FieldError for a
// laboratory that no active laboratory account belongs to; ErrConflict when the lead is in another state, or a case of it is
// closed.
func (r *Registry) RequestDNA(ctx context.Context, lead LeadID, laboratory string) (DNARequest, error) {
	what := "ask for DNA about lead " + string(lead)
	laboratory, err := line("laboratory", laboratory, MaxLaboratory)
	if err == nil && laboratory == "" {
		err = &FieldError{"laboratory", "is missing; name the laboratory to ask"}
	}
	if err != nil {
		return DNARequest{}, wrap(err, "%s", what)
	}
	d := DNARequest{ID: newID("d_"), Lead: lead, Laboratory: laboratory, RequestedBy: ActorOf(ctx).Account, RequestedAt: r.now()}
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		l, err := leadByID(ctx, tx, lead)
		if err != nil {
			return err
		}
		if l.State != LeadPotential {
			return refused(ErrConflict, "the lead is %s; DNA is asked for about potential candidates", l.State)
		}
		open, err := pairOpen(ctx, tx, l.Missing, l.Found)
		if err != nil {
			return err
		}
		if !open {
			return refused(ErrConflict, "a case of it is closed")
		}
		var there bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM accounts WHERE role = 'laboratory' AND disabled_at = 0 AND organisation = ?)", laboratory).Scan(&there); err != nil {
			return err
		}
		if !there {
			return &FieldError{"laboratory", "has no account here; choose one from the list, or ask an administrator to add it"}
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO dna_requests (id, lead_id, laboratory, requested_by, requested_at) VALUES (?, ?, ?, ?, ?)",
			d.ID, d.Lead, d.Laboratory, d.RequestedBy, millis(d.RequestedAt)); err != nil {
			return err
		}
		if err := r.moveLead(ctx, tx, &l, LeadDNA); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "dna.requested", Case: l.Missing, Subject: d.ID, Detail: map[string]string{"lead": string(l.ID)}})
	})
	if err != nil {
		return DNARequest{}, err
	}
	return d, nil
}

// AddSample adds a sample to a request that has no result, which is ErrConflict otherwise. *FieldError; ErrDuplicate for a
// kit that is there already, in any request.
func (r *Registry) AddSample(ctx context.Context, request string, s Sample) (DNARequest, error) {
	what := "add a sample to DNA request " + request
	s.ID, s.AddedBy, s.AddedAt = newID("n_"), ActorOf(ctx).Account, r.now()
	if err := s.tidy(); err != nil {
		return DNARequest{}, wrap(err, "%s", what)
	}
	var d DNARequest
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var l Lead
		var err error
		if d, l, err = dnaByID(ctx, tx, request); err != nil {
			return err
		}
		if d.Result != "" {
			return refused(ErrConflict, "the laboratory has reported")
		}
		var there bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM dna_samples WHERE kit = ?)", s.Kit).Scan(&there); err != nil {
			return err
		}
		if there {
			return refused(ErrDuplicate, "a sample has this kit number; check the number")
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO dna_samples (id, request_id, whose, kit, taken_on, added_by, added_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			s.ID, d.ID, s.Whose, s.Kit, s.TakenOn, s.AddedBy, millis(s.AddedAt)); err != nil {
			return err
		}
		d.Samples = append(d.Samples, s)
		return r.audit(ctx, tx, Note{Action: "dna.sampled", Case: l.Missing, Subject: d.ID,
			Detail: map[string]string{"lead": string(l.ID), "sample": s.ID, "whose": string(s.Whose)}})
	})
	if err != nil {
		return DNARequest{}, err
	}
	return d, nil
}

// tidy trims the sample's kit number and checks the sample.
func (s *Sample) tidy() (err error) {
	switch s.Whose {
	case OfChild, OfMother, OfFather, OfSibling, OfOther:
	default:
		return &FieldError{"whose", "must be child, mother, father, sibling or other"}
	}
	if s.Kit, err = line("kit", s.Kit, MaxKit); err != nil {
		return err
	}
	switch {
	case s.Kit == "":
		return &FieldError{"kit", "is missing; give the number on the kit"}
	case s.TakenOn.IsZero():
		return &FieldError{"taken_on", "is missing; say when the sample was taken"}
	}
	return past("taken_on", s.TakenOn, s.AddedAt)
}

// ReportDNA stores the laboratory's result, and takes the lead on: confirmed, excluded, or, where it is inconclusive, back to
// potential, so that better samples can be asked for. The actor must be of the laboratory that was asked (*ErrNotYours).
// A result needs a report number and a date, and, unless inconclusive, a sample of the child and one of the family.
// The same result reported twice is answered like the first time; another one is ErrConflict.
func (r *Registry) ReportDNA(ctx context.Context, request string, result DNAResult, report string, on Date) (DNARequest, Lead, error) {
	what := "report on DNA request " + request
	at := r.now()
	to, ok := map[DNAResult]LeadState{DNAConfirmed: LeadConfirmed, DNAExcluded: LeadExcluded, DNAInconclusive: LeadPotential}[result]
	report, err := line("report", report, MaxKit)
	switch {
	case err != nil:
	case !ok:
		err = &FieldError{"result", "must be confirmed, excluded or inconclusive"}
	case report == "":
		err = &FieldError{"report", "is missing; give your own number of the report"}
	case on.IsZero():
		err = &FieldError{"on", "is missing; give the date of the result"}
	default:
		err = past("on", on, at)
	}
	if err != nil {
		return DNARequest{}, Lead{}, wrap(err, "%s", what)
	}
	var d DNARequest
	var l Lead
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var err error
		if d, l, err = dnaByID(ctx, tx, request); err != nil {
			return err
		}
		actor := ActorOf(ctx)
		if actor.Role != Laboratory || actor.Organisation != d.Laboratory {
			return &ErrNotYours{"Another laboratory was asked."}
		}
		if d.Result != "" {
			if d.Result == result && d.Report == report && d.ResultOn == on {
				return nil
			}
			return refused(ErrConflict, "another result was reported for it")
		}
		if err := d.supports(result, on); err != nil {
			return err
		}
		d.Result, d.Report, d.ResultOn, d.ResultBy, d.ResultAt = result, report, on, actor.Account, at
		if _, err := tx.ExecContext(ctx, "UPDATE dna_requests SET result = ?, report = ?, result_on = ?, result_by = ?, result_at = ? WHERE id = ?",
			d.Result, d.Report, d.ResultOn, d.ResultBy, millis(d.ResultAt), d.ID); err != nil {
			return err
		}
		if err := r.moveLead(ctx, tx, &l, to); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "dna.reported", Case: l.Missing, Subject: d.ID,
			Detail: map[string]string{"lead": string(l.ID), "result": string(d.Result)}})
	})
	if err != nil {
		return DNARequest{}, Lead{}, err
	}
	return d, l, nil
}

// supports refuses a result of a day that the samples cannot have given.
func (d DNARequest) supports(result DNAResult, on Date) error {
	for _, s := range d.Samples {
		if on.Before(s.TakenOn) {
			return &FieldError{"on", fmt.Sprintf("lies before a sample was taken (%s); check both dates", s.TakenOn)}
		}
	}
	child := slices.ContainsFunc(d.Samples, func(s Sample) bool { return s.Whose == OfChild })
	family := slices.ContainsFunc(d.Samples, func(s Sample) bool { return s.Whose != OfChild })
	if result != DNAInconclusive && !(child && family) {
		return &FieldError{"samples", "of the child and of the family are needed for this result; ask the officers to add them"}
	}
	return nil
}

// DNARequest reads one. ErrNotFound.
func (r *Registry) DNARequest(ctx context.Context, id string) (d DNARequest, err error) {
	err = r.view(ctx, "DNA request "+id, func(tx *sql.Tx) (err error) {
		d, _, err = dnaByID(ctx, tx, id)
		return err
	})
	return d, err
}

// DNAOf lists the requests about a lead, oldest first.
func (r *Registry) DNAOf(ctx context.Context, lead LeadID) (all []DNARequest, err error) {
	err = r.view(ctx, "DNA requests about lead "+string(lead), func(tx *sql.Tx) (err error) {
		all, err = dnaWhere(ctx, tx, "d.lead_id = ? ORDER BY d.n", lead)
		return err
	})
	return all, err
}

// DNAQueue lists requests, those without a result first, longest waiting first, and behind them those with one, newest
// first; of one laboratory where it is not empty, and with open only those without. limit is at most MaxListed; 0 is
// DefaultListed.
func (r *Registry) DNAQueue(ctx context.Context, laboratory string, open bool, limit int) (queue []DNARequest, err error) {
	switch {
	case limit == 0:
		limit = DefaultListed
	case limit < 0 || limit > MaxListed:
		return nil, wrap(&FieldError{"limit", fmt.Sprintf("goes from 1 to %d", MaxListed)}, "list DNA requests")
	}
	err = r.view(ctx, "list DNA requests", func(tx *sql.Tx) (err error) {
		queue, err = dnaWhere(ctx, tx, `(?1 = '' OR d.laboratory = ?1) AND (NOT ?2 OR d.result = '')
			ORDER BY d.result <> '', CASE d.result WHEN '' THEN d.n ELSE -d.n END LIMIT ?3`, laboratory, open, limit)
		return err
	})
	return queue, err
}

// Laboratories lists the organisations that active laboratory accounts belong to.
func (r *Registry) Laboratories(ctx context.Context) ([]string, error) {
	rows, err := r.readers.QueryContext(ctx, `SELECT DISTINCT organisation FROM accounts
		WHERE role = 'laboratory' AND disabled_at = 0 AND organisation <> '' ORDER BY organisation`)
	if err != nil {
		return nil, wrap(err, "list laboratories")
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, wrap(err, "list laboratories")
		}
		out = append(out, name)
	}
	return out, wrap(rows.Err(), "list laboratories")
}
