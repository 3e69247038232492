/* SPDX-License-Identifier: Apache-2.0
 * What one guest may grow, and how much of it there is. A guest is a worker: all its clients share the limits. */
#ifndef RC_VN_LIMITS_H
#define RC_VN_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "decode/object_table.h"

struct rc_vn_limits {
	uint64_t memory_bytes;         /* of VkDeviceMemory, all heaps together */
	uint64_t visible_bytes;        /* of these, what clients can map: memfd pages, the machine's own memory */
	uint64_t shared_bytes;         /* of blobs that are not VkDeviceMemory: rings, replies, uploads */
	uint64_t command_buffer_bytes; /* recorded and not reset */
	uint64_t scratch_bytes;        /* one command's decoded structs, and one command stream */
	uint32_t clients;              /* connections at once */
	uint32_t objects;              /* of each type, of each client */
	uint32_t memories;             /* VkDeviceMemory: each holds an fd and a mapping */
	uint32_t blobs;                /* of each client */
	uint32_t rings;                /* of each client */
	uint32_t queued_submits;       /* of each queue: more wait for the oldest */
	uint32_t wait_ms;              /* the longest a ring waits for the GPU in one command */
	uint32_t gpu_timeout_ms;       /* work that takes longer on a queue: the device is lost */
};

/* Defaults; docs/protocol/venus-limits.md has the reasons. `cpu`: the device is a CPU, whose work takes longer and whose memory is the machine's. */
struct rc_vn_limits rc_vn_limits_default(bool cpu);

/* Set a limit by its name: the member's with dashes ("memory-bytes"). False: no such limit, or a value that it cannot have. */
bool rc_vn_limits_set(struct rc_vn_limits *limits, const char *name, uint64_t value);

struct rc_vn_usage {
	_Atomic uint64_t memory_bytes, visible_bytes, shared_bytes, command_buffer_bytes;
	_Atomic uint32_t clients, memories;
	_Atomic uint64_t refused; /* requests over a limit, for the statistics */
};

/* Add to a counter unless it would pass `limit`. Given back with atomic_fetch_sub(). */
bool rc_vn_usage_take64(_Atomic uint64_t *counter, uint64_t amount, uint64_t limit);
bool rc_vn_usage_take32(_Atomic uint32_t *counter, uint32_t amount, uint32_t limit);

#endif
