package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// newVerdict is a verdict on a lead in the round it is in.
func newVerdict(t testing.TB, r *Registry, id LeadID, f Finding) NewVerdict {
	t.Helper()
	return NewVerdict{Lead: id, Round: readLead(t, r, id).Round, Finding: f, Reasons: "Ears and scar compared"}
}

var frozen = Frozen{Content: json.RawMessage(`{"place":"old"}`)}

func judge(t testing.TB, r *Registry, ctx context.Context, id LeadID, f Finding) (Verdict, Lead) {
	t.Helper()
	v, l, err := r.GiveVerdict(ctx, newVerdict(t, r, id, f), frozen)
	if err != nil {
		t.Fatal(err)
	}
	return v, l
}

func notYours(err error) bool {
	var e *ErrNotYours
	return errors.As(err, &e)
}

func TestVerdictsAgree(t *testing.T) {
	for f, state := range map[Finding]LeadState{PotentialCandidate: LeadPotential, NoCandidate: LeadNoCandidate, Inconclusive: LeadInconclusive} {
		var hands clock
		r := open(t, t.TempDir(), hands.options())
		l := newLead(t, r, 2)
		one, two := working(t, r, Examiner, ""), working(t, r, Supervisor, "")
		hands.pass(time.Hour)
		n := newVerdict(t, r, l.ID, f)
		n.Reasons = "  Ears\r\nand scar "
		v, after, err := r.GiveVerdict(one, n, frozen)
		want := Verdict{ID: v.ID, Lead: l.ID, Round: 1, Seat: FirstSeat, By: ActorOf(one).Account, Finding: f, Reasons: "Ears\nand scar", At: hands.now()}
		if err != nil || v != want || !strings.HasPrefix(v.ID, "v_") {
			t.Errorf("%+v\n%+v %v", v, want, err)
		}
		if l.Verdicts = 1; after != l || readLead(t, r, l.ID) != l { // open as before
			t.Errorf("%+v\n%+v", after, l)
		}
		saveOne(t, r, NewLead{l.Missing, l.Found, Strength{Score: 2.5}}) // another photo meanwhile
		second, after := judge(t, r, two, l.ID, f)
		if second.Seat != SecondSeat || after.State != state || after.JudgedScore != 2.5 || after.Verdicts != 2 || !after.UpdatedAt.Equal(hands.now()) || readLead(t, r, l.ID) != after {
			t.Errorf("%+v %+v", second, after)
		}
		// The history tells the seats, and the outcome once there is one.
		if got, want := notesOn(t, r, string(l.ID))[1:], []string{
			"verdict.given " + string(l.Missing) + ` {"seat":"first","verdict":"` + v.ID + `"}`,
			"verdict.given " + string(l.Missing) + ` {"seat":"second","verdict":"` + second.ID + `"}`,
			"lead.settled " + string(l.Missing) + ` {"state":"` + string(state) + `"}`,
		}; !slices.Equal(got, want) {
			t.Error(got)
		}
		if _, _, err := r.GiveVerdict(working(t, r, Examiner, ""), newVerdict(t, r, l.ID, f), frozen); !errors.Is(err, ErrConflict) {
			t.Error("a third verdict:", err)
		}
	}
}

func TestVerdictTwice(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	l := newLead(t, r, 2)
	one, two := working(t, r, Examiner, ""), working(t, r, Examiner, "")
	v, _ := judge(t, r, one, l.ID, NoCandidate)
	n := newVerdict(t, r, l.ID, NoCandidate)
	n.Reasons = "Written anew"
	for _, when := range []string{"at once", "after the second", "in the next round"} {
		before := len(notesOn(t, r, string(l.ID)))
		if again, _, err := r.GiveVerdict(one, n, Frozen{Content: json.RawMessage(`{"place":"new"}`)}); err != nil || again != v {
			t.Errorf("%s: %+v %v", when, again, err)
		}
		if got := notesOn(t, r, string(l.ID)); len(got) != before {
			t.Error(when, got)
		}
		other := n
		other.Finding = PotentialCandidate
		if _, _, err := r.GiveVerdict(one, other, frozen); !errors.Is(err, ErrConflict) {
			t.Errorf("%s, another finding: %v", when, err)
		}
		if _, content, err := r.FrozenOf(t.Context(), v.ID); err != nil || string(content) != string(frozen.Content) {
			t.Errorf("%s: %s %v", when, content, err)
		}
		switch when {
		case "at once":
			judge(t, r, two, l.ID, NoCandidate)
		case "after the second":
			if got := saveOne(t, r, NewLead{l.Missing, l.Found, Strength{Score: 4}}); got.Round != 2 || got.State != LeadOpen || got.Verdicts != 0 {
				t.Fatalf("%+v", got)
			}
		}
	}
	// A round that is over is no place for others either, nor one that has not come.
	for _, round := range []int{0, 1, 3} {
		n.Round = round
		if _, _, err := r.GiveVerdict(working(t, r, Examiner, ""), n, frozen); !errors.Is(err, ErrConflict) {
			t.Error(round, err)
		}
	}
	// The same two may judge in the new round.
	judge(t, r, one, l.ID, PotentialCandidate)
	if _, l := judge(t, r, two, l.ID, PotentialCandidate); l.State != LeadPotential || l.JudgedScore != 4 {
		t.Errorf("%+v", l)
	}
}

func TestDispute(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	l := newLead(t, r, 2)
	one, two, settler := working(t, r, Examiner, ""), working(t, r, Supervisor, ""), working(t, r, Supervisor, "")
	v1, _ := judge(t, r, one, l.ID, NoCandidate)
	v2, after := judge(t, r, two, l.ID, PotentialCandidate)
	if after.State != LeadDisputed || v2.Seat != SecondSeat || after.JudgedScore != 0 {
		t.Fatalf("%+v %+v", v2, after)
	}
	// Neither an examiner nor the supervisor who has a seat.
	for _, ctx := range []context.Context{working(t, r, Examiner, ""), two, one} {
		if _, _, err := r.GiveVerdict(ctx, newVerdict(t, r, l.ID, Inconclusive), frozen); !notYours(err) {
			t.Error(err)
		}
	}
	v3, after := judge(t, r, settler, l.ID, PotentialCandidate)
	if v3.Seat != SupervisorSeat || after.State != LeadPotential || after.JudgedScore != 2 || after.Verdicts != 3 {
		t.Errorf("%+v %+v", v3, after)
	}
	got := notesOn(t, r, string(l.ID))
	if want := []string{
		"verdict.given " + string(l.Missing) + ` {"seat":"first","verdict":"` + v1.ID + `"}`,
		"verdict.given " + string(l.Missing) + ` {"seat":"second","verdict":"` + v2.ID + `"}`,
		"lead.disputed " + string(l.Missing) + ` {"state":"disputed"}`,
		"verdict.given " + string(l.Missing) + ` {"seat":"supervisor","verdict":"` + v3.ID + `"}`,
		"lead.settled " + string(l.Missing) + ` {"state":"potential"}`,
	}; !slices.Equal(got[1:], want) {
		t.Error(got)
	}
}

// TestVerdictsAtOnce lets three examiners press the button at the same moment, each twice.
func TestVerdictsAtOnce(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	for _, findings := range [][]Finding{{NoCandidate, NoCandidate, NoCandidate}, {NoCandidate, PotentialCandidate, Inconclusive}} {
		l := newLead(t, r, 2)
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			if i%2 == 0 {
				ctx := working(t, r, Examiner, "")
				for j := range 2 {
					wg.Go(func() {
						_, _, errs[i+j] = r.GiveVerdict(ctx, NewVerdict{l.ID, 1, findings[i/2], "Seen"}, frozen)
					})
				}
			}
		}
		wg.Wait()
		refused := 0
		for _, err := range errs {
			if err != nil {
				refused++
				if !errors.Is(err, ErrConflict) && !notYours(err) {
					t.Error(err)
				}
			}
		}
		var seats string
		if err := r.readers.QueryRow("SELECT group_concat(seat) FROM (SELECT seat FROM verdicts WHERE lead_id = ? ORDER BY n)", l.ID).Scan(&seats); err != nil || seats != "first,second" {
			t.Error(seats, err)
		}
		want := LeadNoCandidate
		if findings[1] != findings[0] {
			want = LeadDisputed
		}
		if got := readLead(t, r, l.ID); refused != 2 || got.State != want {
			t.Errorf("%d %+v", refused, got)
		}
	}
}

func TestVerdictRefused(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	examiner := working(t, r, Examiner, "")
	l := newLead(t, r, 2)
	stranger := newCase(t, r, Found)
	for name, c := range map[string]struct {
		ctx   context.Context
		spoil func(*NewVerdict, *Frozen)
		is    error
		field string
	}{
		"nobody":          {t.Context(), nil, ErrInvalid, ""},
		"an officer":      {working(t, r, Officer, ""), nil, nil, ""},
		"an auditor":      {working(t, r, Auditor, ""), nil, nil, ""},
		"no reasons":      {examiner, func(n *NewVerdict, _ *Frozen) { n.Reasons = " \n\u3000" }, ErrInvalid, "reasons"},
		"endless reasons": {examiner, func(n *NewVerdict, _ *Frozen) { n.Reasons = strings.Repeat("字", MaxReasons+1) }, ErrInvalid, "reasons"},
		"control":         {examiner, func(n *NewVerdict, _ *Frozen) { n.Reasons = "a\x1b" }, ErrInvalid, "reasons"},
		"finding":         {examiner, func(n *NewVerdict, _ *Frozen) { n.Finding = "identified" }, ErrInvalid, "finding"},
		"no finding":      {examiner, func(n *NewVerdict, _ *Frozen) { n.Finding = "" }, ErrInvalid, "finding"},
		"no content":      {examiner, func(_ *NewVerdict, f *Frozen) { f.Content = nil }, ErrInvalid, "frozen"},
		"other case": {examiner, func(_ *NewVerdict, f *Frozen) { f.Pictures = []Exhibit{{stranger.ID, "p_1", []byte("x")}} },
			ErrInvalid, "pictures"},
		"no such lead": {examiner, func(n *NewVerdict, _ *Frozen) { n.Lead = "l_none" }, ErrNotFound, ""},
	} {
		n, f := newVerdict(t, r, l.ID, NoCandidate), frozen
		if c.spoil != nil {
			c.spoil(&n, &f)
		}
		_, _, err := r.GiveVerdict(c.ctx, n, f)
		var field *FieldError
		if c.is == nil && !notYours(err) || c.is != nil && !errors.Is(err, c.is) || errors.As(err, &field) != (c.field != "") || field != nil && field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}

	// Nobody judges what they reported or opened.
	reported := func(g Gallery) Case {
		c, err := r.CreateCase(examiner, Case{Gallery: g})
		if err != nil || c.ReportedBy != ActorOf(examiner).Account {
			t.Fatal(c, err)
		}
		return c
	}
	byHand, _, err := r.OpenLead(examiner, pair(newCase(t, r, Missing), newCase(t, r, Found), 0), FromOfficer, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Lead{
		saveOne(t, r, pair(reported(Missing), newCase(t, r, Found), 3)), saveOne(t, r, pair(newCase(t, r, Missing), reported(Found), 3)), byHand,
	} {
		if _, _, err := r.GiveVerdict(examiner, newVerdict(t, r, l.ID, NoCandidate), frozen); !notYours(err) {
			t.Error(err)
		}
		judge(t, r, working(t, r, Examiner, ""), l.ID, NoCandidate) // others do
	}

	if _, err := r.CloseCase(t.Context(), l.Missing, Withdrawn); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.GiveVerdict(examiner, newVerdict(t, r, l.ID, NoCandidate), frozen); !errors.Is(err, ErrConflict) {
		t.Error("of a closed case:", err)
	}
	if got := readLead(t, r, l.ID); got.Verdicts != 0 {
		t.Errorf("%+v", got)
	}
}

// TestVerdictsSeen asks as everyone after each step which verdicts they see.
func TestVerdictsSeen(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	l := newLead(t, r, 2)
	one, two, settler, third := working(t, r, Examiner, ""), working(t, r, Examiner, ""), working(t, r, Supervisor, ""), working(t, r, Examiner, "")
	seen := func(when, wantOne, wantTwo, wantSettler, wantThird, wantNobody string) {
		t.Helper()
		for _, c := range []struct {
			who    string
			viewer AccountID
			want   string
		}{
			{"one", ActorOf(one).Account, wantOne}, {"two", ActorOf(two).Account, wantTwo}, {"settler", ActorOf(settler).Account, wantSettler},
			{"third", ActorOf(third).Account, wantThird}, {"nobody", "", wantNobody},
		} {
			all, err := r.Verdicts(t.Context(), l.ID, c.viewer)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range all {
				got = append(got, string(v.Seat[:1]))
			}
			if strings.Join(got, "") != c.want {
				t.Errorf("%s, %s sees %v, want %s", when, c.who, got, c.want)
			}
		}
	}
	seen("before", "", "", "", "", "")
	v, _ := judge(t, r, one, l.ID, NoCandidate)
	seen("first", "f", "", "", "", "")
	judge(t, r, two, l.ID, Inconclusive)
	seen("disputed", "f", "s", "fs", "", "")
	judge(t, r, settler, l.ID, NoCandidate)
	seen("settled", "fss", "fss", "fss", "fss", "fss")
	saveOne(t, r, NewLead{l.Missing, l.Found, Strength{Score: 4}})
	seen("opened again", "fss", "fss", "fss", "fss", "fss")
	judge(t, r, third, l.ID, NoCandidate)
	seen("first again", "fss", "fss", "fss", "fssf", "fss")
	judge(t, r, one, l.ID, NoCandidate)
	seen("settled again", "fssfs", "fssfs", "fssfs", "fssfs", "fssfs")

	all, err := r.Verdicts(t.Context(), l.ID, "")
	if err != nil || all[0] != v {
		t.Errorf("%+v %+v %v", all[0], v, err)
	}
	if _, err := r.Verdicts(t.Context(), "l_none", ""); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestFrozen(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	m, f := newCase(t, r, Missing), newCase(t, r, Found)
	p := mustAdd(t, r, m.ID, []byte("photo"))
	l := saveOne(t, r, pair(m, f, 2))
	picture := bytes.Repeat([]byte("the child's own face "), 10_000)
	content := json.RawMessage(`{"place":"the child's own town"}`)
	shown := Frozen{content, []Exhibit{{m.ID, p.ID, picture}, {f.ID, "p_found", []byte("found")}, {f.ID, "p_empty", nil}}}
	v, _, err := r.GiveVerdict(working(t, r, Examiner, ""), newVerdict(t, r, l.ID, NoCandidate), shown)
	if err != nil {
		t.Fatal(err)
	}
	// A photo's picture is stored once, as it was first shown.
	later := Frozen{json.RawMessage(`{"place":"elsewhere"}`), []Exhibit{{m.ID, p.ID, []byte("another rendering")}}}
	second, _, err := r.GiveVerdict(working(t, r, Examiner, ""), newVerdict(t, r, l.ID, NoCandidate), later)
	if err != nil {
		t.Fatal(err)
	}
	m.Place = "another town"
	if m, err = r.UpdateCase(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := r.DeletePhoto(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]json.RawMessage{v.ID: content, second.ID: later.Content} {
		if lead, got, err := r.FrozenOf(t.Context(), id); err != nil || lead != l.ID || !bytes.Equal(got, want) {
			t.Errorf("%s %s %v", lead, got, err)
		}
	}
	for _, c := range []struct {
		of    CaseID
		photo PhotoID
		want  []byte
	}{{m.ID, p.ID, picture}, {f.ID, "p_found", []byte("found")}, {f.ID, "p_empty", nil}} {
		if got, err := r.ExhibitOf(t.Context(), c.of, c.photo); err != nil || !bytes.Equal(got, c.want) {
			t.Error(c.photo, len(got), err)
		}
	}
	for _, c := range []struct {
		of    CaseID
		photo PhotoID
	}{{f.ID, p.ID}, {m.ID, "p_none"}, {"c_none", p.ID}} {
		if _, err := r.ExhibitOf(t.Context(), c.of, c.photo); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if _, _, err := r.FrozenOf(t.Context(), "v_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, file := range files(t, dir) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("own face")) || bytes.Contains(b, []byte("own town")) {
			t.Errorf("%s holds plaintext", file)
		}
	}

	// What is sealed opens only where it belongs.
	for _, statement := range []string{
		"UPDATE exhibits SET sealed = (SELECT sealed FROM exhibits WHERE photo_id = 'p_found') WHERE photo_id = 'p_empty'",
		"UPDATE verdicts SET frozen = (SELECT frozen FROM verdicts WHERE seat = 'first') WHERE seat = 'second'",
	} {
		if _, err := r.writer.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.ExhibitOf(t.Context(), f.ID, "p_empty"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if _, _, err := r.FrozenOf(t.Context(), second.ID); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}

	// It ends with the case: the rows, and the key that would open a copy of them.
	if err := r.DeleteCase(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ExhibitOf(t.Context(), m.ID, p.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, _, err := r.FrozenOf(t.Context(), v.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var left int
	if err := r.readers.QueryRow("SELECT count(*) FROM exhibits WHERE case_id = ?", m.ID).Scan(&left); err != nil || left != 0 {
		t.Error(left, err)
	}
	if got, err := r.ExhibitOf(t.Context(), f.ID, "p_found"); err != nil || string(got) != "found" {
		t.Error(got, err) // the other case's key is there
	}
}
