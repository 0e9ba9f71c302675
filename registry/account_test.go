package registry

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// handClock is a clock that a test sets.
type handClock struct {
	mu sync.Mutex
	at time.Time
}

func newHandClock() *handClock { return &handClock{at: time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)} }

func (c *handClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *handClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

const (
	testPassword = "four plain words here"
	step         = codePeriod * time.Second
)

// person is an account with what its holder has.
type person struct {
	Account
	secret string
}

func (p person) code(t testing.TB, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(p.secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// enrolled makes an account that can sign in, in every region. The code of the present step is not used up.
func enrolled(t testing.TB, r *Registry, login string, role Role) person {
	t.Helper()
	a, invitation, err := r.CreateAccount(t.Context(), NewAccount{Login: login, Name: "Sample " + login, Role: role, Regions: []string{Everywhere}, Organisation: "Sample Laboratory"})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := r.OpenInvitation(t.Context(), invitation)
	if err != nil {
		t.Fatal(err)
	}
	p := person{a, inv.Secret}
	if p.Account, err = r.Enrol(t.Context(), invitation, testPassword, p.code(t, r.now().Add(-step))); err != nil {
		t.Fatal(err)
	}
	return p
}

// newFamilyAccount makes the account of a family, as a report does.
func newFamilyAccount(t testing.TB, r *Registry) (AccountID, CaseID) {
	t.Helper()
	c, id := newCase(t, r, Missing).ID, newID("a_")
	_, err := r.writer.Exec(`INSERT INTO accounts (id, login, name, role, regions, organisation, language, created_by, created_at)
		VALUES (?, '', '', 'family', '[]', '', 'zh', '', 1)`, id)
	if err == nil {
		_, err = r.writer.Exec("INSERT INTO families (account_id, case_id, contact, link, code, code_until) VALUES (?, ?, x'', ?, x'', 0)", id, c, []byte(id))
	}
	if err != nil {
		t.Fatal(err)
	}
	return AccountID(id), c
}

// noted lists what the audit says was done, oldest first, leaving cases out.
func noted(t testing.TB, r *Registry) []string {
	t.Helper()
	rows, err := r.readers.Query("SELECT action FROM audit WHERE action NOT LIKE 'case.%' ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var action string
		if err := rows.Scan(&action); err != nil {
			t.Fatal(err)
		}
		out = append(out, action)
	}
	return out
}

func lastNote(t testing.TB, r *Registry) AuditEntry {
	t.Helper()
	e, _, _, err := scanAudit(r.readers.QueryRow("SELECT " + auditColumns + " FROM audit ORDER BY n DESC LIMIT 1"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wantField fails the test unless err is about the field.
func wantField(t testing.TB, err error, field string) {
	t.Helper()
	var f *FieldError
	if !errors.As(err, &f) || f.Field != field {
		t.Errorf("%v is not about %s", err, field)
	}
}

func TestCreateAccount(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	ctx := WithActor(t.Context(), Actor{Account: "a_admin", Role: Administrator})
	good := NewAccount{Login: " Officer.One@Example.org ", Name: " Officer One ", Role: Officer, Regions: []string{"CN-51", " CN-52 ", "CN-51"}, Language: "zh"}
	a, invitation, err := r.CreateAccount(ctx, good)
	if err != nil || a.Login != "officer.one@example.org" || a.Name != "Officer One" || !slices.Equal(a.Regions, []string{"CN-51", "CN-52"}) ||
		a.CreatedBy != "a_admin" || a.HasPassword || a.HasTOTP || a.Invited.IsZero() || !strings.HasPrefix(invitation, "hi_") {
		t.Fatalf("%+v %q %v", a, invitation, err)
	}
	if e := lastNote(t, r); e.Action != "account.created" || e.Subject != string(a.ID) || e.Account != "a_admin" || e.Detail["role"] != "officer" {
		t.Errorf("%+v", e)
	}
	for _, login := range []string{"OFFICER.ONE@example.org", "ｏｆｆｉｃｅｒ.one@example.org"} {
		again := good
		again.Login = login
		if _, _, err := r.CreateAccount(ctx, again); !errors.Is(err, ErrDuplicate) {
			t.Errorf("%s: %v", login, err)
		}
		if got, err := r.AccountByLogin(ctx, login); err != nil || got.ID != a.ID {
			t.Errorf("%s: %+v %v", login, got, err)
		}
	}
	for _, c := range []struct {
		field string
		wrong func(*NewAccount)
	}{
		{"login", func(n *NewAccount) { n.Login = " " }},
		{"login", func(n *NewAccount) { n.Login = "two words" }},
		{"login", func(n *NewAccount) { n.Login = "<b>" }},
		{"login", func(n *NewAccount) { n.Login = strings.Repeat("a", MaxLogin+1) }},
		{"name", func(n *NewAccount) { n.Name = "" }},
		{"name", func(n *NewAccount) { n.Name = "a\nb" }},
		{"name", func(n *NewAccount) { n.Name = "\xff" }},
		{"role", func(n *NewAccount) { n.Role = Family }},
		{"role", func(n *NewAccount) { n.Role = Operator }},
		{"role", func(n *NewAccount) { n.Role = "" }},
		{"regions", func(n *NewAccount) { n.Regions = []string{""} }},
		{"regions", func(n *NewAccount) { n.Regions = []string{"CN 51"} }},
		{"regions", func(n *NewAccount) { n.Regions = make([]string, MaxRegions+1) }},
		{"organisation", func(n *NewAccount) { n.Role = Laboratory }},
		{"language", func(n *NewAccount) { n.Language = "en;zh" }},
	} {
		n := good
		n.Login = "other"
		c.wrong(&n)
		_, _, err := r.CreateAccount(ctx, n)
		wantField(t, err, c.field)
	}
	family, _ := newFamilyAccount(t, r)
	all, err := r.Accounts(ctx)
	if err != nil || len(all) != 1 || all[0].ID != a.ID {
		t.Error(all, err)
	}
	if f, err := r.Account(ctx, family); err != nil || f.Role != Family {
		t.Error(f, err)
	}
	for _, login := range []string{"", "none", string(a.ID)} {
		if _, err := r.AccountByLogin(ctx, login); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", login, err)
		}
	}
	if _, err := r.Account(ctx, "a_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestInvitation(t *testing.T) {
	clock := newHandClock()
	r := open(t, t.TempDir(), Options{Now: clock.now})
	ctx := t.Context()
	a, invitation, err := r.CreateAccount(ctx, NewAccount{Login: "officer1", Name: "Officer Number One", Role: Officer})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Enrol(ctx, invitation, testPassword, "000000"); !errors.Is(err, ErrNotFound) {
		t.Error("taken up without being opened", err)
	}
	first, err := r.OpenInvitation(ctx, invitation)
	if err != nil || first.Account.ID != a.ID || !strings.HasPrefix(first.URL, "otpauth://totp/Homeward:officer1?") || !strings.Contains(first.URL, "secret="+first.Secret) {
		t.Fatalf("%+v %v", first, err)
	}
	if again, err := r.OpenInvitation(ctx, invitation); err != nil || again.Secret != first.Secret || again.URL != first.URL {
		t.Errorf("%+v %v", again, err)
	}
	p := person{a, first.Secret}
	code := p.code(t, clock.now())
	for _, password := range []string{"", "short", strings.Repeat("0", 20), strings.Repeat("ab", 101), "OFFICER number ONE", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		_, err := r.Enrol(ctx, invitation, password, code)
		wantField(t, err, "password")
	}
	for _, wrong := range []string{"", "12345", "abcdef", p.code(t, clock.now().Add(5*step)), p.code(t, clock.now().Add(-2*step))} {
		_, err := r.Enrol(ctx, invitation, testPassword, wrong)
		wantField(t, err, "code")
	}
	if _, err := r.SignIn(ctx, "officer1", testPassword, code); !errors.Is(err, ErrNotFound) {
		t.Error("signed in without having enrolled", err)
	}

	// A new invitation ends the one before and has a secret of its own.
	second, err := r.Invite(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{invitation, "", "hi_none", second + "x"} {
		if _, err := r.OpenInvitation(ctx, gone); !errors.Is(err, ErrNotFound) {
			t.Error(gone, err)
		}
		if _, err := r.Enrol(ctx, gone, testPassword, code); !errors.Is(err, ErrNotFound) {
			t.Error(gone, err)
		}
	}
	inv, err := r.OpenInvitation(ctx, second)
	if err != nil || inv.Secret == first.Secret {
		t.Fatal(inv, err)
	}
	p.secret = inv.Secret
	if p.Account, err = r.Enrol(ctx, second, testPassword, p.code(t, clock.now())); err != nil || !p.HasPassword || !p.HasTOTP || !p.Invited.IsZero() {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := r.OpenInvitation(ctx, second); !errors.Is(err, ErrNotFound) {
		t.Error("an invitation is good twice", err)
	}

	// Password and codes stay until the next one is taken up, which ends the sessions.
	third, err := r.Invite(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if inv, err = r.OpenInvitation(ctx, third); err != nil {
		t.Fatal(err)
	}
	clock.add(step)
	if _, err := r.SignIn(ctx, "officer1", testPassword, p.code(t, clock.now())); err != nil {
		t.Error("an invitation broke the present codes", err)
	}
	token, err := r.CreateSession(ctx, a.ID, "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old := p
	p.secret = inv.Secret
	if _, err := r.Enrol(ctx, third, "quite another sentence", p.code(t, clock.now())); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Session(ctx, token); !errors.Is(err, ErrNotFound) {
		t.Error("a session outlived its password", err)
	}
	clock.add(step)
	if _, err := r.SignIn(ctx, "officer1", testPassword, old.code(t, clock.now())); !errors.Is(err, ErrNotFound) {
		t.Error("the old password lets in", err)
	}
	if _, err := r.SignIn(ctx, "officer1", "quite another sentence", p.code(t, clock.now())); err != nil {
		t.Error(err)
	}
	if !slices.Contains(noted(t, r), "invitation.opened") {
		t.Error(noted(t, r))
	}

	// Time, also when the clock was wrong.
	late, err := r.Invite(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	clock.add(InvitationLife)
	if _, err := r.OpenInvitation(ctx, late); !errors.Is(err, ErrNotFound) {
		t.Error("an invitation outlives its time", err)
	}
	clock.add(365 * 24 * time.Hour)
	if late, err = r.Invite(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	clock.add(-365 * 24 * time.Hour)
	if _, err := r.OpenInvitation(ctx, late); !errors.Is(err, ErrNotFound) {
		t.Error("an invitation made while the clock was a year ahead is good for a year", err)
	}

	// A disabled account's ends and does not come back.
	if late, err = r.Invite(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	for _, disabled := range []bool{true, false} {
		if _, err := r.UpdateAccount(ctx, a.ID, AccountChange{Disabled: &disabled}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.OpenInvitation(ctx, late); !errors.Is(err, ErrNotFound) {
			t.Error(disabled, err)
		}
		if disabled {
			_, err := r.Invite(ctx, a.ID)
			wantField(t, err, "disabled")
		}
	}
	family, _ := newFamilyAccount(t, r)
	_, err = r.Invite(ctx, family)
	wantField(t, err, "login")
	if _, err := r.Invite(ctx, "a_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.VerifyAudit(ctx, ""); err != nil {
		t.Error(err)
	}
}

func TestEnrolOnce(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	_, invitation, err := r.CreateAccount(t.Context(), NewAccount{Login: "one", Name: "Sample One", Role: Examiner})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := r.OpenInvitation(t.Context(), invitation)
	if err != nil {
		t.Fatal(err)
	}
	code := person{secret: inv.Secret}.code(t, time.Now())
	var done atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := r.Enrol(context.Background(), invitation, testPassword, code)
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Error(done.Load(), "took up one invitation")
	}
}

func TestSignIn(t *testing.T) {
	clock := newHandClock()
	r := open(t, t.TempDir(), Options{Now: clock.now})
	ctx := t.Context()
	p := enrolled(t, r, "examiner1", Examiner)
	other := enrolled(t, r, "other", Officer)
	newFamilyAccount(t, r)
	now := p.code(t, clock.now())
	if used := p.code(t, clock.now().Add(-step)); used != now {
		if _, err := r.SignIn(ctx, "examiner1", testPassword, used); !errors.Is(err, ErrNotFound) {
			t.Error("the code of the enrolment is good again", err)
		}
	}
	for _, c := range []struct{ login, password, code, subject string }{
		{"nobody", testPassword, now, ""},
		{"", testPassword, now, ""},
		{"examiner1", "", now, string(p.ID)},
		{"examiner1", testPassword + ".", now, string(p.ID)},
		{"examiner1", strings.ToUpper(testPassword), now, string(p.ID)},
		{"examiner1", strings.Repeat("a", 10000), now, string(p.ID)},
		{"examiner1", testPassword, "", string(p.ID)},
		{"examiner1", testPassword, "1234567", string(p.ID)},
		{"examiner1", testPassword, p.code(t, clock.now().Add(2*step)), string(p.ID)},
		{"examiner1", testPassword, other.code(t, clock.now()), string(p.ID)},
	} {
		if _, err := r.SignIn(ctx, c.login, c.password, c.code); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v", c, err)
		}
		if e := lastNote(t, r); e.Action != "session.refused" || e.Subject != c.subject || len(e.Detail) != 0 {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	before := len(noted(t, r))
	if got, err := r.SignIn(ctx, " Examiner1 ", testPassword, now[:3]+" "+now[3:]); err != nil || got.ID != p.ID {
		t.Fatal(got, err)
	}
	if len(noted(t, r)) != before {
		t.Error("signing in is noted by its session")
	}
	if _, err := r.SignIn(ctx, "examiner1", testPassword, now); !errors.Is(err, ErrNotFound) {
		t.Error("a code is good twice", err)
	}
	// One step ahead, as of a clock that is fast; then the present one is behind the last one used.
	if _, err := r.SignIn(ctx, "examiner1", testPassword, p.code(t, clock.now().Add(step))); err != nil {
		t.Error(err)
	}
	clock.add(step)
	if _, err := r.SignIn(ctx, "examiner1", testPassword, p.code(t, clock.now())); !errors.Is(err, ErrNotFound) {
		t.Error("a code is good twice", err)
	}
	clock.add(step)
	code := p.code(t, clock.now())
	for _, disabled := range []bool{true, false} {
		if _, err := r.UpdateAccount(ctx, p.ID, AccountChange{Disabled: &disabled}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SignIn(ctx, "examiner1", testPassword, code); errors.Is(err, ErrNotFound) != disabled {
			t.Error(disabled, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.SignIn(ended, "examiner1", testPassword, code); err == nil || errors.Is(err, ErrNotFound) {
		t.Error("a request that was given up counts as refused", err)
	}
	if _, err := r.writer.Exec("UPDATE accounts SET password = '$argon2id$v=19$m=4294967295,t=2,p=1$AAAA$AAAA' WHERE id = ?", p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SignIn(ctx, "examiner1", testPassword, code); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestPasswordHash(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	hash, err := r.hashPassword(t.Context(), tidyPassword("caf\u00e9 four words"))
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatal(hash, err)
	}
	for password, want := range map[string]bool{"caf\u00e9 four words": true, "cafe\u0301 four words": true, "cafe four words": false} {
		if ok, err := r.checkPassword(t.Context(), hash, password); err != nil || ok != want {
			t.Error(password, ok, err)
		}
	}
	// Hashed by the reference implementation's command line, with other parameters than ours.
	if ok, err := r.checkPassword(t.Context(), "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"); err != nil || !ok {
		t.Error(ok, err)
	}
	if ok, err := r.checkPassword(t.Context(), noPassword, ""); err != nil || ok {
		t.Error(ok, err)
	}
	for _, bad := range []string{"", "x", "$argon2i$v=19$m=8,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=8,t=0,p=1$AAAA$AAAA", "$argon2id$v=19$m=8,t=1,p=0$AAAA$AAAA", "$argon2id$v=19$m=8,t=1,p=1$AAAA$", "$argon2id$v=19$m=8,t=1,p=1$AAAA$?"} {
		if _, err := r.checkPassword(t.Context(), bad, "password"); !errors.Is(err, ErrCorrupt) {
			t.Error(bad, err)
		}
	}
}

func TestCodeOnceAtOnce(t *testing.T) {
	r := open(t, t.TempDir(), Options{Now: newHandClock().now})
	p := enrolled(t, r, "one", Examiner)
	code := p.code(t, r.now())
	var done atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = r.SignIn(context.Background(), "one", testPassword, code)
			} else {
				err = r.CheckCode(context.Background(), p.ID, code)
			}
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Error(done.Load(), "signed in with one code")
	}
}

func TestCheckCode(t *testing.T) {
	clock := newHandClock()
	r := open(t, t.TempDir(), Options{Now: clock.now})
	p := enrolled(t, r, "one", Examiner)
	family, _ := newFamilyAccount(t, r)
	for _, c := range []struct {
		id   AccountID
		code string
		want error
	}{
		{p.ID, "000", ErrNotFound},
		{family, p.code(t, clock.now()), ErrNotFound},
		{"a_none", p.code(t, clock.now()), ErrNotFound},
		{p.ID, p.code(t, clock.now()), nil},
		{p.ID, p.code(t, clock.now()), ErrNotFound},
	} {
		if err := r.CheckCode(t.Context(), c.id, c.code); !errors.Is(err, c.want) {
			t.Error(c.id, err)
		}
	}

	// A code used while the clock was a year ahead does not lock its owner out for a year.
	clock.add(365 * 24 * time.Hour)
	if err := r.CheckCode(t.Context(), p.ID, p.code(t, clock.now())); err != nil {
		t.Fatal(err)
	}
	clock.add(-365*24*time.Hour + 2*step)
	for _, want := range []error{nil, ErrNotFound} {
		if err := r.CheckCode(t.Context(), p.ID, p.code(t, clock.now())); !errors.Is(err, want) {
			t.Error(err)
		}
	}
	// Put back a little, the codes used stay used.
	clock.add(-3 * step)
	if err := r.CheckCode(t.Context(), p.ID, p.code(t, clock.now())); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestUpdateAccount(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	admin := enrolled(t, r, "admin", Administrator)
	p := enrolled(t, r, "officer1", Officer)
	ctx := WithActor(t.Context(), Actor{Account: admin.ID, Role: Administrator})
	token, err := r.CreateSession(ctx, p.ID, "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	k, secret, err := r.CreateKey(ctx, p.ID, "script")
	if err != nil {
		t.Fatal(err)
	}
	is := func(role Role, regions ...string) {
		t.Helper()
		byToken, err1 := r.Session(ctx, token)
		byKey, err2 := r.Authenticate(ctx, secret)
		for _, a := range []Actor{byToken, byKey} {
			if err1 != nil || err2 != nil || a.Role != role || !slices.Equal(a.Regions, regions) {
				t.Errorf("%+v %v %v", a, err1, err2)
			}
		}
	}
	is(Officer, Everywhere)

	// Rights change at once, for whoever is signed in.
	role, regions, same := Supervisor, []string{"CN-51"}, "Sample officer1"
	a, err := r.UpdateAccount(ctx, p.ID, AccountChange{Role: &role, Regions: &regions, Name: &same})
	if err != nil || a.Role != Supervisor || !a.HasPassword {
		t.Fatal(a, err)
	}
	is(Supervisor, "CN-51")
	if e := lastNote(t, r); e.Action != "account.changed" || e.Subject != string(p.ID) || e.Account != admin.ID ||
		e.Detail["fields"] != "role,regions" || e.Detail["role_before"] != "officer" || e.Detail["role_after"] != "supervisor" || len(e.Detail) != 3 {
		t.Errorf("%+v", e)
	}
	before := len(noted(t, r))
	if _, err := r.UpdateAccount(ctx, p.ID, AccountChange{Name: &same}); err != nil || len(noted(t, r)) != before {
		t.Error("a change of nothing is noted", err)
	}

	// Nobody raises themselves, and the last administrator stays.
	wantRole := func(err error) { t.Helper(); wantField(t, err, "role") }
	_, err = r.UpdateAccount(ctx, admin.ID, AccountChange{Role: &role})
	wantRole(err)
	operator := WithActor(t.Context(), Actor{Role: Operator})
	_, err = r.UpdateAccount(operator, admin.ID, AccountChange{Role: &role})
	wantRole(err)
	yes, no := true, false
	_, err = r.UpdateAccount(operator, admin.ID, AccountChange{Disabled: &yes})
	wantField(t, err, "disabled")
	second := enrolled(t, r, "admin2", Administrator)
	if _, err := r.UpdateAccount(operator, second.ID, AccountChange{Disabled: &yes}); err != nil {
		t.Error(err)
	}
	_, err = r.UpdateAccount(operator, admin.ID, AccountChange{Disabled: &yes})
	wantField(t, err, "disabled")
	if _, err := r.UpdateAccount(operator, second.ID, AccountChange{Disabled: &no}); err != nil {
		t.Error(err)
	}
	if _, err := r.UpdateAccount(operator, admin.ID, AccountChange{Role: &role}); err != nil {
		t.Error(err)
	}

	// Families stay families, and staff staff.
	family, _ := newFamilyAccount(t, r)
	become := Family
	_, err = r.UpdateAccount(ctx, p.ID, AccountChange{Role: &become})
	wantRole(err)
	_, err = r.UpdateAccount(ctx, family, AccountChange{Role: &role, Name: &same})
	wantRole(err)
	laboratory := Laboratory
	empty, long := "", strings.Repeat("a", MaxName+1)
	_, err = r.UpdateAccount(ctx, p.ID, AccountChange{Role: &laboratory, Organisation: &empty})
	wantField(t, err, "organisation")
	_, err = r.UpdateAccount(ctx, p.ID, AccountChange{Name: &long})
	wantField(t, err, "name")
	_, err = r.UpdateAccount(ctx, p.ID, AccountChange{Name: &empty})
	wantField(t, err, "name")
	if _, err := r.UpdateAccount(ctx, "a_none", AccountChange{}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}

	// Outside sign-ins.
	subject, broken := "https://id.example 17", "17"
	_, err = r.UpdateAccount(ctx, p.ID, AccountChange{Subject: &broken})
	wantField(t, err, "subject")
	_, err = r.UpdateAccount(ctx, family, AccountChange{Subject: &subject})
	wantField(t, err, "subject")
	if _, err := r.UpdateAccount(ctx, p.ID, AccountChange{Subject: &subject}); err != nil {
		t.Error(err)
	}
	if got, err := r.AccountBySubject(ctx, "https://id.example", "17"); err != nil || got.ID != p.ID {
		t.Error(got, err)
	}
	for _, none := range [][2]string{{"", ""}, {"https://id.example", "1"}, {"https://other.example", "17"}} {
		if _, err := r.AccountBySubject(ctx, none[0], none[1]); !errors.Is(err, ErrNotFound) {
			t.Error(none, err)
		}
	}
	if _, err := r.UpdateAccount(ctx, second.ID, AccountChange{Subject: &subject}); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}

	// Disabled: sessions and keys end, and enabling brings none back.
	if a, err = r.UpdateAccount(ctx, p.ID, AccountChange{Disabled: &yes}); err != nil || a.Disabled.IsZero() {
		t.Error(a, err)
	}
	if e := lastNote(t, r); e.Action != "key.revoked" || e.Subject != string(k.ID) {
		t.Errorf("%+v", e)
	}
	for range 2 {
		if _, err := r.Session(ctx, token); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if _, err := r.Authenticate(ctx, secret); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if a, err = r.UpdateAccount(ctx, p.ID, AccountChange{Disabled: &no}); err != nil || !a.Disabled.IsZero() {
			t.Error(a, err)
		}
	}
	if _, err := r.VerifyAudit(ctx, ""); err != nil {
		t.Error(err)
	}
}

// TestSecretsNowhereInClear looks for what opens an account in every file of the folder.
func TestSecretsNowhereInClear(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{Now: newHandClock().now})
	ctx := t.Context()
	p := enrolled(t, r, "examiner1", Examiner)
	pending, err := r.Invite(ctx, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := r.OpenInvitation(ctx, pending)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SignIn(ctx, "mistyped password here", "mistyped password there", "000000"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	token, err := r.CreateSession(ctx, p.ID, "Browser", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := r.CreateKey(ctx, p.ID, "script")
	if err != nil {
		t.Fatal(err)
	}
	hidden := []string{testPassword, pending, token, secret, "mistyped"}
	for _, s := range []string{p.secret, inv.Secret} {
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(s)
		if err != nil || len(raw) != codeSecret {
			t.Fatal(raw, err)
		}
		hidden = append(hidden, s, string(raw))
	}
	for _, f := range files(t, dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range hidden {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds %q", f, s)
			}
		}
	}
	// A secret that is moved to another account does not open.
	other := enrolled(t, r, "examiner2", Examiner)
	if _, err := r.writer.Exec("UPDATE accounts SET totp = (SELECT totp FROM accounts WHERE id = ?) WHERE id = ?", p.ID, other.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SignIn(ctx, "examiner2", testPassword, p.code(t, r.now())); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}
