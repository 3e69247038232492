/* SPDX-License-Identifier: Apache-2.0
 * A Venus client that says anything on its socket. Input: a byte of flags (1: after a correct start, 2: and with a ring), and what the client
 * sends before it goes. Whatever it was, nothing of it stays. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/render_core/check.h"
#include "fuzz.h"
#include "transport/ring.h"
#include "transport/vtest_client.h"

enum { MAX_INPUT = 16384 };

/* CREATE_RENDERER "f", CONTEXT_INIT; then a blob of 64 KiB and vkCreateRingMESA on it. */
static const uint32_t start[] = {4, VTEST_CREATE_RENDERER, 0x66, 1, VTEST_CONTEXT_INIT, 4};
static const uint32_t ring[] = {6, VTEST_RESOURCE_CREATE_BLOB, 2, 1, 65536, 0, 0, 0, 38, VTEST_SUBMIT_CMD2, 1, 1, 7, 31,
	38, 0, 0, 188, 0, 1, 0, 1, 0, 1000384000, 0, 0, 0, 1, 0, 0, 4292, 0, 1000000, 0, 0, 0, 64, 0, 128, 0, 192, 0, 4096,
	0, 4288, 0, 4, 0};

static void *read_answers(void *data) {
	uint8_t bytes[4096];
	while (recv(*(int *)data, bytes, sizeof(bytes), 0) > 0) {
	}
	return NULL;
}

/* More than the socket holds is cut off: nobody reads yet. */
static void say(int fd, const void *bytes, size_t size) {
	ssize_t sent = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct rc_log log = {.fd = -1};
	static struct rc_vn_guest guest;
	struct rc_vtest_client *client = calloc(1, sizeof(*client));
	int fds[2];
	pthread_t reader;
	guest.log = &log;
	guest.limits = rc_vn_limits_default(true);
	guest.limits.shared_bytes = 1 << 20;
	guest.limits.blobs = 32;
	guest.limits.rings = 2;
	CHECK(client && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	const uint8_t flags = size ? data[0] : 0;
	if (flags & 3) {
		say(fds[1], start, sizeof(start));
	}
	if (flags & 2) {
		say(fds[1], ring, sizeof(ring));
	}
	if (size > 1) {
		say(fds[1], data + 1, size - 1 < MAX_INPUT ? size - 1 : MAX_INPUT);
	}
	CHECK(shutdown(fds[1], SHUT_WR) == 0);
	CHECK(pthread_create(&reader, NULL, read_answers, &fds[1]) == 0);
	CHECK(rc_vn_context_create(&guest, 1, NULL, &client->context) == RC_OK);
	client->refusal = rc_vn_blob_create_refused();
	client->fd = fds[0];
	CHECK(client->refusal && rc_vtest_client_serve(client));
	CHECK(!(flags & 2) || client->initialized);
	rc_vn_context_destroy(client->context);
	CHECK(atomic_load(&client->refusal->refs) == 1);
	rc_vn_blob_unref(client->refusal);
	close(fds[0]);
	CHECK(pthread_join(reader, NULL) == 0);
	close(fds[1]);
	free(client);
	CHECK(atomic_load(&guest.usage.shared_bytes) == 0);
	return 0;
}
