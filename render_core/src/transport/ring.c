/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/ring.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

#include "transport/guard.h"
#include "util/clock.h"
#include "util/futex.h"

/* How long a ring's thread looks for new commands before it sleeps. A client that has just sent a notification sends none for 1 ms: who sleeps
 * sooner is not woken. At most: a client cannot have us busy for nothing. */
#define MIN_IDLE_NS UINT64_C(1100000)
#define MAX_IDLE_NS UINT64_C(5000000)
/* A client that publishes while IDLE is being set may see neither: its store and its load pass each other (Mesa 25.0 has no barrier there).
 * So a sleeper looks again by itself: once soon, and then now and then. */
#define FIRST_SLEEP_NS UINT64_C(1000000)
#define SLEEP_NS UINT64_C(500000000)
/* A thread that is told to stop ends within a command; no command waits for longer than limits.wait_ms, or long after `closing`. */
#define STOP_NS UINT64_C(20000000000)
#define SLICE_NS UINT64_C(20000000)

enum {
	SPINS = 200, /* with pauses: some microseconds, in which most answers to a reply come */
	MIN_BUFFER = 4096,
	MAX_BUFFER = 1 << 26,
};

static inline void cpu_relax(void) {
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool must_end(const struct rc_vn_ring *ring) {
	return atomic_load_explicit(&ring->stopping, memory_order_relaxed) ||
		   atomic_load_explicit(&ring->context->closing, memory_order_relaxed) ||
		   atomic_load_explicit(&ring->context->failed, memory_order_relaxed);
}

/* True: there is input. False: there will be none. */
static bool sleep_for_input(struct rc_vn_ring *ring, uint32_t head) {
	uint64_t timeout = FIRST_SLEEP_NS;
	bool input = false;
	/* Sequentially consistent, like the look at the tail after it; a client looks at IDLE after it has stored the tail. */
	atomic_fetch_or(ring->status, RC_VN_RING_IDLE);
	for (;;) {
		const uint32_t wake = atomic_load(&ring->wake);
		const bool ending = must_end(ring) || atomic_load(&ring->draining);
		input = atomic_load(ring->tail) != head;
		if (input || ending) {
			break;
		}
		rc_futex_wait(&ring->wake, wake, timeout);
		timeout = SLEEP_NS;
	}
	atomic_fetch_and(ring->status, ~(uint32_t)RC_VN_RING_IDLE);
	return input;
}

/* True: there is input. False: there will be none. */
static bool wait_for_input(struct rc_vn_ring *ring, uint32_t head) {
	uint64_t begin_ns = 0;
	for (uint32_t turn = 0;; turn++) {
		/* acquire pairs with rc_vn_ring_destroy(): what was published before it is seen below */
		const bool draining = atomic_load_explicit(&ring->draining, memory_order_acquire);
		/* acquire pairs with the client's release of the tail, after it wrote the commands */
		if (atomic_load_explicit(ring->tail, memory_order_acquire) != head) {
			return true;
		}
		if (draining || must_end(ring)) {
			return false;
		}
		if (turn < SPINS) {
			cpu_relax();
			continue;
		}
		const uint64_t now_ns = rc_now_ns();
		begin_ns = begin_ns ? begin_ns : now_ns;
		if (now_ns - begin_ns >= ring->idle_timeout_ns) {
			return sleep_for_input(ring, head);
		}
		sched_yield();
	}
}

/* Execute what is published between *head and `tail`. */
static bool consume(struct rc_vn_ring *ring, uint32_t *head, uint32_t tail) {
	const uint32_t size = tail - *head, offset = *head & (ring->buffer_size - 1);
	if (size > ring->buffer_size || size % 4 != 0) {
		rc_vn_context_fail(
			ring->context, "ring %#" PRIx64 ": its tail says %u bytes of %u", ring->id, size, ring->buffer_size);
		return false;
	}
	/* Read once: the client can change it while it is decoded. */
	const uint32_t first = size < ring->buffer_size - offset ? size : ring->buffer_size - offset;
	memcpy(ring->pending, ring->buffer + offset, first);
	memcpy(ring->pending + first, ring->buffer, size - first);
	const uint8_t *cursor = ring->pending, *end = ring->pending + size;
	while (cursor < end) {
		const uint8_t *begin = cursor;
		if (must_end(ring) || !rc_vn_stream_step(&ring->stream, &cursor, end)) {
			return false;
		}
		*head += (uint32_t)(cursor - begin);
		/* release: a client that sees it sees the reply. Command by command, as others wait for each (vkWaitRingSeqnoMESA). */
		atomic_store_explicit(ring->head, *head, memory_order_release);
		atomic_store_explicit(&ring->consumed, *head, memory_order_release);
	}
	return true;
}

static void *ring_main(void *data) {
	struct rc_vn_ring *ring = data;
	uint32_t head = 0;
	pthread_setname_np(pthread_self(), "venus ring");
	while (wait_for_input(ring, head) && consume(ring, &head, atomic_load_explicit(ring->tail, memory_order_acquire))) {
	}
	rc_vn_stream_rest(&ring->stream);
	rc_futex_wake(&ring->ended);
	return NULL;
}

struct rc_vn_ring *rc_vn_ring_find(struct rc_vn_context *context, uint64_t id) {
	/* without the mutex: only this thread changes the list */
	for (struct rc_list *link = context->rings.next; link != &context->rings; link = link->next) {
		struct rc_vn_ring *ring = rc_container_of(link, struct rc_vn_ring, link);
		if (ring->id == id && id != 0) {
			return ring;
		}
	}
	return NULL;
}

void rc_vn_ring_notify(struct rc_vn_ring *ring) {
	rc_futex_wake(&ring->wake);
}

struct range {
	size_t offset, size;
	const char *name;
};

/* NULL, or the field that is wrong. */
static const char *check_ranges(const struct range *ranges, size_t count, size_t size) {
	for (size_t i = 0; i < count; i++) {
		if (ranges[i].size > size || ranges[i].offset > size - ranges[i].size || ranges[i].offset % 4 != 0) {
			return ranges[i].name;
		}
		for (size_t j = 0; j < i; j++) {
			if (ranges[i].offset < ranges[j].offset + ranges[j].size &&
				ranges[j].offset < ranges[i].offset + ranges[i].size) {
				return ranges[i].name;
			}
		}
	}
	return NULL;
}

/* NULL, or the field that is wrong. */
static const char *check_layout(const VkRingCreateInfoMESA *info, const struct rc_vn_blob *blob) {
	const struct range ranges[] = {
		{info->headOffset, 4, "pCreateInfo->headOffset"},
		{info->tailOffset, 4, "pCreateInfo->tailOffset"},
		{info->statusOffset, 4, "pCreateInfo->statusOffset"},
		{info->bufferOffset, info->bufferSize, "pCreateInfo->bufferOffset"},
		{info->extraOffset, info->extraSize, "pCreateInfo->extraOffset"},
	};
	if (!blob) {
		return "pCreateInfo->resourceId";
	}
	if (info->offset % 4 != 0 || info->offset > blob->size) {
		return "pCreateInfo->offset";
	}
	if (info->size > blob->size - info->offset) {
		return "pCreateInfo->size";
	}
	if (info->bufferSize < MIN_BUFFER || info->bufferSize > MAX_BUFFER ||
		(info->bufferSize & (info->bufferSize - 1)) != 0) {
		return "pCreateInfo->bufferSize";
	}
	return check_ranges(ranges, sizeof(ranges) / sizeof(ranges[0]), info->size);
}

/* The private copy of a ring's buffer counts like the shared one: a client may lay many rings over one resource. */
static bool take_pending(struct rc_vn_context *context, uint64_t size) {
	struct rc_vn_guest *guest = context->guest;
	if (rc_vn_usage_take64(&guest->usage.shared_bytes, size, guest->limits.shared_bytes)) {
		return true;
	}
	atomic_fetch_add(&guest->usage.refused, 1);
	return false;
}

static void free_ring(struct rc_vn_ring *ring) {
	atomic_fetch_sub(&ring->context->guest->usage.shared_bytes, ring->buffer_size);
	rc_vn_stream_finish(&ring->stream);
	rc_vn_blob_unref(ring->blob);
	free(ring->pending);
	free(ring);
}

/* NULL: the context has failed. Takes `blob` over. */
static struct rc_vn_ring *make_ring(
	struct rc_vn_context *context, uint64_t id, const VkRingCreateInfoMESA *info, struct rc_vn_blob *blob) {
	struct rc_vn_ring *ring = calloc(1, sizeof(*ring));
	const bool taken = take_pending(context, info->bufferSize);
	uint8_t *pending = taken ? malloc(info->bufferSize) : NULL;
	if (!ring || !pending || !rc_vn_stream_init(&ring->stream, context, ring)) {
		if (taken) {
			atomic_fetch_sub(&context->guest->usage.shared_bytes, info->bufferSize);
		}
		free(ring);
		free(pending);
		rc_vn_blob_unref(blob);
		return NULL;
	}
	uint8_t *base = blob->map + info->offset;
	uint64_t idle_ns = info->idleTimeout;
	idle_ns = idle_ns < MIN_IDLE_NS ? MIN_IDLE_NS : idle_ns > MAX_IDLE_NS ? MAX_IDLE_NS : idle_ns;
	ring->context = context;
	ring->id = id;
	ring->blob = blob;
	ring->head = (_Atomic uint32_t *)(base + info->headOffset);
	ring->tail = (_Atomic uint32_t *)(base + info->tailOffset);
	ring->status = (_Atomic uint32_t *)(base + info->statusOffset);
	ring->buffer = base + info->bufferOffset;
	ring->buffer_size = (uint32_t)info->bufferSize;
	ring->extra = base + info->extraOffset;
	ring->extra_size = info->extraSize;
	ring->idle_timeout_ns = idle_ns;
	ring->pending = pending;
	return ring;
}

static void list_ring(struct rc_vn_context *context, struct rc_vn_ring *ring) {
	pthread_mutex_lock(&context->rings_mutex);
	rc_list_append(&context->rings, &ring->link);
	context->ring_count++;
	pthread_mutex_unlock(&context->rings_mutex);
	atomic_fetch_or(ring->status, RC_VN_RING_ALIVE);
	if (atomic_load(&context->failed)) {
		atomic_fetch_or(ring->status, RC_VN_RING_FATAL); /* what set it on the others has not seen this one */
	}
}

static void unlist_ring(struct rc_vn_ring *ring) {
	struct rc_vn_context *context = ring->context;
	pthread_mutex_lock(&context->rings_mutex);
	rc_list_remove(&ring->link);
	context->ring_count--;
	pthread_mutex_unlock(&context->rings_mutex);
	rc_vn_guard_remove_ring(context->guard, context->number, ring->guard_number);
}

void rc_vn_ring_create(struct rc_vn_stream *stream, uint64_t id, const VkRingCreateInfoMESA *info) {
	struct rc_vn_context *context = stream->context;
	if (id == 0 || rc_vn_ring_find(context, id)) {
		rc_vn_stream_fail(stream, "ring", "%s", id == 0 ? "0" : "the id is in use");
		return;
	}
	if (context->ring_count >= context->guest->limits.rings) {
		atomic_fetch_add(&context->guest->usage.refused, 1);
		rc_vn_stream_fail(stream, "ring", "the client has %u, the limit", context->ring_count);
		return;
	}
	struct rc_vn_blob *blob = rc_vn_blob_table_get(&context->blobs, info->resourceId);
	const char *wrong = check_layout(info, blob);
	if (wrong) {
		rc_vn_stream_fail(stream, wrong, "does not fit the resource, or the other offsets");
		rc_vn_blob_unref(blob);
		return;
	}
	struct rc_vn_ring *ring = make_ring(context, id, info, blob);
	if (!ring) {
		rc_vn_stream_fail(stream, "ring", "out of memory, or over the limit (shared-bytes)");
		return;
	}
	if (atomic_load(ring->head) != 0) { /* the tail: a client need not wait before its first commands */
		rc_vn_stream_fail(stream, "pCreateInfo", "the head is not 0");
		free_ring(ring);
		return;
	}
	if (!rc_vn_guard_add_ring(context->guard, context->number, blob->fd,
			(uint64_t)((uint8_t *)ring->status - blob->map), &ring->guard_number)) {
		rc_vn_context_log(context, RC_LOG_WARN, "the supervisor was not told about a ring");
	}
	list_ring(context, ring);
	if (pthread_create(&ring->thread, NULL, ring_main, ring) != 0) {
		rc_vn_stream_fail(stream, "ring", "no thread");
		unlist_ring(ring);
		free_ring(ring);
	}
}

static void tell_to_end(struct rc_vn_ring *ring, _Atomic bool *how) {
	atomic_store(how, true);
	rc_futex_wake(&ring->wake);
}

/* True: the thread has ended within `timeout_ns`. `stream`: the socket's, to give up when its client is gone; NULL: not before the timeout. */
static bool wait_for_end(struct rc_vn_ring *ring, uint64_t timeout_ns, struct rc_vn_stream *stream) {
	const uint64_t end_ns = rc_now_ns() + timeout_ns;
	while (!atomic_load(&ring->ended)) {
		const uint64_t now_ns = rc_now_ns();
		if (now_ns >= end_ns || (stream && !rc_vn_stream_pause(stream, 0))) {
			return false;
		}
		rc_futex_wait(&ring->ended, 0, end_ns - now_ns < SLICE_NS ? end_ns - now_ns : SLICE_NS);
	}
	return true;
}

/* False: the thread does not end, the ring stays listed. */
static bool finish_ring(struct rc_vn_ring *ring) {
	tell_to_end(ring, &ring->stopping);
	if (!wait_for_end(ring, STOP_NS, NULL)) {
		rc_vn_context_log(ring->context, RC_LOG_ERROR, "ring %#" PRIx64 ": its thread does not end", ring->id);
		atomic_store(&ring->context->abandoned, true);
		ring->id = 0;
		return false;
	}
	pthread_join(ring->thread, NULL);
	unlist_ring(ring);
	free_ring(ring);
	return true;
}

void rc_vn_ring_destroy(struct rc_vn_stream *stream, struct rc_vn_ring *ring) {
	const uint64_t limit_ns = (uint64_t)ring->context->guest->limits.wait_ms * 1000000u;
	tell_to_end(ring, &ring->draining);
	if (!wait_for_end(ring, limit_ns, stream)) {
		/* A client that is gone has left what its teardown destroys. */
		rc_vn_context_log(ring->context, atomic_load(&ring->context->closing) ? RC_LOG_DEBUG : RC_LOG_WARN,
			"ring %#" PRIx64 ": what is left in it is not executed", ring->id);
	}
	finish_ring(ring);
}

bool rc_vn_rings_destroy_all(struct rc_vn_context *context) {
	for (struct rc_list *link = context->rings.next; link != &context->rings; link = link->next) {
		struct rc_vn_ring *ring = rc_container_of(link, struct rc_vn_ring, link);
		tell_to_end(ring, &ring->stopping);
	}
	bool all = true;
	for (struct rc_list *link = context->rings.next, *next; link != &context->rings; link = next) {
		next = link->next;
		all = finish_ring(rc_container_of(link, struct rc_vn_ring, link)) && all;
	}
	return all;
}

static void set_status(struct rc_vn_context *context, uint32_t bits) {
	pthread_mutex_lock(&context->rings_mutex);
	for (struct rc_list *link = context->rings.next; link != &context->rings; link = link->next) {
		atomic_fetch_or(rc_container_of(link, struct rc_vn_ring, link)->status, bits);
	}
	pthread_mutex_unlock(&context->rings_mutex);
}

void rc_vn_rings_set_fatal(struct rc_vn_context *context) {
	set_status(context, RC_VN_RING_FATAL);
}

/* With rings_mutex held. */
static bool stands_still(struct rc_vn_ring *ring, uint64_t now_ns, uint64_t limit_ns) {
	const uint32_t consumed = atomic_load(&ring->consumed);
	if (consumed != ring->seen_consumed || consumed == atomic_load(ring->tail) || !ring->seen_since_ns) {
		ring->seen_consumed = consumed;
		ring->seen_since_ns = now_ns;
	}
	return now_ns - ring->seen_since_ns > limit_ns;
}

void rc_vn_rings_set_alive(struct rc_vn_context *context) {
	set_status(context, RC_VN_RING_ALIVE);
	if (!atomic_load(&context->abandoned)) {
		return;
	}
	const uint64_t now_ns = rc_now_ns(), limit_ns = (uint64_t)context->guest->limits.wait_ms * 1000000u;
	bool stuck = false;
	pthread_mutex_lock(&context->rings_mutex);
	for (struct rc_list *link = context->rings.next; link != &context->rings; link = link->next) {
		stuck = stands_still(rc_container_of(link, struct rc_vn_ring, link), now_ns, limit_ns) || stuck;
	}
	pthread_mutex_unlock(&context->rings_mutex);
	if (stuck) {
		rc_vn_context_fail(context, "the driver does not return from a command: its device hangs");
	}
}
