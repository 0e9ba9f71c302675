package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/nfnt/resize"

	"homeward/api"
	"homeward/finder"
	"homeward/registry"
)

// perGallery is what a person never meets: whoever wants all pictures of the gallery waits long for them.
var perGallery = limit{name: "gallery", every: 200 * time.Millisecond, burst: 600}

const (
	galleryListed = 20
	// smallQuality of a JPEG is enough to know a child by, and half the size of the usual.
	smallQuality = 72
)

// sizes of a published picture's longer side, in pixels.
var sizes = []string{"240", "480"}

func (s *Server) galleryRoutes() {
	s.engine.GET("/gallery", s.unlisted, s.galleryPage)
	s.engine.GET("/gallery/:child", s.unlisted, s.childPage)
	s.engine.GET("/gallery/pictures/:picture", s.unlisted, s.publishedPicture)

	huma.Register(s.api, huma.Operation{
		OperationID: "open-family-lead", Method: http.MethodPost, Path: prefix + "/gallery/{child}/leads", Tags: []string{"Families"},
		Summary: "Say that a published child may be the family's own", DefaultStatus: http.StatusOK, Errors: []int{http.StatusNotFound, http.StatusConflict},
		Description: "An officer looks at it. The answer is always the same, and tells nothing of the child.",
	}, s.openFamilyLead)
}

// unlisted keeps children's faces, and families' private addresses, out of search engines.
func (s *Server) unlisted(c *gin.Context) {
	c.Header("X-Robots-Tag", "noindex, nofollow, noarchive, noimageindex")
}

// galleryChild is a published child in the reader's language.
type galleryChild struct {
	ID       string
	Sex      string
	Age      string // when found, in words
	FoundOn  string
	Place    string
	Region   string
	Marks    string
	Pictures []string
}

// galleryPage is one page of the public gallery.
type galleryPage struct {
	Children      []galleryChild
	Total         int
	Sex, From, To string
	Words         string
	Regions       []choice
	Filtered      bool
	Next          string // address of the next page
	First         bool
}

func (s *Server) galleryPage(c *gin.Context) {
	ctx := c.Request.Context()
	q := registry.GalleryQuery{
		AgeFrom: ageAsked(c.Query("from")), AgeTo: ageAsked(c.Query("to")), Region: c.Query("region"),
		Words: strings.TrimSpace(c.Query("words")), Limit: galleryListed, Cursor: c.Query("cursor"),
	}
	if sex := registry.Sex(c.Query("sex")); sex == registry.Female || sex == registry.Male {
		q.Sex = sex
	}
	if q.AgeTo != 0 && q.AgeTo < q.AgeFrom {
		q.AgeFrom, q.AgeTo = q.AgeTo, q.AgeFrom
	}
	found, total, next, err := s.finder.Registry.Gallery(ctx, q)
	if err != nil {
		s.problemPage(c, err)
		return
	}
	p := galleryPage{
		Total: total, Sex: string(q.Sex), From: orNothing(q.AgeFrom), To: orNothing(q.AgeTo), Words: q.Words,
		Filtered: q.Sex != "" || q.AgeFrom != 0 || q.AgeTo != 0 || q.Region != "" || q.Words != "", First: q.Cursor == "",
	}
	if p.Regions, err = s.regionChoices(ctx, q.Region); err != nil {
		s.problemPage(c, err)
		return
	}
	for _, child := range found {
		shown, err := s.galleryChild(ctx, child)
		if err != nil {
			s.problemPage(c, err)
			return
		}
		p.Children = append(p.Children, shown)
	}
	if next != "" {
		v := url.Values{}
		for name, value := range map[string]string{"sex": p.Sex, "from": p.From, "to": p.To, "region": q.Region, "words": q.Words, "cursor": next} {
			if value != "" {
				v.Set(name, value)
			}
		}
		p.Next = "/gallery?" + v.Encode()
	}
	s.page(c, http.StatusOK, "gallery.html", "gallery.title", p)
}

// ageAsked reads an age that narrows the gallery. What makes no sense narrows nothing.
func ageAsked(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 || n > registry.MaxPublishedAge {
		return 0
	}
	return n
}

func orNothing(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// galleryChild is what the public sees of a publication, in words.
func (s *Server) galleryChild(ctx context.Context, p registry.Publication) (galleryChild, error) {
	say := s.printer(ctx)
	out := galleryChild{ID: p.ID, Sex: string(p.Sex), FoundOn: p.FoundOn.String(), Place: p.Place, Marks: p.Marks}
	switch {
	case p.AgeTo == 0:
		out.Age = say.T("gallery.age.baby")
	case p.AgeFrom == p.AgeTo:
		out.Age = say.T("gallery.age.one", "Count", p.AgeTo)
	default:
		out.Age = say.T("gallery.age.range", "From", p.AgeFrom, "To", p.AgeTo)
	}
	for _, pic := range p.Pictures {
		out.Pictures = append(out.Pictures, pic.ID)
	}
	if p.Region == "" {
		return out, nil
	}
	regions, err := s.finder.Registry.Regions(ctx)
	for _, r := range regions {
		if r.Code == p.Region {
			out.Region = r.Name(say.Lang())
		}
	}
	return out, err
}

// childPage is one published child.
type childPage struct {
	galleryChild
	Family bool // may say that it may be theirs
	Told   bool // has said so just now
	Staff  bool
}

func (s *Server) childPage(c *gin.Context) {
	ctx := c.Request.Context()
	child, err := s.finder.Registry.PublishedChild(ctx, c.Param("child"))
	var shown galleryChild
	if err == nil {
		shown, err = s.galleryChild(ctx, child)
	}
	if err != nil {
		s.problemPage(c, err)
		return
	}
	role := caller(ctx).Role
	s.page(c, http.StatusOK, "child.html", "child.title", childPage{
		galleryChild: shown, Family: role == registry.Family, Staff: role.Staff(), Told: c.Query("told") != "",
	})
}

// publishedPicture answers with a published picture, small. The registry is asked every time: what is hidden now is not there now.
func (s *Server) publishedPicture(c *gin.Context) {
	ctx := c.Request.Context()
	size := c.DefaultQuery("size", sizes[0])
	id := c.Param("picture")
	if !slices.Contains(sizes, size) {
		s.abort(c, newProblem(http.StatusUnprocessableEntity, "invalid", "The size of a picture is 240 or 480."))
		return
	}
	_, picture, err := s.finder.Registry.PublishedPicture(ctx, id, false)
	if err != nil {
		s.abort(c, err)
		return
	}
	key := id + "/" + size
	small, ok := s.chips.lru.Get(key)
	if !ok {
		if small, err = smaller(picture, size); err != nil {
			s.abort(c, err)
			return
		}
		s.chips.keep(key, small)
	}
	// Whoever looks may keep it for as long as it takes to look; it must be gone soon after it is hidden.
	c.Header("Cache-Control", "public, max-age=300")
	c.Data(http.StatusOK, "image/jpeg", small)
}

// smaller makes a JPEG whose longer side is at most size pixels.
func smaller(picture []byte, size string) ([]byte, error) {
	side, err := strconv.ParseUint(size, 10, 16)
	if err != nil {
		return nil, err
	}
	im, err := jpeg.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("published picture: %w", err)
	}
	var b bytes.Buffer
	err = jpeg.Encode(&b, resize.Thumbnail(uint(side), uint(side), im, resize.Lanczos3), &jpeg.Options{Quality: smallQuality})
	return b.Bytes(), err
}

// openFamilyLead opens a lead for officers. The answer is the same whatever there was before, and whatever comes of it.
func (s *Server) openFamilyLead(ctx context.Context, in *struct {
	Child string `path:"child" maxLength:"64" doc:"Id of the published child."`
	Body  api.NewFamilyLead
}) (*struct{ Body api.Told }, error) {
	say := s.printer(ctx)
	child, err := s.finder.Registry.PublishedChild(ctx, in.Child)
	if err != nil {
		return nil, s.problem(err)
	}
	mine, err := s.edit(ctx, caller(ctx).Case)
	if err != nil {
		return nil, s.problem(err)
	}
	lead := registry.NewLead{Missing: mine.ID, Found: child.Case}
	lead.Strength, err = s.finder.ComparePair(ctx, mine.ID, child.Case)
	if err != nil && !errors.Is(err, finder.ErrNoFaces) && !errors.Is(err, registry.ErrNotFound) {
		return nil, s.problem(err)
	}
	_, _, err = s.finder.Registry.OpenLead(ctx, lead, registry.FromFamily, in.Body.Note)
	var full *registry.FieldError
	if errors.As(err, &full) && full.Field == "note" {
		// The lead is there and has no room for more words, which the family is not to learn.
		if _, known := s.finder.Registry.LeadOf(ctx, mine.ID, child.Case); known == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, s.problem(err)
	}
	return &struct{ Body api.Told }{api.Told{Message: say.T("child.thanks")}}, nil
}
