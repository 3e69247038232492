/* SPDX-License-Identifier: Apache-2.0
 * Text that scrolls: rows of the picture that were there before, further up or down. */
#ifndef SC_SCROLL_H
#define SC_SCROLL_H

#include "encode/patch.h"

enum { SC_MAX_SCROLL = 120 }; /* rows; what vectors of all levels reach */

struct sc_scroll;

/* Rows and macroblocks of the picture. NULL: no memory. */
struct sc_scroll *sc_scroll_create(uint32_t height, uint32_t blocks);
void sc_scroll_destroy(struct sc_scroll *scroll);

/* Look for one vertical vector by which the changed macroblocks (not 0 in `is_changed`) come from the reference. Where there is one, sets
 * `moved` for those that it serves, and is_changed to 2 for those of them that need nothing more at once. `errors`: by how much the reference
 * differed from the picture before (struct sc_patch_block), updated for what moves. Returns the rows, 0: none. */
int sc_scroll_find(
	struct sc_scroll *scroll, const struct sc_patch_job *job, uint32_t *errors, uint8_t *is_changed, uint8_t *moved);

#endif
