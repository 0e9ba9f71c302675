// Package match says how much the evidence speaks for one child rather than two.
//
// The words it uses:
//
//	embedding    one recogniser's raw output for a face
//	fused        the recognisers' embeddings, centred, each at unit length, one behind the other (fuse.go)
//	template     the fused vector projected onto what tells people apart whatever their age (plda.go): Dim numbers, of which
//	             the last is the part of a comparison that depends on this side alone
//	comparison   the log-likelihood ratio of two sets of faces under the model (compare.go), and what it is worth at
//	             these ages (calibration.go)
//	plausibility what the records say beside the faces, as a likelihood ratio of its own (plausibility.go)
//
// Log-likelihood ratios are natural logarithms throughout; people are shown words (words.go).
//
// Nothing here knows of storage or HTTP.
package match
