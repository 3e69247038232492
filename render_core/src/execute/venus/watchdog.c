/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/watchdog.h"

#include <stdlib.h>
#include <time.h>

#include "execute/venus/memory_pool.h"
#include "execute/venus/queue.h"
#include "util/clock.h"

enum { PERIOD_MS = 500 };

struct rc_vn_watchdog {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	struct rc_list devices; /* of rc_vn_device::watch_link */
	bool stopping;
};

static void *run(void *data) {
	struct rc_vn_watchdog *watchdog = data;
	pthread_mutex_lock(&watchdog->mutex);
	while (!watchdog->stopping) {
		if (rc_list_empty(&watchdog->devices)) {
			pthread_cond_wait(&watchdog->wake, &watchdog->mutex);
			continue;
		}
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += PERIOD_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		pthread_cond_timedwait(&watchdog->wake, &watchdog->mutex, &until);
		for (struct rc_list *link = watchdog->devices.next; link != &watchdog->devices; link = link->next) {
			struct rc_vn_device *device = rc_container_of(link, struct rc_vn_device, watch_link);
			for (struct rc_list *at = device->queues.next; at != &device->queues; at = at->next) {
				rc_vn_queue_watch(rc_container_of(at, struct rc_vn_queue, link));
			}
			rc_vn_memory_pool_tidy(device->memory_pool, rc_now_ns());
		}
	}
	pthread_mutex_unlock(&watchdog->mutex);
	return NULL;
}

struct rc_vn_watchdog *rc_vn_watchdog_create(void) {
	struct rc_vn_watchdog *watchdog = calloc(1, sizeof(*watchdog));
	if (!watchdog) {
		return NULL;
	}
	pthread_mutex_init(&watchdog->mutex, NULL);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	rc_list_init(&watchdog->devices);
	if (pthread_create(&watchdog->thread, NULL, run, watchdog) != 0) {
		pthread_cond_destroy(&watchdog->wake);
		pthread_mutex_destroy(&watchdog->mutex);
		free(watchdog);
		return NULL;
	}
	return watchdog;
}

void rc_vn_watchdog_destroy(struct rc_vn_watchdog *watchdog) {
	if (!watchdog) {
		return;
	}
	pthread_mutex_lock(&watchdog->mutex);
	watchdog->stopping = true;
	pthread_cond_signal(&watchdog->wake);
	pthread_mutex_unlock(&watchdog->mutex);
	pthread_join(watchdog->thread, NULL);
	pthread_cond_destroy(&watchdog->wake);
	pthread_mutex_destroy(&watchdog->mutex);
	free(watchdog);
}

void rc_vn_watchdog_add(struct rc_vn_watchdog *watchdog, struct rc_vn_device *device) {
	pthread_mutex_lock(&watchdog->mutex);
	rc_list_append(&watchdog->devices, &device->watch_link);
	pthread_cond_signal(&watchdog->wake);
	pthread_mutex_unlock(&watchdog->mutex);
}

void rc_vn_watchdog_remove(struct rc_vn_watchdog *watchdog, struct rc_vn_device *device) {
	pthread_mutex_lock(&watchdog->mutex);
	rc_list_remove(&device->watch_link);
	pthread_mutex_unlock(&watchdog->mutex);
}
