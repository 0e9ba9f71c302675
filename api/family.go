package api

// Contact is how a family can be reached.
type Contact struct {
	Name     string `json:"name" maxLength:"200"`
	Relation string `json:"relation,omitempty" maxLength:"200" doc:"To the child, in the family's own words."`
	Phone    string `json:"phone,omitempty" maxLength:"50"`
	Email    string `json:"email,omitempty" maxLength:"254"`
}

// FamilyKey opens a family's case on another device. It is told once.
type FamilyKey struct {
	Link string `json:"link,omitempty" doc:"The family's private address; only where it is new."`
	Code string `json:"code" doc:"Good once." example:"K7QM-2XPD-9F4T"`
}

// NewFamilyLink asks for a new private address.
type NewFamilyLink struct {
	Sure bool `json:"sure" doc:"True: the address before ends, and all other devices are signed out."`
}
