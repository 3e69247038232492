/* SPDX-License-Identifier: Apache-2.0
 * The streamer's connection to the frame link (docs/protocol/frame-link.md). Core thread only. */
#ifndef RC_FRAME_LINK_H
#define RC_FRAME_LINK_H

#include "core_loop.h"
#include "scanout/scanout.h"
#include "transport/packet.h"

enum { RC_FRAME_LINK_VERSION = 1, RC_MIN_SIZE = 16 };

struct rc_frame_link {
	struct rc_watch watch;
	struct rc_loop *loop;
	struct rc_log *log;
	struct rc_scanout *scanouts;
	const struct rc_device_info *device;
	bool greeted, closed;
	bool display_changed; /* a SET_DISPLAY changed what the guest should be told; the core clears it */
	struct rc_packet packet;
};

/* Serve `socket_fd`, which is the link's on success. NULL: out of memory. */
struct rc_frame_link *rc_frame_link_create(struct rc_loop *loop, struct rc_log *log, struct rc_scanout *scanouts,
	const struct rc_device_info *device, int socket_fd);
void rc_frame_link_destroy(struct rc_frame_link *link);

/* Serve one packet: what the watch does, for fuzzing without a peer. Takes the packet's fds. */
void rc_frame_link_handle(struct rc_frame_link *link, struct rc_packet *packet);

#endif
