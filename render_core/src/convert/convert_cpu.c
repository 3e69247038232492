/* SPDX-License-Identifier: Apache-2.0
 * Two rows at a time, in 15-bit fixed point; within 1 of the exact result. AVX2 where the processor has it. */
#include "convert/convert_cpu.h"

#include <string.h>

#include "convert/pixel_format.h"
#include "convert/shrink.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* 32768 * the BT.709 limited range matrix; chroma rows sum to 0 so that grey is exactly 128. */
enum {
	Y_R = 5983,
	Y_G = 20127,
	Y_B = 2032,
	U_R = -3298,
	U_G = -11094,
	U_B = 14392,
	V_R = 14392,
	V_G = -13073,
	V_B = -1319,
	Y_BIAS = (16 << 15) + (1 << 14),
	UV_BIAS = (128 << 17) + (1 << 16), /* chroma sums four pixels: two bits more */
};

/* One pair of rows of one rectangle. */
struct row_pair {
	const uint8_t *source[2];
	uint8_t *luma[2];
	uint8_t *chroma[2];  /* U and V, or UV and NULL */
	uint32_t begin, end; /* luma samples, even */
	uint32_t width;      /* pixels that the source has */
	struct rc_pixel_format order;
};

static uint8_t luma_of(const struct rc_pixel_format *order, const uint8_t *pixel) {
	return (uint8_t)((pixel[order->red] * Y_R + pixel[order->green] * Y_G + pixel[order->blue] * Y_B + Y_BIAS) >> 15);
}

static void convert_scalar(const struct row_pair *pair, uint32_t begin) {
	const struct rc_pixel_format *order = &pair->order;
	for (uint32_t x = begin; x < pair->end; x += 2) {
		uint32_t left = x < pair->width ? x : pair->width - 1;
		uint32_t right = x + 1 < pair->width ? x + 1 : pair->width - 1;
		int red = 0, green = 0, blue = 0;
		for (int row = 0; row < 2; row++) {
			uint8_t a[4], b[4]; /* copied: a guest may be writing */
			memcpy(a, pair->source[row] + (size_t)left * 4, 4);
			memcpy(b, pair->source[row] + (size_t)right * 4, 4);
			pair->luma[row][x] = luma_of(order, a);
			pair->luma[row][x + 1] = luma_of(order, b);
			red += a[order->red] + b[order->red];
			green += a[order->green] + b[order->green];
			blue += a[order->blue] + b[order->blue];
		}
		uint8_t u = (uint8_t)((red * U_R + green * U_G + blue * U_B + UV_BIAS) >> 17);
		uint8_t v = (uint8_t)((red * V_R + green * V_G + blue * V_B + UV_BIAS) >> 17);
		if (pair->chroma[1]) {
			pair->chroma[0][x / 2] = u;
			pair->chroma[1][x / 2] = v;
		} else {
			pair->chroma[0][x] = u;
			pair->chroma[0][x + 1] = v;
		}
	}
}

#if defined(__x86_64__)
/* The matrix row in the pixel's byte order, twice a lane; the unused byte's weight is 0. */
__attribute__((target("avx2"))) static __m256i weights(
	const struct rc_pixel_format *order, int red, int green, int blue) {
	int16_t w[4] = {0};
	w[order->red] = (int16_t)red;
	w[order->green] = (int16_t)green;
	w[order->blue] = (int16_t)blue;
	int64_t bits;
	memcpy(&bits, w, sizeof(bits));
	return _mm256_set1_epi64x(bits);
}

/* Converts whole groups of 8 pixels; returns the first sample that is left. */
__attribute__((target("avx2"))) static uint32_t convert_avx2(const struct row_pair *pair) {
	const __m256i zero = _mm256_setzero_si256();
	const __m256i wy = weights(&pair->order, Y_R, Y_G, Y_B);
	const __m256i wu = weights(&pair->order, U_R, U_G, U_B);
	const __m256i wv = weights(&pair->order, V_R, V_G, V_B);
	const __m256i y_bias = _mm256_set1_epi32(Y_BIAS), uv_bias = _mm256_set1_epi32(UV_BIAS);
	const __m256i rows_order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
	const __m128i interleave = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, -1, -1, -1, -1, -1, -1, -1, -1);
	const __m128i separate = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1);
	uint32_t limit = pair->end < pair->width ? pair->end : pair->width;
	uint32_t x = pair->begin;
	for (; x + 8 <= limit; x += 8) {
		__m256i lumas[2], low_sum = zero, high_sum = zero;
		for (int row = 0; row < 2; row++) {
			__m256i pixels = _mm256_loadu_si256((const __m256i *)(const void *)(pair->source[row] + (size_t)x * 4));
			__m256i low = _mm256_unpacklo_epi8(pixels, zero);
			__m256i high = _mm256_unpackhi_epi8(pixels, zero);
			__m256i sums = _mm256_hadd_epi32(_mm256_madd_epi16(low, wy), _mm256_madd_epi16(high, wy));
			lumas[row] = _mm256_srai_epi32(_mm256_add_epi32(sums, y_bias), 15);
			low_sum = _mm256_add_epi16(low_sum, low);
			high_sum = _mm256_add_epi16(high_sum, high);
		}
		/* a lane: 4 samples of row 0, 4 of row 1 */
		__m256i luma16 = _mm256_packs_epi32(lumas[0], lumas[1]);
		__m256i luma8 = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(luma16, luma16), rows_order);
		__m128i both_rows = _mm256_castsi256_si128(luma8);
		_mm_storel_epi64((__m128i *)(void *)(pair->luma[0] + x), both_rows);
		_mm_storel_epi64((__m128i *)(void *)(pair->luma[1] + x), _mm_unpackhi_epi64(both_rows, both_rows));

		low_sum = _mm256_add_epi16(low_sum, _mm256_srli_si256(low_sum, 8));
		high_sum = _mm256_add_epi16(high_sum, _mm256_srli_si256(high_sum, 8));
		__m256i blocks = _mm256_unpacklo_epi64(low_sum, high_sum);
		/* a lane: u, u, v, v of two blocks */
		__m256i uv = _mm256_hadd_epi32(_mm256_madd_epi16(blocks, wu), _mm256_madd_epi16(blocks, wv));
		uv = _mm256_srai_epi32(_mm256_add_epi32(uv, uv_bias), 17);
		uv = _mm256_packs_epi32(uv, uv);
		uv = _mm256_packus_epi16(uv, uv);
		__m128i eight = _mm_unpacklo_epi32(_mm256_castsi256_si128(uv), _mm256_extracti128_si256(uv, 1)); /* uuvv uuvv */
		if (pair->chroma[1]) {
			eight = _mm_shuffle_epi8(eight, separate);
			uint32_t u = (uint32_t)_mm_cvtsi128_si32(eight), v = (uint32_t)_mm_extract_epi32(eight, 1);
			memcpy(pair->chroma[0] + x / 2, &u, 4);
			memcpy(pair->chroma[1] + x / 2, &v, 4);
		} else {
			_mm_storel_epi64((__m128i *)(void *)(pair->chroma[0] + x), _mm_shuffle_epi8(eight, interleave));
		}
	}
	return x;
}
#endif

static uint32_t convert_vector(const struct row_pair *pair) {
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2")) {
		return convert_avx2(pair);
	}
#endif
	return pair->begin;
}

static void convert_pair(const struct row_pair *pair) {
	convert_scalar(pair, convert_vector(pair));
}

/* Convert rows `y` and `y` + 1 of a picture that is made smaller on the way, some columns at a time. */
static void convert_shrunk(
	const struct row_pair *pair, const struct rc_picture *picture, uint32_t divisor, uint32_t y) {
	enum { COLUMNS = 512 }; /* both rows stay in the first cache */
	uint8_t shrunk[2][COLUMNS * 4];
	for (uint32_t x = pair->begin; x < pair->end; x += COLUMNS) {
		const uint32_t count = pair->end - x < COLUMNS ? pair->end - x : COLUMNS;
		struct row_pair part = {.end = count, .width = count, .order = pair->order};
		for (uint32_t row = 0; row < 2; row++) {
			rc_shrink_row(picture, divisor, x, y + row, count, shrunk[row]);
			part.source[row] = shrunk[row];
			part.luma[row] = pair->luma[row] + x;
		}
		part.chroma[0] = pair->chroma[0] + (pair->chroma[1] ? x / 2 : x);
		part.chroma[1] = pair->chroma[1] ? pair->chroma[1] + x / 2 : NULL;
		convert_pair(&part);
	}
}

void rc_convert_cpu(const struct rc_picture *picture, const struct rc_planes *planes, const struct rc_rect *rect) {
	const uint8_t *source = picture->surface->map + picture->offset;
	uint8_t *chroma = planes->data + rc_planes_chroma_offset(planes);
	uint8_t *second = planes->format == RC_FORMAT_I420 ? planes->data + rc_planes_second_offset(planes) : NULL;
	size_t chroma_stride = second ? planes->stride / 2 : planes->stride;
	struct row_pair pair = {
		.begin = rect->x,
		.end = rect->x + rect->width,
		.width = picture->width,
		.order = rc_pixel_format(picture->format),
	};
	for (uint32_t y = rect->y; y < rect->y + rect->height; y += 2) {
		for (uint32_t row = 0; row < 2; row++) {
			uint32_t from = y + row < picture->height ? y + row : picture->height - 1;
			pair.source[row] = source + (size_t)from * picture->stride;
			pair.luma[row] = planes->data + (size_t)(y + row) * planes->stride;
		}
		pair.chroma[0] = chroma + (size_t)(y / 2) * chroma_stride;
		pair.chroma[1] = second ? second + (size_t)(y / 2) * chroma_stride : NULL;
		if (planes->divisor > 1) {
			convert_shrunk(&pair, picture, planes->divisor, y);
		} else {
			convert_pair(&pair);
		}
	}
}
