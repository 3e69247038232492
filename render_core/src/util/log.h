/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_LOG_H
#define RC_LOG_H

#include <stdint.h>

#include "render_core.h"

/* Where log lines go. One thread. Guests can cause warnings: those are limited to RC_LOG_BURST a second, the rest is counted. */
struct rc_log {
	int fd;
	enum rc_log_level level;
	uint64_t window_ns; /* begin of the second being counted */
	uint32_t in_window, suppressed;
};

enum { RC_LOG_BURST = 20 };

void rc_log_init(struct rc_log *log, int fd, enum rc_log_level level);
__attribute__((format(printf, 3, 4))) void rc_log(struct rc_log *log, enum rc_log_level level, const char *format, ...);

#endif
