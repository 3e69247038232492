/* SPDX-License-Identifier: Apache-2.0 */
#include "scanout/damage.h"

#include "convert/scale.h"
#include "util/rect.h"

static uint64_t union_waste(const struct rc_rect *a, const struct rc_rect *b) {
	struct rc_rect both = rc_rect_union(a, b);
	uint64_t separate = rc_rect_area(a) + rc_rect_area(b);
	uint64_t area = rc_rect_area(&both);
	return area > separate ? area - separate : 0;
}

static void remove_at(struct rc_damage *damage, uint32_t index) {
	damage->rects[index] = damage->rects[--damage->count];
}

void rc_damage_add(struct rc_damage *damage, const struct rc_rect *rect) {
	struct rc_rect add = *rect;
	/* A union that wastes nothing is taken; the bigger rectangle may then swallow others, so begin again. */
	for (uint32_t i = 0; i < damage->count;) {
		if (union_waste(&damage->rects[i], &add) == 0) {
			add = rc_rect_union(&damage->rects[i], &add);
			remove_at(damage, i);
			i = 0;
		} else {
			i++;
		}
	}
	if (damage->count == RC_MAX_DAMAGE) {
		uint32_t best = 0;
		uint64_t best_waste = UINT64_MAX;
		for (uint32_t i = 0; i < damage->count; i++) {
			uint64_t waste = union_waste(&damage->rects[i], &add);
			if (waste < best_waste) {
				best_waste = waste;
				best = i;
			}
		}
		add = rc_rect_union(&damage->rects[best], &add);
		remove_at(damage, best);
	}
	damage->rects[damage->count++] = add;
}

void rc_damage_add_all(struct rc_damage *damage, const struct rc_damage *other) {
	for (uint32_t i = 0; i < other->count; i++) {
		rc_damage_add(damage, &other->rects[i]);
	}
}

void rc_damage_scale(const struct rc_damage *damage, uint32_t divisor, struct rc_damage *out) {
	rc_damage_clear(out);
	for (uint32_t i = 0; i < damage->count; i++) {
		const struct rc_rect *from = &damage->rects[i];
		const uint32_t x = from->x / divisor, y = from->y / divisor;
		const struct rc_rect rect = {
			.x = x,
			.y = y,
			.width = rc_scaled(from->x + from->width, divisor) - x,
			.height = rc_scaled(from->y + from->height, divisor) - y,
		};
		rc_damage_add(out, &rect);
	}
}
