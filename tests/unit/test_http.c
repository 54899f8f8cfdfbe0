/* test_http.c - the pure parts of src/http: URLs, server-sent events, multipart, chunks.
 *
 * Every parser is fed whole, and where it keeps state also at every split and byte by byte.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/mem.h"
#include "http/chunk.h"
#include "http/multipart.h"
#include "http/sse.h"
#include "http/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "text_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* An exact copy on the heap, so that a sanitizer sees reads past the end. */
static struct str exact(struct str s)
{
	char *copy = mem_alloc(s.len ? s.len : 1);
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	return str_of(copy, s.len);
}

static void release(struct str s)
{
	free((char *)s.ptr);
}

/* ---- URLs ---- */

static void test_url_good(void **state)
{
	static const struct {
		const char *text, *host, *authority, *path;
		bool https;
		uint16_t port;
	} cases[] = {
		{"http://localhost", "localhost", "localhost", "", false, 80},
		{"https://api.example.com/v1/", "api.example.com", "api.example.com", "/v1", true,
		 443},
		{"http://127.0.0.1:8080/a/b//", "127.0.0.1", "127.0.0.1:8080", "/a/b", false, 8080},
		{"HTTP://[::1]:11434/", "::1", "[::1]:11434", "", false, 11434},
		{"https://[2001:db8::7]", "2001:db8::7", "[2001:db8::7]", "", true, 443},
		{"http://my_engine-1:1/%7Ex", "my_engine-1", "my_engine-1:1", "/%7Ex", false, 1},
		{"http://h:65535", "h", "h:65535", "", false, 65535},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct url url;
		struct str text = exact(str_from(cases[i].text));
		assert_null(url_parse(text, &url));
		assert_str(url.host, cases[i].host);
		assert_str(url.authority, cases[i].authority);
		assert_str(url.path, cases[i].path);
		assert_int_equal(url.https, cases[i].https);
		assert_int_equal(url.port, cases[i].port);
		release(text);
	}
}

static void test_url_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"localhost:8080",
		"ftp://host",
		"http:/host",
		"http://",
		"http:///path",
		"http://:80",
		"http://user@host",
		"http://user:secret@host/",
		"http://host?x=1",
		"http://host/#a",
		"http://host:",
		"http://host:0",
		"http://host:65536",
		"http://host:-1",
		"http://host:+1",
		"http://host:8o",
		"http://host:80:80",
		"http://ho st",
		"http://host/\r\nx: y",
		"http://host\\@evil",
		"http://h%6fst",
		"http://[::1",
		"http://[::1]x",
		"http://[127.0.0.1]",
		"http://[fe80::1%25eth0]",
		"http://[[::1]]",
		"http://::1",
		"http://.host",
		"http://h\xc3\xb6st",
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct url url;
		struct str text = exact(str_from(cases[i]));
		if (!url_parse(text, &url))
			fail_msg("accepted: %s", cases[i]);
		release(text);
	}
}

static void test_url_target(void **state)
{
	struct str path, query;
	assert_true(url_split_target(STR("/v1/models?x=1&y"), &path, &query));
	assert_str(path, "/v1/models");
	assert_str(query, "x=1&y");
	assert_true(url_split_target(STR("/"), &path, &query));
	assert_str(path, "/");
	assert_str(query, "");
	assert_true(url_split_target(STR("/a?b?c"), &path, &query));
	assert_str(query, "b?c");
	assert_true(url_split_target(STR("http://host:80/p?q"), &path, &query));
	assert_str(path, "/p");
	assert_str(query, "q");
	assert_true(url_split_target(STR("HTTPS://host"), &path, &query));
	assert_str(path, "/");
	assert_true(url_split_target(STR("http://host?a=b"), &path, &query));
	assert_str(path, "/");
	assert_str(query, "a=b");
	static const char *const bad[] = {"",         "*",    "v1",   "?x",    "http:///p",
					  "ftp://h/", "/a#b", "/a b", "/\x01", "host:443"};
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(url_split_target(str_from(bad[i]), &path, &query));
}

static void test_url_query(void **state)
{
	struct str query = STR("a=1&bb=2&c&=x&a=3&d=");
	assert_str(url_query_get(query, STR("a")), "1");
	assert_str(url_query_get(query, STR("bb")), "2");
	assert_str(url_query_get(query, STR("c")), "");
	assert_non_null(url_query_get(query, STR("c")).ptr);
	assert_str(url_query_get(query, STR("d")), "");
	assert_null(url_query_get(query, STR("b")).ptr);
	assert_null(url_query_get(STR(""), STR("a")).ptr);
	assert_null(url_query_get(STR_NONE, STR("a")).ptr);
}

static void test_url_escapes(void **state)
{
	struct buf b;
	buf_init(&b, 64);
	assert_true(url_decode(STR("a%2Fb%2525+%e4"), &b));
	assert_str(buf_str(&b), "a/b%25+\xe4");
	static const char *const bad[] = {"%", "%4", "%4g", "%g4", "a%", "%%41", "%00", "x%2"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct str text = exact(str_from(bad[i]));
		assert_false(url_decode(text, &b));
		assert_int_equal(b.len, 8); /* left as it was */
		release(text);
	}
	buf_clear(&b);
	assert_true(url_encode(STR("aZ0-._~ /%\xff"), &b));
	assert_str(buf_str(&b), "aZ0-._~%20%2F%25%FF");
	buf_release(&b);
	buf_init(&b, 4);
	assert_false(url_encode(STR("ab  "), &b));
	assert_int_equal(b.len, 0);
	assert_false(url_decode(STR("abcde"), &b));
	assert_int_equal(b.len, 0);
	buf_release(&b);
}

/* ---- server-sent events ---- */

static size_t event_length(const char *text)
{
	struct str s = exact(str_from(text));
	size_t n = sse_event_length(s);
	release(s);
	return n;
}

static void test_sse_length(void **state)
{
	assert_int_equal(event_length(""), 0);
	assert_int_equal(event_length("data: x"), 0);
	assert_int_equal(event_length("data: x\n"), 0);
	assert_int_equal(event_length("data: x\n\n"), 9);
	assert_int_equal(event_length("data: x\n\ndata"), 9);
	assert_int_equal(event_length("data: x\r\n\r\nd"), 11);
	assert_int_equal(event_length("data: x\r\n\r"), 0); /* an LF may follow */
	assert_int_equal(event_length("data: x\r\rd"), 9);
	assert_int_equal(event_length("data: x\r\r"), 9);
	assert_int_equal(event_length("data: x\r\r\n"), 9);
	assert_int_equal(event_length("data: x\r\n\n"), 10);
	assert_int_equal(event_length("data: x\n\r\ny"), 10);
	assert_int_equal(event_length("data: x\n\ry"), 9);
	assert_int_equal(event_length("event: a\ndata: 0123456789abcdef0123456789\n\n."), 43);
	assert_int_equal(event_length("\ndata: x\n\n"), 1);
	assert_int_equal(event_length("\r\ndata: x\n\n"), 2);
}

/* Line ends at every place of long lines: the wide steps and the narrow ones find the same. */
static void test_sse_long_lines(void **state)
{
	for (size_t n = 0; n < 300; n++) {
		char text[304];
		memset(text, 'x', sizeof(text));
		memcpy(text + n, "\n\r\n", 3);
		struct str s = exact(str_of(text, n + 3));
		assert_int_equal(sse_event_length(s), n ? n + 3 : 1);
		assert_int_equal(sse_event_length(str_head(s, n + 1)), n ? 0 : 1);
		release(s);
	}
}

/* The same events, whatever the pieces in which the bytes come. */
static void test_sse_splits(void **state)
{
	static const char stream[] = "data: 1\n\n: keep\r\n\r\nevent: a\rdata: 2\r\r\ndata: "
				     "3\r\n\n\n\r\ndata: 4\n\r\n\r\n";
	size_t ends[16], count = 0;
	for (size_t at = 0; at < sizeof(stream) - 1; count++) {
		size_t n = sse_event_length(str_of(stream + at, sizeof(stream) - 1 - at));
		assert_true(n > 0);
		ends[count] = at += n;
	}
	assert_int_equal(count, 9);
	size_t from = 0, seen = 0;
	for (size_t have = 1; have < sizeof(stream); have++) {
		struct str s = exact(str_of(stream + from, have - from));
		size_t n = sse_event_length(s);
		release(s);
		if (n == 0)
			continue;
		from += n;
		assert_int_equal(from, ends[seen++]);
	}
	assert_int_equal(seen, count);
}

static void test_sse_lines(void **state)
{
	struct str event = STR(": hello\r\nevent:  a\ndata:b: c\rid\n\n"), name, value;
	static const char *const want[][2] = {
		{"", "hello"}, {"event", " a"}, {"data", "b: c"}, {"id", ""}};
	for (size_t i = 0; i < COUNT(want); i++) {
		assert_true(sse_next_line(&event, &name, &value));
		assert_str(name, want[i][0]);
		assert_str(value, want[i][1]);
	}
	assert_false(sse_next_line(&event, &name, &value));
	assert_str(sse_data(STR("event: x\ndata: {\"a\":1}\n\n")), "{\"a\":1}");
	assert_str(sse_data(STR("data:[DONE]\r\n\r\n")), "[DONE]");
	assert_str(sse_data(STR("\xef\xbb\xbf"
				"data: x\n\n")),
		   "x");
	assert_str(sse_data(STR("data\n\n")), "");
	assert_non_null(sse_data(STR("data\n\n")).ptr);
	assert_null(sse_data(STR("data: 1\ndata: 2\n\n")).ptr);
	assert_null(sse_data(STR(": comment\n\n")).ptr);
	assert_null(sse_data(STR("\n")).ptr);
	assert_null(sse_data(STR("")).ptr);
}

/* ---- multipart ---- */

static void test_multipart_boundary(void **state)
{
	assert_str(multipart_boundary(STR("multipart/form-data; boundary=abc")), "abc");
	assert_str(multipart_boundary(
			   STR("Multipart/Form-Data;charset=\"x;boundary=y\"; BOUNDARY=\"a b\"")),
		   "a b");
	assert_str(multipart_boundary(STR(
			   "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW")),
		   "----WebKitFormBoundary7MA4YWxkTrZu0gW");
	assert_str(multipart_boundary(STR("multipart/form-data; boundary=a;")), "a");
	static const char *const bad[] = {
		"",
		"application/json",
		"multipart/form-data",
		"multipart/form-data; boundary=",
		"multipart/form-data; boundary=\"\"",
		"multipart/form-data; boundary=\"abc",
		"multipart/form-data; boundary=\"abc \"",
		"multipart/form-data; boundary=a; boundary=b",
		"multipart/form-data boundary=a",
		"multipart/form-datax; boundary=a",
		"multipart/mixed; boundary=a",
		"multipart/form-data; boundary=a\"b\"",
		"multipart/form-data; boundary=\"a\\b\"",
		("multipart/form-data; "
		 "boundary="
		 "01234567890123456789012345678901234567890123456789012345678901234567890"),
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		if (multipart_boundary(str_from(bad[i])).ptr)
			fail_msg("accepted: %s", bad[i]);
}

#define PART(name, content) \
	"--B\r\nContent-Disposition: form-data; name=" name "\r\n\r\n" content "\r\n"

static enum multipart_result find(const char *body, struct str *value)
{
	static struct str kept;
	if (kept.ptr)
		release(kept);
	kept = exact(str_from(body));
	return multipart_find(kept, STR("B"), STR("model"), value);
}

static void test_multipart_find(void **state)
{
	struct str value = STR_NONE;
	assert_int_equal(find(PART("\"model\"", "gpt") "--B--\r\n", &value), MULTIPART_FOUND);
	assert_str(value, "gpt");
	assert_int_equal(
		find(PART("\"file\"; filename=\"a;name=\\\"model\"\r\nContent-Type: audio/wav",
			  "\r\n-\r\n--b\n--C") PART("model", "") "--B--",
		     &value),
		MULTIPART_FOUND);
	assert_str(value, "");
	assert_int_equal(find(PART("\"model\"", "a") PART("\"x\"", "b")
				      PART("\"model\"", "c") "--B--",
			      &value),
			 MULTIPART_TWICE);
	assert_int_equal(find(PART("\"Model\"", "a") "--B--", &value), MULTIPART_ABSENT);
	assert_int_equal(find("--B--\r\n", &value), MULTIPART_ABSENT);
}

static void test_multipart_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"--",
		"--B",
		"--B\r\n",
		"--B-",
		"--B--x",
		"--B--\r\nepilogue",
		"preamble\r\n" PART("\"a\"", "") "--B--",
		PART("\"a\"", "x"),
		PART("\"a\"", "x") "--B",
		PART("\"a\"", "x") "--C--",
		"--B \r\nContent-Disposition: form-data; "
		"name=\"a\"\r\n\r\nx\r\n--B--",
		"--B\nContent-Disposition: form-data; "
		"name=\"a\"\n\nx\n--B--",
		PART("\"a\"", "x\n--B\r\n") "--B--", /* a delimiter behind a bare LF */
		PART("\"a\"", "x\r\n--Bx") "--B--",  /* longer than the boundary */
		"--B\r\nContent-Disposition: form-data; "
		"name=\"a\"\r\n\r\n--B--", /* no CR LF of its own */
		"--B\r\n\r\nx\r\n--B--",   /* no disposition */
		"--B\r\nContent-Disposition: attachment; "
		"name=\"a\"\r\n\r\nx\r\n--B--",
		"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--",
		PART("\"a\"; name=\"model\"", "x") "--B--",
		PART("\"a\"; name*=utf-8''model", "x") "--B--",
		PART("\"mo\\del\"", "x") "--B--",
		PART("\"a", "x") "--B--",
		PART("\"a\" x", "x") "--B--",
		PART("\"a\"\r\nContent-Disposition: form-data; "
		     "name=\"model\"",
		     "x") "--B--",
		PART("\"a\"\r\n folded", "x") "--B--",
		PART("\"a\"\r\nbad line", "x") "--B--",
		PART("\"a\"\r\nX : y", "x") "--B--",
		PART("\"a\"\rX: y", "x") "--B--",
		PART("\"a\"\r\nContent-Transfer-Encoding: base64", "x") "--B--",
	};
	struct str value;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (find(bad[i], &value) != MULTIPART_BAD)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(multipart_find(STR("--\r\n"), STR(""), STR("a"), &value), MULTIPART_BAD);
}

/* Bodies made of almost-delimiters cost no more than a few ns a byte. */
static void test_multipart_linear(void **state)
{
	static const char *const fill[] = {"\r", "\n", "\r\n--", "\n-",
					   "\r\n--BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"};
	struct str boundary =
		STR("BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBX");
	for (size_t i = 0; i < COUNT(fill); i++) {
		struct buf b;
		struct str value;
		buf_init(&b, 16 << 20);
		buf_addf(&b, "--%.*s\r\nContent-Disposition: form-data; name=a\r\n\r\n",
			 STR_ARG(boundary));
		while (b.len < 2 << 20)
			buf_adds(&b, str_from(fill[i]));
		buf_addf(&b, "\r\n--%.*s--", STR_ARG(boundary));
		clock_t start = clock();
		assert_int_equal(multipart_find(buf_str(&b), boundary, STR("a"), &value),
				 MULTIPART_FOUND);
		assert_true(clock() - start < CLOCKS_PER_SEC); /* generous: a sanitizer may be on */
		buf_release(&b);
	}
}

/* ---- chunks ---- */

/* Decodes `text` in pieces of which the first has `first` bytes and the others `step`. */
static enum chunk_result decode(struct str text, size_t first, size_t step, struct buf *out,
				size_t *used_all)
{
	struct chunk_decoder d = {0};
	enum chunk_result r = CHUNK_MORE;
	buf_clear(out);
	*used_all = 0;
	for (size_t n = first; *used_all < text.len && r == CHUNK_MORE; n = step) {
		char *data;
		size_t data_len, used;
		struct str piece = exact(str_head(str_skip(text, *used_all), n));
		r = chunk_decode(&d, (char *)piece.ptr, piece.len, &data, &data_len, &used);
		assert_true(data >= piece.ptr && data + data_len <= piece.ptr + piece.len);
		buf_add(out, data, data_len);
		*used_all += used;
		if (r == CHUNK_MORE)
			assert_int_equal(used, piece.len);
		release(piece);
	}
	return r;
}

static void check_chunks(const char *text, enum chunk_result want, const char *data,
			 size_t want_used)
{
	struct str s = str_from(text);
	struct buf out;
	size_t used;
	buf_init(&out, 1 << 20);
	for (size_t first = 1; first <= s.len; first++) {
		for (int bytewise = 0; bytewise < 2; bytewise++) {
			enum chunk_result r = decode(s, first, bytewise ? 1 : s.len, &out, &used);
			if (r != want)
				fail_msg("%d instead of %d: %s", (int)r, (int)want, text);
			if (want == CHUNK_BAD)
				continue;
			assert_str(buf_str(&out), data);
			assert_int_equal(used, want_used);
		}
	}
	buf_release(&out);
}

static void test_chunk_good(void **state)
{
	check_chunks("0\r\n\r\n", CHUNK_END, "", 5);
	check_chunks("5\r\nhello\r\n0\r\n\r\n", CHUNK_END, "hello", 15);
	check_chunks("5\r\nhello\r\n1\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\nGET", CHUNK_END,
		     "hello 0123456789", 38);
	check_chunks("3\r\nabc\r\n0\r\nX: y\r\nTrailer: z\r\n\r\nrest", CHUNK_END, "abc", 31);
	check_chunks("000000000000003\r\n\r\n\n\r\n0\r\n\r\n", CHUNK_END, "\r\n\n", 27);
	check_chunks("3\r\nabc\r\n", CHUNK_MORE, "abc", 8);
	check_chunks("fffffffffffffff\r\nabc", CHUNK_MORE, "abc", 20);
}

static void test_chunk_refused(void **state)
{
	static const char *const bad[] = {
		"5;a=b\r\nhello\r\n",
		"+5\r\nhello\r\n",
		"-5\r\nhello\r\n",
		" 5\r\nhello\r\n",
		"5 \r\nhello\r\n",
		"0x5\r\nhello\r\n",
		"5_0\r\nhello\r\n",
		"5\nhello\n",
		"5\rhello",
		"\r\n",
		"g\r\n",
		"5\r\nhello!\r\n",
		"5\r\nhello\n0\r\n\r\n",
		"5\r\nhello\rx",
		"0000000000000005\r\nhello\r\n",
		"1000000000000000\r\n",
		"0\r\nX: y\n\r\n",
		"0\r\nX: y\rz\r\n\r\n",
		"0\r\n\rX",
		"0\n\n",
		"\t5\r\nhello\r\n",
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		check_chunks(bad[i], CHUNK_BAD, NULL, 0);
	struct chunk_decoder d = {0};
	char *data, nul[] = "0\r\nX: \0\r\n\r\n";
	size_t data_len, used;
	assert_int_equal(chunk_decode(&d, nul, sizeof(nul) - 1, &data, &data_len, &used),
			 CHUNK_BAD);
}

static void test_chunk_trailer_ceiling(void **state)
{
	struct chunk_decoder d = {0};
	char *data, line[] = "X: 0123456789\r\n", zero[] = "0\r\n";
	size_t data_len, used, total = 0;
	assert_int_equal(chunk_decode(&d, zero, 3, &data, &data_len, &used), CHUNK_MORE);
	while (chunk_decode(&d, line, sizeof(line) - 1, &data, &data_len, &used) == CHUNK_MORE)
		total += used;
	assert_true(total > 7000 && total < 10000);
}

static void test_chunk_in_place(void **state)
{
	char text[] = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", *data;
	struct chunk_decoder d = {0};
	size_t data_len, used;
	assert_int_equal(chunk_decode(&d, text, sizeof(text) - 1, &data, &data_len, &used),
			 CHUNK_END);
	assert_ptr_equal(data, text + 3);
	assert_str(str_of(data, data_len), "abcde");
}

static void test_chunk_header(void **state)
{
	static const struct {
		uint64_t size;
		const char *want;
	} cases[] = {{0, "0\r\n"},
		     {10, "a\r\n"},
		     {4096, "1000\r\n"},
		     {UINT64_MAX, "ffffffffffffffff\r\n"}};
	char room[CHUNK_HEADER_MAX];
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *at = chunk_header_before(room + sizeof(room), cases[i].size);
		assert_str(str_of(at, (size_t)(room + sizeof(room) - at)), cases[i].want);
	}
}

static int teardown(void **state)
{
	struct str unused;
	find("", &unused); /* frees what it kept */
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url_good),
		cmocka_unit_test(test_url_refused),
		cmocka_unit_test(test_url_target),
		cmocka_unit_test(test_url_query),
		cmocka_unit_test(test_url_escapes),
		cmocka_unit_test(test_sse_length),
		cmocka_unit_test(test_sse_long_lines),
		cmocka_unit_test(test_sse_splits),
		cmocka_unit_test(test_sse_lines),
		cmocka_unit_test(test_multipart_boundary),
		cmocka_unit_test(test_multipart_find),
		cmocka_unit_test(test_multipart_bad),
		cmocka_unit_test(test_multipart_linear),
		cmocka_unit_test(test_chunk_good),
		cmocka_unit_test(test_chunk_refused),
		cmocka_unit_test(test_chunk_trailer_ceiling),
		cmocka_unit_test(test_chunk_in_place),
		cmocka_unit_test(test_chunk_header),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
