/* SPDX-License-Identifier: Apache-2.0
 * What a vtest client's thread reads and writes. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/vtest_client.h"
#include "util/clock.h"

/* A client writes a message in several pieces, and several messages one after the other: for this long after one the next is looked for without sleeping.
 * Waking up takes longer than what is done for most. */
enum { SPIN_NS = 50000 };

/* Wait for the socket. False: the end, for this client. */
static bool wait_for(struct rc_vtest_client *client, short events) {
	struct pollfd pollers[2] = {
		{.fd = client->fd, .events = events}, {.fd = client->context->wake_fd, .events = POLLIN}};
	poll(pollers, 2, -1);
	if (pollers[1].revents) {
		uint64_t value;
		ssize_t size = read(client->context->wake_fd, &value, sizeof(value)); /* it stays ready else */
		(void)size;
	}
	return !atomic_load(&client->context->closing);
}

bool rc_vtest_receive(struct rc_vtest_client *client, size_t size) {
	if (client->begin % 4 != 0 || client->begin + size > sizeof(client->buffer)) {
		memmove(client->buffer, client->buffer + client->begin, client->end - client->begin);
		client->end -= client->begin;
		client->begin = 0;
	}
	uint64_t spin_until_ns = 0;
	while (client->end - client->begin < size) {
		ssize_t got =
			recv(client->fd, client->buffer + client->end, sizeof(client->buffer) - client->end, MSG_DONTWAIT);
		if (got > 0) {
			client->end += (size_t)got;
			spin_until_ns = 0;
		} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
			return false;
		} else if (spin_until_ns == 0) {
			spin_until_ns = rc_now_ns() + SPIN_NS;
		} else if (rc_now_ns() < spin_until_ns) {
			sched_yield();
		} else if (!wait_for(client, POLLIN)) {
			return false;
		}
	}
	return true;
}

static bool send_message(struct rc_vtest_client *client, const struct msghdr *msg, size_t size) {
	/* Replies are small: all or nothing, but for a socket that is nearly full. */
	size_t sent = 0;
	while (sent < size) {
		ssize_t put = sent == 0 ? sendmsg(client->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL)
								: send(client->fd, (const uint8_t *)msg->msg_iov[0].iov_base + sent, size - sent,
									  MSG_DONTWAIT | MSG_NOSIGNAL);
		if (put > 0) {
			sent += (size_t)put;
		} else if (put == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(client, POLLOUT)) {
			return false;
		}
	}
	return true;
}

bool rc_vtest_reply(struct rc_vtest_client *client, uint32_t command, const uint32_t *words, uint32_t count) {
	uint32_t message[2 + 1 + VTEST_CAPSET_WORDS] = {count, command};
	if (count) {
		memcpy(message + 2, words, count * sizeof(uint32_t));
	}
	struct iovec iov = {.iov_base = message, .iov_len = VTEST_HEADER_SIZE + count * sizeof(uint32_t)};
	const struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	return send_message(client, &msg, iov.iov_len);
}

bool rc_vtest_send_fd(struct rc_vtest_client *client, int fd) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	return send_message(client, &msg, 1);
}
