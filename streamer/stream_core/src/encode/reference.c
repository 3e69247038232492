/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/reference.h"

#include <string.h>

/* One plane: `group` bytes are a pixel (2 in interleaved chroma), `rows` of a macroblock, `edge_rows` around the picture. */
struct plane {
	uint8_t *data;
	ptrdiff_t stride;
	size_t group;
	uint32_t rows, edge_rows;
};

static void repeat_left_right(
	const struct plane *plane, const struct sc_reference *reference, uint32_t x, uint32_t first, uint32_t count) {
	size_t width = (size_t)reference->mb_width * 16;
	for (uint32_t row = first; row < first + count; row++) {
		uint8_t *line = plane->data + (ptrdiff_t)row * plane->stride;
		for (size_t i = 0; x == 0 && i < SC_REFERENCE_EDGE; i += plane->group) {
			memcpy(line - SC_REFERENCE_EDGE + i, line, plane->group);
		}
		for (size_t i = 0; x == reference->mb_width - 1 && i < SC_REFERENCE_EDGE; i += plane->group) {
			memcpy(line + width + i, line + width - plane->group, plane->group);
		}
	}
}

static void repeat_edge(const struct plane *plane, const struct sc_reference *reference, uint32_t x, uint32_t y) {
	uint32_t height = reference->mb_height * plane->rows;
	repeat_left_right(plane, reference, x, y * plane->rows, plane->rows);
	/* The rows above and below take the corners with them. */
	ptrdiff_t from = x == 0 ? -SC_REFERENCE_EDGE : (ptrdiff_t)x * 16;
	ptrdiff_t to = (ptrdiff_t)x * 16 + 16 + (x == reference->mb_width - 1 ? SC_REFERENCE_EDGE : 0);
	for (uint32_t i = 1; i <= plane->edge_rows; i++) {
		if (y == 0) {
			memcpy(plane->data - (ptrdiff_t)i * plane->stride + from, plane->data + from, (size_t)(to - from));
		}
		if (y == reference->mb_height - 1) {
			uint8_t *last = plane->data + (ptrdiff_t)(height - 1) * plane->stride;
			memcpy(last + (ptrdiff_t)i * plane->stride + from, last + from, (size_t)(to - from));
		}
	}
}

static void planes_of(const struct sc_reference *reference, struct plane out[2]) {
	out[0] = (struct plane){reference->luma, reference->luma_stride, 1, 16, SC_REFERENCE_EDGE};
	out[1] = (struct plane){reference->chroma, reference->chroma_stride, 2, 8, SC_REFERENCE_EDGE / 2};
}

void sc_reference_repeat_edge(const struct sc_reference *reference, uint32_t x, uint32_t y) {
	if (x && y && x < reference->mb_width - 1 && y < reference->mb_height - 1) {
		return;
	}
	struct plane planes[2];
	planes_of(reference, planes);
	repeat_edge(&planes[0], reference, x, y);
	repeat_edge(&planes[1], reference, x, y);
}

bool sc_reference_edge_is_repeated(const struct sc_reference *reference) {
	struct plane planes[2];
	planes_of(reference, planes);
	ptrdiff_t width = (ptrdiff_t)reference->mb_width * 16;
	for (int p = 0; p < 2; p++) {
		const struct plane *plane = &planes[p];
		ptrdiff_t height = (ptrdiff_t)(reference->mb_height * plane->rows), edge_rows = plane->edge_rows;
		for (ptrdiff_t row = -edge_rows; row < height + edge_rows; row++) {
			const uint8_t *line = plane->data + row * plane->stride;
			ptrdiff_t inside = row < 0 ? 0 : row >= height ? height - 1 : row;
			const uint8_t *source = plane->data + inside * plane->stride;
			for (ptrdiff_t i = 0; i < SC_REFERENCE_EDGE; i++) {
				ptrdiff_t group = (ptrdiff_t)plane->group;
				if (line[i - SC_REFERENCE_EDGE] != source[i % group] ||
					line[width + i] != source[width - group + i % group]) {
					return false;
				}
			}
		}
	}
	return true;
}
