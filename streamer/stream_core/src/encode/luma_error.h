/* SPDX-License-Identifier: Apache-2.0
 * How far two macroblocks' luma is apart. */
#ifndef SC_LUMA_ERROR_H
#define SC_LUMA_ERROR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Return the sum of squared differences of 16x16 pixels. Written for vectors: the compiler makes scalar code of the plain loops. */
static inline uint32_t sc_luma_error(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride) {
	typedef uint8_t bytes __attribute__((vector_size(16)));
	typedef int16_t shorts __attribute__((vector_size(32)));
	typedef uint16_t squares __attribute__((vector_size(32)));
	typedef uint32_t words __attribute__((vector_size(64)));
	words sum = {0};
	for (int y = 0; y < 16; y++) {
		bytes of_a, of_b;
		memcpy(&of_a, a + y * a_stride, sizeof(of_a));
		memcpy(&of_b, b + y * b_stride, sizeof(of_b));
		shorts difference = __builtin_convertvector(of_a, shorts) - __builtin_convertvector(of_b, shorts);
		/* 255 squared has 16 bits. */
		sum += __builtin_convertvector((squares)difference * (squares)difference, words);
	}
	uint32_t total = 0;
	for (int i = 0; i < 16; i++) {
		total += sum[i];
	}
	return total;
}

#endif
