package registry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var family = Contact{Name: "Sample One", Relation: "母亲", Phone: "+86 000 0000", Email: "one@example.org"}

func report(t testing.TB, r *Registry) Receipt {
	t.Helper()
	got, err := r.ReportCase(t.Context(), Case{Names: []string{"Child One"}}, family, "zh")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReportCase(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	got, err := r.ReportCase(t.Context(), Case{Names: []string{"<i>Child</i>"}, Verified: "forged", Status: StatusClosed, ReportedBy: "a_forged"}, family, "zh")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Case(t.Context(), got.Case.ID)
	if err != nil || c.Gallery != Missing || c.Status != StatusOpen || c.ReportedBy != got.Account || c.Verified != "" || c.Names[0] != "<i>Child</i>" {
		t.Errorf("%+v %v", c, err)
	}
	if !regexp.MustCompile(`^[2-9A-HJKMNP-Z]{4}(-[2-9A-HJKMNP-Z]{4}){2}$`).MatchString(got.Code) || !strings.HasPrefix(got.Link, "hf_") {
		t.Error(got)
	}
	var role Role
	var login, name, regions, language string
	if err := r.readers.QueryRow("SELECT role, login, name, regions, language FROM accounts WHERE id = ?", got.Account).Scan(&role, &login, &name, &regions, &language); err != nil ||
		role != Family || login != "" || name != "" || regions != "[]" || language != "zh" {
		t.Error(role, login, name, regions, language, err)
	}
	id, contact, err := r.FamilyOf(t.Context(), c.ID)
	if err != nil || id != got.Account || contact != family {
		t.Error(id, contact, err)
	}
	if _, _, err := r.FamilyOf(t.Context(), newCase(t, r, Missing).ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	// Neither the contact nor what opens the case is anywhere on disk.
	for _, f := range files(t, dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{family.Name, family.Phone, family.Email, family.Relation, got.Link, got.Code, plainCode(got.Code)} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q", f, secret)
			}
		}
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Case: c.ID})
	if err != nil || len(entries) != 2 || entries[0].Action != "family.reported" || entries[0].Subject != string(got.Account) || entries[1].Action != "case.created" {
		t.Error(entries, err)
	}

	officer := as(t, r, Officer, Everywhere)
	byStaff, err := r.ReportCase(officer, Case{Gallery: Missing, Verified: "P-1"}, family, "")
	if err != nil || byStaff.Case.ReportedBy != ActorOf(officer).Account || byStaff.Case.Verified != "P-1" || byStaff.Account == byStaff.Case.ReportedBy {
		t.Error(byStaff, err)
	}
	if id, caseID, err := r.OpenLink(t.Context(), byStaff.Link); err != nil || id != byStaff.Account || caseID != byStaff.Case.ID {
		t.Error(id, caseID, err)
	}
	again, err := r.ReportCase(WithActor(t.Context(), Actor{Account: got.Account, Role: Family, Case: c.ID}), Case{}, family, "")
	if err != nil || again.Case.ReportedBy != again.Account {
		t.Error("a family's second report is not its own:", again, err)
	}
}

func TestReportRefused(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	for name, k := range map[string]struct {
		c        Case
		change   func(*Contact)
		language string
		field    string
	}{
		"found child":         {Case{Gallery: Found}, func(*Contact) {}, "en", "gallery"},
		"facts":               {Case{Sex: "f"}, func(*Contact) {}, "en", "sex"},
		"unknown region":      {Case{Region: "XX"}, func(*Contact) {}, "en", "region"},
		"no name":             {Case{}, func(c *Contact) { c.Name = " " }, "en", "contact.name"},
		"no way to reach":     {Case{}, func(c *Contact) { c.Phone, c.Email = "", " " }, "en", "contact.phone"},
		"phone without digit": {Case{}, func(c *Contact) { c.Phone = "none" }, "en", "contact.phone"},
		"phone too long":      {Case{}, func(c *Contact) { c.Phone = strings.Repeat("1", MaxPhone+1) }, "en", "contact.phone"},
		"no e-mail address":   {Case{}, func(c *Contact) { c.Email = "one@" }, "en", "contact.email"},
		"e-mail, two lines":   {Case{}, func(c *Contact) { c.Email = "one@example.org\nBcc: all" }, "en", "contact.email"},
		"control in relation": {Case{}, func(c *Contact) { c.Relation = "a\x00" }, "en", "contact.relation"},
		"language":            {Case{}, func(*Contact) {}, "../en", "language"},
	} {
		contact := family
		k.change(&contact)
		var field *FieldError
		if _, err := r.ReportCase(t.Context(), k.c, contact, k.language); !errors.As(err, &field) || field.Field != k.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	var left int
	if err := r.readers.QueryRow("SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM cases) + (SELECT count(*) FROM audit)").Scan(&left); err != nil || left != 0 {
		t.Error("a refused report left something:", left, err)
	}
}

func TestFamilyCode(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	one, two := report(t, r), report(t, r)
	refused := func(link, code string) {
		t.Helper()
		if id, err := r.UseCode(t.Context(), link, code); !errors.Is(err, ErrNotFound) || id != "" {
			t.Errorf("%q %q: %v %v", link, code, id, err)
		}
	}
	for _, link := range []string{"", "hf_", "hf_aaaaaaaaaaaaaaaaaaaaaaaaaa", one.Link + "a", strings.ToUpper(one.Link), one.Link[:len(one.Link)-1], string(hashSecret(one.Link))} {
		refused(link, one.Code)
		if _, _, err := r.OpenLink(t.Context(), link); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", link, err)
		}
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Action: "family.refused"})
	if err != nil || len(entries) != 0 {
		t.Error("a link that is nobody's was noted:", entries, err)
	}
	for _, code := range []string{"", "-", two.Code, one.Code + "2", one.Code[1:], strings.ToLower(two.Code)} {
		refused(one.Link, code)
	}
	entries, _, err = r.Audit(t.Context(), AuditQuery{Action: "family.refused"})
	if err != nil || len(entries) != 6 || entries[0].Subject != string(one.Account) || entries[0].Case != one.Case.ID {
		t.Error(entries, err)
	}
	id, err := r.UseCode(t.Context(), one.Link, " "+strings.ToLower(strings.ReplaceAll(one.Code, "-", " – "))+"\n")
	if err != nil || id != one.Account {
		t.Fatal(id, err)
	}
	refused(one.Link, one.Code) // used
	refused(one.Link, "")
	if _, _, err := r.OpenLink(t.Context(), one.Link); err != nil {
		t.Error("a link ends with its code:", err)
	}

	code, err := r.NewCode(t.Context(), one.Account)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := r.NewCode(t.Context(), one.Account)
	if err != nil {
		t.Fatal(err)
	}
	refused(one.Link, code) // replaced
	now.pass(CodeLife)
	refused(one.Link, newer) // over
	refused(two.Link, two.Code)

	if _, err := r.writer.Exec(`INSERT INTO sessions (id, hash, account_id, device, created_at, seen_at, expires_at) VALUES ('h_1', x'01', ?, '', 1, 1, 9)`, one.Account); err != nil {
		t.Fatal(err)
	}
	link, code, err := r.NewLink(t.Context(), one.Account)
	if err != nil {
		t.Fatal(err)
	}
	var sessions int
	if err := r.readers.QueryRow("SELECT count(*) FROM sessions").Scan(&sessions); err != nil || sessions != 0 {
		t.Error("sessions go on under a new link:", sessions, err)
	}
	refused(one.Link, code)
	wide := strings.Map(func(c rune) rune {
		return c + '！' - '!'
	}, code)
	if id, err := r.UseCode(t.Context(), link, wide); err != nil || id != one.Account {
		t.Error(id, err)
	}
	for _, err := range []error{
		func() error { _, err := r.NewCode(t.Context(), "a_none"); return err }(),
		func() error { _, _, err := r.NewLink(t.Context(), "a_none"); return err }(),
		r.SetContact(t.Context(), "a_none", family),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if _, err := r.writer.Exec("UPDATE accounts SET disabled_at = 1 WHERE id = ?", one.Account); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.OpenLink(t.Context(), link); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	entries, _, err = r.Audit(t.Context(), AuditQuery{Case: one.Case.ID, Action: "family."})
	for _, e := range entries {
		if strings.Contains(jsonText(e), code) || strings.Contains(jsonText(e), link) {
			t.Error("the audit holds a secret:", e)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestCodeOnce uses one code from many sides at once: one of them gets in.
func TestCodeOnce(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	one := report(t, r)
	var in atomic.Int32
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, err := r.UseCode(context.Background(), one.Link, one.Code); err == nil {
				in.Add(1)
			} else if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if in.Load() != 1 {
		t.Error(in.Load(), "got in")
	}
}

func TestSetContact(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	one, two := report(t, r), report(t, r)
	changed := Contact{Name: "<script>Sample</script>", Email: " two@example.org "}
	if err := r.SetContact(t.Context(), one.Account, changed); err != nil {
		t.Fatal(err)
	}
	changed.Email = "two@example.org"
	if _, got, err := r.FamilyOf(t.Context(), one.Case.ID); err != nil || got != changed {
		t.Error(got, err)
	}
	if err := r.SetContact(t.Context(), one.Account, Contact{Name: "Sample"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	// A contact moved to another family does not open.
	if _, err := r.writer.Exec("UPDATE families SET contact = (SELECT contact FROM families WHERE account_id = ?) WHERE account_id = ?", one.Account, two.Account); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.FamilyOf(t.Context(), two.Case.ID); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// TestFamilyEndsWithItsCase deletes a case: the family's account, link and sessions are gone with it, those of others stay.
func TestFamilyEndsWithItsCase(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	one, two := report(t, r), report(t, r)
	officer := as(t, r, Officer, Everywhere)
	if _, err := r.writer.Exec(`INSERT INTO sessions (id, hash, account_id, device, created_at, seen_at, expires_at) VALUES ('h_1', x'01', ?, '', 1, 1, 9)`, one.Account); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteCase(officer, one.Case.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.OpenLink(t.Context(), one.Link); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var accounts, sessions, families int
	if err := r.readers.QueryRow("SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM sessions), (SELECT count(*) FROM families)").Scan(&accounts, &sessions, &families); err != nil ||
		accounts != 2 || sessions != 0 || families != 1 {
		t.Error(accounts, sessions, families, err)
	}
	if _, _, err := r.OpenLink(t.Context(), two.Link); err != nil {
		t.Error(err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Case: one.Case.ID, Action: "case.deleted"})
	if err != nil || len(entries) != 1 || entries[0].Account != ActorOf(officer).Account {
		t.Error(entries, err)
	}
}
