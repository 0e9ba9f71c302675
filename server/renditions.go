package server

import (
	"context"
	"runtime"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"

	"homeward/engine"
	"homeward/registry"
)

// renditionsKept bounds the pictures kept in memory, about 20 kB each; they are cheap to make again.
const renditionsKept = 2000

// renditions keeps small pictures that were made lately, so that a page of candidates opens without decoding twenty photos.
type renditions struct {
	lru *lru.Cache[string, []byte]
	// making bounds how many are decoded at once: a photo of 100 megapixels takes hundreds of megabytes for a moment.
	making chan struct{}
}

func newRenditions() (*renditions, error) {
	c, err := lru.New[string, []byte](renditionsKept)
	return &renditions{c, make(chan struct{}, runtime.GOMAXPROCS(0))}, err
}

// forget drops all pictures: something was deleted, and no copy of it may linger.
func (r *renditions) forget() { r.lru.Purge() }

type pictureOutput struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func (s *Server) rendition(ctx context.Context, in *struct {
	PhotoPath
	Size string `query:"size" enum:"160,320,640,1024" default:"640" doc:"Longest side, in pixels."`
}) (*pictureOutput, error) {
	p, err := s.seePhoto(ctx, registry.PhotoID(in.Photo))
	if err != nil {
		return nil, s.problem(err)
	}
	return s.picture(ctx, p, string(p.ID), in.Size, engine.Rendition)
}

func (s *Server) chip(ctx context.Context, in *struct {
	Face string `path:"face" maxLength:"64" doc:"Id of the face."`
	Size string `query:"size" enum:"112,224,448" default:"224" doc:"Side, in pixels."`
}) (*pictureOutput, error) {
	p, err := s.finder.Registry.PhotoOf(ctx, registry.FaceID(in.Face))
	if err == nil {
		_, err = s.see(ctx, p.CaseID)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	face, _ := p.Face(registry.FaceID(in.Face)) // PhotoOf found the photo by it
	return s.picture(ctx, p, in.Face, in.Size, func(photo []byte, side int) ([]byte, error) {
		box, landmarks := geometry(face)
		return engine.Chip(photo, box, landmarks, side)
	})
}

// picture answers with a small picture of what (a photo's or a face's id) in a size of its enumeration, from memory where
// it was made lately.
func (s *Server) picture(ctx context.Context, p registry.Photo, what, size string, make func(photo []byte, side int) ([]byte, error)) (*pictureOutput, error) {
	side, err := strconv.Atoi(size)
	if err == nil {
		err = s.looked(ctx, p)
	}
	if err != nil {
		return nil, s.problem(err)
	}
	key := what + "/" + size
	pic, ok := s.chips.lru.Get(key)
	if !ok {
		select {
		case s.chips.making <- struct{}{}:
			defer func() { <-s.chips.making }()
		case <-ctx.Done():
			return nil, s.problem(ctx.Err())
		}
		photo, err := s.finder.ReadPhoto(ctx, p)
		if err != nil {
			return nil, s.problem(err)
		}
		if pic, err = make(photo, side); err != nil {
			return nil, s.problem(err)
		}
		s.chips.lru.Add(key, pic)
	}
	// The person's own browser may keep it for a while; nothing between us may.
	return &pictureOutput{ContentType: "image/jpeg", CacheControl: "private, max-age=600", Body: pic}, nil
}

// geometry is where a stored face lies in its photo.
func geometry(f registry.Face) (engine.Box, [5]engine.Point) {
	var landmarks [5]engine.Point
	for i, l := range f.Landmarks {
		landmarks[i] = engine.Point{X: l[0], Y: l[1]}
	}
	return engine.Box{X: f.X, Y: f.Y, Width: f.W, Height: f.H}, landmarks
}
