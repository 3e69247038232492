/* SPDX-License-Identifier: Apache-2.0 */
#include "scanout/edid.h"

#include <string.h>

/* Blanking as in CVT with reduced blanking (VESA CVT 1.2). */
enum { H_BLANK = 160, H_FRONT = 48, H_SYNC = 32, V_BLANK = 40, V_FRONT = 3, V_SYNC = 6, MAX_ACTIVE = 4095 };

static void detailed_timing(
	uint8_t *d, uint32_t width, uint32_t height, uint32_t refresh_mhz, uint32_t width_mm, uint32_t height_mm) {
	uint64_t clock = (uint64_t)(width + H_BLANK) * (height + V_BLANK) * refresh_mhz / 1000 / 10000; /* 10 kHz */
	if (clock > 65535) {
		clock = 65535;
	}
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

void rc_edid_fill(uint8_t edid[RC_EDID_BYTES], uint32_t width, uint32_t height, uint32_t refresh_mhz) {
	static const uint8_t head[] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x21, 0x27 /* "HIG" */};
	memset(edid, 0, RC_EDID_BYTES);
	memcpy(edid, head, sizeof(head));
	width = width > MAX_ACTIVE ? MAX_ACTIVE : width;
	height = height > MAX_ACTIVE ? MAX_ACTIVE : height;
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
	detailed_timing(edid + 54, width, height, refresh_mhz, width_mm, height_mm);
	static const uint8_t name[] = {0, 0, 0, 0xfc, 0, 'H', 'e', 'l', 'i', 'o', 'g', 'r', 'a', 'p', 'h', '\n', ' ', ' '};
	memcpy(edid + 72, name, sizeof(name));
	edid[90 + 3] = 0x10; /* dummy descriptors */
	edid[108 + 3] = 0x10;
	uint8_t sum = 0;
	for (int i = 0; i < RC_EDID_BYTES - 1; i++) {
		sum = (uint8_t)(sum + edid[i]);
	}
	edid[127] = (uint8_t)(0u - sum);
}
