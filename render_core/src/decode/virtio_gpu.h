/* SPDX-License-Identifier: Apache-2.0
 * The virtio-gpu device that a guest's display commands go to: checks and executes them. Transports call it with private copies of
 * the requests. Core thread only. */
#ifndef RC_VIRTIO_GPU_H
#define RC_VIRTIO_GPU_H

#include "decode/virtio_gpu_protocol.h"
#include "execute/region.h"
#include "execute/resource.h"
#include "scanout/scanout.h"

struct rc_virtio_gpu {
	struct rc_log *log;
	struct rc_scanout *scanouts; /* RC_MAX_SCANOUTS of the core's */
	struct rc_memory memory;
	struct rc_resource_table resources;
};

/* The answer to a request. */
struct rc_reply {
	size_t size;
	union {
		struct virtio_gpu_ctrl_hdr hdr;
		struct virtio_gpu_resp_display_info display_info;
		struct virtio_gpu_resp_edid edid;
	};
	/* RESOURCE_FLUSH of something shown: not NULL, and the answer waits. The transport calls rc_scanout_flush() with this
	 * rectangle and its completion, and sends `hdr` then. */
	struct rc_scanout *flush_scanout;
	struct rc_rect flush_rect;
};

void rc_virtio_gpu_init(struct rc_virtio_gpu *gpu, struct rc_log *log, struct rc_scanout *scanouts);

/* Frees all that the guest made. Pictures that are shown stay. */
void rc_virtio_gpu_finish(struct rc_virtio_gpu *gpu);

/* Another driver of the same guest begins: the former one's resources are freed, its cursors hidden; memory and pictures stay. No flush may be
 * waiting. */
void rc_virtio_gpu_reset(struct rc_virtio_gpu *gpu);

/* Execute one request of the control queue or the cursor queue. `reply` is always filled. */
void rc_virtio_gpu_control(struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size, struct rc_reply *reply);
void rc_virtio_gpu_cursor(struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size, struct rc_reply *reply);

/* Fill an error answer and log it as "display: COMMAND: field". */
void rc_virtio_gpu_fail(struct rc_virtio_gpu *gpu, struct rc_reply *reply, enum virtio_gpu_ctrl_type error,
	const char *command, const char *field);

#endif
