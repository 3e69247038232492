/* SPDX-License-Identifier: Apache-2.0
 * Which device extensions clients see, and which of them the host gets to hear of. */
#ifndef RC_VN_EXTENSION_FILTER_H
#define RC_VN_EXTENSION_FILTER_H

#include "execute/venus/guest.h"

/* Fills in guest->extensions: what the host, the protocol and the registry all know, less what cannot work across a socket, and what is
 * emulated. Needs `instance`, `physical`, `vk`, `swapchain`. False: out of memory, or the host does not answer. */
bool rc_vn_extensions_choose(struct rc_vn_guest *guest);

bool rc_vn_extension_is_shown(const struct rc_vn_guest *guest, const char *name);

enum rc_vn_extension_use {
	RC_VN_EXTENSION_REFUSED,  /* not offered */
	RC_VN_EXTENSION_EMULATED, /* clients may enable it, the host does not hear of it */
	RC_VN_EXTENSION_HOST,     /* enabled on the host */
};
/* What becomes of an extension that a client enables. */
enum rc_vn_extension_use rc_vn_extension_use(const struct rc_vn_guest *guest, const char *name);

#endif
