package index

import "math"

// A reference is scanned as 8-bit codes, and a bound on what the codes leave out decides whether its exact score can
// matter. For a reference x with its largest component x_j kept as it is, a step s, codes c (c_j = 0) and what they
// leave out r:
//
//	x_i = s·c_i + r_i   (i ≠ j)
//
// and for a query q with a step t, codes d and what they leave out e:
//
//	q_i = t·d_i + e_i
//
// the inner product is
//
//	q·x = q_j·x_j + Σ q_i·s·c_i + Σ q_i·r_i = q_j·x_j + t·s·(d·c) + s·(e·c) + Σ q_i·r_i
//
// and by Cauchy–Schwarz the last two terms are at most ‖e‖·‖s·c‖ + ‖q‖·‖r‖, so that
//
//	q·x ≤ q_j·x_j + t·s·(d·c) + ‖e‖·norm + ‖q‖·slack   with norm ≥ ‖s·c‖ and slack ≥ ‖r‖.
//
// The integers are exact; every float on the right is rounded up when it is stored. What rounding remains, in the
// bound's own sum and in the score's (float64 sums rounded to float32), is below 2⁻²³·‖q‖·‖x‖ plus half the least
// float32; ‖e‖ is widened by 2⁻²²·‖q‖ and the bound by the least float32 to cover both.
//
// Keeping the largest component apart costs 8 bytes a row and lets a vector end in a one-sided term many times larger
// than the rest, such as a metric's, without a coarse step for all of it.

// row is what the scan knows of a reference besides its codes; the same as hw_row in scan.h.
type row struct {
	scale float32 // s
	slack float32 // ≥ ‖r‖
	norm  float32 // ≥ ‖x‖ and ≥ ‖s·c‖
	peak  float32 // x_j
	at    int32   // j
}

const (
	codeMax   = 127 // largest magnitude of a reference's code
	codeAlign = 16  // codes per load of the scan
)

// stride is how many codes a row of dim components takes.
func stride(dim int) int { return (dim + codeAlign - 1) / codeAlign * codeAlign }

// quantise fills codes, as long as stride(len(x)) and zero behind len(x), and returns the rest of the row.
func quantise(x []float32, codes []int8) row {
	var at int
	var peak, rest float64 // the two largest magnitudes
	for i, v := range x {
		switch m := math.Abs(float64(v)); {
		case m > peak:
			peak, rest, at = m, peak, i
		case m > rest:
			rest = m
		}
	}
	scale := float32(rest / codeMax)
	var left, square float64
	for i, v := range x {
		square += float64(v) * float64(v)
		if i == at {
			codes[i] = 0
			continue
		}
		var c float64
		if scale > 0 { // not below the least float32
			c = max(-codeMax, min(codeMax, math.Round(float64(v)/float64(scale))))
		}
		codes[i] = int8(c)
		r := float64(v) - float64(scale)*c
		left += r * r
	}
	slack := math.Sqrt(left)
	return row{
		scale: scale,
		slack: roundUp(slack),
		norm:  roundUp(math.Sqrt(square) + slack),
		peak:  x[at],
		at:    int32(at),
	}
}

// roundUp is a float32 surely above what v, at least zero, stands for, given that v carries the errors of a float64 sum.
func roundUp(v float64) float32 {
	return math.Nextafter32(float32(v*(1+1e-9)), float32(math.Inf(1)))
}

// probe is a query as the scan takes it.
type probe struct {
	vector []float32
	codes  []int16
	scale  float64 // t
	slack  float64 // ≥ ‖e‖ + 2⁻²²·‖q‖
	norm   float64 // ≥ ‖q‖
}

// leastFloat is added to every bound: see the top of this file.
const leastFloat = math.SmallestNonzeroFloat32

// newProbe quantises a query as finely as a sum over its dimensions can be without overflowing 32 bits.
func newProbe(q []float32) probe {
	var peak float64
	for _, v := range q {
		peak = max(peak, math.Abs(float64(v)))
	}
	limit := min(math.MaxInt16, math.MaxInt32/(codeMax*len(q)))
	p := probe{vector: q, codes: make([]int16, stride(len(q))), scale: peak / float64(limit)}
	var left, square float64
	for i, v := range q {
		d := math.Round(float64(v) / p.scale)
		p.codes[i] = int16(d)
		e := float64(v) - p.scale*d
		left += e * e
		square += float64(v) * float64(v)
	}
	p.norm = math.Sqrt(square) * (1 + 1e-9)
	p.slack = math.Sqrt(left)*(1+1e-9) + p.norm*0x1p-22
	return p
}

// score is the inner product of two vectors of the same length as the whole of Homeward reports it: summed in float64
// in a fixed order, where products of float32 are exact, then rounded to float32. A pair scores the same to the last
// bit on every machine and wherever its reference is kept. Beyond float32's range it saturates.
func score(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += float64(a[i]) * float64(b[i])
		s1 += float64(a[i+1]) * float64(b[i+1])
		s2 += float64(a[i+2]) * float64(b[i+2])
		s3 += float64(a[i+3]) * float64(b[i+3])
	}
	for ; i < len(a); i++ {
		s0 += float64(a[i]) * float64(b[i])
	}
	return float32(max(-math.MaxFloat32, min(math.MaxFloat32, (s0+s1)+(s2+s3))))
}
