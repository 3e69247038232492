/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/vhost_user/virtqueue.h"

#include <stdatomic.h>
#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1 };

/* 2.7.5 */
struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct descriptor) == 16, "2.7.5");

/* Offsets in the rings (2.7.6, 2.7.8): flags, idx, then `size` entries, then an event index. */
enum { RING_FLAGS = 0, RING_INDEX = 2, RING_ENTRIES = 4, AVAILABLE_ENTRY = 2, USED_ENTRY = 8 };

static uint64_t available_bytes(uint32_t size) {
	return RING_ENTRIES + AVAILABLE_ENTRY * (uint64_t)size + 2;
}

static uint64_t used_bytes(uint32_t size) {
	return RING_ENTRIES + USED_ENTRY * (uint64_t)size + 2;
}

/* One copy, which the compiler must not replace by a second look at what the guest may have changed meanwhile. */
static __attribute__((noinline)) void copy_in(void *to, const void *from, size_t size) {
	memcpy(to, from, size);
	__asm__ volatile("" : : "r"(to) : "memory");
}

static uint16_t load16(const uint8_t *at, memory_order order) {
	return atomic_load_explicit((const _Atomic uint16_t *)(const void *)at, order);
}

static void store16(uint8_t *at, uint16_t value, memory_order order) {
	atomic_store_explicit((_Atomic uint16_t *)(void *)at, value, order);
}

const char *rc_virtqueue_check(const struct rc_virtqueue_layout *layout) {
	if (layout->size == 0 || layout->size > RC_VIRTQUEUE_MAX || (layout->size & (layout->size - 1))) {
		return "size";
	}
	if (layout->descriptors % 16 || layout->available % 2 || layout->used % 4) {
		return "alignment";
	}
	return NULL;
}

bool rc_virtqueue_map(struct rc_virtqueue *queue, const struct rc_guest_memory *memory) {
	const struct rc_virtqueue_layout *layout = &queue->layout;
	queue->descriptors =
		rc_guest_memory_user(memory, layout->descriptors, sizeof(struct descriptor) * (uint64_t)layout->size);
	queue->available = rc_guest_memory_user(memory, layout->available, available_bytes(layout->size));
	queue->used = rc_guest_memory_user(memory, layout->used, used_bytes(layout->size));
	/* A region may begin anywhere in the front-end's address space: the memory itself must be aligned too. */
	bool found = queue->descriptors && queue->available && queue->used && (uintptr_t)queue->descriptors % 16 == 0 &&
				 (uintptr_t)queue->available % 2 == 0 && (uintptr_t)queue->used % 4 == 0;
	if (!found) {
		queue->descriptors = queue->available = queue->used = NULL;
	}
	return found;
}

uint16_t rc_virtqueue_used_index(const struct rc_virtqueue *queue) {
	return load16(queue->used + RING_INDEX, memory_order_acquire);
}

static uint8_t *used_entry(const struct rc_virtqueue *queue, uint16_t index) {
	return queue->used + RING_ENTRIES + (size_t)USED_ENTRY * (index & (queue->layout.size - 1));
}

void rc_virtqueue_last_used(const struct rc_virtqueue *queue, uint32_t *id, uint32_t *length) {
	uint32_t entry[2];
	copy_in(entry, used_entry(queue, (uint16_t)(rc_virtqueue_used_index(queue) - 1)), sizeof(entry));
	*id = entry[0];
	*length = entry[1];
}

void rc_virtqueue_start(struct rc_virtqueue *queue, uint16_t base, bool event_idx) {
	queue->next_available = queue->next_used = queue->signalled = base;
	queue->event_idx = event_idx;
	store16(queue->used + RING_FLAGS, 0, memory_order_relaxed); /* tell us of everything, unless EVENT_IDX says when */
}

/* The readable and writable bytes of a chain, as they are found. */
struct walk {
	const struct rc_guest_memory *memory;
	struct rc_chain *chain;
	size_t response_bytes;
	bool writing; /* a writable part came: no readable one may follow (2.7.4.2) */
};

static const char *add_part(struct walk *walk, const struct descriptor *part) {
	struct rc_chain *chain = walk->chain;
	const bool write = part->flags & DESC_WRITE;
	if (!write && walk->writing) {
		return "descriptor order";
	}
	walk->writing = write;
	uint64_t address = part->address, left = part->length;
	while (left) {
		uint64_t size;
		uint8_t *at = rc_guest_memory_at(walk->memory, address, left, &size);
		if (!at) {
			return "descriptor address";
		}
		if (!write) {
			size_t room = chain->request_max - chain->request_size, copied = size < room ? size : room;
			copy_in(chain->request + chain->request_size, at, copied);
			chain->request_size += copied;
		} else if (walk->response_bytes < RC_MAX_RESPONSE && chain->response_count < RC_VIRTQUEUE_MAX) {
			chain->response[chain->response_count++] = (struct iovec){at, size};
			walk->response_bytes += size;
		}
		address += size; /* no region ends at 2^64: this does not wrap */
		left -= size;
	}
	return NULL;
}

/* Walk a table of `count` descriptors from `first`. `*total` counts a chain's descriptors over all tables. */
static const char *walk_table(
	struct walk *walk, const uint8_t *table, uint32_t count, uint32_t first, bool indirect, uint32_t *total);

static const char *walk_indirect(struct walk *walk, const struct descriptor *head, uint32_t *total) {
	struct descriptor table[RC_VIRTQUEUE_MAX];
	if (head->length == 0 || head->length % sizeof(*table) || head->length > sizeof(table)) {
		return "indirect table's length";
	}
	uint64_t part;
	const uint8_t *at = rc_guest_memory_at(walk->memory, head->address, head->length, &part);
	if (!at || part < head->length) {
		return "indirect table's address";
	}
	copy_in(table, at, head->length);
	return walk_table(walk, (const uint8_t *)table, head->length / (uint32_t)sizeof(*table), 0, true, total);
}

static const char *walk_table(
	struct walk *walk, const uint8_t *table, uint32_t count, uint32_t first, bool indirect, uint32_t *total) {
	uint32_t next = first;
	for (uint32_t steps = 0; steps < count; steps++) {
		struct descriptor part;
		copy_in(&part, table + (size_t)next * sizeof(part), sizeof(part));
		if (part.flags & DESC_INDIRECT) {
			if (indirect || (part.flags & DESC_NEXT)) {
				return indirect ? "descriptor flags (an indirect table inside another)"
								: "descriptor flags (an indirect table that goes on)";
			}
			return walk_indirect(walk, &part, total);
		}
		if (++*total > RC_VIRTQUEUE_MAX) {
			return "length of a chain";
		}
		const char *wrong = add_part(walk, &part);
		if (wrong || !(part.flags & DESC_NEXT)) {
			return wrong;
		}
		if (part.next >= count) {
			return "descriptor next";
		}
		next = part.next;
	}
	return "length of a chain (a loop)";
}

enum rc_virtqueue_status rc_virtqueue_take(
	struct rc_virtqueue *queue, const struct rc_guest_memory *memory, struct rc_chain *chain, const char **wrong) {
	const uint32_t size = queue->layout.size;
	const uint16_t available = load16(queue->available + RING_INDEX, memory_order_acquire); /* the driver's release */
	const uint16_t count = (uint16_t)(available - queue->next_available);
	if (count == 0) {
		return RC_VIRTQUEUE_EMPTY;
	}
	if (count > size) {
		*wrong = "available index";
		return RC_VIRTQUEUE_BROKEN;
	}
	if ((uint16_t)(queue->next_available - queue->next_used) >= size) {
		return RC_VIRTQUEUE_FULL;
	}
	const uint32_t slot = queue->next_available & (size - 1);
	const uint16_t head =
		load16(queue->available + RING_ENTRIES + (size_t)AVAILABLE_ENTRY * slot, memory_order_relaxed);
	if (head >= size) {
		*wrong = "available entry";
		return RC_VIRTQUEUE_BROKEN;
	}
	struct walk walk = {.memory = memory, .chain = chain};
	uint32_t total = 0;
	chain->index = queue->next_available;
	chain->request_size = 0;
	chain->response_count = 0;
	*wrong = walk_table(&walk, queue->descriptors, size, head, false, &total);
	if (*wrong) {
		return RC_VIRTQUEUE_BROKEN;
	}
	queue->taken[slot].id = head;
	queue->taken[slot].done = false;
	queue->next_available++;
	return RC_VIRTQUEUE_OK;
}

bool rc_virtqueue_wait(struct rc_virtqueue *queue) {
	if (queue->event_idx) {
		store16(used_entry(queue, 0) + (size_t)USED_ENTRY * queue->layout.size, queue->next_available,
			memory_order_relaxed);
		/* The driver adds a chain and then looks at this; we say this and then look whether it has. */
		atomic_thread_fence(memory_order_seq_cst);
	}
	return load16(queue->available + RING_INDEX, memory_order_acquire) == queue->next_available;
}

void rc_virtqueue_finish(struct rc_virtqueue *queue, uint16_t index, uint32_t length) {
	const uint32_t mask = queue->layout.size - 1;
	queue->taken[index & mask].length = length;
	queue->taken[index & mask].done = true;
	uint16_t next = queue->next_used;
	while (next != queue->next_available && queue->taken[next & mask].done) {
		const uint32_t entry[2] = {queue->taken[next & mask].id, queue->taken[next & mask].length};
		memcpy(used_entry(queue, next), entry, sizeof(entry));
		next++;
	}
	if (next != queue->next_used) {
		queue->next_used = next;
		/* Pairs with the driver's acquire: it sees the entries, and the responses before them. */
		store16(queue->used + RING_INDEX, next, memory_order_release);
	}
}

bool rc_virtqueue_must_signal(struct rc_virtqueue *queue) {
	const uint16_t before = queue->signalled, now = queue->next_used;
	if (before == now) {
		return false;
	}
	queue->signalled = now;
	/* We push and then look whether the driver wants to be told; it says so and then looks whether we have. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!queue->event_idx) {
		return !(load16(queue->available + RING_FLAGS, memory_order_relaxed) & AVAIL_NO_INTERRUPT);
	}
	const uint16_t event =
		load16(queue->available + RING_ENTRIES + (size_t)AVAILABLE_ENTRY * queue->layout.size, memory_order_relaxed);
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before); /* 2.7.10 */
}
