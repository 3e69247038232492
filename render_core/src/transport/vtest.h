/* SPDX-License-Identifier: Apache-2.0
 * The vtest socket, on which stock Mesa's Venus driver connects: a listening socket, a thread for each client. */
#ifndef RC_VTEST_H
#define RC_VTEST_H

#include "core_loop.h"
#include "execute/venus/guest.h"

struct rc_vtest;

struct rc_vtest_params {
	struct rc_loop *loop; /* accepts on the loop's thread; everything else on threads of its own */
	struct rc_vn_guest *guest;
	int listener; /* listening AF_UNIX SOCK_STREAM; borrowed, dup'd */
	int guard_fd; /* AF_UNIX SOCK_SEQPACKET to the supervisor, borrowed: told about clients and rings (docs/protocol/guard-link.md); -1: none */
	bool once;    /* serve one client, then stop the loop: `heliograph vtest` has a worker a client */
};

/* The loop's thread owns it. */
enum rc_result rc_vtest_create(const struct rc_vtest_params *params, struct rc_vtest **out);
/* Ends all clients: FATAL on their rings, then threads joined, then objects. NULL is allowed. False: a client's thread does not end within half a
 * minute (a driver hangs): guest and device are in use for ever, the caller must leave them and end the process. */
bool rc_vtest_destroy(struct rc_vtest *vtest);
/* Set FATAL on all rings and tell the clients' threads to end, without waiting for them. Any thread. */
void rc_vtest_end_clients(struct rc_vtest *vtest);
/* Called by the loop's owner between waits: frees clients whose threads have ended (the loop wakes up for it). True: a hung device was abandoned and
 * no client is left: the worker should be replaced. */
bool rc_vtest_reap(struct rc_vtest *vtest);

#endif
