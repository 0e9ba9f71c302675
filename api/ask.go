package api

import "time"

// NewAsk asks to see a case of another region.
type NewAsk struct {
	Why string `json:"why" minLength:"1" maxLength:"1000"`
}

// Ask is a request to see a case of another region.
type Ask struct {
	ID         string     `json:"id"`
	Case       string     `json:"case"`
	Number     string     `json:"number" doc:"The case's number."`
	Region     string     `json:"region" doc:"That holds the case."`
	By         Person     `json:"by"`
	Why        string     `json:"why"`
	AskedAt    time.Time  `json:"asked_at"`
	Answer     string     `json:"answer,omitempty" enum:",granted,refused" doc:"Empty while it waits."`
	AnsweredBy *Person    `json:"answered_by,omitempty"`
	AnsweredAt *time.Time `json:"answered_at,omitempty"`
	Until      *time.Time `json:"until,omitempty" doc:"How long a granted case may be seen."`
}

// Asks are those that wait for the caller's answer, and the caller's own.
type Asks struct {
	Open []Ask `json:"open" doc:"Longest waiting first."`
	Own  []Ask `json:"own" doc:"Newest first."`
}

// AskAnswer answers an ask.
type AskAnswer struct {
	Grant bool `json:"grant"`
}

// NewSavedSearch saves a search under a name. One of the same name is replaced.
type NewSavedSearch struct {
	Name  string `json:"name" minLength:"1" maxLength:"100"`
	Query string `json:"query" maxLength:"4000" doc:"As the search page's address has it: words=…&gallery=found. A photo is never part of it." example:"gallery=found&words=birthmark"`
}

// SavedSearch is a search that its account comes back to.
type SavedSearch struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Query     string    `json:"query"`
	CreatedAt time.Time `json:"created_at"`
}
