/* SPDX-License-Identifier: Apache-2.0
 * virtio-gpu's commands on scanouts and cursors. */
#include <string.h>

#include "decode/virtio_gpu_call.h"
#include "scanout/edid.h"
#include "util/rect.h"

/* ---- what viewers want ---- */

void rc_execute_get_display_info(struct rc_call *call) {
	struct virtio_gpu_ctrl_hdr body;
	if (!rc_call_read(call, &body, sizeof(body), false)) {
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

void rc_execute_get_edid(struct rc_call *call) {
	struct virtio_gpu_get_edid body;
	if (!rc_call_read(call, &body, sizeof(body), false)) {
		return;
	}
	const struct rc_scanout *scanout = rc_call_find_scanout(call, body.scanout);
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

/* ---- scanouts ---- */

static bool check_scanout_rect(struct rc_call *call, const struct rc_rect *rect, uint32_t width, uint32_t height) {
	if (!rc_rect_inside(rect, width, height) || rect->width < 16 || rect->height < 16) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "r");
		return false;
	}
	return true;
}

/* The resource that a scanout is to show. NULL after an answer, or after resource 0, which hides what this guest shows there: not what its
 * other transport does. */
static struct rc_resource *find_shown(
	struct rc_call *call, uint32_t scanout_id, uint32_t resource_id, struct rc_scanout **scanout) {
	*scanout = rc_call_find_scanout(call, scanout_id);
	if (!*scanout) {
		return NULL;
	}
	if (resource_id == 0) {
		if (!(*scanout)->guest || (*scanout)->guest == call->gpu) {
			rc_scanout_hide(*scanout);
		}
		return NULL;
	}
	return rc_call_find_resource(call, resource_id);
}

void rc_execute_set_scanout(struct rc_call *call) {
	struct virtio_gpu_set_scanout body;
	struct rc_scanout *scanout;
	struct rc_resource *resource = rc_call_read(call, &body, sizeof(body), false)
									   ? find_shown(call, body.scanout_id, body.resource_id, &scanout)
									   : NULL;
	if (!resource) {
		return;
	}
	if (resource->blob) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (a blob: SET_SCANOUT_BLOB shows it)");
		return;
	}
	struct rc_rect rect = rc_call_rect(&body.r);
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
static bool blob_picture(struct rc_call *call, const struct virtio_gpu_set_scanout_blob *body,
	const struct rc_resource *resource, struct rc_picture *picture) {
	struct rc_rect rect = rc_call_rect(&body->r);
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
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, field);
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

void rc_execute_set_scanout_blob(struct rc_call *call) {
	struct virtio_gpu_set_scanout_blob body;
	struct rc_scanout *scanout;
	struct rc_resource *resource = rc_call_read(call, &body, sizeof(body), false)
									   ? find_shown(call, body.scanout_id, body.resource_id, &scanout)
									   : NULL;
	if (!resource) {
		return;
	}
	struct rc_picture picture;
	if (!resource->blob) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (not a blob)");
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

void rc_execute_resource_flush(struct rc_call *call) {
	struct virtio_gpu_resource_flush body;
	struct rc_resource *resource =
		rc_call_read(call, &body, sizeof(body), false) ? rc_call_find_resource(call, body.resource_id) : NULL;
	if (!resource) {
		return;
	}
	struct rc_rect rect = rc_call_rect(&body.r);
	uint32_t width = resource->blob ? RC_MAX_SIZE : resource->width,
			 height = resource->blob ? RC_MAX_SIZE : resource->height;
	if (!rc_rect_inside(&rect, width, height)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "r");
		return;
	}
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		struct rc_scanout *scanout = &call->gpu->scanouts[i];
		struct rc_rect part;
		if (!rc_call_shows(call->gpu, scanout, body.resource_id) || !flushed_part(scanout, &rect, &part)) {
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
	struct rc_call *call, struct rc_scanout *scanout, const struct virtio_gpu_update_cursor *body) {
	if (body->resource_id == 0) {
		rc_cursor_hide(&scanout->cursor);
		return;
	}
	struct rc_resource *resource = rc_call_find_resource(call, body->resource_id);
	if (!resource) {
		return;
	}
	uint32_t side = resource->blob ? blob_cursor_side(resource) : 0;
	uint32_t width = resource->blob ? side : resource->width, height = resource->blob ? side : resource->height;
	uint32_t format = resource->blob ? VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM : resource->format;
	if (width == 0 || width > RC_MAX_CURSOR || height > RC_MAX_CURSOR) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "resource_id (size of a cursor)");
	} else if (body->hot_x >= width || body->hot_y >= height) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "hot_x or hot_y");
	} else if (!rc_cursor_set(&scanout->cursor, resource->surface->map, format, width, height, (uint64_t)width * 4,
				   body->hot_x, body->hot_y)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, "resource_id");
	}
}

void rc_execute_cursor(struct rc_call *call, bool update) {
	struct virtio_gpu_update_cursor body;
	struct rc_scanout *scanout =
		rc_call_read(call, &body, sizeof(body), false) ? rc_call_find_scanout(call, body.pos.scanout_id) : NULL;
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
