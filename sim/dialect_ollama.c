/* dialect_ollama.c - Ollama: its lists, what it says of a model, its embeddings. Its chat is in
 * ollama.c.
 *
 * A request without messages (or prompt) only loads the model, as there. A prompt that is too long
 * is cut in silence to all of the window, and so is each input of embeddings, unless truncate is false: then it is refused. A request whose window is another than
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
	if (j->surface == &surface_completions)
		j->surface = &surface_ollama_completions;
	else if (j->surface == &surface_messages)
		j->surface = &surface_ollama_messages;
	if (j->surface == &surface_ollama_messages)
		j->sequence = j->prompt_tokens;
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

/* What there is of an input. */
struct inputs {
	struct worker *worker;
	struct arena *arena;
	size_t bytes_max; /* that fit into the window */
	size_t bytes;     /* that were read */
	bool cut;
};

static void load_for(const struct model *m, struct inputs *in)
{
	int64_t window = __atomic_load_n(&m->loaded, __ATOMIC_RELAXED);
	if (window != m->context) {
		__atomic_store_n(&((struct model *)m)->loaded, m->context, __ATOMIC_RELAXED);
		if (window)
			worker_count(in->worker, COUNT_RELOADS, 1);
	}
	__atomic_store_n(&((struct model *)m)->used, true, __ATOMIC_RELAXED);
	in->bytes_max = (size_t)m->context * 4;
}

/* The text as far as it fits. */
static struct str fitting(struct inputs *in, const struct json *input)
{
	struct str text = json_text(in->arena, input);
	if (text.len > in->bytes_max) {
		in->cut = true;
		text.len = in->bytes_max;
		while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80) /* no half a character */
			text.len--;
	}
	in->bytes += text.len;
	return text;
}

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

static void put_inputs(struct inputs *in, struct buf *out, const struct json *input, int64_t dimensions)
{
	bool list = input && input->type == JSON_ARRAY, any = false;
	for (const struct json *i = list ? input->first : input; i; i = list ? i->next : NULL) {
		if (any)
			buf_addc(out, ',');
		any = true;
		put_vector(out, fitting(in, i), dimensions, in->worker->sim->options.seed);
	}
}

static bool is_false(const struct json *value)
{
	return value && value->type == JSON_BOOL && !value->boolean;
}

/* /api/embed, or its older form for one prompt. */
static void embed(struct worker *w, struct http_conn *c, bool old)
{
	struct arena a;
	const struct model *m;
	arena_init(&a, 1024);
	struct inputs in = {.worker = w, .arena = &a};
	const struct json *body = request_tree(w, c, &a, &m, SHAPE_NATIVE);
	if (body) {
		int64_t dimensions = 0;
		struct buf *out = worker_compose(w);
		load_for(m, &in);
		json_i64(json_get(body, STR("dimensions")), &dimensions);
		BUF_ADD(out, "{");
		if (!old) {
			BUF_ADD(out, "\"model\":");
			buf_adds(out, m->json);
		}
		buf_adds(out, old ? STR("\"embedding\":") : STR(",\"embeddings\":["));
		put_inputs(&in, out, json_get(body, old ? STR("prompt") : STR("input")), dimensions);
		if (!old)
			buf_addf(out, "],\"total_duration\":2000,\"load_duration\":1000,\"prompt_eval_count\":%u", text_tokens(in.bytes));
		buf_addc(out, '}');
		if (in.cut && is_false(json_get(body, STR("truncate"))))
			worker_complain(w, c, &(struct complaint){.status = 400, .shape = SHAPE_NATIVE, .text = STR("the input length exceeds the context length")});
		else
			worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
	}
	arena_release(&a);
}

static void put_raw(struct buf *out, const struct json *value)
{
	bool quoted = value->type == JSON_STRING;
	buf_adds(out, quoted ? str_of(value->raw.ptr - 1, value->raw.len + 2) : value->raw);
}

/* A body whose input is cut. */
static void put_cut_body(struct inputs *in, struct buf *out, const struct json *body)
{
	const struct json *input = json_get(body, STR("input"));
	bool list = input->type == JSON_ARRAY;
	buf_addc(out, '{');
	for (const struct json *m = body->first; m; m = m->next) {
		if (str_eq(m->key, STR("input")))
			continue;
		buf_adds(out, str_of(m->key.ptr - 1, m->key.len + 2));
		buf_addc(out, ':');
		put_raw(out, m);
		buf_addc(out, ',');
	}
	BUF_ADD(out, "\"input\":");
	if (list)
		buf_addc(out, '[');
	for (const struct json *i = list ? input->first : input; i; i = list ? i->next : NULL) {
		if (i != input && i != input->first)
			buf_addc(out, ',');
		if (i->type == JSON_STRING)
			json_quote(out, fitting(in, i));
		else
			put_raw(out, i);
	}
	buf_adds(out, list ? STR("]}") : STR("}"));
}

/* /v1/embeddings: as of all, but for what does not fit. */
static void openai_embed_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct arena a;
	const struct model *m;
	struct buf cut;
	arena_init(&a, 1024);
	buf_init(&cut, SIZE_MAX);
	struct inputs in = {.worker = w, .arena = &a};
	const struct json *body = request_tree(w, c, &a, &m, line->shape);
	if (body && json_get(body, STR("input"))) {
		struct str whole = c->body;
		load_for(m, &in);
		put_cut_body(&in, &cut, body);
		c->body = buf_str(&cut);
		embeddings_run(w, c, line);
		c->body = whole;
	} else if (body) {
		embeddings_run(w, c, line);
	}
	buf_release(&cut);
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
	{"POST", "/v1/embeddings", .run = openai_embed_run},
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
