/* SPDX-License-Identifier: Apache-2.0
 * A Venus client's Vulkan objects: its ids (64 bits, chosen by the client) to the host's handles. */
#ifndef RC_OBJECT_TABLE_H
#define RC_OBJECT_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

/* First member of every object's struct (execute/venus/). `id`, `type`, `device`, `parent` and `size` never change; `handle` and
 * `poisoned` are set before the object is added. */
struct rc_vn_object {
	uint64_t id; /* never 0 */
	VkObjectType type;
	/* Its creation failed on the host, where the client had no reply to learn it from: what names it becomes a no-op
	 * (docs/protocol/venus.md). handle is 0. */
	bool poisoned;
	uint64_t handle; /* the host's */
	/* A VkDevice or VkInstance that is being destroyed: of the thread that set it. Nothing of it is found any more by who looks after that. */
	_Atomic bool ending;
	struct rc_vn_object
		*device; /* the VkDevice it belongs to; itself for a VkDevice, NULL for instances and physical devices */
	struct rc_vn_object *parent; /* who frees it when it goes: pool, device, instance; NULL for an instance */
	struct rc_list children;     /* of `parent_link`; under the table's mutex */
	struct rc_list parent_link;
	uint32_t type_index; /* rc_vn_object_type_index(type): for counts */
	/* limbo: see rc_vn_object_table_remove() */
	struct rc_vn_object *limbo_next;
	uint64_t limbo_epoch;
};

enum { RC_VN_MAX_READERS = 72, RC_VN_OBJECT_TYPES = 32 };

struct rc_vn_object_slots; /* open addressing, linear probing; published whole */

/* Found by any number of threads without a lock; added and removed under a mutex. An object that was removed keeps its memory until
 * every reader that could have found it has said rc_vn_reader_leave(): quiescent-state reclamation. */
struct rc_vn_object_table {
	pthread_mutex_t mutex;
	_Atomic(struct rc_vn_object_slots *) slots;
	_Atomic uint64_t epoch;
	_Atomic uint64_t readers[RC_VN_MAX_READERS]; /* the epoch a reader entered in; 0: outside */
	_Atomic uint64_t reader_used[(RC_VN_MAX_READERS + 63) / 64];
	struct rc_list roots;                    /* of parent_link: objects without a parent; under the mutex */
	struct rc_vn_object *limbo, **limbo_end; /* oldest first */
	struct rc_vn_object_slots *limbo_slots;  /* oldest first */
	_Atomic uint32_t limbo_count;            /* objects that wait for readers */
	uint32_t removals;
	_Atomic uint32_t counts[RC_VN_OBJECT_TYPES];
	_Atomic uint32_t poisoned; /* of all types */
};

bool rc_vn_object_table_init(struct rc_vn_object_table *table);
/* All objects must have been removed, all readers gone. */
void rc_vn_object_table_finish(struct rc_vn_object_table *table);

/* A reader's number (one a thread that finds objects); UINT32_MAX: all are taken. */
uint32_t rc_vn_reader_register(struct rc_vn_object_table *table);
void rc_vn_reader_unregister(struct rc_vn_object_table *table, uint32_t reader);
/* Between enter and leave, objects found stay readable. Enter and leave around a few commands, never while waiting for input. */
void rc_vn_reader_enter(struct rc_vn_object_table *table, uint32_t reader);
void rc_vn_reader_leave(struct rc_vn_object_table *table, uint32_t reader);

/* Wait until all who are inside have left once: what was made unreachable before the call is nobody's then. For a caller that is outside. */
void rc_vn_readers_wait(struct rc_vn_object_table *table);

/* Only inside enter/leave (or by the only thread left). NULL: no such id. The caller checks the type. */
struct rc_vn_object *rc_vn_object_find(const struct rc_vn_object_table *table, uint64_t id);

/* Add an object whose id, type, handle/poisoned, device and parent are set; allocated by malloc/calloc, the table's from then on.
 * False: the id is 0 or in use, the parent was removed meanwhile, or memory ran out; then it stays the caller's. */
bool rc_vn_object_add(struct rc_vn_object_table *table, struct rc_vn_object *object);

/* Take an object out (with its parent's list). Its memory is freed once no reader can hold it; for a caller outside enter/leave (the only thread
 * left), it stays readable until the next removal. False: it was not there (any more): of two threads that destroy one object, one gets true; or
 * it has children (another thread added one), and stays: its children must have been removed or re-parented before. */
bool rc_vn_object_remove(struct rc_vn_object_table *table, struct rc_vn_object *object);

/* The first child of `parent` (NULL: of those without one) of type `type` (VK_OBJECT_TYPE_UNKNOWN: any), or NULL. Safe against others' removals: takes the mutex. */
struct rc_vn_object *rc_vn_object_first_child(
	struct rc_vn_object_table *table, struct rc_vn_object *parent, VkObjectType type);

/* Call `visit` for each child, under the mutex: it must not add or remove. */
void rc_vn_object_each_child(struct rc_vn_object_table *table, struct rc_vn_object *parent,
	void (*visit)(struct rc_vn_object *child, void *data), void *data);

/* 0..RC_VN_OBJECT_TYPES-1; 0 for types that Venus has no objects of. */
uint32_t rc_vn_object_type_index(VkObjectType type);
/* "VkBuffer"; for log lines. */
const char *rc_vn_object_type_name(VkObjectType type);

#endif
