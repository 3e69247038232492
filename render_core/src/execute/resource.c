/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/resource.h"

#include <stdlib.h>
#include <string.h>

#include "decode/virtio_gpu_protocol.h"

bool rc_format_is_known(uint32_t format) {
	switch (format) {
	case VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM:
	case VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM:
	case VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM:
	case VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM:
	case VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM:
	case VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM:
	case VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM:
	case VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM:
		return true;
	default:
		return false;
	}
}

struct rc_resource *rc_resource_find(struct rc_resource_table *table, uint32_t id) {
	for (uint32_t i = 0; id && i < RC_MAX_RESOURCES; i++) {
		if (table->entries[i].id == id) {
			return &table->entries[i];
		}
	}
	return NULL;
}

struct rc_resource *rc_resource_add(struct rc_resource_table *table, uint32_t id) {
	for (uint32_t i = 0; i < RC_MAX_RESOURCES; i++) {
		if (table->entries[i].id == 0) {
			table->entries[i] = (struct rc_resource){.id = id};
			return &table->entries[i];
		}
	}
	return NULL;
}

void rc_resource_set_backing(struct rc_resource *resource, struct rc_page_run *runs, uint32_t count) {
	for (uint32_t i = 0; i < resource->backing_count; i++) {
		rc_region_unref(resource->backing[i].region);
	}
	free(resource->backing);
	resource->backing = runs;
	resource->backing_count = count;
	resource->backing_bytes = 0;
	for (uint32_t i = 0; i < count; i++) {
		rc_region_ref(runs[i].region);
		resource->backing_bytes += runs[i].length;
	}
}

void rc_resource_remove(struct rc_resource_table *table, struct rc_resource *resource) {
	rc_resource_set_backing(resource, NULL, 0);
	if (!resource->blob && resource->surface) {
		table->host_bytes -= resource->surface->bytes;
	}
	rc_surface_unref(resource->surface);
	*resource = (struct rc_resource){0};
}

bool rc_resource_transfer(struct rc_resource *resource, const struct rc_rect *rect, uint64_t offset) {
	uint64_t stride = (uint64_t)resource->width * 4;
	uint64_t row_bytes = (uint64_t)rect->width * 4;
	uint64_t span = stride * (rect->height - 1) + row_bytes;
	if (offset > resource->backing_bytes || span > resource->backing_bytes - offset) {
		return false;
	}
	/* Offsets only grow, so the runs are walked once. */
	uint32_t run = 0;
	uint64_t run_begin = 0;
	for (uint32_t row = 0; row < rect->height; row++) {
		uint64_t from = offset + stride * row;
		uint8_t *to = resource->surface->map + stride * (rect->y + row) + (uint64_t)rect->x * 4;
		uint64_t left = row_bytes;
		while (left) {
			const struct rc_page_run *source = &resource->backing[run];
			if (from - run_begin >= source->length) {
				run_begin += source->length;
				run++;
				continue;
			}
			uint64_t in_run = from - run_begin;
			uint64_t part = source->length - in_run < left ? source->length - in_run : left;
			memcpy(to, source->region->map + source->offset + in_run, part);
			to += part;
			from += part;
			left -= part;
		}
	}
	return true;
}

void rc_resource_table_finish(struct rc_resource_table *table) {
	for (uint32_t i = 0; i < RC_MAX_RESOURCES; i++) {
		if (table->entries[i].id) {
			rc_resource_remove(table, &table->entries[i]);
		}
	}
}
