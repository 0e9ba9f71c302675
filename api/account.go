package api

import "time"

// Identity is who someone is to an agency's own sign-in (OpenID Connect).
type Identity struct {
	Issuer  string `json:"issuer" maxLength:"400" example:"https://login.agency.example"`
	Subject string `json:"subject" maxLength:"200"`
}

// NewAccount makes an account for someone on the staff.
type NewAccount struct {
	Login        string   `json:"login" minLength:"1" maxLength:"100" doc:"Letters, digits and any of . _ - @ +, such as an e-mail address."`
	Name         string   `json:"name" minLength:"1" maxLength:"200" doc:"Who it is, as colleagues know them."`
	Role         string   `json:"role" enum:"officer,examiner,supervisor,laboratory,auditor,administrator"`
	Regions      []string `json:"regions,omitempty" maxItems:"100" maxLength:"50" doc:"Codes of the regions that the account is responsible for; * is everywhere."`
	Organisation string   `json:"organisation,omitempty" maxLength:"200" doc:"Which laboratory, of a laboratory."`
	Language     string   `json:"language,omitempty" maxLength:"35" doc:"Of its pages; as the browser asks where it is empty."`
}

// AccountChange changes what it names. It counts at once, for sessions and keys under way too.
type AccountChange struct {
	Name         *string   `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Role         *string   `json:"role,omitempty" enum:"officer,examiner,supervisor,laboratory,auditor,administrator"`
	Regions      *[]string `json:"regions,omitempty" maxItems:"100" maxLength:"50"`
	Organisation *string   `json:"organisation,omitempty" maxLength:"200"`
	Language     *string   `json:"language,omitempty" maxLength:"35"`
	Identity     *Identity `json:"identity,omitempty" doc:"Both empty: none."`
	Disabled     *bool     `json:"disabled,omitempty" doc:"true also ends its invitation, its sessions and its keys."`
}

// Account is someone on the staff who may sign in.
type Account struct {
	ID           string     `json:"id" example:"a_k3v…"`
	Login        string     `json:"login,omitempty"`
	Name         string     `json:"name"`
	Role         string     `json:"role"`
	Regions      []string   `json:"regions" doc:"Codes; * is everywhere."`
	Organisation string     `json:"organisation,omitempty"`
	Language     string     `json:"language,omitempty"`
	Identity     *Identity  `json:"identity,omitempty"`
	State        string     `json:"state" enum:"active,invited,expired,keys,disabled" doc:"invited: not yet enrolled. expired: its invitation ran out. keys: programs only."`
	InvitedUntil *time.Time `json:"invited_until,omitempty" doc:"While an invitation can be taken up."`
	CreatedAt    time.Time  `json:"created_at"`
	DisabledAt   *time.Time `json:"disabled_at,omitempty"`
}

// Accounts are all of the staff's, oldest first.
type Accounts struct {
	Accounts []Account `json:"accounts"`
}

// Invitation is told once.
type Invitation struct {
	ID         string    `json:"id" doc:"Of the account."`
	Account    Account   `json:"account"`
	Invitation string    `json:"invitation" doc:"Path of the page on this server where it is taken up. It is told this once: give it to that person only." example:"/welcome/hi_k3v…"`
	Until      time.Time `json:"until"`
}

// Self is the caller's own account.
type Self struct {
	Account
	Purpose string `json:"purpose,omitempty" doc:"What the caller does this for, as stated."`
}

// Session is a browser that is signed in.
type Session struct {
	ID        string    `json:"id" example:"h_k3v…"`
	Device    string    `json:"device,omitempty" doc:"As the browser calls itself."`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at" doc:"To the minute."`
	ExpiresAt time.Time `json:"expires_at"`
	Present   bool      `json:"present,omitempty" doc:"The one that asks."`
}

// Sessions of an account that have not ended, newest first.
type Sessions struct {
	Sessions []Session `json:"sessions"`
}

// NewKey makes an access key.
type NewKey struct {
	Name string `json:"name" minLength:"1" maxLength:"100" doc:"What it is for."`
}

// Key is a program's way to act as an account.
type Key struct {
	ID        string     `json:"id" example:"k_k3v…"`
	Name      string     `json:"name"`
	CreatedAt time.Time  `json:"created_at"`
	LastUsed  *time.Time `json:"last_used,omitempty" doc:"To the minute."`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// Keys of an account, revoked ones too, oldest first.
type Keys struct {
	Keys []Key `json:"keys"`
}

// MadeKey is a key with its secret, which is told once.
type MadeKey struct {
	Key
	Secret string `json:"secret" doc:"For Authorization: Bearer. It is told this once."`
}

// RegionNames are a region's names by language.
type RegionNames struct {
	Names map[string]string `json:"names" minProperties:"1" maxProperties:"50" example:"{\"en\":\"Sichuan\",\"zh\":\"四川\"}"`
}

// Region is a part of the world that cases belong to.
type Region struct {
	Code  string            `json:"code" example:"CN-51" doc:"It covers the codes that go on behind it with a hyphen."`
	Names map[string]string `json:"names" doc:"By language."`
}

// Regions are all that are known, by code.
type Regions struct {
	Regions []Region `json:"regions"`
}
