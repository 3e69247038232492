/* SPDX-License-Identifier: Apache-2.0
 * A vhost-user-gpu device (Virtio 1.2, 5.7, without 3D) on a connected socket: QEMU is the front-end, a virtual machine's driver the guest. Its control and cursor
 * queues go to the virtio-gpu commands and scanouts that the display link's guests use. Nothing here ever waits for QEMU. Core thread only. */
#ifndef RC_VHOST_DEVICE_H
#define RC_VHOST_DEVICE_H

#include "core_loop.h"
#include "decode/virtio_gpu.h"
#include "transport/vhost_user/journal.h"
#include "transport/vhost_user/message.h"
#include "transport/vhost_user/queue.h"

enum { RC_VHOST_CONTROL, RC_VHOST_CURSOR, RC_VHOST_QUEUES };

/* Flushes of one picture that one beat answers. */
enum { RC_VHOST_BATCH = 4 };

/* A request that so many workers have begun and not finished is refused: it must be what ends them. */
enum { RC_VHOST_MAX_ATTEMPTS = 2 };

/* The numbers are the machine link's (docs/protocol/machine-link.md). */
enum rc_machine_state {
	RC_MACHINE_ATTACHED = 1,   /* vhost-user is being served */
	RC_MACHINE_RUNNING = 2,    /* and the control queue is */
	RC_MACHINE_STOPPED = 3,    /* it is not any more: paused, reset, broken, or its driver is gone */
	RC_MACHINE_LOST = 4,       /* QEMU closed its end, or broke the protocol */
	RC_MACHINE_INCOMPLETE = 5, /* after RUNNING: the journal did not hold everything */
};

struct rc_vhost_device {
	struct rc_watch socket;
	struct rc_watch again; /* an eventfd of ours: queues have more to do */
	struct rc_loop *loop;
	struct rc_log *log;
	struct rc_vhost_message message;
	uint64_t features; /* acknowledged by the driver */
	int request_fd,
		gpu_fd; /* QEMU's ends for requests of ours, of which there are none: held so that it does not see them close */
	struct rc_virtio_gpu gpu;
	struct rc_guest_memory memory;
	struct rc_journal journal;
	bool recovering[RC_VHOST_QUEUES]; /* until its first start: another worker served this queue before */
	struct rc_vhost_queue_owner queue_owner;
	struct rc_vhost_queue queues[RC_VHOST_QUEUES];
	struct {
		struct rc_virtqueue_layout layout;
		uint16_t base;
		uint32_t id, length; /* of the last used entry */
	} stopped;               /* where the control queue stopped; layout.size 0: it has never run */
	struct rc_chain chain;
	uint16_t executed_before; /* so many of the next control chains were executed by the former worker */
	uint32_t attempts;        /* workers that have begun the chain after those */
	struct {
		uint32_t shown, flushes, batch;
	} pace[RC_MAX_SCANOUTS]; /* of the last flush: rc_scanout::shown, how many flushes its batch has */
	bool closed;             /* the owner destroys the device */
	struct {
		void *owner;
		void (*changed)(void *owner, enum rc_machine_state state);
	} listener; /* told after each change, never of LOST: that is `closed` */
};

struct rc_vhost_device_params {
	struct rc_loop *loop;
	struct rc_log *log;
	struct rc_scanout *scanouts; /* RC_MAX_SCANOUTS of the core's */
	int socket_fd;               /* connected, AF_UNIX SOCK_STREAM; the device's on success */
	int journal_fd;              /* borrowed */
	bool recover;                /* the journal is another worker's, and the machine may run on */
	void *owner;
	void (*changed)(void *owner, enum rc_machine_state state);
};

/* NULL on success, else what is wrong. */
const char *rc_vhost_device_create(const struct rc_vhost_device_params *params, struct rc_vhost_device **out);

/* NULL is allowed. Pictures that are shown stay. */
void rc_vhost_device_destroy(struct rc_vhost_device *device);

/* RUNNING or STOPPED, or ATTACHED before the first start. */
enum rc_machine_state rc_vhost_device_state(const struct rc_vhost_device *device);

/* For requests.c: start each queue that has all it needs; find all rings anew after the memory table has changed; stop one. */
void rc_vhost_device_start_queues(struct rc_vhost_device *device);
void rc_vhost_device_map_queues(struct rc_vhost_device *device);
void rc_vhost_device_stop_queue(struct rc_vhost_queue *queue);

/* For requests.c, before the memory table is set: no queue runs, and regions that the machine has lost fill the room for those it has now, because
 * resources are backed by them. Resources are dropped then: the driver begins, whoever it is. */
void rc_vhost_device_make_room(struct rc_vhost_device *device);

/* Serve device->message, which is whole: requests.c. */
void rc_vhost_device_handle(struct rc_vhost_device *device);

#endif
