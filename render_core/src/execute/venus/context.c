/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "execute/venus/teardown.h"

enum rc_result rc_vn_context_create(
	struct rc_vn_guest *guest, uint32_t number, struct rc_vn_guard *guard, struct rc_vn_context **out) {
	struct rc_vn_context *context = calloc(1, sizeof(*context));
	if (!context) {
		return RC_ERROR_NOMEM;
	}
	context->guest = guest;
	context->number = number;
	context->guard = guard;
	context->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (context->wake_fd < 0) {
		free(context);
		return RC_ERROR_IO;
	}
	if (!rc_vn_object_table_init(&context->objects)) {
		close(context->wake_fd);
		free(context);
		return RC_ERROR_NOMEM;
	}
	rc_vn_blob_table_init(&context->blobs, guest->limits.blobs);
	pthread_mutex_init(&context->rings_mutex, NULL);
	rc_list_init(&context->rings);
	*out = context;
	return RC_OK;
}

void rc_vn_context_destroy(struct rc_vn_context *context) {
	if (!context) {
		return;
	}
	rc_vn_context_teardown(context);
	rc_vn_blob_table_finish(&context->blobs);
	rc_vn_object_table_finish(&context->objects);
	pthread_mutex_destroy(&context->rings_mutex);
	close(context->wake_fd);
	free(context);
}

static void log_line(struct rc_vn_context *context, enum rc_log_level level, const char *format, va_list args) {
	char text[768];
	vsnprintf(text, sizeof(text), format, args);
	rc_log(
		context->guest->log, level, "venus %u (%s): %s", context->number, context->name[0] ? context->name : "?", text);
}

void rc_vn_context_log(struct rc_vn_context *context, enum rc_log_level level, const char *format, ...) {
	va_list args;
	va_start(args, format);
	log_line(context, level, format, args);
	va_end(args);
}

void rc_vn_context_fail(struct rc_vn_context *context, const char *format, ...) {
	if (atomic_exchange(&context->failed, true)) {
		return;
	}
	va_list args;
	va_start(args, format);
	log_line(context, RC_LOG_WARN, format, args);
	va_end(args);
	rc_vn_rings_set_fatal(context);
	const uint64_t one = 1;
	ssize_t written = write(context->wake_fd, &one, sizeof(one));
	(void)written; /* EAGAIN: it is awake already */
}
