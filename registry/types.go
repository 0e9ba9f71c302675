package registry

import (
	"errors"
	"slices"
	"time"
)

// Identifiers are random (130 bits, base32, lower case) behind a prefix that says what they name, so that one cannot
// be guessed from another nor mistaken for another.
type (
	CaseID  string // "c_…"
	PhotoID string // "p_…"
	FaceID  string // "f_…"
	KeyID   string // "k_…"
)

// Gallery is which side a case is on. The two are never mixed.
type Gallery string

const (
	Missing Gallery = "missing" // a family seeks a child
	Found   Gallery = "found"   // a child seeks a family
)

// Other is the gallery a case of g is compared with.
func (g Gallery) Other() Gallery {
	if g == Missing {
		return Found
	}
	return Missing
}

type Sex string

const (
	SexUnknown Sex = ""
	Female     Sex = "female"
	Male       Sex = "male"
)

// Status of a case. Only open cases are candidates unless a search asks for closed ones.
type Status string

const (
	StatusOpen   Status = "open"
	StatusClosed Status = "closed"
)

// Case is one child's record.
type Case struct {
	ID      CaseID
	Gallery Gallery
	Status  Status
	Names   []string // every name the child is known by, any script; may be empty for a found child
	Sex     Sex
	// BornFrom and BornTo bound the date of birth. An exact date has both equal at day precision; unknown has both zero.
	BornFrom, BornTo Date
	// Place and On say where and when the child disappeared (missing) or was found (found).
	Place string
	On    Date
	Marks string // birthmarks, scars, moles, …
	Notes string
	// Region is the code of the region that is responsible for the case; empty while nobody has said.
	Region string
	// Ref is the caller's own reference (an archive's folder name or record number); unique within a gallery when set.
	Ref       string
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int64 // grows with every change of the facts; an update names the version it read
	Photos    int   // how many photos the case has (read only)

	N int64 // order in which cases came; Number shows it to people (read only)

	// ReportedBy is who made the record: a family's account, or a member of staff; empty for an import.
	ReportedBy AccountID
	// Verified is the police report's number, once an officer has checked a family's report.
	Verified string
	ClosedAs string    // of a closed case: ClosedByOfficer, Withdrawn or Reunited; empty for one closed before there were these
	Destroy  time.Time // when a closed case will be destroyed; zero for never
}

// PhotoState is how far a photo has come.
type PhotoState string

const (
	Queued   PhotoState = "queued"    // stored; its faces are not known yet
	Analysed PhotoState = "analysed"  // its faces are known
	SetAside PhotoState = "set_aside" // analysis failed every time it was tried; Reason says how
)

// Photo is an image that belongs to a case.
type Photo struct {
	ID      PhotoID
	CaseID  CaseID
	Name    string // as the uploader's device named it; never used as a path
	Format  string // "jpeg", "png", …
	Size    int64  // bytes of the original
	Width   int    // after orientation
	Height  int
	Taken   Date        // when it was taken, to the precision known
	TakenBy TakenSource // who says so
	State   PhotoState
	Reason  string // for SetAside
	Tries   int    // analyses begun
	// Subject is the face that is the child's own; empty while undecided or when the photo has none.
	Subject FaceID
	AddedAt time.Time
	Faces   []Face // largest first; filled where a method says so
}

// Face finds one of the photo's faces.
func (p Photo) Face(id FaceID) (Face, bool) {
	i := slices.IndexFunc(p.Faces, func(f Face) bool { return f.ID == id })
	if i < 0 {
		return Face{}, false
	}
	return p.Faces[i], true
}

// TakenSource says where a photo's date comes from.
type TakenSource string

const (
	TakenUnknown TakenSource = ""
	TakenEXIF    TakenSource = "exif"
	TakenPerson  TakenSource = "person" // someone entered it; outranks EXIF
)

// Face is one detected face in a photo. Geometry and quality are stored as the engine reports them.
type Face struct {
	ID         FaceID
	PhotoID    PhotoID
	X, Y, W, H float32 // box in pixels of the oriented photo
	Landmarks  [5][2]float32
	Score      float32
	AgeYears   float32
	AgeSD      float32
	Quality    float32 // 0..1
	EyeDist    float32 // pixels
	Sharpness  float32
	Yaw        float32
	Pitch      float32
	Roll       float32
	Searchable bool
	Reasons    []string // why quality is low, as stable codes
}

// NewFace is a face as an analysis hands it over: the face with the numbers that stand for it.
type NewFace struct {
	Face
	// Embeddings maps a recogniser (its fingerprint) to its raw output, kept so that a new metric needs no photo.
	Embeddings map[string][]float32
	// Template is the fused vector under the analysis' model set; nil when none could be made.
	Template []float32
}

// Reference is an enrolled face as the index and the comparison take it.
type Reference struct {
	Face     FaceID
	Photo    PhotoID
	Template []float32 // nil when it is damaged
	// Taken, AgeYears and the others are the photo's and the face's own.
	Taken    Date
	TakenBy  TakenSource
	AgeYears float32
	AgeSD    float32
	Quality  float32
}

// Reunion is a missing case and a found case that DNA has confirmed to be one child. A case takes part in one at most.
type Reunion struct {
	Missing, Found CaseID
	Laboratory     string // that compared the DNA
	Kit            string // its number of the kit or sample
	ConfirmedOn    Date   // of the laboratory's result, to the precision known
	RecordedBy     string // may be empty
	RecordedAt     time.Time
}

// Key is an access key to the API: a program's way to act as an account. The secret itself is shown once, at creation, and
// only its hash is stored.
type Key struct {
	ID        KeyID
	Name      string
	Account   AccountID
	CreatedAt time.Time
	LastUsed  time.Time // to the minute
	Revoked   time.Time // zero while valid
}

// Change says that a case was changed or deleted. Seq grows with every change and never repeats.
type Change struct {
	Seq     int64
	Case    CaseID
	Deleted bool
}

// Errors a caller decides on. Each is wrapped with what was being done to which thing.
var (
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("changed by someone else since it was read")
	ErrDuplicate = errors.New("already there")
	ErrInvalid   = errors.New("invalid")
	ErrFull      = errors.New("the disk is full")
	ErrDisk      = errors.New("the disk cannot be written to or read")
	ErrCorrupt   = errors.New("stored data is damaged")
	ErrKey       = errors.New("the operator's key does not open this registry")
)
