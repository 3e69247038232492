/* SPDX-License-Identifier: Apache-2.0
 * A front-end that says anything and a driver whose queues hold anything. Input: records of `u8 kind, u8 length low, u8 length high, bytes`. Kind 0: a vhost-user message
 * (`u8 request, u8 count of fds, u8 flags`, payload); 1, 2: a request of the control or cursor queue, well put; 3: `u16 offset`, bytes written over the first
 * region from there, and kicks; 4: time passes; 5: the worker dies and another takes over, with `u32 offset` and bytes written over the journal. Whatever came
 * before, a driver that begins anew must be served. */
#include "../support/vhost_peer.h"
#include "fuzz.h"

static void kick(struct vhost_peer *peer) {
	for (uint32_t i = 0; i < RC_VHOST_QUEUES; i++) {
		eventfd_write(peer->queues[i].kick, 1);
	}
	peer_turn(peer);
}

static void message(struct vhost_peer *peer, const uint8_t *bytes, size_t size) {
	if (size < 3) {
		return;
	}
	uint8_t data[12 + RC_VHOST_MAX_PAYLOAD], reply[2048];
	const size_t payload = size - 3 < RC_VHOST_MAX_PAYLOAD ? size - 3 : RC_VHOST_MAX_PAYLOAD;
	const struct rc_vhost_header header = {bytes[0], bytes[2], (uint32_t)payload};
	const int fds[3] = {peer->ram_fd[0], peer->ram_fd[1], peer->queues[0].kick};
	memcpy(data, &header, sizeof(header));
	memcpy(data + sizeof(header), bytes + 3, payload);
	qemu_send(peer, data, sizeof(header) + payload, fds, bytes[1] % 4);
	peer_turn(peer);
	while (recv(peer->qemu, reply, sizeof(reply), MSG_DONTWAIT) > 0) {
	}
}

/* As a driver that knows what it does, whatever the rings hold. */
static void request(struct vhost_peer *peer, uint32_t index, const uint8_t *bytes, size_t size) {
	struct rc_vhost_queue *queue = &peer->device->queues[index];
	if (!queue->running || queue->ring.layout.descriptors != USER0 + peer->queues[index].at ||
		queue->ring.layout.size != QUEUE_SIZE || size > REQUEST_BYTES) {
		return;
	}
	memcpy(guest_at(peer, REQUESTS_AT), bytes, size);
	put_descriptor(peer, peer->queues[index].at, 0, REQUESTS_AT, (uint32_t)size, 1, 1);
	put_descriptor(peer, peer->queues[index].at, 1, RESPONSES_AT, 0x600, 2, 0);
	peer->queues[index].available = queue->ring.next_available;
	offer(peer, index, 0);
	kick(peer);
}

static void take_over(struct vhost_peer *peer, const uint8_t *bytes, size_t size) {
	uint32_t offset;
	peer_kill_device(peer);
	if (size > sizeof(offset)) {
		memcpy(&offset, bytes, sizeof(offset));
		offset %= SMALL_JOURNAL_BYTES;
		const size_t room = SMALL_JOURNAL_BYTES - offset, length = size - sizeof(offset);
		CHECK(pwrite(peer->journal, bytes + sizeof(offset), length < room ? length : room, offset) > 0);
	}
	peer_connect(peer, true);
	qemu_start(peer, 0, 0);
}

static void serve(struct vhost_peer *peer, uint8_t kind, const uint8_t *bytes, size_t size, uint64_t *now) {
	switch (kind % 6) {
	case 0:
		message(peer, bytes, size);
		break;
	case 1:
	case 2:
		request(peer, kind % 6 - 1, bytes, size);
		break;
	case 3:
		if (size > 2) {
			const size_t offset = bytes[0] | (size_t)bytes[1] << 8;
			memcpy(guest_at(peer, offset), bytes + 2, size - 2);
			kick(peer);
		}
		break;
	case 4:
		*now += 20000000;
		peer_service(peer, *now);
		break;
	default:
		take_over(peer, bytes, size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct vhost_peer peer;
	peer_init_journal(&peer, size & 1, false, SMALL_JOURNAL_BYTES);
	qemu_start(&peer, 0, 0);
	peer_watch(&peer);
	uint64_t now = UINT64_C(1) << 62;
	for (int records = 0; size >= 3 && records < 64 && peer.device; records++) {
		size_t length = (size_t)data[1] | (size_t)data[2] << 8;
		uint8_t kind = data[0];
		data += 3;
		size -= 3;
		length = length < size ? length : size;
		serve(&peer, kind, data, length, &now);
		data += length;
		size -= length;
	}
	if (!peer.device) {
		close(peer.qemu);
		peer_connect(&peer, false);
	}
	qemu_stop_queue(&peer, 0);
	qemu_stop_queue(&peer, 1);
	driver_reset(&peer);
	qemu_start(&peer, 0, 0);
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	CHECK(ask(&peer, 0, &info, sizeof(info)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	CHECK(create_2d(&peer, 1, 16, 16) == VIRTIO_GPU_RESP_OK_NODATA);
	peer_finish(&peer);
	return 0;
}
