/* SPDX-License-Identifier: Apache-2.0
 * Memory of Venus clients on a Vulkan device: lavapipe will do. */
#include "../../support/venus_executor.h"
#include "util/clock.h"

static void mapped_memory_is_what_the_gpu_writes(void) {
	struct client client;
	connect(&client, NULL, true);
	struct rc_vn_memory *memory = allocate(&client, 5000, NULL); /* no multiple of pages */
	struct rc_vn_buffer *buffer = create_buffer(&client, 4096, NULL);
	CHECK(!take_blob(&client, memory, 5001) && !rc_vn_memory_take_blob(client.context, 4711, 5000));
	CHECK(!rc_vn_memory_take_blob(client.context, buffer->base.id, 5000));
	struct rc_vn_blob *blob = take_blob(&client, memory, 5000);
	CHECK(blob && blob->mapped >= 5000 && all_are(blob->map, blob->mapped, 0));
	CHECK(!take_blob(&client, memory, 5000)); /* one resource for each memory */
	CHECK(bind(&client, buffer, memory, 512) == VK_SUCCESS);
	run(&client, NULL, buffer, 0xababababu);
	CHECK(all_are(blob->map, 512, 0) && all_are(blob->map + 512, 4096, 0xab));
	uint64_t offset;
	struct rc_vn_blob *seen = rc_vn_blob_slot_get(&buffer->memory, &offset);
	CHECK(seen == blob && offset == 512);
	rc_vn_blob_unref(seen);
	free_memory(&client, memory); /* while it is mapped */
	CHECK(all_are(blob->map + 512, 4096, 0xab));
	rc_vn_blob_unref(blob);
	destroy_buffer(&client, buffer);
	disconnect(&client);
}

static void freed_memory_is_used_again_when_nobody_holds_it(void) {
	struct client client;
	connect(&client, NULL, true);
	struct rc_vn_memory_stats stats;
	struct rc_vn_memory *memory = allocate(&client, 65536, NULL);
	struct rc_vn_buffer *buffer = create_buffer(&client, 4096, NULL);
	CHECK(bind(&client, buffer, memory, 0) == VK_SUCCESS);
	struct rc_vn_blob *first = take_blob(&client, memory, 65536);
	free_memory(&client, memory);
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.cached == 1 && stats.cached_bytes == 65536 && stats.own == 1);

	memory = allocate(&client, 65536, NULL);
	struct rc_vn_blob *second = take_blob(&client, memory, 65536);
	CHECK(second != first); /* the client may still know it as a resource, and the buffer is there */
	free_memory(&client, memory);
	rc_vn_blob_unref(second);

	rc_vn_blob_unref(first);
	memory = allocate(&client, 65536, NULL);
	CHECK(memory->blob.blob == second);
	free_memory(&client, memory);
	destroy_buffer(&client, buffer);
	memory = allocate(&client, 65000, NULL); /* of the same pages */
	struct rc_vn_memory *other = allocate(&client, 65536, NULL);
	CHECK((memory->blob.blob == first && other->blob.blob == second) ||
		  (memory->blob.blob == second && other->blob.blob == first));
	const VkMemoryAllocateFlagsInfo flags = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
	free_memory(&client, memory);
	CHECK(allocate(&client, 65536, &flags)->blob.blob != first);
	const uint64_t now_ns = rc_now_ns();
	rc_vn_memory_pool_tidy(client.device->memory_pool, now_ns);
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.cached == 1); /* freed a moment ago */
	rc_vn_memory_pool_tidy(client.device->memory_pool, now_ns + 4000000000u);
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.cached == 0 && stats.own == 2 && client.guest->usage.memories == 2);
	disconnect(&client); /* the client left two */
}

static void a_full_guest_is_refused_gently(void) {
	struct rc_vn_limits limits = rc_vn_limits_default(true);
	struct client client;
	CHECK(rc_vn_limits_set(&limits, "memory-bytes", 64 * MIB));
	connect(&client, &limits, true);
	struct rc_vn_memory *large = allocate(&client, 48 * MIB, NULL), *small = allocate(&client, 16 * MIB, NULL);
	CHECK(!large->base.poisoned && !small->base.poisoned && !client.device->lost);
	free_memory(&client, small); /* kept, and given up when memory is short */
	small = allocate(&client, 8 * MIB, NULL);
	CHECK(!small->base.poisoned && !client.device->lost);
	client.stream.replying = true; /* who asks learns it, and loses nothing */
	const VkMemoryAllocateInfo info = {
		.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = 16 * MIB, .memoryTypeIndex = client.type};
	VkDeviceMemory id = (VkDeviceMemory)(uintptr_t)client.next_id++;
	struct rc_vn_AllocateMemory args = {
		.device = host(&client), .device_object = &client.device->base, .pAllocateInfo = &info, .pMemory = &id};
	rc_vn_execute_AllocateMemory(&client.stream, &args);
	CHECK(args.ret == VK_ERROR_OUT_OF_DEVICE_MEMORY && !id && !client.device->lost);
	client.stream.replying = false;

	allocate(&client, 8 * MIB - 4096, NULL);
	struct rc_vn_memory *feedback = allocate(&client, 8192, NULL);
	CHECK(feedback->base.poisoned && !feedback->base.handle && client.device->lost && client.guest->usage.refused >= 2);
	/* It can be mapped, so that its client finds an error there; it cannot be bound, and nothing falls over. */
	struct rc_vn_blob *blob = take_blob(&client, feedback, 8192);
	CHECK(blob && all_are(blob->map, 8192, 0) && client.guest->usage.shared_bytes == 8192);
	struct rc_vn_buffer *buffer = create_buffer(&client, 4096, NULL);
	CHECK(bind(&client, buffer, feedback, 0) == VK_ERROR_OUT_OF_DEVICE_MEMORY && buffer->memory.blob == blob);
	rc_vn_blob_unref(blob);
	free_memory(&client, feedback);
	struct rc_vn_memory *more = allocate(&client, 8 * MIB, NULL);
	CHECK(more->base.poisoned && !take_blob(&client, more, 8 * MIB));
	disconnect(&client);
}

static void nonsense_is_refused(void) {
	struct client client;
	for (int what = 0; what < 6; what++) {
		connect(&client, NULL, what % 2 == 0);
		if (what < 3) {
			const VkDeviceSize sizes[] = {0, UINT64_MAX, client.guest->memory.memoryHeaps[0].size + 1};
			CHECK(allocate(&client, sizes[what], NULL)->base.poisoned);
		} else if (what == 3) {
			client.type = client.guest->memory.memoryTypeCount;
			CHECK(allocate(&client, 4096, NULL)->base.poisoned);
		} else {
			struct rc_vn_memory *memory = allocate(&client, 4096, NULL);
			struct rc_vn_buffer *buffer = create_buffer(&client, 1024, NULL);
			CHECK(!client.device->lost);
			CHECK(bind(&client, buffer, memory, what == 4 ? 4096 - 512 : UINT64_MAX - 511) < 0);
		}
		CHECK(client.device->lost);
		disconnect(&client);
	}
	connect(&client, NULL, true);
	CHECK(create_buffer(&client, 0, NULL)->base.poisoned && !client.device->lost);
	disconnect(&client);
}

static void small_allocations_are_ranges_of_zeros(void) {
	struct client client;
	enum { COUNT = 5, SIZE = 100000 };
	connect(&client, NULL, false);
	struct rc_vn_memory *memories[COUNT];
	struct rc_vn_buffer *buffers[COUNT];
	for (int i = 0; i < COUNT; i++) {
		memories[i] = allocate(&client, SIZE, NULL);
		buffers[i] = create_buffer(&client, SIZE, NULL);
		CHECK(memories[i]->block == memories[0]->block && memories[i]->base.handle == memories[0]->base.handle);
		CHECK(!take_blob(&client, memories[i], SIZE));
		CHECK(bind(&client, buffers[i], memories[i], 0) == VK_SUCCESS);
	}
	struct rc_vn_buffer *window = create_window(&client, SIZE);
	const uint8_t *seen = window->memory.blob->map;
	for (uint32_t i = 0; i < COUNT; i++) {
		run(&client, NULL, window, 0x11111111u);
		run(&client, buffers[i], window, 0);
		CHECK(all_are(seen, SIZE, 0));
		run(&client, NULL, buffers[i], 0x01010101u * (i + 2));
	}
	for (uint32_t i = 0; i < COUNT; i++) { /* none is in another's */
		run(&client, buffers[i], window, 0);
		CHECK(all_are(seen, SIZE, (uint8_t)(i + 2)));
	}
	struct rc_vn_memory_stats stats;
	rc_vn_memory_pool_stats(client.device->memory_pool, &stats);
	CHECK(stats.blocks == 1 && stats.allocations == COUNT && stats.used_bytes == COUNT * SIZE && stats.own == 1);
	const VkBufferDeviceAddressInfo address = {
		.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = (VkBuffer)(uintptr_t)buffers[1]->base.handle};
	CHECK(client.device->vk.GetBufferDeviceAddress(host(&client), &address));
	free_memory(&client, memories[1]);
	destroy_buffer(&client, buffers[1]);
	struct rc_vn_memory *again = allocate(&client, SIZE, NULL);
	CHECK(again->block == memories[0]->block && again->offset == 131072);
	disconnect(&client);
}

static void large_allocations_are_their_own(void) {
	struct client client;
	connect(&client, NULL, false);
	const VkDeviceSize size = rc_vn_memory_blocks_limit(&client.device->memory_pool->blocks, client.type) + 4095;
	struct rc_vn_memory *memory = allocate(&client, size, NULL);
	CHECK(!memory->base.poisoned && !memory->block && memory->offset == 0 && memory->size == size);
	CHECK(client.guest->usage.memory_bytes >= size && client.guest->usage.visible_bytes == 0);
	struct rc_vn_buffer *buffer = create_buffer(&client, size & ~UINT64_C(4095), NULL);
	struct rc_vn_buffer *window = create_window(&client, buffer->size);
	CHECK(bind(&client, buffer, memory, 0) == VK_SUCCESS);
	run(&client, NULL, window, 0x11111111u);
	run(&client, buffer, window, 0);
	CHECK(all_are(window->memory.blob->map, buffer->size, 0)); /* lavapipe's would not be: it comes from malloc() */
	destroy_buffer(&client, buffer);
	struct rc_vn_memory_stats before, after;
	rc_vn_memory_pool_stats(client.device->memory_pool, &before);
	free_memory(&client, memory);
	rc_vn_memory_pool_stats(client.device->memory_pool, &after);
	CHECK(before.own == after.own + 1 && before.own_bytes - after.own_bytes >= size && !after.blocks);
	disconnect(&client);
}

int main(void) {
	rc_log_init(&sink, getenv("TEST_LOG") ? 2 : -1, RC_LOG_DEBUG);
	if (rc_device_create(&sink, "auto", &worker) != RC_OK) {
		return SKIPPED;
	}
	mapped_memory_is_what_the_gpu_writes();
	freed_memory_is_used_again_when_nobody_holds_it();
	a_full_guest_is_refused_gently();
	nonsense_is_refused();
	small_allocations_are_ranges_of_zeros();
	large_allocations_are_their_own();
	rc_device_destroy(worker);
	return 0;
}
