/* SPDX-License-Identifier: Apache-2.0
 * Means of square blocks of pixels: down first, then across. AVX2 where the processor has it. */
#include "convert/shrink.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The source rows that one row is made of. */
struct block_row {
	const uint8_t *source[RC_MAX_DIVISOR];
	uint32_t divisor;
	uint32_t width; /* pixels that the source has */
};

static void shrink_scalar(const struct block_row *row, uint32_t x, uint32_t count, uint8_t *out) {
	const uint32_t area = row->divisor * row->divisor;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t sums[4] = {0};
		for (uint32_t column = 0; column < row->divisor; column++) {
			uint32_t from = (x + i) * row->divisor + column;
			from = from < row->width ? from : row->width - 1;
			for (uint32_t down = 0; down < row->divisor; down++) {
				for (uint32_t channel = 0; channel < 4; channel++) {
					sums[channel] += row->source[down][(size_t)from * 4 + channel];
				}
			}
		}
		for (uint32_t channel = 0; channel < 4; channel++) {
			out[(size_t)i * 4 + channel] = (uint8_t)((sums[channel] + area / 2) / area);
		}
	}
}

#if defined(__x86_64__)
enum { GROUP = 8 }; /* pixels made at a time */
#define INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Sum up the block rows of GROUP blocks from column `from` of the source: 4 sums of 16 bits a column. */
INLINE void sum_down(const struct block_row *row, uint32_t divisor, size_t from, uint16_t *sums) {
	for (uint32_t at = 0; at < GROUP * divisor; at += 4) {
		__m256i sum = _mm256_setzero_si256();
		for (uint32_t down = 0; down < divisor; down++) {
			const void *pixels = row->source[down] + (from + at) * 4;
			sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)pixels)));
		}
		_mm256_storeu_si256((__m256i *)(void *)(sums + (size_t)at * 4), sum);
	}
}

/* Two blocks' means from their columns' sums. The division is by the reciprocal with as many bits as fit: exact for all sums that there
 * can be. */
INLINE __m128i mean_across(const uint16_t *sums, uint32_t divisor) {
	const uint32_t area = divisor * divisor, shift = 31 - (uint32_t)__builtin_clz(area - 1);
	const uint32_t reciprocal = ((UINT32_C(65536) << shift) + area - 1) / area;
	__m128i left = _mm_setzero_si128(), right = left;
	for (uint32_t column = 0; column < divisor; column++) {
		left = _mm_add_epi16(left, _mm_loadl_epi64((const __m128i *)(const void *)(sums + column * 4)));
		right = _mm_add_epi16(right, _mm_loadl_epi64((const __m128i *)(const void *)(sums + (divisor + column) * 4)));
	}
	__m128i both = _mm_add_epi16(_mm_unpacklo_epi64(left, right), _mm_set1_epi16((short)(area / 2)));
	return _mm_srli_epi16(_mm_mulhi_epu16(both, _mm_set1_epi16((short)reciprocal)), (int)shift);
}

/* Makes whole groups; returns how many pixels. */
INLINE uint32_t shrink_groups(const struct block_row *row, uint32_t divisor, uint32_t x, uint32_t count, uint8_t *out) {
	const uint32_t whole = row->width / divisor; /* blocks that need no repeated edge */
	uint32_t made = 0;
	for (; made + GROUP <= count && x + made + GROUP <= whole; made += GROUP) {
		uint16_t sums[GROUP * RC_MAX_DIVISOR * 4];
		sum_down(row, divisor, (size_t)(x + made) * divisor, sums);
		for (uint32_t i = 0; i < GROUP; i += 4) {
			const uint16_t *at = sums + (size_t)i * divisor * 4;
			__m128i first = mean_across(at, divisor), second = mean_across(at + (size_t)2 * divisor * 4, divisor);
			_mm_storeu_si128((__m128i *)(void *)(out + (size_t)(made + i) * 4), _mm_packus_epi16(first, second));
		}
	}
	return made;
}

/* One loop a divisor: each is a third faster than one for all. */
__attribute__((target("avx2"))) static uint32_t shrink_avx2(
	const struct block_row *row, uint32_t x, uint32_t count, uint8_t *out) {
	switch (row->divisor) {
	case 2:
		return shrink_groups(row, 2, x, count, out);
	case 3:
		return shrink_groups(row, 3, x, count, out);
	case 4:
		return shrink_groups(row, 4, x, count, out);
	case 5:
		return shrink_groups(row, 5, x, count, out);
	default:
		return shrink_groups(row, 6, x, count, out);
	}
}
#endif

static uint32_t shrink_vector(const struct block_row *row, uint32_t x, uint32_t count, uint8_t *out) {
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2")) {
		return shrink_avx2(row, x, count, out);
	}
#endif
	return 0;
}

void rc_shrink_row(
	const struct rc_picture *picture, uint32_t divisor, uint32_t x, uint32_t y, uint32_t count, uint8_t *out) {
	struct block_row row = {.divisor = divisor, .width = picture->width};
	for (uint32_t i = 0; i < divisor; i++) {
		uint32_t from = y * divisor + i < picture->height ? y * divisor + i : picture->height - 1;
		row.source[i] = picture->surface->map + picture->offset + (size_t)from * picture->stride;
	}
	uint32_t made = shrink_vector(&row, x, count, out);
	shrink_scalar(&row, x + made, count - made, out + (size_t)made * 4);
}
