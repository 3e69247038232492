/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/vtest_client.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "execute/venus/memory.h"
#include "transport/ring.h"

enum { PAGE_SIZE = 4096, VARIABLE = UINT16_MAX };

/* False: the client is gone. Nonsense fails the context. */
typedef bool handler(struct rc_vtest_client *client, const uint32_t *words, uint32_t count);

static uint64_t wide(const uint32_t *words) {
	return (uint64_t)words[1] << 32 | words[0];
}

/* ---- the start ---- */

static bool handle_create_renderer(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	char *name = client->context->name;
	const char *bytes = (const char *)words;
	size_t size = 0;
	while (size < count && size < sizeof(client->context->name) - 1 && bytes[size] != '\0') {
		name[size] = bytes[size] >= ' ' && bytes[size] <= '~' ? bytes[size] : '?';
		size++;
	}
	name[size] = '\0';
	return true;
}

static bool handle_ping(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)words;
	(void)count;
	return rc_vtest_reply(client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
}

static bool handle_busy_wait(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)words;
	(void)count;
	const uint32_t busy = 0;
	return rc_vtest_reply(client, VTEST_RESOURCE_BUSY_WAIT, &busy, 1);
}

static bool handle_protocol_version(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	uint32_t version = words[0] < VTEST_PROTOCOL_VERSION ? words[0] : VTEST_PROTOCOL_VERSION;
	version = client->refused ? 0 : version;
	return rc_vtest_reply(client, VTEST_PROTOCOL_VERSION_NUM, &version, 1);
}

static bool handle_get_param(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	const bool known = words[0] == VTEST_PARAM_MAX_TIMELINE_COUNT && !client->refused;
	const uint32_t answer[2] = {known, known ? VTEST_MAX_TIMELINES : 0};
	return rc_vtest_reply(client, VTEST_GET_PARAM, answer, 2);
}

static bool handle_get_capset(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	uint32_t answer[1 + VTEST_CAPSET_WORDS] = {0};
	if (words[0] != VTEST_CAPSET_VENUS || client->refused) {
		return rc_vtest_reply(client, VTEST_GET_CAPSET, answer, 1);
	}
	answer[0] = 1;
	rc_vn_guest_capset(client->context->guest, answer + 1);
	return rc_vtest_reply(client, VTEST_GET_CAPSET, answer, 1 + VTEST_CAPSET_WORDS);
}

static bool handle_context_init(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	if (words[0] != VTEST_CAPSET_VENUS || client->initialized || client->refused) {
		rc_vn_context_fail(client->context, "CONTEXT_INIT: capset %u", words[0]);
	}
	client->initialized = true;
	return true;
}

/* ---- blobs ---- */

static struct rc_vn_blob *create_shared_memory(struct rc_vn_context *context, uint64_t size) {
	struct rc_vn_guest *guest = context->guest;
	const uint64_t charge = size + PAGE_SIZE - 1 - (size + PAGE_SIZE - 1) % PAGE_SIZE;
	if (size > guest->limits.shared_bytes ||
		!rc_vn_usage_take64(&guest->usage.shared_bytes, charge, guest->limits.shared_bytes)) {
		atomic_fetch_add(&guest->usage.refused, 1);
		return NULL;
	}
	struct rc_vn_blob *blob = rc_vn_blob_create(size, PAGE_SIZE);
	if (!blob) {
		atomic_fetch_sub(&guest->usage.shared_bytes, charge);
		return NULL;
	}
	rc_vn_blob_charge(blob, &guest->usage.shared_bytes, charge);
	return blob;
}

static struct rc_vn_blob *take_memory(struct rc_vtest_client *client, uint64_t id, uint64_t size) {
	struct rc_vn_context *context = client->context;
	rc_vn_reader_enter(&context->objects, client->stream.reader);
	struct rc_vn_blob *blob = rc_vn_memory_take_blob(context, id, size);
	rc_vn_reader_leave(&context->objects, client->stream.reader);
	return blob;
}

/* There is always an answer: a client that gets none hangs. */
static bool handle_create_blob(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	struct rc_vn_context *context = client->context;
	const uint64_t size = wide(words + 2), id = wide(words + 4);
	if (words[0] != VTEST_BLOB_HOST3D || (words[1] & ~(uint32_t)VTEST_BLOB_FLAGS) || size == 0) {
		rc_vn_context_fail(context, "RESOURCE_CREATE_BLOB: type %u, flags %#x, %llu bytes", words[0], words[1],
			(unsigned long long)size);
		return true;
	}
	struct rc_vn_blob *blob = id ? take_memory(client, id, size) : create_shared_memory(context, size);
	if (!blob) {
		rc_vn_context_log(context, RC_LOG_WARN, "RESOURCE_CREATE_BLOB: refused: %llu bytes of %s %llu",
			(unsigned long long)size, id ? "memory" : "shared memory", (unsigned long long)id);
		blob = rc_vn_blob_ref(client->refusal);
	}
	uint32_t resource = rc_vn_blob_table_add(&context->blobs, blob);
	if (resource == 0) {
		atomic_fetch_add(&context->guest->usage.refused, 1);
		rc_vn_context_fail(context, "RESOURCE_CREATE_BLOB: the client has %u, the limit", context->guest->limits.blobs);
		resource = context->guest->limits.blobs + 1; /* none: it is about to end */
		rc_vn_blob_unref(blob);
		blob = rc_vn_blob_ref(client->refusal);
	} else {
		rc_vn_blob_ref(blob);
	}
	bool sent = rc_vtest_reply(client, VTEST_RESOURCE_CREATE_BLOB, &resource, 1) && rc_vtest_send_fd(client, blob->fd);
	rc_vn_blob_unref(blob);
	return sent;
}

static bool handle_resource_unref(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	rc_vn_blob_table_remove(&client->context->blobs, words[0]);
	return true;
}

/* ---- syncs: counters. Stock clients use none over vtest, so that nothing waits for a GPU here. ---- */

static struct rc_vtest_sync *find_sync(struct rc_vtest_client *client, uint32_t id) {
	if (id == 0 || id > client->sync_count || !client->syncs[id - 1].used) {
		rc_vn_context_fail(client->context, "there is no sync %u", id);
		return NULL;
	}
	return &client->syncs[id - 1];
}

static bool handle_sync_create(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	uint32_t index = 0;
	while (index < client->sync_count && client->syncs[index].used) {
		index++;
	}
	if (index == client->sync_count) {
		const uint32_t more = index ? index * 2 : 16;
		struct rc_vtest_sync *syncs = more <= RC_VTEST_MAX_SYNCS ? realloc(client->syncs, more * sizeof(*syncs)) : NULL;
		if (!syncs) {
			rc_vn_context_fail(client->context, "SYNC_CREATE: the client has %u, the limit", index);
			return true;
		}
		memset(syncs + index, 0, (more - index) * sizeof(*syncs));
		client->syncs = syncs;
		client->sync_count = more;
	}
	client->syncs[index] = (struct rc_vtest_sync){.used = true, .value = wide(words)};
	const uint32_t id = index + 1;
	return rc_vtest_reply(client, VTEST_SYNC_CREATE, &id, 1);
}

static bool handle_sync_unref(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	struct rc_vtest_sync *sync = find_sync(client, words[0]);
	if (sync) {
		sync->used = false;
	}
	return true;
}

static bool handle_sync_read(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	const struct rc_vtest_sync *sync = find_sync(client, words[0]);
	if (!sync) {
		return true;
	}
	const uint32_t value[2] = {(uint32_t)sync->value, (uint32_t)(sync->value >> 32)};
	return rc_vtest_reply(client, VTEST_SYNC_READ, value, 2);
}

static bool handle_sync_write(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	(void)count;
	struct rc_vtest_sync *sync = find_sync(client, words[0]);
	if (sync) {
		sync->value = wide(words + 1);
	}
	return true;
}

static bool handle_sync_wait(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	for (uint32_t i = 2; i + 3 <= count; i += 3) {
		if (!find_sync(client, words[i])) {
			return true;
		}
	}
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0) {
		rc_vn_context_fail(client->context, "SYNC_WAIT: no fd is left");
		return true;
	}
	bool sent = rc_vtest_reply(client, VTEST_SYNC_WAIT, NULL, 0) && rc_vtest_send_fd(client, fd);
	close(fd);
	return sent;
}

/* ---- commands ---- */

/* False: the context has failed. */
static bool submit_batch(
	struct rc_vtest_client *client, const uint32_t *words, uint32_t count, const struct vtest_batch *batch) {
	if (batch->command_offset > count || batch->command_size > count - batch->command_offset ||
		batch->sync_offset > count || batch->sync_count > (count - batch->sync_offset) / 3) {
		rc_vn_context_fail(client->context, "SUBMIT_CMD2: commands or syncs are not in the message");
		return false;
	}
	const uint8_t *cursor = (const uint8_t *)(words + batch->command_offset);
	const uint8_t *end = cursor + (size_t)batch->command_size * sizeof(uint32_t);
	while (cursor < end) {
		if (!rc_vn_stream_step(&client->stream, &cursor, end)) {
			return false;
		}
	}
	for (uint32_t i = 0; i < batch->sync_count; i++) {
		const uint32_t *entry = words + batch->sync_offset + i * 3;
		struct rc_vtest_sync *sync = find_sync(client, entry[0]);
		if (!sync) {
			return false;
		}
		sync->value = wide(entry + 1);
	}
	return true;
}

static bool handle_submit(struct rc_vtest_client *client, const uint32_t *words, uint32_t count) {
	struct vtest_batch batch;
	const uint32_t batches = words[0], words_each = sizeof(batch) / sizeof(uint32_t);
	if (batches > (count - 1) / words_each) {
		rc_vn_context_fail(client->context, "SUBMIT_CMD2: %u batches in %u words", batches, count);
		return true;
	}
	for (uint32_t i = 0; i < batches; i++) {
		memcpy(&batch, words + 1 + i * words_each, sizeof(batch));
		if (!submit_batch(client, words, count, &batch)) {
			break;
		}
	}
	return true;
}

/* ---- messages ---- */

static const struct {
	handler *handle;
	uint16_t words; /* of the payload, exactly; VARIABLE: at least `least` */
	uint16_t least;
	bool early; /* also before CONTEXT_INIT */
} messages[] = {
	[VTEST_RESOURCE_UNREF] = {handle_resource_unref, 1, 0, false},
	[VTEST_RESOURCE_BUSY_WAIT] = {handle_busy_wait, 2, 0, true},
	[VTEST_CREATE_RENDERER] = {handle_create_renderer, VARIABLE, 0, true},
	[VTEST_PING_PROTOCOL_VERSION] = {handle_ping, 0, 0, true},
	[VTEST_PROTOCOL_VERSION_NUM] = {handle_protocol_version, 1, 0, true},
	[VTEST_GET_PARAM] = {handle_get_param, 1, 0, true},
	[VTEST_GET_CAPSET] = {handle_get_capset, 2, 0, true},
	[VTEST_CONTEXT_INIT] = {handle_context_init, 1, 0, true},
	[VTEST_RESOURCE_CREATE_BLOB] = {handle_create_blob, 6, 0, false},
	[VTEST_SYNC_CREATE] = {handle_sync_create, 2, 0, false},
	[VTEST_SYNC_UNREF] = {handle_sync_unref, 1, 0, false},
	[VTEST_SYNC_READ] = {handle_sync_read, 1, 0, false},
	[VTEST_SYNC_WRITE] = {handle_sync_write, 3, 0, false},
	[VTEST_SYNC_WAIT] = {handle_sync_wait, VARIABLE, 2, false},
	[VTEST_SUBMIT_CMD2] = {handle_submit, VARIABLE, 1, false},
};

/* NULL, or what is wrong with a header: where the next one is, nobody knows then. */
static const char *check_header(const struct rc_vtest_client *client, uint32_t length, uint32_t command) {
	if (command >= sizeof(messages) / sizeof(messages[0]) || !messages[command].handle) {
		return "there is no such message";
	}
	const uint32_t expected = messages[command].words;
	if ((expected == VARIABLE ? length < messages[command].least : length != expected) ||
		length > (RC_VTEST_MAX_MESSAGE - VTEST_HEADER_SIZE) / sizeof(uint32_t)) {
		return "length";
	}
	return messages[command].early || client->initialized ? NULL : "before CONTEXT_INIT";
}

/* False: this is the end of the client, or of what can be understood. */
static bool serve_message(struct rc_vtest_client *client) {
	uint32_t header[2];
	if (!rc_vtest_receive(client, VTEST_HEADER_SIZE)) {
		return false;
	}
	memcpy(header, client->buffer + client->begin, VTEST_HEADER_SIZE);
	const uint32_t length = header[0], command = header[1];
	const char *wrong = check_header(client, length, command);
	if (wrong) {
		rc_vn_context_fail(client->context, "vtest: message %u, length %u: %s", command, length, wrong);
		client->garbled = true;
		return false;
	}
	const size_t size = command == VTEST_CREATE_RENDERER ? length : (size_t)length * sizeof(uint32_t);
	if (!rc_vtest_receive(client, VTEST_HEADER_SIZE + size)) {
		return false;
	}
	const uint8_t *payload = client->buffer + client->begin + VTEST_HEADER_SIZE;
	client->begin += VTEST_HEADER_SIZE + size;
	return messages[command].handle(client, (const uint32_t *)(const void *)payload, length);
}

/* A client that has rings learns of its failure there, and ends by itself: its socket must not close before. Without one it can only be let go. */
static bool must_stay(const struct rc_vtest_client *client) {
	return !atomic_load(&client->context->failed) || client->context->ring_count > 0;
}

bool rc_vtest_client_serve(struct rc_vtest_client *client) {
	struct rc_vn_context *context = client->context;
	if (rc_vn_stream_init(&client->stream, context, NULL)) {
		client->stream.socket_fd = client->fd;
		while (!atomic_load(&context->closing) && must_stay(client) && serve_message(client)) {
		}
		while (client->garbled && !atomic_load(&context->closing) && must_stay(client) && rc_vtest_receive(client, 1)) {
			client->begin = client->end = 0;
		}
		rc_vn_stream_finish(&client->stream);
	}
	atomic_store(&context->closing, true);
	rc_vn_rings_set_fatal(context); /* it may have closed one direction only */
	free(client->syncs);
	return rc_vn_rings_destroy_all(context);
}
