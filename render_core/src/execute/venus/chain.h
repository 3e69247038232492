/* SPDX-License-Identifier: Apache-2.0
 * pNext chains of decoded commands: they are in our own memory and may be changed while the host looks. */
#ifndef RC_VN_CHAIN_H
#define RC_VN_CHAIN_H

#include <stddef.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

/* The struct of type `type` behind `head`, or NULL. */
static inline void *rc_vn_chain_find(const void *head, VkStructureType type) {
	VkBaseOutStructure *at = ((const VkBaseOutStructure *)head)->pNext;
	while (at && at->sType != type) {
		at = at->pNext;
	}
	return at;
}

/* What was taken out of a chain, and from where; `taken` is NULL when it was not there. */
struct rc_vn_chain_gap {
	VkBaseOutStructure *before, *taken;
};

/* Hide the struct of type `type` from the host. `head` must be a decoded struct: const in its command, not in fact. */
static inline struct rc_vn_chain_gap rc_vn_chain_take(const void *head, VkStructureType type) {
	VkBaseOutStructure *before = (VkBaseOutStructure *)(uintptr_t)head;
	while (before->pNext && before->pNext->sType != type) {
		before = before->pNext;
	}
	struct rc_vn_chain_gap gap = {.before = before, .taken = before->pNext};
	if (gap.taken) {
		before->pNext = gap.taken->pNext;
	}
	return gap;
}

/* Undo rc_vn_chain_take(), for the reply: it has the chain as the client gave it. Last taken, first put back. */
static inline void rc_vn_chain_put_back(struct rc_vn_chain_gap gap) {
	if (gap.taken) {
		gap.before->pNext = gap.taken;
	}
}

#endif
