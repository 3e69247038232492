/* SPDX-License-Identifier: Apache-2.0
 * libx264, opened at run time, set up for one stream without delay. */
#ifndef SC_X264_STREAM_H
#define SC_X264_STREAM_H

#include "sc_encoder.h"

/* x264's reference picture: the reconstruction of its last frame, from which it will predict the next. NV12, whole macroblocks, with an edge
 * repeated around it; ours to read and to write between two frames. */
struct sc_reference {
	uint8_t *luma, *chroma;
	ptrdiff_t luma_stride, chroma_stride;
	uint32_t mb_width, mb_height;
};

struct sc_x264;

struct sc_x264_frame {
	const uint8_t *data; /* x264's, until its next frame */
	size_t bytes;
	bool is_keyframe;
};

/* Errors as sc_encoder_create()'s. */
enum sc_result sc_x264_create(const struct sc_encoder_params *params, struct sc_x264 **out, char *text);
void sc_x264_destroy(struct sc_x264 *x264);

/* Parameter sets, Annex B, x264's memory until its next call. */
enum sc_result sc_x264_headers(struct sc_x264 *x264, const uint8_t **data, size_t *bytes);

/* Encode. `constant` has a byte a macroblock, 1: it is as in the reference; NULL: nothing is known. */
enum sc_result sc_x264_encode(struct sc_x264 *x264, const struct sc_encoder_picture *picture, uint8_t *constant,
	struct sc_x264_frame *out, char *text);

void sc_x264_set_bitrate(struct sc_x264 *x264, uint32_t bitrate_bps);

/* The reference of the last frame. */
const struct sc_reference *sc_x264_reference(const struct sc_x264 *x264);

/* Whether what is written to the reference is what x264 predicts from: tried with an encoder of its own, as x264 does not promise it. */
bool sc_x264_reference_is_shared(void);

#endif
