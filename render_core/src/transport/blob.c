/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/blob.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_SIZE = 4096, FIRST_CAPACITY = 32 };

/* Below what the sandbox lets files grow to, where the kernel sends a signal. */
#define MAX_SIZE (UINT64_C(31) << 30)

/* An address that is a multiple of `align`, with `size` bytes mapped. MAP_FAILED: out of memory or mappings. */
static uint8_t *map_aligned(int fd, size_t size, size_t align) {
	if (align <= PAGE_SIZE) {
		return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	uint8_t *room = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED) {
		return MAP_FAILED;
	}
	uint8_t *start = (uint8_t *)(((uintptr_t)room + align - 1) & ~(uintptr_t)(align - 1));
	uint8_t *map = mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED) {
		munmap(room, size + align);
		return MAP_FAILED;
	}
	if (start > room) {
		munmap(room, (size_t)(start - room));
	}
	munmap(start + size, (size_t)(room + align - start));
	return map;
}

struct rc_vn_blob *rc_vn_blob_create(size_t size, size_t align) {
	align = align < PAGE_SIZE ? PAGE_SIZE : align;
	if (size == 0 || size > MAX_SIZE || align > MAX_SIZE) {
		return NULL;
	}
	struct rc_vn_blob *blob = calloc(1, sizeof(*blob));
	if (!blob) {
		return NULL;
	}
	atomic_init(&blob->refs, 1);
	blob->size = size;
	blob->mapped = (size + align - 1) & ~(align - 1);
	blob->fd = memfd_create("venus", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (blob->fd < 0) {
		goto err_free;
	}
	if (ftruncate(blob->fd, (off_t)blob->mapped) < 0 ||
		fcntl(blob->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		goto err_close;
	}
	blob->map = map_aligned(blob->fd, blob->mapped, align);
	if (blob->map == MAP_FAILED) {
		goto err_close;
	}
	return blob;

err_close:
	close(blob->fd);
err_free:
	free(blob);
	return NULL;
}

struct rc_vn_blob *rc_vn_blob_create_refused(void) {
	struct rc_vn_blob *blob = calloc(1, sizeof(*blob));
	if (!blob) {
		return NULL;
	}
	atomic_init(&blob->refs, 1);
	blob->fd = memfd_create("venus-refused", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (blob->fd < 0 || fcntl(blob->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		if (blob->fd >= 0) {
			close(blob->fd);
		}
		free(blob);
		return NULL;
	}
	return blob;
}

struct rc_vn_blob *rc_vn_blob_ref(struct rc_vn_blob *blob) {
	atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
	return blob;
}

void rc_vn_blob_unref(struct rc_vn_blob *blob) {
	/* acq_rel: the last one sees what the others did with the memory */
	if (!blob || atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) != 1) {
		return;
	}
	if (blob->map) {
		munmap(blob->map, blob->mapped);
	}
	close(blob->fd);
	if (blob->account) {
		atomic_fetch_sub(blob->account, blob->charged);
	}
	free(blob);
}

void rc_vn_blob_charge(struct rc_vn_blob *blob, _Atomic uint64_t *account, uint64_t bytes) {
	blob->account = account;
	blob->charged = bytes;
}

void rc_vn_blob_table_init(struct rc_vn_blob_table *table, uint32_t limit) {
	*table = (struct rc_vn_blob_table){.limit = limit};
	pthread_mutex_init(&table->mutex, NULL);
}

void rc_vn_blob_table_finish(struct rc_vn_blob_table *table) {
	for (uint32_t i = 0; i < table->capacity; i++) {
		rc_vn_blob_unref(table->blobs[i]);
	}
	free(table->blobs);
	pthread_mutex_destroy(&table->mutex);
}

/* Under the mutex. */
static bool grow(struct rc_vn_blob_table *table) {
	uint32_t capacity = table->capacity ? table->capacity * 2 : FIRST_CAPACITY;
	capacity = capacity < table->limit ? capacity : table->limit;
	if (capacity <= table->capacity) {
		return false;
	}
	struct rc_vn_blob **blobs = realloc(table->blobs, capacity * sizeof(struct rc_vn_blob *));
	if (!blobs) {
		return false;
	}
	for (uint32_t i = table->capacity; i < capacity; i++) {
		blobs[i] = NULL;
	}
	table->blobs = blobs;
	table->capacity = capacity;
	return true;
}

uint32_t rc_vn_blob_table_add(struct rc_vn_blob_table *table, struct rc_vn_blob *blob) {
	uint32_t id = 0;
	pthread_mutex_lock(&table->mutex);
	if (table->count < table->capacity || grow(table)) {
		uint32_t index = table->first_free;
		while (table->blobs[index]) {
			index++;
		}
		table->blobs[index] = blob;
		table->count++;
		table->first_free = index + 1;
		id = index + 1;
	}
	pthread_mutex_unlock(&table->mutex);
	return id;
}

struct rc_vn_blob *rc_vn_blob_table_get(struct rc_vn_blob_table *table, uint32_t id) {
	struct rc_vn_blob *blob = NULL;
	pthread_mutex_lock(&table->mutex);
	if (id > 0 && id <= table->capacity && table->blobs[id - 1]) {
		blob = rc_vn_blob_ref(table->blobs[id - 1]);
	}
	pthread_mutex_unlock(&table->mutex);
	return blob;
}

bool rc_vn_blob_table_remove(struct rc_vn_blob_table *table, uint32_t id) {
	struct rc_vn_blob *blob = NULL;
	pthread_mutex_lock(&table->mutex);
	if (id > 0 && id <= table->capacity && table->blobs[id - 1]) {
		blob = table->blobs[id - 1];
		table->blobs[id - 1] = NULL;
		table->count--;
		table->first_free = id - 1 < table->first_free ? id - 1 : table->first_free;
	}
	pthread_mutex_unlock(&table->mutex);
	rc_vn_blob_unref(blob); /* not under the mutex: unmapping takes a while */
	return blob != NULL;
}
