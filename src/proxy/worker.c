/* worker.c - a worker's life: its loop, listeners, the catalog it uses, and where its connections to targets hang.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/worker.h"

#include "base/thread.h"
#include "net/resolve.h"
#include "proxy/request.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- ids ---- */

/* xoshiro-like mixing of two words seeded by the system: unique and hard to guess by accident, no secret. */
static uint64_t next_id(struct worker *w)
{
	uint64_t a = w->id_state[0], b = w->id_state[1];
	w->id_state[0] = b;
	a ^= a << 23;
	w->id_state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return w->id_state[1] + b;
}

uint32_t worker_random(struct worker *w)
{
	return (uint32_t)(next_id(w) >> 32);
}

void worker_new_id(struct worker *w, char *out)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
	uint64_t high = next_id(w), low = next_id(w);
	memcpy(out, "req_", 4);
	for (int i = 0; i < 12; i++, high >>= 5, low >>= 5) {
		out[4 + i] = digits[high & 31];
		out[16 + i] = digits[low & 31];
	}
	out[28] = 0;
}

/* ---- clients ---- */

static void on_request(struct http_conn *c)
{
	request_begin(c->server->owner, c);
}

static void on_gone(struct http_conn *c)
{
	struct request *r = c->user;
	if (!r)
		return;
	r->conn = NULL;
	r->gone = true;
	request_run(r);
}

static void on_drained(struct http_conn *c)
{
	struct request *r = c->user;
	if (!r || !r->paused)
		return;
	r->paused = false;
	r->progress_ms = loop_now_ms(&r->worker->loop);
	if (r->upstream)
		upstream_resume(r->upstream);
}

static void on_refuse(struct http_conn *c, int status, const char *why)
{
	fail_refused(c->server->owner, c, status, why);
}

static const struct http_server_events server_events = {
	.request = on_request, .gone = on_gone, .drained = on_drained, .refuse = on_refuse,
};

static void on_accepted(struct listener *l, int fd)
{
	struct worker *w = CONTAINER_OF(l->loop, struct worker, loop);
	count(&w->metrics.connections);
	http_conn_open(&w->server, fd);
}

/* ---- targets ---- */

static void target_free(struct origin *o)
{
	struct worker_target *t = CONTAINER_OF(o, struct worker_target, origin);
	tls_client_free(t->own_tls);
	free(t->address);
	free(t->host);
	free(t);
}

static struct tls_client *tls_for(struct worker *w, const struct catalog_target *t, struct worker_target *own, const char **why)
{
	if (t->ca_file.len)
		return own->own_tls = tls_client_new(t->ca_file.ptr, why);
	if (!w->tls)
		w->tls = tls_client_new(NULL, why);
	return w->tls;
}

static struct worker_target *target_make(struct worker *w, const struct catalog_target *t, const char **why)
{
	struct worker_target *own = mem_zero(sizeof(*own));
	struct tls_client *tls = t->https ? tls_for(w, t, own, why) : NULL;
	if (t->https && !tls) {
		free(own);
		return NULL;
	}
	own->address = mem_str(t->address);
	own->host = mem_str(t->host);
	origin_init(&own->origin, &w->loop, str_from(own->host), t->port, tls);
	own->origin.unused = target_free;
	return own;
}

struct origin *worker_origin(struct worker *w, const struct catalog_target *t, const char **why)
{
	uint32_t i = t->state->index;
	if (i >= w->target_count) {
		uint32_t count = i + 64;
		w->targets = mem_grow(w->targets, count * sizeof(*w->targets));
		memset(w->targets + w->target_count, 0, (count - w->target_count) * sizeof(*w->targets));
		w->target_count = count;
	}
	struct worker_target *own = w->targets[i];
	if (own && str_eq(str_from(own->address), t->address))
		return &own->origin;
	if (own)
		origin_close(&own->origin);
	w->targets[i] = target_make(w, t, why);
	return w->targets[i] ? &w->targets[i]->origin : NULL;
}

/* ---- messages from the control thread ---- */

struct catalog_message {
	struct message message;
	struct worker *worker;
	struct catalog *catalog;
};

static void use_catalog(struct worker *w, struct catalog *c)
{
	catalog_unref(w->catalog);
	w->catalog = c;
	w->server.max_body = (size_t)c->max_body;
	w->server.idle_ms = c->client_idle_ms;
}

static void receive_catalog(struct message *m)
{
	struct catalog_message *cm = CONTAINER_OF(m, struct catalog_message, message);
	use_catalog(cm->worker, cm->catalog);
	free(cm);
}

void worker_set_catalog(struct worker *w, struct catalog *c)
{
	struct catalog_message *m = mem_zero(sizeof(*m));
	m->message.receive = receive_catalog;
	m->worker = w;
	m->catalog = catalog_ref(c);
	mailbox_post(&w->loop, &m->message);
}

struct metrics_message {
	struct message message;
	struct worker *worker;
	char request_id[32];
	char *text;
	size_t len;
};

static void receive_metrics(struct message *m)
{
	struct metrics_message *mm = CONTAINER_OF(m, struct metrics_message, message);
	LIST_EACH(&mm->worker->requests, at) {
		struct request *r = CONTAINER_OF(at, struct request, link);
		if (strcmp(r->id, mm->request_id) != 0)
			continue;
		r->own_answer = arena_dup(&r->arena, str_of(mm->text, mm->len));
		request_run(r);
		break; /* else the client has left meanwhile */
	}
	free(mm->text);
	free(mm);
}

void worker_give_metrics(struct worker *w, const char *request_id, struct str text)
{
	struct metrics_message *m = mem_zero(sizeof(*m));
	m->message.receive = receive_metrics;
	m->worker = w;
	m->text = mem_str(text);
	m->len = text.len;
	snprintf(m->request_id, sizeof(m->request_id), "%s", request_id);
	mailbox_post(&w->loop, &m->message);
}

/* ---- requests that wait for others ---- */

static void receive_wake(struct message *m)
{
	struct worker *w = CONTAINER_OF(m, struct worker, woken);
	atomic_store(&w->wake_posted, false);
	LIST_EACH(&w->waiting, at) /* a request that goes on leaves the list */
		request_run(CONTAINER_OF(at, struct request, waiting));
}

void worker_wake(struct worker *w)
{
	if (!atomic_exchange(&w->wake_posted, true))
		mailbox_post(&w->loop, &w->woken);
}

struct grant {
	struct message message;
	struct worker *worker;
	struct ticket *ticket;
};

static void receive_grant(struct message *m)
{
	struct grant *g = CONTAINER_OF(m, struct grant, message);
	struct request *r = queue_owner(g->ticket);
	struct places *p = queue_receive(g->worker->queue, g->ticket, loop_now_ms(&g->worker->loop));
	free(g);
	if (!p) /* it had left the line */
		return;
	r->ticket = NULL;
	r->given = p;
	request_run(r);
}

void worker_granted(struct worker *w, struct ticket *t)
{
	struct grant *g = mem_zero(sizeof(*g));
	g->message.receive = receive_grant;
	g->worker = w;
	g->ticket = t;
	mailbox_post(&w->loop, &g->message);
}

struct order {
	struct message message;
	struct worker *worker;
	bool now;
};

static void look_whether_done(struct timer *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, drain);
	if (w->server.conn_count == 0)
		uv_stop(&w->loop.uv);
	else
		timer_start(&w->loop, t, 20);
}

static void receive_order(struct message *m)
{
	struct order *o = CONTAINER_OF(m, struct order, message);
	struct worker *w = o->worker;
	w->draining = true;
	for (unsigned i = 0; i < w->listener_count; i++) {
		listener_accept_rest(&w->listeners[i]);
		listener_close(&w->listeners[i]);
	}
	if (o->now)
		http_server_close(&w->server);
	else
		http_server_drain(&w->server);
	if (!timer_running(&w->drain))
		timer_start(&w->loop, &w->drain, 1);
	free(o);
}

static void post_order(struct worker *w, bool now)
{
	struct order *o = mem_zero(sizeof(*o));
	o->message.receive = receive_order;
	o->worker = w;
	o->now = now;
	mailbox_post(&w->loop, &o->message);
}

void worker_drain(struct worker *w)
{
	post_order(w, false);
}

void worker_stop(struct worker *w)
{
	post_order(w, true);
}

/* ---- life ---- */

static bool listen_all(struct worker *w, const struct worker_listen *listen, size_t n, struct buf *why)
{
	for (size_t i = 0; i < n && i < WORKER_LISTENERS; i++) {
		char text[80];
		const union address *a = &listen[i].address;
		int rc = listener_open(&w->listeners[i], &w->loop, &a->any, address_len(a), on_accepted);
		if (rc) {
			address_text(a, text, sizeof(text));
			buf_addf(why, "cannot listen on %s: %s", text, strerror(-rc));
			return false;
		}
		w->listener_count++;
	}
	return true;
}

struct worker *worker_new(unsigned number, const struct worker_listen *listen, size_t n, struct catalog *catalog, struct buf *why)
{
	struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) / 64 * 64);
	if (!w)
		abort();
	memset(w, 0, sizeof(*w));
	loop_init(&w->loop);
	w->number = number;
	w->fields = mem_alloc(WORKER_FIELDS);
	gethostname(w->hostname, sizeof(w->hostname) - 1);
	list_init(&w->requests);
	list_init(&w->waiting);
	w->woken.receive = receive_wake;
	timer_init(&w->drain, look_whether_done);
	random_bytes(w->id_state, sizeof(w->id_state));
	http_server_init(&w->server, &w->loop, &server_events, w);
	use_catalog(w, catalog_ref(catalog));
	if (listen_all(w, listen, n, why))
		return w;
	worker_free(w);
	return NULL;
}

static void *run(void *arg)
{
	struct worker *w = arg;
	char name[16];
	snprintf(name, sizeof(name), "worker %u", w->number);
	thread_name(name);
	loop_run(&w->loop);
	if (w->ended)
		w->ended(w->user);
	return NULL;
}

bool worker_start(struct worker *w)
{
	return pthread_create(&w->thread, NULL, run, w) == 0;
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}

void worker_free(struct worker *w)
{
	for (unsigned i = 0; i < w->listener_count; i++)
		listener_close(&w->listeners[i]);
	http_server_close(&w->server);
	for (uint32_t i = 0; i < w->target_count; i++)
		if (w->targets[i])
			origin_close(&w->targets[i]->origin);
	for (int i = 0; i < 4; i++)
		loop_turn(&w->loop);
	loop_release(&w->loop);
	http_slabs_release(&w->loop);
	resolve_release(&w->loop);
	tls_client_free(w->tls);
	catalog_unref(w->catalog);
	series_release(&w->series);
	free(w->targets);
	free(w->fields);
	free(w);
}
