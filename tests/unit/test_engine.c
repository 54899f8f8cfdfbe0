/* test_engine.c - engines: what tells the kinds apart, and lists of models, good and hostile.
 *
 * The good answers are the files in tests/cases/engines/.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine_fixture.h"

#include "base/buf.h"

#include "text_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct engine_model *model(const struct engine_models *models, const char *id)
{
	const struct engine_model *m = engine_models_find(models, str_from(id));
	if (!m)
		fail_msg("no model \"%s\"", id);
	return m;
}

/* ---- the table and paths ---- */

static void test_table(void **state)
{
	for (int kind = 0; kind < ENGINE_KINDS; kind++) {
		assert_int_equal(engine_find(str_from(engines[kind].name)), kind);
		assert_true(engines[kind].operations & OP_BIT(OP_CHAT));
		assert_int_equal(engines[kind].operations & ~engines[ENGINE_OPENAI].operations, 0);
	}
	assert_int_equal(engine_find(STR("llama.cpp")), ENGINE_NONE);
	assert_int_equal(engine_find(STR("")), ENGINE_NONE);
	assert_false(engines[ENGINE_OLLAMA].operations & OP_BIT(OP_RERANK));
	assert_true(engines[ENGINE_VLLM].operations & OP_BIT(OP_TRANSLATIONS));
}

static void test_paths(void **state)
{
	assert_str(engine_api_path(STR("")), "/v1");
	assert_str(engine_api_path(STR("/v1")), "/v1");
	assert_str(engine_api_path(STR("/inference/v1")), "/inference/v1");
	assert_str(engine_api_path(STR("/openai")), "/openai");
	assert_str(engine_root_path(STR("")), "");
	assert_str(engine_root_path(STR("/v1")), "");
	assert_str(engine_root_path(STR("/a/v1")), "/a");
	assert_str(engine_root_path(STR("/av1")), "/av1");
	for (int ask = 0; ask < ASK_ALL; ask++)
		assert_true(engine_ask_path((enum engine_ask)ask).len > 0);
}

/* ---- recognition ---- */

static void expect_kind(const struct engine_evidence *e, enum engine_kind guess,
			enum engine_kind kind)
{
	assert_int_equal(engine_guess(e), guess);
	assert_int_equal(engine_recognise(e), kind);
}

static void test_recognise_vllm(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] = good(recorded("vllm_models.json"));
	expect_kind(&e, ENGINE_VLLM, ENGINE_VLLM);
	e.answers[ASK_VERSION] = good(STR("{\"version\":\"0.12.1\"}"));
	expect_kind(&e, ENGINE_VLLM, ENGINE_VLLM);
	assert_str(engine_version(&e), "0.12.1");
}

static void test_recognise_llamacpp(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] = good(recorded("llamacpp_models.json"));
	expect_kind(&e, ENGINE_LLAMACPP, ENGINE_LLAMACPP);
	e.answers[ASK_PROPS] = good(recorded("llamacpp_props.json"));
	assert_str(engine_version(&e), "b6123-a1b2c3d4");
	e.answers[ASK_MODELS] = good(STR("{\"data\":[]}"));
	expect_kind(&e, ENGINE_NONE, ENGINE_LLAMACPP);
	e = (struct engine_evidence){0};
	e.answers[ASK_MODELS] = (struct engine_answer){.status = 404, .server = STR("llama.cpp")};
	expect_kind(&e, ENGINE_LLAMACPP, ENGINE_LLAMACPP);
}

static void test_recognise_loading(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] =
		(struct engine_answer){.status = 503, .body = recorded("llamacpp_loading.json")};
	assert_true(engine_says_loading(&e.answers[ASK_MODELS]));
	expect_kind(&e, ENGINE_LLAMACPP, ENGINE_LLAMACPP);
	e.answers[ASK_MODELS].status = 200;
	assert_false(engine_says_loading(&e.answers[ASK_MODELS]));
}

static void test_recognise_ollama(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] = good(recorded("ollama_models.json"));
	e.answers[ASK_API_VERSION] = good(STR("{\"version\":\"0.12.6\"}"));
	expect_kind(&e, ENGINE_OLLAMA, ENGINE_OPENAI); /* an imitator: no greeting */
	e.answers[ASK_ROOT] = good(STR("Ollama is running"));
	expect_kind(&e, ENGINE_OLLAMA, ENGINE_OLLAMA);
	assert_str(engine_version(&e), "0.12.6");
	/* the owner is a namespace that anybody may choose */
	e.answers[ASK_MODELS] = good(STR("{\"data\":[{\"id\":\"vllm/x\",\"owned_by\":\"vllm\"}]}"));
	expect_kind(&e, ENGINE_NONE, ENGINE_OLLAMA);
}

static void test_recognise_lmstudio(void **state)
{
	struct engine_evidence e = {0};
	for (int ask = 0; ask < ASK_COUNT; ask++)
		e.answers[ask] = good(recorded("lmstudio_unexpected.json"));
	expect_kind(&e, ENGINE_NONE, ENGINE_NONE);
	e.answers[ASK_MODELS] = good(recorded("lmstudio_models.json"));
	expect_kind(&e, ENGINE_NONE, ENGINE_OPENAI);
	e.answers[ASK_LM_V0] = good(recorded("lmstudio_v0.json"));
	expect_kind(&e, ENGINE_NONE, ENGINE_LMSTUDIO);
	e.answers[ASK_LM_V0] = good(STR("{}"));
	e.answers[ASK_LM_V1] = good(recorded("lmstudio_v1.json"));
	expect_kind(&e, ENGINE_NONE, ENGINE_LMSTUDIO);
}

static void test_recognise_sglang(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] = good(recorded("sglang_models.json"));
	expect_kind(&e, ENGINE_SGLANG,
		    ENGINE_OPENAI); /* unconfirmed: may be a Valet in front of one */
	e.answers[ASK_MODEL_INFO_NEW] = good(recorded("sglang_model_info.json"));
	expect_kind(&e, ENGINE_SGLANG, ENGINE_SGLANG);
}

static void test_recognise_none(void **state)
{
	struct engine_evidence e = {0};
	expect_kind(&e, ENGINE_NONE, ENGINE_NONE);
	for (int ask = 0; ask < ASK_COUNT; ask++)
		e.answers[ask] = good(STR("<!doctype html><title>Hello</title>"));
	expect_kind(&e, ENGINE_NONE, ENGINE_NONE);
	for (int ask = 0; ask < ASK_COUNT; ask++)
		e.answers[ask] = good(STR("[]"));
	expect_kind(&e, ENGINE_NONE, ENGINE_NONE);
	for (int ask = 0; ask < ASK_COUNT; ask++)
		e.answers[ask] = good(STR("{\"data\":{},\"models\":1,\"version\":2}"));
	expect_kind(&e, ENGINE_NONE, ENGINE_NONE);
	assert_false(engine_is_valet(&e));
	e.answers[ASK_HEALTH].valet = true;
	assert_true(engine_is_valet(&e));
}

static void test_version_is_plain(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_VERSION] = good(STR("{\"version\":\"a\\nb\"}"));
	assert_str(engine_version(&e), "");
	e.answers[ASK_VERSION] = good(STR("{\"version\":\"\xc3\xa4\"}"));
	assert_str(engine_version(&e), "");
	e.answers[ASK_VERSION] = good(
		STR("{\"version\":"
		    "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}"));
	assert_str(engine_version(&e), "");
}

/* ---- lists ---- */

static void test_list_vllm(void **state)
{
	struct engine_models models = parsed(ENGINE_VLLM, recorded("vllm_models.json"));
	engine_models_finish(&models);
	assert_int_equal(models.count, 2);
	const struct engine_model *m = model(&models, "qwen3-32b");
	assert_int_equal(m->context, 32768);
	assert_int_equal(m->context_max, 32768);
	assert_int_equal(m->created, 1764000000);
	assert_str(m->owned_by, "vllm");
	assert_int_equal(model(&models, "sql-lora")->context, 0);
}

static void test_list_llamacpp(void **state)
{
	struct engine_models models = parsed(ENGINE_LLAMACPP, recorded("llamacpp_models.json"));
	assert_int_equal(models.count, 1);
	engine_models_add(&models, ASK_PROPS, recorded("llamacpp_props.json"));
	engine_models_finish(&models);
	const struct engine_model *m = model(&models, "C:\\models\\gemma-3.gguf");
	assert_int_equal(m->context, 8192);
	assert_int_equal(m->context_max, 131072);
}

static void test_list_ollama(void **state)
{
	struct engine_models models = parsed(ENGINE_OLLAMA, recorded("ollama_tags.json"));
	assert_int_equal(models.count, 2);
	engine_models_add(&models, ASK_PS, recorded("ollama_ps.json"));
	struct engine_model *m = engine_models_find(&models, STR("qwen3:8b"));
	assert_int_equal(m->context, 4096);
	assert_int_equal(m->created, 1767315845); /* 03:04:05 two hours east */
	engine_model_add_show(m, recorded("ollama_show.json"));
	engine_models_finish(&models);
	assert_int_equal(m->context, 4096); /* loaded: what it has now counts */
	assert_int_equal(m->context_max, 40960);
	assert_false(m->context_guessed);
	m = engine_models_find(&models, STR("nomic-embed-text:latest"));
	assert_int_equal(m->context, 2048);
	assert_true(m->context_guessed); /* it may be loaded with less than it was made for */
	assert_int_equal(m->created, 1764547199);
}

static void test_ollama_keeps(void **state)
{
	struct engine_models old = parsed(ENGINE_OLLAMA, recorded("ollama_tags.json"));
	struct engine_models new = parsed(ENGINE_OLLAMA, recorded("ollama_tags.json"));
	struct engine_model *m = engine_models_find(&old, STR("qwen3:8b"));
	engine_model_add_show(m, recorded("ollama_show.json"));
	assert_int_equal(m->context, 16384); /* num_ctx */
	engine_models_finish(&old);
	engine_models_keep(&new, &old);
	engine_models_keep(&new, NULL);
	engine_models_finish(&new);
	assert_true(engine_models_same(&old, &new));
	assert_true(engine_models_find(&new, STR("qwen3:8b"))->shown);
	assert_false(engine_models_find(&new, STR("nomic-embed-text:latest"))->shown);
	/* a guess is made anew, not kept */
	m = engine_models_find(&old, STR("qwen3:8b"));
	m->context = 40960;
	m->context_guessed = true;
	new = parsed(ENGINE_OLLAMA, recorded("ollama_tags.json"));
	engine_models_keep(&new, &old);
	assert_int_equal(engine_models_find(&new, STR("qwen3:8b"))->context, 0);
	engine_models_finish(&new);
	assert_true(engine_models_find(&new, STR("qwen3:8b"))->context_guessed);
	/* another model by the same name: asked anew */
	new = parsed(ENGINE_OLLAMA, STR("{\"models\":[{\"name\":\"qwen3:8b\",\"modified_at\":"
					"\"2026-02-02T03:04:05Z\"}]}"));
	engine_models_keep(&new, &old);
	assert_false(new.list[0].shown);
	assert_false(engine_models_same(&old, &new));
}

/* Engines whose dates are the time of the question: the first one stays, and the list is the same as before. */
static void test_dates_stay(void **state)
{
	struct engine_models old = parsed(ENGINE_LLAMACPP, STR("{\"data\":[{\"id\":\"m\",\"created\":1795307872}]}"));
	struct engine_models new = parsed(ENGINE_LLAMACPP, STR("{\"data\":[{\"id\":\"m\",\"created\":1795307877}]}"));
	assert_false(engine_models_same(&old, &new));
	engine_models_keep_dates(&new, &old);
	engine_models_keep_dates(&new, NULL);
	assert_true(engine_models_same(&old, &new));
	assert_int_equal(new.list[0].created, 1795307872);
}

static void test_list_lmstudio(void **state)
{
	struct engine_models models = parsed(ENGINE_LMSTUDIO, recorded("lmstudio_models.json"));
	engine_models_add(&models, ASK_LM_V1, recorded("lmstudio_v1.json"));
	engine_models_finish(&models);
	assert_int_equal(model(&models, "qwen/qwen3-4b")->context, 8192);
	assert_int_equal(model(&models, "qwen/qwen3-4b")->context_max, 40960);
	assert_int_equal(model(&models, "text-embedding-nomic")->context, 2048);
	models = parsed(ENGINE_LMSTUDIO, recorded("lmstudio_models.json"));
	engine_models_add(&models, ASK_LM_V0, recorded("lmstudio_v0.json"));
	engine_models_finish(&models);
	assert_int_equal(model(&models, "qwen/qwen3-4b")->context, 8192);
	assert_int_equal(model(&models, "gemma-3-12b")->context, 131072);
	assert_int_equal(model(&models, "text-embedding-nomic")->context, 0);
}

static void test_list_openai(void **state)
{
	struct engine_models models = parsed(ENGINE_OPENAI, recorded("openai_models.json"));
	assert_int_equal(model(&models, "vendor/model-a:free")->context, 200000);
	assert_int_equal(model(&models, "gpt-x")->created, 1764000004);
	models = parsed(ENGINE_OPENAI, recorded("bare_models.json"));
	assert_int_equal(model(&models, "together/one")->context, 8192);
	assert_false(engine_models_is_list(recorded("bare_models.json")));
}

static void test_list_is_sorted(void **state)
{
	struct engine_models models = parsed(
		ENGINE_OPENAI, STR(" {\"data\" : [ {\"id\":\"b\"} "
				   ",{\"id\":\"ab\"},\n{\"id\":\"a\"}, {\"id\":\"b\"} ] } "));
	assert_int_equal(models.count, 3);
	assert_int_equal(models.refused, 1);
	assert_str(models.list[0].id, "a");
	assert_str(models.list[1].id, "ab");
	assert_str(models.list[2].id, "b");
	assert_null(engine_models_find(&models, STR("")));
	assert_null(engine_models_find(&models, STR("c")));
}

/* ---- hostile ---- */

static void test_refused_ids(void **state)
{
	static const char *const ids[] = {
		"{}",
		"{\"id\":\"\"}",
		"{\"id\":5}",
		"{\"id\":null}",
		"{\"id\":[\"a\"]}",
		"null",
		"5",
		"\"a\"",
		"[]",
		"[{\"id\":\"a\"}]",
		"{\"id\":\"a\\nb\"}",
		"{\"id\":\"a\\u0000b\"}",
		"{\"id\":\"a\\u007f\"}",
		"{\"id\":\"\\u0085\"}",
		"{\"id\":\"a\\\"b\"}",
		"{\"Id\":\"a\"}",
		"{\"id\":\"a\",\"id\":7}",
	};
	for (size_t i = 0; i < COUNT(ids); i++) {
		struct engine_models models =
			parsed(ENGINE_OPENAI,
			       arena_printf(&arena, "{\"data\":[%s,{\"id\":\"ok\"}]}", ids[i]));
		if (models.count != 1 || models.refused != 1)
			fail_msg("%s: %u models, %u refused", ids[i], models.count, models.refused);
	}
}

static void test_kept_ids(void **state)
{
	struct engine_models models = parsed(
		ENGINE_OPENAI,
		STR("{\"data\":[{\"i\\u0064\":\"\\u00e4/b:c\"},{\"id\":\"it's, a [brace}\"}]}"));
	assert_int_equal(models.count, 2);
	assert_non_null(engine_models_find(&models, STR("\xc3\xa4/b:c")));
	assert_non_null(engine_models_find(&models, STR("it's, a [brace}")));
}

static void test_id_length(void **state)
{
	char id[ENGINE_MODEL_ID_MAX + 2];
	memset(id, 'x', sizeof(id));
	struct str longest =
		arena_printf(&arena, "{\"data\":[{\"id\":\"%.*s\"}]}", ENGINE_MODEL_ID_MAX, id);
	assert_int_equal(parsed(ENGINE_OPENAI, longest).count, 1);
	struct str longer =
		arena_printf(&arena, "{\"data\":[{\"id\":\"%.*s\"}]}", ENGINE_MODEL_ID_MAX + 1, id);
	assert_int_equal(parsed(ENGINE_OPENAI, longer).count, 0);
}

static void test_wrong_types(void **state)
{
	static const char *const numbers[] = {
		"\"4096\"", "-1",   "0",  "1.5",   "1e300", "99999999999999999999",
		"true",     "null", "{}", "[4096]"};
	for (size_t i = 0; i < COUNT(numbers); i++) {
		struct engine_models models = parsed(
			ENGINE_VLLM,
			arena_printf(&arena,
				     "{\"data\":[{\"id\":\"a\",\"max_model_len\":%s,\"created\":%s,"
				     "\"owned_by\":%s,\"meta\":%s}]}",
				     numbers[i], numbers[i],
				     strchr(numbers[i], '"') ? "7" : numbers[i], numbers[i]));
		assert_int_equal(models.count, 1);
		assert_int_equal(models.list[0].context, 0);
		assert_int_equal(models.list[0].owned_by.len, 0);
	}
}

static void test_no_lists(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"null",
		"5",
		"\"data\"",
		"{}",
		"{\"data\":{}}",
		"{\"data\":\"[]\"}",
		"{\"models\":[]}",
		"{\"data\":[}",
		"{\"data\":[]} x",
		"{\"data\":[{\"id\":\"\xff\"}]}",
		"{\"data\":[{\"id\":\"\xc0\x80\"}]}",
		"<html>",
	};
	struct engine_models models;
	for (size_t i = 0; i < COUNT(texts); i++) {
		assert_false(engine_models_parse(ENGINE_VLLM, str_from(texts[i]), &arena, &models));
		assert_int_equal(models.count, 0);
	}
	assert_false(engine_models_parse(ENGINE_OLLAMA, STR("{\"data\":[]}"), &arena, &models));
	assert_true(engine_models_parse(ENGINE_OLLAMA, STR("{\"models\":[]}"), &arena, &models));
}

static void test_deep(void **state)
{
	struct buf text;
	struct engine_models models;
	buf_init(&text, 1 << 20);
	BUF_ADD(&text, "{\"data\":[");
	for (int i = 0; i < 100000; i++)
		BUF_ADD(&text, "[");
	assert_false(engine_models_parse(ENGINE_OPENAI, buf_str(&text), &arena, &models));
	buf_release(&text);
}

/* A million entries: cut, and no memory beyond what ten thousand need. */
static void test_million(void **state)
{
	struct buf text;
	struct engine_models models;
	buf_init(&text, 64 << 20);
	BUF_ADD(&text, "{\"data\":[{\"id\":\"m\"}");
	for (int i = 0; i < 1000000; i++)
		buf_addf(&text, ",{\"id\":\"m%d\"}", i);
	BUF_ADD(&text, "]}");
	size_t before = arena.used;
	assert_true(engine_models_parse(ENGINE_OPENAI, buf_str(&text), &arena, &models));
	assert_int_equal(models.count, ENGINE_MODELS_MAX);
	assert_true(models.refused > 0);
	assert_true(arena.used - before < 4 << 20);
	engine_models_add(&models, ASK_LM_V0, buf_str(&text));
	buf_release(&text);
}

static void test_hostile_additions(void **state)
{
	static const char *const texts[] = {
		"",
		"[",
		"null",
		"[]",
		"{}",
		"{\"models\":5}",
		"{\"models\":[5,null,{},{\"key\":\"a\",\"loaded_instances\":[5,{},{\"id\":\"a\","
		"\"config\":5}]}]}",
		"{\"data\":[{\"id\":\"a\",\"max_context_length\":\"x\"}]}",
		"{\"models\":[{\"model\":\"a\",\"context_length\":-5}]}",
		"{\"default_generation_settings\":{\"n_ctx\":[]}}",
		"{\"model_info\":5,\"parameters\":7}",
		"{\"model_info\":{\"general.architecture\":\"a\\u0000\"},\"parameters\":\"num_ctx "
		"99999999999999999999\\nnum_ctx x\\nnum_ctx\"}",
	};
	struct engine_models models = parsed(ENGINE_OPENAI, STR("{\"data\":[{\"id\":\"a\"}]}"));
	for (size_t i = 0; i < COUNT(texts); i++) {
		for (int ask = 0; ask < ASK_COUNT; ask++)
			engine_models_add(&models, (enum engine_ask)ask, str_from(texts[i]));
		engine_model_add_show(&models.list[0], str_from(texts[i]));
	}
	assert_int_equal(models.list[0].context, 0);
	assert_int_equal(models.list[0].context_max, 0);
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t want;
	} cases[] = {
		{"2026-01-02T03:04:05Z", 1767323045},
		{"2026-01-02T03:04:05.5-01:00", 1767326645},
		{"1970-01-01T00:00:00Z", 0},
		{"1969-12-31T23:59:59Z", 0},
		{"0001-01-01T00:00:00Z", 0},
		{"2026-13-02T03:04:05Z", 0},
		{"2026-01-02", 0},
		{"", 0},
		{"x", 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct engine_models models = parsed(
			ENGINE_OLLAMA,
			arena_printf(&arena,
				     "{\"models\":[{\"name\":\"a\",\"modified_at\":\"%s\"}]}",
				     cases[i].text));
		if (models.list[0].created != cases[i].want)
			fail_msg("%s: %lld", cases[i].text, (long long)models.list[0].created);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_table),
		TEST(test_paths),
		TEST(test_recognise_vllm),
		TEST(test_recognise_llamacpp),
		TEST(test_recognise_loading),
		TEST(test_recognise_ollama),
		TEST(test_recognise_lmstudio),
		TEST(test_recognise_sglang),
		TEST(test_recognise_none),
		TEST(test_version_is_plain),
		TEST(test_list_vllm),
		TEST(test_list_llamacpp),
		TEST(test_list_ollama),
		TEST(test_ollama_keeps),
		TEST(test_dates_stay),
		TEST(test_list_lmstudio),
		TEST(test_list_openai),
		TEST(test_list_is_sorted),
		TEST(test_refused_ids),
		TEST(test_kept_ids),
		TEST(test_id_length),
		TEST(test_wrong_types),
		TEST(test_no_lists),
		TEST(test_deep),
		TEST(test_million),
		TEST(test_hostile_additions),
		TEST(test_times),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
