/* SPDX-License-Identifier: Apache-2.0
 * The consumer's end of the frame ring. The producer serves a guest that may have taken it over: nothing in the control page is
 * trusted, everything is copied before it is checked. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "convert/scale.h"
#include "handoff/ring_memory.h"
#include "util/memfd.h"
#include "util/rect.h"

struct rc_consumer {
	struct rc_ring_layout layout;
	struct rc_ring_control *control;
	const uint8_t *map; /* read-only */
	bool held[RC_RING_SLOTS];
};

static bool layout_is_sane(const struct rc_ring_layout *l) {
	bool sizes = l->width && l->height && l->width <= RC_MAX_SIZE && l->height <= RC_MAX_SIZE &&
				 l->coded_width >= l->width && l->coded_width - l->width < 16 && l->coded_width % 2 == 0 &&
				 l->coded_height >= l->height && l->coded_height - l->height < 16 && l->coded_height % 4 == 0;
	bool scale = l->divisor && l->divisor <= RC_MAX_DIVISOR && l->source_width <= RC_MAX_SIZE &&
				 l->source_height <= RC_MAX_SIZE && l->width == rc_scaled(l->source_width, l->divisor) &&
				 l->height == rc_scaled(l->source_height, l->divisor);
	bool planes = l->stride >= l->coded_width && l->stride % 64 == 0 && l->stride <= RC_MAX_SIZE + 64u &&
				  (l->format == RC_FORMAT_I420 || l->format == RC_FORMAT_NV12);
	if (!sizes || !scale || !planes || l->slot_count == 0 || l->slot_count > RC_RING_SLOTS) {
		return false;
	}
	uint64_t needed = (uint64_t)l->stride * l->coded_height * 3 / 2;
	const uint64_t most = UINT64_C(1) << 40;
	return l->slot_offset >= RC_RING_CONTROL_BYTES && l->slot_offset % 4096 == 0 && l->slot_size % 4096 == 0 &&
		   l->slot_size >= needed && l->slot_offset < most && l->slot_size < most &&
		   l->memfd_size == l->slot_offset + l->slot_size * l->slot_count;
}

enum rc_result rc_consumer_create(const struct rc_ring_layout *layout, int memfd, struct rc_consumer **out) {
	struct stat st;
	if (!layout_is_sane(layout) || !rc_memfd_is_safe(memfd) || fstat(memfd, &st) < 0 ||
		(uint64_t)st.st_size != layout->memfd_size) {
		return RC_ERROR_INVALID;
	}
	struct rc_consumer *consumer = calloc(1, sizeof(*consumer));
	if (!consumer) {
		return RC_ERROR_NOMEM;
	}
	consumer->layout = *layout;
	void *control = mmap(NULL, RC_RING_CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	void *map = mmap(NULL, layout->memfd_size, PROT_READ, MAP_SHARED, memfd, 0);
	consumer->control = control == MAP_FAILED ? NULL : control;
	consumer->map = map == MAP_FAILED ? NULL : map;
	if (!consumer->control || !consumer->map) {
		rc_consumer_destroy(consumer);
		return RC_ERROR_NOMEM;
	}
	*out = consumer;
	return RC_OK;
}

void rc_consumer_destroy(struct rc_consumer *consumer) {
	if (!consumer) {
		return;
	}
	if (consumer->control) {
		munmap(consumer->control, RC_RING_CONTROL_BYTES);
	}
	if (consumer->map) {
		munmap((void *)consumer->map, consumer->layout.memfd_size);
	}
	free(consumer);
}

static void copy_frame(const struct rc_consumer *consumer, uint32_t slot, struct rc_frame *out) {
	struct rc_slot_control control;
	memcpy(&control, &consumer->control->slots[slot], sizeof(control));
	*out = (struct rc_frame){
		.slot = slot,
		.sequence = control.sequence,
		.base_sequence = control.base_sequence,
		.trace = control.trace,
	};
	bool sane = control.damage_count <= RC_MAX_DAMAGE;
	for (uint32_t i = 0; sane && i < control.damage_count; i++) {
		sane = rc_rect_inside(&control.damage[i], consumer->layout.width, consumer->layout.height);
	}
	if (!sane) {
		control.damage_count = 1;
		control.damage[0] = (struct rc_rect){0, 0, consumer->layout.width, consumer->layout.height};
	}
	out->damage_count = control.damage_count;
	memcpy(out->damage, control.damage, sizeof(out->damage[0]) * control.damage_count);
}

enum rc_result rc_consumer_acquire(struct rc_consumer *consumer, struct rc_frame *out) {
	/* The producer can replace the newest frame between our read and our swap, but not for ever. */
	for (int tries = 0; tries < 16; tries++) {
		uint32_t slot = atomic_load(&consumer->control->newest);
		if (slot == RC_RING_NONE) {
			return RC_AGAIN;
		}
		if (slot >= consumer->layout.slot_count) {
			return RC_ERROR_INVALID;
		}
		uint32_t ready = RC_SLOT_READY;
		if (atomic_compare_exchange_strong(&consumer->control->slots[slot].state, &ready, RC_SLOT_HELD)) {
			if (consumer->held[slot]) {
				return RC_ERROR_INVALID; /* published while we held it */
			}
			consumer->held[slot] = true;
			copy_frame(consumer, slot, out);
			return RC_OK;
		}
		if (atomic_load(&consumer->control->newest) == slot) {
			return RC_AGAIN;
		}
	}
	return RC_AGAIN;
}

void rc_consumer_release(struct rc_consumer *consumer, uint32_t slot) {
	if (slot < consumer->layout.slot_count && consumer->held[slot]) {
		consumer->held[slot] = false;
		atomic_store_explicit(&consumer->control->slots[slot].state, RC_SLOT_FREE, memory_order_release);
	}
}

const uint8_t *rc_consumer_planes(const struct rc_consumer *consumer, uint32_t slot) {
	return slot < consumer->layout.slot_count
			   ? consumer->map + consumer->layout.slot_offset + consumer->layout.slot_size * slot
			   : NULL;
}
