// Package labelled turns photos whose subject is known into what training and evaluation work on: for each photo, the
// subject's face with its embeddings, estimated age and quality. What was computed once is kept in a cache, so that only
// photos and recognisers that are new cost time.
package labelled
