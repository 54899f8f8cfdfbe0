/* dialect_ollama.c - Ollama: its lists, what it says of a model, its embeddings. Its chat is in
 * ollama.c.
 *
 * A request without messages (or prompt) only loads the model, as there. A prompt that is too long
 * is cut in silence to all of the window, unless truncate is false: then it is refused. A request whose window is another than
 * the loaded one loads the model anew, which /sim/stats counts; without num_ctx, and on /v1, that is the model's own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialects.h"

#define MODIFIED "2026-01-01T00:00:00Z"
#define EXPIRES  "2318-01-01T00:00:00Z"
#define SIZE     4912898304

static void ollama_error(struct buf *out, const struct complaint *why)
{
	if (why->shape == SHAPE_NATIVE) {
		BUF_ADD(out, "{\"error\":");
		json_quote(out, why->text);
		buf_addc(out, '}');
		return;
	}
	BUF_ADD(out, "{\"error\":{\"message\":");
	json_quote(out, why->text);
	buf_addf(out, ",\"type\":\"%s\",\"param\":null,\"code\":null}}",
		 why->status == 404  ? "not_found_error"
		 : why->status < 500 ? "invalid_request_error"
				     : "api_error");
}

static void root_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	worker_send(w, c, 200, FIELDS_TEXT, STR("Ollama is running"));
}

static void version_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	worker_send(w, c, 200, FIELDS_JSON, STR("{\"version\":\"0.14.0\"}"));
}

/* ---- lists ---- */

static void put_names(struct buf *out, const struct model *m)
{
	BUF_ADD(out, "{\"name\":");
	buf_adds(out, m->json);
	BUF_ADD(out, ",\"model\":");
	buf_adds(out, m->json);
}

static void put_digest(struct buf *out, const struct model *m)
{
	BUF_ADD(out, "\"digest\":\"");
	id_hex(out, m->hash);
	id_hex(out, m->hash + 1);
	BUF_ADD(out, "\"");
}

static void put_details(struct buf *out, const struct model *m)
{
	buf_addf(out,
		 "\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"llama\","
		 "\"families\":[\"llama\"],"
		 "\"parameter_size\":\"8.0B\",\"quantization_level\":\"Q4_K_M\",\"context_length\":"
		 "%lld,"
		 "\"embedding_length\":4096}",
		 (long long)m->longest);
}

static void put_tag(struct buf *out, const struct model *m)
{
	put_names(out, m);
	buf_addf(out, ",\"modified_at\":\"" MODIFIED "\",\"size\":%lld,", (long long)SIZE);
	put_digest(out, m);
	buf_addc(out, ',');
	put_details(out, m);
	BUF_ADD(out, ",\"capabilities\":[\"completion\",\"tools\"]}");
}

static void put_loaded(struct buf *out, const struct model *m)
{
	put_names(out, m);
	buf_addf(out, ",\"size\":%lld,", (long long)SIZE);
	put_digest(out, m);
	buf_addc(out, ',');
	put_details(out, m);
	int64_t window = __atomic_load_n(&m->loaded, __ATOMIC_RELAXED);
	buf_addf(out, ",\"expires_at\":\"" EXPIRES "\",\"size_vram\":%lld,\"context_length\":%lld}",
		 (long long)SIZE, (long long)(window ? window : m->context));
}

static void send_list(struct worker *w, struct http_conn *c,
		      void (*put)(struct buf *, const struct model *), bool loaded)
{
	struct buf *out = worker_compose(w);
	bool any = false;
	BUF_ADD(out, "{\"models\":[");
	for (size_t i = 0; i < w->sim->model_count; i++) {
		const struct model *m = &w->sim->models[i];
		if (loaded && !__atomic_load_n(&m->used, __ATOMIC_RELAXED))
			continue;
		if (any)
			buf_addc(out, ',');
		any = true;
		put(out, m);
	}
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void tags_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	send_list(w, c, put_tag, false);
}

static void ps_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	send_list(w, c, put_loaded, true);
}

static void show_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct arena a;
	const struct model *m;
	arena_init(&a, 1024);
	if (request_tree(w, c, &a, &m, SHAPE_NATIVE)) {
		struct buf *out = worker_compose(w);
		BUF_ADD(out, "{\"modelfile\":\"FROM sim\",\"parameters\":\"\",\"template\":\"{{ "
			     ".Prompt }}\",");
		put_details(out, m);
		buf_addf(out,
			 ",\"model_info\":{\"general.architecture\":\"llama\",\"general.basename\":"
			 "\"sim\","
			 "\"general.parameter_count\":8030261312,\"llama.context_length\":%lld,"
			 "\"llama.embedding_length\":4096},\"capabilities\":[\"completion\","
			 "\"tools\"],\"modified_at\":\"" MODIFIED "\"}",
			 (long long)m->longest);
		worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
	}
	arena_release(&a);
}

/* ---- the window ---- */

static bool may_be_cut(const struct job *j)
{
	struct json_want want = {.name = STR_INIT("truncate")};
	bool native = j->surface == &surface_ollama_chat || j->surface == &surface_ollama_generate;
	return !native || !json_scan(j->conn->body, &want, 1, NULL, NULL) || want.type != JSON_BOOL || want.value.len == 4;
}

static void load_model(struct job *j, int64_t window)
{
	int64_t before = __atomic_exchange_n(&((struct model *)j->model)->loaded, j->unload ? 0 : window, __ATOMIC_RELAXED);
	if (before && before != window && !j->unload)
		worker_count(j->worker, COUNT_RELOADS, 1);
}

bool ollama_fit(struct job *j, int64_t *context)
{
	*context = *context < 1 ? j->model->context : *context > j->model->longest ? j->model->longest : *context;
	j->window = *context;
	load_model(j, *context);
	if (j->prompt_tokens <= *context)
		return true;
	if (!may_be_cut(j)) {
		worker_complain(j->worker, j->conn, &(struct complaint){.status = 400, .shape = j->surface->shape,
									.text = STR("the input length exceeds the context length")});
		return false;
	}
	j->prompt_tokens = (uint32_t)*context;
	return true;
}

/* ---- embeddings ---- */

static void put_vector(struct buf *out, struct str text, int64_t dimensions, uint64_t seed)
{
	float vector[VECTOR_MAX];
	size_t n = dimensions > 0 && dimensions < VECTOR_MAX ? (size_t)dimensions : VECTOR_DEFAULT;
	vector_make(vector, n, text, seed);
	buf_addc(out, '[');
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s%.8g", i ? "," : "", (double)vector[i]);
	buf_addc(out, ']');
}

static void put_inputs(struct worker *w, struct arena *a, struct buf *out, const struct json *input,
		       int64_t dimensions)
{
	bool list = input && input->type == JSON_ARRAY, any = false;
	for (const struct json *i = list ? input->first : input; i; i = list ? i->next : NULL) {
		if (any)
			buf_addc(out, ',');
		any = true;
		put_vector(out, json_text(a, i), dimensions, w->sim->options.seed);
	}
}

/* /api/embed, or its older form for one prompt. */
static void embed(struct worker *w, struct http_conn *c, bool old)
{
	struct arena a;
	const struct model *m;
	arena_init(&a, 1024);
	const struct json *body = request_tree(w, c, &a, &m, SHAPE_NATIVE);
	if (body) {
		const struct json *input = json_get(body, old ? STR("prompt") : STR("input"));
		struct text_taker taker = {0};
		int64_t dimensions = 0;
		struct buf *out = worker_compose(w);
		json_i64(json_get(body, STR("dimensions")), &dimensions);
		if (input)
			text_walk(input->type == JSON_STRING
					  ? str_of(input->raw.ptr - 1, input->raw.len + 2)
					  : input->raw,
				  true, &taker);
		BUF_ADD(out, "{");
		if (!old) {
			BUF_ADD(out, "\"model\":");
			buf_adds(out, m->json);
		}
		buf_adds(out, old ? STR("\"embedding\":") : STR(",\"embeddings\":["));
		put_inputs(w, &a, out, input, dimensions);
		if (!old)
			buf_addf(out,
				 "],\"total_duration\":2000,\"load_duration\":1000,\"prompt_eval_"
				 "count\":%u",
				 text_tokens(taker.bytes));
		buf_addc(out, '}');
		worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
	}
	arena_release(&a);
}

static void embed_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	embed(w, c, false);
}

static void old_embed_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	embed(w, c, true);
}

static void ollama_list(struct sim *sim, struct buf *out, const struct model *m)
{
	model_entry_plain(sim, out, m);
}

static const struct route ollama_routes[] = {
	{"POST", "/api/chat", .surface = &surface_ollama_chat},
	{"POST", "/api/generate", .surface = &surface_ollama_generate},
	{"GET", "/", .run = root_run},
	{"GET", "/api/version", .run = version_run},
	{"GET", "/api/tags", .run = tags_run},
	{"GET", "/api/ps", .run = ps_run},
	{"POST", "/api/show", .run = show_run},
	{"POST", "/api/embed", .run = embed_run},
	{"POST", "/api/embeddings", .run = old_embed_run},
	{0},
};

const struct dialect dialect_ollama = {
	.name = "ollama",
	.fingerprint = "fp_ollama",
	.owner = "library",
	.routes = ollama_routes,
	.error = ollama_error,
	.list = ollama_list,
	.ids = ID_SMALL,
	.no_details = true,
	.truncates = true,
	.free_case = true,
	.echoes_name = true,
	.ignores_max_completion = true,
	.ignores_n = true,
	.whole_tools = true,
};
