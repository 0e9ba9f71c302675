package registry

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LeadID names a lead: "l_…".
type LeadID string

// LeadState is how far a lead has come.
type LeadState string

const (
	LeadOpen         LeadState = "open"         // waits for two examiners
	LeadDisputed     LeadState = "disputed"     // they differ: waits for a supervisor
	LeadPotential    LeadState = "potential"    // potential candidate: waits for a DNA request
	LeadNoCandidate  LeadState = "no_candidate" // judged
	LeadInconclusive LeadState = "inconclusive" // judged
	LeadDNA          LeadState = "dna"          // waits for the laboratory
	LeadConfirmed    LeadState = "confirmed"    // DNA says one child: waits for the reunion
	LeadExcluded     LeadState = "excluded"     // DNA says two children
	LeadReunited     LeadState = "reunited"
)

// LeadSource says where a lead comes from.
type LeadSource string

const (
	FromStanding LeadSource = "standing"
	FromFamily   LeadSource = "family"
	FromOfficer  LeadSource = "officer"
)

// Strength is what speaks for a pair, as log10 of likelihood ratios.
type Strength struct {
	Score, Faces, Records  float64
	MissingFace, FoundFace FaceID // the two that speak loudest
	ModelSet               string
}

// Lead is a missing and a found case that may be one child.
type Lead struct {
	ID             LeadID
	Missing, Found CaseID
	State          LeadState
	Source         LeadSource
	Note           string    // of the families and officers who opened it
	OpenedBy       AccountID // by hand; empty where the standing search did
	Strength
	Round       int     // 1, and one more each time rising evidence opened it again
	JudgedScore float64 // when it was last judged
	Verdicts    int     // given in this round
	Reopened    time.Time
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Rise is by how much (log10) the evidence must rise above what examiners had before them for a judged lead to open again:
// ten times.
const Rise = 1.0

// MaxNote bounds the note of a lead, in characters.
const MaxNote = 2000

// worthTelling is the least change of a score that makes a lead count as updated.
const worthTelling = 0.1

const leadColumns = `l.id, l.missing_case, l.found_case, l.state, l.source, l.note, l.opened_by, l.score, l.faces, l.records,
	l.missing_face, l.found_face, l.model_set, l.round, l.judged_score, l.reopened, l.created_at, l.updated_at,
	(SELECT count(*) FROM verdicts v WHERE v.lead_id = l.id AND v.round = l.round)`

// scanLead reads leadColumns, and more columns behind them.
func scanLead(row scanner, more ...any) (Lead, error) {
	var l Lead
	var reopened, created, updated int64
	err := row.Scan(append([]any{&l.ID, &l.Missing, &l.Found, &l.State, &l.Source, &l.Note, &l.OpenedBy, &l.Score, &l.Faces, &l.Records,
		&l.MissingFace, &l.FoundFace, &l.ModelSet, &l.Round, &l.JudgedScore, &reopened, &created, &updated, &l.Verdicts}, more...)...)
	l.Reopened, l.CreatedAt, l.UpdatedAt = fromMillis(reopened), fromMillis(created), fromMillis(updated)
	return l, err
}

func leadByID(ctx context.Context, tx *sql.Tx, id LeadID) (Lead, error) {
	return scanLead(tx.QueryRowContext(ctx, "SELECT "+leadColumns+" FROM leads l WHERE l.id = ?", id))
}

func leadOfPair(ctx context.Context, tx *sql.Tx, missing, found CaseID) (Lead, error) {
	return scanLead(tx.QueryRowContext(ctx, "SELECT "+leadColumns+" FROM leads l WHERE l.missing_case = ? AND l.found_case = ?", missing, found))
}

// pairOpen says whether both cases of a pair are open. ErrNotFound when one is gone, *FieldError when one is in the wrong
// gallery.
func pairOpen(ctx context.Context, tx *sql.Tx, missing, found CaseID) (bool, error) {
	open := true
	for _, side := range []struct {
		id   CaseID
		want Gallery
	}{{missing, Missing}, {found, Found}} {
		var g Gallery
		var s Status
		if err := tx.QueryRowContext(ctx, "SELECT gallery, status FROM cases WHERE id = ?", side.id).Scan(&g, &s); err != nil {
			return false, wrap(err, "case %s", side.id)
		}
		if g != side.want {
			return false, &FieldError{string(side.want), fmt.Sprintf("names %s, which is a %s case; name the missing case first and the found case second", side.id, g)}
		}
		open = open && s == StatusOpen
	}
	return open, nil
}

// NewLead is a pair that speaks for one child.
type NewLead struct {
	Missing, Found CaseID
	Strength
}

// SaveLeads stores what comparing a case with the whole other gallery found, and notes in the same transaction that the
// case was compared as of its change seq, so that nothing is compared twice or lost. found are the pairs at or over the
// threshold; weaker are known leads of the case whose strength is now below it, which get their strength and change in
// nothing else.
//
// A pair becomes a lead once. A lead that is known gets the new strength. One that was judged no candidate or inconclusive
// stays so, unless the score is at least Rise above JudgedScore: it is then open again, in a new round. What DNA has said
// is never reopened. Pairs of which a case is gone, closed or in the wrong gallery are left out. It returns the leads that
// are new or opened again.
func (r *Registry) SaveLeads(ctx context.Context, compared CaseID, seq int64, found, weaker []NewLead) (opened []Lead, err error) {
	opened, _, err = r.saveCompared(ctx, "save the leads of case "+string(compared), seq, math.MaxInt64, []Compared{{compared, found, weaker}})
	return opened, err
}

// Compared is a case that was compared with the whole other gallery, and what came of it, as SaveLeads takes it.
type Compared struct {
	Case          CaseID
	Found, Weaker []NewLead
}

// SaveCompared is SaveLeads of many cases in one transaction, all compared as the registry was at its change asOf. A pair of which a case
// has changed since is left out: that change is due for comparison by itself, or was compared already. changed counts the leads,
// new ones included, of which anything is now different.
func (r *Registry) SaveCompared(ctx context.Context, asOf int64, all []Compared) (opened []Lead, changed int, err error) {
	return r.saveCompared(ctx, "save the leads of a cross-match", asOf, asOf, all)
}

// saveCompared strikes the cases off what is due as of the change due, and leaves out pairs of which a case has changed since another.
func (r *Registry) saveCompared(ctx context.Context, what string, due, since int64, all []Compared) (opened []Lead, changed int, err error) {
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		moved, err := casesChanged(ctx, tx, since)
		if err != nil {
			return err
		}
		strike, err := tx.PrepareContext(ctx, doneStanding)
		if err != nil {
			return err
		}
		defer strike.Close()
		for _, c := range all {
			for i, n := range slices.Concat(c.Found, c.Weaker) {
				if moved[n.Missing] || moved[n.Found] {
					continue
				}
				l, became, err := r.saveLead(ctx, tx, c.Case, n, i < len(c.Found))
				if err != nil {
					return err
				}
				if became != leadSame {
					changed++
				}
				if became == leadNews {
					opened = append(opened, l)
				}
			}
			if _, err := strike.ExecContext(ctx, c.Case, due); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return opened, changed, nil
}

// casesChanged are the cases that changed after a change.
func casesChanged(ctx context.Context, tx *sql.Tx, since int64) (map[CaseID]bool, error) {
	rows, err := tx.QueryContext(ctx, "SELECT case_id FROM case_changes WHERE seq > ?", since)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[CaseID]bool)
	for rows.Next() {
		var id CaseID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out[id] = true
	}
	return out, rows.Err()
}

// became says what saving did to a lead.
type became int

const (
	leadSame     became = iota // nothing, or there is none
	leadStronger               // or weaker
	leadNews                   // it is new, or open again
)

// saveLead stores one pair; over says that it is at or over the threshold.
func (r *Registry) saveLead(ctx context.Context, tx *sql.Tx, compared CaseID, n NewLead, over bool) (l Lead, did became, err error) {
	if math.IsNaN(n.Score) || math.IsNaN(n.Faces) || math.IsNaN(n.Records) {
		return Lead{}, leadSame, &FieldError{"score", fmt.Sprintf("of %s and %s is not a number", n.Missing, n.Found)}
	}
	open, err := pairOpen(ctx, tx, n.Missing, n.Found)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) || err == nil && !open {
		return Lead{}, leadSame, nil
	}
	if err != nil {
		return Lead{}, leadSame, err
	}
	l, err = leadOfPair(ctx, tx, n.Missing, n.Found)
	if errors.Is(err, sql.ErrNoRows) {
		if !over {
			return Lead{}, leadSame, nil
		}
		l, err = r.insertLead(ctx, tx, compared, Lead{Missing: n.Missing, Found: n.Found, Source: FromStanding, Strength: n.Strength})
		return l, leadNews, err
	}
	if err != nil {
		return Lead{}, leadSame, err
	}
	news := over && (l.State == LeadNoCandidate || l.State == LeadInconclusive) && n.Score >= l.JudgedScore+Rise
	if l.Strength == n.Strength && !news {
		return l, leadSame, nil
	}
	did = leadStronger
	at := r.now()
	before := l.Score
	l.Strength = n.Strength
	if math.Abs(l.Score-before) >= worthTelling {
		l.UpdatedAt = at
	}
	if news {
		did = leadNews
		l.State, l.Reopened, l.UpdatedAt, l.Verdicts = LeadOpen, at, at, 0
		l.Round++
		if err := r.audit(ctx, tx, Note{Action: "lead.reopened", Case: compared, Subject: string(l.ID),
			Detail: map[string]string{"from": scoreText(l.JudgedScore), "to": scoreText(l.Score)}}); err != nil {
			return Lead{}, leadSame, err
		}
	}
	_, err = tx.ExecContext(ctx, `UPDATE leads SET score = ?, faces = ?, records = ?, missing_face = ?, found_face = ?, model_set = ?,
		state = ?, round = ?, reopened = ?, updated_at = ? WHERE id = ?`, l.Score, l.Faces, l.Records, l.MissingFace, l.FoundFace, l.ModelSet,
		l.State, l.Round, millis(l.Reopened), millis(l.UpdatedAt), l.ID)
	return l, did, err
}

// insertLead stores a new lead; of is the case in whose history it stands.
func (r *Registry) insertLead(ctx context.Context, tx *sql.Tx, of CaseID, l Lead) (Lead, error) {
	l.ID, l.State, l.Round, l.CreatedAt = LeadID(newID("l_")), LeadOpen, 1, r.now()
	l.UpdatedAt = l.CreatedAt
	if _, err := tx.ExecContext(ctx, `INSERT INTO leads (id, missing_case, found_case, state, source, note, opened_by, score, faces, records,
		missing_face, found_face, model_set, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		l.ID, l.Missing, l.Found, l.State, l.Source, l.Note, l.OpenedBy, l.Score, l.Faces, l.Records,
		l.MissingFace, l.FoundFace, l.ModelSet, millis(l.CreatedAt), millis(l.UpdatedAt)); err != nil {
		return Lead{}, err
	}
	return l, r.audit(ctx, tx, Note{Action: "lead.opened", Case: of, Subject: string(l.ID),
		Detail: map[string]string{"source": string(l.Source), "score": scoreText(l.Score)}})
}

func scoreText(score float64) string { return strconv.FormatFloat(score, 'f', 2, 64) }

// doneStanding strikes a case off what is due, unless it has changed since.
const doneStanding = "DELETE FROM due WHERE case_id = ? AND seq <= ?"

// DueCases lists open cases that changed since the standing search compared them, and the change they are now at, the
// longest waiting first.
func (r *Registry) DueCases(ctx context.Context, limit int) ([]Change, error) {
	rows, err := r.readers.QueryContext(ctx, dueCases, limit)
	if err != nil {
		return nil, wrap(err, "list cases to compare")
	}
	defer rows.Close()
	var out []Change
	for rows.Next() {
		var ch Change
		if err := rows.Scan(&ch.Seq, &ch.Case); err != nil {
			return nil, wrap(err, "list cases to compare")
		}
		out = append(out, ch)
	}
	return out, wrap(rows.Err(), "list cases to compare")
}

// dueCases walks what is due in its order and nothing else, however many cases there are.
const dueCases = `SELECT d.seq, d.case_id FROM due d CROSS JOIN cases c ON c.id = d.case_id WHERE c.status = 'open' ORDER BY d.seq LIMIT ?`

// SkipStanding notes that there is nothing to compare of a case as of a change (no face, or closed).
func (r *Registry) SkipStanding(ctx context.Context, id CaseID, seq int64) error {
	return r.SkipStandingAll(ctx, []Change{{Seq: seq, Case: id}})
}

// SkipStandingAll is SkipStanding of many cases in one write.
func (r *Registry) SkipStandingAll(ctx context.Context, done []Change) error {
	if len(done) == 0 {
		return nil
	}
	return r.change(ctx, "note what was compared", func(ctx context.Context, tx *sql.Tx) error {
		st, err := tx.PrepareContext(ctx, doneStanding)
		if err != nil {
			return err
		}
		defer st.Close()
		for _, ch := range done {
			if _, err := st.ExecContext(ctx, ch.Case, ch.Seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// OpenCase is an open case as a cross-match goes through a gallery: N counts cases in the order in which they came.
type OpenCase struct {
	N  int64
	ID CaseID
}

// OpenCases lists the open cases of a gallery in the order in which they came, without what they hold.
func (r *Registry) OpenCases(ctx context.Context, g Gallery) ([]OpenCase, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT n, id FROM cases WHERE gallery = ? AND status = 'open' ORDER BY n", g)
	if err != nil {
		return nil, wrap(err, "list the open %s cases", g)
	}
	defer rows.Close()
	var out []OpenCase
	for rows.Next() {
		var c OpenCase
		if err := rows.Scan(&c.N, &c.ID); err != nil {
			return nil, wrap(err, "list the open %s cases", g)
		}
		out = append(out, c)
	}
	return out, wrap(rows.Err(), "list the open %s cases", g)
}

// LeadPair is the two cases of a lead.
type LeadPair struct{ Missing, Found CaseID }

// LeadPairs are the pairs of all leads of these cases of a gallery whose two cases are open.
func (r *Registry) LeadPairs(ctx context.Context, g Gallery, ids []CaseID) ([]LeadPair, error) {
	const what = "list the leads of cases"
	if len(ids) == 0 { // an empty list would be the JSON null, which is one value
		return nil, nil
	}
	side := map[Gallery]string{Missing: "missing_case", Found: "found_case"}[g]
	rows, err := r.readers.QueryContext(ctx, "SELECT l.missing_case, l.found_case FROM json_each(?) i CROSS JOIN leads l ON l."+side+` = i.value
		CROSS JOIN cases m ON m.id = l.missing_case CROSS JOIN cases f ON f.id = l.found_case
		WHERE m.status = 'open' AND f.status = 'open' ORDER BY l.n`, jsonText(ids))
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	var out []LeadPair
	for rows.Next() {
		var p LeadPair
		if err := rows.Scan(&p.Missing, &p.Found); err != nil {
			return nil, wrap(err, what)
		}
		out = append(out, p)
	}
	return out, wrap(rows.Err(), what)
}

// OpenLead opens a lead by hand: a family's "this may be my child" or an officer's. One that is there keeps its state and
// strength and gets the note behind those it has; existed says so. source is FromFamily or FromOfficer; the note may be empty.
// ErrNotFound when a case is gone, ErrConflict when one is closed, *FieldError when one is in the wrong gallery.
func (r *Registry) OpenLead(ctx context.Context, n NewLead, source LeadSource, note string) (l Lead, existed bool, err error) {
	what := fmt.Sprintf("open the lead of %s and %s", n.Missing, n.Found)
	if note, err = prose("note", note, MaxNote); err != nil {
		return Lead{}, false, wrap(err, "%s", what)
	}
	switch {
	case source != FromFamily && source != FromOfficer:
		err = &FieldError{"source", "must be family or officer"}
	case math.IsNaN(n.Score) || math.IsNaN(n.Faces) || math.IsNaN(n.Records):
		err = &FieldError{"score", "is not a number"}
	}
	if err != nil {
		return Lead{}, false, wrap(err, "%s", what)
	}
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		open, err := pairOpen(ctx, tx, n.Missing, n.Found)
		if err != nil {
			return err
		}
		if !open {
			return refused(ErrConflict, "a case of it is closed")
		}
		l, err = leadOfPair(ctx, tx, n.Missing, n.Found)
		if errors.Is(err, sql.ErrNoRows) {
			l, err = r.insertLead(ctx, tx, n.Missing, Lead{Missing: n.Missing, Found: n.Found, Source: source, Note: note,
				OpenedBy: ActorOf(ctx).Account, Strength: n.Strength})
			return err
		}
		if err != nil {
			return err
		}
		existed = true
		if strings.Contains(l.Note, note) { // also where there is none, and where a form was sent twice
			return nil
		}
		if l.Note, err = prose("note", l.Note+"\n\n"+note, MaxNote); err != nil {
			return &FieldError{"note", fmt.Sprintf("does not fit behind those this lead has; together at most %d characters", MaxNote)}
		}
		if _, err := tx.ExecContext(ctx, "UPDATE leads SET note = ? WHERE id = ?", l.Note, l.ID); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "lead.noted", Case: n.Missing, Subject: string(l.ID), Detail: map[string]string{"source": string(source)}})
	})
	if err != nil {
		return Lead{}, false, err
	}
	return l, existed, nil
}

// Lead reads a lead. ErrNotFound.
func (r *Registry) Lead(ctx context.Context, id LeadID) (Lead, error) {
	l, err := scanLead(r.readers.QueryRowContext(ctx, "SELECT "+leadColumns+" FROM leads l WHERE l.id = ?", id))
	if err != nil {
		return Lead{}, wrap(err, "lead %s", id)
	}
	return l, nil
}

// LeadOf reads the lead of a pair. ErrNotFound when the two are none.
func (r *Registry) LeadOf(ctx context.Context, missing, found CaseID) (Lead, error) {
	l, err := scanLead(r.readers.QueryRowContext(ctx, "SELECT "+leadColumns+" FROM leads l WHERE l.missing_case = ? AND l.found_case = ?", missing, found))
	if err != nil {
		return Lead{}, wrap(err, "lead of %s and %s", missing, found)
	}
	return l, nil
}

// LeadQuery says which leads Leads lists. Zero fields do not narrow.
type LeadQuery struct {
	States  []LeadState
	Case    CaseID   // on either side
	Regions []string // of an account: leads of which it covers at least one side; nil is everywhere
	Region  string   // leads with a side in this region, or one under it
	Sources []LeadSource
	// Unjudged leaves out those that this account has judged in their present round, or may not judge because it reported a
	// case of them or opened them.
	Unjudged AccountID
	Order    LeadOrder
	Limit    int
	Cursor   string
	Closed   bool // also leads of which a case is closed
}

// LeadOrder is how leads are ordered.
type LeadOrder string

const (
	// ByUrgency puts strong leads first, and lets waiting count: a day weighs as much as UrgencyPerDay of score.
	ByUrgency LeadOrder = ""
	ByScore   LeadOrder = "score"
	ByAge     LeadOrder = "age" // longest waiting first
	ByNewest  LeadOrder = "newest"
)

// UrgencyPerDay is what a day of waiting adds to a lead's place in the queue, in log10: after ten days a lead stands where
// one ten times stronger stands on its first. The column leads.urgency is made with it.
const UrgencyPerDay = 0.1

// key is what an order sorts by, the greatest first; leads of the same key are in the order in which they came.
func (o LeadOrder) key() (string, error) {
	const since = "coalesce(nullif(l.reopened, 0), l.created_at)"
	switch o {
	case ByUrgency:
		return "l.urgency", nil
	case ByScore:
		return "l.score", nil
	case ByAge:
		return "-" + since, nil
	case ByNewest:
		return since, nil
	}
	return "", &FieldError{"order", "must be score, age, newest, or empty for the most urgent first"}
}

// where is the condition on leads l with cases m and f that the query stands for; cursor and limit are not in it.
func (q LeadQuery) where() (string, []any) {
	where := []string{"1"}
	var args []any
	add := func(cond string, values ...any) {
		where = append(where, cond)
		args = append(args, values...)
	}
	in := func(column string, n int) string { return column + " IN (?" + strings.Repeat(", ?", n-1) + ")" }
	if n := len(q.States); n > 0 {
		add(in("l.state", n), anys(q.States)...)
	}
	if n := len(q.Sources); n > 0 {
		add(in("l.source", n), anys(q.Sources)...)
	}
	if q.Case != "" {
		add("(l.missing_case = ? OR l.found_case = ?)", q.Case, q.Case)
	}
	// As Covers has it.
	const under = `EXISTS (SELECT 1 FROM json_each(?) g WHERE g.value IN ('` + Everywhere + `', m.region, f.region)
		OR substr(m.region, 1, length(g.value) + 1) = g.value || '-' OR substr(f.region, 1, length(g.value) + 1) = g.value || '-')`
	if q.Regions != nil {
		add("(m.region = '' OR f.region = '' OR "+under+")", jsonText(q.Regions))
	}
	if q.Region != "" {
		add(under, jsonText([]string{q.Region}))
	}
	if a := q.Unjudged; a != "" {
		add(`l.opened_by <> ? AND m.reported_by <> ? AND f.reported_by <> ?
			AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.lead_id = l.id AND v.round = l.round AND v.account_id = ?)`, a, a, a, a)
	}
	if !q.Closed {
		add("m.status = 'open' AND f.status = 'open'")
	}
	return strings.Join(where, " AND "), args
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

const fromLeads = " FROM leads l CROSS JOIN cases m ON m.id = l.missing_case CROSS JOIN cases f ON f.id = l.found_case WHERE "

// Leads lists leads. next is the cursor of the following page, empty on the last. ErrInvalid for a cursor that Leads did not
// give in this order.
func (r *Registry) Leads(ctx context.Context, q LeadQuery) (leads []Lead, next string, err error) {
	statement, args, err := q.page()
	if err != nil {
		return nil, "", wrap(err, "list leads")
	}
	limit := args[len(args)-1].(int) - 1
	rows, err := r.readers.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, "", wrap(err, "list leads")
	}
	defer rows.Close()
	var last leadPlace
	for rows.Next() {
		if len(leads) == limit {
			next = last.cursor(q.Order)
			break
		}
		l, err := scanLead(rows, &last.key, &last.n)
		if err != nil {
			return nil, "", wrap(err, "list leads")
		}
		leads = append(leads, l)
	}
	return leads, next, wrap(rows.Err(), "list leads")
}

// page is the statement for a page of leads. Its last argument is the limit and one more, which tells whether there is a
// next page. The places are found first: the rest of a row is read for the page alone. Each state's are found by
// themselves, as the index has them in order, and then put together.
func (q LeadQuery) page() (statement string, args []any, err error) {
	key, err := q.Order.key()
	if err != nil {
		return "", nil, err
	}
	limit := q.Limit
	switch {
	case limit == 0:
		limit = DefaultListed
	case limit < 0 || limit > MaxListed:
		return "", nil, &FieldError{"limit", fmt.Sprintf("goes from 1 to %d", MaxListed)}
	}
	var after leadPlace
	if q.Cursor != "" {
		if after, err = parseLeadPlace(q.Cursor, q.Order); err != nil {
			return "", nil, err
		}
	}
	states := slices.Clone(q.States)
	slices.Sort(states)
	parts := [][]LeadState{nil}
	if len(states) > 0 {
		parts = slices.Collect(slices.Chunk(slices.Compact(states), 1))
	}
	var places []string
	for _, q.States = range parts {
		where, values := q.where()
		if q.Cursor != "" {
			where += fmt.Sprintf(" AND %s <= ? AND (%s < ? OR l.n > ?)", key, key)
			values = append(values, after.key, after.key, after.n)
		}
		places = append(places, "SELECT * FROM (SELECT l.n, "+key+" AS key"+fromLeads+where+" ORDER BY "+key+" DESC, l.n LIMIT ?)")
		args = append(append(args, values...), limit+1)
	}
	return "SELECT " + leadColumns + ", p.key, p.n FROM (" + strings.Join(places, " UNION ALL ") +
		" ORDER BY key DESC, n LIMIT ?) p JOIN leads l ON l.n = p.n ORDER BY p.key DESC, p.n", append(args, limit+1), nil
}

// leadPlace is a lead's place in an order.
type leadPlace struct {
	key float64
	n   int64
}

// cursor is the place, with a checksum that tells a cursor from other text, and from one of another order.
func (p leadPlace) cursor(o LeadOrder) string {
	b := binary.BigEndian.AppendUint64(nil, math.Float64bits(p.key))
	b = binary.BigEndian.AppendUint64(b, uint64(p.n))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(append(b, o...))))
}

func parseLeadPlace(text string, o LeadOrder) (leadPlace, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil && len(b) == 20 {
		p := leadPlace{math.Float64frombits(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}
		if p.cursor(o) == text {
			return p, nil
		}
	}
	return leadPlace{}, fmt.Errorf("cursor: %w: use the next value of the answer before, unchanged", ErrInvalid)
}

// LeadCounts says how many leads there are in each state, of those that q describes.
func (r *Registry) LeadCounts(ctx context.Context, q LeadQuery) (map[LeadState]int, error) {
	where, args := q.where()
	rows, err := r.readers.QueryContext(ctx, "SELECT l.state, count(*)"+fromLeads+where+" GROUP BY l.state", args...)
	if err != nil {
		return nil, wrap(err, "count leads")
	}
	defer rows.Close()
	counts := make(map[LeadState]int)
	for rows.Next() {
		var s LeadState
		var n int
		if err := rows.Scan(&s, &n); err != nil {
			return nil, wrap(err, "count leads")
		}
		counts[s] = n
	}
	return counts, wrap(rows.Err(), "count leads")
}
