/* SPDX-License-Identifier: Apache-2.0
 * Pixel memory that a scanout can show: a guest's own (blob resources) or ours (2D resources). */
#ifndef RC_SURFACE_H
#define RC_SURFACE_H

#include <stdbool.h>
#include <stdint.h>

#include "execute/region.h"
#include "util/list.h"

struct rc_import; /* execute/import.h */

/* A contiguous view, page-aligned at both ends. Reference-counted: resources and scanouts share it. */
struct rc_surface {
	uint32_t refs;
	uint8_t *map;
	uint64_t bytes;           /* valid bytes; the mapping is rounded up to pages */
	uint32_t mappings;        /* of guest memory, for the quota; 0: host memory */
	struct rc_import *import; /* made by the GPU convert path on first use, or NULL */
	bool import_failed;       /* tried once: do not try for every frame */
};

/* A page run of a region, in order. */
struct rc_page_run {
	struct rc_region *region;
	uint64_t offset, length; /* bytes, multiples of RC_PAGE but for the last length */
};

/* Zeroed host memory. NULL: out of memory. */
struct rc_surface *rc_surface_create(uint64_t bytes);

/* The runs' pages mapped one after another: no copy. NULL: out of memory or mappings. */
struct rc_surface *rc_surface_create_from_runs(const struct rc_page_run *runs, uint32_t count, uint64_t bytes);

struct rc_surface *rc_surface_ref(struct rc_surface *surface);
void rc_surface_unref(struct rc_surface *surface); /* NULL is allowed */

static inline uint64_t rc_page_align(uint64_t bytes) {
	return (bytes + RC_PAGE - 1) & ~(uint64_t)(RC_PAGE - 1);
}

#endif
