/* SPDX-License-Identifier: Apache-2.0
 * One virtio-gpu request being executed, and the commands, by what they are about. Inside decode/ alone; core thread only. */
#ifndef RC_VIRTIO_GPU_CALL_H
#define RC_VIRTIO_GPU_CALL_H

#include "decode/virtio_gpu.h"

struct rc_call {
	struct rc_virtio_gpu *gpu;
	const uint8_t *request; /* `size` bytes, private */
	size_t size;
	struct rc_reply *reply;
	const char *command; /* its name, for the log */
};

/* Answer with an error and log the field that is wrong. */
static inline void rc_call_fail(struct rc_call *call, enum virtio_gpu_ctrl_type error, const char *field) {
	rc_virtio_gpu_fail(call->gpu, call->reply, error, call->command, field);
}

/* Copy a fixed-size body out; `more`: entries may follow. False after an answer. */
bool rc_call_read(struct rc_call *call, void *body, size_t size, bool more);

/* NULL after an answer. */
struct rc_resource *rc_call_find_resource(struct rc_call *call, uint32_t id);
struct rc_scanout *rc_call_find_scanout(struct rc_call *call, uint32_t id);

/* Whether `scanout` shows this guest's resource. */
static inline bool rc_call_shows(
	const struct rc_virtio_gpu *gpu, const struct rc_scanout *scanout, uint32_t resource_id) {
	return scanout->guest == gpu && scanout->resource_id == resource_id;
}

static inline struct rc_rect rc_call_rect(const struct virtio_gpu_rect *r) {
	return (struct rc_rect){r->x, r->y, r->width, r->height};
}

/* virtio_gpu_resources.c */
void rc_execute_resource_create_2d(struct rc_call *call);
void rc_execute_resource_create_blob(struct rc_call *call);
void rc_execute_resource_unref(struct rc_call *call);
void rc_execute_resource_attach_backing(struct rc_call *call);
void rc_execute_resource_detach_backing(struct rc_call *call);
void rc_execute_transfer_to_host_2d(struct rc_call *call);

/* virtio_gpu_scanouts.c */
void rc_execute_get_display_info(struct rc_call *call);
void rc_execute_get_edid(struct rc_call *call);
void rc_execute_set_scanout(struct rc_call *call);
void rc_execute_set_scanout_blob(struct rc_call *call);
void rc_execute_resource_flush(struct rc_call *call);

/* UPDATE_CURSOR, or else MOVE_CURSOR. */
void rc_execute_cursor(struct rc_call *call, bool update);

#endif
