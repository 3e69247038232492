/* SPDX-License-Identifier: Apache-2.0
 * The beginning and the end of a client's VkDevice. */
#ifndef RC_VN_DEVICE_CREATION_H
#define RC_VN_DEVICE_CREATION_H

#include "execute/venus/objects.h"

/* vkDestroyDevice: what the client left of it goes first (teardown.h), the object last. False: another thread is at it. */
bool rc_vn_device_destroy(struct rc_vn_device *device);

#endif
