package registry

import "context"

// AccountID names an account: "a_…".
type AccountID string

// Role says what an account is for. What each may do is the server's to say, in one table.
type Role string

const (
	Family        Role = "family"        // reported a case, and sees that one only
	Officer       Role = "officer"       // keeps the cases of its regions
	Examiner      Role = "examiner"      // compares, and judges leads
	Supervisor    Role = "supervisor"    // settles what examiners dispute, approves what is published
	Laboratory    Role = "laboratory"    // reports what DNA says
	Auditor       Role = "auditor"       // reads who did what
	Administrator Role = "administrator" // keeps accounts, and sees no case

	// Those without an account.
	Operator Role = "operator" // the command line, on the machine itself
	System   Role = "system"   // what happens by itself
	Visitor  Role = "visitor"  // the public
)

// Roles that an account can have.
var Roles = []Role{Family, Officer, Examiner, Supervisor, Laboratory, Auditor, Administrator}

// Staff are the roles that sign in with password and code.
func (r Role) Staff() bool { return r != Family && r != Operator && r != System && r != Visitor }

// Everywhere is the region of an account that is responsible for all of them.
const Everywhere = "*"

// Actor is who acts. Methods of Registry that change something note it in the audit as done by the actor of their context;
// without one it is the system's doing.
type Actor struct {
	Account      AccountID
	Role         Role
	Name         string // as shown to colleagues; the audit has the account's id only
	Regions      []string
	Organisation string // a laboratory's
	Language     string
	Case         CaseID // a family's own
	Via          string // id of the session or key; for the operator, the machine's user
	Purpose      string
}

type actorKey struct{}

// WithActor says who acts in ctx.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf says who acts in ctx: the system where nobody is named.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Role: System}
}

// Covers says whether an account responsible for the regions is responsible for one region. A case of no region belongs to
// everyone until someone gives it one: a gap in the record must not hide a child.
func Covers(regions []string, region string) bool {
	if region == "" {
		return true
	}
	for _, r := range regions {
		if r == Everywhere || r == region || len(region) > len(r) && region[:len(r)] == r && region[len(r)] == '-' {
			return true
		}
	}
	return false
}
