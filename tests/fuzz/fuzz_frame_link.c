/* SPDX-License-Identifier: Apache-2.0
 * A streamer that sends anything: the worker must live, for its guest's sake. Input: records of `u8 length, bytes`, raw packets. */
#include "../support/display_peer.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct display_peer peer;
	static uint8_t received[RC_PACKET_MAX];
	display_peer_init(&peer);
	struct rc_surface *surface = rc_surface_create(64 * 64 * 4);
	const struct rc_picture picture = {.surface = surface, .stride = 256, .width = 64, .height = 64, .format = 1};
	rc_scanout_show(&peer.scanouts[0], &picture, &peer, 1);
	rc_surface_unref(surface);
	uint64_t now = UINT64_C(1) << 62;
	while (size >= 1 && !peer.frames->closed) {
		size_t length = data[0] < size - 1 ? data[0] : size - 1;
		memcpy(peer.frames->packet.data, data + 1, length);
		peer.frames->packet.size = length;
		if (length) {
			rc_frame_link_handle(peer.frames, &peer.frames->packet);
		}
		now += RC_NEWS_INTERVAL_NS / 2;
		rc_scanout_service(&peer.scanouts[0], now);
		data += 1 + length;
		size -= 1 + length;
		struct rc_packet packet = {.data = received};
		while (rc_packet_receive(peer.streamer, &packet) == RC_PACKET_OK) {
			rc_packet_close_fds(&packet);
		}
	}
	display_peer_finish(&peer);
	return 0;
}
