/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/feedback.h"

static void set(
	struct rc_vn_command_buffer *commands, enum rc_vn_feedback kind, struct rc_vn_blob *blob, uint64_t offset) {
	rc_vn_feedback_clear(commands);
	commands->feedback_blob = rc_vn_blob_ref(blob);
	commands->feedback_offset = offset;
	commands->feedback = kind;
	struct rc_vn_device *device = commands->device;
	pthread_mutex_lock(&device->feedback_mutex);
	rc_list_append(&device->feedback, &commands->feedback_link);
	pthread_mutex_unlock(&device->feedback_mutex);
}

/* Where `size` bytes at `offset` of the buffer lie in its blob; false: not in memory that the client sees. */
static bool locate(const struct rc_vn_buffer *buffer, uint64_t offset, uint64_t size, uint64_t *out) {
	const struct rc_vn_blob *blob = buffer->memory_blob;
	if (!blob || offset > buffer->size || size > buffer->size - offset || buffer->memory_offset > blob->size ||
		offset + size > blob->size - buffer->memory_offset) {
		return false;
	}
	*out = buffer->memory_offset + offset;
	return *out % size == 0;
}

void rc_vn_feedback_note_fill(
	struct rc_vn_command_buffer *commands, const struct rc_vn_buffer *buffer, uint64_t offset, uint32_t value) {
	uint64_t at;
	if (locate(buffer, offset, sizeof(uint32_t), &at)) {
		set(commands, RC_VN_FEEDBACK_FENCE, buffer->memory_blob, at);
		commands->feedback_value = value;
	}
}

void rc_vn_feedback_note_copy(struct rc_vn_command_buffer *commands, const struct rc_vn_buffer *source,
	uint64_t source_offset, const struct rc_vn_buffer *destination, uint64_t destination_offset) {
	uint64_t from, to;
	if (locate(source, source_offset, sizeof(uint64_t), &from) &&
		locate(destination, destination_offset, sizeof(uint64_t), &to)) {
		set(commands, RC_VN_FEEDBACK_TIMELINE, destination->memory_blob, to);
		commands->feedback_source_blob = rc_vn_blob_ref(source->memory_blob);
		commands->feedback_source_offset = from;
	}
}

void rc_vn_feedback_clear(struct rc_vn_command_buffer *commands) {
	if (commands->feedback == RC_VN_FEEDBACK_NONE) {
		return;
	}
	struct rc_vn_device *device = commands->device;
	pthread_mutex_lock(&device->feedback_mutex);
	rc_list_remove(&commands->feedback_link);
	pthread_mutex_unlock(&device->feedback_mutex);
	commands->feedback = RC_VN_FEEDBACK_NONE;
	rc_vn_blob_unref(commands->feedback_blob);
	rc_vn_blob_unref(commands->feedback_source_blob);
	commands->feedback_blob = commands->feedback_source_blob = NULL;
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
