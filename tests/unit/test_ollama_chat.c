/* test_ollama_chat.c - a chat through Ollama's own API: every member of the request, every form of the answer, at any split.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/ollama_chat.h"

#include "base/json.h"
#include "dialect/tap.h"
#include "dialect/walk.h"
#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "text_fixture.h"
#include "words_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Exactly as long as it is, so that a sanitizer sees every byte too far. */
static struct str copy_of(struct str text)
{
	char *copy = mem_alloc(text.len ? text.len : 1);
	memcpy(copy, text.ptr, text.len);
	return str_of(copy, text.len);
}

/* ---- requests ---- */

static bool make(const char *body, int64_t num_ctx, int64_t cap)
{
	struct str copy = copy_of(str_from(body));
	struct body_changes changes = {.model = STR("m:latest"), .ask_usage = true, .cap = cap};
	buf_clear(&out);
	buf_clear(&why);
	bool made = ollama_chat_body(copy, &changes, num_ctx, &arena, &out, &why);
	free((char *)copy.ptr);
	if (made && !json_scan(buf_str(&out), NULL, 0, NULL, NULL))
		fail_msg("not JSON: %.*s", STR_ARG(buf_str(&out)));
	assert_true(made == (why.len == 0));
	return made;
}

static void must_make(const char *body, int64_t num_ctx, int64_t cap)
{
	if (!make(body, num_ctx, cap))
		fail_msg("refuses %s: %.*s", body, STR_ARG(buf_str(&why)));
}

static void test_request(void **state)
{
	must_make("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\\"you\\\"\"}]}", 8192, 0);
	assert_str(buf_str(&out), "{\"model\":\"m:latest\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\\"you\\\"\"}],\"stream\":false,"
				  "\"truncate\":false,\"shift\":false,\"options\":{\"temperature\":1.0,\"top_p\":1.0,\"num_ctx\":8192}}");
	must_make("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":true}", 0, 0);
	assert_str(buf_str(&out), "{\"model\":\"m:latest\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":true,"
				  "\"truncate\":false,\"shift\":false,\"options\":{\"temperature\":1.0,\"top_p\":1.0}}");
}

/* The member `name` of what was made, or of its options. */
static struct str made_member(const char *name)
{
	struct str options = walk_get(buf_str(&out), STR("options")), value = walk_get(buf_str(&out), str_from(name));
	return value.ptr ? value : walk_get(options, str_from(name));
}

struct member_case {
	const char *member;      /* of the client's body */
	const char *name, *want; /* what it becomes; NULL: nothing stands there */
};

static const struct member_case member_cases[] = {
	{"\"temperature\":0.70", "temperature", "0.70"},
	{"\"temperature\":0", "temperature", "0"},
	{"\"temperature\":null", "temperature", "1.0"},
	{"\"top_p\":1e-1", "top_p", "1e-1"},
	{"\"seed\":7", "seed", "7"},
	{"\"seed\":null", "seed", NULL},
	{"\"stop\":\"\\n\"", "stop", "[\"\\n\"]"},
	{"\"stop\":[\"a\", \"b\"]", "stop", "[\"a\", \"b\"]"},
	{"\"stop\":null", "stop", NULL},
	{"\"presence_penalty\":0.5", "presence_penalty", "0.5"},
	{"\"frequency_penalty\":-2", "frequency_penalty", "-2"},
	{"\"max_tokens\":50", "num_predict", "50"},
	{"\"max_completion_tokens\":60", "num_predict", "60"},
	{"\"max_tokens\":50,\"max_completion_tokens\":60", "num_predict", "50"},
	{"\"max_tokens\":null,\"max_completion_tokens\":60", "num_predict", "60"},
	{"\"max_tokens\":-1", "num_predict", "-1"},
	{"\"stream\":true", "stream", "true"},
	{"\"stream\":null", "stream", "false"},
	{"\"reasoning_effort\":\"none\"", "think", "false"},
	{"\"reasoning_effort\":\"minimal\"", "think", "\"low\""},
	{"\"reasoning_effort\":\"low\"", "think", "\"low\""},
	{"\"reasoning_effort\":\"medium\"", "think", "\"medium\""},
	{"\"reasoning_effort\":\"high\"", "think", "\"high\""},
	{"\"reasoning_effort\":\"xhigh\"", "think", "\"max\""},
	{"\"reasoning_effort\":\"max\"", "think", "\"max\""},
	{"\"reasoning_effort\":null", "think", NULL},
	{"\"reasoning\":{\"effort\":\"high\"},\"reasoning_effort\":\"low\"", "think", "\"high\""},
	{"\"reasoning\":{\"effort\":null},\"reasoning_effort\":\"low\"", "think", "\"low\""},
	{"\"reasoning\":{}", "think", NULL},
	{"\"response_format\":{\"type\":\"json_object\"}", "format", "\"json\""},
	{"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"object\"}}}", "format", "{\"type\":\"object\"}"},
	{"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\"}}", "format", NULL},
	{"\"response_format\":{\"type\":\"text\"}", "format", NULL},
	{"\"response_format\":null", "format", NULL},
	{"\"logprobs\":true", "logprobs", "true"},
	{"\"top_logprobs\":3", "top_logprobs", "3"},
	{"\"logprobs\":null", "logprobs", NULL},
	{"\"tools\":[ {\"type\":\"function\",\"function\":{\"name\":\"f\" }} ]", "tools", "[ {\"type\":\"function\",\"function\":{\"name\":\"f\" }} ]"},
	{"\"tools\":[]", "tools", NULL},
	{"\"tools\":null", "tools", NULL},
	/* what /v1 ignores as well */
	{"\"n\":2", "n", NULL},
	{"\"tool_choice\":\"required\"", "tool_choice", NULL},
	{"\"parallel_tool_calls\":false", "parallel_tool_calls", NULL},
	{"\"logit_bias\":{\"1\":2}", "logit_bias", NULL},
	{"\"user\":\"u\"", "user", NULL},
	{"\"metadata\":{}", "metadata", NULL},
	{"\"keep_alive\":0", "keep_alive", NULL},
	{"\"options\":{\"num_ctx\":1}", "num_ctx", "16384"},
	{"\"truncate\":true", "truncate", "false"},
	{"\"shift\":true", "shift", "false"},
	{"\"stream_options\":{\"include_usage\":true}", "stream_options", NULL},
};

static void test_members(void **state)
{
	for (size_t i = 0; i < COUNT(member_cases); i++) {
		char body[512];
		const struct member_case *c = &member_cases[i];
		snprintf(body, sizeof(body), "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],%s}", c->member);
		must_make(body, 16384, 0);
		struct str got = made_member(c->name);
		if (c->want ? !str_eq(got, str_from(c->want)) : got.ptr != NULL)
			fail_msg("%s gives %s %.*s, expected %s", c->member, c->name, STR_ARG(got), c->want ? c->want : "nothing");
	}
}

static void test_cap(void **state)
{
	static const struct {
		const char *member;
		int64_t cap;
		const char *want;
	} cases[] = {
		{"\"a\":1", 30, "30"}, {"\"max_tokens\":20", 30, "20"}, {"\"max_tokens\":40", 30, "30"}, {"\"max_completion_tokens\":40", 30, "30"},
		{"\"max_tokens\":-1", 30, "30"}, {"\"max_tokens\":0", 30, "30"}, {"\"max_tokens\":0", 0, "0"}, {"\"max_tokens\":null", 30, "30"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char body[256];
		snprintf(body, sizeof(body), "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],%s}", cases[i].member);
		must_make(body, 0, cases[i].cap);
		assert_str(made_member("num_predict"), cases[i].want);
	}
}

struct message_case {
	const char *messages, *want;
};

#define CALL(id, name, arguments) "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"arguments\":" arguments "}}"

static const struct message_case message_cases[] = {
	{"{\"role\":\"developer\",\"content\":\"be brief\"},{\"role\":\"system\",\"content\":\"s\"}",
	 "{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"system\",\"content\":\"s\"}"},
	{"{\"content\":\"a\",\"role\":\"user\",\"name\":\"eve\"}", "{\"role\":\"user\",\"content\":\"a\"}"},
	{"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\\\"\"}]}",
	 "{\"role\":\"user\",\"content\":\"a\\nb\\\"\"}"},
	{"{\"role\":\"user\",\"content\":[]}", "{\"role\":\"user\",\"content\":\"\"}"},
	{"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"see\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBO\\/w0=\"}},"
	 "{\"type\":\"image_url\",\"image_url\":\"data:;base64,AAAA\"}]}",
	 "{\"role\":\"user\",\"content\":\"see\",\"images\":[\"iVBO\\/w0=\",\"AAAA\"]}"},
	{"{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"hm\",\"tool_calls\":[" CALL("c1", "f", "\"{\\\"a\\\":\\\"\\\\u00e9\\\"}\"") "," CALL("c2", "g", "\"\"")
	 "]},{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":\"two\"},{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":[{\"type\":\"text\",\"text\":\"one\"}]}",
	 "{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\",\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"index\":0,\"name\":\"f\",\"arguments\":{\"a\":\"\\u00e9\"}}},"
	 "{\"id\":\"c2\",\"function\":{\"index\":1,\"name\":\"g\",\"arguments\":{}}}]},{\"role\":\"tool\",\"content\":\"two\",\"tool_name\":\"g\",\"tool_call_id\":\"c2\"},"
	 "{\"role\":\"tool\",\"content\":\"one\",\"tool_name\":\"f\",\"tool_call_id\":\"c1\"}"},
	{"{\"role\":\"assistant\",\"tool_calls\":[" CALL("c", "f", "{\"a\":1}") "]}",
	 "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"index\":0,\"name\":\"f\",\"arguments\":{\"a\":1}}}]}"},
	/* the same id again: the latest call counts */
	{"{\"role\":\"assistant\",\"tool_calls\":[" CALL("c", "f", "\"{}\"") "]},{\"role\":\"assistant\",\"tool_calls\":[" CALL("c", "g", "\"{}\"")
	 "]},{\"role\":\"tool\",\"tool_call_id\":\"\\u0063\",\"content\":\"\"}",
	 "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"index\":0,\"name\":\"f\",\"arguments\":{}}}]},"
	 "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"index\":0,\"name\":\"g\",\"arguments\":{}}}]},"
	 "{\"role\":\"tool\",\"content\":\"\",\"tool_name\":\"g\",\"tool_call_id\":\"\\u0063\"}"},
	{"{\"role\":\"tool\",\"tool_call_id\":\"unknown\",\"content\":\"r\"}", "{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"unknown\"}"},
	{"{\"role\":\"tool\",\"name\":\"f\",\"content\":\"r\"}", "{\"role\":\"tool\",\"content\":\"r\",\"tool_name\":\"f\"}"},
	{"{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[]}", "{\"role\":\"assistant\",\"content\":\"a\"}"},
};

static void test_messages(void **state)
{
	for (size_t i = 0; i < COUNT(message_cases); i++) {
		char body[2048];
		snprintf(body, sizeof(body), "{\"messages\":[%s]}", message_cases[i].messages);
		must_make(body, 0, 0);
		struct str got = walk_get(buf_str(&out), STR("messages"));
		assert_str(str_of(got.ptr + 1, got.len - 2), message_cases[i].want);
	}
}

/* More calls than are remembered: the results of the latest still find their names. */
static void test_many_calls(void **state)
{
	struct buf body;
	buf_init(&body, 1 << 20);
	BUF_ADD(&body, "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[");
	for (int i = 0; i < 300; i++)
		buf_addf(&body, "%s{\"id\":\"c%d\",\"function\":{\"name\":\"f%d\",\"arguments\":\"{}\"}}", i ? "," : "", i, i);
	BUF_ADD(&body, "]},{\"role\":\"tool\",\"tool_call_id\":\"c299\",\"content\":\"x\"},{\"role\":\"tool\",\"tool_call_id\":\"c44\",\"content\":\"x\"},"
		       "{\"role\":\"tool\",\"tool_call_id\":\"c43\",\"content\":\"x\"}]}");
	buf_addc(&body, '\0');
	must_make(body.ptr, 0, 0);
	assert_true(str_search(buf_str(&out), STR("\"tool_name\":\"f299\"")) < out.len);
	assert_true(str_search(buf_str(&out), STR("\"tool_name\":\"f44\"")) < out.len);
	assert_int_equal(str_search(buf_str(&out), STR("\"tool_name\":\"f43\"")), out.len);
	buf_release(&body);
}

static const char *const refusals[] = {
	"[]", "{", "{\"messages\":[]}", "{\"messages\":{}}", "{}", "{\"messages\":[1]}", "{\"messages\":[{\"content\":\"x\"}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":1}]}", "{\"messages\":[{\"role\":\"user\",\"content\":{}}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.org/a.png\"}}]}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:application/pdf;base64,AA\"}}]}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA\",\"format\":\"wav\"}}]}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":\"f\"}}]}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}]}",
	"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]}]}",
	"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[" CALL("c", "f", "\"[1]\"") "]}]}",
	"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[" CALL("c", "f", "\"{\"") "]}]}",
	"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[" CALL("c", "f", "12") "]}]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":\"hot\"}",
	"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_p\":[]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"seed\":1.5}",
	"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":[1]}",
	"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":{}}",
	"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"huge\"}",
};

static void test_refusals(void **state)
{
	for (size_t i = 0; i < COUNT(refusals); i++)
		if (make(refusals[i], 4096, 0))
			fail_msg("takes %s as %.*s", refusals[i], STR_ARG(buf_str(&out)));
}

static void test_ceiling(void **state)
{
	struct buf tight;
	struct body_changes changes = {.model = STR("m")};
	buf_init(&tight, 100);
	buf_clear(&why);
	assert_false(ollama_chat_body(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"), &changes, 0, &arena, &tight, &why));
	assert_true(why.len > 0);
	buf_release(&tight);
}

/* ---- whole answers ---- */

static const struct ollama_chat_about about = {.id = STR_INIT("chatcmpl-7"), .model = STR_INIT("my \"model\""), .created = 1767225600, .usage = true};

#define HEAD(object) "{\"id\":\"chatcmpl-7\",\"object\":\"" object "\",\"created\":1767225600,\"model\":\"my \\\"model\\\"\",\"system_fingerprint\":\"fp_ollama\",\"choices\":["
#define WHOLE HEAD("chat.completion") "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
#define CHUNK "data: " HEAD("chat.completion.chunk")
#define NONE  "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}"

struct whole_case {
	const char *answer, *want; /* want NULL: it is no answer */
};

static const struct whole_case whole_cases[] = {
	{"{\"model\":\"m\",\"created_at\":\"2026-01-02T03:04:05.6Z\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\\n\"},\"done\":true,\"done_reason\":\"stop\","
	 "\"total_duration\":5,\"prompt_eval_count\":11,\"eval_count\":2}",
	 WHOLE "\"Hi\\n\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":2,\"total_tokens\":13}}"},
	{"{\"message\":{\"content\":\"x\",\"thinking\":\"hm\"},\"done\":true,\"done_reason\":\"length\",\"prompt_eval_count\":11,\"prompt_eval_cached_count\":7,\"eval_count\":2}",
	 WHOLE "\"x\",\"reasoning\":\"hm\"},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":2,\"total_tokens\":13,"
	       "\"prompt_tokens_details\":{\"cached_tokens\":7}}}"},
	{"{\"message\":{\"content\":\"\",\"tool_calls\":[{\"id\":\"call_a\",\"function\":{\"index\":0,\"name\":\"f\",\"arguments\":{\"a\":\"\\\"q\\\"\"}}}]},\"done\":true,\"done_reason\":\"stop\"}",
	 WHOLE "null,\"tool_calls\":[{\"id\":\"call_a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"\\\\\\\"q\\\\\\\"\\\"}\"}}]},"
	       "\"finish_reason\":\"tool_calls\"}]," NONE},
	{"{\"message\":{\"content\":\"x\"},\"logprobs\":[{\"token\":\"x\",\"logprob\":-1}],\"done\":true,\"done_reason\":\"load\"}",
	 WHOLE "\"x\"},\"logprobs\":{\"content\":[{\"token\":\"x\",\"logprob\":-1}]},\"finish_reason\":\"stop\"}]," NONE},
	{"{\"message\":{},\"done\":true}", WHOLE "\"\"},\"finish_reason\":\"stop\"}]," NONE},
	{"{\"message\":{\"content\":7},\"done\":true,\"eval_count\":-3,\"prompt_eval_count\":\"4\"}", WHOLE "\"\"},\"finish_reason\":\"stop\"}]," NONE},
	{"{\"error\":\"model 'x' not found\"}", NULL},
	{"{\"message\":{\"content\":\"a part\"},\"done\":false}", NULL},
	{"{\"response\":\"x\",\"done\":true}", NULL},
	{"[]", NULL},
	{"", NULL},
	{"{\"message\":{\"content\":\"x\"},\"done\":true", NULL},
};

static void test_whole(void **state)
{
	for (size_t i = 0; i < COUNT(whole_cases); i++) {
		const struct whole_case *c = &whole_cases[i];
		struct str copy = copy_of(str_from(c->answer));
		buf_clear(&out);
		bool made = ollama_chat_whole(&about, copy, &out);
		free((char *)copy.ptr);
		if (made != (c->want != NULL))
			fail_msg("%s: %.*s", c->answer, STR_ARG(buf_str(&out)));
		assert_str(buf_str(&out), c->want ? c->want : "");
		if (made)
			assert_true(json_scan(buf_str(&out), NULL, 0, NULL, NULL));
	}
}

/* Calls without an id get one each, always the same. */
static void test_ids(void **state)
{
	const char *answer = "{\"message\":{\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}},{\"function\":{\"name\":\"f\",\"arguments\":{}}}]},\"done\":true}";
	buf_clear(&out);
	assert_true(ollama_chat_whole(&about, str_from(answer), &out));
	struct str first = arena_dup(&arena, buf_str(&out)), a = str_skip(first, str_search(first, STR("\"id\":\"call_"))), b = str_skip(a, 10);
	b = str_skip(b, str_search(b, STR("\"id\":\"call_")));
	assert_true(a.len > 30 && b.len > 30);
	assert_memory_not_equal(a.ptr, b.ptr, 28);
	buf_clear(&out);
	assert_true(ollama_chat_whole(&about, str_from(answer), &out));
	assert_true(str_eq(buf_str(&out), first));
}

/* ---- streams ---- */

/* Feeds the lines in pieces of `step` bytes and gives what came out. */
static struct ollama_chat_stream feed(const struct ollama_chat_about *who, struct str lines, size_t step)
{
	struct ollama_chat_stream s = {0};
	struct buf held;
	buf_init(&held, 1 << 20);
	buf_clear(&out);
	for (size_t at = 0; at < lines.len; at += step) {
		buf_adds(&held, str_head(str_skip(lines, at), step));
		struct str copy = copy_of(buf_str(&held));
		size_t used = ollama_chat_lines(who, &s, copy, at + step >= lines.len, &arena, &out);
		free((char *)copy.ptr);
		buf_drop(&held, used);
	}
	assert_int_equal(held.len, 0);
	buf_release(&held);
	return s;
}

#define DELTA(text) CHUNK "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":" text "},\"finish_reason\":null}]}\n\n"
#define FINISH(why) CHUNK "{\"index\":0,\"delta\":{},\"finish_reason\":\"" why "\"}]}\n\n"

struct stream_case {
	const char *lines, *want;
	bool done;
	enum error error;
};

static const struct stream_case stream_cases[] = {
	{"{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"done\":false}\n{\"message\":{\"content\":\" you\"},\"done\":false}\n"
	 "{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":3,\"eval_count\":2}\n",
	 DELTA("\"Hi\"") DELTA("\" you\"") FINISH("stop") CHUNK "],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n", true, ERROR_NONE},
	{"{\"message\":{\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\r\n\n{\"message\":{\"content\":\"x\"},\"done\":true,\"done_reason\":\"length\"}",
	 DELTA("\"\",\"reasoning\":\"hm\"") DELTA("\"x\"") FINISH("length") CHUNK "]," NONE "\n\ndata: [DONE]\n\n", true, ERROR_NONE},
	{"{\"message\":{\"content\":\"\",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":{}}}]},\"done\":false}\n"
	 "{\"message\":{\"content\":\"\",\"tool_calls\":[{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"n\":1}}}]},\"done\":false}\n"
	 "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n{\"message\":{\"content\":\"behind the end\"},\"done\":false}\n",
	 DELTA("\"\",\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]")
	 DELTA("\"\",\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{\\\"n\\\":1}\"}}]")
	 FINISH("tool_calls") CHUNK "]," NONE "\n\ndata: [DONE]\n\n", true, ERROR_NONE},
	{"{\"message\":{\"content\":\"x\"},\"logprobs\":[{\"token\":\"x\",\"logprob\":-1}],\"done\":false}\n",
	 CHUNK "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"x\"},\"logprobs\":{\"content\":[{\"token\":\"x\",\"logprob\":-1}]},\"finish_reason\":null}]}\n\n",
	 false, ERROR_NONE},
	{"{\"message\":{\"content\":\"x\"},\"done\":false}\n{\"error\":\"an error was encountered while running the model\"}\n{\"message\":{\"content\":\"y\"},\"done\":true}\n",
	 DELTA("\"x\"") "data: {\"error\":{\"message\":\"an error was encountered while running the model\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n",
	 false, ERROR_UPSTREAM_ERROR},
	{"{\"error\":\"the input length exceeds the context length\"}\n",
	 "data: {\"error\":{\"message\":\"the input length exceeds the context length\",\"type\":\"invalid_request_error\",\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}\n\n",
	 false, ERROR_CONTEXT_LENGTH_EXCEEDED},
	{"<html>\n", "data: {\"error\":{\"message\":\"the target's stream holds a line that cannot be read\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_invalid_answer\"}}\n\n",
	 false, ERROR_UPSTREAM_INVALID},
	{"{\"message\":{\"content\":\"cut\"},\"do", "data: {\"error\":{\"message\":\"the target's stream holds a line that cannot be read\",\"type\":\"server_error\",\"param\":null,"
	 "\"code\":\"upstream_invalid_answer\"}}\n\n", false, ERROR_UPSTREAM_INVALID},
	{"\n\n", "", false, ERROR_NONE},
};

static void test_stream(void **state)
{
	for (size_t i = 0; i < COUNT(stream_cases); i++) {
		const struct stream_case *c = &stream_cases[i];
		for (size_t step = 1; step <= strlen(c->lines); step++) {
			struct ollama_chat_stream s = feed(&about, str_from(c->lines), step);
			assert_str(buf_str(&out), c->want);
			assert_true(s.done == c->done);
			assert_int_equal(s.failure.error, c->error);
		}
	}
}

static void test_stream_without_usage(void **state)
{
	struct ollama_chat_about quiet = about;
	quiet.usage = false;
	feed(&quiet, STR("{\"message\":{\"content\":\"x\"},\"done\":true,\"prompt_eval_count\":3}\n"), 1000);
	assert_str(buf_str(&out), DELTA("\"x\"") FINISH("stop") "data: [DONE]\n\n");
}

/* The tap reads what was made as it reads any stream of chat chunks. */
static void test_tap(void **state)
{
	struct usage usage = {0};
	unsigned marks = 0;
	feed(&about, str_from(stream_cases[0].lines), 7);
	struct str rest = buf_str(&out);
	for (size_t n; (n = sse_event_length(rest)); rest = str_skip(rest, n)) {
		marks |= tap_event(str_head(rest, n), &usage);
		struct str model = tap_event_model(str_head(rest, n));
		assert_true(!model.ptr || str_eq(model, STR("\"my \\\"model\\\"\"")));
	}
	assert_int_equal(rest.len, 0);
	assert_int_equal(marks, TAP_DATA | TAP_FINISH | TAP_USAGE | TAP_ONLY_USAGE | TAP_DONE);
	assert_true(usage.known && usage.input == 3 && usage.output == 2);
	feed(&about, str_from(stream_cases[4].lines), 7);
	rest = str_skip(buf_str(&out), sse_event_length(buf_str(&out)));
	assert_true(tap_event(rest, &usage) & TAP_ERROR);
	bool error;
	struct str model;
	buf_clear(&out);
	ollama_chat_whole(&about, str_from(whole_cases[0].answer), &out);
	assert_true(tap_whole(buf_str(&out), &usage, &model, &error) && !error && usage.input == 11 && usage.output == 2);
}

/* ---- errors ---- */

struct failure_case {
	int status;
	const char *body;
	enum error error;
	const char *message;
};

#define INNER "{\"error\":\"{\\\"error\\\":{\\\"code\\\":400,\\\"message\\\":\\\"request (351 tokens) exceeds the available context size (256 tokens), try increasing it\\\"," \
	      "\\\"type\\\":\\\"exceed_context_size_error\\\",\\\"n_prompt_tokens\\\":351,\\\"n_ctx\\\":256}}\"}"
#define INNER_TEXT "request (351 tokens) exceeds the available context size (256 tokens), try increasing it"

static const struct failure_case failure_cases[] = {
	{400, INNER, ERROR_CONTEXT_LENGTH_EXCEEDED, INNER_TEXT},
	{200, INNER, ERROR_CONTEXT_LENGTH_EXCEEDED, INNER_TEXT},
	{400, "{\"error\":\"the input length exceeds the context length\"}", ERROR_CONTEXT_LENGTH_EXCEEDED, "the input length exceeds the context length"},
	{200, "{\"error\":\"the input length exceeds the context length\"}", ERROR_CONTEXT_LENGTH_EXCEEDED, "the input length exceeds the context length"},
	{400, "{\"error\":\"{\\\"error\\\":{\\\"code\\\":400,\\\"message\\\":\\\"no images here\\\",\\\"type\\\":\\\"invalid_request_error\\\"}}\"}", ERROR_UPSTREAM_REFUSED_REQUEST, "no images here"},
	{400, "{\"error\":\"\\\"m\\\" does not support tools\"}", ERROR_UPSTREAM_REFUSED_REQUEST, "\"m\" does not support tools"},
	{404, "{\"error\":\"model 'x' not found\"}", ERROR_MODEL_NOT_FOUND, "model 'x' not found"},
	{503, "{\"error\":\"server busy, please try again.  maximum pending requests exceeded\"}", ERROR_OVERLOADED, NULL},
	{500, "{\"error\":\"llama runner process has terminated\"}", ERROR_UPSTREAM_ERROR, "llama runner process has terminated"},
	{200, "{\"error\":\"llama runner process has terminated\"}", ERROR_UPSTREAM_ERROR, "llama runner process has terminated"},
};

static void test_failures(void **state)
{
	for (size_t i = 0; i < COUNT(failure_cases); i++) {
		const struct failure_case *c = &failure_cases[i];
		struct failure f;
		ollama_chat_failure(c->status, str_from(c->body), &arena, &f);
		if (f.error != c->error)
			fail_msg("%d %s: %s", c->status, c->body, error_rows[f.error].code);
		if (c->message)
			assert_str(f.message, c->message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_many_calls),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_stream_without_usage),
		cmocka_unit_test(test_tap),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
