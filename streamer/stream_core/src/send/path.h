/* SPDX-License-Identifier: Apache-2.0
 * Where packets go, and the cheapest way to give them to the kernel. */
#ifndef SC_SEND_PATH_H
#define SC_SEND_PATH_H

#include <sys/socket.h>

#include "sc_sender.h"

enum {
	SC_BATCH_PACKETS = 128,
	SC_BATCH_BYTES = 192 << 10,
};

/* Datagrams that lie one behind the other. */
struct sc_batch {
	uint32_t count;
	uint32_t used_bytes;
	uint16_t sizes_bytes[SC_BATCH_PACKETS];
	uint8_t data[SC_BATCH_BYTES];
};

struct sc_path {
	int fd; /* -1: there is none */
	enum sc_send_mode mode;
	enum sc_send_mode best_mode; /* what is tried first on a new path */
	struct sockaddr_storage address;
	socklen_t address_bytes; /* 0: the socket is connected */
};

void sc_path_init(struct sc_path *path);
void sc_path_finish(struct sc_path *path);

/* See sc_sender_set_path(). */
enum sc_result sc_path_open(struct sc_path *path, int borrow_fd, const char *host, uint16_t port);

/* Send `batch` and return how many of its packets were taken by the kernel. *ret: SC_OK: all; SC_AGAIN: the socket takes no more now;
 * SC_ERROR_IO: the kernel refuses the packet after those, see errno. */
uint32_t sc_path_send(struct sc_path *path, const struct sc_batch *batch, enum sc_result *ret);

#endif
