/* SPDX-License-Identifier: Apache-2.0
 * A scripted Venus client on a vtest socket, and a server without a device for it. One file, as each test needs all of it. */
#ifndef VENUS_CLIENT_H
#define VENUS_CLIENT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../unit/render_core/check.h"
#include "core_loop.h"
#include "transport/ring.h"
#include "transport/vtest.h"
#include "transport/vtest_protocol.h"

/* Offsets of a stock client's main ring, with a smaller buffer. */
enum {
	RING_HEAD = 0,
	RING_TAIL = 64,
	RING_STATUS = 128,
	RING_BUFFER = 192,
	RING_BUFFER_SIZE = 4096,
	RING_EXTRA = 4288
};
enum { RING_EXTRA_SIZE = 4, RING_SIZE = 4292, REPLY_SIZE = 1 << 20 };
enum { API_VERSION = 0x00403113 };

#define UNUSED __attribute__((unused))

/* ---- the server ---- */

struct venus_server {
	struct rc_log log;
	struct rc_vn_guest guest;
	struct rc_loop loop;
	struct rc_vtest *vtest;
	bool guarded;        /* a supervisor is told; it holds the clients' sockets too, until it reads */
	int listener, guard; /* guard: the supervisor's end */
	int guard_other;
	struct sockaddr_un address;
	socklen_t address_size;
	pthread_t thread;
	bool ended_by_itself;
};

static void *server_main(void *data) {
	struct venus_server *server = data;
	while (!server->loop.stopping) {
		rc_vtest_reap(server->vtest);
		if (!server->loop.stopping) {
			rc_loop_wait(&server->loop, UINT64_MAX);
		}
	}
	return NULL;
}

UNUSED static void server_init_guest(struct venus_server *server) {
	*server = (struct venus_server){.listener = -1, .guard = -1, .guard_other = -1};
	rc_log_init(&server->log, getenv("TEST_LOG") ? STDERR_FILENO : -1, RC_LOG_DEBUG);
	server->guest =
		(struct rc_vn_guest){.log = &server->log, .api_version = API_VERSION, .limits = rc_vn_limits_default(true)};
}

/* After server_init_guest() and changes of the limits. */
UNUSED static void server_start(struct venus_server *server, bool once) {
	static _Atomic int number;
	server->address.sun_family = AF_UNIX;
	int length = snprintf(server->address.sun_path + 1, sizeof(server->address.sun_path) - 1, "heliograph-test-%d-%d",
		(int)getpid(), atomic_fetch_add(&number, 1));
	server->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(server->listener >= 0);
	CHECK(bind(server->listener, (struct sockaddr *)&server->address, server->address_size) == 0);
	CHECK(listen(server->listener, 64) == 0);
	int guard[2];
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, guard) == 0);
	server->guard = guard[0];
	server->guard_other = guard[1];
	CHECK(rc_loop_init(&server->loop));
	const struct rc_vtest_params params = {
		.loop = &server->loop,
		.guest = &server->guest,
		.listener = server->listener,
		.guard_fd = server->guarded ? guard[1] : -1,
		.once = once,
	};
	CHECK(rc_vtest_create(&params, &server->vtest) == RC_OK);
	CHECK(pthread_create(&server->thread, NULL, server_main, server) == 0);
}

UNUSED static void server_stop(struct venus_server *server) {
	if (!server->ended_by_itself) {
		rc_loop_stop(&server->loop);
		CHECK(pthread_join(server->thread, NULL) == 0);
	}
	CHECK(rc_vtest_destroy(server->vtest));
	rc_loop_finish(&server->loop);
	close(server->listener);
	close(server->guard);
	close(server->guard_other);
	CHECK(atomic_load(&server->guest.usage.clients) == 0);
	CHECK(atomic_load(&server->guest.usage.shared_bytes) == 0);
}

UNUSED static int open_fds(void) {
	int count = 0;
	for (int fd = 0; fd < 4096; fd++) {
		count += fcntl(fd, F_GETFD) >= 0;
	}
	return count;
}

/* ---- the client's socket ---- */

struct venus_client {
	int fd;
};

UNUSED static void client_connect(struct venus_client *client, const struct venus_server *server) {
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(client->fd >= 0);
	CHECK(connect(client->fd, (const struct sockaddr *)&server->address, server->address_size) == 0);
}

static void client_write(struct venus_client *client, const void *bytes, size_t size) {
	CHECK(send(client->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void client_read(struct venus_client *client, void *bytes, size_t size) {
	CHECK(recv(client->fd, bytes, size, MSG_WAITALL) == (ssize_t)size);
}

static void client_request(struct venus_client *client, uint32_t command, const uint32_t *words, uint32_t count) {
	const uint32_t header[2] = {count, command};
	client_write(client, header, sizeof(header));
	if (count) {
		client_write(client, words, count * sizeof(uint32_t));
	}
}

static void client_reply(struct venus_client *client, uint32_t command, uint32_t *words, uint32_t count) {
	uint32_t header[2];
	client_read(client, header, sizeof(header));
	CHECK(header[0] == count && header[1] == command);
	if (count) {
		client_read(client, words, count * sizeof(uint32_t));
	}
}

/* As stock clients do: one byte, one fd. */
static int client_receive_fd(struct venus_client *client) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	CHECK(recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC) == 1);
	const struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	CHECK(header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS);
	int fd;
	memcpy(&fd, CMSG_DATA(header), sizeof(int));
	return fd;
}

/* True: the server has closed the connection. */
UNUSED static bool client_is_closed(struct venus_client *client) {
	char byte;
	return recv(client->fd, &byte, 1, 0) <= 0;
}

/* The start, in the order of a stock client. Returns the agreed protocol version. */
UNUSED static uint32_t client_init(struct venus_client *client) {
	static const char name[] = "scripted\n client";
	const uint32_t header[2] = {sizeof(name), VTEST_CREATE_RENDERER};
	client_write(client, header, sizeof(header));
	client_write(client, name, sizeof(name));
	const uint32_t zeros[2] = {0, 0};
	uint32_t words[41];
	client_request(client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
	client_request(client, VTEST_RESOURCE_BUSY_WAIT, zeros, 2);
	client_reply(client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
	client_reply(client, VTEST_RESOURCE_BUSY_WAIT, words, 1);
	CHECK(words[0] == 0);
	const uint32_t three = 3;
	client_request(client, VTEST_PROTOCOL_VERSION_NUM, &three, 1);
	client_reply(client, VTEST_PROTOCOL_VERSION_NUM, words, 1);
	const uint32_t version = words[0];
	if (version < 3) {
		return version;
	}
	const uint32_t param = VTEST_PARAM_MAX_TIMELINE_COUNT;
	client_request(client, VTEST_GET_PARAM, &param, 1);
	client_reply(client, VTEST_GET_PARAM, words, 2);
	CHECK(words[0] != 0 && words[1] == 64);
	const uint32_t capset[2] = {VTEST_CAPSET_VENUS, 0};
	client_request(client, VTEST_GET_CAPSET, capset, 2);
	client_reply(client, VTEST_GET_CAPSET, words, 41);
	CHECK(words[0] == 1 && words[1] == 1 && (words[6] & 1));
	client_request(client, VTEST_CONTEXT_INIT, capset, 1);
	return version;
}

/* Returns the resource's id. */
UNUSED static uint32_t client_create_blob(struct venus_client *client, uint64_t size, uint64_t id, int *fd) {
	const uint32_t words[6] = {
		VTEST_BLOB_HOST3D, 1, (uint32_t)size, (uint32_t)(size >> 32), (uint32_t)id, (uint32_t)(id >> 32)};
	uint32_t resource;
	client_request(client, VTEST_RESOURCE_CREATE_BLOB, words, 6);
	client_reply(client, VTEST_RESOURCE_CREATE_BLOB, &resource, 1);
	*fd = client_receive_fd(client);
	return resource;
}

/* Returns the memory; *resource gets the id. */
UNUSED static uint8_t *client_create_shared(struct venus_client *client, size_t size, uint32_t *resource) {
	int fd;
	*resource = client_create_blob(client, size, 0, &fd);
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED && *resource != 0);
	close(fd);
	return map;
}

UNUSED static void client_submit(struct venus_client *client, const uint32_t *commands, uint32_t count) {
	uint32_t words[256] = {1, 1, 7, count, 7 + count, 0, 0};
	CHECK(count <= 256 - 7);
	memcpy(words + 7, commands, count * sizeof(uint32_t));
	client_request(client, VTEST_SUBMIT_CMD2, words, 7 + count);
}

/* ---- rings ---- */

struct venus_ring {
	struct venus_client *client;
	uint64_t id;
	uint32_t resource;
	uint8_t *map;
	_Atomic uint32_t *head, *tail, *status;
	uint32_t position;
	uint64_t notified_ns;
	uint32_t reply_resource;
	uint8_t *reply;
};

/* vkCreateRingMESA's words, to be spoilt by tests. */
enum ring_field {
	FIELD_ID = 2,
	FIELD_RESOURCE = 10,
	FIELD_OFFSET = 11,
	FIELD_SIZE = 13,
	FIELD_IDLE = 15,
	FIELD_HEAD = 17,
	FIELD_TAIL = 19,
	FIELD_STATUS = 21,
	FIELD_BUFFER = 23,
	FIELD_BUFFER_SIZE = 25,
	FIELD_EXTRA = 27,
	FIELD_EXTRA_SIZE = 29,
	FIELDS = 31,
};
UNUSED static void create_ring_words(uint32_t words[FIELDS], uint64_t id, uint32_t resource) {
	const uint32_t all[FIELDS] = {188, 0, (uint32_t)id, (uint32_t)(id >> 32), 1, 0, 1000384000, 0, 0, 0, resource, 0, 0,
		RING_SIZE, 0, 1000000, 0, RING_HEAD, 0, RING_TAIL, 0, RING_STATUS, 0, RING_BUFFER, 0, RING_BUFFER_SIZE, 0,
		RING_EXTRA, 0, RING_EXTRA_SIZE, 0};
	memcpy(words, all, sizeof(all));
}

UNUSED static void ring_init(struct venus_ring *ring, struct venus_client *client, uint64_t id) {
	*ring = (struct venus_ring){.client = client, .id = id};
	ring->map = client_create_shared(client, RING_SIZE, &ring->resource);
	ring->head = (_Atomic uint32_t *)(ring->map + RING_HEAD);
	ring->tail = (_Atomic uint32_t *)(ring->map + RING_TAIL);
	ring->status = (_Atomic uint32_t *)(ring->map + RING_STATUS);
	ring->reply = client_create_shared(client, REPLY_SIZE, &ring->reply_resource);
	uint32_t words[FIELDS];
	create_ring_words(words, id, ring->resource);
	client_submit(client, words, FIELDS);
}

UNUSED static void ring_finish(struct venus_ring *ring) {
	munmap(ring->map, RING_SIZE);
	munmap(ring->reply, REPLY_SIZE);
}

static void ring_notify(struct venus_ring *ring) {
	const uint32_t words[6] = {190, 0, (uint32_t)ring->id, (uint32_t)(ring->id >> 32), ring->position, 0};
	client_submit(ring->client, words, 6);
}

/* Publish commands, as stock clients do: tell the server if it sleeps, but not twice in a millisecond. */
UNUSED static void ring_publish(struct venus_ring *ring, const uint32_t *words, uint32_t count) {
	while (RING_BUFFER_SIZE - (ring->position - atomic_load(ring->head)) < count * sizeof(uint32_t)) {
		sched_yield();
	}
	for (uint32_t i = 0; i < count; i++) {
		memcpy(ring->map + RING_BUFFER + (ring->position & (RING_BUFFER_SIZE - 1)), words + i, sizeof(uint32_t));
		ring->position += sizeof(uint32_t);
	}
	atomic_store_explicit(ring->tail, ring->position, memory_order_release);
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	const uint64_t now_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	if ((atomic_load(ring->status) & RC_VN_RING_IDLE) && now_ns - ring->notified_ns > 1000000) {
		ring->notified_ns = now_ns;
		ring_notify(ring);
	}
}

/* Wait until everything was executed. */
UNUSED static void ring_wait(struct venus_ring *ring) {
	while (atomic_load_explicit(ring->head, memory_order_acquire) != ring->position) {
		CHECK(!(atomic_load(ring->status) & RC_VN_RING_FATAL));
		sched_yield();
	}
}

UNUSED static void ring_wait_fatal(struct venus_ring *ring) {
	while (!(atomic_load(ring->status) & RC_VN_RING_FATAL)) {
		sched_yield();
	}
}

/* vkSetReplyCommandStreamMESA and vkEnumerateInstanceVersion: 9 + 4 words. */
enum { ASK_WORDS = 13 };
UNUSED static void ask_words(uint32_t words[ASK_WORDS], const struct venus_ring *ring, uint32_t offset) {
	const uint32_t all[ASK_WORDS] = {178, 0, 1, 0, ring->reply_resource, offset, 0, 20, 0, 137, 1, 1, 0};
	memcpy(words, all, sizeof(all));
}

UNUSED static bool reply_is_right(const struct venus_ring *ring, uint32_t offset) {
	uint32_t words[5];
	memcpy(words, ring->reply + offset, sizeof(words));
	return words[0] == 137 && words[1] == 0 && words[2] == 1 && words[3] == 0 && words[4] == API_VERSION;
}

/* A whole round trip. */
UNUSED static void ring_ask(struct venus_ring *ring, uint32_t offset) {
	uint32_t words[ASK_WORDS];
	memset(ring->reply + offset, 0xee, 20);
	ask_words(words, ring, offset);
	ring_publish(ring, words, ASK_WORDS);
	ring_wait(ring);
	CHECK(reply_is_right(ring, offset));
}

#endif
