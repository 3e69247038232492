/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "util/clock.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void rc_log_init(struct rc_log *log, int fd, enum rc_log_level level) {
	*log = (struct rc_log){.fd = fd, .level = level};
}

static void write_line(struct rc_log *log, const char *line, size_t size) {
	/* A reader that is gone or slow must not stop the worker: a lost line is lost. */
	ssize_t written = write(log->fd, line, size);
	(void)written;
}

void rc_log(struct rc_log *log, enum rc_log_level level, const char *format, ...) {
	if (log->fd < 0 || level > log->level) {
		return;
	}
	char line[1024];
	if (level == RC_LOG_WARN) {
		uint64_t now = rc_now_ns();
		if (now - log->window_ns >= 1000000000u) {
			if (log->suppressed) {
				int size = snprintf(line, sizeof(line), "render_core: warn: %u more warnings were left out\n", log->suppressed);
				write_line(log, line, (size_t)size);
			}
			log->window_ns = now;
			log->in_window = log->suppressed = 0;
		}
		if (log->in_window++ >= RC_LOG_BURST) {
			log->suppressed++;
			return;
		}
	}
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
	line[used++] = '\n';
	write_line(log, line, (size_t)used);
}
