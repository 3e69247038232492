/* SPDX-License-Identifier: Apache-2.0
 * The device that a client asks for, made one that the host can be asked for. */
#ifndef RC_VN_DEVICE_REQUEST_H
#define RC_VN_DEVICE_REQUEST_H

#include "decode/wire.h"
#include "execute/venus/guest.h"

struct rc_vn_device_request {
	VkDeviceCreateInfo info;    /* for the host; points into scratch and into the client's decoded structs */
	bool buffer_device_address; /* enabled */
	const char *refused;        /* what cannot be had, in words; its name in `refused_name` */
	const char *refused_name;
};

/* Check `asked` and fill in `request`. Structs that the host must not see are taken out of `asked`'s chain. VK_SUCCESS; else
 * the client's answer, and `refused` says why. */
VkResult rc_vn_device_request_make(const struct rc_vn_guest *guest, struct rc_vn_scratch *scratch,
	const VkDeviceCreateInfo *asked, struct rc_vn_device_request *request);

#endif
