package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/registry"
)

// listedEntries is how many entries a page of a history has.
const listedEntries = 100

func (s *Server) historyRoutes() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-history", Method: http.MethodGet, Path: prefix + "/cases/{case}/history", Tags: []string{"Cases"},
		Summary: "Read what was done with a case, newest first", Errors: []int{http.StatusNotFound},
		Description: "All that the audit has of it, with its leads, DNA requests and publications. What an examiner found is not in it.",
	}, func(ctx context.Context, in *struct {
		CasePath
		Looks  string `query:"looks" enum:"shown,hidden" default:"shown" doc:"hidden leaves out who looked and searched."`
		Cursor string `query:"cursor" maxLength:"500" doc:"The next value of the answer before."`
	}) (*struct{ Body api.HistoryPage }, error) {
		page, err := s.history(ctx, registry.CaseID(in.Case), in.Looks == "hidden", in.Cursor)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.HistoryPage }{page}, nil
	})
	s.engine.GET("/cases/:case/history", s.historyPage)
}

// history is a page of what was done with a case. Auditors see no case, but what was done with any; also with one that was
// destroyed since.
func (s *Server) history(ctx context.Context, id registry.CaseID, noLooks bool, cursor string) (out api.HistoryPage, err error) {
	if caller(ctx).Role != registry.Auditor {
		if _, err := s.see(ctx, id); err != nil {
			return out, err
		}
	}
	q := registry.AuditQuery{Case: id, NoLooks: noLooks, Limit: listedEntries, Cursor: cursor}
	if q.Subjects, err = s.aboutCase(ctx, id); err != nil {
		return out, err
	}
	entries, next, err := s.finder.Registry.Audit(ctx, q)
	if err != nil {
		return out, err
	}
	if len(entries) == 0 && cursor == "" && !noLooks {
		return out, registry.ErrNotFound
	}
	if cursor == "" { // once, and not for every page of it
		if err := s.finder.Registry.Record(ctx, registry.Note{Action: "history.looked", Case: id}); err != nil {
			return out, err
		}
	}
	out = api.HistoryPage{Entries: make([]api.HistoryEntry, len(entries)), Next: next}
	known := s.newPeople()
	say := s.printer(ctx)
	for i, e := range entries {
		out.Entries[i] = api.HistoryEntry{
			N: e.N, At: e.At, Action: e.Action, Text: said(say, e.Action), Subject: e.Subject, Purpose: e.Purpose, Fields: e.Detail["fields"],
		}
		by, err := known.who(ctx, e.Account)
		if err != nil {
			return out, err
		}
		by.Role = string(e.Role) // as it was then
		out.Entries[i].By = by
	}
	return out, nil
}

// aboutCase lists the leads and DNA requests of a case: their entries name one case of the pair, and belong to both.
func (s *Server) aboutCase(ctx context.Context, id registry.CaseID) (subjects []string, err error) {
	q := registry.LeadQuery{Case: id, Closed: true, Limit: registry.MaxListed}
	for {
		leads, next, err := s.finder.Registry.Leads(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, l := range leads {
			subjects = append(subjects, string(l.ID))
			requests, err := s.finder.Registry.DNAOf(ctx, l.ID)
			if err != nil {
				return nil, err
			}
			for _, d := range requests {
				subjects = append(subjects, d.ID)
			}
		}
		if q.Cursor = next; next == "" {
			return subjects, nil
		}
	}
}

// said is an action of the audit in words; its code where there are none.
func said(say interface{ T(string, ...any) string }, action string) string {
	if text := say.T("audit." + action); text != "audit."+action {
		return text
	}
	return say.T("history.unknown", "Action", action)
}

// historyPage is a case's history as the page shows it.
type historyPage struct {
	Case    string
	Number  string // empty for a case that is gone
	MaySee  bool   // auditors may not
	NoLooks bool
	Entries []historyRow
	Next    string // address of the next page
}

type historyRow struct {
	api.HistoryEntry
	When    string
	Who     string
	Changed string // which facts, in words
	Href    string // of the lead that it is about
}

func (s *Server) historyPage(c *gin.Context) {
	ctx := c.Request.Context()
	own := historyPage{Case: c.Param("case"), NoLooks: c.Query("looks") == "hidden", MaySee: listCases.may(caller(ctx).Role)}
	page, err := s.history(ctx, registry.CaseID(own.Case), own.NoLooks, c.Query("cursor"))
	if err != nil {
		s.problemPage(c, err)
		return
	}
	say := s.printer(ctx)
	if found, err := s.finder.Registry.Case(ctx, registry.CaseID(own.Case)); err == nil {
		own.Number = found.Number()
	}
	for _, e := range page.Entries {
		row := historyRow{HistoryEntry: e, When: when(e.At), Who: e.By.Name}
		if row.Who == "" {
			row.Who = e.By.Account
		}
		if e.By.Role == string(registry.Family) {
			row.Who = ""
		}
		if e.Fields != "" {
			row.Changed = fieldNames(say, e.Fields)
		}
		if strings.HasPrefix(e.Subject, "l_") && seeLeads.may(caller(ctx).Role) {
			row.Href = "/leads/" + url.PathEscape(e.Subject)
		}
		own.Entries = append(own.Entries, row)
	}
	if page.Next != "" {
		q := c.Request.URL.Query()
		q.Set("cursor", page.Next)
		own.Next = "?" + q.Encode()
	}
	s.page(c, http.StatusOK, "history.html", "history.title", own)
}

// fieldNames are the facts that changed, in words where the catalogue has them.
func fieldNames(say interface{ T(string, ...any) string }, codes string) string {
	var names []string
	for code := range strings.SplitSeq(codes, ",") {
		name := say.T("history.field." + code)
		if name == "history.field."+code {
			name = code
		}
		names = append(names, name)
	}
	return strings.Join(names, say.T("history.fields.between"))
}
