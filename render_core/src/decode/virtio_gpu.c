/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/virtio_gpu.h"

#include <stdlib.h>
#include <string.h>

#include "scanout/edid.h"
#include "util/rect.h"

/* One request being executed. */
struct call {
	struct rc_virtio_gpu *gpu;
	const uint8_t *request;
	size_t size;
	struct rc_reply *reply;
	const char *command;
};

void rc_virtio_gpu_init(struct rc_virtio_gpu *gpu, struct rc_log *log, struct rc_scanout *scanouts) {
	*gpu = (struct rc_virtio_gpu){.log = log, .scanouts = scanouts};
	rc_memory_init(&gpu->memory);
}

static void free_resources(struct rc_virtio_gpu *gpu) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		if (gpu->scanouts[i].guest == gpu) {
			rc_scanout_orphan(&gpu->scanouts[i]);
		}
	}
	rc_resource_table_finish(&gpu->resources);
}

void rc_virtio_gpu_finish(struct rc_virtio_gpu *gpu) {
	free_resources(gpu);
	rc_memory_finish(&gpu->memory);
}

void rc_virtio_gpu_reset(struct rc_virtio_gpu *gpu) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		struct rc_scanout *scanout = &gpu->scanouts[i];
		/* Also where nothing is shown now: a guest may be reset while its screen is dark. */
		if ((!scanout->guest || scanout->guest == gpu) && scanout->cursor.width) {
			rc_cursor_hide(&scanout->cursor);
			rc_scanout_tell(scanout, RC_NEWS_CURSOR_IMAGE);
		}
	}
	free_resources(gpu);
}

void rc_virtio_gpu_fail(struct rc_virtio_gpu *gpu, struct rc_reply *reply, enum virtio_gpu_ctrl_type error,
	const char *command, const char *field) {
	static const char *const names[] = {"ERR_UNSPEC", "ERR_OUT_OF_MEMORY", "ERR_INVALID_SCANOUT_ID",
		"ERR_INVALID_RESOURCE_ID", "ERR_INVALID_CONTEXT_ID", "ERR_INVALID_PARAMETER"};
	rc_log(gpu->log, RC_LOG_WARN, "display: %s: %s is wrong: %s", command, field,
		names[error - VIRTIO_GPU_RESP_ERR_UNSPEC]);
	reply->hdr.type = error;
	reply->size = sizeof(reply->hdr);
}

static void fail(struct call *call, enum virtio_gpu_ctrl_type error, const char *field) {
	rc_virtio_gpu_fail(call->gpu, call->reply, error, call->command, field);
}

/* Copy a fixed-size body out; `more`: entries may follow. */
static bool read_body(struct call *call, void *body, size_t size, bool more) {
	if (call->size < size || (!more && call->size != size)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "size of the request");
		return false;
	}
	memcpy(body, call->request, size);
	return true;
}

static struct rc_resource *find_resource(struct call *call, uint32_t id) {
	struct rc_resource *resource = rc_resource_find(&call->gpu->resources, id);
	if (!resource) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, "resource_id");
	}
	return resource;
}

static struct rc_scanout *find_scanout(struct call *call, uint32_t id) {
	if (id >= RC_MAX_SCANOUTS) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID, "scanout_id");
		return NULL;
	}
	return &call->gpu->scanouts[id];
}

static struct rc_resource *add_resource(struct call *call, uint32_t id) {
	if (id == 0 || rc_resource_find(&call->gpu->resources, id)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, "resource_id (0 or in use)");
		return NULL;
	}
	struct rc_resource *resource = rc_resource_add(&call->gpu->resources, id);
	if (!resource) {
		fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "resource_id (too many resources)");
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

/* Whether `scanout` shows this guest's resource. */
static bool shows(const struct rc_virtio_gpu *gpu, const struct rc_scanout *scanout, uint32_t resource_id) {
	return scanout->guest == gpu && scanout->resource_id == resource_id;
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
static struct rc_page_run *read_entries(struct call *call, size_t at, uint32_t count, bool pages, uint32_t *run_count) {
	if (count == 0 || count > RC_MAX_ENTRIES) {
		fail(call, count ? VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY : VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "nr_entries");
		return NULL;
	}
	if (call->size - at != (size_t)count * sizeof(struct virtio_gpu_mem_entry)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "nr_entries (size of the request)");
		return NULL;
	}
	struct rc_page_run *runs = calloc(count, sizeof(*runs));
	if (!runs) {
		fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "nr_entries");
		return NULL;
	}
	*run_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct virtio_gpu_mem_entry entry;
		memcpy(&entry, call->request + at + i * sizeof(entry), sizeof(entry));
		struct rc_region *region = entry.length ? rc_memory_find(&call->gpu->memory, entry.addr, entry.length) : NULL;
		if (!region || (pages && (entry.addr % RC_PAGE || entry.length % RC_PAGE))) {
			fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "memory entry");
			free(runs);
			return NULL;
		}
		*run_count = append_run(runs, *run_count, region, entry.addr - region->base, entry.length);
	}
	struct rc_page_run *fitting = realloc(runs, *run_count * sizeof(*runs));
	return fitting ? fitting : runs;
}

/* ---- queries ---- */

static void get_display_info(struct call *call) {
	struct virtio_gpu_ctrl_hdr body;
	if (!read_body(call, &body, sizeof(body), false)) {
		return;
	}
	uint32_t x = 0; /* from left to right, as people put their monitors */
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		struct rc_scanout *scanout = &call->gpu->scanouts[i];
		struct virtio_gpu_display_one *mode = &call->reply->display_info.pmodes[i];
		*mode = (struct virtio_gpu_display_one){.enabled = scanout->wanted};
		scanout->wanted_unseen = false;
		if (scanout->wanted) {
			mode->r =
				(struct virtio_gpu_rect){.x = x, .width = scanout->wanted_width, .height = scanout->wanted_height};
			x += scanout->wanted_width;
		}
	}
	call->reply->hdr.type = VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
	call->reply->size = sizeof(call->reply->display_info);
}

static void get_edid(struct call *call) {
	struct virtio_gpu_get_edid body;
	if (!read_body(call, &body, sizeof(body), false)) {
		return;
	}
	const struct rc_scanout *scanout = find_scanout(call, body.scanout);
	if (!scanout) {
		return;
	}
	memset((uint8_t *)&call->reply->edid + sizeof(call->reply->hdr), 0,
		sizeof(call->reply->edid) - sizeof(call->reply->hdr));
	/* Drivers ask for all of a device's scanouts: one that nobody wants has a monitor of some size, which GET_DISPLAY_INFO says is off. */
	const uint32_t width = scanout->wanted ? scanout->wanted_width : 1024,
				   height = scanout->wanted ? scanout->wanted_height : 768;
	call->reply->edid.size = rc_edid_fill(call->reply->edid.edid, width, height, scanout->refresh_mhz);
	call->reply->hdr.type = VIRTIO_GPU_RESP_OK_EDID;
	call->reply->size = sizeof(call->reply->edid);
}

/* ---- resources ---- */

static void resource_create_2d(struct call *call) {
	struct virtio_gpu_resource_create_2d body;
	if (!read_body(call, &body, sizeof(body), false)) {
		return;
	}
	if (!rc_format_is_known(body.format)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "format");
		return;
	}
	if (body.width == 0 || body.height == 0 || body.width > RC_MAX_SIZE || body.height > RC_MAX_SIZE) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
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
		fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "width and height (host memory)");
		return;
	}
	table->host_bytes += bytes;
	resource->format = body.format;
	resource->width = body.width;
	resource->height = body.height;
}

static void resource_create_blob(struct call *call) {
	struct virtio_gpu_resource_create_blob body;
	if (!read_body(call, &body, sizeof(body), true)) {
		return;
	}
	if (body.blob_mem != VIRTIO_GPU_BLOB_MEM_GUEST) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "blob_mem");
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
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "size");
		return;
	}
	if (mappings_fit(call->gpu, count)) {
		resource->surface = rc_surface_create_from_runs(resource->backing, resource->backing_count, body.size);
	}
	if (!resource->surface) {
		rc_resource_remove(&call->gpu->resources, resource);
		fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "nr_entries (mappings)");
	}
}

static void hide_where_shown(struct call *call, uint32_t resource_id) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		if (shows(call->gpu, &call->gpu->scanouts[i], resource_id)) {
			rc_scanout_hide(&call->gpu->scanouts[i]);
		}
	}
}

static void resource_unref(struct call *call) {
	struct virtio_gpu_resource_unref body;
	struct rc_resource *resource =
		read_body(call, &body, sizeof(body), false) ? find_resource(call, body.resource_id) : NULL;
	if (resource) {
		hide_where_shown(call, body.resource_id);
		rc_resource_remove(&call->gpu->resources, resource);
	}
}

static void resource_attach_backing(struct call *call) {
	struct virtio_gpu_resource_attach_backing body;
	struct rc_resource *resource =
		read_body(call, &body, sizeof(body), true) ? find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	if (resource->blob || resource->backing) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (it has its memory)");
		return;
	}
	uint32_t count;
	struct rc_page_run *runs = read_entries(call, sizeof(body), body.nr_entries, false, &count);
	if (!runs) {
		return;
	}
	if (count + used_runs(call->gpu) > RC_MAX_RUNS) {
		free(runs);
		fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "nr_entries (of all resources)");
		return;
	}
	rc_resource_set_backing(resource, runs, count);
}

static void resource_detach_backing(struct call *call) {
	struct virtio_gpu_resource_unref body; /* the same layout */
	struct rc_resource *resource =
		read_body(call, &body, sizeof(body), false) ? find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	if (resource->blob || !resource->backing) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (it has no backing to detach)");
		return;
	}
	rc_resource_set_backing(resource, NULL, 0);
}

static struct rc_rect to_rect(const struct virtio_gpu_rect *r) {
	return (struct rc_rect){r->x, r->y, r->width, r->height};
}

static void transfer_to_host_2d(struct call *call) {
	struct virtio_gpu_transfer_to_host_2d body;
	struct rc_resource *resource =
		read_body(call, &body, sizeof(body), false) ? find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	struct rc_rect rect = to_rect(&body.r);
	if (resource->blob || !resource->backing) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (not a 2D resource with backing)");
	} else if (!rc_rect_inside(&rect, resource->width, resource->height)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "r");
	} else if (!rc_resource_transfer(resource, &rect, body.offset)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "offset");
	}
}

/* ---- scanouts ---- */

static bool check_scanout_rect(struct call *call, const struct rc_rect *rect, uint32_t width, uint32_t height) {
	if (!rc_rect_inside(rect, width, height) || rect->width < 16 || rect->height < 16) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "r");
		return false;
	}
	return true;
}

/* Not what the guest's other transport shows. */
static void hide_own(struct call *call, struct rc_scanout *scanout) {
	if (!scanout->guest || scanout->guest == call->gpu) {
		rc_scanout_hide(scanout);
	}
}

static void set_scanout(struct call *call) {
	struct virtio_gpu_set_scanout body;
	struct rc_scanout *scanout =
		read_body(call, &body, sizeof(body), false) ? find_scanout(call, body.scanout_id) : NULL;
	if (!scanout) {
		return;
	}
	if (body.resource_id == 0) {
		hide_own(call, scanout);
		return;
	}
	struct rc_resource *resource = find_resource(call, body.resource_id);
	if (!resource) {
		return;
	}
	if (resource->blob) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (a blob: SET_SCANOUT_BLOB shows it)");
		return;
	}
	struct rc_rect rect = to_rect(&body.r);
	if (check_scanout_rect(call, &rect, resource->width, resource->height)) {
		const struct rc_picture picture = {
			.surface = resource->surface,
			.offset = ((uint64_t)rect.y * resource->width + rect.x) * 4,
			.stride = resource->width * 4,
			.width = rect.width,
			.height = rect.height,
			.format = resource->format,
			.x = rect.x,
			.y = rect.y,
		};
		rc_scanout_show(scanout, &picture, call->gpu, body.resource_id);
	}
}

/* Fill `picture` from a blob of width × height; answers and returns false when it does not fit. */
static bool blob_picture(struct call *call, const struct virtio_gpu_set_scanout_blob *body,
	const struct rc_resource *resource, struct rc_picture *picture) {
	struct rc_rect rect = to_rect(&body->r);
	const char *field = NULL;
	if (!rc_format_is_known(body->format)) {
		field = "format";
	} else if (body->width == 0 || body->width > RC_MAX_SIZE) {
		field = "width";
	} else if (body->height == 0 || body->height > RC_MAX_SIZE) {
		field = "height";
	} else if (body->strides[0] % 4 || body->strides[0] < body->width * 4 || body->strides[0] > RC_MAX_SIZE * 8) {
		field = "strides[0]";
	} else if (body->offsets[0] % 4) {
		field = "offsets[0]";
	} else if ((uint64_t)body->offsets[0] + (uint64_t)body->strides[0] * (body->height - 1) +
				   (uint64_t)body->width * 4 >
			   resource->surface->bytes) {
		field = "height (outside the blob)";
	}
	if (field) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, field);
		return false;
	}
	*picture = (struct rc_picture){
		.surface = resource->surface,
		.offset = body->offsets[0] + (uint64_t)rect.y * body->strides[0] + (uint64_t)rect.x * 4,
		.stride = body->strides[0],
		.width = rect.width,
		.height = rect.height,
		.format = body->format,
		.x = rect.x,
		.y = rect.y,
	};
	return check_scanout_rect(call, &rect, body->width, body->height);
}

static void set_scanout_blob(struct call *call) {
	struct virtio_gpu_set_scanout_blob body;
	struct rc_scanout *scanout =
		read_body(call, &body, sizeof(body), false) ? find_scanout(call, body.scanout_id) : NULL;
	if (!scanout) {
		return;
	}
	if (body.resource_id == 0) {
		hide_own(call, scanout);
		return;
	}
	struct rc_resource *resource = find_resource(call, body.resource_id);
	if (!resource) {
		return;
	}
	struct rc_picture picture;
	if (!resource->blob) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (not a blob)");
	} else if (blob_picture(call, &body, resource, &picture)) {
		rc_scanout_show(scanout, &picture, call->gpu, body.resource_id);
	}
}

/* The rectangle is in the resource's pixels; a picture may begin inside the resource. */
static bool flushed_part(const struct rc_scanout *scanout, const struct rc_rect *rect, struct rc_rect *part) {
	const struct rc_picture *picture = &scanout->picture;
	const struct rc_rect shown = {
		.x = picture->x,
		.y = picture->y,
		.width = picture->width,
		.height = picture->height,
	};
	*part = *rect;
	if (!rc_rect_intersect(part, &shown)) {
		return false;
	}
	part->x -= shown.x;
	part->y -= shown.y;
	return true;
}

static void resource_flush(struct call *call) {
	struct virtio_gpu_resource_flush body;
	struct rc_resource *resource =
		read_body(call, &body, sizeof(body), false) ? find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	struct rc_rect rect = to_rect(&body.r);
	uint32_t width = resource->blob ? RC_MAX_SIZE : resource->width,
			 height = resource->blob ? RC_MAX_SIZE : resource->height;
	if (!rc_rect_inside(&rect, width, height)) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "r");
		return;
	}
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		struct rc_scanout *scanout = &call->gpu->scanouts[i];
		struct rc_rect part;
		if (!shows(call->gpu, scanout, body.resource_id) || !flushed_part(scanout, &rect, &part)) {
			continue;
		}
		if (!call->reply->flush_scanout) {
			call->reply->flush_scanout = scanout;
			call->reply->flush_rect = part;
		} else {
			rc_scanout_flush(scanout, &part, NULL);
		}
	}
}

/* ---- cursor ---- */

static void move_cursor(struct rc_scanout *scanout, const struct virtio_gpu_cursor_pos *pos) {
	if (scanout->cursor.x == pos->x && scanout->cursor.y == pos->y) {
		return;
	}
	scanout->cursor.x = pos->x;
	scanout->cursor.y = pos->y;
	rc_scanout_tell(scanout, RC_NEWS_CURSOR_MOVE);
}

/* Blobs carry no size: a cursor blob is square, as large as its bytes allow, 64×64 being virtio's own. */
static uint32_t blob_cursor_side(const struct rc_resource *resource) {
	uint32_t side = RC_MAX_CURSOR;
	while (side && (uint64_t)side * side * 4 > resource->surface->bytes) {
		side--;
	}
	return side;
}

static void set_cursor_image(
	struct call *call, struct rc_scanout *scanout, const struct virtio_gpu_update_cursor *body) {
	if (body->resource_id == 0) {
		rc_cursor_hide(&scanout->cursor);
		return;
	}
	struct rc_resource *resource = find_resource(call, body->resource_id);
	if (!resource) {
		return;
	}
	uint32_t side = resource->blob ? blob_cursor_side(resource) : 0;
	uint32_t width = resource->blob ? side : resource->width, height = resource->blob ? side : resource->height;
	uint32_t format = resource->blob ? VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM : resource->format;
	if (width == 0 || width > RC_MAX_CURSOR || height > RC_MAX_CURSOR) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (size of a cursor)");
	} else if (body->hot_x >= width || body->hot_y >= height) {
		fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "hot_x or hot_y");
	} else if (!rc_cursor_set(&scanout->cursor, resource->surface->map, format, width, height, (uint64_t)width * 4,
				   body->hot_x, body->hot_y)) {
		fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "resource_id");
	}
}

static void cursor_request(struct call *call, bool update) {
	struct virtio_gpu_update_cursor body;
	struct rc_scanout *scanout =
		read_body(call, &body, sizeof(body), false) ? find_scanout(call, body.pos.scanout_id) : NULL;
	if (!scanout) {
		return;
	}
	if (update) {
		uint32_t serial = scanout->cursor.serial;
		set_cursor_image(call, scanout, &body);
		if (scanout->cursor.serial == serial) {
			return; /* refused */
		}
		rc_scanout_tell(scanout, RC_NEWS_CURSOR_IMAGE);
	}
	move_cursor(scanout, &body.pos);
}

/* ---- dispatch ---- */

/* Set the call up; a request without a whole header is refused. */
static bool begin(struct call *call, struct virtio_gpu_ctrl_hdr *hdr) {
	*call->reply = (struct rc_reply){.size = sizeof(*hdr)};
	call->reply->hdr.type = VIRTIO_GPU_RESP_OK_NODATA;
	if (call->size < sizeof(*hdr)) {
		call->command = "request";
		fail(call, VIRTIO_GPU_RESP_ERR_UNSPEC, "size of the header");
		return false;
	}
	memcpy(hdr, call->request, sizeof(*hdr));
	call->reply->hdr.flags = hdr->flags & (VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX);
	call->reply->hdr.fence_id = hdr->fence_id;
	call->reply->hdr.ctx_id = hdr->ctx_id;
	call->reply->hdr.ring_idx = hdr->ring_idx;
	return true;
}

void rc_virtio_gpu_control(struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size, struct rc_reply *reply) {
	static const struct {
		uint32_t type;
		const char *name;
		void (*execute)(struct call *call);
	} commands[] = {
		{VIRTIO_GPU_CMD_GET_DISPLAY_INFO, "GET_DISPLAY_INFO", get_display_info},
		{VIRTIO_GPU_CMD_GET_EDID, "GET_EDID", get_edid},
		{VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, "RESOURCE_CREATE_2D", resource_create_2d},
		{VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, "RESOURCE_CREATE_BLOB", resource_create_blob},
		{VIRTIO_GPU_CMD_RESOURCE_UNREF, "RESOURCE_UNREF", resource_unref},
		{VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, "RESOURCE_ATTACH_BACKING", resource_attach_backing},
		{VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, "RESOURCE_DETACH_BACKING", resource_detach_backing},
		{VIRTIO_GPU_CMD_SET_SCANOUT, "SET_SCANOUT", set_scanout},
		{VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, "SET_SCANOUT_BLOB", set_scanout_blob},
		{VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, "TRANSFER_TO_HOST_2D", transfer_to_host_2d},
		{VIRTIO_GPU_CMD_RESOURCE_FLUSH, "RESOURCE_FLUSH", resource_flush},
	};
	struct call call = {.gpu = gpu, .request = request, .size = size, .reply = reply};
	struct virtio_gpu_ctrl_hdr hdr;
	if (!begin(&call, &hdr)) {
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].type == hdr.type) {
			call.command = commands[i].name;
			commands[i].execute(&call);
			return;
		}
	}
	call.command = "control request";
	fail(&call, VIRTIO_GPU_RESP_ERR_UNSPEC, "type");
}

void rc_virtio_gpu_cursor(struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size, struct rc_reply *reply) {
	struct call call = {.gpu = gpu, .request = request, .size = size, .reply = reply};
	struct virtio_gpu_ctrl_hdr hdr;
	if (!begin(&call, &hdr)) {
		return;
	}
	bool update = hdr.type == VIRTIO_GPU_CMD_UPDATE_CURSOR;
	call.command = update ? "UPDATE_CURSOR" : "MOVE_CURSOR";
	if (update || hdr.type == VIRTIO_GPU_CMD_MOVE_CURSOR) {
		cursor_request(&call, update);
	} else {
		call.command = "cursor request";
		fail(&call, VIRTIO_GPU_RESP_ERR_UNSPEC, "type");
	}
}
