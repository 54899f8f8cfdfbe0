/* test_operation.c - which operation a path asks for, however it is written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/operation.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* NULL: no rest is expected. */
static void expect(const char *path, enum operation want, const char *want_rest)
{
	struct str rest = STR_NONE;
	size_t len = strlen(path);
	char *copy = mem_alloc(len);
	memcpy(copy, path, len);
	enum operation got = operation_find(str_of(copy, len), &rest);
	if (got != want)
		fail_msg("%s is operation %d, expected %d", path, got, want);
	if (want_rest && !str_eq(rest, str_from(want_rest)))
		fail_msg("%s leaves \"%.*s\", expected \"%s\"", path, STR_ARG(rest), want_rest);
	free(copy);
}

static void test_every_row(void **state)
{
	static const char *const forms[] = {"%s",         "/v1%s", "/v1/v1%s", "//v1%s", "/v1/%s",
					    "/v1//v1/%s", "/%s",   "%s/",      "/v1%s//"};
	for (int op = 0; op < OP_ALL; op++) {
		assert_int_equal(operations[op].op, op);
		if (op == OP_MODEL)
			continue;
		for (size_t i = 0; i < COUNT(forms); i++) {
			struct arena a;
			struct str path = str_from(forms[i]), place = STR("%s");
			size_t at = str_search(path, place);
			arena_init(&a, 256);
			path = arena_printf(&a, "%.*s%s%s", (int)at, forms[i], operations[op].path,
					    forms[i] + at + 2);
			expect(path.ptr, (enum operation)op, NULL);
			arena_release(&a);
		}
	}
}

static void test_rows_are_distinct(void **state)
{
	for (int a = 0; a < OP_ALL; a++)
		for (int b = 0; b < a; b++) {
			assert_string_not_equal(operations[a].name, operations[b].name);
			assert_string_not_equal(operations[a].path, operations[b].path);
		}
	for (int op = 0; op < OP_COUNT; op++)
		assert_true(operations[op].body != BODY_NONE &&
			    (operations[op].streams || !operations[op].usage_on_request));
}

static void test_doubled_inside(void **state)
{
	expect("/v1/chat//completions", OP_CHAT, NULL);
	expect("///v1///chat///completions///", OP_CHAT, NULL);
	expect("/audio//transcriptions", OP_TRANSCRIPTIONS, NULL);
	expect("/v1/chat//////////////////////////////////////////////////////////////////////////"
	       "completions",
	       OP_CHAT, NULL);
	expect("/v1//metrics/", OP_METRICS, NULL);
}

static void test_aliases(void **state)
{
	expect("/v2/rerank", OP_RERANK, NULL);
	expect("/v2/rerank/", OP_RERANK, NULL);
	expect("/v1/reranking", OP_RERANK, NULL);
	expect("/reranking", OP_RERANK, NULL);
	expect("/healthz", OP_HEALTH, NULL);
	expect("/", OP_HEALTH, NULL);
	expect("", OP_HEALTH, NULL);
	expect("/v1", OP_HEALTH, NULL);
	expect("/v1/", OP_HEALTH, NULL);
	expect("/v1/v1//", OP_HEALTH, NULL);
}

static void test_models(void **state)
{
	expect("/v1/models", OP_MODELS, NULL);
	expect("/models/", OP_MODELS, NULL);
	expect("/v1/models//", OP_MODELS, NULL);
	expect("/models/qwen3:8b", OP_MODEL, "qwen3:8b");
	expect("/v1/models/Qwen/Qwen3-32B", OP_MODEL, "Qwen/Qwen3-32B");
	expect("/v1/models/Qwen%2FQwen3-32B/", OP_MODEL, "Qwen%2FQwen3-32B");
	expect("//v1//models//Qwen/Qwen3-32B//", OP_MODEL, "Qwen/Qwen3-32B");
	expect("/v1/models/v1/models/x", OP_MODEL, "v1/models/x");
	expect("/v1/models/a//b", OP_MODEL, "a//b");
	expect("/v1/models/chat/completions", OP_MODEL, "chat/completions");
}

static void test_unknown(void **state)
{
	static const char *const unknown[] = {
		"/v1/chat",
		"/v1/chat/completion",
		"/v1/chat/completionss",
		"/v1chat/completions",
		"/v10/chat/completions",
		"/v2/chat/completions",
		"/chat/completions/x",
		"/Chat/Completions",
		"/v1/chat/completions?x",
		"/v1/../models",
		"/model",
		"/modelsx",
		"/v1/chat%2Fcompletions",
		"/v2/rerankx",
		"/v2",
		"/api/chat",
		"/favicon.ico",
		"/ v1/models",
		"x",
		"/v1/chat/completions//////////////////////////////////////////////////////////////"
		"///////////////////x",
	};
	for (size_t i = 0; i < COUNT(unknown); i++)
		expect(unknown[i], OP_NONE, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row),      cmocka_unit_test(test_rows_are_distinct),
		cmocka_unit_test(test_doubled_inside), cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_models),         cmocka_unit_test(test_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
