/* SPDX-License-Identifier: Apache-2.0
 * The producer's end of the frame ring. Core thread only; the consumer is another process. */
#ifndef RC_FRAME_RING_H
#define RC_FRAME_RING_H

#include "convert/convert.h"
#include "handoff/ring_memory.h"
#include "render_core.h"
#include "scanout/damage.h"

struct rc_frame_ring {
	struct rc_ring_layout layout;
	int memfd, event_fd;
	uint8_t *map;
	struct rc_import *import; /* of all of `map`, or NULL; set by the owner, ended with the ring */
	bool import_tried;        /* the owner's */
	struct rc_ring_control *control;
	uint64_t sequence;                 /* of the last published frame */
	uint32_t published;                /* its slot, or RC_RING_NONE */
	struct rc_damage published_damage; /* since published_base */
	uint64_t published_base;
	struct rc_damage stale[RC_RING_SLOTS]; /* by slot: what changed since it was written */
	uint32_t writing;                      /* slot between begin and publish, or RC_RING_NONE */
};

/* Make a ring for pictures of width × height, divided by `divisor` (1..RC_MAX_DIVISOR). NULL: out of memory. */
struct rc_frame_ring *rc_frame_ring_create(enum rc_format format, uint32_t width, uint32_t height, uint32_t divisor);
void rc_frame_ring_destroy(struct rc_frame_ring *ring);

/* Note what changed in the ring's picture, in its own pixels: every slot is older by it. */
void rc_frame_ring_damage(struct rc_frame_ring *ring, const struct rc_damage *damage);

/* Take a slot to write. `stale` gets what must be converted to bring it up to date. False: the consumer broke the rules and holds all
 * slots; the frame is lost, the damage is not. */
bool rc_frame_ring_begin(struct rc_frame_ring *ring, struct rc_planes *planes, struct rc_damage *stale);

/* Publish it. `damage`: what changed since the previous frame was published. */
void rc_frame_ring_publish(struct rc_frame_ring *ring, const struct rc_damage *damage, const struct rc_trace *trace);

/* Give the slot back unpublished: a conversion failed. */
void rc_frame_ring_cancel(struct rc_frame_ring *ring);

#endif
