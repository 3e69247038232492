/* SPDX-License-Identifier: Apache-2.0
 * The vhost-user-gpu device between a QEMU and a driver that do what real ones do. */
#include "../../support/vhost_peer.h"

enum { WIDTH = 64, HEIGHT = 48, SIZE = WIDTH * HEIGHT * 4 };

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;

static void begin(struct vhost_peer *peer, bool event_idx, bool indirect) {
	peer_init(peer, event_idx, indirect);
	qemu_start(peer, 0, 0);
	CHECK(peer_state(peer) == RC_MACHINE_RUNNING);
}

static void fill(struct vhost_peer *peer, uint64_t address, uint32_t bytes, uint8_t value) {
	memset(guest_at(peer, address), value, bytes);
}

/* Make a resource of one grey, show it and flush it. */
static void show(struct vhost_peer *peer, uint32_t scanout, uint32_t id, uint64_t address, uint8_t value) {
	fill(peer, address, SIZE, value);
	CHECK(create_2d(peer, id, WIDTH, HEIGHT) == ok && attach(peer, id, address, SIZE) == ok);
	CHECK(set_scanout(peer, scanout, id, WIDTH, HEIGHT) == ok && transfer(peer, id, WIDTH, HEIGHT) == ok);
}

/* The luma of a column of the newest frame, which must not have been taken yet. */
static void take_frame(const struct vhost_peer *peer, uint8_t column[HEIGHT]) {
	const struct rc_frame_ring *ring = peer->scanouts[0].ring;
	struct rc_consumer *consumer;
	struct rc_frame frame;
	CHECK(rc_consumer_create(&ring->layout, ring->memfd, &consumer) == RC_OK);
	CHECK(rc_consumer_acquire(consumer, &frame) == RC_OK);
	for (uint32_t y = 0; y < HEIGHT; y++) {
		column[y] = rc_consumer_planes(consumer, frame.slot)[(size_t)y * ring->layout.stride + 5];
	}
	rc_consumer_release(consumer, frame.slot);
	rc_consumer_destroy(consumer);
}

static void test_the_handshake(void) {
	struct vhost_peer peer;
	peer_init(&peer, true, true);
	const uint64_t features = qemu_get(&peer, VHOST_USER_GET_FEATURES);
	CHECK(features == (UINT64_C(0x170000002)));
	const uint64_t protocol = qemu_get(&peer, VHOST_USER_GET_PROTOCOL_FEATURES);
	CHECK(protocol == (1 << 0 | 1 << 3 | 1 << 5 | 1 << 9));
	CHECK(qemu_set(&peer, VHOST_USER_SET_PROTOCOL_FEATURES, &protocol, 8, NULL, 0) == 0);
	CHECK(qemu_get(&peer, VHOST_USER_GET_QUEUE_NUM) == 2);
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(qemu_set(&peer, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair, 1) == 0);
	CHECK(qemu_set(&peer, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0) == 0);
	CHECK(qemu_set(&peer, VHOST_USER_GPU_SET_SOCKET, NULL, 0, pair, 1) == 0);
	close(pair[0]);
	close(pair[1]);
	struct rc_vhost_config config = {.offset = 0, .size = 16}, answer = {0};
	CHECK(qemu_ask(&peer, VHOST_USER_GET_CONFIG, 0, &config, 12 + 16, NULL, 0, &answer, sizeof(answer)) == 12 + 16);
	CHECK(answer.bytes[8] == 16 && answer.bytes[0] == 0 && answer.bytes[12] == 0);
	config = (struct rc_vhost_config){.offset = 8, .size = 4};
	CHECK(qemu_ask(&peer, VHOST_USER_GET_CONFIG, 0, &config, 12 + 4, NULL, 0, &answer, sizeof(answer)) == 12 + 4);
	CHECK(answer.bytes[0] == 16);
	CHECK(qemu_set(&peer, VHOST_USER_SET_CONFIG, &config, 12 + 4, NULL, 0) == 0);
	CHECK(qemu_set(&peer, 123, NULL, 0, NULL, 0) == 1); /* not known: refused, and nothing else */
	CHECK(qemu_ask(&peer, 123, 0, NULL, 0, NULL, 0, &answer, sizeof(answer)) == -1);
	qemu_start(&peer, 0, 0);
	CHECK(peer_state(&peer) == RC_MACHINE_RUNNING);
	peer_finish(&peer);
}

static void check_picture(bool event_idx, bool indirect) {
	struct vhost_peer peer;
	begin(&peer, event_idx, indirect);
	peer_watch(&peer);
	/* The upper half lies in one region, the lower in the other. */
	const struct virtio_gpu_mem_entry entries[2] = {{PIXELS_AT, SIZE / 2, 0}, {RAM1_AT + 4096, SIZE / 2, 0}};
	fill(&peer, PIXELS_AT, SIZE / 2, 255);
	fill(&peer, RAM1_AT + 4096, SIZE / 2, 0);
	CHECK(create_2d(&peer, 1, WIDTH, HEIGHT) == ok && attach_entries(&peer, 1, entries, 2) == ok);
	CHECK(set_scanout(&peer, 0, 1, WIDTH, HEIGHT) == ok && transfer(&peer, 1, WIDTH, HEIGHT) == ok);
	CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0); /* not before it was read */
	peer_service(&peer, rc_now_ns());
	struct virtio_gpu_ctrl_hdr hdr;
	CHECK(take_used(&peer, RC_VHOST_CONTROL, &hdr) == ok);
	uint8_t column[HEIGHT];
	take_frame(&peer, column);
	CHECK(column[0] == 235 && column[HEIGHT / 2 - 1] == 235 && column[HEIGHT / 2] == 16 && column[HEIGHT - 1] == 16);
	/* Only what is transferred is read. */
	fill(&peer, PIXELS_AT, SIZE / 2, 0);
	fill(&peer, RAM1_AT + 4096, SIZE / 2, 255);
	CHECK(transfer(&peer, 1, WIDTH, 1) == ok && flush(&peer, 1, WIDTH, HEIGHT) == 0);
	peer_service(&peer, rc_now_ns() + 1000000000);
	CHECK(take_used(&peer, RC_VHOST_CONTROL, &hdr) == ok);
	take_frame(&peer, column);
	CHECK(column[0] == 16 && column[1] == 235 && column[HEIGHT - 1] == 16);
	/* The device has asked for interrupts as the driver wanted them: at least one came for each answer here. */
	eventfd_t calls;
	CHECK(eventfd_read(peer.queues[0].call, &calls) == 0 && calls >= 1);
	peer_finish(&peer);
}

static void test_pictures_arrive(void) {
	for (int i = 0; i < 4; i++) {
		check_picture(i & 1, i & 2);
	}
}

/* The index wraps many times over the ring and once over 16 bits, with and without EVENT_IDX. */
static void test_indexes_wrap(void) {
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		struct vhost_peer peer;
		begin(&peer, event_idx, false);
		const struct virtio_gpu_ctrl_hdr info = {
			.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO, .flags = VIRTIO_GPU_FLAG_FENCE, .fence_id = 77};
		for (uint32_t i = 0; i < 65600; i++) {
			struct virtio_gpu_ctrl_hdr hdr;
			submit(&peer, 0, &info, sizeof(info));
			if (i % 8 == 7) {
				peer_turn(&peer);
				while (take_used(&peer, 0, &hdr)) {
					CHECK(hdr.type == VIRTIO_GPU_RESP_OK_DISPLAY_INFO && hdr.flags == VIRTIO_GPU_FLAG_FENCE &&
						  hdr.fence_id == 77);
				}
				CHECK(peer.queues[0].seen == peer.queues[0].available);
			}
		}
		peer_finish(&peer);
	}
}

/* The driver says when it wants to be interrupted. */
static void test_interrupts_are_as_the_driver_wants_them(void) {
	struct vhost_peer peer;
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	eventfd_t calls;
	begin(&peer, false, true);
	while (eventfd_read(peer.queues[0].call, &calls) == 0) {
	}
	*ring_word(&peer, 0, 0x1000) = 1; /* VRING_AVAIL_F_NO_INTERRUPT */
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	CHECK(eventfd_read(peer.queues[0].call, &calls) < 0);
	*ring_word(&peer, 0, 0x1000) = 0;
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	CHECK(eventfd_read(peer.queues[0].call, &calls) == 0);
	peer_finish(&peer);
	begin(&peer, true, true);
	while (eventfd_read(peer.queues[0].call, &calls) == 0) {
	}
	*ring_word(&peer, 0, 0x1004 + 2 * QUEUE_SIZE) = 3; /* when the fourth is used */
	for (int i = 0; i < 3; i++) {
		submit(&peer, 0, &info, sizeof(info));
	}
	peer_turn(&peer);
	CHECK(*ring_word(&peer, 0, 0x2002) == 3 && eventfd_read(peer.queues[0].call, &calls) < 0);
	submit(&peer, 0, &info, sizeof(info));
	peer_turn(&peer);
	CHECK(*ring_word(&peer, 0, 0x2002) == 4 && eventfd_read(peer.queues[0].call, &calls) == 0);
	peer_finish(&peer);
}

/* Without a consumer too: a beat gives back one picture's flushes, and what was executed after them. */
static void test_flushes_pace_the_guest(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, true, true);
	show(&peer, 0, 1, PIXELS_AT, 10);
	show(&peer, 1, 2, PIXELS_AT + SIZE, 20);
	CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
	uint64_t now = rc_now_ns() + 1000000000;
	peer_service(&peer, now);
	CHECK(take_used(&peer, 0, &hdr) == ok); /* the first after idle: at once */
	/* Three flips, each of them three requests: all are executed, none is given back. */
	for (uint32_t i = 0; i < 3; i++) {
		CHECK(set_scanout(&peer, 0, 1 + i % 2, WIDTH, HEIGHT) == (i ? 0 : ok));
		CHECK(transfer(&peer, 1 + i % 2, WIDTH, HEIGHT) == (i ? 0 : ok));
		CHECK(flush(&peer, 1 + i % 2, WIDTH, HEIGHT) == 0);
	}
	CHECK(create_2d(&peer, 9, WIDTH, HEIGHT) == 0 && rc_resource_find(&peer.device->gpu.resources, 9));
	uint32_t answered = 0;
	for (uint32_t beat = 0; beat < 3; beat++) {
		peer_service(&peer, now + 1000000);
		CHECK(!take_used(&peer, 0, &hdr));
		now = rc_scanout_deadline(&peer.scanouts[0]) + 1;
		peer_service(&peer, now);
		while (take_used(&peer, 0, &hdr) == ok) {
			answered++;
		}
		const uint32_t expected[3] = {3, 6, 8};
		CHECK(answered == expected[beat]);
	}
	/* Changes of one picture: a few a beat. The last flip's flush was the first of them. */
	for (uint32_t i = 0; i < 2 * RC_VHOST_BATCH; i++) {
		CHECK(flush(&peer, 1, 8, 8) == 0);
	}
	for (uint32_t beat = 0; beat < 3; beat++) {
		now = rc_scanout_deadline(&peer.scanouts[0]) + 1;
		peer_service(&peer, now);
		for (answered = 0; take_used(&peer, 0, &hdr) == ok;) {
			answered++;
		}
		const uint32_t expected[3] = {RC_VHOST_BATCH - 1, RC_VHOST_BATCH, 1};
		CHECK(answered == expected[beat]);
	}
	peer_finish(&peer);
}

static void test_cursors(void) {
	struct vhost_peer peer;
	begin(&peer, true, true);
	CHECK(create_2d(&peer, 1, 64, 64) == ok);
	struct virtio_gpu_update_cursor body = {
		.hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR, .pos = {0, 7, 8, 0}, .resource_id = 1, .hot_x = 3, .hot_y = 2};
	CHECK(ask(&peer, RC_VHOST_CURSOR, &body, sizeof(body)) == ok);
	CHECK(peer.scanouts[0].cursor.width == 64 && peer.scanouts[0].cursor.hot_x == 3 && peer.scanouts[0].cursor.x == 7);
	body.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR;
	body.pos.x = 90;
	CHECK(ask(&peer, RC_VHOST_CURSOR, &body, sizeof(body)) == ok && peer.scanouts[0].cursor.x == 90);
	body.pos.scanout_id = 99;
	CHECK(ask(&peer, RC_VHOST_CURSOR, &body, sizeof(body)) == VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	peer_finish(&peer);
}

static void test_many_and_large_outputs(void) {
	struct vhost_peer peer;
	begin(&peer, true, true);
	CHECK(create_2d(&peer, 1, 15360, 8640) == ok);
	CHECK(set_scanout(&peer, 15, 1, 15360, 8640) == ok);
	CHECK(peer.scanouts[15].picture.width == 15360 && peer.scanouts[15].picture.height == 8640);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 1) == ok);
	for (uint32_t i = 0; i < 16; i++) {
		show(&peer, i, 10 + i, PIXELS_AT, (uint8_t)i);
	}
	for (uint32_t i = 0; i < 16; i++) {
		CHECK(peer.scanouts[i].resource_id == 10 + i && peer.scanouts[i].picture.surface->map[0] == i);
	}
	peer_finish(&peer);
}

/* Paused and continued: everything is as it was, flushes that waited were answered. */
static void test_a_paused_machine_goes_on(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, true, true);
	show(&peer, 0, 1, PIXELS_AT, 50);
	CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
	const uint16_t base = qemu_stop_queue(&peer, 0), cursor = qemu_stop_queue(&peer, 1);
	CHECK(base == 5 && cursor == 0 && take_used(&peer, 0, &hdr) == ok && peer_state(&peer) == RC_MACHINE_STOPPED);
	/* What is made available meanwhile is found at the start, without a kick. */
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	submit(&peer, 0, &info, sizeof(info));
	eventfd_t kicks;
	CHECK(eventfd_read(peer.queues[0].kick, &kicks) == 0);
	peer_turn(&peer);
	CHECK(!take_used(&peer, 0, &hdr));
	qemu_start(&peer, base, cursor);
	CHECK(take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && peer.scanouts[0].resource_id == 1);
	CHECK(transfer(&peer, 1, WIDTH, HEIGHT) == ok);
	peer_finish(&peer);
}

/* Reset: a driver that begins finds no resources of the one before; the picture stays until it shows another. */
static void test_a_new_driver_begins_anew(void) {
	struct vhost_peer peer;
	begin(&peer, true, true);
	show(&peer, 0, 1, PIXELS_AT, 50);
	for (int i = 0; i < 3; i++) {
		qemu_stop_queue(&peer, 0);
		qemu_stop_queue(&peer, 1);
		driver_reset(&peer);
		if (i == 1) {
			/* elsewhere */
			peer.queues[0].at = 0x9000;
			driver_reset(&peer);
		}
		qemu_start(&peer, 0, 0);
		CHECK(!rc_resource_find(&peer.device->gpu.resources, 1) && peer.scanouts[0].resource_id == 0);
		CHECK(peer.scanouts[0].picture.surface && peer.scanouts[0].picture.surface->map[0] == 50);
		CHECK(transfer(&peer, 1, WIDTH, HEIGHT) == VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
		show(&peer, 0, 1, PIXELS_AT, 50);
	}
	peer_finish(&peer);
}

/* At base 0 a queue that went round looks like a new one, but for its last entry. */
static void test_a_pause_at_index_zero_is_no_reset(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, false, false);
	show(&peer, 0, 1, PIXELS_AT, 50);
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	while (peer.queues[0].available) {
		submit(&peer, 0, &info, sizeof(info));
		peer_turn(&peer);
		CHECK(take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	}
	CHECK(qemu_stop_queue(&peer, 0) == 0);
	qemu_start_queue(&peer, 0, 0);
	CHECK(rc_resource_find(&peer.device->gpu.resources, 1));
	qemu_stop_queue(&peer, 0);
	driver_reset(&peer);
	qemu_start_queue(&peer, 0, 0);
	CHECK(!rc_resource_find(&peer.device->gpu.resources, 1));
	peer_finish(&peer);
}

/* The memory table changes while the queues run: what stays is not mapped anew, what is new can be used. */
static void test_memory_comes_and_goes(void) {
	struct vhost_peer peer;
	begin(&peer, true, true);
	show(&peer, 0, 1, RAM1_AT, 50);
	const struct rc_region *region = rc_memory_find(&peer.device->gpu.memory, 0, 1);
	CHECK(qemu_set_memory(&peer, 1) == 0); /* the second region is unplugged while it backs a resource */
	CHECK(rc_memory_find(&peer.device->gpu.memory, 0, 1) == region);
	CHECK(transfer(&peer, 1, WIDTH, HEIGHT) == ok); /* from memory that is nobody's any more */
	CHECK(create_2d(&peer, 2, WIDTH, HEIGHT) == ok);
	CHECK(attach(&peer, 2, RAM1_AT, SIZE) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	CHECK(qemu_set_memory(&peer, 2) == 0);
	CHECK(attach(&peer, 2, RAM1_AT, SIZE) == ok && transfer(&peer, 2, WIDTH, HEIGHT) == ok);
	for (int i = 0; i < 1000; i++) {
		CHECK(qemu_set_memory(&peer, 2) == 0); /* no region leaks */
	}
	CHECK(peer.device->gpu.memory.count == 3);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 1) == ok && peer.device->gpu.memory.count == 2);
	peer_finish(&peer);
}

/* The rings' own region goes: the queue stops and says so; a new start mends it. */
static void test_rings_outside_memory(void) {
	struct vhost_peer peer;
	eventfd_t errors;
	begin(&peer, true, true);
	CHECK(qemu_set_memory(&peer, 0) == 0);
	CHECK(peer_state(&peer) == RC_MACHINE_STOPPED && eventfd_read(peer.queues[0].error, &errors) == 0);
	const uint16_t base = qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	CHECK(base == 0);
	CHECK(qemu_set_memory(&peer, 2) == 0);
	qemu_start_queue(&peer, 0, base);
	CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && create_2d(&peer, 1, 64, 64) == ok);
	qemu_stop_queue(&peer, 0);
	CHECK(qemu_set_ring(&peer, 0, RAM0_SIZE - 0x1000) == 0); /* the used ring is past the end */
	CHECK(qemu_set_fd(&peer, VHOST_USER_SET_VRING_KICK, 0, &peer.queues[0].kick) == 0);
	CHECK(peer_state(&peer) == RC_MACHINE_STOPPED);
	peer_finish(&peer);
}

/* ---- taking over ---- */

static void recover(struct vhost_peer *peer) {
	peer_kill_device(peer);
	peer_connect(peer, true);
	/* QEMU asks the new one where it stopped, and believes that; it cannot know. */
	const uint16_t control = qemu_stop_queue(peer, 0), cursor = qemu_stop_queue(peer, 1);
	qemu_start(peer, control, cursor);
}

static void test_a_new_worker_takes_over(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, true, true);
	show(&peer, 0, 1, PIXELS_AT, 255);
	show(&peer, 3, 2, RAM1_AT, 40);
	show(&peer, 1, 7, RAM1_AT, 40);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 7) == ok);
	CHECK(create_2d(&peer, 7, WIDTH, HEIGHT) == ok); /* its scanout is not to come back */
	CHECK(create_2d(&peer, 5, 64, 64) == ok);
	const struct virtio_gpu_update_cursor body = {
		.hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR, .pos = {0, 7, 8, 0}, .resource_id = 5, .hot_x = 3, .hot_y = 2};
	CHECK(ask(&peer, RC_VHOST_CURSOR, &body, sizeof(body)) == ok);
	/* One flush waits; what comes after it was executed and is not given back. Then one more that nobody saw. */
	CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
	CHECK(create_2d(&peer, 8, WIDTH, HEIGHT) == 0 && simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 7) == 0);
	const struct virtio_gpu_resource_unref unref = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_UNREF, .resource_id = 8};
	for (int i = 0; i < 2; i++) {
		if (i == 0) {
			peer_turn(&peer);
			recover(&peer);
		} else {
			submit(&peer, 0, &unref, sizeof(unref));
			recover(&peer); /* twice: the journal is as good as the first one's */
		}
		CHECK(peer_state(&peer) == RC_MACHINE_RUNNING); /* and not INCOMPLETE */
		for (int k = 0; k < (i ? 1 : 3); k++) {
			CHECK(take_used(&peer, 0, &hdr) == ok); /* nothing was done twice */
		}
		CHECK(!take_used(&peer, 0, &hdr));
		const struct rc_scanout *scanout = &peer.scanouts[0];
		CHECK(scanout->resource_id == 1 && scanout->picture.surface->map[SIZE - 1] == 255);
		CHECK(peer.scanouts[3].resource_id == 2 && peer.scanouts[3].picture.surface->map[0] == 40);
		CHECK(!peer.scanouts[1].picture.surface);
		CHECK(scanout->cursor.width == 64 && scanout->cursor.x == 7 && scanout->cursor.hot_x == 3);
		CHECK(!rc_resource_find(&peer.device->gpu.resources, 7));
		CHECK((rc_resource_find(&peer.device->gpu.resources, 8) == NULL) == (i == 1));
	}
	peer_watch(&peer);
	CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
	peer_service(&peer, rc_now_ns());
	uint8_t column[HEIGHT];
	take_frame(&peer, column);
	CHECK(take_used(&peer, 0, &hdr) == ok && column[3] == 235);
	peer_finish(&peer);
}

static void test_what_was_reset_meanwhile_is_not_taken_over(void) {
	struct vhost_peer peer;
	begin(&peer, true, true);
	show(&peer, 0, 1, PIXELS_AT, 255);
	peer_kill_device(&peer);
	driver_reset(&peer);
	peer_connect(&peer, true);
	qemu_start(&peer, 0, 0);
	CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && !peer.scanouts[0].picture.surface);
	show(&peer, 0, 1, PIXELS_AT, 255);
	peer_finish(&peer);
}

/* More is made than the journal's halves hold, but little of it at a time. */
static void test_the_journal_is_compacted(void) {
	struct vhost_peer peer;
	begin(&peer, true, true);
	show(&peer, 0, 1, PIXELS_AT, 60);
	for (uint32_t i = 0; i < 2 * JOURNAL_BYTES / 64; i++) {
		CHECK(create_2d(&peer, 2, 16, 16) == ok && simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 2) == ok);
	}
	recover(&peer);
	CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && peer.scanouts[0].picture.surface->map[0] == 60);
	CHECK(!rc_resource_find(&peer.device->gpu.resources, 2));
	peer_finish(&peer);
}

static void test_a_spoilt_journal_is_said_to_be(void) {
	struct vhost_peer peer;
	for (int kind = 0; kind < 4; kind++) {
		begin(&peer, true, true);
		show(&peer, 0, 1, PIXELS_AT, 60);
		uint8_t *journal = mmap(NULL, JOURNAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, peer.journal, 0);
		CHECK(journal != MAP_FAILED);
		switch (kind) {
		case 0:
			memset(journal, 0, JOURNAL_BYTES);
			break;
		case 1:
			memset(journal + 16384, 0xff, JOURNAL_BYTES - 16384);
			break;
		case 2:
			memset(journal + 48, 0xff, 16); /* how long the halves are */
			break;
		default:
			memset(journal + 16384 + 8, 0, 4); /* a request's type */
		}
		recover(&peer);
		CHECK(peer_state(&peer) == RC_MACHINE_INCOMPLETE && !peer.scanouts[0].picture.surface);
		/* What the guest shows anew is served, and journalled. */
		CHECK(create_2d(&peer, 2, WIDTH, HEIGHT) == ok && attach(&peer, 2, PIXELS_AT, SIZE) == ok);
		CHECK(set_scanout(&peer, 0, 2, WIDTH, HEIGHT) == ok);
		recover(&peer);
		CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && peer.scanouts[0].picture.surface->map[0] == 60);
		munmap(journal, JOURNAL_BYTES);
		peer_finish(&peer);
	}
}

int main(void) {
	test_the_handshake();
	test_pictures_arrive();
	test_indexes_wrap();
	test_interrupts_are_as_the_driver_wants_them();
	test_flushes_pace_the_guest();
	test_cursors();
	test_many_and_large_outputs();
	test_a_paused_machine_goes_on();
	test_a_new_driver_begins_anew();
	test_a_pause_at_index_zero_is_no_reset();
	test_memory_comes_and_goes();
	test_rings_outside_memory();
	test_a_new_worker_takes_over();
	test_what_was_reset_meanwhile_is_not_taken_over();
	test_the_journal_is_compacted();
	test_a_spoilt_journal_is_said_to_be();
	return 0;
}
