// SPDX-License-Identifier: Apache-2.0
#include "kms_draw.h"
#include <stdbool.h>
#include <string.h>

#define BLOCK 32
#define CORNER 64
#define CELL 16
#define CURSOR 24

static uint32_t *row(const struct kms_picture *picture, uint32_t y) {
	return (uint32_t *)(void *)(picture->pixels + (uint64_t)y * picture->pitch);
}

void kms_fill(const struct kms_picture *picture, int64_t x, int64_t y, int64_t width, int64_t height, uint32_t color) {
	int64_t right = x + width < picture->width ? x + width : picture->width;
	int64_t bottom = y + height < picture->height ? y + height : picture->height;
	for (int64_t v = y < 0 ? 0 : y; v < bottom; v++) {
		uint32_t *pixels = row(picture, v);
		for (int64_t h = x < 0 ? 0 : x; h < right; h++) {
			pixels[h] = color;
		}
	}
}

void kms_draw_pattern(const struct kms_picture *picture, uint32_t output) {
	for (uint32_t y = 0; y < picture->height; y += BLOCK) {
		for (uint32_t x = 0; x < picture->width; x += BLOCK) {
			uint32_t h = x / BLOCK, v = y / BLOCK;
			uint32_t red = (h * 37 + output * 85) & 0xff, green = (v * 53 + output * 29) & 0xff;
			uint32_t blue = ((h ^ v) * 29 + 64) & 0xff;
			kms_fill(picture, x, y, BLOCK, BLOCK, red << 16 | green << 8 | blue);
		}
	}
	int64_t right = (int64_t)picture->width - CORNER, bottom = (int64_t)picture->height - CORNER;
	kms_fill(picture, 0, 0, CORNER, CORNER, 0xff0000);
	kms_fill(picture, right, 0, CORNER, CORNER, 0x00ff00);
	kms_fill(picture, 0, bottom, CORNER, CORNER, 0x0000ff);
	kms_fill(picture, right, bottom, CORNER, CORNER, 0xffffff);
}

void kms_draw_barcode(const struct kms_picture *picture, uint64_t number) {
	uint32_t words[6] = {0xa5c3}, total = 0;
	for (uint32_t place = 0; place < 4; place++) {
		uint32_t word = number >> (16 * (3 - place)) & 0xffff, shift = 3 * place;
		words[1 + place] = word;
		total += (word << shift | word >> (16 - shift)) & 0xffff;
	}
	words[5] = ~total & 0xffff;
	for (uint32_t v = 0; v < 6; v++) {
		for (uint32_t h = 0; h < 16; h++) {
			bool white = words[v] >> (15 - h) & 1;
			kms_fill(picture, h * CELL, v * CELL, CELL, CELL, white ? 0xffffff : 0);
		}
	}
}

void kms_draw_cursor(const struct kms_picture *picture, uint32_t color) {
	for (uint32_t y = 0; y < picture->height; y++) {
		uint32_t *pixels = row(picture, y);
		for (uint32_t x = 0; x < picture->width; x++) {
			pixels[x] = x <= y && y < CURSOR ? 0xff000000 | color : 0;
		}
	}
}
