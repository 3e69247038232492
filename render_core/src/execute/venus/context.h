/* SPDX-License-Identifier: Apache-2.0
 * One Venus client: a connection with its objects, blobs and rings. */
#ifndef RC_VN_CONTEXT_H
#define RC_VN_CONTEXT_H

#include "decode/object_table.h"
#include "execute/venus/guest.h"
#include "transport/blob.h"

struct rc_vn_ring; /* transport/ring.h */

struct rc_vn_context {
	struct rc_vn_guest *guest;
	uint32_t number; /* in log lines: "venus 3 (vkcube): ..." */
	char name[64];   /* the client process's, printable */
	struct rc_vn_object_table objects;
	struct rc_vn_blob_table blobs;
	pthread_mutex_t rings_mutex;
	struct rc_list rings; /* of rc_vn_ring::link; under rings_mutex */
	uint32_t ring_count;
	_Atomic bool failed;  /* rc_vn_context_fail() was called: nothing more is executed */
	_Atomic bool closing; /* the client is gone: waits end early */
	/* A device of this context hung and was abandoned with what it holds: the worker must be replaced when it is idle. */
	_Atomic bool abandoned;
	int wake_fd;               /* eventfd that interrupts the socket thread's waits; written by fail and close */
	struct rc_vn_guard *guard; /* transport/guard.h: tells the supervisor about rings; NULL: nobody wants to know */
};

enum rc_result rc_vn_context_create(
	struct rc_vn_guest *guest, uint32_t number, struct rc_vn_guard *guard, struct rc_vn_context **out);
/* After its rings' threads and its socket's thread have ended: waits for its devices (within limits), destroys all objects, children first. */
void rc_vn_context_destroy(struct rc_vn_context *context);

/* The client sent what no correct client sends: one log line, all rings get FATAL, nothing more of this context is executed. Any thread; the
 * first call counts. */
__attribute__((format(printf, 2, 3))) void rc_vn_context_fail(struct rc_vn_context *context, const char *format, ...);
/* A log line with the context's name and number. */
__attribute__((format(printf, 3, 4))) void rc_vn_context_log(
	struct rc_vn_context *context, enum rc_log_level level, const char *format, ...);

/* transport/ring.c implements these two for the context: set FATAL on all rings; stop and join all ring threads (bounded). */
void rc_vn_rings_set_fatal(struct rc_vn_context *context);

#endif
