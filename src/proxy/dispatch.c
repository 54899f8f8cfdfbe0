/* dispatch.c - SEND puts the request on a connection; and the callbacks of that connection.
 *
 * The body goes out in pieces as the upstream takes them, so that a large one is held once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "proxy/native.h"
#include "proxy/request.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"
#include "store/journal.h"

#include <assert.h>

#define PIECE (96 * 1024) /* more than STREAM_HIGH: what is not taken at once is told by `drained` */
#define SMALL_BODY 8192

/* ---- the request as the engine gets it ---- */

/* Fields of the client's that engines may see. Credentials, cookies and origins are never among them. */
static const struct str forwarded[] = {
	STR_INIT("content-type"), STR_INIT("user-agent"), STR_INIT("openai-beta"), STR_INIT("anthropic-version"),
	STR_INIT("anthropic-beta"), STR_INIT("traceparent"), STR_INIT("tracestate"), STR_INIT("x-client-request-id"),
	STR_INIT("idempotency-key"), STR_INIT("http-referer"), STR_INIT("x-title"),
};

/* Never, whatever the settings say: ours to set, or nobody's business upstream. */
static const struct str withheld[] = {
	STR_INIT("authorization"), STR_INIT("x-api-key"), STR_INIT("api-key"), STR_INIT("cookie"), STR_INIT("origin"), STR_INIT("host"),
	STR_INIT("content-length"), STR_INIT("transfer-encoding"), STR_INIT("connection"), STR_INIT("expect"), STR_INIT("upgrade"),
	STR_INIT("te"), STR_INIT("trailer"), STR_INIT("keep-alive"), STR_INIT("accept"), STR_INIT("accept-encoding"),
	STR_INIT("content-encoding"), STR_INIT("x-request-id"), STR_INIT("x-goog-api-key"),
};

static bool is_in(struct str name, const struct str *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_ieq(name, list[i]))
			return true;
	return false;
}
#define IS_IN(name, list) is_in((name), (list), sizeof(list) / sizeof(*(list)))

static bool is_wanted(const struct catalog *c, struct str name)
{
	char small[128];
	if (c->forward_headers.count == 0 || name.len > sizeof(small) || IS_IN(name, withheld))
		return false;
	for (size_t i = 0; i < name.len; i++)
		small[i] = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (char)(name.ptr[i] | 0x20) : name.ptr[i];
	for (size_t i = 0; i < c->forward_headers.count; i++)
		if (str_glob(c->forward_headers.items[i], str_of(small, name.len)))
			return true;
	return false;
}

static void add_forwarded(struct request *r, struct buf *out)
{
	const struct http_head *h = r->conn->head;
	for (uint32_t i = 0; i < h->field_count; i++) {
		struct str name = http_field_name(h, &h->fields[i]);
		if (!IS_IN(name, forwarded) && !is_wanted(r->catalog, name))
			continue;
		buf_adds(out, name);
		BUF_ADD(out, ": ");
		buf_adds(out, http_field_value(h, &h->fields[i]));
		BUF_ADD(out, "\r\n");
	}
}

static void add_secret(const struct request *r, const struct catalog_target *t, struct buf *out)
{
	if (secret_is_off(&t->secret))
		return;
	BUF_ADD(out, "authorization: Bearer ");
	buf_adds(out, secret_view(&t->secret));
	BUF_ADD(out, "\r\n");
	if (r->op->op == OP_MESSAGES) {
		BUF_ADD(out, "x-api-key: ");
		buf_adds(out, secret_view(&t->secret));
		BUF_ADD(out, "\r\n");
	}
}

static bool is_native(const struct request *r)
{
	return r->native && r->native->spoken;
}

static void write_head(struct request *r, const struct catalog_target *t, size_t body_length, struct buf *out)
{
	BUF_ADD(out, "POST ");
	bool native = is_native(r);
	buf_adds(out, native ? engine_root_path(t->base_path) : t->base_path);
	buf_adds(out, str_from(native ? OLLAMA_CHAT_PATH : r->op->path));
	BUF_ADD(out, " HTTP/1.1\r\n");
	buf_adds(out, t->host_line);
	BUF_ADD(out, "accept: */*\r\nx-request-id: ");
	buf_adds(out, str_from(r->id));
	BUF_ADD(out, "\r\ncontent-length: ");
	buf_addu(out, body_length);
	BUF_ADD(out, "\r\n");
	add_secret(r, t, out);
	add_forwarded(r, out);
	BUF_ADD(out, "\r\n");
}

/* Gives the upstream what it takes of the rest; goes on when it has drained. */
static void send_more(struct request *r)
{
	while (r->part_next < r->part_count && upstream_backlog(r->upstream) <= STREAM_HIGH) {
		struct iovec pieces[BODY_PARTS + 1];
		size_t room = PIECE;
		int n = 0;
		while (r->part_next < r->part_count && room > 0) {
			struct iovec *part = &r->parts[r->part_next];
			size_t take = part->iov_len < room ? part->iov_len : room;
			pieces[n++] = (struct iovec){part->iov_base, take};
			part->iov_base = (char *)part->iov_base + take;
			part->iov_len -= take;
			room -= take;
			r->part_next += part->iov_len == 0;
		}
		upstream_send(r->upstream, pieces, n);
	}
}

static void plan_times(struct request *r, const struct target_timeouts *t)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop), beat = r->catalog->heartbeat_ms;
	if (r->total_ms == 0)
		r->total_ms = now_ms + t->total_ms;
	r->deadline_ms = now_ms + t->first_byte_ms < r->total_ms ? now_ms + t->first_byte_ms : r->total_ms;
	if (r->beat_ms == 0)
		r->beat_ms = r->facts.stream && beat ? now_ms + beat : INT64_MAX;
	int64_t first = r->beat_ms < r->deadline_ms ? r->beat_ms : r->deadline_ms;
	timer_start(&r->worker->loop, &r->timer, first - now_ms);
}

/* `said`, in OpenAI's words, in the target's own; in r->parts[1]. False: it has no words for it, and `why` says for what. */
static bool translate(struct request *r, enum cloud cloud, struct str said, const struct body_changes *changes, size_t *length, struct buf *why)
{
	struct buf body;
	buf_init(&body, 6 * (said.len + changes->model.len) + 512);
	bool fine = is_native(r) ? ollama_chat_body(said, changes, r->native->num_ctx, &r->arena, &body, why)
				 : cloud_body(cloud, r->op, said, changes, &r->arena, &body, why);
	if (fine) {
		struct str copy = arena_dup(&r->arena, buf_str(&body)); /* outlives the client's bytes */
		r->parts[1] = (struct iovec){(char *)copy.ptr, copy.len};
		*length = copy.len;
	}
	buf_release(&body);
	return fine;
}

/* The body as the target takes it, in r->parts from 1 on: how many; 0: it cannot be said there, and `why` says why. */
static int write_body(struct request *r, const struct catalog_place *place, size_t *length, struct buf *why)
{
	struct body_changes changes = {place->model, r->hide_usage, r->output_cap};
	enum cloud cloud = place->target->cloud;
	struct str said = r->conn->body;
	bool continues = r->resume && resume_prefills(r->resume);
	if (continues) {
		resuming_body(r, place, length);
		said = str_of(r->parts[1].iov_base, *length);
	}
	if (is_native(r) || (cloud != CLOUD_NONE && !r->facts.form))
		return translate(r, cloud, said, &changes, length, why);
	return continues ? 1 : body_parts(&r->facts, said, &changes, &r->arena, r->parts + 1, length);
}

static void begin_sending(struct request *r, struct origin *o, const struct catalog_place *place, int n, size_t length, bool fresh)
{
	struct buf head;
	buf_init(&head, 2 * HTTP_MAX_HEAD);
	head.ptr = r->worker->fields; /* borrowed: a head always fits, see WORKER_FIELDS */
	head.cap = head.max = WORKER_FIELDS;
	write_head(r, place->target, length, &head);
	r->part_count = n + 1;
	r->part_next = 0;
	if (length <= SMALL_BODY) { /* one send of one piece costs less than gathering */
		for (int i = 1; i <= n; i++)
			buf_add(&head, r->parts[i].iov_base, r->parts[i].iov_len);
		r->part_count = 1;
	}
	r->parts[0] = (struct iovec){head.ptr, head.len};
	if (r->worker->lane && r->begin_seq)
		lane_sent(r->worker->lane, r->begin_seq); /* from here on a crash charges what it holds */
	r->upstream = upstream_get(o, &request_upstream_events, r, fresh);
	if (!resuming_continues(r)) /* its times are those of the answer that began */
		r->sent_us = r->attempt_count > 1 || fresh || r->claim_us || r->queue_us ? clock_mono_us() : r->began_us; /* a clock read is not free */
	send_more(r);
	assert(r->part_next > 0); /* nothing of the head may be left in the borrowed buffer */
}

/* A cloud that has no words for what is asked: another target may have. */
static const struct step *not_said_there(struct request *r, const struct buf *why)
{
	const struct step *failed = request_failf(r, ERROR_UPSTREAM_REFUSED_REQUEST, "target '%.*s': %.*s", STR_ARG(request_attempt(r)->place->target->name),
						  STR_ARG(buf_str(why)));
	request_attempt(r)->error = r->error;
	request_end_attempt(r, false);
	return request_may_retry(r) ? STEP_ROUTE : failed;
}

const struct step *step_send(struct request *r)
{
	struct attempt *a = request_attempt(r);
	const struct catalog_target *t = a->place->target;
	const char *why = NULL;
	struct origin *o = worker_origin(r->worker, t, &why);
	if (!o) {
		r->upstream_failed = true;
		r->failure = UPSTREAM_REFUSED;
		r->why = why;
		return STEP_HEAD;
	}
	o->connect_ms = t->timeouts.connect_ms;
	if (r->model->resume)
		resuming_begin(r);
	r->hide_usage = r->facts.stream && r->facts.usage.at != NULL;
	r->cloud = t->cloud == CLOUD_NONE ? NULL : arena_zero(&r->arena, sizeof(*r->cloud));
	const struct step *elsewhere = native_begin(r);
	if (elsewhere)
		return elsewhere;
	r->rename = r->cloud || is_native(r) || !str_eq(a->place->model, r->facts.model);
	size_t length;
	struct buf text;
	buf_init(&text, 1024);
	int n = write_body(r, a->place, &length, &text);
	const struct step *next = n ? STEP_HEAD : not_said_there(r, &text);
	buf_release(&text);
	if (n == 0)
		return next;
	plan_times(r, &a->place->timeouts);
	begin_sending(r, o, a->place, n, length, a->refreshed);
	return STEP_HEAD;
}

/* ---- what the connection tells ---- */

static void on_head(struct upstream *u, const struct http_head *h)
{
	struct request *r = u->user;
	r->answer = h;
	request_run(r);
}

static void on_data(struct upstream *u, char *data, size_t len, bool last)
{
	struct request *r = u->user;
	r->data = data;
	r->data_len = len;
	r->data_last = last;
	request_run(r);
}

static void on_end(struct upstream *u)
{
	struct request *r = u->user;
	r->ended = true;
	request_run(r);
}

static void on_failed(struct upstream *u, enum upstream_failure how, const char *why)
{
	struct request *r = u->user;
	r->upstream_failed = true;
	r->failure = how;
	r->why = why;
	request_run(r);
}

static void on_drained(struct upstream *u)
{
	struct request *r = u->user;
	if (r->upstream == u)
		send_more(r);
}

const struct upstream_events request_upstream_events = {
	.head = on_head, .data = on_data, .end = on_end, .failed = on_failed, .drained = on_drained,
};

void request_on_timer(struct timer *t)
{
	struct request *r = CONTAINER_OF(t, struct request, timer);
	r->timed_out = true;
	request_run(r);
}
