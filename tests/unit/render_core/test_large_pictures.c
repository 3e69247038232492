/* SPDX-License-Identifier: Apache-2.0
 * Pictures that are too large for a video are shown smaller (docs/decisions/0020-large-pictures.md). */
#include "../../support/display_peer.h"
#include "convert/scale.h"

/* Rows of a blob may lie in the same pages again: a large picture of little memory. 6000 pixels a row fill nearly six pages. */
enum { WIDTH = 6000, HEIGHT = 3001, STRIDE = 6 * 4096, BASE = 0x100000, REGION = 16 * STRIDE };

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;

static uint32_t create_2d(struct display_peer *peer, uint32_t id, uint32_t width, uint32_t height) {
	const struct virtio_gpu_resource_create_2d body = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
		.resource_id = id,
		.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
		.width = width,
		.height = height};
	return ask(peer, 4, &body, sizeof(body), -1);
}

/* `height` rows, of which rows 16 apart are one. */
static uint32_t create_blob(struct display_peer *peer, uint32_t id, uint32_t height) {
	static uint8_t body[RC_PACKET_MAX];
	const uint32_t count = (height + 15) / 16;
	const struct virtio_gpu_resource_create_blob head = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
		.resource_id = id,
		.blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
		.nr_entries = count,
		.size = (uint64_t)height * STRIDE};
	memcpy(body, &head, sizeof(head));
	for (uint32_t i = 0; i < count; i++) {
		const struct virtio_gpu_mem_entry entry = {.addr = BASE, .length = REGION};
		memcpy(body + sizeof(head) + i * sizeof(entry), &entry, sizeof(entry));
	}
	return ask(peer, 4, body, sizeof(head) + count * sizeof(struct virtio_gpu_mem_entry), -1);
}

static uint32_t show(struct display_peer *peer, uint32_t scanout, uint32_t id, uint32_t width, uint32_t height) {
	const struct virtio_gpu_set_scanout_blob body = {.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
		.r = {0, 0, width, height},
		.scanout_id = scanout,
		.resource_id = id,
		.width = width,
		.height = height,
		.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
		.strides = {STRIDE}};
	return ask(peer, 4, &body, sizeof(body), -1);
}

static uint32_t flush(struct display_peer *peer, uint32_t id, struct virtio_gpu_rect r) {
	const struct virtio_gpu_resource_flush body = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = r, .resource_id = id};
	return ask(peer, 4, &body, sizeof(body), -1);
}

static void streamer_says(struct display_peer *peer, uint32_t type, uint32_t first, uint32_t second) {
	const uint32_t message[6] = {24, type, 0, 0, first, second};
	memcpy(peer->frames->packet.data, message, sizeof(message));
	peer->frames->packet.size = sizeof(message);
	rc_frame_link_handle(peer->frames, &peer->frames->packet);
}

/* A guest with its rows' memory, and a streamer that watches all scanouts. */
static uint8_t *begin(struct display_peer *peer) {
	display_peer_init(peer);
	say_hello(peer);
	int fd = make_memfd(REGION, true);
	uint8_t *memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED && add_region(peer, BASE, REGION, fd) == ok);
	streamer_says(peer, 1, 1, 0);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		streamer_says(peer, 2, i, 1);
	}
	service(peer);
	return memory;
}

static void end(struct display_peer *peer, uint8_t *memory) {
	munmap(memory, REGION);
	display_peer_finish(peer);
}

static struct rc_consumer *consume(const struct rc_frame_ring *ring) {
	struct rc_consumer *consumer;
	CHECK(rc_consumer_create(&ring->layout, ring->memfd, &consumer) == RC_OK);
	return consumer;
}

static void test_divisors(void) {
	CHECK(rc_scale_divisor(1, 1) == 1 && rc_scale_divisor(3840, 2160) == 1 && rc_scale_divisor(4096, 2304) == 1);
	CHECK(rc_scale_divisor(4097, 2304) == 2 && rc_scale_divisor(4096, 2305) == 2);
	CHECK(rc_scale_divisor(1072, 8688) == 1 && rc_scale_divisor(8688, 1072) == 1 && rc_scale_divisor(8689, 16) == 2);
	CHECK(rc_scale_divisor(7680, 4320) == 2 && rc_scale_divisor(8192, 4608) == 2);
	CHECK(rc_scale_divisor(15360, 8640) == 4 && rc_scale_divisor(RC_MAX_SIZE, RC_MAX_SIZE) == RC_MAX_DIVISOR);
	for (uint32_t width = 1; width <= RC_MAX_SIZE; width += 61) {
		for (uint32_t height = 1; height <= RC_MAX_SIZE; height += 67) {
			const uint32_t divisor = rc_scale_divisor(width, height);
			const uint32_t across = (rc_scaled(width, divisor) + 15) / 16,
						   down = (rc_scaled(height, divisor) + 15) / 16;
			CHECK(across <= RC_MAX_SIDE_MACROBLOCKS && down <= RC_MAX_SIDE_MACROBLOCKS);
			CHECK(across * down <= RC_MAX_MACROBLOCKS);
		}
	}
}

static void test_a_picture_too_large_is_halved(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	CHECK(create_blob(&peer, 1, HEIGHT) == ok && show(&peer, 0, 1, WIDTH, HEIGHT) == ok);
	const struct rc_frame_ring *ring = peer.scanouts[0].ring;
	CHECK(ring && ring->layout.width == 3000 && ring->layout.height == 1501 && ring->layout.divisor == 2);
	CHECK(ring->layout.source_width == WIDTH && ring->layout.source_height == HEIGHT);
	struct rc_consumer *consumer = consume(ring);
	struct rc_frame frame;
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	CHECK(frame.damage_count == 1 && frame.damage[0].width == 3000 && frame.damage[0].height == 1501);
	CHECK(rc_consumer_planes(consumer, frame.slot)[0] == 16);
	rc_consumer_release(consumer, frame.slot);
	/* Odd at all sides: what is touched grows outwards. Two of a block's four pixels are white now: in the middle between black and white. */
	memset(memory + 3 * STRIDE + 4 * 101, 255, 4);
	memset(memory + 2 * STRIDE + 4 * 101, 255, 4);
	CHECK(flush(&peer, 1, (struct virtio_gpu_rect){101, 3, 1, 2}) == ok);
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	CHECK(frame.damage_count == 1 && frame.damage[0].x == 50 && frame.damage[0].y == 1);
	CHECK(frame.damage[0].width == 1 && frame.damage[0].height == 2);
	const uint8_t *planes = rc_consumer_planes(consumer, frame.slot);
	CHECK(planes[ring->layout.stride + 50] == 126);
	CHECK(planes[ring->layout.stride + 52] == 16 && planes[9 * ring->layout.stride + 50] == 16); /* not flushed */
	rc_consumer_release(consumer, frame.slot);
	/* The last row, which has no second one below it. */
	CHECK(flush(&peer, 1, (struct virtio_gpu_rect){0, HEIGHT - 1, WIDTH, 1}) == 0);
	rc_scanout_service(&peer.scanouts[0], peer.scanouts[0].answer_due_ns + 1000000);
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	CHECK(frame.damage_count == 1 && frame.damage[0].y == 1500 && frame.damage[0].height == 1);
	rc_consumer_destroy(consumer);
	end(&peer, memory);
}

/* What is shown decides, not what the ring has. */
static void test_rings_of_one_size_for_pictures_of_two(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	CHECK(create_blob(&peer, 1, 3002) == ok && show(&peer, 0, 1, WIDTH, HEIGHT) == ok);
	const struct rc_scanout *scanout = &peer.scanouts[0];
	CHECK(scanout->ring->layout.height == 1501 && scanout->generation == 1);
	CHECK(show(&peer, 0, 1, WIDTH, HEIGHT + 1) == ok);
	rc_scanout_service(&peer.scanouts[0], rc_now_ns() + RC_NEWS_INTERVAL_NS);
	CHECK(scanout->ring->layout.height == 1501 && scanout->generation == 2);
	CHECK(scanout->ring->layout.source_height == HEIGHT + 1);
	end(&peer, memory);
}

static void test_all_scanouts_at_the_largest_sizes(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	/* Two 2D resources of 15360 × 8640 to flip between; more is more than a guest may have. */
	CHECK(create_2d(&peer, 1, 15360, 8640) == ok && create_2d(&peer, 2, 15360, 8640) == ok);
	CHECK(create_2d(&peer, 3, 15360, 8640) == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	/* Rings take memory when they are written, so nobody watches here. */
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		streamer_says(&peer, 2, i, 0);
		const struct virtio_gpu_set_scanout body = {.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT,
			.r = {0, 0, 15360, 8640},
			.scanout_id = i,
			.resource_id = 1 + i % 2};
		CHECK(ask(&peer, 4, &body, sizeof(body), -1) == ok);
		CHECK(peer.scanouts[i].ring && peer.scanouts[i].ring->layout.width == 3840);
		CHECK(rc_scanout_set_wanted(&peer.scanouts[i], RC_MAX_SIZE, RC_MAX_SIZE, 0));
	}
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	CHECK(ask(&peer, 4, &info, sizeof(info), -1) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	struct virtio_gpu_resp_display_info answer;
	memcpy(&answer, peer.data + sizeof(struct rc_link_header), sizeof(answer));
	CHECK(answer.pmodes[15].enabled && answer.pmodes[15].r.width == RC_MAX_SIZE);
	end(&peer, memory);
}

int main(void) {
	test_divisors();
	test_a_picture_too_large_is_halved();
	test_rings_of_one_size_for_pictures_of_two();
	test_all_scanouts_at_the_largest_sizes();
	return 0;
}
