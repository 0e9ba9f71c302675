package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"homeward/api"
	"homeward/registry"
)

// TestAccounts goes through an account's life as an administrator leads it.
func TestAccounts(t *testing.T) {
	s := newTestServer(t)
	here, _ := s.regions(t)
	admin := s.colleague(t, registry.Administrator)

	var made api.Invitation
	if status, said := s.tell(t, admin.key, http.MethodPost, "/accounts", api.NewAccount{
		Login: "Officer.One@agency.example", Name: "Officer One", Role: "officer", Regions: []string{here}, Language: "zh",
	}, &made); status != http.StatusCreated {
		t.Fatal(status, said)
	}
	if made.Account.Login != "officer.one@agency.example" || made.Account.State != "invited" || made.Account.InvitedUntil == nil || made.ID != made.Account.ID {
		t.Errorf("made: %+v", made)
	}
	open(t, newBrowser(t), s.URL+made.Invitation).shows(t, http.StatusOK, "Officer One")
	account := "/accounts/" + made.ID

	page := s.shownPage(t, admin.key, "/accounts")
	for _, want := range []string{"Officer One", "officer.one@agency.example", "Sichuan", "Invited", "invitation good until"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of accounts does not show %q", want)
		}
	}
	if strings.Contains(page, "hi_") {
		t.Error("the page of accounts shows an invitation again")
	}

	t.Run("refused", func(t *testing.T) {
		for name, c := range map[string]struct {
			method, path string
			body         any
			status       int
			said         string
		}{
			"login taken":          {http.MethodPost, "/accounts", map[string]any{"login": "OFFICER.ONE@agency.example", "name": "x", "role": "officer"}, 409, "login_taken"},
			"login with blanks":    {http.MethodPost, "/accounts", map[string]any{"login": "officer one", "name": "x", "role": "officer"}, 422, "invalid"},
			"no name":              {http.MethodPost, "/accounts", map[string]any{"login": "a", "name": " ", "role": "officer"}, 422, "invalid"},
			"a family":             {http.MethodPost, "/accounts", map[string]any{"login": "a", "name": "x", "role": "family"}, 422, "invalid"},
			"no such role":         {http.MethodPost, "/accounts", map[string]any{"login": "a", "name": "x", "role": "operator"}, 422, "invalid"},
			"nameless laboratory":  {http.MethodPost, "/accounts", map[string]any{"login": "a", "name": "x", "role": "laboratory"}, 422, "invalid"},
			"no region's code":     {http.MethodPatch, account, map[string]any{"regions": []string{"CN 51"}}, 422, "invalid"},
			"a line broken":        {http.MethodPatch, account, map[string]any{"name": "a\nb"}, 422, "invalid"},
			"issuer alone":         {http.MethodPatch, account, map[string]any{"identity": map[string]any{"issuer": "https://a.example", "subject": ""}}, 422, "invalid"},
			"subject with blanks":  {http.MethodPatch, account, map[string]any{"identity": map[string]any{"issuer": "https://a.example", "subject": "a b"}}, 422, "invalid"},
			"unknown field":        {http.MethodPatch, account, map[string]any{"login": "other"}, 422, "invalid"},
			"nobody":               {http.MethodPatch, "/accounts/a_nobody", map[string]any{"name": "x"}, 404, "not_found"},
			"the own role":         {http.MethodPatch, "/accounts/" + string(admin.ID), map[string]any{"role": "supervisor"}, 422, "invalid"},
			"the last of them":     {http.MethodPatch, "/accounts/" + string(admin.ID), map[string]any{"disabled": true}, 422, "invalid"},
			"nobody's invitation":  {http.MethodPost, "/accounts/a_nobody/invitation", nil, 404, "not_found"},
			"nobody's sessions":    {http.MethodDelete, "/accounts/a_nobody/sessions", nil, 404, "not_found"},
			"another's session":    {http.MethodDelete, account + "/sessions/h_none", nil, 404, "not_found"},
			"a key without a name": {http.MethodPost, account + "/keys", map[string]any{"name": " "}, 422, "invalid"},
			"no such key":          {http.MethodDelete, "/keys/k_none", nil, 404, "not_found"},
		} {
			if status, said := s.tell(t, admin.key, c.method, c.path, c.body, nil); status != c.status || said != c.said {
				t.Errorf("%s: %d %s, want %d %s", name, status, said, c.status, c.said)
			}
		}
	})

	var changed api.Account
	if status, said := s.tell(t, admin.key, http.MethodPatch, account, map[string]any{
		"name": "Officer <b>One</b>", "role": "laboratory", "organisation": "Sample Laboratory", "regions": []string{}, "language": "",
		"identity": map[string]any{"issuer": "https://agency.example", "subject": "one"},
	}, &changed); status != http.StatusOK {
		t.Fatal(status, said)
	}
	if changed.Role != "laboratory" || len(changed.Regions) != 0 || changed.Language != "" || changed.Identity == nil || *changed.Identity != (api.Identity{Issuer: "https://agency.example", Subject: "one"}) {
		t.Errorf("changed: %+v", changed)
	}
	if _, err := s.Finder.Registry.AccountBySubject(t.Context(), "https://agency.example", "one"); err != nil {
		t.Errorf("the outside identity: %v", err)
	}
	if status, said := s.tell(t, admin.key, http.MethodPatch, "/accounts/"+string(admin.ID), map[string]any{"identity": changed.Identity}, nil); status != http.StatusConflict || said != "identity_taken" {
		t.Errorf("an outside identity twice: %d %s", status, said)
	}
	page = s.shownPage(t, admin.key, account)
	if strings.Contains(page, "<b>One") || !strings.Contains(page, "Officer &lt;b&gt;One&lt;/b&gt;") {
		t.Error("a name is not escaped")
	}

	// A key is told once and listed without its secret.
	var key api.MadeKey
	if status, said := s.tell(t, admin.key, http.MethodPost, account+"/keys", api.NewKey{Name: "results"}, &key); status != http.StatusCreated {
		t.Fatal(status, said)
	}
	if status, said := s.tell(t, key.Secret, http.MethodGet, "/account", nil, &changed); status != http.StatusOK || changed.ID != made.ID {
		t.Errorf("the key acts as %s: %d %s", changed.ID, status, said)
	}
	var keys api.Keys
	if s.tell(t, admin.key, http.MethodGet, account+"/keys", nil, &keys); len(keys.Keys) != 1 || keys.Keys[0].ID != key.ID || keys.Keys[0].LastUsed == nil {
		t.Errorf("keys: %+v", keys)
	}
	if page = s.shownPage(t, admin.key, account); strings.Contains(page, key.Secret) || !strings.Contains(page, "results") {
		t.Error("the page of the account shows a key's secret, or not the key")
	}
	if status, said := s.tell(t, admin.key, http.MethodDelete, "/keys/"+key.ID, nil, nil); status != http.StatusNoContent {
		t.Error(status, said)
	}
	if status, _ := s.tell(t, key.Secret, http.MethodGet, "/account", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("a revoked key: %d", status)
	}

	// Disabled, and enabled with a new invitation.
	changed = api.Account{}
	if s.tell(t, admin.key, http.MethodPatch, account, map[string]any{"disabled": true}, &changed); changed.State != "disabled" || changed.InvitedUntil != nil {
		t.Errorf("disabled: %+v", changed)
	}
	if got := get(t, newBrowser(t), s.URL+made.Invitation); got != http.StatusNotFound {
		t.Errorf("the invitation of a disabled account: %d", got)
	}
	if status, said := s.tell(t, admin.key, http.MethodPost, account+"/invitation", nil, nil); status != http.StatusUnprocessableEntity {
		t.Errorf("invite a disabled account: %d %s", status, said)
	}
	if status, said := s.tell(t, admin.key, http.MethodPost, account+"/keys", api.NewKey{Name: "x"}, nil); status != http.StatusUnprocessableEntity {
		t.Errorf("a key for a disabled account: %d %s", status, said)
	}
	changed = api.Account{}
	s.tell(t, admin.key, http.MethodPatch, account, map[string]any{"disabled": false, "identity": api.Identity{}}, &changed)
	if changed.State != "expired" || changed.Identity != nil {
		t.Errorf("enabled: %+v", changed)
	}
	var again api.Invitation
	if status, said := s.tell(t, admin.key, http.MethodPost, account+"/invitation", nil, &again); status != http.StatusCreated || again.Invitation == made.Invitation {
		t.Errorf("invited again: %d %s", status, said)
	}
	if got := get(t, newBrowser(t), s.URL+again.Invitation); got != http.StatusOK {
		t.Errorf("the new invitation: %d", got)
	}
}

// TestAdministratorsSeeNoCase: nor a family, whose account is its case's.
func TestAdministratorsSeeNoCase(t *testing.T) {
	s := newTestServer(t)
	admin := s.colleague(t, registry.Administrator)
	receipt, err := s.Finder.Registry.ReportCase(t.Context(), registry.Case{Gallery: registry.Missing, Names: []string{"Sample One"}},
		registry.Contact{Name: "Family One", Phone: "1"}, "en")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/cases", "/cases/" + string(receipt.Case.ID), "/cases/" + string(receipt.Case.ID) + "/history", "/audit", "/leads"} {
		if status, _ := s.tell(t, admin.key, http.MethodGet, path, nil, nil); status != http.StatusForbidden {
			t.Errorf("%s: %d", path, status)
		}
	}
	family := "/accounts/" + string(receipt.Account)
	for _, route := range []string{"PATCH ", "POST /invitation", "GET /sessions", "DELETE /sessions", "GET /keys", "POST /keys"} {
		method, path, _ := strings.Cut(route, " ")
		var body any
		if method == http.MethodPatch || path == "/keys" && method == http.MethodPost {
			body = map[string]any{"name": "x"}
		}
		if status, said := s.tell(t, admin.key, method, family+path, body, nil); status != http.StatusNotFound {
			t.Errorf("%s of a family: %d %s", route, status, said)
		}
	}
	if got, _, _ := s.request(t, admin.key, http.MethodGet, family, nil, nil); got != http.StatusNotFound {
		t.Errorf("a family's page: %d", got)
	}
	if page := s.shownPage(t, admin.key, "/accounts"); strings.Contains(page, "Family One") || strings.Contains(page, string(receipt.Account)) {
		t.Error("the page of accounts shows a family")
	}
}

// TestOwnAccount: everyone on the staff sees where they are signed in, and ends what they do not know.
func TestOwnAccount(t *testing.T) {
	s := newTestServer(t)
	officer := s.colleague(t, registry.Officer, registry.Everywhere)
	other := s.colleague(t, registry.Officer, registry.Everywhere)
	here, present := s.session(t, officer.ID, time.Hour)
	there, elsewhere := s.session(t, officer.ID, time.Hour)
	third, _ := s.session(t, officer.ID, time.Hour)
	_, foreign := s.session(t, other.ID, time.Hour)
	cookie := http.Header{"Cookie": {"homeward_session=" + here}}

	status, raw, _ := s.request(t, "", http.MethodGet, "/account", nil, cookie)
	for _, want := range []string{"Some officer", "Everywhere", "/purpose?back=/account", "This one", "DELETE /account/sessions/" + elsewhere} {
		if status != http.StatusOK || !strings.Contains(string(raw), want) {
			t.Errorf("the page of the own account: %d, without %q", status, want)
		}
	}
	if strings.Contains(string(raw), "sessions/"+present) {
		t.Error("the page offers to end the session that it is shown in")
	}
	end := func(session string) int {
		status, _, _ := s.request(t, "", http.MethodDelete, "/api/v1/account/sessions"+session, nil, cookie)
		return status
	}
	if got := end("/" + foreign); got != http.StatusNotFound {
		t.Errorf("a colleague's session: %d", got)
	}
	if got := end("/" + elsewhere); got != http.StatusNoContent || s.signedIn(t, there) != http.StatusUnauthorized {
		t.Errorf("another session: %d", got)
	}
	if got := end(""); got != http.StatusNoContent || s.signedIn(t, third) != http.StatusUnauthorized || s.signedIn(t, here) != http.StatusOK {
		t.Errorf("all others: %d, then %d and %d here", got, s.signedIn(t, third), s.signedIn(t, here))
	}
}

func TestRegions(t *testing.T) {
	s := newTestServer(t)
	admin := s.colleague(t, registry.Administrator)
	var got api.Region
	if status, said := s.tell(t, admin.key, http.MethodPut, "/regions/cn-51", map[string]any{"names": map[string]string{"en": "Sichuan", "zh": "四川"}}, &got); status != http.StatusOK || got.Code != "CN-51" {
		t.Fatal(status, said, got)
	}
	if status, said := s.tell(t, admin.key, http.MethodPut, "/regions/CN-51", map[string]any{"names": map[string]string{"en": "Sichuan Province", "zh": "四川省"}}, nil); status != http.StatusOK {
		t.Fatal(status, said)
	}
	for path, names := range map[string]map[string]string{
		"/regions/CN_51":                        {"en": "x"},
		"/regions/" + url.PathEscape("CN 51"):   {"en": "x"},
		"/regions/" + strings.Repeat("A", 41):   {"en": "x"},
		"/regions/CN-52":                        {},
		"/regions/CN-53":                        {"en": " "},
		"/regions/CN-54":                        {"a language": "x"},
		"/regions/CN-55":                        {"en": strings.Repeat("x", 201)},
		"/regions/" + url.PathEscape("../CN-5"): {"en": "x"},
	} {
		if status, said := s.tell(t, admin.key, http.MethodPut, path, map[string]any{"names": names}, nil); status != http.StatusUnprocessableEntity && status != http.StatusNotFound {
			t.Errorf("%s %v: %d %s", path, names, status, said)
		}
	}
	var all api.Regions
	if status, said := s.tell(t, "", http.MethodGet, "/regions", nil, &all); status != http.StatusOK || len(all.Regions) != 1 || all.Regions[0].Names["zh"] != "四川省" {
		t.Errorf("regions, for anyone: %d %s %+v", status, said, all)
	}
	if page := s.shownPage(t, admin.key, "/accounts"); !strings.Contains(page, "四川省") {
		t.Error("the page of accounts does not show the region")
	}
}

// enter signs a member of the staff in on a page that asks for it.
func (b *browser) enter(m member, path string) {
	b.t.Helper()
	b.open("/signin?back=" + url.QueryEscape(path))
	b.eval(fmt.Sprintf(`(document.querySelector('#login').value = %q, document.querySelector('#password').value = %q, document.querySelector('#code').value = %q,
		document.querySelector('form[action="/signin"]').requestSubmit())`, m.Login, staffPassword, m.code(b.t)))
	b.until(fmt.Sprintf(`location.pathname === %q && document.readyState === 'complete'`, path))
}

// TestAccountsInABrowser: what the pages' forms send is what the registry gets, and what is told once is told.
func TestAccountsInABrowser(t *testing.T) {
	s := newTestServer(t)
	s.regions(t)
	admin := s.enrol(t, registry.NewAccount{Login: "administrator.one", Name: "Administrator One", Role: registry.Administrator})
	auditor := s.enrol(t, registry.NewAccount{Login: "auditor.one", Name: "Auditor One", Role: registry.Auditor})

	b := openBrowser(t, s.URL, "accounts")
	b.enter(admin, "/accounts")
	b.until(`!document.querySelector('form[data-api="POST /accounts"] button').disabled`)
	b.eval(`(document.querySelector('#login').value = 'officer.one', document.querySelector('#name').value = 'Officer One',
		document.querySelector('input[value="CN-51"]').click(), document.querySelector('form[data-api="POST /accounts"] button').click())`)
	b.until(`document.activeElement.id === 'made'`)
	if got := b.eval(`document.querySelector('#made-text').value`); !strings.HasPrefix(got, s.URL+"/welcome/hi_") {
		t.Errorf("the invitation's address: %s", got)
	}
	a, err := s.Finder.Registry.AccountByLogin(t.Context(), "officer.one")
	if err != nil || a.Role != registry.Officer || !slices.Equal(a.Regions, []string{"CN-51"}) {
		t.Errorf("made: %+v %v", a, err)
	}
	b.eval(`document.querySelector('#made-on').click()`)
	b.until(`location.pathname.startsWith('/accounts/a_') && document.querySelector('#change-title')`)
	b.until(`!document.querySelector('form[data-api^="PATCH"] button').disabled`)
	b.eval(`(window.before = true, document.querySelector('#name').value = 'Officer Two', document.querySelector('input[value="CN-51"]').click(),
		document.querySelector('form[data-api^="PATCH"] button').click())`)
	b.until(`!window.before && document.querySelector('h1')?.innerText === 'Officer Two'`)
	if a, err = s.Finder.Registry.Account(t.Context(), a.ID); err != nil || len(a.Regions) != 0 {
		t.Errorf("without regions: %+v %v", a, err)
	}
	b.until(`!document.querySelector('form[data-api$="/keys"] button').disabled`)
	b.eval(`(document.querySelector('#key-name').value = 'results', document.querySelector('form[data-api$="/keys"] button').click())`)
	b.until(`document.querySelector('#made-text').value.startsWith('hw_')`)
	b.open("/accounts")
	b.until(`document.querySelector('#region button') && !document.querySelector('#region button').disabled`)
	b.eval(`(window.before = true, document.querySelector('#code').value = 'cn-53', document.querySelector('#code').dispatchEvent(new Event('input', { bubbles: true })),
		document.querySelector('#name-en').value = 'Yunnan', document.querySelector('#name-zh').value = '云南', document.querySelector('#region button').click())`)
	b.until(`!window.before && document.querySelector('main')?.innerText.includes('CN-53')`)
	b.eval(`document.querySelector('form[action="/signout"]').requestSubmit()`)
	b.until(`location.pathname === '/' && !document.querySelector('form[action="/signout"]')`)

	b.enter(auditor, "/audit")
	b.until(`!document.querySelector('#verify button').disabled`)
	b.eval(`document.querySelector('#verify button').click()`)
	b.see("#verified", "nothing was changed")
}
