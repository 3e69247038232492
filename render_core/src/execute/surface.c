/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "execute/surface.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "execute/import.h"

static struct rc_surface *wrap(void *map, uint64_t bytes) {
	struct rc_surface *surface = calloc(1, sizeof(*surface));
	if (!surface) {
		munmap(map, rc_page_align(bytes));
		return NULL;
	}
	*surface = (struct rc_surface){.refs = 1, .map = map, .bytes = bytes};
	return surface;
}

struct rc_surface *rc_surface_create(uint64_t bytes) {
	void *map = mmap(NULL, rc_page_align(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return map == MAP_FAILED ? NULL : wrap(map, bytes);
}

static bool map_run(uint8_t *at, const struct rc_page_run *run) {
	const struct rc_region *region = run->region;
	off_t offset = (off_t)(region->fd_offset + run->offset);
	size_t length = rc_page_align(run->length);
	/* Writable where the fd allows it: some drivers import only writable memory. Nothing here ever writes to it. */
	void *map = mmap(at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, region->fd, offset);
	if (map == MAP_FAILED) {
		map = mmap(at, length, PROT_READ, MAP_SHARED | MAP_FIXED, region->fd, offset);
	}
	return map != MAP_FAILED;
}

struct rc_surface *rc_surface_create_from_runs(const struct rc_page_run *runs, uint32_t count, uint64_t bytes) {
	uint8_t *map = mmap(NULL, rc_page_align(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		return NULL;
	}
	uint64_t at = 0;
	for (uint32_t i = 0; i < count && at < bytes; i++) {
		struct rc_page_run run = runs[i];
		if (run.length > bytes - at) {
			run.length = bytes - at;
		}
		if (!map_run(map + at, &run)) {
			munmap(map, rc_page_align(bytes));
			return NULL;
		}
		at += run.length;
	}
	struct rc_surface *surface = wrap(map, bytes);
	if (surface) {
		surface->mappings = count;
	}
	return surface;
}

struct rc_surface *rc_surface_ref(struct rc_surface *surface) {
	surface->refs++;
	return surface;
}

void rc_surface_unref(struct rc_surface *surface) {
	if (!surface || --surface->refs) {
		return;
	}
	rc_import_destroy(surface->import);
	munmap(surface->map, rc_page_align(surface->bytes));
	free(surface);
}
