package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
)

// Photos that come in pieces, over connections that drop: the tus protocol 1.0.0 (https://tus.io) with its extensions
// creation and termination. The last piece is answered with the photo. A restart of the server loses what was not complete;
// the client then finds no upload and begins again.

const (
	tusVersion = "1.0.0"
	tusType    = "application/offset+octet-stream"

	// uploadsEach and uploadsAll bound the uploads under way: of an account, and of all.
	uploadsEach = 10
	uploadsAll  = 200
	// uploadIdle ends an upload that has stood still for this long.
	uploadIdle = 10 * time.Minute
	// uploadKept is how long the outcome of an upload is told to who asks again.
	uploadKept = time.Hour
)

// Why an upload ended before its last byte.
var (
	errUploadStood = errors.New("the upload stood still for too long")
	errUploadEnded = errors.New("the upload was ended by its sender")
)

// uploads are those under way, and those that ended not long ago.
type uploads struct {
	mu  sync.Mutex
	all map[string]*upload
}

func newUploads() *uploads { return &uploads{all: map[string]*upload{}} }

// upload is one photo on its way. What comes is written to the pipe, at whose other end it is stored, encrypted, as any photo is.
type upload struct {
	id     string
	owner  registry.AccountID
	caseID registry.CaseID
	length int64
	in     *io.PipeWriter
	stop   context.CancelFunc
	idle   *time.Timer

	writing sync.Mutex // held by the one piece that may come at a time
	at      sync.Mutex
	offset  int64

	done    chan struct{} // closed once the outcome is known
	photo   registry.Photo
	existed bool
	err     error
}

func (u *upload) received() int64 {
	u.at.Lock()
	defer u.at.Unlock()
	return u.offset
}

// ended says whether the outcome is known.
func (u *upload) ended() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// Write takes the next bytes and counts those that were stored, also where the rest was not.
func (u *upload) Write(p []byte) (int, error) {
	n, err := u.in.Write(p)
	u.at.Lock()
	u.offset += int64(n)
	u.at.Unlock()
	u.idle.Reset(uploadIdle)
	return n, err
}

// end stops an upload that is not complete.
func (u *upload) end(why error) {
	u.in.CloseWithError(why)
	u.stop()
}

// begin makes room for a new upload and starts store at the end of its pipe.
func (us *uploads) begin(u *upload, store func(io.Reader) (registry.Photo, bool, error)) error {
	u.id, u.done = "u_"+strings.ToLower(rand.Text()), make(chan struct{})
	out, in := io.Pipe()
	u.in = in
	us.mu.Lock()
	defer us.mu.Unlock()
	each, all := 0, 0
	for _, other := range us.all {
		if !other.ended() {
			all++
			if other.owner == u.owner {
				each++
			}
		}
	}
	if each >= uploadsEach || all >= uploadsAll {
		return newProblem(http.StatusTooManyRequests, "too_many_uploads", "Too many photos are on their way at once. Wait until one has arrived, then send the next.")
	}
	us.all[u.id] = u
	u.idle = time.AfterFunc(uploadIdle, func() {
		if !u.ended() {
			u.end(errUploadStood)
		}
		us.forget(u)
	})
	go func() {
		defer u.stop()
		defer func() {
			if p := recover(); p != nil { // as in any request: one photo must not end the server
				u.err = fmt.Errorf("panic: %v", p)
			}
			out.CloseWithError(io.ErrClosedPipe) // nothing more is taken, whether all had come or not
			u.idle.Reset(uploadKept)
			close(u.done)
		}()
		u.photo, u.existed, u.err = store(out)
	}()
	return nil
}

func (us *uploads) forget(u *upload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.all, u.id)
}

// of finds an upload of the account; another's is as if it were not there.
func (us *uploads) of(owner registry.AccountID, id string) (*upload, error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u, ok := us.all[id]
	if !ok || u.owner != owner {
		return nil, noUpload()
	}
	return u, nil
}

// close ends what is under way and waits for it, so that nothing is being stored any more.
func (us *uploads) close() {
	us.mu.Lock()
	var open []*upload
	for _, u := range us.all {
		u.idle.Stop()
		open = append(open, u)
	}
	us.all = map[string]*upload{}
	us.mu.Unlock()
	for _, u := range open {
		if !u.ended() {
			u.end(context.Canceled)
		}
		<-u.done
	}
}

// UploadPath names an upload.
type UploadPath struct {
	Upload string `path:"upload" maxLength:"64" doc:"Id of the upload."`
	Tus    string `header:"Tus-Resumable" doc:"The protocol's version: 1.0.0."`
}

// UploadState is how far an upload is. It is exported because huma reads embedded fields only then.
type UploadState struct {
	Tus      string `header:"Tus-Resumable"`
	Location string `header:"Location"`
	Offset   string `header:"Upload-Offset" doc:"How many bytes have come."`
	Length   string `header:"Upload-Length"`
}

func (u *upload) state() *UploadState {
	return &UploadState{Tus: tusVersion, Offset: fmt.Sprint(u.received()), Length: fmt.Sprint(u.length)}
}

func (s *Server) uploadRoutes() {
	tags := []string{"Photos"}

	huma.Register(s.api, huma.Operation{
		OperationID: "begin-upload", Method: http.MethodPost, Path: prefix + "/cases/{case}/uploads", Tags: tags,
		Summary: "Begin to send a photo in pieces", DefaultStatus: http.StatusCreated,
		Description: "For connections that drop: the tus protocol 1.0.0 with creation and termination. Send the pieces to the address in Location.",
		Errors:      []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests},
	}, s.beginUpload)

	huma.Register(s.api, huma.Operation{
		OperationID: "read-upload", Method: http.MethodHead, Path: prefix + "/uploads/{upload}", Tags: tags,
		Summary: "Ask how much of an upload has come", DefaultStatus: http.StatusOK, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *UploadPath) (*UploadState, error) {
		u, err := s.upload(ctx, in)
		if err != nil {
			return nil, s.problem(err)
		}
		return u.state(), nil
	})

	huma.Register(s.api, huma.Operation{
		OperationID: "continue-upload", Method: http.MethodPatch, Path: prefix + "/uploads/{upload}", Tags: tags,
		Summary: "Send the next piece of a photo", DefaultStatus: http.StatusNoContent,
		Description: "The body is the next bytes, of type " + tusType + ". The last piece is answered with 200 and the photo, as adding it in one go is; " +
			"sent again without a body at the end, it is answered like the first time, for an hour.",
		Errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusLengthRequired,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusLocked},
		Responses: map[string]*huma.Response{
			"204": {Description: "The piece has come; Upload-Offset says where the next begins."},
			"200": {Description: "All has come, and the photo is stored.", Content: map[string]*huma.MediaType{
				"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Photo](), true, "Photo")},
			}},
		},
	}, s.continueUpload)

	huma.Register(s.api, huma.Operation{
		OperationID: "end-upload", Method: http.MethodDelete, Path: prefix + "/uploads/{upload}", Tags: tags,
		Summary: "End an upload before it is complete", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
		Description: "What has come of it is gone. A photo that is stored already stays.",
	}, func(ctx context.Context, in *UploadPath) (*struct {
		Tus string `header:"Tus-Resumable"`
	}, error) {
		u, err := s.upload(ctx, in)
		if err != nil {
			return nil, s.problem(err)
		}
		u.end(errUploadEnded)
		s.uploads.forget(u)
		u.idle.Stop()
		return &struct {
			Tus string `header:"Tus-Resumable"`
		}{tusVersion}, nil
	})
}

// upload finds an upload of the caller's, for a protocol that we speak.
func (s *Server) upload(ctx context.Context, in *UploadPath) (*upload, error) {
	if err := speaksTus(in.Tus); err != nil {
		return nil, err
	}
	return s.uploads.of(caller(ctx).Account, in.Upload)
}

func speaksTus(version string) error {
	if version != "" && version != tusVersion {
		return newProblem(http.StatusPreconditionFailed, "tus_version", "This server speaks version "+tusVersion+" of the tus protocol. Send it as Tus-Resumable.")
	}
	return nil
}

func (s *Server) beginUpload(ctx context.Context, in *struct {
	CasePath
	Tus    string `header:"Tus-Resumable" doc:"The protocol's version: 1.0.0."`
	Length string `header:"Upload-Length" required:"true" maxLength:"20" doc:"Bytes of the photo."`
	About  string `header:"Upload-Metadata" maxLength:"1000" doc:"Keys, each with its value in base64 behind a blank, with commas between: filename, and taken, when the photo was taken (2009, 2009-05 or 2009-05-17)."`
}) (*UploadState, error) {
	if err := speaksTus(in.Tus); err != nil {
		return nil, s.problem(err)
	}
	length, err := strconv.ParseInt(in.Length, 10, 64)
	switch {
	case err != nil || length < 0:
		return nil, newProblem(http.StatusBadRequest, "upload_length", "Upload-Length must be the number of bytes of the photo.")
	case length == 0:
		return nil, newProblem(http.StatusBadRequest, "empty", "The photo is empty. Send the file itself.")
	case length > finder.MaxPhotoBytes:
		return nil, s.problem(&http.MaxBytesError{Limit: finder.MaxPhotoBytes})
	}
	about, err := metadata(in.About)
	if err != nil {
		return nil, s.problem(err)
	}
	taken, err := date("taken", about["taken"])
	if err != nil {
		return nil, s.problem(err)
	}
	c, err := s.edit(ctx, registry.CaseID(in.Case))
	if err != nil {
		return nil, s.problem(err)
	}
	// The upload lives on when this request is answered, as what its caller does.
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	u := &upload{owner: caller(ctx).Account, caseID: c.ID, length: length, stop: stop}
	err = s.uploads.begin(u, func(body io.Reader) (registry.Photo, bool, error) {
		return s.finder.AddPhoto(live, c.ID, finder.NewPhoto{Name: about["filename"], Taken: taken, Caller: u.owner}, body)
	})
	if err != nil {
		stop()
		return nil, s.problem(err)
	}
	out := u.state()
	out.Location = prefix + "/uploads/" + u.id
	return out, nil
}

// metadata reads what a sender says of its upload: "filename d29ybGQ=,taken MjAwOQ==".
func metadata(header string) (map[string]string, error) {
	out := map[string]string{}
	for pair := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, newProblem(http.StatusBadRequest, "upload_metadata", "Upload-Metadata must hold each key with its value in base64 behind a blank, and commas between.")
		}
		if key != "" {
			out[key] = string(raw)
		}
	}
	return out, nil
}

// continued is the answer to a piece: the photo, once all of it is there.
type continued struct {
	Status int
	UploadState
	Body func(huma.Context)
}

func (s *Server) continueUpload(ctx context.Context, in *struct {
	UploadPath
	Offset string `header:"Upload-Offset" required:"true" maxLength:"20" doc:"Where the piece begins: how many bytes have come."`
	PhotoUpload
}) (*continued, error) {
	u, err := s.upload(ctx, &in.UploadPath)
	if err == nil {
		_, err = s.edit(ctx, u.caseID)
	}
	if err == nil && u.received() < u.length && !u.ended() {
		err = s.piece(u, in.Offset, &in.PhotoUpload)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	out := &continued{Status: http.StatusNoContent, UploadState: *u.state()}
	if u.received() < u.length && !u.ended() {
		out.Body = func(hc huma.Context) { hc.SetStatus(http.StatusNoContent) }
		return out, nil
	}
	select {
	case <-u.done:
	case <-ctx.Done():
		return nil, s.problem(ctx.Err())
	}
	if u.err != nil {
		return nil, s.problem(outcome(u.err))
	}
	photo := apiPhoto(u.photo, s.printer(ctx))
	photo.Duplicate = u.existed
	raw, err := json.Marshal(photo)
	if err != nil {
		return nil, s.problem(err)
	}
	out.Body = func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/json")
		hc.SetStatus(http.StatusOK)
		_, _ = hc.BodyWriter().Write(raw) // a client that has gone asks again
	}
	return out, nil
}

// piece takes the next bytes. However it ends, what has come until then has come.
func (s *Server) piece(u *upload, offset string, in *PhotoUpload) error {
	if in.request.Header.Get("Content-Type") != tusType {
		return newProblem(http.StatusUnsupportedMediaType, "content_type", "Send the piece as it is, with Content-Type: "+tusType+".")
	}
	from, err := strconv.ParseInt(offset, 10, 64)
	if err != nil || from < 0 {
		return newProblem(http.StatusBadRequest, "upload_offset", "Upload-Offset must be the number of bytes that have come.")
	}
	size := in.request.ContentLength
	if size < 0 {
		return newProblem(http.StatusLengthRequired, "length", "Say how long the piece is, in Content-Length.")
	}
	if !u.writing.TryLock() {
		return newProblem(http.StatusLocked, "in_progress", "Another piece of this upload is coming right now. Ask for the offset in a moment and go on from there.")
	}
	defer u.writing.Unlock()
	if at := u.received(); from != at {
		return newProblem(http.StatusConflict, "upload_offset", fmt.Sprintf("%d bytes have come. Go on from there.", at))
	}
	if size > u.length-from {
		return newProblem(http.StatusRequestEntityTooLarge, "upload_length", "The piece goes beyond the length that was said at the beginning.")
	}
	_, err = io.Copy(u, &movingBody{r: in.request.Body, c: http.NewResponseController(in.writer)})
	if u.received() == u.length {
		return u.in.Close()
	}
	if u.ended() { // it could not be stored: the outcome says why
		return nil
	}
	if errors.Is(err, io.ErrClosedPipe) {
		return noUpload()
	}
	return err
}

// outcome is how a failed upload is told of: one that was ended is as if it were not there.
func outcome(err error) error {
	if errors.Is(err, errUploadEnded) || errors.Is(err, errUploadStood) || errors.Is(err, context.Canceled) {
		return noUpload()
	}
	return err
}

func noUpload() error {
	return newProblem(http.StatusNotFound, "no_upload", "There is no such upload; it may have ended. Begin again.")
}
