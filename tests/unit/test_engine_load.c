/* test_engine_load.c - engines: how many requests they take and have, and which models they have in memory, as they tell it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine_fixture.h"

#include "base/buf.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

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

static void test_load_vllm_asleep(void **state)
{
	static const char *const wrong[] = {"", "{}", "[]", "true", "{\"is_sleeping\":1}", "{\"is_sleeping\":\"true\"}", "{\"is_sleeping\":null}", "{\"is_sleeping\":true"};
	struct engine_evidence e = {0};
	assert_true(engine_routine(ENGINE_VLLM) & ASK_BIT(ASK_SLEEPING));
	assert_false((engine_confirming(ENGINE_NONE) | engine_routine(ENGINE_SGLANG)) & ASK_BIT(ASK_SLEEPING));
	e.answers[ASK_MODELS] = good(recorded("vllm_models.json"));
	e.answers[ASK_SLEEPING] = good(STR("{\"is_sleeping\":false}"));
	struct engine_load load = load_of(ENGINE_VLLM, &e), awake = load;
	assert_true(load.loaded_known && load.loaded_count > 0 && !load.asleep);
	e.answers[ASK_SLEEPING] = good(STR("{\"is_sleeping\":true}"));
	load = load_of(ENGINE_VLLM, &e);
	assert_true(load.loaded_known && load.loaded_count == 0 && load.asleep);
	assert_false(engine_load_same(&load, &awake));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		e.answers[ASK_SLEEPING] = good(str_from(wrong[i]));
		load = load_of(ENGINE_VLLM, &e);
		expect_nothing(&load);
		assert_false(load.asleep);
	}
	e.answers[ASK_SLEEPING] = (struct engine_answer){.status = 404, .body = STR("{\"is_sleeping\":true}")};
	load = load_of(ENGINE_VLLM, &e);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_load_llamacpp),
		TEST(test_load_ollama),
		TEST(test_load_lmstudio),
		TEST(test_load_vllm),
		TEST(test_load_vllm_asleep),
		TEST(test_load_sglang),
		TEST(test_load_many),
		TEST(test_places_are_numbers),
		TEST(test_metrics_samples),
		TEST(test_metrics_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
