/* test_settings_routes.c - the settings of capacity and overflow: what holds, what is taken over, and for each kind of mistake the exact report.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/choose.h"
#include "gate/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "settings_fixture.h"

static int set_up(void **state)
{
	setenv("VALET_TEST_KEY", "k-1", 1);
	setenv("VALET_TEST_EMPTY", "", 1);
	return 0;
}

#define SECRET "secret: \"env:VALET_TEST_KEY\""

/* ---- what is taken ---- */

static void standards(void **state)
{
	struct settings *s = take("targets: [{name: a, url: http://a}]\nmodels: [{name: m}]\n", "");
	assert_int_equal(s->routing.strategy, STRATEGY_CAPACITY);
	assert_true(s->routing.affinity);
	assert_int_equal(s->queue.max_wait_ms, 60000);
	assert_int_equal(s->queue.heartbeat_after_ms, 5000);
	assert_int_equal(s->queue.total, 10000);
	assert_int_equal(s->queue.per_key, 1000);
	assert_int_equal(s->queue.age_ms, 30000);
	assert_int_equal(s->queue.starve_ms, 10000);
	assert_int_equal(s->overflow.place_count, 0);
	assert_int_equal(s->overflow.wait_ms, 5000);
	assert_int_equal(s->overflow.when, OVERFLOW_WAIT | OVERFLOW_CONTEXT | OVERFLOW_DOWN);
	assert_int_equal(s->overflow.order, OVERFLOW_LISTED);
	assert_int_equal(s->targets[0].max_concurrency, 0);
	assert_int_equal(s->targets[0].weight, 100);
	assert_false(s->targets[0].drain);
	const struct model_conf *m = &s->models[0];
	assert_int_equal(m->strategy, STRATEGY_CAPACITY);
	assert_true(m->affinity);
	assert_false(m->local_only || m->own_overflow);
	assert_true(m->context == 0 && m->overflow.place_count == 0);
	settings_free(s);
}

static void all_settings(void **state)
{
	struct settings *s = take("routing: {strategy: least_busy, affinity: off}\n"
				  "queue: {max_wait: 2m, heartbeat_after: 1s, total: 5, per_key: 2, age: 1s, starve: 2s}\n"
				  "targets:\n"
				  "- {name: a, url: http://a, kind: vllm, weight: 300, drain: on}\n"
				  "- {name: c, url: https://c.example, kind: openai_compatible, " SECRET "}\n"
				  "models:\n"
				  "- {name: m, targets: a, strategy: warm_first, affinity: on, context: 8192,\n"
				  "   overflow: {to: [c/x/y, c], when: [always, down], wait: 90s, order: cheapest, budget: [5M/day]}}\n"
				  "- {name: n, local_only: on}\n",
				  "");
	assert_int_equal(s->queue.max_wait_ms, 120000);
	assert_int_equal(s->queue.heartbeat_after_ms, 1000);
	assert_true(s->queue.total == 5 && s->queue.per_key == 2 && s->queue.age_ms == 1000 && s->queue.starve_ms == 2000);
	assert_int_equal(s->targets[0].weight, 300);
	assert_true(s->targets[0].drain && !s->targets[1].drain);
	const struct model_conf *m = &s->models[0], *n = &s->models[1];
	assert_int_equal(m->strategy, STRATEGY_WARM_FIRST);
	assert_true(m->affinity && m->own_overflow && !m->local_only);
	assert_int_equal(m->context, 8192);
	assert_int_equal(m->overflow.when, OVERFLOW_ALWAYS | OVERFLOW_DOWN);
	assert_int_equal(m->overflow.wait_ms, 90000);
	assert_int_equal(m->overflow.order, OVERFLOW_CHEAPEST);
	assert_int_equal(m->overflow.budgets.count, 1);
	assert_int_equal(m->overflow.place_count, 2);
	assert_str(m->overflow.places[0].target, "c");
	assert_str(m->overflow.places[0].model, "x/y"); /* all behind the first slash */
	assert_int_equal(m->overflow.places[0].index, 1);
	assert_str(m->overflow.places[1].target, "c");
	assert_int_equal(m->overflow.places[1].model.len, 0);
	assert_int_equal(n->strategy, STRATEGY_LEAST_BUSY);
	assert_true(!n->affinity && n->local_only && !n->own_overflow);
	settings_free(s);
}

/* The names in the settings count like the enum that choosing uses. */
static void strategies(void **state)
{
	static const char *const names[STRATEGY_COUNT] = {
		[STRATEGY_CAPACITY] = "capacity", [STRATEGY_ROUND_ROBIN] = "round_robin", [STRATEGY_LEAST_BUSY] = "least_busy",
		[STRATEGY_WEIGHTED] = "weighted", [STRATEGY_WARM_FIRST] = "warm_first"};
	for (int i = 0; i < STRATEGY_COUNT; i++) {
		char yaml[64];
		snprintf(yaml, sizeof(yaml), "routing: {strategy: %s}\n", names[i]);
		struct settings *s = take(yaml, "");
		assert_int_equal(s->routing.strategy, i);
		settings_free(s);
	}
}

/* ---- clouds ---- */

static void named_clouds(void **state)
{
	static const struct {
		const char *kind, *host, *path;
	} named[] = {
		{"openai", "api.openai.com", "/v1"},
		{"mistral", "api.mistral.ai", "/v1"},
		{"openrouter", "openrouter.ai", "/api/v1"},
		{"together", "api.together.xyz", "/v1"},
		{"groq", "api.groq.com", "/openai/v1"},
		{"deepseek", "api.deepseek.com", ""},
		{"gemini", "generativelanguage.googleapis.com", "/v1beta/openai"},
	};
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		char yaml[256], report[256];
		snprintf(yaml, sizeof(yaml), "targets:\n- {name: a, kind: %s, " SECRET "}\n", named[i].kind);
		struct settings *s = take(yaml, "");
		assert_true(s->targets[0].url.https && s->targets[0].url.port == 443);
		assert_str(s->targets[0].url.host, named[i].host);
		assert_str(s->targets[0].url.path, named[i].path);
		assert_int_equal(target_cloud(&s->targets[0]), CLOUD_OPENAI + (int)i);
		assert_true(target_is_cloud(&s->targets[0]));
		assert_int_equal(target_engine(s->targets[0].kind), ENGINE_OPENAI);
		settings_free(s);
		snprintf(yaml, sizeof(yaml), "targets:\n- {name: a, kind: %s}\n", named[i].kind);
		snprintf(report, sizeof(report),
			 "v:2:3: targets[0].secret: is missing: a target of the kind %s is a cloud, which wants one; expected env:NAME or "
			 "file:PATH\n",
			 named[i].kind);
		refuse(yaml, report);
		snprintf(yaml, sizeof(yaml), "targets:\n- {name: a, kind: %s, url: https://other.example/v1, " SECRET "}\n", named[i].kind);
		s = take(yaml, "");
		assert_str(s->targets[0].url.host, "other.example");
		assert_int_equal(target_cloud(&s->targets[0]), i == 0 ? CLOUD_NONE : CLOUD_OPENAI + (int)i);
		settings_free(s);
	}
}

static void kinds(void **state)
{
	static const enum engine_kind engine[TARGET_OPENAI + 1] = {ENGINE_NONE,	    ENGINE_VLLM,   ENGINE_LLAMACPP, ENGINE_OLLAMA,
								   ENGINE_LMSTUDIO, ENGINE_SGLANG, ENGINE_OPENAI};
	for (int kind = 0; kind < TARGET_KINDS; kind++) {
		assert_int_equal(target_engine((enum target_kind)kind), kind <= TARGET_OPENAI ? engine[kind] : ENGINE_OPENAI);
		assert_non_null(target_kind_names[kind]);
		if (kind >= TARGET_OPENAI)
			assert_string_equal(target_kind_names[kind], clouds[kind - TARGET_OPENAI + CLOUD_OPENAI].name);
		bool usual = kind >= TARGET_OPENAI && kind < TARGET_OPENAI_COMPATIBLE;
		assert_int_equal(target_usual_url((enum target_kind)kind) != NULL, usual);
	}
	assert_null(target_kind_names[TARGET_KINDS]);
	/* what any server speaks is no cloud by that alone, and needs no secret; nor does an address that is asked what it is */
	struct settings *s = take("targets:\n- {name: a, kind: openai, url: http://gpu1}\n- {name: b, url: https://api.openai.com/v1}\n"
				  "- {name: c, kind: openai, url: https://far.example}\n- {name: d, kind: vllm, url: https://far.example:1}\n"
				  "- {name: e, kind: openai_compatible, url: http://gpu1:1, " SECRET "}\n",
				  "v:6:38: targets[4].url: warning: the secret goes over the network unencrypted; expected an https:// URL\n");
	static const enum cloud named[] = {CLOUD_NONE, CLOUD_NONE, CLOUD_NONE, CLOUD_NONE, CLOUD_COMPATIBLE};
	static const bool cloud[] = {false, true, true, false, true};
	for (size_t i = 0; i < s->target_count; i++) {
		assert_int_equal(target_cloud(&s->targets[i]), named[i]);
		assert_int_equal(target_is_cloud(&s->targets[i]), cloud[i]);
	}
	settings_free(s);
	/* two accounts at one cloud */
	warn("targets:\n- {name: a, kind: groq, " SECRET "}\n- {name: b, kind: groq, " SECRET "}\n", "");
}

/* ---- what models take over ---- */

#define TARGETS                                            \
	"targets:\n- {name: a, url: http://a}\n"           \
	"- {name: b, url: http://b}\n"                     \
	"- {name: c, kind: openai_compatible, url: https://c.example, " SECRET "}\n"

static void inherited(void **state)
{
	struct settings *s = take("overflow: {to: [b, c/large], when: down, budget: $5/day}\n" TARGETS "prices: {ceiling: {input: 9, output: 9}}\n"
				  "models:\n- {name: m, targets: a}\n- {name: n, targets: [a, b]}\n- {name: o, local_only: on}\n"
				  "- {name: p, overflow: {to: []}}\n- {name: q, overflow: {to: b/x}}\n- {name: r, overflow: }\n",
				  "");
	const struct model_conf *m = s->models;
	static const size_t counts[] = {2, 1, 1, 0, 1, 2};
	static const char *const firsts[] = {"b", "c", "b", NULL, "b", "b"};
	assert_int_equal(s->overflow.budgets.count, 1);
	assert_int_equal(s->overflow.place_count, 2);
	for (size_t i = 0; i < s->model_count; i++) {
		assert_int_equal(m[i].overflow.place_count, counts[i]);
		assert_int_equal(m[i].overflow.budgets.count, 0);
		assert_int_equal(m[i].own_overflow, i == 3 || i == 4);
		assert_int_equal(m[i].overflow.when, i == 3 || i == 4 ? (OVERFLOW_WAIT | OVERFLOW_CONTEXT | OVERFLOW_DOWN) : OVERFLOW_DOWN);
		if (counts[i])
			assert_str(m[i].overflow.places[0].target, firsts[i]);
	}
	assert_str(m[0].overflow.places[1].model, "large");
	assert_int_equal(m[0].overflow.places[1].index, 2);
	assert_str(m[4].overflow.places[0].model, "x");
	settings_free(s);
}

/* The standard of overflow.wait gives way to a short queue; one that is written does not. */
static void short_queues(void **state)
{
	struct settings *s = take("queue: {max_wait: 2s}\n" TARGETS "overflow: {to: b}\nmodels: [{name: m, targets: a, overflow: {to: c}}]\n", "");
	assert_int_equal(s->overflow.wait_ms, 2000);
	assert_int_equal(s->models[0].overflow.wait_ms, 2000);
	settings_free(s);
	s = take("queue: {max_wait: off}\n" TARGETS "overflow: {to: b}\n", "");
	assert_int_equal(s->overflow.wait_ms, 0);
	settings_free(s);
	refuse("queue: {max_wait: 2s}\noverflow: {to: b, wait: 3s}\n" TARGETS,
	       "v:2:19: overflow.wait: a policy that can never be met: no request waits so long; expected at most queue.max_wait, which is 2000 ms\n");
	refuse(TARGETS "queue: {max_wait: off}\nmodels: [{name: m, targets: a, overflow: {to: c, wait: 1ms}}]\n",
	       "v:6:50: models[0].overflow.wait: a policy that can never be met: no request waits so long; expected at most queue.max_wait, which is 0 "
	       "ms\n");
	warn("queue: {max_wait: 2s}\noverflow: {to: b, wait: 3s, when: down}\n" TARGETS, "");
	warn("queue: {max_wait: 3s}\noverflow: {to: b, wait: 3s}\n" TARGETS, "");
}

/* ---- what is refused ---- */

static const struct {
	const char *yaml, *report;
} bad[] = {
	{"routing: {strategy: warmfirst}\n", "v:1:11: routing.strategy: expected capacity, round_robin, least_busy, weighted or warm_first, found "
					     "\"warmfirst\"; did you mean warm_first?\n"},
	{"models:\n- name: m\n  strategy: roundrobin\n",
	 "v:3:3: models[0].strategy: expected capacity, round_robin, least_busy, weighted or warm_first, found \"roundrobin\"; did you mean "
	 "round_robin?\n"},
	{"targets: [{name: a, url: https://a, kind: mistrall}]\n",
	 "v:1:37: targets[0].kind: expected auto, vllm, llamacpp, ollama, lmstudio, sglang, openai, mistral, openrouter, together, groq, deepseek, "
	 "gemini or openai_compatible, found \"mistrall\"; did you mean mistral?\n"},
	{"targets:\n- {name: a, kind: openai_compatible, " SECRET "}\n- {name: b, kind: vllm}\n- name: c\n",
	 "v:2:3: targets[0].url: is missing; expected an http:// or https:// URL\n"
	 "v:3:3: targets[1].url: is missing; expected an http:// or https:// URL\n"
	 "v:4:3: targets[2].url: is missing; expected an http:// or https:// URL\n"},
	{"targets:\n- {name: a, kind: groq, url: ftp://x, " SECRET "}\n",
	 "v:2:25: targets[0].url: expected an http:// or https:// URL, found \"ftp://x\"\n"},
	{"targets:\n- {name: a, kind: groq, secret: \"env:VALET_TEST_NONE\"}\n",
	 "v:2:25: targets[0].secret: the environment variable VALET_TEST_NONE is not set\n"},
	{"targets:\n- {name: a, kind: groq, secret: \"env:VALET_TEST_EMPTY\"}\n",
	 "v:2:25: targets[0].secret: warning: the secret is empty: none will be sent\n"
	 "v:2:25: targets[0].secret: is missing: a target of the kind groq is a cloud, which wants one; expected env:NAME or file:PATH\n"},
	{"targets: [{name: a, url: http://a, weight: 0}]\n",
	 "v:1:36: targets[0].weight: expected a whole number from 1 to 1000, found \"0\"\n"},
	{"queue: {total: 0}\n", "v:1:9: queue.total: expected a whole number from 1 to 1000000, found \"0\"\n"},
	{"queue: {maxwait: 1s}\n", "v:1:9: queue.maxwait: there is no such setting; did you mean max_wait?\n"},
	{"overflow: {when: down}\n", "v:1:1: overflow.to: is missing; expected the name of a target, or target/model (or a list of them)\n"},
	{"overflow: {to: [], when: []}\n",
	 "v:1:20: overflow.when: a policy that can never be met: expected wait, context, down or always, found an empty list\n"},
	{"overflow: {to: [], when: [wait, contxt, never]}\n",
	 "v:1:33: overflow.when[1]: expected wait, context, down or always (or a list of them), found \"contxt\" (did you mean context?)\n"
	 "v:1:41: overflow.when[2]: expected wait, context, down or always (or a list of them), found \"never\"\n"},
	{"overflow: {to: [], order: random}\n",
	 "v:1:20: overflow.order: expected listed, round_robin or cheapest, found \"random\"\n"},
	{"overflow: {to: [], budget: [$1/day, $2/day]}\n",
	 "v:1:37: overflow.budget[1]: expected one budget of dollars for a period, found a second one (day)\n"},
	{TARGETS "overflow: {to: [cc, /x, b/, \"b/ x\"]}\n",
	 "v:5:17: overflow.to[0]: expected the name of a target, found \"cc\"\n"
	 "v:5:21: overflow.to[1]: expected the name of a target, or target/model (or a list of them), found \"/x\" (the target before the slash is "
	 "missing)\n"
	 "v:5:25: overflow.to[2]: expected the name of a target, or target/model (or a list of them), found \"b/\" (the model behind the slash is "
	 "missing)\n"
	 "v:5:29: overflow.to[3]: expected the name of a target, or target/model (or a list of them), found \"b/ x\" (it begins or ends with a "
	 "space)\n"},
	{"targets: [{name: cloud1, url: http://a}]\nmodels:\n- name: m\n  overflow:\n    to:\n    - claud1/x\n",
	 "v:6:7: models[0].overflow.to[0]: expected the name of a target, found \"claud1\"; did you mean cloud1?\n"},
	{TARGETS "models:\n- {name: m, targets: [a, c], overflow: {to: [b, c/x]}}\n",
	 "v:6:49: models[0].overflow.to[1]: expected another target, found \"c\", which is one of the model's own\n"},
	{TARGETS "models:\n- {name: m, targets: a, local_only: on, overflow: {to: [b, c]}}\n",
	 "v:6:60: models[0].overflow.to[1]: a policy that can never be met: the model is local_only, and c is a cloud\n"},
	{TARGETS "models:\n- {name: m, targets: c, local_only: on}\n",
	 "v:6:13: models[0].targets[0]: warning: it has no use: the model is local_only, and c is a cloud\n"
	 "v:6:25: models[0].local_only: a policy that can never be met: all targets of the model are clouds\n"},
};

static void refusals(void **state)
{
	unsetenv("VALET_TEST_NONE");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i].yaml, bad[i].report);
}

#define ADVICE "budgets in dollars refuse it; write models[].price, targets[].price or prices\n"

static void warnings(void **state)
{
	warn(TARGETS "models:\n- {name: m, targets: [a, c], local_only: on}\n",
	     "v:6:26: models[0].targets[1]: warning: it has no use: the model is local_only, and c is a cloud\n");
	warn(TARGETS "overflow: {to: [b, b, b/x]}\n", "v:5:20: overflow.to[1]: warning: the same as to[0]\n");
	/* a cloud without a price, and dollars that should hold */
	warn(TARGETS "overflow: {to: [b/x, c/x, c], budget: $1/day}\n", "v:5:22: overflow.to[1]: warning: \"x\" has no price at c: " ADVICE);
	warn(TARGETS "limits: {budget: $1/day}\nmodels: [{name: m, targets: a, overflow: {to: c}}]\n",
	     "v:6:43: models[0].overflow.to[0]: warning: \"m\" has no price at c: " ADVICE);
	warn(TARGETS "models: [{name: m, targets: a, overflow: {to: c, budget: 5M/day}}]\n", "");
	warn(TARGETS "models: [{name: m, targets: a, price: {input: 1, output: 1}, overflow: {to: c, budget: $1/day}}]\n", "");
	warn(TARGETS "prices: {ceiling: {input: 1, output: 1}}\noverflow: {to: c/x, budget: $1/day}\n", "");
	/* to a local engine is as good as to any other */
	warn(TARGETS "models: [{name: m, targets: a, local_only: on, overflow: {to: b/small, budget: $1/day}}]\n", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(standards), cmocka_unit_test(all_settings), cmocka_unit_test(strategies), cmocka_unit_test(named_clouds),
		cmocka_unit_test(kinds),     cmocka_unit_test(inherited),    cmocka_unit_test(short_queues), cmocka_unit_test(refusals),
		cmocka_unit_test(warnings),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
