/* SPDX-License-Identifier: Apache-2.0
 * The residual of an inter macroblock without motion: transform, quantisation and reconstruction (ITU-T H.264, 8.5), 4:2:0, flat matrices. */
#ifndef SC_RESIDUAL_H
#define SC_RESIDUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SC_MIN_QP = 10, /* below, levels would need longer codes than baseline has */
	SC_MAX_QP = 51
};

/* 16x16 luma and 8x8 of each chroma, rows packed. */
struct sc_block_pixels {
	uint8_t luma[256], u[64], v[64];
};

/* A macroblock of x264's reference picture: chroma is interleaved there. */
struct sc_block_target {
	uint8_t *luma, *chroma;
	ptrdiff_t luma_stride, chroma_stride;
};

/* Levels in scan order: luma and chroma AC blocks in raster order of the macroblock, AC in [1..15]. Blocks that `coded` lacks are not set. */
struct sc_levels {
	int16_t luma[16][16], chroma[2][4][16], chroma_dc[2][4];
	uint32_t coded; /* bit 0..15 luma blocks, 16..19 U's AC, 20..23 V's */
	unsigned cbp;   /* coded_block_pattern */
};

/* Code `source` against `target` and write the reconstruction there. Returns cbp; 0 leaves the target as it is. */
unsigned sc_residual_code(const struct sc_block_pixels *source, const struct sc_block_target *target, int qp,
	int chroma_qp, struct sc_levels *out);

/* Sums of squared differences of luma, and of both chroma planes. */
void sc_block_distortion(
	const struct sc_block_pixels *source, const struct sc_block_target *target, uint32_t *luma, uint32_t *chroma);

/* QPc of table 8-15 for QPy plus the picture's offset. */
int sc_chroma_qp(int qp, int offset);

#endif
