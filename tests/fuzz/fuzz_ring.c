/* SPDX-License-Identifier: Apache-2.0
 * A worker that its guest has taken over: the ring's layout and control page hold anything. Input: a struct rc_ring_layout, then
 * bytes for the control page. */
#define _GNU_SOURCE
#include <string.h>

#include "../unit/render_core/check.h"
#include "fuzz.h"
#include "handoff/frame_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_I420, 64, 32, 1);
	struct rc_consumer *consumer;
	struct rc_ring_layout layout = ring->layout;
	memcpy(&layout, data, size < sizeof(layout) ? size : sizeof(layout));
	if (rc_consumer_create(&layout, ring->memfd, &consumer) == RC_OK) {
		CHECK(rc_consumer_planes(consumer, layout.slot_count - 1)[layout.slot_size - 1] == 0);
		rc_consumer_destroy(consumer);
	}
	CHECK(rc_consumer_create(&ring->layout, ring->memfd, &consumer) == RC_OK);
	if (size > sizeof(layout)) {
		size_t rest = size - sizeof(layout);
		memcpy((void *)ring->control, data + sizeof(layout),
			rest < sizeof(*ring->control) ? rest : sizeof(*ring->control));
	}
	for (int i = 0; i < 4; i++) {
		struct rc_frame frame;
		if (rc_consumer_acquire(consumer, &frame) != RC_OK) {
			continue;
		}
		CHECK(frame.slot < RC_RING_SLOTS && frame.damage_count <= RC_MAX_DAMAGE);
		for (uint32_t k = 0; k < frame.damage_count; k++) {
			CHECK(frame.damage[k].x + frame.damage[k].width <= 64 && frame.damage[k].y + frame.damage[k].height <= 32);
		}
		rc_consumer_release(consumer, frame.slot);
	}
	rc_consumer_destroy(consumer);
	rc_frame_ring_destroy(ring);
	return 0;
}
