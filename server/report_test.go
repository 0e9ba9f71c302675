package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"homeward/client"
	"homeward/registry"
)

// relative is a family that has reported a child, at its browser.
type relative struct {
	*http.Client
	s                        *testServer
	caseID                   registry.CaseID
	account                  registry.AccountID
	number, link, code, page string // page is the first that it was shown, as it came
}

var (
	tokenIn  = regexp.MustCompile(`name="token" value="([^"]+)"`)
	caseIn   = regexp.MustCompile(`data-case="(c_[a-z0-9]+)"`)
	linkIn   = regexp.MustCompile(`/f/(hf_[a-z0-9]+)`)
	codeIn   = regexp.MustCompile(`[A-Z0-9]{4}-[A-Z0-9]{4}-[A-Z0-9]{4}`)
	numberIn = regexp.MustCompile(`M-\d{6}-\d`)
)

// first is what an expression finds first.
func first(t *testing.T, e *regexp.Regexp, in string) string {
	t.Helper()
	m := e.FindStringSubmatch(in)
	if m == nil {
		t.Fatalf("no %s in:\n%.3000s", e, in)
	}
	return m[len(m)-1]
}

// raw is a page as it comes, before a browser reads it.
func raw(t *testing.T, c *http.Client, address string) (int, string) {
	t.Helper()
	resp, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// report reports a child as a family does, on a form and without script.
func (s *testServer) report(t *testing.T, facts url.Values) relative {
	t.Helper()
	f := relative{Client: newBrowser(t), s: s}
	form := url.Values{"names": {"Sample Child"}, "name": {"Sample Parent"}, "phone": {"13800000000"}}
	maps.Copy(form, facts)
	form.Set("token", first(t, tokenIn, open(t, f.Client, s.URL+"/report").body))
	got := post(t, f.Client, s.URL+"/report", form)
	if got.url.Path != "/family" {
		t.Fatalf("reporting led to %s, %d:\n%.3000s", got.url, got.status, got.body)
	}
	_, f.page = raw(t, f.Client, s.URL+"/family")
	f.caseID = registry.CaseID(first(t, caseIn, f.page))
	f.number, f.link, f.code = first(t, numberIn, f.page), first(t, linkIn, f.page), first(t, codeIn, f.page)
	var err error
	if f.account, _, err = s.Finder.Registry.FamilyOf(t.Context(), f.caseID); err != nil {
		t.Fatal(err)
	}
	return f
}

// ask calls the API from the family's page; headers are names and values in turn.
func (f relative) ask(t *testing.T, method, path string, body any, headers ...string) (status int, problem, answer string) {
	t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, f.s.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := f.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p client.Problem
	if json.Unmarshal(text, &p) == nil && p.Type != "" {
		problem = p.Code()
	}
	return resp.StatusCode, problem, string(text)
}

func TestReport(t *testing.T) {
	s := newTestServer(t)
	if err := s.Finder.Registry.PutRegion(t.Context(), registry.Region{Code: "CN-51", Names: map[string]string{"en": "Sichuan", "zh": "四川"}}); err != nil {
		t.Fatal(err)
	}
	visitor := newBrowser(t)
	open(t, visitor, s.URL+"/").shows(t, 200, `href="/report"`)
	open(t, visitor, s.URL+"/report").shows(t, 200, "Sichuan")
	if got := open(t, visitor, s.URL+"/family"); got.url.Path != "/signin" {
		t.Errorf("a visitor at /family came to %s", got.url)
	}

	f := s.report(t, url.Values{
		"names": {"小明；Sample Child"}, "sex": {"male"}, "age": {"3岁"}, "on": {"2009年5月"}, "place": {"成都 春熙路"}, "region": {"CN-51"},
		"marks": {"左臂有胎记"}, "notes": {"line one\nline two"}, "relation": {"mother"}, "email": {"family@example.org"},
	})
	c, err := s.Finder.Registry.Case(t.Context(), f.caseID)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Names) != 2 || c.Sex != registry.Male || c.On.String() != "2009-05" || c.BornFrom.String() != "2005" || c.BornTo.String() != "2006" ||
		c.Place != "成都 春熙路" || c.Region != "CN-51" || c.Marks != "左臂有胎记" || c.Notes != "line one\nline two" || c.ReportedBy != f.account || c.Gallery != registry.Missing {
		t.Errorf("stored %+v", c)
	}
	if c.Number() != f.number {
		t.Errorf("the receipt says %s, the case is %s", f.number, c.Number())
	}
	_, contact, err := s.Finder.Registry.FamilyOf(t.Context(), f.caseID)
	if err != nil || contact != (registry.Contact{Name: "Sample Parent", Relation: "mother", Phone: "13800000000", Email: "family@example.org"}) {
		t.Errorf("contact %+v, %v", contact, err)
	}
	// The receipt outlives a change of language, until it is put away; then it is gone for good.
	open(t, f.Client, s.URL+"/language?to=zh&back=/family").shows(t, 200, f.code)
	if status, _, _ := f.ask(t, "DELETE", "/api/v1/family/receipt", nil); status != 204 {
		t.Errorf("putting the receipt away: %d", status)
	}
	if got := open(t, f.Client, s.URL+"/family"); strings.Contains(got.body, f.code) || strings.Contains(got.body, f.link) {
		t.Error("the receipt is shown after it was put away")
	}
	if got := open(t, f.Client, s.URL+"/"); got.url.Path != "/family" {
		t.Errorf("the start leads a family to %s", got.url)
	}
}

func TestReportSentTwice(t *testing.T) {
	s := newTestServer(t)
	form := url.Values{"names": {"Sample Child"}, "name": {"Sample Parent"}, "phone": {"1"}}
	form.Set("token", first(t, tokenIn, open(t, newBrowser(t), s.URL+"/report").body))
	codes := make([]string, 4)
	browser := newBrowser(t)
	var all sync.WaitGroup
	for i := range codes {
		all.Go(func() {
			got := post(t, browser, s.URL+"/report", form)
			if m := codeIn.FindString(got.body); got.url.Path == "/family" {
				codes[i] = m
			}
		})
	}
	all.Wait()
	for _, c := range codes {
		if c == "" || c != codes[0] {
			t.Errorf("the same form gave the codes %q", codes)
			break
		}
	}
	cases, _, err := s.Finder.Registry.ListCases(t.Context(), registry.CaseQuery{})
	if err != nil || len(cases) != 1 {
		t.Errorf("%d cases, %v", len(cases), err)
	}
	// Once the first has succeeded, it is answered like it.
	post(t, browser, s.URL+"/report", form).shows(t, 200, codes[0])
	// But whoever comes to the device after the family is not let in by sending the form again.
	if got := post(t, newBrowser(t), s.URL+"/report", form); got.url.Path != "/signin" || strings.Contains(got.body, codes[0]) {
		t.Errorf("someone else sends the form again and comes to %s", got.url)
	}
	// A token that is not ours makes no case.
	form.Set("token", strings.Repeat("a", 26)+".forged")
	if got := post(t, newBrowser(t), s.URL+"/report", form); got.status != 422 || !strings.Contains(got.body, `value="Sample Child"`) {
		t.Errorf("a forged token: %d", got.status)
	}
}

func TestReportKeepsWhatWasTyped(t *testing.T) {
	s := newTestServer(t)
	good := url.Values{"names": {"Sample Child"}, "name": {"Sample Parent"}, "phone": {"1"}, "place": {"a place that was typed"}}
	for name, c := range map[string]struct {
		facts url.Values
		wrong string
	}{
		"no name":          {url.Values{"names": {" ; "}}, "names"},
		"two digits":       {url.Values{"born": {"17.5.09"}}, "born"},
		"no such day":      {url.Values{"on": {"2009-02-30"}}, "on"},
		"words for a date": {url.Values{"on": {"in spring"}}, "on"},
		"the future":       {url.Values{"on": {"2999"}}, "on"},
		"age and no year":  {url.Values{"age": {"3"}}, "on"},
		"nobody to reach":  {url.Values{"phone": {""}}, "phone"},
	} {
		form := maps.Clone(good)
		maps.Copy(form, c.facts)
		browser := newBrowser(t)
		form.Set("token", first(t, tokenIn, open(t, browser, s.URL+"/report").body))
		got := post(t, browser, s.URL+"/report", form)
		if got.status != 422 || !strings.Contains(got.body, `id="`+c.wrong+`-wrong"`) || !strings.Contains(got.body, "a place that was typed") {
			t.Errorf("%s: %d, or what was typed is gone, or not at %s", name, got.status, c.wrong)
		}
		for _, typed := range c.facts {
			if typed[0] != "" && !strings.Contains(got.body, typed[0]) {
				t.Errorf("%s: %q is gone", name, typed[0])
			}
		}
	}
	// Too often from one address: seven tries were made above.
	var last shown
	for range 5 {
		last = post(t, newBrowser(t), s.URL+"/report", url.Values{})
	}
	if last.status != http.StatusTooManyRequests {
		t.Errorf("the twelfth report of an hour: %d", last.status)
	}
}

func TestTextStaysText(t *testing.T) {
	s := newTestServer(t)
	const bad = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`
	facts := url.Values{}
	for _, field := range []string{"names", "place", "marks", "notes", "name", "relation"} {
		facts.Set(field, bad)
	}
	f := s.report(t, facts)
	_, public := raw(t, f.Client, s.URL+"/gallery?words="+url.QueryEscape(bad)+"&region="+url.QueryEscape(bad))
	_, here := raw(t, f.Client, s.URL+"/family/here")
	for name, page := range map[string]string{"/family": f.page, "/gallery": public, "/family/here": here} {
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img src=x") {
			t.Errorf("%s holds markup that a stranger wrote", name)
		}
	}
	if !strings.Contains(f.page, "&lt;script&gt;alert(1)") {
		t.Error("what the family wrote is not shown")
	}
	// And on the form that comes back.
	facts.Set("on", "never")
	facts.Set("phone", "1")
	facts.Set("token", first(t, tokenIn, open(t, f.Client, s.URL+"/report").body))
	resp, err := f.PostForm(s.URL+"/report", facts)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 422 || strings.Contains(string(page), "<script>alert") {
		t.Errorf("the form that comes back: %d, %v", resp.StatusCode, err)
	}
}

// TestStaffReportForAFamily: whoever takes down a report stays who they are, and hands the receipt on.
func TestStaffReportForAFamily(t *testing.T) {
	s := newTestServer(t)
	_, _, officer := s.as(t, registry.Officer, registry.Everywhere)
	desk := s.browser(t, officer.ID)
	form := url.Values{"names": {"Sample Child"}, "name": {"Sample Parent"}, "phone": {"1"}}
	form.Set("token", first(t, tokenIn, open(t, desk, s.URL+"/report").body))
	got := post(t, desk, s.URL+"/report", form)
	got.shows(t, 200, "Give this to the family")
	again := post(t, desk, s.URL+"/report", form)
	if codeIn.FindString(got.body) == "" || codeIn.FindString(again.body) != codeIn.FindString(got.body) {
		t.Error("sent again, the receipt differs")
	}
	if status, _ := raw(t, desk, s.URL+"/api/v1/cases"); status != 200 {
		t.Errorf("the officer is signed out: %d", status)
	}
	cases, _, err := s.Finder.Registry.ListCases(t.Context(), registry.CaseQuery{})
	if err != nil || len(cases) != 1 || cases[0].ReportedBy != officer.ID {
		t.Errorf("%+v, %v", cases, err)
	}
	post(t, newBrowser(t), s.URL+"/f/"+first(t, linkIn, got.body), url.Values{"code": {codeIn.FindString(got.body)}}).shows(t, 200, "Sample Child")
}
