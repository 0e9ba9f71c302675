package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/gin-gonic/gin"

	"homeward/registry"
)

// This file says who may do what: a right is a list of roles, and every route asks for one right. A route that is not listed
// does not start. What belongs to whom within a right (a family's own case, an officer's regions, a laboratory's requests)
// is asked where the thing is read: see owned.go.

// right is what a route asks for.
type right string

const (
	anyone       right = "anyone"
	signedIn     right = "signed in"
	staff        right = "staff"
	ownCase      right = "keep the own case" // a family's
	seeCase      right = "see a case"
	editCase     right = "edit a case"
	listCases    right = "list cases"
	makeCase     right = "make a case"
	deleteCase   right = "delete a case"
	search       right = "search"
	seeLeads     right = "see leads"
	openLead     right = "open a lead"
	judge        right = "judge a lead"
	publish      right = "propose and approve what is published"
	seeDNA       right = "see DNA requests"
	requestDNA   right = "request DNA"
	addSample    right = "add DNA samples"
	reportDNA    right = "report a DNA result"
	reunite      right = "record a reunion"
	grantLook    right = "let another region look"
	seeHistory   right = "see a case's history"
	readAudit    right = "read the audit"
	keepAccounts right = "keep accounts"
	seeService   right = "see how the service does"
	keepService  right = "see and steer bulk work"
)

// mayRight lists the roles that have each right. Visitors are whoever has not signed in.
var mayRight = map[right][]registry.Role{
	anyone:       {registry.Visitor, registry.Family, registry.Officer, registry.Examiner, registry.Supervisor, registry.Laboratory, registry.Auditor, registry.Administrator},
	signedIn:     {registry.Family, registry.Officer, registry.Examiner, registry.Supervisor, registry.Laboratory, registry.Auditor, registry.Administrator},
	staff:        {registry.Officer, registry.Examiner, registry.Supervisor, registry.Laboratory, registry.Auditor, registry.Administrator},
	ownCase:      {registry.Family},
	seeCase:      {registry.Family, registry.Officer, registry.Examiner, registry.Supervisor},
	editCase:     {registry.Family, registry.Officer, registry.Supervisor},
	listCases:    {registry.Officer, registry.Examiner, registry.Supervisor},
	makeCase:     {registry.Officer, registry.Supervisor},
	deleteCase:   {registry.Supervisor},
	search:       {registry.Officer, registry.Examiner, registry.Supervisor},
	seeLeads:     {registry.Officer, registry.Examiner, registry.Supervisor},
	openLead:     {registry.Officer, registry.Examiner, registry.Supervisor},
	judge:        {registry.Examiner, registry.Supervisor},
	publish:      {registry.Officer, registry.Supervisor},
	seeDNA:       {registry.Officer, registry.Examiner, registry.Supervisor, registry.Laboratory},
	requestDNA:   {registry.Officer, registry.Examiner, registry.Supervisor},
	addSample:    {registry.Officer, registry.Supervisor, registry.Laboratory},
	reportDNA:    {registry.Laboratory},
	reunite:      {registry.Officer, registry.Supervisor},
	grantLook:    {registry.Officer, registry.Supervisor},
	seeHistory:   {registry.Officer, registry.Examiner, registry.Supervisor, registry.Auditor},
	readAudit:    {registry.Auditor},
	keepAccounts: {registry.Administrator},
	seeService:   {registry.Officer, registry.Examiner, registry.Supervisor, registry.Auditor, registry.Administrator},
	keepService:  {registry.Administrator},
}

// rule is what a route asks of whoever calls it.
type rule struct {
	right
	// purpose says that staff must have stated what they are doing this for.
	purpose bool
	// limit bounds how often; see limits.go.
	limit limit
}

// rules has every route.
var rules = map[string]rule{
	// The service itself.
	"GET /api/v1/health":           {right: anyone},
	"GET /api/v1/ready":            {right: anyone},
	"GET /api/v1/docs":             {right: anyone},
	"GET /api/v1/docs/*file":       {right: anyone},
	"GET /api/v1/openapi.json":     {right: anyone},
	"GET /api/v1/openapi.yaml":     {right: anyone},
	"GET /api/v1/openapi-3.0.json": {right: anyone},
	"GET /api/v1/openapi-3.0.yaml": {right: anyone},
	"GET /api/v1/schemas/:schema":  {right: anyone},
	"GET /api/v1/models":           {right: seeService},
	"GET /metrics":                 {right: seeService},
	"GET /static/*file":            {right: anyone},
	"GET /text/:file":              {right: anyone},
	"GET /language":                {right: anyone},
	"GET /":                        {right: anyone},

	// Coming and going.
	"GET /signin":               {right: anyone},
	"POST /signin":              {right: anyone, limit: perAddress},
	"POST /signout":             {right: anyone},
	"GET /welcome/:invitation":  {right: anyone, limit: perAddress},
	"POST /welcome/:invitation": {right: anyone, limit: perAddress},
	"GET /oidc/start":           {right: anyone, limit: perAddress},
	"GET /oidc/callback":        {right: anyone, limit: perAddress},
	"POST /oidc/code":           {right: anyone, limit: perAddress},
	"GET /purpose":              {right: staff},
	"POST /purpose":             {right: staff},

	// Cases and photos.
	"POST /api/v1/cases":                  {right: makeCase},
	"GET /api/v1/cases":                   {right: listCases, purpose: true},
	"GET /api/v1/cases/:case":             {right: seeCase, purpose: true},
	"PATCH /api/v1/cases/:case":           {right: editCase},
	"DELETE /api/v1/cases/:case":          {right: deleteCase},
	"POST /api/v1/cases/:case/close":      {right: editCase},
	"POST /api/v1/cases/:case/reopen":     {right: editCase},
	"POST /api/v1/cases/:case/photos":     {right: editCase, limit: perUpload},
	"GET /api/v1/cases/:case/photos":      {right: seeCase, purpose: true},
	"GET /api/v1/photos/:photo":           {right: seeCase, purpose: true},
	"PATCH /api/v1/photos/:photo":         {right: editCase},
	"DELETE /api/v1/photos/:photo":        {right: editCase},
	"GET /api/v1/photos/:photo/original":  {right: seeCase, purpose: true},
	"GET /api/v1/photos/:photo/rendition": {right: seeCase, purpose: true},
	"GET /api/v1/faces/:face/chip":        {right: seeCase, purpose: true},
	"GET /cases/:case":                    {right: listCases, purpose: true},

	// Families and the public.
	"GET /report":                       {right: anyone},
	"POST /report":                      {right: anyone, limit: perReport},
	"GET /f/:link":                      {right: anyone, limit: perCode},
	"POST /f/:link":                     {right: anyone, limit: perCode},
	"GET /family":                       {right: ownCase},
	"GET /family/here":                  {right: ownCase, limit: perSearch},
	"GET /family/export":                {right: ownCase, limit: perExport},
	"PUT /api/v1/family/contact":        {right: ownCase},
	"POST /api/v1/family/codes":         {right: ownCase},
	"POST /api/v1/family/links":         {right: ownCase},
	"DELETE /api/v1/family/receipt":     {right: ownCase},
	"POST /api/v1/cases/:case/uploads":  {right: editCase, limit: perUpload},
	"HEAD /api/v1/uploads/:upload":      {right: editCase},
	"PATCH /api/v1/uploads/:upload":     {right: editCase},
	"DELETE /api/v1/uploads/:upload":    {right: editCase},
	"GET /gallery":                      {right: anyone, limit: perGallery},
	"GET /gallery/:child":               {right: anyone, limit: perGallery},
	"GET /gallery/pictures/:picture":    {right: anyone, limit: perGallery},
	"POST /api/v1/gallery/:child/leads": {right: ownCase},

	// Leads, verdicts, DNA, reunions.
	"GET /api/v1/leads":                    {right: seeLeads, purpose: true},
	"POST /api/v1/leads":                   {right: openLead, purpose: true},
	"GET /api/v1/leads/:lead":              {right: seeLeads, purpose: true},
	"GET /api/v1/leads/:lead/verdicts":     {right: seeLeads, purpose: true},
	"POST /api/v1/leads/:lead/verdicts":    {right: judge},
	"GET /api/v1/verdicts/:verdict/frozen": {right: seeLeads, purpose: true},
	"GET /api/v1/exhibits/:case/:photo":    {right: seeLeads, purpose: true},
	"POST /api/v1/leads/:lead/dna":         {right: requestDNA},
	"GET /api/v1/dna":                      {right: seeDNA, purpose: true},
	"GET /api/v1/dna/:request":             {right: seeDNA, purpose: true},
	"POST /api/v1/dna/:request/samples":    {right: addSample},
	"POST /api/v1/dna/:request/result":     {right: reportDNA},
	"POST /api/v1/leads/:lead/reunion":     {right: reunite},
	"GET /desk":                            {right: seeLeads, purpose: true},
	"GET /leads/:lead":                     {right: seeLeads, purpose: true},
	"GET /leads/:lead/print":               {right: seeLeads, purpose: true},
	"GET /leads/:lead/verdicts/:verdict":   {right: seeLeads, purpose: true},
	"GET /dna":                             {right: seeDNA, purpose: true},

	// Publications, groups of found children, history, asks, saved searches.
	"GET /found/new": {right: makeCase, purpose: true},
	"GET /api/v1/galleries/:gallery/cases/:ref": {right: makeCase, purpose: true},
	"GET /cases":                                              {right: listCases, purpose: true},
	"GET /cases/:case/publish":                                {right: publish, purpose: true},
	"GET /publications":                                       {right: publish, purpose: true},
	"GET /api/v1/photos/:photo/portrait":                      {right: publish, purpose: true},
	"POST /api/v1/cases/:case/publications":                   {right: publish},
	"GET /api/v1/cases/:case/publications":                    {right: publish, purpose: true},
	"GET /api/v1/publications":                                {right: publish, purpose: true},
	"POST /api/v1/publications/:publication/decision":         {right: publish},
	"POST /api/v1/publications/:publication/removal":          {right: publish},
	"POST /api/v1/publications/:publication/removal/decision": {right: publish},
	"GET /api/v1/publications/:publication/pictures/:picture": {right: publish, purpose: true},
	"GET /cases/:case/history":                                {right: seeHistory, purpose: true},
	"GET /api/v1/cases/:case/history":                         {right: seeHistory, purpose: true},
	"GET /asks":                                               {right: listCases},
	"GET /api/v1/asks":                                        {right: listCases},
	"POST /api/v1/cases/:case/asks":                           {right: listCases, limit: perSearch},
	"POST /api/v1/asks/:ask/answer":                           {right: grantLook},
	"POST /api/v1/saved-searches":                             {right: search},
	"GET /api/v1/saved-searches":                              {right: search},
	"DELETE /api/v1/saved-searches/:saved":                    {right: search},

	// Accounts, regions, audit.
	"GET /api/v1/accounts":                               {right: keepAccounts},
	"POST /api/v1/accounts":                              {right: keepAccounts},
	"PATCH /api/v1/accounts/:account":                    {right: keepAccounts},
	"POST /api/v1/accounts/:account/invitation":          {right: keepAccounts},
	"GET /api/v1/accounts/:account/sessions":             {right: keepAccounts},
	"DELETE /api/v1/accounts/:account/sessions":          {right: keepAccounts},
	"DELETE /api/v1/accounts/:account/sessions/:session": {right: keepAccounts},
	"GET /api/v1/accounts/:account/keys":                 {right: keepAccounts},
	"POST /api/v1/accounts/:account/keys":                {right: keepAccounts},
	"DELETE /api/v1/keys/:key":                           {right: keepAccounts},
	"GET /accounts":                                      {right: keepAccounts},
	"GET /accounts/:account":                             {right: keepAccounts},
	"GET /api/v1/account":                                {right: staff},
	"GET /api/v1/account/sessions":                       {right: staff},
	"DELETE /api/v1/account/sessions":                    {right: staff},
	"DELETE /api/v1/account/sessions/:session":           {right: staff},
	"GET /account":                                       {right: staff},
	"GET /api/v1/regions":                                {right: anyone},
	"PUT /api/v1/regions/:code":                          {right: keepAccounts},
	"GET /api/v1/audit":                                  {right: readAudit},
	"GET /api/v1/audit.csv":                              {right: readAudit},
	"GET /api/v1/audit/verification":                     {right: readAudit, limit: perVerification},
	"GET /api/v1/audit/volume":                           {right: readAudit},
	"GET /audit":                                         {right: readAudit},

	// Bulk work.
	"GET /api/v1/jobs":              {right: keepService},
	"GET /api/v1/jobs/:job":         {right: keepService},
	"POST /api/v1/jobs/:job/pause":  {right: keepService},
	"POST /api/v1/jobs/:job/resume": {right: keepService},
	"POST /api/v1/jobs/:job/cancel": {right: keepService},
	"GET /jobs":                     {right: keepService},

	// Searches.
	"POST /api/v1/searches":        {right: search, purpose: true, limit: perSearch},
	"GET /api/v1/searches/:search": {right: search, purpose: true, limit: perSearch},
	"GET /search":                  {right: search, purpose: true},
}

// may says whether the role has the right.
func (r right) may(role registry.Role) bool { return slices.Contains(mayRight[r], role) }

// checkRules makes sure that every route has a rule and every rule a route.
func (s *Server) checkRules() error {
	var errs []error
	seen := make(map[string]bool)
	for _, r := range s.engine.Routes() {
		route := r.Method + " " + r.Path
		seen[route] = true
		if _, ok := rules[route]; !ok {
			errs = append(errs, fmt.Errorf("route %s has no rule: say in access.go who may call it", route))
		}
	}
	for route, rule := range rules {
		if !seen[route] {
			errs = append(errs, fmt.Errorf("access.go has a rule for %s, which is no route", route))
		}
		if len(mayRight[rule.right]) == 0 {
			errs = append(errs, fmt.Errorf("access.go says of nobody that they may %s", rule.right))
		}
	}
	return errors.Join(errs...)
}

// authorise asks the rule of the route. A path that is no route answers strangers like one that they may not call.
func (s *Server) authorise(c *gin.Context) {
	actor := registry.ActorOf(c.Request.Context())
	rule, known := rules[c.Request.Method+" "+c.FullPath()]
	if !known {
		rule.right = signedIn
	}
	switch {
	case !rule.may(actor.Role) && actor.Role == registry.Visitor:
		s.turnAway(c)
	case !rule.may(actor.Role):
		s.refuse(c, newProblem(http.StatusForbidden, "forbidden", "Your account may not do this. Ask your administrator if you should."))
	case rule.limit.name != "" && !s.moderate(c, rule.limit):
		c.Header("Retry-After", "60")
		s.refuse(c, newProblem(http.StatusTooManyRequests, "too_many", "That was too often in a short time. Wait a minute and try again."))
	case rule.purpose && actor.Role.Staff() && actor.Purpose == "":
		if isPage(c.Request) {
			c.Redirect(http.StatusSeeOther, "/purpose?back="+url.QueryEscape(c.Request.URL.RequestURI()))
			c.Abort()
			return
		}
		s.refuse(c, newProblem(http.StatusPreconditionRequired, "no_purpose", "Say first what you are doing this for: on the page /purpose, or in the header Homeward-Purpose."))
	}
}

// turnAway answers who has not signed in.
func (s *Server) turnAway(c *gin.Context) {
	if isPage(c.Request) {
		c.Redirect(http.StatusSeeOther, "/signin?back="+url.QueryEscape(c.Request.URL.RequestURI()))
		c.Abort()
		return
	}
	c.Header("WWW-Authenticate", `Bearer realm="Homeward"`)
	s.refuse(c, newProblem(http.StatusUnauthorized, "no_key",
		"Sign in, or send a valid key as `Authorization: Bearer KEY`. `homeward key add` makes one; a revoked or mistyped key is refused."))
}

// refuse ends a request, with a page for people and a problem for programs.
func (s *Server) refuse(c *gin.Context, err error) {
	if isPage(c.Request) {
		s.problemPage(c, err)
		c.Abort()
		return
	}
	s.abort(c, err)
}

// caller is who asks.
func caller(ctx context.Context) registry.Actor { return registry.ActorOf(ctx) }

// Routes lists every route, as "METHOD /path", in order.
func Routes() []string { return slices.Sorted(maps.Keys(rules)) }

// May says whether a role may call a route.
func May(route string, role registry.Role) bool { return rules[route].may(role) }
