/* server.c - a client's connection: reads requests, keeps their order, knows the time-outs. Writing answers is in respond.c.
 *
 * A connection is in one of four states: HEAD (idle, or a head is coming), BODY, ANSWER (the owner has the request), LINGER (our side is
 * shut down; waits for the client to close, so that it can read the last answer). All input goes through process(), which
 * runs until there is nothing more to do; callbacks of the owner that answer at once return into it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include "base/mem.h"

#include <string.h>
#include <unistd.h>

#define HEAD_MS      10000
#define STALL_MS     60000
#define LINGER_MS    2000
#define LEAVE_MS     300  /* the same for an idle connection when we stop: a request may be on its way, and must not meet a reset */
#define BODY_RATE    1024 /* bytes a second, least */
#define BODY_GRACE_MS 10000

static void process(struct http_conn *c);

static void set_state(struct http_conn *c, enum conn_state state)
{
	c->state = (uint8_t)state;
	c->since_ms = loop_now_ms(c->server->loop);
}

/* ---- the end of a connection ---- */

static void drop_input(struct http_conn *c)
{
	http_slab_give(c->server->loop, c->slab);
	buf_release(&c->large);
	c->slab = NULL;
	c->head = NULL;
	c->body = STR_NONE;
	c->consumed = 0;
}

static void conn_close(struct http_conn *c, bool reset)
{
	timer_stop(&c->timer);
	drop_input(c);
	stream_close(&c->stream, reset);
}

/* The client is gone, or we give it up: the owner of a request under way hears of it first. */
static void lose(struct http_conn *c, bool reset)
{
	if (c->stream.closing)
		return;
	bool told = c->state == CONN_ANSWER;
	c->state = CONN_LINGER;
	if (told)
		c->server->events->gone(c);
	conn_close(c, reset);
}

/* Other threads read the number for /metrics. */
static void count_conns(struct http_server *s, int by)
{
	__atomic_store_n(&s->conn_count, s->conn_count + (uint32_t)by, __ATOMIC_RELAXED);
}

static void on_closed(struct stream *s)
{
	struct http_conn *c = CONTAINER_OF(s, struct http_conn, stream);
	list_remove(&c->link);
	count_conns(c->server, -1);
	free(c);
}

static void on_failed(struct stream *s, const char *why)
{
	lose(CONTAINER_OF(s, struct http_conn, stream), false);
}

static void on_hung_up(struct stream *s)
{
	lose(CONTAINER_OF(s, struct http_conn, stream), false);
}

static void on_drained(struct stream *s)
{
	struct http_conn *c = CONTAINER_OF(s, struct http_conn, stream);
	if (c->state == CONN_ANSWER && c->server->events->drained)
		c->server->events->drained(c);
}

/* ---- refusing ---- */

static void refuse(struct http_conn *c, int status, const char *why)
{
	c->keep_alive = false;
	c->head_only = false;
	set_state(c, CONN_ANSWER);
	if (c->server->events->refuse)
		c->server->events->refuse(c, status, why);
	else
		http_respond(c, status, STR_NONE, STR_NONE);
}

/* ---- reading a request ---- */

static void deliver(struct http_conn *c)
{
	set_state(c, CONN_ANSWER);
	c->server->events->request(c);
}

static void expect(struct http_conn *c)
{
	if (c->head->expect_continue && !c->http_1_0) {
		struct iovec line = {(char *)"HTTP/1.1 100 Continue\r\n\r\n", 25};
		stream_write(&c->stream, &line, 1);
	}
}

/* A body with a length: inside the slab where it fits, else in a buffer that grows as bytes come. */
static void begin_length(struct http_conn *c, uint64_t length)
{
	struct http_slab *slab = c->slab;
	size_t here = slab->len - c->head->size;
	if (length <= slab->cap - c->head->size) {
		c->consumed = c->head->size + (uint32_t)length;
		c->body_left = here < length ? length - here : 0;
	} else {
		buf_init(&c->large, (size_t)length);
		buf_reserve(&c->large, length < 65536 ? (size_t)length : 65536);
		buf_add(&c->large, slab->bytes + c->head->size, here);
		slab->len = c->consumed = c->head->size;
		c->body_left = length - here;
	}
	if (c->body_left > 0 && here == 0)
		expect(c);
}

static void begin_chunked(struct http_conn *c)
{
	buf_init(&c->large, c->server->max_body);
	http_slab_spare(c->slab, c->head->size); /* read_chunked() reads no more than fits behind the head */
	c->chunk = (struct chunk_decoder){0};
	c->consumed = c->head->size;
	c->body_left = 1;
	if (c->slab->len == c->head->size)
		expect(c);
}

static void begin_body(struct http_conn *c)
{
	struct http_head *h = c->head;
	set_state(c, CONN_BODY);
	c->mark = 0;
	if (h->content_length > 0 && (uint64_t)h->content_length > c->server->max_body) {
		refuse(c, 413, "the request's body is larger than the ceiling");
		return;
	}
	if (h->chunked) {
		begin_chunked(c);
	} else if (h->content_length > 0) {
		begin_length(c, (uint64_t)h->content_length);
	} else {
		c->consumed = h->size;
		c->body_left = 0;
	}
}

static void parse_head(struct http_conn *c)
{
	const char *why = NULL;
	switch (http_head_parse(c->slab, true, &why)) {
	case HTTP_PARSE_MORE:
		return;
	case HTTP_PARSE_BAD:
		refuse(c, 400, why);
		return;
	case HTTP_PARSE_TOO_LARGE:
		refuse(c, 431, "the request's head is larger than 32 KiB or 128 fields");
		return;
	case HTTP_PARSE_URL_TOO_LONG:
		refuse(c, 414, "the request's URL is longer than 8 KiB");
		return;
	case HTTP_PARSE_DONE:
		break;
	}
	c->head = &c->slab->head;
	c->keep_alive = c->head->keep_alive && !c->server->stopping;
	c->http_1_0 = c->head->minor == 0;
	c->head_only = c->head->method == METHOD_HEAD;
	begin_body(c);
}

/* Chunked bytes that stand in the slab behind the head, or in `bytes`. What follows the body goes back behind the head. */
static void feed_chunks(struct http_conn *c, char *bytes, size_t len)
{
	char *data;
	size_t data_len, used;
	enum chunk_result r = chunk_decode(&c->chunk, bytes, len, &data, &data_len, &used);
	if (r == CHUNK_BAD) {
		refuse(c, 400, "a malformed chunk in the request's body");
		return;
	}
	if (!buf_add(&c->large, data, data_len)) {
		refuse(c, 413, "the request's body is larger than the ceiling");
		return;
	}
	c->mark += used;
	if (r == CHUNK_END) {
		c->body_left = 0;
		memmove(c->slab->bytes + c->consumed, bytes + used, len - used);
		c->slab->len = c->consumed + (len - used);
	}
}

static void body_complete(struct http_conn *c)
{
	if (c->large.len > 0)
		c->body = buf_str(&c->large);
	else
		c->body = str_of(c->slab->bytes + c->head->size, c->consumed - c->head->size);
	deliver(c);
}

/* Does what can be done with the bytes that are here. True if another step may be possible. */
static bool step(struct http_conn *c)
{
	if (c->stream.closing)
		return false;
	if (c->state == CONN_HEAD && c->slab && c->slab->fed < c->slab->len) {
		if (c->slab->fed == 0)
			c->since_ms = loop_now_ms(c->server->loop);
		parse_head(c);
		return c->state != CONN_HEAD;
	}
	if (c->state != CONN_BODY)
		return false;
	if (c->head->chunked && c->body_left > 0 && c->slab->len > c->consumed) {
		size_t len = c->slab->len - c->consumed;
		c->slab->len = c->consumed;
		feed_chunks(c, c->slab->bytes + c->consumed, len);
	}
	if (c->state != CONN_BODY || c->body_left > 0)
		return false;
	body_complete(c);
	return true;
}

static void process(struct http_conn *c)
{
	if (c->in_events)
		return;
	c->in_events = true;
	while (step(c))
		;
	c->in_events = false;
	if (c->state == CONN_HEAD && c->slab && c->slab->len == 0) {
		http_slab_give(c->server->loop, c->slab);
		c->slab = NULL;
	}
}

/* ---- reading from the socket ---- */

static ssize_t read_slab(struct http_conn *c)
{
	if (!c->slab)
		c->slab = http_slab_take(c->server->loop);
	struct http_slab *slab = c->slab;
	ssize_t n = stream_read(&c->stream, slab->bytes + slab->len, slab->cap - slab->len);
	if (n > 0)
		slab->len += (size_t)n;
	return n;
}

static ssize_t read_large(struct http_conn *c)
{
	struct buf *b = &c->large;
	size_t want = c->body_left < LOOP_SCRATCH_BYTES ? (size_t)c->body_left : LOOP_SCRATCH_BYTES;
	buf_reserve(b, want);
	size_t room = b->cap - b->len;
	ssize_t n = stream_read(&c->stream, b->ptr + b->len, room < c->body_left ? room : (size_t)c->body_left);
	if (n > 0) {
		b->len += (size_t)n;
		c->mark += (size_t)n;
		c->body_left -= (uint64_t)n;
	}
	return n;
}

static ssize_t read_chunked(struct http_conn *c)
{
	struct loop *loop = c->server->loop;
	size_t room = c->slab->cap - c->consumed; /* so that what follows the body finds room behind the head */
	ssize_t n = stream_read(&c->stream, loop->scratch, room < LOOP_SCRATCH_BYTES ? room : LOOP_SCRATCH_BYTES);
	if (n > 0)
		feed_chunks(c, loop->scratch, (size_t)n);
	return n;
}

static ssize_t read_body(struct http_conn *c)
{
	if (c->head->chunked)
		return read_chunked(c);
	if (c->large.max > 0 && c->consumed == c->head->size)
		return read_large(c);
	ssize_t n = read_slab(c);
	if (n > 0) {
		c->mark += (size_t)n;
		c->body_left -= (uint64_t)n < c->body_left ? (uint64_t)n : c->body_left;
	}
	return n;
}

/* Bytes of a next request, while one is being answered: kept up to the slab's size, then the client has to wait. */
static ssize_t read_early(struct http_conn *c)
{
	if (c->slab && c->slab->len == c->slab->cap) {
		stream_pause(&c->stream);
		return STREAM_AGAIN;
	}
	return read_slab(c);
}

static ssize_t read_some(struct http_conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_HEAD:
		if (c->slab && !http_slab_room(c->slab)) {
			refuse(c, 431, "the request's head is larger than 32 KiB");
			return STREAM_AGAIN;
		}
		return read_slab(c);
	case CONN_BODY:
		return read_body(c);
	case CONN_ANSWER:
		return read_early(c);
	default:
		return stream_read(&c->stream, c->server->loop->scratch, LOOP_SCRATCH_BYTES);
	}
}

static void on_readable(struct stream *s)
{
	struct http_conn *c = CONTAINER_OF(s, struct http_conn, stream);
	for (int i = 0; i < 16 && !s->closing; i++) {
		ssize_t n = read_some(c);
		if (n < 0) {
			lose(c, false);
			return;
		}
		if (n > 0)
			process(c);
		if (n == 0 || !stream_more(s))
			break;
	}
	if (s->closing || !c->slab || c->slab->len > 0)
		return;
	http_slab_give(c->server->loop, c->slab); /* taken for a read that found nothing */
	c->slab = NULL;
}

/* ---- between requests ---- */

void http_release_input(struct http_conn *c)
{
	c->head = NULL;
	c->body = STR_NONE;
	buf_release(&c->large);
	if (!c->slab)
		return;
	/* a body that was refused half-way has fewer bytes here than it was to have */
	http_slab_restart(c->slab, c->consumed < c->slab->len ? c->consumed : c->slab->len);
	c->consumed = 0;
	if (c->slab->len == 0) {
		http_slab_give(c->server->loop, c->slab);
		c->slab = NULL;
	}
}

void http_conn_next(struct http_conn *c)
{
	http_release_input(c);
	c->answering = false;
	c->user = NULL;
	if (!c->keep_alive || c->server->stopping) {
		drop_input(c);
		set_state(c, CONN_LINGER);
		stream_finish(&c->stream);
		stream_resume(&c->stream);
		return;
	}
	set_state(c, CONN_HEAD);
	stream_resume(&c->stream);
	process(c);
}

/* Called by respond.c: an answer that ends with the connection can be broken off visibly only by a reset. */
void http_conn_reset(struct http_conn *c);
void http_conn_reset(struct http_conn *c)
{
	c->state = CONN_LINGER;
	conn_close(c, true);
}

/* ---- time ---- */

static bool too_slow(struct http_conn *c, int64_t age_ms)
{
	uint64_t seen = c->mark;
	if (age_ms < BODY_GRACE_MS)
		return false;
	if (seen < (uint64_t)BODY_GRACE_MS / 1000 * BODY_RATE)
		return true;
	c->mark = 0;
	c->since_ms = loop_now_ms(c->server->loop);
	return false;
}

/* True if a client that does not read has made no progress for too long. */
static bool stalled(struct http_conn *c, int64_t now_ms)
{
	if (stream_backlog(&c->stream) == 0) {
		c->stuck = false;
		return false;
	}
	if (!c->stuck || c->mark != c->stream.sent) {
		c->stuck = true;
		c->mark = c->stream.sent;
		c->since_ms = now_ms;
	}
	return now_ms - c->since_ms > STALL_MS;
}

static void on_look(struct timer *t)
{
	struct http_conn *c = CONTAINER_OF(t, struct http_conn, timer);
	int64_t now_ms = loop_now_ms(c->server->loop), age_ms = now_ms - c->since_ms;
	timer_start(c->server->loop, t, CONN_LOOK_MS);
	switch ((enum conn_state)c->state) {
	case CONN_HEAD:
		if (!c->slab && age_ms > c->server->idle_ms)
			lose(c, false);
		else if (c->slab && age_ms > HEAD_MS)
			refuse(c, 408, "the request's head took longer than 10 s");
		return;
	case CONN_BODY:
		if (too_slow(c, age_ms))
			refuse(c, 408, "the request's body came slower than 1 KiB/s");
		return;
	case CONN_ANSWER:
		if (stalled(c, now_ms))
			lose(c, true);
		return;
	case CONN_LINGER:
		if (stream_backlog(&c->stream) ? stalled(c, now_ms) : age_ms >= LINGER_MS)
			conn_close(c, false);
		return;
	}
}

/* ---- open and close ---- */

static void on_connected(struct stream *s)
{
}

static const struct stream_events conn_events = {
	.connected = on_connected,
	.readable = on_readable,
	.drained = on_drained,
	.failed = on_failed,
	.hung_up = on_hung_up,
	.closed = on_closed,
};

void http_server_init(struct http_server *s, struct loop *loop, const struct http_server_events *events, void *owner)
{
	*s = (struct http_server){
		.loop = loop, .events = events, .owner = owner, .max_body = 64 << 20, .idle_ms = 180000,
	};
	list_init(&s->conns);
}

void http_conn_open(struct http_server *server, int fd)
{
	if (server->stopping || (server->conn_max && server->conn_count >= server->conn_max)) {
		close(fd);
		return;
	}
	struct http_conn *c = mem_zero(sizeof(*c));
	c->server = server;
	timer_init(&c->timer, on_look);
	if (stream_open(&c->stream, server->loop, fd, &conn_events) != 0) {
		free(c);
		return;
	}
	list_push_back(&server->conns, &c->link);
	count_conns(server, 1);
	set_state(c, CONN_HEAD);
	timer_start(server->loop, &c->timer, CONN_LOOK_MS);
}

/* An idle connection ends in order, unless a request has come that is not read yet: that one is answered. */
static void leave(struct http_conn *c)
{
	if (!stream_is_quiet(&c->stream))
		return;
	set_state(c, CONN_LINGER);
	c->since_ms -= LINGER_MS - LEAVE_MS;
	timer_start(c->server->loop, &c->timer, LEAVE_MS + 1);
	stream_finish(&c->stream);
}

void http_server_drain(struct http_server *s)
{
	s->stopping = true;
	LIST_EACH(&s->conns, at) {
		struct http_conn *c = CONTAINER_OF(at, struct http_conn, link);
		c->keep_alive = false;
		if (c->state == CONN_HEAD && !c->slab)
			leave(c);
	}
}

void http_server_close(struct http_server *s)
{
	s->stopping = true;
	LIST_EACH(&s->conns, at)
		lose(CONTAINER_OF(at, struct http_conn, link), false);
}
