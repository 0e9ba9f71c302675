// One block of a cross-match: see cross.go for why nothing that counts is left out.
#ifndef HOMEWARD_CROSS_H
#define HOMEWARD_CROSS_H

#include <stddef.h>
#include <stdint.h>

// Multiplies m queries by n references of dim numbers each; products holds m rows of n.
void hw_multiply(const float *queries, size_t m, const float *references, size_t n, size_t dim, float *products);

// Writes to at, for each of m rows of n products, the positions of those that are not below the row's least, in a row of n as well,
// and to found how many they are. portable asks for the plain C kernel.
void hw_reaching(const float *products, size_t m, size_t n, const float *least, int portable, uint32_t *at, uint32_t *found);

#endif
