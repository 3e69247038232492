/* SPDX-License-Identifier: Apache-2.0
 * What a guest could make grow, flood or fault: quotas that last, news that are paced, memory that is not what it seems. */
#include "../../support/display_peer.h"

#include <errno.h>

enum { SIDE = 64, BASE = 0x10000, SCATTERED = 8000, REGION = 4096 * (SCATTERED + 1) };

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;

static uint32_t create_2d(struct display_peer *peer, uint32_t id, uint32_t side) {
	const struct virtio_gpu_resource_create_2d body = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
		.resource_id = id,
		.format = VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM,
		.width = side,
		.height = side};
	return ask(peer, 4, &body, sizeof(body), -1);
}

/* A blob of `count` pages. Scattered: every other page, so that no two entries follow one another. */
static uint32_t create_blob(struct display_peer *peer, uint32_t id, uint32_t count, bool scattered) {
	static uint8_t body[RC_PACKET_MAX];
	const struct virtio_gpu_resource_create_blob head = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
		.resource_id = id,
		.blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
		.nr_entries = count,
		.size = (uint64_t)count * 4096};
	memcpy(body, &head, sizeof(head));
	for (uint32_t i = 0; i < count; i++) {
		const struct virtio_gpu_mem_entry entry = {
			.addr = BASE + 4096 * (scattered ? i * 2 % SCATTERED : i), .length = 4096};
		memcpy(body + sizeof(head) + i * sizeof(entry), &entry, sizeof(entry));
	}
	return ask(peer, 4, body, sizeof(head) + count * sizeof(struct virtio_gpu_mem_entry), -1);
}

static uint32_t unref(struct display_peer *peer, uint32_t id) {
	const struct virtio_gpu_resource_unref body = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_UNREF, .resource_id = id};
	return ask(peer, 4, &body, sizeof(body), -1);
}

/* Without what the core's loop does after it. */
static void give_set_scanout(struct display_peer *peer, uint32_t scanout, uint32_t id, uint32_t side) {
	const struct virtio_gpu_set_scanout body = {
		.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT, .r = {0, 0, side, side}, .scanout_id = scanout, .resource_id = id};
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	give(peer, 4, &body, sizeof(body), -1);
	CHECK(take_answer(peer, &header, &hdr) && hdr.type == ok);
}

static void begin(struct display_peer *peer) {
	display_peer_init(peer);
	say_hello(peer);
	CHECK(add_region(peer, BASE, REGION, make_memfd(REGION, true)) == ok);
}

static void streamer_says(struct display_peer *peer, uint32_t type, uint32_t first, uint32_t second) {
	const uint32_t message[6] = {24, type, 0, 0, first, second};
	memcpy(peer->frames->packet.data, message, sizeof(message));
	peer->frames->packet.size = sizeof(message);
	rc_frame_link_handle(peer->frames, &peer->frames->packet);
}

/* How many messages of a type (0: any) wait for the streamer; all are taken. */
static uint32_t streamer_hears(struct display_peer *peer, uint16_t type) {
	static uint8_t data[RC_PACKET_MAX];
	struct rc_packet packet = {.data = data};
	uint32_t count = 0;
	while (rc_packet_receive(peer->streamer, &packet) == RC_PACKET_OK) {
		struct rc_link_header header;
		memcpy(&header, data, sizeof(header));
		count += type == 0 || header.type == type;
		rc_packet_close_fds(&packet);
	}
	return count;
}

/* A region that is removed keeps its fd and its mapping while a resource uses it, and so counts. */
static void test_removed_regions_count_while_they_are_used(void) {
	struct display_peer peer;
	begin(&peer);
	const uint64_t base = BASE;
	for (uint32_t i = 1; i < RC_MAX_REGIONS; i++) {
		CHECK(create_blob(&peer, i, 4, false) == ok);
		CHECK(ask(&peer, 3, &base, sizeof(base), -1) == ok);
		CHECK(add_region(&peer, BASE, REGION, make_memfd(REGION, true)) == ok);
	}
	CHECK(create_blob(&peer, 100, 4, false) == ok);
	CHECK(ask(&peer, 3, &base, sizeof(base), -1) == ok);
	CHECK(peer.link->gpu.memory.count == RC_MAX_REGIONS);
	CHECK(add_region(&peer, BASE, REGION, make_memfd(REGION, true)) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	CHECK(unref(&peer, 100) == ok);
	CHECK(add_region(&peer, BASE, REGION, make_memfd(REGION, true)) == ok);
	display_peer_finish(&peer);
}

/* Each run of pages is a mapping, and the kernel gives a process a fixed number of those. */
static void test_mappings_are_limited(void) {
	struct display_peer peer;
	begin(&peer);
	uint32_t id = 1;
	while (create_blob(&peer, id, SCATTERED / 2, true) == ok) {
		id++;
	}
	CHECK(id == RC_MAX_MAPPINGS / (SCATTERED / 2) + 1);
	CHECK(create_blob(&peer, 200, SCATTERED, false) == ok); /* one run */
	CHECK(unref(&peer, 1) == ok && create_blob(&peer, 1, SCATTERED / 2, true) == ok);
	display_peer_finish(&peer);
}

/* The last picture stays when the guest goes, so what it takes counts for the next connection; it goes when that needs its room. */
static void test_pictures_left_behind_count(void) {
	struct display_peer peer;
	begin(&peer);
	CHECK(create_2d(&peer, 1, 8192) == ok); /* a quarter of the quota */
	give_set_scanout(&peer, 3, 1, 8192);
	rc_display_link_destroy(peer.link);
	close(peer.guest);
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	peer.guest = pair[0];
	peer.link = rc_display_link_create(&peer.loop, &peer.log, peer.scanouts, pair[1]);
	say_hello(&peer);
	CHECK(peer.scanouts[3].picture.surface);
	for (uint32_t id = 1; id <= 3; id++) {
		CHECK(create_2d(&peer, id, 8192) == ok);
	}
	CHECK(peer.scanouts[3].picture.surface);
	CHECK(create_2d(&peer, 4, 8192) == ok && !peer.scanouts[3].picture.surface); /* the old picture has made room */
	CHECK(create_2d(&peer, 5, 8192) == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	display_peer_finish(&peer);
}

/* Sizes that flap make one ring a frame time, not one each; the last one is what counts. */
static void test_flapping_sizes_are_told_at_a_pace(void) {
	struct display_peer peer;
	begin(&peer);
	streamer_says(&peer, 1, 1, 0);
	streamer_says(&peer, 2, 0, 1);
	service(&peer);
	streamer_hears(&peer, 0);
	CHECK(create_2d(&peer, 1, SIDE) == ok && create_2d(&peer, 2, 2 * SIDE) == ok);
	struct rc_scanout *scanout = &peer.scanouts[0];
	uint64_t now = rc_now_ns();
	for (uint32_t i = 0; i < 600; i++) {
		give_set_scanout(&peer, 0, i % 3, i % 3 * SIDE);
		rc_scanout_service(scanout, now);
	}
	CHECK(streamer_hears(&peer, 0) <= 1);
	give_set_scanout(&peer, 0, 2, 2 * SIDE);
	CHECK(rc_scanout_deadline(scanout) <= now + RC_NEWS_INTERVAL_NS);
	rc_scanout_service(scanout, now + RC_NEWS_INTERVAL_NS);
	CHECK(streamer_hears(&peer, 0x8001) == 1 && scanout->ring->layout.width == 2 * SIDE);
	give_set_scanout(&peer, 0, 1, SIDE);
	give_set_scanout(&peer, 0, 2, 2 * SIDE);
	rc_scanout_service(scanout, now + 3 * RC_NEWS_INTERVAL_NS);
	CHECK(streamer_hears(&peer, 0) == 0); /* nobody was told of the other size */
	CHECK(scanout->damage.count == 0);    /* but the picture was read again */
	give_set_scanout(&peer, 0, 0, 0);
	rc_scanout_service(scanout, now + 5 * RC_NEWS_INTERVAL_NS);
	CHECK(streamer_hears(&peer, 0x8002) == 1 && !scanout->ring);
	display_peer_finish(&peer);
}

static void test_a_picture_of_another_size_is_never_written_to_the_ring_before(void) {
	struct display_peer peer;
	begin(&peer);
	streamer_says(&peer, 1, 1, 0);
	streamer_says(&peer, 2, 0, 1);
	CHECK(create_2d(&peer, 1, SIDE) == ok && create_2d(&peer, 2, 4 * SIDE) == ok);
	struct rc_scanout *scanout = &peer.scanouts[0];
	uint64_t now = rc_now_ns();
	give_set_scanout(&peer, 0, 1, SIDE);
	rc_scanout_service(scanout, now);
	uint64_t sequence = scanout->ring->sequence;
	give_set_scanout(&peer, 0, 2, 4 * SIDE);
	rc_scanout_service(scanout, now + 1);
	CHECK(scanout->ring->layout.width == SIDE && scanout->ring->sequence == sequence);
	rc_scanout_service(scanout, now + RC_NEWS_INTERVAL_NS);
	CHECK(scanout->ring->layout.width == 4 * SIDE && scanout->ring->sequence == 1);
	display_peer_finish(&peer);
}

static void test_cursor_floods_are_told_at_a_pace(void) {
	struct display_peer peer;
	begin(&peer);
	streamer_says(&peer, 1, 1, 0);
	service(&peer);
	streamer_hears(&peer, 0);
	CHECK(create_2d(&peer, 1, SIDE) == ok);
	uint64_t now = rc_now_ns();
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	for (int32_t i = 1; i <= 1000; i++) {
		const struct virtio_gpu_update_cursor body = {
			.hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR, .pos = {0, i, i, 0}, .resource_id = 1};
		give(&peer, 5, &body, sizeof(body), -1);
		CHECK(take_answer(&peer, &header, &hdr) && hdr.type == ok);
		rc_scanout_service(&peer.scanouts[0], now);
	}
	CHECK(streamer_hears(&peer, 0) == 2); /* the first image and its place */
	rc_scanout_service(&peer.scanouts[0], now + RC_NEWS_INTERVAL_NS);
	CHECK(streamer_hears(&peer, 0x8003) == 1); /* the last */
	CHECK(rc_scanout_deadline(&peer.scanouts[0]) == UINT64_MAX && !peer.frames->closed);
	display_peer_finish(&peer);
}

/* A viewer that drags its window for long while the guest is busy must not cost the guest its connection. */
static void test_one_event_until_the_guest_asks(void) {
	struct display_peer peer;
	begin(&peer);
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	for (uint32_t i = 0; i < 2000; i++) {
		CHECK(rc_scanout_set_wanted(&peer.scanouts[0], 800 + i % 2, 600, 0));
		rc_display_link_display_changed(peer.link);
	}
	CHECK(!peer.link->closed && take_answer(&peer, &header, &hdr) && header.type == 0x8003);
	CHECK(!take_answer(&peer, &header, &hdr));
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	CHECK(ask(&peer, 4, &info, sizeof(info), -1) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	rc_display_link_display_changed(peer.link);
	CHECK(take_answer(&peer, &header, &hdr) && header.type == 0x8003);
	display_peer_finish(&peer);
}

/* From 1 to 1000 pictures a second: what waits at the old beat is not late at the new one. */
static void test_a_new_rate_holds_at_once(void) {
	struct display_peer peer;
	begin(&peer);
	streamer_says(&peer, 1, 1, 0);
	streamer_says(&peer, 2, 0, 1);
	struct rc_scanout *scanout = &peer.scanouts[0];
	CHECK(rc_scanout_set_wanted(scanout, 1280, 720, 1000));
	CHECK(create_2d(&peer, 1, SIDE) == ok);
	uint64_t now = rc_now_ns();
	give_set_scanout(&peer, 0, 1, SIDE);
	const struct virtio_gpu_resource_flush body = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {0, 0, SIDE, SIDE}, .resource_id = 1};
	for (int i = 0; i < 4; i++) {
		give(&peer, 4, &body, sizeof(body), -1);
		rc_scanout_service(scanout, now);
	}
	uint64_t slow = rc_scanout_deadline(scanout);
	CHECK(slow > now + 500000000 && slow <= now + 2000000000);
	CHECK(rc_scanout_set_wanted(scanout, 1280, 720, 1000000));
	CHECK(rc_scanout_deadline(scanout) <= now);
	for (int i = 0; i < 4; i++) {
		rc_scanout_service(scanout, now + 1000000u * (unsigned)i);
	}
	CHECK(peer.link->flushes == 0);
	display_peer_finish(&peer);
}

/* A guest that asks and never reads is given up, whatever the answers are sent from. */
static void test_a_guest_that_never_reads_is_given_up(void) {
	struct display_peer peer;
	begin(&peer);
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	for (int i = 0; i < 100000 && !peer.link->closed; i++) {
		give(&peer, 4, &info, sizeof(info), -1);
	}
	CHECK(peer.link->closed);
	service(&peer);
	display_peer_finish(&peer);
}

static void test_a_guest_that_is_gone_is_seen_behind_its_packets(void) {
	struct display_peer peer;
	begin(&peer);
	CHECK(rc_packet_send(peer.guest, 4, 1, "", 1, NULL, 0));
	CHECK(!rc_display_link_is_dead(peer.link));
	close(peer.guest);
	CHECK(rc_display_link_is_dead(peer.link));
	peer.guest = -1;
	display_peer_finish(&peer);
}

/* Their pages come from a pool that may be empty when they are touched, and mappings of them have other borders. */
static void test_huge_pages_are_refused(void) {
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	if (fd < 0) {
		return; /* a kernel without them */
	}
	CHECK(ftruncate(fd, 1 << 21) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	struct display_peer peer;
	begin(&peer);
	CHECK(add_region(&peer, 0x40000000, 1 << 21, fd) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	display_peer_finish(&peer);
}

/* Holes that are punched under our mapping read as zeros; a seal against new writable mappings leaves a readable one. */
static void test_holes_and_seals_are_survived(void) {
	struct display_peer peer;
	begin(&peer);
	int fd = make_memfd(65536, true), guest = dup(fd);
	const uint64_t base = BASE;
	CHECK(ask(&peer, 3, &base, sizeof(base), -1) == ok && add_region(&peer, BASE, 65536, fd) == ok);
	CHECK(create_blob(&peer, 1, 16, false) == ok);
	CHECK(fallocate(guest, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536) == 0);
	CHECK(ftruncate(guest, 4096) < 0 && errno == EPERM);
	const volatile uint8_t *map = rc_resource_find(&peer.link->gpu.resources, 1)->surface->map;
	CHECK(map[0] == 0 && map[65535] == 0);
	CHECK(fcntl(guest, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0 && create_blob(&peer, 2, 16, false) == ok);
	map = rc_resource_find(&peer.link->gpu.resources, 2)->surface->map;
	CHECK(map[0] == 0 && map[65535] == 0);
	close(guest);
	display_peer_finish(&peer);
}

/* A log that nobody reads must not stop the worker, and lines of every level are counted. */
static void test_a_full_log_does_not_block(void) {
	int pipe_fds[2];
	CHECK(pipe(pipe_fds) == 0);
	struct rc_log log;
	rc_log_init(&log, pipe_fds[1], RC_LOG_DEBUG);
	for (int i = 0; i < 100000; i++) {
		log.windows[RC_LOG_INFO].count = 0;
		rc_log(&log, RC_LOG_INFO, "connected");
	}
	log.windows[RC_LOG_INFO].count = 0;
	for (int i = 0; i < 100; i++) {
		rc_log(&log, RC_LOG_INFO, "connected");
	}
	CHECK(log.windows[RC_LOG_INFO].suppressed >= 100 - RC_LOG_BURST);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

int main(void) {
	test_removed_regions_count_while_they_are_used();
	test_mappings_are_limited();
	test_pictures_left_behind_count();
	test_flapping_sizes_are_told_at_a_pace();
	test_a_picture_of_another_size_is_never_written_to_the_ring_before();
	test_cursor_floods_are_told_at_a_pace();
	test_one_event_until_the_guest_asks();
	test_a_new_rate_holds_at_once();
	test_a_guest_that_never_reads_is_given_up();
	test_a_guest_that_is_gone_is_seen_behind_its_packets();
	test_huge_pages_are_refused();
	test_holes_and_seals_are_survived();
	test_a_full_log_does_not_block();
	return 0;
}
