/* test_resume.c - what is kept of a stream that may break off, the body that asks for the rest, and the rest as the client sees it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/resume.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "text_fixture.h"

static struct arena arena;
static struct resume s;
static struct buf out;

static int set_up(void **state)
{
	arena_init(&arena, 1024);
	resume_init(&s, &arena);
	buf_init(&out, 1 << 22);
	return 0;
}

static int tear_down(void **state)
{
	buf_release(&out);
	resume_release(&s);
	arena_release(&arena);
	return 0;
}

/* Exactly as long as it is, so that a sanitizer sees every byte too far. */
static enum resume_verdict take(const char *event)
{
	size_t len = strlen(event);
	char *copy = mem_alloc(len + !len);
	memcpy(copy, event, len);
	buf_clear(&out);
	enum resume_verdict v = resume_event(&s, str_of(copy, len), &out);
	free(copy);
	return v;
}

static void expect(const char *event, enum resume_verdict want)
{
	enum resume_verdict got = take(event);
	if (got != want)
		fail_msg("verdict %d, expected %d, of: %s", got, want, event);
}

static void expect_changed(const char *event, const char *want)
{
	expect(event, RESUME_CHANGED);
	assert_str(buf_str(&out), want);
}

#define DELTA(id, delta) "data: {\"id\":\"" id "\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":null}]}\n\n"
#define DELTA_B(delta) "data: {\"id\":\"b\",\"created\":9,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":null}]}\n\n"
#define FINISH(reason) "data: {\"id\":\"b\",\"created\":9,\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]}\n\n"

static void begin(const char *text)
{
	char event[512];
	expect(DELTA("a", "\"role\":\"assistant\",\"content\":\"\""), RESUME_SAME);
	snprintf(event, sizeof(event), DELTA("a", "\"content\":\"%s\""), text);
	expect(event, RESUME_SAME);
}

/* ---- what is kept ---- */

static void test_keeps_the_text(void **state)
{
	expect(": keep-alive\n\n", RESUME_SAME);
	assert_false(s.begun);
	begin("one");
	expect(DELTA("a", "\"content\":\" \\u00e9\\n\\\"two\\\"\""), RESUME_SAME);
	expect(DELTA("a", "\"content\":null"), RESUME_SAME);
	expect("data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n", RESUME_SAME);
	assert_str(buf_str(&s.text), "one \xc3\xa9\n\"two\"");
	assert_str(s.id, "\"a\"");
	assert_str(s.created, "7");
	assert_int_equal(s.pieces, 2);
	assert_true(s.role && s.begun && resume_may(&s));
	expect(FINISH("stop"), RESUME_SAME);
	assert_true(s.finished && !resume_may(&s));
	expect("data: [DONE]\n\n", RESUME_SAME);
}

static void test_bars(void **state)
{
	static const char *const events[] = {
		DELTA("a", "\"tool_calls\":[{\"index\":0,\"id\":\"c\"}]"),
		DELTA("a", "\"reasoning\":\"hm\""),
		DELTA("a", "\"content\":\"\",\"reasoning_content\":\"hm\""),
		DELTA("a", "\"function_call\":{\"name\":\"f\"}"),
		DELTA("a", "\"refusal\":\"no\""),
		DELTA("a", "\"audio\":{\"id\":\"x\"}"),
		DELTA("a", "\"content\":[{\"type\":\"text\",\"text\":\"x\"}]"),
		DELTA("a", "\"c\\u006fntent\":[1]"),
		"data: {\"id\":\"a\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n",
		"data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{}},{\"index\":1,\"delta\":{}}]}\n\n",
		"data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"logprobs\":{\"content\":[1]},\"delta\":{\"content\":\"x\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"cut\n\n",
		"data: {\"choices\":\ndata: []}\n\n",
		"data:\n\n",
		"data: [1]\n\n",
		"data: {\"choices\":[3]}\n\n",
	};
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++) {
		resume_release(&s);
		resume_init(&s, &arena);
		expect(events[i], RESUME_SAME);
		if (!s.barred)
			fail_msg("not barred: %s", events[i]);
	}
}

static void test_does_not_bar(void **state)
{
	begin("x");
	expect(DELTA("a", "\"content\":\"y\",\"tool_calls\":[],\"refusal\":null,\"reasoning\":\"\",\"reasoning_content\":null,\"function_call\":null"), RESUME_SAME);
	expect("data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"logprobs\":null,\"delta\":{\"c\\u006fntent\":\"z\"}}],\"usage\":null,\"error\":null}\n\n", RESUME_SAME);
	assert_true(resume_may(&s));
	assert_str(buf_str(&s.text), "xyz");
}

static void test_broken(void **state)
{
	begin("x");
	expect("data: {\"error\":{\"message\":\"EngineDeadError\",\"code\":500}}\n\n", RESUME_BROKEN);
	assert_string_equal(s.why, "sent an error inside the stream");
	expect("data: {\"error\":\"gone\"}\n\n", RESUME_BROKEN);
	expect("data: {\"object\":\"error\",\"message\":\"gone\"}\n\n", RESUME_BROKEN);
	expect(FINISH("abort"), RESUME_BROKEN);
	expect(FINISH("error"), RESUME_BROKEN);
	assert_true(resume_may(&s));
}

static void test_too_long(void **state)
{
	struct buf event;
	buf_init(&event, 1 << 22);
	begin("x");
	BUF_ADD(&event, "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
	for (size_t i = 0; i < RESUME_TEXT_MAX; i++)
		buf_addc(&event, 'y');
	BUF_ADD(&event, "\"}}]}\n\n");
	buf_addc(&event, 0);
	expect(event.ptr, RESUME_SAME);
	assert_true(s.barred);
	assert_str(buf_str(&s.text), "x");
	buf_release(&event);
}

static void test_whole(void **state)
{
	assert_true(resume_whole(STR("data: [DONE]")));
	assert_true(resume_whole(STR("data: {\"a\":1}\n")));
	assert_false(resume_whole(STR("data: {\"a\":")));
	assert_false(resume_whole(STR("da")));
	assert_false(resume_whole(STR(": comment")));
}

/* ---- what goes on ---- */

static void test_goes_on(void **state)
{
	begin("one two");
	resume_again(&s, 2);
	assert_true(resume_prefills(&s) && s.waits);
	expect(DELTA_B("\"role\":\"assistant\",\"content\":\"\""), RESUME_NOTHING);
	assert_false(s.waits);
	expect(DELTA_B("\"role\":\"assistant\",\"content\":null"), RESUME_NOTHING);
	expect_changed(DELTA_B("\"content\":\" three\\u0021\""), DELTA("a", "\"content\":\" three\\u0021\""));
	expect_changed(DELTA_B("\"role\":\"assistant\",\"content\":\" four\""), DELTA("a", "\"content\":\" four\""));
	expect(": keep-alive\n\n", RESUME_SAME);
	expect_changed(FINISH("stop"), "data: {\"id\":\"a\",\"created\":7,\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
	expect_changed("data: {\"id\":\"b\",\"created\":9,\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15,"
		       "\"prompt_tokens_details\":{\"cached_tokens\":11,\"x\":1}},\"timings\":{\"prompt_n\":1}}\n\n",
		       "data: {\"id\":\"a\",\"created\":7,\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,"
		       "\"prompt_tokens_details\":{\"cached_tokens\":10,\"x\":1}},\"timings\":{\"prompt_n\":1}}\n\n");
	expect("data: [DONE]\n\n", RESUME_SAME);
	assert_str(buf_str(&s.text), "one two three! four");
}

static void test_odd_usage(void **state)
{
	begin("x");
	resume_again(&s, 5);
	expect_changed("data: {\"id\":\"b\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}}\n\n",
		       "data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":6,\"total_tokens\":6}}\n\n");
	expect_changed("data: {\"id\":\"b\",\"choices\":[],\"usage\":{\"prompt_tokens\":-3,\"completion_tokens\":1}}\n\n",
		       "data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":-3,\"completion_tokens\":1}}\n\n");
	expect_changed("data: {\"id\":\"b\",\"choices\":[],\"usage\":{\"prompt_tokens\":\"3\"}}\n\n", "data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":\"3\"}}\n\n");
	expect_changed("data: {\"id\":\"b\",\"choices\":[],\"usage\":null}\n\n", "data: {\"id\":\"a\",\"choices\":[],\"usage\":null}\n\n");
}

/* Templates may cut white space off: it is not given to the engine, and not to the client twice. */
static void test_white_space(void **state)
{
	begin("one.\\n\\n ");
	resume_again(&s, 2);
	assert_int_equal(s.blanks, 3);
	assert_int_equal(s.before, 2);
	expect(DELTA_B("\"content\":\"\\n\""), RESUME_NOTHING);
	expect_changed(DELTA_B("\"content\":\"\\n two \\\"\""), DELTA("a", "\"content\":\"two \\\"\""));
	expect_changed(DELTA_B("\"content\":\"\\n\""), DELTA("a", "\"content\":\"\\n\""));
	assert_str(buf_str(&s.text), "one.\n\n two \"\n");
	assert_int_equal(s.pieces, 3);
	resume_again(&s, 3); /* the last of them will be made again */
	assert_int_equal(s.before, 2);
	expect_changed(DELTA_B("\"content\":\" x\""), DELTA("a", "\"content\":\" x\""));
	expect_changed(DELTA_B("\"content\":\"\\n\""), DELTA("a", "\"content\":\"\\n\""));
	assert_str(buf_str(&s.text), "one.\n\n two \"\n x\n");
}

static void test_only_white_space_begins_anew(void **state)
{
	begin("\\n\\n");
	resume_again(&s, 1);
	assert_false(resume_prefills(&s));
	assert_int_equal(s.before, 0);
	expect_changed(DELTA_B("\"content\":\"\\n\\nHi\""), DELTA("a", "\"content\":\"Hi\""));
}

static void test_nothing_had_come(void **state)
{
	expect(": keep-alive\n\n", RESUME_SAME);
	resume_again(&s, 0);
	assert_false(resume_prefills(&s));
	expect(DELTA("a", "\"role\":\"assistant\",\"content\":\"\""), RESUME_SAME);
	expect_changed(DELTA("a", "\"content\":\"x\""), DELTA("a", "\"content\":\"x\""));
	assert_true(s.role);
}

static void test_role_alone_had_come(void **state)
{
	expect(DELTA("a", "\"role\":\"assistant\",\"content\":\"\""), RESUME_SAME);
	resume_again(&s, 0);
	assert_false(resume_prefills(&s));
	expect(DELTA_B("\"role\":\"assistant\",\"content\":\"\""), RESUME_NOTHING);
	expect_changed(DELTA_B("\"content\":\"x\""), DELTA("a", "\"content\":\"x\""));
}

static void test_breaks_twice(void **state)
{
	begin("one");
	resume_again(&s, 1);
	expect(DELTA_B("\"content\":\" two\""), RESUME_CHANGED);
	resume_again(&s, 2);
	expect_changed("data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" three\"}}]}\n\n",
		       "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" three\"}}]}\n\n");
	assert_str(buf_str(&s.text), "one two three");
	assert_int_equal(s.before, 2);
}

static void test_more_than_text_goes_on(void **state)
{
	begin("one");
	resume_again(&s, 1);
	expect_changed(DELTA_B("\"role\":\"assistant\",\"tool_calls\":[{\"index\":0,\"id\":\"c\"}]"), DELTA("a", "\"tool_calls\":[{\"index\":0,\"id\":\"c\"}]"));
	assert_true(s.barred);
}

static void test_thinks_anew(void **state)
{
	begin("one");
	resume_again(&s, 1);
	expect(DELTA_B("\"reasoning\":\"\",\"content\":\" two\""), RESUME_CHANGED);
	expect(DELTA_B("\"reasoning\":\"hm\""), RESUME_BROKEN);
	expect(DELTA_B("\"reasoning_content\":\"hm\""), RESUME_BROKEN);
	assert_string_equal(s.why, "thinks anew instead of continuing the answer");
}

/* ---- bodies ---- */

static void expect_allowed(const char *body, bool want)
{
	assert_true(json_scan(str_from(body), NULL, 0, NULL, NULL));
	if (resume_allowed(str_from(body)) != want)
		fail_msg("%s: %s", want ? "not allowed" : "allowed", body);
}

#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void test_allowed(void **state)
{
	expect_allowed("{\"model\":\"m\"," USER "}", true);
	expect_allowed(" {" USER ",\"n\":1,\"logprobs\":false,\"response_format\":{\"type\":\"text\"},\"grammar\":\"\",\"stop\":[\"x\"],\"tools\":[{}]}", true);
	expect_allowed("{" USER ",\"n\":null,\"logprobs\":null,\"response_format\":null,\"guided_json\":null,\"echo\":false}", true);
	expect_allowed("{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}", true);
	expect_allowed("{\"model\":\"m\"}", false);
	expect_allowed("{\"messages\":[]}", false);
	expect_allowed("{\"messages\":\"x\"}", false);
	expect_allowed("{" USER "," USER "}", false);
	expect_allowed("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"r\\u006fle\":\"assistant\",\"content\":\"b\"}]}", false);
	expect_allowed("{" USER ",\"n\":2}", false);
	expect_allowed("{" USER ",\"logprobs\":true}", false);
	expect_allowed("{" USER ",\"l\\u006fgprobs\":true}", false);
	expect_allowed("{" USER ",\"response_format\":{\"type\":\"json_object\"}}", false);
	expect_allowed("{" USER ",\"grammar\":\"root ::= x\"}", false);
	expect_allowed("{" USER ",\"structured_outputs\":{\"regex\":\"a\"}}", false);
	expect_allowed("{" USER ",\"echo\":true}", false);
	expect_allowed("[1]", false);
}

static void expect_body(const char *body, struct resume_ask ask, const char *want)
{
	ask.model = ask.model.ptr ? ask.model : STR("e");
	buf_clear(&out);
	resume_body(&s, str_from(body), &ask, &out);
	assert_str(buf_str(&out), want);
	assert_true(json_scan(buf_str(&out), NULL, 0, NULL, NULL));
}

#define BEGUN "{\"role\":\"assistant\",\"content\":\"one \\\"two\\\"\"}"
#define JOINED "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}," BEGUN "]"

static void test_bodies(void **state)
{
	begin("one \\\"two\\\" ");
	resume_again(&s, 3);
	expect_body("{\"model\":\"m\"," USER ",\"stream\":true,\"x\":[1, 2]}", (struct resume_ask){.flags = true},
		    "{\"model\":\"e\"," JOINED ",\"stream\":true,\"x\":[1, 2],\"continue_final_message\":true,\"add_generation_prompt\":false}");
	expect_body("{\"mod\\u0065l\":\"m\",\"messages\" : [ {\"role\":\"user\"} ] }", (struct resume_ask){0},
		    "{\"mod\\u0065l\":\"e\",\"messages\":[ {\"role\":\"user\"} ," BEGUN "]}");
	expect_body("{" USER ",\"continue_final_message\":false,\"add_generation_prompt\":true}", (struct resume_ask){.flags = true},
		    "{" JOINED ",\"continue_final_message\":true,\"add_generation_prompt\":false}");
}

static void test_caps(void **state)
{
	begin("one \\\"two\\\"");
	resume_again(&s, 3);
	expect_body("{" USER ",\"max_tokens\":10}", (struct resume_ask){0}, "{" JOINED ",\"max_tokens\":7}");
	expect_body("{" USER ",\"max_tokens\":10,\"max_completion_tokens\":20}", (struct resume_ask){.cap = 15}, "{" JOINED ",\"max_tokens\":7,\"max_completion_tokens\":12}");
	expect_body("{" USER ",\"max_tokens\":2}", (struct resume_ask){0}, "{" JOINED ",\"max_tokens\":1}");
	expect_body("{" USER "}", (struct resume_ask){.cap = 5}, "{" JOINED ",\"max_tokens\":2}");
	expect_body("{" USER ",\"max_tokens\":null}", (struct resume_ask){.cap = 5}, "{" JOINED ",\"max_tokens\":2}");
	expect_body("{" USER ",\"max_tokens\":-1}", (struct resume_ask){0}, "{" JOINED ",\"max_tokens\":-1}");
}

static void test_options(void **state)
{
	begin("one \\\"two\\\"");
	resume_again(&s, 3);
	expect_body("{" USER "}", (struct resume_ask){.usage = true}, "{" JOINED ",\"stream_options\":{\"include_usage\":true}}");
	expect_body("{\"stream_options\":{\"a\":1,\"include_usage\":false}," USER "}", (struct resume_ask){.usage = true},
		    "{" JOINED ",\"stream_options\":{\"include_usage\":true,\"a\":1}}");
	expect_body("{\"stream_options\":{\"include_usage\":true}," USER "}", (struct resume_ask){0}, "{\"stream_options\":{\"include_usage\":true}," JOINED "}");
}

static void test_end(void **state)
{
	begin("x");
	buf_clear(&out);
	resume_end(&s, STR("m\"1"), &out);
	assert_str(buf_str(&out), "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\\\"1\",\"choices\":[{\"index\":0,\"delta\":{},"
				  "\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n");
	expect(FINISH("stop"), RESUME_SAME);
	buf_clear(&out);
	resume_end(&s, STR("m"), &out);
	assert_str(buf_str(&out), "data: [DONE]\n\n");
}

static void test_engines(void **state)
{
	assert_true(resume_engine(ENGINE_VLLM) && resume_engine(ENGINE_LLAMACPP) && resume_engine(ENGINE_OLLAMA) && resume_engine(ENGINE_SGLANG));
	assert_false(resume_engine(ENGINE_OPENAI) || resume_engine(ENGINE_LMSTUDIO) || resume_engine(ENGINE_NONE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_keeps_the_text), TEST(test_bars), TEST(test_does_not_bar), TEST(test_broken), TEST(test_too_long), TEST(test_whole), TEST(test_goes_on),
		TEST(test_odd_usage), TEST(test_white_space), TEST(test_only_white_space_begins_anew), TEST(test_nothing_had_come), TEST(test_role_alone_had_come),
		TEST(test_breaks_twice), TEST(test_more_than_text_goes_on), TEST(test_thinks_anew), TEST(test_allowed), TEST(test_bodies), TEST(test_caps),
		TEST(test_options), TEST(test_end), TEST(test_engines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
