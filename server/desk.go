package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
	"homeward/text"
)

// deskRows is how many leads a page of the desk has.
const deskRows = 20

// mostOthers is how many other strong candidates a lead's page names for each case.
const mostOthers = 5

func (s *Server) deskRoutes() {
	s.engine.GET("/desk", s.deskPage)
	s.engine.GET("/dna", s.dnaPage)
	s.engine.GET("/leads/:lead", func(c *gin.Context) { s.leadPage(c, "lead.html", "lead.looked") })
	s.engine.GET("/leads/:lead/print", func(c *gin.Context) { s.leadPage(c, "leadprint.html", "lead.printed") })
	s.engine.GET("/leads/:lead/verdicts/:verdict", s.verdictPage)
}

// tab is a part of the desk's queue.
type tab struct {
	key      string
	states   []registry.LeadState
	right    right         // of whom it is for
	only     registry.Role // of those, where one role alone
	unjudged bool          // leaves out what the caller has judged, or may not judge
	closed   bool          // closed cases too
}

// tabs in the order of the work.
var tabs = []tab{
	{key: "judge", states: []registry.LeadState{registry.LeadOpen}, right: judge, unjudged: true},
	{key: "disputed", states: []registry.LeadState{registry.LeadDisputed}, right: judge, only: registry.Supervisor, unjudged: true},
	{key: "open", states: []registry.LeadState{registry.LeadOpen, registry.LeadDisputed}, right: seeLeads},
	{key: "potential", states: []registry.LeadState{registry.LeadPotential}, right: seeLeads},
	{key: "dna", states: []registry.LeadState{registry.LeadDNA}, right: seeLeads},
	{key: "confirmed", states: []registry.LeadState{registry.LeadConfirmed}, right: seeLeads},
	{key: "judged", right: seeLeads, closed: true,
		states: []registry.LeadState{registry.LeadNoCandidate, registry.LeadInconclusive, registry.LeadExcluded, registry.LeadReunited}},
}

func (t tab) forRole(r registry.Role) bool { return t.right.may(r) && (t.only == "" || t.only == r) }

// deskPage is the queue.
type deskPage struct {
	Tabs    []tabView
	Here    string
	Region  string
	Source  string
	Order   string
	Regions []choice
	Rows    []leadView
	Next    string // address of the next page
	Paged   bool   // this is not the first
}

type tabView struct {
	Key, Href string
	Count     int
	Here      bool
}

// leadView is a lead as pages show it.
type leadView struct {
	api.Lead
	Title          string
	MissingV       sideView
	FoundV         sideView
	Waits          string
	ScoreText      string
	JudgedText     string
	ReopenedText   string
	RecordsText    string
	CreatedText    string
	MayBeJudgedTwo bool // the round waits for verdicts
}

// sideView is one of a lead's cases as pages show it.
type sideView struct {
	api.LeadSide
	Say    text.Printer
	Label  string // names, or the number
	Number string // where it is not the label already
	AgeIn  string // in the photo that speaks loudest
	Region string
	Photos []photoView
	Others []otherView
}

// photoView is a photo of a case with the child's age in it.
type photoView struct {
	ID, Face      string
	Taken, Age    string
	Width, Height int
	Loudest       bool
}

// otherView is another strong candidate for a case.
type otherView struct {
	api.Candidate
	Label, Region, ScoreText string
	Lead                     string // that the two are; empty where they are none
	MissingID, FoundID       registry.CaseID
}

func (s *Server) deskPage(c *gin.Context) {
	ctx := c.Request.Context()
	who := caller(ctx)
	f := LeadFilters{Region: c.Query("region"), Order: c.Query("order"), Limit: deskRows, Cursor: c.Query("cursor")}
	if src := c.Query("source"); src != "" {
		f.Source = []string{src}
	}
	if f.Order == "" {
		f.Order = "urgency"
	}
	p := deskPage{Region: f.Region, Source: c.Query("source"), Order: f.Order, Paged: f.Cursor != ""}
	q := f.query(who)
	counts, err := s.deskCounts(ctx, q)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	here := chooseTab(c.Query("state"), who, counts)
	p.Here = here.key
	for _, t := range tabs {
		if t.forRole(who.Role) {
			p.Tabs = append(p.Tabs, tabView{t.key, deskAddress(t.key, c.Request.URL.Query()), counts[t.key], t.key == here.key})
		}
	}
	page, err := s.leads(ctx, here.narrow(q, who))
	if err != nil {
		s.problemPage(c, err)
		return
	}
	regions, err := s.regionNames(ctx)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	for _, l := range page.Leads {
		p.Rows = append(p.Rows, s.leadView(ctx, l, regions))
	}
	if p.Regions, err = s.regionChoices(ctx, p.Region); err != nil {
		s.problemPage(c, err)
		return
	}
	if page.Next != "" {
		again := c.Request.URL.Query()
		again.Set("state", here.key)
		again.Set("cursor", page.Next)
		p.Next = "/desk?" + again.Encode()
	}
	s.page(c, http.StatusOK, "desk.html", "desk.title", p)
}

// narrow is a query of what stands in a tab.
func (t tab) narrow(q registry.LeadQuery, who registry.Actor) registry.LeadQuery {
	q.States, q.Closed = t.states, t.closed
	if t.unjudged {
		q.Unjudged = who.Account
	}
	return q
}

// deskCounts says how many leads stand in each tab.
func (s *Server) deskCounts(ctx context.Context, q registry.LeadQuery) (map[string]int, error) {
	who := caller(ctx)
	q.Cursor = ""
	counts := make(map[string]int)
	for _, t := range tabs {
		if !t.forRole(who.Role) {
			continue
		}
		n, err := s.finder.Registry.LeadCounts(ctx, t.narrow(q, who))
		if err != nil {
			return nil, err
		}
		for _, one := range n {
			counts[t.key] += one
		}
	}
	return counts, nil
}

// chooseTab is the one asked for, or else where the caller's work is: disputes wait for supervisors alone, judging for
// examiners, and DNA for officers.
func chooseTab(key string, who registry.Actor, counts map[string]int) tab {
	if key == "" {
		switch {
		case counts["disputed"] > 0:
			key = "disputed"
		case judge.may(who.Role):
			key = "judge"
		default:
			key = "potential"
		}
	}
	for _, t := range tabs {
		if t.key == key && t.forRole(who.Role) {
			return t
		}
	}
	return tabs[2]
}

// deskAddress is a tab's, with the filters that are set.
func deskAddress(key string, filters url.Values) string {
	v := url.Values{"state": {key}}
	for _, name := range []string{"region", "source", "order"} {
		if given := filters.Get(name); given != "" {
			v.Set(name, given)
		}
	}
	return "/desk?" + v.Encode()
}

func (s *Server) leadView(ctx context.Context, l api.Lead, regions regionNames) leadView {
	say := s.printer(ctx)
	v := leadView{
		Lead: l, MissingV: viewSide(say, l.Missing, regions), FoundV: viewSide(say, l.Found, regions),
		Waits: waited(say, time.Since(waitingSince(l))), ScoreText: oneDigit(l.Score), RecordsText: oneDigit(l.Records),
		CreatedText: moment(say, l.CreatedAt), MayBeJudgedTwo: l.State == "open" || l.State == "disputed",
	}
	if l.Reopened != nil {
		v.JudgedText, v.ReopenedText = oneDigit(*l.JudgedScore), moment(say, *l.Reopened)
	}
	v.Title = say.T("lead.title", "Missing", v.MissingV.Label, "Found", v.FoundV.Label)
	return v
}

func viewSide(say text.Printer, side api.LeadSide, regions regionNames) sideView {
	v := sideView{LeadSide: side, Say: say, Region: regions.of(side.Case.Region), Label: label(say, side.Case)}
	if v.Label != side.Case.Number {
		v.Number = side.Case.Number
	}
	if side.Age != nil {
		v.AgeIn = agedIn(say, *side.Age)
	}
	return v
}

// label is what a case is called: its names, else its number; of a case that may not be seen, that it is held elsewhere.
func label(say text.Printer, c api.Case) string {
	switch {
	case len(c.Names) > 0:
		return strings.Join(c.Names, " · ")
	case c.Number != "":
		return c.Number
	}
	return say.T("lead.held")
}

// oneDigit writes a power of ten as examiners read it. A minus is a minus, not a hyphen.
func oneDigit(x float64) string {
	out := strings.Replace(fmt.Sprintf("%.1f", x), "-", "−", 1)
	if out == "−0.0" {
		return "0.0"
	}
	return out
}

// waited is how long something waits, in words.
func waited(say text.Printer, d time.Duration) string {
	switch hours := int(d.Hours()); {
	case hours < 1:
		return say.T("desk.waits.new")
	case hours < 48:
		return say.T("desk.waits.hours", "Count", hours)
	default:
		return say.T("desk.waits.days", "Count", hours/24)
	}
}

// moment writes a time in UTC: a court file is read elsewhere than where it was printed.
func moment(say text.Printer, t time.Time) string {
	t = t.UTC()
	return say.T("lead.moment", "Date", say.Date(t.Format("2006-01-02")), "Time", t.Format("15:04"))
}

// leadPage is what examiners look at, and its print.
type leadPage struct {
	leadView
	Say      text.Printer
	Both     bool // the caller may see both sides
	Verdicts []verdictView
	Own      *verdictView // given by the caller in this round
	Judge    string       // "may", or why not
	DNA      []dnaView
	Labs     []string
	Asks     bool // the caller may ask for DNA now
	Adds     bool
	Reunites bool
	Whose    []registry.Whose
	Destroy  string // when reunited cases are destroyed
	Keep     int    // days that reunited cases are kept
	Data     pageEvidence
	// Of a print.
	PrintedAt, PrintedBy, Purpose string
}

// pageEvidence is what the page's script draws.
type pageEvidence struct {
	Sightings []api.Sighting `json:"sightings"`
	Pair      []api.Sighting `json:"pair"`
	Missing   string         `json:"missing"`
	Found     string         `json:"found"`
}

type verdictView struct {
	api.Verdict
	When string
}

// dnaView is a DNA request as pages show it.
type dnaView struct {
	api.DNARequest
	Say         text.Printer
	Asked, Told string
	Adds        bool
	Whose       []registry.Whose
}

func (s *Server) leadPage(c *gin.Context, template, action string) {
	ctx := c.Request.Context()
	p, err := s.seeLead(ctx, registry.LeadID(c.Param("lead")))
	if err == nil {
		err = s.lookedAtLead(ctx, p, action)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	page, err := s.leadOnPage(ctx, p)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	page.PrintedAt, page.PrintedBy, page.Purpose = moment(s.printer(ctx), time.Now()), caller(ctx).Name, caller(ctx).Purpose
	s.titled(c, http.StatusOK, template, page.Title, page)
}

func (s *Server) leadOnPage(ctx context.Context, p leadPair) (page leadPage, err error) {
	say := s.printer(ctx)
	regions, err := s.regionNames(ctx)
	if err != nil {
		return page, err
	}
	l, err := s.wholeLead(ctx, p)
	if err != nil {
		return page, err
	}
	page = leadPage{leadView: s.leadView(ctx, l, regions), Say: say, Both: p.both(), Whose: whoseSamples, Keep: int(registry.RetentionReunited.Hours() / 24)}
	page.Data = pageEvidence{Sightings: []api.Sighting{}, Missing: page.MissingV.Label, Found: page.FoundV.Label}
	if e := l.Evidence; e != nil {
		page.Data.Sightings, page.Data.Pair = e.Sightings, []api.Sighting{e.Pair.Probe, e.Pair.Reference}
	}
	if !p.missing.Destroy.IsZero() {
		page.Destroy = say.Date(p.missing.Destroy.UTC().Format("2006-01-02"))
	}
	for _, side := range []struct {
		sees        bool
		c           registry.Case
		other       registry.CaseID
		to          *sideView
		loudestFace string
	}{{p.seesMissing, p.missing, p.Found, &page.MissingV, l.Missing.Face}, {p.seesFound, p.found, p.Missing, &page.FoundV, l.Found.Face}} {
		if !side.sees {
			continue
		}
		if side.to.Photos, err = s.photoViews(ctx, side.c, side.loudestFace); err != nil {
			return page, err
		}
		if side.to.Others, err = s.otherViews(ctx, side.c, side.other, regions); err != nil {
			return page, err
		}
	}
	if err := s.verdictsOnPage(ctx, p, &page); err != nil {
		return page, err
	}
	return page, s.dnaOnPage(ctx, p, &page)
}

// photoViews are a case's photos, oldest first, with the child's age in each.
func (s *Server) photoViews(ctx context.Context, c registry.Case, loudest string) ([]photoView, error) {
	say := s.printer(ctx)
	photos, err := s.finder.Registry.PhotosOf(ctx, c.ID)
	out := make([]photoView, len(photos))
	for i, p := range photos {
		face, _ := p.Face(p.Subject) // none while undecided: the photo is shown whole
		at := s.sightingOf(c, p, face)
		out[i] = photoView{
			ID: string(p.ID), Face: at.Face, Taken: say.T("case.photo.undated"), Age: agedIn(say, at), Width: p.Width, Height: p.Height,
			Loudest: at.Face != "" && at.Face == loudest,
		}
		if at.Taken != "" {
			out[i].Taken = say.T("case.photo.taken", "Date", say.Date(at.Taken))
		}
	}
	return out, err
}

// otherViews are the strongest candidates for a case beside the lead's other side, with the leads that they are.
func (s *Server) otherViews(ctx context.Context, c registry.Case, except registry.CaseID, regions regionNames) (out []otherView, err error) {
	say := s.printer(ctx)
	found, err := s.finder.OtherCandidates(ctx, c.ID, except, mostOthers)
	if errors.Is(err, finder.ErrNoFaces) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		told := apiCandidate(f, s.finder.MostClaimed(), true, say)
		if err := s.withhold(ctx, &told); err != nil {
			return nil, err
		}
		v := otherView{Candidate: told, Label: label(say, told.Case), Region: regions.of(f.Case.Region), ScoreText: oneDigit(told.Score)}
		missing, other := c.ID, f.Case.ID
		if c.Gallery == registry.Found {
			missing, other = other, missing
		}
		l, err := s.finder.Registry.LeadOf(ctx, missing, other)
		if err != nil && !errors.Is(err, registry.ErrNotFound) {
			return nil, err
		}
		v.Lead, v.MissingID, v.FoundID = string(l.ID), missing, other
		out = append(out, v)
	}
	return out, nil
}

// verdictsOnPage fills in the verdicts that the caller may see, and whether they may give one.
func (s *Server) verdictsOnPage(ctx context.Context, p leadPair, page *leadPage) error {
	if !p.both() {
		page.Judge = "region"
		return nil
	}
	who := caller(ctx)
	all, err := s.verdicts(ctx, p.ID)
	if err != nil {
		return err
	}
	for _, v := range all {
		view := verdictView{v, moment(s.printer(ctx), v.At)}
		page.Verdicts = append(page.Verdicts, view)
		if v.Mine && v.Round == p.Round {
			page.Own = &view
		}
	}
	switch {
	case p.State != registry.LeadOpen && p.State != registry.LeadDisputed:
		page.Judge = "settled"
	case page.Own != nil:
		page.Judge = "judged"
	case !judge.may(who.Role):
		page.Judge = "role"
	case !p.open():
		page.Judge = "closed"
	case p.State == registry.LeadDisputed && who.Role != registry.Supervisor:
		page.Judge = "supervisor"
	case p.OpenedBy == who.Account || p.missing.ReportedBy == who.Account || p.found.ReportedBy == who.Account:
		page.Judge = "own"
	default:
		page.Judge = "may"
	}
	return nil
}

// dnaOnPage fills in what laboratories were asked, and what the caller may do next.
func (s *Server) dnaOnPage(ctx context.Context, p leadPair, page *leadPage) error {
	say, role := s.printer(ctx), caller(ctx).Role
	all, err := s.finder.Registry.DNAOf(ctx, p.ID)
	if err != nil {
		return err
	}
	for _, d := range all {
		told, err := s.apiDNA(ctx, d)
		if err != nil {
			return err
		}
		page.DNA = append(page.DNA, viewDNA(say, told, addSample.may(role)))
	}
	if page.Asks = p.State == registry.LeadPotential && p.open() && requestDNA.may(role); page.Asks {
		if page.Labs, err = s.finder.Registry.Laboratories(ctx); err != nil {
			return err
		}
	}
	page.Reunites = p.State == registry.LeadConfirmed && p.open() && p.both() && reunite.may(role)
	return nil
}

// viewDNA is a request as pages show it; adds says whether the caller may add samples to one that waits.
func viewDNA(say text.Printer, d api.DNARequest, adds bool) dnaView {
	return dnaView{
		DNARequest: d, Say: say, Asked: moment(say, d.RequestedAt), Told: say.Date(d.On), Adds: adds && d.Result == "", Whose: whoseSamples,
	}
}

// verdictPage shows what lay before an examiner.
type verdictPage struct {
	api.Frozen
	Say         text.Printer
	Given       verdictView
	FrozenAt    string
	Cases       []frozenCase
	ScoreText   string
	RecordsText string
}

// frozenCase is a case with its pictures as they were.
type frozenCase struct {
	api.Case
	Say    text.Printer
	Label  string
	Photos []frozenPhoto
}

type frozenPhoto struct {
	ID, Taken, Age string
	Kept           bool // its picture was
}

func (s *Server) verdictPage(c *gin.Context) {
	ctx := c.Request.Context()
	say := s.printer(ctx)
	f, given, err := s.frozen(ctx, c.Param("verdict"))
	if err == nil && f.Lead != c.Param("lead") {
		err = registry.ErrNotFound
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	kept := make(map[api.Exhibit]bool)
	for _, e := range f.Exhibits {
		kept[e] = true
	}
	ages := make(map[string]string) // of the photos that were compared
	if f.Evidence != nil {
		for _, at := range f.Evidence.Sightings {
			ages[at.Photo] = agedIn(say, at)
		}
	}
	p := verdictPage{
		Frozen: f, Say: say, Given: verdictView{given, moment(say, given.At)}, FrozenAt: moment(say, f.At), ScoreText: oneDigit(f.Score), RecordsText: oneDigit(f.Records),
	}
	for _, one := range []api.Case{f.Missing, f.Found} {
		v := frozenCase{Case: one, Say: say, Label: label(say, one)}
		for _, photo := range one.Photos {
			taken := say.T("case.photo.undated")
			if photo.Taken != "" {
				taken = say.T("case.photo.taken", "Date", say.Date(photo.Taken))
			}
			v.Photos = append(v.Photos, frozenPhoto{photo.ID, taken, ages[photo.ID], kept[api.Exhibit{Case: one.ID, Photo: photo.ID}]})
		}
		p.Cases = append(p.Cases, v)
	}
	s.titled(c, http.StatusOK, "verdict.html", say.T("verdict.page.title"), p)
}
