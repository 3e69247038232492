/* SPDX-License-Identifier: Apache-2.0
 * A virtual machine's memory as vhost-user's memory table says it: by guest address for what virtqueues point at, by the front-end's own address for the
 * virtqueues themselves. The regions are execute/region.h's: whatever uses one keeps it mapped, also when the table has lost it. Core thread only. */
#ifndef RC_GUEST_MEMORY_H
#define RC_GUEST_MEMORY_H

#include "execute/region.h"
#include "transport/vhost_user/message.h"

/* Address space, not memory: the pages are the machine's. */
#define RC_MAX_MACHINE_BYTES (UINT64_C(4) << 40)

struct rc_guest_memory {
	struct rc_memory *memory; /* the device's; regions in it are this table's alone */
	struct {
		struct rc_region *region; /* held by `memory` */
		uint64_t user_address;
	} table[RC_VHOST_MAX_REGIONS];
	uint32_t count;
};

void rc_guest_memory_init(struct rc_guest_memory *guest, struct rc_memory *memory);

/* Replace the table by a checked SET_MEM_TABLE's; fds of regions that are new are taken. NULL on success; else the name of the field that is wrong, and the
 * table has the regions before that one. Pointers of rc_guest_memory_user() must be asked for again. */
const char *rc_guest_memory_set_table(struct rc_guest_memory *guest, struct rc_vhost_message *message);

/* [address, address + size) of the front-end's address space, inside one region, or NULL. Valid until the table is set again. */
uint8_t *rc_guest_memory_user(const struct rc_guest_memory *guest, uint64_t address, uint64_t size);

/* The guest's byte at `address` and, in *part, how many bytes up to `size` > 0 follow it in its region; NULL: no such memory. */
uint8_t *rc_guest_memory_at(const struct rc_guest_memory *guest, uint64_t address, uint64_t size, uint64_t *part);

#endif
