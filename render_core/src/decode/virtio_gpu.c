/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/virtio_gpu.h"

#include <string.h>

#include "decode/virtio_gpu_call.h"

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

struct rc_resource *rc_call_find_resource(struct rc_call *call, uint32_t id) {
	struct rc_resource *resource = rc_resource_find(&call->gpu->resources, id);
	if (!resource) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, "resource_id");
	}
	return resource;
}

struct rc_scanout *rc_call_find_scanout(struct rc_call *call, uint32_t id) {
	if (id >= RC_MAX_SCANOUTS) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID, "scanout_id");
		return NULL;
	}
	return &call->gpu->scanouts[id];
}

bool rc_call_read(struct rc_call *call, void *body, size_t size, bool more) {
	if (call->size < size || (!more && call->size != size)) {
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "size of the request");
		return false;
	}
	memcpy(body, call->request, size);
	return true;
}

/* ---- dispatch ---- */

/* Set the call up; a request without a whole header is refused. */
static bool begin(struct rc_call *call, struct virtio_gpu_ctrl_hdr *hdr) {
	*call->reply = (struct rc_reply){.size = sizeof(*hdr)};
	call->reply->hdr.type = VIRTIO_GPU_RESP_OK_NODATA;
	if (call->size < sizeof(*hdr)) {
		call->command = "request";
		rc_call_fail(call, VIRTIO_GPU_RESP_ERR_UNSPEC, "size of the header");
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
		void (*execute)(struct rc_call *call);
	} commands[] = {
		{VIRTIO_GPU_CMD_GET_DISPLAY_INFO, "GET_DISPLAY_INFO", rc_execute_get_display_info},
		{VIRTIO_GPU_CMD_GET_EDID, "GET_EDID", rc_execute_get_edid},
		{VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, "RESOURCE_CREATE_2D", rc_execute_resource_create_2d},
		{VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, "RESOURCE_CREATE_BLOB", rc_execute_resource_create_blob},
		{VIRTIO_GPU_CMD_RESOURCE_UNREF, "RESOURCE_UNREF", rc_execute_resource_unref},
		{VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, "RESOURCE_ATTACH_BACKING", rc_execute_resource_attach_backing},
		{VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, "RESOURCE_DETACH_BACKING", rc_execute_resource_detach_backing},
		{VIRTIO_GPU_CMD_SET_SCANOUT, "SET_SCANOUT", rc_execute_set_scanout},
		{VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, "SET_SCANOUT_BLOB", rc_execute_set_scanout_blob},
		{VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, "TRANSFER_TO_HOST_2D", rc_execute_transfer_to_host_2d},
		{VIRTIO_GPU_CMD_RESOURCE_FLUSH, "RESOURCE_FLUSH", rc_execute_resource_flush},
	};
	struct rc_call call = {.gpu = gpu, .request = request, .size = size, .reply = reply};
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
	rc_call_fail(&call, VIRTIO_GPU_RESP_ERR_UNSPEC, "type");
}

void rc_virtio_gpu_cursor(struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size, struct rc_reply *reply) {
	struct rc_call call = {.gpu = gpu, .request = request, .size = size, .reply = reply};
	struct virtio_gpu_ctrl_hdr hdr;
	if (!begin(&call, &hdr)) {
		return;
	}
	bool update = hdr.type == VIRTIO_GPU_CMD_UPDATE_CURSOR;
	call.command = update ? "UPDATE_CURSOR" : "MOVE_CURSOR";
	if (update || hdr.type == VIRTIO_GPU_CMD_MOVE_CURSOR) {
		rc_execute_cursor(&call, update);
	} else {
		call.command = "cursor request";
		rc_call_fail(&call, VIRTIO_GPU_RESP_ERR_UNSPEC, "type");
	}
}
