/* admin_http.c - the admin listener: /metrics, /health, /ready. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/url.h"

#include <string.h>

/* ---- metrics ---- */

static void print_targets(struct control *c, struct buf *out, bool up)
{
	for (uint32_t i = 0; i < c->catalog->target_count; i++) {
		const struct catalog_target *t = &c->catalog->targets[i];
		uint32_t state = atomic_load_explicit(&t->state->up, memory_order_relaxed);
		uint32_t value = up ? state == ENGINE_UP : atomic_load_explicit(&t->state->in_flight, memory_order_relaxed);
		buf_addf(out, "%s{target=", up ? "valet_target_up" : "valet_target_in_flight");
		metrics_quote(out, t->name);
		buf_addf(out, "} %u\n", value);
	}
}

/* The gauge of open connections is the length of lists that belong to the workers: read without their help, so it may be off by those that
 * come and go at this moment. */
static void take_connections(struct control *c)
{
	for (unsigned i = 0; i < c->worker_count; i++)
		atomic_store_explicit(&c->workers[i]->metrics.connections_open,
				      __atomic_load_n(&c->workers[i]->server.conn_count, __ATOMIC_RELAXED), memory_order_relaxed);
}

void admin_metrics(struct control *c, struct buf *out)
{
	struct metrics *threads[CONTROL_WORKERS_MAX];
	struct series_table *tables[CONTROL_WORKERS_MAX];
	take_connections(c);
	for (unsigned i = 0; i < c->worker_count; i++) {
		threads[i] = &c->workers[i]->metrics;
		tables[i] = &c->workers[i]->series;
	}
	struct metrics_source from = {
		threads, tables, c->worker_count, registry_series_count(c->registry), registry_series_labels, c->registry,
		(double)(clock_mono_us() - c->began_us) / 1e6,
	};
	metrics_print(&from, out);
	metrics_print_one(out, "valet_log_dropped_total", "counter", "Log lines dropped because the writer was behind.", (double)log_dropped());
	BUF_ADD(out, "# HELP valet_build_info 1; the label says which Valet this is.\n# TYPE valet_build_info gauge\n"
		     "valet_build_info{version=\"" VALET_VERSION "\"} 1\n"
		     "# HELP valet_target_up 1 while the target answers its probes.\n# TYPE valet_target_up gauge\n");
	print_targets(c, out, true);
	BUF_ADD(out, "# HELP valet_target_in_flight Requests in flight at the target.\n# TYPE valet_target_in_flight gauge\n");
	print_targets(c, out, false);
}

/* ---- requests ---- */

#define PLAIN "content-type: text/plain; charset=utf-8\r\n"

static void answer_metrics(struct control *c, struct http_conn *conn)
{
	struct buf text;
	buf_init(&text, (size_t)256 << 20);
	admin_metrics(c, &text);
	http_respond(conn, 200, STR("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), buf_str(&text));
	buf_release(&text);
}

/* A page whose name was pointed at this address must not read it (DNS rebinding). */
static bool host_is_ours(struct str host)
{
	union address a;
	struct str name = url_host_name(host);
	return address_parse(name, 0, &a) || str_ieq(name, STR("localhost"));
}

static void on_request(struct http_conn *conn)
{
	struct control *c = conn->server->owner;
	struct str path, query;
	if (!host_is_ours(http_head_get(conn->head, STR("host"))) || http_head_get(conn->head, STR("origin")).ptr) {
		http_respond(conn, 403, STR(PLAIN), STR("the admin listener serves this machine only\n"));
		return;
	}
	if (conn->head->method != METHOD_GET && conn->head->method != METHOD_HEAD) {
		http_respond(conn, 405, STR(PLAIN "allow: GET, HEAD\r\n"), STR("only GET\n"));
		return;
	}
	if (!url_split_target(http_head_url(conn->head), &path, &query))
		path = STR_NONE;
	if (str_eq(path, STR("/metrics")))
		answer_metrics(c, conn);
	else if (str_eq(path, STR("/health")))
		http_respond(conn, 200, STR(PLAIN "x-valet: 1\r\nserver: valet\r\n"), STR("ok\n"));
	else if (str_eq(path, STR("/ready")))
		http_respond(conn, c->ready && !c->draining ? 200 : 503, STR(PLAIN), c->ready && !c->draining ? STR("ready\n") : STR("not ready\n"));
	else
		http_respond(conn, 404, STR(PLAIN "x-valet: 1\r\nserver: valet\r\n"), STR("there is /metrics, /health and /ready here\n"));
}

static void on_gone(struct http_conn *conn)
{
}

static const struct http_server_events events = {.request = on_request, .gone = on_gone};

static void on_accepted(struct listener *l, int fd)
{
	struct control *c = CONTAINER_OF(l, struct control, admin_listener);
	http_conn_open(&c->admin_server, fd);
}

/* ---- open and close ---- */

bool admin_open(struct control *c, struct buf *why)
{
	const struct settings_address *a = &c->settings->admin_listen;
	union address address;
	if (a->text.len == 0)
		return true;
	if (!a->loopback) {
		buf_addf(why, "refusing to open the admin listener on %.*s: it has no keys yet; use an address of loopback", STR_ARG(a->text));
		return false;
	}
	if (!address_parse(a->host, a->port, &address)) {
		buf_addf(why, "admin_listen: '%.*s' is not an address", STR_ARG(a->text));
		return false;
	}
	http_server_init(&c->admin_server, &c->loop, &events, c);
	c->admin_server.max_body = 1 << 20;
	c->admin_server.conn_max = 64;
	int rc = listener_open(&c->admin_listener, &c->loop, &address.any, address_len(&address), on_accepted);
	if (rc) {
		buf_addf(why, "cannot open the admin listener on %.*s: %s", STR_ARG(a->text), strerror(-rc));
		return false;
	}
	c->admin_open = true;
	listener_name(&c->admin_listener, c->admin_address, sizeof(c->admin_address));
	return true;
}

void admin_close(struct control *c)
{
	if (!c->admin_open)
		return;
	listener_close(&c->admin_listener);
	http_server_close(&c->admin_server);
	c->admin_open = false;
}
