/* test_alert.c - warnings to a webhook, against a small server on the same loop.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/alert.h"
#include "base/json.h"

#include "server_fixture.h"

static struct fake_server server;
static char url[128];
static int statuses[8];    /* of the next answers; 0: 200 */
static unsigned hits;
static bool hangs;
static char path[256], title[256], type[128], body[4096];

static void on_request(struct http_conn *c)
{
	if (hangs)
		return;
	snprintf(path, sizeof(path), "%s %.*s", http_method_name((enum http_method)c->head->method), STR_ARG(http_head_url(c->head)));
	snprintf(title, sizeof(title), "%.*s", STR_ARG(http_head_get(c->head, STR("title"))));
	snprintf(type, sizeof(type), "%.*s", STR_ARG(http_head_get(c->head, STR("content-type"))));
	snprintf(body, sizeof(body), "%.*s", STR_ARG(c->body));
	int status = hits < 8 && statuses[hits] ? statuses[hits] : 200;
	hits++;
	http_respond(c, status, STR(""), STR("{}"));
}

static const struct http_server_events events = {.request = on_request, .gone = fake_gone};

static struct alert_counts counts(struct alert *a)
{
	struct alert_counts c;
	alert_look(a, &c);
	return c;
}

static int set_up(void **state)
{
	loop_init(&loop);
	fake_server_open(&server, &events, NULL, 0);
	snprintf(url, sizeof(url), "%s/hook", server.url);
	hits = 0;
	hangs = false;
	memset(statuses, 0, sizeof(statuses));
	return 0;
}

static int tear_down(void **state)
{
	fake_server_close(&server);
	end_loop();
	return 0;
}

static const struct budget_warning tokens_warning = {
	.key = 3, .pattern = STR_INIT(""), .budget = {UNIT_TOKENS, PERIOD_MONTH, 1000000}, .settled = 812345, .percent = 80};
static const struct budget_warning money_warning = {
	.key = 0, .pattern = STR_INIT("gpt \"x\"\r\n*"), .budget = {UNIT_MONEY, PERIOD_TOTAL, 5000000000}, .settled = 5000000000, .percent = 100};

static void send_one(const char *to, enum alert_kind kind, const struct budget_warning *w)
{
	struct alert *a = alert_new(&loop, NULL);
	assert_null(alert_set(a, str_from(to), kind));
	alert_budget(a, w, w->key ? STR("obsidian") : STR("-"), 1795305600);
	UNTIL(counts(a).sent == 1);
	assert_int_equal(counts(a).waiting, 0);
	alert_free(a);
}

static struct str member(struct arena *arena, const char *name)
{
	const struct json *tree = json_parse(arena, str_from(body), NULL);
	assert_non_null(tree);
	const struct json *m = json_get(tree, str_from(name));
	assert_non_null(m);
	return m->type == JSON_STRING ? json_text(arena, m) : m->raw;
}

static void expect_member(const char *name, const char *value)
{
	struct arena arena;
	arena_init(&arena, 4096);
	struct str is = member(&arena, name);
	if (!str_eq(is, str_from(value)))
		fail_msg("%s is %.*s instead of %s", name, STR_ARG(is), value);
	arena_release(&arena);
}

static void test_ntfy(void **state)
{
	send_one(url, ALERT_NTFY, &tokens_warning);
	assert_string_equal(path, "POST /hook");
	assert_string_equal(title, "Valet: 80 % of the budget of key obsidian");
	assert_string_equal(type, "text/plain; charset=utf-8");
	assert_non_null(strstr(body, "80 % of a budget is used up: key obsidian: 812k tokens of 1M tokens (month). It begins anew on "));
	hits = 0;
	send_one(url, ALERT_NTFY, &money_warning);
	assert_string_equal(title, "Valet: 100 % of the budget of all keys, models gpt \"x\"??*"); /* a field is one line */
	assert_non_null(strstr(body, "$5"));
	assert_null(strstr(body, "anew"));
}

static void test_discord_and_slack(void **state)
{
	struct arena arena;
	arena_init(&arena, 4096);
	send_one(url, ALERT_DISCORD, &money_warning);
	assert_string_equal(type, "application/json");
	assert_true(str_starts(member(&arena, "content"), STR("100 % of a budget is used up: all keys, models gpt \"x\"\r\n*")));
	send_one(url, ALERT_SLACK, &tokens_warning);
	assert_true(str_starts(member(&arena, "text"), STR("80 % of a budget is used up: key obsidian")));
	arena_release(&arena);
}

static void test_json(void **state)
{
	char with_query[200];
	snprintf(with_query, sizeof(with_query), "%.*s?token=a%%20b", (int)strlen(url) - 5, url); /* no path */
	send_one(with_query, ALERT_AUTO, &tokens_warning);
	assert_string_equal(path, "POST /?token=a%20b");
	expect_member("event", "budget_warning");
	expect_member("key", "obsidian");
	expect_member("scope", "key");
	expect_member("budget", "1M/month");
	expect_member("unit", "tokens");
	expect_member("settled", "812345");
	expect_member("amount", "1000000");
	expect_member("percent", "80");
	expect_member("at", "1795305600");
	char resets[32];
	snprintf(resets, sizeof(resets), "%lld", (long long)civil_window(PERIOD_MONTH, 1795305600).to_s);
	expect_member("resets_at", resets);
	send_one(url, ALERT_JSON, &money_warning);
	expect_member("key", "-");
	expect_member("scope", "model:gpt \"x\"\r\n*");
	expect_member("resets_at", "null");
}

static void test_kinds_by_host(void **state)
{
	static const struct {
		const char *url;
		const char *wrong; /* NULL: fine */
	} cases[] = {
		{"https://discord.com/api/webhooks/1/x", NULL},
		{"ntfy.sh/topic", "scheme"},
		{"http://user:pass@ntfy.sh/x", ""},
		{"http://h/x?a b", "query"},
		{"http://h/x#y", ""},
		{"", NULL},
	};
	struct alert *a = alert_new(&loop, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *wrong = alert_set(a, str_from(cases[i].url), ALERT_AUTO);
		if (!wrong != !cases[i].wrong)
			fail_msg("%s: %s", cases[i].url, wrong ? wrong : "accepted");
		assert_true(wrong == alert_check(str_from(cases[i].url)));
	}
	alert_free(a);
}

static void test_retries(void **state)
{
	struct alert *a = alert_new(&loop, NULL);
	alert_set_delay(a, 10);
	assert_null(alert_set(a, str_from(url), ALERT_JSON));
	statuses[0] = 500;
	statuses[1] = 429;
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	alert_budget(a, &money_warning, STR("-"), 1795305600);
	UNTIL(counts(a).sent == 2);
	assert_int_equal(hits, 4); /* two refusals, then both in their order */
	expect_member("key", "-");
	assert_int_equal(counts(a).failed, 0);
	alert_free(a);
}

static void test_gives_up(void **state)
{
	struct alert *a = alert_new(&loop, NULL);
	alert_set_delay(a, 1);
	assert_null(alert_set(a, str_from(url), ALERT_JSON));
	for (int i = 0; i < 5; i++)
		statuses[i] = 503;
	statuses[5] = 404;
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	UNTIL(counts(a).failed == 1);
	assert_int_equal(hits, 4); /* one and three more */
	hits = 5;
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	UNTIL(counts(a).failed == 2);
	assert_int_equal(hits, 6); /* what is wrong stays wrong */
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	UNTIL(counts(a).sent == 1);
	alert_free(a);
}

static void test_queue_is_bounded(void **state)
{
	struct alert *a = alert_new(&loop, NULL);
	hangs = true;
	assert_null(alert_set(a, str_from(url), ALERT_JSON));
	for (int i = 0; i < 40; i++)
		alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	assert_int_equal(counts(a).waiting, 32);
	assert_int_equal(counts(a).dropped, 8);
	assert_null(alert_set(a, STR(""), ALERT_AUTO));
	assert_int_equal(counts(a).waiting, 1); /* the one under way */
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	assert_int_equal(counts(a).waiting, 1);
	alert_free(a); /* while it is under way */
}

static void test_refused_secret(void **state)
{
	static const enum alert_kind kinds[] = {ALERT_JSON, ALERT_NTFY};
	for (size_t i = 0; i < 2; i++) {
		struct alert *a = alert_new(&loop, NULL);
		assert_null(alert_set(a, str_from(url), kinds[i]));
		alert_denied(a, STR("far \"1\"\r\nx"), STR("api.example.com"), 1795305600);
		UNTIL(counts(a).sent == 1);
		alert_free(a);
		if (kinds[i] == ALERT_NTFY)
			break;
		expect_member("event", "secret_refused");
		expect_member("at", "1795305600");
		expect_member("target", "far \"1\"\r\nx");
		expect_member("host", "api.example.com");
	}
	assert_string_equal(title, "Valet: target far \"1\"??x refuses its secret");
	assert_non_null(strstr(body, "(api.example.com) refuses the secret"));
	struct alert *off = alert_new(&loop, NULL); /* nowhere to tell it */
	alert_denied(off, STR("far"), STR("h"), 0);
	assert_int_equal(counts(off).waiting, 0);
	alert_free(off);
}

static void test_nobody_there(void **state)
{
	struct alert *a = alert_new(&loop, NULL);
	alert_set_delay(a, 1);
	assert_null(alert_set(a, STR("http://127.0.0.1:1/x"), ALERT_JSON));
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	UNTIL(counts(a).failed == 1);
	assert_null(alert_set(a, STR("https://127.0.0.1:1/x"), ALERT_JSON)); /* without TLS */
	alert_budget(a, &tokens_warning, STR("obsidian"), 1795305600);
	UNTIL(counts(a).failed == 2);
	alert_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ntfy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_discord_and_slack, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_json, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kinds_by_host, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_retries, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gives_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_queue_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused_secret, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nobody_there, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
