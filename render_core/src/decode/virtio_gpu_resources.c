/* SPDX-License-Identifier: Apache-2.0
 * virtio-gpu's commands on resources and their memory, and what a guest may have of both. */
#include <stdlib.h>
#include <string.h>

#include "decode/virtio_gpu_call.h"
#include "util/rect.h"

static struct rc_resource *add_resource(struct rc_call *call, uint32_t id) {
	if (id == 0 || rc_resource_find(&call->gpu->resources, id)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, "resource_id (0 or in use)");
		return NULL;
	}
	struct rc_resource *resource = rc_resource_add(&call->gpu->resources, id);
	if (!resource) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "resource_id (too many resources)");
	}
	return resource;
}

/* What scanout `index` shows and a former connection or driver of the guest left behind; NULL: nothing, or what another scanout before it shows too. */
static const struct rc_surface *orphan(const struct rc_virtio_gpu *gpu, uint32_t index) {
	const struct rc_surface *surface = gpu->scanouts[index].resource_id ? NULL : gpu->scanouts[index].picture.surface;
	for (uint32_t i = 0; surface && i < index; i++) {
		surface = gpu->scanouts[i].picture.surface == surface ? NULL : surface;
	}
	return surface;
}

/* Such pictures stay, and count for the quotas of who comes after; they go when that leaves it too little. */
static void drop_orphans(struct rc_virtio_gpu *gpu) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		if (!gpu->scanouts[i].resource_id && gpu->scanouts[i].picture.surface) {
			rc_scanout_hide(&gpu->scanouts[i]);
		}
	}
}

static uint64_t orphaned_host_bytes(const struct rc_virtio_gpu *gpu) {
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		const struct rc_surface *surface = orphan(gpu, i);
		bytes += surface && !surface->mappings ? surface->bytes : 0;
	}
	return bytes;
}

/* Whether the guest may have so many more bytes of ours. */
static bool host_bytes_fit(struct rc_virtio_gpu *gpu, uint64_t bytes) {
	const uint64_t with = bytes + gpu->resources.host_bytes;
	if (with <= RC_MAX_HOST_BYTES && with + orphaned_host_bytes(gpu) > RC_MAX_HOST_BYTES) {
		drop_orphans(gpu);
	}
	return with <= RC_MAX_HOST_BYTES;
}

static uint32_t used_runs(const struct rc_virtio_gpu *gpu) {
	uint32_t runs = 0;
	for (uint32_t i = 0; i < RC_MAX_RESOURCES; i++) {
		runs += gpu->resources.entries[i].backing_count;
	}
	return runs;
}

static uint32_t used_mappings(const struct rc_virtio_gpu *gpu) {
	uint32_t mappings = 0;
	for (uint32_t i = 0; i < RC_MAX_RESOURCES; i++) {
		const struct rc_surface *surface = gpu->resources.entries[i].surface;
		mappings += surface ? surface->mappings : 0;
	}
	return mappings;
}

static uint32_t orphaned_mappings(const struct rc_virtio_gpu *gpu) {
	uint32_t mappings = 0;
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		const struct rc_surface *surface = orphan(gpu, i);
		mappings += surface ? surface->mappings : 0;
	}
	return mappings;
}

/* Whether the guest may have so many more mappings. */
static bool mappings_fit(struct rc_virtio_gpu *gpu, uint32_t count) {
	const uint32_t with = count + used_mappings(gpu);
	if (with <= RC_MAX_MAPPINGS && with + orphaned_mappings(gpu) > RC_MAX_MAPPINGS) {
		drop_orphans(gpu);
	}
	return with <= RC_MAX_MAPPINGS;
}

/* One more run of memory; what follows the run before it becomes one with that. Returns the new count. */
static uint32_t append_run(
	struct rc_page_run *runs, uint32_t count, struct rc_region *region, uint64_t offset, uint32_t length) {
	struct rc_page_run *last = count ? &runs[count - 1] : NULL;
	if (last && last->region == region && last->offset + last->length == offset) {
		last->length += length;
		return count;
	}
	runs[count] = (struct rc_page_run){.region = region, .offset = offset, .length = length};
	return count + 1;
}

/* The memory entries behind a request's body, resolved to regions: malloc'ed, NULL after an answer. `pages`: each must be whole pages.
 * `*run_count`: at most `count`. */
static struct rc_page_run *read_entries(
	struct rc_call *call, size_t at, uint32_t count, bool pages, uint32_t *run_count) {
	if (count == 0 || count > RC_MAX_ENTRIES) {
		rc_call_fail(
			call, count ? VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY : VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "nr_entries");
		return NULL;
	}
	if (call->size - at != (size_t)count * sizeof(struct virtio_gpu_mem_entry)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "nr_entries (size of the request)");
		return NULL;
	}
	struct rc_page_run *runs = calloc(count, sizeof(*runs));
	if (!runs) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "nr_entries");
		return NULL;
	}
	*run_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct virtio_gpu_mem_entry entry;
		memcpy(&entry, call->request + at + i * sizeof(entry), sizeof(entry));
		struct rc_region *region = entry.length ? rc_memory_find(&call->gpu->memory, entry.addr, entry.length) : NULL;
		if (!region || (pages && (entry.addr % RC_PAGE || entry.length % RC_PAGE))) {
			rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "memory entry");
			free(runs);
			return NULL;
		}
		*run_count = append_run(runs, *run_count, region, entry.addr - region->base, entry.length);
	}
	struct rc_page_run *fitting = realloc(runs, *run_count * sizeof(*runs));
	return fitting ? fitting : runs;
}

void rc_execute_resource_create_2d(struct rc_call *call) {
	struct virtio_gpu_resource_create_2d body;
	if (!rc_call_read(call, &body, sizeof(body), false)) {
		return;
	}
	if (!rc_format_is_known(body.format)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "format");
		return;
	}
	if (body.width == 0 || body.height == 0 || body.width > RC_MAX_SIZE || body.height > RC_MAX_SIZE) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
			body.width == 0 || body.width > RC_MAX_SIZE ? "width" : "height");
		return;
	}
	struct rc_resource_table *table = &call->gpu->resources;
	uint64_t bytes = (uint64_t)body.width * body.height * 4;
	struct rc_resource *resource = add_resource(call, body.resource_id);
	if (!resource) {
		return;
	}
	if (host_bytes_fit(call->gpu, bytes)) {
		resource->surface = rc_surface_create(bytes);
	}
	if (!resource->surface) {
		rc_resource_remove(table, resource);
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "width and height (host memory)");
		return;
	}
	table->host_bytes += bytes;
	resource->format = body.format;
	resource->width = body.width;
	resource->height = body.height;
}

void rc_execute_resource_create_blob(struct rc_call *call) {
	struct virtio_gpu_resource_create_blob body;
	if (!rc_call_read(call, &body, sizeof(body), true)) {
		return;
	}
	if (body.blob_mem != VIRTIO_GPU_BLOB_MEM_GUEST) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "blob_mem");
		return;
	}
	struct rc_resource *resource = add_resource(call, body.resource_id);
	if (!resource) {
		return;
	}
	resource->blob = true;
	uint32_t count;
	struct rc_page_run *runs = read_entries(call, sizeof(body), body.nr_entries, true, &count);
	if (!runs) {
		rc_resource_remove(&call->gpu->resources, resource);
		return;
	}
	rc_resource_set_backing(resource, runs, count);
	if (body.size == 0 || body.size > resource->backing_bytes || body.size > RC_MAX_BLOB_BYTES) {
		rc_resource_remove(&call->gpu->resources, resource);
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "size");
		return;
	}
	if (mappings_fit(call->gpu, count)) {
		resource->surface = rc_surface_create_from_runs(resource->backing, resource->backing_count, body.size);
	}
	if (!resource->surface) {
		rc_resource_remove(&call->gpu->resources, resource);
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "nr_entries (mappings)");
	}
}

static void hide_where_shown(struct rc_call *call, uint32_t resource_id) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		if (rc_call_shows(call->gpu, &call->gpu->scanouts[i], resource_id)) {
			rc_scanout_hide(&call->gpu->scanouts[i]);
		}
	}
}

void rc_execute_resource_unref(struct rc_call *call) {
	struct virtio_gpu_resource_unref body;
	struct rc_resource *resource =
		rc_call_read(call, &body, sizeof(body), false) ? rc_call_find_resource(call, body.resource_id) : NULL;
	if (resource) {
		hide_where_shown(call, body.resource_id);
		rc_resource_remove(&call->gpu->resources, resource);
	}
}

void rc_execute_resource_attach_backing(struct rc_call *call) {
	struct virtio_gpu_resource_attach_backing body;
	struct rc_resource *resource =
		rc_call_read(call, &body, sizeof(body), true) ? rc_call_find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	if (resource->blob || resource->backing) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (it has its memory)");
		return;
	}
	uint32_t count;
	struct rc_page_run *runs = read_entries(call, sizeof(body), body.nr_entries, false, &count);
	if (!runs) {
		return;
	}
	if (count + used_runs(call->gpu) > RC_MAX_RUNS) {
		free(runs);
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "nr_entries (of all resources)");
		return;
	}
	rc_resource_set_backing(resource, runs, count);
}

void rc_execute_resource_detach_backing(struct rc_call *call) {
	struct virtio_gpu_resource_unref body; /* the same layout */
	struct rc_resource *resource =
		rc_call_read(call, &body, sizeof(body), false) ? rc_call_find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	if (resource->blob || !resource->backing) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (it has no backing to detach)");
		return;
	}
	rc_resource_set_backing(resource, NULL, 0);
}

void rc_execute_transfer_to_host_2d(struct rc_call *call) {
	struct virtio_gpu_transfer_to_host_2d body;
	struct rc_resource *resource =
		rc_call_read(call, &body, sizeof(body), false) ? rc_call_find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	struct rc_rect rect = rc_call_rect(&body.r);
	if (resource->blob || !resource->backing) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (not a 2D resource with backing)");
	} else if (!rc_rect_inside(&rect, resource->width, resource->height)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "r");
	} else if (!rc_resource_transfer(resource, &rect, body.offset)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "offset");
	}
}
