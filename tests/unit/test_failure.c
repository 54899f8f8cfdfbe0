/* test_failure.c - what engines and clouds say when they refuse or fail, in every shape that is known of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/failure.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "arena_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct expectation {
	int status;
	const char *body;
	enum error error;
	int told; /* the status for the client */
	const char *message, *code, *param;
};

static struct failure read_of(int status, struct str body)
{
	struct failure f;
	failure_read(status, arena_dup(&arena, body), &arena, &f);
	return f;
}

static void expect(const struct expectation *e)
{
	struct failure f = read_of(e->status, str_from(e->body));
	if (f.error != e->error || f.status != e->told ||
	    !str_eq(f.message, str_from(e->message)) || !str_eq(f.code, str_from(e->code)) ||
	    !str_eq(f.param, str_from(e->param)))
		fail_msg(
			"%d %s\ngives error %d, status %d, \"%.*s\", code \"%.*s\", param \"%.*s\"",
			e->status, e->body, f.error, f.status, STR_ARG(f.message), STR_ARG(f.code),
			STR_ARG(f.param));
}

static void test_engines(void **state)
{
	static const struct expectation cases[] = {
		/* vLLM: an integer code; before that without a wrapper */
		{400,
		 "{\"error\":{\"message\":\"temperature must be "
		 "non-negative\",\"type\":\"BadRequestError\",\"param\":\"temperature\",\"code\":"
		 "400}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "temperature must be non-negative", NULL,
		 "temperature"},
		{404,
		 "{\"error\":{\"message\":\"The model `x` does not "
		 "exist.\",\"type\":\"NotFoundError\",\"param\":null,\"code\":404}}",
		 ERROR_MODEL_NOT_FOUND, 404, "The model `x` does not exist.", NULL, NULL},
		{400,
		 "{\"object\":\"error\",\"message\":\"bad\",\"type\":\"BadRequestError\",\"param\":"
		 "null,\"code\":400}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "bad", NULL, NULL},
		{500,
		 "{\"error\":{\"message\":\"CUDA out of "
		 "memory\",\"type\":\"InternalServerError\",\"code\":500}}",
		 ERROR_UPSTREAM_ERROR, 500, "CUDA out of memory", NULL, NULL},
		/* llama.cpp */
		{503,
		 "{\"error\":{\"code\":503,\"message\":\"Loading "
		 "model\",\"type\":\"unavailable_error\"}}",
		 ERROR_OVERLOADED, 0, "Loading model", NULL, NULL},
		{501,
		 "{\"error\":{\"code\":501,\"message\":\"no "
		 "embeddings\",\"type\":\"not_supported_error\"}}",
		 ERROR_UPSTREAM_ERROR, 501, "no embeddings", NULL, NULL},
		/* Ollama: OpenAI's shape, and its own */
		{404,
		 "{\"error\":{\"message\":\"model \\\"x\\\" not found, try pulling it "
		 "first\",\"type\":\"api_error\",\"param\":null,\"code\":null}}",
		 ERROR_MODEL_NOT_FOUND, 404, "model \"x\" not found, try pulling it first", NULL,
		 NULL},
		{400, "{\"error\":\"invalid options: foo\"}", ERROR_UPSTREAM_REFUSED_REQUEST, 400,
		 "invalid options: foo", NULL, NULL},
		/* and with llama.cpp's error as its text, by both doors */
		{400,
		 "{\"error\":\"{\\\"error\\\":{\\\"code\\\":400,\\\"message\\\":\\\"request (351 tokens) exceeds the available context size (256 tokens), try "
		 "increasing it\\\",\\\"type\\\":\\\"exceed_context_size_error\\\",\\\"n_prompt_tokens\\\":351,\\\"n_ctx\\\":256}}\"}",
		 ERROR_CONTEXT_LENGTH_EXCEEDED, 400, "request (351 tokens) exceeds the available context size (256 tokens), try increasing it", NULL, "messages"},
		{400,
		 "{\"error\":{\"message\":\"{\\\"error\\\":{\\\"code\\\":400,\\\"message\\\":\\\"no images\\\",\\\"type\\\":\\\"invalid_request_error\\\"}}\","
		 "\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "no images", NULL, NULL},
		{400, "{\"error\":\"{\\\"error\\\":\\\"{\\\\\\\"error\\\\\\\":1}\\\"}\"}", ERROR_UPSTREAM_REFUSED_REQUEST, 400, "{\"error\":1}", NULL, NULL},
		/* SGLang: no wrapper */
		{400,
		 "{\"object\":\"error\",\"message\":\"n must be "
		 "1\",\"type\":\"BadRequestError\",\"param\":\"n\",\"code\":400}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "n must be 1", NULL, "n"},
		{503,
		 "{\"object\":\"error\",\"message\":\"The request queue is full.\",\"code\":503}",
		 ERROR_OVERLOADED, 0, "The request queue is full.", NULL, NULL},
		/* LM Studio: an error with status 200 */
		{200, "{\"error\":\"Unexpected endpoint or method. (POST /v1/rerank)\"}",
		 ERROR_UPSTREAM_ERROR, 502, "Unexpected endpoint or method. (POST /v1/rerank)",
		 NULL, NULL},
		/* TGI */
		{422,
		 "{\"error\":\"Input validation error: `top_p` must be > "
		 "0.0\",\"error_type\":\"validation\"}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 422,
		 "Input validation error: `top_p` must be > 0.0", NULL, NULL},
		{424,
		 "{\"error\":\"Request failed during generation\",\"error_type\":\"generation\"}",
		 ERROR_UPSTREAM_ERROR, 0, "Request failed during generation", NULL, NULL},
		{429, "{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}",
		 ERROR_RATE_LIMIT_EXCEEDED, 0, "Model is overloaded", NULL, NULL},
		/* FastAPI, before any engine's own words */
		{422,
		 "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"model\"],\"msg\":\"Field "
		 "required\"}]}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 422, "Field required", NULL, "model"},
		{404, "{\"detail\":\"Not Found\"}", ERROR_MODEL_NOT_FOUND, 404, "Not Found", NULL,
		 NULL},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		expect(&cases[i]);
}

static void test_clouds(void **state)
{
	static const struct expectation cases[] = {
		/* OpenAI */
		{400,
		 "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"param\":"
		 "\"logprobs\",\"code\":\"unsupported_parameter\"}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "no", "unsupported_parameter", "logprobs"},
		{429,
		 "{\"error\":{\"message\":\"slow "
		 "down\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}",
		 ERROR_RATE_LIMIT_EXCEEDED, 0, "slow down", NULL, NULL},
		/* Mistral: no wrapper, the message may be an object */
		{422,
		 "{\"object\":\"error\",\"message\":{\"detail\":[{\"type\":\"extra_forbidden\","
		 "\"loc\":[\"body\",\"foo\"],"
		 "\"msg\":\"Extra inputs are not "
		 "permitted\",\"input\":1}]},\"type\":\"invalid_request_error\",\"param\":null,"
		 "\"code\":null}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 422, "Extra inputs are not permitted", NULL, "foo"},
		{422,
		 "{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"messages\",1,\"assistant\",\"reasoning_content\"],"
		 "\"msg\":\"Extra inputs are not permitted\"}]}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 422, "Extra inputs are not permitted", NULL, "messages.1.assistant.reasoning_content"},
		{429,
		 "{\"object\":\"error\",\"message\":\"Rate limit "
		 "exceeded\",\"type\":\"rate_limited\",\"param\":null,\"code\":\"1300\"}",
		 ERROR_RATE_LIMIT_EXCEEDED, 0, "Rate limit exceeded", NULL, NULL},
		/* OpenRouter: status 200, the real one inside */
		{200,
		 "{\"error\":{\"code\":402,\"message\":\"Insufficient "
		 "credits\"},\"user_id\":\"u\"}",
		 ERROR_UPSTREAM_AUTH, 0, NULL, NULL, NULL},
		{200,
		 "{\"error\":{\"code\":429,\"message\":\"Provider returned "
		 "error\",\"metadata\":{\"raw\":\"x\"}}}",
		 ERROR_RATE_LIMIT_EXCEEDED, 0, "Provider returned error", NULL, NULL},
		{200, "{\"error\":{\"code\":400,\"message\":\"bad\"}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "bad", NULL, NULL},
		{502, "{\"error\":{\"code\":502,\"message\":\"bad gateway\"}}",
		 ERROR_UPSTREAM_ERROR, 502, "bad gateway", NULL, NULL},
		/* Gemini: an array */
		{400,
		 "[{\"error\":{\"code\":400,\"message\":\"Unknown name "
		 "\\\"reasoning\\\"\",\"status\":\"INVALID_ARGUMENT\"}}]",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "Unknown name \"reasoning\"", NULL, NULL},
		/* Azure */
		{400,
		 "{\"error\":{\"code\":\"content_filter\",\"message\":\"filtered\",\"param\":"
		 "\"prompt\",\"status\":400}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "filtered", "content_filter", "prompt"},
		{404, "{\"error\":{\"code\":\"DeploymentNotFound\",\"message\":\"none\"}}",
		 ERROR_MODEL_NOT_FOUND, 404, "none", NULL, NULL},
		/* Anthropic */
		{529,
		 "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":"
		 "\"Overloaded\"},\"request_id\":\"r\"}",
		 ERROR_OVERLOADED, 0, "Overloaded", NULL, NULL},
		{413,
		 "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"too "
		 "large\"}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 413, "too large", NULL, NULL},
		/* Groq */
		{498, "{\"error\":{\"message\":\"flex capacity\"}}", ERROR_RATE_LIMIT_EXCEEDED, 0,
		 "flex capacity", NULL, NULL},
		{400,
		 "{\"error\":{\"message\":\"Failed to call a function\",\"type\":\"invalid_request_error\",\"code\":\"tool_use_failed\","
		 "\"failed_generation\":\"<f\"}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "Failed to call a function", "tool_use_failed", NULL},
		{499, "{\"error\":{\"message\":\"closed\"}}", ERROR_UPSTREAM_ERROR, 0, "closed", NULL, NULL},
		/* OpenRouter: a moderation is not a wrong secret, and the provider's own words may say more */
		{403,
		 "{\"error\":{\"code\":403,\"message\":\"Input was flagged\",\"metadata\":{\"reasons\":[\"violence\"],\"flagged_input\":\"x\"}}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "Input was flagged", "content_filter", NULL},
		{200,
		 "{\"error\":{\"code\":403,\"message\":\"Input was flagged\",\"metadata\":{\"reasons\":[\"violence\"]}}}",
		 ERROR_UPSTREAM_REFUSED_REQUEST, 400, "Input was flagged", "content_filter", NULL},
		{400,
		 "{\"error\":{\"code\":400,\"message\":\"Provider returned error\",\"metadata\":{\"provider_name\":\"p\","
		 "\"raw\":\"{\\\"message\\\":\\\"This model's maximum context length is 4096 tokens\\\"}\"}}}",
		 ERROR_CONTEXT_LENGTH_EXCEEDED, 400, "Provider returned error", NULL, "messages"},
		{413, "{\"error\":{\"code\":413,\"message\":\"too many tokens\"}}", ERROR_CONTEXT_LENGTH_EXCEEDED, 400, "too many tokens", NULL,
		 "messages"},
		{524, "{\"error\":{\"code\":524,\"message\":\"edge\"}}", ERROR_UPSTREAM_ERROR, 524, "edge", NULL, NULL},
		{529, "{\"error\":{\"code\":529,\"message\":\"full\"}}", ERROR_OVERLOADED, 0, "full", NULL, NULL},
		/* Azure: a code that is a number in quotes */
		{429, "{\"error\":{\"code\":\"429\",\"message\":\"wait\"}}", ERROR_RATE_LIMIT_EXCEEDED, 0, "wait", NULL, NULL},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		expect(&cases[i]);
}

/* Each status that is no refusal, and what comes with no words at all. */
static void test_statuses(void **state)
{
	static const struct expectation cases[] = {
		{402, "", ERROR_UPSTREAM_AUTH, 0, "", NULL, NULL},
		{408, "", ERROR_UPSTREAM_TIMEOUT, 0, "", NULL, NULL},
		{409, "", ERROR_UPSTREAM_ERROR, 0, "", NULL, NULL},
		{425, "", ERROR_UPSTREAM_ERROR, 0, "", NULL, NULL},
		{429, "", ERROR_RATE_LIMIT_EXCEEDED, 0, "", NULL, NULL},
		{500, "", ERROR_UPSTREAM_ERROR, 500, "", NULL, NULL},
		{502, "<html>Bad Gateway</html>", ERROR_UPSTREAM_ERROR, 502, "", NULL, NULL},
		{503, "null", ERROR_OVERLOADED, 0, "", NULL, NULL},
		{504, "[]", ERROR_UPSTREAM_TIMEOUT, 0, "", NULL, NULL},
		{524, "{}", ERROR_UPSTREAM_ERROR, 524, "", NULL, NULL},
		{999, "{\"error\":", ERROR_UPSTREAM_ERROR, 502, "", NULL, NULL},
		{418, "\"tea\"", ERROR_UPSTREAM_REFUSED_REQUEST, 418, "", NULL, NULL},
		{200, "{\"error\":{}}", ERROR_UPSTREAM_ERROR, 502, "", NULL, NULL},
		{200, "{\"error\":{\"code\":399}}", ERROR_UPSTREAM_ERROR, 502, "", NULL, NULL},
		{200, "{\"error\":{\"code\":99999999999999999999}}", ERROR_UPSTREAM_ERROR, 502, "",
		 NULL, NULL},
		{200, "{\"error\":{\"code\":-400}}", ERROR_UPSTREAM_ERROR, 502, "", NULL, NULL},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		expect(&cases[i]);
}

/* It may repeat the secret. */
static void test_auth_is_not_shown(void **state)
{
	static const struct expectation cases[] = {
		{401,
		 "{\"error\":{\"message\":\"Incorrect API key provided: "
		 "sk-12345\",\"code\":\"invalid_api_key\",\"param\":\"sk-12345\"}}",
		 ERROR_UPSTREAM_AUTH, 0, NULL, NULL, NULL},
		{401, "{\"error\":\"Unauthorized\"}", ERROR_UPSTREAM_AUTH, 0, NULL, NULL, NULL},
		{401, "{\"detail\":\"Unauthorized\"}", ERROR_UPSTREAM_AUTH, 0, NULL, NULL, NULL},
		{403, "{\"error\":{\"message\":\"key sk-12345 may not\"}}", ERROR_UPSTREAM_AUTH, 0,
		 NULL, NULL, NULL},
		{407, "sk-12345", ERROR_UPSTREAM_AUTH, 0, NULL, NULL, NULL},
		{200, "{\"error\":{\"code\":401,\"message\":\"No auth: sk-12345\"}}",
		 ERROR_UPSTREAM_AUTH, 0, NULL, NULL, NULL},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		expect(&cases[i]);
}

/* Nothing that the client could change: no credit, and what Gemini says of a wrong secret. */
static void test_billing(void **state)
{
	struct failure f = read_of(402, STR("{\"error\":{\"message\":\"Insufficient Balance\",\"type\":\"unknown_error\",\"code\":\"invalid\"}}"));
	assert_int_equal(f.error, ERROR_UPSTREAM_AUTH);
	assert_true(f.billing && f.message.len == 0 && f.code.len == 0);
	f = read_of(429, STR("{\"error\":{\"message\":\"quota\",\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\"}}"));
	assert_true(f.error == ERROR_UPSTREAM_AUTH && f.billing && f.status == 0);
	f = read_of(429, STR("{\"error\":{\"message\":\"quota\",\"type\":\"insufficient_quota\"}}"));
	assert_true(f.error == ERROR_UPSTREAM_AUTH && f.billing);
	f = read_of(401, STR("{}"));
	assert_true(f.error == ERROR_UPSTREAM_AUTH && !f.billing);
	f = read_of(400, STR("[{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API key.\",\"status\":\"INVALID_ARGUMENT\"}}]"));
	assert_true(f.error == ERROR_UPSTREAM_AUTH && !f.billing && f.message.len == 0);
}

/* When to come back, as Gemini says it. */
static void test_retry_delay(void **state)
{
	static const struct {
		const char *delay;
		int64_t ms;
	} cases[] = {
		{"37s", 37000}, {"1.5s", 1500}, {"0.0625s", 62}, {"0s", 0}, {"7", 0}, {"s", 0}, {"-1s", 0}, {"1.-5s", 0}, {"x7s", 0}, {"99999999s", 0},
		{"1.s", 1000}, {"", 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct failure f = read_of(429, arena_printf(&arena,
							     "[{\"error\":{\"code\":429,\"message\":\"slow\",\"status\":\"RESOURCE_EXHAUSTED\",\"details\":["
							     "{\"@type\":\"type.googleapis.com/google.rpc.Help\"},7,{\"@type\":"
							     "\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"%s\"}]}}]",
							     cases[i].delay));
		assert_int_equal(f.error, ERROR_RATE_LIMIT_EXCEEDED);
		if (f.retry_ms != cases[i].ms)
			fail_msg("%s gives %lld ms", cases[i].delay, (long long)f.retry_ms);
	}
}

static void test_context_length(void **state)
{
	static const char *const texts[] = {
		"This model's maximum context length is 4096 tokens. However, you requested 5000 "
		"tokens.",
		"The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
		"the request exceeds the available context size, try increasing it",
		"the input length exceeds the context length",
		"The input (5000 tokens) is longer than the model's context length (4096 tokens).",
		"Trying to keep the first 5000 tokens when context the overflows. However, the "
		"model is loaded with context length of only 4096 tokens.",
		"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
		"Given: 5000 `inputs` tokens",
		"prompt is too long: 200001 tokens > 200000 maximum",
		"The input token count (2000000) exceeds the maximum number of tokens allowed "
		"(1048576).",
		"the input token count of 5 exceeds the maximum",
	};
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct str body = arena_printf(
			&arena, "{\"error\":{\"message\":\"%s\",\"code\":400}}", texts[i]);
		struct failure f = read_of(i % 2 ? 400 : 413, body);
		if (f.error != ERROR_CONTEXT_LENGTH_EXCEEDED)
			fail_msg("not seen: %s", texts[i]);
		assert_int_equal(f.status, 400);
		assert_true(str_eq(f.param, STR("messages")) && f.code.len == 0);
		assert_true(str_eq(f.message, str_from(texts[i])));
	}
	struct failure f = read_of(400, STR("{\"error\":{\"message\":\"x\",\"code\":\"context_"
					    "length_exceeded\",\"param\":\"input\"}}"));
	assert_int_equal(f.error, ERROR_CONTEXT_LENGTH_EXCEEDED);
	assert_true(str_eq(f.param, STR("input")));
	f = read_of(400, STR("{\"error\":{\"code\":400,\"message\":\"x\",\"type\":\"exceed_context_"
			     "size_error\",\"n_ctx\":4096}}"));
	assert_int_equal(f.error, ERROR_CONTEXT_LENGTH_EXCEEDED);
	f = read_of(500, STR("{\"error\":{\"message\":\"x maximum context length y\"}}"));
	assert_int_equal(f.error, ERROR_UPSTREAM_ERROR);
}

static void test_cleaned(void **state)
{
	struct failure f = read_of(400, STR("{\"error\":{\"message\":\"a\\u0000b\\r\\n\\u001b["
					    "31mred\\u007f\\u009b \\u00e9\\ud83d\","
					    "\"param\":\"p\\nq\",\"code\":\"No Word\"}}"));
	assert_true(str_eq(f.message, STR("a?b???[31mred?? \xc3\xa9\xef\xbf\xbd")));
	assert_true(str_eq(f.param, STR("p?q")));
	assert_int_equal(f.code.len, 0);
	f = read_of(400,
		    STR("{\"error\":{\"message\":\"\xff\xfe\"}}")); /* not JSON: nothing usable */
	assert_int_equal(f.message.len, 0);
}

static void test_long_texts(void **state)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	BUF_ADD(&b, "{\"error\":{\"message\":\"x");
	for (int i = 0; i < 1000; i++)
		BUF_ADD(&b, "\xc3\xa9");
	BUF_ADD(&b, "\",\"param\":\"");
	for (int i = 0; i < 1000; i++)
		BUF_ADD(&b, "p");
	BUF_ADD(&b, "\",\"code\":\"");
	for (int i = 0; i < 65; i++)
		BUF_ADD(&b, "c");
	BUF_ADD(&b, "\"}}");
	struct failure f = read_of(400, buf_str(&b));
	assert_int_equal(f.message.len, FAILURE_TEXT_MAX - 1); /* no half character */
	assert_int_equal(f.param.len, FAILURE_TEXT_MAX);
	assert_int_equal(f.code.len, 0);
	buf_release(&b);
}

/* Members of the wrong type, in every place. */
static void test_odd_members(void **state)
{
	static const char *const bodies[] = {
		"{\"error\":[]}",
		"{\"error\":7}",
		"{\"error\":null}",
		"{\"error\":true}",
		"{\"message\":7}",
		"{\"message\":[]}",
		"{\"message\":{\"detail\":{}}}",
		"{\"detail\":{}}",
		"{\"detail\":[]}",
		"{\"detail\":[7]}",
		"{\"detail\":[{\"msg\":7}]}",
		"{\"detail\":{\"detail\":{\"detail\":[]}}}",
		"[[{\"error\":\"x\"}]]",
		"[7]",
		"{\"error\":{\"message\":{\"detail\":[[]]}}}",
	};
	for (size_t i = 0; i < COUNT(bodies); i++) {
		struct failure f = read_of(400, str_from(bodies[i]));
		if (f.error != ERROR_UPSTREAM_REFUSED_REQUEST || f.message.len || f.code.len ||
		    f.param.len)
			fail_msg("something was found in %s", bodies[i]);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_engines),           T(test_clouds),         T(test_statuses),
		T(test_billing),           T(test_retry_delay),
		T(test_auth_is_not_shown), T(test_context_length), T(test_cleaned),
		T(test_long_texts),        T(test_odd_members),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
