// SPDX-License-Identifier: Apache-2.0
/* What the guest's KMS program draws: pixels are XRGB8888, `pitch` in bytes. */
#pragma once
#include <stdint.h>

struct kms_picture {
	uint8_t *pixels;
	uint32_t width, height, pitch;
};

/* The known pattern of this output: tests/support/vm_guest/pattern.py makes the same. */
void kms_draw_pattern(const struct kms_picture *picture, uint32_t output);

/* A rectangle, clipped to the picture. */
void kms_fill(const struct kms_picture *picture, int64_t x, int64_t y, int64_t width, int64_t height, uint32_t color);

/* The number as bench/guest_programs/barcode.py lays it out, in the upper left corner. */
void kms_draw_barcode(const struct kms_picture *picture, uint64_t number);

/* A triangle, `color` and opaque, in the upper left 24 x 24 pixels of an ARGB8888 picture; the rest becomes transparent. */
void kms_draw_cursor(const struct kms_picture *picture, uint32_t color);
