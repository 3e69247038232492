/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_PIXEL_FORMAT_H
#define RC_PIXEL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "decode/virtio_gpu_protocol.h"

/* Byte positions inside a 32-bit pixel. */
struct rc_pixel_format {
	uint8_t red, green, blue, alpha;
	bool has_alpha;
};

/* `format` is one that rc_format_is_known() accepts. */
static inline struct rc_pixel_format rc_pixel_format(uint32_t format) {
	switch (format) {
	case VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM:
	case VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM:
		return (struct rc_pixel_format){0, 1, 2, 3, format == VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM};
	case VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM:
	case VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM:
		return (struct rc_pixel_format){1, 2, 3, 0, format == VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM};
	case VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM:
	case VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM:
		return (struct rc_pixel_format){3, 2, 1, 0, format == VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM};
	default:
		return (struct rc_pixel_format){2, 1, 0, 3, format == VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM};
	}
}

#endif
