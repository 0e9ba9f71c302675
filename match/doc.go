// Package match turns what the recognisers say of a face into one template, and two templates into a score.
//
// A Metric belongs to one list of recognisers. Its template is the concatenation of their embeddings, each centred where
// a centre was fitted, each scaled to unit length, so that the inner product of two templates is the mean cosine of the
// recognisers. A recogniser that could not work on a face leaves its block zero: it says nothing either way.
package match
