/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/cavlc.h"

#include <stdlib.h>

/* Table 9-5 by context, 4 * total_coeff + trailing_ones: lengths and codes. */
static const uint8_t COEFF_TOKEN_LENGTH[3][68] = {
	{1, 0, 0, 0, 6, 2, 0, 0, 8, 6, 3, 0, 9, 8, 7, 5, 10, 9, 8, 6, 11, 10, 9, 7, 13, 11, 10, 8, 13, 13, 11, 9, 13, 13,
		13, 10, 14, 14, 13, 11, 14, 14, 14, 13, 15, 15, 14, 14, 15, 15, 15, 14, 16, 15, 15, 15, 16, 16, 16, 15, 16, 16,
		16, 16, 16, 16, 16, 16},
	{2, 0, 0, 0, 6, 2, 0, 0, 6, 5, 3, 0, 7, 6, 6, 4, 8, 6, 6, 4, 8, 7, 7, 5, 9, 8, 8, 6, 11, 9, 9, 6, 11, 11, 11, 7, 12,
		11, 11, 9, 12, 12, 12, 11, 12, 12, 12, 11, 13, 13, 13, 12, 13, 13, 13, 13, 13, 14, 13, 13, 14, 14, 14, 13, 14,
		14, 14, 14},
	{4, 0, 0, 0, 6, 4, 0, 0, 6, 5, 4, 0, 6, 5, 5, 4, 7, 5, 5, 4, 7, 5, 5, 4, 7, 6, 6, 4, 7, 6, 6, 4, 8, 7, 7, 5, 8, 8,
		7, 6, 9, 8, 8, 7, 9, 9, 8, 8, 9, 9, 9, 8, 10, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10},
};
static const uint8_t COEFF_TOKEN_CODE[3][68] = {
	{1, 0, 0, 0, 5, 1, 0, 0, 7, 4, 1, 0, 7, 6, 5, 3, 7, 6, 5, 3, 7, 6, 5, 4, 15, 6, 5, 4, 11, 14, 5, 4, 8, 10, 13, 4,
		15, 14, 9, 4, 11, 10, 13, 12, 15, 14, 9, 12, 11, 10, 13, 8, 15, 1, 9, 12, 11, 14, 13, 8, 7, 10, 9, 12, 4, 6, 5,
		8},
	{3, 0, 0, 0, 11, 2, 0, 0, 7, 7, 3, 0, 7, 10, 9, 5, 7, 6, 5, 4, 4, 6, 5, 6, 7, 6, 5, 8, 15, 6, 5, 4, 11, 14, 13, 4,
		15, 10, 9, 4, 11, 14, 13, 12, 8, 10, 9, 8, 15, 14, 13, 12, 11, 10, 9, 12, 7, 11, 6, 8, 9, 8, 10, 1, 7, 6, 5, 4},
	{15, 0, 0, 0, 15, 14, 0, 0, 11, 15, 13, 0, 8, 12, 14, 12, 15, 10, 11, 11, 11, 8, 9, 10, 9, 14, 13, 9, 8, 10, 9, 8,
		15, 14, 13, 13, 11, 14, 10, 12, 15, 10, 13, 12, 11, 14, 9, 12, 8, 10, 13, 8, 13, 7, 9, 12, 9, 12, 11, 10, 5, 8,
		7, 6, 1, 4, 3, 2},
};
static const uint8_t CHROMA_DC_TOKEN_LENGTH[20] = {2, 0, 0, 0, 6, 1, 0, 0, 6, 6, 3, 0, 6, 7, 7, 6, 6, 8, 8, 7};
static const uint8_t CHROMA_DC_TOKEN_CODE[20] = {1, 0, 0, 0, 7, 1, 0, 0, 4, 6, 1, 0, 3, 3, 2, 5, 2, 3, 2, 0};

/* Tables 9-7 and 9-8 by total_coeff - 1, total_zeros. */
static const uint8_t TOTAL_ZEROS_LENGTH[15][16] = {
	{1, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 9},
	{3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 6, 6},
	{4, 3, 3, 3, 4, 4, 3, 3, 4, 5, 5, 6, 5, 6},
	{5, 3, 4, 4, 3, 3, 3, 4, 3, 4, 5, 5, 5},
	{4, 4, 4, 3, 3, 3, 3, 3, 4, 5, 4, 5},
	{6, 5, 3, 3, 3, 3, 3, 3, 4, 3, 6},
	{6, 5, 3, 3, 3, 2, 3, 4, 3, 6},
	{6, 4, 5, 3, 2, 2, 3, 3, 6},
	{6, 6, 4, 2, 2, 3, 2, 5},
	{5, 5, 3, 2, 2, 2, 4},
	{4, 4, 3, 3, 1, 3},
	{4, 4, 2, 1, 3},
	{3, 3, 1, 2},
	{2, 2, 1},
	{1, 1},
};
static const uint8_t TOTAL_ZEROS_CODE[15][16] = {
	{1, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 1},
	{7, 6, 5, 4, 3, 5, 4, 3, 2, 3, 2, 3, 2, 1, 0},
	{5, 7, 6, 5, 4, 3, 4, 3, 2, 3, 2, 1, 1, 0},
	{3, 7, 5, 4, 6, 5, 4, 3, 3, 2, 2, 1, 0},
	{5, 4, 3, 7, 6, 5, 4, 3, 2, 1, 1, 0},
	{1, 1, 7, 6, 5, 4, 3, 2, 1, 1, 0},
	{1, 1, 5, 4, 3, 3, 2, 1, 1, 0},
	{1, 1, 1, 3, 3, 2, 2, 1, 0},
	{1, 0, 1, 3, 2, 1, 1, 1},
	{1, 0, 1, 3, 2, 1, 1},
	{0, 1, 1, 2, 1, 3},
	{0, 1, 1, 1, 1},
	{0, 1, 1, 1},
	{0, 1, 1},
	{0, 1},
};
/* Table 9-9 (a). */
static const uint8_t CHROMA_DC_ZEROS_LENGTH[3][4] = {{1, 2, 3, 3}, {1, 2, 2}, {1, 1}};
static const uint8_t CHROMA_DC_ZEROS_CODE[3][4] = {{1, 1, 1, 0}, {1, 1, 0}, {1, 0}};
/* Table 9-10 by min(zeros left, 7) - 1, run_before. */
static const uint8_t RUN_LENGTH[7][15] = {
	{1, 1},
	{1, 2, 2},
	{2, 2, 2, 2},
	{2, 2, 2, 3, 3},
	{2, 2, 3, 3, 3, 3},
	{2, 3, 3, 3, 3, 3, 3},
	{3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11},
};
static const uint8_t RUN_CODE[7][15] = {
	{1, 0},
	{1, 1, 0},
	{3, 2, 1, 0},
	{3, 2, 1, 1, 0},
	{3, 2, 3, 2, 1, 0},
	{3, 0, 1, 3, 2, 5, 4},
	{7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1},
};
/* Table 9-4, ChromaArrayType 1, Inter: codeNum to coded_block_pattern. */
static const uint8_t INTER_CBP[48] = {0, 16, 1, 2, 4, 8, 32, 3, 5, 10, 12, 15, 47, 7, 11, 13, 14, 6, 9, 31, 35, 37, 42,
	44, 33, 34, 36, 40, 39, 43, 45, 46, 17, 18, 20, 24, 19, 21, 26, 28, 23, 27, 29, 30, 22, 25, 38, 41};

uint32_t sc_cavlc_inter_cbp(unsigned cbp) {
	uint32_t code = 0;
	while (code < 47 && INTER_CBP[code] != cbp) {
		code++;
	}
	return code;
}

static void put_token(struct sc_bits *bits, int nc, int total, int ones) {
	int index = 4 * total + ones;
	if (nc < 0) {
		sc_bits_put(bits, CHROMA_DC_TOKEN_LENGTH[index], CHROMA_DC_TOKEN_CODE[index]);
	} else if (nc >= 8) {
		sc_bits_put(bits, 6, total ? (uint32_t)(4 * (total - 1) + ones) : 3);
	} else {
		int table = nc < 2 ? 0 : nc < 4 ? 1 : 2;
		sc_bits_put(bits, COEFF_TOKEN_LENGTH[table][index], COEFF_TOKEN_CODE[table][index]);
	}
}

/* 9.2.2.1: level_prefix, level_suffix. `code` is levelCode of the specification. */
static void put_level(struct sc_bits *bits, unsigned code, unsigned suffix_length) {
	if (suffix_length == 0) {
		if (code < 14) {
			sc_bits_put(bits, code + 1, 1);
		} else if (code < 30) {
			sc_bits_put(bits, 15, 1);
			sc_bits_put(bits, 4, code - 14);
		} else {
			sc_bits_put(bits, 16, 1);
			sc_bits_put(bits, 12, (code - 30) & 0xfff);
		}
	} else if (code < 15u << suffix_length) {
		sc_bits_put(bits, (code >> suffix_length) + 1, 1);
		sc_bits_put(bits, suffix_length, code & ((1u << suffix_length) - 1));
	} else {
		sc_bits_put(bits, 16, 1);
		sc_bits_put(bits, 12, (code - (15u << suffix_length)) & 0xfff);
	}
}

int sc_cavlc_block(struct sc_bits *bits, const int16_t *levels, int size, int nc) {
	int value[16], run[16], total = 0, ones = 0, zeros = 0;
	/* From the highest frequency down: each level and the zeros before it. */
	int last = size - 1;
	while (last >= 0 && !levels[last]) {
		last--;
	}
	for (int i = last; i >= 0; i--) {
		if (levels[i]) {
			value[total] = levels[i];
			run[total++] = 0;
		} else {
			run[total - 1]++;
			zeros++;
		}
	}
	while (ones < total && ones < 3 && (value[ones] == 1 || value[ones] == -1)) {
		ones++;
	}
	put_token(bits, nc, total, ones);
	if (!total) {
		return 0;
	}
	for (int i = 0; i < ones; i++) {
		sc_bits_put(bits, 1, value[i] < 0);
	}
	unsigned suffix_length = total > 10 && ones < 3;
	for (int i = ones; i < total; i++) {
		unsigned magnitude = (unsigned)abs(value[i]);
		unsigned code = 2 * magnitude - 2 + (value[i] < 0);
		/* The first that is no trailing one cannot be +-1 unless there are three. */
		put_level(bits, i == ones && ones < 3 ? code - 2 : code, suffix_length);
		if (suffix_length == 0) {
			suffix_length = 1;
		}
		if (magnitude > 3u << (suffix_length - 1) && suffix_length < 6) {
			suffix_length++;
		}
	}
	if (total < size) {
		if (nc < 0) {
			sc_bits_put(bits, CHROMA_DC_ZEROS_LENGTH[total - 1][zeros], CHROMA_DC_ZEROS_CODE[total - 1][zeros]);
		} else {
			sc_bits_put(bits, TOTAL_ZEROS_LENGTH[total - 1][zeros], TOTAL_ZEROS_CODE[total - 1][zeros]);
		}
	}
	for (int i = 0; i < total - 1 && zeros > 0; i++) {
		int table = (zeros < 7 ? zeros : 7) - 1;
		sc_bits_put(bits, RUN_LENGTH[table][run[i]], RUN_CODE[table][run[i]]);
		zeros -= run[i];
	}
	return total;
}
