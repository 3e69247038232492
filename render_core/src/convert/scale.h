/* SPDX-License-Identifier: Apache-2.0
 * Pictures that are too large for a video stream are made smaller by a whole number (docs/decisions/0020-large-pictures.md). */
#ifndef RC_SCALE_H
#define RC_SCALE_H

#include "render_core.h"

/* H.264's level 5.2 (ITU-T H.264, table A-1, MaxFS, and A.3.1: a side is at most the root of 8 times that): 4096 × 2304, or up to 8688 wide or
 * high. Browsers' WebRTC takes no more, though H.264 has higher levels. */
enum { RC_MAX_MACROBLOCKS = 36864, RC_MAX_SIDE_MACROBLOCKS = 543 };

/* Pixels that `pixels` of the source become; the last may cover fewer than `divisor` of them. */
static inline uint32_t rc_scaled(uint32_t pixels, uint32_t divisor) {
	return (pixels + divisor - 1) / divisor;
}

/* The smallest divisor that makes width × height fit into a video; RC_MAX_DIVISOR is enough for RC_MAX_SIZE both ways. */
static inline uint32_t rc_scale_divisor(uint32_t width, uint32_t height) {
	uint32_t divisor = 1;
	for (; divisor < RC_MAX_DIVISOR; divisor++) {
		const uint32_t across = rc_scaled(width, 16 * divisor), down = rc_scaled(height, 16 * divisor);
		if (across <= RC_MAX_SIDE_MACROBLOCKS && down <= RC_MAX_SIDE_MACROBLOCKS &&
			across * down <= RC_MAX_MACROBLOCKS) {
			break;
		}
	}
	return divisor;
}

#endif
