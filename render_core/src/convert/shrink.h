/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_SHRINK_H
#define RC_SHRINK_H

#include "convert/convert.h"

/* Make `count` pixels of row `y`, from column `x`, of the picture at 1/divisor of its size (2..RC_MAX_DIVISOR), in the picture's own byte
 * order: each the rounded mean of divisor × divisor pixels, the picture's edge being repeated. x and y may lie beyond the edge. Any thread. */
void rc_shrink_row(
	const struct rc_picture *picture, uint32_t divisor, uint32_t x, uint32_t y, uint32_t count, uint8_t *out);

#endif
