package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"homeward/engine"
	"homeward/models"
)

// A frame is one byte that says what it is, the length of its body in four (little-endian), and the body.
type kind byte

// What a process is told.
const (
	kindRequest kind = 'r' // JSON of a request; a kindPhoto follows
	kindPhoto   kind = 'p' // the photo's bytes
	kindGo      kind = 'g' // after a kindHeader: let the models see it
	kindStop    kind = 's' // nobody waits for the answer any more; the process answers with an error, or is done already
)

// What a process answers.
const (
	kindReady  kind = 'R' // once, at its start: JSON of a readiness
	kindHeader kind = 'H' // JSON of an engine.Header: the photo is sound, and the process waits for kindGo
	kindFace   kind = 'F' // JSON of an engine.Face of the analysis; kindDone follows the last
	kindDone   kind = 'D' // the answer: JSON of an engine.Analysis without its faces, or a JPEG
	kindError  kind = 'E' // JSON of a failure
)

// Bounds of what a process answers, in bytes. A face is some 14 kB, nearly all of it numbers of up to 16 characters. Each face has a
// frame to itself: a long list of nothing, in JSON, takes a hundred times its length to read.
const (
	maxSmall   = 16 << 10
	maxFace    = 256 << 10
	maxPicture = 16 << 20
	maxText    = 2000
)

// errNonsense means that a process did not keep to what is laid down here.
var errNonsense = errors.New("an answer that makes no sense")

func nonsense(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNonsense, fmt.Sprintf(format, args...))
}

func writeFrame(w io.Writer, k kind, body []byte) error {
	head := [5]byte{byte(k)}
	binary.LittleEndian.PutUint32(head[1:], uint32(len(body)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	_, err := w.Write(body)
	return err
}

func writeJSON(w io.Writer, k kind, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, k, body)
}

// readFrame reads a frame whose body may have as many bytes as most says of its kind; a kind of which it says −1 is refused.
func readFrame(r io.Reader, most func(kind) int) (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	k, n := kind(head[0]), int64(binary.LittleEndian.Uint32(head[1:]))
	if bound := most(k); bound < 0 {
		return 0, nil, nonsense("a frame %q", head[0])
	} else if n > int64(bound) {
		return 0, nil, nonsense("a frame %q of %d bytes", head[0], n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err == io.EOF {
		return 0, nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return 0, nil, err
	}
	return k, body, nil
}

// What can be done with a photo.
const (
	doAnalyse   = "analyse"
	doRendition = "rendition"
	doChip      = "chip"
	doPortrait  = "portrait"
)

type request struct {
	Do        string
	Side      int             `json:",omitempty"`
	Box       engine.Box      `json:",omitzero"`
	Landmarks [5]engine.Point `json:",omitzero"`
}

// readiness is how a process's start went.
type readiness struct {
	Error string `json:",omitempty"` // why it cannot start
}

// failure is an error that travels. With a Code it is an engine.PhotoError.
type failure struct {
	Code string `json:",omitempty"`
	Text string
}

func failed(err error) failure {
	var photo *engine.PhotoError
	if errors.As(err, &photo) {
		return failure{photo.Code, photo.Text}
	}
	text := "worker: " + err.Error()
	return failure{Text: strings.ToValidUTF8(text[:min(len(text), maxText)], "")}
}

// error is what the failure stands for; errNonsense where it cannot be one. Its words reach people.
func (f failure) error() error {
	if len(f.Text) > maxText || f.Text == "" || !utf8.ValidString(f.Text) {
		return nonsense("an error without words, or with too many")
	}
	if f.Code == "" {
		return errors.New(f.Text)
	}
	if len(f.Code) > 40 || strings.Trim(f.Code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return nonsense("an error of code %.20q", f.Code)
	}
	return &engine.PhotoError{Code: f.Code, Text: f.Text}
}

// reasons are all that there are.
var reasons = [...]engine.Reason{engine.TooSmall, engine.TooBlurred, engine.TurnedAway, engine.Uncertain}

func readJSON(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return nonsense("%.100s", err)
	}
	return nil
}

func readHeader(body []byte) (h engine.Header, err error) {
	if err := readJSON(body, &h); err != nil {
		return h, err
	}
	if h.Pages < 1 || h.Orientation < 0 || h.Orientation > 8 {
		return h, nonsense("%d pages, orientation %d", h.Pages, h.Orientation)
	}
	return h, checkPhoto(h.Format, h.Width, h.Height)
}

func checkPhoto(format string, width, height int) error {
	if !slices.Contains([]string{"jpeg", "png", "webp", "tiff", "heif"}, format) {
		return nonsense("format %.20q", format)
	}
	if width < engine.MinSide || height < engine.MinSide || width > engine.MaxSide || height > engine.MaxSide || width*height > engine.MaxPixels {
		return nonsense("a photo of %d by %d pixels", width, height)
	}
	return nil
}

// readAnalysis reads an analysis, still without its faces.
func readAnalysis(body []byte) (*engine.Analysis, error) {
	a := &engine.Analysis{}
	if err := readJSON(body, a); err != nil {
		return nil, err
	}
	if len(a.Faces) > 0 {
		return nil, nonsense("a face beside its frame")
	}
	for _, t := range []time.Duration{a.Timing.Decode, a.Timing.Detect, a.Timing.Embed, a.Timing.Dlib, a.Timing.Age, a.Timing.Total} {
		if t < 0 || t > 24*time.Hour {
			return nil, nonsense("a timing of %v", t)
		}
	}
	return a, checkPhoto(a.Format, a.Width, a.Height)
}

// readFace reads a face under a set. JSON has no numbers that are not finite, so none comes through.
func readFace(body []byte, set models.Set) (f engine.Face, err error) {
	if err := readJSON(body, &f); err != nil {
		return f, err
	}
	if f.Chip != nil || len(f.Embeddings) != len(set.Recognisers) {
		return f, nonsense("a face with %d embeddings", len(f.Embeddings))
	}
	for i, e := range f.Embeddings {
		if want := set.Recognisers[i]; e.Recogniser != want.Name || e.Vector != nil && len(e.Vector) != want.Output.Dim {
			return f, nonsense("an embedding of %d numbers by %.50q", len(e.Vector), e.Recogniser)
		}
	}
	if len(f.Quality.Reasons) > len(reasons) {
		return f, nonsense("%d reasons", len(f.Quality.Reasons))
	}
	for _, r := range f.Quality.Reasons {
		if !slices.Contains(reasons[:], r) {
			return f, nonsense("a reason %.50q", string(r))
		}
	}
	return f, nil
}

// checkJPEG refuses what is no JPEG of sides up to most pixels, or has more bytes than those pixels would uncompressed: others open it and
// keep it without asking how large it is.
func checkJPEG(body []byte, most int) error {
	if len(body) > 3*most*most+64<<10 {
		return nonsense("a picture of %d bytes where %d pixels square were asked for", len(body), most)
	}
	c, err := jpeg.DecodeConfig(bytes.NewReader(body)) // reads the header alone
	if err != nil || !bytes.HasSuffix(body, []byte("\xff\xd9")) {
		return nonsense("a picture that is no JPEG")
	}
	if c.Width > most || c.Height > most {
		return nonsense("a picture of %d by %d pixels where %d were asked for", c.Width, c.Height, most)
	}
	return nil
}
