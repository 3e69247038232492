/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_LOG_H
#define RC_LOG_H

#include <pthread.h>
#include <stdint.h>

#include "render_core.h"

enum { RC_LOG_BURST = 20, RC_LOG_LEVELS = 4 };

/* Lines of one level in one second. */
struct rc_log_window {
	uint64_t begin_ns;
	uint32_t count, suppressed;
};

/* Where log lines go. rc_log() may be called by any thread. Guests can cause lines of every level: each is limited to RC_LOG_BURST a second, the rest is counted. */
struct rc_log {
	int fd;
	enum rc_log_level level;
	pthread_mutex_t mutex;
	struct rc_log_window windows[RC_LOG_LEVELS]; /* under the mutex, as is writing */
};

void rc_log_init(struct rc_log *log, int fd, enum rc_log_level level);
__attribute__((format(printf, 3, 4))) void rc_log(struct rc_log *log, enum rc_log_level level, const char *format, ...);

#endif
