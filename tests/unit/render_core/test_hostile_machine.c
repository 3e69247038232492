/* SPDX-License-Identifier: Apache-2.0
 * Drivers that break their queues, and front-ends that break the protocol: one queue or one connection ends, nothing else does. */
#include "../../support/vhost_peer.h"

#include <pthread.h>

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;
static const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, TABLE = TABLES_AT };

static void begin(struct vhost_peer *peer, bool event_idx) {
	peer_init(peer, event_idx, false);
	qemu_start(peer, 0, 0);
	memcpy(guest_at(peer, REQUESTS_AT), &info, sizeof(info));
}

/* A queue that was stopped by what its driver did starts again with a driver that behaves. */
static void check_mends(struct vhost_peer *peer) {
	eventfd_t errors;
	CHECK(peer_state(peer) == RC_MACHINE_STOPPED && peer->device->queues[0].broken);
	CHECK(eventfd_read(peer->queues[0].error, &errors) == 0 && errors == 1);
	/* The other queue goes on. */
	const struct virtio_gpu_update_cursor body = {.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR};
	CHECK(ask(peer, RC_VHOST_CURSOR, &body, sizeof(body)) == ok);
	/* Kicks change nothing. */
	CHECK(eventfd_write(peer->queues[0].kick, 1) == 0);
	peer_turn(peer);
	CHECK(peer->device->queues[0].broken);
	qemu_stop_queue(peer, 0);
	driver_reset(peer);
	qemu_stop_queue(peer, 1);
	qemu_start(peer, 0, 0);
	CHECK(ask(peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	peer_finish(peer);
}

static void offer_and_turn(struct vhost_peer *peer, uint16_t head) {
	offer(peer, 0, head);
	peer_turn(peer);
}

static void test_broken_chains(void) {
	static const struct {
		const char *what;
		uint16_t head;
		struct test_descriptor ring[3], table[3];
	} cases[] = {
		{"loop of one", 0, {{REQUESTS_AT, 24, NEXT, 0}}, {{0}}},
		{"loop of two", 0, {{REQUESTS_AT, 24, NEXT, 1}, {REQUESTS_AT, 24, NEXT, 0}}, {{0}}},
		{"head", QUEUE_SIZE, {{REQUESTS_AT, 24, 0, 0}}, {{0}}},
		{"next", 0, {{REQUESTS_AT, 24, NEXT, QUEUE_SIZE}}, {{0}}},
		{"next far away", 0, {{REQUESTS_AT, 24, NEXT, 65535}}, {{0}}},
		{"length", 0, {{RAM0_SIZE - 8, 24, 0, 0}}, {{0}}},
		{"length of 4 GiB", 0, {{REQUESTS_AT, UINT32_MAX, 0, 0}}, {{0}}},
		{"address", 0, {{0x80000000, 24, 0, 0}}, {{0}}},
		{"address at the end", 0, {{UINT64_MAX, 24, 0, 0}}, {{0}}},
		{"address that wraps", 0, {{UINT64_MAX - 7, 24, WRITE, 0}}, {{0}}},
		{"response outside", 0, {{REQUESTS_AT, 24, NEXT, 1}, {RAM1_AT + RAM1_SIZE, 24, WRITE, 0}}, {{0}}},
		{"readable after writable", 0, {{RESPONSES_AT, 24, WRITE | NEXT, 1}, {REQUESTS_AT, 24, 0, 0}}, {{0}}},
		{"indirect that goes on", 0, {{TABLE, 16, INDIRECT | NEXT, 1}}, {{REQUESTS_AT, 24, 0, 0}}},
		{"indirect inside indirect", 0, {{TABLE, 32, INDIRECT, 0}},
			{{REQUESTS_AT, 24, NEXT, 1}, {TABLE, 32, INDIRECT, 0}}},
		{"indirect loop", 0, {{TABLE, 32, INDIRECT, 0}}, {{REQUESTS_AT, 24, NEXT, 1}, {REQUESTS_AT, 24, NEXT, 0}}},
		{"indirect next", 0, {{TABLE, 32, INDIRECT, 0}}, {{REQUESTS_AT, 24, NEXT, 2}}},
		{"indirect of no bytes", 0, {{TABLE, 0, INDIRECT, 0}}, {{0}}},
		{"indirect of a part", 0, {{TABLE, 17, INDIRECT, 0}}, {{0}}},
		{"indirect too long", 0, {{TABLE, 16 * (RC_VIRTQUEUE_MAX + 1), INDIRECT, 0}}, {{0}}},
		{"indirect past the end", 0, {{RAM0_SIZE - 16, 32, INDIRECT, 0}}, {{0}}},
		{"indirect nowhere", 0, {{0x80000000, 32, INDIRECT, 0}}, {{0}}},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vhost_peer peer;
		begin(&peer, i % 2);
		memcpy(guest_at(&peer, peer.queues[0].at), cases[i].ring, sizeof(cases[i].ring));
		memcpy(guest_at(&peer, TABLE), cases[i].table, sizeof(cases[i].table));
		offer_and_turn(&peer, cases[i].head);
		if (!peer.device->queues[0].broken) {
			fprintf(stderr, "%s was taken\n", cases[i].what);
			abort();
		}
		check_mends(&peer);
	}
}

static void test_an_index_that_jumps(void) {
	for (int back = 0; back < 2; back++) {
		struct vhost_peer peer;
		begin(&peer, true);
		CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
		*ring_word(&peer, 0, 0x1002) = back ? 0 : 1 + QUEUE_SIZE + 1;
		CHECK(eventfd_write(peer.queues[0].kick, 1) == 0);
		peer_turn(&peer);
		check_mends(&peer);
	}
}

/* As many descriptors as the rules allow are no error, whatever their sizes. */
static void test_a_request_in_single_bytes(void) {
	struct vhost_peer peer;
	begin(&peer, false);
	const uint32_t readable = sizeof(info), count = RC_VIRTQUEUE_MAX;
	for (uint32_t i = 0; i < count; i++) {
		const bool write = i >= readable;
		put_descriptor(&peer, TABLE, i, write ? RESPONSES_AT + i - readable : REQUESTS_AT + i, 1,
			(uint16_t)((write ? WRITE : 0) | (i + 1 < count ? NEXT : 0)), (uint16_t)(i + 1));
	}
	put_descriptor(&peer, peer.queues[0].at, 0, TABLE, 16 * count, INDIRECT, 0);
	memcpy(guest_at(&peer, REQUESTS_AT), &info, sizeof(info));
	offer_and_turn(&peer, 0);
	struct virtio_gpu_ctrl_hdr hdr;
	CHECK(take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	peer_finish(&peer);
}

/* No room for the response, no request, or a longer one than any is. */
static void test_odd_chains_are_answered(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	put_descriptor(&peer, peer.queues[0].at, 0, REQUESTS_AT, 24, 0, 0);
	offer_and_turn(&peer, 0);
	CHECK(*ring_word(&peer, 0, 0x2002) == 1 && *ring_word(&peer, 0, 0x2004 + 4) == 0);
	put_descriptor(&peer, peer.queues[0].at, 0, RESPONSES_AT, 24, WRITE, 0);
	offer_and_turn(&peer, 0);
	struct virtio_gpu_ctrl_hdr hdr;
	memcpy(&hdr, guest_at(&peer, RESPONSES_AT), sizeof(hdr));
	CHECK(*ring_word(&peer, 0, 0x2002) == 2 && hdr.type == VIRTIO_GPU_RESP_ERR_UNSPEC);
	put_descriptor(&peer, peer.queues[0].at, 0, RAM1_AT, RAM1_SIZE, NEXT, 1);
	put_descriptor(&peer, peer.queues[0].at, 1, RESPONSES_AT, 3, WRITE, 0);
	*(uint32_t *)guest_at(&peer, RAM1_AT) = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING;
	offer_and_turn(&peer, 0);
	CHECK(*ring_word(&peer, 0, 0x2002) == 3 && *ring_word(&peer, 0, 0x2004 + 16 + 4) == 3); /* cut to fit */
	CHECK(!peer.device->queues[0].broken);
	peer_finish(&peer);
}

static void test_wrong_requests_get_errors(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	const uint32_t parameter = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
				   resource = VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	CHECK(create_2d(&peer, 1, 1u << 31, 1) == parameter && create_2d(&peer, 1, 1, 1u << 31) == parameter);
	CHECK(create_2d(&peer, 1, 65536, 32768) == parameter && create_2d(&peer, 0, 16, 16) == resource);
	CHECK(create_2d(&peer, 1, 64, 64) == ok && create_2d(&peer, 1, 64, 64) == resource);
	CHECK(attach(&peer, 1, RAM0_SIZE, 4096) == parameter && attach(&peer, 9, 0, 4096) == resource);
	CHECK(attach(&peer, 1, RAM0_SIZE - 4096, 8192) == parameter && attach(&peer, 1, UINT64_MAX, 1) == parameter);
	CHECK(set_scanout(&peer, 16, 1, 64, 64) == VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	CHECK(set_scanout(&peer, UINT32_MAX, 1, 64, 64) == VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	CHECK(set_scanout(&peer, 0, 9, 64, 64) == resource && set_scanout(&peer, 0, 1, 65, 64) == parameter);
	CHECK(transfer(&peer, 1, 64, 64) == parameter); /* no backing */
	CHECK(flush(&peer, 9, 64, 64) == resource && simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 9) == resource);
	CHECK(simple(&peer, 0xffffffff, 1) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	const struct virtio_gpu_resource_attach_backing many = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = 1, .nr_entries = UINT32_MAX};
	CHECK(ask(&peer, 0, &many, sizeof(many)) == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	peer_finish(&peer);
}

/* Errors without end: the log has a limit, the guest gets all its answers. */
static void test_floods_do_not_fill_the_log(void) {
	struct vhost_peer peer;
	int log[2];
	CHECK(pipe2(log, O_CLOEXEC | O_NONBLOCK) == 0);
	begin(&peer, true);
	peer.log.fd = log[1];
	peer.log.level = RC_LOG_DEBUG;
	for (int i = 0; i < 5000; i++) {
		CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 9) == VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
		CHECK(qemu_set(&peer, 99, NULL, 0, NULL, 0) == 1);
	}
	static char text[1 << 16];
	ssize_t size = read(log[0], text, sizeof(text));
	uint32_t lines = 0;
	for (ssize_t i = 0; i < size; i++) {
		lines += text[i] == '\n';
	}
	CHECK(lines >= 1 && lines <= 30 * RC_LOG_BURST); /* some a second, on however slow a machine */
	peer_finish(&peer);
	close(log[0]);
	close(log[1]);
}

/* One turn does not last for ever: what is left is done in the next. */
static void test_a_full_queue_is_served_to_the_end(void) {
	struct vhost_peer peer;
	struct virtio_gpu_ctrl_hdr hdr;
	begin(&peer, true);
	CHECK(create_2d(&peer, 1, 4096, 4096) == ok);
	/* One page, again and again: 64 MiB a transfer. */
	static struct {
		struct virtio_gpu_resource_attach_backing head;
		struct virtio_gpu_mem_entry entries[128];
	} body = {.head = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = 1, .nr_entries = 128}};
	for (int i = 0; i < 128; i++) {
		body.entries[i] = (struct virtio_gpu_mem_entry){RAM1_AT, 1 << 19, 0};
	}
	CHECK(ask(&peer, 0, &body, sizeof(body)) == ok);
	const struct virtio_gpu_transfer_to_host_2d all = {
		.hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, .r = {0, 0, 4096, 4096}, .resource_id = 1};
	for (int i = 0; i < 6; i++) {
		submit(&peer, 0, &all, sizeof(all));
	}
	rc_loop_wait(&peer.loop, UINT64_MAX); /* the kick */
	CHECK((uint16_t)(*ring_word(&peer, 0, 0x2002) - peer.queues[0].seen) < 6);
	/* And the other queue does not wait for the end of it. */
	const struct virtio_gpu_update_cursor move = {.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR};
	submit(&peer, RC_VHOST_CURSOR, &move, sizeof(move));
	rc_loop_wait(&peer.loop, UINT64_MAX);
	CHECK(take_used(&peer, RC_VHOST_CURSOR, &hdr) == ok);
	CHECK((uint16_t)(*ring_word(&peer, 0, 0x2002) - peer.queues[0].seen) < 6);
	peer_turn(&peer);
	for (int i = 0; i < 6; i++) {
		CHECK(take_used(&peer, 0, &hdr) == ok);
	}
	peer_finish(&peer);
}

/* ---- memory that is written while it is read ---- */

struct scribbler {
	struct vhost_peer *peer;
	_Atomic bool stop;
};

static uint64_t next_random(uint64_t *state) {
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

enum { SLOTS = 8, SLOT_BYTES = 256 };

/* Overwrite one field of a request, a descriptor or a ring. */
static void scribble_once(struct vhost_peer *peer, uint64_t *state) {
	static const uint32_t words[] = {0, 1, 2, 3, 16, 64, 4096, RAM0_SIZE, RAM0_SIZE - 4096, 1u << 31, UINT32_MAX};
	const uint64_t r = next_random(state), s = next_random(state);
	const uint32_t queue = r & 1;
	volatile uint32_t *request = guest_at(peer, REQUESTS_AT + SLOT_BYTES * (r >> 1 & (SLOTS - 1)));
	volatile struct test_descriptor *table =
		guest_at(peer, (r >> 4 & 3 ? peer->queues[queue].at : TABLES_AT) + 16 * (r >> 6 & 15));
	switch (r >> 16 & 15) {
	case 0:
		table->address = s & 1 ? TABLES_AT : s;
		break;
	case 1:
		table->length = (uint32_t)(s >> (s & 31));
		break;
	case 2:
		table->flags = s & 7;
		break;
	case 3:
		table->next = s & 31;
		break;
	case 4:
		*(volatile uint16_t *)ring_word(peer, queue, 0x1004 + 2 * (s & 63)) = s >> 8 & 15;
		break;
	case 5:
		*(volatile uint16_t *)ring_word(peer, queue, 0x1002) = (uint16_t)s;
		break;
	default:
		request[s % 32] = words[(s >> 8) % (sizeof(words) / sizeof(words[0]))];
	}
}

/* What is checked before this writes, and used after it, would be found. */
static void *scribble(void *argument) {
	struct scribbler *scribbler = argument;
	uint64_t state = 88172645463325252u;
	while (!atomic_load(&scribbler->stop)) {
		scribble_once(scribbler->peer, &state);
		usleep(next_random(&state) % 50);
	}
	return NULL;
}

/* A picture is made, shown and ended, all of it at once. */
static void put_requests(struct vhost_peer *peer) {
	const struct virtio_gpu_ctrl_hdr types[SLOTS] = {{.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D},
		{.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING}, {.type = VIRTIO_GPU_CMD_SET_SCANOUT},
		{.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D}, {.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH},
		{.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH}, {.type = VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING},
		{.type = VIRTIO_GPU_CMD_RESOURCE_UNREF}};
	/* What follows the header, of each of them. */
	static const uint32_t fields[SLOTS][12] = {{1, 2, 16, 16},
		{1, 2, PIXELS_AT, 0, 512, 0, PIXELS_AT + 4096, 0, 512, 0}, {0, 0, 16, 16, 0, 1}, {0, 0, 16, 16, 0, 0, 1, 0},
		{0, 0, 16, 16, 1, 0}, {0, 0, 8, 8, 1, 0}, {1, 0}, {1, 0}};
	static const uint32_t counts[SLOTS] = {4, 10, 6, 8, 6, 6, 2, 2};
	for (uint32_t i = 0; i < SLOTS; i++) {
		const uint64_t at = REQUESTS_AT + SLOT_BYTES * (uint64_t)i;
		memcpy(guest_at(peer, at), &types[i], sizeof(types[i]));
		memcpy(guest_at(peer, at + sizeof(types[i])), fields[i], 4 * counts[i]);
		put_descriptor(peer, peer->queues[0].at, 2 * i, at, (uint32_t)sizeof(types[i]) + 4 * counts[i], NEXT,
			(uint16_t)(2 * i + 1));
		put_descriptor(peer, peer->queues[0].at, 2 * i + 1, RESPONSES_AT + 2048 * (uint64_t)i, 512, WRITE, 0);
		const uint16_t index = (uint16_t)(*ring_word(peer, 0, 0x2002) + i);
		*ring_word(peer, 0, 0x1004 + 2 * (uint64_t)(index % QUEUE_SIZE)) = (uint16_t)(2 * i);
	}
	*ring_word(peer, 0, 0x1002) = (uint16_t)(*ring_word(peer, 0, 0x2002) + SLOTS);
}

static void test_memory_that_is_written_meanwhile(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	peer_watch(&peer);
	struct scribbler scribbler = {.peer = &peer};
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, scribble, &scribbler) == 0);
	uint64_t now = rc_now_ns();
	uint64_t state = 362436069;
	uint32_t served = 0;
	for (uint32_t i = 0; i < 3000; i++) {
		const uint16_t before = *ring_word(&peer, 0, 0x2002);
		put_requests(&peer);
		/* The other thread may not get to run. */
		for (uint32_t k = i % 4; k; k--) {
			scribble_once(&peer, &state);
		}
		for (uint32_t q = 0; q < RC_VHOST_QUEUES; q++) {
			CHECK(eventfd_write(peer.queues[q].kick, 1) == 0);
		}
		peer_turn(&peer);
		peer_service(&peer, now += 20000000);
		peer_service(&peer, now += 20000000);
		served += (uint16_t)(*ring_word(&peer, 0, 0x2002) - before);
		for (uint32_t q = 0; q < RC_VHOST_QUEUES; q++) {
			if (peer.device->queues[q].broken) {
				qemu_start_queue(&peer, q, qemu_stop_queue(&peer, q));
			}
		}
		if (i % 100 == 99) {
			peer_kill_device(&peer);
			peer_connect(&peer, true);
			qemu_start(&peer, 0, 0);
		}
	}
	/* Some of it got through: how much, the other thread's luck decides. */
	CHECK(served > 100 && peer.scanouts[0].shown > 0);
	atomic_store(&scribbler.stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	memcpy(guest_at(&peer, REQUESTS_AT), &info, sizeof(info));
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	peer_finish(&peer);
}

/* ---- the front-end ---- */

/* Refused, and the connection goes on. */
static void refused(struct vhost_peer *peer, uint32_t request, const void *payload, size_t size, uint32_t fd_count) {
	const int fds[2] = {peer->ram_fd[0], peer->ram_fd[1]};
	CHECK(qemu_set(peer, request, payload, size, fds, fd_count) == 1);
	CHECK(qemu_get(peer, VHOST_USER_GET_QUEUE_NUM) == 2);
}

static void test_short_and_wrong_messages(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	const uint8_t zeros[64] = {0};
	refused(&peer, VHOST_USER_SET_FEATURES, zeros, 7, 0);
	refused(&peer, VHOST_USER_SET_FEATURES, zeros, 8, 1);
	refused(&peer, VHOST_USER_SET_OWNER, zeros, 4, 0);
	refused(&peer, VHOST_USER_SET_VRING_NUM, zeros, 4, 0);
	refused(&peer, VHOST_USER_SET_VRING_ADDR, zeros, 39, 0);
	refused(&peer, VHOST_USER_SET_VRING_KICK, zeros, 8, 0);
	refused(&peer, VHOST_USER_SET_VRING_CALL, zeros, 8, 2);
	refused(&peer, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, 0);
	refused(&peer, VHOST_USER_GPU_SET_SOCKET, NULL, 0, 2);
	refused(&peer, VHOST_USER_SET_MEM_TABLE, zeros, 4, 0);
	const uint64_t queue = 2, no_fd = RC_VHOST_NO_FD, packed = UINT64_C(1) << 34;
	refused(&peer, VHOST_USER_SET_VRING_CALL, &queue, 8, 1);
	refused(&peer, VHOST_USER_SET_VRING_KICK, &no_fd, 8, 0);
	refused(&peer, VHOST_USER_SET_VRING_CALL, &no_fd, 8, 1);
	refused(&peer, VHOST_USER_SET_FEATURES, &packed, 8, 0);
	refused(&peer, VHOST_USER_SET_PROTOCOL_FEATURES, &packed, 8, 0);
	const uint32_t states[][2] = {{0, 64}, {2, 64}, {UINT32_MAX, 64}};
	for (int i = 0; i < 3; i++) {
		refused(&peer, VHOST_USER_SET_VRING_NUM, states[i], 8, 0); /* the first: it runs */
	}
	qemu_stop_queue(&peer, 0);
	const uint32_t sizes[] = {0, 3, 65, 2048, UINT32_MAX};
	for (int i = 0; i < 5; i++) {
		const uint32_t state[2] = {0, sizes[i]};
		refused(&peer, VHOST_USER_SET_VRING_NUM, state, 8, 0);
	}
	const uint32_t base[2] = {0, 65536};
	refused(&peer, VHOST_USER_SET_VRING_BASE, base, 8, 0);
	CHECK(!peer.device->closed);
	peer_finish(&peer);
}

static void test_wrong_memory_tables(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	struct rc_vhost_mem_table table = {.count = 9};
	refused(&peer, VHOST_USER_SET_MEM_TABLE, &table, sizeof(table), 0);
	table = (struct rc_vhost_mem_table){.count = UINT32_MAX};
	refused(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8, 0);
	table = (struct rc_vhost_mem_table){.count = 2, .regions = {{0, RAM0_SIZE, 0, 0}, {4096, RAM1_SIZE, 0, 0}}};
	refused(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 64, 1); /* one fd for two */
	refused(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 64, 2); /* they overlap */
	const struct rc_vhost_region wrong[] = {{0, RAM0_SIZE + 4096, 0, 0}, {0, RAM0_SIZE, 0, 4096}, {0, 100, 0, 0},
		{0, 0, 0, 0}, {1, RAM0_SIZE, 0, 0}, {0, UINT64_MAX - 4095, 0, 4096}, {UINT64_MAX - 4095, 4096, 0, 0},
		{0, 4096, 0, UINT64_MAX - 4095}};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		table = (struct rc_vhost_mem_table){.count = 1, .regions = {wrong[i]}};
		refused(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32, 1);
	}
	/* A region that could be cut short under our mapping: not a memfd, or not sealed. */
	const int fds[2] = {peer_memfd(RAM0_SIZE, 0), eventfd(0, EFD_CLOEXEC)};
	for (int i = 0; i < 2; i++) {
		table = (struct rc_vhost_mem_table){.count = 1, .regions = {{0, RAM0_SIZE, USER0, 0}}};
		CHECK(qemu_set(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32, &fds[i], 1) == 1);
		close(fds[i]);
	}
	/* User addresses say nothing but where rings are. */
	table = (struct rc_vhost_mem_table){.count = 1, .regions = {{0, RAM0_SIZE, UINT64_MAX - 8, 0}}};
	CHECK(qemu_set(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32, peer.ram_fd, 1) == 0);
	qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	peer_finish(&peer);
}

/* Wherever rings are said to be. */
static void test_ring_addresses(void) {
	static const uint64_t addresses[] = {0, 1, USER0 - 16, USER0 + RAM0_SIZE - 16, USER0 + RAM0_SIZE, USER0 + 8,
		USER1 + RAM1_SIZE, UINT64_MAX, UINT64_MAX - 15, UINT64_C(1) << 63};
	for (size_t i = 0; i < 3 * sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct vhost_peer peer;
		begin(&peer, true);
		qemu_stop_queue(&peer, 0);
		uint64_t parts[3] = {USER0 + 0x1000, USER0 + 0x3000, USER0 + 0x2000};
		parts[i % 3] = addresses[i / 3];
		struct rc_vhost_vring_address address = {.descriptors = parts[0], .used = parts[1], .available = parts[2]};
		CHECK(qemu_set(&peer, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address), NULL, 0) == 0);
		CHECK(qemu_set_fd(&peer, VHOST_USER_SET_VRING_KICK, 0, &peer.queues[0].kick) == 0);
		CHECK(peer.device->queues[0].broken || addresses[i / 3] == USER0 + 8);
		peer_finish(&peer);
	}
}

static void test_bytes_come_one_at_a_time(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	const struct rc_vhost_header header = {VHOST_USER_GET_QUEUE_NUM, RC_VHOST_VERSION, 0};
	struct {
		struct rc_vhost_header header;
		uint64_t value;
	} __attribute__((packed)) reply;
	for (size_t i = 0; i < sizeof(header); i++) {
		CHECK(recv(peer.qemu, &reply, sizeof(reply), MSG_DONTWAIT) < 0);
		qemu_send(&peer, (const uint8_t *)&header + i, 1, NULL, 0);
		peer_turn(&peer);
	}
	CHECK(recv(peer.qemu, &reply, sizeof(reply), MSG_DONTWAIT) == (ssize_t)sizeof(reply) && reply.value == 2);
	peer_finish(&peer);
}

/* A guest that has its memory's table changed again and again, with a resource in each region that was: a reset mends it. */
static void test_memory_that_changes_without_end(void) {
	struct vhost_peer peer;
	begin(&peer, true);
	uint32_t refused_at = 0;
	for (uint32_t i = 1; i <= RC_MAX_REGIONS && !refused_at; i++) {
		struct rc_vhost_mem_table table = {
			.count = 2, .regions = {{0, RAM0_SIZE, USER0, 0}, {RAM1_AT, RAM1_SIZE - 4096 * i, USER1, 0}}};
		if (qemu_set(&peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 64, peer.ram_fd, 2) != 0) {
			refused_at = i;
		} else {
			CHECK(create_2d(&peer, i, 16, 16) == ok && attach(&peer, i, RAM1_AT, 1024) == ok);
		}
	}
	CHECK(refused_at > 32 && peer.device->gpu.memory.count == RC_MAX_REGIONS);
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO); /* its queues lie elsewhere */
	qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	CHECK(peer.device->gpu.memory.count == 2 && create_2d(&peer, 1, 16, 16) == ok);
	CHECK(attach(&peer, 1, RAM1_AT, RAM1_SIZE) == ok);
	peer_finish(&peer);
}

/* What cannot be understood, or not be answered, ends the connection; the picture stays. */
static void test_what_ends_the_connection(void) {
	for (int kind = 0; kind < 6; kind++) {
		struct vhost_peer peer;
		begin(&peer, true);
		CHECK(create_2d(&peer, 1, 64, 64) == ok && set_scanout(&peer, 0, 1, 64, 64) == ok);
		CHECK(flush(&peer, 1, 64, 64) == 0); /* and one waits */
		struct rc_vhost_header header = {VHOST_USER_GET_QUEUE_NUM, RC_VHOST_VERSION, 0};
		const int fds[12] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2};
		uint32_t fd_count = 0;
		switch (kind) {
		case 0:
			header.flags = 2;
			break;
		case 1:
			header.flags |= RC_VHOST_REPLY;
			break;
		case 2:
			header.size = RC_VHOST_MAX_PAYLOAD + 1;
			break;
		case 3:
			fd_count = 12;
			break;
		case 4:
			header.size = UINT32_MAX;
			break;
		default:
			close(peer.qemu);
			peer.qemu = -1;
		}
		if (peer.qemu >= 0) {
			qemu_send(&peer, &header, sizeof(header), fds, fd_count);
		}
		peer_turn(&peer);
		CHECK(!peer.device && peer.scanouts[0].picture.surface && rc_list_empty(&peer.scanouts[0].completions));
		peer_finish(&peer);
	}
}

static void test_wrong_journals(void) {
	struct vhost_peer peer;
	struct rc_vhost_device *device;
	peer_init(&peer, true, true);
	const int fds[] = {peer_memfd(JOURNAL_BYTES, 0), peer_memfd(4096, F_SEAL_SHRINK),
		peer_memfd((size_t)1 << 30, F_SEAL_SHRINK), eventfd(0, EFD_CLOEXEC)};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		const struct rc_vhost_device_params params = {.loop = &peer.loop,
			.log = &peer.log,
			.scanouts = peer.scanouts,
			.socket_fd = peer.qemu,
			.journal_fd = fds[i],
			.owner = &peer,
			.changed = peer_note_state};
		CHECK(rc_vhost_device_create(&params, &device) != NULL && fcntl(peer.qemu, F_GETFD) >= 0);
		close(fds[i]);
	}
	peer_finish(&peer);
}

int main(void) {
	test_broken_chains();
	test_an_index_that_jumps();
	test_a_request_in_single_bytes();
	test_odd_chains_are_answered();
	test_wrong_requests_get_errors();
	test_floods_do_not_fill_the_log();
	test_a_full_queue_is_served_to_the_end();
	test_memory_that_is_written_meanwhile();
	test_short_and_wrong_messages();
	test_wrong_memory_tables();
	test_memory_that_changes_without_end();
	test_ring_addresses();
	test_bytes_come_one_at_a_time();
	test_what_ends_the_connection();
	test_wrong_journals();
	return 0;
}
