/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/display_link.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_ADD_REGION = 2,
	MESSAGE_REMOVE_REGION = 3,
	MESSAGE_CONTROL = 4,
	MESSAGE_CURSOR = 5,
	MESSAGE_HELLO_REPLY = 0x8001,
	MESSAGE_RESPONSE = 0x8002,
	MESSAGE_EVENT = 0x8003,
};

/* An unanswered RESOURCE_FLUSH. */
struct flush {
	struct rc_completion completion;
	struct rc_display_link *link;
	uint32_t sequence;
	struct virtio_gpu_ctrl_hdr hdr;
};

static void send_message(
	struct rc_display_link *link, enum message_type type, uint32_t sequence, const void *body, size_t size) {
	if (!link->closed && !rc_packet_send(link->watch.fd, (uint16_t)type, sequence, body, size, NULL, 0)) {
		rc_log(link->log, RC_LOG_WARN, "display: the guest does not read its answers: disconnected");
		link->closed = true;
	}
}

static void respond(struct rc_display_link *link, uint32_t sequence, const struct rc_reply *reply) {
	send_message(link, MESSAGE_RESPONSE, sequence, &reply->hdr, reply->size);
}

static void complete_flush(struct rc_completion *completion) {
	struct flush *flush = rc_container_of(completion, struct flush, completion);
	flush->link->flushes--;
	send_message(flush->link, MESSAGE_RESPONSE, flush->sequence, &flush->hdr, sizeof(flush->hdr));
	free(flush);
}

static void refuse(struct rc_display_link *link, uint32_t sequence, enum virtio_gpu_ctrl_type error,
	const char *command, const char *field) {
	struct rc_reply reply = {0};
	rc_virtio_gpu_fail(&link->gpu, &reply, error, command, field);
	respond(link, sequence, &reply);
}

static void accept_reply(struct rc_display_link *link, uint32_t sequence) {
	const struct rc_reply reply = {.size = sizeof(reply.hdr), .hdr.type = VIRTIO_GPU_RESP_OK_NODATA};
	respond(link, sequence, &reply);
}

static void handle_hello(struct rc_display_link *link, uint32_t sequence, const uint8_t *body, size_t size) {
	uint32_t fields[2];
	if (size != sizeof(fields)) {
		refuse(link, sequence, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "HELLO", "size");
		return;
	}
	memcpy(fields, body, sizeof(fields));
	if (fields[0] != RC_DISPLAY_LINK_VERSION || fields[1] != 0) {
		refuse(link, sequence, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "HELLO", fields[1] ? "flags" : "version");
		return;
	}
	link->greeted = true;
	const uint32_t reply[2] = {RC_DISPLAY_LINK_VERSION, RC_MAX_SCANOUTS};
	send_message(link, MESSAGE_HELLO_REPLY, sequence, reply, sizeof(reply));
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		if (link->gpu.scanouts[i].wanted_unseen) {
			rc_display_link_display_changed(link); /* it changed while no guest was connected */
			return;
		}
	}
}

static void handle_add_region(
	struct rc_display_link *link, uint32_t sequence, const uint8_t *body, size_t size, struct rc_packet *packet) {
	uint64_t fields[3];
	if (size != sizeof(fields) || packet->fd_count != 1) {
		refuse(link, sequence, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "ADD_REGION",
			size == sizeof(fields) ? "fd_count" : "size of the message");
		return;
	}
	memcpy(fields, body, sizeof(fields));
	const char *wrong = rc_memory_add(&link->gpu.memory, fields[0], fields[1], fields[2], packet->fds[0]);
	if (wrong) {
		bool memory = strcmp(wrong, "memory") == 0;
		refuse(link, sequence, memory ? VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY : VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
			"ADD_REGION", wrong);
		return;
	}
	rc_packet_take_fd(packet, 0);
	accept_reply(link, sequence);
}

static void handle_remove_region(struct rc_display_link *link, uint32_t sequence, const uint8_t *body, size_t size) {
	uint64_t base;
	if (size != sizeof(base)) {
		refuse(link, sequence, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "REMOVE_REGION", "size of the message");
		return;
	}
	memcpy(&base, body, sizeof(base));
	if (!rc_memory_remove(&link->gpu.memory, base)) {
		refuse(link, sequence, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "REMOVE_REGION", "base");
		return;
	}
	accept_reply(link, sequence);
}

static void handle_control(struct rc_display_link *link, uint32_t sequence, const uint8_t *body, size_t size) {
	struct rc_reply reply;
	rc_virtio_gpu_control(&link->gpu, body, size, &reply);
	link->event_sent = link->event_sent && reply.hdr.type != VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
	if (!reply.flush_scanout) {
		respond(link, sequence, &reply);
		return;
	}
	struct flush *flush = link->flushes < RC_MAX_FLUSHES ? calloc(1, sizeof(*flush)) : NULL;
	if (!flush) {
		refuse(link, sequence, VIRTIO_GPU_RESP_ERR_UNSPEC, "RESOURCE_FLUSH", "count of unanswered flushes");
		return;
	}
	*flush =
		(struct flush){.completion.complete = complete_flush, .link = link, .sequence = sequence, .hdr = reply.hdr};
	rc_list_init(&flush->completion.link);
	link->flushes++;
	rc_scanout_flush(reply.flush_scanout, &reply.flush_rect, &flush->completion);
}

static void dispatch(struct rc_display_link *link, struct rc_packet *packet) {
	struct rc_link_header header = {0};
	memcpy(&header, packet->data, packet->size < sizeof(header) ? packet->size : sizeof(header));
	const char *wrong = rc_packet_check(packet);
	if (wrong) {
		refuse(link, header.sequence, VIRTIO_GPU_RESP_ERR_UNSPEC, "message header", wrong);
		return;
	}
	if ((header.type == MESSAGE_HELLO) == link->greeted) {
		refuse(link, header.sequence, VIRTIO_GPU_RESP_ERR_UNSPEC, "message header",
			link->greeted ? "type (a second HELLO)" : "type (HELLO comes first)");
		return;
	}
	if (packet->fd_count && header.type != MESSAGE_ADD_REGION) {
		refuse(link, header.sequence, VIRTIO_GPU_RESP_ERR_UNSPEC, "message header", "fd_count");
		return;
	}
	const uint8_t *body = packet->data + sizeof(header);
	size_t size = packet->size - sizeof(header);
	struct rc_reply reply;
	switch (header.type) {
	case MESSAGE_HELLO:
		handle_hello(link, header.sequence, body, size);
		break;
	case MESSAGE_ADD_REGION:
		handle_add_region(link, header.sequence, body, size, packet);
		break;
	case MESSAGE_REMOVE_REGION:
		handle_remove_region(link, header.sequence, body, size);
		break;
	case MESSAGE_CONTROL:
		handle_control(link, header.sequence, body, size);
		break;
	case MESSAGE_CURSOR:
		rc_virtio_gpu_cursor(&link->gpu, body, size, &reply);
		respond(link, header.sequence, &reply);
		break;
	default:
		refuse(link, header.sequence, VIRTIO_GPU_RESP_ERR_UNSPEC, "message header", "type");
	}
}

void rc_display_link_handle(struct rc_display_link *link, struct rc_packet *packet) {
	dispatch(link, packet);
	rc_packet_close_fds(packet);
}

static void handle_ready(struct rc_watch *watch) {
	struct rc_display_link *link = rc_container_of(watch, struct rc_display_link, watch);
	/* All that is there, so that flushes that were sent together are one frame; not for ever, so that a guest cannot keep the core. */
	enum rc_packet_status status = RC_PACKET_OK;
	uint64_t end = rc_now_ns() + RC_MAX_TURN_NS;
	for (int i = 0;
		 i < RC_MAX_PACKETS_A_TURN && status == RC_PACKET_OK && !link->closed && (i == 0 || rc_now_ns() < end); i++) {
		status = rc_packet_receive(watch->fd, &link->packet);
		if (status == RC_PACKET_OK) {
			rc_display_link_handle(link, &link->packet);
		}
	}
	link->closed = link->closed || status == RC_PACKET_CLOSED;
}

struct rc_display_link *rc_display_link_create(
	struct rc_loop *loop, struct rc_log *log, struct rc_scanout *scanouts, int socket_fd) {
	struct rc_display_link *link = calloc(1, sizeof(*link));
	if (!link) {
		return NULL;
	}
	link->loop = loop;
	link->log = log;
	link->packet.data = malloc(RC_PACKET_MAX);
	rc_virtio_gpu_init(&link->gpu, log, scanouts);
	if (!link->packet.data || !rc_loop_add(loop, &link->watch, socket_fd, handle_ready)) {
		free(link->packet.data);
		free(link);
		return NULL;
	}
	return link;
}

void rc_display_link_destroy(struct rc_display_link *link) {
	if (!link) {
		return;
	}
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		struct rc_list *completions = &link->gpu.scanouts[i].completions;
		for (struct rc_list *l = completions->next, *next; l != completions; l = next) {
			next = l->next;
			struct rc_completion *completion = rc_container_of(l, struct rc_completion, link);
			if (completion->complete != complete_flush) {
				continue; /* a virtual machine's */
			}
			/* One link is served at a time: all that are left are this link's. */
			struct flush *flush = rc_container_of(completion, struct flush, completion);
			rc_list_remove(l);
			free(flush);
		}
	}
	int fd = link->watch.fd;
	rc_loop_remove(link->loop, &link->watch);
	close(fd);
	rc_virtio_gpu_finish(&link->gpu);
	free(link->packet.data);
	free(link);
}

void rc_display_link_display_changed(struct rc_display_link *link) {
	const uint32_t body[2] = {VIRTIO_GPU_EVENT_DISPLAY, 0};
	if (link->greeted && !link->event_sent) {
		link->event_sent = true;
		send_message(link, MESSAGE_EVENT, 0, body, sizeof(body));
	}
}

bool rc_display_link_is_dead(const struct rc_display_link *link) {
	struct pollfd poller = {.fd = link->watch.fd, .events = POLLRDHUP};
	return poll(&poller, 1, 0) == 1 && (poller.revents & (POLLRDHUP | POLLHUP | POLLERR));
}
