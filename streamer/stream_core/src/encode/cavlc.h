/* SPDX-License-Identifier: Apache-2.0
 * Residual blocks in CAVLC (ITU-T H.264, 9.2, read backwards: we write). */
#ifndef SC_CAVLC_H
#define SC_CAVLC_H

#include "encode/bits.h"

/* Write a block of `size` (16, 15 or 4) coefficients in scan order. `nc` is the context of 9.2.1, -1 for chroma DC. Levels are within
 * +-2063, which 4x4 residuals at QP 10 and above are. Returns total_coeff. */
int sc_cavlc_block(struct sc_bits *bits, const int16_t *levels, int size, int nc);

/* codeNum of coded_block_pattern in inter macroblocks (table 9-4); `cbp` < 48. */
uint32_t sc_cavlc_inter_cbp(unsigned cbp);

#endif
