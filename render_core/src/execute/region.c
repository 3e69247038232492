/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "execute/region.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/memfd.h"

void rc_memory_init(struct rc_memory *memory) {
	*memory = (struct rc_memory){.max_bytes = RC_MAX_REGION_BYTES};
	rc_list_init(&memory->regions);
}

void rc_memory_finish(struct rc_memory *memory) {
	while (!rc_list_empty(&memory->regions)) {
		struct rc_region *region = rc_container_of(memory->regions.next, struct rc_region, link);
		rc_list_remove(&region->link);
		rc_region_unref(region);
	}
}

struct rc_region *rc_region_ref(struct rc_region *region) {
	region->refs++;
	return region;
}

void rc_region_unref(struct rc_region *region) {
	if (--region->refs) {
		return;
	}
	region->memory->count--;
	region->memory->bytes -= region->size;
	munmap(region->map, region->size);
	close(region->fd);
	free(region);
}

static const char *check_fd(int fd, uint64_t fd_offset, uint64_t size) {
	if (!rc_memfd_is_safe(fd)) {
		return "fd (a memfd of ordinary pages sealed with F_SEAL_SHRINK is needed)";
	}
	/* Not fstat(): glibc makes a newfstatat of it, which takes paths too and is not allowed in the sandbox. */
	off_t end = lseek(fd, 0, SEEK_END);
	if (end < 0) {
		return "fd";
	}
	uint64_t file_size = (uint64_t)end;
	if (fd_offset % RC_PAGE || fd_offset > file_size) {
		return "fd_offset";
	}
	return size > file_size - fd_offset ? "size" : NULL;
}

const char *rc_memory_add(struct rc_memory *memory, uint64_t base, uint64_t size, uint64_t fd_offset, int fd) {
	if (size == 0 || size % RC_PAGE || size > memory->max_bytes - memory->bytes) {
		return "size";
	}
	if (base % RC_PAGE || base > UINT64_MAX - size) {
		return "base";
	}
	if (memory->count == RC_MAX_REGIONS) {
		return "count of regions";
	}
	for (struct rc_list *l = memory->regions.next; l != &memory->regions; l = l->next) {
		const struct rc_region *other = rc_container_of(l, struct rc_region, link);
		if (base < other->base + other->size && other->base < base + size) {
			return "base (overlaps another region)";
		}
	}
	const char *wrong = check_fd(fd, fd_offset, size);
	if (wrong) {
		return wrong;
	}
	struct rc_region *region = calloc(1, sizeof(*region));
	if (!region) {
		return "memory";
	}
	const int protection = memory->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *map = mmap(NULL, size, protection, MAP_SHARED, fd, (off_t)fd_offset);
	if (map == MAP_FAILED) {
		free(region);
		return "memory";
	}
	*region = (struct rc_region){
		.memory = memory,
		.refs = 1,
		.base = base,
		.size = size,
		.fd_offset = fd_offset,
		.fd = fd,
		.map = map,
	};
	rc_list_append(&memory->regions, &region->link);
	memory->count++;
	memory->bytes += size;
	return NULL;
}

bool rc_memory_remove(struct rc_memory *memory, uint64_t base) {
	for (struct rc_list *l = memory->regions.next; l != &memory->regions; l = l->next) {
		struct rc_region *region = rc_container_of(l, struct rc_region, link);
		if (region->base == base) {
			rc_list_remove(&region->link);
			rc_region_unref(region);
			return true;
		}
	}
	return false;
}

/* The system call itself: see check_fd(). */
static bool stat_fd(int fd, struct stat *out) {
	return syscall(SYS_fstat, fd, out) == 0;
}

bool rc_region_is(const struct rc_region *region, uint64_t base, uint64_t size, uint64_t fd_offset, int fd) {
	struct stat own, other;
	return region->base == base && region->size == size && region->fd_offset == fd_offset &&
		   stat_fd(region->fd, &own) && stat_fd(fd, &other) && own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

struct rc_region *rc_memory_find(const struct rc_memory *memory, uint64_t addr, uint64_t size) {
	for (struct rc_list *l = memory->regions.next; l != &memory->regions; l = l->next) {
		struct rc_region *region = rc_container_of(l, struct rc_region, link);
		if (addr >= region->base && addr - region->base < region->size &&
			size <= region->size - (addr - region->base)) {
			return region;
		}
	}
	return NULL;
}
