package server

import (
	"homeward/api"
	"homeward/engine"
	"homeward/finder"
	"homeward/registry"
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
	c.Status = registry.Status(f.Status)
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
	if ch.Status != nil {
		c.Status = registry.Status(*ch.Status)
	}
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
		ID: string(c.ID), Gallery: string(c.Gallery), Version: c.Version,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, PhotoCount: c.Photos,
		CaseFacts: api.CaseFacts{
			Names: c.Names, Sex: string(c.Sex), Place: c.Place, On: c.On.String(),
			Marks: c.Marks, Notes: c.Notes, Ref: c.Ref, Status: string(c.Status),
			Born: api.Range{From: c.BornFrom.String()},
		},
	}
	if c.BornTo != c.BornFrom {
		out.Born.To = c.BornTo.String()
	}
	return out
}

func apiPhoto(p registry.Photo) api.Photo {
	out := api.Photo{
		ID: string(p.ID), Case: string(p.CaseID), Name: p.Name, Format: p.Format, Size: p.Size,
		Width: p.Width, Height: p.Height, Taken: p.Taken.String(), TakenBy: string(p.TakenBy),
		State: string(p.State), Reason: p.Reason, Subject: string(p.Subject), AddedAt: &p.AddedAt,
		Faces: make([]api.Face, len(p.Faces)),
	}
	for i, f := range p.Faces {
		out.Faces[i] = apiFace(f)
	}
	out.Needs, out.Message = finder.Needs(p)
	return out
}

func apiFace(f registry.Face) api.Face {
	out := api.Face{
		ID: string(f.ID), Box: api.Box{X: f.X, Y: f.Y, Width: f.W, Height: f.H}, Landmarks: f.Landmarks, Score: f.Score,
		Age: f.AgeYears, AgeSD: f.AgeSD, Quality: f.Quality, Searchable: f.Searchable,
	}
	for _, r := range f.Reasons {
		out.Reasons = append(out.Reasons, engine.Reason(r).Text())
	}
	return out
}

// ProbePhoto tells what was found in a search's own photo.
func ProbePhoto(a *engine.Analysis) *api.Photo {
	taken := registry.DayOf(a.TakenAt)
	out := &api.Photo{
		Format: a.Format, Width: a.Width, Height: a.Height, State: string(registry.Analysed), Taken: taken.String(),
		Faces: make([]api.Face, len(a.Faces)),
	}
	if out.Taken != "" {
		out.TakenBy = string(registry.TakenEXIF)
	}
	for i, f := range a.Faces {
		out.Faces[i] = apiFace(finder.StoredFace(f))
	}
	out.Needs, out.Message = finder.NeedsOfProbe(a)
	return out
}
