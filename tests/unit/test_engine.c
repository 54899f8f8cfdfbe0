/* test_engine.c - engines: what tells the kinds apart, and lists of models, good and hostile.
 *
 * The good answers are the files in tests/cases/engines/.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/engine.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct arena arena;

static int set_up(void **state)
{
	arena_init(&arena, 4096);
	return 0;
}

static int tear_down(void **state)
{
	arena_release(&arena);
	return 0;
}

/* A recorded answer, exactly as long as it is. */
static struct str recorded(const char *name)
{
	char path[1024];
	struct str dir = STR(__FILE__);
	while (dir.len > 0 && dir.ptr[dir.len - 1] != '/')
		dir.len--;
	snprintf(path, sizeof(path), "%.*s../cases/engines/%s", STR_ARG(dir), name);
	FILE *file = fopen(path, "rb");
	if (!file)
		fail_msg("cannot open %s", path);
	char bytes[8192];
	size_t n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	char *copy = arena_alloc(&arena, n);
	memcpy(copy, bytes, n);
	return str_of(copy, n);
}

static struct engine_answer good(struct str body)
{
	return (struct engine_answer){.status = 200, .server = STR("uvicorn"), .body = body};
}

static void assert_str(struct str got, const char *want)
{
	if (!str_eq(got, str_from(want)))
		fail_msg("got \"%.*s\", expected \"%s\"", STR_ARG(got), want);
}

static struct engine_models parsed(enum engine_kind kind, struct str body)
{
	struct engine_models models;
	assert_true(engine_models_parse(kind, body, &arena, &models));
	return models;
}

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

/* ---- load ---- */

static struct engine_load load_of(enum engine_kind kind, const struct engine_evidence *e)
{
	struct engine_models models = {NULL, 0, 0};
	struct engine_load load;
	const struct engine_answer *list = &e->answers[engine_list_ask(kind)];
	if (list->status == 200)
		models = parsed(kind, list->body);
	engine_load_read(kind, e, &models, &arena, &load);
	return load;
}

static void expect_nothing(const struct engine_load *load)
{
	const struct engine_load none = {0};
	assert_true(engine_load_same(load, &none));
	assert_false(load->counted);
	assert_int_equal(load->running + load->waiting, 0);
}

static void test_load_llamacpp(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] = good(recorded("llamacpp_models.json"));
	struct engine_load load = load_of(ENGINE_LLAMACPP, &e);
	expect_nothing(&load);
	e.answers[ASK_PROPS] = good(recorded("llamacpp_props.json"));
	load = load_of(ENGINE_LLAMACPP, &e);
	assert_int_equal(load.places, 4);
	assert_true(load.loaded_known && load.loaded_count == 1);
	assert_true(engine_load_has(&load, STR("C:\\models\\gemma-3.gguf")));
	assert_false(engine_load_has(&load, STR("other")));
	e.answers[ASK_PROPS] = good(STR("{\"total_slots\":2,\"is_sleeping\":true}"));
	load = load_of(ENGINE_LLAMACPP, &e);
	assert_true(load.places == 2 && load.loaded_known && load.loaded_count == 0);
	/* one that swaps models: each says of itself whether it is there; /props wants to know of which */
	e.answers[ASK_PROPS] = (struct engine_answer){.status = 400, .body = STR("{\"total_slots\":7}")};
	e.answers[ASK_MODELS] = good(STR("{\"data\":[{\"id\":\"a\",\"status\":{\"value\":\"unloaded\"}},{\"id\":\"b\",\"status\":{\"value\":\"loaded\"}},"
					 "{\"id\":\"c\",\"status\":{\"value\":\"loading\"}},{\"id\":\"d\"},{\"id\":\"e\",\"status\":5},{\"id\":\"f\","
					 "\"status\":{\"value\":\"sleeping\"}}]}"));
	load = load_of(ENGINE_LLAMACPP, &e);
	assert_true(load.places == 0 && load.loaded_known && load.loaded_count == 1);
	assert_true(engine_load_has(&load, STR("b")));
}

static void test_load_ollama(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_TAGS] = good(recorded("ollama_tags.json"));
	struct engine_load load = load_of(ENGINE_OLLAMA, &e);
	expect_nothing(&load);
	e.answers[ASK_PS] = good(recorded("ollama_ps.json"));
	load = load_of(ENGINE_OLLAMA, &e);
	assert_true(load.places == 0 && load.loaded_known && load.loaded_count == 1);
	assert_true(engine_load_has(&load, STR("qwen3:8b")));
	assert_false(engine_load_has(&load, STR("nomic-embed-text:latest")));
	e.answers[ASK_PS] = good(STR("{\"models\":[]}"));
	load = load_of(ENGINE_OLLAMA, &e);
	assert_true(load.loaded_known && load.loaded_count == 0);
	e.answers[ASK_PS] = good(STR("{\"models\":null}"));
	load = load_of(ENGINE_OLLAMA, &e);
	expect_nothing(&load);
	e.answers[ASK_PS] = (struct engine_answer){.status = 500, .body = recorded("ollama_ps.json")};
	load = load_of(ENGINE_OLLAMA, &e);
	expect_nothing(&load);
}

static void test_load_lmstudio(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_MODELS] = good(recorded("lmstudio_models.json"));
	struct engine_load load = load_of(ENGINE_LMSTUDIO, &e);
	expect_nothing(&load);
	e.answers[ASK_LM_V1] = good(recorded("lmstudio_v1.json"));
	load = load_of(ENGINE_LMSTUDIO, &e);
	assert_true(load.loaded_known && load.loaded_count == 1);
	assert_true(engine_load_has(&load, STR("qwen/qwen3-4b")));
	e.answers[ASK_LM_V1] = good(STR("{\"models\":[{\"key\":\"a\",\"loaded_instances\":[{\"id\":\"a:2\"},5,{\"id\":7}]},{\"key\":\"b\"}]}"));
	load = load_of(ENGINE_LMSTUDIO, &e);
	assert_true(load.loaded_count == 2 && engine_load_has(&load, STR("a")) && engine_load_has(&load, STR("a:2")));
	e.answers[ASK_LM_V1] = good(recorded("lmstudio_unexpected.json"));
	e.answers[ASK_LM_V0] = good(recorded("lmstudio_v0.json"));
	load = load_of(ENGINE_LMSTUDIO, &e);
	assert_true(load.loaded_known && load.loaded_count == 1 && engine_load_has(&load, STR("qwen/qwen3-4b")));
}

static void test_load_vllm(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_METRICS] = good(recorded("vllm_metrics.txt"));
	struct engine_load load = load_of(ENGINE_VLLM, &e);
	assert_true(load.counted && load.running == 7 && load.waiting == 3);
	assert_true(load.places == 0 && !load.loaded_known);
	struct engine_load before = load;
	e.answers[ASK_METRICS] = good(STR("vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n"));
	load = load_of(ENGINE_VLLM, &e);
	assert_true(load.counted && load.running == 1 && engine_load_same(&load, &before)); /* requests do not count */
	e.answers[ASK_METRICS] = good(STR("vllm:num_requests_running 1\n"));
	load = load_of(ENGINE_VLLM, &e);
	expect_nothing(&load);
	e.answers[ASK_METRICS] = (struct engine_answer){.status = 404, .body = recorded("vllm_metrics.txt")};
	load = load_of(ENGINE_VLLM, &e);
	expect_nothing(&load);
	/* of other kinds it is not asked, and an answer means nothing */
	e.answers[ASK_METRICS] = good(recorded("vllm_metrics.txt"));
	load = load_of(ENGINE_SGLANG, &e);
	expect_nothing(&load);
	load = load_of(ENGINE_OPENAI, &e);
	expect_nothing(&load);
}

static void test_load_sglang(void **state)
{
	static const char *const wrong[] = {"", "{}", "[]", "[5]", "[{}]", "{\"num_reqs\":4,\"num_waiting_reqs\":1}", "[{\"num_reqs\":4}]", "[{\"num_reqs\":1,\"num_waiting_reqs\":2}]",
					    "[{\"num_reqs\":4,\"num_waiting_reqs\":-1}]", "[{\"num_reqs\":\"4\",\"num_waiting_reqs\":1}]", "[{\"num_reqs\":4,\"num_waiting_reqs\":1.5}]",
					    "[{\"num_reqs\":1000000001,\"num_waiting_reqs\":0}]", "[{\"num_reqs\":4,\"num_waiting_reqs\":1},7]",
					    "[{\"num_reqs\":4,\"num_waiting_reqs\":1}", "{\"\":[{\"num_reqs\":4}]}"};
	struct engine_evidence e = {0};
	assert_true(engine_routine(ENGINE_SGLANG) & ASK_BIT(ASK_GET_LOAD));
	assert_false((engine_confirming(ENGINE_NONE) | engine_routine(ENGINE_VLLM)) & ASK_BIT(ASK_GET_LOAD));
	e.answers[ASK_GET_LOAD] = good(recorded("sglang_get_load.json"));
	struct engine_load load = load_of(ENGINE_SGLANG, &e);
	assert_true(load.counted && load.running == 11 && load.waiting == 5); /* of two parts */
	assert_true(load.places == 0 && !load.loaded_known);
	e.answers[ASK_GET_LOAD] = good(STR("[{\"num_waiting_reqs\":0,\"num_reqs\":0}]"));
	load = load_of(ENGINE_SGLANG, &e);
	assert_true(load.counted && load.running + load.waiting == 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		e.answers[ASK_GET_LOAD] = good(str_from(wrong[i]));
		load = load_of(ENGINE_SGLANG, &e);
		expect_nothing(&load);
	}
	e.answers[ASK_GET_LOAD] = (struct engine_answer){.status = 404, .body = recorded("sglang_get_load.json")};
	load = load_of(ENGINE_SGLANG, &e);
	expect_nothing(&load);
	e.answers[ASK_GET_LOAD] = good(recorded("sglang_get_load.json"));
	load = load_of(ENGINE_VLLM, &e);
	expect_nothing(&load);
}

static void test_load_many(void **state)
{
	struct engine_evidence e = {0};
	e.answers[ASK_PS] = good(STR("{\"models\":[{\"name\":\"1\"},{\"name\":\"2\"},{\"name\":\"3\"},{\"name\":\"4\"},{\"name\":\"5\"},{\"name\":\"6\"},"
				     "{\"name\":\"7\"},{\"name\":\"8\"},{\"name\":\"8\"},{\"name\":\"bad\\n\"},{\"name\":9},[]]}"));
	struct engine_load load = load_of(ENGINE_OLLAMA, &e), other;
	assert_true(load.loaded_known && load.loaded_count == ENGINE_LOADED_MAX);
	e.answers[ASK_PS] = good(STR("{\"models\":[{\"name\":\"8\"},{\"name\":\"7\"},{\"name\":\"6\"},{\"name\":\"5\"},{\"name\":\"4\"},{\"name\":\"3\"},"
				     "{\"name\":\"2\"},{\"name\":\"1\"}]}"));
	other = load_of(ENGINE_OLLAMA, &e);
	assert_true(engine_load_same(&load, &other));
	e.answers[ASK_PS] = good(STR("{\"models\":[{\"name\":\"1\"},{\"name\":\"2\"},{\"name\":\"3\"},{\"name\":\"4\"},{\"name\":\"5\"},{\"name\":\"6\"},"
				     "{\"name\":\"7\"},{\"name\":\"x\"}]}"));
	other = load_of(ENGINE_OLLAMA, &e);
	assert_false(engine_load_same(&load, &other));
	/* more than can be told: nothing is said, rather than that the ninth is not there */
	e.answers[ASK_PS] = good(STR("{\"models\":[{\"name\":\"1\"},{\"name\":\"2\"},{\"name\":\"3\"},{\"name\":\"4\"},{\"name\":\"5\"},{\"name\":\"6\"},"
				     "{\"name\":\"7\"},{\"name\":\"8\"},{\"name\":\"9\"}]}"));
	other = load_of(ENGINE_OLLAMA, &e);
	expect_nothing(&other);
	assert_false(engine_load_has(&other, STR("1")));
}

static void test_places_are_numbers(void **state)
{
	static const struct {
		const char *text;
		uint32_t want;
	} cases[] = {{"1", 1}, {"100000", 100000}, {"100001", 0}, {"0", 0}, {"-1", 0}, {"1.5", 0}, {"\"4\"", 0}, {"null", 0}, {"[4]", 0}, {"1e2", 100},
		     {"99999999999999999999", 0}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct engine_evidence e = {0};
		e.answers[ASK_MODELS] = good(STR("{\"data\":[]}"));
		e.answers[ASK_PROPS] = good(arena_printf(&arena, "{\"total_slots\":%s}", cases[i].text));
		assert_int_equal(load_of(ENGINE_LLAMACPP, &e).places, cases[i].want);
	}
}

static void test_metrics_samples(void **state)
{
	static const struct {
		const char *line;
		int64_t want; /* -1: no sample */
	} cases[] = {
		{"vllm:num_requests_running 5", 5},
		{"vllm:num_requests_running 5\r", 5},
		{"vllm:num_requests_running\t5.0 1764000000000", 5},
		{"vllm:num_requests_running{} 5", 5},
		{"vllm:num_requests_running{a=\"}\",b=\"\\\"} 9\",} 5", 5},
		{"vllm:num_requests_running{a=\"b\"}5", 5},
		{"vllm:num_requests_running 1.5e+01", 15},
		{"vllm:num_requests_running 1E3", 1000},
		{"vllm:num_requests_running 150e-1", 15},
		{"vllm:num_requests_running 2.9999999999999996", 2},
		{"vllm:num_requests_running 1000000000", 1000000000},
		{"vllm:num_requests_running 0e18", 0},
		{"vllm:num_requests_running 1000000001", -1},
		{"vllm:num_requests_running 1e18", -1},
		{"vllm:num_requests_running 1e19", -1},
		{"vllm:num_requests_running 1e", -1},
		{"vllm:num_requests_running 1e--1", -1},
		{"vllm:num_requests_running 1e+-1", -1},
		{"vllm:num_requests_running -1", -1},
		{"vllm:num_requests_running +Inf", -1},
		{"vllm:num_requests_running NaN", -1},
		{"vllm:num_requests_running .", -1},
		{"vllm:num_requests_running 1.2.3", -1},
		{"vllm:num_requests_running 0x5", -1},
		{"vllm:num_requests_running 1234567890123456789", -1},
		{"vllm:num_requests_running", -1},
		{"vllm:num_requests_running ", -1},
		{"vllm:num_requests_running{a=\"b 5", -1},
		{"vllm:num_requests_running{a=\"b\\", -1},
		{"vllm:num_requests_running{", -1},
		{"vllm:num_requests_running_total 5", -1},
		{"xvllm:num_requests_running 5", -1},
		{"# vllm:num_requests_running 5", -1},
		{" vllm:num_requests_running 5", -1},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint32_t running, waiting;
		bool seen = engine_metrics_read(arena_printf(&arena, "vllm:num_requests_waiting 1\n%s", cases[i].line), &running, &waiting);
		if (seen != (cases[i].want >= 0) || (seen && running != cases[i].want) || waiting != 1)
			fail_msg("%s: %d %u %u", cases[i].line, seen, running, waiting);
	}
}

/* Sums have a ceiling, and so has the text. */
static void test_metrics_are_bounded(void **state)
{
	struct buf text;
	uint32_t running, waiting;
	buf_init(&text, 8 << 20);
	BUF_ADD(&text, "vllm:num_requests_waiting{engine=\"0\"} 1\nvllm:num_requests_waiting{engine=\"1\"} 2\n");
	for (int i = 0; i < 100; i++)
		BUF_ADD(&text, "vllm:num_requests_running 1e9\n");
	assert_true(engine_metrics_read(buf_str(&text), &running, &waiting));
	assert_int_equal(running, ENGINE_COUNT_MAX);
	assert_int_equal(waiting, 3);
	while (text.len <= ENGINE_METRICS_MAX)
		BUF_ADD(&text, "# HELP nothing\n");
	BUF_ADD(&text, "vllm:num_requests_waiting 5\n");
	assert_true(engine_metrics_read(buf_str(&text), &running, &waiting));
	assert_int_equal(waiting, 3);
	buf_release(&text);
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
		TEST(test_load_llamacpp),
		TEST(test_load_ollama),
		TEST(test_load_lmstudio),
		TEST(test_load_vllm),
		TEST(test_load_sglang),
		TEST(test_load_many),
		TEST(test_places_are_numbers),
		TEST(test_metrics_samples),
		TEST(test_metrics_are_bounded),
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
