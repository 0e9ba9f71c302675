package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
)

// PhotoPath names a photo.
type PhotoPath struct {
	Photo string `path:"photo" maxLength:"64" doc:"Id of the photo."`
}

type photoOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     api.Photo
}

func (s *Server) photoRoutes() {
	tags := []string{"Photos"}

	huma.Register(s.api, huma.Operation{
		OperationID: "add-photo", Method: http.MethodPost, Path: prefix + "/cases/{case}/photos", Tags: tags,
		Summary: "Add a photo to a case", DefaultStatus: http.StatusCreated,
		Description: "Answers once the photo is stored and its faces are known. A photo that the case already has is answered with 200 and the one that exists. " +
			"With an Idempotency-Key, the same photo sent again is answered like the first time, for a day.",
		Errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge,
			http.StatusUnsupportedMediaType, http.StatusInsufficientStorage},
		Responses: map[string]*huma.Response{"200": {Description: "The case already has this photo."}},
	}, s.addPhoto)
	s.describeBody(prefix+"/cases/{case}/photos", photoBody(nil))

	huma.Register(s.api, huma.Operation{
		OperationID: "list-photos", Method: http.MethodGet, Path: prefix + "/cases/{case}/photos", Tags: tags,
		Summary: "List a case's photos, oldest first", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *CasePath) (*struct{ Body []api.Photo }, error) {
		c, err := s.caseWithPhotos(ctx, registry.CaseID(in.Case))
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body []api.Photo }{c.Photos}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-photo", Method: http.MethodGet, Path: prefix + "/photos/{photo}", Tags: tags,
		Summary: "Read what is known of a photo", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *PhotoPath) (*photoOutput, error) {
		p, err := s.seePhoto(ctx, registry.PhotoID(in.Photo))
		if err != nil {
			return nil, s.problem(err)
		}
		return &photoOutput{Status: http.StatusOK, Body: apiPhoto(p, s.printer(ctx))}, nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "change-photo", Method: http.MethodPatch, Path: prefix + "/photos/{photo}", Tags: tags,
		Summary: "Say when a photo was taken, or which face is the child", Errors: []int{http.StatusNotFound},
	}, s.changePhoto)

	huma.Register(s.api, huma.Operation{
		OperationID: "delete-photo", Method: http.MethodDelete, Path: prefix + "/photos/{photo}", Tags: tags,
		Summary: "Delete a photo for good", Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *PhotoPath) (*struct{}, error) {
		_, err := s.editPhoto(ctx, registry.PhotoID(in.Photo))
		if err == nil {
			err = s.finder.Registry.DeletePhoto(ctx, registry.PhotoID(in.Photo))
		}
		if err == nil {
			s.chips.forget()
			s.finder.Refresh(ctx)
		}
		return nil, s.problem(err)
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "get-original", Method: http.MethodGet, Path: prefix + "/photos/{photo}/original", Tags: tags,
		Summary: "Fetch the photo as it was sent", Errors: []int{http.StatusNotFound},
		Responses: imageResponse("image/*"),
	}, s.original)

	huma.Register(s.api, huma.Operation{
		OperationID: "get-rendition", Method: http.MethodGet, Path: prefix + "/photos/{photo}/rendition", Tags: tags,
		Summary: "Fetch the photo upright, as a small JPEG without metadata", Errors: []int{http.StatusNotFound},
		Responses: imageResponse("image/jpeg"),
	}, s.rendition)

	huma.Register(s.api, huma.Operation{
		OperationID: "get-chip", Method: http.MethodGet, Path: prefix + "/faces/{face}/chip", Tags: tags,
		Summary: "Fetch a face, cut out upright, as a small JPEG", Errors: []int{http.StatusNotFound},
		Responses: imageResponse("image/jpeg"),
	}, s.chip)
}

func (s *Server) addPhoto(ctx context.Context, in *struct {
	CasePath
	Taken string `query:"taken" maxLength:"10" doc:"When the photo was taken: 2009, 2009-05 or 2009-05-17. Outranks what the file itself says." example:"2009"`
	Name  string `query:"name" maxLength:"255" doc:"The file's name on your device."`
	Key   string `header:"Idempotency-Key" maxLength:"200" doc:"Any string of your own that names this upload."`
	PhotoUpload
}) (*photoOutput, error) {
	taken, err := date("taken", in.Taken)
	if err != nil {
		return nil, s.problem(err)
	}
	if _, err := s.edit(ctx, registry.CaseID(in.Case)); err != nil {
		return nil, s.problem(err)
	}
	body, name, err := in.photo()
	if err != nil {
		return nil, s.problem(err)
	}
	if in.Name != "" {
		name = in.Name
	}
	p, existed, err := s.finder.AddPhoto(ctx, registry.CaseID(in.Case), finder.NewPhoto{
		Name: name, Taken: taken, Key: in.Key, Caller: caller(ctx).Account,
	}, body)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &photoOutput{Status: http.StatusCreated, Location: prefix + "/photos/" + string(p.ID), Body: apiPhoto(p, s.printer(ctx))}
	if existed {
		out.Status, out.Body.Duplicate = http.StatusOK, true
	}
	return out, nil
}

func (s *Server) changePhoto(ctx context.Context, in *struct {
	PhotoPath
	Body api.PhotoChange
}) (*photoOutput, error) {
	id := registry.PhotoID(in.Photo)
	ch := registry.PhotoChange{}
	if in.Body.Taken != nil {
		taken, err := date("taken", *in.Body.Taken)
		if err != nil {
			return nil, s.problem(err)
		}
		ch.Taken = &taken
	}
	if in.Body.Subject != nil {
		face := registry.FaceID(*in.Body.Subject)
		ch.Subject = &face
	}
	if _, err := s.editPhoto(ctx, id); err != nil {
		return nil, s.problem(err)
	}
	p, err := s.finder.Registry.UpdatePhoto(ctx, id, ch)
	if err != nil {
		return nil, s.problem(err)
	}
	s.finder.Refresh(ctx)
	return &photoOutput{Status: http.StatusOK, Body: apiPhoto(p, s.printer(ctx))}, nil
}

func imageResponse(mediaType string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "The picture.",
		Content:     map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
}

// mediaTypes of the formats the engine takes.
var mediaTypes = map[string]string{
	"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "tiff": "image/tiff", "heif": "image/heif",
}

func (s *Server) original(ctx context.Context, in *PhotoPath) (*huma.StreamResponse, error) {
	p, err := s.seePhoto(ctx, registry.PhotoID(in.Photo))
	if err == nil {
		err = s.looked(ctx, p)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	r, err := s.finder.Registry.OpenPhoto(ctx, p.ID)
	if err != nil {
		return nil, s.problem(err)
	}
	// A file that is damaged in the beginning can still be answered for in words.
	body := bufio.NewReader(r)
	if _, err := body.Peek(1); err != nil {
		return nil, s.problem(errors.Join(err, r.Close()))
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer r.Close()
		hc.SetHeader("Content-Type", mediaTypes[p.Format])
		hc.SetHeader("Content-Length", fmt.Sprint(p.Size))
		// Never shown as a page of ours, whatever hides in the file.
		hc.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.%s"`, p.ID, p.Format))
		if _, err := io.Copy(hc.BodyWriter(), body); err != nil && !errors.Is(err, context.Canceled) {
			s.log.Warn("send a photo", "photo", p.ID, "error", err)
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}}, nil
}
