/* test_commands.c - what the commands print, the documents that options make, and the client of the admin API against a server that misbehaves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"
#include "cli/key.h"
#include "cli/print.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena arena;
static struct buf out;

static int set_up(void **state)
{
	arena_init(&arena, 4096);
	buf_init(&out, 1 << 20);
	return 0;
}

static int tear_down(void **state)
{
	arena_release(&arena);
	buf_release(&out);
	return 0;
}

static void assert_out(const char *want)
{
	if (!str_eq(buf_str(&out), str_from(want)))
		fail_msg("got \"%.*s\", expected \"%s\"", STR_ARG(buf_str(&out)), want);
	buf_clear(&out);
}

/* ---- printing ---- */

static void test_numbers(void **state)
{
	static const struct {
		int64_t n;
		const char *count, *money, *exact;
	} cases[] = {
		{0, "0", "$0.0000", "0"},
		{999, "999", "<$0.0001", "0.000000999"},
		{1000, "1,000", "<$0.0001", "0.000001"},
		{100000, "100,000", "$0.0001", "0.0001"},
		{1234567890, "1,234,567,890", "$1.2345", "1.23456789"},
		{1000000000000, "1,000,000,000,000", "$1,000.0000", "1000"},
		{-1500000000, "-1,500,000,000", "-$1.5000", "-1.5"},
		{INT64_MAX, "9,223,372,036,854,775,807", "$9,223,372,036.8547", "9223372036.854775807"},
		{INT64_MIN, "-9,223,372,036,854,775,808", "-$9,223,372,036.8547", "-9223372036.854775808"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_count(&out, cases[i].n);
		assert_out(cases[i].count);
		print_money(&out, cases[i].n);
		assert_out(cases[i].money);
		print_money_exact(&out, cases[i].n);
		assert_out(cases[i].exact);
	}
}

static void test_durations(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {{-5, "0ms"},        {0, "0ms"},          {350, "350ms"},        {1000, "1s"},          {1999, "1s"},
		     {125000, "2m 5s"}, {120000, "2m"},      {7200000, "2h"},       {273600000, "3d 4h"}, {3600001, "1h"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_duration(&out, cases[i].ms);
		assert_out(cases[i].text);
	}
}

static void test_width(void **state)
{
	assert_int_equal(print_width(STR("")), 0);
	assert_int_equal(print_width(STR("qwen")), 4);
	assert_int_equal(print_width(STR("sch\xc3\xb6n")), 5);
	assert_int_equal(print_width(STR("e\xcc\x81")), 1);
	assert_int_equal(print_width(STR("\xe6\xa8\xa1\xe5\x9e\x8b")), 4);
	assert_int_equal(print_width(STR("\xf0\x9f\xa6\x99")), 2);
}

static void test_clean(void **state)
{
	print_clean(&out, STR("a\x1b[31mb\n\x7f\xff" "c\xc3\xb6"));
	assert_out("a?[31mb???c\xc3\xb6");
	/* right-to-left override: "evil" would be shown as "live" */
	print_clean(&out, STR("\xe2\x80\xae" "evil"));
	assert_out("?evil");
	print_clean(&out, STR_NONE);
	assert_out("");
}

static void test_grid(void **state)
{
	static const struct grid_column columns[] = {{"NAME", false}, {"N", true}, {"LAST", false}};
	struct grid g;
	grid_init(&g, &arena, columns, 3);
	grid_row(&g);
	grid_put(&g, STR("\xe6\xa8\xa1\xe5\x9e\x8b-long"));
	grid_putf(&g, "%d", 7);
	grid_put(&g, STR("x"));
	grid_row(&g);
	grid_put(&g, STR("b\nb"));
	grid_putf(&g, "%d", 1234);
	grid_print(&out, &g);
	assert_out("NAME          N  LAST\n"
		   "\xe6\xa8\xa1\xe5\x9e\x8b-long     7  x\n"
		   "b?b        1234\n");
	grid_release(&g);
}

static void test_csv(void **state)
{
	static const char *const cases[][2] = {
		{"plain", "plain"},
		{"a,b", "\"a,b\""},
		{"say \"hi\"", "\"say \"\"hi\"\"\""},
		{"=1+1", "'=1+1"},
		{"+1", "'+1"},
		{"-1", "'-1"},
		{"@SUM(A1)", "'@SUM(A1)"},
		{"=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""},
		{"two\r\nlines", "two??lines"},
		{"", ""},
		{"\t=1", "'?=1"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_csv(&out, str_from(cases[i][0]));
		assert_out(cases[i][1]);
	}
}

static void test_json(void **state)
{
	print_json(&out, json_parse(&arena, STR("{\"a\":[1,\"b\\u0041\"],\"c\":{},\"d\":[{\"e\":null}],\"f\":[]}"), NULL));
	assert_out("{\n  \"a\": [1, \"b\\u0041\"],\n  \"c\": {},\n  \"d\": [\n    {\n      \"e\": null\n    }\n  ],\n  \"f\": []\n}\n");
	print_json(&out, json_parse(&arena, STR("true"), NULL));
	assert_out("true\n");
}

/* ---- documents ---- */

#define WORDS_MAX 32

/* The document that `line` (words separated by spaces) makes; empty where it is refused. */
static void document(const struct command *command, const char *line, bool named)
{
	static char words[4096];
	char *argv[WORDS_MAX] = {(char *)(uintptr_t)"x"};
	int argc = 1;
	struct key_args args;
	struct str rest = str_from(line), word;
	size_t used = 0;
	while (str_split(&rest, ' ', &word)) {
		assert_true(argc < WORDS_MAX && used + word.len + 1 < sizeof(words));
		argv[argc++] = memcpy(words + used, word.ptr, word.len);
		words[used + word.len] = 0;
		used += word.len + 1;
	}
	buf_clear(&out);
	if (key_args_read(&args, command, true, argc, argv) != CLI_DONE || !key_args_document(&args, named, &out))
		buf_clear(&out);
}

static void test_documents(void **state)
{
	static const char *const cases[][2] = {
		{"app", "{\"name\":\"app\"}"},
		{"app --models qwen*,nomic*", "{\"name\":\"app\",\"models\":[\"qwen*\",\"nomic*\"]}"},
		{"app --models a --models b,", "{\"name\":\"app\",\"models\":[\"a\",\"b\"]}"},
		{"app --rpm 60 --tpm=10k", "{\"name\":\"app\",\"rpm\":60,\"tpm\":\"10k\"}"},
		{"--budget 1M/month app --budget $5/week", "{\"name\":\"app\",\"budget\":[\"1M/month\",\"$5/week\"]}"},
		{"app --model-budget qwen-72b=100k/day --model-rpm a=b=5",
		 "{\"name\":\"app\",\"model_budget\":{\"qwen-72b\":\"100k/day\"},\"model_rpm\":{\"a=b\":\"5\"}}"},
		{"app --tag team=a=b --tag x=", "{\"name\":\"app\",\"tags\":{\"team\":\"a=b\",\"x\":\"\"}}"},
		{"app --soft --local-only --no-probation", "{\"name\":\"app\",\"soft\":true,\"local_only\":true,\"probation\":false}"},
		{"app --soft --no-soft", "{\"name\":\"app\",\"soft\":false}"},
		{"app --max-wait off --max-output off", "{\"name\":\"app\",\"max_wait\":\"off\",\"max_output\":null}"},
		{"app --weight 250", "{\"name\":\"app\",\"weight\":250}"},
		{"app --weight default", "{\"name\":\"app\",\"weight\":null}"},
		{"app --expires never --class batch", "{\"name\":\"app\",\"expires\":null,\"class\":\"batch\"}"},
		{"app --rpm 5 --rpm 6", "{\"name\":\"app\",\"rpm\":6}"},
		{"app --rpm 99999999999999999999", "{\"name\":\"app\",\"rpm\":\"99999999999999999999\"}"},
		/* refused */
		{"app --model-budget qwen", ""},
		{"app --model-budget =5", ""},
		{"app --budget none --budget 5", ""},
		{"app --bugdet 5", ""},
		{"app two", ""},
		{"--rpm 5", ""},
		{"app --name other", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		document(&command_key_create, cases[i][0], true);
		assert_out(cases[i][1]);
	}
	document(&command_key_update, "app --name other --budget none --models none --rpm off --expires never --no-local-only --max-wait default", false);
	assert_out("{\"name\":\"other\",\"budget\":null,\"models\":null,\"rpm\":null,\"expires\":null,\"local_only\":false,\"max_wait\":null}");
	document(&command_key_update, "app --name none", false);
	assert_out("{\"name\":\"none\"}");
}

static void test_tables_fit(void **state)
{
	/* A table whose length was written too large would end in options without a name. */
	const struct command *const list[] = {&command_key_create, &command_key_list, &command_key_show, &command_key_update, &command_key_rotate,
					      &command_key_revoke, &command_key_delete, &command_key_advise};
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		for (size_t k = 0; k < list[i]->option_count; k++)
			assert_non_null(list[i]->options[k].name);
}

/* ---- the client ---- */

/* Answers one connection with `answer`, then closes it. */
struct server {
	int fd;
	char address[32];
	struct str answer;
	char got[8192];
	size_t got_len;
	pthread_t thread;
};

static void *serve(void *user)
{
	struct server *s = user;
	int fd = accept(s->fd, NULL, NULL);
	while (str_search(str_of(s->got, s->got_len), STR("{}")) == s->got_len) {
		ssize_t n = recv(fd, s->got + s->got_len, sizeof(s->got) - 1 - s->got_len, 0);
		if (n <= 0)
			break;
		s->got_len += (size_t)n;
	}
	/* in two pieces, so that the client has to wait for the rest */
	size_t half = s->answer.len / 2;
	if (send(fd, s->answer.ptr, half, MSG_NOSIGNAL) >= 0)
		(void)!send(fd, s->answer.ptr + half, s->answer.len - half, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

/* The status of a POST that gets `answer`; what came of it is in `out`. */
static int post(const char *answer, struct server *s)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	*s = (struct server){.answer = str_from(answer)};
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
	snprintf(s->address, sizeof(s->address), "localhost:%u", ntohs(at.sin_port));
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	struct cli_place place = {.admin = s->address};
	buf_clear(&out);
	int status = cli_request(&place, "POST", STR("/api/keys"), STR("{}"), &out);
	pthread_join(s->thread, NULL);
	close(s->fd);
	return status;
}

static void test_exchange(void **state)
{
	struct server s;
	setenv("VALET_ADMIN_KEY", "va_test", 1);
	assert_int_equal(post("HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\n{\"a\":1}", &s), 201);
	assert_out("{\"a\":1}");
	struct str got = str_of(s.got, s.got_len);
	assert_true(str_starts(got, STR("POST /api/keys HTTP/1.1\r\nhost: 127.0.0.1:")));
	assert_true(str_search(got, STR("\r\nauthorization: Bearer va_test\r\n")) < got.len);
	assert_true(str_search(got, STR("\r\ncontent-length: 2\r\n")) < got.len);
	assert_int_equal(post("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n", &s), 200);
	assert_out("{\"a\":1}");
	assert_int_equal(post("HTTP/1.0 404 Not Found\r\n\r\nuntil the end", &s), 404);
	assert_out("until the end");
	assert_int_equal(post("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", &s), 204);
	assert_out("");
}

static void test_broken_answers(void **state)
{
	static const char *const broken[] = {
		"",
		"HTTP/1.1 200 OK\r\nContent-Le",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n",
		"SSH-2.0-server\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 999 OK\r\n\r\n",
	};
	struct server s;
	setenv("VALET_ADMIN_KEY", "va_test", 1);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		assert_int_equal(post(broken[i], &s), -1);
		assert_true(str_search(buf_str(&out), STR("did not answer")) < out.len);
	}
}

static void test_secret_stays(void **state)
{
	struct cli_place place = {.admin = "192.0.2.1:9301"};
	unsetenv("VALET_ADMIN_KEY");
	assert_int_equal(cli_request(&place, "GET", STR("/api/keys"), STR_NONE, &out), -1);
	assert_out("192.0.2.1:9301 is not on this machine; expected its admin secret in $VALET_ADMIN_KEY");
	place.admin = "nonsense:port";
	assert_int_equal(cli_request(&place, "GET", STR("/api/keys"), STR_NONE, &out), -1);
	assert_out("--admin: expected HOST:PORT, found \"nonsense:port\"");
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void expect_wrapped(const char *text, size_t column, size_t indent, const char *want)
{
	buf_clear(&out);
	options_wrap(&out, text, column, indent);
	assert_out(want);
}

static void test_wraps_help(void **state)
{
#define SEVENTY "0123456789012345678901234567890123456789012345678901234567890123456789"
	expect_wrapped("", 0, 0, "\n");
	expect_wrapped("one\ntwo  three", 0, 0, "one two three\n");
	expect_wrapped("one\n\ntwo\n", 0, 2, "one\n\n  two\n");
	expect_wrapped(SEVENTY " 901234567 x", 0, 0, SEVENTY " 901234567\nx\n"); /* 80 fit, 81 do not */
	expect_wrapped(SEVENTY " 9012345678 x", 0, 0, SEVENTY "\n9012345678 x\n");
	expect_wrapped("a bc", 76, 3, "a bc\n");
	expect_wrapped("a bc", 77, 3, "a\n   bc\n");
	expect_wrapped(SEVENTY SEVENTY " x", 5, 3, SEVENTY SEVENTY "\n   x\n"); /* no word is broken */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_numbers),   T(test_durations), T(test_width),     T(test_clean),    T(test_grid),           T(test_csv),
		T(test_json),      T(test_documents), T(test_tables_fit), T(test_exchange), T(test_broken_answers), T(test_secret_stays),
		T(test_wraps_help),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
