/* SPDX-License-Identifier: Apache-2.0
 * The vtest socket as a stock client uses it, and as one that is broken, hostile, gone or one too many does. */
#include "../../support/venus_client.h"

#include "transport/guard.h"

static void connect_and_init(struct venus_client *client, const struct venus_server *server) {
	client_connect(client, server);
	CHECK(client_init(client) == 3);
}

static void begin(struct venus_server *server) {
	server_init_guest(server);
	server_start(server, false);
}

static void test_a_stock_client_comes_works_and_goes(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server);
	connect_and_init(&client, &server);
	ring_init(&ring, &client, 0x7f00aa00bb00);
	for (uint32_t i = 0; i < 100; i++) {
		ring_ask(&ring, i * 20);
	}
	CHECK(atomic_load(ring.status) & RC_VN_RING_ALIVE);
	const uint32_t destroy[4] = {189, 0, (uint32_t)ring.id, (uint32_t)(ring.id >> 32)};
	client_submit(&client, destroy, 4);
	client_request(&client, VTEST_RESOURCE_UNREF, &ring.resource, 1);
	client_request(&client, VTEST_RESOURCE_UNREF, &ring.reply_resource, 1);
	client_request(&client, VTEST_PING_PROTOCOL_VERSION, NULL, 0); /* and wait until that was done */
	client_reply(&client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
	CHECK(atomic_load(&server.guest.usage.shared_bytes) == 0);
	close(client.fd);
	ring_finish(&ring);
	server_stop(&server);
}

static void test_answers_to_old_and_new_clients(void) {
	struct venus_server server;
	struct venus_client client;
	uint32_t words[41];
	begin(&server);
	connect_and_init(&client, &server);
	const uint32_t versions[][2] = {{2, 2}, {3, 3}, {4, 3}, {UINT32_MAX, 3}};
	for (int i = 0; i < 4; i++) {
		client_request(&client, VTEST_PROTOCOL_VERSION_NUM, &versions[i][0], 1);
		client_reply(&client, VTEST_PROTOCOL_VERSION_NUM, words, 1);
		CHECK(words[0] == versions[i][1]);
	}
	const uint32_t param = 2, other_capset[2] = {1, 0}, unknown = 99;
	client_request(&client, VTEST_GET_PARAM, &param, 1);
	client_reply(&client, VTEST_GET_PARAM, words, 2);
	CHECK(words[0] == 0 && words[1] == 0);
	client_request(&client, VTEST_GET_CAPSET, other_capset, 2);
	client_reply(&client, VTEST_GET_CAPSET, words, 1);
	CHECK(words[0] == 0);
	client_request(&client, VTEST_RESOURCE_UNREF, &unknown, 1); /* late, or twice: harmless */
	client_request(&client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
	client_reply(&client, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
	close(client.fd);
	server_stop(&server);
}

static void test_blobs_have_the_size_that_was_asked_for(void) {
	struct venus_server server;
	struct venus_client client;
	begin(&server);
	connect_and_init(&client, &server);
	const size_t sizes[] = {1, 4095, 131268, 16580, 1 << 20, 8 << 20};
	for (uint32_t i = 0; i < 6; i++) {
		uint32_t resource;
		uint8_t *map = client_create_shared(&client, sizes[i], &resource);
		CHECK(resource == i + 1 && map[0] == 0 && map[sizes[i] - 1] == 0);
		memset(map, 1, sizes[i]);
		munmap(map, sizes[i]);
	}
	const uint32_t third = 3;
	uint32_t again;
	client_request(&client, VTEST_RESOURCE_UNREF, &third, 1);
	munmap(client_create_shared(&client, 4096, &again), 4096);
	CHECK(again == 3);
	close(client.fd);
	server_stop(&server);
}

/* What a client cannot have it learns when it maps it, and lives. */
static void test_blobs_over_the_limit_cannot_be_mapped(void) {
	struct venus_server server;
	struct venus_client client;
	server_init_guest(&server);
	server.guest.limits.shared_bytes = 1 << 20;
	server_start(&server, false);
	connect_and_init(&client, &server);
	const uint64_t sizes[] = {(1 << 20) + 1, UINT64_C(1) << 40, UINT64_MAX};
	for (int i = 0; i < 3; i++) {
		int fd;
		uint32_t resource = client_create_blob(&client, sizes[i], 0, &fd);
		CHECK(resource != 0 && mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
		close(fd);
		client_request(&client, VTEST_RESOURCE_UNREF, &resource, 1);
	}
	CHECK(atomic_load(&server.guest.usage.refused) == 3);
	uint32_t resource;
	munmap(client_create_shared(&client, 1 << 20, &resource), 1 << 20);
	/* memory that does not exist: its allocation failed, where the client had no reply */
	int fd;
	CHECK(client_create_blob(&client, 4096, 77, &fd) != 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	close(fd);
	close(client.fd);
	server_stop(&server);
}

static void test_more_blobs_than_the_table_holds_end_the_client(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	server_init_guest(&server);
	server.guest.limits.blobs = 10;
	server_start(&server, false);
	connect_and_init(&client, &server);
	ring_init(&ring, &client, 5);
	for (int i = 0; i < 9; i++) {
		int fd;
		client_create_blob(&client, 4096, 0, &fd); /* answered in any case */
		close(fd);
	}
	ring_wait_fatal(&ring);
	close(client.fd);
	ring_finish(&ring);
	server_stop(&server);
}

static void test_syncs_count(void) {
	struct venus_server server;
	struct venus_client client;
	begin(&server);
	connect_and_init(&client, &server);
	const uint32_t initial[2] = {5, 1};
	uint32_t sync, value[2];
	client_request(&client, VTEST_SYNC_CREATE, initial, 2);
	client_reply(&client, VTEST_SYNC_CREATE, &sync, 1);
	client_request(&client, VTEST_SYNC_READ, &sync, 1);
	client_reply(&client, VTEST_SYNC_READ, value, 2);
	CHECK(sync == 1 && value[0] == 5 && value[1] == 1);
	const uint32_t write[3] = {sync, 9, 2};
	client_request(&client, VTEST_SYNC_WRITE, write, 3);
	const uint32_t batch[1 + 6 + 3] = {1, 1, 7, 0, 7, 1, 0, sync, 10, 2};
	client_request(&client, VTEST_SUBMIT_CMD2, batch, 10);
	client_request(&client, VTEST_SYNC_READ, &sync, 1);
	client_reply(&client, VTEST_SYNC_READ, value, 2);
	CHECK(value[0] == 10 && value[1] == 2);
	const uint32_t wait[5] = {0, UINT32_MAX, sync, 10, 2};
	client_request(&client, VTEST_SYNC_WAIT, wait, 5);
	client_reply(&client, VTEST_SYNC_WAIT, NULL, 0);
	struct pollfd poller = {.fd = client_receive_fd(&client), .events = POLLIN};
	CHECK(poll(&poller, 1, -1) == 1 && poller.revents == POLLIN);
	close(poller.fd);
	client_request(&client, VTEST_SYNC_UNREF, &sync, 1);
	close(client.fd);
	server_stop(&server);
}

/* Without a ring there is nobody to tell: the connection ends. */
static void test_nonsense_before_a_ring_closes_the_connection(void) {
	struct venus_server server;
	struct venus_client client;
	begin(&server);
	const uint32_t garbage[][8] = {
		{0, 0},                                               /* no such message */
		{1, 99, 0},                                           /* neither */
		{1, VTEST_PING_PROTOCOL_VERSION, 0},                  /* too long */
		{UINT32_MAX, VTEST_SUBMIT_CMD2, 0},                   /* far too long */
		{UINT32_MAX, VTEST_CREATE_RENDERER, 0},               /* this too */
		{6, VTEST_RESOURCE_CREATE_BLOB, 2, 1, 4096, 0, 0, 0}, /* before CONTEXT_INIT */
		{1, VTEST_CONTEXT_INIT, 3},                           /* not Venus */
		{0x20202020, 0x20202020, 0x20202020},                 /* text */
	};
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		client_connect(&client, &server);
		client_write(&client, garbage[i], sizeof(garbage[i]));
		CHECK(client_is_closed(&client));
		close(client.fd);
	}
	const uint32_t bodies[][8] = {
		{6, VTEST_RESOURCE_CREATE_BLOB, 1, 1, 4096, 0, 0, 0}, /* guest memory */
		{6, VTEST_RESOURCE_CREATE_BLOB, 2, 8, 4096, 0, 0, 0}, /* unknown flag */
		{6, VTEST_RESOURCE_CREATE_BLOB, 2, 1, 0, 0, 0, 0},    /* no bytes */
		{1, VTEST_CONTEXT_INIT, 4},                           /* twice */
		{1, VTEST_SYNC_READ, 1},                              /* no such sync */
		{1, VTEST_SUBMIT_CMD2, UINT32_MAX},                   /* batches that are not there */
	};
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		connect_and_init(&client, &server);
		client_write(&client, bodies[i], VTEST_HEADER_SIZE + bodies[i][0] * sizeof(uint32_t));
		CHECK(client_is_closed(&client));
		close(client.fd);
	}
	const uint32_t batches[][7] = {
		{1, 1, 8, 0, 7, 0, 0},          /* commands begin outside */
		{1, 1, 7, 1, 7, 0, 0},          /* and end outside */
		{1, 1, 7, UINT32_MAX, 7, 0, 0}, /* far */
		{1, 1, 7, 0, 7, 1, 0},          /* syncs */
		{1, 1, 7, 0, UINT32_MAX, 1, 0}, /* far */
		{1, 1, 0, 7, 7, 0, 0},          /* no command */
	};
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		connect_and_init(&client, &server);
		client_request(&client, VTEST_SUBMIT_CMD2, batches[i], 7);
		CHECK(client_is_closed(&client));
		close(client.fd);
	}
	server_stop(&server);
}

/* With a ring the client is told there, and its socket stays until it goes: it would spin for ever. */
static void test_nonsense_after_a_ring_is_fatal_and_the_socket_stays(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server);
	const uint32_t garbage[3] = {0x61616161, 0x62626262, 0x63636363};
	const uint32_t bad_capset[3] = {1, VTEST_CONTEXT_INIT, 4};
	for (int i = 0; i < 2; i++) {
		connect_and_init(&client, &server);
		ring_init(&ring, &client, 1);
		ring_ask(&ring, 0);
		client_write(&client, i ? bad_capset : garbage, sizeof(garbage));
		ring_wait_fatal(&ring);
		char byte;
		CHECK(recv(client.fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
		client_write(&client, garbage, sizeof(garbage)); /* thrown away */
		close(client.fd);
		ring_finish(&ring);
	}
	server_stop(&server);
}

/* A client's end at each byte of its messages leaves nothing. */
static void test_the_end_may_come_anywhere(void) {
	struct venus_server server;
	struct venus_client client;
	const int before = open_fds();
	begin(&server);
	static const uint32_t words[] = {5, VTEST_CREATE_RENDERER, 0x65626375, 0xb00, 0, VTEST_PING_PROTOCOL_VERSION, 2,
		VTEST_RESOURCE_BUSY_WAIT, 0, 0, 1, VTEST_PROTOCOL_VERSION_NUM, 3, 1, VTEST_GET_PARAM, 1, 2, VTEST_GET_CAPSET, 4,
		0, 1, VTEST_CONTEXT_INIT, 4, 6, VTEST_RESOURCE_CREATE_BLOB, 2, 1, RING_SIZE, 0, 0, 0};
	uint8_t bytes[sizeof(words)];
	memcpy(bytes, words, 12); /* the name takes 5 bytes, not 8 */
	memcpy(bytes + 12, (const uint8_t *)words + 12, 1);
	memcpy(bytes + 13, (const uint8_t *)words + 16, sizeof(words) - 16);
	for (size_t size = 0; size <= sizeof(words) - 3; size++) {
		client_connect(&client, &server);
		client_write(&client, bytes, size);
		close(client.fd);
	}
	/* the same, byte for byte, from one who stays for the answers */
	client_connect(&client, &server);
	for (size_t i = 0; i < sizeof(words) - 3; i++) {
		client_write(&client, bytes + i, 1);
	}
	uint8_t answers[8 + 12 + 12 + 16 + 8 + 41 * 4 + 12];
	client_read(&client, answers, sizeof(answers));
	close(client_receive_fd(&client));
	close(client.fd);
	server_stop(&server);
	CHECK(open_fds() == before);
}

static void test_one_client_too_many_is_told(void) {
	struct venus_server server;
	struct venus_client clients[3];
	server_init_guest(&server);
	server.guest.limits.clients = 2;
	server_start(&server, false);
	connect_and_init(&clients[0], &server);
	connect_and_init(&clients[1], &server);
	client_connect(&clients[2], &server);
	CHECK(client_init(&clients[2]) == 0);
	close(clients[2].fd);
	close(clients[0].fd);
	do { /* when the first is gone */
		client_connect(&clients[0], &server);
	} while (client_init(&clients[0]) == 0 && close(clients[0].fd) == 0);
	close(clients[0].fd);
	close(clients[1].fd);
	server_stop(&server);
}

/* Many at once: more than are served or refused at the same time wait in the queue; each is answered. */
static void test_a_crowd(void) {
	enum { CROWD = 40 };
	struct venus_server server;
	struct venus_client clients[CROWD];
	server_init_guest(&server);
	server.guest.limits.clients = 2;
	server_start(&server, false);
	for (int i = 0; i < CROWD; i++) {
		client_connect(&clients[i], &server);
	}
	for (int i = 0; i < CROWD; i++) {
		const uint32_t version = client_init(&clients[i]);
		CHECK(version == 0 || version == 3);
		close(clients[i].fd);
	}
	server_stop(&server);
}

static uint32_t guard_message(struct venus_server *server, uint32_t words[6], int *fd) {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = words, .iov_len = RC_GUARD_MESSAGE_SIZE};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	CHECK(recvmsg(server->guard, &msg, MSG_CMSG_CLOEXEC) == RC_GUARD_MESSAGE_SIZE);
	const struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	*fd = -1;
	if (header) {
		memcpy(fd, CMSG_DATA(header), sizeof(int));
	}
	return words[0];
}

static void test_the_supervisor_can_end_a_ring(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	uint32_t words[6];
	int socket_fd, memfd, none;
	server_init_guest(&server);
	server.guarded = true;
	server_start(&server, false);
	connect_and_init(&client, &server);
	ring_init(&ring, &client, 0x1234);
	CHECK(guard_message(&server, words, &socket_fd) == RC_GUARD_CLIENT_ADDED && socket_fd >= 0);
	CHECK(words[1] == 1 && words[2] == 0 && words[3] == 0 && words[4] == 0 && words[5] == 0);
	CHECK(guard_message(&server, words, &memfd) == RC_GUARD_RING_ADDED && memfd >= 0);
	CHECK(words[1] == 1 && words[2] == 1 && words[4] == RING_STATUS && words[5] == 0);
	const uint32_t fatal = RC_VN_RING_FATAL;
	CHECK(fcntl(memfd, F_GET_SEALS) & F_SEAL_SHRINK);
	CHECK(pwrite(memfd, &fatal, 4, RING_STATUS) == 4);
	ring_wait_fatal(&ring);
	close(memfd);
	close(client.fd);
	CHECK(guard_message(&server, words, &none) == RC_GUARD_RING_REMOVED && none < 0 && words[2] == 1);
	CHECK(guard_message(&server, words, &none) == RC_GUARD_CLIENT_REMOVED && none < 0 && words[1] == 1);
	close(socket_fd);
	ring_finish(&ring);
	server_stop(&server);
}

static void test_a_server_that_ends_tells_its_clients_first(void) {
	struct venus_server server;
	struct venus_client client;
	struct venus_ring ring;
	begin(&server);
	connect_and_init(&client, &server);
	ring_init(&ring, &client, 1);
	ring_ask(&ring, 0);
	server_stop(&server);
	CHECK(atomic_load(ring.status) & RC_VN_RING_FATAL);
	CHECK(client_is_closed(&client));
	close(client.fd);
	ring_finish(&ring);
}

static void test_once(void) {
	struct venus_server server;
	struct venus_client client;
	server_init_guest(&server);
	server_start(&server, true);
	connect_and_init(&client, &server);
	close(client.fd);
	CHECK(pthread_join(server.thread, NULL) == 0);
	server.ended_by_itself = true;
	server_stop(&server);
}

int main(void) {
	test_a_stock_client_comes_works_and_goes();
	test_answers_to_old_and_new_clients();
	test_blobs_have_the_size_that_was_asked_for();
	test_blobs_over_the_limit_cannot_be_mapped();
	test_more_blobs_than_the_table_holds_end_the_client();
	test_syncs_count();
	test_nonsense_before_a_ring_closes_the_connection();
	test_nonsense_after_a_ring_is_fatal_and_the_socket_stays();
	test_the_end_may_come_anywhere();
	test_one_client_too_many_is_told();
	test_a_crowd();
	test_the_supervisor_can_end_a_ring();
	test_a_server_that_ends_tells_its_clients_first();
	test_once();
	return 0;
}
