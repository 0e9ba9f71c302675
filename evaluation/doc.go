// Package evaluation measures how well scores tell whether two photos show the same person, on photos whose subject is known.
// It knows nothing of models: a Comparer gives it scores, by the places of photos in a slice.
//
// The words are those of ISO/IEC 19795-1. A pair is mated when both photos show the same subject. TAR is the share of mated
// pairs accepted, FAR that of non-mated pairs accepted. A probe is searched in a gallery; rank r is the share of probes whose
// subject is among the first r. FNIR is the share of probes whose subject is not returned, FPIR that of searches for somebody
// who is not in the gallery and that return somebody all the same.
//
// Two conventions hold everywhere, and both count against the comparer. A threshold at a rate q over N non-mated scores is the
// (floor(q·N)+1)-th largest of them, and what scores strictly above it is accepted: so at most floor(q·N) non-mated scores are, and a mated
// score that ties with the threshold is not. A figure whose q·N is below 1 is not resolved, and is null. And a subject that scores as high as
// the one searched for stands before it.
//
// Scores are compared as float32. A figure is NaN in Go and null in JSON where it cannot be given.
package evaluation
