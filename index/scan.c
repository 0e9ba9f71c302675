#include "scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2_KERNEL 1
#endif

// The integer sums below cannot overflow: quantise.go limits the query's codes by the number of dimensions.

static inline int32_t dot(const int8_t *codes, const int16_t *query, size_t stride) {
	int32_t sum = 0;
	for (size_t i = 0; i < stride; i++)
		sum += (int32_t)codes[i] * (int32_t)query[i];
	return sum;
}

// One loop for every kernel, so that the bound is written once.
#define SCAN(DOT)                                                                                  \
	size_t found = 0;                                                                          \
	for (size_t i = 0; i < n; i++) {                                                           \
		const hw_row *r = rows + i;                                                        \
		double bound = scale * (double)r->scale * (double)DOT(codes + i * stride, query, stride) \
			+ (double)vector[r->at] * (double)r->peak                                  \
			+ norm * (double)r->slack + slack * (double)r->norm + floor;               \
		out[found] = (uint32_t)i;                                                          \
		found += bound >= threshold;                                                       \
	}                                                                                          \
	return found;

static size_t scan_portable(const int8_t *codes, const hw_row *rows, size_t n, size_t stride, const int16_t *query,
	const float *vector, double scale, double slack, double norm, double floor, double threshold, uint32_t *out) {
	SCAN(dot)
}

#ifdef HAVE_AVX2_KERNEL
__attribute__((target("avx2")))
static inline int32_t dot_avx2(const int8_t *codes, const int16_t *query, size_t stride) {
	__m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
	size_t i = 0;
	for (; i + 32 <= stride; i += 32) {
		__m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(codes + i)));
		__m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(codes + i + 16)));
		even = _mm256_add_epi32(even, _mm256_madd_epi16(a, _mm256_loadu_si256((const __m256i *)(query + i))));
		odd = _mm256_add_epi32(odd, _mm256_madd_epi16(b, _mm256_loadu_si256((const __m256i *)(query + i + 16))));
	}
	if (i < stride) {
		__m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(codes + i)));
		even = _mm256_add_epi32(even, _mm256_madd_epi16(a, _mm256_loadu_si256((const __m256i *)(query + i))));
	}
	even = _mm256_add_epi32(even, odd);
	__m128i half = _mm_add_epi32(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
	half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
	half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
	return _mm_cvtsi128_si32(half);
}

__attribute__((target("avx2")))
static size_t scan_avx2(const int8_t *codes, const hw_row *rows, size_t n, size_t stride, const int16_t *query,
	const float *vector, double scale, double slack, double norm, double floor, double threshold, uint32_t *out) {
	SCAN(dot_avx2)
}
#endif

size_t hw_scan(const int8_t *codes, const hw_row *rows, size_t n, size_t stride, const int16_t *query,
	const float *vector, double scale, double slack, double norm, double floor, double threshold, int portable,
	uint32_t *out) {
#ifdef HAVE_AVX2_KERNEL
	if (!portable && __builtin_cpu_supports("avx2"))
		return scan_avx2(codes, rows, n, stride, query, vector, scale, slack, norm, floor, threshold, out);
#endif
	return scan_portable(codes, rows, n, stride, query, vector, scale, slack, norm, floor, threshold, out);
}
