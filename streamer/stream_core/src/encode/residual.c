/* SPDX-License-Identifier: Apache-2.0
 * Coefficients of the same place in all blocks lie side by side, so that the compiler's vectors work on 16 blocks (8 for chroma) at once. */
#include "encode/residual.h"

#include "encode/luma_error.h"

#include <string.h>

/* normAdjust4x4 (8-315) and the forward factors that belong to it, by qp % 6: corners, centres, the rest. */
static const uint8_t DEQUANT[6][3] = {
	{10, 16, 13}, {11, 18, 14}, {13, 20, 16}, {14, 23, 18}, {16, 25, 20}, {18, 29, 23}};
static const uint16_t QUANT[6][3] = {{13107, 5243, 8066}, {11916, 4660, 7490}, {10082, 4194, 6554}, {9362, 3647, 5825},
	{8192, 3355, 5243}, {7282, 2893, 4559}};
static const uint8_t KIND[16] = {0, 2, 0, 2, 2, 1, 2, 1, 0, 2, 0, 2, 2, 1, 2, 1};
static const uint8_t SCAN[16] = {0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15};

int sc_chroma_qp(int qp, int offset) {
	static const uint8_t HIGH[22] = {
		29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39};
	int index = qp + offset;
	index = index < 0 ? 0 : index > 51 ? 51 : index;
	return index < 30 ? index : HIGH[index - 30];
}

#define BLOCKS 16

/* `c` is [coefficient][block]. Both passes of the forward transform (the specification has only its inverse). */
static void forward(int16_t c[16][BLOCKS]) {
	for (int pass = 0; pass < 2; pass++) {
		int step = pass ? 4 : 1, line = pass ? 1 : 4;
		for (int i = 0; i < 4; i++) {
			int16_t *p0 = c[i * line], *p1 = c[i * line + step], *p2 = c[i * line + 2 * step],
					*p3 = c[i * line + 3 * step];
			for (int b = 0; b < BLOCKS; b++) {
				int16_t s03 = (int16_t)(p0[b] + p3[b]), d03 = (int16_t)(p0[b] - p3[b]);
				int16_t s12 = (int16_t)(p1[b] + p2[b]), d12 = (int16_t)(p1[b] - p2[b]);
				p0[b] = (int16_t)(s03 + s12);
				p1[b] = (int16_t)(2 * d03 + d12);
				p2[b] = (int16_t)(s03 - s12);
				p3[b] = (int16_t)(d03 - 2 * d12);
			}
		}
	}
}

/* 8.5.12.2 without the final rounding, rows first. */
static void inverse(int16_t c[16][BLOCKS]) {
	for (int pass = 0; pass < 2; pass++) {
		int step = pass ? 4 : 1, line = pass ? 1 : 4;
		for (int i = 0; i < 4; i++) {
			int16_t *p0 = c[i * line], *p1 = c[i * line + step], *p2 = c[i * line + 2 * step],
					*p3 = c[i * line + 3 * step];
			for (int b = 0; b < BLOCKS; b++) {
				int16_t e0 = (int16_t)(p0[b] + p2[b]), e1 = (int16_t)(p0[b] - p2[b]);
				int16_t e2 = (int16_t)((p1[b] >> 1) - p3[b]), e3 = (int16_t)(p1[b] + (p3[b] >> 1));
				p0[b] = (int16_t)(e0 + e3);
				p1[b] = (int16_t)(e1 + e2);
				p2[b] = (int16_t)(e1 - e2);
				p3[b] = (int16_t)(e0 - e3);
			}
		}
	}
}

/* Quantise in place. A third of a step is rounded up: refinement wants the error small, not the bits few. */
static void quantise(int16_t c[16][BLOCKS], int qp, int first) {
	int shift = qp / 6 - 1; /* qbits - 16 */
	for (int i = first; i < 16; i++) {
		uint16_t factor = (uint16_t)((QUANT[qp % 6][KIND[i]] + (1 << shift >> 1)) >> shift);
		uint16_t round = (uint16_t)(65536 / (3 * factor));
		for (int b = 0; b < BLOCKS; b++) {
			int16_t value = c[i][b];
			uint16_t magnitude = (uint16_t)(value < 0 ? -value : value);
			int16_t level = (int16_t)(((uint32_t)(uint16_t)(magnitude + round) * factor) >> 16);
			c[i][b] = value < 0 ? (int16_t)-level : level;
		}
	}
}

static void dequantise(int16_t c[16][BLOCKS], int qp, int first) {
	for (int i = first; i < 16; i++) {
		int16_t scale = (int16_t)(DEQUANT[qp % 6][KIND[i]] << (qp / 6));
		for (int b = 0; b < BLOCKS; b++) {
			c[i][b] = (int16_t)(c[i][b] * scale);
		}
	}
}

/* Blocks that have a level other than zero at `first` or behind. */
static uint32_t coded_blocks(int16_t c[16][BLOCKS], int first) {
	int16_t any[BLOCKS] = {0};
	for (int i = first; i < 16; i++) {
		for (int b = 0; b < BLOCKS; b++) {
			any[b] |= c[i][b];
		}
	}
	uint32_t mask = 0;
	for (int b = 0; b < BLOCKS; b++) {
		mask |= (uint32_t)(any[b] != 0) << b;
	}
	return mask;
}

static void scan_block(int16_t c[16][BLOCKS], int block, int16_t out[16]) {
	for (int i = 0; i < 16; i++) {
		out[i] = c[SCAN[i]][block];
	}
}

static uint8_t clip(int value) {
	return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void load_luma(const uint8_t *source, const struct sc_block_target *target, int16_t c[16][BLOCKS]) {
	for (int y = 0; y < 16; y++) {
		const uint8_t *old = target->luma + y * target->luma_stride;
		int16_t row[16];
		for (int x = 0; x < 16; x++) {
			row[x] = (int16_t)(source[y * 16 + x] - old[x]);
		}
		for (int x = 0; x < 16; x++) {
			c[y % 4 * 4 + x % 4][y / 4 * 4 + x / 4] = row[x];
		}
	}
}

static void store_luma(const struct sc_block_target *target, int16_t c[16][BLOCKS]) {
	for (int y = 0; y < 16; y++) {
		uint8_t *pixel = target->luma + y * target->luma_stride;
		int16_t row[16];
		for (int x = 0; x < 16; x++) {
			row[x] = c[y % 4 * 4 + x % 4][y / 4 * 4 + x / 4];
		}
		for (int x = 0; x < 16; x++) {
			pixel[x] = clip(pixel[x] + ((row[x] + 32) >> 6));
		}
	}
}

/* Blocks 0..3 are U's, 4..7 V's; the rest stays zero. */
static void load_chroma(
	const struct sc_block_pixels *source, const struct sc_block_target *target, int16_t c[16][BLOCKS]) {
	memset(c, 0, sizeof(int16_t) * 16 * BLOCKS);
	for (int y = 0; y < 8; y++) {
		const uint8_t *old = target->chroma + y * target->chroma_stride;
		for (int x = 0; x < 8; x++) {
			int block = y / 4 * 2 + x / 4, place = y % 4 * 4 + x % 4;
			c[place][block] = (int16_t)(source->u[y * 8 + x] - old[2 * x]);
			c[place][block + 4] = (int16_t)(source->v[y * 8 + x] - old[2 * x + 1]);
		}
	}
}

static void store_chroma(const struct sc_block_target *target, int16_t c[16][BLOCKS]) {
	for (int y = 0; y < 8; y++) {
		uint8_t *pixel = target->chroma + y * target->chroma_stride;
		for (int x = 0; x < 8; x++) {
			int block = y / 4 * 2 + x / 4, place = y % 4 * 4 + x % 4;
			pixel[2 * x] = clip(pixel[2 * x] + ((c[place][block] + 32) >> 6));
			pixel[2 * x + 1] = clip(pixel[2 * x + 1] + ((c[place][block + 4] + 32) >> 6));
		}
	}
}

static void hadamard(const int in[4], int out[4]) {
	int a = in[0] + in[1], b = in[0] - in[1], c = in[2] + in[3], d = in[2] - in[3];
	out[0] = a + c;
	out[1] = b + d;
	out[2] = a - c;
	out[3] = b - d;
}

/* 8.5.11: returns whether a DC level is not zero; DC coefficients in `c` become the scaled ones. */
static bool code_chroma_dc(int16_t c[16][BLOCKS], int qp, struct sc_levels *out) {
	bool any = false;
	int qbits = 16 + qp / 6, factor = QUANT[qp % 6][0];
	for (int plane = 0; plane < 2; plane++) {
		int16_t *dc = &c[0][plane * 4];
		const int in[4] = {dc[0], dc[1], dc[2], dc[3]};
		int sums[4], levels[4], scaled[4];
		hadamard(in, sums);
		for (int i = 0; i < 4; i++) {
			int magnitude = sums[i] < 0 ? -sums[i] : sums[i];
			int level = (int)(((int64_t)magnitude * factor + (INT64_C(1) << qbits) / 3) >> qbits);
			levels[i] = sums[i] < 0 ? -level : level;
			out->chroma_dc[plane][i] = (int16_t)levels[i];
			any |= level != 0;
		}
		hadamard(levels, scaled);
		for (int i = 0; i < 4; i++) {
			dc[i] = (int16_t)((scaled[i] * (DEQUANT[qp % 6][0] << (qp / 6))) >> 1);
		}
	}
	return any;
}

unsigned sc_residual_code(const struct sc_block_pixels *source, const struct sc_block_target *target, int qp,
	int chroma_qp, struct sc_levels *out) {
	_Alignas(32) int16_t c[16][BLOCKS];
	load_luma(source->luma, target, c);
	forward(c);
	quantise(c, qp, 0);
	out->coded = coded_blocks(c, 0);
	out->cbp = 0;
	if (out->coded) {
		for (int b = 0; b < 16; b++) {
			if (out->coded >> b & 1) {
				scan_block(c, b, out->luma[b]);
				out->cbp |= 1u << (b / 8 * 2 + b % 4 / 2);
			}
		}
		dequantise(c, qp, 0);
		inverse(c);
		store_luma(target, c);
	}
	load_chroma(source, target, c);
	forward(c);
	quantise(c, chroma_qp, 1);
	uint32_t ac = coded_blocks(c, 1) & 0xff;
	for (int b = 0; b < 8; b++) {
		if (ac >> b & 1) {
			scan_block(c, b, out->chroma[b / 4][b % 4]);
		}
	}
	bool dc = code_chroma_dc(c, chroma_qp, out);
	out->coded |= ac << 16;
	if (ac || dc) {
		dequantise(c, chroma_qp, 1);
		inverse(c);
		store_chroma(target, c);
		out->cbp |= ac ? 2u << 4 : 1u << 4;
	}
	return out->cbp;
}

void sc_block_distortion(
	const struct sc_block_pixels *source, const struct sc_block_target *target, uint32_t *luma, uint32_t *chroma) {
	*luma = sc_luma_error(source->luma, 16, target->luma, target->luma_stride);
	uint32_t sum = 0;
	for (int y = 0; y < 8; y++) {
		const uint8_t *old = target->chroma + y * target->chroma_stride;
		for (int x = 0; x < 8; x++) {
			int u = source->u[y * 8 + x] - old[2 * x], v = source->v[y * 8 + x] - old[2 * x + 1];
			sum += (uint32_t)(u * u + v * v);
		}
	}
	*chroma = sum;
}
