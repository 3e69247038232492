/* SPDX-License-Identifier: Apache-2.0
 * A vhost-user-gpu device in one thread, with QEMU's and the driver's ends in the test's hands: memory in two regions, both queues, and a streamer that watches.
 * No Vulkan: pictures are converted by the CPU. */
#ifndef VHOST_PEER_H
#define VHOST_PEER_H

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/render_core/check.h"
#include "handoff/frame_link.h"
#include "transport/vhost_user/device.h"
#include "util/clock.h"

/* The guest's addresses of what lies in the first region; the second one is pixels. */
enum {
	RAM0_SIZE = 1 << 20,
	RAM1_SIZE = 2 << 20,
	QUEUE_SIZE = 64,
	MAX_IN_FLIGHT = QUEUE_SIZE / 2, /* two descriptors a chain */
	TABLES_AT = 0x10000,
	REQUESTS_AT = 0x20000,
	REQUEST_BYTES = 0x1000,
	RESPONSES_AT = 0x60000,
	RESPONSE_BYTES = 0x800,
	PIXELS_AT = 0x80000,
	JOURNAL_BYTES = 1 << 20,
	SMALL_JOURNAL_BYTES = 1 << 16, /* the least: halves of 24 KiB are soon full */
};
#define RAM1_AT UINT64_C(0x100000000)
#define USER0 UINT64_C(0x7f1000000000)
#define USER1 UINT64_C(0x7f2000000000)

struct test_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

/* The driver's side of a queue. */
struct driver_queue {
	uint64_t at;              /* descriptors; the available ring lies 0x1000 after them, the used ring 0x2000 */
	uint16_t available, seen; /* indexes: made available, taken from the used ring */
	int kick, call, error;
};

struct vhost_peer {
	struct rc_log log;
	struct rc_loop loop;
	struct rc_converter *converter;
	struct rc_device_info info;
	struct rc_scanout scanouts[RC_MAX_SCANOUTS];
	struct rc_vhost_device *device;
	struct rc_frame_link *frames; /* NULL: nobody watches */
	int qemu, streamer;           /* sockets */
	int journal, ram_fd[2];
	uint8_t *ram[2];
	struct driver_queue queues[RC_VHOST_QUEUES];
	bool event_idx, indirect;
	enum rc_machine_state states[64];
	uint32_t state_count;
};

static inline int peer_memfd(size_t size, int seals) {
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

static inline void peer_note_state(void *owner, enum rc_machine_state state) {
	struct vhost_peer *peer = owner;
	peer->states[peer->state_count++ % 64] = state;
}

/* The last state that was told. */
static inline enum rc_machine_state peer_state(const struct vhost_peer *peer) {
	return peer->state_count ? peer->states[(peer->state_count - 1) % 64] : 0;
}

/* Connect a device to the peer, whose memory and rings stay. */
static inline void peer_connect(struct vhost_peer *peer, bool recover) {
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	peer->qemu = pair[0];
	const struct rc_vhost_device_params params = {
		.loop = &peer->loop,
		.log = &peer->log,
		.scanouts = peer->scanouts,
		.socket_fd = pair[1],
		.journal_fd = peer->journal,
		.recover = recover,
		.owner = peer,
		.changed = peer_note_state,
	};
	CHECK(rc_vhost_device_create(&params, &peer->device) == NULL);
}

static inline void peer_init_journal(struct vhost_peer *peer, bool event_idx, bool indirect, size_t journal_bytes) {
	memset(peer, 0, sizeof(*peer));
	rc_log_init(&peer->log, -1, RC_LOG_ERROR);
	CHECK(rc_loop_init(&peer->loop));
	CHECK(rc_converter_create(NULL, RC_CONVERT_CPU, &peer->converter) == RC_OK);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_init(&peer->scanouts[i], i, &peer->log, peer->converter, RC_FORMAT_I420);
	}
	rc_scanout_set_wanted(&peer->scanouts[0], 1280, 720, 60000);
	const size_t sizes[2] = {RAM0_SIZE, RAM1_SIZE};
	for (int i = 0; i < 2; i++) {
		peer->ram_fd[i] = peer_memfd(sizes[i], F_SEAL_SHRINK | F_SEAL_GROW);
		peer->ram[i] = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_SHARED, peer->ram_fd[i], 0);
		CHECK(peer->ram[i] != MAP_FAILED);
		peer->queues[i] =
			(struct driver_queue){.at = 0x1000 + 0x4000 * (uint64_t)i, .kick = -1, .call = -1, .error = -1};
	}
	peer->journal = peer_memfd(journal_bytes, F_SEAL_SHRINK | F_SEAL_GROW);
	peer->event_idx = event_idx;
	peer->indirect = indirect;
	peer->streamer = -1;
	peer_connect(peer, false);
}

static inline void peer_init(struct vhost_peer *peer, bool event_idx, bool indirect) {
	peer_init_journal(peer, event_idx, indirect, JOURNAL_BYTES);
}

/* Do what the loop would, until nothing is ready. */
static inline void peer_turn(struct vhost_peer *peer) {
	struct pollfd poller = {.fd = peer->loop.epoll_fd, .events = POLLIN};
	for (int i = 0; i < 1000 && poll(&poller, 1, 0) == 1; i++) {
		if (peer->device && peer->device->closed) {
			rc_vhost_device_destroy(peer->device); /* as the machine link does */
			peer->device = NULL;
			continue;
		}
		rc_loop_wait(&peer->loop, UINT64_MAX);
	}
	if (peer->device && peer->device->closed) {
		rc_vhost_device_destroy(peer->device);
		peer->device = NULL;
	}
}

static inline void peer_service(struct vhost_peer *peer, uint64_t now_ns) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_service(&peer->scanouts[i], now_ns);
	}
	peer_turn(peer);
}

/* The worker dies: nothing is answered any more, its memory is lost. What it had not pushed is not pushed. */
static inline void peer_kill_device(struct vhost_peer *peer) {
	struct rc_vhost_device *device = peer->device;
	for (uint32_t q = 0; q < RC_VHOST_QUEUES; q++) {
		for (uint32_t i = 0; i < RC_VIRTQUEUE_MAX; i++) {
			rc_list_remove(&device->queues[q].flushes[i].completion.link);
		}
	}
	rc_vhost_device_destroy(device);
	peer->device = NULL;
	close(peer->qemu);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_hide(&peer->scanouts[i]);
		rc_cursor_hide(&peer->scanouts[i].cursor);
	}
}

static inline void peer_watch(struct vhost_peer *peer) {
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	peer->streamer = pair[0];
	peer->frames = rc_frame_link_create(&peer->loop, &peer->log, peer->scanouts, &peer->info, pair[1]);
	CHECK(peer->frames);
	for (uint32_t i = 0; i < 2; i++) {
		const uint32_t message[6] = {24, i + 1, 0, 0, i ? 0 : 1, i ? 1 : 0}; /* HELLO, SET_ACTIVE of scanout 0 */
		memcpy(peer->frames->packet.data, message, sizeof(message));
		peer->frames->packet.size = sizeof(message);
		rc_frame_link_handle(peer->frames, &peer->frames->packet);
	}
}

static inline void peer_finish(struct vhost_peer *peer) {
	if (peer->device) {
		rc_vhost_device_destroy(peer->device);
	}
	rc_frame_link_destroy(peer->frames);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_finish(&peer->scanouts[i]);
	}
	rc_converter_destroy(peer->converter);
	rc_loop_finish(&peer->loop);
	const int fds[] = {peer->qemu, peer->streamer, peer->journal, peer->ram_fd[0], peer->ram_fd[1]};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0) {
			close(fds[i]);
		}
	}
	for (int i = 0; i < 2; i++) {
		const int queue_fds[] = {peer->queues[i].kick, peer->queues[i].call, peer->queues[i].error};
		for (int k = 0; k < 3; k++) {
			if (queue_fds[k] >= 0) {
				close(queue_fds[k]);
			}
		}
		munmap(peer->ram[i], i ? RAM1_SIZE : RAM0_SIZE);
	}
}

/* ---- QEMU ---- */

/* Send bytes as QEMU would, with fds (borrowed). */
static inline void qemu_send(
	struct vhost_peer *peer, const void *bytes, size_t size, const int *fds, uint32_t fd_count) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd_count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	ssize_t sent = sendmsg(peer->qemu, &msg, MSG_NOSIGNAL);
	(void)sent; /* the device may have closed its end */
}

/* Send a request and let it be served. The reply's payload goes to `out`; its size, or -1: there was none. */
static inline int qemu_ask(struct vhost_peer *peer, uint32_t request, uint32_t flags, const void *payload, size_t size,
	const int *fds, uint32_t fd_count, void *out, size_t out_size) {
	uint8_t message[12 + RC_VHOST_MAX_PAYLOAD];
	const struct rc_vhost_header header = {request, RC_VHOST_VERSION | flags, (uint32_t)size};
	memcpy(message, &header, sizeof(header));
	if (size) {
		memcpy(message + sizeof(header), payload, size);
	}
	qemu_send(peer, message, sizeof(header) + size, fds, fd_count);
	peer_turn(peer);
	struct rc_vhost_header answer;
	if (recv(peer->qemu, &answer, sizeof(answer), MSG_DONTWAIT) != (ssize_t)sizeof(answer)) {
		return -1;
	}
	CHECK(answer.request == request && answer.flags == (RC_VHOST_VERSION | RC_VHOST_REPLY) && answer.size <= out_size);
	CHECK(!answer.size || recv(peer->qemu, out, answer.size, MSG_DONTWAIT) == (ssize_t)answer.size);
	return (int)answer.size;
}

/* A request that is acknowledged: 0 well, else not; -1: no answer. */
static inline int64_t qemu_set(
	struct vhost_peer *peer, uint32_t request, const void *payload, size_t size, const int *fds, uint32_t fd_count) {
	uint64_t ack = 0;
	int got = qemu_ask(peer, request, RC_VHOST_NEED_REPLY, payload, size, fds, fd_count, &ack, sizeof(ack));
	return got == (int)sizeof(ack) ? (int64_t)ack : -1;
}

static inline uint64_t qemu_get(struct vhost_peer *peer, uint32_t request) {
	uint64_t value = 0;
	CHECK(qemu_ask(peer, request, 0, NULL, 0, NULL, 0, &value, sizeof(value)) == (int)sizeof(value));
	return value;
}

static inline int64_t qemu_state(struct vhost_peer *peer, uint32_t request, uint32_t index, uint32_t value) {
	const struct rc_vhost_vring_state state = {index, value};
	return qemu_set(peer, request, &state, sizeof(state), NULL, 0);
}

static inline int64_t qemu_set_memory(struct vhost_peer *peer, uint32_t count) {
	struct rc_vhost_mem_table table = {
		.count = count, .regions = {{0, RAM0_SIZE, USER0, 0}, {RAM1_AT, RAM1_SIZE, USER1, 0}}};
	return qemu_set(peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32 * count, peer->ram_fd, count);
}

static inline int64_t qemu_set_ring(struct vhost_peer *peer, uint32_t index, uint64_t at) {
	const struct rc_vhost_vring_address address = {
		.index = index, .descriptors = USER0 + at, .available = USER0 + at + 0x1000, .used = USER0 + at + 0x2000};
	return qemu_set(peer, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address), NULL, 0);
}

static inline int64_t qemu_set_fd(struct vhost_peer *peer, uint32_t request, uint32_t index, int *fd) {
	if (*fd < 0) {
		*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		CHECK(*fd >= 0);
	}
	const uint64_t body = index;
	return qemu_set(peer, request, &body, sizeof(body), fd, 1);
}

static inline void qemu_start_queue(struct vhost_peer *peer, uint32_t index, uint16_t base) {
	struct driver_queue *queue = &peer->queues[index];
	CHECK(qemu_state(peer, VHOST_USER_SET_VRING_NUM, index, QUEUE_SIZE) == 0);
	CHECK(qemu_state(peer, VHOST_USER_SET_VRING_BASE, index, base) == 0);
	CHECK(qemu_set_ring(peer, index, queue->at) == 0);
	CHECK(qemu_set_fd(peer, VHOST_USER_SET_VRING_KICK, index, &queue->kick) == 0);
	CHECK(qemu_set_fd(peer, VHOST_USER_SET_VRING_CALL, index, &queue->call) == 0);
	CHECK(qemu_set_fd(peer, VHOST_USER_SET_VRING_ERR, index, &queue->error) == 0);
	CHECK(qemu_state(peer, VHOST_USER_SET_VRING_ENABLE, index, 1) == 0);
}

/* What QEMU does at DRIVER_OK and when the machine goes on. */
static inline void qemu_start(struct vhost_peer *peer, uint16_t control_base, uint16_t cursor_base) {
	const uint64_t features =
		UINT64_C(1) << 32 | UINT64_C(1) << 30 | UINT64_C(1) << 28 | 2 | (uint64_t)peer->event_idx << 29;
	CHECK(qemu_set(peer, VHOST_USER_SET_FEATURES, &features, sizeof(features), NULL, 0) == 0);
	CHECK(qemu_set_memory(peer, 2) == 0);
	qemu_start_queue(peer, RC_VHOST_CONTROL, control_base);
	qemu_start_queue(peer, RC_VHOST_CURSOR, cursor_base);
}

/* Stop a queue; its base. */
static inline uint16_t qemu_stop_queue(struct vhost_peer *peer, uint32_t index) {
	const struct rc_vhost_vring_state ask = {index, 0};
	struct rc_vhost_vring_state state = {99, 99};
	CHECK(qemu_ask(peer, VHOST_USER_GET_VRING_BASE, 0, &ask, sizeof(ask), NULL, 0, &state, sizeof(state)) ==
		  (int)sizeof(state));
	CHECK(state.index == index);
	return (uint16_t)state.value;
}

/* ---- the driver ---- */

static inline void *guest_at(struct vhost_peer *peer, uint64_t address) {
	return address >= RAM1_AT ? peer->ram[1] + (address - RAM1_AT) : peer->ram[0] + address;
}

static inline uint16_t *ring_word(struct vhost_peer *peer, uint32_t index, uint64_t offset) {
	return guest_at(peer, peer->queues[index].at + offset);
}

/* A driver that begins has new rings. */
static inline void driver_reset(struct vhost_peer *peer) {
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		memset(guest_at(peer, peer->queues[i].at), 0, 0x3000);
		peer->queues[i].available = peer->queues[i].seen = 0;
	}
}

static inline void put_descriptor(struct vhost_peer *peer, uint64_t table, uint32_t number, uint64_t address,
	uint32_t length, uint16_t flags, uint16_t next) {
	const struct test_descriptor descriptor = {address, length, flags, next};
	memcpy(guest_at(peer, table + number * sizeof(descriptor)), &descriptor, sizeof(descriptor));
}

/* Make the chain at `head` available, and kick if the device wants it. */
static inline void offer(struct vhost_peer *peer, uint32_t index, uint16_t head) {
	struct driver_queue *queue = &peer->queues[index];
	const uint16_t before = queue->available++;
	*ring_word(peer, index, 0x1004 + 2 * (uint64_t)(before % QUEUE_SIZE)) = head;
	atomic_store((_Atomic uint16_t *)ring_word(peer, index, 0x1002), queue->available);
	const uint16_t wanted = *ring_word(peer, index, 0x2004 + 8 * QUEUE_SIZE);
	if (!peer->event_idx || wanted == before) {
		CHECK(eventfd_write(queue->kick, 1) == 0);
	}
}

/* Put a request of at most REQUEST_BYTES into the queue. */
static inline void submit(struct vhost_peer *peer, uint32_t index, const void *request, size_t size) {
	struct driver_queue *queue = &peer->queues[index];
	CHECK((uint16_t)(queue->available - queue->seen) < MAX_IN_FLIGHT && size <= REQUEST_BYTES);
	const uint16_t slot = queue->available % MAX_IN_FLIGHT, head = (uint16_t)(slot * 2);
	const uint64_t requests = REQUESTS_AT + (uint64_t)slot * REQUEST_BYTES + index * (REQUEST_BYTES / 2),
				   responses = RESPONSES_AT + (uint64_t)slot * RESPONSE_BYTES + index * 0x600;
	memcpy(guest_at(peer, requests), request, size);
	memset(guest_at(peer, responses), 0, 24);
	uint64_t table = queue->at;
	uint32_t at = head;
	if (peer->indirect) {
		table = TABLES_AT + (uint64_t)slot * 256 + index * 128;
		put_descriptor(peer, queue->at, head, table, 32, 4, 0);
		at = 0;
	}
	put_descriptor(peer, table, at, requests, (uint32_t)size, 1, (uint16_t)(at + 1));
	put_descriptor(peer, table, at + 1, responses, index ? 0x200 : 0x600, 2, 0);
	offer(peer, index, head);
}

/* The next used entry's response: its type; 0: there is none. Entries come in the order of the requests. */
static inline uint32_t take_used(struct vhost_peer *peer, uint32_t index, struct virtio_gpu_ctrl_hdr *hdr) {
	struct driver_queue *queue = &peer->queues[index];
	if (*ring_word(peer, index, 0x2002) == queue->seen) {
		return 0;
	}
	const uint16_t slot = queue->seen % MAX_IN_FLIGHT;
	uint32_t entry[2];
	memcpy(entry, ring_word(peer, index, 0x2004 + 8 * (uint64_t)(queue->seen % QUEUE_SIZE)), sizeof(entry));
	CHECK(entry[0] == slot * 2u && entry[1] >= sizeof(*hdr));
	queue->seen++;
	if (peer->event_idx) {
		*ring_word(peer, index, 0x1004 + 2 * QUEUE_SIZE) = queue->seen; /* tell us of the next one */
	}
	memcpy(hdr, guest_at(peer, RESPONSES_AT + (uint64_t)slot * RESPONSE_BYTES + index * 0x600), sizeof(*hdr));
	return hdr->type;
}

static inline uint32_t ask(struct vhost_peer *peer, uint32_t index, const void *request, size_t size) {
	struct virtio_gpu_ctrl_hdr hdr;
	submit(peer, index, request, size);
	peer_turn(peer);
	return take_used(peer, index, &hdr);
}

#define CONTROL(peer, ...)                                                                                             \
	({                                                                                                                 \
		__typeof__(__VA_ARGS__) body_ = __VA_ARGS__;                                                                   \
		ask(peer, RC_VHOST_CONTROL, &body_, sizeof(body_));                                                            \
	})

static inline uint32_t create_2d(struct vhost_peer *peer, uint32_t id, uint32_t width, uint32_t height) {
	return CONTROL(peer, (struct virtio_gpu_resource_create_2d){.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
							 .resource_id = id,
							 .format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
							 .width = width,
							 .height = height});
}

/* Back a resource by `count` <= 8 entries. */
static inline uint32_t attach_entries(
	struct vhost_peer *peer, uint32_t id, const struct virtio_gpu_mem_entry *entries, uint32_t count) {
	struct {
		struct virtio_gpu_resource_attach_backing head;
		struct virtio_gpu_mem_entry entries[8];
	} body = {.head = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = id, .nr_entries = count}};
	memcpy(body.entries, entries, sizeof(*entries) * count);
	return ask(peer, RC_VHOST_CONTROL, &body, sizeof(body.head) + sizeof(*entries) * count);
}

static inline uint32_t attach(struct vhost_peer *peer, uint32_t id, uint64_t address, uint32_t length) {
	const struct virtio_gpu_mem_entry entry = {address, length, 0};
	return attach_entries(peer, id, &entry, 1);
}

static inline uint32_t set_scanout(
	struct vhost_peer *peer, uint32_t scanout, uint32_t id, uint32_t width, uint32_t height) {
	return CONTROL(peer, (struct virtio_gpu_set_scanout){.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT,
							 .r = {0, 0, width, height},
							 .scanout_id = scanout,
							 .resource_id = id});
}

static inline uint32_t transfer(struct vhost_peer *peer, uint32_t id, uint32_t width, uint32_t height) {
	return CONTROL(
		peer, (struct virtio_gpu_transfer_to_host_2d){
				  .hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, .r = {0, 0, width, height}, .resource_id = id});
}

static inline uint32_t flush(struct vhost_peer *peer, uint32_t id, uint32_t width, uint32_t height) {
	return CONTROL(peer, (struct virtio_gpu_resource_flush){
							 .hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {0, 0, width, height}, .resource_id = id});
}

static inline uint32_t simple(struct vhost_peer *peer, uint32_t type, uint32_t id) {
	return CONTROL(peer, (struct virtio_gpu_resource_unref){.hdr.type = type, .resource_id = id});
}

#endif
