/* SPDX-License-Identifier: Apache-2.0
 * virtio-gpu resources of one guest (Virtio 1.2, 5.7.6.8). */
#ifndef RC_RESOURCE_H
#define RC_RESOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "execute/region.h"
#include "execute/surface.h"
#include "render_core.h"

enum {
	RC_MAX_RESOURCES = 256,
	RC_MAX_ENTRIES = 65536,  /* 256 MiB of scattered pages; a packet holds an eighth of that, vhost-user all of it */
	RC_MAX_RUNS = 262144,    /* of all backings: 6 MiB of ours */
	RC_MAX_MAPPINGS = 32768, /* of all blobs: half of what the kernel gives a process (vm.max_map_count) */
};
#define RC_MAX_HOST_BYTES (UINT64_C(1) << 30)
#define RC_MAX_BLOB_BYTES                                                                                              \
	(UINT64_C(4) << 30) /* entries may name the same page again: address space is the guest's to fill */

struct rc_resource {
	uint32_t id; /* 0: the table entry is free */
	bool blob;
	uint32_t format, width, height; /* 2D only; the stride is width * 4 */
	struct rc_surface *surface;     /* 2D: our memory; blob: the guest's */
	struct rc_page_run *backing;    /* owned, with a reference to each region; NULL: none attached */
	uint32_t backing_count;
	uint64_t backing_bytes;
};

struct rc_resource_table {
	struct rc_resource entries[RC_MAX_RESOURCES];
	uint64_t host_bytes; /* of all 2D resources */
};

/* True for the eight 32-bit formats of virtio-gpu. */
bool rc_format_is_known(uint32_t format);

struct rc_resource *rc_resource_find(struct rc_resource_table *table, uint32_t id);

/* A free entry with its id set, or NULL when the table is full. The id must not be 0 or in use. */
struct rc_resource *rc_resource_add(struct rc_resource_table *table, uint32_t id);
void rc_resource_remove(struct rc_resource_table *table, struct rc_resource *resource);

/* Replace the backing; `runs` must come from malloc and is the resource's from then on. */
void rc_resource_set_backing(struct rc_resource *resource, struct rc_page_run *runs, uint32_t count);

/* Copy `rect` (inside the resource) from the backing, where its first pixel is at `offset` and rows are width * 4 apart.
 * False: it reaches outside the backing. */
bool rc_resource_transfer(struct rc_resource *resource, const struct rc_rect *rect, uint64_t offset);

void rc_resource_table_finish(struct rc_resource_table *table);

#endif
