package finder

import (
	"fmt"

	"homeward/engine"
	"homeward/registry"
)

// What a photo needs before it can find or be found.
const (
	NeedsNothing = ""
	NeedsWait    = "wait"           // its faces are not known yet
	NeedsSubject = "choose_subject" // several faces: which is the child?
	NeedsBetter  = "better_photo"   // the child's face is too poor
	NeedsAnother = "another_photo"  // no face, or the photo could not be analysed
)

// Needs says what a photo needs, as a code and in words for the person who sent it.
func Needs(p registry.Photo) (code, message string) {
	switch p.State {
	case registry.Queued:
		return NeedsWait, "The photo is stored. Its faces are being looked for."
	case registry.SetAside:
		return NeedsAnother, "The photo is kept with the case, but it could not be analysed. Send another copy of it if you can."
	}
	if len(p.Faces) == 0 {
		return NeedsAnother, "No face was found. The photo stays with the case; send one in which the child's face is larger or more to the front."
	}
	if p.Subject == "" {
		if len(p.Faces) == 1 {
			return NeedsSubject, "One face was found, and it was marked as not the child's. Choose it if it is."
		}
		return NeedsSubject, fmt.Sprintf("%d faces were found. Choose the child's.", len(p.Faces))
	}
	if f, ok := p.Face(p.Subject); ok && !f.Searchable {
		message = "The child's face is too poor to search with. The photo stays with the case; a better one helps."
		for _, r := range f.Reasons {
			message += " " + engine.Reason(r).Text()
		}
		return NeedsBetter, message
	}
	return NeedsNothing, ""
}

// NeedsOfProbe says what a search's own photo needs.
func NeedsOfProbe(a *engine.Analysis) (code, message string) {
	switch {
	case len(a.Faces) == 0:
		return NeedsAnother, "No face was found. Send a photo in which the face is larger or more to the front."
	case len(a.Faces) > 1:
		return NeedsSubject, fmt.Sprintf("%d faces were found. Choose the child's.", len(a.Faces))
	case !a.Faces[0].Quality.Searchable:
		message = "The face is too poor to search with."
		for _, r := range a.Faces[0].Quality.Reasons {
			message += " " + r.Text()
		}
		return NeedsBetter, message
	}
	return NeedsNothing, ""
}
