/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_EDID_H
#define RC_EDID_H

#include <stdint.h>

enum { RC_EDID_BYTES = 128 };

/* An EDID 1.4 base block (VESA E-EDID A2) for a virtual monitor whose preferred mode is the one given. Its detailed timing can say at
 * most 4095 pixels each way and 655 MHz: larger wishes are cut to that; GET_DISPLAY_INFO says them whole. */
void rc_edid_fill(uint8_t edid[RC_EDID_BYTES], uint32_t width, uint32_t height, uint32_t refresh_mhz);

#endif
