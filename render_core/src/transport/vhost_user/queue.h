/* SPDX-License-Identifier: Apache-2.0
 * One queue of a vhost-user device: its virtqueue, the eventfds around it, when it runs. A flush that waits for its beat keeps its place: the chains after it are
 * served, their used entries follow it. Core thread only. */
#ifndef RC_VHOST_QUEUE_H
#define RC_VHOST_QUEUE_H

#include "core_loop.h"
#include "scanout/scanout.h"
#include "transport/vhost_user/virtqueue.h"

struct rc_vhost_queue;

/* A flush of the chain at `index` that waits: rc_vhost_queue::flushes. */
struct rc_vhost_flush {
	struct rc_completion completion; /* unlinked when it does not wait */
	struct rc_vhost_queue *queue;
	uint16_t index;
	uint32_t length; /* of the response, which is written already */
};

/* The device's side of a queue. */
struct rc_vhost_queue_owner {
	struct rc_loop *loop;
	struct rc_log *log;
	const struct rc_guest_memory *memory;
	int again_fd;           /* an eventfd: written when a queue has more to do than fits in one turn */
	struct rc_chain *chain; /* for the chain being served, with room for its request */
	/* Serve a chain: fill its response and return the bytes written. *waits: rc_vhost_queue_hold() was called, its completion comes later. */
	uint32_t (*serve)(struct rc_vhost_queue *queue, struct rc_chain *chain, bool *waits);
	void (*broke)(struct rc_vhost_queue *queue); /* a running queue had to stop */
};

struct rc_vhost_queue {
	struct rc_watch kick; /* watched while the queue runs */
	const struct rc_vhost_queue_owner *owner;
	const char *name;
	int kick_fd, call_fd, error_fd; /* owned; -1: not given */
	struct rc_virtqueue ring;
	uint16_t base; /* of SET_VRING_BASE, or where the queue stopped */
	bool addressed, enabled;
	bool running, broken;                            /* broken: until GET_VRING_BASE stops it */
	bool event_idx;                                  /* negotiated: taken at the start */
	bool starved;                                    /* chains wait until one of ours is done */
	struct rc_vhost_flush flushes[RC_VIRTQUEUE_MAX]; /* by index modulo the ring's size */
};

/* `name` is for log lines. The owner outlives the queue. */
void rc_vhost_queue_init(struct rc_vhost_queue *queue, const struct rc_vhost_queue_owner *owner, const char *name);

/* Stops it and closes its fds. */
void rc_vhost_queue_finish(struct rc_vhost_queue *queue);

/* Replace an fd of the queue; -1: none. Taken. */
void rc_vhost_queue_set_kick(struct rc_vhost_queue *queue, int fd);
void rc_vhost_queue_set_call(struct rc_vhost_queue *queue, int fd);
void rc_vhost_queue_set_error(struct rc_vhost_queue *queue, int fd);

/* True when all that a running queue needs is there, and it does not run yet. */
bool rc_vhost_queue_may_start(const struct rc_vhost_queue *queue);

/* Find its rings in memory, for the first time or anew. False: they are outside, and the queue is broken. */
bool rc_vhost_queue_map(struct rc_vhost_queue *queue);

/* Serve from index `base` on; the rings are mapped. */
void rc_vhost_queue_start(struct rc_vhost_queue *queue, uint16_t base);

/* Answer what waits and stop: `base` is where the next start goes on. Mends a broken queue. */
void rc_vhost_queue_stop(struct rc_vhost_queue *queue);

/* Serve what is there, for one turn: what the kick does. */
void rc_vhost_queue_serve(struct rc_vhost_queue *queue);

/* The flush of the chain that is being served: completed later, with `length` bytes of response. */
struct rc_completion *rc_vhost_queue_hold(struct rc_vhost_queue *queue, uint16_t index, uint32_t length);

#endif
