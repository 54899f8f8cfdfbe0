/* engine.c - see engine.h: the table of kinds, and what tells them apart.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/engine.h"

#include "base/json.h"

#define VERSION_MAX 64

#define TEXT_OPERATIONS                                                                            \
	(OP_BIT(OP_CHAT) | OP_BIT(OP_COMPLETIONS) | OP_BIT(OP_EMBEDDINGS) | OP_BIT(OP_RESPONSES) | \
	 OP_BIT(OP_MESSAGES))

const struct engine_row engines[ENGINE_KINDS] = {
	[ENGINE_OPENAI] = {"openai", "OpenAI-compatible", 0, OP_BIT(OP_COUNT) - 1},
	[ENGINE_VLLM] = {"vllm", "vLLM", 8000,
			 TEXT_OPERATIONS | OP_BIT(OP_RERANK) | OP_BIT(OP_TRANSCRIPTIONS) |
				 OP_BIT(OP_TRANSLATIONS)},
	[ENGINE_LLAMACPP] = {"llamacpp", "llama.cpp", 8080, TEXT_OPERATIONS | OP_BIT(OP_RERANK)},
	[ENGINE_OLLAMA] = {"ollama", "Ollama", 11434, TEXT_OPERATIONS | OP_BIT(OP_TRANSCRIPTIONS)},
	[ENGINE_LMSTUDIO] = {"lmstudio", "LM Studio", 1234, TEXT_OPERATIONS},
	[ENGINE_SGLANG] = {"sglang", "SGLang", 30000, TEXT_OPERATIONS | OP_BIT(OP_RERANK)},
};

enum engine_kind engine_find(struct str name)
{
	for (int kind = 0; kind < ENGINE_KINDS; kind++)
		if (str_eq(name, str_from(engines[kind].name)))
			return (enum engine_kind)kind;
	return ENGINE_NONE;
}

struct str engine_api_path(struct str path)
{
	return path.len == 0 ? STR("/v1") : path;
}

struct str engine_root_path(struct str path)
{
	return str_ends(path, STR("/v1")) ? str_head(path, path.len - 3) : path;
}

struct str engine_ask_path(enum engine_ask ask)
{
	static const struct str paths[ASK_ALL] = {
		[ASK_MODELS] = STR_INIT("/models"),
		[ASK_HEALTH] = STR_INIT("/health"),
		[ASK_ROOT] = STR_INIT("/"),
		[ASK_API_VERSION] = STR_INIT("/api/version"),
		[ASK_TAGS] = STR_INIT("/api/tags"),
		[ASK_PS] = STR_INIT("/api/ps"),
		[ASK_PROPS] = STR_INIT("/props"),
		[ASK_VERSION] = STR_INIT("/version"),
		[ASK_MODEL_INFO] = STR_INIT("/get_model_info"),
		[ASK_MODEL_INFO_NEW] = STR_INIT("/model_info"),
		[ASK_LM_V1] = STR_INIT("/api/v1/models"),
		[ASK_LM_V0] = STR_INIT("/api/v0/models"),
		[ASK_METRICS] = STR_INIT("/metrics"),
		[ASK_GET_LOAD] = STR_INIT("/get_load"),
		[ASK_SLEEPING] = STR_INIT("/is_sleeping"),
		[ASK_SHOW] = STR_INIT("/api/show"),
	};
	return paths[ask];
}

/* ---- what tells kinds apart ---- */

/* The raw value of a top-level member of a good answer. False: none of that type. */
static bool member(const struct engine_evidence *e, enum engine_ask ask, struct str name,
		   enum json_type type, struct str *value)
{
	const struct engine_answer *a = &e->answers[ask];
	struct json_want want = {.name = name};
	struct json_scan scan;
	struct json_fail fail;
	if (a->status != 200 || !json_scan(a->body, &want, 1, &scan, &fail) || want.type != type)
		return false;
	*value = want.value;
	return true;
}

static bool has(const struct engine_evidence *e, enum engine_ask ask, struct str name,
		enum json_type type)
{
	struct str unused;
	return member(e, ask, name, type, &unused);
}

bool engine_is_valet(const struct engine_evidence *e)
{
	for (int ask = 0; ask < ASK_COUNT; ask++)
		if (e->answers[ask].valet)
			return true;
	return false;
}

bool engine_says_loading(const struct engine_answer *a)
{
	return a->status == 503 && str_search(a->body, STR("Loading model")) < a->body.len;
}

/* Each answer of llama-server says so in its head. */
static bool says_llamacpp(const struct engine_evidence *e)
{
	for (int ask = 0; ask < ASK_COUNT; ask++)
		if (e->answers[ask].status != 0 &&
		    str_istarts(e->answers[ask].server, STR("llama.cpp")))
			return true;
	return false;
}

static bool looks_llamacpp(const struct engine_evidence *e)
{
	if (says_llamacpp(e) || has(e, ASK_PROPS, STR("build_info"), JSON_STRING))
		return true;
	if (has(e, ASK_PROPS, STR("default_generation_settings"), JSON_OBJECT) &&
	    has(e, ASK_PROPS, STR("total_slots"), JSON_NUMBER))
		return true;
	return engine_says_loading(&e->answers[ASK_HEALTH]) ||
	       engine_says_loading(&e->answers[ASK_MODELS]);
}

/* LocalAI and others answer Ollama's paths as well, but not with its greeting. */
static bool looks_ollama(const struct engine_evidence *e)
{
	const struct engine_answer *root = &e->answers[ASK_ROOT];
	return root->status == 200 && str_starts(root->body, STR("Ollama is running")) &&
	       has(e, ASK_API_VERSION, STR("version"), JSON_STRING);
}

static bool looks_sglang(const struct engine_evidence *e)
{
	return has(e, ASK_MODEL_INFO, STR("model_path"), JSON_STRING) ||
	       has(e, ASK_MODEL_INFO_NEW, STR("model_path"), JSON_STRING);
}

/* LM Studio answers 200 to everything, so its members count. An older one has no v1. */
static bool looks_lmstudio(const struct engine_evidence *e)
{
	struct str list;
	if (member(e, ASK_LM_V1, STR("models"), JSON_ARRAY, &list))
		return str_eq(list, STR("[]")) ||
		       str_search(list, STR("\"loaded_instances\"")) < list.len;
	return member(e, ASK_LM_V0, STR("data"), JSON_ARRAY, &list) &&
	       str_search(list, STR("\"state\"")) < list.len;
}

static bool looks_openai(const struct engine_evidence *e)
{
	const struct engine_answer *a = &e->answers[ASK_MODELS];
	return a->status == 200 && engine_models_is_list(a->body);
}

static const struct engine_answer *models_of(const struct engine_evidence *e)
{
	return &e->answers[ASK_MODELS];
}

/* Ollama's owner is a namespace that anybody may choose; hence the second look. */
static bool owner_vllm(const struct engine_evidence *e)
{
	struct engine_owner o = engine_models_owner(models_of(e)->body);
	return models_of(e)->status == 200 && str_eq(o.name, STR("vllm")) && o.max_model_len;
}

static bool owner_is(const struct engine_evidence *e, struct str name)
{
	return models_of(e)->status == 200 &&
	       str_eq(engine_models_owner(models_of(e)->body).name, name);
}

enum engine_kind engine_guess(const struct engine_evidence *e)
{
	if (says_llamacpp(e) || owner_is(e, STR("llamacpp")) || engine_says_loading(models_of(e)))
		return ENGINE_LLAMACPP;
	if (owner_vllm(e))
		return ENGINE_VLLM;
	if (owner_is(e, STR("sglang")))
		return ENGINE_SGLANG;
	if (owner_is(e, STR("library")))
		return ENGINE_OLLAMA;
	return ENGINE_NONE;
}

enum engine_kind engine_recognise(const struct engine_evidence *e)
{
	if (looks_ollama(e))
		return ENGINE_OLLAMA;
	if (looks_llamacpp(e) || owner_is(e, STR("llamacpp")))
		return ENGINE_LLAMACPP;
	if (looks_sglang(e))
		return ENGINE_SGLANG;
	/* without its own answer it may be a Valet, which only /health tells */
	if (owner_is(e, STR("sglang")) && e->answers[ASK_HEALTH].status != 0)
		return ENGINE_SGLANG;
	if (owner_vllm(e) ||
	    (owner_is(e, STR("vllm")) && has(e, ASK_VERSION, STR("version"), JSON_STRING)))
		return ENGINE_VLLM;
	if (looks_lmstudio(e))
		return ENGINE_LMSTUDIO;
	return looks_openai(e) ? ENGINE_OPENAI : ENGINE_NONE;
}

uint32_t engine_confirming(enum engine_kind kind)
{
	switch (kind) {
	case ENGINE_VLLM:
		return ASK_BIT(ASK_HEALTH) | ASK_BIT(ASK_VERSION);
	case ENGINE_LLAMACPP:
		return ASK_BIT(ASK_HEALTH) | ASK_BIT(ASK_PROPS);
	case ENGINE_SGLANG: /* its /health may generate */
		return ASK_BIT(ASK_MODEL_INFO) | ASK_BIT(ASK_MODEL_INFO_NEW);
	case ENGINE_OLLAMA:
		return ASK_BIT(ASK_HEALTH) | ASK_BIT(ASK_ROOT) | ASK_BIT(ASK_API_VERSION);
	default:
		return (ASK_BIT(ASK_COUNT) - 1) & ~(ASK_BIT(ASK_TAGS) | ASK_BIT(ASK_PS) | ASK_BIT(ASK_METRICS) | ASK_BIT(ASK_GET_LOAD) |
						ASK_BIT(ASK_SLEEPING));
	}
}

uint32_t engine_routine(enum engine_kind kind)
{
	switch (kind) {
	case ENGINE_VLLM:
		return ASK_BIT(ASK_MODELS) | ASK_BIT(ASK_HEALTH) | ASK_BIT(ASK_METRICS) | ASK_BIT(ASK_SLEEPING);
	case ENGINE_LLAMACPP: /* /props says that a model is loading just as /health does */
		return ASK_BIT(ASK_MODELS) | ASK_BIT(ASK_PROPS);
	case ENGINE_OLLAMA:
		return ASK_BIT(ASK_TAGS) | ASK_BIT(ASK_PS);
	case ENGINE_LMSTUDIO:
		return ASK_BIT(ASK_MODELS) | ASK_BIT(ASK_LM_V1);
	case ENGINE_SGLANG:
		return ASK_BIT(ASK_MODELS) | ASK_BIT(ASK_GET_LOAD);
	default:
		return ASK_BIT(ASK_MODELS);
	}
}

enum engine_ask engine_list_ask(enum engine_kind kind)
{
	return kind == ENGINE_OLLAMA ? ASK_TAGS : ASK_MODELS;
}

struct str engine_version(const struct engine_evidence *e)
{
	struct str text;
	if (!member(e, ASK_API_VERSION, STR("version"), JSON_STRING, &text) &&
	    !member(e, ASK_VERSION, STR("version"), JSON_STRING, &text) &&
	    !member(e, ASK_PROPS, STR("build_info"), JSON_STRING, &text))
		return STR("");
	text = str_of(text.ptr + 1, text.len - 2);
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '\\')
			return STR("");
	return text.len <= VERSION_MAX ? text : STR("");
}
