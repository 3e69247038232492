/* SPDX-License-Identifier: Apache-2.0
 * vhost-user messages (the "Vhost-user Protocol" document of QEMU, "Message Specification"): framing and file descriptors on a stream socket. All
 * integers are little-endian. Core thread only. */
#ifndef RC_VHOST_MESSAGE_H
#define RC_VHOST_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/packet.h"

enum rc_vhost_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GPU_SET_SOCKET = 33,
};

enum {
	RC_VHOST_VERSION = 1, /* the two lowest bits of the flags */
	RC_VHOST_VERSION_MASK = 3,
	RC_VHOST_REPLY = 1 << 2,
	RC_VHOST_NEED_REPLY = 1 << 3,
	RC_VHOST_MAX_REGIONS = 8,    /* of SET_MEM_TABLE */
	RC_VHOST_MAX_CONFIG = 256,   /* "Virtio device config space" */
	RC_VHOST_MAX_PAYLOAD = 1024, /* three times the longest of those above */
	RC_VHOST_NO_FD = 1 << 8,     /* of SET_VRING_KICK, _CALL and _ERR; the lower bits are the queue */
	RC_VHOST_QUEUE_MASK = 0xff,
};

struct rc_vhost_header {
	uint32_t request, flags, size;
};

struct rc_vhost_region {
	uint64_t guest_address, size, user_address, fd_offset;
};

struct rc_vhost_mem_table {
	uint32_t count, padding;
	struct rc_vhost_region regions[RC_VHOST_MAX_REGIONS];
};

struct rc_vhost_vring_state {
	uint32_t index, value;
};

/* Addresses are of the front-end's own address space. */
struct rc_vhost_vring_address {
	uint32_t index, flags;
	uint64_t descriptors, used, available, log;
};

struct rc_vhost_config {
	uint32_t offset, size, flags;
	uint8_t bytes[RC_VHOST_MAX_CONFIG];
};

/* One message, being received or whole. Private memory: its sender cannot change it after the checks. */
struct rc_vhost_message {
	struct rc_vhost_header header;
	union {
		uint8_t bytes[RC_VHOST_MAX_PAYLOAD];
		uint64_t u64;
		struct rc_vhost_mem_table table;
		struct rc_vhost_vring_state state;
		struct rc_vhost_vring_address address;
		struct rc_vhost_config config;
	} payload;
	int fds[RC_VHOST_MAX_REGIONS]; /* the message's, until they are taken */
	uint32_t fd_count;
	bool too_many_fds; /* the rest was closed */
	size_t received;   /* bytes of header and payload so far */
};

void rc_vhost_message_init(struct rc_vhost_message *message);

/* Drop what came of a message, its fds too, and be ready for the next. */
void rc_vhost_message_reset(struct rc_vhost_message *message);

/* Read on without blocking. RC_PACKET_OK: the message is whole. RC_PACKET_NONE: the rest has not come yet. RC_PACKET_CLOSED: the peer is gone, or sent what
 * is no message (`*wrong` names the field then, and is NULL else): nothing after it makes sense. */
enum rc_packet_status rc_vhost_message_receive(int socket_fd, struct rc_vhost_message *message, const char **wrong);

/* Hand fd `index` over: the caller closes it. */
int rc_vhost_message_take_fd(struct rc_vhost_message *message, uint32_t index);

/* Answer `request` with a payload, without blocking. False: the peer does not read, or is gone. */
bool rc_vhost_message_reply(int socket_fd, uint32_t request, const void *payload, size_t size);

#endif
