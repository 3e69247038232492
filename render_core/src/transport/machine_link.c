/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/machine_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_ATTACH = 2,
	MESSAGE_HELLO_REPLY = 0x8001,
	MESSAGE_STATE = 0x8002,
	MESSAGE_DISPLAY = 0x8003,
};

struct display_message {
	uint32_t scanout_id, width, height, refresh_mhz;
};

static void send_message(struct rc_machine_link *link, enum message_type type, const void *body, size_t size) {
	if (link->greeted && !link->closed && !rc_packet_send(link->watch.fd, (uint16_t)type, 0, body, size, NULL, 0)) {
		if (errno == EPIPE || errno == ECONNRESET) {
			rc_log(link->log, RC_LOG_INFO, "machine: the agent has left");
		} else {
			rc_log(link->log, RC_LOG_WARN, "machine: the agent does not read its messages: disconnected");
		}
		link->closed = true;
	}
}

static void send_state(void *owner, enum rc_machine_state state) {
	const uint32_t body[2] = {state, 0};
	send_message(owner, MESSAGE_STATE, body, sizeof(body));
}

void rc_machine_link_display_changed(struct rc_machine_link *link) {
	for (uint32_t i = 0; link->greeted && i < RC_MAX_SCANOUTS; i++) {
		const struct rc_scanout *scanout = &link->scanouts[i];
		/* 0 × 0: nobody wants it, or any more. */
		const struct display_message body = {i, scanout->wanted_width, scanout->wanted_height, scanout->refresh_mhz};
		if (link->told[i].width != body.width || link->told[i].height != body.height ||
			(body.width && link->told[i].refresh_mhz != body.refresh_mhz)) {
			link->told[i].width = body.width;
			link->told[i].height = body.height;
			link->told[i].refresh_mhz = body.refresh_mhz;
			send_message(link, MESSAGE_DISPLAY, &body, sizeof(body));
		}
	}
}

static const char *handle_hello(struct rc_machine_link *link, const uint32_t *fields) {
	if (fields[0] != RC_MACHINE_LINK_VERSION || fields[1] != 0) {
		return fields[1] ? "flags" : "version";
	}
	link->greeted = true;
	const uint32_t body[2] = {RC_MACHINE_LINK_VERSION, RC_MAX_SCANOUTS};
	send_message(link, MESSAGE_HELLO_REPLY, body, sizeof(body));
	rc_machine_link_display_changed(link);
	if (link->device) {
		send_state(link, rc_vhost_device_state(link->device));
	}
	return NULL;
}

static void drop_device(struct rc_machine_link *link) {
	rc_vhost_device_destroy(link->device);
	link->device = NULL;
}

static const char *handle_attach(struct rc_machine_link *link, const uint32_t *fields, struct rc_packet *packet) {
	if (fields[0] > 1 || fields[1] != 0) {
		return fields[1] ? "reserved" : "recover";
	}
	drop_device(link);
	const struct rc_vhost_device_params params = {
		.loop = link->loop,
		.log = link->log,
		.scanouts = link->scanouts,
		.socket_fd = packet->fds[0],
		.journal_fd = packet->fds[1],
		.recover = fields[0] == 1,
		.owner = link,
		.changed = send_state,
	};
	const char *wrong = rc_vhost_device_create(&params, &link->device);
	if (wrong) {
		return wrong;
	}
	rc_packet_take_fd(packet, 0);
	rc_log(link->log, RC_LOG_INFO, "machine: attached");
	send_state(link, RC_MACHINE_ATTACHED);
	return NULL;
}

static const char *dispatch(struct rc_machine_link *link, struct rc_packet *packet) {
	struct rc_link_header header;
	uint32_t fields[2];
	const char *wrong = rc_packet_check(packet);
	if (wrong) {
		return wrong;
	}
	memcpy(&header, packet->data, sizeof(header));
	if (header.type != MESSAGE_HELLO && header.type != MESSAGE_ATTACH) {
		return "type";
	}
	if (packet->size != sizeof(header) + sizeof(fields)) {
		return "length";
	}
	if (header.fd_count != (header.type == MESSAGE_ATTACH ? 2 : 0)) {
		return "fd_count";
	}
	if ((header.type == MESSAGE_HELLO) == link->greeted) {
		return "type (HELLO comes first, and once)";
	}
	memcpy(fields, packet->data + sizeof(header), sizeof(fields));
	return header.type == MESSAGE_HELLO ? handle_hello(link, fields) : handle_attach(link, fields, packet);
}

void rc_machine_link_handle(struct rc_machine_link *link, struct rc_packet *packet) {
	const char *wrong = dispatch(link, packet);
	if (wrong) {
		rc_log(link->log, RC_LOG_WARN, "machine: message: %s is wrong: disconnected", wrong);
		link->closed = true;
	}
	rc_packet_close_fds(packet);
}

static void handle_ready(struct rc_watch *watch) {
	struct rc_machine_link *link = rc_container_of(watch, struct rc_machine_link, watch);
	switch (rc_packet_receive(watch->fd, &link->packet)) {
	case RC_PACKET_OK:
		rc_machine_link_handle(link, &link->packet);
		break;
	case RC_PACKET_CLOSED:
		link->closed = true;
		break;
	case RC_PACKET_NONE:
		break;
	}
}

static void disconnect(struct rc_machine_link *link) {
	int fd = link->watch.fd;
	rc_loop_remove(link->loop, &link->watch);
	if (fd >= 0) {
		close(fd);
	}
	link->greeted = link->closed = false;
	memset(link->told, 0, sizeof(link->told));
}

static void handle_listener(struct rc_watch *watch) {
	struct rc_machine_link *link = rc_container_of(watch, struct rc_machine_link, listener);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		return;
	}
	disconnect(link); /* a restarted agent replaces its predecessor */
	rc_log(link->log, RC_LOG_INFO, "machine: connected");
	if (!rc_loop_add(link->loop, &link->watch, fd, handle_ready)) {
		rc_log(link->log, RC_LOG_ERROR, "machine: the connection cannot be watched");
		close(fd);
	}
}

struct rc_machine_link *rc_machine_link_create(
	struct rc_loop *loop, struct rc_log *log, struct rc_scanout *scanouts, int listener_fd) {
	struct rc_machine_link *link = calloc(1, sizeof(*link));
	if (!link) {
		return NULL;
	}
	*link = (struct rc_machine_link){.watch.fd = -1, .loop = loop, .log = log, .scanouts = scanouts};
	link->packet.data = malloc(RC_PACKET_MAX);
	if (!link->packet.data || !rc_loop_add(loop, &link->listener, listener_fd, handle_listener)) {
		free(link->packet.data);
		free(link);
		return NULL;
	}
	return link;
}

void rc_machine_link_destroy(struct rc_machine_link *link) {
	if (!link) {
		return;
	}
	disconnect(link);
	drop_device(link);
	int fd = link->listener.fd;
	rc_loop_remove(link->loop, &link->listener);
	close(fd);
	free(link->packet.data);
	free(link);
}

void rc_machine_link_reap(struct rc_machine_link *link) {
	if (link->device && link->device->closed) {
		drop_device(link);
		rc_log(link->log, RC_LOG_INFO, "machine: QEMU has left");
		send_state(link, RC_MACHINE_LOST);
	}
	if (link->closed) {
		rc_log(link->log, RC_LOG_INFO, "machine: disconnected");
		disconnect(link);
	}
}
