/* SPDX-License-Identifier: Apache-2.0
 * Workers of a virtual machine that die at any moment: what the next one goes on with. */
#include "../../support/vhost_peer.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { PROGRESS = 48, STATE = 8 };

static const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;

static void begin(struct vhost_peer *peer, size_t journal_bytes) {
	peer_init_journal(peer, false, false, journal_bytes);
	qemu_start(peer, 0, 0);
}

static void take_over(struct vhost_peer *peer) {
	peer_kill_device(peer);
	peer_connect(peer, true);
	qemu_start(peer, 0, 0);
}

/* The word in which a worker says how far it is. */
static uint64_t *progress(struct vhost_peer *peer) {
	uint8_t *head = (uint8_t *)peer->device->journal.head;
	return (uint64_t *)(void *)(head + PROGRESS) + (head[STATE] & 1);
}

/* ---- what a driver does that makes and ends resources; request `n` depends on n alone ---- */

enum { LIVE = 40, CYCLE = 4 };

static uint32_t id_of(uint32_t n) {
	return 1 + n / CYCLE;
}

/* Make a resource, back it, show it; end the one that was made LIVE resources ago. */
static size_t make_request(uint32_t n, uint8_t *request) {
	const uint32_t id = id_of(n);
	union {
		struct virtio_gpu_resource_create_2d create;
		struct {
			struct virtio_gpu_resource_attach_backing head;
			struct virtio_gpu_mem_entry entries[2];
		} attach;
		struct virtio_gpu_set_scanout set;
		struct virtio_gpu_resource_unref unref;
		struct virtio_gpu_ctrl_hdr info;
	} body = {{.hdr = {0}}};
	size_t size;
	switch (n % CYCLE) {
	case 0:
		body.create = (struct virtio_gpu_resource_create_2d){.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
			.resource_id = id,
			.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
			.width = 16,
			.height = 16};
		size = sizeof(body.create);
		break;
	case 1:
		body.attach.head = (struct virtio_gpu_resource_attach_backing){
			.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = id, .nr_entries = 2};
		body.attach.entries[0] = (struct virtio_gpu_mem_entry){PIXELS_AT + 4096 * (id % 16), 512, 0};
		body.attach.entries[1] = (struct virtio_gpu_mem_entry){RAM1_AT + 4096 * (id % 64), 512, 0};
		size = sizeof(body.attach);
		break;
	case 2:
		body.set = (struct virtio_gpu_set_scanout){
			.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT, .r = {0, 0, 16, 16}, .scanout_id = id % 3, .resource_id = id};
		size = sizeof(body.set);
		break;
	default:
		body.unref = (struct virtio_gpu_resource_unref){
			.hdr.type = id > LIVE ? VIRTIO_GPU_CMD_RESOURCE_UNREF : VIRTIO_GPU_CMD_GET_DISPLAY_INFO,
			.resource_id = id - LIVE};
		size = id > LIVE ? sizeof(body.unref) : sizeof(body.info);
	}
	memcpy(request, &body, size);
	return size;
}

static bool is_good(uint32_t n, uint32_t answer) {
	return answer == (n % CYCLE == 3 && id_of(n) <= LIVE ? VIRTIO_GPU_RESP_OK_DISPLAY_INFO : ok);
}

/* What there must be after request `n`, and nothing else. */
static void check_resources(struct vhost_peer *peer, uint32_t n) {
	const uint32_t newest = id_of(n), ended = n % CYCLE == 3 ? newest : newest - 1;
	uint32_t count = 0;
	for (uint32_t i = 0; i < RC_MAX_RESOURCES; i++) {
		const struct rc_resource *resource = &peer->device->gpu.resources.entries[i];
		if (resource->id) {
			CHECK(resource->id <= newest && (ended < LIVE || resource->id > ended - LIVE));
			CHECK(resource->backing_bytes == (resource->id == newest && n % CYCLE == 0 ? 0 : 1024));
			count++;
		}
	}
	CHECK(count == newest - (ended > LIVE ? ended - LIVE : 0));
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t shown = n % CYCLE >= 2 ? newest : newest - 1;
		while (shown && shown % 3 != i) {
			shown--;
		}
		CHECK(peer->scanouts[i].resource_id == shown);
	}
}

static void run_driver(struct vhost_peer *peer, uint32_t n) {
	for (;; n++) {
		uint8_t request[256];
		struct virtio_gpu_ctrl_hdr hdr;
		submit(peer, 0, request, make_request(n, request));
		peer_turn(peer);
		CHECK(is_good(n, take_used(peer, 0, &hdr)));
	}
}

/* A worker, and the driver with it, in a process of its own that is killed at any instruction. */
static void kill_one(struct vhost_peer *peer, uint32_t n, unsigned after_us) {
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		run_driver(peer, n);
	}
	usleep(after_us);
	int status;
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* and by nothing else */
}

static void test_killed_at_any_moment(void) {
	struct vhost_peer peer;
	begin(&peer, SMALL_JOURNAL_BYTES);
	uint32_t n = 0, compacted = 0, half = 0;
	srand(7);
	/* Slow machines need more, and longer, to get so far. */
	for (unsigned i = 0; i < 100 || n <= 500 || compacted <= 2; i++) {
		kill_one(&peer, n, (unsigned)rand() % (4000 * (1 + i / 100)));
		/* What the driver in that process did is in the rings. A request that is half made available is not. */
		struct driver_queue *queue = &peer.queues[0];
		const uint16_t available = *ring_word(&peer, 0, 0x1002), used = *ring_word(&peer, 0, 0x2002);
		n += (uint16_t)(available - queue->available);
		queue->available = available;
		queue->seen = used;
		const uint32_t now = ((uint8_t *)peer.device->journal.head)[STATE] & 1;
		compacted += now != half;
		take_over(&peer);
		half = ((uint8_t *)peer.device->journal.head)[STATE] & 1;
		CHECK(peer_state(&peer) == RC_MACHINE_RUNNING); /* and not INCOMPLETE */
		struct virtio_gpu_ctrl_hdr hdr;
		for (uint32_t late = n - (uint16_t)(available - used); late != n; late++) {
			CHECK(is_good(late, take_used(&peer, 0, &hdr)));
		}
		CHECK(!take_used(&peer, 0, &hdr));
		if (n) {
			check_resources(&peer, n - 1);
		}
	}
	peer_finish(&peer);
}

/* A record that counts is of a request that is not executed again: there is no moment between. */
static void test_a_record_says_that_its_request_is_executed(void) {
	struct vhost_peer peer;
	begin(&peer, SMALL_JOURNAL_BYTES);
	CHECK(create_2d(&peer, 1, 16, 16) == ok);
	uint8_t request[256];
	for (uint32_t i = 0; i < 2000; i++) {
		const size_t size = make_request(4 * i, request);
		const uint32_t half = ((uint8_t *)peer.device->journal.head)[STATE] & 1;
		const uint64_t before = *progress(&peer);
		rc_journal_begin(&peer.device->journal);
		CHECK(*progress(&peer) == (before | UINT64_C(1) << 48));
		rc_journal_note_control(&peer.device->journal, &peer.device->gpu, request, size, (uint16_t)(i + 2));
		const uint64_t after = *progress(&peer);
		const bool compacted = half != (((uint8_t *)peer.device->journal.head)[STATE] & 1);
		CHECK(after >> 32 == i + 2 && (compacted || (uint32_t)after > (uint32_t)before));
	}
	peer_finish(&peer);
}

/* ---- one that was taken over, and then reset before anything of it was served ---- */

static void test_a_driver_that_begins_after_one_that_was_taken_over(void) {
	struct vhost_peer peer;
	begin(&peer, JOURNAL_BYTES);
	CHECK(create_2d(&peer, 1, 64, 64) == ok && set_scanout(&peer, 0, 1, 64, 64) == ok);
	CHECK(flush(&peer, 1, 64, 64) == 0 && create_2d(&peer, 2, 64, 64) == 0); /* executed, not given back */
	peer_kill_device(&peer);
	peer_connect(&peer, true);
	/* Started and stopped in one breath: the worker serves nothing between. */
	const uint64_t features = UINT64_C(1) << 32 | UINT64_C(1) << 30;
	CHECK(qemu_set(&peer, VHOST_USER_SET_FEATURES, &features, sizeof(features), NULL, 0) == 0);
	CHECK(qemu_set_memory(&peer, 2) == 0 && qemu_state(&peer, VHOST_USER_SET_VRING_NUM, 0, QUEUE_SIZE) == 0);
	CHECK(qemu_set_ring(&peer, 0, peer.queues[0].at) == 0);
	CHECK(qemu_set_fd(&peer, VHOST_USER_SET_VRING_KICK, 0, &peer.queues[0].kick) == 0);
	const struct {
		struct rc_vhost_header header;
		struct rc_vhost_vring_state state;
	} messages[2] = {{{VHOST_USER_SET_VRING_ENABLE, RC_VHOST_VERSION, 8}, {0, 1}},
		{{VHOST_USER_GET_VRING_BASE, RC_VHOST_VERSION, 8}, {0, 0}}};
	qemu_send(&peer, messages, sizeof(messages), NULL, 0);
	peer_turn(&peer);
	uint8_t reply[64];
	CHECK(recv(peer.qemu, reply, sizeof(reply), MSG_DONTWAIT) == 20 && peer_state(&peer) == RC_MACHINE_STOPPED);
	CHECK(peer.device->executed_before == 2);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	CHECK(create_2d(&peer, 1, 64, 64) == ok && create_2d(&peer, 2, 64, 64) == ok);
	CHECK(rc_resource_find(&peer.device->gpu.resources, 1) && rc_resource_find(&peer.device->gpu.resources, 2));
	peer_finish(&peer);
}

/* The journal is another queue's, and the worker that found that dies before it has served anything: what waits was executed by nobody. */
static void test_killed_before_anything_was_served(void) {
	struct vhost_peer peer;
	begin(&peer, JOURNAL_BYTES);
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	struct virtio_gpu_ctrl_hdr hdr;
	/* So near to the index's end that 0, as it was, would seem to be a little ahead. */
	while (peer.queues[0].available != 65530) {
		submit(&peer, 0, &info, sizeof(info));
		peer_turn(&peer);
		CHECK(take_used(&peer, 0, &hdr) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	}
	for (int i = 0; i < 2; i++) {
		if (i == 0) {
			memset(peer.device->journal.head, 0, 16384);
		} else {
			const struct virtio_gpu_resource_create_2d create = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
				.resource_id = 1,
				.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
				.width = 16,
				.height = 16};
			submit(&peer, 0, &create, sizeof(create)); /* after the worker's last breath */
		}
		take_over(&peer);
	}
	CHECK(take_used(&peer, 0, &hdr) == ok && rc_resource_find(&peer.device->gpu.resources, 1));
	peer_finish(&peer);
}

/* ---- a request that ends workers ---- */

static void test_what_workers_end_by_is_refused(void) {
	const struct virtio_gpu_resource_create_2d create = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
		.resource_id = 2,
		.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
		.width = 16,
		.height = 16};
	for (uint32_t attempts = 0; attempts <= RC_VHOST_MAX_ATTEMPTS; attempts++) {
		struct vhost_peer peer;
		struct virtio_gpu_ctrl_hdr hdr;
		begin(&peer, JOURNAL_BYTES);
		CHECK(create_2d(&peer, 1, 64, 64) == ok);
		for (uint32_t i = 0; i < attempts; i++) {
			rc_journal_begin(&peer.device->journal); /* and this was its end */
			if (i + 1 < attempts) {
				const uint64_t before = *progress(&peer);
				take_over(&peer);
				CHECK(*progress(&peer) == before);
			}
		}
		submit(&peer, 0, &create, sizeof(create));
		take_over(&peer);
		const bool refused = attempts == RC_VHOST_MAX_ATTEMPTS;
		CHECK(take_used(&peer, 0, &hdr) == (refused ? VIRTIO_GPU_RESP_ERR_UNSPEC : ok));
		CHECK(rc_resource_find(&peer.device->gpu.resources, 1));
		CHECK((rc_resource_find(&peer.device->gpu.resources, 2) == NULL) == refused);
		CHECK(create_2d(&peer, 3, 16, 16) == ok && *progress(&peer) >> 48 == 0);
		take_over(&peer);
		CHECK(create_2d(&peer, 4, 16, 16) == ok); /* that was counted for the one request */
		peer_finish(&peer);
	}
}

/* What is no part of a journal is not executed: a transfer a record could keep a worker for hours. */
static void test_a_journal_is_no_queue(void) {
	struct vhost_peer peer;
	begin(&peer, JOURNAL_BYTES);
	CHECK(create_2d(&peer, 1, 64, 64) == ok && attach(&peer, 1, PIXELS_AT, 64 * 64 * 4) == ok);
	CHECK(set_scanout(&peer, 0, 1, 64, 64) == ok);
	uint8_t *head = (uint8_t *)peer.device->journal.head;
	const struct virtio_gpu_transfer_to_host_2d transfer = {
		.hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, .r = {0, 0, 64, 64}, .resource_id = 1};
	const uint32_t record[2] = {sizeof(transfer), 0};
	uint64_t *word = progress(&peer);
	memcpy(head + 16384 + (uint32_t)*word, record, sizeof(record));
	memcpy(head + 16384 + (uint32_t)*word + sizeof(record), &transfer, sizeof(transfer));
	*word += sizeof(record) + sizeof(transfer);
	take_over(&peer);
	CHECK(peer_state(&peer) == RC_MACHINE_INCOMPLETE && peer.scanouts[0].resource_id == 1);
	take_over(&peer);
	CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && peer.scanouts[0].resource_id == 1);
	peer_finish(&peer);
}

/* How far a worker says it was cannot be: what it noted counts all the same. */
static void test_an_index_that_cannot_be(void) {
	struct vhost_peer peer;
	begin(&peer, JOURNAL_BYTES);
	CHECK(create_2d(&peer, 1, 64, 64) == ok && set_scanout(&peer, 0, 1, 64, 64) == ok);
	*progress(&peer) += UINT64_C(5000) << 32;
	for (int i = 0; i < 2; i++) {
		take_over(&peer);
		CHECK(peer_state(&peer) == RC_MACHINE_RUNNING && peer.scanouts[0].resource_id == 1);
	}
	CHECK(create_2d(&peer, 2, 64, 64) == ok && rc_resource_find(&peer.device->gpu.resources, 2));
	peer_finish(&peer);
}

/* A machine that is reset while its screen is dark: the former driver's cursor goes with it. */
static void test_a_reset_takes_the_cursor_along(void) {
	struct vhost_peer peer;
	begin(&peer, JOURNAL_BYTES);
	CHECK(create_2d(&peer, 1, 64, 64) == ok && create_2d(&peer, 2, 64, 64) == ok);
	CHECK(set_scanout(&peer, 0, 1, 64, 64) == ok);
	const struct virtio_gpu_update_cursor body = {
		.hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR, .pos = {0, 7, 8, 0}, .resource_id = 2};
	CHECK(ask(&peer, RC_VHOST_CURSOR, &body, sizeof(body)) == ok && peer.scanouts[0].cursor.width == 64);
	CHECK(set_scanout(&peer, 0, 0, 0, 0) == ok && peer.scanouts[0].cursor.width == 64);
	qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	CHECK(peer.scanouts[0].cursor.width == 0);
	peer_finish(&peer);
}

int main(void) {
	test_killed_at_any_moment();
	test_a_record_says_that_its_request_is_executed();
	test_a_driver_that_begins_after_one_that_was_taken_over();
	test_killed_before_anything_was_served();
	test_what_workers_end_by_is_refused();
	test_a_journal_is_no_queue();
	test_an_index_that_cannot_be();
	test_a_reset_takes_the_cursor_along();
	return 0;
}
