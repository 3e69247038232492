/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_RECT_H
#define RC_RECT_H

#include <stdbool.h>
#include <stdint.h>

#include "render_core.h"

/* True when `rect` is not empty and lies inside width × height. Safe for any guest values. */
static inline bool rc_rect_inside(const struct rc_rect *rect, uint32_t width, uint32_t height) {
	return rect->width && rect->height && rect->x <= width && rect->y <= height && rect->width <= width - rect->x &&
		   rect->height <= height - rect->y;
}

/* Cut `rect` to `bounds`; false when nothing is left. Both must have been checked against RC_MAX_SIZE. */
static inline bool rc_rect_intersect(struct rc_rect *rect, const struct rc_rect *bounds) {
	uint32_t x0 = rect->x > bounds->x ? rect->x : bounds->x;
	uint32_t y0 = rect->y > bounds->y ? rect->y : bounds->y;
	uint32_t x1 = rect->x + rect->width < bounds->x + bounds->width ? rect->x + rect->width : bounds->x + bounds->width;
	uint32_t y1 =
		rect->y + rect->height < bounds->y + bounds->height ? rect->y + rect->height : bounds->y + bounds->height;
	if (x0 >= x1 || y0 >= y1) {
		return false;
	}
	*rect = (struct rc_rect){x0, y0, x1 - x0, y1 - y0};
	return true;
}

static inline struct rc_rect rc_rect_union(const struct rc_rect *a, const struct rc_rect *b) {
	uint32_t x0 = a->x < b->x ? a->x : b->x;
	uint32_t y0 = a->y < b->y ? a->y : b->y;
	uint32_t x1 = a->x + a->width > b->x + b->width ? a->x + a->width : b->x + b->width;
	uint32_t y1 = a->y + a->height > b->y + b->height ? a->y + a->height : b->y + b->height;
	return (struct rc_rect){x0, y0, x1 - x0, y1 - y0};
}

static inline uint64_t rc_rect_area(const struct rc_rect *rect) {
	return (uint64_t)rect->width * rect->height;
}

#endif
