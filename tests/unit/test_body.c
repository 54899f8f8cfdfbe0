/* test_body.c - what is read of a request's body, every refusal with its words, and the few bytes that are replaced on the way to an engine.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/body.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "text_fixture.h"
#include "arena_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define MESSAGES     "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define FORM_TYPE    "multipart/form-data; boundary=xyz"

/* Exactly as long as it is. */
static struct str exact(const char *text)
{
	return arena_dup(&arena, str_from(text));
}

static void refuse(enum operation op, const char *body, const char *type, enum error want,
		   const char *param, const char *text)
{
	struct body_facts facts;
	struct str at;
	struct buf why;
	buf_init(&why, 1024);
	enum error e =
		body_read(&operations[op], exact(body), str_from(type), &arena, &facts, &at, &why);
	if (e != want)
		fail_msg("error %d, expected %d, of: %s", e, want, body);
	assert_str(at, param);
	assert_str(buf_str(&why), text);
	buf_release(&why);
}

static struct body_facts take(enum operation op, struct str body, const char *type)
{
	struct body_facts facts;
	struct str param;
	struct buf why;
	buf_init(&why, 1024);
	enum error e =
		body_read(&operations[op], body, str_from(type), &arena, &facts, &param, &why);
	if (e)
		fail_msg("refused with %.*s: %.*s", STR_ARG(buf_str(&why)), STR_ARG(body));
	assert_int_equal(why.len, 0);
	assert_int_equal(param.len, 0);
	return facts;
}

/* The parts as one text; that they are at most BODY_PARTS, none empty, and that their sum is told. */
static struct str joined(const struct body_facts *facts, struct str body, const char *model,
			 bool ask_usage)
{
	struct iovec parts[BODY_PARTS];
	struct buf out;
	size_t length, sum = 0;
	buf_init(&out, 1 << 20);
	int n = body_parts(facts, body, &(struct body_changes){str_from(model), ask_usage, 0}, &arena, parts, &length);
	assert_in_range(n, 1, BODY_PARTS);
	for (int i = 0; i < n; i++) {
		assert_true(parts[i].iov_len > 0);
		sum += parts[i].iov_len;
		buf_add(&out, parts[i].iov_base, parts[i].iov_len);
	}
	assert_int_equal(sum, length);
	struct str copy = arena_dup(&arena, buf_str(&out));
	buf_release(&out);
	return copy;
}

static void expect_parts(enum operation op, const char *body, const char *model, bool ask_usage,
			 const char *want)
{
	struct str text = exact(body);
	struct body_facts facts = take(op, text, "application/json");
	struct str got = joined(&facts, text, model, ask_usage);
	assert_str(got, want);
	struct json_fail fail;
	if (!json_parse(&arena, got, &fail))
		fail_msg("does not parse: %.*s", STR_ARG(got));
}

/* ---- refusals ---- */

static void refuse_chat(const char *body, enum error e, const char *param, const char *text)
{
	refuse(OP_CHAT, body, "application/json", e, param, text);
}

static void test_refuse_json(void **state)
{
	const enum error e = ERROR_INVALID_JSON;
	refuse_chat("", e, "", "the body is not valid JSON: expected a value at byte 0");
	refuse_chat("{", e, "",
		    "the body is not valid JSON: expected a member name in quotes at byte 1");
	refuse_chat("{\"model\":\"m\",}", e, "",
		    "the body is not valid JSON: expected a member name in quotes at byte 13");
	refuse_chat("{\"model\":\"m\"} {}", e, "",
		    "the body is not valid JSON: expected the end of the text at byte 14");
	refuse_chat("{\"model\":\"\xff\"}", e, "",
		    "the body is not valid JSON: invalid UTF-8 at byte 10");
	refuse_chat("[]", e, "", "the body must be a JSON object");
	refuse_chat("\"model\"", e, "", "the body must be a JSON object");
	refuse_chat("null", e, "", "the body must be a JSON object");
}

static void test_refuse_model(void **state)
{
	refuse_chat("{" MESSAGES "}", ERROR_MISSING_PARAMETER, "model",
		    "you must provide a model parameter");
	refuse_chat("{\"model\":null}", ERROR_MISSING_PARAMETER, "model",
		    "you must provide a model parameter");
	refuse_chat("{\"x\":{\"model\":\"m\"}}", ERROR_MISSING_PARAMETER, "model",
		    "you must provide a model parameter");
	refuse_chat("{\"model\":7}", ERROR_INVALID_TYPE, "model", "'model' must be a string");
	refuse_chat("{\"model\":[\"m\"]}", ERROR_INVALID_TYPE, "model", "'model' must be a string");
	refuse_chat("{\"model\":\"\"}", ERROR_INVALID_VALUE, "model",
		    "'model' must be a name of 1 to 512 bytes");
	struct buf b;
	buf_init(&b, 4096);
	buf_addf(&b, "{\"model\":\"%0513d\"}", 0);
	buf_addc(&b, 0);
	refuse_chat(b.ptr, ERROR_INVALID_VALUE, "model",
		    "'model' must be a name of 1 to 512 bytes");
	buf_clear(&b);
	buf_addf(&b, "{\"model\":\"%0512d\"," MESSAGES "}", 0);
	assert_int_equal(take(OP_CHAT, buf_str(&b), "").model.len, 512);
	buf_release(&b);
}

static void test_refuse_twice(void **state)
{
	static const char *const names[] = {
		"model", "stream", "max_tokens", "max_completion_tokens", "n", "stream_options"};
	for (size_t i = 0; i < COUNT(names); i++) {
		struct str body = arena_printf(&arena, "{\"model\":\"m\",\"%s\":1,\"%s\":2}",
					       names[i], names[i]);
		struct str text =
			arena_printf(&arena, "'%s' stands more than once in the body", names[i]);
		refuse_chat(body.ptr, ERROR_DUPLICATE_PARAMETER, names[i], text.ptr);
	}
	refuse_chat("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", ERROR_DUPLICATE_PARAMETER, "model",
		    "'model' stands more than once in the body");
}

static void test_refuse_types(void **state)
{
	refuse_chat("{\"model\":\"m\",\"stream\":\"true\"}", ERROR_INVALID_TYPE, "stream",
		    "'stream' must be true or false");
	refuse_chat("{\"model\":\"m\",\"stream\":1}", ERROR_INVALID_TYPE, "stream",
		    "'stream' must be true or false");
	refuse_chat("{\"model\":\"m\",\"max_tokens\":\"5\"}", ERROR_INVALID_TYPE, "max_tokens",
		    "'max_tokens' must be an integer");
	refuse_chat("{\"model\":\"m\",\"max_tokens\":1.5}", ERROR_INVALID_TYPE, "max_tokens",
		    "'max_tokens' must be an integer");
	refuse_chat("{\"model\":\"m\",\"max_tokens\":-2}", ERROR_INVALID_VALUE, "max_tokens",
		    "'max_tokens' must be between -1 and 2147483647");
	refuse_chat("{\"model\":\"m\",\"max_completion_tokens\":2147483648}", ERROR_INVALID_VALUE,
		    "max_completion_tokens",
		    "'max_completion_tokens' must be between -1 and 2147483647");
	refuse_chat("{\"model\":\"m\",\"max_completion_tokens\":99999999999999999999}",
		    ERROR_INVALID_TYPE, "max_completion_tokens",
		    "'max_completion_tokens' must be an integer");
	refuse_chat("{\"model\":\"m\",\"n\":0}", ERROR_INVALID_VALUE, "n",
		    "'n' must be between 1 and 128");
	refuse_chat("{\"model\":\"m\",\"n\":129}", ERROR_INVALID_VALUE, "n",
		    "'n' must be between 1 and 128");
	refuse_chat("{\"model\":\"m\",\"stream_options\":[]}", ERROR_INVALID_TYPE, "stream_options",
		    "'stream_options' must be an object");
}

static void test_refuse_messages(void **state)
{
	refuse_chat("{\"model\":\"m\"}", ERROR_MISSING_PARAMETER, "messages",
		    "you must provide a messages parameter");
	refuse_chat("{\"model\":\"m\",\"messages\":null}", ERROR_MISSING_PARAMETER, "messages",
		    "you must provide a messages parameter");
	refuse_chat("{\"model\":\"m\",\"messages\":\"hi\"}", ERROR_INVALID_TYPE, "messages",
		    "'messages' must be an array");
	refuse(OP_MESSAGES, "{\"model\":\"m\",\"messages\":{}}", "", ERROR_INVALID_TYPE, "messages",
	       "'messages' must be an array");
	take(OP_COMPLETIONS, STR("{\"model\":\"m\"}"), "");
	take(OP_EMBEDDINGS, STR("{\"model\":\"m\",\"stream\":\"what\",\"stream_options\":7}"), "");
}

static void refuse_form(const char *body, const char *type, enum error e, const char *param,
			const char *text)
{
	refuse(OP_TRANSCRIPTIONS, body, type, e, param, text);
}

#define PART(name, value) \
	"--xyz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static void test_refuse_forms(void **state)
{
	refuse_form(PART("model", "m") "--xyz--\r\n", "application/json", ERROR_INVALID_FORM, "",
		    "the body must be multipart/form-data with a boundary");
	refuse_form(PART("model", "m") "--xyz--\r\n", "multipart/form-data", ERROR_INVALID_FORM, "",
		    "the body must be multipart/form-data with a boundary");
	refuse_form(PART("model", "m"), FORM_TYPE, ERROR_INVALID_FORM, "",
		    "the body is not a valid multipart/form-data form");
	refuse_form("", FORM_TYPE, ERROR_INVALID_FORM, "",
		    "the body is not a valid multipart/form-data form");
	refuse_form(PART("file", "x") "--xyz--\r\n", FORM_TYPE, ERROR_MISSING_PARAMETER, "model",
		    "you must provide a model parameter");
	refuse_form(PART("model", "a") PART("model", "b") "--xyz--\r\n", FORM_TYPE,
		    ERROR_DUPLICATE_PARAMETER, "model",
		    "'model' stands more than once in the form");
	refuse_form(PART("model", " \t") "--xyz--\r\n", FORM_TYPE, ERROR_INVALID_VALUE, "model",
		    "'model' must be a name of 1 to 512 bytes");
}

/* ---- facts ---- */

static void test_facts(void **state)
{
	struct body_facts f = take(
		OP_CHAT,
		STR("{" MESSAGES ",\"model\":\"Qwen\\/Qwen\\u0033\",\"stream\":true,\"n\":1,"
		    "\"max_tokens\":-1,\"max_completion_tokens\":null,\"temperature\":\"odd\"}"),
		"");
	assert_str(f.model, "Qwen/Qwen3");
	assert_str(f.model_raw, "\"Qwen\\/Qwen\\u0033\"");
	assert_true(f.stream && !f.usage_asked && !f.form && f.usage.at);
	f = take(OP_CHAT,
		 STR("\xef\xbb\xbf {\"model\":\"m\"," MESSAGES
		     ",\"stream\":null,\"stream_options\":null} \n"),
		 "");
	assert_true(!f.stream && !f.usage.at);
	f = take(OP_RESPONSES,
		 STR("{\"model\":\"m\",\"input\":\"x\",\"stream\":true,\"stream_options\":{}}"),
		 "");
	assert_true(f.stream && !f.usage.at);
	f = take(OP_EMBEDDINGS, STR("{\"model\":\"m\",\"stream\":true}"), "");
	assert_false(f.stream);
	f = take(OP_CHAT,
		 STR("{\"model\":\"m\"," MESSAGES
		     ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"),
		 "");
	assert_true(f.usage_asked && !f.usage.at);
}

static void test_form_facts(void **state)
{
	struct str body = STR(PART("file", "RIFF\r\n--xy") PART("model", " whisper-1 ")
				      PART("stream", "TRUE") "--xyz--\r\n");
	struct body_facts f = take(OP_TRANSCRIPTIONS, body, FORM_TYPE);
	assert_str(f.model, "whisper-1");
	assert_str(f.model_raw, " whisper-1 ");
	assert_true(f.form && f.stream && !f.usage.at);
	assert_str(joined(&f, body, "large/v3 \"x\"", true),
		   PART("file", "RIFF\r\n--xy") PART("model", "large/v3 \"x\"")
			   PART("stream", "TRUE") "--xyz--\r\n");
	assert_str(joined(&f, body, "whisper-1", true), body.ptr);
}

/* ---- what goes out ---- */

static void test_untouched(void **state)
{
	static const char *const bodies[] = {
		"{\"model\":\"m\"," MESSAGES "}",
		" \n{ \"model\" : \"\\u006d\" ,\t" MESSAGES ", \"x\": 1.50e+3 } ",
		"{\"x\":\"\\ud83d\",\"x\":2," MESSAGES ",\"model\":\"m\"}",
	};
	for (size_t i = 0; i < COUNT(bodies); i++)
		expect_parts(OP_CHAT, bodies[i], "m", true, bodies[i]);
}

static void test_model_replaced(void **state)
{
	expect_parts(OP_CHAT, "{\"model\":\"m\"," MESSAGES "}", "Qwen/Qwen3", false,
		     "{\"model\":\"Qwen/Qwen3\"," MESSAGES "}");
	expect_parts(OP_CHAT, "{" MESSAGES ", \"model\" : \"m\" }", "e", false,
		     "{" MESSAGES ", \"model\" : \"e\" }");
	expect_parts(OP_CHAT, "{\"a\":{\"model\":\"m\"},\"mod\\u0065l\":\"\\u006d\"," MESSAGES "}",
		     "e", false, "{\"a\":{\"model\":\"m\"},\"mod\\u0065l\":\"e\"," MESSAGES "}");
	expect_parts(OP_CHAT, "{\"x\":\"\\\"model\\\":\\\"m\\\"\",\"model\":\"m\"," MESSAGES "}",
		     "a\"b\\c\nd", false,
		     "{\"x\":\"\\\"model\\\":\\\"m\\\"\",\"model\":\"a\\\"b\\\\c\\nd\"," MESSAGES
		     "}");
	expect_parts(OP_EMBEDDINGS, "{\"model\":\"m\"}", "\xc3\xa9\xf0\x9f\x98\x80", false,
		     "{\"model\":\"\xc3\xa9\xf0\x9f\x98\x80\"}");
}

/* The five situations of stream_options, with and without another model before and behind it. */
static void test_usage_asked_for(void **state)
{
	static const struct {
		const char *options, *want;
	} cases[] = {
		{"", ""}, /* absent: added in front, see below */
		{",\"stream_options\":null", ",\"stream_options\":{\"include_usage\":true}"},
		{",\"stream_options\":{ }", ",\"stream_options\":{\"include_usage\":true }"},
		{",\"stream_options\":{\"continuous\": {\"include_usage\":1}}",
		 ",\"stream_options\":{\"include_usage\":true,\"continuous\": "
		 "{\"include_usage\":1}}"},
		{",\"stream_options\":{\"include_usage\" : false, \"x\":1}",
		 ",\"stream_options\":{\"include_usage\" : true, \"x\":1}"},
		{",\"stream_options\":{\"include_usage\":null}",
		 ",\"stream_options\":{\"include_usage\":true}"},
		{",\"stream_options\":{\"include_usage\":\"yes\"}",
		 ",\"stream_options\":{\"include_usage\":true}"},
		{",\"stream_options\":{\"include_us\\u0061ge\":false}",
		 ",\"stream_options\":{\"include_us\\u0061ge\":true}"},
		{",\"stream_options\":{\"include_usage\":true}",
		 ",\"stream_options\":{\"include_usage\":true}"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *options = cases[i].options, *want = cases[i].want,
			   *front = *want ? "" : "\"stream_options\":{\"include_usage\":true},";
		for (int renamed = 0; renamed < 2; renamed++) {
			const char *model = renamed ? "engine/model" : "m";
			struct str body = arena_printf(
				&arena, " { \"model\":\"m\"," MESSAGES ",\"stream\":true%s }",
				options);
			struct str out = arena_printf(
				&arena, " {%s \"model\":\"%s\"," MESSAGES ",\"stream\":true%s }",
				front, model, want);
			expect_parts(OP_CHAT, body.ptr, model, true, out.ptr);
			body = arena_printf(
				&arena, "{\"a\":1%s,\"stream\":true," MESSAGES ",\"model\":\"m\"}",
				options);
			out = arena_printf(&arena,
					   "{%s\"a\":1%s,\"stream\":true," MESSAGES
					   ",\"model\":\"%s\"}",
					   front, want, model);
			expect_parts(OP_CHAT, body.ptr, model, true, out.ptr);
			expect_parts(OP_CHAT, body.ptr, "m", false, body.ptr);
		}
	}
}

static void test_usage_only_where_it_means_something(void **state)
{
	expect_parts(OP_CHAT, "{\"model\":\"m\"," MESSAGES "}", "m", true,
		     "{\"model\":\"m\"," MESSAGES "}");
	expect_parts(OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"stream\":false}", "m", true,
		     "{\"model\":\"m\"," MESSAGES ",\"stream\":false}");
	expect_parts(OP_MESSAGES, "{\"model\":\"m\"," MESSAGES ",\"stream\":true}", "m", true,
		     "{\"model\":\"m\"," MESSAGES ",\"stream\":true}");
	expect_parts(
		OP_COMPLETIONS, "{\"model\":\"m\",\"stream\":true}", "m", true,
		"{\"stream_options\":{\"include_usage\":true},\"model\":\"m\",\"stream\":true}");
}

/* Members that are not ours keep their bytes, their order and their spelling. */
static void test_the_rest_is_kept(void **state)
{
	struct str body =
		exact("{\"a\":1e5,\"model\":\"m\",\"b\":[ 1 "
		      ",2.0],\"stream\":true,\"c\":\"\\u00e9\\/\"," MESSAGES ",\"d\":{}}");
	struct body_facts f = take(OP_CHAT, body, "");
	struct str out = joined(&f, body, "other", true);
	struct json_fail fail;
	const struct json *before = json_parse(&arena, body, &fail),
			  *after = json_parse(&arena, out, &fail);
	assert_non_null(after);
	assert_int_equal(after->count, before->count + 1);
	const struct json *y = after->first;
	assert_str(y->key, "stream_options");
	y = y->next;
	for (const struct json *x = before->first; x; x = x->next, y = y->next) {
		assert_true(str_eq(x->key, y->key));
		if (str_eq(x->key, STR("model")))
			assert_str(y->raw, "other");
		else
			assert_true(str_eq(x->raw, y->raw));
	}
	assert_null(y);
}

/* ---- how long answer and prompt may be ---- */

static void expect_capped(enum operation op, const char *body, int64_t cap, const char *want)
{
	struct iovec parts[BODY_PARTS];
	struct str text = exact(body);
	struct body_facts facts = take(op, text, "application/json");
	size_t length;
	struct buf out;
	buf_init(&out, 1 << 16);
	int n = body_parts(&facts, text, &(struct body_changes){STR("m"), true, cap}, &arena, parts, &length);
	for (int i = 0; i < n; i++)
		buf_add(&out, parts[i].iov_base, parts[i].iov_len);
	assert_str(buf_str(&out), want);
	buf_release(&out);
}

static void test_caps(void **state)
{
	expect_capped(OP_CHAT, "{\"model\":\"m\"," MESSAGES "}", 50, "{\"max_tokens\":50,\"model\":\"m\"," MESSAGES "}");
	expect_capped(OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":40}", 50, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":40}");
	expect_capped(OP_CHAT, "{\"max_completion_tokens\":99,\"model\":\"m\"," MESSAGES ",\"max_tokens\":51}", 50,
		      "{\"max_completion_tokens\":50,\"model\":\"m\"," MESSAGES ",\"max_tokens\":50}");
	expect_capped(OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":null}", 50, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":50}");
	expect_capped(OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":-1}", 50, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":50}");
	expect_capped(OP_COMPLETIONS, "{\"stream\":true,\"model\":\"m\"}", 5,
		      "{\"stream_options\":{\"include_usage\":true},\"max_tokens\":5,\"stream\":true,\"model\":\"m\"}");
	expect_capped(OP_RESPONSES, "{\"model\":\"m\",\"max_output_tokens\":1000}", 7, "{\"model\":\"m\",\"max_output_tokens\":7}");
	expect_capped(OP_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"x\"}", 7, "{\"model\":\"m\",\"input\":\"x\"}");
}

static void test_what_the_client_lets_an_answer_have(void **state)
{
	static const struct {
		enum operation op;
		const char *body;
		int64_t output, choices;
	} cases[] = {
		{OP_CHAT, "{\"model\":\"m\"," MESSAGES "}", 0, 1},
		{OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":10,\"n\":3}", 30, 3},
		{OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":10,\"max_completion_tokens\":20}", 20, 1},
		{OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":10,\"max_completion_tokens\":null}", 0, 1},
		{OP_CHAT, "{\"model\":\"m\"," MESSAGES ",\"max_tokens\":0}", 0, 1},
		{OP_COMPLETIONS, "{\"model\":\"m\",\"max_tokens\":10,\"n\":2,\"best_of\":5}", 50, 5},
		{OP_RESPONSES, "{\"model\":\"m\",\"max_output_tokens\":9}", 9, 1},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct body_facts f = take(cases[i].op, exact(cases[i].body), "");
		assert_int_equal(f.output, cases[i].output);
		assert_int_equal(f.choices, cases[i].choices);
		assert_false(f.continues);
	}
	assert_true(take(OP_RESPONSES, exact("{\"model\":\"m\",\"previous_response_id\":\"r\"}"), "").continues);
	assert_false(take(OP_RESPONSES, exact("{\"model\":\"m\",\"previous_response_id\":null}"), "").continues);
	refuse(OP_CHAT, "{\"model\":\"m\",\"max_output_tokens\":1,\"max_output_tokens\":2," MESSAGES "}", "", ERROR_DUPLICATE_PARAMETER, "max_output_tokens",
	       "'max_output_tokens' stands more than once in the body");
}

static void test_the_bound_of_a_prompt(void **state)
{
	char *large = arena_alloc(&arena, 200001);
	memset(large, 'A', 200000);
	large[200000] = 0;
	struct str text = arena_printf(&arena, "{\"model\":\"m\",\"messages\":[{\"content\":\"%s\"}]}", large);
	assert_in_range(body_input_bound(text), 200000, 200200);
	struct str image = arena_printf(&arena, "{\"content\":[{\"type\" : \"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,%s\"}},{\"type\":\"text\"}]}", large);
	assert_in_range(body_input_bound(image), 8192, 8600); /* a picture, not 200,000 letters */
	assert_in_range(body_input_bound(exact("{\"content\":[{\"type\":\"image\"},{\"type\":\"document\"}]}")), 16384, 16600);
	assert_in_range(body_input_bound(exact("{\"type\"")), 1, 100);
	assert_in_range(body_input_bound(exact("")), 1, 100);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_refuse_json),
		T(test_refuse_model),
		T(test_refuse_twice),
		T(test_refuse_types),
		T(test_refuse_messages),
		T(test_refuse_forms),
		T(test_facts),
		T(test_form_facts),
		T(test_untouched),
		T(test_model_replaced),
		T(test_usage_asked_for),
		T(test_usage_only_where_it_means_something),
		T(test_the_rest_is_kept),
		T(test_caps),
		T(test_what_the_client_lets_an_answer_have),
		T(test_the_bound_of_a_prompt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
