/* SPDX-License-Identifier: Apache-2.0
 * What waits for fds in the core's loop. */
#ifndef RC_CORE_LOOP_H
#define RC_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* Embedded in whatever owns an fd. */
struct rc_watch {
	int fd; /* -1: not watched */
	void (*ready)(struct rc_watch *watch);
};

struct rc_loop {
	int epoll_fd, timer_fd, stop_fd;
	bool stopping;
};

bool rc_loop_init(struct rc_loop *loop);
void rc_loop_finish(struct rc_loop *loop);

/* Watch for input and hang-ups. The watch must be removed before its fd is closed. */
bool rc_loop_add(struct rc_loop *loop, struct rc_watch *watch, int fd, void (*ready)(struct rc_watch *watch));
void rc_loop_remove(struct rc_loop *loop, struct rc_watch *watch);

/* Wait until something is ready or `deadline_ns` (CLOCK_MONOTONIC; UINT64_MAX: never), and run what is ready. A watch may remove
 * itself and others while it runs. */
void rc_loop_wait(struct rc_loop *loop, uint64_t deadline_ns);

/* Any thread, async-signal-safe. */
void rc_loop_stop(struct rc_loop *loop);

#endif
