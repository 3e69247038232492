/* SPDX-License-Identifier: Apache-2.0
 * Which macroblocks have changed, who codes them, and what the rate leaves for refinement. */
#include "sc_encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode/bands.h"
#include "encode/patch.h"
#include "encode/scroll.h"
#include "encode/x264_stream.h"

enum {
	CLOCK_RATE = 90000,
	/* Still for so long is still: what moves is not worth refining. */
	REFINE_AGE = CLOCK_RATE * 40 / 1000,
	/* A patch may cost what this many pictures have on average, as x264's VBV has it. */
	BUDGET_PICTURES = 2,
	/* At most so many macroblocks are refined in passing, beside ones that changed: those must not wait. */
	PASSING_BLOCKS = 64,
	PASSING_CHANGED = 32,
	/* Levels of smaller pictures may not have the vectors. */
	SCROLL_BLOCKS = 400,
	/* To wake helpers takes as long as some hundreds. */
	BAND_BLOCKS = 1500,
	UNKNOWN_ERROR = 1 << 28,
	MIN_BITRATE_BPS = 50000,
	MAX_BITRATE_BPS = 1000000000,
	/* Where the reference is not shared: x264 refines a still picture, in so many pictures at most. */
	MAX_X264_REFINEMENTS = 60
};
/* From this part of a picture on x264 is faster (bench encode). */
static const uint32_t PATCH_FRACTION = 6;

struct sc_encoder {
	struct sc_encoder_params params;
	struct sc_x264 *x264;
	struct sc_patch *patch; /* NULL: x264 alone */
	struct sc_scroll *scroll;
	struct sc_bands *bands; /* NULL: one thread is enough */
	struct sc_syntax syntax;
	uint32_t mb_width, mb_count, max_blocks;
	/* By macroblock. */
	uint64_t *hashes;    /* of the pixels that were encoded last */
	int64_t *changed_at; /* pts */
	uint8_t *is_changed; /* in this picture; 2: a vector does it */
	uint8_t *moved;
	uint32_t *errors; /* sums of squared differences of luma, as far as known; UNKNOWN_ERROR: x264 has coded it */
	uint8_t *is_sharp;
	uint8_t *constant; /* x264's hints */
	struct sc_patch_block *blocks;
	uint32_t unrefined, x264_refinements;
	bool has_picture;
	uint32_t frame_num, x264_frame_num; /* of the frame encoded last: ours, and what x264 takes for it */
	int64_t last_pts;
	int64_t budget_bits; /* what the rate allows now; below zero after large frames */
	uint8_t *unit;       /* x264's access unit, renumbered */
	size_t unit_size;
};

static enum sc_result refuse(char *text, const char *what) {
	snprintf(text, SC_ENCODER_TEXT_BYTES, "%s", what);
	return SC_ERROR_INVALID;
}

static enum sc_result check_params(const struct sc_encoder_params *params, char *text) {
	if (params->width < 16 || params->width > SC_ENCODER_MAX_SIZE || params->width % 2) {
		return refuse(text, "width: not even, or not within 16..16384");
	}
	if (params->height < 16 || params->height > SC_ENCODER_MAX_SIZE || params->height % 4) {
		return refuse(text, "height: no multiple of 4, or not within 16..16384");
	}
	if (!params->fps || params->fps > 1000) {
		return refuse(text, "fps: not within 1..1000");
	}
	if (params->threads > 4) {
		return refuse(text, "threads: more than 4 slices make some decoders give up");
	}
	if (params->constant_qp && (!params->qp || params->qp > SC_MAX_QP)) {
		return refuse(text, "qp: not within 1..51");
	}
	return SC_OK;
}

static uint32_t clamp_bitrate(uint32_t bitrate_bps) {
	return bitrate_bps < MIN_BITRATE_BPS   ? MIN_BITRATE_BPS
		   : bitrate_bps > MAX_BITRATE_BPS ? MAX_BITRATE_BPS
										   : bitrate_bps;
}

static bool open_patch(struct sc_encoder *encoder) {
	const uint8_t *headers;
	size_t bytes;
	if (sc_x264_headers(encoder->x264, &headers, &bytes) != SC_OK ||
		!sc_syntax_read(&encoder->syntax, headers, bytes) || !sc_x264_reference_is_shared()) {
		return true; /* x264 alone will do */
	}
	encoder->patch = sc_patch_create(encoder->mb_width, encoder->mb_count / encoder->mb_width, encoder->max_blocks);
	return encoder->patch != NULL;
}

enum sc_result sc_encoder_create(const struct sc_encoder_params *params, struct sc_encoder **out, char *text) {
	text[0] = '\0';
	enum sc_result ret = check_params(params, text);
	if (ret != SC_OK) {
		return ret;
	}
	struct sc_encoder *encoder = calloc(1, sizeof(*encoder));
	if (!encoder) {
		return SC_ERROR_NOMEM;
	}
	encoder->params = *params;
	encoder->params.bitrate_bps = clamp_bitrate(params->bitrate_bps);
	encoder->mb_width = (params->width + 15) / 16;
	encoder->mb_count = encoder->mb_width * ((params->height + 15) / 16);
	encoder->max_blocks = encoder->mb_count / PATCH_FRACTION + 16;
	encoder->last_pts = INT64_MIN;
	encoder->hashes = calloc(encoder->mb_count, sizeof(*encoder->hashes));
	encoder->changed_at = calloc(encoder->mb_count, sizeof(*encoder->changed_at));
	encoder->is_changed = calloc(encoder->mb_count, 1);
	encoder->errors = calloc(encoder->mb_count, sizeof(*encoder->errors));
	encoder->moved = calloc(encoder->mb_count, 1);
	encoder->scroll = sc_scroll_create(params->height, encoder->mb_count);
	encoder->is_sharp = calloc(encoder->mb_count, 1);
	encoder->constant = calloc(encoder->mb_count, 1);
	encoder->blocks = calloc(encoder->max_blocks, sizeof(*encoder->blocks));
	ret = SC_ERROR_NOMEM;
	if (!encoder->hashes || !encoder->changed_at || !encoder->is_changed || !encoder->is_sharp || !encoder->constant ||
		!encoder->blocks || !encoder->moved || !encoder->errors || !encoder->scroll) {
		goto err;
	}
	ret = sc_x264_create(&encoder->params, &encoder->x264, text);
	if (ret != SC_OK) {
		goto err;
	}
	ret = SC_ERROR_NOMEM;
	/* One helper alone wins nothing: on two cores it took as long as it saved. */
	if (params->threads > 2 && encoder->mb_count >= BAND_BLOCKS) {
		encoder->bands = sc_bands_create(params->threads);
	}
	if (params->path == SC_PATH_AUTO && !open_patch(encoder)) {
		goto err;
	}
	*out = encoder;
	return SC_OK;

err:
	sc_encoder_destroy(encoder);
	return ret;
}

void sc_encoder_destroy(struct sc_encoder *encoder) {
	if (!encoder) {
		return;
	}
	sc_x264_destroy(encoder->x264);
	sc_patch_destroy(encoder->patch);
	sc_scroll_destroy(encoder->scroll);
	sc_bands_destroy(encoder->bands);
	free(encoder->moved);
	free(encoder->errors);
	free(encoder->hashes);
	free(encoder->changed_at);
	free(encoder->is_changed);
	free(encoder->is_sharp);
	free(encoder->constant);
	free(encoder->blocks);
	free(encoder->unit);
	free(encoder);
}

static enum sc_result check_picture(
	const struct sc_encoder *encoder, const struct sc_encoder_picture *picture, char *text) {
	const struct sc_encoder_params *params = &encoder->params;
	if (picture->stride < params->width || picture->stride % 2 || picture->stride > 2 * SC_ENCODER_MAX_SIZE) {
		return refuse(text, "stride: less than the width, odd, or too much");
	}
	if (!picture->planes || picture->planes_bytes < (size_t)picture->stride * params->height * 3 / 2) {
		return refuse(text, "planes: too small for the size");
	}
	if (picture->pts <= encoder->last_pts) {
		return refuse(text, "pts: does not grow");
	}
	if (!picture->damage) {
		return SC_OK;
	}
	if (picture->damage_count > SC_ENCODER_MAX_DAMAGE) {
		return refuse(text, "damage: more than 4096 rectangles");
	}
	for (uint32_t i = 0; i < picture->damage_count; i++) {
		const struct sc_encoder_rect *r = &picture->damage[i];
		if (!r->width || !r->height || r->x >= params->width || r->y >= params->height ||
			r->width > params->width - r->x || r->height > params->height - r->y) {
			snprintf(text, SC_ENCODER_TEXT_BYTES, "damage[%u]: %ux%u+%u+%u is empty or not within %ux%u", i, r->width,
				r->height, r->x, r->y, params->width, params->height);
			return SC_ERROR_INVALID;
		}
	}
	return SC_OK;
}

static uint64_t load64(const uint8_t *data) {
	uint64_t value;
	memcpy(&value, data, sizeof(value));
	return value;
}

/* Four chains, so that multiplications overlap. Not against adversaries: a guest that finds a collision spoils its own picture. */
struct hash {
	uint64_t lane[4];
};

static void hash_add(struct hash *hash, int lane, uint64_t value) {
	uint64_t mixed = (hash->lane[lane] ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	hash->lane[lane] = mixed ^ mixed >> 29;
}

static void hash_pixels(const uint8_t *pixels, size_t stride, int rows, int words, struct hash *hash) {
	for (int row = 0; row < rows; row++, pixels += stride) {
		for (int word = 0; word < words; word++) {
			hash_add(hash, (row * words + word) & 3, load64(pixels + word * 8));
		}
	}
}

static uint64_t hash_block(const struct sc_patch_job *job, uint32_t mb) {
	struct hash hash = {{1, 2, 3, 4}};
	uint32_t x = mb % job->reference->mb_width * 16, y = mb / job->reference->mb_width * 16;
	if (x + 16 <= job->width && y + 16 <= job->height) {
		const uint8_t *planes = job->picture->planes;
		size_t stride = job->picture->stride, luma = stride * job->height;
		hash_pixels(planes + y * stride + x, stride, 16, 2, &hash);
		if (job->nv12) {
			hash_pixels(planes + luma + y / 2 * stride + x, stride, 8, 2, &hash);
		} else {
			const uint8_t *u = planes + luma + y / 2 * (stride / 2) + x / 2;
			hash_pixels(u, stride / 2, 8, 1, &hash);
			hash_pixels(u + luma / 4, stride / 2, 8, 1, &hash);
		}
	} else {
		struct sc_block_pixels pixels;
		sc_patch_load(job, mb, &pixels);
		hash_pixels(pixels.luma, 16, 24, 2, &hash); /* all of it: the chroma planes follow */
	}
	uint64_t sum = hash.lane[0];
	for (int i = 1; i < 4; i++) {
		sum = (sum ^ hash.lane[i]) * UINT64_C(0xff51afd7ed558ccd);
		sum ^= sum >> 32;
	}
	return sum;
}

static void note_block(struct sc_encoder *encoder, const struct sc_patch_job *job, uint32_t mb) {
	uint64_t hash = hash_block(job, mb);
	if (hash != encoder->hashes[mb] || !encoder->has_picture) {
		encoder->hashes[mb] = hash;
		encoder->changed_at[mb] = job->picture->pts;
		encoder->is_changed[mb] = 1;
		encoder->is_sharp[mb] = 0;
	}
}

struct search {
	struct sc_encoder *encoder;
	const struct sc_patch_job *job;
	bool is_everywhere;
};

static void search_rows(void *context, uint32_t begin, uint32_t end) {
	const struct search *search = context;
	struct sc_encoder *encoder = search->encoder;
	const struct sc_encoder_picture *picture = search->job->picture;
	if (search->is_everywhere) {
		for (uint32_t mb = begin * encoder->mb_width; mb < end * encoder->mb_width; mb++) {
			note_block(encoder, search->job, mb);
		}
		return;
	}
	for (uint32_t i = 0; i < picture->damage_count; i++) {
		const struct sc_encoder_rect *r = &picture->damage[i];
		uint32_t first = r->y / 16 > begin ? r->y / 16 : begin, behind = (r->y + r->height + 15) / 16;
		for (uint32_t y = first; y < behind && y < end; y++) {
			for (uint32_t x = r->x / 16; x <= (r->x + r->width - 1) / 16; x++) {
				uint32_t mb = y * encoder->mb_width + x;
				if (!encoder->is_changed[mb]) {
					note_block(encoder, search->job, mb);
				}
			}
		}
	}
}

/* Macroblocks that damage lies on, some perhaps more than once. */
static uint64_t count_damaged(const struct sc_encoder *encoder, const struct sc_encoder_picture *picture) {
	uint64_t count = 0;
	for (uint32_t i = 0; picture->damage && i < picture->damage_count; i++) {
		count += (uint64_t)(picture->damage[i].width / 16 + 1) * (picture->damage[i].height / 16 + 1);
	}
	return picture->damage && encoder->has_picture ? count : encoder->mb_count;
}

/* Find what has really changed within the damage: programs like to draw again what is there already. Returns macroblocks. */
static uint32_t find_changes(struct sc_encoder *encoder, const struct sc_patch_job *job) {
	struct search search = {encoder, job, !job->picture->damage || !encoder->has_picture};
	memset(encoder->is_changed, 0, encoder->mb_count);
	sc_bands_run(job->bands, encoder->mb_count / encoder->mb_width, search_rows, &search);
	uint32_t count = 0;
	for (uint32_t mb = 0; mb < encoder->mb_count; mb++) {
		count += encoder->is_changed[mb];
	}
	return count;
}

static uint32_t count_coded(const struct sc_encoder *encoder) {
	uint32_t count = 0;
	for (uint32_t mb = 0; mb < encoder->mb_count; mb++) {
		count += encoder->is_changed[mb] == 1;
	}
	return count;
}

static int64_t share_bits(const struct sc_encoder *encoder) {
	return encoder->params.bitrate_bps / encoder->params.fps;
}

static void refill_budget(struct sc_encoder *encoder, int64_t pts) {
	int64_t most = share_bits(encoder) * BUDGET_PICTURES;
	int64_t passed = encoder->has_picture ? pts - encoder->last_pts : CLOCK_RATE;
	passed = passed > CLOCK_RATE ? CLOCK_RATE : passed;
	encoder->budget_bits += (int64_t)encoder->params.bitrate_bps * passed / CLOCK_RATE;
	encoder->budget_bits = encoder->budget_bits > most ? most : encoder->budget_bits;
}

static void spend(struct sc_encoder *encoder, size_t bytes) {
	int64_t least = -(int64_t)encoder->params.bitrate_bps;
	encoder->budget_bits -= (int64_t)bytes * 8;
	encoder->budget_bits = encoder->budget_bits < least ? least : encoder->budget_bits;
}

static bool is_due(const struct sc_encoder *encoder, uint32_t mb, int64_t pts) {
	bool is_still = !encoder->is_changed[mb] && pts - encoder->changed_at[mb] >= REFINE_AGE;
	return !encoder->is_sharp[mb] && (is_still || encoder->is_changed[mb] == 2);
}

/* Collect, in raster order, what changed and up to `optional` macroblocks that are still but not sharp. */
static uint32_t collect_blocks(struct sc_encoder *encoder, const struct sc_patch_job *job, uint32_t optional) {
	uint32_t count = 0;
	for (uint32_t mb = 0; mb < encoder->mb_count; mb++) {
		if (encoder->is_changed[mb] == 1) {
			encoder->blocks[count++] = (struct sc_patch_block){.mb = mb};
		} else if (optional && is_due(encoder, mb, job->picture->pts)) {
			struct sc_block_pixels source;
			sc_patch_load(job, mb, &source);
			struct sc_block_target target =
				sc_reference_block(job->reference, mb % encoder->mb_width, mb / encoder->mb_width);
			if (sc_patch_is_sharp(&source, &target, &encoder->errors[mb])) {
				encoder->is_sharp[mb] = 1;
			} else {
				encoder->blocks[count++] = (struct sc_patch_block){.mb = mb, .is_optional = true};
				optional--;
			}
		}
	}
	return count;
}

static void encode_patch(
	struct sc_encoder *encoder, struct sc_patch_job *job, uint32_t changed, struct sc_encoder_unit *out) {
	int64_t share = share_bits(encoder), budget = encoder->budget_bits;
	uint32_t room = encoder->max_blocks - changed, optional = 0;
	if (job->picture->refine && budget > -share) {
		/* A frame's worth of debt, which is paid before anything else moves. */
		budget += share;
		optional = room;
	} else if (budget > share && changed <= PASSING_CHANGED) {
		optional = room < PASSING_BLOCKS ? room : PASSING_BLOCKS;
	}
	if (changed && budget < share / 2) {
		budget = share / 2; /* a change is shown, if coarsely */
	}
	job->blocks = encoder->blocks;
	job->count = collect_blocks(encoder, job, optional);
	job->budget_bits = budget > 0 ? (uint64_t)budget : 0;
	job->syntax = &encoder->syntax;
	job->frame_num = encoder->frame_num + 1;
	uint32_t qp = 0;
	size_t bytes = 0;
	job->may_be_empty = job->moved || (job->picture->refine && !memchr(encoder->is_sharp, 0, encoder->mb_count));
	bool is_needed = job->count || job->may_be_empty;
	const uint8_t *data = is_needed ? sc_patch_encode(encoder->patch, job, &bytes, &qp) : NULL;
	for (uint32_t i = 0; i < job->count; i++) {
		encoder->is_sharp[job->blocks[i].mb] = job->blocks[i].is_sharp;
		if (job->blocks[i].is_coded) {
			encoder->errors[job->blocks[i].mb] = job->blocks[i].error;
		}
		out->refined += job->blocks[i].is_optional && job->blocks[i].is_coded;
	}
	if (data) {
		encoder->frame_num++;
		*out = (struct sc_encoder_unit){
			.data = data, .bytes = bytes, .is_patch = true, .changed = changed, .refined = out->refined, .qp = qp};
		spend(encoder, bytes);
	}
}

static enum sc_result renumber(struct sc_encoder *encoder, struct sc_x264_frame *frame, char *text) {
	size_t needed = frame->bytes * 3 / 2 + 64;
	if (encoder->unit_size < needed) {
		free(encoder->unit);
		encoder->unit = malloc(needed * 2);
		encoder->unit_size = encoder->unit ? needed * 2 : 0;
		if (!encoder->unit) {
			snprintf(text, SC_ENCODER_TEXT_BYTES, "no memory for an access unit");
			return SC_ERROR_CODEC;
		}
	}
	size_t bytes = sc_syntax_renumber(&encoder->syntax, encoder->unit, frame->data, frame->bytes, encoder->frame_num);
	if (!bytes) {
		snprintf(text, SC_ENCODER_TEXT_BYTES, "x264's slices cannot be read");
		return SC_ERROR_CODEC;
	}
	frame->data = encoder->unit;
	frame->bytes = bytes;
	return SC_OK;
}

static enum sc_result encode_x264(struct sc_encoder *encoder, const struct sc_encoder_picture *picture, bool is_plain,
	uint32_t changed, struct sc_encoder_unit *out, char *text) {
	for (uint32_t mb = 0; !is_plain && mb < encoder->mb_count; mb++) {
		/* X264_MBINFO_CONSTANT; where x264 refines, what is not sharp is for it to see. */
		encoder->constant[mb] = !encoder->is_changed[mb] && (encoder->patch || encoder->is_sharp[mb]);
	}
	struct sc_x264_frame frame;
	enum sc_result ret = sc_x264_encode(encoder->x264, picture, is_plain ? NULL : encoder->constant, &frame, text);
	if (ret != SC_OK) {
		return ret;
	}
	encoder->frame_num = frame.is_keyframe ? 0 : encoder->frame_num + 1;
	encoder->x264_frame_num = frame.is_keyframe ? 0 : encoder->x264_frame_num + 1;
	if (encoder->frame_num != encoder->x264_frame_num) {
		ret = renumber(encoder, &frame, text);
		if (ret != SC_OK) {
			return ret;
		}
	}
	for (uint32_t mb = 0; mb < encoder->mb_count; mb++) {
		if (frame.is_keyframe || encoder->is_changed[mb]) {
			encoder->is_sharp[mb] = 0;
			encoder->errors[mb] = UNKNOWN_ERROR;
		}
	}
	*out = (struct sc_encoder_unit){
		.data = frame.data, .bytes = frame.bytes, .is_keyframe = frame.is_keyframe, .changed = changed};
	spend(encoder, frame.bytes);
	return SC_OK;
}

/* Without patches a still picture is encoded by x264 again, until its error is small or does not get smaller. */
static enum sc_result refine_x264(
	struct sc_encoder *encoder, const struct sc_patch_job *job, struct sc_encoder_unit *out, char *text) {
	uint32_t due = 0;
	for (uint32_t mb = 0; mb < encoder->mb_count; mb++) {
		struct sc_block_pixels source;
		if (is_due(encoder, mb, job->picture->pts)) {
			sc_patch_load(job, mb, &source);
			struct sc_block_target target =
				sc_reference_block(job->reference, mb % encoder->mb_width, mb / encoder->mb_width);
			encoder->is_sharp[mb] = sc_patch_is_sharp(&source, &target, &encoder->errors[mb]) ||
									encoder->x264_refinements >= MAX_X264_REFINEMENTS;
			due += !encoder->is_sharp[mb];
		}
	}
	if (!due && memchr(encoder->is_sharp, 0, encoder->mb_count)) {
		return SC_OK;
	}
	encoder->x264_refinements++;
	return encode_x264(encoder, job->picture, false, 0, out, text);
}

enum sc_result sc_encoder_encode(
	struct sc_encoder *encoder, const struct sc_encoder_picture *picture, struct sc_encoder_unit *out, char *text) {
	text[0] = '\0';
	*out = (struct sc_encoder_unit){0};
	enum sc_result ret = check_picture(encoder, picture, text);
	if (ret != SC_OK) {
		return ret;
	}
	struct sc_patch_job job = {.picture = picture,
		.width = encoder->params.width,
		.height = encoder->params.height,
		.nv12 = encoder->params.nv12,
		.reference = sc_x264_reference(encoder->x264),
		.bands = count_damaged(encoder, picture) >= BAND_BLOCKS ? encoder->bands : NULL};
	refill_budget(encoder, picture->pts);
	bool is_plain = encoder->params.path == SC_PATH_X264_PLAIN;
	uint32_t changed = is_plain ? encoder->mb_count : find_changes(encoder, &job);
	encoder->x264_refinements = changed ? 0 : encoder->x264_refinements;
	bool needs_x264 = picture->keyframe || !encoder->has_picture || is_plain;
	uint32_t coded = changed; /* by more than a vector */
	if (!needs_x264 && encoder->patch && encoder->mb_count >= SCROLL_BLOCKS && changed) {
		job.scroll_y = sc_scroll_find(encoder->scroll, &job, encoder->errors, encoder->is_changed, encoder->moved);
		job.moved = job.scroll_y ? encoder->moved : NULL;
		coded = job.scroll_y ? count_coded(encoder) : changed;
	}
	if (!needs_x264 && encoder->patch && coded <= encoder->mb_count / PATCH_FRACTION) {
		if (changed || picture->refine) {
			encode_patch(encoder, &job, coded, out);
		}
	} else if (needs_x264 || changed) {
		ret = encode_x264(encoder, picture, is_plain, changed, out, text);
	} else if (picture->refine) {
		ret = refine_x264(encoder, &job, out, text);
	}
	if (ret != SC_OK) {
		return ret;
	}
	encoder->has_picture = true;
	encoder->last_pts = picture->pts;
	encoder->unrefined = 0;
	for (uint32_t mb = 0; mb < encoder->mb_count; mb++) {
		encoder->unrefined += !encoder->is_sharp[mb];
	}
	return SC_OK;
}

void sc_encoder_set_bitrate(struct sc_encoder *encoder, uint32_t bitrate_bps) {
	bitrate_bps = clamp_bitrate(bitrate_bps);
	if (bitrate_bps != encoder->params.bitrate_bps) {
		encoder->params.bitrate_bps = bitrate_bps;
		sc_x264_set_bitrate(encoder->x264, bitrate_bps);
	}
}

uint32_t sc_encoder_bitrate(const struct sc_encoder *encoder) {
	return encoder->params.bitrate_bps;
}

uint32_t sc_encoder_unrefined(const struct sc_encoder *encoder) {
	return encoder->unrefined;
}
