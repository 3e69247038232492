/* SPDX-License-Identifier: Apache-2.0
 * The beginning and the end of a client's VkDevice. */
#ifndef RC_VN_DEVICE_CREATION_H
#define RC_VN_DEVICE_CREATION_H

#include "execute/venus/objects.h"
#include "execute/venus/stream.h"

/* vkDestroyDevice: what the client left of it goes first (teardown.h), the object last. Commands of it that other rings execute are waited for; they get no new ones.
 * `stream`: of the caller, who holds no other objects that may go meanwhile; NULL: no rings are left. False: another thread is at it. */
bool rc_vn_device_destroy(struct rc_vn_device *device, struct rc_vn_stream *stream);

#endif
