/* SPDX-License-Identifier: Apache-2.0
 * The stream core's encoder under the sanitizers: random damage, sizes, formats and rates; what its parts promise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode/cavlc.h"
#include "encode/patch.h"
#include "encode/syntax.h"
#include "sc_encoder.h"
#include "unit/render_core/check.h"

enum { SKIPPED = 77 };

static uint32_t next_random(uint32_t *state) {
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static void escapes_are_undone(void) {
	uint8_t raw[64], escaped[96 + 8], back[104];
	uint32_t state = 7;
	for (int round = 0; round < 2000; round++) {
		size_t size = 1 + next_random(&state) % sizeof(raw);
		for (size_t i = 0; i < size; i++) {
			raw[i] = (uint8_t)(next_random(&state) % 5 ? 0 : next_random(&state) % 5);
		}
		size_t bytes = sc_escape(escaped, raw, size);
		for (size_t i = 0; i + 2 < bytes; i++) {
			CHECK(escaped[i] || escaped[i + 1] || escaped[i + 2] > 2);
		}
		CHECK(sc_unescape(back, escaped, bytes) == size && !memcmp(raw, back, size));
	}
}

/* Slice headers with every frame_num, also where emulation prevention comes or goes with it. */
static void slices_are_renumbered(void) {
	const struct sc_syntax syntax = {.frame_num_bits = 16, .pic_init_qp = 26, .deblocking_control = true};
	uint32_t state = 3;
	for (int round = 0; round < 5000; round++) {
		uint8_t rbsp[80], unit[160], out[320], expected[160];
		uint32_t first = next_random(&state) % 100000, old = next_random(&state) % 3 * 256,
				 new = next_random(&state) % 3;
		size_t size = 0, tail = next_random(&state) % 40;
		for (int pass = 0; pass < 2; pass++) {
			struct sc_bits bits;
			sc_bits_init(&bits, rbsp, sizeof(rbsp));
			sc_bits_put(&bits, 8, 0x41);
			sc_bits_ue(&bits, first);
			sc_bits_ue(&bits, 5);
			sc_bits_ue(&bits, 0);
			sc_bits_put(&bits, 16, pass ? new : old);
			uint32_t tail_state = (uint32_t)round;
			for (size_t i = 0; i < tail; i++) {
				sc_bits_put(&bits, 8, next_random(&tail_state) % 3);
			}
			size_t bytes = sc_bits_finish(&bits);
			uint8_t *to = pass ? expected : unit;
			memcpy(to, "\0\0\0\1", 4);
			size = 4 + sc_escape(to + 4, rbsp, bytes);
			if (!pass) {
				size_t renumbered = sc_syntax_renumber(&syntax, out, unit, size, new);
				CHECK(renumbered > 0);
				size = renumbered;
				memset(expected, 0, sizeof(expected));
			} else {
				CHECK(!memcmp(out, expected, size));
			}
		}
	}
}

static void broken_parameter_sets_are_refused(void) {
	struct sc_syntax syntax;
	uint32_t state = 11;
	for (int round = 0; round < 20000; round++) {
		uint8_t data[100];
		size_t size = next_random(&state) % sizeof(data);
		for (size_t i = 0; i < size; i++) {
			data[i] = (uint8_t)(next_random(&state) % 4 ? next_random(&state) : next_random(&state) % 2);
		}
		if (size > 4) {
			memcpy(data, "\0\0\1\x67", 4);
		}
		sc_syntax_read(&syntax, data, size);
	}
}

/* Levels of all sizes fit the tables and the buffer. */
static void blocks_of_any_levels_are_written(void) {
	uint32_t state = 5;
	static const int CONTEXTS[] = {-1, 0, 1, 2, 3, 4, 7, 8, 16};
	for (int round = 0; round < 50000; round++) {
		int nc = CONTEXTS[next_random(&state) % 9], size = nc < 0 ? 4 : 15 + (int)(next_random(&state) % 2), total = 0;
		int16_t levels[16] = {0};
		for (int i = 0; i < size; i++) {
			int range = 1 << next_random(&state) % 12;
			levels[i] =
				next_random(&state) % 2 ? (int16_t)((int)(next_random(&state) % (uint32_t)(2 * range)) - range) : 0;
			total += levels[i] != 0;
		}
		uint8_t data[80];
		struct sc_bits bits;
		sc_bits_init(&bits, data, sizeof(data));
		CHECK(sc_cavlc_block(&bits, levels, size, nc) == total);
		CHECK(!bits.full && sc_bits_written(&bits) <= 16 * 28 + 40);
	}
}

static void draw(uint8_t *planes, size_t bytes, uint32_t stride, const struct sc_encoder_rect *r, uint32_t *state) {
	uint32_t kind = next_random(state) % 3, value = next_random(state);
	for (uint32_t y = r->y; y < r->y + r->height; y++) {
		for (uint32_t x = r->x; x < r->x + r->width; x++) {
			uint32_t pixel = kind == 0 ? value : kind == 1 ? next_random(state) : x * y;
			planes[(size_t)y * stride + x] = (uint8_t)pixel;
		}
	}
	planes[bytes - 1 - next_random(state) % (bytes / 3)] = (uint8_t)value;
}

static void pictures_of_any_damage_are_encoded(
	uint32_t width, uint32_t height, bool nv12, uint32_t bitrate_bps, uint32_t threads) {
	uint32_t stride = (width + 63) / 64 * 64, state = width + height;
	size_t bytes = (size_t)stride * height * 3 / 2;
	uint8_t *planes = malloc(bytes); /* just so large: reading behind it is found */
	CHECK(planes);
	memset(planes, 128, bytes);
	const struct sc_encoder_params params = {
		.width = width, .height = height, .fps = 60, .bitrate_bps = bitrate_bps, .threads = threads, .nv12 = nv12};
	struct sc_encoder *encoder;
	char text[SC_ENCODER_TEXT_BYTES];
	CHECK(sc_encoder_create(&params, &encoder, text) == SC_OK);
	int patches = 0, others = 0;
	for (int i = 0; i < 120; i++) {
		struct sc_encoder_rect damage[3];
		uint32_t count = next_random(&state) % 4;
		for (uint32_t k = 0; k < count; k++) {
			damage[k].width = 1 + next_random(&state) % (i % 4 ? 24 : width);
			damage[k].height = 1 + next_random(&state) % (i % 4 ? 24 : height);
			damage[k].width = damage[k].width > width ? width : damage[k].width;
			damage[k].height = damage[k].height > height ? height : damage[k].height;
			damage[k].x = next_random(&state) % (width - damage[k].width + 1);
			damage[k].y = next_random(&state) % (height - damage[k].height + 1);
			draw(planes, bytes, stride, &damage[k], &state);
		}
		const struct sc_encoder_picture picture = {.planes = planes,
			.planes_bytes = bytes,
			.stride = stride,
			.damage = i % 9 ? damage : NULL,
			.damage_count = count,
			.keyframe = i == 50,
			.refine = i % 3 == 0,
			.pts = i * 1500 + 1};
		struct sc_encoder_unit unit;
		CHECK(sc_encoder_encode(encoder, &picture, &unit, text) == SC_OK);
		CHECK(unit.data || !unit.bytes);
		CHECK(unit.is_keyframe == (i == 0 || i == 50));
		patches += unit.is_patch;
		others += unit.data && !unit.is_patch;
		if (i % 8 == 0) {
			size_t rows = 1 + next_random(&state) % (height / 3);
			memmove(planes, planes + rows * stride, (height - rows) * stride);
		}
		if (i == 70) {
			sc_encoder_set_bitrate(encoder, bitrate_bps * 3);
			CHECK(sc_encoder_bitrate(encoder) == bitrate_bps * 3);
		}
	}
	CHECK(patches && others);
	sc_encoder_destroy(encoder);
	free(planes);
}

static void what_is_wrong_is_named(void) {
	struct sc_encoder_params params = {.width = 320, .height = 240, .fps = 60, .bitrate_bps = 1000000};
	struct sc_encoder *encoder = NULL;
	char text[SC_ENCODER_TEXT_BYTES];
	params.width = 321;
	CHECK(sc_encoder_create(&params, &encoder, text) == SC_ERROR_INVALID && strstr(text, "width"));
	params.width = 320;
	params.fps = 0;
	CHECK(sc_encoder_create(&params, &encoder, text) == SC_ERROR_INVALID && strstr(text, "fps"));
	params.fps = 60;
	CHECK(sc_encoder_create(&params, &encoder, text) == SC_OK);
	static uint8_t planes[320 * 360];
	struct sc_encoder_picture picture = {.planes = planes, .planes_bytes = sizeof(planes) - 1, .stride = 320};
	struct sc_encoder_unit unit;
	CHECK(sc_encoder_encode(encoder, &picture, &unit, text) == SC_ERROR_INVALID && strstr(text, "planes"));
	picture.planes_bytes++;
	picture.stride = 318;
	CHECK(sc_encoder_encode(encoder, &picture, &unit, text) == SC_ERROR_INVALID && strstr(text, "stride"));
	sc_encoder_destroy(encoder);
	sc_encoder_destroy(NULL);
}

int main(void) {
	escapes_are_undone();
	slices_are_renumbered();
	broken_parameter_sets_are_refused();
	blocks_of_any_levels_are_written();
	const struct sc_encoder_params params = {.width = 64, .height = 64, .fps = 60, .bitrate_bps = 1000000};
	struct sc_encoder *encoder;
	char text[SC_ENCODER_TEXT_BYTES];
	if (sc_encoder_create(&params, &encoder, text) == SC_ERROR_IO) {
		fprintf(stderr, "left out: %s\n", text);
		return SKIPPED;
	}
	sc_encoder_destroy(encoder);
	pictures_of_any_damage_are_encoded(320, 240, false, 2000000, 2);
	pictures_of_any_damage_are_encoded(642, 364, true, 20000000, 2);
	pictures_of_any_damage_are_encoded(50, 20, false, 300000, 2);
	pictures_of_any_damage_are_encoded(16, 16, true, 300000, 2);
	pictures_of_any_damage_are_encoded(1286, 724, false, 20000000, 4); /* with helpers */
	what_is_wrong_is_named();
	return 0;
}
