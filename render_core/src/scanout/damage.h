/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_DAMAGE_H
#define RC_DAMAGE_H

#include "render_core.h"

/* What changed: a bounded set of rectangles that covers at least the changed pixels. Rectangles may overlap. */
struct rc_damage {
	uint32_t count;
	struct rc_rect rects[RC_MAX_DAMAGE];
};

static inline void rc_damage_clear(struct rc_damage *damage) {
	damage->count = 0;
}

/* Add a rectangle (checked by the caller). When the set is full, the two whose union wastes least become one. */
void rc_damage_add(struct rc_damage *damage, const struct rc_rect *rect);
void rc_damage_add_all(struct rc_damage *damage, const struct rc_damage *other);

/* Set `out` to what `damage` of a picture touches in the same picture at 1/divisor of its size. */
void rc_damage_scale(const struct rc_damage *damage, uint32_t divisor, struct rc_damage *out);

#endif
