/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "handoff/frame_ring.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/scale.h"
#include "execute/import.h"
#include "util/clock.h"

static void fill_layout(struct rc_ring_layout *layout, enum rc_format format, uint32_t source_width,
	uint32_t source_height, uint32_t divisor) {
	const uint32_t width = rc_scaled(source_width, divisor), height = rc_scaled(source_height, divisor);
	*layout = (struct rc_ring_layout){
		.format = format,
		.width = width,
		.height = height,
		.source_width = source_width,
		.source_height = source_height,
		.divisor = divisor,
		.coded_width = (width + 1) & ~1u,
		.coded_height = (height + 3) & ~3u,
		.slot_count = RC_RING_SLOTS,
		.slot_offset = RC_RING_CONTROL_BYTES,
	};
	layout->stride = (layout->coded_width + 63) & ~63u;
	layout->slot_size = rc_page_align((uint64_t)layout->stride * layout->coded_height * 3 / 2);
	layout->memfd_size = layout->slot_offset + layout->slot_size * layout->slot_count;
}

struct rc_frame_ring *rc_frame_ring_create(enum rc_format format, uint32_t width, uint32_t height, uint32_t divisor) {
	struct rc_frame_ring *ring = calloc(1, sizeof(*ring));
	if (!ring) {
		return NULL;
	}
	fill_layout(&ring->layout, format, width, height, divisor);
	ring->map = MAP_FAILED;
	ring->published = ring->writing = RC_RING_NONE;
	ring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring->memfd = memfd_create("heliograph-frames", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ring->event_fd < 0 || ring->memfd < 0 || ftruncate(ring->memfd, (off_t)ring->layout.memfd_size) < 0) {
		goto err;
	}
	if (fcntl(ring->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		goto err;
	}
	ring->map = mmap(NULL, ring->layout.memfd_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->memfd, 0);
	if (ring->map == MAP_FAILED) {
		goto err;
	}
	ring->control = (struct rc_ring_control *)(void *)ring->map;
	ring->control->magic = RC_RING_MAGIC;
	ring->control->slot_count = RC_RING_SLOTS;
	atomic_store(&ring->control->newest, RC_RING_NONE);
	const struct rc_rect all = {0, 0, ring->layout.width, ring->layout.height};
	for (uint32_t i = 0; i < RC_RING_SLOTS; i++) {
		rc_damage_add(&ring->stale[i], &all);
	}
	return ring;

err:
	rc_frame_ring_destroy(ring);
	return NULL;
}

void rc_frame_ring_destroy(struct rc_frame_ring *ring) {
	if (!ring) {
		return;
	}
	rc_import_destroy(ring->import);
	if (ring->map != MAP_FAILED) {
		munmap(ring->map, ring->layout.memfd_size);
	}
	if (ring->memfd >= 0) {
		close(ring->memfd);
	}
	if (ring->event_fd >= 0) {
		close(ring->event_fd);
	}
	free(ring);
}

void rc_frame_ring_damage(struct rc_frame_ring *ring, const struct rc_damage *damage) {
	for (uint32_t i = 0; i < RC_RING_SLOTS; i++) {
		rc_damage_add_all(&ring->stale[i], damage);
	}
}

/* Pairs with the compare-and-swap in rc_consumer_acquire() and the release store in rc_consumer_release(). */
static bool take(struct rc_frame_ring *ring, uint32_t slot, uint32_t from) {
	return atomic_compare_exchange_strong(&ring->control->slots[slot].state, &from, RC_SLOT_WRITING);
}

static uint64_t stale_area(const struct rc_damage *damage) {
	uint64_t area = 0;
	for (uint32_t i = 0; i < damage->count; i++) {
		area += (uint64_t)damage->rects[i].width * damage->rects[i].height;
	}
	return area;
}

bool rc_frame_ring_begin(struct rc_frame_ring *ring, struct rc_planes *planes, struct rc_damage *stale) {
	bool tried[RC_RING_SLOTS] = {false};
	/* The published slot stays takeable for the consumer until a newer one is there. Of the others, the one with least to convert. */
	for (uint32_t round = 0; round < RC_RING_SLOTS && ring->writing == RC_RING_NONE; round++) {
		uint32_t best = RC_RING_NONE;
		for (uint32_t i = 0; i < RC_RING_SLOTS; i++) {
			uint32_t state = atomic_load(&ring->control->slots[i].state);
			bool usable = state == RC_SLOT_FREE || (state == RC_SLOT_READY && i != ring->published);
			if (usable && !tried[i] &&
				(best == RC_RING_NONE || stale_area(&ring->stale[i]) < stale_area(&ring->stale[best]))) {
				best = i;
			}
		}
		if (best == RC_RING_NONE) {
			return false;
		}
		tried[best] = true;
		if (take(ring, best, RC_SLOT_FREE) || take(ring, best, RC_SLOT_READY)) {
			ring->writing = best;
		}
	}
	if (ring->writing == RC_RING_NONE) {
		return false;
	}
	*stale = ring->stale[ring->writing];
	uint64_t offset = ring->layout.slot_offset + ring->layout.slot_size * ring->writing;
	*planes = (struct rc_planes){
		.format = (enum rc_format)ring->layout.format,
		.data = ring->map + offset,
		.import = ring->import,
		.import_offset = offset,
		.coded_width = ring->layout.coded_width,
		.coded_height = ring->layout.coded_height,
		.stride = ring->layout.stride,
		.divisor = ring->layout.divisor,
	};
	return true;
}

void rc_frame_ring_publish(struct rc_frame_ring *ring, const struct rc_damage *damage, const struct rc_trace *trace) {
	uint32_t slot = ring->writing;
	struct rc_slot_control *control = &ring->control->slots[slot];
	/* A frame that was never taken hands its damage to the next. If the consumer takes it right now, the damage is merely too much. */
	bool untaken =
		ring->published != RC_RING_NONE && atomic_load(&ring->control->slots[ring->published].state) == RC_SLOT_READY;
	if (!untaken) {
		rc_damage_clear(&ring->published_damage);
		ring->published_base = ring->sequence;
	}
	rc_damage_add_all(&ring->published_damage, damage);
	control->sequence = ++ring->sequence;
	control->base_sequence = ring->published_base;
	control->damage_count = ring->published_damage.count;
	for (uint32_t i = 0; i < ring->published_damage.count; i++) {
		control->damage[i] = ring->published_damage.rects[i];
	}
	control->trace = *trace;
	control->trace.handoff_ns = rc_now_ns();
	rc_damage_clear(&ring->stale[slot]);
	ring->published = slot;
	ring->writing = RC_RING_NONE;
	/* Sequentially consistent stores: the consumer that sees `newest` sees the slot READY and its planes and control written. */
	atomic_store(&control->state, RC_SLOT_READY);
	atomic_store(&ring->control->newest, slot);
	const uint64_t one = 1;
	ssize_t written =
		write(ring->event_fd, &one, sizeof(one)); /* full means that the consumer has been told often enough */
	(void)written;
}

void rc_frame_ring_cancel(struct rc_frame_ring *ring) {
	const struct rc_rect all = {0, 0, ring->layout.width, ring->layout.height};
	rc_damage_add(&ring->stale[ring->writing], &all);
	atomic_store(&ring->control->slots[ring->writing].state, RC_SLOT_FREE);
	ring->writing = RC_RING_NONE;
}
