// Package api holds the types that travel between Homeward's server and its clients. The server generates its OpenAPI
// description from them, and package client speaks them.
package api

import "time"

// Caution stands in every answer that ranks candidates.
const Caution = "A score is a lead for people and DNA to settle. It never identifies a child."

// CaseFacts is what is known about a child, as a client writes it.
type CaseFacts struct {
	Names  []string `json:"names,omitempty" maxItems:"20" maxLength:"200" doc:"Every name the child is known by, in any script. May be empty for a found child." example:"[\"Li Example\"]"`
	Sex    string   `json:"sex,omitempty" enum:",female,male" doc:"Empty when unknown."`
	Born   Range    `json:"born,omitzero" doc:"Date of birth, or the range it lies in."`
	Place  string   `json:"place,omitempty" maxLength:"300" doc:"Where the child disappeared (missing) or was found (found)."`
	On     string   `json:"on,omitempty" maxLength:"10" doc:"When: 2009, 2009-05 or 2009-05-17." example:"2009-05"`
	Marks  string   `json:"marks,omitempty" maxLength:"2000" doc:"Birthmarks, scars, moles and other marks."`
	Notes  string   `json:"notes,omitempty" maxLength:"10000"`
	Ref    string   `json:"ref,omitempty" maxLength:"200" doc:"Your own reference for the case, such as a record number. Unique within a gallery."`
	Region string   `json:"region,omitempty" maxLength:"40" doc:"Code of the region that is responsible for the case; empty while nobody has said."`
}

// Range is a date, or the two dates it lies between, each to the precision known.
type Range struct {
	From string `json:"from,omitempty" maxLength:"10" doc:"2009, 2009-05 or 2009-05-17." example:"2006"`
	To   string `json:"to,omitempty" maxLength:"10" doc:"Left empty it equals from." example:"2007"`
}

// NewCase creates a case.
type NewCase struct {
	Gallery string `json:"gallery" enum:"missing,found" doc:"missing: a family seeks a child. found: a child seeks a family."`
	CaseFacts
}

// CaseChange changes the facts that it names and leaves the others.
type CaseChange struct {
	Version int64     `json:"version" minimum:"1" doc:"The version you read. If someone changed the case since, nothing is changed and the answer is 409."`
	Names   *[]string `json:"names,omitempty" maxItems:"20" maxLength:"200"`
	Sex     *string   `json:"sex,omitempty" enum:",female,male"`
	Born    *Range    `json:"born,omitempty"`
	Place   *string   `json:"place,omitempty" maxLength:"300"`
	On      *string   `json:"on,omitempty" maxLength:"10"`
	Marks   *string   `json:"marks,omitempty" maxLength:"2000"`
	Notes   *string   `json:"notes,omitempty" maxLength:"10000"`
	Ref     *string   `json:"ref,omitempty" maxLength:"200"`
	Region  *string   `json:"region,omitempty" maxLength:"40"`
	// Verified is for staff.
	Verified *string `json:"verified,omitempty" maxLength:"200" doc:"The police report's number, once an officer has checked a family's report. Families cannot set it."`
}

// Case is a case as the server tells it.
type Case struct {
	ID      string `json:"id" example:"c_k3v…"`
	Gallery string `json:"gallery" enum:"missing,found"`
	Number  string `json:"number" doc:"The number people use: M-000123-7." example:"M-000123-7"`
	CaseFacts
	Status     string     `json:"status" enum:"open,closed" doc:"Only open cases are candidates unless a search asks for closed ones."`
	ClosedAs   string     `json:"closed_as,omitempty" enum:",closed,withdrawn,reunited"`
	DestroyAt  *time.Time `json:"destroy_at,omitempty" doc:"When a closed case will be destroyed with its photos."`
	Verified   string     `json:"verified,omitempty" doc:"The police report's number, where an officer has checked a family's report."`
	ByFamily   bool       `json:"by_family,omitempty" doc:"A family reported it."`
	Version    int64      `json:"version"`
	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	PhotoCount int        `json:"photo_count"`
	Photos     []Photo    `json:"photos,omitempty" doc:"Filled when one case is read, oldest photo first."`
}

// CasePage is one page of a list of cases.
type CasePage struct {
	Cases []Case `json:"cases"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last."`
}

// Photo is a photo of a case, or the one a search was made with (then without id and case).
type Photo struct {
	ID      string     `json:"id,omitempty"`
	Case    string     `json:"case,omitempty"`
	Name    string     `json:"name,omitempty" doc:"File name on the uploader's device."`
	Format  string     `json:"format"`
	Size    int64      `json:"size,omitempty" doc:"Bytes of the original."`
	Width   int        `json:"width" doc:"Pixels, after the photo's orientation is applied."`
	Height  int        `json:"height"`
	Taken   string     `json:"taken,omitempty" doc:"When it was taken, to the precision known."`
	TakenBy string     `json:"taken_by,omitempty" enum:",exif,person" doc:"Who says when it was taken."`
	State   string     `json:"state" enum:"queued,analysed,set_aside" doc:"queued: its faces are not known yet. set_aside: analysis failed; reason says how."`
	Reason  string     `json:"reason,omitempty"`
	Subject string     `json:"subject,omitempty" doc:"The face that is the child's own."`
	Needs   string     `json:"needs,omitempty" enum:",choose_subject,better_photo,another_photo,wait" doc:"What the photo needs before it can find or be found."`
	Message string     `json:"message,omitempty" doc:"The same in words, for the person who sent it."`
	AddedAt *time.Time `json:"added_at,omitempty"`
	Faces   []Face     `json:"faces" doc:"Largest first."`
	// Duplicate is set on the answer to an upload of a photo that the case already has.
	Duplicate bool `json:"duplicate,omitempty" doc:"The case already has this photo; this is the one that exists."`
}

// PhotoChange changes what it names and leaves the rest.
type PhotoChange struct {
	Taken   *string `json:"taken,omitempty" maxLength:"10" doc:"When it was taken: 2009, 2009-05, 2009-05-17, or empty for unknown."`
	Subject *string `json:"subject,omitempty" maxLength:"64" doc:"Id of the face that is the child's own; empty for none of them."`
}

// Face is one detected face.
type Face struct {
	ID         string        `json:"id,omitempty" doc:"Absent for faces of a search's own photo: those are named by their place in the list."`
	Box        Box           `json:"box"`
	Landmarks  [5][2]float32 `json:"landmarks" doc:"Left eye, right eye, nose, left and right mouth corner, as seen by the viewer."`
	Score      float32       `json:"score" doc:"How sure the detector is, 0 to 1."`
	Age        float32       `json:"age" doc:"Estimated age in years."`
	AgeSD      float32       `json:"age_sd" doc:"Spread of that estimate in years; it is often wrong by more for children."`
	Quality    float32       `json:"quality" doc:"0 useless to 1 a sharp, frontal, large face."`
	Searchable bool          `json:"searchable" doc:"False when the face is too poor to search or be found with."`
	Reasons    []string      `json:"reasons,omitempty" doc:"Why the quality is low, in plain words."`
}

// Box is in pixels of the photo after its orientation is applied.
type Box struct {
	X      float32 `json:"x"`
	Y      float32 `json:"y"`
	Width  float32 `json:"width"`
	Height float32 `json:"height"`
}

// SearchByEnrolled searches with what is enrolled: one face, or all faces of a case together. Exactly one is given.
type SearchByEnrolled struct {
	Face string `json:"face,omitempty" maxLength:"64" doc:"Id of an enrolled face."`
	Case string `json:"case,omitempty" maxLength:"64" doc:"Id of a case: all its photos search together, which finds more than any one of them."`
}

// Search is a search and one page of its candidates.
type Search struct {
	ID         string      `json:"id" doc:"Read more pages, or pick another face, at /searches/{id}."`
	Expires    time.Time   `json:"expires"`
	Photo      *Photo      `json:"photo,omitempty" doc:"What was found in the photo that was sent. The photo itself is not kept."`
	Face       *int        `json:"face,omitempty" doc:"Which of photo.faces searches; absent while you have to choose."`
	Message    string      `json:"message,omitempty" doc:"What to do next, in words: choose a face, send a better photo."`
	Gallery    string      `json:"gallery" enum:"missing,found" doc:"The gallery searched."`
	Candidates []Candidate `json:"candidates" doc:"Strongest first."`
	Next       string      `json:"next,omitempty" doc:"Cursor of the next page; absent on the last."`
	Caution    string      `json:"caution"`
	ModelSet   string      `json:"model_set" doc:"The models that made the scores; scores of two sets cannot be compared."`
}

// Candidate is a case that may be the same child.
type Candidate struct {
	Rank int `json:"rank" doc:"1 is the strongest."`
	// Score is what ranks.
	Score        float64  `json:"score" doc:"What ranks: log10 of the likelihood ratio of one child against two, from the faces and, unless switched off, the records. Not a probability that it is the child."`
	Faces        Evidence `json:"faces" doc:"What the faces say, all photos of the case taken together."`
	Plausibility Records  `json:"plausibility" doc:"What the records say beside the faces."`
	Case         Case     `json:"case"`
	// HeldBy is set where the caller may not see the case.
	HeldBy string `json:"held_by,omitempty" doc:"Region that holds the case. You are shown no more of it: ask for a look with POST /cases/{case}/asks."`
	// Photo and Face are the pair's enrolled side.
	Photo     Photo      `json:"photo" doc:"The photo that carried the score, with its faces."`
	Face      Face       `json:"face" doc:"The face in it that carried the score."`
	Pair      Pair       `json:"pair" doc:"The two faces that speak loudest for one child."`
	Counter   Counter    `json:"counter_check"`
	Sightings []Sighting `json:"sightings" doc:"All photos that were compared, the probe's first: the timeline of the child's age."`
}

// Evidence is a likelihood ratio, in numbers and in words.
type Evidence struct {
	Log10LR float64 `json:"log10_lr" doc:"log10 of how many times more likely this is if it is one child than if it is two. Calibrated for the ages."`
	Bounded bool    `json:"bounded,omitempty" doc:"The evidence goes further than the data behind the calibration support; log10_lr is their bound."`
	Band    string  `json:"band" enum:"strong_against,moderate_against,weak_against,neutral,weak,moderate,fairly_strong,strong" doc:"Verbal band (ENFSI 2015)."`
	Text    string  `json:"text" doc:"The same in words, never claiming more than the data behind the calibration support."`
}

// Records is what the records say, as a likelihood ratio apart from the faces'.
type Records struct {
	Log10LR float64  `json:"log10_lr"`
	Used    bool     `json:"used" doc:"Whether it counts in the ranking."`
	Factors []Factor `json:"factors" doc:"One for each fact known on both sides."`
}

// Factor is one fact's part in the plausibility.
type Factor struct {
	Fact    string  `json:"fact" enum:"sex,birth,order"`
	Log10LR float64 `json:"log10_lr"`
	Text    string  `json:"text"`
}

// Pair is the two faces that speak loudest for one child.
type Pair struct {
	Log10LR   float64  `json:"log10_lr" doc:"Of these two faces by themselves."`
	Probe     Sighting `json:"probe"`
	Reference Sighting `json:"reference"`
	Gap       *float64 `json:"gap,omitempty" doc:"Years between the two, as far as known."`
	Text      string   `json:"text" doc:"Ages, gap and quality in words."`
}

// Sighting is one photo of a child with the child's age in it.
type Sighting struct {
	Of      string   `json:"of" enum:"probe,case" doc:"Whether the photo is the probe's or the case's."`
	Photo   string   `json:"photo,omitempty" doc:"Absent for a photo that is not kept."`
	Face    string   `json:"face,omitempty"`
	Taken   string   `json:"taken,omitempty"`
	Age     *float64 `json:"age,omitempty" doc:"Years."`
	AgeSD   float64  `json:"age_sd,omitempty" doc:"One standard deviation, in years."`
	AgeBy   string   `json:"age_by" enum:"dates,looks,unknown" doc:"Whether the age comes from dates or is estimated from the face."`
	Quality float64  `json:"quality" doc:"0 useless to 1 a sharp, frontal, large face."`
}

// Counter is a check on a candidate: a face that many resemble says little, however high it scores.
type Counter struct {
	Rivals int    `json:"rivals" doc:"Other cases of the searched gallery whose faces score at least half as high for this probe."`
	Alike  int    `json:"alike" doc:"Other cases of the probe's side that this case's faces resemble as much as they do the probe."`
	Most   int    `json:"most" doc:"Both are counted up to this many."`
	Text   string `json:"text"`
}

// Health answers both health and readiness.
type Health struct {
	Status     string `json:"status" enum:"ok,starting"`
	Version    string `json:"version"`
	ModelSet   string `json:"model_set,omitempty"`
	Cases      int    `json:"cases,omitempty" doc:"Cases that can be found by a face."`
	References int    `json:"references,omitempty" doc:"Enrolled faces that are searched."`
	Queued     int    `json:"queued,omitempty" doc:"Photos waiting for analysis."`
}

// Model is one model card and the state of its files.
type Model struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Task    string   `json:"task"`
	Licence string   `json:"licence"`
	Sources []string `json:"sources"`
	InUse   bool     `json:"in_use"`
}

// Models lists the cards and the set in use.
type Models struct {
	Set   string `json:"set"`
	SetID string `json:"set_id"`
	// TemplateSet marks templates: the set and the metric.
	TemplateSet string  `json:"template_set" doc:"What templates are marked with: the set and the metric."`
	Models      []Model `json:"models"`
}
