package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func record(t testing.TB, r *Registry, ctx context.Context, actions ...string) {
	t.Helper()
	for _, a := range actions {
		if err := r.Record(ctx, Note{Action: a, Case: "c_one", Subject: "p_one", Detail: map[string]string{"b": "2", "a": "1"}}); err != nil {
			t.Fatal(err)
		}
	}
}

func verified(t testing.TB, r *Registry, entries int64) AuditState {
	t.Helper()
	s, err := r.VerifyAudit(t.Context(), "")
	if err != nil || s.Entries != entries {
		t.Fatal(s, err)
	}
	return s
}

func TestAudit(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	if s := verified(t, r, 0); s.Head != "" {
		t.Error(s)
	}
	if err := r.Record(t.Context()); err != nil {
		t.Error(err)
	}
	verified(t, r, 0)
	actor := Actor{Account: "a_one", Role: Officer, Name: "Officer One", Via: "h_one", Purpose: "patrol <b>7</b>\x00"}
	record(t, r, WithActor(t.Context(), actor), "photo.looked")
	now.pass(time.Minute)
	record(t, r, t.Context(), "photo.added", "photos.other", "photo.changed")
	s := verified(t, r, 4)
	all, next, err := r.Audit(t.Context(), AuditQuery{})
	if err != nil || next != "" || len(all) != 4 || all[0].Hash != s.Head {
		t.Fatal(all, err)
	}
	e := all[3]
	if e.N != 1 || e.Account != "a_one" || e.Role != Officer || e.Via != "h_one" || e.Purpose != actor.Purpose || e.Case != "c_one" || e.Subject != "p_one" ||
		!e.At.Equal(clockStart) || e.Detail["a"] != "1" || strings.Contains(fmt.Sprint(e), "Officer One") {
		t.Errorf("%+v", e)
	}
	if all[0].Role != System || all[0].Account != "" {
		t.Errorf("%+v", all[0])
	}
	for name, c := range map[string]struct {
		q    AuditQuery
		want string
	}{
		"account":   {AuditQuery{Account: "a_one"}, "1"},
		"case":      {AuditQuery{Case: "c_one"}, "4321"},
		"no case":   {AuditQuery{Case: "c_two"}, ""},
		"action":    {AuditQuery{Action: "photo.added"}, "2"},
		"actions":   {AuditQuery{Action: "photo."}, "421"},
		"half word": {AuditQuery{Action: "photo"}, ""},
		"from":      {AuditQuery{From: clockStart.Add(time.Second)}, "432"},
		"to":        {AuditQuery{To: clockStart.Add(time.Minute)}, "1"},
		"from, to":  {AuditQuery{From: clockStart, To: clockStart}, ""},
		"together":  {AuditQuery{Case: "c_one", Action: "photo.", From: clockStart.Add(time.Minute)}, "42"},
	} {
		entries, _, err := r.Audit(t.Context(), c.q)
		got := ""
		for _, e := range entries {
			got += fmt.Sprint(e.N)
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %s, want %s (%v)", name, got, c.want, err)
		}
	}
	got, cursor := "", ""
	for {
		entries, next, err := r.Audit(t.Context(), AuditQuery{Limit: 3, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			got += fmt.Sprint(e.N)
		}
		record(t, r, t.Context(), "meanwhile.noted") // shifts nothing
		if cursor = next; next == "" {
			break
		}
	}
	if got != "4321" {
		t.Error(got)
	}
	for _, q := range []AuditQuery{{Cursor: "x"}, {Limit: -1}, {Limit: MaxListed + 1}} {
		if _, _, err := r.Audit(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", q, err)
		}
	}
}

// TestAuditWithChange: an entry is written with what it is about, or neither is.
func TestAuditWithChange(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	failed := errors.New("failed")
	err := r.change(t.Context(), "test", func(ctx context.Context, tx *sql.Tx) error {
		if err := r.audit(ctx, tx, Note{Action: "test.done"}); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	verified(t, r, 0)
	c := newCase(t, r, Missing)
	p := mustAdd(t, r, c.ID, []byte("photo"))
	if _, existed, err := addPhoto(t.Context(), r, c.ID, []byte("photo"), NewPhoto{}); err != nil || !existed {
		t.Fatal(existed, err)
	}
	taken, none := date(t, "2010"), FaceID("")
	if _, err := r.UpdatePhoto(t.Context(), p.ID, PhotoChange{Taken: &taken, Subject: &none}); err != nil {
		t.Fatal(err)
	}
	if err := r.DeletePhoto(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteCase(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Case: c.ID})
	var got []string
	for _, e := range entries {
		got = append(got, e.Action+" "+e.Subject+" "+e.Detail["fields"])
	}
	want := []string{"case.deleted  ", "photo.deleted " + string(p.ID) + " ", "photo.changed " + string(p.ID) + " taken,subject", "photo.added " + string(p.ID) + " ", "case.created  "}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q %v", got, err)
	}
	verified(t, r, 5)
}

// TestAuditAppendOnly: the database itself refuses to change what is written, by whatever statement.
func TestAuditAppendOnly(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	record(t, r, t.Context(), "a.b", "c.d")
	for _, statement := range []string{
		"UPDATE audit SET account = 'a_two' WHERE n = 1", "DELETE FROM audit WHERE n = 2", "DELETE FROM audit",
		"INSERT OR REPLACE INTO audit SELECT n, at, 'a_two', role, via, action, case_id, subject, purpose, detail, hash FROM audit WHERE n = 2",
		"INSERT INTO audit SELECT 0, at, account, role, via, action, case_id, subject, purpose, detail, hash FROM audit WHERE n = 2",
	} {
		if _, err := r.writer.Exec(statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	verified(t, r, 2)
}

// tamper changes the registry's database as someone would who has the file and no operator's key.
func tamper(t testing.TB, r *Registry, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", r.database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var drop []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		drop = append(drop, "DROP TRIGGER "+name)
	}
	rows.Close()
	for _, s := range append(drop, statements...) {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(s, err)
		}
	}
}

const columnsButN = "at, account, role, via, action, case_id, subject, purpose, detail, hash"

// tampering is what someone may do to an audit of five entries.
var tampering = map[string][]string{
	"at changed":            {"UPDATE audit SET at = at + 1 WHERE n = 3"},
	"account changed":       {"UPDATE audit SET account = 'a_two' WHERE n = 3"},
	"role changed":          {"UPDATE audit SET role = 'auditor' WHERE n = 3"},
	"via changed":           {"UPDATE audit SET via = 'h_two' WHERE n = 3"},
	"action changed":        {"UPDATE audit SET action = 'photo.added' WHERE n = 3"},
	"case changed":          {"UPDATE audit SET case_id = 'c_two' WHERE n = 3"},
	"subject changed":       {"UPDATE audit SET subject = 'p_two' WHERE n = 3"},
	"purpose changed":       {"UPDATE audit SET purpose = 'another' WHERE n = 3"},
	"detail changed":        {"UPDATE audit SET detail = '{}' WHERE n = 3"},
	"detail broken":         {"UPDATE audit SET detail = '{' WHERE n = 3"},
	"hash changed":          {"UPDATE audit SET hash = zeroblob(32) WHERE n = 3"},
	"text moved over":       {"UPDATE audit SET via = via || substr(action, 1, 1), action = substr(action, 2) WHERE n = 3"},
	"first changed":         {"UPDATE audit SET account = 'a_two' WHERE n = 1"},
	"last changed":          {"UPDATE audit SET account = 'a_two' WHERE n = 5"},
	"last's hash changed":   {"UPDATE audit SET hash = zeroblob(32) WHERE n = 5"},
	"first removed":         {"DELETE FROM audit WHERE n = 1"},
	"middle removed":        {"DELETE FROM audit WHERE n = 3"},
	"middle removed, moved": {"DELETE FROM audit WHERE n = 3", "UPDATE audit SET n = 3 WHERE n = 4", "UPDATE audit SET n = 4 WHERE n = 5"},
	"tail removed":          {"DELETE FROM audit WHERE n >= 4"},
	"all removed":           {"DELETE FROM audit"},
	"inserted":              {"UPDATE audit SET n = n + 10 WHERE n >= 3", "INSERT INTO audit SELECT 3, " + columnsButN + " FROM audit WHERE n = 2", "UPDATE audit SET n = n - 9 WHERE n > 10"},
	"added before":          {"INSERT INTO audit SELECT 0, " + columnsButN + " FROM audit WHERE n = 1"},
	"added behind":          {"INSERT INTO audit SELECT 6, " + columnsButN + " FROM audit WHERE n = 5"},
	"swapped":               {"UPDATE audit SET n = 99 WHERE n = 2", "UPDATE audit SET n = 2 WHERE n = 3", "UPDATE audit SET n = 3 WHERE n = 99"},
	"head changed":          {"UPDATE meta SET value = CAST(replace(CAST(value AS TEXT), '5 ', '4 ') AS BLOB) WHERE name = 'audit_head'"},
	"head emptied":          {"UPDATE meta SET value = x'' WHERE name = 'audit_head'"},
	"head removed":          {"DELETE FROM meta WHERE name = 'audit_head'"},
	"tail and head removed": {"DELETE FROM audit WHERE n >= 4", "DELETE FROM meta WHERE name = 'audit_head'"},
	"tail removed, head to match": {"DELETE FROM audit WHERE n >= 4",
		"UPDATE meta SET value = CAST('3 ' || (SELECT lower(hex(hash)) FROM audit WHERE n = 3) || substr(CAST(value AS TEXT), instr(substr(CAST(value AS TEXT), 3), ' ') + 2) AS BLOB) WHERE name = 'audit_head'"},
}

// TestAuditTampered changes the audit in each way: it is found at once, and still once the registry has gone on.
func TestAuditTampered(t *testing.T) {
	for name, statements := range tampering {
		t.Run(name, func(t *testing.T) {
			r := open(t, t.TempDir(), Options{})
			record(t, r, WithActor(t.Context(), Actor{Account: "a_one", Role: Officer, Via: "h_one", Purpose: "patrol"}),
				"photo.looked", "search.made", "photo.looked", "case.exported", "photo.looked")
			head := verified(t, r, 5).Head
			tamper(t, r, statements...)
			if s, err := r.VerifyAudit(t.Context(), ""); !errors.Is(err, ErrTampered) {
				t.Error("not found:", s, err)
			}
			record(t, r, t.Context(), "search.made", "search.made")
			if s, err := r.VerifyAudit(t.Context(), ""); !errors.Is(err, ErrTampered) {
				t.Error("healed by going on:", s, err)
			}
			if s, err := r.VerifyAudit(t.Context(), head); !errors.Is(err, ErrTampered) {
				t.Error("not found by the known head:", s, err)
			}
		})
	}
}

// TestAuditRebuilt makes the whole chain anew, in each way that is open to someone without the operator's key: none verifies.
func TestAuditRebuilt(t *testing.T) {
	other := open(t, t.TempDir(), Options{})
	for name, k := range map[string]*keyring{
		"another registry's key": &other.keys,
		"no key":                 {},
		"a guessed key":          {digest: make([]byte, sha256.Size)},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, t.TempDir(), Options{})
			record(t, r, WithActor(t.Context(), Actor{Account: "a_one", Role: Officer}), "photo.looked", "search.made", "photo.looked")
			entries, _, err := r.Audit(t.Context(), AuditQuery{})
			if err != nil {
				t.Fatal(err)
			}
			var statements []string
			var hash []byte
			for n := int64(1); n <= 3; n++ {
				e := entries[3-n]
				e.Account = "a_two"
				hash = k.auditHash(hash, e, jsonText(e.Detail))
				statements = append(statements, fmt.Sprintf("UPDATE audit SET account = 'a_two', hash = x'%x' WHERE n = %d", hash, n))
			}
			sealed := k.sealHead(3, hex.EncodeToString(hash))
			statements = append(statements, fmt.Sprintf("UPDATE meta SET value = x'%x' WHERE name = 'audit_head'", sealed))
			tamper(t, r, statements...)
			if s, err := r.VerifyAudit(t.Context(), ""); !errors.Is(err, ErrTampered) {
				t.Error(s, err)
			}
		})
	}
}

// TestAuditPutBack puts the registry back to an earlier state, head and all: only a head kept elsewhere shows that.
func TestAuditPutBack(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	record(t, r, t.Context(), "search.made")
	early := verified(t, r, 1).Head
	var sealed []byte
	if err := r.readers.QueryRow("SELECT value FROM meta WHERE name = 'audit_head'").Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	record(t, r, t.Context(), "photo.looked", "photo.looked")
	late := verified(t, r, 3).Head
	for _, head := range []string{early, late, strings.ToUpper(late) + "\n"} {
		if s, err := r.VerifyAudit(t.Context(), head); err != nil || s.Head != late {
			t.Error(s, err)
		}
	}
	if _, err := r.VerifyAudit(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
	// The head alone does not hide what came after it.
	tamper(t, r, fmt.Sprintf("UPDATE meta SET value = x'%x' WHERE name = 'audit_head'", sealed))
	if _, err := r.VerifyAudit(t.Context(), ""); !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
	tamper(t, r, "DELETE FROM audit WHERE n > 1")
	if s, err := r.VerifyAudit(t.Context(), early); err != nil || s.Entries != 1 {
		t.Error(s, err)
	}
	if _, err := r.VerifyAudit(t.Context(), late); !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
	empty := open(t, filepath.Join(t.TempDir(), "new"), Options{})
	if _, err := empty.VerifyAudit(t.Context(), late); !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
}

// TestRecordTogether notes from many goroutines of two processes: one unbroken chain, with each entry once and under its own
// actor, also where nobody waited for the answer.
func TestRecordTogether(t *testing.T) {
	dir := t.TempDir()
	both := []*Registry{open(t, dir, Options{}), open(t, dir, Options{})}
	const people, each = 10, 8
	var wait sync.WaitGroup
	for i := range people {
		wait.Go(func() {
			ctx := WithActor(context.Background(), Actor{Account: AccountID(fmt.Sprintf("a_%d", i)), Role: Officer})
			for j := range each {
				r := both[(i+j)%2]
				if err := r.Record(ctx, Note{Action: "photo.looked", Subject: fmt.Sprintf("p_%d", j)}, Note{Action: "search.made"}); err != nil {
					t.Error(err)
				}
				if j == 3 {
					if _, err := r.CreateCase(ctx, Case{Gallery: Missing}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
	verified(t, both[0], people*(2*each+1))
	for i := range people {
		entries, _, err := both[1].Audit(t.Context(), AuditQuery{Account: AccountID(fmt.Sprintf("a_%d", i)), Action: "photo.looked"})
		if err != nil || len(entries) != each {
			t.Fatal(len(entries), err)
		}
		for j, e := range entries {
			if e.Subject != fmt.Sprintf("p_%d", each-1-j) {
				t.Error(i, j, e.Subject)
			}
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := both[0].Record(gone, Note{Action: "photo.looked"}); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	record(t, both[0], t.Context(), "search.made") // comes behind it
	verified(t, both[1], people*(2*each+1)+2)
}

func TestUnusualVolume(t *testing.T) {
	now := &clock{}
	r := open(t, t.TempDir(), now.options())
	look := func(account AccountID, n int, action string) {
		t.Helper()
		notes := make([]Note, n)
		for i := range notes {
			notes[i] = Note{Action: action}
		}
		if err := r.Record(WithActor(t.Context(), Actor{Account: account, Role: Officer}), notes...); err != nil {
			t.Fatal(err)
		}
	}
	look("a_old", 3000, "photo.looked") // too long ago to be what is usual
	now.pass(dayT)
	for range 30 {
		look("a_busy", 20, "search.made")
		look("a_calm", 2, "photo.looked")
		now.pass(dayT)
	}
	now.pass(time.Second)
	look("a_busy", 30, "photo.looked")
	look("a_calm", 15, "photo.looked")
	look("a_calm", 15, "search.made")
	look("a_calm", 100, "lead.looked") // of another kind
	look("a_new", 12, "search.made")
	look("a_few", 3, "search.made")
	look("a_old", 40, "search.made")
	look("", 500, "search.made")
	got, err := r.UnusualVolume(t.Context(), 10, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []Unusual{{"a_old", 40, 0}, {"a_calm", 30, 2}, {"a_new", 12, 0}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error(got)
	}
}
