/* SPDX-License-Identifier: Apache-2.0
 * What a virtual machine may show at most, and as fast as it can: large screens, many screens, flips without end. */
#include "../../support/vhost_peer.h"

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;

static void begin(struct vhost_peer *peer) {
	peer_init(peer, true, true);
	qemu_start(peer, 0, 0);
}

static void watch_all(struct vhost_peer *peer) {
	peer_watch(peer);
	for (uint32_t i = 1; i < RC_MAX_SCANOUTS; i++) {
		const uint32_t message[6] = {24, 2, i, 0, i, 1}; /* SET_ACTIVE */
		memcpy(peer->frames->packet.data, message, sizeof(message));
		peer->frames->packet.size = sizeof(message);
		rc_frame_link_handle(peer->frames, &peer->frames->packet);
	}
}

static struct rc_consumer *consume(const struct rc_frame_ring *ring) {
	struct rc_consumer *consumer;
	CHECK(ring && rc_consumer_create(&ring->layout, ring->memfd, &consumer) == RC_OK);
	return consumer;
}

/* ---- 15360 × 8640 ---- */

enum { WIDE = 15360, HIGH = 8640, ROWS = 16, TILE_BYTES = WIDE * 4 * ROWS, TILES = HIGH / ROWS };

/* Rows 16 apart lie in the same pages, so that a screen of half a gigabyte is one megabyte. The driver has no blobs; a synthetic one may. */
static uint32_t create_large_blob(struct vhost_peer *peer, uint32_t id) {
	static struct {
		struct virtio_gpu_resource_create_blob head;
		struct virtio_gpu_mem_entry entries[TILES];
	} body;
	body.head = (struct virtio_gpu_resource_create_blob){.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
		.resource_id = id,
		.blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
		.nr_entries = TILES,
		.size = (uint64_t)WIDE * HIGH * 4};
	for (uint32_t i = 0; i < TILES; i++) {
		body.entries[i] = (struct virtio_gpu_mem_entry){RAM1_AT, TILE_BYTES, 0};
	}
	CHECK(sizeof(body) > REQUEST_BYTES);
	/* Longer than the others' requests: a chain of its own, with the request in both regions' spare room. */
	memcpy(guest_at(peer, RAM1_AT + TILE_BYTES), &body, sizeof(body));
	put_descriptor(peer, peer->queues[0].at, 0, RAM1_AT + TILE_BYTES, sizeof(body), 1, 1);
	put_descriptor(peer, peer->queues[0].at, 1, RESPONSES_AT, 0x600, 2, 0);
	offer(peer, 0, 0);
	peer_turn(peer);
	struct virtio_gpu_ctrl_hdr hdr;
	return take_used(peer, 0, &hdr);
}

static void test_the_largest_screen_is_shown_smaller(void) {
	struct vhost_peer peer;
	begin(&peer);
	watch_all(&peer);
	/* The upper 8 of 16 rows white: 2 of 4 rows in the video. */
	memset(guest_at(&peer, RAM1_AT), 255, TILE_BYTES / 2);
	memset(guest_at(&peer, RAM1_AT + TILE_BYTES / 2), 0, TILE_BYTES / 2);
	CHECK(create_large_blob(&peer, 1) == ok);
	const struct virtio_gpu_set_scanout_blob set = {.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
		.r = {0, 0, WIDE, HIGH},
		.resource_id = 1,
		.width = WIDE,
		.height = HIGH,
		.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
		.strides = {WIDE * 4}};
	CHECK(ask(&peer, 0, &set, sizeof(set)) == ok);
	const struct virtio_gpu_resource_flush all = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {0, 0, WIDE, HIGH}, .resource_id = 1};
	CHECK(ask(&peer, 0, &all, sizeof(all)) == 0);
	peer_service(&peer, rc_now_ns());
	struct virtio_gpu_ctrl_hdr hdr;
	CHECK(take_used(&peer, 0, &hdr) == ok);
	const struct rc_ring_layout *layout = &peer.scanouts[0].ring->layout;
	CHECK(layout->divisor == 4 && layout->width == WIDE / 4 && layout->height == HIGH / 4);
	CHECK(layout->source_width == WIDE && layout->source_height == HIGH);
	struct rc_consumer *consumer = consume(peer.scanouts[0].ring);
	struct rc_frame frame;
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	CHECK(frame.damage_count == 1 && frame.damage[0].width == WIDE / 4 && frame.damage[0].height == HIGH / 4);
	const uint8_t *luma = rc_consumer_planes(consumer, frame.slot);
	for (uint32_t y = 0; y < HIGH / 4; y++) {
		const uint8_t *row = luma + (size_t)y * layout->stride;
		CHECK(row[0] == (y % 4 < 2 ? 235 : 16) && row[WIDE / 4 - 1] == row[0] && row[1919] == row[0]);
	}
	rc_consumer_release(consumer, frame.slot);
	rc_consumer_destroy(consumer);
	peer_finish(&peer);
}

/* As the driver does it: the screen is memory of ours, of which here only what was drawn to is touched. */
static void test_the_largest_screen_of_a_driver_without_blobs(void) {
	struct vhost_peer peer;
	begin(&peer);
	memset(guest_at(&peer, RAM1_AT), 77, 64 * 4);
	CHECK(create_2d(&peer, 1, WIDE, HIGH) == ok && create_2d(&peer, 2, WIDE, HIGH) == ok); /* it flips */
	CHECK(create_2d(&peer, 3, WIDE, HIGH) == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	CHECK(attach(&peer, 2, RAM1_AT, RAM1_SIZE) == ok && set_scanout(&peer, 15, 2, WIDE, HIGH) == ok);
	CHECK(CONTROL(&peer, (struct virtio_gpu_transfer_to_host_2d){.hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
							 .r = {WIDE - 64, HIGH - 1, 64, 1},
							 .resource_id = 2}) == ok);
	CHECK(flush(&peer, 2, WIDE, HIGH) == 0);
	peer_service(&peer, rc_now_ns());
	struct virtio_gpu_ctrl_hdr hdr;
	CHECK(take_used(&peer, 0, &hdr) == ok);
	const struct rc_picture *picture = &peer.scanouts[15].picture;
	CHECK(picture->width == WIDE && picture->surface->map[(uint64_t)WIDE * HIGH * 4 - 1] == 77);
	peer_finish(&peer);
}

/* The last pictures of a driver that is gone stay, but not in the way of the next one's. */
static void test_the_largest_screens_and_a_reset(void) {
	struct vhost_peer peer;
	begin(&peer);
	for (uint32_t i = 0; i < 2; i++) {
		CHECK(create_2d(&peer, 1 + i, WIDE, HIGH) == ok && set_scanout(&peer, i, 1 + i, WIDE, HIGH) == ok);
	}
	CHECK(set_scanout(&peer, 2, 1, WIDE, HIGH) == ok && set_scanout(&peer, 3, 1, WIDE, HIGH) == ok); /* mirrors */
	for (int round = 0; round < 2; round++) {
		qemu_stop_queue(&peer, 0);
		qemu_stop_queue(&peer, 1);
		driver_reset(&peer);
		qemu_start(&peer, 0, 0);
		CHECK(peer.scanouts[0].picture.surface && !peer.scanouts[0].resource_id);
		if (round == 0) {
			CHECK(create_2d(&peer, 1, 1280, 720) == ok && peer.scanouts[0].picture.surface); /* there was room */
		}
	}
	for (uint32_t i = 0; i < 2; i++) {
		CHECK(create_2d(&peer, 1 + i, WIDE, HIGH) == ok && set_scanout(&peer, i, 1 + i, WIDE, HIGH) == ok);
	}
	peer_finish(&peer);
}

/* ---- 16 screens ---- */

static void test_sixteen_screens_with_a_picture_each(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer);
	watch_all(&peer);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
			const uint32_t width = 64 + 16 * i, height = 48 + 2 * i, id = 1 + i;
			const uint64_t at = RAM1_AT + 0x20000 * (uint64_t)i;
			memset(guest_at(&peer, at), (int)(10 * i + 5 * (uint32_t)round), width * height * 4);
			if (round == 0) {
				CHECK(create_2d(&peer, id, width, height) == ok && attach(&peer, id, at, width * height * 4) == ok);
				CHECK(set_scanout(&peer, i, id, width, height) == ok);
			}
			CHECK(transfer(&peer, id, width, height) == (round && i % 8 ? 0 : ok));
			CHECK(flush(&peer, id, width, height) == 0);
			/* The first time they come one by one, then eight wait together, with what came after the first. */
			if (round == 0) {
				peer_service(&peer, rc_now_ns() + i * UINT64_C(1000000000));
				CHECK(take_used(&peer, 0, &hdr) == ok);
			} else if (i % 8 == 7) {
				peer_service(&peer, rc_now_ns() + UINT64_C(100000000000));
				for (int answers = 0; answers < 15; answers++) {
					CHECK(take_used(&peer, 0, &hdr) == ok);
				}
				CHECK(!take_used(&peer, 0, &hdr));
			}
		}
		for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
			const struct rc_frame_ring *ring = peer.scanouts[i].ring;
			struct rc_consumer *consumer = consume(ring);
			struct rc_frame frame;
			CHECK(ring->layout.width == 64 + 16 * i && ring->layout.height == 48 + 2 * i);
			CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
			const uint8_t *luma = rc_consumer_planes(consumer, frame.slot);
			const uint32_t grey = 10 * i + 5 * (uint32_t)round, expected = 16 + (grey * 219 + 127) / 255;
			const size_t last = (size_t)ring->layout.stride * (ring->layout.height - 1) + ring->layout.width - 1;
			CHECK(luma[0] == expected && luma[last] == expected);
			rc_consumer_release(consumer, frame.slot);
			rc_consumer_destroy(consumer);
		}
	}
	peer_finish(&peer);
}

/* ---- flips without end ---- */

enum { WIDTH = 64, HEIGHT = 48, MS = 1000000, FLIP_REQUESTS = 3 };

enum consumer { ABSENT, PRESENT, GREEDY };

static void submit_flip(struct vhost_peer *peer, uint32_t number, uint32_t requests_done) {
	const uint32_t id = 1 + number % 2;
	const struct virtio_gpu_set_scanout set = {
		.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT, .r = {0, 0, WIDTH, HEIGHT}, .resource_id = id};
	const struct virtio_gpu_transfer_to_host_2d transfer = {
		.hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, .r = {0, 0, WIDTH, HEIGHT}, .resource_id = id};
	const struct virtio_gpu_resource_flush flush = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {0, 0, WIDTH, HEIGHT}, .resource_id = id};
	switch (requests_done % FLIP_REQUESTS) {
	case 0:
		submit(peer, 0, &transfer, sizeof(transfer));
		break;
	case 1:
		submit(peer, 0, &set, sizeof(set));
		break;
	default:
		submit(peer, 0, &flush, sizeof(flush));
	}
}

/* A driver that waits for nothing but room in its queue, for `beats` frame intervals of 1/60 s in steps of a millisecond; how many flips it was given back. */
static uint32_t flip(struct vhost_peer *peer, enum consumer kind, uint32_t beats, uint32_t *frames) {
	uint64_t now = rc_now_ns() + UINT64_C(1000000000);
	const uint64_t end = now + beats * UINT64_C(1000000000) / 60;
	uint32_t requests = 0, answers = 0;
	struct rc_consumer *consumer = NULL;
	*frames = 0;
	for (; now < end; now += MS) {
		while ((uint16_t)(peer->queues[0].available - peer->queues[0].seen) < MAX_IN_FLIGHT) {
			submit_flip(peer, requests / FLIP_REQUESTS, requests);
			requests++;
		}
		peer_turn(peer);
		peer_service(peer, now);
		struct virtio_gpu_ctrl_hdr hdr;
		uint32_t answer;
		while ((answer = take_used(peer, 0, &hdr)) != 0) {
			CHECK(answer == ok);
			answers++;
		}
		if (kind != ABSENT) {
			struct rc_frame frame;
			consumer = consumer ? consumer : consume(peer->scanouts[0].ring);
			if (rc_consumer_acquire(consumer, &frame) == RC_OK) {
				++*frames;
				if (kind == PRESENT) {
					rc_consumer_release(consumer, frame.slot);
				}
			}
		}
	}
	rc_consumer_destroy(consumer);
	return answers / FLIP_REQUESTS;
}

/* Whoever takes the pictures, and whether anybody does: the guest is held to the beat, and never held up. */
static void test_flips_keep_to_the_beat(void) {
	enum { BEATS = 120 };
	for (enum consumer kind = ABSENT; kind <= GREEDY; kind++) {
		struct vhost_peer peer;
		uint32_t frames;
		begin(&peer);
		if (kind != ABSENT) {
			peer_watch(&peer);
		}
		for (uint32_t id = 1; id <= 2; id++) {
			CHECK(create_2d(&peer, id, WIDTH, HEIGHT) == ok);
			CHECK(attach(&peer, id, RAM1_AT + 0x10000 * id, WIDTH * HEIGHT * 4) == ok);
		}
		CHECK(set_scanout(&peer, 0, 1, WIDTH, HEIGHT) == ok);
		peer_service(&peer, rc_now_ns());
		const uint32_t flips = flip(&peer, kind, BEATS, &frames);
		/* The beat is 3 % faster than 60 Hz, and one more may be ahead of it. */
		if (flips < BEATS - 2 || flips > BEATS + BEATS / 20) {
			fprintf(stderr, "kind %d: %u flips, %u frames\n", kind, flips, frames);
			abort();
		}
		CHECK(kind == ABSENT   ? frames == 0
			  : kind == GREEDY ? frames >= 1 && frames <= RC_RING_SLOTS
							   : frames >= BEATS - 2 && frames <= BEATS + BEATS / 20);
		peer_finish(&peer);
	}
}

int main(void) {
	test_the_largest_screen_is_shown_smaller();
	test_the_largest_screen_of_a_driver_without_blobs();
	test_the_largest_screens_and_a_reset();
	test_sixteen_screens_with_a_picture_each();
	test_flips_keep_to_the_beat();
	return 0;
}
