/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/vhost_user/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(struct rc_vhost_header) == 12, "\"Header\"");
_Static_assert(sizeof(struct rc_vhost_region) == 32, "\"Memory region description\"");
_Static_assert(sizeof(struct rc_vhost_vring_address) == 40, "\"A vring address description\"");

void rc_vhost_message_init(struct rc_vhost_message *message) {
	memset(message, 0, sizeof(*message));
}

void rc_vhost_message_reset(struct rc_vhost_message *message) {
	for (uint32_t i = 0; i < message->fd_count; i++) {
		if (message->fds[i] >= 0) {
			close(message->fds[i]);
		}
	}
	message->fd_count = 0;
	message->too_many_fds = false;
	message->received = 0;
}

static void take_fds(struct rc_vhost_message *message, struct msghdr *msg) {
	if (!rc_packet_append_fds(msg, message->fds, RC_VHOST_MAX_REGIONS, &message->fd_count)) {
		message->too_many_fds = true;
	}
}

/* What is missing of the header or, once that is whole, of the payload. Never more: the next message's fds come with the next message. */
static struct iovec missing_part(struct rc_vhost_message *message) {
	const size_t head = sizeof(message->header), received = message->received;
	if (received < head) {
		return (struct iovec){(uint8_t *)&message->header + received, head - received};
	}
	return (struct iovec){message->payload.bytes + (received - head), head + message->header.size - received};
}

static const char *check_header(const struct rc_vhost_header *header) {
	if ((header->flags & RC_VHOST_VERSION_MASK) != RC_VHOST_VERSION || (header->flags & RC_VHOST_REPLY)) {
		return "flags";
	}
	return header->size > RC_VHOST_MAX_PAYLOAD ? "size" : NULL;
}

enum rc_packet_status rc_vhost_message_receive(int socket_fd, struct rc_vhost_message *message, const char **wrong) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * (RC_VHOST_MAX_REGIONS + 4))];
	} control;
	*wrong = NULL;
	for (;;) {
		struct iovec iov = missing_part(message);
		if (iov.iov_len == 0) {
			return RC_PACKET_OK;
		}
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t size = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (size < 0 && errno == EINTR) {
			continue;
		}
		if (size <= 0) {
			return size < 0 && errno == EAGAIN ? RC_PACKET_NONE : RC_PACKET_CLOSED;
		}
		take_fds(message, &msg);
		message->received += (size_t)size;
		if (message->received == sizeof(message->header)) {
			*wrong = check_header(&message->header);
			if (*wrong) {
				return RC_PACKET_CLOSED;
			}
		}
	}
}

int rc_vhost_message_take_fd(struct rc_vhost_message *message, uint32_t index) {
	int fd = message->fds[index];
	message->fds[index] = -1;
	return fd;
}

bool rc_vhost_message_reply(int socket_fd, uint32_t request, const void *payload, size_t size) {
	struct rc_vhost_header header = {request, RC_VHOST_VERSION | RC_VHOST_REPLY, (uint32_t)size};
	struct iovec iov[2] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)payload, .iov_len = size},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t sent;
	do {
		sent = sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)(sizeof(header) + size);
}
