/* control.c - the life of the gateway: opens everything in order, stops it in order.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- where to listen ---- */

static bool take_listen(struct control *c, struct buf *why)
{
	const struct settings *s = c->settings;
	for (size_t i = 0; i < s->listen.count && i < WORKER_LISTENERS; i++) {
		const struct settings_address *a = &s->listen.items[i];
		if (!a->loopback && s->auth != AUTH_OFF && keyring_count(c->govern.keyring) == 0) {
			buf_addf(why,
				 "refusing to listen on %.*s: everybody who can reach that address could use your engines, and there are no keys. "
				 "Make one first (valet key create NAME), listen on 127.0.0.1 (the default), or, if you trust everybody on that "
				 "network, write 'auth: off' into the settings",
				 STR_ARG(a->text));
			return false;
		}
		if (!address_parse(a->host, a->port, &c->listen[i].address)) {
			buf_addf(why, "cannot listen on '%.*s': not an address", STR_ARG(a->text));
			return false;
		}
		c->listen_count++;
	}
	return true;
}

/* Workers share a port by SO_REUSEPORT, which would let a second Valet share it as well: find out first. */
static bool is_free(const union address *a, struct buf *why)
{
	char text[80];
	int one = 1, fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool fine = fd >= 0 && bind(fd, &a->any, address_len(a)) == 0;
	if (!fine) {
		address_text(a, text, sizeof(text));
		buf_addf(why, "cannot listen on %s: %s%s", text, strerror(errno),
			 errno == EADDRINUSE ? " (is a Valet running there already?)" : "");
	}
	if (fd >= 0)
		close(fd);
	return fine;
}

static unsigned worker_number(const struct settings *s)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (s->workers > 0)
		return s->workers < CONTROL_WORKERS_MAX ? (unsigned)s->workers : CONTROL_WORKERS_MAX;
	return cores < 1 ? 1 : cores > 4 ? 4 : (unsigned)cores;
}

/* ---- workers ---- */

struct note {
	struct message message;
	struct control *control;
	struct worker *worker;
	char request_id[32];
};

static void post_note(struct control *c, void (*receive)(struct message *), struct worker *w, const char *id)
{
	struct note *n = mem_zero(sizeof(*n));
	n->message.receive = receive;
	n->control = c;
	n->worker = w;
	snprintf(n->request_id, sizeof(n->request_id), "%s", id);
	mailbox_post(&c->loop, &n->message);
}

static void receive_ended(struct message *m)
{
	struct note *n = CONTAINER_OF(m, struct note, message);
	struct control *c = n->control;
	if (++c->ended_count == c->worker_count)
		loop_stop(&c->loop);
	free(n);
}

static void on_worker_ended(void *user)
{
	post_note(user, receive_ended, NULL, "");
}

static void receive_metrics_wanted(struct message *m)
{
	struct note *n = CONTAINER_OF(m, struct note, message);
	struct buf text;
	buf_init(&text, (size_t)256 << 20);
	admin_metrics(n->control, &text);
	worker_give_metrics(n->worker, n->request_id, buf_str(&text));
	buf_release(&text);
	free(n);
}

static void on_metrics_wanted(void *user, struct worker *w, const char *request_id)
{
	post_note(user, receive_metrics_wanted, w, request_id);
}

/* With port 0 the first worker gets a free one, and the others listen on the same. */
static void settle_ports(struct control *c, struct worker *first)
{
	for (size_t i = 0; i < c->listen_count; i++) {
		socklen_t len = sizeof(c->listen[i].address);
		getsockname(first->listeners[i].fd, &c->listen[i].address.any, &len);
	}
	listener_name(&first->listeners[0], c->address, sizeof(c->address));
}

static bool make_workers(struct control *c, struct buf *why)
{
	unsigned count = worker_number(c->settings);
	for (unsigned i = 0; i < count; i++) {
		struct worker *w = worker_new(i, c->listen, c->listen_count, c->catalog, why);
		if (!w)
			return false;
		w->user = c;
		w->ended = on_worker_ended;
		w->metrics_wanted = on_metrics_wanted;
		w->queue = c->capacity.queue;
		w->prefixes = c->capacity.prefixes;
		w->prefix_seed = c->capacity.prefix_seed;
		w->admin_key = secret_view(&c->govern.admin_secret);
		w->server.conn_max = (uint32_t)(c->settings->ceilings.max_connections / count + 1);
		c->workers[c->worker_count++] = w;
		if (i == 0)
			settle_ports(c, w);
	}
	return true;
}

static bool start_workers(struct control *c, struct buf *why)
{
	for (unsigned i = 0; i < c->worker_count; i++)
		if (!worker_start(c->workers[i])) {
			buf_addf(why, "cannot start a thread");
			return false;
		}
	return true;
}

/* ---- the watcher of engines ---- */

static void on_engines_changed(void *user)
{
	struct control *c = user;
	if (!c->draining)
		control_publish(c);
}

static void on_looked(void *user, const struct engine *e)
{
	capacity_looked(user, e);
}

static void on_engines_ready(void *user)
{
	struct control *c = user;
	c->ready = true;
	control_publish(c);
	screen_show(c);
}

static void start_watching(struct control *c)
{
	const struct settings *s = c->settings;
	uint16_t own[WORKER_LISTENERS + 1];
	size_t count = 0;
	struct str places[DISCOVER_PLACES_MAX];
	for (size_t i = 0; i < c->listen_count; i++)
		own[count++] = ntohs(c->listen[i].address.v4.sin_port);
	if (c->admin_open)
		own[count++] = s->admin_listen.port;
	size_t n = s->discover.count < DISCOVER_PLACES_MAX ? s->discover.count : DISCOVER_PLACES_MAX;
	for (size_t i = 0; i < n; i++)
		places[i] = s->discover.items[i].text;
	struct discover_options o = {
		.loop = &c->loop, .tls = c->tls, .defaults = s->discovery, .places = places, .place_count = n,
		.own_ports = own, .own_port_count = count, .interval_ms = s->discovery_interval_ms,
		.grace_ms = s->discovery_grace_ms, .changed = on_engines_changed, .looked = on_looked, .ready = on_engines_ready, .user = c,
	};
	c->discovery = discovery_new(&o);
	control_set_targets(c);
}

/* ---- stopping ---- */

static void stop_now(struct control *c)
{
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_stop(c->workers[i]);
}

static void drained_too_long(struct timer *t)
{
	struct control *c = CONTAINER_OF(t, struct control, drain);
	log_warn("some requests did not end within the time for draining; they are broken off");
	stop_now(c);
}

static void begin_drain(struct control *c)
{
	c->draining = true;
	log_info("stopping: no new clients, waiting up to %lld s for requests to end", (long long)c->settings->timeouts.drain_ms / 1000);
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_drain(c->workers[i]);
	timer_start(&c->loop, &c->drain, c->settings->timeouts.drain_ms);
}

static void on_stop_signal(struct loop_signal *s, int signum)
{
	struct control *c = signum == SIGTERM ? CONTAINER_OF(s, struct control, on_term) : CONTAINER_OF(s, struct control, on_int);
	if (c->draining)
		stop_now(c);
	else
		begin_drain(c);
}

static void on_reload_signal(struct loop_signal *s, int signum)
{
	reload_now(CONTAINER_OF(s, struct control, on_hup));
}

/* ---- life ---- */

static bool open_all(struct control *c, struct buf *why)
{
	const char *tls_why = NULL;
	if (!govern_open(c, worker_number(c->settings), why) || !take_listen(c, why))
		return false;
	for (size_t i = 0; i < c->listen_count; i++)
		if (!is_free(&c->listen[i].address, why))
			return false;
	for (size_t i = 0; i < c->settings->target_count && !c->tls; i++)
		if (c->settings->targets[i].url.https)
			c->tls = tls_client_new(NULL, &tls_why);
	capacity_open(c);
	govern_settings(c);
	control_publish(c);
	return admin_open(c, why) && make_workers(c, why) && govern_start(c, why) && start_workers(c, why);
}

static void close_all(struct control *c)
{
	discovery_free(c->discovery);
	admin_close(c);
	govern_stop(c);
	loop_turn(&c->loop);
	loop_turn(&c->loop);
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_free(c->workers[i]);
	loop_release(&c->loop);
	http_slabs_release(&c->loop);
	resolve_release(&c->loop);
	catalog_unref(c->catalog);
	govern_close(c);
	capacity_close(c);
	registry_free(c->registry);
	targets_release(c);
	tls_client_free(c->tls);
	settings_free(c->settings);
}

static void serve(struct control *c)
{
	govern_announce(c);
	start_watching(c);
	reload_begin_watching(c);
	targets_begin(c);
	loop_on_signal(&c->loop, &c->on_term, SIGTERM, on_stop_signal);
	loop_on_signal(&c->loop, &c->on_int, SIGINT, on_stop_signal);
	loop_on_signal(&c->loop, &c->on_hup, SIGHUP, on_reload_signal);
	loop_run(&c->loop);
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_join(c->workers[i]);
	govern_stop(c);
	log_info("stopped");
}

int control_run(const struct control_options *options)
{
	struct control *c = mem_zero(sizeof(*c));
	struct buf why;
	buf_init(&why, 4096);
	signal(SIGPIPE, SIG_IGN);
	c->options = *options;
	c->settings = options->settings;
	c->began_us = clock_mono_us();
	c->registry = registry_new();
	timer_init(&c->drain, drained_too_long);
	loop_init(&c->loop);
	bool fine = open_all(c, &why);
	if (fine)
		serve(c);
	else
		fprintf(stderr, "valet: %.*s\n", STR_ARG(buf_str(&why)));
	close_all(c);
	buf_release(&why);
	free(c);
	return fine ? 0 : 1;
}
