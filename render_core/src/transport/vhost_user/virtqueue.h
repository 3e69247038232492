/* SPDX-License-Identifier: Apache-2.0
 * A split virtqueue, the device's side (OASIS Virtio 1.2, 2.7), in memory that its driver writes at any time: whatever is read from there is read once, into
 * private memory, and checked there. Used entries are pushed in the order in which their chains were taken: used->idx is always a prefix of what the driver
 * made available, so whoever continues the queue can begin there. Core thread only. */
#ifndef RC_VIRTQUEUE_H
#define RC_VIRTQUEUE_H

#include <sys/uio.h>

#include "transport/vhost_user/guest_memory.h"

enum {
	RC_VIRTQUEUE_MAX = 1024,   /* descriptors of a ring and of a chain: what QEMU allows its own devices */
	RC_MAX_RESPONSE = 1 << 12, /* of a chain's writable bytes these are remembered: more than any response has */
};

struct rc_virtqueue_layout {
	uint32_t size;                         /* descriptors: a power of two */
	uint64_t descriptors, available, used; /* of the front-end's address space */
};

struct rc_virtqueue {
	struct rc_virtqueue_layout layout;
	uint8_t *descriptors, *available, *used; /* in guest memory; NULL: it lies nowhere */
	bool event_idx;                          /* VIRTIO_F_EVENT_IDX: the sides say at which index they want to be told */
	uint16_t next_available;                 /* index of the next chain to take */
	uint16_t next_used; /* index of the next entry to push; up to next_available are in our hands */
	uint16_t signalled; /* next_used when the driver was told last */
	struct {
		uint32_t id, length; /* as in the used ring */
		bool done;
	} taken[RC_VIRTQUEUE_MAX]; /* by index modulo size */
};

/* A chain of descriptors that was taken. */
struct rc_chain {
	uint16_t index;     /* of it in the queue, for rc_virtqueue_finish() */
	uint8_t *request;   /* its readable bytes, copied: room for `request_max`, the caller's */
	size_t request_max; /* what is longer is cut off */
	size_t request_size;
	struct iovec response[RC_VIRTQUEUE_MAX]; /* its writable parts, in guest memory, up to RC_MAX_RESPONSE bytes */
	uint32_t response_count;
};

enum rc_virtqueue_status {
	RC_VIRTQUEUE_OK,
	RC_VIRTQUEUE_EMPTY,
	RC_VIRTQUEUE_FULL,   /* as many chains as fit are in our hands */
	RC_VIRTQUEUE_BROKEN, /* the driver broke the rules: nothing more can be taken */
};

/* NULL: such a queue can be. Else the name of the field that is wrong. */
const char *rc_virtqueue_check(const struct rc_virtqueue_layout *layout);

/* Find the queue in memory: at the start, and whenever the memory table has changed. False: it lies outside. */
bool rc_virtqueue_map(struct rc_virtqueue *queue, const struct rc_guest_memory *memory);

/* used->idx, and the entry before it: what the device before us has done. */
uint16_t rc_virtqueue_used_index(const struct rc_virtqueue *queue);
void rc_virtqueue_last_used(const struct rc_virtqueue *queue, uint32_t *id, uint32_t *length);

/* Begin at index `base`. */
void rc_virtqueue_start(struct rc_virtqueue *queue, uint16_t base, bool event_idx);

/* Take the next chain. BROKEN: *wrong says why. */
enum rc_virtqueue_status rc_virtqueue_take(
	struct rc_virtqueue *queue, const struct rc_guest_memory *memory, struct rc_chain *chain, const char **wrong);

/* Ask to be told when more is available. False: there is more already. */
bool rc_virtqueue_wait(struct rc_virtqueue *queue);

/* A chain was served and `length` bytes of its response are written: its used entry is pushed as soon as those of all chains before it are. */
void rc_virtqueue_finish(struct rc_virtqueue *queue, uint16_t index, uint32_t length);

/* True when the driver wants to be told of what was pushed since it was told last. */
bool rc_virtqueue_must_signal(struct rc_virtqueue *queue);

#endif
