/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/feedback.h"

#include <stdlib.h>

/* More than any query's results take: other copies are no feedback. More than a device's programs have in flight: written in milliseconds. */
enum { MAX_STRIDE = 1024, MAX_QUERIES = 1 << 20 };

/* Takes the references over. */
static void set(struct rc_vn_command_buffer *commands, enum rc_vn_feedback kind, struct rc_vn_blob *blob,
	uint64_t offset, struct rc_vn_blob *source_blob, uint64_t source_offset) {
	struct rc_vn_device *device = commands->device;
	rc_vn_feedback_clear(commands);
	pthread_mutex_lock(&device->feedback_mutex);
	if (commands->feedback != RC_VN_FEEDBACK_NONE || commands->feedback_closed) {
		/* Another ring records into it, or has freed it: no correct client's does. It is in the list once, or for good not at all. */
		pthread_mutex_unlock(&device->feedback_mutex);
		rc_vn_blob_unref(blob);
		rc_vn_blob_unref(source_blob);
		return;
	}
	commands->feedback_blob = blob;
	commands->feedback_offset = offset;
	commands->feedback_source_blob = source_blob;
	commands->feedback_source_offset = source_offset;
	commands->feedback = kind;
	rc_list_append(&device->feedback, &commands->feedback_link);
	pthread_mutex_unlock(&device->feedback_mutex);
}

/* The blob that `size` bytes at `offset` of the buffer lie in, referenced, and where; NULL: not in memory that the client sees, or not
 * aligned as its reader needs them. */
static struct rc_vn_blob *locate(
	struct rc_vn_buffer *buffer, uint64_t offset, uint64_t size, uint64_t align, uint64_t *out) {
	uint64_t base;
	struct rc_vn_blob *blob = rc_vn_blob_slot_get(&buffer->memory, &base);
	if (!blob) {
		return NULL;
	}
	if (offset > buffer->size || size > buffer->size - offset || base > blob->size ||
		offset + size > blob->size - base || (base + offset) % align != 0) {
		rc_vn_blob_unref(blob);
		return NULL;
	}
	*out = base + offset;
	return blob;
}

void rc_vn_feedback_note_fill(
	struct rc_vn_command_buffer *commands, struct rc_vn_buffer *buffer, uint64_t offset, uint32_t value) {
	uint64_t at;
	struct rc_vn_blob *blob = locate(buffer, offset, sizeof(uint32_t), sizeof(uint32_t), &at);
	if (blob) {
		commands->feedback_value = value;
		set(commands, RC_VN_FEEDBACK_FENCE, blob, at, NULL, 0);
	}
}

void rc_vn_feedback_note_copy(struct rc_vn_command_buffer *commands, struct rc_vn_buffer *source,
	uint64_t source_offset, struct rc_vn_buffer *destination, uint64_t destination_offset) {
	uint64_t from, to;
	struct rc_vn_blob *source_blob = locate(source, source_offset, sizeof(uint64_t), sizeof(uint64_t), &from);
	struct rc_vn_blob *blob =
		source_blob ? locate(destination, destination_offset, sizeof(uint64_t), sizeof(uint64_t), &to) : NULL;
	if (!blob) {
		rc_vn_blob_unref(source_blob);
		return;
	}
	set(commands, RC_VN_FEEDBACK_TIMELINE, blob, to, source_blob, from);
}

/* With the mutex held. NULL: there is no room. */
static struct rc_vn_query_feedback *add_queries(struct rc_vn_command_buffer *commands, uint32_t count) {
	if (commands->device->feedback_queries > MAX_QUERIES - count) {
		return NULL;
	}
	if (commands->query_count == commands->query_room) {
		const uint32_t room = commands->query_room ? 2 * commands->query_room : 4;
		struct rc_vn_query_feedback *queries = realloc(commands->queries, room * sizeof(*queries));
		if (!queries) {
			return NULL;
		}
		commands->queries = queries;
		commands->query_room = room;
	}
	commands->device->feedback_queries += count;
	return &commands->queries[commands->query_count++];
}

void rc_vn_feedback_note_queries(struct rc_vn_command_buffer *commands, struct rc_vn_buffer *buffer, uint64_t offset,
	uint64_t stride, uint32_t count) {
	uint64_t at;
	if (stride < 2 * sizeof(uint64_t) || stride > MAX_STRIDE || stride % sizeof(uint64_t) || !count ||
		count > MAX_QUERIES) {
		return;
	}
	struct rc_vn_blob *blob = locate(buffer, offset, stride * count, sizeof(uint64_t), &at);
	if (!blob) {
		return;
	}
	if (commands->feedback != RC_VN_FEEDBACK_QUERIES) {
		set(commands, RC_VN_FEEDBACK_QUERIES, NULL, 0, NULL, 0);
	}
	pthread_mutex_lock(&commands->device->feedback_mutex);
	/* Unless another ring has cleared it meanwhile, or freed it. */
	struct rc_vn_query_feedback *queries =
		commands->feedback == RC_VN_FEEDBACK_QUERIES ? add_queries(commands, count) : NULL;
	if (queries) {
		*queries =
			(struct rc_vn_query_feedback){.blob = blob, .offset = at, .stride = (uint32_t)stride, .count = count};
	}
	pthread_mutex_unlock(&commands->device->feedback_mutex);
	if (!queries) {
		rc_vn_blob_unref(blob);
	}
}

void rc_vn_feedback_close(struct rc_vn_command_buffer *commands) {
	pthread_mutex_lock(&commands->device->feedback_mutex);
	commands->feedback_closed = true;
	pthread_mutex_unlock(&commands->device->feedback_mutex);
}

void rc_vn_feedback_clear(struct rc_vn_command_buffer *commands) {
	if (commands->feedback == RC_VN_FEEDBACK_NONE) {
		return;
	}
	struct rc_vn_device *device = commands->device;
	pthread_mutex_lock(&device->feedback_mutex);
	rc_list_remove(&commands->feedback_link);
	commands->feedback = RC_VN_FEEDBACK_NONE;
	struct rc_vn_blob *blob = commands->feedback_blob, *source_blob = commands->feedback_source_blob;
	commands->feedback_blob = commands->feedback_source_blob = NULL;
	struct rc_vn_query_feedback *queries = commands->queries;
	const uint32_t query_count = commands->query_count;
	for (uint32_t i = 0; i < query_count; i++) {
		device->feedback_queries -= queries[i].count;
	}
	commands->queries = NULL;
	commands->query_count = commands->query_room = 0;
	pthread_mutex_unlock(&device->feedback_mutex);
	rc_vn_blob_unref(blob);
	rc_vn_blob_unref(source_blob);
	for (uint32_t i = 0; i < query_count; i++) {
		rc_vn_blob_unref(queries[i].blob);
	}
	free(queries);
}

void rc_vn_feedback_fill(struct rc_vn_command_buffer *commands) {
	pthread_mutex_lock(&commands->device->feedback_mutex);
	if (commands->feedback == RC_VN_FEEDBACK_FENCE) {
		_Atomic uint32_t *slot = (_Atomic uint32_t *)(void *)(commands->feedback_blob->map + commands->feedback_offset);
		atomic_store(slot, commands->feedback_value);
	}
	pthread_mutex_unlock(&commands->device->feedback_mutex);
}

static void end_queries(const struct rc_vn_query_feedback *queries) {
	uint8_t *available = queries->blob->map + queries->offset + queries->stride - sizeof(uint64_t);
	for (uint32_t i = 0; i < queries->count; i++, available += queries->stride) {
		atomic_store_explicit((_Atomic uint64_t *)(void *)available, 1, memory_order_relaxed);
	}
}

void rc_vn_feedback_end(struct rc_vn_command_buffer *commands) {
	if (commands->feedback == RC_VN_FEEDBACK_FENCE) {
		_Atomic int32_t *slot = (_Atomic int32_t *)(void *)(commands->feedback_blob->map + commands->feedback_offset);
		atomic_store(slot, VK_ERROR_DEVICE_LOST);
	} else if (commands->feedback == RC_VN_FEEDBACK_TIMELINE) {
		const _Atomic uint64_t *value =
			(const _Atomic uint64_t *)(void *)(commands->feedback_source_blob->map + commands->feedback_source_offset);
		_Atomic uint64_t *counter =
			(_Atomic uint64_t *)(void *)(commands->feedback_blob->map + commands->feedback_offset);
		uint64_t wanted = atomic_load(value);
		if (atomic_load(counter) < wanted) {
			atomic_store(counter, wanted);
		}
	} else if (commands->feedback == RC_VN_FEEDBACK_QUERIES) {
		for (uint32_t i = 0; i < commands->query_count; i++) {
			end_queries(&commands->queries[i]);
		}
	}
}

void rc_vn_feedback_end_all(struct rc_vn_device *device) {
	pthread_mutex_lock(&device->feedback_mutex);
	for (struct rc_list *link = device->feedback.next; link != &device->feedback; link = link->next) {
		rc_vn_feedback_end(rc_container_of(link, struct rc_vn_command_buffer, feedback_link));
	}
	pthread_mutex_unlock(&device->feedback_mutex);
}
