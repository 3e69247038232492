/* SPDX-License-Identifier: Apache-2.0
 * The blob that an object's memory is, for threads that look while another takes it away: a client that frees memory on one ring and uses
 * it on another must not make us touch freed memory. */
#ifndef RC_VN_BLOB_SLOT_H
#define RC_VN_BLOB_SLOT_H

#include "transport/blob.h"

/* All zero: empty. Locked for a few instructions at a time. */
struct rc_vn_blob_slot {
	_Atomic bool locked;
	struct rc_vn_blob *blob; /* referenced */
	uint64_t offset;         /* of the object's memory in it */
};

static inline void rc_vn_blob_slot_lock(struct rc_vn_blob_slot *slot) {
	/* acquire, with the release of unlock: blob and offset belong together */
	while (atomic_exchange_explicit(&slot->locked, true, memory_order_acquire)) {
	}
}

static inline void rc_vn_blob_slot_unlock(struct rc_vn_blob_slot *slot) {
	atomic_store_explicit(&slot->locked, false, memory_order_release);
}

/* A new reference to the blob, or NULL. */
static inline struct rc_vn_blob *rc_vn_blob_slot_get(struct rc_vn_blob_slot *slot, uint64_t *offset) {
	rc_vn_blob_slot_lock(slot);
	struct rc_vn_blob *blob = slot->blob ? rc_vn_blob_ref(slot->blob) : NULL;
	*offset = slot->offset;
	rc_vn_blob_slot_unlock(slot);
	return blob;
}

/* Takes the caller's reference over (NULL: empty); returns what was there, with its reference. */
static inline struct rc_vn_blob *rc_vn_blob_slot_swap(
	struct rc_vn_blob_slot *slot, struct rc_vn_blob *blob, uint64_t offset) {
	rc_vn_blob_slot_lock(slot);
	struct rc_vn_blob *old = slot->blob;
	slot->blob = blob;
	slot->offset = offset;
	rc_vn_blob_slot_unlock(slot);
	return old;
}

#endif
