#include "cross.h"

#include <cblas.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2_KERNEL 1
#endif

static size_t pick_from(const float *row, size_t i, size_t n, float least, uint32_t *at, size_t found) {
	for (; i < n; i++) {
		at[found] = (uint32_t)i;
		found += !(row[i] < least); // also what is not a number
	}
	return found;
}

#ifdef HAVE_AVX2_KERNEL
__attribute__((target("avx2")))
static size_t pick_avx2(const float *row, size_t n, float least, uint32_t *at) {
	__m256 bound = _mm256_set1_ps(least);
	size_t i = 0, found = 0;
	for (; i + 32 <= n; i += 32) {
		__m256 a = _mm256_cmp_ps(_mm256_loadu_ps(row + i), bound, _CMP_NLT_UQ);
		__m256 b = _mm256_cmp_ps(_mm256_loadu_ps(row + i + 8), bound, _CMP_NLT_UQ);
		__m256 c = _mm256_cmp_ps(_mm256_loadu_ps(row + i + 16), bound, _CMP_NLT_UQ);
		__m256 d = _mm256_cmp_ps(_mm256_loadu_ps(row + i + 24), bound, _CMP_NLT_UQ);
		__m256 any = _mm256_or_ps(_mm256_or_ps(a, b), _mm256_or_ps(c, d));
		if (_mm256_testz_ps(any, any))
			continue;
		uint32_t mask = (uint32_t)_mm256_movemask_ps(a) | (uint32_t)_mm256_movemask_ps(b) << 8
			| (uint32_t)_mm256_movemask_ps(c) << 16 | (uint32_t)_mm256_movemask_ps(d) << 24;
		for (; mask; mask &= mask - 1)
			at[found++] = (uint32_t)(i + (size_t)__builtin_ctz(mask));
	}
	return pick_from(row, i, n, least, at, found);
}
#endif

void hw_multiply(const float *queries, size_t m, const float *references, size_t n, size_t dim, float *products) {
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)dim, 1, queries, (int)dim, references, (int)dim, 0, products, (int)n);
}

void hw_reaching(const float *products, size_t m, size_t n, const float *least, int portable, uint32_t *at, uint32_t *found) {
	for (size_t i = 0; i < m; i++) {
		const float *row = products + i * n;
#ifdef HAVE_AVX2_KERNEL
		if (!portable && __builtin_cpu_supports("avx2")) {
			found[i] = (uint32_t)pick_avx2(row, n, least[i], at + i * n);
			continue;
		}
#endif
		found[i] = (uint32_t)pick_from(row, 0, n, least[i], at + i * n, 0);
	}
}
