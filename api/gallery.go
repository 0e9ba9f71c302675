package api

// NewFamilyLead says that a published child may be the family's own.
type NewFamilyLead struct {
	Note string `json:"note,omitempty" maxLength:"500" doc:"Why, in the family's own words."`
}

// Told is what a person is told.
type Told struct {
	Message string `json:"message"`
}
