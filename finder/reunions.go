package finder

import (
	"context"
	"errors"

	"homeward/match"
	"homeward/models"
	"homeward/registry"
)

// ReunionSamples are the photos of the reunions that DNA has confirmed, for training: one person each.
func ReunionSamples(ctx context.Context, c Config, set models.Set) (samples []match.Sample, err error) {
	r, err := registry.Open(ctx, c.Data, registry.Options{OperatorKey: c.OperatorKey, Existing: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	err = r.ReunionFaces(ctx, func(u registry.Reunion, photos []registry.Photo, embeddings map[registry.FaceID]map[string][]float32) error {
		missing, err := r.Case(ctx, u.Missing)
		if err != nil {
			return err
		}
		for _, p := range photos {
			face, ok := p.Face(p.Subject)
			if !ok || embeddings[face.ID] == nil {
				continue
			}
			s := match.Sample{
				Subject: string(u.Missing), Age: -1, Side: "old", Looks: float64(face.AgeYears), LooksSD: float64(face.AgeSD),
				Quality: float64(face.Quality), Embeddings: embeddings[face.ID],
			}
			if p.CaseID == u.Missing {
				s.Side = "young"
			}
			// DNA has settled whose birth it is.
			if age, dated := ageAt(span(missing.BornFrom, missing.BornTo), span(p.Taken, p.Taken), match.Age{}); dated {
				s.Age = age.Years
			}
			samples = append(samples, s)
		}
		return nil
	})
	return samples, err
}
