// The scan of the exact index: which rows could reach a threshold. See exact.go for why none that can is left out.
#ifndef HOMEWARD_SCAN_H
#define HOMEWARD_SCAN_H

#include <stddef.h>
#include <stdint.h>

// A quantised reference; the same as row in quantise.go.
typedef struct {
	float scale; // one step of the codes
	float slack; // at least the norm of what the codes leave out
	float norm;  // at least the norm of the reference, and of what the codes say
	float peak;  // the component of largest magnitude, as it is
	int32_t at;  // its position
} hw_row;

// Writes to out the positions of the rows whose upper bound reaches threshold, in order, and returns how many.
// codes holds n rows of stride (a multiple of 16) codes, query as many; vector is the query itself. portable asks for
// the plain C kernel.
size_t hw_scan(const int8_t *codes, const hw_row *rows, size_t n, size_t stride, const int16_t *query,
	const float *vector, double scale, double slack, double norm, double floor, double threshold, int portable,
	uint32_t *out);

#endif
