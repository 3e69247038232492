/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "handoff/frame_link.h"
#include "util/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_SET_ACTIVE = 2,
	MESSAGE_SET_DISPLAY = 3,
	MESSAGE_INPUT = 4,
	MESSAGE_RING = 0x8001,
	MESSAGE_SCANOUT_OFF = 0x8002,
	MESSAGE_CURSOR_IMAGE = 0x8003,
	MESSAGE_CURSOR_MOVE = 0x8004,
	MESSAGE_DEVICE = 0x8005,
};

struct ring_message {
	uint32_t scanout_id, generation, format, width, height, coded_width, coded_height, stride, slot_count, refresh_mhz;
	uint32_t source_width, source_height, divisor, reserved;
	uint64_t slot_offset, slot_size, memfd_size;
};

struct device_message {
	uint32_t kind, convert;
	char name[RC_DEVICE_NAME];
};

struct cursor_image_message {
	uint32_t scanout_id, width, height, hot_x, hot_y, serial;
};

struct cursor_move_message {
	uint32_t scanout_id;
	int32_t x, y;
};

static void send_message(struct rc_frame_link *link, enum message_type type, const void *body, size_t size,
	const int *fds, uint16_t fd_count) {
	if (!link->closed && !rc_packet_send(link->watch.fd, (uint16_t)type, 0, body, size, fds, fd_count)) {
		rc_log(link->log, RC_LOG_WARN, "frames: the streamer does not read its messages: disconnected");
		link->closed = true;
	}
}

static void handle_ring_changed(void *owner, struct rc_scanout *scanout) {
	const struct rc_ring_layout *layout = &scanout->ring->layout;
	const struct ring_message body = {
		.scanout_id = scanout->id,
		.generation = scanout->generation,
		.format = layout->format,
		.width = layout->width,
		.height = layout->height,
		.coded_width = layout->coded_width,
		.coded_height = layout->coded_height,
		.stride = layout->stride,
		.slot_count = layout->slot_count,
		.refresh_mhz = scanout->refresh_mhz,
		.source_width = layout->source_width,
		.source_height = layout->source_height,
		.divisor = layout->divisor,
		.slot_offset = layout->slot_offset,
		.slot_size = layout->slot_size,
		.memfd_size = layout->memfd_size,
	};
	const int fds[2] = {scanout->ring->memfd, scanout->ring->event_fd};
	send_message(owner, MESSAGE_RING, &body, sizeof(body), fds, 2);
}

static void handle_turned_off(void *owner, struct rc_scanout *scanout) {
	const uint32_t body[2] = {scanout->id, 0};
	send_message(owner, MESSAGE_SCANOUT_OFF, body, sizeof(body), NULL, 0);
}

/* A sealed copy for the streamer, or -1. */
static int cursor_memfd(const struct rc_cursor *cursor) {
	size_t size = (size_t)cursor->width * cursor->height * 4;
	int fd = memfd_create("heliograph-cursor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0) {
		return -1;
	}
	if (write(fd, cursor->pixels, size) != (ssize_t)size ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void handle_cursor_changed(void *owner, struct rc_scanout *scanout) {
	const struct rc_cursor *cursor = &scanout->cursor;
	const struct cursor_image_message body = {
		.scanout_id = scanout->id,
		.width = cursor->width,
		.height = cursor->height,
		.hot_x = cursor->hot_x,
		.hot_y = cursor->hot_y,
		.serial = cursor->serial,
	};
	if (!cursor->width) {
		send_message(owner, MESSAGE_CURSOR_IMAGE, &body, sizeof(body), NULL, 0);
		return;
	}
	int fd = cursor_memfd(cursor);
	if (fd >= 0) {
		send_message(owner, MESSAGE_CURSOR_IMAGE, &body, sizeof(body), &fd, 1);
		close(fd);
	}
}

static void handle_cursor_moved(void *owner, struct rc_scanout *scanout) {
	const struct cursor_move_message body = {.scanout_id = scanout->id, .x = scanout->cursor.x, .y = scanout->cursor.y};
	send_message(owner, MESSAGE_CURSOR_MOVE, &body, sizeof(body), NULL, 0);
}

static void refuse(struct rc_frame_link *link, const char *message, const char *field) {
	rc_log(link->log, RC_LOG_WARN, "frames: %s: %s is wrong: ignored", message, field);
}

static void handle_hello(struct rc_frame_link *link, const uint32_t *fields) {
	if (fields[0] != RC_FRAME_LINK_VERSION) {
		rc_log(link->log, RC_LOG_ERROR, "frames: HELLO: version %u is not spoken here", fields[0]);
		link->closed = true;
		return;
	}
	link->greeted = true;
	struct device_message device = {.kind = link->device->kind, .convert = link->device->convert};
	memcpy(device.name, link->device->name, sizeof(device.name));
	send_message(link, MESSAGE_DEVICE, &device, sizeof(device), NULL, 0);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		const struct rc_scanout_listener listener = {
			.owner = link,
			.ring_changed = handle_ring_changed,
			.turned_off = handle_turned_off,
			.cursor_changed = handle_cursor_changed,
			.cursor_moved = handle_cursor_moved,
		};
		rc_scanout_connect(&link->scanouts[i], &listener);
	}
}

static void handle_set_display(struct rc_frame_link *link, const uint32_t *fields) {
	const uint32_t width = fields[1], height = fields[2], refresh = fields[3];
	if (fields[0] != 0 && width == 0 && height == 0 && refresh == 0) {
		link->display_changed |= rc_scanout_set_unwanted(&link->scanouts[fields[0]]);
	} else if (width < RC_MIN_SIZE || width > RC_MAX_SIZE || height < RC_MIN_SIZE || height > RC_MAX_SIZE) {
		refuse(link, "SET_DISPLAY", width < RC_MIN_SIZE || width > RC_MAX_SIZE ? "width" : "height");
	} else if (refresh && (refresh < 1000 || refresh > 1000000)) {
		refuse(link, "SET_DISPLAY", "refresh_mhz");
	} else if (rc_scanout_set_wanted(&link->scanouts[fields[0]], width, height, refresh)) {
		link->display_changed = true;
	}
}

static void dispatch(struct rc_frame_link *link, const struct rc_packet *packet) {
	struct rc_link_header header;
	uint32_t fields[4];
	const char *wrong = rc_packet_check(packet);
	if (wrong) {
		refuse(link, "message header", wrong);
		return;
	}
	memcpy(&header, packet->data, sizeof(header));
	size_t size = packet->size - sizeof(header);
	size_t expected = header.type == MESSAGE_SET_DISPLAY ? 16 : 8;
	if (size != expected || packet->fd_count) {
		refuse(link, "message header", packet->fd_count ? "fd_count" : "length");
		return;
	}
	memcpy(fields, packet->data + sizeof(header), expected);
	if ((header.type == MESSAGE_HELLO) == link->greeted) {
		refuse(link, "message header", "type (HELLO comes first, and once)");
		return;
	}
	if (header.type != MESSAGE_HELLO && fields[0] >= RC_MAX_SCANOUTS) {
		refuse(link, "message", "scanout_id");
		return;
	}
	switch (header.type) {
	case MESSAGE_HELLO:
		handle_hello(link, fields);
		break;
	case MESSAGE_SET_ACTIVE:
		rc_scanout_set_active(&link->scanouts[fields[0]], fields[1] != 0);
		break;
	case MESSAGE_SET_DISPLAY:
		handle_set_display(link, fields);
		break;
	case MESSAGE_INPUT:
		rc_scanout_expect(&link->scanouts[fields[0]], rc_now_ns());
		break;
	default:
		refuse(link, "message header", "type");
	}
}

void rc_frame_link_handle(struct rc_frame_link *link, struct rc_packet *packet) {
	dispatch(link, packet);
	rc_packet_close_fds(packet);
}

static void handle_ready(struct rc_watch *watch) {
	struct rc_frame_link *link = rc_container_of(watch, struct rc_frame_link, watch);
	switch (rc_packet_receive(watch->fd, &link->packet)) {
	case RC_PACKET_OK:
		rc_frame_link_handle(link, &link->packet);
		break;
	case RC_PACKET_CLOSED:
		link->closed = true;
		break;
	case RC_PACKET_NONE:
		break;
	}
}

struct rc_frame_link *rc_frame_link_create(struct rc_loop *loop, struct rc_log *log, struct rc_scanout *scanouts,
	const struct rc_device_info *device, int socket_fd) {
	struct rc_frame_link *link = calloc(1, sizeof(*link));
	if (!link) {
		return NULL;
	}
	*link = (struct rc_frame_link){.loop = loop, .log = log, .scanouts = scanouts, .device = device};
	link->packet.data = malloc(RC_PACKET_MAX);
	if (!link->packet.data || !rc_loop_add(loop, &link->watch, socket_fd, handle_ready)) {
		free(link->packet.data);
		free(link);
		return NULL;
	}
	return link;
}

void rc_frame_link_destroy(struct rc_frame_link *link) {
	if (!link) {
		return;
	}
	for (uint32_t i = 0; link->greeted && i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_disconnect(&link->scanouts[i]);
	}
	int fd = link->watch.fd;
	rc_loop_remove(link->loop, &link->watch);
	close(fd);
	free(link->packet.data);
	free(link);
}
