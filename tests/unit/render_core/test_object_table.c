/* SPDX-License-Identifier: Apache-2.0
 * Ids to objects: found without locks while others add and remove, freed when nobody can hold them. */
#include "decode/object_table.h"

#include <string.h>

#include "check.h"

static struct rc_vn_object *make_object(uint64_t id, VkObjectType type, struct rc_vn_object *parent) {
	struct rc_vn_object *object = calloc(1, sizeof(*object));
	CHECK(object);
	object->id = id;
	object->type = type;
	object->parent = parent;
	object->handle = id * 3;
	return object;
}

static struct rc_vn_object *add_object(
	struct rc_vn_object_table *table, uint64_t id, VkObjectType type, struct rc_vn_object *parent) {
	struct rc_vn_object *object = make_object(id, type, parent);
	CHECK(rc_vn_object_add(table, object));
	return object;
}

static void test_ids_are_unique_and_not_zero(void) {
	struct rc_vn_object_table table;
	CHECK(rc_vn_object_table_init(&table));
	struct rc_vn_object *first = add_object(&table, 7, VK_OBJECT_TYPE_INSTANCE, NULL);
	struct rc_vn_object *second = make_object(7, VK_OBJECT_TYPE_DEVICE, NULL);
	CHECK(!rc_vn_object_add(&table, second));
	second->id = 0;
	CHECK(!rc_vn_object_add(&table, second));
	CHECK(rc_vn_object_find(&table, 0) == NULL && rc_vn_object_find(&table, 8) == NULL);
	CHECK(rc_vn_object_find(&table, 7) == first);
	CHECK(atomic_load(&table.counts[VK_OBJECT_TYPE_INSTANCE]) == 1);
	CHECK(rc_vn_object_remove(&table, first) && rc_vn_object_find(&table, 7) == NULL);
	CHECK(!rc_vn_object_remove(&table, first));
	CHECK(atomic_load(&table.counts[VK_OBJECT_TYPE_INSTANCE]) == 0);
	second->id = 7; /* free again */
	CHECK(rc_vn_object_add(&table, second) && rc_vn_object_find(&table, 7) == second);
	CHECK(rc_vn_object_remove(&table, second));
	rc_vn_object_table_finish(&table);
}

static void test_children_are_found_by_type_and_hold_their_parent(void) {
	struct rc_vn_object_table table;
	CHECK(rc_vn_object_table_init(&table));
	struct rc_vn_object *device = add_object(&table, 1, VK_OBJECT_TYPE_DEVICE, NULL);
	for (uint64_t id = 2; id < 302; id++) {
		add_object(&table, id, id % 3 ? VK_OBJECT_TYPE_BUFFER : VK_OBJECT_TYPE_FENCE, device);
	}
	CHECK(rc_vn_object_first_child(&table, NULL, VK_OBJECT_TYPE_UNKNOWN) == device);
	CHECK(!rc_vn_object_remove(&table, device));
	CHECK(rc_vn_object_first_child(&table, device, VK_OBJECT_TYPE_IMAGE) == NULL);
	uint32_t fences = 0;
	struct rc_vn_object *child;
	while ((child = rc_vn_object_first_child(&table, device, VK_OBJECT_TYPE_FENCE))) {
		CHECK(child->type == VK_OBJECT_TYPE_FENCE && rc_vn_object_remove(&table, child));
		fences++;
	}
	CHECK(fences == 100);
	while ((child = rc_vn_object_first_child(&table, device, VK_OBJECT_TYPE_UNKNOWN))) {
		CHECK(rc_vn_object_remove(&table, child));
		fences++;
	}
	CHECK(fences == 300 && rc_vn_object_remove(&table, device));
	struct rc_vn_object *orphan = make_object(900, VK_OBJECT_TYPE_FENCE, device);
	CHECK(!rc_vn_object_add(&table, orphan)); /* its parent was removed */
	free(orphan);
	rc_vn_object_table_finish(&table);
}

/* Ids that count up for ever, few of them alive: the table must not grow with what was. */
static void test_ids_come_and_go(void) {
	struct rc_vn_object_table table;
	CHECK(rc_vn_object_table_init(&table));
	enum { ALIVE = 1000 };
	for (uint64_t id = 1; id < 200000; id++) {
		add_object(&table, id, VK_OBJECT_TYPE_BUFFER, NULL);
		if (id > ALIVE) {
			struct rc_vn_object *old = rc_vn_object_find(&table, id - ALIVE);
			CHECK(old && old->handle == (id - ALIVE) * 3 && rc_vn_object_remove(&table, old));
		}
		CHECK(rc_vn_object_find(&table, id > ALIVE ? id - ALIVE : id + 1) == NULL);
	}
	struct rc_vn_object *object;
	while ((object = rc_vn_object_first_child(&table, NULL, VK_OBJECT_TYPE_UNKNOWN))) {
		CHECK(rc_vn_object_remove(&table, object));
	}
	rc_vn_object_table_finish(&table);
}

static void test_readers_are_bounded(void) {
	struct rc_vn_object_table table;
	CHECK(rc_vn_object_table_init(&table));
	for (uint32_t i = 0; i < RC_VN_MAX_READERS; i++) {
		CHECK(rc_vn_reader_register(&table) == i);
	}
	CHECK(rc_vn_reader_register(&table) == UINT32_MAX);
	rc_vn_reader_unregister(&table, 70);
	CHECK(rc_vn_reader_register(&table) == 70);
	rc_vn_object_table_finish(&table);
}

/* A reader that is inside keeps what it found. ASan and TSan see when that is not so. */
static void test_a_reader_keeps_what_it_found(void) {
	struct rc_vn_object_table table;
	CHECK(rc_vn_object_table_init(&table));
	uint32_t reader = rc_vn_reader_register(&table);
	struct rc_vn_object *object = add_object(&table, 5, VK_OBJECT_TYPE_BUFFER, NULL);
	rc_vn_reader_enter(&table, reader);
	CHECK(rc_vn_object_find(&table, 5) == object);
	CHECK(rc_vn_object_remove(&table, object));
	for (uint64_t id = 10; id < 2000; id++) {
		CHECK(rc_vn_object_remove(&table, add_object(&table, id, VK_OBJECT_TYPE_BUFFER, NULL)));
	}
	CHECK(object->id == 5 && object->handle == 15);
	rc_vn_reader_leave(&table, reader);
	for (uint64_t id = 2000; id < 2100; id++) {
		CHECK(rc_vn_object_remove(&table, add_object(&table, id, VK_OBJECT_TYPE_BUFFER, NULL)));
	}
	uint32_t held = 0;
	for (struct rc_vn_object *left = table.limbo; left; left = left->limbo_next) {
		held++;
	}
	CHECK(held < 64);
	rc_vn_object_table_finish(&table);
}

enum { WRITERS = 2, READERS = 2, ROUNDS = 20000, RANGE = 512 };

static struct rc_vn_object_table shared;
static _Atomic bool done;

static void *writer_main(void *data) {
	const uint64_t base = 1 + RANGE * (uint64_t)(uintptr_t)data;
	const uint32_t reader = rc_vn_reader_register(&shared);
	uint64_t state = base;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
		const uint64_t id = base + (state >> 33) % RANGE;
		rc_vn_reader_enter(&shared, reader);
		struct rc_vn_object *object = rc_vn_object_find(&shared, id);
		if (object) {
			CHECK(rc_vn_object_remove(&shared, object));
		} else {
			add_object(&shared, id, VK_OBJECT_TYPE_BUFFER, NULL);
		}
		rc_vn_reader_leave(&shared, reader);
	}
	rc_vn_reader_unregister(&shared, reader);
	return NULL;
}

static void *reader_main(void *data) {
	const uint32_t reader = rc_vn_reader_register(&shared);
	uint64_t id = (uint64_t)(uintptr_t)data;
	while (!atomic_load(&done)) {
		rc_vn_reader_enter(&shared, reader);
		for (uint32_t i = 0; i < 16; i++) {
			id = (id + 7) % (RANGE * WRITERS) + 1;
			struct rc_vn_object *object = rc_vn_object_find(&shared, id);
			CHECK(!object || (object->id == id && object->handle == id * 3));
		}
		rc_vn_reader_leave(&shared, reader);
	}
	rc_vn_reader_unregister(&shared, reader);
	return NULL;
}

static void test_many_threads(void) {
	CHECK(rc_vn_object_table_init(&shared));
	pthread_t writers[WRITERS], readers[READERS];
	for (uintptr_t i = 0; i < READERS; i++) {
		CHECK(pthread_create(&readers[i], NULL, reader_main, (void *)i) == 0);
	}
	for (uintptr_t i = 0; i < WRITERS; i++) {
		CHECK(pthread_create(&writers[i], NULL, writer_main, (void *)i) == 0);
	}
	for (uint32_t i = 0; i < WRITERS; i++) {
		CHECK(pthread_join(writers[i], NULL) == 0);
	}
	atomic_store(&done, true);
	for (uint32_t i = 0; i < READERS; i++) {
		CHECK(pthread_join(readers[i], NULL) == 0);
	}
	struct rc_vn_object *object;
	while ((object = rc_vn_object_first_child(&shared, NULL, VK_OBJECT_TYPE_UNKNOWN))) {
		CHECK(rc_vn_object_remove(&shared, object));
	}
	rc_vn_object_table_finish(&shared);
}

static void test_type_names(void) {
	CHECK(strcmp(rc_vn_object_type_name(VK_OBJECT_TYPE_BUFFER), "VkBuffer") == 0);
	CHECK(strcmp(rc_vn_object_type_name(VK_OBJECT_TYPE_COMMAND_POOL), "VkCommandPool") == 0);
	CHECK(strcmp(rc_vn_object_type_name(VK_OBJECT_TYPE_PRIVATE_DATA_SLOT), "VkPrivateDataSlot") == 0);
	CHECK(rc_vn_object_type_index(VK_OBJECT_TYPE_UNKNOWN) == 0);
	CHECK(rc_vn_object_type_index(VK_OBJECT_TYPE_SURFACE_KHR) == 0);
	CHECK(rc_vn_object_type_index(VK_OBJECT_TYPE_ACCELERATION_STRUCTURE_KHR) < RC_VN_OBJECT_TYPES);
}

int main(void) {
	test_ids_are_unique_and_not_zero();
	test_children_are_found_by_type_and_hold_their_parent();
	test_ids_come_and_go();
	test_readers_are_bounded();
	test_a_reader_keeps_what_it_found();
	test_many_threads();
	test_type_names();
	return 0;
}
