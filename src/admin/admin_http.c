/* admin_http.c - the admin listener: /metrics, /health, /ready, and the admin API. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/live.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/url.h"

#include <string.h>

/* ---- metrics ---- */

static uint32_t up_of(const struct target_state *s)
{
	return atomic_load_explicit(&s->up, memory_order_relaxed) == ENGINE_UP;
}

static uint32_t taken_of(const struct target_state *s)
{
	return atomic_load_explicit(&s->places.taken, memory_order_relaxed);
}

static uint32_t places_of(const struct target_state *s)
{
	return atomic_load_explicit(&s->places.limit, memory_order_relaxed);
}

static uint32_t breaker_of(const struct target_state *s)
{
	return (uint32_t)health_mode(&s->health);
}

static void print_targets(struct control *c, struct buf *out)
{
	static const struct {
		enum other_metric which;
		const char *name;
		uint32_t (*value)(const struct target_state *s);
	} rows[] = {
		{OTHER_TARGET_UP, "valet_target_up", up_of},
		{OTHER_TARGET_IN_FLIGHT, "valet_target_in_flight", taken_of},
		{OTHER_TARGET_PLACES, "valet_target_places", places_of},
		{OTHER_TARGET_BREAKER, "valet_target_breaker", breaker_of},
	};
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		metrics_print_head(out, rows[k].which);
		for (uint32_t i = 0; i < c->catalog->target_count; i++) {
			buf_addf(out, "%s{target=", rows[k].name);
			metrics_quote(out, c->catalog->targets[i].name);
			buf_addf(out, "} %u\n", rows[k].value(c->catalog->targets[i].state));
		}
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
	metrics_print_one(out, OTHER_LOG_DROPPED, (double)log_dropped());
	metrics_print_head(out, OTHER_BUILD_INFO);
	BUF_ADD(out, "valet_build_info{version=\"" VALET_VERSION "\"} 1\n");
	print_targets(c, out);
	capacity_metrics(c, out);
	govern_metrics(c, out);
}

/* ---- requests ---- */

#define API_FIELDS "content-type: application/json\r\ncache-control: no-store\r\n"
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

static void answer_ready(struct control *c, struct http_conn *conn)
{
	if (!c->ready || c->draining)
		http_respond(conn, 503, STR(PLAIN), STR("not ready\n"));
	else if (catalog_drained(c->catalog))
		http_respond(conn, 503, STR(PLAIN), STR("not ready: all targets are in maintenance\n"));
	else
		http_respond(conn, 200, STR(PLAIN), STR("ready\n"));
}

static void answer_open(struct control *c, struct http_conn *conn, struct str path)
{
	if (conn->head->method != METHOD_GET && conn->head->method != METHOD_HEAD)
		http_respond(conn, 405, STR(PLAIN "allow: GET, HEAD\r\n"), STR("only GET\n"));
	else if (str_eq(path, STR("/metrics")))
		answer_metrics(c, conn);
	else if (str_eq(path, STR("/health")))
		http_respond(conn, 200, STR(PLAIN "x-valet: 1\r\nserver: valet\r\n"), STR("ok\n"));
	else if (str_eq(path, STR("/ready")))
		answer_ready(c, conn);
	else
		http_respond(conn, 404, STR(PLAIN "x-valet: 1\r\nserver: valet\r\n"), STR("there is /metrics, /health, /ready and /api here\n"));
}

/* ---- the API: with the admin secret ---- */

static void answer_api_error(struct http_conn *conn, int status, struct str fields, struct str message, struct str code)
{
	struct buf body;
	buf_init(&body, 4096);
	api_put_error(&body, status, code, STR_NONE, message);
	http_respond(conn, status, fields, buf_str(&body));
	buf_release(&body);
}

static bool is_admin(struct control *c, const struct http_head *h)
{
	struct str given = http_head_credential(h);
	return !secret_is_off(&c->govern.admin_secret) && secret_same(given, secret_view(&c->govern.admin_secret));
}

static bool answer_live(struct control *c, struct http_conn *conn, struct str path)
{
	struct str rest = str_skip(path, sizeof("/api/live") - 1);
	if (!str_starts(path, STR("/api/live")) || c->draining)
		return false;
	if (rest.len == 0 && conn->head->method == METHOD_GET) {
		live_list(c, conn);
		return true;
	}
	if (!str_starts(rest, STR("/")) || !str_ends(rest, STR("/stop")) || conn->head->method != METHOD_POST)
		return false;
	if (!live_stop(c, conn, str_of(rest.ptr + 1, rest.len - sizeof("/stop"))))
		answer_api_error(conn, 404, STR(API_FIELDS), STR("there is no such request under way"), STR("not_found"));
	return true;
}

static void answer_api(struct control *c, struct http_conn *conn, struct str path, struct str query)
{
	struct buf body;
	if (!is_admin(c, conn->head)) {
		answer_api_error(conn, 401, STR(API_FIELDS "www-authenticate: Bearer\r\n"),
				 STR("the admin secret is needed here: 'Authorization: Bearer ...'; it stands in admin.key in the state folder, or in VALET_ADMIN_KEY"),
				 STR("invalid_api_key"));
		return;
	}
	if (answer_live(c, conn, path))
		return;
	struct api_request r = {
		.method = str_from(http_method_name(conn->head->method)), .path = path, .query = query, .body = conn->body,
		.now_s = books_now_us(c->govern.books) / 1000000,
	};
	buf_init(&body, (size_t)256 << 20);
	int status = api_do(c->govern.api, &r, &body);
	if (status)
		http_respond(conn, status, STR(API_FIELDS), buf_str(&body));
	else
		answer_api_error(conn, 404, STR(API_FIELDS), STR("there is no such endpoint; docs/reference/admin-api.md lists them"), STR("unknown_url"));
	buf_release(&body);
}

static void on_request(struct http_conn *conn)
{
	struct control *c = conn->server->owner;
	struct str path, query;
	if (!host_is_ours(http_head_get(conn->head, STR("host"))) || http_head_get(conn->head, STR("origin")).ptr) {
		http_respond(conn, 403, STR(PLAIN), STR("the admin listener serves this machine only\n"));
		return;
	}
	if (!url_split_target(http_head_url(conn->head), &path, &query))
		path = query = STR_NONE;
	if (str_eq(path, STR("/api")) || str_starts(path, STR("/api/")))
		answer_api(c, conn, path, query);
	else
		answer_open(c, conn, path);
}

static void on_gone(struct http_conn *conn)
{
	live_gone(conn);
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
		buf_addf(why, "refusing to open the admin listener on %.*s: it speaks plain HTTP and can change everything; use an address of loopback, and a tunnel (ssh -L) from elsewhere", STR_ARG(a->text));
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
