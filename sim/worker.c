/* worker.c - one thread's loop and server: takes requests, finds what answers them, sends what was
 * composed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "base/clock.h"
#include "net/resolve.h"

#define OUT_MAX    (256u << 20)
#define MAX_BODY   (512u << 20)
#define REOPEN_MS  50
#define PUBLISH_MS 100

static struct worker *worker_of(struct http_conn *c)
{
	return CONTAINER_OF(c->server, struct worker, server);
}

int64_t worker_now_us(const struct worker *w)
{
	return loop_now_ms(&w->loop) * 1000;
}

/* ---- sending ---- */

struct buf *worker_compose(struct worker *w)
{
	buf_clear(&w->out);
	buf_reserve(&w->out, HTTP_ROOM);
	w->out.len = HTTP_ROOM;
	return &w->out;
}

struct str worker_composed(struct worker *w)
{
	buf_reserve(&w->out, HTTP_ROOM);
	return str_of(w->out.ptr + HTTP_ROOM, w->out.len - HTTP_ROOM);
}

/* A fault that takes time, or cuts: the answer becomes a job like those that are generated. */
static void send_with_fault(struct worker *w, struct http_conn *c, enum field_set set,
			    struct str body)
{
	struct job j = {.worker = w,
			.conn = c,
			.surface = &surface_fixed,
			.model = &w->sim->models[0],
			.model_json = w->sim->models[0].json,
			.fault = w->fault,
			.status = 200,
			.source = SOURCE_TEXT,
			.text = body,
			.choices = 1,
			.fields = (uint8_t)set,
			.begun_us = clock_mono_us()};
	arena_init(&j.arena, 256);
	engine_run(&j);
}

void worker_send(struct worker *w, struct http_conn *c, int status, enum field_set set,
		 struct str body)
{
	struct str fields = sim_fields(w->sim, set);
	if (status == 200 && fault_is(&w->fault, PHASE_RUN)) {
		send_with_fault(w, c, set, body);
		return;
	}
	worker_count(w, COUNT_BYTES_OUT, (int64_t)body.len);
	if (status == 200 && fault_is(&w->fault, PHASE_WIRE))
		fault_send(w, c, &w->fault, fields, body);
	else
		http_respond(c, status, fields, body);
}

void error_put(const struct sim *sim, struct buf *out, const struct complaint *why)
{
	if (why->shape != SHAPE_ANTHROPIC) {
		sim->dialect->error(out, why);
		return;
	}
	const char *type = why->status == 404   ? "not_found_error"
			   : why->status == 401 ? "authentication_error"
			   : why->status == 429 ? "rate_limit_error"
			   : why->status < 500  ? "invalid_request_error"
			   : why->status == 529 ? "overloaded_error"
						: "api_error";
	buf_addf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
	json_quote(out, why->text);
	BUF_ADD(out, "},\"request_id\":\"req_sim\"}");
}

void worker_complain(struct worker *w, struct http_conn *c, const struct complaint *why)
{
	struct buf *out = worker_compose(w);
	error_put(w->sim, out, why);
	worker_count(w, COUNT_REFUSED, 1);
	worker_send(w, c, why->status, FIELDS_JSON, worker_composed(w));
}

/* ---- requests ---- */

static enum shape shape_of(struct str path)
{
	if (str_starts(path, STR("/api/")))
		return SHAPE_NATIVE;
	return str_starts(path, STR("/v1/messages")) ? SHAPE_ANTHROPIC : SHAPE_OPENAI;
}

static void no_route(struct worker *w, struct http_conn *c, const struct request_line *line,
		     bool other_method)
{
	struct buf text;
	buf_init(&text, 16 * 1024);
	if (str_eq(str_from(w->sim->dialect->name), STR("lmstudio"))) {
		buf_addf(&text, "Unexpected endpoint or method. (%s %.*s)",
			 http_method_name(line->method), STR_ARG(line->path));
		struct buf *out = worker_compose(w);
		BUF_ADD(out, "{\"error\":");
		json_quote(out, buf_str(&text));
		buf_addc(out, '}');
		worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
	} else {
		buf_addf(&text, "%s (%s %.*s)", other_method ? "Method not allowed" : "Invalid URL",
			 http_method_name(line->method), STR_ARG(line->path));
		worker_complain(w, c,
				&(struct complaint){.status = other_method ? 405 : 404,
						    .shape = line->shape,
						    .text = buf_str(&text),
						    .type = "invalid_request_error",
						    .code = other_method ? "method_not_supported"
									 : "unknown_url"});
	}
	buf_release(&text);
}

static bool authorised(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct str key = w->sim->options.api_key,
		   given = http_head_get(c->head, STR("authorization"));
	struct str base = str_from(w->sim->dialect->base);
	bool asks = str_starts(line->path, STR("/v1")) || (base.len && str_starts(line->path, base));
	if (key.len == 0 || !asks)
		return true;
	if (str_istarts(given, STR("bearer ")) && str_eq(str_trim(str_skip(given, 7)), key))
		return true;
	if (str_eq(http_head_get(c->head, STR("x-api-key")), key))
		return true;
	worker_complain(w, c,
			&(struct complaint){.status = 401,
					    .shape = line->shape,
					    .type = "invalid_request_error",
					    .code = "invalid_api_key",
					    .text = STR("Incorrect API key provided")});
	return false;
}

/* False: the request asks for a fault that is not known, and was told so. */
static bool fault_of(struct worker *w, struct http_conn *c, bool call, struct fault *f)
{
	struct str asked = request_knob(c, STR("fault"));
	if (asked.len > 0 && !fault_parse(asked, f)) {
		worker_complain(
			w, c,
			&(struct complaint){
				.status = 400,
				.type = "invalid_request_error",
				.param = "x-sim-fault",
				.text = STR("x-sim-fault names no fault; see valet-sim --help")});
		return false;
	}
	if (asked.len > 0)
		return true;
	if (__atomic_load_n(&w->sim->has_rules, __ATOMIC_RELAXED)) {
		sim_lock(w->sim);
		*f = fault_pick(&w->sim->rules, call);
		sim_unlock(w->sim);
	}
	return true;
}

static void generate(struct worker *w, struct http_conn *c, const struct surface *surface,
		     struct fault f)
{
	struct job j = {.worker = w, .conn = c, .surface = surface, .fault = f, .status = 200};
	j.begun_us = clock_mono_us();
	worker_count(w, COUNT_CALLS, 1);
	if (request_read(&j))
		engine_run(&j);
	else
		arena_release(&j.arena);
}

static void answer(struct worker *w, struct http_conn *c, const struct route *r,
		   const struct request_line *line)
{
	bool own = str_starts(line->path, STR("/sim/")), call = line->method == METHOD_POST;
	struct fault f = {0};
	if (!own && !fault_of(w, c, r->surface || call, &f))
		return;
	if (f.kind != FAULT_NONE)
		worker_count(w, COUNT_FAULTS, 1);
	if (fault_is(&f, PHASE_EARLY)) {
		fault_strike(w, c, &f, line->shape);
		return;
	}
	if (r->surface) {
		generate(w, c, r->surface, f);
		return;
	}
	w->fault = f;
	r->run(w, c, line);
	w->fault.kind = FAULT_NONE;
}

static void on_request(struct http_conn *c)
{
	struct worker *w = worker_of(c);
	struct str url = http_head_url(c->head);
	size_t question = str_find(url, '?');
	struct request_line line = {
		.method = (enum http_method)c->head->method,
		.path = str_head(url, question),
		.query = str_skip(url, question + 1),
	};
	bool other_method;
	line.shape = shape_of(line.path);
	worker_count(w, COUNT_REQUESTS, 1);
	worker_count(w, COUNT_BYTES_IN, (int64_t)c->body.len);
	const struct route *r = route_find(w->sim, &line, &other_method);
	stats_path(w, r ? r->path : "other");
	if (!r)
		no_route(w, c, &line, other_method);
	else if (authorised(w, c, &line))
		answer(w, c, r, &line);
}

static void on_gone(struct http_conn *c)
{
	struct job *j = c->user;
	c->user = NULL;
	if (j)
		job_gone(j);
}

static void on_drained(struct http_conn *c)
{
	struct job *j = c->user;
	if (j && j->state == JOB_DECODE && j->stream)
		stream_go(j);
}

static void on_refuse(struct http_conn *c, int status, const char *why)
{
	worker_complain(worker_of(c), c,
			&(struct complaint){.status = status,
					    .type = "invalid_request_error",
					    .text = str_from(why)});
}

static const struct http_server_events server_events = {
	.request = on_request,
	.gone = on_gone,
	.drained = on_drained,
	.refuse = on_refuse,
};

/* ---- listening ---- */

static void on_accepted(struct listener *l, int fd)
{
	struct worker *w = CONTAINER_OF(l, struct worker, listener);
	http_conn_open(&w->server, fd);
}

static int listen_now(struct worker *w)
{
	union address a;
	if (!address_parse(w->sim->options.host, w->sim->port, &a))
		return EADDRNOTAVAIL;
	int rc = listener_open(&w->listener, &w->loop, &a.any, address_len(&a), on_accepted);
	w->listening = rc == 0;
	return -rc;
}

static void on_reopen(struct timer *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, reopen);
	int64_t until_ms = __atomic_load_n(&w->sim->refuse_until_ms, __ATOMIC_RELAXED);
	if (clock_mono_us() / 1000 < until_ms || listen_now(w) != 0)
		timer_start(&w->loop, t, REOPEN_MS);
}

struct refusal {
	struct message m;
	struct worker *w;
};

static void receive_refusal(struct message *m)
{
	struct refusal *r = CONTAINER_OF(m, struct refusal, m);
	struct worker *w = r->w;
	free(r);
	if (w->listening)
		listener_close(&w->listener);
	w->listening = false;
	http_server_drain(&w->server);
	w->server.stopping = false;
	timer_start(&w->loop, &w->reopen, REOPEN_MS);
}

void sim_refuse(struct sim *sim, int64_t seconds)
{
	__atomic_store_n(&sim->refuse_until_ms, clock_mono_us() / 1000 + seconds * 1000,
			 __ATOMIC_RELAXED);
	for (size_t i = 0; i < sim->worker_count; i++) {
		struct refusal *r = mem_zero(sizeof(*r));
		r->m.receive = receive_refusal;
		r->w = &sim->workers[i];
		mailbox_post(&sim->workers[i].loop, &r->m);
	}
}

static void on_publish(struct timer *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, publish);
	__atomic_store_n(&w->connections, w->server.conn_count, __ATOMIC_RELAXED);
	timer_start(&w->loop, t, PUBLISH_MS);
}

int worker_start(struct worker *w, struct sim *sim)
{
	w->sim = sim;
	loop_init(&w->loop);
	w->loop.owner = w;
	pacer_init(&w->pacer, &w->loop);
	http_server_init(&w->server, &w->loop, &server_events, w);
	w->server.max_body = MAX_BODY;
	w->server.idle_ms = 3600 * 1000;
	timer_init(&w->reopen, on_reopen);
	timer_init(&w->publish, on_publish);
	if (sim->worker_count > 1)
		timer_start(&w->loop, &w->publish, PUBLISH_MS);
	buf_init(&w->out, OUT_MAX);
	buf_init(&w->scratch, OUT_MAX);
	request_wants_init(w);
	return listen_now(w);
}

uint16_t worker_port(const struct worker *w)
{
	char name[64];
	int64_t port = 0;
	listener_name(&w->listener, name, sizeof(name));
	str_to_i64(str_from(strrchr(name, ':') + 1), &port);
	return (uint16_t)port;
}

void worker_stop(struct worker *w)
{
	timer_stop(&w->reopen);
	timer_stop(&w->publish);
	if (w->listening)
		listener_close(&w->listener);
	http_server_close(&w->server);
	loop_turn(&w->loop);
	http_slabs_release(&w->loop);
	loop_release(&w->loop);
	buf_release(&w->out);
	buf_release(&w->scratch);
}
