/* test_http_head.c - heads of requests and answers: whole and at every split; what is ambiguous is refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/mem.h"
#include "http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "text_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct loop *test_loop; /* only its pool of slabs is used */

/* Parses `text` from a fresh slab in pieces; the slab stays with the caller. */
static enum http_parse parse(struct http_slab *slab, struct str text, size_t first, size_t step,
			     bool request, const char **why)
{
	enum http_parse r = HTTP_PARSE_MORE;
	size_t n = first;
	*why = NULL;
	while (r == HTTP_PARSE_MORE && text.len > 0) {
		if (!http_slab_room(slab))
			return HTTP_PARSE_TOO_LARGE;
		size_t room = slab->cap - slab->len;
		struct str piece = str_head(text, n < room ? n : room);
		memcpy(slab->bytes + slab->len, piece.ptr, piece.len);
		slab->len += piece.len;
		text = str_skip(text, piece.len);
		r = http_head_parse(slab, request, why);
		n = step;
	}
	return r;
}

static void check_refused(bool request, const char *text, size_t len, enum http_parse want)
{
	for (int bytewise = 0; bytewise < 2; bytewise++) {
		struct http_slab *slab = http_slab_take(test_loop);
		const char *why;
		enum http_parse r =
			parse(slab, str_of(text, len), bytewise ? 1 : len, 1, request, &why);
		if (r != want)
			fail_msg("%d instead of %d: %.200s", (int)r, (int)want, text);
		if (want == HTTP_PARSE_BAD)
			assert_non_null(why);
		http_slab_give(test_loop, slab);
	}
}

/* A head that is good in every split: the whole one is left in the result, for a closer look. */
static struct http_slab *check_good(bool request, const char *text)
{
	size_t len = strlen(text), size = (size_t)(strstr(text, "\r\n\r\n") - text) + 4;
	struct http_slab *whole = http_slab_take(test_loop);
	const char *why;
	enum http_parse r = parse(whole, str_of(text, len), len, len, request, &why);
	if (r != HTTP_PARSE_DONE)
		fail_msg("%d (%s): %s", (int)r, why ? why : "", text);
	assert_int_equal(whole->head.size, size);
	for (size_t first = 1; first < size; first++) {
		struct http_slab *slab = http_slab_take(test_loop);
		assert_int_equal(
			parse(slab, str_of(text, len), first, first % 2 ? 1 : len, request, &why),
			HTTP_PARSE_DONE);
		struct http_head *a = &whole->head, *b = &slab->head;
		assert_int_equal(a->field_count, b->field_count);
		assert_memory_equal(a->fields, b->fields, a->field_count * sizeof(*a->fields));
		assert_int_equal(b->size, size);
		assert_int_equal(a->content_length, b->content_length);
		assert_int_equal(a->url_at, b->url_at);
		assert_int_equal(a->url_len, b->url_len);
		assert_int_equal(a->status, b->status);
		assert_int_equal(a->method, b->method);
		assert_int_equal(
			a->chunked | a->keep_alive << 1 | a->expect_continue << 2 | a->minor << 3,
			b->chunked | b->keep_alive << 1 | b->expect_continue << 2 | b->minor << 3);
		http_slab_give(test_loop, slab);
	}
	return whole;
}

static void done(struct http_slab *slab)
{
	http_slab_give(test_loop, slab);
}

static void test_head_request(void **state)
{
	struct http_slab *s = check_good(
		true, "POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\n"
		      "empty:\r\nX-Long:  \t a b \t \r\nAuthorization:Bearer k\r\n"
		      "Expect: 100-Continue\r\n\r\n{\"a\":1}GET");
	struct http_head *h = &s->head;
	assert_int_equal(h->method, METHOD_POST);
	assert_int_equal(h->minor, 1);
	assert_true(h->keep_alive && h->expect_continue && !h->chunked);
	assert_int_equal(h->content_length, 42);
	assert_int_equal(h->field_count, 6);
	assert_str(http_head_url(h), "/v1/chat/completions?a=b");
	assert_str(http_head_get(h, STR("x-lonG")), "a b");
	assert_str(http_head_get(h, STR("empty")), "");
	assert_non_null(http_head_get(h, STR("empty")).ptr);
	assert_str(http_head_get(h, STR("authorization")), "Bearer k");
	assert_null(http_head_get(h, STR("absent")).ptr);
	done(s);
	s = check_good(true, "POST / HTTP/1.1\r\nhost:\r\ntransfer-encoding: Chunked\r\n\r\n5\r\n");
	assert_true(s->head.chunked);
	assert_int_equal(s->head.content_length, -1);
	done(s);
	s = check_good(true, "GET http://h/p HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
	assert_str(http_head_url(&s->head), "http://h/p");
	assert_int_equal(s->head.content_length, 0);
	done(s);
	s = check_good(true, "GET / HTTP/1.0\r\n\r\n");
	assert_int_equal(s->head.field_count, 0);
	done(s);
	s = http_slab_take(
		test_loop); /* an empty line before a request is left over from a sloppy client */
	const char *why, *text = "\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n";
	assert_int_equal(parse(s, str_from(text), 1, 1, true, &why), HTTP_PARSE_DONE);
	assert_int_equal(s->head.size, strlen(text));
	assert_str(http_head_url(&s->head), "/x");
	done(s);
}

static void test_head_methods(void **state)
{
	static const char *const names[] = {"GET",   "HEAD",   "POST",   "PUT",
					    "PATCH", "DELETE", "OPTIONS"};
	char text[128];
	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", names[i]);
		struct http_slab *s = check_good(true, text);
		assert_int_equal(s->head.method, i);
		assert_string_equal(http_method_name(s->head.method), names[i]);
		done(s);
	}
	struct http_slab *s = check_good(true, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(s->head.method, METHOD_OTHER);
	done(s);
}

static bool keeps(bool request, const char *version, const char *fields)
{
	char text[256];
	snprintf(text, sizeof(text),
		 request ? "GET / %s\r\nHost: a\r\n%s\r\n" : "%s 200 OK\r\n%s\r\n", version,
		 fields);
	struct http_slab *s = check_good(request, text);
	bool keep = s->head.keep_alive;
	done(s);
	return keep;
}

static void test_head_connection(void **state)
{
	for (int request = 0; request < 2; request++) {
		assert_true(keeps(request, "HTTP/1.1", ""));
		assert_false(keeps(request, "HTTP/1.0", ""));
		assert_false(keeps(request, "HTTP/1.1", "Connection: close\r\n"));
		assert_false(keeps(request, "HTTP/1.1", "Connection: x , CLOSE\r\n"));
		assert_false(keeps(request, "HTTP/1.1", "Connection: x\r\nConnection: close\r\n"));
		assert_true(keeps(request, "HTTP/1.1", "Connection: closed\r\n"));
		assert_true(keeps(request, "HTTP/1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n"));
		assert_true(keeps(request, "HTTP/1.0", "Connection: Keep-Alive\r\n"));
		assert_false(keeps(request, "HTTP/1.0", "Connection: keep-alive, close\r\n"));
		assert_false(keeps(request, "HTTP/1.0",
				   "Connection: close\r\nConnection: keep-alive\r\n"));
		assert_false(keeps(request, "HTTP/1.0",
				   "Connection: keep-alive\r\nConnection: close\r\n"));
	}
	assert_true(http_has_token(STR("a, B ,c"), STR("b")));
	assert_false(http_has_token(STR("a, Bx ,c"), STR("b")));
	assert_false(http_has_token(STR(""), STR("b")));
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\n"

/* Row 32 of the promises: each of these is read differently by somebody. */
static const struct {
	const char *text;
	size_t len;
} smuggling[] = {
#define CASE(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}
	CASE(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
	CASE(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
	CASE(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
	CASE(POST "Content-Length: 5, 5\r\n\r\n"),
	CASE(POST "Content-Length: -5\r\n\r\n"),
	CASE(POST "Content-Length: +5\r\n\r\n"),
	CASE(POST "Content-Length: 0x5\r\n\r\n"),
	CASE(POST "Content-Length: 5_0\r\n\r\n"),
	CASE(POST "Content-Length: 5 0\r\n\r\n"),
	CASE(POST "Content-Length: 5;\r\n\r\n"),
	CASE(POST "Content-Length: \r\n\r\n"),
	CASE(POST "Content-Length:\r\n\r\n"),
	CASE(POST "Content-Length: 99999999999999999999\r\n\r\n"),
	CASE(POST "Content-Length: 9223372036854775808\r\n\r\n"),
	CASE(POST "Content-Length : 5\r\n\r\n"),
	CASE(POST "Content-Length\t: 5\r\n\r\n"),
	CASE(POST " Content-Length: 5\r\n\r\n"),
	CASE("POST / HTTP/1.1\r\n Host: a\r\n\r\n"),
	CASE(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunked, identity\r\n\r\n"),
	CASE(POST "Transfer-Encoding: identity\r\n\r\n"),
	CASE(POST "Transfer-Encoding: xchunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunkedx\r\n\r\n"),
	CASE(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"),
	CASE(POST "Transfer-Encoding: \x0b"
		  "chunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunked;q=1\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"),
	CASE(POST "Transfer-Encoding:\r\n chunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding : chunked\r\n\r\n"),
	CASE(POST "Transfer-Encoding:\r\n\r\n"),
	CASE(POST "Transfer-Encoding: chunked\n\r\n"),
	CASE(POST "X: y\n\r\n"),
	CASE(POST "X: y\n\n"),
	CASE("POST / HTTP/1.1\nHost: a\n\n"),
	CASE("\nPOST / HTTP/1.1\r\nHost: a\r\n\r\n"),
	CASE(POST "X: y\rTransfer-Encoding: chunked\r\n\r\n"),
	CASE(POST "X: y\r\r\n\r\n"),
	CASE(POST "X: a\0b\r\n\r\n"),
	CASE(POST "X\0: b\r\n\r\n"),
	CASE(POST "X: a\r\n folded\r\n\r\n"),
	CASE(POST "X: a\r\n\tfolded\r\n\r\n"),
	CASE(POST ": b\r\n\r\n"),
	CASE("POST / HTTP/1.1\r\n: b\r\nHost: a\r\n\r\n"),
	CASE("POST / HTTP/1.1\r\n:\r\nHost: a\r\n\r\n"),
	CASE(POST "X: a\r\n:\r\n\r\n"),
	CASE(POST "no colon\r\n\r\n"),
	CASE(POST "nocolon\r\n\r\n"),
	CASE(POST "X@Y: b\r\n\r\n"),
	CASE(POST "Host: b\r\n\r\n"),
	CASE(POST "Host: a\r\n\r\n"),
	CASE("GET / HTTP/1.1\r\n\r\n"),
	CASE("GET / HTTP/1.1\r\nX: y\r\n\r\n"),
	CASE("GET /\r\nHost: a\r\n\r\n"),
	CASE("GET /\r\n\r\n"),
	CASE("GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/1\r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
	CASE("GET / http/1.1\r\nHost: a\r\n\r\n"),
	CASE("GET / RTSP/1.0\r\nHost: a\r\n\r\n"),
	CASE("OPTIONS / RTSP/1.0\r\nHost: a\r\n\r\n"),
	CASE("SOURCE / ICE/1.0\r\nHost: a\r\n\r\n"),
	CASE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	CASE("get / HTTP/1.1\r\nHost: a\r\n\r\n"),
	CASE("GETX / HTTP/1.1\r\nHost: a\r\n\r\n"),
	CASE("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
	CASE("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
	CASE("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
	CASE("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
	CASE("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
	CASE("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
};

static void test_head_smuggling(void **state)
{
	for (size_t i = 0; i < COUNT(smuggling); i++)
		check_refused(true, smuggling[i].text, smuggling[i].len, HTTP_PARSE_BAD);
}

static const struct {
	const char *text;
	size_t len;
} bad_answers[] = {
	CASE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
	CASE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nX : y\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nX\t: y\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nX y: y\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\n X: y\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\n: y\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\r\nX: y\nZ: a\r\n\r\n"),
	CASE("HTTP/1.1 200 OK\nX: y\n\n"),
	CASE("HTTP/1.1 200 OK\rX: y\r\n\r\n"),
	CASE("HTTP/1.1 200 O\0K\r\n\r\n"),
	CASE("HTTP/2.0 200 OK\r\n\r\n"),
	CASE("HTTP/1.2 200 OK\r\n\r\n"),
	CASE("HTTP/1.1 20 OK\r\n\r\n"),
	CASE("HTTP/1.1 2000 OK\r\n\r\n"),
	CASE("HTTP/1.1 099 OK\r\n\r\n"),
	CASE("HTTP/1.1 2x0 OK\r\n\r\n"),
	CASE("HTTP/1.1  200 OK\r\n\r\n"),
	CASE("HTTP/1.1\r\n\r\n"),
	CASE("RTSP/1.0 200 OK\r\n\r\n"),
	CASE("ICE/1.0 200 OK\r\n\r\n"),
	CASE("<html>busy</html>\r\n\r\n"),
	CASE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
};

static void test_head_bad_answers(void **state)
{
	for (size_t i = 0; i < COUNT(bad_answers); i++)
		check_refused(false, bad_answers[i].text, bad_answers[i].len, HTTP_PARSE_BAD);
}

static void test_head_answers(void **state)
{
	static const struct {
		const char *text;
		int status;
		int64_t length;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: "
		 "chunked\r\n\r\n5\r\n",
		 200, -1},
		{"HTTP/1.1 204 No Content\r\n\r\n", 204, -1},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 100, -1},
		{"HTTP/1.1 200 \r\nContent-Length: 7\r\n\r\n", 200, 7},
		{"HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n", 200, 7},
		{"HTTP/1.0 503 Loading model\r\n\r\nbody", 503, -1},
		{"HTTP/1.1 529 \xc3\x9c"
		 "berlastet\r\nServer: uvicorn\r\n\r\n",
		 529, -1},
		{"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 101,
		 -1},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, 99},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct http_slab *s = check_good(false, cases[i].text);
		assert_int_equal(s->head.status, cases[i].status);
		assert_int_equal(s->head.content_length, cases[i].length);
		done(s);
	}
}

static void add_fields(struct buf *b, unsigned count, unsigned size)
{
	for (unsigned i = 0; i < count; i++) {
		buf_addf(b, "X-%u: ", i);
		for (unsigned j = 0; j < size; j++)
			buf_addc(b, 'v');
		BUF_ADD(b, "\r\n");
	}
}

static void test_head_ceilings(void **state)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	for (int request = 0; request < 2; request++) {
		const char *line = request ? "GET / HTTP/1.1\r\nHost: a\r\n"
					   : "HTTP/1.1 200 OK\r\nHost: a\r\n";
		buf_clear(&b);
		buf_adds(&b, str_from(line));
		add_fields(&b, 127, 4);
		buf_add(&b, "\r\n", 3); /* with a NUL */
		struct http_slab *s = check_good(request, b.ptr);
		assert_int_equal(s->head.field_count, 128);
		done(s);
		buf_clear(&b);
		buf_adds(&b, str_from(line));
		add_fields(&b, 128, 4);
		BUF_ADD(&b, "\r\n");
		check_refused(request, b.ptr, b.len, HTTP_PARSE_TOO_LARGE);
		buf_clear(&b);
		buf_adds(&b, str_from(line));
		add_fields(&b, 5, 8000);
		BUF_ADD(&b, "\r\n");
		check_refused(request, b.ptr, b.len, HTTP_PARSE_TOO_LARGE);
	}
	buf_release(&b);
}

/* A head of exactly the ceiling is taken, one byte more is not; fields keep their places when the slab grows. */
static void test_head_largest(void **state)
{
	for (size_t over = 0; over < 2; over++) {
		struct buf b;
		struct http_slab *s = http_slab_take(test_loop);
		const char *why;
		buf_init(&b, 1 << 20);
		BUF_ADD(&b, "GET /first HTTP/1.1\r\nHost: a\r\nX: ");
		while (b.len < HTTP_MAX_HEAD - 4 + over)
			buf_addc(&b, 'x');
		BUF_ADD(&b, "\r\n\r\n");
		enum http_parse r = parse(s, buf_str(&b), 1000, 1000, true, &why);
		assert_int_equal(r, over ? HTTP_PARSE_TOO_LARGE : HTTP_PARSE_DONE);
		if (!over) {
			assert_int_equal(s->head.size, HTTP_MAX_HEAD);
			assert_str(http_head_url(&s->head), "/first");
			assert_str(http_head_get(&s->head, STR("host")), "a");
			assert_int_equal(http_head_get(&s->head, STR("x")).len, HTTP_MAX_HEAD - 37);
		}
		done(s);
		buf_release(&b);
	}
}

static void test_head_long_url(void **state)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	BUF_ADD(&b, "GET /");
	while (b.len < HTTP_MAX_URL + 4)
		buf_addc(&b, 'x');
	buf_add(&b, " HTTP/1.1\r\nHost: a\r\n\r\n", 23);
	struct http_slab *s = check_good(true, b.ptr);
	assert_int_equal(s->head.url_len, HTTP_MAX_URL);
	done(s);
	buf_clear(&b);
	BUF_ADD(&b, "GET /");
	while (b.len < HTTP_MAX_URL + 5)
		buf_addc(&b, 'x');
	check_refused(true, b.ptr, b.len, HTTP_PARSE_URL_TOO_LONG); /* before its end was seen */
	buf_release(&b);
}

static void test_head_pipelined(void **state)
{
	static const char text[] =
		"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /22 HTTP/1.1\r\nHost: b\r\n\r\nGET /3";
	struct http_slab *s = http_slab_take(test_loop);
	const char *why;
	assert_int_equal(parse(s, STR(text), sizeof(text), 1, true, &why), HTTP_PARSE_DONE);
	assert_int_equal(s->head.size, 28);
	http_slab_restart(s, s->head.size);
	assert_int_equal(http_head_parse(s, true, &why), HTTP_PARSE_DONE);
	assert_int_equal(s->head.size, 29);
	assert_str(http_head_url(&s->head), "/22");
	assert_str(http_head_get(&s->head, STR("host")), "b");
	http_slab_restart(s, s->head.size);
	assert_int_equal(http_head_parse(s, true, &why), HTTP_PARSE_MORE);
	assert_int_equal(s->len, 6);
	done(s);
}

static void test_reasons(void **state)
{
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(503), "Service Unavailable");
	assert_string_equal(http_reason(999), "Unknown");
}

static int setup(void **state)
{
	test_loop = mem_zero(sizeof(*test_loop));
	return 0;
}

static int teardown(void **state)
{
	http_slabs_release(test_loop);
	free(test_loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head_request),     cmocka_unit_test(test_head_methods),
		cmocka_unit_test(test_head_connection),  cmocka_unit_test(test_head_smuggling),
		cmocka_unit_test(test_head_bad_answers), cmocka_unit_test(test_head_answers),
		cmocka_unit_test(test_head_ceilings),    cmocka_unit_test(test_head_largest),
		cmocka_unit_test(test_head_long_url),    cmocka_unit_test(test_head_pipelined),
		cmocka_unit_test(test_reasons),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
