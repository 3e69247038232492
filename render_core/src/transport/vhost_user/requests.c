/* SPDX-License-Identifier: Apache-2.0
 * What QEMU asks of a vhost-user-gpu device ("Front-end message types"). Each request is checked against its table entry, then handled; what needs a reply gets one
 * at once. */
#include "transport/vhost_user/device.h"

#include <string.h>
#include <unistd.h>

#define BIT(number) (UINT64_C(1) << (number))

/* VIRTIO_GPU_F_EDID, INDIRECT_DESC, EVENT_IDX, vhost-user's PROTOCOL_FEATURES, VERSION_1. */
#define PROTOCOL_FEATURES_BIT BIT(30)
#define FEATURES (BIT(1) | BIT(28) | BIT(29) | BIT(30) | BIT(32))
/* Bits that change what queues are: ACCESS_PLATFORM (addresses go through an IOMMU), RING_PACKED. Others that QEMU acknowledges for its guest, without our offer, change nothing here. */
#define REFUSED_FEATURES (BIT(33) | BIT(34))
/* MQ, REPLY_ACK, BACKEND_REQ, CONFIG. Not CONFIGURE_MEM_SLOTS: QEMU would send what changed in its memory only, and never again what it has sent to a worker that died. */
#define PROTOCOL_FEATURES (BIT(0) | BIT(3) | BIT(5) | BIT(9))

/* What a request is refused with, by the name of a field; NULL: it was done. */
typedef const char *(*handler)(struct rc_vhost_device *device, struct rc_vhost_message *message);

static void reply(struct rc_vhost_device *device, const void *payload, size_t size) {
	if (!rc_vhost_message_reply(device->socket.fd, device->message.header.request, payload, size)) {
		rc_log(device->log, RC_LOG_WARN, "machine: QEMU does not read its replies: disconnected");
		device->closed = true;
	}
}

static void reply_u64(struct rc_vhost_device *device, uint64_t value) {
	reply(device, &value, sizeof(value));
}

static const char *get_features(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	(void)message;
	reply_u64(device, FEATURES);
	return NULL;
}

static const char *set_features(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	if (message->payload.u64 & REFUSED_FEATURES) {
		return "features (packed queues and IOMMUs are not spoken here)";
	}
	device->features = message->payload.u64;
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		/* "Ring states": a front-end without protocol features does not say SET_VRING_ENABLE. */
		device->queues[i].enabled = device->queues[i].enabled || !(device->features & PROTOCOL_FEATURES_BIT);
	}
	return NULL;
}

static const char *set_owner(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	(void)device;
	(void)message;
	return NULL;
}

static const char *get_protocol_features(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	(void)message;
	reply_u64(device, PROTOCOL_FEATURES);
	return NULL;
}

static const char *set_protocol_features(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	(void)device;
	return message->payload.u64 & ~PROTOCOL_FEATURES ? "protocol features" : NULL;
}

static const char *get_queue_num(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	(void)message;
	reply_u64(device, RC_VHOST_QUEUES);
	return NULL;
}

static const char *set_mem_table(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	const struct rc_vhost_mem_table *table = &message->payload.table;
	if (table->count > RC_VHOST_MAX_REGIONS ||
		message->header.size != 8 + table->count * sizeof(struct rc_vhost_region)) {
		return "count of regions";
	}
	if (message->fd_count != table->count) {
		return "count of fds";
	}
	rc_vhost_device_make_room(device);
	const char *wrong = rc_guest_memory_set_table(&device->memory, message);
	rc_vhost_device_map_queues(device);
	return wrong;
}

static struct rc_vhost_queue *find_queue(struct rc_vhost_device *device, uint64_t index) {
	return index < RC_VHOST_QUEUES ? &device->queues[index] : NULL;
}

static const char *set_vring_num(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	struct rc_vhost_queue *queue = find_queue(device, message->payload.state.index);
	const uint32_t size = message->payload.state.value;
	if (!queue || queue->running) {
		return queue ? "queue (it runs)" : "queue";
	}
	if (size == 0 || size > RC_VIRTQUEUE_MAX || (size & (size - 1))) {
		return "size of the queue";
	}
	queue->ring.layout.size = size;
	return NULL;
}

static const char *set_vring_addr(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	const struct rc_vhost_vring_address *address = &message->payload.address;
	struct rc_vhost_queue *queue = find_queue(device, address->index);
	if (!queue) {
		return "queue";
	}
	queue->ring.layout.descriptors = address->descriptors;
	queue->ring.layout.available = address->available;
	queue->ring.layout.used = address->used;
	queue->addressed = true;
	if (queue->running) {
		rc_vhost_queue_map(queue);
	}
	return NULL;
}

static const char *set_vring_base(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	struct rc_vhost_queue *queue = find_queue(device, message->payload.state.index);
	if (!queue || queue->running || message->payload.state.value > UINT16_MAX) {
		return !queue ? "queue" : queue->running ? "queue (it runs)" : "base";
	}
	queue->base = (uint16_t)message->payload.state.value;
	return NULL;
}

static const char *get_vring_base(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	struct rc_vhost_queue *queue = find_queue(device, message->payload.state.index);
	if (!queue) {
		return "queue";
	}
	rc_vhost_device_stop_queue(queue);
	/* Its next start comes with all of this anew. */
	rc_vhost_queue_set_kick(queue, -1);
	queue->addressed = false;
	const struct rc_vhost_vring_state state = {message->payload.state.index, queue->base};
	reply(device, &state, sizeof(state));
	return NULL;
}

/* The fd of SET_VRING_KICK, _CALL and _ERR, -1 when there is none to be; false: the message says one thing and brings another. */
static bool take_vring_fd(struct rc_vhost_message *message, int *fd) {
	const bool none = message->payload.u64 & RC_VHOST_NO_FD;
	if (message->fd_count != !none) {
		return false;
	}
	*fd = none ? -1 : rc_vhost_message_take_fd(message, 0);
	return true;
}

static const char *set_vring_fd(struct rc_vhost_device *device, struct rc_vhost_message *message,
	void (*set)(struct rc_vhost_queue *queue, int fd)) {
	struct rc_vhost_queue *queue = find_queue(device, message->payload.u64 & RC_VHOST_QUEUE_MASK);
	int fd;
	if (!queue || !take_vring_fd(message, &fd)) {
		return queue ? "count of fds" : "queue";
	}
	set(queue, fd);
	return NULL;
}

static const char *set_vring_kick(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	return message->payload.u64 & RC_VHOST_NO_FD ? "fd (queues are not polled here)"
												 : set_vring_fd(device, message, rc_vhost_queue_set_kick);
}

static const char *set_vring_call(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	return set_vring_fd(device, message, rc_vhost_queue_set_call);
}

static const char *set_vring_err(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	return set_vring_fd(device, message, rc_vhost_queue_set_error);
}

static const char *set_vring_enable(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	struct rc_vhost_queue *queue = find_queue(device, message->payload.state.index);
	if (!queue) {
		return "queue";
	}
	queue->enabled = message->payload.state.value != 0;
	if (!queue->enabled) {
		rc_vhost_device_stop_queue(queue);
	}
	return NULL;
}

static void keep_fd(int *slot, struct rc_vhost_message *message) {
	if (*slot >= 0) {
		close(*slot);
	}
	*slot = rc_vhost_message_take_fd(message, 0);
}

static const char *set_backend_req_fd(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	keep_fd(&device->request_fd, message);
	return NULL;
}

static const char *gpu_set_socket(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	keep_fd(&device->gpu_fd, message);
	return NULL;
}

/* struct virtio_gpu_config (Virtio 1.2, 5.7.4): events_read, events_clear, num_scanouts, num_capsets. QEMU puts its own max_outputs and events in. */
static const char *get_config(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	const uint32_t space[RC_VHOST_MAX_CONFIG / 4] = {0, 0, VIRTIO_GPU_MAX_SCANOUTS, 0};
	struct rc_vhost_config config = message->payload.config;
	const size_t head = offsetof(struct rc_vhost_config, bytes);
	if (message->header.size < head || config.size > RC_VHOST_MAX_CONFIG ||
		config.offset > RC_VHOST_MAX_CONFIG - config.size || message->header.size != head + config.size) {
		return "offset or size";
	}
	memcpy(config.bytes, (const uint8_t *)space + config.offset, config.size);
	reply(device, &config, head + config.size);
	return NULL;
}

static const char *set_config(struct rc_vhost_device *device, struct rc_vhost_message *message) {
	(void)device;
	(void)message;
	return NULL; /* events_clear is all that a driver may write, and QEMU handles it */
}

enum { ANY = -1 };

static const struct request {
	uint32_t number;
	int size, fds; /* ANY: the handler checks */
	bool replies;
	const char *name;
	handler handle;
} requests[] = {
	{VHOST_USER_GET_FEATURES, 0, 0, true, "GET_FEATURES", get_features},
	{VHOST_USER_SET_FEATURES, 8, 0, false, "SET_FEATURES", set_features},
	{VHOST_USER_SET_OWNER, 0, 0, false, "SET_OWNER", set_owner},
	{VHOST_USER_SET_MEM_TABLE, ANY, ANY, false, "SET_MEM_TABLE", set_mem_table},
	{VHOST_USER_SET_VRING_NUM, 8, 0, false, "SET_VRING_NUM", set_vring_num},
	{VHOST_USER_SET_VRING_ADDR, 40, 0, false, "SET_VRING_ADDR", set_vring_addr},
	{VHOST_USER_SET_VRING_BASE, 8, 0, false, "SET_VRING_BASE", set_vring_base},
	{VHOST_USER_GET_VRING_BASE, 8, 0, true, "GET_VRING_BASE", get_vring_base},
	{VHOST_USER_SET_VRING_KICK, 8, ANY, false, "SET_VRING_KICK", set_vring_kick},
	{VHOST_USER_SET_VRING_CALL, 8, ANY, false, "SET_VRING_CALL", set_vring_call},
	{VHOST_USER_SET_VRING_ERR, 8, ANY, false, "SET_VRING_ERR", set_vring_err},
	{VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, true, "GET_PROTOCOL_FEATURES", get_protocol_features},
	{VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0, false, "SET_PROTOCOL_FEATURES", set_protocol_features},
	{VHOST_USER_GET_QUEUE_NUM, 0, 0, true, "GET_QUEUE_NUM", get_queue_num},
	{VHOST_USER_SET_VRING_ENABLE, 8, 0, false, "SET_VRING_ENABLE", set_vring_enable},
	{VHOST_USER_SET_BACKEND_REQ_FD, 0, 1, false, "SET_BACKEND_REQ_FD", set_backend_req_fd},
	{VHOST_USER_GET_CONFIG, ANY, 0, true, "GET_CONFIG", get_config},
	{VHOST_USER_SET_CONFIG, ANY, 0, false, "SET_CONFIG", set_config},
	{VHOST_USER_GPU_SET_SOCKET, 0, 1, false, "GPU_SET_SOCKET", gpu_set_socket},
};

static const struct request *find_request(uint32_t number) {
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (requests[i].number == number) {
			return &requests[i];
		}
	}
	return NULL;
}

static const char *serve(
	struct rc_vhost_device *device, const struct request *request, struct rc_vhost_message *message) {
	if (message->too_many_fds) {
		return "count of fds";
	}
	if (!request) {
		return "request";
	}
	if (request->size != ANY && message->header.size != (uint32_t)request->size) {
		return "size";
	}
	/* A payload that is shorter than what its handler reads has zeros behind it, not what came before. */
	memset(message->payload.bytes + message->header.size, 0, sizeof(message->payload) - message->header.size);
	if (request->fds != ANY && message->fd_count != (uint32_t)request->fds) {
		return "count of fds";
	}
	return request->handle(device, message);
}

void rc_vhost_device_handle(struct rc_vhost_device *device) {
	struct rc_vhost_message *message = &device->message;
	const struct request *request = find_request(message->header.request);
	const char *wrong = serve(device, request, message);
	const bool need_reply = message->header.flags & RC_VHOST_NEED_REPLY;
	if (wrong) {
		rc_log(device->log, RC_LOG_WARN, "machine: vhost-user %s (%u): %s is wrong",
			request ? request->name : "message", message->header.request, wrong);
	}
	if (need_reply && (wrong || !request->replies)) {
		reply_u64(device, wrong != NULL);
	} else if (wrong && request && request->replies) {
		/* QEMU waits for what cannot be said. */
		device->closed = true;
	}
	if (!device->closed) {
		rc_vhost_device_start_queues(device);
	}
}
