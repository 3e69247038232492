/* SPDX-License-Identifier: Apache-2.0
 * A guest that sends anything. Input: records of `u8 kind, u8 length low, u8 length high, bytes`. Kind 0: a raw packet; 1: the body of a
 * CONTROL message; 2: of a CURSOR message; 3: an ADD_REGION body with a sealed memfd; 4: time passes. Whatever came before, the next good
 * command must be answered well. */
#include "../support/display_peer.h"
#include "fuzz.h"

enum { REGION = 1 << 20 };

static void drain(struct display_peer *peer) {
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	while (take_answer(peer, &header, &hdr)) {
	}
	static uint8_t data[RC_PACKET_MAX];
	struct rc_packet packet = {.data = data};
	while (rc_packet_receive(peer->streamer, &packet) == RC_PACKET_OK) {
		rc_packet_close_fds(&packet);
	}
}

static void serve(struct display_peer *peer, uint8_t kind, const uint8_t *body, size_t size, uint64_t *now) {
	switch (kind % 5) {
	case 0:
		if (size) {
			give_packet(peer, body, size, -1);
		}
		break;
	case 1:
		give(peer, 4, body, size, -1);
		break;
	case 2:
		give(peer, 5, body, size, -1);
		break;
	case 3:
		give(peer, 2, body, size, make_memfd(65536, true));
		break;
	default:
		*now += 10000000;
		for (uint32_t i = 0; i < RC_MAX_SCANOUTS; i++) {
			rc_scanout_service(&peer->scanouts[i], *now);
		}
	}
	drain(peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct display_peer peer;
	display_peer_init(&peer);
	say_hello(&peer);
	CHECK(add_region(&peer, 0x10000, REGION, make_memfd(REGION, true)) == VIRTIO_GPU_RESP_OK_NODATA);
	const uint32_t messages[2][6] = {{24, 1, 0, 0, 1, 0}, {24, 2, 0, 0, 0, 1}}; /* HELLO, SET_ACTIVE of the streamer */
	for (int i = 0; i < 2; i++) {
		memcpy(peer.frames->packet.data, messages[i], sizeof(messages[i]));
		peer.frames->packet.size = sizeof(messages[i]);
		rc_frame_link_handle(peer.frames, &peer.frames->packet);
	}
	uint64_t now = UINT64_C(1) << 62;
	for (int records = 0; size >= 3 && records < 64; records++) {
		size_t length = (size_t)data[1] | (size_t)data[2] << 8;
		uint8_t kind = data[0];
		data += 3;
		size -= 3;
		length = length < size ? length : size;
		serve(&peer, kind, data, length, &now);
		data += length;
		size -= length;
	}
	CHECK(!peer.link->closed);
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	CHECK(ask(&peer, 4, &info, sizeof(info), -1) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	display_peer_finish(&peer);
	return 0;
}
