/* test_log.c - the log: what is cleaned of texts from outside, both formats, drops that are counted and told, files that change.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"
#include "base/json.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define LINES_MAX    (64 << 20)

static char path[64], other[64];

static int set_up(void **state)
{
	snprintf(path, sizeof(path), "/tmp/valet-test-log-%d-a", (int)getpid());
	snprintf(other, sizeof(other), "/tmp/valet-test-log-%d-b", (int)getpid());
	return 0;
}

static int tear_down(void **state)
{
	log_stop();
	unlink(path);
	unlink(other);
	return 0;
}

static void start(enum log_level level, enum log_format format)
{
	const char *why = NULL;
	assert_true(log_start(&(struct log_options){level, format, path}, &why));
}

static void read_file(const char *name, struct buf *out)
{
	char bytes[65536];
	int fd = open(name, O_RDONLY);
	assert_true(fd >= 0);
	buf_init(out, LINES_MAX);
	for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;)
		assert_true(buf_add(out, bytes, (size_t)n));
	close(fd);
}

static bool holds(const struct buf *b, const char *text)
{
	return str_search(buf_str(b), str_from(text)) < b->len;
}

/* ---- cleaning ---- */

static void expect_clean(struct str text, size_t max, const char *want)
{
	char out[64];
	memset(out, 'Z', sizeof(out));
	log_clean(out, max, text);
	assert_string_equal(out, want);
	assert_true(out[max + 1] == 'Z');
}

static void test_clean(void **state)
{
	expect_clean(STR("plain \"text\" \\"), 40, "plain \"text\" \\");
	expect_clean(STR(""), 40, "");
	expect_clean(STR_NONE, 40, "");
	expect_clean(STR("a\r\nb\tc\x1b[0m\x7f"), 40, "a??b?c?[0m?");
	expect_clean(STR("a\0b"), 40, "a?b");
	expect_clean(STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd"), 40,
		     "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd");
	expect_clean(STR("\xc2\x9b"
			 "31m\xc2\x85\xc2\xa0"),
		     40, "?31m?\xc2\xa0"); /* controls of two bytes steer terminals too */
}

static void test_clean_not_utf8(void **state)
{
	expect_clean(STR("\xff\xfe\x80\xc3"), 40, "????");
	expect_clean(STR("\xc0\xaf\xc1\xbf"), 40, "????");                /* overlong */
	expect_clean(STR("\xe0\x80\xaf\xf0\x80\x80\xaf"), 40, "???????"); /* overlong */
	expect_clean(STR("\xe0\xa0\x80\xf0\x90\x80\x80"), 40, "\xe0\xa0\x80\xf0\x90\x80\x80");
	expect_clean(STR("\xed\xa0\x80\xed\x9f\xbf"), 40, "???\xed\x9f\xbf"); /* a surrogate */
	expect_clean(STR("\xf4\x90\x80\x80\xf4\x8f\xbf\xbf"), 40, "????\xf4\x8f\xbf\xbf");
	expect_clean(STR("\xe2\x82"), 40, "??");
	expect_clean(STR("\xf0\x9f\x98"), 40, "???");
	expect_clean(STR("\xf5\x80\x80\x80"), 40, "????");
}

static void test_clean_cuts(void **state)
{
	expect_clean(STR("abcdef"), 3, "abc");
	expect_clean(STR("ab\xc3\xa9"), 3, "ab"); /* no half character */
	expect_clean(STR("ab\xc3\xa9"), 4, "ab\xc3\xa9");
	expect_clean(STR("abc"), 0, "");
}

/* ---- time ---- */

static void test_time(void **state)
{
	char a[25] = "", b[25] = "";
	int64_t now = clock_mono_us();
	log_time(a, now);
	log_time(b, now + 1000);
	assert_int_equal(strlen(a), 24);
	assert_true(a[4] == '-' && a[7] == '-' && a[10] == 'T' && a[13] == ':' && a[16] == ':' &&
		    a[19] == '.' && a[23] == 'Z');
	assert_true(memcmp(a, "20", 2) == 0 && memcmp(a, b, 24) < 0);
	log_time(b, now + 999999);
	assert_true(memcmp(a, b, 24) < 0);
}

/* ---- lines ---- */

static void test_text(void **state)
{
	struct buf b;
	start(LOG_INFO, LOG_TEXT);
	log_error("one %d", 1);
	log_warn("two\nlines");
	log_info("%s", "\x1b[31m\xff");
	log_debug("not wanted");
	assert_true(log_line(STR("a line of its own\n")));
	log_stop();
	read_file(path, &b);
	assert_true(holds(&b, "Z error one 1\n"));
	assert_true(holds(&b, "Z warn  two?lines\n"));
	assert_true(holds(&b, "Z info  ?[31m?\n"));
	assert_true(str_ends(buf_str(&b), STR("a line of its own\n")));
	assert_false(holds(&b, "not wanted"));
	assert_true(log_wants(LOG_INFO) && !log_wants(LOG_DEBUG) && log_format_now() == LOG_TEXT);
	buf_release(&b);
}

/* Every line is an object, whatever it holds and however long it is. */
static void test_json(void **state)
{
	struct arena a;
	struct buf b;
	struct str rest, line;
	char quotes[4000];
	unsigned lines = 0;
	memset(quotes, '"', sizeof(quotes) - 1);
	quotes[sizeof(quotes) - 1] = 0;
	start(LOG_DEBUG, LOG_JSON);
	log_error("a \"quoted\" \\ text");
	log_debug("two\nlines \x01 \xff \xc3\xa9");
	log_info("%s", quotes);
	log_info("%s", "");
	log_stop();
	read_file(path, &b);
	arena_init(&a, 4096);
	rest = buf_str(&b);
	while (str_split(&rest, '\n', &line) && line.len > 0) {
		struct json_fail fail;
		const struct json *o = json_parse(&a, line, &fail);
		if (!o)
			fail_msg("%s at %zu: %.*s", fail.what, fail.at, STR_ARG(line));
		assert_int_equal(json_text(&a, json_get(o, STR("time"))).len, 24);
		assert_non_null(json_get(o, STR("level")));
		struct str text = json_text(&a, json_get(o, STR("text")));
		if (lines == 0)
			assert_true(str_eq(text, STR("a \"quoted\" \\ text")));
		if (lines == 1)
			assert_true(str_eq(text, STR("two?lines ? ? \xc3\xa9")));
		lines++;
	}
	assert_int_equal(lines, 4);
	arena_release(&a);
	buf_release(&b);
}

/* ---- drops ---- */

static void *stop(void *unused)
{
	log_stop();
	return unused;
}

/* The writer stands still before a pipe that nobody reads; so the ring fills, lines are dropped, nobody waits. */
static void drop_lines(enum log_format format, struct buf *b, uint64_t *dropped)
{
	static char line[1024];
	const char *why = NULL;
	uint64_t before = log_dropped();
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	int reader = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(reader >= 0);
	assert_true(log_start(&(struct log_options){LOG_INFO, format, path}, &why));
	size_t kept = 0;
	for (int i = 0; i < 20000; i++)
		kept += log_line(str_of(line, sizeof(line)));
	*dropped = log_dropped() - before;
	assert_true(*dropped > 0 && kept + *dropped == 20000);
	pthread_t stopper;
	assert_int_equal(pthread_create(&stopper, NULL, stop, NULL), 0);
	char bytes[65536];
	buf_init(b, LINES_MAX);
	fcntl(reader, F_SETFL, 0);
	for (ssize_t n; (n = read(reader, bytes, sizeof(bytes))) > 0;)
		buf_add(b, bytes, (size_t)n);
	pthread_join(stopper, NULL);
	close(reader);
	assert_true(b->len > kept * sizeof(line));
}

static void test_drops(void **state)
{
	struct buf b;
	uint64_t dropped, told = 0;
	struct str rest, line, number;
	drop_lines(LOG_TEXT, &b, &dropped);
	rest = buf_str(&b);
	while (str_split(&rest, '\n', &line)) {
		size_t at = str_search(line, STR("warn  log: "));
		int64_t n = 0;
		if (at == line.len)
			continue;
		number = str_skip(line, at + 11);
		assert_true(str_to_i64(str_head(number, str_find(number, ' ')), &n) && n > 0);
		assert_true(str_ends(line, STR(" lines dropped because the writer was behind")));
		told += (uint64_t)n;
	}
	assert_int_equal(told, dropped);
	buf_release(&b);
}

/* Being behind is no reason to write something that is not JSON. */
static void test_drops_json(void **state)
{
	struct buf b;
	uint64_t dropped;
	struct str rest, line;
	unsigned told = 0;
	drop_lines(LOG_JSON, &b, &dropped);
	rest = buf_str(&b);
	while (str_split(&rest, '\n', &line))
		if (line.len > 0 && line.ptr[0] != 'x') {
			assert_true(json_scan(line, NULL, 0, NULL, NULL));
			told++;
		}
	assert_true(told > 0);
	buf_release(&b);
}

/* ---- files ---- */

static void test_reopen(void **state)
{
	struct buf a, b;
	const char *why = NULL;
	start(LOG_INFO, LOG_TEXT);
	log_info("before");
	usleep(100000); /* the writer looks every 20 ms */
	assert_true(log_reopen(&(struct log_options){LOG_DEBUG, LOG_JSON, other}, &why));
	log_debug("after");
	assert_false(
		log_reopen(&(struct log_options){LOG_ERROR, LOG_TEXT, "/nowhere/at/all"}, &why));
	assert_non_null(why);
	log_debug("still");
	log_stop();
	read_file(path, &a);
	read_file(other, &b);
	assert_true(holds(&a, "info  before\n") && !holds(&a, "after"));
	assert_true(holds(&b, "\"text\":\"after\"}\n") && holds(&b, "\"text\":\"still\"}\n") &&
		    !holds(&b, "before"));
	buf_release(&a);
	buf_release(&b);
}

static void test_start_fails(void **state)
{
	const char *why = NULL;
	assert_false(log_start(&(struct log_options){LOG_INFO, LOG_TEXT, "/nowhere/at/all"}, &why));
	assert_string_equal(why, "cannot open the log file");
	log_stop();
}

static void *write_many(void *name)
{
	for (int i = 0; i < 500; i++)
		log_info("%s %d", (const char *)name, i);
	return NULL;
}

/* Lines of several threads, whole and in each thread's order. */
static void test_threads(void **state)
{
	static char names[4][8] = {"one", "two", "three", "four"};
	pthread_t threads[COUNT(names)];
	struct buf b;
	start(LOG_INFO, LOG_TEXT);
	for (size_t i = 0; i < COUNT(names); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, names[i]), 0);
	for (size_t i = 0; i < COUNT(names); i++)
		pthread_join(threads[i], NULL);
	log_stop();
	read_file(path, &b);
	int next[COUNT(names)] = {0};
	struct str rest = buf_str(&b), line;
	while (str_split(&rest, '\n', &line))
		for (size_t i = 0; i < COUNT(names); i++) {
			char want[32];
			int n = snprintf(want, sizeof(want), "info  %s %d", names[i], next[i]);
			next[i] += str_ends(line, str_of(want, (size_t)n));
		}
	for (size_t i = 0; i < COUNT(names); i++)
		assert_int_equal(next[i], 500);
	buf_release(&b);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_clean_not_utf8),
		cmocka_unit_test(test_clean_cuts),
		cmocka_unit_test(test_time),
		T(test_text),
		T(test_json),
		T(test_drops),
		T(test_drops_json),
		T(test_reopen),
		T(test_start_fails),
		T(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
