/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/bands.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
	MAX_HELPERS = 3,
	/* Taken at a time: a helper that wakes late finds less to do, and nobody waits for it long. */
	CHUNK_ROWS = 4,
};

struct sc_bands {
	pthread_mutex_t mutex;
	pthread_cond_t begun, ended;
	pthread_t helpers[MAX_HELPERS];
	uint32_t helper_count;
	/* Under the mutex. */
	uint64_t job; /* counts */
	uint32_t busy;
	bool is_over;
	/* The job: written under the mutex before `job` is counted, read behind it. */
	sc_band_work work;
	void *context;
	uint32_t rows;
	atomic_uint next; /* row */
};

static void do_chunks(struct sc_bands *bands) {
	for (;;) {
		uint32_t begin = atomic_fetch_add_explicit(&bands->next, CHUNK_ROWS, memory_order_relaxed);
		if (begin >= bands->rows) {
			return;
		}
		bands->work(bands->context, begin, bands->rows - begin < CHUNK_ROWS ? bands->rows : begin + CHUNK_ROWS);
	}
}

static void *help(void *argument) {
	struct sc_bands *bands = argument;
	uint64_t done = 0;
	pthread_mutex_lock(&bands->mutex);
	for (;;) {
		while (!bands->is_over && bands->job == done) {
			pthread_cond_wait(&bands->begun, &bands->mutex);
		}
		if (bands->is_over) {
			break;
		}
		done = bands->job;
		bands->busy++;
		pthread_mutex_unlock(&bands->mutex);
		do_chunks(bands);
		pthread_mutex_lock(&bands->mutex);
		if (!--bands->busy) {
			pthread_cond_signal(&bands->ended);
		}
	}
	pthread_mutex_unlock(&bands->mutex);
	return NULL;
}

struct sc_bands *sc_bands_create(uint32_t threads) {
	struct sc_bands *bands = threads > 1 ? calloc(1, sizeof(*bands)) : NULL;
	if (!bands) {
		return NULL;
	}
	pthread_mutex_init(&bands->mutex, NULL);
	pthread_cond_init(&bands->begun, NULL);
	pthread_cond_init(&bands->ended, NULL);
	const uint32_t wanted = threads - 1 < MAX_HELPERS ? threads - 1 : MAX_HELPERS;
	while (bands->helper_count < wanted && !pthread_create(&bands->helpers[bands->helper_count], NULL, help, bands)) {
		bands->helper_count++;
	}
	return bands;
}

void sc_bands_destroy(struct sc_bands *bands) {
	if (!bands) {
		return;
	}
	pthread_mutex_lock(&bands->mutex);
	bands->is_over = true;
	pthread_cond_broadcast(&bands->begun);
	pthread_mutex_unlock(&bands->mutex);
	for (uint32_t i = 0; i < bands->helper_count; i++) {
		pthread_join(bands->helpers[i], NULL);
	}
	pthread_cond_destroy(&bands->begun);
	pthread_cond_destroy(&bands->ended);
	pthread_mutex_destroy(&bands->mutex);
	free(bands);
}

void sc_bands_run(struct sc_bands *bands, uint32_t rows, sc_band_work work, void *context) {
	if (!bands) {
		work(context, 0, rows);
		return;
	}
	pthread_mutex_lock(&bands->mutex);
	/* A helper that slept through the last job may only now look: it must not find half of this one. */
	while (bands->busy) {
		pthread_cond_wait(&bands->ended, &bands->mutex);
	}
	bands->work = work;
	bands->context = context;
	bands->rows = rows;
	atomic_store_explicit(&bands->next, 0, memory_order_relaxed);
	bands->job++;
	pthread_cond_broadcast(&bands->begun);
	pthread_mutex_unlock(&bands->mutex);
	do_chunks(bands);
	pthread_mutex_lock(&bands->mutex);
	while (bands->busy) {
		pthread_cond_wait(&bands->ended, &bands->mutex);
	}
	pthread_mutex_unlock(&bands->mutex);
}
