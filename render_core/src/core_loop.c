/* SPDX-License-Identifier: Apache-2.0 */
#include "core_loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

bool rc_loop_init(struct rc_loop *loop) {
	*loop = (struct rc_loop){
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	struct epoll_event event = {.events = EPOLLIN};
	/* No watch: waking up is all that these two do. */
	return loop->epoll_fd >= 0 && loop->timer_fd >= 0 && loop->stop_fd >= 0 &&
		   epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->timer_fd, &event) == 0 &&
		   epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->stop_fd, &event) == 0;
}

void rc_loop_finish(struct rc_loop *loop) {
	const int fds[] = {loop->epoll_fd, loop->timer_fd, loop->stop_fd};
	for (int i = 0; i < 3; i++) {
		if (fds[i] >= 0) {
			close(fds[i]);
		}
	}
}

bool rc_loop_add(struct rc_loop *loop, struct rc_watch *watch, int fd, void (*ready)(struct rc_watch *watch)) {
	*watch = (struct rc_watch){.fd = fd, .ready = ready};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		watch->fd = -1;
		return false;
	}
	return true;
}

void rc_loop_remove(struct rc_loop *loop, struct rc_watch *watch) {
	if (watch->fd >= 0) {
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
		watch->fd = -1;
	}
}

static void arm(struct rc_loop *loop, uint64_t deadline_ns) {
	struct itimerspec spec = {0};
	if (deadline_ns != UINT64_MAX) {
		deadline_ns = deadline_ns ? deadline_ns : 1; /* 0 would disarm */
		spec.it_value.tv_sec = (time_t)(deadline_ns / 1000000000u);
		spec.it_value.tv_nsec = (long)(deadline_ns % 1000000000u);
	}
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void rc_loop_wait(struct rc_loop *loop, uint64_t deadline_ns) {
	arm(loop, deadline_ns);
	/* One event at a time: what runs may remove and free other watches. */
	struct epoll_event event;
	int count = epoll_wait(loop->epoll_fd, &event, 1, -1);
	if (count <= 0) {
		return;
	}
	struct rc_watch *watch = event.data.ptr;
	if (watch) {
		watch->ready(watch);
		return;
	}
	uint64_t value;
	if (read(loop->stop_fd, &value, sizeof(value)) == (ssize_t)sizeof(value)) {
		loop->stopping = true;
	}
	ssize_t expired = read(loop->timer_fd, &value, sizeof(value));
	(void)expired;
}

void rc_loop_stop(struct rc_loop *loop) {
	const uint64_t one = 1;
	int saved = errno;
	ssize_t written = write(loop->stop_fd, &one, sizeof(one));
	(void)written;
	errno = saved;
}
