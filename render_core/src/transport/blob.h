/* SPDX-License-Identifier: Apache-2.0
 * Shared memory between a Venus client and us: vtest's blob resources. */
#ifndef RC_BLOB_H
#define RC_BLOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A sealed memfd (F_SEAL_SHRINK|GROW|SEAL: the client cannot make us fault) and our mapping of it. Reference-counted, any thread: rings, reply windows,
 * VkDeviceMemory and the table hold references. */
struct rc_vn_blob {
	_Atomic uint32_t refs;
	int fd;
	size_t size; /* as asked for; fd and mapping are rounded up to `mapped` */
	size_t mapped;
	uint8_t *map;              /* shared with the client, which writes at any time */
	_Atomic uint64_t *account; /* `charged` is taken off when the blob goes; NULL: nothing is */
	uint64_t charged;
};

/* Zeroed memory, lazily populated. `align`: power of two, at least the page size; the mapping's address and size are multiples of it. NULL: out of memory or fds. */
struct rc_vn_blob *rc_vn_blob_create(size_t size, size_t align);
/* What a client gets instead of a blob that it cannot have: no bytes, and an fd that cannot be mapped. A stock client's vkMapMemory then says
 * VK_ERROR_MEMORY_MAP_FAILED, its allocation of shared memory VK_ERROR_OUT_OF_HOST_MEMORY. */
struct rc_vn_blob *rc_vn_blob_create_refused(void);
struct rc_vn_blob *rc_vn_blob_ref(struct rc_vn_blob *blob);
void rc_vn_blob_unref(struct rc_vn_blob *blob); /* NULL is allowed */
/* `bytes` were added to a usage counter for this blob; they are taken off with its last reference. Before it is shared. */
void rc_vn_blob_charge(struct rc_vn_blob *blob, _Atomic uint64_t *account, uint64_t bytes);

/* Of one client: small dense ids from 1. */
struct rc_vn_blob_table {
	pthread_mutex_t mutex;
	struct rc_vn_blob **blobs; /* index id - 1; NULL: free */
	uint32_t capacity, count, limit;
	uint32_t first_free; /* no free index is below it */
};
void rc_vn_blob_table_init(struct rc_vn_blob_table *table, uint32_t limit);
void rc_vn_blob_table_finish(struct rc_vn_blob_table *table); /* gives back all references */
/* Takes one reference over; returns the id, or 0 when the table is full (then the reference stays the caller's). */
uint32_t rc_vn_blob_table_add(struct rc_vn_blob_table *table, struct rc_vn_blob *blob);
/* A new reference, or NULL. */
struct rc_vn_blob *rc_vn_blob_table_get(struct rc_vn_blob_table *table, uint32_t id);
bool rc_vn_blob_table_remove(struct rc_vn_blob_table *table, uint32_t id);

#endif
