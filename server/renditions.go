package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"homeward/engine"
	"homeward/registry"
)

const (
	// renditionsKept bounds the pictures kept in memory, about 20 kB each; they are cheap to make again.
	renditionsKept = 2000
	renditionLife  = 10 * time.Minute
)

// renditions keeps small pictures that were made lately, so that a page of candidates opens without decoding twenty photos.
type renditions struct {
	lru *expirable.LRU[string, []byte]
}

func newRenditions() *renditions {
	return &renditions{expirable.NewLRU[string, []byte](renditionsKept, nil, renditionLife)}
}

// forget drops all pictures: something was deleted, and no copy of it may linger.
func (r *renditions) forget() { r.lru.Purge() }

type pictureOutput struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func (s *Server) rendition(ctx context.Context, in *struct {
	photoPath
	Size int `query:"size" enum:"160,320,640,1024" default:"640" doc:"Longest side, in pixels."`
}) (*pictureOutput, error) {
	p, err := s.finder.Registry.Photo(ctx, registry.PhotoID(in.Photo))
	if err != nil {
		return nil, s.problem(err)
	}
	return s.picture(ctx, p, fmt.Sprintf("%s/%d", p.ID, in.Size), func(photo []byte) ([]byte, error) {
		return engine.Rendition(photo, in.Size)
	})
}

func (s *Server) chip(ctx context.Context, in *struct {
	Face string `path:"face" maxLength:"64" doc:"Id of the face."`
	Size int    `query:"size" enum:"112,224" default:"224" doc:"Side, in pixels."`
}) (*pictureOutput, error) {
	p, err := s.finder.Registry.PhotoOf(ctx, registry.FaceID(in.Face))
	if err != nil {
		return nil, s.problem(err)
	}
	var face registry.Face
	for _, f := range p.Faces {
		if string(f.ID) == in.Face {
			face = f
		}
	}
	return s.picture(ctx, p, fmt.Sprintf("%s/%d", face.ID, in.Size), func(photo []byte) ([]byte, error) {
		return engine.Chip(photo, engineFace(face), in.Size)
	})
}

// picture answers with a small picture made of a photo, from memory where it was made lately.
func (s *Server) picture(ctx context.Context, p registry.Photo, key string, make func(photo []byte) ([]byte, error)) (*pictureOutput, error) {
	pic, ok := s.chips.lru.Get(key)
	if !ok {
		photo, err := s.readPhoto(ctx, p)
		if err != nil {
			return nil, s.problem(err)
		}
		if pic, err = make(photo); err != nil {
			return nil, s.problem(err)
		}
		s.chips.lru.Add(key, pic)
	}
	// The person's own browser may keep it for a while; nothing between us may.
	return &pictureOutput{ContentType: "image/jpeg", CacheControl: "private, max-age=600", Body: pic}, nil
}

func (s *Server) readPhoto(ctx context.Context, p registry.Photo) ([]byte, error) {
	r, err := s.finder.Registry.OpenPhoto(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(int(p.Size) + bytes.MinRead)
	if _, err := io.Copy(&b, r); err != nil {
		return nil, fmt.Errorf("read photo %s: %w", p.ID, err)
	}
	return b.Bytes(), nil
}

func engineFace(f registry.Face) engine.Face {
	e := engine.Face{Box: engine.Box{X: f.X, Y: f.Y, Width: f.W, Height: f.H}}
	for i, l := range f.Landmarks {
		e.Landmarks[i] = engine.Point{X: l[0], Y: l[1]}
	}
	return e
}
