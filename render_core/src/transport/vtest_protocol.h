/* SPDX-License-Identifier: Apache-2.0
 * vtest, protocol version 3: messages of 32-bit words, little-endian. A header of two words (length of the payload in words, command), the payload;
 * replies alike, with the request's command. Fds travel in a message of one byte of their own, after the reply (docs/protocol/vtest.md). */
#ifndef RC_VTEST_PROTOCOL_H
#define RC_VTEST_PROTOCOL_H

enum {
	VTEST_PROTOCOL_VERSION = 3,
	VTEST_HEADER_SIZE = 8,
	VTEST_CAPSET_VENUS = 4,
	VTEST_CAPSET_WORDS = 40,
	VTEST_MAX_TIMELINES = 64, /* what a client can count */
};

enum vtest_command {
	VTEST_RESOURCE_UNREF = 3,         /* resource */
	VTEST_RESOURCE_BUSY_WAIT = 7,     /* resource, flags -> busy */
	VTEST_CREATE_RENDERER = 8,        /* the client's name; length in bytes */
	VTEST_PING_PROTOCOL_VERSION = 10, /* -> nothing */
	VTEST_PROTOCOL_VERSION_NUM = 11,  /* version -> version */
	VTEST_GET_PARAM = 15,             /* param -> valid, value */
	VTEST_GET_CAPSET = 16,            /* id, version -> valid, capset */
	VTEST_CONTEXT_INIT = 17,          /* capset id */
	VTEST_RESOURCE_CREATE_BLOB = 18,  /* type, flags, size (2), id (2) -> resource; fd */
	VTEST_SYNC_CREATE = 19,           /* value (2) -> sync */
	VTEST_SYNC_UNREF = 20,            /* sync */
	VTEST_SYNC_READ = 21,             /* sync -> value (2) */
	VTEST_SYNC_WRITE = 22,            /* sync, value (2) */
	VTEST_SYNC_WAIT = 23,             /* flags, timeout ms, n times: sync, value (2) -> nothing; fd */
	VTEST_SUBMIT_CMD2 = 24,           /* count, count times: struct vtest_batch; commands; syncs */
};

enum vtest_param {
	VTEST_PARAM_MAX_TIMELINE_COUNT = 1,
};

enum vtest_blob {
	VTEST_BLOB_HOST3D = 2,
	VTEST_BLOB_FLAGS = 7, /* all that exist: mappable, shareable, cross-device */
};

/* Of VTEST_SUBMIT_CMD2. Offsets and sizes in words, from the start of the payload. */
struct vtest_batch {
	uint32_t flags, command_offset, command_size, sync_offset, sync_count, ring_idx;
};

#endif
