package api

import "time"

// NewPublication is what an officer proposes to publish of a found child. The server makes the pictures itself.
type NewPublication struct {
	Photos  []string `json:"photos" minItems:"1" maxItems:"6" maxLength:"64" doc:"Ids of photos of the case in which the child's face is known. A portrait is made of each."`
	Sex     string   `json:"sex,omitempty" enum:",female,male"`
	AgeFrom int      `json:"age_from" minimum:"0" maximum:"30" doc:"Estimated age in years when the child was found: at least."`
	AgeTo   int      `json:"age_to" minimum:"0" maximum:"30" doc:"At most."`
	FoundOn string   `json:"found_on,omitempty" maxLength:"10" doc:"A month or a year: 2009-05 or 2009. Never the day." example:"2009-05"`
	Place   string   `json:"place,omitempty" maxLength:"300" doc:"Coarse: a city or county. Never an address, nor where the child is now."`
	Region  string   `json:"region,omitempty" maxLength:"40" doc:"Code of the region."`
	Marks   string   `json:"marks,omitempty" maxLength:"2000" doc:"Marks by which a family may know the child."`
}

// Publication is what the public sees, or will see, of a found child, and how far it has come.
type Publication struct {
	ID         string             `json:"id" doc:"Tells nothing of the case."`
	Case       string             `json:"case"`
	Number     string             `json:"number" doc:"The case's number."`
	State      string             `json:"state" enum:"proposed,refused,published,removal,removed" doc:"proposed and removal wait for a second person."`
	Sex        string             `json:"sex,omitempty"`
	AgeFrom    int                `json:"age_from"`
	AgeTo      int                `json:"age_to"`
	FoundOn    string             `json:"found_on,omitempty"`
	Place      string             `json:"place,omitempty"`
	Region     string             `json:"region,omitempty"`
	Marks      string             `json:"marks,omitempty"`
	Pictures   []PublishedPicture `json:"pictures"`
	ProposedBy Person             `json:"proposed_by"`
	ProposedAt time.Time          `json:"proposed_at"`
	DecidedBy  *Person            `json:"decided_by,omitempty"`
	DecidedAt  *time.Time         `json:"decided_at,omitempty"`
	RemovalBy  *Person            `json:"removal_by,omitempty" doc:"Who asked for its removal."`
	RemovalWhy string             `json:"removal_why,omitempty"`
	RemovalAt  *time.Time         `json:"removal_at,omitempty"`
	MayDecide  bool               `json:"may_decide,omitempty" doc:"It waits, and you may decide: you are not who proposed it or asked for its removal."`
}

// PublishedPicture names a picture of a publication.
type PublishedPicture struct {
	ID    string `json:"id"`
	Photo string `json:"photo" doc:"The photo that it was made of."`
}

// Person is who did something, as colleagues know them.
type Person struct {
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty" doc:"Empty for a family, for the service itself, and for an account that is gone."`
	Role    string `json:"role,omitempty"`
}

// PublicationDecision is the second person's.
type PublicationDecision struct {
	Publish bool `json:"publish"`
}

// NewRemoval asks that a published child be shown no longer.
type NewRemoval struct {
	Why string `json:"why" minLength:"1" maxLength:"1000"`
}

// RemovalDecision is the second person's.
type RemovalDecision struct {
	Remove bool `json:"remove" doc:"false shows the child again."`
}

// HistoryPage is one page of what was done with a case, newest first.
type HistoryPage struct {
	Entries []HistoryEntry `json:"entries"`
	Next    string         `json:"next,omitempty" doc:"Cursor of the next page; absent on the last."`
}

// HistoryEntry is one line of a case's history.
type HistoryEntry struct {
	N       int64     `json:"n" doc:"The entry's number in the audit."`
	At      time.Time `json:"at"`
	Action  string    `json:"action" example:"case.created"`
	Text    string    `json:"text" doc:"The same in words."`
	Fields  string    `json:"fields,omitempty" doc:"Names of the facts that changed."`
	By      Person    `json:"by"`
	Subject string    `json:"subject,omitempty" doc:"Id of what else it is about: a photo, a lead, a publication."`
	Purpose string    `json:"purpose,omitempty" doc:"As whoever did it stated it."`
}
