/* test_http_conn.c - server and client of src/http over loopback, in one loop: an echo server with raw clients, upstreams
 * against it and against a scripted engine that misbehaves, and a small relay between the two.
 *
 * Order is by observed state: every wait is "turn the loop until …", with a ceiling.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "http/client.h"
#include "http/fetch.h"
#include "http/server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define MIB          (1024 * 1024)

static struct loop loop;

/* Turns the loop until the condition holds, 5 s at most. */
#define UNTIL(condition)                                                                       \
	do {                                                                                   \
		for (int64_t end_ = clock_mono_us() + 5000000; !(condition); loop_turn(&loop)) \
			if (clock_mono_us() > end_)                                            \
				fail_msg("never came true: %s", #condition);                   \
	} while (0)

static void turns(int n)
{
	for (; n > 0; n--, usleep(200))
		loop_turn(&loop);
}

/* ---- the server under test: what a path does ---- */

static struct http_server server;
static struct listener listener;
static uint16_t port;
static struct http_conn *held; /* the last request of /hold */
static int gone, refused, requests;
static size_t pump_left, most_backlog;
static struct origin engine; /* where /relay goes */

static void relay(struct http_conn *c);

/* Writes while the client keeps up; on_drained() goes on. */
static void pump(struct http_conn *c)
{
	static char piece[16 + 40000 + 64];
	while (pump_left > 0 && stream_backlog(&c->stream) <= STREAM_HIGH) {
		memset(piece, 'p', sizeof(piece));
		if (!http_respond_body(c, piece + HTTP_ROOM, 40000 - HTTP_ROOM, true))
			return;
		pump_left--;
		if (stream_backlog(&c->stream) > most_backlog)
			most_backlog = stream_backlog(&c->stream);
	}
	if (pump_left == 0)
		http_respond_end(c);
}

static void answer_in_parts(struct http_conn *c, int64_t length)
{
	char room[HTTP_ROOM + 5 + HTTP_ROOM] = {0};
	http_respond_begin(c, 200, STR("x: y\r\n"), length, STR("one"));
	http_release_input(c);
	http_respond_body(c, (char[]){"two"}, 3, false);
	memcpy(room + HTTP_ROOM, "three", 5);
	http_respond_body(c, room + HTTP_ROOM, 5, true);
	memcpy(room + HTTP_ROOM, "last", 4);
	http_respond_last(c, room + HTTP_ROOM, 4, true);
}

static void break_off(struct http_conn *c, int64_t length)
{
	http_respond_begin(c, 200, STR_NONE, length, STR("part"));
	if (length < 0)
		http_abort(c);
	else
		http_respond_end(c); /* shorter than promised */
}

static void on_request(struct http_conn *c)
{
	struct str path = http_head_url(c->head);
	requests++;
	if (str_eq(path, STR("/hold")))
		held = c;
	else if (str_eq(path, STR("/parts")))
		answer_in_parts(c, -1);
	else if (str_eq(path, STR("/length")))
		answer_in_parts(c, 15);
	else if (str_eq(path, STR("/abort")))
		break_off(c, -1);
	else if (str_eq(path, STR("/short")))
		break_off(c, 100);
	else if (str_eq(path, STR("/none")))
		http_respond(c, 204, STR_NONE, STR_NONE);
	else if (str_eq(path, STR("/type")))
		http_respond(c, 200, STR_NONE, http_head_get(c->head, STR("content-type")));
	else if (str_eq(path, STR("/relay")))
		relay(c);
	else if (str_eq(path, STR("/pump")))
		http_respond_begin(c, 200, STR_NONE, -1, STR_NONE), pump(c);
	else
		http_respond(c, 200, STR_NONE, c->body.len ? c->body : path);
}

struct relayed {
	struct http_conn *client;
	struct upstream *up;
};

static void on_gone(struct http_conn *c)
{
	gone++;
	if (c == held)
		held = NULL;
	struct relayed *r = c->user;
	if (r) {
		upstream_put(r->up);
		free(r);
	}
}

static void on_drained(struct http_conn *c)
{
	if (c->user)
		upstream_resume(((struct relayed *)c->user)->up);
	else
		pump(c);
}

static void on_refuse(struct http_conn *c, int status, const char *why)
{
	refused++;
	http_respond(c, status, STR("x: refused\r\n"), str_from(why));
}

static const struct http_server_events server_events = {
	.request = on_request,
	.gone = on_gone,
	.drained = on_drained,
	.refuse = on_refuse,
};

static void on_accepted(struct listener *l, int fd)
{
	http_conn_open(&server, fd);
}

/* ---- a relay: upstream's body to the client, frames written in place ---- */

static void relay_head(struct upstream *u, const struct http_head *h)
{
	struct relayed *r = u->user;
	http_respond_begin(r->client, h->status, STR_NONE, -1, STR_NONE);
}

static void relay_data(struct upstream *u, char *data, size_t len, bool last)
{
	struct relayed *r = u->user;
	http_respond_body(r->client, data, len, true);
	size_t backlog = stream_backlog(&r->client->stream);
	if (backlog > most_backlog)
		most_backlog = backlog;
	if (backlog > STREAM_HIGH && !last)
		upstream_pause(u);
}

static void relay_end(struct upstream *u)
{
	struct relayed *r = u->user;
	upstream_put(u);
	r->client->user = NULL;
	http_respond_end(r->client);
	free(r);
}

static void relay_failed(struct upstream *u, enum upstream_failure how, const char *why)
{
	struct relayed *r = u->user;
	upstream_put(u);
	r->client->user = NULL;
	if (r->client->answering)
		http_abort(r->client);
	else
		http_respond(r->client, 502, STR_NONE, str_from(why));
	free(r);
}

static const struct upstream_events relay_events = {
	.head = relay_head,
	.data = relay_data,
	.end = relay_end,
	.failed = relay_failed,
};

static void relay(struct http_conn *c)
{
	struct relayed *r = mem_zero(sizeof(*r));
	struct iovec request = {(char[]){"GET / HTTP/1.1\r\nhost: a\r\n\r\n"}, 27};
	r->client = c;
	c->user = r;
	http_release_input(c);
	r->up = upstream_get(&engine, &relay_events, r, false);
	upstream_send(r->up, &request, 1);
}

/* ---- a raw client ---- */

struct raw {
	int fd;
	bool ended, reset;
	struct buf got;
};

static union address address_of(uint16_t p)
{
	union address a;
	address_parse(STR("127.0.0.1"), p, &a);
	return a;
}

static void raw_open(struct raw *r)
{
	union address a = address_of(port);
	*r = (struct raw){.fd = socket(AF_INET, SOCK_STREAM, 0)};
	buf_init(&r->got, 64 * MIB);
	assert_int_equal(connect(r->fd, &a.any, address_len(&a)), 0);
}

static void raw_close(struct raw *r)
{
	close(r->fd);
	buf_release(&r->got);
	UNTIL(server.conn_count == 0);
}

static void raw_read(struct raw *r)
{
	loop_turn(&loop);
	if (r->ended || !buf_reserve(&r->got, 65536))
		return;
	ssize_t n = recv(r->fd, r->got.ptr + r->got.len, 65536, MSG_DONTWAIT);
	if (n > 0)
		r->got.len += (size_t)n;
	r->reset = n < 0 && errno == ECONNRESET;
	r->ended = n == 0 || r->reset;
}

static void raw_send(struct raw *r, const void *bytes, size_t len)
{
	const char *at = bytes;
	while (len > 0) {
		ssize_t n = send(r->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return; /* the server has had enough */
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		raw_read(r);
	}
}

static void raw_say(struct raw *r, const char *text)
{
	raw_send(r, text, strlen(text));
}

/* The next bytes of the server are exactly these. */
static void raw_hear(struct raw *r, const char *text)
{
	size_t len = strlen(text);
	for (int64_t end = clock_mono_us() + 5000000;
	     r->got.len < len && !r->ended && clock_mono_us() < end;)
		raw_read(r);
	size_t n = r->got.len < len ? r->got.len : len;
	if (n < len || memcmp(r->got.ptr, text, len) != 0)
		fail_msg("heard \"%.*s\" instead of \"%s\"",
			 (int)(r->got.len < 400 ? r->got.len : 400), r->got.ptr, text);
	buf_drop(&r->got, n);
}

static void raw_hear_end(struct raw *r)
{
	for (int64_t end = clock_mono_us() + 5000000; !r->ended && clock_mono_us() < end;)
		raw_read(r);
	assert_true(r->ended);
	assert_int_equal(r->got.len, 0);
}

#define GET(path)        "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define OK(length, body) "HTTP/1.1 200 OK\r\ncontent-length: " length "\r\n\r\n" body

/* ---- the server ---- */

static void test_keep_alive(void **state)
{
	struct raw r;
	raw_open(&r);
	for (int i = 0; i < 3; i++) {
		raw_say(&r, GET("/a"));
		raw_hear(&r, OK("2", "/a"));
		UNTIL(server.conn_count == 1);
		struct http_conn *c = CONTAINER_OF(server.conns.next, struct http_conn, link);
		assert_null(c->slab); /* an idle connection holds none */
	}
	raw_close(&r);
}

static void test_pipelining(void **state)
{
	static const char text[] =
		GET("/1") "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" GET(
			"/parts") "\r\nPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
				  "chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n" GET("/length");
	for (int bytewise = 0; bytewise < 2; bytewise++) {
		struct raw r;
		raw_open(&r);
		for (size_t i = 0; bytewise && i < sizeof(text) - 1; i++)
			raw_send(&r, text + i, 1);
		if (!bytewise)
			raw_say(&r, text);
		raw_hear(&r,
			 OK("2", "/1")
				 OK("5",
				    "hello") "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: "
					     "chunked\r\n\r\n"
					     "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n4\r\nlast\r\n0"
					     "\r\n\r\n" OK("3", "xyz") "HTTP/1.1 200 OK\r\nx: "
								       "y\r\ncontent-length: "
								       "15\r\n\r\nonetwothreelast");
		raw_close(&r);
	}
}

/* Requests that come while one is being answered wait; their order is kept. */
static void test_early_requests(void **state)
{
	struct raw r;
	raw_open(&r);
	raw_say(&r, GET("/hold") GET("/2"));
	UNTIL(held);
	raw_say(&r, GET("/3"));
	turns(5);
	assert_int_equal(r.got.len, 0);
	http_respond_begin(held, 200, STR_NONE, 1, STR_NONE);
	http_release_input(held);
	raw_say(&r, GET("/4"));
	http_respond_last(held, (char[]){"1"}, 1, false);
	held = NULL;
	raw_hear(&r, OK("1", "1") OK("2", "/2") OK("2", "/3") OK("2", "/4"));
	raw_close(&r);
}

/* A client that floods us meanwhile is not read any further, and its leaving is noticed all the same. */
static void test_early_flood(void **state)
{
	struct raw r;
	raw_open(&r);
	raw_say(&r, GET("/hold"));
	UNTIL(held);
	gone = 0;
	for (int i = 0; i < 2000; i++)
		send(r.fd, GET("/flood-flood-flood-flood-flood-flood"), 60,
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	UNTIL(!held->stream.want_read);
	turns(10);
	assert_int_equal(gone, 0);
	raw_close(&r);
	assert_int_equal(gone, 1);
}

static void test_expect(void **state)
{
	struct raw r;
	raw_open(&r);
	for (int chunked = 0; chunked < 2; chunked++) {
		raw_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n");
		raw_say(&r, chunked ? "Transfer-Encoding: chunked\r\n\r\n"
				    : "Content-Length: 4\r\n\r\n");
		raw_hear(&r, "HTTP/1.1 100 Continue\r\n\r\n");
		assert_int_equal(r.got.len, 0);
		raw_say(&r, chunked ? "4\r\nbody\r\n0\r\n\r\n" : "body");
		raw_hear(&r, OK("4", "body"));
	}
	raw_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
		    "99999999\r\n\r\n");
	raw_hear(&r, "HTTP/1.1 413 Content Too Large\r\n"); /* and no 100 before */
	raw_close(&r);
}

static void hear_body(struct raw *r, size_t len, char fill)
{
	char head[100];
	snprintf(head, sizeof(head), OK("%zu", ""), len);
	raw_hear(r, head);
	for (int64_t end = clock_mono_us() + 5000000; r->got.len < len && clock_mono_us() < end;)
		raw_read(r);
	assert_true(r->got.len >= len);
	for (size_t i = 0; i < len; i++)
		if (r->got.ptr[i] != fill)
			fail_msg("byte %zu of %zu is not '%c'", i, len, fill);
	buf_drop(&r->got, len);
}

static void add_fill(struct buf *b, size_t n, char fill)
{
	for (size_t i = 0; i < n; i++)
		buf_addc(b, fill);
}

/* Bodies around every size where they move house: inside the slab, over its edge, far over. */
static void test_large_bodies(void **state)
{
	static const size_t sizes[] = {1,     8000,  15000, 15871,  15872,
				       15873, 16384, 65536, 100000, 3 * MIB};
	struct raw r;
	struct buf b;
	buf_init(&b, 64 * MIB);
	raw_open(&r);
	for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
		size_t size = sizes[i / 2];
		buf_clear(&b);
		buf_addf(&b, "POST / HTTP/1.1\r\nHost: a\r\n");
		if (i % 2) {
			buf_addf(&b, "Transfer-Encoding: chunked\r\n\r\n");
			for (size_t left = size, n; left > 0; left -= n) {
				n = left < 30000 ? left : 30000;
				buf_addf(&b, "%zx\r\n", n);
				add_fill(&b, n, 'c');
				buf_addf(&b, "\r\n");
			}
			buf_addf(&b, "0\r\n\r\n");
		} else {
			buf_addf(&b, "Content-Length: %zu\r\n\r\n", size);
			add_fill(&b, size, 'l');
		}
		BUF_ADD(&b, GET("/next"));
		raw_send(&r, b.ptr, b.len);
		hear_body(&r, size, i % 2 ? 'c' : 'l');
		raw_hear(&r, OK("5", "/next"));
	}
	buf_release(&b);
	raw_close(&r);
}

/* Heads up to the largest one, with a body behind each, that begins in another segment. */
static void test_large_heads(void **state)
{
	static const size_t sizes[] = {15000, 15860, 15871, 15872, 15873, 20000, 32767, 32768};
	for (size_t i = 0; i < COUNT(sizes) * 3; i++) {
		struct raw r;
		struct buf b;
		static const char *const framing[] = {
			"Transfer-Encoding: chunked\r\nX: ", "Content-Length: 200\r\nX: ", "X: "};
		buf_init(&b, MIB);
		raw_open(&r);
		buf_addf(&b, "POST /path HTTP/1.1\r\nHost: a\r\n%s", framing[i % 3]);
		add_fill(&b, sizes[i / 3] - 4 - b.len, 'x');
		BUF_ADD(&b, "\r\n\r\n");
		raw_send(&r, b.ptr, b.len);
		buf_clear(&b);
		if (i % 3 == 0)
			BUF_ADD(&b, "c8\r\n");
		add_fill(&b, i % 3 < 2 ? 200 : 0, 'b');
		if (i % 3 == 0)
			BUF_ADD(&b, "\r\n0\r\n\r\n");
		BUF_ADD(&b, GET("/next"));
		raw_send(&r, b.ptr, b.len);
		if (i % 3 < 2)
			hear_body(&r, 200, 'b');
		else
			raw_hear(&r, OK("5", "/path"));
		raw_hear(&r, OK("5", "/next"));
		buf_release(&b);
		raw_close(&r);
	}
}

static void check_refusal(const char *text, size_t filler, const char *tail, const char *status)
{
	struct raw r;
	struct buf b;
	char line[200];
	buf_init(&b, 64 * MIB);
	refused = requests = 0;
	raw_open(&r);
	buf_adds(&b, str_from(text));
	add_fill(&b, filler, 'f');
	buf_adds(&b, str_from(tail));
	raw_send(&r, b.ptr, b.len);
	snprintf(line, sizeof(line), "HTTP/1.1 %s\r\nx: refused\r\ncontent-length: ", status);
	raw_hear(&r, line);
	assert_int_equal(refused, 1);
	assert_int_equal(requests, 0);
	while (!r.ended)
		raw_read(&r);
	assert_false(r.reset); /* the client can read the answer, even where it still sends */
	assert_true(str_search(buf_str(&r.got), STR("\r\nconnection: close\r\n\r\n")) < r.got.len);
	buf_release(&b);
	raw_close(&r);
}

static void test_refusals(void **state)
{
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388609\r\n\r\n", 0, "",
		      "413 Content Too Large");
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388609\r\n\r\n", 2 * MIB, "",
		      "413 Content Too Large");
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
		      0, "", "413 Content Too Large");
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
		      9 * MIB, "", "413 Content Too Large");
	check_refusal("GET / HTTP/1.1\r\nX: ", 40000, "\r\n\r\n",
		      "431 Request Header Fields Too Large");
	check_refusal("GET /", 9000, " HTTP/1.1\r\n\r\n", "414 URI Too Long");
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: "
		      "chunked\r\n\r\n",
		      0, GET("/x"), "400 Bad Request");
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		      "chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
		      0, GET("/x"), "400 Bad Request");
	check_refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
		      3, "", "400 Bad Request");
	check_refusal("hello?\r\n\r\n", 0, "", "400 Bad Request");
}

static struct http_conn *only_conn(void)
{
	UNTIL(server.conn_count == 1);
	return CONTAINER_OF(server.conns.next, struct http_conn, link);
}

/* Lets the connection's clock look as if `ms` had passed. */
static void let_pass(struct http_conn *c, int64_t ms)
{
	c->since_ms -= ms;
	timer_stop(&c->timer);
	c->timer.fire(&c->timer);
}

static void test_slow_clients(void **state)
{
	static const char *const starts[] = {
		"GET / HTT",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
	};
	for (size_t i = 0; i < COUNT(starts); i++) {
		struct raw r;
		raw_open(&r);
		raw_say(&r, starts[i]);
		struct http_conn *c = only_conn();
		UNTIL(i == 0 ? c->slab != NULL : c->state == CONN_BODY);
		let_pass(c, 9000);
		turns(2);
		assert_int_equal(r.got.len, 0);
		let_pass(c, 2000);
		raw_hear(&r, "HTTP/1.1 408 Request Timeout\r\n");
		raw_close(&r);
	}
	struct raw r;
	raw_open(&r); /* idle for too long: closed without a word */
	let_pass(only_conn(), server.idle_ms + 100);
	raw_hear_end(&r);
	raw_close(&r);
}

static void test_client_leaves(void **state)
{
	for (int reset = 0; reset < 2; reset++) {
		for (int streaming = 0; streaming < 2; streaming++) {
			struct raw r;
			gone = 0;
			raw_open(&r);
			raw_say(&r, GET("/hold"));
			UNTIL(held);
			if (streaming)
				http_respond_begin(held, 200, STR_NONE, -1, STR("x"));
			struct linger now = {.l_onoff = reset, .l_linger = 0};
			setsockopt(r.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
			raw_close(&r);
			assert_int_equal(gone, 1);
			assert_null(held);
		}
	}
	struct raw r; /* before the request was complete: nobody hears of it */
	gone = requests = 0;
	raw_open(&r);
	raw_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nabc");
	raw_close(&r);
	assert_int_equal(gone + requests, 0);
}

static void test_without_body(void **state)
{
	struct raw r;
	raw_open(&r);
	raw_say(&r,
		"HEAD /abc HTTP/1.1\r\nHost: a\r\n\r\nHEAD /parts HTTP/1.1\r\nHost: a\r\n\r\n" GET(
			"/none") GET("/x"));
	raw_hear(&r,
		 OK("4", "") "HTTP/1.1 200 OK\r\nx: y\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n" OK(
			 "2", "/x"));
	raw_close(&r);
}

static void test_http_1_0(void **state)
{
	struct raw r;
	raw_open(&r);
	raw_say(&r, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	raw_hear(&r, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n/a");
	raw_say(&r, "GET /parts HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	raw_hear(&r, "HTTP/1.1 200 OK\r\nx: y\r\nconnection: close\r\n\r\nonetwothreelast");
	raw_hear_end(&r);
	assert_false(r.reset);
	raw_close(&r);
	raw_open(&r);
	raw_say(&r, "GET /a HTTP/1.0\r\n\r\n");
	raw_hear(&r, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n/a");
	raw_hear_end(&r);
	raw_close(&r);
	raw_open(&r);
	raw_say(&r, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/never"));
	raw_hear(&r, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n/a");
	raw_hear_end(&r);
	raw_close(&r);
}

/* An answer that breaks off never looks whole. */
static void test_abort(void **state)
{
	struct raw r;
	raw_open(&r);
	raw_say(&r, GET("/abort") GET("/next"));
	raw_hear(&r, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n");
	raw_hear_end(&r); /* no last chunk */
	raw_close(&r);
	raw_open(&r);
	raw_say(&r, GET("/short"));
	raw_hear(&r, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart");
	raw_hear_end(&r);
	raw_close(&r);
	raw_open(&r); /* an end would be the only sign of completeness: so it is a reset */
	raw_say(&r, "GET /abort HTTP/1.0\r\n\r\n");
	while (!r.ended)
		raw_read(&r);
	assert_true(r.reset);
	raw_close(&r);
}

static void test_slow_reader(void **state)
{
	struct raw r;
	raw_open(&r);
	most_backlog = 0;
	pump_left = 500;
	send(r.fd, GET("/pump") GET("/next"), sizeof(GET("/pump") GET("/next")) - 1, 0);
	UNTIL(most_backlog > STREAM_HIGH);
	turns(20);
	assert_true(pump_left > 0);
	assert_true(most_backlog < STREAM_HIGH + 50000);
	struct http_conn *c = only_conn();
	let_pass(c, 0); /* sees the backlog */
	let_pass(c, 50000);
	assert_false(c->stream.closing);
	raw_hear(&r, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
	for (int i = 0; i < 500; i++) {
		raw_hear(&r, "9c20\r\npppppppp");
		while (r.got.len < 39968 - 8 + 2)
			raw_read(&r);
		buf_drop(&r.got, 39968 - 8);
		raw_hear(&r, "\r\n");
	}
	raw_hear(&r, "0\r\n\r\n" OK("5", "/next"));
	assert_true(most_backlog < STREAM_HIGH + 50000);
	raw_close(&r);
}

static void test_stalled_reader(void **state)
{
	struct raw r;
	raw_open(&r);
	gone = 0;
	pump_left = 500;
	send(r.fd, GET("/pump"), sizeof(GET("/pump")) - 1, 0);
	struct http_conn *c = only_conn();
	UNTIL(stream_backlog(&c->stream) > STREAM_HIGH);
	turns(20);
	let_pass(c, 0);
	let_pass(c, 61000); /* not a byte in 60 s */
	assert_int_equal(gone, 1);
	raw_close(&r);
}

static void test_drain(void **state)
{
	struct raw idle, busy, late;
	raw_open(&idle);
	raw_open(&busy);
	raw_say(&busy, GET("/hold") GET("/next"));
	raw_say(&idle, GET("/a"));
	raw_hear(&idle, OK("2", "/a"));
	UNTIL(held && server.conn_count == 2);
	http_server_drain(&server);
	raw_hear_end(&idle);
	raw_open(&late);
	raw_hear_end(&late);
	http_respond(held, 200, STR_NONE, STR("done"));
	held = NULL;
	raw_hear(&busy, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone");
	raw_hear_end(&busy);
	server.stopping = false;
	raw_close(&busy);
	raw_close(&idle);
	raw_close(&late);
}

static void test_ceiling_of_connections(void **state)
{
	struct raw a, b;
	server.conn_max = 1;
	raw_open(&a);
	raw_say(&a, GET("/a"));
	raw_hear(&a, OK("2", "/a"));
	raw_open(&b);
	raw_hear_end(&b);
	raw_say(&a, GET("/b"));
	raw_hear(&a, OK("2", "/b"));
	server.conn_max = 0;
	close(b.fd);
	buf_release(&b.got);
	raw_close(&a);
}

static void test_close_all(void **state)
{
	struct raw r;
	raw_open(&r);
	raw_say(&r, GET("/hold"));
	UNTIL(held);
	gone = 0;
	http_server_close(&server);
	assert_int_equal(gone, 1);
	raw_hear_end(&r);
	server.stopping = false;
	raw_close(&r);
}

/* ---- upstreams: what came of one ---- */

static struct origin origin;

struct call {
	struct upstream *up;
	int heads, ends, failures, datas;
	int status;
	bool put_at_end;
	enum upstream_failure how;
	struct buf body;
};

static void call_head(struct upstream *u, const struct http_head *h)
{
	struct call *c = u->user;
	c->heads++;
	c->status = h->status;
}

static void call_data(struct upstream *u, char *data, size_t len, bool last)
{
	struct call *c = u->user;
	c->datas++;
	buf_add(&c->body, data, len);
	memset(data - UPSTREAM_HEADROOM, '#', UPSTREAM_HEADROOM + len + UPSTREAM_HEADROOM);
}

static void call_end(struct upstream *u)
{
	struct call *c = u->user;
	c->ends++;
	if (c->put_at_end)
		upstream_put(u);
}

static void call_failed(struct upstream *u, enum upstream_failure how, const char *why)
{
	struct call *c = u->user;
	c->failures++;
	c->how = how;
	assert_non_null(why);
}

static const struct upstream_events call_events = {
	.head = call_head,
	.data = call_data,
	.end = call_end,
	.failed = call_failed,
};

static void call_begin(struct call *c, struct origin *o, const char *request)
{
	*c = (struct call){.put_at_end = c->put_at_end};
	buf_init(&c->body, 64 * MIB);
	c->up = upstream_get(o, &call_events, c, false);
	struct iovec parts[2] = {{(char *)(uintptr_t)request, 3},
				 {(char *)(uintptr_t)request + 3, strlen(request) - 3}};
	upstream_send(c->up, parts, 2);
}

static void call_done(struct call *c)
{
	upstream_put(c->up);
	buf_release(&c->body);
}

static void origin_at(struct origin *o, uint16_t p)
{
	origin_init(o, &loop, STR("127.0.0.1"), p, NULL);
}

static void origin_gone(struct origin *o)
{
	origin_close(o);
	UNTIL(o->users == 0);
}

static void test_upstream_reuse(void **state)
{
	origin_at(&origin, port);
	for (int i = 0; i < 5; i++) {
		struct call c = {.put_at_end = i % 2};
		call_begin(&c, &origin,
			   i == 3 ? "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n" : GET("/hello"));
		if (i == 3)
			upstream_expect_no_body(c.up);
		assert_int_equal(c.up->reused, i > 0);
		UNTIL(c.ends);
		assert_int_equal(c.heads, 1);
		assert_int_equal(c.status, 200);
		assert_int_equal(c.body.len, i == 3 ? 0 : 6);
		if (!c.put_at_end)
			upstream_put(c.up);
		assert_int_equal(origin.idle_count, 1);
		buf_release(&c.body);
	}
	assert_int_equal(server.conn_count, 1);
	struct call a = {0}, b = {0}; /* two at once: two connections */
	call_begin(&a, &origin, GET("/a"));
	call_begin(&b, &origin, GET("/parts"));
	assert_true(a.up->reused && !b.up->reused);
	UNTIL(a.ends && b.ends);
	assert_memory_equal(b.body.ptr, "onetwothreelast", 15);
	call_done(&a);
	call_done(&b);
	assert_int_equal(origin.idle_count, 2);
	origin_gone(&origin);
	UNTIL(server.conn_count == 0);
}

static void test_upstream_large_request(void **state)
{
	struct buf b;
	struct call c = {0};
	origin_at(&origin, port);
	buf_init(&b, 64 * MIB);
	buf_addf(&b, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 5 * MIB);
	add_fill(&b, 5 * MIB, 'r');
	buf_addc(&b, 0);
	call_begin(&c, &origin, b.ptr);
	UNTIL(c.ends);
	assert_int_equal(c.body.len, 5 * MIB);
	assert_memory_equal(c.body.ptr, b.ptr + b.len - 1 - 5 * MIB, 5 * MIB);
	call_done(&c);
	assert_int_equal(origin.idle_count, 1);
	buf_release(&b);
	origin_gone(&origin);
	UNTIL(server.conn_count == 0);
}

/* ---- an engine by script: one connection, its request is read, then it says what it is told ---- */

static int script_listens = -1, script = -1;

static void script_open(void)
{
	union address a = address_of(0);
	socklen_t len = sizeof(a);
	script_listens = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(script_listens, &a.any, address_len(&a)), 0);
	assert_int_equal(listen(script_listens, 8), 0);
	getsockname(script_listens, &a.any, &len);
	origin_at(&origin, ntohs(a.v4.sin_port));
}

static void script_accept(void)
{
	char bytes[1000];
	turns(2);
	script = accept(script_listens, NULL, NULL);
	UNTIL(recv(script, bytes, sizeof(bytes), MSG_DONTWAIT) > 0);
}

static void script_say(const char *text)
{
	assert_int_equal(send(script, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void script_close(void)
{
	origin_gone(&origin);
	close(script_listens);
	if (script >= 0)
		close(script);
	script = -1;
}

enum then { STAYS, ENDS, RESETS };

static void script_then(enum then then)
{
	struct linger now = {.l_onoff = then == RESETS, .l_linger = 0};
	if (then == STAYS)
		return;
	usleep(2000);
	setsockopt(script, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(script);
	script = -1;
}

#define CHUNKED   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define LENGTH(n) "HTTP/1.1 200 OK\r\nContent-Length: " n "\r\n\r\n"

static const struct {
	const char *says;
	enum then then;
	bool whole; /* else it fails */
	bool pooled;
	enum upstream_failure how;
	const char *body;
} scripts[] = {
	{LENGTH("2") "ok", STAYS, true, true, 0, "ok"},
	{CHUNKED "2\r\nok\r\n1\r\n!\r\n0\r\n\r\n", STAYS, true, true, 0, "ok!"},
	{LENGTH("0"), STAYS, true, true, 0, ""},
	{"HTTP/1.1 204 No Content\r\n\r\n", STAYS, true, true, 0, ""},
	{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", STAYS, true,
	 true, 0, "ok"},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" LENGTH(
		 "2") "ok",
	 STAYS, true, true, 0, "ok"},
	/* complete, but nothing more to be asked of it */
	{LENGTH("2") "ok?", STAYS, true, false, 0, "ok"},
	{LENGTH("2") "okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", STAYS, true, false, 0,
	 "ok"},
	{CHUNKED "2\r\nok\r\n0\r\n\r\n?", STAYS, true, false, 0, "ok"},
	{"HTTP/1.1 204 No Content\r\n\r\n?", STAYS, true, false, 0, ""},
	{"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", STAYS, true, false, 0, ""},
	{LENGTH("0") "?", STAYS, true, false, 0, ""},
	{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", STAYS, true, false, 0, "ok"},
	{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", STAYS, true, false,
	 0, "ok"},
	{"HTTP/1.1 200 OK\r\n\r\nuntil the end", ENDS, true, false, 0, "until the end"},
	{"HTTP/1.0 200 OK\r\n\r\n", ENDS, true, false, 0, ""},
	{LENGTH("2") "ok", ENDS, true, false, 0, "ok"},
	{LENGTH("2") "ok", RESETS, true, false, 0, "ok"},
	/* cut */
	{"", ENDS, false, false, UPSTREAM_CLOSED, ""},
	{"", RESETS, false, false, UPSTREAM_CLOSED, ""},
	{"HTTP/1.1 200", ENDS, false, false, UPSTREAM_CUT, ""},
	{LENGTH("5") "ok", ENDS, false, false, UPSTREAM_CUT, "ok"},
	{LENGTH("5") "ok", RESETS, false, false, UPSTREAM_CUT, "ok"},
	{CHUNKED "5\r\nok", ENDS, false, false, UPSTREAM_CUT, "ok"},
	{CHUNKED "2\r\nok\r\n", ENDS, false, false, UPSTREAM_CUT, "ok"},
	{CHUNKED "2\r\nok\r\n0\r\n", ENDS, false, false, UPSTREAM_CUT, "ok"},
	{"HTTP/1.1 200 OK\r\n\r\nok", RESETS, false, false, UPSTREAM_CUT, "ok"},
	{"HTTP/1.1 100 Continue\r\n\r\n", ENDS, false, false, UPSTREAM_CLOSED, ""},
	/* not HTTP, or ambiguous */
	{CHUNKED "2\r\nok\r\n+1\r\n!\r\n", STAYS, false, false, UPSTREAM_BAD, "ok"},
	{CHUNKED "2;x=y\r\nok\r\n", STAYS, false, false, UPSTREAM_BAD, ""},
	{"SSH-2.0-OpenSSH_9.2\r\n", STAYS, false, false, UPSTREAM_BAD, ""},
	{"HTTP/1.1 101 Switching Protocols\r\n\r\n", STAYS, false, false, UPSTREAM_BAD, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", STAYS, false,
	 false, UPSTREAM_BAD, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", STAYS,
	 false, false, UPSTREAM_BAD, ""},
	{"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 2\r\n\r\nok", STAYS, false, false,
	 UPSTREAM_BAD, ""},
#define INTERIM "HTTP/1.1 100 Continue\r\n\r\n"
	{INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM LENGTH("2") "ok",
	 STAYS, false, false, UPSTREAM_BAD, ""},
};

static void check_script(size_t i, bool bytewise)
{
	struct call c = {0};
	script_open();
	call_begin(&c, &origin, GET("/"));
	script_accept();
	for (const char *at = scripts[i].says; bytewise && *at; at++, turns(1))
		if (send(script, at, 1, MSG_NOSIGNAL) < 0)
			break;
	if (!bytewise)
		script_say(scripts[i].says);
	if (scripts[i].then == RESETS)
		turns(3);
	script_then(scripts[i].then);
	UNTIL(c.ends || c.failures);
	turns(3);
	if (c.ends != scripts[i].whole || c.failures != !scripts[i].whole)
		fail_msg("%d ends, %d failures: %s", c.ends, c.failures, scripts[i].says);
	if (c.failures)
		assert_int_equal(c.how, scripts[i].how);
	assert_int_equal(c.body.len, strlen(scripts[i].body));
	assert_memory_equal(c.body.len ? c.body.ptr : "", scripts[i].body, c.body.len);
	call_done(&c);
	if (origin.idle_count != scripts[i].pooled)
		fail_msg("pooled %u: %s", origin.idle_count, scripts[i].says);
	script_close();
}

static void test_upstream_scripts(void **state)
{
	for (size_t i = 0; i < COUNT(scripts) * 2; i++)
		check_script(i / 2, i % 2);
}

static void test_upstream_idle_ends(void **state)
{
	for (int surplus = 0; surplus < 2; surplus++) {
		struct call c = {0};
		script_open();
		call_begin(&c, &origin, GET("/"));
		script_accept();
		script_say(LENGTH("2") "ok");
		UNTIL(c.ends);
		call_done(&c);
		assert_int_equal(origin.idle_count, 1);
		if (surplus) /* an answer to nobody's question */
			script_say(LENGTH("6") "poison");
		else
			script_then(ENDS);
		UNTIL(origin.idle_count == 0 && origin.users == 0);
		call_begin(&c, &origin, GET("/"));
		assert_false(c.up->reused);
		close(script);
		script_accept();
		script_say(LENGTH("4") "good");
		UNTIL(c.ends);
		assert_memory_equal(c.body.ptr, "good", 4);
		call_done(&c);
		script_close();
	}
}

/* What waits in front of an end is not lost while reading is paused. */
static void test_upstream_pause(void **state)
{
	struct call c = {0};
	script_open();
	call_begin(&c, &origin, GET("/"));
	script_accept();
	script_say(CHUNKED "2\r\nok\r\n");
	UNTIL(c.body.len == 2);
	upstream_pause(c.up);
	script_say("5\r\nlater\r\n0\r\n\r\n");
	script_then(ENDS);
	turns(20);
	assert_int_equal(c.body.len, 2);
	assert_int_equal(c.ends + c.failures, 0);
	upstream_resume(c.up);
	UNTIL(c.ends);
	assert_memory_equal(c.body.ptr, "oklater", 7);
	call_done(&c);
	script_close();
}

static void test_upstream_no_connection(void **state)
{
	struct call c = {0};
	script_open();
	close(script_listens);
	call_begin(&c, &origin, GET("/"));
	assert_int_equal(c.failures, 0); /* not from inside */
	UNTIL(c.failures);
	assert_int_equal(c.how, UPSTREAM_REFUSED);
	turns(20);
	assert_int_equal(c.failures, 1);
	call_done(&c);
	origin_gone(&origin);
	origin_init(&origin, &loop, STR("no such host"), 80, NULL);
	call_begin(&c, &origin, GET("/"));
	UNTIL(c.failures);
	assert_int_equal(c.how, UPSTREAM_NO_NAME);
	call_done(&c);
	origin_gone(&origin);
}

/* Neither a failure of a connection nor its success comes after the time-out was told. */
static void test_upstream_connect_timeout(void **state)
{
	union address a = address_of(0);
	socklen_t len = sizeof(a);
	int full = socket(AF_INET, SOCK_STREAM, 0), fillers[2];
	assert_int_equal(bind(full, &a.any, address_len(&a)), 0);
	assert_int_equal(listen(full, 0), 0); /* a backlog of one: further connections hang */
	getsockname(full, &a.any, &len);
	for (int i = 0; i < 2; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fillers[i], &a.any, len);
	}
	origin_at(&origin, ntohs(a.v4.sin_port));
	origin.connect_ms = 50;
	struct call c = {0};
	call_begin(&c, &origin, GET("/"));
	UNTIL(c.failures);
	assert_int_equal(c.how, UPSTREAM_CONNECT_TIMEOUT);
	close(accept(full, NULL, NULL));
	close(accept(full, NULL, NULL));
	for (int i = 0; i < 1200; i++) /* until the SYN is sent again */
		turns(5), usleep(100);
	assert_int_equal(c.failures, 1);
	assert_int_equal(c.heads + c.ends, 0);
	call_done(&c);
	call_begin(&c, &origin, GET("/")); /* given up while connecting, and while looking up */
	call_done(&c);
	origin_gone(&origin);
	origin_init(&origin, &loop, STR("localhost"), 1, NULL);
	call_begin(&c, &origin, GET("/"));
	call_done(&c);
	turns(200);
	assert_int_equal(c.failures, 0);
	origin_gone(&origin);
	close(full);
	close(fillers[0]);
	close(fillers[1]);
}

/* The user is done with an answer before its framing: a moment later the connection is in the pool, or closed. */
static void test_upstream_put_soon(void **state)
{
	static const char *const rests[] = {"0\r\n\r\n", "3\r\nxyz\r\n0\r\n\r\n", ""};
	for (int i = 0; i < 3; i++) {
		struct call c = {0};
		script_open();
		call_begin(&c, &origin, GET("/"));
		script_accept();
		script_say(CHUNKED "8\r\n[DONE]\n\n\r\n");
		UNTIL(c.body.len == 8);
		upstream_put_soon(c.up);
		buf_release(&c.body);
		assert_int_equal(origin.users, 1);
		script_say(rests[i]);
		UNTIL(i == 0 ? origin.idle_count == 1 : origin.users == 0);
		turns(3);
		assert_int_equal(c.ends + c.failures, 0);
		script_close();
	}
}

/* ---- the relay: back-pressure from a slow client to the engine ---- */

static void test_relay_slow_client(void **state)
{
	struct raw r;
	size_t total = 0;
	origin_at(
		&engine,
		port); /* the engine is the same server's /: a body of one request after the other */
	origin_gone(&engine);
	script_open();
	engine = origin;
	list_init(&engine.idle);
	raw_open(&r);
	most_backlog = 0;
	send(r.fd, GET("/relay"), sizeof(GET("/relay")) - 1, 0);
	turns(5);
	script_accept();
	script_say("HTTP/1.1 200 OK\r\n\r\n");
	static char piece[10000];
	memset(piece, 'e', sizeof(piece));
	for (int stuck = 0; stuck < 100;) { /* until the whole way is full */
		ssize_t n = send(script, piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
		stuck = n < 0 ? stuck + 1 : 0;
		total += n > 0 ? (size_t)n : 0;
		turns(1);
	}
	assert_true(most_backlog > STREAM_HIGH &&
		    most_backlog < STREAM_HIGH + LOOP_SCRATCH_BYTES + 64);
	script_then(ENDS);
	raw_hear(&r, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
	while (!str_ends(buf_str(&r.got), STR("\r\n0\r\n\r\n")))
		raw_read(&r);
	struct chunk_decoder d = {0};
	char *data;
	size_t data_len, used;
	assert_int_equal(chunk_decode(&d, r.got.ptr, r.got.len, &data, &data_len, &used),
			 CHUNK_END);
	assert_int_equal(data_len, total);
	for (size_t i = 0; i < data_len; i++)
		if (data[i] != 'e')
			fail_msg("byte %zu", i);
	origin_gone(&engine);
	raw_close(&r);
	script_close();
}

static void test_relay_cut(void **state)
{
	struct raw r;
	script_open();
	engine = origin;
	list_init(&engine.idle);
	raw_open(&r);
	raw_say(&r, GET("/relay"));
	script_accept();
	script_say(CHUNKED "2\r\nok\r\n");
	raw_hear(&r, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n");
	script_then(ENDS);
	raw_hear_end(&r); /* no last chunk */
	raw_close(&r);
	raw_open(&r); /* a client that leaves takes its upstream with it */
	raw_say(&r, GET("/relay"));
	script_accept();
	script_say(CHUNKED "2\r\nok\r\n");
	raw_hear(&r, "HTTP/1.1 200 OK\r\n");
	raw_close(&r);
	UNTIL(engine.users == 0);
	char byte;
	assert_true(recv(script, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
	origin_gone(&engine);
	script_close();
}

/* ---- fetch ---- */

static int fetched;
static bool free_when_done;
static struct {
	int status;
	const char *why;
	char body[64];
} fetch_saw;

static void on_fetched(struct fetch *f)
{
	fetched++;
	fetch_saw.status = f->status;
	fetch_saw.why = f->why;
	snprintf(fetch_saw.body, sizeof(fetch_saw.body), "%.*s", STR_ARG(buf_str(&f->body)));
	if (free_when_done)
		fetch_free(f);
}

static struct fetch *fetch(const char *scheme, const char *host, uint16_t p, const char *path,
			   const char *body, int64_t timeout_ms, size_t max)
{
	char text[100];
	struct url url;
	struct fetch *f = mem_zero(sizeof(*f));
	snprintf(text, sizeof(text), "%s://%s:%u%s", scheme, host, p, *path == '!' ? "/base/" : "");
	assert_null(url_parse(str_from(text), &url));
	fetched = 0;
	fetch_start(f, &loop, NULL, &url, str_from(*path == '!' ? path + 1 : path), STR("x: y\r\n"),
		    str_from(body), timeout_ms, max, on_fetched);
	memset(text, '?', sizeof(text)); /* all is copied */
	assert_int_equal(fetched, 0);
	return f;
}

static void check_fetch(struct fetch *f, int status, const char *what)
{
	UNTIL(fetched);
	assert_int_equal(fetch_saw.status, status);
	assert_string_equal(status ? fetch_saw.body : fetch_saw.why, what);
	if (!free_when_done)
		fetch_free(f);
	turns(20);
	assert_int_equal(fetched, 1);
}

/* A body is JSON, unless the first of the fields says otherwise. */
static void test_fetch_type(void **state)
{
	static const char *const cases[][2] = {
		{"x: y\r\n", "application/json"},
		{"", "application/json"},
		{"Content-Type: text/plain\r\nx: y\r\n", "text/plain"},
	};
	char text[100];
	struct url url;
	snprintf(text, sizeof(text), "http://127.0.0.1:%u", port);
	assert_null(url_parse(str_from(text), &url));
	free_when_done = true;
	for (size_t i = 0; i < 3; i++) {
		struct fetch *f = mem_zero(sizeof(*f));
		fetched = 0;
		fetch_start(f, &loop, NULL, &url, STR("/type"), str_from(cases[i][0]), STR("{}"), 1000, 100, on_fetched);
		check_fetch(f, 200, cases[i][1]);
	}
}

static void test_fetch(void **state)
{
	for (int i = 0; i < 2; i++) {
		free_when_done = i;
		check_fetch(fetch("http", "127.0.0.1", port, "!/x?y", "", 1000, 100), 200,
			    "/base/x?y");
		check_fetch(fetch("http", "localhost", port, "", "", 1000, 100), 200, "/");
		check_fetch(fetch("http", "127.0.0.1", port, "/", "{\"a\":1}", 1000, 100), 200,
			    "{\"a\":1}");
		check_fetch(fetch("http", "127.0.0.1", port, "/parts", "", 1000, 15), 200,
			    "onetwothreelast");
		check_fetch(fetch("http", "127.0.0.1", port, "/parts", "", 1000, 14), 0,
			    "answer too large");
		check_fetch(fetch("http", "127.0.0.1", port, "/length", "", 1000, 14), 0,
			    "answer too large");
		check_fetch(fetch("http", "127.0.0.1", port, "/abort", "", 1000, 100), 0,
			    "closed inside the answer");
		check_fetch(fetch("http", "127.0.0.1", port, "/hold", "", 50, 100), 0,
			    "no complete answer in time");
		check_fetch(fetch("https", "127.0.0.1", port, "/", "", 1000, 100), 0,
			    "https, but TLS is not set up");
		check_fetch(fetch("http", "127.0.0.1", 1, "/", "", 1000, 100), 0,
			    "connection refused");
	}
	fetch_free(fetch("http", "127.0.0.1", port, "/", "", 1000, 100));
	struct fetch *f = fetch("http", "127.0.0.1", port, "/hold", "", 1000, 100);
	UNTIL(held);
	fetch_free(f);
	fetch_free(fetch("http", "localhost", port, "/", "", 1000, 100));
	fetch_free(fetch("https", "localhost", port, "/", "", 1000, 100));
	UNTIL(server.conn_count == 0);
	turns(20);
	assert_int_equal(fetched, 0);
}

static int setup(void **state)
{
	union address a = address_of(0);
	socklen_t len = sizeof(a);
	loop_init(&loop);
	http_server_init(&server, &loop, &server_events, NULL);
	server.max_body = 8 * MIB;
	if (listener_open(&listener, &loop, &a.any, address_len(&a), on_accepted) != 0)
		return -1;
	getsockname(listener.fd, &a.any, &len);
	port = ntohs(a.v4.sin_port);
	return 0;
}

static int teardown(void **state)
{
	listener_close(&listener);
	http_server_close(&server);
	turns(3);
	loop_release(&loop);
	http_slabs_release(&loop);
	resolve_release(&loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_pipelining),
		cmocka_unit_test(test_early_requests),
		cmocka_unit_test(test_early_flood),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_large_bodies),
		cmocka_unit_test(test_large_heads),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_slow_clients),
		cmocka_unit_test(test_client_leaves),
		cmocka_unit_test(test_without_body),
		cmocka_unit_test(test_http_1_0),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_stalled_reader),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_ceiling_of_connections),
		cmocka_unit_test(test_close_all),
		cmocka_unit_test(test_upstream_reuse),
		cmocka_unit_test(test_upstream_large_request),
		cmocka_unit_test(test_upstream_scripts),
		cmocka_unit_test(test_upstream_idle_ends),
		cmocka_unit_test(test_upstream_pause),
		cmocka_unit_test(test_upstream_no_connection),
		cmocka_unit_test(test_upstream_connect_timeout),
		cmocka_unit_test(test_upstream_put_soon),
		cmocka_unit_test(test_relay_slow_client),
		cmocka_unit_test(test_relay_cut),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_fetch_type),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
