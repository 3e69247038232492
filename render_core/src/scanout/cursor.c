/* SPDX-License-Identifier: Apache-2.0 */
#include "scanout/cursor.h"

#include <stdlib.h>

#include "convert/pixel_format.h"

static uint8_t straight(uint8_t value, uint8_t alpha) {
	uint32_t scaled = alpha ? ((uint32_t)value * 255 + alpha / 2) / alpha : 0;
	return scaled > 255 ? 255 : (uint8_t)scaled;
}

bool rc_cursor_set(struct rc_cursor *cursor, const uint8_t *rows, uint32_t format, uint32_t width, uint32_t height,
	uint64_t stride, uint32_t hot_x, uint32_t hot_y) {
	uint8_t *pixels = malloc((size_t)width * height * 4);
	if (!pixels) {
		return false;
	}
	struct rc_pixel_format order = rc_pixel_format(format);
	uint8_t *to = pixels;
	for (uint32_t y = 0; y < height; y++) {
		const uint8_t *from = rows + stride * y;
		for (uint32_t x = 0; x < width; x++, from += 4, to += 4) {
			uint8_t alpha = order.has_alpha ? from[order.alpha] : 255;
			to[0] = straight(from[order.blue], alpha);
			to[1] = straight(from[order.green], alpha);
			to[2] = straight(from[order.red], alpha);
			to[3] = alpha;
		}
	}
	free(cursor->pixels);
	cursor->pixels = pixels;
	cursor->width = width;
	cursor->height = height;
	cursor->hot_x = hot_x;
	cursor->hot_y = hot_y;
	cursor->serial++;
	return true;
}

void rc_cursor_hide(struct rc_cursor *cursor) {
	cursor->width = cursor->height = cursor->hot_x = cursor->hot_y = 0;
	cursor->serial++;
}

void rc_cursor_finish(struct rc_cursor *cursor) {
	free(cursor->pixels);
	*cursor = (struct rc_cursor){0};
}
