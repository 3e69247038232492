/* SPDX-License-Identifier: Apache-2.0
 * What the executor keeps for each kind of Vulkan object. Kinds that need no more than rc_vn_object use it as it is. */
#ifndef RC_VN_OBJECTS_H
#define RC_VN_OBJECTS_H

#include "execute/venus/blob_slot.h"
#include "execute/venus/context.h"

struct rc_vn_memory_pool; /* execute/venus/memory_pool.h: device-local blocks of one device */

struct rc_vn_device {
	struct rc_vn_object base;
	struct rc_vn_context *context;
	struct rc_vn_device_functions vk; /* generated: entry points by device */
	_Atomic bool lost;                /* VK_ERROR_DEVICE_LOST, a hung queue, or a failed asynchronous allocation */
	_Atomic bool abandoned;           /* hung: neither waited for nor destroyed */
	_Atomic bool settled;             /* lost, and nothing runs any more */
	struct rc_list queues;            /* of rc_vn_queue::link; fixed after creation */
	pthread_mutex_t feedback_mutex;
	struct rc_list feedback;   /* of rc_vn_command_buffer::feedback_link; under feedback_mutex */
	uint64_t feedback_queries; /* in all of them; under feedback_mutex */
	struct rc_vn_memory_pool *memory_pool;
	bool buffer_device_address; /* enabled: blocks need VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT */
	struct rc_list watch_link;  /* rc_vn_watchdog::devices */
};

struct rc_vn_queue {
	struct rc_vn_object base; /* in the table from vkGetDeviceQueue2 on; id 0 before */
	_Atomic bool named;       /* vkGetDeviceQueue2 was called: by one thread only */
	struct rc_list link;      /* rc_vn_device::queues */
	struct rc_vn_device *device;
	VkQueue queue;
	uint32_t family, index;
	VkDeviceQueueCreateFlags flags;
	pthread_mutex_t mutex; /* of vkQueue* calls */
	/* A fence behind the work so far, for back-pressure and for the watchdog. Under `mutex`. */
	VkFence probe;
	uint64_t probe_since_ns; /* 0: not pending */
	uint32_t submits_since_probe;
	/* Submissions so far (under `mutex`), and how many of them a fence has shown to be done: equal when the queue is idle for sure. */
	uint64_t submitted;
	_Atomic uint64_t completed;
};

struct rc_vn_memory {
	struct rc_vn_object base; /* handle: the host's VkDeviceMemory (of the whole block when suballocated) */
	VkDeviceSize size;        /* as the client asked */
	VkDeviceSize offset;      /* in `handle`: added at every bind */
	VkDeviceSize host_size;   /* as was asked of the host; a range's: its block's leaves not counted */
	uint32_t type_index;
	VkMemoryAllocateFlags flags;      /* the host's */
	struct rc_vn_blob_slot blob;      /* host-visible to the client: its memfd, also when it is poisoned; else empty */
	struct rc_vn_memory_block *block; /* suballocated from; NULL: an allocation of its own */
	bool recyclable;                  /* goes to the pool's cache */
	_Atomic bool freed;               /* by one of two threads that destroy it or its device */
	_Atomic bool blob_taken;          /* the client has asked for it */
};

struct rc_vn_buffer {
	struct rc_vn_object base;
	VkDeviceSize size;
	struct rc_vn_blob_slot memory; /* where the client sees it; empty when it is bound to none or other memory */
};

struct rc_vn_semaphore {
	struct rc_vn_object base;
	bool timeline;
	/* vkImportSemaphoreResourceMESA: holds an already signalled temporary payload, which the next wait consumes. */
	_Atomic bool signalled;
};

struct rc_vn_fence {
	struct rc_vn_object base;
	_Atomic bool signalled; /* by us, for a submission that the host never saw; the host's own is not */
	_Atomic(struct rc_vn_queue *)
		queue; /* of the last submission that the host saw, its number there; the queue lives as long as the device */
	_Atomic uint64_t submission;
};

/* What a client's driver appends to learn of progress without asking (docs/protocol/venus.md, feedback). */
enum rc_vn_feedback {
	RC_VN_FEEDBACK_NONE,
	RC_VN_FEEDBACK_FENCE,    /* vkCmdFillBuffer of 4 bytes: a VkResult */
	RC_VN_FEEDBACK_TIMELINE, /* vkCmdCopyBuffer of 8 bytes: a counter's value */
	RC_VN_FEEDBACK_QUERIES,  /* vkCmdCopyQueryPoolResults, any number of them: results of 64 bits, with availability */
};

/* Where one vkCmdCopyQueryPoolResults writes: `count` times `stride` bytes, of which the last eight say whether the others are there. */
struct rc_vn_query_feedback {
	struct rc_vn_blob *blob; /* referenced */
	uint64_t offset;
	uint32_t stride, count;
};

struct rc_vn_command_buffer {
	struct rc_vn_object base; /* parent: its pool */
	struct rc_vn_device *device;
	VkCommandBufferLevel level;
	bool begun;     /* the host's has been begun, and not ended */
	bool unusable;  /* something recorded since vkBeginCommandBuffer could not be: it is left out of submissions */
	uint64_t bytes; /* recorded */
	_Atomic uint64_t bytes_taken; /* of usage.command_buffer_bytes, for them */
	uint32_t work;                /* commands recorded since vkBeginCommandBuffer, but for barriers without images */
	enum rc_vn_feedback feedback; /* this and what follows: under feedback_mutex where other rings could see it */
	bool feedback_closed;         /* out of the table: there is no feedback any more */
	struct rc_list feedback_link; /* rc_vn_device::feedback, when there is feedback */
	struct rc_vn_blob *feedback_blob, *feedback_source_blob; /* referenced; the source is a timeline's only */
	uint64_t feedback_offset, feedback_source_offset;
	uint32_t feedback_value;              /* FENCE: what is filled in */
	struct rc_vn_query_feedback *queries; /* QUERIES */
	uint32_t query_count, query_room;
};

struct rc_vn_query_pool {
	struct rc_vn_object base;
	uint32_t count;
};

/* Command pools and descriptor pools: parent of their command buffers and sets. */
struct rc_vn_pool {
	struct rc_vn_object base;
};

#define rc_vn_from(type, object) ((struct type *)(object))

#endif
