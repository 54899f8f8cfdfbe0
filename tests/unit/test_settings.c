/* test_settings.c - valet.yaml: every default, every setting, and for each kind of mistake the
 * exact report.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/settings.h"

#include "base/yaml.h"
#include "gate/books.h"
#include "gate/price_of.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "settings_fixture.h"

/* ---- what is taken ---- */

static void expect_defaults(const struct settings *s)
{
	assert_int_equal(s->listen.count, 1);
	assert_str(s->listen.items[0].host, "127.0.0.1");
	assert_int_equal(s->listen.items[0].port, 9300);
	assert_true(s->listen.items[0].loopback);
	assert_str(s->admin_listen.text, "127.0.0.1:9301");
	assert_int_equal(s->admin_listen.port, 9301);
	assert_int_equal(s->auth, AUTH_KEYS);
	assert_int_equal(s->workers, 0);
	assert_int_equal(s->cors.count, 10);
	assert_str(s->cors.items[0], "app://obsidian.md");
	assert_str(s->cors.items[9], "vscode-webview://*");
	assert_true(s->discovery);
	assert_int_equal(s->discover.count, 0);
	assert_int_equal(s->discovery_interval_ms, 5000);
	assert_int_equal(s->discovery_grace_ms, 60000);
	assert_int_equal(s->log.level, LOG_INFO);
	assert_int_equal(s->log.format, LOG_TEXT);
	assert_int_equal(s->log.file.len, 0);
	assert_true(s->log.requests);
	assert_int_equal(s->timeouts.connect_ms, 3000);
	assert_int_equal(s->timeouts.first_byte_ms, 300000);
	assert_int_equal(s->timeouts.idle_ms, 120000);
	assert_int_equal(s->timeouts.total_ms, 3600000);
	assert_int_equal(s->timeouts.heartbeat_ms, 15000);
	assert_int_equal(s->timeouts.client_idle_ms, 180000);
	assert_int_equal(s->timeouts.drain_ms, 30000);
	assert_int_equal(s->ceilings.max_body, 64 << 20);
	assert_int_equal(s->ceilings.max_connections, 16384);
	assert_int_equal(s->attempts, 3);
	assert_int_equal(s->target_count, 0);
	assert_int_equal(s->model_count, 0);
	assert_int_equal(s->time_zone.len, 0);
	assert_int_equal(s->state.len, 0);
	assert_int_equal(s->limits.rpm, 0);
	assert_int_equal(s->limits.tpm, 0);
	assert_int_equal(s->limits.concurrency, 0);
	assert_int_equal(s->limits.budgets.count, 0);
	assert_false(s->limits.soft);
	assert_int_equal(s->prices.local.input, MONEY_NONE);
	assert_int_equal(s->prices.electricity.kwh, MONEY_NONE);
	assert_int_equal(s->prices.electricity.watts, 0);
	assert_int_equal(s->prices.ceiling.output, MONEY_NONE);
	assert_true(secret_is_off(&s->webhook.url));
	assert_int_equal(s->webhook.kind, WEBHOOK_AUTO);
	assert_false(s->probation.new_keys);
	assert_int_equal(s->probation.rpm, 10);
	assert_int_equal(s->probation.budgets.count, 1);
	assert_str(s->probation.budgets.items[0], "100k/day");
	assert_int_equal(s->journal_max, 256 << 20);
	assert_int_equal(s->queue.max_wait_ms, 60000);
	assert_int_equal(s->overflow.place_count, 0);
}

static void defaults(void **state)
{
	struct settings *s = settings_defaults();
	expect_defaults(s);
	assert_int_equal(s->file.len, 0);
	settings_free(s);
	s = take("", "");
	expect_defaults(s);
	assert_str(s->file, SETTINGS_FILE);
	settings_free(s);
	s = take("listen:\nlog: {}\ntimeouts:\ntargets: []\n", "");
	expect_defaults(s);
	settings_free(s);
	settings_free(NULL);
}

static void addresses(void **state)
{
	struct settings *s =
		take("listen: [\"[::1]:80\", localhost:0, \"*:81\", \":82\", 83]\n"
		     "admin_listen: off\n"
		     "discover: [gpu1, \"gpu2:8000\", \"[fd00::2]\", \"[::1]:9\", 10.0.0.1]\n",
		     "");
	static const struct {
		const char *host;
		int port;
		bool loopback;
	} listen[] = {{"::1", 80, true},
		      {"127.0.0.1", 0, true},
		      {"0.0.0.0", 81, false},
		      {"127.0.0.1", 82, true},
		      {"127.0.0.1", 83, true}},
	  discover[] = {{"gpu1", 0, false},
			{"gpu2", 8000, false},
			{"fd00::2", 0, false},
			{"::1", 9, true},
			{"10.0.0.1", 0, false}};
	assert_int_equal(s->listen.count, 5);
	assert_int_equal(s->discover.count, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_str(s->listen.items[i].host, listen[i].host);
		assert_int_equal(s->listen.items[i].port, listen[i].port);
		assert_int_equal(s->listen.items[i].loopback, listen[i].loopback);
		assert_str(s->discover.items[i].host, discover[i].host);
		assert_int_equal(s->discover.items[i].port, discover[i].port);
		assert_int_equal(s->discover.items[i].loopback, discover[i].loopback);
	}
	assert_int_equal(s->admin_listen.text.len, 0);
	settings_free(s);
}

static void origins(void **state)
{
	struct settings *s = take("cors: off\n", "");
	assert_int_equal(s->cors.count, 0);
	settings_free(s);
	s = take("cors: [https://chat.example.org, local, local]\n", "");
	assert_int_equal(s->cors.count, 11);
	assert_str(s->cors.items[0], "https://chat.example.org");
	settings_free(s);
	s = take("cors: \"*\"\n", "");
	assert_int_equal(s->cors.count, 1);
	settings_free(s);
}

static const char whole[] =
	"listen: 127.0.0.1:1\n"
	"admin_listen: 127.0.0.1:2\n"
	"auth: off\n"
	"workers: 4\n"
	"discovery: no\n"
	"discovery_interval: 1s\n"
	"discovery_grace: 0ms\n"
	"log: {level: debug, format: json, file: /tmp/valet.log, requests: off}\n"
	"timeouts: {connect: 1s, first_byte: 2s, idle: 3s, total: 4s, heartbeat: off, client_idle: "
	"5s,"
	" drain: 6s}\n"
	"ceilings: {max_body: 1MB, max_connections: 100}\n"
	"attempts: 2\n"
	"targets:\n"
	"- name: a\n"
	"  url: http://a:8000/v1/\n"
	"  kind: vllm\n"
	"  models: {include: [\"q*\", x], exclude: q1, rename: {q/2: two}}\n"
	"  max_concurrency: 8\n"
	"  timeouts: {connect: 100ms, total: 5s}\n"
	"- {name: b.c-d_e, url: \"https://[::1]\", secret: \"env:VALET_TEST_KEY\", num_ctx_max: 32768}\n"
	"models:\n"
	"- name: m\n"
	"  aliases: [n, o]\n"
	"  targets: [b.c-d_e, {target: a, model: q/2}]\n"
	"- {name: p, targets: a}\n"
	"- {name: r}\n";

static void expect_targets(const struct settings *s)
{
	const struct target_conf *a = &s->targets[0], *b = &s->targets[1];
	assert_int_equal(s->target_count, 2);
	assert_str(a->name, "a");
	assert_str(a->url.host, "a");
	assert_int_equal(a->url.port, 8000);
	assert_str(a->url.path, "/v1");
	assert_int_equal(a->kind, TARGET_VLLM);
	assert_int_equal(a->max_concurrency, 8);
	assert_true(a[0].num_ctx_max == 0 && a[1].num_ctx_max == 32768);
	assert_int_equal(a->timeouts.connect_ms, 100);
	assert_int_equal(a->timeouts.first_byte_ms, 2000);
	assert_int_equal(a->timeouts.idle_ms, 3000);
	assert_int_equal(a->timeouts.total_ms, 5000);
	assert_true(secret_is_off(&a->secret));
	assert_true(target_lists(a, STR("q2")));
	assert_true(target_lists(a, STR("x")));
	assert_false(target_lists(a, STR("q1")));
	assert_false(target_lists(a, STR("y")));
	assert_str(target_public_name(a, STR("q/2")), "two");
	assert_str(target_public_name(a, STR("q3")), "q3");
	assert_true(b->url.https);
	assert_str(b->url.host, "::1");
	assert_int_equal(b->url.port, 443);
	assert_int_equal(b->kind, TARGET_AUTO);
	assert_str(secret_view(&b->secret), "k-1");
	assert_true(target_lists(b, STR("anything")));
	assert_int_equal(b->timeouts.connect_ms, 1000);
}

static void all_settings(void **state)
{
	setenv("VALET_TEST_KEY", "k-1", 1);
	struct settings *s = take(whole, "");
	assert_int_equal(s->auth, AUTH_OFF);
	assert_int_equal(s->workers, 4);
	assert_false(s->discovery);
	assert_int_equal(s->discovery_interval_ms, 1000);
	assert_int_equal(s->discovery_grace_ms, 0);
	assert_int_equal(s->log.level, LOG_DEBUG);
	assert_int_equal(s->log.format, LOG_JSON);
	assert_str(s->log.file, "/tmp/valet.log");
	assert_false(s->log.requests);
	assert_int_equal(s->timeouts.heartbeat_ms, 0);
	assert_int_equal(s->timeouts.client_idle_ms, 5000);
	assert_int_equal(s->timeouts.drain_ms, 6000);
	assert_int_equal(s->ceilings.max_body, 1000000);
	assert_int_equal(s->ceilings.max_connections, 100);
	assert_int_equal(s->attempts, 2);
	expect_targets(s);
	assert_int_equal(s->model_count, 3);
	assert_int_equal(s->models[0].aliases.count, 2);
	assert_int_equal(s->models[0].target_count, 2);
	assert_int_equal(s->models[0].targets[0].index, 1);
	assert_int_equal(s->models[0].targets[1].index, 0);
	assert_str(s->models[0].targets[1].model, "q/2");
	assert_int_equal(s->models[1].target_count, 1);
	assert_int_equal(s->models[1].targets[0].index, 0);
	assert_int_equal(s->models[2].target_count, 0);
	settings_free(s);
}

static void money_and_limits(void **state)
{
	setenv("VALET_TEST_HOOK", "https://hooks.example/secret?auth=x", 1);
	struct settings *s = take("time_zone: UTC\n"
				  "state: books\n"
				  "limits: {rpm: 60, tpm: 1000000, concurrency: 8, budget: [1.5M/day, $20/month], soft: yes}\n"
				  "prices:\n"
				  "  local: {input: 0, output: 0.5, cached: 0}\n"
				  "  electricity: {kwh: 0.30, watts: 500}\n"
				  "  ceiling: {input: 20, output: $100}\n"
				  "webhook: {url: \"env:VALET_TEST_HOOK\", kind: ntfy}\n"
				  "probation: {new_keys: on, budget: [10k/day, $1], rpm: off}\n"
				  "journal_max: 16MiB\n"
				  "targets: [{name: a, url: http://a, price: {input: 1, output: 2}}]\n"
				  "models: [{name: m, limits: {rpm: off, budget: 0/day}, price: {input: 3, output: 4}, max_output: 8192}]\n",
				  "");
	assert_str(s->time_zone, "UTC");
	assert_str(s->state, "books");
	assert_int_equal(s->prices.local.input, 0);
	assert_int_equal(s->prices.local.output, 500000000);
	assert_int_equal(s->prices.electricity.kwh, 300000000);
	assert_int_equal(s->prices.electricity.watts, 500);
	assert_int_equal(s->prices.ceiling.output, 100000000000);
	assert_str(secret_view(&s->webhook.url), "https://hooks.example/secret?auth=x");
	assert_int_equal(s->webhook.kind, WEBHOOK_NTFY);
	assert_true(s->probation.new_keys);
	assert_int_equal(s->journal_max, 16 << 20);
	assert_int_equal(s->targets[0].price.input, 1000000000);
	assert_int_equal(s->targets[0].price.cached, MONEY_NONE);
	assert_int_equal(s->models[0].price.output, 4000000000);
	assert_int_equal(s->models[0].max_output, 8192);
	struct limits l = settings_limits(&s->limits);
	assert_int_equal(l.rpm, 60);
	assert_int_equal(l.tpm, 1000000);
	assert_int_equal(l.concurrency, 8);
	assert_true(l.soft);
	assert_int_equal(l.budget_count, 2);
	assert_int_equal(l.budgets[0].amount, 1500000);
	assert_int_equal(l.budgets[1].unit, UNIT_MONEY);
	assert_int_equal(l.budgets[1].period, PERIOD_MONTH);
	l = settings_limits(&s->models[0].limits);
	assert_int_equal(l.budget_count, 1);
	assert_int_equal(l.budgets[0].amount, 0);
	l = settings_probation(&s->probation);
	assert_int_equal(l.rpm, 0);
	assert_int_equal(l.budget_count, 2);
	settings_free(s);
	s = take("limits: {budget: [1/day, 2/week, 3/month, 4, $1/day, $2/week, $3/month, $4]}\n", "");
	assert_int_equal(settings_limits(&s->limits).budget_count, BUDGETS_MAX);
	settings_free(s);
	settings_free(take("webhook: {url: https://discord.example/api/webhooks/1/x}\n", ""));
	unsetenv("VALET_TEST_HOOK");
}

/* ---- what is refused ---- */

static const struct {
	const char *yaml, *report;
} bad[] = {
	{"listen: 300.1.1.1:80\n", "v:1:1: listen: expected HOST:PORT with a numeric host "
				   "(or a list of them), found "
				   "\"300.1.1.1:80\"\n"},
	{"listen: [\"::1:80\", \"127.0.0.1:99999\", host.example:80]\n",
	 "v:1:10: listen[0]: expected HOST:PORT with a numeric host (or a list of them), "
	 "found "
	 "\"::1:80\"\n"
	 "v:1:20: listen[1]: expected HOST:PORT with a numeric host (or a list of them), "
	 "found "
	 "\"127.0.0.1:99999\"\n"
	 "v:1:39: listen[2]: expected HOST:PORT with a numeric host (or a list of them), "
	 "found "
	 "\"host.example:80\"\n"},
	{"listen: []\n",
	 "v:1:1: listen: expected at least one HOST:PORT, found an empty list\n"},
	{"listen: off\n",
	 "v:1:1: listen: expected HOST:PORT with a numeric host (or a list of "
	 "them), found \"off\"\n"},
	{"listen: [127.0.0.1:1, localhost:1]\n",
	 "v:1:23: listen[1]: localhost:1 stands here twice\n"},
	{"admin_listen: 127.0.0.1:9300\n",
	 "v:1:1: admin_listen: expected another address than "
	 "listen, found 127.0.0.1:9300 for both\n"},
	{"auth: on\n", "v:1:1: auth: expected keys or off, found \"on\"\n"},
	{"workers: 65\n",
	 "v:1:1: workers: expected a whole number from 0 to 64, found \"65\"\n"},
	{"attempts: 0\n",
	 "v:1:1: attempts: expected a whole number from 1 to 3, found \"0\"\n"},
	{"cors: [off, local]\n",
	 "v:1:8: cors[0]: off must stand alone, found it in a list with others\n"},
	{"cors: https://a.example/\n",
	 "v:1:1: cors: expected local, *, off, or a list of origins such as "
	 "https://chat.example.org, found \"https://a.example/\" (an origin has no path and no "
	 "slash at "
	 "its end)\n"},
	{"cors: a.example\n",
	 "v:1:1: cors: expected local, *, off, or a list of origins such as "
	 "https://chat.example.org, found \"a.example\"\n"},
	{"discover: http://gpu1\n",
	 "v:1:1: discover: expected HOST or HOST:PORT (or a list of them), found "
	 "\"http://gpu1\" (only host and port, not a URL)\n"},
	{"discover: gpu1/v1\n", "v:1:1: discover: expected HOST or HOST:PORT (or a list "
				"of them), found \"gpu1/v1\" "
				"(only host and port, without a path)\n"},
	{"discovery_interval: 5\n", "v:1:1: discovery_interval: expected a time from "
				    "100ms to 1h, such as 500ms, 5s, 2m or "
				    "1h, found \"5\"\n"},
	{"log:\n  level: inf\n",
	 "v:2:3: log.level: expected error, warn, info or debug, found "
	 "\"inf\"; did you mean info?\n"},
	{"timeout: {}\n",
	 "v:1:1: timeout: there is no such setting; did you mean timeouts?\n"},
	{"ceilings:\n  max_body: 2GiB\n", "v:2:3: ceilings.max_body: expected a size from "
					  "1KiB to 1GiB, such as 512k, 64MiB or "
					  "1GB, found \"2GiB\"\n"},
	{"targets:\n- name: a\n  url: http://a\n- name: b\n  url: ftp://x\n",
	 "v:5:3: targets[1].url: expected an http:// or https:// URL, found "
	 "\"ftp://x\"\n"},
	{"targets:\n- name: a b\n- url: http://a\n",
	 "v:2:3: targets[0].name: expected 1 to 64 letters, digits, '-', '_' or '.', "
	 "found \"a "
	 "b\"\n"
	 "v:2:3: targets[0].url: is missing; expected an http:// or https:// URL\n"
	 "v:3:3: targets[1].name: is missing; expected 1 to 64 letters, digits, '-', '_' "
	 "or "
	 "'.'\n"},
	{"targets:\n- {name: a, url: http://a}\n- {name: a, url: http://b}\n",
	 "v:3:4: targets[1].name: expected a name of its own, found \"a\", which "
	 "targets[0] "
	 "has\n"},
	{"targets:\n- name: a\n  url: http://a\n  kind: lamacpp\n",
	 "v:4:3: targets[0].kind: expected auto, vllm, llamacpp, ollama, lmstudio, sglang, openai, mistral, openrouter, together, groq, "
	 "deepseek, gemini or openai_compatible, found \"lamacpp\"; did you mean llamacpp?\n"},
	{"targets:\n- name: a\n  url: https://a\n  secret: env:VALET_TEST_NONE\n",
	 "v:4:3: targets[0].secret: the environment variable VALET_TEST_NONE is not "
	 "set\n"},
	{"targets:\n- name: a\n  url: https://a\n  secret: file:/nowhere/at/all\n",
	 "v:4:3: targets[0].secret: cannot read /nowhere/at/all: No such file or "
	 "directory\n"},
	{"targets:\n- name: a\n  url: https://a\n  secret: sk-canary\n",
	 "v:4:3: targets[0].secret: expected env:NAME or file:PATH (the secret itself "
	 "must not "
	 "stand here)\n"},
	{"targets:\n- name: a\n  url: https://a\n  ca_file: /nowhere.pem\n",
	 "v:4:3: targets[0].ca_file: cannot read /nowhere.pem: No such file or "
	 "directory\n"},
	{"targets:\n- name: a\n  url: http://a\n  models: {rename: {x: z, y: z}}\n",
	 "v:4:12: targets[0].models.rename: two models of this target would both be "
	 "\"z\"\n"},
	{"targets:\n- name: a\n  url: http://a\n  models: {rename: {x: n}}\nmodels: [{name: m, "
	 "aliases: "
	 "n}]\n",
	 "v:4:12: targets[0].models.rename: \"n\" is an alias of models[0] already\n"},
	{"targets: {name: a}\n",
	 "v:1:1: targets: expected a list of mappings, found a mapping\n"},
	{"models:\n- name: m\n- name: m\n", "v:3:3: models[1].name: expected a name of "
					    "its own, found \"m\", which is the name of "
					    "models[0]\n"},
	{"models:\n- {name: m, aliases: [n, m]}\n- {name: o, aliases: n}\n",
	 "v:2:26: models[0].aliases[1]: expected a name of its own, found \"m\", which is "
	 "the "
	 "name of models[0]\n"
	 "v:3:13: models[1].aliases[0]: expected a name of its own, found \"n\", which is "
	 "an "
	 "alias of models[0]\n"},
	{"models:\n- {name: m, targets: gpu1}\n", "v:2:13: models[0].targets[0]: expected "
						  "the name of a target, found \"gpu1\"; there are "
						  "no targets\n"},
	{"targets: [{name: gpu1, url: http://a}]\nmodels:\n- name: m\n  targets:\n  - gpu1\n  - "
	 "gpu2\n"
	 "  - {target: zzz}\n",
	 "v:6:5: models[0].targets[1]: expected the name of a target, found \"gpu2\"; did "
	 "you "
	 "mean gpu1?\n"
	 "v:7:5: models[0].targets[2]: expected the name of a target, found \"zzz\"\n"},
	{"models:\n- name: m\n  targets: [[]]\n",
	 "v:3:13: models[0].targets[0]: expected target names, or {target, model}, found "
	 "a list\n"},
	{"models: [{name: \" m\"}]\n",
	 "v:1:11: models[0].name: expected a text of 1 to 200 "
	 "bytes, found \" m\" (it begins or ends with a space)\n"},
	{"limits: {rpm: -1}\n", "v:1:10: limits.rpm: expected a whole number from 0 to 1000000000000, or off, found \"-1\"\n"},
	{"limits: {budget: [1M/dya, $1.0000000001, 1k]}\n",
	 "v:1:19: limits.budget[0]: expected a budget such as 1M/day, $20/month or $100/total (or a list of them), found \"1M/dya\" "
	 "(expected /day, /week, /month or /total behind the amount)\n"
	 "v:1:27: limits.budget[1]: expected a budget such as 1M/day, $20/month or $100/total (or a list of them), found "
	 "\"$1.0000000001\" (expected an amount such as 200k or 1.5M tokens, or $2.50 with at most nine decimals)\n"},
	{"models:\n- name: m\n  limits:\n    budget: [1M/day, $1/day, 2k/day]\n",
	 "v:4:30: models[0].limits.budget[2]: expected one budget of tokens for a period, found a second one (day)\n"},
	{"probation: {budget: [$1, $2/total]}\n",
	 "v:1:26: probation.budget[1]: expected one budget of dollars for a period, found a second one (total)\n"},
	{"prices:\n  local: {input: 1}\n",
	 "v:2:3: prices.local: output is missing: a price has both input and output (0 where there is none)\n"},
	{"prices: {ceiling: {output: 1}}\n",
	 "v:1:10: prices.ceiling: input is missing: a price has both input and output (0 where there is none)\n"},
	{"prices: {local: {cached: 1}}\n",
	 "v:1:10: prices.local: input and output are missing: the price of cached input is not all of a price\n"},
	{"prices: {electricity: {watts: 300}}\n", "v:1:10: prices.electricity: kwh is missing: expected both kwh and watts\n"},
	{"prices: {electricity: {kwh: 0}}\n", "v:1:10: prices.electricity: watts is missing: expected both kwh and watts\n"},
	{"targets: [{name: a, url: http://a, price: {input: free, output: 1}}]\n",
	 "v:1:36: targets[0].price: input is missing: a price has both input and output (0 where there is none)\n"
	 "v:1:44: targets[0].price.input: expected an amount of dollars such as 2.50, found \"free\"\n"},
	{"models: [{name: m, price: {input: 1000001, output: 1}}]\n",
	 "v:1:20: models[0].price: input is missing: a price has both input and output (0 where there is none)\n"
	 "v:1:28: models[0].price.input: expected an amount of dollars such as 2.50, found \"1000001\" (it is too much)\n"},
	{"models: [{name: m, max_output: -1}]\n",
	 "v:1:20: models[0].max_output: expected a whole number from 0 to 100000000, or off, found \"-1\"\n"},
	{"time_zone: ../etc\n", "v:1:1: time_zone: expected the name of a time zone such as Europe/Berlin, found \"../etc\"\n"},
	{"webhook: {url: ftp://canary}\n", "v:1:11: webhook.url: expected an http:// or https:// URL, env:NAME or file:PATH\n"},
	{"webhook: {url: \"https://u:canary@h/\"}\n",
	 "v:1:11: webhook.url: expected an http:// or https:// URL, env:NAME or file:PATH (a user name or password does not belong in a "
	 "URL)\n"},
	{"webhook: {url: https://h, kind: slak}\n",
	 "v:1:27: webhook.kind: expected auto, ntfy, discord, slack or json, found \"slak\"; did you mean slack?\n"},
	{"journal_max: 15MiB\n",
	 "v:1:1: journal_max: expected a size from 16MiB to 1024GiB, such as 512k, 64MiB or 1GB, found \"15MiB\"\n"},
	{"a: &x 1\n", "v:1:4: anchors (&name) are not supported\n"},
	{"listen: a\nlisten: b\n",
	 "v:2:1: \"listen\" stands here a second time; it is in line 1 already\n"},
	{"listen:\n\t- a\n", "v:2:1: found a tab; expected spaces for indentation\n"},
	{"- listen\n",
	 "v:1:1: expected a mapping of settings, such as \"listen: 127.0.0.1:9300\"\n"},
};

static void refusals(void **state)
{
	unsetenv("VALET_TEST_NONE");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i].yaml, bad[i].report);
}

static void warnings(void **state)
{
	setenv("VALET_TEST_KEY", "k-1", 1);
	warn("listen: 0.0.0.0:9300\n", "");
	warn("listen: 0.0.0.0:9300\nauth: off\n", "v:2:1: auth: warning: off: everyone "
						  "who can reach 0.0.0.0:9300 may use every "
						  "model\n");
	warn("admin_listen: 0.0.0.0:1\n", "v:1:1: admin_listen: warning: everyone who can "
					  "reach 0.0.0.0:1 may administer "
					  "Valet; expected a loopback address\n");
	warn("auth: off\ncors: \"*\"\n", "v:2:1: cors: warning: with auth off, every web "
					 "page that is opened here may use "
					 "every model\n");
	warn("discovery: off\n",
	     "v:1:1: targets: warning: there is nowhere to send a request: "
	     "no targets, and discovery is off\n");
	warn("targets:\n- {name: a, url: http://x}\n- {name: b, url: http://x}\n",
	     "v:3:13: targets[1].url: warning: the same URL as targets[0]\n");
	warn("targets:\n- {name: a, url: http://gpu1, secret: \"env:VALET_TEST_KEY\"}\n"
	     "- {name: b, url: http://127.0.0.1, secret: \"env:VALET_TEST_KEY\"}\n",
	     "v:2:13: targets[0].url: warning: the secret goes over the network "
	     "unencrypted; "
	     "expected an https:// URL\n");
	warn("targets:\n- {name: a, url: http://x, models: {exclude: \"q*\", rename: {q: z}}}\n",
	     "v:2:52: targets[0].models.rename: warning: \"q\" is renamed but not listed: "
	     "see "
	     "include and exclude\n");
	warn("targets:\n- {name: a, url: http://x}\nmodels: [{name: m, targets: [a, a]}]\n",
	     "v:3:33: models[0].targets[1]: warning: the same as targets[0] of this "
	     "model\n");
	warn("prices: {local: {input: 1, output: 1, cached: 2}}\n",
	     "v:1:39: prices.local.cached: warning: cached input costs more than other input\n");
	warn("webhook: {kind: slack}\n", "v:1:11: webhook.kind: warning: it has no use without a url\n");
}

/* A host's list of zones is a folder of files; where there is none at all, only a warning says so. */
static void time_zones(void **state)
{
	char folder[] = "/tmp/valet-test-XXXXXX", zone[64], report[256];
	assert_non_null(mkdtemp(folder));
	snprintf(zone, sizeof(zone), "%s/Middle", folder);
	int fd = open(zone, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "TZif2", 5), 5);
	close(fd);
	setenv("TZDIR", folder, 1);
	warn("time_zone: Middle\n", "");
	warn("time_zone: UTC\n", "");
	refuse("time_zone: Earth/Nowhere\n",
	       "v:1:1: time_zone: there is no time zone \"Earth/Nowhere\"; expected a name such as Europe/Berlin\n");
	refuse("time_zone: right/Middle\n", "v:1:1: time_zone: expected the name of a time zone such as Europe/Berlin, found "
					    "\"right/Middle\" (those zones count leap seconds)\n");
	fd = open(zone, O_TRUNC | O_WRONLY);
	assert_int_equal(write(fd, "no", 2), 2);
	close(fd);
	refuse("time_zone: Middle\n", "v:1:1: time_zone: there is no time zone \"Middle\"; expected a name such as Europe/Berlin\n");
	unlink(zone);
	rmdir(folder);
	snprintf(report, sizeof(report),
		 "v:1:1: time_zone: warning: there is no list of time zones in %s (install tzdata): Valet starts only without this "
		 "setting\n",
		 folder);
	warn("time_zone: Middle\n", report);
	unsetenv("TZDIR");
}

/* ---- models without a price ---- */

static void expect_unpriced(const char *yaml, const char *expected)
{
	struct arena arena;
	struct yaml_fail fail;
	struct buf out;
	struct field_reader r = {.arena = &arena};
	arena_init(&arena, 1024);
	buf_init(&out, 1 << 20);
	struct settings *s = settings_parse(str_from(yaml), STR("v"), NULL, 0, &r);
	assert_non_null(s);
	assert_int_equal(r.warnings, 0);
	price_check(s, yaml_parse(&arena, str_from(yaml), &fail), &r);
	for (const struct field_problem *p = r.problems; p; p = p->next)
		field_problem_print(&out, STR("v"), p);
	buf_addc(&out, '\0');
	assert_string_equal(out.ptr, expected);
	assert_int_equal(r.errors, 0);
	settings_free(s);
	buf_release(&out);
	arena_release(&arena);
}

#define ADVICE "write models[].price, targets[].price or prices\n"

static void unpriced(void **state)
{
	expect_unpriced("", "");
	expect_unpriced("targets: [{name: a, url: http://gpu1, kind: vllm}]\n", "");
	expect_unpriced("models: [{name: m}]\n", "v:1:11: models[0].name: warning: \"m\" has no price: budgets in dollars refuse it; " ADVICE);
	expect_unpriced("models: [{name: m, price: {input: 0, output: 0}}]\n", "");
	expect_unpriced("prices: {local: {input: 0, output: 0}}\nmodels: [{name: m}]\n", "");
	expect_unpriced("prices: {electricity: {kwh: 1, watts: 1}}\nmodels: [{name: m}]\n", "");
	expect_unpriced("prices: {ceiling: {input: 9, output: 9}}\ntargets: [{name: a, url: https://cloud.example}]\nmodels: [{name: m}]\n", "");
	expect_unpriced("prices: {local: {input: 0, output: 0}}\n"
			"targets: [{name: own, url: http://gpu1}, {name: far, url: https://cloud.example}]\n"
			"models:\n- {name: m, targets: own}\n- {name: n, targets: [own, far]}\n- {name: o, targets: far}\n",
			"v:2:43: targets[1].name: warning: models of far have no price: budgets in dollars refuse them; " ADVICE
			"v:5:4: models[1].name: warning: \"n\" has no price at far: budgets in dollars refuse it; " ADVICE
			"v:6:4: models[2].name: warning: \"o\" has no price: budgets in dollars refuse it; " ADVICE);
	expect_unpriced("targets: [{name: far, url: https://cloud.example, price: {input: 1, output: 2}}]\nmodels: [{name: o, targets: far}]\n", "");
	expect_unpriced("targets: [{name: far, url: https://cloud.example, models: {include: [x], rename: {x: y}}}]\n"
			"models: [{name: y, price: {input: 1, output: 2}}]\n",
			"");
}

/* At the clouds of the built-in list only what it does not have is worth a word. */
static void unpriced_at_vendors(void **state)
{
	expect_unpriced("targets:\n- name: o\n  url: https://api.openai.com/v1\n  models:\n    include:\n    - gpt-4o\n    - gpt-99\n    - gpt-5*\n",
			"v:7:7: targets[0].models.include[1]: warning: \"gpt-99\" has no price: budgets in dollars refuse it; " ADVICE);
	expect_unpriced("targets: [{name: o, url: https://api.openai.com/v1}]\n"
			"models: [{name: a, targets: [{target: o, model: gpt-4o}]}, {name: b, targets: [{target: o, model: gpt-99}]}]\n",
			"v:2:61: models[1].name: warning: \"b\" has no price: budgets in dollars refuse it; " ADVICE);
	expect_unpriced("discovery: off\ntargets: [{name: o, url: https://api.openai.com/v1}]\nmodels: [{name: gpt-4o}, {name: gpt-99}]\n",
			"v:3:27: models[1].name: warning: \"gpt-99\" has no price: budgets in dollars refuse it; " ADVICE);
}

/* ---- the command line, files ---- */

static void overrides(void **state)
{
	static const struct settings_override over[] = {
		{"listen", "127.0.0.1:1"}, {"workers", "2"}, {"listen", "127.0.0.1:2"}};
	static const struct settings_override wrong[] = {{"workers", "many"}, {"workers", "2"}};
	struct buf report;
	buf_init(&report, 1 << 16);
	struct settings *s = parse("listen: nonsense\nworkers: 9\n", over, 3, &report);
	assert_non_null(s);
	assert_int_equal(s->listen.count, 2);
	assert_int_equal(s->listen.items[1].port, 2);
	assert_int_equal(s->workers, 2);
	settings_free(s);
	buf_clear(&report);
	setenv("VALET_CONFIG", "/dev/null", 1); /* whatever stands in this folder or in /etc */
	assert_false(settings_load(NULL, wrong, 1, &s, &report));
	assert_null(s);
	assert_true(str_eq(buf_str(&report),
			   STR("command line: workers: expected a whole number from 0 to "
			       "64, found \"many\"\n")));
	assert_true(settings_load(NULL, over, 3, &s, &report));
	assert_int_equal(s->workers, 2);
	settings_free(s);
	unsetenv("VALET_CONFIG");
	buf_release(&report);
}

static void write_file(const char *name, const char *text)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Found in its order; relative paths in a file begin where the file is. */
static void files(void **state)
{
	char folder[] = "/tmp/valet-test-XXXXXX";
	struct settings *s;
	struct buf report;
	buf_init(&report, 1 << 16);
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	unsetenv("VALET_CONFIG");
	write_file("key", "k-2\n");
	write_file("valet.yaml", "workers: 1\n");
	write_file("other.yaml", "workers: 2\nlog: {file: a.log}\n"
				 "targets: [{name: a, url: https://a, secret: file:key}]\n");
	assert_string_equal(settings_find(NULL), "valet.yaml");
	setenv("VALET_CONFIG", "other.yaml", 1);
	assert_string_equal(settings_find(NULL), "other.yaml");
	assert_string_equal(settings_find("third.yaml"), "third.yaml");
	assert_true(settings_load(NULL, NULL, 0, &s, &report));
	assert_int_equal(s->workers, 2);
	assert_str(s->log.file, "a.log");
	assert_str(secret_view(&s->targets[0].secret), "k-2");
	settings_free(s);
	char path[64], log[64];
	snprintf(path, sizeof(path), "%s/other.yaml", folder);
	snprintf(log, sizeof(log), "%s/a.log", folder);
	assert_int_equal(chdir("/"), 0);
	assert_true(settings_load(path, NULL, 0, &s, &report));
	assert_str(s->log.file, log);
	assert_str(secret_view(&s->targets[0].secret), "k-2");
	settings_free(s);
	assert_int_equal(report.len, 0);
	assert_false(settings_load("/nowhere.yaml", NULL, 0, &s, &report));
	assert_false(settings_load(folder, NULL, 0, &s, &report));
	buf_addc(&report, '\0');
	snprintf(path, sizeof(path), "%s: cannot read it: Is a directory\n", folder);
	assert_int_equal(strncmp(report.ptr,
				 "/nowhere.yaml: cannot read it: No such file or directory\n", 57),
			 0);
	assert_string_equal(report.ptr + 57, path);
	assert_int_equal(chdir(folder), 0);
	unlink("key");
	unlink("valet.yaml");
	unlink("other.yaml");
	assert_int_equal(chdir("/"), 0);
	rmdir(folder);
	unsetenv("VALET_CONFIG");
	buf_release(&report);
}

/* Thousands of names are checked for twins in less than quadratic time; a report stays short. */
static void many(void **state)
{
	struct buf text, report;
	buf_init(&text, 1 << 20);
	buf_init(&report, 1 << 20);
	BUF_ADD(&text, "models:\n");
	for (int i = 0; i < 9000; i++)
		buf_addf(&text, "- {name: m%d, aliases: [a%d, b%d], targets: nowhere}\n", i, i,
			 i / 2);
	buf_addc(&text, '\0');
	assert_null(parse(text.ptr, NULL, 0, &report));
	assert_true(report.len < 32 * 1024);
	buf_release(&text);
	buf_release(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),  cmocka_unit_test(addresses),
		cmocka_unit_test(origins),   cmocka_unit_test(all_settings),
		cmocka_unit_test(refusals),  cmocka_unit_test(warnings),
		cmocka_unit_test(overrides), cmocka_unit_test(files),
		cmocka_unit_test(many),	     cmocka_unit_test(money_and_limits),
		cmocka_unit_test(time_zones), cmocka_unit_test(unpriced),
		cmocka_unit_test(unpriced_at_vendors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
