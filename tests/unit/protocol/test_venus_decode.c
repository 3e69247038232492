/* SPDX-License-Identifier: Apache-2.0
 * What the decoder refuses, what it says of it, and what it makes of ids. */
#include <stdio.h>

#include "../render_core/check.h"
#include "venus_codec.h"

static struct codec codec;
static struct rc_vn_object devices[2];
/* Words of the command that is put together. */
static uint32_t words[4096];
static size_t word_count;

static void put(uint32_t word) {
	words[word_count++] = word;
}

static void put64(uint64_t value) {
	put((uint32_t)value);
	put((uint32_t)(value >> 32));
}

/* Ids: 1 and 2 devices, 3 poisoned, 4 unknown, 5 of another type, 100 and above of the second device, others of the first. */
static struct rc_vn_object *find(void *context, uint64_t id, VkObjectType type) {
	if (id == 1 || id == 2) {
		return &devices[id - 1];
	}
	if (id == 4) {
		return NULL;
	}
	struct rc_vn_object *object = codec_find(context, id, id == 5 ? VK_OBJECT_TYPE_EVENT : type);
	object->device = &devices[id >= 100];
	object->poisoned = id == 3;
	object->handle = id == 3 ? 0 : id + 1000;
	return object;
}

static void begin(void) {
	codec_reset(&codec);
	word_count = 0;
}

static struct rc_vn_decoder decoder(void) {
	struct rc_vn_decoder dec = codec_decoder(&codec, (const uint8_t *)words, word_count * 4);
	dec.find = find;
	return dec;
}

static void check_error(const struct rc_vn_decoder *dec, const char *field, const char *error) {
	if (!dec->error || strcmp(dec->error, error) != 0 || strcmp(dec->error_field, field) != 0) {
		fprintf(stderr, "%s: %s; wanted: %s: %s\n", dec->error ? dec->error_field : "",
			dec->error ? dec->error : "fine", field, error);
		abort();
	}
	CHECK(dec->cursor == dec->end);
}

static void check_fine(const struct rc_vn_decoder *dec) {
	if (dec->error) {
		fprintf(stderr, "%s: %s\n", dec->error_field, dec->error);
	}
	CHECK(!dec->error && dec->cursor == dec->end);
}

/* vkCmdBindPipeline(buffer, 0, pipeline) */
static struct rc_vn_CmdBindPipeline bind_pipeline(struct rc_vn_decoder *dec, uint64_t buffer, uint64_t pipeline) {
	begin();
	put64(buffer);
	put(0);
	put64(pipeline);
	struct rc_vn_CmdBindPipeline args;
	*dec = decoder();
	rc_vn_decode_CmdBindPipeline(dec, &args);
	return args;
}

static void test_ids(void) {
	struct rc_vn_decoder dec;
	struct rc_vn_CmdBindPipeline args = bind_pipeline(&dec, 10, 11);
	check_fine(&dec);
	CHECK(args.pipeline == (VkPipeline)(uintptr_t)1011 && args.pipeline_object->id == 11 && !dec.poisoned);
	CHECK(args.commandBuffer == (VkCommandBuffer)(uintptr_t)1010 && dec.device == &devices[0]);
	args = bind_pipeline(&dec, 10, 3);
	check_fine(&dec);
	CHECK(dec.poisoned && !args.pipeline && args.pipeline_object->id == 3);
	bind_pipeline(&dec, 10, 4);
	check_error(&dec, "pipeline", "no object has this id");
	bind_pipeline(&dec, 10, 5);
	check_error(&dec, "pipeline", "the object with this id is of another type");
	bind_pipeline(&dec, 10, 100);
	check_error(&dec, "pipeline", "the object belongs to another device");
	bind_pipeline(&dec, 100, 101);
	check_fine(&dec);
	bind_pipeline(&dec, 10, 0);
	check_error(&dec, "pipeline", "the handle is 0");
	bind_pipeline(&dec, 0, 11);
	check_error(&dec, "commandBuffer", "the handle is 0");
}

static void test_kept_objects(void) {
	begin();
	put64(10);
	put(1);
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_SUBMIT_INFO);
	put64(0);
	put(0);
	put64(0);
	put64(0);
	put(2);
	put64(2);
	put64(3);
	put64(11);
	put(0);
	put64(0);
	put64(0);
	struct rc_vn_decoder dec = decoder();
	struct rc_vn_QueueSubmit args;
	rc_vn_decode_QueueSubmit(&dec, &args);
	check_fine(&dec);
	const struct rc_vn_object *first = (const void *)args.pSubmits[0].pCommandBuffers[0];
	const struct rc_vn_object *second = (const void *)args.pSubmits[0].pCommandBuffers[1];
	CHECK(first->poisoned && first->id == 3 && second->id == 11 && second->handle == 1011 && !dec.poisoned);
	CHECK(!args.fence && !args.fence_object);
}

/* vkCreateBuffer up to the chain */
static void begin_buffer(void) {
	begin();
	put64(1);
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO);
}

static struct rc_vn_CreateBuffer end_buffer(struct rc_vn_decoder *dec, uint32_t indices, uint64_t array) {
	put(0);
	put64(4096);
	put(3);
	put(0);
	put(indices);
	put64(array);
	for (uint64_t i = 0; i < array && i < 8; i++) {
		put(7);
	}
	put64(0);
	put64(1);
	put64(50);
	*dec = decoder();
	struct rc_vn_CreateBuffer args;
	rc_vn_decode_CreateBuffer(dec, &args);
	return args;
}

static void test_chains(void) {
	struct rc_vn_decoder dec;
	begin_buffer();
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_BUFFER_OPAQUE_CAPTURE_ADDRESS_CREATE_INFO);
	put64(0);
	put64(0x123456789);
	put(0x200);
	struct rc_vn_CreateBuffer args = end_buffer(&dec, 0, 0);
	check_fine(&dec);
	const VkExternalMemoryBufferCreateInfo *external = args.pCreateInfo->pNext;
	const VkBufferOpaqueCaptureAddressCreateInfo *address = external->pNext;
	CHECK(external->handleTypes == 0x200 && address->opaqueCaptureAddress == 0x123456789 && !address->pNext);
	CHECK(args.pCreateInfo->size == 4096 && *args.pBuffer == (VkBuffer)(uintptr_t)50 && !args.pAllocator);

	begin_buffer();
	for (int i = 0; i < 2; i++) {
		put64(1);
		put((uint32_t)VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
	}
	end_buffer(&dec, 0, 0);
	check_error(&dec, "VkBufferCreateInfo.pNext", "a struct is in the chain twice");

	begin_buffer();
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO);
	end_buffer(&dec, 0, 0);
	check_error(&dec, "VkBufferCreateInfo.pNext", "a struct is in the chain that is not known there");

	begin_buffer();
	put64(2);
	end_buffer(&dec, 0, 0);
	check_error(&dec, "VkBufferCreateInfo.pNext", "the word for a pointer is neither 0 nor 1");
}

static void test_counts(void) {
	struct rc_vn_decoder dec;
	begin_buffer();
	put64(0);
	struct rc_vn_CreateBuffer args = end_buffer(&dec, 3, 3);
	check_fine(&dec);
	CHECK(args.pCreateInfo->queueFamilyIndexCount == 3 && args.pCreateInfo->pQueueFamilyIndices[2] == 7);
	begin_buffer();
	put64(0);
	args = end_buffer(&dec, 3, 0);
	check_fine(&dec);
	CHECK(args.pCreateInfo->queueFamilyIndexCount == 3 && !args.pCreateInfo->pQueueFamilyIndices);
	begin_buffer();
	put64(0);
	end_buffer(&dec, 3, 2);
	check_error(&dec, "VkBufferCreateInfo.pQueueFamilyIndices", "the array's length is not its count");
	begin_buffer();
	put64(0);
	end_buffer(&dec, UINT32_MAX, UINT32_MAX);
	check_error(&dec, "VkBufferCreateInfo.pQueueFamilyIndices", "the command is too short for so many elements");

	/* vkCmdSetScissor(buffer, 0, 2, NULL) */
	begin();
	put64(10);
	put(0);
	put(2);
	put64(0);
	dec = decoder();
	struct rc_vn_CmdSetScissor scissor;
	rc_vn_decode_CmdSetScissor(&dec, &scissor);
	check_error(&dec, "pScissors", "it is NULL, and its count is not 0");

	/* vkGetPhysicalDeviceQueueFamilyProperties(device, 100000, ...) */
	begin();
	put64(10);
	put64(1);
	put(100000);
	put64(100000);
	dec = decoder();
	struct rc_vn_GetPhysicalDeviceQueueFamilyProperties families;
	rc_vn_decode_GetPhysicalDeviceQueueFamilyProperties(&dec, &families);
	check_error(&dec, "pQueueFamilyProperties", "more elements than may be asked for");

	/* vkGetPipelineCacheData(device, cache, 2^40, ...) */
	begin();
	put64(1);
	put64(10);
	put64(1);
	put64(1ull << 40);
	put64(1ull << 40);
	dec = decoder();
	struct rc_vn_GetPipelineCacheData cache;
	rc_vn_decode_GetPipelineCacheData(&dec, &cache);
	check_error(&dec, "pData", "the command needs more memory than one may have");
}

/* vkCreateInstance with a layer of this name */
static void create_instance(struct rc_vn_decoder *dec, uint64_t size, const char *bytes) {
	begin();
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
	put64(0);
	put(0);
	put64(0);
	put(1);
	put64(1);
	put64(size);
	memcpy(&words[word_count], bytes, 8);
	word_count += 2;
	put(0);
	put64(0);
	put64(0);
	put64(1);
	put64(9);
	*dec = decoder();
	struct rc_vn_CreateInstance args;
	rc_vn_decode_CreateInstance(dec, &args);
	CHECK(dec->error || strcmp(args.pCreateInfo->ppEnabledLayerNames[0], bytes) == 0);
}

static void test_strings(void) {
	const char *field = "VkInstanceCreateInfo.ppEnabledLayerNames";
	struct rc_vn_decoder dec;
	create_instance(&dec, 7, "middle\0");
	check_fine(&dec);
	create_instance(&dec, 6, "middle\0");
	check_error(&dec, field, "the string does not end where its length says");
	create_instance(&dec, 8, "middle\0");
	check_error(&dec, field, "the string does not end where its length says");
	create_instance(&dec, UINT64_MAX, "middle\0");
	check_error(&dec, field, "the command is too short for the string");
	create_instance(&dec, 0, "middle\0");
	check_error(&dec, field, "it is NULL");
}

static void test_values(void) {
	/* vkCmdSetDepthTestEnable(buffer, 42) */
	begin();
	put64(10);
	put(42);
	struct rc_vn_decoder dec = decoder();
	struct rc_vn_CmdSetDepthTestEnable depth;
	rc_vn_decode_CmdSetDepthTestEnable(&dec, &depth);
	check_fine(&dec);
	CHECK(depth.depthTestEnable == VK_TRUE);

	/* vkCmdDrawMultiEXT(buffer, 2 draws, 1, 0, stride 16) */
	begin();
	put64(10);
	put(2);
	put64(2);
	put64(0);
	put64(0);
	put(1);
	put(0);
	put(16);
	dec = decoder();
	struct rc_vn_CmdDrawMultiEXT draw;
	rc_vn_decode_CmdDrawMultiEXT(&dec, &draw);
	check_error(&dec, "stride", "the elements are packed on the wire");

	/* vkCreateShaderModule(device, 6 bytes of code) */
	begin();
	put64(1);
	put64(1);
	put((uint32_t)VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO);
	put64(0);
	put(0);
	put64(6);
	put64(1);
	put(0);
	dec = decoder();
	struct rc_vn_CreateShaderModule module;
	rc_vn_decode_CreateShaderModule(&dec, &module);
	check_error(&dec, "VkShaderModuleCreateInfo.codeSize", "it is no multiple of 4");

	/* vkCmdSetBlendConstants(buffer, 3 of 4) */
	begin();
	put64(10);
	put64(3);
	dec = decoder();
	struct rc_vn_CmdSetBlendConstants blend;
	rc_vn_decode_CmdSetBlendConstants(&dec, &blend);
	check_error(&dec, "blendConstants", "the array's length is not that of its type");
}

/* Arrays of 8-byte elements are copied where the bytes do not allow to use them in place. */
static void test_alignment(void) {
	for (int shift = 0; shift < 2; shift++) {
		begin();
		put64(10);
		if (shift) {
			word_count = 0;
			put(0);
			put64(10);
		}
		put(0);
		put(1);
		put64(1);
		put64(11);
		put64(1);
		put64(0x1122334455667788);
		struct rc_vn_decoder dec = decoder();
		dec.cursor += shift * 4;
		struct rc_vn_CmdBindVertexBuffers args;
		rc_vn_decode_CmdBindVertexBuffers(&dec, &args);
		check_fine(&dec);
		CHECK(args.pOffsets[0] == 0x1122334455667788 && (uintptr_t)args.pOffsets % 8 == 0);
	}
}

static void test_overflow(void) {
	uint8_t room[12];
	struct rc_vn_CreateBuffer args = {.pBuffer = &(VkBuffer){(VkBuffer)(uintptr_t)50}};
	struct rc_vn_encoder enc = {.cursor = room, .end = room + sizeof(room)};
	rc_vn_encode_CreateBuffer_reply(&enc, &args);
	CHECK(enc.overflow && enc.cursor <= room + sizeof(room));
}

static void test_scratch(void) {
	struct rc_vn_scratch scratch;
	rc_vn_scratch_init(&scratch, 1 << 20);
	for (int round = 0; round < 3; round++) {
		size_t total = 0;
		for (size_t size = 0; total + size <= 1 << 20; size = size * 3 / 2 + 1) {
			uint8_t *memory = rc_vn_scratch_alloc(&scratch, size);
			CHECK(memory && (uintptr_t)memory % RC_VN_SCRATCH_ALIGN == 0);
			for (size_t i = 0; i < size; i++) {
				CHECK(memory[i] == 0);
			}
			memset(memory, 0xff, size);
			total += size;
		}
		CHECK(!rc_vn_scratch_alloc(&scratch, (1 << 20) - total + 1) && !rc_vn_scratch_alloc(&scratch, SIZE_MAX));
		rc_vn_scratch_reset(&scratch);
	}
	rc_vn_scratch_finish(&scratch);
}

int main(void) {
	codec_init(&codec);
	codec.scratch.limit = 32 << 20;
	for (int i = 0; i < 2; i++) {
		devices[i] = (struct rc_vn_object){
			.id = (uint64_t)i + 1, .type = VK_OBJECT_TYPE_DEVICE, .device = &devices[i], .handle = 1};
	}
	test_ids();
	test_kept_objects();
	test_chains();
	test_counts();
	test_strings();
	test_values();
	test_alignment();
	test_overflow();
	test_scratch();
	codec_finish(&codec);
	return 0;
}
