/* test_price.c - what requests cost, the list of prices, and which price holds where.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/price_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random_fixture.h"
#include "settings_fixture.h"

#define DOLLAR INT64_C(1000000000)

static uint64_t random_state = 88172645463325252u;

/* Of any size up to `bits` bits, small ones as often as large ones. */
static int64_t random_of(unsigned bits)
{
	return (int64_t)(random_next(&random_state) >> (64 - 1 - random_next(&random_state) % bits));
}

/* ---- arithmetic ---- */

static void costs(void **state)
{
	const struct price p = {true, 2500000000, 1250000000, 10000000000, 0}, free_of_charge = {.known = true}, none = {.known = false};
	assert_int_equal(price_cost(&p, 1000, 0, 100, 0), 3500000);
	assert_int_equal(price_cost(&p, 1000, 400, 100, 0), 3000000);
	assert_int_equal(price_bound(&p, 1000, 100, 60), 3500000);
	assert_int_equal(price_cost(&p, 0, 0, 0, 1000000), 0);
	assert_int_equal(price_cost(&free_of_charge, 1000, 0, 100, 1000000), 0);
	assert_int_equal(price_cost(&none, 1000, 0, 100, 1000000), 0);
	assert_int_equal(price_buys(&p, 3500000, 1000, 60), 100);
	assert_int_equal(price_buys(&p, 3499999, 1000, 60), 99);
	assert_int_equal(price_buys(&p, 2500000, 1000, 60), 0);
	assert_int_equal(price_buys(&p, 2499999, 1000, 60), 0);
	assert_int_equal(price_buys(&p, -1, 0, 0), 0);
	assert_int_equal(price_buys(&free_of_charge, 0, 1000, 60), INT64_MAX);
	assert_int_equal(price_buys(&free_of_charge, -1, 1000, 60), 0);
}

/* Parts of a nano-dollar are summed first and rounded up once. */
static void rounds_up_once(void **state)
{
	const struct price p = {true, 400000, 100000, 600000, 1};
	assert_int_equal(price_cost(&p, 1, 0, 1, 0), 1);
	assert_int_equal(price_cost(&p, 1, 0, 1, 1), 2);
	assert_int_equal(price_cost(&p, 1, 1, 0, 0), 1);
	assert_int_equal(price_cost(&p, 0, 0, 0, 1), 1);
	assert_int_equal(price_bound(&p, 1, 1, 0), 1);
	assert_int_equal(price_bound(&p, 1, 1, 1), 2);
}

/* Claims from outside are never refunds, and what is too large to be told is the most that there is. */
static void absurd(void **state)
{
	const struct price p = {true, 1000000, 500000, 2000000, 3}, dear = {true, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
	assert_int_equal(price_cost(&p, -5, -5, -5, -5), 0);
	assert_int_equal(price_cost(&p, 10, -5, 0, 0), 10);
	assert_int_equal(price_cost(&p, 10, 11, 0, 0), 5);
	assert_int_equal(price_bound(&p, -1, -1, -1), 0);
	assert_int_equal(price_cost(&dear, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX), INT64_MAX);
	assert_int_equal(price_bound(&dear, INT64_MAX, INT64_MAX, INT64_MAX), INT64_MAX);
	assert_int_equal(price_bound(&dear, 1, 0, 0), INT64_C(9223372036855));
	assert_int_equal(price_bound(&dear, 1000000, 0, 0), INT64_MAX);
	assert_int_equal(price_bound(&dear, 0, 0, 1), INT64_MAX);
	assert_int_equal(price_bound(&dear, 0, 0, 2), INT64_MAX);
	assert_int_equal(price_buys(&dear, INT64_MAX, 0, 0), 1000000);
	assert_int_equal(price_buys(&dear, INT64_MAX, INT64_MAX, INT64_MAX), 0);
	assert_int_equal(price_buys(&(struct price){.known = true, .output = 1}, INT64_MAX, 0, 0), INT64_MAX);
}

static void bound_covers_cost(void **state)
{
	for (int i = 0; i < 500000; i++) {
		unsigned bits = i % 2 ? 63 : 40;
		struct price p = {true, random_of(bits), random_of(bits), random_of(bits), random_of(bits)};
		int64_t input = random_of(bits), output = random_of(bits), micros = random_of(bits);
		int64_t cached = i % 3 ? random_of(bits) : input;
		int64_t seconds = micros / 1000000 + (micros % 1000000 > 0);
		int64_t bound = price_bound(&p, input, output, seconds);
		assert_true(price_cost(&p, input, cached, output, micros) <= bound);
		assert_true(price_cost(&p, input / 2, cached / 2, output / 2, micros / 2) <= bound);
		assert_true(price_bound(&p, input, output, seconds) <= price_bound(&p, input, output + (output < INT64_MAX), seconds));
	}
}

static void buys_what_the_bound_allows(void **state)
{
	for (int i = 0; i < 500000; i++) {
		unsigned bits = i % 2 ? 50 : 30;
		struct price p = {true, random_of(bits), random_of(bits), random_of(bits), random_of(20)};
		int64_t input = random_of(24), seconds = random_of(16), nanos = random_of(62);
		int64_t n = price_buys(&p, nanos, input, seconds);
		assert_true(n >= 0);
		if (price_bound(&p, input, 0, seconds) > nanos) {
			assert_int_equal(n, 0);
		} else if (p.output == 0) {
			assert_int_equal(n, INT64_MAX);
		} else {
			assert_true(price_bound(&p, input, n, seconds) <= nanos);
			assert_true(n == INT64_MAX || price_bound(&p, input, n + 1, seconds) > nanos);
		}
	}
}

/* ---- the list ---- */

static bool costs_per_million(struct price p, int64_t input, int64_t output)
{
	return p.known && p.input == input && p.output == output;
}

/* In thousandths of a dollar; -1: no price. */
static const struct {
	const char *vendor, *model;
	int64_t input, cached, output;
} listed[] = {
	{"openai", "gpt-4o", 2500, 1250, 10000},
	{"openai", "gpt-4o-2024-08-06", 2500, 1250, 10000},
	{"openai", "gpt-4o-2024-05-13", 5000, 5000, 15000},
	{"openai", "GPT-4o", 2500, 1250, 10000},
	{"openai", "gpt-4o-mini", 150, 75, 600},
	{"openai", "gpt-4o-mini-2024-07-18", 150, 75, 600},
	{"openai", "gpt-4o-audio-preview", -1, 0, 0},
	{"openai", "gpt-4o-latest", -1, 0, 0},
	{"openai", "ft:gpt-4o-mini-2024-07-18:org::id", -1, 0, 0},
	{"openai", "gpt-5", 1250, 125, 10000},
	{"openai", "gpt-5-2025-08-07", 1250, 125, 10000},
	{"openai", "gpt-5-pro", -1, 0, 0},
	{"openai", "gpt-5.4", 5000, 500, 22500},
	{"openai", "gpt-5.4-pro", -1, 0, 0},
	{"openai", "gpt-5.5", 10000, 1000, 45000},
	{"openai", "o3", 2000, 500, 8000},
	{"openai", "o3-pro", -1, 0, 0},
	{"openai", "text-embedding-3-small", 20, 20, 0},
	{"openai", "", -1, 0, 0},
	{"anthropic", "claude-opus-5", 5000, 500, 25000},
	{"anthropic", "claude-opus-5-20260801", 5000, 500, 25000},
	{"anthropic", "claude-opus-5-5", 4000, 200, 20000},
	{"anthropic", "claude-opus-5-5-20260901", 4000, 200, 20000},
	{"anthropic", "claude-opus-4-1", -1, 0, 0},
	{"anthropic", "claude-sonnet-4-5-20250929", 6000, 600, 22500},
	{"anthropic", "gpt-4o", -1, 0, 0},
	{"gemini", "models/gemini-2.5-pro", 2500, 250, 15000},
	{"gemini", "gemini-2.5-flash", 300, 30, 2500},
	{"gemini", "gemini-2.5-flash-preview-09-2025", 300, 30, 2500},
	{"gemini", "gemini-2.5-flash-lite", 100, 10, 400},
	{"gemini", "gemini-2.5-flash-preview-tts", -1, 0, 0},
	{"gemini", "gemini-2.5-flash-image", -1, 0, 0},
	{"mistral", "mistral-large-2512", 500, 500, 1500},
	{"mistral", "mistral-large-latest", -1, 0, 0},
	{"xai", "grok-4.6", 4000, 1000, 12000},
	{"groq", "openai/gpt-oss-120b", 150, 75, 600},
	{"groq", "qwen/qwen3-32b", 290, 290, 590},
	{"fireworks", "accounts/fireworks/models/kimi-k3", 3000, 3000, 15000},
	{"fireworks", "accounts/me/models/kimi-k3", -1, 0, 0},
	{"together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", 880, 880, 880},
	{"zai", "GLM-5.3", 1400, 1400, 4400},
	{"openrouter", "openai/gpt-4o", 2500, 1250, 10000},
	{"openrouter", "openai/gpt-4o:free", 2500, 1250, 10000},
	{"openrouter", "openai/gpt-4o:extended", -1, 0, 0},
	{"openrouter", "openai/gpt-4o-mini:nitro", 150, 75, 600},
	{"openrouter", "openai/gpt-oss-120b", -1, 0, 0},
	{"openrouter", "anthropic/claude-opus-4.5", 5000, 500, 25000},
	{"openrouter", "google/gemini-2.5-pro", 2500, 250, 15000},
	{"openrouter", "gpt-4o", -1, 0, 0},
	{"perplexity", "sonar", -1, 0, 0},
	{"nobody", "gpt-4o", -1, 0, 0},
	{NULL, "gpt-4o", -1, 0, 0},
};

static void list(void **state)
{
	for (size_t i = 0; i < sizeof(listed) / sizeof(listed[0]); i++) {
		struct price p = price_listed(listed[i].vendor, str_from(listed[i].model));
		if (p.known != (listed[i].input >= 0))
			fail_msg("%s: %s", listed[i].model, p.known ? "has a price" : "has no price");
		if (!p.known)
			continue;
		assert_int_equal(p.input, listed[i].input * DOLLAR / 1000);
		assert_int_equal(p.cached, listed[i].cached * DOLLAR / 1000);
		assert_int_equal(p.output, listed[i].output * DOLLAR / 1000);
	}
}

/* Each row is sane, is reached by its own name (no earlier row takes it), and belongs to a vendor whose host is known. */
static void rows(void **state)
{
	static const char *const vendor_hosts[] = {"api.openai.com",  "api.anthropic.com", "generativelanguage.googleapis.com",
						   "api.mistral.ai",  "api.deepseek.com",  "api.x.ai",
						   "api.groq.com",    "api.cerebras.ai",   "api.fireworks.ai",
						   "api.together.xyz", "api.moonshot.ai",  "api.z.ai",
						   "api.minimax.io",  "api.cohere.com",	   "api.voyageai.com"};
	for (const struct price_row *r = price_rows; r->vendor; r++) {
		bool hosted = false;
		for (size_t i = 0; i < sizeof(vendor_hosts) / sizeof(vendor_hosts[0]); i++)
			hosted |= strcmp(price_vendor(str_from(vendor_hosts[i])), r->vendor) == 0;
		if (!hosted)
			fail_msg("no host of %s", r->vendor);
		struct price p = price_listed(r->vendor, str_from(r->pattern));
		if (!costs_per_million(p, r->price.input, r->price.output) || p.cached != r->price.cached)
			fail_msg("%s %s is taken by another row", r->vendor, r->pattern);
		assert_true(p.input > 0 && p.cached > 0 && p.cached <= p.input && p.output >= 0 && p.per_second == 0);
		assert_true(p.input < 100 * DOLLAR && p.output < 500 * DOLLAR);
	}
	for (const struct price_row *r = price_open_rows; r->vendor; r++) {
		struct price p = price_reference(str_from(r->pattern));
		assert_true(r->pattern[0] != '\0');
		assert_int_equal(p.known, r->price.known);
	}
}

static void vendors(void **state)
{
	assert_string_equal(price_vendor(STR("api.openai.com")), "openai");
	assert_string_equal(price_vendor(STR("API.OpenAI.com.")), "openai");
	assert_string_equal(price_vendor(STR("openrouter.ai")), "openrouter");
	assert_string_equal(price_vendor(STR("api.perplexity.ai")), "perplexity");
	assert_null(price_vendor(STR("openai.com")));
	assert_null(price_vendor(STR("api.openai.com.evil.example")));
	assert_null(price_vendor(STR("xapi.openai.com")));
	assert_null(price_vendor(STR("")));
	assert_null(price_vendor(STR(".")));
}

/* In tenths of a cent; -1: no price. */
static const struct {
	const char *model;
	int64_t input, output;
} references[] = {
	{"Qwen/Qwen3-32B-AWQ", 100, 300},
	{"qwen3:32b", 100, 300},
	{"Qwen3-32B-Q4_K_M.gguf", 100, 300},
	{"hf.co/unsloth/Qwen3-32B-GGUF:Q4_K_M", 100, 300},
	{"QWEN_3_32B", 100, 300},
	{"qwen3:30b-a3b", 80, 290},
	{"Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", 80, 290},
	{"qwen3-coder:30b", 70, 270},
	{"Qwen/Qwen3-Coder-30B-A3B-Instruct", 70, 270},
	{"Qwen/Qwen3-235B-A22B-Instruct-2507", 90, 100},
	{"Qwen/Qwen3.5-27B", 195, 1560},
	{"qwen3:8b", 35, 138},
	{"qwen3-1.8b", -1, 0},
	{"qwen3:1.7b", -1, 0},
	{"qwen3", -1, 0},
	{"qwen3:latest", -1, 0},
	{"qwen2.5:32b", -1, 0},
	{"Qwen3-VL-32B-Instruct", -1, 0},
	{"Qwen/Qwen3-Embedding-8B", -1, 0},
	{"gpt-oss:120b", 39, 180},
	{"openai/gpt-oss-20b", 29, 140},
	{"gpt-oss-120b", 39, 180},
	{"meta-llama/Llama-3.1-8B-Instruct", 20, 30},
	{"Meta-Llama-3.1-8B-Instruct-Q8_0.gguf", 20, 30},
	{"llama3.1:8b-instruct-q4_K_M", 20, 30},
	{"llama3.1:70b", 100, 280},
	{"llama3.3:70b", 50, 240},
	{"llama3.2:3b", -1, 0},
	{"llama4:scout", 80, 300},
	{"meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", 150, 600},
	{"gemma3:27b", 100, 200},
	{"google/gemma-3-27b-it", 100, 200},
	{"gemma-3n-E4B-it", -1, 0},
	{"google/gemma-4-26b-a4b-it", 60, 330},
	{"mistral-small3.2:24b", 75, 200},
	{"mistralai/Mistral-Small-3.2-24B-Instruct-2506", 75, 200},
	{"mistral-small3.1:24b", -1, 0},
	{"phi4:14b", 70, 140},
	{"microsoft/phi-4", 70, 140},
	{"phi4-mini", -1, 0},
	{"phi-4-multimodal-instruct", -1, 0},
	{"nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 50, 200},
	{"moonshotai/Kimi-K2.5", 600, 3000}, /* its maker's own price */
	{"kimi-k3", 3000, 15000},
	{"kimi-k3.5", -1, 0},
	{"kimi-k3-0905", 3000, 15000},
	{"gpt-4o", 2500, 10000},
	{"openai/gpt-4o-mini", 150, 600},
	{"claude-opus-5", 5000, 25000},
	{"models/gemini-2.5-pro", 2500, 15000},
	{"text-embedding-3-large", 130, 0},
	{"nomic-embed-text", -1, 0},
	{"my-own-model", -1, 0},
	{"", -1, 0},
	{"...", -1, 0},
};

static void comparable(void **state)
{
	char longest[1000];
	for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++) {
		struct price p = price_reference(str_from(references[i].model));
		if (p.known != (references[i].input >= 0))
			fail_msg("%s: %s", references[i].model, p.known ? "has a price" : "has no price");
		if (p.known && !costs_per_million(p, references[i].input * DOLLAR / 1000, references[i].output * DOLLAR / 1000))
			fail_msg("%s: not its price", references[i].model);
	}
	memset(longest, 'q', sizeof(longest));
	assert_false(price_reference(str_of(longest, sizeof(longest))).known);
	for (size_t i = 0; i < sizeof(longest); i++)
		longest[i] = i % 2 ? '1' : 'q';
	for (size_t n = 0; n < sizeof(longest); n++)
		assert_false(price_reference(str_of(longest, n)).known);
}

/* ---- which price holds ---- */

static void local_or_not(void **state)
{
	static const char *const own[] = {"127.0.0.1", "::1",		"localhost",  "a.localhost", "10.1.2.3",  "172.16.0.1", "172.31.255.255", "192.168.1.1",
					  "169.254.1.1", "100.64.0.1", "100.127.0.1", "fd00::2",     "fe80::1",	  "gpu1",	"gpu1.local",	  "GPU1.LAN",
					  "gpu1.home.arpa", "a.internal", "gpu1.local.", "::ffff:10.0.0.1"};
	static const char *const others[] = {"8.8.8.8",	  "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1", "11.0.0.1", "2001:db8::1",
					     "gpu1.example.org", "local.example", "api.openai.com", "", ".", "::ffff:8.8.8.8"};
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (!price_is_local(ENGINE_OPENAI, str_from(own[i])) || !price_is_local(ENGINE_NONE, str_from(own[i])))
			fail_msg("%s is not local", own[i]);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (price_is_local(ENGINE_OPENAI, str_from(others[i])) || price_is_local(ENGINE_NONE, str_from(others[i])))
			fail_msg("%s is local", others[i]);
	assert_true(price_is_local(ENGINE_VLLM, STR("gpu1.example.org")));
	assert_true(price_is_local(ENGINE_OLLAMA, STR("8.8.8.8")));
	assert_false(price_is_local(ENGINE_VLLM, STR("api.together.xyz")));
}

static const char everything[] = "targets:\n"
				 "- {name: own, url: http://gpu1:8000, price: {input: 3, output: 4, cached: 0.5}}\n"
				 "- {name: bare, url: http://gpu2:8000}\n"
				 "- {name: cloud, url: https://api.openai.com/v1}\n"
				 "- {name: free, url: https://api.openai.com/v1/, price: {input: 0, output: 0}}\n"
				 "models:\n"
				 "- {name: dear, price: {input: 100, output: 200}}\n"
				 "- {name: plain}\n";

static void order_of_prices(void **state)
{
	struct settings *s = take(everything, "");
	const struct target_conf *own = &s->targets[0], *bare = &s->targets[1], *cloud = &s->targets[2], *nothing = &s->targets[3];
	const struct str gpu = STR("gpu1"), openai = STR("api.openai.com"), m = STR("plain"), gpt = STR("gpt-4o");
	bool ceiling = true;
	assert_true(costs_per_million(price_for(s, own, true, gpu, STR("dear"), m, &ceiling), 100 * DOLLAR, 200 * DOLLAR));
	assert_false(ceiling);
	struct price p = price_for(s, own, true, gpu, m, m, NULL);
	assert_true(costs_per_million(p, 3 * DOLLAR, 4 * DOLLAR));
	assert_int_equal(p.cached, DOLLAR / 2);
	assert_int_equal(price_for(s, own, true, gpu, STR("dear"), m, NULL).cached, 100 * DOLLAR);
	assert_true(costs_per_million(price_for(s, cloud, false, openai, m, gpt, NULL), 5 * DOLLAR / 2, 10 * DOLLAR));
	assert_false(price_for(s, cloud, false, openai, m, m, NULL).known);
	assert_true(costs_per_million(price_for(s, nothing, false, openai, m, gpt, NULL), 0, 0));
	assert_false(price_for(s, bare, true, STR("gpu2"), m, m, &ceiling).known);
	assert_false(ceiling);
	assert_false(price_for(s, NULL, true, STR("127.0.0.1"), m, m, &ceiling).known);
	settings_free(s);
}

static void local_prices(void **state)
{
	struct settings *s = take("prices: {local: {input: 0, output: 0}, electricity: {kwh: 0.30, watts: 500}, ceiling: {input: 9, output: 99}}\n", "");
	const struct str host = STR("127.0.0.1"), m = STR("m");
	bool ceiling;
	struct price p = price_for(s, NULL, true, host, m, m, &ceiling);
	assert_true(costs_per_million(p, 0, 0));
	assert_int_equal(p.per_second, 41667); /* 0.3 * 500 / 3,600,000 dollars, rounded up */
	assert_false(ceiling);
	p = price_for(s, NULL, false, STR("cloud.example"), m, m, &ceiling);
	assert_true(costs_per_million(p, 9 * DOLLAR, 99 * DOLLAR));
	assert_int_equal(p.cached, 9 * DOLLAR);
	assert_int_equal(p.per_second, 0);
	assert_true(ceiling);
	settings_free(s);
	s = take("prices: {electricity: {kwh: 1000, watts: 1000000}}\n", "");
	p = price_for(s, NULL, true, host, m, m, &ceiling);
	assert_true(costs_per_million(p, 0, 0));
	assert_int_equal(p.per_second, 1000 * DOLLAR * 1000000 / 3600000 + 1);
	settings_free(s);
	s = take("prices: {ceiling: {input: 1, output: 2}}\n", "");
	p = price_for(s, NULL, true, host, m, m, &ceiling);
	assert_true(costs_per_million(p, DOLLAR, 2 * DOLLAR) && ceiling);
	settings_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(costs),	  cmocka_unit_test(rounds_up_once), cmocka_unit_test(absurd),
		cmocka_unit_test(bound_covers_cost), cmocka_unit_test(buys_what_the_bound_allows), cmocka_unit_test(list),
		cmocka_unit_test(rows),		  cmocka_unit_test(vendors),	    cmocka_unit_test(comparable),
		cmocka_unit_test(local_or_not),	  cmocka_unit_test(order_of_prices), cmocka_unit_test(local_prices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
