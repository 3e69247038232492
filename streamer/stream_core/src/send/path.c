/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL,
	/* UDP_MAX_SEGMENTS of the kernels that have the least. */
	MAX_SEGMENTS = 64,
	/* The largest IPv4 datagram, less some for headers. */
	MAX_SEGMENTS_BYTES = 65000,
};

union segment_control {
	char space[CMSG_SPACE(sizeof(uint16_t))];
	struct cmsghdr aligned;
};

void sc_path_init(struct sc_path *path) {
	*path = (struct sc_path){.fd = -1};
}

void sc_path_finish(struct sc_path *path) {
	if (path->fd >= 0) {
		close(path->fd);
		path->fd = -1;
	}
}

static bool resolve(struct sc_path *path, const char *host, uint16_t port) {
	char service[8];
	struct addrinfo *found = NULL;
	/* Numeric only: nothing is looked up. Knows IPv6 zones. */
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM};
	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &found) || !found) {
		return false;
	}
	memcpy(&path->address, found->ai_addr, found->ai_addrlen);
	path->address_bytes = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

enum sc_result sc_path_open(struct sc_path *path, int borrow_fd, const char *host, uint16_t port) {
	sc_path_finish(path);
	path->address_bytes = 0;
	if (borrow_fd < 0) {
		return SC_OK;
	}
	if (host && !resolve(path, host, port)) {
		return SC_ERROR_INVALID;
	}
	path->fd = fcntl(borrow_fd, F_DUPFD_CLOEXEC, 0);
	if (path->fd < 0) {
		return SC_ERROR_IO;
	}
	path->mode = path->best_mode;
	/* A kernel that does not know the option would send what we mean to be cut as one datagram. */
	int segment = 0;
	socklen_t size = sizeof(segment);
	if (path->mode == SC_SEND_GSO && getsockopt(path->fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &size) < 0) {
		path->mode = SC_SEND_SENDMMSG;
	}
	return SC_OK;
}

/* How many packets from `first` on the kernel can cut out of one buffer: all of one size, but the last, which may be shorter. */
static uint32_t run_length(const struct sc_path *path, const struct sc_batch *batch, uint32_t first) {
	if (path->mode != SC_SEND_GSO) {
		return 1;
	}
	const uint32_t size = batch->sizes_bytes[first];
	uint32_t count = 1;
	uint32_t total = size;
	while (first + count < batch->count && count < MAX_SEGMENTS) {
		const uint32_t next = batch->sizes_bytes[first + count];
		if (next > size || total + next > MAX_SEGMENTS_BYTES) {
			break;
		}
		count++;
		total += next;
		if (next < size) {
			break;
		}
	}
	return count;
}

/* Send the packets from `first` on, which lie at `data`; returns how many went, or -1 with errno. */
static int send_some(struct sc_path *path, const struct sc_batch *batch, uint32_t first, const uint8_t *data) {
	struct mmsghdr messages[SC_BATCH_PACKETS];
	struct iovec vectors[SC_BATCH_PACKETS];
	union segment_control controls[SC_BATCH_PACKETS];
	uint32_t runs[SC_BATCH_PACKETS];
	uint32_t count = 0;
	const uint32_t most = path->mode == SC_SEND_SINGLY ? 1 : SC_BATCH_PACKETS;
	for (uint32_t at = first; at < batch->count && count < most; count++) {
		struct msghdr *message = &messages[count].msg_hdr;
		uint32_t total = 0;
		runs[count] = run_length(path, batch, at);
		for (uint32_t i = 0; i < runs[count]; i++) {
			total += batch->sizes_bytes[at + i];
		}
		vectors[count] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = total};
		*message = (struct msghdr){
			.msg_name = path->address_bytes ? &path->address : NULL,
			.msg_namelen = path->address_bytes,
			.msg_iov = &vectors[count],
			.msg_iovlen = 1,
		};
		if (runs[count] > 1) {
			message->msg_control = controls[count].space;
			message->msg_controllen = sizeof(controls[count].space);
			struct cmsghdr *control = CMSG_FIRSTHDR(message);
			control->cmsg_level = IPPROTO_UDP;
			control->cmsg_type = UDP_SEGMENT;
			control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
			memcpy(CMSG_DATA(control), &batch->sizes_bytes[at], sizeof(uint16_t));
		}
		data += total;
		at += runs[count];
	}
	if (path->mode == SC_SEND_SINGLY) {
		return sendmsg(path->fd, &messages[0].msg_hdr, SEND_FLAGS) < 0 ? -1 : 1;
	}
	const int sent = sendmmsg(path->fd, messages, count, SEND_FLAGS);
	int packets = sent < 0 ? -1 : 0;
	for (int i = 0; i < sent; i++) {
		packets += (int)runs[i];
	}
	return packets;
}

/* Whether the failure is one of the way of sending, and another is left. */
static bool fall_back(struct sc_path *path, bool was_run) {
	if (path->mode == SC_SEND_GSO && was_run) {
		/* EIO: the device cannot checksum; EINVAL, EMSGSIZE: packets larger than the path's MTU cannot be segmented. */
		if (errno == EIO || errno == EINVAL || errno == EMSGSIZE || errno == EOPNOTSUPP || errno == ENOPROTOOPT) {
			path->mode = SC_SEND_SENDMMSG;
			return true;
		}
	}
	if (path->mode != SC_SEND_SINGLY && (errno == ENOSYS || errno == EOPNOTSUPP)) {
		path->mode = SC_SEND_SINGLY;
		return true;
	}
	return false;
}

uint32_t sc_path_send(struct sc_path *path, const struct sc_batch *batch, enum sc_result *ret) {
	const uint8_t *data = batch->data;
	uint32_t sent = 0;
	*ret = SC_OK;
	if (path->fd < 0) {
		*ret = SC_AGAIN;
		return 0;
	}
	while (sent < batch->count) {
		const bool is_run = run_length(path, batch, sent) > 1;
		const int count = send_some(path, batch, sent, data);
		if (count > 0) {
			for (int i = 0; i < count; i++) {
				data += batch->sizes_bytes[sent++];
			}
		} else if (count == 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
			*ret = SC_AGAIN;
			break;
		} else if (errno != EINTR && !fall_back(path, is_run)) {
			*ret = SC_ERROR_IO;
			break;
		}
	}
	return sent;
}
