/* SPDX-License-Identifier: Apache-2.0
 * Shared memory that a client cannot pull away from under us, and the table of it. */
#define _GNU_SOURCE
#include "transport/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static void test_memory_is_zero_sealed_and_aligned(void) {
	const size_t aligns[] = {1, 4096, 65536, 2 << 20};
	for (size_t i = 0; i < sizeof(aligns) / sizeof(aligns[0]); i++) {
		const size_t align = aligns[i] < 4096 ? 4096 : aligns[i];
		struct rc_vn_blob *blob = rc_vn_blob_create(131268, aligns[i]);
		CHECK(blob && blob->size == 131268 && blob->mapped >= 131268 && blob->mapped % align == 0);
		CHECK((uintptr_t)blob->map % align == 0);
		CHECK(blob->map[0] == 0 && blob->map[blob->mapped - 1] == 0);
		struct stat st;
		CHECK(fstat(blob->fd, &st) == 0 && st.st_size == (off_t)blob->mapped && st.st_blocks * 512 < st.st_size);
		CHECK(ftruncate(blob->fd, 4096) < 0 && ftruncate(blob->fd, 1 << 30) < 0);
		CHECK(fcntl(blob->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0);
		uint8_t *client = mmap(NULL, blob->size, PROT_READ | PROT_WRITE, MAP_SHARED, blob->fd, 0);
		CHECK(client != MAP_FAILED);
		client[5] = 42;
		CHECK(blob->map[5] == 42);
		munmap(client, blob->size);
		rc_vn_blob_unref(blob);
	}
	CHECK(rc_vn_blob_create(0, 4096) == NULL && rc_vn_blob_create(SIZE_MAX - 5, 4096) == NULL);
}

static void test_usage_is_given_back_with_the_last_reference(void) {
	_Atomic uint64_t used = 100;
	struct rc_vn_blob *blob = rc_vn_blob_create(4096, 4096);
	rc_vn_blob_charge(blob, &used, 40);
	rc_vn_blob_unref(rc_vn_blob_ref(blob));
	CHECK(used == 100);
	rc_vn_blob_unref(blob);
	CHECK(used == 60);
	rc_vn_blob_unref(NULL);
}

static void test_a_refused_blob_cannot_be_mapped(void) {
	struct rc_vn_blob *blob = rc_vn_blob_create_refused();
	CHECK(blob && blob->size == 0 && blob->fd >= 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, blob->fd, 0) == MAP_FAILED && errno == EPERM);
	CHECK(ftruncate(blob->fd, 4096) < 0);
	rc_vn_blob_unref(blob);
}

static void test_ids_are_small_and_bounded(void) {
	enum { LIMIT = 50 };
	struct rc_vn_blob_table table;
	rc_vn_blob_table_init(&table, LIMIT);
	struct rc_vn_blob *blob = rc_vn_blob_create(4096, 4096);
	for (uint32_t id = 1; id <= LIMIT; id++) {
		CHECK(rc_vn_blob_table_add(&table, rc_vn_blob_ref(blob)) == id);
	}
	CHECK(rc_vn_blob_table_add(&table, blob) == 0);
	CHECK(rc_vn_blob_table_remove(&table, 30) && rc_vn_blob_table_remove(&table, 7));
	CHECK(!rc_vn_blob_table_remove(&table, 7) && !rc_vn_blob_table_remove(&table, 0));
	CHECK(!rc_vn_blob_table_remove(&table, LIMIT + 1) && !rc_vn_blob_table_remove(&table, UINT32_MAX));
	CHECK(rc_vn_blob_table_get(&table, 7) == NULL && rc_vn_blob_table_get(&table, UINT32_MAX) == NULL);
	CHECK(rc_vn_blob_table_add(&table, rc_vn_blob_ref(blob)) == 7);
	CHECK(rc_vn_blob_table_add(&table, rc_vn_blob_ref(blob)) == 30);
	CHECK(rc_vn_blob_table_get(&table, 30) == blob);
	rc_vn_blob_unref(blob);
	CHECK(atomic_load(&blob->refs) == LIMIT + 1);
	rc_vn_blob_table_finish(&table);
	CHECK(atomic_load(&blob->refs) == 1);
	rc_vn_blob_unref(blob);
}

int main(void) {
	test_memory_is_zero_sealed_and_aligned();
	test_usage_is_given_back_with_the_last_reference();
	test_a_refused_blob_cannot_be_mapped();
	test_ids_are_small_and_bounded();
	return 0;
}
