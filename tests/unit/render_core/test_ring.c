/* SPDX-License-Identifier: Apache-2.0
 * The frame ring with producer and consumer in two threads: run with TSan too. */
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "handoff/frame_ring.h"

enum { WIDTH = 64, HEIGHT = 32, FRAMES = 20000 };

static const struct rc_rect everything = {0, 0, WIDTH, HEIGHT};

static bool publish(struct rc_frame_ring *ring, uint8_t value, const struct rc_rect *rect) {
	struct rc_planes planes;
	struct rc_damage stale, damage = {0};
	rc_damage_add(&damage, rect);
	rc_frame_ring_damage(ring, &damage);
	if (!rc_frame_ring_begin(ring, &planes, &stale)) {
		return false;
	}
	memset(planes.data, value, (size_t)planes.stride * planes.coded_height * 3 / 2);
	const struct rc_trace trace = {.flush_ns = value};
	rc_frame_ring_publish(ring, &damage, &trace);
	return true;
}

static struct rc_consumer *consume(const struct rc_frame_ring *ring) {
	struct rc_consumer *consumer;
	CHECK(rc_consumer_create(&ring->layout, ring->memfd, &consumer) == RC_OK);
	return consumer;
}

static void test_newest_wins(void) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_I420, WIDTH, HEIGHT, 1);
	struct rc_consumer *consumer = consume(ring);
	struct rc_frame frame;
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_AGAIN);
	const struct rc_rect small = {4, 4, 2, 2}, other = {40, 8, 2, 2};
	CHECK(publish(ring, 1, &everything) && publish(ring, 2, &small) && publish(ring, 3, &other));
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	CHECK(frame.sequence == 3 && frame.base_sequence == 0 && frame.trace.flush_ns == 3);
	CHECK(rc_consumer_planes(consumer, frame.slot)[0] == 3);
	CHECK(frame.damage_count == 1 && frame.damage[0].width == WIDTH); /* the first, untaken frame's damage is in it */
	struct rc_frame again;
	CHECK(rc_consumer_acquire(consumer, &again) == RC_AGAIN);
	/* a taken frame is the base of the next one, held or not */
	CHECK(publish(ring, 4, &small));
	CHECK(rc_consumer_acquire(consumer, &again) == RC_OK);
	CHECK(again.base_sequence == 3 && again.damage_count == 1 && again.damage[0].x == 4);
	rc_consumer_release(consumer, frame.slot);
	rc_consumer_release(consumer, again.slot);
	rc_consumer_release(consumer, 99);
	rc_consumer_destroy(consumer);
	rc_frame_ring_destroy(ring);
}

static void test_a_consumer_that_holds_everything_blocks_nobody(void) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_NV12, WIDTH, HEIGHT, 1);
	struct rc_consumer *consumer = consume(ring);
	struct rc_frame frames[RC_RING_SLOTS];
	uint32_t held = 0;
	while (held < RC_RING_SLOTS && publish(ring, (uint8_t)held, &everything)) {
		CHECK(rc_consumer_acquire(consumer, &frames[held++]) == RC_OK);
	}
	CHECK(held == RC_RING_SLOTS && !publish(ring, 9, &everything));
	rc_consumer_release(consumer, frames[0].slot);
	CHECK(publish(ring, 10, &everything));
	rc_consumer_destroy(consumer);
	rc_frame_ring_destroy(ring);
}

static void test_stale_is_what_changed_since_the_slot_was_written(void) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_I420, WIDTH, HEIGHT, 1);
	struct rc_consumer *consumer = consume(ring);
	struct rc_frame frame;
	for (uint8_t i = 0; i < 2 * RC_RING_SLOTS; i++) { /* every slot is written once: nothing is stale but by damage */
		CHECK(publish(ring, i, &everything));
		CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
		rc_consumer_release(consumer, frame.slot);
	}
	const struct rc_rect small = {8, 8, 4, 4};
	struct rc_damage damage = {0}, stale;
	struct rc_planes planes;
	rc_damage_add(&damage, &small);
	rc_frame_ring_damage(ring, &damage);
	CHECK(rc_frame_ring_begin(ring, &planes, &stale));
	rc_frame_ring_cancel(ring);
	CHECK(rc_frame_ring_begin(
		ring, &planes, &stale)); /* a cancelled slot has everything to do, so another one is better */
	CHECK(stale.count >= 1 && stale.rects[0].width <= WIDTH);
	rc_frame_ring_cancel(ring);
	rc_consumer_destroy(consumer);
	rc_frame_ring_destroy(ring);
}

static void test_refuses_layouts_that_cannot_be(void) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_I420, WIDTH, HEIGHT, 1);
	struct rc_consumer *consumer;
	struct rc_ring_layout layout = ring->layout;
	layout.slot_size += 4096;
	CHECK(rc_consumer_create(&layout, ring->memfd, &consumer) == RC_ERROR_INVALID);
	layout = ring->layout;
	layout.stride = 32;
	CHECK(rc_consumer_create(&layout, ring->memfd, &consumer) == RC_ERROR_INVALID);
	layout = ring->layout;
	layout.divisor = 2;
	CHECK(rc_consumer_create(&layout, ring->memfd, &consumer) == RC_ERROR_INVALID);
	layout.source_width = 2 * WIDTH;
	layout.source_height = 2 * HEIGHT - 1;
	CHECK(rc_consumer_create(&layout, ring->memfd, &consumer) == RC_OK);
	rc_consumer_destroy(consumer);
	layout.divisor = 0;
	CHECK(rc_consumer_create(&layout, ring->memfd, &consumer) == RC_ERROR_INVALID);
	layout = ring->layout;
	layout.slot_count = 1000;
	CHECK(rc_consumer_create(&layout, ring->memfd, &consumer) == RC_ERROR_INVALID);
	rc_frame_ring_destroy(ring);
}

static void test_a_hostile_producer_is_survived(void) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_I420, WIDTH, HEIGHT, 1);
	struct rc_consumer *consumer = consume(ring);
	struct rc_frame frame;
	atomic_store(&ring->control->newest, 77);
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_ERROR_INVALID);
	CHECK(publish(ring, 1, &everything));
	uint32_t slot = atomic_load(&ring->control->newest);
	ring->control->slots[slot].damage_count = 1u << 31;
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	CHECK(frame.damage_count == 1 && frame.damage[0].width == WIDTH);
	atomic_store(&ring->control->slots[slot].state, RC_SLOT_READY); /* published while held */
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_ERROR_INVALID);
	rc_consumer_destroy(consumer);
	rc_frame_ring_destroy(ring);
}

static void *produce(void *argument) {
	struct rc_frame_ring *ring = argument;
	for (uint32_t i = 1; i <= FRAMES; i++) {
		CHECK(publish(ring, (uint8_t)i, &everything)); /* a consumer that holds two never makes it wait */
	}
	return NULL;
}

static void test_no_torn_frames_between_threads(void) {
	struct rc_frame_ring *ring = rc_frame_ring_create(RC_FORMAT_I420, WIDTH, HEIGHT, 1);
	struct rc_consumer *consumer = consume(ring);
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, produce, ring) == 0);
	uint64_t last = 0;
	struct rc_frame frame = {0}, previous;
	bool holding = false;
	while (last < FRAMES) {
		previous = frame;
		if (rc_consumer_acquire(consumer, &frame) != RC_OK) {
			frame = previous;
			continue;
		}
		if (holding) {
			rc_consumer_release(consumer, previous.slot);
		}
		holding = true;
		const uint8_t *planes = rc_consumer_planes(consumer, frame.slot);
		CHECK(frame.sequence > last && frame.base_sequence < frame.sequence);
		CHECK(planes[0] == (uint8_t)frame.sequence && planes[WIDTH * HEIGHT * 3 / 2 - 1] == (uint8_t)frame.sequence);
		last = frame.sequence;
	}
	pthread_join(thread, NULL);
	rc_consumer_destroy(consumer);
	rc_frame_ring_destroy(ring);
}

int main(void) {
	test_newest_wins();
	test_a_consumer_that_holds_everything_blocks_nobody();
	test_stale_is_what_changed_since_the_slot_was_written();
	test_refuses_layouts_that_cannot_be();
	test_a_hostile_producer_is_survived();
	test_no_torn_frames_between_threads();
	return 0;
}
