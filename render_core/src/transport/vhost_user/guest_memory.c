/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/vhost_user/guest_memory.h"

void rc_guest_memory_init(struct rc_guest_memory *guest, struct rc_memory *memory) {
	*guest = (struct rc_guest_memory){.memory = memory};
	memory->writable = true;
	memory->max_bytes = RC_MAX_MACHINE_BYTES;
}

/* The number of the new table's entry that is `region` unchanged; -1: none. */
static int find_kept(const struct rc_vhost_message *message, const struct rc_region *region) {
	const struct rc_vhost_mem_table *table = &message->payload.table;
	for (uint32_t i = 0; i < table->count; i++) {
		const struct rc_vhost_region *entry = &table->regions[i];
		if (rc_region_is(region, entry->guest_address, entry->size, entry->fd_offset, message->fds[i])) {
			return (int)i;
		}
	}
	return -1;
}

const char *rc_guest_memory_set_table(struct rc_guest_memory *guest, struct rc_vhost_message *message) {
	const struct rc_vhost_mem_table *table = &message->payload.table;
	struct rc_region *kept[RC_VHOST_MAX_REGIONS] = {NULL};
	/* A region that stays keeps its mapping: what backs resources is not mapped once more for each change of the table. */
	for (uint32_t i = 0; i < guest->count; i++) {
		struct rc_region *region = guest->table[i].region;
		int entry = find_kept(message, region);
		if (entry >= 0 && !kept[entry]) {
			kept[entry] = region;
		} else {
			rc_memory_remove(guest->memory, region->base);
		}
	}
	guest->count = 0;
	const char *wrong = NULL;
	for (uint32_t i = 0; i < table->count; i++) {
		const struct rc_vhost_region *entry = &table->regions[i];
		if (!kept[i] && !wrong) {
			wrong = rc_memory_add(guest->memory, entry->guest_address, entry->size, entry->fd_offset, message->fds[i]);
			if (!wrong) {
				rc_vhost_message_take_fd(message, i);
				kept[i] = rc_memory_find(guest->memory, entry->guest_address, entry->size);
			}
		}
		if (kept[i]) {
			guest->table[guest->count].region = kept[i];
			guest->table[guest->count++].user_address = entry->user_address;
		}
	}
	return wrong;
}

uint8_t *rc_guest_memory_user(const struct rc_guest_memory *guest, uint64_t address, uint64_t size) {
	for (uint32_t i = 0; i < guest->count; i++) {
		const struct rc_region *region = guest->table[i].region;
		const uint64_t at = address - guest->table[i].user_address; /* huge when it is below */
		if (address >= guest->table[i].user_address && at < region->size && size <= region->size - at) {
			return region->map + at;
		}
	}
	return NULL;
}

uint8_t *rc_guest_memory_at(const struct rc_guest_memory *guest, uint64_t address, uint64_t size, uint64_t *part) {
	for (uint32_t i = 0; i < guest->count; i++) {
		const struct rc_region *region = guest->table[i].region;
		if (address >= region->base && address - region->base < region->size) {
			const uint64_t at = address - region->base, left = region->size - at;
			*part = size < left ? size : left;
			return region->map + at;
		}
	}
	return NULL;
}
