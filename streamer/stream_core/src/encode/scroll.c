/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/scroll.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "encode/bands.h"
#include "encode/luma_error.h"

enum {
	/* Less is coded as it is. */
	MIN_ROWS = 48,
	MIN_BLOCKS = 24,
	/* Rows are told apart by their sums over so many columns. */
	MAX_COLUMNS = 512,
	/* A vector must explain the rows so much better than none. */
	GAIN = 3,
	/* 38 dB, of a macroblock's luma: good enough while it moves. */
	GOOD_LUMA = 2600,
	/* So many times less than without the vector: it moves, if coarsely. */
	CLEAR = 4
};

struct sc_scroll {
	uint32_t *errors;             /* by macroblock, with the vector */
	int32_t *picture, *reference; /* sums of rows */
};

struct box {
	uint32_t x0, y0, x1, y1;
};

struct sc_scroll *sc_scroll_create(uint32_t height, uint32_t blocks) {
	struct sc_scroll *scroll = calloc(1, sizeof(*scroll));
	if (scroll) {
		scroll->errors = calloc(blocks, sizeof(*scroll->errors));
		scroll->picture = calloc(height, sizeof(*scroll->picture));
		scroll->reference = calloc(height, sizeof(*scroll->reference));
	}
	if (scroll && (!scroll->errors || !scroll->picture || !scroll->reference)) {
		sc_scroll_destroy(scroll);
		return NULL;
	}
	return scroll;
}

void sc_scroll_destroy(struct sc_scroll *scroll) {
	if (scroll) {
		free(scroll->errors);
		free(scroll->picture);
		free(scroll->reference);
		free(scroll);
	}
}

static uint32_t find_box(const struct sc_patch_job *job, const uint8_t *is_changed, struct box *out) {
	uint32_t width = job->reference->mb_width, height = job->reference->mb_height, count = 0;
	struct box box = {width, height, 0, 0};
	for (uint32_t y = 0; y < height; y++) {
		for (uint32_t x = 0; x < width; x++) {
			if (is_changed[y * width + x]) {
				box.x0 = x < box.x0 ? x : box.x0;
				box.y0 = y < box.y0 ? y : box.y0;
				box.x1 = x + 1 > box.x1 ? x + 1 : box.x1;
				box.y1 = y + 1;
				count++;
			}
		}
	}
	*out = (struct box){box.x0 * 16, box.y0 * 16, box.x1 * 16 < job->width ? box.x1 * 16 : job->width,
		box.y1 * 16 < job->height ? box.y1 * 16 : job->height};
	return count;
}

static int32_t sum_row(const uint8_t *row, uint32_t columns) {
	int32_t sum = 0;
	for (uint32_t x = 0; x < columns; x++) {
		sum += row[x];
	}
	return sum;
}

struct sums {
	struct sc_scroll *scroll;
	const struct sc_patch_job *job;
	const struct box *box;
};

/* Sum rows of both pictures, by 16. */
static void sum_rows(void *context, uint32_t begin, uint32_t end) {
	const struct sums *sums = context;
	const struct box *box = sums->box;
	const struct sc_reference *reference = sums->job->reference;
	const struct sc_encoder_picture *picture = sums->job->picture;
	uint32_t columns = box->x1 - box->x0 < MAX_COLUMNS ? box->x1 - box->x0 : MAX_COLUMNS;
	for (uint32_t row = begin * 16; row < end * 16 && box->y0 + row < box->y1; row++) {
		ptrdiff_t y = box->y0 + row;
		sums->scroll->picture[row] = sum_row(picture->planes + y * (ptrdiff_t)picture->stride + box->x0, columns);
		sums->scroll->reference[row] = sum_row(reference->luma + y * reference->luma_stride + box->x0, columns);
	}
}

/* The mean difference of rows when the picture's come from `shift` rows further down. */
static int64_t mismatch(const struct sc_scroll *scroll, int rows, int shift) {
	int begin = shift < 0 ? -shift : 0, end = shift < 0 ? rows : rows - shift;
	int64_t sum = 0;
	for (int y = begin; y < end; y++) {
		int32_t difference = scroll->picture[y] - scroll->reference[y + shift];
		sum += difference < 0 ? -difference : difference;
	}
	return sum / (end - begin);
}

/* What the macroblocks differ by that a block at `from` rows is made of. */
static uint64_t error_before(const struct sc_patch_job *job, const uint32_t *errors, uint32_t mb, int64_t from) {
	uint32_t width = job->reference->mb_width, first = (uint32_t)(from / 16) * width + mb % width;
	return (uint64_t)errors[first] + (from % 16 ? errors[first + width] : 0);
}

/* A macroblock's luma: in the picture itself where all of it lies within. */
static const uint8_t *picture_luma(
	const struct sc_patch_job *job, uint32_t mb, struct sc_block_pixels *block, ptrdiff_t *stride) {
	uint32_t x = mb % job->reference->mb_width * 16, y = mb / job->reference->mb_width * 16;
	if (x + 16 <= job->width && y + 16 <= job->height) {
		*stride = (ptrdiff_t)job->picture->stride;
		return job->picture->planes + (size_t)y * job->picture->stride + x;
	}
	sc_patch_load(job, mb, block);
	return block->luma;
}

struct marks {
	struct sc_scroll *scroll;
	const struct sc_patch_job *job;
	const struct box *box;
	int shift;
	const uint32_t *errors;
	const uint8_t *is_changed;
	uint8_t *moved;
	atomic_uint count;
};

/* Mark what the vector serves. */
static void mark_rows(void *context, uint32_t begin, uint32_t end) {
	struct marks *marks = context;
	const struct sc_patch_job *job = marks->job;
	const struct box *box = marks->box;
	const int shift = marks->shift;
	uint32_t width = job->reference->mb_width, count = 0;
	memset(marks->moved + begin * width, 0, (size_t)(end - begin) * width);
	for (uint32_t mb = begin * width; mb < end * width; mb++) {
		int64_t from = (int64_t)(mb / width) * 16 + shift;
		/* What comes in at the border is new. */
		if (!marks->is_changed[mb] || from < box->y0 || from + 16 > box->y1) {
			continue;
		}
		struct sc_block_pixels block;
		ptrdiff_t stride = 16;
		const uint8_t *source = picture_luma(job, mb, &block, &stride);
		const struct sc_block_target target = sc_reference_block(job->reference, mb % width, mb / width);
		const uint8_t *old = target.luma + shift * target.luma_stride;
		uint32_t error = sc_luma_error(source, stride, old, target.luma_stride), unmoved = 0;
		marks->scroll->errors[mb] = error;
		if (error > GOOD_LUMA) {
			unmoved = sc_luma_error(source, stride, target.luma, target.luma_stride);
		}
		if (error <= GOOD_LUMA || error < unmoved / CLEAR) {
			/* What was coarse stays as coarse while it moves. Chroma that does not follow is rare, and refinement looks at it. */
			bool is_as_before = error <= GOOD_LUMA + error_before(job, marks->errors, mb, from) * 5 / 4;
			marks->moved[mb] = is_as_before ? 2 : 1;
			count++;
		}
	}
	atomic_fetch_add_explicit(&marks->count, count, memory_order_relaxed);
}

int sc_scroll_find(
	struct sc_scroll *scroll, const struct sc_patch_job *job, uint32_t *errors, uint8_t *is_changed, uint8_t *moved) {
	struct box box;
	uint32_t changed = find_box(job, is_changed, &box);
	if (changed < MIN_BLOCKS || box.y1 - box.y0 < MIN_ROWS) {
		return 0;
	}
	struct sums sums = {scroll, job, &box};
	sc_bands_run(job->bands, (box.y1 - box.y0 + 15) / 16, sum_rows, &sums);
	int rows = (int)(box.y1 - box.y0), limit = rows / 2 < SC_MAX_SCROLL ? rows / 2 : SC_MAX_SCROLL, best = 0;
	int64_t none = mismatch(scroll, rows, 0), least = none;
	for (int shift = -limit; shift <= limit; shift++) {
		int64_t error = shift ? mismatch(scroll, rows, shift) : none;
		if (error < least) {
			least = error;
			best = shift;
		}
	}
	if (!best || least * GAIN > none) {
		return 0;
	}
	struct marks marks = {scroll, job, &box, best, errors, is_changed, moved, 0};
	sc_bands_run(job->bands, job->reference->mb_height, mark_rows, &marks);
	/* A vector that serves only a small part of what changed is none. */
	if (marks.count < changed / 3) {
		return 0;
	}
	for (uint32_t mb = 0; mb < job->reference->mb_width * job->reference->mb_height; mb++) {
		if (moved[mb]) {
			errors[mb] = scroll->errors[mb];
			is_changed[mb] = moved[mb];
		}
	}
	return best;
}
