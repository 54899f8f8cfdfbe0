/* fuzz_engine.c - any bytes as an engine's answers: lists of models, windows, load, recognition.
 *
 * The first byte says as which kind's answers the others are read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/engine.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct engine_models *models)
{
	assert(models->count <= ENGINE_MODELS_MAX);
	for (uint32_t i = 0; i < models->count; i++) {
		const struct engine_model *m = &models->list[i];
		assert(m->id.len >= 1 && m->id.len <= ENGINE_MODEL_ID_MAX && m->owned_by.len <= 64);
		assert(m->context >= 0 && m->context_max >= m->context && m->created >= 0);
		assert(engine_models_find(models, m->id) == m);
		for (size_t at = 0; at < m->id.len; at++)
			assert((unsigned char)m->id.ptr[at] >= ' ' && m->id.ptr[at] != '"');
	}
}

static void read_lists(enum engine_kind kind, struct str body)
{
	struct arena arena;
	struct engine_models models, again;
	arena_init(&arena, 4096);
	if (engine_models_parse(kind, body, &arena, &models)) {
		assert(engine_models_parse(kind, body, &arena, &again));
		assert(engine_models_same(&models, &again));
		for (int ask = 0; ask < ASK_COUNT; ask++)
			engine_models_add(&models, (enum engine_ask)ask, body);
		if (models.count > 0)
			engine_model_add_show(&models.list[0], body);
		engine_models_keep(&models, &again);
		engine_models_finish(&models);
		check(&models);
	}
	arena_release(&arena);
}

/* Entries that the seeds' other answers are about, so that they find something. */
static void read_additions(struct str body)
{
	struct arena arena;
	struct engine_models models;
	arena_init(&arena, 4096);
	assert(engine_models_parse(
		ENGINE_OPENAI,
		STR("{\"data\":[{\"id\":\"a\"},{\"id\":\"qwen3:8b\"},{\"id\":\"qwen/qwen3-4b\"}]}"),
		&arena, &models));
	for (int ask = 0; ask < ASK_COUNT; ask++)
		engine_models_add(&models, (enum engine_ask)ask, body);
	engine_model_add_show(&models.list[0], body);
	engine_models_finish(&models);
	check(&models);
	arena_release(&arena);
}

static void check_load(const struct engine_load *load)
{
	assert(load->places <= 100000 && load->running <= ENGINE_COUNT_MAX && load->waiting <= ENGINE_COUNT_MAX);
	assert(load->counted || load->running + load->waiting == 0);
	assert(load->loaded_count <= ENGINE_LOADED_MAX && (load->loaded_known || load->loaded_count == 0));
	for (uint32_t i = 0; i < load->loaded_count; i++) {
		assert(load->loaded[i].len >= 1 && load->loaded[i].len <= ENGINE_MODEL_ID_MAX);
		assert(engine_load_has(load, load->loaded[i]));
		for (uint32_t k = 0; k < i; k++)
			assert(!str_eq(load->loaded[i], load->loaded[k]));
	}
}

static void read_load(enum engine_kind kind, const struct engine_evidence *e)
{
	struct arena arena;
	struct engine_models models;
	struct engine_load load, again;
	arena_init(&arena, 4096);
	engine_models_parse(kind, e->answers[engine_list_ask(kind)].body, &arena, &models);
	engine_load_read(kind, e, &models, &arena, &load);
	engine_load_read(kind, e, &models, &arena, &again);
	check_load(&load);
	assert(engine_load_same(&load, &again) && engine_load_same(&again, &load));
	arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct engine_evidence e = {0};
	if (size == 0)
		return 0;
	struct str body = str_of((const char *)data + 1, size - 1);
	read_lists((enum engine_kind)(data[0] % ENGINE_KINDS), body);
	read_additions(body);
	for (int ask = 0; ask < ASK_COUNT; ask++)
		e.answers[ask] = (struct engine_answer){
			.status = data[0] & 0x80 ? 503 : 200, .server = body, .body = body};
	for (int kind = 0; kind < ENGINE_KINDS; kind++)
		read_load((enum engine_kind)kind, &e);
	uint32_t running, waiting;
	engine_get_load_read(body, &running, &waiting);
	assert(running <= ENGINE_COUNT_MAX && waiting <= ENGINE_COUNT_MAX);
	engine_recognise(&e);
	engine_guess(&e);
	struct str version = engine_version(&e);
	assert(version.len <= 64);
	return 0;
}
