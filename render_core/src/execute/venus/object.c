/* SPDX-License-Identifier: Apache-2.0 */
#include "execute/venus/object.h"

#include <stdlib.h>

/* Poisoned objects, in limits.objects: a program that goes on for so long after its first failure will not stop. */
enum { POISONED_LIMITS = 4 };

bool rc_vn_may_create_all(struct rc_vn_stream *stream, VkObjectType type, uint32_t more) {
	struct rc_vn_context *context = stream->context;
	uint32_t count =
		atomic_load_explicit(&context->objects.counts[rc_vn_object_type_index(type)], memory_order_relaxed);
	const uint32_t limit = context->guest->limits.objects;
	if (count < limit && more <= limit - count) {
		return true;
	}
	atomic_fetch_add_explicit(&context->guest->usage.refused, 1, memory_order_relaxed);
	rc_vn_context_log(
		context, RC_LOG_WARN, "%s refused: there are %u already (limit: objects)", rc_vn_object_type_name(type), count);
	return false;
}

bool rc_vn_may_create(struct rc_vn_stream *stream, VkObjectType type) {
	return rc_vn_may_create_all(stream, type, 1);
}

bool rc_vn_add_typed_object(struct rc_vn_stream *stream, struct rc_vn_object *object, VkObjectType type, uint64_t id,
	uint64_t handle, struct rc_vn_object *parent, VkResult ret) {
	if (!object) {
		object = calloc(1, sizeof(*object));
		if (!object) {
			rc_vn_context_fail(stream->context, "out of memory");
			return false;
		}
	}
	object->id = id;
	object->type = type;
	object->poisoned = ret < 0;
	object->handle = ret < 0 ? 0 : handle;
	object->parent = parent;
	if (type == VK_OBJECT_TYPE_DEVICE) {
		object->device = object;
	} else {
		object->device = parent ? parent->device : NULL;
	}
	if (ret < 0) {
		/* Where the client asked for a reply, it knows. */
		rc_vn_context_log(stream->context, RC_LOG_INFO, "%s: %s %llu could not be created (VkResult %d)",
			rc_vn_command_name(stream->command), rc_vn_object_type_name(type), (unsigned long long)id, ret);
	}
	struct rc_vn_object_table *table = &stream->context->objects;
	if (ret < 0 && atomic_load_explicit(&table->poisoned, memory_order_relaxed) / POISONED_LIMITS >=
					   stream->context->guest->limits.objects) {
		free(object);
		rc_vn_stream_fail(stream, rc_vn_object_type_name(type), "too many that could not be created");
		return false;
	}
	if (!rc_vn_object_add(table, object)) {
		free(object);
		rc_vn_stream_fail(stream, rc_vn_object_type_name(type), "id %llu is 0 or in use", (unsigned long long)id);
		return false;
	}
	return true;
}

bool rc_vn_add_object(struct rc_vn_stream *stream, VkObjectType type, uint64_t id, uint64_t handle,
	struct rc_vn_object *parent, VkResult ret) {
	return rc_vn_add_typed_object(stream, NULL, type, id, handle, parent, ret);
}
