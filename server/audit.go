package server

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
	"homeward/text"
)

const (
	// leastVolume searches and looks in a day are a busy day's work: fewer are nobody's concern.
	leastVolume = 50
	// timesUsual is how many times the usual day is unusual.
	timesUsual = 4
	// watchEvery is how often volume is looked at while nobody reads the audit.
	watchEvery = 10 * time.Minute
	// verifyFor bounds the reading of the whole chain within a request; the command line takes as long as it needs.
	verifyFor = 2 * time.Minute
)

// perVerification keeps the reading of the whole chain rare.
var perVerification = limit{name: "verification", every: 10 * time.Second, burst: 3, account: true}

// auditActions are the groups that the audit can be narrowed to.
var auditActions = []string{
	"case.", "photo.", "search.", "lead.", "verdict.", "dna.", "reunion.", "publication.", "ask.", "family.", "history.", "export.",
	"session.", "account.", "invitation.", "key.", "region.", "job.", "reindex.", "backup.", "registry.", "audit.", "volume.",
}

// watched keeps what runs beside requests from running twice at once.
type watched struct{ volume, verification sync.Mutex }

// AuditFilters narrow the audit.
type AuditFilters struct {
	Account string `query:"account" maxLength:"64" doc:"Who did it: id of an account."`
	Case    string `query:"case" maxLength:"64" doc:"Id or number of a case; the id also of one that was destroyed."`
	Action  string `query:"action" maxLength:"64" pattern:"^[a-z_]+\\.[a-z_]*$" doc:"One action, or, ending in a full stop, all that begin so." example:"photo."`
	From    string `query:"from" maxLength:"10" doc:"First day: 2026-11-24, in the time zone of the server."`
	To      string `query:"to" maxLength:"10" doc:"Last day."`
}

func (s *Server) auditRoutes() {
	tags := []string{"Audit"}

	huma.Register(s.api, huma.Operation{
		OperationID: "read-audit", Method: http.MethodGet, Path: prefix + "/audit", Tags: tags,
		Summary: "Read who did what, newest first", Description: "Reading it is noted in it.",
	}, func(ctx context.Context, in *struct {
		AuditFilters
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
		Cursor string `query:"cursor" maxLength:"100" doc:"The next value of the answer before."`
	}) (*struct{ Body api.AuditPage }, error) {
		page, err := s.readAudit(ctx, in.AuditFilters, in.Limit, in.Cursor)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.AuditPage }{page}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "export-audit", Method: http.MethodGet, Path: prefix + "/audit.csv", Tags: tags,
		Summary: "Take the audit along as a table, newest first", Description: "For a spreadsheet: a cell that it would take for a formula has an apostrophe before it.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The table, in UTF-8.",
			Content:     map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, s.exportAudit)

	huma.Register(s.api, huma.Operation{
		OperationID: "verify-audit", Method: http.MethodGet, Path: prefix + "/audit/verification", Tags: tags,
		Summary: "Read the whole chain and say whether it is as it was written", Errors: []int{http.StatusConflict},
		Description: "That it was done, and what it found, is noted in the audit.",
	}, s.verifyAudit)

	huma.Register(s.api, huma.Operation{
		OperationID: "list-unusual-volume", Method: http.MethodGet, Path: prefix + "/audit/volume", Tags: tags,
		Summary:     "List accounts that search or look much more than they used to",
		Description: fmt.Sprintf("At least %d searches and looks at photos in the last day, and more than %d times the usual day of the month before. The audit holds each as volume.flagged, once a day.", leastVolume, timesUsual),
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body api.UnusualVolume }, error) {
		out, err := s.unusual(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.UnusualVolume }{out}, nil
	})

	s.engine.GET("/audit", s.auditPage)
}

// query is what the filters ask of the registry.
func (s *Server) auditQuery(ctx context.Context, f AuditFilters) (q registry.AuditQuery, err error) {
	q = registry.AuditQuery{Account: registry.AccountID(f.Account), Action: f.Action}
	switch number := strings.TrimSpace(f.Case); {
	case strings.HasPrefix(number, "c_"):
		q.Case = registry.CaseID(number)
	case number != "":
		found, err := s.finder.Registry.CaseByNumber(ctx, number)
		if errors.Is(err, registry.ErrNotFound) {
			return q, &registry.FieldError{Field: "case", Text: "is not the number or id of a case; write it as M-000123-7"}
		}
		if err != nil {
			return q, err
		}
		q.Case = found.ID
	}
	if q.From, err = day("from", f.From); err != nil {
		return q, err
	}
	if q.To, err = day("to", f.To); err != nil {
		return q, err
	}
	if !q.To.IsZero() {
		if q.To.Before(q.From) {
			return q, &registry.FieldError{Field: "to", Text: "is before from: swap them"}
		}
		q.To = q.To.AddDate(0, 0, 1) // the last day counts
	}
	return q, nil
}

// day is the begin of a day where the server stands; zero where none is given.
func day(field, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, value, time.Local)
	if err != nil {
		return t, &registry.FieldError{Field: field, Text: "is not a day; write it as 2026-11-24"}
	}
	return t, nil
}

// readAudit is a page of the audit. That it was read is noted once, not for every page.
func (s *Server) readAudit(ctx context.Context, f AuditFilters, limit int, cursor string) (out api.AuditPage, err error) {
	q, err := s.auditQuery(ctx, f)
	if err != nil {
		return out, err
	}
	q.Limit, q.Cursor = limit, cursor
	entries, next, err := s.finder.Registry.Audit(ctx, q)
	if err != nil {
		return out, err
	}
	if cursor == "" {
		if err := s.finder.Registry.Record(ctx, registry.Note{Action: "audit.read", Case: q.Case, Subject: f.Account}); err != nil {
			return out, err
		}
	}
	out = api.AuditPage{Entries: make([]api.AuditEntry, len(entries)), Next: next}
	known := s.newReader(ctx)
	for i, e := range entries {
		if out.Entries[i], err = known.entry(ctx, e); err != nil {
			return out, err
		}
	}
	return out, nil
}

// auditReader says what entries mean, and remembers whom and what they name.
type auditReader struct {
	registry *registry.Registry
	people   *people
	say      text.Printer
	numbers  map[registry.CaseID]string
}

func (s *Server) newReader(ctx context.Context) auditReader {
	return auditReader{s.finder.Registry, s.newPeople(), s.printer(ctx), map[registry.CaseID]string{}}
}

func (r auditReader) entry(ctx context.Context, e registry.AuditEntry) (out api.AuditEntry, err error) {
	out = api.AuditEntry{
		N: e.N, At: e.At, Via: e.Via, Action: e.Action, Text: said(r.say, e.Action), Case: string(e.Case), Subject: e.Subject,
		Purpose: e.Purpose, Detail: e.Detail, Hash: e.Hash,
	}
	if out.By, err = r.people.who(ctx, e.Account); err != nil {
		return out, err
	}
	out.By.Role = string(e.Role) // as it was then
	number, ok := r.numbers[e.Case]
	if !ok && e.Case != "" {
		found, err := r.registry.Case(ctx, e.Case)
		if err == nil {
			number = found.Number()
		} else if !errors.Is(err, registry.ErrNotFound) {
			return out, err
		}
		r.numbers[e.Case] = number
	}
	out.Number = number
	return out, nil
}

// exportPage is how many entries are read at a time.
const exportPage = registry.MaxListed

func (s *Server) exportAudit(ctx context.Context, f *AuditFilters) (*huma.StreamResponse, error) {
	q, err := s.auditQuery(ctx, *f)
	if err == nil {
		err = s.finder.Registry.Record(ctx, registry.Note{Action: "export.made", Case: q.Case, Subject: f.Account, Detail: map[string]string{"of": "audit"}})
	}
	if err != nil {
		return nil, s.problem(err)
	}
	q.Limit = exportPage
	entries, next, err := s.finder.Registry.Audit(ctx, q) // before the answer begins, so that an error can still be one
	if err != nil {
		return nil, s.problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "text/csv; charset=utf-8")
		hc.SetHeader("Content-Disposition", `attachment; filename="audit.csv"`)
		if err := s.writeAudit(ctx, hc.BodyWriter(), q, entries, next); err != nil {
			if !errors.Is(err, context.Canceled) {
				s.log.Warn("export the audit", "error", err)
			}
			panic(http.ErrAbortHandler) // a part must not be taken for the whole
		}
	}}, nil
}

// writeAudit writes the entries, and all that follow.
func (s *Server) writeAudit(ctx context.Context, to io.Writer, q registry.AuditQuery, entries []registry.AuditEntry, next string) error {
	// Spreadsheets take a file for UTF-8 by its first three bytes.
	if _, err := io.WriteString(to, "\ufeff"); err != nil {
		return err
	}
	w := csv.NewWriter(to)
	row := func(cells ...string) error {
		for i := range cells {
			cells[i] = inert(cells[i])
		}
		return w.Write(cells)
	}
	if err := row("number", "time", "name", "account", "role", "via", "action", "meaning", "case", "case_number", "subject", "purpose", "detail", "hash"); err != nil {
		return err
	}
	known := s.newReader(ctx)
	for {
		for _, e := range entries {
			o, err := known.entry(ctx, e)
			if err != nil {
				return err
			}
			if err := row(strconv.FormatInt(o.N, 10), o.At.Format(time.RFC3339), o.By.Name, o.By.Account, o.By.Role, o.Via, o.Action, o.Text,
				o.Case, o.Number, o.Subject, o.Purpose, details(o.Detail), o.Hash); err != nil {
				return err
			}
		}
		if w.Flush(); w.Error() != nil || next == "" {
			return w.Error()
		}
		q.Cursor = next
		var err error
		if entries, next, err = s.finder.Registry.Audit(ctx, q); err != nil {
			return err
		}
	}
}

// inert is a cell that no spreadsheet takes for a formula: a purpose is what someone wrote.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// details are an entry's details in one line.
func details(d map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d)) {
		out = append(out, name+": "+d[name])
	}
	return strings.Join(out, "; ")
}

func (s *Server) verifyAudit(ctx context.Context, in *struct {
	Head string `query:"head" maxLength:"64" doc:"A head that was kept elsewhere, and must be in the chain."`
}) (*struct{ Body api.AuditVerification }, error) {
	if !s.watched.verification.TryLock() {
		return nil, s.problem(registry.ErrInProgress)
	}
	defer s.watched.verification.Unlock()
	reading, cancel := context.WithTimeout(ctx, verifyFor)
	defer cancel()
	state, err := s.finder.Registry.VerifyAudit(reading, in.Head)
	out := api.AuditVerification{Intact: err == nil, Entries: state.Entries, Head: state.Head, At: time.Now()}
	switch {
	case errors.Is(err, registry.ErrTampered):
		s.log.Error("the audit is not as it was written", "error", err)
		out.Fault = fault(err)
	case errors.Is(reading.Err(), context.DeadlineExceeded):
		return nil, s.problem(s.tell(ctx, http.StatusServiceUnavailable, "audit_too_long"))
	case err != nil:
		return nil, s.problem(err)
	}
	err = s.finder.Registry.Record(ctx, registry.Note{Action: "audit.verified", Detail: map[string]string{
		"intact": strconv.FormatBool(out.Intact), "entries": strconv.FormatInt(out.Entries, 10),
	}})
	if err != nil {
		return nil, s.problem(err)
	}
	return &struct{ Body api.AuditVerification }{out}, nil
}

// fault is what does not fit, without what was being done when that showed.
func fault(err error) string {
	said := err.Error()
	if i := strings.Index(said, registry.ErrTampered.Error()); i >= 0 {
		return said[i:]
	}
	return said
}

// unusual lists accounts that search or look unusually much, and notes each in the audit, once a day.
func (s *Server) unusual(ctx context.Context) (out api.UnusualVolume, err error) {
	found, err := s.flagVolume(ctx)
	if err != nil {
		return out, err
	}
	out.Accounts = make([]api.Unusual, len(found))
	known := s.newPeople()
	for i, u := range found {
		out.Accounts[i] = api.Unusual{Count: u.Count, Usual: u.Usual}
		if out.Accounts[i].By, err = known.who(ctx, u.Account); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (s *Server) flagVolume(ctx context.Context) ([]registry.Unusual, error) {
	s.watched.volume.Lock()
	defer s.watched.volume.Unlock()
	found, err := s.finder.Registry.UnusualVolume(ctx, leastVolume, timesUsual)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	now := time.Now()
	q := registry.AuditQuery{
		Action: "volume.flagged", Limit: registry.MaxListed, From: time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location()),
	}
	flagged := map[string]bool{}
	for {
		entries, next, err := s.finder.Registry.Audit(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			flagged[e.Subject] = true
		}
		if q.Cursor = next; next == "" {
			break
		}
	}
	var notes []registry.Note
	for _, u := range found {
		if !flagged[string(u.Account)] {
			notes = append(notes, registry.Note{Action: "volume.flagged", Subject: string(u.Account), Detail: map[string]string{
				"count": strconv.Itoa(u.Count), "usual": strconv.FormatFloat(u.Usual, 'f', 1, 64),
			}})
		}
	}
	if len(notes) > 0 {
		s.log.Warn("accounts search or look unusually much: see /audit", "accounts", len(notes))
	}
	// By itself, whoever happens to be reading.
	return found, s.finder.Registry.Record(registry.WithActor(ctx, registry.Actor{Role: registry.System}), notes...)
}

// Watch looks for unusual volume every now and then, until ctx ends.
func (s *Server) Watch(ctx context.Context) error {
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	for {
		if _, err := s.flagVolume(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("look for unusual volume", "error", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// listedAudit is how many entries a page of the audit has.
const listedAudit = 100

// auditPage is the audit as its page shows it.
type auditPage struct {
	Asked    AuditFilters
	People   []choice
	Actions  []choice
	Entries  []auditRow
	Next     string // address of the next page
	Export   string // address of the table
	Length   int64  // of the chain
	Head     string
	Verified *verifiedRow // last time; nil for never
	Unusual  []unusualRow
	Error    string // what is wrong with the filters
	Zone     string // in which times are written
}

type auditRow struct {
	api.AuditEntry
	When, Who, RoleName string
	ViaName             string
	About               string // the account that it is about, by name
	Details             string
}

type verifiedRow struct {
	When, Entries string
	Intact        bool
}

type unusualRow struct {
	Name, RoleName, Account string
	Count                   int
	Usual                   string
}

func (s *Server) auditPage(c *gin.Context) {
	own, err := s.auditOf(c.Request.Context(), c.Request.URL.Query())
	status := http.StatusOK
	if f := (*registry.FieldError)(nil); errors.As(err, &f) {
		// The form comes back with what was wrong with it.
		say := s.printer(c.Request.Context())
		if own.Error, _ = say.Problem("invalid", "audit."+f.Field); own.Error == "" {
			own.Error = f.Error()
		}
		status, err = http.StatusUnprocessableEntity, nil
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	s.page(c, status, "audit.html", "audit.title", own)
}

func (s *Server) auditOf(ctx context.Context, asked url.Values) (own auditPage, err error) {
	say := s.printer(ctx)
	own.Zone, _ = time.Now().Zone()
	own.Asked = AuditFilters{
		Account: asked.Get("account"), Case: asked.Get("case"), Action: asked.Get("action"), From: asked.Get("from"), To: asked.Get("to"),
	}
	all, err := s.finder.Registry.Accounts(ctx)
	if err != nil {
		return own, err
	}
	for _, a := range all {
		own.People = append(own.People, choice{string(a.ID), a.Name + " (" + say.T("role."+string(a.Role)) + ")", string(a.ID) == own.Asked.Account})
	}
	for _, group := range auditActions {
		own.Actions = append(own.Actions, choice{group, say.T("audit.group." + strings.TrimSuffix(group, ".")), group == own.Asked.Action})
	}
	if own.Length, own.Head, own.Verified, err = s.chain(ctx); err != nil {
		return own, err
	}
	unusual, err := s.unusual(ctx)
	if err != nil {
		return own, err
	}
	for _, u := range unusual.Accounts {
		own.Unusual = append(own.Unusual, unusualRow{
			Name: u.By.Name, RoleName: say.T("role." + u.By.Role), Account: u.By.Account, Count: u.Count, Usual: strconv.FormatFloat(u.Usual, 'f', 1, 64),
		})
	}
	page, err := s.readAudit(ctx, own.Asked, listedAudit, asked.Get("cursor"))
	if err != nil {
		return own, err
	}
	known := s.newPeople()
	for _, e := range page.Entries {
		row := auditRow{AuditEntry: e, When: e.At.Local().Format(time.DateTime), Who: e.By.Name, Details: details(e.Detail)}
		if e.By.Role != "" {
			row.RoleName = say.T("role." + e.By.Role)
		}
		switch {
		case strings.HasPrefix(e.Via, "h_"):
			row.ViaName = say.T("audit.via.session")
		case strings.HasPrefix(e.Via, "k_"):
			row.ViaName = say.T("audit.via.key")
		default:
			row.ViaName = e.Via
		}
		about := e.Subject
		if of := e.Detail["account"]; of != "" {
			about = of
		}
		if strings.HasPrefix(about, "a_") {
			about, err := known.who(ctx, registry.AccountID(about))
			if err != nil {
				return own, err
			}
			row.About = about.Name
		}
		own.Entries = append(own.Entries, row)
	}
	given := url.Values{}
	for name, value := range map[string]string{
		"account": own.Asked.Account, "case": own.Asked.Case, "action": own.Asked.Action, "from": own.Asked.From, "to": own.Asked.To,
	} {
		if value != "" {
			given.Set(name, value)
		}
	}
	own.Export = prefix + "/audit.csv?" + given.Encode()
	if page.Next != "" {
		given.Set("cursor", page.Next)
		own.Next = "?" + given.Encode()
	}
	return own, nil
}

// chain is where the audit's chain stands, and what was found when it was last verified.
func (s *Server) chain(ctx context.Context) (length int64, head string, last *verifiedRow, err error) {
	newest, _, err := s.finder.Registry.Audit(ctx, registry.AuditQuery{Limit: 1})
	if err != nil {
		return 0, "", nil, err
	}
	for _, e := range newest {
		length, head = e.N, e.Hash
	}
	verified, _, err := s.finder.Registry.Audit(ctx, registry.AuditQuery{Action: "audit.verified", Limit: 1})
	for _, e := range verified {
		last = &verifiedRow{when(e.At), e.Detail["entries"], e.Detail["intact"] == "true"}
	}
	return length, head, last, err
}
