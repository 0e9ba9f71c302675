package server_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// reviewed is a server with a lead of one child's two cases.
type reviewed struct {
	*testServer
	missing, found api.Case
	missed, shown  api.Photo
	lead           api.Lead
}

// sampleLaboratory is the organisation that testServer.as gives laboratories.
const sampleLaboratory = "Sample Laboratory"

func newReviewed(t *testing.T, regions ...string) *reviewed {
	t.Helper()
	r := &reviewed{testServer: newTestServer(t)}
	m := api.CaseFacts{Names: []string{"Sample One"}, Sex: "male", Born: api.Range{From: "1961"}, On: "1999", Place: "Somewhere", Marks: "mole on the chin"}
	f := api.CaseFacts{Sex: "male", On: "2009", Place: "Elsewhere", Marks: "a mole"}
	if len(regions) == 2 {
		for _, code := range regions {
			if err := r.Finder.Registry.PutRegion(t.Context(), registry.Region{Code: code, Names: map[string]string{"en": "Region " + code}}); err != nil {
				t.Fatal(err)
			}
		}
		m.Region, f.Region = regions[0], regions[1]
	}
	r.missing, r.missed = enrol(t, r.testServer, api.NewCase{Gallery: "missing", CaseFacts: m}, photos.Read(t, photos.Obama))
	r.found, r.shown = enrol(t, r.testServer, api.NewCase{Gallery: "found", CaseFacts: f}, photos.Read(t, photos.Obama3))
	officer, _, _ := r.as(t, registry.Officer, registry.Everywhere)
	var err error
	if r.lead, err = officer.OpenLead(t.Context(), api.NewLead{Missing: r.missing.ID, Found: r.found.ID, Note: "<b>same</b> ears"}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *reviewed) examiner(t *testing.T, regions ...string) *client.Client {
	t.Helper()
	if len(regions) == 0 {
		regions = []string{registry.Everywhere}
	}
	c, _, _ := r.as(t, registry.Examiner, regions...)
	return c
}

func verdict(finding, reasons string) api.NewVerdict {
	return api.NewVerdict{Round: 1, Finding: finding, Reasons: reasons}
}

// potential brings the lead to two agreeing verdicts.
func (r *reviewed) potential(t *testing.T) {
	t.Helper()
	for range 2 {
		if _, err := r.examiner(t).GiveVerdict(t.Context(), r.lead.ID, verdict("potential_candidate", "ears agree")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFromLeadToReunion(t *testing.T) {
	r := newReviewed(t)
	ctx := t.Context()
	officer, _, _ := r.as(t, registry.Officer, registry.Everywhere)
	lab, _, _ := r.as(t, registry.Laboratory)

	got, err := officer.Lead(ctx, r.lead.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.State != "open" || got.Evidence == nil || len(got.Evidence.Sightings) != 2 || got.Missing.Face != r.missed.Subject ||
		got.Note != "<b>same</b> ears" || got.Score < 2 || got.Caution == "" {
		t.Errorf("lead: %+v", got)
	}
	says := map[string]string{}
	for _, f := range got.Facts {
		says[f.Fact] = f.Says
	}
	for fact, want := range map[string]string{"sex": "agree", "birth": "unknown", "order": "agree", "names": "unknown", "marks": "compare"} {
		if says[fact] != want {
			t.Errorf("%s: %q, want %q", fact, says[fact], want)
		}
	}

	// What comes before its time is refused, and says so.
	if _, err := officer.RequestDNA(ctx, r.lead.ID, sampleLaboratory); code(err) != "not_potential" {
		t.Errorf("DNA before verdicts: %v", err)
	}
	if _, err := officer.Reunite(ctx, r.lead.ID); code(err) != "not_confirmed" {
		t.Errorf("reunion before DNA: %v", err)
	}
	r.potential(t)
	if _, err := officer.Reunite(ctx, r.lead.ID); code(err) != "not_confirmed" {
		t.Errorf("reunion before DNA: %v", err)
	}
	if _, err := officer.RequestDNA(ctx, r.lead.ID, "No Such Laboratory"); code(err) != "invalid" {
		t.Errorf("laboratory that is none: %v", err)
	}
	d, err := officer.RequestDNA(ctx, r.lead.ID, sampleLaboratory)
	if err != nil {
		t.Fatal(err)
	}
	if d.Missing != r.missing.Number || d.Found != r.found.Number {
		t.Errorf("request: %+v", d)
	}
	if _, err := officer.RequestDNA(ctx, r.lead.ID, sampleLaboratory); code(err) != "not_potential" {
		t.Errorf("second request: %v", err)
	}
	report := api.DNAReport{Result: "confirmed", Report: "R-1", On: "2024-05-01"}
	if _, err := lab.ReportDNA(ctx, d.ID, report); code(err) != "invalid" {
		t.Errorf("result without samples: %v", err)
	}
	if _, err := officer.AddSample(ctx, d.ID, api.NewDNASample{Whose: "child", Kit: "K-1", TakenOn: "2024-04-01"}); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.AddSample(ctx, d.ID, api.NewDNASample{Whose: "mother", Kit: "K-1", TakenOn: "2024-04-01"}); code(err) != "kit_known" {
		t.Errorf("kit twice: %v", err)
	}
	if _, err := lab.AddSample(ctx, d.ID, api.NewDNASample{Whose: "mother", Kit: "K-2", TakenOn: "2024-04-02"}); err != nil {
		t.Fatal(err)
	}
	if _, err := officer.ReportDNA(ctx, d.ID, report); code(err) != "forbidden" {
		t.Errorf("an officer reports: %v", err)
	}
	for range 2 { // sent twice it is one result
		if d, err = lab.ReportDNA(ctx, d.ID, report); err != nil || d.Result != "confirmed" || len(d.Samples) != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	if _, err := lab.ReportDNA(ctx, d.ID, api.DNAReport{Result: "excluded", Report: "R-1", On: "2024-05-01"}); code(err) != "dna_reported" {
		t.Errorf("another result: %v", err)
	}
	if _, err := lab.AddSample(ctx, d.ID, api.NewDNASample{Whose: "father", Kit: "K-3", TakenOn: "2024-04-02"}); code(err) != "dna_reported" {
		t.Errorf("sample after the result: %v", err)
	}
	if _, err := r.examiner(t).Reunite(ctx, r.lead.ID); code(err) != "forbidden" {
		t.Errorf("an examiner reunites: %v", err)
	}
	home, err := officer.Reunite(ctx, r.lead.ID)
	if err != nil {
		t.Fatal(err)
	}
	if home.State != "reunited" || home.Missing.Case.ClosedAs != "reunited" || home.Found.Case.Status != "closed" || home.Found.Case.DestroyAt == nil {
		t.Errorf("reunited: %+v", home)
	}
	listed, err := officer.Leads(ctx, url.Values{"state": {"reunited"}, "closed": {"true"}})
	if err != nil || len(listed.Leads) != 1 {
		t.Errorf("listed: %+v, %v", listed, err)
	}
	if left, err := officer.Leads(ctx, nil); err != nil || len(left.Leads) != 0 {
		t.Errorf("still listed: %+v, %v", left, err)
	}
}

func TestVerdictsThatAreRefused(t *testing.T) {
	r := newReviewed(t)
	ctx := t.Context()
	one, two := r.examiner(t), r.examiner(t)

	if _, err := r.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "ears differ")); code(err) != "not_yours" {
		t.Errorf("who reported the cases judges: %v", err)
	}
	officer, _, _ := r.as(t, registry.Officer, registry.Everywhere)
	if _, err := officer.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "ears differ")); code(err) != "forbidden" {
		t.Errorf("an officer judges: %v", err)
	}
	if _, err := one.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "  ")); code(err) != "invalid" {
		t.Errorf("no reasons: %v", err)
	}
	if _, err := one.GiveVerdict(ctx, r.lead.ID, api.NewVerdict{Round: 2, Finding: "no_candidate", Reasons: "x"}); code(err) != "lead_reopened" {
		t.Errorf("another round: %v", err)
	}
	if _, err := one.GiveVerdict(ctx, "l_none", verdict("no_candidate", "x")); code(err) != "not_found" {
		t.Errorf("no such lead: %v", err)
	}
	var ids []string
	for range 2 { // pressed twice it is one verdict
		v, err := one.GiveVerdict(ctx, r.lead.ID, verdict("potential_candidate", "ears agree"))
		if err != nil || v.State != "open" || v.Seat != "first" || !v.Mine {
			t.Fatalf("%+v, %v", v, err)
		}
		ids = append(ids, v.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("two verdicts: %v", ids)
	}
	if _, err := one.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "ears differ")); code(err) != "verdict_given" {
		t.Errorf("another finding: %v", err)
	}
	if v, err := two.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "ears differ")); err != nil || v.State != "disputed" {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := r.examiner(t).GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "x")); code(err) != "not_yours" {
		t.Errorf("an examiner settles: %v", err)
	}
	supervisor, _, _ := r.as(t, registry.Supervisor, registry.Everywhere)
	both, err := supervisor.Verdicts(ctx, r.lead.ID)
	if err != nil || len(both.Verdicts) != 2 {
		t.Errorf("supervisor sees %+v, %v", both, err)
	}
	if v, err := supervisor.GiveVerdict(ctx, r.lead.ID, verdict("potential_candidate", "one scar")); err != nil || v.State != "potential" || v.Seat != "supervisor" {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := r.examiner(t).GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "x")); code(err) != "lead_judged" {
		t.Errorf("too late: %v", err)
	}
	if all, err := one.Verdicts(ctx, r.lead.ID); err != nil || len(all.Verdicts) != 3 {
		t.Errorf("once settled the first sees %+v, %v", all, err)
	}
}

func TestThreeExaminersAtOnce(t *testing.T) {
	r := newReviewed(t)
	examiners := []*client.Client{r.examiner(t), r.examiner(t), r.examiner(t)}
	codes := make([]string, len(examiners))
	var wait sync.WaitGroup
	for i, e := range examiners {
		wait.Go(func() {
			_, err := e.GiveVerdict(t.Context(), r.lead.ID, verdict("potential_candidate", "ears agree"))
			codes[i] = code(err)
		})
	}
	wait.Wait()
	slices.Sort(codes)
	if !slices.Equal(codes, []string{"", "", "lead_judged"}) {
		t.Errorf("answers %q", codes)
	}
	l, err := r.Lead(t.Context(), r.lead.ID)
	if err != nil || l.State != "potential" || l.Given != 2 {
		t.Errorf("%+v, %v", l, err)
	}
}

// body asks for an address as an account does, and is all that comes back.
func (r *reviewed) body(t *testing.T, key, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(raw)
}

// The second examiner learns nothing of what the first found, wherever they look, before they have judged.
func TestSecondExaminerIsBlind(t *testing.T) {
	r := newReviewed(t)
	first := r.examiner(t)
	given, err := first.GiveVerdict(t.Context(), r.lead.ID, verdict("inconclusive", "zygomatic arch hidden"))
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := r.as(t, registry.Examiner, registry.Everywhere)
	asked := 0
	for _, path := range []string{
		"/api/v1/leads", "/api/v1/leads?case=" + r.missing.ID, "/api/v1/leads/" + r.lead.ID, "/api/v1/leads/" + r.lead.ID + "/verdicts",
		"/api/v1/verdicts/" + given.ID + "/frozen", "/leads/" + r.lead.ID + "/verdicts/" + given.ID, "/leads/" + r.lead.ID, "/leads/" + r.lead.ID + "/print",
		"/desk", "/desk?state=open", "/cases/" + r.missing.ID, "/cases/" + r.found.ID, "/api/v1/cases/" + r.missing.ID, "/api/v1/dna", "/dna",
		"/cases/" + r.missing.ID + "/history", "/cases/" + r.found.ID + "/history", "/api/v1/cases/" + r.missing.ID + "/history",
	} {
		status, body := r.body(t, key, path)
		if status == http.StatusOK {
			asked++
		}
		if strings.Contains(body, "zygomatic") {
			t.Errorf("%s tells the first's reasons", path)
		}
		// The word stands on the page as what may be found, and nowhere as what was.
		if strings.Contains(body, `"finding":"inconclusive"`) || strings.Contains(body, "<b>Inconclusive</b> <span class=\"hint\">First") ||
			strings.HasPrefix(path, "/api/") && strings.Contains(body, "inconclusive") {
			t.Errorf("%s tells the first's finding", path)
		}
	}
	if asked < 12 {
		t.Errorf("only %d addresses answered", asked)
	}
	if status, _ := r.body(t, key, "/api/v1/verdicts/"+given.ID+"/frozen"); status != http.StatusNotFound {
		t.Errorf("frozen of another's verdict: %d", status)
	}
	if _, err := first.Frozen(t.Context(), given.ID); err != nil {
		t.Errorf("the own: %v", err)
	}
}

func TestFrozenStaysAsItWas(t *testing.T) {
	r := newReviewed(t)
	ctx := t.Context()
	v, err := r.examiner(t).GiveVerdict(ctx, r.lead.ID, verdict("potential_candidate", "<script>alert(1)</script> ears"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.examiner(t).GiveVerdict(ctx, r.lead.ID, verdict("potential_candidate", "ears agree")); err != nil {
		t.Fatal(err)
	}
	marks := "none at all"
	if _, err := r.ChangeCase(ctx, r.missing.ID, api.CaseChange{Version: r.missing.Version, Marks: &marks}); err != nil {
		t.Fatal(err)
	}
	if err := r.DeletePhoto(ctx, r.missed.ID); err != nil {
		t.Fatal(err)
	}
	f, err := r.Frozen(ctx, v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if f.Missing.Marks != "mole on the chin" || len(f.Missing.Photos) != 1 || f.Missing.Photos[0].ID != r.missed.ID || len(f.Missing.Photos[0].Faces) == 0 ||
		f.Evidence == nil || f.ModelSet == "" || len(f.Exhibits) != 2 || f.Lead != r.lead.ID {
		t.Errorf("frozen: %+v", f)
	}
	for _, e := range f.Exhibits {
		pic, err := r.Exhibit(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(pic)
		pic.Close()
		if err != nil || !bytes.HasPrefix(raw, []byte("\xff\xd8\xff")) {
			t.Errorf("exhibit: %d bytes, %v", len(raw), err)
		}
	}
	// A lead one of whose faces is gone still opens, and what people wrote stays text.
	for _, path := range []string{"/leads/" + r.lead.ID, "/leads/" + r.lead.ID + "/print", "/leads/" + r.lead.ID + "/verdicts/" + v.ID} {
		status, body := r.body(t, r.Key, path)
		if status != http.StatusOK || strings.Contains(body, "<script>alert") || strings.Contains(body, "<b>same</b>") {
			t.Errorf("%s: %d", path, status)
		}
		if !strings.Contains(body, "&lt;script&gt;alert(1)") || !strings.Contains(body, "&lt;b&gt;same&lt;/b&gt;") {
			t.Errorf("%s does not show what was written", path)
		}
	}
	lab, key, _ := r.as(t, registry.Laboratory)
	if _, err := lab.Frozen(ctx, v.ID); code(err) != "forbidden" {
		t.Errorf("a laboratory reads what lay before an examiner: %v", err)
	}
	if status, _ := r.body(t, key, "/leads/"+r.lead.ID); status != http.StatusForbidden {
		t.Errorf("a laboratory opens a lead: %d", status)
	}
}

func TestOtherRegionIsWithheld(t *testing.T) {
	r := newReviewed(t, "CN-51", "CN-44")
	ctx := t.Context()
	// Another strong candidate of that region, which the lead's page names.
	third, photo := enrol(t, r.testServer, api.NewCase{Gallery: "found", CaseFacts: api.CaseFacts{Names: []string{"Sample Third"}, Region: "CN-44"}},
		photos.Read(t, photos.Obama2))
	if _, body := r.body(t, r.Key, "/leads/"+r.lead.ID); !strings.Contains(body, "Sample Third") {
		t.Error("the lead does not name its other candidate to who may see it")
	}
	one, key, _ := r.as(t, registry.Examiner, "CN-51")
	l, err := one.Lead(ctx, r.lead.ID)
	if err != nil {
		t.Fatal(err)
	}
	if l.Found.HeldBy != "CN-44" || l.Found.Face != "" || l.Found.Case.Marks != "" || l.Found.Case.Place != "" || l.Evidence != nil || l.Facts != nil ||
		l.Note != "" || l.Missing.HeldBy != "" || l.Missing.Face == "" {
		t.Errorf("lead: %+v", l)
	}
	for _, path := range []string{"/api/v1/leads", "/desk?state=open", "/leads/" + r.lead.ID, "/leads/" + r.lead.ID + "/print"} {
		status, body := r.body(t, key, path)
		if status != http.StatusOK || !strings.Contains(body, "CN-44") {
			t.Errorf("%s: %d", path, status)
		}
		for _, secret := range []string{"Elsewhere", r.shown.ID, r.shown.Subject, r.found.Number, "ears", "Sample Third", third.Number, photo.Subject} {
			if strings.Contains(body, secret) {
				t.Errorf("%s tells %q", path, secret)
			}
		}
	}
	if _, err := one.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "x")); code(err) != "other_region" {
		t.Errorf("verdict on half a lead: %v", err)
	}
	if _, err := one.Verdicts(ctx, r.lead.ID); code(err) != "other_region" {
		t.Errorf("verdicts of half a lead: %v", err)
	}
	officer, _, _ := r.as(t, registry.Officer, "CN-51")
	if _, err := officer.Reunite(ctx, r.lead.ID); code(err) != "other_region" {
		t.Errorf("reunion of half a lead: %v", err)
	}
	elsewhere, key, _ := r.as(t, registry.Examiner, "CN-11")
	if _, err := elsewhere.Lead(ctx, r.lead.ID); code(err) != "not_found" {
		t.Errorf("a lead of other regions: %v", err)
	}
	if _, err := elsewhere.OpenLead(ctx, api.NewLead{Missing: r.missing.ID, Found: r.found.ID}); code(err) != "not_found" {
		t.Errorf("open a lead of other regions: %v", err)
	}
	if page, err := elsewhere.Leads(ctx, nil); err != nil || len(page.Leads) != 0 {
		t.Errorf("list: %+v, %v", page, err)
	}
	nowhere, _, _ := r.as(t, registry.Examiner)
	if page, err := nowhere.Leads(ctx, nil); err != nil || len(page.Leads) != 0 {
		t.Errorf("an account of no region lists: %+v, %v", page, err)
	}
	for _, path := range []string{"/leads/" + r.lead.ID, "/leads/" + r.lead.ID + "/print"} {
		if status, _ := r.body(t, key, path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestLeadsOpenedByHand(t *testing.T) {
	r := newReviewed(t)
	ctx := t.Context()
	for name, tc := range map[string]struct {
		n    api.NewLead
		want string
	}{
		"sides swapped":   {api.NewLead{Missing: r.found.ID, Found: r.missing.ID}, "invalid"},
		"no such case":    {api.NewLead{Missing: r.missing.ID, Found: "c_none"}, "not_found"},
		"there already":   {api.NewLead{Missing: r.missing.ID, Found: r.found.ID, Note: "again"}, ""},
		"a note too long": {api.NewLead{Missing: r.missing.ID, Found: r.found.ID, Note: strings.Repeat("x", 2001)}, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.OpenLead(ctx, tc.n); code(err) != tc.want {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	bare, err := r.CreateCase(ctx, api.NewCase{Gallery: "found"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.OpenLead(ctx, api.NewLead{Missing: r.missing.ID, Found: bare.ID, Note: "by the scar alone"})
	if err != nil || l.Score != 0 {
		t.Fatalf("without a face: %+v, %v", l, err)
	}
	if status, _ := r.body(t, r.Key, "/leads/"+l.ID); status != http.StatusOK {
		t.Errorf("its page: %d", status)
	}
	if _, err := r.examiner(t).GiveVerdict(ctx, l.ID, verdict("inconclusive", "no photo")); err != nil {
		t.Errorf("its verdict: %v", err)
	}
	if _, err := r.Leads(ctx, url.Values{"cursor": {"made-up"}}); code(err) != "invalid" {
		t.Errorf("a cursor that is none: %v", err)
	}
	if status, _ := r.body(t, r.Key, "/desk?cursor=made-up"); status != http.StatusUnprocessableEntity {
		t.Errorf("the desk of a cursor that is none: %d", status)
	}
	if status, _ := r.body(t, r.Key, "/desk?order=upwards&state=nothing"); status != http.StatusUnprocessableEntity {
		t.Errorf("the desk in no order: %d", status)
	}
}

func TestLaboratorySeesItsOwnRequests(t *testing.T) {
	r := newReviewed(t)
	ctx := t.Context()
	lab, key, _ := r.as(t, registry.Laboratory)
	r.potential(t)
	d, err := r.RequestDNA(ctx, r.lead.ID, sampleLaboratory)
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := r.Finder.Registry.CreateAccount(ctx, registry.NewAccount{
		Login: "other-laboratory", Name: "Other", Role: registry.Laboratory, Organisation: "Other Laboratory",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := r.Finder.Registry.CreateKey(ctx, account.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	other := client.New(r.URL, secret)
	if _, err := other.DNARequest(ctx, d.ID); code(err) != "not_found" {
		t.Errorf("another's request: %v", err)
	}
	if _, err := other.AddSample(ctx, d.ID, api.NewDNASample{Whose: "child", Kit: "K-9", TakenOn: "2024"}); code(err) != "not_found" {
		t.Errorf("sample to another's request: %v", err)
	}
	if _, err := other.ReportDNA(ctx, d.ID, api.DNAReport{Result: "excluded", Report: "R", On: "2024"}); code(err) != "not_found" {
		t.Errorf("result of another's request: %v", err)
	}
	if all, err := other.DNARequests(ctx); err != nil || len(all.Requests) != 0 {
		t.Errorf("another's list: %+v, %v", all, err)
	}
	if all, err := lab.DNARequests(ctx); err != nil || len(all.Requests) != 1 {
		t.Errorf("its list: %+v, %v", all, err)
	}
	for _, path := range []string{"/dna", "/api/v1/dna", "/api/v1/dna/" + d.ID} {
		status, body := r.body(t, key, path)
		if status != http.StatusOK || !strings.Contains(body, r.missing.Number) {
			t.Errorf("%s: %d", path, status)
		}
		for _, secret := range []string{"Sample One", "mole", r.missing.ID, r.found.ID, r.missed.ID, "ears"} {
			if strings.Contains(body, secret) {
				t.Errorf("%s tells a laboratory %q", path, secret)
			}
		}
	}
}

// The desk shows each examiner what they have not judged.
func TestDesk(t *testing.T) {
	r := newReviewed(t)
	one, key, _ := r.as(t, registry.Examiner, registry.Everywhere)
	link := `href="/leads/` + r.lead.ID + `"`
	if status, body := r.body(t, key, "/desk"); status != http.StatusOK || !strings.Contains(body, link) || !strings.Contains(body, "0 of 2 verdicts") {
		t.Errorf("before: %d", status)
	}
	if _, err := one.GiveVerdict(t.Context(), r.lead.ID, verdict("no_candidate", "ears differ")); err != nil {
		t.Fatal(err)
	}
	if _, body := r.body(t, key, "/desk"); strings.Contains(body, link) {
		t.Error("what was judged still waits")
	}
	if _, body := r.body(t, key, "/desk?state=open"); !strings.Contains(body, link) || !strings.Contains(body, "1 of 2 verdicts") {
		t.Error("it is not among those being judged")
	}
	if _, body := r.body(t, key, "/leads/"+r.lead.ID); !strings.Contains(body, "Your verdict is stored.") || strings.Contains(body, `id="verdict"`) {
		t.Error("its page does not say that the verdict is stored")
	}
	entries, _, err := r.Finder.Registry.Audit(t.Context(), registry.AuditQuery{})
	if err != nil {
		t.Fatal(err)
	}
	noted := map[string]int{}
	for _, e := range entries {
		noted[e.Action]++
	}
	if noted["leads.listed"] != 3 || noted["lead.looked"] != 2 {
		t.Errorf("noted: %v", noted)
	}
	if status, body := r.body(t, key, "/leads/"+r.lead.ID+"/print"); status != http.StatusOK || !strings.Contains(body, "test") || !strings.Contains(body, r.lead.ID) {
		t.Errorf("print: %d", status)
	}
}

// A lead that was judged opens again where the evidence rises, and says so.
func TestLeadOpenedAgain(t *testing.T) {
	r := newReviewed(t)
	ctx := t.Context()
	one := r.examiner(t)
	for _, e := range []*client.Client{one, r.examiner(t)} {
		if _, err := e.GiveVerdict(ctx, r.lead.ID, verdict("no_candidate", "ears differ")); err != nil {
			t.Fatal(err)
		}
	}
	stronger := registry.NewLead{Missing: registry.CaseID(r.missing.ID), Found: registry.CaseID(r.found.ID), Strength: registry.Strength{
		Score: r.lead.Score + 2, Faces: r.lead.Faces.Log10LR + 2, MissingFace: registry.FaceID(r.missed.Subject), FoundFace: registry.FaceID(r.shown.Subject), ModelSet: "test",
	}}
	if opened, err := r.Finder.Registry.SaveLeads(ctx, stronger.Missing, 0, []registry.NewLead{stronger}, nil); err != nil || len(opened) != 1 {
		t.Fatalf("%+v, %v", opened, err)
	}
	l, err := one.Lead(ctx, r.lead.ID)
	if err != nil || l.State != "open" || l.Round != 2 || l.Given != 0 || l.Reopened == nil || l.JudgedScore == nil || *l.JudgedScore >= l.Score {
		t.Errorf("%+v, %v", l, err)
	}
	_, key, _ := r.as(t, registry.Examiner, registry.Everywhere)
	if _, body := r.body(t, key, "/desk"); !strings.Contains(body, "Opened again: evidence rose") {
		t.Error("the desk does not say that it was opened again")
	}
	if _, body := r.body(t, key, "/leads/"+r.lead.ID); !strings.Contains(body, "because the evidence rose") {
		t.Error("the page does not say that it was opened again")
	}
	if _, err := one.GiveVerdict(ctx, r.lead.ID, verdict("inconclusive", "ears differ still")); code(err) != "lead_reopened" {
		t.Errorf("a verdict on the round before: %v", err)
	}
	if v, err := one.GiveVerdict(ctx, r.lead.ID, api.NewVerdict{Round: 2, Finding: "no_candidate", Reasons: "ears differ"}); err != nil || v.Seat != "first" {
		t.Errorf("%+v, %v", v, err)
	}
}

// enrolPhoto adds a photo to a case.
func (r *reviewed) enrolPhoto(t *testing.T, id, name string) {
	t.Helper()
	if _, err := r.AddPhoto(t.Context(), id, client.NewPhoto{}, bytes.NewReader(photos.Read(t, name))); err != nil {
		t.Fatal(err)
	}
}
