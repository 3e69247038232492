/* SPDX-License-Identifier: Apache-2.0
 * One client of the vtest socket, on a thread of its own. */
#ifndef RC_VTEST_CLIENT_H
#define RC_VTEST_CLIENT_H

#include "execute/venus/stream.h"
#include "transport/vtest_protocol.h"

enum {
	RC_VTEST_MAX_MESSAGE = 65536, /* stock clients' have up to 200 bytes */
	RC_VTEST_MAX_SYNCS = 4096,
};

struct rc_vtest_sync {
	bool used;
	uint64_t value;
};

struct rc_vtest_client {
	struct rc_vn_context *context; /* borrowed */
	struct rc_vn_blob *refusal;    /* borrowed: rc_vn_blob_create_refused() */
	int fd;                        /* not blocking; borrowed */
	/* One client too many: it is told that we are too old, and sees no device. (To close would make it spin for ever.) */
	bool refused;
	bool initialized; /* CONTEXT_INIT came */
	bool garbled;     /* nothing more can be understood */
	struct rc_vn_stream stream;
	struct rc_vtest_sync *syncs;
	uint32_t sync_count;
	size_t begin, end; /* of what is received and not handled */
	uint8_t buffer[RC_VTEST_MAX_MESSAGE];
};

/* Serve until the client is gone, or context->closing is set, or the client breaks the protocol without having a ring that could tell it. All its
 * rings are gone when this returns. False: a ring's thread does not end, and uses the context for ever. */
bool rc_vtest_client_serve(struct rc_vtest_client *client);

/* ---- the socket (vtest_socket.c); false: the client is gone, or context->closing is set ---- */

/* At least `size` bytes, up to RC_VTEST_MAX_MESSAGE, from `begin` on, which is 4-aligned then. */
bool rc_vtest_receive(struct rc_vtest_client *client, size_t size);
/* Up to 1 + VTEST_CAPSET_WORDS words. */
bool rc_vtest_reply(struct rc_vtest_client *client, uint32_t command, const uint32_t *words, uint32_t count);
/* In a message of its own: a client reads one byte, and loses an fd that came with more. `fd` is borrowed. */
bool rc_vtest_send_fd(struct rc_vtest_client *client, int fd);

#endif
