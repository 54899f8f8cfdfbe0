/* test_ollama_window.c - which window is asked for, when it is raised and given up, and which answers were given to a prompt that was cut.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/ollama_window.h"

#include "base/buf.h"
#include "base/json.h"
#include "dialect/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "random_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void test_needed(void **state)
{
	assert_int_equal(ollama_tokens_needed(100, 0), 1124);
	assert_int_equal(ollama_tokens_needed(100, 50), 150);
	assert_int_equal(ollama_tokens_needed(100, 32000), 2148);
	assert_true(ollama_tokens_needed(INT64_MAX, 32000) > 0);
}

struct window_case {
	int64_t known, max, allowed, needed, low, want;
};

static const struct window_case window_cases[] = {
	/* it fits as things are */
	{4096, 131072, 0, 4096, 100, 0},
	{4096, 131072, 65536, 4096, 100, 0},
	{32768, 32768, 16384, 30000, 100, 0},
	{0, 131072, 65536, 2048, 100, 0},
	{0, 0, 65536, 10, 0, 0},
	/* raised in steps, up to what is allowed and what the model was made for */
	{4096, 131072, 65536, 4097, 100, 8192},
	{4096, 131072, 65536, 8193, 100, 16384},
	{4096, 131072, 65536, 33000, 100, 65536},
	{4096, 131072, 50000, 33000, 100, 50000},
	{4096, 20000, 65536, 17000, 100, 20000},
	{4096, 0, 65536, 17000, 100, 32768},
	{2048, 131072, 65536, 2049, 100, 4096},
	{0, 131072, 65536, 2049, 100, 4096},
	{0, 131072, 65536, 9000, 100, 16384},
	{3000, 131072, 3500, 3400, 100, 3500},
	{6000, 131072, 8192, 6500, 100, 8192},
	/* by guess it is too long: the engine decides, with the largest window that it may have */
	{4096, 131072, 16384, 20000, 16384, 16384},
	{4096, 131072, 0, 20000, 4096, 4096},
	{32768, 131072, 16384, 40000, 100, 32768},
	{40000, 32768, 0, 50000, 100, 40000}, /* stretched beyond what it was made for */
	/* it is too long for sure */
	{4096, 131072, 16384, 20000, 16385, OLLAMA_NOWHERE},
	{4096, 131072, 0, 20000, 4097, OLLAMA_NOWHERE},
	{4096, 8192, 65536, 20000, 8193, OLLAMA_NOWHERE},
	{0, 8192, 0, 20000, 8193, OLLAMA_NOWHERE},
	{0, 0, 16384, 20000, 16385, OLLAMA_NOWHERE},
	/* nothing is known and nothing may be raised */
	{0, 131072, 0, 20000, 15000, OLLAMA_UNSURE},
	{0, 0, 0, 1000000, 900000, OLLAMA_UNSURE},
	{0, 0, 0, OLLAMA_SURE_WINDOW + 1, 0, OLLAMA_UNSURE},
	{0, 0, 0, OLLAMA_SURE_WINDOW, 0, 0},
	/* nonsense */
	{-5, -1, -1, 100, 0, 0},
	{4096, 131072, INT64_MAX, INT64_MAX, 0, 131072},
	{4096, 0, INT64_MAX, INT64_MAX, 0, (int64_t)1 << 61},
};

static void test_num_ctx(void **state)
{
	for (size_t i = 0; i < COUNT(window_cases); i++) {
		const struct window_case *c = &window_cases[i];
		int64_t got = ollama_num_ctx(c->known, c->max, c->allowed, c->needed, c->low);
		if (got != c->want)
			fail_msg("known %lld, max %lld, allowed %lld, needed %lld, low %lld: %lld, expected %lld", (long long)c->known, (long long)c->max,
				 (long long)c->allowed, (long long)c->needed, (long long)c->low, (long long)got, (long long)c->want);
	}
}

/* ---- raised ---- */

static struct ollama_raised raised;
static int64_t now_s;

static int64_t way(int64_t told, int64_t needed)
{
	return ollama_way(&raised, told, 131072, 32768, needed, needed / 2, now_s);
}

static void begin(void)
{
	memset(&raised, 0, sizeof(raised));
	now_s = 1000;
}

/* Short prompts and long ones go with the same num_ctx, until nobody needs it. */
static void test_stays_raised(void **state)
{
	begin();
	assert_int_equal(way(4096, 3000), 0);
	assert_int_equal(way(4096, 7000), 8192);
	assert_int_equal(way(4096, 3000), 8192); /* the engine has not been looked at since */
	assert_int_equal(way(8192, 3000), 8192);
	assert_int_equal(way(8192, 8192), 8192);
	assert_int_equal(way(8192, 9000), 16384);
	assert_int_equal(way(8192, 9000), 16384);
	assert_int_equal(way(16384, 100), 16384);
	now_s += OLLAMA_RAISED_S;
	assert_int_equal(way(16384, 100), 16384);
	now_s += 1;
	assert_int_equal(way(16384, 100), 0); /* it is loaded anew by this one, with what it had before */
	assert_int_equal(way(16384, 5000), 8192); /* what it is told to have is not what it would have then */
}

/* What never asks for a window gets the plain one, also while the raised one is loaded. */
static void test_plain_window(void **state)
{
	begin();
	assert_int_equal(ollama_plain_window(&raised, 0, now_s), 0);
	assert_int_equal(ollama_plain_window(&raised, 4096, now_s), 4096);
	assert_int_equal(way(4096, 7000), 8192);
	assert_int_equal(ollama_plain_window(&raised, 4096, now_s), 4096);
	assert_int_equal(ollama_plain_window(&raised, 8192, now_s), 4096);
	assert_int_equal(way(8192, 3000), 8192);
	assert_int_equal(ollama_plain_window(&raised, 4096, now_s), 4096); /* it has loaded it anew */
	assert_int_equal(way(4096, 3000), 0);
	now_s += OLLAMA_RAISED_S + 1;
	assert_int_equal(ollama_plain_window(&raised, 32768, now_s), 32768);
}

/* Each prompt that needs it keeps it. */
static void test_needed_again(void **state)
{
	begin();
	way(4096, 7000);
	for (int i = 0; i < 10; i++) {
		now_s += OLLAMA_RAISED_S - 1;
		assert_int_equal(way(8192, 5000), 8192);
	}
}

/* The engine has loaded it anew, by itself or for somebody else: what Valet knew is void. */
static void test_loaded_anew(void **state)
{
	begin();
	assert_int_equal(way(4096, 7000), 8192);
	assert_int_equal(way(8192, 3000), 8192);
	assert_int_equal(way(4096, 3000), 0);
	begin();
	assert_int_equal(way(4096, 7000), 8192);
	assert_int_equal(way(16384, 3000), 0); /* another has raised it further */
	assert_int_equal(way(16384, 9000), 0);
}

/* What is not known is no other window. */
static void test_unknown(void **state)
{
	begin();
	assert_int_equal(way(0, 2000), 0);
	assert_int_equal(way(0, 3000), 4096);
	assert_int_equal(way(0, 2000), 4096);
	assert_int_equal(way(4096, 2000), 4096);
	now_s += OLLAMA_RAISED_S + 1;
	assert_int_equal(way(4096, 2000), 0);
}

static void test_not_allowed(void **state)
{
	begin();
	assert_int_equal(ollama_way(&raised, 4096, 131072, 0, 3000, 10, now_s), 0);
	assert_int_equal(ollama_way(&raised, 0, 131072, 0, 7000, 10, now_s), OLLAMA_UNSURE);
	assert_int_equal(ollama_way(&raised, 4096, 131072, 0, 7000, 10, now_s), 4096); /* not raised: only refused there where it does not fit */
	assert_int_equal(raised.num_ctx, 0);
	assert_int_equal(ollama_way(&raised, 4096, 131072, 0, 3000, 10, now_s), 0);
	assert_int_equal(ollama_way(&raised, 4096, 131072, 0, 70000, 10000, now_s), OLLAMA_NOWHERE);
	assert_int_equal(ollama_way(&raised, 4096, 131072, 32768, 70000, 40000, now_s), OLLAMA_NOWHERE);
	assert_int_equal(raised.num_ctx, 0);
}

static uint64_t random_state = 88172645463325252u;

static int64_t random_below(int64_t n)
{
	return (int64_t)(random_next(&random_state) % (uint64_t)n);
}

/* Whatever the numbers: no window smaller than the known one, none beyond what is allowed, and none too small for what could have one. */
static void test_bounds(void **state)
{
	for (int i = 0; i < 200000; i++) {
		int64_t known = random_below(4) ? random_below(40000) : 0, max = random_below(4) ? random_below(200000) : 0;
		int64_t allowed = random_below(3) ? random_below(100000) : 0, needed = 1 + random_below(200000), low = random_below(needed);
		int64_t most = allowed && max && max < allowed ? max : allowed, n = ollama_num_ctx(known, max, allowed, needed, low);
		most = most > known ? most : known;
		assert_true(n >= OLLAMA_UNSURE);
		assert_true(n <= most || n < 0 || most == 0);
		assert_true(n <= 0 || n >= known);
		assert_true(n <= 0 || n >= needed || n == most);
		assert_true(n != 0 || needed <= (known ? known : OLLAMA_SURE_WINDOW));
		assert_true(n != OLLAMA_NOWHERE || low > known);
		assert_true(n != OLLAMA_UNSURE || (known == 0 && allowed == 0));
	}
}

/* An engine that only Valet asks: what it has loaded, what Valet was last told of that, and how often it had to load. */
struct engine {
	int64_t plain, loaded, coming, told, used_s;
	int loads;
};

static void pass_time(struct engine *e, int64_t seconds)
{
	now_s += seconds;
	if (now_s - e->used_s > 300)
		e->loaded = 0;
	if (e->coming) /* a look at it takes its time */
		e->told = e->coming;
	e->coming = e->loaded && random_below(3) ? e->loaded : 0; /* what was told of a model stays known when it is unloaded */
}

static void serve(struct engine *e, int64_t needed)
{
	int64_t num_ctx = ollama_way(&raised, e->told, 131072, 65536, needed, needed / 3, now_s), window = num_ctx ? num_ctx : e->plain;
	assert_true(num_ctx >= 0);
	if (window < needed)
		fail_msg("%lld tokens go into a window of %lld (told %lld, loaded %lld, at %lld s)", (long long)needed, (long long)window, (long long)e->told,
			 (long long)e->loaded, (long long)now_s);
	e->loads += e->loaded != window;
	e->loaded = window;
	e->used_s = now_s;
}

/* Days of requests, most of them short: none goes where it would be cut, and the model is not loaded anew with each change of length. */
static void test_days(void **state)
{
	static const int64_t plains[] = {2048, 4096, 32768};
	for (size_t i = 0; i < COUNT(plains); i++) {
		begin();
		struct engine e = {.plain = plains[i], .told = 0};
		for (int n = 0; n < 50000; n++) {
			pass_time(&e, random_below(50) ? random_below(20) : random_below(3000));
			serve(&e, random_below(20) ? 1 + random_below(3000) : 1 + random_below(65536));
		}
		assert_true(e.loads < 5000);
	}
}

/* ---- the fewest tokens ---- */

static int64_t low_of(const char *messages, const char *more)
{
	struct buf body;
	buf_init(&body, 1 << 22);
	buf_addf(&body, "{\"messages\":[%s]%s}", messages, more);
	char *copy = mem_alloc(body.len); /* exact, so that a sanitizer sees reads past the end */
	memcpy(copy, body.ptr, body.len);
	struct ollama_low low = ollama_input_low(OP_CHAT, str_of(copy, body.len));
	assert_true(low.inputs == 1 && low.largest == low.tokens);
	free(copy);
	buf_release(&body);
	return low.tokens;
}

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"

struct low_case {
	const char *messages, *more;
	int64_t want;
};

static const struct low_case low_cases[] = {
	{"", "", 0},
	{USER(""), "", 0},
	{USER("Four words stand here."), "", 4},
	{USER("don't  split\\n\\nit"), "", 3},
	{USER("call(some, thing) { return x1; }"), "", 5},
	{USER("------ ====== ... {}[]();;;"), "", 0},
	{USER("                "), "", 0},
	{USER("a\\u0062c \\u0064\\\"e"), "", 3},
	{USER("\xd0\xb4\xd0\xbe\xd0\xbc \\u0434\\u043e\\u043c"), "", 2},
	{USER("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "", 2}, /* what repeats itself counts no further */
	{USER("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "", 3}, /* 62 bytes */
	{USER("\xe5\xa4\xa9\xe5\x9c\xb0\xe7\x8e\x84\xe9\xbb\x84\xe5\xae\x87\xe5\xae\x99\xe6\xb4\xaa\xe8\x8d\x92"), "", 2}, /* eight ideographs */
	{USER("one") "," USER("two"), "", 2},
	{"{\"role\":\"system\",\"content\":\"one two\"},{\"role\":\"developer\",\"content\":\"three\"}", "", 2},
	{"{\"role\":\"assistant\",\"content\":\"one two\"}", "", 2},
	{"{\"role\":\"assistant\",\"content\":\"<think>one two</think> three\"}", "", 0},
	{"{\"role\":\"assistant\",\"content\":\"one\",\"reasoning\":\"two three\",\"tool_calls\":[{\"function\":{\"arguments\":\"four\"}}]}", "", 1},
	{"{\"role\":\"tool\",\"content\":\"one two\"}", "", 0},
	{"{\"role\":\"tool\",\"content\":\"one two\"}", ",\"tools\":[]", 0},
	{"{\"role\":\"tool\",\"content\":\"one two\"}", ",\"tools\":[{\"function\":{\"description\":\"not counted\"}}]", 2},
	{"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one two\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,not counted\"}},"
	 "{\"type\":\"text\",\"text\":\"three\"}]}", "", 3},
	{"{\"role\":\"critic\",\"content\":\"one\"}", "", 0},
	{"1,null,\"x\",[]", "", 0},
	{USER("one") "," USER("two"), ",\"messages\":3", 0},
	/* names of tokens */
	{USER("<|im_start|>user<|im_end|>"), "", 3},
	{USER("<|reserved_special_token_12|><|reserved_special_token_13|>"), "", 2},
	{USER("\\u003c|fim_prefix|\\u003eone two</s>[INST] [/TOOL_CALLS]"), "", 6},
	{USER("<\xef\xbd\x9ctool\xe2\x96\x81" "calls\xe2\x96\x81" "begin\xef\xbd\x9c>"), "", 1},
	{USER("<one two three> a<b c[i j] <>"), "", 8},
	{USER("<_> [|] ><"), "", 0},
	{USER("one\\u0000two\\bthree\x7f" "four"), "", 1}, /* control characters, which some leave out */
	{"{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"<think>\"},{\"type\":\"text\",\"text\":\"one\"}]}", "", 0},
	{"{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"text\":\"one two\"},{\"type\":\"text\",\"text\":\"three\"}]}", "", 1},
};

static void test_low(void **state)
{
	for (size_t i = 0; i < COUNT(low_cases); i++) {
		int64_t n = low_of(low_cases[i].messages, low_cases[i].more);
		if (n != low_cases[i].want)
			fail_msg("%s: %lld, expected %lld", low_cases[i].messages, (long long)n, (long long)low_cases[i].want);
	}
	for (int op = 0; op < OP_ALL; op++) {
		assert_int_equal(ollama_input_low((enum operation)op, STR("{")).tokens, 0);
		assert_int_equal(ollama_input_low((enum operation)op, STR("[]")).tokens, 0);
		assert_int_equal(ollama_input_low((enum operation)op, STR("{}")).tokens, 0);
	}
}

#define BLOCK(type, text) "{\"type\":\"" type "\",\"text\":\"" text "\"}"
#define TOOLS             ",\"tools\":[{\"name\":\"not_counted\"}]"
#define RESULT(content)   "{\"type\":\"tool_result\",\"tool_use_id\":\"not counted\",\"content\":" content "}"

struct operation_case {
	enum operation op;
	const char *body;
	struct ollama_low want;
};

static const struct operation_case operation_cases[] = {
	{OP_COMPLETIONS, "{\"prompt\":\"one two\",\"suffix\":\"not counted\"}", {2, 2, 1}},
	{OP_COMPLETIONS, "{\"prompt\":[\"one two\",\"three\"]}", {3, 2, 2}},
	{OP_COMPLETIONS, "{\"prompt\":[\"one two\"]}", {2, 2, 1}},
	{OP_COMPLETIONS, "{\"prompt\":[1,2,3]}", {0, 0, 3}},
	{OP_COMPLETIONS, "{\"prompt\":{\"a\":\"one\"}}", {0, 0, 1}},
	{OP_COMPLETIONS, "{\"prompt\":\"abcdefghijklmnopqrstuvwxyz0123456789\"}", {2, 2, 1}},
	{OP_COMPLETIONS, "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"}]}", {0, 0, 1}},
	{OP_EMBEDDINGS, "{\"input\":\"one two\",\"prompt\":\"not counted\"}", {2, 2, 1}},
	{OP_EMBEDDINGS, "{\"input\":\"abcdefghijklmnopqrstuvwxyz0123456789 b\"}", {2, 2, 1}}, /* a long word may be one token there */
	{OP_EMBEDDINGS, "{\"input\":[\"one\",\"one two three\",\"\",\"four five\"]}", {6, 3, 4}},
	{OP_EMBEDDINGS, "{\"input\":[[1,2],[3]]}", {0, 0, 2}},
	{OP_EMBEDDINGS, "{\"input\":[]}", {0, 0, 1}},
	{OP_EMBEDDINGS, "{\"input\":\"\xd0\xb4\xd0\xbe\xd0\xbc, \xd0\xb4\xd0\xbe\xd0\xbc \xe5\xa4\xa9\xe5\x9c\xb0\"}", {3, 3, 1}},
	{OP_EMBEDDINGS, "{\"input\":\"\xcc\x81 \xef\xb8\x8f \xf0\x9f\x98\x80 \xc2\xad\"}", {0, 0, 1}}, /* what encoders leave out */
	{OP_RESPONSES, "{\"input\":\"one two\",\"instructions\":\"three\"}", {3, 3, 1}},
	{OP_RESPONSES, "{\"input\":[{\"role\":\"user\",\"content\":\"one two\"},{\"type\":\"message\",\"role\":\"system\",\"content\":\"three\"}]}", {3, 3, 1}},
	{OP_RESPONSES, "{\"input\":[{\"type\":null,\"role\":\"user\",\"content\":[" BLOCK("input_text", "one tw") "," BLOCK("input_text", "o") "]}]}", {2, 2, 1}},
	{OP_RESPONSES, "{\"input\":[{\"role\":\"assistant\",\"content\":[" BLOCK("output_text", "one two") "]}]}", {2, 2, 1}},
	{OP_RESPONSES, "{\"input\":[{\"role\":\"assistant\",\"content\":[" BLOCK("output_text", "<think>") "," BLOCK("output_text", "one") "]}]}", {0, 0, 1}},
	{OP_RESPONSES, "{\"input\":[{\"role\":\"user\",\"content\":[" BLOCK("input_file", "one") "," BLOCK("text", "two") "]}]}", {0, 0, 1}},
	{OP_RESPONSES, "{\"input\":[{\"role\":\"developer\",\"content\":\"one\"},{\"type\":\"reasoning\",\"role\":\"user\",\"content\":\"two\"}]}", {0, 0, 1}},
	{OP_RESPONSES, "{\"input\":[{\"type\":\"function_call_output\",\"output\":\"one two\"}]}", {0, 0, 1}},
	{OP_RESPONSES, "{\"input\":[{\"type\":\"function_call_output\",\"output\":\"one two\"}]" TOOLS "}", {2, 2, 1}},
	{OP_RESPONSES, "{\"input\":[{\"type\":\"function_call_output\",\"output\":[" BLOCK("input_text", "one") "]}]" TOOLS "}", {0, 0, 1}},
	{OP_RESPONSES, "{\"input\":7,\"instructions\":[" BLOCK("text", "one") "]}", {0, 0, 1}},
	{OP_MESSAGES, "{\"system\":\"one\",\"messages\":[{\"role\":\"user\",\"content\":\"two three\"}]}", {3, 3, 1}},
	{OP_MESSAGES, "{\"system\":[" BLOCK("text", "x-anthropic-billing-header: not counted") "," BLOCK("text", "one t") "," BLOCK("text", "wo") "]}", {2, 2, 1}},
	{OP_MESSAGES, "{\"messages\":[{\"role\":\"user\",\"content\":[" BLOCK("text", "one t") "," BLOCK("image", "no") "," BLOCK("text", "wo") "]},"
		      "{\"role\":\"user\",\"content\":\"three\"}]}", {3, 3, 1}},
	{OP_MESSAGES, "{\"messages\":[{\"role\":\"user\",\"content\":[" RESULT("\"one two\"") "," BLOCK("text", "three") "]}]}", {1, 1, 1}},
	{OP_MESSAGES, "{\"messages\":[{\"role\":\"user\",\"content\":[" RESULT("\"one two\"") "," BLOCK("text", "three") "]}]" TOOLS "}", {3, 3, 1}},
	{OP_MESSAGES, "{\"messages\":[{\"role\":\"user\",\"content\":[" RESULT("[" BLOCK("text", "one t") "," BLOCK("text", "wo") "]") "]}]" TOOLS "}", {2, 2, 1}},
	{OP_MESSAGES, "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"one\"}," BLOCK("text", "two") ","
		      "{\"type\":\"tool_use\",\"name\":\"three\",\"input\":{\"four\":\"five\"}}]}]" TOOLS "}", {1, 1, 1}},
	{OP_RERANK, "{\"input\":\"one\",\"prompt\":\"two\",\"messages\":[{\"role\":\"user\",\"content\":\"three\"}]}", {0, 0, 1}},
};

static void test_low_of_operations(void **state)
{
	for (size_t i = 0; i < COUNT(operation_cases); i++) {
		const struct operation_case *c = &operation_cases[i];
		size_t len = strlen(c->body);
		char *copy = mem_alloc(len);
		memcpy(copy, c->body, len);
		struct ollama_low low = ollama_input_low(c->op, str_of(copy, len));
		if (low.tokens != c->want.tokens || low.largest != c->want.largest || low.inputs != c->want.inputs)
			fail_msg("%s: %lld, largest %lld of %lld", c->body, (long long)low.tokens, (long long)low.largest, (long long)low.inputs);
		free(copy);
	}
}

/* ---- judging ---- */

struct judge_case {
	int64_t told, window, low, bound;
	enum ollama_verdict want;
};

static const struct judge_case judge_cases[] = {
	/* whole: as many tokens as words or more */
	{1300, 4096, 1000, 6000, OLLAMA_WHOLE},
	{1000, 0, 1000, 6000, OLLAMA_WHOLE},
	{900, 0, 1000, 6000, OLLAMA_WHOLE},      /* within the margin */
	{2050, 4096, 1800, 9000, OLLAMA_WHOLE},  /* by chance half the window: there are fewer words */
	{4095, 4096, 3000, 20000, OLLAMA_WHOLE},
	{0, 4096, 5000, 30000, OLLAMA_WHOLE},    /* not told */
	{-7, 4096, 5000, 30000, OLLAMA_WHOLE},
	{5, 0, 0, 30000, OLLAMA_WHOLE},
	/* cut: as releases of today leave it (half the window and two), as older ones did (all of it), or whole messages less */
	{2050, 4096, 3100, 18000, OLLAMA_CUT},
	{2050, 0, 3100, 18000, OLLAMA_CUT},
	{16386, 32768, 25000, 159062, OLLAMA_CUT},
	{4096, 4096, 3100, 18000, OLLAMA_CUT},
	{4096, 4096, 0, 18000, OLLAMA_CUT},
	{4100, 4096, 0, 18000, OLLAMA_CUT},
	{60, 0, 8000, 40000, OLLAMA_CUT},
	{2050, 4096, 2055, 18000, OLLAMA_CUT},   /* half the window, and too few for its words, though within the margin */
	{2070, 4096, 2075, 18000, OLLAMA_WHOLE},
	/* it fits into any window: the engine counts only what it had not cached */
	{20, 0, 150, 900, OLLAMA_MISCOUNTS},
	{20, 4096, 150, 900, OLLAMA_MISCOUNTS},
	{20, 4096, 30, 900, OLLAMA_WHOLE},
	{20, 512, 150, 900, OLLAMA_CUT},         /* a window that small was configured */
};

static void test_judge(void **state)
{
	for (size_t i = 0; i < COUNT(judge_cases); i++) {
		const struct judge_case *c = &judge_cases[i];
		enum ollama_verdict got = ollama_judge(c->told, c->window, c->low, c->bound);
		if (got != c->want)
			fail_msg("told %lld of window %lld with %lld to %lld: %d", (long long)c->told, (long long)c->window, (long long)c->low, (long long)c->bound, got);
		assert_true(ollama_was_truncated(c->told, c->window, c->low, c->bound) == (c->want == OLLAMA_CUT));
	}
}

struct inputs_case {
	int64_t told, window;
	struct ollama_low low;
	enum ollama_verdict want;
};

static const struct inputs_case inputs_cases[] = {
	{1300, 2048, {1000, 1000, 1}, OLLAMA_WHOLE},
	{0, 512, {9000, 9000, 1}, OLLAMA_WHOLE},
	{512, 512, {400, 400, 1}, OLLAMA_CUT},        /* all of the window */
	{511, 512, {400, 400, 1}, OLLAMA_WHOLE},
	{512, 0, {400, 400, 1}, OLLAMA_WHOLE},
	{512, 0, {700, 700, 1}, OLLAMA_CUT},
	{20, 0, {150, 150, 1}, OLLAMA_CUT},           /* encoders count everything */
	{20, 512, {30, 30, 1}, OLLAMA_WHOLE},
	{5000, 512, {4000, 450, 20}, OLLAMA_WHOLE},   /* more than a window in all, not in each */
	{10240, 512, {8000, 450, 20}, OLLAMA_CUT},    /* in each */
	{6000, 512, {9000, 500, 20}, OLLAMA_CUT},
	{6000, 0, {9000, 500, 20}, OLLAMA_CUT},
};

static void test_judge_inputs(void **state)
{
	for (size_t i = 0; i < COUNT(inputs_cases); i++) {
		const struct inputs_case *c = &inputs_cases[i];
		enum ollama_verdict got = ollama_judge_inputs(c->told, c->window, &c->low);
		if (got != c->want)
			fail_msg("told %lld of window %lld with %lld in %lld: %d", (long long)c->told, (long long)c->window, (long long)c->low.tokens,
				 (long long)c->low.inputs, got);
	}
}

/* Plain prose in numbers: what is left of a long prompt is always noticed once the prompt is by half longer than the window. */
static void test_prose(void **state)
{
	struct buf text;
	buf_init(&text, 1 << 20);
	for (int i = 0; text.len < 36000; i++)
		buf_addf(&text, "The %d%s visitor asked whether the library, which opens at nine, had kept her book. ", i, i % 10 == 1 ? "st" : "th");
	buf_addc(&text, '\0');
	struct buf messages;
	buf_init(&messages, 1 << 20);
	buf_addf(&messages, USER("%s"), text.ptr);
	buf_addc(&messages, '\0');
	int64_t low = low_of(messages.ptr, ""), true_tokens = (int64_t)text.len * 2 / 9; /* 4.5 bytes a token */
	assert_true(low > true_tokens * 2 / 3 && low < true_tokens);
	assert_false(ollama_was_truncated(true_tokens, 32768, low, (int64_t)text.len));
	assert_true(ollama_was_truncated(4096 / 2 + 2, 0, low, (int64_t)text.len));
	assert_true(ollama_was_truncated(4096, 0, low, (int64_t)text.len));
	buf_release(&text);
	buf_release(&messages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_needed),     cmocka_unit_test(test_num_ctx),      cmocka_unit_test(test_stays_raised),
		cmocka_unit_test(test_needed_again), cmocka_unit_test(test_loaded_anew), cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_bounds),     cmocka_unit_test(test_days),
		cmocka_unit_test(test_not_allowed), cmocka_unit_test(test_low),         cmocka_unit_test(test_judge),
		cmocka_unit_test(test_prose),      cmocka_unit_test(test_low_of_operations), cmocka_unit_test(test_judge_inputs),
		cmocka_unit_test(test_plain_window),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
