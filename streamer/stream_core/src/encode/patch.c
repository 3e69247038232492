/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/patch.h"

#include <stdlib.h>
#include <string.h>

#include "encode/bands.h"
#include "encode/cavlc.h"

enum {
	/* Sharp enough for text where the error is measured to be small, or finer steps follow. */
	SHARP_QP = 20,
	SHARP_STEP = 2,
	/* 45.2 dB in each macroblock: the whole picture has 45 then. */
	SHARP_LUMA = 500,
	SHARP_CHROMA = 500,
	/* Coarser by a fifth of the bits, where the budget does not reach. */
	COARSER_STEP = 2,
	COARSEST_QP = 42,
	/* macroblock_layer() has at most 3200 bits (A.3.1); PCM has 3072 and what is before it. */
	MAX_BLOCK_BITS = 3100,
	SMALL_BLOCKS = 16,
	MB_TYPE_PCM = 5 + 25,
	SAVED_BYTES = 384,
	/* A block is at most PCM, with its alignment and skip run. */
	BLOCK_BYTES = 416
};

/* What a macroblock is predicted from. */
enum vector {
	VECTOR_ZERO,
	VECTOR_SCROLL,
	VECTOR_NONE, /* intra */
	VECTOR_OUTSIDE
};

struct sc_patch {
	uint32_t mb_width, mb_count;
	uint8_t (*totals)[24]; /* total_coeff: 16 luma blocks, 4 of U, 4 of V */
	uint32_t *coded_at;    /* by macroblock: the pass that has written its totals; others have zeros */
	uint32_t pass;
	uint8_t (*saved)[SAVED_BYTES];  /* the reference's blocks before */
	uint8_t *vectors;               /* by macroblock, of this picture: enum vector */
	uint8_t *old_luma, *old_chroma; /* the reference before what moves */
	uint8_t *rbsp, *unit;
	size_t rbsp_size;
	int next_qp; /* where the next large change begins to look for its QP */
	struct sc_levels levels;
};

struct sc_patch *sc_patch_create(uint32_t mb_width, uint32_t mb_height, uint32_t max_blocks) {
	struct sc_patch *patch = calloc(1, sizeof(*patch));
	if (!patch) {
		return NULL;
	}
	patch->mb_width = mb_width;
	patch->mb_count = mb_width * mb_height;
	patch->totals = calloc(patch->mb_count, sizeof(*patch->totals));
	patch->coded_at = calloc(patch->mb_count, sizeof(*patch->coded_at));
	patch->saved = calloc(max_blocks, sizeof(*patch->saved));
	patch->vectors = calloc(patch->mb_count, 1);
	patch->old_luma = malloc((size_t)patch->mb_count * 256);
	patch->old_chroma = malloc((size_t)patch->mb_count * 128);
	/* Macroblocks without a residual: a vector. */
	patch->rbsp_size = (size_t)max_blocks * BLOCK_BYTES + (size_t)patch->mb_count * 8 + 64;
	patch->rbsp = malloc(patch->rbsp_size);
	patch->unit = malloc(patch->rbsp_size * 3 / 2 + 8);
	if (!patch->totals || !patch->coded_at || !patch->saved || !patch->rbsp || !patch->unit || !patch->vectors ||
		!patch->old_luma || !patch->old_chroma) {
		sc_patch_destroy(patch);
		return NULL;
	}
	return patch;
}

void sc_patch_destroy(struct sc_patch *patch) {
	if (!patch) {
		return;
	}
	free(patch->totals);
	free(patch->coded_at);
	free(patch->saved);
	free(patch->vectors);
	free(patch->old_luma);
	free(patch->old_chroma);
	free(patch->rbsp);
	free(patch->unit);
	free(patch);
}

/* Copy `size` x `size` pixels, `step` bytes apart, repeating what lies behind the last column and row. */
static void load_plane(const uint8_t *plane, size_t stride, size_t step, uint32_t x, uint32_t y, uint32_t width,
	uint32_t height, uint32_t size, uint8_t *out) {
	for (uint32_t row = 0; row < size; row++) {
		uint32_t from = y + row < height ? y + row : height - 1;
		const uint8_t *line = plane + from * stride;
		uint32_t inside = width - x < size ? width - x : size;
		if (step == 1 && inside == 16) {
			memcpy(out, line + x, 16);
		} else if (step == 1 && inside == 8) {
			memcpy(out, line + x, 8);
		} else if (step == 1) {
			memcpy(out, line + x, inside);
		} else {
			for (uint32_t column = 0; column < inside; column++) {
				out[column] = line[(x + column) * step];
			}
		}
		if (inside < size) {
			memset(out + inside, out[inside - 1], size - inside);
		}
		out += size;
	}
}

void sc_patch_load(const struct sc_patch_job *job, uint32_t mb, struct sc_block_pixels *out) {
	uint32_t x = mb % job->reference->mb_width, y = mb / job->reference->mb_width;
	const uint8_t *planes = job->picture->planes;
	size_t stride = job->picture->stride, luma = stride * job->height;
	uint32_t width = job->width / 2, height = job->height / 2;
	load_plane(planes, stride, 1, x * 16, y * 16, job->width, job->height, 16, out->luma);
	if (job->nv12) {
		load_plane(planes + luma, stride, 2, x * 8, y * 8, width, height, 8, out->u);
		load_plane(planes + luma + 1, stride, 2, x * 8, y * 8, width, height, 8, out->v);
	} else {
		load_plane(planes + luma, stride / 2, 1, x * 8, y * 8, width, height, 8, out->u);
		load_plane(planes + luma + luma / 4, stride / 2, 1, x * 8, y * 8, width, height, 8, out->v);
	}
}

bool sc_patch_is_sharp(const struct sc_block_pixels *source, const struct sc_block_target *target, uint32_t *error) {
	uint32_t chroma;
	sc_block_distortion(source, target, error, &chroma);
	return *error <= SHARP_LUMA && chroma <= SHARP_CHROMA;
}

static void save(const struct sc_block_target *target, uint8_t *out) {
	for (int y = 0; y < 16; y++, out += 16) {
		memcpy(out, target->luma + y * target->luma_stride, 16);
	}
	for (int y = 0; y < 8; y++, out += 16) {
		memcpy(out, target->chroma + y * target->chroma_stride, 16);
	}
}

static void restore(const struct sc_block_target *target, const uint8_t *saved) {
	for (int y = 0; y < 16; y++, saved += 16) {
		memcpy(target->luma + y * target->luma_stride, saved, 16);
	}
	for (int y = 0; y < 8; y++, saved += 16) {
		memcpy(target->chroma + y * target->chroma_stride, saved, 16);
	}
}

/* total_coeff of a block of this picture; -1 outside. `plane` 0..2; x and y in blocks of the macroblock, which may be -1. */
static int total_at(const struct sc_patch *patch, uint32_t mb, int plane, int x, int y) {
	int side = plane ? 2 : 4;
	if (x < 0) {
		if (mb % patch->mb_width == 0) {
			return -1;
		}
		mb--;
		x += side;
	}
	if (y < 0) {
		if (mb < patch->mb_width) {
			return -1;
		}
		mb -= patch->mb_width;
		y += side;
	}
	int first = plane ? 12 + 4 * plane : 0;
	return patch->coded_at[mb] == patch->pass ? patch->totals[mb][first + y * side + x] : 0;
}

/* nC of 9.2.1. */
static int context_of(const struct sc_patch *patch, uint32_t mb, int plane, int x, int y) {
	int left = total_at(patch, mb, plane, x - 1, y), above = total_at(patch, mb, plane, x, y - 1);
	if (left >= 0 && above >= 0) {
		return (left + above + 1) >> 1;
	}
	return left >= 0 ? left : above >= 0 ? above : 0;
}

static void put_residual(struct sc_patch *patch, struct sc_bits *bits, uint32_t mb) {
	static const int16_t zero[16];
	const struct sc_levels *levels = &patch->levels;
	uint8_t *totals = patch->totals[mb];
	for (int index = 0; index < 16; index++) {
		int x = (index >> 2 & 1) * 2 + (index & 1), y = (index >> 3) * 2 + (index >> 1 & 1), block = y * 4 + x;
		if (levels->cbp >> (index / 4) & 1) {
			const int16_t *block_levels = levels->coded >> block & 1 ? levels->luma[block] : zero;
			totals[block] = (uint8_t)sc_cavlc_block(bits, block_levels, 16, context_of(patch, mb, 0, x, y));
		}
	}
	if (levels->cbp >> 4) {
		sc_cavlc_block(bits, levels->chroma_dc[0], 4, -1);
		sc_cavlc_block(bits, levels->chroma_dc[1], 4, -1);
	}
	for (int block = 0; levels->cbp >> 4 == 2 && block < 8; block++) {
		const int16_t *block_levels = levels->coded >> (16 + block) & 1 ? levels->chroma[block / 4][block % 4] : zero;
		int context = context_of(patch, mb, 1 + block / 4, block % 2, block % 4 / 2);
		totals[16 + block] = (uint8_t)sc_cavlc_block(bits, block_levels + 1, 15, context);
	}
}

static void put_pcm(struct sc_patch *patch, struct sc_bits *bits, uint32_t mb, const struct sc_block_pixels *source,
	const struct sc_block_target *target) {
	sc_bits_ue(bits, MB_TYPE_PCM);
	while (bits->count % 8) {
		sc_bits_put(bits, 1, 0);
	}
	const uint8_t *pixels = (const uint8_t *)source;
	for (int i = 0; i < SAVED_BYTES; i++) {
		sc_bits_put(bits, 8, pixels[i]);
	}
	for (int y = 0; y < 16; y++) {
		memcpy(target->luma + y * target->luma_stride, source->luma + y * 16, 16);
	}
	for (int y = 0; y < 8; y++) {
		uint8_t *out = target->chroma + y * target->chroma_stride;
		for (int x = 0; x < 8; x++) {
			out[2 * x] = source->u[y * 8 + x];
			out[2 * x + 1] = source->v[y * 8 + x];
		}
	}
	memset(patch->totals[mb], 16, sizeof(patch->totals[mb]));
}

/* One pass over the blocks. */
struct pass {
	struct sc_bits bits;
	int qp;        /* of blocks that are not optional */
	int last_qp;   /* QP of the macroblock before */
	uint32_t next; /* the macroblock behind the last coded one */
	bool is_small; /* few blocks: each is made sharp at once */
};

static enum vector vector_at(const struct sc_patch *patch, uint32_t mb, int dx, int dy) {
	uint32_t x = mb % patch->mb_width;
	bool outside = (dx < 0 && x == 0) || (dx > 0 && x == patch->mb_width - 1) || (dy < 0 && mb < patch->mb_width);
	return outside ? VECTOR_OUTSIDE : (enum vector)patch->vectors[mb - (dy < 0 ? patch->mb_width : 0) + (uint32_t)dx];
}

/* 8.4.1.3: the prediction of a 16x16 vector, of which only the vertical part can differ from zero: whether it is the scroll. */
static bool predicts_scroll(const struct sc_patch *patch, uint32_t mb) {
	enum vector a = vector_at(patch, mb, -1, 0), b = vector_at(patch, mb, 0, -1), c = vector_at(patch, mb, 1, -1);
	if (c == VECTOR_OUTSIDE) {
		c = vector_at(patch, mb, -1, -1);
	}
	if (b == VECTOR_OUTSIDE && c == VECTOR_OUTSIDE && a != VECTOR_OUTSIDE) {
		return a == VECTOR_SCROLL;
	}
	bool in_a = a <= VECTOR_SCROLL, in_b = b <= VECTOR_SCROLL, in_c = c <= VECTOR_SCROLL;
	if (in_a + in_b + in_c == 1) {
		return (in_a ? a : in_b ? b : c) == VECTOR_SCROLL;
	}
	return (a == VECTOR_SCROLL) + (b == VECTOR_SCROLL) + (c == VECTOR_SCROLL) >= 2;
}

/* 8.4.1.1: whether P_Skip means the scroll here. */
static bool skip_scrolls(const struct sc_patch *patch, uint32_t mb) {
	enum vector a = vector_at(patch, mb, -1, 0), b = vector_at(patch, mb, 0, -1);
	if (a == VECTOR_OUTSIDE || b == VECTOR_OUTSIDE || a == VECTOR_ZERO || b == VECTOR_ZERO) {
		return false;
	}
	return predicts_scroll(patch, mb);
}

/* mb_skip_run, mb_type and mvd of a P_L0_16x16. */
static void put_type(struct sc_patch *patch, const struct sc_patch_job *job, struct pass *pass, uint32_t mb) {
	sc_bits_ue(&pass->bits, mb - pass->next);
	sc_bits_ue(&pass->bits, 0);
	int wanted = job->moved && job->moved[mb], predicted = job->moved && predicts_scroll(patch, mb);
	sc_bits_ue(&pass->bits, 0);
	sc_bits_se(&pass->bits, (wanted - predicted) * job->scroll_y * 4);
}

/* Code one block at `qp`; returns its bits, 0 when it is as before. The target must hold what is predicted from. */
static size_t code_at(struct sc_patch *patch, const struct sc_patch_job *job, struct pass *pass, uint32_t mb,
	const struct sc_block_pixels *source, const struct sc_block_target *target, int qp) {
	int chroma_qp = sc_chroma_qp(qp, job->syntax->chroma_qp_offset);
	if (chroma_qp < SC_MIN_QP) {
		chroma_qp = SC_MIN_QP; /* never: the offset of this preset is 0 */
	}
	if (!sc_residual_code(source, target, qp, chroma_qp, &patch->levels)) {
		return 0;
	}
	size_t before = sc_bits_written(&pass->bits);
	put_type(patch, job, pass, mb);
	sc_bits_ue(&pass->bits, sc_cavlc_inter_cbp(patch->levels.cbp));
	sc_bits_se(&pass->bits, qp - pass->last_qp);
	memset(patch->totals[mb], 0, sizeof(patch->totals[mb]));
	patch->coded_at[mb] = patch->pass;
	put_residual(patch, &pass->bits, mb);
	size_t after = sc_bits_written(&pass->bits);
	if (after - before > MAX_BLOCK_BITS) {
		return SIZE_MAX;
	}
	return after - before;
}

static void code_block(struct sc_patch *patch, const struct sc_patch_job *job, struct pass *pass, uint32_t index) {
	struct sc_patch_block *block = &job->blocks[index];
	uint32_t mb = block->mb;
	struct sc_block_target target = sc_reference_block(job->reference, mb % patch->mb_width, mb / patch->mb_width);
	struct sc_block_pixels source;
	sc_patch_load(job, mb, &source);
	block->is_sharp = block->is_coded = false;
	save(&target, patch->saved[index]);
	const struct pass begin = *pass;
	int qp = block->is_optional ? SHARP_QP : pass->qp;
	for (;;) {
		size_t bits = code_at(patch, job, pass, mb, &source, &target, qp);
		bool is_sharp = sc_patch_is_sharp(&source, &target, &block->error);
		if (bits == SIZE_MAX) {
			*pass = begin;
			restore(&target, patch->saved[index]);
			if (qp > SHARP_QP) {
				qp += SHARP_STEP;
				continue;
			}
			sc_bits_ue(&pass->bits, mb - pass->next);
			put_pcm(patch, &pass->bits, mb, &source, &target);
			patch->coded_at[mb] = patch->pass;
			patch->vectors[mb] = VECTOR_NONE;
			block->is_coded = block->is_sharp = true;
			block->error = 0;
			break;
		}
		bool is_finest = qp > SHARP_QP || qp - SHARP_STEP < SC_MIN_QP;
		/* Where much has changed, refinement has to do the rest. */
		bool is_enough = is_sharp || is_finest || !(block->is_optional || pass->is_small);
		if (is_enough) {
			block->is_coded = bits > 0;
			block->is_sharp = is_sharp || (is_finest && qp <= SHARP_QP);
			pass->last_qp = bits ? qp : pass->last_qp;
			break;
		}
		*pass = begin;
		restore(&target, patch->saved[index]);
		patch->coded_at[mb] = patch->pass - 1;
		qp -= SHARP_STEP;
	}
	if (block->is_coded) {
		pass->next = mb + 1;
	} else {
		patch->coded_at[mb] = patch->pass - 1;
	}
}

/* Macroblocks of [begin, end) without a residual: those whose vector is not what P_Skip means say so. Returns `end`. */
static uint32_t settle_vectors(
	struct sc_patch *patch, const struct sc_patch_job *job, struct pass *pass, uint32_t begin, uint32_t end) {
	for (uint32_t mb = begin; job->moved && mb < end; mb++) {
		bool is_moved = job->moved[mb];
		if (is_moved != skip_scrolls(patch, mb)) {
			put_type(patch, job, pass, mb);
			sc_bits_ue(&pass->bits, 0); /* coded_block_pattern: none */
			pass->next = mb + 1;
		}
		patch->vectors[mb] = is_moved ? VECTOR_SCROLL : VECTOR_ZERO;
	}
	return end;
}

struct move {
	struct sc_patch *patch;
	const struct sc_patch_job *job;
};

/* Keep the reference as it was. */
static void keep_rows(void *context, uint32_t begin, uint32_t end) {
	const struct move *move = context;
	const struct sc_reference *reference = move->job->reference;
	size_t width = (size_t)reference->mb_width * 16;
	for (uint32_t y = begin * 16; y < end * 16; y++) {
		memcpy(move->patch->old_luma + y * width, reference->luma + (ptrdiff_t)y * reference->luma_stride, width);
	}
	for (uint32_t y = begin * 8; y < end * 8; y++) {
		memcpy(move->patch->old_chroma + y * width, reference->chroma + (ptrdiff_t)y * reference->chroma_stride, width);
	}
}

/* Predict what moves: luma by whole pixels, chroma also by halves (8.4.2.2.2). */
static void move_rows(void *context, uint32_t begin, uint32_t end) {
	const struct move *move = context;
	struct sc_patch *patch = move->patch;
	const struct sc_patch_job *job = move->job;
	const struct sc_reference *reference = job->reference;
	ptrdiff_t step = (ptrdiff_t)reference->mb_width * 16, chroma_rows = job->scroll_y >> 1;
	for (uint32_t mb = begin * patch->mb_width; mb < end * patch->mb_width; mb++) {
		if (!job->moved[mb]) {
			continue;
		}
		uint32_t x = mb % patch->mb_width, y = mb / patch->mb_width;
		struct sc_block_target target = sc_reference_block(reference, x, y);
		const uint8_t *luma = patch->old_luma + ((ptrdiff_t)y * 16 + job->scroll_y) * step + x * 16;
		const uint8_t *chroma = patch->old_chroma + ((ptrdiff_t)y * 8 + chroma_rows) * step + x * 16;
		for (int row = 0; row < 16; row++) {
			memcpy(target.luma + row * target.luma_stride, luma + row * step, 16);
		}
		for (int row = 0; row < 8; row++) {
			/* With halves, the row behind the last is the last again. */
			bool is_last = (ptrdiff_t)y * 8 + chroma_rows + row + 1 >= (ptrdiff_t)reference->mb_height * 8;
			const uint8_t *above = chroma + row * step, *below = above + (is_last ? 0 : step);
			for (int i = 0; i < 16; i++) {
				target.chroma[row * target.chroma_stride + i] =
					job->scroll_y & 1 ? (uint8_t)((above[i] + below[i] + 1) >> 1) : above[i];
			}
		}
		sc_reference_repeat_edge(reference, x, y);
	}
}

/* Code the blocks at pass->qp; returns the bits of the picture, or, when they are too many and `may_stop`, how many they would have been. */
static size_t run_pass(
	struct sc_patch *patch, const struct sc_patch_job *job, struct pass *pass, bool with_optional, bool may_stop) {
	patch->pass += 2; /* the number below is nobody's */
	sc_bits_init(&pass->bits, patch->rbsp, patch->rbsp_size);
	pass->last_qp = pass->qp;
	pass->next = 0;
	sc_bits_put(&pass->bits, 8, 0x41); /* nal_ref_idc 2, nal_unit_type 1 */
	sc_syntax_put_header(job->syntax, &pass->bits, job->frame_num, pass->qp);
	size_t spent = sc_bits_written(&pass->bits);
	/* What has changed may come behind, and needs bits too. */
	uint64_t optional_bits = may_stop ? job->budget_bits / 2 : job->budget_bits;
	if (job->moved) {
		memset(patch->vectors, VECTOR_ZERO, patch->mb_count);
	}
	uint32_t behind = 0; /* macroblocks whose vectors are settled */
	for (uint32_t i = 0; i < job->count; i++) {
		struct sc_patch_block *block = &job->blocks[i];
		block->is_coded = block->is_sharp = false;
		/* Cannot happen with a rbsp of this size; the blocks behind stay as they were. */
		bool no_room = (size_t)(pass->bits.end - pass->bits.at) < BLOCK_BYTES + (size_t)patch->mb_count * 8;
		if (no_room || (block->is_optional && (!with_optional || spent >= optional_bits))) {
			continue;
		}
		behind = settle_vectors(patch, job, pass, behind, block->mb);
		code_block(patch, job, pass, i);
		if (!block->is_coded) {
			settle_vectors(patch, job, pass, block->mb, block->mb + 1);
		} else if (job->moved && patch->vectors[block->mb] != VECTOR_NONE) {
			patch->vectors[block->mb] = job->moved[block->mb] ? VECTOR_SCROLL : VECTOR_ZERO;
		}
		behind = block->mb + 1;
		spent = sc_bits_written(&pass->bits);
		if (may_stop && spent > job->budget_bits) {
			for (uint32_t rest = i + 1; rest < job->count; rest++) {
				job->blocks[rest].is_coded = false;
			}
			return spent * job->count / (i + 1);
		}
	}
	settle_vectors(patch, job, pass, behind, patch->mb_count);
	return spent;
}

static void undo_pass(struct sc_patch *patch, const struct sc_patch_job *job) {
	for (uint32_t i = 0; i < job->count; i++) {
		uint32_t mb = job->blocks[i].mb;
		if (job->blocks[i].is_coded) {
			struct sc_block_target target =
				sc_reference_block(job->reference, mb % patch->mb_width, mb / patch->mb_width);
			restore(&target, patch->saved[i]);
		}
	}
}

const uint8_t *sc_patch_encode(struct sc_patch *patch, const struct sc_patch_job *job, size_t *bytes, uint32_t *qp) {
	struct pass pass = {.qp = SHARP_QP};
	if (job->moved) {
		struct move move = {patch, job};
		sc_bands_run(job->bands, job->reference->mb_height, keep_rows, &move);
		sc_bands_run(job->bands, job->reference->mb_height, move_rows, &move);
	}
	uint32_t needed = 0;
	for (uint32_t i = 0; i < job->count; i++) {
		needed += !job->blocks[i].is_optional;
	}
	pass.is_small = needed <= SMALL_BLOCKS;
	if (!pass.is_small && patch->next_qp > SHARP_QP) {
		pass.qp = patch->next_qp;
	}
	bool with_optional = needed < job->count;
	for (;;) {
		bool may_stop = needed && (with_optional || pass.qp < COARSEST_QP);
		size_t bits = run_pass(patch, job, &pass, with_optional, may_stop);
		if (bits <= job->budget_bits || !may_stop) {
			if (!pass.is_small) {
				/* Bits to spare: the next may be finer. */
				bool is_half = bits<job->budget_bits / 2, is_most = bits> job->budget_bits * 6 / 7;
				patch->next_qp = pass.qp - (is_half ? 3 * COARSER_STEP : is_most ? 0 : COARSER_STEP);
			}
			break;
		}
		undo_pass(patch, job);
		/* 6 steps of QP halve the bits, or a little less. */
		for (; !with_optional && bits > job->budget_bits && pass.qp < COARSEST_QP; bits = bits * 4 / 5) {
			pass.qp += COARSER_STEP;
		}
		with_optional = false;
	}
	if (!pass.next && !job->may_be_empty) {
		return NULL;
	}
	for (uint32_t i = 0; i < job->count; i++) {
		if (job->blocks[i].is_coded) {
			uint32_t mb = job->blocks[i].mb;
			sc_reference_repeat_edge(job->reference, mb % patch->mb_width, mb / patch->mb_width);
		}
	}
	if (pass.next < patch->mb_count) {
		sc_bits_ue(&pass.bits, patch->mb_count - pass.next);
	}
	size_t size = sc_bits_finish(&pass.bits);
	static const uint8_t start[4] = {0, 0, 0, 1};
	memcpy(patch->unit, start, sizeof(start));
	*bytes = sizeof(start) + sc_escape(patch->unit + sizeof(start), patch->rbsp, size);
	*qp = (uint32_t)pass.qp;
	return patch->unit;
}
