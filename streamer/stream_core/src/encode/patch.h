/* SPDX-License-Identifier: Apache-2.0
 * A P picture that changes a few macroblocks, moves some by one vector and skips all others: one slice, no deblocking. Its cost is that of the macroblocks it
 * changes; x264's is that of all. */
#ifndef SC_PATCH_H
#define SC_PATCH_H

#include "encode/reference.h"
#include "encode/syntax.h"

struct sc_patch;
struct sc_bands;

/* A macroblock to code. */
struct sc_patch_block {
	uint32_t mb;      /* raster number */
	bool is_optional; /* refinement: left out when the bits do not reach */
	bool is_coded;    /* out */
	bool is_sharp;    /* out: nothing is left to refine */
	uint32_t error;   /* out, when coded: sum of squared differences of luma */
};

struct sc_patch_job {
	const struct sc_encoder_picture *picture;
	uint32_t width, height; /* of the picture; its edge is repeated up to whole macroblocks */
	bool nv12;
	const struct sc_reference *reference;
	const struct sc_syntax *syntax;
	struct sc_bands *bands; /* who helps with a large change; NULL: nobody */
	uint32_t frame_num;
	/* By macroblock, not 0: it is predicted from `scroll_y` rows further down (up when negative); NULL: nothing is. All of the block that
	 * it comes from lies within the reference. */
	const uint8_t *moved;
	int scroll_y;
	struct sc_patch_block *blocks; /* in raster order */
	uint32_t count;
	bool may_be_empty;    /* make a picture that changes nothing, rather than none */
	uint64_t budget_bits; /* kept by coarser quantisation of what is not optional, as far as that goes */
};

/* Macroblocks a side. Takes up to `max_blocks` blocks a picture. NULL: no memory. */
struct sc_patch *sc_patch_create(uint32_t mb_width, uint32_t mb_height, uint32_t max_blocks);
void sc_patch_destroy(struct sc_patch *patch);

/* Code; the reference holds the new picture afterwards. Returns the access unit (Annex B, the patch's memory until the next call) and the QP
 * of the blocks that are not optional. NULL when nothing had to be coded: no picture is made then, and the reference is as it was. */
const uint8_t *sc_patch_encode(struct sc_patch *patch, const struct sc_patch_job *job, size_t *bytes, uint32_t *qp);

/* Read a macroblock of the picture, the edge repeated. */
void sc_patch_load(const struct sc_patch_job *job, uint32_t mb, struct sc_block_pixels *out);

/* Whether a macroblock is as near to the picture as refinement brings it. `error` as above. */
bool sc_patch_is_sharp(const struct sc_block_pixels *source, const struct sc_block_target *target, uint32_t *error);

#endif
