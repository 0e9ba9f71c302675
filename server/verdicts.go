package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/engine"
	"homeward/registry"
)

// VerdictPath names a verdict.
type VerdictPath struct {
	Verdict string `path:"verdict" maxLength:"64" doc:"Id of the verdict."`
}

// Of each case, so many pictures are kept as an examiner saw them, and so large.
const (
	mostExhibits = 20
	exhibitSide  = 640
)

func (s *Server) verdictRoutes() {
	tags := []string{"Leads"}

	huma.Register(s.api, huma.Operation{
		OperationID: "give-verdict", Method: http.MethodPost, Path: prefix + "/leads/{lead}/verdicts", Tags: tags,
		Summary: "Judge a lead", DefaultStatus: http.StatusCreated,
		Description: "Two examiners judge by themselves; where they agree the lead is settled, where they differ a supervisor settles it. " +
			"What lay before you is kept with your verdict. The same finding sent twice is answered like the first time.",
		Errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
	}, s.giveVerdict)

	huma.Register(s.api, huma.Operation{
		OperationID: "list-verdicts", Method: http.MethodGet, Path: prefix + "/leads/{lead}/verdicts", Tags: tags,
		Summary: "List the verdicts on a lead", Errors: []int{http.StatusForbidden, http.StatusNotFound},
		Description: "Your own, and those of rounds that are settled: nobody learns another's before giving their own.",
	}, func(ctx context.Context, in *LeadPath) (*struct{ Body api.Verdicts }, error) {
		p, err := s.seeBoth(ctx, registry.LeadID(in.Lead))
		if err == nil {
			err = s.lookedAtLead(ctx, p, "verdicts.listed")
		}
		if err != nil {
			return nil, s.problem(err)
		}
		all, err := s.verdicts(ctx, p.ID)
		return &struct{ Body api.Verdicts }{api.Verdicts{Verdicts: all}}, s.problem(err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-frozen", Method: http.MethodGet, Path: prefix + "/verdicts/{verdict}/frozen", Tags: tags,
		Summary: "Read what lay before the examiner of a verdict", Errors: []int{http.StatusForbidden, http.StatusNotFound},
		Description: "As it was at that moment, whatever was changed or deleted since.",
	}, func(ctx context.Context, in *VerdictPath) (*struct{ Body api.Frozen }, error) {
		f, _, err := s.frozen(ctx, in.Verdict)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body api.Frozen }{f}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-exhibit", Method: http.MethodGet, Path: prefix + "/exhibits/{case}/{photo}", Tags: tags,
		Summary: "Fetch a picture as examiners saw it", Errors: []int{http.StatusForbidden, http.StatusNotFound},
		Responses: imageResponse("image/jpeg"),
	}, func(ctx context.Context, in *struct {
		CasePath
		PhotoPath
	}) (*pictureOutput, error) {
		c, err := s.see(ctx, registry.CaseID(in.Case))
		if err == nil {
			err = s.finder.Registry.Record(ctx, registry.Note{Action: "exhibit.looked", Case: c.ID, Subject: in.Photo})
		}
		if err != nil {
			return nil, s.problem(err)
		}
		pic, err := s.finder.Registry.ExhibitOf(ctx, c.ID, registry.PhotoID(in.Photo))
		if err != nil {
			return nil, s.problem(err)
		}
		return &pictureOutput{ContentType: "image/jpeg", CacheControl: "private, max-age=600", Body: pic}, nil
	})
}

func (s *Server) giveVerdict(ctx context.Context, in *struct {
	LeadPath
	Body api.NewVerdict
}) (*struct{ Body api.Verdict }, error) {
	p, err := s.seeBoth(ctx, registry.LeadID(in.Lead))
	if err != nil {
		return nil, s.problem(err)
	}
	lay, err := s.freeze(ctx, p)
	if err != nil {
		return nil, s.problem(err)
	}
	v, l, err := s.finder.Registry.GiveVerdict(ctx, registry.NewVerdict{
		Lead: p.ID, Round: in.Body.Round, Finding: registry.Finding(in.Body.Finding), Reasons: in.Body.Reasons,
	}, lay)
	if errors.Is(err, registry.ErrConflict) {
		err = s.whyNotJudged(ctx, p.ID, in.Body.Round, err)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	told, err := s.apiVerdict(ctx, v)
	told.State = string(l.State)
	return &struct{ Body api.Verdict }{told}, s.problem(err)
}

// whyNotJudged says why a verdict that came too late was not taken, by where the lead stands now.
func (s *Server) whyNotJudged(ctx context.Context, id registry.LeadID, round int, refused error) error {
	p, err := s.seeLead(ctx, id)
	if err != nil {
		return err
	}
	own, err := s.ownVerdict(ctx, p.Lead)
	switch {
	case err != nil:
		return err
	case round != p.Round:
		return s.tell(ctx, http.StatusConflict, "lead_reopened")
	case own != nil:
		return s.tell(ctx, http.StatusConflict, "verdict_given")
	case !p.open():
		return s.tell(ctx, http.StatusConflict, "lead_closed")
	case p.State != registry.LeadOpen:
		return s.tell(ctx, http.StatusConflict, "lead_judged")
	}
	return refused
}

// ownVerdict is what the caller found in a lead's present round; nil where nothing yet.
func (s *Server) ownVerdict(ctx context.Context, l registry.Lead) (*registry.Verdict, error) {
	all, err := s.finder.Registry.Verdicts(ctx, l.ID, caller(ctx).Account)
	for i, v := range all {
		if v.Round == l.Round && v.By == caller(ctx).Account {
			return &all[i], err
		}
	}
	return nil, err
}

// verdicts are those on a lead that the caller may see.
func (s *Server) verdicts(ctx context.Context, id registry.LeadID) ([]api.Verdict, error) {
	all, err := s.finder.Registry.Verdicts(ctx, id, caller(ctx).Account)
	out := make([]api.Verdict, len(all))
	for i, v := range all {
		if err == nil {
			out[i], err = s.apiVerdict(ctx, v)
		}
	}
	return out, err
}

func (s *Server) apiVerdict(ctx context.Context, v registry.Verdict) (api.Verdict, error) {
	by, err := s.nameOf(ctx, v.By)
	return api.Verdict{
		ID: v.ID, Lead: string(v.Lead), Round: v.Round, Seat: string(v.Seat), By: by, Mine: v.By == caller(ctx).Account,
		Finding: string(v.Finding), Reasons: v.Reasons, At: v.At,
	}, err
}

// nameOf is how colleagues know an account.
func (s *Server) nameOf(ctx context.Context, id registry.AccountID) (string, error) {
	a, err := s.finder.Registry.Account(ctx, id)
	if errors.Is(err, registry.ErrNotFound) {
		return string(id), nil
	}
	return a.Name, err
}

// freeze gathers what lies before an examiner of a lead now. It asks the registry and not the browser, which may hold
// another thing.
func (s *Server) freeze(ctx context.Context, p leadPair) (out registry.Frozen, err error) {
	kept := api.Frozen{
		Lead: string(p.ID), Round: p.Round, At: time.Now().UTC(), Score: bans(p.Score * ln10), Records: bans(p.Records * ln10), Note: p.Note,
		Facts: compareFacts(s.printer(ctx), p.missing, p.found), ModelSet: s.finder.TemplateSet(), Exhibits: []api.Exhibit{},
	}
	if kept.Evidence, err = s.evidence(ctx, p); err != nil {
		return out, err
	}
	for _, side := range []struct {
		c  registry.Case
		to *api.Case
	}{{p.missing, &kept.Missing}, {p.found, &kept.Found}} {
		photos, err := s.finder.Registry.PhotosOf(ctx, side.c.ID)
		if err != nil {
			return out, err
		}
		*side.to = apiCase(side.c)
		for _, photo := range photos {
			side.to.Photos = append(side.to.Photos, apiPhoto(photo, s.printer(ctx)))
		}
		pictures, err := s.exhibits(ctx, photos)
		if err != nil {
			return out, err
		}
		for _, e := range pictures {
			kept.Exhibits = append(kept.Exhibits, api.Exhibit{Case: string(e.Case), Photo: string(e.Photo)})
		}
		out.Pictures = append(out.Pictures, pictures...)
	}
	out.Content, err = json.Marshal(kept)
	return out, err
}

// exhibits are pictures of a case's photos, at most mostExhibits, those that show the child first.
func (s *Server) exhibits(ctx context.Context, photos []registry.Photo) (out []registry.Exhibit, err error) {
	photos = slices.Clone(photos)
	shown := func(p registry.Photo) int {
		if p.Subject == "" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(photos, func(a, b registry.Photo) int { return cmp.Compare(shown(a), shown(b)) })
	for _, p := range photos {
		if len(out) == mostExhibits {
			break
		}
		pic, err := s.smaller(ctx, p)
		var broken *engine.PhotoError
		if errors.As(err, &broken) { // it could not be shown to the examiner either
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, registry.Exhibit{Case: p.CaseID, Photo: p.ID, JPEG: pic})
	}
	return out, nil
}

// smaller is a photo as pages show it, from memory where it was made lately.
func (s *Server) smaller(ctx context.Context, p registry.Photo) ([]byte, error) {
	key := string(p.ID) + "/640"
	if pic, ok := s.chips.lru.Get(key); ok {
		return pic, nil
	}
	pic, err := s.finder.Rendition(ctx, p, exhibitSide)
	if err == nil {
		s.chips.keep(key, pic)
	}
	return pic, err
}

// frozen is what lay before the examiner of a verdict that the caller may see, noted as looked at.
func (s *Server) frozen(ctx context.Context, verdict string) (out api.Frozen, given api.Verdict, err error) {
	lead, content, err := s.finder.Registry.FrozenOf(ctx, verdict)
	if err != nil {
		return out, given, err
	}
	p, err := s.seeBoth(ctx, lead)
	if err != nil {
		return out, given, err
	}
	all, err := s.verdicts(ctx, lead)
	if err != nil {
		return out, given, err
	}
	i := slices.IndexFunc(all, func(v api.Verdict) bool { return v.ID == verdict })
	if i < 0 { // another's, before the round is settled
		return out, given, registry.ErrNotFound
	}
	for _, c := range []registry.CaseID{p.Missing, p.Found} {
		if err := s.finder.Registry.Record(ctx, registry.Note{Action: "verdict.looked", Case: c, Subject: verdict}); err != nil {
			return out, given, err
		}
	}
	err = json.Unmarshal(content, &out)
	out.Verdict = verdict
	return out, all[i], err
}
