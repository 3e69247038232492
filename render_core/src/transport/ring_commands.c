/* SPDX-License-Identifier: Apache-2.0
 * Commands about rings. All but vkWaitVirtqueueSeqnoMESA come on the socket and run on its thread; the dispatcher sees to that. */
#include <sched.h>

#include "transport/ring.h"
#include "util/clock.h"
#include "util/futex.h"

/* vkWaitRingSeqnoMESA usually waits for a few commands that run at this moment: look for as long as that takes, then sleep. */
#define BUSY_WAIT_NS UINT64_C(300000)
#define VIRTQUEUE_SLICE_NS UINT64_C(100000000)

static struct rc_vn_ring *find_ring(struct rc_vn_stream *stream, uint64_t id) {
	struct rc_vn_ring *ring = rc_vn_ring_find(stream->context, id);
	if (!ring) {
		rc_vn_stream_fail(stream, "ring", "there is no such ring");
	}
	return ring;
}

void rc_vn_execute_CreateRingMESA(struct rc_vn_stream *stream, struct rc_vn_CreateRingMESA *args) {
	if (!args->pCreateInfo) {
		rc_vn_stream_fail(stream, "pCreateInfo", "NULL");
		return;
	}
	rc_vn_ring_create(stream, args->ring, args->pCreateInfo);
}

void rc_vn_execute_DestroyRingMESA(struct rc_vn_stream *stream, struct rc_vn_DestroyRingMESA *args) {
	struct rc_vn_ring *ring = find_ring(stream, args->ring);
	if (ring) {
		rc_vn_ring_destroy(stream, ring);
	}
}

void rc_vn_execute_NotifyRingMESA(struct rc_vn_stream *stream, struct rc_vn_NotifyRingMESA *args) {
	struct rc_vn_ring *ring = find_ring(stream, args->ring);
	if (ring) {
		rc_vn_ring_notify(ring);
	}
}

void rc_vn_execute_WriteRingExtraMESA(struct rc_vn_stream *stream, struct rc_vn_WriteRingExtraMESA *args) {
	struct rc_vn_ring *ring = find_ring(stream, args->ring);
	if (!ring) {
		return;
	}
	if (ring->extra_size < 4 || args->offset > ring->extra_size - 4 || args->offset % 4 != 0) {
		rc_vn_stream_fail(stream, "offset", "%zu of %zu bytes", (size_t)args->offset, ring->extra_size);
		return;
	}
	atomic_store((_Atomic uint32_t *)(ring->extra + args->offset), args->value);
}

void rc_vn_execute_SubmitVirtqueueSeqnoMESA(struct rc_vn_stream *stream, struct rc_vn_SubmitVirtqueueSeqnoMESA *args) {
	struct rc_vn_ring *ring = find_ring(stream, args->ring);
	if (!ring) {
		return;
	}
	if (args->seqno > atomic_load(&ring->virtqueue_seqno)) {
		atomic_store(&ring->virtqueue_seqno, args->seqno);
	}
	rc_vn_ring_notify(ring);
}

/* Bounded by the client's life: what would end it comes on the socket, which does not wait for this. */
void rc_vn_execute_WaitVirtqueueSeqnoMESA(struct rc_vn_stream *stream, struct rc_vn_WaitVirtqueueSeqnoMESA *args) {
	struct rc_vn_ring *ring = stream->ring;
	struct rc_vn_context *context = stream->context;
	rc_vn_reader_leave(&context->objects, stream->reader); /* nothing is held meanwhile */
	for (;;) {
		const uint32_t wake = atomic_load(&ring->wake);
		if (atomic_load(&ring->virtqueue_seqno) >= args->seqno || atomic_load(&ring->stopping) ||
			atomic_load(&context->closing) || atomic_load(&context->failed)) {
			break;
		}
		rc_futex_wait(&ring->wake, wake, VIRTQUEUE_SLICE_NS);
	}
	rc_vn_reader_enter(&context->objects, stream->reader);
}

/* The client's seqnos are 32-bit positions, widened. */
static bool reached(const struct rc_vn_ring *ring, uint64_t seqno) {
	return (int32_t)(atomic_load_explicit(&ring->consumed, memory_order_acquire) - (uint32_t)seqno) >= 0;
}

void rc_vn_execute_WaitRingSeqnoMESA(struct rc_vn_stream *stream, struct rc_vn_WaitRingSeqnoMESA *args) {
	struct rc_vn_ring *ring = find_ring(stream, args->ring);
	if (!ring || reached(ring, args->seqno)) {
		return;
	}
	rc_vn_ring_notify(ring); /* the notification may wait behind this command */
	const uint64_t begin_ns = rc_now_ns();
	/* A command takes at most wait_ms. A ring that stands still for longer will not go on, or waits for what comes on this socket. */
	const uint64_t stuck_ns = (uint64_t)stream->context->guest->limits.wait_ms * 1000000u + UINT64_C(1000000000);
	uint64_t moved_ns = begin_ns;
	uint32_t position = atomic_load(&ring->consumed);
	while (!reached(ring, args->seqno)) {
		const uint64_t now_ns = rc_now_ns();
		if (now_ns - begin_ns < BUSY_WAIT_NS) {
			sched_yield();
			continue;
		}
		if (!rc_vn_stream_pause(stream, 1) || atomic_load(&ring->ended)) {
			return;
		}
		if (atomic_load(&ring->consumed) != position) {
			position = atomic_load(&ring->consumed);
			moved_ns = now_ns;
		} else if (now_ns - moved_ns > stuck_ns) {
			rc_vn_context_log(stream->context, RC_LOG_WARN, "a ring does not reach what its client waits for");
			return;
		}
	}
}
