/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "transport/vtest.h"

#include <errno.h>
#include <malloc.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "execute/venus/teardown.h"
#include "transport/guard.h"
#include "transport/ring.h"
#include "transport/vtest_client.h"
#include "util/clock.h"
#include "util/futex.h"

/* Clients ask for a sign of life each 3 s. */
#define TICK_NS UINT64_C(500000000)
#define END_NS UINT64_C(30000000000)

/* Clients beyond the limit that are being told so. More wait in the socket's queue. */
enum { MAX_REFUSED = 16 };

struct client {
	struct rc_list link; /* rc_vtest::clients; changed by the loop's thread, under the mutex */
	struct rc_vtest *vtest;
	struct rc_vn_context *context; /* under the mutex; NULL: gone */
	uint32_t number;
	bool counted; /* in usage.clients */
	pthread_t thread;
	_Atomic uint32_t ended; /* futex: 1 when the thread touches nothing any more */
	struct rc_vtest_client protocol;
};

struct rc_vtest {
	struct rc_loop *loop;
	struct rc_vn_guest *guest;
	struct rc_watch listener; /* not watched while paused */
	int listener_fd;
	struct rc_watch news; /* eventfd: a client has ended, or it is time to try to listen again */
	struct rc_vn_guard guard;
	struct rc_vn_blob *refusal;
	bool guarded, once, served; /* served: once's client has come */
	bool paused;                /* not listening: there is no room */
	_Atomic bool retry;         /* not listening for want of fds or memory: the ticker has the loop try again */
	_Atomic bool abandoned;     /* a hung thread or device was left behind */
	uint32_t last_number, thread_count;
	pthread_mutex_t mutex;
	struct rc_list clients;
	pthread_t ticker;
	_Atomic uint32_t stopping; /* futex */
};

static void post_news(struct rc_vtest *vtest) {
	const uint64_t one = 1;
	ssize_t written = write(vtest->news.fd, &one, sizeof(one));
	(void)written; /* EAGAIN: it is awake already */
}

static void *ticker_main(void *data) {
	struct rc_vtest *vtest = data;
	pthread_setname_np(pthread_self(), "venus ticker");
	while (!atomic_load(&vtest->stopping)) {
		pthread_mutex_lock(&vtest->mutex);
		for (struct rc_list *link = vtest->clients.next; link != &vtest->clients; link = link->next) {
			struct client *client = rc_container_of(link, struct client, link);
			if (client->context) {
				rc_vn_rings_set_alive(client->context);
			}
		}
		pthread_mutex_unlock(&vtest->mutex);
		if (atomic_load(&vtest->retry)) {
			post_news(vtest);
		}
		rc_futex_wait(&vtest->stopping, 0, TICK_NS);
	}
	return NULL;
}

/* Threads of ours take no signals: the owner's handlers run where it expects them. */
static bool start_thread(pthread_t *thread, void *(*main)(void *data), void *data) {
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool started = pthread_create(thread, NULL, main, data) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

/* ---- a client's thread ---- */

static void end_context(struct client *client, bool rings_ended) {
	struct rc_vtest *vtest = client->vtest;
	struct rc_vn_context *context = client->context;
	pthread_mutex_lock(&vtest->mutex);
	client->context = NULL;
	pthread_mutex_unlock(&vtest->mutex);
	if (!rings_ended) {
		atomic_store(&vtest->abandoned, true); /* the context stays: a thread uses it */
		return;
	}
	rc_vn_context_teardown(context);
	if (atomic_load(&context->abandoned)) {
		atomic_store(&vtest->abandoned, true);
	}
	rc_vn_context_destroy(context);
	/* What a client held lies between what others hold: without this a worker keeps the most that it ever needed. */
	malloc_trim(0);
}

static void *client_main(void *data) {
	struct client *client = data;
	struct rc_vtest *vtest = client->vtest;
	pthread_setname_np(pthread_self(), "venus client");
	if (client->counted && !rc_vn_guard_add_client(client->context->guard, client->number, client->protocol.fd)) {
		rc_vn_context_log(client->context, RC_LOG_WARN, "the supervisor was not told about the client");
	}
	const bool rings_ended = rc_vtest_client_serve(&client->protocol);
	rc_vn_context_log(client->context, RC_LOG_INFO, "disconnected");
	end_context(client, rings_ended);
	if (client->counted) {
		rc_vn_guard_remove_client(vtest->guarded ? &vtest->guard : NULL, client->number);
		atomic_fetch_sub(&vtest->guest->usage.clients, 1);
	}
	close(client->protocol.fd);
	rc_futex_wake(&client->ended);
	post_news(vtest);
	return NULL;
}

/* ---- the loop's thread ---- */

static void pause_listening(struct rc_vtest *vtest) {
	rc_loop_remove(vtest->loop, &vtest->listener);
	vtest->paused = true;
}

static void stop_listening(struct rc_vtest *vtest) {
	rc_loop_remove(vtest->loop, &vtest->listener);
	if (vtest->listener_fd >= 0) {
		close(vtest->listener_fd);
	}
	vtest->listener_fd = -1;
}

static struct client *create_client(struct rc_vtest *vtest, int fd) {
	struct client *client = calloc(1, sizeof(*client));
	struct rc_vn_guest *guest = vtest->guest;
	if (!client) {
		return NULL;
	}
	client->vtest = vtest;
	client->number = ++vtest->last_number;
	client->counted = rc_vn_usage_take32(&guest->usage.clients, 1, guest->limits.clients);
	if (rc_vn_context_create(guest, client->number, vtest->guarded && client->counted ? &vtest->guard : NULL,
			&client->context) != RC_OK) {
		goto err;
	}
	client->protocol.context = client->context;
	client->protocol.refusal = vtest->refusal;
	client->protocol.fd = fd;
	client->protocol.refused = !client->counted;
	if (!client->counted) {
		atomic_fetch_add(&guest->usage.refused, 1);
		rc_log(guest->log, RC_LOG_WARN, "venus %u: refused: there are %u clients, the limit", client->number,
			guest->limits.clients);
	}
	pthread_mutex_lock(&vtest->mutex);
	rc_list_append(&vtest->clients, &client->link);
	pthread_mutex_unlock(&vtest->mutex);
	if (start_thread(&client->thread, client_main, client)) {
		return client;
	}
	pthread_mutex_lock(&vtest->mutex);
	rc_list_remove(&client->link);
	pthread_mutex_unlock(&vtest->mutex);
	rc_vn_context_destroy(client->context);
err:
	if (client->counted) {
		atomic_fetch_sub(&guest->usage.clients, 1);
	}
	free(client);
	return NULL;
}

static bool has_room(const struct rc_vtest *vtest) {
	return vtest->thread_count < vtest->guest->limits.clients + MAX_REFUSED && !(vtest->once && vtest->served);
}

static void handle_listener(struct rc_watch *watch) {
	struct rc_vtest *vtest = rc_container_of(watch, struct rc_vtest, listener);
	if (!has_room(vtest)) {
		pause_listening(vtest);
		return;
	}
	int fd = accept4(vtest->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			rc_log(vtest->guest->log, RC_LOG_WARN, "venus: a client must wait: no fds or memory are left");
			pause_listening(vtest);
			atomic_store(&vtest->retry, true);
		}
		return;
	}
	if (!create_client(vtest, fd)) {
		rc_log(vtest->guest->log, RC_LOG_ERROR, "venus: out of memory, fds or threads for a client");
		close(fd);
		return;
	}
	vtest->thread_count++;
	vtest->served = true;
	if (vtest->once) {
		stop_listening(vtest);
	}
}

static void handle_news(struct rc_watch *watch) {
	uint64_t value;
	ssize_t size = read(watch->fd, &value, sizeof(value));
	(void)size; /* rc_vtest_reap() looks */
}

static void resume_listening(struct rc_vtest *vtest) {
	if (vtest->paused && has_room(vtest) &&
		rc_loop_add(vtest->loop, &vtest->listener, vtest->listener_fd, handle_listener)) {
		vtest->paused = false;
		atomic_store(&vtest->retry, false);
	}
}

enum rc_result rc_vtest_create(const struct rc_vtest_params *params, struct rc_vtest **out) {
	struct rc_vtest *vtest = calloc(1, sizeof(*vtest));
	if (!vtest) {
		return RC_ERROR_NOMEM;
	}
	vtest->loop = params->loop;
	vtest->guest = params->guest;
	vtest->once = params->once;
	vtest->guarded = params->guard_fd >= 0;
	rc_list_init(&vtest->clients);
	pthread_mutex_init(&vtest->mutex, NULL);
	rc_vn_guard_init(&vtest->guard, params->guard_fd);
	vtest->listener.fd = vtest->news.fd = -1;
	vtest->refusal = rc_vn_blob_create_refused();
	vtest->listener_fd = fcntl(params->listener, F_DUPFD_CLOEXEC, 3);
	int news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!vtest->refusal || vtest->listener_fd < 0 || news_fd < 0 ||
		fcntl(vtest->listener_fd, F_SETFL, O_NONBLOCK) < 0 ||
		!rc_loop_add(vtest->loop, &vtest->news, news_fd, handle_news) ||
		!rc_loop_add(vtest->loop, &vtest->listener, vtest->listener_fd, handle_listener)) {
		goto err;
	}
	if (!start_thread(&vtest->ticker, ticker_main, vtest)) {
		goto err;
	}
	*out = vtest;
	return RC_OK;

err:
	stop_listening(vtest);
	rc_loop_remove(vtest->loop, &vtest->news);
	if (news_fd >= 0) {
		close(news_fd);
	}
	rc_vn_blob_unref(vtest->refusal);
	rc_vn_guard_finish(&vtest->guard);
	pthread_mutex_destroy(&vtest->mutex);
	free(vtest);
	return RC_ERROR_IO;
}

static void join_client(struct rc_vtest *vtest, struct client *client) {
	pthread_join(client->thread, NULL);
	pthread_mutex_lock(&vtest->mutex);
	rc_list_remove(&client->link);
	pthread_mutex_unlock(&vtest->mutex);
	vtest->thread_count--;
	free(client);
}

bool rc_vtest_reap(struct rc_vtest *vtest) {
	bool ended = false;
	for (struct rc_list *link = vtest->clients.next, *next; link != &vtest->clients; link = next) {
		next = link->next;
		struct client *client = rc_container_of(link, struct client, link);
		if (atomic_load(&client->ended)) {
			join_client(vtest, client);
			ended = true;
		}
	}
	if (ended && vtest->once && rc_list_empty(&vtest->clients)) {
		vtest->loop->stopping = true;
	}
	resume_listening(vtest);
	return atomic_load(&vtest->abandoned) && rc_list_empty(&vtest->clients);
}

void rc_vtest_end_clients(struct rc_vtest *vtest) {
	pthread_mutex_lock(&vtest->mutex);
	for (struct rc_list *link = vtest->clients.next; link != &vtest->clients; link = link->next) {
		struct rc_vn_context *context = rc_container_of(link, struct client, link)->context;
		if (context) {
			const uint64_t one = 1;
			rc_vn_rings_set_fatal(context); /* before its socket closes: the client would wait for ever */
			atomic_store(&context->closing, true);
			ssize_t written = write(context->wake_fd, &one, sizeof(one));
			(void)written;
		}
	}
	pthread_mutex_unlock(&vtest->mutex);
}

/* False: a thread does not end in time. */
static bool join_all(struct rc_vtest *vtest) {
	const uint64_t end_ns = rc_now_ns() + END_NS;
	for (struct rc_list *link = vtest->clients.next, *next; link != &vtest->clients; link = next) {
		next = link->next;
		struct client *client = rc_container_of(link, struct client, link);
		while (!atomic_load(&client->ended) && rc_now_ns() < end_ns) {
			rc_futex_wait(&client->ended, 0, TICK_NS);
		}
		if (atomic_load(&client->ended)) {
			join_client(vtest, client);
		}
	}
	return rc_list_empty(&vtest->clients);
}

bool rc_vtest_destroy(struct rc_vtest *vtest) {
	if (!vtest) {
		return true;
	}
	stop_listening(vtest);
	rc_vtest_end_clients(vtest);
	if (!join_all(vtest)) {
		rc_log(vtest->guest->log, RC_LOG_ERROR, "venus: a client's thread does not end");
		return false; /* with all that it uses */
	}
	rc_futex_wake(&vtest->stopping);
	pthread_join(vtest->ticker, NULL);
	int news_fd = vtest->news.fd;
	rc_loop_remove(vtest->loop, &vtest->news);
	close(news_fd);
	if (atomic_load(&vtest->abandoned)) {
		return false; /* what hangs may still look at it */
	}
	rc_vn_blob_unref(vtest->refusal);
	rc_vn_guard_finish(&vtest->guard);
	pthread_mutex_destroy(&vtest->mutex);
	free(vtest);
	return true;
}
