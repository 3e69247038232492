/* SPDX-License-Identifier: Apache-2.0
 * The worker's end of the machine link (docs/protocol/machine-link.md): whoever speaks for a virtual machine hands over the socket of its vhost-user-gpu device, and
 * is told what becomes of it. The device outlives the connection: a restarted peer finds it as it is. Core thread only. */
#ifndef RC_MACHINE_LINK_H
#define RC_MACHINE_LINK_H

#include "core_loop.h"
#include "scanout/scanout.h"
#include "transport/packet.h"
#include "transport/vhost_user/device.h"

enum { RC_MACHINE_LINK_VERSION = 1 };

struct rc_machine_link {
	struct rc_watch listener, watch; /* watch: the connection, fd -1 when there is none */
	struct rc_loop *loop;
	struct rc_log *log;
	struct rc_scanout *scanouts;
	struct rc_packet packet;
	bool greeted;
	bool closed;                    /* the connection is to end */
	struct rc_vhost_device *device; /* NULL: no machine is attached */
	struct {
		uint32_t width, height, refresh_mhz;
	} told[RC_MAX_SCANOUTS]; /* by DISPLAY, to this connection */
};

/* Serve connections of `listener_fd`, which is the link's on success. NULL: out of memory. */
struct rc_machine_link *rc_machine_link_create(
	struct rc_loop *loop, struct rc_log *log, struct rc_scanout *scanouts, int listener_fd);
void rc_machine_link_destroy(struct rc_machine_link *link); /* NULL is allowed */

/* Say what viewers want now, where that has changed. */
void rc_machine_link_display_changed(struct rc_machine_link *link);

/* End what has ended: the connection, the device. To be called where neither is being used. */
void rc_machine_link_reap(struct rc_machine_link *link);

/* Serve one packet: what the watch does, for tests without a peer. Takes the packet's fds. */
void rc_machine_link_handle(struct rc_machine_link *link, struct rc_packet *packet);

#endif
