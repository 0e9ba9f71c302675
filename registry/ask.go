package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Ask is a request to see a case of another region.
type Ask struct {
	ID         string // "q_…"
	Case       CaseID
	By         AccountID
	Why        string
	AskedAt    time.Time
	Answer     string // "", Granted or Refusal
	AnsweredBy AccountID
	AnsweredAt time.Time
	Until      time.Time // of a grant
}

// Answers to an ask.
const (
	Granted = "granted"
	Refusal = "refused"
)

// GrantLife is how long a case of another region may be seen.
const GrantLife = 30 * 24 * time.Hour

const askColumns = "a.id, a.case_id, a.account_id, a.why, a.asked_at, a.answer, a.answered_by, a.answered_at, a.until"

func scanAsk(row scanner, more ...any) (Ask, error) {
	var a Ask
	var asked, answered, until int64
	err := row.Scan(append([]any{&a.ID, &a.Case, &a.By, &a.Why, &asked, &a.Answer, &a.AnsweredBy, &answered, &until}, more...)...)
	a.AskedAt, a.AnsweredAt, a.Until = fromMillis(asked), fromMillis(answered), fromMillis(until)
	return a, err
}

// AskFor asks to see a case. An ask that waits is answered as it is. *FieldError without a reason; ErrNotFound when there
// is no such case.
func (r *Registry) AskFor(ctx context.Context, id CaseID, why string) (Ask, error) {
	what := "ask for case " + string(id)
	a := Ask{ID: newID("q_"), Case: id, By: ActorOf(ctx).Account, AskedAt: r.now()}
	var err error
	if a.Why, err = reason("why", why); err != nil {
		return Ask{}, wrap(err, "%s", what)
	}
	if a.By == "" {
		return Ask{}, fmt.Errorf("%s: %w: only an account can ask", what, ErrInvalid)
	}
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var one int
		if err := tx.QueryRowContext(ctx, "SELECT 1 FROM cases WHERE id = ?", id).Scan(&one); err != nil {
			return err
		}
		waiting, err := scanAsk(tx.QueryRowContext(ctx, "SELECT "+askColumns+" FROM asks a WHERE a.case_id = ? AND a.account_id = ? AND a.answer = ''", id, a.By))
		if err == nil {
			a = waiting
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO asks (id, case_id, account_id, why, asked_at) VALUES (?, ?, ?, ?, ?)",
			a.ID, a.Case, a.By, a.Why, millis(a.AskedAt)); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "ask.made", Case: id, Subject: a.ID})
	})
	if err != nil {
		return Ask{}, err
	}
	return a, nil
}

// reason tidies why someone wants something, and refuses none.
func reason(field, why string) (string, error) {
	why, err := prose(field, why, MaxWhy)
	if err == nil && why == "" {
		err = &FieldError{field, "is missing; say why in a few words"}
	}
	return why, err
}

// AnswerAsk grants or refuses. *ErrNotYours for who asked, or who is not responsible for the case's region; ErrConflict when
// it is answered.
func (r *Registry) AnswerAsk(ctx context.Context, id string, grant bool) (Ask, error) {
	actor := ActorOf(ctx)
	var a Ask
	err := r.change(ctx, "answer "+id, func(ctx context.Context, tx *sql.Tx) (err error) {
		var region string
		a, err = scanAsk(tx.QueryRowContext(ctx, "SELECT "+askColumns+", c.region FROM asks a JOIN cases c ON c.id = a.case_id WHERE a.id = ?", id), &region)
		switch {
		case err != nil:
			return err
		case a.By == actor.Account:
			return &ErrNotYours{"You asked for this yourself. Someone who is responsible for the case's region must answer."}
		case actor.Role.Staff() && !Covers(actor.Regions, region):
			return &ErrNotYours{"This case belongs to another region. Someone who is responsible for it must answer."}
		case a.Answer != "":
			return refused(ErrConflict, "it was %s already", a.Answer)
		}
		a.Answer, a.AnsweredBy, a.AnsweredAt = Refusal, actor.Account, r.now()
		if grant {
			a.Answer, a.Until = Granted, a.AnsweredAt.Add(GrantLife)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE asks SET answer = ?, answered_by = ?, answered_at = ?, until = ? WHERE id = ?",
			a.Answer, a.AnsweredBy, millis(a.AnsweredAt), millis(a.Until), id); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "ask." + a.Answer, Case: a.Case, Subject: id, Detail: map[string]string{"account": string(a.By)}})
	})
	if err != nil {
		return Ask{}, err
	}
	return a, nil
}

// OpenAsks lists asks that wait, for cases that the regions cover (nil: all), longest waiting first.
func (r *Registry) OpenAsks(ctx context.Context, regions []string) ([]Ask, error) {
	if regions == nil {
		regions = []string{Everywhere}
	}
	return r.asks(ctx, "list open asks", "JOIN cases c ON c.id = a.case_id WHERE a.answer = '' AND "+covered("c.region")+" ORDER BY a.n", jsonText(regions))
}

// AsksOf lists an account's asks, newest first.
func (r *Registry) AsksOf(ctx context.Context, id AccountID) ([]Ask, error) {
	return r.asks(ctx, "asks of account "+string(id), "WHERE a.account_id = ? ORDER BY a.n DESC", id)
}

func (r *Registry) asks(ctx context.Context, what, where string, args ...any) ([]Ask, error) {
	rows, err := r.readers.QueryContext(ctx, "SELECT "+askColumns+" FROM asks a "+where, args...)
	if err != nil {
		return nil, wrap(err, "%s", what)
	}
	defer rows.Close()
	var out []Ask
	for rows.Next() {
		a, err := scanAsk(rows)
		if err != nil {
			return nil, wrap(err, "%s", what)
		}
		out = append(out, a)
	}
	return out, wrap(rows.Err(), "%s", what)
}

// MaySee says whether an actor may see a case: a family its own; staff those of its regions, those it reported and those it
// was granted a look at; auditors, administrators and the public none.
func (r *Registry) MaySee(ctx context.Context, a Actor, c Case) (bool, error) {
	switch a.Role {
	case System, Operator:
		return true, nil
	case Family:
		return c.ID != "" && a.Case == c.ID, nil
	case Officer, Examiner, Supervisor, Laboratory:
	default:
		return false, nil
	}
	if Covers(a.Regions, c.Region) || a.Account != "" && a.Account == c.ReportedBy {
		return true, nil
	}
	var granted bool
	err := r.readers.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM asks WHERE account_id = ? AND case_id = ? AND answer = ? AND until > ?)",
		a.Account, c.ID, Granted, millis(r.now())).Scan(&granted)
	return granted, wrap(err, "who may see case %s", c.ID)
}
