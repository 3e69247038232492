/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

bool rc_packet_append_fds(struct msghdr *msg, int *fds, uint32_t capacity, uint32_t *count) {
	bool all = !(msg->msg_flags & MSG_CTRUNC);
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
			continue;
		}
		size_t given = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < given; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (*count < capacity) {
				fds[(*count)++] = fd;
			} else {
				all = false;
				close(fd);
			}
		}
	}
	return all;
}

enum rc_packet_status rc_packet_receive(int socket_fd, struct rc_packet *packet) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * RC_PACKET_RECV_FDS)];
	} control;
	struct iovec iov = {.iov_base = packet->data, .iov_len = RC_PACKET_MAX};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	packet->fd_count = 0;
	ssize_t size;
	do {
		size = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (size < 0 && errno == EINTR);
	if (size < 0) {
		return errno == EAGAIN ? RC_PACKET_NONE : RC_PACKET_CLOSED;
	}
	(void)rc_packet_append_fds(&msg, packet->fds, RC_PACKET_RECV_FDS, &packet->fd_count);
	/* SOCK_SEQPACKET: a packet of no bytes cannot be told from the end of the stream; no valid packet is empty. */
	if (size == 0) {
		rc_packet_close_fds(packet);
		return RC_PACKET_CLOSED;
	}
	packet->size = (size_t)size;
	packet->truncated = msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	return RC_PACKET_OK;
}

int rc_packet_take_fd(struct rc_packet *packet, uint32_t index) {
	int fd = packet->fds[index];
	packet->fds[index] = -1;
	return fd;
}

void rc_packet_close_fds(struct rc_packet *packet) {
	for (uint32_t i = 0; i < packet->fd_count; i++) {
		if (packet->fds[i] >= 0) {
			close(packet->fds[i]);
		}
	}
	packet->fd_count = 0;
}

const char *rc_packet_check(const struct rc_packet *packet) {
	struct rc_link_header header;
	if (packet->truncated || packet->size < sizeof(header)) {
		return "length";
	}
	memcpy(&header, packet->data, sizeof(header));
	if (header.length != packet->size) {
		return "length";
	}
	if (header.fd_count != packet->fd_count) {
		return "fd_count";
	}
	return header.reserved ? "reserved" : NULL;
}

bool rc_packet_send(int socket_fd, uint16_t type, uint32_t sequence, const void *body, size_t body_size, const int *fds,
	uint16_t fd_count) {
	struct rc_link_header header = {
		.length = (uint32_t)(sizeof(header) + body_size),
		.type = type,
		.fd_count = fd_count,
		.sequence = sequence,
	};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * RC_PACKET_MAX_FDS)];
	} control = {0};
	struct iovec iov[2] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)body, .iov_len = body_size},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = body_size ? 2 : 1};
	if (fd_count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	ssize_t sent;
	do {
		sent = sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)header.length;
}
