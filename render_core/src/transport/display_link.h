/* SPDX-License-Identifier: Apache-2.0
 * A guest's connection to the display link (docs/protocol/display-link.md). Core thread only. */
#ifndef RC_DISPLAY_LINK_H
#define RC_DISPLAY_LINK_H

#include "core_loop.h"
#include "decode/virtio_gpu.h"
#include "transport/packet.h"

enum { RC_DISPLAY_LINK_VERSION = 1, RC_MAX_FLUSHES = 64, RC_MAX_PACKETS_A_TURN = 64 };
#define RC_MAX_TURN_NS UINT64_C(4000000)

struct rc_display_link {
	struct rc_watch watch;
	struct rc_loop *loop;
	struct rc_log *log;
	bool greeted;
	bool closed;      /* the guest is gone or does not read: the core destroys the link */
	uint32_t flushes; /* unanswered */
	bool event_sent;  /* GET_DISPLAY_INFO has not been asked since: one more would say nothing new */
	struct rc_packet packet;
	struct rc_virtio_gpu gpu;
};

/* Serve `socket_fd`, which is the link's on success. NULL: out of memory. */
struct rc_display_link *rc_display_link_create(
	struct rc_loop *loop, struct rc_log *log, struct rc_scanout *scanouts, int socket_fd);
void rc_display_link_destroy(struct rc_display_link *link);

/* Tell the guest that GET_DISPLAY_INFO has a new answer, unless it was told and has not asked yet. */
void rc_display_link_display_changed(struct rc_display_link *link);

/* True when the guest has closed its end, also while packets of it wait to be read. */
bool rc_display_link_is_dead(const struct rc_display_link *link);

/* Serve one packet: what the watch does, for fuzzing without a peer. Takes the packet's fds. */
void rc_display_link_handle(struct rc_display_link *link, struct rc_packet *packet);

#endif
