package api

import "time"

// NewLead opens a lead by hand.
type NewLead struct {
	Missing string `json:"missing" maxLength:"64" doc:"Id of the missing child's case."`
	Found   string `json:"found" maxLength:"64" doc:"Id of the found child's case."`
	Note    string `json:"note,omitempty" maxLength:"2000" doc:"Why the two may be one child, for those who judge it."`
}

// Lead is a missing and a found case that may be one child.
type Lead struct {
	ID      string   `json:"id" example:"l_k3v…"`
	State   string   `json:"state" enum:"open,disputed,potential,no_candidate,inconclusive,dna,confirmed,excluded,reunited"`
	Source  string   `json:"source" enum:"standing,family,officer" doc:"Who opened it: the standing search, a family, or a member of staff."`
	Missing LeadSide `json:"missing"`
	Found   LeadSide `json:"found"`
	Score   float64  `json:"score" doc:"log10 of the likelihood ratio of one child against two, from faces and records. A lead, not a probability."`
	Faces   Evidence `json:"faces" doc:"What the faces say by themselves."`
	Records float64  `json:"records" doc:"log10 of what the records say beside the faces."`
	Note    string   `json:"note,omitempty" doc:"Of the families and officers who opened it. Left out for those who may see one side only."`
	Round   int      `json:"round" doc:"1, and one more each time rising evidence opened it again. A verdict names the round that was looked at."`
	Given   int      `json:"given" doc:"Verdicts given in this round, of two. What they found stays hidden until the round is settled."`
	// JudgedScore and Reopened tell of a lead that was judged before.
	JudgedScore *float64   `json:"judged_score,omitempty" doc:"The score that lay before those who judged it last."`
	Reopened    *time.Time `json:"reopened,omitempty" doc:"When rising evidence last opened it again."`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	ModelSet    string     `json:"model_set" doc:"The models that made the scores."`
	// Evidence is filled when one lead is read by someone who may see both sides.
	Evidence *Candidate `json:"evidence,omitempty" doc:"The found case as a candidate for the missing one, with all that it rests on. Only when one lead is read."`
	Facts    []Fact     `json:"facts,omitempty" doc:"What both records say, row by row. Only when one lead is read."`
	Caution  string     `json:"caution"`
}

// LeadSide is one of a lead's two cases.
type LeadSide struct {
	Case Case `json:"case"`
	// HeldBy is set where the caller may not see the case.
	HeldBy string `json:"held_by,omitempty" doc:"Region that holds the case. You are shown no more of it: ask for a look with POST /cases/{case}/asks."`
	Face   string `json:"face,omitempty" doc:"The face that speaks loudest; its picture is at /faces/{face}/chip."`
	Photo  string `json:"photo,omitempty" doc:"The photo that it is in."`
	// Age is of that face.
	Age *Sighting `json:"age,omitempty" doc:"How old the child is in it."`
}

// Fact is one thing that both records may say.
type Fact struct {
	Fact    string `json:"fact" enum:"sex,birth,order,names,marks"`
	Missing string `json:"missing,omitempty"`
	Found   string `json:"found,omitempty"`
	Says    string `json:"says" enum:"agree,differ,compare,unknown" doc:"compare: both say something that only a person can compare."`
	Text    string `json:"text,omitempty" doc:"Why, in words."`
}

// LeadPage is one page of a list of leads.
type LeadPage struct {
	Leads   []Lead `json:"leads"`
	Next    string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last."`
	Caution string `json:"caution"`
}

// NewVerdict is a verdict as it is given.
type NewVerdict struct {
	Round   int    `json:"round" minimum:"1" doc:"The round you looked at."`
	Finding string `json:"finding" enum:"potential_candidate,no_candidate,inconclusive"`
	Reasons string `json:"reasons" maxLength:"4000" doc:"What the finding rests on: which features agree and which differ."`
}

// Verdict is what one person found in a lead.
type Verdict struct {
	ID      string    `json:"id" example:"v_k3v…"`
	Lead    string    `json:"lead"`
	Round   int       `json:"round"`
	Seat    string    `json:"seat" enum:"first,second,supervisor"`
	By      string    `json:"by" doc:"Who gave it."`
	Mine    bool      `json:"mine" doc:"The caller gave it."`
	Finding string    `json:"finding" enum:"potential_candidate,no_candidate,inconclusive"`
	Reasons string    `json:"reasons"`
	At      time.Time `json:"at"`
	State   string    `json:"state,omitempty" doc:"The lead's state after it. Only in the answer to giving one."`
}

// Verdicts lists the verdicts that the caller may see.
type Verdicts struct {
	Verdicts []Verdict `json:"verdicts" doc:"Oldest first: your own, and those of rounds that are settled; a supervisor sees those of a disputed round too."`
}

// Frozen is what lay before an examiner, as it was at the moment of the verdict.
type Frozen struct {
	Verdict  string     `json:"verdict"`
	Lead     string     `json:"lead"`
	Round    int        `json:"round"`
	At       time.Time  `json:"at"`
	Missing  Case       `json:"missing"`
	Found    Case       `json:"found"`
	Score    float64    `json:"score"`
	Records  float64    `json:"records"`
	Note     string     `json:"note,omitempty"`
	Evidence *Candidate `json:"evidence,omitempty" doc:"Absent where one of the cases had no face to compare."`
	Facts    []Fact     `json:"facts"`
	ModelSet string     `json:"model_set"`
	Exhibits []Exhibit  `json:"exhibits" doc:"The pictures that were kept, at /exhibits/{case}/{photo}."`
}

// Exhibit names a picture that was kept as an examiner saw it.
type Exhibit struct {
	Case  string `json:"case"`
	Photo string `json:"photo"`
}
