/* SPDX-License-Identifier: Apache-2.0 */
#include "sc_packet_log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct entry {
	uint64_t sent_ns; /* 0: nothing is remembered */
	uint32_t size_bytes;
	uint16_t sequence;
};

struct sc_packet_log {
	atomic_uint references;
	pthread_mutex_t mutex; /* guards all that follows; no other lock is taken while it is held */
	uint16_t next;
	struct sc_packet_totals totals;
	struct entry entries[SC_PACKET_LOG_ENTRIES]; /* packet n is at n % SC_PACKET_LOG_ENTRIES */
};

enum sc_result sc_packet_log_create(struct sc_packet_log **out) {
	struct sc_packet_log *log = calloc(1, sizeof(*log));
	if (!log) {
		return SC_ERROR_NOMEM;
	}
	atomic_init(&log->references, 1);
	pthread_mutex_init(&log->mutex, NULL);
	*out = log;
	return SC_OK;
}

struct sc_packet_log *sc_packet_log_ref(struct sc_packet_log *log) {
	atomic_fetch_add_explicit(&log->references, 1, memory_order_relaxed);
	return log;
}

void sc_packet_log_unref(struct sc_packet_log *log) {
	/* Acquire and release: the last one sees what the others have written. */
	if (log && atomic_fetch_sub_explicit(&log->references, 1, memory_order_acq_rel) == 1) {
		pthread_mutex_destroy(&log->mutex);
		free(log);
	}
}

uint16_t sc_packet_log_number(struct sc_packet_log *log) {
	pthread_mutex_lock(&log->mutex);
	const uint16_t sequence = log->next++;
	pthread_mutex_unlock(&log->mutex);
	return sequence;
}

void sc_packet_log_sent(struct sc_packet_log *log, uint16_t sequence, uint32_t size_bytes, uint64_t sent_ns) {
	pthread_mutex_lock(&log->mutex);
	log->entries[sequence % SC_PACKET_LOG_ENTRIES] =
		(struct entry){.sent_ns = sent_ns, .size_bytes = size_bytes, .sequence = sequence};
	log->totals.packets++;
	log->totals.bytes += size_bytes;
	pthread_mutex_unlock(&log->mutex);
}

uint32_t sc_packet_log_read(struct sc_packet_log *log, uint16_t first_sequence, uint32_t count, bool forget,
	uint32_t *size_bytes, uint64_t *sent_ns) {
	uint32_t found = 0;
	pthread_mutex_lock(&log->mutex);
	for (uint32_t i = 0; i < count; i++) {
		const uint16_t sequence = (uint16_t)(first_sequence + i);
		struct entry *entry = &log->entries[sequence % SC_PACKET_LOG_ENTRIES];
		const bool is_known = entry->sent_ns && entry->sequence == sequence;
		size_bytes[i] = is_known ? entry->size_bytes : 0;
		sent_ns[i] = is_known ? entry->sent_ns : 0;
		found += is_known;
		if (is_known && forget) {
			entry->sent_ns = 0;
		}
	}
	pthread_mutex_unlock(&log->mutex);
	return found;
}

struct sc_packet_totals sc_packet_log_totals(struct sc_packet_log *log) {
	pthread_mutex_lock(&log->mutex);
	const struct sc_packet_totals totals = log->totals;
	pthread_mutex_unlock(&log->mutex);
	return totals;
}
