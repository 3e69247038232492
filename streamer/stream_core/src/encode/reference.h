/* SPDX-License-Identifier: Apache-2.0
 * Macroblocks of x264's reference picture. */
#ifndef SC_REFERENCE_H
#define SC_REFERENCE_H

#include "encode/residual.h"
#include "encode/x264_stream.h"

/* How far x264 repeats the edge, luma rows and columns; chroma has half the rows and as many bytes. */
enum { SC_REFERENCE_EDGE = 32 };

static inline struct sc_block_target sc_reference_block(const struct sc_reference *reference, uint32_t x, uint32_t y) {
	return (struct sc_block_target){
		.luma = reference->luma + (ptrdiff_t)y * 16 * reference->luma_stride + x * 16,
		.chroma = reference->chroma + (ptrdiff_t)y * 8 * reference->chroma_stride + x * 16,
		.luma_stride = reference->luma_stride,
		.chroma_stride = reference->chroma_stride,
	};
}

/* Repeat the edge around macroblock (x, y), which has changed; those inside have none. */
void sc_reference_repeat_edge(const struct sc_reference *reference, uint32_t x, uint32_t y);

/* Whether all of the edge is repeated. */
bool sc_reference_edge_is_repeated(const struct sc_reference *reference);

#endif
