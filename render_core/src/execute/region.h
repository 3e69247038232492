/* SPDX-License-Identifier: Apache-2.0
 * Guest memory: the regions that virtio's memory entries point into. */
#ifndef RC_REGION_H
#define RC_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"

enum { RC_MAX_REGIONS = 64, RC_PAGE = 4096 };
#define RC_MAX_REGION_BYTES (UINT64_C(16) << 30)

struct rc_region {
	struct rc_list link;      /* rc_memory::regions; self-linked when removed but still referenced */
	struct rc_memory *memory; /* whose quota it counts for; outlives it */
	uint32_t refs;
	uint64_t base, size;
	uint64_t fd_offset;
	int fd;
	uint8_t *map; /* shared with the guest, which writes at any time */
};

/* All regions of one guest. What a transport may set after rc_memory_init(): the two settings. */
struct rc_memory {
	struct rc_list regions;
	bool writable;      /* regions are mapped for writing too: virtqueues lie in them; else only ever read */
	uint64_t max_bytes; /* RC_MAX_REGION_BYTES */
	uint32_t count;     /* with those that are removed but still referenced: they hold fds and mappings too */
	uint64_t bytes;
};

/* finish: after all references to regions are given back. */
void rc_memory_init(struct rc_memory *memory);
void rc_memory_finish(struct rc_memory *memory);

/* Map a region. NULL on success, and then `fd` is the memory's; else the name of the field that is wrong ("memory" when mapping
 * failed), and the fd stays the caller's. */
const char *rc_memory_add(struct rc_memory *memory, uint64_t base, uint64_t size, uint64_t fd_offset, int fd);

/* Forget a region by its base. False: no such region. Resources that use it keep it alive, and it counts until they are gone. */
bool rc_memory_remove(struct rc_memory *memory, uint64_t base);

/* True when `region` is [base, base + size) and maps that part of the very file that `fd` is. */
bool rc_region_is(const struct rc_region *region, uint64_t base, uint64_t size, uint64_t fd_offset, int fd);

/* The region that holds all of [addr, addr + size), or NULL. */
struct rc_region *rc_memory_find(const struct rc_memory *memory, uint64_t addr, uint64_t size);

struct rc_region *rc_region_ref(struct rc_region *region);
void rc_region_unref(struct rc_region *region);

#endif
