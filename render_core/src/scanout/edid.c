/* SPDX-License-Identifier: Apache-2.0 */
#include "scanout/edid.h"

#include <stdbool.h>
#include <string.h>

/* Blanking as in CVT with reduced blanking (VESA CVT 1.2). */
enum { H_BLANK = 160, H_FRONT = 48, H_SYNC = 32, V_BLANK = 40, V_FRONT = 3, V_SYNC = 6 };
enum { MAX_ACTIVE = 4095, MAX_CLOCK = 65535 /* 10 kHz */ };

static uint64_t clock_10khz(uint32_t width, uint32_t height, uint32_t refresh_mhz) {
	return (uint64_t)(width + H_BLANK) * (height + V_BLANK) * refresh_mhz / 1000 / 10000;
}

static void detailed_timing(
	uint8_t *d, uint32_t width, uint32_t height, uint32_t refresh_mhz, uint32_t width_mm, uint32_t height_mm) {
	uint64_t clock = clock_10khz(width, height, refresh_mhz);
	d[0] = (uint8_t)clock;
	d[1] = (uint8_t)(clock >> 8);
	d[2] = (uint8_t)width;
	d[3] = H_BLANK;
	d[4] = (uint8_t)(width >> 8 << 4);
	d[5] = (uint8_t)height;
	d[6] = V_BLANK;
	d[7] = (uint8_t)(height >> 8 << 4);
	d[8] = H_FRONT;
	d[9] = H_SYNC;
	d[10] = (V_FRONT << 4) | V_SYNC;
	d[12] = (uint8_t)width_mm;
	d[13] = (uint8_t)height_mm;
	d[14] = (uint8_t)((width_mm >> 8 << 4) | (height_mm >> 8));
	d[17] = 0x18; /* digital, separate sync */
}

/* The last byte makes the sum of all `size` bytes 0. */
static void set_checksum(uint8_t *bytes, uint32_t size) {
	uint8_t sum = 0;
	for (uint32_t i = 0; i < size - 1; i++) {
		sum = (uint8_t)(sum + bytes[i]);
	}
	bytes[size - 1] = (uint8_t)(0u - sum);
}

static void put16(uint8_t *at, uint32_t value) {
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

/* An extension block with one type I detailed timing (VESA DisplayID 1.3, 4.4.1), whose numbers are all one less. */
static void displayid_block(uint8_t *block, uint32_t width, uint32_t height, uint32_t refresh_mhz) {
	enum { DATA = 3 + 20 };
	const uint64_t exact = clock_10khz(width, height, refresh_mhz) - 1, clock = exact > 0xffffff ? 0xffffff : exact;
	uint8_t *section = block + 1, *timing = section + 4 + 3;
	block[0] = 0x70;
	section[0] = 0x13; /* DisplayID 1.3 */
	section[1] = DATA;
	section[2] = 3; /* a monitor */
	section[4] = 3; /* type I timings */
	section[6] = 20;
	put16(timing, (uint32_t)clock);
	timing[2] = (uint8_t)(clock >> 16);
	timing[3] = 0x80; /* preferred */
	put16(timing + 4, width - 1);
	put16(timing + 6, H_BLANK - 1);
	put16(timing + 8, H_FRONT - 1);
	put16(timing + 10, H_SYNC - 1);
	put16(timing + 12, height - 1);
	put16(timing + 14, V_BLANK - 1);
	put16(timing + 16, V_FRONT - 1);
	put16(timing + 18, V_SYNC - 1);
	set_checksum(section, 4 + DATA + 1);
	set_checksum(block, RC_EDID_BLOCK);
}

uint32_t rc_edid_fill(uint8_t edid[RC_EDID_MAX_BYTES], uint32_t width, uint32_t height, uint32_t refresh_mhz) {
	static const uint8_t head[] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x21, 0x27 /* "HIG" */};
	const bool large = width > MAX_ACTIVE || height > MAX_ACTIVE || clock_10khz(width, height, refresh_mhz) > MAX_CLOCK;
	memset(edid, 0, RC_EDID_MAX_BYTES);
	memcpy(edid, head, sizeof(head));
	/* 96 dots an inch: desktops scale by this. */
	uint32_t width_mm = width * 254 / 960, height_mm = height * 254 / 960;
	edid[10] = 1;
	edid[17] = 36; /* made in 2026 */
	edid[18] = 1;
	edid[19] = 4;
	edid[20] = 0xa5; /* digital, 8 bits a colour, DisplayPort */
	edid[21] = (uint8_t)(width_mm / 10 > 255 ? 255 : width_mm / 10);
	edid[22] = (uint8_t)(height_mm / 10 > 255 ? 255 : height_mm / 10);
	edid[23] = 120;  /* gamma 2.2 */
	edid[24] = 0x06; /* sRGB; the preferred mode is the native one */
	static const uint8_t srgb[] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
	memcpy(edid + 25, srgb, sizeof(srgb));
	memset(edid + 38, 1, 16); /* no standard timings */
	if (large) {
		edid[54 + 3] = 0x10; /* a dummy descriptor */
		edid[126] = 1;       /* one more block */
	} else {
		detailed_timing(edid + 54, width, height, refresh_mhz, width_mm, height_mm);
	}
	static const uint8_t name[] = {0, 0, 0, 0xfc, 0, 'H', 'e', 'l', 'i', 'o', 'g', 'r', 'a', 'p', 'h', '\n', ' ', ' '};
	memcpy(edid + 72, name, sizeof(name));
	edid[90 + 3] = 0x10; /* dummy descriptors */
	edid[108 + 3] = 0x10;
	set_checksum(edid, RC_EDID_BLOCK);
	if (!large) {
		return RC_EDID_BLOCK;
	}
	displayid_block(edid + RC_EDID_BLOCK, width, height, refresh_mhz);
	return RC_EDID_MAX_BYTES;
}
