/* SPDX-License-Identifier: Apache-2.0
 * Which memory types clients see, and which of them they can map. */
#ifndef RC_VN_MEMORY_TYPES_H
#define RC_VN_MEMORY_TYPES_H

#include "execute/venus/guest.h"

/* Fills in guest->memory, host_memory, importable_types, usable_types and host_alignment, by importing a page of shared memory into each
 * type that could take it. Needs `physical`, `vk` and `limits`; uses the worker's VkDevice. False: there would be no memory that a
 * client can map and the GPU sees at once; the reason is logged. */
bool rc_vn_memory_types_probe(struct rc_vn_guest *guest, const struct rc_device *device);

#endif
