package registry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	clock := newHandClock()
	r := open(t, t.TempDir(), Options{Now: clock.now})
	ctx := t.Context()
	p := enrolled(t, r, "officer1", Officer)
	k, secret, err := r.CreateKey(ctx, p.ID, " police ")
	if err != nil || k.Name != "police" || k.Account != p.ID || !strings.HasPrefix(secret, "hw_") || len(secret) != 29 {
		t.Fatal(k, secret, err)
	}
	if e := lastNote(t, r); e.Action != "key.created" || e.Subject != string(k.ID) || e.Detail["account"] != string(p.ID) {
		t.Errorf("%+v", e)
	}
	for _, name := range []string{"", " ", "a\nb", strings.Repeat("a", MaxKeyName+1)} {
		_, _, err := r.CreateKey(ctx, p.ID, name)
		wantField(t, err, "name")
	}
	family, _ := newFamilyAccount(t, r)
	_, _, err = r.CreateKey(ctx, family, "a")
	wantField(t, err, "account")
	if _, _, err := r.CreateKey(ctx, "a_none", "a"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	a, err := r.Authenticate(ctx, secret)
	if err != nil || a.Account != p.ID || a.Role != Officer || a.Name != p.Name || len(a.Regions) != 1 || a.Via != string(k.ID) || a.Purpose != "police" {
		t.Fatalf("%+v %v", a, err)
	}
	used := clock.now()
	for _, c := range []struct{ later, used time.Duration }{{0, 0}, {1, 0}, {1, 2}, {-10, -8}} { // halves of a minute
		clock.add(c.later * step)
		if _, err := r.Authenticate(ctx, secret); err != nil {
			t.Fatal(err)
		}
		keys, err := r.Keys(ctx)
		if err != nil || len(keys) != 1 || !keys[0].LastUsed.Equal(used.Add(c.used*step)) {
			t.Error(c, keys, err)
		}
	}
	for _, s := range []string{"", "hw_", secret + "x", string(k.ID)} {
		if _, err := r.Authenticate(ctx, s); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", s, err)
		}
	}
	before := len(noted(t, r))
	if err := errors.Join(r.RevokeKey(ctx, k.ID), r.RevokeKey(ctx, k.ID)); err != nil {
		t.Error(err)
	}
	if n := noted(t, r); len(n) != before+1 || n[before] != "key.revoked" {
		t.Error(n)
	}
	if _, err := r.Authenticate(ctx, secret); !errors.Is(err, ErrNotFound) {
		t.Error("a revoked key lets in", err)
	}
	if err := r.RevokeKey(ctx, "k_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if keys, err := r.Keys(ctx); err != nil || len(keys) != 1 || keys[0].Revoked.IsZero() {
		t.Error(keys, err)
	}
	disabled := true
	if _, err := r.UpdateAccount(ctx, p.ID, AccountChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	_, _, err = r.CreateKey(ctx, p.ID, "a")
	wantField(t, err, "account")
}

// TestKeysOfBefore opens a registry of the time before accounts: its keys go on working, and may do what they could.
func TestKeysOfBefore(t *testing.T) {
	secret := newID("hw_")
	dir := registryOf(t, 2, `INSERT INTO keys (id, name, hash, created_at) VALUES ('k_old', 'front desk', ?, 1), ('k_gone', 'thrown away', x'01', 2)`, hashSecret(secret))
	r := open(t, dir, Options{Existing: true})
	a, err := r.Authenticate(t.Context(), secret)
	if err != nil || a.Role != Supervisor || !Covers(a.Regions, "CN-51") || a.Name != "front desk" || a.Via != "k_old" || a.Account == "" {
		t.Fatalf("%+v %v", a, err)
	}
	account, err := r.Account(t.Context(), a.Account)
	if err != nil || account.Login != "" || account.HasPassword || account.HasTOTP {
		t.Errorf("%+v %v", account, err)
	}
	keys, err := r.Keys(t.Context())
	if err != nil || len(keys) != 2 || keys[0].Account != a.Account || keys[1].Account == a.Account {
		t.Error(keys, err)
	}
	if _, err := r.Idempotent(t.Context(), a.Account, "upload", []byte("x")); err != nil {
		t.Error(err)
	}
	if err := r.RevokeKey(t.Context(), "k_old"); err != nil {
		t.Error(err)
	}
	if _, err := r.Authenticate(t.Context(), secret); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
