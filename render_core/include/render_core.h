/* SPDX-License-Identifier: Apache-2.0
 * The render core's public C API. Plain C with <std*.h> only: the Python binding's cdef is this file. */
#ifndef RENDER_CORE_H
#define RENDER_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Results. Zero is success, > 0 a normal condition, < 0 an error. */
enum rc_result {
	RC_OK = 0,
	RC_AGAIN = 1,
	RC_ERROR_INVALID = -1,
	RC_ERROR_NOMEM = -2,
	RC_ERROR_IO = -3,
	RC_ERROR_DEVICE = -4,
	RC_ERROR_UNSUPPORTED = -5,
};

/* error: something was lost, somebody must act. warn: a peer sent nonsense, or a fallback was taken. info: a state changed.
 * debug: for us. */
enum rc_log_level {
	RC_LOG_ERROR = 0,
	RC_LOG_WARN = 1,
	RC_LOG_INFO = 2,
	RC_LOG_DEBUG = 3,
};

enum rc_limits {
	RC_MAX_SCANOUTS = 16,
	RC_MAX_DAMAGE = 16,
	RC_RING_SLOTS = 4,
	RC_MAX_SIZE = 16384,
	RC_MAX_DIVISOR = 6,
	RC_DEVICE_NAME = 256,
};

/* Planar video formats of the frame ring: BT.709, limited range, 4:2:0. */
enum rc_format {
	RC_FORMAT_I420 = 1,
	RC_FORMAT_NV12 = 2,
};

/* Where pictures are converted. AUTO: by compute shader on a GPU, by vector code on a CPU device (docs/decisions/0002-convert-path.md). */
enum rc_convert_path {
	RC_CONVERT_AUTO = 0,
	RC_CONVERT_CPU = 1,
	RC_CONVERT_GPU = 2,
};

enum rc_device_kind {
	RC_DEVICE_CPU = 1,
	RC_DEVICE_GPU = 2,
};

/* How a slot's memory is handed to a consumer other than by the ring's memfd. */
enum rc_export {
	RC_EXPORT_NONE = 0,
	RC_EXPORT_OPAQUE_FD = 1,
	RC_EXPORT_DMA_BUF = 2,
};

struct rc_rect {
	uint32_t x, y, width, height;
};

/* ---- the core: one guest's display, from its link to the frame ring, and its programs' graphics ---- */

/* Opaque. Owned by one thread; only rc_core_stop() may be called from others. */
struct rc_core;

/* A limit of what Venus clients may use, by its name in docs/protocol/venus-limits.md. */
struct rc_limit {
	const char *name;
	uint64_t value;
};

/* fds: listening AF_UNIX sockets, borrowed (the core dups them): SOCK_SEQPACKET for display and frames (both or none, -1) and machine (-1: none; only with those),
 * SOCK_STREAM for vtest (-1: none), where Venus clients connect. `guard_fd`: connected SOCK_SEQPACKET, borrowed until rc_core_destroy(), the worker's end of
 * the guard link (docs/protocol/guard-link.md); -1: none. `gpu`: "auto", "cpu", an index, or the first hexadecimal digits of a device UUID;
 * NULL = "auto". `log_fd`: lines are written there, -1 = nowhere. */
struct rc_core_params {
	int display_fd;
	int frames_fd;
	int machine_fd;
	int vtest_fd;
	int guard_fd;
	bool vtest_once;      /* rc_core_run() returns when the first Venus client has left */
	bool venus_swapchain; /* Venus clients see the extensions that Mesa 25.0 wants before it offers swapchains */
	const struct rc_limit *limits;
	size_t limit_count; /* those that are not named keep their defaults */
	const char *gpu;
	uint32_t width, height; /* size the display asks the guest for at first, 16..RC_MAX_SIZE */
	uint32_t refresh_mhz;   /* frame rate, 1000..1000000 */
	enum rc_format format;
	enum rc_convert_path convert;
	int log_fd;
	enum rc_log_level log_level;
};

struct rc_device_info {
	enum rc_device_kind kind;
	enum rc_convert_path convert; /* the path taken: RC_CONVERT_CPU or RC_CONVERT_GPU */
	bool import_host;             /* VK_EXT_external_memory_host: guest and ring memory are imported */
	bool export_opaque_fd;
	bool export_dma_buf;
	uint32_t api_version;
	char name[RC_DEVICE_NAME];
};

/* Open the Vulkan device and make the core. On success *out is the caller's, who ends it with rc_core_destroy(). Errors are logged to log_fd. */
enum rc_result rc_core_create(const struct rc_core_params *params, struct rc_core **out);

/* NULL is allowed. All guests and consumers are disconnected, all memory is given back. A driver that hangs keeps what it uses: the process
 * should end soon, without waiting for its threads. */
void rc_core_destroy(struct rc_core *core);

/* Serve until rc_core_stop(), or until `watch_fd` (-1: none; borrowed) reads end of file. Returns RC_OK then, RC_ERROR_DEVICE when the device
 * hangs and nobody uses it any more: a new process may do better. */
enum rc_result rc_core_run(struct rc_core *core, int watch_fd);

/* Make rc_core_run() return. Any thread; async-signal-safe. */
void rc_core_stop(struct rc_core *core);

/* From now on `signal_number` calls rc_core_stop(), until rc_core_destroy(). One core a process. */
enum rc_result rc_core_stop_on_signal(struct rc_core *core, int signal_number);

/* Mark all Venus clients' rings FATAL, for a process that will end without rc_core_destroy(). Any thread. */
void rc_core_end_clients(struct rc_core *core);

/* Whether Venus clients are served: vtest_fd was given, and the device can. */
bool rc_core_serves_venus(const struct rc_core *core);

void rc_core_device_info(const struct rc_core *core, struct rc_device_info *out);

/* ---- the sandbox ---- */

struct rc_sandbox_params {
	uint32_t uid, gid; /* changed to when running as root; 0 keeps them */
	bool allow_open;   /* hardware drivers open their device files late; a CPU device needs no file any more */
};

/* Close every fd above 2 but those listed. First thing in a worker, before any library opens its own. */
void rc_sandbox_close_fds(const int *keep, size_t keep_count);

/* Irrevocable, for all threads of the process: groups and ids dropped, no_new_privs, rlimits, seccomp filter
 * (docs/decisions/0003-sandbox.md). After the device is open, before the first guest byte. RC_ERROR_UNSUPPORTED where the
 * kernel refuses a part: `message` (NUL-terminated) says which and why. */
enum rc_result rc_sandbox_enter(const struct rc_sandbox_params *params, char *message, size_t message_size);

/* ---- the frame ring: the consumer's side (docs/protocol/frame-link.md) ---- */

/* What a RING message said. All of it is checked by rc_consumer_create(). */
struct rc_ring_layout {
	uint32_t format; /* enum rc_format */
	uint32_t width, height, coded_width, coded_height;
	uint32_t source_width, source_height; /* pixels of what the guest shows */
	uint32_t divisor; /* 1..RC_MAX_DIVISOR: width and height are the source's, divided by it and rounded up */
	uint32_t stride;  /* bytes of a row of Y */
	uint32_t slot_count;
	uint64_t slot_offset, slot_size, memfd_size;
};

/* CLOCK_MONOTONIC, ns. */
struct rc_trace {
	uint64_t flush_ns, convert_begin_ns, gpu_done_ns, handoff_ns;
};

struct rc_frame {
	uint32_t slot;
	uint64_t sequence, base_sequence;
	struct rc_trace trace;
	uint32_t damage_count;
	struct rc_rect damage[RC_MAX_DAMAGE];
};

/* Opaque. One thread at a time. */
struct rc_consumer;

/* Map a ring. `memfd` is borrowed. RC_ERROR_INVALID: the layout does not fit itself, its file or its seals. */
enum rc_result rc_consumer_create(const struct rc_ring_layout *layout, int memfd, struct rc_consumer **out);
void rc_consumer_destroy(struct rc_consumer *consumer);

/* Take the newest frame that was not taken yet; RC_AGAIN when there is none. The slot is the caller's until rc_consumer_release(). */
enum rc_result rc_consumer_acquire(struct rc_consumer *consumer, struct rc_frame *out);
void rc_consumer_release(struct rc_consumer *consumer, uint32_t slot);

/* First byte of a slot's planes: slot_size bytes, read-only, valid until rc_consumer_destroy(). NULL: no such slot. */
const uint8_t *rc_consumer_planes(const struct rc_consumer *consumer, uint32_t slot);

/* ---- conversion by itself: tests, benchmarks, the GPU check ---- */

/* A device, a source picture and a ring of its own. Opaque. One thread at a time. */
struct rc_bench;

struct rc_bench_params {
	const char *gpu;
	uint32_t width, height; /* 1..RC_MAX_SIZE */
	uint32_t source_format; /* enum virtio_gpu_formats */
	enum rc_format format;
	enum rc_convert_path convert; /* AUTO as the core would */
	enum rc_export export_type;   /* not NONE: slots are exported device memory, read back through a second import */
	uint32_t divisor;             /* 1..RC_MAX_DIVISOR; 0 as the core would */
	int log_fd;
};

struct rc_bench_result {
	uint64_t convert_ns;  /* first read of the source to planes complete */
	uint64_t handoff_ns;  /* publish, acquire and release */
	uint64_t gpu_ns;      /* timestamps around the dispatch; 0 on the CPU path */
	uint64_t readback_ns; /* exported slots: import and copy into `planes`; else 0 */
};

enum rc_result rc_bench_create(const struct rc_bench_params *params, struct rc_bench **out);
void rc_bench_destroy(struct rc_bench *bench);
void rc_bench_device_info(const struct rc_bench *bench, struct rc_device_info *out);

/* The source's memory: height rows of width * 4 bytes, in the memory a guest would share. */
uint8_t *rc_bench_source(struct rc_bench *bench, size_t *size);
void rc_bench_layout(const struct rc_bench *bench, struct rc_ring_layout *out);

/* Convert `count` rectangles of the source (0: everything) into the next slot, hand it off through the ring and, when planes is not NULL, copy
 * coded_height * 3 / 2 rows of stride bytes out. */
enum rc_result rc_bench_run(
	struct rc_bench *bench, const struct rc_rect *rects, uint32_t count, uint8_t *planes, struct rc_bench_result *out);

#endif
