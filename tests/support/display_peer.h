/* SPDX-License-Identifier: Apache-2.0
 * A display link and a frame link in one thread, with the guest's and the streamer's ends in the test's hands. No Vulkan: pictures
 * are converted by the CPU. */
#ifndef DISPLAY_PEER_H
#define DISPLAY_PEER_H

#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/render_core/check.h"
#include "handoff/frame_link.h"
#include "transport/display_link.h"
#include "util/clock.h"

struct display_peer {
	struct rc_log log;
	struct rc_loop loop;
	struct rc_converter *converter;
	struct rc_device_info device;
	struct rc_scanout scanouts[RC_MAX_SCANOUTS];
	struct rc_display_link *link;
	struct rc_frame_link *frames;
	int guest, streamer; /* sockets */
	uint8_t data[RC_PACKET_MAX];
	struct rc_packet packet; /* last received by receive() */
	uint32_t sequence;
};

static inline void display_peer_init(struct display_peer *peer) {
	memset(peer, 0, sizeof(*peer));
	rc_log_init(&peer->log, -1, RC_LOG_ERROR);
	CHECK(rc_loop_init(&peer->loop));
	CHECK(rc_converter_create(NULL, RC_CONVERT_CPU, &peer->converter) == RC_OK);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_init(&peer->scanouts[i], i, &peer->log, peer->converter, RC_FORMAT_I420);
	}
	rc_scanout_set_wanted(&peer->scanouts[0], 1280, 720, 60000);
	peer->scanouts[0].wanted_unseen = false;
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	peer->guest = pair[0];
	peer->link = rc_display_link_create(&peer->loop, &peer->log, peer->scanouts, pair[1]);
	CHECK(peer->link);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	peer->streamer = pair[0];
	peer->frames = rc_frame_link_create(&peer->loop, &peer->log, peer->scanouts, &peer->device, pair[1]);
	CHECK(peer->frames);
	peer->packet.data = peer->data;
}

static inline void display_peer_finish(struct display_peer *peer) {
	rc_packet_close_fds(&peer->packet);
	rc_display_link_destroy(peer->link);
	rc_frame_link_destroy(peer->frames);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_finish(&peer->scanouts[i]);
	}
	rc_converter_destroy(peer->converter);
	rc_loop_finish(&peer->loop);
	close(peer->guest);
	close(peer->streamer);
}

/* Put a packet into the link's hands as if it had come by the socket; the fd (or -1) is taken. */
static inline void give_packet(struct display_peer *peer, const void *data, size_t size, int fd) {
	struct rc_packet *packet = &peer->link->packet;
	memcpy(packet->data, data, size);
	packet->size = size;
	packet->truncated = false;
	packet->fd_count = fd >= 0;
	packet->fds[0] = fd;
	rc_display_link_handle(peer->link, packet);
}

static inline void give(struct display_peer *peer, uint16_t type, const void *body, size_t size, int fd) {
	static uint8_t message[RC_PACKET_MAX];
	struct rc_link_header header = {
		.length = (uint32_t)(sizeof(header) + size),
		.type = type,
		.fd_count = fd >= 0,
		.sequence = ++peer->sequence,
	};
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), body, size);
	give_packet(peer, message, sizeof(header) + size, fd);
}

/* The next packet for the guest: false when there is none. `hdr` gets a RESPONSE's header. */
static inline bool take_answer(
	struct display_peer *peer, struct rc_link_header *header, struct virtio_gpu_ctrl_hdr *hdr) {
	rc_packet_close_fds(&peer->packet);
	if (rc_packet_receive(peer->guest, &peer->packet) != RC_PACKET_OK) {
		return false;
	}
	CHECK(peer->packet.size >= sizeof(*header));
	memcpy(header, peer->data, sizeof(*header));
	memset(hdr, 0, sizeof(*hdr));
	if (header->type == 0x8002) {
		CHECK(peer->packet.size >= sizeof(*header) + sizeof(*hdr));
		memcpy(hdr, peer->data + sizeof(*header), sizeof(*hdr));
	}
	return true;
}

/* What the core's loop does after it read what was there. */
static inline void service(struct display_peer *peer) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		rc_scanout_service(&peer->scanouts[i], rc_now_ns());
	}
}

/* Send one request and return the response's type; 0 when it waits. */
static inline uint32_t ask(struct display_peer *peer, uint16_t type, const void *body, size_t size, int fd) {
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	give(peer, type, body, size, fd);
	service(peer);
	if (!take_answer(peer, &header, &hdr)) {
		return 0;
	}
	CHECK(header.sequence == peer->sequence);
	return header.type == 0x8002 ? hdr.type : header.type;
}

static inline void say_hello(struct display_peer *peer) {
	const uint32_t hello[2] = {1, 0};
	CHECK(ask(peer, 1, hello, sizeof(hello), -1) == 0x8001);
}

static inline int make_memfd(size_t size, bool sealed) {
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	CHECK(!sealed || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	return fd;
}

static inline uint32_t add_region(struct display_peer *peer, uint64_t base, uint64_t size, int fd) {
	const uint64_t body[3] = {base, size, 0};
	return ask(peer, 2, body, sizeof(body), fd);
}

#endif
