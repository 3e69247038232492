/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_EDID_H
#define RC_EDID_H

#include <stdint.h>

enum { RC_EDID_BLOCK = 128, RC_EDID_MAX_BYTES = 2 * RC_EDID_BLOCK };

/* An EDID for a virtual monitor whose preferred mode is the one given (at most RC_MAX_SIZE each way); returns its size. One EDID 1.4 block (VESA E-EDID A2), whose
 * detailed timing can say 4095 pixels each way and 655 MHz; what is larger is said by a DisplayID 1.3 block after it. */
uint32_t rc_edid_fill(uint8_t edid[RC_EDID_MAX_BYTES], uint32_t width, uint32_t height, uint32_t refresh_mhz);

#endif
