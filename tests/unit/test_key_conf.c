/* test_key_conf.c - what an operator says of a key: every member, every kind of mistake by its field's name, and what is stored.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/key_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "books_fixture.h"
#include "text_fixture.h"

/* A document being read; all its memory dies with the arena. */
struct reading {
	struct arena arena;
	struct key_conf conf;
	struct buf report;
};

static bool read_text(struct reading *r, struct str text)
{
	struct json_fail why;
	arena_init(&r->arena, 4096);
	buf_init(&r->report, 1 << 20);
	struct field_reader reader = {.arena = &r->arena, .values = &r->arena};
	const struct json *tree = json_parse(&r->arena, text, &why);
	if (!tree)
		fail_msg("no JSON: %.*s: %s", STR_ARG(text), why.what);
	bool fine = key_conf_read(&reader, tree, NOON_S, &r->conf);
	for (const struct field_problem *p = reader.problems; p; p = p->next)
		field_problem_print(&r->report, STR_NONE, p);
	assert_int_equal(fine, reader.errors == 0);
	return fine;
}

static void reading_end(struct reading *r)
{
	buf_release(&r->report);
	arena_release(&r->arena);
}

static void take(struct reading *r, const char *text)
{
	if (!read_text(r, str_from(text)))
		fail_msg("%s: %.*s", text, STR_ARG(buf_str(&r->report)));
}

static void refuse(const char *text, const char *expected)
{
	struct reading r;
	if (read_text(&r, str_from(text)))
		fail_msg("taken: %s", text);
	if (str_search(buf_str(&r.report), str_from(expected)) == r.report.len)
		fail_msg("%s: \"%s\" is not in: %.*s", text, expected, STR_ARG(buf_str(&r.report)));
	reading_end(&r);
}

/* Written, and read and written again: the same. */
static void stored_as(const char *text, const char *expected)
{
	struct reading r, again;
	struct buf out, second;
	buf_init(&out, 1 << 20);
	buf_init(&second, 1 << 20);
	take(&r, text);
	key_conf_write(&r.conf, &out);
	assert_str(buf_str(&out), expected);
	assert_true(read_text(&again, buf_str(&out)));
	key_conf_write(&again.conf, &second);
	assert_str(buf_str(&second), expected);
	buf_release(&out);
	buf_release(&second);
	reading_end(&r);
	reading_end(&again);
}

static void standards(void **state)
{
	struct reading r;
	struct limits l;
	take(&r, "{\"name\":\"obsidian\"}");
	assert_str(r.conf.name, "obsidian");
	assert_int_equal(r.conf.rpm + r.conf.tpm + r.conf.concurrency + r.conf.max_output + r.conf.expires_s, 0);
	assert_int_equal(r.conf.max_wait_ms, 2000);
	assert_int_equal(r.conf.class, CLASS_INTERACTIVE);
	assert_int_equal(r.conf.weight, 100);
	assert_false(r.conf.soft || r.conf.local_only || r.conf.probation);
	key_conf_limits(&r.conf, &l);
	assert_int_equal(l.budget_count, 0);
	reading_end(&r);
	take(&r, "{}"); /* whoever needs the name says so */
	assert_int_equal(r.conf.name.len, 0);
	reading_end(&r);
}

static void all_members(void **state)
{
	stored_as("{\"class\":\"batch\",\"name\":\"n8n.home_1-a\",\"models\":\"qwen*\",\"rpm\":\"60\",\"tpm\":100000,\"concurrency\":3,"
		  "\"budget\":[\"1M/month\",\"$5/day\"],\"model_budget\":{\"qwen-72b\":\"100k/day, $1/month\"},\"model_rpm\":{\"q*\":7,\"a.b\":\"08\"},"
		  "\"model_tpm\":{\"q*\":1000},\"model_concurrency\":{\"q*\":1},\"max_output\":4096,\"max_wait\":\"5s\",\"expires\":\"90d\",\"soft\":true,"
		  "\"local_only\":\"on\",\"probation\":\"yes\",\"weight\":250,\"tags\":{\"team\":\"7\"}}",
		  "{\"name\":\"n8n.home_1-a\",\"models\":[\"qwen*\"],\"rpm\":60,\"tpm\":100000,\"concurrency\":3,\"budget\":[\"1M/month\",\"$5/day\"],"
		  "\"model_budget\":{\"qwen-72b\":\"100k/day, $1/month\"},\"model_rpm\":{\"q*\":7,\"a.b\":8},\"model_tpm\":{\"q*\":1000},"
		  "\"model_concurrency\":{\"q*\":1},\"max_output\":4096,\"max_wait\":\"5000ms\",\"expires\":2216894400,\"soft\":true,\"local_only\":true,"
		  "\"probation\":true,\"class\":\"batch\",\"weight\":250,\"tags\":{\"team\":\"7\"}}");
	stored_as("{\"name\":\"a\",\"weight\":100}", "{\"name\":\"a\"}");
	stored_as("{\"name\":\"a\",\"rpm\":\"off\",\"budget\":[],\"max_wait\":\"2s\",\"expires\":\"off\",\"class\":\"interactive\",\"soft\":false}",
		  "{\"name\":\"a\"}");
	stored_as("{\"name\":\"a\",\"max_wait\":\"off\"}", "{\"name\":\"a\",\"max_wait\":\"off\"}");
	stored_as("{\"name\":\"a\",\"budget\":\"0/day\",\"tags\":{\"\\u00e9\\\"\":\"x\\\\y\"}}",
		  "{\"name\":\"a\",\"budget\":[\"0/day\"],\"tags\":{\"\xc3\xa9\\\"\":\"x\\\\y\"}}");
}

static void limits_of_models(void **state)
{
	struct reading r;
	struct limits l;
	take(&r, "{\"name\":\"a\",\"rpm\":5,\"budget\":[\"1M/month\"],\"soft\":true,\"model_budget\":{\"q*\":\"100k/day,$1/total\",\"b\":\"5/day\"},"
		 "\"model_rpm\":{\"q*\":3},\"model_tpm\":{\"b\":9}}");
	key_conf_limits(&r.conf, &l);
	assert_true(l.rpm == 5 && l.budget_count == 1 && l.budgets[0].amount == 1000000 && l.budgets[0].period == PERIOD_MONTH && l.soft);
	key_conf_model_limits(&r.conf, STR("q*"), &l);
	assert_true(l.rpm == 3 && l.tpm == 0 && l.budget_count == 2 && l.soft);
	assert_true(l.budgets[1].unit == UNIT_MONEY && l.budgets[1].period == PERIOD_TOTAL && l.budgets[1].amount == 1000000000);
	key_conf_model_limits(&r.conf, STR("b"), &l);
	assert_true(l.rpm == 0 && l.tpm == 9 && l.budget_count == 1 && l.budgets[0].amount == 5);
	key_conf_model_limits(&r.conf, STR("c"), &l);
	assert_true(l.rpm == 0 && l.tpm == 0 && l.concurrency == 0 && l.budget_count == 0);
	reading_end(&r);
}

static void the_tighter_limit_holds(void **state)
{
	struct limits own = {.rpm = 60, .budget_count = 2, .soft = true, .budgets = {{UNIT_TOKENS, PERIOD_DAY, 1000}, {UNIT_MONEY, PERIOD_DAY, 5}}};
	struct limits more = {.rpm = 100, .tpm = 50, .concurrency = 1, .budget_count = 2,
			      .budgets = {{UNIT_MONEY, PERIOD_MONTH, 9}, {UNIT_TOKENS, PERIOD_DAY, 700}}};
	limits_tighten(&own, &more);
	assert_true(own.rpm == 60 && own.tpm == 50 && own.concurrency == 1 && own.budget_count == 3 && !own.soft);
	assert_true(own.budgets[0].amount == 700 && own.budgets[1].amount == 5 && own.budgets[2].amount == 9);
	struct limits all = {0};
	for (int u = 0; u < UNIT_COUNT; u++)
		for (int p = 0; p < PERIOD_COUNT; p++)
			all.budgets[all.budget_count++] = (struct budget){(enum budget_unit)u, (enum period)p, 3};
	limits_tighten(&own, &all);
	assert_int_equal(own.budget_count, BUDGETS_MAX);
	for (size_t i = 0; i < own.budget_count; i++)
		assert_int_equal(own.budgets[i].amount, 3);
}

static void expires(void **state)
{
	static const struct {
		const char *zone, *given;
		int64_t at_s;
	} cases[] = {
		{"UTC", "\"90d\"", NOON_S + 90 * 86400},
		{"UTC", "\"12h\"", NOON_S + 12 * 3600},
		{"UTC", "1", 1},
		{"UTC", "2209118400", NOON_S},
		{"UTC", "\"2209118500\"", NOON_S + 100},
		{"UTC", "\"2040-01-03\"", NOON_S + 12 * 3600},
		{"UTC", "\"2040-02-29\"", NOON_S + 12 * 3600 + 57 * 86400},
		{"Europe/Berlin", "\"2040-01-03\"", NOON_S + 11 * 3600},
		{"Pacific/Kiritimati", "\"2040-01-04\"", NOON_S + 22 * 3600},
		{"Pacific/Pago_Pago", "\"2040-01-03\"", NOON_S + 23 * 3600},
		{"UTC", "false", 0},
		{"UTC", "null", 0},
	};
	struct buf why;
	buf_init(&why, 256);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reading r;
		char text[128];
		assert_true(civil_set_zone(cases[i].zone, &why));
		snprintf(text, sizeof(text), "{\"name\":\"a\",\"expires\":%s}", cases[i].given);
		take(&r, text);
		assert_int_equal(r.conf.expires_s, cases[i].at_s);
		reading_end(&r);
	}
	assert_true(civil_set_zone("UTC", &why));
	buf_release(&why);
}

static void nonsense_is_refused(void **state)
{
	static const char *const cases[][2] = {
		{"[]", "expected a mapping"},
		{"{\"rmp\":5}", "rmp: there is no such setting; did you mean rpm?"},
		{"{\"budgets\":5}", "did you mean budget?"},
		{"{\"rpm\":1,\"rpm\":2}", "rpm: stands here a second time"},
		{"{\"rpm\":-1}", "rpm: expected"},
		{"{\"rpm\":0}", "rpm: expected"},
		{"{\"rpm\":1.5}", "rpm: expected"},
		{"{\"rpm\":1e3}", "rpm: expected"},
		{"{\"rpm\":1000000001}", "rpm: expected"},
		{"{\"rpm\":[1]}", "rpm: expected"},
		{"{\"tpm\":10000000001}", "tpm: expected"},
		{"{\"tpm\":99999999999999999999}", "tpm: expected"},
		{"{\"concurrency\":1000001}", "concurrency: expected"},
		{"{\"max_output\":-5}", "max_output: expected"},
		{"{\"max_wait\":\"11m\"}", "max_wait: expected"},
		{"{\"max_wait\":5}", "max_wait: expected"},
		{"{\"name\":\"\"}", "name: expected"},
		{"{\"name\":\"a b\"}", "name: expected 1 to 64 letters, digits, dots, dashes and underscores, found \"a b\""},
		{"{\"name\":\"../x\"}", "name: expected"},
		{"{\"name\":\"0123456789012345678901234567890123456789012345678901234567890123x\"}", "name: expected"},
		{"{\"budget\":\"lots\"}", "budget: expected budgets such as 1M/month or $5/day"},
		{"{\"budget\":\"-5/day\"}", "budget: expected"},
		{"{\"budget\":[\"5/day\",\"5/year\"]}", "budget[1]: expected"},
		{"{\"budget\":[\"5/day\",\"$5/day\",\"7/day\"]}", "budget[2]: expected one budget of each kind, found \"7/day\" (there is a budget of this kind"},
		{"{\"budget\":{\"a\":1}}", "budget: expected"},
		{"{\"model_budget\":{\"q*\":\"lots\"}}", "model_budget[\"q*\"]: expected"},
		{"{\"model_budget\":{\"q\":\"5/day,6/day\"}}", "model_budget.q: expected"},
		{"{\"model_budget\":{\"q\":\"5/day,\"}}", "model_budget.q: expected"},
		{"{\"model_budget\":{\"q\":\"5/day\",\"q\":\"6/day\"}}", "model_budget.q: stands here a second time"},
		{"{\"model_budget\":\"5/day\"}", "model_budget: expected budgets by the name or pattern of models"},
		{"{\"model_rpm\":{\"q*\":-1}}", "model_rpm[\"q*\"]: expected a whole number from 1 to 1000000000, found \"-1\""},
		{"{\"model_rpm\":{\"q*\":0}}", "model_rpm[\"q*\"]: expected"},
		{"{\"model_rpm\":{\"\":1}}", "model_rpm[\"\"]"},
		{"{\"model_tpm\":{\"q\":\"x\"}}", "model_tpm.q: expected"},
		{"{\"model_concurrency\":{\"q\":1e9}}", "model_concurrency.q: expected"},
		{"{\"model_rpm\":{\"a*\":1,\"b*\":1,\"c*\":1,\"d*\":1},\"model_tpm\":{\"a*\":1,\"e?\":1,\"f*\":1,\"g*\":1,\"h\":1}}",
		 "model_tpm[\"g*\"]: expected at most 6 patterns with * or ? in all model limits together"},
		{"{\"expires\":\"soon\"}", "expires: expected a time from now such as 90d"},
		{"{\"expires\":-5}", "expires: expected"},
		{"{\"expires\":0}", "expires: expected"},
		{"{\"expires\":999999999999999}", "(it is not a moment from 1970 to 9999)"},
		{"{\"expires\":\"9999999999d\"}", "(it is too far away)"},
		{"{\"expires\":\"0s\"}", "(that is now)"},
		{"{\"expires\":\"2040-01-02\"}", "(that day has begun already)"},
		{"{\"expires\":\"1999-01-01\"}", "(that day has begun already)"},
		{"{\"expires\":\"2041-02-29\"}", "expires: expected"},
		{"{\"expires\":\"2041-13-01\"}", "expires: expected"},
		{"{\"expires\":\"2041-1-1\"}", "expires: expected"},
		{"{\"expires\":\"-041-01-01\"}", "expires: expected"},
		{"{\"soft\":2}", "soft: expected"},
		{"{\"class\":\"bach\"}", "did you mean batch?"},
		{"{\"weight\":0}", "weight: expected a whole number from 1 to 1000"},
		{"{\"weight\":1001}", "weight: expected a whole number from 1 to 1000"},
		{"{\"models\":[\"\"]}", "models[0]: expected"},
		{"{\"models\":{}}", "models: expected"},
		{"{\"tags\":{\"a\":\"x\",\"a\":\"y\"}}", "tags.a: stands here a second time"},
		{"{\"tags\":{\"a\":{}}}", "tags.a: expected"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse(cases[i][0], cases[i][1]);
}

static void merged_as(const char *old, const char *changes, const char *expected)
{
	struct arena a;
	struct buf out;
	arena_init(&a, 1024);
	buf_init(&out, 1 << 16);
	key_conf_merge(&a, old ? json_parse(&a, str_from(old), NULL) : NULL, json_parse(&a, str_from(changes), NULL), &out);
	assert_str(buf_str(&out), expected);
	buf_release(&out);
	arena_release(&a);
}

static void changes_take_the_place(void **state)
{
	merged_as("{\"name\":\"a\",\"rpm\":5,\"tags\":{\"x\":\"y\"}}", "{\"rpm\":7}", "{\"name\":\"a\",\"tags\":{\"x\":\"y\"},\"rpm\":7}");
	merged_as("{\"name\":\"a\",\"rpm\":5}", "{\"rpm\":null,\"tpm\":null}", "{\"name\":\"a\"}");
	merged_as("{\"name\":\"a\",\"rpm\":5}", "{\"r\\u0070m\":\"\\u0037\"}", "{\"name\":\"a\",\"rpm\":\"\\u0037\"}");
	merged_as(NULL, "{\"name\":\"a\",\"models\":[\"q\", 1]}", "{\"name\":\"a\",\"models\":[\"q\", 1]}");
	merged_as("{\"name\":\"a\"}", "{}", "{\"name\":\"a\"}");
	merged_as("{\"name\":\"a\"}", "{\"rpm\":1,\"rpm\":2}", "{\"name\":\"a\",\"rpm\":1,\"rpm\":2}"); /* to be refused when it is read */
	merged_as("{\"name\":\"a\"}", "{\"rpm\":1,\"rpm\":null}", "{\"name\":\"a\",\"rpm\":1,\"rpm\":null}");
}

int main(void)
{
	struct buf why;
	buf_init(&why, 256);
	if (!civil_set_zone("UTC", &why))
		return 1;
	buf_release(&why);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(standards),
		cmocka_unit_test(all_members),
		cmocka_unit_test(limits_of_models),
		cmocka_unit_test(the_tighter_limit_holds),
		cmocka_unit_test(expires),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(changes_take_the_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
