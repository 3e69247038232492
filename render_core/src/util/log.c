/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "util/clock.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void rc_log_init(struct rc_log *log, int fd, enum rc_log_level level) {
	*log = (struct rc_log){.fd = fd, .level = level, .mutex = PTHREAD_MUTEX_INITIALIZER};
}

static void write_line(struct rc_log *log, const char *line, size_t size) {
	/* A reader that is gone or slow must not stop the worker: a lost line is lost. */
	struct pollfd poller = {.fd = log->fd, .events = POLLOUT};
	if (poll(&poller, 1, 0) == 1) {
		ssize_t written = write(log->fd, line, size);
		(void)written;
	}
}

/* False: there were enough lines of this level in this second. */
static bool admit(struct rc_log *log, enum rc_log_level level) {
	struct rc_log_window *window = &log->windows[level];
	uint64_t now = rc_now_ns();
	if (now - window->begin_ns >= 1000000000u) {
		if (window->suppressed) {
			char line[128];
			int size = snprintf(line, sizeof(line), "render_core: %s: %u more such lines were left out\n",
				level_names[level], window->suppressed);
			write_line(log, line, (size_t)size);
		}
		*window = (struct rc_log_window){.begin_ns = now};
	}
	if (window->count++ < RC_LOG_BURST) {
		return true;
	}
	window->suppressed++;
	return false;
}

void rc_log(struct rc_log *log, enum rc_log_level level, const char *format, ...) {
	if (log->fd < 0 || level > log->level) {
		return;
	}
	char line[1024];
	int used = snprintf(line, sizeof(line), "render_core: %s: ", level_names[level]);
	va_list args;
	va_start(args, format);
	int more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
	va_end(args);
	if (more < 0) {
		return;
	}
	used += more;
	if ((size_t)used > sizeof(line) - 2) {
		used = sizeof(line) - 2;
	}
	/* Guests' names get into lines: they must not make lines of their own. */
	for (int i = 0; i < used; i++) {
		line[i] = (unsigned char)line[i] < ' ' || line[i] == 0x7f ? '?' : line[i];
	}
	line[used++] = '\n';
	pthread_mutex_lock(&log->mutex);
	if (admit(log, level)) {
		write_line(log, line, (size_t)used);
	}
	pthread_mutex_unlock(&log->mutex);
}
