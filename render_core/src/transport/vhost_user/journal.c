/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/vhost_user/journal.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/memfd.h"

enum { MAGIC = 0x4c4a4748 /* "HGJL" */, VERSION = 1, MIN_BYTES = 1 << 16, MAX_BYTES = 1 << 28 };
enum { STATE_HALF = 1, STATE_INCOMPLETE = 2 };

/* One request that a later one replaces. The worker may be killed at any instruction: the new one is written beside the old one, then `current` is. */
struct slot {
	_Atomic uint32_t current; /* 0: nothing; 1 or 2: the one of `requests` that counts */
	uint32_t sizes[2];
	uint32_t reserved;
	uint8_t requests[2][sizeof(struct virtio_gpu_set_scanout_blob)];
};

/* The first HEAD_BYTES of the memfd; then two halves of equal size, one of them in use. */
struct rc_journal_head {
	uint32_t magic, version;
	_Atomic uint32_t state;
	uint32_t queue_size;
	uint32_t reserved[2];
	uint64_t queue[3]; /* descriptors, available, used */
	/* Of each half: bytes of records, index of the first request in the control queue that was not executed (from bit 32), how often that
	 * was begun (from bit 48). In one word: a request whose record counts is not executed again, wherever the worker is killed. */
	_Atomic uint64_t progress[2];
	struct slot scanouts[RC_MAX_SCANOUTS], cursors[RC_MAX_SCANOUTS];
};

enum { HEAD_BYTES = 16384, RECORD_ALIGN = 8 };
_Static_assert(sizeof(struct rc_journal_head) <= HEAD_BYTES, "the journal's head");
_Static_assert(
	sizeof(struct virtio_gpu_update_cursor) <= sizeof(struct virtio_gpu_set_scanout_blob), "a slot's request");

/* A record is `le32 size, le32 reserved`, the request, and bytes up to the next multiple of RECORD_ALIGN. */
struct record {
	uint32_t size, reserved;
};

static uint64_t half_bytes(const struct rc_journal *journal) {
	return ((journal->size - HEAD_BYTES) / 2) & ~(uint64_t)(RECORD_ALIGN - 1);
}

static uint8_t *half(const struct rc_journal *journal, uint32_t number) {
	return (uint8_t *)journal->head + HEAD_BYTES + number * half_bytes(journal);
}

const char *rc_journal_open(struct rc_journal *journal, int memfd) {
	if (!rc_memfd_is_safe(memfd)) {
		return "journal (a memfd of ordinary pages sealed with F_SEAL_SHRINK is needed)";
	}
	off_t end = lseek(memfd, 0, SEEK_END);
	if (end < MIN_BYTES || end > MAX_BYTES) {
		return "journal's size";
	}
	void *map = mmap(NULL, (size_t)end, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (map == MAP_FAILED) {
		return "journal (it cannot be mapped)";
	}
	*journal = (struct rc_journal){.head = map, .size = (uint64_t)end};
	return NULL;
}

void rc_journal_close(struct rc_journal *journal) {
	if (journal->head) {
		munmap(journal->head, journal->size);
	}
	*journal = (struct rc_journal){0};
}

static void publish(const struct rc_journal *journal) {
	atomic_store_explicit(&journal->head->progress[journal->half],
		journal->used | (uint64_t)journal->executed << 32 | (uint64_t)journal->attempts << 48, memory_order_release);
}

/* The half in use, and its progress, as a former worker left them. */
static uint64_t read_progress(const struct rc_journal *journal, uint32_t *number) {
	*number = atomic_load_explicit(&journal->head->state, memory_order_acquire) & STATE_HALF;
	return atomic_load_explicit(&journal->head->progress[*number], memory_order_acquire);
}

void rc_journal_clear(struct rc_journal *journal, const struct rc_virtqueue_layout *queue, uint16_t executed) {
	struct rc_journal_head *head = journal->head;
	/* Not ours until all of it is new. */
	atomic_store_explicit((_Atomic uint32_t *)&head->magic, 0, memory_order_seq_cst);
	atomic_store(&head->state, 0);
	journal->half = 0;
	journal->used = 0;
	journal->executed = executed;
	journal->attempts = 0;
	journal->incomplete = false;
	publish(journal);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		atomic_store(&head->scanouts[i].current, 0);
		atomic_store(&head->cursors[i].current, 0);
	}
	head->version = VERSION;
	head->queue_size = queue->size;
	head->queue[0] = queue->descriptors;
	head->queue[1] = queue->available;
	head->queue[2] = queue->used;
	atomic_store_explicit((_Atomic uint32_t *)&head->magic, MAGIC, memory_order_release);
}

bool rc_journal_is_of(const struct rc_journal *journal, const struct rc_virtqueue_layout *queue) {
	const struct rc_journal_head *head = journal->head;
	return head->magic == MAGIC && head->version == VERSION && head->queue_size == queue->size &&
		   head->queue[0] == queue->descriptors && head->queue[1] == queue->available && head->queue[2] == queue->used;
}

void rc_journal_set_executed(struct rc_journal *journal, uint16_t index) {
	journal->executed = index;
	journal->attempts = 0;
	publish(journal);
}

void rc_journal_begin(struct rc_journal *journal) {
	journal->attempts += journal->attempts < UINT16_MAX;
	publish(journal);
}

uint16_t rc_journal_read_executed(struct rc_journal *journal, uint32_t *attempts) {
	const uint64_t progress = read_progress(journal, &journal->half);
	journal->used = (uint32_t)progress; /* checked when it is replayed */
	journal->executed = (uint16_t)(progress >> 32);
	*attempts = journal->attempts = (uint32_t)(progress >> 48);
	return journal->executed;
}

/* ---- writing ---- */

/* Begin a record of `size` bytes in half `number`, after its `*used` bytes: where the request goes, or NULL: no room. */
static uint8_t *add_record(const struct rc_journal *journal, uint32_t number, uint64_t *used, size_t size) {
	const struct record record = {.size = (uint32_t)size};
	const uint64_t bytes = (sizeof(record) + size + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
	if (bytes > half_bytes(journal) - *used) {
		return NULL;
	}
	uint8_t *at = half(journal, number) + *used;
	memcpy(at, &record, sizeof(record));
	*used += bytes;
	return at + sizeof(record);
}

/* An entry's length has 32 bits; a run, of entries that followed one another, may be longer. */
#define MAX_ENTRY_BYTES UINT64_C(0xfffff000)

static uint32_t count_entries(const struct rc_resource *resource) {
	uint64_t count = 0;
	for (uint32_t i = 0; i < resource->backing_count; i++) {
		count += (resource->backing[i].length + MAX_ENTRY_BYTES - 1) / MAX_ENTRY_BYTES;
	}
	return (uint32_t)count;
}

static void write_entries(uint8_t *at, const struct rc_resource *resource) {
	for (uint32_t i = 0; i < resource->backing_count; i++) {
		const struct rc_page_run *run = &resource->backing[i];
		uint64_t address = run->region->base + run->offset, left = run->length;
		while (left) {
			const uint64_t length = left < MAX_ENTRY_BYTES ? left : MAX_ENTRY_BYTES;
			const struct virtio_gpu_mem_entry entry = {.addr = address, .length = (uint32_t)length};
			memcpy(at, &entry, sizeof(entry));
			at += sizeof(entry);
			address += length;
			left -= length;
		}
	}
}

/* The requests that would make `resource`. */
static bool add_resource(
	const struct rc_journal *journal, uint32_t number, uint64_t *used, const struct rc_resource *resource) {
	const uint32_t entries = count_entries(resource);
	const size_t entry_bytes = entries * sizeof(struct virtio_gpu_mem_entry);
	uint8_t *at;
	if (resource->blob) {
		const struct virtio_gpu_resource_create_blob blob = {
			.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
			.resource_id = resource->id,
			.blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
			.nr_entries = entries,
			.size = resource->surface->bytes,
		};
		at = add_record(journal, number, used, sizeof(blob) + entry_bytes);
		if (at) {
			memcpy(at, &blob, sizeof(blob));
			write_entries(at + sizeof(blob), resource);
		}
		return at != NULL;
	}
	const struct virtio_gpu_resource_create_2d create = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
		.resource_id = resource->id,
		.format = resource->format,
		.width = resource->width,
		.height = resource->height,
	};
	at = add_record(journal, number, used, sizeof(create));
	if (at) {
		memcpy(at, &create, sizeof(create));
	}
	if (!at || !resource->backing) {
		return at != NULL;
	}
	const struct virtio_gpu_resource_attach_backing attach = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = resource->id, .nr_entries = entries};
	at = add_record(journal, number, used, sizeof(attach) + entry_bytes);
	if (at) {
		memcpy(at, &attach, sizeof(attach));
		write_entries(at + sizeof(attach), resource);
	}
	return at != NULL;
}

/* Write what there is now into the other half, and use that from then on. When it does not fit, the journal says so, and is tried again when something else is noted. */
static void compact(struct rc_journal *journal, const struct rc_virtio_gpu *gpu) {
	struct rc_journal_head *head = journal->head;
	const uint32_t number = !journal->half;
	uint64_t used = 0;
	bool fits = true;
	for (uint32_t i = 0; fits && i < RC_MAX_RESOURCES; i++) {
		if (gpu->resources.entries[i].id) {
			fits = add_resource(journal, number, &used, &gpu->resources.entries[i]);
		}
	}
	journal->half = number;
	journal->used = fits ? used : 0;
	journal->incomplete = !fits;
	publish(journal);
	atomic_store_explicit(&head->state, number | (fits ? 0 : STATE_INCOMPLETE), memory_order_release);
}

static void append(struct rc_journal *journal, const struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size) {
	uint8_t *at = journal->incomplete ? NULL : add_record(journal, journal->half, &journal->used, size);
	if (!at) {
		compact(journal, gpu);
		return;
	}
	memcpy(at, request, size);
	publish(journal);
}

static void set_slot(struct slot *slot, const uint8_t *request, size_t size) {
	const uint32_t current = atomic_load_explicit(&slot->current, memory_order_acquire), next = current == 1 ? 2 : 1;
	memcpy(slot->requests[next - 1], request, size);
	slot->sizes[next - 1] = (uint32_t)size;
	atomic_store_explicit(&slot->current, next, memory_order_release);
}

static void clear_scanouts_of(struct rc_journal *journal, uint32_t resource_id) {
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		struct slot *slot = &journal->head->scanouts[i];
		const uint32_t current = atomic_load_explicit(&slot->current, memory_order_acquire);
		/* resource_id is at the same place in SET_SCANOUT and SET_SCANOUT_BLOB. */
		struct virtio_gpu_set_scanout set;
		if (current == 1 || current == 2) {
			memcpy(&set, slot->requests[current - 1], sizeof(set));
			if (set.resource_id == resource_id) {
				atomic_store_explicit(&slot->current, 0, memory_order_release);
			}
		}
	}
}

/* Whether a request is of those whose records make up what there is. */
static bool makes_or_ends(uint32_t type) {
	return type == VIRTIO_GPU_CMD_RESOURCE_CREATE_2D || type == VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB ||
		   type == VIRTIO_GPU_CMD_RESOURCE_UNREF || type == VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING ||
		   type == VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING;
}

static bool shows(uint32_t type) {
	return type == VIRTIO_GPU_CMD_SET_SCANOUT || type == VIRTIO_GPU_CMD_SET_SCANOUT_BLOB;
}

void rc_journal_note_control(struct rc_journal *journal, const struct rc_virtio_gpu *gpu, const uint8_t *request,
	size_t size, uint16_t executed) {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resource_unref unref;
	struct virtio_gpu_set_scanout set;
	memcpy(&hdr, request, sizeof(hdr));
	if (hdr.type == VIRTIO_GPU_CMD_RESOURCE_UNREF) {
		memcpy(&unref, request, sizeof(unref));
		clear_scanouts_of(journal, unref.resource_id);
	}
	if (shows(hdr.type)) {
		memcpy(&set, request, sizeof(set));
		set_slot(&journal->head->scanouts[set.scanout_id], request, size);
	}
	journal->executed = executed;
	journal->attempts = 0;
	if (makes_or_ends(hdr.type)) {
		append(journal, gpu, request, size);
	} else {
		publish(journal);
	}
}

void rc_journal_note_cursor(struct rc_journal *journal, const uint8_t *request, size_t size) {
	struct virtio_gpu_update_cursor update, before;
	memcpy(&update, request, sizeof(update));
	struct slot *slot = &journal->head->cursors[update.pos.scanout_id];
	const uint32_t current = atomic_load_explicit(&slot->current, memory_order_acquire);
	if (update.hdr.type == VIRTIO_GPU_CMD_MOVE_CURSOR) {
		if (current != 1 && current != 2) {
			return;
		}
		memcpy(&before, slot->requests[current - 1], sizeof(before));
		before.pos = update.pos;
		update = before;
	}
	set_slot(slot, (const uint8_t *)&update, size);
}

/* ---- replaying ---- */

static bool execute(struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size) {
	struct rc_reply reply;
	rc_virtio_gpu_control(gpu, request, size, &reply);
	return reply.hdr.type == VIRTIO_GPU_RESP_OK_NODATA;
}

/* Nothing but what is written to such a place: it costs what it cost the worker before, not a transfer a record. */
static bool execute_if(bool (*belongs)(uint32_t type), struct rc_virtio_gpu *gpu, const uint8_t *request, size_t size) {
	struct virtio_gpu_ctrl_hdr hdr = {0};
	memcpy(&hdr, request, size < sizeof(hdr) ? size : sizeof(hdr));
	return belongs(hdr.type) && execute(gpu, request, size);
}

static bool replay_records(struct rc_journal *journal, struct rc_virtio_gpu *gpu, uint8_t *buffer) {
	uint32_t number;
	const uint64_t used = read_progress(journal, &number) & UINT32_MAX;
	bool complete = used <= half_bytes(journal);
	journal->half = number; /* kept until what it says is written anew into the other one */
	for (uint64_t at = 0; complete && at < used;) {
		struct record record;
		if (used - at < sizeof(record)) {
			return false;
		}
		memcpy(&record, half(journal, number) + at, sizeof(record));
		at += sizeof(record);
		if (record.size > RC_MAX_REQUEST || record.size > used - at) {
			return false;
		}
		memcpy(buffer, half(journal, number) + at, record.size);
		at += (record.size + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
		complete = execute_if(makes_or_ends, gpu, buffer, record.size);
	}
	return complete;
}

/* What was transferred is in the guest's pages still, or something newer is. */
static bool read_pictures(struct rc_virtio_gpu *gpu) {
	bool complete = true;
	for (uint32_t i = 0; i < RC_MAX_RESOURCES; i++) {
		const struct rc_resource *resource = &gpu->resources.entries[i];
		if (!resource->id || resource->blob || !resource->backing) {
			continue;
		}
		const uint64_t rows = resource->backing_bytes / ((uint64_t)resource->width * 4);
		const struct virtio_gpu_transfer_to_host_2d transfer = {
			.hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
			.r = {.width = resource->width, .height = rows < resource->height ? (uint32_t)rows : resource->height},
			.resource_id = resource->id,
		};
		if (rows) {
			complete &= execute(gpu, (const uint8_t *)&transfer, sizeof(transfer));
		}
	}
	return complete;
}

/* A private copy of a slot's request; its size, or 0: it has none. */
static size_t read_slot(const struct slot *slot, uint8_t *buffer) {
	const uint32_t current = atomic_load_explicit(&slot->current, memory_order_acquire);
	if (current != 1 && current != 2) {
		return 0;
	}
	const uint32_t size = slot->sizes[current - 1];
	if (size > sizeof(slot->requests[0])) {
		return 0;
	}
	memcpy(buffer, slot->requests[current - 1], size);
	return size;
}

bool rc_journal_replay(struct rc_journal *journal, struct rc_virtio_gpu *gpu, uint8_t *buffer) {
	const bool noted = !(atomic_load_explicit(&journal->head->state, memory_order_acquire) & STATE_INCOMPLETE);
	bool complete = replay_records(journal, gpu, buffer) && noted;
	complete &= read_pictures(gpu);
	for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
		size_t size = read_slot(&journal->head->scanouts[i], buffer);
		if (size) {
			complete &= execute_if(shows, gpu, buffer, size);
		}
		size = read_slot(&journal->head->cursors[i], buffer);
		if (size) {
			struct rc_reply reply;
			rc_virtio_gpu_cursor(gpu, buffer, size, &reply); /* its resource may be gone, as it may while it is shown */
		}
	}
	compact(journal, gpu);
	return complete;
}
