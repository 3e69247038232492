/* SPDX-License-Identifier: Apache-2.0
 * A Venus ring: commands in memory shared with the client, consumed by a thread of its own (docs/protocol/venus.md, rings). */
#ifndef RC_VN_RING_H
#define RC_VN_RING_H

#include "execute/venus/stream.h"

struct rc_vn_ring {
	struct rc_list link; /* rc_vn_context::rings */
	struct rc_vn_context *context;
	uint64_t id; /* the client's */
	struct rc_vn_blob *blob; /* referenced */
	_Atomic uint32_t *head, *tail, *status; /* in shared memory: head is ours, tail the client's, status both's */
	const uint8_t *buffer;
	uint32_t buffer_size; /* power of two */
	uint8_t *extra;
	size_t extra_size;
	uint64_t idle_timeout_ns;
	struct rc_vn_stream stream;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic uint32_t wake;          /* futex: bumped by notify, stop, context close */
	_Atomic uint64_t virtqueue_seqno; /* vkSubmitVirtqueueSeqnoMESA */
};

/* vkCreateRingMESA: check the layout, map, start the thread. Fails the context when a field is wrong. */
void rc_vn_ring_create(struct rc_vn_stream *stream, uint64_t id, const VkRingCreateInfoMESA *info);
/* vkDestroyRingMESA and the end of a client: consume what is published (`drain`, bounded by limits.wait_ms), stop, join, free. */
void rc_vn_ring_destroy(struct rc_vn_ring *ring, bool drain);
void rc_vn_rings_destroy_all(struct rc_vn_context *context);

/* Sets ALIVE on all rings of all contexts at least once a second; one thread for the worker. */
struct rc_vn_ring_monitor;

#endif
