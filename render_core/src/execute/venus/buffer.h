/* SPDX-License-Identifier: Apache-2.0
 * A client's buffers: what the host is asked for, and which memory they are bound to. */
#ifndef RC_VN_BUFFER_H
#define RC_VN_BUFFER_H

#include "execute/venus/objects.h"

/* A buffer that is created for the host. */
struct rc_vn_buffer_request {
	VkBufferCreateInfo info;
	VkExternalMemoryBufferCreateInfo external;
};

/* From what the client asks, checked: `asked` is a decoded struct and may lose parts of its chain. A pure function of it, so that all
 * buffers of one create info have the same requirements (clients ask once). NULL, or the field that is wrong. `request` must not be moved. */
const char *rc_vn_buffer_request_make(
	const struct rc_vn_device *device, const VkBufferCreateInfo *asked, struct rc_vn_buffer_request *request);

/* What a resource that several queue families use says of them; false: they do not exist. */
bool rc_vn_sharing_is_valid(
	const struct rc_vn_guest *guest, VkSharingMode mode, uint32_t count, const uint32_t *families);

/* Lets go of the memory that the client sees; the host's buffer is gone already. */
void rc_vn_buffer_release(struct rc_vn_buffer *buffer);

#endif
