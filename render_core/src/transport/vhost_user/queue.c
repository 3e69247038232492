/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/vhost_user/queue.h"

#include <fcntl.h>
#include <unistd.h>

#include "util/clock.h"

/* As long as the display link's, for the same reason: a guest must not keep the core. */
#define MAX_TURN_NS UINT64_C(4000000)

static void signal_fd(int fd) {
	const uint64_t one = 1;
	if (fd >= 0) {
		ssize_t written = write(fd, &one, sizeof(one)); /* full: it is readable already */
		(void)written;
	}
}

static void replace_fd(int *slot, int fd) {
	if (*slot >= 0) {
		close(*slot);
	}
	/* QEMU's eventfds are so already; neither end may ever make us wait. */
	int flags = fd >= 0 ? fcntl(fd, F_GETFL) : -1;
	if (flags >= 0 && !(flags & O_NONBLOCK)) {
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	}
	*slot = fd;
}

void rc_vhost_queue_init(struct rc_vhost_queue *queue, const struct rc_vhost_queue_owner *owner, const char *name) {
	*queue = (struct rc_vhost_queue){
		.kick.fd = -1, .owner = owner, .name = name, .kick_fd = -1, .call_fd = -1, .error_fd = -1};
	for (uint32_t i = 0; i < RC_VIRTQUEUE_MAX; i++) {
		rc_list_init(&queue->flushes[i].completion.link);
	}
}

static void tell_driver(struct rc_vhost_queue *queue) {
	if (rc_virtqueue_must_signal(&queue->ring)) {
		signal_fd(queue->call_fd);
	}
}

static void finish_chain(struct rc_vhost_queue *queue, uint16_t index, uint32_t length) {
	rc_virtqueue_finish(&queue->ring, index, length);
	if (queue->starved) {
		queue->starved = false;
		signal_fd(queue->owner->again_fd);
	}
}

static void complete_flush(struct rc_completion *completion) {
	struct rc_vhost_flush *flush = rc_container_of(completion, struct rc_vhost_flush, completion);
	finish_chain(flush->queue, flush->index, flush->length);
	tell_driver(flush->queue);
}

struct rc_completion *rc_vhost_queue_hold(struct rc_vhost_queue *queue, uint16_t index, uint32_t length) {
	struct rc_vhost_flush *flush = &queue->flushes[index & (queue->ring.layout.size - 1)];
	flush->completion.complete = complete_flush;
	flush->queue = queue;
	flush->index = index;
	flush->length = length;
	return &flush->completion;
}

/* Nothing of the queue waits for a scanout any more. `answer`: its rings are there to answer in. */
static void release_flushes(struct rc_vhost_queue *queue, bool answer) {
	for (uint32_t i = 0; i < RC_VIRTQUEUE_MAX; i++) {
		struct rc_vhost_flush *flush = &queue->flushes[i];
		if (rc_list_empty(&flush->completion.link)) {
			continue;
		}
		rc_list_remove(&flush->completion.link);
		if (answer) {
			rc_virtqueue_finish(&queue->ring, flush->index, flush->length);
		}
	}
	if (answer) {
		tell_driver(queue);
	}
}

static void stop_serving(struct rc_vhost_queue *queue) {
	rc_loop_remove(queue->owner->loop, &queue->kick);
	queue->running = false;
	queue->base = queue->ring.next_available;
}

static void break_queue(struct rc_vhost_queue *queue, const char *wrong) {
	const bool was_running = queue->running;
	if (was_running) {
		release_flushes(queue, queue->ring.descriptors != NULL);
		stop_serving(queue);
	}
	queue->broken = true;
	rc_log(queue->owner->log, RC_LOG_WARN, "machine: %s queue: %s is wrong: stopped until its driver starts again",
		queue->name, wrong);
	signal_fd(queue->error_fd);
	if (was_running) {
		queue->owner->broke(queue);
	}
}

bool rc_vhost_queue_may_start(const struct rc_vhost_queue *queue) {
	return !queue->running && !queue->broken && queue->enabled && queue->addressed && queue->ring.layout.size &&
		   queue->kick_fd >= 0;
}

bool rc_vhost_queue_map(struct rc_vhost_queue *queue) {
	const char *wrong = rc_virtqueue_check(&queue->ring.layout);
	if (!wrong && !rc_virtqueue_map(&queue->ring, queue->owner->memory)) {
		wrong = "ring address";
	}
	if (wrong) {
		break_queue(queue, wrong);
	}
	return !wrong;
}

static void handle_kick(struct rc_watch *watch) {
	struct rc_vhost_queue *queue = rc_container_of(watch, struct rc_vhost_queue, kick);
	uint64_t count;
	ssize_t size = read(watch->fd, &count, sizeof(count));
	(void)size; /* whatever it says, the ring says more */
	rc_vhost_queue_serve(queue);
}

void rc_vhost_queue_start(struct rc_vhost_queue *queue, uint16_t base) {
	rc_virtqueue_start(&queue->ring, base, queue->event_idx);
	if (!rc_loop_add(queue->owner->loop, &queue->kick, queue->kick_fd, handle_kick)) {
		break_queue(queue, "kick fd");
		return;
	}
	queue->running = true;
	/* Kicks and calls may have been lost with whoever served the queue before. */
	signal_fd(queue->owner->again_fd);
	signal_fd(queue->call_fd);
}

void rc_vhost_queue_stop(struct rc_vhost_queue *queue) {
	if (queue->running) {
		release_flushes(queue, true);
		stop_serving(queue);
	}
	queue->broken = false;
	queue->starved = false;
}

void rc_vhost_queue_finish(struct rc_vhost_queue *queue) {
	rc_vhost_queue_stop(queue);
	replace_fd(&queue->kick_fd, -1);
	replace_fd(&queue->call_fd, -1);
	replace_fd(&queue->error_fd, -1);
}

void rc_vhost_queue_set_kick(struct rc_vhost_queue *queue, int fd) {
	const bool watched = queue->kick.fd >= 0;
	rc_loop_remove(queue->owner->loop, &queue->kick);
	replace_fd(&queue->kick_fd, fd);
	if (watched && (fd < 0 || !rc_loop_add(queue->owner->loop, &queue->kick, fd, handle_kick))) {
		break_queue(queue, "kick fd");
	} else if (watched) {
		signal_fd(queue->owner->again_fd);
	}
}

void rc_vhost_queue_set_call(struct rc_vhost_queue *queue, int fd) {
	replace_fd(&queue->call_fd, fd);
	if (queue->running) {
		signal_fd(fd); /* what was pushed before may have gone to nobody */
	}
}

void rc_vhost_queue_set_error(struct rc_vhost_queue *queue, int fd) {
	replace_fd(&queue->error_fd, fd);
}

void rc_vhost_queue_serve(struct rc_vhost_queue *queue) {
	const uint64_t end = rc_now_ns() + MAX_TURN_NS;
	struct rc_chain *chain = queue->owner->chain;
	while (queue->running) {
		const char *wrong = NULL;
		enum rc_virtqueue_status status = rc_virtqueue_take(&queue->ring, queue->owner->memory, chain, &wrong);
		if (status == RC_VIRTQUEUE_BROKEN) {
			break_queue(queue, wrong);
			return;
		}
		if (status == RC_VIRTQUEUE_FULL) {
			queue->starved = true;
			break;
		}
		if (status == RC_VIRTQUEUE_EMPTY && rc_virtqueue_wait(&queue->ring)) {
			break;
		}
		if (status == RC_VIRTQUEUE_OK) {
			bool waits = false;
			uint32_t length = queue->owner->serve(queue, chain, &waits);
			if (!waits) {
				finish_chain(queue, chain->index, length);
			}
		}
		if (rc_now_ns() >= end) {
			signal_fd(queue->owner->again_fd);
			break;
		}
	}
	if (queue->running) {
		tell_driver(queue);
	}
}
