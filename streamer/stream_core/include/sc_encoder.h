/* SPDX-License-Identifier: Apache-2.0
 * An H.264 encoder whose work follows the damage. Large changes are coded by libx264 (opened at run time), small ones and the refinement of still
 * macroblocks by slices of our own, which read and write x264's reference picture (docs/decisions/0011-damage-driven-encoding.md). */
#ifndef SC_ENCODER_H
#define SC_ENCODER_H

#include "sc_result.h"

struct sc_encoder;

enum {
	SC_ENCODER_TEXT_BYTES = 160, /* of an error's text, with its end */
	SC_ENCODER_MAX_SIZE = 16384, /* pixels a side */
	SC_ENCODER_MAX_DAMAGE = 4096 /* rectangles a picture */
};

/* Which paths a picture may take. */
enum sc_encoder_path {
	SC_PATH_AUTO = 0,
	SC_PATH_X264 = 1,      /* x264 alone, told which macroblocks are constant */
	SC_PATH_X264_PLAIN = 2 /* x264 alone, told nothing: what the others are measured against */
};

struct sc_encoder_params {
	uint32_t width, height; /* coded: even, the height a multiple of 4 */
	uint32_t fps;           /* 1..1000: a picture's share of the bit rate */
	uint32_t bitrate_bps;
	uint32_t threads; /* x264's slice threads, 1..4; 0: 1 */
	enum sc_encoder_path path;
	bool nv12;        /* else I420 */
	bool constant_qp; /* x264's rate control left out, for measurements: `qp` for every macroblock that it codes */
	uint32_t qp;      /* 1..51 */
};

struct sc_encoder_rect {
	uint32_t x, y, width, height; /* pixels of the coded picture */
};

/* One picture to encode. Everything is read during the call only. */
struct sc_encoder_picture {
	const uint8_t *planes; /* luma rows, then chroma rows as the frame ring has them */
	size_t planes_bytes;
	uint32_t stride;                      /* bytes a luma row; I420's chroma rows have half of it */
	const struct sc_encoder_rect *damage; /* what may differ from the picture of the call before; NULL: everything */
	uint32_t damage_count;
	bool keyframe;
	/* Spend what the rate leaves on macroblocks that are still but not yet sharp. When all are, the unit repeats the picture in some 12 bytes. */
	bool refine;
	int64_t pts; /* 90 kHz, grows from call to call */
};

/* One access unit, Annex B, in the encoder's memory until the next call. */
struct sc_encoder_unit {
	const uint8_t *data; /* NULL when nothing is to be sent: the picture is as it was */
	size_t bytes;
	bool is_keyframe;
	bool is_patch;             /* our own slices */
	uint32_t changed, refined; /* macroblocks */
	uint32_t qp;               /* of our own slices' changed macroblocks; 0 from x264 */
};

/* Open libx264 and an encoder. On success *out is the caller's, ended by sc_encoder_destroy(). On failure `text` says why. Any thread;
 * afterwards one thread at a time.
 *   SC_ERROR_INVALID: a parameter; SC_ERROR_IO: there is no libx264 of the version that this was built for; SC_ERROR_CODEC: it refuses. */
enum sc_result sc_encoder_create(const struct sc_encoder_params *params, struct sc_encoder **out, char *text);
/* Takes NULL. */
void sc_encoder_destroy(struct sc_encoder *encoder);

/* Encode a picture; takes milliseconds for a large change, some 10 us for a small one.
 *   SC_ERROR_INVALID: size, stride, damage, pts; nothing was done. SC_ERROR_CODEC: x264 failed, the encoder must be ended.
 * Either has a text. */
enum sc_result sc_encoder_encode(
	struct sc_encoder *encoder, const struct sc_encoder_picture *picture, struct sc_encoder_unit *out, char *text);

/* Aim at another rate from the next picture on, up or down, without a keyframe. Clamped to 50 kb/s..1 Gb/s. */
void sc_encoder_set_bitrate(struct sc_encoder *encoder, uint32_t bitrate_bps);
uint32_t sc_encoder_bitrate(const struct sc_encoder *encoder);

/* Macroblocks that a refine call would still work on, now or when they have been still for long enough. */
uint32_t sc_encoder_unrefined(const struct sc_encoder *encoder);

#endif
