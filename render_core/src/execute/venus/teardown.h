/* SPDX-License-Identifier: Apache-2.0
 * The end of a device, and of a client: what is left is waited for within limits and destroyed, children first. */
#ifndef RC_VN_TEARDOWN_H
#define RC_VN_TEARDOWN_H

#include "execute/venus/objects.h"

/* vkDestroyDevice, whatever the client left: everything of the device goes but its own object and its driver handle. A device that
 * does not come to rest is abandoned (device->abandoned): its objects are forgotten, the driver keeps what it may still use. */
void rc_vn_device_teardown(struct rc_vn_device *device);

/* Slow part of rc_vn_device_at_rest(). */
bool rc_vn_device_settle(struct rc_vn_device *device);

/* Before the host's side of anything is destroyed, freed, reset or written to that the GPU may use. Programs do so when they know that it does not, or
 * when the device is lost: then what still runs is waited for, within limits. False: the host's side must be left as it is, for ever. */
static inline bool rc_vn_device_at_rest(struct rc_vn_device *device) {
	return __builtin_expect(!atomic_load_explicit(&device->lost, memory_order_acquire), true) ||
		   rc_vn_device_settle(device);
}

/* All devices, then all other objects of the context. */
void rc_vn_context_teardown(struct rc_vn_context *context);

#endif
