/* SPDX-License-Identifier: Apache-2.0
 * What slices of our own must agree with x264's about: parameter sets read, slice headers written and renumbered (ITU-T H.264, 7.3). */
#ifndef SC_SYNTAX_H
#define SC_SYNTAX_H

#include "encode/bits.h"

struct sc_syntax {
	unsigned pps_id, frame_num_bits;
	int pic_init_qp, chroma_qp_offset;
	bool deblocking_control;
};

/* Read Annex B parameter sets. False: one is missing, or they use what our slices do not know (anything but frames in CAVLC, one reference,
 * picture order by frame_num). */
bool sc_syntax_read(struct sc_syntax *syntax, const uint8_t *data, size_t size);

/* The header of a P slice that covers the whole picture. */
void sc_syntax_put_header(const struct sc_syntax *syntax, struct sc_bits *bits, uint32_t frame_num, int qp);

/* Copy Annex B NAL units and give non-IDR slices another frame_num. `out` holds size * 3 / 2 + 64. Returns the bytes; 0: it cannot be read. */
size_t sc_syntax_renumber(
	const struct sc_syntax *syntax, uint8_t *out, const uint8_t *data, size_t size, uint32_t frame_num);

#endif
