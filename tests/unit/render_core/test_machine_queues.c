/* SPDX-License-Identifier: Apache-2.0
 * What vhost-user allows a front-end to do with running queues, and the largest and smallest queues. */
#include "../../support/vhost_peer.h"

enum { WIDTH = 64, HEIGHT = 48 };

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;
static const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};

static void begin(struct vhost_peer *peer, bool event_idx) {
	peer_init(peer, event_idx, false);
	qemu_start(peer, 0, 0);
	CHECK(create_2d(peer, 1, WIDTH, HEIGHT) == ok && set_scanout(peer, 0, 1, WIDTH, HEIGHT) == ok);
}

/* A queue that is not enabled is not served, keeps its place, and goes on with what is there. */
static void test_queues_are_disabled_and_enabled(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, true);
	for (int i = 0; i < 3; i++) {
		CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
		CHECK(qemu_state(&peer, VHOST_USER_SET_VRING_ENABLE, 0, 0) == 0);
		CHECK(take_used(&peer, 0, &hdr) == ok && peer_state(&peer) == RC_MACHINE_STOPPED);
		submit(&peer, 0, &info, sizeof(info));
		peer_turn(&peer);
		CHECK(!take_used(&peer, 0, &hdr));
		CHECK(qemu_state(&peer, VHOST_USER_SET_VRING_ENABLE, 0, 1) == 0);
		CHECK(take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
		CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && peer.scanouts[0].resource_id == 1);
	}
	peer_finish(&peer);
}

/* Other eventfds while the queue runs and a flush waits: no request and no interrupt is lost. */
static void test_eventfds_are_replaced(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, true);
	CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
	const int old_kick = peer.queues[0].kick, old_call = peer.queues[0].call;
	submit(&peer, 0, &info, sizeof(info)); /* kicks the old one, which nobody has read */
	eventfd_t count;
	CHECK(eventfd_read(old_kick, &count) == 0);
	peer.queues[0].kick = peer.queues[0].call = -1;
	CHECK(qemu_set_fd(&peer, VHOST_USER_SET_VRING_KICK, 0, &peer.queues[0].kick) == 0);
	CHECK(qemu_set_fd(&peer, VHOST_USER_SET_VRING_CALL, 0, &peer.queues[0].call) == 0);
	while (eventfd_read(peer.queues[0].call, &count) == 0) {
	}
	peer_service(&peer, rc_now_ns());
	CHECK(eventfd_read(peer.queues[0].call, &count) == 0);
	CHECK(take_used(&peer, 0, &hdr) == ok && take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	CHECK(eventfd_write(old_kick, 1) == 0 && poll(&(struct pollfd){peer.loop.epoll_fd, POLLIN, 0}, 1, 0) == 0);
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	close(old_kick);
	close(old_call);
	peer_finish(&peer);
}

/* A flush that waits while the index goes from 65535 to 0, and one more lap's worth of requests behind it. */
static void test_a_flush_waits_across_the_end_of_the_index(void) {
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		struct vhost_peer peer;
		struct virtio_gpu_ctrl_hdr hdr;
		eventfd_t calls;
		begin(&peer, event_idx);
		while (peer.queues[0].available != 65530) {
			CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
		}
		CHECK(flush(&peer, 1, WIDTH, HEIGHT) == 0);
		for (uint32_t i = 1; i < MAX_IN_FLIGHT; i++) {
			CHECK(ask(&peer, 0, &info, sizeof(info)) == 0);
		}
		while (eventfd_read(peer.queues[0].call, &calls) == 0) {
		}
		peer_service(&peer, rc_now_ns());
		CHECK(eventfd_read(peer.queues[0].call, &calls) == 0 && *ring_word(&peer, 0, 0x2002) == 26);
		CHECK(take_used(&peer, 0, &hdr) == ok);
		for (uint32_t i = 1; i < MAX_IN_FLIGHT; i++) {
			CHECK(take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
		}
		CHECK(qemu_stop_queue(&peer, 0) == 26);
		peer_finish(&peer);
	}
}

/* Queues of 1 and of 1024 entries, each with a waiting flush of one descriptor: full is full, and a stop answers all. */
static void test_queues_of_all_sizes(void) {
	for (uint32_t size = 1; size <= RC_VIRTQUEUE_MAX; size *= 2) {
		struct vhost_peer peer;
		peer_init(&peer, true, false);
		qemu_start(&peer, 0, 0);
		CHECK(create_2d(&peer, 1, WIDTH, HEIGHT) == ok && set_scanout(&peer, 0, 1, WIDTH, HEIGHT) == ok);
		qemu_stop_queue(&peer, 0);
		/* A pause, as far as the device knows, but for the ring's place: a driver that begins. */
		const uint64_t descriptors = RAM1_AT, available = RAM1_AT + 0x4000, used = RAM1_AT + 0x6000;
		const struct rc_vhost_vring_address address = {
			.descriptors = USER1, .available = USER1 + 0x4000, .used = USER1 + 0x6000};
		CHECK(qemu_state(&peer, VHOST_USER_SET_VRING_NUM, 0, size) == 0);
		CHECK(qemu_state(&peer, VHOST_USER_SET_VRING_BASE, 0, 0) == 0);
		CHECK(qemu_set(&peer, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address), NULL, 0) == 0);
		CHECK(qemu_set_fd(&peer, VHOST_USER_SET_VRING_KICK, 0, &peer.queues[0].kick) == 0);
		const struct virtio_gpu_resource_create_2d create = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
			.resource_id = 1,
			.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
			.width = WIDTH,
			.height = HEIGHT};
		const struct virtio_gpu_set_scanout set = {
			.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT, .r = {0, 0, WIDTH, HEIGHT}, .resource_id = 1};
		const struct virtio_gpu_resource_flush all = {
			.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {0, 0, WIDTH, HEIGHT}, .resource_id = 1};
		memcpy(guest_at(&peer, REQUESTS_AT), &create, sizeof(create));
		memcpy(guest_at(&peer, REQUESTS_AT + 256), &set, sizeof(set));
		memcpy(guest_at(&peer, REQUESTS_AT + 512), &all, sizeof(all));
		_Atomic uint16_t *index = guest_at(&peer, available + 2);
		const uint16_t *done = guest_at(&peer, used + 2);
		uint16_t next = 0;
		for (uint32_t i = 0; i < 2 + size; i++) {
			const uint32_t slot = i % size;
			const uint64_t request = REQUESTS_AT + 256 * (i < 2 ? i : 2);
			const uint32_t length = i == 0 ? sizeof(create) : i == 1 ? sizeof(set) : sizeof(all);
			put_descriptor(&peer, descriptors, slot, request, length, 0, 0);
			*(uint16_t *)guest_at(&peer, available + 4 + 2 * slot) = (uint16_t)slot;
			atomic_store(index, ++next);
			CHECK(eventfd_write(peer.queues[0].kick, 1) == 0);
			if (i < 2 || i % 100 == 0) {
				peer_turn(&peer);
				CHECK(*done == (i < 2 ? i + 1 : 2));
			}
		}
		peer_turn(&peer);
		CHECK(*done == 2 && peer.device->queues[0].running);
		CHECK(qemu_stop_queue(&peer, 0) == size + 2 && *done == size + 2);
		peer_finish(&peer);
	}
}

/* Refused, and nobody wants to know: not a byte comes back, or the next answer would be taken for this one's. */
static void test_no_answer_where_none_is_wanted(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	const struct rc_vhost_vring_state wrong = {0, 3};
	uint8_t answer[64];
	CHECK(qemu_ask(&peer, VHOST_USER_SET_VRING_NUM, 0, &wrong, sizeof(wrong), NULL, 0, answer, sizeof(answer)) == -1);
	CHECK(qemu_ask(&peer, VHOST_USER_SET_VRING_ENABLE, 0, &(struct rc_vhost_vring_state){7, 1}, 8, NULL, 0, answer,
			  sizeof(answer)) == -1);
	CHECK(qemu_get(&peer, VHOST_USER_GET_QUEUE_NUM) == 2);
	/* Need-reply on what replies anyway: one answer. */
	uint64_t value = 0;
	CHECK(qemu_ask(&peer, VHOST_USER_GET_QUEUE_NUM, RC_VHOST_NEED_REPLY, NULL, 0, NULL, 0, &value, sizeof(value)) == 8);
	CHECK(value == 2 && recv(peer.qemu, answer, sizeof(answer), MSG_DONTWAIT) < 0);
	peer_finish(&peer);
}

/* Pages punched out of the machine's memory read as zeros; nothing faults. */
static void test_memory_is_punched(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	memset(guest_at(&peer, RAM1_AT), 9, WIDTH * HEIGHT * 4);
	CHECK(attach(&peer, 1, RAM1_AT, WIDTH * HEIGHT * 4) == ok && transfer(&peer, 1, WIDTH, HEIGHT) == ok);
	CHECK(peer.scanouts[0].picture.surface->map[5000] == 9);
	CHECK(ftruncate(peer.ram_fd[1], 4096) < 0); /* sealed */
	CHECK(fallocate(peer.ram_fd[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, RAM1_SIZE) == 0);
	CHECK(transfer(&peer, 1, WIDTH, HEIGHT) == ok && peer.scanouts[0].picture.surface->map[5000] == 0);
	/* The rings too. */
	CHECK(fallocate(peer.ram_fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, RAM0_SIZE) == 0);
	CHECK(eventfd_write(peer.queues[0].kick, 1) == 0);
	peer_turn(&peer);
	CHECK(peer.device->queues[0].broken); /* its index went back */
	CHECK(fallocate(peer.journal, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, JOURNAL_BYTES) == 0);
	qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	CHECK(create_2d(&peer, 1, WIDTH, HEIGHT) == ok);
	peer_finish(&peer);
}

int main(void) {
	test_queues_are_disabled_and_enabled();
	test_eventfds_are_replaced();
	test_a_flush_waits_across_the_end_of_the_index();
	test_queues_of_all_sizes();
	test_no_answer_where_none_is_wanted();
	test_memory_is_punched();
	return 0;
}
