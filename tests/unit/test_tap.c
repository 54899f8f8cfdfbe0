/* test_tap.c - what is read of answers as they pass: usage, ends, errors, and where the model's name stands.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/tap.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "text_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Exactly as long as it is, so that a sanitizer sees every byte too far. */
static unsigned tap_into(const char *event, struct usage *usage)
{
	size_t len = strlen(event);
	char *copy = mem_alloc(len);
	memcpy(copy, event, len);
	unsigned marks = tap_event(str_of(copy, len), usage);
	free(copy);
	return marks;
}

static unsigned marks_of(const char *event)
{
	struct usage usage = {0};
	return tap_into(event, &usage);
}

static void expect_marks(const char *event, unsigned want)
{
	unsigned got = marks_of(event);
	if (got != want)
		fail_msg("marks %#x, expected %#x, of: %s", got, want, event);
}

static void expect_usage(const char *event, int64_t input, int64_t output, int64_t cached)
{
	struct usage u = {0};
	assert_true(tap_into(event, &u) & TAP_USAGE);
	if (!u.known || u.flagged || u.input != input || u.output != output || u.cached != cached)
		fail_msg("known %d flagged %d: %lld in, %lld out, %lld cached, of: %s", u.known,
			 u.flagged, (long long)u.input, (long long)u.output, (long long)u.cached,
			 event);
}

/* ---- events ---- */

static void test_plain_events(void **state)
{
	expect_marks("data: "
		     "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":"
		     "null}]}\n\n",
		     TAP_DATA);
	expect_marks("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks(
		"data: {\"choices\":[{\"delta\":{},\"finish_reason\":null}],\"usage\":null}\n\n",
		TAP_DATA);
	expect_marks("data: {\"error\":null,\"choices\":[]}\n\n", TAP_DATA);
	expect_marks("data: not json at all\n\n", TAP_DATA);
	expect_marks("data:\n\n", TAP_DATA);
	expect_marks(
		"data: {\"choices\":[{\"stop_reason\":null,\"finish_reason\":\"length\"}]}\n\n",
		TAP_DATA | TAP_FINISH);
}

static void test_nothing_to_see(void **state)
{
	expect_marks("", 0);
	expect_marks("\n", 0);
	expect_marks("\r\n", 0);
	expect_marks("\r", 0);
	expect_marks(": keep-alive\n\n", 0);
	expect_marks(": OPENROUTER PROCESSING \"usage\":{}\n\n", 0);
	expect_marks("id: 7\nretry: 3000\n\n", 0);
	expect_marks("event: ping\n\n", 0);
}

static void test_odd_spacing(void **state)
{
	expect_marks("data:{\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n\r\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks("data: {\"choices\" : [ { \"finish_reason\" \t: \t\"stop\" } ] }\r\r",
		     TAP_DATA | TAP_FINISH);
	expect_marks("\xef\xbb\xbf"
		     "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks("id: 1\nevent: x\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks("data: {\"choices\":[{\"finish_reason\" :null}],\"usage\" : null}\n\n",
		     TAP_DATA);
	expect_usage("data: {\"choices\" : [ ] , \"usage\" : { \"prompt_tokens\" : 4 "
		     ",\t\"completion_tokens\":5 } }",
		     4, 5, 0);
	expect_usage(
		": a comment\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":5}}\n\n",
		4, 5, 0);
	expect_usage("data:   {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":5}}\n\n", 4, 5,
		     0);
}

/* Every event cut anywhere: never a mark that the whole does not have, and no byte too far. */
static void test_cut_events(void **state)
{
	static const char *const events[] = {
		"data: "
		"{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"total_"
		"tokens\":19}}\n\n",
		"event: message_delta\ndata: "
		"{\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
		"data: "
		"{\"error\":{\"message\":\"x\"},\"choices\":[{\"finish_reason\":\"error\"}]}\n\n",
		"data: [DONE]\n\n",
	};
	for (size_t i = 0; i < COUNT(events); i++) {
		unsigned whole = marks_of(events[i]);
		for (size_t n = 0; n < strlen(events[i]); n++) {
			char *copy = mem_alloc(n);
			struct usage usage = {0};
			memcpy(copy, events[i], n);
			assert_int_equal(tap_event(str_of(copy, n), &usage) & ~whole, 0);
			tap_event_model(str_of(copy, n));
			free(copy);
		}
	}
}

static void test_done(void **state)
{
	expect_marks("data: [DONE]\n\n", TAP_DATA | TAP_DONE);
	expect_marks("data:[DONE]\r\n\r\n", TAP_DATA | TAP_DONE);
	expect_marks("data:  [DONE] \n\n", TAP_DATA | TAP_DONE);
	expect_marks("data: [DONE]", TAP_DATA | TAP_DONE);
	expect_marks("event: end_of_stream\ndata: [DONE]\n\n", TAP_DATA | TAP_DONE);
	expect_marks("data: [DONE]ish\n\n", TAP_DATA);
	expect_marks("data: {\"text\":\"[DONE]\"}\n\n", TAP_DATA);
	expect_marks("data: \"[DONE]\"\n\n", TAP_DATA);
}

static void test_terminal_events(void **state)
{
	expect_marks("event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks("event:response.incomplete\ndata: {}\n\n", TAP_DATA | TAP_FINISH);
	expect_marks("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks("event: transcript.text.done\r\ndata: {}\r\n\r\n", TAP_DATA | TAP_FINISH);
	expect_marks("id: 9\nevent: message_stop\ndata: {}\n\n", TAP_DATA | TAP_FINISH);
	expect_marks("event: message_start\ndata: {\"message\":{\"stop_reason\":null}}\n\n",
		     TAP_DATA);
	expect_marks("event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
		     TAP_DATA | TAP_FINISH);
	expect_marks("event: response.output_text.delta\ndata: {\"delta\":\"message_stop\"}\n\n",
		     TAP_DATA);
}

static void test_errors(void **state)
{
	const unsigned error = TAP_DATA | TAP_ERROR;
	expect_marks("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n", error);
	expect_marks("data: {\"error\":\"plain text\"}\n\n", error);
	expect_marks("event: error\ndata: "
		     "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
		     error);
	expect_marks("event: error\ndata: "
		     "{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\"}\n\n",
		     error);
	expect_marks("data: "
		     "{\"id\":\"gen-1\",\"error\":{\"code\":502},\"choices\":[{\"delta\":{},"
		     "\"finish_reason\":\"error\"}]}\n\n",
		     error | TAP_FINISH);
	expect_marks("data: {\"choices\":[{\"delta\":{}},{\"error\":{\"code\":429}}]}\n\n", error);
	expect_marks(
		"data: {\"choices\":[],\"x_groq\":{\"id\":\"r\",\"error\":\"over capacity\"}}\n\n",
		error);
	expect_marks("event: response.failed\ndata: "
		     "{\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n",
		     error | TAP_FINISH);
	expect_marks("data: {\"error\":{\ndata: \"message\":\"in two lines\"}}\n\n", error);
}

/* Responses repeats the tools of the request: a property of that name is no error. */
static void test_errors_of_schemas(void **state)
{
	expect_marks("event: response.created\ndata: "
		     "{\"response\":{\"error\":null,\"tools\":[{\"parameters\":{\"properties\":"
		     "{\"error\":{\"type\":\"string\"}}}}]}}\n\n",
		     TAP_DATA);
	expect_marks("event: response.output_item.done\ndata: "
		     "{\"item\":{\"type\":\"mcp_call\",\"error\":\"no such page\"}}\n\n",
		     TAP_DATA);
	expect_marks("data: "
		     "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":{"
		     "\"error\":1}}}]}}]}\n\n",
		     TAP_DATA);
}

/* Quotes inside of strings are escaped, so no member can stand there. */
static void test_inside_strings(void **state)
{
	static const char *const contents[] = {
		"{\\\"usage\\\":{\\\"prompt_tokens\\\":9999}}",
		"\\\"usage\\\": {\\\"prompt_tokens\\\": 9999}",
		"\\\\\\\"usage\\\\\\\":{}",
		"\\\"error\\\":{}, \\\"finish_reason\\\":\\\"stop\\\"",
		"usage",
		"\\\"usage",
		"error",
		"finish_reason",
	};
	for (size_t i = 0; i < COUNT(contents); i++) {
		struct buf b;
		struct usage usage = {0};
		buf_init(&b, 4096);
		buf_addf(&b,
			 "data: "
			 "{\"choices\":[{\"delta\":{\"content\":\"%s\"},\"logprobs\":[\"%s\"]}]}",
			 contents[i], contents[i]);
		buf_addc(&b, 0);
		expect_marks(b.ptr, TAP_DATA);
		buf_clear(&b);
		buf_addf(&b, "{\"a\":\"%s\",\"b\":[\"usage\",\"%s\"],\"c\":\"usage\"}", contents[i],
			 contents[i]);
		tap_tail(buf_str(&b), &usage);
		assert_false(usage.known);
		buf_release(&b);
	}
}

/* The 16 bytes at a time must see what stands at any place. */
static void test_any_offset(void **state)
{
	for (int pad = 0; pad < 70; pad++) {
		struct buf b;
		buf_init(&b, 4096);
		buf_addf(&b,
			 "data: "
			 "{\"p\":\"%*s\",\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":3}"
			 "}",
			 pad, "");
		buf_addc(&b, 0);
		expect_marks(b.ptr, TAP_DATA | TAP_FINISH | TAP_USAGE);
		expect_usage(b.ptr, 3, 0, 0);
		buf_release(&b);
	}
}

/* ---- usage ---- */

static void test_usage_openai(void **state)
{
	expect_usage("data: "
		     "{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,"
		     "\"total_tokens\":19,"
		     "\"prompt_tokens_details\":{\"cached_tokens\":8,\"audio_tokens\":0},"
		     "\"completion_tokens_details\":"
		     "{\"reasoning_tokens\":5}}}",
		     12, 7, 8);
	expect_usage("data: "
		     "{\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":null,\"prompt_tokens_"
		     "details\":null}}",
		     12, 0, 0);
	/* Kimi tells the cached tokens twice; a proxy before Anthropic mixes the words */
	expect_usage("data: "
		     "{\"usage\":{\"prompt_tokens\":12,\"cached_tokens\":8,\"prompt_tokens_"
		     "details\":{\"cached_tokens\":8}}}",
		     12, 0, 8);
	expect_usage("data: "
		     "{\"usage\":{\"prompt_tokens\":12,\"prompt_tokens_details\":{\"cached_"
		     "tokens\":8},\"cache_read_input_tokens\":8,"
		     "\"cache_creation_input_tokens\":2,\"completion_tokens\":1}}",
		     12, 1, 8);
	expect_usage(
		"data: "
		"{\"usage\":{\"prompt_tokens\":12.0,\"completion_tokens\":1e2,\"cost\":0.00012}}",
		12, 100, 0);
}

static void test_usage_anthropic(void **state)
{
	struct usage u = {0};
	assert_true(tap_into("event: message_start\ndata: "
			     "{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{"
			     "\"input_tokens\":25,"
			     "\"cache_creation_input_tokens\":10,\"cache_read_input_tokens\":100,"
			     "\"cache_creation\":"
			     "{\"ephemeral_5m_input_tokens\":10},\"output_tokens\":1}}}\n\n",
			     &u) &
		    TAP_USAGE);
	assert_int_equal(u.input, 135);
	assert_int_equal(u.cached, 100);
	tap_into("event: message_delta\ndata: "
		 "{\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
		 &u);
	assert_int_equal(u.input, 135);
	assert_int_equal(u.output, 15);
	assert_int_equal(u.cached, 100);
	assert_true(u.known && !u.flagged);
}

static void test_usage_others(void **state)
{
	expect_usage("event: response.completed\ndata: "
		     "{\"response\":{\"model\":\"m\",\"usage\":{\"input_tokens\":36,\"input_tokens_"
		     "details\":"
		     "{\"cached_tokens\":30},\"output_tokens\":87,\"output_tokens_details\":{"
		     "\"reasoning_tokens\":0},\"total_tokens\":123}}}",
		     36, 87, 30);
	expect_usage("data: {\"results\":[],\"usage\":{\"total_tokens\":815}}", 815, 0, 0);
	expect_usage(
		"data: {\"results\":[],\"usage\":{\"prompt_tokens\":815,\"total_tokens\":815}}",
		815, 0, 0);
	/* cumulative: the last one holds */
	struct usage u = {0};
	tap_into("data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}",
		 &u);
	tap_into("data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}",
		 &u);
	assert_int_equal(u.output, 2);
}

/* What clouds tell beside: where the cache stands, usage in a place of its own, and money. */
static void test_usage_clouds(void **state)
{
	expect_usage("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":7,\"prompt_cache_hit_tokens\":64,"
		     "\"prompt_cache_miss_tokens\":36,\"completion_tokens_details\":{\"reasoning_tokens\":5}}}\n\n",
		     100, 7, 64);
	expect_usage("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"r\",\"usage\":{\"queue_time\":0.1,"
		     "\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13,\"total_time\":0.2}}}\n\n",
		     9, 4, 0);
	/* told with both: once */
	expect_usage("data: {\"choices\":[],\"x_groq\":{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}},\"usage\":{\"prompt_tokens\":9,"
		     "\"completion_tokens\":4}}\n\n",
		     9, 4, 0);
	expect_marks("data: {\"choices\":[],\"x_groq\":{\"id\":\"r\"}}\n\n", TAP_DATA);
}

static void test_cost(void **state)
{
	static const struct {
		const char *cost;
		int64_t nanos; /* -1: nonsense; -2: none */
	} cases[] = {
		{"0.00014", 140000}, {"1.4e-05", 14000}, {"0", 0},        {"2", 2000000000},  {"0.0000003", 300},  {"0.0000000001", 1}, {"1e6", 1000000000000000},
		{"-0.1", -1},        {"1e7", -1},        {"1e400", -1},   {"\"0.1\"", -1}, {"true", -1},        {"null", -2},        {"{}", -1},
		{"0.00000000000000000000000000000000000000000000000001", -1},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[256];
		struct usage u = {0};
		snprintf(text, sizeof(text), "{\"prompt_tokens\":1,\"cost\":%s,\"cost_details\":{\"upstream_inference_cost\":9}}", cases[i].cost);
		tap_usage(str_from(text), &u);
		if (u.priced != (cases[i].nanos >= 0) || u.flagged != (cases[i].nanos == -1) || u.cost != (u.priced ? cases[i].nanos : 0) || u.input != 1)
			fail_msg("%s: %lld, priced %d, flagged %d", cases[i].cost, (long long)u.cost, u.priced, u.flagged);
	}
	struct usage u = {0};
	assert_true(tap_into(": OPENROUTER PROCESSING\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"cost\":0.25,\"is_byok\":false}}\n\n", &u) & TAP_USAGE);
	assert_true(u.priced && u.cost == 250000000);
}

/* An error that stands elsewhere than others say it. */
static void test_errors_of_clouds(void **state)
{
	static const char *const errors[] = {
		"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
		"data: {\"choices\":[{\"delta\":{},\"finish_reason\" : \"insufficient_system_resource\"}]}\n\n",
		"data: {\"choices\":[{\"finish_reason\":\"stop\"},{\"error\":{\"code\":502}}]}\n\n",
		"data: [{\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}]\n\n",
		"data: {\"choices\":[],\"x_groq\":{\"error\":\"over capacity\"}}\n\n",
	};
	static const char *const none[] = {
		"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"finish_reason\\\":\\\"error\\\"\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{}}],\"tools\":[{\"finish_reason\":\"error\"}]}\n\n",
		"data: [{\"error\":null}]\n\n",
		"data: [[{\"error\":{}}]]\n\n",
		"data: {\"choices\":{\"error\":{}}}\n\n",
	};
	for (size_t i = 0; i < COUNT(errors); i++)
		if (!(marks_of(errors[i]) & TAP_ERROR))
			fail_msg("no error in %s", errors[i]);
	for (size_t i = 0; i < COUNT(none); i++)
		if (marks_of(none[i]) & TAP_ERROR)
			fail_msg("an error in %s", none[i]);
	struct usage u = {0};
	struct str model;
	bool error = false;
	assert_true(tap_whole(STR("[{\"error\":{\"code\":400}}]"), &u, &model, &error) && error);
	assert_true(tap_whole(STR("[{\"error\":null}]"), &u, &model, &error) && !error);
}

static void test_only_usage(void **state)
{
	const unsigned usage = TAP_DATA | TAP_USAGE;
	expect_marks("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
		     usage | TAP_ONLY_USAGE);
	expect_marks("data: {\"usage\":{\"prompt_tokens\":1},\"choices\": [ \t] }\n\n",
		     usage | TAP_ONLY_USAGE);
	expect_marks("data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
		     usage);
	expect_marks("data: {\"choices\":null,\"usage\":{\"prompt_tokens\":1}}\n\n", usage);
	expect_marks("data: {\"usage\":{\"prompt_tokens\":1}}\n\n", usage);
	expect_marks("data: {\"choices\":[],\"usage\":null}\n\n", TAP_DATA);
}

static void test_absurd_usage(void **state)
{
	static const char *const wrong[] = {
		"{\"prompt_tokens\":-1}",
		"{\"prompt_tokens\":4294967297}",
		"{\"prompt_tokens\":99999999999999999999999999}",
		"{\"completion_tokens\":\"12\"}",
		"{\"completion_tokens\":1.5}",
		"{\"prompt_tokens\":true}",
		"{\"prompt_tokens_details\":{\"cached_tokens\":-3}}",
		"{\"completion_tokens\":1e400}",
	};
	for (size_t i = 0; i < COUNT(wrong); i++) {
		struct usage u = {0};
		tap_usage(str_from(wrong[i]), &u);
		if (!u.flagged || u.known || u.input || u.output || u.cached)
			fail_msg("not flagged: %s", wrong[i]);
	}
	struct usage u = {0};
	tap_usage(STR("{\"prompt_tokens\":-1,\"completion_tokens\":3}"), &u);
	assert_true(u.flagged && u.known && u.output == 3);
	u = (struct usage){0};
	tap_into("data: {\"usage\":7}\n\n", &u);
	assert_true(u.flagged && !u.known);
}

static void test_empty_usage(void **state)
{
	static const char *const none[] = {
		"{}",
		"{ }",
		"{\"prompt_tokens\":null}",
		"{\"type\":\"duration\",\"seconds\":7}",
		"{\"prompt_tokens_details\":{}}",
		"{\"text\":\"\\\"prompt_tokens\\\":5\"}",
		"{\"a\":{\"b\":[{}, \"]}\"]},\"c\":\"\"}",
	};
	for (size_t i = 0; i < COUNT(none); i++) {
		struct usage u = {0};
		tap_usage(str_from(none[i]), &u);
		if (u.known || u.flagged || u.input)
			fail_msg("found something in %s", none[i]);
	}
	struct usage u = {0};
	tap_usage(STR("{\"prompt_tokens\":0,\"completion_tokens\":0}"), &u);
	assert_true(u.known);
}

/* ---- the model's name ---- */

static void test_event_model(void **state)
{
	assert_str(tap_event_model(STR(
			   "data: "
			   "{\"id\":\"1\",\"model\":\"a/b\",\"choices\":[{\"model\":\"x\"}]}\n\n")),
		   "\"a/b\"");
	assert_str(tap_event_model(STR("data:\t {\"model\" : \"a\\u0062\" }\r\n\r\n")),
		   "\"a\\u0062\"");
	assert_str(tap_event_model(STR("event: x\ndata: {\"response\":{\"model\":\"m\"}}\n\n")),
		   "\"m\"");
	assert_str(tap_event_model(STR("event: x\ndata: {\"message\":{\"model\":\"m\"}}\n\n")),
		   "\"m\"");
	assert_null(tap_event_model(STR("data: {\"choices\":[{\"model\":\"x\"}]}\n\n")).ptr);
	assert_null(tap_event_model(STR("data: {\"model\":null}\n\n")).ptr);
	assert_null(tap_event_model(STR("data: {\"model\":\"cut\n\n")).ptr);
	assert_null(tap_event_model(STR("data: [DONE]\n\n")).ptr);
	assert_null(tap_event_model(STR("data:\n\n")).ptr);
	assert_null(tap_event_model(STR(": x\n\n")).ptr);
	assert_null(tap_event_model(STR("")).ptr);
}

/* ---- whole answers ---- */

static void test_whole(void **state)
{
	struct usage u = {0};
	struct str model;
	bool error = false;
	assert_true(tap_whole(STR("\n\n "
				  "{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":"
				  "\"\\\"usage\\\":{}\"}}],\"usage\":"
				  "{\"prompt_tokens\":3,\"completion_tokens\":4}}"),
			      &u, &model, &error));
	assert_str(model, "\"m\"");
	assert_true(u.known && u.input == 3 && u.output == 4 && !error);
	u = (struct usage){0};
	assert_true(tap_whole(STR("{\"error\":{\"code\":402}}"), &u, &model, &error));
	assert_true(error && !u.known && !model.ptr);
	assert_true(tap_whole(STR("{\"error\":\"Unexpected endpoint\"}"), &u, &model, &error));
	assert_true(error);
	assert_true(
		tap_whole(STR("{\"error\":null,\"model\":7,\"usage\":null}"), &u, &model, &error));
	assert_true(!error && !model.ptr && !u.known && !u.flagged);
	assert_true(tap_whole(STR("{\"usage\":[1]}"), &u, &model, &error));
	assert_true(u.flagged);
	assert_true(tap_whole(STR("[]"), &u, &model, &error));
	assert_false(tap_whole(STR("{\"model\":\"m\""), &u, &model, &error));
	assert_false(tap_whole(STR(""), &u, &model, &error));
	assert_false(tap_whole(STR("<html>"), &u, &model, &error));
	assert_null(model.ptr);
}

static void expect_tail(const char *tail, int64_t input)
{
	struct usage u = {0};
	size_t len = strlen(tail);
	char *copy = mem_alloc(len);
	memcpy(copy, tail, len);
	tap_tail(str_of(copy, len), &u);
	free(copy);
	if (u.input != input || u.known != (input > 0))
		fail_msg("input %lld, expected %lld, of: %s", (long long)u.input, (long long)input,
			 tail);
}

static void test_tail(void **state)
{
	expect_tail(
		"...3,0.4]}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}",
		5);
	expect_tail(",\"usage\" : {\n \"prompt_tokens\" : 5 , \"x\" : \"}\" , \"y\" : { } }\n}\n",
		    5);
	expect_tail("\"usage\":{\"prompt_tokens\":5},\"object\":\"usage\"}", 5);
	expect_tail("\"usage\":{\"prompt_tokens\":5},\"kinds\":[\"usage\"]}", 5);
	expect_tail("\"usage\":{\"prompt_tokens\":4},\"usage\":{\"prompt_tokens\":5}}", 5);
	expect_tail("\"usage\":{\"prompt_tokens\":5", 0);
	expect_tail("\"usage\":{\"prompt_tokens\":5,\"a\":\"}", 0);
	expect_tail("\"usage\":", 0);
	expect_tail("\"usage\"", 0);
	expect_tail("sage\":{\"prompt_tokens\":5}}", 0);
	expect_tail("\"usage\":null}", 0);
	expect_tail("text \\\"usage\\\":{\\\"prompt_tokens\\\":5}\"}", 0);
	expect_tail("", 0);
	expect_tail("\"usage\":{\"prompt_tokens\":}}", 0);
}

/* One look at each byte, whatever the tail holds. */
static void test_tail_is_linear(void **state)
{
	struct buf b;
	struct usage u = {0};
	buf_init(&b, 4 << 20);
	BUF_ADD(&b, "\"usage\":{\"a\":\"");
	for (int i = 0; i < 1 << 20; i++)
		buf_addc(&b, '}');
	for (int i = 0; i < 100000; i++)
		BUF_ADD(&b, "\"usage\":{");
	tap_tail(buf_str(&b), &u);
	assert_false(u.known);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_events),   cmocka_unit_test(test_nothing_to_see),
		cmocka_unit_test(test_odd_spacing),    cmocka_unit_test(test_cut_events),
		cmocka_unit_test(test_done),           cmocka_unit_test(test_terminal_events),
		cmocka_unit_test(test_errors),         cmocka_unit_test(test_errors_of_schemas),
		cmocka_unit_test(test_inside_strings), cmocka_unit_test(test_any_offset),
		cmocka_unit_test(test_usage_openai),   cmocka_unit_test(test_usage_anthropic),
		cmocka_unit_test(test_usage_others),   cmocka_unit_test(test_only_usage),
		cmocka_unit_test(test_absurd_usage),   cmocka_unit_test(test_empty_usage),
		cmocka_unit_test(test_event_model),    cmocka_unit_test(test_whole),
		cmocka_unit_test(test_usage_clouds),   cmocka_unit_test(test_cost),
		cmocka_unit_test(test_errors_of_clouds),
		cmocka_unit_test(test_tail),           cmocka_unit_test(test_tail_is_linear),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
