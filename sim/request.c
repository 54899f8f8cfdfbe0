/* request.c - reads a request for an answer: what is asked, how long the prompt is, and the headers
 * that steer us.
 *
 * The body is scanned once without a tree; a tree is made only of the members that need one (tools,
 * Ollama's options …).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

/* Members that are looked for. The first are common; the others depend on the surface. */
enum {
	WANT_MODEL,
	WANT_MESSAGES,
	WANT_PROMPT,
	WANT_STREAM,
	WANT_MAX_TOKENS,
	WANT_TOOLS,
	WANT_TOOL_CHOICE,
	WANT_SEED,
	WANT_COMMON,
	WANT_STREAM_OPTIONS = WANT_COMMON,
	WANT_MAX_COMPLETION,
	WANT_N,
	WANT_LOGPROBS,
	WANT_CONTINUE,
	WANT_GENERATION,
	WANT_OPENAI,
	WANT_INPUT = WANT_COMMON,
	WANT_SYSTEM,
	WANT_INSTRUCTIONS,
	WANT_MAX_OUTPUT,
	WANT_OPTIONS,
	WANT_NAME,
	WANT_KEEP_ALIVE,
	WANT_OTHER,
};

void request_wants_init(struct worker *w)
{
	static const char *const common[] = {"model",      "messages", "prompt",      "stream",
					     "max_tokens", "tools",    "tool_choice", "seed"};
	static const char *const openai[] = {"stream_options", "max_completion_tokens", "n", "logprobs", "continue_final_message", "add_generation_prompt"};
	static const char *const other[] = {
		"input",   "system", "instructions", "max_output_tokens",
		"options", "name",   "keep_alive"};
	for (int i = 0; i < WANT_COMMON; i++)
		w->openai_wants[i].name = w->other_wants[i].name = str_from(common[i]);
	for (int i = WANT_COMMON; i < WANT_OPENAI; i++)
		w->openai_wants[i].name = str_from(openai[i - WANT_COMMON]);
	for (int i = WANT_COMMON; i < WANT_OTHER; i++)
		w->other_wants[i].name = str_from(other[i - WANT_COMMON]);
}

/* ---- complaints ---- */

static bool complain(struct job *j, int status, const char *code, const char *param,
		     struct str text)
{
	worker_complain(j->worker, j->conn,
			&(struct complaint){.status = status,
					    .shape = j->surface->shape,
					    .type = "invalid_request_error",
					    .code = code,
					    .param = param,
					    .text = text});
	return false;
}

void model_missing(struct worker *w, struct http_conn *c, struct str name, enum shape shape)
{
	struct buf text;
	buf_init(&text, 64 * 1024);
	if (shape == SHAPE_NATIVE)
		buf_addf(&text, "model '%.*s' not found", STR_ARG(str_head(name, 200)));
	else if (shape == SHAPE_ANTHROPIC)
		buf_addf(&text, "model: %.*s", STR_ARG(str_head(name, 200)));
	else
		buf_addf(&text, "The model `%.*s` does not exist.", STR_ARG(str_head(name, 200)));
	worker_complain(w, c,
			&(struct complaint){.status = 404,
					    .shape = shape,
					    .text = buf_str(&text),
					    .type = "invalid_request_error",
					    .code = "model_not_found",
					    .param = "model"});
	buf_release(&text);
}

static bool too_long(struct job *j, int64_t prompt, int64_t wanted, int64_t context)
{
	struct buf text;
	buf_init(&text, 4096);
	if (j->surface->shape == SHAPE_ANTHROPIC)
		buf_addf(&text, "prompt is too long: %lld tokens > %lld maximum", (long long)prompt,
			 (long long)context);
	else if (wanted > 0)
		buf_addf(&text,
			 "This model's maximum context length is %lld tokens. However, you "
			 "requested %lld tokens "
			 "(%lld in the messages, %lld in the completion).",
			 (long long)context, (long long)(prompt + wanted), (long long)prompt,
			 (long long)wanted);
	else
		buf_addf(&text,
			 "This model's maximum context length is %lld tokens. However, your "
			 "messages resulted in "
			 "%lld tokens.",
			 (long long)context, (long long)prompt);
	worker_complain(j->worker, j->conn,
			&(struct complaint){.status = 400,
					    .shape = j->surface->shape,
					    .type = "invalid_request_error",
					    .text = buf_str(&text),
					    .code = "context_length_exceeded",
					    .param = "messages",
					    .prompt_tokens = prompt,
					    .context = context});
	buf_release(&text);
	return false;
}

/* ---- headers ---- */

struct str request_knob(const struct http_conn *c, struct str name)
{
	const struct http_head *h = c->head;
	for (uint32_t i = 0; i < h->field_count; i++) {
		struct str field = http_field_name(h, &h->fields[i]);
		if (field.len == name.len + 6 && (field.ptr[0] | 32) == 'x' &&
		    field.ptr[1] == '-' && str_istarts(field, STR("x-sim-")) &&
		    str_ieq(str_skip(field, 6), name))
			return http_field_value(h, &h->fields[i]);
	}
	return STR_NONE;
}

/* Milliseconds with up to three decimals, in microseconds. */
static bool read_ms(struct str text, int64_t *us)
{
	size_t dot = str_find(text, '.');
	struct str decimals = str_head(str_skip(text, dot + 1), 3);
	int64_t whole, part = 0;
	if (!str_to_i64(str_head(text, dot), &whole) || whole < 0 || whole > 86400000 * 365ll)
		return false;
	if (decimals.len > 0 && (!str_to_i64(decimals, &part) || part < 0))
		return false;
	for (size_t i = decimals.len; i < 3; i++)
		part *= 10;
	*us = whole * 1000 + part;
	return true;
}

/* The request's head as JSON, for x-sim-echo: headers. */
static struct str echo_head(struct job *j)
{
	const struct http_head *h = j->conn->head;
	struct buf *out = &j->worker->scratch;
	struct json_writer w;
	buf_clear(out);
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str(&w, STR("method"), str_from(http_method_name((enum http_method)h->method)));
	json_member_str(&w, STR("url"), http_head_url(h));
	json_put_key(&w, STR("headers"));
	json_open_array(&w);
	for (uint32_t i = 0; i < h->field_count; i++) {
		json_open_array(&w);
		json_put_str(&w, http_field_name(h, &h->fields[i]));
		json_put_str(&w, http_field_value(h, &h->fields[i]));
		json_close_array(&w);
	}
	json_close_array(&w);
	json_close_object(&w);
	return arena_dup(&j->arena, buf_str(out));
}

static void set_text(struct job *j, enum job_source source, struct str text)
{
	j->source = (uint8_t)source;
	j->text = text;
	j->tokens = text_pieces(text);
}

struct knobs {
	bool any, tool, echo;
	int64_t tokens;
};

static void take_knob(struct job *j, struct knobs *k, struct str name, struct str value)
{
	int64_t n;
	if (str_ieq(name, STR("echo"))) {
		k->echo = str_ieq(value, STR("body")) || str_ieq(value, STR("headers"));
		if (str_ieq(value, STR("headers")))
			j->text = echo_head(j);
	} else if (str_ieq(name, STR("tokens"))) {
		if (str_to_i64(value, &n) && n >= 0 && n <= INT32_MAX)
			k->tokens = n;
	} else if (str_ieq(name, STR("ttft-ms"))) {
		read_ms(value, &j->ttft_us);
	} else if (str_ieq(name, STR("interval-ms"))) {
		read_ms(value, &j->interval_us);
	} else if (str_ieq(name, STR("seed"))) {
		j->hash = text_hash(value, j->hash);
	} else if (str_ieq(name, STR("tool"))) {
		k->tool = str_eq(value, STR("1"));
	}
}

static void read_knobs(struct job *j, struct knobs *k)
{
	const struct http_head *h = j->conn->head;
	for (uint32_t i = 0; i < h->field_count; i++) {
		struct str field = http_field_name(h, &h->fields[i]);
		if (field.len > 6 && (field.ptr[0] | 32) == 'x' &&
		    str_istarts(field, STR("x-sim-")))
			take_knob(j, k, str_skip(field, 6), http_field_value(h, &h->fields[i]));
	}
}

/* ---- numbers ---- */

static bool absent(const struct json_want *w)
{
	return w->type == JSON_NONE || w->type == JSON_NULL;
}

static bool is_true(const struct json_want *w)
{
	return w->type == JSON_BOOL && w->value.ptr[0] == 't';
}

/* A ceiling of tokens; -1 where there is none. Local engines read -1 as that, too. */
static bool read_limit(struct job *j, const struct json_want *w, int64_t *limit)
{
	int64_t n;
	if (absent(w))
		return true;
	if (w->type != JSON_NUMBER || !json_raw_i64(w->value, &n) || n < -1 ||
	    (n < 1 && j->worker->sim->dialect != &dialect_llamacpp &&
	     j->worker->sim->dialect != &dialect_ollama))
		return complain(j, 400, "invalid_value", "max_tokens",
				STR("max_tokens must be an integer of at least 1."));
	*limit = n;
	return true;
}

static int64_t tree_number(const struct json *object, struct str name, int64_t otherwise)
{
	int64_t n;
	return json_i64(json_get(object, name), &n) ? n : otherwise;
}

/* Ollama's options: the size of the context and the ceiling of tokens. */
static void read_options(struct job *j, struct str raw, int64_t *context, int64_t *limit)
{
	struct json_fail fail;
	const struct json *options = json_parse(&j->arena, raw, &fail);
	*context = tree_number(options, STR("num_ctx"), *context);
	*limit = tree_number(options, STR("num_predict"), *limit);
}

static bool read_include_usage(struct str raw)
{
	struct json_want want = {.name = STR_INIT("include_usage")};
	struct json_scan scan;
	struct json_fail fail;
	return json_scan(raw, &want, 1, &scan, &fail) && is_true(&want);
}

/* ---- the prompt ---- */

struct gather {
	struct text_taker taker;
	struct buf *out;
};

static void take_text(struct text_taker *t, struct str inside, size_t bytes)
{
	buf_adds(CONTAINER_OF(t, struct gather, taker)->out, inside);
}

static const struct json_want *prompt_part(const struct json_want *wants, bool openai, int i)
{
	static const uint8_t parts[] = {WANT_MESSAGES, WANT_PROMPT, WANT_INPUT, WANT_SYSTEM,
					WANT_INSTRUCTIONS};
	return i < (openai ? 2 : 5) ? &wants[parts[i]] : NULL;
}

/* Whether the prompt ends with the beginning of the answer: then it goes to `begun`. False: an error was sent. */
static bool read_begun(struct job *j, struct json_want *wants, struct str *begun)
{
	const struct dialect *d = j->worker->sim->dialect;
	struct json_want *messages = &wants[WANT_MESSAGES];
	bool chat = j->surface == &surface_chat, told = chat && is_true(&wants[WANT_CONTINUE]);
	if (messages->type != JSON_ARRAY || (!chat && j->surface != &surface_ollama_chat))
		return true;
	if (told && d->continues_if_told && (wants[WANT_GENERATION].type != JSON_BOOL || is_true(&wants[WANT_GENERATION])))
		return complain(j, 400, NULL, NULL, STR("Cannot set both `continue_final_message` and `add_generation_prompt` to True."));
	if (!(told && d->continues_if_told) && !d->continues && d != &dialect_ollama)
		return true;
	if (!continue_read(j, &messages->value, begun) && told)
		return complain(j, 400, NULL, NULL, STR("Cannot set `continue_final_message` when the last message is not from the assistant."));
	return true;
}

/* Counts the prompt's tokens, and derives from it what the answer will be. */
static void read_prompt(struct job *j, const struct json_want *wants, bool openai)
{
	struct sim *sim = j->worker->sim;
	struct gather g = {.out = &j->worker->scratch};
	const struct json_want *part;
	if (sim->engine.cache) {
		g.taker.take = take_text;
		buf_clear(g.out);
	}
	for (int i = 0; (part = prompt_part(wants, openai, i)); i++) {
		if (absent(part))
			continue;
		text_walk(part->value, part != &wants[WANT_MESSAGES], &g.taker);
		j->hash = text_hash(part->value, j->hash);
	}
	if (!absent(&wants[WANT_SEED]))
		j->hash = text_hash(wants[WANT_SEED].value, j->hash);
	j->prompt_tokens = text_tokens(g.taker.bytes);
	worker_count(j->worker, COUNT_QUERIES, j->prompt_tokens);
	if (!sim->engine.cache)
		return;
	sim_lock(sim);
	size_t blocks = cache_use(sim->engine.cache, buf_str(g.out), j->model->hash);
	sim_unlock(sim);
	j->cached_tokens = (uint32_t)blocks * CACHE_BLOCK_TOKENS;
	if (j->cached_tokens >= j->prompt_tokens) /* the last token is always computed */
		j->cached_tokens = j->prompt_tokens ? j->prompt_tokens - 1 : 0;
	worker_count(j->worker, COUNT_HITS, j->cached_tokens);
}

/* How many prompts /v1/completions was given. */
static uint32_t prompts_in(struct job *j, const struct json_want *prompt)
{
	struct json_fail fail;
	if (prompt->type != JSON_ARRAY)
		return 1;
	const struct json *list = json_parse(&j->arena, prompt->value, &fail);
	if (!list || !list->first || list->first->type == JSON_NUMBER)
		return 1;
	return list->count;
}

static bool read_openai(struct job *j, const struct json_want *wants, int64_t *limit)
{
	const struct dialect *d = j->worker->sim->dialect;
	int64_t n = 1;
	if (!d->ignores_max_completion && !read_limit(j, &wants[WANT_MAX_COMPLETION], limit))
		return false;
	if (!absent(&wants[WANT_N]) && (wants[WANT_N].type != JSON_NUMBER ||
					!json_raw_i64(wants[WANT_N].value, &n) || n < 1 || n > 128))
		return complain(j, 400, "invalid_value", "n",
				STR("n must be an integer from 1 to 128."));
	j->choices = d->ignores_n ? 1 : (uint32_t)n;
	if (j->surface == &surface_completions)
		j->choices *= prompts_in(j, &wants[WANT_PROMPT]);
	j->usage = wants[WANT_STREAM_OPTIONS].type == JSON_OBJECT &&
		   read_include_usage(wants[WANT_STREAM_OPTIONS].value);
	j->logprobs = is_true(&wants[WANT_LOGPROBS]) || wants[WANT_LOGPROBS].type == JSON_NUMBER;
	if (j->logprobs) {
		struct json_fail fail;
		const struct json *body = json_parse(&j->arena, j->conn->body, &fail);
		int64_t top = tree_number(body, STR("top_logprobs"),
					  tree_number(body, STR("logprobs"), 0));
		j->top_logprobs = (uint8_t)(top < 0 ? 0 : top > 20 ? 20 : top);
	}
	return true;
}

/* ---- what the answer will be ---- */

static bool is_empty(const struct json_want *w)
{
	return absent(w) || (w->type == JSON_ARRAY && w->value.len == 2) ||
	       (w->type == JSON_STRING && w->value.len == 2);
}

/* Ollama's requests without a prompt say what to do with the model. */
static void read_loading(struct job *j, const struct json_want *wants)
{
	bool chat = j->surface == &surface_ollama_chat;
	if ((!chat && j->surface != &surface_ollama_generate) ||
	    !is_empty(&wants[chat ? WANT_MESSAGES : WANT_PROMPT]))
		return;
	j->load = true;
	j->tokens = 0;
	j->unload = wants[WANT_KEEP_ALIVE].type == JSON_NUMBER &&
		    str_eq(wants[WANT_KEEP_ALIVE].value, STR("0"));
}

static bool wants_tool(const struct json_want *choice, bool *forced)
{
	*forced = choice->type == JSON_OBJECT ||
		  (choice->type == JSON_STRING && str_eq(choice->value, STR("\"required\"")));
	return choice->type != JSON_STRING || !str_eq(choice->value, STR("\"none\""));
}

static void choose_source(struct job *j, const struct json_want *wants, const struct knobs *k)
{
	bool forced = false;
	j->tokens = (uint32_t)(k->tokens >= 0 ? k->tokens : j->worker->sim->options.tokens);
	if (k->echo || j->worker->sim->options.echo) {
		set_text(j, SOURCE_TEXT, j->text.ptr ? j->text : j->conn->body);
	} else if (j->surface->tools && wants[WANT_TOOLS].type == JSON_ARRAY &&
		   wants_tool(&wants[WANT_TOOL_CHOICE], &forced)) {
		if (tool_call_make(j, wants[WANT_TOOLS].value, wants[WANT_TOOL_CHOICE].value,
				   wants[WANT_MESSAGES].value, forced || k->tool))
			set_text(j, SOURCE_TOOL, j->text);
	}
}

/* Holds the answer to the ceiling that was asked for and to what is left of the context. */
static bool fit(struct job *j, int64_t limit, int64_t context)
{
	const struct dialect *d = j->worker->sim->dialect;
	if (j->source != SOURCE_WORDS) /* tests want it whole */
		return true;
	if (j->prompt_tokens > context && d->truncates)
		j->prompt_tokens = (uint32_t)context;
	int64_t left = context - j->prompt_tokens;
	if (left < 0 || (left == 0 && !d->truncates))
		return too_long(j, j->prompt_tokens, 0, context);
	if (d->counts_max && limit > left)
		return too_long(j, j->prompt_tokens, limit, context);
	if (limit < 0 || (limit > left && !d->truncates))
		limit = d->truncates ? INT32_MAX : left;
	if (j->tokens > (uint64_t)limit) {
		j->tokens = (uint32_t)limit;
		j->cut = true;
	}
	return true;
}

static bool find_model(struct job *j, const struct json_want *want)
{
	struct str inside;
	if (want->type != JSON_STRING && j->worker->sim->model_count == 1 &&
	    j->worker->sim->dialect->any_model) {
		j->model = &j->worker->sim->models[0];
		j->model_json = j->model->json;
		return true;
	}
	if (want->type != JSON_STRING)
		return complain(j, 400, "missing_required_parameter", "model",
				STR("you must provide a model parameter"));
	inside = str_of(want->value.ptr + 1, want->value.len - 2);
	if (str_find(inside, '\\') < inside.len) {
		struct buf name;
		buf_init(&name, inside.len + 4);
		json_unescape(inside, &name);
		inside = arena_dup(&j->arena, buf_str(&name));
		buf_release(&name);
	}
	if (str_starts(inside, j->worker->sim->dialect->name_prefix))
		inside = str_skip(inside, j->worker->sim->dialect->name_prefix.len);
	j->model = models_find(j->worker->sim, inside);
	if (!j->model) {
		model_missing(j->worker, j->conn, inside, j->surface->shape);
		return false;
	}
	j->model_json = j->worker->sim->dialect->echoes_name ? want->value : j->model->json;
	return true;
}

static bool scan(struct job *j, struct json_want *wants, size_t n)
{
	struct json_scan whole;
	struct json_fail fail;
	if (json_scan(j->conn->body, wants, n, &whole, &fail) && whole.type == JSON_OBJECT)
		return true;
	struct buf text;
	buf_init(&text, 1024);
	buf_addf(&text, "We could not parse the JSON body of your request (%s at byte %zu).",
		 fail.what ? fail.what : "not an object", fail.at);
	complain(j, 400, NULL, NULL, buf_str(&text));
	buf_release(&text);
	return false;
}

bool request_read(struct job *j)
{
	struct sim *sim = j->worker->sim;
	bool openai = j->surface == &surface_chat || j->surface == &surface_completions;
	struct json_want *wants = openai ? j->worker->openai_wants : j->worker->other_wants;
	struct knobs k = {.tokens = -1};
	struct str begun = STR_NONE;
	int64_t limit = -1;
	arena_init(&j->arena, 256);
	j->choices = 1;
	j->ttft_us = j->interval_us = -1;
	if (!scan(j, wants, openai ? WANT_OPENAI : WANT_OTHER))
		return false;
	if (j->surface == &surface_chat && sim->dialect->check && !sim->dialect->check(j))
		return false;
	const struct json_want *model = &wants[WANT_MODEL];
	if (!openai && model->type == JSON_NONE)
		model = &wants[WANT_NAME];
	if (!find_model(j, model))
		return false;
	j->hash = text_mix(sim->options.seed ^ j->model->hash);
	read_knobs(j, &k);
	if (!read_begun(j, wants, &begun))
		return false;
	read_prompt(j, wants, openai);
	j->prompt_tokens += text_pieces(begun);
	int64_t context = j->model->context;
	if (!read_limit(j, &wants[WANT_MAX_TOKENS], &limit))
		return false;
	if (openai && !read_openai(j, wants, &limit))
		return false;
	if (!openai && !read_limit(j, &wants[WANT_MAX_OUTPUT], &limit))
		return false;
	if (!openai && wants[WANT_OPTIONS].type == JSON_OBJECT)
		read_options(j, wants[WANT_OPTIONS].value, &context, &limit);
	j->stream = absent(&wants[WANT_STREAM]) ? j->surface->streams_by_default
						: is_true(&wants[WANT_STREAM]);
	choose_source(j, wants, &k);
	if (begun.len && j->source == SOURCE_WORDS)
		continue_words(j, begun);
	if (!openai)
		read_loading(j, wants);
	return (sim->dialect != &dialect_ollama || ollama_fit(j, &context)) && fit(j, limit, context);
}

/* ---- calls that do not generate ---- */

const struct json *request_tree(struct worker *w, struct http_conn *c, struct arena *a,
				const struct model **model, enum shape shape)
{
	struct json_fail fail;
	const struct json *body = json_parse(a, c->body, &fail);
	if (!body || body->type != JSON_OBJECT) {
		worker_complain(
			w, c,
			&(struct complaint){
				.status = 400,
				.shape = shape,
				.type = "invalid_request_error",
				.text = STR("We could not parse the JSON body of your request.")});
		return NULL;
	}
	const struct json *name = json_get(body, STR("model"));
	if (!name)
		name = json_get(body, STR("name"));
	*model = name                       ? models_find(w->sim, json_text(a, name))
		 : w->sim->model_count == 1 ? &w->sim->models[0]
					    : NULL;
	if (*model)
		return body;
	model_missing(w, c, json_text(a, name), shape);
	return NULL;
}
