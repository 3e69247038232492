/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/feedback.h"

/* Takes the references over. */
static void set(struct rc_vn_command_buffer *commands, enum rc_vn_feedback kind, struct rc_vn_blob *blob,
	uint64_t offset, struct rc_vn_blob *source_blob, uint64_t source_offset) {
	struct rc_vn_device *device = commands->device;
	rc_vn_feedback_clear(commands);
	pthread_mutex_lock(&device->feedback_mutex);
	commands->feedback_blob = blob;
	commands->feedback_offset = offset;
	commands->feedback_source_blob = source_blob;
	commands->feedback_source_offset = source_offset;
	commands->feedback = kind;
	rc_list_append(&device->feedback, &commands->feedback_link);
	pthread_mutex_unlock(&device->feedback_mutex);
}

/* The blob that `size` bytes at `offset` of the buffer lie in, referenced, and where; NULL: not in memory that the client sees. */
static struct rc_vn_blob *locate(struct rc_vn_buffer *buffer, uint64_t offset, uint64_t size, uint64_t *out) {
	uint64_t base;
	struct rc_vn_blob *blob = rc_vn_blob_slot_get(&buffer->memory, &base);
	if (!blob) {
		return NULL;
	}
	if (offset > buffer->size || size > buffer->size - offset || base > blob->size ||
		offset + size > blob->size - base || (base + offset) % size != 0) {
		rc_vn_blob_unref(blob);
		return NULL;
	}
	*out = base + offset;
	return blob;
}

void rc_vn_feedback_note_fill(
	struct rc_vn_command_buffer *commands, struct rc_vn_buffer *buffer, uint64_t offset, uint32_t value) {
	uint64_t at;
	struct rc_vn_blob *blob = locate(buffer, offset, sizeof(uint32_t), &at);
	if (blob) {
		commands->feedback_value = value;
		set(commands, RC_VN_FEEDBACK_FENCE, blob, at, NULL, 0);
	}
}

void rc_vn_feedback_note_copy(struct rc_vn_command_buffer *commands, struct rc_vn_buffer *source,
	uint64_t source_offset, struct rc_vn_buffer *destination, uint64_t destination_offset) {
	uint64_t from, to;
	struct rc_vn_blob *source_blob = locate(source, source_offset, sizeof(uint64_t), &from);
	struct rc_vn_blob *blob = source_blob ? locate(destination, destination_offset, sizeof(uint64_t), &to) : NULL;
	if (!blob) {
		rc_vn_blob_unref(source_blob);
		return;
	}
	set(commands, RC_VN_FEEDBACK_TIMELINE, blob, to, source_blob, from);
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
	pthread_mutex_unlock(&device->feedback_mutex);
	rc_vn_blob_unref(blob);
	rc_vn_blob_unref(source_blob);
}

void rc_vn_feedback_fill(struct rc_vn_command_buffer *commands) {
	pthread_mutex_lock(&commands->device->feedback_mutex);
	if (commands->feedback == RC_VN_FEEDBACK_FENCE) {
		_Atomic uint32_t *slot = (_Atomic uint32_t *)(void *)(commands->feedback_blob->map + commands->feedback_offset);
		atomic_store(slot, commands->feedback_value);
	}
	pthread_mutex_unlock(&commands->device->feedback_mutex);
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
	}
}

void rc_vn_feedback_end_all(struct rc_vn_device *device) {
	pthread_mutex_lock(&device->feedback_mutex);
	for (struct rc_list *link = device->feedback.next; link != &device->feedback; link = link->next) {
		rc_vn_feedback_end(rc_container_of(link, struct rc_vn_command_buffer, feedback_link));
	}
	pthread_mutex_unlock(&device->feedback_mutex);
}
