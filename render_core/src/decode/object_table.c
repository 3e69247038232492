/* SPDX-License-Identifier: Apache-2.0
 * Readers and writers meet in four kinds of atomics: the slots pointer, a slot's id and object, a reader's epoch. All are sequentially
 * consistent, which costs a reader nothing but at rc_vn_reader_enter(): a writer takes an object out and then looks at the readers' epochs; a
 * reader stores its epoch and then looks for objects. So either the writer sees the reader, or the reader does not see the object. */
#include "decode/object_table.h"

#include <stdlib.h>
#include <time.h>

enum {
	FIRST_CAPACITY = 256,
	RECLAIM_INTERVAL = 16, /* removals between two looks at the readers */
	WAIT_NS = 100000,      /* between two looks of a thread that waits for them */
};

/* `id` is written once and stays: a slot whose object was removed belongs to that id until the slots are rebuilt. */
struct slot {
	_Atomic uint64_t id; /* 0: never used */
	_Atomic(struct rc_vn_object *) object;
};

struct rc_vn_object_slots {
	struct rc_vn_object_slots *limbo_next;
	uint64_t limbo_epoch;
	uint32_t bits;         /* capacity: 1 << bits */
	uint32_t used, live;   /* ids written, objects in; under the mutex */
	struct slot entries[]; /* at least a quarter has id 0, so that searches end */
};

static uint64_t capacity_of(const struct rc_vn_object_slots *slots) {
	return UINT64_C(1) << slots->bits;
}

/* Fibonacci hashing: a client's ids count up. */
static uint64_t first_index(const struct rc_vn_object_slots *slots, uint64_t id) {
	return (id * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - slots->bits);
}

/* The slot of `id`, or the free slot where it would go. */
static const struct slot *find_slot(const struct rc_vn_object_slots *slots, uint64_t id, uint64_t *found_id) {
	const uint64_t mask = capacity_of(slots) - 1;
	for (uint64_t i = first_index(slots, id);; i = (i + 1) & mask) {
		const struct slot *slot = &slots->entries[i];
		*found_id = atomic_load(&slot->id);
		if (*found_id == id || *found_id == 0) {
			return slot;
		}
	}
}

static struct rc_vn_object_slots *create_slots(uint32_t bits) {
	struct rc_vn_object_slots *slots = calloc(1, sizeof(*slots) + ((size_t)1 << bits) * sizeof(struct slot));
	if (slots) {
		slots->bits = bits;
	}
	return slots;
}

bool rc_vn_object_table_init(struct rc_vn_object_table *table) {
	*table = (struct rc_vn_object_table){.limbo = NULL};
	struct rc_vn_object_slots *slots = create_slots(__builtin_ctz(FIRST_CAPACITY));
	if (!slots) {
		return false;
	}
	table->limbo_end = &table->limbo;
	rc_list_init(&table->roots);
	atomic_store(&table->slots, slots);
	atomic_store(&table->epoch, 1);
	if (pthread_mutex_init(&table->mutex, NULL) != 0) {
		free(slots);
		return false;
	}
	return true;
}

/* Free what was removed before `epoch`. */
static void free_limbo(struct rc_vn_object_table *table, uint64_t epoch) {
	while (table->limbo && table->limbo->limbo_epoch <= epoch) {
		struct rc_vn_object *object = table->limbo;
		table->limbo = object->limbo_next;
		atomic_fetch_sub_explicit(&table->limbo_count, 1, memory_order_relaxed);
		free(object);
	}
	if (!table->limbo) {
		table->limbo_end = &table->limbo;
	}
	while (table->limbo_slots && table->limbo_slots->limbo_epoch <= epoch) {
		struct rc_vn_object_slots *slots = table->limbo_slots;
		table->limbo_slots = slots->limbo_next;
		free(slots);
	}
}

void rc_vn_object_table_finish(struct rc_vn_object_table *table) {
	free_limbo(table, UINT64_MAX);
	free(atomic_load(&table->slots));
	pthread_mutex_destroy(&table->mutex);
}

uint32_t rc_vn_reader_register(struct rc_vn_object_table *table) {
	for (uint32_t reader = 0; reader < RC_VN_MAX_READERS; reader++) {
		const uint64_t bit = UINT64_C(1) << (reader % 64);
		if (!(atomic_fetch_or(&table->reader_used[reader / 64], bit) & bit)) {
			return reader;
		}
	}
	return UINT32_MAX;
}

void rc_vn_reader_unregister(struct rc_vn_object_table *table, uint32_t reader) {
	atomic_store(&table->readers[reader], 0);
	atomic_fetch_and(&table->reader_used[reader / 64], ~(UINT64_C(1) << (reader % 64)));
}

void rc_vn_reader_enter(struct rc_vn_object_table *table, uint32_t reader) {
	atomic_store(&table->readers[reader], atomic_load(&table->epoch));
}

void rc_vn_reader_leave(struct rc_vn_object_table *table, uint32_t reader) {
	/* pairs with reclaim(): what was read before is freed after */
	atomic_store_explicit(&table->readers[reader], 0, memory_order_release);
}

void rc_vn_readers_wait(struct rc_vn_object_table *table) {
	const uint64_t epoch = atomic_fetch_add(&table->epoch, 1) + 1;
	for (uint32_t reader = 0; reader < RC_VN_MAX_READERS; reader++) {
		uint64_t entered;
		while ((entered = atomic_load(&table->readers[reader])) != 0 && entered < epoch) {
			nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
		}
	}
}

/* Free what nobody can hold any more. */
static void reclaim(struct rc_vn_object_table *table) {
	uint64_t oldest = UINT64_MAX;
	for (uint32_t reader = 0; reader < RC_VN_MAX_READERS; reader++) {
		uint64_t entered = atomic_load(&table->readers[reader]);
		if (entered != 0 && entered < oldest) {
			oldest = entered;
		}
	}
	free_limbo(table, oldest);
}

struct rc_vn_object *rc_vn_object_find(const struct rc_vn_object_table *table, uint64_t id) {
	if (id == 0) {
		return NULL;
	}
	uint64_t found_id;
	const struct slot *slot = find_slot(atomic_load(&table->slots), id, &found_id);
	return found_id == id ? atomic_load(&slot->object) : NULL;
}

/* Room for one more id. The ids of removed objects are left behind. */
static bool make_room(struct rc_vn_object_table *table) {
	struct rc_vn_object_slots *old = atomic_load(&table->slots);
	if ((uint64_t)old->used * 4 < capacity_of(old) * 3) {
		return true;
	}
	uint32_t bits = __builtin_ctz(FIRST_CAPACITY);
	while ((UINT64_C(1) << bits) < (uint64_t)old->live * 3) {
		bits++;
	}
	struct rc_vn_object_slots *slots = create_slots(bits);
	if (!slots) {
		return false;
	}
	for (uint64_t i = 0; i < capacity_of(old); i++) {
		struct rc_vn_object *object = atomic_load_explicit(&old->entries[i].object, memory_order_relaxed);
		if (object) {
			uint64_t found_id;
			struct slot *slot = (struct slot *)find_slot(slots, object->id, &found_id);
			atomic_store_explicit(&slot->object, object, memory_order_relaxed);
			atomic_store_explicit(&slot->id, object->id, memory_order_relaxed);
		}
	}
	slots->used = slots->live = old->live;
	atomic_store(&table->slots, slots);
	old->limbo_epoch = atomic_fetch_add(&table->epoch, 1) + 1;
	struct rc_vn_object_slots **end = &table->limbo_slots;
	while (*end) {
		end = &(*end)->limbo_next;
	}
	*end = old;
	reclaim(table);
	return true;
}

static struct rc_list *children_of(struct rc_vn_object_table *table, struct rc_vn_object *parent) {
	return parent ? &parent->children : &table->roots;
}

static bool add(struct rc_vn_object_table *table, struct rc_vn_object *object) {
	/* A parent that another thread has removed gets no children: it would not outlive them. */
	if (object->id == 0 || (object->parent && object->parent->limbo_epoch != 0) || !make_room(table)) {
		return false;
	}
	struct rc_vn_object_slots *slots = atomic_load(&table->slots);
	uint64_t found_id;
	struct slot *slot = (struct slot *)find_slot(slots, object->id, &found_id);
	if (found_id != 0 && atomic_load(&slot->object)) {
		return false;
	}
	object->type_index = rc_vn_object_type_index(object->type);
	object->limbo_epoch = 0;
	object->limbo_next = NULL;
	rc_list_init(&object->children);
	rc_list_init(&object->parent_link);
	rc_list_append(children_of(table, object->parent), &object->parent_link);
	slots->used += found_id == 0;
	slots->live++;
	atomic_fetch_add(&table->counts[object->type_index], 1);
	atomic_fetch_add_explicit(&table->poisoned, object->poisoned, memory_order_relaxed);
	/* The object before the id: a reader that sees the id sees the object. */
	atomic_store(&slot->object, object);
	atomic_store(&slot->id, object->id);
	return true;
}

bool rc_vn_object_add(struct rc_vn_object_table *table, struct rc_vn_object *object) {
	pthread_mutex_lock(&table->mutex);
	bool added = add(table, object);
	pthread_mutex_unlock(&table->mutex);
	return added;
}

static bool remove_object(struct rc_vn_object_table *table, struct rc_vn_object *object) {
	/* First, so that `object` outlives this call whoever calls. */
	if (table->removals++ % RECLAIM_INTERVAL == 0) {
		reclaim(table);
	}
	if (object->limbo_epoch != 0 || !rc_list_empty(&object->children)) {
		return false;
	}
	struct rc_vn_object_slots *slots = atomic_load(&table->slots);
	uint64_t found_id;
	struct slot *slot = (struct slot *)find_slot(slots, object->id, &found_id);
	if (found_id == 0 || atomic_load(&slot->object) != object) {
		return false;
	}
	atomic_store(&slot->object, NULL);
	slots->live--;
	atomic_fetch_sub(&table->counts[object->type_index], 1);
	atomic_fetch_sub_explicit(&table->poisoned, object->poisoned, memory_order_relaxed);
	rc_list_remove(&object->parent_link);
	object->limbo_epoch = atomic_fetch_add(&table->epoch, 1) + 1;
	atomic_fetch_add_explicit(&table->limbo_count, 1, memory_order_relaxed);
	*table->limbo_end = object;
	table->limbo_end = &object->limbo_next;
	return true;
}

bool rc_vn_object_remove(struct rc_vn_object_table *table, struct rc_vn_object *object) {
	pthread_mutex_lock(&table->mutex);
	bool removed = remove_object(table, object);
	pthread_mutex_unlock(&table->mutex);
	return removed;
}

struct rc_vn_object *rc_vn_object_first_child(
	struct rc_vn_object_table *table, struct rc_vn_object *parent, VkObjectType type) {
	struct rc_vn_object *found = NULL;
	pthread_mutex_lock(&table->mutex);
	struct rc_list *children = children_of(table, parent);
	/* Those passed over go to the end: a caller that asks until there are none looks at each once. */
	struct rc_list *first_passed = NULL;
	while (!rc_list_empty(children) && children->next != first_passed) {
		struct rc_list *link = children->next;
		struct rc_vn_object *child = rc_container_of(link, struct rc_vn_object, parent_link);
		if (type == VK_OBJECT_TYPE_UNKNOWN || child->type == type) {
			found = child;
			break;
		}
		first_passed = first_passed ? first_passed : link;
		rc_list_remove(link);
		rc_list_append(children, link);
	}
	pthread_mutex_unlock(&table->mutex);
	return found;
}

void rc_vn_object_each_child(struct rc_vn_object_table *table, struct rc_vn_object *parent,
	void (*visit)(struct rc_vn_object *child, void *data), void *data) {
	pthread_mutex_lock(&table->mutex);
	struct rc_list *children = children_of(table, parent);
	for (struct rc_list *link = children->next; link != children; link = link->next) {
		visit(rc_container_of(link, struct rc_vn_object, parent_link), data);
	}
	pthread_mutex_unlock(&table->mutex);
}

/* Core 1.0's types are 1..25, in this order. */
static const char *const type_names[RC_VN_OBJECT_TYPES] = {"unknown object", "VkInstance", "VkPhysicalDevice",
	"VkDevice", "VkQueue", "VkSemaphore", "VkCommandBuffer", "VkFence", "VkDeviceMemory", "VkBuffer", "VkImage",
	"VkEvent", "VkQueryPool", "VkBufferView", "VkImageView", "VkShaderModule", "VkPipelineCache", "VkPipelineLayout",
	"VkRenderPass", "VkPipeline", "VkDescriptorSetLayout", "VkSampler", "VkDescriptorPool", "VkDescriptorSet",
	"VkFramebuffer", "VkCommandPool", "VkSamplerYcbcrConversion", "VkDescriptorUpdateTemplate", "VkPrivateDataSlot",
	"VkAccelerationStructureKHR"};

uint32_t rc_vn_object_type_index(VkObjectType type) {
	switch ((int)type) {
	case VK_OBJECT_TYPE_SAMPLER_YCBCR_CONVERSION:
		return 26;
	case VK_OBJECT_TYPE_DESCRIPTOR_UPDATE_TEMPLATE:
		return 27;
	case VK_OBJECT_TYPE_PRIVATE_DATA_SLOT:
		return 28;
	case VK_OBJECT_TYPE_ACCELERATION_STRUCTURE_KHR:
		return 29;
	default:
		return (int)type > 0 && (int)type <= VK_OBJECT_TYPE_COMMAND_POOL ? (uint32_t)type : 0;
	}
}

const char *rc_vn_object_type_name(VkObjectType type) {
	return type_names[rc_vn_object_type_index(type)];
}
