/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/vhost_user/device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- chains ---- */

static uint32_t respond(struct rc_chain *chain, const struct rc_reply *reply) {
	const uint8_t *from = (const uint8_t *)&reply->hdr;
	size_t written = 0;
	for (uint32_t i = 0; i < chain->response_count && written < reply->size; i++) {
		const struct iovec *part = &chain->response[i];
		const size_t left = reply->size - written, size = part->iov_len < left ? part->iov_len : left;
		memcpy(part->iov_base, from + written, size);
		written += size;
	}
	return (uint32_t)written;
}

/* The size of the response that a former worker has written. */
static uint32_t written_response(const struct rc_chain *chain) {
	uint32_t type = 0;
	size_t room = 0;
	for (uint32_t i = 0; i < chain->response_count; i++) {
		room += chain->response[i].iov_len;
	}
	if (chain->response_count && chain->response[0].iov_len >= sizeof(type)) {
		memcpy(&type, chain->response[0].iov_base, sizeof(type));
	}
	size_t size = type == VIRTIO_GPU_RESP_OK_DISPLAY_INFO ? sizeof(struct virtio_gpu_resp_display_info)
				  : type == VIRTIO_GPU_RESP_OK_EDID       ? sizeof(struct virtio_gpu_resp_edid)
														  : sizeof(struct virtio_gpu_ctrl_hdr);
	return (uint32_t)(size < room ? size : room);
}

static bool went_well(const struct rc_reply *reply) {
	return reply->hdr.type < VIRTIO_GPU_RESP_ERR_UNSPEC;
}

/* Linux' driver does not wait for what it flushes (5.7 asks for no fence): it flips and draws on until the queue is full. So what a beat answers is limited: one
 * picture, which a flip begins, or a few changes of one. That leaves room for just as many more, and the guest draws at the frame rate. */
static struct rc_completion *hold_flush(
	struct rc_vhost_device *device, struct rc_scanout *scanout, uint16_t index, uint32_t length) {
	struct rc_completion *completion = rc_vhost_queue_hold(&device->queues[RC_VHOST_CONTROL], index, length);
	if (device->pace[scanout->id].shown != scanout->shown || device->pace[scanout->id].flushes == RC_VHOST_BATCH) {
		device->pace[scanout->id].shown = scanout->shown;
		device->pace[scanout->id].flushes = 0;
		device->pace[scanout->id].batch++;
	}
	device->pace[scanout->id].flushes++;
	completion->batch = device->pace[scanout->id].batch;
	return completion;
}

static uint32_t serve_control(struct rc_vhost_queue *queue, struct rc_chain *chain, bool *waits) {
	struct rc_vhost_device *device = rc_container_of(queue, struct rc_vhost_device, queues[RC_VHOST_CONTROL]);
	struct rc_reply reply;
	if (device->executed_before) {
		device->executed_before--;
		return written_response(chain);
	}
	const uint32_t attempts = device->attempts;
	device->attempts = 0;
	if (attempts >= RC_VHOST_MAX_ATTEMPTS) {
		reply = (struct rc_reply){.size = sizeof(reply.hdr)};
		rc_virtio_gpu_fail(&device->gpu, &reply, VIRTIO_GPU_RESP_ERR_UNSPEC, "request", "what workers end by");
	} else {
		rc_journal_begin(&device->journal);
		rc_virtio_gpu_control(&device->gpu, chain->request, chain->request_size, &reply);
	}
	/* A flush's answer is written at once: its used entry is what gives it to the driver. */
	const uint32_t length = respond(chain, &reply);
	const uint16_t executed = (uint16_t)(chain->index + 1);
	if (went_well(&reply)) {
		rc_journal_note_control(&device->journal, &device->gpu, chain->request, chain->request_size, executed);
	} else {
		rc_journal_set_executed(&device->journal, executed);
	}
	if (reply.flush_scanout) {
		*waits = true;
		rc_scanout_flush(
			reply.flush_scanout, &reply.flush_rect, hold_flush(device, reply.flush_scanout, chain->index, length));
	}
	return length;
}

static uint32_t serve_cursor(struct rc_vhost_queue *queue, struct rc_chain *chain, bool *waits) {
	struct rc_vhost_device *device = rc_container_of(queue, struct rc_vhost_device, queues[RC_VHOST_CURSOR]);
	struct rc_reply reply;
	(void)waits;
	rc_virtio_gpu_cursor(&device->gpu, chain->request, chain->request_size, &reply);
	if (went_well(&reply)) {
		rc_journal_note_cursor(&device->journal, chain->request, chain->request_size);
	}
	return respond(chain, &reply);
}

static uint32_t serve_chain(struct rc_vhost_queue *queue, struct rc_chain *chain, bool *waits) {
	struct rc_vhost_device *device = rc_container_of(queue->owner, struct rc_vhost_device, queue_owner);
	return queue == &device->queues[RC_VHOST_CONTROL] ? serve_control(queue, chain, waits)
													  : serve_cursor(queue, chain, waits);
}

static void handle_again(struct rc_watch *watch) {
	struct rc_vhost_device *device = rc_container_of(watch, struct rc_vhost_device, again);
	uint64_t count;
	ssize_t size = read(watch->fd, &count, sizeof(count));
	(void)size;
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		rc_vhost_queue_serve(&device->queues[i]);
	}
}

/* ---- the driver: the same one as before, or another ---- */

static bool same_layout(const struct rc_virtqueue_layout *a, const struct rc_virtqueue_layout *b) {
	return a->size == b->size && a->descriptors == b->descriptors && a->available == b->available && a->used == b->used;
}

/* Whether the driver that starts the control queue is the one that was there before: the machine was paused, or its worker died. A driver that begins has its queue
 * elsewhere, or anew: base 0 and used->idx 0. An old queue gets there too, once in 65536 requests; then its last used entry is still there, where a
 * new ring has zeros. (Responses are at least a header long, so that entry's length is not 0.) */
static bool driver_goes_on(const struct rc_vhost_device *device) {
	const struct rc_vhost_queue *queue = &device->queues[RC_VHOST_CONTROL];
	const uint16_t used = rc_virtqueue_used_index(&queue->ring);
	uint32_t id, length;
	rc_virtqueue_last_used(&queue->ring, &id, &length);
	if (device->recovering[RC_VHOST_CONTROL]) {
		return used || (length && rc_journal_is_of(&device->journal, &queue->ring.layout));
	}
	return same_layout(&device->stopped.layout, &queue->ring.layout) && queue->base == device->stopped.base &&
		   used == queue->base && (used || (length && id == device->stopped.id && length == device->stopped.length));
}

static void tell(struct rc_vhost_device *device, enum rc_machine_state state) {
	device->listener.changed(device->listener.owner, state);
}

/* Whoever served the control queue before has pushed its entries up to index `used`. False: not all that the driver made is there. */
static bool take_over(struct rc_vhost_device *device, uint16_t used) {
	const struct rc_virtqueue_layout *layout = &device->queues[RC_VHOST_CONTROL].ring.layout;
	bool complete = rc_journal_is_of(&device->journal, layout);
	if (complete) {
		uint32_t attempts;
		const uint16_t executed = (uint16_t)(rc_journal_read_executed(&device->journal, &attempts) - used);
		if (executed <= layout->size) {
			device->executed_before = executed;
			device->attempts = attempts;
		} else {
			rc_journal_set_executed(&device->journal, used);
		}
		complete = rc_journal_replay(&device->journal, &device->gpu, device->chain.request);
	} else {
		rc_journal_clear(&device->journal, layout, used);
	}
	rc_log(device->log, complete ? RC_LOG_INFO : RC_LOG_WARN, "machine: taken over from a former worker%s",
		complete ? "" : ", whose journal is not complete");
	return complete;
}

static void start_control(struct rc_vhost_device *device) {
	struct rc_vhost_queue *queue = &device->queues[RC_VHOST_CONTROL];
	uint16_t base = queue->base;
	bool complete = true;
	if (!driver_goes_on(device)) {
		rc_log(device->log, RC_LOG_INFO, "machine: its display driver begins");
		rc_virtio_gpu_reset(&device->gpu);
		rc_journal_clear(&device->journal, &queue->ring.layout, base);
		device->executed_before = 0; /* of a driver that is gone, which was taken over and then served no more */
		device->attempts = 0;
	} else if (device->recovering[RC_VHOST_CONTROL]) {
		/* Used entries are pushed in order, so the former worker has served just those; QEMU did not hear how many. */
		base = rc_virtqueue_used_index(&queue->ring);
		complete = take_over(device, base);
	}
	device->recovering[RC_VHOST_CONTROL] = false;
	rc_vhost_queue_start(queue, base);
	if (queue->running) {
		tell(device, RC_MACHINE_RUNNING);
		if (!complete) {
			tell(device, RC_MACHINE_INCOMPLETE);
		}
	}
}

void rc_vhost_device_start_queues(struct rc_vhost_device *device) {
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		struct rc_vhost_queue *queue = &device->queues[i];
		queue->event_idx = device->features >> 29 & 1;
		if (!rc_vhost_queue_may_start(queue) || !rc_vhost_queue_map(queue)) {
			continue;
		}
		if (i == RC_VHOST_CONTROL) {
			start_control(device);
		} else {
			const uint16_t used = rc_virtqueue_used_index(&queue->ring);
			rc_vhost_queue_start(queue, device->recovering[i] ? used : queue->base);
			device->recovering[i] = false;
		}
	}
}

/* A queue does not run any more: whoever listens is told, and what is needed to know its driver again is kept. */
static void handle_stopped(struct rc_vhost_queue *queue) {
	struct rc_vhost_device *device = rc_container_of(queue->owner, struct rc_vhost_device, queue_owner);
	if (queue != &device->queues[RC_VHOST_CONTROL]) {
		return;
	}
	device->stopped.layout = queue->ring.layout;
	device->stopped.base = queue->base;
	if (queue->ring.used) {
		rc_virtqueue_last_used(&queue->ring, &device->stopped.id, &device->stopped.length);
	}
	tell(device, RC_MACHINE_STOPPED);
}

void rc_vhost_device_map_queues(struct rc_vhost_device *device) {
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		if (device->queues[i].running) {
			rc_vhost_queue_map(&device->queues[i]);
		}
	}
}

void rc_vhost_device_make_room(struct rc_vhost_device *device) {
	const bool runs = device->queues[RC_VHOST_CONTROL].running || device->queues[RC_VHOST_CURSOR].running;
	if (!runs && device->memory.memory->count > RC_MAX_REGIONS - RC_VHOST_MAX_REGIONS) {
		rc_virtio_gpu_reset(&device->gpu);
		device->stopped.layout.descriptors = UINT64_MAX; /* no driver's: none goes on */
	}
}

void rc_vhost_device_stop_queue(struct rc_vhost_queue *queue) {
	const bool was_running = queue->running;
	rc_vhost_queue_stop(queue);
	if (was_running) {
		handle_stopped(queue);
	}
}

/* ---- life ---- */

static void handle_socket(struct rc_watch *watch) {
	struct rc_vhost_device *device = rc_container_of(watch, struct rc_vhost_device, socket);
	const char *wrong;
	switch (rc_vhost_message_receive(watch->fd, &device->message, &wrong)) {
	case RC_PACKET_OK:
		rc_vhost_device_handle(device);
		rc_vhost_message_reset(&device->message);
		break;
	case RC_PACKET_CLOSED:
		if (wrong) {
			rc_log(device->log, RC_LOG_WARN, "machine: vhost-user message header: %s is wrong: disconnected", wrong);
		}
		device->closed = true;
		break;
	case RC_PACKET_NONE:
		break;
	}
}

const char *rc_vhost_device_create(const struct rc_vhost_device_params *params, struct rc_vhost_device **out) {
	struct rc_vhost_device *device = calloc(1, sizeof(*device));
	if (!device) {
		return "memory";
	}
	device->loop = params->loop;
	device->log = params->log;
	device->listener.owner = params->owner;
	device->listener.changed = params->changed;
	device->recovering[RC_VHOST_CONTROL] = device->recovering[RC_VHOST_CURSOR] = params->recover;
	device->request_fd = device->gpu_fd = device->again.fd = device->socket.fd = -1;
	rc_vhost_message_init(&device->message);
	rc_virtio_gpu_init(&device->gpu, params->log, params->scanouts);
	rc_guest_memory_init(&device->memory, &device->gpu.memory);
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		rc_vhost_queue_init(&device->queues[i], &device->queue_owner, i == RC_VHOST_CONTROL ? "control" : "cursor");
	}
	const char *wrong = rc_journal_open(&device->journal, params->journal_fd);
	int again_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	device->chain.request = malloc(RC_MAX_REQUEST);
	device->chain.request_max = RC_MAX_REQUEST;
	device->queue_owner = (struct rc_vhost_queue_owner){
		.loop = params->loop,
		.log = params->log,
		.memory = &device->memory,
		.again_fd = again_fd,
		.chain = &device->chain,
		.serve = serve_chain,
		.broke = handle_stopped,
	};
	if (!wrong &&
		(again_fd < 0 || !device->chain.request || !rc_loop_add(params->loop, &device->again, again_fd, handle_again) ||
			!rc_loop_add(params->loop, &device->socket, params->socket_fd, handle_socket))) {
		wrong = "memory";
	}
	if (wrong) {
		rc_loop_remove(params->loop, &device->socket); /* the fd stays the caller's */
		rc_vhost_device_destroy(device);
		return wrong;
	}
	*out = device;
	return NULL;
}

static void close_fd(int fd) {
	if (fd >= 0) {
		close(fd);
	}
}

void rc_vhost_device_destroy(struct rc_vhost_device *device) {
	if (!device) {
		return;
	}
	int socket_fd = device->socket.fd;
	rc_loop_remove(device->loop, &device->socket);
	close_fd(socket_fd);
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		rc_vhost_queue_finish(&device->queues[i]);
	}
	rc_loop_remove(device->loop, &device->again);
	close_fd(device->queue_owner.again_fd);
	close_fd(device->request_fd);
	close_fd(device->gpu_fd);
	rc_vhost_message_reset(&device->message);
	rc_virtio_gpu_finish(&device->gpu);
	rc_journal_close(&device->journal);
	free(device->chain.request);
	free(device);
}

enum rc_machine_state rc_vhost_device_state(const struct rc_vhost_device *device) {
	if (device->queues[RC_VHOST_CONTROL].running) {
		return RC_MACHINE_RUNNING;
	}
	return device->stopped.layout.size ? RC_MACHINE_STOPPED : RC_MACHINE_ATTACHED;
}
