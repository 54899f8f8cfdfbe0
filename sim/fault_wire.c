/* fault_wire.c - faults that need bytes which an HTTP server would never send. They go past
 * http/respond.c, onto the stream.
 *
 * Where the connection can go on afterwards it does (http_respond_end() without a begin only looks
 * for the next request), so that a client which keeps a connection it should have closed is found
 * out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "gzip.h"

#include <sys/socket.h>

#define RAW_MAX (64u << 20)

void conn_reset(struct http_conn *c)
{
	timer_stop(&c->timer);
	http_slab_give(c->server->loop, c->slab);
	c->slab = NULL;
	c->head = NULL;
	buf_release(&c->large);
	c->user = NULL;
	c->state = CONN_LINGER;
	stream_close(&c->stream, true);
}

static void raw_send(struct http_conn *c, struct buf *raw)
{
	struct iovec part = {raw->ptr, raw->len};
	stream_write(&c->stream, &part, 1);
	buf_release(raw);
}

static void raw_literal(struct http_conn *c, const char *text)
{
	struct iovec part = {(char *)text, strlen(text)};
	stream_write(&c->stream, &part, 1);
}

/* The answer is complete as far as we are concerned: the next request may come. */
static void go_on(struct http_conn *c)
{
	c->out_left = -1;
	c->out_chunked = false;
	http_respond_end(c);
}

/* ---- at once ---- */

static void send_status(struct worker *w, struct http_conn *c, const struct fault *f, int shape)
{
	struct buf body, fields;
	int status = f->arg >= 100 && f->arg < 1000 ? (int)f->arg : 500;
	buf_init(&body, 4096);
	buf_init(&fields, 4096);
	error_put(w->sim, &body,
		  &(struct complaint){
			  .status = status,
			  .shape = (enum shape)shape,
			  .type = status == 429  ? "requests"
				  : status < 500 ? "invalid_request_error"
						 : "server_error",
			  .code = status == 429 ? "rate_limit_exceeded" : NULL,
			  .text = STR(
				  "The simulated engine answers with the status it was told to.")});
	buf_adds(&fields, sim_fields(w->sim, FIELDS_JSON));
	if (f->second >= 0)
		buf_addf(&fields, "retry-after: %lld\r\n", (long long)f->second);
	http_respond(c, status, buf_str(&fields), buf_str(&body));
	buf_release(&body);
	buf_release(&fields);
}

static void send_html(struct worker *w, struct http_conn *c, const struct fault *f)
{
	struct buf body;
	int status = f->arg >= 200 && f->arg < 1000 ? (int)f->arg : 502;
	buf_init(&body, 4096);
	buf_addf(&body,
		 "<!DOCTYPE html>\n<html><head><title>%d %s</title></head>\n<body><h1>%d %s</h1>"
		 "<p>A proxy in between has an error page.</p></body></html>\n",
		 status, http_reason(status), status, http_reason(status));
	http_respond(c, status, sim_fields(w->sim, FIELDS_HTML), buf_str(&body));
	buf_release(&body);
}

static void send_garbage(struct http_conn *c, int64_t size)
{
	struct buf raw;
	buf_init(&raw, RAW_MAX);
	uint64_t x = 1;
	for (int64_t i = 0; i < size && !raw.over; i++)
		buf_addc(&raw, (char)(0x80 | (x = text_mix(x + 1))));
	raw_send(c, &raw);
	http_abort(c);
}

static void send_redirect(struct worker *w, struct http_conn *c, const struct fault *f)
{
	http_respond(c, f->arg >= 300 && f->arg < 400 ? (int)f->arg : 307,
		     STR("location: http://127.0.0.1:9/elsewhere\r\n"), STR_NONE);
}

static void send_loading(struct worker *w, struct http_conn *c, int shape)
{
	struct buf body;
	buf_init(&body, 4096);
	error_put(w->sim, &body,
		  &(struct complaint){.status = 503,
				      .shape = (enum shape)shape,
				      .type = "server_error",
				      .text = STR("Loading model")});
	http_respond(c, 503, sim_fields(w->sim, FIELDS_JSON), buf_str(&body));
	buf_release(&body);
}

void fault_strike(struct worker *w, struct http_conn *c, const struct fault *f, int shape)
{
	switch (f->kind) {
	case FAULT_REFUSE:
		sim_refuse(w->sim, f->arg);
		conn_reset(c);
		return;
	case FAULT_RESET_BEFORE:
		conn_reset(c);
		return;
	case FAULT_STATUS:
		send_status(w, c, f, shape);
		return;
	case FAULT_LOADING:
		send_loading(w, c, shape);
		return;
	case FAULT_HTML_ERROR:
		send_html(w, c, f);
		return;
	case FAULT_REDIRECT:
		send_redirect(w, c, f);
		return;
	case FAULT_SWITCHING:
		raw_literal(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: "
			       "websocket\r\nconnection: Upgrade\r\n\r\n");
		return;
	case FAULT_GARBAGE:
		send_garbage(c, f->arg);
		return;
	default: /* hang */
		return;
	}
}

/* ---- in the middle of an answer that is not a stream ---- */

bool fault_break(struct http_conn *c, const struct fault *f, struct str fields, struct str body)
{
	switch (f->kind) {
	case FAULT_HANG_AFTER_DONE:
		http_respond_begin(c, 200, fields, -1, body);
		return true;
	case FAULT_STALL_AFTER:
		http_respond_begin(c, 200, fields, (int64_t)body.len, str_head(body, body.len / 2));
		return true;
	case FAULT_RESET_AFTER:
		http_respond_begin(c, 200, fields, (int64_t)body.len, str_head(body, body.len / 2));
		conn_reset(c);
		return false;
	case FAULT_CUT_AFTER:
		http_respond_begin(c, 200, fields, (int64_t)body.len, str_head(body, body.len / 2));
		http_abort(c);
		return false;
	case FAULT_BAD_SSE:
		http_respond(c, 200, fields, str_head(body, body.len / 2));
		return false;
	default: /* slow ones: nothing is wrong with the answer itself */
		return false;
	}
}

/* ---- a finished answer, wrongly framed ---- */

static void put_length(struct buf *raw, int64_t length)
{
	buf_addf(raw, "content-length: %lld\r\n", (long long)(length < 0 ? 0 : length));
}

static void put_giant(struct buf *raw, int64_t kib)
{
	BUF_ADD(raw, "x-giant: ");
	for (int64_t i = 0; i < kib * 1024 && !raw->over; i++)
		buf_addc(raw, 'g');
	BUF_ADD(raw, "\r\n");
}

static void put_many(struct buf *raw, int64_t count)
{
	for (int64_t i = 0; i < count && !raw->over; i++)
		buf_addf(raw, "x-many-%lld: %lld\r\n", (long long)i, (long long)i);
}

static void put_compressed(struct buf *raw, struct str body, int64_t mib)
{
	struct buf packed;
	buf_init(&packed, RAW_MAX);
	gzip_with_spaces(&packed, body, (uint64_t)(mib < 0 ? 0 : mib) << 20);
	BUF_ADD(raw, "content-encoding: gzip\r\n");
	put_length(raw, (int64_t)packed.len);
	BUF_ADD(raw, "\r\n");
	buf_adds(raw, buf_str(&packed));
	buf_release(&packed);
}

static void put_surplus(struct buf *raw, int64_t bytes)
{
	static const char second[] =
		"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 52\r\n\r\n"
		"{\"error\":\"these bytes belong to no request at all!!\"}";
	if (bytes <= 0)
		buf_add(raw, second, sizeof(second) - 1);
	for (int64_t i = 0; i < bytes && !raw->over; i++)
		buf_addc(raw, 'S');
}

/* What stands between the common lines of the head and its end, and the body. */
static void put_rest(struct buf *raw, const struct fault *f, struct str body)
{
	int64_t length = (int64_t)body.len;
	bool chunked = false;
	switch (f->kind) {
	case FAULT_LENGTH_SHORT:
		length -= f->arg;
		break;
	case FAULT_LENGTH_LONG:
		length += f->arg;
		break;
	case FAULT_LENGTH_TWICE:
		put_length(raw, length + f->arg);
		break;
	case FAULT_LENGTH_AND_CHUNKED:
	case FAULT_TRUNCATED_CHUNK:
	case FAULT_MISSING_FINAL_CHUNK:
		chunked = true;
		break;
	case FAULT_GIANT_HEADER:
		put_giant(raw, f->arg);
		break;
	case FAULT_MANY_HEADERS:
		put_many(raw, f->arg);
		break;
	case FAULT_OBS_FOLD:
		BUF_ADD(raw, "x-folded: one\r\n  two\r\n");
		break;
	default:
		break;
	}
	if (!chunked || f->kind == FAULT_LENGTH_AND_CHUNKED)
		put_length(raw, length);
	if (chunked)
		buf_addf(raw, "transfer-encoding: chunked\r\n\r\n%zx\r\n",
			 f->kind == FAULT_TRUNCATED_CHUNK ? body.len + 100 : body.len);
	else
		BUF_ADD(raw, "\r\n");
	buf_adds(raw, body);
	if (chunked && f->kind != FAULT_TRUNCATED_CHUNK)
		BUF_ADD(raw, "\r\n");
	if (f->kind == FAULT_LENGTH_AND_CHUNKED)
		BUF_ADD(raw, "0\r\n\r\n");
}

static bool ends_there(const struct fault *f)
{
	return f->kind == FAULT_LENGTH_LONG || f->kind == FAULT_TRUNCATED_CHUNK ||
	       f->kind == FAULT_MISSING_FINAL_CHUNK;
}

/* ---- closing an idle connection ---- */

struct idle_close {
	struct timer timer;
	struct worker *w;
	struct http_conn *c; /* looked for among the open ones, never followed */
	int fd;
};

static void on_idle(struct timer *t)
{
	struct idle_close *i = CONTAINER_OF(t, struct idle_close, timer);
	LIST_EACH (&i->w->server.conns, at) {
		struct http_conn *c = CONTAINER_OF(at, struct http_conn, link);
		if (c == i->c && c->stream.fd == i->fd && c->state == CONN_HEAD &&
		    !c->stream.closing)
			http_abort(c);
	}
	free(i);
}

static void close_later(struct worker *w, struct http_conn *c, int64_t ms)
{
	struct idle_close *i = mem_zero(sizeof(*i));
	i->w = w;
	i->c = c;
	i->fd = c->stream.fd;
	timer_init(&i->timer, on_idle);
	timer_start(&w->loop, &i->timer, ms);
}

/* ---- all of them ---- */

static struct str drop_type(struct str fields)
{
	return str_skip(fields, str_search(fields, STR("\r\n")) + 2);
}

/* False: the answer is to be written raw. */
static bool send_framed(struct worker *w, struct http_conn *c, const struct fault *f,
			struct str fields, struct str body)
{
	struct buf plain;
	switch (f->kind) {
	case FAULT_BAD_JSON:
		http_respond(c, 200, fields, str_head(body, body.len > 40 ? 40 : body.len / 2));
		return true;
	case FAULT_CLOSE_IDLE:
		close_later(w, c, f->arg);
		http_respond(c, 200, fields, body);
		return true;
	case FAULT_WRONG_TYPE:
		buf_init(&plain, 4096);
		BUF_ADD(&plain, "content-type: text/plain\r\n");
		buf_adds(&plain, drop_type(fields));
		http_respond(c, 200, buf_str(&plain), body);
		buf_release(&plain);
		return true;
	case FAULT_FLOOD_1XX:
		buf_init(&plain, RAW_MAX);
		for (int64_t i = 0; i < f->arg && !plain.over; i++)
			BUF_ADD(&plain, "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
		raw_send(c, &plain);
		http_respond(c, 200, fields, body);
		return true;
	default:
		return false;
	}
}

void fault_send(struct worker *w, struct http_conn *c, const struct fault *f, struct str fields,
		struct str body)
{
	struct buf raw;
	if (send_framed(w, c, f, fields, body))
		return;
	buf_init(&raw, RAW_MAX);
	BUF_ADD(&raw, "HTTP/1.1 200 OK\r\n");
	buf_adds(&raw, fields);
	if (f->kind == FAULT_GZIP)
		put_compressed(&raw, body, f->arg);
	else
		put_rest(&raw, f, body);
	if (f->kind == FAULT_SURPLUS)
		put_surplus(&raw, f->arg);
	raw_send(c, &raw);
	if (ends_there(f))
		http_abort(c);
	else
		go_on(c);
}
