/* SPDX-License-Identifier: Apache-2.0
 * Packets of the display link and the frame link (docs/protocol/display-link.md, "Transport"). Little-endian hosts only, as
 * all Vulkan hosts are. */
#ifndef RC_PACKET_H
#define RC_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	RC_PACKET_MAX = 131072, /* a packet must fit a socket buffer of the kernel's default size, 212992 bytes */
	RC_PACKET_MAX_FDS = 2,
	RC_PACKET_RECV_FDS = 8, /* more than may come, so that what came can be closed */
};

struct rc_link_header {
	uint32_t length;
	uint16_t type, fd_count;
	uint32_t sequence, reserved;
};

/* One received packet. `data` is private memory: the sender cannot change it after the checks. */
struct rc_packet {
	uint8_t *data; /* RC_PACKET_MAX bytes, the owner's */
	size_t size;
	bool truncated; /* it was longer than RC_PACKET_MAX, or had more fds than fit */
	int fds[RC_PACKET_RECV_FDS];
	uint32_t fd_count;
};

enum rc_packet_status { RC_PACKET_OK, RC_PACKET_NONE, RC_PACKET_CLOSED };

/* Append the fds that came with a message to `fds`, which has room for `capacity`; what is more is closed. False: some were lost, here or on
 * their way. */
bool rc_packet_append_fds(struct msghdr *msg, int *fds, uint32_t capacity, uint32_t *count);

/* Receive without blocking. The fds are the packet's until rc_packet_take_fd() or rc_packet_close_fds(). */
enum rc_packet_status rc_packet_receive(int socket_fd, struct rc_packet *packet);

/* Hand over fd `index`: the caller closes it. */
int rc_packet_take_fd(struct rc_packet *packet, uint32_t index);
void rc_packet_close_fds(struct rc_packet *packet);

/* NULL when the header is right; else the name of the field that is not. */
const char *rc_packet_check(const struct rc_packet *packet);

/* Send header and body as one packet without blocking; fds are borrowed. False: the peer does not read, or is gone. */
bool rc_packet_send(int socket_fd, uint16_t type, uint32_t sequence, const void *body, size_t body_size, const int *fds,
	uint16_t fd_count);

#endif
