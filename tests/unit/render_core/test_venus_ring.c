/* SPDX-License-Identifier: Apache-2.0
 * Venus rings: layouts, wrapping, sleeping and waking, waiting for one another, streams beside the ring. */
#include "../../support/venus_client.h"

#include "util/clock.h"

static void begin(struct venus_server *server, struct venus_client *client) {
	server_init_guest(server);
	server_start(server, false);
	client_connect(client, server);
	CHECK(client_init(client) == 3);
}

static void end(struct venus_server *server, struct venus_client *client) {
	close(client->fd);
	server_stop(server);
}

static void destroy_ring(struct venus_ring *ring) {
	const uint32_t words[4] = {189, 0, (uint32_t)ring->id, (uint32_t)(ring->id >> 32)};
	client_submit(ring->client, words, 4);
}

/* Everything before it on the socket was handled. */
static void settle(struct venus_client *client) {
	client_request(client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
	client_reply(client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
}

static void test_bad_layouts_are_refused(void) {
	static const struct {
		enum ring_field field;
		uint32_t low, high;
	} bad[] = {
		{FIELD_ID, 0, 0},
		{FIELD_RESOURCE, 0, 0},
		{FIELD_RESOURCE, 77, 0},
		{FIELD_OFFSET, 4, 0},
		{FIELD_OFFSET, 0, UINT32_MAX},
		{FIELD_SIZE, RING_SIZE + 1, 0},
		{FIELD_SIZE, UINT32_MAX, UINT32_MAX},
		{FIELD_SIZE, RING_SIZE - 1, 0},
		{FIELD_HEAD, 2, 0},
		{FIELD_HEAD, RING_TAIL, 0},
		{FIELD_HEAD, RING_SIZE, 0},
		{FIELD_HEAD, UINT32_MAX - 3, UINT32_MAX},
		{FIELD_TAIL, RING_STATUS, 0},
		{FIELD_TAIL, RING_BUFFER, 0},
		{FIELD_STATUS, RING_BUFFER + RING_BUFFER_SIZE - 4, 0},
		{FIELD_STATUS, RING_EXTRA, 0},
		{FIELD_BUFFER, RING_STATUS, 0},
		{FIELD_BUFFER, RING_BUFFER + 1, 0},
		{FIELD_BUFFER, RING_BUFFER + 8, 0},
		{FIELD_BUFFER_SIZE, 0, 0},
		{FIELD_BUFFER_SIZE, 2048, 0},
		{FIELD_BUFFER_SIZE, 4095, 0},
		{FIELD_BUFFER_SIZE, 8192, 0},
		{FIELD_BUFFER_SIZE, 4096, 1},
		{FIELD_BUFFER_SIZE, 0, 1},
		{FIELD_EXTRA, RING_SIZE - 2, 0},
		{FIELD_EXTRA_SIZE, 8, 0},
		{FIELD_EXTRA_SIZE, UINT32_MAX, UINT32_MAX},
	};
	struct venus_server server;
	server_init_guest(&server);
	server_start(&server, false);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct venus_client client;
		client_connect(&client, &server);
		CHECK(client_init(&client) == 3);
		uint32_t resource, words[FIELDS];
		uint8_t *map = client_create_shared(&client, RING_SIZE, &resource);
		create_ring_words(words, 9, resource);
		words[bad[i].field] = bad[i].low;
		if (bad[i].field != FIELD_RESOURCE) {
			words[bad[i].field + 1] = bad[i].high;
		}
		client_submit(&client, words, FIELDS);
		CHECK(client_is_closed(&client)); /* it has no ring on which it could be told */
		close(client.fd);
		munmap(map, RING_SIZE);
	}
	server_stop(&server);
}

/* Pairs of commands, 52 bytes, in a buffer of 4096: they wrap at every multiple of 4. */
static void test_commands_wrap_anywhere(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	for (uint32_t i = 0; i < 1100; i++) {
		uint32_t words[ASK_WORDS];
		ask_words(words, &ring, i * 20);
		memset(ring.reply + i * 20, 0xee, 20);
		ring_publish(&ring, words, ASK_WORDS);
		if (i % 7 == 0) {
			ring_wait(&ring);
			CHECK(reply_is_right(&ring, i * 20));
		}
	}
	ring_wait(&ring);
	for (uint32_t i = 0; i < 1100; i++) {
		CHECK(reply_is_right(&ring, i * 20));
	}
	ring_finish(&ring);
	end(&server, &client);
}

/* Pauses around the idle timeout: a command that comes while the ring's thread goes to sleep must be executed. */
static void test_no_wake_up_is_lost(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	uint32_t state = 1;
	for (uint32_t i = 0; i < 300; i++) {
		ring_ask(&ring, (i % 100) * 20);
		state = state * 1103515245 + 12345;
		const struct timespec pause = {.tv_nsec = 900000 + (state >> 8) % 700000};
		nanosleep(&pause, NULL);
	}
	ring_finish(&ring);
	end(&server, &client);
}

static void test_a_sleeping_ring_says_so_and_is_woken(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	for (int i = 0; i < 5; i++) {
		while (!(atomic_load(ring.status) & RC_VN_RING_IDLE)) {
			sched_yield();
		}
		ring_ask(&ring, 0);
	}
	ring_finish(&ring);
	end(&server, &client);
}

static void test_the_ring_lives_while_it_waits(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	ring_ask(&ring, 0);
	const uint32_t wait[4] = {252, 0, 3, 0}; /* vkWaitVirtqueueSeqnoMESA(3) */
	ring_publish(&ring, wait, 4);
	for (int i = 0; i < 2; i++) {
		atomic_fetch_and(ring.status, ~(uint32_t)RC_VN_RING_ALIVE);
		while (!(atomic_load(ring.status) & RC_VN_RING_ALIVE)) {
			sched_yield();
		}
	}
	uint32_t submit[6] = {251, 0, 1, 0, 2, 0}; /* vkSubmitVirtqueueSeqnoMESA(ring 1, 2) */
	client_submit(&client, submit, 6);
	settle(&client);
	CHECK(atomic_load(ring.head) != ring.position);
	submit[4] = 3;
	client_submit(&client, submit, 6);
	ring_wait(&ring);
	ring_finish(&ring);
	end(&server, &client);
}

static void test_the_socket_waits_for_a_ring(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t words[ASK_WORDS];
		ask_words(words, &ring, 0);
		memset(ring.reply, 0xee, 20);
		ring_publish(&ring, words, ASK_WORDS);
		const uint32_t wait[6] = {253, 0, 1, 0, ring.position, 0}; /* vkWaitRingSeqnoMESA */
		client_submit(&client, wait, 6);
		settle(&client);
		CHECK(atomic_load(ring.head) == ring.position && reply_is_right(&ring, 0));
	}
	ring_finish(&ring);
	end(&server, &client);
}

/* A client that dies while the socket's thread waits for a ring that waits for the socket. */
static void test_a_client_may_go_while_all_wait(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	const uint32_t wait[4] = {252, 0, 3, 0};
	ring_publish(&ring, wait, 4);
	const uint32_t wait_ring[6] = {253, 0, 1, 0, ring.position, 0};
	client_submit(&client, wait_ring, 6);
	ring_finish(&ring);
	end(&server, &client);
}

/* What was published before vkDestroyRingMESA is executed before the ring goes. */
static void test_a_ring_is_drained(void) {
	struct venus_server server;
	struct venus_client client;
	begin(&server, &client);
	for (uint32_t i = 0; i < 50; i++) {
		struct venus_ring ring;
		ring_init(&ring, &client, 1);
		uint32_t words[ASK_WORDS];
		for (uint32_t k = 0; k < 60; k++) {
			ask_words(words, &ring, k * 20);
			ring_publish(&ring, words, ASK_WORDS);
		}
		destroy_ring(&ring);
		settle(&client);
		CHECK(atomic_load(ring.head) == ring.position && reply_is_right(&ring, 59 * 20));
		client_request(&client, VTEST_RESOURCE_UNREF, &ring.resource, 1);
		client_request(&client, VTEST_RESOURCE_UNREF, &ring.reply_resource, 1);
		ring_finish(&ring);
	}
	end(&server, &client);
}

/* vkExecuteCommandStreamsMESA of `count` streams in one shared memory. */
static void publish_streams(struct venus_ring *ring, const uint32_t (*streams)[3], uint32_t count) {
	uint32_t words[64] = {180, 0, count, count, 0}, used = 5;
	for (uint32_t i = 0; i < count; i++) {
		const uint32_t stream[5] = {streams[i][0], streams[i][1], 0, streams[i][2], 0};
		memcpy(words + used, stream, sizeof(stream));
		used += 5;
	}
	words[used++] = 0; /* no reply positions */
	words[used++] = 0;
	words[used++] = 0; /* no dependencies */
	words[used++] = 0;
	words[used++] = 0;
	words[used++] = 0; /* flags */
	ring_publish(ring, words, used);
}

static void test_streams_beside_the_ring(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server, &client);
	ring_init(&ring, &client, 1);
	uint32_t resource, words[ASK_WORDS];
	uint8_t *map = client_create_shared(&client, 1 << 20, &resource);
	uint32_t offset = 0;
	for (uint32_t i = 0; i < 10000; i++, offset += sizeof(words)) {
		ask_words(words, &ring, i * 20);
		memcpy(map + offset, words, sizeof(words));
	}
	const uint32_t half = 5000 * sizeof(words);
	const uint32_t streams[3][3] = {{resource, half, half}, {resource, 0, 0}, {resource, 0, half}};
	for (int i = 0; i < 2; i++) {
		memset(ring.reply, 0xee, 200000);
		publish_streams(&ring, streams, 3);
		ring_wait(&ring);
		for (uint32_t k = 0; k < 10000; k++) {
			CHECK(reply_is_right(&ring, k * 20));
		}
	}
	ring_ask(&ring, 1 << 19);
	ring_finish(&ring);
	munmap(map, 1 << 20);
	end(&server, &client);
}

/* Each ends its client with FATAL, and no other. */
static void test_nonsense_in_a_ring_is_fatal(void) {
	static const struct {
		uint32_t words[16], count;
	} bad[] = {
		{{100000, 0}, 2},                                      /* no such command */
		{{9, 0}, 2},                                           /* vkGetInstanceProcAddr has no encoding */
		{{178, 0}, 2},                                         /* cut off */
		{{178}, 1},                                            /* cut off sooner */
		{{178, 0, 0, 0}, 4},                                   /* no stream */
		{{178, 0, 2, 0, 2, 0, 0, 20, 0}, 9},                   /* presence is 0 or 1 */
		{{178, 0, 1, 0, 99, 0, 0, 20, 0}, 9},                  /* no such resource */
		{{178, 0, 1, 0, 2, 0, 0, 0x100001, 0}, 9},             /* too large */
		{{178, 0, 1, 0, 2, 0xfffffffc, 0xffffffff, 20, 0}, 9}, /* wraps */
		{{178, 0, 1, 0, 2, 2, 0, 20, 0}, 9},                   /* not aligned */
		{{137, 1, 1, 0}, 4},                                   /* a reply without a window */
		{{178, 0, 1, 0, 2, 0, 0, 16, 0, 137, 1, 1, 0}, 13},    /* a window that is too small */
		{{179, 0, 4, 0}, 4},                                   /* seeks where nothing is */
		{{189, 0, 1, 0}, 4},                                   /* vkDestroyRingMESA is for the socket */
		{{190, 0, 1, 0, 0, 0}, 6}, {{253, 0, 1, 0, 0, 0}, 6},
		{{180, 0, 1, 1, 0, 77, 0, 0, 4, 0, 0, 0, 0, 0, 0}, 16}, /* no such resource */
		{{180, 0, 1, 1, 0, 2, 0, 0, 8, 0, 0, 0, 0, 0, 0}, 16},  /* zeros: vkCreateInstance, cut off */
	};
	struct venus_server server;
	struct venus_client good;
	struct venus_ring good_ring;
	begin(&server, &good);
	ring_init(&good_ring, &good, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct venus_client client;
		struct venus_ring ring;
		client_connect(&client, &server);
		CHECK(client_init(&client) == 3);
		ring_init(&ring, &client, 1);
		CHECK(ring.reply_resource == 2);
		ring_publish(&ring, bad[i].words, bad[i].count);
		ring_wait_fatal(&ring);
		settle(&client); /* its socket is served */
		close(client.fd);
		ring_finish(&ring);
		ring_ask(&good_ring, 0);
	}
	ring_finish(&good_ring);
	end(&server, &good);
}

static void test_a_lying_tail_is_fatal(void) {
	const uint32_t tails[] = {2, RING_BUFFER_SIZE + 4, 0x80000000, UINT32_MAX - 3};
	struct venus_server server;
	server_init_guest(&server);
	server_start(&server, false);
	for (int i = 0; i < 4; i++) {
		struct venus_client client;
		struct venus_ring ring;
		client_connect(&client, &server);
		CHECK(client_init(&client) == 3);
		ring_init(&ring, &client, 1);
		ring_ask(&ring, 0);
		atomic_fetch_add(ring.tail, tails[i]);
		ring_notify(&ring);
		ring_wait_fatal(&ring);
		close(client.fd);
		ring_finish(&ring);
	}
	server_stop(&server);
}

static void test_rings_are_counted(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring rings[3];
	server_init_guest(&server);
	server.guest.limits.rings = 2;
	server_start(&server, false);
	client_connect(&client, &server);
	CHECK(client_init(&client) == 3);
	for (uint32_t i = 0; i < 2; i++) {
		ring_init(&rings[i], &client, i + 1);
		ring_ask(&rings[i], 0);
	}
	ring_init(&rings[2], &client, 3);
	ring_wait_fatal(&rings[0]);
	ring_wait_fatal(&rings[1]);
	close(client.fd);
	for (uint32_t i = 0; i < 3; i++) {
		ring_finish(&rings[i]);
	}
	server_stop(&server);
}

/* ---- many rings of many clients ---- */

enum { THREADS = 3, RINGS = 3, TURNS = 60 };

static void *client_main(void *data) {
	struct venus_server *server = data;
	struct venus_client client;
	struct venus_ring rings[RINGS];
	client_connect(&client, server);
	CHECK(client_init(&client) == 3);
	for (uint32_t i = 0; i < RINGS; i++) {
		ring_init(&rings[i], &client, i + 1);
	}
	for (uint32_t turn = 0; turn < TURNS; turn++) {
		struct venus_ring *ring = &rings[turn % RINGS];
		uint32_t words[ASK_WORDS];
		for (uint32_t i = 0; i < RINGS; i++) {
			ask_words(words, &rings[i], turn * 20);
			ring_publish(&rings[i], words, ASK_WORDS);
		}
		for (uint32_t i = 0; i < RINGS; i++) {
			ring_wait(&rings[i]);
			CHECK(reply_is_right(&rings[i], turn * 20));
		}
		if (turn % 8 == 7) {
			destroy_ring(ring);
			client_request(&client, VTEST_RESOURCE_UNREF, &ring->resource, 1);
			client_request(&client, VTEST_RESOURCE_UNREF, &ring->reply_resource, 1);
			ring_finish(ring);
			ring_init(ring, &client, RINGS + turn);
		}
	}
	close(client.fd);
	for (uint32_t i = 0; i < RINGS; i++) {
		ring_finish(&rings[i]);
	}
	return NULL;
}

static void test_many_rings_of_many_clients(void) {
	const int before = open_fds();
	struct venus_server server;
	pthread_t threads[THREADS];
	server_init_guest(&server);
	server_start(&server, false);
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&threads[i], NULL, client_main, &server) == 0);
	}
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
	}
	server_stop(&server);
	CHECK(open_fds() == before);
}

int main(void) {
	test_bad_layouts_are_refused();
	test_commands_wrap_anywhere();
	test_no_wake_up_is_lost();
	test_a_sleeping_ring_says_so_and_is_woken();
	test_the_ring_lives_while_it_waits();
	test_the_socket_waits_for_a_ring();
	test_a_client_may_go_while_all_wait();
	test_a_ring_is_drained();
	test_streams_beside_the_ring();
	test_nonsense_in_a_ring_is_fatal();
	test_a_lying_tail_is_fatal();
	test_rings_are_counted();
	test_many_rings_of_many_clients();
	return 0;
}
