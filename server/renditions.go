package server

import (
	"context"
	"strconv"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"homeward/registry"
)

// Bounds of the pictures kept in memory, about 20 kB each; they are cheap to make again.
const (
	renditionsKept = 2000
	renditionBytes = 128 << 20
)

// renditions keeps small pictures that were made lately, so that a page of candidates opens without decoding twenty photos.
type renditions struct {
	lru   *lru.Cache[string, []byte]
	bytes atomic.Int64
}

func newRenditions() (r *renditions, err error) {
	r = &renditions{}
	r.lru, err = lru.NewWithEvict(renditionsKept, func(_ string, pic []byte) { r.bytes.Add(-int64(len(pic))) })
	return r, err
}

// keep keeps a picture, and lets go of those used longest ago where they have become too many.
func (r *renditions) keep(key string, pic []byte) {
	r.bytes.Add(int64(len(pic)))
	if kept, _ := r.lru.ContainsOrAdd(key, pic); kept {
		r.bytes.Add(-int64(len(pic)))
	}
	for r.bytes.Load() > renditionBytes {
		if _, _, some := r.lru.RemoveOldest(); !some {
			return
		}
	}
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
	return s.picture(ctx, string(p.ID), in.Size, p, func(side int) ([]byte, error) { return s.finder.Rendition(ctx, p, side) })
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
	face, ok := p.Face(registry.FaceID(in.Face))
	if !ok { // only a model set that does not answer has found it
		return nil, s.problem(registry.ErrNotFound)
	}
	return s.picture(ctx, in.Face, in.Size, p, func(side int) ([]byte, error) { return s.finder.Chip(ctx, p, face, side) })
}

// picture answers with a small picture of what (a photo's or a face's id) in a size of its enumeration, from memory where
// it was made lately.
func (s *Server) picture(ctx context.Context, what, size string, p registry.Photo, make func(side int) ([]byte, error)) (*pictureOutput, error) {
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
		if pic, err = make(side); err != nil {
			return nil, s.problem(err)
		}
		s.chips.keep(key, pic)
	}
	// The person's own browser may keep it for a while; nothing between us may.
	return &pictureOutput{ContentType: "image/jpeg", CacheControl: "private, max-age=600", Body: pic}, nil
}
