/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_CURSOR_H
#define RC_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

enum { RC_MAX_CURSOR = 256 };

/* A scanout's cursor: kept apart from the picture, drawn by the viewer. */
struct rc_cursor {
	uint32_t width, height, hot_x, hot_y; /* width 0: hidden */
	uint32_t serial;                      /* counts images */
	int32_t x, y;
	uint8_t *pixels; /* BGRA, straight alpha, rows packed; owned */
};

/* Take a copy of `stride`-spaced rows in a virtio-gpu format. Guests give straight or premultiplied alpha alike: virtio does not
 * say, Linux's drivers hand on the compositor's premultiplied pixels, so those are turned into straight ones. False: out of memory. */
bool rc_cursor_set(struct rc_cursor *cursor, const uint8_t *rows, uint32_t format, uint32_t width, uint32_t height,
	uint64_t stride, uint32_t hot_x, uint32_t hot_y);
void rc_cursor_hide(struct rc_cursor *cursor);
void rc_cursor_finish(struct rc_cursor *cursor);

#endif
