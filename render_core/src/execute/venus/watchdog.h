/* SPDX-License-Identifier: Apache-2.0
 * Looks after the queues of a guest's devices, on a thread of its own: a queue that makes no progress loses its device, so that its client
 * hears of it in bounded time. It also gives back memory that clients have freed and not asked for again. */
#ifndef RC_VN_WATCHDOG_H
#define RC_VN_WATCHDOG_H

#include "execute/venus/objects.h"

struct rc_vn_watchdog;

struct rc_vn_watchdog *rc_vn_watchdog_create(void); /* NULL: no thread */
void rc_vn_watchdog_destroy(struct rc_vn_watchdog *watchdog);

/* From vkCreateDevice until before vkDestroyDevice; remove returns when the watchdog does not look at it any more. */
void rc_vn_watchdog_add(struct rc_vn_watchdog *watchdog, struct rc_vn_device *device);
void rc_vn_watchdog_remove(struct rc_vn_watchdog *watchdog, struct rc_vn_device *device);

#endif
