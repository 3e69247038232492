/* SPDX-License-Identifier: Apache-2.0
 * A Venus ring: commands in memory shared with the client, consumed by a thread of its own (docs/protocol/vtest.md).
 * Rings are created, found and destroyed by their socket's thread. */
#ifndef RC_VN_RING_H
#define RC_VN_RING_H

#include "execute/venus/stream.h"

/* Bits of a ring's status word. */
enum rc_vn_ring_status {
	RC_VN_RING_IDLE = 1,  /* ours: the thread sleeps, tell it about new commands */
	RC_VN_RING_FATAL = 2, /* ours: nothing more is executed */
	RC_VN_RING_ALIVE = 4, /* we set it again and again, the client clears it to see */
};

struct rc_vn_ring {
	struct rc_list link; /* rc_vn_context::rings; under its rings_mutex */
	struct rc_vn_context *context;
	uint64_t id;                            /* the client's; 0: destroyed, but its thread did not end */
	uint32_t guard_number;                  /* transport/guard.h */
	struct rc_vn_blob *blob;                /* referenced */
	_Atomic uint32_t *head, *tail, *status; /* in shared memory: head is ours, tail the client's, status both's */
	const uint8_t *buffer;
	uint32_t buffer_size; /* power of two */
	uint8_t *extra;
	size_t extra_size;
	uint64_t idle_timeout_ns;
	struct rc_vn_stream stream;
	uint8_t *pending; /* buffer_size bytes: a private copy of what is executed */
	pthread_t thread;
	_Atomic uint32_t consumed;        /* as head, where the client cannot write */
	_Atomic bool draining;            /* end when all that is published was executed */
	_Atomic bool stopping;            /* end after the command that is being executed */
	_Atomic uint32_t wake;            /* futex: bumped by notify, stop, submitted seqnos */
	_Atomic uint32_t ended;           /* futex: 1 when the thread touches nothing any more */
	_Atomic uint64_t virtqueue_seqno; /* vkSubmitVirtqueueSeqnoMESA */
	/* Under rings_mutex: `consumed` at a look at it, and since when it has been so with input waiting. */
	uint32_t seen_consumed;
	uint64_t seen_since_ns;
};

/* vkCreateRingMESA: check the layout, map, start the thread. Fails the context when a field is wrong. */
void rc_vn_ring_create(struct rc_vn_stream *stream, uint64_t id, const VkRingCreateInfoMESA *info);
/* vkDestroyRingMESA: consume what is published (bounded by limits.wait_ms and the client's life), stop, join, free. */
void rc_vn_ring_destroy(struct rc_vn_stream *stream, struct rc_vn_ring *ring);
/* The end of a client, context->closing is set: no ring executes more than the command it is at. False: a thread does not end; then the context
 * is in use for ever. */
bool rc_vn_rings_destroy_all(struct rc_vn_context *context);
/* The client's ring; NULL: no such ring. */
struct rc_vn_ring *rc_vn_ring_find(struct rc_vn_context *context, uint64_t id);
/* New commands, or news for a command that waits. */
void rc_vn_ring_notify(struct rc_vn_ring *ring);

/* Set ALIVE on all rings: at least once a second, by a thread that executes nothing. Where a device hangs, a driver may not return from whatever it is
 * called for: a client that waits for such a command longer than limits.wait_ms fails. */
void rc_vn_rings_set_alive(struct rc_vn_context *context);

#endif
