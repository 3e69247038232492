/* SPDX-License-Identifier: Apache-2.0
 * The frame ring's shared memory (docs/protocol/frame-link.md, "The ring"): a control page, then the slots. */
#ifndef RC_RING_MEMORY_H
#define RC_RING_MEMORY_H

#include <stdatomic.h>
#include <stdint.h>

#include "render_core.h"

enum {
	RC_RING_MAGIC = 0x52464c48, /* "HLFR" */
	RC_RING_NONE = UINT32_MAX,
	RC_RING_CONTROL_BYTES = 4096,
};

enum rc_slot_state {
	RC_SLOT_FREE,
	RC_SLOT_WRITING, /* the producer's */
	RC_SLOT_READY,   /* nobody's: the producer may take it back once a newer one is published */
	RC_SLOT_HELD,    /* the consumer's */
};

struct rc_slot_control {
	_Atomic uint32_t state; /* enum rc_slot_state; every change is a compare-and-swap or a release store by the owner */
	uint32_t damage_count;
	uint64_t sequence, base_sequence;
	struct rc_trace trace;
	struct rc_rect damage[RC_MAX_DAMAGE];
};

struct rc_ring_control {
	uint32_t magic, slot_count;
	_Atomic uint32_t newest; /* index of the newest published slot, or RC_RING_NONE */
	uint32_t reserved;
	struct rc_slot_control slots[RC_RING_SLOTS];
};

_Static_assert(sizeof(struct rc_ring_control) <= RC_RING_CONTROL_BYTES, "the control page is one page");

#endif
