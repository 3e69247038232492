/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "check.h"
#include "scanout/damage.h"

enum { SIDE = 64 };

static void mark(uint8_t *cells, const struct rc_rect *rect) {
	for (uint32_t y = rect->y; y < rect->y + rect->height; y++) {
		memset(cells + y * SIDE + rect->x, 1, rect->width);
	}
}

/* Whatever is added is covered, and the set never overflows. */
static void test_covers_everything(void) {
	uint32_t seed = 1;
	for (int round = 0; round < 200; round++) {
		struct rc_damage damage = {0};
		uint8_t wanted[SIDE * SIDE] = {0}, covered[SIDE * SIDE] = {0};
		for (int i = 0; i < 60; i++) {
			uint32_t numbers[4];
			for (int k = 0; k < 4; k++) {
				seed = seed * 1664525u + 1013904223u;
				numbers[k] = seed >> 16;
			}
			struct rc_rect rect = {numbers[0] % SIDE, numbers[1] % SIDE, 0, 0};
			rect.width = 1 + numbers[2] % (SIDE - rect.x);
			rect.height = 1 + numbers[3] % (SIDE - rect.y);
			mark(wanted, &rect);
			rc_damage_add(&damage, &rect);
			CHECK(damage.count >= 1 && damage.count <= RC_MAX_DAMAGE);
		}
		for (uint32_t i = 0; i < damage.count; i++) {
			mark(covered, &damage.rects[i]);
		}
		for (int i = 0; i < SIDE * SIDE; i++) {
			CHECK(covered[i] >= wanted[i]);
		}
	}
}

static void test_keeps_distant_rectangles_apart(void) {
	struct rc_damage damage = {0};
	const struct rc_rect a = {0, 0, 8, 16}, b = {1000, 500, 8, 16};
	rc_damage_add(&damage, &a);
	rc_damage_add(&damage, &b);
	rc_damage_add(&damage, &a);
	CHECK(damage.count == 2);
}

static void test_joins_neighbours(void) {
	struct rc_damage damage = {0};
	const struct rc_rect a = {0, 0, 8, 16}, b = {8, 0, 8, 16};
	rc_damage_add(&damage, &a);
	rc_damage_add(&damage, &b);
	CHECK(damage.count == 1 && damage.rects[0].width == 16 && damage.rects[0].height == 16);
}

/* Each pixel of the small picture that has something of the damage in it, and no rectangle outside of that picture. */
static void test_scaled_damage_grows_outwards(void) {
	for (uint32_t divisor = 1; divisor <= RC_MAX_DIVISOR; divisor++) {
		for (uint32_t x = 0; x < 13; x++) {
			for (uint32_t width = 1; width <= 13 - x; width++) {
				struct rc_damage damage = {0}, scaled;
				const struct rc_rect rect = {x, 12 - x, width, 1};
				rc_damage_add(&damage, &rect);
				rc_damage_scale(&damage, divisor, &scaled);
				CHECK(scaled.count == 1);
				const struct rc_rect *got = &scaled.rects[0];
				CHECK(got->x == x / divisor && got->x + got->width - 1 == (x + width - 1) / divisor);
				CHECK(got->y == (12 - x) / divisor && got->height == 1);
			}
		}
	}
}

int main(void) {
	test_scaled_damage_grows_outwards();
	test_covers_everything();
	test_keeps_distant_rectangles_apart();
	test_joins_neighbours();
	return 0;
}
