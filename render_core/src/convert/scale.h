/* SPDX-License-Identifier: Apache-2.0
 * Pictures that are too large for a video stream are made smaller by a whole number (docs/decisions/0020-large-pictures.md). */
#ifndef RC_SCALE_H
#define RC_SCALE_H

#include "render_core.h"

/* What H.264 takes at its highest level (ITU-T H.264, table A-1, MaxFS): 8192 × 4352 in any shape. */
enum { RC_MAX_MACROBLOCKS = 139264 };

/* Pixels that `pixels` of the source become; the last may cover fewer than `divisor` of them. */
static inline uint32_t rc_scaled(uint32_t pixels, uint32_t divisor) {
	return (pixels + divisor - 1) / divisor;
}

/* The smallest divisor that makes width × height fit into a video. Sizes up to RC_MAX_SIZE need 3 at most. */
static inline uint32_t rc_scale_divisor(uint32_t width, uint32_t height) {
	uint32_t divisor = 1;
	while (divisor < RC_MAX_DIVISOR &&
		   rc_scaled(width, 16 * divisor) * rc_scaled(height, 16 * divisor) > RC_MAX_MACROBLOCKS) {
		divisor++;
	}
	return divisor;
}

#endif
