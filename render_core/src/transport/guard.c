/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/guard.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* A supervisor that has not read for so long will not: clients must not wait for it. */
enum { SEND_TIMEOUT_MS = 2000 };

void rc_vn_guard_init(struct rc_vn_guard *guard, int fd) {
	*guard = (struct rc_vn_guard){.fd = fd};
	pthread_mutex_init(&guard->mutex, NULL);
}

void rc_vn_guard_finish(struct rc_vn_guard *guard) {
	pthread_mutex_destroy(&guard->mutex);
}

static bool send_packet(int socket_fd, const uint8_t *bytes, size_t size, int fd) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(int));
	}
	for (;;) {
		ssize_t sent = sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent == (ssize_t)size) {
			return true;
		}
		if (sent < 0 && errno == EINTR) {
			continue;
		}
		struct pollfd poller = {.fd = socket_fd, .events = POLLOUT};
		if (sent >= 0 || errno != EAGAIN || poll(&poller, 1, SEND_TIMEOUT_MS) != 1 || !(poller.revents & POLLOUT)) {
			return false;
		}
	}
}

/* `ring`: its number; NULL: a message about a client; points to 0: a new number is put there. */
static bool tell(struct rc_vn_guard *guard, enum rc_guard_type type, uint32_t client, uint32_t *ring,
	uint64_t status_offset, int fd) {
	if (!guard) {
		return true;
	}
	pthread_mutex_lock(&guard->mutex);
	if (ring && *ring == 0) {
		*ring = ++guard->ring_number;
	}
	const uint32_t words[4] = {type, client, ring ? *ring : 0, 0};
	uint8_t message[RC_GUARD_MESSAGE_SIZE];
	memcpy(message, words, sizeof(words));
	memcpy(message + sizeof(words), &status_offset, sizeof(status_offset));
	bool told = guard->fd >= 0 && send_packet(guard->fd, message, sizeof(message), fd);
	if (!told) {
		guard->fd = -1; /* what comes later would make no sense to it */
	}
	pthread_mutex_unlock(&guard->mutex);
	return told;
}

bool rc_vn_guard_add_client(struct rc_vn_guard *guard, uint32_t client, int socket_fd) {
	return tell(guard, RC_GUARD_CLIENT_ADDED, client, NULL, 0, socket_fd);
}

bool rc_vn_guard_remove_client(struct rc_vn_guard *guard, uint32_t client) {
	return tell(guard, RC_GUARD_CLIENT_REMOVED, client, NULL, 0, -1);
}

bool rc_vn_guard_add_ring(
	struct rc_vn_guard *guard, uint32_t client, int memfd, uint64_t status_offset, uint32_t *ring) {
	*ring = 0;
	return tell(guard, RC_GUARD_RING_ADDED, client, ring, status_offset, memfd);
}

bool rc_vn_guard_remove_ring(struct rc_vn_guard *guard, uint32_t client, uint32_t ring) {
	return tell(guard, RC_GUARD_RING_REMOVED, client, &ring, 0, -1);
}
