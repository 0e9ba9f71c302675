package importer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"homeward/finder"
	"homeward/registry"
)

// Outcome is what became of a file, as a report has it.
type Outcome string

const (
	Added        Outcome = "added"         // it finds, and is found
	SeveralFaces Outcome = "several_faces" // stored; someone has to choose the child's face
	TooPoor      Outcome = "too_poor"      // stored; the child's face is too poor to search with
	NoFace       Outcome = "no_face"       // stored; no face was found
	SetAside     Outcome = "set_aside"     // stored; it could not be analysed
	Waiting      Outcome = "waiting"       // stored; its faces are still being looked for
	Deleted      Outcome = "deleted"       // was stored; someone has deleted it since
	Duplicate    Outcome = "duplicate"     // its case has a photo of the same bytes
	Unreadable   Outcome = "unreadable"    // no photo, or it cannot be read
	Skipped      Outcome = "skipped"       // not even tried
	NotReached   Outcome = "not_reached"   // the manifest names it, and the import has not come to it
	New          Outcome = "new"           // of a dry run: it would be added
)

// Line is a file in a report.
type Line struct {
	Path    string           `json:"path"`           // inside of the folder or archive
	Line    int              `json:"line,omitempty"` // of the manifest
	Case    string           `json:"case,omitempty"` // its reference
	Outcome Outcome          `json:"outcome"`
	Reason  string           `json:"reason,omitempty"` // why it was not taken, or what a stored photo still needs
	Photo   registry.PhotoID `json:"photo,omitempty"`
	Remark  string           `json:"remark,omitempty"` // that the same picture is there already; what of the manifest's line was left out
}

// Stored says whether the file is a photo of the registry by this import.
func (l Line) Stored() bool {
	switch l.Outcome {
	case Added, SeveralFaces, TooPoor, NoFace, SetAside, Waiting, Deleted:
		return true
	}
	return false
}

// Report counts what an import did.
type Report struct {
	CasesAdded  int64 `json:"cases_added"`
	CasesKnown  int64 `json:"cases_known"` // were there before
	Added       int64 `json:"photos_added"`
	Duplicates  int64 `json:"photos_duplicate"`
	Unreadable  int64 `json:"photos_unreadable"`
	Skipped     int64 `json:"photos_skipped"`
	NotReached  int64 `json:"photos_not_reached"`
	NeedSubject int64 `json:"photos_need_subject"` // in the registry, but someone must choose the child's face
	TooPoor     int64 `json:"photos_too_poor"`
	NoFace      int64 `json:"photos_without_face"`
	SetAside    int64 `json:"photos_set_aside"`
	Waiting     int64 `json:"photos_waiting"`
	Alike       int64 `json:"photos_look_same"` // the same picture is there already
}

// NotTaken is how many files are not in the registry.
func (r Report) NotTaken() int64 { return r.Unreadable + r.Skipped + r.NotReached }

// ReadReport tells what became of each file of an import, in the order of their paths, as things stand now: a face that someone has chosen
// since is chosen.
func ReadReport(ctx context.Context, r *registry.Registry, job registry.JobID, tell func(Line) error) (Report, error) {
	var out Report
	var err error
	if _, out.CasesAdded, out.CasesKnown, err = r.ImportCounts(ctx, job); err != nil {
		return out, err
	}
	err = r.EachImport(ctx, job, func(f registry.ImportedFile) error {
		l := line(f)
		out.count(f, l)
		return tell(l)
	})
	return out, err
}

func line(f registry.ImportedFile) Line {
	l := Line{Path: f.Path, Line: f.Line, Case: f.Ref, Reason: f.Reason, Photo: f.Photo, Remark: f.Remark}
	if f.Twin != "" && f.TwinCase != "" {
		l.Remark = join(l.Remark, fmt.Sprintf("looks the same as photo %s of case %s", f.Twin, f.TwinCase))
	}
	switch f.Result {
	case registry.ImportWanted:
		l.Outcome = NotReached
	case registry.ImportSkipped:
		l.Outcome = Skipped
	case registry.ImportUnreadable:
		l.Outcome = Unreadable
	case registry.ImportDuplicate:
		l.Outcome = Duplicate
	case registry.ImportAdded:
		l.Outcome, l.Reason = stored(f.Stored)
	}
	return l
}

// stored is the outcome of a photo that was added.
func stored(p registry.Photo) (Outcome, string) {
	if p.ID == "" {
		return Deleted, ""
	}
	needs, message := finder.Needs(p)
	switch {
	case p.State == registry.SetAside:
		return SetAside, message + " " + p.Reason
	case needs == finder.NeedsWait:
		return Waiting, message
	case needs == finder.NeedsSubject:
		return SeveralFaces, message
	case needs == finder.NeedsBetter:
		return TooPoor, message
	case needs == finder.NeedsAnother:
		return NoFace, message
	}
	return Added, ""
}

func (r *Report) count(f registry.ImportedFile, l Line) {
	outcome := l.Outcome
	switch outcome {
	case Duplicate:
		r.Duplicates++
		outcome, _ = stored(f.Stored) // what it needs, it needs as much as when it was added
	case Unreadable:
		r.Unreadable++
	case Skipped:
		r.Skipped++
	case NotReached:
		r.NotReached++
	default:
		r.Added++
	}
	switch outcome {
	case SeveralFaces:
		r.NeedSubject++
	case TooPoor:
		r.TooPoor++
	case NoFace:
		r.NoFace++
	case SetAside:
		r.SetAside++
	case Waiting:
		r.Waiting++
	}
	if f.Twin != "" && f.TwinCase != "" {
		r.Alike++
	}
}

// LineWriter writes a report's lines.
type LineWriter interface {
	Write(Line) error
	// Flush ends the report.
	Flush() error
}

// NewJSONLines writes each line as a JSON object.
func NewJSONLines(w io.Writer) LineWriter { return jsonLines{json.NewEncoder(w)} }

type jsonLines struct{ *json.Encoder }

func (j jsonLines) Write(l Line) error { return j.Encode(l) }
func (j jsonLines) Flush() error       { return nil }

// NewCSV writes lines as CSV in UTF-8 with the mark that spreadsheets know it by.
func NewCSV(w io.Writer) (LineWriter, error) {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return nil, err
	}
	c := csv.NewWriter(w)
	return csvLines{c}, c.Write([]string{"path", "line", "case", "outcome", "reason", "photo", "remark"})
}

type csvLines struct{ *csv.Writer }

func (c csvLines) Write(l Line) error {
	n := ""
	if l.Line > 0 {
		n = strconv.Itoa(l.Line)
	}
	return c.Writer.Write([]string{harmless(l.Path), n, harmless(l.Case), string(l.Outcome), harmless(l.Reason), string(l.Photo), harmless(l.Remark)})
}

func (c csvLines) Flush() error {
	c.Writer.Flush()
	return c.Error()
}

// harmless keeps a spreadsheet from taking a file's name for a formula.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
