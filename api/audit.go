package api

import "time"

// AuditEntry is one line of the record of who did what.
type AuditEntry struct {
	N       int64             `json:"n" doc:"Counts from 1 without gaps."`
	At      time.Time         `json:"at"`
	By      Person            `json:"by" doc:"Without an account for the public, the operator and what happens by itself."`
	Via     string            `json:"via,omitempty" doc:"Id of the session or key."`
	Action  string            `json:"action" example:"photo.looked"`
	Text    string            `json:"text" doc:"The action in words."`
	Case    string            `json:"case,omitempty"`
	Number  string            `json:"number,omitempty" doc:"The case's number; absent once the case is destroyed."`
	Subject string            `json:"subject,omitempty" doc:"Id of what else it is about."`
	Purpose string            `json:"purpose,omitempty" doc:"As stated."`
	Detail  map[string]string `json:"detail,omitempty" doc:"Ids, values and names of fields; never what is known of a child or a family."`
	Hash    string            `json:"hash" doc:"Chains the entry to all before it."`
}

// AuditPage is one page of the audit, newest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Next    string       `json:"next,omitempty" doc:"Cursor of the next page; absent on the last."`
}

// AuditVerification is what reading the whole chain found.
type AuditVerification struct {
	Intact  bool      `json:"intact"`
	Entries int64     `json:"entries" doc:"Entries that are as they were written, up to the first that is not."`
	Head    string    `json:"head" doc:"Hash of the last of them. Kept elsewhere, it shows later whether the registry was put back to an earlier state."`
	Fault   string    `json:"fault,omitempty" doc:"The first thing that does not fit."`
	At      time.Time `json:"at"`
}

// Unusual is an account that searches or looks much more than it used to.
type Unusual struct {
	By    Person  `json:"by"`
	Count int     `json:"count" doc:"Searches and looks at photos in the last day."`
	Usual float64 `json:"usual" doc:"A day's mean over the thirty days before."`
}

// UnusualVolume lists such accounts, the busiest first.
type UnusualVolume struct {
	Accounts []Unusual `json:"accounts"`
}
