package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/text/unicode/norm"

	"homeward/registry"
	"homeward/text"
)

// perReport is strict: a household reports a child once or twice, a program that fills the registry with noise would like to
// do it all day.
var perReport = limit{name: "report", every: 6 * time.Minute, burst: 10}

const (
	// reportsKept and reportLife bound how long a form that was sent is known again.
	reportsKept = 10_000
	reportLife  = 24 * time.Hour
	// receiptLife is how long a receipt can be looked at again.
	receiptLife = time.Hour
)

// reports remembers which forms were sent: one form is one case, however often it is sent. It also holds what a family was just
// given and has not put away yet, in memory alone: on disk there are only hashes of links and codes.
type reports struct {
	sent     *lru.Cache[string, *sentReport]
	receipts *lru.Cache[registry.AccountID, receipt]
}

// sentReport is one form. mu makes those who send it at the same time wait for the first.
type sentReport struct {
	mu      sync.Mutex
	receipt *receipt
	// shown says that the family has seen its receipt. From then on the form signs nobody in: whoever comes to the device next
	// could send it again.
	shown atomic.Bool
}

// receipt is what a family is given to keep. It may have a code alone.
type receipt struct {
	Number, Link, Code string
	New                bool // of a report just made
	account            registry.AccountID
	form               *sentReport // that it answers; nil for a code or link made later
	until              time.Time
}

func newReports() (*reports, error) {
	sent, err := lru.New[string, *sentReport](reportsKept)
	if err != nil {
		return nil, err
	}
	receipts, err := lru.New[registry.AccountID, receipt](reportsKept)
	return &reports{sent, receipts}, err
}

// form finds what is known of a form.
func (r *reports) form(token string) *sentReport {
	fresh := &sentReport{}
	if earlier, there, _ := r.sent.PeekOrAdd(token, fresh); there {
		return earlier
	}
	return fresh
}

// give shows a family its receipt until it is put away.
func (r *reports) give(id registry.AccountID, what receipt) {
	what.until = time.Now().Add(receiptLife)
	r.receipts.Add(id, what)
}

// given is the receipt that a family has not put away; nil when there is none.
func (r *reports) given(id registry.AccountID) *receipt {
	got, ok := r.receipts.Get(id)
	if !ok || time.Now().After(got.until) {
		r.receipts.Remove(id)
		return nil
	}
	return &got
}

// reportForm is what a family typed.
type reportForm struct {
	Token                        string
	Names, Sex, Born, Age        string
	When, Place, Region          string
	Marks, Notes                 string
	Name, Relation, Phone, Email string
	errors                       map[string]string // by field, in words

	// What the page shows around it.
	Groups  []reportGroup
	Wrong   []reportField // the fields to correct
	Form    string        // what is wrong with the whole of it
	Regions []choice
	Staff   bool // a member of staff fills it in for a family
	Family  bool // is signed in already, for another child
	Receipt *receipt
}

// reportGroup is a part of the form; reportField one question in it.
type (
	reportGroup struct {
		Heading string
		Fields  []reportField
	}
	reportField struct {
		Name, Kind, Fill string // Fill is what a browser may fill in
		Most             int    // characters
		Needed           bool
		Label, Hint      string
		Value, Wrong     string
	}
)

// reportFields are the questions, in the order in which they are asked.
var reportFields = map[string][]reportField{
	"child": {
		{Name: "names", Most: registry.MaxName, Needed: true},
		{Name: "sex", Kind: "sex"},
		{Name: "born", Most: 20},
		{Name: "age", Most: 10},
	},
	"lost": {
		{Name: "on", Most: 20},
		{Name: "place", Most: registry.MaxPlace},
		{Name: "region", Kind: "region"},
	},
	"known": {
		{Name: "marks", Kind: "area", Most: registry.MaxMarks},
		{Name: "notes", Kind: "area", Most: registry.MaxNotes},
	},
	"you": {
		{Name: "name", Fill: "name", Most: registry.MaxName, Needed: true},
		{Name: "relation", Most: registry.MaxName},
		{Name: "phone", Kind: "tel", Fill: "tel", Most: registry.MaxPhone},
		{Name: "email", Kind: "email", Fill: "email", Most: registry.MaxEmail},
	},
}

// choice is one of several to choose from.
type choice struct {
	Value, Text string
	Chosen      bool
}

func (s *Server) reportRoutes() {
	s.engine.GET("/report", func(c *gin.Context) { s.reportPage(c, http.StatusOK, reportForm{}) })
	s.engine.POST("/report", s.report)
}

// reportPage shows the form, with what was typed.
func (s *Server) reportPage(c *gin.Context, status int, f reportForm) {
	ctx := c.Request.Context()
	if f.Token == "" {
		random := strings.ToLower(rand.Text())
		f.Token = random + "." + s.finder.Registry.Sign("report", random)
	}
	var err error
	if f.Regions, err = s.regionChoices(ctx, f.Region); err != nil {
		s.problemPage(c, err)
		return
	}
	role := caller(ctx).Role
	f.Staff, f.Family = role.Staff(), role == registry.Family
	f.ask(s.printer(ctx))
	s.page(c, status, "report.html", "report.title", f)
}

// ask puts the questions in words, with what was answered and what is wrong with it.
func (f *reportForm) ask(say text.Printer) {
	values := f.fields()
	f.Form = f.errors["form"]
	for _, part := range []string{"child", "lost", "known", "you"} {
		group := reportGroup{Heading: say.T("report.part." + part)}
		for _, q := range reportFields[part] {
			if q.Kind == "region" && len(f.Regions) == 0 {
				continue
			}
			key := "report." + q.Name
			q.Label, q.Value, q.Wrong = say.T(key), *values[q.Name], f.errors[q.Name]
			if q.Hint = say.T(key + ".hint"); q.Hint == key+".hint" {
				q.Hint = ""
			}
			group.Fields = append(group.Fields, q)
			if q.Wrong != "" {
				f.Wrong = append(f.Wrong, q)
			}
		}
		f.Groups = append(f.Groups, group)
	}
}

// regionChoices are all regions, in the language of the request.
func (s *Server) regionChoices(ctx context.Context, chosen string) ([]choice, error) {
	regions, err := s.finder.Registry.Regions(ctx)
	if err != nil {
		return nil, err
	}
	var out []choice
	for _, r := range regions {
		out = append(out, choice{r.Code, r.Name(s.printer(ctx).Lang()), r.Code == chosen})
	}
	return out, nil
}

// report takes a family's report. One form makes one case, however often it is sent.
func (s *Server) report(c *gin.Context) {
	form(c)
	ctx := c.Request.Context()
	f := reportForm{Token: c.PostForm("token"), errors: map[string]string{}}
	for name, to := range f.fields() {
		*to = strings.TrimSpace(c.PostForm(name))
	}
	random, signature, _ := strings.Cut(f.Token, ".")
	if !s.finder.Registry.Signed("report", random, signature) {
		f.Token = "" // of another server, or made up: the form comes back with a good one
		f.errors["form"] = s.printer(ctx).T("report.error.form")
		s.reportPage(c, http.StatusUnprocessableEntity, f)
		return
	}
	sent := s.reports.form(f.Token)
	sent.mu.Lock()
	defer sent.mu.Unlock()
	if sent.receipt == nil || time.Now().After(sent.receipt.until) {
		done, err := s.storeReport(ctx, &f)
		if len(f.errors) > 0 {
			s.reportPage(c, http.StatusUnprocessableEntity, f)
			return
		}
		if err != nil {
			s.problemPage(c, err)
			return
		}
		done.Link = origin(c.Request) + "/f/" + done.Link
		done.until, done.form = time.Now().Add(reportLife), sent
		sent.receipt = done
		sent.shown.Store(false)
		s.finder.Refresh(ctx)
	}
	if caller(ctx).Role.Staff() { // stays who they are, and hands the receipt on
		f.Receipt = sent.receipt
		s.page(c, http.StatusOK, "receipt.html", "receipt.title", f)
		return
	}
	if !sent.shown.Load() {
		s.reports.give(sent.receipt.account, *sent.receipt)
	}
	if caller(ctx).Account != sent.receipt.account && !sent.shown.Load() {
		if err := s.begin(c, sent.receipt.account, familyLife); err != nil {
			s.problemPage(c, err)
			return
		}
	}
	c.Redirect(http.StatusSeeOther, "/family")
}

// fields names the fields of the form.
func (f *reportForm) fields() map[string]*string {
	return map[string]*string{
		"names": &f.Names, "sex": &f.Sex, "born": &f.Born, "age": &f.Age, "on": &f.When, "place": &f.Place, "region": &f.Region,
		"marks": &f.Marks, "notes": &f.Notes, "name": &f.Name, "relation": &f.Relation, "phone": &f.Phone, "email": &f.Email,
	}
}

// storeReport makes the case, or says in f.errors what to correct.
func (s *Server) storeReport(ctx context.Context, f *reportForm) (*receipt, error) {
	say := s.printer(ctx)
	wrong := func(field, key string) {
		if f.errors[field] == "" {
			f.errors[field] = say.T(key)
		}
	}
	in := registry.Case{
		Gallery: registry.Missing, Names: split(f.Names), Sex: registry.Sex(f.Sex),
		Place: f.Place, Region: f.Region, Marks: f.Marks, Notes: f.Notes,
	}
	var err error
	if len(in.Names) == 0 {
		wrong("names", "report.error.names")
	}
	if in.On, err = looseDate(f.When); err != nil {
		wrong("on", "report.error.date")
	}
	if in.BornFrom, err = looseDate(f.Born); err != nil {
		wrong("born", "report.error.date")
	}
	in.BornTo = in.BornFrom
	if f.Age != "" && in.BornFrom.IsZero() && f.errors["born"] == "" {
		age, err := strconv.Atoi(strings.TrimSuffix(norm.NFKC.String(f.Age), "岁"))
		switch {
		case err != nil || age < 0 || age > 100:
			wrong("age", "report.error.age")
		case in.On.IsZero():
			wrong("on", "report.error.age_needs_when")
		default:
			// Whoever was three in 2009 was born between 2005 and 2006.
			in.BornFrom, err = registry.YearDate(in.On.Year() - age - 1)
			if err == nil {
				in.BornTo, err = registry.YearDate(in.On.Year() - age)
			}
			if err != nil {
				wrong("age", "report.error.age")
			}
		}
	}
	contact := registry.Contact{Name: f.Name, Relation: f.Relation, Phone: f.Phone, Email: f.Email}
	if contact.Name == "" {
		wrong("name", "report.error.name")
	}
	if contact.Phone == "" && contact.Email == "" {
		wrong("phone", "report.error.phone")
	}
	if len(f.errors) > 0 {
		return nil, nil
	}
	done, err := s.finder.Registry.ReportCase(ctx, in, contact, say.Lang())
	var field *registry.FieldError
	if errors.As(err, &field) {
		name := fieldOf(field.Field)
		key := "report.error." + name + "_wrong"
		if say.T(key) == key {
			key = "report.error.wrong"
		}
		if _, known := f.fields()[name]; !known {
			name = "form"
		}
		wrong(name, key)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &receipt{Number: done.Case.Number(), Link: done.Link, Code: done.Code, New: true, account: done.Account}, nil
}

// fieldOf is the field of the form that a fact comes from.
func fieldOf(fact string) string {
	switch {
	case strings.HasPrefix(fact, "born"):
		return "born"
	case strings.HasPrefix(fact, "contact."):
		return strings.TrimPrefix(fact, "contact.")
	}
	return fact
}

// split reads names that a person wrote one after the other.
func split(text string) []string {
	var out []string
	for _, name := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune("\n\r;；、，", c) }) {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// looseDate reads a date as people write it, year first: 2009, 2009-05, 2009.5.17, 2009/5/17, 2009年5月17日.
func looseDate(text string) (registry.Date, error) {
	text = strings.TrimSpace(norm.NFKC.String(text))
	if text == "" {
		return registry.Date{}, nil
	}
	text = strings.NewReplacer("年", "-", "月", "-", "日", "", "号", "", ".", "-", "。", "-", "/", "-", " ", "", "–", "-", "—", "-").Replace(text)
	parts := strings.Split(strings.TrimSuffix(text, "-"), "-")
	for i, p := range parts {
		if len(p) == 1 && i > 0 {
			parts[i] = "0" + p
		}
	}
	return registry.ParseDate(strings.Join(parts, "-"))
}
