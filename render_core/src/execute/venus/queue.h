/* SPDX-License-Identifier: Apache-2.0
 * A client's queues: submission, back-pressure, waiting within limits, the end of a device that is lost or hangs. */
#ifndef RC_VN_QUEUE_H
#define RC_VN_QUEUE_H

#include "execute/venus/objects.h"

/* After vkCreateDevice: a queue object for each queue of the create info. They enter the table with vkGetDeviceQueue2. */
VkResult rc_vn_queues_create(struct rc_vn_device *device, const VkDeviceCreateInfo *info);
/* Those that are not in the table are freed; the others must have been removed from it. */
void rc_vn_queues_destroy(struct rc_vn_device *device);

/* vkQueueSubmit of batches that are ready for the host (handles, not objects). Locks the queue, keeps limits.queued_submits. `batches` and `fence`
 * may be NULL. */
VkResult rc_vn_queue_submit(
	struct rc_vn_queue *queue, uint32_t count, const VkSubmitInfo *batches, struct rc_vn_fence *fence);
VkResult rc_vn_queue_submit2(
	struct rc_vn_queue *queue, uint32_t count, const VkSubmitInfo2 *batches, struct rc_vn_fence *fence);

/* A submission of nothing but fence feedback (and perhaps nothing at all), to a queue that is idle: done here, without the host. False: it must
 * be submitted. `commands`: the batches' command buffers. Stock clients wait for fences by sleeping 160 µs at a time, after
 * a look that lasts some microseconds: only an answer within that look spares them the sleep. */
bool rc_vn_queue_submit_here(
	struct rc_vn_queue *queue, struct rc_vn_object *const *commands, uint32_t count, struct rc_vn_fence *fence);

/* The host's fence is signalled: everything up to its submission is done. */
void rc_vn_fence_completed(struct rc_vn_fence *fence);

/* Wait until everything submitted so far is done. VK_TIMEOUT after `timeout_ns`; VK_ERROR_DEVICE_LOST. `context` closing does not end it. */
VkResult rc_vn_queue_wait_idle(struct rc_vn_queue *queue, uint64_t timeout_ns);

/* One look by the watchdog: places and checks the queue's probe. Marks the device lost and abandoned when work takes longer than limits.gpu_timeout_ms. */
void rc_vn_queue_watch(struct rc_vn_queue *queue);

/* VK_ERROR_DEVICE_LOST, for the client in bounded time: what polls its feedback memory finds the error there. Any thread, once or often. */
void rc_vn_device_mark_lost(struct rc_vn_device *device, const char *why);

/* Wait in slices, ended early when the device is lost or the client is gone. `wait` is called with a slice's timeout (ns) and returns a VkResult.
 * A wait that the limit ends (not the client's own timeout) marks the device lost. */
VkResult rc_vn_device_wait(
	struct rc_vn_device *device, uint64_t timeout_ns, VkResult (*wait)(void *data, uint64_t timeout_ns), void *data);

#endif
