/* SPDX-License-Identifier: Apache-2.0
 * The worker's end of the guard link (docs/protocol/guard-link.md): whoever supervises the worker learns of clients and rings, to end them when the
 * worker dies. Any thread. */
#ifndef RC_GUARD_H
#define RC_GUARD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RC_GUARD_MESSAGE_SIZE = 24 };

enum rc_guard_type {
	RC_GUARD_CLIENT_ADDED = 1,
	RC_GUARD_RING_ADDED = 2,
	RC_GUARD_RING_REMOVED = 3,
	RC_GUARD_CLIENT_REMOVED = 4,
};

struct rc_vn_guard {
	int fd; /* borrowed; -1 after a failure: the supervisor is gone, or does not read */
	pthread_mutex_t mutex;
	uint32_t ring_number; /* the last one given out */
};

/* `fd`: SOCK_SEQPACKET, borrowed. */
void rc_vn_guard_init(struct rc_vn_guard *guard, int fd);
void rc_vn_guard_finish(struct rc_vn_guard *guard);

/* `guard` may be NULL in all of these. False: the supervisor could not be told; nobody ends these clients when the worker dies. */
bool rc_vn_guard_add_client(struct rc_vn_guard *guard, uint32_t client, int socket_fd);
bool rc_vn_guard_remove_client(struct rc_vn_guard *guard, uint32_t client);
/* *ring: the number for rc_vn_guard_remove_ring(). Returns when the kernel holds the message: before the ring's first command. */
bool rc_vn_guard_add_ring(
	struct rc_vn_guard *guard, uint32_t client, int memfd, uint64_t status_offset, uint32_t *ring);
bool rc_vn_guard_remove_ring(struct rc_vn_guard *guard, uint32_t client, uint32_t ring);

#endif
