/* SPDX-License-Identifier: Apache-2.0
 * The display link and the virtio-gpu commands behind it: right answers to right and wrong requests. */
#include "../../support/display_peer.h"

enum { WIDTH = 64, HEIGHT = 48, SIZE = WIDTH * HEIGHT * 4, BASE = 0x10000, REGION = 65536 };

static uint32_t control(struct display_peer *peer, const void *body, size_t size) {
	return ask(peer, 4, body, size, -1);
}

#define CONTROL(peer, ...)                                                                                             \
	({                                                                                                                 \
		__typeof__(__VA_ARGS__) body_ = __VA_ARGS__;                                                                   \
		control(peer, &body_, sizeof(body_));                                                                          \
	})

static uint32_t create_2d(struct display_peer *peer, uint32_t id, uint32_t format, uint32_t width, uint32_t height) {
	return CONTROL(peer, (struct virtio_gpu_resource_create_2d){.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
							 .resource_id = id,
							 .format = format,
							 .width = width,
							 .height = height});
}

static uint32_t with_entries(struct display_peer *peer, const void *head, size_t head_size,
	const struct virtio_gpu_mem_entry *entries, uint32_t count) {
	uint8_t body[4096];
	memcpy(body, head, head_size);
	memcpy(body + head_size, entries, sizeof(*entries) * count);
	return control(peer, body, head_size + sizeof(*entries) * count);
}

static uint32_t attach(struct display_peer *peer, uint32_t id, uint64_t addr, uint32_t length) {
	const struct virtio_gpu_resource_attach_backing head = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = id, .nr_entries = 1};
	const struct virtio_gpu_mem_entry entry = {addr, length, 0};
	return with_entries(peer, &head, sizeof(head), &entry, 1);
}

static uint32_t create_blob(struct display_peer *peer, uint32_t id, uint64_t addr, uint32_t length, uint64_t size) {
	const struct virtio_gpu_resource_create_blob head = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
		.resource_id = id,
		.blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
		.nr_entries = 1,
		.size = size};
	const struct virtio_gpu_mem_entry entry = {addr, length, 0};
	return with_entries(peer, &head, sizeof(head), &entry, 1);
}

static uint32_t transfer(struct display_peer *peer, uint32_t id, struct virtio_gpu_rect r, uint64_t offset) {
	return CONTROL(
		peer, (struct virtio_gpu_transfer_to_host_2d){
				  .hdr.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, .r = r, .offset = offset, .resource_id = id});
}

static uint32_t set_scanout(struct display_peer *peer, uint32_t scanout, uint32_t id, struct virtio_gpu_rect r) {
	return CONTROL(peer, (struct virtio_gpu_set_scanout){
							 .hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT, .r = r, .scanout_id = scanout, .resource_id = id});
}

static struct virtio_gpu_set_scanout_blob blob_scanout(uint32_t id) {
	return (struct virtio_gpu_set_scanout_blob){.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
		.r = {0, 0, WIDTH, HEIGHT},
		.resource_id = id,
		.width = WIDTH,
		.height = HEIGHT,
		.format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
		.strides = {WIDTH * 4}};
}

static uint32_t flush(struct display_peer *peer, uint32_t id, struct virtio_gpu_rect r) {
	return CONTROL(
		peer, (struct virtio_gpu_resource_flush){.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = r, .resource_id = id});
}

static uint32_t simple(struct display_peer *peer, uint32_t type, uint32_t id) {
	return CONTROL(peer, (struct virtio_gpu_resource_unref){.hdr.type = type, .resource_id = id});
}

static const struct virtio_gpu_rect whole = {0, 0, WIDTH, HEIGHT};

/* A greeted link with one region, whose memory is returned. */
static uint8_t *begin(struct display_peer *peer) {
	display_peer_init(peer);
	say_hello(peer);
	int fd = make_memfd(REGION, true);
	uint8_t *memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	CHECK(add_region(peer, BASE, REGION, fd) == VIRTIO_GPU_RESP_OK_NODATA);
	return memory;
}

static void end(struct display_peer *peer, uint8_t *memory) {
	munmap(memory, REGION);
	display_peer_finish(peer);
}

static void test_hello_comes_first_and_once(void) {
	struct display_peer peer;
	display_peer_init(&peer);
	const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
	CHECK(CONTROL(&peer, info) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	const uint32_t future[2] = {2, 0};
	CHECK(ask(&peer, 1, future, sizeof(future), -1) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	say_hello(&peer);
	CHECK(CONTROL(&peer, info) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	const uint32_t hello[2] = {1, 0};
	CHECK(ask(&peer, 1, hello, sizeof(hello), -1) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	display_peer_finish(&peer);
}

static void test_broken_headers_are_answered(void) {
	struct display_peer peer;
	struct rc_link_header header = {.length = 16, .type = 4, .sequence = 7}, answer;
	struct virtio_gpu_ctrl_hdr hdr;
	uint8_t *memory = begin(&peer);
	give_packet(&peer, &header, 5, -1);
	CHECK(take_answer(&peer, &answer, &hdr) && hdr.type == VIRTIO_GPU_RESP_ERR_UNSPEC);
	header.length = 17;
	give_packet(&peer, &header, 16, -1);
	CHECK(take_answer(&peer, &answer, &hdr) && hdr.type == VIRTIO_GPU_RESP_ERR_UNSPEC && answer.sequence == 7);
	header = (struct rc_link_header){.length = 16, .type = 99};
	give_packet(&peer, &header, 16, -1);
	CHECK(take_answer(&peer, &answer, &hdr) && hdr.type == VIRTIO_GPU_RESP_ERR_UNSPEC);
	header = (struct rc_link_header){.length = 16, .type = 4, .reserved = 1};
	give_packet(&peer, &header, 16, -1);
	CHECK(take_answer(&peer, &answer, &hdr) && hdr.type == VIRTIO_GPU_RESP_ERR_UNSPEC);
	header = (struct rc_link_header){.length = 16, .type = 4};
	give_packet(&peer, &header, 16, make_memfd(4096, true)); /* an fd that the header does not announce */
	CHECK(take_answer(&peer, &answer, &hdr) && hdr.type == VIRTIO_GPU_RESP_ERR_UNSPEC);
	CHECK(CONTROL(&peer, (struct virtio_gpu_ctrl_hdr){.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO}) ==
		  VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	end(&peer, memory);
}

static void test_regions_are_checked(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	const uint32_t wrong = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	CHECK(add_region(&peer, 0x100000, 4096, make_memfd(4096, false)) == wrong);         /* not sealed */
	CHECK(add_region(&peer, 0x100000, 8192, make_memfd(4096, true)) == wrong);          /* larger than the file */
	CHECK(add_region(&peer, 0x100000, 100, make_memfd(4096, true)) == wrong);           /* not pages */
	CHECK(add_region(&peer, BASE + 4096, 4096, make_memfd(4096, true)) == wrong);       /* overlaps */
	CHECK(add_region(&peer, UINT64_MAX - 4095, 4096, make_memfd(4096, true)) == wrong); /* wraps */
	CHECK(add_region(&peer, 0x100000, UINT64_MAX - 4095, make_memfd(4096, true)) == wrong);
	CHECK(add_region(&peer, 0x100000, 4096, -1) == wrong); /* no fd */
	for (uint64_t i = 1; i < RC_MAX_REGIONS; i++) {
		CHECK(add_region(&peer, 0x100000 * (i + 1), 4096, make_memfd(4096, true)) == VIRTIO_GPU_RESP_OK_NODATA);
	}
	CHECK(add_region(&peer, 0x100000 * 1000, 4096, make_memfd(4096, true)) == wrong); /* one too many */
	const uint64_t base = 0x200000, unknown = 1;
	CHECK(ask(&peer, 3, &base, sizeof(base), -1) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(ask(&peer, 3, &base, sizeof(base), -1) == wrong);
	CHECK(ask(&peer, 3, &unknown, sizeof(unknown), -1) == wrong);
	end(&peer, memory);
}

static void test_display_info_and_edid(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	CHECK(CONTROL(&peer, (struct virtio_gpu_ctrl_hdr){.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO}) ==
		  VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	struct virtio_gpu_resp_display_info info;
	memcpy(&info, peer.data + sizeof(struct rc_link_header), sizeof(info));
	CHECK(info.pmodes[0].enabled && info.pmodes[0].r.width == 1280 && info.pmodes[0].r.height == 720 &&
		  !info.pmodes[1].enabled);
	CHECK(CONTROL(&peer, (struct virtio_gpu_get_edid){.hdr.type = VIRTIO_GPU_CMD_GET_EDID}) == VIRTIO_GPU_RESP_OK_EDID);
	struct virtio_gpu_resp_edid edid;
	memcpy(&edid, peer.data + sizeof(struct rc_link_header), sizeof(edid));
	uint8_t sum = 0;
	for (uint32_t i = 0; i < edid.size; i++) {
		sum = (uint8_t)(sum + edid.edid[i]);
	}
	CHECK(edid.size == 128 && sum == 0 && edid.edid[1] == 0xff);
	CHECK((edid.edid[56] | (edid.edid[58] >> 4) << 8) == 1280 && (edid.edid[59] | (edid.edid[61] >> 4) << 8) == 720);
	CHECK(CONTROL(&peer, (struct virtio_gpu_get_edid){.hdr.type = VIRTIO_GPU_CMD_GET_EDID, .scanout = 16}) ==
		  VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	end(&peer, memory);
}

/* What an EDID block cannot say is in a DisplayID block after it. */
static void test_edids_of_large_screens(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	rc_scanout_set_wanted(&peer.scanouts[0], 15360, 8640, 60000);
	CHECK(CONTROL(&peer, (struct virtio_gpu_get_edid){.hdr.type = VIRTIO_GPU_CMD_GET_EDID}) == VIRTIO_GPU_RESP_OK_EDID);
	struct virtio_gpu_resp_edid edid;
	memcpy(&edid, peer.data + sizeof(struct rc_link_header), sizeof(edid));
	uint8_t sums[3] = {0, 0, 0};
	for (uint32_t i = 0; i < 256; i++) {
		sums[i / 128] = (uint8_t)(sums[i / 128] + edid.edid[i]);
	}
	for (uint32_t i = 129; i < 129 + 28; i++) {
		sums[2] = (uint8_t)(sums[2] + edid.edid[i]);
	}
	CHECK(edid.size == 256 && !sums[0] && !sums[1] && !sums[2] && edid.edid[126] == 1 && edid.edid[128] == 0x70);
	const uint8_t *timing = edid.edid + 128 + 8;
	CHECK((timing[4] | timing[5] << 8) == 15359 && (timing[12] | timing[13] << 8) == 8639);
	CHECK((timing[0] | timing[1] << 8 | timing[2] << 16) == 808280);
	end(&peer, memory);
}

static void test_resources_are_checked(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA, parameter = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
				   resource = VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	CHECK(create_2d(&peer, 0, 1, WIDTH, HEIGHT) == resource);
	CHECK(create_2d(&peer, 1, 5, WIDTH, HEIGHT) == parameter);
	CHECK(create_2d(&peer, 1, 1, 0, HEIGHT) == parameter);
	CHECK(create_2d(&peer, 1, 1, 1u << 31, 1u << 31) == parameter);
	CHECK(create_2d(&peer, 1, 1, 16384, 16384) == ok); /* 1 GiB: the whole quota */
	CHECK(create_2d(&peer, 2, 1, 16, 16) == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 1) == ok);
	CHECK(create_2d(&peer, 1, 1, WIDTH, HEIGHT) == ok);
	CHECK(create_2d(&peer, 1, 1, WIDTH, HEIGHT) == resource);
	CHECK(attach(&peer, 2, BASE, SIZE) == resource);
	CHECK(attach(&peer, 1, BASE + 1, REGION) == parameter);
	CHECK(attach(&peer, 1, BASE, 0) == parameter);
	CHECK(attach(&peer, 1, UINT64_MAX, 4096) == parameter);
	CHECK(transfer(&peer, 1, whole, 0) == parameter); /* no backing yet */
	CHECK(attach(&peer, 1, BASE, SIZE) == ok);
	CHECK(attach(&peer, 1, BASE, SIZE) == parameter);
	CHECK(transfer(&peer, 1, (struct virtio_gpu_rect){1, 0, WIDTH, HEIGHT}, 0) == parameter);
	CHECK(transfer(&peer, 1, (struct virtio_gpu_rect){UINT32_MAX, 0, 2, 1}, 0) == parameter);
	CHECK(transfer(&peer, 1, whole, 4) == parameter); /* past the backing's end */
	CHECK(transfer(&peer, 1, whole, UINT64_MAX - 3) == parameter);
	CHECK(transfer(&peer, 1, whole, 0) == ok);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 1) == ok);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 1) == parameter);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 77) == resource);
	CHECK(create_blob(&peer, 3, BASE + 4, 4096, 4096) == parameter); /* not a page */
	CHECK(create_blob(&peer, 3, BASE, 4096, 4097) == parameter);
	CHECK(create_blob(&peer, 3, BASE, 4096, 0) == parameter);
	CHECK(create_blob(&peer, 3, BASE, 16384, SIZE) == ok);
	CHECK(CONTROL(&peer, (struct virtio_gpu_resource_create_blob){.hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
							 .resource_id = 4,
							 .blob_mem = 1,
							 .nr_entries = 1u << 30}) == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	CHECK(CONTROL(&peer, (struct virtio_gpu_ctrl_hdr){.type = 0x200}) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	CHECK(
		CONTROL(&peer, (struct virtio_gpu_ctrl_hdr){.type = VIRTIO_GPU_CMD_SET_SCANOUT}) == parameter); /* too short */
	uint32_t id = 100, answer;
	while ((answer = create_2d(&peer, id++, 1, 16, 16)) == ok) {
	}
	CHECK(answer == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY && id == 100 + RC_MAX_RESOURCES - 2 + 1);
	end(&peer, memory);
}

static void test_scanouts_are_checked(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA, parameter = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	CHECK(create_2d(&peer, 1, 1, WIDTH, HEIGHT) == ok && create_blob(&peer, 2, BASE, 16384, SIZE) == ok);
	CHECK(set_scanout(&peer, 16, 1, whole) == VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	CHECK(set_scanout(&peer, 0, 9, whole) == VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	CHECK(set_scanout(&peer, 0, 2, whole) == parameter); /* a blob */
	CHECK(set_scanout(&peer, 0, 1, (struct virtio_gpu_rect){0, 0, WIDTH + 1, HEIGHT}) == parameter);
	CHECK(set_scanout(&peer, 0, 1, (struct virtio_gpu_rect){0, 0, 0, 0}) == parameter);
	CHECK(set_scanout(&peer, 15, 1, whole) == ok);
	struct virtio_gpu_set_scanout_blob blob = blob_scanout(1);
	CHECK(CONTROL(&peer, blob) == parameter); /* not a blob */
	blob = blob_scanout(2);
	blob.strides[0] = 4;
	CHECK(CONTROL(&peer, blob) == parameter);
	blob = blob_scanout(2);
	blob.offsets[0] = 4;
	CHECK(CONTROL(&peer, blob) == parameter); /* ends outside */
	blob = blob_scanout(2);
	blob.height = blob.r.height = UINT32_MAX;
	CHECK(CONTROL(&peer, blob) == parameter);
	blob = blob_scanout(2);
	blob.width = 0x40000000; /* times 4 is 0 */
	CHECK(CONTROL(&peer, blob) == parameter);
	blob = blob_scanout(2);
	blob.format = 0;
	CHECK(CONTROL(&peer, blob) == parameter);
	CHECK(CONTROL(&peer, blob_scanout(2)) == ok);
	CHECK(flush(&peer, 2, (struct virtio_gpu_rect){0, 0, 0, 1}) == parameter);
	CHECK(flush(&peer, 1, (struct virtio_gpu_rect){0, 0, WIDTH, HEIGHT + 1}) == parameter);
	CHECK(flush(&peer, 9, whole) == VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	/* memory stays while it is shown, whatever the guest takes away */
	const uint64_t base = BASE;
	CHECK(ask(&peer, 3, &base, sizeof(base), -1) == ok);
	CHECK(simple(&peer, VIRTIO_GPU_CMD_RESOURCE_UNREF, 2) == ok);
	CHECK(!peer.scanouts[0].picture.surface);
	CHECK(set_scanout(&peer, 15, 0, (struct virtio_gpu_rect){0, 0, 0, 0}) == ok);
	CHECK(!peer.scanouts[15].picture.surface);
	end(&peer, memory);
}

static void test_transfers_land_in_place(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;
	for (uint32_t i = 0; i < SIZE; i++) {
		memory[i] = (uint8_t)(i * 7);
	}
	CHECK(create_2d(&peer, 1, 1, WIDTH, HEIGHT) == ok);
	/* scattered entries that cut rows in the middle */
	struct virtio_gpu_mem_entry entries[4] = {
		{BASE, 1000, 0}, {BASE + 1000, 3001, 0}, {BASE + 4001, 95, 0}, {BASE + 4096, SIZE - 4096, 0}};
	const struct virtio_gpu_resource_attach_backing head = {
		.hdr.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, .resource_id = 1, .nr_entries = 4};
	CHECK(with_entries(&peer, &head, sizeof(head), entries, 4) == ok);
	const struct virtio_gpu_rect r = {5, 3, 20, 30};
	CHECK(transfer(&peer, 1, r, (3 * WIDTH + 5) * 4) == ok);
	const uint8_t *pixels = rc_resource_find(&peer.link->gpu.resources, 1)->surface->map;
	for (uint32_t y = 0; y < HEIGHT; y++) {
		for (uint32_t x = 0; x < WIDTH * 4; x++) {
			bool inside = y >= r.y && y < r.y + r.height && x >= r.x * 4 && x < (r.x + r.width) * 4;
			CHECK(pixels[y * WIDTH * 4 + x] == (inside ? memory[y * WIDTH * 4 + x] : 0));
		}
	}
	end(&peer, memory);
}

static void connect_streamer(struct display_peer *peer) {
	const struct {
		struct rc_link_header header;
		uint32_t fields[2];
	} hello = {{24, 1, 0, 0, 0}, {1, 0}}, active = {{24, 2, 0, 0, 0}, {0, 1}};
	const void *messages[2] = {&hello, &active};
	for (int i = 0; i < 2; i++) {
		memcpy(peer->frames->packet.data, messages[i], 24);
		peer->frames->packet.size = 24;
		rc_frame_link_handle(peer->frames, &peer->frames->packet);
	}
	service(peer);
}

/* A flush is read and published at once; answers come at the frame rate, whatever the consumer does. */
static void test_flushes_are_paced_and_published(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	connect_streamer(&peer);
	CHECK(create_blob(&peer, 1, BASE, 16384, SIZE) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(CONTROL(&peer, blob_scanout(1)) == VIRTIO_GPU_RESP_OK_NODATA);
	struct rc_scanout *scanout = &peer.scanouts[0];
	CHECK(scanout->ring && scanout->ring->sequence == 1); /* shown: published at once */
	scanout->convert_due_ns = 0;                          /* as if it had been idle */
	CHECK(flush(&peer, 1, whole) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(scanout->ring->sequence == 2);
	CHECK(flush(&peer, 1, whole) == 0); /* read at once, answered a frame later */
	CHECK(scanout->ring->sequence == 3);
	CHECK(flush(&peer, 1, whole) == 0); /* the third in a frame has to wait to be read */
	CHECK(scanout->ring->sequence == 3 && peer.link->flushes == 2);
	uint64_t due = scanout->answer_due_ns;
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	rc_scanout_service(scanout, due - 1000);
	CHECK(!take_answer(&peer, &header, &hdr));
	rc_scanout_service(scanout, due + 1000000); /* the clock was read a moment apart for the two deadlines */
	CHECK(scanout->ring->sequence == 4 && take_answer(&peer, &header, &hdr) && header.sequence == peer.sequence - 1);
	CHECK(take_answer(&peer, &header, &hdr) && header.sequence == peer.sequence && peer.link->flushes == 0);
	CHECK(rc_scanout_deadline(scanout) == UINT64_MAX); /* idle: nothing to wake up for */
	end(&peer, memory);
}

/* After an input a few flushes are read and answered ahead of the beat, a little apart; then the beat goes on as if nothing had been. */
static void test_an_input_lets_pictures_run_ahead(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	connect_streamer(&peer);
	CHECK(create_blob(&peer, 1, BASE, 16384, SIZE) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(CONTROL(&peer, blob_scanout(1)) == VIRTIO_GPU_RESP_OK_NODATA);
	struct rc_scanout *scanout = &peer.scanouts[0];
	scanout->convert_due_ns = 0;
	CHECK(flush(&peer, 1, whole) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(flush(&peer, 1, whole) == 0 && flush(&peer, 1, whole) == 0);
	const uint32_t sequence = (uint32_t)scanout->ring->sequence;
	const uint64_t converted = scanout->convert_due_ns, answered = scanout->answer_due_ns;
	const uint64_t now = answered - 10000000;
	const struct {
		struct rc_link_header header;
		uint32_t fields[2];
	} input = {{24, 4, 0, 0, 0}, {0, 0}};
	memcpy(peer.frames->packet.data, &input, 24);
	peer.frames->packet.size = 24;
	rc_frame_link_handle(peer.frames, &peer.frames->packet);
	CHECK(scanout->extras == 4);
	rc_scanout_expect(scanout, now); /* the same at a time of ours */
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	CHECK(rc_scanout_deadline(scanout) == now);
	rc_scanout_service(scanout, now);
	CHECK(scanout->ring->sequence == sequence + 1 && take_answer(&peer, &header, &hdr) &&
		  take_answer(&peer, &header, &hdr));
	CHECK(scanout->extras == 3 && scanout->convert_due_ns == converted && scanout->answer_due_ns == answered);
	/* Not at once again, but long before the beat. */
	const struct rc_rect part = {0, 0, 8, 8};
	rc_scanout_flush(scanout, &part, NULL);
	rc_scanout_service(scanout, now + 1000000);
	CHECK(scanout->ring->sequence == sequence + 1 && rc_scanout_deadline(scanout) < now + 5000000);
	rc_scanout_service(scanout, now + 5000000);
	CHECK(scanout->ring->sequence == sequence + 2 && scanout->extras == 2);
	/* After a tenth of a second it is forgotten, and nothing wakes up for it. */
	rc_scanout_service(scanout, now + 100000001);
	CHECK(!scanout->extras && rc_scanout_deadline(scanout) == UINT64_MAX);
	end(&peer, memory);
}

/* Flushes that are there together become one frame. */
static void test_flushes_sent_together_are_one_frame(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	connect_streamer(&peer);
	CHECK(create_blob(&peer, 1, BASE, 16384, SIZE) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(CONTROL(&peer, blob_scanout(1)) == VIRTIO_GPU_RESP_OK_NODATA);
	peer.scanouts[0].convert_due_ns = 0;
	for (uint32_t i = 0; i < 8; i++) {
		const struct virtio_gpu_resource_flush body = {
			.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {8 * i, 4 * i, 2, 2}, .resource_id = 1};
		give(&peer, 4, &body, sizeof(body), -1);
	}
	service(&peer);
	CHECK(peer.scanouts[0].ring->sequence == 2 && peer.link->flushes == 0);
	end(&peer, memory);
}

static void test_a_size_wished_before_the_guest_came_is_told(void) {
	struct display_peer peer;
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr;
	display_peer_init(&peer);
	CHECK(rc_scanout_set_wanted(&peer.scanouts[0], 801, 601, 0));
	say_hello(&peer);
	CHECK(take_answer(&peer, &header, &hdr) && header.type == 0x8003);
	display_peer_finish(&peer);
}

static void set_display(struct display_peer *peer, uint32_t scanout, uint32_t width, uint32_t height) {
	const struct {
		struct rc_link_header header;
		uint32_t fields[4];
	} message = {{32, 3, 0, 0, 0}, {scanout, width, height, 0}};
	memcpy(peer->frames->packet.data, &message, sizeof(message));
	peer->frames->packet.size = sizeof(message);
	rc_frame_link_handle(peer->frames, &peer->frames->packet);
}

static struct virtio_gpu_resp_display_info display_info(struct display_peer *peer) {
	struct virtio_gpu_resp_display_info info;
	CHECK(CONTROL(peer, (struct virtio_gpu_ctrl_hdr){.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO}) ==
		  VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	memcpy(&info, peer->data + sizeof(struct rc_link_header), sizeof(info));
	return info;
}

static void test_wanted_scanouts_lie_side_by_side(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	connect_streamer(&peer);
	set_display(&peer, 15, 640, 480);
	set_display(&peer, 2, 800, 600);
	CHECK(peer.frames->display_changed);
	struct virtio_gpu_resp_display_info info = display_info(&peer);
	CHECK(info.pmodes[0].enabled && info.pmodes[0].r.x == 0 && !info.pmodes[1].enabled && info.pmodes[1].r.x == 0);
	CHECK(info.pmodes[2].enabled && info.pmodes[2].r.x == 1280 && info.pmodes[2].r.width == 800);
	CHECK(info.pmodes[15].enabled && info.pmodes[15].r.x == 2080 && info.pmodes[15].r.y == 0);
	const struct virtio_gpu_get_edid edid = {.hdr.type = VIRTIO_GPU_CMD_GET_EDID, .scanout = 2};
	CHECK(CONTROL(&peer, edid) == VIRTIO_GPU_RESP_OK_EDID);
	peer.frames->display_changed = false;
	set_display(&peer, 2, 0, 0);
	CHECK(peer.frames->display_changed && peer.scanouts[2].wanted_unseen);
	info = display_info(&peer);
	CHECK(!info.pmodes[2].enabled && info.pmodes[2].r.width == 0 && info.pmodes[15].r.x == 1280);
	peer.frames->display_changed = false;
	set_display(&peer, 2, 0, 0); /* it was not wanted anyway */
	set_display(&peer, 0, 0, 0); /* always wanted */
	set_display(&peer, 3, 0, 600);
	set_display(&peer, 16, 640, 480);
	CHECK(!peer.frames->display_changed && display_info(&peer).pmodes[0].enabled);
	end(&peer, memory);
}

static void test_too_many_flushes_are_refused(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	CHECK(create_blob(&peer, 1, BASE, 16384, SIZE) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(CONTROL(&peer, blob_scanout(1)) == VIRTIO_GPU_RESP_OK_NODATA);
	CHECK(flush(&peer, 1, whole) == VIRTIO_GPU_RESP_OK_NODATA);
	for (uint32_t i = 0; i < RC_MAX_FLUSHES; i++) {
		CHECK(flush(&peer, 1, whole) == 0);
	}
	CHECK(flush(&peer, 1, whole) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	end(&peer, memory);
}

static void test_cursors(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	const uint32_t ok = VIRTIO_GPU_RESP_OK_NODATA;
	CHECK(
		create_2d(&peer, 1, VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, 24, 32) == ok && create_2d(&peer, 2, 1, 300, 300) == ok);
	struct virtio_gpu_update_cursor body = {
		.hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR, .pos = {0, -3, 5, 0}, .resource_id = 1, .hot_x = 23, .hot_y = 31};
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == ok);
	CHECK(
		peer.scanouts[0].cursor.width == 24 && peer.scanouts[0].cursor.x == -3 && peer.scanouts[0].cursor.serial == 1);
	body.hot_x = 24;
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	body.hot_x = 0;
	body.resource_id = 2;
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER); /* too large */
	body.resource_id = 3;
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	body.pos.scanout_id = 16;
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	body = (struct virtio_gpu_update_cursor){.hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR};
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == ok && peer.scanouts[0].cursor.width == 0);
	body.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR;
	body.pos.x = 100;
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == ok && peer.scanouts[0].cursor.x == 100);
	body.hdr.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO;
	CHECK(ask(&peer, 5, &body, sizeof(body), -1) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	end(&peer, memory);
}

static void test_fences_are_copied(void) {
	struct display_peer peer;
	uint8_t *memory = begin(&peer);
	struct rc_link_header header;
	struct virtio_gpu_ctrl_hdr hdr, request = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO,
										.flags = VIRTIO_GPU_FLAG_FENCE,
										.fence_id = 0x123456789abc,
										.ctx_id = 5};
	give(&peer, 4, &request, sizeof(request), -1);
	CHECK(take_answer(&peer, &header, &hdr) && hdr.flags == VIRTIO_GPU_FLAG_FENCE && hdr.fence_id == request.fence_id &&
		  hdr.ctx_id == 5);
	end(&peer, memory);
}

int main(void) {
	test_hello_comes_first_and_once();
	test_broken_headers_are_answered();
	test_regions_are_checked();
	test_display_info_and_edid();
	test_edids_of_large_screens();
	test_resources_are_checked();
	test_scanouts_are_checked();
	test_transfers_land_in_place();
	test_flushes_are_paced_and_published();
	test_an_input_lets_pictures_run_ahead();
	test_flushes_sent_together_are_one_frame();
	test_a_size_wished_before_the_guest_came_is_told();
	test_wanted_scanouts_lie_side_by_side();
	test_too_many_flushes_are_refused();
	test_cursors();
	test_fences_are_copied();
	return 0;
}
