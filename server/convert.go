package server

import (
	"homeward/api"
	"homeward/engine"
	"homeward/finder"
	"homeward/registry"
	"homeward/text"
)

// date reads a date that a client sent; field names it in the error.
func date(field, text string) (registry.Date, error) {
	d, err := registry.ParseDate(text)
	if err != nil {
		return d, &registry.FieldError{Field: field, Text: err.Error()}
	}
	return d, nil
}

// setFacts writes a client's facts into a case.
func setFacts(c *registry.Case, f api.CaseFacts) (err error) {
	c.Names, c.Sex, c.Place, c.Marks, c.Notes, c.Ref = f.Names, registry.Sex(f.Sex), f.Place, f.Marks, f.Notes, f.Ref
	c.Region = f.Region
	if c.On, err = date("on", f.On); err != nil {
		return err
	}
	return setBorn(c, f.Born)
}

func setBorn(c *registry.Case, r api.Range) (err error) {
	if c.BornFrom, err = date("born.from", r.From); err != nil {
		return err
	}
	c.BornTo = c.BornFrom
	if r.To != "" {
		c.BornTo, err = date("born.to", r.To)
	}
	return err
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// changeFacts writes the facts that a client named.
func changeFacts(c *registry.Case, ch api.CaseChange) (err error) {
	set(&c.Names, ch.Names)
	set(&c.Place, ch.Place)
	set(&c.Marks, ch.Marks)
	set(&c.Notes, ch.Notes)
	set(&c.Ref, ch.Ref)
	if ch.Sex != nil {
		c.Sex = registry.Sex(*ch.Sex)
	}
	set(&c.Region, ch.Region)
	set(&c.Verified, ch.Verified)
	if ch.On != nil {
		if c.On, err = date("on", *ch.On); err != nil {
			return err
		}
	}
	if ch.Born != nil {
		return setBorn(c, *ch.Born)
	}
	return nil
}

func apiCase(c registry.Case) api.Case {
	out := api.Case{
		ID: string(c.ID), Number: c.Number(), Gallery: string(c.Gallery), Version: c.Version,
		Status: string(c.Status), ClosedAs: c.ClosedAs, Verified: c.Verified,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, PhotoCount: c.Photos,
		CaseFacts: api.CaseFacts{
			Names: c.Names, Sex: string(c.Sex), Place: c.Place, On: c.On.String(),
			Marks: c.Marks, Notes: c.Notes, Ref: c.Ref, Region: c.Region,
			Born: api.Range{From: c.BornFrom.String()},
		},
	}
	if c.BornTo != c.BornFrom {
		out.Born.To = c.BornTo.String()
	}
	if !c.Destroy.IsZero() {
		out.DestroyAt = &c.Destroy
	}
	return out
}

func apiPhoto(p registry.Photo, say text.Printer) api.Photo {
	out := api.Photo{
		ID: string(p.ID), Case: string(p.CaseID), Name: p.Name, Format: p.Format, Size: p.Size,
		Width: p.Width, Height: p.Height, Taken: p.Taken.String(), TakenBy: string(p.TakenBy),
		State: string(p.State), Reason: p.Reason, Subject: string(p.Subject), AddedAt: &p.AddedAt,
		Faces: make([]api.Face, len(p.Faces)),
	}
	for i, f := range p.Faces {
		out.Faces[i] = apiFace(f, say)
	}
	out.Needs, _ = finder.Needs(p)
	out.Message = needs(out, say)
	return out
}

// needs says what a photo of a case needs, for the person who sent it.
func needs(p api.Photo, say text.Printer) string {
	switch p.Needs {
	case finder.NeedsWait:
		return say.T("photo.wait")
	case finder.NeedsSubject:
		if len(p.Faces) == 1 {
			return say.T("photo.not_the_child")
		}
		return say.T("photo.choose", "Count", len(p.Faces))
	case finder.NeedsBetter:
		told := []string{say.T("photo.poor")}
		for _, f := range p.Faces {
			if f.ID == p.Subject {
				told = append(told, f.Reasons...)
			}
		}
		return sentences(told...)
	case finder.NeedsAnother:
		if p.State == string(registry.SetAside) {
			return say.T("photo.set_aside")
		}
		return say.T("photo.no_face")
	}
	return ""
}

func apiFace(f registry.Face, say text.Printer) api.Face {
	out := api.Face{
		ID: string(f.ID), Box: api.Box{X: f.X, Y: f.Y, Width: f.W, Height: f.H}, Landmarks: f.Landmarks, Score: f.Score,
		Age: f.AgeYears, AgeSD: f.AgeSD, Quality: f.Quality, Searchable: f.Searchable,
	}
	for _, r := range f.Reasons {
		out.Reasons = append(out.Reasons, say.T("photo.reason."+r))
	}
	return out
}

// ProbePhoto tells what was found in a search's own photo, in the words of say.
func ProbePhoto(a *engine.Analysis, say text.Printer) *api.Photo {
	taken := registry.DayOf(a.TakenAt)
	out := &api.Photo{
		Format: a.Format, Width: a.Width, Height: a.Height, State: string(registry.Analysed), Taken: taken.String(),
		Faces: make([]api.Face, len(a.Faces)),
	}
	if out.Taken != "" {
		out.TakenBy = string(registry.TakenEXIF)
	}
	for i, f := range a.Faces {
		out.Faces[i] = apiFace(finder.StoredFace(f), say)
	}
	switch out.Needs, _ = finder.NeedsOfProbe(a); out.Needs {
	case finder.NeedsSubject:
		out.Message = say.T("photo.choose", "Count", len(out.Faces))
	case finder.NeedsBetter:
		out.Message = sentences(append([]string{say.T("photo.probe.poor")}, out.Faces[0].Reasons...)...)
	case finder.NeedsAnother:
		out.Message = say.T("photo.probe.no_face")
	}
	return out
}
