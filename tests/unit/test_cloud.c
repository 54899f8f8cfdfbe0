/* test_cloud.c - what clouds take and what they say: every rule of the tables, and that the rest stays as it came.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/cloud.h"

#include "base/json.h"
#include "dialect/tap.h"
#include "dialect/walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "words_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define EACH         (OP_BIT(CLOUD_COUNT) - 2) /* all of them */

/* Exactly as long as it is, so that a sanitizer sees every byte too far. */
static struct str copy_of(const char *text)
{
	size_t len = strlen(text);
	char *copy = mem_alloc(len ? len : 1);
	memcpy(copy, text, len);
	return str_of(copy, len);
}

static bool make(enum cloud cloud, enum operation op, const char *body, struct body_changes changes)
{
	struct str copy = copy_of(body);
	if (!changes.model.ptr)
		changes.model = STR("m");
	buf_clear(&out);
	buf_clear(&why);
	bool made = cloud_body(cloud, &operations[op], copy, &changes, &arena, &out, &why);
	free((char *)copy.ptr);
	if (made && !json_scan(buf_str(&out), NULL, 0, NULL, NULL))
		fail_msg("%s: not JSON: %.*s", clouds[cloud].name, STR_ARG(buf_str(&out)));
	assert_true(made == (why.len == 0));
	return made;
}

static void expect_out(enum cloud cloud, const char *want)
{
	if (!str_eq(buf_str(&out), str_from(want)))
		fail_msg("%s gets\n%.*s\nexpected\n%s", clouds[cloud].name, STR_ARG(buf_str(&out)), want);
}

static void expect(enum cloud cloud, const char *body, const char *want)
{
	if (!make(cloud, OP_CHAT, body, (struct body_changes){0}))
		fail_msg("%s refuses %s: %.*s", clouds[cloud].name, body, STR_ARG(buf_str(&why)));
	expect_out(cloud, want);
}

/* ---- the table ---- */

static void test_table(void **state)
{
	for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++) {
		const struct cloud_row *row = &clouds[c];
		assert_int_equal(cloud_find(str_from(row->name)), c);
		assert_true(row->operations & OP_BIT(OP_CHAT));
		assert_string_equal(row->field, "authorization");
		assert_string_equal(row->scheme, "Bearer ");
		assert_true((row->url == NULL) == (c == CLOUD_COMPATIBLE) && (row->variable == NULL) == (c == CLOUD_COMPATIBLE));
		if (row->url) {
			assert_true(str_starts(str_from(row->url), STR("https://")));
			assert_false(str_ends(str_from(row->url), STR("/")));
		}
		assert_true(row->stream_options || row->usage_anyway); /* else its streams would have no usage */
	}
	assert_int_equal(cloud_find(STR("")), CLOUD_NONE);
	assert_int_equal(cloud_find(STR("azure")), CLOUD_NONE);
}

/* ---- members of the body, each alone ---- */

#define O CLOUD_BIT(CLOUD_OPENAI)
#define M CLOUD_BIT(CLOUD_MISTRAL)
#define R CLOUD_BIT(CLOUD_OPENROUTER)
#define T CLOUD_BIT(CLOUD_TOGETHER)
#define G CLOUD_BIT(CLOUD_GROQ)
#define D CLOUD_BIT(CLOUD_DEEPSEEK)
#define V CLOUD_BIT(CLOUD_GEMINI)
#define C CLOUD_BIT(CLOUD_COMPATIBLE)

struct member_case {
	const char *member;
	uint32_t kept, dropped, refused; /* clouds */
	const char *instead;             /* what stands there at the clouds that are in none of them; NULL: there are none */
};

static const struct member_case member_cases[] = {
	{"\"temperature\":0.70", EACH, 0, 0, NULL},
	{"\"top_p\":1e-1", EACH, 0, 0, NULL},
	{"\"stop\":[\"\\u0041\"]", EACH, 0, 0, NULL},
	{"\"stream\":true", EACH, 0, 0, NULL},
	{"\"response_format\":{ \"type\" : \"json_object\" }", EACH, 0, 0, NULL},
	{"\"tool_choice\":\"required\"", EACH, 0, 0, NULL},
	{"\"stream_options\":null", EACH & ~(M | V), M | V, 0, NULL},
	{"\"parallel_tool_calls\":false", EACH, 0, 0, NULL},
	{"\"max_completion_tokens\":5", O | G | C, 0, 0, "\"max_tokens\":5"},
	{"\"max_tokens\":5", M | R | T | D | V | C, 0, 0, "\"max_completion_tokens\":5"},
	{"\"stream_options\":{\"include_usage\":true}", EACH & ~M, M, 0, NULL},
	{"\"seed\":7", EACH & ~M, 0, 0, "\"random_seed\":7"},
	{"\"logprobs\":true", O | R | D | V | C, 0, M | G, "\"logprobs\":1"},
	{"\"logprobs\":false", EACH & ~(M | T | G), M | T | G, 0, NULL},
	{"\"top_logprobs\":3", O | R | D | V | C, M | T | G, 0, NULL},
	{"\"logit_bias\":{\"5\":-100}", O | R | T | C, M | G | D | V, 0, NULL},
	{"\"n\":2", EACH & ~(G | D), 0, G | D, NULL},
	{"\"n\":1", EACH, 0, 0, NULL},
	{"\"frequency_penalty\":0.5", EACH & ~V, V, 0, NULL},
	{"\"presence_penalty\":0.5", EACH & ~V, V, 0, NULL},
	{"\"store\":true", O | C, EACH & ~(O | C), 0, NULL},
	{"\"metadata\":{\"a\":\"b\"}", O | M | C, EACH & ~(O | M | C), 0, NULL},
	{"\"user\":\"u\"", O | R | G | C, M | T | D | V, 0, NULL},
	{"\"safety_identifier\":\"u\"", O | C, EACH & ~(O | C), 0, NULL},
	{"\"prompt_cache_key\":\"u\"", O | M | C, EACH & ~(O | M | C), 0, NULL},
	{"\"verbosity\":\"low\"", O | C, EACH & ~(O | C), 0, NULL},
	{"\"prediction\":{\"type\":\"content\",\"content\":\"x\"}", O | M | C, EACH & ~(O | M | C), 0, NULL},
	{"\"reasoning_effort\":\"low\"", EACH & ~D, D, 0, NULL},
	{"\"service_tier\":\"flex\"", EACH & ~V, V, 0, NULL},
	{"\"service_tier\":\"scale\"", EACH & ~(V | G), V | G, 0, NULL},
	{"\"top_k\":40", R | T | C, O | M | G | D | V, 0, NULL},
	{"\"min_p\":0.1", R | T | C, O | M | G | D | V, 0, NULL},
	{"\"repetition_penalty\":1.1", R | T | C, O | M | G | D | V, 0, NULL},
	{"\"reasoning\":{\"effort\":\"low\"}", R | C, EACH & ~(R | C), 0, NULL},
	{"\"random_seed\":7", EACH & ~V, V, 0, NULL},
	{"\"prompt_mode\":\"reasoning\"", EACH & ~V, V, 0, NULL},
	{"\"guardrails\":[]", EACH & ~V, V, 0, NULL},
	{"\"safe_prompt\":true", EACH & ~V, V, 0, NULL},
	{"\"extra_body\":{\"google\":{}}", EACH & ~(O | M | G), O | M | G, 0, NULL},
	{"\"functions\":[{\"name\":\"f\"}]", EACH & ~(M | V), 0, M | V, NULL},
	{"\"functions\":null", EACH & ~(M | V), M | V, 0, NULL},
	{"\"audio\":{\"voice\":\"x\"}", EACH & ~(M | V), 0, M | V, NULL},
	{"\"temperature\":null", EACH & ~(M | V), M | V, 0, NULL},
	{"\"not_yet_invented\":{\"x\":[1, 2]}", EACH & ~(M | V), M | V, 0, NULL},
	{"\"t\\u006fp_k\":40", R | T | C, O | M | G | D | V, 0, NULL}, /* the name as it reads, not as it is written */
};

/* Members of local engines, and OpenRouter's own. */
static const char *const engine_members[] = {
	"length_penalty", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens", "skip_special_tokens", "truncate_prompt_tokens",
	"prompt_logprobs", "echo", "add_generation_prompt", "continue_final_message", "chat_template", "chat_template_kwargs", "mm_processor_kwargs",
	"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "priority", "request_id", "session_id",
	"return_token_ids", "return_tokens_as_token_ids", "cache_salt", "cache_prompt", "id_slot", "n_predict", "grammar", "json_schema", "samplers",
	"timings_per_token", "return_progress", "sse_ping_interval", "lora", "n_probs", "post_sampling_probs", "response_fields", "regex", "ebnf",
	"separate_reasoning", "stream_reasoning", "rid", "lora_path", "return_hidden_states", "models", "route", "provider", "transforms", "plugins",
	"usage",
};

static void check_member(const struct member_case *c, enum cloud cloud)
{
	char body[256], want[256];
	uint32_t bit = CLOUD_BIT(cloud);
	snprintf(body, sizeof(body), "{\"model\":\"x\",%s}", c->member);
	bool made = make(cloud, OP_CHAT, body, (struct body_changes){0});
	if (made == ((c->refused & bit) != 0))
		fail_msg("%s: %s is %s", clouds[cloud].name, c->member, made ? "taken" : "refused");
	if (!made)
		return;
	const char *member = c->kept & bit ? c->member : c->dropped & bit ? NULL : c->instead;
	snprintf(want, sizeof(want), "{\"model\":\"m\"%s%s}", member ? "," : "", member ? member : "");
	expect_out(cloud, want);
}

static void test_members(void **state)
{
	for (size_t i = 0; i < COUNT(member_cases); i++)
		for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
			check_member(&member_cases[i], (enum cloud)c);
	for (size_t i = 0; i < COUNT(engine_members); i++) {
		char member[64];
		snprintf(member, sizeof(member), "\"%s\":{\"a\":1}", engine_members[i]);
		const struct member_case taken = {member, R | T | D | C, O | M | G | V, 0, NULL};
		for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
			check_member(&taken, (enum cloud)c);
	}
	static const struct member_case groq[] = {
		{"\"reasoning_format\":\"raw\"", EACH & ~(O | M | V), O | M | V, 0, NULL},
		{"\"include_reasoning\":true", EACH & ~(O | M | V), O | M | V, 0, NULL},
	};
	for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
		for (size_t i = 0; i < COUNT(groq); i++)
			check_member(&groq[i], (enum cloud)c);
}

/* OpenAI's models that reason refuse what steers sampling; the others take it. */
static void test_thinkers(void **state)
{
	static const char *const thinkers[] = {"o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5.1", "gpt-6-astra", "gpt-10"};
	static const char *const others[] = {"gpt-4o", "gpt-4.1-mini", "gpt-oss-120b", "omni", "gpt-", "o", "chatgpt-5"};
	const char *body = "{\"model\":\"x\",\"temperature\":0.5,\"top_p\":0.5,\"presence_penalty\":1,\"frequency_penalty\":1,\"logprobs\":true,"
			   "\"top_logprobs\":2,\"seed\":1}";
	for (size_t i = 0; i < COUNT(thinkers); i++) {
		assert_true(make(CLOUD_OPENAI, OP_CHAT, body, (struct body_changes){.model = str_from(thinkers[i])}));
		assert_true(str_ends(buf_str(&out), STR("\",\"seed\":1}")) && str_search(buf_str(&out), STR("top_")) == out.len);
	}
	for (size_t i = 0; i < COUNT(others); i++) {
		assert_true(make(CLOUD_OPENAI, OP_CHAT, body, (struct body_changes){.model = str_from(others[i])}));
		assert_true(str_ends(buf_str(&out), str_skip(str_from(body), 12)));
	}
	assert_true(make(CLOUD_OPENROUTER, OP_CHAT, body, (struct body_changes){.model = STR("o3")}));
	assert_true(str_ends(buf_str(&out), str_skip(str_from(body), 12)));
}

static void test_together_logprobs(void **state)
{
	expect(CLOUD_TOGETHER, "{\"model\":\"x\",\"logprobs\":true,\"top_logprobs\":3}", "{\"model\":\"m\",\"logprobs\":3}");
	expect(CLOUD_TOGETHER, "{\"model\":\"x\",\"logprobs\":5}", "{\"model\":\"m\",\"logprobs\":5}");
	expect(CLOUD_TOGETHER, "{\"model\":\"x\",\"logprobs\":null}", "{\"model\":\"m\"}");
}

/* ---- model, caps, usage ---- */

static void test_model(void **state)
{
	assert_true(make(CLOUD_OPENROUTER, OP_CHAT, "{ \"mod\\u0065l\" : \"x\" }", (struct body_changes){.model = STR("org/m\":free")}));
	expect_out(CLOUD_OPENROUTER, "{\"model\":\"org/m\\\":free\"}");
	static const char *const wrong[] = {"", "[]", "{}", "{\"model\":5}", "{\"model\":\"x\"", "{\"model\":\"x\"} x", "null"};
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_false(make(CLOUD_OPENROUTER, OP_CHAT, wrong[i], (struct body_changes){0}));
	assert_false(make(CLOUD_OPENAI, OP_TRANSCRIPTIONS, "{\"model\":\"x\"}", (struct body_changes){0})); /* a form */
}

static void expect_capped(enum cloud cloud, int64_t cap, const char *body, const char *want)
{
	assert_true(make(cloud, OP_CHAT, body, (struct body_changes){.cap = cap}));
	expect_out(cloud, want);
}

static void test_caps(void **state)
{
	expect_capped(CLOUD_MISTRAL, 9, "{\"model\":\"x\"}", "{\"model\":\"m\",\"max_tokens\":9}");
	expect_capped(CLOUD_OPENAI, 9, "{\"model\":\"x\"}", "{\"model\":\"m\",\"max_completion_tokens\":9}");
	expect_capped(CLOUD_MISTRAL, 9, "{\"max_completion_tokens\":10,\"model\":\"x\"}", "{\"max_tokens\":9,\"model\":\"m\"}");
	expect_capped(CLOUD_MISTRAL, 9, "{\"max_completion_tokens\":8,\"model\":\"x\"}", "{\"max_tokens\":8,\"model\":\"m\"}");
	expect_capped(CLOUD_MISTRAL, 9, "{\"model\":\"x\",\"max_tokens\":-1}", "{\"model\":\"m\",\"max_tokens\":9}");
	expect_capped(CLOUD_MISTRAL, 9, "{\"model\":\"x\",\"max_tokens\":null}", "{\"model\":\"m\",\"max_tokens\":9}");
	expect_capped(CLOUD_GROQ, 0, "{\"model\":\"x\",\"max_tokens\":null}", "{\"model\":\"m\"}");
	expect_capped(CLOUD_GROQ, 0, "{\"model\":\"x\"}", "{\"model\":\"m\"}");
	/* both: the newer name counts, and there is one of them */
	expect_capped(CLOUD_DEEPSEEK, 9, "{\"model\":\"x\",\"max_tokens\":3,\"max_completion_tokens\":4}", "{\"model\":\"m\",\"max_tokens\":4}");
	expect_capped(CLOUD_DEEPSEEK, 9, "{\"model\":\"x\",\"max_tokens\":3,\"max_completion_tokens\":null}", "{\"model\":\"m\",\"max_tokens\":3}");
	/* compatible: as the client calls them, each held to the cap */
	expect_capped(CLOUD_COMPATIBLE, 9, "{\"model\":\"x\",\"max_tokens\":3,\"max_completion_tokens\":40}",
		      "{\"model\":\"m\",\"max_tokens\":3,\"max_completion_tokens\":9}");
	expect_capped(CLOUD_COMPATIBLE, 9, "{\"model\":\"x\"}", "{\"model\":\"m\",\"max_tokens\":9}");
}

static void test_other_operations(void **state)
{
	static const struct {
		enum cloud cloud;
		enum operation op;
		const char *body, *want;
	} cases[] = {
		{CLOUD_OPENAI, OP_COMPLETIONS, "{\"model\":\"x\",\"prompt\":\"a\",\"logprobs\":5,\"top_k\":3}",
		 "{\"model\":\"m\",\"prompt\":\"a\",\"logprobs\":5,\"top_k\":3,\"max_tokens\":9}"},
		{CLOUD_OPENAI, OP_RESPONSES, "{\"model\":\"x\",\"max_output_tokens\":50,\"tools\":[]}",
		 "{\"model\":\"m\",\"max_output_tokens\":9,\"tools\":[]}"},
		{CLOUD_OPENROUTER, OP_MESSAGES, "{\"model\":\"x\",\"max_tokens\":50}", "{\"model\":\"m\",\"max_tokens\":9}"},
		{CLOUD_OPENAI, OP_EMBEDDINGS, "{\"model\":\"x\",\"input\":[1, 2],\"encoding_format\":\"base64\"}",
		 "{\"model\":\"m\",\"input\":[1, 2],\"encoding_format\":\"base64\"}"},
		{CLOUD_GEMINI, OP_EMBEDDINGS, "{\"model\":\"x\",\"input\":\"a\",\"dimensions\":64,\"encoding_format\":\"base64\"}",
		 "{\"model\":\"m\",\"input\":\"a\",\"dimensions\":64,\"encoding_format\":\"float\"}"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_true(make(cases[i].cloud, cases[i].op, cases[i].body, (struct body_changes){.cap = 9, .ask_usage = true}));
		expect_out(cases[i].cloud, cases[i].want);
	}
}

static void expect_asked(enum cloud cloud, const char *body, const char *want)
{
	assert_true(make(cloud, OP_CHAT, body, (struct body_changes){.ask_usage = true}));
	expect_out(cloud, want);
}

static void test_usage_is_asked_for(void **state)
{
	static const enum cloud asked[] = {CLOUD_OPENAI, CLOUD_TOGETHER, CLOUD_DEEPSEEK, CLOUD_GEMINI, CLOUD_COMPATIBLE};
	static const enum cloud unasked[] = {CLOUD_MISTRAL, CLOUD_OPENROUTER, CLOUD_GROQ};
	for (size_t i = 0; i < COUNT(asked); i++) {
		expect_asked(asked[i], "{\"model\":\"x\",\"stream\":true}",
			     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
		expect_asked(asked[i], "{\"stream_options\":{\"include_usage\":false, \"x\": 1},\"model\":\"x\",\"stream\":true}",
			     "{\"stream_options\":{\"x\":1,\"include_usage\":true},\"model\":\"m\",\"stream\":true}");
		expect_asked(asked[i], "{\"model\":\"x\",\"stream\":true,\"stream_options\":null}",
			     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
		expect_asked(asked[i], "{\"model\":\"x\",\"stream\":false}", "{\"model\":\"m\",\"stream\":false}");
	}
	for (size_t i = 0; i < COUNT(unasked); i++)
		expect_asked(unasked[i], "{\"model\":\"x\",\"stream\":true}", "{\"model\":\"m\",\"stream\":true}");
}

/* ---- messages ---- */

static void expect_message(uint32_t set, const char *message, const char *want)
{
	char body[2048], wanted[2048];
	snprintf(body, sizeof(body), "{\"model\":\"x\",\"messages\":[%s,{\"role\":\"user\",\"content\":\"u\"}]}", message);
	snprintf(wanted, sizeof(wanted), "{\"model\":\"m\",\"messages\":[%s,{\"role\":\"user\",\"content\":\"u\"}]}", want);
	for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
		if (set & CLOUD_BIT(c))
			expect((enum cloud)c, body, wanted);
}

static void test_messages(void **state)
{
	expect_message(M | T | D | C, "{\"role\":\"developer\",\"content\":\"x\"}", "{\"role\":\"system\",\"content\":\"x\"}");
	expect_message(O | R | G | V, "{\"role\":\"developer\",\"content\":\"x\"}", "{\"role\":\"developer\",\"content\":\"x\"}");
	expect_message(EACH & ~(R | C), "{\"role\":\"assistant\",\"content\":null}", "{\"role\":\"assistant\",\"content\":\"\"}");
	expect_message(R | C, "{\"role\":\"assistant\",\"content\":null}", "{\"role\":\"assistant\",\"content\":null}");
	expect_message(M, "{\"role\":\"user\",\"content\":\"x\",\"name\":null}", "{\"role\":\"user\",\"content\":\"x\"}");
	expect_message(EACH, "{\"role\":\"user\",\"content\":\"x\",\"name\":\"n\"}", "{\"role\":\"user\",\"content\":\"x\",\"name\":\"n\"}");
	/* what was thought, and other things that came with an answer, sent back */
	const char *thought = "{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"r\"}";
	expect_message(M | G | V | D, thought, "{\"role\":\"assistant\",\"content\":\"x\"}");
	expect_message(O | R | T | C, thought, thought);
	const char *details = "{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\": \"e\"}]}";
	expect_message(R, details, details);
	expect_message(M | G | V, "{\"role\":\"assistant\",\"content\":\"x\",\"refusal\":null,\"annotations\":[],\"audio\":null,\"function_call\":null}",
		       "{\"role\":\"assistant\",\"content\":\"x\"}");
	expect_message(M | G | V, "{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":null}", "{\"role\":\"assistant\",\"content\":\"x\"}");
	/* parts of any kind are nobody's business */
	const char *parts = "{\"role\":\"user\",\"content\":[{\"type\" : \"text\",\"text\":\"\\ud83d\"}, {\"type\":\"image_url\"}]}";
	expect_message(EACH, parts, parts);
	expect_message(EACH & ~C, "7", "7"); /* what is no message is not ours to judge */
}

/* Thoughts go back to DeepSeek with the calls of tools of its newer line alone. */
static void test_deepseek_thoughts(void **state)
{
	const char *body = "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"r\",\"tool_calls\":[{\"id\":\"a\"}]}],"
			   "\"model\":\"x\"}";
	assert_true(make(CLOUD_DEEPSEEK, OP_CHAT, body, (struct body_changes){.model = STR("deepseek-v4-pro")}));
	expect_out(CLOUD_DEEPSEEK, "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"r\",\"tool_calls\":[{\"id\":\"a\"}]}],"
				   "\"model\":\"deepseek-v4-pro\"}");
	assert_true(make(CLOUD_DEEPSEEK, OP_CHAT, body, (struct body_changes){.model = STR("deepseek-v3.2")}));
	expect_out(CLOUD_DEEPSEEK, "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\"}]}],\"model\":\"deepseek-v3.2\"}");
}

static struct str id_at(struct str from, const char *name)
{
	char key[32];
	snprintf(key, sizeof(key), "\"%s\":\"", name);
	from = str_skip(from, str_search(from, str_from(key)) + strlen(key));
	return str_head(from, str_find(from, '"'));
}

static void test_mistral_ids(void **state)
{
	const char *body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
			   "{\"index\":0,\"id\":\"call_abcdefghijkl\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"},"
			   "\"extra_content\":{\"google\":{}}}]},{\"role\":\"tool\",\"tool_call_id\":\"call_abcdefghijkl\",\"content\":\"1\"}]}";
	assert_true(make(CLOUD_MISTRAL, OP_CHAT, body, (struct body_changes){0}));
	struct str id = id_at(buf_str(&out), "id"), answer = id_at(buf_str(&out), "tool_call_id");
	assert_int_equal(id.len, 9);
	assert_true(str_eq(id, answer));
	for (size_t i = 0; i < id.len; i++)
		assert_non_null(strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", id.ptr[i]));
	assert_true(str_search(buf_str(&out), STR("\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]")) < out.len);
	assert_true(str_search(buf_str(&out), STR("extra_content")) == out.len);
	/* another id gives another one; its own stay */
	struct str first = arena_dup(&arena, id);
	expect_message(M, "{\"role\":\"tool\",\"tool_call_id\":\"Ab3456789\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"x\"}",
		       "{\"role\":\"tool\",\"tool_call_id\":\"Ab3456789\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"x\"}");
	assert_true(make(CLOUD_MISTRAL, OP_CHAT, "{\"model\":\"x\",\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"call_abcdefghijkm\"}]}",
			 (struct body_changes){0}));
	assert_false(str_eq(first, id_at(buf_str(&out), "tool_call_id")));
	/* elsewhere unknown members of a call stay: Gemini wants its signatures back */
	assert_true(make(CLOUD_GEMINI, OP_CHAT, body, (struct body_changes){0}));
	assert_true(str_search(buf_str(&out), STR("{\"index\":0,\"id\":\"call_abcdefghijkl\"")) < out.len);
	assert_true(str_search(buf_str(&out), STR("\"extra_content\":{\"google\":{}}")) < out.len);
}

static void test_mistral_order(void **state)
{
	/* an answer that was begun is gone on with */
	expect(CLOUD_MISTRAL, "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"Once\"}]}",
	       "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"Once\",\"prefix\":true}]}");
	expect(CLOUD_MISTRAL, "{\"model\":\"x\",\"messages\":[{\"role\":\"assistant\",\"content\":\"Once\",\"prefix\":true}]}",
	       "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"Once\",\"prefix\":true}]}");
	const char *broken = "{\"model\":\"x\",\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"123456789\",\"content\":\"1\"},"
			     "{\"role\":\"user\",\"content\":\"u\"}]}";
	assert_false(make(CLOUD_MISTRAL, OP_CHAT, broken, (struct body_changes){0}));
	assert_true(str_starts(buf_str(&why), STR("'mistral' cannot give")));
	assert_true(make(CLOUD_GROQ, OP_CHAT, broken, (struct body_changes){0}));
}

/* ---- tools ---- */

static void test_empty_tools(void **state)
{
	const char *body = "{\"model\":\"x\",\"tools\":[ ],\"tool_choice\":\"auto\",\"parallel_tool_calls\":true,\"stop\":\"x\"}";
	for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
		expect((enum cloud)c, body, CLOUD_BIT(c) & (R | T | C)
			       ? "{\"model\":\"m\",\"tools\":[ ],\"tool_choice\":\"auto\",\"parallel_tool_calls\":true,\"stop\":\"x\"}"
			       : "{\"model\":\"m\",\"stop\":\"x\"}");
}

#define TOOL(schema) "{\"model\":\"m\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":" schema ",\"strict\":true}}]}"

static void test_schemas(void **state)
{
	const char *schema = TOOL("{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"type\":\"object\",\"additionalProperties\":false,"
				  "\"properties\":{\"format\":{\"type\":\"string\",\"format\":\"uri\"},\"$schema\":{\"const\":5},"
				  "\"when\":{\"type\":\"string\",\"format\":\"date-time\"},\"list\":{\"items\":[{\"const\":{\"const\":1},\"enum\":[1,2]}]}},"
				  "\"anyOf\":[{\"$schema\":\"x\",\"required\":[\"format\"]},true],\"default\":{\"$schema\":1,\"format\":\"uri\"}}");
	const char *plain = TOOL("{\"type\":\"object\",\"additionalProperties\":false,"
				 "\"properties\":{\"format\":{\"type\":\"string\",\"format\":\"uri\"},\"$schema\":{\"const\":5},"
				 "\"when\":{\"type\":\"string\",\"format\":\"date-time\"},\"list\":{\"items\":[{\"const\":{\"const\":1},\"enum\":[1,2]}]}},"
				 "\"anyOf\":[{\"required\":[\"format\"]},true],\"default\":{\"$schema\":1,\"format\":\"uri\"}}");
	const char *gemini = TOOL("{\"type\":\"object\","
				  "\"properties\":{\"format\":{\"type\":\"string\"},\"$schema\":{\"enum\":[5]},"
				  "\"when\":{\"type\":\"string\",\"format\":\"date-time\"},\"list\":{\"items\":[{\"enum\":[{\"const\":1}]}]}},"
				  "\"anyOf\":[{\"required\":[\"format\"]},true],\"default\":{\"$schema\":1,\"format\":\"uri\"}}");
	for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
		expect((enum cloud)c, schema, c == CLOUD_GEMINI ? gemini : plain);
	/* without anything to leave out: as it came */
	const char *spaced = TOOL("{ \"type\" : \"object\" }");
	expect(CLOUD_OPENAI, spaced, spaced);
	static const char *const odd[] = {TOOL("true"), TOOL("[1]"), TOOL("null"), TOOL("{\"properties\":7,\"items\":5,\"anyOf\":{},\"$defs\":[]}")};
	for (size_t i = 0; i < COUNT(odd); i++)
		expect(CLOUD_GEMINI, odd[i], odd[i]);
	expect(CLOUD_GEMINI, "{\"model\":\"m\",\"tools\":7}", "{\"model\":\"m\",\"tools\":7}");
	expect(CLOUD_GEMINI, "{\"model\":\"m\",\"tools\":[7,{\"function\":8}]}", "{\"model\":\"m\",\"tools\":[7,{\"function\":8}]}");
}

static void test_too_large(void **state)
{
	struct buf small;
	buf_init(&small, 20);
	struct body_changes changes = {.model = STR("m")};
	assert_false(cloud_body(CLOUD_GROQ, &operations[OP_CHAT], STR("{\"model\":\"x\",\"stop\":\"0123456789\"}"), &changes, &arena, &small, &why));
	assert_true(why.len > 0);
	buf_release(&small);
}

/* ---- events ---- */

static bool tell(enum cloud cloud, struct cloud_stream *state, const char *event)
{
	struct str copy = copy_of(event);
	buf_clear(&out);
	bool changed = cloud_event(cloud, state, copy, &arena, &out);
	assert_true(changed == (out.len > 0));
	free((char *)copy.ptr);
	return changed;
}

static void expect_passes(enum cloud cloud, const char *event)
{
	struct cloud_stream state = {0};
	if (tell(cloud, &state, event))
		fail_msg("%s: %s became %.*s", clouds[cloud].name, event, STR_ARG(buf_str(&out)));
}

static void expect_event(enum cloud cloud, const char *event, const char *want)
{
	struct cloud_stream state = {0};
	if (!tell(cloud, &state, event))
		fail_msg("%s lets pass: %s", clouds[cloud].name, event);
	expect_out(cloud, want);
}

static void test_events_pass(void **state)
{
	static const char *const events[] = {
		": OPENROUTER PROCESSING\n\n",
		": keep-alive\n\n",
		"data: [DONE]\n\n",
		"data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi \\\"error\\\" \\\"eos\\\"\"},\"finish_reason\":null}]}\n\n",
		"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3}}\n\n",
		"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"arguments\":\"\"}}]}}]}\n\n",
		"data: {\"error\":null,\"choices\":[]}\n\n",
		"data: {\"choices\":[{\"error\":null,\"delta\":{\"content\":\"eos\"}}]}\n\n",
		"data: not JSON \"error\" \"eos\" \"tool_calls\"\n\n",
		"data: {\"choices\":7,\"error\":false,\"tool_calls\":\"eos\"}\n\n",
		"data: [\"error\"]\n\n",
		"data: \"error\"\n\n",
		"",
	};
	for (int c = CLOUD_NONE; c < CLOUD_COUNT; c++)
		for (size_t i = 0; i < COUNT(events); i++)
			expect_passes((enum cloud)c, events[i]);
	expect_passes(CLOUD_OPENAI, "data: {\"choices\":[{\"finish_reason\":\"eos\"}]}\n\n"); /* not its word: not ours to change */
	expect_passes(CLOUD_GROQ, "data: {\"x_groq\":{\"id\":\"r\",\"usage\":{\"prompt_tokens\":1}},\"choices\":[]}\n\n");
}

static void test_finish_reasons(void **state)
{
	expect_event(CLOUD_TOGETHER, "data: {\"choices\":[{\"index\":0,\"delta\":{ },\"seed\":5,\"finish_reason\":\"eos\"}]}\n\n",
		     "data: {\"choices\":[{\"index\":0,\"delta\":{ },\"seed\":5,\"finish_reason\":\"stop\"}]}\n\n");
	expect_event(CLOUD_TOGETHER, "data:{\"choices\":[{\"finish_reason\" : \"eos\"},{\"finish_reason\":\"length\"}]}\r\n\r\n",
		     "data: {\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":\"length\"}]}\n\n");
	expect_event(CLOUD_MISTRAL, "data: {\"choices\":[{\"finish_reason\":\"model_length\"}],\"usage\":{\"prompt_tokens\":1}}\n\n",
		     "data: {\"choices\":[{\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":1}}\n\n");
}

static void test_mistral_thoughts(void **state)
{
	expect_event(CLOUD_MISTRAL,
		     "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":["
		     "{\"type\":\"text\",\"text\":\"a\\n\"},{\"type\":\"text\",\"text\":\"b\"}]}]}}]}\n\n",
		     "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"a\\nb\"}}]}\n\n");
	expect_event(CLOUD_MISTRAL, "data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\"}]}}]}\n\n",
		     "data: {\"choices\":[{\"delta\":{\"content\":\"xy\"}}]}\n\n");
	buf_clear(&out);
	assert_true(cloud_whole(CLOUD_MISTRAL,
				STR("{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\","
				    "\"text\":\"why\"}]},{\"type\":\"text\",\"text\":\"because\"}]},\"finish_reason\":\"stop\"}]}"),
				&out));
	expect_out(CLOUD_MISTRAL, "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"reasoning_content\":\"why\",\"content\":\"because\"},"
				  "\"finish_reason\":\"stop\"}]}");
}

static void test_gemini_calls(void **state)
{
	struct cloud_stream s = {0};
	assert_true(tell(CLOUD_GEMINI, &s, "data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":"
					   "\"function\",\"extra_content\":{\"google\":{\"thought_signature\":\"s\"}},\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n"));
	expect_out(CLOUD_GEMINI, "data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":"
				 "\"function\",\"extra_content\":{\"google\":{\"thought_signature\":\"s\"}},\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n");
	assert_true(tell(CLOUD_GEMINI, &s, "data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"id\":\"\",\"type\":\"function\"},"
					   "{\"id\":\"\",\"type\":\"function\"}]},\"finish_reason\":\"stop\"}]}\n\n"));
	assert_true(str_search(buf_str(&out), STR("[{\"index\":1,\"id\":\"call_")) < out.len);
	assert_true(str_search(buf_str(&out), STR(",{\"index\":2,\"id\":\"call_")) < out.len);
	assert_true(str_search(buf_str(&out), STR("\"finish_reason\":\"tool_calls\"")) < out.len);
	struct str first = str_skip(buf_str(&out), str_search(buf_str(&out), STR("call_"))), second = str_skip(first, 5);
	second = str_skip(second, str_search(second, STR("call_")));
	assert_false(str_eq(str_head(first, 21), str_head(second, 21))); /* two calls, two ids */
	/* the end may come later, and in another choice nothing was called */
	assert_true(tell(CLOUD_GEMINI, &s, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"));
	expect_out(CLOUD_GEMINI, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n");
	assert_false(tell(CLOUD_GEMINI, &s, "data: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"));
	assert_false(tell(CLOUD_GEMINI, &s, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"));
	/* an index that is told counts */
	s = (struct cloud_stream){0};
	assert_false(tell(CLOUD_GEMINI, &s, "data: {\"choices\":[{\"index\":99,\"delta\":{\"tool_calls\":[{\"index\":4,\"id\":\"a\"}]}}]}\n\n"));
	assert_true(tell(CLOUD_GEMINI, &s, "data: {\"choices\":[{\"index\":99,\"delta\":{\"tool_calls\":[{\"index\":null,\"id\":\"a\"}]}}]}\n\n"));
	expect_out(CLOUD_GEMINI, "data: {\"choices\":[{\"index\":99,\"delta\":{\"tool_calls\":[{\"index\":5,\"id\":\"a\"}]}}]}\n\n");
}

static void expect_error(enum cloud cloud, const char *event, enum error error, const char *want)
{
	struct cloud_stream s = {0};
	struct usage usage = {0};
	if (!tell(cloud, &s, event))
		fail_msg("%s: no error in %s", clouds[cloud].name, event);
	assert_int_equal(s.failure.error, error);
	expect_out(cloud, want);
	assert_true(tap_event(buf_str(&out), &usage) & TAP_ERROR);
}

static void test_errors_in_streams(void **state)
{
	expect_error(CLOUD_OPENROUTER,
		     "data: {\"id\":\"gen-1\",\"object\":\"chat.completion.chunk\",\"error\":{\"code\":502,\"message\":\"Provider disconnected\"},"
		     "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
		     ERROR_UPSTREAM_ERROR,
		     "data: {\"error\":{\"message\":\"Provider disconnected\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n");
	expect_error(CLOUD_OPENROUTER, "data: {\"choices\":[{\"error\":{\"code\":429,\"message\":\"slow\"},\"finish_reason\":\"error\"}]}\n\n",
		     ERROR_RATE_LIMIT_EXCEEDED,
		     "data: {\"error\":{\"message\":\"slow\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}\n\n");
	expect_error(CLOUD_OPENROUTER, "data: {\"error\":{\"code\":401,\"message\":\"key sk-1 is wrong\"}}\n\n", ERROR_UPSTREAM_AUTH,
		     "data: {\"error\":{\"message\":\"the cloud broke off its answer\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_auth\"}}\n\n");
	const char *broken =
		"data: {\"error\":{\"message\":\"the cloud broke off its answer\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n";
	expect_error(CLOUD_MISTRAL, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n", ERROR_UPSTREAM_ERROR, broken);
	expect_error(CLOUD_MISTRAL, "data: {\"object\":\"error\",\"message\":\"Service unavailable.\",\"type\":\"invalid_request_error\",\"param\":null,"
		     "\"code\":null}\n\n",
		     ERROR_UPSTREAM_ERROR,
		     "data: {\"error\":{\"message\":\"Service unavailable.\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n");
	expect_error(CLOUD_DEEPSEEK, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"insufficient_system_resource\"}]}\n\n", ERROR_UPSTREAM_ERROR,
		     broken);
	expect_error(CLOUD_GROQ, "data: {\"x_groq\":{\"id\":\"r\",\"error\":\"over capacity\"},\"choices\":[]}\n\n", ERROR_UPSTREAM_ERROR,
		     "data: {\"error\":{\"message\":\"over capacity\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n");
	expect_error(CLOUD_GEMINI, "data: [{\"error\":{\"code\":503,\"message\":\"overloaded\",\"status\":\"UNAVAILABLE\"}}]\n\n", ERROR_OVERLOADED,
		     "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"param\":null,\"code\":\"server_is_overloaded\"}}\n\n");
	expect_error(CLOUD_COMPATIBLE, "data: {\"error\":\"gone\"}\n\n", ERROR_UPSTREAM_ERROR,
		     "data: {\"error\":{\"message\":\"gone\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n");
}

/* ---- whole answers ---- */

static void expect_whole(enum cloud cloud, const char *body, const char *want)
{
	struct str copy = copy_of(body);
	buf_clear(&out);
	bool changed = cloud_whole(cloud, copy, &out);
	free((char *)copy.ptr);
	if (changed != (want != NULL))
		fail_msg("%s: %s %s", clouds[cloud].name, body, changed ? "was changed" : "passes");
	if (want)
		expect_out(cloud, want);
}

static void test_whole(void **state)
{
	expect_whole(CLOUD_TOGETHER, "{\"choices\":[{\"message\":{ \"content\":\"x\" },\"finish_reason\":\"eos\"}],\"warnings\":[ ]}",
		     "{\"choices\":[{\"message\":{ \"content\":\"x\" },\"finish_reason\":\"stop\"}],\"warnings\":[ ]}");
	expect_whole(CLOUD_MISTRAL, "{\"choices\":[{\"finish_reason\":\"model_length\"}]}", "{\"choices\":[{\"finish_reason\":\"length\"}]}");
	expect_whole(CLOUD_GEMINI, "{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"tool_calls\":[{\"id\":\"a\"}]}},{\"index\":1,\"finish_reason\":\"stop\"}]}",
		     "{\"choices\":[{\"finish_reason\":\"tool_calls\",\"message\":{\"tool_calls\":[{\"id\":\"a\"}]}},{\"index\":1,\"finish_reason\":\"stop\"}]}");
	expect_whole(CLOUD_GEMINI, "{\"choices\":[{\"finish_reason\":\"tool_calls\",\"message\":{\"tool_calls\":[{\"id\":\"a\"}]}}]}", NULL);
	expect_whole(CLOUD_DEEPSEEK, "\n\n\n{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}", NULL);
	/* errors with status 200: left where tap_whole() finds them, and brought there */
	expect_whole(CLOUD_OPENROUTER, "{\"error\":{\"code\":402,\"message\":\"x\"}}", NULL);
	expect_whole(CLOUD_OPENROUTER, "{\"choices\":[{\"error\":{\"code\":502,\"message\":\"x\"},\"finish_reason\":\"error\"}]}",
		     "{\"error\":{\"code\":502,\"message\":\"x\"}}");
	expect_whole(CLOUD_MISTRAL, "{\"choices\":[{\"finish_reason\":\"error\"}]}", "{\"error\":{\"code\":502,\"message\":\"the cloud broke off its answer\"}}");
	expect_whole(CLOUD_DEEPSEEK, "{\"choices\":[{\"finish_reason\":\"insufficient_system_resource\"}]}",
		     "{\"error\":{\"code\":502,\"message\":\"the cloud broke off its answer\"}}");
	expect_whole(CLOUD_MISTRAL, "{\"object\":\"error\",\"message\":{\"detail\":[{\"msg\":\"no\"}]}}",
		     "{\"error\":{\"object\":\"error\",\"message\":{\"detail\":[{\"msg\":\"no\"}]}}}");
	expect_whole(CLOUD_TOGETHER, "{\"object\":\"error\",\"message\":\"x\"}", NULL);
	expect_whole(CLOUD_GEMINI, "[{\"error\":{\"code\":503,\"message\":\"x\"}}]", "{\"error\":{\"code\":503,\"message\":\"x\"}}");
	for (int c = CLOUD_NONE; c < CLOUD_COUNT; c++) {
		expect_whole((enum cloud)c, "{\"choices\":[{\"message\":{\"content\":\"\\\"error\\\"\"},\"finish_reason\":\"stop\"}]}", NULL);
		expect_whole((enum cloud)c, "{\"choices\":[{\"finish_reason\":\"eos\",\"error\":", NULL);
		expect_whole((enum cloud)c, "", NULL);
	}
}

/* ---- errors ---- */

static void test_failures(void **state)
{
	struct failure f;
	cloud_failure(CLOUD_GROQ, 413, STR("{\"error\":{\"message\":\"Request too large\"}}"), &arena, &f);
	assert_int_equal(f.error, ERROR_CONTEXT_LENGTH_EXCEEDED);
	assert_int_equal(f.status, 400);
	assert_true(str_eq(f.message, STR("Request too large")));
	cloud_failure(CLOUD_OPENAI, 413, STR("{\"error\":{\"message\":\"Request too large\"}}"), &arena, &f);
	assert_int_equal(f.error, ERROR_UPSTREAM_REFUSED_REQUEST);
}

/* ---- the walk ---- */

static void test_walk(void **state)
{
	struct str object = STR("{ \"a\" : [1, {\"b\":\"]}\\\\\"}] ,\"\\u0061b\":\"x\\\"y\" , \"n\":null,\"e\":{ } }");
	assert_true(str_eq(walk_get(object, STR("a")), STR("[1, {\"b\":\"]}\\\\\"}]")));
	assert_true(str_eq(walk_get(object, STR("ab")), STR("\"x\\\"y\"")));
	assert_true(str_eq(walk_text(&arena, walk_get(object, STR("ab"))), STR("x\"y")));
	assert_true(walk_null(walk_get(object, STR("n"))) && walk_null(STR_NONE));
	assert_true(walk_empty(walk_get(object, STR("e"))));
	assert_false(walk_empty(object));
	assert_null(walk_get(object, STR("c")).ptr);
	assert_null(walk_get(STR("[1]"), STR("c")).ptr);
	assert_null(walk_get(STR("\"c\""), STR("c")).ptr);
	assert_true(str_eq(walk_get(STR("{\"a\":1,\"a\":2}"), STR("a")), STR("2"))); /* the last one */
	struct walk w = walk_into(STR("[\"a\",-1.5e3 ,true,[[]]]"));
	static const char *const want[] = {"\"a\"", "-1.5e3", "true", "[[]]"};
	struct str value;
	for (size_t i = 0; i < COUNT(want); i++)
		assert_true(walk_element(&w, &value) && str_eq(value, str_from(want[i])));
	assert_false(walk_element(&w, &value));
}

#define Q(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		Q(test_table),          Q(test_members),         Q(test_thinkers),       Q(test_together_logprobs), Q(test_model),
		Q(test_caps),           Q(test_other_operations), Q(test_usage_is_asked_for), Q(test_messages),     Q(test_deepseek_thoughts),
		Q(test_mistral_ids),    Q(test_mistral_order),   Q(test_empty_tools),    Q(test_schemas),           Q(test_too_large),
		Q(test_events_pass),    Q(test_finish_reasons),  Q(test_mistral_thoughts), Q(test_gemini_calls),    Q(test_errors_in_streams),
		Q(test_whole),          Q(test_failures),        Q(test_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
